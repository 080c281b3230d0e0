"""The versions of the periods' calendar."""

from __future__ import annotations

from msgspec.structs import asdict, replace
from pymongo.errors import DuplicateKeyError

from exchange.errors import StoreUnavailable, VersionConflict
from exchange.settlement.calendar import Calendar, CalendarBook, Every, checked
from exchange.store.connection import MAJORITY, Collection, Database, answering, server_time


class Calendars:
    """The calendar of one exchange. Version n has the key n, so of two changes at once one is made."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._versions: Collection = db["calendars"].with_options(read_concern=MAJORITY)

    async def book(self) -> CalendarBook:
        """Return every version."""
        with answering():
            rows = await self._versions.find({}).sort("_id", 1).to_list(None)
        return CalendarBook(Calendar(version=row.pop("_id"), every=Every(row.pop("every")), **row) for row in rows)

    async def set(self, wished: Calendar, expected_version: int | None = None) -> Calendar:
        """Add a version, and return the one in force then; what changes nothing adds none.

        ValidationFailed for a calendar that cannot be kept; VersionConflict if it is not `expected_version` that it
        follows, or somebody was faster.
        """
        checked(wished)
        last = (await self.book()).last
        version = 0 if last is None else last.version
        if expected_version not in (None, version):
            raise _conflict(f"the calendar has version {version}", version)
        if last is not None and replace(wished, version=version, since=last.since, actor=last.actor) == last:
            return last
        added = replace(wished, version=version + 1, since=await server_time(self._db))
        document = asdict(added) | {"every": added.every.value}
        document["_id"] = document.pop("version")
        try:
            with answering():
                await self._versions.insert_one(document)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, DuplicateKeyError):
                raise
            raise _conflict("somebody has just changed the calendar", version + 1) from None
        return added


def _conflict(message: str, version: int) -> VersionConflict:
    return VersionConflict(message, ("input", "expectedVersion"), current_version=version)
