"""The life of a redemption by the law alone: which step when, by whom, and what goes back where."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import AgreementBook, Debit
from exchange.amounts import Money
from exchange.benefit import NO_CHANGE, Benefit, Fulfilment, StockChange, UnavailableReason
from exchange.commands import Act
from exchange.decisions import Decision, Terms, promise
from exchange.errors import (
    BenefitUnavailable,
    Forbidden,
    InvalidTransition,
    NotFound,
    PriceChanged,
    Refusal,
    ValidationFailed,
)
from exchange.redemption import TRANSITIONS, Redemption, RedemptionStatus, Step, last_points, returned_debits
from exchange.wallet import Take, Wallet
from tests.exchange.speech import (
    NOW,
    act,
    agreement,
    agreements,
    award,
    awarded,
    benefit,
    day,
    decided,
    expire,
    left,
    link,
    moves,
    redeem,
    reserve,
    unlink,
)

S = RedemptionStatus
TRIP = benefit("rides/trip", 37, fulfilment=Fulfilment.PARTNER_CALL)
BOOK = agreements(agreement("video", "rides", 8_005, fee=150, commission=250), ("delivery", "rides", 707))
SOON = NOW + timedelta(seconds=300)
"""When a reservation of these tests ends."""


class Told(Struct):
    """A member's wallet and one redemption of it, as the steps told so far leave them."""

    wallet: Wallet
    redemption: Redemption
    last: Decision
    of: Benefit = TRIP
    book: AgreementBook = BOOK

    def then(self, step: Step, quantity: int | None = None, *, now: datetime = NOW, **asked: Any) -> Told:
        """Take it a step on."""
        command = act(step, self.redemption, quantity, **asked)
        decision = decided(command, self.wallet, self.book, of=self.of, redemption=self.redemption, now=now)
        assert decision.redemption is not None
        return Told(decision.wallet, decision.redemption, decision, self.of, self.book)

    def refused(self, step: Step, quantity: int | None = None, *, now: datetime = NOW, **asked: Any) -> Refusal:
        """Expect that it cannot be taken that step."""
        with pytest.raises(Refusal) as raised:
            self.then(step, quantity, now=now, **asked)
        return raised.value


def rich() -> Wallet:
    return awarded(award("video", 1_000, key="A"), award("delivery", 50, key="B"))


def taken(
    wallet: Wallet | None = None, quantity: int = 3, *, of: Benefit = TRIP, book: AgreementBook = BOOK,
    now: datetime = NOW, held: bool = False, **asked: Any,
) -> Told:  # fmt: skip
    command = (reserve if held else redeem)(of, quantity, **asked)
    decision = decided(command, wallet or rich(), book, of=of, now=now)
    assert decision.redemption is not None
    return Told(decision.wallet, decision.redemption, decision, of, book)


def standing(status: RedemptionStatus) -> Told:
    """Return a redemption that has come to a status, step by step."""
    if status is S.RESERVED:
        return taken(held=True)
    if status is S.CANCELLED:
        return standing(S.RESERVED).then(Step.CANCEL)
    if status is S.EXPIRED:
        return standing(S.RESERVED).then(Step.LAPSE, now=SOON)
    if status is S.CONFIRMED:
        return taken()
    step = {S.FULFILLED: Step.FULFIL, S.FAILED: Step.FAIL, S.REVERSED: Step.REVERSE}[status]
    return standing(S.CONFIRMED).then(step)


# Which step when


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("status", S)
def test_only_what_is_in_the_table_can_be_done(status: RedemptionStatus, step: Step) -> None:
    """Every status with every step: what the table has leads where it says, all else is refused with the status."""
    told = standing(status)
    assert told.redemption.status is status
    now = SOON if step is Step.LAPSE and status is S.RESERVED else NOW
    if (status, step) in TRANSITIONS:
        after = told.then(step, now=now)
        assert after.redemption.status in TRANSITIONS[status, step]
        assert (after.last.entry.kind, after.last.entry.redemption) == (step.value, told.redemption.id)
        assert (after.redemption.updated_at, after.last.entry.at) == (now, now)
    else:
        refusal = told.refused(step, now=now)
        assert isinstance(refusal, InvalidTransition)
        assert (refusal.status, refusal.path) == (status, ["input", "redemption"])


