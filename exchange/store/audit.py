"""What a check reads: everything, in ranges, and one snapshot of what cannot be told by versions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import date, datetime
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

from bson import CodecOptions, Int64, decode
from bson.raw_bson import RawBSONDocument
from msgspec import Struct, convert, defstruct, to_builtins

from exchange.agreements import Agreement
from exchange.benefit import Fulfilment
from exchange.errors import ValidationFailed
from exchange.exposure import Pair, Pool, Slice
from exchange.journal import Block, block_id
from exchange.proof.lanes import Placed
from exchange.redemption import Redemption
from exchange.rules import Rules
from exchange.settlement.dispute import Dispute
from exchange.settlement.period import Period
from exchange.settlement.reconciliation import Filed, Resolution
from exchange.settlement.recorded import RecordedNetting
from exchange.settlement.signoff import Record
from exchange.settlement.statement import Statement
from exchange.store import documents as docs
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    aggregate,
    answering,
    settled,
)
from exchange.store.disputes import dispute_from, stands_as_recorded
from exchange.store.headroom import pool_from, slice_from
from exchange.store.nettings import netting_from
from exchange.store.periods import Periods, period_from, statement_from
from exchange.store.reconciliation import record_from as reconciled_from
from exchange.store.shelves import Stockroom, Whole, room_from, shelf_from
from exchange.store.signoff import record_from
from exchange.wallet import Wallet

_T = TypeVar("_T")
_NAMES_AT_ONCE = 1_000
_KEPT = (bytes, datetime, date)
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What is raised where something is not what it should be: our own types' errors, and the standard library's."""
_RAW: Any = CodecOptions(RawBSONDocument, tz_aware=True)


_BlockHead = defstruct("_BlockHead", [(name, kind) for name, kind in get_type_hints(Block).items() if name != "sums"])
"""A block without its sums."""


class Found(Struct, Generic[_T], frozen=True):
    """A document read as what it should be. `value` None: it cannot be; `error` says why, or what else is wrong."""

    id: str
    value: _T | None
    error: str = ""


class StoredWallet(NamedTuple):
    """The bytes that are stored as a wallet, and what they are read as."""

    written: bytes
    read: Found[Wallet]


class Claim(NamedTuple):
    """A code that says to which redemption it went."""

    code: str
    redemption: str
    cipher: bytes


class StockRow(NamedTuple):
    """A benefit's stock as stored. `codes` and `free`: of its pool; `pool`: whether it should have one.

    `published`: the units that the benefit itself says; the codes of its pool, if it has one.
    """

    benefit: str
    whole: Whole
    pool: bool
    codes: int
    free: int
    published: int | None


class HeadroomRow(NamedTuple):
    """A capped partner's pool and slices as stored, beside what the cap's last version and its payments say."""

    pair: Pair
    pool: Pool
    slices: list[Slice]
    cap: int | None
    paid: int


