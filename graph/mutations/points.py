"""What happens to points besides being awarded and redeemed: reversal, more time, goodwill, freezing, gifts."""

from __future__ import annotations

from typing import Annotated

import strawberry
from strawberry import Parent

from exchange.batch import Outcome
from exchange.commands import Adjust, ByWallet, Extend, Freeze, Give, ReverseAward, Whose
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE
from exchange.wallet import Lot as DomainLot
from exchange.wallet import Wallet as DomainWallet
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import (
    AdjustPointsInput,
    ExtendPointsInput,
    FreezeLotInput,
    FreezeMemberInput,
    GivePointsInput,
    ReverseAwardInput,
    sent,
)
from graph.mutations.asking import request, speaker, whose_of, whose_of_partner
from graph.mutations.outcomes import OfMember, OfWallet, Refused, Repeatable
from graph.refusals import AsData, made_of
from graph.scalars import Points
from graph.types import Lot, Member


@strawberry.type(description="Something that concerns one lot.")
class _OfLot:
    @strawberry.field(graphql_type=Lot | None, description="The lot, as it now stands.")
    def lot(root: Parent[Outcome]) -> DomainLot | None:
        """Find what the entry is about."""
        return root.wallet.lot(root.entry.detail.get("lot", root.entry.id))


@strawberry.type(description="The points are the issuer's again.")
class ReverseAwardSuccess(Repeatable, OfWallet, OfMember, _OfLot):
    """exchange.ledger.Outcome of a reversal."""

    is_type_of = made_of(Outcome)

    @strawberry.field(description="How many were taken.")
    def taken(root: Parent[Outcome]) -> Points:
        """Add up what left the lot."""
        return Points(sum(posting.amount for posting in root.entry.postings if posting.lot is None))

    @strawberry.field(description="How many were gone, and are now owed: the next awards repay them.")
    def debt(root: Parent[Outcome]) -> Points:
        """Read it from the entry."""
        return Points(int(root.entry.detail.get("debt", "0")))


@strawberry.type(description="The points are as they should be.")
class PointsSuccess(Repeatable, OfWallet, _OfLot):
    """exchange.ledger.Outcome of an extension, an adjustment or a freezing."""

    is_type_of = made_of(Outcome)

    @strawberry.field(
        graphql_type=Member | None,
        description="The member, as this partner knows it; null for a lot in a household's pool.",
    )
    def member(root: Parent[Outcome]) -> DomainWallet | None:
        """Show whom the points belong to: a pool, which no partner links, is nobody."""
        return root.wallet if root.wallet.links else None


@strawberry.type(description="The points are the other member's.")
class GivePointsSuccess(Repeatable, OfWallet, OfMember):
    """exchange.ledger.Outcome of a gift; the wallet is the giver's."""

    is_type_of = made_of(Outcome)


ReverseAwardPayload = Annotated[
    ReverseAwardSuccess | Refused,
    strawberry.union("ReverseAwardPayload", description="What came of taking an award back."),
]
PointsPayload = Annotated[
    PointsSuccess | Refused,
    strawberry.union("PointsPayload", description="What came of changing a member's points."),
]
GivePointsPayload = Annotated[
    GivePointsSuccess | Refused,
    strawberry.union("GivePointsPayload", description="What came of giving points to another member."),
]


