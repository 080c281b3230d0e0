"""Rules of velocity as a law: no window anywhere holds more than a rule allows, and nothing is refused for less."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from exchange.benefit import Benefit
from exchange.journal import EXCHANGE
from exchange.limits import look_back, too_fast
from exchange.redemption import Redemption, RedemptionStatus
from exchange.rules import RuleBook, Rules, Velocity
from tests.exchange.speech import NOW, benefit

RIDE, TRIP, FILM = benefit("rides/ride", 10), benefit("rides/trip", 25), benefit("video/film", 40)
Wish = tuple[int, Benefit, int, str]

VELOCITIES = st.builds(
    lambda minutes, redemptions, points, what, least: Velocity(
        window_seconds=60 * minutes, redemptions_max=redemptions, points_max=points, benefit=what, points_from=least
    ),
    st.integers(1, 90), st.none() | st.integers(0, 4), st.none() | st.integers(0, 200),
    st.sampled_from([None, None, RIDE.id, FILM.id]), st.sampled_from([0, 0, 20, 60]),
)  # fmt: skip
RULES = st.lists(
    st.builds(
        lambda partner, velocity: Rules(partner=partner, version=1, velocity=tuple(velocity)),
        st.sampled_from(["video", "rides", "delivery", EXCHANGE]), st.lists(VELOCITIES, max_size=2),
    ),
    min_size=1, unique_by=lambda rules: rules.partner,
)  # fmt: skip
WISHES = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from([RIDE, TRIP, FILM]), st.integers(1, 4),
        st.sampled_from(["video", "rides", "delivery"]),
    ),
    max_size=25,
)  # fmt: skip


def begun(wish: Wish, seconds: float) -> Redemption:
    _, of, quantity, channel = wish
    return Redemption(
        id=str(seconds), benefit=of.id, provider=of.partner, channel=channel, wallet="w", quantity=quantity,
        points=of.points_price * quantity, status=RedemptionStatus.FULFILLED, debits=(), takes=(),
        created_at=NOW + timedelta(seconds=seconds), updated_at=NOW,
    )  # fmt: skip


def concerns(rules: Rules, rule: Velocity, one: Redemption) -> bool:
    """Whether a redemption is one that a rule is about, as docs/rules.md has it."""
    theirs = rules.partner in (EXCHANGE, one.channel) or one.benefit.startswith(f"{rules.partner}/")
    return theirs and rule.benefit in (None, one.benefit) and one.points >= rule.points_from


def kept(rules: Rules, rule: Velocity, taken: list[Redemption], last: Redemption) -> bool:
    """Whether the window that ends with `last` holds no more than a rule allows."""
    span = timedelta(seconds=rule.window_seconds)
    window = [one for one in taken if timedelta(0) <= last.created_at - one.created_at < span]
    counted = [one.points for one in window if concerns(rules, rule, one)]
    few = rule.redemptions_max is None or len(counted) <= rule.redemptions_max
    return few and (rule.points_max is None or sum(counted) <= rule.points_max)


@given(RULES, WISHES)
def test_no_window_holds_more_than_a_rule_allows(laid_down: list[Rules], wishes: list[Wish]) -> None:
    """Of any wishes at any times: a wish is refused if, and only if, with it some window would hold too much.

    What is read of the past is only as much as `look_back` says.
    """
    book, taken, seconds = RuleBook(laid_down), list[Redemption](), 0.0
    every = [(rules, rule) for rules in laid_down for rule in rules.velocity]
    for wish in wishes:
        seconds += 60 * wish[0] + 0.001
        one = begun(wish, seconds)
        allowed = all(kept(*each, [*taken, one], one) for each in every if concerns(*each, one))
        since = look_back([wish[1]], book, one.created_at)
        seen = [before for before in taken if since is not None and before.created_at >= since]
        assert too_fast(wish[1], wish[3], one.points, seen, book, one.created_at) is not allowed
        if allowed:
            taken.append(one)
    assert all(kept(*each, taken, last) for each in every for last in taken)


@given(RULES, WISHES, st.sampled_from([0, 60]))
def test_what_is_a_window_ago_counts_no_more(laid_down: list[Rules], wishes: list[Wish], earlier: int) -> None:
    """A window is open at its far end: exactly as long ago is as if it had never been."""
    book = RuleBook(laid_down)
    longest = max((rule.window_seconds for rules in laid_down for rule in rules.velocity), default=1)
    before = [begun(wish, -longest - earlier) for wish in wishes]
    for wish in wishes:
        points = begun(wish, 0).points
        alone = too_fast(wish[1], wish[3], points, [], book, NOW)
        assert too_fast(wish[1], wish[3], points, before, book, NOW) is alone
