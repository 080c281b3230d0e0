"""Periods, statements, and the journal as settlement reads it.

Reads here are of majority-committed data: what finance is told cannot be rolled back. Statement lines and blocks are
streamed; a closed period's are immutable, so no snapshot has to be held open over a long read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import BulkWriteError

from exchange.amounts import Money
from exchange.errors import StoreUnavailable
from exchange.journal import Block, BlockKind, Entry, Sums
from exchange.settlement.netting import Payment, Position
from exchange.settlement.period import Period, PeriodStatus, Range
from exchange.settlement.signoff import SETTLED
from exchange.settlement.statement import EntryPlace, Standing, Statement, StatementStatus
from exchange.store import documents as docs
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    aggregate,
    answering,
    answering_outside,
    decoded,
    ensure_index,
    settled,
)
from exchange.store.lanes import codes_of
from exchange.store.lines import FIELDS
from exchange.store.running import BLOCKS_AT_ONCE, RunningSums

_LINES = "statement_lines"
_LINE_ORDER = ("at", "lane", "seq", "index")
_DUPLICATE_KEY = 11000
_READ_AHEAD = 200
"""Documents fetched at a time: enough to hide the round trip, few enough not to hold up the event loop."""


class Periods:
    """The periods of one database and what belongs to them. `Books.create` makes the first period."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._marking: Collection = db["periods"]
        self._periods: Collection = db["periods"].with_options(read_concern=MAJORITY)
        self._lanes: Collection = db["lanes"].with_options(read_concern=MAJORITY)
        self._blocks: Collection = db["blocks"].with_options(read_concern=MAJORITY)
        self._entries: Collection = db["entries"].with_options(read_concern=MAJORITY)
        self._statements: Collection = db["statements"].with_options(read_concern=MAJORITY)

    async def create_indexes(self) -> None:
        """Create the index by which a period's statements are found. Idempotent."""
        with answering():
            await ensure_index(self._statements, [("period", 1), ("partner", 1)], name="of_period", unique=True)

    # ------------------------------------------------------------ periods

    async def get(self, number: int | None) -> Period | None:
        """Return a period; without a number the open one."""
        wanted = {"status": "OPEN"} if number is None else {"_id": number}
        with answering():
            found = await self._periods.find_one(wanted)
        return None if found is None else period_from(found)

    async def page(self, below: int | None, limit: int) -> list[Period]:
        """Return periods, the newest first, from below a number on."""
        wanted = {} if below is None else {"_id": {"$lt": below}}
        with answering():
            rows = await self._periods.find(wanted).sort("_id", -1).limit(limit).to_list(None)
        return [period_from(row) for row in rows]

    async def mark(self, number: int) -> bool:
        """Mark the open period as closing and open the next: both or neither. False, if it is no longer open."""

        async def both(session: Session) -> bool:
            marked = await self._marking.find_one_and_update(
                {"_id": number, "status": "OPEN"},
                [{"$set": {"status": "CLOSING", "marked_at": "$$NOW"}}],
                return_document=ReturnDocument.AFTER,
                session=session,
            )
            if marked is not None:
                following = {
                    "_id": number + 1, "status": "OPEN", "opened_at": marked["marked_at"], "marked_at": None,
                    "closed_at": None, "lanes": 0,
                }  # fmt: skip
                await self._marking.insert_one(following, session=session)
            return marked is not None

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                return bool(await session.with_transaction(both))

    async def seal(self, number: int, ranges: Sequence[Range], root: str) -> None:
        """Close the closing period over its ranges; nothing, if somebody has."""
        cut = [{"lane": each.lane, "first": each.first, "last": each.last, "cut": each.cut} for each in ranges]
        closed = {"status": "CLOSED", "closed_at": "$$NOW", "ranges": {"$literal": cut}, "root": root}
        with answering():
            await self._periods.update_one({"_id": number, "status": "CLOSING"}, [{"$set": closed}])

    async def all_drafted(self, number: int, statements: int) -> None:
        """Record that the period has all its statements."""
        with answering():
            await self._periods.update_one({"_id": number, "status": "CLOSED"}, {"$set": {"statements": statements}})

    async def instruct(self, number: int, session: Session) -> None:
        """Count a statement that is instructed, so that no netting of the period is recorded at the same moment."""
        await self._periods.update_one({"_id": number}, {"$inc": {"instructed": 1}}, session=session)

    async def settle(self, number: int, session: Session | None = None) -> None:
        """Let the period be settled, if it has all its statements and each of them is paid; nothing otherwise.

        Within a transaction the driver's errors are left as they are: whoever began it tells a rival's by them.
        """
        paid = {"period": number, "status": {"$in": [each.value for each in SETTLED]}}
        with answering_outside(session):
            count = await self._statements.count_documents(paid, session=session)
            if count:
                await self._periods.update_one(
                    {"_id": number, "status": "CLOSED", "statements": count},
                    [{"$set": {"status": "SETTLED", "settled_at": "$$NOW"}}], session=session,
                )  # fmt: skip

    # ------------------------------------------------------------ lanes and blocks

    async def now(self) -> datetime:
        """Return the primary's clock."""
        with answering():
            rows = await aggregate(self._periods, [{"$limit": 1}, {"$project": {"now": "$$NOW"}}])
        now: datetime = rows[0]["now"]
        return now

    async def lanes(self) -> list[int]:
        """Return every lane there is, by number."""
        with answering():
            rows = await self._lanes.find({}, {"_id": 1}).sort("_id", 1).to_list(None)
        return [row["_id"] for row in rows]

    async def empty_blocks(self, number: int, kind: BlockKind) -> list[Block]:
        """Return the period's blocks of a kind that has no entries: its cuts, or where lanes began in it."""
        with answering():
            rows = await self._blocks.find({"period": number, "kind": kind.value}).to_list(None)
        return [docs.block_from(row) for row in rows]

    async def sums(self, number: int) -> Sums:
        """Add up the period's blocks, as far as there are any."""
        total = Sums()
        wanted = {"period": number, "kind": BlockKind.ENTRIES.value}
        with answering():
            async for blocks in decoded(self._blocks.find_raw_batches(wanted, {"sums": 1}, batch_size=BLOCKS_AT_ONCE)):
                for block in blocks:
                    total.add_rows(block["sums"])
        return total

    async def running_sums(self, number: int) -> RunningSums:
        """Return what adds up a period while it goes on; nothing is read of its blocks yet."""
        begin: dict[int, int] = {}
        # The one before may be closing yet: then a lane can have blocks of it behind those of the one before that.
        for earlier in (number - 2, number - 1):
            period = await self.get(earlier) if earlier > 0 else None
            begin |= {} if period is None else {each.lane: each.last + 1 for each in period.ranges}
        return RunningSums(self._blocks, number, begin)

    async def count_entries(self, number: int) -> int:
        """Return how many entries the period's blocks hold."""
        with answering():
            rows = await aggregate(self._blocks, [
                {"$match": {"period": number, "kind": BlockKind.ENTRIES.value}},
                {"$group": {"_id": None, "entries": {"$sum": "$count"}}},
            ])  # fmt: skip
        return int(rows[0]["entries"]) if rows else 0

    # ------------------------------------------------------------ entries

    async def count_settling(self, number: int, partner: str) -> int:
        """Return how many of the period's entries have statement lines of the partner."""
        with answering():
            return int(await self._entries.count_documents({"settles": partner, "period": number}, hint=_LINES))

    async def settling(self, number: int) -> list[str]:
        """Return the partners that have statement lines in the period, from the entries.

        Jumps from partner to partner through the index (a loose index scan): two keys for each, whatever they hold.
        """
        partners: list[str] = []
        last = ""
        with answering():
            while True:
                # The first key above the last partner; of its entry's partners the least above that is the key's.
                found = await self._entries.find_one(
                    {"settles": {"$gt": last}, "period": number}, {"settles": 1}, hint=_LINES
                )
                if found is None:
                    return partners
                last = min(partner for partner in found["settles"] if partner > last)
                partners.append(last)

    async def entries(self, number: int, partner: str) -> AsyncGenerator[tuple[EntryPlace, Entry]]:
        """Yield the period's entries with statement lines of the partner, in the order of lines."""
        async with aclosing(self._rows({"settles": partner, "period": number})) as rows:
            async for row in rows:
                yield _place(row), docs.entry_from(row)

    async def with_lines(
        self, number: int, partner: str, since: EntryPlace | None = None, limit: int = 0
    ) -> AsyncGenerator[tuple[EntryPlace, Entry]]:
        """Yield the same from `since` on, that one included; of each entry only what its lines say.

        Such an entry has neither postings nor wallet, and is good for nothing else.
        """
        wanted: Document = {"settles": partner, "period": number}
        if since is not None:
            wanted["$or"] = _from(since)
        async with aclosing(self._rows(wanted, FIELDS, limit)) as rows:
            async for row in rows:
                yield _place(row), docs.lines_from(row)

    async def _rows(
        self, wanted: Document, fields: Sequence[str] | None = None, limit: int = 0
    ) -> AsyncGenerator[Document]:
        order = [(name, 1) for name in _LINE_ORDER]
        with answering():
            async for row in self._entries.find(wanted, fields, batch_size=_READ_AHEAD).sort(order).limit(limit):
                yield row

    # ------------------------------------------------------------ statements

    async def statuses(self, number: int, partner: str | None = None) -> list[StatementStatus]:
        """Return where any of the period's statements stand, each once; `partner`: where its own does."""
        wanted = {"period": number} | ({} if partner is None else {"partner": partner})
        with answering():
            return [StatementStatus(each) for each in await self._statements.distinct("status", wanted)]

    async def add_statements(self, statements: Sequence[Statement]) -> None:
        """Store drafts; nothing of those that are there."""
        documents = [_statement_document(statement) for statement in statements]
        if not documents:
            return
        try:
            with answering():
                await self._statements.insert_many(documents, ordered=False)
        except StoreUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, BulkWriteError) or codes_of(cause) != {_DUPLICATE_KEY}:
                raise

    async def statement(self, statement: str) -> Statement | None:
        """Return a statement by its id."""
        with answering():
            found = await self._statements.find_one({"_id": statement})
        return None if found is None else statement_from(found)

    async def statements(
        self, number: int, after: str | None = None, limit: int = 0, partner: str | None = None
    ) -> list[Statement]:
        """Return the period's statements by partner, from after a partner on; `partner`: its own alone."""
        wanted: Document = {"period": number}
        bounds = {"$gt": after, "$eq": partner}
        if wanted_partner := {operator: value for operator, value in bounds.items() if value is not None}:
            wanted["partner"] = wanted_partner
        with answering():
            rows = await self._statements.find(wanted).sort("partner", 1).limit(limit).to_list(None)
        return [statement_from(row) for row in rows]


