"""The types of the core: partners, catalog, members and points, redemptions.

Resolvers return the domain's objects, and Strawberry reads their attributes by name; a field has a resolver here only
where the domain says it differently or the answer depends on who asks. `Parent` names the domain type behind each.
"""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import strawberry
from strawberry import Parent

from exchange import benefit as offers
from exchange import exposure, passbook
from exchange import rules as laws
from exchange import wallet as wallets
from exchange.amounts import Money as Amount
from exchange.amounts import decimal_from_minor
from exchange.quote import Quote as DomainQuote
from exchange.redemption import Redemption as DomainRedemption
from exchange.wallet import Wallet as DomainWallet
from graph import listings
from graph.context import Info
from graph.enums import (
    AwardReversal,
    BenefitCategory,
    BenefitStatus,
    EntryKind,
    Fulfilment,
    LimitPeriod,
    PartnerRole,
    RedemptionStatus,
    UnavailableReason,
)
from graph.identifiers import Identified, Kind
from graph.inputs import Chosen, Order, sent
from graph.paging import After, Before, Connection, First, Last, Page, page
from graph.refusals import Code, fault, made_of
from graph.scalars import CountryCode, CurrencyCode, Decimal, Points
from partners import registry


@strawberry.interface(description="Anything with an id that `node` can find again.")
class Node:
    """Relay's Node (Global Object Identification Specification)."""

    @strawberry.field(description="Opaque; a member's and a lot's differ per partner.")
    def id(root: Parent[Identified], info: Info) -> strawberry.ID:
        """Seal the identity, for this caller where it is pairwise."""
        return strawberry.ID(info.context.ids.of(root))


@strawberry.type(description="An amount of money.")
class Money:
    """exchange.amounts.Money."""

    @strawberry.field(description="In major units, with exactly the currency's digits.")
    def amount(root: Parent[Amount]) -> Decimal:
        """Print minor units as a decimal."""
        return Decimal(decimal_from_minor(root.minor, root.currency))

    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")


# ---------------------------------------------------------------- partners and catalog


@strawberry.type(description="Headroom that had fallen below what the exchange wants to be told of.")
class LowBalance:
    """exchange.exposure.Notice."""

    is_type_of = made_of(exposure.Notice)
    at: datetime = strawberry.field(description="When it was noticed.")
    left: Money = strawberry.field(description="What was left then.")
    cleared_at: datetime | None = strawberry.field(description="When there was enough again; null: it still is low.")


@strawberry.type(description="How much a capped partner may come to owe in one currency, and how much of that is left.")
class Exposure:
    """exchange.exposure.Exposure."""

    is_type_of = made_of(exposure.Exposure)
    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")
    cap: Money = strawberry.field(description="How much it may owe, net, before its payments; 0: it pays in advance.")
    paid: Money = strawberry.field(description="What it has paid in, less what was paid out to it.")
    used: Money = strawberry.field(description="Net debit of all its money so far, and what open reservations promise.")
    left: Money = strawberry.field(description="cap + paid - used; negative: it is beyond its cap.")
    low_balance: Money | None = strawberry.field(description="Below what is left this is low; null: nobody asked.")
    low: bool = strawberry.field(description="Whether it is.")
    notices: list[LowBalance] = strawberry.field(description="When it was low, the newest first; at most 20.")
    version: int = strawberry.field(description="Of the cap: counts how often it was set, from 1.")
    since: datetime = strawberry.field(description="Since when this version holds.")


