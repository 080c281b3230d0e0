"""Points that go from member to member, and what a household has in common; decided alone."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from exchange.commands import Sharing
from exchange.decisions.sharing import HOUSEHOLD_MAX
from exchange.errors import Forbidden, InsufficientPoints, NotFound, ValidationFailed
from exchange.rules import Rules
from exchange.wallet import LOTS_MAX, Given, Wallet
from tests.exchange.speech import (
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
    reverse_award,
    share,
    unlink,
)

VIDEO, RIDES = Rules(partner="video", gift_day_points=60), Rules(partner="rides", gift_day_points=25)
RULES = (VIDEO, RIDES)
FILM = benefit("video/film", 50)


def ann() -> Wallet:
    """Return a member with points of three issuers, of which delivery's cannot be given away."""
    wallet = awarded(award("video", 100, expires=day(9), key="V"), wallet=Wallet("ann"))
    for partner, points, ends in (("rides", 40, day(1)), ("delivery", 30, None)):
        wallet = decided(link(partner, "ann"), wallet).wallet
        wallet = decided(award(partner, points, expires=ends, key=partner[0].upper()), wallet).wallet
    return wallet


def bob(*lots: Any, **state: Any) -> Wallet:
    """Return another member that video knows."""
    return replace(
        awarded(award("video", 1, key="B"), wallet=Wallet("bob")), **({"lots": lots} if lots else {}), **state
    )


def home(*members: str, **state: Any) -> Wallet:
    return Wallet("pool", version=1, members=members or ("ann",), **state)


def at_home(wallet: Wallet) -> Wallet:
    return replace(wallet, household="pool")


TO_BOB = by_reference("video", "bob")

# Gifts


def test_a_gift_is_new_lots_of_the_same_issuers_and_ends() -> None:
    """The first to expire go first, each becomes a lot of the other's that came now; no issuer's account moves."""
    decision = decided(give(70, TO_BOB, key="G", reason="birthday"), ann(), other=bob(), rules=RULES)
    assert moves(decision.entry) == ["ann R -> bob G/0 rides 25", "ann V -> bob G/1 video 45"]
    assert decision.entry.detail == {
        "reason": "birthday", "expire": "2026-03-02T12:00:00.000Z 2026-03-10T12:00:00.000Z",
    }  # fmt: skip
    assert left(decision.wallet) == ["V: 55 of 100", "R: 15 of 40", "D: 30 of 30"]
    assert decision.other is not None
    assert left(decision.other) == ["B: 1 of 1", "G/0: 25 of 25", "G/1: 45 of 45"]
    assert [(one.issuer, one.expires_at) for one in decision.other.lots[1:]] == [("rides", day(1)), ("video", day(9))]
    assert (decision.entry.counterpart, decision.entry.counterpart_version) == ("bob", 1)


def test_points_that_never_expire_never_expire_there() -> None:
    """What an entry says of them is a dash."""
    rules = [Rules(partner="delivery", gift_day_points=30)]
    decision = decided(give(30, TO_BOB), ann(), other=bob(), rules=rules)
    assert decision.entry.detail == {"expire": "-"}
    assert decision.other is not None
    assert decision.other.lots[-1].expires_at is None


def test_an_issuer_says_how_many_points_a_day_are_given_away() -> None:
    """Counted are gifts and what is paid into a pool, by issuer, from midnight to midnight (UTC)."""
    wallet = at_home(ann())
    refusal = refused(give(86, TO_BOB), wallet, other=bob(), rules=RULES)
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available, refusal.path) == (86, 85, ["input", "points"])
    first = decided(give(50, TO_BOB), wallet, other=bob(), rules=RULES).wallet
    assert {issuer: given.points for issuer, given in first.given.items()} == {"rides": 25, "video": 25}
    second = decided(share(Sharing.PAY_IN, "pool", 35), first, other=home(), rules=RULES).wallet
    assert refused(give(1, TO_BOB), second, other=bob(), rules=RULES).path == ["input", "points"]
    tomorrow = decided(give(55, TO_BOB), second, other=bob(), rules=RULES, now=day(0.5))
    assert moves(tomorrow.entry)[0].endswith("rides 15")
    assert {issuer: given.points for issuer, given in tomorrow.wallet.given.items()} == {"rides": 15, "video": 40}


