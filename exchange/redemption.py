"""A member's taking of a benefit, and the one table of the steps it can go through.

::

    RESERVED ──confirm──> CONFIRMED ──fulfil──> FULFILLED
       │  └────confirm (nothing left to deliver)────^  │
       ├──cancel──> CANCELLED    │  │                  │
       └──lapse───> EXPIRED      │  └──fail──> FAILED  │
                                 └──reverse──> REVERSED <──reverse──┘

Redeeming makes a redemption that is confirmed from the start. Points move and money is owed when it is confirmed; until
then its points are held. A reservation ends at its deadline by itself: whether or not anybody has come to sweep it, it
can never be confirmed after that (`standing`). A reversal of a part leaves the status as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from exchange.agreements import Debit
from exchange.amounts import Money, half_even
from exchange.benefit import Fulfilment
from exchange.wallet import Take


class RedemptionStatus(StrEnum):
    """Where a redemption stands."""

    RESERVED = "RESERVED"
    CONFIRMED = "CONFIRMED"
    FULFILLED = "FULFILLED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REVERSED = "REVERSED"


class Step(StrEnum):
    """What can be done to a redemption that exists."""

    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    LAPSE = "LAPSE"
    FULFIL = "FULFIL"
    FAIL = "FAIL"
    REVERSE = "REVERSE"


_S = RedemptionStatus

TRANSITIONS: Mapping[tuple[RedemptionStatus, Step], frozenset[RedemptionStatus]] = {
    (_S.RESERVED, Step.CONFIRM): frozenset({_S.CONFIRMED, _S.FULFILLED}),
    (_S.RESERVED, Step.CANCEL): frozenset({_S.CANCELLED}),
    (_S.RESERVED, Step.LAPSE): frozenset({_S.EXPIRED}),
    (_S.CONFIRMED, Step.FULFIL): frozenset({_S.FULFILLED}),
    (_S.CONFIRMED, Step.FAIL): frozenset({_S.FAILED}),
    (_S.CONFIRMED, Step.REVERSE): frozenset({_S.CONFIRMED, _S.REVERSED}),
    (_S.FULFILLED, Step.REVERSE): frozenset({_S.FULFILLED, _S.REVERSED}),
}
"""From a status, by a step, to one of these; what is not in the table cannot be done."""

CONFIRMED_AS = {
    Fulfilment.NONE: RedemptionStatus.FULFILLED,
    Fulfilment.INSTANT_CODE: RedemptionStatus.FULFILLED,
    Fulfilment.PARTNER_CALL: RedemptionStatus.CONFIRMED,
}
"""What a redemption is once its points have moved: done, or waiting for the partner."""


class Redemption(Struct, frozen=True, kw_only=True):
    """Known by the id of the entry that made it. `codes`: encrypted, bound to the benefit's id.

    `takes`: points per lot, held while RESERVED and taken afterwards, in the order of consumption; `debits`: one row
    per issuer and agreement version, in the same order. `returned`: units reversed so far. `version`: as last written
    (0: never).
    """

    id: str
    benefit: str
    provider: str
    channel: str
    wallet: str
    quantity: int
    points: int
    status: RedemptionStatus
    debits: tuple[Debit, ...]
    takes: tuple[Take, ...]
    codes: tuple[bytes, ...] = ()
    returned: int = 0
    reserved_until: datetime | None = None
    version: int = 0
    period: int = 0
    created_at: datetime
    updated_at: datetime

    def standing(self, now: datetime) -> RedemptionStatus:
        """Return the status as of `now`: a reservation is EXPIRED from its deadline on."""
        overdue = self.reserved_until is not None and now >= self.reserved_until
        return _S.EXPIRED if self.status is _S.RESERVED and overdue else self.status

    @property
    def unit_points(self) -> int:
        """Points for one unit."""
        return self.points // self.quantity

    @property
    def left(self) -> int:
        """Units that are not reversed."""
        return self.quantity - self.returned


def first_points(takes: Sequence[Take], points: int) -> list[Take]:
    """Return the takes that give the first `points` of these, in their order."""
    kept = []
    for take in takes:
        part = min(take.points, points)
        if part:
            kept.append(Take(take.lot, take.issuer, part))
        points -= part
    return kept


def last_points(takes: Sequence[Take], before: int, points: int) -> list[Take]:
    """Return where the next `points` go back to, last-consumed first, once `before` of them went back already."""
    backwards = list(reversed(takes))
    return _difference(first_points(backwards, before + points), first_points(backwards, before))


def _difference(more: list[Take], less: list[Take]) -> list[Take]:
    gone = {take.lot: take.points for take in less}
    left = [Take(take.lot, take.issuer, take.points - gone.get(take.lot, 0)) for take in more]
    return [take for take in left if take.points]


def returned_debits(debits: Sequence[Debit], before: Mapping[str, int], after: Mapping[str, int]) -> list[Debit]:
    """Return what goes back of each row, as negative debits, when the points returned go from `before` to `after`.

    Both count points by issuer. Money, fee and commission returned so far are the original's share, half to even; this
    is the difference, so that any parts together are the whole.
    """
    rows = []
    for debit in debits:
        was, is_now = before.get(debit.issuer, 0), after.get(debit.issuer, 0)
        if was == is_now:
            continue

        def back(amount: int, row: Debit = debit, was: int = was, is_now: int = is_now) -> int:
            return half_even(amount * was, row.points) - half_even(amount * is_now, row.points)

        owed = None if debit.owed is None else Money(back(debit.owed.minor), debit.owed.currency)
        rows.append(
            Debit(
                debit.issuer, was - is_now, debit.agreement, owed, back(debit.fee_minor), back(debit.commission_minor)
            )
        )
    return rows
