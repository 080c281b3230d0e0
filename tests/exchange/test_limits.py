"""How much one member may take in a day, a week, a month; how fast, by whose rules; and what rules may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.amounts import POINTS_MAX
from exchange.benefit import Benefit, Fulfilment, LimitPeriod, UnavailableReason
from exchange.errors import BenefitUnavailable, ValidationFailed
from exchange.journal import EXCHANGE
from exchange.limits import LOOK_BACK_MAX, look_back, period_start, taken, too_fast
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.rules import (
    FROZEN_BENEFITS_MAX,
    VELOCITY_MAX,
    WINDOW_SECONDS_MAX,
    AwardReversal,
    RuleBook,
    Rules,
    Velocity,
    validate,
)
from exchange.wallet import Wallet
from tests.exchange.speech import (
    NOW,
    act,
    award,
    awarded,
    benefit,
    by_reference,
    decided,
    link,
    redeem,
    refused,
    reserve,
)

R = UnavailableReason
SNACK = benefit("video/snack", 10, member_limit=2, member_limit_period=LimitPeriod.DAY)
NO_RULES = RuleBook()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def took(
    of: Benefit = SNACK, quantity: int = 1, *, when: datetime = NOW, through: str = "video", **state: Any
) -> Redemption:  # fmt: skip
    """Return what a member took at a moment."""
    said = {"status": RedemptionStatus.FULFILLED, "points": of.points_price * quantity, **state}
    return Redemption(
        id="r", benefit=of.id, provider=of.partner, channel=through, wallet="w", quantity=quantity, debits=(), takes=(),
        created_at=when, updated_at=when, **said,
    )  # fmt: skip


# Limits of a period


@pytest.mark.parametrize(
    ("period", "zone", "now", "start"),
    [
        (LimitPeriod.DAY, "UTC", "2026-03-01T12:00", "2026-03-01T00:00"),
        (LimitPeriod.DAY, "UTC", "2026-03-01T00:00", "2026-03-01T00:00"),
        (LimitPeriod.WEEK, "UTC", "2026-03-01T23:59", "2026-02-23T00:00"),  # a Sunday
        (LimitPeriod.WEEK, "UTC", "2026-03-02T00:00", "2026-03-02T00:00"),
        (LimitPeriod.MONTH, "UTC", "2026-03-31T12:00", "2026-03-01T00:00"),
        (LimitPeriod.DAY, "Asia/Tokyo", "2026-03-01T14:59", "2026-02-28T15:00"),
        (LimitPeriod.DAY, "Asia/Tokyo", "2026-03-01T15:00", "2026-03-01T15:00"),
        (LimitPeriod.MONTH, "America/New_York", "2026-03-01T04:59", "2026-02-01T05:00"),
        # The clocks go forward on 8 March and back on 1 November: a month or week has an hour less or more.
        (LimitPeriod.DAY, "America/New_York", "2026-03-08T20:00", "2026-03-08T05:00"),
        (LimitPeriod.WEEK, "America/New_York", "2026-03-09T03:59", "2026-03-02T05:00"),
        (LimitPeriod.MONTH, "America/New_York", "2026-03-20T12:00", "2026-03-01T05:00"),
        (LimitPeriod.MONTH, "America/New_York", "2026-11-20T12:00", "2026-11-01T04:00"),
    ],
)
def test_a_period_begins_by_the_providers_clocks(period: LimitPeriod, zone: str, now: str, start: str) -> None:
    """At midnight, on Monday, on the first, wherever the provider says it is."""
    rules = RuleBook([Rules(partner="video", time_zone=zone)])
    assert period_start(period, "video", rules, at(now)) == at(start)
    assert period_start(LimitPeriod.EVER, "video", rules, at(now)) is None


def test_a_limit_counts_what_the_member_still_has_of_this_period() -> None:
    """What was before, of another benefit, ended untaken or went back does not count; a reservation does."""
    recent = [
        took(quantity=3, returned=1), took(status=RedemptionStatus.RESERVED), took(when=NOW - timedelta(hours=12)),
        took(quantity=9, when=NOW - timedelta(hours=12, milliseconds=1)), took(benefit("video/film"), 9),
        *(took(quantity=9, status=RedemptionStatus(ended)) for ended in ("CANCELLED", "EXPIRED", "FAILED")),
        took(quantity=9, returned=9, status=RedemptionStatus.REVERSED),
    ]  # fmt: skip
    assert taken(SNACK, 99, recent, NO_RULES, NOW) == 4
    assert taken(replace(SNACK, member_limit_period=LimitPeriod.EVER), 99, recent, NO_RULES, NOW) == 99


def test_the_limit_is_reached_and_is_over_with_the_day() -> None:
    """The third of a day is refused, and has its place on the next one."""
    wallet = awarded(award("video", 100))
    recent: list[Redemption] = []
    for _ in range(2):
        decision = decided(redeem(SNACK), wallet, of=SNACK, recent=recent)
        assert decision.redemption is not None
        wallet, recent = decision.wallet, [*recent, decision.redemption]
    refusal = refused(redeem(SNACK), wallet, of=SNACK, recent=recent)
    assert isinstance(refusal, BenefitUnavailable)
    assert refusal.reasons == [R.MEMBER_LIMIT_REACHED]
    midnight = at("2026-03-02T00:00")
    assert decided(redeem(SNACK, 2), wallet, of=SNACK, recent=recent, now=midnight).redemption is not None


# Velocity


def rules(partner: str = "video", **rule: Any) -> RuleBook:
    return RuleBook([Rules(partner=partner, velocity=(Velocity(window_seconds=3_600, **rule),))])


def test_so_many_redemptions_in_any_window() -> None:
    """Counted to the moment at which the first of them is that long ago."""
    begun = [took(when=NOW - timedelta(minutes=59)), took(when=NOW - timedelta(minutes=1))]
    for most, fast in ((1, True), (2, True), (3, False)):
        assert too_fast(SNACK, "video", 10, begun, rules(redemptions_max=most), NOW) is fast
    assert not too_fast(SNACK, "video", 10, begun, rules(redemptions_max=2), NOW + timedelta(minutes=1))
    assert too_fast(SNACK, "video", 10, [], rules(redemptions_max=0), NOW)


def test_so_many_points_in_any_window() -> None:
    """The one that is asked for counts with those before it."""
    begun = [took(quantity=3)]
    for most, fast in ((39, True), (40, False)):
        assert too_fast(SNACK, "video", 10, begun, rules(points_max=most), NOW) is fast


def test_whatever_became_of_it_was_begun() -> None:
    """A rule against haste counts what was cancelled, failed or reversed as well."""
    for status in RedemptionStatus:
        assert too_fast(SNACK, "video", 10, [took(status=status, returned=1)], rules(redemptions_max=1), NOW)


def test_a_partners_rule_is_for_what_goes_through_it() -> None:
    """Its own benefits and those taken through it; the exchange's rule is for everything."""
    trip = benefit("rides/trip", 10)
    for partner, fast in (("video", True), ("rides", True), ("delivery", False), (EXCHANGE, True)):
        assert too_fast(trip, "video", 10, [took(trip)], rules(partner, redemptions_max=1), NOW) is fast
    elsewhere = [took(trip, through="rides"), took(benefit("delivery/lunch"), through="rides")]
    assert not too_fast(SNACK, "video", 10, elsewhere, rules(redemptions_max=1), NOW)
    assert too_fast(SNACK, "video", 10, elsewhere, rules(EXCHANGE, redemptions_max=2), NOW)


