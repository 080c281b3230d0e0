"""The scopes: what a token lets its bearer do (RFC 6749 §3.3).

Three vocabularies, one per kind of caller. A word may be in two of them (`benefits:read`), a token never
mixes them. Nothing is ever silently narrowed: a scope that cannot be given is `invalid_scope`, and the caller
knows.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

PARTNER_SCOPES = (
    "benefits:read",
    "benefits:publish",
    "points:award",
    "redemptions:redeem",
    "redemptions:fulfil",
    "settlements:read",
    "webhooks:manage",
)
MEMBER_SCOPES = ("benefits:read", "points:read", "points:redeem", "redemptions:read")
STAFF_SCOPES = ("finance:view", "finance:prepare", "finance:approve", "admin")

ALL_SCOPES = tuple(dict.fromkeys(PARTNER_SCOPES + MEMBER_SCOPES + STAFF_SCOPES))


def member_scopes_allowed(client_scopes: AbstractSet[str]) -> frozenset[str]:
    """Return what a client may ask for on its members' behalf.

    Who may not redeem with its own credentials may not redeem with a member's either; else a partner that is
    no channel would become one by signing assertions.
    """
    if "redemptions:redeem" in client_scopes:
        return frozenset(MEMBER_SCOPES)
    return frozenset(MEMBER_SCOPES) - {"points:redeem"}


def written(scopes: AbstractSet[str]) -> str:
    """Return the scopes as the protocol writes them: one line, always in the same order."""
    return " ".join(scope for scope in ALL_SCOPES if scope in scopes)
