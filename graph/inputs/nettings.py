"""What clients send about netting."""

from __future__ import annotations

from collections.abc import Iterable

import strawberry
from strawberry import UNSET

from exchange.errors import ValidationFailed
from exchange.settlement.netted import PlanKind
from graph.inputs import KEY_MAX, SAME_FOR_EVER, MoneyInput, check_key, sent
from graph.scalars import CurrencyCode

_ROWS_MAX = 1_000
"""Most groups, members of one, minimums or choices of a currency."""


@strawberry.input(description="Partners that net as one.")
class NettingGroupInput:
    """A parent and its subsidiaries."""

    parent: strawberry.ID = strawberry.field(description="Who settles for all of them.")
    members: list[strawberry.ID] = strawberry.field(description="Its subsidiaries.")


@strawberry.input(description="In which currency a partner settles all that it has.")
class SettlementCurrencyInput:
    """One for a partner."""

    partner: strawberry.ID = strawberry.field(description="Who.")
    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")


@strawberry.input(description="How periods are netted unless somebody wishes otherwise: all of it is replaced.")
class SetNettingPolicyInput:
    """Adds a version, in force for every netting from then on."""

    plan: PlanKind | None = strawberry.field(default=UNSET, description="Who pays whom: EXCHANGE, unless said.")
    minimums: list[MoneyInput] | None = strawberry.field(
        default=UNSET, description="The least payment by currency; what is less is carried."
    )
    groups: list[NettingGroupInput] | None = strawberry.field(default=UNSET, description="Who nets as one.")
    settle: list[SettlementCurrencyInput] | None = strawberry.field(
        default=UNSET, description="Who settles in one currency."
    )
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )


@strawberry.input(description="How a period is to be netted; what is left out is as the standing policy says.")
class NettingWishInput:
    """Of one netting."""

    plan: PlanKind | None = strawberry.field(default=UNSET, description="Who pays whom.")
    minimums: list[MoneyInput] | None = strawberry.field(
        default=UNSET, description="The least payment by currency; what is less is carried."
    )
    groups: list[NettingGroupInput] | None = strawberry.field(default=UNSET, description="Who nets as one.")
    without: list[strawberry.ID] | None = strawberry.field(
        default=UNSET, description="Who does not pay and is taken out: the survivors are netted."
    )
    settle: list[SettlementCurrencyInput] | None = strawberry.field(
        default=UNSET, description="Who settles in one currency; it needs a fix."
    )
    fix: strawberry.ID | None = strawberry.field(default=UNSET, description="By which rates, such as ecb-2023-12-08.")


@strawberry.input(description="A closed period, and how it is netted; what is left out is as the standing policy says.")
class RecordNettingInput(NettingWishInput):
    """Recorded once."""

    period: int = strawberry.field(description="The period's number.")
    idempotency_key: str = strawberry.field(description=f"1 to {KEY_MAX} printable characters. {SAME_FOR_EVER}")

    def check(self) -> None:
        """Refuse what no recording is."""
        check_key(self.idempotency_key)
        least(self.minimums)


@strawberry.input(description="A file of the European Central Bank's euro reference rates.")
class ImportFixesInput:
    """Taken wholly or not at all."""

    content: str = strawberry.field(description="The file as it is, unpacked: XML or CSV, of one day or of several.")


def least(minimums: list[MoneyInput] | None) -> dict[str, int] | None:
    """Return minimums by currency, or refuse what none can be."""
    given = sent(minimums)
    if given is None:
        return None
    few(given, "minimums")
    found: dict[str, int] = {}
    for index, each in enumerate(given):
        minor, currency = each.money("input", "minimums", str(index))
        if currency in found:
            raise ValidationFailed(f"{currency} is there twice", ("input", "minimums", str(index)))
        found[currency] = minor
    return found


def few(rows: Iterable[object], name: str) -> None:
    """Refuse more of something than anybody has."""
    if len(list(rows)) > _ROWS_MAX:
        raise ValidationFailed(f"at most {_ROWS_MAX:,}", ("input", name))
