"""Reconciliation of payments: what a bank has booked, held against what is due by instructed statements.

A *due* is what is left to be paid of a statement in one currency; a *booked* line is one movement of the exchange's
account. Both are signed as the account sees them: what comes in is positive, so a due is the statement's net with its
sign turned. Each due has a *reference* that its payment bears as end-to-end id, or somewhere in its text.

A line ends in exactly one pile, and the first that fits is its pile:

1. *known*: the bank's own reference of it was in a file before (a notification that the day's statement repeats).
2. By reference. Lines and dues that name one another, directly or through others, belong together: one transfer for
   several statements, several for one. They are *matched* if they add up to the same. If they do not, lines that name
   several dues are set aside, each on a pile of its own, and the others are looked at again without them. If a line
   alone is what is due, that one is matched, and the others are DUPLICATE, as all are when nothing was due any more.
   Money that went the wrong way is RETURNED. Everything else is AMOUNT_DIFFERS.
3. By amount and value date, of lines that name nothing and dues that nobody named. The date is within `days` of the
   day on which the payment was instructed, and the amount is exact: one line for one due; then one for several dues of
   one partner; then several of one payer for one. Only what fits in one way alone is matched: where two would do,
   nobody guesses, and the lines are NOT_EXPECTED, with the dues that they might be for.
4. Amounts that differ by no more than the tolerance are AMOUNT_DIFFERS, if they fit in one way alone.
5. All that is left is NOT_EXPECTED.

So each due is in one match at most, what is matched is the same to the cent on both sides, and the same file on the
same dues gives the same piles. A due that is in no match stays due; `overdue` finds those whose time has passed:
NOT_BOOKED.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import combinations
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct

from exchange.amounts import Money
from exchange.journal import EXCHANGE
from exchange.settlement.netting import Payment
from exchange.settlement.statement import Statement

REFERENCE_MAX: Final = 35
"""What ISO 20022 gives an end-to-end id (Max35Text)."""

LINES_MAX: Final = 5_000
"""Lines of one file."""

MIGHT_MAX: Final = 5
"""How many dues are told that a line might be for."""

TOGETHER_MAX: Final = 8
"""How many dues of a partner, or lines of a payer, are tried together in every way; of more, only all of them."""

DAYS: Final = 5


class ExceptionKind(StrEnum):
    """Why a person has to look."""

    NOT_EXPECTED = "NOT_EXPECTED"
    NOT_BOOKED = "NOT_BOOKED"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    DUPLICATE = "DUPLICATE"
    RETURNED = "RETURNED"


class How(StrEnum):
    """By what lines and dues found one another."""

    REFERENCE = "REFERENCE"
    AMOUNT = "AMOUNT"


class Due(Struct, frozen=True):
    """What is left to be paid of a statement in one currency; nothing, if its payment was found before.

    `whole`: before anything was found; `since`: the day on which it was instructed.
    """

    reference: str
    statement: str
    partner: str
    amount: Money
    whole: Money
    since: date


class Booked(Struct, frozen=True):
    """One movement of the account. `n`: its number in the file; `line`: where the file has it.

    `bank_reference`: the bank's own, or empty; `names`: what may be references of dues, in capitals.
    """

    n: int
    line: int
    amount: Money
    value_date: date
    bank_reference: str = ""
    names: tuple[str, ...] = ()
    payer: str = ""
    text: str = ""


class Match(Struct, frozen=True):
    """Lines that pay dues: they add up to the same."""

    how: How
    lines: tuple[int, ...]
    dues: tuple[Due, ...]


class FoundPayment(Struct, frozen=True):
    """What lines pay of a due: `due.amount`, signed as the account sees it. `record`: which says so, by its number."""

    record: int
    due: Due
    lines: tuple[Booked, ...]

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands among those of its file; no other has the same."""
        return self.record, self.due.reference


class Unmatched(Struct, frozen=True):
    """Lines that a person has to look at. `dues`: what they are about, or might be."""

    kind: ExceptionKind
    lines: tuple[int, ...]
    dues: tuple[Due, ...] = ()


class Piles(Struct, frozen=True):
    """Where each line of a file ended."""

    known: tuple[int, ...]
    matches: tuple[Match, ...]
    exceptions: tuple[Unmatched, ...]


class Resolution(Struct, frozen=True, kw_only=True):
    """What a person said: the `reason`, and if its lines pay a due after all, of which how much.

    `replayed`: it had been said before.
    """

    number: int
    exception: str
    reason: str
    at: datetime
    actor: str
    pays: str | None = None
    amount: Money | None = None
    replayed: bool = False


