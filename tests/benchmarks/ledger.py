"""Redemptions through the ledger against one transaction each: `python -m tests.benchmarks.ledger` (6 minutes).

Both sides run in this process against the same mongod, write the same documents (wallet with its lots, stock, entry,
redemption; the ledger its chained block besides) and decide with the same `decide`. The plain side is what one would
write with the driver alone: read, decide, one transaction with the version and the stock in the filters, again on a
conflict.

One at a time they are also held against a bare transaction of two statements: a wallet's version is counted up and an
entry inserted, with nothing read, decided or guarded.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

from pymongo import ReadPreference
from pymongo.errors import PyMongoError

from exchange.agreements import AgreementBook
from exchange.commands import ByWallet, Redeem
from exchange.decisions import Decision, Terms, decide
from exchange.journal import SALT_BYTES, Block, BlockKind
from exchange.store import documents as docs
from exchange.store.books import NO_LANE
from exchange.store.shelves import shelf_from, shelf_id
from exchange.wallet import Wallet
from tests.benchmarks.measuring import Column, Deed, Option, Row, Side, alternate, customers, main, ratio
from tests.benchmarks.world import World, created

COLUMNS = (
    Column("case", "case"),
    Column("in flight", "in_flight"),
    Column("ledger/s", "ledger.per_second", ",.0f"),
    Column("plain/s", "plain.per_second", ",.0f"),
    Column("ratio", "ratio.per_second", ".1f"),
    Column("p50", "ratio.p50_ms", ".2f"),
    Column("p99", "ratio.p99_ms", ".2f"),
    Column("bare p50 ms", "bare.p50_ms", ".2f"),
    Column("p50 to bare", "to_bare.p50_ms", ".2f"),
)
SPREAD, POPULAR, ALONE = "spread over all benefits", "one popular limited benefit", "one at a time"
CASES = ((SPREAD, 64), (SPREAD, 256), (POPULAR, 64), (ALONE, 1))
_EPOCH = datetime.fromtimestamp(0, UTC)


class Plain:
    """The plain ways: one transaction for each redemption, and a bare one."""

    def __init__(self, world: World, book: AgreementBook) -> None:
        self._world = world
        self._books = world.books
        self._book = book
        self._places = count()
        self._nowhere = Block.seal(
            lane=0, seq=0, kind=BlockKind.GENESIS, period=1, prev="", at=_EPOCH, salt=b""
        )  # fmt: skip

    def redeem(self, *, popular: bool) -> Deed:
        """Return one transaction each, again while rivals win."""

        async def redeem() -> None:
            command = self._world.redemption(popular=popular)
            failures = 0
            while not await self._transaction(command):
                failures += 1
                await asyncio.sleep(random.uniform(0, 0.002 * 2 ** min(failures, 6)))  # noqa: S311

        return redeem

    async def bare(self) -> Deed:
        """Return two statements in a transaction: the smallest that keeps a wallet and its journal together."""
        _, decision = await self._decide(self._world.redemption())
        document = docs.entry_document(decision.entry, self._nowhere, 0)

        async def write() -> None:
            entry = document | {"_id": self._world.key(), "index": next(self._places)}
            wallet = self._world.any_wallet()
            async with (
                self._world.db.client.start_session(causal_consistency=False) as session,
                await session.start_transaction(),
            ):
                await self._books.wallets.update_one({"_id": wallet}, {"$inc": {"version": 1}}, session=session)
                await self._books.entries.insert_one(entry, session=session)

        return write

    async def _decide(self, command: Redeem) -> tuple[Wallet, Decision]:
        assert isinstance(command.whose, ByWallet)
        benefit, shelf, wallet_read = await asyncio.gather(
            self._books.benefits.find_one({"_id": command.benefit}),
            self._books.shelves.find_one({"_id": shelf_id(command.benefit or "", NO_LANE)}),
            self._books.wallets.find_one({"_id": command.whose.wallet}),
        )
        assert benefit is not None
        assert shelf is not None
        assert wallet_read is not None
        wallet = docs.wallet_from(wallet_read)
        terms = Terms(self._book, docs.benefit_from(benefit), shelf_from(shelf).stock)
        return wallet, decide(command, wallet, terms, datetime.now(UTC), secrets.token_bytes(SALT_BYTES))  # noqa: TID251

    async def _transaction(self, command: Redeem) -> bool:
        wallet, decision = await self._decide(command)
        assert decision.redemption is not None
        session = self._world.db.client.start_session(causal_consistency=False)
        try:
            async with session, await session.start_transaction(read_preference=ReadPreference.PRIMARY):
                sold = await self._books.shelves.update_one(
                    {"_id": shelf_id(command.benefit or "", NO_LANE), "left": {"$gte": 1}},
                    {"$inc": {"left": -1, "sold": 1}}, session=session,
                )  # fmt: skip
                written = await self._books.wallets.replace_one(
                    {"_id": wallet.id, "version": wallet.version},
                    docs.wallet_document(decision.wallet, wallet.version + 1, 1),
                    session=session,
                )
                if sold.matched_count + written.matched_count != 2:
                    await session.abort_transaction()
                    return False
                await self._books.redemptions.insert_one(
                    docs.redemption_document(decision.redemption, 1, 1), session=session
                )
                # Each at a place of its own, as the ledger's are: the index over places is unique.
                entry = docs.entry_document(decision.entry, self._nowhere, 0) | {"index": next(self._places)}
                await self._books.entries.insert_one(entry, session=session)
        except PyMongoError as error:
            if error.has_error_label("TransientTransactionError"):
                return False
            raise
        return True


async def compare(world: World, plain: Plain, case: str, in_flight: int, seconds: float, rounds: int) -> Row:
    """Let the ways take turns in one case; return the medians and the ratios of the ledger's to them."""
    popular = case == POPULAR
    deeds = {"ledger": world.redeem(popular=popular), "plain": plain.redeem(popular=popular)}
    if case == ALONE:
        deeds["bare"] = await plain.bare()

    def side(deed: Deed) -> Side:
        return lambda: customers(deed, in_flight, seconds=seconds)

    medians = await alternate({name: side(deed) for name, deed in deeds.items()}, rounds)
    row = {"case": case, "in_flight": in_flight, **medians, "ratio": ratio(medians["ledger"], medians["plain"])}
    return row | ({"to_bare": ratio(medians["ledger"], medians["bare"])} if "bare" in medians else {})


async def run(
    url: str, members: int, benefits: int, seconds: float, rounds: int, cases: Sequence[tuple[str, int]] = CASES
) -> list[Row]:
    """Fill a database of its own, compare in every case, and drop it."""
    async with created(url, members, benefits) as world:
        await world.fill()
        book, *_ = await world.books.current_terms()
        plain = Plain(world, book)
        return [await compare(world, plain, case, in_flight, seconds, rounds) for case, in_flight in cases]


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=30,
        members=Option(10_000, "members with points"), benefits=Option(2_000, "limited benefits"),
        seconds=Option(5.0, "of each round"), rounds=Option(5, "of each side"),
    )  # fmt: skip
