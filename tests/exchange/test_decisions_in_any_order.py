"""Everything that can happen to two members, in any order, with time moving: the law holds after every step."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.benefit import Benefit, Fulfilment, Stock, UnavailableReason, availability
from exchange.benefit import Taker as Member
from exchange.commands import Act, ByReference, ByWallet, Command, Redeem
from exchange.decisions import Decision, Terms, decide, promise
from exchange.errors import (
    BenefitUnavailable,
    Forbidden,
    InsufficientPoints,
    InvalidTransition,
    NotFound,
    PriceChanged,
    Refusal,
    ValidationFailed,
)
from exchange.journal import Account, Entry
from exchange.proof.history import Event, Holds, differences, fold, unheld
from exchange.proof.money import owed
from exchange.proof.redemptions import BEGINNINGS, STEPS, Life, unlike
from exchange.proof.redemptions import Act as Lived
from exchange.quote import Quote
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.store.documents import reference_id
from exchange.wallet import Wallet
from tests.exchange.speech import (
    CHANNELS_STEPS,
    NOW,
    SALT,
    act,
    agreement,
    award,
    benefit,
    day,
    enrol,
    expire,
    link,
    redeem,
    reserve,
    unlink,
)

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
    benefit("rides/trip", 37, fulfilment=Fulfilment.PARTNER_CALL),
    benefit("rides/pass", 11, member_limit=3),
    benefit("rides/seat", 7, stock=5, fulfilment=Fulfilment.PARTNER_CALL, member_limit=4),
    benefit("video/film", 20, stock=4),
    benefit("video/code", 3, fulfilment=Fulfilment.INSTANT_CODE),
    benefit("video/live", 15, valid_from=day(1), valid_until=day(4)),
    benefit("delivery/lunch", 5, regions=("DE",)),
)
CODES = {"video/code": 6}
"""How many are in the pool."""
ALLOWED = {
    "RESERVED": {Step.CONFIRM, Step.CANCEL}, "EXPIRED": {Step.LAPSE},
    "CONFIRMED": {Step.FULFIL, Step.FAIL, Step.REVERSE}, "FULFILLED": {Step.REVERSE},
}  # fmt: skip
"""What can be done to a redemption as it stands. EXPIRED can lapse while nobody has written that down."""
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
        self.offers = {one.id: one for one in BENEFITS}
        self.stocks = {one.id: Stock(CODES.get(one.id, one.stock)) for one in BENEFITS}
        self.quotes: list[Quote] = []
        self.redemptions: dict[str, Redemption] = {}
        self.lives: dict[str, Life] = {}
        self.about: dict[str, list[Entry]] = {}
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
        self.award("video", "ann", 150, 60)
        self.take(BENEFITS[0], 2, "video", "ann", None, None, 40 * 3_600, quoted=False)
        self.take(BENEFITS[2], 3, "delivery", "ann", None, None, None, quoted=False)

    @rule(hours=st.sampled_from([0.05, 0.05, 1, 1, 2, 6, 12, 30, 50, 31 * 24]))
    def time_passes(self, hours: float) -> None:
        """Let minutes or hours pass; once in a while a month, so that what came back is over again."""
        self.now += timedelta(hours=hours)

    @rule(what=benefits, price=st.integers(1, 40))
    def reprice(self, what: Benefit, price: int) -> None:
        """Let a partner change its price."""
        self.offers[what.id] = replace(what, points_price=price)

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
        ttl=st.none() | st.sampled_from([60, 3_600, 40 * 3_600, 50 * 86_400]), quoted=st.booleans(),
    )  # fmt: skip
    def take(
        self, what: Benefit, quantity: int, through: str, member: str, region: str | None, expected: int | None,
        ttl: int | None, *, quoted: bool,
    ) -> None:  # fmt: skip
        """Take or reserve a benefit, expecting the right price, a wrong one or none, with or without a quote."""
        what = self.offers[what.id]
        wallet = self.references.get(f"{through}:{member}")
        fitting = [
            one for one in self.quotes
            if (one.partner, one.wallet, one.benefit, one.quantity) == (through, wallet, what.id, quantity)
        ]  # fmt: skip
        quote = fitting[-1] if quoted and fitting else None
        unit = what.points_price if quote is None else quote.unit_points
        said: dict[str, Any] = {
            "through": through, "whose": ByReference(through, member), "region": region,
            "expected_points": None if expected is None else unit * quantity + expected,
            "quote": None if quote is None else quote.id,
        }  # fmt: skip
        command = redeem(what, quantity, **said) if ttl is None else reserve(what, quantity, ttl=ttl, **said)
        self.decide(command, what, quote=quote)

    @rule(what=benefits, quantity=st.sampled_from([1, 1, 2, 4]), through=partners, member=members)
    def quote(self, what: Benefit, quantity: int, through: str, member: str) -> None:
        """Ask what a benefit would cost."""
        what = self.offers[what.id]
        command = redeem(what, quantity, through=through, whose=ByReference(through, member), region="DE")
        try:
            made = promise(command, self._wallet(command), Terms(BOOK, what, self.stocks[what.id]), self.now)
        except Refusal:
            return
        self.quotes.append(made)

    @rule(data=st.data(), step=st.sampled_from(Step), quantity=st.none() | st.integers(1, 4), by=st.none() | partners)
    def step(self, data: st.DataObject, step: Step, quantity: int | None, by: str | None) -> None:
        """Take some redemption a step on, whether or not it can, by whoever may or by anybody."""
        if self.redemptions:
            redemption = data.draw(st.sampled_from(list(self.redemptions.values())))
            self.decide(act(step, redemption, quantity, by=by))

    @rule(data=st.data(), quantity=st.none() | st.integers(1, 4))
    def a_step_that_can_be(self, data: st.DataObject, quantity: int | None) -> None:
        """Take some redemption a step on that it can go."""
        open_ones = [one for one in self.redemptions.values() if ALLOWED.get(one.standing(self.now))]
        if open_ones:
            redemption = data.draw(st.sampled_from(open_ones))
            step = data.draw(st.sampled_from(sorted(ALLOWED[redemption.standing(self.now)])))
            self.decide(act(step, redemption, quantity))

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

    def decide(self, command: Command, of: Benefit | None = None, *, quote: Quote | None = None) -> None:
        """Decide a command; record what it makes, or hold a refusal against the contract."""
        redemption = self.redemptions.get(command.redemption or "") if isinstance(command, Act) else None
        wallet = self._wallet(command) if redemption is None else self.wallets[redemption.wallet]
        named = of or (None if redemption is None else self.offers[redemption.benefit])
        stock = Stock(None) if named is None else self.stocks[named.id]
        referenced = self.references.get(f"{command.partner}:{getattr(command, 'reference', '')}")
        terms = Terms(BOOK, named, stock, referenced, quote, redemption)
        before = repr((wallet, redemption))
        decided: Decision | Refusal
        try:
            decided = decide(command, wallet, terms, self.now, SALT)
        except Refusal as refusal:
            decided = refusal
        assert repr((wallet, redemption)) == before, "what it was decided over is still what it was"
        told = _told(decided) if isinstance(decided, Refusal) else None
        name = command.step if isinstance(command, Act) else type(command).__name__
        event(f"{name}: {told[0].__name__ if told else 'done'}")
        if isinstance(command, Redeem) and of is not None:
            assert told == self._expected_refusal(command, wallet, of, stock, quote)
        if isinstance(command, Act) and redemption is not None and wallet is not None:
            assert told == self._refused_step(command, wallet, redemption)
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
        wallet, entry, redemption = decision.wallet, decision.entry, decision.redemption
        if decision.claims is not None:
            assert reference_id(decision.claims) not in self.references, "a reference is claimed once"
            self.references[reference_id(decision.claims)] = wallet.id
        self.wallets[wallet.id] = replace(wallet, version=wallet.version + 1, period=1)
        self.entries.append(entry)
        place = (1, len(self.entries), 0)
        self.events.setdefault(wallet.id, []).append(Event.of(entry, place, 1))
        assert (redemption is None) == (entry.kind not in BEGINNINGS and entry.kind not in STEPS)
        if redemption is None:
            assert owed(entry, BY_ID, BOOK) == []
            return
        given = entry.quantity if "code" in redemption.benefit and entry.kind in ("REDEEM", "CONFIRM") else 0
        assert decision.codes == given
        self.stocks[redemption.benefit] = decision.stock.applied(self.stocks[redemption.benefit])
        self.redemptions[redemption.id] = replace(redemption, version=redemption.version + 1, period=1)
        self.about.setdefault(redemption.id, []).append(entry)
        life = self.lives.setdefault(redemption.id, Life(redemption.id, BY_ID, BOOK))
        assert life.go_on(Lived(entry, place, 1)) == []

    def _refused_step(self, command: Act, wallet: Wallet, redemption: Redemption) -> tuple[type[Refusal], Any] | None:
        """Say in other words who may take which step when."""
        whose = redemption.channel if command.step in CHANNELS_STEPS else redemption.provider
        if not command.by_exchange and command.partner != whose:
            return NotFound, None
        if (command.quantity or 1) > redemption.quantity:
            return ValidationFailed, None
        if command.step is Step.CONFIRM and not wallet.linked_to(redemption.channel):
            return Forbidden, None
        standing = redemption.status.value
        if redemption.reserved_until is not None and standing == "RESERVED" and self.now >= redemption.reserved_until:
            standing = "EXPIRED"
        lapsed_already = redemption.status is RedemptionStatus.EXPIRED
        if lapsed_already or command.step not in ALLOWED.get(standing, set()):
            return InvalidTransition, standing
        left = redemption.quantity - redemption.returned
        if command.step is Step.REVERSE and (command.quantity or 1) > left:
            return ValidationFailed, None
        return None

    def _expected_refusal(
        self, command: Redeem, wallet: Wallet | None, of: Benefit, stock: Stock, quote: Quote | None
    ) -> tuple[type[Refusal], Any] | None:
        """Say the contract's ladder in other words: what stands first in the way, and what is told of it."""
        link = None if wallet is None else wallet.link(command.partner)
        if wallet is None or link is None or not link.open:
            return NotFound, None
        if quote is not None and self.now >= quote.expires_at:
            return ValidationFailed, None
        of = of if quote is None else replace(of, points_price=quote.unit_points)
        cost = of.points_price * command.quantity
        good = {issuer for issuer in PARTNERS if BOOK.accepts(issuer, of.partner, self.now)}
        live = [lot for lot in wallet.lots if lot.expires_at is None or lot.expires_at > self.now]
        spendable = sum(lot.remaining - lot.held for lot in live if lot.issuer in good)
        spent = link.spent if link.spent_on == self.now.date() else 0
        member = Member(
            region=command.region, taken=wallet.taken.get(of.id, 0),
            points=sum(lot.remaining - lot.held for lot in live),
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
        """2, 3, 6, 8. Lots are possible, wallets their entries, the first to expire went first, holds hold."""
        open_holds: set[str] = set()
        for wallet in self.wallets.values():
            holds: Holds = {}
            folded, wrong = fold(Wallet(wallet.id), self.events[wallet.id], BOOK, holds)
            assert wrong == []
            assert differences(wallet, folded) == []
            assert unheld(wallet, holds) == []
            open_holds |= holds.keys()
        reserved = {one.id for one in self.redemptions.values() if one.status is RedemptionStatus.RESERVED}
        assert open_holds == reserved

    @invariant()
    def redemptions_are_their_entries(self) -> None:
        """3, 8. A redemption is the fold of its entries, and parts that went back are together the whole."""
        for redemption in self.redemptions.values():
            assert unlike(redemption, self.lives[redemption.id].redemption) == []
            left: Counter[Any] = Counter()
            for debit in (debit for entry in self.about[redemption.id] for debit in entry.debits):
                left[debit.issuer, "points"] += debit.points
                left[debit.issuer, "owed"] += debit.owed.minor if debit.owed else 0
                left[debit.issuer, "fee"] += debit.fee_minor
                left[debit.issuer, "commission"] += debit.commission_minor
            assert all(figure >= 0 for figure in left.values())
            if redemption.status not in (RedemptionStatus.CONFIRMED, RedemptionStatus.FULFILLED):
                assert not any(left.values())
            else:
                unit = redemption.points // redemption.quantity
                points = sum(figure for (_, name), figure in left.items() if name == "points")
                assert points == unit * (redemption.quantity - redemption.returned)

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
    def points_can_be_reached(self) -> None:
        """Whoever has a wallet has a link through which to reach it."""
        assert all(any(link.open for link in wallet.links) for wallet in self.wallets.values())

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        """11. No more is sold or reserved than was offered, no member has more than its limit, nothing is lost."""
        counted: Counter[tuple[str, str]] = Counter()
        for one in self.redemptions.values():
            if one.status not in (RedemptionStatus.CANCELLED, RedemptionStatus.EXPIRED):
                counted[one.wallet, one.benefit] += one.quantity - one.returned
        for one_benefit in BENEFITS:
            name, stock = one_benefit.id, self.stocks[one_benefit.id]
            lives = [life for life in self.lives.values() if life.redemption and life.redemption.benefit == name]
            assert stock.sold == sum(life.stock.sold for life in lives)
            assert stock.reserved == sum(life.stock.reserved for life in lives)
            assert stock.left is None or stock.left >= 0
            for wallet in self.wallets.values():
                assert wallet.taken.get(name, 0) == counted[wallet.id, name] >= 0
                assert one_benefit.member_limit is None or counted[wallet.id, name] <= one_benefit.member_limit


def _told(refusal: Refusal) -> tuple[type[Refusal], Any]:
    match refusal:
        case BenefitUnavailable():
            return BenefitUnavailable, refusal.reasons
        case PriceChanged():
            return PriceChanged, refusal.points_price
        case InvalidTransition():
            return InvalidTransition, refusal.status
        case InsufficientPoints():
            return InsufficientPoints, (refusal.required, refusal.available)
        case _:
            return type(refusal), None


Exchange.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestExchange = Exchange.TestCase
