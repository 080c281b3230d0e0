"""Exchange rates: read as they were published, kept as they were read, and settled by to the last minor unit."""

from __future__ import annotations

import asyncio
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import iso4217
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money, decimal_from_minor, exponent, half_even, minor_from_decimal
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE, Obligation, Owed, Sums
from exchange.settlement.ecb import fixes_of
from exchange.settlement.fixes import Fix, account, convert, differences, to_settle
from exchange.settlement.netted import PlanKind, Policy, net
from exchange.settlement.netting import Payment
from exchange.store.fixes import Fixes
from tests.exchange.conftest import House
from tests.exchange.settlement.test_netted import PARTNERS, any_carried, any_sums, policies

DAILY = Path(__file__).with_name("data") / "eurofxref-daily.xml"
DAY = date(2023, 12, 8)
FIX = Fix(
    id="ecb-2023-12-08", base="EUR", date=DAY,
    rates={
        "BGN": "1.9558", "CZK": "24.354", "GBP": "0.8569", "IDR": "16719.01", "ISK": "150.1", "JPY": "155.53",
        "USD": "1.0777",
    },
)  # fmt: skip


# ---------------------------------------------------------------- currencies


@pytest.mark.parametrize(
    ("currency", "minor", "decimal"),
    [
        ("JPY", 1234, "1234"), ("UYI", 7, "7"), ("EUR", 1234, "12.34"), ("MRU", -5, "-0.05"), ("BHD", 1, "0.001"),
        ("TND", 12345, "12.345"), ("CLF", 12345, "1.2345"), ("UYW", -1, "-0.0001"),
    ],
)  # fmt: skip
def test_a_currency_has_the_digits_that_the_standard_gives_it(currency: str, minor: int, decimal: str) -> None:
    """None, two, three or four: an amount has exactly those, and is read back as it was."""
    assert decimal_from_minor(minor, currency) == decimal
    assert minor_from_decimal(decimal, currency) == minor


def test_every_currency_that_can_be_paid_in_is_taken() -> None:
    """All of the standard's list but funds, metals and codes for tests, which have no digits in it."""
    listed = {each.code: each.exponent for each in iso4217.Currency}
    taken = {code for code, digits in listed.items() if digits is not None}
    assert len(taken) > 150
    assert {code: exponent(code) for code in taken} == {code: listed[code] for code in taken}
    for code in listed.keys() - taken:
        with pytest.raises(ValueError, match="is not an ISO 4217 currency"):
            exponent(code)


# ---------------------------------------------------------------- files


def test_the_banks_daily_xml_is_read() -> None:
    """Every rate as it is written, by the day, under an id that says both."""
    assert fixes_of(DAILY.read_bytes()) == [FIX]


def test_the_banks_daily_csv_is_read() -> None:
    """Its day is in words, and every line ends in a comma."""
    data = (
        b"Date, USD, JPY, BGN, CZK, GBP, ISK, IDR, \n08 December 2023, 1.0777, 155.53, 1.9558, 24.354, 0.8569, 150.1,"
        b" 16719.01, \n"
    )
    assert fixes_of(data) == [FIX]


def test_all_days_are_read() -> None:
    """XML and CSV of many days give the same fixes, by day; where a currency had no rate, it has none."""
    table = b"Date,USD,CYP,TRY,\r\n2023-12-08,1.0777,N/A,31.234,\r\n2005-01-03,1.3507,0.5797,,\r\n"
    cubes = (
        b"<?xml version='1.0'?><E xmlns='x'><Cube><Cube time='2023-12-08'><Cube currency='USD' rate='1.0777'/>"
        b"<Cube currency='TRY' rate='31.234'/></Cube><Cube time='2005-01-03'><Cube currency='USD' rate='1.3507'/>"
        b"<Cube currency='CYP' rate='0.5797'/></Cube></Cube></E>"
    )
    first, last = fixes_of(table)
    assert [first, last] == fixes_of(b"\xef\xbb\xbf" + cubes)
    assert (first.id, last.id) == ("ecb-2005-01-03", "ecb-2023-12-08")
    assert (first.rates, last.rates) == ({"CYP": "0.5797", "USD": "1.3507"}, {"TRY": "31.234", "USD": "1.0777"})