@pytest.mark.parametrize("status", S)
def test_every_status_can_come_about_and_only_three_go_on(status: RedemptionStatus) -> None:
    """What has ended ends: no step leads out of it."""
    goes_on = {at for at, _ in TRANSITIONS}
    assert goes_on == {S.RESERVED, S.CONFIRMED, S.FULFILLED}
    assert standing(status).redemption.status is status


@pytest.mark.parametrize(
    ("fulfilment", "status", "codes"),
    [(Fulfilment.NONE, S.FULFILLED, 0), (Fulfilment.INSTANT_CODE, S.FULFILLED, 2),
     (Fulfilment.PARTNER_CALL, S.CONFIRMED, 0)],
)  # fmt: skip
def test_a_confirmation_stands_where_its_fulfilment_leaves_it(
    fulfilment: Fulfilment, status: RedemptionStatus, codes: int
) -> None:
    """A reservation has no codes yet; confirmed, it is as if it had been taken at once."""
    of = benefit("rides/trip", 37, fulfilment=fulfilment)
    told = taken(quantity=2, of=of, held=True)
    assert told.last.codes == 0
    after = told.then(Step.CONFIRM)
    assert (after.redemption.status, after.last.codes) == (status, codes)
    assert after.last.entry.detail["status"] == status
    assert after.last.stock == StockChange(sold=2, reserved=-2)


# By whom

WHO: dict[str, dict[str, Any]] = {
    "its channel": {"by": "video"}, "its member": {"by": "video", "by_wallet": "wallet-of-ann"},
    "another member": {"by": "video", "by_wallet": "another"}, "its provider": {"by": "rides"},
    "another partner": {"by": "delivery"}, "its member elsewhere": {"by": "delivery", "by_wallet": "wallet-of-ann"},
    "the exchange": {"by": "exchange", "by_exchange": True},
}  # fmt: skip
CHANNELS = {"its channel", "its member", "the exchange"}
PROVIDERS = {"its provider", "the exchange"}
MAY = {
    Step.CONFIRM: CHANNELS, Step.CANCEL: CHANNELS, Step.FULFIL: PROVIDERS, Step.FAIL: PROVIDERS,
    Step.REVERSE: PROVIDERS,
}  # fmt: skip


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("step", MAY)
def test_a_step_is_somebodys(step: Step, who: str) -> None:
    """Who may not take a step learns no more than of a redemption that is not there, whatever its status."""
    for status in S:
        told = standing(status)
        if who not in MAY[step]:
            assert isinstance(told.refused(step, **WHO[who]), NotFound)
        elif (status, step) in TRANSITIONS:
            assert told.then(step, **WHO[who]).redemption.status in TRANSITIONS[status, step]


def test_a_redemption_that_is_not_there_has_no_steps() -> None:
    """An identifier of nothing is answered as that of somebody else's."""
    for command in (act(Step.CONFIRM, None), act(Step.FAIL, "none")):
        with pytest.raises(NotFound) as raised:
            decided(command, rich())
        assert raised.value.path == ["input", "redemption"]
    assert isinstance(command, Act)


def test_what_cannot_be_known_is_not_taken_for_nothing() -> None:
    """A confirmation that does not know how its benefit is fulfilled is refused: no member pays and gets no code."""
    told = taken(held=True)
    with pytest.raises(NotFound):
        decided(act(Step.CONFIRM, told.redemption), told.wallet, BOOK, redemption=told.redemption)


# Holds


