"""Limits of some time held against a calendar, and raced on a real MongoDB."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.batch import Outcome
from exchange.benefit import Benefit, Fulfilment, LimitPeriod, UnavailableReason
from exchange.decisions import Terms, decide
from exchange.errors import BenefitUnavailable
from exchange.journal import EXCHANGE
from exchange.ledger import Ledger
from exchange.limits import LOOK_BACK_MAX, period_start, taken
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.rules import FrozenBenefit, RuleBook, Rules, Velocity
from exchange.wallet import Wallet
from tests.exchange.conftest import House, answers, known
from tests.exchange.speech import (
    SALT,
    act,
    agreement,
    agreements,
    award,
    awarded,
    benefit,
    by_reference,
    redeem,
    reserve,
)

ZONES = (
    "UTC", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/St_Johns", "Asia/Kathmandu",
    # Clocks that are changed by half an hour, by two, or at midnight, which then does not exist or comes twice.
    "Australia/Lord_Howe", "Antarctica/Troll", "America/Havana", "Africa/Cairo", "Asia/Beirut",
)  # fmt: skip
RIDE = benefit("rides/ride", 10, fulfilment=Fulfilment.PARTNER_CALL)

moments = st.integers(0, 36_000_000).map(lambda seconds: datetime(2025, 12, 1, tzinfo=UTC) + timedelta(seconds=seconds))


def in_zone(zone: str) -> RuleBook:
    return RuleBook([Rules(partner="rides", time_zone=zone)])


def made(at: datetime, units: int = 1, *, of: Benefit = RIDE, channel: str = "video", **state: Any) -> Redemption:
    return Redemption(
        **{
            "id": f"{at.isoformat()}/{units}", "benefit": of.id, "provider": of.partner, "channel": channel,
            "wallet": "w", "quantity": units, "points": 10 * units, "status": RedemptionStatus.CONFIRMED, "debits": (),
            "takes": (), "created_at": at, "updated_at": at, **state,
        }
    )  # fmt: skip


def same_period(period: LimitPeriod, one: date, other: date) -> bool:
    """Say it in the words of the calendar."""
    if period is LimitPeriod.DAY:
        return one == other
    if period is LimitPeriod.WEEK:
        return one.isocalendar()[:2] == other.isocalendar()[:2]
    return (one.year, one.month) == (other.year, other.month)


@given(moments, moments, st.sampled_from(ZONES), st.sampled_from([*LimitPeriod][:3]))
def test_a_period_begins_when_its_calendar_says(one: datetime, other: datetime, zone: str, period: LimitPeriod) -> None:
    """Two moments are in one day, week or month if the partner's own calendar says so: offsets and changes included."""
    now, before = max(one, other), min(one, other)
    start = period_start(period, "rides", in_zone(zone), now)
    assert start is not None
    local = [at.astimezone(ZoneInfo(zone)).date() for at in (now, before)]
    assert (before >= start) == same_period(period, *local)
    assert now - start <= LOOK_BACK_MAX


