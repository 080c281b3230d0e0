"""Points that cool off, that their issuer takes back, gives more time or gives besides; decided alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from exchange.errors import Forbidden, InsufficientPoints, NotFound, ValidationFailed
from exchange.redemption import Redemption, Step
from exchange.rules import AwardReversal, Rules
from exchange.wallet import Wallet
from tests.exchange.speech import (
    NOW,
    act,
    adjust,
    agreements,
    award,
    awarded,
    benefit,
    day,
    decided,
    expire,
    extend,
    freeze,
    give,
    left,
    link,
    lot,
    moves,
    redeem,
    refused,
    reserve,
    reverse_award,
    unlink,
)

FILM = benefit("video/film", 60)
TRIP = benefit("rides/trip", 10)
REFUSE, TAKE, DEBT = (Rules(partner="video", award_reversal=policy) for policy in AwardReversal)
FROZEN = Rules(partner="video", frozen="fraud")


def spent(points: int = 60, of: int = 100) -> Wallet:
    """Return a wallet that has spent some of the points of its one lot."""
    film = benefit("video/film", points)
    return decided(redeem(film), awarded(award("video", of, key="A")), of=film).wallet


# Cooling off


def test_points_cool_off_until_a_moment() -> None:
    """They are the member's and pending, are in no balance and cannot be spent, until the very moment they begin."""
    command = award("video", 100, active=day(2), expires=day(9), key="A")
    decision = decided(command, Wallet("w"))
    assert moves(decision.entry) == ["video ISSUED -> member 100"]
    assert decision.entry.detail == {
        "active_from": "2026-03-03T12:00:00.000Z", "expires_at": "2026-03-10T12:00:00.000Z",
    }  # fmt: skip
    wallet = decision.wallet
    just_before = day(2) - timedelta(milliseconds=1)
    assert [(wallet.pending(at), wallet.balance(at), wallet.available(at)) for at in (just_before, day(2), day(9))] == [
        (100, 0, 0), (0, 100, 100), (0, 0, 0)
    ]  # fmt: skip
    refusal = refused(redeem(FILM), wallet, of=FILM, now=just_before)
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available) == (60, 0)
    assert moves(decided(redeem(FILM), wallet, of=FILM, now=day(2)).entry)[0] == "member -> video REDEEMED 60"


def test_what_cools_off_is_passed_over_for_what_does_not() -> None:
    """Points that expire sooner but cool off still are not consumed first."""
    wallet = awarded(award("video", 60, expires=day(3), active=day(1), key="A"), award("video", 60, key="B"))
    assert left(decided(redeem(FILM), wallet, of=FILM).wallet) == ["A: 60 of 60", "B: 0 of 60"]
    assert left(decided(redeem(FILM), wallet, of=FILM, now=day(1)).wallet) == ["A: 0 of 60", "B: 60 of 60"]


@pytest.mark.parametrize(("active", "expires"), [(NOW, None), (day(-1), None), (day(2), day(2)), (day(3), day(2))])
def test_points_begin_in_the_future_and_before_they_end(active: object, expires: object) -> None:
    """A lot that would begin at once, or never count, is refused by its field."""
    refusal = refused(award("video", 1, active=active, expires=expires), Wallet("w"))  # type: ignore[arg-type]
    assert (refusal.code, refusal.path) == ("VALIDATION_ERROR", ["input", "activeFrom"])


def test_a_frozen_partner_awards_nothing() -> None:
    """While the exchange has frozen it a partner gives no points, neither as an award nor as a goodwill."""
    wallet = awarded(award("video", 1))
    for command in (award("video", 1), adjust("video", 1), adjust("video", -1)):
        assert isinstance(refused(command, wallet, rules=[FROZEN]), Forbidden)


# Taking an award back


@pytest.mark.parametrize("rule", [REFUSE, TAKE, DEBT])
def test_an_award_that_is_all_there_is_taken_back_whole(rule: Rules) -> None:
    """Whatever the issuer's rule is, it makes no difference then."""
    wallet = awarded(award("video", 100, key="A"))
    decision = decided(reverse_award("A", reason="wrong member"), wallet, rules=[rule])
    assert moves(decision.entry) == ["member -> video WITHDRAWN 100"]
    assert decision.entry.detail == {"reason": "wrong member", "lot": "A"}
    assert left(decision.wallet) == ["A: 0 of 100"]
    assert decision.wallet.debts == {}
    refusal = refused(reverse_award("A"), decision.wallet, rules=[rule])
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available) == (1, 0)