def _place(row: Document) -> EntryPlace:
    return EntryPlace(row["at"], row["lane"], row["seq"], row["index"])


def _from(place: EntryPlace) -> list[Document]:
    """Return the alternatives of being at a place or behind it; each is one range of the index."""
    alternatives: list[Document] = []
    equal: Document = {}
    for name, value in zip(_LINE_ORDER, place, strict=True):
        alternatives.append({**equal, name: {"$gt": value}})
        equal[name] = value
    alternatives.append(equal)
    return alternatives


def period_from(document: Document) -> Period:
    """Return the period that was stored."""
    cut: list[dict[str, Any]] = document.get("ranges", [])
    return Period(
        number=document["_id"], status=PeriodStatus(document["status"]), opened_at=document["opened_at"],
        marked_at=document["marked_at"], closed_at=document["closed_at"],
        ranges=tuple(Range(each["lane"], each["first"], each["last"], each["cut"]) for each in cut),
        root=document.get("root"), statements=document.get("statements"), settled_at=document.get("settled_at"),
    )  # fmt: skip


def _statement_document(statement: Statement) -> Document:
    """Return a statement; its amounts as strings, like a block's sums, because sums may exceed 64 bits."""
    return {
        "_id": statement.id, "period": statement.period, "partner": statement.partner,
        "status": statement.status.value, "root": statement.root,
        "totals": [
            {
                "currency": total.currency, "payable": str(total.payable.minor),
                "receivable": str(total.receivable.minor), "fees": str(total.fees.minor),
            }
            for total in statement.totals
        ],
        "lines": statement.line_count, "hash": statement.hash,
    }  # fmt: skip