class Filed(Struct, frozen=True, kw_only=True):
    """A bank's file and its piles. `number`: of the record; `hash`: of the file; `replayed`: it was there before."""

    number: int
    hash: str
    name: str
    at: datetime
    actor: str
    lines: tuple[Booked, ...]
    piles: Piles
    replayed: bool = False


class Tolerance(Struct, frozen=True):
    """How far from the day of instruction, and for AMOUNT_DIFFERS from the amount (by currency), a line may be."""

    days: int = DAYS
    minor: Mapping[str, int] = {}

    def admits(self, line: Booked, due: Due) -> bool:
        """Tell whether a line may be for a due by its currency, direction and day."""
        return (
            line.amount.currency == due.amount.currency
            and (line.amount.minor > 0) == (due.amount.minor > 0)
            and abs(line.value_date - due.since) <= timedelta(days=self.days)
        )


def payment_reference(period: int, partner: str, currency: str) -> str:
    """Return by what the payment of a statement in a currency is known: `7:rides:EUR`; of a long name its hash."""
    reference = f"{period}:{partner}:{currency}"
    if len(reference) > REFERENCE_MAX:
        reference = f"{period}:{sha256(partner.encode()).hexdigest()[:16]}:{currency}"
    return reference


def between_partners(period: int, payment: Payment) -> str:
    """Return by what a payment of one partner to another is known: `7:rides:shop:EUR`; of long names their hash."""
    parties = f"{payment.from_}:{payment.to}"
    reference = f"{period}:{parties}:{payment.amount.currency}"
    if len(reference) > REFERENCE_MAX:
        reference = f"{period}:{sha256(parties.encode()).hexdigest()[:16]}:{payment.amount.currency}"
    return reference


def expected(statement: Statement) -> dict[str, Money]:
    """Return what goes through the exchange's account for a statement, by reference, signed as the account sees it.

    What partners pay one another by a netting's plan is on their accounts.
    """
    sums: dict[str, int] = {}
    for payment in statement.due:
        if EXCHANGE in (payment.from_, payment.to):
            minor, currency = payment.amount
            sums[currency] = sums.get(currency, 0) + (minor if payment.to == EXCHANGE else -minor)
    return {
        payment_reference(statement.period, statement.partner, currency): Money(minor, currency)
        for currency, minor in sums.items() if minor
    }  # fmt: skip


def dues_of(statement: Statement, since: date, found: Mapping[str, int]) -> Iterator[Due]:
    """Yield a statement's dues. `found`: what was found before, in minor units by reference, signed like dues."""
    for reference, whole in expected(statement).items():
        left = Money(whole.minor - found.get(reference, 0), whole.currency)
        yield Due(reference, statement.id, statement.partner, left, whole, since)


def overdue(dues: Iterable[Due], booked_until: date, tolerance: Tolerance) -> list[Due]:
    """Return what should have been booked by now, as far as the bank's files go."""
    return [due for due in dues if due.amount.minor and due.since + timedelta(days=tolerance.days) < booked_until]


# ---------------------------------------------------------------- the piles


def reconcile(lines: Sequence[Booked], dues: Iterable[Due], known: Collection[str], tolerance: Tolerance) -> Piles:
    """Put every line on its pile."""
    matching = _Matching(lines, dues, known, tolerance)
    matching.by_reference()
    matching.one_for_one()
    matching.one_for_several()
    matching.several_for_one()
    matching.nearly()
    matching.rest()
    return Piles(
        known=tuple(matching.known),
        matches=tuple(sorted(matching.matches, key=lambda match: match.lines)),
        exceptions=tuple(sorted(matching.exceptions, key=lambda each: each.lines)),
    )


_T = TypeVar("_T", Booked, Due)
_Item = TypeVar("_Item")
_Key = TypeVar("_Key", bound=Hashable)


class _Pair(NamedTuple):
    """What might go together: numbers of lines, references of dues."""

    lines: tuple[int, ...]
    dues: tuple[str, ...]


