"""On a server with authorization on: what the exchange's own user may not do, and that it needs nothing else."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

import exchange
from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.benefit import Fulfilment, LimitPeriod
from exchange.errors import NotSetUp
from exchange.exposure import Pair
from exchange.journal import Block, BlockKind
from exchange.mongod import TRANSACTION_SECONDS_MAX
from exchange.rules import Rules
from exchange.settlement.calendar import Calendar, Every
from exchange.settlement.clearing import Settlement
from exchange.settlement.export import Form
from exchange.store import documents as docs
from exchange.store.books import Books
from exchange.store.calendars import Calendars
from exchange.store.connection import Database, connect, database, server_time, settled
from exchange.store.disputes import Disputes
from exchange.store.exports import Exports
from exchange.store.headroom import Headroom
from exchange.store.lanes import Lane
from exchange.store.nettings import RecordedNettings
from exchange.store.roles import ADDED_TO, CHANGED, REMOVED_FROM, SERVER, SETUP, apply_roles
from exchange.sweeper import Sweeper
from tests.exchange.conftest import KEYRING, House, house_on, known
from tests.exchange.settlement.scribe import scribe_on
from tests.exchange.speech import NOW, SALT, award, benefit, redeem
from tests.exchange.test_check import netted, quarrel
from tests.guarded import Guarded, guarded

UNAUTHORIZED = 13
SOURCES = Path(exchange.__file__).parents[1]


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    """Give a server whose users are made, and whose database is not set up yet."""
    with guarded() as server:
        asyncio.run(_apply(server))
        server.add_users()
        yield server


async def _apply(server: Guarded) -> None:
    async with opened(server.admin) as db:
        assert [new for _, new in await apply_roles(db)] == [True, True]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """Give the database as a user sees it."""
    client = connect(url)
    try:
        yield database(client)
    finally:
        await settled(client.close())


@pytest.fixture
async def admin(server: Guarded) -> AsyncIterator[Database]:
    """Give the administrator's database, empty at first."""
    async with opened(server.admin) as db:
        for name in await db.list_collection_names(filter={"name": {"$not": {"$regex": "^system"}}}):
            await db.drop_collection(name)
        yield db


@pytest.fixture
async def ready(server: Guarded, admin: Database) -> None:
    """Set the database up, as the user for that."""
    async with opened(server.setup) as db:
        await _set_up(db)


async def _set_up(db: Database) -> None:
    house = house_on(db)
    await house.books.create()
    nettings, exports = RecordedNettings(db), Exports(db)
    for part in (
        house.catalog, house.terms, Headroom(db), Settlement(db, KEYRING), Disputes(db), nettings, exports,
    ):  # fmt: skip
        await part.create_indexes()


@pytest.fixture
async def house(server: Guarded, ready: None) -> AsyncIterator[House]:
    """Give the exchange as the servers' user has it."""
    async with opened(server.server) as db:
        house = house_on(db)
        await _set_up(db)
        yield house
        for ledger in house.ledgers:
            await ledger.stop()


async def unauthorized(attempt: Awaitable[Any]) -> bool:
    """Whether the server refuses it for want of a right."""
    try:
        await attempt
    except OperationFailure as error:
        return error.code == UNAUTHORIZED
    return False


async def test_the_journal_cannot_be_rewritten(house: House, admin: Database) -> None:
    """Blocks, entries, terms, payments and statements are read and added to by the servers' user, and nothing else."""
    ledger = await house.ledger()
    await ledger.submit(award("video", 100, key="once"))
    before = await house_on(admin).everything()
    db = house.db
    for name in sorted(ADDED_TO):
        kept = db[name]
        for attempt in (
            kept.update_one({}, {"$set": {"kind": "VOID"}}),
            kept.update_many({}, {"$set": {"kind": "VOID"}}),
            kept.replace_one({}, {"kind": "VOID"}, upsert=True),
            kept.find_one_and_update({}, {"$set": {"kind": "VOID"}}),
            kept.find_one_and_replace({}, {"kind": "VOID"}),
            kept.find_one_and_delete({}),
            kept.delete_one({}),
            kept.delete_many({}),
            kept.drop(),
            kept.rename(f"old_{name}"),
            kept.create_index("anything"),
            kept.drop_index("anything"),
            kept.drop_indexes(),
            db.command({"collMod": name, "validator": {}}),
            db.command({"convertToCapped": name, "size": 4096}),
            kept.insert_one({"_id": "anything goes"}, bypass_document_validation=True),
            # An aggregation writes too.
            _run(db["wallets"], {"$out": name}),
            _run(db["wallets"], {"$merge": {"into": name, "whenMatched": "replace"}}),
        ):
            assert await unauthorized(attempt), name
    assert await house_on(admin).everything() == before


