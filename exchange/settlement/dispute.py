"""The dispute: a partner says that a line of its statement is wrong, and what comes of that.

::

    OPENED --answer--> ANSWERED          three rounds of these; the third answer leads to
      ^                    |
      +-------reply--------+             REFERRED, where finance has the last word

    OPENED, ANSWERED, REFERRED --withdraw--> WITHDRAWN     by who opened it
    OPENED, ANSWERED, REFERRED --concede---> UPHELD        by the other side: all that is claimed
    ANSWERED, REFERRED         --uphold----> UPHELD        by finance: all of it or a part
    ANSWERED, REFERRED         --reject----> REJECTED      by finance
    OPENED   --deadline passes--> UPHELD     the other side had to answer, and has not: all that is claimed
    ANSWERED --deadline passes--> REJECTED   who opened it had to reply, and has not

Rule 1. A statement is never changed. A dispute that is UPHELD ends in an *adjustment*: an entry of the period that is
then open, by which the other side pays who opened the dispute. It names statement, hash and line. Nothing else of the
line changes: its fee and commissions stay, and a member's points are never concerned.
Rule 2. A line is disputed by one dispute at a time, and what was decided is not claimed again: all claims about a line,
upheld or not, come to no more than its net. Only what was withdrawn before it was answered counts for nothing. Lines
that are themselves adjustments are not disputed. There has to be an end: who could open a rejected dispute again and
again would only have to wait until the other side misses a deadline.
Rule 3. A *deadline* decides against whoever had to act. It is judged by the database's clock, whoever asks: a dispute
whose deadline has passed is over, also if nobody has written that down yet. Finance has no deadline.
Rule 4. Each step is a *record*, appended and never changed, and its hash covers all before it. The adjustment names the
hash of the record that decided. (The log of the sign-off would have put partners' words among the steps of finance, and
let all disputes of everybody wait for one another.)

What the other side has to know of a line is in its own statement; neither is shown the other's.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import Forbidden, InvalidDispute, ValidationFailed
from exchange.journal import EXCHANGE, GENESIS, LineKind, canonical, milliseconds

ROUNDS_MAX: Final = 3
RESPONSE: Final = timedelta(days=14)
"""How long whoever has to act next may take."""


class DisputeReason(StrEnum):
    """Why a line should be wrong."""

    DUPLICATE = "DUPLICATE"
    NOT_DELIVERED = "NOT_DELIVERED"
    NOT_OURS = "NOT_OURS"
    WRONG_AMOUNT = "WRONG_AMOUNT"
    RETURNED = "RETURNED"
    OTHER = "OTHER"


class DisputeStatus(StrEnum):
    """Where a dispute stands."""

    OPENED = "OPENED"
    ANSWERED = "ANSWERED"
    REFERRED = "REFERRED"
    UPHELD = "UPHELD"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class DisputeStep(StrEnum):
    """What can be done in a dispute. Nobody takes a LAPSE: it is what a deadline does."""

    OPEN = "OPEN"
    ANSWER = "ANSWER"
    REPLY = "REPLY"
    WITHDRAW = "WITHDRAW"
    CONCEDE = "CONCEDE"
    UPHOLD = "UPHOLD"
    REJECT = "REJECT"
    LAPSE = "LAPSE"


_S = DisputeStatus
LIVE: Final = (_S.OPENED, _S.ANSWERED, _S.REFERRED)
STEPS: Final[Mapping[DisputeStep, tuple[tuple[DisputeStatus, ...], DisputeStatus]]] = {
    DisputeStep.ANSWER: ((_S.OPENED,), _S.ANSWERED),
    DisputeStep.REPLY: ((_S.ANSWERED,), _S.OPENED),
    DisputeStep.WITHDRAW: (LIVE, _S.WITHDRAWN),
    DisputeStep.CONCEDE: (LIVE, _S.UPHELD),
    DisputeStep.UPHOLD: ((_S.ANSWERED, _S.REFERRED), _S.UPHELD),
    DisputeStep.REJECT: ((_S.ANSWERED, _S.REFERRED), _S.REJECTED),
}
"""From where a step may be taken, and where it leads, except that the last answer leads to REFERRED."""
LAPSES: Final = {_S.OPENED: _S.UPHELD, _S.ANSWERED: _S.REJECTED}
"""What a deadline makes of a dispute."""


class DisputedLine(Struct, frozen=True, kw_only=True):
    """A line of a partner's statement, signed from its side.

    `entry` is the journal's own id; `n` counts the lines that the entry has in this statement, from 0.
    """

    statement: str
    statement_hash: str
    period: int
    partner: str
    counterparty: str
    entry: str
    n: int
    kind: LineKind
    at: datetime
    benefit: str | None
    net: Money

    @property
    def id(self) -> str:
        """What tells it from every other line."""
        return f"{self.statement}/{self.entry}/{self.n}"


class Asked(Struct, frozen=True, kw_only=True):
    """A step that somebody asks for. `party`: the partner, or the exchange for finance; `actor`: who of it.

    `text`, `link`, `digest`: what is said, where more of it is, and the SHA-256 of that. `award`: how much is upheld.
    `key`: what makes it the same step when repeated; `fingerprint`: of all else that was asked.
    """

    step: DisputeStep
    party: str
    actor: str
    key: str
    fingerprint: str
    text: str | None = None
    link: str | None = None
    digest: str | None = None
    award: Money | None = None

    def awarding(self, award: Money) -> Asked:
        """Return it with how much is upheld."""
        return replace(self, award=award)


class DisputeRecord(Struct, frozen=True, kw_only=True):
    """One step that was taken, and where the dispute stands since. `deadline`: until when somebody has to act.

    `award`: what is to be adjusted, of the step that upheld it. `hash`: over this and all before it.
    """

    step: DisputeStep
    party: str
    actor: str
    at: datetime
    status: DisputeStatus
    key: str
    fingerprint: str
    text: str | None = None
    link: str | None = None
    digest: str | None = None
    award: Money | None = None
    deadline: datetime | None = None
    hash: str = ""

    def computed_hash(self, prev: str) -> str:
        """Return the hash that it has behind the record, or the head of a dispute, with this hash."""
        said = {
            "actor": self.actor, "at": milliseconds(self.at), "award": _told(self.award),
            "deadline": None if self.deadline is None else milliseconds(self.deadline), "digest": self.digest,
            "fingerprint": self.fingerprint, "key": self.key, "link": self.link, "party": self.party, "prev": prev,
            "status": self.status, "step": self.step, "text": self.text,
        }  # fmt: skip
        return sha256(canonical(said)).hexdigest()


class Dispute(Struct, frozen=True, kw_only=True):
    """A dispute, with all its records. `number`: which it is of its line, from 1; `claim`: what it is about.

    `adjustment`: the entry that carried it out, in `adjusted_in`, the period of that.
    """

    id: str
    line: DisputedLine
    number: int
    reason: DisputeReason
    claim: Money
    records: tuple[DisputeRecord, ...]
    adjustment: str | None = None
    adjusted_in: int | None = None

    @property
    def last(self) -> DisputeRecord:
        """The last record: where it stands."""
        return self.records[-1]

    @property
    def status(self) -> DisputeStatus:
        """Where it stands."""
        return self.last.status

    @property
    def live(self) -> bool:
        """Whether it is not decided yet."""
        return self.status in LIVE

    @property
    def version(self) -> int:
        """How many records there are."""
        return len(self.records)

    @property
    def round(self) -> int:
        """Which round it is in, from 1."""
        return 1 + sum(record.step is DisputeStep.REPLY for record in self.records)

    @property
    def deadline(self) -> datetime | None:
        """Until when somebody has to act; None: nobody is waited for, but perhaps finance."""
        return self.last.deadline

    @property
    def award(self) -> Money | None:
        """What was upheld of it."""
        return self.last.award

    @property
    def counts(self) -> bool:
        """Whether its claim is used up: unless it was taken back before anybody had answered it."""
        answered = any(record.step is DisputeStep.ANSWER for record in self.records)
        return answered or self.status is not _S.WITHDRAWN

    @property
    def waiting_for(self) -> str | None:
        """The party that has to act."""
        waits = {_S.OPENED: self.line.counterparty, _S.ANSWERED: self.line.partner, _S.REFERRED: EXCHANGE}
        return waits.get(self.status)

    @property
    def parties(self) -> tuple[str, str]:
        """Who disputes it, and with whom."""
        return (self.line.partner, self.line.counterparty)

    def head(self) -> str:
        """Return the hash of what the dispute is about: the first record stands behind it."""
        line = self.line
        about = {
            "at": milliseconds(line.at), "benefit": line.benefit, "claim": _told(self.claim),
            "counterparty": line.counterparty, "dispute": self.id, "entry": line.entry, "kind": line.kind,
            "line": line.n, "net": _told(line.net), "number": self.number, "partner": line.partner,
            "period": line.period, "prev": GENESIS, "reason": self.reason, "statement": line.statement,
            "statement_hash": line.statement_hash,
        }  # fmt: skip
        return sha256(canonical(about)).hexdigest()

    def appended(self, record: DisputeRecord) -> Dispute:
        """Return it with one more record, chained to those before."""
        chained = replace(record)
        force_setattr(chained, "hash", record.computed_hash(self.records[-1].hash if self.records else self.head()))
        return replace(self, records=(*self.records, chained))


def left_of(line: DisputedLine, earlier: Sequence[Dispute]) -> int:
    """Return how much of a line's net, in minor units, no dispute has claimed."""
    return abs(line.net.minor) - sum(each.claim.minor for each in earlier if each.counts)


