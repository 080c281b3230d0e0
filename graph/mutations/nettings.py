"""Nettings recorded, the standing policy that they go by, and the rates that they convert by."""

from __future__ import annotations

import asyncio
from typing import Annotated, NamedTuple

import strawberry
from strawberry import Parent

from exchange.errors import ValidationFailed
from exchange.settlement import fixes
from exchange.settlement.ecb import fixes_of
from exchange.settlement.recorded import StandingPolicy
from exchange.settlement.recording import Asked, Recorded
from graph import refusals
from graph.context import Info
from graph.inputs import fingerprint, sent
from graph.inputs.nettings import ImportFixesInput, RecordNettingInput, SetNettingPolicyInput, least
from graph.mutations.outcomes import Repeatable
from graph.nettings import Fix, Netting, NettingPolicy, Shown, shown, standing_of, wish_of
from graph.refusals import AsData, Forbidden, ValidationError, VersionConflict, made_of
from partners.oauth.seals import seal_of


class FixesImported(NamedTuple):
    """What came of a file. `known`: those that were there."""

    added: int
    known: int
    first: fixes.Fix
    last: fixes.Fix


@strawberry.type(description="The netting is recorded.")
class RecordNettingSuccess(Repeatable):
    """exchange.settlement.recording.Recorded."""

    is_type_of = made_of(Recorded)

    @strawberry.field(graphql_type=Netting, description="As it was recorded.")
    def netting(root: Parent[Recorded], info: Info) -> Shown:
        """Show it."""
        return shown(info.context, root.netting)


@strawberry.type(description="The rates are there.")
class ImportFixesSuccess:
    """graph.mutations.nettings.FixesImported."""

    is_type_of = made_of(FixesImported)
    added: int = strawberry.field(description="How many days are new.")
    known: int = strawberry.field(description="How many were there already, and say the same.")
    first: Fix = strawberry.field(description="The oldest of the file.")
    last: Fix = strawberry.field(description="The newest of the file.")


RecordNettingPayload = Annotated[
    RecordNettingSuccess | ValidationError | refusals.IdempotencyConflict | refusals.NotFound | Forbidden,
    strawberry.union("RecordNettingPayload", description="What came of recording a netting."),
]
SetNettingPolicyPayload = Annotated[
    NettingPolicy | ValidationError | VersionConflict | refusals.NotFound | Forbidden,
    strawberry.union("SetNettingPolicyPayload", description="What came of setting the standing policy."),
]
ImportFixesPayload = Annotated[
    ImportFixesSuccess | ValidationError | Forbidden,
    strawberry.union("ImportFixesPayload", description="What came of importing rates."),
]


@strawberry.type
class NettingMutations:
    """Mutations of netting."""

    @strawberry.field(
        graphql_type=RecordNettingPayload, extensions=[AsData()],
        description="Nets a closed period and records it, once and for ever: the next takes in what it carries.",
    )  # fmt: skip
    async def record_netting(self, info: Info, input: RecordNettingInput) -> Recorded:  # noqa: A002
        """Record it as finance that prepares."""
        input.check()
        context = info.context
        context.require_of_mutation("finance:prepare")
        services = context.services
        asked = Asked(
            period=input.period, wish=await wish_of(context, input), actor=context.principal.subject,
            fingerprint=fingerprint(input),
            # Whoever of the staff repeats it: it is recorded once.
            key=services.keyring.digest("netting", input.idempotency_key),
        )  # fmt: skip
        return await services.recording.record(asked, seal_of(services.keys.signing()))

    @strawberry.field(
        graphql_type=SetNettingPolicyPayload, extensions=[AsData()],
        description="Sets how periods are netted unless somebody wishes otherwise; what changes nothing adds no "
        "version.",
    )  # fmt: skip
    async def set_netting_policy(self, info: Info, input: SetNettingPolicyInput) -> StandingPolicy:  # noqa: A002
        """Set it as the exchange's administrator."""
        least(input.minimums)
        context = info.context
        context.require_of_mutation("admin")
        wished = await standing_of(context, input)
        return await context.services.recording.set_standing(wished, sent(input.expected_version))

    @strawberry.field(
        graphql_type=ImportFixesPayload, extensions=[AsData()],
        description="Imports the European Central Bank's rates. A day that is there already stays as it is; a file "
        "that says otherwise of one is refused, and nothing of it is imported.",
    )  # fmt: skip
    async def import_fixes(self, info: Info, input: ImportFixesInput) -> FixesImported:  # noqa: A002
        """Import them as finance that prepares, or as the exchange's administrator."""
        info.context.require_of_mutation("finance:prepare", "admin")
        try:
            found = await asyncio.to_thread(fixes_of, input.content.encode())
            added = await info.context.services.fixes.add(found)
        except ValidationFailed as refusal:
            raise ValidationFailed(refusal.message, ("input", "content")) from None
        return FixesImported(added, len(found) - added, found[0], found[-1])
