"""Two members who turn out to be one person, and the undoing of that."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Annotated

import strawberry

from exchange.batch import Outcome
from exchange.commands import ByReference, ByWallet, Merge, Unmerge, Whose
from exchange.decisions.merging import refuse_limited
from exchange.errors import IdempotencyConflict, ValidationFailed
from exchange.journal import EXCHANGE
from exchange.store.members import Permit, Purpose
from exchange.wallet import Wallet as DomainWallet
from graph import refusals
from graph.context import Context, Info
from graph.inputs import MergeMembersInput, UndoMergeInput, fingerprint, sent
from graph.mutations.asking import own_wallet, request, wallet_named, whose_of_partner
from graph.mutations.outcomes import Repeatable
from graph.refusals import AsData, Forbidden, ValidationError, made_of
from graph.types import Member


@strawberry.type(description="What the member who stays uses as the other one that it is; shown this once.")
class MergeCode:
    """exchange.store.members.Permit."""

    is_type_of = made_of(Permit)
    code: str = strawberry.field(description="Good once.")
    expires_at: datetime = strawberry.field(description="Until when it is good.")


@strawberry.type(description="The two are one member, or two again.")
class MergeMembersSuccess(Repeatable):
    """exchange.ledger.Outcome of a merge or of its undoing."""

    is_type_of = made_of(Outcome)

    @strawberry.field(
        graphql_type=Member, description="The member that asks, as it is now; to the exchange, the one that stays."
    )
    async def member(root: strawberry.Parent[Outcome], info: Info) -> DomainWallet:
        """Show whom the asking member's reference means now; or the one that took the other in, or let it go."""
        mine = await info.context.own_wallet()
        if mine is not None:
            return mine
        return root.other if root.other is not None and root.wallet.merged_into == root.other.id else root.wallet


CreateMergeCodePayload = Annotated[
    MergeCode | Forbidden,
    strawberry.union("CreateMergeCodePayload", description="What came of asking for a merge code."),
]
MergeMembersPayload = Annotated[
    MergeMembersSuccess | refusals.IdempotencyConflict | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("MergeMembersPayload", description="What came of merging two members, or of undoing it."),
]


@strawberry.type
class MergingMutations:
    """Mutations of who is who."""

    @strawberry.field(
        graphql_type=CreateMergeCodePayload, extensions=[AsData()],
        description="Makes a code with which the same person, as another member, becomes this one: for ten minutes.",
    )  # fmt: skip
    async def create_merge_code(self, info: Info) -> Permit:
        """Make it for the asking member's wallet."""
        context = info.context
        wallet = await own_wallet(context)
        refuse_limited(wallet, context.partner)
        return await context.services.members.create_permit(Purpose.MERGE, wallet.id, context.partner)

    @strawberry.field(
        graphql_type=MergeMembersPayload, extensions=[AsData()],
        description="Makes the asking member the one that has the code: its points, links and limits go over.",
    )  # fmt: skip
    async def merge_members(self, info: Info, input: MergeMembersInput) -> Outcome:  # noqa: A002
        """Merge as the member that asks; the code is its own idempotency key."""
        context = info.context
        context.require_of_mutation("points:redeem")
        permit = await context.services.members.find_permit(Purpose.MERGE, input.code)
        who = f"{context.partner} {context.principal.subject} {fingerprint(input)}"
        command = Merge(
            id=context.services.ledger.entry_id("", "merge", "mergeMembers", input.code),
            fingerprint=sha256(who.encode()).hexdigest(), partner=context.partner,
            whose=ByReference(context.partner, context.principal.member or ""),
            to=None if permit is None else ByWallet(permit.wallet),
            permitted_until=None if permit is None else permit.expires_at,
            permitted_through="" if permit is None else permit.through,
        )  # fmt: skip
        try:
            return await _carried_out(context, command)
        except IdempotencyConflict:
            raise ValidationFailed("was used already", ("input", "code")) from None

    @strawberry.field(
        graphql_type=MergeMembersPayload, extensions=[AsData()],
        description="Lets the member that was merged last go its own way again, if none of its points are spent.",
    )  # fmt: skip
    async def undo_merge(self, info: Info, input: UndoMergeInput) -> Outcome:  # noqa: A002
        """Undo it as the member, or as the exchange for one."""
        input.check()
        context = info.context
        context.require_of_mutation("points:redeem", "admin")
        whose, wallet = await _merged(context, input)
        record = None if wallet is None or not wallet.absorbed else wallet.absorbed[-1]
        by = {"partner": EXCHANGE} if context.is_staff else {}
        return await _carried_out(
            context,
            Unmerge(
                **request(context, "undoMerge", input) | by, whose=whose, by_exchange=context.is_staff,
                to=None if record is None else ByWallet(record.wallet), reason=input.reason or None,
            ),
        )  # fmt: skip


async def _carried_out(context: Context, command: Merge | Unmerge) -> Outcome:
    outcome = await context.services.ledger.submit(command)
    context.forget_wallet()
    return outcome


async def _merged(context: Context, asked: UndoMergeInput) -> tuple[Whose, DomainWallet | None]:
    """Return whose merge is to be undone: the asking member's, or that of the one whom the exchange names."""
    if context.is_member:
        if asked.member or asked.partner:
            raise ValidationFailed("a member undoes its own: leave it out", ("input", "member"))
        own = ByReference(context.partner, context.principal.member or "")
        return own, await context.services.members.wallet_of(own)
    if not asked.member:
        raise ValidationFailed("the exchange says whose", ("input", "member"))
    whose = whose_of_partner(context, sent(asked.partner), asked.member)
    return whose, await wallet_named(context, whose)
