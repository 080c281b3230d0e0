"""A statement as a file of any form: the same bytes for a shell and for an export that is made in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from importlib import import_module
from typing import Final

from exchange.evidence import Evidence, Progress
from exchange.journal import EXCHANGE
from exchange.keyring import Keyring
from exchange.particulars import Particulars
from exchange.proof.sealed import Seal
from exchange.settlement.clearing import Settlement
from exchange.settlement.export import Form, Subject, Wish, Writer
from exchange.settlement.statement import Statement, StatementLine
from exchange.store.connection import Database, server_time

Parties = Callable[[str], Awaitable[Particulars]]
"""What stands about a party on paper today, by its handle."""

Rest = Callable[[], Awaitable[None]]
"""Awaited at each line: where others are served by the same process, it lets them come between."""

WRITTEN_BY: Final[Mapping[Form, str]] = {
    Form.CSV: "exchange.settlement.export.csv",
    Form.JSON: "exchange.settlement.export.json",
    Form.LEDGER: "exchange.settlement.export.accounting",
    Form.XLSX: "exchange.settlement.export.xlsx",
    Form.PDF: "exchange.settlement.export.pdf",
    Form.PAIN001: "exchange.settlement.export.pain001",
}
"""Where each form is written, but the bundle, which is made of blocks and not of lines."""

_BETWEEN_PROGRESS: Final = 100
_BLOCKS_BETWEEN_RESTS: Final = 2


class Files:
    """Writes the statements of one exchange. `seal`: gives the signature of the day, for bundles."""

    def __init__(
        self, db: Database, keyring: Keyring, settlement: Settlement, parties: Parties, seal: Callable[[], Seal]
    ) -> None:
        self._db = db
        self._settlement = settlement
        self._evidence = Evidence(db, keyring)
        self._parties = parties
        self._seal = seal

    async def write(
        self, statement: Statement, wish: Wish, progress: Progress = lambda *_: None, rest: Rest | None = None
    ) -> AsyncGenerator[bytes]:
        """Yield the file, piece by piece; close it if you stop half-way. Refused before the first piece, or never."""
        if wish.form is Form.BUNDLE:
            at_once = None if rest is None else _BLOCKS_BETWEEN_RESTS
            async for piece in self._evidence.bundle(statement, self._seal(), progress, at_once):
                yield piece
                if rest is not None:
                    await rest()
            return
        # Some of them take their time to be imported, and others are served meanwhile.
        write: Writer = (await asyncio.to_thread(import_module, WRITTEN_BY[wish.form])).write
        parties = await self.parties(statement)
        subject = Subject(
            statement=statement, period=await self._settlement.period_of(statement),
            partner=parties.pop(statement.partner), operator=parties.pop(EXCHANGE), payees=parties,
            written_at=await server_time(self._db), locale=wish.locale, payer=wish.payer, pay_on=wish.pay_on,
        )  # fmt: skip
        async with aclosing(await self._settlement.all_lines(statement)) as lines:
            async for piece in write(subject, _counted(lines, statement.line_count, progress, rest)):
                yield piece

    async def parties(self, statement: Statement) -> dict[str, Particulars]:
        """Return what stands today about a statement's partner, the operator, and whom the partner has to pay."""
        handles = {statement.partner, EXCHANGE, *(payment.to for payment in statement.due)}
        return {handle: await self._parties(handle) for handle in sorted(handles)}


async def _counted(
    lines: AsyncIterator[StatementLine], total: int, progress: Progress, rest: Rest | None
) -> AsyncIterator[StatementLine]:
    done = 0
    async for line in lines:
        if done % _BETWEEN_PROGRESS == 0:
            progress("lines", done, total)
        done += 1
        yield line
        if rest is not None:
            await rest()


def check_locale(tag: str) -> None:
    """Refuse (ValueError) a locale that is none. The library takes a while to import."""
    import_module("exchange.settlement.export.locales").locale_of(tag)
