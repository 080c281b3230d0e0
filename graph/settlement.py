"""The types of settlement: agreements, periods, positions, statements.

`settlements:read` shows a partner its own rows; `finance:view` shows all. The filter is made here once, by `own`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import Parent

from exchange import agreements
from exchange.amounts import Money as Amount
from exchange.benefit import Benefit as DomainBenefit
from exchange.errors import Refusal
from exchange.settlement import calendar, netting, period, signoff, simulation, statement
from exchange.settlement.statement import Place
from graph.context import Context, Info
from graph.enums import Duty, Every, LineKind, PeriodStatus, SignOffStep, StatementStatus
from graph.inputs import sent
from graph.inputs.settlement import SimulateAgreementInput
from graph.paging import After, Connection, First, Page, page
from graph.refusals import Code, fault, made_of
from graph.scalars import Count, Points
from graph.types import Benefit, Money, Node, the_partner


def own(context: Context) -> str | None:
    """Return whose rows the caller sees: its own partner's, or None for everybody's; FORBIDDEN without a scope."""
    context.require("settlements:read", "finance:view")
    return None if context.has("finance:view") else context.partner


@strawberry.type(description="One version of a price between an issuer and a provider.")
class Agreement(Node):
    """exchange.agreements.Agreement."""

    is_type_of = made_of(agreements.Agreement)

    issuer = the_partner("issuer", "Who owes; null: every issuer without its own.", nullable=True)

    provider = the_partner("provider", "Who is owed; null: every provider without its own.", nullable=True)

    price_per_1000_points: Money = strawberry.field(
        name="pricePer1000Points", description="What 1,000 points cost the issuer."
    )
    fee_basis_points: int = strawberry.field(description="The exchange's fee, of what is owed; paid by the provider.")
    commission_basis_points: int = strawberry.field(description="The channel's commission, likewise.")
    version: int = strawberry.field(description="Counts the versions of this pair, from 1.")
    effective_from: datetime = strawberry.field(description="From when on it holds.")


@strawberry.type(description="What one partner owes and is owed over a period, in one currency.")
class Position:
    """exchange.settlement.netting.Position."""

    partner = the_partner("partner", "Whose position it is.")

    payable: Money = strawberry.field(description="What it owes: its points redeemed elsewhere, its commissions.")
    receivable: Money = strawberry.field(description="What it is owed: its benefits, commissions earned.")
    fees: Money = strawberry.field(description="The exchange's fees that it pays.")
    net: Money = strawberry.field(description="receivable - payable - fees: negative, it has to pay.")


@strawberry.type(description="What one partner owes another over a period, before netting.")
class BilateralPosition:
    """exchange.settlement.netting.BilateralPosition."""

    debtor = the_partner("debtor", "Who owes.")

    creditor = the_partner("creditor", "Who is owed.")

    gross: Money = strawberry.field(description="How much: redemptions, commissions and fees together.")
    points: Points = strawberry.field(description="The points redeemed that it rests on.")
    entries: Count = strawberry.field(description="The redemptions that it rests on.")


@strawberry.type(description="One payment of a plan.")
class Payment:
    """exchange.settlement.netting.Payment."""

    from_ = the_partner("from_", "Who pays.", name="from")

    to = the_partner("to", "Who is paid.")

    amount: Money = strawberry.field(description="How much.")


@strawberry.type(description="One line of a statement, signed from the partner's side: net = gross - fee.")
class StatementLine:
    """exchange.settlement.statement.StatementLine."""

    entry: strawberry.ID = strawberry.field(description="The journal's entry, by the id that this partner alone has.")
    at: datetime = strawberry.field(description="When it happened.")
    kind: LineKind = strawberry.field(description="What it is for.")

    @strawberry.field(graphql_type=Benefit | None, description="The benefit redeemed.")
    async def benefit(root: Parent[statement.StatementLine], info: Info) -> DomainBenefit | None:
        """Load the benefit as it is now."""
        return None if root.benefit is None else await info.context.benefits.load(root.benefit)

    @strawberry.field(description="Counts the lines of one entry, from 0: with `entry` it names the line.")
    def line(root: Parent[statement.StatementLine]) -> int:
        """Say it of the line's place."""
        return root.place.n

    counterparty = the_partner("counterparty", "The other side.")

    points: Points = strawberry.field(description="Points redeemed; negative for their issuer, zero on a commission.")
    gross: Money = strawberry.field(description="Before the fee; negative: owed by the partner.")
    fee: Money = strawberry.field(description="The exchange's fee on it.")
    net: Money = strawberry.field(description="gross - fee.")
    late: bool = strawberry.field(
        description="Whether it happened before the period before this one was marked closing."
    )


