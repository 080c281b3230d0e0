"""What partners and finance do in a dispute."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import Parent

from exchange.journal import EXCHANGE
from exchange.settlement import dispute
from exchange.settlement.dispute import Asked, DisputeStep
from exchange.settlement.disputing import Disputed, Opening
from graph import refusals
from graph.context import Context, Info
from graph.disputes import Dispute
from graph.identifiers import Kind
from graph.inputs import fingerprint, sent
from graph.inputs.settlement import DisputeActionInput, OpenDisputeInput, ResolveDisputeInput
from graph.mutations.outcomes import Repeatable
from graph.refusals import AsData, Forbidden, ValidationError, made_of


@strawberry.type(description="The step is done.")
class DisputeSuccess(Repeatable):
    """exchange.settlement.disputing.Disputed."""

    is_type_of = made_of(Disputed)

    @strawberry.field(graphql_type=Dispute, description="The dispute, as it now stands.")
    def dispute(root: Parent[Disputed]) -> dispute.Dispute:
        """Show it."""
        return root.dispute


DisputePayload = Annotated[
    DisputeSuccess
    | ValidationError
    | refusals.IdempotencyConflict
    | refusals.NotFound
    | refusals.InvalidDispute
    | Forbidden,
    strawberry.union("DisputePayload", description="What came of a step in a dispute."),
]


@strawberry.type
class DisputeMutations:
    """Mutations of disputes."""

    @strawberry.field(
        graphql_type=DisputePayload, extensions=[AsData()],
        description="Disputes a line of the caller's own statement. Its other side has 14 days to answer.",
    )  # fmt: skip
    async def open_dispute(self, info: Info, input: OpenDisputeInput) -> Disputed:  # noqa: A002
        """Open it as the partner whose statement the line is in."""
        input.check()
        claim = input.amount.money("input", "amount")
        context = info.context
        context.require_of_mutation("settlements:read")
        opening = Opening(
            statement=context.ids.open(Kind.STATEMENT, input.statement) or "", entry=input.entry, line=input.line,
            reason=input.reason, claim=claim,
        )  # fmt: skip
        return await context.services.disputing.open(opening, _asked(context, DisputeStep.OPEN, input))

    @strawberry.field(
        graphql_type=DisputePayload, extensions=[AsData()],
        description="Answers a dispute, or replies to an answer: each side in its turn. The third answer is the last.",
    )  # fmt: skip
    async def answer_dispute(self, info: Info, input: DisputeActionInput) -> Disputed:  # noqa: A002
        """Answer it as the side whose turn it is."""
        return await _step(info.context, DisputeStep.ANSWER, input, "settlements:read")

    @strawberry.field(
        graphql_type=DisputePayload, extensions=[AsData()],
        description="Ends a dispute as who opened it: nothing is adjusted.",
    )  # fmt: skip
    async def withdraw_dispute(self, info: Info, input: DisputeActionInput) -> Disputed:  # noqa: A002
        """Withdraw it as who opened it."""
        return await _step(info.context, DisputeStep.WITHDRAW, input, "settlements:read")

    @strawberry.field(
        graphql_type=DisputePayload, extensions=[AsData()],
        description="Ends a dispute as its other side: all that is claimed is adjusted.",
    )  # fmt: skip
    async def concede_dispute(self, info: Info, input: DisputeActionInput) -> Disputed:  # noqa: A002
        """Concede it as its other side."""
        return await _step(info.context, DisputeStep.CONCEDE, input, "settlements:read")

    @strawberry.field(
        graphql_type=DisputePayload, extensions=[AsData()],
        description="Decides a dispute that was answered. What is upheld is adjusted in the period that is open.",
    )  # fmt: skip
    async def resolve_dispute(self, info: Info, input: ResolveDisputeInput) -> Disputed:  # noqa: A002
        """Decide it as finance that approves."""
        step = DisputeStep.UPHOLD if input.upheld else DisputeStep.REJECT
        return await _step(info.context, step, input, "finance:approve")


async def _step(context: Context, step: DisputeStep, asked: DisputeActionInput, scope: str) -> Disputed:
    asked.check()
    award = sent(asked.amount) if isinstance(asked, ResolveDisputeInput) else None
    amount = None if award is None else award.money("input", "amount")
    context.require_of_mutation(scope)
    identity = context.ids.open(Kind.DISPUTE, asked.dispute) or ""
    wish = _asked(context, step, asked)
    return await context.services.disputing.step(identity, wish if amount is None else wish.awarding(amount))


def _asked(context: Context, step: DisputeStep, said: OpenDisputeInput | DisputeActionInput) -> Asked:
    party, actor = context.partner or EXCHANGE, context.principal.subject
    operation = "resolve" if party == EXCHANGE else step
    evidence = sent(said.evidence)
    return Asked(
        step=step, party=party, actor=actor, fingerprint=fingerprint(said), text=said.text,
        link=None if evidence is None else sent(evidence.link),
        digest=None if evidence is None else sent(evidence.sha256),
        key=context.services.keyring.digest("dispute", party, actor, operation, said.idempotency_key),
    )  # fmt: skip