def test_a_hold_moves_nothing_and_keeps_all() -> None:
    """Reserved points stay in the lots and cannot be spent; unit, limit and day are counted from then on."""
    wallet = rich()
    wallet = decided(link("rides", wallet.id, daily_limit=150), wallet).wallet
    of = benefit("rides/trip", 37, member_limit=3)
    told = taken(wallet, of=of, held=True, through="rides")
    assert moves(told.last.entry) == []
    assert left(told.wallet) == ["A: 1000 of 1000", "B: 50 of 50"]
    assert (told.wallet.held(NOW), told.wallet.available(NOW)) == (111, 939)
    assert told.last.stock == StockChange(reserved=3)
    assert told.redemption.reserved_until == SOON
    assert told.last.entry.settling == []
    with pytest.raises(BenefitUnavailable) as raised:
        decided(redeem(of, 1), told.wallet, BOOK, of=of)
    assert raised.value.reasons == [UnavailableReason.MEMBER_LIMIT_REACHED]
    spent = told.wallet.link("rides")
    assert spent is not None
    assert spent.day_left(NOW) == 39


@pytest.mark.parametrize("step", [Step.CANCEL, Step.LAPSE])
def test_a_hold_that_ends_gives_everything_back(step: Step) -> None:
    """Points, unit, limit and the day's spending are as before; a day later the day is another."""
    before = rich()
    before = decided(link("delivery", before.id, daily_limit=150), before).wallet
    for later in (timedelta(), timedelta(days=1)):
        told = taken(before, held=True, through="delivery", ttl=2 * 86_400 if later else 300)
        now = (told.redemption.reserved_until or NOW) if step is Step.LAPSE else NOW + later
        after = told.then(step, now=now)
        assert after.wallet.lots == before.lots
        assert after.wallet.taken == {"rides/trip": 0}
        assert after.last.stock == StockChange(reserved=-3)
        assert moves(after.last.entry) == []
        spent = after.wallet.link("delivery")
        assert spent is not None
        assert spent.day_left(now) == 150
        assert spent.spent == (0 if now.date() == NOW.date() else 111)


def test_a_hold_ends_at_its_deadline_by_itself() -> None:
    """Up to a millisecond before it can be confirmed or cancelled; from then on never, swept or not."""
    told = taken(held=True)
    for step in (Step.CONFIRM, Step.CANCEL):
        assert told.then(step, now=SOON - timedelta(milliseconds=1)).redemption.status is not S.RESERVED
        for now in (SOON, day(1), day(1_000)):
            refusal = told.refused(step, now=now)
            assert isinstance(refusal, InvalidTransition)
            assert refusal.status is S.EXPIRED
    early = told.refused(Step.LAPSE, now=SOON - timedelta(milliseconds=1))
    assert isinstance(early, InvalidTransition)
    assert early.status is S.RESERVED
    swept = told.then(Step.LAPSE, now=SOON)
    assert isinstance(swept.refused(Step.CONFIRM, now=SOON), InvalidTransition)


def test_points_that_are_held_outlive_their_lot() -> None:
    """A lot that ends while a hold keeps some of it loses the rest; what is held can still be confirmed, once."""
    wallet = awarded(award("video", 100, expires=day(1), key="A"))
    told = taken(wallet, 2, held=True, ttl=3 * 86_400)
    rest = decided(expire("A", wallet.id), told.wallet, now=day(1))
    assert moves(rest.entry) == ["member -> video EXPIRED 26"]
    told = replace(told, wallet=rest.wallet)
    confirmed = told.then(Step.CONFIRM, 1, now=day(2))
    assert left(confirmed.wallet) == ["A: 37 of 100"]
    cancelled = told.then(Step.CANCEL, now=day(2))
    for after, lost in ((confirmed, 37), (cancelled, 74)):
        gone = decided(expire("A", wallet.id), after.wallet, now=day(2))
        assert moves(gone.entry) == [f"member -> video EXPIRED {lost}"]


