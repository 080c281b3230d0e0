"""A process that writes exports: as tests have one, and `python -m tests.exchange.settlement.scribe URL DATABASE`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from exchange.exporter import Exporter
from exchange.journal import EXCHANGE
from exchange.keyring import Keyring
from exchange.particulars import Particulars
from exchange.settlement.clearing import Settlement
from exchange.settlement.export import Form, Wish
from exchange.settlement.exporting import Exporting
from exchange.settlement.exports import Export
from exchange.settlement.files import Files
from exchange.settlement.statement import Statement
from exchange.store.connection import Database, connect, server_time
from tests.benchmarks.settlement import Past
from tests.exchange.settlement.conftest import KEY, World
from tests.exchange.settlement.files import PARTIES
from tests.exchange.test_evidence import SEAL

BEAT_SECONDS = 0.02


@dataclass
class Scribe:
    """One process's part in exports."""

    db: Database
    files: Files
    exporting: Exporting
    exporter: Exporter

    async def ask(self, statement: Statement, form: Form, owner: str | None = None, **more: Any) -> Export:
        """Ask for a file, as the statement's own partner unless said."""
        return await self.exporting.ask(owner or statement.partner, statement, Wish(form=form, **more))

    async def now(self, export: Export) -> Export:
        """Return an export as it stands now."""
        found = await self.exporting.export(export.id)
        assert found is not None
        return found

    async def file(self, export: Export) -> bytes:
        """Return the file of an export that is ready."""
        return b"".join([piece async for piece in self.exporting.file(await self.now(export))])

    async def by_hand(self, statement: Statement, form: Form, **more: Any) -> bytes:
        """Return the file that a shell writes."""
        return b"".join([piece async for piece in self.files.write(statement, Wish(form=form, **more))])

    async def lapse(self, export: Export) -> None:
        """Let the time pass until anybody may claim it."""
        await self._rewrite(export, claimable_at=await server_time(self.db) - timedelta(seconds=1))

    async def a_day_later(self, export: Export) -> None:
        """Let the day pass for which its file is kept."""
        await self._rewrite(export, begun_at=await server_time(self.db) - timedelta(days=1))

    async def _rewrite(self, export: Export, **fields: Any) -> None:
        result = await self.db["exports"].update_one({"_id": export.id}, {"$set": fields})
        assert result.matched_count == 1


def scribe_on(db: Database, parties: dict[str, Particulars] = PARTIES) -> Scribe:
    """Return one more process."""
    keyring = Keyring(KEY)
    settlement = Settlement(db, keyring)

    async def party(handle: str) -> Particulars:
        return parties["operator" if handle == EXCHANGE else "partner"]

    files = Files(db, keyring, settlement, party, lambda: SEAL)
    exporting = Exporting(db, keyring, files)
    return Scribe(db, files, exporting, Exporter(exporting, settlement, files, BEAT_SECONDS))


async def long_statement(world: World, entries: int) -> Statement:
    """Close a period of so many redemptions between three partners, put there past the ledger.

    The statement is of the second, which is on either side of every one of them.
    """
    await world.ledgers.pop().stop()
    await Past(world.books, ["somebody's"], 3).fill(entries, lane=1)
    settlement = world.settle()
    await settlement.close(1)
    statement = await settlement.statement("1:partner-001")
    assert statement is not None
    assert statement.line_count >= entries
    return statement


async def write_for_ever(url: str, database: str) -> None:
    """Write whatever is asked for."""
    await scribe_on(connect(url)[database]).exporter.run()


if __name__ == "__main__":
    asyncio.run(write_for_ever(*sys.argv[1:]))
