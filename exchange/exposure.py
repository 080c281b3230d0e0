"""How much a partner may owe before it pays, and how that is spent from many lanes at once.

A *cap* says how much a partner may owe in a currency, net, before its payments. A postpaid issuer has a cap; a prepaid
one has a cap of zero, and deposits. One concept serves both::

    headroom left = cap + paid - used
    used          = - (all its postings of money in the currency) + what its open reservations promise

A redemption or reservation that would make an issuer owe more than the headroom left is refused (ISSUER_LIMIT). Steps
of a redemption are never refused for it: what a partner owes because its benefit was reversed can lead beyond its cap.

How it is no hot document: the headroom of a partner and currency lies in a pool, and lanes draw slices of it
(`slices`). A block writes its own lane's slice alone, in its own transaction; the pool is written when a lane needs
more than its slice has left.

    free of the pool = cap + paid - opening - granted,  granted = the sum of what the slices were granted
    left of a slice  = granted - used                   (never negative)
    headroom left    = free + the sum of left

Free is negative once steps that cannot be refused, a lower cap or money paid out have led beyond: then nothing is
granted, and no lane spends what it has left before that is made good (`Room.usable`).

`opening` is what was owed when the cap was set (`store.headroom` says how it is counted while members redeem). Each
time a cap is set where there was none begins an *epoch* of its own, with slices of its own.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import Debit
from exchange.amounts import MINOR_MAX, Money, exponent
from exchange.errors import ValidationFailed
from exchange.journal import Entry
from exchange.redemption import Redemption, RedemptionStatus
from exchange.slices import called_in, drawn

GENEROSITY = 8
"""A lane that draws gets this part of what is free besides what it needs: few draws, and no lane takes all."""


class Pair(NamedTuple):
    """Whose exposure it is, and in which currency."""

    partner: str
    currency: str

    @property
    def id(self) -> str:
        """Both in one string."""
        return f"{self.partner}:{self.currency}"


class Cap(Struct, frozen=True, kw_only=True):
    """One version of how much a partner may owe in a currency; `minor` None: it was lifted, as much as it likes.

    `low_minor`: the headroom left below which somebody wants to be told. `epoch`: the version by which it was set
    where there had been none.
    """

    partner: str
    currency: str
    version: int
    minor: int | None
    low_minor: int | None
    epoch: int
    since: datetime
    actor: str

    @property
    def pair(self) -> Pair:
        """What it is for."""
        return Pair(self.partner, self.currency)


class CapBook:
    """The caps in force, as read at one moment."""

    def __init__(self, caps: Iterable[Cap] = ()) -> None:
        newest = {cap.pair: cap for cap in sorted(caps, key=lambda each: each.version)}
        self._by_partner: dict[str, list[Cap]] = {}
        for cap in newest.values():
            if cap.minor is not None:
                self._by_partner.setdefault(cap.partner, []).append(cap)

    def __bool__(self) -> bool:
        """Whether anybody is capped."""
        return bool(self._by_partner)

    @property
    def partners(self) -> list[str]:
        """Everybody who is capped."""
        return list(self._by_partner)

    def of(self, partners: Iterable[str]) -> list[Cap]:
        """Return the caps that these partners have."""
        return [cap for partner in sorted(set(partners)) for cap in self._by_partner.get(partner, ())]


def validate_cap(currency: str, minor: int | None, low_minor: int | None) -> None:
    """Refuse (ValidationFailed) a cap that cannot be kept."""
    try:
        exponent(currency)
    except ValueError as error:
        raise ValidationFailed(str(error), ("input", "currency")) from None
    for name, amount in (("cap", minor), ("lowBalance", low_minor)):
        if amount is not None and not 0 <= amount <= MINOR_MAX:
            raise ValidationFailed("must not be negative, nor absurdly high", ("input", name, "amount"))
    if minor is None and low_minor is not None:
        raise ValidationFailed("without a cap there is no balance that could be low", ("input", "lowBalance"))


class Funding(Struct, frozen=True, kw_only=True):
    """A payment of a partner (positive), or to it (negative), that changes its headroom. Never changed."""

    id: str
    partner: str
    amount: Money
    reference: str
    actor: str
    at: datetime
    fingerprint: str = ""


def validate_payment(amount: Money) -> None:
    """Refuse (ValidationFailed) what is no payment."""
    if not 0 < abs(amount.minor) <= MINOR_MAX:
        raise ValidationFailed("must not be zero, nor absurdly high", ("input", "amount", "amount"))


class Notice(Struct, frozen=True, kw_only=True):
    """Headroom that had fallen below what somebody wants to be told of; `cleared_at` None: it still is."""

    at: datetime
    left: Money
    cleared_at: datetime | None = None


class Exposure(Struct, frozen=True, kw_only=True):
    """A capped partner's standing in one currency. `in_force`: its cap; `low`: whether too little is left."""

    in_force: Cap
    paid: Money
    used: Money
    notices: Sequence[Notice] = ()

    @property
    def currency(self) -> str:
        """The one currency of all its amounts."""
        return self.in_force.currency

    @property
    def cap(self) -> Money:
        """What it may owe, net, before its payments."""
        return Money(self.in_force.minor or 0, self.currency)

    @property
    def left(self) -> Money:
        """What it may still come to owe; negative: it is beyond its cap."""
        return Money(self.cap.minor + self.paid.minor - self.used.minor, self.currency)

    @property
    def low_balance(self) -> Money | None:
        """What somebody wants to be told of."""
        low = self.in_force.low_minor
        return None if low is None else Money(low, self.currency)

    @property
    def low(self) -> bool:
        """Whether less than that is left."""
        return self.low_balance is not None and self.left.minor < self.low_balance.minor

    @property
    def version(self) -> int:
        """Of the cap."""
        return self.in_force.version

    @property
    def since(self) -> datetime:
        """Since when this version holds."""
        return self.in_force.since


