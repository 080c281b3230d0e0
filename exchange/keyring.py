"""Every secret use of the operator's one master key.

The master key never touches data. Each purpose gets a key of its own by HKDF-SHA256 (RFC 5869), so that an
idempotency id can never be mistaken for a client-secret hash, and a key found out for one purpose opens no other.

Three operations, and what each is for:

- `digest`: a keyed hash (HMAC-SHA256), where only equality matters: idempotency ids, client secrets, codes seen before;
- `seal`/`unseal`: deterministic authenticated encryption (AES-SIV, RFC 5297) for identifiers that go out and come
  back: the same object has the same identifier for the same audience, and another audience cannot open it;
- `encrypt`/`decrypt`: randomised authenticated encryption (AES-256-GCM) for what must stay secret at rest.

Losing the master key loses the codes and the idempotency of everything before: back it up apart from the database.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from binascii import b2a_base64
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MASTER_KEY_BYTES = 32
_DIGEST_BYTES = 18  # 144 bits: 24 characters of base64url, no padding
_NONCE_BYTES = 12
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class BadToken(ValueError):  # noqa: N818 - what it is, not what became of us
    """Sealed or encrypted text that this keyring did not make for this purpose and audience."""


class Keyring:
    """The master key's derived keys. Cheap to share, safe for concurrent use."""

    def __init__(self, master: bytes) -> None:
        if len(master) != MASTER_KEY_BYTES:
            message = f"the master key has {MASTER_KEY_BYTES} bytes, not {len(master)}"
            raise ValueError(message)
        self._master = master
        self._digest_keys: dict[str, hmac.HMAC] = {}

    def _derive(self, purpose: str, length: int) -> bytes:
        hkdf = HKDF(hashes.SHA256(), length, salt=None, info=f"benefits-exchange/{purpose}".encode())
        return hkdf.derive(self._master)

    def digest(self, purpose: str, *parts: str) -> str:
        """Return 24 base64url characters, the same for the same purpose and parts; parts cannot run together."""
        keyed = self._digest_keys.get(purpose)
        if keyed is None:
            keyed = self._digest_keys[purpose] = hmac.new(self._derive(f"digest/{purpose}", 32), None, sha256)
        mac = keyed.copy()
        for part in parts:
            data = part.encode()
            mac.update(len(data).to_bytes(4, "big") + data)
        return _text(mac.digest()[:_DIGEST_BYTES])

    def seal(self, plain: str, audience: str) -> str:
        """Return an opaque identifier of `plain` that only the same `audience` can bring back."""
        return _text(self._siv.encrypt(plain.encode(), [audience.encode()]))

    def unseal(self, sealed: str, audience: str) -> str:
        """Return what was sealed for `audience`; BadToken for anything else."""
        try:
            data = _bytes(sealed)
            if _text(data) != sealed:  # base64's unused bits and other alphabet: one object has one identifier
                raise BadToken(sealed)
            return self._siv.decrypt(data, [audience.encode()]).decode()
        except (InvalidTag, ValueError) as error:
            raise BadToken(sealed) from error

    def encrypt(self, plain: bytes, context: str) -> bytes:
        """Encrypt what rests in the database; `context` (for instance the benefit's id) is bound to it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._gcm.encrypt(nonce, plain, context.encode())

    def decrypt(self, cipher: bytes, context: str) -> bytes:
        """Return what was encrypted under the same `context`; BadToken for anything else."""
        try:
            return self._gcm.decrypt(cipher[:_NONCE_BYTES], cipher[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            raise BadToken(context) from error

    @cached_property
    def _siv(self) -> AESSIV:
        return AESSIV(self._derive("seal", 64))

    @cached_property
    def _gcm(self) -> AESGCM:
        return AESGCM(self._derive("encrypt", 32))


def load_keyring(environment: Mapping[str, str], data: Path) -> Keyring:
    """Take the master key from `EXCHANGE_SECRET_KEY` (base64url, 32 bytes) or from `data`/secret.key.

    The file is made, mode 0600, where there is none: one machine needs no set-up. But where there is a database
    already (`data`/mongod) a new key would open nothing of it. Machines that share a database must be given the same
    key. ValueError, with what is wrong, for a key that is none or is lost.
    """
    given = environment.get("EXCHANGE_SECRET_KEY")
    if given:
        return Keyring(_master(given, "EXCHANGE_SECRET_KEY"))
    path = data / "secret.key"
    # In this order: whoever begins a database has its key by then.
    if (data / "mongod").exists() and not path.exists():
        message = (
            f"{path} is missing, and a new key would not open the database beside it: "
            "put the old one back, or give it as EXCHANGE_SECRET_KEY"
        )
        raise ValueError(message)
    if not path.exists():
        _make_master(path)
    return Keyring(_master(path.read_text("ascii").strip(), str(path)))


def _make_master(path: Path) -> None:
    """Write a new key, whole or not at all; if another process was faster, its key stands."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(_text(secrets.token_bytes(MASTER_KEY_BYTES)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _master(text: str, source: str) -> bytes:
    try:
        master = _bytes(text)
    except ValueError:
        master = b""
    if len(master) != MASTER_KEY_BYTES:
        message = f"{source} is not {MASTER_KEY_BYTES} bytes in base64url"
        raise ValueError(message)
    return master


def _text(data: bytes) -> str:
    # What base64.urlsafe_b64encode does, in half the time: a settlement names millions of entries.
    return b2a_base64(data, newline=False).translate(_URL_SAFE).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
