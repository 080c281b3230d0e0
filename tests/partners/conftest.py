"""A small exchange as far as OAuth sees it: a real database, a real application, and a clock that tests turn."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette

from exchange.keyring import Keyring
from exchange.store.connection import Database, connect, settled
from partners.oauth.clock import system_clock
from partners.oauth.keys import SigningKeys
from partners.oauth.routes import oauth_routes
from partners.oauth.server import OAuthServer
from partners.oauth.store import OAuthStore
from partners.oauth.tokens import Tokens
from partners.registry import Client, Onboarded, PartnerRegistry, PartnerRole
from partners.staff import StaffRegistry

ISSUER = "http://exchange.test"  # neither TLS nor loopback: as behind a proxy
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class HandClock:
    """A clock that stands where it is put."""

    now: float

    def __call__(self) -> float:
        """Return the time it was given."""
        return self.now


@dataclass
class Ledger:
    """What OAuth knows of the ledger: it is told of each member, and may refuse or fail."""

    enrolled: list[tuple[str, str]] = field(default_factory=list)
    fails: Exception | None = None

    async def enrol(self, partner: str, reference: str) -> None:
        """Note the member."""
        if self.fails is not None:
            raise self.fails
        self.enrolled.append((partner, reference))


@dataclass
class OAuthWorld:
    """Everything the tests speak to."""

    database: Database
    keyring: Keyring
    clock: HandClock
    registry: PartnerRegistry
    staff: StaffRegistry
    store: OAuthStore
    keys: SigningKeys
    tokens: Tokens
    ledger: Ledger
    http: httpx.AsyncClient
    app: Starlette

    @property
    def time(self) -> datetime:
        """Give the clock's time as the registries want it."""
        return datetime.fromtimestamp(self.clock.now, UTC)

    async def partner(self, handle: str = "video", *roles: PartnerRole, **options: Any) -> Onboarded:
        """Onboard a partner."""
        return await self.registry.create(handle, handle.title(), now=self.time, roles=roles or None, **options)

    async def client(self, onboarded: Onboarded) -> Client:
        """Give the partner's client."""
        client = await self.registry.client(onboarded.client_id)
        assert client is not None
        return client

    def claims(self, partner: Onboarded, **changes: Any) -> dict[str, Any]:
        """Return a good assertion's claims, with changes; None leaves one out."""
        now = int(self.clock.now)
        good = {
            "iss": partner.client_id,
            "sub": "member-1",
            "aud": ISSUER,
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_urlsafe(16),
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def assertion(self, partner: Onboarded, **changes: Any) -> str:
        """Sign such claims by the partner's key."""
        return signed(self.claims(partner, **changes), partner.assertion_key)

    async def ask(self, form: dict[str, str], **options: Any) -> httpx.Response:
        """Send a token request."""
        return await self.http.post("/oauth/token", data=form, **options)

    async def assert_member(self, partner: Onboarded, assertion: str | None = None, **form: str) -> httpx.Response:
        """Ask for a member's token, by a good assertion unless another is given."""
        return await self.ask({"grant_type": JWT_BEARER, "assertion": assertion or self.assertion(partner), **form})


def signed(claims: dict[str, Any], pem: str | None, header: dict[str, Any] | None = None) -> str:
    """Sign as a partner's server would."""
    assert pem is not None
    return jwt.encode({"alg": "ES256", **(header or {})}, claims, ECKey.import_key(pem), ["ES256"])


@pytest.fixture
async def world(mongo_url: str, database_name: str) -> AsyncIterator[OAuthWorld]:
    mongo = connect(mongo_url)
    database = mongo[database_name]
    keyring, clock = Keyring(secrets.token_bytes(32)), HandClock(system_clock())
    registry, staff, store = PartnerRegistry(database, keyring), StaffRegistry(database), OAuthStore(database)
    for each in (registry, staff, store):
        await each.create_indexes()
    keys = SigningKeys(store, keyring, clock)
    await keys.load()
    tokens = Tokens(keys, keyring, ISSUER, clock)

    ledger = Ledger()
    server = OAuthServer(registry, store, tokens, keyring, ledger.enrol, clock)
    app = Starlette(routes=oauth_routes(server, keys))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as http:
        yield OAuthWorld(database, keyring, clock, registry, staff, store, keys, tokens, ledger, http, app)
    await settled(mongo.close())
