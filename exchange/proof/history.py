"""A wallet's history: the fold of its entries, judged on the way.

This is the second opinion on `decisions`: it shares the form of a wallet with them, and none of their reasoning. From
what entries say happened it makes the wallet that must have come of it, and says at which entry something happened
that must not: more taken from a lot than was free, a lot that expires later taken before one that could have been
spent, a version that no entry accounts for, an entry of an earlier period than what it rests on, a hold that ends twice
or too late, more given back than was taken.

What it cannot see: the member's references (entries hold no personal data). What a step may do to a redemption is
judged beside it (`redemptions`); here it is judged what it does to the wallet.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from exchange.agreements import AgreementBook
from exchange.journal import Account, Entry, EntryKind
from exchange.proof import Wrong
from exchange.wallet import Link, Lot, Wallet

RECORDED_WITHIN = timedelta(minutes=1)
"""An agreement holds at the earliest from when it was added, but may be seen a moment later. One that began within
this time before a redemption is not held against it."""

GRACE = timedelta(days=30)
"""How long points last that come back into a lot whose time was over."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class Change(NamedTuple):
    """What an entry did to one lot: points, negative when they went."""

    lot: str
    issuer: str
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A wallet's side of an entry. `version`: the wallet's, `place`: the block's lane and seq, and the index there."""

    id: str
    kind: EntryKind
    at: datetime
    by: str
    version: int
    place: tuple[int, int, int]
    period: int
    changes: tuple[Change, ...] = ()
    holds: tuple[Change, ...] = ()
    redemption: str | None = None
    channel: str | None = None
    benefit: str | None = None
    provider: str | None = None
    quantity: int = 0
    expires_at: datetime | None = None
    until: datetime | None = None
    daily_limit: int | None = None
    ended: str | None = None

    @classmethod
    def of(cls, entry: Entry, place: tuple[int, int, int], period: int) -> Event:
        """Return what an entry, at its place in a block of `period`, means to its wallet."""
        said = entry.detail
        return cls(
            id=entry.id, kind=entry.kind, at=entry.at, by=entry.by, version=entry.wallet_version, place=place,
            period=period,
            changes=tuple(
                Change(posting.lot or "", posting.party, posting.amount)
                for posting in entry.postings
                if posting.account is Account.WALLET
            ),
            holds=tuple(Change(*take) for take in entry.holds), redemption=entry.redemption, channel=entry.channel,
            benefit=entry.benefit, provider=entry.provider, quantity=entry.quantity,
            expires_at=datetime.fromisoformat(said["expires_at"]) if "expires_at" in said else None,
            until=datetime.fromisoformat(said["until"]) if "until" in said else None,
            daily_limit=int(said["daily_limit"]) if "daily_limit" in said else None,
            ended=said.get("ended"),
        )  # fmt: skip


class Hold(NamedTuple):
    """What a reservation keeps for itself, from `at` until before `until`."""

    at: datetime
    until: datetime
    channel: str
    benefit: str
    quantity: int
    takes: tuple[Change, ...]

    @property
    def unit_points(self) -> int:
        """Points for one unit."""
        return sum(take.points for take in self.takes) // (self.quantity or 1)


Holds = dict[str, Hold]
"""The open ones, by redemption."""


class _Known(NamedTuple):
    book: AgreementBook
    holds: Holds


def fold(
    wallet: Wallet, events: Iterable[Event], book: AgreementBook, holds: Holds | None = None
) -> tuple[Wallet, list[Wrong]]:
    """Return the wallet that its next events make, and all that is wrong with them. References stay empty.

    The events come in order of version and place. Those of one version are of one block: it was one commit. `holds`:
    those that are open before, and that are open afterwards.
    """
    folded = wallet
    known = _Known(book, {} if holds is None else holds)
    wrong: list[Wrong] = []
    block: tuple[int, int] | None = None
    for event in events:
        same = event.version == folded.version and event.place[:2] == block
        if not same and event.version != folded.version + 1:
            wrong.append(
                Wrong(3, f"wallet {wallet.id}: entry {event.id} made version {event.version} of {folded.version}")
            )
        block = event.place[:2]
        if event.period < folded.period:
            wrong.append(
                Wrong(9, f"entry {event.id} of period {event.period} rests on wallet {wallet.id} of {folded.period}")
            )
        step, complaints = _STEPS[event.kind](folded, event, known)
        wrong += complaints
        if event.holds and event.kind not in _HOLDING:
            wrong.append(Wrong(8, f"entry {event.id} holds points, or lets them go"))
        folded = replace(step, version=event.version, period=max(event.period, folded.period))
    return folded, wrong


