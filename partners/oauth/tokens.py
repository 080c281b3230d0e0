"""Access tokens: minted here, verified here, and what a verified one says of its bearer.

A token is a JWT by RFC 9068, signed ES256. Besides that profile's claims it has three of ours, which the
exchange alone reads: `kind`, `partner` (the handle) and, in a member's token, `region`.

=========  ==============================  ===================  ================
kind       sub                             partner              ends after
=========  ==============================  ===================  ================
partner    the client id                   the client's         ten minutes
member     the member, sealed (pairwise)   the app's            five minutes
staff      a keyed hash of the e-mail      none                 an hour
=========  ==============================  ===================  ================

A member's `sub` is its reference at that partner, sealed for that partner: it is the same in every token, no
other partner has the same, and it tells nothing to whoever reads the token on its way. Only we open it.

The audience is the GraphQL endpoint, `{issuer}/graphql`, because that is the resource server: a token for it
is no token for another service that trusts the same issuer, and an assertion, whose audience is the issuer,
is never one.

Verified tokens are remembered by their SHA-256 for a minute at most, never past their end: a phone's home
screen asks many times with one token, and the curve arithmetic is the dearest step of a cached read. What a
withdrawn token needs, a look at the revocation set, belongs where the memory is asked, on every hit.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc import jws, jwt
from joserfc.errors import JoseError

from exchange.keyring import Keyring
from partners.oauth.clock import SKEW_SECONDS, Clock, system_clock
from partners.oauth.keys import ALGORITHM, SigningKeys
from partners.oauth.scopes import member_scopes_allowed, written
from partners.registry import Client
from partners.staff import Staff

PARTNER_TOKEN_SECONDS: Final = 600
MEMBER_TOKEN_SECONDS: Final = 300
STAFF_TOKEN_SECONDS: Final = 3600

SERVER_SUBJECT: Final = "server"
"""The idempotency subject of a partner's own server."""

STAFF_CLIENT_ID: Final = "exchange"
"""RFC 9068 §2.2 wants a `client_id`; staff tokens come from the exchange, and no client is called so."""

_TYPE = "at+jwt"
_SEALED = "Subject:"
_TOKEN_LENGTH_MAX = 4096
_REMEMBERED_SECONDS = 60
_REMEMBERED_MAX = 10_000


class InvalidToken(Exception):  # noqa: N818  # RFC 6750 §3.1 calls it `invalid_token`
    """The bearer token is not one of ours, or not any more. The text is for the log, not for the bearer."""