def test_a_rule_can_be_for_one_benefit_or_for_large_amounts() -> None:
    """Others, and smaller ones, neither count nor are stopped."""
    begun = [took(), took(benefit("video/film", 500))]
    assert too_fast(SNACK, "video", 10, begun, rules(redemptions_max=1, benefit=SNACK.id), NOW)
    assert not too_fast(SNACK, "video", 10, begun, rules(redemptions_max=1, benefit="video/another"), NOW)
    assert not too_fast(SNACK, "video", 10, begun, rules(redemptions_max=1, points_from=500), NOW)
    assert too_fast(SNACK, "video", 500, begun, rules(redemptions_max=1, points_from=500), NOW)
    assert not too_fast(SNACK, "video", 500, begun, rules(redemptions_max=2, points_from=500), NOW)


def test_whoever_is_too_fast_is_told_so() -> None:
    """By redeeming, by reserving, through whichever partner."""
    ride = benefit("rides/trip", 10, fulfilment=Fulfilment.PARTNER_CALL)
    wallet = decided(link("rides", "w"), awarded(award("rides", 100, whose=by_reference("rides")), wallet=Wallet("w")))
    hasty = [Rules(partner="rides", velocity=(Velocity(window_seconds=60, redemptions_max=1),))]
    first = decided(reserve(ride, through="rides"), wallet.wallet, of=ride, rules=hasty)
    assert first.redemption is not None
    gone = decided(act(Step.CANCEL, first.redemption), first.wallet, of=ride, redemption=first.redemption, rules=hasty)
    assert gone.redemption is not None
    recent = [gone.redemption]
    for command in (redeem(ride, through="rides"), reserve(ride, through="rides")):
        refusal = refused(command, gone.wallet, of=ride, rules=hasty, recent=recent)
        assert isinstance(refusal, BenefitUnavailable)
        assert refusal.reasons == [R.VELOCITY]
        later = NOW + timedelta(seconds=60)
        assert decided(command, gone.wallet, of=ride, rules=hasty, recent=recent, now=later).redemption is not None


# How far back has to be read


def test_nothing_is_read_that_nobody_counts() -> None:
    """Without limits of a period and without rules of haste a decision rests on no redemption before it."""
    free, ever = benefit("video/film"), benefit("video/once", member_limit=1)
    assert look_back([free, ever], NO_RULES, NOW) is None
    assert look_back([SNACK], NO_RULES, NOW) == at("2026-03-01T00:00")


