"""Barters as stored: versions are added, never changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from msgspec.structs import replace
from pymongo.errors import DuplicateKeyError

from exchange.errors import Contended, NotFound, StoreUnavailable, ValidationFailed
from exchange.journal import milliseconds
from exchange.settlement.barter import Barter, Version
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    answering,
    ensure_index,
    server_time,
)

_ATTEMPTS: Final = 20
_LOOK_AGAIN_SECONDS: Final = 0.01


class Barters:
    """What partners barter with each other. Who adds the same version at the same time looks again."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._versions: Collection = db["barters"].with_options(read_concern=MAJORITY)

    async def create_indexes(self) -> None:
        """Create the index by which a barter's newest version is found. Idempotent."""
        with answering():
            await ensure_index(self._versions, [("barter", 1), ("version", -1)], name="newest", unique=True)

    async def add(self, wished: Barter, reference: str, actor: str) -> Version:
        """Add a barter, and return it with the id that is made here; ValidationFailed for terms nobody could keep.

        It may begin in the past, because periods are netted later; but not end there. One with the very same terms is
        added once: asked again, the answer is the same.
        """
        wished = replace(wished, since=_to_the_millisecond(wished.since), until=_to_the_millisecond(wished.until))
        wished.check()

        async def make(now: datetime) -> Version:
            known = await self.last_versions()
            for version in known:
                if replace(version.barter, id=wished.id) == wished:
                    return version
            if wished.until <= now:
                raise ValidationFailed("must be in the future", ("input", "until"))
            number = _number(known[0].barter.id) + 1 if known else 1
            barter = replace(wished, id=f"barter-{number}")
            return Version(barter=barter, version=1, reference=reference, actor=actor, at=now)

        return await self._insert(make)

    async def end(self, barter: str, actor: str) -> Version:
        """End a barter now, and return its last version; one that somebody has ended stays as it is.

        NotFound; ValidationFailed when its time was over already.
        """

        async def make(now: datetime) -> Version:
            last = next(iter(await self.versions(barter)), None)
            if last is None:
                raise NotFound(f"there is no barter {barter}")
            if last.version > 1:
                return last
            terms = last.barter
            if terms.until <= now:
                raise ValidationFailed(f"{barter} ended at {milliseconds(terms.until)}", ("input", "barter"))
            # One that has not begun never will: it ends where it would have.
            ended = replace(terms, until=max(now, terms.since))
            return replace(last, barter=ended, version=2, actor=actor, at=now)

        return await self._insert(make)

    async def last_versions(self, partner: str | None = None) -> list[Version]:
        """Return every barter as it stands now, those of a partner if one is named; the newest first."""
        wanted: Document = {} if partner is None else {"$or": [{"one": partner}, {"other": partner}]}
        with answering():
            rows = await self._versions.find(wanted).sort("version", 1).to_list(None)
        last = {row["barter"]: _version_from(row) for row in rows}
        return sorted(last.values(), key=lambda version: -_number(version.barter.id))

    async def versions(self, barter: str) -> list[Version]:
        """Return every version of a barter, the newest first; none when there is no such barter."""
        with answering():
            rows = await self._versions.find({"barter": barter}).sort("version", -1).to_list(None)
        return [_version_from(row) for row in rows]

    async def _insert(self, make: Callable[[datetime], Awaitable[Version]]) -> Version:
        """Add what is made of what is there, and return it; what is there already is only returned."""
        for _ in range(_ATTEMPTS):
            version = await make(await server_time(self._db))
            try:
                with answering():
                    await self._versions.insert_one(_document(version))
            except StoreUnavailable as error:
                if not isinstance(error.__cause__, DuplicateKeyError):
                    raise
                if version in await self.versions(version.barter.id):
                    return version
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)  # then a majority has the one that took its place
            else:
                return version
        raise Contended("others change barters all the time; try again")


def _number(barter: str) -> int:
    return int(barter.rpartition("-")[2])


def _to_the_millisecond(at: datetime) -> datetime:
    """Return a moment as the database keeps it, and as it is signed."""
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


def _document(version: Version) -> Document:
    barter = version.barter
    return {
        "_id": f"{barter.id}#{version.version:06d}", "barter": barter.id, "version": version.version,
        "one": barter.one, "other": barter.other, "currency": barter.currency,
        # Text, as in the nettings: no shell turns it into a double.
        "one_quota": str(barter.one_quota), "other_quota": str(barter.other_quota), "since": barter.since,
        "until": barter.until, "reference": version.reference, "actor": version.actor, "at": version.at,
    }  # fmt: skip


def _version_from(document: Document) -> Version:
    barter = Barter(
        id=document["barter"], one=document["one"], other=document["other"], currency=document["currency"],
        one_quota=int(document["one_quota"]), other_quota=int(document["other_quota"]), since=document["since"],
        until=document["until"],
    )  # fmt: skip
    return Version(barter=barter, **{name: document[name] for name in ("version", "reference", "actor", "at")})
