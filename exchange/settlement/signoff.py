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
Rule 3. What is paid is never more than what is *due*, and what is due is fixed when the statement is instructed. Where
a netting of its period is recorded, that is the netting's payments to the partner and by it; else each net of its
totals, through the exchange. One of which nothing is due is paid as soon as it is instructed. So a period is paid in
one way: recording a netting is refused once a statement of it is instructed (`recorded`, rule 4).
Rule 4. Whoever approves behind a recorded netting approves what is due by it too, so that has to have its approvals: a
parent pays for its group, and a carried amount can be greater than the net.
Rule 5. Who was taken out of the netting is not instructed; nor is anybody while the netting before carries something
that only a recorded netting of this period would take in.
Rule 6. Every step is a *record*, and so is every version of the policy. Records are numbered, each names the one before
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
from exchange.settlement.netting import Payment, Position
from exchange.settlement.recorded import RecordedNetting
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

FIXED: Final = (StatementStatus.INSTRUCTED, *SETTLED)
"""What is due of a statement that stands here is fixed."""


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
        return self.needed_for(total.net for total in totals)

    def needed_for(self, amounts: Iterable[Money]) -> int:
        """Return how many approvers amounts need, to whichever side."""
        reached = (
            tier.approvers for amount in amounts for tier in self.tiers
            if tier.amount.currency == amount.currency and abs(amount.minor) >= tier.amount.minor
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


class Due(Struct, frozen=True):
    """What is to be paid of a statement: by the netting with this hash, or None: what its totals come to.

    `refusal`: why it cannot be instructed.
    """

    payments: tuple[Payment, ...]
    netting: str | None = None
    refusal: str | None = None


def due_of(statement: Statement, netting: RecordedNetting | None, before: RecordedNetting | None) -> Due:
    """Return what is due of a statement before it is instructed. `netting`: its period's; `before`: the last before."""
    number, partner = statement.period, statement.partner
    refusal = None
    if netting is None:
        if before is not None and not before.carried.nothing:
            refusal = f"the netting of period {before.period} carries something: record that of period {number} first"
        return Due(statement.due, refusal=refusal)
    if partner in netting.policy.without:
        refusal = f"{partner} was taken out of the netting of period {number}: nothing is due of it"
    own = tuple(payment for payment in netting.payments if partner in (payment.from_, payment.to))
    return Due(own, netting.hash, refusal)


def approvers_needed(policy: Policy, statement: Statement, due: Due) -> int:
    """Return how many have to approve a statement: by its totals, and by what is due of it."""
    return max(policy.needed(statement.totals), policy.needed_for(whole(due.payments)))


def whole(payments: Iterable[Payment]) -> list[Money]:
    """Return what is to be paid in each currency, to whichever side."""
    sums: dict[str, int] = {}
    for payment in payments:
        minor, currency = payment.amount
        sums[currency] = sums.get(currency, 0) + minor
    return [Money(minor, currency) for currency, minor in sorted(sums.items())]


def decide(statement: Statement, asked: Asked, policy: Policy, due: Due | None = None) -> Standing:
    """Return where the statement stands after a step, or refuse it. `due`: of `due_of`; None: its totals."""
    due = Due(statement.due) if due is None else due
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
    if step is SignOffStep.INSTRUCT:
        _check_due(statement, policy, due)
        standing = replace(standing, due=due.payments)
    if step is SignOffStep.PAY:
        standing = replace(standing, paid=_paid(statement, asked.amount), paid_by=_with(standing.paid_by, actor))
    # From here on it is done.
    after = _signed(standing, step, actor)
    needed = approvers_needed(policy, statement, due)
    return replace(after, status=_status(after, step, statement, needed), steps=standing.steps + 1)


def _check_due(statement: Statement, policy: Policy, due: Due) -> None:
    if due.refusal is not None:
        raise InvalidSignOff(due.refusal, status=statement.status)
    # Of its totals alone it has had its approvals, by the policy of then.
    needed, has = approvers_needed(policy, statement, due), len(statement.standing.approved_by)
    if due.netting is not None and has < needed:
        message = f"what is due by the netting needs {needed} approvals, and it has {has}: reject it, and begin anew"
        raise InvalidSignOff(message, status=statement.status)


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


def _status(after: Standing, step: SignOffStep, statement: Statement, needed: int) -> StatementStatus:
    """Return where a step leads: not to its end, if more approvals or more payments are needed."""
    if step is SignOffStep.APPROVE and len(after.approved_by) < needed:
        return StatementStatus.REVIEWED
    if step in (SignOffStep.INSTRUCT, SignOffStep.PAY):
        nothing_left = all(left.minor == 0 for left in left_to_pay(replace(statement, standing=after)))
        return StatementStatus.PAID if nothing_left else StatementStatus.INSTRUCTED
    return STEPS[step][1]


def left_to_pay(statement: Statement) -> list[Money]:
    """Return what is left to be paid of what is due in each currency, to whichever side."""
    so_far = {each.currency: each.minor for each in statement.standing.paid}
    return [Money(minor - so_far.get(currency, 0), currency) for minor, currency in whole(statement.due)]


def _paid(statement: Statement, amount: Money | None) -> tuple[Money, ...]:
    if amount is None or amount.minor <= 0:
        raise ValidationFailed("must be more than nothing", ("input", "amount"))
    left = {each.currency: each.minor for each in left_to_pay(statement)}
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
    `policy`: the version in force (or set). `tiers`: of the policy that is set. `due`: what was instructed, and of an
    approval behind a recorded netting what is due by that; `netting`: the hash of the netting.
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
    due: tuple[Payment, ...] | None = None
    netting: str | None = None
    hash: str = ""

    def computed_hash(self) -> str:
        """Return the hash that the content has."""
        return sha256(canonical(self.content())).hexdigest()

    def content(self) -> dict[str, Any]:
        """Return what is hashed: every field but the hash. What is due, and by what, is there only if it was said."""
        due = {} if self.due is None else {"due": [_leg(each) for each in self.due]}
        netting = {} if self.netting is None else {"netting": self.netting}
        return due | netting | {
            "actor": self.actor, "amount": None if self.amount is None else _told(self.amount),
            "at": milliseconds(self.at), "fingerprint": self.fingerprint, "key": self.key, "note": self.note,
            "policy": self.policy, "prev": self.prev, "seq": self.seq, "statement": self.statement,
            "statement_hash": self.statement_hash, "status": self.status, "step": self.step,
            "tiers": [[*_told(tier.amount), tier.approvers] for tier in self.tiers],
        }  # fmt: skip


def recorded(
    before: Record | None, at: datetime, asked: Asked, after: Standing, policy: Policy, due: Due | None = None
) -> Record:  # fmt: skip
    """Return the record of a step, behind the one before it. `due`: what it was decided by."""
    netting = None if due is None else due.netting
    told = after.due if asked.step is SignOffStep.INSTRUCT else None
    if asked.step is SignOffStep.APPROVE and due is not None and netting is not None:
        told = due.payments
    return _sealed(before, Record(
        seq=0, prev="", at=at, actor=asked.actor, key=asked.key, fingerprint=asked.fingerprint, policy=policy.version,
        step=asked.step, statement=asked.statement, statement_hash=asked.hash, status=after.status, note=asked.note,
        amount=asked.amount, due=told, netting=None if told is None else netting,
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


def _leg(payment: Payment) -> list[str]:
    return [payment.from_, payment.to, *_told(payment.amount)]
