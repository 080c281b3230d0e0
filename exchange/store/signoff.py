"""Statements signed off: each step, its record and what it makes of the period in one transaction.

The write of a statement says again what was decided: its hash, where it stood, and that whoever approves is none of
those who reviewed it or approved it before. The record's number is its key, so of two steps at once, of whichever
statements, one is written; the other is decided again behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from exchange.amounts import Money
from exchange.errors import Contended, IdempotencyConflict, NotFound, VersionConflict
from exchange.settlement.signoff import (
    FIXED,
    SETTLED,
    Asked,
    Due,
    Policy,
    Record,
    SignOffStep,
    Tier,
    decide,
    due_of,
    policy_recorded,
    recorded,
)
from exchange.settlement.statement import Standing, Statement, StatementStatus
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    answering,
    ensure_index,
    server_time,
)
from exchange.store.lanes import Conflict, in_one_transaction
from exchange.store.nettings import RecordedNettings
from exchange.store.periods import Periods, payment_document, payments_from, standing_document, statement_from

_T = TypeVar("_T")
_ATTEMPTS = 50


class Signed(NamedTuple):
    """A step that was taken, and the statement as it now stands; `replayed`: the same key had taken it before."""

    statement: Statement
    record: Record
    replayed: bool


class SignOff:
    """The sign-off of one exchange's statements, and its log."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._statements: Collection = db["statements"]
        self._periods = Periods(db)
        self._nettings = RecordedNettings(db)
        self._log: Collection = db["sign_offs"]
        self._log_read: Collection = db["sign_offs"].with_options(read_concern=MAJORITY)
        self._turn = asyncio.Lock()

    async def create_indexes(self) -> None:
        """Create what keeps a step from being taken twice, and what a statement's history is read by. Idempotent."""
        with answering():
            await ensure_index(self._log, "key", name="once", unique=True)
            await ensure_index(self._log, [("statement", 1), ("_id", 1)], name="of_statement")

    # ------------------------------------------------------------ steps

    async def sign(self, asked: Asked) -> Signed:
        """Take a step, once for its key.

        IdempotencyConflict when the key took another; NotFound when there is no such statement; what `decide` refuses.
        """

        async def work(session: Session) -> Signed:
            before = await self._log.find_one({"key": asked.key}, session=session)
            if before is not None and before["fingerprint"] != asked.fingerprint:
                message = "this idempotency key was used with a different input"
                raise IdempotencyConflict(message, ("input", "idempotencyKey"))
            found = await self._statements.find_one({"_id": asked.statement}, session=session)
            if found is None:
                raise NotFound("no such statement", ("input", "statement"))
            statement = statement_from(found)
            if before is not None:
                return Signed(statement, record_from(before), replayed=True)
            policy = await self._policy(session)
            # Of other steps it is not asked what will be due.
            asks = asked.step in (SignOffStep.APPROVE, SignOffStep.INSTRUCT)
            due = await self.due(statement, session) if asks else Due(statement.due)
            after = decide(statement, asked, policy, due)
            await self._write(statement, asked, after, session)
            record = recorded(await self._last(session), await server_time(self._db), asked, after, policy, due)
            await self._log.insert_one(record_document(record), session=session)
            if after.status in SETTLED and statement.status not in SETTLED:
                await self._periods.settle(statement.period, session)
            return Signed(statement_from(found | standing_document(after)), record, replayed=False)

        signed = await self._in_turn(work)
        if signed.record.status is StatementStatus.PAID:
            # A close that wrote meanwhile that all is drafted is not in our snapshot, nor was this payment in its look.
            await self._periods.settle(signed.statement.period)
        return signed

    async def _write(self, statement: Statement, asked: Asked, after: Standing, session: Session) -> None:
        unsigned: Document = {
            "_id": statement.id, "hash": asked.hash, "status": statement.status.value,
            # A draft that nobody has touched has no count yet.
            "steps": statement.standing.steps or None,
        }  # fmt: skip
        if asked.step is SignOffStep.APPROVE:
            unsigned |= {"prepared_by": {"$ne": asked.actor}, "approved_by": {"$ne": asked.actor}}
        if asked.step is SignOffStep.RECONCILE:
            unsigned["paid_by"] = {"$ne": asked.actor}
        result = await self._statements.update_one(unsigned, {"$set": standing_document(after)}, session=session)
        if result.matched_count != 1:
            raise Conflict("the statement has changed")
        if asked.step is SignOffStep.INSTRUCT:
            await self._periods.instruct(statement.period, session)

    async def due(self, statement: Statement, session: Session | None = None) -> Due:
        """Return what is due of a statement: what was instructed, or would be now."""
        if statement.status in FIXED:
            return Due(statement.due)
        number = statement.period
        own = await self._nettings.get(number, session)
        before = await self._nettings.before(number, session) if own is None else None
        return due_of(statement, own, before)

    # ------------------------------------------------------------ the policy

    async def policy(self) -> tuple[Policy, Record | None]:
        """Return the policy in force, and the record that set it."""
        with answering():
            found = await self._log_read.find_one({"step": None}, sort=[("_id", -1)])
        record = None if found is None else record_from(found)
        return _policy_of(record), record

    async def set_policy(self, tiers: tuple[Tier, ...], actor: str, expected_version: int | None = None) -> Policy:
        """Set the next version; what changes nothing makes none. VersionConflict unless it has the expected one."""

        async def work(session: Session) -> Policy:
            now = await self._policy(session)
            if expected_version not in (None, now.version):
                message = f"the policy has version {now.version}"
                raise VersionConflict(message, ("input", "expectedVersion"), current_version=now.version)
            if now.tiers == tiers:
                return now
            policy = Policy(tiers, now.version + 1)
            record = policy_recorded(await self._last(session), await server_time(self._db), actor, policy)
            await self._log.insert_one(record_document(record), session=session)
            return policy

        return await self._in_turn(work)

    async def _policy(self, session: Session) -> Policy:
        found = await self._log.find_one({"step": None}, sort=[("_id", -1)], session=session)
        return _policy_of(None if found is None else record_from(found))

    # ------------------------------------------------------------ the log

    async def records(self, statement: str | None = None, after: int = 0, limit: int = 0) -> list[Record]:
        """Return records in their order, from behind a number on; of one statement if wished."""
        wanted: Document = {"_id": {"$gt": after}} | ({} if statement is None else {"statement": statement})
        with answering():
            rows = await self._log_read.find(wanted).sort("_id", 1).limit(limit).to_list(None)
        return [record_from(row) for row in rows]

    async def head(self) -> Record | None:
        """Return the last record: its hash stands for all of them."""
        with answering():
            found = await self._log_read.find_one({}, sort=[("_id", -1)])
        return None if found is None else record_from(found)

    async def _last(self, session: Session) -> Record | None:
        found = await self._log.find_one({}, sort=[("_id", -1)], session=session)
        return None if found is None else record_from(found)

    # ------------------------------------------------------------ within

    async def _in_turn(self, work: Callable[[Session], Awaitable[_T]]) -> _T:
        """Do it in a transaction, again and again while others are faster.

        Within a process one waits for the other: somebody who approves two hundred statements at once would else be
        its own rival two hundred times.
        """
        async with self._turn:
            for attempt in range(_ATTEMPTS):
                try:
                    return await in_one_transaction(self._db.client, work)
                except Conflict:
                    await asyncio.sleep(0.002 * attempt)
        raise Contended("others signed all the time; try again")


