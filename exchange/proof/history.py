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
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.journal import EXCHANGE, Account, Entry, EntryKind
from exchange.merging import Moved
from exchange.merging import anonymous as anonymous_links
from exchange.proof import Wrong
from exchange.proof.stops import RECORDED_WITHIN, Stops
from exchange.wallet import Absorbed, Given, Link, Lot, Wallet

GRACE = timedelta(days=30)
"""How long points last that come back into a lot whose time was over."""

_NEVER = datetime.max.replace(tzinfo=UTC)


NEVER = "-"
"""What an entry says of a lot that does not expire."""


class Change(NamedTuple):
    """What an entry did to one lot: points, negative when they went."""

    lot: str
    issuer: str
    points: int


class Event(Struct, frozen=True, kw_only=True):
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
    said: Mapping[str, str] = field(default_factory=dict)
    other: str | None = None
    others: tuple[Change, ...] = ()
    receives: bool = False

    @classmethod
    def both(cls, entry: Entry, place: tuple[int, int, int], period: int) -> list[tuple[str, Event]]:
        """Return what an entry means to each wallet that it changed: one, or two."""
        event = cls.of(entry, place, period)
        if entry.counterpart is None:
            return [(entry.wallet, event)]
        # What goes out of lots is the first one's, what comes into lots is the second one's.
        gives = tuple(change for change in event.changes if change.points < 0)
        gets = tuple(change for change in event.changes if change.points >= 0)
        other = replace(
            event, changes=gets, others=gives, version=entry.counterpart_version, other=entry.wallet, receives=True
        )
        return [
            (entry.wallet, replace(event, changes=gives, others=gets, other=entry.counterpart)),
            (entry.counterpart, other),
        ]

    @classmethod
    def of(cls, entry: Entry, place: tuple[int, int, int], period: int) -> Event:
        """Return what an entry, at its place in a block of `period`, means to its wallet, if it concerns but one."""
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
            said=said,
        )  # fmt: skip

    @property
    def active_from(self) -> datetime | None:
        """From when on awarded points can be spent."""
        return datetime.fromisoformat(self.said["active_from"]) if "active_from" in self.said else None

    def counted(self, name: str) -> int:
        """Return a number that the entry says; 0 where it says none."""
        return int(self.said.get(name, "0"))


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
    stops: Stops


def fold(
    wallet: Wallet, events: Iterable[Event], book: AgreementBook, holds: Holds | None = None,
    stops: Stops | None = None,
) -> tuple[Wallet, list[Wrong]]:  # fmt: skip
    """Return the wallet that its next events make, and all that is wrong with them. References stay empty.

    The events come in order of version and place. Those of one version are of one block: it was one commit. `holds`:
    those that are open before, and that are open afterwards. `stops`: whose points were frozen when.
    """
    folded = wallet
    known = _Known(book, {} if holds is None else holds, stops or Stops())
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
    """Judge an award: one new lot, out of which only what the member owes its issuer is taken at once."""
    linked, wrong = _enrol(wallet, replace(event, changes=()), known)
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
    wrong += _unless(sound and wallet.lot(event.id) is None, 2, event, "is not one new lot")
    due = min(owed, lots[0].awarded) if lots else 0
    wrong += _unless(
        repaid == due and list(event.changes[1:]) == repayment, 2, event, f"repays {repaid} of {owed} points owed"
    )
    return _owing(replace(linked, lots=(*wallet.lots, *lots)), event.by, -repaid), wrong


