"""Two members, with points, for every test of what becomes of them."""

from __future__ import annotations

import pytest

from tests.graph.merging.persons import Two
from tests.graph.speech import World


@pytest.fixture
async def two(world: World) -> Two:
    """Give ann 100 points of video and 10 of delivery, bob 30 of video and 40 of rides."""
    two = Two(*(world.fresh(name) for name in ("ann", "bob", "rider")))
    await world.award("video", two.ann, 100)
    await world.link(f"{two.ann}@video", "delivery")
    await world.award("delivery", two.ann, 10)
    await world.award("video", two.bob, 30)
    await world.link(f"{two.bob}@video", "rides", two.rider)
    await world.award("rides", two.rider, 40)
    return two
