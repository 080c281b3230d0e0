"""The types of barter: its terms and where it stands, and what became of it in a netting.

`finance:view` and `admin` see all of them; under `settlements:read` a partner sees its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import strawberry
from strawberry import Parent

from exchange.amounts import Money as Amount
from exchange.settlement import barter, netting
from exchange.settlement.barter import Bartered, Seen, Stage
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.refusals import made_of
from graph.settlement import Payment
from graph.types import Money, the_partner


@strawberry.type(description="What the points of one partner may take at the other, and have taken.")
class BarterSide:
    """graph.barters.SeenSide."""

    issuer = the_partner("side.issuer", "Whose points.")
    provider = the_partner("side.provider", "Whose benefits.")

    @strawberry.field(graphql_type=Money, description="How much may be settled in kind.")
    def quota(root: Parent[SeenSide]) -> Amount:
        """Of the terms."""
        return root.side.quota

    @strawberry.field(graphql_type=Money | None, description="How much is used; null once it may have been settled.")
    def used(root: Parent[SeenSide]) -> Amount | None:
        """By the last recorded netting, or by the one that is shown."""
        return root.side.used if root.known else None

    @strawberry.field(graphql_type=Money | None, description="How much is left of the quota; null likewise.")
    def left(root: Parent[SeenSide]) -> Amount | None:
        """Subtract what is used."""
        return root.side.left if root.known else None

    @strawberry.field(graphql_type=Money | None, description="How much the netting settles in kind; else null.")
    def in_kind(root: Parent[SeenSide]) -> Amount | None:
        """Of a netting alone."""
        return root.side.in_kind if root.netted else None


class SeenSide(NamedTuple):
    """A side; whether what is used is `known`, and whether it is of a netting."""

    side: barter.Side
    known: bool
    netted: bool


@strawberry.type(description="Two partners settle with each other in kind, quota against quota.")
class Barter:
    """exchange.settlement.barter.Seen."""

    is_type_of = made_of(Seen)

    stage: Stage = strawberry.field(description="Where it stands.")

    @strawberry.field(description="Opaque.")
    def id(root: Parent[Seen], info: Info) -> strawberry.ID:
        """Seal it."""
        return strawberry.ID(info.context.ids.seal(Kind.BARTER, root.version.barter.id))

    @strawberry.field(description="Counts from 1; 2 is one that was ended early.")
    def version(root: Parent[Seen]) -> int:
        """Of the last version."""
        return root.version.version

    @strawberry.field(graphql_type=list[BarterSide], description="Both directions.")
    def sides(root: Parent[Seen]) -> list[SeenSide]:
        """With what is used by the last recorded netting."""
        return [SeenSide(side, root.balance is not None, netted=False) for side in root.so_far.sides()]

    @strawberry.field(
        graphql_type=Money | None,
        description="What the first has used, less what the other has; null once it may have been settled.",
    )
    def balance(root: Parent[Seen]) -> Amount | None:
        """By the last recorded netting."""
        return None if root.balance is None else root.so_far.difference

    @strawberry.field(description="Periods that are opened from then on belong to it.")
    def effective_from(root: Parent[Seen]) -> datetime:
        """Of the terms."""
        return root.version.barter.since

    @strawberry.field(description="When it ends, and the difference falls due.")
    def until(root: Parent[Seen]) -> datetime:
        """Of the terms."""
        return root.version.barter.until

    @strawberry.field(description="Of the contract.")
    def reference(root: Parent[Seen]) -> str | None:
        """Say nothing where nothing was said."""
        return root.version.reference or None

    @strawberry.field(description="When this version was recorded.")
    def recorded_at(root: Parent[Seen]) -> datetime:
        """Of the last version."""
        return root.version.at

    @strawberry.field(description="Who recorded it: an address, if still on the staff. Null to partners.")
    async def recorded_by(root: Parent[Seen], info: Info) -> str | None:
        """Show the exchange's own people to one another alone."""
        if not info.context.is_staff:
            return None
        return (await info.context.staff()).get(root.version.actor, root.version.actor)


@strawberry.type(description="What became of a barter in a netting.")
class NettingBarter:
    """exchange.settlement.barter.Bartered."""

    @strawberry.field(description="The barter's id.")
    def barter(root: Parent[Bartered], info: Info) -> strawberry.ID:
        """Seal it."""
        return strawberry.ID(info.context.ids.seal(Kind.BARTER, root.barter.id))

    @strawberry.field(graphql_type=list[BarterSide], description="Both directions, with what is settled in kind.")
    def sides(root: Parent[Bartered]) -> list[SeenSide]:
        """With what is used by then."""
        return [SeenSide(side, known=True, netted=True) for side in root.sides()]

    @strawberry.field(graphql_type=Money, description="What the first has used, less what the other has.")
    def balance(root: Parent[Bartered]) -> Amount:
        """As of this netting."""
        return root.difference

    @strawberry.field(description="Whether the difference is due in this netting.")
    def ended(root: Parent[Bartered]) -> bool:
        """Whether its time was over when the period was closed."""
        return root.due is not None

    @strawberry.field(graphql_type=Payment | None, description="The difference, part of the opening of both; if any.")
    def due(root: Parent[Bartered]) -> netting.Payment | None:
        """Who owes it."""
        return root.payment()


def own(context: Context) -> str | None:
    """Return whose barters the caller sees, None for everybody's; FORBIDDEN without a scope."""
    context.require("settlements:read", "finance:view", "admin")
    return None if context.is_staff else context.partner


async def barters(context: Context) -> list[Seen]:
    """List barters as they stand, the newest first."""
    recording = context.services.recording
    return await recording.seen(await recording.barters.last_versions(own(context)))


async def barter_of(context: Context, sealed: str) -> Seen | None:
    """Return one, if the caller may see it."""
    partner, recording = own(context), context.services.recording
    found = await recording.seen((await recording.barters.versions(context.ids.open(Kind.BARTER, sealed) or ""))[:1])
    return next((each for each in found if partner in (None, each.version.barter.one, each.version.barter.other)), None)