@strawberry.type(description="A platform in the exchange.")
class Partner(Node):
    """partners.registry.Partner."""

    is_type_of = made_of(registry.Partner)

    handle: str = strawberry.field(description="Short name, unique and for ever.")
    name: str = strawberry.field(description="The name people know it by.")
    roles: list[PartnerRole] = strawberry.field(description="What it does in the exchange.")

    @strawberry.field(graphql_type="BenefitConnection", description="What it publishes, as the caller may see it.")
    async def benefits(
        root: Parent[registry.Partner], info: Info, first: First = strawberry.UNSET,
        after: After = strawberry.UNSET, last: Last = strawberry.UNSET,
        before: Before = strawberry.UNSET, filter: Chosen = strawberry.UNSET,  # noqa: A002
        sort: Order = strawberry.UNSET,
    ) -> Page[offers.Benefit]:  # fmt: skip
        """List with the partner fixed."""
        return await listings.benefits(info.context, (first, after, last, before), filter, sort, partner=root.handle)

    @strawberry.field(
        graphql_type=list[Exposure],
        description="Where it stands against its caps, by currency; empty for another partner, and without a cap.",
    )
    async def exposures(root: Parent[registry.Partner], info: Info) -> list[exposure.Exposure]:
        """Show a partner its own alone."""
        info.context.require("settlements:read", "finance:view", "admin")
        if not info.context.is_staff and root.handle != info.context.partner:
            return []
        return await info.context.services.headroom.exposures(root.handle)

    @strawberry.field(
        graphql_type=list["Rules"],
        description="What it has laid down: every version, the newest first, which holds. Empty for another partner.",
    )
    async def rules(root: Parent[registry.Partner], info: Info) -> list[laws.Rules]:
        """Show them to its own server and to staff."""
        context = info.context
        if context.is_member or not (context.is_staff or root.handle == context.partner):
            return []
        return await context.services.terms.rules(root.handle) or [laws.Rules(partner=root.handle)]

    @strawberry.field(description="Whether the exchange has stopped all redemptions that concern it.")
    async def frozen(root: Parent[registry.Partner], info: Info) -> bool:
        """Ask the rules as they are now."""
        _, rules, _ = await info.context.terms()
        return rules.frozen(root.handle)


Locale = Annotated[str | None, strawberry.argument(description="The reader's language, as a BCP 47 tag.")]
Moment = Annotated[datetime, strawberry.argument(description="The moment, exclusive.")]
LOCALE_MAX = 64
"""Longest language tag looked up: the lookup tries every prefix, and no real tag comes near (RFC 5646 §4.4.1: 35)."""


def _language(locale: str | None) -> str | None:
    return locale if locale and len(locale) <= LOCALE_MAX else None


def the_partner(attribute: str, description: str, *, nullable: bool = False, name: str | None = None) -> Any:
    """Return a field that shows the partner whose handle stands in an attribute of the domain's object."""
    handle_of = attrgetter(attribute)

    async def resolve(root: Parent[Any], info: Info) -> registry.Partner | None:
        handle: str | None = handle_of(root)
        return None if handle is None else await info.context.partner_of(handle)

    graphql_type = Partner | None if nullable else Partner
    return strawberry.field(resolver=resolve, graphql_type=graphql_type, description=description, name=name)


@strawberry.type(description="Whether the viewer can redeem it now, and if not every reason why.")
class Availability:
    """exchange.benefit.Availability."""

    redeemable: bool = strawberry.field(description="Whether nothing stands in the way.")
    remaining: int | None = strawberry.field(description="Units left; null without a limit.")
    member_remaining: int | None = strawberry.field(description="Units left for this member; null without a limit.")
    reasons: list[UnavailableReason] = strawberry.field(description="All that stands in the way.")


@strawberry.type(description="What a partner offers for points.")
class Benefit(Node):
    """exchange.benefit.Benefit."""

    is_type_of = made_of(offers.Benefit)

    sku: str = strawberry.field(description="The partner's own name for it.")

    partner = the_partner("partner", "Who provides it.")

    category: BenefitCategory = strawberry.field(description="Its trade.")
    status: BenefitStatus = strawberry.field(description="Whether it is on offer.")

    @strawberry.field(description="In the closest language there is to `locale` (BCP 47), else the original.")
    def title(root: Parent[offers.Benefit], locale: Locale = strawberry.UNSET) -> str:
        """Pick the translation."""
        return root.words(_language(locale)).title

    @strawberry.field(description="In the closest language there is to `locale` (BCP 47), else the original.")
    def description(root: Parent[offers.Benefit], locale: Locale = strawberry.UNSET) -> str | None:
        """Pick the translation."""
        return root.words(_language(locale)).description

    image_url: str | None = strawberry.field(description="A picture of it.")
    terms: str | None = strawberry.field(description="The small print.")
    redeem_instructions: str | None = strawberry.field(description="What to do once one has it.")
    points_price: Points = strawberry.field(description="Points for one unit.")
    face_value: Money | None = strawberry.field(description="What it would cost in money.")
    valid_from: datetime | None = strawberry.field(description="From when on it can be redeemed.")
    valid_until: datetime | None = strawberry.field(description="Until when, exclusive.")
    regions: list[CountryCode] = strawberry.field(description="Where it can be redeemed; empty: everywhere.")
    tags: list[str] = strawberry.field(description="The partner's keywords.")
    fulfilment: Fulfilment = strawberry.field(description="How a member gets it.")
    member_limit: int | None = strawberry.field(description="Units one member may take in a period; null: no limit.")
    member_limit_period: LimitPeriod = strawberry.field(description="The period that `memberLimit` is for.")

    @strawberry.field(graphql_type=Availability, description="Whether the viewer can redeem one now.")
    async def availability(root: Parent[offers.Benefit], info: Info) -> offers.Availability:
        """Ask for the caller."""
        return await info.context.availability(root)

    version: int = strawberry.field(description="Counts its changes, from 1. Selling does not change it.")


