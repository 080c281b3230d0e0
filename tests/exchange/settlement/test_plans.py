"""Payment plans: what every plan must be, and what each kind promises besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE
from exchange.settlement.netting import Payment
from exchange.settlement.plans import EXACT_PARTIES_MAX, contracted, fewest, zero_sum_groups

NAMES = [f"p{number:02}" for number in range(40)]


def nets_of(amounts: Iterable[int], names: Iterable[str] = NAMES) -> dict[str, int]:
    """Return nets of these amounts, and of one more party that evens them out."""
    given_amounts = list(amounts)
    return dict(zip(names, [*given_amounts, -sum(given_amounts)], strict=False))


def left_after(nets: dict[str, int], payments: Iterable[Payment]) -> dict[str, int]:
    left = Counter(nets)
    for payment in payments:
        assert payment.amount.minor > 0
        assert payment.from_ != payment.to
        left[payment.from_] += payment.amount.minor
        left[payment.to] -= payment.amount.minor
    return {party: minor for party, minor in left.items() if minor}


def fewest_by_trying(left: list[int]) -> int:
    """Try all: the first who is not even settles with each in turn who has the opposite sign."""
    left = [minor for minor in left if minor]
    if not left:
        return 0
    first, rest = left[0], left[1:]
    return 1 + min(
        fewest_by_trying([*rest[:index], other + first, *rest[index + 1 :]])
        for index, other in enumerate(rest)
        if other * first < 0
    )


small = st.integers(-6, 6)
anything = st.integers(-(10**18), 10**18)


# ---------------------------------------------------------------- fewest transfers


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(small, anything), max_size=7))
def test_fewest_is_as_few_as_trying_all_finds(amounts: list[int]) -> None:
    """Up to eight parties, no plan settles them with fewer transfers."""
    nets = nets_of(amounts)
    plan = fewest(nets, "EUR")
    assert left_after(nets, plan) == {}
    assert len(plan) == fewest_by_trying(list(nets.values()))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(small, st.integers(-40, 40), anything), max_size=39))
def test_fewest_settles_any_number(amounts: list[int]) -> None:
    """Every plan pays exactly the nets, in at most one transfer less than there are parties."""
    nets = nets_of(amounts)
    plan = fewest(nets, "EUR")
    assert left_after(nets, plan) == {}
    assert len(plan) <= max(0, sum(map(bool, nets.values())) - 1)
    groups = zero_sum_groups(nets)
    assert sorted(party for group in groups for party in group) == sorted(p for p, minor in nets.items() if minor)
    assert all(sum(nets[party] for party in group) == 0 for group in groups)
    assert len(plan) == sum(len(group) - 1 for group in groups) or len(groups[-1]) > EXACT_PARTIES_MAX


@given(st.lists(small, max_size=12), st.randoms())
def test_the_order_of_parties_does_not_matter(amounts: list[int], chance: Random) -> None:
    """The same nets give the same plan."""
    nets = nets_of(amounts)
    shuffled = dict(chance.sample(list(nets.items()), len(nets)))
    assert fewest(nets, "EUR") == fewest(shuffled, "EUR")
    pairs = [pair for pair in combinations(nets, 2) if chance.random() < 0.7]
    assert outcome(nets, pairs) == outcome(shuffled, pairs[::-1])


def test_sixteen_parties_are_divided_exactly() -> None:
    """Four hidden groups of four, none of which a pair or a triple gives away, are found: twelve transfers."""
    groups = [(1, 10, 100, -111), (2, 20, 200, -222), (3, 31, 300, -334), (5, 50, 500, -555)]
    nets = dict(zip(NAMES, [group[index] for index in range(4) for group in groups], strict=False))
    assert len(nets) == EXACT_PARTIES_MAX
    assert sorted(sorted(nets[party] for party in group) for group in zero_sum_groups(nets)) == [
        sorted(group) for group in sorted(groups, key=min)
    ]
    assert len(fewest(nets, "EUR")) == 12


def test_of_more_parties_pairs_and_triples_go_first() -> None:
    """Thirty parties, made of a pair and triples, leave so few that the rest is exact as well."""
    triples = [(n, 2 * n + 1, -3 * n - 1) for n in (7, 11, 101, 503, 1009, 5003, 20011)]
    amounts = [amount for triple in triples for amount in triple] + [13, -13] + [10**9, 10**10, 10**11, -111 * 10**9]
    nets = dict(zip(NAMES, amounts, strict=False))
    assert sorted(len(group) for group in zero_sum_groups(nets)) == [2, *[3] * 7, 4]
    assert len(fewest(nets, "EUR")) == 1 + 7 * 2 + 3


def test_what_is_too_many_is_settled_largest_with_largest() -> None:
    """Seventeen parties in which nothing cancels take sixteen transfers, the largest first."""
    nets = nets_of(4**n for n in range(EXACT_PARTIES_MAX))
    plan = fewest(nets, "EUR")
    assert len(plan) == EXACT_PARTIES_MAX
    assert plan[0].amount.minor == 4**15
    assert left_after(nets, plan) == {}


def test_nets_that_do_not_sum_to_zero_are_no_nets() -> None:
    """A plan of such would leave somebody unpaid, so there is none."""
    with pytest.raises(ValueError, match="do not sum to zero"):
        fewest({"video": 1}, "EUR")


# ---------------------------------------------------------------- contracted pairs


def outcome(nets: dict[str, int], pairs: list[tuple[str, str]]) -> list[Payment] | str:
    try:
        return contracted(nets, "EUR", pairs)
    except ValidationFailed as refusal:
        return refusal.message


def islands(parties: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[set[str]]:
    """Return who can reach whom by contracts."""
    found = [{party} for party in parties]
    for one, other in pairs:
        of_one = next(island for island in found if one in island)
        of_other = next(island for island in found if other in island)
        if of_one is not of_other:
            of_one |= of_other
            found.remove(of_other)
    return found


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Any nets of up to seven partners, with or without the exchange among them, and any contracts."""
    names = NAMES[:7]
    amounts = draw(st.lists(st.integers(-9, 9), min_size=7, max_size=7))
    nets = dict(zip(names, amounts, strict=True))
    evened = draw(st.sampled_from([EXCHANGE, *names]))
    nets[evened] = nets.get(evened, 0) - sum(amounts)
    return nets, draw(st.lists(st.sampled_from(list(combinations(names, 2))), unique=True))