def _day(rates: str) -> bytes:
    return f"<E>\n<Cube time='2023-12-08'>\n{rates}\n</Cube></E>".encode()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "line 1: begins with ''"),
        (b"\xff\xfe", "line 1: is no CSV"),
        (b"When,USD\n", "line 1: begins with 'When'"),
        (b"Date,USD,USD\n", "line 1: a currency is there twice"),
        (b"Date,USD\n", "there are no rates in it"),
        (b"Date,USD\n2023-12-08,1.07,2\n", "line 2: has 2 rates for 1 currencies"),
        (b"Date,USD\n2023-13-08,1.07\n", "line 2: '2023-13-08' is no day"),
        (b"Date,USD\n8 Dezember 2023,1.07\n", "line 2: '8 Dezember 2023' is no day"),
        (b"Date,USD\n2023-12-08,1.07\n2023-12-08,1.07\n", "line 3: 2023-12-08 is there twice"),
        (b"Date,USD\n2023-12-08,1e3\n", "line 2: ecb-2023-12-08: '1e3' is no rate of USD"),
        (b"Date,USD\n2023-12-08,-1\n", "'-1' is no rate of USD"),
        (b"Date,USD\n2023-12-08,0.00\n", "'0.00' is no rate of USD"),
        (b"Date,USD\n2023-12-08,NaN\n", "'NaN' is no rate of USD"),
        (b"Date,EUR\n2023-12-08,1\n", "EUR has a rate to itself"),
        (b"Date,usd\n2023-12-08,1\n", "'usd' is no code of a currency"),
        (b"Date,USD,\n2023-12-08,1,1\n", "'' is no code of a currency"),
        (b"Date,USD\n2023-12-08," + b"1" * 200_000, "'1111111111111111111111111111111111111111' is no rate"),
        (b"<E>", "line 1: is no XML (no element found)"),
        (b"<?xml version='1.0' encoding='klingon'?><E/>", "line 1: is in no encoding that can be read"),
        (b"<?xml version='1.0' encoding='big5'?><E/>", "line 1: is in no encoding that can be read"),
        (b"Date,USD\n8 December 99999999999999999999,1.07\n", "line 2: '8 December 99999999999999999999' is no day"),
        (_day("<Cube currency='USD'/>"), "line 3: is no rate of a day"),
        (_day("<Cube currency='USD' rate='1'/>\n<Cube currency='USD' rate='1'/>"), "line 4: USD is there twice"),
        (b"<E><Cube currency='USD' rate='1'/></E>", "line 1: is no rate of a day"),
        (b"<!DOCTYPE E [<!ENTITY a 'aa'>]><E>&a;</E>", "line 1: a document type is not taken"),
    ],
)  # fmt: skip
def test_the_first_thing_wrong_in_a_file_is_named(data: bytes, says: str) -> None:
    """By its line; nothing of such a file is taken, and nothing in it is expanded."""
    with pytest.raises(ValidationFailed) as refused:
        fixes_of(data)
    assert says in refused.value.message


# ---------------------------------------------------------------- kept


async def test_a_fix_is_never_changed(house: House) -> None:
    """The same file again changes nothing; one that says otherwise is refused, with all that is in it."""
    fixes = Fixes(house.db)
    newer = replace(FIX, id="ecb-2023-12-11", date=date(2023, 12, 11))
    assert await fixes.add([FIX]) == 1
    assert await fixes.add([FIX]) == 0
    other = replace(FIX, rates={**FIX.rates, "USD": "1.07770"})
    with pytest.raises(ValidationFailed, match=r"ecb-2023-12-08 has 1.0777 as its rate of USD, not 1.07770"):
        await fixes.add([newer, other])
    fewer = replace(FIX, rates={"USD": "1.0777"})
    with pytest.raises(ValidationFailed, match=r"has 1\.9558 as its rate of BGN, not none"):
        await fixes.add([fewer])
    assert await fixes.page() == [FIX]
    assert await fixes.add([FIX, newer]) == 1
    assert await fixes.get("ecb-2023-12-08") == FIX
    assert await fixes.get("ecb-2023-12-09") is None
    assert await fixes.page() == [newer, FIX]
    assert await fixes.page(before=newer.id) == [FIX]