@pytest.mark.parametrize(
    ("zone", "now", "start"),
    [
        # Berlin's clocks go forward on 29 March 2026 at 1:00 UTC, and back on 25 October at 1:00 UTC.
        ("Europe/Berlin", "2026-03-29T12:00Z", "2026-03-28T23:00Z"),
        ("Europe/Berlin", "2026-03-30T12:00Z", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-10-25T12:00Z", "2026-10-24T22:00Z"),
        ("Europe/Berlin", "2026-10-26T12:00Z", "2026-10-25T23:00Z"),
        ("Pacific/Kiritimati", "2026-01-01T09:59Z", "2025-12-31T10:00Z"),
        ("America/St_Johns", "2026-07-01T02:29Z", "2026-06-30T02:30Z"),
        # In Havana midnight does not exist on 8 March; on 1 November it comes twice, and the first begins the day.
        ("America/Havana", "2026-03-08T16:00Z", "2026-03-08T05:00Z"),
        ("America/Havana", "2026-11-01T04:30Z", "2026-11-01T04:00Z"),
        ("America/Havana", "2026-11-01T05:30Z", "2026-11-01T04:00Z"),
    ],
)
def test_days_around_changeovers(zone: str, now: str, start: str) -> None:
    """A day of 23 or 25 hours is one day, and one at the edge of the date line is its own."""
    found = period_start(LimitPeriod.DAY, "rides", in_zone(zone), datetime.fromisoformat(now))
    assert found == datetime.fromisoformat(start)


@given(
    st.lists(
        st.tuples(
            moments, st.integers(1, 4), st.integers(0, 4), st.sampled_from(RedemptionStatus),
            st.sampled_from([RIDE, benefit("rides/other", 10)]),
        ),
        max_size=12,
    ),
    moments, st.sampled_from(ZONES), st.sampled_from([*LimitPeriod][:3]),
)  # fmt: skip
def test_units_are_counted_as_one_would_by_hand(
    lived: list[tuple[datetime, int, int, RedemptionStatus, Benefit]], now: datetime, zone: str, period: LimitPeriod
) -> None:
    """What was begun in the period, less what came back; not what ended untaken, nor other benefits or times."""
    limited = replace(RIDE, member_limit=3, member_limit_period=period)
    recent = [made(at, units, of=of, status=status, returned=min(back, units))
              for at, units, back, status, of in lived if at <= now]  # fmt: skip
    gone = ("CANCELLED", "EXPIRED", "FAILED")
    by_hand = 0
    for one in recent:
        days = [at.astimezone(ZoneInfo(zone)).date() for at in (one.created_at, now)]
        if one.benefit == RIDE.id and one.status not in gone and same_period(period, *days):
            by_hand += one.quantity - one.returned
    assert taken(limited, 99, recent, in_zone(zone), now) == by_hand
    assert taken(replace(limited, member_limit_period=LimitPeriod.EVER), 99, recent, in_zone(zone), now) == 99


def rule(partner: str, **said: Any) -> Rules:
    return Rules(partner=partner, velocity=(Velocity(**{"window_seconds": 3_600, **said}),))


# ---------------------------------------------------------------- on a real MongoDB


@pytest.fixture
async def rich(house: House, ledger: Ledger) -> str:
    """Give ann a thousand points of video's, to be spent at rides."""
    await house.agree(agreement("video", "rides", 800))
    wallet = await known(ledger, "video", "rides")
    await ledger.submit(award("video", 1_000, whose=by_reference("video")))
    return wallet


def reasons(answer: object) -> list[UnavailableReason]:
    assert isinstance(answer, BenefitUnavailable), answer
    return [UnavailableReason(reason) for reason in answer.reasons]


@pytest.mark.usefixtures("rich")
async def test_the_last_use_of_a_day_is_taken_once(house: House) -> None:
    """Raced from two lanes, again and again, no more units are taken than the day allows, and all of those."""
    await house.publish(replace(RIDE, member_limit=3, member_limit_period=LimitPeriod.DAY))
    lanes = [await house.ledger(), await house.ledger()]
    asked = [[redeem(RIDE, key=f"{lane}-{n}") for n in range(4)] for lane in range(2)]
    told = await asyncio.gather(*(answers(ledger, *mine) for ledger, mine in zip(lanes, asked, strict=True)))
    done = [one for each in told for one in each if isinstance(one, Outcome)]
    refused = [one for each in told for one in each if not isinstance(one, Outcome)]
    assert len(done) == 3
    assert all(reasons(one) == [UnavailableReason.MEMBER_LIMIT_REACHED] for one in refused)
    await house.prove()


@pytest.mark.usefixtures("rich")
async def test_what_is_given_back_can_be_taken_again(house: House, ledger: Ledger) -> None:
    """A reversal, a cancellation and a failure give their units back within the period; so does a new limit."""
    await house.publish(replace(RIDE, member_limit=1, member_limit_period=LimitPeriod.MONTH))
    for n, (first, step) in enumerate(
        ((redeem, Step.REVERSE), (redeem, Step.FAIL), (reserve, Step.CANCEL)),
    ):
        await ledger.submit(first(RIDE, key=f"take-{n}"))
        [full] = await answers(ledger, redeem(RIDE))
        assert reasons(full) == [UnavailableReason.MEMBER_LIMIT_REACHED]
        await ledger.submit(act(step, f"take-{n}", by="video" if step is Step.CANCEL else "rides"))
    await ledger.submit(redeem(RIDE))
    await house.publish(replace(RIDE, member_limit=2, member_limit_period=LimitPeriod.WEEK))
    both = await answers(ledger, redeem(RIDE), redeem(RIDE))
    assert [isinstance(one, Outcome) for one in both] == [True, False]
    await house.prove()


@pytest.mark.usefixtures("rich")
async def test_velocity_is_kept_within_a_batch_and_between_lanes(house: House) -> None:
    """Two redemptions an hour are two, however they are asked for; a quote is none."""
    await house.publish(RIDE)
    await house.terms.set_rules(rule(EXCHANGE, redemptions_max=2))
    lanes = [await house.ledger(), await house.ledger()]
    await lanes[0].quote(redeem(RIDE))
    told = await asyncio.gather(*(answers(ledger, *(redeem(RIDE) for _ in range(3))) for ledger in lanes))
    assert sum(isinstance(one, Outcome) for each in told for one in each) == 2
    refused = next(one for each in told for one in each if not isinstance(one, Outcome))
    assert reasons(refused) == [UnavailableReason.VELOCITY]
    with pytest.raises(BenefitUnavailable):
        await lanes[0].quote(redeem(RIDE))
    await house.prove()


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize("who", ["video", "rides"])
async def test_a_frozen_partner_stops_everything(house: House, ledger: Ledger, who: str) -> None:
    """As channel, provider or issuer: FROZEN, from the next decision on and until it may go on."""
    await house.publish(RIDE)
    frozen = await house.terms.set_rules(Rules(partner=who, frozen="under review"))
    [told] = await answers(ledger, redeem(RIDE, through="rides" if who == "video" else "video"))
    assert reasons(told) == [UnavailableReason.FROZEN]
    await house.terms.set_rules(replace(frozen, frozen=None))
    await ledger.submit(redeem(RIDE))


@pytest.mark.usefixtures("rich")
async def test_a_frozen_benefit_is_stopped_alone(house: House, ledger: Ledger) -> None:
    """Another of the same partner is not; a reservation from before cannot be confirmed meanwhile."""
    other = benefit("rides/other", 10)
    await house.publish(RIDE, other)
    await ledger.submit(reserve(RIDE, key="before"))
    await house.terms.set_rules(Rules(partner="rides", frozen_benefits=(FrozenBenefit(RIDE.id, "recalled"),)))
    one, two, confirmed = await answers(ledger, redeem(RIDE), redeem(other), act(Step.CONFIRM, "before", by="video"))
    assert reasons(one) == [UnavailableReason.FROZEN]
    assert isinstance(two, Outcome)
    assert not isinstance(confirmed, Outcome)


# ---------------------------------------------------------------- the examples in the docs


def rows_below(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading of docs/rules.md."""
    page = Path(__file__).parents[2].joinpath("docs", "rules.md").read_text()
    lines = page.partition(f"### {heading}\n")[2].partition("\n#")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len(table) > 2, heading
    return table[2:]


def tried(wallet: Wallet, what: Benefit, taken_before: list[Redemption], rules: RuleBook, now: datetime) -> Any:
    """Take one unit as of now, or return the reason why not."""
    book = agreements(("video", "delivery", 800), ("video", "rides", 800))
    terms = Terms(book, what, rules=rules, recent=taken_before)
    try:
        return decide(redeem(what), wallet, terms, now, SALT)
    except BenefitUnavailable as refusal:
        return ",".join(refusal.reasons)


def test_one_parcel_a_day() -> None:
    """The page's table, by the clocks of Berlin on the day on which they go forward."""
    parcel = benefit("delivery/parcel", 1, member_limit=1, member_limit_period=LimitPeriod.DAY)
    rules = RuleBook([Rules(partner="delivery", time_zone="Europe/Berlin")])
    wallet, done = awarded(award("video", 100)), list[Redemption]()
    for local, what, outcome in rows_below("Example: one parcel a day"):
        now = datetime.strptime(local, "%d %B %Y, %H:%M").replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
        if what == "reverse":
            done[-1] = replace(done[-1], returned=1, status=RedemptionStatus.REVERSED)
            continue
        told = tried(wallet, parcel, done, rules, now)
        assert (told if isinstance(told, str) else "taken") == outcome, local
        if not isinstance(told, str):
            wallet, done = told.wallet, [*done, told.redemption]


def test_two_an_hour() -> None:
    """The page's table, minute by minute."""
    most = Velocity(window_seconds=3_600, redemptions_max=2, points_max=100)
    rules = RuleBook([Rules(partner=EXCHANGE, velocity=(most,))])
    wallet, done = awarded(award("video", 1_000)), list[Redemption]()
    for minute, points, outcome in rows_below("Example: two an hour"):
        now = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=int(minute))
        told = tried(wallet, benefit("rides/ride", int(points)), done, rules, now)
        assert (told if isinstance(told, str) else "taken") == outcome, minute
        if not isinstance(told, str):
            wallet, done = told.wallet, [*done, told.redemption]
