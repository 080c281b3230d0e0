"""What members do with a household's pool of points."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Annotated

import strawberry
from strawberry import Parent

from exchange.batch import Outcome
from exchange.commands import ByWallet, Share, Sharing, Whose
from exchange.errors import Forbidden as NotAllowed
from exchange.errors import IdempotencyConflict, NotFound, ValidationFailed
from exchange.journal import EntryKind
from exchange.store.members import Permit, Purpose
from exchange.wallet import Wallet as DomainWallet
from graph import refusals
from graph.context import Context, Info
from graph.inputs import HouseholdInput, InviteInput, JoinHouseholdInput, MemberBy, PoolInput, fingerprint
from graph.mutations.asking import request, speaker, wallet_named
from graph.mutations.outcomes import Refused, Repeatable
from graph.refusals import AsData, Forbidden, ValidationError, made_of
from graph.types import Member


@strawberry.type(description="The household is as it should be.")
class HouseholdSuccess(Repeatable):
    """exchange.ledger.Outcome of what a member does with its household."""

    is_type_of = made_of(Outcome)

    @strawberry.field(graphql_type=Member, description="The member who did it, as this partner knows it.")
    def member(root: Parent[Outcome]) -> DomainWallet:
        """Show the side that is a person's: a pool has members."""
        return root.other if root.other is not None and root.entry.kind is EntryKind.DRAW else root.wallet


@strawberry.type(description="What the member hands to whom it invites; shown this once.")
class Invitation:
    """exchange.store.members.Permit."""

    is_type_of = made_of(Permit)
    code: str = strawberry.field(description="Good once.")
    expires_at: datetime = strawberry.field(description="Until when it is good.")


HouseholdPayload = Annotated[
    HouseholdSuccess | Refused,
    strawberry.union("HouseholdPayload", description="What came of founding, joining, leaving, paying in or drawing."),
]
InvitePayload = Annotated[
    Invitation | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("InvitePayload", description="What came of inviting somebody."),
]


@strawberry.type
class HouseholdMutations:
    """Mutations of households."""

    @strawberry.field(
        graphql_type=HouseholdPayload, extensions=[AsData()],
        description="Founds a household: a pool of points that its members share.",
    )  # fmt: skip
    async def found_household(self, info: Info, input: HouseholdInput) -> Outcome:  # noqa: A002
        """Found it as the member that asks, or that a partner's server names."""
        input.check()
        asked = request(info.context, "foundHousehold", input)
        whose = await _allowed(info.context, input.member or None)
        # The pool is known by the entry that founded it.
        return await info.context.services.ledger.submit(
            Share(
                **asked, whose=whose, to=ByWallet(asked["id"]), what=Sharing.FOUND, by_member=info.context.is_member
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=InvitePayload, extensions=[AsData()],
        description="Makes a code with which one more member can join the household within a day.",
    )  # fmt: skip
    async def invite_to_household(self, info: Info, input: InviteInput) -> Permit:  # noqa: A002
        """Invite as a member of it."""
        input.check()
        whose = await _allowed(info.context, input.member or None)
        member = await wallet_named(info.context, whose)
        if member is None or not member.linked_to(info.context.partner):
            ended = NotAllowed("the member has ended its link to this partner")
            raise ended if info.context.is_member else NotFound("no such member", ("input", "member"))
        if member.household is None:
            raise NotFound("the member shares no household", ("input",))
        return await info.context.services.members.create_permit(Purpose.INVITATION, member.household)

    @strawberry.field(
        graphql_type=HouseholdPayload, extensions=[AsData()], description="Joins the household that invites."
    )
    async def join_household(self, info: Info, input: JoinHouseholdInput) -> Outcome:  # noqa: A002
        """Join as the member that asks, or that a partner's server names."""
        input.check()
        context = info.context
        whose = await _allowed(context, input.member or None)
        permit = await context.services.members.find_permit(Purpose.INVITATION, input.code)
        who = f"{context.partner} {context.principal.subject} {fingerprint(input)}"
        command = Share(
            id=context.services.ledger.entry_id("", "invitation", "joinHousehold", input.code),
            fingerprint=sha256(who.encode()).hexdigest(), partner=context.partner, whose=whose,
            to=None if permit is None else ByWallet(permit.wallet), what=Sharing.JOIN, by_member=context.is_member,
            invited_until=None if permit is None else permit.expires_at,
        )  # fmt: skip
        try:
            return await context.services.ledger.submit(command)
        except IdempotencyConflict:
            raise ValidationFailed("was used already", ("input", "code")) from None

    @strawberry.field(
        graphql_type=HouseholdPayload, extensions=[AsData()],
        description="Leaves the household; what was paid in stays with those who remain.",
    )  # fmt: skip
    async def leave_household(self, info: Info, input: HouseholdInput) -> Outcome:  # noqa: A002
        """Leave as a member of it."""
        return await _share(info.context, input, "leaveHousehold", Sharing.LEAVE)

    @strawberry.field(
        graphql_type=HouseholdPayload, extensions=[AsData()],
        description="Pays the member's points into the household's pool, within what their issuers let be given.",
    )  # fmt: skip
    async def pay_into_pool(self, info: Info, input: PoolInput) -> Outcome:  # noqa: A002
        """Pay in as a member of it."""
        return await _share(info.context, input, "payIntoPool", Sharing.PAY_IN)

    @strawberry.field(
        graphql_type=HouseholdPayload, extensions=[AsData()],
        description="Takes points out of the household's pool: the first to expire first.",
    )  # fmt: skip
    async def draw_from_pool(self, info: Info, input: PoolInput) -> Outcome:  # noqa: A002
        """Draw as a member of it."""
        return await _share(info.context, input, "drawFromPool", Sharing.DRAW)


async def _share(context: Context, asked: HouseholdInput, operation: str, what: Sharing) -> Outcome:
    asked.check()
    whose = await _allowed(context, asked.member or None)
    # The pool that it shares now: whether it still does, and whether it may, the ledger says, after the key.
    member = await wallet_named(context, whose)
    pool = None if member is None else member.household
    return await context.services.ledger.submit(
        Share(
            **request(context, operation, asked), whose=whose, to=None if pool is None else ByWallet(pool), what=what,
            points=asked.points if isinstance(asked, PoolInput) else 0, by_member=context.is_member,
        )
    )  # fmt: skip


async def _allowed(context: Context, member: MemberBy | None) -> Whose:
    whose = await speaker(context, member)
    context.require_of_mutation("points:redeem" if context.is_member else "redemptions:redeem")
    return whose
