"""Points that come, are taken back, last longer, are frozen, and are over."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from exchange.journal import EXCHANGE, EntryKind
from exchange.proof import Wrong
from exchange.proof.history.event import Change, Event, Judged, Known
from exchange.proof.history.links import enrol
from exchange.proof.history.lots import marked, taken, unless, with_lot
from exchange.wallet import Lot, Wallet


def award(wallet: Wallet, event: Event, known: Known) -> Judged:
    """Judge an award: one new lot, out of which only what the member owes its issuer is taken at once."""
    linked, wrong = enrol(wallet, replace(event, changes=()), known)
    owed, repaid = wallet.debts.get(event.by, 0), event.counted("repaid")
    lots = [
        Lot(
            change.lot, change.issuer, change.points, change.points - repaid, event.expires_at, event.at,
            withdrawn=repaid, active_from=event.active_from,
        )
        for change in event.changes[:1]
    ]  # fmt: skip
    repayment = [Change(lot.id, lot.issuer, -repaid) for lot in lots if repaid]
    sound = len(lots) == 1 and lots[0].id == event.id and lots[0].issuer == event.by and lots[0].awarded > 0
    wrong += unless(sound and wallet.lot(event.id) is None, 2, event, "is not one new lot")
    due = min(owed, lots[0].awarded) if lots else 0
    wrong += unless(
        repaid == due and list(event.changes[1:]) == repayment, 2, event, f"repays {repaid} of {owed} points owed"
    )
    return _owing(replace(linked, lots=(*wallet.lots, *lots)), event.by, -repaid), wrong


def reverse_award(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge an award taken back: what is free of it, and a debt for no more than what had gone."""
    name, debt = event.said.get("lot", ""), event.counted("debt")
    lot = wallet.lot(name)
    if lot is None or lot.issuer != event.by or lot.passed_on:
        return wallet, [Wrong(2, f"entry {event.id} reverses lot {name}, which {event.by} did not award here")]
    points = -sum(change.points for change in event.changes)
    wrong = unless(all(change.lot == name for change in event.changes), 2, event, f"takes from others than {name}")
    wrong += unless(0 < points + debt <= lot.reversible, 2, event, f"takes {points} and {debt} back")
    wrong += unless(debt == 0 or lot.free == points, 2, event, "makes a debt of points that were free")
    poorer, more = taken(
        replace(wallet, lots=with_lot(wallet, replace(lot, owed=lot.owed + debt))), event, event.changes
    )
    final = marked(poorer, [Change(name, lot.issuer, debt)]) if debt else poorer
    return _owing(final, event.by, debt), wrong + more


def extend(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge more time: for a lot of the issuer's own that is not over, and later than it had."""
    name = event.said.get("lot", "")
    lot = wallet.lot(name)
    if lot is None or lot.issuer != event.by or not lot.live(event.at) or lot.expires_at is None:
        return wallet, [Wrong(2, f"entry {event.id} gives more time to lot {name}, which cannot have it")]
    later = event.expires_at is None or event.expires_at > lot.expires_at
    wrong = unless(later and not event.changes, 2, event, f"does not give lot {name} more time")
    return replace(wallet, lots=with_lot(wallet, replace(lot, expires_at=event.expires_at))), wrong


def adjust(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge a goodwill: one new lot of its issuer, or points out of its free ones."""
    wrong = unless({"reason", "actor"} <= event.said.keys(), 3, event, "says not who decided it, or why")
    if all(change.points > 0 for change in event.changes):
        lots = [Lot(*change, change.points, event.expires_at, event.at) for change in event.changes]
        fresh = [(lot.id, lot.issuer) for lot in lots] == [(event.id, event.by)] and wallet.lot(event.id) is None
        wrong += unless(fresh, 2, event, "is not one new lot")
        return replace(wallet, lots=(*wallet.lots, *lots)), wrong
    wrong += unless({change.issuer for change in event.changes} == {event.by}, 2, event, "takes others' points")
    poorer, more = taken(wallet, event, event.changes)
    return poorer, wrong + more


def freeze(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge a freezing, or its end: of the wallet or of one lot, said by whom and why, and a change."""
    name, frozen = event.said.get("lot"), event.kind is EntryKind.FREEZE
    wrong = unless(not event.changes and {"reason", "actor"} <= event.said.keys(), 3, event, "is no freezing")
    if name is None:
        wrong += unless(wallet.frozen != frozen, 3, event, "changes nothing")
        return replace(wallet, frozen=frozen), wrong
    lot = wallet.lot(name)
    by = event.by if frozen else None
    if lot is None or lot.frozen_by == by or (lot.frozen_by == EXCHANGE and event.by != EXCHANGE):
        return wallet, [*wrong, Wrong(3, f"entry {event.id} freezes lot {name}, or lets it go on, for nothing")]
    return replace(wallet, lots=with_lot(wallet, replace(lot, frozen_by=by))), wrong


def expire(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge what is over: all that was free of a lot, and not before its time."""
    poorer, wrong = taken(wallet, event, event.changes)
    for change in event.changes:
        lot = wallet.lot(change.lot)
        whole = lot is not None and not lot.live(event.at) and lot.free == -change.points
        wrong += unless(whole, 2, event, f"expires lot {change.lot} before its time, or not all of it")
    return poorer, wrong


def _owing(wallet: Wallet, issuer: str, points: int) -> Wallet:
    owed = Counter(wallet.debts)
    owed[issuer] += points
    return replace(wallet, debts={other: debt for other, debt in owed.items() if debt})
