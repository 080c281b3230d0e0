"""Fixes: the exchange rates of one day, and positions of several currencies settled in one by them.

A *fix* is what a source published for a day, digit by digit: so many units of each currency for one of its base. It
has an id, by which whatever rests on it cites it, and it is never changed.

A party that settles in one currency has its nets in the others *converted*:

- What a net is worth is exact, a fraction: both rates and both currencies' digits go into it and nothing is rounded on
  the way. A rate between two currencies that are not the base is the quotient of theirs.
- The party's whole worth is rounded once, half to even, to the minor unit; each row gets its floor, and the units left
  over go to the largest remainders (ties: in the order of currencies). It is the rule by which a redemption is priced.
- Whoever converts takes the net over and gives what it was converted to. That is the *conversion account*, apart
  from the fees. In each currency all nets and the account sum to zero, as they did before; what the account
  holds is what the exchange has to buy and sell, and what that brings or costs at another rate is its own.
- By the fix itself the account is worth no more than was rounded: the *difference*, a fraction of a minor unit.

Pure: no driver, no clock, no floats.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from fractions import Fraction
from math import lcm
from typing import Any, Final, NamedTuple

from msgspec import Struct

from exchange.amounts import Money, exponent, split_total
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE

RATE: Final = re.compile(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?")
CODE: Final = re.compile("[A-Z]{3}")
_SHOWN: Final = 40

Nets = Mapping[tuple[str, str], int]
"""Minor units by party and currency, negative if it has to pay."""


class Fix(Struct, frozen=True, kw_only=True):
    """The rates of a day, as published: for one unit of `base` so many of each currency.

    Currencies that are no more, or that nobody can pay in, are kept too. ValidationFailed for what is no rate.
    """

    id: str
    base: str
    date: date
    rates: Mapping[str, str]

    def __post_init__(self) -> None:
        for currency, rate in ((self.base, "1"), *self.rates.items()):
            if not CODE.fullmatch(currency):
                raise ValidationFailed(f"{self.id}: {currency[:_SHOWN]!r} is no code of a currency", ("rates",))
            if not RATE.fullmatch(rate) or not rate.strip("0."):
                raise ValidationFailed(f"{self.id}: {rate[:_SHOWN]!r} is no rate of {currency}", ("rates", currency))
        if self.base in self.rates:
            raise ValidationFailed(f"{self.id}: {self.base} has a rate to itself", ("rates", self.base))

    def told(self) -> dict[str, Any]:
        """Return it as files and programs have it."""
        return {"base": self.base, "date": self.date.isoformat(), "id": self.id, "rates": dict(self.rates)}

    def worth(self, amount: Money, currency: str) -> Fraction:
        """Return what an amount is worth, in minor units of another currency; ValidationFailed without a rate."""
        units = amount.minor * self._rate(currency) / self._rate(amount.currency)
        return units * Fraction(10) ** (exponent(currency) - exponent(amount.currency))

    def _rate(self, currency: str) -> Fraction:
        rate = "1" if currency == self.base else self.rates.get(currency)
        if rate is None:
            raise ValidationFailed(f"{self.id} has no rate of {currency}", ("input", "fix"))
        return Fraction(rate)


class Conversion(NamedTuple):
    """A party's net in one currency, taken over from it, and what it gets instead; negative: what it has to pay."""

    party: str
    amount: Money
    converted: Money


def convert(nets: Nets, settle: Mapping[str, str], fix: Fix) -> list[Conversion]:
    """Return how all that parties have in other currencies than those that they `settle` in is converted."""
    made = []
    for party, currency in sorted(settle.items()):
        own = [Money(minor, each) for (whose, each), minor in sorted(nets.items()) if whose == party]
        others = [amount for amount in own if amount.minor and amount.currency != currency]
        worths = [fix.worth(amount, currency) for amount in others]
        denominator = lcm(*(worth.denominator for worth in worths))
        shares = split_total([int(worth * denominator) for worth in worths], denominator)
        made += [
            Conversion(party, amount, Money(share, currency)) for amount, share in zip(others, shares, strict=True)
        ]
    return made


def account(conversions: Iterable[Conversion]) -> list[Money]:
    """Return what the conversion account holds in each currency: what it took over, less what it gave."""
    held: Counter[str] = Counter()
    for _, amount, converted in conversions:
        held[amount.currency] += amount.minor
        held[converted.currency] -= converted.minor
    return [Money(minor, currency) for currency, minor in sorted(held.items())]


def differences(conversions: Iterable[Conversion], fix: Fix) -> dict[str, Fraction]:
    """Return by settlement currency what the account gained by rounding, in minor units: worth less what was given."""
    gained: dict[str, Fraction] = {}
    for _, amount, converted in conversions:
        by_rounding = fix.worth(amount, converted.currency) - converted.minor
        gained[converted.currency] = gained.get(converted.currency, Fraction()) + by_rounding
    return dict(sorted(gained.items()))


def to_settle(nets: Nets, conversions: Iterable[Conversion]) -> dict[tuple[str, str], int]:
    """Return what is left to be settled: the exchange, which pays and is paid, stands in for the account."""
    left = Counter(nets)
    for party, amount, converted in conversions:
        for sign, (minor, currency) in ((-1, amount), (1, converted)):
            left[party, currency] += sign * minor
            left[EXCHANGE, currency] -= sign * minor
    return dict(left)
