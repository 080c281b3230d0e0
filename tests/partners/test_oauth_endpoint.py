from __future__ import annotations

import base64
import logging
from typing import Any

import pytest

from exchange.errors import Overloaded
from exchange.store.connection import settled
from partners.oauth.scopes import PARTNER_SCOPES
from partners.oauth.tokens import PrincipalKind
from partners.registry import Onboarded, PartnerRole

from .conftest import JWT_BEARER, OAuthWorld

FORM = "application/x-www-form-urlencoded"
CLIENT_CREDENTIALS = {"grant_type": "client_credentials"}


def basic(made: Onboarded) -> tuple[str, str]:
    return (made.client_id, made.client_secret)


def post(made: Onboarded) -> dict[str, str]:
    return {**CLIENT_CREDENTIALS, "client_id": made.client_id, "client_secret": made.client_secret}


async def test_client_credentials_by_basic(world: OAuthWorld) -> None:
    """A partner's server gets a token with all of its scopes, for ten minutes, never to be stored by a cache."""
    made = await world.partner("video")
    response = await world.ask(CLIENT_CREDENTIALS, auth=basic(made))
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    assert body["scope"].split() == list(PARTNER_SCOPES)
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    principal = await world.tokens.verify(body["access_token"])
    assert (principal.kind, principal.partner) == (PrincipalKind.PARTNER, "video")


async def test_client_credentials_by_post(world: OAuthWorld) -> None:
    """The credentials may be in the body instead; a scope that is asked for is the one that is given."""
    made = await world.partner("video")
    response = await world.ask({**post(made), "scope": "points:award benefits:read"})
    assert response.status_code == 200
    principal = await world.tokens.verify(response.json()["access_token"])
    assert principal.scopes == {"points:award", "benefits:read"}


@pytest.mark.parametrize(
    "scope", ["points:everything", "points:award admin", "points:read", "a  b", " ", "\"'\\", "points:award\n", "ä"]
)
async def test_no_scope_is_silently_narrowed(world: OAuthWorld, scope: str) -> None:
    """A scope that is unknown, or not the client's, is invalid_scope, whatever else was asked for."""
    made = await world.partner("video")
    response = await world.ask({**post(made), "scope": scope})
    assert (response.status_code, response.json()["error"]) == (400, "invalid_scope")


async def test_a_scope_of_another_role_is_refused(world: OAuthWorld) -> None:
    """A channel cannot ask for an issuer's scope, and gets its own if it asks for none."""
    made = await world.partner("rides", PartnerRole.CHANNEL)
    refused = await world.ask({**post(made), "scope": "redemptions:redeem points:award"})
    assert refused.json()["error"] == "invalid_scope"
    given = await world.ask(post(made))
    assert "points:award" not in given.json()["scope"]


async def test_wrong_credentials_are_challenged(world: OAuthWorld) -> None:
    """A wrong secret and an unknown client are told apart by nothing, and Basic is challenged (RFC 6749 §5.2)."""
    made = await world.partner("video")
    answers = [
        await world.ask(CLIENT_CREDENTIALS, auth=(made.client_id, "wrong")),
        await world.ask(CLIENT_CREDENTIALS, auth=("video-0123456789abcdef", "wrong")),
        await world.ask(CLIENT_CREDENTIALS, auth=(made.client_id, "")),
        await world.ask(CLIENT_CREDENTIALS, auth=("$ne", "\x00")),
        await world.ask({**CLIENT_CREDENTIALS, "client_id": made.client_id, "client_secret": "wrong"}),
        await world.ask({**CLIENT_CREDENTIALS, "client_id": "nobody", "client_secret": "wrong"}),
        await world.ask({**CLIENT_CREDENTIALS, "client_id": made.client_id}),
        await world.ask(CLIENT_CREDENTIALS),
        await world.ask(CLIENT_CREDENTIALS, headers={"Authorization": "Bearer x"}),
        await world.ask(CLIENT_CREDENTIALS, headers={"Authorization": "Basic"}),
        await world.ask(CLIENT_CREDENTIALS, headers={"Authorization": "Basic ===="}),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].json()["error"] == "invalid_client"
    for answer in answers:
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        assert answer.headers["cache-control"] == "no-store"


async def test_a_second_secret_holds_beside_the_first(world: OAuthWorld) -> None:
    """While two secrets are registered, both are good: the place for rotation without downtime."""
    made = await world.partner("video")
    added = world.keyring.digest("client-secret", "the next one")
    await world.database["clients"].update_one({"_id": made.client_id}, {"$push": {"secret_hashes": added}})
    assert (await world.ask(CLIENT_CREDENTIALS, auth=basic(made))).status_code == 200
    assert (await world.ask(CLIENT_CREDENTIALS, auth=(made.client_id, "the next one"))).status_code == 200