class PrincipalKind(StrEnum):
    """Who is asking."""

    PARTNER = "partner"
    MEMBER = "member"
    STAFF = "staff"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, as a verified token has it.

    `subject` is the second part of the idempotency id: "server" for a partner's own server, the pairwise
    `sub` for a member, the keyed hash of the e-mail for staff. `partner` is None for staff; `member` is the
    partner's own reference and None for all but members; `expires_at` is in seconds since 1970.
    """

    kind: PrincipalKind
    subject: str
    scopes: frozenset[str]
    client_id: str
    expires_at: int
    partner: str | None = None
    member: str | None = None
    region: str | None = None


class Tokens:
    """Mints and verifies the access tokens of one issuer. Await `SigningKeys.load` before."""

    def __init__(self, keys: SigningKeys, keyring: Keyring, issuer: str, clock: Clock = system_clock) -> None:
        self.issuer = checked_issuer(issuer)
        self.audience = f"{issuer}/graphql"
        self._keys = keys
        self._keyring = keyring
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()

    def for_partner(
        self,
        client: Client,
        scopes: AbstractSet[str] | None = None,
        *,
        lifetime_seconds: int = PARTNER_TOKEN_SECONDS,
    ) -> str:
        """Mint a token for a partner's own server; all the client's scopes unless told otherwise."""
        return self._mint(
            PrincipalKind.PARTNER,
            sub=client.client_id,
            client_id=client.client_id,
            scopes=client.scopes if scopes is None else scopes,
            lifetime_seconds=lifetime_seconds,
            partner=client.partner,
        )

    def for_member(
        self,
        client: Client,
        reference: str,
        scopes: AbstractSet[str] | None = None,
        *,
        region: str | None = None,
        lifetime_seconds: int = MEMBER_TOKEN_SECONDS,
    ) -> str:
        """Mint a token for a member, by the partner's `reference`; all scopes its client may ask for."""
        private = {"partner": client.partner} | ({"region": region} if region is not None else {})
        return self._mint(
            PrincipalKind.MEMBER,
            sub=self.member_subject(client.partner, reference),
            client_id=client.client_id,
            scopes=member_scopes_allowed(client.scopes) if scopes is None else scopes,
            lifetime_seconds=lifetime_seconds,
            **private,
        )

    def for_staff(self, staff: Staff, *, lifetime_seconds: int = STAFF_TOKEN_SECONDS) -> str:
        """Mint a token with exactly the staff member's roles."""
        return self._mint(
            PrincipalKind.STAFF,
            sub=self.staff_subject(staff.email),
            client_id=STAFF_CLIENT_ID,
            scopes=frozenset(staff.roles),
            lifetime_seconds=lifetime_seconds,
        )

    def staff_subject(self, email: str) -> str:
        """Return what tokens call a member of the staff."""
        return self._keyring.digest("staff", email)

    def member_subject(self, partner: str, reference: str) -> str:
        """Return the member's pairwise `sub` at that partner (the idea: OpenID Connect Core §8.1)."""
        return self._keyring.seal(_SEALED + reference, audience=partner)

    async def verify(self, token: str) -> Principal:
        """Return whom the token speaks for (RFC 9068 §4); InvalidToken if it is not good, now."""
        if len(token) > _TOKEN_LENGTH_MAX or not token.isascii():
            raise InvalidToken("too long, or not a JWT at all")
        now = self._clock()
        name = sha256(token.encode("ascii")).digest()
        remembered = self._remembered.get(name)
        if remembered is not None and now < remembered[0]:
            self._remembered.move_to_end(name)
            return remembered[1]  # the revocation set, once there is one, is asked before this line
        principal = await self._verified(token, now)
        self._remembered[name] = (min(now + _REMEMBERED_SECONDS, principal.expires_at), principal)
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return principal

    def _mint(
        self,
        kind: PrincipalKind,
        *,
        sub: str,
        client_id: str,
        scopes: AbstractSet[str],
        lifetime_seconds: int,
        **private: str,
    ) -> str:
        key = self._keys.signing()
        now = int(self._clock())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": sub,
            "client_id": client_id,
            "scope": written(scopes),
            "iat": now,
            "exp": now + lifetime_seconds,
            "jti": secrets.token_urlsafe(16),
            "kind": kind.value,
            **private,
        }
        return jwt.encode({"alg": ALGORITHM, "typ": _TYPE, "kid": key.kid}, claims, key, [ALGORITHM])

    async def _verified(self, token: str, now: float) -> Principal:
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
            if header.get("alg") != ALGORITHM or header.get("typ") != _TYPE:
                raise InvalidToken("not an access token of ours")
            key = await self._keys.verifying(str(header.get("kid")))
            if key is None:
                raise InvalidToken("signed by a key we do not know")
            claims = jwt.decode(token, key, [ALGORITHM]).claims
        except (JoseError, ValueError, RecursionError) as error:
            raise InvalidToken("not a JWT that one of our keys signed") from error
        # From here on the claims are our own words, so only what changes with time and place is asked.
        if claims["iss"] != self.issuer or claims["aud"] != self.audience:
            raise InvalidToken("for another exchange")
        if claims["exp"] <= now:
            raise InvalidToken("expired")
        if max(claims["iat"], claims.get("nbf", 0)) > now + SKEW_SECONDS:
            raise InvalidToken("not valid yet")
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> Principal:
        kind = PrincipalKind(claims["kind"])
        partner: str | None = claims.get("partner")
        subject, member = claims["sub"], None
        if kind is PrincipalKind.PARTNER:
            subject = SERVER_SUBJECT
        elif kind is PrincipalKind.MEMBER:
            member = self._keyring.unseal(subject, audience=str(partner)).removeprefix(_SEALED)
        return Principal(
            kind=kind,
            subject=subject,
            scopes=frozenset(claims["scope"].split()),
            client_id=claims["client_id"],
            expires_at=claims["exp"],
            partner=partner,
            member=member,
            region=claims.get("region"),
        )


def checked_issuer(issuer: str) -> str:
    """Return the issuer's URL (RFC 8414 §2), with neither path, query nor slash at the end; ValueError else.

    A path would move the metadata document (RFC 8414 §3.1) away from where it is served.
    """
    parts = urlsplit(issuer)
    if parts.scheme not in {"http", "https"} or not parts.netloc or issuer != f"{parts.scheme}://{parts.netloc}":
        message = f"the issuer is a URL of scheme and host alone, not {issuer!r}"
        raise ValueError(message)
    return issuer
