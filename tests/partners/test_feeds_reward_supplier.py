from __future__ import annotations

import io
import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.amounts import Money
from exchange.benefit import BenefitCategory, BenefitContent, BenefitStatus, Fulfilment, validate
from partners.feeds import Accepted, FeedError, Rejected, read_feed
from partners.feeds.reward_supplier import RANGE_BETWEEN_MAX, steps

LIST = Path(__file__).parent / "data" / "reloadly-products-za.json"


def real(points_per_unit: Decimal | int) -> dict[str, BenefitContent]:
    rows = list(read_feed(LIST, points_per_unit=points_per_unit))
    assert [row for row in rows if isinstance(row, Rejected)] == []
    return {row.content.sku: row.content for row in rows if isinstance(row, Accepted)}


def product(**said: Any) -> dict[str, Any]:
    return {
        "productId": 7,
        "productName": "Card",
        "global": True,
        "status": "ACTIVE",
        "denominationType": "FIXED",
        "recipientCurrencyCode": "USD",
        "fixedRecipientDenominations": [5],
    } | said


def imported(*products: Any, points_per_unit: Decimal | int = 100) -> tuple[list[BenefitContent], list[Rejected]]:
    text = "[" + ",\n".join(json.dumps(one) for one in products) + "]"
    rows = list(read_feed(io.BytesIO(text.encode()), "reward-supplier", points_per_unit))
    accepted = [row.content for row in rows if isinstance(row, Accepted)]
    return accepted, [row for row in rows if isinstance(row, Rejected)]


def test_the_real_list_is_imported_completely() -> None:
    """Every denomination of all 38 real products becomes one valid benefit that a member can redeem."""
    products = json.loads(LIST.read_text())
    fixed = {f"{said['productId']}-{amount:g}" for said in products for amount in said["fixedRecipientDenominations"]}
    ranged = [said for said in products if said["denominationType"] == "RANGE"]
    assert {(said["minRecipientDenomination"], said["maxRecipientDenomination"]) for said in ranged} == {(5, 100)}
    between = {f"{said['productId']}-{amount}" for said in ranged for amount in (5, 10, 20, 50, 100)}
    benefits = real(100)
    assert len(products) == 38
    assert len(fixed) + len(between) == len(benefits) == 108
    assert benefits.keys() == fixed | between
    for benefit in benefits.values():
        validate(benefit)
        assert benefit.status is BenefitStatus.PUBLISHED
        assert benefit.fulfilment is Fulfilment.PARTNER_CALL
        assert benefit.stock is None
        assert benefit.regions == ("ZA",)


def test_a_product_of_one_denomination() -> None:
    """A product's words, picture, brand, country and amount are found in the benefit."""
    assert real(100)["14552-20"] == BenefitContent(
        sku="14552-20",
        category=BenefitCategory.GAMING,
        title="ArcheAge ZA 20 USD",
        points_price=2000,
        description="Go to https://www.trionworlds.com to redeem your Code",
        redeem_instructions="Go to https://www.trionworlds.com to redeem your Code",
        image_url="https://cdn.reloadly.com/giftcards/arche-age.png",
        face_value=Money(2000, "USD"),
        regions=("ZA",),
        tags=("ArcheAge",),
        fulfilment=Fulfilment.PARTNER_CALL,
    )


@pytest.mark.parametrize(
    ("sku", "points_per_unit", "points"),
    [
        ("14552-20", 100, 2000),
        ("16557-1.5", 3, 5),  # 4.5
        ("16557-4.25", 3, 13),  # 12.75
        ("15329-0.2", 1, 1),  # 0.2
        ("17650-11.99", 100, 1199),  # 1198.9999999999998 as floats
        ("17958-41.99", 1000, 41990),
        ("16094-2.91", 7, 21),  # 20.37
        ("16094-69.91", Decimal("12.5"), 874),  # 873.875
        ("4659-25", Decimal("0.1"), 3),  # 2.5
        ("17052-100", Decimal("0.01"), 1),
    ],
)
def test_points_are_exact_and_rounded_up(sku: str, points_per_unit: Decimal | int, points: int) -> None:
    """The price is the rate times the denomination, exactly, up to the next whole point."""
    assert real(points_per_unit)[sku].points_price == points


@given(st.integers(1, 10**9), st.decimals("0.001", 10_000, places=3))
def test_the_price_is_the_least_that_is_not_below_the_rate(cents: int, points_per_unit: Decimal) -> None:
    """For any amount and rate: one point less would be too little."""
    amount = f"{cents // 100}.{cents % 100:02}"
    text = json.dumps([product(fixedRecipientDenominations=["AMOUNT"])]).replace('"AMOUNT"', amount)
    (row,) = read_feed(io.BytesIO(text.encode()), points_per_unit=points_per_unit)
    assert isinstance(row, Accepted)
    exact = Fraction(cents, 100) * Fraction(points_per_unit)
    assert row.content.face_value == Money(cents, "USD")
    assert row.content.points_price - 1 < exact <= row.content.points_price


