"""What can be asked of a wallet.

A command is a value that has passed authentication, scope and shape; whether it can be done is for `decisions` to
say. `id` is the keyed hash of (partner, subject, operation, idempotency key), so that the same request is the same
entry for ever; `fingerprint` is of its input as sent. What the caller named may not exist: None stands for an
identifier that was not one of the caller's.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from exchange.amounts import Money
from exchange.redemption import Step

Path = tuple[str, ...]


class ByReference(Struct, frozen=True):
    """A member by the partner's own reference of it."""

    partner: str
    reference: str


class ByWallet(Struct, frozen=True):
    """A member by its wallet's id, once the identifier that the caller sent was opened."""

    wallet: str


Whose = ByReference | ByWallet | None


class Command(Struct, frozen=True, kw_only=True):
    """What every command says: its identity, and the partner that brings it. `whose`: the wallet it is for."""

    id: str
    fingerprint: str
    partner: str
    whose: Whose


class Enrol(Command, frozen=True, kw_only=True):
    """First mention of a member by a partner; `whose` is by reference."""


class Award(Command, frozen=True, kw_only=True):
    """Points given by an issuer (`partner`); the member comes into being if it was never mentioned."""

    points: int
    expires_at: datetime | None = None
    active_from: datetime | None = None
    reason: str | None = None


class ReverseAward(Command, frozen=True, kw_only=True):
    """An issuer (`partner`) takes back what it awarded; `points` None: all of it."""

    lot: str | None
    points: int | None = None
    reason: str | None = None


class Extend(Command, frozen=True, kw_only=True):
    """An issuer gives a lot of its own more time; None: for ever."""

    lot: str | None
    expires_at: datetime | None
    reason: str | None = None


class Adjust(Command, frozen=True, kw_only=True):
    """Goodwill: an issuer gives (or, negative, takes) points outside its awards. `actor`: who of it decided that."""

    points: int
    reason: str
    actor: str
    expires_at: datetime | None = None


class Freeze(Command, frozen=True, kw_only=True):
    """Stops, or with `frozen` False lets go on, spending from a wallet or, where `lot` names one, from that lot."""

    frozen: bool
    reason: str
    actor: str
    lot: str | None = None
    by_exchange: bool = False


class Between(Command, frozen=True, kw_only=True):
    """A command that concerns a second wallet: `to`."""

    to: Whose


class Give(Between, frozen=True, kw_only=True):
    """Points from member to member, both known to the partner that brings it."""

    points: int
    reason: str | None = None
    by_member: bool = False


class Merge(Between, frozen=True, kw_only=True):
    """The member that asks becomes the one (`to`) that gave it a code, good until `permitted_until`.

    `permitted_through`: the partner through which the code was asked for.
    """

    permitted_until: datetime | None
    permitted_through: str


class Unmerge(Between, frozen=True, kw_only=True):
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


class Share(Between, frozen=True, kw_only=True):
    """A member founds, joins or leaves a household, pays `points` into its pool (`to`), or draws them out of it."""

    what: Sharing
    points: int = 0
    by_member: bool = False
    invited_until: datetime | None = None


class Redeem(Command, frozen=True, kw_only=True):
    """A benefit taken through a channel (`partner`). `by_member`: with the member's own token; `quote`: its id."""

    benefit: str | None
    quantity: int = 1
    expected_points: int | None = None
    region: str | None = None
    by_member: bool = False
    quote: str | None = None


class Reserve(Redeem, frozen=True, kw_only=True):
    """A benefit held for a channel, for so many seconds."""

    ttl_seconds: int = 300


class Act(Command, frozen=True, kw_only=True):
    """A step of a redemption; its wallet is the redemption's, so `whose` is None.

    `quantity` None: all of it. `by_wallet`: the member that asks with its own token; `by_exchange`: the operator.
    """

    redemption: str | None
    step: Step
    quantity: int | None = None
    reason: str | None = None
    by_wallet: str | None = None
    by_exchange: bool = False


class LinkMember(Command, frozen=True, kw_only=True):
    """A second partner's reference for a wallet that its member gave a link code for."""

    reference: str
    daily_limit: int | None
    code_made_at: datetime
    code_expires_at: datetime


class Unlink(Command, frozen=True, kw_only=True):
    """The member ends its link to `ended`."""

    ended: str | None


class Expire(Command, frozen=True, kw_only=True):
    """What is left of a lot whose time is over."""

    lot: str


class AdjustLine(Command, frozen=True, kw_only=True):
    """Money of a statement line that was disputed goes from `payer` to the partner that disputed it (`partner`).

    `whose`: the account of that line, a wallet of nobody's and without points, which knows how much was adjusted by
    which dispute. `net`: the line's; `entry` and `line`: where it stands in the journal; `statement_hash`: of the
    statement that it is in; `record`: of the dispute's history, when it was decided.
    """

    payer: str
    amount: Money
    net: Money
    dispute: str
    record: str
    statement: str
    statement_hash: str
    entry: str
    line: int
    benefit: str | None = None
