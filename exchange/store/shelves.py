"""A benefit's stock, in slices: what no lane has lies in the stockroom (`stock`), what a lane can sell on its shelf.

    free in the stockroom + (left + sold + reserved) of all shelves = offered

A block sells from its own lane's shelf alone, so processes that sell the same benefit do not meet, whether it is scarce
or merely popular. Where there is no limit, a shelf only counts. Units that come back go to the shelf of the lane that
took the step, so its `sold` alone can be less than nothing: only the sum of all shelves means something.

A lane's first shelf of a benefit, and every change of what is offered, writes the stockroom under its version: no lane
can begin to sell without a limit while one is being set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pymongo import InsertOne, UpdateOne

from exchange.benefit import Stock, StockChange
from exchange.slices import called_in, drawn
from exchange.store.connection import MAJORITY, Collection, Database, Document, Session, answering, settled
from exchange.store.lanes import in_one_transaction, write_all


class Stockroom(NamedTuple):
    """What there is of a benefit besides shelves; both None without a limit."""

    offered: int | None
    free: int | None
    version: int


class Shelf(NamedTuple):
    """What one lane has of a benefit; `left` None without a limit."""

    left: int | None
    sold: int = 0
    reserved: int = 0

    @property
    def stock(self) -> Stock:
        """What a lane decides by: it may sell what is left on its own shelf."""
        taken = self.sold + self.reserved
        return Stock(None if self.left is None else self.left + taken, self.sold, self.reserved)


class Whole(NamedTuple):
    """Stockroom and shelves of one benefit."""

    room: Stockroom
    shelves: dict[int, Shelf]

    @property
    def stock(self) -> Stock:
        """What became of all that was offered."""
        shelves = self.shelves.values()
        return Stock(self.room.offered, sum(each.sold for each in shelves), sum(each.reserved for each in shelves))


class Shelves:
    """Every benefit's stockroom and shelves in one database."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._stock: Collection = db["stock"]
        self._shelves: Collection = db["shelves"]
        self._settled_stock = self._stock.with_options(read_concern=MAJORITY)
        self._settled_shelves = self._shelves.with_options(read_concern=MAJORITY)

    async def stock(self, benefits: Iterable[str]) -> dict[str, Stock]:
        """Return what became of all that was offered of these."""
        with answering():
            return {benefit: whole.stock for benefit, whole in (await self.whole(benefits)).items()}

    async def whole(self, benefits: Iterable[str], session: Session | None = None) -> dict[str, Whole]:
        """Return stockrooms with their shelves; without a session, what a majority has."""
        wanted = list(benefits)
        stock, on_shelves = self._settled_stock, self._settled_shelves
        if session is not None:
            stock, on_shelves = self._stock, self._shelves
        rooms = await stock.find({"_id": {"$in": wanted}}, session=session).to_list(None)
        shelves: defaultdict[str, dict[int, Shelf]] = defaultdict(dict)
        for row in await on_shelves.find({"benefit": {"$in": wanted}}, session=session).to_list(None):
            shelves[row["benefit"]][row["lane"]] = shelf_from(row)
        return {row["_id"]: Whole(room_from(row), shelves[row["_id"]]) for row in rooms}

    # ------------------------------------------------------------ what lanes draw

    async def draw(self, lane: int, wishes: Mapping[str, int], lanes: int) -> dict[str, Stock]:
        """Fill a lane's shelves up to what it wishes to sell, as far as there is that much; one of `lanes`.

        Returns the stock on its shelves. One transaction for all of them, and none if there is nothing to be had.
        Raises Conflict when a rival was faster.
        """
        with answering():
            # Of one moment, or what moves from shelf to shelf meanwhile could be seen on neither, and be refused.
            async with await settled(self._db.client.start_session(snapshot=True)) as session:
                found = await self.whole(wishes, session)
        rooms: list[Any] = []
        shelves: list[Any] = []
        mine: dict[str, Stock] = {}
        for benefit, (room, there) in found.items():
            own = there.get(lane, Shelf(None if room.free is None else 0))
            lefts = {number: each.left for number, each in there.items() if each.left is not None}
            more, back = (0, {}) if room.free is None else drawn(room.free, lefts, lane, wishes[benefit], lanes)
            if lane not in there or more:
                rooms.append(_room_write(benefit, room, sum(back.values()) - more))
                shelves += [_moved(benefit, other, -less) for other, less in back.items()]
                shelves.append(_moved(benefit, lane, more) if lane in there else _new(benefit, lane, own, more))
            mine[benefit] = (own if own.left is None else own._replace(left=own.left + more)).stock

        async def work(session: Session) -> None:
            await write_all(self._stock, rooms, session)
            await write_all(self._shelves, shelves, session)

        if rooms:
            await in_one_transaction(self._db.client, work)
        return mine

    # ------------------------------------------------------------ what partners offer

    async def begin(self, offered: Mapping[str, int | None], session: Session) -> None:
        """Open the stockrooms of new benefits."""
        await self._stock.insert_many(
            [{"_id": benefit, "offered": units, "free": units, "version": 1} for benefit, units in offered.items()],
            session=session,
        )

    async def change(self, benefit: str, whole: Whole, offered: int | None, session: Session) -> None:
        """Offer another number of units, no less than were taken, or without a limit (None).

        What a lane sells meanwhile conflicts, if it is of what this changes: `whole` is of the session's snapshot.
        """
        before = whole.room
        shelves: Sequence[UpdateOne]
        free: int | None
        if offered is None or before.offered is None or before.free is None:
            free = None if offered is None else offered - whole.stock.sold - whole.stock.reserved
            on_shelf = None if offered is None else 0
            shelves = [
                UpdateOne({"_id": shelf_id(benefit, lane)}, {"$set": {"left": on_shelf}}) for lane in whole.shelves
            ]
        else:
            free = before.free + offered - before.offered
            back = called_in(free, {lane: each.left or 0 for lane, each in whole.shelves.items()}, 0)
            free += sum(back.values())
            shelves = [_moved(benefit, lane, -less) for lane, less in back.items()]
        await write_all(self._stock, [
            UpdateOne({"_id": benefit, "version": before.version},
                      {"$set": {"offered": offered, "free": free}, "$inc": {"version": 1}})
        ], session)  # fmt: skip
        await write_all(self._shelves, shelves, session)

    async def add(self, benefit: str, units: int, session: Session) -> int:
        """Offer so many more; returns how many were ever offered before."""
        more = {"$inc": {"offered": units, "free": units, "version": 1}}
        before = await self._stock.find_one_and_update({"_id": benefit}, more, session=session)
        return 0 if before is None else int(before["offered"])


