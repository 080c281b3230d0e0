"""A period under a policy: laws for any obligations, and cases worked out by hand or by others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE, Obligation, Owed, Sums
from exchange.settlement.netted import Netted, PlanKind, Policy, changes, net
from exchange.settlement.netting import Payment

PARTNERS = ("delivery", "music", "news", "rides", "video")
CURRENCIES = ("EUR", "JPY")
ALL_CONTRACTS = frozenset(combinations(PARTNERS, 2))
EUR = "EUR"


def owing(*debts: tuple[str, str, int], currency: str = EUR) -> Sums:
    """Return the sums of redemptions without fee or commission: who owes whom how much."""
    rows = [
        Sums(money={Obligation(one, other, other, currency): Owed(0, minor, 0, 0, 1)}) for one, other, minor in debts
    ]
    total = Sums()
    for row in rows:
        total.add(row)
    return total


def paid(payments: Iterable[Payment]) -> list[tuple[str, str, int]]:
    return [(payment.from_, payment.to, payment.amount.minor) for payment in payments]


def nets(netted: Netted, currency: str = EUR) -> dict[str, int]:
    return {party: amount.minor for party, amount in netted.nets if amount.currency == currency}


amounts = st.one_of(st.integers(-9, 9), st.integers(-(10**12), 10**17))


@st.composite
def any_sums(draw: st.DrawFn) -> Sums:
    """Any obligations: issuer and provider differ, the channel may be either, figures may be of reversals."""
    money = {}
    for _ in range(draw(st.integers(0, 9))):
        issuer, provider = draw(st.permutations(PARTNERS))[:2]
        key = Obligation(issuer, provider, draw(st.sampled_from(PARTNERS)), draw(st.sampled_from(CURRENCIES)))
        money[key] = Owed(draw(amounts), draw(amounts), draw(amounts), draw(amounts), 1)
    return Sums(money=money)


@st.composite
def any_carried(draw: st.DrawFn) -> list[Payment]:
    pairs = draw(st.lists(st.sampled_from(list(combinations((*PARTNERS, EXCHANGE), 2))), unique=True, max_size=4))
    return [
        Payment(from_=one, to=other, amount=Money(draw(st.integers(1, 99)), draw(st.sampled_from(CURRENCIES))))
        for one, other in pairs
    ]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    gone = draw(st.frozensets(st.sampled_from(PARTNERS), max_size=2))
    parent, *subsidiaries = draw(st.permutations(PARTNERS))[: draw(st.integers(1, 3))]
    return Policy(
        plan=draw(st.sampled_from(PlanKind)), contracts=ALL_CONTRACTS, without=gone,
        groups={} if parent in gone else {parent: tuple(subsidiaries)},
        minimums=draw(st.dictionaries(st.sampled_from(CURRENCIES), st.one_of(st.integers(1, 9), st.just(10**12)))),
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(any_sums(), policies(), any_carried())
def test_every_plan_pays_exactly_the_nets(sums: Sums, policy: Policy, opening: list[Payment]) -> None:
    """In each currency nets sum to zero, and what is paid and what is carried settles them to the last unit."""
    netted = net(sums, policy, opening)
    totals: Counter[str] = Counter()
    # A Counter, as an exchange that owes nobody anything is the common counterparty all the same.
    left = Counter({(party, amount.currency): amount.minor for party, amount in netted.nets})
    for _, amount in netted.nets:
        totals[amount.currency] += amount.minor
    assert not any(totals.values())
    for payment in (*netted.payments, *netted.carried):
        left[payment.from_, payment.amount.currency] += payment.amount.minor
        left[payment.to, payment.amount.currency] -= payment.amount.minor
    assert not any(left.values())
    for payment in netted.payments:
        assert payment.amount.minor >= policy.minimums.get(payment.amount.currency, 1)
    for payment in netted.carried:
        assert 0 < payment.amount.minor < policy.minimums[payment.amount.currency]
    settling = {payment.from_ for payment in netted.payments} | {payment.to for payment in netted.payments}
    assert not settling & (policy.without | policy.parents().keys())


@settings(max_examples=100, deadline=None)
@given(any_sums(), policies(), any_carried())
def test_netting_never_adds(sums: Sums, policy: Policy, opening: list[Payment]) -> None:
    """Gross is never less than bilateral, nor bilateral than multilateral; with groups there is no more to move."""
    netted = net(sums, policy, opening)
    alone = {each.gross.currency: each for each in net(sums, replace(policy, groups={}), opening).measures}
    for measure in netted.measures:
        assert measure.gross.minor >= measure.bilateral.minor >= measure.multilateral.minor >= 0
        efficiency = measure.efficiency_basis_points
        assert efficiency is None if measure.gross.minor == 0 else 0 <= efficiency <= 10_000  # type: ignore[operator]
        assert measure.multilateral.minor <= alone[measure.gross.currency].multilateral.minor


@settings(max_examples=100, deadline=None)
@given(any_sums(), any_sums(), policies())
def test_what_is_carried_enters_the_next_period(first: Sums, second: Sums, policy: Policy) -> None:
    """Two periods with minimums, and a third that pays all, leave everybody with what both periods made them."""
    policy = replace(policy, groups={}, without=frozenset())
    one = net(first, policy)
    two = net(second, policy, one.carried)
    assert sum(standing.opening.minor for standing in two.standings) == 0
    three = net(Sums(), replace(policy, minimums={}), two.carried)
    got: Counter[tuple[str, str]] = Counter()
    for payment in (*one.payments, *two.payments, *three.payments):
        got[payment.to, payment.amount.currency] += payment.amount.minor
        got[payment.from_, payment.amount.currency] -= payment.amount.minor
    due: Counter[tuple[str, str]] = Counter()
    for sums in (first, second):
        for party, amount in net(sums, Policy()).nets:
            due[party, amount.currency] += amount.minor
    assert {key: minor for key, minor in got.items() if minor} == {key: minor for key, minor in due.items() if minor}


@settings(max_examples=100, deadline=None)
@given(any_sums(), policies(), any_carried())
def test_survivors_are_netted_as_if_the_others_had_never_been(
    sums: Sums, policy: Policy, opening: list[Payment]
) -> None:
    """Without a partner nothing is left that it owes or is owed; what changes for the others is exactly that."""
    netted = net(sums, policy, opening)
    everybody = net(sums, Policy(), opening)
    parents = policy.parents()
    lost: Counter[tuple[str, str]] = Counter()
    for (issuer, provider, channel, currency), owed in sums.money.items():
        for debtor, creditor, minor in (
            (issuer, provider, owed.gross_minor), (provider, channel, owed.commission_minor),
            (provider, EXCHANGE, owed.fee_minor),
        ):  # fmt: skip
            if policy.without & {debtor, creditor}:
                lost[creditor, currency] += minor
                lost[debtor, currency] -= minor
    for carry in opening:
        if policy.without & {carry.from_, carry.to}:
            lost[carry.to, carry.amount.currency] += carry.amount.minor
            lost[carry.from_, carry.amount.currency] -= carry.amount.minor
    expected: Counter[tuple[str, str]] = Counter()
    for party, amount in everybody.nets:
        if party not in policy.without:
            key = parents.get(party, party), amount.currency
            expected[key] += amount.minor - lost[party, amount.currency]
    found = {(party, amount.currency): amount.minor for party, amount in netted.nets}
    assert {key: minor for key, minor in found.items() if minor} == {k: m for k, m in expected.items() if m}
    assert all(change.party not in policy.without and change.difference.minor for change in changes(netted))
    if not policy.without:
        assert changes(netted) == []


# ---------------------------------------------------------------- by hand


def test_a_minimum_carries_what_is_too_small() -> None:
    """Rides' 3.00 waits; next time, with 4.00 more, it is above the minimum of 5.00 and paid as one."""
    policy = Policy(minimums={EUR: 500})
    one = net(owing(("video", "rides", 300), ("video", "delivery", 900)), policy)
    assert paid(one.payments) == [(EXCHANGE, "delivery", 900), ("video", EXCHANGE, 1200)]
    assert paid(one.carried) == [(EXCHANGE, "rides", 300)]
    two = net(owing(("video", "rides", 400)), policy, one.carried)
    assert [(s.position.partner, s.opening.minor, s.position.net.minor, s.net.minor) for s in two.standings] == [
        (EXCHANGE, -300, 0, -300), ("rides", 300, 400, 700), ("video", 0, -400, -400),
    ]  # fmt: skip
    assert paid(two.payments) == [(EXCHANGE, "rides", 700)]
    assert paid(two.carried) == [("video", EXCHANGE, 400)]