@strawberry.type(description="A page of benefits.")
class BenefitConnection(Connection[Benefit]):
    """A counted page."""

    @strawberry.field(description="How many there are in all pages; ignores `redeemableOnly`.")
    async def total_count(root: Parent[Page[Any]]) -> int:
        """Count when asked."""
        return 0 if root.count is None else await root.count()


# ---------------------------------------------------------------- rules


@strawberry.type(description="How fast one member may redeem: at most so many redemptions, or points, in any window.")
class VelocityRule:
    """exchange.rules.Velocity."""

    window_seconds: int = strawberry.field(description="How far back it looks, in seconds.")
    redemptions_max: int | None = strawberry.field(description="At most so many redemptions; null: any number.")
    points_max: Points | None = strawberry.field(description="At most so many points; null: any number.")
    points_from: Points = strawberry.field(description="Only redemptions of at least so many points count.")

    @strawberry.field(graphql_type=Benefit | None, description="Only redemptions of this benefit count; null: of all.")
    async def benefit(root: Parent[laws.Velocity], info: Info) -> offers.Benefit | None:
        """Load the benefit, if the caller may know of it."""
        found = None if root.benefit is None else await info.context.benefits.load(root.benefit)
        return found if found is not None and (info.context.is_staff or info.context.sees(found)) else None


@strawberry.type(description="A benefit that the exchange has stopped.")
class FrozenBenefit:
    """exchange.rules.FrozenBenefit."""

    sku: str = strawberry.field(description="Its partner's own name for it.")
    reason: str = strawberry.field(description="Why.")


@strawberry.type(description="What a partner has laid down for its points and for what goes through it.")
class Rules:
    """exchange.rules.Rules."""

    is_type_of = made_of(laws.Rules)

    partner = the_partner("partner", "Whose they are; the exchange's hold for all.")

    version: int = strawberry.field(description="Counts the changes; 0: nothing was ever laid down.")
    award_reversal: AwardReversal = strawberry.field(description="What happens to an award of which a part is gone.")
    gift_day_points: Points = strawberry.field(description="How many of its points a member may give away a day (UTC).")
    time_zone: str = strawberry.field(description="In which days, weeks and months of limits begin.")
    velocity: list[VelocityRule] = strawberry.field(description="How fast members may redeem.")

    @strawberry.field(description="Since when they hold; null where nothing was laid down.")
    def since(root: Parent[laws.Rules]) -> datetime | None:
        """Leave out the beginning of time."""
        return root.since if root.version else None

    @strawberry.field(description="Why the exchange has stopped all redemptions that concern it; null: it has not.")
    def frozen(root: Parent[laws.Rules]) -> str | None:
        """Say the reason."""
        return root.frozen

    frozen_benefits: list[FrozenBenefit] = strawberry.field(
        description="Those of its benefits that the exchange has stopped one by one."
    )
    reason: str | None = strawberry.field(description="Why this version was made, where the exchange said so.")


# ---------------------------------------------------------------- members and points


@strawberry.type(description="Points of one issuer with one expiry.")
class Lot(Node):
    """exchange.wallet.Lot."""

    is_type_of = made_of(wallets.Lot)

    issuer = the_partner("issuer", "Who awarded them, and owes when they are spent elsewhere.")

    awarded: Points = strawberry.field(description="As many as were given.")
    remaining: Points = strawberry.field(description="As many as are left, held or not.")
    held: Points = strawberry.field(description="As many of the remaining as reservations hold.")
    expires_at: datetime | None = strawberry.field(description="When what is left is lost; null: never.")
    active_from: datetime | None = strawberry.field(description="From when on they can be spent; null: from the first.")
    frozen: bool = strawberry.field(description="Whether its issuer, or the exchange, has stopped spending from it.")
    given: Points = strawberry.field(description="As many as the member passed on to another.")
    withdrawn: Points = strawberry.field(description="As many as the issuer took back.")


