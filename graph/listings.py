"""The lists that fields show: benefits, redemptions and a member's history, as the caller may see them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from exchange.agreements import Debit
from exchange.benefit import TAGS_MAX, Benefit
from exchange.passbook import Expiration, PointsEvent, expirations
from exchange.redemption import Redemption, RedemptionStatus
from exchange.store.catalog import ENDING_SOON, NEWEST, POINTS_PRICE, RELEVANCE, Found, Wanted, words_of
from exchange.wallet import Wallet
from graph.context import Context
from graph.enums import BenefitSort
from graph.identifiers import Kind
from graph.inputs import BenefitFilter, sent
from graph.paging import Page, Position, Window, page
from graph.refusals import Code, fault

_SORTS = {
    BenefitSort.POINTS_PRICE: POINTS_PRICE,
    BenefitSort.NEWEST: NEWEST,
    BenefitSort.ENDING_SOON: ENDING_SOON,
    BenefitSort.RELEVANCE: RELEVANCE,
}
SEARCH_MAX = 200
SCAN_CHUNK = 100
SCAN_MAX = 1_000
"""Most benefits looked at for one page of `redeemableOnly`: the next page goes on where this one stopped."""

Arguments = tuple[Any, Any, Any, Any]
"""A connection's first, after, last, before."""


class SeenDebit(NamedTuple):
    """A debit, with the provider that it is owed to: both decide who may see the money."""

    debit: Debit
    provider: str


class OwedPoints(NamedTuple):
    """Points that a member owes an issuer."""

    issuer: str
    points: int


async def benefits(
    context: Context, arguments: Arguments, chosen: BenefitFilter | None, order: BenefitSort | None,
    partner: str | None = None,
) -> Page[Benefit]:  # fmt: skip
    """List benefits; `partner` fixes whose."""
    context.require("benefits:read", *_staff(context))
    wanted, only = _wanted(context, chosen or None, partner)
    sort_name = order or BenefitSort.NEWEST
    sort = _SORTS[sort_name]
    first, after, last, before = (sent(argument) for argument in arguments)
    cursors = context.cursors(f"benefits/{sort_name.value}")
    window = cursors.window(first, after, last, before)
    if sort is RELEVANCE and wanted is not None and wanted.search is None:
        raise fault(Code.BAD_USER_INPUT, "RELEVANCE needs `search`")
    if sort is RELEVANCE and window.backwards:
        raise fault(Code.BAD_USER_INPUT, "RELEVANCE pages forward only: use `first`")
    if wanted is None:
        return page(cursors, window, [], _nothing)
    known = wanted

    async def count() -> int:
        return await context.services.catalog.count(known)

    if not only:
        found = await _read(context, wanted, window, sort_name, window.size + 1)
        return page(cursors, window, [((row.key, row.benefit.id), row.benefit) for row in found], count)
    found, stopped = await _redeemable(context, wanted, window, sort_name)
    return page(cursors, window, [((row.key, row.benefit.id), row.benefit) for row in found], count, stopped=stopped)


async def _read(context: Context, wanted: Wanted, window: Window, order: BenefitSort, limit: int) -> list[Found]:
    after = None if window.after is None else (window.after[0], window.after[1])
    return await context.services.catalog.list(wanted, _SORTS[order], limit, after, backwards=window.backwards)


async def _redeemable(
    context: Context, wanted: Wanted, window: Window, order: BenefitSort
) -> tuple[list[Found], Position | None]:
    """Look through the list until the page is full, the list ends, or enough was looked at: then say where."""
    kept: list[Found] = []
    looked = 0
    while looked < SCAN_MAX:
        chunk = await _read(context, wanted, window, order, SCAN_CHUNK)
        looked += len(chunk)
        # Together, so that their stock is read at once.
        found = await asyncio.gather(*(context.availability(row.benefit) for row in chunk))
        kept += [row for row, told in zip(chunk, found, strict=True) if told.redeemable]
        if len(kept) > window.size:
            return kept, None
        if len(chunk) < SCAN_CHUNK:
            return kept, None
        window = window._replace(after=(chunk[-1].key, chunk[-1].benefit.id))
    return kept, window.after


