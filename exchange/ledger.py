"""The group commit: many decisions, one transaction, one block.

Rule 1. One commit is in flight per process. While it flies the next batch collects, so an idle exchange commits a
        batch of one without delay and a busy one pays for a commit once per batch.
Rule 2. A batch is read, decided in memory in order of arrival, and committed. No answer, refusals included, leaves
        before the commit that its decision rests on.
Rule 3. Losing to a rival means that nothing happened: read anew, decide anew. A batch that fails twice is split, so
        that one bad command cannot starve the rest; what loses even alone is set apart and tried between batches, so
        that nobody waits for it either.
Rules 4 and 5, of what is committed and where, are `lane`'s.

Under a load of more than a batch, the next full batch is read while the one before is written, so process and database
work at the same time. What it read is then brought up to what was written, and nothing of it is used if that was not
committed. It loses nothing by having read early: its writes are under the versions that it read, its place in the lane
is behind the one before, and whoever means a lane to read again takes that place.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import StaleBook
from exchange.benefit import Fulfilment, Stock, StockChange
from exchange.commands import (
    Act,
    AdjustLine,
    Award,
    Between,
    ByReference,
    ByWallet,
    Command,
    Enrol,
    LinkMember,
    Redeem,
    Reserve,
    Share,
    Sharing,
    Unmerge,
    Whose,
)
from exchange.decisions import Decision, Terms, decide, promise
from exchange.errors import (
    BenefitUnavailable,
    Contended,
    ExchangeError,
    Fault,
    IdempotencyConflict,
    Overloaded,
    Refusal,
    StoreUnavailable,
)
from exchange.exposure import Cap, Pair, Room, change
from exchange.journal import SALT_BYTES, Entry
from exchange.keyring import Keyring
from exchange.lane import LaneKeeper
from exchange.limits import look_back
from exchange.pace import Pace
from exchange.quote import Quote
from exchange.redemption import Redemption, Step
from exchange.store.books import NO_LANE, Books, FirstRound, SecondRound, Writes
from exchange.store.documents import reference_id
from exchange.store.headroom import Headroom, slice_use
from exchange.store.lanes import Conflict, Lane, LaneLost
from exchange.store.shelves import Shelves
from exchange.wallet import Wallet

BATCH_MAX = 128
QUEUE_MAX = 4_096
DEADLINE_SECONDS = 10.0
SPLIT_AFTER = 2
"""Failures of a batch before it is split."""
PATIENCE = 1 / 3
"""The part of the deadline in which a commit is asked for again: the rest is for settling it, and deciding anew."""
_QUOTE_TRIES = 5
_NOT_KNOWN_YET = "the outcome is not known yet; ask again with the same idempotency key"
_Versioned = TypeVar("_Versioned", Wallet, Redemption)

_log = logging.getLogger(__name__)


class Outcome(Struct, frozen=True):
    """A command that was carried out, now or before: its entry, and the wallets and redemption as they now stand.

    `other`: the second wallet, where the entry concerns two.
    """

    entry: Entry
    wallet: Wallet
    redemption: Redemption | None = None
    replayed: bool = False
    other: Wallet | None = None


Answer = Outcome | ExchangeError


@dataclass(slots=True)
class _Job:
    command: Command
    deadline: float
    answer: asyncio.Future[Outcome]
    failures: int = 0
    again: float = 0.0
    """Of one that was set apart: how often it was, and when it is its turn."""


Reads = tuple[FirstRound, SecondRound]


@dataclass(slots=True)
class _Ahead:
    """The next batch, being read while `before` is written; None until that is committed."""

    jobs: list[_Job]
    lane: Lane
    reading: asyncio.Task[Reads]
    before: _Batch | None = None


@dataclass(slots=True)
class _Batch:
    """A batch being decided: the state as its decisions so far have made it, and what they will write.

    `rooms`: the lane's, of those concerned that are capped; `owed`: what they owe more by what was decided, `wanted`:
    what they would, had there been the headroom.
    """

    first: FirstRound
    second: SecondRound
    wallets: dict[str, Wallet]
    references: dict[str, str]
    stocks: dict[str, Stock]
    codes: dict[str, list[tuple[str, bytes]]]
    redemptions: dict[str, Redemption]
    recent: dict[str, Redemption] = field(default_factory=dict)
    rooms: dict[Pair, Room] = field(default_factory=dict)
    owed: dict[Pair, int] = field(default_factory=dict)
    wanted: dict[Pair, int] = field(default_factory=dict)
    changed: dict[str, Wallet] = field(default_factory=dict)
    stepped: dict[str, Redemption] = field(default_factory=dict)
    writes: Writes = field(default_factory=Writes)

    def carried_into(self, reads: Reads, jobs: Sequence[_Job], period: int) -> bool:
        """Bring what was read while this was written up to it; False if only reading again can."""
        first, second = reads
        writes = self.writes
        known = {entry.id for entry in writes.entries}
        between = any(entry.counterpart is not None for entry in writes.entries)
        if between or writes.claims or writes.renamed or writes.codes or any(job.command.id in known for job in jobs):
            return False
        for wallets in (first.wallets, second.wallets):
            wallets.update({
                name: _written(wallet, period) for name, wallet in self.changed.items() if name in wallets
            })  # fmt: skip
        for redemptions in (first.redemptions, second.redemptions):
            redemptions.update({
                name: _written(one, period) for name, one in self.stepped.items() if name in redemptions
            })  # fmt: skip
        first.stocks.update({benefit: self.stocks[benefit] for benefit in writes.stock})
        return True

    def standing(self, wallet: str | None) -> Wallet | None:
        """Return a wallet, or the one that it has become."""
        found = None if wallet is None else self.wallets.get(wallet)
        while found is not None and found.merged_into is not None:
            found = self.wallets.get(found.merged_into)
        return found

    def owe(self, before: Redemption | None, after: Redemption | None, entry: Entry) -> None:
        """Count what a decision makes the capped owe more."""
        if self.rooms:
            for pair, more in change(before, after, entry).items():
                if pair in self.rooms:
                    self.owed[pair] = self.owed.get(pair, 0) + more

    def want(self, beyond: Mapping[Any, int]) -> None:
        """Count what a redemption was refused for."""
        for pair, minor in beyond.items():
            self.wanted[pair] = self.wanted.get(pair, 0) + minor

    def holder(self, entry: Entry) -> Wallet | None:
        """Return the wallet of an entry as it now stands: of one that made a lot, the one in which that is."""
        found = self.standing(entry.wallet)
        if _makes_lot(entry) and found is not None and found.lot(entry.id) is None:
            return next((wallet for wallet in self.wallets.values() if wallet.lot(entry.id) is not None), found)
        return found


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
        self._ahead: _Ahead | None = None
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
        batch = _batch_of(first, second)
        batch.stocks = await self._shelves.stock(first.benefits)
        await self._look_back([command], batch, terms, first.now)
        caps = await self._caps([command], batch)
        headroom = await self._headroom.lefts(caps) if caps else {}
        wallet = batch.standing(self._wallet_of(command.whose, batch.references))
        quote = promise(command, wallet, replace(self._terms(command, batch, terms), headroom=headroom), first.now)
        await self._books.add_quote(quote)
        return quote

    async def _read_for_quote(self, command: Redeem) -> tuple[FirstRound, SecondRound]:
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
                answers = await self._attempt(jobs)
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

    async def _attempt(self, jobs: list[_Job]) -> list[Answer]:
        commands = [job.command for job in jobs]
        lane = await self._lanes.own()
        first, second = await self._taken_ahead(jobs, lane) or await self._read(commands, lane.number)
        await self._lanes.cut_if_due(lane, first, second)
        first.stocks.update(await self._filled_shelves(commands, first, second, lane))
        batch = _batch_of(first, second)
        await self._lanes.leave_if_ahead(lane, first.now)
        now = max(first.now, lane.head.at)
        terms = await self._common_terms(first)
        await self._look_back(commands, batch, terms, now)
        recent = dict(batch.recent)
        batch.rooms = await self._rooms(commands, batch, lane)
        decided = self._decide_all(commands, batch, terms, now)
        while await self._drawn(batch):
            rooms, batch = batch.rooms, _batch_of(first, second)
            batch.recent, batch.rooms = dict(recent), rooms
            decided = self._decide_all(commands, batch, terms, now)
        if batch.writes.entries:
            batch.writes.wallets = list(batch.changed.values())
            batch.writes.redemptions = list(batch.stepped.values())
            batch.writes.headroom = [slice_use(batch.rooms[pair], more) for pair, more in batch.owed.items()]
            self._read_ahead(lane)
            await self._lanes.commit(lane, batch.writes, now)
            if self._ahead is not None:
                self._ahead.before = batch
        else:
            # Nothing to commit, but what the answers rest on must be durable before they leave.
            await self._lanes.renew(lane)
        period = lane.period
        return [_as_written(answer, batch, period) for answer in decided]

    def _read_ahead(self, lane: Lane) -> None:
        """Begin to read the next batch if it is full: a smaller one gains more by waiting for whoever comes."""
        jobs = self._queue[:BATCH_MAX]
        if len(jobs) == BATCH_MAX:
            reading = asyncio.create_task(self._read([job.command for job in jobs], lane.number))
            reading.add_done_callback(_heard)
            self._ahead = _Ahead(jobs, lane, reading)

    async def _taken_ahead(self, jobs: list[_Job], lane: Lane) -> Reads | None:
        """Return what was read ahead for just these, with what was written since, if that can be told."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.before is None or ahead.jobs != jobs or ahead.lane is not lane:
            return None
        with suppress(Conflict, Fault):
            reads = await ahead.reading
            return reads if ahead.before.carried_into(reads, jobs, lane.period) else None
        return None

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

    async def _read(self, commands: Sequence[Command], lane: int = NO_LANE) -> tuple[FirstRound, SecondRound]:
        redeems = [command for command in commands if isinstance(command, Redeem) and command.benefit is not None]
        references = [reference_id(whose) for command in commands for whose in _references(command)]
        guessed = {
            whose.wallet if isinstance(whose, ByWallet) else self.new_wallet_id(whose)
            for command in commands for whose in _wallets_named(command) if whose is not None
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
            for whose in _wallets_named(command)
            if (wallet := self._wallet_of(whose, first.references, new=isinstance(command, Award | Enrol)))
        }
        for entry in first.entries.values():
            wallets |= {entry.wallet} if entry.counterpart is None else {entry.wallet, entry.counterpart}
        wallets |= {redemption.wallet for redemption in first.redemptions.values()}
        replayed = (entry.redemption for entry in first.entries.values() if entry.redemption is not None)
        benefits = {redemption.benefit for redemption in first.redemptions.values()}
        codes = _codes_wanted(commands, first)
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
        awarded = [entry for entry in first.entries.values() if _makes_lot(entry)]
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

    async def _look_back(self, commands: Sequence[Command], batch: _Batch, terms: Terms, now: datetime) -> None:
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

    async def _caps(self, commands: Sequence[Command], batch: _Batch) -> list[Cap]:
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

    async def _rooms(self, commands: Sequence[Command], batch: _Batch, lane: Lane) -> dict[Pair, Room]:
        caps = await self._caps(commands, batch)
        if not caps:
            return {}
        try:
            rooms = await self._headroom.rooms(lane.number, caps)
        except Conflict:
            await self._lanes.find_head(lane)
            raise
        return {room.cap.pair: room for room in rooms}

    async def _drawn(self, batch: _Batch) -> bool:
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

    def _wallet_of(self, whose: Whose, references: dict[str, str], *, new: bool = False) -> str | None:
        if isinstance(whose, ByWallet):
            return whose.wallet
        if whose is None:
            return None
        known = references.get(reference_id(whose))
        return self.new_wallet_id(whose) if known is None and new else known

    def _terms(self, command: Command, batch: _Batch, terms: Terms) -> Terms:
        """Add to the terms that are common to all what this command names."""
        if isinstance(command, Redeem):
            return self._terms_of_taking(command, batch, terms)
        if isinstance(command, Act):
            return self._terms_of_step(command, batch, terms)
        if isinstance(command, LinkMember):
            known = batch.references.get(reference_id(ByReference(command.partner, command.reference)))
            return replace(terms, referenced=known)
        if isinstance(command, Between):
            other = self._wallet_of(command.to, batch.references) or ""
            founding = isinstance(command, Share) and command.what is Sharing.FOUND
            undoing = isinstance(command, Unmerge)
            found = batch.wallets.get(other) if undoing else batch.standing(other)
            return replace(terms, other=Wallet(other) if found is None and founding else found)
        return terms

    def _terms_of_taking(self, command: Redeem, batch: _Batch, terms: Terms) -> Terms:
        benefit = batch.first.benefits.get(command.benefit or "")
        if benefit is None:
            return terms
        wallet = batch.standing(self._wallet_of(command.whose, batch.references))
        whole = () if wallet is None else wallet.whole
        return replace(
            terms, benefit=benefit, stock=batch.stocks.get(benefit.id, Stock(0)),
            quote=batch.first.quotes.get(command.quote or ""),
            recent=[one for one in batch.recent.values() if one.wallet in whole],
            headroom={pair: room.usable - batch.owed.get(pair, 0) for pair, room in batch.rooms.items()},
        )  # fmt: skip

    @staticmethod
    def _terms_of_step(command: Act, batch: _Batch, terms: Terms) -> Terms:
        redemption = batch.redemptions.get(command.redemption or "")
        if redemption is None:
            return terms
        # Of a redemption that this very batch made, the benefit was read with what made it.
        benefit = batch.second.benefits.get(redemption.benefit) or batch.first.benefits.get(redemption.benefit)
        stock = batch.stocks.get(redemption.benefit, Stock(0))
        return replace(terms, benefit=benefit, stock=stock, redemption=redemption)

    @staticmethod
    def _replay(command: Command, batch: _Batch, done: dict[str, Outcome]) -> Answer | None:
        """Return what the command was answered before, or a twin of it earlier in this batch. Refusals are not kept."""
        twin = done.get(command.id)
        entry = batch.first.entries.get(command.id) if twin is None else twin.entry
        if entry is None:
            return None
        if entry.fingerprint != command.fingerprint:
            return IdempotencyConflict(
                "this idempotency key was used with a different input", ("input", "idempotencyKey")
            )
        if twin is not None:
            return replace(twin, replayed=True)
        redemption = batch.second.redemptions.get(entry.redemption or "")
        wallet, other = batch.holder(entry), batch.standing(entry.counterpart)
        return Outcome(entry, wallet or batch.wallets[entry.wallet], redemption, replayed=True, other=other)

    def _decide_all(self, commands: Sequence[Command], batch: _Batch, terms: Terms, now: datetime) -> list[Answer]:
        done: dict[str, Outcome] = {}
        decided: list[Answer] = []
        for command in commands:
            answer = self._replay(command, batch, done)
            if answer is None:
                answer = self._decide(command, batch, self._terms(command, batch, terms), now)
                if isinstance(answer, Outcome):
                    done[command.id] = answer
                elif isinstance(answer, BenefitUnavailable):
                    batch.want(answer.beyond)
            decided.append(answer)
        return decided

    def _decide(self, command: Command, batch: _Batch, terms: Terms, now: datetime) -> Answer:
        named = terms.redemption
        new = isinstance(command, Award | Enrol | AdjustLine)
        wallet_id = self._wallet_of(command.whose, batch.references, new=new) if named is None else named.wallet
        wallet = batch.standing(wallet_id)
        if wallet is None and wallet_id is not None and new:
            wallet = Wallet(wallet_id)
        try:
            decision = decide(command, wallet, terms, now, secrets.token_bytes(SALT_BYTES))
        except Refusal as refusal:
            return refusal
        except StaleBook as error:
            raise Conflict("an agreement was added between two reads") from error
        return self._record(decision, batch, terms)

    @staticmethod
    def _record(decision: Decision, batch: _Batch, terms: Terms) -> Outcome:
        """Fold a decision into the batch's state and into what will be written."""
        writes, wallet, redemption = batch.writes, decision.wallet, decision.redemption
        for written in (wallet,) if decision.other is None else (wallet, decision.other):
            batch.wallets[written.id] = batch.changed[written.id] = written
        writes.entries.append(decision.entry)
        if redemption is None and decision.entry.debits:
            batch.owe(None, None, decision.entry)
        if decision.claims is not None:
            batch.references[reference_id(decision.claims)] = wallet.id
            writes.claims.append((decision.claims, wallet.id))
        if decision.renamed_to is not None:
            for whose in decision.renamed:
                batch.references[reference_id(whose)] = decision.renamed_to
                writes.renamed.append((whose, decision.renamed_to))
        if redemption is not None:
            pool = batch.codes.get(redemption.benefit, [])
            codes, batch.codes[redemption.benefit] = pool[: decision.codes], pool[decision.codes :]
            if len(codes) < decision.codes:
                raise Conflict("codes were taken between two reads")
            if codes:
                writes.codes += [(code, redemption.id) for code, _ in codes]
                redemption = replace(redemption, codes=tuple(cipher for _, cipher in codes))
            batch.owe(terms.redemption, redemption, decision.entry)
            batch.redemptions[redemption.id] = batch.stepped[redemption.id] = batch.recent[redemption.id] = redemption
            batch.stocks[redemption.benefit] = decision.stock.applied(terms.stock)
            before, _ = writes.stock.get(redemption.benefit, (StockChange(), False))
            writes.stock[redemption.benefit] = (before.plus(decision.stock), terms.stock.offered is not None)
        return Outcome(decision.entry, wallet, redemption, other=decision.other)


