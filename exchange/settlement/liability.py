"""The points liability: what an issuer has promised and not yet honoured, rolled forward by vintage.

A *vintage* is the month (UTC) in which points were awarded. For every issuer and vintage, over a period::

    opening + awarded - redeemed - expired + adjusted = closing

Redeemed is less what came back from reversals. Adjusted is everything else that an issuer gave or took: goodwill,
awards taken back, awards that repay a debt. Points that go from wallet to wallet (gifts, households, merges) are no
event for their issuer: a lot that was passed on keeps the vintage of the lot that it came from. A member's debt is no
negative liability; it becomes an adjustment when an award repays it.

It is folded from the journal, lot by lot, and the order in which entries are read does not matter: what moved is a sum,
and when a lot ends follows from all that is said of it together (`end_of`).

*Expected redemption* is an estimate, as IFRS 15 (B44 to B47) asks for: how many of the points outstanding will be
redeemed; the rest is breakage. It is a chain ladder over the vintages, on what is outstanding rather than on what is
redeemed, so that a first month without redemptions divides nothing by zero. For each age in months, and the whole
months that are over, all vintages together give two rates: of the points that were there, how many were redeemed, and
how many were left. A vintage is led down the rates from its age on. Where fewer than three vintages have come, nothing
is known, and every point that gets there counts as one that will be redeemed: breakage is only what history shows. Of
an issuer with less than twelve whole months of history there is no estimate at all.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from itertools import count, takewhile
from typing import NamedTuple

from msgspec import Struct

from exchange.errors import FiguresDisagree
from exchange.journal import Account, Entry, EntryKind, Sums

HISTORY_MONTHS = 12
"""Whole months of history below which nothing is estimated."""
VINTAGES_MIN = 3
"""Vintages that have to have come to an age before it has a rate."""
AGES = (0, 3, 6, 12, 24)
"""The months at which an age band begins."""
_MONTHS_A_YEAR = 12
_BASIS = 10_000

Month = int
"""Months since the year 0, so that they can be counted."""


class Column(StrEnum):
    """What moves a liability. MOVED: from lot to lot, which for the issuer is nothing."""

    AWARDED = "awarded"
    REDEEMED = "redeemed"
    EXPIRED = "expired"
    ADJUSTED = "adjusted"
    MOVED = "moved"


_COMES = {
    EntryKind.AWARD: Column.AWARDED, EntryKind.ADJUST: Column.ADJUSTED, EntryKind.FAIL: Column.REDEEMED,
    EntryKind.REVERSE: Column.REDEEMED,
}  # fmt: skip
_GOES = {
    EntryKind.AWARD: Column.ADJUSTED, EntryKind.ADJUST: Column.ADJUSTED, EntryKind.REVERSE_AWARD: Column.ADJUSTED,
    EntryKind.REDEEM: Column.REDEEMED, EntryKind.CONFIRM: Column.REDEEMED, EntryKind.EXPIRE: Column.EXPIRED,
    EntryKind.FAIL: Column.EXPIRED, EntryKind.REVERSE: Column.EXPIRED,
}  # fmt: skip
PASSING = (EntryKind.GIVE, EntryKind.PAY_IN, EntryKind.DRAW)
CONCERNING = tuple(sorted({*_COMES, *_GOES, *PASSING, EntryKind.EXTEND}))
"""The kinds of entries that say something of a liability. A merge moves whole lots, which stay what they are."""

_ACCOUNTS = {
    Account.ISSUED: (Column.AWARDED, -1), Account.REDEEMED: (Column.REDEEMED, 1), Account.EXPIRED: (Column.EXPIRED, 1),
    Account.WITHDRAWN: (Column.ADJUSTED, -1), Account.GOODWILL: (Column.ADJUSTED, -1),
}  # fmt: skip
"""In which column an account's points are, and with what sign."""

NEVER = datetime.max.replace(tzinfo=UTC)


def month_of(at: datetime) -> Month:
    """Return the month (UTC) of a moment."""
    return at.year * _MONTHS_A_YEAR + at.month - 1


def month_named(month: Month) -> str:
    """Return a month as ISO 8601 writes it: 2026-03."""
    return f"{month // _MONTHS_A_YEAR:04d}-{month % _MONTHS_A_YEAR + 1:02d}"


