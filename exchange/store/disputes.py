"""Disputes as they are stored: one document each, to which records are appended and in which nothing else is rewritten.

Every write says again what was decided: how many records there were, and on which side of its deadline the dispute is
by the primary's clock at that moment. So of two steps at once one is written, and none after the deadline has decided.
That a line has one dispute at a time is held by a unique key: the line, and which dispute of it this is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from exchange.amounts import Money
from exchange.errors import StoreUnavailable
from exchange.journal import Entry, LineKind
from exchange.settlement.dispute import (
    Dispute,
    DisputedLine,
    DisputeReason,
    DisputeRecord,
    DisputeStatus,
    DisputeStep,
)
from exchange.store import documents as docs
from exchange.store.connection import MAJORITY, Collection, Database, Document, answering, ensure_index, server_time

Place = tuple[datetime, str]
"""Where a dispute stands among others, the newest first: when it was opened, and its id."""

_PASSED: Document = {"$expr": {"$lte": ["$deadline", "$$NOW"]}}
_NOT_PASSED: Document = {"$or": [{"deadline": None}, {"$expr": {"$gt": ["$deadline", "$$NOW"]}}]}


class Disputes:
    """The disputes of one exchange."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._written: Collection = db["disputes"]
        self._disputes: Collection = db["disputes"].with_options(read_concern=MAJORITY)
        self._entries: Collection = db["entries"].with_options(read_concern=MAJORITY)

    async def create_indexes(self) -> None:
        """Create what keeps a step and a line's next dispute single, and what disputes are found by. Idempotent."""
        newest_first = [("opened_at", -1), ("_id", -1)]
        with answering():
            await ensure_index(self._written, "records.key", name="once", unique=True)
            await ensure_index(self._written, [("line.id", 1), ("number", 1)], name="of_line", unique=True)
            await ensure_index(self._written, newest_first, name="newest")
            await ensure_index(self._written, [("parties", 1), *newest_first], name="party_newest")
            await ensure_index(
                self._written, "deadline", name="deadline", partialFilterExpression={"deadline": {"$type": "date"}}
            )
            await ensure_index(self._written, "adjusted", name="to_adjust", partialFilterExpression={"adjusted": False})

    async def now(self) -> datetime:
        """Return the primary's clock."""
        return await server_time(self._db)

    # ------------------------------------------------------------ reading

    async def get(self, dispute: str) -> Dispute | None:
        """Return a dispute by its id."""
        return await self._one({"_id": dispute})

    async def by_key(self, key: str) -> tuple[Dispute, DisputeRecord] | None:
        """Return the step that this key took, and the dispute as it stands."""
        found = await self._one({"records.key": key})
        return None if found is None else (found, next(record for record in found.records if record.key == key))

    async def of_line(self, line: str) -> list[Dispute]:
        """Return all disputes of a line, the first first."""
        with answering():
            rows = await self._disputes.find({"line.id": line}).sort("number", 1).to_list(None)
        return [dispute_from(row) for row in rows]

    async def page(self, party: str | None, behind: Place | None, limit: int) -> list[Dispute]:
        """Return disputes, the newest first, from behind a place on; `party`: those that it is a side of alone."""
        wanted: Document = {} if party is None else {"parties": party}
        if behind is not None:
            at, dispute = behind
            wanted |= {"opened_at": {"$lte": at}, "$or": [{"opened_at": {"$lt": at}}, {"_id": {"$lt": dispute}}]}
        order = [("opened_at", -1), ("_id", -1)]
        with answering():
            rows = await self._disputes.find(wanted).sort(order).limit(limit).to_list(None)
        return [dispute_from(row) for row in rows]

    async def overdue(self, limit: int) -> list[Dispute]:
        """Return disputes whose deadline has passed and that are not written down as decided, the longest first."""
        wanted = {"deadline": {"$type": "date"}, **_PASSED}
        with answering():
            rows = await self._disputes.find(wanted).sort("deadline", 1).limit(limit).to_list(None)
        return [dispute_from(row) for row in rows]

    async def to_adjust(self, limit: int) -> list[Dispute]:
        """Return disputes that were upheld and not carried out yet."""
        with answering():
            rows = await self._disputes.find({"adjusted": False}).limit(limit).to_list(None)
        return [dispute_from(row) for row in rows]

    async def entry(self, entry: str) -> tuple[Entry, int] | None:
        """Return an entry of the journal, and its period."""
        with answering():
            found = await self._entries.find_one({"_id": entry})
        return None if found is None else (docs.entry_from(found), found["period"])

    async def _one(self, wanted: Document) -> Dispute | None:
        with answering():
            found = await self._disputes.find_one(wanted)
        return None if found is None else dispute_from(found)

    # ------------------------------------------------------------ writing

    async def add(self, dispute: Dispute) -> bool:
        """Store a new dispute; returns whether nobody was faster, with the same key or with the same line."""
        try:
            with answering():
                await self._written.insert_one(dispute_document(dispute))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, DuplicateKeyError):
                return False
            raise
        return True

    async def append(self, dispute: Dispute) -> bool:
        """Append the last record of a dispute; returns whether it was still as that record found it."""
        record = dispute.last
        passed = _PASSED if record.step is DisputeStep.LAPSE else _NOT_PASSED
        changes = {"$push": {"records": _record_document(record)}, "$set": _standing(dispute)}
        try:
            with answering():
                result = await self._written.update_one(
                    {"_id": dispute.id, "version": dispute.version - 1, **passed}, changes
                )
        except StoreUnavailable as error:
            if isinstance(error.__cause__, DuplicateKeyError):
                return False
            raise
        return bool(result.matched_count)

    async def carried_out(self, dispute: str, entry: str, period: int) -> None:
        """Record by which entry an upheld dispute was carried out; nothing, if that is known."""
        done = {"adjusted": True, "adjustment": entry, "adjusted_in": period}
        with answering():
            await self._written.update_one({"_id": dispute, "adjusted": False}, {"$set": done})


