"""What clients send, and its shape.

An input knows how to become the domain's value; what cannot is a ValidationFailed with the path of the field. Defaults
are UNSET, so that the schema prints none that are not there and a fingerprint leaves out what was not sent.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from exchange.amounts import POINTS_MAX, Money, minor_from_decimal
from exchange.benefit import QUANTITY_MAX, BenefitContent, Translation
from exchange.errors import ValidationFailed
from exchange.journal import canonical, milliseconds
from exchange.redemption import Step
from graph.enums import (
    AwardReversal,
    BenefitCategory,
    BenefitSort,
    BenefitStatus,
    Fulfilment,
    LimitPeriod,
)
from graph.scalars import CountryCode, CurrencyCode, Decimal, Points
from partners.oauth.assertions import is_reference

KEY_MAX = 200
REASON_MAX = 500
TTL_SECONDS_MAX = 24 * 60 * 60
SAME_FOR_EVER = "The same key with the same input is the same event for ever."


@strawberry.input(description="Which benefits to list; all conditions must hold.")
class BenefitFilter:
    """Absent conditions do not restrict."""

    category: BenefitCategory | None = strawberry.field(default=UNSET, description="Of this trade.")
    partner: strawberry.ID | None = strawberry.field(default=UNSET, description="Of this partner.")
    region: CountryCode | None = strawberry.field(default=UNSET, description="That can be redeemed in this country.")
    status: list[BenefitStatus] | None = strawberry.field(default=UNSET, description="In one of these states.")
    points_price_max: Points | None = strawberry.field(default=UNSET, description="For at most so many points.")
    search: str | None = strawberry.field(default=UNSET, description="With all these words.")
    tags: list[str] | None = strawberry.field(default=UNSET, description="With all these keywords.")
    redeemable_only: bool | None = strawberry.field(default=UNSET, description="That the viewer can redeem now.")


Chosen = Annotated[
    BenefitFilter | None, strawberry.argument(description="Which to list: without it all that the caller may see.")
]
Order = Annotated[BenefitSort | None, strawberry.argument(description="In which order: the newest first by default.")]


@strawberry.input(one_of=True, description="Names a benefit: by id, or by partner and SKU.")
class BenefitBy:
    """Exactly one."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its id.")
    key: BenefitKey | None = strawberry.field(default=UNSET, description="Its partner and SKU.")


@strawberry.input(description="A benefit by its partner's own name for it.")
class BenefitKey:
    """Both are needed."""

    partner: str = strawberry.field(description="The partner's handle.")
    sku: str = strawberry.field(description="The SKU.")


@strawberry.input(one_of=True, description="Names a member: by id, or by the asking partner's own reference.")
class MemberBy:
    """Exactly one."""

    id: strawberry.ID | None = strawberry.field(default=UNSET, description="Its id, as this partner knows it.")
    reference: str | None = strawberry.field(default=UNSET, description="The partner's own reference.")


@strawberry.input(description="An amount of money.")
class MoneyInput:
    """Turned into minor units by `money`."""

    amount: Decimal = strawberry.field(description="In major units, with no more digits than the currency has.")
    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")

    def money(self, *path: str) -> Money:
        """Return minor units, or refuse what the currency cannot express."""
        try:
            return Money(minor_from_decimal(self.amount, self.currency), self.currency)
        except ValueError as error:
            raise ValidationFailed(str(error), (*path, "amount")) from None


@strawberry.input(description="Title and description in one more language.")
class TranslationInput:
    """One per locale."""

    locale: str = strawberry.field(description="BCP 47 tag, such as de or pt-BR.")
    title: str = strawberry.field(description="The title in that language.")
    description: str | None = strawberry.field(default=UNSET, description="The description in that language.")


