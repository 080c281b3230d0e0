"""What was reconciled: the bank's files with where each line ended, and what people said about the exceptions.

Both are records of one numbered sequence, `reconciliations`, that is only ever added to. A record is decided on all
records before it, and its number is its key: of two at once one is written, and the other is decided again behind it.
So no due is ever found twice, and no transaction is needed. A file is known by its hash, and given again it is the
record that is there. What was found of a due is the sum over all records; no statement is written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from pymongo.errors import DuplicateKeyError

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import Contended, IdempotencyConflict, NotFound, Refusal, StoreUnavailable, ValidationFailed
from exchange.settlement.reconciliation import (
    Booked,
    Due,
    ExceptionKind,
    How,
    Match,
    Piles,
    Tolerance,
    Unmatched,
    dues_of,
    overdue,
    payment_reference,
    reconcile,
)
from exchange.settlement.signoff import SignOffStep
from exchange.settlement.statement import Statement, StatementStatus
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    aggregate,
    answering,
    ensure_index,
    server_time,
)
from exchange.store.periods import statement_from

_T = TypeVar("_T")
_ATTEMPTS: Final = 50
_PERIOD_DIGITS: Final = 10
_NAMES_AT_ONCE: Final = 1_000
"""Bank references or statements asked for in one question."""


class Resolution(Struct, frozen=True, kw_only=True):
    """What a person said: the `reason`, and if its lines pay a due after all, of which how much."""

    number: int
    exception: str
    reason: str
    at: datetime
    actor: str
    pays: str | None = None
    amount: Money | None = None


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


class Exceptional(Struct, frozen=True, kw_only=True):
    """An exception, and what was said about it. `id`: a name for people; `file`: the number of the record."""

    id: str
    kind: ExceptionKind
    dues: tuple[Due, ...]
    lines: tuple[Booked, ...] = ()
    file: int | None = None
    resolved: Resolution | None = None


class Reconciliation:
    """The reconciliation of one exchange's payments."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._records: Collection = db["reconciliations"]
        self._read: Collection = db["reconciliations"].with_options(read_concern=MAJORITY)
        self._statements: Collection = db["statements"].with_options(read_concern=MAJORITY)
        self._log: Collection = db["sign_offs"].with_options(read_concern=MAJORITY)

    async def create_indexes(self) -> None:
        """Create what keeps a file, and an answer, from being taken twice, and what is asked by. Idempotent."""
        with answering():
            await ensure_index(self._records, "hash", name="once", unique=True, sparse=True)
            await ensure_index(self._records, "exception", name="resolved", unique=True, sparse=True)
            await ensure_index(self._records, "lines.bank", name="by_bank")
            await ensure_index(self._records, "found.reference", name="by_reference", sparse=True)
            await ensure_index(self._statements, "status", name="by_status")

    # ------------------------------------------------------------ files

    async def file(self, name: str, hash_: str, lines: tuple[Booked, ...], actor: str, tolerance: Tolerance) -> Filed:
        """Put a file's lines on their piles, once: given again it is what it was."""

        async def work(number: int) -> tuple[Document | None, Filed]:
            before = await self._read.find_one({"hash": hash_})
            if before is not None:
                return None, replace(_filed_from(before), replayed=True)
            dues = await self._dues({_period_in(each) for line in lines for each in line.names} - {None})
            known = await self._known(lines)
            piles = reconcile(lines, dues, known, tolerance)
            filed = Filed(
                number=number, hash=hash_, name=name, at=await server_time(self._db), actor=actor, lines=lines,
                piles=piles,
            )  # fmt: skip
            return _filed_document(filed), filed

        return await self._in_turn(work)

    async def _known(self, lines: Iterable[Booked]) -> set[str]:
        """Return which of the bank's references were in a file before."""
        wanted = sorted({line.bank_reference for line in lines if line.bank_reference})
        known: set[str] = set()
        for some in _parts(wanted):
            rows = await aggregate(self._read, [
                {"$match": {"lines.bank": {"$in": some}}},
                {"$unwind": "$lines"},
                {"$match": {"lines.bank": {"$in": some}}},
                {"$group": {"_id": "$lines.bank"}},
            ])  # fmt: skip
            known.update(row["_id"] for row in rows)
        return known

    # ------------------------------------------------------------ dues

    async def dues(self) -> list[Due]:
        """Return what is to be found yet of the statements that are instructed, or recorded as paid; by reference."""
        with answering():
            found = await self._dues(set())
        return sorted((due for due in found if due.amount.minor), key=lambda due: due.reference)

    async def _dues(self, periods: set[int | None]) -> list[Due]:
        """Return the dues of statements that are not reconciled yet, and all of some periods."""
        waiting = [StatementStatus.INSTRUCTED.value, StatementStatus.PAID.value]
        statements = {
            row["_id"]: statement_from(row)
            for wanted in (
                {"status": {"$in": waiting}},
                {"period": {"$in": sorted(each for each in periods if each)}, "status": "RECONCILED"},
            )
            for row in await self._statements.find(wanted).to_list(None)
        }
        since = await self._instructed(sorted(statements))
        found = await self._found(statements.values())
        return [
            due
            for each in statements.values()
            for due in dues_of(each.id, each.period, each.totals, since[each.id], found)
        ]

    async def _instructed(self, statements: list[str]) -> dict[str, date]:
        since: dict[str, date] = {}
        for some in _parts(statements):
            wanted = {"statement": {"$in": some}, "step": SignOffStep.INSTRUCT.value}
            for row in await self._log.find(wanted, {"statement": 1, "at": 1}).to_list(None):
                since[row["statement"]] = row["at"].astimezone(UTC).date()
        return since

    async def _found(self, statements: Iterable[Statement]) -> dict[str, int]:
        """Return what was found, in minor units by reference."""
        references = [
            payment_reference(each.period, each.partner, total.currency) for each in statements for total in each.totals
        ]
        found: dict[str, int] = {}
        for some in _parts(references):
            rows = await aggregate(self._read, [
                {"$match": {"found.reference": {"$in": some}}},
                {"$unwind": "$found"},
                {"$match": {"found.reference": {"$in": some}}},
                {"$project": {"_id": 0, "found": 1}},
            ])  # fmt: skip
            for row in rows:
                reference, minor = row["found"]["reference"], int(row["found"]["minor"])
                found[reference] = found.get(reference, 0) + minor
        return found

    # ------------------------------------------------------------ exceptions

    async def exceptions(self, *, resolved: bool = False, days: int = Tolerance().days) -> list[Exceptional]:
        """Return what a person has to look at: lines in their order, then what is not booked `days` after it was due.

        `resolved`: those that somebody has resolved, too.
        """
        with answering():
            answers = {each.exception: each for each in await self._resolutions()}
            files = await self._read.find({"hash": {"$exists": True}}).sort("_id", 1).to_list(None)
            dues = await self._dues(set())
        found = [each for file in files for each in exceptions_of(_filed_from(file), answers)]
        until = max((date.fromisoformat(file["until"]) for file in files), default=date.min)
        about = {due.reference for each in found if each.resolved is None for due in each.dues}
        found += [
            Exceptional(
                id=due.reference, kind=ExceptionKind.NOT_BOOKED, dues=(due,), resolved=answers.get(due.reference)
            )
            for due in sorted(overdue(dues, until, Tolerance(days=days)), key=lambda due: due.reference)
            if due.reference not in about
        ]
        return [each for each in found if resolved or each.resolved is None]

    async def resolve(self, exception: str, reason: str, actor: str, pays: str | None = None) -> Resolution:
        """Resolve an exception, once. `pays`: the reference of a due that its lines pay after all, wholly or in part.

        NotFound when there is no such exception; ValidationFailed when it cannot pay that; IdempotencyConflict when it
        was resolved before.
        """

        async def work(number: int) -> tuple[Document | None, Resolution]:
            own = next((each for each in await self.exceptions(resolved=True) if each.id == exception), None)
            if own is None:
                raise NotFound("no such exception", ("input", "exception"))
            if own.resolved is not None:
                raise IdempotencyConflict("it was resolved before", ("input", "exception"))
            amount = None if pays is None else _paying(own, pays, await self._dues(set()))
            resolution = Resolution(
                number=number, exception=exception, reason=reason, at=await server_time(self._db), actor=actor,
                pays=pays, amount=amount,
            )  # fmt: skip
            return _resolution_document(resolution), resolution

        return await self._in_turn(work)

    async def _resolutions(self) -> list[Resolution]:
        rows = await self._read.find({"exception": {"$exists": True}}).sort("_id", 1).to_list(None)
        return [_resolution_from(row) for row in rows]

    # ------------------------------------------------------------ within

    async def _in_turn(self, work: Callable[[int], Awaitable[tuple[Document | None, _T]]]) -> _T:
        """Add a record behind the last, again and again while others are faster."""
        for attempt in range(_ATTEMPTS):
            number = await self._next()
            try:
                with answering():
                    document, result = await work(number)
            except Refusal:
                # It may rest on half of what somebody else added meanwhile: then it is asked again.
                if await self._next() == number:
                    raise
                continue
            if document is None:
                return result
            try:
                with answering():
                    await self._records.insert_one(document)
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, DuplicateKeyError):
                    raise
                await asyncio.sleep(0.002 * attempt)
            else:
                return result
        raise Contended("others reconciled all the time; try again")

    async def _next(self) -> int:
        with answering():
            last = await self._read.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        return 1 if last is None else int(last["_id"]) + 1


