"""Commits that the network keeps, loses or delivers late: each is settled, and no answer is a guess.

A real commit is caught between the driver and mongod, by a proxy that can read it, while its ledger does what rule 4
says: asks again, kills the session, takes the place in the lane. Then it is delivered.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from exchange.batch import Outcome
from exchange.errors import BenefitUnavailable, Contended, ExchangeError, StoreUnavailable
from exchange.ledger import Ledger
from exchange.mongod import TRANSACTION_SECONDS_MAX
from exchange.store.books import Books
from exchange.store.connection import Client, connect, database, settled
from tests.exchange.conftest import KEYRING, House, answers, done
from tests.exchange.conftest import house as house  # noqa: PLC0414 - pytest finds it by its name here
from tests.exchange.speech import award, benefit, left, redeem
from tests.exchange.test_ledger import kinds, lapse, until
from tests.faults.proxy import Held, Proxy, Way

pytestmark = pytest.mark.faults

DEADLINE_SECONDS = 3
ALWAYS = 1_000


@pytest.fixture
def proxy(mongo_url: str) -> Iterator[Proxy]:
    port = urlsplit(mongo_url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy, house: House) -> AsyncIterator[Client]:
    """Give a driver that sees the database through the proxy alone."""
    client = connect(proxy.url)
    yield client
    proxy.mend()
    while house.ledgers:
        await house.ledgers.pop().stop()
    await settled(client.close())


@pytest.fixture(autouse=True)
async def proved(house: House, client: Client) -> AsyncIterator[None]:
    """End every test with every invariant proved."""
    yield
    for ledger in house.ledgers:
        await ledger.stop()
    await house.prove()


def far(house: House, client: Client, deadline_seconds: float = 10) -> Ledger:
    """Return the ledger of a process behind the proxy, to be started."""
    ledger = Ledger(Books(database(client, house.db.name)), KEYRING, deadline_seconds)
    house.ledgers.append(ledger)
    return ledger


@pytest.fixture
async def ledger(house: House, client: Client) -> Ledger:
    """Give a ledger behind the proxy that soon gives up asking, with an award in its lane."""
    ledger = far(house, client, DEADLINE_SECONDS)
    await ledger.start()
    await ledger.submit(award("video", 1, key="before"))
    return ledger


@pytest.fixture
async def unhurried(house: House) -> AsyncIterator[None]:
    """Let transactions live for as long as a test keeps their commit in the air."""
    admin = house.db.client.admin
    await admin.command("setParameter", 1, transactionLifetimeLimitSeconds=60)
    yield
    await admin.command("setParameter", 1, transactionLifetimeLimitSeconds=TRANSACTION_SECONDS_MAX)


class Same:
    """Matches the transaction that it sees first, whatever is asked of it, and no other."""

    def __init__(self) -> None:
        self._first: Any = None

    def __call__(self, asked: dict[str, Any]) -> bool:
        """Tell whether it is the one."""
        this = (asked["lsid"]["id"], asked["txnNumber"])
        self._first = self._first or this
        return bool(this == self._first)


def void(asked: dict[str, Any]) -> bool:
    """Tell whether a block is inserted outside every transaction, without entries."""
    return asked["insert"] == "blocks" and "autocommit" not in asked


def hold_commit(proxy: Proxy) -> Held:
    """Keep the next transaction's commit, however often it is sent, and let nobody hear of it."""
    return proxy.hold("commitTransaction", times=ALWAYS, where=Same(), hang_up=True)


async def told(asked: asyncio.Task[Outcome]) -> Outcome | ExchangeError:
    """Return the answer, which may be that there is none."""
    answer = (await asyncio.gather(asked, return_exceptions=True))[0]
    assert isinstance(answer, Outcome | BenefitUnavailable | StoreUnavailable | Contended), answer
    return answer


async def test_an_answer_that_is_lost_after_the_commit_is_asked_for_again(
    house: House, ledger: Ledger, proxy: Proxy
) -> None:
    """The commit happened and its answer was lost, twice: asked again the server tells, and it happened once."""
    with proxy.hold("commitTransaction", Way.ANSWER, times=2, hang_up=True) as held:
        outcome = await ledger.submit(award("video", 10, key="k"))
    assert (held.count, outcome.replayed) == (2, False)
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES"]


