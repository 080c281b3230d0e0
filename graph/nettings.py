"""The types of netting: recorded, or only tried; the standing policy; and fixes.

`finance:view` shows all of a netting. Under `settlements:read` a partner sees what is to be paid to it or by it, its
own standing and conversions, and of the policy what is everybody's or its own: `Shown` is filtered here, field by
field.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

import strawberry
from strawberry import Parent

from exchange.amounts import Money as Amount
from exchange.errors import NotFound, Refusal, ValidationFailed
from exchange.settlement import fixes, netted, netting
from exchange.settlement import period as settlement_period
from exchange.settlement.barter import Bartered
from exchange.settlement.netted import Netted, PlanKind, Policy
from exchange.settlement.recorded import RecordedNetting, StandingPolicy, Wish
from graph.barters import NettingBarter
from graph.context import Context, Info, Once
from graph.inputs import sent
from graph.inputs.nettings import (
    NettingGroupInput,
    NettingWishInput,
    SetNettingPolicyInput,
    SettlementCurrencyInput,
    few,
    least,
)
from graph.paging import Page, page
from graph.refusals import Code, fault, made_of
from graph.scalars import CurrencyCode
from graph.settlement import Payment, Period, own
from graph.types import Money, Partner, the_partner
from partners import registry

# ---------------------------------------------------------------- fixes


@strawberry.type(description="For one unit of the base, so many of a currency.")
class FixRate:
    """A row of exchange.settlement.fixes.Fix."""

    currency: str = strawberry.field(description="Its code, also of one that is no more.")
    rate: str = strawberry.field(description="Digit by digit as it was published.")


class Rate(NamedTuple):
    """A row of a fix."""

    currency: str
    rate: str


@strawberry.type(description="The exchange rates of one day, as published; never changed.")
class Fix:
    """exchange.settlement.fixes.Fix."""

    id: strawberry.ID = strawberry.field(description="Such as ecb-2023-12-08.")
    base: str = strawberry.field(description="Of which currency one unit is meant.")

    @strawberry.field(description="The day: 2023-12-08.")
    def date(root: Parent[fixes.Fix]) -> str:
        """Write it as dates are written."""
        return root.date.isoformat()

    @strawberry.field(graphql_type=list[FixRate], description="The rates, by currency.")
    def rates(root: Parent[fixes.Fix]) -> list[Rate]:
        """Show them in order."""
        return [Rate(*each) for each in sorted(root.rates.items())]


# ---------------------------------------------------------------- the policy


class Group(NamedTuple):
    """A parent and its subsidiaries."""

    parent: str
    members: tuple[str, ...]


class Choice(NamedTuple):
    """Who settles in which currency."""

    partner: str
    currency: str


@strawberry.type(description="Partners that net as one: the parent settles.")
class NettingGroup:
    """graph.nettings.Group."""

    parent = the_partner("parent", "Who settles for all of them.")

    @strawberry.field(graphql_type=list[Partner], description="Its subsidiaries.")
    async def members(root: Parent[Group], info: Info) -> list[registry.Partner]:
        """Look them up."""
        return [await info.context.partner_of(handle) for handle in root.members]


@strawberry.type(description="In which currency a partner settles all that it has.")
class SettlementCurrency:
    """graph.nettings.Choice."""

    partner = the_partner("partner", "Who.")
    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")


@strawberry.type(description="One version of how periods are netted unless somebody wishes otherwise.")
class NettingPolicy:
    """exchange.settlement.recorded.StandingPolicy."""

    is_type_of = made_of(StandingPolicy)

    version: int = strawberry.field(description="Counts from 1; 0 is before there was any.")
    plan: PlanKind = strawberry.field(description="Who pays whom.")

    @strawberry.field(description="From when on it holds; null before there was any.")
    def since(root: Parent[StandingPolicy]) -> datetime | None:
        """Say nothing of what was never set."""
        return root.since if root.version else None

    @strawberry.field(graphql_type=list[Money], description="The least payment by currency.")
    def minimums(root: Parent[StandingPolicy]) -> list[Amount]:
        """Show them by currency."""
        return _minimums(root)

    @strawberry.field(graphql_type=list[NettingGroup], description="Who nets as one, by parent.")
    def groups(root: Parent[StandingPolicy]) -> list[Group]:
        """Show them in order."""
        return _groups(root)

    @strawberry.field(graphql_type=list[SettlementCurrency], description="Who settles in one currency.")
    def settle(root: Parent[StandingPolicy]) -> list[Choice]:
        """Show them in order."""
        return _choices(root)


def _minimums(policy: Policy | StandingPolicy) -> list[Amount]:
    return [Amount(minor, currency) for currency, minor in sorted(policy.minimums.items())]


def _groups(policy: Policy | StandingPolicy) -> list[Group]:
    return [Group(parent, tuple(sorted(members))) for parent, members in sorted(policy.groups.items())]


def _choices(policy: Policy | StandingPolicy) -> list[Choice]:
    return [Choice(*each) for each in sorted(policy.settle.items())]


# ---------------------------------------------------------------- a netting


class Net(NamedTuple):
    """What who settles has to pay or is to be paid, with its group."""

    partner: str
    amount: Amount


class SeenStanding(NamedTuple):
    """A party's standing, and who settles for it."""

    standing: netted.Standing
    settled_by: str | None


