"""The schema itself: that it says all it should, and that what it promises is there."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    is_introspection_type,
    is_specified_scalar_type,
)
from msgspec import Struct, structs
from strawberry.types.base import StrawberryObjectDefinition

from exchange import agreements, benefit, errors, exposure, passbook, redemption, rules, wallet
from exchange.amounts import Money
from exchange.batch import Outcome
from exchange.quote import Quote
from exchange.settlement import (
    barter,
    calendar,
    dispute,
    exports,
    fixes,
    liability,
    netted,
    netting,
    period,
    reconciling,
    recorded,
    recording,
    signoff,
    simulation,
    statement,
)
from exchange.settlement import reconciliation as bank
from exchange.settlement.disputing import Disputed
from exchange.store import reconciliation as filing
from exchange.store.catalog import CodesAdded, Published
from exchange.store.headroom import Recorded
from exchange.store.members import LinkCode, Permit
from exchange.store.signoff import Signed
from graph import barters, nettings, reconciliation
from graph.context import Context
from graph.listings import OwedPoints, SeenDebit
from graph.mutations import Closed
from graph.mutations.nettings import FixesImported
from graph.mutations.reconciliation import FileReconciled, FileRecorded, UsageCompared
from graph.paging import Page, PageInfo, Row
from graph.schema import make_schema, sdl
from partners.feeds.rows import Rejected
from partners.registry import Partner

SNAPSHOT = Path(__file__).with_name("schema.graphql")

BEHIND: dict[str, type] = {
    "Agreement": agreements.Agreement, "Availability": benefit.Availability, "Benefit": benefit.Benefit,
    "BilateralPosition": netting.BilateralPosition, "Link": wallet.Link, "Lot": wallet.Lot, "LotDebit": SeenDebit,
    "Member": wallet.Wallet, "Money": Money, "PageInfo": PageInfo, "Partner": Partner, "Payment": netting.Payment,
    "Period": period.Period, "Position": netting.Position, "Redemption": redemption.Redemption,
    "Statement": statement.Statement, "StatementLine": statement.StatementLine, "Viewer": Context,
    "Wallet": wallet.Wallet, "Query": object, "Mutation": object,
    "AddCodesSuccess": CodesAdded, "AwardPointsSuccess": Outcome, "ClosePeriodSuccess": Closed, "LinkCode": LinkCode,
    "LinkMemberSuccess": Outcome, "PublishBenefitsSuccess": Published, "RedeemBenefitSuccess": Outcome,
    "UnlinkPartnerSuccess": Outcome,
    "ValidationError": errors.ValidationFailed, "NotFound": errors.NotFound, "Forbidden": errors.Forbidden,
    "InsufficientPoints": errors.InsufficientPoints, "BenefitUnavailable": errors.BenefitUnavailable,
    "PriceChanged": errors.PriceChanged, "IdempotencyConflict": errors.IdempotencyConflict,
    "VersionConflict": errors.VersionConflict, "InvalidTransition": errors.InvalidTransition,
    "Quote": Quote, "RedemptionActionSuccess": Outcome, "ReverseAwardSuccess": Outcome, "PointsSuccess": Outcome,
    "GivePointsSuccess": Outcome, "HouseholdSuccess": Outcome, "Invitation": Permit, "Debt": OwedPoints,
    "Rules": rules.Rules, "VelocityRule": rules.Velocity, "FrozenBenefit": rules.FrozenBenefit,
    "Household": wallet.Wallet, "MergeCode": Permit, "MergeMembersSuccess": Outcome,
    "AgreementSimulation": simulation.Simulated, "SimulatedCost": simulation.Cost,
    "SimulatedRow": simulation.Comparison, "SimulatedTotal": simulation.Comparison,
    "PointsEvent": passbook.PointsEvent, "PointsExpiration": passbook.Expiration, "PointsMovement": passbook.Movement,
    "LowBalance": exposure.Notice, "Exposure": exposure.Exposure, "SetExposureCapSuccess": exposure.Cap,
    "RecordFundingSuccess": Recorded, "SignOff": signoff.Record, "SignOffPolicy": signoff.Policy,
    "ApprovalTier": signoff.Tier, "SignStatementSuccess": Signed, "InvalidSignOff": errors.InvalidSignOff,
    "Dispute": dispute.Dispute, "DisputeRecord": dispute.DisputeRecord, "DisputeSuccess": Disputed,
    "InvalidDispute": errors.InvalidDispute,
    "PeriodCalendar": calendar.Calendar, "PeriodDates": calendar.Dates,
    "Export": exports.Export, "ExportProgress": exports.ExportProgress,
    "Netting": nettings.Shown, "NettingPolicy": recorded.StandingPolicy, "NettingGroup": nettings.Group,
    "SettlementCurrency": nettings.Choice, "NettingStanding": nettings.SeenStanding, "NettingNet": nettings.Net,
    "NettingMeasure": netted.Measure, "NettingChange": netted.Change, "NettingConversion": fixes.Conversion,
    "Fix": fixes.Fix, "FixRate": nettings.Rate, "RecordNettingSuccess": recording.Recorded,
    "ImportFixesSuccess": FixesImported,
    "Barter": barter.Seen, "BarterSide": barters.SeenSide, "NettingBarter": barter.Bartered,
    "Liability": liability.Liability, "LiabilityVintage": liability.Vintage, "LiabilityAge": liability.Aged,
    "LiabilityEnding": liability.Ending, "RedemptionEstimate": liability.Estimate,
    "DuePayment": bank.Due, "BankMovement": bank.Booked, "BankMatch": reconciliation.Matched,
    "BankFile": filing.FileSummary, "PaymentException": filing.Exceptional, "PaymentResolution": bank.Resolution,
    "RecordedPayment": reconciling.RecordedPayment, "UsageFigures": reconciliation.Figures,
    "UsageDifference": reconciliation.SeenDifference, "UsageTotal": reconciliation.SeenTotal,
    "UsageRejection": Rejected, "UploadBankFileSuccess": bank.Filed,
    "ResolvePaymentExceptionSuccess": bank.Resolution, "RecordBankFilePaymentsSuccess": FileRecorded,
    "ReconcileUsageSuccess": UsageCompared, "ReconcileBankFileSuccess": FileReconciled,
    "ReconciledStatement": reconciling.ReconciledStatement,
}  # fmt: skip
"""What the resolvers of each type return. Connections are Pages and edges are Rows, whatever they hold."""

REFUSALS = [
    errors.ValidationFailed("m", ("input",)),
    errors.NotFound("m"),
    errors.Forbidden("m"),
    errors.InsufficientPoints("m", required=1, available=0),
    errors.BenefitUnavailable("m", reasons=[]),
    errors.PriceChanged("m", points_price=1),
    errors.IdempotencyConflict("m"),
    errors.VersionConflict("m", current_version=1),
    errors.InvalidTransition("m", status="FULFILLED"),
    errors.InvalidSignOff("m", status="PAID"),
    errors.InvalidDispute("m", status="UPHELD"),
]


def core() -> GraphQLSchema:
    schema: GraphQLSchema = make_schema()._schema  # noqa: SLF001 - what Strawberry hands to graphql-core
    return schema


def named() -> list[GraphQLNamedType]:
    kinds = core().type_map.values()
    return [kind for kind in kinds if not is_introspection_type(kind) and not is_specified_scalar_type(kind)]


def places() -> Iterator[tuple[str, str | None]]:
    """Yield everything that can be described, with its description."""
    for kind in named():
        yield kind.name, kind.description
        if isinstance(kind, GraphQLEnumType):
            for name, value in kind.values.items():
                yield f"{kind.name}.{name}", value.description
        if isinstance(kind, GraphQLInputObjectType):
            for name, given in kind.fields.items():
                yield f"{kind.name}.{name}", given.description
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            for name, field in kind.fields.items():
                yield f"{kind.name}.{name}", field.description
                for argument, asked in field.args.items():
                    # A mutation's only argument is its input, whose type of its own says what it is.
                    if (kind.name, argument) != ("Mutation", "input"):
                        yield f"{kind.name}.{name}({argument})", asked.description


def test_everything_is_described() -> None:
    """Every type, field, argument, enum and enum value has a description, of at least a word."""
    found = list(places())
    assert len(found) > 400
    assert [name for name, description in found if not (description or "").strip()] == []


def test_nothing_defaults_to_null() -> None:
    """An optional argument that was not sent is not there: no `= null` in the schema."""
    assert "= null" not in sdl()


def test_the_schema_is_the_one_that_was_reviewed() -> None:
    """The SDL is the file beside this test; after a change on purpose write it anew with `exchange schema`."""
    assert sdl() == SNAPSHOT.read_text("utf-8")


def test_every_union_of_a_mutation_can_be_refused_in_the_same_way() -> None:
    """Each payload is a union with Forbidden, and all its refusals are UserErrors with the same fields."""
    schema = core()
    assert schema.mutation_type is not None
    user_error = schema.type_map["UserError"]
    for name, field in schema.mutation_type.fields.items():
        payload: Any = schema.type_map[str(field.type).rstrip("!")]
        refusals = [kind for kind in payload.types if user_error in kind.interfaces]
        assert "Forbidden" in {kind.name for kind in refusals}, name
        assert len(payload.types) - len(refusals) == 1, name


# ---------------------------------------------------------------- what stands behind the types


def strawberry_types() -> dict[str, StrawberryObjectDefinition]:
    schema = make_schema()
    found = {kind.name: schema.get_type_by_name(kind.name) for kind in named() if isinstance(kind, GraphQLObjectType)}
    return {name: kind for name, kind in found.items() if isinstance(kind, StrawberryObjectDefinition)}


TYPES = strawberry_types()


def behind(name: str) -> type:
    if name.endswith("Connection"):
        return Page
    return Row if name.endswith("Edge") else BEHIND[name]


def attributes(domain: type) -> set[str]:
    """Return what an instance has: fields, properties, named-tuple fields, and what __init__ of a refusal sets."""
    names = {field.name for field in dataclasses.fields(domain)} if dataclasses.is_dataclass(domain) else set()
    names |= {field.name for field in structs.fields(domain)} if issubclass(domain, Struct) else set()
    names |= {name for name, value in inspect.getmembers(domain) if isinstance(value, property | cached_property)}
    names |= set(getattr(domain, "_fields", ()))
    for refusal in REFUSALS:
        if type(refusal) is domain:
            names |= {*vars(refusal), "code", "retryable"}
    if hasattr(domain, "__strawberry_definition__"):
        names |= {field.python_name for field in domain.__strawberry_definition__.fields}
    return names


def test_every_type_says_what_stands_behind_it() -> None:
    """Each object type is made of one domain type, and none is listed that the schema has not."""
    assert {name for name in TYPES if not name.endswith(("Connection", "Edge"))} == set(BEHIND)


@pytest.mark.parametrize("name", TYPES)
def test_every_field_without_a_resolver_exists_behind_it(name: str) -> None:
    """A field that Strawberry reads by name is an attribute of what the resolvers return."""
    plain = {field.python_name for field in TYPES[name].fields if field.base_resolver is None}
    assert plain - attributes(behind(name)) == set()


def test_a_field_that_is_not_behind_would_be_noticed() -> None:
    """The check above fails for a field that its domain type has not."""

    @strawberry.type
    class Broken:
        awarded: int
        nonsense: int

    plain = {field.python_name for field in Broken.__strawberry_definition__.fields}  # type: ignore[attr-defined]
    assert plain - attributes(wallet.Lot) == {"nonsense"}
