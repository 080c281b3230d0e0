"""Who the partners are, and what their servers may do.

Theory. A *partner* is a platform in the exchange; a *client* (RFC 6749 §2) is one of its programs. The
partner's handle is its identity everywhere, inside too: partners are few, public and named by people, so a
second, internal number would only be one more thing to look up. That is why a handle never changes, while a
name may.

Partners are few, so they are held in memory: a benefit's `partner` field costs no await. Clients are read
from the database at each token request instead, because a secret that was withdrawn must stop working at
once.

A partner and its client are two documents and come into being by one write. The client is inserted first, but
a client counts only when its partner's document names it; so the insert of the partner is the commit. A crash
in between leaves a client nobody was told of and nothing accepts. A transaction would do as much, and would
need a session, which the two drivers start differently.

Secrets are kept as keyed hashes. They have 256 random bits, so a slow hash would protect nothing and cost
every token request; the key is what a stolen database lacks.

What this module does not know: tokens, HTTP, and what a partner publishes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from pymongo.errors import DuplicateKeyError

from exchange.errors import NotFound, ValidationFailed
from exchange.keyring import Keyring
from exchange.store.connection import Database, answering, ensure_index
from partners.oauth.scopes import PARTNER_SCOPES

EXCHANGE: Final = "exchange"
"""The operator's own handle: it earns the fees, and has no client."""

_HANDLE = re.compile(r"[a-z][a-z0-9-]{1,39}")
_CLIENT_ID = re.compile(r"[a-z][a-z0-9-]{1,63}")
_NAME_LENGTH_MAX = 100
_SECRET_BYTES = 32
_CLIENT_SUFFIX_BYTES = 8
_CURVE = "P-256"


class PartnerRole(StrEnum):
    """What a partner does in the exchange; one partner can be all three."""

    ISSUER = "ISSUER"
    PROVIDER = "PROVIDER"
    CHANNEL = "CHANNEL"


_COMMON_SCOPES = frozenset({"benefits:read", "settlements:read", "webhooks:manage"})
_ROLE_SCOPES = {
    PartnerRole.ISSUER: frozenset({"points:award"}),
    PartnerRole.PROVIDER: frozenset({"benefits:publish", "redemptions:fulfil"}),
    PartnerRole.CHANNEL: frozenset({"redemptions:redeem"}),
}


@dataclass(frozen=True, slots=True)
class Partner:
    """A platform in the exchange. `roles` are in the enumeration's order."""

    handle: str
    name: str
    roles: tuple[PartnerRole, ...]
    created_at: datetime

    @property
    def id(self) -> str:
        """The identity every other document refers to."""
        return self.handle