# ---------------------------------------------------------------- what entries say


class Move(NamedTuple):
    """Points that came into a lot; negative, that left it."""

    lot: str
    issuer: str
    column: Column
    points: int


class End(NamedTuple):
    """Until when an entry says that a lot lasts.

    `back_at`: points came back then, and the lot has this new time only if it was over by then. None: it lasts until
    then whatever it did before.
    """

    until: datetime
    back_at: datetime | None = None


class Said(NamedTuple):
    """What an entry says of lots: what moved, which began (here, or as a part of another), and until when they last."""

    moves: list[Move]
    begun: list[str]
    parts: list[tuple[str, str]]
    ends: list[tuple[str, End]]


def said_by(entry: Entry) -> Said:
    """Return what an entry of a kind that is CONCERNING says."""
    changes = [posting for posting in entry.postings if posting.account is Account.WALLET]
    gone = [change.lot or "" for change in changes if change.amount < 0]
    come = [change.lot or "" for change in changes if change.amount > 0]
    moves = [Move(each.lot or "", each.party, _column(entry.kind, each.amount), each.amount) for each in changes]
    match entry.kind:
        case EntryKind.AWARD | EntryKind.ADJUST:
            until = End(_moment(entry.detail.get("expires_at")))
            return Said(moves, come, [], [(lot, until) for lot in come])
        case EntryKind.EXTEND:
            return Said(moves, [], [], [(entry.detail["lot"], End(_moment(entry.detail.get("expires_at"))))])
        case EntryKind.GIVE | EntryKind.PAY_IN | EntryKind.DRAW:
            ends = [End(_moment(None if end == "-" else end)) for end in entry.detail["expire"].split()]
            return Said(moves, [], list(zip(come, gone, strict=True)), list(zip(come, ends, strict=True)))
        case EntryKind.FAIL | EntryKind.REVERSE:
            until = End(_moment(entry.detail["until"]), entry.at)
            return Said(moves, [], [], [(lot, until) for lot in come])
        case _:
            return Said(moves, [], [], [])


def _column(kind: EntryKind, points: int) -> Column:
    if kind in PASSING:
        return Column.MOVED
    return (_COMES if points > 0 else _GOES)[kind]


def _moment(text: str | None) -> datetime:
    return NEVER if text is None else datetime.fromisoformat(text)


def end_of(said: Iterable[End]) -> datetime:
    """Return when a lot ends, after all that is said of it, in any order; ValueError when nothing is.

    An extension is always later than what was before. So it goes before what came back earlier; and what came back
    later found the lot over, or left it as it was.
    """
    said = list(said)
    ends = max(each.until for each in said if each.back_at is None)
    for at, until in sorted((each.back_at, each.until) for each in said if each.back_at is not None):
        if at >= ends:
            ends = until
    return ends


class LotMove(NamedTuple):
    """What moved of a lot in a month and column. `before`: in an earlier period."""

    before: bool
    month: Month
    column: Column
    points: int


class LotStory(NamedTuple):
    """All that moved of one lot. `vintage`: of the award that its points are of; `ends`: NEVER if it does not."""

    issuer: str
    vintage: Month
    ends: datetime
    moves: list[LotMove]


# ---------------------------------------------------------------- the roll-forward


class Vintage(Struct, frozen=True, kw_only=True):
    """One vintage's roll-forward. `month`: 2026-03. All but what went out are as signed as they say."""

    month: str
    opening: int = 0
    awarded: int = 0
    redeemed: int = 0
    expired: int = 0
    adjusted: int = 0

    @property
    def closing(self) -> int:
        """What is outstanding at the end."""
        return self.opening + self.awarded - self.redeemed - self.expired + self.adjusted


class Aged(NamedTuple):
    """Points outstanding of an age: from so many whole months on, below so many (None: any)."""

    from_months: int
    below_months: int | None
    points: int


class Ending(NamedTuple):
    """Points outstanding that end in a month, if they are not spent before. None: they never do."""

    month: str | None
    points: int


