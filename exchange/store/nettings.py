"""Nettings that were recorded, and the versions of the standing policy: both are added, never changed.

A netting's key is its period. No two can follow the same one, which a unique index sees to: so of two that are recorded
at once, of whichever periods, one is, and the other is decided again behind it.

It is written in one transaction with its period and all later ones, and whoever instructs a statement writes that
statement's period: so of a netting and an instruction that would contradict each other one comes first, and the other
is decided again and refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from msgspec.structs import replace
from pymongo.errors import DuplicateKeyError

from exchange.errors import StoreUnavailable, VersionConflict
from exchange.settlement.barter import Balance, Bartering
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import PlanKind, Policy
from exchange.settlement.recorded import Carried, RecordedNetting, StandingPolicy, check_unpaid
from exchange.settlement.signoff import FIXED
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    answering,
    answering_outside,
    ensure_index,
    server_time,
)
from exchange.store.lanes import Conflict, in_one_transaction
from exchange.store.periods import payment_document, payment_from


class RecordedNettings:
    """What was recorded."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._nettings: Collection = db["nettings"].with_options(read_concern=MAJORITY)

    async def create_indexes(self) -> None:
        """Create what keeps two from following the same one, and a key from recording twice. Idempotent."""
        await ensure_index(self._nettings, "follows", name="one_behind_another", unique=True)
        await ensure_index(self._nettings, "key", name="once", unique=True)

    async def add(self, netting: RecordedNetting) -> bool:
        """Record it; False: somebody was faster. What `check_unpaid` refuses."""
        number = netting.period
        concerned: Document = {"$eq": number} if netting.carried.nothing else {"$gte": number}
        fixed = {"period": concerned, "status": {"$in": [each.value for each in FIXED]}}

        async def work(session: Session) -> None:
            instructed = await self._db["statements"].find_one(fixed, {"_id": 1}, sort=[("period", 1)], session=session)
            if instructed is not None:
                check_unpaid(netting, instructed["_id"])
            await self._db["periods"].update_many(
                {"_id": {"$gte": number}}, {"$set": {"netted": number}}, session=session
            )
            await self._nettings.insert_one(netting_document(netting), session=session)

        try:
            await in_one_transaction(self._db.client, work)
        except Conflict:
            return False
        return True

    async def get(self, number: int, session: Session | None = None) -> RecordedNetting | None:
        """Return that of a period."""
        return await self._one({"_id": number}, session)

    async def before(self, number: int, session: Session | None = None) -> RecordedNetting | None:
        """Return the last of the periods before one."""
        return await self._one({"_id": {"$lt": number}}, session)

    async def by_key(self, key: str) -> RecordedNetting | None:
        """Return what an idempotency key has recorded."""
        return await self._one({"key": key})

    async def last(self) -> RecordedNetting | None:
        """Return the one that the next is to follow."""
        return await self._one({})

    async def page(self, before: int | None = None, limit: int = 20) -> list[RecordedNetting]:
        """Return nettings, the newest period first, from before (that is, older than) one on."""
        wanted = {} if before is None else {"_id": {"$lt": before}}
        with answering():
            rows = await self._nettings.find(wanted).sort("_id", -1).limit(limit).to_list(None)
        return [netting_from(row) for row in rows]

    async def _one(self, wanted: Document, session: Session | None = None) -> RecordedNetting | None:
        with answering_outside(session):
            found = await self._nettings.find_one(wanted, sort=[("_id", -1)], session=session)
        return None if found is None else netting_from(found)