def test_a_group_nets_as_one_and_its_parent_settles() -> None:
    """What a group's members owe and are owed is one net; their own positions stay as they are."""
    sums = owing(("video", "rides", 500), ("rides", "music", 450), ("music", "video", 70))
    netted = net(sums, Policy(plan=PlanKind.FEWEST, groups={"video": ("music",)}))
    assert nets(netted) == {"rides": 50, "video": -50}
    assert paid(netted.payments) == [("video", "rides", 50)]
    assert [(s.position.partner, s.net.minor) for s in netted.standings] == [
        ("music", 380), ("rides", 50), ("video", -430),
    ]  # fmt: skip


def test_a_parent_has_the_contracts_of_its_subsidiaries() -> None:
    """Where only the subsidiary has a contract, the parent can settle along it."""
    sums = owing(("video", "rides", 500))
    policy = Policy(plan=PlanKind.CONTRACTED, groups={"video": ("music",)}, contracts=frozenset({("music", "rides")}))
    assert paid(net(sums, policy).payments) == [("video", "rides", 500)]
    with pytest.raises(ValidationFailed, match="no plan along contracts: video owe"):
        net(sums, replace(policy, groups={}))


def test_a_default_is_unwound() -> None:
    """Video fails: rides loses the 500 that video owed it, and delivery no longer owes video its 200."""
    sums = owing(("video", "rides", 500), ("delivery", "video", 200), ("delivery", "rides", 30))
    netted = net(sums, Policy(without=frozenset({"video"})))
    assert nets(netted) == {"delivery": -30, "rides": 30}
    assert [(change.party, change.before.minor, change.after.minor) for change in changes(netted)] == [
        ("delivery", -230, -30), ("rides", 530, 30),
    ]  # fmt: skip