def test_a_part_is_taken_back_and_then_another() -> None:
    """Parts are together never more than the award was."""
    wallet = decided(reverse_award("A", 30), awarded(award("video", 100, key="A"))).wallet
    assert refused(reverse_award("A", 71), wallet).path == ["input", "points"]
    decision = decided(reverse_award("A"), wallet)
    assert moves(decision.entry) == ["member -> video WITHDRAWN 70"]


def test_an_issuer_that_refuses_takes_nothing_of_what_is_spent_in_part() -> None:
    """REFUSE: what is left is told, and all of it can still be taken by saying so."""
    refusal = refused(reverse_award("A"), spent(), rules=[REFUSE])
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available) == (100, 40)
    assert moves(decided(reverse_award("A", 40), spent(), rules=[REFUSE]).entry) == ["member -> video WITHDRAWN 40"]


def test_an_issuer_can_take_what_is_left() -> None:
    """TAKE_WHAT_IS_LEFT: the rest is the issuer's loss; when nothing is left that is said."""
    decision = decided(reverse_award("A"), spent(), rules=[TAKE])
    assert moves(decision.entry) == ["member -> video WITHDRAWN 40"]
    assert (left(decision.wallet), decision.wallet.debts) == (["A: 0 of 100"], {})
    for rule in (REFUSE, TAKE):
        assert isinstance(refused(reverse_award("A"), spent(100), rules=[rule]), InsufficientPoints)


def test_an_issuer_can_let_the_member_owe_the_rest() -> None:
    """DEBT: no balance becomes negative; the debt is noted, and the same award is never owed twice."""
    decision = decided(reverse_award("A"), spent(), rules=[DEBT])
    assert moves(decision.entry) == ["member -> video WITHDRAWN 40"]
    assert decision.entry.detail == {"lot": "A", "debt": "60"}
    assert decision.wallet.debts == {"video": 60}
    assert decision.wallet.balance(NOW) == 0
    assert isinstance(refused(reverse_award("A"), decision.wallet, rules=[DEBT]), InsufficientPoints)
    whole = decided(reverse_award("A"), spent(100), rules=[DEBT])
    assert (moves(whole.entry), whole.wallet.debts) == ([], {"video": 100})


def test_the_next_awards_repay_a_debt() -> None:
    """First of all an award repays what the member owes that issuer: another's does not, and no more than is owed."""
    owing = decided(reverse_award("A"), spent(), rules=[DEBT]).wallet
    first = decided(award("video", 25, key="B"), owing)
    assert moves(first.entry) == ["video ISSUED -> member 25", "member -> video WITHDRAWN 25"]
    assert first.entry.detail == {"repaid": "25"}
    assert (left(first.wallet)[1], first.wallet.debts) == ("B: 0 of 25", {"video": 35})
    linked = decided(link("rides", owing.id), first.wallet).wallet
    other = decided(award("rides", 50), linked)
    assert moves(other.entry) == ["rides ISSUED -> member 50"]
    last = decided(award("video", 100, key="C"), other.wallet)
    assert moves(last.entry) == ["video ISSUED -> member 100", "member -> video WITHDRAWN 35"]
    assert (last.wallet.debts, last.wallet.balance(NOW)) == ({}, 115)


def test_a_goodwill_repays_nothing() -> None:
    """What an issuer gives besides its awards is the member's, whatever it owes."""
    owing = decided(reverse_award("A"), spent(), rules=[DEBT]).wallet
    decision = decided(adjust("video", 10), owing)
    assert (decision.wallet.balance(NOW), decision.wallet.debts) == (10, {"video": 60})


