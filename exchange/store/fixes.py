"""Fixes as stored: added, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from pymongo.errors import BulkWriteError

from exchange.errors import StoreUnavailable, ValidationFailed
from exchange.settlement.fixes import Fix
from exchange.store.connection import MAJORITY, Collection, Database, Document, answering, server_time

_AT_ONCE = 1_000


class Fixes:
    """The exchange rates that were imported."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._fixes: Collection = db["fixes"].with_options(read_concern=MAJORITY)

    async def add(self, fixes: Sequence[Fix]) -> int:
        """Store those that are not there, and return how many; ValidationFailed, for all, if one says otherwise."""
        new = []
        for begin in range(0, len(fixes), _AT_ONCE):
            some = fixes[begin : begin + _AT_ONCE]
            known = await self._those(some)
            for fix in some:
                there = known.get(fix.id)
                if there is None:
                    new.append(fix)
                elif there != fix:
                    raise ValidationFailed(f"{_difference(there, fix)}; a fix is never changed", ("file", fix.id))
        now = await server_time(self._db)
        try:
            for begin in range(0, len(new), _AT_ONCE):
                documents = [_document(fix) | {"imported_at": now} for fix in new[begin : begin + _AT_ONCE]]
                with answering():
                    await self._fixes.insert_many(documents)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, BulkWriteError):
                raise
            # Somebody else adds them at the same time: what is there now is compared as if it always had been.
            return await self.add(fixes)
        return len(new)

    async def get(self, fix: str) -> Fix | None:
        """Return one by its id."""
        with answering():
            found = await self._fixes.find_one({"_id": fix})
        return None if found is None else _fix_from(found)

    async def page(self, before: str | None = None, limit: int = 20) -> list[Fix]:
        """Return fixes, the newest first, from before (that is, older than) one on."""
        wanted = {} if before is None else {"_id": {"$lt": before}}
        with answering():
            rows = await self._fixes.find(wanted).sort("_id", -1).limit(limit).to_list(None)
        return [_fix_from(row) for row in rows]

    async def _those(self, fixes: Sequence[Fix]) -> dict[str, Fix]:
        with answering():
            rows = await self._fixes.find({"_id": {"$in": [fix.id for fix in fixes]}}).to_list(None)
        return {row["_id"]: _fix_from(row) for row in rows}


def _difference(there: Fix, other: Fix) -> str:
    for currency in sorted(there.rates.keys() | other.rates.keys()):
        ours, theirs = there.rates.get(currency, "none"), other.rates.get(currency, "none")
        if ours != theirs:
            return f"{there.id} has {ours} as its rate of {currency}, not {theirs}"
    return f"{there.id} is there otherwise"


def _document(fix: Fix) -> Document:
    """Return a fix as stored: rates as they were written, because neither a double nor a rounding is what was said."""
    return {
        "_id": fix.id, "base": fix.base, "date": fix.date.isoformat(),
        "rates": [{"currency": currency, "rate": rate} for currency, rate in fix.rates.items()],
    }  # fmt: skip


def _fix_from(document: Document) -> Fix:
    return Fix(
        id=document["_id"], base=document["base"], date=date.fromisoformat(document["date"]),
        rates={each["currency"]: each["rate"] for each in document["rates"]},
    )  # fmt: skip
