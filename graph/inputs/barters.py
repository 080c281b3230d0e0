"""What clients send about barter."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import UNSET

from exchange.errors import ValidationFailed
from graph.inputs import MoneyInput, check_said, sent


@strawberry.input(description="A partner, and what its points may take at the other.")
class BarterSideInput:
    """One of two."""

    partner: strawberry.ID = strawberry.field(description="Who.")
    quota: MoneyInput = strawberry.field(description="How much may be settled in kind, by the agreements' prices.")


@strawberry.input(description="Two partners settle with each other in kind, and money only for the difference.")
class AddBarterInput:
    """Asked again, it is the same barter."""

    one: BarterSideInput = strawberry.field(description="One of them.")
    other: BarterSideInput = strawberry.field(description="The other, in the same currency.")
    effective_from: datetime | None = strawberry.field(
        default=UNSET, description="From when on; null: since the open period was opened. It may be in the past."
    )
    until: datetime = strawberry.field(description="When it ends, and the difference falls due.")
    reference: str | None = strawberry.field(
        default=UNSET, description="Of the contract, as in your books; at most 500 characters."
    )

    def quotas(self) -> tuple[str, int, int]:
        """Return the currency and both quotas in minor units, or refuse two currencies."""
        one = self.one.quota.money("input", "one", "quota")
        other = self.other.quota.money("input", "other", "quota")
        if one.currency != other.currency:
            raise ValidationFailed(f"must be in {one.currency}", ("input", "other", "quota", "currency"))
        if sent(self.reference) is not None:
            check_said(self.reference or "", "reference")
        return one.currency, one.minor, other.minor


@strawberry.input(description="The barter to end.")
class EndBarterInput:
    """Ended again, it stays as it is."""

    barter: strawberry.ID = strawberry.field(description="Which.")
