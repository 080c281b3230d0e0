"""What partners may owe, and what they have paid."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import Parent

from exchange import exposure
from exchange.amounts import Money as Amount
from exchange.exposure import Funding, Pair, validate_cap, validate_payment
from exchange.store.headroom import Recorded
from graph import refusals
from graph.context import Info
from graph.inputs import fingerprint, sent
from graph.inputs.settlement import RecordFundingInput, SetExposureCapInput
from graph.refusals import AsData, Forbidden, ValidationError, VersionConflict, made_of
from graph.types import Exposure, Money, Partner
from partners import registry


@strawberry.type(description="The cap is set, or lifted.")
class SetExposureCapSuccess:
    """exchange.exposure.Cap."""

    is_type_of = made_of(exposure.Cap)
    version: int = strawberry.field(description="The version that it has now.")

    @strawberry.field(graphql_type=Exposure | None, description="Where the partner stands; null where it was lifted.")
    async def exposure(root: Parent[exposure.Cap], info: Info) -> exposure.Exposure | None:
        """Read it as it is now."""
        found = await info.context.services.headroom.exposures(root.partner)
        return next((each for each in found if each.in_force.pair == root.pair), None)


@strawberry.type(description="The payment is recorded.")
class RecordFundingSuccess:
    """exchange.store.headroom.Recorded."""

    is_type_of = made_of(Recorded)
    replayed: bool = strawberry.field(description="Whether it was recorded before.")

    @strawberry.field(graphql_type=Partner, description="Whose payment it is.")
    async def partner(root: Parent[Recorded], info: Info) -> registry.Partner:
        """Look it up."""
        return await info.context.partner_of(root.funding.partner)

    @strawberry.field(graphql_type=Money, description="How much.")
    def amount(root: Parent[Recorded]) -> Amount:
        """As it was recorded."""
        return root.funding.amount


SetExposureCapPayload = Annotated[
    SetExposureCapSuccess | ValidationError | VersionConflict | Forbidden | refusals.NotFound,
    strawberry.union("SetExposureCapPayload", description="What came of setting a cap."),
]
RecordFundingPayload = Annotated[
    RecordFundingSuccess | ValidationError | refusals.IdempotencyConflict | Forbidden | refusals.NotFound,
    strawberry.union("RecordFundingPayload", description="What came of recording a payment."),
]


@strawberry.type
class ExposureMutations:
    """Mutations of exposure."""

    @strawberry.field(
        graphql_type=SetExposureCapPayload, extensions=[AsData()],
        description="Sets how much a partner may owe; redemptions that lead beyond it are refused: ISSUER_LIMIT.",
    )  # fmt: skip
    async def set_exposure_cap(self, info: Info, input: SetExposureCapInput) -> exposure.Cap:  # noqa: A002
        """Set it as the exchange's administrator."""
        minor = input.minor("cap", sent(input.cap))
        low = input.minor("lowBalance", sent(input.low_balance))
        validate_cap(input.currency, minor, low)
        context = info.context
        context.require_of_mutation("admin")
        partner = await context.partner_named(input.partner, "partner") or ""
        return await context.services.headroom.set_cap(
            Pair(partner, input.currency), minor, low, actor=context.principal.subject,
            expected_version=sent(input.expected_version),
        )  # fmt: skip

    @strawberry.field(
        graphql_type=RecordFundingPayload, extensions=[AsData()],
        description="Records a payment, once: what a partner paid in adds to what it may still owe.",
    )  # fmt: skip
    async def record_funding(self, info: Info, input: RecordFundingInput) -> Recorded:  # noqa: A002
        """Record it as finance, or as the exchange's administrator."""
        input.check()
        amount = input.amount.money("input", "amount")
        validate_payment(amount)
        context = info.context
        context.require_of_mutation("finance:prepare", "admin")
        partner = await context.partner_named(input.partner, "partner") or ""
        services = context.services
        return await services.headroom.fund(
            Funding(
                # Whoever of the staff repeats it: the money came once.
                id=services.keyring.digest("funding", input.idempotency_key), partner=partner, amount=amount,
                reference=input.reference, actor=context.principal.subject, at=await context.now(),
                fingerprint=fingerprint(input),
            )
        )  # fmt: skip