@strawberry.type(
    description="Where a partner stands in a netting, in one currency: opening + receivable - payable - fees."
)
class NettingStanding:
    """graph.nettings.SeenStanding."""

    partner = the_partner("standing.position.partner", "Who.")
    settled_by = the_partner("settled_by", "Its parent, when that settles for it.", nullable=True)

    @strawberry.field(graphql_type=Money, description="What was carried into it; negative: it owed it.")
    def opening(root: Parent[SeenStanding]) -> Amount:
        """As the netting took it in."""
        return root.standing.opening

    @strawberry.field(graphql_type=Money, description="What it owes of the period.")
    def payable(root: Parent[SeenStanding]) -> Amount:
        """Of its position."""
        return root.standing.position.payable

    @strawberry.field(graphql_type=Money, description="What it is owed of the period.")
    def receivable(root: Parent[SeenStanding]) -> Amount:
        """Of its position."""
        return root.standing.position.receivable

    @strawberry.field(graphql_type=Money, description="The exchange's fees that it pays.")
    def fees(root: Parent[SeenStanding]) -> Amount:
        """Of its position."""
        return root.standing.position.fees

    @strawberry.field(graphql_type=Money, description="All together; negative: it has to pay.")
    def net(root: Parent[SeenStanding]) -> Amount:
        """Add it up."""
        return root.standing.net


@strawberry.type(description="What is to be paid to who settles, or by it (negative), for its group too.")
class NettingNet:
    """graph.nettings.Net."""

    partner = the_partner("partner", "Who settles.")
    amount: Money = strawberry.field(description="How much.")


@strawberry.type(description="What netting saves in one currency.")
class NettingMeasure:
    """exchange.settlement.netted.Measure."""

    gross: Money = strawberry.field(description="What would move if everybody paid all that it owes.")
    bilateral: Money = strawberry.field(description="What would move if each two settled the difference.")
    multilateral: Money = strawberry.field(description="What has to move at least.")
    efficiency_basis_points: int | None = strawberry.field(
        description="Which part of gross need not move; null where there is none."
    )


@strawberry.type(description="What becomes of a survivor's net when others are taken out, on the same obligations.")
class NettingChange:
    """exchange.settlement.netted.Change."""

    partner = the_partner("party", "Who.")
    before: Money = strawberry.field(description="Its net with everybody.")
    after: Money = strawberry.field(description="Its net without them.")
    difference: Money = strawberry.field(description="after - before: negative, it is the poorer for it.")


@strawberry.type(description="A net that was taken over from a partner, and what it gets or pays instead.")
class NettingConversion:
    """exchange.settlement.fixes.Conversion."""

    partner = the_partner("party", "Whose it is.")
    amount: Money = strawberry.field(description="Its net in another currency than it settles in.")
    converted: Money = strawberry.field(description="What that is in the one that it settles in.")


class Shown:
    """A netting as it is shown. `recorded` is None when it is only tried; `made`: its figures, made when asked for."""

    def __init__(self, period: int, policy: Policy, made: Once[Netted], recorded: RecordedNetting | None) -> None:
        self.period = period
        self.policy = policy
        self.made = made
        self.recorded = recorded


