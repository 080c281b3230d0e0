"""What can go wrong, in GraphQL's two ways.

Expected outcomes are data: a `Refusal` of the domain is returned as the payload's error type of the same name.
Faults of the request or the server are GraphQL errors, each with `extensions.code`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import FieldExtension

from exchange import errors
from graph.enums import DisputeStatus, RedemptionStatus, StatementStatus, UnavailableReason
from graph.scalars import Points

MESSAGE = strawberry.field(description="One sentence for the developer who reads it.")
CODE = strawberry.field(description="The type's name in UPPER_SNAKE.")
RETRYABLE = strawberry.field(description="Whether the same request could end differently without changing it.")
PATH = strawberry.field(description='Where in the input the trouble is: begins with "input".')


class Code(StrEnum):
    """`extensions.code` of a GraphQL error; the last three are of files alone, which are fetched past GraphQL."""

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    COST_EXCEEDED = "COST_EXCEEDED"
    THROTTLED = "THROTTLED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"
    NOT_FOUND = "NOT_FOUND"
    NOT_READY = "NOT_READY"
    EXPIRED = "EXPIRED"


def fault(code: Code, message: str) -> GraphQLError:
    """Return a GraphQL error with its code."""
    return GraphQLError(message, extensions={"code": code.value})


def made_of(domain: type) -> Callable[[Any, Any], bool]:
    """Return the `is_type_of` of a GraphQL type whose values are objects of the domain: unions need it."""
    return staticmethod(lambda value, _info: isinstance(value, domain))


@dataclass(frozen=True, slots=True)
class Said:
    """A refusal as a value: graphql-core would raise an exception that a resolver returns."""

    refusal: errors.Refusal

    def __getattr__(self, name: str) -> Any:
        """Show the refusal's own attributes to Strawberry."""
        return getattr(self.refusal, name)


def said(domain: type[errors.Refusal]) -> Callable[[Any, Any], bool]:
    """Return the `is_type_of` of the GraphQL type of a refusal."""
    return staticmethod(lambda value, _info: isinstance(value, Said) and isinstance(value.refusal, domain))


class AsData(FieldExtension):
    """Returns a refusal of the resolver as the payload instead of failing the request."""

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info, **kwargs: Any
    ) -> Any:
        """Resolve, and catch what is expected to happen."""
        try:
            return await next_(source, info, **kwargs)
        except errors.Refusal as refusal:
            return Said(refusal)


@strawberry.interface(description="An expected outcome that is not success. Clients spread `... on UserError`.")
class UserError:
    """Interface of all refusals."""

    message: str = MESSAGE
    code: str = CODE
    retryable: bool = RETRYABLE
    path: list[str] | None = PATH


@strawberry.type(description="The input is malformed, or contradicts what is stored.")
class ValidationError(UserError):
    """exchange.errors.ValidationFailed."""

    is_type_of = said(errors.ValidationFailed)


@strawberry.type(description="No such object, or none of the caller's: the two look the same.")
class NotFound(UserError):
    """exchange.errors.NotFound."""

    is_type_of = said(errors.NotFound)


@strawberry.type(description="The caller may not do this.")
class Forbidden(UserError):
    """exchange.errors.Forbidden."""

    required_scope: str | None = strawberry.field(description="The scope that would have helped, if one would.")

    is_type_of = said(errors.Forbidden)


@strawberry.type(description="The member has fewer points for this than it takes.")
class InsufficientPoints(UserError):
    """exchange.errors.InsufficientPoints."""

    required: Points = strawberry.field(description="How many it takes in all.")
    available: Points = strawberry.field(description="How many there are for it, on this benefit or now.")

    is_type_of = said(errors.InsufficientPoints)


@strawberry.type(description="The benefit cannot be redeemed now, for every reason listed.")
class BenefitUnavailable(UserError):
    """exchange.errors.BenefitUnavailable."""

    reasons: list[UnavailableReason] = strawberry.field(description="All that stands in the way.")

    is_type_of = said(errors.BenefitUnavailable)


@strawberry.type(description="The total is not what `expectedPoints` said.")
class PriceChanged(UserError):
    """exchange.errors.PriceChanged."""

    points_price: Points = strawberry.field(description="What it costs in all now.")

    is_type_of = said(errors.PriceChanged)


@strawberry.type(description="The idempotency key was used before, with a different input.")
class IdempotencyConflict(UserError):
    """exchange.errors.IdempotencyConflict."""

    is_type_of = said(errors.IdempotencyConflict)


@strawberry.type(description="The redemption is past that step.")
class InvalidTransition(UserError):
    """exchange.errors.InvalidTransition."""

    status: RedemptionStatus = strawberry.field(description="Where it stands.")

    is_type_of = said(errors.InvalidTransition)


@strawberry.type(description="The statement does not stand where that step begins.")
class InvalidSignOff(UserError):
    """exchange.errors.InvalidSignOff."""

    status: StatementStatus = strawberry.field(description="Where it stands.")

    is_type_of = said(errors.InvalidSignOff)


@strawberry.type(description="The dispute does not stand where that step begins.")
class InvalidDispute(UserError):
    """exchange.errors.InvalidDispute."""

    status: DisputeStatus = strawberry.field(description="Where it stands.")

    is_type_of = said(errors.InvalidDispute)


@strawberry.type(description="Somebody changed the object first.")
class VersionConflict(UserError):
    """exchange.errors.VersionConflict."""

    current_version: int = strawberry.field(description="The version it has now; 0 where there is none yet.")

    is_type_of = said(errors.VersionConflict)