@dataclass(frozen=True, slots=True)
class Client:
    """A partner's program (RFC 6749 §2): how it proves who it is, and what it may ask for.

    Several secret hashes and several assertion keys may hold at once, so that either can be replaced with no
    moment in which neither works. `assertion_keys` are public JWKs (RFC 7517), each with its `kid`.
    """

    client_id: str
    partner: str
    secret_hashes: tuple[str, ...]
    assertion_keys: tuple[Mapping[str, Any], ...]
    scopes: frozenset[str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Onboarded:
    """A new partner, with what is shown this once: its secret and, if we made one, its private key (PEM)."""

    partner: Partner
    client_id: str
    client_secret: str
    assertion_key: str | None


class PartnerRegistry:
    """The partners and their clients, in the collections `partners` and `clients`."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._partners = database["partners"]
        self._clients = database["clients"]
        self._keyring = keyring
        self._resident: dict[str, Partner] = {}

    async def create_indexes(self) -> None:
        """Make what lookups need; safe to repeat."""
        with answering():
            await ensure_index(self._clients, "partner")

    async def refresh(self) -> tuple[Partner, ...]:
        """Read all partners into memory, and return them by handle."""
        with answering():
            documents = await self._partners.find({}).to_list(None)
        self._resident = {document["_id"]: _partner(document) for document in documents}
        return self.partners()

    def partners(self) -> tuple[Partner, ...]:
        """Return the partners in memory, by handle."""
        return tuple(self._resident[handle] for handle in sorted(self._resident))

    def partner(self, handle: str) -> Partner | None:
        """Return a partner in memory; None also for one that another process created since `refresh`."""
        return self._resident.get(handle)

    async def find(self, handle: str) -> Partner | None:
        """Return a partner from memory or, at its first mention here, from the database."""
        resident = self._resident.get(handle)
        if resident is not None or not _HANDLE.fullmatch(handle):
            return resident
        with answering():
            document = await self._partners.find_one({"_id": handle})
        if document is None:
            return None
        return self._resident.setdefault(handle, _partner(document))

    async def get(self, handle: str) -> Partner:
        """Return the partner; NotFound if there is none."""
        partner = await self.find(handle)
        if partner is None:
            raise NotFound("there is no such partner")
        return partner

    async def ensure_exchange(self, now: datetime) -> Partner:
        """Return the operator's own partner, made at the first start. It has no roles and no client."""
        operator = Partner(EXCHANGE, "Exchange", (), _milliseconds(now))
        with answering():
            try:
                await self._partners.insert_one(_document(operator, client_ids=[]))
            except DuplicateKeyError:
                return await self.get(EXCHANGE)
        self._resident[EXCHANGE] = operator
        return operator

    async def create(
        self,
        handle: str,
        name: str,
        *,
        now: datetime,
        roles: Collection[PartnerRole] | None = None,
        public_key: str | None = None,
    ) -> Onboarded:
        """Create a partner with its client; the secrets in the answer are shown this once.

        `public_key` is an EC P-256 public key, as PEM or JWK text; without it a key pair is made. Without
        `roles` the partner has all three, and all partner scopes. ValidationFailed for a handle that is
        malformed, reserved or taken, a name that is empty or not printable, and a key that is not such a key.
        """
        partner = Partner(_checked_handle(handle), _checked_name(name), _ordered(roles), _milliseconds(now))
        key = ECKey.generate_key(_CURVE) if public_key is None else _public_key(public_key)
        secret = _fresh_secret()
        client = Client(
            client_id=f"{handle}-{secrets.token_hex(_CLIENT_SUFFIX_BYTES)}",
            partner=handle,
            secret_hashes=(self._keyring.digest("client-secret", secret),),
            assertion_keys=(_public_jwk(key),),
            scopes=scopes_for(roles),
            created_at=partner.created_at,
        )
        with answering():
            await self._clients.insert_one(_client_document(client))
            try:
                await self._partners.insert_one(_document(partner, client_ids=[client.client_id]))
            except DuplicateKeyError:
                await self._clients.delete_one({"_id": client.client_id})
                raise ValidationFailed(f"the handle {handle} is taken", ("input", "handle")) from None
        self._resident[handle] = partner
        return Onboarded(
            partner=partner,
            client_id=client.client_id,
            client_secret=secret,
            assertion_key=key.as_pem(private=True).decode("ascii") if public_key is None else None,
        )

    async def client(self, client_id: str) -> Client | None:
        """Return the client as it stands now; None unless its partner's document names it."""
        if not _CLIENT_ID.fullmatch(client_id):
            return None
        with answering():
            document = await self._clients.find_one({"_id": client_id})
            if document is None:
                return None
            owner = await self._partners.find_one(
                {"_id": document["partner"], "clients": client_id}, projection=["_id"]
            )
        return _client(document) if owner is not None else None

    async def clients_of(self, handle: str) -> tuple[Client, ...]:
        """Return the partner's clients, oldest first."""
        with answering():
            owner = await self._partners.find_one({"_id": handle}, projection=["clients"])
            named = owner["clients"] if owner is not None else []
            documents = await self._clients.find({"_id": {"$in": named}}).to_list(None)
        return tuple(sorted(map(_client, documents), key=lambda client: (client.created_at, client.client_id)))

    async def reset_credentials(self, handle: str) -> Onboarded:
        """Give the partner's first client a fresh secret and assertion key, and end the old ones at once.

        For an operator who lost them, and the demo, which shows credentials at every start though only hashes
        are kept. Rotation without downtime, where old and new overlap, is another matter.
        """
        partner = await self.get(handle)
        clients = await self.clients_of(handle)
        if not clients:
            raise NotFound("the partner has no client")
        key = ECKey.generate_key(_CURVE)
        secret = _fresh_secret()
        changed = {
            "secret_hashes": [self._keyring.digest("client-secret", secret)],
            "assertion_keys": [dict(_public_jwk(key))],
        }
        with answering():
            await self._clients.update_one({"_id": clients[0].client_id}, {"$set": changed})
        return Onboarded(partner, clients[0].client_id, secret, key.as_pem(private=True).decode("ascii"))


def scopes_for(roles: Collection[PartnerRole] | None) -> frozenset[str]:
    """Return the least a partner of these roles needs; all partner scopes where no roles were given."""
    if roles is None:
        return frozenset(PARTNER_SCOPES)
    return _COMMON_SCOPES.union(*(_ROLE_SCOPES[role] for role in roles))


def _fresh_secret() -> str:
    return f"bxs_{secrets.token_urlsafe(_SECRET_BYTES)}"  # a prefix that secret scanners can look for


def _milliseconds(moment: datetime) -> datetime:
    # BSON keeps milliseconds; what `create` answers must equal what is read later.
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _checked_handle(handle: str) -> str:
    if not _HANDLE.fullmatch(handle):
        message = "a handle has 2 to 40 characters of a-z, 0-9 and -, and begins with a letter"
        raise ValidationFailed(message, ("input", "handle"))
    if handle == EXCHANGE:
        raise ValidationFailed(f"the handle {EXCHANGE} is the operator's own", ("input", "handle"))
    return handle


def _checked_name(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > _NAME_LENGTH_MAX:
        message = f"a name has 1 to {_NAME_LENGTH_MAX} printable characters"
        raise ValidationFailed(message, ("input", "name"))
    return name.strip()


def _ordered(roles: Collection[PartnerRole] | None) -> tuple[PartnerRole, ...]:
    if roles is None:
        return tuple(PartnerRole)
    if not roles:
        raise ValidationFailed("a partner has at least one role", ("input", "roles"))
    return tuple(role for role in PartnerRole if role in roles)


def _public_key(text: str) -> ECKey:
    path = ("input", "publicKey")
    try:
        key = ECKey.import_key(json.loads(text) if text.lstrip().startswith("{") else text.encode())
        curve = key.curve_name
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # Whatever a library says of a malformed key, the operator needs this one sentence.
        raise ValidationFailed("the public key is neither PEM nor a JWK of an EC key", path) from error
    if curve != _CURVE:
        raise ValidationFailed(f"the public key is on the curve {curve}, not {_CURVE}", path)
    if key.is_private:
        raise ValidationFailed("that is a private key: keep it, and give the public one", path)
    return key


def _public_jwk(key: ECKey) -> Mapping[str, Any]:
    key.ensure_kid()
    public: dict[str, Any] = {**key.as_dict(private=False)}
    return {name: public[name] for name in ("kty", "crv", "x", "y", "kid")}


def _document(partner: Partner, client_ids: list[str]) -> dict[str, Any]:
    return {
        "_id": partner.handle,
        "name": partner.name,
        "roles": [role.value for role in partner.roles],
        "clients": client_ids,
        "created_at": partner.created_at,
    }


def _partner(document: Mapping[str, Any]) -> Partner:
    return Partner(
        handle=document["_id"],
        name=document["name"],
        roles=tuple(PartnerRole(role) for role in document["roles"]),
        created_at=document["created_at"],
    )


def _client_document(client: Client) -> dict[str, Any]:
    return {
        "_id": client.client_id,
        "partner": client.partner,
        "secret_hashes": list(client.secret_hashes),
        "assertion_keys": [dict(key) for key in client.assertion_keys],
        "scopes": sorted(client.scopes),
        "created_at": client.created_at,
    }


def _client(document: Mapping[str, Any]) -> Client:
    return Client(
        client_id=document["_id"],
        partner=document["partner"],
        secret_hashes=tuple(document["secret_hashes"]),
        assertion_keys=tuple(document["assertion_keys"]),
        scopes=frozenset(document["scopes"]),
        created_at=document["created_at"],
    )
