"""`exchange check`: proves on a live database that the exchange's invariants hold.

Each is a sentence (`proof.TITLES`); a check ends with one `Proof` for each, which says how much was judged and what
is wrong. Nothing is repaired and nothing is written.

How it can be right while members redeem. Blocks and entries are never changed, and everything else names the block
or the version that it was written by. So the order of reading does it:

1. wallets, references, periods and the redemptions that were written more than once, as they come, by majority;
2. one snapshot: each lane's head, stock, codes, headroom, how many redemptions there are. What was read before it is
   the work of blocks up to those heads;
3. the journal up to those heads, range by range, at leisure.

A wallet or redemption is then held against the fold of its entries *up to its own version*, stock against the
redemptions *up to the heads of its snapshot*, a closed period against the blocks that its cuts end. Entries behind a
head are not judged, except that a block must hold them.

Most redemptions are made and done in one block. One that is still at its first version when its range is read can have
nothing in any other block up to the heads: it is judged at once, with nothing to join. One that was written a second
time since the check began is held against its entries the next time.

How much memory it takes: one range of blocks (of about `ENTRIES_AT_ONCE`), one wallet with its history, the
sums per period, a number per benefit, the disputes, what banks call the movements in their files. What has to be joined
(events by wallet, acts of the other redemptions, codes) goes through a temporary SQLite file that grows with the
journal.

Everything is read by its types first (`Audit`), so that what is spoiled is named and does not end the check.

What it cannot see. An entry names the agreement version by which it was priced, but no hash holds what that version
says: a price changed by so little that no row comes out otherwise stays unseen. The same goes for what partners say of
themselves: their rules (stops of partners aside), and of their benefits all but stock and codes. And while a cap's pool
is being counted nothing can be said of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Final, TypeVar

from exchange.agreements import Agreement, AgreementBook
from exchange.journal import Account, Block, EntryKind, Sums
from exchange.keyring import Keyring
from exchange.proof import Proof, Proofs, Wrong
from exchange.proof.banking import BankJudge
from exchange.proof.disputes import DisputeJudge
from exchange.proof.history import Event, Holds, differences, fold, unheld
from exchange.proof.lanes import LaneJudge, Placed
from exchange.proof.money import owed
from exchange.proof.nettings import NettingJudge
from exchange.proof.redemptions import BEGINNINGS, STEPS, Act, Life, unlike
from exchange.proof.signoff import LogJudge
from exchange.proof.stops import Stops
from exchange.redemption import Redemption, RedemptionStatus
from exchange.settlement import netting
from exchange.settlement.clearing import Settlement
from exchange.settlement.period import Period, PeriodStatus, Range, period_root
from exchange.settlement.recorded import RecordedNetting
from exchange.settlement.statement import Statement
from exchange.store.audit import UNREADABLE, Audit, Found, HeadroomRow, Snapshot, StockRow
from exchange.store.connection import Database
from exchange.store.documents import redemption_bytes
from exchange.store.scratch import Scratch
from exchange.wallet import Wallet

_T = TypeVar("_T")

ENTRIES_AT_ONCE: Final = 2_000
"""About so many in a range: what is held longer, Python's collector looks through again and again."""
_BLOCKS_AT_ONCE: Final = 1_000
"""At most so many in a range, however few entries they have."""
_FIRST_BLOCKS: Final = 16
_GIVING_CODES: Final = (EntryKind.REDEEM, EntryKind.CONFIRM)
_POINTS: Final = (Account.ISSUED, Account.GOODWILL, Account.REDEEMED, Account.EXPIRED, Account.WITHDRAWN)
"""An issuer's accounts of points: what they do not hold, its lots do."""

Progress = Callable[[str, int, int | None], None]
"""Told what is being read, how much of it is done, and of how much (None: not known)."""


