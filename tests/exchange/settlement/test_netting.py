from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.journal import EXCHANGE, Obligation, Owed, Sums
from exchange.settlement.netting import LineSums, bilateral, line_sums, payment_plan, positions

PARTNERS = ("delivery", "rides", "video", "news")
amounts = st.integers(-(10**12), 10**18)


@st.composite
def obligations(draw: st.DrawFn) -> tuple[Obligation, Owed]:
    """Any obligation: issuer and provider differ, the channel may be either, figures may be of reversals."""
    issuer, provider = draw(st.permutations(PARTNERS))[:2]
    obligation = Obligation(issuer, provider, draw(st.sampled_from(PARTNERS)), draw(st.sampled_from(("EUR", "JPY"))))
    owed = Owed(draw(amounts), draw(amounts), draw(amounts), draw(amounts), draw(st.integers(1, 1000)))
    return obligation, owed


any_sums = st.lists(obligations(), max_size=12).map(lambda rows: Sums(money=dict(rows)))


def lines_net(lines: LineSums, currency: str) -> int:
    return sum(line.gross_minor - line.fee_minor for key, line in lines.items() if key.currency == currency)


@given(any_sums)
def test_positions_sum_to_zero(sums: Sums) -> None:
    """In every currency, what some owe is what others are owed."""
    nets: Counter[str] = Counter()
    for position in positions(sums):
        nets[position.currency] += position.net.minor
    assert not any(nets.values())


@given(any_sums)
def test_the_plan_pays_exactly_the_nets(sums: Sums) -> None:
    """After the plan every position is zero, nobody paid twice, and what stays with the exchange is its fees."""
    everybody = positions(sums)
    left = {(p.partner, p.currency): p.net.minor for p in everybody}
    plan = payment_plan(everybody)
    kept: Counter[str] = Counter()
    for payment in plan:
        minor, currency = payment.amount
        assert minor > 0
        assert EXCHANGE in (payment.from_, payment.to)
        left[payment.from_, currency] = left.get((payment.from_, currency), 0) + minor
        left[payment.to, currency] = left.get((payment.to, currency), 0) - minor
        kept[currency] += minor if payment.to == EXCHANGE else -minor
    assert not any(left.values())
    assert len(plan) == sum(p.partner != EXCHANGE and p.net.minor != 0 for p in everybody)
    fees: Counter[str] = Counter()
    for obligation, owed in sums.money.items():
        fees[obligation.currency] += owed.fee_minor
    assert all(kept[currency] == fees[currency] for currency in kept | fees)


@given(any_sums)
def test_bilateral_rows_make_the_nets(sums: Sums) -> None:
    """What others owe a party less what it owes them is its net position; nobody owes itself."""
    nets: Counter[tuple[str, str]] = Counter()
    for row in bilateral(sums):
        assert row.debtor != row.creditor
        nets[row.creditor, row.gross.currency] += row.gross.minor
        nets[row.debtor, row.gross.currency] -= row.gross.minor
    for position in positions(sums):
        assert nets.pop((position.partner, position.currency), 0) == position.net.minor
    assert not any(nets.values())


@given(any_sums)
def test_lines_make_the_nets(sums: Sums) -> None:
    """What a partner's lines must add up to is its net position, and its fees are the position's."""
    expected = line_sums(sums)
    for position in positions(sums):
        if position.partner == EXCHANGE:
            continue
        lines = expected[position.partner]
        assert lines_net(lines, position.currency) == position.net.minor
        fees = sum(line.fee_minor for key, line in lines.items() if key.currency == position.currency)
        assert fees == position.fees.minor
    assert EXCHANGE not in expected


@given(st.lists(obligations(), max_size=12), st.randoms())
def test_the_order_of_blocks_does_not_matter(rows: list[tuple[Obligation, Owed]], chance: Random) -> None:
    """The same obligations added up in any order give the same rows in the same order."""
    one, other = added(rows), added(chance.sample(rows, len(rows)))
    assert positions(one) == positions(other)
    assert bilateral(one) == bilateral(other)
    assert payment_plan(positions(one)) == payment_plan(positions(other))


def added(rows: list[tuple[Obligation, Owed]]) -> Sums:
    total = Sums()
    for obligation, owed in rows:
        total.add(Sums(money={obligation: replace(owed)}))
    return total


def test_a_channel_that_is_the_provider_owes_itself() -> None:
    """Its commission counts in both of its columns, changes no net, and is in no bilateral row."""
    sums = Sums(money={Obligation("video", "rides", "rides", "EUR"): Owed(1000, 800, 8, 20, 1)})
    assert [(p.partner, p.payable.minor, p.receivable.minor, p.fees.minor, p.net.minor) for p in positions(sums)] == [
        ("exchange", 0, 8, 0, 8),
        ("rides", 20, 820, 8, 792),
        ("video", 800, 0, 0, -800),
    ]
    assert [(row.debtor, row.creditor, row.gross.minor) for row in bilateral(sums)] == [
        ("rides", "exchange", 8),
        ("video", "rides", 800),
    ]


def test_points_worth_nothing_are_still_told() -> None:
    """A redemption whose money rounds to zero keeps its rows, with its points; no payment follows from it."""
    sums = Sums(money={Obligation("video", "rides", "news", "EUR"): Owed(1, 0, 0, 0, 1)})
    assert [(row.debtor, row.creditor, row.gross, row.points) for row in bilateral(sums)] == [
        ("video", "rides", Money(0, "EUR"), 1)
    ]
    assert [(p.partner, p.net.minor) for p in positions(sums)] == [("rides", 0), ("video", 0)]
    assert payment_plan(positions(sums)) == []