async def _run(collection: Any, stage: dict[str, Any]) -> None:
    await (await settled(collection.aggregate([stage]))).to_list(None)


async def test_nothing_is_dropped_and_no_right_is_given(house: House, admin: Database) -> None:
    """What servers change they cannot remove, but of two collections; no drop, no user, no role, no other database."""
    db, client = house.db, house.db.client
    for name in sorted(CHANGED | REMOVED_FROM):
        attempts: list[Awaitable[Any]] = [
            db[name].drop(),
            db[name].drop_indexes(),
            db.command({"collMod": name, "validator": {}}),
        ]
        attempts += [] if name in REMOVED_FROM else [db[name].delete_one({}), db[name].delete_many({})]
        for attempt in attempts:
            assert await unauthorized(attempt), name
    more: tuple[Awaitable[Any], ...] = (
        client.drop_database(db.name),
        db.create_collection("more"),
        db["more"].insert_one({}),
        db.command("createRole", "more", privileges=[], roles=[]),
        db.command("createUser", "more", pwd="more", roles=[]),
        db.command("grantRolesToUser", SERVER, roles=[SETUP]),
        db.command("updateUser", SERVER, roles=["dbOwner"]),
        client["other"]["wallets"].find_one({}),
        client["local"]["oplog.rs"].find_one({}),
        client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=60),
        client.admin.command("killAllSessions", []),
        client.admin.command("shutdown"),
    )
    for attempt in more:
        assert await unauthorized(attempt)


async def test_who_sets_up_rewrites_nothing_either(server: Guarded, house: House) -> None:
    """The second role makes indexes and validators, and has no more rights over what is stored than a server."""
    async with opened(server.setup) as db:
        for attempt in (
            db["entries"].update_one({}, {"$set": {"at": None}}),
            db["blocks"].delete_many({}),
            db["entries"].drop(),
            db["entries"].insert_one({"_id": "anything goes"}, bypass_document_validation=True),
            db.command("createUser", "more", pwd="more", roles=[]),
        ):
            assert await unauthorized(attempt)
        await db["entries"].create_index("anything")


async def test_a_server_makes_nothing_that_is_missing(server: Guarded, admin: Database) -> None:
    """It says what it may not do, and how that is mended; afterwards it starts, and again after an index was lost."""
    async with opened(server.server) as db:
        with pytest.raises(NotSetUp, match=r"not authorized on exchange; run `exchange database setup` as a user that"):
            await Books(db).create()
        async with opened(server.setup) as setting_up:
            await _set_up(setting_up)
        await _set_up(db)
        spoils: tuple[dict[str, Any], ...] = (
            {"dropIndexes": "entries", "index": "block_order"},
            {"collMod": "blocks", "validationAction": "warn"},
        )
        for spoil in spoils:
            await admin.command(spoil)
            with pytest.raises(NotSetUp):
                await _set_up(db)
            async with opened(server.setup) as setting_up:
                await _set_up(setting_up)
            await _set_up(db)


async def test_the_main_job_is_done_by_the_servers_user(house: House, admin: Database) -> None:
    """Terms, catalog, codes, caps, awards, redemptions, sweeps, the close of periods, a file, and a check of it all."""
    since = await server_time(house.db) - timedelta(days=1)
    await house.agree(Agreement(
        id="", issuer="video", provider="rides", version=0, price_per_1000_points=Money(800, "EUR"),
        fee_basis_points=100, commission_basis_points=0, effective_from=since,
    ))  # fmt: skip
    trip = benefit("rides/trip", 100, stock=5, member_limit=3, member_limit_period=LimitPeriod.DAY)
    voucher = benefit("video/voucher", 10, fulfilment=Fulfilment.INSTANT_CODE)
    await house.publish(trip, voucher)
    await house.catalog.add_codes("video", voucher.sku, ["A-1", "A-2"])
    await house.terms.set_rules(Rules(partner="video"))
    headroom, settlement = Headroom(house.db, house.books), Settlement(house.db, KEYRING)
    pair = Pair("video", "EUR")
    await headroom.set_cap(pair, 10_000, 100, actor="ada")
    ledger = await house.ledger()
    await known(ledger, "video", "rides")
    await ledger.submit(award("video", 1_000))
    await ledger.submit(award("video", 7, expires=await house.soon(seconds=0.3)))
    await ledger.submit(redeem(trip))
    await ledger.submit(redeem(voucher))
    await settlement.close(1)
    await netted(house, settlement)
    await quarrel(house, ledger)
    await ledger.submit(redeem(trip))
    await asyncio.sleep(0.4)
    await Sweeper(house.books, ledger).sweep()
    await settlement.close(2)
    rides, video = await settlement.statements(1)
    assert [statement.partner for statement in (rides, video)] == ["rides", "video"]
    scribe = scribe_on(house.db)
    export = await scribe.ask(rides, Form.CSV)
    assert await scribe.exporter.work()
    assert (await scribe.file(export)).startswith(b"statement,")
    await headroom.set_cap(pair, None, actor="ada")
    await Calendars(house.db).set(Calendar(every=Every.NEVER))
    await ledger.stop()
    await house.prove()


