"""The ledger against bare batched `insert_many` of the same bytes: `python -m tests.benchmarks.inserts` (3 minutes).

The bare sides insert what the ledger has written in the round before, as it is in the database afterwards: for each
redemption its entry, the redemption and the wallet, for each batch a block. As many customers wait for them as for the
ledger, one batch of up to 128 flies while the next one collects, majority and journaled. They read nothing, decide
nothing, hash nothing, guard nothing and need no transaction. Not counted are the ledger's changes of stock, which are
increments.

    one collection   all documents of a batch in one `insert_many`, and no index but that of `_id`
    its collections  one `insert_many` for each kind, into collections that have the ledger's indexes

Each `_id` is a random one of the same length, because a wallet comes again and again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from bson import encode

from exchange.ledger import BATCH_MAX
from exchange.store.connection import Collection, Document
from tests.benchmarks.measuring import Column, Figures, Option, Row, alternate, customers, main, ratio
from tests.benchmarks.world import World, created

COLUMNS = (
    Column("against", "case"),
    Column("ledger/s", "ledger.per_second", ",.0f"),
    Column("bare/s", "bare.per_second", ",.0f"),
    Column("ratio", "ratio.per_second", ".2f"),
    Column("bytes each", "bare.bytes_each", ",.0f"),
)
ONE, SAME = "one collection", "its collections"
KINDS = ("blocks", "wallets", "redemptions", "entries")


class Bare:
    """Inserts in batches what it is given, and does nothing else."""

    def __init__(self, collections: dict[str, Collection], blocks: Sequence[Document]) -> None:
        self._collections = collections
        self._blocks = iter(blocks)
        self._waiting: list[tuple[dict[str, Document], asyncio.Future[None]]] = []
        self._flying: asyncio.Task[None] | None = None

    async def insert(self, documents: dict[str, Document]) -> None:
        """Insert one redemption's documents; returns when their batch is durable."""
        inserted = asyncio.get_running_loop().create_future()
        self._waiting.append((documents, inserted))
        if self._flying is None or self._flying.done():
            self._flying = asyncio.create_task(self._fly())
        await inserted

    async def _fly(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            written = {"blocks": [next(self._blocks)]}
            written |= {kind: [documents[kind] for documents, _ in batch] for kind in KINDS[1:]}
            if len(self._collections) == 1:
                written = {ONE: [document for kind in KINDS for document in written[kind]]}
            for kind, documents in written.items():
                await self._collections[kind].insert_many(documents)
            for _, inserted in batch:
                inserted.set_result(None)


class Rounds:
    """The sides: what the ledger writes in a round, the bare ones write again in the next."""

    def __init__(self, world: World, in_flight: int, seconds: float) -> None:
        self._world = world
        self._in_flight = in_flight
        self._seconds = seconds
        self._head = ""

    async def ledger(self) -> Figures:
        """Redeem for a while."""
        newest = await self._world.books.blocks.find().sort("_id", -1).to_list(1)
        self._head = newest[0]["_id"]
        return await customers(self._world.redeem(), self._in_flight, seconds=self._seconds)

    async def one(self) -> Figures:
        """Insert it again into one collection."""
        return await self._again((ONE,))

    async def same(self) -> Figures:
        """Insert it again into collections like the ledger's."""
        return await self._again(KINDS)

    async def _again(self, kinds: Sequence[str]) -> Figures:
        # What is read for it beforehand takes no time of it.
        collections = {kind: await self._empty(kind) for kind in kinds}
        blocks, redeemed = await self._written()
        size = sum(len(encode(document)) for documents in redeemed for document in documents.values())
        size += sum(len(encode(block)) for block in blocks)
        # Customers that come a little apart make more batches, and each has a block.
        bare, left = Bare(collections, [*blocks, *map(_afresh, blocks), *map(_afresh, blocks)]), iter(redeemed)

        async def insert() -> None:
            await bare.insert(next(left))

        measured = await customers(insert, self._in_flight, deeds=len(redeemed))
        return measured | {"bytes_each": size / len(redeemed)}

    async def _empty(self, kind: str) -> Collection:
        books, bare = self._world.books.db, self._world.db[f"bare {kind}"]
        await bare.drop()
        for name, index in (await books[kind].index_information()).items():
            if name != "_id_":
                options = {option: index[option] for option in ("unique", "partialFilterExpression") if option in index}
                await bare.create_index(index["key"], name=name, **options)
        return bare

    async def _written(self) -> tuple[list[Document], list[dict[str, Document]]]:
        books, redeemed = self._world.books, list[dict[str, Document]]()
        blocks = await books.blocks.find({"_id": {"$gt": self._head}, "count": {"$gt": 0}}).sort("_id", 1).to_list(None)
        for block in blocks:
            entries = await books.entries.find({"lane": block["lane"], "seq": block["seq"]}).to_list(None)
            found = [books.redemptions.find({"_id": {"$in": [entry["redemption"] for entry in entries]}}),
                     books.wallets.find({"_id": {"$in": [entry["wallet"] for entry in entries]}})]  # fmt: skip
            redemptions, wallets = [{one["_id"]: one for one in await each.to_list(None)} for each in found]
            redeemed += [
                {"entries": _afresh(entry), "redemptions": _afresh(redemptions[entry["redemption"]]),
                 "wallets": _afresh(wallets[entry["wallet"]])}
                for entry in entries
            ]  # fmt: skip
        return [_afresh(block) for block in blocks], redeemed


def _afresh(document: Document) -> Document:
    length = len(document["_id"])
    return document | {"_id": secrets.token_urlsafe(length)[:length]}


async def run(url: str, members: int, benefits: int, in_flight: int, seconds: float, rounds: int) -> list[Row]:
    """Fill a database of its own, let the sides take turns, and drop it."""
    async with created(url, members, benefits) as world:
        await world.fill()
        turns = Rounds(world, in_flight, seconds)
        # In this order always: what is inserted again has just been written.
        sides = {"ledger": turns.ledger, ONE: turns.one, SAME: turns.same}
        medians = await alternate(sides, rounds, reverse=False)
        ledger = medians["ledger"]
        return [
            {"case": name, "in_flight": in_flight, "ledger": ledger, "bare": medians[name],
             "ratio": ratio(ledger, medians[name])}
            for name in (ONE, SAME)
        ]  # fmt: skip


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=20,
        members=Option(10_000, "members with points"), benefits=Option(2_000, "limited benefits"),
        in_flight=Option(256, "customers of each side"), seconds=Option(5.0, "of each of the ledger's rounds"),
        rounds=Option(5, "of each side"),
    )  # fmt: skip
