"""More time: an issuer lets points end later."""

from __future__ import annotations

import asyncio

import pytest

from tests.graph.points.lots import LATE, LATER, awarded, soon
from tests.graph.speech import World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_points_get_more_time(world: World) -> None:
    """Later, later again, and in the end for ever; the points stay what they are."""
    member, awarded_lot = await awarded(world, 10, expiresAt="2990-01-01T00:00:00Z")
    untils: tuple[str | None, ...] = (LATE, LATER, None)
    for until in untils:
        payload = await world.change("video", "extendPoints", lot=awarded_lot, expiresAt=until, reason="we were down")
        assert (payload["lot"]["expiresAt"], payload["lot"]["remaining"]) == (until, "10")
        assert (payload["member"]["reference"], payload["wallet"]["balance"]) == (member, "10")


async def test_time_is_never_taken(world: World) -> None:
    """An end that is not later, or none where there is none, is refused."""
    _, ending = await awarded(world, 10, expiresAt=LATE)
    for until in (LATE, "2990-01-01T00:00:00Z", "2020-01-01T00:00:00Z"):
        payload = await world.refused("video", "extendPoints", lot=ending, expiresAt=until)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "expiresAt"])
    _, endless = await awarded(world, 10)
    for never in (LATE, None):
        payload = await world.refused("video", "extendPoints", lot=endless, expiresAt=never)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "expiresAt"])


async def test_what_is_over_is_over(world: World) -> None:
    """A lot whose time is over is not brought back."""
    member, awarded_lot = await awarded(world, 10, expiresAt=await soon(world))
    await asyncio.sleep(0.5)
    payload = await world.refused("video", "extendPoints", lot=awarded_lot, expiresAt=LATE)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "lot"])
    assert await world.balance("video", member) == 0


async def test_until_when_has_to_be_said(world: World) -> None:
    """For ever is null; a client that leaves it out has not meant that, for it could not be taken back."""
    _, awarded_lot = await awarded(world, 10, expiresAt=LATE)
    payload = await world.refused("video", "extendPoints", lot=awarded_lot)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "expiresAt"])
