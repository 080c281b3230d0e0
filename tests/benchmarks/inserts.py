"""The ledger against a bare batched `insert_many` of the same bytes: `python -m tests.benchmarks.inserts` (2 minutes).

The bare side inserts, batch for batch, the documents that the ledger has written in its rounds: the block, its entries,
the redemptions and the wallets, as they are in the database afterwards, in one `insert_many` a batch, one after the
other, majority and journaled, into an empty collection that has no index but its `_id`. Each `_id` is a random one of
the same length, because a wallet comes in many batches. Not counted are the ledger's changes of stock, which are
increments.

So the ledger pays for what the bare side has not got: reading, deciding, hashing, a transaction, five collections with
their indexes, and the guards of every write.
"""

from __future__ import annotations

import secrets
import time
from itertools import batched

from bson import encode

from exchange.journal import block_id
from exchange.store.connection import Document
from tests.benchmarks.measuring import Column, Figures, Option, Row, alternate, customers, main, ratio
from tests.benchmarks.world import World, created

COLUMNS = (
    Column("case", "case"),
    Column("in flight", "in_flight"),
    Column("ledger/s", "ledger.per_second", ",.0f"),
    Column("a batch", "ledger.batch", ".0f"),
    Column("bytes each", "ledger.bytes_each", ",.0f"),
    Column("bare/s", "bare.per_second", ",.0f"),
    Column("ratio", "ratio.per_second", ".2f"),
)


class Copyist:
    """Remembers where the ledger stood, so that what it writes from then on can be written again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._head = ""
        self.batches: list[list[Document]] = []
        self.redemptions = 0
        self.bytes = 0

    async def begin(self) -> None:
        """Count from here."""
        self._head = (await self._blocks().sort("_id", -1).to_list(1))[0]["_id"]

    async def read(self) -> None:
        """Read all batches written since, each as it is to be inserted."""
        books, self.batches, self.redemptions, self.bytes = self._world.books, [], 0, 0
        async for block in self._blocks():
            place = {"lane": block["lane"], "seq": block["seq"]}
            entries = await books.entries.find(place).to_list(None)
            ids, wallets = [one["redemption"] for one in entries], list({one["wallet"] for one in entries})
            redemptions = await books.redemptions.find({"_id": {"$in": ids}}).to_list(None)
            changed = await books.wallets.find({"_id": {"$in": wallets}}).to_list(None)
            written = [_afresh(one) for one in (block, *changed, *redemptions, *entries)]
            self.batches.append(written)
            self.redemptions += len(entries)
            self.bytes += sum(len(encode(one)) for one in written)

    def _blocks(self):
        return self._world.books.blocks.find({"_id": {"$gt": self._head}, "count": {"$gt": 0}})
