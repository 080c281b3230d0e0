"""The sign-off: what people do about a statement between its draft and its being paid, and who may.

::

    DRAFT --review--> REVIEWED --approve--> APPROVED --instruct--> INSTRUCTED --pay--> PAID --reconcile--> RECONCILED
      ^ |                |  ^ |                |                     |    ^
      | +-----reject-----+  | +--- (more needed)                     +----+ (more to be paid)
      |                  v  |                  |
      +-----------------REJECTED<---reject-----+

Rule 1. A statement is never changed. Every step names the hash of what it is about; what is wrong in a statement is put
right by an entry in a later period. So one that was rejected is reviewed anew as it is, when the objection is answered.
Rule 2. Who has ever reviewed a statement cannot approve it, nobody approves it twice, and who recorded a payment cannot
reconcile it. How many have to approve is a matter of the amount: of the *policy* in force when somebody approves.
Rule 3. What is paid is never more than what was approved. There is one payment, or several, for each currency with a
net; a statement that nets to nothing in all of them is paid as soon as it is instructed.
Rule 4. Every step is a *record*, and so is every version of the policy. Records are numbered, each names the one before
it by hash, and none is ever changed: whoever notes the last hash can tell later that all before it is as it was.

Two people who both may do a step can try at once: the one whose record comes first has done it. So the steps of all
statements are one sequence. They are few.

Pure: no driver, no clock. `store.signoff` writes what is decided here, and its writes refuse again what is refused
here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import Forbidden, InvalidSignOff, ValidationFailed
from exchange.journal import GENESIS, canonical, milliseconds
from exchange.settlement.netting import Position
from exchange.settlement.statement import Standing, Statement, StatementStatus

APPROVERS_MAX: Final = 9
TIERS_MAX: Final = 50


class SignOffStep(StrEnum):
    """What can be done about a statement."""

    REVIEW = "REVIEW"
    APPROVE = "APPROVE"
    REJECT = "REJECT"
    INSTRUCT = "INSTRUCT"
    PAY = "PAY"
    RECONCILE = "RECONCILE"


_S = StatementStatus
STEPS: Final[Mapping[SignOffStep, tuple[tuple[StatementStatus, ...], StatementStatus]]] = {
    SignOffStep.REVIEW: ((_S.DRAFT, _S.REJECTED), _S.REVIEWED),
    SignOffStep.APPROVE: ((_S.REVIEWED,), _S.APPROVED),
    SignOffStep.REJECT: ((_S.DRAFT, _S.REVIEWED, _S.APPROVED), _S.REJECTED),
    SignOffStep.INSTRUCT: ((_S.APPROVED,), _S.INSTRUCTED),
    SignOffStep.PAY: ((_S.INSTRUCTED,), _S.PAID),
    SignOffStep.RECONCILE: ((_S.PAID,), _S.RECONCILED),
}
"""From where a step may be taken, and where it leads when nothing more is needed."""

SETTLED: Final = (StatementStatus.PAID, StatementStatus.RECONCILED)
"""Of a statement that stands here nothing is owed any more."""


class Tier(NamedTuple):
    """From this net on, to either side, a statement needs so many approvers."""

    amount: Money
    approvers: int


class Policy(Struct, frozen=True):
    """How many have to approve a statement: one, and more by its tiers. Version 0 is before there was any."""

    tiers: tuple[Tier, ...] = ()
    version: int = 0

    def needed(self, totals: Iterable[Position]) -> int:
        """Return how many approvers a statement with these totals needs."""
        reached = (
            tier.approvers for total in totals for tier in self.tiers
            if tier.amount.currency == total.currency and abs(total.net.minor) >= tier.amount.minor
        )  # fmt: skip
        return max(reached, default=1)


def tiers_checked(tiers: Iterable[Tier]) -> tuple[Tier, ...]:
    """Return tiers in their order, by currency and amount; ValidationFailed for what none can be."""
    given = list(tiers)
    if len(given) > TIERS_MAX:
        raise ValidationFailed(f"must be at most {TIERS_MAX}", ("input", "tiers"))
    for index, tier in enumerate(given):
        where = ("input", "tiers", str(index))
        if tier.amount.minor < 0:
            raise ValidationFailed("must not be negative", (*where, "amount"))
        if not 1 <= tier.approvers <= APPROVERS_MAX:
            raise ValidationFailed(f"must be 1 to {APPROVERS_MAX}", (*where, "approvers"))
        if tier.amount in [other.amount for other in given[:index]]:
            raise ValidationFailed("there is another tier from this amount on", (*where, "amount"))
    return tuple(sorted(given, key=lambda tier: (tier.amount.currency, tier.amount.minor)))


class Asked(Struct, frozen=True, kw_only=True):
    """A step that somebody asks for. `statement`, `hash`: what the person has seen; `actor`: who it is.

    `note`: a reason, a reference, whatever should be kept; `amount`: of a payment, positive to whichever side.
    `key`: what makes it the same step when repeated; `fingerprint`: of all else that was asked.
    """

    step: SignOffStep
    statement: str
    hash: str
    actor: str
    key: str
    fingerprint: str
    note: str | None = None
    amount: Money | None = None


def decide(statement: Statement, asked: Asked, policy: Policy) -> Standing:
    """Return where the statement stands after a step, or refuse it."""
    standing, step, actor = statement.standing, asked.step, asked.actor
    begins, _ = STEPS[step]
    if asked.hash != statement.hash:
        raise ValidationFailed("is not the hash of this statement: read it again", ("input", "hash"))
    if standing.status not in begins:
        where = f"the statement is {standing.status.lower()}"
        raise InvalidSignOff(f"{where}, not {' or '.join(begins).lower()}", status=standing.status)
    if step is SignOffStep.APPROVE and actor in standing.prepared_by:
        raise Forbidden("whoever has reviewed a statement cannot approve it")
    if step is SignOffStep.APPROVE and actor in standing.approved_by:
        raise Forbidden("you have approved it: it needs somebody else besides")
    if step is SignOffStep.RECONCILE and actor in standing.paid_by:
        raise Forbidden("whoever has recorded a payment cannot reconcile it")
    if step is SignOffStep.PAY:
        standing = replace(standing, paid=_paid(statement, asked.amount), paid_by=_with(standing.paid_by, actor))
    # From here on it is done.
    after = _signed(standing, step, actor)
    return replace(after, status=_status(after, step, statement, policy), steps=standing.steps + 1)


def _signed(standing: Standing, step: SignOffStep, actor: str) -> Standing:
    match step:
        case SignOffStep.REVIEW:
            return replace(standing, prepared_by=_with(standing.prepared_by, actor))
        case SignOffStep.APPROVE:
            return replace(standing, approved_by=_with(standing.approved_by, actor))
        case SignOffStep.REJECT:
            return replace(standing, approved_by=())
        case _:
            return standing


def _status(after: Standing, step: SignOffStep, statement: Statement, policy: Policy) -> StatementStatus:
    """Return where a step leads: not to its end, if more approvals or more payments are needed."""
    if step is SignOffStep.APPROVE and len(after.approved_by) < policy.needed(statement.totals):
        return StatementStatus.REVIEWED
    if step in (SignOffStep.INSTRUCT, SignOffStep.PAY):
        nothing_left = all(left.minor == 0 for left in left_to_pay(statement.totals, after.paid))
        return StatementStatus.PAID if nothing_left else StatementStatus.INSTRUCTED
    return STEPS[step][1]


def left_to_pay(totals: Iterable[Position], paid: Iterable[Money]) -> list[Money]:
    """Return what is left to be paid in each currency, to whichever side."""
    so_far = {each.currency: each.minor for each in paid}
    return [Money(abs(each.net.minor) - so_far.get(each.currency, 0), each.currency) for each in totals]


def _paid(statement: Statement, amount: Money | None) -> tuple[Money, ...]:
    if amount is None or amount.minor <= 0:
        raise ValidationFailed("must be more than nothing", ("input", "amount"))
    left = {each.currency: each.minor for each in left_to_pay(statement.totals, statement.standing.paid)}
    if amount.minor > left.get(amount.currency, 0):
        most = decimal_from_minor(left.get(amount.currency, 0), amount.currency)
        raise ValidationFailed(f"is more than is left to be paid: {most} {amount.currency}", ("input", "amount"))
    so_far = {each.currency: each.minor for each in statement.standing.paid}
    so_far[amount.currency] = so_far.get(amount.currency, 0) + amount.minor
    return tuple(Money(minor, currency) for currency, minor in sorted(so_far.items()))


def _with(people: tuple[str, ...], actor: str) -> tuple[str, ...]:
    return people if actor in people else (*people, actor)


# ---------------------------------------------------------------- the log


class Record(Struct, frozen=True, kw_only=True):
    """One step that was taken, or with `step` None a version of the policy that was set.

    `seq` counts from 1; `prev` is the hash of the record before; `status`: where the statement stood afterwards.
    `policy`: the version in force (or set). `tiers`: of the policy that is set.
    """

    seq: int
    prev: str
    at: datetime
    actor: str
    key: str
    fingerprint: str
    policy: int
    step: SignOffStep | None = None
    statement: str | None = None
    statement_hash: str | None = None
    status: StatementStatus | None = None
    note: str | None = None
    amount: Money | None = None
    tiers: tuple[Tier, ...] = ()
    hash: str = ""

    def computed_hash(self) -> str:
        """Return the hash that the content has."""
        return sha256(canonical(self.content())).hexdigest()

    def content(self) -> dict[str, Any]:
        """Return what is hashed: every field but the hash."""
        return {
            "actor": self.actor, "amount": None if self.amount is None else _told(self.amount),
            "at": milliseconds(self.at), "fingerprint": self.fingerprint, "key": self.key, "note": self.note,
            "policy": self.policy, "prev": self.prev, "seq": self.seq, "statement": self.statement,
            "statement_hash": self.statement_hash, "status": self.status, "step": self.step,
            "tiers": [[*_told(tier.amount), tier.approvers] for tier in self.tiers],
        }  # fmt: skip


def recorded(before: Record | None, at: datetime, asked: Asked, after: Standing, policy: Policy) -> Record:
    """Return the record of a step, behind the one before it."""
    return _sealed(before, Record(
        seq=0, prev="", at=at, actor=asked.actor, key=asked.key, fingerprint=asked.fingerprint, policy=policy.version,
        step=asked.step, statement=asked.statement, statement_hash=asked.hash, status=after.status, note=asked.note,
        amount=asked.amount,
    ))  # fmt: skip


def policy_recorded(before: Record | None, at: datetime, actor: str, policy: Policy) -> Record:
    """Return the record of a new version of the policy."""
    version = f"policy {policy.version}"
    return _sealed(before, Record(
        seq=0, prev="", at=at, actor=actor, key=version, fingerprint="", policy=policy.version, tiers=policy.tiers,
    ))  # fmt: skip


def _sealed(before: Record | None, record: Record) -> Record:
    at = record.at if before is None else max(before.at, record.at)
    chained = replace(
        record, seq=1 if before is None else before.seq + 1, prev=GENESIS if before is None else before.hash, at=at
    )
    force_setattr(chained, "hash", chained.computed_hash())
    return chained


def _told(amount: Money) -> list[str]:
    return [amount.currency, str(amount.minor)]
