"""A statement as the files that finance people load elsewhere.

Each format is a module with one function, `write`: from the `Subject` and the statement's lines, all of them in order,
to the file's bytes, piece by piece. None holds more than a few lines at a time. Into what programs read goes nothing
but the statement's figures, so the same statement gives the same bytes. What people and banks get says besides what
the parties are called and how far the statement has come; a payment file also when it was written.

Every file states the statement's id, its hash and its period. What machines read has exact decimals with a point and
times in UTC, whatever the locale; what people read is written as the locale has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

from exchange.journal import LineKind
from exchange.particulars import Particulars
from exchange.settlement.period import Period
from exchange.settlement.statement import Statement, StatementLine

LOCALE: Final = "en"


class Form(StrEnum):
    """The forms that a statement can be written in."""

    CSV = "csv"
    JSON = "json"
    LEDGER = "ledger"
    XLSX = "xlsx"
    PDF = "pdf"
    PAIN001 = "pain001"
    BUNDLE = "bundle"


class Wish(Struct, frozen=True, kw_only=True):
    """What somebody wants a statement written as. `payer`, `pay_on`: of a payment file, as a `Subject` has them."""

    form: Form
    locale: str = LOCALE
    payer: str | None = None
    pay_on: date | None = None


class Subject(Struct, frozen=True, kw_only=True):
    """What a file is about: a statement of a closed `period`, and what stands on paper about its two sides.

    `locale`: of who reads it, as a language tag. For a payment file, `written_at`, `payer` (a handle, where both sides
    pay), `payees` (the other partners that are paid, by handle), and `pay_on`, the day on which a bank is to pay: the
    same day, if it is not told.
    """

    statement: Statement
    period: Period
    partner: Particulars
    operator: Particulars
    written_at: datetime
    locale: str = LOCALE
    payer: str | None = None
    pay_on: date | None = None
    payees: Mapping[str, Particulars] = {}

    @property
    def closed_at(self) -> datetime:
        """When the statement came to be: the time that its files bear, whenever they are written."""
        return self.period.closed_at or self.period.opened_at


class Heading(NamedTuple):
    """Under what lines are added up for people."""

    currency: str
    kind: LineKind
    counterparty: str


@dataclass
class Figures:
    """What the lines under one heading add up to."""

    lines: int = 0
    points: int = 0
    gross_minor: int = 0
    fee_minor: int = 0


class Summary:
    """Adds up lines as they come, under headings: there are as many as a partner has others that it deals with."""

    def __init__(self) -> None:
        self._headings: dict[Heading, Figures] = {}

    def add(self, line: StatementLine) -> None:
        """Add a line."""
        found = self._headings.setdefault(Heading(line.currency, line.kind, line.counterparty), Figures())
        found.lines += 1
        found.points += line.points
        found.gross_minor += line.gross.minor
        found.fee_minor += line.fee.minor

    def rows(self) -> list[tuple[Heading, Figures]]:
        """Return the sums, by heading."""
        return sorted(self._headings.items())


Writer = Callable[[Subject, AsyncIterator[StatementLine]], AsyncIterator[bytes]]
