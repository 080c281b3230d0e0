"""An exchange over a real database, as tests want it: several processes' ledgers, and a check at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import bson
import pytest
from msgspec.structs import replace

from exchange.agreements import Agreement
from exchange.batch import Outcome
from exchange.benefit import Benefit, content_of
from exchange.check import check
from exchange.commands import Command
from exchange.errors import ExchangeError
from exchange.keyring import Keyring
from exchange.ledger import Ledger
from exchange.redemption import Redemption
from exchange.store.books import Books
from exchange.store.catalog import Catalog, Offer
from exchange.store.connection import Database, connect, database, server_time, settled
from exchange.store.terms import Terms
from exchange.wallet import Wallet
from tests.exchange.speech import by_reference, enrol, link

KEYRING = Keyring(b"k" * 32)


@dataclass
class House:
    """The exchange's database, and the ledgers that run on it as if each were a process."""

    db: Database
    books: Books
    catalog: Catalog
    terms: Terms
    ledgers: list[Ledger] = field(default_factory=list)

    async def ledger(self, deadline_seconds: float = 10) -> Ledger:
        """Start a process, with a lane of its own."""
        ledger = Ledger(Books(self.db), KEYRING, deadline_seconds)
        await ledger.start()
        self.ledgers.append(ledger)
        return ledger

    async def agree(self, *agreements: Agreement) -> None:
        """Add agreements, in force since yesterday."""
        since = await server_time(self.db) - timedelta(days=1)
        for agreement in agreements:
            await self.terms.add(replace(agreement, effective_from=since))

    async def publish(self, *benefits: Benefit) -> None:
        """Publish benefits as their partners do."""
        for benefit in benefits:
            await self.catalog.publish(benefit.partner, [Offer(content_of(benefit))])

    async def soon(self, **delta: float) -> Any:
        """Return the primary's time from now."""
        return await server_time(self.db) + timedelta(**delta)

    async def wallet(self, partner: str = "video", reference: str = "ann") -> Wallet:
        """Return the stored wallet that a reference means."""
        name = await self.db["references"].find_one({"_id": f"{partner}:{reference}"})
        assert name is not None
        return (await self.books.second_round([name["wallet"]], [], [], {})).wallets[name["wallet"]]

    async def count(self, collection: str, **query: Any) -> int:
        """Count documents."""
        return int(await self.db[collection].count_documents(query))

    async def everything(self) -> dict[str, list[bytes]]:
        """Return all that is stored, byte for byte; without the lanes, whose leases time renews."""
        return {
            name: sorted([bson.encode(one) async for one in self.db[name].find()])
            for name in sorted(await self.db.list_collection_names())
            if name != "lanes"
        }

    async def broken(self, keyring: Keyring | None = KEYRING) -> dict[int, list[str]]:
        """Return what a check finds wrong, by invariant."""
        return {proof.number: proof.wrong for proof in await check(self.db, keyring) if not proof.holds}

    async def prove(self) -> None:
        """Hold the whole database to the invariants."""
        assert await self.broken() == {}

    @asynccontextmanager
    async def failing(self, command: str, mode: Any = "alwaysOn", **how: Any) -> AsyncIterator[None]:
        """Let the server fail a command: `closeConnection=True`, `errorCode=…`, `writeConcernError={…}`."""
        admin = self.db.client.admin
        await admin.command("configureFailPoint", "failCommand", mode=mode, data={"failCommands": [command], **how})
        try:
            yield
        finally:
            await admin.command("configureFailPoint", "failCommand", mode="off")


def house_on(db: Database) -> House:
    """Return an exchange on a database, to be created."""
    return House(db, Books(db), Catalog(db, KEYRING), Terms(db))


@pytest.fixture
async def house(mongo_url: str, database_name: str) -> AsyncIterator[House]:
    client = connect(mongo_url)
    house = house_on(database(client, database_name))
    await house.books.create()
    yield house
    for ledger in house.ledgers:
        await ledger.stop()
    await settled(client.close())


@pytest.fixture
async def proved(house: House) -> AsyncIterator[None]:
    """Stop every process when a test is over, and hold what they have left to every invariant."""
    yield
    for ledger in house.ledgers:
        await ledger.stop()
    await house.prove()


@pytest.fixture
async def ledger(house: House) -> Ledger:
    return await house.ledger()


async def answers(ledger: Ledger, *commands: Command) -> list[Outcome | ExchangeError]:
    """Submit commands at once, so that they share a batch, and return what each was told."""
    told = await asyncio.gather(*(ledger.submit(command) for command in commands), return_exceptions=True)
    return [one if isinstance(one, Outcome | ExchangeError) else _raised(one) for one in told]


def done(answer: Outcome | ExchangeError) -> Outcome:
    """Return what was done by a command that must have succeeded."""
    assert isinstance(answer, Outcome), answer
    return answer


def redemption_of(answer: Outcome | ExchangeError) -> Redemption:
    """Return the redemption of a command that must have succeeded, and be about one."""
    redemption = done(answer).redemption
    assert redemption is not None
    return redemption


def _raised(error: BaseException) -> Any:
    raise error


def between(ledger: Ledger, reading: str, happens: Callable[[], Awaitable[Any]]) -> None:
    """Let something happen, once, just before a ledger reads on: what a rival process can do at any moment."""
    books = ledger._books  # noqa: SLF001 - the one seam at which two reads can be held apart
    read = getattr(books, reading)

    async def first_of_all(*given: Any) -> Any:
        setattr(books, reading, read)
        await happens()
        return await read(*given)

    setattr(books, reading, first_of_all)


async def known(ledger: Ledger, *partners: str, reference: str = "ann") -> str:
    """Bring a member into being at the first partner, link the others, and return its wallet."""
    first = by_reference(partners[0], reference)
    wallet = (await ledger.submit(enrol(partners[0], whose=first))).wallet.id
    for partner in partners[1:]:
        await ledger.submit(link(partner, wallet, reference=reference))
    return wallet