async def test_a_commit_that_was_sent_twice_and_arrives_late_disturbs_nobody(
    house: House, ledger: Ledger, proxy: Proxy
) -> None:
    """Sent again it succeeded; the first, arriving in the middle of the next batch on the same session, is too late."""
    with proxy.hold("commitTransaction", hang_up=True) as late:
        assert not (await ledger.submit(award("video", 10, key="k"))).replayed
        with proxy.hold("commitTransaction") as held:
            asked = asyncio.create_task(ledger.submit(award("video", 20, key="next")))
            await held.caught()
            late.deliver()
            assert await house.count("entries") == 2
        assert not done(await told(asked)).replayed
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10", "next: 20 of 20"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES", "ENTRIES"]


async def test_a_commit_delayed_past_the_look_never_lands(
    house: House, ledger: Ledger, proxy: Proxy, unhurried: None
) -> None:
    """Once a void block has its place the commit, however often sent, can arrive: nothing of it happens any more."""
    with hold_commit(proxy) as held:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await until(house, kind="VOID")
        assert not done(await told(asked)).replayed
        held.deliver()
        assert await house.count("entries") == 2
    assert (await ledger.submit(award("video", 10, key="k"))).replayed
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES"]


async def test_nobody_is_answered_while_the_outcome_is_unknown(house: House, client: Client, proxy: Proxy) -> None:
    """However long the commit is in the air: whoever is of its batch, or came after it, hears nothing and no guess."""
    ledger = far(house, client)
    await ledger.start()
    with hold_commit(proxy) as held:
        batch = [asyncio.create_task(ledger.submit(one)) for one in (award("video", 10), award("video", 1, whose=None))]
        await held.caught()
        behind = asyncio.create_task(ledger.submit(award("video", 20)))
        heard, _ = await asyncio.wait([*batch, behind], timeout=1.5)
        assert not heard
        assert held.count > 1, "it was sent again"
        held.deliver()
        assert [done(await told(asked)).replayed for asked in (*batch, behind)] == [False] * 3
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES"]


async def test_a_session_killed_under_its_commit_is_decided_anew(house: House, ledger: Ledger, proxy: Proxy) -> None:
    """Somebody kills the session while its commit is on the way: it never happens, and its batch is carried out."""
    with proxy.hold("commitTransaction") as held:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await held.caught()
        lane = await house.db["lanes"].find_one({"_id": 1})
        assert lane is not None
        await house.books.kill_session(lane["lsid"])
        held.deliver()
    assert not done(await told(asked)).replayed
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES"]


async def test_a_commit_that_lands_before_the_session_is_killed_is_known_by_its_hash(
    house: House, ledger: Ledger, proxy: Proxy, unhurried: None
) -> None:
    """The killing comes too late: the place in the lane is taken, by the very block, and it is answered as done."""
    with proxy.hold("killSessions") as killing, hold_commit(proxy) as commit:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await killing.caught()
        commit.deliver()
        assert await house.count("entries") == 2
        killing.deliver()
        assert not done(await told(asked)).replayed
    await ledger.submit(award("video", 20, key="next"))
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10", "next: 20 of 20"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES", "ENTRIES"]


async def test_a_commit_between_the_killing_and_the_void_block_never_lands(
    house: House, ledger: Ledger, proxy: Proxy, unhurried: None
) -> None:
    """It arrives where a look would still have found the place empty: the killed session cannot commit."""
    with proxy.hold("insert", where=void) as voiding, hold_commit(proxy) as commit:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await voiding.caught()
        commit.deliver()
        assert await house.count("entries") == 1
        voiding.deliver()
        assert not done(await told(asked)).replayed
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES"]


async def test_a_void_block_whose_answer_is_lost_is_enough(house: House, ledger: Ledger, proxy: Proxy) -> None:
    """Nobody hears that it was inserted, nor the driver's own second attempt: the next attempt finds it there."""
    with proxy.hold("insert", Way.ANSWER, where=void, times=2, hang_up=True) as voiding, hold_commit(proxy) as commit:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await voiding.caught(2)
        await told(asked)
        commit.deliver()
    await ledger.submit(award("video", 10, key="k"))
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES"]


