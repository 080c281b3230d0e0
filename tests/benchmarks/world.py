"""The world that is measured in: partners that agree, benefits, members with points; opened by any process."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pymongo import WriteConcern

from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.benefit import Benefit, BenefitCategory, benefit_id
from exchange.commands import Award, ByReference, ByWallet, Redeem
from exchange.errors import Fault
from exchange.keyring import MASTER_KEY_BYTES, Keyring
from exchange.ledger import Ledger
from exchange.store import documents as docs
from exchange.store.books import NO_LANE, Books
from exchange.store.connection import Collection, Database, Document, connect
from exchange.store.shelves import Shelf, shelf_document
from exchange.store.terms import Terms
from tests.benchmarks.measuring import Deed

PARTNERS = ("video", "delivery", "rides")
PRICE_POINTS = 10
STOCK = 10**9
_LOTS = 2
_AT_ONCE = 1_000
_IN_FLIGHT = 256


class Place(NamedTuple):
    """Where a world is, and how big: all that another process needs to enter it."""

    url: str
    name: str
    secret: bytes
    members: int
    benefits: int


class World:
    """An exchange with members, benefits and agreements, and a ledger of this process's own."""

    def __init__(self, db: Database, place: Place) -> None:
        self.db = db
        self.place = place
        self.keyring = Keyring(place.secret)
        self.books = Books(db)
        self.ledger = Ledger(self.books, self.keyring)

    # ------------------------------------------------------------ who and what there is

    def wallet(self, member: int) -> str:
        """Return a member's wallet."""
        return self.ledger.new_wallet_id(_reference(member))

    def any_wallet(self) -> str:
        """Return somebody's wallet."""
        return self.wallet(random.randrange(self.place.members))  # noqa: S311

    def benefit(self, number: int) -> str:
        """Return a benefit: every one is limited, and will never sell out."""
        return benefit_id(PARTNERS[number % len(PARTNERS)], f"sku-{number}")

    def redemption(self, *, popular: bool = False) -> Redeem:
        """Return somebody's wish, for any benefit or for the one that everybody wants."""
        return Redeem(
            id=self.key(), fingerprint="", partner="video", whose=ByWallet(self.any_wallet()),
            benefit=self.benefit(0 if popular else random.randrange(self.place.benefits)),  # noqa: S311
        )  # fmt: skip

    def key(self) -> str:
        """Return an id for an entry, of the length that the ledger's have."""
        return secrets.token_urlsafe(18)

    def redeem(self, *, popular: bool = False) -> Deed:
        """Return the exchange's way to redeem."""

        async def redeem() -> None:
            await self.ledger.submit(self.redemption(popular=popular))

        return redeem

    # ------------------------------------------------------------ making it

    async def create(self) -> None:
        """Agree and publish."""
        await self.books.create()
        terms, now = Terms(self.db), datetime.fromtimestamp(0, UTC)
        for issuer in PARTNERS:
            for provider in set(PARTNERS) - {issuer}:
                await terms.add(
                    Agreement(
                        id="", issuer=issuer, provider=provider, version=0, price_per_1000_points=Money(800, "EUR"),
                        fee_basis_points=150, commission_basis_points=200, effective_from=now + timedelta(1),
                    )
                )  # fmt: skip
        offers = [
            Benefit(
                id=self.benefit(n), partner=PARTNERS[n % len(PARTNERS)], version=1, created_at=now, updated_at=now,
                sku=f"sku-{n}", category=BenefitCategory.OTHER, title=f"Benefit {n}", points_price=PRICE_POINTS,
                stock=STOCK,
            )
            for n in range(self.place.benefits)
        ]  # fmt: skip
        await self.books.benefits.insert_many([docs.benefit_document(offer) for offer in offers])
        # One half for lanes to draw from, the other on a shelf of nobody's, from which plain transactions sell.
        await self.db["stock"].insert_many(
            [{"_id": offer.id, "offered": STOCK, "free": STOCK // 2, "version": 1} for offer in offers]
        )
        shelf = Shelf(STOCK - STOCK // 2)
        await self.books.shelves.insert_many([shelf_document(offer.id, NO_LANE, shelf) for offer in offers])

    async def award(self, first: int, last: int) -> None:
        """Give members their points through the ledger: in two lots, as the journal then says."""
        gate = asyncio.Semaphore(_IN_FLIGHT)

        async def award(member: int) -> None:
            async with gate:
                for _ in range(_LOTS):
                    points, whose = 10**9, _reference(member)
                    command = Award(id=self.key(), fingerprint="", partner="video", whose=whose, points=points)
                    await self.ledger.submit(command)

        for begin in range(first, last, _AT_ONCE):
            await asyncio.gather(*(award(member) for member in range(begin, min(begin + _AT_ONCE, last))))

    async def fill(self) -> None:
        """Make the members fast: the first gets points as anybody does, the others are copies that no entry made."""
        await self.award(0, 1)
        wallets = quick(self.books.wallets)
        model = await wallets.find_one({"_id": self.wallet(0)})
        assert model is not None
        for begin in range(1, self.place.members, _AT_ONCE):
            members = range(begin, min(begin + _AT_ONCE, self.place.members))
            await wallets.insert_many([self._copy(model, member) for member in members], ordered=False)
        await self.durable()

    async def durable(self) -> None:
        """Wait until all that was filled in is on the disk, and where a majority read sees it."""
        # A majority has what came before a write that it has.
        await self.books.db["filled"].insert_one({})
        await self.db.client.admin.command("fsync")

    def _copy(self, model: Document, member: int) -> Document:
        links = [link | {"reference": _reference(member).reference} for link in model["links"]]
        lots = [lot | {"id": self.key()} for lot in model["lots"]]
        return model | {"_id": self.wallet(member), "lots": lots, "links": links}


def quick(collection: Collection) -> Collection:
    """Return a collection as one fills it: nobody waits for the disk."""
    return collection.with_options(write_concern=WriteConcern(w=1, j=False))


def _reference(member: int) -> ByReference:
    return ByReference("video", f"member-{member}")


@asynccontextmanager
async def entered(place: Place) -> AsyncIterator[World]:
    """Enter a world that is there, with a ledger that runs, and leave it as it is."""
    client = connect(place.url)
    world = World(client[place.name], place)
    try:
        await world.ledger.start()
        yield world
    finally:
        with suppress(Fault):
            await world.ledger.stop()
        await client.close()


@asynccontextmanager
async def created(url: str, members: int, benefits: int) -> AsyncIterator[World]:
    """Make a world in a database of its own, without members as yet, and drop it in the end."""
    name = f"benchmark_{secrets.token_hex(4)}"
    place = Place(url, name, secrets.token_bytes(MASTER_KEY_BYTES), members, benefits)
    client = connect(url)
    try:
        await World(client[name], place).create()
        async with entered(place) as world:
            yield world
    finally:
        await client.drop_database(name)
        await client.close()
