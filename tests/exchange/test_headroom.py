"""The arithmetic of headroom alone: whatever lanes draw, use and get back, a redemption is taken exactly if it fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exchange.agreements import Debit
from exchange.amounts import Money
from exchange.exposure import NO_SLICE, Cap, CapBook, Pair, Pool, Room, Slice, beyond, call_in, change, draw, with_draw
from exchange.redemption import Step
from tests.exchange.speech import NOW, act, agreement, agreements, award, awarded, benefit, decided, redeem, reserve

VIDEO = Pair("video", "EUR")
RIDES = Pair("rides", "EUR")
TRIP = benefit("rides/trip", 100)
LANES = st.integers(1, 3)
MINOR = st.integers(0, 300)


def cap(minor: int | None, version: int = 1, partner: str = "video", currency: str = "EUR") -> Cap:
    return Cap(
        partner=partner,
        currency=currency,
        version=version,
        minor=minor,
        low_minor=None,
        epoch=1,
        since=NOW,
        actor="ada",
    )


class Lanes(RuleBasedStateMachine):
    """Three lanes and one pool, changed as the ledger changes them; what is owed is kept apart, as one number."""

    pool: Pool
    slices: dict[int, Slice]
    owed: int

    @initialize(minor=MINOR, opening=st.integers(-100, 100))
    def begin(self, minor: int, opening: int) -> None:
        """Open a pool."""
        self.pool, self.slices, self.owed = Pool(minor, 0, opening).counted(), {}, opening

    @property
    def left(self) -> int:
        """What may still be owed."""
        return self.pool.cap + self.pool.paid - self.owed

    def drawn(self, lane: int, wish: int, must: int) -> Room:
        """Draw as the ledger does: only when the lane's own room is too small."""
        room = Room(cap(self.pool.cap), lane, self.pool.free, self.slices.get(lane, NO_SLICE))
        if must <= room.slice.left and wish <= room.usable and room.slice.version:
            return room
        what = draw(self.pool, self.slices, lane, wish, must)
        self.pool = what.pool
        self.slices |= {number: each._replace(version=each.version + 1) for number, each in what.slices.items()}
        return with_draw(room, what, wish)

    def use(self, lane: int, minor: int) -> None:
        """Commit it."""
        self.slices[lane] = self.slices[lane]._replace(used=self.slices[lane].used + minor)
        self.owed += minor

    @rule(lane=LANES, minor=st.integers(1, 120))
    def redeem(self, lane: int, minor: int) -> None:
        """A redemption is taken if, and only if, all that is left anywhere is enough."""
        fits = minor <= self.left
        room = self.drawn(lane, minor, 0)
        assert (minor <= room.usable) == fits
        assert room.dry != fits
        if fits:
            self.use(lane, minor)

    @rule(lane=LANES, minor=st.integers(1, 120))
    def give_back(self, lane: int, minor: int) -> None:
        """What cannot be refused is owed, whatever is left."""
        self.drawn(lane, minor, minor)
        self.use(lane, minor)

    @rule(lane=LANES, minor=st.integers(1, 120))
    def earn(self, lane: int, minor: int) -> None:
        """What is earned is room."""
        self.drawn(lane, -minor, -minor)
        self.use(lane, -minor)

    @rule(minor=st.integers(-100, 200))
    def pay(self, minor: int) -> None:
        """In or out."""
        self.pool = self.pool._replace(paid=self.pool.paid + minor).counted()
        self.level()

    @rule(minor=MINOR)
    def set_cap(self, minor: int) -> None:
        """Higher or lower."""
        self.pool = self.pool._replace(cap=minor).counted()
        self.level()

    def level(self) -> None:
        """Afterwards no lane has what there is not."""
        what = call_in(self.pool, self.slices)
        self.pool, self.slices = what.pool, self.slices | what.slices
        assert self.pool.free >= 0 or all(each.left == 0 for each in self.slices.values())

    @invariant()
    def nothing_is_lost_or_made(self) -> None:
        """Pool, slices and what is owed add up."""
        assert all(each.used <= each.granted for each in self.slices.values())
        assert self.pool.granted == sum(each.granted for each in self.slices.values())
        assert self.pool.opening + sum(each.used for each in self.slices.values()) == self.owed
        assert self.pool.free + sum(each.left for each in self.slices.values()) == self.left
        assert self.pool.over == max(0, -self.pool.free)


