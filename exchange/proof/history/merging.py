"""Two members who become one, and one who becomes two again."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from exchange.journal import EXCHANGE
from exchange.merging import Moved
from exchange.proof import Wrong
from exchange.proof.history.event import Event, Judged, Known
from exchange.proof.history.lots import unless
from exchange.wallet import Absorbed, Given, Wallet


def merge(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge two members becoming one: all of the one goes over as it is, and what is left is a signpost."""
    moved, wrong = _moved(event)
    if moved is None:
        return wallet, wrong
    if not event.receives:
        mine = Moved(wallet.lots, wallet.links, wallet.taken, wallet.given)
        wrong += unless(moved == mine, 3, event, "takes over something else than the member had")
        held = any(lot.held for lot in wallet.lots)
        bound = held or wallet.frozen or wallet.household or wallet.debts or wallet.absorbed
        wrong += unless(not bound, 3, event, "merges a member that holds, owes, shares or is frozen")
        return Wallet(wallet.id, wallet.version, wallet.period, merged_into=event.other), wrong
    came = tuple(link.partner for link in moved.links if wallet.link(link.partner) is None)
    record = Absorbed(
        wallet=event.other or "", version=event.counted("version"), at=event.at,
        lots=tuple(lot.id for lot in moved.lots), links=moved.links, came=came, taken=moved.taken, given=moved.given,
    )  # fmt: skip
    known = {lot.id for lot in wallet.lots}
    wrong += unless(known.isdisjoint(record.lots) and not wallet.frozen, 3, event, "brings lots that were here")
    taken = Counter(wallet.taken)
    taken.update(moved.taken)
    given = dict(wallet.given)
    for issuer, theirs in moved.given.items():
        ours = given.get(issuer, theirs._replace(points=0))
        together = Given(theirs.on, ours.points + theirs.points)
        given[issuer] = together if ours.on == theirs.on else max(ours, theirs)
    return replace(
        wallet, lots=wallet.lots + moved.lots, taken=dict(taken), given=given, absorbed=(*wallet.absorbed, record),
        links=wallet.links + tuple(link for link in moved.links if link.partner in came),
    ), wrong  # fmt: skip


def unmerge(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge two members going their own ways: back goes what came and was not spent, and what followed it."""
    moved, wrong = _moved(event)
    if moved is None:
        return wallet, wrong
    if event.receives:
        wrong += unless(wallet.merged_into == event.other, 3, event, f"parts from {wallet.merged_into}")
        return replace(
            wallet, merged_into=None, lots=moved.lots, links=moved.links, taken=moved.taken, given=moved.given
        ), wrong
    record = wallet.absorbed[-1] if wallet.absorbed else None
    if record is None or record.wallet != event.other or record.spent:
        return wallet, [*wrong, Wrong(3, f"entry {event.id} parts what is not merged, or is spent")]
    back = tuple(lot for lot in wallet.lots if record.brought(lot))
    here, links = {link.partner: link for link in wallet.links}, []
    for then in record.links:
        now = here.get(then.partner, then)
        ended_since = then.ended_at is None and now.ended_at is not None and now.ended_at >= record.at
        own = replace(then, ended_at=now.ended_at) if ended_since else then
        links.append(now if then.partner in record.came else own)
    due = Moved(back, tuple(links), record.taken, record.given)
    wrong += unless(moved == due and not any(lot.held for lot in back), 3, event, "gives back something else")
    wrong += unless(not wallet.frozen or event.by == EXCHANGE, 3, event, "parts a member that is frozen")
    taken = Counter(wallet.taken)
    taken.subtract(record.taken)
    return replace(
        wallet, lots=tuple(lot for lot in wallet.lots if lot not in back), absorbed=wallet.absorbed[:-1],
        links=tuple(link for link in wallet.links if link.partner not in record.came), taken=dict(taken),
    ), wrong  # fmt: skip


def _moved(event: Event) -> tuple[Moved | None, list[Wrong]]:
    try:
        moved = Moved.read(event.said.get("moved", ""))
    except (ValueError, KeyError, TypeError):
        return None, [Wrong(3, f"entry {event.id} does not say what it moves")]
    posted = {change.lot: abs(change.points) for change in event.changes}
    there = {lot.id: lot.remaining for lot in moved.lots if lot.remaining}
    return moved, unless(posted == there, 3, event, "does not post what it moves")
