"""Asking for a statement's file."""

from __future__ import annotations

from typing import Annotated

import strawberry

from exchange.errors import NotFound
from exchange.journal import EXCHANGE
from exchange.settlement import exports
from graph import refusals
from graph.context import Info
from graph.exports import Export
from graph.identifiers import Kind
from graph.inputs.settlement import ExportStatementInput
from graph.refusals import AsData, Forbidden, ValidationError
from graph.settlement import own

ExportStatementPayload = Annotated[
    Export | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("ExportStatementPayload", description="What came of asking for a file."),
]


@strawberry.type
class ExportMutations:
    """Mutations of exports."""

    @strawberry.field(
        graphql_type=ExportStatementPayload, extensions=[AsData()],
        description="Has a statement written as a file, in the background. The same again is the same export, until it "
        "has failed or expired.",
    )  # fmt: skip
    async def export_statement(self, info: Info, input: ExportStatementInput) -> exports.Export:  # noqa: A002
        """Ask for it as whoever may read the statement."""
        context = info.context
        context.require_of_mutation("settlements:read", "finance:view")
        owner, services = own(context), context.services
        statement = await services.settlement.statement(context.ids.open(Kind.STATEMENT, input.statement) or "", owner)
        if statement is None:
            raise NotFound("no such statement", ("input", "statement"))
        return await services.exporting.ask(EXCHANGE if owner is None else owner, statement, input.wish())
