"""What the outcomes of several mutations have in common."""

from __future__ import annotations

import strawberry
from strawberry import Parent

from exchange.batch import Outcome
from exchange.redemption import Redemption as DomainRedemption
from exchange.wallet import Wallet as DomainWallet
from graph import refusals
from graph.context import Info
from graph.types import Member, Redemption, Wallet

Refused = (
    refusals.InsufficientPoints
    | refusals.IdempotencyConflict
    | refusals.ValidationError
    | refusals.NotFound
    | refusals.Forbidden
)
"""Why a change of a member's points is not carried out."""


@strawberry.type(description="Something that a key makes once for ever.")
class Repeatable:
    """Adds `replayed` to a success."""

    replayed: bool = strawberry.field(description="Whether this key had done it before.")


@strawberry.type(description="Something that concerns a member.")
class OfMember:
    """Adds `member` to a success."""

    @strawberry.field(graphql_type=Member, description="The member, as this partner knows it.")
    def member(root: Parent[Outcome]) -> DomainWallet:
        """Show the wallet's owner."""
        return root.wallet


@strawberry.type(description="Something that changes a wallet.")
class OfWallet:
    """Adds `wallet` to a success."""

    @strawberry.field(graphql_type=Wallet | None, description="The member's points; null without a link any more.")
    def wallet(root: Parent[Outcome], info: Info) -> DomainWallet | None:
        """Show it through an open link."""
        return root.wallet if root.wallet.linked_to(info.context.partner) else None


@strawberry.type(description="Something that concerns a redemption.")
class OfRedemption:
    """Adds `redemption` to a success."""

    @strawberry.field(graphql_type=Redemption, description="The redemption, as it now stands.")
    def redemption(root: Parent[Outcome]) -> DomainRedemption | None:
        """Show what was made, or taken a step on."""
        return root.redemption
