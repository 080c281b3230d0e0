"""What a scalar takes, in a variable and in a document, and the exact text that it gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.graph.speech import Answer, World, benefit_input

MAX = 2**63 - 1


async def both(world: World, kind: str, query: str, value: Any) -> list[Answer]:
    """Send a value as a variable and, where it can be written, in the document itself."""
    variable = await world.ask("video", f"query($value: {kind}) {{ {query % '$value'} }}", value=value)
    literal = await world.ask("video", f"{{ {query % json.dumps(value)} }}")
    return [variable, literal]


POINTS = "benefits(filter: {pointsPriceMax: %s}) { totalCount }"


@pytest.mark.parametrize("value", ["0", 0, "-0", "100", 100, -5, "-5", str(MAX), MAX, -MAX])
async def test_points_are_a_string_or_an_integer(world: World, value: Any) -> None:
    """Points take a whole number of 64 bits, written either way."""
    for answer in await both(world, "Points", POINTS, value):
        assert answer.status == 200, answer.body
        assert answer.codes == []


@pytest.mark.parametrize(
    "value",
    [1.5, 1.0, "1.0", "1e3", 1e3, "", " 1", "1 ", "+1", "01", "0x10", "1_000", "\u0661",
     str(MAX + 1), MAX + 1, str(-MAX - 2), "9" * 5_000, True, "true", [1, 2]],
)  # fmt: skip
async def test_points_are_nothing_else(world: World, value: Any) -> None:
    """Anything but a whole number of 64 bits is the client's error."""
    variable, literal = await both(world, "Points", POINTS, value)
    assert (variable.status, variable.codes) == (400, ["BAD_USER_INPUT"])
    assert (literal.status, literal.codes) == (400, ["GRAPHQL_VALIDATION_FAILED"])


