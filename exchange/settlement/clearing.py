"""Settlement, as the gateway and the command line ask for it: close a period, and read what came of it.

The figures of an open or closing period are provisional: what its blocks add up to so far. Those of a closed one are
final. Either way what was added up once is kept, and only blocks behind it are read.

`partner` narrows an answer to that partner's own rows; nothing of another's can be read through it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, closing, suppress
from datetime import datetime, timedelta
from itertools import combinations, islice

from exchange.agreements import Agreement, AgreementBook
from exchange.errors import FiguresDisagree, NotFound, ValidationFailed
from exchange.journal import EXCHANGE, SALT_BYTES, Block, BlockKind, EntryKind, Sums, milliseconds
from exchange.keyring import BadToken, Keyring
from exchange.settlement import netting
from exchange.settlement.barter import Balance
from exchange.settlement.netted import Netted, Policy, net
from exchange.settlement.netting import BilateralPosition, Payment, Position
from exchange.settlement.period import Period, PeriodStatus, period_root, ranges
from exchange.settlement.plans import Contract
from exchange.settlement.simulation import Simulated, Simulation
from exchange.settlement.statement import Drafting, Place, Statement, StatementLine, StatementStatus, document, lines_of
from exchange.store.books import Books
from exchange.store.connection import Database
from exchange.store.lines import Lines
from exchange.store.nettings import RecordedNettings
from exchange.store.periods import Periods
from exchange.store.running import RunningSums
from exchange.store.spending import RETURNING, Progress, Returns, Spending

PAGE = 20
_SUMS_KEPT = 8
_RETURNS_AT_ONCE = 200
_HASHED_AT_ONCE = 200
"""Entries whose lines are hashed before others of the process have their turn: some milliseconds."""
_LOOK_AGAIN_SECONDS = 0.01
_BUSY = timedelta(seconds=0.5)
"""A lane with a block as new as this is thought to be written to."""
_OWNERS_FIRST_SECONDS = 0.2
"""How long the owners of such lanes may take to cut them: two or three batches."""
_NUMBER = ("input", "number")
ENTRY_NAME = "Entry:"
"""What the sealed identifier of an entry begins with."""


class Settlement:
    """The settlement of one exchange."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._periods = Periods(db)
        self._nettings = RecordedNettings(db)
        self._settled_lines = Lines(db)
        self._books = Books(db)
        self._spending = Spending(db)
        self._keyring = keyring
        self._running: dict[int, RunningSums] = {}

    async def create_indexes(self) -> None:
        """Create what is read by. Idempotent; `Books.create` comes first."""
        await self._periods.create_indexes()

    # ------------------------------------------------------------ closing

    async def close(self, number: int) -> Period:
        """Close a period and draft its statements; the theory is `period`'s. Closing again is the same success.

        NotFound when there is no such period; ValidationFailed while the one before is still closing;
        FiguresDisagree when blocks and entries say different things: the period is closed, some drafts are missing.
        """
        period = await self._existing(number)
        if period.status is PeriodStatus.OPEN:
            await self.mark(number)
            period = await self._existing(number)
        if period.status is PeriodStatus.CLOSING:
            await self.cut_lanes(number)
            await self.seal(number)
        if period.statements is None:
            await self.draft_statements(number)
        if period.status is not PeriodStatus.SETTLED:
            await self._periods.settle(number)  # the last was paid while one was still to be drafted
        return await self._existing(number)

    async def mark(self, number: int) -> bool:
        """Step 1: from now on no lane can begin in the period. False: somebody was faster."""
        before = await self._periods.get(number - 1)
        if before is not None and not before.closed:
            raise ValidationFailed(f"period {number - 1} is still closing: close it first", _NUMBER)
        return await self._periods.mark(number)

    async def cut_lanes(self, number: int) -> None:
        """Step 2: every lane whose head is still in the period gets its cut, unless its owner is faster.

        The owner of a lane that is being written to has a moment for it: a cut of ours behind its head would take the
        place of the block that it is about to commit, and all who wait for that would be decided again.
        """
        clock = asyncio.get_running_loop()
        patient_until = clock.time() + _OWNERS_FIRST_SECONDS
        lanes = await self._periods.lanes()
        while lanes:
            patient = clock.time() < patient_until
            now = await self._periods.now()
            lanes = [lane for lane in lanes if not await self._cut(lane, number, now, patient=patient)]
            if lanes:
                await asyncio.sleep(_OWNERS_FIRST_SECONDS / 4 if patient else _LOOK_AGAIN_SECONDS)

    async def _cut(self, lane: int, number: int, now: datetime, *, patient: bool) -> bool:
        """Cut a lane that is not cut yet; False: look again."""
        head = await self._books.head(lane)
        if head.period_after > number:
            return True
        if patient and now - head.at < _BUSY:
            return False
        # If another block takes the place, it is looked for again when a majority has it.
        return await self._books.append(_cut_after(head, max(now, head.at)))

    async def seal(self, number: int) -> None:
        """Step 3: record the ranges that the cuts end, and their root."""
        before = await self._periods.get(number - 1)
        ended = {} if before is None else {each.lane: each.last for each in before.ranges}
        cuts = await self._periods.empty_blocks(number, BlockKind.CUT)
        begun = [block.lane for block in await self._periods.empty_blocks(number, BlockKind.GENESIS)]
        cut = ranges(cuts, ended, begun)
        await self._periods.seal(number, cut, period_root(number, cut))

    async def draft_statements(self, number: int) -> None:
        """Step 4: draft what is not drafted yet. One that cannot be does not keep the others from being."""
        period = await self._existing(number)
        late_before = await self._late_before(number)
        drafted = {statement.partner for statement in await self._periods.statements(number)}
        drafting = {
            partner: Drafting(number, partner, late_before, self._identify)
            for partner in await self._periods.settling(number) if partner not in drafted
        }  # fmt: skip
        await self._take_lines(period, drafting)
        sums = await self._periods.sums(number)
        expected = netting.line_sums(sums)
        # The partners by either computation: one that has sums and no entries would be missed otherwise.
        for partner in expected.keys() - drafting.keys() - drafted:
            drafting[partner] = Drafting(number, partner, late_before, self._identify)
        own: dict[str, list[Position]] = {}
        for position in netting.positions(sums):
            own.setdefault(position.partner, []).append(position)
        made: list[Statement] = []
        failures: list[str] = []
        for partner, each in sorted(drafting.items()):
            entries = await self._periods.count_settling(number, partner)
            try:
                made.append(each.finished(period.root or "", own.get(partner, ()), expected.get(partner, {}), entries))
            except FiguresDisagree as failure:
                failures.append(failure.message)
        await self._periods.add_statements(made)
        if failures:
            raise FiguresDisagree("\n".join(failures))
        await self._periods.all_drafted(number, len(drafted) + len(drafting))

    async def _take_lines(self, period: Period, drafting: Mapping[str, Drafting]) -> None:
        """Read each entry of the period once, and give it to every statement that has lines of it."""
        if not drafting:
            return
        async with aclosing(self._settled_lines.of(period.number, period.ranges)) as read:
            async for entries in read:
                for begin in range(0, len(entries), _HASHED_AT_ONCE):
                    for _, entry, partners in entries[begin : begin + _HASHED_AT_ONCE]:
                        at = milliseconds(entry.at)
                        for partner in partners:
                            if (whose := drafting.get(partner)) is not None:
                                whose.take(entry, at)
                    await asyncio.sleep(0)

    # ------------------------------------------------------------ periods and their figures

    async def period(self, number: int | None = None) -> Period | None:
        """Return a period; without a number the open one."""
        return await self._periods.get(number)

    async def periods(self, after: int | None = None, limit: int = PAGE) -> list[Period]:
        """Return periods, the newest first, from after (that is, older than) a number."""
        return await self._periods.page(after, limit)

    async def statuses(self, number: int, partner: str | None = None) -> list[StatementStatus]:
        """Return where the period's statements stand, each status once."""
        return await self._periods.statuses(number, partner)

    async def entries(self, number: int, partner: str | None = None) -> int:
        """Return how many entries are in the period; of a partner, those with statement lines of its own."""
        if partner is None:
            return await self._periods.count_entries(number)
        return await self._periods.count_settling(number, partner)

    async def positions(self, number: int, partner: str | None = None) -> list[Position]:
        """Return the net positions, by party and currency; together they sum to zero."""
        everybody = netting.positions(await self._sums(number))
        return [row for row in everybody if partner in (None, row.partner)]

    async def bilateral(self, number: int, partner: str | None = None) -> list[BilateralPosition]:
        """Return who owes whom, gross, by debtor, creditor and currency."""
        everybody = netting.bilateral(await self._sums(number))
        return [row for row in everybody if partner in (None, row.debtor, row.creditor)]

    async def payment_plan(self, number: int, partner: str | None = None) -> list[Payment]:
        """Return the payments of a period: its recorded netting's, else those after which every position is zero."""
        recorded = await self._nettings.get(number)
        if recorded is None:
            return netting.payment_plan(await self.positions(number, partner))
        return [payment for payment in recorded.payments if partner in (None, payment.from_, payment.to)]

    async def netted(
        self, number: int, policy: Policy, opening: Iterable[Payment] = (), balances: Iterable[Balance] = ()
    ) -> Netted:
        """Return the period netted under a policy, with all that was carried into it; NotFound when there is none.

        ValidationFailed when the policy has no plan for it.
        """
        await self._existing(number)
        # A plan can take its time, and others are answered meanwhile.
        return await asyncio.to_thread(net, await self._sums(number), policy, opening, balances)

    async def contracts(self, number: int, parties: Iterable[str] = ()) -> frozenset[Contract]:
        """Return who of a period's partners, and of more parties, may pay each other.

        Those with an agreement now, one way or the other.
        """
        partners = {position.partner for position in await self.positions(number)}
        partners.update(parties)
        book = AgreementBook(await self._spending.agreements())
        now = await self._periods.now()
        return frozenset(
            (one, other)
            for one, other in combinations(sorted(partners - {EXCHANGE}), 2)
            if book.accepts(one, other, now) or book.accepts(other, one, now)
        )

    # ------------------------------------------------------------ simulation

    async def simulate(
        self, proposed: Agreement, number: int | None = None, progress: Progress = lambda _done, _total: None
    ) -> Simulated:
        """Return what a period, without a number the last closed one, would have cost under an agreement.

        The agreement's id, version and moment count for nothing. Of a period that is not closed the figures are those
        so far. NotFound when there is no such period.
        """
        period = await (self._spending.last_closed() if number is None else self._periods.get(number))
        if period is None:
            raise NotFound("no period is closed yet: name the open one" if number is None else "no such period")
        spans = await self._spending.spans(period)
        simulation = Simulation(await self._spending.agreements(), proposed)
        with closing(Returns()) as returns:
            async with aclosing(self._spending.entries(period.number, spans, progress)) as read:
                async for entries in read:
                    confirmed = [entry.redemption or "" for entry in entries if entry.kind is EntryKind.CONFIRM]
                    begun = await self._spending.begun(period.number, confirmed)
                    for entry in entries:
                        if entry.kind in RETURNING:
                            returns.add(entry)
                        else:
                            before = entry.kind is EntryKind.CONFIRM and entry.redemption not in begun
                            simulation.take(entry.provider or "", entry.debits, promised_before=before)
            back = returns.by_redemption()
            while some := list(islice(back, _RETURNS_AT_ONCE)):
                begun = await self._spending.begun(period.number, (each.redemption for each in some))
                originals = await self._spending.originals(begun)
                for redemption, provider, debits in some:
                    simulation.give_back(provider, debits, originals.get(redemption))
        return simulation.result(period)

    # ------------------------------------------------------------ statements

    async def statement(self, statement: str, partner: str | None = None) -> Statement | None:
        """Return a statement by its id."""
        found = await self._periods.statement(statement)
        return found if found is not None and partner in (None, found.partner) else None

    async def statements(
        self, number: int, after: str | None = None, limit: int = PAGE, partner: str | None = None
    ) -> list[Statement]:
        """Return the period's statements by partner, from after a partner on."""
        return await self._periods.statements(number, after, limit, partner)

    async def period_of(self, statement: Statement) -> Period:
        """Return the period that a statement is of."""
        return await self._existing(statement.period)

    async def lines(self, statement: Statement, after: Place | None = None, limit: int = PAGE) -> list[StatementLine]:
        """Return up to `limit` lines behind the place `after`; there are `statement.line_count` in all."""
        late_before = await self._late_before(statement.period)
        page: list[StatementLine] = []
        # An entry has a line at least, so `limit` entries are enough, and one more for the entry of `after`.
        async with aclosing(self._lines(statement.period, statement.partner, late_before, after, limit + 1)) as lines:
            async for line in lines:
                page.append(line)
                if len(page) == limit:
                    break
        return page

    async def document(self, statement: Statement) -> AsyncGenerator[bytes]:
        """Yield the canonical JSON document, made anew from the journal; its SHA-256 is the statement's hash."""
        lines = await self.all_lines(statement)
        async for piece in document(statement.period, statement.partner, statement.root, statement.totals, lines):
            yield piece

    async def all_lines(self, statement: Statement) -> AsyncGenerator[StatementLine]:
        """Return an iterator over all its lines, in order; close it if you stop half-way."""
        return self._lines(statement.period, statement.partner, await self._late_before(statement.period))

    # ------------------------------------------------------------ within

    async def _existing(self, number: int) -> Period:
        period = await self._periods.get(number)
        if period is None:
            raise NotFound("no such period", _NUMBER)
        return period

    async def _sums(self, number: int) -> Sums:
        """Return what the period adds up to by now: of its blocks those are read that no call before has read."""
        running = self._running.get(number)
        if running is None:
            running = await self._periods.running_sums(number)
            while len(self._running) >= _SUMS_KEPT:
                del self._running[next(iter(self._running))]
            running = self._running.setdefault(number, running)
        if running.whole is not None:
            return running.whole
        period = await self._periods.get(number)
        return await running.so_far(await self._periods.lanes(), closed=period is not None and period.closed)

    async def _late_before(self, number: int) -> datetime | None:
        before = await self._periods.get(number - 1)
        return None if before is None else before.marked_at

    async def _lines(
        self, number: int, partner: str, late_before: datetime | None, after: Place | None = None, entries: int = 0
    ) -> AsyncGenerator[StatementLine]:
        since = None if after is None else after.entry
        # Closed when a reader goes away half-way, so that the cursor behind it does not stay open.
        async with aclosing(self._periods.with_lines(number, partner, since, entries)) as found:
            async for place, entry in found:
                for line in lines_of(entry, place, partner, late_before, self._identify):
                    if after is None or line.place > after:
                        yield line

    def _identify(self, entry: str, partner: str) -> str:
        return entry_name(self._keyring, entry, partner)


def entry_name(keyring: Keyring, entry: str, partner: str) -> str:
    """Return the partner's own identifier of an entry, as its statement has it."""
    return keyring.seal(f"{ENTRY_NAME}{entry}", partner)


def _cut_after(head: Block, at: datetime) -> Block:
    return Block.seal(
        lane=head.lane, seq=head.seq + 1, kind=BlockKind.CUT, period=head.period_after, prev=head.hash, at=at,
        salt=secrets.token_bytes(SALT_BYTES),
    )  # fmt: skip


def entry_behind(keyring: Keyring, name: str, partners: Iterable[str]) -> str:
    """Return the id of the entry that one of these partners knows as `name`; else the name itself."""
    for partner in partners:
        with suppress(BadToken):
            return keyring.unseal(name, partner).removeprefix(ENTRY_NAME)
    return name
