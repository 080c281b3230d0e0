"""The calendar of periods: its dates by hand, and periods that close by themselves on a real MongoDB."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import ValidationFailed, VersionConflict
from exchange.settlement.calendar import Calendar, CalendarBook, Duty, Every, checked, overdue
from exchange.settlement.period import Period, PeriodStatus
from exchange.settlement.statement import StatementStatus
from exchange.store.calendars import Calendars
from exchange.store.connection import server_time
from exchange.sweeper import RESUME_AFTER, Sweeper
from tests.exchange.settlement.conftest import World


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")


def calendar(every: Every, **said: Any) -> Calendar:
    return checked(Calendar(every=every, **said))


BERLIN = {"time_zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("every", "said", "opened", "due"),
    [
        (Every.DAY, {}, "2026-03-01T12:00", "2026-03-02T00:00"),
        (Every.DAY, {"at": "12:30"}, "2026-03-01T12:00", "2026-03-01T12:30"),
        (Every.DAY, {"at": "12:00"}, "2026-03-01T12:00", "2026-03-02T12:00"),
        # 1 March 2026 is a Sunday; midnight in Berlin is 23:00 in winter and 22:00 in summer.
        (Every.WEEK, {"on": 1, **BERLIN}, "2026-03-01T12:00", "2026-03-01T23:00"),
        (Every.WEEK, {"on": 7, **BERLIN}, "2026-03-01T12:00", "2026-03-07T23:00"),
        (Every.MONTH, BERLIN, "2026-03-01T12:00", "2026-03-31T22:00"),
        (Every.MONTH, {"on": 28}, "2026-02-28T00:00", "2026-03-28T00:00"),
        # 02:30 is not there on 29 March, and twice on 25 October.
        (Every.DAY, {"at": "02:30", **BERLIN}, "2026-03-28T12:00", "2026-03-29T01:30"),
        (Every.DAY, {"at": "02:30", **BERLIN}, "2026-10-24T12:00", "2026-10-25T00:30"),
        (Every.DAY, {"at": "02:30", **BERLIN}, "2026-10-25T00:30", "2026-10-26T01:30"),
    ],
)
def test_a_period_is_due_at_the_next_moment_of_the_calendar(
    every: Every, said: dict[str, Any], opened: str, due: str
) -> None:
    """In the calendar's zone, across the changes of its clocks."""
    assert calendar(every, **said).due(at(opened)) == at(due)


def test_only_people_close_what_has_no_calendar() -> None:
    """Neither one that says never, nor none at all."""
    period = Period(number=1, status=PeriodStatus.OPEN, opened_at=at("2026-03-01T12:00"))
    assert calendar(Every.NEVER).due(period.opened_at) is None
    assert CalendarBook().due(period) is None
    assert CalendarBook().dates(period) is None


def test_a_calendar_that_was_just_set_closes_nothing_at_once() -> None:
    """A period that has been open for long is due at the first moment after that."""
    late = Calendar(every=Every.MONTH, since=at("2026-05-10T00:00"), version=1)
    assert late.due(at("2026-03-01T12:00")) == at("2026-06-01T00:00")


@given(
    st.sampled_from([Every.DAY, Every.WEEK, Every.MONTH]), st.integers(1, 7), st.times(),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Apia"]),
    st.integers(0, 30 * 365 * 24 * 60).map(lambda minutes: at("2012-01-01T00:00") + timedelta(minutes=minutes)),
    st.booleans(),
)  # fmt: skip
def test_cuts_follow_each_other(every: Every, on: int, time: Any, zone: str, opened: datetime, business: bool) -> None:  # noqa: FBT001
    """Each is after the one before, at most a month and a day; what is to be done by when follows in its order."""
    found = Calendar(every=every, on=on, at=time.strftime("%H:%M"), time_zone=zone, business_days=business)
    due = found.due(opened)
    assert due is not None
    assert opened < due <= opened + timedelta(days=32 if every is Every.MONTH else 8 if every is Every.WEEK else 2)
    dates = found.dates(due)
    assert list(dates) == sorted(dates)


def test_days_are_counted_from_the_cut_and_end_at_midnight() -> None:
    """Of the calendar's zone: two days after 1 April are over when 3 April is, in Berlin."""
    dates = calendar(Every.MONTH, **BERLIN).dates(at("2026-03-31T22:00"))
    assert dates.draft_by == at("2026-04-01T22:00")
    assert (dates.review_by, dates.approve_by, dates.pay_by) == (
        at("2026-04-03T22:00"), at("2026-04-05T22:00"), at("2026-04-15T22:00"),
    )  # fmt: skip


