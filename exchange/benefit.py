"""What partners publish, and whether somebody can have it.

A benefit is known by its partner and the partner's own SKU, so publishing the same SKU again is a change, not a
second benefit. Its *content* is what the partner says (`BenefitContent`); the exchange adds identity and version.
How many are left is not part of it: stock moves with every redemption and lives in a document of its own.

Availability is one function with all its reasons, used for the catalog's answer and for the redemption's refusal,
so that a member is never told two different stories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from unicodedata import category

from msgspec import Struct, field

from exchange.amounts import Money
from exchange.countries import COUNTRIES
from exchange.errors import ValidationFailed

SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,63}")
LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
PRICE_MAX = 10**15
QUANTITY_MAX = 1_000
TITLE_MAX = 200
_UNSEEN = ("Cc", "Cs")
"""Unicode's control characters, and halves of characters."""
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""What makes text show in another order than it is written in (Unicode Annex 9)."""
_LINES = "\n\r\t"
TEXT_MAX = 10_000
URL_MAX = 2_000
TAGS_MAX = 20
TAG_MAX = 40
TRANSLATIONS_MAX = 40
COUNT_MAX = 2**31 - 1
"""Stock and limits are GraphQL Ints."""


class BenefitStatus(StrEnum):
    """Only a PUBLISHED benefit can be redeemed; the others are seen by their owner alone."""

    DRAFT = "DRAFT"
    PUBLISHED = "PUBLISHED"
    PAUSED = "PAUSED"
    RETIRED = "RETIRED"


class BenefitCategory(StrEnum):
    """The trades of the exchange."""

    VIDEO = "VIDEO"
    DELIVERY = "DELIVERY"
    RIDES = "RIDES"
    MUSIC = "MUSIC"
    READING = "READING"
    GAMING = "GAMING"
    FOOD = "FOOD"
    TRAVEL = "TRAVEL"
    SHOPPING = "SHOPPING"
    OTHER = "OTHER"


class Fulfilment(StrEnum):
    """How the member gets it: a code from the pool, a call to the partner, or nothing further to do."""

    INSTANT_CODE = "INSTANT_CODE"
    PARTNER_CALL = "PARTNER_CALL"
    NONE = "NONE"


class LimitPeriod(StrEnum):
    """In what time a member may take so many: a calendar day, week or month of the partner's time zone, or ever."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    EVER = "EVER"


class UnavailableReason(StrEnum):
    """Why a benefit cannot be redeemed now."""

    OUT_OF_STOCK = "OUT_OF_STOCK"
    NOT_STARTED = "NOT_STARTED"
    ENDED = "ENDED"
    NOT_PUBLISHED = "NOT_PUBLISHED"
    MEMBER_LIMIT_REACHED = "MEMBER_LIMIT_REACHED"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    REGION = "REGION"
    INSUFFICIENT_POINTS = "INSUFFICIENT_POINTS"
    ISSUER_LIMIT = "ISSUER_LIMIT"
    VELOCITY = "VELOCITY"
    FROZEN = "FROZEN"


class Translation(Struct, frozen=True):
    """Title and description in one more language (BCP 47 tag)."""

    locale: str
    title: str
    description: str | None = None


class BenefitContent(Struct, frozen=True, kw_only=True):
    """What a partner says of a benefit. `stock`: units ever offered; None, no limit. Empty `regions`: everywhere."""

    sku: str
    category: BenefitCategory
    title: str
    points_price: int
    description: str | None = None
    translations: tuple[Translation, ...] = ()
    image_url: str | None = None
    terms: str | None = None
    redeem_instructions: str | None = None
    face_value: Money | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    regions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    stock: int | None = None
    member_limit: int | None = None
    member_limit_period: LimitPeriod = LimitPeriod.EVER
    fulfilment: Fulfilment = Fulfilment.NONE
    status: BenefitStatus = BenefitStatus.PUBLISHED


class Benefit(BenefitContent, frozen=True, kw_only=True):
    """A published content with its identity; `version` counts the changes of content, from 1."""

    id: str
    partner: str
    version: int
    created_at: datetime
    updated_at: datetime

    def words(self, locale: str | None) -> Translation:
        """Return title and description in the closest language there is (RFC 4647 §3.4 lookup), else the original."""
        by_locale = {translation.locale.lower(): translation for translation in self.translations}
        wanted = (locale or "").lower()
        while wanted:
            if wanted in by_locale:
                return by_locale[wanted]
            wanted = wanted.rpartition("-")[0]
        return Translation("", self.title, self.description)


