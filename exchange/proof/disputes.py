"""The second opinion on disputes: their records followed again, and every adjustment held against what was upheld.

It has a table of its own of who may do what after what, finds the disputed lines in the journal itself, and adds up by
line what was moved. Whether a record *could* have been written then is judged by its hash, its party and its deadline.

Pure: no driver, no clock. Bounded by the disputes, not by the journal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exchange.journal import EXCHANGE, Entry, EntryKind
from exchange.settlement.dispute import Dispute, DisputeRecord

_PARTNER, _OTHER, _FINANCE = "who opened it", "the other side", "finance"
_WHO: Final = {
    ("", "OPEN"): _PARTNER,
    ("OPENED", "ANSWER"): _OTHER, ("ANSWERED", "REPLY"): _PARTNER,
    **{(status, "WITHDRAW"): _PARTNER for status in ("OPENED", "ANSWERED", "REFERRED")},
    **{(status, "CONCEDE"): _OTHER for status in ("OPENED", "ANSWERED", "REFERRED")},
    **{(status, step): _FINANCE for status in ("ANSWERED", "REFERRED") for step in ("UPHOLD", "REJECT")},
    ("OPENED", "LAPSE"): _FINANCE, ("ANSWERED", "LAPSE"): _FINANCE,
}  # fmt: skip
_LEADS: Final = {
    "OPEN": "OPENED", "ANSWER": "ANSWERED", "REPLY": "OPENED", "WITHDRAW": "WITHDRAWN", "CONCEDE": "UPHELD",
    "UPHOLD": "UPHELD", "REJECT": "REJECTED",
}  # fmt: skip
_THIRD = 3


class _Cited(NamedTuple):
    """A line as the journal has it, from the disputing partner's side."""

    period: int
    counterparty: str
    kind: str
    net: int
    currency: str


@dataclass(slots=True)
class DisputeJudge:
    """Judges disputes with the journal that goes by. `hashes`: of all statements, by id."""

    hashes: Mapping[str, str]
    _disputes: dict[str, Dispute] = field(default_factory=dict)
    _cited: dict[str, _Cited] = field(default_factory=dict)
    _wanted: dict[str, list[Dispute]] = field(default_factory=dict)
    _adjustments: dict[str, list[tuple[Entry, int]]] = field(default_factory=dict)

    def add(self, dispute: Dispute) -> Iterator[str]:
        """Take a dispute, before the journal goes by, and say what is wrong with its records."""
        self._disputes[dispute.id] = dispute
        self._wanted.setdefault(dispute.line.entry, []).append(dispute)
        yield from (f"dispute {dispute.id}: {what}" for what in _followed(dispute))
        if dispute.line.statement_hash != self.hashes.get(dispute.line.statement):
            yield f"dispute {dispute.id}: names another hash than that of statement {dispute.line.statement}"

    def take(self, entry: Entry, period: int) -> bool:
        """Look at an entry of the journal; returns whether it is an adjustment."""
        for dispute in self._wanted.get(entry.id, ()):
            line = dispute.line
            for found in entry.lines(line.partner)[line.n : line.n + 1]:
                net = found.gross_minor - found.fee_minor
                self._cited[dispute.id] = _Cited(period, found.counterparty, found.kind, net, found.currency)
        if entry.kind is EntryKind.ADJUSTMENT:
            self._adjustments.setdefault(entry.detail.get("dispute", ""), []).append((entry, period))
            return True
        return False

    def end(self) -> Iterator[str]:
        """Say what does not fit together, now that the whole journal has gone by."""
        moved: Counter[str] = Counter()
        for name, found in self._adjustments.items():
            dispute = self._disputes.get(name)
            for entry, period in found:
                here = f"adjustment {entry.id}"
                if dispute is None:
                    yield f"{here} is of no dispute"
                    continue
                yield from (f"{here} {what}" for what in _unlike(entry, period, dispute))
                moved[dispute.line.id] += sum(debit.owed.minor for debit in entry.debits if debit.owed is not None)
            if len(found) > 1:
                yield f"dispute {name} was carried out {len(found)} times"
        claimed = _claimed(self._disputes.values())
        for dispute in self._disputes.values():
            line, cited = dispute.line, self._cited.get(dispute.id)
            here = f"dispute {dispute.id}"
            told = _Cited(line.period, line.counterparty, str(line.kind), *line.net)
            if cited != told or line.statement != f"{line.period}:{line.partner}":
                found_there = "nothing" if cited is None else tuple(cited)
                yield f"{here} says that its line is {tuple(told)}, the journal says {found_there}"
            if moved[line.id] > abs(line.net.minor):
                yield f"{here}: {moved[line.id]} were moved of a line of {line.net.minor}"
            if claimed[line.id] > abs(line.net.minor):
                yield f"{here}: {claimed[line.id]} were claimed of a line of {line.net.minor}"
            carried = [(entry.id, period) for entry, period in self._adjustments.get(dispute.id, ())]
            if dispute.adjustment is not None and (dispute.adjustment, dispute.adjusted_in) not in carried:
                yield f"{here} was carried out by {dispute.adjustment}, which is not there"


