from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.benefit import (
    BenefitCategory,
    BenefitContent,
    BenefitStatus,
    Fulfilment,
    Stock,
    Taker,
    Translation,
    UnavailableReason,
    availability,
    benefit_id,
    content_of,
    validate,
)
from exchange.errors import ValidationFailed
from tests.exchange.speech import NOW, benefit, day

RICH = Taker(region="DE", points=10**6, spendable=10**6)
R = UnavailableReason


def reasons(content: dict[str, Any], taker: Taker | None = RICH, stock: Stock | None = None, quantity: int = 1) -> Any:
    return availability(benefit("rides/trip", **content), stock or Stock(None), NOW, taker, quantity).reasons


def test_a_published_benefit_is_there_for_whoever_can_pay() -> None:
    """Without limits, windows and regions nothing stands in the way."""
    assert reasons({}) == []
    assert availability(benefit("rides/trip"), Stock(None), NOW).redeemable


@pytest.mark.parametrize("status", [BenefitStatus.DRAFT, BenefitStatus.PAUSED, BenefitStatus.RETIRED])
def test_only_what_is_published_can_be_taken(status: BenefitStatus) -> None:
    """Drafts, paused and retired benefits cannot be redeemed."""
    assert reasons({"status": status}) == [R.NOT_PUBLISHED]


def test_a_window_opens_at_its_start_and_ends_before_its_end() -> None:
    """valid_from is the first moment of validity, valid_until the first without."""
    instant = timedelta(milliseconds=1)
    assert reasons({"valid_from": NOW}) == []
    assert reasons({"valid_from": NOW + instant}) == [R.NOT_STARTED]
    assert reasons({"valid_until": NOW + instant}) == []
    assert reasons({"valid_until": NOW}) == [R.ENDED]


def test_stock_is_what_is_neither_sold_nor_reserved() -> None:
    """Three units of five are left when one is sold and one reserved, and a fourth cannot be had."""
    stock = Stock(5, sold=1, reserved=1)
    assert stock.left == 3
    assert reasons({}, stock=stock, quantity=3) == []
    assert reasons({}, stock=stock, quantity=4) == [R.OUT_OF_STOCK]
    assert Stock(None, sold=10**9).left is None


def test_regions_are_for_members_known_to_be_there() -> None:
    """A benefit with regions is not for a member elsewhere, nor for one whose region is not known."""
    assert reasons({"regions": ("DE", "AT")}) == []
    assert reasons({"regions": ("AT",)}) == [R.REGION]
    assert reasons({"regions": ("AT",)}, replace(RICH, region=None)) == [R.REGION]


def test_a_limit_counts_what_the_member_took() -> None:
    """Two of three are taken: one more is possible, two are not; a lowered limit leaves nothing rather than less."""
    taker = replace(RICH, taken=2)
    assert reasons({"member_limit": 3}, taker) == []
    assert reasons({"member_limit": 3}, taker, quantity=2) == [R.MEMBER_LIMIT_REACHED]
    answer = availability(benefit("rides/trip", member_limit=1), Stock(None), NOW, taker)
    assert (answer.member_remaining, answer.reasons) == (0, [R.MEMBER_LIMIT_REACHED])


def test_points_that_the_provider_does_not_take_make_not_eligible() -> None:
    """A member with points but none that count here is not eligible; one that has too few has too few."""
    assert reasons({}, Taker(points=500, spendable=0)) == [R.NOT_ELIGIBLE]
    assert reasons({}, Taker(points=500, spendable=99)) == [R.INSUFFICIENT_POINTS]
    assert reasons({}, Taker(points=0, spendable=0)) == [R.INSUFFICIENT_POINTS]


def test_a_daily_limit_is_for_the_whole_price() -> None:
    """200 points cannot be spent where 199 are left of the day."""
    assert reasons({}, replace(RICH, day_left=200), quantity=2) == []
    assert reasons({}, replace(RICH, day_left=199), quantity=2) == [R.VELOCITY]


def test_every_reason_is_told_at_once() -> None:
    """A member learns everything that stands in the way, the benefit's own reasons first."""
    content = {
        "status": BenefitStatus.PAUSED, "valid_from": day(2), "valid_until": NOW, "regions": ("AT",),
        "member_limit": 1,
    }  # fmt: skip
    own = [R.NOT_PUBLISHED, R.NOT_STARTED, R.ENDED, R.OUT_OF_STOCK]
    assert reasons(content, None, Stock(0)) == own
    poor = Taker(region="DE", taken=1, points=50, spendable=50, day_left=10)
    assert reasons(content, poor, Stock(0)) == [
        *own, R.REGION, R.MEMBER_LIMIT_REACHED, R.INSUFFICIENT_POINTS, R.VELOCITY,
    ]  # fmt: skip
    elsewhere = replace(poor, spendable=0)
    assert R.NOT_ELIGIBLE in reasons(content, elsewhere, Stock(0))