async def test_a_void_block_that_arrives_late_itself_takes_nothing_away(
    house: House, ledger: Ledger, proxy: Proxy
) -> None:
    """Of several void blocks in the air one gets the place; those that come later, in mid-batch, do nothing."""
    with proxy.hold("insert", where=void, times=2, hang_up=True) as voiding, hold_commit(proxy):
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await told(asked)
        await ledger.submit(award("video", 10, key="k"))
        with proxy.hold("commitTransaction") as next_commit:
            flying = asyncio.create_task(ledger.submit(award("video", 20, key="next")))
            await next_commit.caught()
            voiding.deliver()
        done(await told(flying))
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10", "next: 20 of 20"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES", "ENTRIES"]


async def test_a_transaction_whose_beginning_arrives_late_never_begins(
    house: House, ledger: Ledger, proxy: Proxy
) -> None:
    """Not the commit but its first statement is delayed: decided anew meanwhile, it comes too late to hold a place."""
    with proxy.hold("insert", where=lambda asked: asked.get("startTransaction", False), hang_up=True) as beginning:
        assert not (await ledger.submit(award("video", 10, key="k"))).replayed
        beginning.deliver()
        assert not (await ledger.submit(award("video", 20, key="next"))).replayed
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10", "next: 20 of 20"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES", "ENTRIES"]


async def test_the_commit_and_the_void_block_race(house: House, ledger: Ledger, proxy: Proxy, unhurried: None) -> None:
    """Whenever the commit arrives, before, during or after its settling: answers are true, and each award is once."""
    chance = random.Random(4)  # noqa: S311 - a schedule
    for number in range(8):
        key = f"k{number}"
        with hold_commit(proxy) as commit:
            asked = asyncio.create_task(ledger.submit(award("video", 10, key=key)))
            await commit.caught()
            with proxy.hold("killSessions") as killing:
                await killing.caught()
                killing_first = chance.random() < 0.5
                for one in (killing, commit) if killing_first else (commit, killing):
                    await asyncio.sleep(chance.uniform(0, 0.004))
                    await asyncio.to_thread(one.deliver)
            answer = await told(asked)
        again = await ledger.submit(award("video", 10, key=key))
        assert not isinstance(answer, Outcome) or (not answer.replayed and again.entry == answer.entry)
    assert 0 < await house.count("blocks", kind="VOID") < 8, "both may win"
    assert left(await house.wallet()) == ["before: 1 of 1", *(f"k{number}: 10 of 10" for number in range(8))]


# A process that is gone while its commit is in the air


async def test_a_commit_in_the_air_when_its_lane_is_stolen_never_lands(
    house: House, client: Client, proxy: Proxy, unhurried: None
) -> None:
    """Its process is cut off, another goes on in its lane; then the commit arrives, and then its process is back."""
    ledger = far(house, client)
    await ledger.start()
    await ledger.submit(award("video", 1, key="before"))
    with proxy.hold("commitTransaction") as commit:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await commit.caught()
        proxy.cut()
        await lapse(house)
        thief = await house.ledger()
        assert not (await thief.submit(award("video", 20, key="thief"))).replayed
        commit.deliver()
        assert await house.count("entries") == 2
        again = await thief.submit(award("video", 10, key="k"))
        assert not again.replayed
        proxy.mend()
        answer = await told(asked)
        assert not isinstance(answer, Outcome) or (answer.replayed and answer.entry == again.entry)
    assert not (await ledger.submit(award("video", 30, key="elsewhere"))).replayed
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES", "ENTRIES"]
    assert await kinds(house, 2) == ["GENESIS", "ENTRIES"]


async def test_a_commit_that_landed_before_its_lane_was_stolen_is_of_the_lane(
    house: House, client: Client, proxy: Proxy
) -> None:
    """It arrived, its process never heard of it: the thief goes on behind it, and the process knows it for its own."""
    ledger = far(house, client)
    await ledger.start()
    with proxy.hold("commitTransaction") as commit:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await commit.caught()
        proxy.cut()
        commit.deliver()
        await lapse(house)
        thief = await house.ledger()
        there = await thief.submit(award("video", 10, key="k"))
        assert there.replayed
        proxy.mend()
        answer = await told(asked)
        assert not isinstance(answer, Outcome) or (not answer.replayed and answer.entry == there.entry)
    assert not (await ledger.submit(award("video", 30, key="elsewhere"))).replayed
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID"]
    assert await kinds(house, 2) == ["GENESIS", "ENTRIES"]