_Step = tuple[Wallet, list[Wrong]]


def _enrol(wallet: Wallet, event: Event, _: _Known) -> _Step:
    link = wallet.link(event.by)
    if link is None:
        return wallet.with_link(Link(event.by, "", event.at)), _unless(not event.changes, 3, event, "moves points")
    return wallet, _unless(link.open and not event.changes, 3, event, "came through an ended link, or moves points")


def _award(wallet: Wallet, event: Event, known: _Known) -> _Step:
    lots = [
        Lot(change.lot, change.issuer, change.points, change.points, event.expires_at, event.at)
        for change in event.changes
    ]
    sound = len(lots) == 1 and lots[0].id == event.id and lots[0].issuer == event.by and lots[0].awarded > 0
    fresh = all(wallet.lot(lot.id) is None for lot in lots)
    linked, wrong = _enrol(wallet, replace(event, changes=()), known)
    return replace(linked, lots=(*wallet.lots, *lots)), wrong + _unless(sound and fresh, 2, event, "is not one new lot")


def _redeem(wallet: Wallet, event: Event, known: _Known) -> _Step:
    poorer, wrong = _taken(wallet, event, event.changes)
    return _counted(poorer, event, [change._replace(points=-change.points) for change in event.changes], known, wrong)


def _reserve(wallet: Wallet, event: Event, known: _Known) -> _Step:
    wrong = _unless(not event.changes, 8, event, "moves points that it only holds")
    lots = {lot.id: lot for lot in wallet.lots}
    for lot_id, issuer, points in event.holds:
        lot = lots.get(lot_id)
        if lot is None or lot.issuer != issuer or points <= 0 or not lot.live(event.at) or lot.free < points:
            wrong.append(Wrong(2, f"entry {event.id} holds {points} of lot {lot_id}, which has not that many free"))
        if lot is not None:
            lots[lot_id] = replace(lot, held=lot.held + points)
    until = event.until or event.at
    wrong += _unless(until > event.at, 8, event, "holds until before it began")
    known.holds[event.redemption or event.id] = Hold(
        event.at, until, event.channel or event.by, event.benefit or "", event.quantity, event.holds
    )
    return _counted(replace(wallet, lots=tuple(lots.values())), event, event.holds, known, wrong)


def _counted(poorer: Wallet, event: Event, takes: Sequence[Change], known: _Known, wrong: list[Wrong]) -> _Step:
    """Judge a taking, at once or held: was it the turn of these lots, might it be through this link, is it counted."""
    touched = {take.lot for take in takes}
    last = max((_rank(place, lot) for place, lot in enumerate(poorer.lots) if lot.id in touched), default=None)
    spendable = _surely_spendable(event, known.book)
    for place, lot in enumerate(poorer.lots):
        if last is not None and _rank(place, lot) < last and lot.free > 0 and lot.live(event.at) and spendable(lot):
            wrong.append(Wrong(6, f"entry {event.id} left {lot.free} points of lot {lot.id}, which expires first"))
    points = sum(take.points for take in takes)
    link = poorer.link(event.by)
    if link is None or not link.open:
        wrong.append(Wrong(3, f"entry {event.id} came through {event.by}, to which there was no open link"))
    else:
        left = link.day_left(event.at)
        wrong += _unless(left is None or points <= left, 3, event, "spends more than the link's limit for a day")
        poorer = poorer.with_link(link.spend(points, event.at))
    wrong += _unless(event.benefit is not None and event.quantity > 0 and points > 0, 3, event, "takes nothing")
    return poorer.with_taken(event.benefit or "", event.quantity), wrong


def _confirm(wallet: Wallet, event: Event, known: _Known) -> _Step:
    freed, hold, wrong = _ended(wallet, event, known)
    poorer, more = _taken(freed, event, event.changes)
    wrong += more
    if hold is None:
        return poorer, wrong
    link = wallet.link(hold.channel)
    wrong += _unless(link is not None and link.open, 3, event, "confirms through a link that was not open")
    wrong += _unless(event.at < hold.until, 8, event, f"confirms a hold that ended at {hold.until}")
    wrong += _unless(0 < event.quantity <= hold.quantity, 8, event, f"confirms {event.quantity} of {hold.quantity}")
    # The first points of the hold are taken, in its order.
    due, first = hold.unit_points * event.quantity, []
    for take in hold.takes:
        first.append(take._replace(points=-min(take.points, due)))
        due += first[-1].points
    expected = [change for change in first if change.points]
    wrong += _unless(list(event.changes) == expected, 8, event, "takes other points than the first that were held")
    return _let_go(poorer, event, hold, hold.quantity - event.quantity), wrong