def benefit_id(partner: str, sku: str) -> str:
    """Return the identity of a partner's SKU: readable, and the same every time it is published."""
    return f"{partner}/{sku}"


def content_of(benefit: BenefitContent) -> BenefitContent:
    """Return the content alone, to compare what is published with what is stored."""
    return BenefitContent(**{name: getattr(benefit, name) for name in BenefitContent.__struct_fields__})


def validate(content: BenefitContent, path: Iterable[str] = ()) -> None:
    """Refuse (ValidationFailed, with the path of the field) content that no benefit may have."""
    at = tuple(path)

    def refuse_if(wrong: bool, name: str, reason: str) -> None:  # noqa: FBT001 - a ladder of conditions reads best so
        if wrong:
            raise ValidationFailed(reason, (*at, name))

    refuse_if(not SKU.fullmatch(content.sku), "sku", "must be 1 to 64 letters, digits or . _ : ~ -")
    refuse_if(
        not _is_text(content.title, TITLE_MAX), "title", f"must have 1 to {TITLE_MAX} characters, none for control"
    )
    for name in ("description", "terms", "redeem_instructions"):
        text = getattr(content, name)
        camel = "redeemInstructions" if name == "redeem_instructions" else name
        refuse_if(text is not None and len(text) > TEXT_MAX, camel, f"must have at most {TEXT_MAX} characters")
        refuse_if(text is not None and not _shows(text, _LINES), camel, "must not have control characters")
    url = content.image_url
    refuse_if(
        url is not None and not (url.startswith(("https://", "http://")) and len(url) <= URL_MAX and url.isprintable()),
        "imageUrl",
        f"must be an http(s) address of at most {URL_MAX} characters",
    )
    refuse_if(not 1 <= content.points_price <= PRICE_MAX, "pointsPrice", f"must be 1 to {PRICE_MAX} points")
    refuse_if(content.face_value is not None and content.face_value.minor < 0, "faceValue", "must not be negative")
    starts, ends = content.valid_from, content.valid_until
    refuse_if(starts is not None and ends is not None and ends <= starts, "validUntil", "must be after validFrom")
    unknown = [region for region in content.regions if region not in COUNTRIES]
    refuse_if(bool(unknown), "regions", f"{', '.join(unknown)}: not an ISO 3166-1 alpha-2 code")
    refuse_if(len(content.tags) > TAGS_MAX, "tags", f"must be at most {TAGS_MAX}")
    refuse_if(
        not all(_is_text(tag, TAG_MAX) for tag in content.tags),
        "tags",
        f"must have 1 to {TAG_MAX} characters each",
    )
    _validate_translations(content.translations, at)
    refuse_if(content.stock is not None and not 0 <= content.stock <= COUNT_MAX, "stock", "must not be negative")
    refuse_if(
        content.stock is not None and content.fulfilment is Fulfilment.INSTANT_CODE,
        "stock",
        "must be null with INSTANT_CODE: the code pool is the stock",
    )
    refuse_if(
        content.member_limit is not None and not 1 <= content.member_limit <= COUNT_MAX,
        "memberLimit",
        "must be at least 1",
    )


def _validate_translations(translations: tuple[Translation, ...], at: tuple[str, ...]) -> None:
    if len(translations) > TRANSLATIONS_MAX:
        raise ValidationFailed(f"must be at most {TRANSLATIONS_MAX}", (*at, "translations"))
    seen: set[str] = set()
    for index, translation in enumerate(translations):
        where = (*at, "translations", str(index))
        locale = translation.locale.lower()
        if not LOCALE.fullmatch(translation.locale):
            raise ValidationFailed("must be a language tag such as de or pt-BR", (*where, "locale"))
        if locale in seen:
            raise ValidationFailed("stands there twice", (*where, "locale"))
        if not _is_text(translation.title, TITLE_MAX):
            raise ValidationFailed(f"must have 1 to {TITLE_MAX} characters, none for control", (*where, "title"))
        if translation.description is not None and len(translation.description) > TEXT_MAX:
            raise ValidationFailed(f"must have at most {TEXT_MAX} characters", (*where, "description"))
        seen.add(locale)


def _is_text(text: str, longest: int) -> bool:
    """Whether it is one line that shows as what it is: no control characters, none that turn the direction round."""
    return 1 <= len(text) <= longest and bool(text.strip()) and _shows(text)


