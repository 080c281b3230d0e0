"""Points and money as integers, and the only places where either is divided.

Points are whole; money is whole minor units of an ISO 4217 currency. Both are signed 64-bit, because that is
what the database stores and what a partner's language has. Nothing here, or anywhere, is a float.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import iso4217

INT64_MAX = 2**63 - 1
POINTS_MAX = 10**17
"""Most points in one award: more than anybody gives, and ninety of them still fit a wallet's 64 bits."""

MINOR_MAX = 10**17
"""Most money in one row of a redemption, in minor units."""

BASIS = 10_000
"""Basis points in one whole."""

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_WHOLE_DIGITS_MAX = 16  # before the point; more money than there is, and no text is too long to be read


class Money(NamedTuple):
    """An amount in minor units (cents) of one ISO 4217 currency."""

    minor: int
    currency: str


@lru_cache(maxsize=512)
def exponent(currency: str) -> int:
    """Return how many decimal digits ISO 4217 gives `currency`; ValueError when it is no such code.

    Funds and metals (XAU, XDR), which the standard lists without an exponent, are refused: nobody can pay in them.
    """
    try:
        digits = iso4217.Currency(currency).exponent
    except ValueError:
        digits = None
    if digits is None or currency != currency.upper():
        message = f"{currency!r} is not an ISO 4217 currency"
        raise ValueError(message)
    return int(digits)


def minor_from_decimal(text: str, currency: str) -> int:
    """Return minor units for a decimal string in major units: "12.50" EUR is 1250.

    Refuses (ValueError) more digits than the currency has, exponents, and anything beyond 64 bits or with more than
    16 digits before its point.
    """
    digits = exponent(currency)
    if not _DECIMAL.fullmatch(text):
        message = f"{text!r} is not a decimal number"
        raise ValueError(message)
    whole, _, fraction = text.partition(".")
    if len(fraction) > digits:
        message = f"{currency} has {digits} decimal digits, {text!r} has {len(fraction)}"
        raise ValueError(message)
    if len(whole.lstrip("-")) <= _WHOLE_DIGITS_MAX:
        minor = int(whole + fraction.ljust(digits, "0"))
        if abs(minor) <= INT64_MAX:
            return minor
    message = f"{text!r} is too large"
    raise ValueError(message)


def decimal_from_minor(minor: int, currency: str) -> str:
    """Return the decimal string with exactly the currency's digits: 1250 EUR is "12.50", -5 EUR is "-0.05"."""
    digits = exponent(currency)
    sign = "-" if minor < 0 else ""
    text = str(abs(minor)).rjust(digits + 1, "0")
    return f"{sign}{text}" if digits == 0 else f"{sign}{text[:-digits]}.{text[-digits:]}"


def half_even(numerator: int, denominator: int) -> int:
    """Divide and round half to even (IEEE 754 roundTiesToEven, "banker's rounding"); denominator > 0."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient % 2):
        return quotient + 1
    return quotient


def share_by_basis_points(minor: int, basis_points: int) -> int:
    """Return the part of an amount that `basis_points` (1/10,000) of it make, half to even."""
    return half_even(minor * basis_points, BASIS)


def split_total(numerators: Sequence[int], denominator: int) -> list[int]:
    """Round the sum of exact fractions once, half to even, and hand it out without losing a unit.

    Each row gets its floor; the units left over go to the largest remainders, ties in the order given
    (the Hamilton or largest-remainder method). Sum of the result = half_even(sum(numerators), denominator).
    Numerators are not negative.
    """
    floors = [numerator // denominator for numerator in numerators]
    left = half_even(sum(numerators), denominator) - sum(floors)
    by_remainder = sorted(range(len(floors)), key=lambda row: -(numerators[row] % denominator))
    for row in by_remainder[:left]:
        floors[row] += 1
    return floors
