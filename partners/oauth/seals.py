"""The exchange's signature under the files that it hands out, and how whoever gets one checks it.

A JWS with detached content (RFC 7515 appendix F), `header..signature`, by the key that signs access tokens as well.
The header's `typ` keeps the two apart: a token's is another one, and neither is accepted in the place of the other.
The header and the signature are refused in any but the one form in which they are made, so that no bit of a file can
be changed without notice.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from exchange.proof.sealed import Keys, Seal
from partners.oauth.keys import ALGORITHM, published_key

_TYPE: Final = "benefits-exchange-file"


def seal_of(key: ECKey) -> Seal:
    """Return the seal of a signing key."""
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": _TYPE}

    def sign(payload: bytes) -> str:
        signed: str = jws.detach_content(jws.serialize_compact(header, payload, key, [ALGORITHM]))
        return signed

    return Seal({"keys": [published_key(key.kid or "", key)]}, sign)


def check_signature(payload: bytes, signature: str, keys: Keys) -> str:
    """Return the name of the key that made a signature; ValueError, with the reason, if none of these did."""
    try:
        head, content, tail = signature.split(".")
        header = orjson.loads(_bytes(head))
    except ValueError as error:
        message = f"is no signature ({error})"
        raise ValueError(message) from error
    if content or not isinstance(header, dict) or header.keys() != {"alg", "kid", "typ"}:
        message = "is no signature of a file"
        raise ValueError(message)
    _bytes(tail)
    if header["alg"] != ALGORITHM or header["typ"] != _TYPE:
        message = f"is not of type {_TYPE} with {ALGORITHM}"
        raise ValueError(message)
    name = str(header["kid"])
    try:
        jws.deserialize_compact(signature, _key(name, keys), [ALGORITHM], payload=payload)
    except JoseError as error:
        message = f"was not made over this content by key {name}"
        raise ValueError(message) from error
    return name


def _key(name: str, keys: Keys) -> ECKey:
    for key in keys["keys"]:
        if key.get("kid") == name:
            return ECKey.import_key(key)
    message = f"is by key {name}, which is not among those given"
    raise ValueError(message)


def _bytes(text: str) -> bytes:
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        message = "not in base64url's one form"
        raise ValueError(message)
    return data


def key_set(document: Any) -> Keys:
    """Return a JWK Set that somebody brings; ValueError for what is none."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list) or not document["keys"]:
        message = "is no JWK Set: it has no keys"
        raise ValueError(message)
    if not all(isinstance(key, dict) for key in document["keys"]):
        message = "is no JWK Set: its keys are no objects"
        raise ValueError(message)
    return document
