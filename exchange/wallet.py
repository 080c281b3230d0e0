"""A member's one wallet: lots of points by issuer, links to partners, and what was taken of each benefit.

Everything that must not change under a decision lives here, because the wallet is what a commit writes under its
version: lots, the counts against limits per member, and the links through which the member may earn and spend.

Wallets are values. A change returns a new wallet; the old one is still what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from exchange.amounts import INT64_MAX

LOTS_MAX = 10_000
"""Most lots in one wallet, spent ones included: it is one document, written whole, and far below its 16 MiB then."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class Lot(Struct, frozen=True):
    """Points of one issuer with one expiry (None: never).

    awarded = remaining + redeemed + expired + given + withdrawn - restored. They can be spent from `active_from` on
    (None: at once), and not while its issuer or the exchange has frozen it (`frozen_by`). `owed`: as many as its issuer
    took back after they were gone.
    """

    id: str
    issuer: str
    awarded: int
    remaining: int
    expires_at: datetime | None
    awarded_at: datetime
    held: int = 0
    redeemed: int = 0
    expired: int = 0
    restored: int = 0
    given: int = 0
    withdrawn: int = 0
    owed: int = 0
    active_from: datetime | None = None
    frozen_by: str | None = None

    def live(self, now: datetime) -> bool:
        """Whether its points still count at `now`: a lot ends at the instant it expires."""
        return self.expires_at is None or now < self.expires_at

    def pending(self, now: datetime) -> bool:
        """Whether its points are still cooling off."""
        return self.active_from is not None and now < self.active_from

    def counts(self, now: datetime) -> bool:
        """Whether its points are part of the balance at `now`."""
        return self.live(now) and not self.pending(now)

    @property
    def frozen(self) -> bool:
        """Whether somebody has stopped spending from it."""
        return self.frozen_by is not None

    @property
    def reversible(self) -> int:
        """Points that its issuer can still take back, whether they are there or not."""
        # Points that were made a debt can come back, and then expire or be taken: they count twice against the award.
        return max(self.awarded - self.expired - self.withdrawn - self.owed, 0)

    @property
    def passed_on(self) -> bool:
        """Whether its points came from another wallet: then its id names the entry and the place in it."""
        return "/" in self.id

    @property
    def free(self) -> int:
        """Points that nothing holds."""
        return self.remaining - self.held


class Take(NamedTuple):
    """Points taken out of one lot."""

    lot: str
    issuer: str
    points: int


class Link(Struct, frozen=True):
    """A partner through which the member may earn and spend, since when, until it was ended.

    `daily_limit`: points a day (UTC) that may be spent through it; `spent_on` and `spent` count the current day.
    """

    partner: str
    reference: str
    since: datetime
    daily_limit: int | None = None
    ended_at: datetime | None = None
    spent_on: date | None = None
    spent: int = 0

    @property
    def open(self) -> bool:
        """Whether the member has not ended it."""
        return self.ended_at is None

    def day_left(self, now: datetime) -> int | None:
        """Points that may still be spent through this link today; None without a limit."""
        if self.daily_limit is None:
            return None
        return max(self.daily_limit - self._spent_by(now), 0)

    def spend(self, points: int, now: datetime) -> Link:
        """Count `points` against today; negative, give them back."""
        today = max(self.spent_on or now.date(), now.date())
        return replace(self, spent_on=today, spent=max(min(self._spent_by(now) + points, INT64_MAX), 0))

    def _spent_by(self, now: datetime) -> int:
        # A lane whose clock is behind may still be in yesterday: a day that was begun is not forgotten for that.
        return self.spent if self.spent_on is not None and self.spent_on >= now.date() else 0


class Given(NamedTuple):
    """How many points of an issuer the member gave away on a day (UTC), the last on which it gave any."""

    on: date
    points: int


class Absorbed(Struct, frozen=True):
    """What came with another member that was merged into this one, so that it can go back.

    `version`: that wallet's, as the merge left it. `lots`, `links`, `taken`, `given`: what it had; `taken` goes down
    when its redemptions are reversed. `came`: the partners to which this member had no link. `spent`: whether points
    that came with it have been spent or passed on since.
    """

    wallet: str
    version: int
    at: datetime
    lots: tuple[str, ...]
    links: tuple[Link, ...]
    came: tuple[str, ...]
    taken: Mapping[str, int]
    given: Mapping[str, Given]
    spent: bool = False

    def parting(self, links: Sequence[Link]) -> tuple[Link, ...]:
        """Return the links that it goes with, given those of the member that it was merged into, as they are now.

        What came with it, as it stands; of what both had, its own as it was then, but ended if that was ended since.
        """
        here = {link.partner: link for link in links}

        def as_it_goes(link: Link) -> Link:
            now = here.get(link.partner, link)
            if link.partner in self.came:
                return now
            ended_since = link.open and now.ended_at is not None and now.ended_at >= self.at
            return replace(link, ended_at=now.ended_at) if ended_since else link

        return tuple(as_it_goes(link) for link in self.links)

    def brought(self, lot: Lot) -> bool:
        """Whether a lot came with that member, or was awarded since by a partner that only that member was known to."""
        since = lot.awarded_at >= self.at and not lot.passed_on
        return lot.id in self.lots or (since and lot.issuer in self.came)


