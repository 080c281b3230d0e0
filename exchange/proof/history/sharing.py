"""Points that go from one wallet to another, and who shares a household."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from exchange.journal import EntryKind
from exchange.proof import Wrong
from exchange.proof.history.event import NEVER, Event, Judged, Known, moment
from exchange.proof.history.lots import taken, unless
from exchange.wallet import Given, Lot, Wallet


def pass_on(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge points that go to another wallet: out of lots that could be spent, into new ones of the same issuers."""
    if event.receives:
        return _passed_here(wallet, event)
    drawn = event.kind is EntryKind.DRAW
    poorer, wrong = taken(wallet, event, event.changes)
    points = -sum(change.points for change in event.changes)
    wrong += unless(points > 0, 3, event, "passes nothing on")
    there = [(change.issuer, change.points) for change in event.others]
    wrong += unless(
        there == [(change.issuer, -change.points) for change in event.changes],
        2,
        event,
        "brings other points than it takes",
    )
    ends = [None if lot is None else lot.expires_at for lot in (wallet.lot(change.lot) for change in event.changes)]
    wrong += unless(_ends(event) == ends, 2, event, "gives points another end than they had")
    if drawn:
        return poorer, wrong + unless(event.other in wallet.members, 3, event, "is drawn by one who is no member")
    wrong += unless(not wallet.frozen, 3, event, "gives out of a frozen wallet")
    if event.kind is EntryKind.PAY_IN:
        wrong += unless(wallet.household == event.other, 3, event, "pays into a pool that is not the member's")
    given = dict(poorer.given)
    for change in event.changes:
        before = given.get(change.issuer)
        day = max(event.at.date(), event.at.date() if before is None else before.on)
        so_far = before.points if before is not None and before.on == day else 0
        given[change.issuer] = Given(day, so_far - change.points)
    poorer = replace(poorer, given=given)
    link = poorer.link(event.by)
    if link is None or not link.open:
        return poorer, [*wrong, Wrong(3, f"entry {event.id} came through {event.by}, to which there was no open link")]
    left = link.day_left(event.at)
    wrong += unless(left is None or points <= left, 3, event, "spends more than the link's limit for a day")
    return poorer.with_link(link.spend(points, event.at)), wrong


def _ends(event: Event) -> list[datetime | None]:
    return [None if end == NEVER else moment(end) for end in event.said.get("expire", "").split()]


def _passed_here(wallet: Wallet, event: Event) -> Judged:
    ends = _ends(event)
    wrong = unless(len(ends) == len(event.changes), 2, event, "does not say when the points expire")
    lots = [
        Lot(change.lot, change.issuer, change.points, change.points, end, event.at)
        for change, end in zip(event.changes, ends, strict=False)
    ]
    fresh = [lot.id for lot in lots] == [f"{event.id}/{n}" for n in range(len(lots))]
    wrong += unless(fresh and all(wallet.lot(lot.id) is None for lot in lots), 2, event, "brings lots that are not new")
    if event.kind is EntryKind.GIVE:
        link = wallet.link(event.by)
        wrong += unless(link is not None and link.open, 3, event, "is given through a link that was not open")
    elif event.kind is EntryKind.PAY_IN:
        wrong += unless(event.other in wallet.members, 3, event, "is paid in by one who is no member")
    return replace(wallet, lots=(*wallet.lots, *lots)), wrong


def membership(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge who shares a household: the member's side, and the pool's."""
    leaves = event.kind is EntryKind.LEAVE
    wrong = unless(not event.changes, 3, event, "moves points")
    if not event.receives:
        before = event.other if leaves else None
        wrong += unless(wallet.household == before, 3, event, f"finds the member in household {wallet.household}")
        return replace(wallet, household=None if leaves else event.other), wrong
    member = event.other or ""
    wrong += unless((member in wallet.members) == leaves, 3, event, "joins twice, or leaves what it never joined")
    wrong += unless((event.kind is EntryKind.FOUND) <= (wallet.version == 0), 3, event, "founds what was there")
    others = tuple(other for other in wallet.members if other != member)
    return replace(wallet, members=others if leaves else (*wallet.members, member)), wrong