@settings(deadline=None)
@given(networks())
def test_a_plan_along_contracts_is_there_exactly_when_it_can_be(
    network: tuple[dict[str, int], list[tuple[str, str]]],
) -> None:
    """Every island of contracts must be even, but for what the exchange takes or gives."""
    nets, pairs = network
    sums = [sum(nets[party] for party in island) for island in islands([n for n in nets if n != EXCHANGE], pairs)]
    exchange = nets.get(EXCHANGE, 0)
    possible = all(total <= 0 for total in sums) if exchange > 0 else all(total >= 0 for total in sums)
    if exchange == 0:
        possible = not any(sums)
    plan = outcome(nets, pairs)
    assert isinstance(plan, list) == possible
    if isinstance(plan, list):
        assert left_after(nets, plan) == {}
        allowed = {frozenset(pair) for pair in pairs}
        for payment in plan:
            if EXCHANGE in (payment.from_, payment.to):
                assert (payment.to == EXCHANGE) == (exchange > 0)
            else:
                assert frozenset((payment.from_, payment.to)) in allowed


@settings(deadline=None)
@given(networks())
def test_no_plan_along_contracts_moves_less(network: tuple[dict[str, int], list[tuple[str, str]]]) -> None:
    """Nothing that could be sent round in a circle would lessen what is moved, which proves that it is the least."""
    nets, pairs = network
    plan = outcome(nets, pairs)
    if isinstance(plan, str):
        return
    exchange = nets.get(EXCHANGE, 0)
    price: dict[tuple[str, ...], int] = {way: 1 for one, other in pairs for way in ((one, other), (other, one))}
    for party in nets.keys() - {EXCHANGE}:
        if exchange:
            price[(party, EXCHANGE) if exchange > 0 else (EXCHANGE, party)] = 1
    price |= {(payment.to, payment.from_): -1 for payment in plan}
    best: dict[tuple[str, ...], int] = {way: price.get(way, 10**6) for way in product(nets, repeat=2)}
    for through, one, other in product(nets, repeat=3):
        best[one, other] = min(best[one, other], best[one, through] + best[through, other])
    assert all(best[party, party] >= 0 for party in nets)


def test_money_is_passed_on_where_there_is_no_direct_contract() -> None:
    """What `a` owes and `c` is owed goes by way of `b`, who has a contract with both."""
    plan = contracted({"a": -10, "b": 0, "c": 10}, "EUR", [("a", "b"), ("b", "c")])
    assert [(p.from_, p.to, p.amount.minor) for p in plan] == [("a", "b", 10), ("b", "c", 10)]


def test_who_cannot_be_paid_along_contracts_is_named() -> None:
    """The refusal says who owes how much too much among themselves, and where the wish was wrong."""
    nets = {"a": -1000, "b": 300, "c": 700, EXCHANGE: 0}
    with pytest.raises(ValidationFailed, match=r"no plan along contracts: a, b owe 7\.00 EUR more than") as refused:
        contracted(nets, "EUR", [("a", "b")])
    assert refused.value.path == ["input", "plan"]


def test_the_exchange_is_paid_its_fees_and_passes_nothing_on() -> None:
    """A partner pays the exchange what it is owed, and the rest needs a contract."""
    nets = {"a": -110, "b": 100, EXCHANGE: 10}
    plan = contracted(nets, "EUR", [("a", "b")])
    assert [(p.from_, p.to, p.amount.minor) for p in plan] == [("a", "b", 100), ("a", EXCHANGE, 10)]
    assert isinstance(outcome(nets, []), str)
    returned = contracted({"a": 10, "b": 0, EXCHANGE: -10}, "EUR", [("a", "b")])
    assert [(p.from_, p.to, p.amount.minor) for p in returned] == [(EXCHANGE, "a", 10)]


def test_a_long_list_of_names_is_cut() -> None:
    """Nobody reads forty names in one line."""
    nets = {**dict.fromkeys(NAMES, -1), "zed": 40}
    assert "p04 and 35 others owe 0.40 EUR" in str(outcome(nets, []))
