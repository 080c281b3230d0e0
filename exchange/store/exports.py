"""Exports as they are stored: a queue with leases, and the files in pieces.

What waits or runs has a moment from which anybody may claim it: of what waits that is when it was asked for, of what
runs the end of its lease. So a process that dies leaves nothing to be tidied up. Every claim has a number of its own,
and every later write of that attempt names it: who has lost its claim writes nothing that counts.

Pieces are only ever added, and the server removes them by itself when their time is over, an hour after the export has
expired: a download that has begun ends. That an export has expired is told by the clock, whatever is removed when.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date, datetime, timedelta
from typing import Any, Final

from bson import Binary
from msgspec.structs import replace
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from exchange.errors import StoreUnavailable
from exchange.settlement.export import Form, Wish
from exchange.settlement.exports import Export, ExportProgress, ExportStatus, Written
from exchange.store.connection import Collection, Database, Document, answering, ensure_index, server_time

LEASE: Final = timedelta(seconds=15)
REMEMBERED: Final = timedelta(days=30)
"""How long it is told what became of an export."""

PIECE_BYTES: Final = 255 * 1024
_FETCHED_AT_ONCE: Final = 4
_DOWNLOAD: Final = timedelta(hours=1)

Place = tuple[datetime, str]
"""Where an export stands among others, the newest first: when it was asked for, and its id."""


class Exports:
    """The exports of one exchange."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._exports: Collection = db["exports"]
        self._pieces: Collection = db["export_pieces"]

    async def create_indexes(self) -> None:
        """Create what keeps an export single, what the queue and lists are read by, and what forgets. Idempotent."""
        newest_first = [("asked_at", -1), ("_id", -1)]
        current: Document = {"current": True}
        claimable: Document = {"claimable_at": {"$type": "date"}}
        with answering():
            await ensure_index(self._exports, "key", name="current", unique=True, partialFilterExpression=current)
            await ensure_index(self._exports, "claimable_at", name="queue", partialFilterExpression=claimable)
            await ensure_index(self._exports, newest_first, name="newest")
            await ensure_index(self._exports, [("owner", 1), *newest_first], name="owner_newest")
            for collection in (self._exports, self._pieces):
                await ensure_index(collection, "forget_at", name="expiry", expireAfterSeconds=0)

    async def now(self) -> datetime:
        """Return the primary's clock."""
        return await server_time(self._db)

    # ------------------------------------------------------------ asking

    async def add(self, new: Export, key: str) -> Export:
        """Store an export, or return the one that is current for this key."""
        while True:
            try:
                with answering():
                    await self._exports.insert_one(_document(new, key))
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, DuplicateKeyError):
                    raise
            else:
                return new
            there = await self.current(key)
            if there is not None:
                return there

    async def current(self, key: str) -> Export | None:
        """Return the export of this key that waits, runs or is ready; what has expired makes room for another."""
        there = await self._one({"key": key, "current": True})
        if there is None or there.status is not ExportStatus.EXPIRED:
            return there
        with answering():
            await self._exports.update_one({"_id": there.id, "current": True}, {"$set": {"current": False}})
        return None

    async def waiting(self, owner: str) -> int:
        """Return how many of its exports wait or run."""
        with answering():
            wanted: Document = {"claimable_at": {"$type": "date"}, "owner": owner}
            return int(await self._exports.count_documents(wanted, hint="queue"))

    async def asked_since(self, owner: str, moment: datetime) -> int:
        """Return how many exports it has asked for since a moment."""
        with answering():
            wanted: Document = {"owner": owner, "asked_at": {"$gte": moment}}
            return int(await self._exports.count_documents(wanted, hint="owner_newest"))

    # ------------------------------------------------------------ reading

    async def get(self, export: str, owner: str | None = None) -> Export | None:
        """Return an export by its id; `owner`: if it is its."""
        return await self._one({"_id": export} | ({} if owner is None else {"owner": owner}))

    async def page(self, owner: str | None, behind: Place | None, limit: int) -> list[Export]:
        """Return exports, the newest first, from behind a place on; `owner`: its own alone."""
        wanted: Document = {} if owner is None else {"owner": owner}
        if behind is not None:
            at, export = behind
            wanted |= {"asked_at": {"$lte": at}, "$or": [{"asked_at": {"$lt": at}}, {"_id": {"$lt": export}}]}
        order = [("asked_at", -1), ("_id", -1)]
        now = await self.now()
        with answering():
            rows = await self._exports.find(wanted).sort(order).limit(limit).to_list(None)
        return [_from(row, now) for row in rows]

    async def _one(self, wanted: Document) -> Export | None:
        with answering():
            found = await self._exports.find_one(wanted)
        return None if found is None else _from(found, await self.now())

    async def pieces(self, export: Export) -> AsyncGenerator[bytes]:
        """Yield the file of a ready export; StoreUnavailable when a piece is missing."""
        count = 0
        prefix = _pieces_of(export)
        wanted = {"_id": {"$gt": prefix, "$lt": f"{prefix}~"}}
        with answering():
            async for row in self._pieces.find(wanted, batch_size=_FETCHED_AT_ONCE).sort("_id", 1):
                count += 1
                yield row["data"]
        if export.written is None or count != export.written.pieces:
            raise StoreUnavailable(f"the file of export {export.id} is not whole")

    # ------------------------------------------------------------ writing

    async def claim(self) -> Export | None:
        """Claim what has waited longest, or what somebody has left: for a lease, under a number of its own."""
        claimed: Document = {
            "status": ExportStatus.RUNNING.value, "begun_at": "$$NOW", "claimable_at": _leased(), "done": 0,
            "attempt": {"$add": ["$attempt", 1]},
            # Whoever had it has not given it back: it died of it, perhaps.
            "failures": {"$add": ["$failures", {"$cond": [{"$eq": ["$status", ExportStatus.RUNNING.value]}, 1, 0]}]},
        }  # fmt: skip
        free: Document = {"claimable_at": {"$type": "date"}, "$expr": {"$lte": ["$claimable_at", "$$NOW"]}}
        with answering():
            found = await self._exports.find_one_and_update(
                free, [{"$set": claimed}], sort=[("claimable_at", 1)], return_document=ReturnDocument.AFTER
            )
        return None if found is None else _from(found, found["begun_at"])

    async def renew(self, export: Export, progress: ExportProgress) -> bool:
        """Renew the lease, and tell how far it is; False: it is somebody else's by now."""
        now: Document = {"claimable_at": _leased(), "done": progress.done, "total": progress.total}
        return await self._change(export, [{"$set": now}])

    async def add_piece(self, export: Export, number: int, data: bytes) -> None:
        """Add a piece to the file of this attempt."""
        piece: Document = {
            "_id": f"{_pieces_of(export)}{number:08}", "data": Binary(data),
            "forget_at": export.kept_until + _DOWNLOAD,
        }  # fmt: skip
        with answering():
            await self._pieces.insert_one(piece)

    async def finish(self, export: Export, written: Written, progress: ExportProgress) -> bool:
        """Say that the file is whole; False: somebody else writes it by now."""
        done: Document = {
            "status": ExportStatus.READY.value, "done": progress.done, "total": progress.total,
            "length": written.length, "sha256": written.sha256, "pieces": written.pieces,
        }  # fmt: skip
        return await self._change(export, {"$set": done, "$unset": {"claimable_at": ""}})

    async def fail(self, export: Export, error: str) -> bool:
        """Say why there will be no file; whoever asks again begins anew."""
        failed = {"status": ExportStatus.FAILED.value, "error": error, "current": False}
        return await self._change(export, {"$set": failed, "$unset": {"claimable_at": ""}})

    async def give_back(self, export: Export, after: timedelta = timedelta(0), *, failed: bool = False) -> bool:
        """Put it back in the queue, for whoever comes `after` a while; `failed`: this attempt ended badly."""
        until = {"$add": ["$$NOW", int(after.total_seconds() * 1000)]}
        failures = {"$add": ["$failures", int(failed)]}
        again: Document = {"status": ExportStatus.QUEUED.value, "claimable_at": until, "failures": failures}
        return await self._change(export, [{"$set": again}])

    async def _change(self, export: Export, change: Any) -> bool:
        mine = {"_id": export.id, "attempt": export.attempt, "status": ExportStatus.RUNNING.value}
        with answering():
            result = await self._exports.update_one(mine, change)
        return bool(result.matched_count)


