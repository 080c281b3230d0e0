from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.amounts import (
    INT64_MAX,
    decimal_from_minor,
    exponent,
    half_even,
    minor_from_decimal,
    share_by_basis_points,
    split_total,
)

CURRENCIES = {"JPY": 0, "EUR": 2, "KWD": 3, "CLF": 4}
amounts = st.integers(-INT64_MAX, INT64_MAX)
numerators = st.lists(st.integers(0, 10**30), max_size=12)
denominators = st.integers(1, 10**6)


@given(numerator=st.integers(-(10**20), 10**20), denominator=denominators)
def test_half_even_is_the_decimal_modules(numerator: int, denominator: int) -> None:
    """Rounding is half to even, as the decimal module has it, for positive and negative amounts."""
    # Exact: the quotient and the distance to its half are compared as integers, never as a truncated decimal.
    whole, rest = divmod(numerator, denominator)
    half = Decimal(0) if 2 * rest < denominator else Decimal("0.5") if 2 * rest == denominator else Decimal("0.9")
    assert half_even(numerator, denominator) == int((whole + half).quantize(Decimal(1), ROUND_HALF_EVEN))


@pytest.mark.parametrize(
    ("numerator", "denominator", "rounded"),
    [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (1, 2, 0), (3, 2, 2), (-1, 2, 0), (26, 10, 3), (-26, 10, -3)],
)
def test_half_even_by_hand(numerator: int, denominator: int, rounded: int) -> None:
    """A tie goes to the even neighbour: 2.5 is 2, 3.5 is 4, and so below zero."""
    assert half_even(numerator, denominator) == rounded


@given(numerators=numerators, denominator=denominators)
def test_a_split_loses_nothing(numerators: list[int], denominator: int) -> None:
    """What rows are given adds up to the rounded total, and no row is a whole unit away from its exact share."""
    shares = split_total(numerators, denominator)
    assert sum(shares) == half_even(sum(numerators), denominator)
    assert all(
        exact // denominator <= share <= -(-exact // denominator)
        for share, exact in zip(shares, numerators, strict=True)
    )


@given(numerators=numerators, denominator=denominators)
def test_a_split_prefers_the_largest_remainder(numerators: list[int], denominator: int) -> None:
    """Nobody is rounded up before somebody with a larger remainder, nor before an equal one that stands earlier."""
    shares = split_total(numerators, denominator)
    ups = [share > exact // denominator for share, exact in zip(shares, numerators, strict=True)]
    ranks = [(-(exact % denominator), row) for row, exact in enumerate(numerators)]
    given_up = [rank for rank, up in zip(ranks, ups, strict=True) if up]
    kept_down = [rank for rank, up in zip(ranks, ups, strict=True) if not up]
    assert not given_up or not kept_down or max(given_up) < min(kept_down)


def test_a_split_by_hand() -> None:
    """1.5, 1.5 and 1.6 are 4.6, so 5: the largest remainder gets a unit first, then the first of equals."""
    assert split_total([15, 15, 16], 10) == [2, 1, 2]
    assert split_total([5, 5], 10) == [1, 0]
    assert split_total([], 10) == []


@pytest.mark.parametrize(("currency", "digits"), CURRENCIES.items())
def test_exponents_are_iso_4217s(currency: str, digits: int) -> None:
    """A yen has no digits, a euro two, a dinar three, a Chilean unidad de fomento four."""
    assert exponent(currency) == digits


@pytest.mark.parametrize("currency", ["XAU", "XDR", "EURO", "eur", "", "ZZZ", "978"])
def test_what_nobody_can_pay_in_is_no_currency(currency: str) -> None:
    """Metals, drawing rights, numbers, lower case and inventions are refused."""
    with pytest.raises(ValueError, match="not an ISO 4217 currency"):
        exponent(currency)


@pytest.mark.parametrize("currency", CURRENCIES)
@given(minor=amounts)
def test_decimals_come_back(currency: str, minor: int) -> None:
    """An amount written as a decimal is read as the same amount, with exactly the currency's digits."""
    written = decimal_from_minor(minor, currency)
    _, _, fraction = written.partition(".")
    assert len(fraction) == CURRENCIES[currency]
    assert Decimal(written).scaleb(CURRENCIES[currency]) == minor
    if len(written.lstrip("-").partition(".")[0]) <= 16:  # what a decimal may have before its point
        assert minor_from_decimal(written, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [("12.5", "EUR", 1250), ("-0.05", "EUR", -5), ("0", "JPY", 0), ("1.234", "KWD", 1234), ("7", "CLF", 70_000)],
)
def test_decimals_by_hand(text: str, currency: str, minor: int) -> None:
    """Fewer digits than the currency has are filled up."""
    assert minor_from_decimal(text, currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("1.234", "EUR"), ("0.5", "JPY"), ("1.", "EUR"), (".5", "EUR"), ("01", "EUR"), ("+1", "EUR"), ("1e3", "EUR"),
        ("", "EUR"), (" 1", "EUR"), ("1\n", "EUR"), ("1,000.00", "EUR"), ("NaN", "EUR"), ("--1", "EUR"),
        ("٣", "EUR"), ("9999999999999999", "CLF"), ("12345678901234567", "JPY"), ("1.00", "XAU"),
    ],
)  # fmt: skip
def test_what_is_no_decimal_of_the_currency_is_refused(text: str, currency: str) -> None:
    """More digits than the currency has, exponents, signs, spaces, other scripts' digits and 65 bits are refused."""
    with pytest.raises(ValueError, match=r"."):
        minor_from_decimal(text, currency)


@pytest.mark.parametrize("text", ["999999999999999999.99", "-99999999999999999", "9" * 10_000])
def test_an_amount_that_is_too_large_is_told_so(text: str) -> None:
    """It is a decimal number, and is not said to be none; however long it is."""
    with pytest.raises(ValueError, match=r"is too large$"):
        minor_from_decimal(text, "EUR")


@given(minor=st.integers(0, 10**17), basis_points=st.integers(0, 10_000))
def test_a_share_is_never_more_than_the_whole(minor: int, basis_points: int) -> None:
    """A fee of up to 10,000 basis points takes at most what there is; all of them, all of it."""
    assert 0 <= share_by_basis_points(minor, basis_points) <= minor
    assert share_by_basis_points(minor, 10_000) == minor
