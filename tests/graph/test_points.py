from __future__ import annotations

from tests.graph.speech import World


async def test_points_awarded_are_the_members(world: World) -> None:
    """Points that an issuer awards are in the member's wallet."""
    await world.award("video", "anna", 100)
    assert await world.balance("video", "anna") == 100