# ---------------------------------------------------------------- documents


def dispute_document(dispute: Dispute) -> Document:
    """Return a new dispute."""
    line = dispute.line
    return {
        "_id": dispute.id, "number": dispute.number, "reason": dispute.reason.value, "claim": _amount(dispute.claim),
        "line": {
            "id": line.id, "statement": line.statement, "statement_hash": line.statement_hash, "period": line.period,
            "partner": line.partner, "counterparty": line.counterparty, "entry": line.entry, "n": line.n,
            "kind": line.kind.value, "at": line.at, "benefit": line.benefit, "net": _amount(line.net),
        },
        "parties": list(dispute.parties), "opened_at": dispute.records[0].at,
        "records": [_record_document(record) for record in dispute.records], **_standing(dispute),
    }  # fmt: skip


def _standing(dispute: Dispute) -> Document:
    """Return what is asked about a dispute without reading its records."""
    upheld: Document = {"adjusted": False} if dispute.status is DisputeStatus.UPHELD else {}
    return {"version": dispute.version, "status": dispute.status.value, "deadline": dispute.deadline, **upheld}


def stands_as_recorded(document: Document, dispute: Dispute) -> bool:
    """Whether what is asked of the stored dispute without its records is what they say."""
    standing = _standing(dispute)
    if dispute.adjustment is not None:
        standing["adjusted"] = True
    first, parties = dispute.records[0], list(dispute.parties)
    told = {**standing, "opened_at": first.at, "parties": parties}
    return {name: document.get(name) for name in {*told, "adjusted"}} == {"adjusted": None, **told}


def dispute_from(document: Document) -> Dispute:
    """Return the dispute that was stored."""
    line = document["line"]
    if not document["records"]:
        message = "a dispute has been opened, at least"
        raise ValueError(message)
    return Dispute(
        id=document["_id"], number=document["number"], reason=DisputeReason(document["reason"]),
        claim=_money(document["claim"]),
        line=DisputedLine(
            statement=line["statement"], statement_hash=line["statement_hash"], period=line["period"],
            partner=line["partner"], counterparty=line["counterparty"], entry=line["entry"], n=line["n"],
            kind=LineKind(line["kind"]), at=line["at"], benefit=line["benefit"], net=_money(line["net"]),
        ),
        records=tuple(_records(document["records"])), adjustment=document.get("adjustment"),
        adjusted_in=document.get("adjusted_in"),
    )  # fmt: skip


def _record_document(record: DisputeRecord) -> Document:
    return {
        "step": record.step.value, "party": record.party, "actor": record.actor, "at": record.at,
        "status": record.status.value, "key": record.key, "fingerprint": record.fingerprint, "text": record.text,
        "link": record.link, "digest": record.digest, "award": None if record.award is None else _amount(record.award),
        "deadline": record.deadline, "hash": record.hash,
    }  # fmt: skip


def _records(rows: Iterable[dict[str, Any]]) -> Iterable[DisputeRecord]:
    for row in rows:
        yield DisputeRecord(
            step=DisputeStep(row["step"]), party=row["party"], actor=row["actor"], at=row["at"],
            status=DisputeStatus(row["status"]), key=row["key"], fingerprint=row["fingerprint"], text=row["text"],
            link=row["link"], digest=row["digest"], award=None if row["award"] is None else _money(row["award"]),
            deadline=row["deadline"], hash=row["hash"],
        )  # fmt: skip


def _amount(money: Money) -> Document:
    return {"minor": money.minor, "currency": money.currency}


def _money(document: Document) -> Money:
    return Money(document["minor"], document["currency"])
