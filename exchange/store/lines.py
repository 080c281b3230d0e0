"""A closed period's entries with statement lines, each read once, in the order of statement lines.

That order is by time, lane, seq and index. Times never go back within a lane, because a block is never older than the
one before it; so in the order of its blocks a lane's entries are in the order of lines already, and the lanes are
merged as they are read. (The index of one partner's lines gives the same order, and an entry as often as it has
partners: twice or three times.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable
from itertools import pairwise
from typing import NamedTuple

from exchange.errors import FiguresDisagree
from exchange.journal import Entry
from exchange.settlement.period import Range
from exchange.settlement.statement import EntryPlace
from exchange.store import documents as docs
from exchange.store.connection import MAJORITY, Collection, Database, Document, answering, decoded, uncollected

FIELDS = ("at", "lane", "seq", "index", "kind", "provider", "channel", "benefit", "debits")
"""What statement lines are made of: a third of an entry, and read in a third of the time."""
_AT_ONCE = 1_000
"""Entries of a lane read at a time: several blocks."""


class Settling(NamedTuple):
    """An entry, of which there is only what its lines say, where it stands, and whose lines it has."""

    place: EntryPlace
    entry: Entry
    partners: list[str]


class Lines:
    """The lines of a database's closed periods."""

    def __init__(self, db: Database, at_once: int = _AT_ONCE) -> None:
        self._entries: Collection = db["entries"].with_options(read_concern=MAJORITY)
        self._at_once = at_once

    async def of(self, number: int, ranges: Iterable[Range]) -> AsyncGenerator[list[Settling]]:
        """Yield the period's entries, some at a time; FiguresDisagree when a lane's times go back."""
        lanes = [_Lane(self._entries, number, each, self._at_once) for each in ranges]
        while True:
            for lane in lanes:
                if not lane.ahead:
                    await lane.read()
            lanes = [lane for lane in lanes if lane.ahead]
            if not lanes:
                return
            # Before this nothing can be that is not read yet.
            edge = min((lane.ahead[-1].place for lane in lanes if not lane.ended), default=None)
            ready: list[Settling] = []
            for lane in lanes:
                count = len(lane.ahead) if edge is None else bisect_right(lane.ahead, edge, key=_place)
                ready += lane.ahead[:count]
                del lane.ahead[:count]
            yield sorted(ready, key=_place)


class _Lane:
    """One lane's part of the period, and what is read ahead of it."""

    def __init__(self, entries: Collection, number: int, blocks: Range, at_once: int) -> None:
        self._entries = entries
        self._number = number
        self._at_once = at_once
        self._lane, self._next, self._last = blocks.lane, blocks.first, blocks.last
        self.ahead: list[Settling] = []
        self.ended = False

    async def read(self) -> None:
        """Read on from the next block; nothing when there is no more.

        Each time anew, and not with one cursor: that of a lane with little would be idle until the server drops it.
        """
        rows: list[Document] = []
        while not rows and not self.ended:
            rows = await self._from_next_block()
            self.ended = len(rows) < self._at_once
            if not self.ended:
                # The last block may go on behind what was read: it is read again, from its beginning.
                self._next = rows[-1]["seq"]
                rows = [row for row in rows if row["seq"] < self._next]
                self._at_once *= 1 if rows else 2
        with uncollected():
            self.ahead = [_settling(row) for row in rows]
        for before, after in pairwise(self.ahead):
            if after.place < before.place:
                lane, seq = after.place.lane, after.place.seq
                raise FiguresDisagree(f"the times of lane {lane} go back in block {seq}: its entries were altered")

    async def _from_next_block(self) -> list[Document]:
        wanted = {
            "lane": self._lane, "seq": {"$gte": self._next, "$lte": self._last}, "period": self._number,
            "settles": {"$exists": True},
        }  # fmt: skip
        with answering():
            found = self._entries.find_raw_batches(
                wanted, (*FIELDS, "settles"), limit=self._at_once, batch_size=self._at_once + 1
            ).sort([("seq", 1), ("index", 1)]).hint("block_order")  # fmt: skip
            return [row async for some in decoded(found) for row in some]


def _place(each: Settling) -> EntryPlace:
    return each.place


def _settling(row: Document) -> Settling:
    return Settling(
        EntryPlace(row["at"], row["lane"], row["seq"], row["index"]), docs.lines_from(row), row["settles"]
    )  # fmt: skip