def test_a_clock_that_is_behind_does_not_begin_the_day_anew() -> None:
    """What was given on a later day by another lane's clock counts still."""
    wallet = replace(ann(), given={"video": Given(day(1).date(), 60), "rides": Given(day(1).date(), 20)})
    refusal = refused(give(6, TO_BOB), wallet, other=bob(), rules=RULES)
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 5
    again = decided(give(5, TO_BOB), wallet, other=bob(), rules=RULES).wallet
    assert again.given["rides"] == Given(day(1).date(), 25)


def test_by_itself_no_issuer_lets_its_points_be_given_away() -> None:
    """Whoever has said nothing has allowed nothing."""
    refusal = refused(give(1, TO_BOB), ann(), other=bob())
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 0


def test_the_day_of_the_link_limits_gifts_too() -> None:
    """What a member lets be spent through a partner is spent by giving as by redeeming."""
    wallet = decided(link("rides", "ann", daily_limit=30), ann()).wallet
    to = by_reference("rides", "bob")
    other = decided(link("rides", "bob", reference="bob"), bob()).wallet
    refusal = refused(give(31, to, through="rides"), wallet, other=other, rules=RULES)
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 30
    poorer = decided(give(20, to, through="rides"), wallet, other=other, rules=RULES).wallet
    assert isinstance(refused(give(11, to, through="rides"), poorer, other=other, rules=RULES), InsufficientPoints)


def test_what_cannot_be_spent_cannot_be_given() -> None:
    """Held, frozen, cooling off or over: such points stay where they are."""
    wallet = awarded(
        award("video", 10, active=day(1)), award("video", 10, expires=day(0.1)), award("video", 7, key="F"),
        award("video", 50, key="H"), wallet=Wallet("ann"),
    )  # fmt: skip
    wallet = decided(freeze("F"), wallet).wallet
    wallet = decided(reserve(benefit("video/film", 45)), wallet, of=benefit("video/film", 45), now=day(0.1)).wallet
    refusal = refused(give(6, TO_BOB), wallet, other=bob(), rules=RULES, now=day(0.1))
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 5


def test_both_are_known_to_the_partner() -> None:
    """A member's own token is told that it has parted; everything else is a member that is not there."""
    parted = decided(unlink("rides", "ann"), ann()).wallet
    asked = give(1, by_reference("rides", "bob"), through="rides")
    assert isinstance(refused(asked, parted, other=bob(), rules=RULES), NotFound)
    assert isinstance(refused(asked, None, other=bob(), rules=RULES), NotFound)
    own = give(1, by_reference("rides", "bob"), through="rides", by_member=True)
    assert isinstance(refused(own, parted, other=bob(), rules=RULES), Forbidden)
    for other in (None, bob()):
        refusal = refused(asked, ann(), other=other, rules=RULES)
        assert isinstance(refusal, NotFound)
        assert refusal.path == ["input", "to"]


def test_nobody_gives_to_itself() -> None:
    """Not by another reference of its own either."""
    refusal = refused(give(1, TO_BOB), ann(), other=ann(), rules=RULES)
    assert (refusal.code, refusal.path) == ("VALIDATION_ERROR", ["input", "to"])


def test_a_gift_fits_the_wallet_that_gets_it() -> None:
    """Neither more lots nor more points than it can hold."""
    crowded = bob(*(lot(f"lot-{n}", "video", 0) for n in range(LOTS_MAX)))
    assert refused(give(1, TO_BOB), ann(), other=crowded, rules=RULES).path == ["input", "to"]
    rich = bob(lot("all", "video", 2**63 - 1))
    assert refused(give(1, TO_BOB), ann(), other=rich, rules=RULES).path == ["input", "points"]