async def check(db: Database, keyring: Keyring | None = None, progress: Progress | None = None) -> list[Proof]:
    """Prove every invariant; returns one proof for each, in order. StoreUnavailable when the database goes away.

    `keyring`: the exchange's; without it statements are not made anew to compare their hashes.
    """
    settlement = None if keyring is None else Settlement(db, keyring)
    return await _Examination(Audit(db), settlement, progress or (lambda *_: None)).run()


class _Examination:
    """One check: what was read so far, and the proofs that come of it."""

    def __init__(self, audit: Audit, settlement: Settlement | None, progress: Progress) -> None:
        self._audit = audit
        self._settlement = settlement
        self._progress = progress
        self._proofs = Proofs()
        self._scratch = Scratch()
        self._agreements: dict[str, Agreement] = {}
        self._book = AgreementBook()
        self._stops = Stops()
        self._periods: list[Period] = []
        self._stock: list[StockRow] = []
        self._sold: Counter[str] = Counter()
        self._reserved: Counter[str] = Counter()
        self._headroom: list[HeadroomRow] = []
        self._promised: Counter[tuple[str, str]] = Counter()
        self._open_holds = 0
        self._reservations = 0
        self._redemptions = 0
        self._lives = 0
        self._units: Counter[str] = Counter()
        self._accounts: Counter[tuple[str, Account]] = Counter()
        self._remaining: Counter[str] = Counter()
        self._by_blocks: dict[int, Sums] = {}
        self._by_entries: dict[int, Counter[tuple[str, str]]] = {}
        self._by_lines: dict[int, Counter[tuple[str, str]]] = {}
        self._lines: Counter[tuple[int, str]] = Counter()
        self._lanes: dict[int, LaneJudge] = {}
        self._disputes = DisputeJudge({})
        self._nettings: list[RecordedNetting] = []

    async def run(self) -> list[Proof]:
        """Read, judge, and return the proofs."""
        try:
            await self._read_state()
            heads = await self._read_snapshot()
            # After the snapshot: whatever a redemption in the journal cites had been added by then.
            agreements = self._readable(7, "agreement", *await self._audit.found_agreements())
            self._agreements = {agreement.id: agreement for agreement in agreements}
            self._book = AgreementBook(agreements)
            self._stops = Stops(self._readable(3, "rules", *await self._audit.found_rules()))
            await self._judge_journal(heads)
            await self._judge_strays(heads)
            await self._judge_wallets()
            await self._judge_redemptions()
            await self._judge_references()
            self._judge_totals()
            self._judge_stock()
            self._judge_headroom()
            await self._judge_periods()
            self._proofs.add(Wrong(14, what) for what in self._disputes.end())
            await self._judge_nettings()
        finally:
            self._scratch.close()
        return self._proofs.all()

    # ------------------------------------------------------------ reading what changes

    async def _read_state(self) -> None:
        # Before the periods and the journal: what is netted in what is read here is closed there.
        self._nettings = self._readable(15, "netting of period", *await self._audit.found_nettings())
        self._periods = self._readable(9, "period", *await self._audit.found_periods())
        done, total = 0, await self._audit.wallet_count()
        async for found in self._audit.wallets():
            for wallet in self._readable(3, "wallet", found):
                self._scratch.add_wallet(wallet)
            done += 1
            self._progress("wallets", done, max(done, total))
        async for reference in self._audit.references():
            for name in self._readable(3, "reference", reference):
                self._scratch.add_reference(reference.id, name)
        async for redemption in self._audit.redemptions_rewritten():
            self._readable(5, "redemption", redemption)
            self._scratch.add_redemption(redemption.id, redemption.value)

    def _readable(self, invariant: int, what: str, *found: Found[_T]) -> list[_T]:
        """Return what could be read, and say of the rest, or of what is odd in it, that it breaks an invariant."""
        self._proofs.add(Wrong(invariant, f"{what} {one.id} is unsound: {one.error}") for one in found if one.error)
        return [one.value for one in found if one.value is not None]

    async def _read_snapshot(self) -> dict[int, int]:
        async with self._audit.snapshot() as snapshot:
            heads = await snapshot.heads()
            self._redemptions = await snapshot.redemption_count()
            self._stock = self._readable(11, "stock of", *[row async for row in snapshot.stock()])
            self._headroom = self._readable(12, "headroom of", *[row async for row in snapshot.headroom()])
            await self._judge_sign_offs(snapshot)
            async for found in snapshot.claims():
                for claim in self._readable(11, "code", found):
                    self._scratch.add_claim(*claim)
        return heads

    async def _judge_sign_offs(self, snapshot: Snapshot) -> None:
        """Follow the log of one moment, and hold the statements of that moment against it."""
        statements, periods = await snapshot.sign_offs()
        # What cannot be read is told where statements and periods are judged.
        nettings = [one.value for one in await snapshot.nettings() if one.value is not None]
        judge = LogJudge((one.value for one in statements if one.value is not None), nettings)
        self._proofs.judged(13, len(statements))
        async for found in snapshot.records():
            self._proofs.judged(13)
            for record in self._readable(13, "record of the sign-off", found):
                self._proofs.add(Wrong(13, what) for what in judge.take(record))
        self._proofs.add(Wrong(13, what) for what in judge.end(one.value for one in periods if one.value is not None))
        # Of the same moment as the heads: a dispute is upheld before its adjustment is in the journal, and says that it
        # was carried out after.
        self._disputes = DisputeJudge({one.value.id: one.value.hash for one in statements if one.value is not None})
        async for dispute in snapshot.disputes():
            self._proofs.judged(14)
            for each in self._readable(14, "dispute", dispute):
                self._proofs.add(Wrong(14, what) for what in self._disputes.add(each))
        bank = BankJudge(one.value for one in statements if one.value is not None)
        async for reconciled in snapshot.reconciliations():
            self._proofs.judged(16)
            for filed in self._readable(16, "record of the reconciliation", reconciled):
                self._proofs.add(Wrong(16, what) for what in bank.take(filed))

    # ------------------------------------------------------------ the journal

    async def _judge_journal(self, heads: dict[int, int]) -> None:
        done, total = 0, sum(heads.values()) + len(heads)
        for lane, head in sorted(heads.items()):
            judge = self._lanes[lane] = LaneJudge(lane)
            async with aclosing(self._ranges(lane, head)) as ranges:
                async for blocks, placed in ranges:
                    await self._judge_range(judge, blocks, placed)
                    done += len(blocks)
                    self._progress("blocks", done, max(done, total))

    async def _ranges(self, lane: int, head: int) -> AsyncGenerator[tuple[list[Found[Block]], list[Placed]], None]:
        """Yield a lane's blocks and the entries that say they lie there; the next range is read meanwhile."""

        async def read(first: int) -> tuple[list[Found[Block]], list[Placed], int]:
            last = min(first + at_once - 1, head)
            return await self._audit.blocks(lane, first, last), await self._audit.entries(lane, first, last), last

        at_once = _FIRST_BLOCKS
        reading = asyncio.create_task(read(0))
        try:
            while True:
                blocks, placed, last = await reading
                # As many as hold so many entries, if they are like these.
                at_once = min(_BLOCKS_AT_ONCE, at_once * ENTRIES_AT_ONCE // max(len(placed), 1) or 1)
                if last < head:
                    reading = asyncio.create_task(read(last + 1))
                yield blocks, placed
                if last == head:
                    return
        finally:
            reading.cancel()

    async def _judge_range(self, judge: LaneJudge, blocks: list[Found[Block]], placed: list[Placed]) -> None:
        entries = [one.entry for one in placed if one.entry is not None]
        begun = [entry.redemption or entry.id for entry in entries if entry.kind in BEGINNINGS]
        written, acts = await asyncio.gather(
            self._audit.redemptions_written_once(begun), self._judge_blocks(judge, blocks, placed)
        )
        await self._judge_acts(acts, written)

    async def _judge_blocks(
        self, judge: LaneJudge, blocks: list[Found[Block]], placed: list[Placed]
    ) -> dict[str, list[Act]]:
        """Judge blocks and the entries in them; returns what these mean to redemptions."""
        by_seq: dict[int, list[Placed]] = {}
        for one in placed:
            by_seq.setdefault(one.seq, []).append(one)
        for found in blocks:
            self._proofs.judged(9)
            for block in self._readable(9, "block", found):
                self._proofs.add(judge.judge(block, by_seq.pop(block.seq, [])))
                self._by_blocks.setdefault(block.period, Sums()).add(block.sums)
            # So that what is being read meanwhile gets on.
            await asyncio.sleep(0)
        for seq, entries in by_seq.items():
            self._proofs.add(Wrong(9, f"entry {one.id} is of block {seq} of lane {judge.lane}, which is not there")
                             for one in entries)  # fmt: skip
        acts: dict[str, list[Act]] = {}
        for one in placed:
            act = self._judge_entry(one)
            if act is not None:
                acts.setdefault(act.entry.redemption or act.entry.id, []).append(act)
        return acts

    def _judge_entry(self, placed: Placed) -> Act | None:
        """Judge an entry by itself, and keep what it means to a wallet; returns what it means to a redemption."""
        proofs, entry = self._proofs, placed.entry
        proofs.judged(1)
        proofs.judged(5)
        if entry is None:
            proofs.add([Wrong(1, f"entry {placed.id} cannot be read: {placed.error}")])
            return None
        place = (placed.lane, placed.seq, placed.offset)
        step = entry.kind in BEGINNINGS or entry.kind in STEPS
        try:
            self._scratch.add_events(Event.both(entry, place, placed.period))
        except UNREADABLE as error:
            proofs.add([Wrong(3, f"entry {entry.id} does not say what it should: {error}")])
        proofs.judged(14, int(self._disputes.take(entry, placed.period)))
        if not step:
            proofs.add(owed(entry, self._agreements, self._book))
            proofs.require(entry.redemption is None, 5, f"entry {entry.id} is about a redemption, and is no step of it")
        settling = entry.settling
        if placed.settles != settling:
            filed = f"is filed under the statements of {placed.settles}, it is for {settling}"
            proofs.add([Wrong(10, f"entry {entry.id} {filed}")])
        posted = self._by_entries.setdefault(placed.period, Counter())
        for posting in entry.postings:
            self._units[posting.unit] += posting.amount
            if posting.unit.startswith("points:"):
                self._accounts[posting.party, posting.account] += posting.amount
            else:
                posted[posting.party, posting.unit] += posting.amount
        lines = self._by_lines.setdefault(placed.period, Counter())
        for partner in settling:
            for line in entry.lines(partner):
                lines[partner, line.currency] += line.gross_minor - line.fee_minor
                self._lines[placed.period, partner] += 1
        return Act(entry, place, placed.period) if step else None

    async def _judge_acts(self, acts: dict[str, list[Act]], written: set[bytes]) -> None:
        """Judge the redemptions that were `written` once, all in this range; keep what others are joined of."""
        for name, some in list(acts.items()):
            life, wrong = self._lived(name, some)
            made = _written(life)
            if made in written:
                # What its entries make of it, to the byte: there is nothing to read.
                written.remove(made)
                self._judged(life, acts.pop(name), wrong)
        for found in map(self._audit.redemption_read, written):
            self._readable(5, "redemption", found)
            self._judge_life(found.id, acts.pop(found.id), found.value)
            self._scratch.add_codes(found.id, () if found.value is None else found.value.codes)
        await self._keep_acts(acts)

    async def _keep_acts(self, acts: dict[str, list[Act]]) -> None:
        """Keep what has to be joined with acts of other blocks, or with what was stored before."""
        for name, some in acts.items():
            for act in some:
                try:
                    self._scratch.add_act(name, act)
                except UNREADABLE as error:
                    self._proofs.add([Wrong(3, f"entry {act.entry.id} does not say what it should: {error}")])
        # The codes of what was redeemed by then: they come with it and never change afterwards.
        redeemed = [name for name, some in acts.items() if any(act.entry.kind in _GIVING_CODES for act in some)]
        for found in (await self._audit.redemptions_of(redeemed)).values():
            if found.value is not None:
                self._scratch.add_codes(found.id, found.value.codes)

    async def _judge_strays(self, heads: dict[int, int]) -> None:
        """Entries behind a head, or of a lane that has none, must lie in a block that came since."""
        strays = {
            lane: seq for lane, seq in (await self._audit.lanes_of_entries()).items() if seq > heads.get(lane, -1)
        }
        now = await self._audit.heads() if strays else {}
        for lane, seq in strays.items():
            sound = seq <= now.get(lane, -1)
            self._proofs.require(sound, 9, f"an entry says block {seq} of lane {lane}, which is not there")

    # ------------------------------------------------------------ wallets

    async def _judge_wallets(self) -> None:
        missing: list[str] = []
        for wallet, stored, events in self._scratch.histories():
            for number in (2, 3, 6):
                self._proofs.judged(number)
            version = 0 if stored is None else stored.version
            holds: Holds = {}
            until = (event for event in events if event.version <= version)
            folded, wrong = self._folded(Wallet(wallet), until, holds)
            if stored is None:
                missing.append(wallet)
            else:
                wrong += differences(stored, folded)
                wrong += unheld(stored, holds)
                self._proofs.judged(8)
            since = (event for event in events if event.version > version)
            whole, more = self._folded(folded, since, holds)
            self._proofs.add([*wrong, *more])
            self._open_holds += len(holds)
            for lot in whole.lots:
                self._remaining[lot.issuer] += lot.remaining
        there = await self._audit.wallets_of(missing) if missing else {}
        self._proofs.add(Wrong(3, f"wallet {wallet} is not there, entries name it")
                         for wallet in missing if wallet not in there)  # fmt: skip

    def _folded(self, wallet: Wallet, events: Iterable[Event], holds: Holds) -> tuple[Wallet, list[Wrong]]:
        try:
            return fold(wallet, events, self._book, holds, self._stops)
        except UNREADABLE as error:
            return wallet, [Wrong(3, f"an entry of wallet {wallet.id} does not say what it should: {error}")]

    # ------------------------------------------------------------ redemptions

    async def _judge_redemptions(self) -> None:
        missing: list[str] = []
        for name, there, stored, acts in self._scratch.lives():
            self._judge_life(name, acts, stored)
            if not there:
                missing.append(name)
        found = await self._audit.redemptions_of(missing) if missing else {}
        gone = [redemption for redemption in missing if redemption not in found]
        self._proofs.add(Wrong(5, f"redemption {redemption} is not there") for redemption in gone)
        if gone or self._lives != self._redemptions:
            async for redemption in self._audit.redemptions_without_entry():
                self._proofs.add([Wrong(5, f"redemption {redemption} has no entry")])
        held, reserved = self._open_holds, self._reservations
        self._proofs.require(held == reserved, 8, f"{held} open holds, {reserved} reserved redemptions")

    def _judge_life(self, name: str, acts: Sequence[Act], stored: Redemption | None) -> None:
        life, wrong = self._lived(name, acts, stored)
        self._judged(life, acts, wrong)

    def _lived(self, name: str, acts: Sequence[Act], stored: Redemption | None = None) -> tuple[Life, list[Wrong]]:
        """Fold a redemption; hold it against what is stored once the fold has come to that version."""
        life = Life(name, self._agreements, self._book)
        wrong: list[Wrong] = []
        compared = stored is None
        for act in acts:
            if stored is not None and not compared and life.version == stored.version and not life.continues(act):
                wrong += unlike(stored, life.redemption)
                compared = True
            try:
                wrong += life.go_on(act)
            except UNREADABLE as error:
                wrong.append(Wrong(3, f"entry {act.entry.id} does not say what it should: {error}"))
        if stored is not None and not compared:
            wrong += unlike(stored, life.redemption)
        return life, wrong

    def _judged(self, life: Life, acts: Sequence[Act], wrong: Iterable[Wrong]) -> None:
        """Record what was found of a redemption, and what it takes of stock and promises."""
        self._proofs.add(wrong)
        self._proofs.judged(3)
        self._proofs.judged(7, sum(1 for act in acts if act.entry.debits))
        self._proofs.judged(8)
        self._lives += 1
        redemption = life.redemption
        if redemption is None:
            return
        self._sold[redemption.benefit] += life.stock.sold
        self._reserved[redemption.benefit] += life.stock.reserved
        if redemption.status is RedemptionStatus.RESERVED:
            self._reservations += 1
            for debit in redemption.debits:
                if debit.owed is not None:
                    self._promised[debit.issuer, debit.owed.currency] += debit.owed.minor

    # ------------------------------------------------------------ references

    async def _judge_references(self) -> None:
        """Hold references against the links in wallets: entries have none."""
        for reference, wallet in self._scratch.links_without_reference():
            found = await self._audit.reference(reference)
            self._proofs.require(found == wallet, 3, f"a link of wallet {wallet} has no reference of its own")
        for reference, wallet in self._scratch.references_without_link():
            stored = (await self._audit.wallets_of([wallet])).get(wallet)
            links = () if stored is None else (stored.links, *(one.links for one in stored.absorbed))
            sound = any(f"{link.partner}:{link.reference}" == reference for each in links for link in each)
            self._proofs.require(sound, 3, f"a reference means wallet {wallet}, which has no such link")

    # ------------------------------------------------------------ sums

    def _judge_totals(self) -> None:
        proofs = self._proofs
        for unit, amount in self._units.items():
            proofs.require(amount == 0, 1, f"all {unit} of the journal add up to {amount}")
        issuers = {issuer for issuer, _ in self._accounts} | self._remaining.keys()
        for issuer in sorted(issuers):
            proofs.judged(4)
            out = -sum(self._accounts[issuer, account] for account in _POINTS)
            remaining = self._remaining[issuer]
            proofs.require(out == remaining, 4, f"{issuer} has {out} points out, its lots hold {remaining}")

    def _judge_stock(self) -> None:
        proofs = self._proofs
        for row in self._stock:
            proofs.judged(11)
            sold, reserved = self._sold.pop(row.benefit, 0), self._reserved.pop(row.benefit, 0)
            proofs.add(Wrong(11, f"{row.benefit}: {what}") for what in _wrong_stock(row, sold))
            on_shelves = row.whole.stock.reserved
            held = on_shelves == reserved
            proofs.require(held, 8, f"{row.benefit}: {on_shelves} reserved, {reserved} by open holds")
        proofs.add(Wrong(11, f"{benefit}: {units} taken, and it has no stock")
                   for benefit, units in (self._sold + self._reserved).items())  # fmt: skip
        scratch = self._scratch
        proofs.add(
            Wrong(11, f"redemption {one} has a code that another has too") for one in scratch.codes_given_twice()
        )
        proofs.add(Wrong(11, f"redemption {one} has a code that the pool did not give it")
                   for one in scratch.codes_given_unclaimed())  # fmt: skip
        proofs.add(Wrong(11, f"code {code} went to redemption {one}, which does not have it")
                   for code, one in scratch.codes_claimed_ungiven())  # fmt: skip

    # ------------------------------------------------------------ headroom

    def _judge_headroom(self) -> None:
        """Hold pools and slices against the postings up to the same heads, and what reservations promise."""
        for row in self._headroom:
            self._proofs.judged(12)
            posted = sum(sums[row.pair] for sums in self._by_entries.values())
            owed = self._promised[row.pair] - posted
            self._proofs.add(Wrong(12, f"{row.pair.id}: {what}") for what in _wrong_headroom(row, owed))

    # ------------------------------------------------------------ periods

    async def _judge_periods(self) -> None:
        proofs = self._proofs
        proofs.add(Wrong(10, what) for what in _wrong_order(self._periods))
        drafted = await self._audit.periods_of_statements()
        now = await self._audit.found_periods()
        known = {int(found.id) for found in now if found.id.isdecimal()}
        closed = [found.value.number for found in now if found.value and found.value.closed]
        proofs.add(Wrong(10, f"there are statements of period {number}, which is not closed")
                   for number in drafted if number not in closed)  # fmt: skip
        for number in sorted(self._by_blocks.keys() | self._by_entries.keys()):
            proofs.judged(10)
            proofs.require(number in known, 9, f"there are blocks or entries of period {number}, which is not there")
            proofs.add(Wrong(10, f"period {number}: {what}") for what in self._wrong_positions(number))
        for period in self._periods:
            if period.closed:
                proofs.add(Wrong(9, f"period {period.number}: {what}") for what in self._wrong_ranges(period))
                await self._judge_statements(period)

    def _wrong_positions(self, number: int) -> Iterable[str]:
        positions = netting.positions(self._by_blocks.get(number, Sums()))
        by_blocks = Counter({(row.partner, row.currency): row.net.minor for row in positions})
        for currency in sorted({currency for _, currency in by_blocks}):
            total = sum(amount for (_, other), amount in by_blocks.items() if other == currency)
            if total:
                yield f"positions in {currency} add up to {total}"
        posted = self._by_entries.get(number, Counter())
        for key in sorted(by_blocks.keys() | posted.keys()):
            if by_blocks[key] != posted[key]:
                yield f"{key[0]} is at {by_blocks[key]} {key[1]} by blocks, at {posted[key]} by entries"

    def _wrong_ranges(self, period: Period) -> Iterable[str]:
        number = period.number
        cut: list[Range] = []
        for lane, judge in sorted(self._lanes.items()):
            ended = judge.cuts.get(number)
            if ended is not None:
                cut.append(ended)
            elif judge.begun is not None and judge.begun <= number:
                yield f"is closed, and lane {lane} is not cut"
        if tuple(cut) != period.ranges:
            yield f"says the ranges {period.ranges}, the lanes' cuts end {tuple(cut)}"
        if period.root != period_root(number, cut):
            yield "its root is not that of its lanes' cuts"

    async def _judge_statements(self, period: Period) -> None:
        """Hold statements against the positions that blocks and lines add up to, and their bytes against their hash."""
        found = self._readable(10, "statement", *await self._audit.found_statements(period.number))
        statements = {statement.partner: statement for statement in found}
        everybody = netting.positions(self._by_blocks.get(period.number, Sums()))
        settling = {partner for number, partner in self._lines if number == period.number}
        if period.statements is not None and statements.keys() != settling:
            self._proofs.add(
                [Wrong(10, f"period {period.number}: statements of {sorted(statements)}, not {sorted(settling)}")]
            )
        if period.statements not in (None, len(statements)):
            self._proofs.add(
                [Wrong(10, f"period {period.number}: {len(statements)} statements, not {period.statements}")]
            )
        for partner, statement in statements.items():
            self._proofs.judged(10)
            wrong = []
            if statement.totals != tuple(position for position in everybody if position.partner == partner):
                wrong.append("its totals are not the partner's position")
            nets = {total.currency: total.net.minor for total in statement.totals}
            lines = self._by_lines.get(period.number, Counter())
            if nets != {currency: net for (other, currency), net in lines.items() if other == partner}:
                wrong.append("its totals are not what its lines add up to")
            if statement.line_count != self._lines[period.number, partner]:
                wrong.append(f"has {statement.line_count} lines, the journal {self._lines[period.number, partner]}")
            if statement.root != period.root:
                wrong.append("is under another root than its period's")
            if self._settlement is not None and statement.hash != await _hash_of(self._settlement, statement):
                wrong.append("made anew it has another hash")
            self._proofs.add(Wrong(10, f"statement {statement.id} {what}") for what in wrong)

    async def _judge_nettings(self) -> None:
        """Make every recorded netting anew of the blocks that were read, one behind another."""
        roots = {period.number: period.root for period in self._periods if period.closed}
        judge = NettingJudge(self._by_blocks)
        for recorded in self._nettings:
            self._proofs.judged(15)
            wrong = [] if recorded.root == roots.get(recorded.period) else ["has another root than its period"]
            try:
                wrong += judge.take(recorded)
            except UNREADABLE as error:
                wrong.append(f"does not say what it should: {error}")
            self._proofs.add(Wrong(15, f"the netting of period {recorded.period} {what}") for what in wrong)
            # So that what is being read meanwhile gets on.
            await asyncio.sleep(0)


def _written(life: Life) -> bytes:
    """Return a redemption as the last of its acts wrote it; nothing if they make none that could be written."""
    if life.redemption is None:
        return b""
    try:
        return redemption_bytes(life.redemption)
    except UNREADABLE:
        return b""


async def _hash_of(settlement: Settlement, statement: Statement) -> str | None:
    """Return the hash of a statement made anew; None if what it is made of cannot be read."""
    digest = sha256()
    try:
        async for piece in settlement.document(statement):
            digest.update(piece)
    except UNREADABLE:
        return None
    return digest.hexdigest()


def _wrong_stock(row: StockRow, redeemed: int) -> Iterable[str]:
    room, shelves = row.whole.room, row.whole.shelves.values()
    stock = row.whole.stock
    sold, reserved = stock.sold, stock.reserved
    lefts = [room.free, *(shelf.left for shelf in shelves)]
    units = [left for left in lefts if left is not None]
    left = sum(units)
    if sold != redeemed:
        yield f"{sold} sold, {redeemed} redeemed and not given back"
    if room.offered is None or len(units) < len(lefts):
        if room.offered is not None or units:
            yield f"{room.offered} offered, {left} left"
    elif min(*units, sold, reserved, 0) < 0 or stock.left != left:
        yield f"{room.offered} offered, but {sold} sold, {lefts} left, {reserved} reserved"
    if room.offered != row.published:
        yield f"{room.offered} offered, its benefit and its codes say {row.published}"
    # A code is given out when the points move: until then the one for a reserved unit is free.
    if row.pool and (room.offered, left + reserved) != (row.codes, row.free):
        yield f"{room.offered} offered and {left} left, but {row.codes} codes, {row.free} free"
    if row.codes and not row.pool:
        yield f"{row.codes} codes, and no pool"


def _wrong_headroom(row: HeadroomRow, owed: int) -> Iterable[str]:
    pool = row.pool
    used = pool.opening + sum(each.used for each in row.slices)
    if used != owed:
        yield f"{used} used, it owes or has promised {owed}"
    granted = sum(each.granted for each in row.slices)
    if pool.granted != granted:
        yield f"{pool.granted} granted by the pool, {granted} to its slices"
    if any(each.used > each.granted for each in row.slices):
        yield "a lane has used more than it was granted"
    if (pool.cap, pool.paid) != (row.cap, row.paid):
        yield f"a cap of {pool.cap} and {pool.paid} paid, not {row.cap} and {row.paid}"
    if pool.over != max(0, pool.opening + granted - pool.cap - pool.paid):
        yield f"{granted} granted, of a cap of {pool.cap} with {pool.paid} paid and {pool.opening} owed before"


def _wrong_order(periods: Sequence[Period]) -> Iterable[str]:
    numbers = [period.number for period in periods]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the periods are {numbers}"
    statuses = [period.status for period in periods]
    tail = statuses[-2:] if PeriodStatus.CLOSING in statuses else statuses[-1:]
    if tail not in ([PeriodStatus.OPEN], [PeriodStatus.CLOSING, PeriodStatus.OPEN]) or set(
        statuses[: len(statuses) - len(tail)]
    ) - {PeriodStatus.CLOSED, PeriodStatus.SETTLED}:
        yield f"their statuses are {', '.join(statuses)}"