@strawberry.input(description="What a partner says of a benefit. Publishing a SKU again changes it.")
class BenefitInput:
    """Becomes a BenefitContent."""

    sku: str = strawberry.field(description="The partner's own name for it: letters, digits and . _ : ~ -")
    category: BenefitCategory = strawberry.field(description="Its trade.")
    title: str = strawberry.field(description="What a member reads first.")
    description: str | None = strawberry.field(default=UNSET, description="What a member reads next.")
    translations: list[TranslationInput] | None = strawberry.field(default=UNSET, description="Other languages.")
    image_url: str | None = strawberry.field(default=UNSET, description="A picture, by http(s).")
    terms: str | None = strawberry.field(default=UNSET, description="The small print.")
    redeem_instructions: str | None = strawberry.field(default=UNSET, description="What to do once one has it.")
    points_price: Points = strawberry.field(description="Points for one unit, at least 1.")
    face_value: MoneyInput | None = strawberry.field(default=UNSET, description="What it would cost in money.")
    valid_from: datetime | None = strawberry.field(default=UNSET, description="From when on it can be redeemed.")
    valid_until: datetime | None = strawberry.field(default=UNSET, description="Until when, exclusive.")
    regions: list[CountryCode] | None = strawberry.field(default=UNSET, description="Where; none: everywhere.")
    tags: list[str] | None = strawberry.field(default=UNSET, description="Keywords.")
    stock: int | None = strawberry.field(
        default=UNSET, description="Units ever offered; null: no limit. Must be null with INSTANT_CODE."
    )
    member_limit: int | None = strawberry.field(
        default=UNSET, description="Units one member may take in a period; null: no limit."
    )
    member_limit_period: LimitPeriod = strawberry.field(
        default=LimitPeriod.EVER, description="The period that `memberLimit` is for."
    )
    fulfilment: Fulfilment = strawberry.field(default=Fulfilment.NONE, description="How a member gets it.")
    status: BenefitStatus = strawberry.field(default=BenefitStatus.PUBLISHED, description="Whether it is on offer.")
    expected_version: int | None = strawberry.field(
        default=UNSET, description="Refuse unless it has this version now; 0: unless it is new."
    )

    def content(self, *path: str) -> BenefitContent:
        """Return the domain's value; its own rules are checked by the domain."""
        face = self.face_value or None
        return BenefitContent(
            sku=self.sku, category=self.category, title=self.title, points_price=self.points_price,
            description=self.description or None,
            translations=tuple(Translation(t.locale, t.title, t.description or None) for t in self.translations or ()),
            image_url=self.image_url or None, terms=self.terms or None,
            redeem_instructions=self.redeem_instructions or None,
            face_value=None if face is None else face.money(*path, "faceValue"),
            valid_from=self.valid_from or None, valid_until=self.valid_until or None,
            regions=tuple(dict.fromkeys(self.regions or ())), tags=tuple(dict.fromkeys(self.tags or ())),
            stock=sent(self.stock), member_limit=sent(self.member_limit),
            member_limit_period=self.member_limit_period,
            fulfilment=self.fulfilment, status=self.status,
        )  # fmt: skip


@strawberry.input(description="Benefits to publish: all of them, or none.")
class PublishBenefitsInput:
    """A SKU may stand there once."""

    benefits: list[BenefitInput] = strawberry.field(description="At most 1,000.")


@strawberry.input(description="Codes to load into the pool of an INSTANT_CODE benefit.")
class AddCodesInput:
    """Handed out in the order given."""

    sku: str = strawberry.field(description="The benefit's SKU.")
    codes: list[str] = strawberry.field(description="At most 10,000; each is handed out exactly once.")


