"""A reward supplier's product list, as its API answers it, turned into benefits.

Such a supplier (the list is Reloadly's, and its kind look alike) sells gift cards and game credit on order: it keeps
no codes for us, it issues one when asked. A partner lists its products to give points a use, and keeps the difference
between what the points bring and what the supplier takes. From this follow the decisions:

- **One benefit for each denomination**, under the SKU `productId-denomination`: 14552-20. A member takes an amount,
  not a range, and a price must be known before it is paid. A range gives its minimum, its maximum, and the amounts of
  the 1-2-5 series between them (Renard's idea, and every till's); while more than RANGE_BETWEEN_MAX lie between,
  every second one is left out.
- **The price** is the denomination in the currency the member gets, times `--points-per-unit`, rounded up to a whole
  point: never below what was asked, in integers throughout. The rate counts for every currency in the list; a list
  with several currencies of very different worth is better imported in parts.
- **PARTNER_CALL**, not INSTANT_CODE: with a code pool nothing could be redeemed before codes were bought in advance.
  A call can be redeemed at once: the partner's server orders from the supplier, and fulfils with the code it gets.
- **The supplier's discount and fee are left out.** They are the partner's margin, not the member's price.
- **A product that wants the member's user id** with the order is rejected: a redemption does not carry one, and
  what was paid for could not be delivered.
- **Names we do not know are ignored**: it is the supplier's format, and it may add to it.

Rejections name the supplier's own fields, and the line in which the product begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from exchange.amounts import Money, decimal_from_minor, exponent, minor_from_decimal
from exchange.benefit import TAG_MAX, BenefitCategory, BenefitContent, BenefitStatus, Fulfilment
from partners.feeds.benefit_input import faults, is_text
from partners.feeds.json import NotJson, Value
from partners.feeds.rows import WHOLE_ROW, FeedError, Reading, Wrong

RANGE_BETWEEN_MAX: Final = 8

_DENOMINATION_MAX = 10**12
_DIGITS_AFTER_POINT_MAX = 30
_ID = re.compile(r"[A-Za-z0-9]{1,40}")
_WORD = re.compile(r"[a-z]+")

_BRANDS: Final[Mapping[str, BenefitCategory]] = {
    **dict.fromkeys(("netflix", "hulu", "disney+", "twitch"), BenefitCategory.VIDEO),
    **dict.fromkeys(("spotify", "deezer"), BenefitCategory.MUSIC),
    **dict.fromkeys(("uber", "bolt", "lyft", "grab"), BenefitCategory.RIDES),
    **dict.fromkeys(("uber eats", "doordash", "deliveroo", "instacart"), BenefitCategory.DELIVERY),
    **dict.fromkeys(("audible", "kindle"), BenefitCategory.READING),
}
"""Brands whose trade the supplier's categories do not tell: to it, film, music and books are all entertainment."""

_TRADES: Final[Mapping[str, BenefitCategory]] = {
    **dict.fromkeys(("gaming", "games", "game"), BenefitCategory.GAMING),
    **dict.fromkeys(("delivery",), BenefitCategory.DELIVERY),
    **dict.fromkeys(("food", "restaurants", "restaurant", "dining"), BenefitCategory.FOOD),
    **dict.fromkeys(("travel", "hotels", "flights"), BenefitCategory.TRAVEL),
    **dict.fromkeys(("transport", "rides", "taxi"), BenefitCategory.RIDES),
    **dict.fromkeys(("music",), BenefitCategory.MUSIC),
    **dict.fromkeys(("movies", "video", "streaming", "tv"), BenefitCategory.VIDEO),
    **dict.fromkeys(("books", "reading"), BenefitCategory.READING),
    **dict.fromkeys(("shopping", "fashion", "retail"), BenefitCategory.SHOPPING),
}
"""The first of these words in the supplier's category decides; a category without any of them is OTHER and a tag."""

_SUPPLIER_FIELDS: Final[Mapping[str, str]] = {
    "sku": "productId",
    "title": "productName",
    "description": "redeemInstruction.concise",
    "redeemInstructions": "redeemInstruction.verbose",
    "imageUrl": "logoUrls",
    "regions": "country.isoName",
    "tags": "brand.brandName",
}