class Audit:
    """The whole database, for reading."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._periods = Periods(db)

        def by_majority(name: str) -> Collection:
            return db[name].with_options(read_concern=MAJORITY)

        self._blocks = by_majority("blocks")
        self._entries = by_majority("entries")
        self._wallets = by_majority("wallets")
        self._references = by_majority("references")
        self._redemptions = by_majority("redemptions")
        self._agreements = by_majority("agreements")
        self._rules = by_majority("rules")
        self._statements = by_majority("statements")
        self._by_number = by_majority("periods")
        self._nettings = by_majority("nettings")

    # ------------------------------------------------------------ as they come

    async def agreements(self) -> list[Agreement]:
        """Return every version of every agreement."""
        with answering():
            rows = await self._agreements.find({}).to_list(None)
        return [docs.agreement_from(row) for row in rows]

    async def found_agreements(self) -> list[Found[Agreement]]:
        """Return every version of every agreement, readable or not."""
        return await _all(self._agreements, docs.agreement_from)

    async def found_rules(self) -> list[Found[Rules]]:
        """Return every version of everybody's rules, readable or not."""
        return await _all(self._rules, docs.rules_from)

    async def found_periods(self) -> list[Found[Period]]:
        """Return every period, the oldest first, readable or not."""
        return await _all(self._by_number, period_from)

    async def found_nettings(self) -> list[Found[RecordedNetting]]:
        """Return every recorded netting, by period, readable or not."""
        return await _all(self._nettings, _netting)

    async def found_statements(self, number: int) -> list[Found[Statement]]:
        """Return a period's statements, readable or not."""
        return await _all(self._statements, statement_from, {"period": number})

    async def periods(self) -> list[Period]:
        """Return every period, the oldest first."""
        return list(reversed(await self._periods.page(None, 0)))

    async def period(self, number: int) -> Period | None:
        """Return a period."""
        return await self._periods.get(number)

    async def periods_of_statements(self) -> list[int]:
        """Return the periods that there are statements of."""
        with answering():
            return list(await self._statements.distinct("period"))

    async def wallet_count(self) -> int:
        """Return roughly how many wallets there are."""
        with answering():
            return int(await self._wallets.estimated_document_count())

    async def wallets(self) -> AsyncIterator[Found[Wallet]]:
        """Yield every wallet."""
        with answering():
            async for row in self._wallets.find({}):
                found = _found(docs.wallet_from, row)
                yield found if found.value is None else Found(found.id, found.value, _unlike_written(row, found.value))

    async def wallets_of(self, ids: Iterable[str]) -> dict[str, Wallet | None]:
        """Return those of these wallets that are there now; None for what cannot be read as one."""
        rows = await _by_ids(self._wallets, ids)
        return {row["_id"]: _found(docs.wallet_from, row).value for row in rows}

    async def stored_wallets(self, at_once: int) -> AsyncIterator[dict[str, StoredWallet]]:
        """Yield every wallet by its id, so many at once."""
        chunk: dict[str, StoredWallet] = {}
        with answering():
            async for row in self._wallets.with_options(codec_options=_RAW).find({}).sort("_id", 1):
                stored = _stored(row)
                chunk[stored.read.id] = stored
                if len(chunk) == at_once:
                    yield chunk
                    chunk = {}
        if chunk:
            yield chunk

    async def stored_wallets_of(self, ids: Iterable[str]) -> dict[str, StoredWallet]:
        """Return those of these wallets that are there now."""
        rows = await _by_ids(self._wallets.with_options(codec_options=_RAW), ids)
        return {stored.read.id: stored for stored in (_stored(row) for row in rows)}

    async def wallets_named_not_there(self, at_once: int) -> AsyncIterator[list[str]]:
        """Yield, in order and each once, the wallets that entries or references name and that are not stored.

        Streamed out of three indexes and merged, because a group over all of them answers when all are read.
        """
        streams = [
            await _Names.begin(self._entries, "wallet", "wallet_version", "index"),
            await _Names.begin(self._entries, "counterpart", "counterpart_version", "index"),
            await _Names.begin(self._references, "wallet"),
        ]
        some: list[str] = []
        while names := [stream.next for stream in streams if stream.next is not None]:
            some.append(min(names))
            for stream in streams:
                await stream.go_behind(some[-1])
            if len(some) == at_once:
                yield await self._not_there(some)
                some = []
        yield await self._not_there(some)

    async def _not_there(self, wallets: list[str]) -> list[str]:
        there = {row["_id"] for row in await _by_ids(self._wallets, wallets, {"_id": 1})}
        return [wallet for wallet in wallets if wallet not in there]

    async def references_to(self, wallets: Iterable[str]) -> dict[str, list[str]]:
        """Return all references that mean these wallets."""
        found: dict[str, list[str]] = {}
        with answering():
            rows = await self._references.find({"wallet": {"$in": list(wallets)}}).sort("_id", 1).to_list(None)
        for row in rows:
            found.setdefault(row["wallet"], []).append(row["_id"])
        return found

    async def references(self) -> AsyncIterator[Found[str]]:
        """Yield every reference, with the wallet that it means."""
        with answering():
            async for row in self._references.find({}):
                yield _found(_wallet_meant, row)

    async def reference(self, reference: str) -> str | None:
        """Return the wallet that a reference means now."""
        with answering():
            row = await self._references.find_one({"_id": reference})
        return None if row is None else row["wallet"]

    async def redemptions_rewritten(self) -> AsyncIterator[Found[Redemption]]:
        """Yield every redemption that was written again after what made it."""
        with answering():
            async for row in self._redemptions.find({"version": {"$ne": 1}}):
                yield _found(docs.redemption_from, row)

    async def redemptions_written_once(self, ids: Iterable[str]) -> set[bytes]:
        """Return those of these redemptions that are still as what made them wrote them, as they are stored."""
        raw: list[Any] = await _by_ids(self._redemptions.with_options(codec_options=_RAW), ids, wanted={"version": 1})
        return {bytes(row.raw) for row in raw}

    @staticmethod
    def redemption_read(written: bytes) -> Found[Redemption]:
        """Return what is read from a redemption as stored."""
        return _found(docs.redemption_from, _decoded(written))

    async def redemptions_without_entry(self) -> AsyncIterator[str]:
        """Yield the redemptions that no entry made: that has their id."""
        some: list[str] = []
        with answering():
            async for row in self._redemptions.find({}, {"_id": 1}):
                some.append(row["_id"])
                if len(some) == _NAMES_AT_ONCE:
                    for name in await self._without_entry(some):
                        yield name
                    some = []
        for name in await self._without_entry(some):
            yield name

    async def _without_entry(self, redemptions: list[str]) -> list[str]:
        made = {row["_id"] for row in await _by_ids(self._entries, redemptions, {"_id": 1})}
        return [name for name in redemptions if name not in made]

    async def redemptions_of(self, ids: Iterable[str]) -> dict[str, Found[Redemption]]:
        """Return those of these redemptions that are there now."""
        rows = await _by_ids(self._redemptions, ids)
        return {row["_id"]: _found(docs.redemption_from, row) for row in rows}

    # ------------------------------------------------------------ the journal

    async def blocks(self, lane: int, first: int, last: int) -> list[Found[Block]]:
        """Return the blocks of a lane from `first` to `last`, in order."""
        with answering():
            rows = await self._blocks.find(
                {"_id": {"$gte": block_id(lane, first), "$lte": block_id(lane, last)}}
            ).sort("_id", 1).to_list(None)  # fmt: skip
        return [_found(_block_at_its_place, row) for row in rows]

    async def entries(self, lane: int, first: int, last: int) -> list[Placed]:
        """Return the entries that say they lie there, in order; what lies before the lane, with its first range."""
        wanted = {"lane": lane, "seq": {"$lte": last} | ({"$gte": first} if first else {})}
        order = [("lane", 1), ("seq", 1), ("index", 1)]
        with answering():
            rows = await self._entries.find(wanted).sort(order).to_list(None)
        return [_placed(row) for row in rows]

    async def entry(self, entry: str) -> Placed | None:
        """Return one entry at its place."""
        with answering():
            row = await self._entries.find_one({"_id": entry})
        return None if row is None else _placed(row)

    async def entries_of_wallets(self, wallets: Iterable[str]) -> list[Placed]:
        """Return all entries that changed one of these wallets."""
        names = list(wallets)
        rows: dict[str, Document] = {}
        with answering():
            for side in ("wallet", "counterpart"):
                rows |= {row["_id"]: row for row in await self._entries.find({side: {"$in": names}}).to_list(None)}
        return [_placed(row) for row in rows.values()]

    async def lanes_of_entries(self) -> dict[int, int]:
        """Return every lane that an entry names, with the highest seq named in it; jumps through the index."""
        highest: dict[int, int] = {}
        # Of numbers alone: an entry that names none is missing in its block.
        wanted: Document = {"lane": {"$gte": 0}, "seq": {"$gte": 0}}
        with answering():
            while True:
                found = await self._entries.find_one(
                    wanted, {"lane": 1, "seq": 1}, sort=[("lane", -1), ("seq", -1), ("index", -1)]
                )
                if found is None:
                    return highest
                highest[found["lane"]] = found["seq"]
                wanted["lane"] = {"$lt": found["lane"]}

    async def heads(self, session: Session | None = None) -> dict[int, int]:
        """Return every lane's highest seq, from its blocks; jumps from lane to lane."""
        highest: dict[int, int] = {}
        blocks = self._blocks if session is None else self._db["blocks"]
        wanted: Document = {}
        with answering():
            while True:
                found = await blocks.find_one(wanted, {"_id": 1}, sort=[("_id", -1)], session=session)
                if found is None:
                    return highest
                lane, seq = (int(part) for part in found["_id"].split("."))
                highest[lane] = seq
                wanted = {"_id": {"$lt": block_id(lane, 0)}}

    # ------------------------------------------------------------ one moment

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Give the database as it was at one moment; for minutes, not for hours."""
        with answering():
            async with await settled(self._db.client.start_session(snapshot=True)) as session:
                yield Snapshot(self, self._db, session)


class Snapshot:
    """Heads, stock and codes of one moment."""

    def __init__(self, audit: Audit, db: Database, session: Session) -> None:
        self._audit = audit
        self._db = db
        self._session = session

    async def heads(self) -> dict[int, int]:
        """Return every lane's highest seq."""
        return await self._audit.heads(self._session)

    async def redemption_count(self) -> int:
        """Return how many redemptions there are."""
        return int(await self._db["redemptions"].count_documents({}, session=self._session))

    async def stock(self) -> AsyncIterator[Found[StockRow]]:
        """Yield the stock of everything that has stock, is published or has codes."""
        session = self._session
        # Counted here: a group over all codes would say nothing until it has read them, and that can take too long.
        codes, free = Counter[str](), Counter[str]()
        async for row in self._db["codes"].find({}, {"_id": 0, "benefit": 1, "free": 1}, session=session):
            codes[str(row["benefit"])] += 1
            free[str(row["benefit"])] += row.get("free") is True
        published = self._db["benefits"].find({}, {"fulfilment": 1, "stock": 1}, session=session)
        benefits = {row["_id"]: (row["fulfilment"] == Fulfilment.INSTANT_CODE, row["stock"]) async for row in published}
        shelves: defaultdict[str, list[Document]] = defaultdict(list)
        async for row in self._db["shelves"].find({}, session=session):
            shelves[str(row.get("benefit"))].append(row)
        unseen = benefits.keys() | codes.keys() | shelves.keys()
        async for row in self._db["stock"].find({}, session=session):
            name = row["_id"]
            unseen.discard(name)
            pool, units = benefits.get(name, (False, row.get("offered")))
            others = (pool, codes[name], free[name], codes[name] if pool else units)
            yield _found(partial(_stock_row, shelves=shelves[name], others=others), row)
        for name in sorted(unseen):
            pool, units = benefits.get(name, (True, None))
            others = (pool, codes[name], free[name], codes[name] if pool else units)
            yield Found(name, StockRow(name, Whole(Stockroom(-1, 0, 0), {}), *others))

    async def headroom(self) -> AsyncIterator[Found[HeadroomRow]]:
        """Yield the headroom of every cap, except while its pool is being counted."""
        session = self._session
        paid = await aggregate(
            self._db["funding"],
            [{"$group": {"_id": {"partner": "$partner", "currency": "$currency"}, "paid": {"$sum": "$minor"}}}],
            session=session,
        )
        payments = {_pair_id(row["_id"]): row["paid"] for row in paid}
        caps: dict[str, Document] = {}
        async for row in self._db["caps"].find({}, session=session).sort("version", 1):
            caps[_pair_id(row)] = row
        rows = [row async for row in self._db["headroom"].find({}, session=session)]
        pools = {row["_id"]: row for row in rows if "pool" not in row}
        for pair in sorted(caps.keys() | pools.keys()):
            pool, cap = pools.get(pair), caps.get(pair)
            if pool is None or pool.get("cap") is None:
                # Nothing of it is counted, which is right if there is no cap any more.
                if cap is not None and cap["minor"] is not None:
                    yield Found(pair, None, f"is capped at {cap['minor']}, and its pool says nothing of it")
            elif pool.get("opening") is not None:
                slices = [row for row in rows if (row.get("pool"), row.get("epoch")) == (pair, pool.get("epoch"))]
                others = (slices, None if cap is None else cap["minor"], payments.get(pair, 0))
                yield _found(partial(_headroom_row, others=others), pool)

    async def sign_offs(self) -> tuple[list[Found[Statement]], list[Found[Period]]]:
        """Return all statements, and the periods they can have settled."""
        statements, periods = self._db["statements"], self._db["periods"]
        return (
            [_found(statement_from, row) async for row in statements.find({}, session=self._session)],
            [_found(period_from, row) async for row in periods.find({}, session=self._session)],
        )

    async def nettings(self) -> list[Found[RecordedNetting]]:
        """Return every recorded netting."""
        return [_found(_netting, row) async for row in self._db["nettings"].find({}, session=self._session)]

    async def records(self) -> AsyncIterator[Found[Record]]:
        """Yield the log of the sign-off, from its beginning."""
        async for row in self._db["sign_offs"].find({}, session=self._session).sort("_id", 1):
            yield _found(record_from, row)

    async def reconciliations(self) -> AsyncIterator[Found[Filed | Resolution]]:
        """Yield the bank's files and what was said about them, from the beginning."""
        async for row in self._db["reconciliations"].find({}, session=self._session).sort("_id", 1):
            yield _found(reconciled_from, row)

    async def disputes(self) -> AsyncIterator[Found[Dispute]]:
        """Yield every dispute."""
        async for row in self._db["disputes"].find({}, session=self._session):
            found = _found(dispute_from, row)
            odd = found.value is not None and not stands_as_recorded(row, found.value)
            yield Found(found.id, found.value, "does not stand as its records say") if odd else found

    async def claims(self) -> AsyncIterator[Found[Claim]]:
        """Yield every code that is not free any more."""
        async for row in self._db["codes"].find({"redemption": {"$ne": None}}, session=self._session):
            yield _found(_claim, row)


