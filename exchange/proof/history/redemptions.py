"""Benefits that are taken, held, let go and given back: what that does to the wallet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from exchange.journal import EntryKind
from exchange.proof import Wrong
from exchange.proof.history.event import Change, Event, Hold, Judged, Known
from exchange.proof.history.lots import marked, taken, unless
from exchange.proof.stops import RECORDED_WITHIN
from exchange.wallet import Lot, Wallet

GRACE = timedelta(days=30)
"""How long points last that come back into a lot whose time was over."""


_NEVER = datetime.max.replace(tzinfo=UTC)


def redeem(wallet: Wallet, event: Event, known: Known) -> Judged:
    """Judge points that are taken at once."""
    poorer, wrong = taken(wallet, event, event.changes)
    return _counted(poorer, event, [change._replace(points=-change.points) for change in event.changes], known, wrong)


def reserve(wallet: Wallet, event: Event, known: Known) -> Judged:
    """Judge points that are held until a deadline."""
    wrong = unless(not event.changes, 8, event, "moves points that it only holds")
    lots = {lot.id: lot for lot in wallet.lots}
    for lot_id, issuer, points in event.holds:
        lot = lots.get(lot_id)
        if (
            lot is None
            or lot.issuer != issuer
            or points <= 0
            or lot.frozen
            or not lot.counts(event.at)
            or lot.free < points
        ):
            wrong.append(Wrong(2, f"entry {event.id} holds {points} of lot {lot_id}, which has not that many free"))
        if lot is not None:
            lots[lot_id] = replace(lot, held=lot.held + points)
    until = event.until or event.at
    wrong += unless(until > event.at, 8, event, "holds until before it began")
    known.holds[event.redemption or event.id] = Hold(
        event.at, until, event.channel or event.by, event.benefit or "", event.quantity, event.holds
    )
    held = marked(replace(wallet, lots=tuple(lots.values())), event.holds)
    return _counted(held, event, event.holds, known, wrong)


def _counted(poorer: Wallet, event: Event, takes: Sequence[Change], known: Known, wrong: list[Wrong]) -> Judged:
    """Judge a taking, at once or held: was it the turn of these lots, might it be through this link, is it counted."""
    touched = {take.lot for take in takes}
    last = max((_rank(place, lot) for place, lot in enumerate(poorer.lots) if lot.id in touched), default=None)
    spendable = _surely_spendable(event, known)
    for place, lot in enumerate(poorer.lots):
        if last is not None and _rank(place, lot) < last and lot.free > 0 and spendable(lot):
            wrong.append(Wrong(6, f"entry {event.id} left {lot.free} points of lot {lot.id}, which expires first"))
    points = sum(take.points for take in takes)
    link = poorer.link(event.by)
    if link is None or not link.open:
        wrong.append(Wrong(3, f"entry {event.id} came through {event.by}, to which there was no open link"))
    else:
        left = link.day_left(event.at)
        wrong += unless(left is None or points <= left, 3, event, "spends more than the link's limit for a day")
        poorer = poorer.with_link(link.spend(points, event.at))
    wrong += unless(event.benefit is not None and event.quantity > 0 and points > 0, 3, event, "takes nothing")
    wrong += unless(not poorer.frozen, 3, event, "takes out of a frozen wallet")
    return poorer.with_taken(event.benefit or "", event.quantity), wrong


def confirm(wallet: Wallet, event: Event, known: Known) -> Judged:
    """Judge what is taken of an open hold: its first points, before its deadline; the rest is let go."""
    freed, hold, wrong = _ended(wallet, event, known)
    poorer, more = taken(freed, event, event.changes)
    wrong += more
    if hold is None:
        return poorer, wrong
    wrong += unless(not wallet.frozen, 3, event, "takes out of a frozen wallet")
    link = wallet.link(hold.channel)
    wrong += unless(link is not None and link.open, 3, event, "confirms through a link that was not open")
    wrong += unless(event.at < hold.until, 8, event, f"confirms a hold that ended at {hold.until}")
    wrong += unless(0 < event.quantity <= hold.quantity, 8, event, f"confirms {event.quantity} of {hold.quantity}")
    # The first points of the hold are taken, in its order.
    due, first = hold.unit_points * event.quantity, []
    for take in hold.takes:
        first.append(take._replace(points=-min(take.points, due)))
        due += first[-1].points
    expected = [change for change in first if change.points]
    wrong += unless(list(event.changes) == expected, 8, event, "takes other points than the first that were held")
    return _let_go(poorer, event, hold, hold.quantity - event.quantity), wrong


def release(wallet: Wallet, event: Event, known: Known) -> Judged:
    """Judge a hold that is let go: cancelled before its deadline, or lapsed from then on."""
    freed, hold, wrong = _ended(wallet, event, known)
    wrong += unless(not event.changes, 3, event, "moves points")
    if hold is None:
        return freed, wrong
    over = event.at >= hold.until
    wrong += unless(over == (event.kind is EntryKind.LAPSE), 8, event, f"ends a hold that ended at {hold.until}")
    return _let_go(freed, event, hold, hold.quantity), wrong


def _ended(wallet: Wallet, event: Event, known: Known) -> tuple[Wallet, Hold | None, list[Wrong]]:
    """Let go what an entry says was held; only what an open hold holds can be let go, once and all of it."""
    hold = known.holds.pop(event.redemption or "", None)
    held = () if hold is None else hold.takes
    let_go = tuple(change._replace(points=-change.points) for change in event.holds)
    wrong = unless(hold is not None, 8, event, "ends a hold that was not open")
    wrong += unless(let_go == held, 8, event, "does not let go what was held")
    points = Counter({change.lot: change.points for change in event.holds})
    lots = tuple(replace(lot, held=lot.held + points[lot.id]) for lot in wallet.lots)
    return replace(wallet, lots=lots), hold, wrong


def _let_go(wallet: Wallet, event: Event, hold: Hold, quantity: int) -> Wallet:
    """Uncount the units that a hold did not come to: of the limit, and of the day if it is still the same."""
    if quantity == 0:
        return wallet
    lighter = wallet.with_taken(hold.benefit, -quantity)
    link = wallet.link(hold.channel)
    if link is None or hold.at.date() != event.at.date():
        return lighter
    return lighter.with_link(link.spend(-hold.unit_points * quantity, event.at))


def fulfil(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge a delivery: it moves no points."""
    return wallet, unless(not event.changes, 3, event, "moves points")


