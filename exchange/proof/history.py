"""A wallet's history: the fold of its entries, judged on the way.

This is the second opinion on `decisions`: it shares the form of a wallet with them, and none of their reasoning. From
what entries say happened it makes the wallet that must have come of it, and says at which entry something happened
that must not: more taken from a lot than was free, a lot that expires later taken before one that could have been
spent, a version that no entry accounts for, an entry of an earlier period than what it rests on.

What it cannot see: the member's references (entries hold no personal data), and holds, of which there are none yet.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    benefit: str | None = None
    provider: str | None = None
    quantity: int = 0
    expires_at: datetime | None = None
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
            benefit=entry.benefit, provider=entry.provider, quantity=entry.quantity,
            expires_at=datetime.fromisoformat(said["expires_at"]) if "expires_at" in said else None,
            daily_limit=int(said["daily_limit"]) if "daily_limit" in said else None,
            ended=said.get("ended"),
        )  # fmt: skip


def fold(wallet: Wallet, events: Iterable[Event], book: AgreementBook) -> tuple[Wallet, list[Wrong]]:
    """Return the wallet that its next events make, and all that is wrong with them. References stay empty.

    The events come in order of version and place. Those of one version are of one block: it was one commit.
    """
    folded = wallet
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
        step, complaints = _STEPS[event.kind](folded, event, book)
        wrong += complaints
        folded = replace(step, version=event.version, period=max(event.period, folded.period))
    return folded, wrong


_Step = tuple[Wallet, list[Wrong]]


def _enrol(wallet: Wallet, event: Event, _: AgreementBook) -> _Step:
    link = wallet.link(event.by)
    if link is None:
        return wallet.with_link(Link(event.by, "", event.at)), _unless(not event.changes, 3, event, "moves points")
    return wallet, _unless(link.open and not event.changes, 3, event, "came through an ended link, or moves points")


def _award(wallet: Wallet, event: Event, book: AgreementBook) -> _Step:
    lots = [
        Lot(change.lot, change.issuer, change.points, change.points, event.expires_at, event.at)
        for change in event.changes
    ]
    sound = len(lots) == 1 and lots[0].id == event.id and lots[0].issuer == event.by and lots[0].awarded > 0
    fresh = all(wallet.lot(lot.id) is None for lot in lots)
    linked, wrong = _enrol(wallet, replace(event, changes=()), book)
    return replace(linked, lots=(*wallet.lots, *lots)), wrong + _unless(sound and fresh, 2, event, "is not one new lot")


def _redeem(wallet: Wallet, event: Event, book: AgreementBook) -> _Step:
    poorer, wrong = _taken(wallet, event)
    touched = {change.lot for change in event.changes}
    last = max((_rank(place, lot) for place, lot in enumerate(wallet.lots) if lot.id in touched), default=None)
    spendable = _surely_spendable(event, book)
    for place, lot in enumerate(poorer.lots):
        if last is not None and _rank(place, lot) < last and lot.free > 0 and lot.live(event.at) and spendable(lot):
            wrong.append(Wrong(6, f"entry {event.id} left {lot.free} points of lot {lot.id}, which expires first"))
    points = -sum(change.points for change in event.changes)
    link = wallet.link(event.by)
    if link is None or not link.open:
        wrong.append(Wrong(3, f"entry {event.id} came through {event.by}, to which there was no open link"))
    else:
        left = link.day_left(event.at)
        wrong += _unless(left is None or points <= left, 3, event, "spends more than the link's limit for a day")
        poorer = poorer.with_link(link.spend(points, event.at))
    wrong += _unless(event.benefit is not None and event.quantity > 0 and points > 0, 3, event, "takes nothing")
    return poorer.with_taken(event.benefit or "", event.quantity), wrong


def _expire(wallet: Wallet, event: Event, _: AgreementBook) -> _Step:
    poorer, wrong = _taken(wallet, event)
    for change in event.changes:
        lot = wallet.lot(change.lot)
        whole = lot is not None and not lot.live(event.at) and lot.free == -change.points
        wrong += _unless(whole, 2, event, f"expires lot {change.lot} before its time, or not all of it")
    return poorer, wrong


def _link(wallet: Wallet, event: Event, _: AgreementBook) -> _Step:
    known = wallet.link(event.by)
    link = Link(event.by, "", event.at, event.daily_limit)
    if known is not None:
        since = known.since if known.open else event.at
        link = replace(link, since=since, spent_on=known.spent_on, spent=known.spent)
    return wallet.with_link(link), []


def _unlink(wallet: Wallet, event: Event, _: AgreementBook) -> _Step:
    link = wallet.link(event.ended or "")
    if link is None or not link.open:
        return wallet, [Wrong(3, f"entry {event.id} ends a link that was not open")]
    return wallet.with_link(replace(link, ended_at=event.at)), []


_STEPS: dict[EntryKind, Callable[[Wallet, Event, AgreementBook], _Step]] = {
    EntryKind.ENROL: _enrol,
    EntryKind.AWARD: _award,
    EntryKind.REDEEM: _redeem,
    EntryKind.EXPIRE: _expire,
    EntryKind.LINK: _link,
    EntryKind.UNLINK: _unlink,
}


def _taken(wallet: Wallet, event: Event) -> _Step:
    """Take an event's points out of its lots, down to below nothing if that is what it says."""
    wrong: list[Wrong] = []
    lots = {lot.id: lot for lot in wallet.lots}
    gone = "redeemed" if event.kind is EntryKind.REDEEM else "expired"
    for lot_id, issuer, points in event.changes:
        lot = lots.get(lot_id)
        if lot is None or lot.issuer != issuer or points >= 0:
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, which is not {issuer}'s here"))
            continue
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
        if not (0 <= lot.held <= lot.remaining and lot.awarded == lot.remaining + lot.redeemed + lot.expired)
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


def _each(wallet: str, what: str, stored: Mapping[str, object], folded: Mapping[str, object]) -> list[Wrong]:
    return [
        Wrong(3, f"wallet {wallet}, {what} {name}: {stored.get(name)}, its entries make {folded.get(name)}")
        for name in sorted(stored.keys() | folded.keys())
        if stored.get(name) != folded.get(name)
    ]