def test_a_part_can_be_confirmed() -> None:
    """The first points of the hold are taken, the rest let go; what is owed is priced for what is taken."""
    wallet = awarded(award("video", 60, key="A"), award("delivery", 60, expires=day(1), key="B"))
    of = replace(TRIP, points_price=25)
    told = taken(wallet, 4, of=of, held=True)
    assert told.redemption.takes == (Take("B", "delivery", 60), Take("A", "video", 40))
    after = told.then(Step.CONFIRM, 3)
    assert after.redemption.takes == (Take("B", "delivery", 60), Take("A", "video", 15))
    # 60 x 7.07 per 1,000 = 0.4242 and 15 x 80.05 per 1,000 = 1.20075: together 1.62495, so 1.62 = 0.42 + 1.20.
    assert moves(after.last.entry) == [
        "member -> delivery REDEEMED 60", "member -> video REDEEMED 15", "delivery -> rides REDEMPTIONS 42 EUR",
        "video -> rides REDEMPTIONS 120 EUR", "rides -> exchange FEES 2 EUR", "rides -> video COMMISSIONS 3 EUR",
    ]  # fmt: skip
    assert (after.redemption.quantity, after.redemption.points, after.redemption.unit_points) == (3, 75, 25)
    assert left(after.wallet) == ["A: 45 of 60", "B: 0 of 60"]
    assert after.wallet.held(NOW) == 0
    assert after.wallet.taken == {"rides/trip": 3}
    spent = after.wallet.link("video")
    assert spent is not None
    assert spent.spent == 75
    assert after.last.stock == StockChange(sold=3, reserved=-4)
    assert isinstance(told.refused(Step.CONFIRM, 5), ValidationFailed)


def test_a_hold_is_confirmed_under_the_versions_of_its_reservation() -> None:
    """A price agreed since changes nothing of what was promised, for the whole and for a part."""
    newer = agreement("video", "rides", 9_999, version=2, since=NOW + timedelta(seconds=10))
    book = agreements(agreement("video", "rides", 8_000), newer)
    for quantity in (1, 3):
        told = taken(quantity=3, book=book, held=True).then(Step.CONFIRM, quantity, now=NOW + timedelta(seconds=60))
        (debit,) = told.redemption.debits
        assert (debit.agreement, debit.owed) == ("video>rides#000001", Money(296 * quantity, "EUR"))


def test_a_hold_cannot_be_confirmed_through_an_ended_link() -> None:
    """Whoever parts from an app parts from what it reserved; it can still be cancelled."""
    wallet = awarded(award("video", 1_000), award("delivery", 50))
    told = taken(wallet, held=True)
    parted = decided(unlink("video", wallet.id, through="delivery"), told.wallet).wallet
    told = replace(told, wallet=parted)
    assert isinstance(told.refused(Step.CONFIRM), Forbidden)
    assert told.then(Step.CANCEL).wallet.held(NOW) == 0


# What goes back


def test_parts_that_are_reversed_are_together_the_whole() -> None:
    """Three units for 889 cents, 13 of fee and 22 of commission go back in thirds that lose nothing to rounding."""
    told = taken()  # 111 x 80.05 per 1,000 = 8.88555
    assert told.redemption.debits == (Debit("video", 111, "video>rides#000001", Money(889, "EUR"), 13, 22),)
    parts: list[Debit] = []
    for _ in range(3):
        told = told.then(Step.REVERSE, 1)
        parts += told.last.entry.debits
        assert told.last.stock == StockChange(sold=-1)
    # So far: 296.33, 592.67, 889; 4.33, 8.67, 13; 7.33, 14.67, 22.
    assert [(d.points, d.owed and d.owed.minor, d.fee_minor, d.commission_minor) for d in parts] == [
        (-37, -296, -4, -7), (-37, -297, -5, -8), (-37, -296, -4, -7),
    ]  # fmt: skip
    assert (told.redemption.status, told.redemption.returned) == (S.REVERSED, 3)
    assert left(told.wallet) == ["A: 1000 of 1000", "B: 50 of 50"]
    assert told.wallet.taken == {"rides/trip": 0}