class Wallet(Struct, frozen=True):
    """`version` and `period`: as last written (0: never). `taken`: units per benefit id that count against limits.

    `debts`: points that were reversed after they were spent, by issuer, which its next awards repay; `given`: what
    counts against an issuer's limit for gifts. A `frozen` wallet can receive and not spend. `household`: the pool that
    the member shares; `members`: of a pool, the wallets that share it. `merged_into`: the wallet that this one has
    become; `absorbed`: those that have become this one.
    """

    id: str
    version: int = 0
    period: int = 0
    lots: tuple[Lot, ...] = ()
    links: tuple[Link, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)
    debts: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, Given] = field(default_factory=dict)
    frozen: bool = False
    household: str | None = None
    members: tuple[str, ...] = ()
    merged_into: str | None = None
    absorbed: tuple[Absorbed, ...] = ()

    @property
    def whole(self) -> tuple[str, ...]:
        """Return its id and those of the wallets that have become it: whose redemptions are this member's."""
        return (self.id, *(one.wallet for one in self.absorbed))

    def balance(self, now: datetime) -> int:
        """Points that are neither expired nor cooling off, held or not."""
        return sum(lot.remaining for lot in self.lots if lot.counts(now))

    def held(self, now: datetime) -> int:
        """Points of the balance that holds keep."""
        return sum(lot.held for lot in self.lots if lot.counts(now))

    def available(self, now: datetime) -> int:
        """Balance less what is held."""
        return sum(lot.free for lot in self.lots if lot.counts(now))

    def pending(self, now: datetime) -> int:
        """Points that are cooling off: the member's, but not to be spent yet."""
        return sum(lot.remaining for lot in self.lots if lot.live(now) and lot.pending(now))

    def spendable(self, accepts: Callable[[str], bool], now: datetime) -> int:
        """Available points that nobody has frozen, of the issuers that `accepts` says yes to."""
        return sum(lot.free for lot in self.lots if lot.counts(now) and not lot.frozen and accepts(lot.issuer))

    def given_on(self, issuer: str, now: datetime) -> int:
        """Points of an issuer that were given away today."""
        given = self.given.get(issuer)
        # A lane whose clock is behind may still be in yesterday: a day that was begun is not forgotten for that.
        return given.points if given is not None and given.on >= now.date() else 0

    def expiring(self, before: datetime, now: datetime) -> int:
        """Points of the balance that expire before that moment."""
        return sum(
            lot.remaining
            for lot in self.lots
            if lot.counts(now) and lot.expires_at is not None and lot.expires_at < before
        )

    def lot(self, lot_id: str) -> Lot | None:
        """Return the lot of that id."""
        return next((lot for lot in self.lots if lot.id == lot_id), None)

    def link(self, partner: str) -> Link | None:
        """Return the link to that partner, open or ended."""
        return next((link for link in self.links if link.partner == partner), None)

    def linked_to(self, partner: str) -> bool:
        """Whether there is an open link to that partner."""
        link = self.link(partner)
        return link is not None and link.open

    def choose(
        self, points: int, accepts: Callable[[str], bool], now: datetime, most: Mapping[str, int] | None = None
    ) -> list[Take]:
        """Choose `points`, first-expiring-first, those that never expire last, then in the order of award.

        `most`: how many of each issuer's, where that is limited.

        Lots of issuers not accepted are passed over, and those that are frozen or cooling off. ValueError when the
        spendable points do not suffice: ask `spendable` first.
        """
        order = sorted(
            (lot for lot in self.lots if lot.free > 0 and lot.counts(now) and not lot.frozen and accepts(lot.issuer)),
            key=lambda lot: lot.expires_at or _NEVER,  # stable: equal expiries stay in the order of award
        )
        takes: list[Take] = []
        wanted = points
        left = None if most is None else dict(most)
        for lot in order:
            part = min(lot.free, wanted)
            if left is not None:
                part = min(part, left[lot.issuer])
                left[lot.issuer] -= part
            if part == 0:
                continue
            takes.append(Take(lot.id, lot.issuer, part))
            wanted -= part
        if wanted:
            message = f"{points} points wanted, {points - wanted} spendable"
            raise ValueError(message)
        return takes

    def without(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points redeemed."""
        poorer = self._changed(
            takes, lambda lot, n: replace(lot, remaining=lot.remaining - n, redeemed=lot.redeemed + n)
        )
        return poorer.touched(takes)

    def give(self, takes: Sequence[Take], now: datetime) -> Wallet:
        """Return the wallet with these points given away, counted against today's limits of their issuers."""
        poorer = self.shed(takes)
        counted = dict(self.given)
        for take in takes:
            before = counted.get(take.issuer)
            today = max(now.date(), now.date() if before is None else before.on)
            so_far = before.points if before is not None and before.on == today else 0
            counted[take.issuer] = Given(today, so_far + take.points)
        return replace(poorer, given=counted)

    def shed(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points passed on to another."""
        poorer = self._changed(takes, lambda lot, n: replace(lot, remaining=lot.remaining - n, given=lot.given + n))
        return poorer.touched(takes)

    def withdraw(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points taken back by their issuers."""
        return self._changed(
            takes, lambda lot, n: replace(lot, remaining=lot.remaining - n, withdrawn=lot.withdrawn + n)
        )

    def hold(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points held."""
        return self._changed(takes, lambda lot, n: replace(lot, held=lot.held + n)).touched(takes)

    def release(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points held no longer."""
        return self._changed(takes, lambda lot, n: replace(lot, held=lot.held - n))

    def restore(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these redeemed points back in their lots."""
        return self._changed(takes, lambda lot, n: replace(lot, remaining=lot.remaining + n, restored=lot.restored + n))

    def revive(self, lots: Iterable[str], now: datetime, until: datetime) -> tuple[Wallet, list[Take]]:
        """Make expired lots last `until`, so that points can come back into them; live ones stay as they are.

        What nobody held of them is lost first, because its time was over; returned as takes.
        """
        over = {lot.id: lot for lot in self.lots if lot.id in set(lots) and not lot.live(now)}
        lost = [Take(lot.id, lot.issuer, lot.free) for lot in over.values() if lot.free]
        revived = tuple(
            replace(lot, remaining=lot.remaining - lot.free, expired=lot.expired + lot.free, expires_at=until)
            if lot.id in over
            else lot
            for lot in self.lots
        )
        return replace(self, lots=revived), lost

    def _changed(self, takes: Sequence[Take], change: Callable[[Lot, int], Lot]) -> Wallet:
        points = {take.lot: take.points for take in takes}
        lots = tuple(change(lot, points[lot.id]) if lot.id in points else lot for lot in self.lots)
        return replace(self, lots=lots)

    def with_lot(self, lot: Lot) -> Wallet:
        """Return the wallet with this lot in the place of the one of its id, or behind the others."""
        if self.lot(lot.id) is None:
            return replace(self, lots=(*self.lots, lot))
        return replace(self, lots=tuple(lot if other.id == lot.id else other for other in self.lots))

    def with_debt(self, issuer: str, points: int) -> Wallet:
        """Return the wallet owing this issuer so many points more; negative, less."""
        owed = self.debts.get(issuer, 0) + points
        others = {other: debt for other, debt in self.debts.items() if other != issuer}
        return replace(self, debts=others | {issuer: owed} if owed else others)

    def with_link(self, link: Link) -> Wallet:
        """Return the wallet with this link in place of any to the same partner."""
        kept = [old for old in self.links if old.partner != link.partner]
        return replace(self, links=(*kept, link))

    def touched(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet remembering that what came with a merge was spent, if any of these points did."""
        if not self.absorbed:
            return self
        names = {take.lot for take in takes}
        lots = [lot for lot in self.lots if lot.id in names]
        absorbed = tuple(
            replace(one, spent=True) if any(one.brought(lot) for lot in lots) else one for one in self.absorbed
        )
        return replace(self, absorbed=absorbed)

    def with_taken(self, benefit: str, quantity: int, of: str | None = None) -> Wallet:
        """Count units of a benefit against its limit per member; negative, give them back.

        `of`: the wallet whose redemption it was, where that may be one that has become this.
        """
        absorbed = tuple(
            replace(one, taken=_plus(one.taken, benefit, quantity)) if one.wallet == of else one
            for one in self.absorbed
        )
        return replace(self, taken=_plus(self.taken, benefit, quantity), absorbed=absorbed)


def _plus(taken: Mapping[str, int], benefit: str, quantity: int) -> Mapping[str, int]:
    return {**taken, benefit: taken.get(benefit, 0) + quantity}
