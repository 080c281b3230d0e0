"""OAuth over HTTP: the token endpoint, the server's metadata, and its keys.

What is malformed is answered here, before anybody decides anything: a body of another type, too long, not
UTF-8, or with a parameter twice (RFC 6749 §3.2) is `invalid_request`. A parameter without a value counts as
omitted, as the same section says. Every answer is JSON, and none about a token may be stored.

The form is parsed by the standard library: eight parameters need no multipart parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from exchange.errors import Fault
from partners.oauth.keys import SigningKeys
from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES
from partners.oauth.server import CLIENT_AUTHENTICATION_METHODS, GRANT_TYPES, Answer, OAuthServer

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  # a path
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
JWKS_PATH: Final = "/.well-known/jwks.json"

_FORM_TYPE = "application/x-www-form-urlencoded"
_BODY_BYTES_MAX = 16_384
_BODY_SECONDS_MAX = 30
_PARAMETERS_MAX = 32
_CACHE_SECONDS = 300
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class _Malformed(Exception):  # noqa: N818  # it becomes RFC 6749's `invalid_request`
    def __init__(self, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.status = status


def oauth_routes(server: OAuthServer, keys: SigningKeys) -> list[Route]:
    """Return the routes, to be mounted at the root of the issuer's host (RFC 8414 §3 wants the metadata there)."""

    async def token(request: Request) -> Response:
        """Answer RFC 6749 §3.2."""
        try:
            answer = await server.token(await _form(request), _authorization(request))
        except _Malformed as error:
            body = {"error": "invalid_request", "error_description": str(error)}
            answer = Answer(error.status, body)
        except Fault as error:
            wait = [("Retry-After", str(error.retry_seconds))]
            answer = Answer(503, {"error": "temporarily_unavailable"}, wait)
        return _json(answer.body, status=answer.status, headers={**dict(answer.headers), **_NO_STORE})

    async def metadata(request: Request) -> Response:
        """Answer RFC 8414 §3: what exists, nothing that is to come."""
        return _cached(request, _metadata(server.tokens.issuer))

    async def jwks(request: Request) -> Response:
        """Answer RFC 7517 §5."""
        return _cached(request, await keys.published())

    return [
        Route(TOKEN_PATH, token, methods=["POST"]),
        Route(METADATA_PATH, metadata, methods=["GET"]),
        Route(JWKS_PATH, jwks, methods=["GET"]),
    ]


def _metadata(issuer: str) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "token_endpoint": issuer + TOKEN_PATH,
        "jwks_uri": issuer + JWKS_PATH,
        "scopes_supported": list(dict.fromkeys(PARTNER_SCOPES + MEMBER_SCOPES)),
        "response_types_supported": [],  # required, and empty until there is an authorization endpoint
        "grant_types_supported": list(GRANT_TYPES),
        "token_endpoint_auth_methods_supported": list(CLIENT_AUTHENTICATION_METHODS),
    }


async def _form(request: Request) -> dict[str, str]:
    """Return the body's parameters, those without a value left out."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise _Malformed(f"the body's type is not {_FORM_TYPE}")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY_BYTES_MAX:
                    raise _Malformed(f"the body has more than {_BODY_BYTES_MAX} bytes", status=413)
    except (ClientDisconnect, TimeoutError) as error:
        raise _Malformed(f"the body did not come within {_BODY_SECONDS_MAX} seconds", status=408) from error
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX)
    except ValueError as error:
        raise _Malformed("the body is not a form in UTF-8, or has too many parameters") from error
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise _Malformed("a parameter is there twice")
    return {name: value for name, value in pairs if value}


def _authorization(request: Request) -> str | None:
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise _Malformed("more than one Authorization header")
    return given[0] if given else None


def _json(body: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def _cached(request: Request, body: Mapping[str, Any]) -> Response:
    """Answer what anybody may keep for a while, or that it has not changed (RFC 9110 §13.1.2)."""
    content = orjson.dumps(body)
    headers = {
        "Cache-Control": f"public, max-age={_CACHE_SECONDS}",
        "ETag": f'"{sha256(content).hexdigest()[:32]}"',
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(None, 304, headers)
    return Response(content, 200, headers, media_type="application/json")
