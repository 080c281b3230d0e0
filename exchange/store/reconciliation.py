"""What was reconciled: the bank's files with where each line ended, and what people said about the exceptions.

Both are records of one numbered sequence, `reconciliations`, that is only ever added to. A record is decided on all
records before it, and its number is its key: of two at once one is written, and the other is decided again behind it.
So no due is ever found twice, and no transaction is needed. A file is known by its hash, and given again it is the
record that is there. What was found of a due is the sum over all records; no statement is written here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Final, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from pymongo.errors import DuplicateKeyError

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import Contended, IdempotencyConflict, NotFound, Refusal, StoreUnavailable, ValidationFailed
from exchange.settlement.reconciliation import (
    Booked,
    Due,
    ExceptionKind,
    Filed,
    FoundPayment,
    How,
    Match,
    Piles,
    Resolution,
    Tolerance,
    Unmatched,
    dues_of,
    expected,
    overdue,
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
_DIGITS: Final = 10
_NAMES_AT_ONCE: Final = 1_000
"""Bank references or statements asked for in one question."""
_FILES_AT_ONCE: Final = 10
"""Files read at once: one can have megabytes."""


class FileSummary(Struct, frozen=True, kw_only=True):
    """A bank's file without its lines. `lines`, `matched`, `known`, `excepted`: how many there are of each."""

    number: int
    hash: str
    name: str
    at: datetime
    actor: str
    lines: int
    matched: int
    known: int
    excepted: int


class ExceptionPlace(NamedTuple):
    """Where an exception stands among all: those of files by file and line, then what is not booked by reference."""

    file: int | None
    line: int
    reference: str


