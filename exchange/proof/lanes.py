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
    """One lane, block by block: `before` is the one judged last, `cuts` the ranges that its cuts have ended.

    `start`: the seq of the first block; what comes before it is not judged, so there the first range may be too short.
    """

    lane: int
    start: int = 0
    before: Block | None = None
    begun: int | None = None
    cuts: dict[int, Range] = field(default_factory=dict)
    _first: int = field(init=False)

    def __post_init__(self) -> None:
        self._first = self.start

    @property
    def seq(self) -> int:
        """The seq that comes next."""
        return self.start if self.before is None else self.before.seq + 1

    def judge(self, block: Block, placed: Sequence[Placed]) -> list[Wrong]:
        """Return what is wrong with the next block and the entries that lie in it."""
        return [Wrong(9, f"block {block.id}: {what}") for what in (*self.follow(block), *content(block, placed))]

    def follow(self, block: Block) -> list[str]:
        """Go on to the next block, and return what is wrong with it as a link of the chain."""
        wrong = self._chain(block)
        if self.before is None and self.begun is None:
            self.begun = block.period
        if block.kind is BlockKind.CUT:
            self.cuts[block.period] = Range(self.lane, self._first, block.seq, block.hash)
            self._first = block.seq + 1
        self.before = block
        return wrong

    def _head(self, block: Block) -> str:
        """Return the hash that the block has to name as the one before it."""
        if self.before is not None:
            return self.before.hash
        return block.prev if self.start else GENESIS

    def _chain(self, block: Block) -> list[str]:
        wrong = []
        if block.seq != self.seq:
            wrong.append(f"stands where {self.seq} is missing")
        elif block.prev != self._head(block):
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


def content(block: Block, placed: Sequence[Placed], leaves: Sequence[bytes] | None = None) -> list[str]:
    """Return what is wrong with a block and the entries that lie in it. `leaves`: theirs, where they are known."""
    wrong = []
    if block.count != len(placed) or [one.offset for one in placed] != list(range(block.count)):
        wrong.append(f"says {block.count} entries, there are {len(placed)}")
    if (block.kind is BlockKind.ENTRIES) != (block.count > 0):
        wrong.append(f"is a {block.kind} block of {block.count} entries")
    entries = [one.entry for one in placed if one.entry is not None]
    if block.root != merkle_root([entry.leaf() for entry in entries] if leaves is None else leaves).hex():
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