class _Matching:
    """A file half-way: the lines and dues that no pile has yet, each in order."""

    def __init__(
        self, lines: Iterable[Booked], dues: Iterable[Due], known: Collection[str], tolerance: Tolerance
    ) -> None:
        self.known: list[int] = []
        self.matches: list[Match] = []
        self.exceptions: list[Unmatched] = []
        self._tolerance = tolerance
        self._lines: dict[int, Booked] = {}
        seen = set(known)
        for line in lines:
            if line.bank_reference and line.bank_reference in seen:
                self.known.append(line.n)
            else:
                seen.add(line.bank_reference)
                self._lines[line.n] = line
        self._dues = {due.reference: due for due in sorted(dues, key=lambda due: due.reference)}
        self._all_dues = dict(self._dues)
        by_name = {reference.upper(): reference for reference in self._dues}
        self._named = {
            line.n: sorted({by_name[name] for name in line.names if name in by_name}) for line in self._lines.values()
        }

    # ------------------------------------------------------------ by reference

    def by_reference(self) -> None:
        for lines, dues in self._belonging(self._lines.values()):
            self._judge(lines, dues)
        self._dues = {reference: due for reference, due in self._dues.items() if due.amount.minor}

    def _belonging(self, some: Iterable[Booked]) -> Iterator[tuple[list[Booked], list[Due]]]:
        """Yield the lines and dues that belong together because they name one another, directly or through others."""
        lines = {line.n: line for line in some}
        naming: dict[str, list[int]] = {}
        for n in lines:
            for reference in self._named[n]:
                naming.setdefault(reference, []).append(n)
        done: set[int] = set()
        for n in lines:
            if self._named[n] and n not in done:
                numbers, found, waiting = {n}, set(self._named[n]), list(self._named[n])
                while waiting:
                    for other in naming[waiting.pop()]:
                        numbers.add(other)
                        waiting += (fresh := set(self._named[other]) - found)
                        found |= fresh
                done |= numbers
                yield [lines[each] for each in sorted(numbers)], [self._all_dues[each] for each in sorted(found)]

    def _judge(self, lines: list[Booked], dues: list[Due]) -> None:
        still = [due for due in dues if due.amount.minor]
        wrong = any(_wrong_way(line, due) for line in lines for due in dues)
        joining = [line for line in lines if len(self._named[line.n]) > 1]
        if still and not wrong and _sums(lines) == _sums(still):
            self._match(How.REFERENCE, lines, still)
        elif still and 0 < len(joining) < len(lines):
            # What a line says is up to whoever pays: nobody holds up others' payments by naming them.
            for line in joining:
                self._set_aside(line)
            for others, theirs in self._belonging(line for line in lines if line not in joining):
                self._judge(others, theirs)
        elif wrong:
            self._except(ExceptionKind.RETURNED, lines, dues)
        elif not still:
            self._except(ExceptionKind.DUPLICATE, lines, dues)
        elif len(still) == 1 and (exact := [line for line in lines if line.amount == still[0].amount]):
            self._match(How.REFERENCE, exact[:1], still)
            self._except(ExceptionKind.DUPLICATE, [line for line in lines if line is not exact[0]], dues)
        else:
            self._except(ExceptionKind.AMOUNT_DIFFERS, lines, dues)

    def _set_aside(self, line: Booked) -> None:
        """Put a line alone on a pile, and leave the dues that it names to others."""
        dues = tuple(self._all_dues[reference] for reference in self._named[line.n])
        wrong = any(_wrong_way(line, due) for due in dues)
        kind = ExceptionKind.RETURNED if wrong else ExceptionKind.AMOUNT_DIFFERS
        del self._lines[line.n]
        self.exceptions.append(Unmatched(kind, (line.n,), dues))

    # ------------------------------------------------------------ by amount and date

    def one_for_one(self) -> None:
        by_amount = _grouped(self._dues.values(), lambda due: due.amount)
        self._match_all(
            _Pair((line.n,), (due.reference,))
            for line in self._lines.values()
            for due in by_amount.get(line.amount, ())
            if self._tolerance.admits(line, due)
        )

    def one_for_several(self) -> None:
        by_partner = _grouped(self._dues.values(), lambda due: due.partner)
        alike = _grouped(self._lines.values(), lambda line: (*_way(line), line.value_date))
        self._match_all(
            _Pair((line.n,), tuple(due.reference for due in some))
            for own in _several(by_partner)
            for lines in alike.values()
            for sums in [_adding_up([due for due in own if self._tolerance.admits(lines[0], due)])]
            for line in (lines if sums else ())
            for some in sums.get(line.amount.minor, ())
        )

    def several_for_one(self) -> None:
        by_payer = _grouped((line for line in self._lines.values() if line.payer), lambda line: line.payer)
        alike = _grouped(self._dues.values(), lambda due: (*_way(due), due.since))
        self._match_all(
            _Pair(tuple(line.n for line in some), (due.reference,))
            for own in _several(by_payer)
            for dues in alike.values()
            for sums in [_adding_up([line for line in own if self._tolerance.admits(line, dues[0])])]
            for due in (dues if sums else ())
            for some in sums.get(due.amount.minor, ())
        )

    def nearly(self) -> None:
        allowed = self._tolerance.minor
        pairs = (
            _Pair((line.n,), (due.reference,))
            for due in self._dues.values()
            if due.amount.currency in allowed
            for line in self._lines.values()
            if self._tolerance.admits(line, due)
            and abs(line.amount.minor - due.amount.minor) <= allowed[due.amount.currency]
        )
        for pair in self._unrivalled(pairs):
            self._except(ExceptionKind.AMOUNT_DIFFERS, *self._of(pair))

    def rest(self) -> None:
        for line in list(self._lines.values()):
            self._except(ExceptionKind.NOT_EXPECTED, [line], [])

    # ------------------------------------------------------------ onto a pile

    def _match_all(self, pairs: Iterable[_Pair]) -> None:
        for pair in self._unrivalled(pairs):
            self._match(How.AMOUNT, *self._of(pair))

    def _unrivalled(self, pairs: Iterable[_Pair]) -> list[_Pair]:
        """Return the pairs of which no line and no due is in another; lines of the others have no further chance."""
        found = list(pairs)
        of_line = _grouped(((n, pair) for pair in found for n in pair.lines), itemgetter(0))
        of_due = _grouped(((reference, pair) for pair in found for reference in pair.dues), itemgetter(0))
        alone = [
            pair
            for pair in found
            if all(len(of_line[n]) == 1 for n in pair.lines) and all(len(of_due[due]) == 1 for due in pair.dues)
        ]
        clear = {n for pair in alone for n in pair.lines}
        for n in sorted(of_line.keys() - clear):
            might = sorted({reference for _, pair in of_line[n] for reference in pair.dues})[:MIGHT_MAX]
            del self._lines[n]
            self.exceptions.append(
                Unmatched(ExceptionKind.NOT_EXPECTED, (n,), tuple(self._dues[reference] for reference in might))
            )
        paid = {reference for pair in alone for reference in pair.dues}
        rivalled = of_due.keys() - paid
        self._dues = {reference: due for reference, due in self._dues.items() if reference not in rivalled}
        return alone

    def _of(self, pair: _Pair) -> tuple[list[Booked], list[Due]]:
        return [self._lines[n] for n in pair.lines], [self._dues[reference] for reference in pair.dues]

    def _match(self, how: How, lines: Sequence[Booked], dues: Sequence[Due]) -> None:
        self.matches.append(Match(how, *self._taken(lines, dues)))

    def _except(self, kind: ExceptionKind, lines: Sequence[Booked], dues: Sequence[Due]) -> None:
        self.exceptions.append(Unmatched(kind, *self._taken(lines, dues)))

    def _taken(self, lines: Sequence[Booked], dues: Sequence[Due]) -> tuple[tuple[int, ...], tuple[Due, ...]]:
        for line in lines:
            del self._lines[line.n]
        for due in dues:
            self._dues.pop(due.reference, None)
        return tuple(line.n for line in lines), tuple(dues)


def _wrong_way(line: Booked, due: Due) -> bool:
    return line.amount.currency == due.whole.currency and line.amount.minor * due.whole.minor < 0


def _sums(amounts: Iterable[Booked] | Iterable[Due]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for each in amounts:
        sums[each.amount.currency] = sums.get(each.amount.currency, 0) + each.amount.minor
    return sums


def _way(each: Booked | Due) -> tuple[str, bool]:
    """Return in which currency, and which way, it goes: with its day that is all by which a tolerance admits it."""
    return each.amount.currency, each.amount.minor > 0


def _adding_up(own: Sequence[_T]) -> dict[int, list[tuple[_T, ...]]]:
    """Return each choice of two or more under what it adds up to; of too many, only all of them."""
    sizes = range(2, len(own) + 1) if len(own) <= TOGETHER_MAX else (len(own),)
    choices = (some for size in sizes for some in combinations(own, size))
    return _grouped(choices, lambda some: sum(each.amount.minor for each in some))


def _grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> dict[_Key, list[_Item]]:
    groups: dict[_Key, list[_Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _several(groups: Mapping[str, list[_Item]]) -> Iterable[list[_Item]]:
    return (group for group in groups.values() if len(group) > 1)
