"""Everything that can happen to two members, in any order, with time moving: the law holds after every step."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exchange.agreements import AgreementBook
from exchange.benefit import Benefit, Stock, UnavailableReason, availability
from exchange.benefit import Taker as Member
from exchange.commands import ByReference, ByWallet, Command, Redeem
from exchange.decisions import Decision, Terms, decide
from exchange.errors import BenefitUnavailable, InsufficientPoints, NotFound, PriceChanged, Refusal
from exchange.journal import Account, Entry
from exchange.proof.history import Event, differences, fold
from exchange.proof.money import owed
from exchange.store.documents import reference_id
from exchange.wallet import Wallet
from tests.exchange.speech import NOW, SALT, agreement, award, benefit, day, enrol, expire, link, redeem, unlink

PARTNERS = ("video", "rides", "delivery")
TERMS = (
    agreement("video", "rides", 8_005, fee=150, commission=250),
    agreement("video", "rides", 3_333, "EUR", fee=9_000, commission=1_000, version=2, since=day(2)),
    agreement("delivery", "rides", 707, "EUR", commission=100),
    agreement("rides", "video", 1_999, "JPY", fee=1),
    agreement(None, "delivery", 12_345, "KWD", fee=333),
    # Nothing for delivery's points at video.
)
BENEFITS = (
    benefit("rides/trip", 37),
    benefit("rides/pass", 11, member_limit=3),
    benefit("video/film", 20, stock=4),
    benefit("video/live", 15, valid_from=day(1), valid_until=day(4)),
    benefit("delivery/lunch", 5, regions=("DE",)),
)
BOOK = AgreementBook(TERMS)
BY_ID = {term.id: term for term in TERMS}

partners = st.sampled_from(PARTNERS)
members = st.sampled_from(["ann", "bob"])
benefits = st.sampled_from(BENEFITS)


class Exchange(RuleBasedStateMachine):
    """The ledger's part without its database: references, wallets, stock, and the entries as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.wallets: dict[str, Wallet] = {}
        self.references: dict[str, str] = {}
        self.sold: Counter[str] = Counter()
        self.events: dict[str, list[Event]] = {}
        self.entries: list[Entry] = []

    # What happens

    @initialize()
    def ann_is_known_everywhere(self) -> None:
        """Begin with somebody who can do something."""
        self.award("video", "ann", 200, 2)
        for partner in ("rides", "delivery"):
            self.link("video", "ann", partner, "ann", None, stale=False)
            self.award(partner, "ann", 100, None)

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        """Let hours pass."""
        self.now += timedelta(hours=hours)

    @rule(issuer=partners, member=members, points=st.integers(1, 60), days=st.none() | st.integers(0, 4))
    def award(self, issuer: str, member: str, points: int, days: int | None) -> None:
        """Give points, some of which are over already."""
        expires = None if days is None else day(days)
        self.decide(award(issuer, points, expires=expires, whose=ByReference(issuer, member)))

    @rule(partner=partners, member=members)
    def enrol(self, partner: str, member: str) -> None:
        """Mention a member."""
        self.decide(enrol(partner, whose=ByReference(partner, member)))

    @rule(
        what=benefits, quantity=st.sampled_from([1, 1, 2, 4]), through=partners, member=members,
        region=st.sampled_from(["DE", "DE", None]), expected=st.sampled_from([None, None, 0, 1]),
    )  # fmt: skip
    def redeem(
        self, what: Benefit, quantity: int, through: str, member: str, region: str | None, expected: int | None
    ) -> None:
        """Take a benefit, expecting the right price, a wrong one or none."""
        said = None if expected is None else what.points_price * quantity + expected
        whose = ByReference(through, member)
        self.decide(redeem(what, quantity, through=through, whose=whose, region=region, expected_points=said), what)

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Expire a lot, whether or not its time is over."""
        lots = [(lot, wallet) for wallet in self.wallets.values() for lot in wallet.lots]
        if lots:
            lot, wallet = data.draw(st.sampled_from(lots))
            self.decide(expire(lot.id, wallet.id, issuer=lot.issuer))

    @rule(
        through=partners, member=members, partner=partners, reference=members, limit=st.none() | st.integers(1, 80),
        stale=st.booleans(),
    )  # fmt: skip
    def link(self, through: str, member: str, partner: str, reference: str, limit: int | None, *, stale: bool) -> None:
        """Link a second partner, with a code that is good or over."""
        wallet = self.references.get(f"{through}:{member}")
        if wallet is not None:
            until = self.now if stale else day(10_000)
            self.decide(link(partner, wallet, reference=reference, daily_limit=limit, good_until=until))

    @rule(through=partners, member=members, ended=partners)
    def unlink(self, through: str, member: str, ended: str) -> None:
        """End a link, whether or not there is one."""
        wallet = self.references.get(f"{through}:{member}")
        if wallet is not None:
            self.decide(unlink(ended, wallet, through=through))

    # How it is decided

    def decide(self, command: Command, of: Benefit | None = None) -> None:
        """Decide a command; record what it makes, or hold a refusal against the contract."""
        wallet = self._wallet(command)
        stock = Stock(None) if of is None else Stock(of.stock, self.sold[of.id])
        referenced = self.references.get(f"{command.partner}:{getattr(command, 'reference', '')}")
        before = repr(wallet)
        decided: Decision | Refusal
        try:
            decided = decide(command, wallet, Terms(BOOK, of, stock, referenced), self.now, SALT)
        except Refusal as refusal:
            decided = refusal
        assert repr(wallet) == before, "the wallet it was decided over is still what it was"
        told = _told(decided) if isinstance(decided, Refusal) else None
        event(f"{type(command).__name__}: {told[0].__name__ if told else 'done'}")
        if isinstance(command, Redeem) and of is not None:
            assert told == self._expected_refusal(command, wallet, of, stock)
        if isinstance(decided, Decision):
            self._record(decided)

    def _wallet(self, command: Command) -> Wallet | None:
        if isinstance(command.whose, ByWallet):
            return self.wallets.get(command.whose.wallet)
        assert command.whose is not None
        known = self.references.get(reference_id(command.whose))
        if known is None:
            return None if isinstance(command, Redeem) else Wallet(f"wallet of {reference_id(command.whose)}")
        return self.wallets[known]

    def _record(self, decision: Decision) -> None:
        wallet, entry = decision.wallet, decision.entry
        if decision.claims is not None:
            assert reference_id(decision.claims) not in self.references, "a reference is claimed once"
            self.references[reference_id(decision.claims)] = wallet.id
        if decision.redemption is not None:
            self.sold[decision.redemption.benefit] += decision.units
        self.wallets[wallet.id] = replace(wallet, version=wallet.version + 1, period=1)
        self.entries.append(entry)
        self.events.setdefault(wallet.id, []).append(Event.of(entry, (1, len(self.entries), 0), 1))

    def _expected_refusal(
        self, command: Redeem, wallet: Wallet | None, of: Benefit, stock: Stock
    ) -> tuple[type[Refusal], Any] | None:
        """Say the contract's ladder in other words: what stands first in the way, and what is told of it."""
        link = None if wallet is None else wallet.link(command.partner)
        if wallet is None or link is None or not link.open:
            return NotFound, None
        cost = of.points_price * command.quantity
        good = {issuer for issuer in PARTNERS if BOOK.accepts(issuer, of.partner, self.now)}
        live = [lot for lot in wallet.lots if lot.expires_at is None or lot.expires_at > self.now]
        spendable = sum(lot.remaining for lot in live if lot.issuer in good)
        spent = link.spent if link.spent_on == self.now.date() else 0
        member = Member(
            region=command.region, taken=wallet.taken.get(of.id, 0), points=sum(lot.remaining for lot in live),
            spendable=spendable, day_left=None if link.daily_limit is None else max(link.daily_limit - spent, 0),
        )  # fmt: skip
        reasons = availability(of, stock, self.now, member, command.quantity).reasons
        if blocking := [reason for reason in reasons if reason is not UnavailableReason.INSUFFICIENT_POINTS]:
            return BenefitUnavailable, blocking
        if command.expected_points not in (None, cost):
            return PriceChanged, cost
        return (InsufficientPoints, (cost, spendable)) if spendable < cost else None

    # What must hold (the numbers are those of the invariants that `check` proves)

    @invariant()
    def points_balance(self) -> None:
        """1. Every entry sums to zero per unit, and so does the whole journal."""
        total: Counter[str] = Counter()
        for posting in (posting for entry in self.entries for posting in entry.postings):
            total[posting.unit] += posting.amount
        assert not any(total.values())

    @invariant()
    def wallets_are_their_entries(self) -> None:
        """2, 3, 6. Lots are possible, wallets are the fold of their entries, the first to expire went first."""
        for wallet in self.wallets.values():
            folded, wrong = fold(Wallet(wallet.id), self.events[wallet.id], BOOK)
            assert wrong == []
            assert differences(wallet, folded) == []

    @invariant()
    def issuers_know_what_is_out(self) -> None:
        """4. Awarded less redeemed less expired is what remains in the issuer's lots."""
        for issuer in PARTNERS:
            accounts = Counter[Account]()
            for posting in (posting for entry in self.entries for posting in entry.postings):
                if posting.unit == f"points:{issuer}":
                    accounts[posting.account] += posting.amount
            out = -accounts[Account.ISSUED] - accounts[Account.REDEEMED] - accounts[Account.EXPIRED]
            lots = [lot for wallet in self.wallets.values() for lot in wallet.lots if lot.issuer == issuer]
            assert out == sum(lot.remaining for lot in lots) == accounts[Account.WALLET]

    @invariant()
    def owed_is_kept_plus_fees_plus_commissions(self) -> None:
        """7. What issuers owe is what the provider keeps and pays on, by the agreements, to the minor unit."""
        for entry in self.entries[-1:]:  # the others were judged when they came
            assert owed(entry, BY_ID, BOOK) == []

    @invariant()
    def points_can_be_reached(self) -> None:
        """Whoever has a wallet has a link through which to reach it."""
        assert all(any(link.open for link in wallet.links) for wallet in self.wallets.values())

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        """11. No more is sold than was offered, and no member has more than its limit."""
        for one in BENEFITS:
            assert one.stock is None or self.sold[one.id] <= one.stock
            taken = [wallet.taken.get(one.id, 0) for wallet in self.wallets.values()]
            assert one.member_limit is None or all(units <= one.member_limit for units in taken)
            assert self.sold[one.id] == sum(taken)


def _told(refusal: Refusal) -> tuple[type[Refusal], Any]:
    match refusal:
        case BenefitUnavailable():
            return BenefitUnavailable, refusal.reasons
        case PriceChanged():
            return PriceChanged, refusal.points_price
        case InsufficientPoints():
            return InsufficientPoints, (refusal.required, refusal.available)
        case _:
            return type(refusal), None


Exchange.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestExchange = Exchange.TestCase
