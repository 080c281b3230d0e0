"""PyMongo and Motor, side by side on one database: the stores are the same, and so is what they store."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest

from exchange.store.connection import DRIVER, Client, connect, database, settled
from tests.exchange.conftest import House, house_on
from tests.exchange.speech import agreement, award, benefit, redeem

TRIP = benefit("rides/trip", 100, stock=3)


@pytest.fixture(params=["pymongo", "motor"])
async def client(request: pytest.FixtureRequest, mongo_url: str) -> AsyncIterator[Client]:
    """Give a client of either driver, whichever the rest of the tests run on."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(DRIVER, request.param)
        client = connect(mongo_url)
    assert type(client).__module__.partition(".")[0] == request.param
    yield client
    await settled(client.close())


async def test_processes_on_either_driver_share_the_books(client: Client, house: House, database_name: str) -> None:
    """What one process did, another answers again, goes on from and proves, whatever driver each is on."""
    await house.publish(TRIP)
    await house.agree(agreement("video", "rides", 800))
    there = house_on(database(client, database_name))
    ledgers = [await house.ledger(), await there.ledger()]
    house.ledgers += there.ledgers
    for day, (first, second) in enumerate((ledgers, ledgers[::-1])):
        await first.submit(award("video", 150, key=f"award {day}"))
        taken = await first.submit(redeem(TRIP, key=f"trip {day}"))
        again = await second.submit(redeem(TRIP, key=f"trip {day}"))
        assert (taken.replayed, again.replayed) == (False, True)
        assert again.redemption == taken.redemption
    assert (await house.wallet()) == (await there.wallet())
    assert (await house.wallet()).balance(await house.soon()) == 2 * (150 - 100)
    await house.prove()
    await there.prove()


async def test_an_unknown_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody runs on another driver than the one meant, because of a slip of the pen."""
    monkeypatch.setenv(DRIVER, "Motor")
    with pytest.raises(ValueError, match="EXCHANGE_MONGO_DRIVER is pymongo or motor, not 'Motor'"):
        connect("mongodb://127.0.0.1")


async def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Motor is an extra: who asks for it without is told which, instead of running on the other."""
    monkeypatch.setenv(DRIVER, "motor")
    monkeypatch.setitem(sys.modules, "motor.motor_asyncio", None)  # as the interpreter notes what cannot be imported
    with pytest.raises(ValueError, match="it is the extra `motor`"):
        connect("mongodb://127.0.0.1")