def shelf_id(benefit: str, lane: int) -> str:
    """Return the name of a lane's shelf."""
    return f"{lane:06d}/{benefit}"


def shelf_sale(benefit: str, lane: int, change: StockChange, *, limited: bool) -> UpdateOne:
    """Return the write by which a block changes its lane's shelf; never below nothing left."""
    sold, reserved = change
    shelf = shelf_id(benefit, lane)
    if not limited:
        return UpdateOne({"_id": shelf, "left": None}, {"$inc": {"sold": sold, "reserved": reserved}})
    taken = sold + reserved
    counted = {"$inc": {"left": -taken, "sold": sold, "reserved": reserved}}
    return UpdateOne({"_id": shelf, "left": {"$gte": max(taken, 0)}}, counted)


def room_from(row: Document) -> Stockroom:
    """Return the stockroom that was stored."""
    return Stockroom(row["offered"], row["free"], row["version"])


def shelf_from(row: Document) -> Shelf:
    """Return the shelf that was stored."""
    return Shelf(row["left"], row["sold"], row["reserved"])


def shelf_document(benefit: str, lane: int, shelf: Shelf) -> Document:
    """Return a lane's shelf."""
    return {"_id": shelf_id(benefit, lane), "benefit": benefit, "lane": lane, **shelf._asdict()}


def _new(benefit: str, lane: int, shelf: Shelf, more: int) -> InsertOne[Document]:
    filled = shelf if shelf.left is None else shelf._replace(left=shelf.left + more)
    return InsertOne(shelf_document(benefit, lane, filled))


def _moved(benefit: str, lane: int, more: int) -> UpdateOne:
    return UpdateOne({"_id": shelf_id(benefit, lane), "left": {"$gte": max(-more, 0)}}, {"$inc": {"left": more}})


def _room_write(benefit: str, room: Stockroom, more: int) -> UpdateOne:
    # Its version moves even if nothing else does: a limit that is set meanwhile has to meet this.
    change = {"version": 1} if room.free is None else {"version": 1, "free": more}
    return UpdateOne({"_id": benefit, "version": room.version}, {"$inc": change})
