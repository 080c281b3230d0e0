"""The keys that sign access tokens: ES256 (RFC 7518 §3.4), published as a JWK Set (RFC 7517 §5).

All processes of an exchange share them through the database, where the private part rests encrypted by the
operator's master key. The first process to start makes the first key; the others find it.

Rotation has its states (`KeyState`) and its `kid` in every token, so it needs no change here: a process that
meets an unknown `kid` reads the keys again, at most every few seconds, because anybody can invent a `kid`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from joserfc.jwk import ECKey

from exchange.keyring import BadToken, Keyring
from partners.oauth.clock import Clock, system_clock
from partners.oauth.store import KeyState, OAuthStore, StoredKey

ALGORITHM = "ES256"
_CURVE = "P-256"
_UNKNOWN_KID_SECONDS = 5
_STALE_SECONDS = 60


class SigningKeys:
    """The signing keys in memory. Call `load` once before use, after the store's indexes are there."""

    def __init__(self, store: OAuthStore, keyring: Keyring, clock: Clock = system_clock) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._public: dict[str, ECKey] = {}
        self._active: ECKey | None = None
        self._loaded_at = float("-inf")

    async def load(self) -> None:
        """Read the keys; make the first one where there is none. BadToken under another master key."""
        stored = await self._store.signing_keys()
        if not any(key.state is KeyState.ACTIVE for key in stored):
            await self._store.add_signing_key(self._fresh(KeyState.ACTIVE))
            stored = await self._store.signing_keys()  # ours, or the one of whoever was faster
        self._public = {key.kid: ECKey.import_key(dict(key.public)) for key in stored}
        self._active = next(self._private(key) for key in reversed(stored) if key.state is KeyState.ACTIVE)
        self._loaded_at = self._clock()

    def signing(self) -> ECKey:
        """Return the private key that signs now; its `kid` belongs into the token's header."""
        if self._active is None:
            raise RuntimeError("SigningKeys.load has not been awaited")
        return self._active

    async def verifying(self, kid: str) -> ECKey | None:
        """Return the public key of that name, or None."""
        if kid not in self._public:
            await self._reload_after(_UNKNOWN_KID_SECONDS)
        return self._public.get(kid)

    async def published(self) -> dict[str, Any]:
        """Return the JWK Set for everyone: every key a valid token may have been signed with, now or soon."""
        await self._reload_after(_STALE_SECONDS)
        return {"keys": [published_key(kid, key) for kid, key in self._public.items()]}

    async def _reload_after(self, seconds: float) -> None:
        if self._clock() - self._loaded_at >= seconds:
            await self.load()

    def _fresh(self, state: KeyState) -> StoredKey:
        key = ECKey.generate_key(_CURVE)
        kid = key.thumbprint()  # RFC 7638
        return StoredKey(
            kid=kid,
            state=state,
            public={name: value for name, value in key.as_dict(private=False).items() if name != "kid"},
            private=self._keyring.encrypt(key.as_pem(private=True), _context(kid)),
            created_at=datetime.fromtimestamp(self._clock(), UTC),
        )

    def _private(self, stored: StoredKey) -> ECKey:
        try:
            pem = self._keyring.decrypt(stored.private, _context(stored.kid))
        except BadToken as error:
            message = "the signing key in the database was encrypted under another master key"
            raise BadToken(message) from error
        return ECKey.import_key(pem, {"kid": stored.kid})


def published_key(kid: str, key: ECKey) -> dict[str, Any]:
    """Return the public part of a key as a JWK Set has it."""
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}


def _context(kid: str) -> str:
    return f"signing-key/{kid}"