def opened(
    dispute_id: str, line: DisputedLine, reason: DisputeReason, claim: Money, asked: Asked, earlier: Sequence[Dispute],
    now: datetime, within: timedelta = RESPONSE,
) -> Dispute:  # fmt: skip
    """Return a new dispute, or refuse it. `earlier`: all of this line, as they stand now."""
    if line.kind is LineKind.ADJUSTMENT:
        raise ValidationFailed("is an adjustment, which ended a dispute: it cannot be disputed", ("input", "entry"))
    if line.counterparty in (line.partner, EXCHANGE):
        raise ValidationFailed("has no partner on its other side", ("input", "entry"))
    for each in earlier:
        if each.live:
            raise InvalidDispute("there is a dispute about this line already", ("input", "entry"), status=each.status)
    left = left_of(line, earlier)
    if left <= 0:
        raise ValidationFailed("was disputed and decided, all of it: nothing is left to claim", ("input", "entry"))
    if claim.currency != line.net.currency or not 0 < claim.minor <= left:
        most = decimal_from_minor(left, line.net.currency)
        raise ValidationFailed(f"must be more than nothing and at most {most} {line.net.currency}", ("input", "amount"))
    # From here on it is opened.
    dispute = Dispute(id=dispute_id, line=line, number=len(earlier) + 1, reason=reason, claim=claim, records=())
    return dispute.appended(_record(asked, DisputeStep.OPEN, DisputeStatus.OPENED, now, deadline=now + within))