def read_products(values: Iterable[Value], points_per_unit: Decimal | int | None) -> Iterator[Reading]:
    """Yield the benefits of each product. `points_per_unit`: points for one unit (not cent) of recipient currency."""
    if points_per_unit is None:
        raise FeedError(
            "the file is a reward supplier's product list, which has no prices in points; give --points-per-unit"
        )
    rate = Decimal(points_per_unit)
    if not (rate.is_finite() and rate > 0):
        raise FeedError(f"--points-per-unit must be more than 0, not {points_per_unit}")
    for line, said in values:
        if isinstance(said, dict):
            yield from _readings(line, _Product(said), rate)
        else:
            reason = said.reason if isinstance(said, NotJson) else "must be an object"
            yield Reading(line, [Wrong(WHOLE_ROW, reason)])


def _readings(line: int, product: _Product, rate: Decimal) -> Iterator[Reading]:
    template = _template(product)
    currency = _currency(product)
    told = {wrong.field for wrong in product.wrongs}
    product.wrongs += [wrong for wrong in _faults(template) if wrong.field not in told]
    usable = not product.wrongs
    amounts = [] if currency is None else _amounts(product, currency)
    benefits = [_benefit(product, template, Money(minor, currency or ""), rate) for minor in amounts] if usable else []
    product.wrongs += dict.fromkeys(wrong for benefit in benefits for wrong in _faults(benefit))
    if product.wrongs:
        yield Reading(line, product.wrongs)
    for benefit in benefits:
        if not any(_faults(benefit)):
            yield Reading(line, content=benefit, sku=benefit.sku, sku_field="productId")


def _faults(content: BenefitContent) -> Iterator[Wrong]:
    return (Wrong(_SUPPLIER_FIELDS.get(path[0], path[0]), reason) for path, reason in faults(content))