@strawberry.type(description="A page of statement lines.")
class StatementLineConnection(Connection[StatementLine]):
    """A counted page."""

    @strawberry.field(description="How many there are in all pages.")
    async def total_count(root: Parent[Page[Any]]) -> int:
        """Count when asked."""
        return 0 if root.count is None else await root.count()


@strawberry.type(description="One step of a statement's sign-off, as the log has it.")
class SignOff:
    """exchange.settlement.signoff.Record, of a step."""

    step: SignOffStep = strawberry.field(description="What was done.")
    at: datetime = strawberry.field(description="When.")
    status: StatementStatus = strawberry.field(description="Where the statement stood then.")
    amount: Money | None = strawberry.field(description="Of a payment.")
    statement_hash: str = strawberry.field(description="The statement's hash, which was signed.")
    hash: str = strawberry.field(description="The record's own, under which all records before it are.")

    @strawberry.field(description="Who did it: an address, if still on the staff. Null to partners.")
    async def by(root: Parent[signoff.Record], info: Info) -> str | None:
        """Show the exchange's own people to one another alone."""
        if not info.context.is_staff:
            return None
        return (await info.context.staff()).get(root.actor, root.actor)

    @strawberry.field(description="What was noted with it. Null to partners.")
    def note(root: Parent[signoff.Record], info: Info) -> str | None:
        """Show it within the exchange alone."""
        return root.note if info.context.is_staff else None


@strawberry.type(description="From what net on a statement needs how many approvers.")
class ApprovalTier:
    """exchange.settlement.signoff.Tier."""

    amount: Money = strawberry.field(description="From this net on, to either side.")
    approvers: int = strawberry.field(description="How many have to approve.")


@strawberry.type(description="How many have to approve a statement: one, and more by its tiers.")
class SignOffPolicy:
    """exchange.settlement.signoff.Policy."""

    is_type_of = made_of(signoff.Policy)
    version: int = strawberry.field(description="Counts from 1; 0 is before there was any.")
    tiers: list[ApprovalTier] = strawberry.field(description="By currency and amount.")


@strawberry.type(description="When a period is cut, and by when the rest has to be done: until before that moment.")
class PeriodDates:
    """exchange.settlement.calendar.Dates."""

    cut: datetime = strawberry.field(description="When it was cut; of an open one, when it is due.")
    draft_by: datetime = strawberry.field(description="The statements drafted.")
    review_by: datetime = strawberry.field(description="The statements reviewed.")
    approve_by: datetime = strawberry.field(description="The statements approved.")
    pay_by: datetime = strawberry.field(description="The statements paid.")


@strawberry.type(description="One version of when periods are closed by themselves.")
class PeriodCalendar:
    """exchange.settlement.calendar.Calendar."""

    is_type_of = made_of(calendar.Calendar)

    version: int = strawberry.field(description="Counts from 1.")
    since: datetime = strawberry.field(description="From when on it holds.")
    every: Every = strawberry.field(description="How often it closes a period.")
    on: int = strawberry.field(description="The day of the week (1: Monday), or of the month; 1 otherwise.")
    at: str = strawberry.field(description="The time of day: HH:MM.")
    time_zone: str = strawberry.field(description="By which clocks, such as Europe/Berlin.")
    draft_days: int = strawberry.field(description="Days after that of the cut for drafting the statements.")
    review_days: int = strawberry.field(description="For reviewing them.")
    approve_days: int = strawberry.field(description="For approving them.")
    pay_days: int = strawberry.field(description="For paying them.")
    business_days: bool = strawberry.field(description="Whether only the days from Monday to Friday count.")


async def _dates(context: Context, of: period.Period | None) -> calendar.Dates | None:
    return None if of is None else (await context.calendars()).dates(of)


