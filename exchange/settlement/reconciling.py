"""Reconciliation as the gateway and the command line ask for it.

A partner's own record is held against its statement; and what was found in a bank's file is recorded as payments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, NamedTuple

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import NotFound, Refusal, ValidationFailed
from exchange.journal import canonical
from exchange.keyring import Keyring
from exchange.settlement.clearing import Settlement
from exchange.settlement.reconciliation import Due, FoundPayment
from exchange.settlement.signoff import Asked, SignOffStep
from exchange.settlement.statement import Place, Statement, StatementLine
from exchange.settlement.usage import Difference, Tally, UsageRow, compared, row_of
from exchange.store.signoff import SignOff
from exchange.store.usage import Sorted

_PAGE = 1_000
_NOTE_MAX: Final = 500
_OURS, _THEIRS = 0, 1
Progress = Callable[[str, int, int | None], None]


class UsageCheck:
    """A statement held against its partner's own rows: both are read once, and then compared in order."""

    def __init__(self, columns: Sequence[str], kept: Sorted) -> None:
        self.columns = tuple(columns)
        self.tally = Tally()
        self._kept = kept

    def take_theirs(self, rows: Iterable[UsageRow]) -> int:
        """Keep the partner's rows; returns how many there were."""
        return self._kept.add(_THEIRS, rows)

    async def take_ours(self, settlement: Settlement, statement: Statement, progress: Progress) -> None:
        """Read the statement's lines, page by page."""
        done = 0
        async for page in _pages(settlement, statement):
            self._kept.add(_OURS, (row_of(line, self.columns) for line in page))
            done += len(page)
            progress("lines", done, statement.line_count)

    def differences(self) -> Iterator[Difference]:
        """Yield what differs, once; `tally` is complete at the end."""
        return compared(self._kept.rows(_OURS), self._kept.rows(_THEIRS), self.tally)


@contextmanager
def usage_check(columns: Sequence[str]) -> Iterator[UsageCheck]:
    """Open a comparison of these columns."""
    with Sorted(len(columns)) as kept:
        yield UsageCheck(columns, kept)


async def _pages(settlement: Settlement, statement: Statement) -> AsyncIterator[list[StatementLine]]:
    after: Place | None = None
    while page := await settlement.lines(statement, after, _PAGE):
        yield page
        after = page[-1].place


# ---------------------------------------------------------------- what was found is recorded


class RecordedPayment(NamedTuple):
    """What came of recording a payment; with a `refusal` nothing did. `replayed`: it had been recorded before."""

    found: FoundPayment
    statement: Statement
    replayed: bool = False
    refusal: Refusal | None = None


class ReconciledStatement(NamedTuple):
    """What came of reconciling a statement; with a `refusal` nothing did. `replayed`: it had been done so before."""

    statement: Statement
    replayed: bool = False
    refusal: Refusal | None = None


class BankRecording:
    """Acts on what was found in a bank's file: each payment, and each statement, is a step of the sign-off by itself.

    The rules are those of the sign-off. Whoever of the staff repeats a step: it is taken once.
    """

    def __init__(self, settlement: Settlement, sign_off: SignOff, keyring: Keyring) -> None:
        self._settlement = settlement
        self._sign_off = sign_off
        self._keyring = keyring

    async def record(self, found: FoundPayment, file: str, actor: str) -> RecordedPayment:
        """Record a payment, once. `file`: the hash of the bank's file."""
        statement = await self._statement(found.due.statement)
        said = {"file": file, "record": found.record, "reference": found.due.reference}
        asked = Asked(
            step=SignOffStep.PAY, statement=statement.id, hash=statement.hash, actor=actor, note=_where(found),
            amount=Money(abs(found.due.amount.minor), found.due.amount.currency),
            fingerprint=sha256(canonical(said)).hexdigest(),
            key=self._keyring.digest("sign-off", "found", str(found.record), found.due.reference),
        )  # fmt: skip
        try:
            signed = await self._sign_off.sign(asked)
        except Refusal as refusal:
            return RecordedPayment(found, statement, refusal=_of_a_whole_file(refusal))
        return RecordedPayment(found, signed.statement, signed.replayed)

    async def reconcile(self, name: str, left: Sequence[Due], actor: str) -> ReconciledStatement:
        """Reconcile a statement, once, if nothing of it is `left` to be found in the bank's books."""
        statement = await self._statement(name)
        if left:
            amount, currency = decimal_from_minor(*left[0].amount), left[0].amount.currency
            missing = ValidationFailed(f"{amount} {currency} of {left[0].reference} is not found yet")
            return ReconciledStatement(statement, refusal=missing)
        asked = Asked(
            step=SignOffStep.RECONCILE, statement=name, hash=statement.hash, actor=actor,
            fingerprint=sha256(canonical({"statement": name})).hexdigest(),
            key=self._keyring.digest("sign-off", "reconciled", name),
        )  # fmt: skip
        try:
            signed = await self._sign_off.sign(asked)
        except Refusal as refusal:
            return ReconciledStatement(statement, refusal=_of_a_whole_file(refusal))
        return ReconciledStatement(signed.statement, signed.replayed)

    async def _statement(self, name: str) -> Statement:
        found = await self._settlement.statement(name)
        if found is None:
            raise NotFound(f"there is no statement {name}")
        return found


def _of_a_whole_file(refusal: Refusal) -> Refusal:
    """Let a refusal name no input: of who asks for a whole file it is not."""
    refusal.path = None
    return refusal


def _where(found: FoundPayment) -> str:
    """Say where a payment is in the bank's books."""
    lines = ", ".join(line.bank_reference or f"line {line.line}" for line in found.lines)
    return f"{found.due.reference}: {lines}"[:_NOTE_MAX]