def _paying(own: Exceptional, pays: str, dues: Iterable[Due]) -> Money:
    due = next((each for each in dues if each.reference == pays), None)
    currencies = {line.amount.currency for line in own.lines}
    if due is None:
        raise ValidationFailed("nothing is due under this reference", ("input", "pays"))
    if currencies != {due.amount.currency}:
        raise ValidationFailed(f"is due in {due.amount.currency}", ("input", "pays"))
    minor = sum(line.amount.minor for line in own.lines)
    if minor * due.amount.minor <= 0 or abs(minor) > abs(due.amount.minor):
        left = decimal_from_minor(*due.amount)
        raise ValidationFailed(
            f"of this {left} {due.amount.currency} is due: it cannot be paid by that", ("input", "pays")
        )
    return Money(minor, due.amount.currency)


def _period_in(name: str) -> int | None:
    period, colon, _ = name.partition(":")
    return int(period) if colon and period.isascii() and period.isdecimal() and len(period) < _PERIOD_DIGITS else None


def _parts(items: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(items), _NAMES_AT_ONCE):
        yield items[start : start + _NAMES_AT_ONCE]


def exceptions_of(filed: Filed, answers: Mapping[str, Resolution]) -> Iterator[Exceptional]:
    """Yield a file's exceptions under their names, with what was said about them."""
    by_number = {line.n: line for line in filed.lines}
    for each in filed.piles.exceptions:
        name = f"{filed.number}-{each.lines[0]}"
        yield Exceptional(
            id=name, kind=each.kind, dues=each.dues, lines=tuple(by_number[n] for n in each.lines), file=filed.number,
            resolved=answers.get(name),
        )  # fmt: skip