def test_business_days_leave_weekends_out() -> None:
    """Cut on Friday 3 April: drafted that day, reviewed by Tuesday; cut on a Saturday: drafted by Monday."""
    business = calendar(Every.DAY, business_days=True)
    dates = business.dates(at("2026-04-03T00:00"))
    assert (dates.draft_by, dates.review_by) == (at("2026-04-04T00:00"), at("2026-04-08T00:00"))
    assert business.dates(at("2026-04-04T00:00")).draft_by == at("2026-04-07T00:00")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"time_zone": "Mars/Olympus"}, "timeZone"), ({"at": "24:00"}, "at"), ({"at": "7:00"}, "at"),
        ({"at": "07:00:01"}, "at"), ({"on": 8}, "on"), ({"on": 0}, "on"), ({"draft_days": -1}, "draftDays"),
        ({"review_days": 5, "approve_days": 4}, "approveDays"), ({"pay_days": 367}, "payDays"),
    ],
)  # fmt: skip
def test_a_calendar_that_cannot_be_kept_is_refused(said: dict[str, Any], path: str) -> None:
    """With what is wrong; what has to be done later cannot be due earlier."""
    with pytest.raises(ValidationFailed) as refused:
        calendar(Every.WEEK, **said)
    assert refused.value.path == ["input", path]
    with pytest.raises(ValidationFailed):
        calendar(Every.DAY, on=2)


def test_a_closed_period_goes_by_the_calendar_of_its_cut() -> None:
    """Not by a version that came later, and by none if there was none."""
    first = Calendar(every=Every.DAY, version=1, since=at("2026-03-01T00:00"))
    second = Calendar(every=Every.DAY, version=2, since=at("2026-04-01T00:00"), review_days=3)
    book = CalendarBook([second, first])

    def cut(moment: str) -> Period:
        then = at(moment)
        return Period(number=1, status=PeriodStatus.CLOSED, opened_at=then - timedelta(days=1), marked_at=then)

    found = book.dates(cut("2026-03-10T10:00"))
    assert found is not None
    assert (found.cut, found.review_by) == (at("2026-03-10T10:00"), at("2026-03-13T00:00"))
    assert (book.last, book.dates(cut("2026-02-10T10:00"))) == (second, None)


def test_what_is_overdue_is_what_is_not_done_by_its_day() -> None:
    """Day by day; a statement that was sent back has to be reviewed anew, and what is paid is done."""
    daily = calendar(Every.DAY)
    dates = daily.dates(at("2026-03-01T00:00"))
    closed = Period(number=1, status=PeriodStatus.CLOSED, opened_at=at("2026-02-01T00:00"), statements=2)
    drafted, late = at("2026-03-02T00:00"), at("2026-04-01T00:00")
    paid = StatementStatus.PAID
    assert overdue(dates, closed, [StatementStatus.DRAFT], at("2026-03-03T23:59")) == []
    assert overdue(dates, closed, [StatementStatus.DRAFT, paid], at("2026-03-04T00:00")) == [Duty.REVIEW]
    assert overdue(dates, closed, [StatementStatus.REJECTED], late) == [Duty.REVIEW, Duty.APPROVE, Duty.PAY]
    assert overdue(dates, closed, [StatementStatus.REVIEWED], late) == [Duty.APPROVE, Duty.PAY]
    assert overdue(dates, closed, [StatementStatus.INSTRUCTED, StatementStatus.RECONCILED], late) == [Duty.PAY]
    assert overdue(dates, closed, [paid, StatementStatus.RECONCILED], late) == []
    half = Period(number=1, status=PeriodStatus.CLOSING, opened_at=at("2026-02-01T00:00"))
    assert overdue(dates, half, [], drafted) == [Duty.DRAFT]
    opened = Period(number=1, status=PeriodStatus.OPEN, opened_at=at("2026-02-01T00:00"))
    assert overdue(dates, opened, [], dates.cut) == [Duty.CUT]
    assert overdue(None, opened, [StatementStatus.DRAFT], late) == []


# ---------------------------------------------------------------- on a real database


async def test_versions_are_added_and_never_changed(world: World) -> None:
    """What changes nothing adds none; of two changes at once one is made; an unexpected version is refused."""
    calendars = Calendars(world.database)
    assert (await calendars.book()).last is None
    first = await calendars.set(calendar(Every.WEEK, on=5, actor="eve", **BERLIN))
    assert (
        await calendars.set(calendar(Every.WEEK, on=5, actor="bob", **BERLIN)) == first == (await calendars.book()).last
    )
    wishes = [calendars.set(calendar(Every.MONTH, on=day), expected_version=1) for day in range(1, 6)]
    answers = await asyncio.gather(*wishes, return_exceptions=True)
    made = [answer for answer in answers if isinstance(answer, Calendar)]
    refused = [answer for answer in answers if isinstance(answer, VersionConflict)]
    assert ([each.version for each in made], len(refused)) == ([2], 4)
    assert (await calendars.book()).last == made[0]
    with pytest.raises(ValidationFailed):
        await calendars.set(Calendar(every=Every.DAY, at="noon"))


