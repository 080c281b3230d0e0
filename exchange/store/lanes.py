"""Lanes as stored: blocks at their places, who writes which lane, and until when.

A place in a lane is taken by inserting a block there, and `_id` is unique: that is the safety. The lease is only
manners.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from bson import Binary
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from exchange.errors import StoreUnavailable
from exchange.journal import GENESIS, SALT_BYTES, Block, BlockKind, block_id
from exchange.store import documents as docs
from exchange.store.connection import MAJORITY, Client, Collection, Database, Session, aggregate, answering, settled

_T = TypeVar("_T")

SessionId = Binary
"""What the server knows a session by; enough to kill it."""

LEASE_SECONDS = 15
_EPOCH = datetime.fromtimestamp(0, tz=UTC)
_DUPLICATE_KEY = 11000
_WRITE_CONFLICT = 112


class Conflict(Exception):  # noqa: N818 - an outcome between store and ledger, never shown
    """Somebody else wrote first. The transaction was aborted; nothing of it remains."""


class LaneLost(Exception):  # noqa: N818 - see Conflict
    """Another process owns this lane now."""


@dataclass(slots=True)
class Lane:
    """This process's own chain: its number, the head as last known, and the session that writes it."""

    number: int
    owner: str
    head: Block
    session: Session

    @property
    def period(self) -> int:
        """The period that the next block belongs to."""
        return self.head.period_after


class Lanes:
    """The collections of blocks, lanes and periods in one database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.blocks: Collection = db["blocks"]
        self.periods: Collection = db["periods"]
        self.lanes: Collection = db["lanes"]
        self._majority_lanes = self.lanes.with_options(read_concern=MAJORITY)
        self._majority_blocks = self.blocks.with_options(read_concern=MAJORITY)

    async def head(self, lane: int) -> Block:
        """Return the last block of a lane that a majority has."""
        with answering():
            newest = self._majority_blocks.find({"_id": {"$gte": block_id(lane, 0), "$lt": block_id(lane + 1, 0)}})
            blocks = await newest.sort("_id", -1).limit(1).to_list(1)
        return docs.block_from(blocks[0])

    async def append(self, block: Block) -> bool:
        """Insert a block without entries at its place, majority acknowledged; False when the place is taken."""
        try:
            with answering():
                await self.blocks.insert_one(docs.block_document(block))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, DuplicateKeyError):
                return False
            raise
        return True

    async def heads(self) -> dict[int, int]:
        """Return every lane's highest seq that a majority has."""
        with answering():
            # By majority, like its genesis. A lane that is not there yet reads all that is there by now.
            lanes = await self._majority_lanes.find({}, {"_id": 1}).sort("_id", 1).to_list(None)
        return {lane["_id"]: (await self.head(lane["_id"])).seq for lane in lanes}

    async def count_lanes(self) -> int:
        """Return how many lanes there are, whether somebody writes them or not."""
        with answering():
            return await self.lanes.estimated_document_count()

    async def mark_lanes(self) -> None:
        """Put an empty block behind every lane's head: what was decided before it and is not committed never will be.

        A batch in flight wanted that place; having lost it, it reads everything again.
        """
        for lane in await self.heads():
            while True:
                head = await self.head(lane)
                if await self.append(empty_block(head, BlockKind.VOID, head.at)):
                    break

    async def block_at(self, lane: int, seq: int) -> Block | None:
        """Return the block at a place, if a majority has one."""
        with answering():
            found = await self._majority_blocks.find_one({"_id": block_id(lane, seq)})
        return None if found is None else docs.block_from(found)

    async def start_session(self) -> Session:
        """Return a session of its own: its lsid is what a thief of the lane has to kill."""
        session: Session = await settled(self._db.client.start_session(causal_consistency=False))
        return session

    async def kill_session(self, lsid: SessionId) -> None:
        """Abort whatever transaction that session has open (killSessions)."""
        with answering():
            await self._db.client.admin.command("killSessions", [{"id": lsid}])

    async def steal_lane(self, owner: str, lsid: SessionId) -> tuple[int, SessionId | None] | None:
        """Take over a lane whose lease has lapsed; returns it and the lsid of the owner before (None: released)."""
        with answering():
            before = await self.lanes.find_one_and_update(
                {"$expr": {"$lt": ["$lease_until", "$$NOW"]}},
                [{"$set": {"owner": owner, "lsid": lsid, **_LEASE}}],
            )
        return None if before is None else (before["_id"], before["lsid"])

    async def open_lane(self, owner: str, session: Session, salt: bytes) -> tuple[int, Block] | None:
        """Make a new lane with its genesis block in the open period; None when a rival was first.

        One transaction writes the period's document too, so it conflicts with a close instead of slipping past it.
        """
        with answering():
            highest = await self.lanes.find_one({}, sort=[("_id", -1)])
            number = 1 if highest is None else highest["_id"] + 1
            periods = await aggregate(self.periods, [{"$match": {"status": "OPEN"}}, {"$project": {"now": "$$NOW"}}])
        block = Block.seal(
            lane=number, seq=0, kind=BlockKind.GENESIS, period=periods[0]["_id"], prev=GENESIS,
            at=periods[0]["now"], salt=salt,
        )  # fmt: skip
        try:
            await settled(session.start_transaction())
            written = await self.periods.update_one(
                {"_id": block.period, "status": "OPEN"}, {"$inc": {"lanes": 1}}, session=session
            )
            if written.matched_count != 1:
                await self.abort(session)
                return None
            await self.blocks.insert_one(docs.block_document(block), session=session)
            lease = {"lsid": session.session_id["id"], "lease_until": block.at + timedelta(seconds=LEASE_SECONDS)}
            await self.lanes.insert_one({"_id": number, "owner": owner, **lease}, session=session)
            await session.commit_transaction()
        except PyMongoError as error:
            await self.abort(session)
            if lost_to_a_rival(error):
                return None
            # Where the outcome of the commit is unknown, it must not keep the period's document from everybody else.
            # A lane that was opened after all is taken over when its lease is over, like that of a process that died.
            with suppress(StoreUnavailable):
                await self.kill_session(session.session_id["id"])
            raise StoreUnavailable(f"the database did not answer: {type(error).__name__}") from error
        return number, block

    async def renew_lease(self, lane: int, owner: str, lsid: SessionId) -> bool:
        """Keep the lane for another lease, majority acknowledged; False when it is somebody else's by now.

        Being a majority write, its acknowledgement also says that all read before it from this primary will last.
        """
        with answering():
            written = await self.lanes.update_one({"_id": lane, "owner": owner}, [{"$set": {"lsid": lsid, **_LEASE}}])
        return written.matched_count == 1

    async def release_lane(self, lane: int, owner: str, until: datetime = _EPOCH) -> None:
        """Let the next process take the lane, at once or not before `until`, with nothing to kill."""
        with answering():
            await self.lanes.update_one(
                {"_id": lane, "owner": owner}, {"$set": {"owner": None, "lsid": None, "lease_until": until}}
            )

    @staticmethod
    async def abort(session: Session) -> None:
        """End a transaction that is to come to nothing."""
        if session.in_transaction:
            # If even this fails the server drops it when its lifetime is over: nothing of it can be committed any more.
            with suppress(PyMongoError):
                await session.abort_transaction()