class _Names:
    """One field's values in the order of its index, each once; `next` None: there are no more."""

    def __init__(self, rows: AsyncIterator[Document], field: str) -> None:
        self._rows = rows
        self._field = field
        self.next: str | None = None

    @classmethod
    async def begin(cls, collection: Collection, field: str, *more: str) -> _Names:
        """Begin with the first; `more`: the other fields of the index, which is then all that is read."""
        rows = collection.find({field: {"$gt": ""}}, {"_id": 0, field: 1}).sort([(name, 1) for name in (field, *more)])
        names = cls(aiter(rows), field)
        await names.go_behind("")
        return names

    async def go_behind(self, name: str) -> None:
        """Go on to the first that is greater than `name`."""
        if self.next is not None and self.next > name:
            return
        with answering():
            async for row in self._rows:
                self.next = row[self._field]
                if self.next > name:
                    return
        self.next = None


async def _by_ids(
    collection: Collection, ids: Iterable[str], fields: Document | None = None, wanted: Document | None = None
) -> list[Document]:
    """Return the documents of these ids, asking for so many at once that a question never grows too long."""
    names, rows = list(ids), list[Document]()
    for first in range(0, len(names), _NAMES_AT_ONCE):
        some = names[first : first + _NAMES_AT_ONCE]
        with answering():
            rows += await collection.find({"_id": {"$in": some}} | (wanted or {}), fields).to_list(None)
    return rows