def _reverse_award(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge an award taken back: what is free of it, and a debt for no more than what had gone."""
    name, debt = event.said.get("lot", ""), event.counted("debt")
    lot = wallet.lot(name)
    if lot is None or lot.issuer != event.by or lot.passed_on:
        return wallet, [Wrong(2, f"entry {event.id} reverses lot {name}, which {event.by} did not award here")]
    points = -sum(change.points for change in event.changes)
    wrong = _unless(all(change.lot == name for change in event.changes), 2, event, f"takes from others than {name}")
    wrong += _unless(0 < points + debt <= lot.reversible, 2, event, f"takes {points} and {debt} back")
    wrong += _unless(debt == 0 or lot.free == points, 2, event, "makes a debt of points that were free")
    poorer, more = _taken(replace(wallet, lots=_with(wallet, replace(lot, owed=lot.owed + debt))), event, event.changes)
    marked = _marked(poorer, [Change(name, lot.issuer, debt)]) if debt else poorer
    return _owing(marked, event.by, debt), wrong + more


def _extend(wallet: Wallet, event: Event, _: _Known) -> _Step:
    name = event.said.get("lot", "")
    lot = wallet.lot(name)
    if lot is None or lot.issuer != event.by or not lot.live(event.at) or lot.expires_at is None:
        return wallet, [Wrong(2, f"entry {event.id} gives more time to lot {name}, which cannot have it")]
    later = event.expires_at is None or event.expires_at > lot.expires_at
    wrong = _unless(later and not event.changes, 2, event, f"does not give lot {name} more time")
    return replace(wallet, lots=_with(wallet, replace(lot, expires_at=event.expires_at))), wrong


def _adjust(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge a goodwill: one new lot of its issuer, or points out of its free ones."""
    wrong = _unless({"reason", "actor"} <= event.said.keys(), 3, event, "says not who decided it, or why")
    if all(change.points > 0 for change in event.changes):
        lots = [Lot(*change, change.points, event.expires_at, event.at) for change in event.changes]
        fresh = [(lot.id, lot.issuer) for lot in lots] == [(event.id, event.by)] and wallet.lot(event.id) is None
        wrong += _unless(fresh, 2, event, "is not one new lot")
        return replace(wallet, lots=(*wallet.lots, *lots)), wrong
    wrong += _unless({change.issuer for change in event.changes} == {event.by}, 2, event, "takes others' points")
    poorer, more = _taken(wallet, event, event.changes)
    return poorer, wrong + more


def _freeze(wallet: Wallet, event: Event, _: _Known) -> _Step:
    name, frozen = event.said.get("lot"), event.kind is EntryKind.FREEZE
    wrong = _unless(not event.changes and {"reason", "actor"} <= event.said.keys(), 3, event, "is no freezing")
    if name is None:
        wrong += _unless(wallet.frozen != frozen, 3, event, "changes nothing")
        return replace(wallet, frozen=frozen), wrong
    lot = wallet.lot(name)
    by = event.by if frozen else None
    if lot is None or lot.frozen_by == by or (lot.frozen_by == EXCHANGE and event.by != EXCHANGE):
        return wallet, [*wrong, Wrong(3, f"entry {event.id} freezes lot {name}, or lets it go on, for nothing")]
    return replace(wallet, lots=_with(wallet, replace(lot, frozen_by=by))), wrong


def _pass_on(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge points that go to another wallet: out of lots that could be spent, into new ones of the same issuers."""
    if event.receives:
        return _passed_here(wallet, event)
    drawn = event.kind is EntryKind.DRAW
    poorer, wrong = _taken(wallet, event, event.changes)
    points = -sum(change.points for change in event.changes)
    wrong += _unless(points > 0, 3, event, "passes nothing on")
    there = [(change.issuer, change.points) for change in event.others]
    wrong += _unless(
        there == [(change.issuer, -change.points) for change in event.changes],
        2,
        event,
        "brings other points than it takes",
    )
    ends = [None if lot is None else lot.expires_at for lot in (wallet.lot(change.lot) for change in event.changes)]
    wrong += _unless(_ends(event) == ends, 2, event, "gives points another end than they had")
    if drawn:
        return poorer, wrong + _unless(event.other in wallet.members, 3, event, "is drawn by one who is no member")
    wrong += _unless(not wallet.frozen, 3, event, "gives out of a frozen wallet")
    if event.kind is EntryKind.PAY_IN:
        wrong += _unless(wallet.household == event.other, 3, event, "pays into a pool that is not the member's")
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
    wrong += _unless(left is None or points <= left, 3, event, "spends more than the link's limit for a day")
    return poorer.with_link(link.spend(points, event.at)), wrong


def _ends(event: Event) -> list[datetime | None]:
    return [None if end == NEVER else _moment(end) for end in event.said.get("expire", "").split()]


def _passed_here(wallet: Wallet, event: Event) -> _Step:
    ends = _ends(event)
    wrong = _unless(len(ends) == len(event.changes), 2, event, "does not say when the points expire")
    lots = [
        Lot(change.lot, change.issuer, change.points, change.points, end, event.at)
        for change, end in zip(event.changes, ends, strict=False)
    ]
    fresh = [lot.id for lot in lots] == [f"{event.id}/{n}" for n in range(len(lots))]
    wrong += _unless(
        fresh and all(wallet.lot(lot.id) is None for lot in lots), 2, event, "brings lots that are not new"
    )
    if event.kind is EntryKind.GIVE:
        link = wallet.link(event.by)
        wrong += _unless(link is not None and link.open, 3, event, "is given through a link that was not open")
    elif event.kind is EntryKind.PAY_IN:
        wrong += _unless(event.other in wallet.members, 3, event, "is paid in by one who is no member")
    return replace(wallet, lots=(*wallet.lots, *lots)), wrong


def _membership(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge who shares a household: the member's side, and the pool's."""
    leaves = event.kind is EntryKind.LEAVE
    wrong = _unless(not event.changes, 3, event, "moves points")
    if not event.receives:
        before = event.other if leaves else None
        wrong += _unless(wallet.household == before, 3, event, f"finds the member in household {wallet.household}")
        return replace(wallet, household=None if leaves else event.other), wrong
    member = event.other or ""
    wrong += _unless((member in wallet.members) == leaves, 3, event, "joins twice, or leaves what it never joined")
    wrong += _unless((event.kind is EntryKind.FOUND) <= (wallet.version == 0), 3, event, "founds what was there")
    others = tuple(other for other in wallet.members if other != member)
    return replace(wallet, members=others if leaves else (*wallet.members, member)), wrong


def _merge(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge two members becoming one: all of the one goes over as it is, and what is left is a signpost."""
    moved, wrong = _moved(event)
    if moved is None:
        return wallet, wrong
    if not event.receives:
        mine = Moved(wallet.lots, wallet.links, wallet.taken, wallet.given)
        wrong += _unless(moved == mine, 3, event, "takes over something else than the member had")
        held = any(lot.held for lot in wallet.lots)
        bound = held or wallet.frozen or wallet.household or wallet.debts or wallet.absorbed
        wrong += _unless(not bound, 3, event, "merges a member that holds, owes, shares or is frozen")
        return Wallet(wallet.id, wallet.version, wallet.period, merged_into=event.other), wrong
    came = tuple(link.partner for link in moved.links if wallet.link(link.partner) is None)
    record = Absorbed(
        wallet=event.other or "", version=event.counted("version"), at=event.at,
        lots=tuple(lot.id for lot in moved.lots), links=moved.links, came=came, taken=moved.taken, given=moved.given,
    )  # fmt: skip
    known = {lot.id for lot in wallet.lots}
    wrong += _unless(known.isdisjoint(record.lots) and not wallet.frozen, 3, event, "brings lots that were here")
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


def _unmerge(wallet: Wallet, event: Event, _: _Known) -> _Step:
    """Judge two members going their own ways: back goes what came and was not spent, and what followed it."""
    moved, wrong = _moved(event)
    if moved is None:
        return wallet, wrong
    if event.receives:
        wrong += _unless(wallet.merged_into == event.other, 3, event, f"parts from {wallet.merged_into}")
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
    wrong += _unless(moved == due and not any(lot.held for lot in back), 3, event, "gives back something else")
    wrong += _unless(not wallet.frozen or event.by == EXCHANGE, 3, event, "parts a member that is frozen")
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
    return moved, _unless(posted == there, 3, event, "does not post what it moves")


def _with(wallet: Wallet, lot: Lot) -> tuple[Lot, ...]:
    return tuple(lot if other.id == lot.id else other for other in wallet.lots)


def _owing(wallet: Wallet, issuer: str, points: int) -> Wallet:
    owed = Counter(wallet.debts)
    owed[issuer] += points
    return replace(wallet, debts={other: debt for other, debt in owed.items() if debt})


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _redeem(wallet: Wallet, event: Event, known: _Known) -> _Step:
    poorer, wrong = _taken(wallet, event, event.changes)
    return _counted(poorer, event, [change._replace(points=-change.points) for change in event.changes], known, wrong)


def _reserve(wallet: Wallet, event: Event, known: _Known) -> _Step:
    wrong = _unless(not event.changes, 8, event, "moves points that it only holds")
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
    wrong += _unless(until > event.at, 8, event, "holds until before it began")
    known.holds[event.redemption or event.id] = Hold(
        event.at, until, event.channel or event.by, event.benefit or "", event.quantity, event.holds
    )
    held = _marked(replace(wallet, lots=tuple(lots.values())), event.holds)
    return _counted(held, event, event.holds, known, wrong)


def _counted(poorer: Wallet, event: Event, takes: Sequence[Change], known: _Known, wrong: list[Wrong]) -> _Step:
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
        wrong += _unless(left is None or points <= left, 3, event, "spends more than the link's limit for a day")
        poorer = poorer.with_link(link.spend(points, event.at))
    wrong += _unless(event.benefit is not None and event.quantity > 0 and points > 0, 3, event, "takes nothing")
    wrong += _unless(not poorer.frozen, 3, event, "takes out of a frozen wallet")
    return poorer.with_taken(event.benefit or "", event.quantity), wrong


def _confirm(wallet: Wallet, event: Event, known: _Known) -> _Step:
    freed, hold, wrong = _ended(wallet, event, known)
    poorer, more = _taken(freed, event, event.changes)
    wrong += more
    if hold is None:
        return poorer, wrong
    wrong += _unless(not wallet.frozen, 3, event, "takes out of a frozen wallet")
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
    of = event.said.get("taken_by", "").partition("@")[0]
    wrong += _unless(not of or of in wallet.whole, 3, event, f"gives back what {of} took, who is not this member")
    richer = replace(poorer, lots=tuple(lots.values()))
    return richer.with_taken(event.benefit or "", -event.quantity, of), wrong


def _expire(wallet: Wallet, event: Event, _: _Known) -> _Step:
    poorer, wrong = _taken(wallet, event, event.changes)
    for change in event.changes:
        lot = wallet.lot(change.lot)
        whole = lot is not None and not lot.live(event.at) and lot.free == -change.points
        wrong += _unless(whole, 2, event, f"expires lot {change.lot} before its time, or not all of it")
    return poorer, wrong


def _link(wallet: Wallet, event: Event, _: _Known) -> _Step:
    known = wallet.link(event.by)
    limit = event.said.get("daily_limit")
    link = Link(event.by, "", event.at, None if limit is None else int(limit))
    if known is not None:
        since = known.since if known.open else event.at
        link = replace(link, since=since, spent_on=known.spent_on, spent=known.spent)
    return wallet.with_link(link), []


def _unlink(wallet: Wallet, event: Event, _: _Known) -> _Step:
    link = wallet.link(event.said.get("ended", ""))
    if link is None or not link.open:
        return wallet, [Wrong(3, f"entry {event.id} ends a link that was not open")]
    return wallet.with_link(replace(link, ended_at=event.at)), []


_STEPS: dict[EntryKind, Callable[[Wallet, Event, _Known], _Step]] = {
    EntryKind.ENROL: _enrol,
    EntryKind.AWARD: _award,
    EntryKind.REVERSE_AWARD: _reverse_award,
    EntryKind.EXTEND: _extend,
    EntryKind.ADJUST: _adjust,
    EntryKind.FREEZE: _freeze,
    EntryKind.UNFREEZE: _freeze,
    EntryKind.GIVE: _pass_on,
    EntryKind.PAY_IN: _pass_on,
    EntryKind.DRAW: _pass_on,
    EntryKind.FOUND: _membership,
    EntryKind.JOIN: _membership,
    EntryKind.LEAVE: _membership,
    EntryKind.MERGE: _merge,
    EntryKind.UNMERGE: _unmerge,
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
_GONE = {
    EntryKind.REDEEM: "redeemed", EntryKind.CONFIRM: "redeemed", EntryKind.REVERSE_AWARD: "withdrawn",
    EntryKind.ADJUST: "withdrawn", EntryKind.GIVE: "given", EntryKind.PAY_IN: "given", EntryKind.DRAW: "given",
}  # fmt: skip
"""Where points go that leave a lot; by everything else they expire."""
_SPENDING = (EntryKind.REDEEM, EntryKind.ADJUST, EntryKind.GIVE, EntryKind.PAY_IN, EntryKind.DRAW)
"""What takes points only out of lots that can be spent."""


def _taken(wallet: Wallet, event: Event, changes: Sequence[Change]) -> _Step:
    """Take points out of lots, down to below nothing if that is what an event says."""
    wrong: list[Wrong] = []
    lots = {lot.id: lot for lot in wallet.lots}
    gone = _GONE.get(event.kind, "expired")
    for lot_id, issuer, points in changes:
        lot = lots.get(lot_id)
        if lot is None or lot.issuer != issuer or points >= 0:
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, which is not {issuer}'s here"))
            continue
        # What was held may be taken after the lot's end: that is what it was held for.
        barred = event.kind in _SPENDING and (lot.frozen or not lot.counts(event.at))
        if barred or lot.free < -points:
            free = 0 if barred else lot.free
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, {free} free"))
        counted = {gone: getattr(lot, gone) - points}
        lots[lot_id] = replace(lot, remaining=lot.remaining + points, **counted)
    poorer = replace(wallet, lots=tuple(lots.values()))
    return _marked(poorer, changes) if gone in ("redeemed", "given") else poorer, wrong


def _marked(wallet: Wallet, changes: Sequence[Change]) -> Wallet:
    """Note of the members that were merged into this one which have had points spent that came with them."""
    if not wallet.absorbed:
        return wallet
    used = [lot for lot in wallet.lots if any(change.lot == lot.id for change in changes)]
    absorbed = (replace(one, spent=one.spent or any(map(one.brought, used))) for one in wallet.absorbed)
    return replace(wallet, absorbed=tuple(absorbed))


def _rank(place: int, lot: Lot) -> tuple[datetime, int]:
    return lot.expires_at or _NEVER, place


def _surely_spendable(event: Event, known: _Known) -> Callable[[Lot], bool]:
    before = event.at - RECORDED_WITHIN
    return lambda lot: (
        event.provider is not None
        and lot.counts(event.at)
        and not lot.frozen
        and known.book.accepts(lot.issuer, event.provider, before)
        and not known.stops.possible(lot.issuer, event.at)
    )


def _unless(sound: bool, invariant: int, event: Event, what: str) -> list[Wrong]:  # noqa: FBT001 - reads as it is said
    return [] if sound else [Wrong(invariant, f"entry {event.id} {what}")]


def differences(stored: Wallet, folded: Wallet) -> list[Wrong]:
    """Return in what a stored wallet is not the fold of its entries, and what is impossible in it by itself."""
    wrong = [
        Wrong(2, f"wallet {stored.id}, lot {lot.id}: {lot.held} held of {lot.remaining} of {lot.awarded}")
        for lot in stored.lots
        if not (
            0 <= lot.held <= lot.remaining
            and lot.awarded == lot.remaining + lot.redeemed + lot.expired + lot.given + lot.withdrawn - lot.restored
        )
    ]
    absorbed = tuple(replace(one, links=anonymous_links(one.links)) for one in stored.absorbed)
    anonymous = replace(stored, links=anonymous_links(stored.links), absorbed=absorbed)
    for name in ("version", "period", "debts", "given", "frozen", "household", "members", "merged_into", "absorbed"):
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