def _header(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"grant_type=client_credentials&grant_type=client_credentials", {}, 400),
        (b"grant_type=client_credentials&scope=a&scope=b", {}, 400),
        (b"grant_type=client_credentials&x=1&x=", {}, 400),
        (b"", {}, 400),
        (b"grant_type=", {}, 400),
        (b"scope=points:award", {}, 400),
        (b"grant_type=%ff", {}, 400),
        ("grant_type=é".encode(), {}, 400),
        (b"&".join(b"p%d=1" % number for number in range(40)), {}, 400),
        (b'{"grant_type": "client_credentials"}', {"Content-Type": "application/json"}, 400),
        (b"grant_type=client_credentials", {"Content-Type": "text/plain"}, 400),
        (b"grant_type=client_credentials", {"Content-Type": ""}, 400),
        (b"grant_type=client_credentials", {"Authorization": _header(b"\xff\xfe:x")}, 400),
        (b"grant_type=client_credentials", {"Authorization": "Basic \xe9\xe9"}, 400),
        (b"grant_type=client_credentials&client_secret=x", {"Authorization": _header(b"a:b")}, 400),
        (b"grant_type=client_credentials&client_id=x", {"Authorization": _header(b"a:b")}, 400),
        (b"grant_type=client_credentials&x=" + b"y" * 20_000, {}, 413),
    ],
)
async def test_what_is_malformed_is_an_invalid_request(
    world: OAuthWorld, content: bytes, headers: dict[str, Any], status: int
) -> None:
    """Repeated, missing, over-long or undecodable: the client's mistake, said in JSON, never a fault of ours."""
    sent = {"Content-Type": FORM, **headers}
    encoded = {name: value.encode("latin-1") for name, value in sent.items()}
    response = await world.http.post("/oauth/token", content=content, headers=encoded)
    assert response.status_code == status
    assert response.json()["error"] == "invalid_request"
    assert response.headers["cache-control"] == "no-store"


async def test_two_authorization_headers_are_an_invalid_request(world: OAuthWorld) -> None:
    """Which of two credentials would count is not for us to guess."""
    headers = [("Content-Type", FORM), ("Authorization", _header(b"a:b")), ("Authorization", _header(b"c:d"))]
    response = await world.http.post("/oauth/token", content=b"grant_type=client_credentials", headers=headers)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "grant", ["password", "authorization_code", "refresh_token", "\"quoted\" 'words'", "\x00", "ü"]
)
async def test_a_grant_that_does_not_exist_is_unsupported(world: OAuthWorld, grant: str) -> None:
    """What is not built yet is not faked, and no text in its name breaks the answer."""
    response = await world.ask({"grant_type": grant})
    assert (response.status_code, response.json()["error"]) == (400, "unsupported_grant_type")


async def test_quotes_anywhere_are_no_fault(world: OAuthWorld) -> None:
    """Quotes, which an error_description may not have, can be in every parameter."""
    made = await world.partner("video")
    nasty = "\"\\'\u2028<>"
    for name in ("grant_type", "scope", "client_id", "client_secret", "redirect_uri", "state", "assertion", nasty):
        for form in (post(made), {"grant_type": JWT_BEARER, "assertion": "a.b.c"}):
            response = await world.ask({**form, name: nasty})
            assert response.status_code in {200, 400, 401}, name


async def test_parameters_without_value_count_as_omitted(world: OAuthWorld) -> None:
    """An empty scope asks for all, as none does; unknown parameters are ignored (RFC 6749 §3.2)."""
    made = await world.partner("video")
    response = await world.ask({**post(made), "scope": "", "colour": "blue"})
    assert response.json()["scope"].split() == list(PARTNER_SCOPES)


async def test_credentials_in_the_url_count_for_nothing(world: OAuthWorld) -> None:
    """A secret in the URI, where logs see it, does not authenticate (RFC 6749 §2.3.1)."""
    made = await world.partner("video")
    response = await world.http.post("/oauth/token", params=post(made), data=CLIENT_CREDENTIALS)
    assert response.status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_post_asks_for_tokens(world: OAuthWorld, method: str) -> None:
    """Any other method is 405, and says which one is right."""
    response = await world.http.request(method, "/oauth/token")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


async def test_a_database_that_is_away_is_503(world: OAuthWorld) -> None:
    """When the database does not answer, the client is told to come back."""
    made = await world.partner("video")
    await settled(world.database.client.close())
    response = await world.ask(CLIENT_CREDENTIALS, auth=basic(made))
    assert (response.status_code, response.json()) == (503, {"error": "temporarily_unavailable"})
    assert response.headers["retry-after"] == "1"


async def test_a_ledger_that_is_overloaded_is_503(world: OAuthWorld) -> None:
    """No token is answered for a member that did not come into being, and it is told when to come again."""
    made = await world.partner("video")
    world.ledger.fails = Overloaded("full", 7)
    response = await world.assert_member(made)
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")


async def test_issued_tokens_are_never_logged(world: OAuthWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Authlib writes each token at level DEBUG; not here."""
    made = await world.partner("video")
    with caplog.at_level(logging.DEBUG):
        response = await world.ask(CLIENT_CREDENTIALS, auth=basic(made))
    assert response.json()["access_token"] not in caplog.text
    assert made.client_secret not in caplog.text


async def test_the_metadata_names_what_exists(world: OAuthWorld) -> None:
    """RFC 8414's document, cacheable: each endpoint it names answers, and none is named that is to come."""
    response = await world.http.get("/.well-known/oauth-authorization-server")
    document = response.json()
    assert document["issuer"] == "http://exchange.test"
    assert document["grant_types_supported"] == ["client_credentials", JWT_BEARER]
    assert document["response_types_supported"] == []
    assert (await world.http.post(document["token_endpoint"])).status_code == 400
    assert "keys" in (await world.http.get(document["jwks_uri"])).json()
    assert not {name for name in document if name.endswith("_endpoint")} - {"token_endpoint"}
    assert response.headers["cache-control"] == "public, max-age=300"


async def test_the_keys_are_public_and_cacheable(world: OAuthWorld) -> None:
    """The JWK Set holds public ES256 keys, may be kept for a while, and is not sent again unchanged."""
    response = await world.http.get("/.well-known/jwks.json")
    (key,) = response.json()["keys"]
    assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
    assert key["kid"] == world.keys.signing().kid
    assert "d" not in key
    assert response.headers["cache-control"] == "public, max-age=300"
    again = await world.http.get("/.well-known/jwks.json", headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