def _wanted(context: Context, chosen: BenefitFilter | None, partner: str | None) -> tuple[Wanted | None, bool]:
    """Return what the filter asks for (None: nothing can match) and whether only what can be redeemed."""
    wanted = Wanted(viewer=None if context.is_member else context.principal.partner, partner=partner)
    if chosen is None:
        return wanted, False
    named = sent(chosen.partner)
    if named is not None:
        handle = context.ids.open(Kind.PARTNER, named)
        if handle is None or handle != (partner or handle):
            return None, False
        wanted = replace(wanted, partner=handle)
    tags = sent(chosen.tags) or ()
    if len(tags) > TAGS_MAX:
        raise fault(Code.BAD_USER_INPUT, f"no benefit has more than {TAGS_MAX} tags")
    search = sent(chosen.search)
    if search is not None and (len(search) > SEARCH_MAX or not words_of(search)):
        raise fault(Code.BAD_USER_INPUT, f"`search` must have words, in at most {SEARCH_MAX} characters")
    status = sent(chosen.status)
    return replace(
        wanted, category=sent(chosen.category), region=sent(chosen.region),
        status=None if status is None else tuple(dict.fromkeys(status)), tags=tags,
        points_price_max=sent(chosen.points_price_max), search=search,
    ), sent(chosen.redeemable_only) is True  # fmt: skip


async def redemptions(
    context: Context, first: Any, after: Any, status: Sequence[RedemptionStatus] | None,
    wallets: Sequence[str] | None = None, only: Sequence[str] | None = None,
) -> Page[Redemption]:  # fmt: skip
    """List redemptions, newest first: a member's own, those a partner brought or provides, all for finance.

    `wallets` fixes whose, `only` which.
    """
    owners = await owners_seen(context)
    if wallets is not None:
        owners = [owner | {"wallet": one} for owner in owners for one in wallets if owner.get("wallet", one) == one]
    if only is not None:
        owners = [owner | {"_id": one} for owner in owners for one in only]
    cursors = context.cursors("redemptions")
    window = cursors.window(sent(first), sent(after))
    position = None if window.after is None else (window.after[0], window.after[1])
    rows = await context.services.members.list_redemptions(owners, window.size + 1, position, status) if owners else []
    return page(cursors, window, [((row.created_at, row.id), row) for row in rows])


async def owners_seen(context: Context) -> list[dict[str, str]]:
    """Return whose redemptions the caller sees, {} being everybody's; FORBIDDEN without a scope for any."""
    if context.is_member:
        context.require("redemptions:read")
        wallet = await context.own_wallet()
        seen = wallet.whole if wallet is not None and wallet.linked_to(context.partner) else ()
        return [{"wallet": one} for one in seen]
    context.require("redemptions:redeem", "redemptions:fulfil", "finance:view")
    owners: list[dict[str, str]] = []
    if context.has("finance:view"):
        owners.append({})
    if context.has("redemptions:redeem"):
        owners.append({"channel": context.partner})
    if context.has("redemptions:fulfil"):
        owners.append({"provider": context.partner})
    return owners


async def redemption(context: Context, identity: str) -> Redemption | None:
    """Return one redemption, if the caller may see it."""
    owners = await owners_seen(context)
    found = await context.redemptions.load(identity)
    if found is None or not any(all(getattr(found, k) == v for k, v in owner.items()) for owner in owners):
        return None
    return found


async def history(context: Context, wallet: Wallet, first: Any, after: Any) -> Page[PointsEvent]:
    """List what happened to a member's points, newest first: all for the member, for a partner what concerns it."""
    context.require("points:read", "points:award", "redemptions:redeem")
    cursors = context.cursors(f"history/{wallet.id}")
    window = cursors.window(sent(first), sent(after))
    if not await context.opens(wallet):
        return page(cursors, window, [])
    position = None if window.after is None else (window.after[0], window.after[1])
    events = await context.services.members.history(
        wallet.id, window.size + 1, position, concerning=None if context.is_member else context.partner
    )
    return page(cursors, window, [(event.place, event) for event in events])


async def expiring(context: Context, wallet: Wallet, first: Any, after: Any) -> Page[Expiration]:
    """List what expires when, the soonest first: all for the member, for a partner's server its own points."""
    cursors = context.cursors(f"expirations/{wallet.id}")
    window = cursors.window(sent(first), sent(after))
    found = expirations(wallet, await context.now(), None if context.is_member else context.partner)
    behind = found if window.after is None else [row for row in found if row.expires_at > window.after[0]]
    return page(cursors, window, [((row.expires_at,), row) for row in behind[: window.size + 1]])


def _staff(context: Context) -> Sequence[str]:
    return tuple(context.principal.scopes) if context.is_staff else ()


async def _nothing() -> int:
    return 0
