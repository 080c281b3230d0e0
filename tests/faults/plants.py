"""What starts a gateway of the suite: the product's own `main`, after the clock was set wrong or a bug was planted.

FAULTS_SKEW_SECONDS: how wrong this process's clock is. FAULTS_PLANT: the name of a bug, one of `PLANTS`. The product
knows neither. Each bug is one that somebody could write: a guard left out, or two lines in the wrong order. They are
there to show that the suite would find them (`test_plants`).
"""

from __future__ import annotations

import asyncio
import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from pymongo import InsertOne, ReplaceOne

from exchange.batch import Batch, references_named
from exchange.commands import Command
from exchange.errors import Refusal
from exchange.journal import Block
from exchange.lane import LaneKeeper
from exchange.ledger import Ledger, _Job, _tell
from exchange.limits import LOOK_BACK_MAX
from exchange.redemption import Redemption
from exchange.store import books
from exchange.store import documents as docs
from exchange.store.books import Books, FirstRound, SecondRound, Writes
from exchange.store.connection import Database, Session
from exchange.store.lanes import Lane
from exchange.wallet import Wallet
from graph.cli.server import main as serve

PAUSE_SECONDS: Final = 0.6
"""How long a gateway with a pause thinks: time for another to come between."""


def main() -> None:
    """Serve, as `graph.cli.server` does."""
    skew = int(os.environ.get("FAULTS_SKEW_SECONDS", "0"))
    if skew:
        true_time = time.time  # noqa: TID251 - the very clock that is to be wrong
        time.time = lambda: true_time() + skew  # noqa: TID251
    plant = os.environ.get("FAULTS_PLANT")
    if plant:
        PLANTS[plant]()
    serve()


def no_version_filter() -> None:
    """Wallets are written whatever version is there: of two who read the same, the second wins."""

    def write(wallet: Wallet, period: int) -> Any:
        document = docs.wallet_document(wallet, wallet.version + 1, period)
        return InsertOne(document) if wallet.version == 0 else ReplaceOne({"_id": wallet.id}, document)

    _patch(books, "_wallet_write", write)


def cut_by_clock() -> None:
    """A batch is of the period that is open by this process's clock; nobody asks the lane."""
    period = 1

    async def ask_the_clock(self: LaneKeeper, _lane: Lane, _first: FirstRound, _second: SecondRound) -> None:
        nonlocal period
        now = datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 - the bug
        period = 1 + await self._books.periods.count_documents({"marked_at": {"$ne": None, "$lte": now}})

    _patch(LaneKeeper, "cut_if_due", ask_the_clock)
    _patch(Lane, "period", property(lambda _: period))


def local_reads() -> None:
    """What an answer rests on is read without majority, and nothing is written to make it last."""
    made = Books.__init__

    def make(self: Books, db: Database) -> None:
        made(self, db)
        self._unclosed = self.periods

    async def renew(self: LaneKeeper, lane: Lane) -> None:
        """Trust in the lease."""

    _patch(Books, "__init__", make)
    _patch(LaneKeeper, "renew", renew)


def block_outside() -> None:
    """The block is inserted on its own, before the transaction that it belongs to."""
    write = Books._write  # noqa: SLF001 - the bug

    class Written:
        async def insert_one(self, *_: Any, **__: Any) -> None:
            """It is there already."""

    async def write_outside(self: Books, session: Session, block: Block, writes: Writes) -> None:
        await self.blocks.insert_one(docs.block_document(block))
        rest: Any = copy.copy(self)
        rest.blocks = Written()
        await write(rest, session, block, writes)

    _patch(Books, "_write", write_outside)


def early_refusal() -> None:
    """Who is refused is told at once, before the commit that the refusal rests on."""
    settle, decide = Ledger._settle, Batch.decide  # noqa: SLF001 - the bug
    waiting: dict[str, _Job] = {}

    async def remember(self: Ledger, jobs: list[_Job]) -> None:
        waiting.update((job.command.id, job) for job in jobs)
        await settle(self, jobs)

    def tell(self: Batch, commands: Sequence[Command], *rest: Any) -> Any:
        decided = decide(self, commands, *rest)
        for command, answer in zip(commands, decided, strict=True):
            if isinstance(answer, Refusal):
                _tell(waiting[command.id], answer)
        return decided

    _patch(Ledger, "_settle", remember)
    _patch(Batch, "decide", tell)


def pause() -> None:
    """No bug: the gateway thinks for a while before it reads what it decides by."""
    _read_after(_nothing)


def limit_before_wallet() -> None:
    """What counts against limits is read first, and the wallet afterwards."""
    counted: dict[str, Redemption] = {}

    async def count(self: Ledger, commands: Sequence[Command]) -> None:
        names = [docs.reference_id(one) for command in commands for one in references_named(command)]
        first = await self._books.first_round([], names, [])
        since = first.now - LOOK_BACK_MAX - timedelta(days=1)
        found = await self._books.recent_redemptions(first.references.values(), since)
        counted.clear()
        counted.update((redemption.id, redemption) for redemption in found)

    async def count_no_more(_: Ledger, __: Sequence[Command], batch: Batch, *___: Any) -> None:
        batch.recent = dict(counted)

    _read_after(count)
    _patch(Ledger, "_look_back", count_no_more)


def look_alone() -> None:
    """A commit whose answer was lost did not happen if its block is not to be seen."""

    async def look(self: LaneKeeper, _: Lane, block: Block) -> bool:
        there = await self._books.block_at(block.lane, block.seq)
        return there is not None and there.hash == block.hash

    _patch(LaneKeeper, "_did_commit", look)


# ------------------------------------------------------------ how


async def _nothing(_: Ledger, __: Sequence[Command]) -> None:
    """Read nothing beforehand."""


def _read_after(beforehand: Callable[[Ledger, Sequence[Command]], Any]) -> None:
    read = Ledger._read  # noqa: SLF001 - what is patched

    async def later(self: Ledger, commands: Sequence[Command], *lane: int) -> tuple[FirstRound, SecondRound]:
        await beforehand(self, commands)
        await asyncio.sleep(PAUSE_SECONDS)
        return await read(self, commands, *lane)

    _patch(Ledger, "_read", later)


def _patch(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)


PLANTS: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        plant.__name__: plant
        for plant in (
            no_version_filter,
            cut_by_clock,
            local_reads,
            block_outside,
            early_refusal,
            pause,
            limit_before_wallet,
            look_alone,
        )
    }
)
