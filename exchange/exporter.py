"""Writes the exports that were asked for: one at a time in each server process, whoever it was asked of.

An export is claimed for a lease of seconds, which is renewed while it is written; each renewal tells how far it is.
When the process dies the lease lapses, and another process, or the next one, begins it anew. When a process is stopped
it gives its export back at once. What the exchange refuses (a payment file of a draft) fails with that sentence; what
goes wrong otherwise is tried again, and fails when it has gone wrong three times.

Members' requests are served on the same event loop, so the exporter works for a few milliseconds and then sleeps for as
long: it takes half of what is left at most. What computes for longer, a document's layout and a workbook's packing, is
done in a thread. In memory it has a piece of the file and a page of lines, whatever the statement has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from hashlib import sha256
from typing import Final

from exchange.errors import ExchangeError, Refusal, StoreUnavailable
from exchange.settlement.clearing import Settlement
from exchange.settlement.exporting import Exporting
from exchange.settlement.exports import Export, ExportProgress, Written
from exchange.settlement.files import Files
from exchange.store.exports import PIECE_BYTES

LOOK_SECONDS: Final = 1.0
BEAT_SECONDS: Final = 1.0
FAILURES_MAX: Final = 3
AGAIN_AFTER: Final = timedelta(seconds=5)
STINT_SECONDS: Final = 0.005
REST_SECONDS_MAX: Final = 0.05
GAVE_UP: Final = "the exchange could not write the file; its operator has been told. Ask again later"

_log = logging.getLogger(__name__)


class Exporter:
    """Writes exports while the server runs."""

    def __init__(
        self, exporting: Exporting, settlement: Settlement, files: Files, beat_seconds: float = BEAT_SECONDS
    ) -> None:
        self._exporting = exporting
        self._store = exporting.store
        self._settlement = settlement
        self._files = files
        self._beat_seconds = beat_seconds

    async def run(self) -> None:
        """Write whatever is asked for until cancelled; a database that is away is tried again."""
        while True:
            self._exporting.wanted.clear()
            try:
                while await self.work():
                    pass
            except StoreUnavailable as error:
                _log.warning("could not look for exports: %s", error.message)
            except Exception:  # noqa: BLE001 - one thing that cannot be done must not end all exporting
                _log.exception("could not look for exports")
            # Those that were asked of other processes are not told of here.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._exporting.wanted.wait(), LOOK_SECONDS)

    async def work(self) -> bool:
        """Claim one export and bring it to an end; whether there was one."""
        export = await self._store.claim()
        if export is None:
            return False
        if export.failures >= FAILURES_MAX:
            _log.error("export %s of %s is given up after %d attempts", export.id, export.statement, export.failures)
            await self._store.fail(export, GAVE_UP)
            return True
        told = _Told(export.progress)
        writing = asyncio.create_task(self._write(export, told))
        holding = asyncio.create_task(self._hold(export, told))
        try:
            await asyncio.wait((writing, holding), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                await self._end(export, told, writing)
            else:
                _log.warning("export %s was taken over by another process", export.id)
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                await self._store.give_back(export)
            raise
        finally:
            for task in (writing, holding):
                task.cancel()
            await asyncio.gather(writing, holding, return_exceptions=True)
        return True

    async def _hold(self, export: Export, told: _Told) -> None:
        """Renew the lease until it is lost. A database that is away is asked again: the lease may outlast that."""
        held = True
        while held:
            with suppress(StoreUnavailable):
                held = await self._store.renew(export, told.progress)
            await asyncio.sleep(self._beat_seconds)

    async def _write(self, export: Export, told: _Told) -> Written:
        statement = await self._settlement.statement(export.statement)
        if statement is None:
            message = f"there is no statement {export.statement}"
            raise LookupError(message)
        digest, length, number = sha256(), 0, 0
        async with aclosing(self._files.write(statement, export.wish, told.show, told.rest)) as file:
            async for data in _gathered(file):
                digest.update(data)
                length += len(data)
                await self._store.add_piece(export, number, data)
                number += 1
        return Written(length, digest.hexdigest(), number)

    async def _end(self, export: Export, told: _Told, writing: asyncio.Task[Written]) -> None:
        try:
            await self._store.finish(export, writing.result(), told.whole)
        except Refusal as refusal:
            field = refusal.path[-1] if refusal.path else None
            await self._store.fail(export, refusal.message if field is None else f"{field}: {refusal.message}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be tried for ever
            known = isinstance(error, ExchangeError)
            said = error.message if isinstance(error, ExchangeError) else "it should not have happened"
            _log.warning("export %s of %s: %s", export.id, export.statement, said, exc_info=not known)
            await self._store.give_back(export, AGAIN_AFTER, failed=True)


class _Told:
    """How far an export is, and how long it has been at work without a rest."""

    def __init__(self, progress: ExportProgress) -> None:
        self.progress = progress
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()

    @property
    def whole(self) -> ExportProgress:
        """All of it."""
        return ExportProgress(self.progress.total, self.progress.total)

    def show(self, _what: str, done: int, total: int | None) -> None:
        """Take down how far it is."""
        self.progress = ExportProgress(done, total or 0)

    async def rest(self) -> None:
        """Let others come between, if it has worked for a while."""
        worked = self._clock() - self._since
        if worked >= STINT_SECONDS:
            await asyncio.sleep(min(worked, REST_SECONDS_MAX))
            self._since = self._clock()


async def _gathered(file: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a file in pieces of the size in which they are stored."""
    gathered = bytearray()
    async for some in file:
        gathered += some
        while len(gathered) >= PIECE_BYTES:
            yield bytes(gathered[:PIECE_BYTES])
            del gathered[:PIECE_BYTES]
    if gathered:
        yield bytes(gathered)
