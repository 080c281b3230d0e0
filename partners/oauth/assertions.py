"""A partner's server vouches for one of its members: JWT assertions as authorization grants (RFC 7523 §2.1, §3).

The assertion is signed by the partner's own key and says: this is my member `sub`, for you, now, once.
Authlib's grant would take it without `sub`, ending in a year, signed by any algorithm, and as often as it is
sent; so everything is checked here, in one ladder, and each step says what is wrong.

1. ES256, a type that is JWT or not given (RFC 8725 §3.11), and one of the client's keys. Without `kid` all
   of its keys are tried, so that a key can be replaced by who never chose a name for it; a `kid` nobody has
   is an error.
2. `iss` is the client's id: the key was looked up by it, so a signature that holds proves it.
3. `aud` is the issuer's URL and nobody else: the string itself, or an array with it as its only member, which
   RFC 7519 §4.1.3 gives the same meaning and some libraries always write. With a second audience, that one
   could bring the assertion to us.
4. `exp` has not come and is at most five minutes on, counted from now or from `iat`, whichever is later: a
   partner whose clock is a little ahead of ours still writes good assertions. `iat` is required and, like
   `nbf`, not in the future.
5. `sub` is the partner's reference of the member and no client's id, so that a token of a program and one of
   a person cannot be mistaken for each other (RFC 9068 §5).
6. `jti` is there. Whether it was used already only the database can decide (`OAuthStore.use_assertion`).
7. `region`, if given, is an ISO 3166-1 alpha-2 code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey

from exchange.countries import COUNTRIES
from partners.oauth.clock import SKEW_SECONDS
from partners.oauth.keys import ALGORITHM
from partners.registry import Client

LIFETIME_SECONDS_MAX: Final = 300
REFERENCE_LENGTH_MAX: Final = 128
JTI_LENGTH_MAX: Final = 255


class BadAssertion(Exception):  # noqa: N818  # it becomes RFC 6749's `invalid_grant`
    """The assertion does not hold; the text says why, in the characters an `error_description` may have."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """An assertion that holds, if its `jti` was never used. `expires_at` is in seconds since 1970."""

    client_id: str
    reference: str
    jti: str
    expires_at: float
    region: str | None


def is_reference(text: str) -> bool:
    """Tell whether a partner may call a member so: 1 to 128 printable characters, no control characters."""
    return 0 < len(text) <= REFERENCE_LENGTH_MAX and text.isprintable()


def hinted(assertion: str) -> tuple[str, str]:
    """Return `iss` and `sub` as the assertion claims them, unverified: what to read before it can be checked."""
    _, claims = _opened(assertion)
    iss, sub = claims.get("iss"), claims.get("sub")
    return iss if isinstance(iss, str) else "", sub if isinstance(sub, str) else ""


def verified(assertion: str, client: Client, *, issuer: str, now: float, is_client: Callable[[str], bool]) -> Assertion:
    """Return what the assertion says, or raise BadAssertion; the steps are this module's."""
    header, _ = _opened(assertion)
    claims = _signed(assertion, header, client)
    if claims.get("iss") != client.client_id:
        raise BadAssertion("iss is not the client id")
    if claims.get("aud") not in (issuer, [issuer]):
        raise BadAssertion(f"aud is not exactly {issuer}")
    iat, exp, nbf = _time(claims, "iat"), _time(claims, "exp"), _time(claims, "nbf", default=now)
    if exp <= now:
        raise BadAssertion("the assertion has expired")
    if max(iat, nbf) > now + SKEW_SECONDS:
        raise BadAssertion("the assertion is not valid yet: is your clock right?")
    if exp > max(now, iat) + LIFETIME_SECONDS_MAX:
        raise BadAssertion(f"exp is more than {LIFETIME_SECONDS_MAX} seconds on")
    sub = _text(claims, "sub", REFERENCE_LENGTH_MAX)
    if is_client(sub):
        raise BadAssertion("sub is a client id, not a member")
    jti = _text(claims, "jti", JTI_LENGTH_MAX)
    region = claims.get("region")
    if region is not None and not (isinstance(region, str) and region in COUNTRIES):
        raise BadAssertion("region is not an ISO 3166-1 alpha-2 code")
    return Assertion(client.client_id, sub, jti, exp, region)


def _opened(assertion: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    try:
        parts = jws.extract_compact(assertion.encode("ascii"))
        claims = json.loads(parts.payload)
    except (JoseError, ValueError, RecursionError) as error:
        raise BadAssertion("the assertion is not a signed JWT") from error
    if not isinstance(claims, dict):
        raise BadAssertion("the assertion's payload is not an object")
    return parts.headers(), claims


def _signed(assertion: str, header: Mapping[str, Any], client: Client) -> Mapping[str, Any]:
    if header.get("alg") != ALGORITHM:
        raise BadAssertion(f"the assertion is not signed by {ALGORITHM}")
    if "typ" in header and str(header["typ"]).upper() != "JWT":
        raise BadAssertion("the assertion's typ is not JWT")
    kid = header.get("kid")
    keys = [key for key in client.assertion_keys if kid is None or key["kid"] == kid]
    if not keys:
        raise BadAssertion("the client has no key of that kid")
    for key in keys:
        try:
            return jwt.decode(assertion, ECKey.import_key(dict(key)), [ALGORITHM]).claims
        except BadSignatureError:
            continue
        except (JoseError, ValueError, RecursionError) as error:
            raise BadAssertion("the assertion is not a signed JWT") from error
    raise BadAssertion("none of the client's keys made the signature")


def _time(claims: Mapping[str, Any], name: str, *, default: float | None = None) -> float:
    value = claims.get(name, default)
    # NaN compares false with everything: an assertion that ends then would never end. True is an int, too; and an
    # int too long for a float compares all the same.
    numeric = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or not numeric:
        raise BadAssertion(f"{name} is missing, or is not a NumericDate")
    moment: float = value
    return moment


def _text(claims: Mapping[str, Any], name: str, length_max: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= length_max or not value.isprintable():
        raise BadAssertion(f"{name} is missing, or is not 1 to {length_max} printable characters")
    return value
