"""What OAuth keeps in MongoDB: signing keys, and the assertions already used.

Both writes are decisions, made by a unique key and not by a read before it:

- `add_signing_key`: at most one key is active; several processes at their first start agree on whichever won;
- `use_assertion`: an assertion's `jti` is accepted once until it expires; two requests with the same one are
  decided here, whatever either had read.

Its place is here for what comes later: grants (a consent and its refresh family), authorization codes,
revocations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pymongo.errors import DuplicateKeyError

from exchange.store.connection import Database, answering, ensure_index

_KEPT_AFTER_EXPIRY_SECONDS = 3600  # the TTL runs on the database's clock: none of ours may be that far behind


class KeyState(StrEnum):
    """A signing key's life: published before it signs, and verified after it has signed its last.

    ========  ======  ==========  =========
    state     signs   verifies    published
    ========  ======  ==========  =========
    next      no      yes         yes
    active    yes     yes         yes
    retired   no      yes         yes
    ========  ======  ==========  =========

    A retired key is deleted when the last token it signed has expired.
    """

    NEXT = "next"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A signing key at rest: its public JWK in the clear, its private PEM encrypted by the master key."""

    kid: str
    state: KeyState
    public: Mapping[str, Any]
    private: bytes
    created_at: datetime


class OAuthStore:
    """The collections `signing_keys` and `assertion_jtis`."""

    def __init__(self, database: Database) -> None:
        self._keys = database["signing_keys"]
        self._jtis = database["assertion_jtis"]

    async def create_indexes(self) -> None:
        """Make the one-active-key rule and the expiry of used assertions; safe to repeat."""
        with answering():
            await ensure_index(
                self._keys, "state", unique=True, partialFilterExpression={"state": KeyState.ACTIVE.value}
            )
            await ensure_index(self._jtis, "expires_at", expireAfterSeconds=_KEPT_AFTER_EXPIRY_SECONDS)

    async def signing_keys(self) -> list[StoredKey]:
        """Return all keys, oldest first."""
        with answering():
            documents = await self._keys.find({}).to_list(None)
        keys = [
            StoredKey(
                kid=document["_id"],
                state=KeyState(document["state"]),
                public=document["public"],
                private=document["private"],
                created_at=document["created_at"],
            )
            for document in documents
        ]
        return sorted(keys, key=lambda key: (key.created_at, key.kid))

    async def add_signing_key(self, key: StoredKey) -> bool:
        """Add the key; False if there is an active one and this would be a second."""
        document = {
            "_id": key.kid,
            "state": key.state.value,
            "public": dict(key.public),
            "private": key.private,
            "created_at": key.created_at,
        }
        with answering():
            try:
                await self._keys.insert_one(document)
            except DuplicateKeyError:
                return False
        return True

    async def use_assertion(self, digest: str, *, expires_at: datetime, now: datetime) -> bool:
        """Mark the assertion used; False if it was, and has not expired since.

        One conditional upsert: an unexpired one fails the filter, so the insert that follows meets its own
        key.
        """
        with answering():
            try:
                await self._jtis.update_one(
                    {"_id": digest, "expires_at": {"$lte": now}},
                    {"$set": {"expires_at": expires_at}},
                    upsert=True,
                )
            except DuplicateKeyError:
                return False
        return True
