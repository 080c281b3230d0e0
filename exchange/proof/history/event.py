"""What an entry means to a wallet, and what is known when that is judged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.journal import Account, Entry, EntryKind
from exchange.proof import Wrong
from exchange.proof.stops import Stops
from exchange.wallet import Wallet

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
    owed_minor: int = 0

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
            said=said, owed_minor=sum(debit.owed.minor for debit in entry.debits if debit.owed is not None),
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


class Known(NamedTuple):
    """What an event is judged by besides the wallet: the agreements, the open holds, and whose points were frozen."""

    book: AgreementBook
    holds: Holds
    stops: Stops


Judged = tuple[Wallet, list[Wrong]]
"""The wallet that an event makes, and what is wrong with that event."""


def moment(text: str) -> datetime:
    """Return a time as an entry says it."""
    return datetime.fromisoformat(text)
