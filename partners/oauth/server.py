"""The token endpoint's decision, by Authlib's authorization server (RFC 6749 §3.2).

Authlib is synchronous and does no I/O of its own; the database is neither. So a request is answered in three
steps:

1. **preload**: read what the decision may need (the clients that the request names) into a `_Desk`;
2. **decide**: Authlib, on the event loop, with the desk as its only world. Nothing waits, nothing is written;
3. **commit**: the conditional write whose filter is the real decision, then the member's first mention. Only
   then is the answer given.

A desk is an `AuthorizationServer` of its own, made for one request: Authlib's hooks are told neither the
request nor what was read for it, so a shared server would have to find both somewhere ambient. Making one
costs microseconds.

What Authlib 1.9.9 would let through, and where it is held: the client's own scopes are never asked
(`_granted`); an unknown client is told apart from a wrong secret (`authenticate_client`); a challenge has no
realm (`_ClientRefusedError`); whatever an assertion may get wrong (`assertions`).

The grants that exist are registered in `_Desk`; authorization code, refresh token and their endpoints will
stand beside them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from authlib.oauth2.rfc6749 import (  # type: ignore[import-untyped]
    AuthorizationServer,
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Payload,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.util import extract_basic_authorization  # type: ignore[import-untyped]
from authlib.oauth2.rfc7523 import JWTBearerGrant  # type: ignore[import-untyped]

from exchange.errors import Refusal
from exchange.keyring import Keyring
from partners.oauth.assertions import Assertion, BadAssertion, hinted, verified
from partners.oauth.clock import Clock, system_clock
from partners.oauth.scopes import member_scopes_allowed, written
from partners.oauth.store import OAuthStore
from partners.oauth.tokens import MEMBER_TOKEN_SECONDS, PARTNER_TOKEN_SECONDS, Tokens
from partners.registry import Client, PartnerRegistry

CLIENT_AUTHENTICATION_METHODS: Final = ("client_secret_basic", "client_secret_post")
GRANT_TYPES: Final = (ClientCredentialsGrant.GRANT_TYPE, JWTBearerGrant.GRANT_TYPE)

_OK = 200
logging.getLogger("authlib.oauth2").setLevel(logging.INFO)  # at DEBUG it writes every token it issues

Enrol = Callable[[str, str], Awaitable[None]]
"""Called with (partner, reference): the member comes into being, unless it has; safe to repeat."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back: RFC 6749 §5.1 or §5.2."""

    status: int
    body: Mapping[str, Any]
    headers: Sequence[tuple[str, str]] = ()


class OAuthServer:
    """Answers token requests. `enrol` is the ledger's: a member comes into being at first mention."""

    def __init__(
        self,
        registry: PartnerRegistry,
        store: OAuthStore,
        tokens: Tokens,
        keyring: Keyring,
        enrol: Enrol,
        clock: Clock = system_clock,
    ) -> None:
        self.tokens = tokens
        self._registry = registry
        self._store = store
        self._keyring = keyring
        self._enrol = enrol
        self._clock = clock

    async def token(self, form: Mapping[str, str], authorization: str | None) -> Answer:
        """Answer a token request: its form, each name once and no value empty, and its Authorization header.

        StoreUnavailable if the database does not answer; the same request may then be repeated, except that
        an assertion may have been used up.
        """
        try:
            desk = await self._preload(form, authorization)
            answer: Answer = desk.create_token_response(_Request(form, authorization))
            if answer.status == _OK:
                await self._commit(desk)
        except OAuth2Error as error:  # what Authlib itself catches, raised before or after it
            return Answer(*error())
        return answer

    async def _preload(self, form: Mapping[str, str], authorization: str | None) -> _Desk:
        if "grant_type" not in form:
            raise InvalidRequestError("grant_type is missing")
        presented = _client_presented(form, authorization)
        named = {presented} if presented else set()
        if form.get("grant_type") == JWTBearerGrant.GRANT_TYPE and "assertion" in form:
            with suppress(BadAssertion):  # then there is nothing to read; the decision says what is wrong
                named.update(hinted(form["assertion"]))
        clients = {client_id: await self._registry.client(client_id) for client_id in sorted(named)}
        known = {client_id: client for client_id, client in clients.items() if client is not None}
        return _Desk(known, self.tokens, self._keyring, self._clock())

    async def _commit(self, desk: _Desk) -> None:
        """Make the decision true, or raise InvalidGrantError: only here is it known whether it is."""
        if desk.assertion is None or desk.partner is None:
            return
        asserted = desk.assertion
        fresh = await self._store.use_assertion(
            self._keyring.digest("assertion-jti", asserted.client_id, asserted.jti),
            expires_at=datetime.fromtimestamp(asserted.expires_at, UTC),
            now=datetime.fromtimestamp(desk.now, UTC),
        )
        if not fresh:
            raise InvalidGrantError(description="this jti was used already: each assertion is good once")
        try:
            await self._enrol(desk.partner, asserted.reference)
        except Refusal as refusal:
            raise InvalidGrantError(description="the exchange does not accept this member") from refusal


