"""The calendar of periods: when one is cut, and by when its statements are drafted, reviewed, approved and paid.

A calendar cuts every day, every week on one weekday, or every month on one day, at a time of day in a time zone of its
own. The first of these moments after a period was opened, and after the calendar was set, is when it is due; a period
that was closed by hand is followed by one that ends at the next of them. Nothing is cut in the past: when nobody was
there to close a due period, it is cut as soon as somebody is, and the next one ends at the next moment that is to come.

What is to be done *by* a day is late when that day is over in the calendar's zone. Days are counted from the day of the
cut; business days are those from Monday to Friday, and what would end on a weekend ends on Monday.

Versions are added, never changed. A period that is open goes by the last, a closed one by that of the moment at which
it was cut.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from exchange.errors import ValidationFailed
from exchange.settlement.period import Period, PeriodStatus
from exchange.settlement.signoff import SETTLED
from exchange.settlement.statement import StatementStatus

DAYS_MAX = 366
"""Most days after the cut that anything may take."""
MONTH_DAY_MAX = 28
"""The last day that every month has."""
_WEEK = 7
_FRIDAY = 4
_DAY = timedelta(days=1)


class Every(StrEnum):
    """How often a calendar cuts. NEVER: only people do."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    NEVER = "NEVER"


class Duty(StrEnum):
    """What has to be done about a period or a statement by a day."""

    CUT = "CUT"
    DRAFT = "DRAFT"
    REVIEW = "REVIEW"
    APPROVE = "APPROVE"
    PAY = "PAY"


class Dates(NamedTuple):
    """When a period is or was cut, and the ends of the days by which the rest has to be done."""

    cut: datetime
    draft_by: datetime
    review_by: datetime
    approve_by: datetime
    pay_by: datetime


class Calendar(Struct, frozen=True, kw_only=True):
    """One version, in force since it was set.

    `on`: the day of the week (ISO: 1 is Monday) or of the month (1 to 28); `at`: the time of day, HH:MM.
    `draft_days` to `pay_days`: days after the day of the cut, business days if `business_days`.
    """

    every: Every
    time_zone: str = "UTC"
    on: int = 1
    at: str = "00:00"
    draft_days: int = 0
    review_days: int = 2
    approve_days: int = 4
    pay_days: int = 14
    business_days: bool = False
    version: int = 0
    since: datetime = datetime.min.replace(tzinfo=UTC)
    actor: str = ""

    def due(self, opened_at: datetime) -> datetime | None:
        """Return when a period that was opened then is to be cut; None if only people cut."""
        if self.every is Every.NEVER:
            return None
        begun = max(opened_at, self.since)
        day = begun.astimezone(self._zone).date()
        while not self._cuts_on(day) or self._moment(day, time.fromisoformat(self.at)) <= begun:
            day += _DAY
        return self._moment(day, time.fromisoformat(self.at))

    def dates(self, cut: datetime) -> Dates:
        """Return what has to be done by when, after a cut."""
        day = cut.astimezone(self._zone).date()
        ends = [self._end(day, days) for days in (self.draft_days, self.review_days, self.approve_days, self.pay_days)]
        return Dates(cut, *ends)

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def _cuts_on(self, day: date) -> bool:
        match self.every:
            case Every.WEEK:
                return day.isoweekday() == self.on
            case Every.MONTH:
                return day.day == self.on
            case _:
                return True

    def _end(self, day: date, days: int) -> datetime:
        for _ in range(days):
            day += _DAY
            while self.business_days and day.weekday() > _FRIDAY:
                day += _DAY
        while self.business_days and day.weekday() > _FRIDAY:
            day += _DAY
        return self._moment(day + _DAY, time())

    def _moment(self, day: date, at: time) -> datetime:
        # A time that a clock skips in spring is as much later, one that it says twice in autumn is the first.
        return datetime.combine(day, at, self._zone).astimezone(UTC)


def checked(calendar: Calendar) -> Calendar:
    """Return a calendar that can be kept; ValidationFailed for another."""
    try:
        ZoneInfo(calendar.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationFailed("is no time zone, such as Europe/Berlin", ("input", "timeZone")) from None
    try:
        good = time.fromisoformat(calendar.at).strftime("%H:%M") == calendar.at
    except ValueError:
        good = False
    if not good:
        raise ValidationFailed("must be a time of day, such as 00:30", ("input", "at"))
    last = {Every.WEEK: _WEEK, Every.MONTH: MONTH_DAY_MAX}.get(calendar.every, 1)
    if not 1 <= calendar.on <= last:
        raise ValidationFailed(f"must be 1 to {last}" if last > 1 else "is for weeks and months", ("input", "on"))
    before = 0
    for name in ("draft", "review", "approve", "pay"):
        days: int = getattr(calendar, f"{name}_days")
        if not before <= days <= DAYS_MAX:
            raise ValidationFailed(
                f"must be {before} to {DAYS_MAX}: no earlier than what goes before", ("input", f"{name}Days")
            )
        before = days
    return calendar


class CalendarBook:
    """All versions, as read at one moment."""

    def __init__(self, calendars: Iterable[Calendar] = ()) -> None:
        self._versions = sorted(calendars, key=lambda each: each.version)

    @property
    def last(self) -> Calendar | None:
        """The version in force; None before there was any."""
        return self._versions[-1] if self._versions else None

    def due(self, period: Period) -> datetime | None:
        """Return when an open period is to be cut; None if nobody said."""
        return None if self.last is None else self.last.due(period.opened_at)

    def dates(self, period: Period) -> Dates | None:
        """Return a period's dates; None if no calendar was in force."""
        if period.marked_at is None:
            due = self.due(period)
            return None if self.last is None or due is None else self.last.dates(due)
        then = [each for each in self._versions if each.since <= period.marked_at]
        return then[-1].dates(period.marked_at) if then and then[-1].every is not Every.NEVER else None


_REVIEWED = frozenset(StatementStatus) - {StatementStatus.DRAFT, StatementStatus.REJECTED}
_APPROVED = _REVIEWED - {StatementStatus.REVIEWED}
_PAID = frozenset(SETTLED)


def overdue(dates: Dates | None, period: Period, statuses: Collection[StatementStatus], now: datetime) -> list[Duty]:
    """Return what should have been done by now, about a period whose statements stand so, or about one of them."""
    if dates is None:
        return []
    undone = (
        (Duty.CUT, dates.cut, period.status is PeriodStatus.OPEN),
        (Duty.DRAFT, dates.draft_by, period.statements is None),
        (Duty.REVIEW, dates.review_by, not _REVIEWED.issuperset(statuses)),
        (Duty.APPROVE, dates.approve_by, not _APPROVED.issuperset(statuses)),
        (Duty.PAY, dates.pay_by, not _PAID.issuperset(statuses)),
    )
    return [duty for duty, by, open_ in undone if open_ and now >= by]
