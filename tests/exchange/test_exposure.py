"""Caps on what partners may owe, on a real MongoDB with several lanes. Each test ends with all invariants proved."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from exchange.amounts import Money, decimal_from_minor
from exchange.batch import Outcome
from exchange.benefit import UnavailableReason
from exchange.errors import BenefitUnavailable, ExchangeError, IdempotencyConflict, ValidationFailed, VersionConflict
from exchange.exposure import Cap, Exposure, Funding, Pair
from exchange.lane import LaneKeeper
from exchange.ledger import Ledger
from exchange.redemption import Step
from exchange.settlement.clearing import Settlement
from exchange.store.books import Books
from exchange.store.headroom import Headroom
from exchange.store.periods import Periods
from exchange.sweeper import Sweeper
from tests.examples import DOCS
from tests.exchange.conftest import KEYRING, House, answers, known
from tests.exchange.speech import NOW, act, agreement, award, benefit, by_reference, redeem, reserve

VIDEO = Pair("video", "EUR")
RIDES = Pair("rides", "EUR")
TRIP = benefit("rides/trip", 100)
"""100 points of video are 100 cents that it owes rides."""


@pytest.fixture
def headroom(house: House) -> Headroom:
    return Headroom(house.db)


@pytest.fixture(autouse=True)
async def begun(house: House, headroom: Headroom, proved: None) -> None:
    """Begin with rides' trips for a euro of video's points."""
    await headroom.create_indexes()
    await house.agree(agreement("video", "rides", 1_000), agreement("rides", "video", 1_000))
    await house.publish(TRIP)


async def rich(ledger: Ledger, name: str = "ann", points: int = 100_000) -> str:
    """Bring a member into being who has many points of video and nothing else."""
    wallet = await known(ledger, "video", "rides", reference=name)
    await ledger.submit(award("video", points, whose=by_reference("video", name)))
    return wallet


async def capped(headroom: Headroom, minor: int | None, pair: Pair = VIDEO, **more: Any) -> Cap:
    return await headroom.set_cap(pair, minor, actor="ada", **more)


async def paid(headroom: Headroom, minor: int, key: str = "payment", pair: Pair = VIDEO) -> None:
    funding = Funding(
        id=key, partner=pair.partner, amount=Money(minor, pair.currency), reference="bank 1", actor="ada", at=NOW
    )
    await headroom.fund(funding)


async def standing(headroom: Headroom, pair: Pair = VIDEO) -> Exposure:
    (found,) = [each for each in await headroom.exposures() if each.in_force.pair == pair]
    return found


def refused(answer: Outcome | ExchangeError) -> bool:
    """Whether it was refused for the issuer's limit, and for nothing else."""
    if isinstance(answer, Outcome):
        return False
    assert isinstance(answer, BenefitUnavailable), answer
    assert answer.reasons == [UnavailableReason.ISSUER_LIMIT]
    return True


async def trip(ledger: Ledger, name: str = "ann", quantity: int = 1) -> bool:
    """Take trips, and return whether they were taken."""
    (answer,) = await answers(ledger, redeem(TRIP, quantity, whose=by_reference("video", name)))
    return not refused(answer)