@strawberry.type(
    description="A period netted under a policy. A partner sees what concerns it: its standing, its payments."
)
class Netting:
    """graph.nettings.Shown."""

    @strawberry.field(graphql_type=Period, description="What is netted.")
    async def period(root: Parent[Shown], info: Info) -> settlement_period.Period | None:
        """Read the period."""
        return await info.context.services.settlement.period(root.period)

    @strawberry.field(description="When it was recorded; null: it is only tried.")
    def recorded_at(root: Parent[Shown]) -> datetime | None:
        """Say it of what is recorded."""
        return None if root.recorded is None else root.recorded.at

    @strawberry.field(description="Who recorded it: an address, if still on the staff. Null to partners.")
    async def recorded_by(root: Parent[Shown], info: Info) -> str | None:
        """Show the exchange's own people to one another alone."""
        if root.recorded is None or not info.context.is_staff:
            return None
        return (await info.context.staff()).get(root.recorded.actor, root.recorded.actor)

    @strawberry.field(description="SHA-256 of its certificate, in hex; null: it is only tried.")
    def hash(root: Parent[Shown]) -> str | None:
        """Say it of what is recorded."""
        return None if root.recorded is None else root.recorded.hash

    @strawberry.field(description="The period of the netting recorded before it, whose carried amounts it takes in.")
    def follows(root: Parent[Shown]) -> int | None:
        """Say it of what is recorded."""
        return None if root.recorded is None else root.recorded.follows or None

    @strawberry.field(description="Which version of the standing policy it went by; null: of none.")
    def standing_policy(root: Parent[Shown]) -> int | None:
        """Say it of what is recorded."""
        return None if root.recorded is None else root.recorded.standing or None

    @strawberry.field(description="Who pays whom.")
    def plan(root: Parent[Shown]) -> PlanKind:
        """Read it off the policy."""
        return root.policy.plan

    @strawberry.field(graphql_type=list[Money], description="The least payment by currency.")
    def minimums(root: Parent[Shown]) -> list[Amount]:
        """Read them off the policy."""
        return _minimums(root.policy)

    @strawberry.field(graphql_type=list[NettingGroup], description="Who nets as one; a partner sees its own group.")
    def groups(root: Parent[Shown], info: Info) -> list[Group]:
        """Show a group to its parent: who is in one sees in its standing who settles."""
        return [each for each in _groups(root.policy) if own(info.context) in (None, each.parent)]

    @strawberry.field(graphql_type=list[SettlementCurrency], description="Who settles in one currency.")
    def settle(root: Parent[Shown], info: Info) -> list[Choice]:
        """Read it off the policy."""
        return [each for each in _choices(root.policy) if own(info.context) in (None, each.partner)]

    @strawberry.field(graphql_type=Fix | None, description="By which rates.")
    def fix(root: Parent[Shown]) -> fixes.Fix | None:
        """Read it off the policy."""
        return root.policy.fix

    @strawberry.field(graphql_type=list[Partner], description="Who is taken out; a partner sees whether it is.")
    async def without(root: Parent[Shown], info: Info) -> list[registry.Partner]:
        """Look them up."""
        seen = [handle for handle in sorted(root.policy.without) if own(info.context) in (None, handle)]
        return [await info.context.partner_of(handle) for handle in seen]

    @strawberry.field(
        graphql_type=list[NettingStanding], description="Where everybody stands, by partner and currency."
    )
    async def standings(root: Parent[Shown], info: Info) -> list[SeenStanding]:
        """Show the caller's own, or all."""
        found, parents = await root.made(), root.policy.parents()
        return [
            SeenStanding(each, parents.get(each.position.partner))
            for each in found.standings
            if own(info.context) in (None, each.position.partner)
        ]

    @strawberry.field(graphql_type=list[NettingNet], description="The nets of those who settle, groups as one.")
    async def nets(root: Parent[Shown], info: Info) -> list[Net]:
        """Show the caller's own, or all."""
        return [Net(*each) for each in (await root.made()).nets if own(info.context) in (None, each[0])]

    @strawberry.field(graphql_type=list[NettingMeasure] | None, description="What it saves. Null to partners.")
    async def measures(root: Parent[Shown], info: Info) -> list[netted.Measure] | None:
        """Show what is made of everybody's figures to finance alone."""
        return list((await root.made()).measures) if own(info.context) is None else None

    @strawberry.field(graphql_type=list[Payment], description="What is to be paid.")
    async def payments(root: Parent[Shown], info: Info) -> list[netting.Payment]:
        """Show those from or to the caller, or all."""
        return _concerning(own(info.context), (await root.made()).payments)

    @strawberry.field(graphql_type=list[Payment], description="What is too small to be paid: the next one's opening.")
    async def carried(root: Parent[Shown], info: Info) -> list[netting.Payment]:
        """Show those from or to the caller, or all."""
        return _concerning(own(info.context), (await root.made()).carried)

    @strawberry.field(graphql_type=list[NettingBarter], description="What is settled in kind, by barter.")
    async def barters(root: Parent[Shown], info: Info) -> list[Bartered]:
        """Show the caller's own, or all."""
        found = (await root.made()).bartered
        return [each for each in found if own(info.context) in (None, each.barter.one, each.barter.other)]

    @strawberry.field(graphql_type=list[NettingConversion], description="What is settled in another currency.")
    async def conversions(root: Parent[Shown], info: Info) -> list[fixes.Conversion]:
        """Show the caller's own, or all."""
        return [each for each in (await root.made()).conversions if own(info.context) in (None, each.party)]

    @strawberry.field(
        graphql_type=list[Money] | None, description="What the conversion account holds then. Null to partners."
    )
    async def conversion_account(root: Parent[Shown], info: Info) -> list[Amount] | None:
        """Show what is made of everybody's figures to finance alone."""
        return (await root.made()).account if own(info.context) is None else None

    @strawberry.field(graphql_type=list[NettingChange], description="What it changes for survivors, if any are.")
    async def changes(root: Parent[Shown], info: Info) -> list[netted.Change]:
        """Show the caller's own, or all."""
        found = netted.changes(await root.made()) if root.policy.without else []
        return [each for each in found if own(info.context) in (None, each.party)]