class Exceptional(Struct, frozen=True, kw_only=True):
    """An exception, and what was said about it. `id`: a name for people; `file`: the number of the record."""

    id: str
    kind: ExceptionKind
    dues: tuple[Due, ...]
    lines: tuple[Booked, ...] = ()
    file: int | None = None
    resolved: Resolution | None = None

    @property
    def place(self) -> ExceptionPlace:
        """Where it stands in the queue."""
        if self.file is None:
            return ExceptionPlace(None, 0, self.id)
        return ExceptionPlace(self.file, self.lines[0].n, "")


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
            await ensure_index(self._records, "exceptions.dues.reference", name="by_excepted", sparse=True)
            await ensure_index(self._records, "until", name="by_until", sparse=True)
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
            # Of a large file this takes a while, in which others are to be served.
            piles = await asyncio.to_thread(reconcile, lines, dues, known, tolerance)
            filed = Filed(
                number=number, hash=hash_, name=name, at=await server_time(self._db), actor=actor, lines=lines,
                piles=piles,
            )  # fmt: skip
            return _filed_document(filed), filed

        return await self._in_turn(work)

    async def filed(self, number: int) -> Filed | None:
        """Return a file by the number of its record."""
        with answering():
            found = await self._read.find_one({"_id": number, "hash": {"$exists": True}})
        return None if found is None else _filed_from(found)

    async def files(self, before: int | None = None, limit: int = 0) -> list[FileSummary]:
        """Return files without their lines, the newest first, from before a number on."""
        numbers: Document = {} if before is None else {"$lt": before}
        stages: list[Document] = [
            {"$match": {"hash": {"$exists": True}} | ({"_id": numbers} if numbers else {})},
            {"$sort": {"_id": -1}},
            *([{"$limit": limit}] if limit else []),
            {"$project": {
                "hash": 1, "name": 1, "at": 1, "actor": 1, "lines": {"$size": "$lines"},
                "known": {"$size": "$known"}, "matched": _lines_in("$matches"), "excepted": _lines_in("$exceptions"),
            }},
        ]  # fmt: skip
        with answering():
            rows = await aggregate(self._read, stages)
        return [FileSummary(number=row.pop("_id"), **row) for row in rows]

    async def payments(self, filed: Filed) -> list[FoundPayment]:
        """Return what a file's lines pay, in order: of its matches, then of what a person said of its exceptions."""
        by_number = {line.n: line for line in filed.lines}
        found = [
            FoundPayment(filed.number, due, tuple(by_number[n] for n in match.lines))
            for match in filed.piles.matches
            for due in match.dues
        ]
        with answering():
            excepted = await self.answered(filed)
            paying = {each.resolved.pays for each in excepted if each.resolved is not None and each.resolved.pays}
            dues = {due.reference: due for due in await self._dues(set(map(_period_in, paying)))} if paying else {}
        for each in excepted:
            answer = each.resolved
            if answer is not None and answer.pays is not None and answer.amount is not None:
                due = replace(dues[answer.pays], amount=answer.amount)
                found.append(FoundPayment(answer.number, due, each.lines))
        return sorted(found, key=lambda each: each.place)

    async def answered(self, filed: Filed) -> list[Exceptional]:
        """Return a file's exceptions in their order, with what was said about them."""
        with answering():
            answers = await self._answers([each.id for each in exceptions_of(filed, {})])
        return list(exceptions_of(filed, answers))

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

    async def dues(self, partner: str | None = None) -> list[Due]:
        """Return what is to be found yet of the statements that are instructed, or recorded as paid; by reference.

        `partner`: of its own statements alone.
        """
        with answering():
            found = await self._dues(set(), partner)
        return sorted((due for due in found if due.amount.minor), key=lambda due: due.reference)

    async def _dues(self, periods: set[int | None], partner: str | None = None) -> list[Due]:
        """Return the dues of statements that are not reconciled yet, and all of some periods."""
        whose = {} if partner is None else {"partner": partner}
        waiting = [StatementStatus.INSTRUCTED.value, StatementStatus.PAID.value]
        statements = {
            row["_id"]: statement_from(row)
            for wanted in (
                {"status": {"$in": waiting}},
                {"period": {"$in": sorted(each for each in periods if each)}, "status": "RECONCILED"},
            )
            for row in await self._statements.find(wanted | whose).to_list(None)
        }
        since = await self._instructed(sorted(statements))
        found = await self._found(statements.values())
        return [due for each in statements.values() for due in dues_of(each, since[each.id], found)]

    async def _instructed(self, statements: list[str]) -> dict[str, date]:
        since: dict[str, date] = {}
        for some in _parts(statements):
            wanted = {"statement": {"$in": some}, "step": SignOffStep.INSTRUCT.value}
            for row in await self._log.find(wanted, {"statement": 1, "at": 1}).to_list(None):
                since[row["statement"]] = row["at"].astimezone(UTC).date()
        return since

    async def _found(self, statements: Iterable[Statement]) -> dict[str, int]:
        """Return what was found, in minor units by reference."""
        references = [reference for each in statements for reference in expected(each)]
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

    async def exceptions(
        self, *, resolved: bool = False, days: int = Tolerance().days, after: ExceptionPlace | None = None,
        limit: int | None = None,
    ) -> list[Exceptional]:  # fmt: skip
        """Return what a person has to look at: lines in their order, then what is not booked `days` after it was due.

        `resolved`: those that somebody has resolved, too. `after`: only what stands behind.
        """
        found: list[Exceptional] = []
        with answering():
            if after is None or after.file is not None:
                async for each in self._of_files(after):
                    if resolved or each.resolved is None:
                        found.append(each)
                    if len(found) == limit:
                        return found
            behind = "" if after is None else after.reference
            found += [
                each
                for each in await self._not_booked(days)
                if each.id > behind and (resolved or each.resolved is None)
            ]
        return found[:limit]

    async def _of_files(self, after: ExceptionPlace | None) -> AsyncIterator[Exceptional]:
        number, line = (0, 0) if after is None else (after.file or 0, after.line)
        while True:
            wanted = {"_id": {"$gte": number}, "hash": {"$exists": True}, "exceptions.0": {"$exists": True}}
            rows = await self._read.find(wanted).sort("_id", 1).limit(_FILES_AT_ONCE).to_list(None)
            for filed in map(_filed_from, rows):
                for each in await self.answered(filed):
                    if filed.number > number or each.lines[0].n > line:
                        yield each
            if len(rows) < _FILES_AT_ONCE:
                return
            number, line = rows[-1]["_id"] + 1, 0

    async def _not_booked(self, days: int) -> list[Exceptional]:
        """Return what the bank should have booked, unless an open exception is about it."""
        last = await self._read.find_one({"until": {"$exists": True}}, {"until": 1}, sort=[("until", -1)])
        if last is None:
            return []
        late = overdue(await self._dues(set()), date.fromisoformat(last["until"]), Tolerance(days=days))
        references = sorted(due.reference for due in late)
        answers, about = await self._answers(references), await self._about(references)
        return [
            Exceptional(
                id=due.reference, kind=ExceptionKind.NOT_BOOKED, dues=(due,), resolved=answers.get(due.reference)
            )
            for due in sorted(late, key=lambda due: due.reference)
            if due.reference not in about
        ]

    async def _about(self, references: list[str]) -> set[str]:
        """Return what open exceptions are about, of these references at least."""
        about: set[str] = set()
        for some in _parts(references):
            async for row in self._read.find({"exceptions.dues.reference": {"$in": some}}):
                still = [each for each in await self.answered(_filed_from(row)) if each.resolved is None]
                about |= {due.reference for each in still for due in each.dues}
        return about

    async def _exception(self, name: str) -> Exceptional | None:
        number, dash, line = name.partition("-")
        if not (dash and _is_number(number) and _is_number(line)):
            return next((each for each in await self._not_booked(Tolerance().days) if each.id == name), None)
        filed = await self.filed(int(number))
        if filed is None:
            return None
        return next((each for each in exceptions_of(filed, await self._answers([name])) if each.id == name), None)

    async def resolve(self, exception: str, reason: str, actor: str, pays: str | None = None) -> Resolution:
        """Resolve an exception, once. `pays`: the reference of a due that its lines pay after all, wholly or in part.

        The same again is the same answer. NotFound when there is no such exception; ValidationFailed when it cannot pay
        that; IdempotencyConflict when it was resolved before in another way.
        """

        async def work(number: int) -> tuple[Document | None, Resolution]:
            before = (await self._answers([exception])).get(exception)
            if before is not None and (before.reason, before.pays) == (reason, pays):
                return None, replace(before, replayed=True)
            if before is not None:
                raise IdempotencyConflict("it was resolved before", ("input", "exception"))
            own = await self._exception(exception)
            if own is None:
                raise NotFound("no such exception", ("input", "exception"))
            amount = None if pays is None else _paying(own, pays, await self._dues(set()))
            resolution = Resolution(
                number=number, exception=exception, reason=reason, at=await server_time(self._db), actor=actor,
                pays=pays, amount=amount,
            )  # fmt: skip
            return _resolution_document(resolution), resolution

        return await self._in_turn(work)

    async def _answers(self, exceptions: list[str]) -> dict[str, Resolution]:
        """Return what was said about some exceptions, by their names."""
        answers: dict[str, Resolution] = {}
        for some in _parts(exceptions):
            rows = await self._read.find({"exception": {"$in": some}}).to_list(None)
            answers.update((row["exception"], _resolution_from(row)) for row in rows)
        return answers

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


def summary_of(filed: Filed) -> FileSummary:
    """Return a file without its lines."""
    piles = filed.piles
    return FileSummary(
        number=filed.number, hash=filed.hash, name=filed.name, at=filed.at, actor=filed.actor, lines=len(filed.lines),
        known=len(piles.known), matched=sum(len(each.lines) for each in piles.matches),
        excepted=sum(len(each.lines) for each in piles.exceptions),
    )  # fmt: skip


def _period_in(name: str) -> int | None:
    period, colon, _ = name.partition(":")
    return int(period) if colon and _is_number(period) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < _DIGITS


def _lines_in(pile: str) -> Document:
    """Return the expression of how many lines are on a pile."""
    return {"$sum": {"$map": {"input": pile, "in": {"$size": "$$this.lines"}}}}


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


def record_from(document: Document) -> Filed | Resolution:
    """Return the record that was stored; ValueError if what it is asked by says something else."""
    record = _filed_from(document) if "hash" in document else _resolution_from(document)
    told = _filed_document(record) if isinstance(record, Filed) else _resolution_document(record)
    if told != document:
        message = "is asked by something else than it says"
        raise ValueError(message)
    return record


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