def test_the_members_currency_is_the_face_value() -> None:
    """Euro cards are euro, dollar cards are dollars, though the supplier is paid in rand."""
    benefits = real(10)
    assert benefits["16094-2.91"].face_value == Money(291, "EUR")
    assert benefits["15924-38.99"].face_value == Money(3899, "EUR")
    assert benefits["8277-6.5"].face_value == Money(650, "USD")


def test_currencies_have_their_own_digits() -> None:
    """Yen have no minor unit and dinars have three; the rate counts whole units of each."""
    yen, dinar = (
        imported(product(recipientCurrencyCode=currency, fixedRecipientDenominations=[amount]))[0][0]
        for currency, amount in (("JPY", 1500.0), ("KWD", 1.125))
    )
    assert (yen.sku, yen.title, yen.points_price, yen.face_value) == ("7-1500", "Card 1500 JPY", 150_000, (1500, "JPY"))
    assert (dinar.sku, dinar.title, dinar.points_price, dinar.face_value) == (
        "7-1.125",
        "Card 1.125 KWD",
        113,
        (1125, "KWD"),
    )


def test_a_denomination_is_called_what_the_supplier_calls_it() -> None:
    """The label of a denomination opens its description, unless the product's name says it."""
    benefits = real(10)
    assert (benefits["16557-1.5"].description or "").startswith("10000 tokens. Click on the gear")
    assert (benefits["17650-11.99"].description or "").startswith("1. Go to cardredemption.com")
    assert benefits["16557-1.5"].title == "Jawaker ZA 1.50 USD"
    ((benefit,), _) = imported(product(metadata={"note": "sold in June", "5.00": "500 gems", "4": 9}))
    assert benefit.description == "500 gems"


def test_white_space_in_names_is_tidied() -> None:
    """Double and non-breaking spaces in the supplier's names do not reach the member."""
    benefits = real(10)
    assert benefits["9375-49.99"].title == "PUBG Mobile 3000 + 850 UC ZA 49.99 USD"
    assert benefits["4659-10"].tags == ("Jagex Runescape eCodes",)


@pytest.mark.parametrize(
    ("least", "most", "amounts"),
    [
        (500, 10_000, [500, 1000, 2000, 5000, 10_000]),
        (700, 700, [700]),
        (700, 800, [700, 800]),
        (999, 5001, [999, 1000, 2000, 5000, 5001]),
        (1, 10_000_000, [1, 20, 500, 10_000, 200_000, 5_000_000, 10_000_000]),
    ],
)
def test_a_range_is_sold_in_round_amounts(least: int, most: int, amounts: list[int]) -> None:
    """A range gives its ends and the 1-2-5 series between, thinned where it is long."""
    assert steps(least, most) == amounts


@given(st.integers(1, 10**14), st.integers(1, 10**14))
def test_a_range_gives_a_handful(one: int, other: int) -> None:
    """Any range gives ascending amounts from its minimum to its maximum, and few of them."""
    least, most = sorted((one, other))
    amounts = steps(least, most)
    assert amounts == sorted(set(amounts))
    assert (amounts[0], amounts[-1]) == (least, most)
    assert len(amounts) <= RANGE_BETWEEN_MAX + 2


@pytest.mark.parametrize(
    ("category", "brand", "ours", "tags"),
    [
        ("Gaming", "Xbox", BenefitCategory.GAMING, ("Xbox",)),
        ("Crypto", "Binance", BenefitCategory.OTHER, ("Binance", "Crypto")),
        ("Shopping", "HUAWEI", BenefitCategory.SHOPPING, ("HUAWEI",)),
        ("Music, Movies & Entertainment", "Netflix", BenefitCategory.VIDEO, ("Netflix",)),
        ("Food and Entertainment", None, BenefitCategory.FOOD, ()),
        ("Food", "Uber Eats", BenefitCategory.DELIVERY, ("Uber Eats",)),
        (None, "x" * 41, BenefitCategory.OTHER, ()),
    ],
)
def test_categories(category: str | None, brand: str | None, ours: BenefitCategory, tags: tuple[str, ...]) -> None:
    """A known brand decides, then a word of the supplier's category; else OTHER with that category as a tag."""
    ((benefit,), _) = imported(product(category={"name": category}, brand={"brandName": brand}))
    assert (benefit.category, benefit.tags) == (ours, tags)


def test_an_inactive_product_is_paused() -> None:
    """What the supplier does not sell now is imported, and cannot be redeemed."""
    ((benefit,), _) = imported(product(status="INACTIVE"))
    assert benefit.status is BenefitStatus.PAUSED


def test_a_global_product_is_for_everywhere() -> None:
    """A global product has no regions, whatever country it is listed under."""
    ((benefit,), _) = imported(product(country={"isoName": "ZA"}))
    assert benefit.regions == ()