def _concerning(partner: str | None, payments: Iterable[netting.Payment]) -> list[netting.Payment]:
    return [each for each in payments if partner in (None, each.from_, each.to)]


# ---------------------------------------------------------------- reading


def shown(context: Context, recorded: RecordedNetting) -> Shown:
    """Return a recorded netting, whose figures are made when they are asked for."""
    made = Once(lambda: context.services.recording.anew(recorded))
    return Shown(recorded.period, recorded.policy, made, recorded)


async def netting_of(context: Context, number: int, wish: NettingWishInput | None) -> Shown | None:
    """Return the recorded netting of a period; with a wish, finance's, that one tried.

    BAD_USER_INPUT for a wish that cannot be.
    """
    own(context)
    recording = context.services.recording
    if wish is None:
        recorded = await recording.get(number)
        return None if recorded is None else shown(context, recorded)
    context.require("finance:view")
    try:
        tried = await recording.tried(number, await wish_of(context, wish))
    except Refusal as refusal:
        where = f"{'.'.join(refusal.path)}: " if refusal.path else ""
        raise fault(Code.BAD_USER_INPUT, f"{where}{refusal.message}") from None

    async def made() -> Netted:
        return tried

    return Shown(number, tried.policy, Once(made), None)


async def nettings(context: Context, first: Any, after: Any) -> Page[Shown]:
    """List recorded nettings, the newest period first."""
    own(context)
    cursors = context.cursors("nettings")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else window.after[0]
    rows = await context.services.recording.page(behind, window.size + 1)
    return page(cursors, window, [((row.period,), shown(context, row)) for row in rows])


async def fixes_listed(context: Context, first: Any, after: Any) -> Page[fixes.Fix]:
    """List fixes, the newest first."""
    see_fixes(context)
    cursors = context.cursors("fixes")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else window.after[0]
    rows = await context.services.fixes.page(behind, window.size + 1)
    return page(cursors, window, [((row.id,), row) for row in rows])


def see_fixes(context: Context) -> None:
    """Fail the field (FORBIDDEN) for who has nothing to do with money: rates are published, and nobody's secret."""
    context.require("settlements:read", "finance:view", "finance:prepare", "admin")


# ---------------------------------------------------------------- wishing


async def wish_of(context: Context, given: NettingWishInput) -> Wish:
    """Return what is wished, with the handles and the fix that it names; NotFound for what there is not."""
    minimums = least(given.minimums)
    fix, named = None, sent(given.fix)
    if named is not None:
        fix = await context.services.fixes.get(named)
        if fix is None:
            raise NotFound("no such fix", ("input", "fix"))
    without = sent(given.without) or []
    few(without, "without")
    return Wish(
        plan=sent(given.plan), minimums=minimums, fix=fix,
        groups=await _groups_named(context, sent(given.groups)),
        settle=await _choices_named(context, sent(given.settle)),
        without=frozenset([await context.partner_named(each, "without") or "" for each in without]),
    )  # fmt: skip


async def standing_of(context: Context, given: SetNettingPolicyInput) -> StandingPolicy:
    """Return the standing policy that is wished."""
    return StandingPolicy(
        plan=sent(given.plan) or PlanKind.EXCHANGE, minimums=least(given.minimums) or {},
        groups=await _groups_named(context, sent(given.groups)) or {},
        settle=await _choices_named(context, sent(given.settle)) or {}, actor=context.principal.subject,
    )  # fmt: skip


async def _groups_named(context: Context, groups: list[NettingGroupInput] | None) -> dict[str, tuple[str, ...]] | None:
    if groups is None:
        return None
    few(groups, "groups")
    found: dict[str, tuple[str, ...]] = {}
    for each in groups:
        few(each.members, "groups")
        parent = await context.partner_named(each.parent, "groups") or ""
        if parent in found:
            raise ValidationFailed(f"{parent} is in a group twice, or in two", ("input", "groups"))
        found[parent] = tuple([await context.partner_named(one, "groups") or "" for one in each.members])
    return found


async def _choices_named(context: Context, settle: list[SettlementCurrencyInput] | None) -> dict[str, str] | None:
    if settle is None:
        return None
    few(settle, "settle")
    found: dict[str, str] = {}
    for each in settle:
        partner = await context.partner_named(each.partner, "settle") or ""
        if partner in found:
            raise ValidationFailed(f"{partner} is there twice", ("input", "settle"))
        found[partner] = each.currency
    return found
