"""A small exchange over a real database, spoken to in points and cents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.benefit import Benefit, BenefitCategory, benefit_id
from exchange.commands import Award, ByReference, ByWallet, LinkMember, Redeem
from exchange.journal import GENESIS, Block, BlockKind, Entry, Sums, merkle_root
from exchange.keyring import Keyring
from exchange.ledger import Ledger
from exchange.settlement.clearing import Settlement
from exchange.store import documents as docs
from exchange.store.books import Books
from exchange.store.connection import Database, connect, server_time, settled
from exchange.store.terms import Terms

KEY = b"k" * 32


@dataclass
class World:
    """What the tests speak to. `ledgers`: one per lane, as if each were a process; `settle()`: one more process."""

    database: Database
    keyring: Keyring
    books: Books
    terms: Terms
    ledgers: list[Ledger] = field(default_factory=list)
    keys: int = 0

    def settle(self) -> Settlement:
        """Return settlement as a process of its own sees it."""
        return Settlement(self.database, self.keyring)

    async def ledger(self) -> Ledger:
        """Start one more, with a lane of its own."""
        ledger = Ledger(Books(self.database), self.keyring)
        await ledger.start()
        self.ledgers.append(ledger)
        return ledger

    async def agree(
        self, issuer: str | None, provider: str | None, price: Money, *, fee: int = 0, commission: int = 0
    ) -> None:
        """Set the price of 1,000 points; fee and commission in basis points; None: any."""
        since = await server_time(self.database) - timedelta(days=1)
        await self.terms.add(
            Agreement(
                id="", issuer=issuer, provider=provider, version=0, price_per_1000_points=price,
                fee_basis_points=fee, commission_basis_points=commission, effective_from=since,
            )
        )  # fmt: skip

    async def publish(self, partner: str, sku: str, points: int) -> None:
        """Publish a benefit without limits."""
        now = await server_time(self.database)
        benefit = Benefit(
            id=benefit_id(partner, sku), partner=partner, version=1, created_at=now, updated_at=now, sku=sku,
            category=BenefitCategory.OTHER, title=sku, points_price=points,
        )  # fmt: skip
        await self.database["benefits"].insert_one(docs.benefit_document(benefit))
        await self.database["stock"].insert_one({"_id": benefit.id, "offered": None, "free": None, "version": 1})

    async def award(self, issuer: str, member: str, points: int) -> None:
        """Give points to the issuer's own member."""
        await self.ledgers[0].submit(Award(**self._request(issuer), whose=ByReference(issuer, member), points=points))

    async def link(self, member: str, partner: str, other: str) -> None:
        """Let the member of `partner` be known to `other` too, by the same reference."""
        wallet = self.ledgers[0].new_wallet_id(ByReference(partner, member))
        now = await server_time(self.database)
        await self.ledgers[0].submit(
            LinkMember(
                **self._request(other), whose=ByWallet(wallet), reference=member, daily_limit=None,
                code_made_at=now, code_expires_at=now + timedelta(minutes=10),
            )
        )  # fmt: skip

    async def redeem(self, channel: str, member: str, benefit: str, ledger: Ledger | None = None) -> Entry:
        """Redeem a benefit, named partner/sku, through the channel's app."""
        command = Redeem(**self._request(channel), whose=ByReference(channel, member), benefit=benefit)
        return (await (ledger or self.ledgers[0]).submit(command)).entry

    def _request(self, partner: str) -> dict[str, Any]:
        self.keys += 1
        return {
            "id": self.keyring.digest("entry", str(self.keys)), "fingerprint": "as sent", "partner": partner,
        }  # fmt: skip

    async def blocks(self) -> list[Block]:
        """Return every block, by lane and seq."""
        return [docs.block_from(row) for row in await self.database["blocks"].find().sort("_id", 1).to_list(None)]

    async def prove(self) -> None:
        """Hold the journal to what settlement rests on; every test that races or crashes ends with it."""
        entries: dict[tuple[int, int], list[Entry]] = {}
        async for row in self.database["entries"].find().sort([("lane", 1), ("seq", 1), ("index", 1)]):
            entries.setdefault((row["lane"], row["seq"]), []).append(docs.entry_from(row))
        blocks = await self.blocks()
        heads: dict[int, Block] = {}
        for block in blocks:
            before = heads.get(block.lane)
            assert block.seq == (0 if before is None else before.seq + 1), "a gap in the lane"
            assert block.prev == (GENESIS if before is None else before.hash), "the chain is broken"
            assert before is None or block.period == before.period_after, "the period moved without a cut"
            inside = entries.pop((block.lane, block.seq), [])
            assert block.count == len(inside)
            assert block.root == merkle_root([entry.leaf() for entry in inside]).hex()
            assert block.sums == Sums.of(inside)
            assert block.hash == block.computed_hash()
            heads[block.lane] = block
        assert not entries, "entries of no block"
        settlement = self.settle()
        behind: dict[int, int] = {}
        for period in reversed(await settlement.periods(limit=1000)):
            for cut in period.ranges:
                assert cut.first == behind.get(cut.lane, -1) + 1, "ranges overlap or leave a gap"
                behind[cut.lane] = cut.last
                inside_range = [b for b in blocks if b.lane == cut.lane and cut.first <= b.seq <= cut.last]
                assert {b.period for b in inside_range} == {period.number}
                assert [b.kind for b in inside_range].count(BlockKind.CUT) == 1
                assert (inside_range[-1].kind, inside_range[-1].hash) == (BlockKind.CUT, cut.cut)
            for position in await settlement.positions(period.number):
                statement = await settlement.statement(f"{period.number}:{position.partner}")
                if statement is not None:
                    lines = await settlement.lines(statement, limit=100_000)
                    assert len(lines) == statement.line_count
                    nets = sum(line.net.minor for line in lines if line.currency == position.currency)
                    assert nets == position.net.minor


@pytest.fixture
async def world(mongo_url: str, database_name: str) -> AsyncIterator[World]:
    client = connect(mongo_url)
    database = client[database_name]
    world = World(database, Keyring(KEY), Books(database), Terms(database))
    await world.books.create()
    await world.terms.create_indexes()
    await world.settle().create_indexes()
    await world.ledger()
    yield world
    for ledger in world.ledgers:
        await ledger.stop()
    await settled(client.close())


@pytest.fixture
async def example(world: World) -> World:
    """Give a period with four redemptions whose figures were worked out by hand, in `test_figures`."""
    await world.agree("video", "rides", Money(333, "EUR"), fee=150, commission=250)
    await world.agree("delivery", "rides", Money(777, "EUR"), fee=150, commission=250)
    await world.agree("rides", "video", Money(1000, "JPY"), commission=100)
    await world.publish("rides", "airport", 1001)
    await world.publish("rides", "city", 500)
    await world.publish("rides", "scooter", 250)
    await world.publish("video", "film", 15)
    await world.award("video", "ann", 500)
    await world.link("ann", "video", "delivery")
    await world.link("ann", "video", "rides")
    await world.award("delivery", "ann", 751)
    await world.award("video", "ben", 500)
    await world.award("rides", "cleo", 20)
    await world.redeem("video", "ann", "rides/airport")
    await world.redeem("rides", "ann", "rides/scooter")
    await world.redeem("video", "ben", "rides/city")
    await world.redeem("rides", "cleo", "video/film")
    return world
