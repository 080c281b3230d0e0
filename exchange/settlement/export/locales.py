"""How amounts, numbers and days look to a person, by CLDR (Babel) for a locale such as `en`, `de-CH` or `ja`.

The digits of a currency are those of ISO 4217, as everywhere in the exchange; CLDR has others for some, by what people
pay in cash. What it has to say is the symbol, where it stands, and how digits are grouped.
"""

from __future__ import annotations

from copy import copy
from datetime import datetime
from decimal import Decimal

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime
from babel.numbers import NumberPattern, format_decimal, get_currency_symbol

from exchange.amounts import Money, decimal_from_minor, exponent


def locale_of(name: str) -> Locale:
    """Return the locale of a language tag; ValueError for one that is not known."""
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        message = f"{name!r} is no locale, such as en, de-CH or ja"
        raise ValueError(message) from None


def money_text(amount: Money, locale: Locale) -> str:
    """Return an amount with its currency: EUR -5 is "-€0.05" in en and "-0,05 €" in de."""
    return _applied(locale.currency_formats["standard"], amount, locale)


def amount_text(amount: Money, locale: Locale) -> str:
    """Return an amount for a column that says the currency."""
    return _applied(locale.decimal_formats[None], amount, locale)


def number_text(number: int, locale: Locale) -> str:
    """Return a whole number."""
    return format_decimal(number, locale=locale)


def day_text(moment: datetime, locale: Locale) -> str:
    """Return a day, in UTC."""
    return format_date(moment, "medium", locale=locale)


def moment_text(moment: datetime, locale: Locale) -> str:
    """Return a moment to the second, in UTC."""
    return format_datetime(moment, "short", locale=locale)


def cell_format(currency: str, locale: Locale) -> str:
    """Return the number format of a spreadsheet's cell, with the symbol where the locale has it.

    Point and comma in it are for a decimal and a grouping separator: which those are, the reader's program decides.
    """
    digits = exponent(currency)
    number = "#,##0" + ("." + "0" * digits if digits else "")
    symbol = get_currency_symbol(currency, locale).replace('"', "")
    pattern = locale.currency_formats["standard"]
    positive, negative = (
        f"{_quoted(before, symbol)}{number}{_quoted(after, symbol)}"
        for before, after in zip(pattern.prefix, pattern.suffix, strict=True)
    )
    return f"{positive};{negative}"


def _quoted(part: str, symbol: str) -> str:
    text = part.replace("\u00a4", symbol)
    return f'"{text}"' if text else ""


def _applied(pattern: NumberPattern, amount: Money, locale: Locale) -> str:
    exact = copy(pattern)  # the locale's own is shared by all
    exact.frac_prec = (exponent(amount.currency),) * 2
    number = Decimal(decimal_from_minor(*amount))
    text: str = exact.apply(number, locale, currency=amount.currency, currency_digits=False)
    return text
