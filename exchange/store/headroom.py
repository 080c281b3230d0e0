"""Caps, payments, and the headroom that lanes draw: `exchange.exposure` says what it is.

How a cap begins while members redeem. What the partner owes by then has to be counted, to the cent, and the journal
never stands still. So only this partner's money does, for a moment:

1. the journal is added up as far as it goes by now, at leisure;
2. the cap is set: one transaction, by whose number every later batch knows of it. As long as the pool is not open, a
   batch that concerns the partner does not decide: it opens the pool, as here, and is tried again;
3. every lane gets an empty block behind its head. A batch that was decided without the cap wanted that place: it loses
   it, and reads again. What comes behind has read the cap;
4. so nothing that concerns the partner is committed from here on. What was owed is 1. and the few blocks since, and
   what reservations have promised is read as it stands;
5. the pool is opened with that. Whoever did the same at the same time counted the same.

Any process goes on where another died. Lifting a cap ends all this; setting one again counts anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from msgspec.structs import replace
from pymongo import InsertOne, UpdateOne
from pymongo.errors import DuplicateKeyError

from exchange.amounts import Money
from exchange.errors import Contended, IdempotencyConflict, VersionConflict
from exchange.exposure import (
    NO_SLICE,
    Cap,
    CapBook,
    Drawn,
    Exposure,
    Funding,
    Notice,
    Pair,
    Pool,
    Room,
    Slice,
    call_in,
    draw,
    validate_cap,
    validate_payment,
    with_draw,
)
from exchange.journal import BlockKind, block_id
from exchange.redemption import RedemptionStatus
from exchange.store import documents as docs
from exchange.store.books import Books
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    aggregate,
    answering,
    ensure_index,
    server_time,
    settled,
)
from exchange.store.lanes import Conflict, in_one_transaction, write_all

_ATTEMPTS = 50
"""Of what is not urgent, such as setting a cap, against lanes that draw all the time."""


class Recorded(NamedTuple):
    """A payment as it stands, and whether it had been recorded before."""

    funding: Funding
    replayed: bool


class Headroom:
    """Who may owe how much, and what is left of it. `pool` documents are named by their pair, slices under it."""

    def __init__(self, db: Database, books: Books | None = None) -> None:
        self._db = db
        self._books = books or Books(db)
        self._headroom: Collection = db["headroom"]
        self._caps: Collection = db["caps"].with_options(read_concern=MAJORITY)
        self._funding: Collection = db["funding"].with_options(read_concern=MAJORITY)
        self._notices: Collection = db["notices"]
        self._terms: Collection = db["terms"]
        self._blocks: Collection = db["blocks"].with_options(read_concern=MAJORITY)
        self._redemptions: Collection = db["redemptions"].with_options(read_concern=MAJORITY)

    async def create_indexes(self) -> None:
        """Create the indexes by which slices, versions, payments and notices are found. Idempotent."""
        with answering():
            await ensure_index(self._headroom, "pool", name="slices")
            pair = [("partner", 1), ("currency", 1)]
            await ensure_index(self._caps, [*pair, ("version", -1)], name="newest", unique=True)
            await ensure_index(self._funding, [*pair, ("at", -1)], name="newest")
            await ensure_index(self._notices, [*pair, ("at", -1)], name="newest")
            # One crossing is one notice, whoever notices it.
            await ensure_index(
                self._notices, pair, name="standing", unique=True, partialFilterExpression={"standing": True}
            )

    # ------------------------------------------------------------ caps

    async def caps(self, partner: str, currency: str) -> list[Cap]:
        """Return every version of a cap, the newest first."""
        with answering():
            rows = await self._caps.find({"partner": partner, "currency": currency}).sort("version", -1).to_list(None)
        return [docs.cap_from(row) for row in rows]

    async def set_cap(
        self, pair: Pair, minor: int | None, low_minor: int | None = None, *, actor: str,
        expected_version: int | None = None,
    ) -> Cap:  # fmt: skip
        """Add the next version of a cap; `minor` None lifts it. In force when this returns.

        VersionConflict if it has another version than the one expected (None: whichever it has).
        """
        validate_cap(pair.currency, minor, low_minor)
        counted = await self._counted(pair) if minor is not None else {}

        async def in_order(session: Session) -> tuple[Cap, bool]:
            await self._terms.update_one({"_id": "caps"}, {"$inc": {"version": 1}}, upsert=True, session=session)
            newest = await self._db["caps"].find_one(pair._asdict(), sort=[("version", -1)], session=session)
            before = None if newest is None else docs.cap_from(newest)
            version = 0 if before is None else before.version
            if expected_version not in (None, version):
                message = f"this cap has version {version}"
                raise VersionConflict(message, ("input", "expectedVersion"), current_version=version)
            begins = minor is not None and (before is None or before.minor is None)
            epoch = version + 1 if begins or before is None else before.epoch
            cap = Cap(
                partner=pair.partner, currency=pair.currency, version=version + 1, minor=minor, low_minor=low_minor,
                epoch=epoch, since=await server_time(self._db), actor=actor,
            )  # fmt: skip
            await self._db["caps"].insert_one(docs.cap_document(cap), session=session)
            change: Document = {"cap": minor, "epoch": epoch}
            if begins:
                change |= {"opening": None, "granted": 0, "counted": {"$literal": counted}}
                await self._headroom.delete_many({"pool": pair.id}, session=session)
            await self._change_pool(pair, change, session)
            return cap, begins

        cap: Cap
        with answering():
            async with await settled(self._db.client.start_session()) as session:
                cap, begins = await session.with_transaction(in_order)
        if begins:
            await self.open(cap)
        elif minor is not None:
            await self._level(cap)
        await self.notice(pair.partner)
        return cap

    async def open(self, cap: Cap) -> None:
        """Open the pool of a cap that was set where there was none; nothing, if it is open."""
        pool = await self._pool(cap.pair)
        if pool is None or pool["epoch"] != cap.epoch or pool["cap"] is None or pool["opening"] is not None:
            return
        await self._books.mark_lanes()
        counted = pool["counted"]
        opening = (
            counted["owed"]
            + await self._owed(cap.pair, _behind(dict(counted["heads"])))
            + await self._promised(cap.pair)
        )
        with answering():
            await self._headroom.update_one(
                {"_id": cap.pair.id, "epoch": cap.epoch, "opening": None}, _pool_change(cap.pair, {"opening": opening})
            )

    async def _change_pool(self, pair: Pair, change: Document, session: Session) -> None:
        await self._headroom.update_one({"_id": pair.id}, _pool_change(pair, change), upsert=True, session=session)

    async def _counted(self, pair: Pair) -> Document:
        """Add up what the partner owes by the journal as far as it goes now."""
        heads = await self._books.heads()
        up_to = [{"_id": {"$gte": block_id(lane, 0), "$lte": block_id(lane, seq)}} for lane, seq in heads.items()]
        return {"owed": await self._owed(pair, up_to) if heads else 0, "heads": [list(each) for each in heads.items()]}

    async def _owed(self, pair: Pair, ranges: Sequence[Document]) -> int:
        """Add up what the sums of these blocks say that a partner owes, net."""

        def at(place: int) -> Document:
            return {"$arrayElemAt": ["$sums", place]}

        def if_it_is(place: int, minor: Any) -> Document:
            return {"$cond": [{"$eq": [at(place), pair.partner]}, minor, 0]}

        # A row is: money, issuer, provider, channel, currency, points, gross, fee, commission, entries.
        gross, fee, commission = ({"$toLong": at(place)} for place in (6, 7, 8))
        provided = {"$subtract": [{"$add": [fee, commission]}, gross]}
        net = {"$add": [if_it_is(1, gross), if_it_is(2, provided), if_it_is(3, {"$subtract": [0, commission]})]}
        with answering():
            rows = await aggregate(self._blocks, [
                {"$match": {"kind": BlockKind.ENTRIES.value, "$or": list(ranges)}},
                {"$unwind": "$sums"},
                {"$match": {"$expr": {"$and": [{"$eq": [at(0), "money"]}, {"$eq": [at(4), pair.currency]}]}}},
                {"$group": {"_id": None, "owed": {"$sum": net}}},
            ])  # fmt: skip
        return int(rows[0]["owed"]) if rows else 0

    async def _promised(self, pair: Pair) -> int:
        """Add up what open reservations would make an issuer owe."""
        rows_of = {"debits.issuer": pair.partner, "debits.currency": pair.currency}
        with answering():
            rows = await aggregate(self._redemptions, [
                {"$match": {"status": RedemptionStatus.RESERVED.value, "reserved_until": {"$type": "date"}}},
                {"$unwind": "$debits"},
                {"$match": rows_of},
                {"$group": {"_id": None, "owed": {"$sum": "$debits.owed"}}},
            ])  # fmt: skip
        return int(rows[0]["owed"]) if rows else 0

    # ------------------------------------------------------------ payments

    async def fund(self, funding: Funding) -> Recorded:
        """Record a payment, once for its id; IdempotencyConflict if the id stands for another."""
        pair = Pair(funding.partner, funding.amount.currency)
        validate_payment(funding.amount)

        async def in_order(session: Session) -> Recorded:
            known = await self._db["funding"].find_one({"_id": funding.id}, session=session)
            if known is not None:
                return Recorded(docs.funding_from(known), replayed=True)
            stored = replace(funding, at=await server_time(self._db))
            paid = {"$add": [{"$ifNull": ["$paid", 0]}, funding.amount.minor]}
            await self._change_pool(pair, {"paid": paid}, session)
            await self._db["funding"].insert_one(docs.funding_document(stored), session=session)
            return Recorded(stored, replayed=False)

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                recorded: Recorded = await session.with_transaction(in_order)
        if recorded.funding.fingerprint != funding.fingerprint:
            raise IdempotencyConflict(
                "this idempotency key was used with a different input", ("input", "idempotencyKey")
            )
        for cap in (await self.caps(*pair))[:1]:
            if cap.minor is not None:
                await self._level(cap)
                await self.notice(pair.partner)
        return recorded

    async def payments(self, partner: str, currency: str | None = None, limit: int = 100) -> list[Funding]:
        """Return a partner's payments, the newest first."""
        wanted = {"partner": partner} | ({} if currency is None else {"currency": currency})
        with answering():
            rows = await self._funding.find(wanted).sort([("at", -1), ("_id", -1)]).limit(limit).to_list(None)
        return [docs.funding_from(row) for row in rows]

    # ------------------------------------------------------------ what lanes draw

    async def rooms(self, lane: int, caps: Iterable[Cap]) -> list[Room]:
        """Return a lane's rooms, from the primary and now. Conflict if a pool was not open yet: read again.

        The pool of a cap that was just set is opened first.
        """
        wanted = list(caps)
        names = [name for cap in wanted for name in (cap.pair.id, _slice_id(cap, lane))]
        with answering():
            rows = await self._headroom.find({"_id": {"$in": names}}).to_list(None)
        found = {row["_id"]: row for row in rows}
        rooms = []
        for cap in wanted:
            pool, mine = found.get(cap.pair.id), found.get(_slice_id(cap, lane))
            if pool is None or pool["opening"] is None or pool["cap"] is None or pool["epoch"] != cap.epoch:
                await self.open(cap)
                raise Conflict("a cap has just been set, or lifted")
            rooms.append(Room(cap, lane, pool_from(pool).free, NO_SLICE if mine is None else slice_from(mine)))
        return rooms

    async def draw(self, room: Room, wish: int, must: int = 0) -> Room:
        """Let a lane draw what it wishes to use, as far as there is that much, and at least what it must."""
        drawn = await self._rearranged(room.cap, lambda pool, slices: draw(pool, slices, room.lane, wish, must))
        return with_draw(room, drawn, wish)

    async def lefts(self, caps: Iterable[Cap]) -> dict[Pair, int]:
        """Return the headroom left of these, whichever lane has it; nothing of a pool that is not open."""
        by_pair = {cap.pair: cap for cap in caps}
        exposures = await self._exposures(list(by_pair.values())) if by_pair else []
        return {each.in_force.pair: each.left.minor for each in exposures}

    async def _level(self, cap: Cap) -> None:
        """Take back what lanes have left while more is granted than there is: a lower cap holds at once."""
        for attempt in range(_ATTEMPTS):
            with suppress(Conflict):
                await self._rearranged(cap, call_in)
                return
            await asyncio.sleep(0.001 * attempt)
        raise Contended("lanes drew all the time; try again")

    async def _rearranged(self, cap: Cap, how: Callable[[Pool, dict[int, Slice]], Drawn]) -> Drawn:
        """Change pool and slices in one transaction, each under its version."""

        async def work(session: Session) -> Drawn:
            rows = await self._headroom.find(
                {"$or": [{"_id": cap.pair.id}, {"pool": cap.pair.id, "epoch": cap.epoch}]}, session=session
            ).to_list(None)
            (row,) = [row for row in rows if row["_id"] == cap.pair.id]
            if row["opening"] is None or row["epoch"] != cap.epoch:
                raise Conflict("the cap has changed")
            before = pool_from(row)
            slices = {row["lane"]: slice_from(row) for row in rows if "lane" in row}
            drawn = how(before, slices)
            if drawn.pool == before and not drawn.slices:
                return drawn
            writes = [_pool_write(cap, before, drawn.pool)]
            writes += [_slice_write(cap, lane, each) for lane, each in drawn.slices.items()]
            await write_all(self._headroom, writes, session)
            return Drawn(drawn.pool, {lane: _written(each) for lane, each in drawn.slices.items()})

        return await in_one_transaction(self._db.client, work)

    # ------------------------------------------------------------ what people see

    async def exposures(self, partner: str | None = None) -> list[Exposure]:
        """Return where capped partners stand, one's or everybody's, by partner and currency, with their notices."""
        with answering():
            rows = await self._caps.find({} if partner is None else {"partner": partner}).to_list(None)
        book = CapBook(docs.cap_from(row) for row in rows)
        found = await self._exposures(book.of(row["partner"] for row in rows))
        return [replace(each, notices=tuple(await self.notices(each.in_force.pair))) for each in found]

    async def _exposures(self, caps: Sequence[Cap]) -> list[Exposure]:
        names = [cap.pair.id for cap in caps]
        with answering():
            rows = await self._headroom.find({"$or": [{"_id": {"$in": names}}, {"pool": {"$in": names}}]}).to_list(None)
        pools = {row["_id"]: row for row in rows if "pool" not in row}
        found = []
        for cap in caps:
            pool = pools.get(cap.pair.id)
            if pool is None or pool["opening"] is None or pool["epoch"] != cap.epoch:
                continue  # being counted
            slices = (row for row in rows if row.get("pool") == cap.pair.id and row["epoch"] == cap.epoch)
            used = pool["opening"] + sum(row["used"] for row in slices)
            money = (Money(pool["paid"], cap.currency), Money(used, cap.currency))
            found.append(Exposure(in_force=cap, paid=money[0], used=money[1]))
        return found

    async def notices(self, pair: Pair, limit: int = 20) -> list[Notice]:
        """Return what was noticed of a partner's headroom, the newest first."""
        with answering():
            rows = await self._notices.find(pair._asdict()).sort("at", -1).limit(limit).to_list(None)
        return [
            Notice(at=row["at"], left=Money(row["left"], pair.currency), cleared_at=row["cleared_at"]) for row in rows
        ]

    async def notice(self, partner: str | None = None) -> None:
        """Write down who has little left by now, once per crossing, and who has enough again."""
        with answering():
            terms = await self._terms.find_one({"_id": "caps"})
            standing = [] if terms is None else await self._notices.find({"standing": True}).to_list(None)
        if terms is None:
            return
        known = {Pair(row["partner"], row["currency"]) for row in standing if partner in (None, row["partner"])}
        book = await self._books.cap_book(terms["version"])
        caps = [cap for cap in book.of([partner] if partner else book.partners) if cap.low_minor is not None]
        low = {each.in_force.pair: each.left.minor for each in await self._exposures(caps) if each.low}
        now = await server_time(self._db)
        for pair in low.keys() - known:
            row = {**pair._asdict(), "at": now, "left": low[pair], "cleared_at": None, "standing": True}
            with answering(), suppress(DuplicateKeyError):  # another process noticed it, too
                await self._notices.insert_one(row)
        for pair in known - low.keys():
            with answering():
                await self._notices.update_one(
                    {**pair._asdict(), "standing": True}, {"$set": {"cleared_at": now}, "$unset": {"standing": ""}}
                )

    async def _pool(self, pair: Pair) -> Document | None:
        with answering():
            return await self._headroom.with_options(read_concern=MAJORITY).find_one({"_id": pair.id})


