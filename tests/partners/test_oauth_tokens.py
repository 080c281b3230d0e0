from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from exchange.keyring import BadToken, Keyring
from partners.oauth.keys import SigningKeys
from partners.oauth.scopes import ALL_SCOPES, MEMBER_SCOPES, PARTNER_SCOPES, written
from partners.oauth.store import KeyState, OAuthStore
from partners.oauth.tokens import InvalidToken, PrincipalKind, Tokens, checked_issuer

from .conftest import ISSUER, OAuthWorld


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a token's header and claims as anybody can, unverified."""
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """Sign by HMAC, by hand: the library refuses to do it with a public key, an attacker would not."""
    text = f"{encoded(json.dumps({**header, 'alg': 'HS256'}).encode())}.{encoded(json.dumps(claims).encode())}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


async def test_a_partners_token_speaks_for_its_server(world: OAuthWorld) -> None:
    """A machine's token lives ten minutes and has the subject "server" and all the client's scopes."""
    client = await world.client(await world.partner("video"))
    principal = await world.tokens.verify(world.tokens.for_partner(client))
    assert principal.kind is PrincipalKind.PARTNER
    assert (principal.partner, principal.member, principal.subject) == ("video", None, "server")
    assert principal.scopes == set(PARTNER_SCOPES)
    assert principal.client_id == client.client_id
    assert principal.expires_at == int(world.clock.now) + 600


async def test_a_members_token_is_pairwise_and_tells_nothing(world: OAuthWorld) -> None:
    """A member's `sub` is the same in each of its tokens, differs per partner, and hides the reference."""
    video, rides = [await world.client(await world.partner(handle)) for handle in ("video", "rides")]
    one, two, other = (world.tokens.for_member(client, "ada@example.com") for client in (video, video, rides))
    assert opened(one)[1]["sub"] == opened(two)[1]["sub"] != opened(other)[1]["sub"]
    assert "ada" not in json.dumps(opened(one))
    principal = await world.tokens.verify(one)
    assert principal.kind is PrincipalKind.MEMBER
    assert (principal.partner, principal.member, principal.region) == ("video", "ada@example.com", None)
    assert principal.subject == opened(one)[1]["sub"] == world.tokens.member_subject("video", "ada@example.com")
    assert principal.scopes == set(MEMBER_SCOPES)
    assert principal.expires_at == int(world.clock.now) + 300


async def test_a_members_token_has_its_region(world: OAuthWorld) -> None:
    """The region that a partner asserted is the principal's."""
    client = await world.client(await world.partner("video"))
    principal = await world.tokens.verify(world.tokens.for_member(client, "m", region="DE"))
    assert principal.region == "DE"


async def test_a_staff_token_has_exactly_the_roles(world: OAuthWorld) -> None:
    """A staff token has the roles that were given, no partner, and no e-mail address."""
    engaged = await world.staff.create("ada@example.com", ["finance:view", "admin"], now=world.time)
    token = world.tokens.for_staff(engaged.staff)
    principal = await world.tokens.verify(token)
    assert principal.kind is PrincipalKind.STAFF
    assert principal.scopes == {"finance:view", "admin"}
    assert (principal.partner, principal.member) == (None, None)
    assert "ada" not in json.dumps(opened(token))


async def test_the_demos_tokens_can_live_for_a_day(world: OAuthWorld) -> None:
    """A lifetime is a parameter, for code only."""
    client = await world.client(await world.partner("video"))
    token = world.tokens.for_member(client, "m", lifetime_seconds=86_400)
    world.clock.now += 86_000
    assert (await world.tokens.verify(token)).member == "m"


async def test_a_token_ends_when_it_says(world: OAuthWorld) -> None:
    """A token is good until its `exp` and not a moment longer, remembered or not."""
    client = await world.client(await world.partner("video"))
    token = world.tokens.for_member(client, "m")
    end = opened(token)[1]["exp"]
    for _ in range(2):  # the second time from memory
        world.clock.now = end - 0.001
        await world.tokens.verify(token)
    world.clock.now = end
    with pytest.raises(InvalidToken):
        await world.tokens.verify(token)


async def test_a_verified_token_is_remembered_for_a_minute(world: OAuthWorld) -> None:
    """Within a minute the answer is the same object; after it, the signature is checked again."""
    client = await world.client(await world.partner("video"))
    token = world.tokens.for_partner(client)
    first = await world.tokens.verify(token)
    world.clock.now += 59
    assert await world.tokens.verify(token) is first
    world.clock.now += 1
    again = await world.tokens.verify(token)
    assert again == first
    assert again is not first


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "http://other.test"},
        {"aud": ISSUER},
        {"aud": [f"{ISSUER}/graphql", "http://other.test"]},
        {"iat": 4_000_000_000, "exp": 4_000_000_300},
        {"nbf": 4_000_000_000},
        {"header": {"typ": "JWT"}},
        {"header": {"typ": None}},
        {"header": {"typ": "application/at+jwt"}},
        {"header": {"kid": "somebody"}},
        {"header": {"kid": None}},
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_here_and_now_is_refused(world: OAuthWorld, change: dict[str, Any]) -> None:
    """Even signed by our key, a token of another type, issuer, audience, time or key name is no access token."""
    client = await world.client(await world.partner("video"))
    header, claims = opened(world.tokens.for_partner(client))

    def signed_by_us(change: dict[str, Any]) -> str:
        """Sign as only a mistake of ours could."""
        headed = {name: value for name, value in {**header, **change.get("header", {})}.items() if value is not None}
        claimed = {**claims, **{name: value for name, value in change.items() if name != "header"}}
        return jwt.encode(headed, claimed, world.keys.signing(), ["ES256"], default_type=None)

    await world.tokens.verify(signed_by_us({"jti": "another"}))
    with pytest.raises(InvalidToken):
        await world.tokens.verify(signed_by_us(change))


