"""What can happen to three members: every command there is, as any of them may mean or mistake it, and time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec.structs import replace

from exchange.benefit import Benefit
from exchange.commands import ByReference, ByWallet, Sharing
from exchange.decisions import promise
from exchange.errors import Refusal
from exchange.journal import EXCHANGE
from exchange.proof.history import Holds, differences, fold, unheld
from exchange.proof.stops import Stops
from exchange.redemption import RedemptionStatus, Step
from exchange.rules import AwardReversal, FrozenBenefit, Rules, Velocity
from exchange.store.documents import reference_id
from exchange.wallet import Lot, Wallet
from tests.exchange.any_order.given import ANN, BENEFITS, BOOK, MEMBERS, PARTNERS, STRANGERS
from tests.exchange.any_order.law import Lawful
from tests.exchange.any_order.other_words import ALLOWED, expected, told
from tests.exchange.speech import (
    act,
    adjust,
    award,
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


class Exchange(Lawful):
    """A lawful ledger to which everything happens, by chance."""

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


def _by(reference: str) -> ByReference:
    partner, _, name = reference.partition(":")
    return ByReference(partner, name)
