"""What time does by itself, written down: lapsed reservations and expired lots, on a real MongoDB."""

from __future__ import annotations

import asyncio

import pytest

from exchange.ledger import Ledger
from exchange.redemption import RedemptionStatus, Step
from exchange.sweeper import AT_ONCE, Sweeper
from tests.exchange.conftest import House
from tests.exchange.speech import act, award, benefit, by_reference, reserve

FILM = benefit("video/film", 30)


@pytest.fixture(autouse=True)
async def begun(house: House, proved: None) -> None:
    """Begin with something to reserve."""
    await house.publish(FILM)


async def ended(house: House, ledger: Ledger, points: int, member: str = "ann") -> None:
    """Award points that expire a moment later, and wait for that moment."""
    await ledger.submit(
        award("video", points, whose=by_reference("video", member), expires=await house.soon(seconds=0.3))
    )
    await asyncio.sleep(0.35)


async def state(house: House, member: str = "ann") -> list[tuple[int, int, int]]:
    """Return remaining, held and expired of each lot."""
    return [(lot.remaining, lot.held, lot.expired) for lot in (await house.wallet("video", member)).lots]


async def test_a_lot_whose_time_is_over_expires_once(house: House, ledger: Ledger) -> None:
    """Two processes that sweep at once write down one expiry, and there is nothing left to sweep."""
    await ledger.submit(award("video", 70))
    await ended(house, ledger, 100)
    sweepers = [
        Sweeper(each.books, each_ledger) for each, each_ledger in ((house, ledger), (house, await house.ledger()))
    ]
    await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
    assert await state(house) == [(70, 0, 0), (0, 0, 100)]
    assert await house.count("entries", kind="EXPIRE") == 1
    assert await sweepers[0].sweep() == 0


async def test_held_points_expire_when_their_hold_lets_go(house: House, ledger: Ledger) -> None:
    """The free part of a lot expires at its end, the held part only when the reservation is cancelled."""
    await ledger.submit(award("video", 100, expires=await house.soon(seconds=0.5)))
    held = (await ledger.submit(reserve(FILM))).redemption
    sweeper = Sweeper(house.books, ledger)
    await asyncio.sleep(0.55)
    assert await sweeper.sweep() == 1
    assert await state(house) == [(30, 30, 70)]
    assert await sweeper.sweep() == 0
    await ledger.submit(act(Step.CANCEL, held))
    assert await sweeper.sweep() == 1
    assert await state(house) == [(0, 0, 100)]
    assert await sweeper.sweep() == 0


async def test_a_reservation_lapses_and_frees_what_it_held(house: House, ledger: Ledger) -> None:
    """After its deadline the sweeper ends it, once, whoever sweeps; before it nothing happens."""
    await ledger.submit(award("video", 100))
    made = (await ledger.submit(reserve(FILM, ttl=1))).redemption
    assert made is not None
    sweepers = [Sweeper(house.books, ledger), Sweeper(house.books, await house.ledger())]
    assert await sweepers[0].sweep() == 0
    await asyncio.sleep(1.05)
    await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
    assert await state(house) == [(100, 0, 0)]
    stored = await house.db["redemptions"].find_one({"_id": made.id})
    assert stored is not None
    assert stored["status"] == RedemptionStatus.EXPIRED
    assert await house.count("entries", kind="LAPSE") == 1


async def test_a_sweep_is_bounded_and_the_next_goes_on(house: House, ledger: Ledger) -> None:
    """More than one sweep takes is left for the next, and nothing is left in the end."""
    members = [f"member-{number}" for number in range(AT_ONCE + 5)]
    until = await house.soon(seconds=2)
    await asyncio.gather(
        *(ledger.submit(award("video", 1, whose=by_reference("video", member), expires=until)) for member in members)
    )
    await asyncio.sleep(2.1)
    sweeper = Sweeper(house.books, ledger)
    assert [await sweeper.sweep() for _ in range(3)] == [AT_ONCE, 5, 0]


async def test_sweeping_survives_a_failure(house: House, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in one sweep, the next one comes."""
    monkeypatch.setattr("exchange.sweeper.SWEEP_SECONDS", 0.01)
    await ended(house, ledger, 100)
    sweeping = asyncio.create_task(Sweeper(house.books, ledger).run())
    async with house.failing("find", {"times": 3}, errorCode=8):
        for _ in range(300):
            await asyncio.sleep(0.01)
            if await house.count("entries", kind="EXPIRE"):
                break
    sweeping.cancel()
    assert await state(house) == [(0, 0, 100)]
