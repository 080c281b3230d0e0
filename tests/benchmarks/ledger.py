"""Redemptions through the ledger against one transaction per redemption: `python -m tests.benchmarks.ledger`.

Both sides run in this process against the same mongod, write the same documents (wallet with its lots, stock, entry,
redemption; the ledger its chained block besides) and decide with the same `decide`. The plain side is what one would
write with the driver alone: read, decide, one transaction with the version and the stock in the filters, again on a
conflict. Rounds alternate, so that a noisy machine is noisy for both; what counts is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from pymongo import ReadPreference
from pymongo.errors import PyMongoError

from exchange.agreements import Agreement, AgreementBook
from exchange.amounts import Money
from exchange.benefit import Benefit, BenefitCategory, benefit_id
from exchange.commands import Award, ByReference, ByWallet, Redeem
from exchange.decisions import Terms as DecisionTerms
from exchange.decisions import decide
from exchange.errors import Fault
from exchange.journal import SALT_BYTES, Block, BlockKind
from exchange.keyring import Keyring
from exchange.ledger import Ledger
from exchange.mongod import EmbeddedMongod
from exchange.store import documents as docs
from exchange.store.books import NO_LANE, Books
from exchange.store.connection import Database, connect
from exchange.store.shelves import Shelf, shelf_document, shelf_from, shelf_id
from exchange.store.terms import Terms

PARTNERS = ("video", "delivery", "rides")
PRICE_POINTS = 10
STOCK = 10**9
Redeemer = Callable[[], Awaitable[None]]


class World:
    """An exchange with members, benefits and agreements, and the two ways to redeem in it."""

    def __init__(self, db: Database, members: int, benefits: int) -> None:
        self.db = db
        self.keyring = Keyring(secrets.token_bytes(32))
        self.books = Books(db)
        self.ledger = Ledger(self.books, self.keyring)
        self.members = members
        self.benefits = benefits
        self._numbers = count()
        self._wallets: list[str] = []
        self._ids: list[str] = []
        self._book = AgreementBook()
        self._nowhere = Block.seal(
            lane=0, seq=0, kind=BlockKind.GENESIS, period=1, prev="", at=datetime.fromtimestamp(0, UTC), salt=b""
        )

    async def fill(self) -> None:
        """Publish, agree and award; then begin."""
        await self.books.create()
        now = datetime.fromtimestamp(0, UTC)
        terms = Terms(self.db)
        for issuer in PARTNERS:
            for provider in set(PARTNERS) - {issuer}:
                await terms.add(
                    Agreement(
                        id="", issuer=issuer, provider=provider, version=0, price_per_1000_points=Money(800, "EUR"),
                        fee_basis_points=150, commission_basis_points=200, effective_from=now + timedelta(1),
                    )
                )  # fmt: skip
        self._book, *_ = await self.books.current_terms()
        offers = [
            Benefit(
                id=benefit_id(PARTNERS[n % 3], f"sku-{n}"), partner=PARTNERS[n % 3], version=1, created_at=now,
                updated_at=now, sku=f"sku-{n}", category=BenefitCategory.OTHER, title=f"Benefit {n}",
                points_price=PRICE_POINTS, stock=STOCK,
            )
            for n in range(self.benefits)
        ]  # fmt: skip
        self._ids = [offer.id for offer in offers]
        await self.books.benefits.insert_many([docs.benefit_document(offer) for offer in offers])
        # One half for the ledger's lane to draw from, the other on a shelf that only the plain side sells from.
        await self.db["stock"].insert_many(
            [{"_id": one, "offered": STOCK, "free": STOCK // 2, "version": 1} for one in self._ids]
        )
        plain = Shelf(STOCK - STOCK // 2)
        await self.books.shelves.insert_many([shelf_document(one, NO_LANE, plain) for one in self._ids])
        await self.ledger.start()
        gate = asyncio.Semaphore(512)

        async def award(member: int) -> None:
            whose = ByReference("video", f"member-{member}")
            async with gate:
                for _ in range(2):
                    command = Award(id=self._key(), fingerprint="", partner="video", whose=whose, points=10**9)
                    outcome = await self.ledger.submit(command)
                self._wallets.append(outcome.wallet.id)

        await asyncio.gather(*(award(member) for member in range(self.members)))

    def _key(self) -> str:
        return self.keyring.digest("entry", "benchmark", str(next(self._numbers)))

    def _command(self, popular: bool) -> Redeem:  # noqa: FBT001
        return Redeem(
            id=self._key(), fingerprint="", partner="video", whose=ByWallet(random.choice(self._wallets)),  # noqa: S311
            benefit=self._ids[0] if popular else random.choice(self._ids),  # noqa: S311
        )  # fmt: skip

    def through_ledger(self, popular: bool) -> Redeemer:  # noqa: FBT001
        """Return the exchange's way."""

        async def redeem() -> None:
            await self.ledger.submit(self._command(popular))

        return redeem

    def plain(self, popular: bool) -> Redeemer:  # noqa: FBT001
        """Return the plain way: one transaction each, again while rivals win."""

        async def redeem() -> None:
            command = self._command(popular)
            failures = 0
            while not await self._transaction(command):
                failures += 1
                await asyncio.sleep(random.uniform(0, 0.002 * 2 ** min(failures, 6)))  # noqa: S311

        return redeem

    async def _transaction(self, command: Redeem) -> bool:
        assert isinstance(command.whose, ByWallet)
        benefit_read, shelf_read, wallet_read = await asyncio.gather(
            self.books.benefits.find_one({"_id": command.benefit}),
            self.books.shelves.find_one({"_id": shelf_id(command.benefit or "", NO_LANE)}),
            self.books.wallets.find_one({"_id": command.whose.wallet}),
        )
        assert benefit_read is not None
        assert shelf_read is not None
        assert wallet_read is not None
        wallet = docs.wallet_from(wallet_read)
        terms = DecisionTerms(self._book, docs.benefit_from(benefit_read), shelf_from(shelf_read).stock)
        decision = decide(command, wallet, terms, datetime.now(UTC), secrets.token_bytes(SALT_BYTES))  # noqa: TID251
        assert decision.redemption is not None
        session = self.db.client.start_session(causal_consistency=False)
        try:
            async with session, await session.start_transaction(read_preference=ReadPreference.PRIMARY):
                sold = await self.books.shelves.update_one(
                    {"_id": shelf_id(command.benefit or "", NO_LANE), "left": {"$gte": 1}},
                    {"$inc": {"left": -1, "sold": 1}}, session=session,
                )  # fmt: skip
                written = await self.books.wallets.replace_one(
                    {"_id": wallet.id, "version": wallet.version},
                    docs.wallet_document(decision.wallet, wallet.version + 1, 1),
                    session=session,
                )
                if sold.matched_count + written.matched_count != 2:
                    await session.abort_transaction()
                    return False
                await self.books.redemptions.insert_one(
                    docs.redemption_document(decision.redemption, 1, 1), session=session
                )
                # Each at a place of its own, as the ledger's are: the index over places is unique.
                entry = docs.entry_document(decision.entry, self._nowhere, 0) | {"index": next(self._numbers)}
                await self.books.entries.insert_one(entry, session=session)
        except PyMongoError as error:
            if error.has_error_label("TransientTransactionError"):
                return False
            raise
        return True