async def test_a_commit_that_lands_between_the_thiefs_look_and_its_void_block_is_kept(
    house: House, client: Client, proxy: Proxy, unhurried: None
) -> None:
    """The thief has seen the head, and the place behind it is taken after all: it goes on behind that."""
    with Proxy(proxy.server_port) as other:
        ledger = far(house, client)
        await ledger.start()
        with proxy.hold("commitTransaction") as commit, other.hold("killSessions") as killing:
            asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
            await commit.caught()
            proxy.cut()
            await lapse(house)
            others = connect(other.url)
            thief = far(house, others)
            starting = asyncio.create_task(thief.start())
            await killing.caught()
            commit.deliver()
            killing.deliver()
            await starting
            assert (await thief.submit(award("video", 10, key="k"))).replayed
            proxy.mend()
            await told(asked)
        await thief.stop()
        house.ledgers.remove(thief)
        await settled(others.close())
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID"]


# What a lane draws


@pytest.mark.parametrize("way", [Way.REQUEST, Way.ANSWER], ids=["never landed", "landed unheard"])
async def test_units_that_a_lane_drew_without_hearing_of_it_are_there_once(
    house: House, client: Client, proxy: Proxy, way: Way
) -> None:
    """A draw from the stockroom in the air is drawn anew, or found on the shelf; arriving late it moves nothing."""
    ledger = far(house, client)
    await ledger.start()
    rare = benefit("video/rare", 1, stock=3)
    await house.publish(rare)
    await ledger.submit(award("video", 10))
    times = 1 if way is Way.ANSWER else ALWAYS
    with proxy.hold("commitTransaction", way, times=times, where=Same(), hang_up=True) as drawing:
        sold = await asyncio.gather(*(told(asyncio.create_task(ledger.submit(redeem(rare)))) for _ in range(4)))
        assert Counter(type(one) for one in sold) == {Outcome: 3, BenefitUnavailable: 1}
        assert drawing.count > 0
        drawing.deliver()
    assert (await house.catalog.stock([rare.id]))[rare.id].left == 0


# Opening a lane


async def test_a_lane_whose_opening_is_in_the_air_holds_nobody_up(house: House, client: Client, proxy: Proxy) -> None:
    """The commit of a first block is lost: the process says so, others open theirs, and arriving late it is no lane."""
    ledger = far(house, client)
    with hold_commit(proxy) as opening:
        with pytest.raises(StoreUnavailable):
            await ledger.start()
        house.ledgers.remove(ledger)
        other = await asyncio.wait_for(house.ledger(), 1)
        await other.submit(award("video", 10))
        opening.deliver()
    assert await house.count("lanes") == 1
    await ledger.start()
    house.ledgers.append(ledger)
    await ledger.submit(award("video", 10))
    assert await kinds(house) == await kinds(house, 2) == ["GENESIS", "ENTRIES"]


async def test_a_lane_that_was_opened_unheard_is_the_next_ones(house: House, client: Client, proxy: Proxy) -> None:
    """The answer to a first block is lost: nobody writes that lane until its lease is over, and then anybody may."""
    ledger = far(house, client)
    with proxy.hold("commitTransaction", Way.ANSWER, times=2, hang_up=True), pytest.raises(StoreUnavailable):
        await ledger.start()
    await ledger.start()
    assert await house.count("lanes") == 2
    await lapse(house)
    other = await house.ledger()
    await other.submit(award("video", 10))
    assert await house.count("lanes") == 2


# What an open transaction holds


async def test_a_dead_clients_transaction_blocks_nobody_for_longer_than_three_seconds(
    house: House, client: Client, proxy: Proxy
) -> None:
    """What it wrote is locked until the server ends it: a rival that wants the same wallet gets it within that time."""
    ledger, rival = far(house, client), await house.ledger()
    await ledger.start()
    await ledger.submit(award("video", 1, key="before"))
    with proxy.hold("commitTransaction") as commit:
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await commit.caught()
        proxy.cut()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert isinstance((await answers(rival, award("video", 20, key="rival")))[0], Outcome)
        assert loop.time() - began < 3.5
        commit.deliver()
        assert await house.count("entries") == 2
        proxy.mend()
        await told(asked)
