"""Everything that can happen to three members, in any order, with time moving: the law holds after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, ClassVar

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.benefit import Benefit, Fulfilment, LimitPeriod, Stock
from exchange.commands import (
    Act,
    Award,
    Between,
    ByReference,
    ByWallet,
    Command,
    Enrol,
    LinkMember,
    Redeem,
    Share,
    Sharing,
    Unmerge,
    Whose,
)
from exchange.decisions import Decision, Terms, decide, promise
from exchange.errors import Refusal
from exchange.journal import EXCHANGE, Account, Entry, EntryKind
from exchange.limits import look_back
from exchange.proof.history import Event, Holds, differences, fold, unheld
from exchange.proof.money import owed
from exchange.proof.redemptions import BEGINNINGS, STEPS, Life, unlike
from exchange.proof.redemptions import Act as Lived
from exchange.proof.stops import Stops
from exchange.quote import Quote
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.rules import AwardReversal, FrozenBenefit, RuleBook, Rules, Velocity
from exchange.store.documents import reference_id
from exchange.wallet import Lot, Wallet
from tests.exchange.other_words import ALLOWED, expected, told
from tests.exchange.speech import (
    NOW,
    SALT,
    act,
    adjust,
    agreement,
    award,
    benefit,
    day,
    enrol,
    expire,
    extend,
    freeze,
    give,
    link,
    merge,
    redeem,
    reserve,
    reverse_award,
    share,
    unlink,
    unmerge,
)

PARTNERS = ("video", "rides", "delivery")
MEMBERS = ("ann", "bob", "cid")
ANN = ByReference("video", "ann")
STRANGERS = (ByReference("delivery", "cid"), ByReference("rides", "nobody"))
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
    benefit("delivery/snack", 4, member_limit=2, member_limit_period=LimitPeriod.DAY),
    benefit("rides/tour", 9, member_limit=3, member_limit_period=LimitPeriod.MONTH),
)
CODES = {"video/code": 6}
"""How many are in the pool."""
RULES = (
    Rules(partner="video", award_reversal=AwardReversal.DEBT, gift_day_points=60),
    Rules(partner="rides", award_reversal=AwardReversal.TAKE_WHAT_IS_LEFT, gift_day_points=25, time_zone="Asia/Tokyo"),
    Rules(partner="delivery", time_zone="America/New_York"),
)
BOOK = AgreementBook(TERMS)
BY_ID = {term.id: term for term in TERMS}
COMMANDS = {
    "Enrol", "LinkMember", "Unlink", "Award", "ReverseAward", "Extend", "Adjust", "Expire", "Freeze", "Unfreeze",
    "Give", "Merge", "Unmerge", "Redeem", "Reserve", *Sharing, *Step,
}  # fmt: skip

partners = st.sampled_from(PARTNERS)
members = st.sampled_from(MEMBERS)
benefits = st.sampled_from(BENEFITS)
by_issuer = st.sampled_from([None, None, None, *PARTNERS])
late = st.sampled_from([False, False, False, True])
velocities = st.lists(
    st.builds(
        Velocity, window_seconds=st.sampled_from([600, 7_200, 86_400]), redemptions_max=st.none() | st.integers(1, 3),
        points_max=st.integers(20, 90), benefit=st.none() | st.sampled_from([one.id for one in BENEFITS]),
        points_from=st.sampled_from([0, 0, 20]),
    ),
    max_size=1,
)  # fmt: skip


class Exchange(RuleBasedStateMachine):
    """The ledger's part without its database: references, wallets, stock, and the entries as they come, in blocks.

    `then`: how each wallet stood from which entry on. `sound`: what the blocks before this one make of each, with its
    open holds; `fresh`: what happened to it in this one.
    """

    reached: ClassVar[Counter[tuple[str, str]]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.wallets: dict[str, Wallet] = {}
        self.references: dict[str, str] = {}
        self.laid_down = list(RULES)
        self.offers = {one.id: one for one in BENEFITS}
        self.stocks = {one.id: Stock(CODES.get(one.id, one.stock)) for one in BENEFITS}
        self.quotes: list[Quote] = []
        self.redemptions: dict[str, Redemption] = {}
        self.lives: dict[str, Life] = {}
        self.about: dict[str, list[Entry]] = {}
        self.entries: list[Entry] = []
        self.posted: Counter[tuple[str, Account]] = Counter()
        self.together = False
        self.block = 1
        self.changed: set[str] = set()
        self.stepped: set[str] = set()
        self.events: dict[str, list[tuple[int, Event]]] = {}
        self.then: dict[str, list[tuple[int, Wallet]]] = {}
        self.sound: dict[str, tuple[Wallet, Holds]] = {}
        self.fresh: dict[str, list[Event]] = {}
        self.folded: dict[str, tuple[Wallet, Holds]] = {}

    # What happens

    @initialize(merged=st.sampled_from([False, False, True]))
    def somebody_can_do_something(self, *, merged: bool) -> None:
        """Begin with points of all kinds, somebody to give them to, a household, and at times two who are one."""
        for partner, points, days in (("video", 200, 2), ("rides", 100, None), ("delivery", 100, None)):
            self.decide(enrol(partner, whose=ANN) if partner == "video" else link(partner, self._ann, reference="ann"))
            self.decide(award(partner, points, expires=None if days is None else day(days), whose=ByWallet(self._ann)))
        self.decide(award("video", 150, expires=day(60), whose=ANN))
        self.decide(reserve(BENEFITS[0], 2, whose=ANN, ttl=40 * 3_600), BENEFITS[0])
        self.decide(redeem(BENEFITS[2], 3, through="delivery", whose=ByReference("delivery", "ann")), BENEFITS[2])
        for member in ("bob", "cid"):
            self.decide(award("video", 80, whose=ByReference("video", member)))
        self.decide(link("rides", self.references["video:bob"], reference="bob"))
        self.decide(link("rides", self.references["video:cid"], reference="cid", daily_limit=50))
        self.decide(share(Sharing.FOUND, "pool", whose=ANN, key="pool"))
        self.decide(share(Sharing.JOIN, "pool", whose=ByReference("video", "cid")))
        self.decide(share(Sharing.PAY_IN, "pool", 30, whose=ANN))
        if merged:
            self.decide(merge(self._ann, whose=ByReference("video", "bob")))

    @property
    def _ann(self) -> str:
        return self.references["video:ann"]

    @rule(hours=st.sampled_from([0.05, 0.05, 1, 1, 2, 6, 12, 30, 50, 31 * 24]))
    def time_passes(self, hours: float) -> None:
        """Let minutes or hours pass; once in a while a month, so that what came back is over again."""
        self._commit()
        self.now += timedelta(hours=hours)

    @rule()
    def until_something_ends(self) -> None:
        """Let time pass to the very moment at which the next thing begins or is over."""
        self._commit()
        moments = [one.reserved_until for one in self.redemptions.values() if one.status is RedemptionStatus.RESERVED]
        for lot in (lot for wallet in self.wallets.values() for lot in wallet.lots):
            moments += [lot.active_from, lot.expires_at if lot.remaining else None]
        self.now = min((one for one in moments if one is not None and one > self.now), default=self.now)

    @rule()
    def together_or_apart(self) -> None:
        """Let what follows be one commit, or end that."""
        self._commit()
        self.together = not self.together

    @rule(what=benefits, price=st.integers(1, 40))
    def reprice(self, what: Benefit, price: int) -> None:
        """Let a partner change its price."""
        self.offers[what.id] = replace(what, points_price=price)

    @rule(
        partner=partners, policy=st.sampled_from(AwardReversal), gifts=st.sampled_from([0, 30, 90]),
        zone=st.sampled_from(["UTC", "Asia/Tokyo"]), velocity=velocities,
        stopped=st.sampled_from([None, None, None, "fraud"]), what=st.none() | st.none() | benefits,
    )  # fmt: skip
    def lay_down(
        self, partner: str, policy: AwardReversal, gifts: int, zone: str, velocity: list[Velocity],
        stopped: str | None, what: Benefit | None,
    ) -> None:  # fmt: skip
        """Let a partner, and the exchange, change the rules."""
        self._rule(
            partner, award_reversal=policy, gift_day_points=gifts, time_zone=zone, velocity=tuple(velocity),
            frozen=stopped, frozen_benefits=() if what is None else (FrozenBenefit(what.id, "recalled"),),
        )  # fmt: skip

    @rule(velocity=velocities)
    def lay_down_for_all(self, velocity: list[Velocity]) -> None:
        """Let the exchange say how fast anybody may redeem."""
        self._rule(EXCHANGE, velocity=tuple(velocity))

    def _rule(self, partner: str, **said: Any) -> None:
        self.laid_down.append(Rules(partner=partner, version=len(self.laid_down), since=self.now, **said))

    @rule(
        issuer=partners, member=members, points=st.integers(1, 60), days=st.none() | st.integers(0, 4),
        cool=st.none() | st.none() | st.sampled_from([0, 3, 30]),
    )  # fmt: skip
    def award(self, issuer: str, member: str, points: int, days: int | None, cool: float | None) -> None:
        """Give points, some of which are over already, or cool off, or would until they are over."""
        expires = None if days is None else day(days)
        active = None if cool is None else self.now + timedelta(hours=cool)
        self.decide(award(issuer, points, expires=expires, active=active, whose=ByReference(issuer, member)))

    @rule(data=st.data(), points=st.none() | st.integers(1, 60), by=by_issuer)
    def reverse_award(self, data: st.DataObject, points: int | None, by: str | None) -> None:
        """Take points back, all or some, as their issuer or as another."""
        wallet, lot = self._a_lot(data)
        self.decide(reverse_award(lot.id, points, issuer=by or lot.issuer, whose=ByWallet(wallet.id)))

    @rule(data=st.data(), days=st.none() | st.integers(0, 70), by=by_issuer)
    def extend(self, data: st.DataObject, days: int | None, by: str | None) -> None:
        """Give a lot more time, or less, or none that it has not got."""
        wallet, lot = self._a_lot(data)
        until = None if days is None else day(days)
        self.decide(extend(lot.id, until, issuer=by or lot.issuer, whose=ByWallet(wallet.id)))

    @rule(data=st.data(), points=st.integers(-60, 60).filter(bool), days=st.none() | st.integers(0, 4))
    def adjust(self, data: st.DataObject, points: int, days: int | None) -> None:
        """Give or take points as a goodwill."""
        whose = self._somebody(data)
        expires = None if days is None or points < 0 else day(days)
        self.decide(adjust(whose.partner, points, expires=expires, whose=whose))

    @rule(data=st.data(), by=st.sampled_from([EXCHANGE, EXCHANGE, *PARTNERS]), thaw=st.booleans())
    def freeze_lot(self, data: st.DataObject, by: str, *, thaw: bool) -> None:
        """Freeze a lot, or let it go on, as the exchange, as its issuer or as another."""
        wallet, lot = self._a_lot(data, (lambda one: one.frozen) if thaw else None)
        self.decide(freeze(lot.id, by=by, whose=ByWallet(wallet.id), frozen=not thaw))

    @rule(data=st.data(), thaw=st.sampled_from([True, True, False]))
    def freeze_wallet(self, data: st.DataObject, *, thaw: bool) -> None:
        """Freeze a member, or a pool, or let it go on."""
        stopped = [name for name, wallet in self.wallets.items() if wallet.frozen]
        name = data.draw(st.sampled_from(stopped if thaw and stopped else list(self.wallets)))
        self.decide(freeze(whose=ByWallet(name), frozen=not thaw))

    @rule(data=st.data(), to=members, points=st.integers(1, 40), by_member=st.booleans())
    def give(self, data: st.DataObject, to: str, points: int, *, by_member: bool) -> None:
        """Give points to another member, or to oneself."""
        whose = self._somebody(data)
        other = ByReference(whose.partner, to)
        self.decide(give(points, other, through=whose.partner, whose=whose, by_member=by_member))

    @rule(data=st.data(), what=st.sampled_from([Sharing.FOUND, Sharing.JOIN, Sharing.JOIN]), late=late)
    def share(self, data: st.DataObject, what: Sharing, *, late: bool) -> None:
        """Found a household, or join one with an invitation that is good or over."""
        whose = self._somebody(data)
        pools = [name for name in self.wallets if name.startswith("pool")]
        pool = f"pool-{len(self.entries)}" if what is Sharing.FOUND else data.draw(st.sampled_from([*pools, "none"]))
        until = self.now if late else None
        key = pool if what is Sharing.FOUND else None
        self.decide(share(what, pool, through=whose.partner, whose=whose, invited_until=until, key=key))

    @rule(data=st.data(), points=st.integers(1, 40), what=st.sampled_from([Sharing.PAY_IN, Sharing.DRAW]))
    def pool(self, data: st.DataObject, points: int, what: Sharing) -> None:
        """Pay into a household's pool or draw from it, whether or not there is one."""
        whose = self._somebody(data)
        self.decide(share(what, self._pool_of(whose), points, through=whose.partner, whose=whose))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Leave a household, whether or not there is one, and whatever is in its pool."""
        whose = self._somebody(data)
        self.decide(share(Sharing.LEAVE, self._pool_of(whose), through=whose.partner, whose=whose))

    @rule(
        data=st.data(), what=benefits, quantity=st.sampled_from([1, 1, 2, 4]),
        region=st.sampled_from(["DE", "DE", None]), wrong=st.sampled_from([None, None, 0, 1]),
        ttl=st.none() | st.sampled_from([60, 3_600, 40 * 3_600, 50 * 86_400]), quoted=st.booleans(),
    )  # fmt: skip
    def take(
        self, data: st.DataObject, what: Benefit, quantity: int, region: str | None, wrong: int | None,
        ttl: int | None, *, quoted: bool,
    ) -> None:  # fmt: skip
        """Take or reserve a benefit, expecting the right price, a wrong one or none, with or without a quote."""
        whose, what = self._somebody(data), self.offers[what.id]
        wallet = self._standing(self.references.get(reference_id(whose)))
        whole, wanted = () if wallet is None else wallet.whole, (whose.partner, what.id, quantity)
        fitting = [
            one for one in self.quotes if one.wallet in whole and (one.partner, one.benefit, one.quantity) == wanted
        ]
        quote = fitting[-1] if quoted and fitting else None
        unit = what.points_price if quote is None else quote.unit_points
        said: dict[str, Any] = {
            "through": whose.partner, "whose": whose, "region": region,
            "expected_points": None if wrong is None else unit * quantity + wrong,
            "quote": None if quote is None else quote.id,
        }  # fmt: skip
        command = redeem(what, quantity, **said) if ttl is None else reserve(what, quantity, ttl=ttl, **said)
        self.decide(command, what, quote=quote)

    @rule(data=st.data(), what=benefits, quantity=st.sampled_from([1, 1, 2, 4]))
    def quote(self, data: st.DataObject, what: Benefit, quantity: int) -> None:
        """Ask what a benefit would cost."""
        whose, what = self._somebody(data), self.offers[what.id]
        command = redeem(what, quantity, through=whose.partner, whose=whose, region="DE")
        wallet, terms, all_known = self._read(command, what, None)
        refused = None
        try:
            self.quotes.append(promise(command, wallet, terms, self.now))
        except Refusal as refusal:
            refused = told(refusal)
        assert refused == expected(command, wallet, all_known, self.now)

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

    @rule(data=st.data(), over=st.booleans())
    def expire(self, data: st.DataObject, *, over: bool) -> None:
        """Expire a lot, whether or not its time is over."""
        wallet, lot = self._a_lot(data, (lambda one: one.free and not one.live(self.now)) if over else None)
        self.decide(expire(lot.id, wallet.id, issuer=lot.issuer))

    @rule(partner=partners, member=members)
    def enrol(self, partner: str, member: str) -> None:
        """Mention a member."""
        self.decide(enrol(partner, whose=ByReference(partner, member)))

    @rule(data=st.data(), partner=partners, reference=members, limit=st.none() | st.integers(1, 80), late=late)
    def link(self, data: st.DataObject, partner: str, reference: str, limit: int | None, *, late: bool) -> None:
        """Link a second partner, with a code that is good or over."""
        wallet = self.references.get(reference_id(self._somebody(data)), "nobody")
        until = self.now if late else day(10_000)
        self.decide(link(partner, wallet, reference=reference, daily_limit=limit, good_until=until))

    @rule(data=st.data(), ended=partners)
    def unlink(self, data: st.DataObject, ended: str) -> None:
        """End a link, whether or not there is one."""
        whose = self._somebody(data)
        self.decide(unlink(ended, self.references.get(reference_id(whose), "nobody"), through=whose.partner))

    @rule(data=st.data(), late=late)
    def merge(self, data: st.DataObject, *, late: bool) -> None:
        """Let a member become another, or itself, with a code that is good or over."""
        whose = self._somebody(data)
        others = {name for name in self.references.values() if name != self.references.get(reference_id(whose))}
        into = data.draw(st.sampled_from(sorted(others) * 3 + sorted(set(self.references.values()))))
        asked = data.draw(st.sampled_from([one.partner for one in self.wallets[into].links] * 2 + ["delivery"]))
        until = self.now if late else None
        self.decide(merge(into, through=whose.partner, whose=whose, until=until, asked_through=asked))

    @precondition(lambda self: any(wallet.absorbed for wallet in self.wallets.values()))
    @rule(data=st.data(), by=st.sampled_from([EXCHANGE, *PARTNERS]), other=st.booleans())
    def unmerge(self, data: st.DataObject, by: str, *, other: bool) -> None:
        """Undo a merge, or what was none."""
        whole = [wallet for wallet in self.wallets.values() if wallet.absorbed]
        wallet = data.draw(st.sampled_from(whole))
        apart = data.draw(st.sampled_from(sorted(self.wallets))) if other else wallet.absorbed[-1].wallet
        self.decide(unmerge(wallet.id, apart, through=by))

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """Read the journal from its beginning to any point: the wallets are what they were there."""
        until, stops = data.draw(st.integers(0, len(self.entries))), Stops(self.laid_down)
        for name, events in self.events.items():
            holds: Holds = {}
            folded, wrong = fold(Wallet(name), [one for number, one in events if number < until], BOOK, holds, stops)
            assert wrong == []
            stood = [wallet for number, wallet in self.then[name] if number < until]
            if stood:
                assert differences(stood[-1], folded) == []
                assert unheld(stood[-1], holds) == []
            else:
                assert folded == Wallet(name)

    # How it is decided

    def decide(self, command: Command, of: Benefit | None = None, *, quote: Quote | None = None) -> None:
        """Decide a command; record what it makes, or hold a refusal against the contract in other words."""
        wallet, terms, all_known = self._read(command, of, quote)
        before = repr((wallet, terms))
        decided: Decision | Refusal
        try:
            decided = decide(command, wallet, terms, self.now, SALT)
        except Refusal as refusal:
            decided = refusal
        assert repr((wallet, terms)) == before, "what it was decided over is still what it was"
        refused = told(decided) if isinstance(decided, Refusal) else None
        name = _name(command)
        event(f"{name}: {refused[0].__name__ if refused else 'done'}")
        self.reached[name, "refused" if refused else "done"] += 1
        assert refused == expected(command, wallet, all_known, self.now)
        if isinstance(decided, Decision):
            self._record(decided)
            if not self.together:
                self._commit()

    def _read(self, command: Command, of: Benefit | None, quote: Quote | None) -> tuple[Wallet | None, Terms, Terms]:
        """Return the wallet and the terms of a command as a ledger reads them; and with all that it ever took."""
        redemption = self.redemptions.get(command.redemption or "") if isinstance(command, Act) else None
        if redemption is None:
            name = self._named(command.whose, new=isinstance(command, Award | Enrol))
        else:
            name = redemption.wallet
        wallet = self._standing(name)
        if wallet is None and name is not None and isinstance(command, Award | Enrol):
            wallet = Wallet(name)
        named = of or (None if redemption is None else self.offers[redemption.benefit])
        other = None
        if isinstance(command, Between):
            second = self._named(command.to) or ""
            other = self.wallets.get(second) if isinstance(command, Unmerge) else self._standing(second)
            if other is None and isinstance(command, Share) and command.what is Sharing.FOUND:
                other = Wallet(second)
        reference = command.reference if isinstance(command, LinkMember) else ""
        whole = () if wallet is None else wallet.whole
        ever = [one for one in self.redemptions.values() if one.wallet in whole] if isinstance(command, Redeem) else []
        book = RuleBook(self.laid_down)
        terms = Terms(
            BOOK, named, Stock(None) if named is None else self.stocks[named.id],
            self.references.get(f"{command.partner}:{reference}"), quote, redemption, other, book,
        )  # fmt: skip
        since = look_back([] if named is None else [named], book, self.now)
        recent = [one for one in ever if since is not None and one.created_at >= since]
        return wallet, replace(terms, recent=recent), replace(terms, recent=ever)

    def _named(self, whose: Whose, *, new: bool = False) -> str | None:
        if whose is None or isinstance(whose, ByWallet):
            return None if whose is None else whose.wallet
        return self.references.get(reference_id(whose), f"wallet of {reference_id(whose)}" if new else None)

    def _standing(self, name: str | None) -> Wallet | None:
        wallet = self.wallets.get(name or "")
        return wallet if wallet is None or wallet.merged_into is None else self._standing(wallet.merged_into)

    def _somebody(self, data: st.DataObject) -> ByReference:
        """Draw a member as some partner knows it; once in a while one whom it does not know."""
        return data.draw(st.sampled_from([*map(_by, self.references), *map(_by, self.references), *STRANGERS]))

    def _pool_of(self, whose: ByReference) -> str | None:
        wallet = self._standing(self.references.get(reference_id(whose)))
        return None if wallet is None else wallet.household

    def _a_lot(self, data: st.DataObject, like: Callable[[Lot], object] | None = None) -> tuple[Wallet, Lot]:
        """Draw a lot; one such as is said, if there is any."""
        lots = [(wallet, lot) for wallet in self.wallets.values() for lot in wallet.lots]
        fitting = [(wallet, lot) for wallet, lot in lots if like is not None and like(lot)]
        return data.draw(st.sampled_from(fitting or lots))

    def _record(self, decision: Decision) -> None:
        entry, redemption, number = decision.entry, decision.redemption, len(self.entries)
        if decision.claims is not None:
            assert reference_id(decision.claims) not in self.references, "a reference is claimed once"
            self.references[reference_id(decision.claims)] = decision.wallet.id
        for whose in decision.renamed:
            assert reference_id(whose) in self.references, "only what means somebody can mean somebody else"
            self.references[reference_id(whose)] = decision.renamed_to or ""
        self.entries.append(entry)
        for posting in entry.postings:
            self.posted[posting.unit, posting.account] += posting.amount
        place = (1, self.block, number)
        events = Event.both(entry, place, 1)
        written = [one for one in (decision.wallet, decision.other) if one is not None]
        assert [name for name, _ in events] == [one.id for one in written], "an entry names what it changed"
        for wallet, (name, one) in zip(written, events, strict=True):
            self.wallets[name] = wallet
            self.changed.add(name)
            self.events.setdefault(name, []).append((number, one))
            self.then.setdefault(name, []).append((number, self._as_written(wallet)))
            self._fold(name, one)
        assert (redemption is None) == (entry.kind not in BEGINNINGS and entry.kind not in STEPS)
        if redemption is None:
            assert owed(entry, BY_ID, BOOK) == []
            return
        given = entry.quantity if "code" in redemption.benefit and entry.kind in ("REDEEM", "CONFIRM") else 0
        assert decision.codes == given
        self.stocks[redemption.benefit] = decision.stock.applied(self.stocks[redemption.benefit])
        self.redemptions[redemption.id] = redemption
        self.stepped.add(redemption.id)
        self.about.setdefault(redemption.id, []).append(entry)
        life = self.lives.setdefault(redemption.id, Life(redemption.id, BY_ID, BOOK))
        assert life.go_on(Lived(entry, place, 1)) == []

    def _fold(self, name: str, one: Event) -> None:
        """Fold a wallet's next event; what a block does to it is judged together, as it was committed."""
        self.fresh.setdefault(name, []).append(one)
        before, holds = self.sound.get(name, (Wallet(name), {}))
        holds = dict(holds)
        folded, wrong = fold(before, self.fresh[name], BOOK, holds, Stops(self.laid_down))
        assert wrong == []
        self.folded[name] = folded, holds

    def _commit(self) -> None:
        """Give what was changed its next version."""
        for name in self.changed:
            self.wallets[name] = self._as_written(self.wallets[name])
        for name in self.stepped:
            self.redemptions[name] = self._as_stored(self.redemptions[name])
        self.changed, self.stepped, self.fresh = set(), set(), {}
        self.sound.update(self.folded)
        self.block += 1

    def _as_written(self, wallet: Wallet) -> Wallet:
        return replace(wallet, version=wallet.version + 1, period=1) if wallet.id in self.changed else wallet

    def _as_stored(self, one: Redemption) -> Redemption:
        return replace(one, version=one.version + 1, period=1) if one.id in self.stepped else one

    # What must hold (the numbers are those of the invariants that `check` proves)

    @invariant()
    def points_balance(self) -> None:
        """1. Every entry sums to zero per unit, and so does the whole journal."""
        total: Counter[str] = Counter()
        last: Counter[str] = Counter()
        for (unit, _), amount in self.posted.items():
            total[unit] += amount
        for posting in self.entries[-1].postings:
            last[posting.unit] += posting.amount
        assert not any((*total.values(), *last.values()))

    @invariant()
    def wallets_are_their_entries(self) -> None:
        """2, 3, 6, 8. Lots are possible, wallets their entries, the first to expire went first, holds hold."""
        open_holds: set[str] = set()
        for name, wallet in self.wallets.items():
            folded, holds = self.folded[name]
            assert differences(self._as_written(wallet), folded) == []
            assert unheld(wallet, holds) == []
            open_holds |= holds.keys()
        reserved = {one.id for one in self.redemptions.values() if one.status is RedemptionStatus.RESERVED}
        assert open_holds == reserved

    @invariant()
    def nothing_is_negative(self) -> None:
        """2. Neither a balance nor a debt, nor anything that is counted in a lot."""
        for wallet in self.wallets.values():
            assert all(debt > 0 for debt in wallet.debts.values())
            for lot in wallet.lots:
                counts = (lot.remaining, lot.redeemed, lot.expired, lot.restored, lot.given, lot.withdrawn, lot.owed)
                assert min(counts) >= 0
                assert 0 <= lot.held <= lot.remaining
                assert lot.restored <= lot.redeemed
                assert 0 <= lot.reversible <= lot.awarded

    @invariant()
    def redemptions_are_their_entries(self) -> None:
        """3, 8. A redemption is the fold of its entries, and parts that went back are together the whole."""
        for redemption in self.redemptions.values():
            assert unlike(self._as_stored(redemption), self.lives[redemption.id].redemption) == []
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
        """4. What an issuer gave, less where it went, is what remains in its lots, whoever has them."""
        remaining: Counter[str] = Counter()
        for lot in (lot for wallet in self.wallets.values() for lot in wallet.lots):
            remaining[lot.issuer] += lot.remaining
        gone = (Account.ISSUED, Account.GOODWILL, Account.REDEEMED, Account.EXPIRED, Account.WITHDRAWN)
        for issuer in PARTNERS:
            unit = f"points:{issuer}"
            out = -sum(self.posted[unit, account] for account in gone)
            assert remaining[issuer] == out == self.posted[unit, Account.WALLET]

    @invariant()
    def debts_are_what_was_taken_back_and_not_repaid(self) -> None:
        """An issuer is owed what it reversed beyond what was there, less what awards have repaid since."""
        owing: Counter[str] = Counter()
        for entry in self.entries:
            owing[entry.by] += int(entry.detail.get("debt", "0")) - int(entry.detail.get("repaid", "0"))
        there: Counter[str] = Counter()
        for wallet in self.wallets.values():
            there.update(wallet.debts)
        assert +there == +owing
        assert min(owing.values(), default=0) >= 0

    @invariant()
    def nobody_gives_more_than_its_issuer_allows(self) -> None:
        """What counts against a day's limit is what was given away on the last day on which anything was."""
        if any(entry.kind is EntryKind.MERGE for entry in self.entries):
            return
        given: dict[tuple[str, str], tuple[date, int]] = {}
        for entry in self.entries:
            if entry.kind in (EntryKind.GIVE, EntryKind.PAY_IN):
                for posting in entry.postings:
                    if posting.amount < 0:
                        on, points = given.get((entry.wallet, posting.party), (entry.at.date(), 0))
                        so_far = points if on == entry.at.date() else 0
                        given[entry.wallet, posting.party] = entry.at.date(), so_far - posting.amount
        counted = {
            (wallet.id, issuer): tuple(one) for wallet in self.wallets.values() for issuer, one in wallet.given.items()
        }
        assert counted == given

    @invariant()
    def households_and_their_members_agree(self) -> None:
        """A member shares the pool that counts it among its members, and no other."""
        here = {(name, wallet.household) for name, wallet in self.wallets.items() if wallet.household is not None}
        assert here == {(member, pool.id) for pool in self.wallets.values() for member in pool.members}

    @invariant()
    def points_can_be_reached(self) -> None:
        """Whoever has a wallet has a link through which to reach it, and what it is called there means it."""
        for name, wallet in self.wallets.items():
            if name.startswith("pool") or wallet.merged_into is not None:
                assert wallet.links == ()
            else:
                assert any(link.open for link in wallet.links)
            assert wallet.merged_into is None or wallet.lots == ()
            for one in wallet.links:
                assert self.references[f"{one.partner}:{one.reference}"] == name
        assert all(self.wallets[name].merged_into is None for name in self.references.values())

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        """11. No more is sold or reserved than was offered, no member has more than its limit, nothing is lost."""
        counted: Counter[tuple[str, str]] = Counter()
        for one in self.redemptions.values():
            if one.status not in (RedemptionStatus.CANCELLED, RedemptionStatus.EXPIRED):
                counted[one.wallet, one.benefit] += one.quantity - one.returned
        merged = any(entry.kind is EntryKind.MERGE for entry in self.entries)
        for offer in BENEFITS:
            name, stock = offer.id, self.stocks[offer.id]
            lives = [life for life in self.lives.values() if life.redemption and life.redemption.benefit == name]
            assert stock.sold == sum(life.stock.sold for life in lives)
            assert stock.reserved == sum(life.stock.reserved for life in lives)
            assert stock.left is None or stock.left >= 0
            for wallet in self.wallets.values():
                ever = 0 if wallet.merged_into else sum(counted[each, name] for each in wallet.whole)
                assert wallet.taken.get(name, 0) == ever >= 0
                if offer.member_limit is not None and offer.member_limit_period is LimitPeriod.EVER and not merged:
                    assert ever <= offer.member_limit


def _by(reference: str) -> ByReference:
    partner, _, name = reference.partition(":")
    return ByReference(partner, name)


def _name(command: Command) -> str:
    """Return under which name a command is counted."""
    if isinstance(command, Act):
        return command.step
    if isinstance(command, Share):
        return command.what
    name = type(command).__name__
    return "Unfreeze" if name == "Freeze" and not getattr(command, "frozen", True) else name


def test_the_law_holds_in_any_order() -> None:
    """Whatever is asked in whatever order, every invariant holds after it; and all was done, and refused."""
    Exchange.reached.clear()
    wanted = {(name, what) for name in COMMANDS for what in ("done", "refused")}
    for turn in range(4):  # chance may leave something out; more of it seldom does, also where it is always the same
        examples = 200 * 2**turn
        chance = settings(max_examples=examples, stateful_step_count=50, deadline=None)
        run_state_machine_as_test(Exchange, settings=chance)
        if wanted <= Exchange.reached.keys():
            break
    assert set(Exchange.reached) == wanted
