"""Barters added, and ended."""

from __future__ import annotations

from typing import Annotated

import strawberry

from exchange.errors import NotFound
from exchange.settlement import barter as terms
from exchange.settlement.barter import Seen, Version
from graph import refusals
from graph.barters import Barter
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import sent
from graph.inputs.barters import AddBarterInput, EndBarterInput
from graph.refusals import AsData, Forbidden, ValidationError

BarterPayload = Annotated[
    Barter | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("BarterPayload", description="What came of adding a barter, or of ending it."),
]


@strawberry.type
class BarterMutations:
    """Mutations of barter."""

    @strawberry.field(
        graphql_type=BarterPayload, extensions=[AsData()],
        description="Adds a barter, once: with the very same terms it is the same one.",
    )  # fmt: skip
    async def add_barter(self, info: Info, input: AddBarterInput) -> Seen:  # noqa: A002
        """Add it as the exchange's administrator."""
        currency, one_quota, other_quota = input.quotas()
        context, recording = info.context, info.context.services.recording
        context.require_of_mutation("admin")
        wished = terms.Barter(
            id="", one=await context.partner_named(input.one.partner, "one") or "",
            other=await context.partner_named(input.other.partner, "other") or "", currency=currency,
            one_quota=one_quota, other_quota=other_quota, until=input.until,
            since=sent(input.effective_from) or await recording.opened(),
        )  # fmt: skip
        return await _seen(
            context, await recording.barters.add(wished, sent(input.reference) or "", context.principal.subject)
        )

    @strawberry.field(
        graphql_type=BarterPayload, extensions=[AsData()],
        description="Ends a barter now: the difference falls due with the period that is open.",
    )  # fmt: skip
    async def end_barter(self, info: Info, input: EndBarterInput) -> Seen:  # noqa: A002
        """End it as the exchange's administrator."""
        context = info.context
        context.require_of_mutation("admin")
        identity = context.ids.open(Kind.BARTER, input.barter) or ""
        try:
            ended = await context.services.recording.barters.end(identity, context.principal.subject)
        except NotFound:
            raise NotFound("no such barter", ("input", "barter")) from None
        return await _seen(context, ended)


async def _seen(context: Context, version: Version) -> Seen:
    return (await context.services.recording.seen([version]))[0]