def test_the_page_of_an_api_is_a_list_too() -> None:
    """A page with its products under "content", one product a line, and the bare array read the same."""
    page = {"content": [product()], "pageable": {"sort": []}, "last": True}
    for text in (json.dumps(page), json.dumps(page, indent=1), json.dumps([product()]), json.dumps(product()) + "\n"):
        (row,) = read_feed(io.BytesIO(text.encode()), points_per_unit=1)
        assert isinstance(row, Accepted)
        assert row.content.sku == "7-5"


WRONG_PRODUCTS = [
    ({"productId": None}, "productId", "must be a number, or letters and digits"),
    ({"productId": True}, "productId", "must be a number, or letters and digits"),
    ({"productName": " "}, "productName", "is required"),
    ({"productName": "x" * 200}, "productName", "must have 1 to 200 characters, none for control"),
    ({"productName": 5}, "productName", "must be text"),
    ({"status": None}, "status", "is required"),
    ({"global": False}, "country.isoName", "is required of a product that is not global"),
    ({"global": False, "country": {"isoName": "XX"}}, "country.isoName", "XX: not an ISO 3166-1 alpha-2 code"),
    ({"recipientCurrencyCode": None}, "recipientCurrencyCode", "is required"),
    ({"recipientCurrencyCode": "usd"}, "recipientCurrencyCode", "'usd' is not an ISO 4217 currency"),
    ({"logoUrls": "x"}, "logoUrls", "must be a list of addresses"),
    ({"logoUrls": ["ftp://x"]}, "logoUrls", "must be an http(s) address of at most 2000 characters"),
    ({"redeemInstruction": {"verbose": "x" * 10_001}}, "redeemInstruction.verbose",
     "must have at most 10000 characters"),
    ({"additionalRequirements": {"userIdRequired": True}}, "additionalRequirements.userIdRequired",
     "a redemption carries no user id to order with"),
    ({"denominationType": "ANY"}, "denominationType", "must be FIXED or RANGE"),
    ({"fixedRecipientDenominations": []}, "fixedRecipientDenominations", "must be a list with at least one amount"),
    ({"fixedRecipientDenominations": [0]}, "fixedRecipientDenominations.0",
     "must be more than 0 and at most 1000000000000"),
    ({"fixedRecipientDenominations": ["5"]}, "fixedRecipientDenominations.0", "must be a number"),
    ({"fixedRecipientDenominations": [10**12]}, "pointsPrice", "must be 1 to 1000000000000000 points"),
    ({"denominationType": "RANGE", "minRecipientDenomination": 5}, "maxRecipientDenomination", "must be a number"),
    ({"denominationType": "RANGE", "minRecipientDenomination": 5, "maxRecipientDenomination": 4},
     "maxRecipientDenomination", "must not be less than minRecipientDenomination"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "field", "reason"), WRONG_PRODUCTS)
def test_a_wrong_product_is_told_in_the_suppliers_words(said: dict[str, Any], field: str, reason: str) -> None:
    """A product that cannot be a benefit is rejected once, by line, the supplier's field and reason; the rest comes."""
    benefits, rejected = imported(
        product(productId=1),
        product(**said),
        product(productId=2),
        points_per_unit=10_000 if field == "pointsPrice" else 1,
    )
    assert rejected == [Rejected(2, field, reason)]
    assert [benefit.sku for benefit in benefits] == ["1-5", "2-5"]


def test_a_wrong_denomination_leaves_the_others() -> None:
    """Of five denominations the wrong ones are rejected by their place and the good one is imported."""
    text = json.dumps([product(fixedRecipientDenominations=["LIST"])])
    text = text.replace('"LIST"', "5.00, 0.001, 1e-999999999, 1e999999999, 5")
    rows = list(read_feed(io.BytesIO(text.encode()), points_per_unit=1))
    assert [(row.field, row.reason) for row in rows if isinstance(row, Rejected)] == [
        ("fixedRecipientDenominations.1", "USD has 2 decimal digits, '0.001' has 3"),
        ("fixedRecipientDenominations.2", "'1E-999999999' is not a decimal number"),
        ("fixedRecipientDenominations.3", "must be more than 0 and at most 1000000000000"),
        ("productId", "7-5 already stands in line 1"),
    ]
    assert [row.content.sku for row in rows if isinstance(row, Accepted)] == ["7-5"]


def test_what_is_no_product_is_rejected() -> None:
    """A thing between products that is no object is rejected as a row."""
    assert imported(product(), 5)[1] == [Rejected(2, "row", "must be an object")]


def test_the_list_needs_a_rate() -> None:
    """Without --points-per-unit the list has no prices, and the error names the option; so it does for a bad rate."""
    with pytest.raises(FeedError, match="give --points-per-unit"):
        list(read_feed(LIST))
    for rate in (0, -1, Decimal("NaN")):
        with pytest.raises(FeedError, match="--points-per-unit must be more than 0"):
            list(read_feed(LIST, points_per_unit=rate))