async def measure(redeem: Redeemer, in_flight: int, seconds: float) -> dict[str, float]:
    """Redeem for a while with so many in flight; returns redemptions per second and latencies in milliseconds."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def customer() -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            await redeem()
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(customer() for _ in range(in_flight)))
    elapsed = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [latencies[0]] * 99
    return {"per_second": len(latencies) / elapsed, "p50_ms": 1000 * cuts[49], "p99_ms": 1000 * cuts[98]}


async def compare(world: World, name: str, in_flight: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Alternate the two ways and return the medians and their ratio."""
    popular = name == "one popular limited benefit"
    sides = {"ledger": world.through_ledger(popular), "plain": world.plain(popular)}
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sorted(sides, reverse=bool(turn % 2)):
            seen[side].append(await measure(sides[side], in_flight, seconds))
    medians = {
        side: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for side, runs in seen.items()
    }
    ratio = {figure: medians["ledger"][figure] / medians["plain"][figure] for figure in medians["ledger"]}
    return {"case": name, "in_flight": in_flight, **medians, "ratio": ratio}


async def run(url: str, members: int, benefits: int, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Fill a database of its own, compare in every case, and drop it."""
    client = connect(url)
    name = f"benchmark_{secrets.token_hex(4)}"
    world = World(client[name], members, benefits)
    try:
        await world.fill()
        cases = [("spread over all benefits", 64), ("one popular limited benefit", 64), ("one at a time", 1)]
        return [await compare(world, case, in_flight, seconds, rounds) for case, in_flight in cases]
    finally:
        with suppress(Fault):
            await world.ledger.stop()
        await client.drop_database(name)
        await client.close()


def table(results: list[dict[str, Any]]) -> str:
    """Return the results for a person to read."""
    lines = [f"{'case':<30}{'in flight':>10}{'ledger/s':>11}{'plain/s':>10}{'ratio':>8}{'p50':>8}{'p99':>8}"]
    lines += [
        f"{row['case']:<30}{row['in_flight']:>10}{row['ledger']['per_second']:>11,.0f}"
        f"{row['plain']['per_second']:>10,.0f}{row['ratio']['per_second']:>7.1f}x"
        f"{row['ratio']['p50_ms']:>7.2f}x{row['ratio']['p99_ms']:>7.2f}x"
        for row in results
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, run against a mongod of its own, print the table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--benefits", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=5, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="of each side, alternating")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as data, EmbeddedMongod(Path(data) / "data", cache_gb=2) as mongod:
        results = asyncio.run(run(mongod.url, chosen.members, chosen.benefits, chosen.seconds, chosen.rounds))
    sys.stdout.write(f"{table(results)}\n{json.dumps(results)}\n")


if __name__ == "__main__":
    main()
