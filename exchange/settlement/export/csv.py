"""A statement as CSV (RFC 4180, UTF-8): one header row, then one row per line, and nothing else.

Accountants' imports want a plain rectangle, so what holds for the whole statement (its id, hash and period) is a
column of every row instead of a block before or after them. Amounts are exact decimals of the row's currency, with a
point; `net` is `gross` - `fee`, and the nets of a currency sum to the statement's position.

Partners choose SKUs, and a spreadsheet runs a cell that begins with = + - or @ as a formula. A text cell that begins
so (or with their full-width forms, a tab or a line end) gets a leading apostrophe (OWASP, CSV Injection); whoever reads
the file by program takes it off again. Numbers are never changed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

from exchange.amounts import decimal_from_minor
from exchange.journal import milliseconds
from exchange.settlement.export import Subject
from exchange.settlement.statement import StatementLine

COLUMNS = (
    "statement", "hash", "period", "line", "entry", "at", "kind", "benefit", "counterparty", "points", "gross", "fee",
    "net", "currency", "late",
)  # fmt: skip

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


async def write(subject: Subject, lines: AsyncIterator[StatementLine]) -> AsyncIterator[bytes]:
    """Yield the file, row by row."""
    statement = subject.statement
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)  # RFC 4180 is its default dialect: CRLF, quotes doubled

    def row(*cells: str) -> bytes:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue().encode()

    yield row(*COLUMNS)
    number = 0
    async for line in lines:
        number += 1
        yield row(
            text(statement.id), statement.hash, str(statement.period), str(number), text(line.entry),
            milliseconds(line.at), line.kind, text(line.benefit or ""), text(line.counterparty), str(line.points),
            *(decimal_from_minor(*amount) for amount in (line.gross, line.fee, line.net)), line.currency,
            "true" if line.late else "false",
        )  # fmt: skip


def text(cell: str) -> str:
    """Return a text cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