def _claimed(disputes: Iterable[Dispute]) -> Counter[str]:
    """Add up by line what was claimed, but for what was taken back before it was answered."""
    claimed: Counter[str] = Counter()
    for dispute in disputes:
        steps = [str(record.step) for record in dispute.records]
        if steps[-1] != "WITHDRAW" or "ANSWER" in steps:
            claimed[dispute.line.id] += dispute.claim.minor
    return claimed


def _unlike(entry: Entry, period: int, dispute: Dispute) -> Iterable[str]:
    """Say in what an adjustment is not what was upheld."""
    line, last = dispute.line, dispute.records[-1]
    if last.status != "UPHELD" or last.award is None:
        yield f"is of dispute {dispute.id}, which is {last.status}"
        return
    moves = {(posting.party, posting.account.value, posting.unit, posting.amount) for posting in entry.postings}
    minor, currency = last.award
    due = {(line.counterparty, "ADJUSTMENTS", currency, -minor), (line.partner, "ADJUSTMENTS", currency, minor)}
    if moves != due:
        yield f"moves {sorted(moves)}, upheld were {minor} {currency} of {line.counterparty} to {line.partner}"
    cites = {
        "dispute": dispute.id, "record": last.hash, "statement": line.statement,
        "statement_hash": line.statement_hash, "entry": line.entry, "line": str(line.n),
    }  # fmt: skip
    if dict(entry.detail) != cites or entry.benefit != line.benefit:
        yield f"does not cite what dispute {dispute.id} is about"
    if period <= line.period:
        yield f"is of period {period}, the line of {line.period}"


def _followed(dispute: Dispute) -> Iterator[str]:
    status, answers, before = "", 0, dispute.head()
    deadline, at = None, dispute.records[0].at
    sides = {_PARTNER: dispute.line.partner, _OTHER: dispute.line.counterparty, _FINANCE: EXCHANGE}
    for n, record in enumerate(dispute.records, 1):
        here, step = f"record {n}", str(record.step)
        if record.hash != record.computed_hash(before):
            yield f"{here} does not have its hash"
        who = _WHO.get((status, step))
        if who is None:
            yield f"{here} is a {step} where it was {status or 'not opened'}"
        elif record.party != sides[who]:
            yield f"{here} is a {step} by {record.party}, not {who}"
        in_time = deadline is None or (record.at == deadline if step == "LAPSE" else record.at < deadline)
        if record.at < at or not in_time:
            yield f"{here} is of {record.at}, its deadline was {deadline}"
        answers += step == "ANSWER"
        leads = _leads(step, status, answers)
        if record.status != leads:
            yield f"{here} says that it is {record.status} then, not {leads}"
        if (record.deadline is None) != (leads not in ("OPENED", "ANSWERED")):
            yield f"{here} leaves it {leads} until {record.deadline}"
        yield from (f"{here} {what}" for what in _award(record, leads, dispute))
        status, before, deadline, at = str(record.status), record.hash, record.deadline, record.at


def _leads(step: str, status: str, answers: int) -> str:
    if step == "LAPSE":
        return "UPHELD" if status == "OPENED" else "REJECTED"
    return "REFERRED" if step == "ANSWER" and answers == _THIRD else _LEADS.get(step, "")


def _award(record: DisputeRecord, leads: str, dispute: Dispute) -> Iterator[str]:
    claim = dispute.claim
    if leads != "UPHELD":
        if record.award is not None:
            yield "awards something and upholds nothing"
    elif record.award is None or record.award.currency != claim.currency or not 0 < record.award.minor <= claim.minor:
        yield f"awards {record.award} of {claim}"
    elif record.step != "UPHOLD" and record.award != claim:
        yield f"awards {record.award}, not all of {claim}"