@pytest.mark.parametrize("field", ["benefits(filter: {pointsPriceMax: %s})", "benefits(first: %s)"])
async def test_a_number_of_many_digits_is_refused(world: World, field: str) -> None:
    """Thousands of digits in a document, or in a variable, are the client's error as well."""
    number = "9" * 5_000
    literal = await world.ask("video", f"{{ {field % number} {{ totalCount }} }}")
    assert (literal.status, literal.codes) == (400, ["GRAPHQL_VALIDATION_FAILED"])
    kind = "Points" if "points" in field else "Int"
    body = f'{{"query": "query($n: {kind}) {{ {field % "$n"} {{ totalCount }} }}", "variables": {{"n": {number}}}}}'
    headers = {"Authorization": f"Bearer {await world.token('video')}", "Content-Type": "application/json"}
    answer = await world.http.post("/graphql", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_points_come_as_strings_with_every_digit(world: World) -> None:
    """Points beyond 2^53 lose nothing: they are JSON strings."""
    member = world.fresh("member")
    payload = await world.award("video", member, 10**17)
    assert payload["lot"]["awarded"] == "100000000000000000"
    ride = await world.publish("rides", 9_007_199_254_740_993 // 10)
    assert ride["pointsPrice"] == "900719925474099"


# ---------------------------------------------------------------- DateTime


async def expiring(world: World, value: Any) -> list[Answer]:
    await world.award("video", "anna", 1)
    return await both(world, "DateTime!", 'member(by: {reference: "anna"}) { wallet { expiring(before: %s) } }', value)


@pytest.mark.parametrize(
    "value",
    ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.123456789+05:30", "2026-01-31t12:00:00z",
     "2026-01-31T12:00:00-00:00", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z", "2024-02-29T00:00:00Z"],
)  # fmt: skip
async def test_a_time_has_an_offset(world: World, value: str) -> None:
    """RFC 3339 with an offset is understood, in any case, with fractions."""
    for answer in await expiring(world, value):
        assert answer.codes == [], answer.body


@pytest.mark.parametrize(
    "value",
    ["2026-01-31T12:00:00", "2026-01-31", "2026-01-31 12:00:00Z", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z",
     "2026-01-31T12:00Z", "2026-01-31T12:00:00+5", "2026-01-31T12:00:00+25:00", "0001-01-01T00:00:00+05:00",
     "9999-12-31T23:59:59-05:00", "0000-01-01T00:00:00Z", "2026-01-31T12:00:00.Z", "20260131T120000Z",
     "now", "", 5, 1.5, True, "\u0662\u0660\u0662\u0666-01-31T12:00:00Z", "2026-01-31T12:00:00Z\n"],
)  # fmt: skip
async def test_a_time_without_an_offset_or_sense_is_refused(world: World, value: Any) -> None:
    """No offset, no such day, another form: the client's error."""
    variable, literal = await expiring(world, value)
    assert (variable.status, variable.codes) == (400, ["BAD_USER_INPUT"])
    assert (literal.status, literal.codes) == (400, ["GRAPHQL_VALIDATION_FAILED"])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00:00.1239Z", "2026-01-31T12:00:00.123Z"),
        ("2026-01-31T12:00:00.5+05:30", "2026-01-31T06:30:00.500Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
async def test_a_time_is_shown_in_utc_with_milliseconds(world: World, said: str, shown: str) -> None:
    """Whatever the offset and the fraction, what is shown is UTC, three digits and Z."""
    assert (await world.publish("rides", validFrom=said))["validFrom"] == shown


# ---------------------------------------------------------------- money


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("12.50", "EUR", "12.50"),
        ("12.5", "EUR", "12.50"),
        ("12", "EUR", "12.00"),
        (12, "EUR", "12.00"),
        ("0.05", "USD", "0.05"),
        ("0", "EUR", "0.00"),
        ("1500", "JPY", "1500"),
        ("1.5", "BHD", "1.500"),
        ("9999999999999.99", "EUR", "9999999999999.99"),
    ],
)
async def test_money_shows_exactly_the_currencys_digits(world: World, amount: Any, currency: str, shown: str) -> None:
    """A decimal comes back with as many digits as its currency has."""
    benefit = await world.publish("rides", faceValue={"amount": amount, "currency": currency})
    assert benefit["faceValue"] == {"amount": shown, "currency": currency}


@pytest.mark.parametrize(
    "amount", [1.5, "1.", ".5", "1e3", "01.00", "+1.00", "1,50", " 1.00", "", "NaN", "Infinity", True, "1.0000000000",
               "1" * 19, None]
)  # fmt: skip
async def test_a_decimal_is_written_plainly(world: World, amount: Any) -> None:
    """Floats, exponents, signs and separators are the client's error."""
    benefit = benefit_input(sku="x", faceValue={"amount": amount, "currency": "EUR"})
    answer = await world.send("rides", "publishBenefits", benefits=[benefit])
    assert (answer.status, answer.codes) == (400, ["BAD_USER_INPUT"])


@pytest.mark.parametrize("currency", ["eur", "EURO", "XXX", "XAU", "", "€", 978, None, "EUR "])
async def test_a_currency_is_one_that_can_be_paid(world: World, currency: Any) -> None:
    """Only an ISO 4217 code of money in capital letters is a currency."""
    benefit = benefit_input(sku="x", faceValue={"amount": "1", "currency": currency})
    answer = await world.send("rides", "publishBenefits", benefits=[benefit])
    assert (answer.status, answer.codes) == (400, ["BAD_USER_INPUT"])


@pytest.mark.parametrize("country", ["de", "DEU", "UK", "ZZ", "", 49, "D\u0415"])
async def test_a_country_is_one_of_the_standards(world: World, country: Any) -> None:
    """Only an officially assigned ISO 3166-1 alpha-2 code is a country."""
    for answer in await both(world, "CountryCode", "benefits(filter: {region: %s}) { totalCount }", country):
        assert answer.status == 400
    answer = await world.send("rides", "publishBenefits", benefits=[benefit_input(sku="x", regions=[country])])
    assert (answer.status, answer.codes) == (400, ["BAD_USER_INPUT"])


async def test_a_count_is_a_string(world: World) -> None:
    """A count may exceed what JSON's numbers carry."""
    await world.award("video", "anna", 1)
    entries = (await world.read("viewer", "{ period { entries } }"))["entries"]
    assert isinstance(entries, str)
    assert int(entries) >= 1