def as_of(dispute: Dispute, now: datetime) -> Dispute:
    """Return the dispute as it is at a moment: decided by its deadline, if that has passed."""
    status = LAPSES.get(dispute.status)
    if status is None or dispute.deadline is None or now < dispute.deadline:
        return dispute
    award = dispute.claim if status is DisputeStatus.UPHELD else None
    return dispute.appended(DisputeRecord(
        step=DisputeStep.LAPSE, party=EXCHANGE, actor=EXCHANGE, at=dispute.deadline, status=status, award=award,
        key=f"lapse {dispute.id}", fingerprint="",
    ))  # fmt: skip


def decide(dispute: Dispute, asked: Asked, now: datetime, within: timedelta = RESPONSE) -> Dispute:
    """Return what a step makes of a dispute, or refuse it. An answer of who opened it is a reply."""
    standing = as_of(dispute, now)
    step = _step_of(standing, asked)
    begins, leads = STEPS[step]
    if standing.status not in begins:
        raise InvalidDispute(_why_not(standing), status=standing.status)
    award = None
    if leads is DisputeStatus.UPHELD:
        award = standing.claim if step is DisputeStep.CONCEDE or asked.award is None else asked.award
        if award.currency != standing.claim.currency or not 0 < award.minor <= standing.claim.minor:
            most = decimal_from_minor(*standing.claim)
            message = f"must be more than nothing and at most {most} {standing.claim.currency}"
            raise ValidationFailed(message, ("input", "amount"))
    # From here on it is done.
    if step is DisputeStep.ANSWER and standing.round == ROUNDS_MAX:
        leads = DisputeStatus.REFERRED
    at = max(now, standing.last.at)  # the clock of a primary that takes over can be behind
    deadline = at + within if leads in LAPSES else None
    return standing.appended(_record(asked, step, leads, at, award=award, deadline=deadline))


def _step_of(dispute: Dispute, asked: Asked) -> DisputeStep:
    """Return which step it is, of who takes it; Forbidden where that is not theirs."""
    step, opener = asked.step, asked.party == dispute.line.partner
    if step is DisputeStep.ANSWER and opener:
        return DisputeStep.REPLY
    if step is DisputeStep.WITHDRAW and not opener:
        raise Forbidden("only who opened a dispute withdraws it: you can concede it")
    if step is DisputeStep.CONCEDE and opener:
        raise Forbidden("only the other side concedes a dispute: you can withdraw it")
    return step


def _why_not(dispute: Dispute) -> str:
    where = f"the dispute is {dispute.status.lower()}"
    waits = dispute.waiting_for
    return where if waits is None else f"{where}: it waits for {'finance' if waits == EXCHANGE else waits}"


def _record(
    asked: Asked, step: DisputeStep, status: DisputeStatus, now: datetime, *,
    award: Money | None = None, deadline: datetime | None = None,
) -> DisputeRecord:  # fmt: skip
    return DisputeRecord(
        step=step, party=asked.party, actor=asked.actor, at=now, status=status, key=asked.key,
        fingerprint=asked.fingerprint, text=asked.text, link=asked.link, digest=asked.digest, award=award,
        deadline=deadline,
    )  # fmt: skip


def _told(amount: Money | None) -> list[str] | None:
    return None if amount is None else [amount.currency, str(amount.minor)]
