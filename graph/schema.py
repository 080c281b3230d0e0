"""The schema, put together from its types, queries and mutations."""

from __future__ import annotations

from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from graph.limits import Limits
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import SCALARS
from graph.settlement import Period, Statement
from graph.types import Lot

DOCUMENTS_KEPT = 1_000


class Schema(strawberry.Schema):
    """Strawberry's, which leaves telling of errors to `graph.http`."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing here: what a client got wrong is not the operator's trouble."""


def make_schema() -> Schema:
    """Return the schema; documents are parsed and validated once."""
    return Schema(
        query=Query,
        mutation=Mutation,
        types=[Lot, Period, Statement],
        extensions=[
            Limits,
            lambda: ParserCache(maxsize=DOCUMENTS_KEPT),
            lambda: ValidationCache(maxsize=DOCUMENTS_KEPT),
        ],
        config=StrawberryConfig(scalar_map=SCALARS),
    )


def sdl() -> str:
    """Return the schema in GraphQL's schema definition language."""
    printed: Any = make_schema().as_str()
    return f"{printed}\n"
