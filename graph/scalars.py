"""The scalars of the contract: what a client may send, and the exact text it gets back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError
from strawberry.types.scalar import ScalarDefinition

from exchange.amounts import INT64_MAX, exponent
from exchange.countries import COUNTRIES
from exchange.journal import milliseconds

Points = NewType("Points", int)
Count = NewType("Count", int)
Decimal = NewType("Decimal", str)
CurrencyCode = NewType("CurrencyCode", str)
CountryCode = NewType("CountryCode", str)

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")


def _whole(value: Any) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > INT64_MAX:
        raise GraphQLError("must be a whole number of at most 64 bits, as a string or an integer")
    return value


def _decimal(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise GraphQLError('must be a decimal string such as "12.50"')
    return value


def _currency(value: Any) -> str:
    try:
        exponent(value)
    except (ValueError, AttributeError, TypeError):
        raise GraphQLError("must be an ISO 4217 code such as EUR") from None
    return str(value)


def _country(value: Any) -> str:
    if not isinstance(value, str) or value not in COUNTRIES:
        raise GraphQLError("must be an ISO 3166-1 alpha-2 code such as DE")
    return value


def _instant(value: Any) -> datetime:
    problem = 'must be an RFC 3339 time with an offset, such as "2026-01-31T12:00:00Z"'
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise GraphQLError(problem)
    try:
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise GraphQLError(problem) from None
    # The database keeps milliseconds; what is compared later must be what was stored.
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


SCALARS: dict[object, ScalarDefinition] = {
    Points: strawberry.scalar(
        name="Points",
        description="Whole points, signed 64-bit, as a JSON string; an integer is accepted too.",
        serialize=str,
        parse_value=_whole,
    ),
    Count: strawberry.scalar(
        name="Count", description="A count, up to 64 bits, as a JSON string.", serialize=str, parse_value=_whole
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description='A decimal string in major units with exactly the currency\'s digits, such as "12.50".',
        serialize=str,
        parse_value=_decimal,
    ),
    CurrencyCode: strawberry.scalar(
        name="CurrencyCode",
        description="ISO 4217 code.",
        serialize=str,
        parse_value=_currency,
    ),
    CountryCode: strawberry.scalar(
        name="CountryCode",
        description="ISO 3166-1 alpha-2 code.",
        serialize=str,
        parse_value=_country,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="RFC 3339 timestamp in UTC with milliseconds; a time without an offset is refused.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=milliseconds,
        parse_value=_instant,
    ),
}