TestLanes = Lanes.TestCase


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_lane_draws_what_it_needs_and_a_part_of_the_rest(free: int, wish: int) -> None:
    """It gets what it wishes as far as there is that much, and never more than an eighth of what is left besides."""
    granted = draw(Pool(free, 0, 0), {}, 1, wish).slices[1].granted
    assert min(free, wish) <= granted <= min(free, wish) + max(0, free - wish) // 8


# What events do to it


BOOK = agreements(agreement("video", "rides", 1_000, fee=200, commission=300))


def test_a_redemption_makes_the_issuer_owe_and_the_others_be_owed() -> None:
    """The issuer owes the gross amount, the provider is owed it less fee and commission, the channel its commission."""
    wallet = awarded(award("video", 1_000), award("delivery", 1))
    made = decided(redeem(TRIP, through="delivery"), wallet, BOOK, of=TRIP)
    owed = change(None, made.redemption, made.entry)
    assert {pair.partner: minor for pair, minor in owed.items()} == {
        "video": 100, "rides": -95, "delivery": -3, "exchange": -2,
    }  # fmt: skip


def test_a_reservation_promises_and_its_end_takes_that_back() -> None:
    """Reserved: the issuer's alone, gross. Confirmed in part: what is owed instead. Cancelled: nothing."""
    wallet = awarded(award("video", 1_000))
    held = decided(reserve(TRIP, 3), wallet, BOOK, of=TRIP)
    assert change(None, held.redemption, held.entry) == {VIDEO: 300}
    confirmed = decided(act(Step.CONFIRM, held.redemption, 2), held.wallet, BOOK, of=TRIP, redemption=held.redemption)
    after = change(held.redemption, confirmed.redemption, confirmed.entry)
    assert (after[VIDEO], after[RIDES]) == (200 - 6 - 300, -190)
    cancelled = decided(act(Step.CANCEL, held.redemption), held.wallet, BOOK, of=TRIP, redemption=held.redemption)
    assert change(held.redemption, cancelled.redemption, cancelled.entry) == {VIDEO: -300}
    reversed_ = decided(
        act(Step.REVERSE, confirmed.redemption), confirmed.wallet, BOOK, of=TRIP, redemption=confirmed.redemption
    )
    back = change(confirmed.redemption, reversed_.redemption, reversed_.entry)
    assert (back[VIDEO], back[RIDES]) == (-194, 190)


def test_what_an_issuer_owes_is_counted_over_all_its_rows() -> None:
    """Two rows of one issuer count together, against its headroom in that currency; who has none named is free."""
    rows = [
        Debit("video", 1, "a", Money(60, "EUR")), Debit("video", 1, "b", Money(50, "EUR")),
        Debit("video", 1, "c", Money(500, "CHF")), Debit("rides", 1), Debit("delivery", 1, "d", Money(9, "EUR")),
    ]  # fmt: skip
    assert beyond(rows, {VIDEO: 110, Pair("delivery", "EUR"): 9}) == {}
    assert beyond(rows, {VIDEO: 109}) == {VIDEO: 110}
    assert beyond([Debit("video", 1, "a", Money(0, "EUR"))], {VIDEO: -5}) == {}


def test_only_the_newest_version_of_a_cap_counts_and_a_lifted_one_not_at_all() -> None:
    """A book knows, for each partner, what is in force in every currency."""
    book = CapBook([cap(7, 2), cap(5, 1), cap(None, 2, "rides"), cap(5, 1, "rides"), cap(1, 1, currency="CHF")])
    assert [(each.currency, each.minor) for each in book.of(["video", "rides", "nobody"])] == [("EUR", 7), ("CHF", 1)]
    assert book.partners == ["video"]
    assert not CapBook([cap(None)])