def test_the_longest_look_back_counts() -> None:
    """Of all benefits' periods and all windows; none goes further than the most."""
    book = RuleBook([
        Rules(partner="rides", velocity=(Velocity(window_seconds=86_400, redemptions_max=1),)),
        Rules(partner="delivery", velocity=(Velocity(window_seconds=WINDOW_SECONDS_MAX, redemptions_max=1),)),
    ])  # fmt: skip
    assert look_back([SNACK], book, NOW) == NOW - timedelta(days=31)
    monthly = benefit("video/pass", member_limit=1, member_limit_period=LimitPeriod.MONTH)
    latest = at("2026-03-31T23:59")
    west = RuleBook([Rules(partner="video", time_zone="Pacific/Pago_Pago")])
    for rules_ in (NO_RULES, west, book):
        since = look_back([monthly, SNACK], rules_, latest)
        assert since is not None
        assert latest - since <= LOOK_BACK_MAX


# Rules


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"gift_day_points": -1}, ["giftDayPoints"]),
        ({"gift_day_points": 10**15 + 1}, ["giftDayPoints"]),
        ({"time_zone": "Mars/Olympus"}, ["timeZone"]),
        ({"time_zone": ""}, ["timeZone"]),
        ({"time_zone": "../etc/passwd"}, ["timeZone"]),
        ({"time_zone": "/usr/share/zoneinfo/UTC"}, ["timeZone"]),
        ({"velocity": (Velocity(window_seconds=1, points_max=1),) * (VELOCITY_MAX + 1)}, ["velocity"]),
        ({"velocity": (Velocity(window_seconds=0, points_max=1),)}, ["velocity", "0", "windowSeconds"]),
        ({"velocity": (Velocity(window_seconds=WINDOW_SECONDS_MAX + 1, points_max=1),)},
         ["velocity", "0", "windowSeconds"]),
        ({"velocity": (Velocity(window_seconds=1),)}, ["velocity", "0"]),
        ({"velocity": (Velocity(window_seconds=1, redemptions_max=-1),)},
         ["velocity", "0", "redemptionsMax"]),
        ({"velocity": (Velocity(window_seconds=1, redemptions_max=2**31),)}, ["velocity", "0", "redemptionsMax"]),
        ({"velocity": (Velocity(window_seconds=1, points_max=-1),)}, ["velocity", "0", "pointsMax"]),
        ({"velocity": (Velocity(window_seconds=1, points_max=POINTS_MAX + 1),)}, ["velocity", "0", "pointsMax"]),
        ({"velocity": (Velocity(window_seconds=1, points_max=1, points_from=-1),)}, ["velocity", "0", "pointsFrom"]),
        ({"partner": EXCHANGE, "award_reversal": AwardReversal.DEBT}, ["awardReversal"]),
        ({"partner": EXCHANGE, "gift_day_points": 1}, ["giftDayPoints"]),
        ({"partner": EXCHANGE, "time_zone": "Europe/Berlin"}, ["timeZone"]),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_kept_are_refused_by_their_field(said: dict[str, Any], path: list[str]) -> None:
    """Whoever lays them down is told which."""
    with pytest.raises(ValidationFailed) as raised:
        validate(Rules(**{"partner": "video", **said}))
    assert raised.value.path == ["input", *path]


def test_rules_at_their_limits_are_kept() -> None:
    """The most and the least of everything."""
    most = (Velocity(window_seconds=WINDOW_SECONDS_MAX, redemptions_max=0, points_max=0),) * VELOCITY_MAX
    validate(Rules(partner="video", gift_day_points=10**15, time_zone="Europe/Berlin", velocity=most))


def test_the_last_version_of_the_rules_holds() -> None:
    """In whichever order they are read; whoever has said nothing has what is usual."""
    versions = [Rules(partner="video", version=n, gift_day_points=n) for n in (2, 3, 1)]
    book = RuleBook(versions)
    assert (book.of("video").version, list(book)) == (3, [versions[1]])
    assert book.of("rides") == Rules(partner="rides")


def test_what_a_version_says_is_not_who_made_it() -> None:
    """Two versions say the same if they lay down the same, whoever made them, when and why."""
    one = Rules(partner="video", gift_day_points=5).freezing("fraud")
    assert one.says(replace(one, version=9, since=NOW, actor="eve", reason="again"))
    for other in (one.freezing("another"), one.freezing(None), replace(one, gift_day_points=6)):
        assert not one.says(other)


def test_too_many_frozen_benefits_are_refused() -> None:
    """They stand in every version: beyond a number the partner is to be frozen. What is frozen can still be let go."""
    full = Rules(partner="rides")
    for number in range(FROZEN_BENEFITS_MAX):
        full = full.freezing_benefit(f"rides/{number:04}", "broken")
    with pytest.raises(ValidationFailed) as raised:
        full.freezing_benefit("rides/one-more", "broken")
    assert raised.value.path == ["input", "benefit"]
    assert full.freezing_benefit("rides/0000", "worse").frozen_benefits[0] == ("rides/0000", "worse")
    assert len(full.freezing_benefit("rides/0000", None).frozen_benefits) == FROZEN_BENEFITS_MAX - 1
    book = RuleBook([full.freezing_benefit("rides/0000", None)])
    assert [book.frozen_benefit("rides", f"rides/{number}") for number in ("0000", "0001")] == [False, True]
