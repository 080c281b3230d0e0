"""What clients send, and its shape.

An input knows how to become the domain's value; what cannot is a ValidationFailed with the path of the field. Defaults
are UNSET, so that the schema prints none that are not there and a fingerprint leaves out what was not sent.
"""

from __future__ import annotations

import dataclasses
import re
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
from exchange.settlement.calendar import Calendar, checked
from exchange.settlement.signoff import Tier, tiers_checked
from graph.enums import (
    AwardReversal,
    BenefitCategory,
    BenefitSort,
    BenefitStatus,
    DisputeReason,
    Every,
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


@strawberry.input(description="Without issuer or provider: the default for every partner in that place.")
class SetAgreementInput:
    """Adds a version."""

    issuer: strawberry.ID | None = strawberry.field(default=UNSET, description="Who owes.")
    provider: strawberry.ID | None = strawberry.field(default=UNSET, description="Who is owed.")
    price_per_1000_points: MoneyInput = strawberry.field(
        name="pricePer1000Points", description="What 1,000 points cost the issuer."
    )
    fee_basis_points: int = strawberry.field(default=0, description="The exchange's fee, of what is owed.")
    commission_basis_points: int = strawberry.field(default=0, description="The channel's commission, of what is owed.")
    effective_from: datetime | None = strawberry.field(default=UNSET, description="From when on; null: now.")


@strawberry.input(description="The terms to try; without issuer or provider: a default, as in SetAgreementInput.")
class SimulateAgreementInput:
    """What SetAgreementInput says, but for the moment: it is tried on what has been."""

    issuer: strawberry.ID | None = strawberry.field(default=UNSET, description="Who would owe.")
    provider: strawberry.ID | None = strawberry.field(default=UNSET, description="Who would be owed.")
    price_per_1000_points: MoneyInput = strawberry.field(
        name="pricePer1000Points", description="What 1,000 points would cost the issuer."
    )
    fee_basis_points: int = strawberry.field(default=0, description="The exchange's fee, of what is owed.")
    commission_basis_points: int = strawberry.field(default=0, description="The channel's commission, of what is owed.")


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


@strawberry.input(description="The period to close.")
class ClosePeriodInput:
    """Only the open one can be."""

    number: int = strawberry.field(description="Its number.")


@strawberry.input(description="How much a partner may owe in a currency, net, before its payments.")
class SetExposureCapInput:
    """Adds a version; it is in force when the mutation answers."""

    partner: strawberry.ID = strawberry.field(description="Whose it is.")
    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")
    cap: MoneyInput | None = strawberry.field(
        default=UNSET, description="How much; 0: it pays in advance; null: as much as it likes."
    )
    low_balance: MoneyInput | None = strawberry.field(
        default=UNSET, description="Below what is left a notice is written; null: never."
    )
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )

    def minor(self, name: str, amount: MoneyInput | None) -> int | None:
        """Return minor units of the cap's currency, or refuse another."""
        if amount is None:
            return None
        money = amount.money("input", name)
        if money.currency != self.currency:
            raise ValidationFailed(f"must be in {self.currency}", ("input", name, "currency"))
        return money.minor


@strawberry.input(description="A payment of a partner to the exchange, or of the exchange to it.")
class RecordFundingInput:
    """Recorded once."""

    partner: strawberry.ID = strawberry.field(description="Who paid, or was paid.")
    amount: MoneyInput = strawberry.field(description="How much it paid; negative: how much was paid to it.")
    reference: str = strawberry.field(description="Of the payment, as in the bank's books; at most 500 characters.")
    idempotency_key: str = strawberry.field(description=f"1 to {KEY_MAX} printable characters. {SAME_FOR_EVER}")

    def check(self) -> None:
        """Refuse what no payment is."""
        check_key(self.idempotency_key)
        check_said(self.reference, "reference")


@strawberry.input(description="A step of the sign-off, about the statement that the caller has read.")
class SignStatementInput:
    """What review, approval, rejection, instruction and reconciliation share."""

    statement: strawberry.ID = strawberry.field(description="Which statement.")
    hash: str = strawberry.field(description="Its hash, as the caller has read it: that is what is signed.")
    note: str | None = strawberry.field(
        default=UNSET, description="Kept in the log; a rejection needs it. At most 500 characters, no personal data."
    )
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self, *, note_needed: bool = False) -> None:
        """Refuse what no step is."""
        check_key(self.idempotency_key)
        note = sent(self.note)
        if note is not None or note_needed:
            check_said(note or "", "note")