async def due_now(world: World) -> None:
    """Let a calendar be in force by which the open period was due yesterday."""
    await Calendars(world.database).set(calendar(Every.DAY))
    yesterday = {"since": await server_time(world.database) - timedelta(days=2)}
    await world.database["calendars"].update_many({}, {"$set": yesterday})
    await world.database["periods"].update_one({"status": "OPEN"}, {"$set": {"opened_at": yesterday["since"]}})


async def sweepers(world: World, count: int = 1) -> list[Sweeper]:
    return [Sweeper(world.books, await world.ledger(), world.settle()) for _ in range(count)]


async def told(world: World) -> list[tuple[int, PeriodStatus, int | None]]:
    return [(each.number, each.status, each.statements) for each in await world.settle().periods()]


async def test_a_due_period_is_closed_by_itself_once(example: World) -> None:
    """By one of several processes at the same moment; the next one is not due, so nothing more happens."""
    several = await sweepers(example, 3)
    assert [await each.close_due() for each in several] == [False] * 3
    await due_now(example)
    assert sorted(await asyncio.gather(*(each.close_due() for each in several))) == [False, False, True]
    assert await told(example) == [(2, PeriodStatus.OPEN, None), (1, PeriodStatus.CLOSED, 3)]
    assert [await each.close_due() for each in several] == [False] * 3
    await example.prove()


async def test_without_a_calendar_nothing_is_closed(example: World) -> None:
    """And with one that says never, or is not due, neither."""
    [sweeper] = await sweepers(example)
    for every in (Every.MONTH, Every.NEVER):
        await Calendars(example.database).set(calendar(every, on=1))
        assert not await sweeper.close_due()
    assert await told(example) == [(1, PeriodStatus.OPEN, None)]


async def test_what_was_left_half_closed_is_gone_on_with(example: World) -> None:
    """After a while, wherever whoever closed it died: marked, cut, or sealed without statements."""
    settlement = example.settle()
    await Calendars(example.database).set(calendar(Every.MONTH))
    [sweeper] = await sweepers(example)

    async def long_ago(number: int) -> None:
        moment = await server_time(example.database) - RESUME_AFTER
        await example.database["periods"].update_one({"_id": number}, {"$set": {"marked_at": moment}})

    assert await settlement.mark(1)
    assert not await sweeper.close_due()
    await long_ago(1)
    assert await sweeper.close_due()
    assert await settlement.mark(2)
    await settlement.cut_lanes(2)
    await settlement.seal(2)
    await long_ago(2)
    assert await sweeper.close_due()
    assert await told(example) == [
        (3, PeriodStatus.OPEN, None), (2, PeriodStatus.CLOSED, 0), (1, PeriodStatus.CLOSED, 3),
    ]  # fmt: skip
    assert not await sweeper.close_due()
    await example.prove()


async def test_a_close_by_hand_is_gone_on_with_too(example: World) -> None:
    """Where there is no calendar: whoever closed it by hand has died, and another process goes on."""
    assert await example.settle().mark(1)
    [sweeper] = await sweepers(example)
    assert not await sweeper.close_due()
    moment = await server_time(example.database) - RESUME_AFTER
    await example.database["periods"].update_one({"_id": 1}, {"$set": {"marked_at": moment}})
    assert await sweeper.close_due()
    assert await told(example) == [(2, PeriodStatus.OPEN, None), (1, PeriodStatus.CLOSED, 3)]
    assert not await sweeper.close_due()


async def test_figures_that_disagree_are_left_to_people(example: World) -> None:
    """Closed is closed; what cannot be drafted is tried once by each process, and the next period goes on."""
    # An entry that its block does not add up.
    await example.database["entries"].update_one({"benefit": "rides/airport"}, {"$inc": {"debits.0.fee": 1}})
    await due_now(example)
    [sweeper] = await sweepers(example)
    assert await sweeper.close_due()
    [_, first] = await told(example)
    assert first == (1, PeriodStatus.CLOSED, None)
    await example.database["periods"].update_one(
        {"_id": 1}, {"$set": {"marked_at": await server_time(example.database) - RESUME_AFTER}}
    )
    assert not await sweeper.close_due()