def _stored(row: Any) -> StoredWallet:
    written = bytes(row.raw)
    return StoredWallet(written, _found(docs.wallet_from, _decoded(written)))


def _decoded(written: bytes) -> Document:
    document: Document = decode(written, CodecOptions(tz_aware=True))
    return document


def _unlike_written(document: Document, wallet: Wallet) -> str:
    """Say which fields are not as the commit that this wallet is of has written them: those that are computed too."""
    written = docs.wallet_document(wallet, wallet.version, wallet.period)
    odd = sorted(name for name in document.keys() | written.keys() if document.get(name) != written.get(name))
    return f"{', '.join(odd)} cannot have been written so" if odd else ""


async def _all(
    collection: Collection, read: Callable[[Document], _T], wanted: Document | None = None
) -> list[Found[_T]]:
    with answering():
        rows = await collection.find(wanted or {}).sort("_id", 1).to_list(None)
    return [_found(read, row) for row in rows]


def _found(read: Callable[[Document], _T], document: Document) -> Found[_T]:
    """Read a document as what it should be, and hold every part of it against its type.

    Nothing behind this has to expect a word where a number should be.
    """
    name = str(document.get("_id"))
    try:
        value = read(document)
        if not isinstance(value, Block):  # which is judged where it is read: its sums are kept as they are hashed
            value = _held_to(type(value), value)
    except UNREADABLE as error:
        return Found(name, None, f"{type(error).__name__}: {error}")
    return Found(name, value)


