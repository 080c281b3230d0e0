"""What the server itself refuses to store in entries, blocks and wallets, whoever sends it.

Decisions and values refuse first, so nothing that the exchange writes ever meets this: it is for what comes past them,
from a shell, a script, a mistake of ours. The server looks at one document alone. That a block leads on from the one
before it, and a wallet from its entries, is what `exchange check` proves.

1. Points and money are integers: a double or a decimal is a cent that will be missing somewhere else.
2. The postings of an entry sum to zero in each unit.
3. A block's `_id` is its lane and its seq in fixed width, so that no place is there twice under two spellings.
4. No lot holds more than it has, nor less than nothing.

A validator belongs to the collection: a client can ask the server to look away only with a right of its own, which
`roles` gives to nobody.

Types of plain fields are asked in the `$expr` and not in the `$jsonSchema`, which takes twice the time for the same
answer; `$type` as a query operator would let an array of the right thing pass. What it all costs: docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from exchange.journal import BlockKind, EntryKind
from exchange.store.connection import Database, Document, setting_up

_INTEGER = ["int", "long"]
_TEXT = ["string"]
_TEXT_OR_NONE = ["null", "string"]
_HASH = {"bsonType": "string", "pattern": "^[0-9a-f]{64}$"}

_LOT_POINTS = ("awarded", "remaining", "held", "redeemed", "expired", "restored")


def _values(kinds: type[StrEnum]) -> list[str]:
    return [kind.value for kind in kinds]


def _object(**types: Any) -> Document:
    """Ask for an object with all these fields, each by its types or by a schema of its own."""
    properties = {name: each if isinstance(each, dict) else {"bsonType": each} for name, each in types.items()}
    return {"bsonType": "object", "required": list(types), "properties": properties}


def _list(items: Document | list[Document]) -> Document:
    return {"bsonType": "array", "items": items}


def _typed(of: str, types: Mapping[str, list[str]]) -> list[Document]:
    return [{"$in": [{"$type": f"{of}{name}"}, wanted]} for name, wanted in types.items()]


def _each(of: Any, one: str, holds: Document) -> Document:
    return {"$allElementsTrue": {"$map": {"input": of, "as": one, "in": holds}}}


def _spelled(field: str, at: int, digits: int) -> Document:
    """Say that a part of `_id` is the field's number."""
    part = {"$substrBytes": ["$_id", at, digits]}
    return {"$eq": [f"${field}", {"$convert": {"input": part, "to": "long", "onError": None}}]}


_UNIT_SUM: Document = {
    "$sum": {
        "$map": {"input": "$postings", "in": {"$cond": [{"$eq": ["$$this.unit", "$$unit"]}, "$$this.amount", 0]}},
    }
}

ENTRIES: Document = {
    "_id": {"$regex": "^[ -~]{1,64}$"},
    "kind": {"$in": _values(EntryKind)},
    "$jsonSchema": _object(
        postings=_list(_object(unit=_TEXT, amount=_INTEGER)),
        debits=_list(_object(points=_INTEGER, owed=["null", *_INTEGER], fee=_INTEGER, commission=_INTEGER)),
        holds=_list(_list([{}, {}, {"bsonType": _INTEGER}])),
    ),
    "$expr": {"$and": [
        *_typed("$", {
            "_id": _TEXT, "lane": _INTEGER, "seq": _INTEGER, "index": _INTEGER, "period": _INTEGER, "kind": _TEXT,
            "at": ["date"], "wallet": _TEXT, "wallet_version": _INTEGER, "by": _TEXT, "fingerprint": _TEXT,
            "salt": ["binData"], "redemption": _TEXT_OR_NONE, "benefit": _TEXT_OR_NONE, "provider": _TEXT_OR_NONE,
            "channel": _TEXT_OR_NONE, "quantity": _INTEGER, "postings": ["array"], "detail": ["object"],
        }),
        _each({"$setUnion": ["$postings.unit", []]}, "unit", {"$eq": [_UNIT_SUM, 0]}),
    ]},
}  # fmt: skip

BLOCKS: Document = {
    # One for a hundred entries: here the schema may say it all.
    "$jsonSchema": _object(
        _id={"bsonType": "string", "pattern": r"^[0-9]{6}\.[0-9]{12}$"}, lane=_INTEGER, seq=_INTEGER,
        kind={"enum": _values(BlockKind)}, period=_INTEGER, count={"bsonType": _INTEGER, "minimum": 0}, prev=_HASH,
        root=_HASH, sums=_list(_list({"bsonType": _TEXT})), sums_salt=["binData"], sums_root=_HASH, at=["date"],
        hash=_HASH,
    ),
    "$expr": {"$and": [*_typed("$", {"_id": _TEXT}), _spelled("lane", 0, 6), _spelled("seq", 7, 12)]},
}  # fmt: skip

WALLETS: Document = {
    "$expr": {"$and": [
        *_typed("$", {"version": _INTEGER, "period": _INTEGER, "lots": ["array"]}),
        _each("$lots", "lot", {"$and": [
            *_typed("$$lot.", dict.fromkeys(_LOT_POINTS, _INTEGER)),
            {"$gte": ["$$lot.held", 0]},
            {"$gte": ["$$lot.remaining", "$$lot.held"]},
        ]}),
    ]},
}  # fmt: skip

VALIDATORS: Mapping[str, Document] = {"entries": ENTRIES, "blocks": BLOCKS, "wallets": WALLETS}
_STRICTLY = {"validationLevel": "strict", "validationAction": "error"}


async def refuse_by(db: Database, validators: Mapping[str, Document] = VALIDATORS) -> None:
    """Give collections their validators where they have another, a weaker one or none.

    Documents that are there already are not looked at. Whoever may not change a collection learns so only where there
    is something to change.
    """
    names = {"name": {"$in": list(validators)}}
    with setting_up():
        reply: Document = await db.command({"listCollections": 1, "filter": names})
        there = {row["name"]: row.get("options", {}) for row in reply["cursor"]["firstBatch"]}
        for name, validator in validators.items():
            wanted = {"validator": validator, **_STRICTLY}
            if {each: there.get(name, {}).get(each, _STRICTLY.get(each)) for each in wanted} != wanted:
                await db.command({"collMod": name, **wanted})