class _Product:
    """A product's fields by path, and what was wrong with those that were asked for."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self._said = said
        self.wrongs: list[Wrong] = []

    def wrong(self, path: str, reason: str) -> None:
        self.wrongs.append(Wrong(path, reason))

    def get(self, path: str) -> Any:
        """Return what stands at a dotted path; None when it, or anything above it, is missing or null."""
        said: Any = self._said
        for name in path.split("."):
            said = said.get(name) if isinstance(said, dict) else None
        return said

    def text(self, path: str, *, required: bool = False) -> str | None:
        """Return a text without the white space around it; what is blank is missing."""
        said = self.get(path)
        if said is not None and not is_text(said):
            self.wrong(path, "must be text")
            return None
        text = (said or "").strip()
        if required and not text:
            self.wrong(path, "is required")
        return text or None


def _template(product: _Product) -> BenefitContent:
    """Return what all denominations of a product have in common; its SKU and price are still to come."""
    name = product.text("productName", required=True)
    concise = product.text("redeemInstruction.concise")
    verbose = product.text("redeemInstruction.verbose")
    category, tags = _trade(product.text("category.name"), product.text("brand.brandName"))
    if product.get("additionalRequirements.userIdRequired"):
        product.wrong("additionalRequirements.userIdRequired", "a redemption carries no user id to order with")
    return BenefitContent(
        sku=_product_id(product),
        category=category,
        title=" ".join((name or "x").split()),
        points_price=1,
        description=concise,
        image_url=_logo(product),
        redeem_instructions=verbose or concise,
        regions=_regions(product),
        tags=tags,
        fulfilment=Fulfilment.PARTNER_CALL,
        status=BenefitStatus.PUBLISHED if product.text("status", required=True) == "ACTIVE" else BenefitStatus.PAUSED,
    )


def _product_id(product: _Product) -> str:
    said = product.get("productId")
    text = "" if isinstance(said, bool) else str(said)
    if not isinstance(said, int | str) or not _ID.fullmatch(text):
        product.wrong("productId", "must be a number, or letters and digits")
        return "x"
    return text


def _trade(trade: str | None, brand: str | None) -> tuple[BenefitCategory, tuple[str, ...]]:
    """Return our category, and the tags by which a member finds the brand, and a trade that is none of ours."""
    words = _WORD.findall((trade or "").lower())
    ours = _BRANDS.get((brand or "").lower()) or next((_TRADES[word] for word in words if word in _TRADES), None)
    tags = dict.fromkeys(" ".join(tag.split()) for tag in (brand, None if ours else trade) if tag)
    return ours or BenefitCategory.OTHER, tuple(tag for tag in tags if len(tag) <= TAG_MAX)


def _logo(product: _Product) -> str | None:
    logos = product.get("logoUrls")
    if not logos:
        return None
    if not isinstance(logos, list) or not is_text(logos[0]):
        product.wrong("logoUrls", "must be a list of addresses")
        return None
    return str(logos[0])


def _regions(product: _Product) -> tuple[str, ...]:
    if product.get("global") is True:
        return ()
    country = product.text("country.isoName")
    if country is None:
        product.wrong("country.isoName", "is required of a product that is not global")
    return (country,) if country else ()


def _currency(product: _Product) -> str | None:
    currency = product.text("recipientCurrencyCode", required=True)
    if currency is not None:
        try:
            exponent(currency)
        except ValueError as wrong:
            product.wrong("recipientCurrencyCode", str(wrong))
            return None
    return currency


def _amounts(product: _Product, currency: str) -> list[int]:
    """Return the denominations in minor units of the currency the member gets."""
    match product.get("denominationType"):
        case "FIXED":
            said = product.get("fixedRecipientDenominations")
            if not isinstance(said, list) or not said:
                product.wrong("fixedRecipientDenominations", "must be a list with at least one amount")
                return []
            path = "fixedRecipientDenominations"
            amounts = [_minor(product, f"{path}.{index}", one, currency) for index, one in enumerate(said)]
            return [minor for minor in amounts if minor is not None]
        case "RANGE":
            least, most = (
                _minor(product, path, product.get(path), currency)
                for path in ("minRecipientDenomination", "maxRecipientDenomination")
            )
            if least is None or most is None:
                return []
            if least > most:
                product.wrong("maxRecipientDenomination", "must not be less than minRecipientDenomination")
                return []
            return steps(least, most)
        case _:
            product.wrong("denominationType", "must be FIXED or RANGE")
            return []


def _minor(product: _Product, path: str, said: Any, currency: str) -> int | None:
    if not isinstance(said, int | Decimal) or isinstance(said, bool):
        product.wrong(path, "must be a number")
        return None
    amount = Decimal(said)
    if not 0 < amount <= _DENOMINATION_MAX:
        product.wrong(path, f"must be more than 0 and at most {_DENOMINATION_MAX}")
        return None
    digits = -int(amount.as_tuple().exponent)
    text = f"{amount:f}" if digits <= _DIGITS_AFTER_POINT_MAX else str(amount)  # 1e-999999999 would be a gigabyte
    try:
        return minor_from_decimal(_plain(text), currency)
    except ValueError as wrong:
        product.wrong(path, str(wrong))
        return None


def _plain(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def steps(least: int, most: int) -> list[int]:
    """Return the amounts a range is sold in: both ends, and the 1-2-5 series between, thinned to a handful."""
    series = (digit * 10**power for power in range(len(str(most))) for digit in (1, 2, 5))
    between = [amount for amount in series if least < amount < most]
    while len(between) > RANGE_BETWEEN_MAX:
        between = between[1::2]
    return list(dict.fromkeys([least, *between, most]))


def _benefit(product: _Product, template: BenefitContent, value: Money, rate: Decimal) -> BenefitContent:
    amount = decimal_from_minor(*value)
    plain = _plain(amount)
    price = amount if "." in plain else plain  # "1.50" and "20", as on a price tag
    points, units = rate.as_integer_ratio()
    label = _label(product, value)
    return replace(
        template,
        sku=f"{template.sku}-{plain}",
        title=f"{template.title} {price} {value.currency}",
        points_price=-(-points * value.minor // (units * 10 ** exponent(value.currency))),
        description=". ".join(part for part in (label, template.description) if part) or None,
        face_value=value,
    )


def _label(product: _Product, value: Money) -> str | None:
    """Return what the supplier calls a denomination ("10000 tokens"), unless the title says so already."""
    labels = product.get("metadata")
    for amount, label in labels.items() if isinstance(labels, dict) else ():
        try:
            same = minor_from_decimal(_plain(amount), value.currency) == value.minor
        except ValueError:  # the supplier keeps other things there too
            continue
        if same and is_text(label) and label not in str(product.get("productName")):
            return str(label)
    return None
