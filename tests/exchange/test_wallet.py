from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.wallet import Link, Lot, Take, Wallet
from tests.exchange.speech import NOW, day, left, lot


def everyone(_: str) -> bool:
    return True


def test_the_first_to_expire_is_spent_first() -> None:
    """Lots are spent by expiry, whatever the order of award, and those that never expire last."""
    wallet = Wallet("w", lots=(
        lot("never", "video", 10), lot("late", "video", 10, expires=day(9)), lot("soon", "rides", 10, expires=day(1)),
    ))  # fmt: skip
    takes = wallet.choose(25, everyone, NOW)
    assert takes == [Take("soon", "rides", 10), Take("late", "video", 10), Take("never", "video", 5)]
    assert left(wallet.without(takes)) == ["never: 5 of 10", "late: 0 of 10", "soon: 0 of 10"]


def test_equal_expiries_are_spent_in_the_order_of_award() -> None:
    """Of two lots that expire together, or never, the one awarded first is spent first."""
    wallet = Wallet("w", lots=(
        lot("b", "video", 5), lot("a", "video", 5), lot("d", "video", 5, expires=day(1)),
        lot("c", "video", 5, expires=day(1)),
    ))  # fmt: skip
    takes = wallet.choose(20, everyone, NOW)
    assert [take.lot for take in takes] == ["d", "c", "b", "a"]


def test_a_lot_ends_at_the_instant_it_expires() -> None:
    """A point can be spent up to, and not at, the moment of its expiry."""
    wallet = Wallet("w", lots=(lot("a", "video", 5, expires=day(1)),))
    assert wallet.balance(day(1) - timedelta(milliseconds=1)) == 5
    assert wallet.balance(day(1)) == 0
    with pytest.raises(ValueError, match="5 points wanted, 0 spendable"):
        wallet.choose(5, everyone, day(1))


def test_lots_that_a_provider_does_not_take_are_passed_over() -> None:
    """A lot of an issuer that is not accepted stays whole, however soon it expires."""
    wallet = Wallet("w", lots=(lot("a", "rides", 5, expires=day(1)), lot("b", "video", 5)))
    takes = wallet.choose(3, lambda issuer: issuer == "video", NOW)
    assert takes == [Take("b", "video", 3)]
    assert left(wallet.without(takes)) == ["a: 5 of 5", "b: 2 of 5"]
    assert wallet.spendable(lambda issuer: issuer == "video", NOW) == 5


def test_held_points_count_and_cannot_be_spent() -> None:
    """What a hold keeps is in the balance, not in what is available."""
    wallet = Wallet("w", lots=(lot("a", "video", 10, held=4),))
    assert (wallet.balance(NOW), wallet.held(NOW), wallet.available(NOW)) == (10, 4, 6)
    with pytest.raises(ValueError, match="7 points wanted, 6 spendable"):
        wallet.choose(7, everyone, NOW)


def test_expiring_counts_what_is_left_until_then() -> None:
    """Points that end before a moment are counted; those that end at it, later, never or already are not."""
    wallet = Wallet("w", lots=(
        lot("past", "video", 1, expires=day(-1)), lot("soon", "video", 10, expires=day(1), remaining=9),
        lot("then", "video", 100, expires=day(2)), lot("never", "video", 1000),
    ))  # fmt: skip
    assert wallet.expiring(day(2), NOW) == 9


def test_a_change_leaves_the_old_wallet_as_it_was() -> None:
    """Wallets are values."""
    wallet = Wallet("w", lots=(lot("a", "video", 10),))
    takes = wallet.choose(10, everyone, NOW)
    for change in (wallet.without, wallet.hold, wallet.release, wallet.restore):
        assert change(takes) != wallet
    assert wallet.revive(["a"], NOW, day(1)) == (wallet, []), "it never ends"
    wallet.with_taken("rides/trip", 1)
    wallet.with_link(Link("video", "ann", NOW))
    assert wallet == Wallet("w", lots=(lot("a", "video", 10),))


def test_a_daily_limit_begins_anew_each_day() -> None:
    """What was spent through a link counts until midnight UTC, and is never less than nothing left."""
    link = Link("video", "ann", NOW, daily_limit=100)
    assert link.spend(70, NOW).spend(20, NOW + timedelta(hours=11)).day_left(NOW + timedelta(hours=11)) == 10
    assert link.spend(70, NOW).day_left(day(0.5)) == 100
    assert link.spend(130, NOW).day_left(NOW) == 0
    assert link.spend(2**63, NOW).spend(2**63, NOW).spent == 2**63 - 1
    assert Link("video", "ann", NOW).spend(70, NOW).day_left(NOW) is None


