"""Who asks, and what one request has read so far.

The tenant comes from the verified token and from nowhere else. Everything here lives for one request: the loaders
gather the reads of a level of the query into one each, and what is asked once is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

import strawberry
from strawberry.dataloader import DataLoader

from exchange.agreements import AgreementBook
from exchange.benefit import Availability, Benefit, Stock, Taker, availability
from exchange.commands import ByReference
from exchange.decisions import Terms, taker_of
from exchange.errors import Forbidden, NotFound
from exchange.exposure import CapBook, Pair
from exchange.limits import LOOK_BACK_MAX, look_back
from exchange.redemption import Redemption
from exchange.rules import RuleBook
from exchange.settlement.calendar import CalendarBook
from exchange.settlement.signoff import Policy
from exchange.wallet import Wallet
from graph.identifiers import Identifiers, Kind
from graph.paging import Cursors
from graph.refusals import Code, fault
from graph.services import Services
from partners.oauth.scopes import STAFF_SCOPES
from partners.oauth.tokens import Principal, PrincipalKind
from partners.registry import Partner

T = TypeVar("T")
ANY_STAFF = STAFF_SCOPES


class Once(Generic[T]):
    """A value that is read when first asked for, and then kept; asking at the same time reads it once."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._task: asyncio.Future[T] | None = None

    async def __call__(self) -> T:
        """Return the value."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._read())
        return await self._task


def by_id(read: Callable[[Iterable[str]], Awaitable[Mapping[str, T]]]) -> DataLoader[str, T | None]:
    """Return a loader over a store's `read`: None for what does not exist."""

    async def load(ids: list[str]) -> list[T | None]:
        found = await read(ids)
        return [found.get(one) for one in ids]

    return DataLoader(load_fn=load)


