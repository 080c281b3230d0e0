"""A statement as JSON: its canonical document beside its hash.

``{"hash": ..., "statement": {"header": ..., "lines": [...], "period_root": ..., "totals": [...]}}``, one line of UTF-8.
What stands under `statement` is the document that the hash is of, byte for byte: whoever has read the file makes it
canonical again (RFC 8785) and compares. Amounts are minor units, as strings, because many a JSON reader takes a number
for a float.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from exchange.journal import canonical
from exchange.settlement.export import Subject
from exchange.settlement.statement import StatementLine, document


async def write(subject: Subject, lines: AsyncIterator[StatementLine]) -> AsyncIterator[bytes]:
    """Yield the file, line by line of the statement."""
    told = subject.statement
    yield b'{"hash":' + canonical(told.hash) + b',"statement":'
    async for piece in document(told.period, told.partner, told.root, told.totals, lines):
        yield piece
    yield b"}\n"
