"""What the exchange hands out so that nobody has to trust it: its journal as a file, and one part of one entry.

The formats, and how they are verified, are pure: `proof.sealed`, `proof.journal_file`, `proof.inclusion`. Here is what
reads the database for them, a range of blocks at a time. Nothing is judged while it is read: a file says what the
database holds, sound or not, and the signature says that it is the exchange that says so.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final

from exchange.errors import NotFound, StoreUnavailable
from exchange.journal import Block, Entry
from exchange.keyring import Keyring
from exchange.proof import Wrong, bundle, inclusion, journal_file
from exchange.proof.journal_file import Span
from exchange.proof.lanes import LaneJudge, Placed
from exchange.proof.sealed import Seal, sealed
from exchange.settlement.clearing import entry_behind, entry_name
from exchange.settlement.period import Period, Range
from exchange.settlement.statement import Statement
from exchange.store.audit import Audit, Found
from exchange.store.connection import Database, server_time
from exchange.store.periods import Periods

BLOCKS_AT_ONCE: Final = 20
"""Enough to hide the round trips: full blocks of redemptions take a megabyte each while they are in memory."""

Progress = Callable[[str, int, int | None], None]
"""Told what is being read, how much of it is done, and of how much."""


class Evidence:
    """Reads one exchange's journal for others to verify."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._db = db
        self._audit = Audit(db)
        self._periods = Periods(db)
        self._keyring = keyring

    # ------------------------------------------------------------ the journal

    async def journal(
        self, seal: Seal, lane: int | None = None, since: int = 0, progress: Progress = lambda *_: None
    ) -> AsyncIterator[bytes]:
        """Yield the journal as a sealed file, line by line; of one lane if wished, and from its block `since` on.

        NotFound when there is no such lane or block.
        """
        # The periods first: then the cuts of those that are closed by now are before the heads.
        closed = [period for period in await self._audit.periods() if period.closed]
        spans = await self._spans(lane, since)
        at = await server_time(self._db)
        body = self._journal_lines(spans, closed, progress)
        async for line in sealed(journal_file.header(at, spans), body, seal):
            yield line

    async def _journal_lines(
        self, spans: Sequence[Span], closed: Sequence[Period], progress: Progress
    ) -> AsyncIterator[Any]:
        async for block, placed in self._read(spans, progress):
            yield journal_file.block_line(block)
            for one in placed:
                yield journal_file.entry_line(_readable(one))
        first = {span.lane: span.first for span in spans}
        for period in closed:
            if any(each.last >= first.get(each.lane, each.last + 1) for each in period.ranges):
                yield journal_file.period_line(period)

    # ------------------------------------------------------------ the chain alone

    async def judge_chain(
        self, lane: int | None = None, progress: Progress = lambda *_: None
    ) -> tuple[list[LaneJudge], Wrong | None]:
        """Follow lanes from their genesis to their heads; returns how far each came, and the first thing wrong."""
        judges: list[LaneJudge] = []
        try:
            async for block, placed in self._read(await self._spans(lane, 0), progress):
                if not judges or judges[-1].lane != block.lane:
                    judges.append(LaneJudge(block.lane))
                for wrong in judges[-1].judge(block, placed):
                    return judges, wrong
        except Unreadable as error:
            return judges, Wrong(9, error.message)
        return judges, None

    # ------------------------------------------------------------ one entry

    async def inclusion(self, name: str, partner: str, seal: Seal) -> AsyncIterator[bytes]:
        """Yield the proof of a partner's part as a sealed file.

        `name`: the entry as the partner's statement names it, or its internal id. NotFound when the partner has no
        part in it.
        """
        found = await self._audit.entry(entry_behind(self._keyring, name, [partner]))
        entry = None if found is None else _readable(found)
        if found is None or entry is None or partner not in entry.parties:
            raise NotFound(f"there is no entry {name} in which {partner} has a part")
        header = inclusion.header(entry_name(self._keyring, entry.id, partner), partner)
        async for line in sealed(header, self._inclusion_lines(found, entry, partner), seal):
            yield line

    async def _inclusion_lines(self, found: Placed, entry: Entry, partner: str) -> AsyncIterator[Any]:
        yield inclusion.part_line(entry, partner)
        lane, seq = found.lane, found.seq
        period = await self._audit.period(found.period)
        async for block, placed in self._read([Span(lane, seq, seq)]):
            yield inclusion.block_line(block, [_readable(one) for one in placed], found.offset)
        if period is None or not period.closed:
            return
        cut = next(each.last for each in period.ranges if each.lane == lane)
        for first in range(seq + 1, cut + 1, BLOCKS_AT_ONCE):
            for each in await self._audit.blocks(lane, first, min(first + BLOCKS_AT_ONCE - 1, cut)):
                yield inclusion.link_line(_readable_block(each))
        yield inclusion.period_line(period, lane)

    # ------------------------------------------------------------ a statement

    async def bundle(
        self, statement: Statement, seal: Seal, progress: Progress = lambda *_: None, at_once: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield a statement with the proof of every line as a sealed file, a block at a time.

        `at_once`: how many blocks are read at a time, if others are served between.
        """
        period, before = [await self._audit.period(statement.period - back) for back in (0, 1)]
        ranges = () if period is None else period.ranges
        header = bundle.header(statement, ranges, None if before is None else before.marked_at)
        async for line in sealed(
            header, self._bundle_lines(statement, ranges, progress, at_once or BLOCKS_AT_ONCE), seal
        ):
            yield line

    async def _bundle_lines(
        self, statement: Statement, ranges: Sequence[Range], progress: Progress, at_once: int
    ) -> AsyncIterator[Any]:
        partner = statement.partner
        async with aclosing(self._periods.entries(statement.period, partner)) as found:
            ahead = await anext(found, None)
            async for block in self._merged(ranges, progress, at_once):
                yield inclusion.link_line(block)
                offsets = []
                while ahead is not None and (ahead[0].lane, ahead[0].seq) == (block.lane, block.seq):
                    offsets.append(ahead[0].offset)
                    ahead = await anext(found, None)
                placed = await self._audit.entries(block.lane, block.seq, block.seq) if offsets else []
                entries = [_readable(one) for one in placed]
                if offsets and len(entries) != block.count:
                    message = f"block {block.id} has {len(entries)} entries, it should have {block.count}"
                    raise Unreadable(f"{message} (`exchange check` says what else is wrong)")
                leaves = [entry.leaf() for entry in entries]
                for offset in offsets:
                    name = entry_name(self._keyring, entries[offset].id, partner)
                    yield bundle.entry_line(name, partner, entries[offset], leaves, offset)

    async def _merged(self, ranges: Sequence[Range], progress: Progress, at_once: int) -> AsyncIterator[Block]:
        """Yield the blocks of all these lanes in the order of time, lane and seq, holding a few of each lane."""
        busy = sum(each.last > each.first for each in ranges)
        lanes = {each.lane: self._blocks_of(each, max(1, at_once // max(1, busy))) for each in ranges}
        heads = [(block.at, lane, block) for lane, blocks in lanes.items() if (block := await anext(blocks, None))]
        heapq.heapify(heads)
        done, total = 0, sum(each.last - each.first + 1 for each in ranges)
        while heads:
            _, lane, block = heads[0]
            yield block
            following = await anext(lanes[lane], None)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following.at, lane, following))
            done += 1
            progress("blocks", done, total)

    async def _blocks_of(self, each: Range, at_once: int) -> AsyncGenerator[Block]:
        for first in range(each.first, each.last + 1, at_once):
            for found in await self._audit.blocks(each.lane, first, min(first + at_once - 1, each.last)):
                yield _readable_block(found)

    # ------------------------------------------------------------ reading

    async def _spans(self, lane: int | None, since: int) -> list[Span]:
        heads = await self._audit.heads()
        if not heads:
            raise NotFound("the journal is empty: no process has begun a lane yet")
        if lane is None:
            return [Span(each, 0, last) for each, last in sorted(heads.items())]
        if lane not in heads:
            raise NotFound(f"there is no lane {lane}, the lanes are {', '.join(map(str, sorted(heads)))}")
        if since > heads[lane]:
            raise NotFound(f"lane {lane} has no block {since} yet, the last one is {heads[lane]}")
        return [Span(lane, since, heads[lane])]

    async def _read(
        self, spans: Sequence[Span], progress: Progress = lambda *_: None
    ) -> AsyncIterator[tuple[Block, list[Placed]]]:
        """Yield blocks with what lies in them. A block that is not there is passed over: whoever judges misses it."""
        done, total = 0, sum(span.last - span.first + 1 for span in spans)
        for span in spans:
            for first in range(span.first, span.last + 1, BLOCKS_AT_ONCE):
                last = min(first + BLOCKS_AT_ONCE - 1, span.last)
                blocks = await self._audit.blocks(span.lane, first, last)
                by_seq: dict[int, list[Placed]] = {}
                for one in await self._audit.entries(span.lane, first, last):
                    by_seq.setdefault(one.seq, []).append(one)
                for found in blocks:
                    block = _readable_block(found)
                    yield block, by_seq.get(block.seq, [])
                done += last - first + 1
                progress("blocks", done, total)


class Unreadable(StoreUnavailable):
    """Something in the database is not what it should be, and so cannot be written down."""


def _readable(placed: Placed) -> Entry:
    if placed.entry is None:
        raise Unreadable(f"entry {placed.id} cannot be read: {placed.error} (`exchange check` says what else is wrong)")
    return placed.entry


def _readable_block(found: Found[Block]) -> Block:
    if found.value is None:
        raise Unreadable(f"block {found.id} cannot be read: {found.error} (`exchange check` says what else is wrong)")
    return found.value