@strawberry.type(
    description="Points of an issuer that were reversed after they were spent: its next awards repay them."
)
class Debt:
    """graph.listings.OwedPoints."""

    issuer = the_partner("issuer", "Whom the member owes them.")

    points: Points = strawberry.field(description="How many.")


@strawberry.type(description="Points that are lost at one moment if they are not spent before.")
class PointsExpiration:
    """exchange.passbook.Expiration."""

    expires_at: datetime = strawberry.field(description="When.")
    points: Points = strawberry.field(description="How many, held or not.")


@strawberry.type(description="A member's points, from all issuers.")
class Wallet:
    """exchange.wallet.Wallet."""

    frozen: bool = strawberry.field(description="Whether the exchange has stopped all spending from it.")

    @strawberry.field(description="Points that are cooling off: not yet part of the balance.")
    async def pending(root: Parent[DomainWallet], info: Info) -> Points:
        """Count as of now."""
        return Points(root.pending(await info.context.now()))

    @strawberry.field(
        graphql_type=list[Debt], description="What the member owes issuers; a partner's server sees its own alone."
    )
    def debts(root: Parent[DomainWallet], info: Info) -> list[listings.OwedPoints]:
        """Show those that are the caller's to see."""
        mine = info.context.is_member
        return [
            listings.OwedPoints(issuer, points)
            for issuer, points in root.debts.items()
            if mine or issuer == info.context.partner
        ]

    @strawberry.field(description="Points that are not expired, held or not.")
    async def balance(root: Parent[DomainWallet], info: Info) -> Points:
        """Count as of now."""
        return Points(root.balance(await info.context.now()))

    @strawberry.field(description="Points of the balance that reservations hold.")
    async def held(root: Parent[DomainWallet], info: Info) -> Points:
        """Count as of now."""
        return Points(root.held(await info.context.now()))

    @strawberry.field(description="Balance less what is held.")
    async def available(root: Parent[DomainWallet], info: Info) -> Points:
        """Count as of now."""
        return Points(root.available(await info.context.now()))

    @strawberry.field(
        graphql_type=Connection[Lot], description="Lots in the order of award; a partner's server sees its own alone."
    )
    def lots(
        root: Parent[DomainWallet],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[wallets.Lot]:
        """Cut a page out of the wallet."""
        cursors = info.context.cursors(f"lots/{root.id}")
        window = cursors.window(sent(first), sent(after))
        ids = [lot.id for lot in root.lots]
        if window.after is not None and window.after[0] not in ids:
            raise fault(Code.BAD_USER_INPUT, "the row of this cursor is no longer in this list")
        start = 0 if window.after is None else ids.index(window.after[0]) + 1
        mine = info.context.is_member
        visible = [lot for lot in root.lots[start:] if mine or lot.issuer == info.context.partner]
        return page(cursors, window, [((lot.id,), lot) for lot in visible[: window.size + 1]])

    @strawberry.field(description="Points of the balance that expire before that moment.")
    async def expiring(root: Parent[DomainWallet], info: Info, before: Moment) -> Points:
        """Count as of now."""
        return Points(root.expiring(before, await info.context.now()))

    @strawberry.field(
        graphql_type=Connection[PointsExpiration],
        description="What expires when, the soonest first; a partner's server sees its own points alone. "
        "Points that never expire are not listed.",
    )
    async def expirations(
        root: Parent[DomainWallet],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[passbook.Expiration]:
        """List as of now."""
        return await listings.expiring(info.context, root, first, after)


@strawberry.type(description="A partner through which the member's points may be earned and spent.")
class Link:
    """exchange.wallet.Link."""

    partner = the_partner("partner", "The partner.")

    since: datetime = strawberry.field(description="When it was made.")
    daily_limit: Points | None = strawberry.field(description="Points a day (UTC) that may be spent through it.")


@strawberry.type(description="Members who share a pool of points: any of them can draw from it.")
class Household:
    """exchange.wallet.Wallet, seen as a pool."""

    @strawberry.field(graphql_type=Wallet, description="The points that they share.")
    def pool(root: Parent[DomainWallet]) -> DomainWallet:
        """Show the pool's own wallet."""
        return root

    @strawberry.field(description="How many share it.")
    def size(root: Parent[DomainWallet]) -> int:
        """Count them."""
        return len(root.members)

    @strawberry.field(graphql_type=list["Member"], description="Those of them that the asking partner knows.")
    async def members(root: Parent[DomainWallet], info: Info) -> list[DomainWallet]:
        """Load those who have a link to the caller's partner."""
        found = await info.context.wallets.load_many(root.members)
        return [wallet for wallet in found if wallet is not None and wallet.linked_to(info.context.partner)]


@strawberry.type(description="Points that came into a lot, or left it.")
class PointsMovement:
    """exchange.passbook.Movement."""

    issuer = the_partner("issuer", "Whose points they are.")

    points: Points = strawberry.field(description="How many; negative when they left.")

    @strawberry.field(description="The id of the lot: `node` finds it.")
    def lot_id(root: Parent[passbook.Movement], info: Info) -> strawberry.ID:
        """Seal the lot's identity for this caller."""
        return strawberry.ID(info.context.ids.seal(Kind.LOT, root.lot))


@strawberry.type(
    description="What happened to a member's points. The member sees all of it; a partner's server sees, of what it "
    "brought or what moved lots of its own, those lots alone."
)
class PointsEvent:
    """exchange.passbook.PointsEvent."""

    at: datetime = strawberry.field(description="When.")
    kind: EntryKind = strawberry.field(description="What happened.")
    points: Points = strawberry.field(description="What it changed of the balance: the sum of its movements.")
    held: Points = strawberry.field(description="What it changed of the held points; negative when they were let go.")
    reason: str | None = strawberry.field(description="Why, in the words of the partner that brought it.")

    @strawberry.field(graphql_type="Redemption | None", description="Of which redemption, if the caller may see it.")
    async def redemption(root: Parent[passbook.PointsEvent], info: Info) -> DomainRedemption | None:
        """Find it."""
        return None if root.redemption is None else await listings.redemption(info.context, root.redemption)

    @strawberry.field(graphql_type=Benefit | None, description="The benefit, as its partner describes it now.")
    async def benefit(root: Parent[passbook.PointsEvent], info: Info) -> offers.Benefit | None:
        """Load it; to whom the event was only reported, no more of it than everybody sees."""
        found = None if root.benefit is None else await info.context.benefits.load(root.benefit)
        return found if found is not None and (root.by is not None or info.context.sees(found)) else None

    partner = the_partner("by", "Who brought it; null for a partner that did not.", nullable=True)

    movements: list[PointsMovement] = strawberry.field(description="Lot by lot, what came and what left.")


@strawberry.type(
    description="A member, as the caller knows it: ids are pairwise per partner. "
    "wallet is null for a partner the member has no link to."
)
class Member(Node):
    """exchange.wallet.Wallet, seen as the person it belongs to."""

    is_type_of = made_of(DomainWallet)

    @strawberry.field(description="The asking partner's own reference of the member; no other member's.")
    async def reference(root: Parent[DomainWallet], info: Info) -> str | None:
        """Find the caller's link."""
        link = root.link(info.context.partner)
        return None if link is None or await info.context.is_another(root) else link.reference

    @strawberry.field(graphql_type=list[Link], description="The member sees all its links, a partner its own.")
    async def links(root: Parent[DomainWallet], info: Info) -> list[wallets.Link]:
        """Show the open ones that are the caller's to see."""
        if not await info.context.opens(root):
            return []
        mine = info.context.is_member
        return [link for link in root.links if link.open and (mine or link.partner == info.context.partner)]

    @strawberry.field(
        graphql_type=Wallet | None,
        description="Its points; null without a link to the asking partner, and to any other member.",
    )
    async def wallet(root: Parent[DomainWallet], info: Info) -> DomainWallet | None:
        """Show it to whom it is open."""
        info.context.require("points:read", "points:award", "redemptions:redeem")
        return root if await info.context.opens(root) else None

    @strawberry.field(graphql_type=Household | None, description="The household it shares; null where it shares none.")
    async def household(root: Parent[DomainWallet], info: Info) -> DomainWallet | None:
        """Show its pool to whom the wallet is open."""
        info.context.require("points:read", "points:award", "redemptions:redeem")
        if root.household is None or not await info.context.opens(root):
            return None
        return await info.context.wallets.load(root.household)

    @strawberry.field(
        graphql_type=Connection["Redemption"], description="What it redeemed that the caller may see, newest first."
    )
    async def redemptions(
        root: Parent[DomainWallet],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[DomainRedemption]:
        """List with the wallet fixed."""
        return await listings.redemptions(info.context, first, after, None, wallets=root.whole)

    @strawberry.field(
        graphql_type=Connection[PointsEvent],
        description="What happened to its points that the caller may see, newest first.",
    )
    async def history(
        root: Parent[DomainWallet],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[passbook.PointsEvent]:
        """List for this caller."""
        return await listings.history(info.context, root, first, after)


# ---------------------------------------------------------------- redemption


@strawberry.type(
    description="The points that one issuer's lots gave under one agreement version, and what the issuer owes the "
    "provider for them (null except to that issuer, the provider and finance)."
)
class LotDebit:
    """A debit of a redemption as the caller may see it."""

    is_type_of = made_of(listings.SeenDebit)

    issuer = the_partner("debit.issuer", "Whose points they were.")

    @strawberry.field(description="How many.")
    def points(root: Parent[listings.SeenDebit]) -> Points:
        """Read the debit."""
        return Points(root.debit.points)

    @strawberry.field(graphql_type=Money | None, description="What the issuer owes for them.")
    def owed(root: Parent[listings.SeenDebit], info: Info) -> Amount | None:
        """Show it to whom it concerns."""
        context = info.context
        server = not context.is_member and context.partner in (root.debit.issuer, root.provider)
        return root.debit.owed if server or context.has("finance:view") else None


@strawberry.type(description="A member's taking of a benefit.")
class Redemption(Node):
    """exchange.redemption.Redemption."""

    is_type_of = made_of(DomainRedemption)

    @strawberry.field(graphql_type=Benefit, description="What was taken, as its partner describes it now.")
    async def benefit(root: Parent[DomainRedemption], info: Info) -> offers.Benefit | None:
        """Load the benefit as it is now."""
        return await info.context.benefits.load(root.benefit)

    @strawberry.field(graphql_type=Member, description="Who took it.")
    async def member(root: Parent[DomainRedemption], info: Info) -> DomainWallet | None:
        """Load the wallet."""
        return await info.context.wallets.load(root.wallet)

    channel = the_partner("channel", "The partner whose app brought it.")

    quantity: int = strawberry.field(description="Units of the benefit.")
    points: Points = strawberry.field(description="What it cost in all.")

    @strawberry.field(description="Where it stands: a reservation is EXPIRED from its deadline on.")
    async def status(root: Parent[DomainRedemption], info: Info) -> RedemptionStatus:
        """Read it as of now."""
        return root.standing(await info.context.now())

    @strawberry.field(graphql_type=list[LotDebit], description="Who gave the points, in the order they were consumed.")
    def debits(root: Parent[DomainRedemption]) -> list[listings.SeenDebit]:
        """Pair each debit with the provider, who may see what it is owed."""
        return [listings.SeenDebit(debit, root.provider) for debit in root.debits]

    @strawberry.field(description="The codes, for the member and the app that redeemed; empty for others.")
    def codes(root: Parent[DomainRedemption], info: Info) -> list[str]:
        """Decrypt for those who may use them."""
        if info.context.partner != root.channel:
            return []
        return [info.context.services.catalog.open_code(root.benefit, cipher) for cipher in root.codes]

    reserved_until: datetime | None = strawberry.field(description="Until when a reservation holds its points.")
    created_at: datetime = strawberry.field(description="When it was made.")
    updated_at: datetime = strawberry.field(description="When it last changed.")


@strawberry.type(description="What a benefit costs a member, promised for a while: pass its id when redeeming.")
class Quote:
    """exchange.quote.Quote."""

    is_type_of = made_of(DomainQuote)

    @strawberry.field(description="Opaque id.")
    def id(root: Parent[DomainQuote], info: Info) -> strawberry.ID:
        """Seal the identity."""
        return strawberry.ID(info.context.ids.of(root))

    @strawberry.field(graphql_type=Benefit, description="What it is for.")
    async def benefit(root: Parent[DomainQuote], info: Info) -> offers.Benefit | None:
        """Load the benefit."""
        return await info.context.benefits.load(root.benefit)

    points: Points = strawberry.field(description="What it costs in all.")

    @strawberry.field(graphql_type=list[LotDebit], description="Whose points would pay for it, and the price pinned.")
    def debits(root: Parent[DomainQuote]) -> list[listings.SeenDebit]:
        """Pair each debit with the provider, who may see what it is owed."""
        return [listings.SeenDebit(debit, root.provider) for debit in root.debits]

    expires_at: datetime = strawberry.field(description="Until when it is good.")
