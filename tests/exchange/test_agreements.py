from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.agreements import AgreementBook, Debit, StaleBook, agreement_id, validate_terms
from exchange.amounts import Money, half_even
from exchange.errors import ValidationFailed
from tests.exchange.speech import NOW, agreement, agreements, day


def test_the_most_specific_agreement_holds() -> None:
    """The pair's own comes before the issuer's default, that before the provider's, that before everybody's."""
    pair, issuers = agreement("video", "rides", 1), agreement("video", None, 2)
    providers, everybodys = agreement(None, "rides", 3), agreement(None, None, 4)
    found = [
        agreements(*some).find("video", "rides", NOW)
        for some in ([everybodys, providers, issuers, pair], [everybodys, providers, issuers], [everybodys, providers],
                     [everybodys], [])
    ]  # fmt: skip
    assert found == [pair, issuers, providers, everybodys, None]


def test_the_newest_version_in_force_holds() -> None:
    """A version holds from its moment, that moment included; the version before it until then."""
    first = agreement("video", "rides", 1, since=day(-10))
    second = agreement("video", "rides", 2, version=2, since=NOW)
    book = agreements(second, first)
    assert book.find("video", "rides", NOW) == second
    assert book.find("video", "rides", NOW - timedelta(milliseconds=1)) == first
    assert book.find("video", "rides", day(-11)) is None


def test_of_two_from_the_same_moment_the_later_version_holds() -> None:
    """A correction with the same date is a correction."""
    first, second = agreement("video", "rides", 1), agreement("video", "rides", 2, version=2)
    assert agreements(second, first).find("video", "rides", NOW) == second


def test_an_agreement_still_to_come_leaves_the_default_in_force() -> None:
    """A pair whose own agreement begins tomorrow is under the default today."""
    default = agreement(None, None, 5)
    book = agreements(agreement("video", "rides", 1, since=day(1)), default)
    assert book.find("video", "rides", NOW) == default


def test_points_are_always_good_at_their_own_issuer() -> None:
    """No agreement is needed with oneself; with anybody else one is."""
    book = agreements()
    assert book.accepts("video", "video", NOW)
    assert not book.accepts("video", "rides", NOW)
    assert agreements(("video", "rides", 0)).accepts("video", "rides", NOW)


def test_own_points_cost_nobody_anything() -> None:
    """Points at their own issuer are a row without money, even under a default for everybody."""
    book = agreements((None, None, 800))
    assert book.debits([("rides", 70), ("video", 30)], "rides", NOW) == [
        Debit("rides", 70),
        Debit("video", 30, agreement_id(None, None, 1), Money(24, "EUR")),
    ]


def test_the_total_is_rounded_once_and_the_largest_remainder_gets_the_cent() -> None:
    """70 points at 8.05 and 30 at 8.35 per thousand are 56.35 and 25.05 cents: 81.40, so 81, all by floors."""
    book = agreements(("video", "rides", 805), ("delivery", "rides", 835))
    rows = book.debits([("video", 70), ("delivery", 30)], "rides", NOW)
    assert [row.owed for row in rows] == [Money(56, "EUR"), Money(25, "EUR")]
    # 71 points: 57.155 + 25.05 = 82.205, so 82. 73 points: 58.765 + 25.05 = 83.815, so 84: one over, to .765.
    rows = book.debits([("delivery", 30), ("video", 73)], "rides", NOW)
    assert [row.owed for row in rows] == [Money(25, "EUR"), Money(59, "EUR")]


def test_ties_go_to_the_points_consumed_first() -> None:
    """Half a cent each is one cent together, and whoever was consumed first pays it."""
    book = agreements((None, "rides", 500))
    rows = book.debits([("delivery", 1), ("video", 1)], "rides", NOW)
    assert [row.owed for row in rows] == [Money(1, "EUR"), Money(0, "EUR")]


