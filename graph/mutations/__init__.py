"""What can be done: catalog, redemptions, links and settlement here, the members' points in modules of their own.

Each mutation checks the input's shape, then the scope, then makes one call; the rest of the precedence of refusals is
the domain's. Refusals come back as data (`AsData`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import strawberry
from strawberry import Parent

from exchange import agreements as terms
from exchange.batch import Outcome
from exchange.commands import Act, Award, ByWallet, LinkMember, Redeem, Reserve, Unlink, Whose
from exchange.errors import IdempotencyConflict, ValidationFailed
from exchange.journal import EXCHANGE
from exchange.quote import Quote as DomainQuote
from exchange.redemption import Step
from exchange.settlement import period as settlement_period
from exchange.store.catalog import CodesAdded, Offer, Published, check_codes, check_offers
from exchange.store.members import LinkCode as DomainLinkCode
from exchange.wallet import Lot as DomainLot
from exchange.wallet import Wallet as DomainWallet
from graph import refusals
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import (
    AddCodesInput,
    AwardPointsInput,
    CreateLinkCodeInput,
    LinkMemberInput,
    PublishBenefitsInput,
    QuoteInput,
    RedeemBenefitInput,
    RedemptionActionInput,
    ReserveBenefitInput,
    UnlinkPartnerInput,
    check_reference_text,
    fingerprint,
    sent,
)
from graph.inputs.settlement import ClosePeriodInput, SetAgreementInput
from graph.mutations.asking import own_wallet, request, speaker, whose_of
from graph.mutations.barters import BarterMutations
from graph.mutations.calendar import CalendarMutations
from graph.mutations.disputes import DisputeMutations
from graph.mutations.exports import ExportMutations
from graph.mutations.exposure import ExposureMutations
from graph.mutations.households import HouseholdMutations
from graph.mutations.merging import MergingMutations
from graph.mutations.nettings import NettingMutations
from graph.mutations.outcomes import OfMember, OfRedemption, OfWallet, Repeatable
from graph.mutations.points import PointsMutations
from graph.mutations.reconciliation import ReconciliationMutations
from graph.mutations.rules import RulesMutations
from graph.mutations.signoff import SignOffMutations
from graph.refusals import AsData, Forbidden, ValidationError, VersionConflict, made_of
from graph.settlement import Agreement, Period
from graph.types import Benefit, Lot, Quote

BACKDATING_MAX = timedelta(minutes=5)
"""How far `effectiveFrom` may lie in the past, because clocks differ: then it means now."""


# ---------------------------------------------------------------- payloads


@strawberry.type(description="All benefits are published.")
class PublishBenefitsSuccess:
    """exchange.store.catalog.Published."""

    is_type_of = made_of(Published)
    benefits: list[Benefit] = strawberry.field(description="As they are now, in the order given.")
    created: int = strawberry.field(description="How many are new.")
    updated: int = strawberry.field(description="How many changed.")
    unchanged: int = strawberry.field(description="How many were like that already.")


@strawberry.type(description="The codes are in the pool.")
class AddCodesSuccess:
    """exchange.store.catalog.CodesAdded."""

    is_type_of = made_of(CodesAdded)
    added: int = strawberry.field(description="How many are new.")
    duplicates: int = strawberry.field(description="How many were loaded before, or stood there twice.")
    remaining: int = strawberry.field(description="How many can be handed out now.")


@strawberry.type(description="The points are the member's.")
class AwardPointsSuccess(Repeatable, OfWallet, OfMember):
    """exchange.ledger.Outcome of an award."""

    is_type_of = made_of(Outcome)

    @strawberry.field(graphql_type=Lot, description="The points, as they now stand.")
    def lot(root: Parent[Outcome]) -> DomainLot | None:
        """Known by the award's entry."""
        return root.wallet.lot(root.entry.id)


@strawberry.type(description="The benefit is the member's.")
class RedeemBenefitSuccess(Repeatable, OfWallet, OfRedemption):
    """exchange.ledger.Outcome of a redemption."""

    is_type_of = made_of(Outcome)


@strawberry.type(description="The step is done.")
class RedemptionActionSuccess(Repeatable, OfRedemption):
    """exchange.ledger.Outcome of a step."""

    is_type_of = made_of(Outcome)


