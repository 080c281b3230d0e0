"""The types of the points liability. `settlements:read` shows an issuer its own; `finance:view` shows all."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import Parent

from exchange.settlement import liability, period
from graph.context import Context, Info
from graph.scalars import Points
from graph.settlement import Period, own
from graph.types import the_partner


@strawberry.type(
    description="opening + awarded - redeemed - expired + adjusted = closing, of points awarded in a month."
)
class LiabilityVintage:
    """exchange.settlement.liability.Vintage."""

    month: str = strawberry.field(description="In which they were awarded (UTC): 2026-03. Empty: of all months.")
    opening: Points = strawberry.field(description="Outstanding when the period before ended.")
    awarded: Points = strawberry.field(description="Awarded in the period.")
    redeemed: Points = strawberry.field(description="Spent, less what came back.")
    expired: Points = strawberry.field(description="Written off because their time was over.")
    adjusted: Points = strawberry.field(description="Goodwill, awards taken back, debts repaid by an award.")
    closing: Points = strawberry.field(description="Outstanding when the period ended.")


@strawberry.type(description="Points outstanding of an age, in whole months since their award.")
class LiabilityAge:
    """exchange.settlement.liability.Aged."""

    from_months: int = strawberry.field(description="From this age on.")
    below_months: int | None = strawberry.field(description="Below this; null: however old.")
    points: Points = strawberry.field(description="How many.")


@strawberry.type(description="Points outstanding that end in one month, if they are not spent before.")
class LiabilityEnding:
    """exchange.settlement.liability.Ending."""

    month: str | None = strawberry.field(description="In which month (UTC); null: never.")
    points: Points = strawberry.field(description="How many.")


@strawberry.type(description="An estimate (IFRS 15), made of the issuer's own history: no figure of the journal.")
class RedemptionEstimate:
    """exchange.settlement.liability.Estimate."""

    redeemed: Points = strawberry.field(description="Of what is outstanding, expected to be redeemed.")
    breakage: Points = strawberry.field(description="The rest.")
    unknown: Points = strawberry.field(
        description="How much of `redeemed` is in it because no vintage has been that old yet."
    )
    basis_points: int = strawberry.field(description="`redeemed`, of what is outstanding.")
    ages: int = strawberry.field(description="How many months after an award the history reaches.")


@strawberry.type(description="An issuer's points outstanding at the end of a period, and how they came about in it.")
class Liability:
    """exchange.settlement.liability.Liability."""

    issuer = the_partner("issuer", "Who promised them.")

    @strawberry.field(graphql_type=Period, description="At the end of which period.")
    async def period(root: Parent[liability.Liability], info: Info) -> period.Period | None:
        """Read the period."""
        return await info.context.services.settlement.period(root.period)

    as_of: datetime = strawberry.field(description="When that ended.")
    vintages: list[LiabilityVintage] = strawberry.field(description="By month of award.")
    total: LiabilityVintage = strawberry.field(description="All months together.")
    ageing: list[LiabilityAge] = strawberry.field(description="What is outstanding, by age.")
    over: Points = strawberry.field(description="Outstanding though their time is over: held, or not written off yet.")
    ending: list[LiabilityEnding] = strawberry.field(description="What else is outstanding, by when it ends.")
    estimate: RedemptionEstimate | None = strawberry.field(
        description="What can be expected of it; null with less than twelve whole months of history."
    )


async def liabilities(context: Context, number: int | None) -> list[liability.Liability] | None:
    """Return everybody's, or the asking partner's own; None when the period is not closed."""
    issuer = own(context)
    found = await context.services.outstanding.closed(number)
    return None if found is None else [each for each in found.values() if issuer in (None, each.issuer)]
