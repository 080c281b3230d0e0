"""What is frozen: a member, a lot, a partner, a benefit. It receives, and nothing is spent of it; decided alone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from exchange.benefit import UnavailableReason
from exchange.commands import Command, Sharing
from exchange.errors import BenefitUnavailable, Forbidden, InsufficientPoints, NotFound, ValidationFailed
from exchange.redemption import Redemption, Step
from exchange.rules import FrozenBenefit, Rules
from exchange.wallet import Wallet
from tests.exchange.speech import (
    act,
    adjust,
    agreements,
    award,
    awarded,
    benefit,
    by_reference,
    day,
    decided,
    expire,
    freeze,
    give,
    left,
    link,
    lot,
    moves,
    redeem,
    refused,
    reserve,
    share,
    unfreeze,
)

R = UnavailableReason
BOOK = agreements((None, None, 800))
FILM, TRIP = benefit("video/film", 60), benefit("rides/trip", 60)
GIFTS = Rules(partner="video", gift_day_points=500)


def two_lots() -> Wallet:
    """Return a member with one lot that expires sooner, and one that never does."""
    return awarded(award("video", 100, expires=day(1), key="A"), award("video", 50, key="B"), wallet=Wallet("ann"))


def why(command: Command, wallet: Wallet, *rules: Rules, of: object = FILM) -> list[str]:
    refusal = refused(command, wallet, BOOK, of=of, rules=rules)
    assert isinstance(refusal, BenefitUnavailable)
    return refusal.reasons


# A member


def test_a_frozen_member_spends_nothing() -> None:
    """Neither redeems, reserves, gives, pays in nor draws; it says by whom it was decided and why."""
    decision = decided(freeze(), two_lots())
    assert moves(decision.entry) == []
    assert decision.entry.detail == {"reason": "fraud", "actor": "desk"}
    wallet = replace(decision.wallet, household="pool")
    assert why(redeem(FILM), wallet) == why(reserve(FILM), wallet) == [R.FROZEN]
    pool = Wallet("pool", version=1, members=("ann",), lots=(lot("P/0", "video", 9),))
    friend = Wallet("bob", links=wallet.links)
    for command, other in (
        (give(1, by_reference("video", "bob")), friend), (share(Sharing.PAY_IN, "pool", 1), pool),
        (share(Sharing.DRAW, "pool", 1), pool),
    ):  # fmt: skip
        assert isinstance(refused(command, wallet, other=other, rules=[GIFTS]), Forbidden)


def test_a_frozen_member_receives_and_can_leave() -> None:
    """Awards, goodwill and gifts come in, time goes on, and it is free to part from its household."""
    wallet = decided(freeze(), two_lots()).wallet
    assert left(decided(award("video", 5, key="C"), wallet).wallet)[-1] == "C: 5 of 5"
    assert left(decided(adjust("video", 5, key="G"), wallet).wallet)[-1] == "G: 5 of 5"
    giver = replace(two_lots(), id="bob")
    gift = decided(give(5, by_reference("video")), giver, other=wallet, rules=[GIFTS])
    assert gift.other is not None
    assert gift.other.frozen
    assert moves(decided(expire("A", "ann"), wallet, now=day(1)).entry) == ["member -> video EXPIRED 100"]
    pool = Wallet("pool", version=1, members=("ann", "bob"))
    assert decided(share(Sharing.LEAVE, "pool"), replace(wallet, household="pool"), other=pool).wallet.household is None


def test_a_member_that_is_let_go_spends_again() -> None:
    """As if nothing had been."""
    wallet = decided(unfreeze(), decided(freeze(), two_lots()).wallet).wallet
    assert wallet == two_lots()
    assert decided(redeem(FILM), wallet, of=FILM).redemption is not None


# A lot


def test_a_frozen_lot_is_passed_over() -> None:
    """Points of the others are spent instead, although they expire later."""
    decision = decided(freeze("A", by="video"), two_lots())
    assert decision.entry.detail == {"reason": "fraud", "actor": "desk", "lot": "A"}
    film = benefit("video/film", 50)
    assert left(decided(redeem(film), decision.wallet, of=film).wallet) == ["A: 100 of 100", "B: 0 of 50"]


def test_without_the_frozen_lot_there_may_be_too_little() -> None:
    """FROZEN is the reason if its points would suffice; if they would not either, the points are too few."""
    wallet = decided(freeze("A"), two_lots()).wallet
    assert why(redeem(FILM), wallet) == [R.FROZEN]
    dear = benefit("video/dear", 151)
    refusal = refused(redeem(dear), wallet, of=dear)
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available) == (151, 50)


def test_a_frozen_lot_ends_when_it_ends() -> None:
    """Freezing neither saves nor loses points."""
    wallet = decided(freeze("A"), two_lots()).wallet
    assert wallet.balance(day(0)) == 150
    assert moves(decided(expire("A", "ann"), wallet, now=day(1)).entry) == ["member -> video EXPIRED 100"]


def test_what_a_reservation_holds_of_a_frozen_lot_can_be_confirmed() -> None:
    """The lot was frozen after it was promised; only a member, a partner or a benefit stops a confirmation."""
    held = decided(reserve(FILM), two_lots(), of=FILM)
    assert isinstance(held.redemption, Redemption)
    wallet = decided(freeze("A"), held.wallet).wallet
    done = decided(act(Step.CONFIRM, held.redemption), wallet, of=FILM, redemption=held.redemption)
    assert moves(done.entry) == ["member -> video REDEEMED 60"]


# Who may


def test_a_lot_is_frozen_by_its_issuer_or_the_exchange() -> None:
    """To anybody else, and where there is none, it is no such lot."""
    wallet = two_lots()
    for by in ("video", "exchange"):
        assert decided(freeze("A", by=by), wallet).wallet.lots[0].frozen
    for command, whose in ((freeze("A", by="rides"), wallet), (freeze("C"), wallet), (freeze("A"), None)):
        refusal = refused(command, whose)
        assert isinstance(refusal, NotFound)
        assert refusal.path == ["input", "lot"]


def test_there_is_somebody_to_freeze() -> None:
    """A member that is not there is said to be so."""
    assert refused(freeze(), None).path == ["input", "member"]


@pytest.mark.parametrize(("name", "path"), [(None, "member"), ("A", "lot")])
def test_freezing_changes_something(name: str | None, path: str) -> None:
    """What is frozen already, or is not, is left as it is and told so."""
    wallet = two_lots()
    refusal = refused(unfreeze(name), wallet)
    assert (type(refusal), refusal.path) == (ValidationFailed, ["input", path])
    frozen = decided(freeze(name), wallet).wallet
    assert refused(freeze(name), frozen).path == ["input", path]
    assert decided(unfreeze(name), frozen).wallet == wallet


# A partner, a benefit


def frozen(partner: str, *benefits: str) -> Rules:
    """Return a partner's rules with benefits frozen, or all of it."""
    stopped = tuple(FrozenBenefit(one, "recall") for one in benefits)
    return Rules(partner=partner, frozen=None if benefits else "fraud", frozen_benefits=stopped)