@strawberry.type(description="What the member hands to the second partner; shown this once.")
class LinkCode:
    """exchange.store.members.LinkCode."""

    is_type_of = made_of(DomainLinkCode)
    code: str = strawberry.field(description="Good once, for that partner alone.")
    expires_at: datetime = strawberry.field(description="Until when it is good.")


@strawberry.type(description="The partner's reference means the member now.")
class LinkMemberSuccess(OfMember):
    """exchange.ledger.Outcome of a link."""

    is_type_of = made_of(Outcome)


@strawberry.type(description="The link is ended.")
class UnlinkPartnerSuccess(OfMember):
    """exchange.ledger.Outcome of an unlinking."""

    is_type_of = made_of(Outcome)


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed period and the one after it."""

    period: settlement_period.Period
    next: settlement_period.Period | None


@strawberry.type(description="The period is closed and its statements are drafted.")
class ClosePeriodSuccess:
    """Closed."""

    is_type_of = made_of(Closed)
    period: Period = strawberry.field(description="The period that was closed.")
    next: Period = strawberry.field(description="The period after it.")


PublishBenefitsPayload = Annotated[
    PublishBenefitsSuccess | ValidationError | VersionConflict | Forbidden,
    strawberry.union("PublishBenefitsPayload", description="What came of publishing."),
]
AddCodesPayload = Annotated[
    AddCodesSuccess | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("AddCodesPayload", description="What came of loading codes."),
]
AwardPointsPayload = Annotated[
    AwardPointsSuccess | ValidationError | refusals.NotFound | Forbidden | refusals.IdempotencyConflict,
    strawberry.union("AwardPointsPayload", description="What came of an award."),
]
RedeemBenefitPayload = Annotated[
    RedeemBenefitSuccess
    | refusals.InsufficientPoints
    | refusals.BenefitUnavailable
    | refusals.PriceChanged
    | refusals.IdempotencyConflict
    | ValidationError
    | refusals.NotFound
    | Forbidden,
    strawberry.union("RedeemBenefitPayload", description="What came of redeeming."),
]
QuotePayload = Annotated[
    Quote | refusals.InsufficientPoints | refusals.BenefitUnavailable | refusals.NotFound | Forbidden | ValidationError,
    strawberry.union("QuotePayload", description="What came of asking for a quote."),
]
RedemptionActionPayload = Annotated[
    RedemptionActionSuccess
    | refusals.InvalidTransition
    | refusals.NotFound
    | Forbidden
    | refusals.IdempotencyConflict
    | ValidationError,
    strawberry.union("RedemptionActionPayload", description="What came of a step."),
]
CreateLinkCodePayload = Annotated[
    LinkCode | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("CreateLinkCodePayload", description="What came of asking for a link code."),
]
UnlinkPartnerPayload = Annotated[
    UnlinkPartnerSuccess | refusals.NotFound | Forbidden,
    strawberry.union("UnlinkPartnerPayload", description="What came of ending a link."),
]
LinkMemberPayload = Annotated[
    LinkMemberSuccess | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("LinkMemberPayload", description="What came of linking."),
]
SetAgreementPayload = Annotated[
    Agreement | ValidationError | Forbidden | refusals.NotFound,
    strawberry.union("SetAgreementPayload", description="What came of setting an agreement."),
]
ClosePeriodPayload = Annotated[
    ClosePeriodSuccess | ValidationError | Forbidden | refusals.NotFound,
    strawberry.union("ClosePeriodPayload", description="What came of closing."),
]


# ---------------------------------------------------------------- mutations


@strawberry.type(description="Writes. Expected outcomes are data: each payload is a union.")
class Mutation(
    PointsMutations, HouseholdMutations, MergingMutations, ExposureMutations, RulesMutations, SignOffMutations,
    DisputeMutations, CalendarMutations, BarterMutations, NettingMutations, ReconciliationMutations, ExportMutations,
):  # fmt: skip
    """The root of mutations."""

    @strawberry.field(
        graphql_type=PublishBenefitsPayload,
        extensions=[AsData()],
        description="Creates or changes benefits: all or none.",
    )
    async def publish_benefits(self, info: Info, input: PublishBenefitsInput) -> Published:  # noqa: A002
        """Publish under the caller's own handle."""
        offers = check_offers(
            Offer(benefit.content("input", "benefits", str(index)), sent(benefit.expected_version))
            for index, benefit in enumerate(input.benefits)
        )
        info.context.require_of_mutation("benefits:publish")
        return await info.context.services.catalog.publish(info.context.partner, offers)

    @strawberry.field(
        graphql_type=AddCodesPayload, extensions=[AsData()], description="Loads codes into a benefit's pool."
    )
    async def add_codes(self, info: Info, input: AddCodesInput) -> CodesAdded:  # noqa: A002
        """Load into the caller's own benefit."""
        check_codes(input.codes)
        info.context.require_of_mutation("benefits:publish")
        return await info.context.services.catalog.add_codes(info.context.partner, input.sku, input.codes)

    @strawberry.field(
        graphql_type=AwardPointsPayload,
        extensions=[AsData()],
        description="Gives a member points of the asking partner.",
    )
    async def award_points(self, info: Info, input: AwardPointsInput) -> Outcome:  # noqa: A002
        """Award as the issuer that asks."""
        input.check()
        info.context.require_of_mutation("points:award")
        return await info.context.services.ledger.submit(
            Award(
                **request(info.context, "awardPoints", input), whose=whose_of(info.context, input.member),
                points=input.points, expires_at=sent(input.expires_at), active_from=sent(input.active_from),
                reason=input.reason or None,
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=RedeemBenefitPayload,
        extensions=[AsData()],
        description="Takes a benefit for points, exactly once.",
    )
    async def redeem_benefit(self, info: Info, input: RedeemBenefitInput) -> Outcome:  # noqa: A002
        """Redeem through the partner that asks, or through which the member asks."""
        return await info.context.services.ledger.submit(Redeem(**await _taking(info.context, "redeemBenefit", input)))

    @strawberry.field(
        graphql_type=RedeemBenefitPayload, extensions=[AsData()],
        description="Holds a benefit and its points until a deadline, for confirmRedemption.",
    )  # fmt: skip
    async def reserve_benefit(self, info: Info, input: ReserveBenefitInput) -> Outcome:  # noqa: A002
        """Reserve through the partner that asks, or through which the member asks."""
        taking = await _taking(info.context, "reserveBenefit", input)
        return await info.context.services.ledger.submit(Reserve(**taking, ttl_seconds=input.ttl_seconds))

    @strawberry.field(
        graphql_type=QuotePayload, extensions=[AsData()],
        description="Promises price and agreements for five minutes; takes and holds nothing.",
    )  # fmt: skip
    async def quote_redemption(self, info: Info, input: QuoteInput) -> DomainQuote:  # noqa: A002
        """Quote through the partner that asks, or through which the member asks."""
        context = info.context
        whose = await _allowed_redeemer(context, input)
        return await context.services.ledger.quote(
            Redeem(
                id=secrets.token_hex(12), fingerprint="", partner=context.partner, whose=whose,
                benefit=context.ids.open(Kind.BENEFIT, input.benefit), quantity=input.quantity,
                region=_region(context, input), by_member=context.is_member,
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=RedemptionActionPayload, extensions=[AsData()],
        description="Takes what a reservation holds, all of it or `quantity` units; the rest is let go.",
    )  # fmt: skip
    async def confirm_redemption(self, info: Info, input: RedemptionActionInput) -> Outcome:  # noqa: A002
        """Confirm as its channel, or as its member."""
        return await _act(info.context, Step.CONFIRM, "confirmRedemption", input)

    @strawberry.field(
        graphql_type=RedemptionActionPayload, extensions=[AsData()], description="Lets go what a reservation holds."
    )
    async def cancel_redemption(self, info: Info, input: RedemptionActionInput) -> Outcome:  # noqa: A002
        """Cancel as its channel, or as its member."""
        return await _act(info.context, Step.CANCEL, "cancelRedemption", input)

    @strawberry.field(
        graphql_type=RedemptionActionPayload, extensions=[AsData()], description="Says that the partner has delivered."
    )
    async def fulfil_redemption(self, info: Info, input: RedemptionActionInput) -> Outcome:  # noqa: A002
        """Fulfil as its provider, or as the exchange."""
        return await _act(info.context, Step.FULFIL, "fulfilRedemption", input)

    @strawberry.field(
        graphql_type=RedemptionActionPayload, extensions=[AsData()],
        description="Says that the partner cannot deliver: points and money go back by themselves.",
    )  # fmt: skip
    async def fail_redemption(self, info: Info, input: RedemptionActionInput) -> Outcome:  # noqa: A002
        """Fail as its provider, or as the exchange."""
        return await _act(info.context, Step.FAIL, "failRedemption", input)

    @strawberry.field(
        graphql_type=RedemptionActionPayload, extensions=[AsData()],
        description="Gives points and money back, all of it or `quantity` units, into the very lots they came from.",
    )  # fmt: skip
    async def reverse_redemption(self, info: Info, input: RedemptionActionInput) -> Outcome:  # noqa: A002
        """Reverse as its provider, or as the exchange."""
        return await _act(info.context, Step.REVERSE, "reverseRedemption", input)

    @strawberry.field(
        graphql_type=CreateLinkCodePayload, extensions=[AsData()],
        description="Lets the member give a second partner access to its points.",
    )  # fmt: skip
    async def create_link_code(self, info: Info, input: CreateLinkCodeInput) -> DomainLinkCode:  # noqa: A002
        """Make a code for the asking member's wallet."""
        context = info.context
        limit = sent(input.daily_limit)
        if limit is not None and limit < 1:
            raise ValidationFailed("must be at least 1", ("input", "dailyLimit"))
        wallet = await own_wallet(context)
        partner = await context.partner_named(input.partner, "partner")
        _refuse_more_than_it_has(wallet, context.partner, partner or "", limit)
        return await context.services.members.create_link_code(wallet.id, partner or "", limit)

    @strawberry.field(
        graphql_type=UnlinkPartnerPayload,
        extensions=[AsData()],
        description="Ends a partner's access to the member's points.",
    )
    async def unlink_partner(self, info: Info, input: UnlinkPartnerInput) -> Outcome:  # noqa: A002
        """End a link of the asking member."""
        context = info.context
        wallet = await own_wallet(context)
        ledger, once = context.services.ledger, secrets.token_hex(16)
        return await ledger.submit(
            Unlink(
                # Ending a link needs no key: asked again, there is no link any more.
                id=ledger.entry_id(context.partner, context.principal.subject, "unlinkPartner", once),
                fingerprint="", partner=context.partner, whose=ByWallet(wallet.id),
                ended=context.ids.open(Kind.PARTNER, input.partner),
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=LinkMemberPayload, extensions=[AsData()],
        description="Makes the asking partner's reference mean the member who gave it the code.",
    )  # fmt: skip
    async def link_member(self, info: Info, input: LinkMemberInput) -> Outcome:  # noqa: A002
        """Redeem a link code; it is its own idempotency key."""
        check_reference_text(input.reference, "input", "reference")
        context = info.context
        context.require_of_mutation("points:award")
        link = await context.services.members.find_link_code(input.code, context.partner)
        command = LinkMember(
            id=context.services.ledger.entry_id(context.partner, "server", "linkMember", input.code),
            fingerprint=fingerprint(input), partner=context.partner,
            whose=None if link is None else ByWallet(link.wallet), reference=input.reference,
            daily_limit=None if link is None else link.daily_limit,
            code_made_at=await context.now() if link is None else link.made_at,
            code_expires_at=await context.now() if link is None else link.expires_at,
        )  # fmt: skip
        try:
            return await context.services.ledger.submit(command)
        except IdempotencyConflict:
            raise ValidationFailed("was used already", ("input", "code")) from None

    @strawberry.field(
        graphql_type=SetAgreementPayload, extensions=[AsData()], description="Adds a version of an agreement."
    )
    async def set_agreement(self, info: Info, input: SetAgreementInput) -> terms.Agreement:  # noqa: A002
        """Add it as the exchange's administrator."""
        price = input.price_per_1000_points.money("input", "pricePer1000Points")
        terms.validate_terms(price, input.fee_basis_points, input.commission_basis_points)
        context = info.context
        now, since = await context.now(), sent(input.effective_from)
        if since is not None and since < now - BACKDATING_MAX:
            raise ValidationFailed(
                "must not be in the past: what was redeemed is priced already", ("input", "effectiveFrom")
            )
        context.require_of_mutation("admin")
        return await context.services.terms.add(
            terms.Agreement(
                id="", version=0, price_per_1000_points=price, fee_basis_points=input.fee_basis_points,
                commission_basis_points=input.commission_basis_points, effective_from=max(since or now, now),
                issuer=await context.partner_named(sent(input.issuer), "issuer"),
                provider=await context.partner_named(sent(input.provider), "provider"),
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=ClosePeriodPayload, extensions=[AsData()],
        description="Cuts the period in every lane and drafts its statements; repeated, it is the same success.",
    )  # fmt: skip
    async def close_period(self, info: Info, input: ClosePeriodInput) -> Closed:  # noqa: A002
        """Close it, or go on closing it."""
        info.context.require_of_mutation("finance:prepare")
        settlement = info.context.services.settlement
        period = await settlement.close(input.number)
        return Closed(period, await settlement.period(input.number + 1))


# ---------------------------------------------------------------- who asks, and for whom


async def _taking(context: Context, operation: str, asked: RedeemBenefitInput) -> dict[str, Any]:
    """Return what a redemption and a reservation have in common, once shape and scope are checked."""
    whose = await _allowed_redeemer(context, asked)
    return {
        **request(context, operation, asked),
        "whose": whose,
        "benefit": context.ids.open(Kind.BENEFIT, asked.benefit),
        "quantity": asked.quantity,
        "expected_points": sent(asked.expected_points),
        # An id that is none of a quote is as unknown as one that is gone.
        "quote": None if sent(asked.quote) is None else context.ids.open(Kind.QUOTE, asked.quote) or "",
        "region": _region(context, asked),
        "by_member": context.is_member,
    }


async def _allowed_redeemer(context: Context, asked: QuoteInput) -> Whose:
    asked.check()
    whose = await speaker(context, asked.member or None)
    context.require_of_mutation("points:redeem" if context.is_member else "redemptions:redeem")
    return whose


def _region(context: Context, asked: QuoteInput) -> str | None:
    region: str | None = context.principal.region if context.is_member else sent(asked.region)
    return region


async def _act(context: Context, step: Step, operation: str, asked: RedemptionActionInput) -> Outcome:
    """Take a step: the channel or its member until it is confirmed, the provider or the exchange afterwards."""
    asked.check(step)
    by_channel = step in (Step.CONFIRM, Step.CANCEL)
    if by_channel:
        context.require_of_mutation("points:redeem" if context.is_member else "redemptions:redeem")
    else:
        context.require_of_mutation("redemptions:fulfil", "admin")
    wallet = await context.own_wallet() if context.is_member else None
    by_exchange = context.is_staff and not by_channel
    return await context.services.ledger.submit(
        Act(
            **request(context, operation, asked) | ({"partner": EXCHANGE} if by_exchange else {}), whose=None,
            redemption=context.ids.open(Kind.REDEMPTION, asked.redemption), step=step, quantity=sent(asked.quantity),
            reason=asked.reason or None, by_exchange=by_exchange,
            by_wallet=(wallet.id if wallet else "") if context.is_member else None,
        )
    )  # fmt: skip


def _refuse_more_than_it_has(wallet: DomainWallet, through: str, partner: str, limit: int | None) -> None:
    """Refuse a code by which the partner that the member comes through would lift a limit the member set on it.

    That partner can sign assertions for the member whenever it likes: it must not widen its own link, nor lend out
    more than it may spend itself.
    """
    if partner == through:
        raise ValidationFailed("is the one you come through: ask through another", ("input", "partner"))
    link = wallet.link(through)
    most = None if link is None else link.daily_limit
    if most is not None and (limit is None or limit > most):
        raise ValidationFailed(
            f"must be at most {most}, the limit of the link you come through", ("input", "dailyLimit")
        )
