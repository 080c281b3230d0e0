"""Clients and resource servers that others wrote, against ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc6750 import InsufficientScopeError, InvalidTokenError  # type: ignore[import-untyped]
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from .conftest import ISSUER, OAuthWorld


@pytest.mark.filterwarnings("ignore:The httpx module is deprecated")  # Authlib's wish for a successor of httpx
@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_authlibs_client_gets_a_token_from_the_metadata_alone(world: OAuthWorld, method: str) -> None:
    """Authlib's own client, told the issuer and the credentials, gets a token by either method."""
    from authlib.integrations.httpx_client import (  # type: ignore[import-untyped]  # noqa: PLC0415 - it warns
        AsyncOAuth2Client,
    )

    made = await world.partner("video")
    metadata = (await world.http.get("/.well-known/oauth-authorization-server")).json()
    async with AsyncOAuth2Client(
        made.client_id,
        made.client_secret,
        token_endpoint_auth_method=method,
        scope="benefits:read points:award",
        transport=httpx.ASGITransport(world.app),
    ) as client:
        token = await client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    principal = await world.tokens.verify(token["access_token"])
    assert principal.scopes == {"benefits:read", "points:award"}


@pytest.mark.filterwarnings("ignore:The httpx module is deprecated")
async def test_authlibs_client_gets_a_members_token(world: OAuthWorld) -> None:
    """Authlib's assertion client, with the key that onboarding printed, gets a member's token and renews it."""
    from authlib.integrations.httpx_client import AsyncAssertionClient  # noqa: PLC0415 - it warns

    made = await world.partner("video")
    assert made.assertion_key is not None
    async with AsyncAssertionClient(
        f"{ISSUER}/oauth/token",
        issuer=made.client_id,
        subject="member-1",
        audience=ISSUER,
        expires_in=300,
        key=ECKey.import_key(made.assertion_key),
        alg="ES256",
        scope="points:read",
        transport=httpx.ASGITransport(world.app),
    ) as client:
        for _ in range(2):
            await client.refresh_token()
    principal = await world.tokens.verify(client.token["access_token"])
    assert (principal.partner, principal.member) == ("video", "member-1")
    assert principal.scopes == {"points:read"}


async def _access_token(world: OAuthWorld) -> str:
    made = await world.partner("video")
    return str((await world.assert_member(made)).json()["access_token"])


async def test_a_resource_server_of_others_accepts_our_token(world: OAuthWorld) -> None:
    """Authlib's RFC 9068 validator, given our JWK Set, accepts a token for its scopes and no others."""
    keys = (await world.http.get("/.well-known/jwks.json")).json()

    class Validator(JWTBearerTokenValidator):  # type: ignore[misc]
        """A resource server's, as Authlib's documentation has it."""

        def get_jwks(self) -> KeySet:
            """Give the downloaded keys."""
            return KeySet.import_key_set(keys)

    token = await _access_token(world)
    ours = Validator(ISSUER, f"{ISSUER}/graphql")
    claims = ours.authenticate_token(token)
    ours.validate_token(claims, ["points:read"], None)
    with pytest.raises(InsufficientScopeError):
        ours.validate_token(claims, ["admin"], None)
    elsewhere = Validator(ISSUER, ISSUER)
    with pytest.raises(InvalidTokenError):
        elsewhere.validate_token(elsewhere.authenticate_token(token), ["points:read"], None)


async def test_a_token_has_all_claims_of_rfc_9068(world: OAuthWorld) -> None:
    """Read by a JOSE library from the published keys: RFC 9068 §2.1's header, and §2.2's required claims."""
    keys = KeySet.import_key_set((await world.http.get("/.well-known/jwks.json")).json())
    token = jwt.decode(await _access_token(world), keys, ["ES256"])
    assert token.header == {"typ": "at+jwt", "alg": "ES256", "kid": keys.keys[0].kid}
    essential: dict[str, Any] = {
        name: {"essential": True} for name in ("iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope")
    }
    jwt.JWTClaimsRegistry(**essential).validate(token.claims)
    assert token.claims["exp"] - token.claims["iat"] == 300
