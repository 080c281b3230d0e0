"""GraphQL over HTTP, and what is told of errors.

The transport is the GraphQL-over-HTTP specification's: a POST of `application/json`; the answer is
`application/graphql-response+json`, whose status tells a malformed request (400) from an executed one (200), or, for a
client that accepts only it, `application/json`, where both are 200. Authentication comes before anything of the body is
looked at. Every error leaves with `extensions.code`; what went wrong inside is logged, not told.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

import orjson
from graphql import GraphQLError, GraphQLSyntaxError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from strawberry.exceptions import MissingQueryError, StrawberryGraphQLError
from strawberry.http.ides import get_graphql_ide_html
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.execution import ExecutionResult, PreExecutionError
from strawberry.types.graphql import OperationType

from exchange.errors import Fault, Overloaded
from graph.context import Context
from graph.limits import BODY_BYTES_MAX, BODY_SECONDS_MAX
from graph.refusals import Code, fault
from graph.schema import Schema
from graph.services import Services
from partners.oauth.tokens import InvalidToken, Principal, Tokens

JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
_OPERATIONS = frozenset({OperationType.QUERY, OperationType.MUTATION})

_Result = tuple[dict[str, Any], HTTPStatus, dict[str, str]]
"""The body, the status, and headers besides."""

_log = logging.getLogger(__name__)


class Unanswered(Exception):  # noqa: N818 - ends a request that never reaches the schema, or the file it is for
    """What is said instead."""

    def __init__(self, status: HTTPStatus, code: Code, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = fault(code, message)
        self.headers = headers or {}

    def response(self, media: str = JSON) -> Response:
        """Return it as a response."""
        body = {"errors": [self.error.formatted]}
        return Response(orjson.dumps(body), self.status, {**self.headers, "Cache-Control": "no-store"}, media)


async def authenticated(tokens: Tokens, request: Request) -> Principal:
    """Return who asks, by the access token; Unanswered without a good one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        # Without a token at all RFC 6750 §3.1 wants no error code.
        raise Unanswered(
            HTTPStatus.UNAUTHORIZED, Code.UNAUTHENTICATED, "send an access token as Authorization: Bearer",
            {"WWW-Authenticate": 'Bearer realm="exchange"'},
        )  # fmt: skip
    try:
        return await tokens.verify(token.strip())
    except InvalidToken:
        raise Unanswered(
            HTTPStatus.UNAUTHORIZED, Code.UNAUTHENTICATED, "the access token is not good, or no longer",
            {"WWW-Authenticate": 'Bearer realm="exchange", error="invalid_token"'},
        ) from None  # fmt: skip


class GraphQLEndpoint:
    """`/graphql` of one schema and its services."""

    def __init__(self, schema: Schema, services: Services) -> None:
        self._schema = schema
        self._services = services

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        if request.method == "GET" and self._services.settings.graphiql and _wants_html(request):
            return HTMLResponse(get_graphql_ide_html(graphql_ide="graphiql"))
        media = _media(request)
        try:
            if media is None:
                said = f"the answer is {GRAPHQL} or {JSON}"
                raise Unanswered(HTTPStatus.NOT_ACCEPTABLE, Code.BAD_USER_INPUT, said)  # noqa: TRY301
            if request.method != "POST":
                said = "send the operation as POST"
                raise Unanswered(HTTPStatus.METHOD_NOT_ALLOWED, Code.BAD_USER_INPUT, said, {"Allow": "POST"})  # noqa: TRY301
            context = Context(self._services, await authenticated(self._services.tokens, request))
            result, status, headers = await self._execute(await _operation(request), context)
        except Unanswered as instead:
            return instead.response(media or JSON)
        if media == JSON and status is not HTTPStatus.TOO_MANY_REQUESTS:
            status = HTTPStatus.OK
        return Response(orjson.dumps(result), status, {**headers, "Cache-Control": "no-store"}, media)

    async def _execute(self, operation: dict[str, Any], context: Context) -> _Result:
        try:
            result = await self._schema.execute(
                operation["query"],
                variable_values=operation.get("variables"),
                context_value=context,
                operation_name=operation.get("operationName"),
                allowed_operation_types=_OPERATIONS,
            )
        except MissingQueryError:
            return _not_begun(fault(Code.GRAPHQL_PARSE_FAILED, "the document is empty"))
        except (CannotGetOperationTypeError, InvalidOperationTypeError):
            said = "name one operation of the document in `operationName`; it must be a query or a mutation"
            return _not_begun(fault(Code.BAD_USER_INPUT, said))
        errors = [_told(error, result) for error in result.errors or ()]
        body: dict[str, Any] = {"data": result.data} if _executed(result) else {}
        if errors:
            body["errors"] = [error.formatted for error in errors]
        causes = [error.original_error for error in result.errors or ()]
        waits = [cause.retry_seconds for cause in causes if isinstance(cause, Overloaded)]
        if waits:
            return body, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(max(waits))}
        return body, HTTPStatus.OK if "data" in body else HTTPStatus.BAD_REQUEST, {}