def test_held_and_given_points_are_not_there_to_be_taken() -> None:
    """What a reservation holds, or what is another's by now, is as good as spent."""
    wallet = awarded(award("video", 100, key="A"))
    held = decided(reserve(FILM), wallet, of=FILM).wallet
    friend = Wallet("friend", links=wallet.links)
    gift = decided(
        give(60, None), wallet, other=friend, rules=[Rules(partner="video", gift_day_points=60)]
    )  # fmt: skip
    for poorer in (held, gift.wallet):
        assert moves(decided(reverse_award("A"), poorer, rules=[TAKE]).entry) == ["member -> video WITHDRAWN 40"]
        assert decided(reverse_award("A"), poorer, rules=[DEBT]).wallet.debts == {"video": 60}


def test_what_came_back_after_a_debt_is_the_members_and_owed_still() -> None:
    """A ride that is given back gives its points back, also when they have been made a debt; the debt stays."""
    wallet = awarded(award("video", 100, key="A"))
    taken = decided(redeem(FILM), wallet, of=FILM)
    assert isinstance(taken.redemption, Redemption)
    owing = decided(reverse_award("A"), taken.wallet, rules=[DEBT]).wallet
    back = decided(act(Step.REVERSE, taken.redemption), owing, of=FILM, redemption=taken.redemption).wallet
    assert (left(back), back.debts) == (["A: 60 of 100"], {"video": 60})


@pytest.mark.parametrize("rule", [REFUSE, TAKE, DEBT])
@pytest.mark.parametrize("points", [None, 5])
def test_no_more_is_taken_back_than_was_awarded_whatever_came_back(rule: Rules, points: int | None) -> None:
    """Points that were made a debt, came back, and then expired are not taken a second time, let alone given."""
    wallet = awarded(award("video", 100, expires=day(1), key="A"))
    taken = decided(redeem(FILM), wallet, of=FILM)
    owing = decided(reverse_award("A"), taken.wallet, rules=[DEBT]).wallet
    back = decided(act(Step.REVERSE, taken.redemption), owing, of=FILM, redemption=taken.redemption).wallet
    over = decided(expire("A", "w"), back, now=day(1)).wallet
    assert over.lots[0].reversible == 0
    for poorer in (over, decided(adjust("video", -60), back).wallet):
        refusal = refused(reverse_award("A", points), poorer, rules=[rule], now=day(1))
        assert isinstance(refusal, InsufficientPoints if points is None else ValidationFailed)


def test_only_its_issuer_takes_an_award_back_and_only_where_it_was_given() -> None:
    """Another partner, an unknown lot, and a lot that came from another member are refused."""
    wallet = awarded(award("video", 100, key="A"))
    nobody = [(reverse_award("A", issuer="rides"), wallet), (reverse_award(None), wallet), (reverse_award("B"), wallet),
              (reverse_award("A"), None)]  # fmt: skip
    for command, whose in nobody:
        refusal = refused(command, whose)
        assert isinstance(refusal, NotFound)
        assert refusal.path == ["input", "lot"]
    passed_on = Wallet("w", lots=(lot("gift/0", "video", 10),), links=wallet.links)
    assert refused(reverse_award("gift/0"), passed_on).path == ["input", "lot"]


# More time


def test_a_lot_gets_more_time() -> None:
    """Until a later moment, and then for ever; nothing moves."""
    wallet = awarded(award("video", 100, expires=day(1), key="A"))
    later = decided(extend("A", day(2), reason="outage"), wallet)
    assert moves(later.entry) == []
    assert later.entry.detail == {"reason": "outage", "lot": "A", "expires_at": "2026-03-03T12:00:00.000Z"}
    assert (later.wallet.balance(day(1)), later.wallet.balance(day(2))) == (100, 0)
    for_ever = decided(extend("A", None), later.wallet)
    assert for_ever.entry.detail == {"lot": "A"}
    assert for_ever.wallet.balance(day(9_999)) == 100


def test_time_is_only_ever_added_to_what_is_not_over() -> None:
    """Less time, the same, time for what never ends, or for what has ended is refused by its field."""
    wallet = awarded(award("video", 100, expires=day(2), key="A"), award("video", 100, key="B"))
    for until in (day(1), day(2)):
        assert refused(extend("A", until), wallet).path == ["input", "expiresAt"]
    assert refused(extend("B", day(9)), wallet).path == ["input", "expiresAt"]
    over = refused(extend("A", day(9)), wallet, now=day(2))
    assert (over.code, over.path) == ("VALIDATION_ERROR", ["input", "lot"])
    for command, whose in ((extend("A", None, issuer="rides"), wallet), (extend(None, None), wallet),
                           (extend("A", None), None)):  # fmt: skip
        assert isinstance(refused(command, whose), NotFound)


