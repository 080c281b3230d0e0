"""A partner's own record of what was used, as CSV: one row each, under a header.

`entry` is the identifier that the partner's statements have; of the figures `points`, `gross`, `fee` and `net` there
are those that the partner keeps, and `currency` with any that is money. `day` is optional. The names are those of a
statement's own CSV, other columns are passed over, and so is the apostrophe that keeps a spreadsheet from taking an
identifier for a formula.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import BinaryIO, Final, NamedTuple

from exchange.amounts import exponent, minor_from_decimal
from exchange.settlement.usage import FIGURES, POINTS, UsageRow, with_money
from partners.feeds.csv import read_table
from partners.feeds.lines import numbered_lines
from partners.feeds.rows import FeedError, Rejected

ENTRY: Final = "entry"
_DAYS: Final = ("day", "date", "at")
_REFERENCE_MAX: Final = 500
_WHOLE = re.compile(r"-?[0-9]{1,18}")


class Usage(NamedTuple):
    """A file that is being read. `columns`: the figures it has, in the order of FIGURES."""

    columns: tuple[str, ...]
    rows: Iterator[UsageRow | Rejected]


def read_usage(stream: BinaryIO) -> Usage:
    """Read the header; the rows come while iterating, and a FeedError ends them."""
    start, names, rows = read_table(numbered_lines(stream))
    header = [name.strip().lower() for name in names]
    known = (ENTRY, *FIGURES, "currency", *_DAYS)
    twice = sorted(name for name in known if header.count(name) > 1)
    if twice:
        raise FeedError(f"the header names a column twice: {', '.join(twice)}", start)
    columns = tuple(name for name in FIGURES if name in header)
    missing = [name for name in (ENTRY, *(["currency"] if with_money(columns) else [])) if name not in header]
    if missing:
        raise FeedError(f"the header lacks {', '.join(missing)}", start)
    if not columns:
        raise FeedError(f"the header has none of {', '.join(FIGURES)}: there is nothing to compare", start)
    return Usage(columns, _read(header, columns, rows))


def _read(
    header: Sequence[str], columns: Sequence[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[UsageRow | Rejected]:
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(header):
            yield Rejected(line, "row", f"has {len(cells)} cells where the header has {len(header)}")
            continue
        said = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        try:
            yield _row(line, columns, said)
        except _WrongCellError as wrong:
            yield Rejected(line, wrong.field, wrong.reason)


class _WrongCellError(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


def _row(line: int, columns: Sequence[str], said: dict[str, str]) -> UsageRow:
    reference = said[ENTRY]
    if reference.startswith("'-"):
        reference = reference[1:]
    if not 1 <= len(reference) <= _REFERENCE_MAX:
        raise _WrongCellError(ENTRY, f"must have 1 to {_REFERENCE_MAX} characters")
    currency = said["currency"].upper() if with_money(columns) else ""
    if currency:
        try:
            exponent(currency)
        except ValueError as wrong:
            raise _WrongCellError("currency", str(wrong)) from None
    elif with_money(columns):
        raise _WrongCellError("currency", "must not be empty")
    figures = tuple(_figure(column, said[column], currency) for column in columns)
    return UsageRow(reference, currency, figures, _day(said), line)


def _figure(column: str, text: str, currency: str) -> int:
    if column == POINTS:
        if not _WHOLE.fullmatch(text):
            raise _WrongCellError(column, f"{text!r} is not a whole number of at most 18 digits")
        return int(text)
    try:
        return minor_from_decimal(text, currency)
    except ValueError as wrong:
        raise _WrongCellError(column, str(wrong)) from None


def _day(said: dict[str, str]) -> date | None:
    name, text = next(((name, said[name]) for name in _DAYS if said.get(name)), ("", ""))
    if not name:
        return None
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise _WrongCellError(name, f"{text!r} does not begin with a date such as 2026-03-31") from None