@strawberry.input(description="Points to give to a member; the asking partner owes for them.")
class AwardPointsInput:
    """The member comes into being at first mention by reference."""

    member: MemberBy = strawberry.field(description="Who gets them.")
    points: Points = strawberry.field(description="How many, at least 1.")
    reason: str | None = strawberry.field(default=UNSET, description="For the member's history; no personal data.")
    expires_at: datetime | None = strawberry.field(default=UNSET, description="When what is left is lost.")
    active_from: datetime | None = strawberry.field(
        default=UNSET, description="From when on they can be spent: until then they cool off. Null: at once."
    )
    idempotency_key: str = strawberry.field(description="The same key with the same input is the same award for ever.")

    def check(self) -> None:
        """Refuse what could be no award."""
        check_key(self.idempotency_key)
        check_reference(self.member, "input", "member", "reference")
        check_points(self.points)
        check_reason(self.reason or None)


@strawberry.input(description="An award, or a part of it, to be taken back by its issuer.")
class ReverseAwardInput:
    """By the issuer's rule for what is spent already."""

    lot: strawberry.ID = strawberry.field(description="What was awarded.")
    points: Points | None = strawberry.field(default=UNSET, description="How many; without it, all that can be.")
    reason: str | None = strawberry.field(default=UNSET, description="For the member's history; no personal data.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what could be no reversal."""
        check_key(self.idempotency_key)
        check_reason(self.reason or None)
        if (points := sent(self.points)) is not None:
            check_points(points)


@strawberry.input(description="More time for what is left of an award.")
class ExtendPointsInput:
    """By the issuer of the lot."""

    lot: strawberry.ID = strawberry.field(description="Whose time is to be extended.")
    expires_at: datetime | None = strawberry.field(
        default=UNSET, description="Until when, exclusive; null: for ever. One of them has to be said."
    )
    reason: str | None = strawberry.field(default=UNSET, description="For the member's history; no personal data.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what could be no extension."""
        check_key(self.idempotency_key)
        check_reason(self.reason or None)
        # A client whose variable is undefined sends nothing, and time that was given cannot be taken back.
        if self.expires_at is UNSET:
            raise ValidationFailed("has to be said: null for ever", ("input", "expiresAt"))


@strawberry.input(description="Goodwill: points that an issuer gives or takes besides its awards.")
class AdjustPointsInput:
    """On an account of its own, with who decided it and why."""

    member: MemberBy = strawberry.field(description="Whose points.")
    points: Points = strawberry.field(description="How many: given, or if negative taken. Not 0.")
    reason: str = strawberry.field(description="Why; for the member's history; no personal data.")
    actor: str = strawberry.field(description="Who decided it, as you know them; no personal data.")
    expires_at: datetime | None = strawberry.field(default=UNSET, description="When what is given and left is lost.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what could be no adjustment."""
        check_key(self.idempotency_key)
        check_reference(self.member, "input", "member", "reference")
        check_points(abs(self.points))
        check_said(self.reason, "reason")
        check_said(self.actor, "actor")
        if self.points < 0 and sent(self.expires_at) is not None:
            raise ValidationFailed("is for points that are given", ("input", "expiresAt"))


@strawberry.input(description="A lot to freeze, or to let go on.")
class FreezeLotInput:
    """By its issuer, or by the exchange."""

    lot: strawberry.ID = strawberry.field(description="Which lot.")
    reason: str = strawberry.field(description="Why; for the member's history; no personal data.")
    actor: str | None = strawberry.field(
        default=UNSET, description="Who of the partner decided it, as you know them; staff leaves it out."
    )
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what could be no freezing."""
        check_key(self.idempotency_key)
        check_said(self.reason, "reason")
        if sent(self.actor) is not None:
            check_said(self.actor or "", "actor")


@strawberry.input(description="A member to freeze, or to let go on.")
class FreezeMemberInput:
    """By the exchange alone."""

    member: MemberBy = strawberry.field(description="Which member; a reference is that of the `partner` named.")
    partner: strawberry.ID | None = strawberry.field(default=UNSET, description="Whose reference it is.")
    reason: str = strawberry.field(description="Why; for the member's history; no personal data.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what could be no freezing."""
        check_key(self.idempotency_key)
        check_said(self.reason, "reason")
        check_named(self.member, sent(self.partner))


@strawberry.input(description="A code by which the asking member becomes the one that made it.")
class MergeMembersInput:
    """The code is its own idempotency key."""

    code: str = strawberry.field(description="What the member who stays was shown.")


@strawberry.input(description="The merge to undo; the exchange says whose.")
class UndoMergeInput:
    """The last one of the member."""

    member: MemberBy | None = strawberry.field(
        default=UNSET, description="Whose, when the exchange asks; a reference is that of the `partner` named."
    )
    partner: strawberry.ID | None = strawberry.field(default=UNSET, description="Whose reference it is.")
    reason: str | None = strawberry.field(default=UNSET, description="For the history; no personal data.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what nobody can mean."""
        check_key(self.idempotency_key)
        check_reason(self.reason or None)
        if self.member:
            check_named(self.member, sent(self.partner))


@strawberry.input(description="Points for another member. member is for a partner's own server.")
class GivePointsInput:
    """Within what their issuers allow."""

    member: MemberBy | None = strawberry.field(default=UNSET, description="Who gives; a member's token needs none.")
    to: MemberBy = strawberry.field(description="Who gets them, as the same partner knows it.")
    points: Points = strawberry.field(description="How many, at least 1.")
    reason: str | None = strawberry.field(default=UNSET, description="For both histories; no personal data.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what could be no gift."""
        check_key(self.idempotency_key)
        check_reference(self.member or None, "input", "member", "reference")
        check_reference(self.to, "input", "to", "reference")
        check_points(self.points)
        check_reason(self.reason or None)


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class HouseholdInput:
    """Who founds or leaves a household."""

    member: MemberBy | None = strawberry.field(default=UNSET, description="Who does it.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what nobody can mean."""
        check_key(self.idempotency_key)
        check_reference(self.member or None, "input", "member", "reference")


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class PoolInput(HouseholdInput):
    """Points to pay into the pool, or to draw from it."""

    points: Points = strawberry.field(description="How many, at least 1.")

    def check(self) -> None:
        """Refuse what nobody can mean."""
        super().check()
        check_points(self.points)


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class InviteInput:
    """Who invites."""

    member: MemberBy | None = strawberry.field(default=UNSET, description="Who invites.")

    def check(self) -> None:
        """Refuse what nobody can mean."""
        check_reference(self.member or None, "input", "member", "reference")


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class JoinHouseholdInput:
    """The code is its own idempotency key."""

    member: MemberBy | None = strawberry.field(default=UNSET, description="Who joins.")
    code: str = strawberry.field(description="What the member who invites handed over.")

    def check(self) -> None:
        """Refuse what nobody can mean."""
        check_reference(self.member or None, "input", "member", "reference")


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class QuoteInput:
    """What would be taken, and by whom."""

    benefit: strawberry.ID = strawberry.field(description="What to take.")
    member: MemberBy | None = strawberry.field(default=UNSET, description="Who takes it.")
    quantity: int = strawberry.field(default=1, description="Units.")
    region: CountryCode | None = strawberry.field(
        default=UNSET, description="Where the member is; counts from a partner's server only."
    )

    def check(self) -> None:
        """Refuse what could not be taken."""
        check_reference(self.member or None, "input", "member", "reference")
        if not 1 <= self.quantity <= QUANTITY_MAX:
            raise ValidationFailed(f"must be 1 to {QUANTITY_MAX}", ("input", "quantity"))


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class RedeemBenefitInput(QuoteInput):
    """Take a benefit for points, at once."""

    expected_points: Points | None = strawberry.field(default=UNSET, description="Refuse unless this is the total.")
    quote: strawberry.ID | None = strawberry.field(default=UNSET, description="Take it at the price of this quote.")
    idempotency_key: str = strawberry.field(
        description="The same key with the same input is the same redemption for ever."
    )

    def check(self) -> None:
        """Refuse what could be no redemption."""
        check_key(self.idempotency_key)
        super().check()
        expected = sent(self.expected_points)
        if expected is not None and expected < 0:
            raise ValidationFailed("must not be negative", ("input", "expectedPoints"))


@strawberry.input(description="member is for a partner's own server, of its own members; a member's token needs none.")
class ReserveBenefitInput(RedeemBenefitInput):
    """Hold a benefit and its points until a deadline."""

    ttl_seconds: int = strawberry.field(default=300, description="How long, by the exchange's clock: 1 s to a day.")

    def check(self) -> None:
        """Refuse what could be no reservation."""
        super().check()
        if not 1 <= self.ttl_seconds <= TTL_SECONDS_MAX:
            raise ValidationFailed(f"must be 1 to {TTL_SECONDS_MAX}", ("input", "ttlSeconds"))


@strawberry.input(description="quantity: a part of it, where the action allows a part; without it, all.")
class RedemptionActionInput:
    """A step of a redemption's life."""

    redemption: strawberry.ID = strawberry.field(description="Which redemption.")
    quantity: int | None = strawberry.field(default=UNSET, description="Units, where a part is allowed.")
    reason: str | None = strawberry.field(default=UNSET, description="For the history; no personal data.")
    idempotency_key: str = strawberry.field(description="The same key with the same input is the same step for ever.")

    def check(self, step: Step) -> None:
        """Refuse what could be no such step."""
        check_key(self.idempotency_key)
        check_reason(self.reason or None)
        quantity = sent(self.quantity)
        if quantity is not None and not 1 <= quantity <= QUANTITY_MAX:
            raise ValidationFailed(f"must be 1 to {QUANTITY_MAX}", ("input", "quantity"))
        if quantity is not None and step not in (Step.CONFIRM, Step.REVERSE):
            raise ValidationFailed("only confirming and reversing can be done in part", ("input", "quantity"))


@strawberry.input(description="Permission for a second partner, to be handed to it by the member.")
class CreateLinkCodeInput:
    """A member's own doing."""

    partner: strawberry.ID = strawberry.field(description="The partner to be linked.")
    daily_limit: Points | None = strawberry.field(
        default=UNSET, description="Points a day (UTC) that may be spent through it."
    )


@strawberry.input(description="The link to end.")
class UnlinkPartnerInput:
    """A member's own doing."""

    partner: strawberry.ID = strawberry.field(description="The partner to part with.")


@strawberry.input(description="A link code, redeemed by the partner it was made for.")
class LinkMemberInput:
    """A partner's server's doing."""

    code: str = strawberry.field(description="What the member handed over.")
    reference: str = strawberry.field(description="The partner's own reference of the member.")


@strawberry.input(description="How fast one member may redeem: at most so many redemptions, or points, in any window.")
class VelocityRuleInput:
    """Counts what is redeemed through the partner and of its benefits; the exchange's rules count everything."""

    window_seconds: int = strawberry.field(description="How far back it looks, in seconds: at most 31 days.")
    redemptions_max: int | None = strawberry.field(default=UNSET, description="At most so many redemptions.")
    points_max: Points | None = strawberry.field(default=UNSET, description="At most so many points.")
    benefit: strawberry.ID | None = strawberry.field(default=UNSET, description="Only those of this benefit.")
    points_from: Points = strawberry.field(default=Points(0), description="Only those of at least so many points.")


@strawberry.input(description="What a partner lays down; what is left out stays as it is.")
class SetRulesInput:
    """Adds a version."""

    partner: strawberry.ID | None = strawberry.field(
        default=UNSET, description="Whose: for staff, who without it sets the exchange's own. A server leaves it out."
    )
    award_reversal: AwardReversal | None = strawberry.field(
        default=UNSET, description="What happens when an award is taken back of which a part is gone."
    )
    gift_day_points: Points | None = strawberry.field(
        default=UNSET, description="How many of its points a member may give away a day (UTC); 0: none."
    )
    time_zone: str | None = strawberry.field(
        default=UNSET, description="In which days, weeks and months of limits begin, such as Europe/Berlin."
    )
    velocity: list[VelocityRuleInput] | None = strawberry.field(
        default=UNSET, description="How fast members may redeem: these instead of those before."
    )
    expected_version: int | None = strawberry.field(default=UNSET, description="Refuse unless they have this version.")


@strawberry.input(description="A partner to freeze, or to let go on.")
class FreezePartnerInput:
    """By the exchange alone."""

    partner: strawberry.ID = strawberry.field(description="Which partner.")
    reason: str = strawberry.field(description="Why; the partner can read it. No personal data.")


@strawberry.input(description="A benefit to freeze, or to let go on.")
class FreezeBenefitInput:
    """By the exchange alone."""

    benefit: strawberry.ID = strawberry.field(description="Which benefit.")
    reason: str = strawberry.field(description="Why; its partner can read it. No personal data.")


def sent(value: Any) -> Any:
    """Return what was sent, None for what was not; zero is not nothing."""
    return None if value is UNSET else value


def check_key(key: str) -> None:
    """Refuse an idempotency key that is empty, long or unprintable."""
    if not 1 <= len(key) <= KEY_MAX or not key.isprintable():
        raise ValidationFailed(f"must be 1 to {KEY_MAX} printable characters", ("input", "idempotencyKey"))


def check_points(points: int) -> None:
    """Refuse a number of points that nothing can be about."""
    if not 1 <= points <= POINTS_MAX:
        raise ValidationFailed(f"must be 1 to {POINTS_MAX}", ("input", "points"))


def check_said(text: str, name: str) -> None:
    """Refuse a reason, or the name of who decided, that says nothing, is long or unprintable."""
    if not 1 <= len(text.strip()) <= REASON_MAX or not text.isprintable():
        raise ValidationFailed(f"must have 1 to {REASON_MAX} printable characters", ("input", name))


def check_reason(reason: str | None) -> None:
    """Refuse a reason that is long or unprintable."""
    if reason is not None and (len(reason) > REASON_MAX or not reason.isprintable()):
        raise ValidationFailed(f"must have at most {REASON_MAX} printable characters", ("input", "reason"))


def check_reference(member: MemberBy | None, *path: str) -> None:
    """Refuse a reference that no member can have."""
    reference = None if member is None else sent(member.reference)
    if reference is not None:
        check_reference_text(reference, *path)


def check_named(member: MemberBy, partner: str | None) -> None:
    """Refuse a member whom staff names by a reference without saying whose, or by its id with it."""
    check_reference(member, "input", "member", "reference")
    if (sent(member.reference) is None) != (partner is None):
        raise ValidationFailed("goes with a reference, and with nothing else", ("input", "partner"))


def check_reference_text(reference: str, *path: str) -> None:
    """Refuse a reference that no member can have."""
    if not is_reference(reference):
        raise ValidationFailed("must be 1 to 128 printable characters", path)


def fingerprint(command: Any) -> str:
    """Return the hash of an input as sent: without its idempotency key, and with what equals its default left out.

    No id is resolved, so the same member named in two ways is two inputs.
    """
    return sha256(canonical(_as_sent(command, frozenset({"idempotency_key"})))).hexdigest()


def _as_sent(value: Any, without: frozenset[str] = frozenset()) -> Any:
    if isinstance(value, datetime):
        return milliseconds(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list):
        return [_as_sent(item) for item in value]
    if dataclasses.is_dataclass(value):
        told = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in without}
        defaults = {f.name: f.default for f in dataclasses.fields(value)}
        return {name: _as_sent(v) for name, v in told.items() if v not in (UNSET, None, defaults[name])}
    return value if isinstance(value, str | bool) else str(value)