def statement_from(document: Document) -> Statement:
    """Return the statement that was stored."""
    partner = document["partner"]
    return Statement(
        id=document["_id"], period=document["period"], partner=partner, root=document["root"],
        totals=tuple(
            Position(
                partner=partner, payable=Money(int(total["payable"]), total["currency"]),
                receivable=Money(int(total["receivable"]), total["currency"]),
                fees=Money(int(total["fees"]), total["currency"]),
            )
            for total in document["totals"]
        ),
        line_count=document["lines"], hash=document["hash"], standing=_standing_from(document),
    )  # fmt: skip


def _standing_from(document: Document) -> Standing:
    """Return where the statement stands; of a draft only the status is written."""
    return Standing(
        status=StatementStatus(document["status"]), steps=document.get("steps", 0),
        **{name: tuple(document.get(name, ())) for name in ("prepared_by", "approved_by", "paid_by")},
        paid=tuple(Money(int(each["minor"]), each["currency"]) for each in document.get("paid", ())),
        due=payments_from(document.get("due")),
    )  # fmt: skip


def standing_document(standing: Standing) -> Document:
    """Return the fields of a statement that say where it stands."""
    return {
        "status": standing.status.value, "steps": standing.steps, "prepared_by": list(standing.prepared_by),
        "approved_by": list(standing.approved_by), "paid_by": list(standing.paid_by),
        "paid": [{"minor": str(each.minor), "currency": each.currency} for each in standing.paid],
        **({} if standing.due is None else {"due": [payment_document(each) for each in standing.due]}),
    }  # fmt: skip


def payment_document(payment: Payment) -> Document:
    """Return a payment as stored."""
    minor, currency = payment.amount
    return {"from": payment.from_, "to": payment.to, "minor": str(minor), "currency": currency}


def payment_from(document: Document) -> Payment:
    """Return the payment that was stored."""
    amount = Money(int(document["minor"]), document["currency"])
    return Payment(from_=document["from"], to=document["to"], amount=amount)


def payments_from(documents: Sequence[Document] | None) -> tuple[Payment, ...] | None:
    """Return payments that were stored, if they were."""
    return None if documents is None else tuple(map(payment_from, documents))
