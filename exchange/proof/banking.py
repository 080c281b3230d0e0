"""The second opinion on the reconciliation of payments: files and answers followed again in their order.

It does not match anew, because what a file was held against then, within which days, nobody wrote down. It judges what
must be so of any match: each movement is on one pile, what is matched is the same on both sides and as much as was
still due, and nothing is found of a due beyond what its statement was instructed by.

Pure: no driver, no clock. Bounded by the statements and by what banks call their movements.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from exchange.journal import EXCHANGE
from exchange.settlement.reconciliation import Due, Filed, Match, Resolution, payment_reference
from exchange.settlement.statement import Statement

_HASH: Final = re.compile("[0-9a-f]{64}")
_DUE: Final = ("INSTRUCTED", "PAID", "RECONCILED")


@dataclass(slots=True)
class _Owed:
    """What is due of a statement in one currency, as the account sees it, and how much of that was found."""

    statement: str
    partner: str
    currency: str
    whole: int
    under_way: bool
    found: int = 0


def _through_account(statement: Statement) -> Counter[str]:
    """Return what a statement brings to the exchange's account; what partners pay one another does not go there."""
    brought = Counter[str]()
    if statement.standing.due is None:
        brought.update({total.currency: -total.net.minor for total in statement.totals})
        return brought
    for payment in statement.standing.due:
        if payment.to == EXCHANGE:
            brought[payment.amount.currency] += payment.amount.minor
        elif payment.from_ == EXCHANGE:
            brought[payment.amount.currency] -= payment.amount.minor
    return brought


class BankJudge:
    """Follows the records one by one; `statements` are all there are."""

    def __init__(self, statements: Iterable[Statement]) -> None:
        self._owed = {
            payment_reference(each.period, each.partner, currency): _Owed(
                each.id, each.partner, currency, minor, under_way=each.standing.status in _DUE
            )
            for each in statements for currency, minor in _through_account(each).items() if minor
        }  # fmt: skip
        self._number = 0
        self._files: dict[str, int] = {}
        self._movements: set[str] = set()
        self._exceptions: dict[str, Counter[str]] = {}
        self._answered: set[str] = set()

    def take(self, record: Filed | Resolution) -> Iterator[str]:
        """Say what is wrong with the next record."""
        here = f"record {record.number} of the reconciliation"
        self._number += 1
        if record.number != self._number:
            yield f"{here} stands where {self._number} should"
            self._number = record.number
        judged = self._file(record) if isinstance(record, Filed) else self._answer(record)
        yield from (f"{here} {what}" for what in judged)

    # ------------------------------------------------------------ files

    def _file(self, file: Filed) -> Iterator[str]:
        if not _HASH.fullmatch(file.hash):
            yield "has no hash"
        if file.hash in self._files:
            yield f"is the file of record {self._files[file.hash]} again"
        self._files[file.hash] = file.number
        yield from self._piles(file)
        yield from self._known(file)
        amounts = {line.n: line.amount for line in file.lines}

        def sums(lines: Iterable[int]) -> Counter[str]:
            total = Counter[str]()
            for n in lines:
                if n in amounts:
                    total[amounts[n].currency] += amounts[n].minor
            return total

        for match in file.piles.matches:
            yield from self._match(match, sums(match.lines))
        for each in file.piles.exceptions:
            self._exceptions[f"{file.number}-{min(each.lines, default=0)}"] = sums(each.lines)

    @staticmethod
    def _piles(file: Filed) -> Iterator[str]:
        piles = file.piles
        on = Counter(piles.known)
        on.update(n for match in piles.matches for n in match.lines)
        on.update(n for each in piles.exceptions for n in each.lines)
        there = Counter(line.n for line in file.lines)
        for n in sorted(on.keys() | there.keys()):
            if (on[n], there[n]) != (1, 1):
                yield f"has movement {n} {there[n]} times, on {on[n]} piles"

    def _known(self, file: Filed) -> Iterator[str]:
        known = set(file.piles.known)
        for line in file.lines:
            before = bool(line.bank_reference) and line.bank_reference in self._movements
            if before and line.n not in known:
                yield f"counts movement {line.n} again, which was there before"
            if line.n in known and not before:
                yield f"says of movement {line.n} that it was there before"
            self._movements.add(line.bank_reference)

    def _match(self, match: Match, paid: Counter[str]) -> Iterator[str]:
        dues = Counter[str]()
        for due in match.dues:
            dues[due.amount.currency] += due.amount.minor
        if dues != paid:
            yield f"matches movements of {dict(paid)} with what is {dict(dues)}"
        for due in match.dues:
            yield from self._due(due)
            yield from self._find(due.reference, due.amount.currency, due.amount.minor)

    def _due(self, due: Due) -> Iterator[str]:
        owed = self._owed.get(due.reference)
        if owed is None:
            return  # which is said where it is found
        if (due.statement, due.partner, *due.whole) != (owed.statement, owed.partner, owed.whole, owed.currency):
            yield f"says of {due.reference} what its statement does not"
        if due.amount.minor != owed.whole - owed.found:
            yield f"takes {due.amount.minor} for what is left of {due.reference}: {owed.whole - owed.found}"

    def _find(self, reference: str, currency: str, minor: int) -> Iterator[str]:
        owed = self._owed.get(reference)
        if owed is None or owed.currency != currency or not owed.under_way:
            yield f"finds a payment of {reference}, of which nothing is due in {currency}"
            return
        owed.found += minor
        if minor * owed.whole <= 0 or abs(owed.found) > abs(owed.whole):
            yield f"finds {owed.found} of {reference}, which is {owed.whole}"

    # ------------------------------------------------------------ answers

    def _answer(self, answer: Resolution) -> Iterator[str]:
        name = answer.exception
        if name not in self._exceptions and name not in self._owed:
            yield f"is about {name}, which is no exception"
        if name in self._answered:
            yield f"resolves {name} once more"
        self._answered.add(name)
        if (answer.pays is None) != (answer.amount is None):
            yield "does not say how much it pays of what"
        if answer.pays is not None and answer.amount is not None:
            if Counter({answer.amount.currency: answer.amount.minor}) != self._exceptions.get(name):
                yield f"pays with more or less than the movements of {name}"
            yield from self._find(answer.pays, answer.amount.currency, answer.amount.minor)
