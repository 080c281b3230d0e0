"""More than can be done at once: what waits is bounded, who is turned away is told, and no neighbour is waited for."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from exchange.batch import Outcome
from exchange.commands import Award
from exchange.errors import Contended, Overloaded
from exchange.journal import Block
from exchange.ledger import BATCH_MAX, QUEUE_MAX, Ledger
from exchange.store.books import Books, Writes
from exchange.store.connection import settled
from exchange.store.lanes import Lane
from tests.exchange.conftest import KEYRING, House, answers
from tests.exchange.speech import award, by_reference

HELD = BATCH_MAX
"""Commands that are in flight, and so no longer in the queue, while a commit is held."""


class HeldBooks(Books):
    """The books, over a database that takes its time."""

    def __init__(self, house: House) -> None:
        super().__init__(house.db)
        self.go = asyncio.Event()

    async def commit(self, lane: Lane, block: Block, writes: Writes) -> None:
        """Commit when it is let go."""
        await self.go.wait()
        await super().commit(lane, block, writes)


def award_to(number: int) -> Award:
    """Give member `number` a point, under a key of its own."""
    return award("video", 1, whose=by_reference("video", f"member-{number}"), key=f"key-{number}")


async def arrive(ledger: Ledger, numbers: range) -> list[asyncio.Task[Outcome]]:
    """Let as many commands arrive, and return those that wait then; the others were turned away at once."""
    tasks = [asyncio.create_task(ledger.submit(award_to(number))) for number in numbers]
    for _ in range(5):
        await asyncio.sleep(0)
    waiting = [task for task in tasks if not task.done()]
    for task in tasks:
        if task.done():
            assert isinstance(task.exception(), Overloaded)
    return waiting


@pytest.fixture
async def held(house: House) -> AsyncIterator[tuple[Ledger, HeldBooks]]:
    """Give a ledger whose first batch is in flight and stays there."""
    books = HeldBooks(house)
    ledger = Ledger(books, KEYRING, deadline_seconds=30)
    await ledger.start()
    house.ledgers.append(ledger)
    first = await arrive(ledger, range(HELD))
    async with asyncio.timeout(10):
        while ledger.waiting:  # noqa: ASYNC110 - it is taken by the ledger's own task
            await asyncio.sleep(0.01)
    yield ledger, books
    books.go.set()
    await asyncio.gather(*first, return_exceptions=True)


async def test_memory_stays_flat_however_many_arrive(house: House, held: tuple[Ledger, HeldBooks]) -> None:
    """Ten times what the queue holds is turned away while a commit hangs, and nothing of it stays; the rest is done."""
    ledger, books = held
    waiting = await arrive(ledger, range(HELD, HELD + QUEUE_MAX + 1_000))
    assert len(waiting) == ledger.waiting == QUEUE_MAX
    tracemalloc.start()
    try:
        grown = []
        for wave in range(10):
            start = 100_000 + wave * QUEUE_MAX
            assert await arrive(ledger, range(start, start + QUEUE_MAX)) == []
            grown.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert ledger.waiting == QUEUE_MAX
    # A single wave that stayed would be many megabytes; a lease renewed meanwhile is some kilobytes.
    assert max(grown) - grown[0] < 1_000_000

    books.go.set()
    told = await asyncio.gather(*waiting)
    assert not any(one.replayed for one in told)
    assert ledger.waiting == 0
    assert await house.count("entries") == HELD + QUEUE_MAX
    await house.prove()


async def test_who_goes_away_loses_nothing_and_makes_no_room(house: House, held: tuple[Ledger, HeldBooks]) -> None:
    """What was accepted stays so when its caller goes: the queue is as full as before, and each key is done once."""
    ledger, books = held
    waiting = await arrive(ledger, range(HELD, HELD + QUEUE_MAX))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await arrive(ledger, range(100_000, 100_010)) == []
    books.go.set()
    asked = range(HELD, HELD + QUEUE_MAX, 16)
    again = await arrive_later(ledger, asked)
    assert Counter(one.replayed for one in again) == {True: len(asked)}
    assert await house.count("entries") == HELD + QUEUE_MAX
    await house.prove()


async def arrive_later(ledger: Ledger, numbers: range) -> list[Outcome]:
    """Ask as one does that was turned away: again and again, with the same key."""

    async def ask(number: int) -> Outcome:
        while True:
            try:
                return await ledger.submit(award_to(number))
            except Overloaded:
                await asyncio.sleep(0.05)

    return await asyncio.gather(*map(ask, numbers))


async def test_the_wait_that_is_told_is_that_of_a_commit_that_hangs(held: tuple[Ledger, HeldBooks]) -> None:
    """Each batch may take as long as the one in flight already has; nobody is sent away for longer than others wait."""
    ledger, _ = held
    waiting = await arrive(ledger, range(HELD, HELD + QUEUE_MAX))
    waits = []
    for pause in (0.3, 0.7):
        await asyncio.sleep(pause)
        with pytest.raises(Overloaded) as refused:
            await ledger.submit(award_to(0))
        waits.append(refused.value.retry_seconds)
    batches = QUEUE_MAX // BATCH_MAX
    assert batches * 0.3 <= waits[0] <= waits[1] <= 60
    assert batches * 1.0 <= waits[1]
    assert len(waiting) == QUEUE_MAX


@asynccontextmanager
async def locked(house: House, reference: str) -> AsyncIterator[None]:
    """Hold a member's wallet in an open transaction, as a rival's does that was killed; the server ends it in 3 s."""
    wallet = await house.wallet("video", reference)
    async with await house.books.start_session() as session:
        await settled(session.start_transaction())
        await house.db["wallets"].update_one({"_id": wallet.id}, {"$set": {"touched": True}}, session=session)
        yield
        await session.abort_transaction()


async def test_nobody_waits_for_one_that_cannot_be_written(house: House) -> None:
    """One wallet that a rival holds costs its own command the deadline, and its batch and all that arrive nothing."""
    ledger = await house.ledger(deadline_seconds=1.5)
    await ledger.submit(award_to(0))
    async with locked(house, "member-0"):
        ann = asyncio.create_task(ledger.submit(award("video", 5, whose=by_reference("video", "member-0"), key="ann")))
        batch = await answers(ledger, *map(award_to, range(1, 40)))
        later = [(await answers(ledger, award_to(number)))[0] for number in range(40, 60)]
        assert {type(one) for one in batch + later} == {Outcome}
        assert not ann.done()
        with pytest.raises(Contended):
            await ann
    assert not (await ledger.submit(award("video", 5, whose=by_reference("video", "member-0"), key="ann"))).replayed
    await house.prove()


async def test_what_was_set_apart_is_done_as_soon_as_it_can_be(house: House) -> None:
    """When the rival lets go before the deadline the command is carried out, though others arrived all the time."""
    ledger = await house.ledger()
    await ledger.submit(award_to(0))
    async with locked(house, "member-0"):
        ann = asyncio.create_task(ledger.submit(award("video", 5, whose=by_reference("video", "member-0"), key="ann")))
        await answers(ledger, *map(award_to, range(1, 20)))
    number = 20
    async with asyncio.timeout(8):
        while not ann.done():
            await ledger.submit(award_to(number))
            number += 1
    assert not (await ann).replayed
    await house.prove()


async def test_a_stop_waits_for_what_was_set_apart(house: House) -> None:
    """It was accepted, so it is answered before the lane is given back."""
    ledger = await house.ledger(deadline_seconds=1)
    await ledger.submit(award_to(0))
    async with locked(house, "member-0"):
        ann = asyncio.create_task(ledger.submit(award("video", 5, whose=by_reference("video", "member-0"))))
        await asyncio.sleep(0.1)
        await ledger.stop()
        assert ledger.waiting == 0
        assert ann.done()
        with pytest.raises(Contended):
            await ann
