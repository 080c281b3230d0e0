"""Who a member is to whom: first mention, linking, and parting."""

from __future__ import annotations

from msgspec.structs import replace

from exchange.proof import Wrong
from exchange.proof.history.event import Event, Judged, Known
from exchange.proof.history.lots import unless
from exchange.wallet import Link, Wallet


def enrol(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge a mention: a new link, or one that is open."""
    link = wallet.link(event.by)
    if link is None:
        return wallet.with_link(Link(event.by, "", event.at)), unless(not event.changes, 3, event, "moves points")
    return wallet, unless(link.open and not event.changes, 3, event, "came through an ended link, or moves points")


def link(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge a linking: what was spent through the partner today counts on."""
    known = wallet.link(event.by)
    limit = event.said.get("daily_limit")
    link = Link(event.by, "", event.at, None if limit is None else int(limit))
    if known is not None:
        since = known.since if known.open else event.at
        link = replace(link, since=since, spent_on=known.spent_on, spent=known.spent)
    return wallet.with_link(link), []


def unlink(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge a parting: of a link that is open."""
    link = wallet.link(event.said.get("ended", ""))
    if link is None or not link.open:
        return wallet, [Wrong(3, f"entry {event.id} ends a link that was not open")]
    return wallet.with_link(replace(link, ended_at=event.at)), []