# ---------------------------------------------------------------- documents


def slice_use(room: Room, more: int) -> UpdateOne:
    """Return the write by which a block uses a slice, under its version, and never more of it than was granted."""
    return UpdateOne(
        {
            "_id": _slice_id(room.cap, room.lane),
            "version": room.slice.version,
            "$expr": {"$lte": [{"$add": ["$used", more]}, "$granted"]},
        },
        {"$inc": {"used": more, "version": 1}},
    )


def _slice_id(cap: Cap, lane: int) -> str:
    return f"{cap.pair.id}#{cap.epoch:06d}/{lane:06d}"


def _written(each: Slice) -> Slice:
    return each._replace(version=each.version + 1)


def pool_from(row: Document) -> Pool:
    """Return the pool that was stored; it is open."""
    return Pool(row["cap"] or 0, row["paid"], row["opening"], row["granted"], row["over"], row["version"])


def slice_from(row: Document) -> Slice:
    """Return the slice that was stored."""
    return Slice(row["granted"], row["used"], row["version"])


def _pool_change(pair: Pair, change: Document) -> list[Document]:
    """Return the update of a pool, made if it is not there, that also says how much is granted beyond what there is."""
    blank = {"paid": 0, "cap": None, "epoch": 0, "opening": None, "granted": 0, "version": 0, **pair._asdict()}
    there = {"$subtract": [{"$add": ["$cap", "$paid"]}, "$opening"]}
    return [
        {"$replaceWith": {"$mergeObjects": [blank, "$$ROOT"]}},
        {"$set": change},
        # Null, and so not more than zero, where there is no cap or it is being counted.
        {"$set": {"version": {"$add": ["$version", 1]}, "over": {"$max": [0, {"$subtract": ["$granted", there]}]}}},
        *([{"$unset": "counted"}] if "opening" in change and change["opening"] is not None else []),
    ]


def _pool_write(cap: Cap, before: Pool, after: Pool) -> UpdateOne:
    change = {"$set": {"granted": after.granted, "over": after.over}, "$inc": {"version": 1}}
    return UpdateOne({"_id": cap.pair.id, "version": before.version}, change)


def _slice_write(cap: Cap, lane: int, each: Slice) -> Any:
    name = _slice_id(cap, lane)
    if each.version == 0:
        new = {"pool": cap.pair.id, "epoch": cap.epoch, "lane": lane, "granted": each.granted, "used": 0, "version": 1}
        return InsertOne({"_id": name, **new})
    change = {"$set": {"granted": each.granted}, "$inc": {"version": 1}}
    return UpdateOne({"_id": name, "version": each.version}, change)


def _behind(heads: dict[int, int]) -> list[Document]:
    """Return where the blocks lie that are behind these heads, or of lanes that are not among them."""
    ranges = [{"_id": {"$gt": block_id(lane, seq), "$lt": block_id(lane + 1, 0)}} for lane, seq in heads.items()]
    return [*ranges, {"_id": {"$gte": block_id(max(heads, default=0) + 1, 0)}}]
