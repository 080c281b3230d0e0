"""What can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import strawberry
from graphql import GraphQLError
from strawberry import Parent

from exchange import agreements as terms
from exchange.benefit import Benefit as DomainBenefit
from exchange.benefit import benefit_id
from exchange.commands import ByReference
from exchange.redemption import Redemption as DomainRedemption
from exchange.redemption import RedemptionStatus
from exchange.settlement import calendar as settlement_calendar
from exchange.settlement import dispute as settlement_dispute
from exchange.settlement import exports as settlement_exports
from exchange.settlement import fixes as settlement_fixes
from exchange.settlement import liability as settlement_liability
from exchange.settlement import period as settlement_period
from exchange.settlement import reconciliation as settlement_reconciliation
from exchange.settlement import signoff as settlement_signoff
from exchange.settlement import simulation as settlement_simulation
from exchange.settlement import statement as settlement_statement
from exchange.settlement.barter import Seen
from exchange.settlement.recorded import StandingPolicy
from exchange.store.reconciliation import Exceptional, FileSummary
from exchange.wallet import Lot as DomainLot
from exchange.wallet import Wallet as DomainWallet
from graph import barters, disputes, exports, liability, listings, nettings, reconciliation, settlement
from graph.barters import Barter
from graph.context import ANY_STAFF, Context, Info
from graph.disputes import Dispute
from graph.exports import Export
from graph.identifiers import Kind
from graph.inputs import BenefitBy, Chosen, MemberBy, Order, sent
from graph.inputs.nettings import NettingWishInput
from graph.inputs.settlement import SimulateAgreementInput
from graph.liability import Liability
from graph.nettings import Fix, Netting, NettingPolicy
from graph.paging import After, Before, Connection, First, Last, Page
from graph.reconciliation import BankFile, DuePayment, PaymentException
from graph.refusals import Code, fault
from graph.settlement import Agreement, AgreementSimulation, Period, PeriodCalendar, SignOffPolicy, Statement
from graph.types import Benefit, BenefitConnection, Member, Node, Partner, Redemption
from partners import registry

NODES_MAX = 100

Id = Annotated[strawberry.ID, strawberry.argument(description="An id as this caller was given it.")]
Ids = Annotated[list[strawberry.ID], strawberry.argument(description="At most 100 ids.")]
Handle = Annotated[str, strawberry.argument(description="The partner's handle.")]
WhichBenefit = Annotated[BenefitBy, strawberry.argument(description="Which benefit.")]
WhichMember = Annotated[MemberBy, strawberry.argument(description="Which member.")]
Statuses = Annotated[
    list[RedemptionStatus] | None, strawberry.argument(description="Only those that stand in one of these states.")
]
Key = Annotated[
    str | None, strawberry.argument(description="Only what this idempotency key of the caller's made: one, or none.")
]
Number = Annotated[int | None, strawberry.argument(description="The period's number; without it the open one.")]
Proposed = Annotated[SimulateAgreementInput, strawberry.argument(description="The terms to try.")]
OrLastClosed = Annotated[
    int | None, strawberry.argument(description="The period's number; without it the last one that is closed.")
]
PeriodNumber = Annotated[int, strawberry.argument(description="The period's number.")]
Wished = Annotated[
    NettingWishInput | None,
    strawberry.argument(description="Tries it like this, and records nothing; without it, what is recorded is shown."),
]
BarterId = Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
FixId = Annotated[strawberry.ID, strawberry.argument(description="Such as ecb-2023-12-08.")]
FileNumber = Annotated[int, strawberry.argument(description="The file's number.")]
WithResolved = Annotated[bool, strawberry.argument(description="Those that somebody has resolved, too.")]
Issuer = Annotated[strawberry.ID | None, strawberry.argument(description="Only those of this issuer.")]
Provider = Annotated[strawberry.ID | None, strawberry.argument(description="Only those with this provider.")]


@strawberry.type(description="Who is asking.")
class Viewer:
    """The request's context."""

    @strawberry.field(graphql_type=Partner | None, description="The partner, or the one through which a member asks.")
    async def partner(root: Parent[Context], info: Info) -> registry.Partner | None:
        """Look the handle up."""
        return await info.context.partner_of(root.partner) if root.partner else None

    @strawberry.field(graphql_type=Member | None, description="The member, when one asks.")
    async def member(root: Parent[Context]) -> DomainWallet | None:
        """Read its wallet."""
        return await root.own_wallet()

    @strawberry.field(description="What the token lets its bearer do.")
    def scopes(root: Parent[Context]) -> list[str]:
        """List them in order."""
        return sorted(root.principal.scopes)


