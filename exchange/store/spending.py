"""What a period's redemptions took and gave back, as a simulation reads it: range by range of blocks.

No query is longer than its range, and no more is in memory than is read at a time. What went back has to be put
together by redemption, so it waits in a temporary file until all is read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from exchange.agreements import Agreement, Debit
from exchange.amounts import Money
from exchange.journal import Entry, EntryKind, Sums, block_id
from exchange.redemption import Redemption
from exchange.settlement.period import Period
from exchange.store import documents as docs
from exchange.store.audit import Audit
from exchange.store.connection import MAJORITY, Collection, Database, answering
from exchange.store.periods import Periods

TAKING = (EntryKind.REDEEM, EntryKind.CONFIRM)
RETURNING = (EntryKind.FAIL, EntryKind.REVERSE)
_BLOCKS_AT_ONCE = 100
_ENTRIES_AT_ONCE = 200
"""Read between two pauses: few enough not to hold up the event loop."""

Progress = Callable[[int, int], None]
"""Told how many blocks are read, and of how many."""


class Span(NamedTuple):
    """A lane's blocks from `first` to `last`."""

    lane: int
    first: int
    last: int


class Spending:
    """What redemptions took and gave back. Reads are of majority-committed data."""

    def __init__(self, db: Database) -> None:
        self._audit = Audit(db)
        self._periods = Periods(db)
        self._blocks: Collection = db["blocks"].with_options(read_concern=MAJORITY)
        self._entries: Collection = db["entries"].with_options(read_concern=MAJORITY)
        self._redemptions: Collection = db["redemptions"].with_options(read_concern=MAJORITY)

    async def last_closed(self) -> Period | None:
        """Return the newest period that is closed. Only the open one and one that is closing can be newer."""
        newest = await self._periods.page(None, 3)
        return next((period for period in newest if period.closed), None)

    async def spans(self, period: Period) -> list[Span]:
        """Return where the period's entries lie; of one that is not closed, those that are there at this moment.

        That moment is one for all lanes: nothing has gone back by then that was not taken by then.
        """
        if period.closed:
            return [Span(each.lane, each.first, each.last) for each in period.ranges]
        ended: dict[int, int] = {}
        for number in (period.number - 2, period.number - 1):
            before = await self._periods.get(number)
            ended |= {} if before is None else {each.lane: each.last for each in before.ranges}
        async with self._audit.snapshot() as snapshot:
            heads = await snapshot.heads()
        return [Span(lane, ended.get(lane, -1) + 1, head) for lane, head in sorted(heads.items())]

    async def sums(self, number: int, spans: Iterable[Span], until: datetime | None = None) -> Sums:
        """Add up the period's blocks in these spans; `until`: those of no later moment."""
        total = Sums()
        wanted = {"period": number} | ({} if until is None else {"at": {"$lte": until}})
        for lane, first, last in spans:
            place = {"$gte": block_id(lane, first), "$lte": block_id(lane, last)}
            with answering():
                async for block in self._blocks.find({"_id": place, **wanted}, {"sums": 1}):
                    total.add(Sums.from_rows(block["sums"]))
        return total

    async def agreements(self) -> list[Agreement]:
        """Return every version of every agreement; those that entries name, if they were read before."""
        return await self._audit.agreements()

    async def entries(
        self, number: int, spans: Iterable[Span], progress: Progress, kinds: Iterable[EntryKind] = (*TAKING, *RETURNING)
    ) -> AsyncGenerator[list[Entry]]:
        """Yield the period's entries of these kinds, a handful at a time: those that money is owed by, or goes back."""
        wanted = {"period": number, "kind": {"$in": [kind.value for kind in kinds]}}
        spans = list(spans)
        done, total = 0, sum(span.last - span.first + 1 for span in spans)
        for lane, begin, end in spans:
            for first in range(begin, end + 1, _BLOCKS_AT_ONCE):
                last = min(first + _BLOCKS_AT_ONCE - 1, end)
                with answering():
                    found = self._entries.find({"lane": lane, "seq": {"$gte": first, "$lte": last}, **wanted})
                    while rows := await found.to_list(_ENTRIES_AT_ONCE):
                        yield [docs.entry_from(row) for row in rows]
                done += last - first + 1
                progress(done, total)

    async def begun(self, number: int, redemptions: Iterable[str]) -> set[str]:
        """Return those of these redemptions that began in the period: each is known by the entry that made it."""
        ids = list(redemptions)
        if not ids:
            return set()
        with answering():
            rows = await self._entries.find({"_id": {"$in": ids}, "period": number}, {"_id": 1}).to_list(None)
        return {row["_id"] for row in rows}

    async def originals(self, redemptions: Iterable[str]) -> dict[str, Redemption]:
        """Return these redemptions; what they took never changes once they are confirmed."""
        with answering():
            rows = await self._redemptions.find({"_id": {"$in": list(redemptions)}}).to_list(None)
        return {row["_id"]: docs.redemption_from(row) for row in rows}


class Back(NamedTuple):
    """All that went back of a redemption in the period, a row per issuer."""

    redemption: str
    provider: str
    debits: list[Debit]


class Returns:
    """What went back, put together by redemption in a temporary SQLite file that goes with the process."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.executescript("""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            CREATE TABLE back (
                redemption TEXT, provider TEXT, issuer TEXT, agreement TEXT, points INT, owed INT, currency TEXT,
                fee INT, commission INT
            );
        """)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def add(self, entry: Entry) -> None:
        """Keep what an entry gives back."""
        self._db.executemany(
            "INSERT INTO back VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (entry.redemption, entry.provider, debit.issuer, debit.agreement, debit.points,
                 *(debit.owed or (None, None)), debit.fee_minor, debit.commission_minor)
                for debit in entry.debits
            ),
        )  # fmt: skip

    def by_redemption(self) -> Iterator[Back]:
        """Yield each redemption of which something went back."""
        rows = self._db.execute("""
            SELECT redemption, provider, issuer, SUM(points), agreement, SUM(owed), currency, SUM(fee), SUM(commission)
            FROM back GROUP BY redemption, provider, issuer, agreement, currency ORDER BY redemption, provider
        """)
        for (redemption, provider), own in groupby(rows, itemgetter(0, 1)):
            yield Back(redemption, provider, [_debit(*row[2:]) for row in own])


def _debit(
    issuer: str, points: int, agreement: str | None, owed: int | None, currency: str | None, fee: int, commission: int
) -> Debit:
    money = None if owed is None or currency is None else Money(owed, currency)
    return Debit(issuer, points, agreement, money, fee, commission)
