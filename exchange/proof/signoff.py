"""The second opinion on the sign-off: what the log says was done, followed again from its beginning.

It knows who may do what after what by a table of its own, works out what is due itself, of a statement's totals or of
the recorded netting of its period, adds up payments, and then holds every statement against what the log makes of it.
Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from exchange.journal import EXCHANGE, GENESIS
from exchange.settlement.netting import Payment
from exchange.settlement.period import Period
from exchange.settlement.recorded import RecordedNetting
from exchange.settlement.signoff import Record
from exchange.settlement.statement import Statement

_FOLLOWS: Final = {
    ("DRAFT", "REVIEW"), ("REJECTED", "REVIEW"), ("REVIEWED", "APPROVE"), ("DRAFT", "REJECT"), ("REVIEWED", "REJECT"),
    ("APPROVED", "REJECT"), ("APPROVED", "INSTRUCT"), ("INSTRUCTED", "PAY"), ("PAID", "RECONCILE"),
}  # fmt: skip
_LEADS: Final = {
    "REVIEW": "REVIEWED", "APPROVE": "APPROVED", "REJECT": "REJECTED", "INSTRUCT": "INSTRUCTED", "PAY": "PAID",
    "RECONCILE": "RECONCILED",
}  # fmt: skip
_PAID: Final = ("PAID", "RECONCILED")

_Leg = tuple[str, str, str, int]
"""Who pays whom, in which currency, how much."""


@dataclass(slots=True)
class _Life:
    """What the log has made of one statement so far."""

    status: str = "DRAFT"
    reviewers: set[str] = field(default_factory=set)
    approvers: list[str] = field(default_factory=list)
    paid: Counter[str] = field(default_factory=Counter)
    payers: set[str] = field(default_factory=set)
    steps: int = 0
    due: list[_Leg] | None = None
    fixed: bool = False


class LogJudge:
    """Follows the log record by record; `statements` are all there are, and `nettings` all that are recorded."""

    def __init__(self, statements: Iterable[Statement], nettings: Iterable[RecordedNetting] = ()) -> None:
        self._nettings = {netting.period: netting for netting in nettings}
        self._statements = {statement.id: statement for statement in statements}
        self._lives: dict[str, _Life] = {}
        self._before: Record | None = None
        self._version = 0
        self._tiers: list[tuple[str, int, int]] = []

    def take(self, record: Record) -> Iterator[str]:
        """Say what is wrong with the next record."""
        here = f"record {record.seq} of the sign-off"
        yield from (f"{here} {what}" for what in self._chain(record))
        if record.step is None:
            yield from (f"{here} {what}" for what in self._policy(record))
        else:
            yield from (f"{here} {what}" for what in self._step(record))

    def end(self, periods: Iterable[Period]) -> Iterator[str]:
        """Say which statements and periods are not where the log leaves them."""
        for statement in self._statements.values():
            life = self._lives.get(statement.id, _Life())
            stands = statement.standing
            if stands.status != life.status:
                yield f"statement {statement.id} says that it is {stands.status}, by its log it is {life.status}"
            hands = (set(stands.prepared_by), list(stands.approved_by), set(stands.paid_by), stands.steps)
            if hands != (life.reviewers, life.approvers, life.payers, life.steps):
                yield f"statement {statement.id} names other people than its log"
            if {each.currency: each.minor for each in stands.paid} != dict(life.paid):
                yield f"statement {statement.id} says that other sums were paid than its log"
            if (None if stands.due is None else _legs(stands.due)) != (life.due if life.fixed else None):
                yield f"statement {statement.id} says that other sums are due than its log"
        paid: dict[int, list[bool]] = {}
        for statement in self._statements.values():
            paid.setdefault(statement.period, []).append(statement.standing.status in _PAID)
        for period in periods:
            of_it = paid.get(period.number, [])
            settled = bool(of_it) and all(of_it) and period.statements == len(of_it)
            if settled != (period.status == "SETTLED"):
                so_far = f"{sum(of_it)} of its {len(of_it)} statements are paid"
                yield f"period {period.number} is {period.status}, and {so_far}"

    def _chain(self, record: Record) -> Iterator[str]:
        before = self._before
        expected, prev = (1, GENESIS) if before is None else (before.seq + 1, before.hash)
        if record.seq != expected:
            yield f"stands where {expected} should"
        if record.prev != prev:
            yield "does not name the record before it"
        if record.hash != record.computed_hash():
            yield "does not have its hash"
        if before is not None and record.at < before.at:
            yield "is earlier than the one before it"
        self._before = record

    def _policy(self, record: Record) -> Iterator[str]:
        self._version += 1
        if record.policy != self._version or record.statement is not None:
            yield f"should set version {self._version} of the policy"
        self._tiers = [(tier.amount.currency, tier.amount.minor, tier.approvers) for tier in record.tiers]

    def _step(self, record: Record) -> Iterator[str]:
        statement = self._statements.get(record.statement or "")
        if statement is None:
            yield f"is about statement {record.statement}, which is not there"
            return
        life = self._lives.setdefault(statement.id, _Life())
        life.steps += 1
        if record.statement_hash != statement.hash:
            yield f"is about another hash than that of statement {statement.id}"
        if record.policy != self._version:
            yield f"goes by version {record.policy} of the policy, {self._version} was in force"
        if (life.status, record.step) not in _FOLLOWS:
            yield f"is a {record.step} of statement {statement.id}, which was {life.status}"
        yield from self._people(record, life)
        yield from self._due(record, statement, life)
        due = Counter[str]()
        for _, _, currency, minor in _by_totals(statement) if life.due is None else life.due:
            due[currency] += minor
        if record.amount is not None:
            life.paid[record.amount.currency] += record.amount.minor
            if record.amount.minor <= 0 or life.paid[record.amount.currency] > due[record.amount.currency]:
                yield f"pays more of statement {statement.id} than is due"
        if record.status != self._leads(record, life, self._wanted(record, statement), due):
            yield f"says that statement {statement.id} is {record.status} then"
        life.status = str(record.status)

    def _due(self, record: Record, statement: Statement, life: _Life) -> Iterator[str]:
        """Hold what a record says is due against the netting of the period, and keep what is instructed."""
        step = str(record.step)
        if record.due is None:
            # As it was before there was a choice: what the totals come to.
            if record.netting is not None:
                yield "names a netting, and not what is due by it"
            return
        right = _by_totals(statement) if record.netting is None else self._by_netting(statement)
        if _legs(record.due) != right:
            yield f"says that other sums are due of statement {statement.id}"
        if step == "INSTRUCT":
            life.due, life.fixed = _legs(record.due), True
            yield from self._instructed(record, statement, life)
        elif step != "APPROVE" or record.netting is None:
            yield f"is a {step}, and says what is due"

    def _by_netting(self, statement: Statement) -> list[_Leg]:
        netting = self._nettings.get(statement.period)
        of_all = () if netting is None else netting.payments
        return _legs(each for each in of_all if statement.partner in (each.from_, each.to))

    def _instructed(self, record: Record, statement: Statement, life: _Life) -> Iterator[str]:
        netting, what = self._nettings.get(statement.period), f"instructs statement {statement.id}"
        if record.netting != (None if netting is None else netting.hash):
            yield f"{what} by another netting than that of its period"
        if netting is None:
            before = max((number for number in self._nettings if number < statement.period), default=None)
            if before is not None and not self._nettings[before].carried.nothing:
                yield f"{what}, and leaves out what is carried into its period"
            return
        if statement.partner in netting.policy.without:
            yield f"{what}, which was taken out of the netting"
        if len(life.approvers) < self._wanted(record, statement):
            yield f"{what} with fewer approvals than it needs"

    def _people(self, record: Record, life: _Life) -> Iterator[str]:
        who = record.actor
        match str(record.step):
            case "REVIEW":
                life.reviewers.add(who)
            case "APPROVE":
                if who in life.reviewers:
                    yield "is an approval by who reviewed it"
                if who in life.approvers:
                    yield "is a second approval by the same"
                life.approvers.append(who)
            case "REJECT":
                life.approvers.clear()
            case "PAY":
                if record.amount is None:
                    yield "pays nothing"
                life.payers.add(who)
            case "RECONCILE":
                if who in life.payers:
                    yield "reconciles what the same recorded"

    def _wanted(self, record: Record, statement: Statement) -> int:
        """Return how many approvals are wanted of its totals, and of what the record says is due."""
        due = Counter[str]()
        for payment in record.due or ():
            due[payment.amount.currency] += payment.amount.minor
        amounts = [(total.currency, abs(total.net.minor)) for total in statement.totals] + list(due.items())
        reached = [
            count for currency, minor, count in self._tiers for other, amount in amounts
            if currency == other and minor <= amount
        ]  # fmt: skip
        return max([1, *reached])

    @staticmethod
    def _leads(record: Record, life: _Life, wanted: int, due: Counter[str]) -> str:
        step = str(record.step)
        if step == "APPROVE":
            return "APPROVED" if len(life.approvers) >= wanted else "REVIEWED"
        if step in ("INSTRUCT", "PAY"):
            return "PAID" if all(life.paid[currency] == minor for currency, minor in due.items()) else "INSTRUCTED"
        return _LEADS[step]


def _legs(payments: Iterable[Payment]) -> list[_Leg]:
    return sorted((each.from_, each.to, each.amount.currency, each.amount.minor) for each in payments)


def _by_totals(statement: Statement) -> list[_Leg]:
    """Return each net of a statement as the one payment between its partner and the exchange."""
    partner, nets = statement.partner, [(total.currency, total.net.minor) for total in statement.totals]
    owing = [(partner, EXCHANGE, currency, -minor) for currency, minor in nets if minor < 0]
    return sorted(owing + [(EXCHANGE, partner, currency, minor) for currency, minor in nets if minor > 0])
