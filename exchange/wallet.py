"""A member's one wallet: lots of points by issuer, links to partners, and what was taken of each benefit.

Everything that must not change under a decision lives here, because the wallet is what a commit writes under its
version: lots, the counts against limits per member, and the links through which the member may earn and spend.

Wallets are values. A change returns a new wallet; the old one is still what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import NamedTuple

from exchange.amounts import INT64_MAX

LOTS_MAX = 10_000
"""Most lots in one wallet, spent ones included: it is one document, written whole, and far below its 16 MiB then."""

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lot:
    """Points of one issuer with one expiry (None: never). awarded = remaining + redeemed + expired - restored."""

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

    def live(self, now: datetime) -> bool:
        """Whether its points still count at `now`: a lot ends at the instant it expires."""
        return self.expires_at is None or now < self.expires_at

    @property
    def free(self) -> int:
        """Points that nothing holds."""
        return self.remaining - self.held


class Take(NamedTuple):
    """Points taken out of one lot."""

    lot: str
    issuer: str
    points: int


@dataclass(frozen=True, slots=True)
class Link:
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


@dataclass(frozen=True, slots=True)
class Wallet:
    """`version` and `period`: as last written (0: never). `taken`: units per benefit id that count against limits."""

    id: str
    version: int = 0
    period: int = 0
    lots: tuple[Lot, ...] = ()
    links: tuple[Link, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)

    def balance(self, now: datetime) -> int:
        """Points that are not expired, held or not."""
        return sum(lot.remaining for lot in self.lots if lot.live(now))

    def held(self, now: datetime) -> int:
        """Points of the balance that holds keep."""
        return sum(lot.held for lot in self.lots if lot.live(now))

    def available(self, now: datetime) -> int:
        """Balance less what is held."""
        return sum(lot.free for lot in self.lots if lot.live(now))

    def spendable(self, accepts: Callable[[str], bool], now: datetime) -> int:
        """Available points of the issuers that `accepts` says yes to."""
        return sum(lot.free for lot in self.lots if lot.live(now) and accepts(lot.issuer))

    def expiring(self, before: datetime, now: datetime) -> int:
        """Points of the balance that expire before that moment."""
        return sum(
            lot.remaining
            for lot in self.lots
            if lot.live(now) and lot.expires_at is not None and lot.expires_at < before
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

    def choose(self, points: int, accepts: Callable[[str], bool], now: datetime) -> list[Take]:
        """Choose `points`, first-expiring-first, those that never expire last, then in the order of award.

        Lots of issuers not accepted are passed over. ValueError when the spendable points do not suffice: ask
        `spendable` first.
        """
        order = sorted(
            (lot for lot in self.lots if lot.free > 0 and lot.live(now) and accepts(lot.issuer)),
            key=lambda lot: lot.expires_at or _NEVER,  # stable: equal expiries stay in the order of award
        )
        takes: list[Take] = []
        wanted = points
        for lot in order:
            part = min(lot.free, wanted)
            if part == 0:
                break
            takes.append(Take(lot.id, lot.issuer, part))
            wanted -= part
        if wanted:
            message = f"{points} points wanted, {points - wanted} spendable"
            raise ValueError(message)
        return takes

    def without(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points redeemed."""
        return self._changed(takes, lambda lot, n: replace(lot, remaining=lot.remaining - n, redeemed=lot.redeemed + n))

    def hold(self, takes: Sequence[Take]) -> Wallet:
        """Return the wallet with these points held."""
        return self._changed(takes, lambda lot, n: replace(lot, held=lot.held + n))

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

    def with_link(self, link: Link) -> Wallet:
        """Return the wallet with this link in place of any to the same partner."""
        kept = [old for old in self.links if old.partner != link.partner]
        return replace(self, links=(*kept, link))

    def with_taken(self, benefit: str, quantity: int) -> Wallet:
        """Count units of a benefit against its limit per member; negative, give them back."""
        return replace(self, taken={**self.taken, benefit: self.taken.get(benefit, 0) + quantity})
