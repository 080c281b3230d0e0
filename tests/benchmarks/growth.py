"""What a redemption costs when the journal has grown: `python -m tests.benchmarks.growth` (8 minutes at a million).

Two exchanges on one mongod, the same but for their past: one has ten thousand entries in its journal, the other as many
as `--entries` says. Each round redeems a fixed number of times in both, so that the small one stays small.

The past is made of real documents: redemptions that the ledger has written are copied, each under an id of its own,
to members who exist, with their entries, and a block for every hundred, in a lane of the past; all indexes grow as
they would have. The hashes are those of the models: nobody verifies them here. Ten million entries (`--entries
10000000 --cache-gb 4 --minutes 120`) take 10 GB of disk, want 30 GB free, and half an hour to fill in.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack

from exchange.journal import block_id
from exchange.store.connection import Document
from tests.benchmarks.measuring import Column, Option, Row, Side, alternate, customers, main
from tests.benchmarks.world import World, created, quick

COLUMNS = (
    Column("entries", "case"),
    Column("small/s", "small.per_second", ",.0f"),
    Column("large/s", "large.per_second", ",.0f"),
    Column("cost", "cost", ".2f"),
    Column("small p99 ms", "small.p99_ms", ".0f"),
    Column("large p99 ms", "large.p99_ms", ".0f"),
    Column("filled/s", "filled_per_second", ",.0f"),
)
SMALL = 10_000
MODELS = 1_000
BYTES_EACH = 1_500
"""What an entry takes on the disk at most, with its redemption and all indexes: 840 were measured."""
_PAST_LANE = 900_000
_BLOCK = 100
_STEP = 5_000
_SAID = 100_000
_IN_FLIGHT = 64


class Past:
    """Fills in what had been redeemed before."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._models: list[tuple[Document, Document]] = []
        self._block: Document = {}
        self._filled = 0

    async def learn(self) -> None:
        """Redeem some for the models."""
        books = self._world.books
        await customers(self._world.redeem(), _IN_FLIGHT, deeds=MODELS)
        async for entry in books.entries.find({"kind": "REDEEM"}).limit(MODELS):
            redemption = await books.redemptions.find_one({"_id": entry["redemption"]})
            assert redemption is not None
            self._models.append((entry, redemption))
        block = await books.blocks.find_one({"count": {"$gt": 0}})
        assert block is not None
        self._block = block

    async def fill(self, entries: int) -> None:
        """Fill the journal up, in steps."""
        books = self._world.books
        for begin in range(await books.entries.estimated_document_count(), entries, _STEP):
            journal, redemptions, blocks = self._copies(min(_STEP, entries - begin))
            await asyncio.gather(
                quick(books.entries).insert_many(journal, ordered=False, bypass_document_validation=True),
                quick(books.redemptions).insert_many(redemptions, ordered=False),
                quick(books.blocks).insert_many(blocks, ordered=False),
            )
            if begin // _SAID > (begin - _STEP) // _SAID:
                sys.stderr.write(f"{begin:,} of {entries:,} entries are filled in\n")
        await self._world.durable()

    def _copies(self, count: int) -> tuple[list[Document], list[Document], list[Document]]:
        journal, redemptions, seqs = [], [], set()
        for number in range(self._filled, self._filled + count):
            entry, redemption = self._models[number % len(self._models)]
            name, wallet, (seq, index) = self._world.key(), self._world.any_wallet(), divmod(number, _BLOCK)
            seqs.add(seq)
            place = {"lane": _PAST_LANE, "seq": seq, "index": index}
            journal.append(entry | {"_id": name, "redemption": name, "wallet": wallet} | place)
            redemptions.append(redemption | {"_id": name, "wallet": wallet})
        whole = [seq for seq in seqs if seq * _BLOCK >= self._filled]
        self._filled += count
        return journal, redemptions, [
            self._block | {"_id": block_id(_PAST_LANE, seq), "lane": _PAST_LANE, "seq": seq} for seq in whole
        ]  # fmt: skip


async def need_space(world: World, entries: int) -> None:
    """Refuse (OSError) to fill a disk: so much is wanted free again as the journal takes."""
    disk = await world.db.command("dbStats")
    free, wanted = int(disk["fsTotalSize"] - disk["fsUsedSize"]), entries * BYTES_EACH
    if free < 2 * wanted:
        message = f"{entries:,} entries take {wanted >> 30} GB and as much to spare, {free >> 30} GB are free"
        raise OSError(message)


async def run(
    url: str, entries: int, members: int, benefits: int, redemptions: int, rounds: int, small: int = SMALL
) -> list[Row]:
    """Fill two databases, let them take turns, and drop them."""
    async with AsyncExitStack() as stack:
        worlds: dict[str, World] = {}
        began = time.perf_counter()
        for name, size in {"small": small, "large": entries}.items():
            world = worlds[name] = await stack.enter_async_context(created(url, members, benefits))
            await need_space(world, size)
            await world.fill()
            past = Past(world)
            await past.learn()
            await past.fill(size)
        elapsed = time.perf_counter() - began

        def side(world: World) -> Side:
            return lambda: customers(world.redeem(), _IN_FLIGHT, deeds=redemptions)

        medians = await alternate({name: side(world) for name, world in worlds.items()}, rounds)
        cost = medians["small"]["per_second"] / medians["large"]["per_second"]
        grown = {name: await world.books.entries.estimated_document_count() for name, world in worlds.items()}
        return [
            {"case": f"{entries:,} to {small:,}", **medians, "cost": cost, "entries_afterwards": grown,
             "filled_per_second": entries / elapsed}
        ]  # fmt: skip


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=60,
        entries=Option(1_000_000, "in the large journal"), members=Option(10_000, "members with points"),
        benefits=Option(2_000, "limited benefits"), redemptions=Option(3_000, "in each round"),
        rounds=Option(5, "of each side"),
    )  # fmt: skip
