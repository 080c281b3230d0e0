from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

from exchange.errors import Forbidden
from partners.oauth.assertions import BadAssertion, hinted, is_reference, verified
from partners.oauth.clock import SKEW_SECONDS
from partners.oauth.scopes import MEMBER_SCOPES
from partners.oauth.tokens import PrincipalKind
from partners.registry import Client, PartnerRole

from .conftest import ISSUER, OAuthWorld, signed


async def test_a_partners_server_gets_a_token_for_its_member(world: OAuthWorld) -> None:
    """One signed assertion is a member's token for five minutes, and the member's first mention."""
    made = await world.partner("video")
    response = await world.assert_member(made, world.assertion(made, sub="Ada L. #7", region="DE"))
    assert response.status_code == 200
    body = response.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 300)
    assert body["scope"].split() == list(MEMBER_SCOPES)
    assert "refresh_token" not in body
    principal = await world.tokens.verify(body["access_token"])
    assert principal.kind is PrincipalKind.MEMBER
    assert (principal.partner, principal.member, principal.region) == ("video", "Ada L. #7", "DE")
    assert world.ledger.enrolled == [("video", "Ada L. #7")]


async def test_an_assertion_is_good_once(world: OAuthWorld) -> None:
    """The same `jti` is refused while the first has not expired, at once or a minute later, and enrols nobody."""
    made = await world.partner("video")
    first = world.assertion(made, jti="7")
    assert (await world.assert_member(made, first)).status_code == 200
    world.clock.now += 60
    for again in (first, world.assertion(made, jti="7", sub="somebody else")):
        response = await world.assert_member(made, again)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert world.ledger.enrolled == [("video", "member-1")]


async def test_of_simultaneous_assertions_one_wins(world: OAuthWorld) -> None:
    """The database's key decides, not a look before: of twenty at once, one token is answered."""
    made = await world.partner("video")
    assertion = world.assertion(made)
    answers = await asyncio.gather(*(world.assert_member(made, assertion) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


async def test_a_jti_is_unique_per_issuer_and_until_it_expires(world: OAuthWorld) -> None:
    """Another partner may use the same `jti`, and the same partner again once the first has expired."""
    video, rides = await world.partner("video"), await world.partner("rides")
    assert (await world.assert_member(video, world.assertion(video, jti="1"))).status_code == 200
    assert (await world.assert_member(rides, world.assertion(rides, jti="1"))).status_code == 200
    world.clock.now += 300
    assert (await world.assert_member(video, world.assertion(video, jti="1"))).status_code == 200


async def test_used_assertions_are_forgotten_by_the_database(world: OAuthWorld) -> None:
    """Used assertions go by a TTL index, an hour after their end: the database's clock need not be ours."""
    indexes = await world.database["assertion_jtis"].index_information()
    (ttl,) = [index for index in indexes.values() if "expireAfterSeconds" in index]
    assert ttl["key"] == [("expires_at", 1)]
    assert ttl["expireAfterSeconds"] == 3600


async def test_a_refused_assertion_is_not_used_up(world: OAuthWorld) -> None:
    """Only a decision in favour spends the `jti`: a wrong scope can be put right with the same assertion."""
    made = await world.partner("video")
    assertion = world.assertion(made)
    assert (await world.assert_member(made, assertion, scope="admin")).json()["error"] == "invalid_scope"
    assert (await world.assert_member(made, assertion)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 129},
        {"sub": "a\nb"},
        {"sub": "a\x00"},
        {"aud": None},
        {"aud": f"{ISSUER}/"},
        {"aud": f"{ISSUER}/oauth/token"},
        {"aud": [ISSUER, "http://other.test"]},
        {"aud": []},
        {"aud": {"x": ISSUER}},
        {"iss": None},
        {"iss": "video"},
        {"iss": 7},
        {"iss": {"$ne": None}},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 256},
        {"iat": None},
        {"iat": "now"},
        {"exp": None},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"iat": 10**400},
        {"exp": 10**30},
        {"exp": "4000000000"},
        {"exp": 0},
        {"nbf": 4_000_000_000},
        {"region": "Germany"},
        {"region": "de"},
        {"region": "XX"},
        {"region": ["DE"]},
    ],
    ids=str,
)
async def test_a_claim_that_is_wrong_is_an_invalid_grant(world: OAuthWorld, change: dict[str, Any]) -> None:
    """Each claim is required, typed and bounded; the answer says which, and nobody comes into being."""
    made = await world.partner("video")
    response = await world.assert_member(made, world.assertion(made, **change))
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    (claim,) = change
    assert claim in response.json()["error_description"] or "expired" in response.text or "valid yet" in response.text
    assert world.ledger.enrolled == []