def _leased() -> Document:
    return {"$add": ["$$NOW", int(LEASE.total_seconds() * 1000)]}


def _pieces_of(export: Export) -> str:
    return f"{export.id}/{export.attempt:06}/"


# ---------------------------------------------------------------- documents


def _document(export: Export, key: str) -> Document:
    wish = export.wish
    return {
        "_id": export.id, "key": key, "current": True, "owner": export.owner, "statement": export.statement,
        "form": wish.form.value, "locale": wish.locale, "payer": wish.payer,
        "pay_on": None if wish.pay_on is None else wish.pay_on.isoformat(), "status": export.status.value,
        "asked_at": export.asked_at, "claimable_at": export.asked_at, "forget_at": export.asked_at + REMEMBERED,
        "done": export.progress.done, "total": export.progress.total, "attempt": 0, "failures": 0,
    }  # fmt: skip


def _from(document: Document, now: datetime) -> Export:
    """Return an export as it stands at this moment."""
    pay_on, written = document["pay_on"], document["status"] == ExportStatus.READY.value
    export = Export(
        id=document["_id"], owner=document["owner"], statement=document["statement"],
        wish=Wish(
            form=Form(document["form"]), locale=document["locale"], payer=document["payer"],
            pay_on=None if pay_on is None else date.fromisoformat(pay_on),
        ),
        asked_at=document["asked_at"], status=ExportStatus(document["status"]), begun_at=document.get("begun_at"),
        progress=ExportProgress(document["done"], document["total"]), attempt=document["attempt"],
        failures=document["failures"], error=document.get("error"),
        written=Written(document["length"], document["sha256"], document["pieces"]) if written else None,
    )  # fmt: skip
    return replace(export, status=ExportStatus.EXPIRED) if written and now >= export.kept_until else export
