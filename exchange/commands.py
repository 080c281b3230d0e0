"""What can be asked of a wallet.

A command is a value that has passed authentication, scope and shape; whether it can be done is for `decisions` to
say. `id` is the keyed hash of (partner, subject, operation, idempotency key), so that the same request is the same
entry for ever; `fingerprint` is of its input as sent. What the caller named may not exist: None stands for an
identifier that was not one of the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from exchange.redemption import Step

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ByReference:
    """A member by the partner's own reference of it."""

    partner: str
    reference: str


@dataclass(frozen=True, slots=True)
class ByWallet:
    """A member by its wallet's id, once the identifier that the caller sent was opened."""

    wallet: str


Whose = ByReference | ByWallet | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command says: its identity, and the partner that brings it. `whose`: the wallet it is for."""

    id: str
    fingerprint: str
    partner: str
    whose: Whose


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrol(Command):
    """First mention of a member by a partner; `whose` is by reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Award(Command):
    """Points given by an issuer (`partner`); the member comes into being if it was never mentioned."""

    points: int
    expires_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeem(Command):
    """A benefit taken through a channel (`partner`). `by_member`: with the member's own token; `quote`: its id."""

    benefit: str | None
    quantity: int = 1
    expected_points: int | None = None
    region: str | None = None
    by_member: bool = False
    quote: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve(Redeem):
    """A benefit held for a channel, for so many seconds."""

    ttl_seconds: int = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Act(Command):
    """A step of a redemption; its wallet is the redemption's, so `whose` is None.

    `quantity` None: all of it. `by_wallet`: the member that asks with its own token; `by_exchange`: the operator.
    """

    redemption: str | None
    step: Step
    quantity: int | None = None
    reason: str | None = None
    by_wallet: str | None = None
    by_exchange: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMember(Command):
    """A second partner's reference for a wallet that its member gave a link code for."""

    reference: str
    daily_limit: int | None
    code_made_at: datetime
    code_expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlink(Command):
    """The member ends its link to `ended`."""

    ended: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(Command):
    """What is left of a lot whose time is over."""

    lot: str
