from __future__ import annotations

import json

import pytest
from joserfc.jwk import ECKey, RSAKey

from exchange.errors import NotFound, StoreUnavailable, ValidationFailed
from exchange.store.connection import settled
from partners.oauth.scopes import PARTNER_SCOPES
from partners.registry import EXCHANGE, PartnerRegistry, PartnerRole

from .conftest import OAuthWorld


async def test_a_partner_is_live_with_one_call(world: OAuthWorld) -> None:
    """A new partner has all roles and all partner scopes, a secret, and a private key that fits the public one."""
    made = await world.partner("video")
    assert made.partner.id == made.partner.handle == "video"
    assert made.partner.roles == tuple(PartnerRole)
    assert made.assertion_key is not None
    client = await world.client(made)
    assert client.partner == "video"
    assert client.scopes == set(PARTNER_SCOPES)
    private = ECKey.import_key(made.assertion_key)
    assert client.assertion_keys[0]["x"] == private.as_dict(private=False)["x"]
    assert "d" not in client.assertion_keys[0]


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        (PartnerRole.ISSUER, {"points:award"}),
        (PartnerRole.PROVIDER, {"benefits:publish", "redemptions:fulfil"}),
        (PartnerRole.CHANNEL, {"redemptions:redeem"}),
    ],
)
async def test_roles_that_are_given_limit_the_scopes(world: OAuthWorld, role: PartnerRole, scopes: set[str]) -> None:
    """Each role brings the scopes of its work, and all bring what every partner needs."""
    client = await world.client(await world.partner("rides", role))
    assert client.scopes == scopes | {"benefits:read", "settlements:read", "webhooks:manage"}


async def test_what_create_answers_is_what_another_process_reads(world: OAuthWorld) -> None:
    """A partner reads back as it was created, by a registry that never saw it."""
    made = await world.partner("video", PartnerRole.ISSUER)
    other = PartnerRegistry(world.database, world.keyring)
    assert other.partner("video") is None
    assert await other.find("video") == made.partner
    assert other.partner("video") == made.partner
    assert await PartnerRegistry(world.database, world.keyring).refresh() == (made.partner,)


async def test_no_secret_rests_in_the_database(world: OAuthWorld) -> None:
    """Neither the client's secret nor its private key can be found in what is stored."""
    made = await world.partner("video")
    stored = str(await world.database["clients"].find({}).to_list(None))
    assert made.client_secret not in stored
    assert "PRIVATE" not in stored
    assert "'d'" not in stored


@pytest.mark.parametrize("handle", ["", "a", "Video", "1video", "video!", "v" * 41, "vidéo", "video\n", "exchange"])
async def test_a_malformed_or_reserved_handle_is_refused(world: OAuthWorld, handle: str) -> None:
    """A handle has 2 to 40 of a-z, 0-9 and -, begins with a letter, and is not the operator's."""
    with pytest.raises(ValidationFailed):
        await world.partner(handle)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
async def test_a_name_that_cannot_be_shown_is_refused(world: OAuthWorld, name: str) -> None:
    """A name has something to show, on one line, of bounded length."""
    with pytest.raises(ValidationFailed):
        await world.registry.create("video", name, now=world.time)


async def test_no_roles_at_all_is_not_all_roles(world: OAuthWorld) -> None:
    """An empty list of roles is a mistake, not a wish for the default."""
    with pytest.raises(ValidationFailed):
        await world.registry.create("video", "Video", now=world.time, roles=[])


async def test_a_handle_is_taken_once(world: OAuthWorld) -> None:
    """The second partner of a handle is refused, and leaves no client behind."""
    first = await world.partner("video")
    with pytest.raises(ValidationFailed):
        await world.partner("video")
    assert [client.client_id for client in await world.registry.clients_of("video")] == [first.client_id]
    assert await world.database["clients"].count_documents({}) == 1


async def test_a_client_that_its_partner_does_not_name_is_none(world: OAuthWorld) -> None:
    """What a creation leaves that died between its two writes is no client, even of an existing partner."""
    made = await world.partner("video")
    orphan = await world.database["clients"].find_one({"_id": made.client_id})
    assert orphan is not None
    await world.database["clients"].insert_one({**orphan, "_id": "video-0000000000000000"})
    assert await world.registry.client("video-0000000000000000") is None