def test_points_go_back_to_where_they_came_from_the_last_first() -> None:
    """A part comes out of the lots that were consumed last; its issuers get back what was theirs."""
    wallet = awarded(award("video", 60, key="A"), award("delivery", 60, expires=day(1), key="B"))
    told = taken(wallet, 3)  # B 60, A 51
    first = told.then(Step.REVERSE, 2)
    assert left(first.wallet) == ["A: 60 of 60", "B: 23 of 60"]
    assert moves(first.last.entry)[:2] == ["delivery REDEEMED -> member 23", "video REDEEMED -> member 51"]
    assert first.redemption.status is S.CONFIRMED
    assert isinstance(first.refused(Step.REVERSE, 2), ValidationFailed)
    assert left(first.then(Step.REVERSE).wallet) == ["A: 60 of 60", "B: 60 of 60"]


def test_stock_comes_back_unless_it_was_delivered() -> None:
    """What was reversed before the partner delivered can be sold again; afterwards it is gone. The limit comes back."""
    confirmed = standing(S.CONFIRMED)
    assert confirmed.then(Step.FAIL).last.stock == StockChange(sold=-3)
    part = confirmed.then(Step.REVERSE, 1)
    assert part.last.stock == StockChange(sold=-1)
    fulfilled = part.then(Step.FULFIL)
    assert fulfilled.last.stock == NO_CHANGE
    whole = fulfilled.then(Step.REVERSE)
    assert whole.last.stock == NO_CHANGE
    assert (whole.redemption.status, whole.wallet.taken) == (S.REVERSED, {"rides/trip": 0})


def test_what_failed_has_failed_as_a_whole() -> None:
    """A failure gives back all that is left, whatever part is named, also after a part was reversed."""
    told = standing(S.CONFIRMED).then(Step.REVERSE, 1).then(Step.FAIL, 1, reason="no driver")
    assert (told.redemption.status, told.redemption.returned) == (S.FAILED, 3)
    assert told.last.entry.detail["reason"] == "no driver"
    assert left(told.wallet) == ["A: 1000 of 1000", "B: 50 of 50"]


def test_what_comes_back_into_a_lot_that_is_over_has_thirty_days() -> None:
    """The lot's rest is lost as its issuer said, except what is held; what comes back can be spent, and ends again."""
    wallet = awarded(award("video", 100, expires=day(1), key="A"))
    told = taken(wallet, 1)
    held = taken(told.wallet, 1, held=True, ttl=5 * 86_400, key="held")
    told = replace(told, wallet=held.wallet)
    back = told.then(Step.REVERSE, now=day(2))
    assert moves(back.last.entry)[:2] == ["member -> video EXPIRED 26", "video REDEEMED -> member 37"]
    (lot,) = back.wallet.lots
    assert (lot.remaining, lot.held, lot.redeemed, lot.restored, lot.expired) == (74, 37, 37, 37, 26)
    assert lot.expires_at == day(32)
    assert back.last.entry.detail["until"] == "2026-04-02T12:00:00.000Z"
    assert taken(back.wallet, 1, now=day(31)).redemption.takes == (Take("A", "video", 37),)
    gone = decided(expire("A", wallet.id), back.wallet, now=day(32))
    assert moves(gone.entry) == ["member -> video EXPIRED 37"]


def test_a_lot_that_lives_keeps_its_end() -> None:
    """A reversal gives no new time where there is some."""
    wallet = awarded(award("video", 100, expires=day(3), key="A"))
    told = taken(wallet, 1).then(Step.REVERSE, now=day(2))
    assert [lot.expires_at for lot in told.wallet.lots] == [day(3)]