def test_words_come_in_the_closest_language() -> None:
    """de-AT is answered in de, pt-BR in pt-BR before pt, anything unknown in the original."""
    trip = benefit(
        "rides/trip", translations=(Translation("de", "Fahrt"), Translation("pt-BR", "Viagem"), Translation("pt", "V"))
    )
    assert trip.words("de-AT").title == "Fahrt"
    assert trip.words("PT-br").title == "Viagem"
    assert trip.words("pt-PT").title == "V"
    assert trip.words("fr").title == trip.words(None).title == "rides/trip"


def test_a_benefit_is_its_content_with_an_identity() -> None:
    """What was published can be compared with what is stored; the identity is the partner's SKU."""
    trip = benefit("rides/trip")
    assert trip.id == benefit_id("rides", "trip") == "rides/trip"
    assert content_of(trip) == BenefitContent(
        sku="trip", category=BenefitCategory.OTHER, title="rides/trip", points_price=100
    )
    assert content_of(replace(trip, version=7)) == content_of(trip)
    assert content_of(replace(trip, title="Trip")) != content_of(trip)


def content(**said: Any) -> BenefitContent:
    return BenefitContent(**{
        "sku": "trip", "category": BenefitCategory.RIDES, "title": "A trip", "points_price": 100, **said,
    })  # fmt: skip


LONG = "x" * 10_001


@pytest.mark.parametrize(
    ("said", "path"),
    [
        *(({"sku": sku}, "sku") for sku in ("", " a", "-a", "a/b", "a b", "ä", "a" * 65, "a\n")),
        ({"title": ""}, "title"), ({"title": " \t"}, "title"), ({"title": "x" * 201}, "title"),
        ({"description": LONG}, "description"), ({"terms": LONG}, "terms"),
        ({"redeem_instructions": LONG}, "redeemInstructions"),
        *(({"image_url": url}, "imageUrl") for url in ("ftp://x", "javascript:x", "", "https://x" + "x" * 2000,
                                                       "https://x/\n")),
        ({"points_price": 0}, "pointsPrice"), ({"points_price": -1}, "pointsPrice"),
        ({"points_price": 10**15 + 1}, "pointsPrice"),
        ({"face_value": Money(-1, "EUR")}, "faceValue"),
        ({"valid_from": NOW, "valid_until": NOW}, "validUntil"),
        ({"valid_from": day(1), "valid_until": NOW}, "validUntil"),
        ({"regions": ("DE", "XX")}, "regions"), ({"regions": ("de",)}, "regions"),
        ({"tags": ("x",) * 21}, "tags"), ({"tags": ("",)}, "tags"), ({"tags": ("x" * 41,)}, "tags"),
        ({"stock": -1}, "stock"), ({"stock": 2**31}, "stock"),
        ({"stock": 5, "fulfilment": Fulfilment.INSTANT_CODE}, "stock"),
        ({"member_limit": 0}, "memberLimit"), ({"member_limit": 2**31}, "memberLimit"),
        ({"translations": tuple(Translation(f"a{n:03}", "x") for n in range(41))}, "translations"),
        ({"translations": (Translation("de_DE", "x"),)}, "translations.0.locale"),
        ({"translations": (Translation("de", "x"), Translation("DE", "y"))}, "translations.1.locale"),
        ({"translations": (Translation("de", " "),)}, "translations.0.title"),
        ({"translations": (Translation("de", "x", LONG),)}, "translations.0.description"),
    ],
)  # fmt: skip
def test_what_no_benefit_may_be_is_refused_at_its_path(said: dict[str, Any], path: str) -> None:
    """The refusal names the field that is wrong, below the path it was given."""
    with pytest.raises(ValidationFailed) as refused:
        validate(content(**said), ("input", "benefits", "3"))
    assert refused.value.path == ["input", "benefits", "3", *path.split(".")]


@pytest.mark.parametrize(
    "said",
    [
        {}, {"sku": "a" * 64}, {"sku": "A.b_c:d~e-1"}, {"title": "x" * 200}, {"description": "x" * 10_000},
        {"points_price": 1}, {"points_price": 10**15}, {"face_value": Money(0, "EUR")}, {"stock": 0},
        {"stock": 2**31 - 1}, {"member_limit": 1}, {"fulfilment": Fulfilment.INSTANT_CODE},
        {"valid_from": NOW, "valid_until": day(1)}, {"regions": ("DE", "ZA")}, {"tags": ("x" * 40,) * 20},
        {"image_url": "https://example.com/a.png"}, {"status": BenefitStatus.DRAFT},
        {"translations": (Translation("pt-BR", "x"), Translation("pt", "y"))},
    ],
)  # fmt: skip
def test_what_a_benefit_may_be_at_its_limits_is_accepted(said: dict[str, Any]) -> None:
    """Limits are inclusive."""
    validate(content(**said))