def test_a_provider_owes_commission_and_fee_though_the_issuer_is_gone() -> None:
    """Unwound is what the one that failed owes and is owed, not what others owe for the same redemption."""
    sums = Sums(money={Obligation("video", "rides", "news", EUR): Owed(100, 1000, 15, 25, 1)})
    assert nets(net(sums, Policy(without=frozenset({"video"})))) == {EXCHANGE: 15, "news": 25, "rides": -40}
    assert nets(net(sums, Policy(without=frozenset({"rides"})))) == {}


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"groups": {"video": ("music",), "rides": ("music",)}}, "music is in a group twice, or in two"),
        ({"groups": {"video": ("video",)}}, "video is in a group twice"),
        ({"groups": {"video": (EXCHANGE,)}}, "the exchange is in nobody's group"),
        ({"groups": {"video": ("music",)}, "without": frozenset({"video"})}, "its group needs another parent"),
        ({"without": frozenset({EXCHANGE})}, "the exchange cannot be taken out"),
        ({"minimums": {EUR: 0}}, "a minimum is more than nothing"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(policy: Mapping[str, Any], says: str) -> None:
    """What would make two sums of one net, or none, is said before anything is netted."""
    with pytest.raises(ValidationFailed, match=says):
        Policy(**policy)


# ---------------------------------------------------------------- as others published it


def test_teltrex() -> None:
    """Eun and Resnick, "International Financial Management", 5th edition (2009), chapter 19: Teltrex's affiliates.

    In thousands of dollars. They save 260 of 350 bilaterally and 295 multilaterally, that is 84 %.
    """
    us, canada, germany, uk = "us", "canada", "germany", "uk"
    sums = owing(
        (us, canada, 20), (us, germany, 10), (us, uk, 40),
        (canada, us, 30), (canada, germany, 25), (canada, uk, 30),
        (germany, us, 35), (germany, canada, 10), (germany, uk, 20),
        (uk, us, 60), (uk, canada, 40), (uk, germany, 30),
        currency="USD",
    )  # fmt: skip
    netted = net(sums, Policy(plan=PlanKind.FEWEST))
    (measure,) = netted.measures
    assert [amount.minor for amount in measure] == [350, 350 - 260, 350 - 295]
    assert measure.efficiency_basis_points == 8429
    assert nets(netted, "USD") == {us: 55, canada: -15, germany: 0, uk: -40}
    assert paid(netted.payments) == [(canada, us, 15), (uk, us, 40)]


def test_a_french_and_a_mexican_subsidiary() -> None:
    """Hill, "International Business", on bilateral netting: of 6 million one way and 4 the other, 2 are paid."""
    netted = net(owing(("france", "mexico", 6_000_000), ("mexico", "france", 4_000_000), currency="USD"), Policy())
    (measure,) = netted.measures
    assert (measure.gross.minor, measure.bilateral.minor) == (10_000_000, 2_000_000)
    assert nets(netted, "USD") == {"france": -2_000_000, "mexico": 2_000_000}


def test_minimize_cash_flow() -> None:
    """GeeksforGeeks, "Minimize Cash Flow among a given set of friends": three debts become two payments."""
    netted = net(owing(("p0", "p1", 1000), ("p0", "p2", 2000), ("p1", "p2", 5000)), Policy(plan=PlanKind.FEWEST))
    assert paid(netted.payments) == [("p0", "p2", 3000), ("p1", "p2", 4000)]


@pytest.mark.parametrize(
    ("debts", "fewest"),
    [
        ([(0, 1, 10), (2, 0, 5)], 2),
        ([(0, 1, 10), (1, 0, 1), (1, 2, 5), (2, 0, 5)], 1),
    ],
)
def test_optimal_account_balancing(debts: list[tuple[int, int, int]], fewest: int) -> None:
    """LeetCode 465, "Optimal Account Balancing": both of its examples."""
    # There a row is who gave whom, so the second owes the first.
    sums = owing(*((f"p{taker}", f"p{giver}", minor) for giver, taker, minor in debts))
    assert len(net(sums, Policy(plan=PlanKind.FEWEST)).payments) == fewest