async def test_an_audience_may_be_written_as_a_list_of_one(world: OAuthWorld) -> None:
    """RFC 7519 §4.1.3 gives the array of one the meaning of the string."""
    made = await world.partner("video")
    assert (await world.assert_member(made, world.assertion(made, aud=[ISSUER]))).status_code == 200


@pytest.mark.parametrize(
    ("iat", "exp", "good"),
    [
        (0, 300, True),
        (0, 301, False),
        (0, 3600, False),
        (-3600, 300, True),
        (-60, 290, True),
        (SKEW_SECONDS, SKEW_SECONDS + 300, True),  # the partner's clock is ahead of ours
        (SKEW_SECONDS, SKEW_SECONDS + 301, False),
        (SKEW_SECONDS + 1, 300, False),
        (-300, 1, True),
        (-300, 0, False),
    ],
)
async def test_an_assertion_ends_within_five_minutes(world: OAuthWorld, iat: int, exp: int, *, good: bool) -> None:
    """`exp` is at most five minutes from now, or from an `iat` that our slower clock has not reached."""
    world.clock.now = float(int(world.clock.now))
    made = await world.partner("video")
    now = int(world.clock.now)
    response = await world.assert_member(made, world.assertion(made, iat=now + iat, exp=now + exp))
    assert response.status_code == (200 if good else 400)


async def test_a_client_is_no_member(world: OAuthWorld) -> None:
    """A `sub` that is any client's id, the partner's own or another's, is refused."""
    video, rides = await world.partner("video"), await world.partner("rides")
    for subject in (video.client_id, rides.client_id):
        response = await world.assert_member(video, world.assertion(video, sub=subject))
        assert response.json()["error"] == "invalid_grant"


async def test_only_the_partners_own_key_vouches(world: OAuthWorld) -> None:
    """Another partner's key, RSA, HMAC with the public key, `none`, a key in the header: none of them vouches."""
    video, rides = await world.partner("video"), await world.partner("rides")
    claims = world.claims(video)
    rsa, stranger = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
    p384 = ECKey.generate_key("P-384")
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims)
    ]
    forged = [
        signed(claims, rides.assertion_key),
        jwt.encode({"alg": "RS256"}, claims, rsa, ["RS256"]),
        jwt.encode({"alg": "ES384"}, claims, p384, ["ES384"]),
        jwt.encode({"alg": "ES256", "jwk": stranger.as_dict(private=False)}, claims, stranger, ["ES256"]),
        ".".join([*parts, ""]),
        signed(claims, video.assertion_key, {"kid": "unknown"}),
        signed(claims, video.assertion_key, {"typ": "at+jwt"}),
        signed(claims, video.assertion_key)[:-4],
    ]
    for assertion in forged:
        response = await world.assert_member(video, assertion)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert world.ledger.enrolled == []


async def test_an_access_token_is_no_assertion(world: OAuthWorld) -> None:
    """A token of ours, sent as an assertion, vouches for nobody."""
    made = await world.partner("video")
    token = world.tokens.for_member(await world.client(made), "m")
    assert (await world.assert_member(made, token)).json()["error"] == "invalid_grant"


async def test_a_second_key_holds_beside_the_first(world: OAuthWorld) -> None:
    """While two keys are registered either signs, with its `kid` or without: the place for rotation."""
    made = await world.partner("video")
    following = ECKey.generate_key("P-256", {"kid": "next"})
    await world.database["clients"].update_one(
        {"_id": made.client_id}, {"$push": {"assertion_keys": following.as_dict(private=False)}}
    )
    pem = following.as_pem(private=True).decode()
    for assertion in (
        world.assertion(made),
        signed(world.claims(made), pem),
        signed(world.claims(made), pem, {"kid": "next"}),
    ):
        assert (await world.assert_member(made, assertion)).status_code == 200
    wrong = signed(world.claims(made), made.assertion_key, {"kid": "next"})
    assert (await world.assert_member(made, wrong)).status_code == 400