def _policy_of(record: Record | None) -> Policy:
    return Policy() if record is None else Policy(record.tiers, record.policy)


# ---------------------------------------------------------------- documents


def record_document(record: Record) -> Document:
    """Return a record as it is stored."""
    return {
        "_id": record.seq, "prev": record.prev, "at": record.at, "actor": record.actor, "key": record.key,
        "fingerprint": record.fingerprint, "policy": record.policy,
        "step": None if record.step is None else record.step.value, "statement": record.statement,
        "statement_hash": record.statement_hash, "status": None if record.status is None else record.status.value,
        "note": record.note, "amount": None if record.amount is None else _amount(record.amount),
        "tiers": [_amount(tier.amount) | {"approvers": tier.approvers} for tier in record.tiers],
        "hash": record.hash,
    } | _due_document(record)  # fmt: skip


def _due_document(record: Record) -> Document:
    due = {} if record.due is None else {"due": [payment_document(each) for each in record.due]}
    return due if record.netting is None else {**due, "netting": record.netting}


def record_from(document: Document) -> Record:
    """Return the record that was stored."""
    step, status, amount = (document[name] for name in ("step", "status", "amount"))
    return Record(
        seq=document["_id"], prev=document["prev"], at=document["at"], actor=document["actor"], key=document["key"],
        fingerprint=document["fingerprint"], policy=document["policy"],
        step=None if step is None else SignOffStep(step), statement=document["statement"],
        statement_hash=document["statement_hash"], status=None if status is None else StatementStatus(status),
        note=document["note"], amount=None if amount is None else _money(amount),
        tiers=tuple(Tier(_money(each), each["approvers"]) for each in document["tiers"]), hash=document["hash"],
        due=payments_from(document.get("due")), netting=document.get("netting"),
    )  # fmt: skip


def _amount(money: Money) -> Document:
    return {"minor": str(money.minor), "currency": money.currency}


def _money(document: Document) -> Money:
    return Money(int(document["minor"]), document["currency"])