@pytest.mark.parametrize("form", ["pem", "jwk"])
async def test_a_partner_may_bring_its_own_key(world: OAuthWorld, form: str) -> None:
    """With a public key of the partner's, PEM or JWK, no private key is made; a JWK keeps its kid."""
    key = ECKey.generate_key("P-256", {"kid": "mine"})
    text = key.as_pem(private=False).decode() if form == "pem" else json.dumps(key.as_dict(private=False))
    made = await world.partner("video", public_key=text)
    assert made.assertion_key is None
    (stored,) = (await world.client(made)).assertion_keys
    assert stored["x"] == key.as_dict()["x"]
    assert stored["kid"] == ("mine" if form == "jwk" else key.thumbprint())


_EC = ECKey.generate_key("P-256")
_BAD_KEYS = {
    "nothing": "",
    "noise": "-----BEGIN PUBLIC KEY-----\nnoise\n-----END PUBLIC KEY-----",
    "another curve": ECKey.generate_key("P-384").as_pem(private=False).decode(),
    "another type": RSAKey.generate_key(2048).as_pem(private=False).decode(),
    "a private PEM": _EC.as_pem(private=True).decode(),
    "a private JWK": json.dumps(_EC.as_dict(private=True)),
    "half a JWK": '{"kty": "EC", "crv": "P-256", "x": "AA"}',
    "JSON that is no key": "{}",
    "JSON that never ends": '{"kty":' + "[" * 100_000,
    "a symmetric JWK": '{"kty": "oct", "k": "AAAA"}',
    "a kid that is no text": json.dumps({**_EC.as_dict(private=False), "kid": 7}),
}


@pytest.mark.parametrize("text", _BAD_KEYS.values(), ids=_BAD_KEYS.keys())
async def test_a_key_that_is_no_public_p256_key_is_refused(world: OAuthWorld, text: str) -> None:
    """Only a public key on P-256 is taken; a private one is refused before it is stored anywhere."""
    with pytest.raises(ValidationFailed):
        await world.partner("video", public_key=text)
    assert await world.database["clients"].count_documents({}) == 0


async def test_the_operator_is_a_partner_without_roles_or_client(world: OAuthWorld) -> None:
    """The operator's partner is made once, and can never ask for a token."""
    operator = await world.registry.ensure_exchange(world.time)
    assert await PartnerRegistry(world.database, world.keyring).ensure_exchange(world.time) == operator
    assert operator.handle == EXCHANGE
    assert operator.roles == ()
    assert await world.registry.clients_of(EXCHANGE) == ()


async def test_nobody_is_not_found(world: OAuthWorld) -> None:
    """A partner that does not exist is None to `find` and NotFound to `get`, whatever its name looks like."""
    for handle in ("nobody", "$where", "", "\x00"):
        assert await world.registry.find(handle) is None
        with pytest.raises(NotFound):
            await world.registry.get(handle)
        assert await world.registry.client(handle) is None
        assert await world.registry.clients_of(handle) == ()


async def test_credentials_can_be_replaced(world: OAuthWorld) -> None:
    """After a reset the new secret and key are the client's, and the old ones are not."""
    made = await world.partner("video")
    before = await world.client(made)
    again = await world.registry.reset_credentials("video")
    after = await world.client(again)
    assert again.client_id == made.client_id
    assert again.client_secret != made.client_secret
    assert after.secret_hashes != before.secret_hashes
    assert after.assertion_keys != before.assertion_keys
    await world.registry.ensure_exchange(world.time)
    with pytest.raises(NotFound):
        await world.registry.reset_credentials(EXCHANGE)


async def test_a_driver_that_fails_is_a_fault(world: OAuthWorld) -> None:
    """The driver's errors never leave the registry; a closed client is the quickest way to one."""
    await settled(world.database.client.close())
    with pytest.raises(StoreUnavailable):
        await world.registry.refresh()
    with pytest.raises(StoreUnavailable):
        await world.registry.client("video-0")