class Context:
    """One request's caller, loaders and memory."""

    def __init__(self, services: Services, principal: Principal) -> None:
        self.services = services
        self.principal = principal
        self.ids = Identifiers(services.keyring, principal.partner)
        self.benefits: DataLoader[str, Benefit | None] = by_id(services.catalog.get)
        self.stock: DataLoader[str, Stock | None] = by_id(services.catalog.stock)
        self.wallets: DataLoader[str, Wallet | None] = by_id(services.members.wallets)
        self.redemptions: DataLoader[str, Redemption | None] = by_id(services.members.redemptions)
        self.now: Once[datetime] = Once(services.now)
        self.terms: Once[tuple[AgreementBook, RuleBook, CapBook]] = Once(services.books.current_terms)
        self.headroom: Once[dict[Pair, int]] = Once(self._headroom)
        self.recent: Once[list[Redemption]] = Once(self._recent)
        self.own_wallet: Once[Wallet | None] = Once(self._own_wallet)
        self.sign_off_policy: Once[Policy] = Once(self._sign_off_policy)
        self.calendars: Once[CalendarBook] = Once(services.calendars.book)
        self.staff: Once[dict[str, str]] = Once(self._staff)
        self.compares = False
        """Whether a statement is compared in this request: one is, because the same content is soon named again."""

    # ------------------------------------------------------------ the caller

    @property
    def is_member(self) -> bool:
        """Whether a member asks, through a partner's app."""
        return self.principal.kind is PrincipalKind.MEMBER

    @property
    def is_staff(self) -> bool:
        """Whether somebody of the exchange asks."""
        return self.principal.kind is PrincipalKind.STAFF

    @property
    def partner(self) -> str:
        """The partner that asks, or through which a member asks; empty, and so nobody's, for staff."""
        return self.principal.partner or ""

    def has(self, *scopes: str) -> bool:
        """Whether the token carries any of these scopes."""
        return not self.principal.scopes.isdisjoint(scopes)

    def require(self, *scopes: str) -> None:
        """Fail the field (FORBIDDEN) unless the token carries one of these scopes."""
        if not self.has(*scopes):
            raise fault(Code.FORBIDDEN, f"needs the scope {' or '.join(scopes)}")

    def require_of_mutation(self, *scopes: str) -> None:
        """Refuse (Forbidden, as data) unless the token carries one of these scopes."""
        if not self.has(*scopes):
            raise Forbidden(f"needs the scope {' or '.join(scopes)}", required_scope=scopes[0])

    async def _own_wallet(self) -> Wallet | None:
        if self.principal.member is None:
            return None
        return await self.services.members.wallet_of(ByReference(self.partner, self.principal.member))

    def forget_wallet(self) -> None:
        """Read the asking member's wallet anew when it is asked for next: the member has become another."""
        self.own_wallet = Once(self._own_wallet)

    def forget_terms(self) -> None:
        """Read agreements, rules and caps anew when they are asked for next: they have been changed."""
        self.terms = Once(self.services.books.current_terms)

    def forget_calendars(self) -> None:
        """Read them anew when they are asked for next: one was added."""
        self.calendars = Once(self.services.calendars.book)

    def forget_sign_off_policy(self) -> None:
        """Read it anew when it is asked for next: it has been changed."""
        self.sign_off_policy = Once(self._sign_off_policy)

    def cursors(self, order: str) -> Cursors:
        """Return the cursors of one list, as this caller sees them: two partners' are as different as their ids."""
        return Cursors(self.services.keyring, f"{self.principal.partner or ''}/{order}")

    # ------------------------------------------------------------ what several fields ask

    async def partner_of(self, handle: str) -> Partner:
        """Return a partner by its handle; partners are resident, so this seldom reads."""
        return await self.services.registry.get(handle)

    async def partner_named(self, sealed: str | None, name: str) -> str | None:
        """Return the handle behind a partner's id in the input; None for None; NotFound if there is no such partner."""
        if sealed is None:
            return None
        handle = self.ids.open(Kind.PARTNER, sealed)
        partner = None if handle is None else await self.services.registry.find(handle)
        if partner is None or not partner.roles:
            raise NotFound("no such partner", ("input", name))
        return partner.handle

    async def opens(self, wallet: Wallet) -> bool:
        """Whether the caller may look into a wallet: a member into its own alone, and a pool as those who share it."""
        if wallet.members:
            sharing = [one for one in await self.wallets.load_many(wallet.members) if one is not None]
            return any([await self.opens(one) for one in sharing])
        return wallet.linked_to(self.partner) and not await self.is_another(wallet)

    async def is_another(self, wallet: Wallet) -> bool:
        """Whether a member asks, and this is the wallet of another: one that shares its household, for instance."""
        mine = await self.own_wallet() if self.is_member else wallet
        return mine is None or mine.id != wallet.id

    def sees(self, benefit: Benefit) -> bool:
        """Whether the caller may know of this benefit: a partner's members see no more than everybody."""
        return benefit.status == "PUBLISHED" or (not self.is_member and benefit.partner == self.partner)

    async def availability(self, benefit: Benefit) -> Availability:
        """Return whether the caller can redeem a benefit now, with every reason why not."""
        now, (_, rules, _) = await asyncio.gather(self.now(), self.terms())
        stock = await self.stock.load(benefit.id) or Stock(0)
        taker = await self.taker(benefit, now) if self.is_member else None
        frozen = rules.frozen_benefit(benefit.partner, benefit.id)
        return availability(benefit, stock, now, taker, frozen=frozen)

    async def taker(self, benefit: Benefit, now: datetime) -> Taker:
        """Return what matters of the member that asks."""
        wallet, (book, rules, _) = await asyncio.gather(self.own_wallet(), self.terms())
        region = self.principal.region
        link = None if wallet is None else wallet.link(self.partner)
        if wallet is None or link is None or not link.open:
            return Taker(region=region)
        since = look_back([benefit], rules, now)
        recent = [] if since is None else await self.recent()
        terms = Terms(book, rules=rules, recent=recent, headroom=await self.headroom())
        return taker_of(wallet, link, benefit, region, terms, now, benefit.points_price)

    async def _headroom(self) -> dict[Pair, int]:
        """Read what the capped among the issuers of the asking member's points have left."""
        wallet, (_, _, caps) = await asyncio.gather(self.own_wallet(), self.terms())
        concerned = [] if wallet is None else caps.of(lot.issuer for lot in wallet.lots)
        return await self.services.headroom.lefts(concerned)

    async def _sign_off_policy(self) -> Policy:
        policy, _ = await self.services.sign_off.policy()
        return policy

    async def _staff(self) -> dict[str, str]:
        """Return the addresses of the exchange's people, by what their tokens call them."""
        subject = self.services.tokens.staff_subject
        return {subject(one.email): one.email for one in await self.services.staff.everybody()}

    async def _recent(self) -> list[Redemption]:
        """Read what the asking member redeemed, as far back as any limit can look."""
        wallet, now = await asyncio.gather(self.own_wallet(), self.now())
        if wallet is None:
            return []
        return await self.services.books.recent_redemptions(wallet.whole, now - LOOK_BACK_MAX)


Info = strawberry.Info[Context, Any]