def test_what_was_given_is_spent_and_given_on_like_any_other() -> None:
    """Its issuer owes for it wherever it is spent; it can be passed on, expire, be frozen and be extended there."""
    there = decided(give(60, TO_BOB, key="G"), ann(), other=bob(), rules=RULES).other
    assert there is not None
    trip = benefit("rides/trip", 60)
    taken = decided(redeem(trip, whose=TO_BOB), there, agreements(("video", "rides", 800)), of=trip)
    assert moves(taken.entry) == [
        "member -> rides REDEEMED 25", "member -> video REDEEMED 35", "video -> rides REDEMPTIONS 28 EUR"
    ]  # fmt: skip
    on = decided(
        give(10, by_reference("video", "cid"), key="H"), there, other=Wallet("cid", links=there.links), rules=RULES
    )
    assert moves(on.entry) == ["bob G/0 -> cid H/0 rides 10"]
    over = decided(expire("G/0", "bob", issuer="rides"), there, now=day(1))
    assert moves(over.entry) == ["member -> rides EXPIRED 25"]
    assert refused(reverse_award("G/0", issuer="rides"), there).path == ["input", "lot"]
    assert moves(decided(adjust("video", -35), there).entry)[-1] == "member -> video GOODWILL 35"


# Households


def test_a_household_is_founded_joined_and_left() -> None:
    """A pool without links; its members know it and it knows them; nothing moves."""
    founded = decided(share(Sharing.FOUND, "pool"), ann(), other=Wallet("pool"))
    assert founded.other is not None
    assert (founded.wallet.household, founded.other.members, founded.other.links) == ("pool", ("ann",), ())
    pool = replace(founded.other, version=1)
    joined = decided(share(Sharing.JOIN, "pool", invited_until=day(1)), bob(), other=pool)
    assert joined.other is not None
    assert (joined.wallet.household, joined.other.members) == ("pool", ("ann", "bob"))
    parted = decided(share(Sharing.LEAVE, "pool"), founded.wallet, other=joined.other)
    assert parted.other is not None
    assert (parted.wallet.household, parted.other.members) == (None, ("bob",))
    assert moves(founded.entry) == moves(joined.entry) == moves(parted.entry) == []


def test_whoever_shares_a_household_shares_no_other() -> None:
    """Neither founds nor joins; nor is a pool founded twice, nor one joined that nobody shares any more."""
    for command, other in (
        (share(Sharing.FOUND, "new"), Wallet("new")),
        (share(Sharing.JOIN, "pool"), home("cid")),
    ):
        assert isinstance(refused(command, at_home(bob()), other=other), ValidationFailed)
    assert isinstance(refused(share(Sharing.FOUND, "pool"), bob(), other=home()), ValidationFailed)
    left_alone = Wallet("pool", version=3)
    assert isinstance(refused(share(Sharing.JOIN, "pool"), bob(), other=left_alone), NotFound)


def test_an_invitation_is_good_until_its_end() -> None:
    """At the moment at which it ends it is no longer good; without one there is nothing to join."""
    asked = share(Sharing.JOIN, "pool", invited_until=day(1))
    for command, other, now in (
        (asked, home(), day(1)), (asked, None, day(0)), (replace(asked, invited_until=None), home(), day(0))
    ):  # fmt: skip
        refusal = refused(command, bob(), other=other, now=now)
        assert isinstance(refusal, NotFound)
        assert refusal.path == ["input", "code"]


