"""What finance does about a statement, and how many have to approve one."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import Parent

from exchange.settlement import signoff, statement
from exchange.settlement.signoff import Asked, SignOffStep
from exchange.store.signoff import Signed
from graph import refusals
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import fingerprint, sent
from graph.inputs.settlement import RecordPaymentInput, SetSignOffPolicyInput, SignStatementInput
from graph.mutations.outcomes import Repeatable
from graph.refusals import AsData, Forbidden, ValidationError, VersionConflict, made_of
from graph.settlement import SignOffPolicy, Statement


@strawberry.type(description="The step is done.")
class SignStatementSuccess(Repeatable):
    """exchange.store.signoff.Signed."""

    is_type_of = made_of(Signed)

    @strawberry.field(graphql_type=Statement, description="The statement, as it now stands.")
    def statement(root: Parent[Signed]) -> statement.Statement:
        """Show it."""
        return root.statement


SignStatementPayload = Annotated[
    SignStatementSuccess
    | ValidationError
    | refusals.IdempotencyConflict
    | refusals.NotFound
    | refusals.InvalidSignOff
    | Forbidden,
    strawberry.union("SignStatementPayload", description="What came of a step of the sign-off."),
]
SetSignOffPolicyPayload = Annotated[
    SignOffPolicy | ValidationError | VersionConflict | Forbidden,
    strawberry.union("SetSignOffPolicyPayload", description="What came of setting the policy."),
]


@strawberry.type
class SignOffMutations:
    """Mutations of the sign-off."""

    @strawberry.field(
        graphql_type=SignStatementPayload, extensions=[AsData()],
        description="Says that a draft, or a statement that was sent back, is right. Whoever does cannot approve it.",
    )  # fmt: skip
    async def review_statement(self, info: Info, input: SignStatementInput) -> Signed:  # noqa: A002
        """Review it as finance that prepares."""
        return await _sign(info.context, SignOffStep.REVIEW, input, "finance:prepare")

    @strawberry.field(
        graphql_type=SignStatementPayload, extensions=[AsData()],
        description="Approves a reviewed statement. A great amount needs several people: it is REVIEWED until then.",
    )  # fmt: skip
    async def approve_statement(self, info: Info, input: SignStatementInput) -> Signed:  # noqa: A002
        """Approve it as finance that approves."""
        return await _sign(info.context, SignOffStep.APPROVE, input, "finance:approve")

    @strawberry.field(
        graphql_type=SignStatementPayload, extensions=[AsData()],
        description="Sends back a statement that is not instructed yet, with a note that says why.",
    )  # fmt: skip
    async def reject_statement(self, info: Info, input: SignStatementInput) -> Signed:  # noqa: A002
        """Reject it as anybody of finance who signs."""
        return await _sign(info.context, SignOffStep.REJECT, input, "finance:approve", "finance:prepare")

    @strawberry.field(
        graphql_type=SignStatementPayload, extensions=[AsData()],
        description="Fixes what is due of an approved statement: it is under way. Where nothing is, it is paid then.",
    )  # fmt: skip
    async def instruct_statement(self, info: Info, input: SignStatementInput) -> Signed:  # noqa: A002
        """Instruct it as finance that prepares."""
        return await _sign(info.context, SignOffStep.INSTRUCT, input, "finance:prepare")

    @strawberry.field(
        graphql_type=SignStatementPayload, extensions=[AsData()],
        description="Records a payment of an instructed statement, once; never more than what is left of what is due.",
    )  # fmt: skip
    async def record_payment(self, info: Info, input: RecordPaymentInput) -> Signed:  # noqa: A002
        """Record it as finance that prepares."""
        input.check()
        amount = input.amount.money("input", "amount")
        context = info.context
        context.require_of_mutation("finance:prepare")
        asked = Asked(
            step=SignOffStep.PAY, statement=_identity(context, input.statement), hash=input.hash, amount=amount,
            actor=context.principal.subject, note=input.reference, fingerprint=fingerprint(input),
            # Whoever of the staff repeats it: the money went once.
            key=context.services.keyring.digest("sign-off", "", SignOffStep.PAY, input.idempotency_key),
        )  # fmt: skip
        return await context.services.sign_off.sign(asked)

    @strawberry.field(
        graphql_type=SignStatementPayload, extensions=[AsData()],
        description="Says that the payments are found in the bank's books. Whoever recorded one cannot.",
    )  # fmt: skip
    async def reconcile_statement(self, info: Info, input: SignStatementInput) -> Signed:  # noqa: A002
        """Reconcile it as anybody of finance who signs."""
        return await _sign(info.context, SignOffStep.RECONCILE, input, "finance:approve", "finance:prepare")

    @strawberry.field(
        graphql_type=SetSignOffPolicyPayload, extensions=[AsData()],
        description="Sets from what net on a statement needs how many approvers; what changes nothing adds no version.",
    )  # fmt: skip
    async def set_sign_off_policy(self, info: Info, input: SetSignOffPolicyInput) -> signoff.Policy:  # noqa: A002
        """Set it as the exchange's administrator."""
        tiers = input.checked()
        context = info.context
        context.require_of_mutation("admin")
        actor = context.principal.subject
        policy = await context.services.sign_off.set_policy(tiers, actor, sent(input.expected_version))
        context.forget_sign_off_policy()
        return policy


async def _sign(context: Context, step: SignOffStep, asked: SignStatementInput, *scopes: str) -> Signed:
    asked.check(note_needed=step is SignOffStep.REJECT)
    context.require_of_mutation(*scopes)
    actor = context.principal.subject
    return await context.services.sign_off.sign(
        Asked(
            step=step,
            statement=_identity(context, asked.statement),
            hash=asked.hash,
            actor=actor,
            note=sent(asked.note),
            fingerprint=fingerprint(asked),
            key=context.services.keyring.digest("sign-off", actor, step, asked.idempotency_key),
        )
    )


def _identity(context: Context, sealed: str) -> str:
    return context.ids.open(Kind.STATEMENT, sealed) or ""
