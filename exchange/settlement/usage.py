"""A partner's own record of a period held against its statement: what one has and the other has not.

Both sides are rows that name an entry by the partner's own identifier of it, as its statement does. A statement has
several lines of one entry when several issuers' points were spent, or a commission was paid; a partner may count in
its own way too. So what is compared is what a *reference* adds up to, in each currency:

    MISSING_HERE    the partner has it, the statement has not
    MISSING_THERE   the statement has it, the partner has not
    DIFFERS         both have it, with other figures

Only figures that the partner gives are compared (`columns`, in the order of FIGURES); without a money figure, points
are added up over all currencies. Of a *row*, `figures` stand in the order of the columns, signed from the partner's
side as statement lines are.

Both sides come in order, so that nothing but the two rows in hand is ever held (a merge join). Every reference ends in
one pile: it agrees, or there is one difference about it. So for either side, what agrees and what differs add up to
what the side adds up to, and `Tally` has all of those sums.

Pure: rows come from outside, in order; `store.usage` puts them there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from enum import StrEnum
from typing import Final

from msgspec import Struct

from exchange.settlement.statement import StatementLine

POINTS: Final = "points"
FIGURES: Final = (POINTS, "gross", "fee", "net")
"""What can be compared, in the words of a statement's CSV."""


class DifferenceKind(StrEnum):
    """How the two sides differ about a reference. Here is the exchange, there is the partner."""

    MISSING_HERE = "MISSING_HERE"
    MISSING_THERE = "MISSING_THERE"
    DIFFERS = "DIFFERS"


class UsageRow(Struct, frozen=True):
    """What one side has of a reference. `day`: of its first row; `line`: where the partner's file begins with it.

    `currency` is empty if only points are compared.
    """

    reference: str
    currency: str
    figures: tuple[int, ...]
    day: date | None = None
    line: int | None = None

    @property
    def place(self) -> tuple[str, str]:
        """By what rows are in order."""
        return self.reference, self.currency


class Difference(Struct, frozen=True):
    """One reference about which the sides do not agree; the side that lacks it is None."""

    kind: DifferenceKind
    ours: UsageRow | None
    theirs: UsageRow | None

    @property
    def row(self) -> UsageRow:
        """The row there is; of two the partner's."""
        row = self.theirs or self.ours
        assert row is not None  # noqa: S101 - one of them made it a difference
        return row


class Tally:
    """How many references ended in which pile, and what both sides add up to, by currency and column."""

    def __init__(self) -> None:
        self.agreed = 0
        self.differences = dict.fromkeys(DifferenceKind, 0)
        self.ours: dict[str, tuple[int, ...]] = {}
        self.theirs: dict[str, tuple[int, ...]] = {}

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not any(self.differences.values())


def compared(ours: Iterable[UsageRow], theirs: Iterable[UsageRow], tally: Tally) -> Iterator[Difference]:
    """Yield the differences in the order of references. Either side is in that order, with no place twice."""
    here, there = _counted(ours, tally.ours), _counted(theirs, tally.theirs)
    our, their = next(here, None), next(there, None)
    while our is not None or their is not None:
        difference: Difference | None = None
        if our is None or (their is not None and their.place < our.place):
            difference, their = Difference(DifferenceKind.MISSING_HERE, None, their), next(there, None)
        elif their is None or our.place < their.place:
            difference, our = Difference(DifferenceKind.MISSING_THERE, our, None), next(here, None)
        else:
            if our.figures != their.figures:
                difference = Difference(DifferenceKind.DIFFERS, our, their)
            our, their = next(here, None), next(there, None)
        if difference is None:
            tally.agreed += 1
        else:
            tally.differences[difference.kind] += 1
            yield difference


def _counted(rows: Iterable[UsageRow], sums: dict[str, tuple[int, ...]]) -> Iterator[UsageRow]:
    for row in rows:
        so_far = sums.get(row.currency)
        sums[row.currency] = row.figures if so_far is None else plus(so_far, row.figures)
        yield row


def plus(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Add up figures column by column."""
    return tuple(each + more for each, more in zip(one, other, strict=True))


def row_of(line: StatementLine, columns: Sequence[str]) -> UsageRow:
    """Return what a statement line has of the columns."""
    figures = {POINTS: line.points, "gross": line.gross.minor, "fee": line.fee.minor, "net": line.net.minor}
    currency = line.currency if with_money(columns) else ""
    return UsageRow(line.entry, currency, tuple(figures[column] for column in columns), line.at.date())


def with_money(columns: Sequence[str]) -> bool:
    """Tell whether any of the columns is money."""
    return any(column != POINTS for column in columns)
