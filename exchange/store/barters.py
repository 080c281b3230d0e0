"""Barters as stored: versions are added, never changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from msgspec.structs import replace
from pymongo import ReturnDocument

from exchange.errors import NotFound, ValidationFailed
from exchange.journal import milliseconds
from exchange.settlement.barter import Barter, Version
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    answering,
    ensure_index,
    server_time,
    settled,
)


class Barters:
    """What partners barter with each other."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._versions: Collection = db["barters"].with_options(read_concern=MAJORITY)
        self._terms: Collection = db["terms"]

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

        async def make(session: Session, number: int, now: datetime) -> Version:
            for version in await self._read({}, session):
                if replace(version.barter, id=wished.id) == wished:
                    return version
            if wished.until <= now:
                raise ValidationFailed("must be in the future", ("input", "until"))
            barter = replace(wished, id=f"barter-{number}")
            return await self._insert(
                Version(barter=barter, version=1, reference=reference, actor=actor, at=now), session
            )

        return await self._in_order(make)

    async def end(self, barter: str, actor: str) -> Version:
        """End a barter now, and return its last version; one that somebody has ended stays as it is.

        NotFound; ValidationFailed when its time was over already.
        """

        async def make(session: Session, _number: int, now: datetime) -> Version:
            last = await self._read({"barter": barter}, session)
            if not last:
                raise NotFound(f"there is no barter {barter}", ("input", "barter"))
            if last[0].version > 1:
                return last[0]
            terms = last[0].barter
            if terms.until <= now:
                raise ValidationFailed(f"{barter} ended at {milliseconds(terms.until)}", ("input", "barter"))
            # One that has not begun never will: it ends where it would have.
            ended = replace(terms, until=max(now, terms.since))
            return await self._insert(replace(last[0], barter=ended, version=2, actor=actor, at=now), session)

        return await self._in_order(make)

    async def last_versions(self, partner: str | None = None) -> list[Version]:
        """Return every barter as it stands now, those of a partner if one is named; the newest first."""
        wanted: Document = {} if partner is None else {"$or": [{"one": partner}, {"other": partner}]}
        with answering():
            return await self._read(wanted)

    async def versions(self, barter: str) -> list[Version]:
        """Return every version of a barter, the newest first; none when there is no such barter."""
        with answering():
            rows = await self._versions.find({"barter": barter}).sort("version", -1).to_list(None)
        return [_version_from(row) for row in rows]

    async def _read(self, wanted: Document, session: Session | None = None) -> list[Version]:
        # In a transaction the driver's own errors tell it to try again, so nothing is made of them here.
        rows = await self._versions.find(wanted, session=session).sort("version", 1).to_list(None)
        last = {row["barter"]: _version_from(row) for row in rows}
        return sorted(last.values(), key=lambda version: -_number(version.barter.id))

    async def _insert(self, version: Version, session: Session) -> Version:
        await self._versions.insert_one(_document(version), session=session)
        return version

    async def _in_order(self, make: Callable[[Session, int, datetime], Awaitable[Version]]) -> Version:
        """Do one thing after another: the common counter is written first, so of two at once one waits."""

        async def one(session: Session) -> Version:
            counted = await self._terms.find_one_and_update(
                {"_id": "barters"}, {"$inc": {"version": 1}}, upsert=True, return_document=ReturnDocument.AFTER,
                session=session,
            )  # fmt: skip
            return await make(session, (counted or {})["version"], await server_time(self._db))

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                made: Version = await session.with_transaction(one)
        return made


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