def _makes_lot(entry: Entry) -> bool:
    return any(posting.lot == entry.id for posting in entry.postings)


def _wallets_named(command: Command) -> list[Whose]:
    return [command.whose, command.to] if isinstance(command, Between) else [command.whose]


def _references(command: Command) -> list[ByReference]:
    found = [whose for whose in _wallets_named(command) if isinstance(whose, ByReference)]
    if isinstance(command, LinkMember):
        found.append(ByReference(command.partner, command.reference))
    return found


def _batch_of(first: FirstRound, second: SecondRound) -> _Batch:
    return _Batch(
        first, second, dict(second.wallets), dict(first.references), second.stocks | first.stocks,
        {benefit: list(codes) for benefit, codes in second.codes.items()}, dict(first.redemptions),
    )  # fmt: skip


def _codes_wanted(commands: Sequence[Command], first: FirstRound) -> dict[str, int]:
    """Return how many codes of each benefit's pool the commands could take at most."""
    wanted: dict[str, int] = {}
    for command in commands:
        if command.id in first.entries:
            continue
        if isinstance(command, Redeem) and not isinstance(command, Reserve):
            benefit = first.benefits.get(command.benefit or "")
            if benefit is not None and benefit.fulfilment is Fulfilment.INSTANT_CODE:
                wanted[benefit.id] = wanted.get(benefit.id, 0) + command.quantity
        elif isinstance(command, Act) and command.step is Step.CONFIRM:
            # Whether it is fulfilled by codes is read beside them; other benefits have an empty pool.
            redemption = first.redemptions.get(command.redemption or "")
            if redemption is not None:
                wanted[redemption.benefit] = wanted.get(redemption.benefit, 0) + redemption.quantity
    return wanted


def _as_written(answer: Answer, batch: _Batch, period: int) -> Answer:
    """Return the outcome with its wallet and redemption as the whole batch left them."""
    if not isinstance(answer, Outcome):
        return answer
    redemption = answer.redemption
    stepped = None if redemption is None else batch.stepped.get(redemption.id)
    if stepped is not None:
        redemption = _written(stepped, period)

    def as_left(wallet: Wallet) -> Wallet:
        changed = batch.changed.get(wallet.id)
        return wallet if changed is None else _written(changed, period)

    other = None if answer.other is None else as_left(answer.other)
    return Outcome(answer.entry, as_left(answer.wallet), redemption, answer.replayed, other)


def _written(value: _Versioned, period: int) -> _Versioned:
    """Return a wallet or redemption as a commit leaves it."""
    return replace(value, version=value.version + 1, period=period)


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