async def test_client_authentication_besides_is_checked_when_given(world: OAuthWorld) -> None:
    """Credentials are not needed; but wrong ones are refused, and so are another client's."""
    video, rides = await world.partner("video"), await world.partner("rides")

    async def with_credentials(client_id: str, secret: str) -> tuple[int, str | None]:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": world.assertion(video)}
        by_basic = await world.ask(form, auth=(client_id, secret))
        by_post = await world.ask(
            {**form, "assertion": world.assertion(video), "client_id": client_id, "client_secret": secret}
        )
        assert by_basic.status_code == by_post.status_code
        return by_basic.status_code, by_basic.json().get("error")

    assert await with_credentials(video.client_id, video.client_secret) == (200, None)
    assert await with_credentials(video.client_id, "wrong") == (401, "invalid_client")
    assert await with_credentials(rides.client_id, rides.client_secret) == (400, "invalid_grant")
    named = await world.assert_member(video, client_id=rides.client_id)
    assert named.json()["error"] == "invalid_grant"
    assert (await world.assert_member(video, client_id=video.client_id)).status_code == 200


async def test_member_scopes_are_never_narrowed(world: OAuthWorld) -> None:
    """What is asked for is given, or the request is refused: a partner's scope is not a member's."""
    made = await world.partner("video")
    given = await world.assert_member(made, scope="points:read benefits:read")
    assert given.json()["scope"] == "benefits:read points:read"
    for scope in ("points:award", "points:read settlements:read", "admin", "points:read "):
        assert (await world.assert_member(made, scope=scope)).json()["error"] == "invalid_scope"


async def test_who_may_not_redeem_may_not_redeem_by_its_members(world: OAuthWorld) -> None:
    """Without `redemptions:redeem` a client cannot ask for `points:redeem`, and gets the others by default."""
    made = await world.partner("issuer", PartnerRole.ISSUER)
    assert (await world.assert_member(made, scope="points:redeem")).json()["error"] == "invalid_scope"
    given = await world.assert_member(made)
    assert given.json()["scope"] == "benefits:read points:read redemptions:read"


async def test_a_member_the_ledger_refuses_gets_no_token(world: OAuthWorld) -> None:
    """A refusal of the ledger is an invalid grant, in words that tell nothing of it."""
    made = await world.partner("video")
    world.ledger.fails = Forbidden('"frozen"')
    response = await world.assert_member(made)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
    assert "frozen" not in response.text


async def test_an_assertion_is_needed(world: OAuthWorld) -> None:
    """Without an assertion the request is malformed; with noise for one, the grant is."""
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
    assert (await world.ask(form)).json()["error"] == "invalid_request"
    deep = base64.urlsafe_b64encode(b"[" * 9000).decode()
    head = base64.urlsafe_b64encode(b'{"alg":"ES256"}').rstrip(b"=").decode()
    for noise in ("a", "a.b.c", "é.é.é", f"{deep}.e30.e30", f"{head}.{deep}.AA", f"{head}.W10.AA", "e30.e30.e30"):
        assert (await world.ask({**form, "assertion": noise})).json()["error"] == "invalid_grant", noise


_KEY = ECKey.generate_key("P-256", auto_kid=True)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3),
)
_CLAIMS = ("iss", "sub", "aud", "iat", "exp", "nbf", "jti", "region")


@given(st.dictionaries(st.sampled_from(_CLAIMS), _JSON), st.dictionaries(st.sampled_from(("typ", "kid")), _JSON))
def test_whatever_is_signed_either_holds_or_is_refused(claims: dict[str, Any], header: dict[str, Any]) -> None:
    """No claim or header of any type makes the check fail in another way than it says."""
    now = 1_700_000_000
    client = Client("video-1", "video", (), ({**_KEY.as_dict(private=False)},), frozenset(), None)  # type: ignore[arg-type]
    good = {"iss": "video-1", "sub": "m", "aud": ISSUER, "iat": now, "exp": now + 300, "jti": "1"}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({**header, "alg": "ES256"}, {**good, **claims})
    ]
    signature = JWSRegistry.algorithms["ES256"].sign(".".join(parts).encode(), _KEY)
    assertion = ".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=").decode()])
    try:
        held = verified(assertion, client, issuer=ISSUER, now=now, is_client=lambda sub: sub == "video-1")
    except BadAssertion:
        return
    assert is_reference(held.reference)
    assert held.expires_at <= now + 300 + SKEW_SECONDS


@given(st.text())
def test_any_text_can_be_looked_into(text: str) -> None:
    """What is no assertion is called one that does not hold, before anything is read for it."""
    with pytest.raises(BadAssertion):
        hinted(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a", True),
        ("x" * 128, True),
        ("Zoë 🙂", True),
        ("", False),
        ("x" * 129, False),
        ("a\tb", False),
        ("\x7f", False),
    ],
)
def test_what_a_partner_may_call_a_member(text: str, *, good: bool) -> None:
    """A reference has 1 to 128 printable characters."""
    assert is_reference(text) is good
