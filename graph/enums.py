"""The domain's enumerations, made known to GraphQL under their own names. Import before any type that uses them."""

from __future__ import annotations

from enum import StrEnum

import strawberry

from exchange.benefit import BenefitCategory, BenefitStatus, Fulfilment, UnavailableReason
from exchange.journal import LineKind
from exchange.redemption import RedemptionStatus
from exchange.settlement.period import PeriodStatus
from exchange.settlement.statement import StatementStatus
from partners.registry import PartnerRole

__all__ = [
    "BenefitCategory",
    "BenefitSort",
    "BenefitStatus",
    "Fulfilment",
    "LineKind",
    "PartnerRole",
    "PeriodStatus",
    "RedemptionStatus",
    "StatementStatus",
    "UnavailableReason",
]

strawberry.enum(PartnerRole, description="What a partner does in the exchange; one can be all three.")
strawberry.enum(BenefitStatus, description="Only PUBLISHED can be redeemed; the others are seen by their owner alone.")
strawberry.enum(BenefitCategory, description="The trades of the exchange.")
strawberry.enum(Fulfilment, description="How a member gets it: a code from the pool, by the partner, or at once.")
strawberry.enum(UnavailableReason, description="Why a benefit cannot be redeemed now.")
strawberry.enum(RedemptionStatus, description="Where a redemption stands.")
strawberry.enum(PeriodStatus, description="OPEN takes entries; CLOSING is being cut; CLOSED is for ever.")
strawberry.enum(StatementStatus, description="How far a statement has come.")
strawberry.enum(LineKind, name="StatementLineKind", description="What a statement line is for.")


@strawberry.enum(description="The order of a list of benefits.")
class BenefitSort(StrEnum):
    """POINTS_PRICE ascends, NEWEST is the default, ENDING_SOON puts open ends last, RELEVANCE needs `search`."""

    POINTS_PRICE = "POINTS_PRICE"
    NEWEST = "NEWEST"
    ENDING_SOON = "ENDING_SOON"
    RELEVANCE = "RELEVANCE"