def _release(wallet: Wallet, event: Event, known: _Known) -> _Step:
    freed, hold, wrong = _ended(wallet, event, known)
    wrong += _unless(not event.changes, 3, event, "moves points")
    if hold is None:
        return freed, wrong
    over = event.at >= hold.until
    wrong += _unless(over == (event.kind is EntryKind.LAPSE), 8, event, f"ends a hold that ended at {hold.until}")
    return _let_go(freed, event, hold, hold.quantity), wrong


def _ended(wallet: Wallet, event: Event, known: _Known) -> tuple[Wallet, Hold | None, list[Wrong]]:
    """Let go what an entry says was held; only what an open hold holds can be let go, once and all of it."""
    hold = known.holds.pop(event.redemption or "", None)
    held = () if hold is None else hold.takes
    let_go = tuple(change._replace(points=-change.points) for change in event.holds)
    wrong = _unless(hold is not None, 8, event, "ends a hold that was not open")
    wrong += _unless(let_go == held, 8, event, "does not let go what was held")
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


def _fulfil(wallet: Wallet, event: Event, _: _Known) -> _Step:
    return wallet, _unless(not event.changes, 3, event, "moves points")


def _return(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge points that come back: into the lots they came from, never more than went, with new time where it is over.

    What was still free in a lot whose time is over is lost before.
    """
    losses = tuple(change for change in event.changes if change.points < 0)
    back = tuple(change for change in event.changes if change.points >= 0)
    returning = {change.lot for change in back}
    wrong = _unless(bool(back) and event.quantity > 0, 3, event, "gives nothing back")
    for change in losses:
        lot = wallet.lot(change.lot)
        whole = lot is not None and not lot.live(event.at) and lot.free == -change.points
        sound = whole and change.lot in returning
        wrong += _unless(sound, 2, event, f"expires lot {change.lot} before its time, or not all of it")
    poorer, more = _taken(wallet, event, losses)
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
            wrong += _unless(lot.free == 0, 2, event, f"gives new time to {lot.free} points of lot {lot_id}")
            wrong += _unless(event.until == event.at + GRACE, 2, event, f"gives lot {lot_id} time until {event.until}")
            lot = replace(lot, expires_at=event.until)
        lots[lot_id] = replace(lot, remaining=lot.remaining + points, restored=lot.restored + points)
    return replace(poorer, lots=tuple(lots.values())).with_taken(event.benefit or "", -event.quantity), wrong


def _expire(wallet: Wallet, event: Event, _: _Known) -> _Step:
    poorer, wrong = _taken(wallet, event, event.changes)
    for change in event.changes:
        lot = wallet.lot(change.lot)
        whole = lot is not None and not lot.live(event.at) and lot.free == -change.points
        wrong += _unless(whole, 2, event, f"expires lot {change.lot} before its time, or not all of it")
    return poorer, wrong


def _link(wallet: Wallet, event: Event, _: _Known) -> _Step:
    known = wallet.link(event.by)
    link = Link(event.by, "", event.at, event.daily_limit)
    if known is not None:
        since = known.since if known.open else event.at
        link = replace(link, since=since, spent_on=known.spent_on, spent=known.spent)
    return wallet.with_link(link), []


def _unlink(wallet: Wallet, event: Event, _: _Known) -> _Step:
    link = wallet.link(event.ended or "")
    if link is None or not link.open:
        return wallet, [Wrong(3, f"entry {event.id} ends a link that was not open")]
    return wallet.with_link(replace(link, ended_at=event.at)), []


_STEPS: dict[EntryKind, Callable[[Wallet, Event, _Known], _Step]] = {
    EntryKind.ENROL: _enrol,
    EntryKind.AWARD: _award,
    EntryKind.REDEEM: _redeem,
    EntryKind.EXPIRE: _expire,
    EntryKind.LINK: _link,
    EntryKind.UNLINK: _unlink,
    EntryKind.RESERVE: _reserve,
    EntryKind.CONFIRM: _confirm,
    EntryKind.CANCEL: _release,
    EntryKind.LAPSE: _release,
    EntryKind.FULFIL: _fulfil,
    EntryKind.FAIL: _return,
    EntryKind.REVERSE: _return,
}
_HOLDING = (EntryKind.RESERVE, EntryKind.CONFIRM, EntryKind.CANCEL, EntryKind.LAPSE)
_REDEEMING = (EntryKind.REDEEM, EntryKind.CONFIRM)


def _taken(wallet: Wallet, event: Event, changes: Sequence[Change]) -> _Step:
    """Take points out of lots, down to below nothing if that is what an event says."""
    wrong: list[Wrong] = []
    lots = {lot.id: lot for lot in wallet.lots}
    gone = "redeemed" if event.kind in _REDEEMING else "expired"
    for lot_id, issuer, points in changes:
        lot = lots.get(lot_id)
        if lot is None or lot.issuer != issuer or points >= 0:
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, which is not {issuer}'s here"))
            continue
        # What was held may be taken after the lot's end: that is what it was held for.
        late = event.kind is EntryKind.REDEEM and not lot.live(event.at)
        if late or lot.free < -points:
            free = 0 if late else lot.free
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, {free} free"))
        counted = {gone: getattr(lot, gone) - points}
        lots[lot_id] = replace(lot, remaining=lot.remaining + points, **counted)
    return replace(wallet, lots=tuple(lots.values())), wrong


def _rank(place: int, lot: Lot) -> tuple[datetime, int]:
    return lot.expires_at or _NEVER, place


def _surely_spendable(event: Event, book: AgreementBook) -> Callable[[Lot], bool]:
    before = event.at - RECORDED_WITHIN
    return lambda lot: event.provider is not None and book.accepts(lot.issuer, event.provider, before)


def _unless(sound: bool, invariant: int, event: Event, what: str) -> list[Wrong]:  # noqa: FBT001 - reads as it is said
    return [] if sound else [Wrong(invariant, f"entry {event.id} {what}")]


def differences(stored: Wallet, folded: Wallet) -> list[Wrong]:
    """Return in what a stored wallet is not the fold of its entries, and what is impossible in it by itself."""
    wrong = [
        Wrong(2, f"wallet {stored.id}, lot {lot.id}: {lot.held} held of {lot.remaining} of {lot.awarded}")
        for lot in stored.lots
        if not (
            0 <= lot.held <= lot.remaining and lot.awarded == lot.remaining + lot.redeemed + lot.expired - lot.restored
        )
    ]
    anonymous = replace(stored, links=tuple(replace(link, reference="") for link in stored.links))
    for name in ("version", "period"):
        ours, theirs = getattr(anonymous, name), getattr(folded, name)
        if ours != theirs:
            wrong.append(Wrong(3, f"wallet {stored.id} is of {name} {ours}, its entries make {theirs}"))
    wrong += _each(stored.id, "lot", {lot.id: lot for lot in stored.lots}, {lot.id: lot for lot in folded.lots})
    if [lot.id for lot in stored.lots] != [lot.id for lot in folded.lots]:
        wrong.append(Wrong(3, f"wallet {stored.id}: its lots are not in the order of award"))
    links = ({link.partner: link for link in wallet.links} for wallet in (anonymous, folded))
    wrong += _each(stored.id, "link", *links)
    wrong += _each(stored.id, "count of", dict(stored.taken), dict(folded.taken))
    return wrong


def unheld(stored: Wallet, holds: Holds) -> list[Wrong]:
    """Return the lots of which a stored wallet holds something else than its open holds do."""
    open_holds: Counter[str] = Counter()
    for hold in holds.values():
        for take in hold.takes:
            open_holds[take.lot] += take.points
    held = {lot.id: lot.held for lot in stored.lots}
    return [
        Wrong(8, f"wallet {stored.id}, lot {lot}: {held.get(lot, 0)} points held, by open holds {open_holds[lot]}")
        for lot in sorted(held.keys() | open_holds.keys())
        if held.get(lot, 0) != open_holds[lot]
    ]


def _each(wallet: str, what: str, stored: Mapping[str, object], folded: Mapping[str, object]) -> list[Wrong]:
    return [
        Wrong(3, f"wallet {wallet}, {what} {name}: {stored.get(name)}, its entries make {folded.get(name)}")
        for name in sorted(stored.keys() | folded.keys())
        if stored.get(name) != folded.get(name)
    ]
