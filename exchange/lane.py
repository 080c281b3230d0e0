"""This process's own lane: the chain that it writes, and how it comes to it and stays in it.

Rule 4. An unknown outcome is settled, never guessed. The commit is sent again on the same session until its answer
        is definite; if the session is lost, it is killed and a void block is put at the same place in the lane: if
        that succeeds the batch can never commit, if the place is taken the block there tells. Looking whether the
        block is there would not be enough, because a delayed commit can land after the look.
Rule 5. The lane's period moves only by a cut. A batch that reads a period marked closing, or anything written in a
        later period than its own lane's, cuts its lane first (Lamport's rule), so nothing settles before what it
        rests on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from datetime import datetime, timedelta

from exchange.errors import Fault, StoreUnavailable
from exchange.journal import SALT_BYTES, Block, BlockKind
from exchange.store.books import Books, FirstRound, SecondRound, UnknownOutcome, Writes
from exchange.store.lanes import LEASE_SECONDS, Conflict, Lane, LaneLost, SessionId, empty_block

CLOCK_TOLERANCE = timedelta(seconds=5)
"""How far a lane's last block may lie ahead of the database's clock: members of a replica set differ a little."""
_LOOK_AGAIN_SECONDS = 0.01
"""Before looking at what a rival has done: a moment later a majority has it."""

_log = logging.getLogger(__name__)


class LaneKeeper:
    """Takes a lane, commits blocks into it, cuts it when a period ends, and goes to another when it is lost.

    `patience_seconds`: how long a commit is sent again before its session is killed. `known`: how many lanes there are,
    as far as is known, by which lanes share what is scarce; no rule rests on it.
    """

    def __init__(self, books: Books, patience_seconds: float) -> None:
        self._books = books
        self._patience_seconds = patience_seconds
        self._owner = secrets.token_hex(8)
        self._lane: Lane | None = None
        self.known = 1

    async def give_back(self) -> None:
        """Let the next process take the lane at once."""
        if self._lane is not None:
            await self._books.release_lane(self._lane.number, self._owner)
            await self._lane.session.end_session()

    async def commit(self, lane: Lane, writes: Writes, now: datetime) -> None:
        """Commit one block behind the lane's head. Conflict: it did not happen, decide again."""
        block = Block.seal(
            lane=lane.number, seq=lane.head.seq + 1, kind=BlockKind.ENTRIES, period=lane.period, prev=lane.head.hash,
            at=now, salt=secrets.token_bytes(SALT_BYTES), entries=writes.entries,
        )  # fmt: skip
        try:
            await self._books.commit(lane, block, writes)
        except UnknownOutcome:
            if not await self._did_commit(lane, block):
                await self.find_head(lane)
                raise Conflict("the commit did not happen") from None
        except Conflict:
            await self.find_head(lane)
            raise
        lane.head = block

    async def _did_commit(self, lane: Lane, block: Block) -> bool:
        """Settle a commit whose answer was lost (rule 4). Returns only when it is certain, however long that takes."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._patience_seconds
        while loop.time() < patience:
            try:
                await self._books.send_commit(lane)
            except UnknownOutcome:
                await asyncio.sleep(0.1)
            except Conflict:
                return False
            else:
                return True
        while True:
            try:
                await self._books.kill_session(lane.session.session_id["id"])
                there: Block | None = empty_block(lane.head, BlockKind.VOID, lane.head.at)
                if there is not None and not await self._books.append(there):
                    there = await self._books.block_at(block.lane, block.seq)
                if there is not None:
                    lane.session = await self._books.start_session()
                    return there.hash == block.hash
            except StoreUnavailable:
                _log.warning("the outcome of block %s is still unknown: the database does not answer", block.id)
            await asyncio.sleep(0.5)

    async def find_head(self, lane: Lane) -> None:
        """Go on behind the block that took our place: a cut, or a void block if the lane is still ours."""
        head = await self._books.head(lane.number)
        if head.seq > lane.head.seq:
            alone = head.seq == lane.head.seq + 1
            lane.head = head
            if head.kind is not BlockKind.CUT or not alone:
                await self.renew(lane)

    async def cut_if_due(self, lane: Lane, first: FirstRound, second: SecondRound) -> None:
        """Bring the lane into the period that a batch's reads are of (rule 5). Conflict: read again."""
        written = [wallet.period for wallet in second.wallets.values()]
        written += [redemption.period for each in (first, second) for redemption in each.redemptions.values()]
        while lane.period in first.closing or lane.period < max(written, default=0):
            block = empty_block(lane.head, BlockKind.CUT, max(first.now, lane.head.at))
            if await self._books.append(block):
                lane.head = block
                continue
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            await self.find_head(lane)
            if lane.head.kind is not BlockKind.CUT or lane.head.seq > block.seq:
                # More than the cut that we wanted ourselves: somebody means us to read again (`Books.mark_lanes`).
                raise Conflict("the lane's head has moved")

    async def own(self) -> Lane:
        """Return this process's lane: the one it has, a lapsed one taken over, or a new one."""
        if self._lane is not None:
            return self._lane
        session = await self._books.start_session()
        while self._lane is None:
            stolen = await self._books.steal_lane(self._owner, session.session_id["id"])
            self.known = max(1, await self._books.count_lanes())
            if stolen is not None:
                number, killed = stolen
                lane = Lane(number, self._owner, await self._books.head(number), session)
                if killed is None or await self._void_after(lane, killed):
                    self._lane = lane
                continue
            opened = await self._books.open_lane(self._owner, session, secrets.token_bytes(SALT_BYTES))
            if opened is not None:
                self._lane = Lane(opened[0], self._owner, opened[1], session)
                self.known = max(self.known, opened[0])
            else:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        return self._lane

    async def leave_if_ahead(self, lane: Lane, now: datetime) -> None:
        """Leave the lane to time (LaneLost) if the clock was wrong when its head was written: it never goes back in it.

        Deciding on in that future would expire members' points before their time.
        """
        if lane.head.at <= now + CLOCK_TOLERANCE:
            return
        _log.error("lane %s is at %s, and it is %s: the database's clock was wrong", lane.number, lane.head.at, now)
        await self._books.release_lane(lane.number, self._owner, until=lane.head.at)
        self._lane = None
        raise LaneLost

    async def _void_after(self, lane: Lane, killed: SessionId) -> bool:
        """Begin a stolen lane: nothing that its owner before had in flight can land any more."""
        await self._books.kill_session(killed)
        while True:
            block = empty_block(lane.head, BlockKind.VOID, lane.head.at)
            if await self._books.append(block):
                lane.head = block
                return True
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            lane.head = await self._books.head(lane.number)

    async def renew(self, lane: Lane) -> None:
        """Keep the lane for another lease; LaneLost when another process has it."""
        if not await self._books.renew_lease(lane.number, self._owner, lane.session.session_id["id"]):
            _log.warning("lane %s was taken over by another process", lane.number)
            if self._lane is lane:  # by now it may be another
                self._lane = None
            raise LaneLost

    async def keep_lease(self) -> None:
        """Renew the lease again and again, until cancelled."""
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                if self._lane is not None:
                    await self.renew(self._lane)
                self.known = max(1, await self._books.count_lanes())
            except (LaneLost, Fault):
                continue  # the next batch takes another lane, or finds the database back