async def test_two_may_import_at_once(house: House) -> None:
    """Whoever is second finds what the first has added, and every fix is there once."""
    fixes = [replace(FIX, id=f"ecb-2000-{n:04}") for n in range(2_500)]
    added = await asyncio.gather(*(Fixes(house.db).add(fixes) for _ in range(4)))
    assert max(added) <= len(fixes)
    assert await Fixes(house.db).page(limit=3_000) == fixes[::-1]


# ---------------------------------------------------------------- conversion


@pytest.mark.parametrize(
    ("amount", "currency", "worth"),
    [
        (Money(10777, "USD"), "EUR", Fraction(10000)),
        (Money(15553, "JPY"), "EUR", Fraction(10000)),
        (Money(1, "EUR"), "USD", Fraction(10777, 10000)),
        (Money(-100, "EUR"), "JPY", Fraction(-15553, 100)),
        (Money(10777, "USD"), "JPY", Fraction(15553)),  # by way of the euro: no digit, and two
        (Money(7, "EUR"), "EUR", Fraction(7)),
    ],
)
def test_what_an_amount_is_worth(amount: Money, currency: str, worth: Fraction) -> None:
    """Exactly, whatever digits the two currencies have."""
    assert FIX.worth(amount, currency) == worth


def test_digits_of_every_kind_are_reckoned_with() -> None:
    """Between currencies of three, four and no digits, at made-up rates."""
    fix = Fix(id="x", base="USD", date=DAY, rates={"BHD": "0.376", "CLF": "0.04", "JPY": "150"})
    assert fix.worth(Money(376, "BHD"), "USD") == 100  # 0.376 BHD are 1.00 USD
    assert fix.worth(Money(376, "BHD"), "CLF") == 400  # and 0.0400 CLF
    assert fix.worth(Money(400, "CLF"), "JPY") == 150


NETS = {("rides", "EUR"): -4000, ("rides", "JPY"): 2400, ("rides", "USD"): 12345, ("video", "USD"): -12345}


def test_a_conversion_by_hand() -> None:
    """12345 / 1.0777 = 11454.95 and 2400 / 155.53 * 100 = 1543.11: 12998 in all, the cent to the larger remainder."""
    conversions = convert(NETS, {"rides": "EUR"}, FIX)
    assert conversions == [
        ("rides", Money(2400, "JPY"), Money(1543, "EUR")),
        ("rides", Money(12345, "USD"), Money(11455, "EUR")),
    ]
    assert account(conversions) == [Money(-12998, "EUR"), Money(2400, "JPY"), Money(12345, "USD")]
    gained = Fraction(123450000, 10777) + Fraction(24000000, 15553) - 12998
    assert differences(conversions, FIX) == {"EUR": gained}
    left = to_settle(NETS, conversions)
    assert left == {
        ("rides", "EUR"): 8998, ("rides", "JPY"): 0, ("rides", "USD"): 0, ("video", "USD"): -12345,
        (EXCHANGE, "EUR"): -12998, (EXCHANGE, "JPY"): 2400, (EXCHANGE, "USD"): 12345,
    }  # fmt: skip


def test_a_tie_goes_to_the_even_unit() -> None:
    """Half a unit, one and a half, and both below nothing: to the even neighbour."""
    fix = Fix(id="x", base="EUR", date=DAY, rates={"USD": "2"})
    for minor, converted in ((1, 0), (3, 2), (-1, 0), (-3, -2)):
        assert convert({("a", "USD"): minor}, {"a": "EUR"}, fix)[0].converted.minor == converted


