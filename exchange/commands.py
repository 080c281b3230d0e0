"""What can be asked of a wallet.

A command is a value that has passed authentication, scope and shape; whether it can be done is for `decisions` to
say. `id` is the keyed hash of (partner, subject, operation, idempotency key), so that the same request is the same
entry for ever; `fingerprint` is of its input as sent. What the caller named may not exist: None stands for an
identifier that was not one of the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

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
    active_from: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseAward(Command):
    """An issuer (`partner`) takes back what it awarded; `points` None: all of it."""

    lot: str | None
    points: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extend(Command):
    """An issuer gives a lot of its own more time; None: for ever."""

    lot: str | None
    expires_at: datetime | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust(Command):
    """Goodwill: an issuer gives (or, negative, takes) points outside its awards. `actor`: who of it decided that."""

    points: int
    reason: str
    actor: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze(Command):
    """Stops, or with `frozen` False lets go on, spending from a wallet or, where `lot` names one, from that lot."""

    frozen: bool
    reason: str
    actor: str
    lot: str | None = None
    by_exchange: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Between(Command):
    """A command that concerns a second wallet: `to`."""

    to: Whose


@dataclass(frozen=True, slots=True, kw_only=True)
class Give(Between):
    """Points from member to member, both known to the partner that brings it."""

    points: int
    reason: str | None = None
    by_member: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Between):
    """The member that asks becomes the one (`to`) that gave it a code, good until `permitted_until`."""

    permitted_until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmerge(Between):
    """The member (`to`) that was merged last into this one goes its own way again."""

    reason: str | None = None
    by_exchange: bool = False


class Sharing(StrEnum):
    """What a member can do with a household's pool of points."""

    FOUND = "FOUND"
    JOIN = "JOIN"
    LEAVE = "LEAVE"
    PAY_IN = "PAY_IN"
    DRAW = "DRAW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share(Between):
    """A member founds, joins or leaves a household, pays `points` into its pool (`to`), or draws them out of it."""

    what: Sharing
    points: int = 0
    by_member: bool = False
    invited_until: datetime | None = None


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