_LEASE = {"lease_until": {"$add": ["$$NOW", LEASE_SECONDS * 1000]}}


def empty_block(head: Block, kind: BlockKind, at: datetime) -> Block:
    """Return a block without entries for the place behind a lane's head."""
    return Block.seal(
        lane=head.lane, seq=head.seq + 1, kind=kind, period=head.period_after, prev=head.hash, at=at,
        salt=secrets.token_bytes(SALT_BYTES),
    )  # fmt: skip


async def in_one_transaction(client: Client, work: Callable[[Session], Awaitable[_T]]) -> _T:
    """Do it in one transaction of one snapshot, once: Conflict when a rival was faster."""
    try:
        async with await settled(client.start_session()) as session:
            await settled(session.start_transaction(read_concern=ReadConcern("snapshot")))
            result = await work(session)
            await session.commit_transaction()
            return result
    except PyMongoError as error:
        if lost_to_a_rival(error):
            raise Conflict(str(error)) from error
        raise StoreUnavailable(f"the database did not answer: {type(error).__name__}") from error


async def write_all(collection: Collection, writes: Sequence[Any], session: Session) -> None:
    """Write all of these, each filtered by what it was decided on; Conflict if one of them met nothing.

    An update that matches nothing does not abort by itself.
    """
    if not writes:
        return
    result = await collection.bulk_write(writes, ordered=False, session=session)
    if result.matched_count + result.inserted_count != len(writes):
        raise Conflict(f"{collection.name}: {len(writes)} writes, {result.matched_count} matched")


def lost_to_a_rival(error: PyMongoError) -> bool:
    """Whether somebody else's write is why this transaction failed: by label, by code, or by a duplicate key.

    A place in the lane that a rival holds shows as a WriteConflict while its transaction is open or newer than our
    snapshot, and as an unlabelled DuplicateKey afterwards. Which document it was is not asked: the ledger reads its
    head, the entries and the wallets anew in every case.
    """
    lost = bool(codes_of(error) & {_DUPLICATE_KEY, _WRITE_CONFLICT})
    return lost or (isinstance(error, OperationFailure) and error.has_error_label("TransientTransactionError"))


def codes_of(error: PyMongoError) -> set[int | None]:
    """Return the server's error codes: a bulk write can have several."""
    if isinstance(error, BulkWriteError):
        return {item.get("code") for item in (error.details or {}).get("writeErrors", ())}
    return {error.code} if isinstance(error, OperationFailure) else set()