def test_a_household_has_room_for_so_many() -> None:
    """One more than that is refused, and one fewer is not."""
    most = tuple(f"member-{n}" for n in range(HOUSEHOLD_MAX))
    assert refused(share(Sharing.JOIN, "pool"), bob(), other=home(*most)).path == ["input", "code"]
    assert decided(share(Sharing.JOIN, "pool"), bob(), other=home(*most[1:])).wallet.household == "pool"


def test_paying_in_is_giving_away() -> None:
    """Within the same limits, into lots of the pool's own."""
    decision = decided(share(Sharing.PAY_IN, "pool", 30, key="P"), at_home(ann()), other=home(), rules=RULES)
    assert moves(decision.entry) == ["ann R -> pool P/0 rides 25", "ann V -> pool P/1 video 5"]
    assert {issuer: given.points for issuer, given in decision.wallet.given.items()} == {"rides": 25, "video": 5}
    refusal = refused(share(Sharing.PAY_IN, "pool", 86), at_home(ann()), other=home(), rules=RULES)
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 85


def test_drawing_counts_against_no_limit() -> None:
    """It was counted when it was paid in. The entry is the pool's, and the member's is the other side."""
    pool = home("ann", "bob", lots=(lot("P/0", "rides", 20, expires=day(1)), lot("P/1", "video", 50)))
    decision = decided(share(Sharing.DRAW, "pool", 65, key="D"), at_home(bob()), other=pool, rules=())
    assert moves(decision.entry) == ["pool P/0 -> bob D/0 rides 20", "pool P/1 -> bob D/1 video 45"]
    assert (decision.wallet.id, decision.wallet.given) == ("pool", {})
    assert decision.other is not None
    assert (decision.other.id, decision.other.given) == ("bob", {})
    refusal = refused(share(Sharing.DRAW, "pool", 71), at_home(bob()), other=pool)
    assert isinstance(refusal, InsufficientPoints)
    assert (refusal.required, refusal.available) == (71, 70)


def test_a_pool_is_for_those_who_share_it() -> None:
    """Whoever shares none, or another, or is only said to share it, neither pays in, draws nor leaves."""
    pool = home("ann", lots=(lot("P/0", "video", 50),))
    for what in (Sharing.PAY_IN, Sharing.DRAW, Sharing.LEAVE):
        for whose, other in ((bob(), pool), (at_home(bob()), pool), (at_home(ann()), None),
                             (replace(ann(), household="another"), pool)):  # fmt: skip
            assert isinstance(refused(share(what, "pool", 1), whose, other=other, rules=RULES), NotFound)


def test_who_shares_is_known_to_the_partner() -> None:
    """As with gifts: a member's token learns that it has parted, a server only that there is no such member."""
    for by_member, error in ((False, NotFound), (True, Forbidden)):
        for whose in (None, at_home(ann())):
            asked = share(Sharing.LEAVE, "pool", through="nobody", by_member=by_member)
            assert isinstance(refused(asked, whose, other=home()), error)


def test_the_last_one_to_leave_draws_what_is_there() -> None:
    """Or nobody could reach it any more; what is over, or not its own, is no reason to stay."""
    pool = home(lots=(lot("P/0", "video", 5, expires=day(1)),))
    asked = share(Sharing.LEAVE, "pool")
    assert isinstance(refused(asked, at_home(ann()), other=pool), ValidationFailed)
    assert decided(asked, at_home(ann()), other=pool, now=day(1)).wallet.household is None
    assert decided(asked, at_home(ann()), other=replace(pool, members=("ann", "bob"))).wallet.household is None


def test_a_pool_is_a_wallet_with_limits() -> None:
    """Neither it nor the member that draws gets more than a wallet can hold."""
    full = home(lots=(lot("all", "video", 2**63 - 1),))
    assert refused(share(Sharing.PAY_IN, "pool", 1), at_home(ann()), other=full, rules=RULES).path == [
        "input",
        "points",
    ]
    assert refused(share(Sharing.DRAW, "pool", 2**63 - 1), at_home(ann()), other=full).path == ["input", "points"]