# ---------------------------------------------------------------- documents


def _filed_document(filed: Filed) -> Document:
    piles = filed.piles
    return {
        "_id": filed.number, "hash": filed.hash, "name": filed.name, "at": filed.at, "actor": filed.actor,
        "until": max((line.value_date for line in filed.lines), default=date.min).isoformat(),
        "lines": [
            {
                "n": line.n, "line": line.line, "amount": _amount(line.amount), "day": line.value_date.isoformat(),
                "bank": line.bank_reference, "payer": line.payer, "text": line.text,
            }
            for line in filed.lines
        ],
        "known": list(piles.known),
        "matches": [
            {"how": each.how.value, "lines": list(each.lines), "dues": list(map(_due, each.dues))}
            for each in piles.matches
        ],
        "exceptions": [
            {"kind": each.kind.value, "lines": list(each.lines), "dues": list(map(_due, each.dues))}
            for each in piles.exceptions
        ],
        "found": [
            {"reference": due.reference, **_amount(due.amount)} for each in piles.matches for due in each.dues
        ],
    }  # fmt: skip


def _filed_from(document: Document) -> Filed:
    return Filed(
        number=document["_id"], hash=document["hash"], name=document["name"], at=document["at"],
        actor=document["actor"],
        lines=tuple(
            Booked(
                n=each["n"], line=each["line"], amount=_money(each["amount"]),
                value_date=date.fromisoformat(each["day"]), bank_reference=each["bank"], payer=each["payer"],
                text=each["text"],
            )
            for each in document["lines"]
        ),
        piles=Piles(
            known=tuple(document["known"]),
            matches=tuple(
                Match(How(each["how"]), tuple(each["lines"]), tuple(map(_due_from, each["dues"])))
                for each in document["matches"]
            ),
            exceptions=tuple(
                Unmatched(ExceptionKind(each["kind"]), tuple(each["lines"]), tuple(map(_due_from, each["dues"])))
                for each in document["exceptions"]
            ),
        ),
    )  # fmt: skip


def _resolution_document(resolution: Resolution) -> Document:
    counted = [] if resolution.amount is None else [{"reference": resolution.pays, **_amount(resolution.amount)}]
    return {
        "_id": resolution.number, "exception": resolution.exception, "reason": resolution.reason,
        "at": resolution.at, "actor": resolution.actor, "found": counted,
    }  # fmt: skip


def _resolution_from(document: Document) -> Resolution:
    counted = next(iter(document["found"]), None)
    return Resolution(
        number=document["_id"], exception=document["exception"], reason=document["reason"], at=document["at"],
        actor=document["actor"], pays=counted and counted["reference"], amount=counted and _money(counted),
    )  # fmt: skip


def _due(due: Due) -> Document:
    return {
        "reference": due.reference, "statement": due.statement, "partner": due.partner, "amount": _amount(due.amount),
        "whole": _amount(due.whole), "since": due.since.isoformat(),
    }  # fmt: skip


def _due_from(document: Document) -> Due:
    return Due(
        reference=document["reference"], statement=document["statement"], partner=document["partner"],
        amount=_money(document["amount"]), whole=_money(document["whole"]), since=date.fromisoformat(document["since"]),
    )  # fmt: skip


def _amount(money: Money) -> Document:
    """Return an amount; its figure as a string, because sums may exceed 64 bits."""
    return {"minor": str(money.minor), "currency": money.currency}


def _money(document: Document) -> Money:
    return Money(int(document["minor"]), document["currency"])