@strawberry.input(description="A payment of what a statement nets to, or of a part of it.")
class RecordPaymentInput:
    """Recorded once."""

    statement: strawberry.ID = strawberry.field(description="Which statement.")
    hash: str = strawberry.field(description="Its hash.")
    amount: MoneyInput = strawberry.field(description="How much was paid, to whichever side the net says.")
    reference: str = strawberry.field(description="Of the payment, as in the bank's books; at most 500 characters.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what no payment is."""
        check_key(self.idempotency_key)
        check_said(self.reference, "reference")


@strawberry.input(description="From what net on a statement needs how many approvers.")
class ApprovalTierInput:
    """One per currency and amount."""

    amount: MoneyInput = strawberry.field(description="From this net on, to either side.")
    approvers: int = strawberry.field(description="How many have to approve: 1 to 9.")


@strawberry.input(description="How many have to approve a statement; without tiers, one.")
class SetSignOffPolicyInput:
    """Adds a version, in force for every approval from then on."""

    tiers: list[ApprovalTierInput] = strawberry.field(description="All of them: those before are replaced. At most 50.")
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )

    def checked(self) -> tuple[Tier, ...]:
        """Return the tiers, or refuse what none can be."""
        return tiers_checked(
            Tier(tier.amount.money("input", "tiers", str(index), "amount"), tier.approvers)
            for index, tier in enumerate(self.tiers)
        )


@strawberry.input(description="Where more of it is, and what tells that it is still the same. It is not fetched.")
class EvidenceInput:
    """At least one."""

    link: str | None = strawberry.field(default=UNSET, description="An https URL, at most 500 characters.")
    sha256: str | None = strawberry.field(default=UNSET, name="sha256", description="Its SHA-256, 64 hex digits.")

    def check(self) -> None:
        """Refuse what is no evidence."""
        link, digest = sent(self.link), sent(self.sha256)
        if link is None and digest is None:
            raise ValidationFailed("has a link, or a hash, or both", ("input", "evidence"))
        if link is not None and not (
            link.startswith("https://") and len(link) <= REASON_MAX and link.isprintable() and " " not in link
        ):
            raise ValidationFailed(f"must be an https URL of at most {REASON_MAX}", ("input", "evidence", "link"))
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValidationFailed("must be 64 hex digits, in lower case", ("input", "evidence", "sha256"))


@strawberry.input(description="A line of the caller's own statement, and what is wrong with it.")
class OpenDisputeInput:
    """Opened once."""

    statement: strawberry.ID = strawberry.field(description="The statement.")
    entry: strawberry.ID = strawberry.field(description="The line's `entry`.")
    line: int = strawberry.field(default=0, description="The line's `line`: an entry can have several.")
    reason: DisputeReason = strawberry.field(description="Why it is wrong.")
    amount: MoneyInput = strawberry.field(description="By how much, to the caller's favour; at most the line's net.")
    text: str = strawberry.field(description="What the other side should know; at most 500 characters.")
    evidence: EvidenceInput | None = strawberry.field(default=UNSET, description="More of it.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what no dispute is."""
        check_key(self.idempotency_key)
        if self.line < 0:
            raise ValidationFailed("must not be negative", ("input", "line"))
        check_said(self.text, "text")
        if (evidence := sent(self.evidence)) is not None:
            evidence.check()


@strawberry.input(description="A step in a dispute.")
class DisputeActionInput:
    """What answer, withdrawal, concession and decision share."""

    dispute: strawberry.ID = strawberry.field(description="Which dispute.")
    text: str = strawberry.field(description="What both sides should know; at most 500 characters, no personal data.")
    evidence: EvidenceInput | None = strawberry.field(default=UNSET, description="More of it.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what no step is."""
        check_key(self.idempotency_key)
        check_said(self.text, "text")
        if (evidence := sent(self.evidence)) is not None:
            evidence.check()


@strawberry.input(description="How finance decides a dispute.")
class ResolveDisputeInput(DisputeActionInput):
    """Upheld, whole or in part, or rejected."""

    upheld: bool = strawberry.field(description="Whether it is upheld; else it is rejected.")
    amount: MoneyInput | None = strawberry.field(default=UNSET, description="How much is upheld: all, unless said.")

    def check(self) -> None:
        """Refuse what no decision is."""
        super().check()
        if not self.upheld and sent(self.amount) is not None:
            raise ValidationFailed("goes with a dispute that is upheld", ("input", "amount"))


@strawberry.input(description="When periods are closed by themselves, and by when the rest has to be done.")
class SetPeriodCalendarInput:
    """Adds a version, in force from now on."""

    every: Every = strawberry.field(description="How often a period is closed.")
    on: int = strawberry.field(default=1, description="The day of the week (1: Monday), or of the month, up to 28.")
    at: str = strawberry.field(default="00:00", description="The time of day: HH:MM.")
    time_zone: str = strawberry.field(default="UTC", description="By which clocks, such as Europe/Berlin.")
    draft_days: int = strawberry.field(default=0, description="Days after that of the cut for drafting the statements.")
    review_days: int = strawberry.field(default=2, description="For reviewing them.")
    approve_days: int = strawberry.field(default=4, description="For approving them.")
    pay_days: int = strawberry.field(default=14, description="For paying them.")
    business_days: bool = strawberry.field(default=False, description="Count only the days from Monday to Friday.")
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )

    def wished(self, actor: str) -> Calendar:
        """Return the calendar, or refuse what none can be."""
        return checked(
            Calendar(
                every=self.every, on=self.on, at=self.at, time_zone=self.time_zone, draft_days=self.draft_days,
                review_days=self.review_days, approve_days=self.approve_days, pay_days=self.pay_days,
                business_days=self.business_days, actor=actor,
            )
        )  # fmt: skip


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
