"""What a period's blocks add up to so far, each of them read once.

Blocks are never changed and each has its place in a lane, so whoever has added up a lane to some block goes on behind
it. That is kept in memory alone: another process begins anew, and what is signed (`Settlement.draft_statements`) is
always added up anew, from all blocks of the period.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from exchange.journal import Sums, block_id
from exchange.store.connection import Collection, answering, decoded

BLOCKS_AT_ONCE = 20
"""Of a block there are up to a thousand rows of sums, and others want the event loop too."""


class RunningSums:
    """The sums of one period. `begin`: the seq of a lane from which its blocks may be in it; 0 when it is not named."""

    def __init__(self, blocks: Collection, number: int, begin: Mapping[int, int]) -> None:
        self._blocks = blocks
        self._number = number
        self._next = dict(begin)
        self._sums = Sums()
        self._one_at_a_time = asyncio.Lock()
        self.whole: Sums | None = None
        """The sums, when they are known to be those of the whole period."""

    async def so_far(self, lanes: Iterable[int], *, closed: bool) -> Sums:
        """Add up what these lanes have by now; `closed`: the period was, before anybody looked for them.

        Unless it was, the sums grow with the next call: use them before anything is awaited.
        """
        async with self._one_at_a_time:
            for lane in lanes:
                await self._go_on(lane)
            if closed:
                self.whole = self._sums
        return self._sums

    async def _go_on(self, lane: int) -> None:
        place = {"$gte": block_id(lane, self._next.get(lane, 0)), "$lt": block_id(lane + 1, 0)}
        fields = {"_id": 0, "seq": 1, "period": 1, "sums": 1}
        with answering():
            found = self._blocks.find_raw_batches({"_id": place}, fields, batch_size=BLOCKS_AT_ONCE).sort("_id", 1)
            async for blocks in decoded(found):
                for block in blocks:
                    if block["period"] > self._number:
                        return
                    if block["period"] == self._number:
                        self._sums.add_rows(block["sums"])
                    self._next[lane] = block["seq"] + 1