def test_a_lot_with_more_time_waits_longer_for_its_turn() -> None:
    """What is consumed first is what expires first as it now stands."""
    wallet = awarded(award("video", 60, expires=day(1), key="A"), award("video", 60, expires=day(2), key="B"))
    longer = decided(extend("A", day(3)), wallet).wallet
    assert left(decided(redeem(FILM), longer, of=FILM).wallet) == ["A: 60 of 60", "B: 0 of 60"]


# Goodwill


def test_goodwill_gives_a_lot_of_its_own() -> None:
    """It is on an account of its own, and says who decided it and why."""
    wallet = awarded(award("video", 1, key="A"))
    decision = decided(adjust("video", 30, expires=day(5), key="G", reason="late", actor="ada"), wallet)
    assert moves(decision.entry) == ["video GOODWILL -> member 30"]
    assert decision.entry.detail == {"reason": "late", "actor": "ada", "expires_at": "2026-03-06T12:00:00.000Z"}
    assert left(decision.wallet) == ["A: 1 of 1", "G: 30 of 30"]


def test_goodwill_takes_the_first_to_expire_of_the_issuers_own() -> None:
    """Of its own points that are free, whichever lots they are in, and nobody else's."""
    wallet = awarded(award("video", 20, key="A"), award("video", 20, expires=day(1), key="B"))
    wallet = decided(link("rides", wallet.id), wallet).wallet
    wallet = decided(award("rides", 50, key="C"), wallet).wallet
    decision = decided(adjust("video", -30), wallet)
    assert moves(decision.entry) == ["member -> video GOODWILL 20", "member -> video GOODWILL 10"]
    assert left(decision.wallet) == ["A: 10 of 20", "B: 0 of 20", "C: 50 of 50"]
    refusal = refused(adjust("video", -41), wallet)
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available, refusal.path) == (41, 40, ["input", "points"])


def test_goodwill_does_not_touch_what_is_held_frozen_cooling_off_or_over() -> None:
    """Only what the member could spend can be taken."""
    wallet = awarded(
        award("video", 100, key="A"), award("video", 7, active=day(1)), award("video", 5, expires=day(0.5)),
        award("video", 3, key="D"),
    )  # fmt: skip
    wallet = decided(reserve(FILM), wallet, of=FILM).wallet
    wallet = decided(freeze("D"), wallet).wallet
    refusal = refused(adjust("video", -60), wallet, now=day(0.5))
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 45


def test_goodwill_is_for_the_partners_own_members_and_the_future() -> None:
    """A member that it does not know, or no longer, and points that are over already are refused."""
    wallet = awarded(award("video", 1))
    linked = decided(link("rides", wallet.id), wallet).wallet
    parted = decided(unlink("rides", wallet.id), linked).wallet
    for whose in (wallet, parted, None):
        assert isinstance(refused(adjust("rides", 1), whose), NotFound)
    assert refused(adjust("video", 1, expires=NOW), wallet).path == ["input", "expiresAt"]
    assert refused(adjust("video", 2**63 - 1), wallet).path == ["input", "points"]


def test_a_debt_can_be_spent_around_but_not_away() -> None:
    """A member that owes one issuer spends others' points as before."""
    owing = decided(reverse_award("A"), spent(), rules=[DEBT]).wallet
    linked = decided(link("rides", owing.id), owing).wallet
    rich = decided(award("rides", 50), linked).wallet
    decision = decided(redeem(TRIP), rich, agreements((None, "rides", 800)), of=TRIP)
    assert moves(decision.entry) == ["member -> rides REDEEMED 10"]
    assert decision.wallet.debts == {"video": 60}


def test_nobody_owes_more_than_can_be_counted() -> None:
    """A debt that no number holds is refused before it is one."""
    wallet = replace(spent(100), debts={"video": 2**63 - 5})
    refusal = refused(reverse_award("A"), wallet, rules=[DEBT])
    assert isinstance(refusal, ValidationFailed)
    assert refusal.message == "the member cannot owe that many"