def _held_to(kind: type[_T], value: object) -> _T:
    """Return a value of the types that its parts have there; ValidationError (a ValueError) where one has another."""
    return convert(to_builtins(value, builtin_types=_KEPT, enc_hook=_whole), kind, builtin_types=_KEPT)


def _whole(number: object) -> int:
    """Return the driver's own integer, which it makes of all that may be too long for 32 bits, as one."""
    if isinstance(number, Int64):
        return int(number)
    message = f"a {type(number).__name__} cannot be here"
    raise TypeError(message)


def _block_at_its_place(document: Document) -> Block:
    block = docs.block_from(document)
    if block.id != document["_id"]:
        message = f"says that it is {block.id}"
        raise ValueError(message)
    head = {name: getattr(block, name) for name in _BlockHead.__struct_fields__}
    _held_to(_BlockHead, head)
    convert(document["sums"], list[list[str]])
    return block


def _wallet_meant(document: Document) -> str:
    return convert(document["wallet"], str)


def _stock_row(
    document: Document, shelves: list[Document], others: tuple[bool, int, int, int | None]
) -> StockRow:  # fmt: skip
    whole = Whole(room_from(document), {row["lane"]: shelf_from(row) for row in shelves})
    if len(whole.shelves) != len(shelves):
        message = "two shelves of one lane"
        raise ValueError(message)
    return StockRow(document["_id"], whole, *others)


