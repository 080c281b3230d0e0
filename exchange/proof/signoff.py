"""The second opinion on the sign-off: what the log says was done, followed again from its beginning.

It knows who may do what after what by a table of its own, adds up payments itself, and then holds every statement
against what the log makes of it. Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from exchange.journal import GENESIS
from exchange.settlement.period import Period
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


@dataclass(slots=True)
class _Life:
    """What the log has made of one statement so far."""

    status: str = "DRAFT"
    reviewers: set[str] = field(default_factory=set)
    approvers: list[str] = field(default_factory=list)
    paid: Counter[str] = field(default_factory=Counter)
    payers: set[str] = field(default_factory=set)
    steps: int = 0


class LogJudge:
    """Follows the log record by record; `statements` are all there are, by id."""

    def __init__(self, statements: Iterable[Statement]) -> None:
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
        nets = {total.currency: abs(total.net.minor) for total in statement.totals}
        if record.amount is not None:
            life.paid[record.amount.currency] += record.amount.minor
            if record.amount.minor <= 0 or life.paid[record.amount.currency] > nets.get(record.amount.currency, 0):
                yield f"pays more of statement {statement.id} than was approved"
        if record.status != self._leads(record, life, nets):
            yield f"says that statement {statement.id} is {record.status} then"
        life.status = str(record.status)

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

    def _leads(self, record: Record, life: _Life, nets: dict[str, int]) -> str:
        step = str(record.step)
        if step == "APPROVE":
            wanted = [count for currency, minor, count in self._tiers if minor <= nets.get(currency, -1)]
            return "APPROVED" if len(life.approvers) >= max([1, *wanted]) else "REVIEWED"
        if step in ("INSTRUCT", "PAY"):
            return "PAID" if all(life.paid[currency] == net for currency, net in nets.items()) else "INSTRUCTED"
        return _LEADS[step]