@strawberry.type(description="Reads.")
class Query:
    """The root of queries."""

    @strawberry.field(graphql_type=Viewer, description="Who is asking.")
    def viewer(self, info: Info) -> Context:
        """Answer with the context itself."""
        return info.context

    @strawberry.field(
        graphql_type=Node | None, description="Anything by its id; null if it is not the caller's to see."
    )
    async def node(self, info: Info, id: Id) -> Any:  # noqa: A002 - Relay's name
        """Open the id, then ask as its own query would."""
        return await find_node(info.context, id)

    @strawberry.field(graphql_type=list[Node | None], description="Several things by their ids, in that order.")
    async def nodes(self, info: Info, ids: Ids) -> Sequence[Any]:
        """Open each."""
        if len(ids) > NODES_MAX:
            raise fault(Code.BAD_USER_INPUT, f"at most {NODES_MAX} ids")
        return await asyncio.gather(*(find_node(info.context, one) for one in ids))

    @strawberry.field(graphql_type=Partner | None, description="A partner by its handle.")
    async def partner(self, info: Info, handle: Handle) -> registry.Partner | None:
        """Look the handle up."""
        info.context.require("benefits:read", *ANY_STAFF)
        return await info.context.services.registry.find(handle)

    @strawberry.field(graphql_type=Benefit | None, description="A benefit by its id, or by partner and SKU.")
    async def benefit(self, info: Info, by: WhichBenefit) -> DomainBenefit | None:
        """Find it, if the caller may see it."""
        key = sent(by.key)
        identity = (
            benefit_id(key.partner, key.sku) if key is not None else info.context.ids.open(Kind.BENEFIT, sent(by.id))
        )
        return await _benefit(info.context, identity)

    @strawberry.field(graphql_type=BenefitConnection, description="The catalog, as the caller may see it.")
    async def benefits(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET,
        last: Last = strawberry.UNSET, before: Before = strawberry.UNSET,
        filter: Chosen = strawberry.UNSET,  # noqa: A002 - the contract's name
        sort: Order = strawberry.UNSET,
    ) -> Page[DomainBenefit]:  # fmt: skip
        """List it."""
        return await listings.benefits(info.context, (first, after, last, before), filter, sort)

    @strawberry.field(graphql_type=Member | None, description="A member, by id or by the asking partner's reference.")
    async def member(self, info: Info, by: WhichMember) -> DomainWallet | None:
        """Find it among those that are the caller's to see."""
        reference = sent(by.reference)
        if reference is None:
            identity = info.context.ids.open(Kind.MEMBER, sent(by.id))
            return await _member(info.context, identity)
        _require_members(info.context)
        found = await info.context.services.members.wallet_of(ByReference(info.context.partner, reference))
        return None if found is None else await _member(info.context, found.id)

    @strawberry.field(graphql_type=Redemption | None, description="A redemption, if it is the caller's to see.")
    async def redemption(self, info: Info, id: Id) -> DomainRedemption | None:  # noqa: A002
        """Open the id."""
        identity = info.context.ids.open(Kind.REDEMPTION, id)
        return await listings.redemption(info.context, identity or "")

    @strawberry.field(
        graphql_type=Connection[Redemption],
        description="Redemptions, newest first: a member's own, those a partner brought or provides, all for finance. "
        "With `idempotencyKey`: the one that this key made for the caller.",
    )
    async def redemptions(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET,
        status: Statuses = strawberry.UNSET, idempotency_key: Key = strawberry.UNSET,
    ) -> Page[DomainRedemption]:  # fmt: skip
        """List them."""
        key = sent(idempotency_key)
        made = None
        if key is not None:
            context = info.context
            made = [
                context.services.ledger.entry_id(context.partner, context.principal.subject, operation, key)
                for operation in ("redeemBenefit", "reserveBenefit")
            ]
        return await listings.redemptions(info.context, first, after, sent(status), only=made)

    @strawberry.field(graphql_type=Period | None, description="A period; without a number the open one.")
    async def period(self, info: Info, number: Number = strawberry.UNSET) -> settlement_period.Period | None:
        """Read it."""
        settlement.own(info.context)
        return await info.context.services.settlement.period(sent(number))

    @strawberry.field(graphql_type=Connection[Period], description="Periods, newest first.")
    async def periods(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[settlement_period.Period]:
        """List them."""
        return await settlement.periods(info.context, first, after)

    @strawberry.field(graphql_type=list[Agreement], description="All versions; a partner sees those that concern it.")
    async def agreements(
        self, info: Info, issuer: Issuer = strawberry.UNSET,
        provider: Provider = strawberry.UNSET,
    ) -> list[terms.Agreement]:  # fmt: skip
        """List them."""
        return await _agreements(info.context, sent(issuer), sent(provider))

    @strawberry.field(
        graphql_type=AgreementSimulation,
        description="What a period would have cost under an agreement that is only proposed; nothing is changed.",
    )
    async def simulate_agreement(
        self, info: Info, input: Proposed, period: OrLastClosed = strawberry.UNSET  # noqa: A002
    ) -> settlement_simulation.Simulated:  # fmt: skip
        """Read the period, and price it anew."""
        return await settlement.simulate(info.context, input, sent(period))

    @strawberry.field(
        graphql_type=PeriodCalendar | None, description="When periods are closed by themselves; null: nobody said."
    )
    async def period_calendar(self, info: Info) -> settlement_calendar.Calendar | None:
        """Read the version in force."""
        info.context.require("finance:view", "admin", "settlements:read")
        return (await info.context.calendars()).last

    @strawberry.field(graphql_type=SignOffPolicy, description="How many have to approve a statement.")
    async def sign_off_policy(self, info: Info) -> settlement_signoff.Policy:
        """Read the version in force."""
        info.context.require("finance:view", "admin")
        return await info.context.sign_off_policy()

    @strawberry.field(
        graphql_type=list[Liability] | None,
        description="What issuers had outstanding in points when a period ended, by handle; a partner sees its own. "
        "Null when it is not closed. The first to ask about a period waits until the journal is read.",
    )
    async def liabilities(
        self, info: Info, period: OrLastClosed = strawberry.UNSET
    ) -> list[settlement_liability.Liability] | None:
        """Fold the journal, or answer what is known already."""
        return await liability.liabilities(info.context, sent(period))

    @strawberry.field(graphql_type=Statement | None, description="A statement, if it is the caller's to see.")
    async def statement(self, info: Info, id: Id) -> settlement_statement.Statement | None:  # noqa: A002
        """Open the id."""
        identity = info.context.ids.open(Kind.STATEMENT, id)
        return await info.context.services.settlement.statement(identity or "", settlement.own(info.context))

    @strawberry.field(graphql_type=Dispute | None, description="A dispute, if the caller is a side of it, or finance.")
    async def dispute(self, info: Info, id: Id) -> settlement_dispute.Dispute | None:  # noqa: A002
        """Open the id."""
        return await disputes.named(info.context, id)

    @strawberry.field(
        graphql_type=Connection[Dispute],
        description="Disputes that the caller is a side of, all for finance; newest first.",
    )
    async def disputes(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[settlement_dispute.Dispute]:
        """List them."""
        return await disputes.disputes(info.context, first, after)

    @strawberry.field(
        graphql_type=Export | None, description="An export, if the caller has asked for it, or is finance."
    )
    async def export(self, info: Info, id: Id) -> settlement_exports.Export | None:  # noqa: A002
        """Open the id."""
        return await exports.named(info.context, id)

    @strawberry.field(
        graphql_type=Connection[Export],
        description="Exports of the last 30 days that the caller has asked for, all for finance; newest first.",
    )
    async def exports(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[settlement_exports.Export]:
        """List them."""
        return await exports.exports_of(info.context, first, after)

    @strawberry.field(
        graphql_type=Netting | None,
        description="The recorded netting of a period; null when none is. A partner sees its own part of it. "
        "With `policy`, finance tries it like that.",
    )
    async def netting(
        self, info: Info, period: PeriodNumber, policy: Wished = strawberry.UNSET
    ) -> nettings.Shown | None:  # fmt: skip
        """Read it, or try it."""
        return await nettings.netting_of(info.context, period, sent(policy))

    @strawberry.field(
        graphql_type=list[Barter], description="What partners settle in kind; a partner sees its own. The newest first."
    )
    async def barters(self, info: Info) -> list[Seen]:
        """List them as they stand."""
        return await barters.barters(info.context)

    @strawberry.field(graphql_type=Barter | None, description="One of them; null when the caller has no such barter.")
    async def barter(self, info: Info, id: BarterId) -> Seen | None:  # noqa: A002
        """Read it as it stands."""
        return await barters.barter_of(info.context, id)

    @strawberry.field(graphql_type=Connection[Netting], description="Recorded nettings, the newest period first.")
    async def nettings(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[nettings.Shown]:
        """List them."""
        return await nettings.nettings(info.context, first, after)

    @strawberry.field(
        graphql_type=NettingPolicy, description="How periods are netted unless somebody wishes otherwise."
    )
    async def netting_policy(self, info: Info) -> StandingPolicy:
        """Read the version in force."""
        info.context.require("finance:view", "admin")
        return await info.context.services.recording.standing()

    @strawberry.field(graphql_type=Fix | None, description="The exchange rates of one day.")
    async def fix(self, info: Info, id: FixId) -> settlement_fixes.Fix | None:  # noqa: A002
        """Read it."""
        nettings.see_fixes(info.context)
        return await info.context.services.fixes.get(id)

    @strawberry.field(graphql_type=Connection[Fix], description="The exchange rates of each day, the newest first.")
    async def fixes(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[settlement_fixes.Fix]:
        """List them."""
        return await nettings.fixes_listed(info.context, first, after)

    @strawberry.field(
        graphql_type=Connection[DuePayment],
        description="What is to be paid yet of statements that are instructed, by reference; a partner sees its own.",
    )
    async def due_payments(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[settlement_reconciliation.Due]:
        """List it."""
        return await reconciliation.due_payments(info.context, first, after)

    @strawberry.field(graphql_type=BankFile | None, description="A bank's file by its number, for finance.")
    async def bank_file(self, info: Info, number: FileNumber) -> FileSummary | None:
        """Read it."""
        return await reconciliation.bank_file(info.context, number)

    @strawberry.field(graphql_type=Connection[BankFile], description="The bank's files, for finance; newest first.")
    async def bank_files(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET
    ) -> Page[FileSummary]:
        """List them."""
        return await reconciliation.bank_files(info.context, first, after)

    @strawberry.field(
        graphql_type=Connection[PaymentException],
        description="What a person of finance has to look at: by file and line, then what is not booked.",
    )
    async def payment_exceptions(
        self, info: Info, first: First = strawberry.UNSET, after: After = strawberry.UNSET,
        resolved: WithResolved = False,  # noqa: FBT002 - GraphQL names its arguments
    ) -> Page[Exceptional]:  # fmt: skip
        """List it."""
        return await reconciliation.payment_exceptions(info.context, first, after, resolved=resolved)


async def find_node(context: Context, sealed: str) -> Any:
    """Return what an id is of, if the caller may see it; what it may not see is null, not an error."""
    opened = context.ids.open_any(sealed)
    if opened is None:
        return None
    kind, identity = opened
    readers = {
        Kind.PARTNER: _partner, Kind.BENEFIT: _benefit, Kind.AGREEMENT: _agreement, Kind.MEMBER: _member,
        Kind.LOT: _lot, Kind.REDEMPTION: listings.redemption, Kind.PERIOD: _period, Kind.STATEMENT: _statement,
        Kind.DISPUTE: disputes.seen, Kind.EXPORT: exports.seen,
    }  # fmt: skip
    reader: Any = readers[kind]
    try:
        return await reader(context, identity)
    except GraphQLError as error:
        # Refused for want of a scope, it would tell that the id is a real one.
        if (error.extensions or {}).get("code") == Code.FORBIDDEN:
            return None
        raise


async def _partner(context: Context, handle: Handle) -> registry.Partner | None:
    context.require("benefits:read", *ANY_STAFF)
    return await context.services.registry.find(handle)


async def _benefit(context: Context, identity: str | None) -> DomainBenefit | None:
    context.require("benefits:read", *ANY_STAFF)
    found = None if identity is None else await context.benefits.load(identity)
    return found if found is not None and context.sees(found) else None


def _require_members(context: Context) -> None:
    if context.is_member:
        context.require("points:read")
    else:
        context.require("points:award", "redemptions:redeem")


async def _member(context: Context, wallet: str | None) -> DomainWallet | None:
    """Return a member's wallet: its own, or one that the asking partner has a reference for."""
    _require_members(context)
    if context.is_member:
        mine = await context.own_wallet()
        return mine if mine is not None and wallet in mine.whole else None
    found = None if wallet is None else await context.wallets.load(wallet)
    return found if found is not None and found.link(context.partner) is not None else None


async def _lot(context: Context, identity: str) -> DomainLot | None:
    """Return a lot: the member's own or its household's, or one that the asking partner issued."""
    _require_members(context)
    owner = await context.services.members.owner_of_lot(identity)
    wallet = None if owner is None else await context.wallets.load(owner)
    lot = None if wallet is None or not await context.opens(wallet) else wallet.lot(identity)
    return lot if lot is not None and (context.is_member or lot.issuer == context.partner) else None


async def _period(context: Context, number: str) -> settlement_period.Period | None:
    settlement.own(context)
    return await context.services.settlement.period(int(number))


async def _statement(context: Context, identity: str) -> settlement_statement.Statement | None:
    return await context.services.settlement.statement(identity, settlement.own(context))


async def _agreements(context: Context, issuer: str | None, provider: str | None) -> list[terms.Agreement]:
    context.require("settlements:read", "finance:view", "admin")
    sides = [None if one is None else context.ids.open(Kind.PARTNER, one) or "" for one in (issuer, provider)]
    found = await context.services.terms.list(*sides)
    return [one for one in found if context.is_staff or _concerns(one, context.partner)]


async def _agreement(context: Context, identity: str) -> terms.Agreement | None:
    context.require("settlements:read", "finance:view", "admin")
    found = await context.services.terms.get(identity)
    return found if found is not None and (context.is_staff or _concerns(found, context.partner)) else None


def _concerns(agreement: terms.Agreement, partner: str) -> bool:
    """Whether it can apply to the partner, on either side: its own, and defaults."""
    return agreement.issuer in (None, partner) or agreement.provider in (None, partner)