async def test_no_more_is_owed_than_the_cap(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """A redemption that leads to the cap is taken, to the last cent; one beyond it is refused; without a cap all go."""
    await rich(ledger)
    assert await trip(ledger)
    await capped(headroom, 350)
    assert (await standing(headroom)).left.minor == 250
    assert [await trip(ledger) for _ in range(4)] == [True, True, False, False]
    assert await trip(ledger, quantity=2) is False
    half = benefit("rides/half", 50)
    await house.publish(half)
    assert not refused((await answers(ledger, redeem(half)))[0])
    assert (await standing(headroom)).left.minor == 0
    await capped(headroom, None)
    assert await trip(ledger)


async def test_two_lanes_spend_exactly_the_headroom(house: House, headroom: Headroom) -> None:
    """Two processes that redeem as fast as they can spend what there is to the last cent, and never one more."""
    ledgers = [await house.ledger(), await house.ledger()]
    names = [f"member-{n}" for n in range(16)]
    for name in names:
        await rich(ledgers[0], name)
    await capped(headroom, 10_000)
    taken = 0

    async def hammer(number: int) -> None:
        nonlocal taken
        while await trip(ledgers[number % 2], names[number]):
            taken += 1

    await asyncio.gather(*(hammer(number) for number in range(16)))
    assert taken == 100
    found = await standing(headroom)
    assert (found.used.minor, found.left.minor) == (10_000, 0)
    assert await house.count("headroom", pool=VIDEO.id, used={"$gt": 0}) == 2


async def test_the_last_cent_is_reached_from_a_lane_that_never_drew(
    house: House, ledger: Ledger, headroom: Headroom
) -> None:
    """What one lane has drawn and not used another can spend, also when the first one's process is gone."""
    await rich(ledger)
    await capped(headroom, 1_000)
    assert await trip(ledger)
    drawn = await house.db["headroom"].find_one({"pool": VIDEO.id})
    assert drawn is not None
    assert drawn["granted"] > drawn["used"] == 100
    await ledger.stop()
    await house.db["lanes"].update_many({}, {"$set": {"lease_until": await house.soon(hours=1)}})
    other = await house.ledger()
    assert [await trip(other) for _ in range(10)] == [True] * 9 + [False]
    assert await house.count("headroom", pool=VIDEO.id) == 2


async def test_who_takes_over_a_lane_goes_on_with_its_slice(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """A stolen lane's slice is the thief's, and the zombie can use none of it any more."""
    await rich(ledger)
    await capped(headroom, 1_000)
    assert await trip(ledger)
    await house.db["lanes"].update_many({}, {"$set": {"lease_until": await house.soon(hours=-1)}})
    thief = await house.ledger()
    assert all([await trip(thief), await trip(ledger), await trip(thief)])
    assert [await trip(thief, quantity=7), await trip(thief, quantity=6)] == [False, True]
    assert (await standing(headroom)).left.minor == 0


async def test_a_cap_begins_while_members_redeem(house: House, headroom: Headroom) -> None:
    """A cap that is set under full load counts all that was owed before it, and holds from its return on."""
    ledgers = [await house.ledger() for _ in range(3)]
    names = [f"member-{n}" for n in range(12)]
    for name in names:
        await rich(ledgers[0], name)
    taken, going = 0, True

    async def busy(number: int) -> None:
        nonlocal taken
        while going:
            done = await trip(ledgers[number % 3], names[number])
            taken += done

    members = [asyncio.create_task(busy(number)) for number in range(12)]
    for more in (50_000, None, 50_000, 30_000):
        await asyncio.sleep(0.3)
        cap = None if more is None else taken * 100 + more
        await capped(headroom, cap)
    async with asyncio.timeout(30):
        while (await standing(headroom)).left.minor > 0:  # noqa: ASYNC110 - members redeem it
            await asyncio.sleep(0.05)
    going = False
    await asyncio.gather(*members)
    assert (await standing(headroom)).used.minor == 100 * taken == cap


async def test_what_was_decided_without_the_cap_is_decided_again(
    house: House, ledger: Ledger, headroom: Headroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that read before the cap was set and commits after it loses its place in the lane, and is refused."""
    await rich(ledger)
    assert await trip(ledger)
    commit, decided, go = Books.commit, asyncio.Event(), asyncio.Event()

    async def slowly(*what: Any) -> None:
        decided.set()
        await go.wait()
        await commit(*what)

    monkeypatch.setattr(Books, "commit", slowly)
    asked = asyncio.create_task(trip(ledger))
    await decided.wait()
    await capped(headroom, 199)
    go.set()
    assert await asked is False
    assert (await standing(headroom)).left.minor == 99


async def test_a_cut_does_not_carry_a_batch_past_a_cap(
    house: House, ledger: Ledger, headroom: Headroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that wants to cut its lane and finds it marked reads again before it goes on."""
    await rich(ledger)
    assert await trip(ledger)
    cut, wanted, go = LaneKeeper.cut_if_due, asyncio.Event(), asyncio.Event()

    async def slowly(*what: Any) -> Any:
        if not wanted.is_set():
            wanted.set()
            await go.wait()
        return await cut(*what)

    await Periods(house.db).mark(1)
    monkeypatch.setattr(LaneKeeper, "cut_if_due", slowly)
    asked = asyncio.create_task(trip(ledger))
    await wanted.wait()
    await capped(headroom, 199)
    go.set()
    assert await asked is False
    assert (await standing(headroom)).left.minor == 99
    await Settlement(house.db, KEYRING).close(1)


async def test_a_cap_whose_setter_died_is_opened_by_the_next_batch(
    house: House, ledger: Ledger, headroom: Headroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the cap and its opening nothing that concerns the partner is decided: whoever comes opens it."""
    await rich(ledger)
    assert await trip(ledger)

    async def die(_: object, __: Cap) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(Headroom, "open", die)
        with pytest.raises(RuntimeError):
            await capped(headroom, 300)
    assert await headroom.exposures() == []
    assert [await trip(ledger) for _ in range(3)] == [True, True, False]
    assert (await standing(headroom)).used.minor == 300


async def test_a_reservation_uses_headroom_until_it_ends(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """Reserved is as good as owed, also before the cap; what is let go, cancelled or lapsed is headroom again."""
    await rich(ledger)
    early = await ledger.submit(reserve(TRIP, 3, ttl=3_600))
    await capped(headroom, 600)
    assert (await standing(headroom)).left.minor == 300
    late = await ledger.submit(reserve(TRIP, 2, ttl=3_600))
    assert refused((await answers(ledger, reserve(TRIP, 2)))[0])
    assert [await trip(ledger), await trip(ledger)] == [True, False]
    await ledger.submit(act(Step.CONFIRM, early.redemption, 1))
    assert (await standing(headroom)).left.minor == 200
    await ledger.submit(act(Step.CANCEL, late.redemption))
    assert (await standing(headroom)).left.minor == 400
    short = await ledger.submit(reserve(TRIP, 4, ttl=1))
    assert (await standing(headroom)).left.minor == 0
    await asyncio.sleep(1.1)
    await ledger.submit(act(Step.LAPSE, short.redemption))
    assert (await standing(headroom)).left.minor == 400


async def test_a_quote_says_it_too(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """A quote is refused for what no lane has left, and not because one lane has little."""
    await rich(ledger)
    await capped(headroom, 150)
    assert (await ledger.quote(redeem(TRIP))).points == 100
    assert await trip(ledger)
    with pytest.raises(BenefitUnavailable) as refusal:
        await ledger.quote(redeem(TRIP))
    assert refusal.value.reasons == [UnavailableReason.ISSUER_LIMIT]


async def test_all_reasons_are_told_at_once(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """The issuer's limit stands beside every other reason, and draws nothing for what is refused anyway."""
    await rich(ledger)
    await house.publish(benefit("rides/gone", 100, stock=0))
    await capped(headroom, 0)
    (answer,) = await answers(ledger, redeem("rides/gone"))
    assert isinstance(answer, BenefitUnavailable)
    assert answer.reasons == [UnavailableReason.OUT_OF_STOCK, UnavailableReason.ISSUER_LIMIT]


async def test_a_prepaid_issuer_spends_what_it_paid_in(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """With a cap of zero there is what was paid: before the cap or after it, less what is paid out."""
    await rich(ledger)
    await paid(headroom, 100, "before")
    await capped(headroom, 0)
    assert [await trip(ledger), await trip(ledger)] == [True, False]
    await paid(headroom, 250)
    assert [await trip(ledger), await trip(ledger)] == [True, True]
    assert (await standing(headroom)).left.minor == 50
    await paid(headroom, 150, "more")
    await paid(headroom, -120, "out")
    found = await standing(headroom)
    assert (found.paid.minor, found.used.minor, found.left.minor) == (380, 300, 80)
    assert await trip(ledger) is False


async def test_a_payment_is_recorded_once(headroom: Headroom) -> None:
    """The same key with the same payment is that payment, with another one a conflict; zero is no payment."""
    await capped(headroom, 0)
    for _ in range(2):
        await paid(headroom, 100)
    assert (await standing(headroom)).paid.minor == 100
    with pytest.raises(IdempotencyConflict):
        await headroom.fund(
            Funding(
                id="payment", partner="video", amount=Money(200, "EUR"), reference="", actor="ada", at=NOW,
                fingerprint="another",
            )
        )  # fmt: skip
    with pytest.raises(ValidationFailed):
        await paid(headroom, 0, "nothing")
    assert [each.amount.minor for each in await headroom.payments("video")] == [100]


async def test_what_it_earns_is_headroom(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """Debit is net: what a capped issuer is owed as a provider it can owe as an issuer."""
    await rich(ledger)
    await house.publish(benefit("video/film", 100))
    await ledger.submit(award("rides", 500, whose=by_reference("rides", "ron")))
    await capped(headroom, 0)
    assert await trip(ledger) is False
    await ledger.submit(redeem("video/film", 2, through="rides", whose=by_reference("rides", "ron")))
    assert [await trip(ledger) for _ in range(3)] == [True, True, False]


async def test_giving_back_is_never_refused(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """A reversal can lead a partner beyond its cap; then nobody spends before that is made good, in any lane."""
    other = await house.ledger()
    await rich(ledger)
    await house.publish(benefit("video/film", 100))
    ron = by_reference("rides", "ron")
    await ledger.submit(award("rides", 500, whose=ron))
    await capped(headroom, 0)
    film = (await ledger.submit(redeem("video/film", 3, through="rides", whose=ron))).redemption
    assert [await trip(other), await trip(ledger)] == [True, True]
    await ledger.submit(act(Step.REVERSE, film))
    assert (await standing(headroom)).left.minor == -200
    assert [await trip(other), await trip(ledger)] == [False, False]
    await ledger.submit(redeem("video/film", 1, through="rides", whose=ron))
    assert (await standing(headroom)).left.minor == -100
    assert [await trip(ledger), await trip(other)] == [False, False]
    await paid(headroom, 290)
    assert [await trip(other), await trip(ledger)] == [True, False]
    assert (await standing(headroom)).left.minor == 90


async def test_a_lower_cap_holds_at_once(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """What lanes had drawn under a higher cap they cannot spend under a lower one; a raised one is there at once."""
    await rich(ledger)
    await capped(headroom, 10_000)
    assert await trip(ledger)
    await capped(headroom, 150)
    assert await trip(ledger) is False
    await capped(headroom, 50)
    assert (await standing(headroom)).left.minor == -50
    assert await trip(ledger) is False
    await capped(headroom, 200)
    assert [await trip(ledger), await trip(ledger)] == [True, False]


async def test_nobody_else_is_touched(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """Redemptions that concern no capped partner write no headroom; another currency and another issuer are free."""
    await rich(ledger)
    await capped(headroom, 0, Pair("video", "CHF"))
    await capped(headroom, 0, Pair("delivery", "EUR"))
    assert await trip(ledger)
    assert await house.count("headroom", pool={"$exists": True}) == 0


async def test_caps_have_versions_and_a_history(headroom: Headroom) -> None:
    """Every version is kept with who set it; one that expects another version changes nothing."""
    await capped(headroom, 100)
    await capped(headroom, 200, expected_version=1, low_minor=10)
    with pytest.raises(VersionConflict) as conflict:
        await capped(headroom, 300, expected_version=1)
    assert conflict.value.current_version == 2
    await capped(headroom, None)
    history = await headroom.caps(*VIDEO)
    assert [(cap.version, cap.minor, cap.low_minor, cap.epoch) for cap in history] == [
        (3, None, None, 1), (2, 200, 10, 1), (1, 100, None, 1)
    ]  # fmt: skip
    assert await headroom.exposures() == []
    for wrong in ((-1, None), (10**18, None), (None, 5), (5, -1)):
        with pytest.raises(ValidationFailed):
            await capped(headroom, wrong[0], low_minor=wrong[1])
    with pytest.raises(ValidationFailed):
        await capped(headroom, 5, Pair("video", "XXL"))


async def test_low_headroom_is_noticed_once_per_crossing(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """However often and by however many it is looked at, one fall below the threshold is one notice."""
    await rich(ledger)
    await capped(headroom, 500, low_minor=250)
    sweepers = [Sweeper(house.books, ledger), Sweeper(house.books, ledger)]

    async def noticed() -> list[tuple[int, bool]]:
        for _ in range(2):
            await asyncio.gather(*(sweeper.notice() for sweeper in sweepers))
        return [(each.left.minor, each.cleared_at is None) for each in (await standing(headroom)).notices]

    assert await trip(ledger, quantity=2)
    assert await noticed() == []
    assert await trip(ledger)
    assert await noticed() == [(200, True)]
    assert await trip(ledger)
    assert await noticed() == [(200, True)]
    await paid(headroom, 400)
    assert await noticed() == [(200, False)]
    assert await trip(ledger, quantity=3)
    assert await noticed() == [(200, True), (200, False)]
    await capped(headroom, 500)
    assert [standing for _, standing in await noticed()] == [False, False]


DAMAGE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an opening": ({"_id": VIDEO.id}, {"$inc": {"opening": 1}}),
    "what a lane used": ({"pool": VIDEO.id}, {"$inc": {"used": -1}}),
    "what a lane was granted": ({"pool": VIDEO.id}, {"$inc": {"granted": 1}}),
    "what the pool granted": ({"_id": VIDEO.id}, {"$inc": {"granted": -1}}),
    "a cap that nobody set": ({"_id": VIDEO.id}, {"$inc": {"cap": 1}}),
    "money that nobody paid": ({"_id": VIDEO.id}, {"$inc": {"paid": 1}}),
}


async def test_a_check_finds_headroom_that_was_tampered_with(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """Whatever is changed in pool or slices behind the ledger's back breaks the invariant that speaks of them."""
    await rich(ledger)
    await ledger.submit(reserve(TRIP, 2, ttl=3_600))
    await capped(headroom, 600)
    await paid(headroom, 10)
    assert [await trip(ledger), await trip(ledger)] == [True, True]
    for what, (query, harm) in DAMAGE.items():
        (before,) = await house.db["headroom"].find(query).to_list(None)
        await house.db["headroom"].update_one({"_id": before["_id"]}, harm)
        assert list(await house.broken()) == [12], what
        await house.db["headroom"].replace_one({"_id": before["_id"]}, before)
    whole = {"granted": 10_000}
    await house.db["headroom"].update_one({"_id": VIDEO.id}, {"$inc": whole})
    await house.db["headroom"].update_one({"pool": VIDEO.id}, {"$inc": whole})
    assert [what for what in (await house.broken())[12] if "granted, of a cap" in what]
    for one in ({"_id": VIDEO.id}, {"pool": VIDEO.id}):
        await house.db["headroom"].update_one(one, {"$inc": {"granted": -10_000}})


def told_in_the_docs() -> list[tuple[str, ...]]:
    """Return cap, paid, used and left of each step of the worked example."""
    lines = (DOCS / "exposure.md").read_text().splitlines()
    first = lines.index("| what happens | cap | paid | used | left |") + 2
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    return [tuple(cell.strip() for cell in row.split("|")[2:-1]) for row in rows]


async def test_the_worked_example(house: House, ledger: Ledger, headroom: Headroom) -> None:
    """docs/exposure.md has every figure of a cap's life, step by step."""
    await house.agree(
        agreement("video", "rides", 809), agreement("rides", "video", 950, fee=200, commission=300),
    )  # fmt: skip
    trip, film = benefit("rides/trip", 150), benefit("video/film", 100)
    await house.publish(trip, film)
    await rich(ledger)
    await known(ledger, "rides", "delivery", reference="ron")
    ron = by_reference("delivery", "ron")
    await ledger.submit(award("rides", 100, whose=by_reference("rides", "ron")))

    async def one() -> bool:
        return not refused((await answers(ledger, redeem(trip)))[0])

    shown: list[tuple[str, ...]] = []

    async def show() -> None:
        await headroom.notice()
        found = await standing(headroom)
        cap, paid, used, left = (
            decimal_from_minor(amount.minor, "EUR") for amount in (found.cap, found.paid, found.used, found.left)
        )
        shown.append((cap, paid, used, f"{left}, low" if found.low else left))

    assert await one()
    held = (await ledger.submit(reserve(trip, 2, ttl=3_600))).redemption
    await capped(headroom, 500, low_minor=100)
    await show()
    for taken in (True, False):
        assert await one() is taken
        await show()
    await ledger.submit(act(Step.CONFIRM, held, 1))
    await show()
    earned = (await ledger.submit(redeem(film, through="delivery", whose=ron))).redemption
    await show()
    assert await one()
    await show()
    await ledger.submit(act(Step.REVERSE, earned))
    await show()
    await paid(headroom, 200)
    await show()
    await capped(headroom, 200, low_minor=100)
    await show()
    assert await one() is False
    await show()
    assert shown == told_in_the_docs()
    notices = (await standing(headroom)).notices
    assert [each.left.minor for each in notices] == [-84, 16, 15]
    assert [each.cleared_at is None for each in notices] == [True, False, False]