def give_back(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge points that come back: into the lots they came from, never more than went, with new time where it is over.

    What was still free in a lot whose time is over is lost before.
    """
    losses = tuple(change for change in event.changes if change.points < 0)
    back = tuple(change for change in event.changes if change.points >= 0)
    returning = {change.lot for change in back}
    wrong = unless(bool(back) and event.quantity > 0, 3, event, "gives nothing back")
    for change in losses:
        lot = wallet.lot(change.lot)
        whole = lot is not None and not lot.live(event.at) and lot.free == -change.points
        sound = whole and change.lot in returning
        wrong += unless(sound, 2, event, f"expires lot {change.lot} before its time, or not all of it")
    poorer, more = taken(wallet, event, losses)
    wrong += more
    lots = {lot.id: lot for lot in poorer.lots}
    for lot_id, issuer, points in back:
        lot = lots.get(lot_id)
        if lot is None or lot.issuer != issuer:
            wrong.append(Wrong(2, f"entry {event.id} gives {points} to lot {lot_id}, which is not {issuer}'s here"))
            continue
        if lot.restored + points > lot.redeemed:
            wrong.append(Wrong(8, f"entry {event.id} gives {points} back to lot {lot_id}, more than was taken of it"))
        if not lot.live(event.at):
            wrong += unless(lot.free == 0, 2, event, f"gives new time to {lot.free} points of lot {lot_id}")
            wrong += unless(event.until == event.at + GRACE, 2, event, f"gives lot {lot_id} time until {event.until}")
            lot = replace(lot, expires_at=event.until)
        lots[lot_id] = replace(lot, remaining=lot.remaining + points, restored=lot.restored + points)
    of = event.said.get("taken_by", "").partition("@")[0]
    wrong += unless(not of or of in wallet.whole, 3, event, f"gives back what {of} took, who is not this member")
    richer = replace(poorer, lots=tuple(lots.values()))
    return richer.with_taken(event.benefit or "", -event.quantity, of), wrong


def _rank(place: int, lot: Lot) -> tuple[datetime, int]:
    return lot.expires_at or _NEVER, place


def _surely_spendable(event: Event, known: Known) -> Callable[[Lot], bool]:
    before = event.at - RECORDED_WITHIN
    return lambda lot: (
        event.provider is not None
        and lot.counts(event.at)
        and not lot.frozen
        and known.book.accepts(lot.issuer, event.provider, before)
        and not known.stops.possible(lot.issuer, event.at)
    )
