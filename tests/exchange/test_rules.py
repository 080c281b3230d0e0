"""Rules on a real MongoDB: what limits, velocity and freezing do to redemptions, and how rules themselves are kept.

Every test ends with all invariants proved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.batch import Outcome
from exchange.benefit import Benefit, Fulfilment, LimitPeriod, Stock, UnavailableReason
from exchange.commands import Command
from exchange.errors import (
    BenefitUnavailable,
    Forbidden,
    InsufficientPoints,
    VersionConflict,
)
from exchange.journal import EXCHANGE
from exchange.ledger import Ledger
from exchange.redemption import Step
from exchange.rules import AwardReversal, FrozenBenefit, Rules, Velocity
from tests.exchange.conftest import House, answers, known, redemption_of
from tests.exchange.speech import (
    act,
    agreement,
    award,
    benefit,
    by_reference,
    freeze,
    redeem,
    reserve,
    unfreeze,
)

R = UnavailableReason
TRIP = benefit("rides/trip", 10, fulfilment=Fulfilment.PARTNER_CALL)
PERIODS = [LimitPeriod.DAY, LimitPeriod.WEEK, LimitPeriod.MONTH]


@pytest.fixture(autouse=True)
async def begun(house: House, proved: None) -> None:
    """Let the pairs trade."""
    await house.agree(agreement("video", "rides", 800), agreement("delivery", "rides", 800))


async def reasons(ledger: Ledger, command: Command) -> list[str]:
    """Return why a redemption is refused; it must be."""
    (told,) = await answers(ledger, command)
    assert isinstance(told, BenefitUnavailable), told
    return told.reasons


async def member(ledger: Ledger, *, delivery: int = 0, name: str = "ann") -> None:
    await known(ledger, "video", "delivery", reference=name)
    await ledger.submit(award("video", 1_000, whose=by_reference("video", name)))
    if delivery:
        await ledger.submit(award("delivery", delivery, whose=by_reference("delivery", name)))


def noon(now: datetime) -> str:
    """Return a time zone in which it is around noon: so that no test runs over a midnight."""
    west = (now.hour - 12) % 24
    return f"Etc/GMT+{west}" if west <= 12 else f"Etc/GMT-{24 - west}"


async def limited(house: House, period: LimitPeriod, limit: int = 1, **content: Any) -> Benefit:
    """Publish a trip of which a member may take so many in a period that does not end while a test runs."""
    zone = noon(await house.soon())
    await house.terms.change_rules("rides", lambda rules: replace(rules, time_zone=zone))
    said: dict[str, Any] = {"fulfilment": Fulfilment.PARTNER_CALL, **content}
    trip = benefit("rides/limited", 10, member_limit=limit, member_limit_period=period, **said)
    await house.publish(trip)
    return trip


# ---------------------------------------------------------------- limits of a period


async def test_a_batch_counts_what_it_decided_itself(house: House, ledger: Ledger) -> None:
    """Taken, given back, taken again, and one too many, all in one batch."""
    trip = await limited(house, LimitPeriod.DAY)
    await member(ledger)
    told = await answers(
        ledger, reserve(trip, key="first"), redeem(trip), act(Step.CANCEL, "first"), redeem(trip), redeem(trip)
    )
    assert [isinstance(one, Outcome) for one in told] == [True, False, True, True, False]


@pytest.mark.parametrize("period", [*PERIODS, LimitPeriod.EVER])
@pytest.mark.parametrize(
    "steps", [(Step.CANCEL,), (Step.CONFIRM, Step.FAIL), (Step.CONFIRM, Step.FULFIL, Step.REVERSE), (Step.LAPSE,)]
)
async def test_what_goes_back_can_be_taken_again(
    house: House, ledger: Ledger, period: LimitPeriod, steps: tuple[Step, ...]
) -> None:
    """However a redemption ends unfulfilled or is given back, the use comes back within its period."""
    trip = await limited(house, period)
    await member(ledger)
    stands = redemption_of(await ledger.submit(reserve(trip, ttl=1 if Step.LAPSE in steps else 300)))
    assert await reasons(ledger, redeem(trip)) == [R.MEMBER_LIMIT_REACHED]
    for step in steps:
        if step is Step.LAPSE:
            await asyncio.sleep(1.1)
        stands = redemption_of(await ledger.submit(act(step, stands)))
    await ledger.submit(redeem(trip))
    assert await reasons(ledger, redeem(trip)) == [R.MEMBER_LIMIT_REACHED]


async def test_a_limit_that_is_changed_counts_what_was_taken_before(house: House, ledger: Ledger) -> None:
    """From ever to a day and back: the uses of today count either way, at once."""
    trip = await limited(house, LimitPeriod.EVER, 5)
    await member(ledger)
    await ledger.submit(redeem(trip, 2))
    for period in (*PERIODS, LimitPeriod.EVER):
        await limited(house, period, 2)
        assert await reasons(ledger, redeem(trip)) == [R.MEMBER_LIMIT_REACHED]
        await limited(house, period, 3)
        await ledger.quote(redeem(trip))


@pytest.mark.parametrize("content", [{"stock": 2}, {"fulfilment": Fulfilment.INSTANT_CODE}])
async def test_what_ends_unfulfilled_gives_back_stock_and_codes(
    house: House, ledger: Ledger, content: dict[str, Any]
) -> None:
    """Cancelled and lapsed reservations, and what could not be delivered, leave all units to be had."""
    trip = await limited(house, LimitPeriod.DAY, 2, **content)
    await member(ledger)
    coded = trip.fulfilment is Fulfilment.INSTANT_CODE
    if coded:
        await house.catalog.add_codes("rides", "limited", ["A", "B"])
    roads = [(Step.CANCEL,), (Step.LAPSE,)] + ([] if coded else [(Step.CONFIRM, Step.FAIL)])
    for steps in roads:
        stands = redemption_of(await ledger.submit(reserve(trip, 2, ttl=1 if Step.LAPSE in steps else 300)))
        assert await reasons(ledger, redeem(trip)) == [R.OUT_OF_STOCK, R.MEMBER_LIMIT_REACHED]
        for step in steps:
            if step is Step.LAPSE:
                await asyncio.sleep(1.1)
            await ledger.submit(act(step, stands))
        assert (await house.catalog.stock([trip.id]))[trip.id] == Stock(2)
        assert await house.count("codes", free=True) == (2 if coded else 0)
    taken = redemption_of(await ledger.submit(redeem(trip, 2)))
    assert [house.catalog.open_code(trip.id, code) for code in taken.codes] == (["A", "B"] if coded else [])


# ---------------------------------------------------------------- velocity


# ---------------------------------------------------------------- velocity


async def laid_down(house: House, partner: str = EXCHANGE, **rule: Any) -> None:
    one = Velocity(**{"window_seconds": 3_600, **rule})
    await house.terms.change_rules(partner, lambda rules: replace(rules, velocity=(one,)))


@pytest.mark.parametrize(
    ("partner", "rule", "stopped"),
    [
        (EXCHANGE, {"redemptions_max": 1}, {"trip", "film", "trip by delivery"}),
        ("rides", {"redemptions_max": 1}, {"trip", "trip by delivery"}),
        ("video", {"redemptions_max": 1}, {"trip", "film"}),
        ("delivery", {"redemptions_max": 1}, set()),
        (EXCHANGE, {"redemptions_max": 1, "benefit": "rides/trip"}, {"trip", "trip by delivery"}),
        (EXCHANGE, {"redemptions_max": 1, "benefit": "video/film"}, set()),
        (EXCHANGE, {"points_max": 25}, {"film"}),
        (EXCHANGE, {"points_max": 19}, {"trip", "film", "trip by delivery"}),
        ("rides", {"points_max": 20}, set()),
        (EXCHANGE, {"redemptions_max": 1, "points_from": 10}, {"trip", "film", "trip by delivery"}),
        (EXCHANGE, {"redemptions_max": 1, "points_from": 11}, set()),
        (EXCHANGE, {"points_max": 19, "points_from": 20}, {"film"}),
    ],
)
async def test_what_a_rule_is_about(
    house: House, ledger: Ledger, partner: str, rule: dict[str, Any], stopped: set[str]
) -> None:
    """Of three wishes after one trip for 10 points through video: which of them a rule stops."""
    film = benefit("video/film", 20)
    await house.publish(TRIP, film)
    await laid_down(house, partner, **rule)
    await member(ledger, delivery=100)
    await member(ledger, name="bob")
    await ledger.submit(redeem(TRIP))
    wishes = {"trip": redeem(TRIP), "film": redeem(film), "trip by delivery": redeem(TRIP, through="delivery")}
    for name, wish in wishes.items():
        (told,) = await answers(ledger, replace(wish, expected_points=1))
        # The price is asked for after availability: so a wish that is not stopped changes nothing either.
        assert (getattr(told, "reasons", None) == [R.VELOCITY]) is (name in stopped), name
    if rule.get("points_max", 99) > 9:
        await ledger.submit(redeem(TRIP, whose=by_reference("video", "bob")))


async def test_a_quote_is_not_counted_but_is_held_against_a_rule(house: House, ledger: Ledger) -> None:
    """Ten quotes leave a member all it may redeem; once it has, no more are given."""
    await house.publish(TRIP)
    await laid_down(house, redemptions_max=1)
    await member(ledger)
    quotes = [await ledger.quote(redeem(TRIP)) for _ in range(10)]
    await ledger.submit(redeem(TRIP, quote=quotes[0].id))
    assert await reasons(ledger, redeem(TRIP, quote=quotes[1].id)) == [R.VELOCITY]
    with pytest.raises(BenefitUnavailable) as told:
        await ledger.quote(redeem(TRIP))
    assert told.value.reasons == [R.VELOCITY]


async def test_a_rule_counts_what_was_cancelled_and_lets_go_after_its_window(house: House, ledger: Ledger) -> None:
    """Who reserves and cancels was fast all the same, until the window has passed."""
    await house.publish(TRIP)
    await laid_down(house, "rides", redemptions_max=1, window_seconds=1)
    await member(ledger)
    await ledger.submit(act(Step.CANCEL, redemption_of(await ledger.submit(reserve(TRIP)))))
    assert await reasons(ledger, redeem(TRIP)) == [R.VELOCITY]
    await asyncio.sleep(1.1)
    await ledger.submit(redeem(TRIP))


async def test_a_reservation_made_before_a_rule_can_be_confirmed(house: House, ledger: Ledger) -> None:
    """Rules hold for what is begun from then on."""
    await house.publish(TRIP)
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(TRIP)))
    await laid_down(house, "rides", redemptions_max=0)
    assert await reasons(ledger, redeem(TRIP)) == [R.VELOCITY]
    await ledger.submit(act(Step.CONFIRM, held))


# ---------------------------------------------------------------- freezing


def frozen_partner(partner: str) -> Callable[[House, Ledger, bool], Awaitable[Any]]:
    async def change(house: House, _: Ledger, frozen: bool) -> Any:  # noqa: FBT001 - a table of ways
        return await house.terms.change_rules(partner, lambda rules: rules.freezing("fraud" if frozen else None))

    return change


async def frozen_benefit(house: House, _: Ledger, frozen: bool) -> Any:  # noqa: FBT001
    reason = "fraud" if frozen else None
    return await house.terms.change_rules("rides", lambda rules: rules.freezing_benefit(TRIP.id, reason))


async def frozen_member(_: House, ledger: Ledger, frozen: bool) -> Any:  # noqa: FBT001
    return await ledger.submit(freeze() if frozen else unfreeze())


async def frozen_lot(_: House, ledger: Ledger, frozen: bool) -> Any:  # noqa: FBT001
    return await ledger.submit(freeze("lot") if frozen else unfreeze("lot"))


WAYS = {
    "the member": frozen_member, "a lot": frozen_lot, "the benefit": frozen_benefit,
    "the provider": frozen_partner("rides"), "the channel": frozen_partner("delivery"),
    "an issuer": frozen_partner("video"),
}  # fmt: skip


@pytest.mark.parametrize("what", WAYS)
async def test_what_is_frozen_is_not_redeemed_until_it_goes_on(house: House, ledger: Ledger, what: str) -> None:
    """FROZEN, whichever of those involved it is; nothing is lost, and it goes on as if nothing had been."""
    await house.publish(TRIP)
    await known(ledger, "video", "delivery")
    await ledger.submit(award("video", 100, key="lot"))
    wish = redeem(TRIP, through="delivery")
    await WAYS[what](house, ledger, True)
    assert await reasons(ledger, replace(wish, id="refused")) == [R.FROZEN]
    with pytest.raises(BenefitUnavailable):
        await ledger.quote(replace(wish, id="quote"))
    await WAYS[what](house, ledger, False)
    assert redemption_of(await ledger.submit(wish)).points == 10


async def test_frozen_issuers_points_are_passed_over(house: House, ledger: Ledger) -> None:
    """While other points suffice they pay; FROZEN is only said where the frozen ones would have helped."""
    await house.publish(TRIP)
    await known(ledger, "video", "delivery")
    await ledger.submit(award("video", 100))
    await ledger.submit(award("delivery", 15))
    await WAYS["an issuer"](house, ledger, True)
    taken = redemption_of(await ledger.submit(redeem(TRIP, through="delivery")))
    assert [debit.issuer for debit in taken.debits] == ["delivery"]
    assert await reasons(ledger, redeem(TRIP, through="delivery")) == [R.FROZEN]
    (told,) = await answers(ledger, redeem(TRIP, 20, through="delivery"))
    assert isinstance(told, InsufficientPoints)


@pytest.mark.parametrize("what", ["the member", "the benefit", "the provider", "the channel", "an issuer"])
async def test_a_reservation_waits_while_somebody_is_frozen(house: House, ledger: Ledger, what: str) -> None:
    """What is held cannot be confirmed meanwhile; it can be let go, and confirmed afterwards."""
    await house.publish(TRIP)
    await known(ledger, "video", "delivery")
    await ledger.submit(award("video", 100, key="lot"))
    held = redemption_of(await ledger.submit(reserve(TRIP, through="delivery")))
    other = redemption_of(await ledger.submit(reserve(TRIP, through="delivery")))
    await WAYS[what](house, ledger, True)
    (told,) = await answers(ledger, act(Step.CONFIRM, held))
    assert isinstance(told, Forbidden)
    await ledger.submit(act(Step.CANCEL, other))
    await WAYS[what](house, ledger, False)
    await ledger.submit(act(Step.CONFIRM, held))


async def test_what_was_taken_before_goes_its_way(house: House, ledger: Ledger) -> None:
    """Freezing hinders no delivery, no failure and no reversal: members get back what is theirs."""
    await house.publish(TRIP)
    await member(ledger)
    first, second, third = [redemption_of(await ledger.submit(redeem(TRIP))) for _ in range(3)]
    for what in ("the provider", "the benefit", "an issuer"):
        await WAYS[what](house, ledger, True)
    await ledger.submit(act(Step.FULFIL, first))
    await ledger.submit(act(Step.FAIL, second))
    await ledger.submit(act(Step.REVERSE, first))
    await ledger.submit(act(Step.REVERSE, third))
    assert (await house.wallet()).balance(await house.soon()) == 1_000


# ---------------------------------------------------------------- how rules are kept


async def test_a_freeze_is_not_lost_to_a_partner_that_lays_down_something_else(house: House) -> None:
    """Twenty at once, each changing one thing: the last version has them all, and each has a version of its own."""
    changes: list[Callable[[Rules], Rules]] = [
        lambda rules: rules.freezing("fraud"),
        lambda rules: replace(rules, gift_day_points=7),
        lambda rules: replace(rules, time_zone="Asia/Tokyo"),
        lambda rules: replace(rules, award_reversal=AwardReversal.DEBT),
        *(lambda rules, sku=f"rides/{number}": rules.freezing_benefit(sku, "broken") for number in range(16)),
    ]
    made = await asyncio.gather(*(house.terms.change_rules("rides", change) for change in changes))
    assert sorted(rules.version for rules in made) == list(range(1, 21))
    versions = await house.terms.rules("rides")
    last = versions[0]
    assert (last.frozen, last.gift_day_points, last.time_zone) == ("fraud", 7, "Asia/Tokyo")
    assert last.award_reversal is AwardReversal.DEBT
    assert {one.benefit for one in last.frozen_benefits} == {f"rides/{number}" for number in range(16)}
    assert [rules.version for rules in versions] == list(range(20, 0, -1))
    assert [rules.since for rules in versions] == sorted((rules.since for rules in versions), reverse=True)


async def test_what_changes_nothing_makes_no_version(house: House) -> None:
    """The same again is the same version, whoever says it and why; so is unfreezing what is not frozen."""
    first = await house.terms.change_rules(
        "rides", lambda rules: replace(rules.freezing("fraud"), actor="eve", reason="fraud")
    )
    again = await house.terms.change_rules("rides", lambda rules: replace(rules.freezing("fraud"), actor="bob"))
    assert (first.version, first.actor, first.reason) == (1, "eve", "fraud")
    assert again == first
    never = await house.terms.change_rules("video", lambda rules: rules.freezing(None))
    assert (never.version, await house.terms.rules("video")) == (0, [])


async def test_a_version_that_is_not_the_last_is_refused(house: House) -> None:
    """Whoever says which version it means is told when another was faster; nothing is changed."""
    await house.terms.change_rules("rides", lambda rules: replace(rules, gift_day_points=1), 0)
    for wrong in (0, 2):
        with pytest.raises(VersionConflict) as told:
            await house.terms.change_rules("rides", lambda rules: replace(rules, gift_day_points=2), wrong)
        assert told.value.current_version == 1
    await house.terms.change_rules("rides", lambda rules: replace(rules, gift_day_points=2), 1)
    assert [rules.gift_day_points for rules in await house.terms.rules("rides")] == [2, 1]


async def test_the_last_version_of_everybody_is_what_is_read(house: House) -> None:
    """Of many versions of several partners the book has each one's last, and all of it as it was said."""
    said = Rules(
        partner="rides", award_reversal=AwardReversal.TAKE_WHAT_IS_LEFT, gift_day_points=5, time_zone="Asia/Tokyo",
        velocity=(Velocity(window_seconds=60, points_max=10**17, benefit=TRIP.id, points_from=3),), frozen="fraud",
        frozen_benefits=(FrozenBenefit(TRIP.id, "broken"),), actor="eve", reason="fraud",
    )  # fmt: skip
    for number in range(1, 12):
        await house.terms.change_rules("rides", lambda rules, n=number: replace(rules, gift_day_points=100 + n))  # type: ignore[misc]
    await house.terms.change_rules("video", lambda rules: replace(rules, gift_day_points=9))
    last = await house.terms.change_rules("rides", lambda _: said)
    _, book, _ = await house.books.current_terms()
    assert sorted((rules.partner, rules.version) for rules in book) == [("rides", 12), ("video", 1)]
    assert book.of("rides") == last
    assert last.says(said)
    assert book.of("delivery") == Rules(partner="delivery")