class _Desk(AuthorizationServer):  # type: ignore[misc]
    """One request's world: what was read for it, and what was decided. `assertion` waits for its commit."""

    def __init__(self, clients: Mapping[str, Client], tokens: Tokens, keyring: Keyring, now: float) -> None:
        super().__init__()
        self.clients = {client_id: _Registered(client, keyring) for client_id, client in clients.items()}
        self.tokens = tokens
        self.now = now
        self.assertion: Assertion | None = None
        self.partner: str | None = None
        self.register_grant(_ClientCredentials)
        self.register_grant(_JWTBearer)
        self.register_token_generator(_ClientCredentials.GRANT_TYPE, self._partner_token)
        self.register_token_generator(_JWTBearer.GRANT_TYPE, self._member_token)

    def checked(self, assertion: str) -> Assertion:
        """Return what the assertion says, and keep it for the commit; BadAssertion if it does not hold."""
        registered = self.query_client(hinted(assertion)[0])
        if registered is None:
            raise BadAssertion("iss is not a client id")
        self.partner = registered.client.partner
        self.assertion = verified(
            assertion,
            registered.client,
            issuer=self.tokens.issuer,
            now=self.now,
            is_client=self.clients.__contains__,
        )
        return self.assertion

    def query_client(self, client_id: str) -> _Registered | None:
        return self.clients.get(client_id)

    def authenticate_client(self, request: _Request, methods: Sequence[str], endpoint: str = "token") -> _Registered:
        try:
            authenticated: _Registered = super().authenticate_client(request, methods, endpoint)
        except InvalidClientError as error:
            raise _ClientRefusedError(status_code=401, description="client authentication failed") from error
        return authenticated

    def create_oauth2_request(self, request: _Request) -> _Request:
        return request

    def handle_response(self, status: int, body: Mapping[str, Any], headers: Sequence[tuple[str, str]]) -> Answer:
        return Answer(status, body, headers)

    def save_token(self, token: Mapping[str, Any], request: _Request) -> None:
        """Access tokens are not kept: they end before keeping them would pay."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""

    def _partner_token(self, *, client: _Registered, scope: frozenset[str], **_: object) -> dict[str, Any]:
        token = self.tokens.for_partner(client.client, scope)
        return _token_response(token, scope, PARTNER_TOKEN_SECONDS)

    def _member_token(
        self, *, client: _Registered, user: Assertion, scope: frozenset[str], **_: object
    ) -> dict[str, Any]:
        token = self.tokens.for_member(client.client, user.reference, scope, region=user.region)
        return _token_response(token, scope, MEMBER_TOKEN_SECONDS)


class _ClientCredentials(ClientCredentialsGrant):  # type: ignore[misc]
    """A partner's server acts for itself (RFC 6749 §4.4)."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTHENTICATION_METHODS

    def validate_requested_scope(self) -> None:
        payload = self.request.payload
        payload.granted = _granted(payload.data.get("scope"), self.request.client.client.scopes)


