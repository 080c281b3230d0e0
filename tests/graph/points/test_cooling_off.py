"""Cooling off: points that are awarded, and active only later."""

from __future__ import annotations

import asyncio

import pytest

from tests.graph.points.lots import LATE, LATER, soon
from tests.graph.speech import World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_points_cool_off(world: World) -> None:
    """Until they are active, points are pending: in no balance, for no benefit; afterwards they are as any others."""
    member = world.fresh("member")
    active = await soon(world, 700)
    await world.award("video", member, 100, activeFrom=active)
    wallet = await world.points("video", member)
    assert (wallet["balance"], wallet["available"], wallet["pending"]) == ("0", "0", "100")
    assert wallet["lots"]["nodes"][0]["activeFrom"] == active
    benefit = await world.publish("video", 60)
    short = await world.try_redeem(f"{member}@video", benefit)
    assert refusal(short, "INSUFFICIENT_POINTS", None, retryable=True, required="60", available="0")
    await asyncio.sleep(0.8)
    wallet = await world.points("video", member)
    assert (wallet["balance"], wallet["available"], wallet["pending"]) == ("100", "100", "0")
    await world.redeem(f"{member}@video", benefit)
    assert (await world.points("video", member))["available"] == "40"


async def test_when_points_can_begin(world: World) -> None:
    """They begin in the future, and before they end."""
    past = "2020-01-01T00:00:00Z"
    for given in (
        {"activeFrom": past},
        {"activeFrom": LATE, "expiresAt": LATE},
        {"activeFrom": LATER, "expiresAt": LATE},
    ):
        payload = await world.refused("video", "awardPoints", member={"reference": "new"}, points="1", **given)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "activeFrom"])


async def test_a_replay_of_an_award_that_began_is_no_new_one(world: World) -> None:
    """A key is looked up before the moment is held against the clock."""
    member, key, active = world.fresh("member"), world.fresh("key"), await soon(world)
    await world.award("video", member, 5, key=key, activeFrom=active)
    await asyncio.sleep(0.5)
    assert (await world.award("video", member, 5, key=key, activeFrom=active))["replayed"] is True