def test_there_is_one_link_to_a_partner() -> None:
    """A link replaces the one before it to the same partner, and an ended one is no open one."""
    wallet = Wallet("w").with_link(Link("video", "ann", NOW)).with_link(Link("video", "ann", NOW, ended_at=NOW))
    assert [link.open for link in wallet.links] == [False]
    assert not wallet.linked_to("video")
    assert not wallet.linked_to("rides")


lots = st.lists(
    st.builds(
        lambda number, issuer, points, days, held: lot(
            f"lot-{number}", issuer, points, expires=None if days is None else day(days), held=min(held, points)
        ),
        st.integers(), st.sampled_from(["video", "rides", "delivery"]), st.integers(1, 50),
        st.none() | st.integers(-1, 3), st.integers(0, 10),
    ),
    max_size=8, unique_by=lambda one: one.id,
)  # fmt: skip


@given(lots=lots, share=st.floats(0, 1), taken=st.sets(st.sampled_from(["video", "rides", "delivery"])))
def test_taking_takes_exactly_that_and_the_right_lots(lots: list[Lot], share: float, taken: set[str]) -> None:
    """Whatever is taken leaves the lots in exactly that amount, first-expiring-first among what may be spent."""
    wallet = Wallet("w", lots=tuple(lots))
    points = int(wallet.spendable(taken.__contains__, NOW) * share)
    takes = wallet.choose(points, taken.__contains__, NOW)
    after = wallet.without(takes)
    assert sum(take.points for take in takes) == points
    assert sum(one.remaining for one in lots) - sum(one.remaining for one in after.lots) == points
    assert all(0 <= one.held <= one.remaining for one in after.lots)
    assert all(one.awarded == one.remaining + one.redeemed for one in after.lots)
    # Whoever still has free points that could have been spent does not stand before the last that was touched.
    rank = {one.id: (one.expires_at is None, one.expires_at or NOW, place) for place, one in enumerate(lots)}
    untouched = [rank[one.id] for one in after.lots if one.free and one.live(NOW) and one.issuer in taken]
    assert not takes or not untouched or rank[takes[-1].lot] <= min(untouched)


def test_a_day_that_was_begun_is_not_forgotten_for_a_clock_behind() -> None:
    """Two lanes' clocks may differ at midnight: what was spent on the new day still counts, and the day stays."""
    link = Link("video", "ann", NOW, daily_limit=100).spend(60, day(1))
    late = link.spend(30, NOW)
    assert link.day_left(NOW) == 40
    assert (late.spent_on, late.spent) == (day(1).date(), 90)


def test_what_is_held_and_let_go_is_as_before() -> None:
    """A hold takes nothing away, a release leaves nothing behind, and what is redeemed and restored is counted."""
    wallet = Wallet("w", lots=(lot("a", "video", 10, expires=day(1)), lot("b", "video", 10)))
    takes = wallet.choose(15, everyone, NOW)
    held = wallet.hold(takes)
    assert (held.balance(NOW), held.held(NOW), held.available(NOW)) == (20, 15, 5)
    assert held.release(takes) == wallet
    back = held.release(takes).without(takes).restore([Take("b", "video", 4)])
    assert [(one.remaining, one.redeemed, one.restored) for one in back.lots] == [(0, 10, 0), (9, 5, 4)]


def test_only_lots_that_are_over_are_given_new_time() -> None:
    """What was still in them is lost first, except what is held; those that live keep their end."""
    wallet = Wallet("w", lots=(
        lot("over", "video", 10, expires=day(-1), remaining=7, redeemed=3, held=2),
        lot("spent", "video", 5, expires=day(-1), remaining=0, redeemed=5), lot("lives", "rides", 4, expires=day(1)),
        lot("other", "video", 9, expires=day(-1)),
    ))  # fmt: skip
    revived, lost = wallet.revive(["over", "spent", "lives"], NOW, day(30))
    assert lost == [Take("over", "video", 5)]
    assert [one.expires_at for one in revived.lots] == [day(30), day(30), day(1), day(-1)]
    assert [(one.remaining, one.expired) for one in revived.lots] == [(2, 5), (0, 0), (4, 0), (9, 0)]