def _shows(text: str, besides: str = "") -> bool:
    return all(
        character in besides or (category(character) not in _UNSEEN and character not in _TURNING) for character in text
    )


class Stock(Struct, frozen=True):
    """What was ever offered (None: no limit), and what became of it. For a code pool, offered = codes loaded."""

    offered: int | None
    sold: int = 0
    reserved: int = 0

    @property
    def left(self) -> int | None:
        """Units that can still be taken; None without a limit."""
        return None if self.offered is None else self.offered - self.sold - self.reserved


class StockChange(NamedTuple):
    """Units that become sold or reserved; negative, that come back."""

    sold: int = 0
    reserved: int = 0

    def applied(self, stock: Stock) -> Stock:
        """Return the stock after this change."""
        return Stock(stock.offered, stock.sold + self.sold, stock.reserved + self.reserved)

    def plus(self, other: StockChange) -> StockChange:
        """Return both changes as one."""
        return StockChange(self.sold + other.sold, self.reserved + other.reserved)


NO_CHANGE = StockChange()


class Taker(Struct, frozen=True, kw_only=True):
    """Who would take it: what availability needs to know of a member. `region` None: not known.

    `taken`: units that count against its limit now; `too_fast`: whether a rule on how fast members may redeem stands
    against it; `frozen`: whether the member, or the partner it comes through, is; `frozen_points`: what could be
    spent too if nobody had frozen it; `issuer_limit`: whether one of its issuers would come to owe more than it may.
    """

    region: str | None = None
    taken: int = 0
    points: int = 0
    spendable: int = 0
    day_left: int | None = None
    too_fast: bool = False
    frozen: bool = False
    frozen_points: int = 0
    issuer_limit: bool = False


class Availability(Struct, frozen=True):
    """Whether `quantity` can be taken now; `remaining` and `member_remaining` are None without a limit."""

    remaining: int | None
    member_remaining: int | None
    reasons: list[UnavailableReason] = field(default_factory=list)

    @property
    def redeemable(self) -> bool:
        """No reason stands in the way."""
        return not self.reasons


def availability(
    benefit: BenefitContent, stock: Stock, now: datetime, taker: Taker | None = None, quantity: int = 1, *,
    frozen: bool = False,
) -> Availability:  # fmt: skip
    """Return every reason why `taker` cannot have `quantity` of it at `now`; without a taker, the benefit's own.

    `frozen`: whether the exchange has frozen the benefit or its partner.

    A benefit is valid from `valid_from` inclusive to `valid_until` exclusive. NOT_ELIGIBLE: the member has points,
    but none that this provider takes (their issuers have no agreement with it). VELOCITY: a rule on how fast members
    may redeem, or the member's own daily limit for the partner it comes through.
    """
    left = stock.left
    reasons = [
        reason
        for reason, stands in (
            (UnavailableReason.NOT_PUBLISHED, benefit.status is not BenefitStatus.PUBLISHED),
            (UnavailableReason.NOT_STARTED, benefit.valid_from is not None and now < benefit.valid_from),
            (UnavailableReason.ENDED, benefit.valid_until is not None and now >= benefit.valid_until),
            (UnavailableReason.OUT_OF_STOCK, left is not None and left < quantity),
            (UnavailableReason.FROZEN, frozen),
        )
        if stands
    ]
    if taker is None:
        return Availability(left, None, reasons)
    cost = benefit.points_price * quantity
    member_left = None if benefit.member_limit is None else max(benefit.member_limit - taker.taken, 0)
    nothing_accepted = taker.points > 0 and taker.spendable + taker.frozen_points == 0
    thawed = taker.spendable < cost <= taker.spendable + taker.frozen_points
    reasons += [
        reason
        for reason, stands in (
            (UnavailableReason.REGION, bool(benefit.regions) and taker.region not in benefit.regions),
            (UnavailableReason.MEMBER_LIMIT_REACHED, member_left is not None and member_left < quantity),
            (UnavailableReason.NOT_ELIGIBLE, nothing_accepted),
            (UnavailableReason.INSUFFICIENT_POINTS, taker.spendable < cost and not nothing_accepted),
            (UnavailableReason.ISSUER_LIMIT, taker.issuer_limit),
            (UnavailableReason.VELOCITY, taker.too_fast or (taker.day_left is not None and taker.day_left < cost)),
            (UnavailableReason.FROZEN, not frozen and (taker.frozen or thawed)),
        )
        if stands
    ]
    return Availability(left, member_left, reasons)