@given(
    points=st.lists(st.integers(1, 50), min_size=1, max_size=5), figures=st.tuples(*[st.integers(0, 10_000)] * 3),
    cuts=st.sets(st.integers(1, 249)),
)  # fmt: skip
def test_any_parts_are_the_whole(points: list[int], figures: tuple[int, int, int], cuts: set[int]) -> None:
    """However a redemption is cut, what goes back adds up to what was taken, of every lot, issuer and figure."""
    takes = [Take(f"lot-{n}", "video" if n % 2 else "rides", count) for n, count in enumerate(points)]
    total = {issuer: sum(take.points for take in takes if take.issuer == issuer) for issuer in ("rides", "video")}
    owed, fee, commission = figures
    debits = [Debit(one, count, "x", Money(owed, "EUR"), fee, commission) for one, count in total.items() if count]
    edges = [0, *sorted(cut for cut in cuts if cut < sum(points)), sum(points)]
    lots: dict[str, int] = {}
    sums: dict[str, list[int]] = {debit.issuer: [0, 0, 0, 0] for debit in debits}
    before = dict.fromkeys(total, 0)
    for start, end in pairwise(edges):
        after = dict(before)
        for take in last_points(takes, start, end - start):
            lots[take.lot] = lots.get(take.lot, 0) + take.points
            after[take.issuer] += take.points
        for row in returned_debits(debits, before, after):
            money = 0 if row.owed is None else row.owed.minor
            parts = (row.points, money, row.fee_minor, row.commission_minor)
            assert all(part <= 0 for part in parts)
            sums[row.issuer] = [one + other for one, other in zip(sums[row.issuer], parts, strict=True)]
        before = after
    assert lots == {take.lot: take.points for take in takes}
    assert sums == {debit.issuer: [-debit.points, -owed, -fee, -commission] for debit in debits}


# Quotes


def test_a_quote_keeps_its_price_and_its_terms() -> None:
    """While it is good, neither a new price nor a new agreement changes what it promised, at once or reserved."""
    newer = agreement("video", "rides", 9_999, version=2, since=NOW + timedelta(seconds=10))
    book = agreements(agreement("video", "rides", 8_000), newer)
    wallet = rich()
    quote = promise(redeem(TRIP, 3, key="q"), wallet, Terms(book, TRIP), NOW)
    assert (quote.points, quote.unit_points) == (111, 37)
    dearer = replace(TRIP, points_price=50)
    for command in (redeem(TRIP, 3, quote="q", expected_points=111), reserve(TRIP, 3, quote="q")):
        decision = decided(command, wallet, book, of=dearer, quote=quote, now=NOW + timedelta(minutes=4))
        assert decision.redemption is not None
        assert decision.redemption.points == 111
        assert decision.redemption.debits == quote.debits
        assert decision.entry.detail["quote"] == "q"


def test_a_quote_is_good_for_what_it_was_asked_for() -> None:
    """Another partner's does not exist; another member's, benefit's or quantity's, or one that is over, is invalid."""
    wallet = rich()
    quote = promise(redeem(TRIP, 3, key="q"), wallet, Terms(BOOK, TRIP), NOW)
    asked: list[tuple[type[Refusal], Any, dict[str, Any]]] = [
        (NotFound, redeem(TRIP, 3, quote="q"), {"quote": None}),
        (NotFound, redeem(TRIP, 3, quote="q"), {"quote": replace(quote, partner="rides")}),
        (ValidationFailed, redeem(TRIP, 3, quote="q"), {"quote": replace(quote, wallet="another")}),
        (ValidationFailed, redeem(TRIP, 2, quote="q"), {"quote": quote}),
        (ValidationFailed, redeem(TRIP, 3, quote="q"), {"quote": quote, "now": quote.expires_at}),
        (PriceChanged, redeem(TRIP, 3, quote="q", expected_points=110), {"quote": quote}),
    ]
    for kind, command, terms in asked:
        with pytest.raises(kind):
            decided(command, wallet, BOOK, of=TRIP, **terms)