def _not_begun(error: GraphQLError) -> _Result:
    return {"errors": [error.formatted]}, HTTPStatus.BAD_REQUEST, {}


def _executed(result: ExecutionResult) -> bool:
    """Whether execution began: an error before it has no path, and the answer then has no data."""
    before = isinstance(result, PreExecutionError) or (
        result.data is None and all(error.path is None for error in result.errors or ())
    )
    return not before


def _told(error: GraphQLError, result: ExecutionResult) -> GraphQLError:
    """Return the error as it leaves: with its code, and without what is nobody's business."""
    cause = error.original_error
    if error.extensions and "code" in error.extensions:
        return error
    if isinstance(cause, Overloaded):
        return _as(error, Code.THROTTLED, f"{cause.message}; try again")
    if isinstance(cause, Fault):
        return _as(error, Code.INTERNAL_SERVER_ERROR, f"{cause.message}; try again with the same idempotency key")
    if isinstance(result, PreExecutionError) and isinstance(cause, ValueError):
        # graphql-core reads an Int with int(), which refuses thousands of digits in its own way.
        return _as(error, Code.GRAPHQL_VALIDATION_FAILED, "the document has a value that cannot be read")
    if cause is not None and not isinstance(cause, GraphQLError | StrawberryGraphQLError):
        # A refusal that has no place in its payload's union comes out here as well.
        _log.error("a resolver failed at %s", error.path, exc_info=cause)
        return _as(error, Code.INTERNAL_SERVER_ERROR, "internal error")
    parsed = not isinstance(error, GraphQLSyntaxError)
    before = Code.GRAPHQL_VALIDATION_FAILED if parsed else Code.GRAPHQL_PARSE_FAILED
    return _as(error, before if isinstance(result, PreExecutionError) else Code.BAD_USER_INPUT)


def _as(error: GraphQLError, code: Code, message: str | None = None) -> GraphQLError:
    return GraphQLError(
        message or error.message, nodes=error.nodes, source=error.source, positions=error.positions, path=error.path,
        extensions={"code": code.value},
    )  # fmt: skip


async def _operation(request: Request) -> dict[str, Any]:
    """Return the request's parameters; a malformed body is the client's error, never ours."""
    kind, _, parameters = request.headers.get("Content-Type", "").partition(";")
    charset = parameters.lower().replace('"', "").replace(" ", "")
    if kind.strip().lower() != JSON or charset not in ("", "charset=utf-8", "charset=utf8"):
        said = f"send {JSON}, in UTF-8"
        raise Unanswered(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, Code.BAD_USER_INPUT, said)
    try:
        operation = orjson.loads(await _body(request))
    except orjson.JSONDecodeError as error:
        raise Unanswered(HTTPStatus.BAD_REQUEST, Code.BAD_USER_INPUT, f"the body is not JSON: {error}") from None
    if not isinstance(operation, dict) or not isinstance(operation.get("query"), str):
        said = "the body is an object with `query` (a string), and if wished `variables`, `operationName`, `extensions`"
        raise Unanswered(HTTPStatus.BAD_REQUEST, Code.BAD_USER_INPUT, said)
    for name, wanted in (("variables", dict), ("operationName", str), ("extensions", dict)):
        if not isinstance(operation.get(name), wanted | None):
            raise Unanswered(HTTPStatus.BAD_REQUEST, Code.BAD_USER_INPUT, f"`{name}` is of the wrong type")
    return operation


async def _body(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_BYTES_MAX:
                    said = f"the body has more than {BODY_BYTES_MAX} bytes"
                    raise Unanswered(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, Code.BAD_USER_INPUT, said)
    except (ClientDisconnect, TimeoutError):
        said = f"the body did not come within {BODY_SECONDS_MAX} seconds"
        raise Unanswered(HTTPStatus.REQUEST_TIMEOUT, Code.BAD_USER_INPUT, said) from None
    return body


def _media(request: Request) -> str | None:
    """Return the media type to answer in: the better liked of the two, our own where both are; None for neither."""
    accept = request.headers.get("Accept")
    if not accept:
        return GRAPHQL
    liked: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            liked[name] = float(weight)
        except ValueError:
            liked[name] = 0.0
    wild = max(liked.get("*/*", 0.0), liked.get("application/*", 0.0))
    graphql, json = liked.get(GRAPHQL, wild), liked.get(JSON, wild)
    if max(graphql, json) <= 0:
        return None
    return GRAPHQL if graphql >= json else JSON


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("Accept", "")