# ---------------------------------------------------------------- what an event does to it


def change(before: Redemption | None, after: Redemption | None, entry: Entry) -> dict[Pair, int]:
    """Return by how much more everybody owes, net, by an event: what it posts, and promises instead of before."""
    more: Counter[Pair] = Counter()
    for posting in entry.postings:
        if not posting.unit.startswith("points:"):
            more[Pair(posting.party, posting.unit)] -= posting.amount
    more.update(_promised(after))
    more.subtract(_promised(before))
    return dict(more)


def owed_by(debits: Iterable[Debit]) -> dict[Pair, int]:
    """Return what issuers owe."""
    owed: Counter[Pair] = Counter()
    for debit in debits:
        if debit.owed is not None:
            owed[Pair(debit.issuer, debit.owed.currency)] += debit.owed.minor
    return dict(owed)


def beyond(debits: Iterable[Debit], headroom: Mapping[Pair, int]) -> dict[Pair, int]:
    """Return what these issuers would owe, of those that would owe more than they may."""
    return {pair: minor for pair, minor in owed_by(debits).items() if minor and minor > headroom.get(pair, minor)}


def _promised(redemption: Redemption | None) -> dict[Pair, int]:
    if redemption is None or redemption.status is not RedemptionStatus.RESERVED:
        return {}
    return owed_by(redemption.debits)


# ---------------------------------------------------------------- the pool and its slices


class Slice(NamedTuple):
    """What one lane was granted and has used; `version` 0: it has none yet."""

    granted: int = 0
    used: int = 0
    version: int = 0

    @property
    def left(self) -> int:
        """What the lane can use without asking."""
        return self.granted - self.used


NO_SLICE = Slice()


class Pool(NamedTuple):
    """What no lane has. `over`: how much was granted beyond what there is, by what cannot be refused."""

    cap: int
    paid: int
    opening: int
    granted: int = 0
    over: int = 0
    version: int = 0

    @property
    def free(self) -> int:
        """What can be granted; negative: more was granted than there is."""
        return self.cap + self.paid - self.opening - self.granted

    def counted(self) -> Pool:
        """Return it with `over` as it now is."""
        return self._replace(over=max(0, -self.free))


class Room(Struct, frozen=True):
    """What one lane knows of a capped partner: its own slice, and what is free. `dry`: there was no more to draw."""

    cap: Cap
    lane: int
    free: int
    slice: Slice = NO_SLICE
    dry: bool = False

    @property
    def usable(self) -> int:
        """What a redemption may use: what the slice has left, unless that is needed to make good what is beyond."""
        return self.slice.left + min(0, self.free)


class Drawn(NamedTuple):
    """What a draw makes of the pool, and of those slices that it changes."""

    pool: Pool
    slices: dict[int, Slice]


def draw(pool: Pool, slices: Mapping[int, Slice], lane: int, wish: int, must: int = 0) -> Drawn:
    """Give a lane what it wishes to use, as far as there is that much, and at least what it must."""
    own = slices.get(lane, NO_SLICE)
    more, back = drawn(pool.free, _lefts(slices), lane, wish, GENEROSITY)
    grant = max(more, must - own.left)
    changed = _given_back(slices, back)
    if grant or own.version == 0:
        changed[lane] = own._replace(granted=own.granted + grant)
    return Drawn(pool._replace(granted=pool.granted + grant - sum(back.values())).counted(), changed)


def call_in(pool: Pool, slices: Mapping[int, Slice]) -> Drawn:
    """Take back from lanes what makes good that more was granted than there is, as far as they have it."""
    back = called_in(pool.free, _lefts(slices), 0)
    return Drawn(pool._replace(granted=pool.granted - sum(back.values())).counted(), _given_back(slices, back))


def _lefts(slices: Mapping[int, Slice]) -> dict[int, int]:
    return {lane: each.left for lane, each in slices.items()}


def _given_back(slices: Mapping[int, Slice], back: Mapping[int, int]) -> dict[int, Slice]:
    return {lane: slices[lane]._replace(granted=slices[lane].granted - less) for lane, less in back.items()}


def with_draw(room: Room, drawn: Drawn, wish: int) -> Room:
    """Return the lane's room after a draw that was written."""
    mine = drawn.slices.get(room.lane, room.slice)
    after = replace(room, free=drawn.pool.free, slice=mine)
    return replace(after, dry=after.usable < wish)