class StandingPolicies:
    """The standing policy of one exchange. Version n has the key n, so of two changes at once one is made."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._versions: Collection = db["netting_policies"].with_options(read_concern=MAJORITY)

    async def last(self) -> StandingPolicy:
        """Return the version in force; version 0 says nothing, and is before there was any."""
        with answering():
            found = await self._versions.find_one({}, sort=[("_id", -1)])
        return StandingPolicy() if found is None else _standing_from(found)

    async def set(self, wished: StandingPolicy, expected_version: int | None = None) -> StandingPolicy:
        """Add a version, and return the one in force then; what changes nothing adds none.

        ValidationFailed for what contradicts itself; VersionConflict if it is not `expected_version` that it follows,
        or somebody was faster.
        """
        wished.check()
        last = await self.last()
        if expected_version not in (None, last.version):
            raise _conflict(f"the standing policy has version {last.version}", last.version)
        if _how(wished) == _how(last):
            return last
        added = replace(wished, version=last.version + 1, since=await server_time(self._db))
        document = _how(added) | {"_id": added.version, "since": added.since, "actor": added.actor}
        try:
            with answering():
                await self._versions.insert_one(document)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, DuplicateKeyError):
                raise
            raise _conflict("somebody has just changed the standing policy", added.version) from None
        return added


def _conflict(message: str, version: int) -> VersionConflict:
    return VersionConflict(message, ("input", "expectedVersion"), current_version=version)


# ---------------------------------------------------------------- documents


def netting_document(netting: RecordedNetting) -> Document:
    """Return a netting as stored. What partners call themselves is no field's name, and no amount is a number."""
    policy = netting.policy
    return {
        "_id": netting.period, "root": netting.root, "follows": netting.follows, "standing": netting.standing,
        **_how(policy), "without": sorted(policy.without), "fix": None if policy.fix is None else policy.fix.told(),
        "barter": None if policy.barter is None else policy.barter.told(),
        # By the first of each two: of a few hundred partners that all have agreements, this is short enough.
        "contracts": [{"one": one, "others": others} for one, others in _by_first(policy.contracts).items()],
        "carried": [payment_document(each) for each in netting.carried.payments],
        "payments": [payment_document(each) for each in netting.payments],
        "balances": [
            {"barter": each.barter, "one_used": str(each.one_used), "other_used": str(each.other_used)}
            for each in netting.carried.balances
        ],
        "keys": dict(netting.keys), "signature": netting.signature, "hash": netting.hash, "actor": netting.actor,
        "at": netting.at, "key": netting.key, "fingerprint": netting.fingerprint,
    }  # fmt: skip


def netting_from(document: Document) -> RecordedNetting:
    """Return the netting that was stored."""
    policy = Policy(
        **_said(document), without=frozenset(document["without"]), fix=_fix_from(document["fix"]),
        barter=Bartering.of(document["barter"]),
        contracts=frozenset((each["one"], other) for each in document["contracts"] for other in each["others"]),
    )  # fmt: skip
    return RecordedNetting(
        period=document["_id"], policy=policy,
        carried=Carried(
            payments=tuple(payment_from(each) for each in document["carried"]),
            balances=tuple(
                Balance(each["barter"], int(each["one_used"]), int(each["other_used"])) for each in document["balances"]
            ),
        ),
        payments=tuple(payment_from(each) for each in document["payments"]),
        **{name: document[name] for name in (
            "root", "follows", "standing", "keys", "signature", "hash", "actor", "at", "key", "fingerprint",
        )},
    )  # fmt: skip


def _standing_from(document: Document) -> StandingPolicy:
    return StandingPolicy(**_said(document), version=document["_id"], since=document["since"], actor=document["actor"])


def _how(policy: Policy | StandingPolicy) -> Document:
    """Return what a netting's policy and the standing one have in common."""
    return {
        "plan": policy.plan.value,
        "minimums": [{"currency": each, "minor": str(minor)} for each, minor in sorted(policy.minimums.items())],
        "groups": [{"parent": parent, "members": sorted(each)} for parent, each in sorted(policy.groups.items())],
        "settle": [{"partner": party, "currency": currency} for party, currency in sorted(policy.settle.items())],
    }  # fmt: skip


def _said(document: Document) -> dict[str, Any]:
    return {
        "plan": PlanKind(document["plan"]),
        "minimums": {each["currency"]: int(each["minor"]) for each in document["minimums"]},
        "groups": {each["parent"]: tuple(each["members"]) for each in document["groups"]},
        "settle": {each["partner"]: each["currency"] for each in document["settle"]},
    }


def _by_first(contracts: Iterable[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for one, other in sorted(contracts):
        found.setdefault(one, []).append(other)
    return found


def _fix_from(told: Document | None) -> Fix | None:
    if told is None:
        return None
    return Fix(id=told["id"], base=told["base"], date=date.fromisoformat(told["date"]), rates=dict(told["rates"]))
