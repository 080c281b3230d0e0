"""What comes past the exchange, from a raw driver, the server looks at itself."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
from bson import Decimal128
from pymongo.errors import DuplicateKeyError, OperationFailure

from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.store.books import Books
from exchange.store.headroom import Headroom
from exchange.store.periods import Periods
from exchange.store.validators import VALIDATORS
from tests.exchange.conftest import House, known
from tests.exchange.speech import award, benefit, redeem

Document = dict[str, Any]
FAILED_VALIDATION = 121
LOT = "c" * 24
HASH = "0" * 64


@pytest.fixture
async def lived(house: House) -> House:
    """Give an exchange with an entry that owes money, in a block, of a wallet with a lot."""
    await house.agree(Agreement(
        id="", issuer="video", provider="rides", version=0, price_per_1000_points=Money(800, "EUR"),
        fee_basis_points=100, commission_basis_points=50, effective_from=await house.soon(),
    ))  # fmt: skip
    trip = benefit("rides/trip", 125)
    await house.publish(trip)
    ledger = await house.ledger()
    await known(ledger, "video", "rides")
    await ledger.submit(award("video", 1000))
    await ledger.submit(redeem(trip, key="owes"))
    return house


async def stored(house: House, collection: str) -> Document:
    """Return a document that the exchange wrote there, at a place that is free."""
    wanted = {"entries": {"_id": "owes"}, "blocks": {"kind": "ENTRIES"}, "wallets": {}}[collection]
    found = await house.db[collection].find_one(wanted)
    assert found is not None
    free: dict[str, Document] = {"entries": {"_id": "new", "index": 999}, "wallets": {"_id": "new"}}
    return found | free.get(collection, {"_id": "000007.000000000123", "lane": 7, "seq": 123})


def changed(document: Document, path: str, value: Any) -> Document:
    """Return the document with something else at a path such as `postings.0.amount`; with `...` nothing is there."""
    copy = deepcopy(document)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = copy
    for step in way:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return copy


NUMBERS = (1.0, Decimal128("1"), "1", True, None, [1], ...)
"""What is no integer, whatever it looks like."""


def each(*paths: str, of: tuple[Any, ...]) -> list[tuple[str, Any]]:
    return [(path, value) for path in paths for value in of]


WRONG: Mapping[str, list[tuple[str, Any]]] = {
    "entries": [
        *each("postings.0.amount", "lane", "seq", "index", "period", "wallet_version", "quantity", of=NUMBERS),
        *each("debits.0.points", "debits.0.fee", "debits.0.commission", "holds.0.2", of=NUMBERS[:-1]),
        *each("debits.0.owed", of=(1.0, Decimal128("1"), "1")),
        ("postings.0.amount", 1), ("postings.0.unit", "points:rides"), ("postings.0", ...), ("postings", {}),
        ("postings", ...), ("debits", ...), ("holds", ...), ("postings.0.unit", ...), ("postings.0.unit", 7),
        *each("wallet", "by", "fingerprint", of=(None, 7, ["ann"], ...)),
        *each("redemption", "benefit", "provider", "channel", of=(7, ["ann"], ...)),
        *each("at", of=("2026-03-01", 0, None, ...)),
        *each("salt", of=("salt", None, ...)),
        *each("detail", of=(None, [], ...)),
        *each("kind", of=("PRESENT", "award", ["AWARD"], None, ...)),
        *each("_id", of=("", "x" * 65, "two\nlines", "é", 7, {"key": "owes"})),
    ],
    "blocks": [
        *each("lane", "seq", "period", "count", of=NUMBERS),
        ("count", -1), ("lane", 6), ("seq", 124),
        *each("_id", of=("7.123", "000007.00000000123", "0000070000000000123", "000007.00000000012x", "x", 7,
                         {"lane": 7, "seq": 123}, " 00007.000000000123", "000007.000000000123 ")),
        *each("hash", "prev", "root", "sums_root", of=("0" * 63, "0" * 65, "G" * 64, "A" * 64, b"0" * 32, None, ...)),
        *each("kind", of=("BLOCK", None, ...)),
        *each("at", of=(0, ...)),
        *each("sums", of=(None, [["points", "video", "ISSUED", -1000]], ...)),
        *each("sums_salt", of=("salt", ...)),
    ],
    "wallets": [
        *each("version", "period", of=NUMBERS),
        *each(*(f"lots.0.{points}" for points in ("awarded", "remaining", "held", "redeemed", "expired", "restored")),
              of=NUMBERS),
        ("lots", None), ("lots", {}), ("lots", ...), ("lots.0.held", -1), ("lots.0.remaining", -1),
        ("lots.0.held", 1_000_000),
    ],
}  # fmt: skip


@pytest.mark.parametrize("collection", WRONG)
async def test_what_is_wrong_in_itself_is_not_stored(lived: House, collection: str) -> None:
    """The server takes the document that the exchange wrote, and not one with anything in it changed for the worse."""
    right = await stored(lived, collection)
    if collection == "entries":
        right |= {"holds": [[LOT, "video", 0]]}
    taken, codes = [], set()
    for path, value in WRONG[collection]:
        wrong = changed(right, path, value)
        try:
            await lived.db[collection].insert_one(dict(wrong))
        except OperationFailure as error:
            codes.add(error.code)
        else:
            taken.append((path, value))
            await lived.db[collection].delete_one({"_id": wrong["_id"]})
    assert (taken, codes) == ([], {FAILED_VALIDATION})
    await lived.db[collection].insert_one(right)


async def test_units_are_summed_one_by_one(lived: House) -> None:
    """What is missing in one unit cannot be made good in another, nor hidden among several postings."""
    right = await stored(lived, "entries")
    posting = {"account": "ISSUED", "party": "video", "lot": None}

    def entry(*amounts: tuple[str, int]) -> Document:
        return {**right, "postings": [{**posting, "unit": unit, "amount": amount} for unit, amount in amounts]}

    huge = 2**62
    for wrong in (
        entry(("EUR", 5), ("USD", -5)), entry(("EUR", 5), ("EUR", -4), ("USD", -1)), entry(("EUR", 1)),
        entry(("EUR", 0), ("USD", 1)), entry(("EUR", huge), ("EUR", -huge + 1)),
    ):  # fmt: skip
        with pytest.raises(OperationFailure, match="failed validation"):
            await lived.db["entries"].insert_one(wrong)
    for balanced in (
        entry(), entry(("EUR", 0)), entry(("EUR", 5), ("USD", 3), ("EUR", -4), ("USD", -3), ("EUR", -1)),
        entry(("EUR", huge), ("EUR", -huge)),
    ):  # fmt: skip
        await lived.db["entries"].insert_one(balanced)
        await lived.db["entries"].delete_one({"_id": "new"})


async def test_what_is_there_cannot_become_wrong(lived: House) -> None:
    """An update, a replacement and a bulk write are looked at like an insert."""
    entries, wallets = lived.db["entries"], lived.db["wallets"]
    before = await lived.everything()
    for update in (
        entries.update_one({"_id": "owes"}, {"$inc": {"postings.0.amount": 1}}),
        entries.update_many({}, {"$mul": {"seq": 1.5}}),
        entries.find_one_and_update({"_id": "owes"}, [{"$set": {"at": "never"}}]),
        wallets.update_one({}, {"$inc": {"lots.0.remaining": -2_000}}),
        wallets.replace_one({}, {"version": 9, "period": 1}),
    ):
        with pytest.raises(OperationFailure, match="failed validation"):
            await update
    assert await lived.everything() == before


async def test_what_the_exchange_wrote_passes_as_it_stands(lived: House) -> None:
    """Not one stored document is among those that its validator would refuse."""
    for collection, validator in VALIDATORS.items():
        assert await lived.count(collection) > 0
        assert await lived.db[collection].count_documents({"$nor": [validator]}) == 0
    await lived.prove()


async def test_a_database_of_before_gets_them_at_the_next_start(lived: House) -> None:
    """A weaker validator, one that only warns, or none, is replaced; what stands is not touched again."""
    db = lived.db
    await db.command({"collMod": "entries", "validator": {"postings": {"$exists": True}}})
    await db.command({"collMod": "blocks", "validationAction": "warn"})
    await db.command({"collMod": "wallets", "validator": {}, "validationLevel": "off"})
    await Books(db).create()
    for collection, validator in VALIDATORS.items():
        reply = await db.command({"listCollections": 1, "filter": {"name": collection}})
        assert reply["cursor"]["firstBatch"][0]["options"] == {
            "validator": validator, "validationLevel": "strict", "validationAction": "error",
        }  # fmt: skip
    await db.client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data={
        "failCommands": ["collMod", "create", "createIndexes"], "errorCode": 13,
    })  # fmt: skip
    try:
        await Books(db).create()
    finally:
        await db.client.admin.command("configureFailPoint", "failCommand", mode="off")


async def test_what_may_be_there_once_is_there_once(lived: House) -> None:
    """A second block at a place, entry of a key, entry at a place, wallet, version of a pair: the server refuses it."""
    db = lived.db
    for part in (lived.terms, Headroom(db), Periods(db)):
        await part.create_indexes()
    again: list[tuple[str, Document, Document]] = [
        ("blocks", {"kind": "ENTRIES"}, {}),
        ("entries", {"_id": "owes"}, {"lane": 7, "seq": 1, "index": 0}),
        ("entries", {"_id": "owes"}, {"_id": "another"}),
        ("wallets", {}, {}),
        ("references", {}, {"wallet": "another"}),
        ("redemptions", {}, {}),
        ("lanes", {}, {"owner": "another"}),
        ("periods", {}, {"status": "CLOSED"}),
        ("agreements", {}, {"_id": "another"}),
    ]
    for collection, query, change in again:
        found = await db[collection].find_one(query)
        assert found is not None, collection
        with pytest.raises(DuplicateKeyError):
            await db[collection].insert_one({**found, **change})
    pair = {"partner": "video", "currency": "EUR"}
    once: dict[str, Document] = {
        "rules": {"partner": "video", "version": 1}, "statements": {"period": 1, "partner": "video"},
        "caps": {**pair, "version": 1}, "notices": {**pair, "standing": True},
    }  # fmt: skip
    for collection, document in once.items():
        await db[collection].insert_one({**document, "_id": "one"})
        with pytest.raises(DuplicateKeyError):
            await db[collection].insert_one({**document, "_id": "other"})