def test_without_a_rate_nothing_is_guessed() -> None:
    """Neither for the currency that is given nor for the one that is wanted."""
    with pytest.raises(ValidationFailed, match="ecb-2023-12-08 has no rate of BHD"):
        convert({("a", "BHD"): 1}, {"a": "EUR"}, FIX)
    with pytest.raises(ValidationFailed, match="has no rate of BHD"):
        convert({("a", "USD"): 1}, {"a": "BHD"}, FIX)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"settle": {"video": "EUR"}}, "both or neither"),
        ({"fix": FIX}, "both or neither"),
        ({"settle": {"video": "XAU"}, "fix": FIX}, "'XAU' is not an ISO 4217 currency"),
        ({"settle": {EXCHANGE: "EUR"}, "fix": FIX}, "exchange is not settled"),
        ({"settle": {"video": "EUR"}, "fix": FIX, "without": frozenset({"video"})}, "video is not settled"),
        ({"settle": {"spa": "EUR"}, "fix": FIX, "groups": {"hotels": ("spa",)}}, "hotels settles for spa"),
    ],
)
def test_a_choice_that_contradicts_itself_is_refused(policy: dict[str, Any], says: str) -> None:
    """Who settles for itself chooses, by a fix that is named, a currency that there is."""
    with pytest.raises(ValidationFailed) as refused:
        Policy(**policy)
    assert says in refused.value.message


@st.composite
def settling_policies(draw: st.DrawFn) -> Policy:
    """Any policy under which some choose a currency, at any rates."""
    policy = draw(policies())
    free = [each for each in PARTNERS if each not in policy.without and each not in policy.parents()]
    rate = st.decimals("0.0001", "20000", places=4).map(str)
    fix = replace(FIX, rates={"JPY": draw(rate), "USD": draw(rate), "KWD": draw(rate)})
    chosen = st.sampled_from(["EUR", "JPY", "USD", "KWD"])
    settle = draw(st.dictionaries(st.sampled_from(free), chosen, min_size=1))
    return replace(policy, settle=settle, fix=fix)


@settings(max_examples=200, deadline=None)
@given(any_sums(), settling_policies(), any_carried())
def test_conversion_loses_nothing(sums: Sums, policy: Policy, opening: list[Payment]) -> None:
    """Nets and account sum to nothing, no row is a unit from its worth, no party half a one, and the plan settles all.

    Who chose a currency pays and is paid in no other.
    """
    assert policy.fix is not None
    netted = net(sums, policy, opening)
    nets = {(party, amount.currency): amount.minor for party, amount in netted.nets}
    left = to_settle(nets, netted.conversions)
    for currency in {currency for _, currency in left}:
        assert sum(minor for (_, each), minor in left.items() if each == currency) == 0
    worths: dict[str, Fraction] = {}
    for party, amount, converted in netted.conversions:
        worth = policy.fix.worth(amount, converted.currency)
        assert abs(worth - converted.minor) < 1
        worths[party] = worths.get(party, Fraction()) + worth
    for party, worth in worths.items():
        given_out = sum(each.converted.minor for each in netted.conversions if each.party == party)
        assert given_out == half_even(worth.numerator, worth.denominator)
    assert set(netted.differences) == {policy.settle[party] for party in worths}
    assert all(abs(each) <= Fraction(len(worths), 2) for each in netted.differences.values())
    for payment in (*netted.payments, *netted.carried):
        for party in (payment.from_, payment.to):
            assert policy.settle.get(party, payment.amount.currency) == payment.amount.currency or (
                # A plan along contracts passes money on through whoever has them.
                policy.plan is PlanKind.CONTRACTED
            )
        for party, sign in ((payment.from_, 1), (payment.to, -1)):
            key = (party, payment.amount.currency)
            left[key] = left.get(key, 0) + sign * payment.amount.minor
    common = {EXCHANGE} if policy.plan is PlanKind.EXCHANGE else set()
    assert not any(minor for (party, _), minor in left.items() if party not in common)


def test_what_is_carried_is_in_the_settlement_currency() -> None:
    """A minimum holds for what is to be paid after the conversion."""
    sums = Sums(money={Obligation("video", "rides", "rides", "USD"): Owed(0, 500, 0, 0, 1)})
    policy = Policy(settle={"rides": "EUR"}, fix=FIX, minimums={"EUR": 500})
    netted = net(sums, policy)
    assert netted.carried == (Payment(from_=EXCHANGE, to="rides", amount=Money(464, "EUR")),)
    assert netted.payments == (Payment(from_="video", to=EXCHANGE, amount=Money(500, "USD")),)
