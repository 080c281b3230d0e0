"""A lane, judged block by block: the chain, the hashes, the counts, the sums and the periods.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from exchange.journal import GENESIS, Block, BlockKind, Entry, Sums, merkle_root
from exchange.proof import Wrong
from exchange.settlement.period import Range


class Placed(NamedTuple):
    """An entry where it lies; `offset`: its index in the block.

    `entry` None: its document cannot be read as one, and `error` says why.
    """

    id: str
    lane: int
    seq: int
    offset: int
    period: int
    settles: list[str]
    entry: Entry | None
    error: str = ""


@dataclass(slots=True)
class LaneJudge:
    """One lane from its genesis on: `before` is the block judged last, `cuts` the ranges that its cuts have ended."""

    lane: int
    before: Block | None = None
    begun: int | None = None
    cuts: dict[int, Range] = field(default_factory=dict)
    _first: int = 0

    @property
    def seq(self) -> int:
        """The seq that comes next."""
        return 0 if self.before is None else self.before.seq + 1

    def judge(self, block: Block, placed: Sequence[Placed]) -> list[Wrong]:
        """Return what is wrong with the next block and the entries that lie in it."""
        here = f"block {block.id}"
        wrong = [f"{here}: {what}" for what in (*self._chain(block), *_content(block, placed))]
        if self.before is None and self.begun is None:
            self.begun = block.period
        if block.kind is BlockKind.CUT:
            self.cuts[block.period] = Range(self.lane, self._first, block.seq, block.hash)
            self._first = block.seq + 1
        self.before = block
        return [Wrong(9, what) for what in wrong]

    def _chain(self, block: Block) -> list[str]:
        wrong = []
        if block.seq != self.seq:
            wrong.append(f"stands where {self.seq} is missing")
        elif block.prev != (GENESIS if self.before is None else self.before.hash):
            wrong.append("does not name the block before it")
        if block.hash != block.computed_hash():
            wrong.append("its content does not have its hash")
        if (block.kind is BlockKind.GENESIS) != (block.seq == 0):
            wrong.append(f"is a {block.kind} block")
        if self.before is not None:
            if block.period != self.before.period_after:
                wrong.append(f"is of period {block.period}, the block before it leads to {self.before.period_after}")
            if block.at < self.before.at:
                wrong.append("is older than the block before it")
        return wrong


def _content(block: Block, placed: Sequence[Placed]) -> list[str]:
    wrong = []
    if block.count != len(placed) or [one.offset for one in placed] != list(range(block.count)):
        wrong.append(f"says {block.count} entries, there are {len(placed)}")
    if (block.kind is BlockKind.ENTRIES) != (block.count > 0):
        wrong.append(f"is a {block.kind} block of {block.count} entries")
    entries = [one.entry for one in placed if one.entry is not None]
    if block.root != merkle_root([entry.leaf() for entry in entries]).hex():
        wrong.append("its entries do not have its root")
    if block.sums.rows() != Sums.of(entries).rows():
        wrong.append("its sums are not those of its entries")
    if block.sums_root != block.sums.root(block.sums_salt):
        wrong.append("its sums do not have their root")
    for one in placed:
        if one.period != block.period:
            wrong.append(f"entry {one.id} says period {one.period}, the block is of {block.period}")
        if one.entry is not None and one.entry.at != block.at:
            wrong.append(f"entry {one.id} is of another time than its block")
    return wrong