@strawberry.type(description="One partner's period: reproducible byte for byte from the journal.")
class Statement(Node):
    """exchange.settlement.statement.Statement."""

    is_type_of = made_of(statement.Statement)

    @strawberry.field(graphql_type="Period", description="What it is of.")
    async def period(root: Parent[statement.Statement], info: Info) -> period.Period | None:
        """Read the period."""
        return await info.context.services.settlement.period(root.period)

    partner = the_partner("partner", "Whom it is for.")

    status: StatementStatus = strawberry.field(description="How far it has come.")
    hash: str = strawberry.field(description="SHA-256 of its canonical JSON (RFC 8785), in hex.")

    @strawberry.field(
        graphql_type=list[Money],
        description="Amounts carried forward from earlier periods: none. What nettings carry is in them.",
    )
    def opening(root: Parent[statement.Statement]) -> list[Amount]:
        """Nothing is carried forward."""
        return []

    @strawberry.field(graphql_type=StatementLineConnection, description="Its lines, in the order of time.")
    async def lines(
        root: Parent[statement.Statement],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[statement.StatementLine]:
        """Read one page of them."""
        services = info.context.services
        cursors = info.context.cursors(f"lines/{root.id}")
        window = cursors.window(sent(first), sent(after))
        place = None if window.after is None else Place(*window.after)
        rows = await services.settlement.lines(root, place, window.size + 1)

        async def count() -> int:
            return root.line_count

        return page(cursors, window, [(tuple(row.place), row) for row in rows], count)

    @strawberry.field(graphql_type=PeriodDates | None, description="By when it has to be signed off.")
    async def dates(root: Parent[statement.Statement], info: Info) -> calendar.Dates | None:
        """Ask the calendar."""
        return await _dates(info.context, await info.context.services.settlement.period(root.period))

    @strawberry.field(description="What should have been done about it by now.")
    async def overdue(root: Parent[statement.Statement], info: Info) -> list[Duty]:
        """Ask the calendar."""
        of = await info.context.services.settlement.period(root.period)
        if of is None:
            return []
        dates = await _dates(info.context, of)
        late = calendar.overdue(dates, of, [root.status], await info.context.now())
        return [duty for duty in late if duty not in (Duty.CUT, Duty.DRAFT)]

    totals: list[Position] = strawberry.field(description="What its lines add up to, by currency.")

    @strawberry.field(
        graphql_type=list[Payment],
        description="What is to be paid of it: by the recorded netting of its period, else its totals' nets. "
        "From its instruction on that is fixed.",
    )
    async def due(root: Parent[statement.Statement], info: Info) -> list[netting.Payment]:
        """Read it off the statement, or ask what it would be instructed by."""
        return list((await info.context.services.sign_off.due(root)).payments)

    @strawberry.field(graphql_type=list[Money], description="What was paid so far, to whichever side, by currency.")
    def paid(root: Parent[statement.Statement]) -> list[Amount]:
        """Read it off the sign-off."""
        return list(root.standing.paid)

    @strawberry.field(description="How many approvals it has.")
    def approvals(root: Parent[statement.Statement]) -> int:
        """Count those that were not undone by a rejection."""
        return len(root.standing.approved_by)

    @strawberry.field(description="How many approvals it needs by the policy in force.")
    async def approvals_needed(root: Parent[statement.Statement], info: Info) -> int:
        """Ask the policy."""
        policy = await info.context.sign_off_policy()
        return signoff.approvers_needed(policy, root, await info.context.services.sign_off.due(root))

    @strawberry.field(graphql_type=Connection[SignOff], description="What was done about it, the first first.")
    async def history(
        root: Parent[statement.Statement],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[signoff.Record]:
        """Read one page of its records."""
        cursors = info.context.cursors(f"history/{root.id}")
        window = cursors.window(sent(first), sent(after))
        behind = 0 if window.after is None else window.after[0]
        rows = await info.context.services.sign_off.records(root.id, behind, window.size + 1)
        return page(cursors, window, [((row.seq,), row) for row in rows])


@strawberry.type(description="What is settled together: an exact range of the journal's blocks.")
class Period(Node):
    """exchange.settlement.period.Period."""

    is_type_of = made_of(period.Period)

    number: int = strawberry.field(description="Counts from 1.")
    status: PeriodStatus = strawberry.field(description="Whether it still takes entries.")
    opened_at: datetime = strawberry.field(description="When it began.")
    closed_at: datetime | None = strawberry.field(description="When its last block was known.")

    @strawberry.field(description="The journal's entries in it; for a partner, those with statement lines of its own.")
    async def entries(root: Parent[period.Period], info: Info) -> Count:
        """Count when asked."""
        return Count(await info.context.services.settlement.entries(root.number, own(info.context)))

    @strawberry.field(
        graphql_type=PeriodDates | None, description="What the calendar says of it; null if there was none."
    )
    async def dates(root: Parent[period.Period], info: Info) -> calendar.Dates | None:
        """Ask the calendar."""
        return await _dates(info.context, root)

    @strawberry.field(description="What should have been done by now; for a partner, about its own statement.")
    async def overdue(root: Parent[period.Period], info: Info) -> list[Duty]:
        """Ask the calendar, and look where the statements stand."""
        context = info.context
        dates = await _dates(context, root)
        statuses = await context.services.settlement.statuses(root.number, own(context)) if dates is not None else []
        return calendar.overdue(dates, root, statuses, await context.now())

    settled_at: datetime | None = strawberry.field(description="When the last of its statements was paid.")
    root: str | None = strawberry.field(description="Merkle root over every lane's last block, once closed.")

    @strawberry.field(graphql_type=list[Position], description="Net of everybody; they sum to zero per currency.")
    async def positions(root: Parent[period.Period], info: Info) -> list[netting.Position]:
        """Add up the blocks."""
        return await info.context.services.settlement.positions(root.number, own(info.context))

    @strawberry.field(graphql_type=list[BilateralPosition], description="Who owes whom, gross.")
    async def bilateral(root: Parent[period.Period], info: Info) -> list[netting.BilateralPosition]:
        """Add up the blocks."""
        return await info.context.services.settlement.bilateral(root.number, own(info.context))

    @strawberry.field(
        graphql_type=list[Payment],
        description="Payments that settle it: its recorded netting's, else of each position through the exchange.",
    )
    async def payment_plan(root: Parent[period.Period], info: Info) -> list[netting.Payment]:
        """Plan one payment per position."""
        return await info.context.services.settlement.payment_plan(root.number, own(info.context))

    @strawberry.field(graphql_type=Connection[Statement], description="The partners' statements, by handle.")
    async def statements(
        root: Parent[period.Period],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[statement.Statement]:
        """Read one page of them."""
        services = info.context.services
        cursors = info.context.cursors(f"statements/{root.number}")
        window = cursors.window(sent(first), sent(after))
        behind = None if window.after is None else window.after[0]
        rows = await services.settlement.statements(root.number, behind, window.size + 1, own(info.context))
        return page(cursors, window, [((row.partner,), row) for row in rows])


@strawberry.type(description="What redemptions cost: the issuers, and of that the providers.")
class SimulatedCost:
    """exchange.settlement.simulation.Cost."""

    gross: Money = strawberry.field(description="What issuers owe.")
    fees: Money = strawberry.field(description="The exchange's fees on it, paid by the providers.")
    commissions: Money = strawberry.field(description="The channels' commissions, likewise.")


@strawberry.type(description="What all redemptions of a period cost in one currency, and would have cost.")
class SimulatedTotal:
    """exchange.settlement.simulation.Comparison."""

    currency: str = strawberry.field(description="ISO 4217 code.")
    redemptions: Count = strawberry.field(description="Those that cost something in this currency, on either side.")
    points: Points = strawberry.field(description="The points that they took, less what went back.")
    now: SimulatedCost = strawberry.field(description="As it is.")
    simulated: SimulatedCost = strawberry.field(description="As it would have been.")
    difference: SimulatedCost = strawberry.field(description="simulated - now.")


@strawberry.type(description="The same, of one issuer's points at one provider.")
class SimulatedRow(SimulatedTotal):
    """exchange.settlement.simulation.Comparison."""

    issuer = the_partner("issuer", "Who owes.")

    provider = the_partner("provider", "Who is owed.")


@strawberry.type(description="What a period would have cost under an agreement that is only proposed.")
class AgreementSimulation:
    """exchange.settlement.simulation.Simulated."""

    period: Period = strawberry.field(description="Of which period; if it is not closed, so far.")
    repriced: Count = strawberry.field(description="How many redemptions the proposal would have priced.")
    rows: list[SimulatedRow] = strawberry.field(description="The figures that would be others, by issuer and provider.")
    totals: list[SimulatedTotal] = strawberry.field(
        description="All that the period cost, unchanged figures too, by currency."
    )


async def simulate(context: Context, wish: SimulateAgreementInput, number: int | None) -> simulation.Simulated:
    """Simulate the agreement; BAD_USER_INPUT for terms that nobody could set, and for what is not there."""
    context.require("admin", "finance:view")
    try:
        price = wish.price_per_1000_points.money("input", "pricePer1000Points")
        agreements.validate_terms(price, wish.fee_basis_points, wish.commission_basis_points)
        return await context.services.settlement.simulate(
            agreements.Agreement(
                id="", version=0, price_per_1000_points=price, fee_basis_points=wish.fee_basis_points,
                commission_basis_points=wish.commission_basis_points, effective_from=await context.now(),
                issuer=await context.partner_named(sent(wish.issuer), "issuer"),
                provider=await context.partner_named(sent(wish.provider), "provider"),
            ),
            number,
        )  # fmt: skip
    except Refusal as refusal:
        where = f"{'.'.join(refusal.path)}: " if refusal.path else ""
        raise fault(Code.BAD_USER_INPUT, f"{where}{refusal.message}") from None


async def periods(context: Context, first: Any, after: Any) -> Page[period.Period]:
    """List periods, newest first."""
    own(context)
    cursors = context.cursors("periods")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else window.after[0]
    rows = await context.services.settlement.periods(behind, window.size + 1)
    return page(cursors, window, [((row.number,), row) for row in rows])