class _JWTBearer(JWTBearerGrant):  # type: ignore[misc]
    """A partner's server acts for one of its members (RFC 7523 §2.1)."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTHENTICATION_METHODS

    def validate_token_request(self) -> None:
        presented = self.request.presented
        if self.request.authenticates:  # optional, and checked when given (RFC 7521 §4.1)
            self.authenticate_token_endpoint_client()
        super().validate_token_request()
        if presented is not None and presented != self.request.client.client.client_id:
            raise InvalidGrantError(description="iss is not the client that sent the assertion")

    def process_assertion_claims(self, assertion: str) -> dict[str, str]:
        desk: _Desk = self.server
        try:
            asserted = desk.checked(assertion)
        except BadAssertion as error:
            raise InvalidGrantError(description=str(error)) from error
        return {"iss": asserted.client_id, "sub": asserted.reference}

    def resolve_issuer_client(self, issuer: str) -> _Registered | None:
        found: _Registered | None = self.server.query_client(issuer)
        return found

    def validate_requested_scope(self) -> None:
        payload = self.request.payload
        allowed = member_scopes_allowed(self.request.client.client.scopes)
        payload.granted = _granted(payload.data.get("scope"), allowed)

    def authenticate_user(self, _subject: str) -> Assertion | None:
        asserted: Assertion | None = self.server.assertion
        return asserted

    def has_granted_permission(self, _client: _Registered, _user: Assertion) -> bool:
        """Say yes: a partner speaks for all of its own members, and a reference names no others."""
        return True


@dataclass(slots=True)
class _Registered:
    """A client as Authlib asks for it (its ClientMixin, as far as these grants go)."""

    client: Client
    keyring: Keyring = field(repr=False)

    def check_client_secret(self, secret: str) -> bool:
        presented = self.keyring.digest("client-secret", secret)
        return presented in self.client.secret_hashes  # of keyed hashes: timing tells nothing of the secret

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method in CLIENT_AUTHENTICATION_METHODS

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in GRANT_TYPES


class _Payload(OAuth2Payload):  # type: ignore[misc]
    """The form. `scope` is what was granted once it has been decided: the grants hand it to the generators."""

    def __init__(self, form: Mapping[str, str]) -> None:
        self._form = form
        self.granted: frozenset[str] | None = None

    @property
    def data(self) -> Mapping[str, str]:
        return self._form

    @property
    def datalist(self) -> dict[str, list[str]]:
        return {name: [value] for name, value in self._form.items()}

    @property
    def scope(self) -> frozenset[str] | None:
        return self.granted


class _Request(OAuth2Request):  # type: ignore[misc]
    """A token request. Authlib looks at the URI only to refuse plain HTTP; TLS ends before us, at the proxy."""

    def __init__(self, form: Mapping[str, str], authorization: str | None) -> None:
        headers = {"Authorization": authorization} if authorization is not None else {}
        super().__init__("POST", "https://localhost/oauth/token", headers=headers)
        self.payload = _Payload(form)
        self.authenticates = authorization is not None or "client_secret" in form
        self.presented = _client_presented(form, authorization)

    @property
    def form(self) -> Mapping[str, str]:
        form: Mapping[str, str] = self.payload.data
        return form


class _ClientRefusedError(InvalidClientError):  # type: ignore[misc]
    """401 with a challenge that has its realm (RFC 7617 §2)."""

    def get_headers(self) -> list[tuple[str, str]]:
        headers = [pair for pair in super().get_headers() if pair[0] != "WWW-Authenticate"]
        return [*headers, ("WWW-Authenticate", 'Basic realm="Benefits Exchange", charset="UTF-8"')]


def _client_presented(form: Mapping[str, str], authorization: str | None) -> str | None:
    """Return the client id the request comes with, if any; InvalidRequestError for two ways of saying it.

    RFC 6749 §2.3: no more than one authentication method. Credentials that are not UTF-8 are malformed, not
    wrong.
    """
    if authorization is None:
        return form.get("client_id")
    if "client_secret" in form:
        raise InvalidRequestError("client credentials both in the header and in the body")
    try:
        basic: str | None = extract_basic_authorization({"Authorization": authorization})[0]
    except ValueError as error:
        raise InvalidRequestError("the Basic credentials are not UTF-8 in base64") from error
    if basic is not None and form.get("client_id", basic) != basic:
        raise InvalidRequestError("client_id differs from the one in the header")
    return basic


def _granted(asked: str | None, allowed: frozenset[str]) -> frozenset[str]:
    """Return the scopes asked for, or all; InvalidScopeError for one too many (RFC 6749 §3.3)."""
    if asked is None:
        return allowed
    scopes = frozenset(asked.split(" "))
    if not scopes <= allowed:
        raise InvalidScopeError("a scope that is unknown, or that this client may not have")
    return scopes


def _token_response(token: str, scopes: frozenset[str], seconds: int) -> dict[str, Any]:
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": written(scopes),
    }