async def test_a_lane_is_stolen_by_a_process_of_the_same_user(server: Guarded, house: House, admin: Database) -> None:
    """Who takes a lapsed lane over ends what the owner before has open there, and does not wait for its time."""
    first = await house.ledger()
    await first.submit(award("video", 100))
    lane = await admin["lanes"].find_one({"_id": 1})
    assert lane is not None
    head = await house.books.head(1)
    session = await house.books.start_session()
    await admin["lanes"].update_one({"_id": 1}, {"$set": {"lsid": session.session_id["id"], "lease_until": NOW}})
    await _open_transaction(house.db, session, head)
    async with opened(server.server) as db:
        thief = house_on(db)
        begun = time.monotonic()
        second = await thief.ledger()
        await second.submit(award("video", 5))
        assert time.monotonic() - begun < TRANSACTION_SECONDS_MAX - 1
        assert (await thief.books.head(1)).seq > head.seq + 1
        with pytest.raises(OperationFailure, match=r"has been aborted|does not match"):
            await session.commit_transaction()
        await second.stop()


async def test_another_users_session_is_not_killed_but_outlived(server: Guarded, house: House) -> None:
    """The right to kill is one's own sessions': a thief that is another user waits for the transaction's time."""
    head = (await _a_lane(house)).head
    session = await house.books.start_session()
    await _open_transaction(house.db, session, head)
    begun = time.monotonic()
    async with opened(server.setup) as db:
        other = Books(db)
        await other.kill_session(session.session_id["id"])
        assert await unauthorized(db.client.admin.command("killAllSessionsByPattern", [{"users": []}]))
        void = Block.seal(lane=1, seq=head.seq + 1, kind=BlockKind.VOID, period=1, prev=head.hash, at=NOW, salt=SALT)
        assert await other.append(void)
    assert time.monotonic() - begun > 1
    with pytest.raises(OperationFailure):
        await session.commit_transaction()


async def _a_lane(house: House) -> Lane:
    session = await house.books.start_session()
    opened = await house.books.open_lane("me", session, SALT)
    assert opened is not None
    return Lane(opened[0], "me", opened[1], session)


async def _open_transaction(db: Database, session: Any, head: Block) -> None:
    """Leave a block behind the lane's head uncommitted."""
    block = Block.seal(
        lane=head.lane, seq=head.seq + 1, kind=BlockKind.CUT, period=head.period, prev=head.hash, at=NOW, salt=SALT
    )
    await settled(session.start_transaction())
    await db["blocks"].insert_one(docs.block_document(block), session=session)


async def test_roles_are_brought_up_to_date(server: Guarded, admin: Database) -> None:
    """Rights that somebody gave, or that a version before needed, are gone when the roles are applied again."""
    right = {"resource": {"db": "exchange", "collection": "entries"}, "actions": ["remove"]}
    await admin.command("grantPrivilegesToRole", SERVER, privileges=[right])
    async with opened(server.server) as db:
        await db["entries"].delete_many({"_id": "nobody"})
        assert [new for _, new in await apply_roles(admin)] == [False, False]
        assert await unauthorized(db["entries"].delete_many({"_id": "nobody"}))


def test_every_collection_is_somebodys() -> None:
    """No store uses a collection that the roles do not name, and they name none that is not used."""
    sources = [*SOURCES.glob("exchange/**/*.py"), *SOURCES.glob("partners/**/*.py")]
    used = {name for source in sources for name in re.findall(r'\b(?:db|database)\["(\w+)"\]', source.read_text())}
    assert used == ADDED_TO | CHANGED | REMOVED_FROM
    assert not ADDED_TO & (CHANGED | REMOVED_FROM)
