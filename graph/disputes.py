"""The types of disputes: seen by the two partners of the line and by finance, and by nobody else.

Each side is told of the line what its own statement says as well: never the other's net, which can hold a fee.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import Parent

from exchange.amounts import Money as Amount
from exchange.benefit import Benefit as DomainBenefit
from exchange.settlement import dispute
from exchange.settlement import period as settlement_period
from exchange.settlement.clearing import entry_name
from graph.context import Context, Info
from graph.enums import DisputeReason, DisputeStatus, DisputeStep, LineKind
from graph.identifiers import Kind
from graph.inputs import sent
from graph.paging import Page, page
from graph.refusals import made_of
from graph.settlement import Period, own
from graph.types import Benefit, Money, Node, the_partner


@strawberry.type(description="One step of a dispute: what was said, and where it stood then.")
class DisputeRecord:
    """exchange.settlement.dispute.DisputeRecord."""

    step: DisputeStep = strawberry.field(description="What was done.")
    party = the_partner("party", "Who did it: a side, or the exchange for finance and for a deadline.")
    at: datetime = strawberry.field(description="When.")
    status: DisputeStatus = strawberry.field(description="Where the dispute stood then.")
    deadline: datetime | None = strawberry.field(description="Until when the next had to act.")
    text: str | None = strawberry.field(description="What was said.")
    link: str | None = strawberry.field(description="Where the evidence is.")
    digest: str | None = strawberry.field(name="sha256", description="The evidence's SHA-256, in hex.")
    award: Money | None = strawberry.field(description="What was upheld, of the step that did.")
    hash: str = strawberry.field(description="The record's own, under which all before it are.")


@strawberry.type(description="A line of a statement that a partner says is wrong, and what becomes of that.")
class Dispute(Node):
    """exchange.settlement.dispute.Dispute."""

    is_type_of = made_of(dispute.Dispute)

    partner = the_partner("line.partner", "Whose statement it is in: who opened the dispute.")
    counterparty = the_partner("line.counterparty", "The other side of the line.")

    @strawberry.field(graphql_type=Period, description="The period of the line.")
    async def period(root: Parent[dispute.Dispute], info: Info) -> settlement_period.Period | None:
        """Read the period."""
        return await info.context.services.settlement.period(root.line.period)

    @strawberry.field(description="The line's entry, by the id that the caller has of it; for finance, the opener's.")
    def entry(root: Parent[dispute.Dispute], info: Info) -> strawberry.ID:
        """Name it as the caller's own statement does."""
        return _named(info.context, root, root.line.entry)

    @strawberry.field(description="What the line is for.")
    def kind(root: Parent[dispute.Dispute]) -> LineKind:
        """Say it of the line."""
        return root.line.kind

    @strawberry.field(graphql_type=Benefit | None, description="The benefit redeemed.")
    async def benefit(root: Parent[dispute.Dispute], info: Info) -> DomainBenefit | None:
        """Load the benefit as it is now."""
        return None if root.line.benefit is None else await info.context.benefits.load(root.line.benefit)

    @strawberry.field(graphql_type=Money | None, description="The line's net; null to the other side.")
    def net(root: Parent[dispute.Dispute], info: Info) -> Amount | None:
        """Show it to whose statement it is in, and to finance."""
        return root.line.net if info.context.is_staff or info.context.partner == root.line.partner else None

    @strawberry.field(description="The hash of the statement that the line is in.")
    def statement_hash(root: Parent[dispute.Dispute]) -> str:
        """Say it of the line."""
        return root.line.statement_hash

    reason: DisputeReason = strawberry.field(description="Why the line should be wrong.")
    claim: Money = strawberry.field(name="amount", description="What is claimed.")
    status: DisputeStatus = strawberry.field(description="Where it stands, by the exchange's clock.")
    round: int = strawberry.field(description="Of at most 3: each is an answer, and a reply to the one before.")
    deadline: datetime | None = strawberry.field(description="Until when `waitingFor` has to act, or has lost.")
    waiting_for = the_partner("waiting_for", "Who has to act; the exchange: finance.", nullable=True)
    award: Money | None = strawberry.field(description="What was upheld.")
    records: list[DisputeRecord] = strawberry.field(description="All that was done, the first first.")

    @strawberry.field(description="The entry that carried it out, by the id that the caller has of it.")
    def adjustment(root: Parent[dispute.Dispute], info: Info) -> strawberry.ID | None:
        """Name it as the caller's next statement does."""
        return None if root.adjustment is None else _named(info.context, root, root.adjustment)

    @strawberry.field(graphql_type=Period | None, description="In whose statements the adjustment is.")
    async def adjusted_in(root: Parent[dispute.Dispute], info: Info) -> settlement_period.Period | None:
        """Read the period."""
        if root.adjusted_in is None:
            return None
        return await info.context.services.settlement.period(root.adjusted_in)


def _named(context: Context, of: dispute.Dispute, entry: str) -> strawberry.ID:
    partner = of.line.partner if context.is_staff else context.partner
    return strawberry.ID(entry_name(context.services.keyring, entry, partner))


async def disputes(context: Context, first: Any, after: Any) -> Page[dispute.Dispute]:
    """List disputes, the newest first."""
    partner = own(context)
    cursors = context.cursors("disputes")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else (window.after[0], window.after[1])
    rows = await context.services.disputing.page(partner, behind, window.size + 1)
    return page(cursors, window, [((row.records[0].at, row.id), row) for row in rows])


async def named(context: Context, sealed: str) -> dispute.Dispute | None:
    """Return a dispute by its id, if the caller may see it."""
    return await seen(context, context.ids.open(Kind.DISPUTE, sealed) or "")


async def seen(context: Context, identity: str) -> dispute.Dispute | None:
    """Return a dispute, if the caller may see it."""
    return await context.services.disputing.dispute(identity, own(context))
