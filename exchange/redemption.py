"""A member's taking of a benefit, and the steps it can go through.

Today a redemption is made whole in one step: the points move, the money is owed, and it is FULFILLED, or CONFIRMED
while its partner still has to deliver (PARTNER_CALL).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exchange.agreements import Debit
from exchange.benefit import Fulfilment
from exchange.wallet import Take


class RedemptionStatus(StrEnum):
    """Where a redemption stands."""

    CONFIRMED = "CONFIRMED"
    FULFILLED = "FULFILLED"


STATUS_AFTER_REDEEM = {
    Fulfilment.NONE: RedemptionStatus.FULFILLED,
    Fulfilment.INSTANT_CODE: RedemptionStatus.FULFILLED,
    Fulfilment.PARTNER_CALL: RedemptionStatus.CONFIRMED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Redemption:
    """Known by the id of the entry that made it. `codes`: encrypted, bound to the benefit's id.

    `debits`: one row per issuer and agreement version, in the order the points were consumed; `takes`: per lot.
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
    version: int = 1
    period: int = 0
    created_at: datetime
    updated_at: datetime
