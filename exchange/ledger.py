"""The group commit: many decisions, one transaction, one block.

Rule 1. One commit is in flight per process. While it flies the next batch collects, so an idle exchange commits a
        batch of one without delay and a busy one pays for a commit once per batch.
Rule 2. A batch is read, decided in memory in order of arrival, and committed. No answer, refusals included, leaves
        before the commit that its decision rests on.
Rule 3. Losing to a rival means that nothing happened: read anew, decide anew. A batch that fails twice is split, so
        that one bad command cannot starve the rest; what loses even alone is set apart and tried between batches, so
        that nobody waits for it either.
Rules 4 and 5, of what is committed and where, are `lane`'s.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from exchange.batch import (
    Answer,
    Batch,
    Outcome,
    Reads,
    batch_of,
    codes_wanted,
    makes_lot,
    references_named,
    wallet_of,
    wallets_named,
)
from exchange.benefit import Stock
from exchange.commands import (
    Act,
    AdjustLine,
    Award,
    ByReference,
    ByWallet,
    Command,
    Enrol,
    Redeem,
)
from exchange.decisions import Terms, promise
from exchange.errors import (
    Contended,
    Fault,
    Overloaded,
    Refusal,
    StoreUnavailable,
)
from exchange.exposure import Cap, Pair, Room
from exchange.journal import EXCHANGE
from exchange.keyring import Keyring
from exchange.lane import LaneKeeper
from exchange.limits import look_back
from exchange.pace import Pace
from exchange.quote import Quote
from exchange.redemption import Step
from exchange.store.books import NO_LANE, Books, FirstRound, SecondRound
from exchange.store.documents import reference_id
from exchange.store.headroom import Headroom, slice_use
from exchange.store.lanes import Conflict, Lane, LaneLost
from exchange.store.shelves import Shelves

BATCH_MAX = 128
QUEUE_MAX = 4_096
DEADLINE_SECONDS = 10.0
SPLIT_AFTER = 2
"""Failures of a batch before it is split."""
PATIENCE = 1 / 3
"""The part of the deadline in which a commit is asked for again: the rest is for settling it, and deciding anew."""
_QUOTE_TRIES = 5
_NOT_KNOWN_YET = "the outcome is not known yet; ask again with the same idempotency key"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    command: Command
    deadline: float
    answer: asyncio.Future[Outcome]
    failures: int = 0
    again: float = 0.0
    """Of one that was set apart: how often it was, and when it is its turn."""


class Ledger:
    """The one way to change a wallet. `start` before the first `submit`; `stop` answers what was accepted."""

    def __init__(self, books: Books, keyring: Keyring, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._books = books
        self._headroom = Headroom(books.db, books)
        self._shelves = Shelves(books.db)
        self._keyring = keyring
        self._deadline_seconds = deadline_seconds
        self._lanes = LaneKeeper(books, deadline_seconds * PATIENCE)
        self._queue: list[_Job] = []
        self._apart: deque[_Job] = deque()
        self._pace = Pace()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take a lane and begin to commit."""
        await self._lanes.own()
        self._tasks = [asyncio.create_task(self._commit_batches()), asyncio.create_task(self._lanes.keep_lease())]

    async def stop(self) -> None:
        """Answer all that was accepted, then give the lane back."""
        self._stopping = True
        self._arrived.set()
        if not self._tasks:
            return
        committing, leasing = self._tasks
        await committing
        leasing.cancel()
        await self._lanes.give_back()

    @property
    def waiting(self) -> int:
        """Return how many commands wait for a batch: never more than QUEUE_MAX, and a batch besides."""
        return len(self._queue) + len(self._apart)

    async def submit(self, command: Command) -> Outcome:
        """Carry out a command, exactly once for ever; returns after its block is durable.

        Raises a Refusal (nothing changed) or a Fault (repeat with the same idempotency key). A caller that goes
        away changes nothing: what was accepted is decided and recorded.
        """
        if self._stopping:
            raise Overloaded("this server is stopping")
        loop = asyncio.get_running_loop()
        if self.waiting >= QUEUE_MAX:
            # Nobody waits longer than that for an answer, so neither need who is turned away.
            longest = 2 * self._deadline_seconds
            wait = self._pace.retry_seconds(self.waiting / BATCH_MAX, loop.time(), longest)
            raise Overloaded("too many commands are waiting", wait)
        job = _Job(command, loop.time() + self._deadline_seconds, loop.create_future())
        job.answer.add_done_callback(_heard)
        self._queue.append(job)
        self._arrived.set()
        given_up = loop.call_later(2 * self._deadline_seconds, _tell, job, StoreUnavailable(_NOT_KNOWN_YET))
        try:
            return await job.answer
        finally:
            given_up.cancel()

    async def quote(self, command: Redeem) -> Quote:
        """Promise what a taking would cost, for a while; nothing is taken and nothing is held. Raises a Refusal."""
        first, second = await self._read_for_quote(command)
        terms = await self._common_terms(first)
        batch = batch_of((first, second), self.new_wallet_id, self.lapse_of)
        batch.stocks = await self._shelves.stock(first.benefits)
        await self._look_back([command], batch, terms, first.now)
        caps = await self._caps([command], batch)
        headroom = await self._headroom.lefts(caps) if caps else {}
        wallet = batch.standing(wallet_of(command.whose, batch.references))
        quote = promise(command, wallet, replace(batch.terms(command, terms), headroom=headroom), first.now)
        await self._books.add_quote(quote)
        return quote

    async def _read_for_quote(self, command: Redeem) -> Reads:
        for _ in range(_QUOTE_TRIES):
            with suppress(Conflict):
                return await self._read([command])
        raise Contended("rivals came between every attempt; try again")

    def entry_id(self, partner: str, subject: str, operation: str, key: str) -> str:
        """Return the id of the one entry that this idempotency key can ever make.

        `subject`: the pairwise subject of a member's token, or "server" for the partner's own.
        """
        return self._keyring.digest("entry", partner, subject, operation, key)

    def new_wallet_id(self, whose: ByReference) -> str:
        """Return the id of the wallet that a first mention makes: the same for everyone who mentions it first."""
        return self._keyring.digest("wallet", whose.partner, whose.reference)

    def lapse_of(self, redemption: str) -> Act:
        """Return the command by which time ends a reservation: the same for everyone who notices."""
        return Act(
            id=self.entry_id(EXCHANGE, "server", "lapse", redemption), fingerprint="", partner=EXCHANGE, whose=None,
            redemption=redemption, step=Step.LAPSE, by_exchange=True,
        )  # fmt: skip

    # ------------------------------------------------------------ batches

    async def _commit_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            if not self.waiting:
                if self._stopping:
                    return
                self._arrived.clear()
                continue
            if self._queue:
                jobs, self._queue = self._queue[:BATCH_MAX], self._queue[BATCH_MAX:]
                self._pace.begin(loop.time())
                await self._settle(jobs)
                self._pace.end(loop.time())
            if self._apart:
                await self._settle_apart(self._apart[0])

    async def _settle_apart(self, job: _Job) -> None:
        """Try one that was set apart once more, if it is its turn; what arrives meanwhile goes first."""
        if not self._queue:
            self._arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(job.again):
                    await self._arrived.wait()
            self._arrived.set()
        if asyncio.get_running_loop().time() >= job.again:
            self._apart.popleft()
            await self._settle([job], tries=1)

    def _set_apart(self, job: _Job) -> None:
        job.failures += 1
        pause = random.uniform(0, 0.01 * 2 ** min(job.failures, 5))  # noqa: S311 - jitter
        job.again = min(asyncio.get_running_loop().time() + pause, job.deadline)
        self._apart.append(job)

    async def _settle(self, jobs: list[_Job], tries: int = SPLIT_AFTER) -> None:
        """Bring every job to its answer: try, try again, split, set apart."""
        failures = 0
        while jobs:
            try:
                answers = await self._attempt([job.command for job in jobs])
            except (Conflict, LaneLost, StoreUnavailable) as error:
                failures += 1
                jobs = _without_late(jobs, error)
                if failures >= tries and len(jobs) == 1 and isinstance(error, Conflict):
                    # Only of this can another command be free: a database that does not answer, answers nobody.
                    self._set_apart(jobs[0])
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop the ledger or reach an innocent neighbour
                _log.exception("a batch of %d failed", len(jobs))
                if len(jobs) == 1:
                    _tell(jobs[0], error)
                    return
                failures = tries
            else:
                for job, answer in zip(jobs, answers, strict=True):
                    _tell(job, answer)
                return
            if failures >= tries and len(jobs) > 1:
                half = len(jobs) // 2
                await self._settle(jobs[:half])
                await self._settle(jobs[half:])
                return
            await asyncio.sleep(random.uniform(0, 0.002 * 2 ** min(failures, 7)))  # noqa: S311 - jitter

    async def _attempt(self, commands: Sequence[Command]) -> list[Answer]:
        lane = await self._lanes.own()
        first, second = await self._read(commands, lane.number)
        await self._lanes.cut_if_due(lane, first, second)
        first.stocks.update(await self._filled_shelves(commands, first, second, lane))
        batch = batch_of((first, second), self.new_wallet_id, self.lapse_of)
        await self._lanes.leave_if_ahead(lane, first.now)
        now = max(first.now, lane.head.at)
        terms = await self._common_terms(first)
        await self._look_back(commands, batch, terms, now)
        recent = dict(batch.recent)
        batch.rooms = await self._rooms(commands, batch, lane)
        decided = batch.decide(commands, terms, now)
        while await self._drawn(batch):
            rooms, batch = batch.rooms, batch_of((first, second), self.new_wallet_id, self.lapse_of)
            batch.recent, batch.rooms = dict(recent), rooms
            decided = batch.decide(commands, terms, now)
        refused = [
            command.id
            for command, answer in zip(commands, decided, strict=True)
            if isinstance(answer, Refusal) and command.id not in first.entries
        ]
        if refused and await self._books.is_any_done(refused):
            # Elsewhere, and since its entry was looked for: perhaps all that stands in its way is what itself has done.
            raise Conflict("what was refused has been done meanwhile")
        if batch.writes.entries:
            batch.writes.wallets = list(batch.changed.values())
            batch.writes.redemptions = list(batch.stepped.values())
            batch.writes.headroom = [slice_use(batch.rooms[pair], more) for pair, more in batch.owed.items()]
            await self._lanes.commit(lane, batch.writes, now)
        else:
            # Nothing to commit, but what the answers rest on must be durable before they leave.
            await self._lanes.renew(lane)
        return batch.answers(decided, lane.period)

    async def _filled_shelves(
        self, commands: Sequence[Command], first: FirstRound, second: SecondRound, lane: Lane
    ) -> dict[str, Stock]:
        """Draw what the lane's shelves lack of what is wanted; most batches need nothing."""
        wanted: dict[str, int] = {redemption.benefit: 0 for redemption in first.redemptions.values()}
        for command in commands:
            if isinstance(command, Redeem) and command.benefit in first.benefits and command.id not in first.entries:
                wanted[command.benefit] = wanted.get(command.benefit, 0) + command.quantity
        there = second.stocks | first.stocks
        short = {
            benefit: units
            for benefit, units in wanted.items()
            if benefit not in there or ((left := there[benefit].left) is not None and left < units)
        }
        return await self._shelves.draw(lane.number, short, self._lanes.known) if short else {}

    async def _read(self, commands: Sequence[Command], lane: int = NO_LANE) -> Reads:
        redeems = [command for command in commands if isinstance(command, Redeem) and command.benefit is not None]
        references = [reference_id(whose) for command in commands for whose in references_named(command)]
        guessed = {
            whose.wallet if isinstance(whose, ByWallet) else self.new_wallet_id(whose)
            for command in commands for whose in wallets_named(command) if whose is not None
        }  # fmt: skip
        first = await self._books.first_round(
            (command.id for command in commands),
            references,
            (command.benefit for command in redeems if command.benefit is not None),
            (command.redemption for command in commands if isinstance(command, Act) and command.redemption is not None),
            (command.quote for command in redeems if command.quote is not None),
            lane,
            guessed,
        )
        wallets = {
            wallet
            for command in commands
            for whose in wallets_named(command)
            if (
                wallet := wallet_of(
                    whose, first.references, self.new_wallet_id if isinstance(command, Award | Enrol) else None
                )
            )
        }
        for entry in first.entries.values():
            wallets |= {entry.wallet} if entry.counterpart is None else {entry.wallet, entry.counterpart}
        wallets |= {redemption.wallet for redemption in first.redemptions.values()}
        replayed = (entry.redemption for entry in first.entries.values() if entry.redemption is not None)
        benefits = {redemption.benefit for redemption in first.redemptions.values()}
        codes = codes_wanted(commands, first)
        if guessed >= wallets and not (first.entries or first.redemptions or codes):
            # As it mostly is: a wallet has the name that its first reference gave it.
            second = SecondRound(
                {name: first.wallets[name] for name in wallets & first.wallets.keys()}, first.references
            )
        else:
            second = await self._books.second_round(
                wallets, replayed, benefits, codes, references, lane, self._lanes.known
            )
        if second.references != first.references:
            raise Conflict("a reference came to mean another wallet between two reads")
        await self._follow(second)
        awarded = [entry for entry in first.entries.values() if makes_lot(entry)]
        if any(all(wallet.lot(entry.id) is None for wallet in second.wallets.values()) for entry in awarded):
            # Awarded while two members were one: the lot went with the other when they parted.
            parted = await self._books.parted_from(entry.wallet for entry in awarded)
            second.wallets.update(await self._books.wallets_of(set(parted) - second.wallets.keys()))
            await self._follow(second)
        return first, second

    async def _follow(self, second: SecondRound) -> None:
        """Read whom the members have become that were merged: what is asked of the one concerns the other."""
        while (
            missing := {wallet.merged_into for wallet in second.wallets.values() if wallet.merged_into is not None}
            - second.wallets.keys()
        ):
            second.wallets.update(await self._books.wallets_of(missing))
        for wallet in second.wallets.values():
            if wallet.merged_into is not None and wallet.id not in second.wallets[wallet.merged_into].whole:
                raise Conflict("two who were one parted between two reads")

    async def _common_terms(self, first: FirstRound) -> Terms:
        """Return what all decisions of a batch rest on."""
        book = await self._books.book(first.terms.agreements)
        return Terms(book, rules=await self._books.rule_book(first.terms.rules))

    async def _look_back(self, commands: Sequence[Command], batch: Batch, terms: Terms, now: datetime) -> None:
        """Read, now that the wallets are known, what limits of some time count: most batches need nothing."""
        taking = [command for command in commands if isinstance(command, Redeem)]
        named = (batch.first.benefits.get(command.benefit or "") for command in taking)
        since = look_back([benefit for benefit in named if benefit is not None], terms.rules, now) if taking else None
        if since is None:
            return
        # Of all in the batch: a merge or a link within it can make anybody's redemptions count for somebody else.
        wallets = {one for wallet in batch.wallets.values() for one in wallet.whole}
        found = await self._books.recent_redemptions(wallets, since)
        batch.recent = {redemption.id: redemption for redemption in found}

    async def _caps(self, commands: Sequence[Command], batch: Batch) -> list[Cap]:
        """Return the caps of everybody who could come to owe by these commands: usually there are none."""
        if not any(isinstance(command, Redeem | Act | AdjustLine) for command in commands):
            return []
        book = await self._books.cap_book(batch.first.terms.caps)
        if not book:
            return []
        partners = {command.partner for command in commands}
        partners |= {command.payer for command in commands if isinstance(command, AdjustLine)}
        partners |= {lot.issuer for wallet in batch.wallets.values() for lot in wallet.lots}
        partners |= {benefit.partner for benefit in batch.first.benefits.values()}
        for redemption in batch.redemptions.values():
            issuers = (debit.issuer for debit in redemption.debits)
            partners |= {redemption.provider, redemption.channel, *issuers}
        return book.of(partners)

    async def _rooms(self, commands: Sequence[Command], batch: Batch, lane: Lane) -> dict[Pair, Room]:
        caps = await self._caps(commands, batch)
        if not caps:
            return {}
        try:
            rooms = await self._headroom.rooms(lane.number, caps)
        except Conflict:
            await self._lanes.find_head(lane)
            raise
        return {room.cap.pair: room for room in rooms}

    async def _drawn(self, batch: Batch) -> bool:
        """Draw headroom where the lane's was too small; returns whether to decide anew with what it is now."""
        drawn = False
        for pair, room in batch.rooms.items():
            owed = batch.owed.get(pair, 0)
            wish = owed + batch.wanted.get(pair, 0)
            missing = pair in batch.owed and room.slice.version == 0
            # What cannot be refused is owed whatever is left; then the slice has to hold it all the same.
            if missing or owed > room.slice.left or (wish > room.usable and not room.dry):
                batch.rooms[pair] = await self._headroom.draw(room, wish, owed)
                drawn = True
        return drawn


def _without_late(jobs: list[_Job], error: Exception) -> list[_Job]:
    now = asyncio.get_running_loop().time()
    for job in jobs:
        if job.deadline <= now:
            _tell(job, error if isinstance(error, Fault) else Contended("rivals won every attempt; try again"))
    return [job for job in jobs if job.deadline > now]


def _heard(answer: asyncio.Future[Any]) -> None:
    """Take note of an answer: whoever asked may have gone away, and then nobody else does."""
    if not answer.cancelled():
        answer.exception()


def _tell(job: _Job, answer: Outcome | Exception) -> None:
    if job.answer.done():
        return
    if isinstance(answer, Outcome):
        job.answer.set_result(answer)
    else:
        job.answer.set_exception(answer)