def _headroom_row(document: Document, others: tuple[list[Document], int | None, int]) -> HeadroomRow:
    slices, cap, paid = others
    pair = Pair(document["partner"], document["currency"])
    if pair.id != document["_id"]:
        message = f"says that it is {pair.id}"
        raise ValueError(message)
    return HeadroomRow(pair, pool_from(document), [slice_from(each) for each in slices], cap, paid)


def _netting(document: Document) -> RecordedNetting:
    try:
        return netting_from(document)
    except ValidationFailed as refusal:
        raise ValueError(refusal.message) from None


def _claim(document: Document) -> Claim:
    return Claim(document["_id"], document["redemption"], bytes(document["cipher"]))


def _pair_id(document: Document) -> str:
    return Pair(str(document.get("partner")), str(document.get("currency"))).id


def _placed(document: Document) -> Placed:
    found = _found(docs.entry_from, document)
    place = _found(_place, document)
    offset, period, settles = place.value or _Place(-1, -1, [])
    return Placed(
        found.id, document["lane"], document["seq"], offset, period, settles,
        None if place.error else found.value, found.error or place.error,
    )  # fmt: skip


class _Place(NamedTuple):
    offset: int
    period: int
    settles: list[str]


def _place(document: Document) -> _Place:
    return _Place(document["index"], document["period"], document.get("settles", []))