def test_a_frozen_partner_is_stopped_as_issuer_provider_and_channel() -> None:
    """Its points are not spent, its benefits not taken, and nothing is taken through it."""
    wallet = two_lots()
    wallet = decided(link("rides", "ann"), wallet).wallet
    wallet = decided(award("rides", 60, key="R"), wallet).wallet
    assert why(redeem(FILM, through="rides"), wallet, frozen("video")) == [R.FROZEN]
    assert why(redeem(TRIP), wallet, frozen("video"), of=TRIP) == [R.FROZEN]
    assert why(redeem(FILM, through="rides"), wallet, frozen("rides")) == [R.FROZEN]
    taken = decided(redeem(TRIP, through="rides"), wallet, BOOK, of=TRIP, rules=[frozen("video")])
    assert moves(taken.entry) == ["member -> rides REDEEMED 60"]
    dear = benefit("rides/dear", 61)
    assert why(redeem(dear, through="rides"), wallet, frozen("video"), of=dear) == [R.FROZEN]


def test_a_frozen_benefit_is_stopped_alone() -> None:
    """Another one of the same partner goes on."""
    wallet = two_lots()
    assert why(redeem(FILM), wallet, frozen("video", FILM.id)) == [R.FROZEN]
    other = benefit("video/other", 60)
    assert decided(redeem(other), wallet, of=other, rules=[frozen("video", FILM.id)]).redemption is not None


def test_nothing_is_confirmed_while_somebody_concerned_is_frozen() -> None:
    """Member, channel, issuer, provider or benefit: the hold stays, can be cancelled, and confirmed once it is over."""
    held = decided(reserve(TRIP), two_lots(), BOOK, of=TRIP)
    redemption = held.redemption
    confirm = act(Step.CONFIRM, redemption)
    for wallet, rules in (
        (replace(held.wallet, frozen=True), ()), (held.wallet, (frozen("video"),)), (held.wallet, (frozen("rides"),)),
        (held.wallet, (frozen("rides", TRIP.id),)),
    ):  # fmt: skip
        refusal = refused(confirm, wallet, BOOK, of=TRIP, redemption=redemption, rules=rules)
        assert isinstance(refusal, Forbidden)
        cancelled = decided(act(Step.CANCEL, redemption), wallet, BOOK, of=TRIP, redemption=redemption, rules=rules)
        assert cancelled.wallet.held(day(0)) == 0
    unconcerned = [frozen("delivery"), frozen("rides", "rides/another")]
    assert decided(confirm, held.wallet, BOOK, of=TRIP, redemption=redemption, rules=unconcerned).redemption is not None


def test_points_of_a_frozen_issuer_are_neither_given_nor_drawn() -> None:
    """They stay where they are; those of others can go."""
    pool = Wallet(
        "pool", version=1, members=("ann",), lots=(lot("P/0", "rides", 10, expires=day(1)), lot("P/1", "video", 10))
    )
    member = replace(two_lots(), household="pool")
    drawn = decided(share(Sharing.DRAW, "pool", 10, key="D"), member, other=pool, rules=[frozen("rides")])
    assert moves(drawn.entry) == ["pool P/1 -> ann D/0 video 10"]
    refusal = refused(share(Sharing.DRAW, "pool", 11), member, other=pool, rules=[frozen("rides")])
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 10
    linked = decided(link("rides", "ann"), member).wallet
    friend = Wallet("bob", links=linked.links)
    stopped = [Rules(partner="video", gift_day_points=500, frozen="fraud")]
    gift = refused(give(1, by_reference("rides", "bob"), through="rides"), linked, other=friend, rules=stopped)
    assert isinstance(gift, InsufficientPoints)
    assert gift.available == 0


def test_a_frozen_pool_gives_nothing_out() -> None:
    """It can still be paid into."""
    pool = Wallet("pool", version=1, members=("ann",), lots=(lot("P/0", "video", 10),), frozen=True)
    member = replace(two_lots(), household="pool")
    assert isinstance(refused(share(Sharing.DRAW, "pool", 1), member, other=pool), Forbidden)
    assert decided(share(Sharing.PAY_IN, "pool", 1), member, other=pool, rules=[GIFTS]).other is not None