class Estimate(Struct, frozen=True, kw_only=True):
    """How many of the points outstanding are expected to be redeemed. An estimate, never a figure of the journal.

    `unknown`: how many of them because no vintage has been that old yet; `ages`: the ages in months with a rate.
    """

    redeemed: int
    breakage: int
    unknown: int
    ages: int

    @property
    def basis_points(self) -> int:
        """The expected part of what is outstanding, rounded up; 0 of nothing."""
        outstanding = self.redeemed + self.breakage
        return -(-self.redeemed * _BASIS // outstanding) if outstanding else 0


class Liability(Struct, frozen=True, kw_only=True):
    """An issuer's liability in points at a moment, and how it came about since the period began.

    `over`: points whose time is over but that are not written off yet, because they are held, or not swept.
    `estimate`: None where there is too little history.
    """

    issuer: str
    period: int
    as_of: datetime
    final: bool
    vintages: tuple[Vintage, ...]
    ageing: tuple[Aged, ...]
    over: int
    ending: tuple[Ending, ...]
    estimate: Estimate | None

    @property
    def total(self) -> Vintage:
        """All vintages together."""
        names = ("opening", "awarded", "redeemed", "expired", "adjusted")
        return Vintage(month="", **{name: sum(getattr(each, name) for each in self.vintages) for name in names})


Flows = dict[tuple[Month, Month], Counter[Column]]
"""What moved, by vintage and month."""


class Fold:
    """What all lots add up to, by issuer."""

    def __init__(self, as_of: datetime) -> None:
        self._as_of = as_of
        self._before: dict[str, Flows] = defaultdict(lambda: defaultdict(Counter))
        self._since: dict[str, Flows] = defaultdict(lambda: defaultdict(Counter))
        self._ends: dict[str, Counter[Month | None]] = defaultdict(Counter)
        self._over: Counter[str] = Counter()

    def add(self, lot: LotStory) -> None:
        """Add one lot."""
        for before, month, column, points in lot.moves:
            flows = (self._before if before else self._since)[lot.issuer]
            # Two processes' clocks differ by a little: what moved is never older than the award.
            flows[lot.vintage, max(month, lot.vintage)][column] += points
        left = sum(move.points for move in lot.moves)
        if lot.ends <= self._as_of:
            self._over[lot.issuer] += left
        else:
            self._ends[lot.issuer][None if lot.ends == NEVER else month_of(lot.ends)] += left

    def agree(self, before: Sums, since: Sums) -> None:
        """Hold the lots to what the blocks add up to; FiguresDisagree names the first difference."""
        for sums, flows, when in ((before, self._before, "before"), (since, self._since, "in")):
            blocks: Counter[tuple[str, Column]] = Counter()
            for (party, account), points in sums.points.items():
                column, sign = _ACCOUNTS[account]
                blocks[party, column] += sign * points
            lots: Counter[tuple[str, Column]] = Counter()
            for issuer, own in flows.items():
                for moved in own.values():
                    for column, points in moved.items():
                        lots[issuer, column] += points if column in (Column.AWARDED, Column.ADJUSTED) else -points
            for issuer, column in sorted(blocks.keys() | lots.keys()):
                one, other = blocks[issuer, column], lots[issuer, column]
                if one != other:
                    raise FiguresDisagree(
                        f"the blocks {when} the period say {one} points of {issuer} were {column}, its lots {other}"
                    )

    def issuers(self) -> list[str]:
        """Return whose points there were."""
        return sorted(self._before.keys() | self._since.keys())

    def liability(self, issuer: str, period: int, *, final: bool) -> Liability:
        """Return one issuer's."""
        before, since = self._before.get(issuer, {}), self._since.get(issuer, {})
        vintages = tuple(_vintages(before, since))
        now = month_of(self._as_of)
        ends = self._ends.get(issuer, Counter())
        dated = [Ending(month_named(month), ends[month]) for month in sorted(filter(None, ends)) if ends[month]]
        return Liability(
            issuer=issuer, period=period, as_of=self._as_of, final=final, vintages=vintages,
            ageing=tuple(_ageing(vintages, now)), over=self._over[issuer],
            ending=(*dated, *([Ending(None, ends[None])] if ends[None] else [])),
            estimate=estimated(_together(before, since), now),
        )  # fmt: skip


def _together(
    one: Mapping[tuple[Month, Month], Counter[Column]], other: Mapping[tuple[Month, Month], Counter[Column]]
) -> Flows:
    total: Flows = defaultdict(Counter)
    for flows in (one, other):
        for key, moved in flows.items():
            total[key].update(moved)
    return total


def _by_vintage(flows: Mapping[tuple[Month, Month], Counter[Column]]) -> dict[Month, Counter[Column]]:
    total: dict[Month, Counter[Column]] = defaultdict(Counter)
    for (vintage, _), moved in flows.items():
        total[vintage].update(moved)
    return total


def _vintages(
    before: Mapping[tuple[Month, Month], Counter[Column]], since: Mapping[tuple[Month, Month], Counter[Column]]
) -> Iterator[Vintage]:
    """Yield the vintages in which anything was outstanding, or moved."""
    earlier, now = _by_vintage(before), _by_vintage(since)
    for month in sorted(earlier.keys() | now.keys()):
        moved = now.get(month, Counter())
        row = Vintage(
            month=month_named(month), opening=earlier.get(month, Counter()).total(), awarded=moved[Column.AWARDED],
            redeemed=-moved[Column.REDEEMED], expired=-moved[Column.EXPIRED], adjusted=moved[Column.ADJUSTED],
        )  # fmt: skip
        if row.opening or any(moved[column] for column in Column if column is not Column.MOVED):
            yield row


def _ageing(vintages: Iterable[Vintage], now: Month) -> Iterator[Aged]:
    points: Counter[int] = Counter()
    for vintage in vintages:
        year, month = vintage.month.split("-")
        age = now - (int(year) * _MONTHS_A_YEAR + int(month) - 1)
        points[max(begin for begin in AGES if begin <= max(age, 0))] += vintage.closing
    for begin, below in zip(AGES, (*AGES[1:], None), strict=True):
        yield Aged(begin, below, points[begin])


# ---------------------------------------------------------------- the estimate


class Rate(NamedTuple):
    """Of the points that were there at an age: how many were redeemed in that month, and how many were left then."""

    redeemed: Fraction
    left: Fraction


def rates(flows: Flows, now: Month) -> list[Rate]:
    """Return the rates by age in months, from 0 on, out of the months before `now`; up to the first that has none."""
    outstanding: Counter[Month] = Counter()
    first = min((vintage for vintage, _ in flows), default=now)
    there: Counter[int] = Counter()
    redeemed: Counter[int] = Counter()
    left: Counter[int] = Counter()
    came: Counter[int] = Counter()
    for month in range(first, now):
        for vintage in range(first, month + 1):
            moved = flows.get((vintage, month), Counter())
            age = month - vintage
            exposed = outstanding[vintage] if age else moved[Column.AWARDED] + moved[Column.ADJUSTED]
            outstanding[vintage] += moved.total()
            if exposed > 0:
                there[age] += exposed
                redeemed[age] -= moved[Column.REDEEMED]
                left[age] += outstanding[vintage]
                came[age] += 1
    known = takewhile(lambda age: came[age] >= VINTAGES_MIN, count())
    return [Rate(_part(redeemed[age], there[age]), _part(left[age], there[age])) for age in known]


def _part(points: int, of: int) -> Fraction:
    # Reversals can bring back more in a month than is redeemed in it.
    return min(max(Fraction(points, of), Fraction(0)), Fraction(1))


def estimated(flows: Flows, now: Month) -> Estimate | None:
    """Return how many of the points outstanding are expected to be redeemed; None for too little history."""
    first = min((vintage for vintage, _ in flows), default=now)
    if now - first < HISTORY_MONTHS:
        return None
    known = rates(flows, now)
    expected = unknown = Fraction(0)
    outstanding = 0
    for vintage, moved in _by_vintage(flows).items():
        outstanding += moved.total()
        left = Fraction(moved.total())
        for rate in known[now - vintage :]:
            expected += left * rate.redeemed
            left *= rate.left
        unknown += left
    redeemed = -(-(expected + unknown) // 1)
    return Estimate(redeemed=redeemed, breakage=outstanding - redeemed, unknown=-(-unknown // 1), ages=len(known))
