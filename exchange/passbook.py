"""A member's passbook: what every entry did to its points, and what is still to expire.

An entry is written for all its parties at once. Here it is read from the side of one wallet: which lots it put points
into or took them out of, and which it held points of. An entry that moves no points is a line too, because a passbook
with gaps proves nothing: the versions that a wallet's entries gave it follow each other without one missing.

A partner is shown the lines that it brought, or that move lots of its own, and in them only those lots. What another
partner brought, it learns about no more than its own part of the journal says: neither who that was, nor why.

Sums here go by what is written down. A lot that is cooling off counts from its award on, and one whose time is over
counts until its expiry is an entry too. So the running balance is the wallet's balance, what is pending, and what has
expired but was not swept yet.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from exchange.journal import Account, Entry, EntryKind
from exchange.wallet import Wallet

Place = tuple[int, int]
"""Where an event stands in a wallet's history: the version that its commit gave the wallet, and its index in the
block. Entries that made the same version are of one block, so this orders them, whatever lanes' clocks say."""


class Movement(NamedTuple):
    """Points that came into a lot; negative, that left it."""

    lot: str
    issuer: str
    points: int


class PointsEvent(Struct, frozen=True, kw_only=True):
    """One entry, from the side of one wallet. `movements`: its postings; `holds`: what it began, or ceased, to hold.

    `by`: the partner that brought it, None for whom that does not concern; `reason`: what it says of why.
    """

    place: Place
    at: datetime
    kind: EntryKind
    by: str | None
    movements: tuple[Movement, ...] = ()
    holds: tuple[Movement, ...] = ()
    reason: str | None = None
    redemption: str | None = None
    benefit: str | None = None

    @classmethod
    def of(cls, entry: Entry, wallet: str, index: int) -> PointsEvent:
        """Return what an entry, at its index in its block, means to a wallet. ValueError if it is not about that."""
        version, movements, holds = _side(entry, wallet)
        return cls(
            place=(version, index), at=entry.at, kind=entry.kind, by=entry.by, movements=movements, holds=holds,
            reason=entry.detail.get("reason"), redemption=entry.redemption, benefit=entry.benefit,
        )  # fmt: skip

    @property
    def points(self) -> int:
        """What it changed of the balance."""
        return sum(movement.points for movement in self.movements)

    @property
    def held(self) -> int:
        """What it changed of the points that are held."""
        return sum(hold.points for hold in self.holds)

    def seen_by(self, partner: str) -> PointsEvent | None:
        """Return what a partner may know of it; None if that is nothing."""
        movements, holds = _of_issuer(self.movements, partner), _of_issuer(self.holds, partner)
        if self.by == partner:
            return replace(self, movements=movements, holds=holds)
        if not movements and not holds:
            return None
        return replace(self, movements=movements, holds=holds, by=None, reason=None)


def _side(entry: Entry, wallet: str) -> tuple[int, tuple[Movement, ...], tuple[Movement, ...]]:
    """Return what an entry did to one wallet: the version that it made, the movements, the holds.

    The only place that knows how an entry says which wallet a posting is of.
    """
    movements = tuple(
        Movement(posting.lot or "", posting.party, posting.amount)
        for posting in entry.postings
        if posting.account is Account.WALLET
    )
    if wallet == entry.counterpart:
        return entry.counterpart_version, tuple(move for move in movements if move.points >= 0), ()
    if wallet != entry.wallet:
        message = f"entry {entry.id} is not about wallet {wallet}"
        raise ValueError(message)
    if entry.counterpart is not None:
        movements = tuple(move for move in movements if move.points < 0)
    return entry.wallet_version, movements, tuple(Movement(*take) for take in entry.holds)


def _of_issuer(movements: Sequence[Movement], issuer: str) -> tuple[Movement, ...]:
    return tuple(movement for movement in movements if movement.issuer == issuer)


class Standing(NamedTuple):
    """Where a passbook stands: the points in the wallet's lots, and how many of them are held."""

    balance: int = 0
    held: int = 0

    def after(self, event: PointsEvent) -> Standing:
        """Return where it stands after the next event."""
        return Standing(self.balance + event.points, self.held + event.held)


class Expiration(NamedTuple):
    """Points of a balance, held or not, that are lost at one moment if they are not spent before."""

    expires_at: datetime
    points: int


def expirations(wallet: Wallet, now: datetime, issuer: str | None = None) -> list[Expiration]:
    """Return what expires when, the soonest first, a row for each moment; of one issuer's lots, or of all."""
    points: dict[datetime, int] = {}
    for lot in wallet.lots:
        if lot.expires_at is not None and lot.remaining and lot.counts(now) and lot.issuer == (issuer or lot.issuer):
            points[lot.expires_at] = points.get(lot.expires_at, 0) + lot.remaining
    return [Expiration(*row) for row in sorted(points.items())]