@strawberry.type
class PointsMutations:
    """Mutations of members' points."""

    @strawberry.field(
        graphql_type=ReverseAwardPayload, extensions=[AsData()],
        description="Takes an award back, by the issuer's rule for what is spent already.",
    )  # fmt: skip
    async def reverse_award(self, info: Info, input: ReverseAwardInput) -> Outcome:  # noqa: A002
        """Take it as the issuer that asks."""
        input.check()
        info.context.require_of_mutation("points:award")
        lot, whose = await _lot(info.context, input.lot)
        return await info.context.services.ledger.submit(
            ReverseAward(
                **request(info.context, "reverseAward", input), whose=whose, lot=lot, points=sent(input.points),
                reason=input.reason or None,
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=PointsPayload, extensions=[AsData()], description="Gives what is left of an award more time."
    )
    async def extend_points(self, info: Info, input: ExtendPointsInput) -> Outcome:  # noqa: A002
        """Extend as the issuer that asks."""
        input.check()
        info.context.require_of_mutation("points:award")
        lot, whose = await _lot(info.context, input.lot)
        return await info.context.services.ledger.submit(
            Extend(
                **request(info.context, "extendPoints", input), whose=whose, lot=lot, expires_at=input.expires_at,
                reason=input.reason or None,
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=PointsPayload, extensions=[AsData()],
        description="Goodwill: gives or takes points of the asking partner, on an account of its own.",
    )  # fmt: skip
    async def adjust_points(self, info: Info, input: AdjustPointsInput) -> Outcome:  # noqa: A002
        """Adjust as the issuer that asks."""
        input.check()
        info.context.require_of_mutation("points:award")
        return await info.context.services.ledger.submit(
            Adjust(
                **request(info.context, "adjustPoints", input), whose=whose_of(info.context, input.member),
                points=input.points, reason=input.reason, actor=input.actor, expires_at=sent(input.expires_at),
            )
        )  # fmt: skip

    @strawberry.field(
        graphql_type=PointsPayload, extensions=[AsData()], description="Stops spending out of one lot: nothing is lost."
    )
    async def freeze_lot(self, info: Info, input: FreezeLotInput) -> Outcome:  # noqa: A002
        """Freeze as its issuer, or as the exchange."""
        return await _freeze_lot(info.context, input, "freezeLot", frozen=True)

    @strawberry.field(
        graphql_type=PointsPayload, extensions=[AsData()], description="Lets a lot that was frozen be spent again."
    )
    async def unfreeze_lot(self, info: Info, input: FreezeLotInput) -> Outcome:  # noqa: A002
        """Let it go on as its issuer, or as the exchange."""
        return await _freeze_lot(info.context, input, "unfreezeLot", frozen=False)

    @strawberry.field(
        graphql_type=PointsPayload, extensions=[AsData()],
        description="Stops all spending by a member: it can still receive, and nothing is lost.",
    )  # fmt: skip
    async def freeze_member(self, info: Info, input: FreezeMemberInput) -> Outcome:  # noqa: A002
        """Freeze as the exchange."""
        return await _freeze_member(info.context, input, "freezeMember", frozen=True)

    @strawberry.field(
        graphql_type=PointsPayload, extensions=[AsData()], description="Lets a member that was frozen spend again."
    )
    async def unfreeze_member(self, info: Info, input: FreezeMemberInput) -> Outcome:  # noqa: A002
        """Let it go on as the exchange."""
        return await _freeze_member(info.context, input, "unfreezeMember", frozen=False)

    @strawberry.field(
        graphql_type=GivePointsPayload, extensions=[AsData()],
        description="Gives points to another member of the same partner, within what their issuers allow a day.",
    )  # fmt: skip
    async def give_points(self, info: Info, input: GivePointsInput) -> Outcome:  # noqa: A002
        """Give as the member that asks, or that a partner's server names."""
        input.check()
        context = info.context
        whose = await speaker(context, input.member or None)
        context.require_of_mutation("points:redeem" if context.is_member else "redemptions:redeem")
        return await context.services.ledger.submit(
            Give(
                **request(context, "givePoints", input), whose=whose, to=whose_of(context, input.to),
                points=input.points, reason=input.reason or None, by_member=context.is_member,
            )
        )  # fmt: skip


async def _lot(context: Context, sealed: str) -> tuple[str | None, Whose]:
    """Return the lot behind an id, and the wallet that has it."""
    lot = context.ids.open(Kind.LOT, sealed)
    wallet = None if lot is None else await context.services.members.owner_of_lot(lot)
    return lot, None if wallet is None else ByWallet(wallet)


async def _freeze_lot(context: Context, asked: FreezeLotInput, operation: str, *, frozen: bool) -> Outcome:
    asked.check()
    actor = sent(asked.actor)
    if context.is_staff and actor is not None:
        raise ValidationFailed("whoever asks has decided it: leave it out", ("input", "actor"))
    if not context.is_staff and actor is None:
        raise ValidationFailed("a partner's server says who decided it", ("input", "actor"))
    context.require_of_mutation("points:award", "admin")
    lot, whose = await _lot(context, asked.lot)
    return await context.services.ledger.submit(
        Freeze(
            **_by(context, operation, asked), whose=whose, lot=lot or "", frozen=frozen, reason=asked.reason,
            actor=actor or context.principal.subject, by_exchange=context.is_staff,
        )
    )  # fmt: skip


async def _freeze_member(context: Context, asked: FreezeMemberInput, operation: str, *, frozen: bool) -> Outcome:
    asked.check()
    context.require_of_mutation("admin")
    whose = whose_of_partner(context, sent(asked.partner), asked.member)
    return await context.services.ledger.submit(
        Freeze(
            **_by(context, operation, asked), whose=whose, frozen=frozen, reason=asked.reason,
            actor=context.principal.subject, by_exchange=True,
        )
    )  # fmt: skip


def _by(context: Context, operation: str, asked: FreezeLotInput | FreezeMemberInput) -> dict[str, str]:
    return request(context, operation, asked) | ({"partner": EXCHANGE} if context.is_staff else {})