async def test_a_token_by_another_algorithm_or_key_is_refused(world: OAuthWorld) -> None:
    """Neither `none`, nor HS256 with our public key as its secret, nor a stranger's ES256 under our `kid` is ours."""
    client = await world.client(await world.partner("video"))
    header, claims = opened(world.tokens.for_partner(client))
    forged = [
        f"{encoded(json.dumps({**header, 'alg': 'none'}).encode())}.{encoded(json.dumps(claims).encode())}.",
        by_hs256(header, claims, world.keys.signing().as_pem(private=False)),
        jwt.encode(header, claims, ECKey.generate_key("P-256"), ["ES256"]),
    ]
    for token in forged:
        with pytest.raises(InvalidToken):
            await world.tokens.verify(token)


async def test_a_changed_token_is_refused(world: OAuthWorld) -> None:
    """A scope added in the payload breaks the signature."""
    client = await world.client(await world.partner("video"))
    head, _, signature = (token := world.tokens.for_partner(client)).split(".")
    claims = {**opened(token)[1], "scope": "admin"}
    payload = encoded(json.dumps(claims).encode())
    with pytest.raises(InvalidToken):
        await world.tokens.verify(f"{head}.{payload}.{signature}")


async def test_noise_is_an_invalid_token(world: OAuthWorld) -> None:
    """Whatever is sent as a token is refused as one, never an error of ours."""
    deep = encoded(b"[" * 2900)
    for token in (
        "",
        ".",
        "..",
        "a.b.c",
        "é",
        "\ud800",
        "x" * 100_000,
        f"{deep}.e30.e30",
        f"e30.{deep}.e30",
        "MQ.MQ.MQ",
    ):
        with pytest.raises(InvalidToken):
            await world.tokens.verify(token)


async def test_processes_that_start_together_share_one_key(world: OAuthWorld) -> None:
    """However many processes start at once, one key becomes active, and each verifies the others' tokens."""
    await world.database["signing_keys"].delete_many({})
    processes = [SigningKeys(OAuthStore(world.database), world.keyring, world.clock) for _ in range(8)]
    await asyncio.gather(*(keys.load() for keys in processes))
    assert len({keys.signing().kid for keys in processes}) == 1
    assert await world.database["signing_keys"].count_documents({"state": "active"}) == 1
    client = await world.client(await world.partner("video"))
    token = Tokens(processes[0], world.keyring, ISSUER, world.clock).for_partner(client)
    assert (await Tokens(processes[-1], world.keyring, ISSUER, world.clock).verify(token)).partner == "video"


async def test_a_key_that_became_active_elsewhere_is_found(world: OAuthWorld) -> None:
    """A process that meets an unknown `kid` reads the keys again, and a retired key still verifies."""
    client = await world.client(await world.partner("video"))
    before = world.tokens.for_partner(client)
    await world.database["signing_keys"].update_one({"state": "active"}, {"$set": {"state": KeyState.RETIRED.value}})
    elsewhere = SigningKeys(OAuthStore(world.database), world.keyring, world.clock)
    await elsewhere.load()
    after = Tokens(elsewhere, world.keyring, ISSUER, world.clock).for_partner(client)
    assert opened(before)[0]["kid"] != opened(after)[0]["kid"]
    with pytest.raises(InvalidToken):  # it has read them a moment ago: an invented `kid` costs nothing
        await world.tokens.verify(after)
    world.clock.now += 5
    assert (await world.tokens.verify(after)).partner == "video"
    assert (await Tokens(elsewhere, world.keyring, ISSUER, world.clock).verify(before)).partner == "video"
    assert {key["kid"] for key in (await world.keys.published())["keys"]} == {
        opened(before)[0]["kid"],
        opened(after)[0]["kid"],
    }


async def test_the_private_key_rests_encrypted(world: OAuthWorld) -> None:
    """The private key is not readable in the database, and another master key does not open it."""
    stored = await world.database["signing_keys"].find_one({"state": "active"})
    assert stored is not None
    assert b"PRIVATE" not in stored["private"]
    assert "d" not in stored["public"]
    stranger = SigningKeys(world.store, Keyring(bytes(32)), world.clock)
    with pytest.raises(BadToken, match="another master key"):
        await stranger.load()
    with pytest.raises(RuntimeError):
        stranger.signing()


@pytest.mark.parametrize(
    "issuer", ["", "exchange.test", "http://", "http://a/", "http://a/b", "http://a?b", "http://a#b", "ftp://a"]
)
def test_an_issuer_is_scheme_and_host(issuer: str) -> None:
    """An issuer with a path would need its metadata elsewhere, so it is refused when the exchange starts."""
    with pytest.raises(ValueError, match="issuer"):
        checked_issuer(issuer)


@given(st.sets(st.sampled_from(ALL_SCOPES)))
def test_scopes_survive_being_written(scopes: set[str]) -> None:
    """What is written as one line is read as the same set."""
    assert set(written(scopes).split()) == scopes
