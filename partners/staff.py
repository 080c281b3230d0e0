"""The operator's own people: who may look at the money, prepare it, approve it.

A staff role *is* a scope, and roles are exactly what was given. `finance:approve` does not imply
`finance:view`, nor `admin` anything: that two people look at a settlement is worth nothing if one role
quietly contains the other.

Passwords are hashed with Argon2id (RFC 9106), by the library's own parameters, in a worker thread: the 64 MiB
and the tens of milliseconds that make guessing dear must not stop the event loop. A password made here is
one-time: `must_change` stays set until its owner has chosen one.

What this module does not know: tokens (`partners.oauth.tokens` mints them) and how people log in.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from anyio import to_thread
from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from pymongo.errors import DuplicateKeyError

from exchange.errors import NotFound, ValidationFailed
from exchange.store.connection import Database, answering
from partners.oauth.scopes import STAFF_SCOPES

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")  # RFC 5321 §4.5.3.1; whether mail arrives is not ours to know
_PASSWORD_BYTES = 15  # 120 bits, 20 characters that can be typed once
_hasher = PasswordHasher()


@dataclass(frozen=True, slots=True)
class Staff:
    """A member of the operator's staff. `roles` are staff scopes, in the order of `STAFF_SCOPES`."""

    email: str
    roles: tuple[str, ...]
    must_change: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Engaged:
    """A staff member with the one-time password, shown this once."""

    staff: Staff
    password: str


class StaffRegistry:
    """The staff, in the collection `staff`, by e-mail address in lower case."""

    def __init__(self, database: Database) -> None:
        self._staff = database["staff"]

    async def create_indexes(self) -> None:
        """Nothing beyond the key is looked up; here so that every store is asked alike."""

    async def create(self, email: str, roles: Collection[str], *, now: datetime) -> Engaged:
        """Engage a person, with a one-time password.

        ValidationFailed for an address that is none or is taken, for no role, and for an unknown role.
        """
        staff = Staff(
            email=_checked_email(email),
            roles=_checked_roles(roles),
            must_change=True,
            created_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
        )
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        document = {
            "_id": staff.email,
            "roles": list(staff.roles),
            "password": await to_thread.run_sync(_hasher.hash, password),
            "must_change": True,
            "created_at": staff.created_at,
        }
        with answering():
            try:
                await self._staff.insert_one(document)
            except DuplicateKeyError:
                raise ValidationFailed(f"{staff.email} is on the staff already", ("input", "email")) from None
        return Engaged(staff, password)

    async def get(self, email: str) -> Staff | None:
        """Return the staff member, or None."""
        with answering():
            document = await self._staff.find_one({"_id": email.strip().lower()})
        return _staff(document) if document is not None else None

    async def everybody(self) -> list[Staff]:
        """Return the whole staff, by address."""
        with answering():
            return [_staff(document) async for document in self._staff.find({}).sort("_id", 1)]

    async def reset_password(self, email: str) -> Engaged:
        """Replace the password by a fresh one-time one; NotFound for a stranger."""
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        changed = {"password": await to_thread.run_sync(_hasher.hash, password), "must_change": True}
        with answering():
            result = await self._staff.update_one({"_id": email.strip().lower()}, {"$set": changed})
        staff = await self.get(email) if result.matched_count else None
        if staff is None:
            raise NotFound("there is no such staff member")
        return Engaged(staff, password)

    async def authenticate(self, email: str, password: str) -> Staff | None:
        """Return the staff member whose password this is, or None, in the same time for a stranger."""
        with answering():
            document = await self._staff.find_one({"_id": email.strip().lower()})
        stored = document["password"] if document is not None else await to_thread.run_sync(_nobody)
        matches = await to_thread.run_sync(_matches, stored, password)
        return _staff(document) if document is not None and matches else None


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except VerificationError:
        return False


@cache
def _nobody() -> str:
    """Hash a password nobody has: so a stranger costs what a colleague costs."""
    return _hasher.hash(secrets.token_urlsafe(_PASSWORD_BYTES))


def _checked_email(email: str) -> str:
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address) or not address.isprintable():
        raise ValidationFailed("that is not an e-mail address", ("input", "email"))
    return address


def _checked_roles(roles: Collection[str]) -> tuple[str, ...]:
    unknown = sorted(set(roles) - set(STAFF_SCOPES))
    if unknown:
        message = f"unknown role {unknown[0]}; the roles are {', '.join(STAFF_SCOPES)}"
        raise ValidationFailed(message, ("input", "roles"))
    if not roles:
        raise ValidationFailed("at least one role is needed", ("input", "roles"))
    return tuple(role for role in STAFF_SCOPES if role in roles)


def _staff(document: Mapping[str, Any]) -> Staff:
    return Staff(
        email=document["_id"],
        roles=tuple(document["roles"]),
        must_change=document["must_change"],
        created_at=document["created_at"],
    )
