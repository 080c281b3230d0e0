"""A price that is promised for a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from exchange.agreements import Debit


class Quote(Struct, frozen=True, kw_only=True):
    """What a benefit costs one member through one partner until `expires_at`.

    `agreements`: the version pinned for each issuer (None at its own benefit). Which lots will give the points is
    decided when they are taken; lots of an issuer that the quote does not know are priced as of then.
    """

    id: str
    partner: str
    wallet: str
    benefit: str
    quantity: int
    unit_points: int
    agreements: Mapping[str, str | None]
    debits: tuple[Debit, ...]
    provider: str
    expires_at: datetime

    @property
    def points(self) -> int:
        """The total."""
        return self.unit_points * self.quantity