def test_a_half_in_total_goes_to_the_even_cent() -> None:
    """2.5 cents are 2, 3.5 cents are 4."""
    book = agreements(("video", "rides", 500))
    owed = [book.debits([("video", points)], "rides", NOW)[0].owed for points in (5, 7)]
    assert owed == [Money(2, "EUR"), Money(4, "EUR")]


def test_each_currency_is_rounded_by_itself() -> None:
    """Half a cent of euros and half a yen are nothing each: they do not make one of anything."""
    book = agreements(("video", "rides", 500), agreement("delivery", "rides", 500, "JPY"))
    rows = book.debits([("video", 1), ("delivery", 1)], "rides", NOW)
    assert [row.owed for row in rows] == [Money(0, "EUR"), Money(0, "JPY")]


def test_fee_and_commission_are_taken_of_each_row_half_to_even() -> None:
    """1 % of 250 cents is 2 (half to even), of 350 cents 4; commission likewise."""
    book = agreements(agreement("video", "rides", 1000, fee=100, commission=300))
    rows = [book.debits([("video", points)], "rides", NOW)[0] for points in (250, 350)]
    assert [(row.fee_minor, row.commission_minor) for row in rows] == [(2, 8), (4, 10)]


def test_whoever_is_not_accepted_cannot_be_priced() -> None:
    """Pricing points without an agreement is the caller's mistake."""
    with pytest.raises(ValueError, match="no agreement between video and rides"):
        agreements().debits([("video", 1)], "rides", NOW)


@given(
    points=st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
    prices=st.lists(st.integers(0, 10**5), min_size=4, max_size=4),
    basis=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).filter(lambda pair: sum(pair) <= 10_000),
)
def test_what_issuers_owe_is_what_the_exact_sum_rounds_to(
    points: list[int], prices: list[int], basis: tuple[int, int]
) -> None:
    """Rows add up to the rounded exact total, and fee and commission take at most a row and one unit of rounding."""
    issuers = [f"issuer-{n}" for n in range(len(points))]
    fee, commission = basis
    terms = [
        agreement(issuer, "rides", price, fee=fee, commission=commission)
        for issuer, price in zip(issuers, prices, strict=False)
    ]
    rows = agreements(*terms).debits(list(zip(issuers, points, strict=True)), "rides", NOW)
    exact = sum(p * price for p, price in zip(points, prices, strict=False))
    assert sum(row.owed.minor for row in rows if row.owed) == half_even(exact, 1000)
    # Two halves rounded up can together exceed a row by one unit: never more.
    assert all(row.owed is not None and row.owed.minor - row.fee_minor - row.commission_minor >= -1 for row in rows)


@pytest.mark.parametrize(
    ("price", "fee", "commission", "path"),
    [
        (-1, 0, 0, "amount"), (10**12 + 1, 0, 0, "amount"), (1, -1, 0, "feeBasisPoints"),
        (1, 10_001, 0, "feeBasisPoints"), (1, 0, 10_001, "commissionBasisPoints"),
        (1, 5_000, 5_001, "commissionBasisPoints"),
    ],
)  # fmt: skip
def test_terms_that_nobody_should_sign_are_refused(price: int, fee: int, commission: int, path: str) -> None:
    """A negative price, more than all of it as a fee, or as fee and commission together, are refused by name."""
    with pytest.raises(ValidationFailed) as refused:
        validate_terms(Money(price, "EUR"), fee, commission)
    assert refused.value.path is not None
    assert refused.value.path[-1] == path


def test_terms_at_their_limits_are_accepted() -> None:
    """A price of nothing, and fee and commission of everything, are terms."""
    validate_terms(Money(0, "EUR"), 0, 0)
    validate_terms(Money(10**12, "JPY"), 4_000, 6_000)


def test_a_pin_that_the_book_does_not_know_is_no_price() -> None:
    """A version added after the book was read is not guessed at: the book says that it is stale."""
    with pytest.raises(StaleBook):
        AgreementBook().pinned({"video": "video>rides#000001"})
