"""Goodwill: a partner gives points besides its awards, or takes some, and says why."""

from __future__ import annotations

import pytest

from tests.graph.points.lots import LATE, awarded, leave, lot
from tests.graph.speech import World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_goodwill_gives_and_takes(world: World) -> None:
    """A partner gives points besides its awards, and takes points of its own; a debt is not repaid by goodwill."""
    member, _ = await awarded(world, 50)
    why = {"reason": "parcel was late", "actor": "agent 7"}
    given = await world.change(
        "video", "adjustPoints", member={"reference": member}, points="25", expiresAt=LATE, **why
    )
    assert lot(given) == {"awarded": 25, "remaining": 25}
    assert (given["lot"]["expiresAt"], given["wallet"]["balance"], given["replayed"]) == (LATE, "75", False)
    taken = await world.change("video", "adjustPoints", member={"id": given["member"]["id"]}, points="-30", **why)
    assert (taken["lot"], taken["wallet"]["balance"]) == (None, "45")
    remaining = [row["remaining"] for row in taken["wallet"]["lots"]["nodes"]]
    assert remaining == ["45", "0"]


async def test_goodwill_takes_what_is_ones_own_and_free(world: World) -> None:
    """Not another issuer's points, not what is held, frozen or cooling off; the message says how many there are."""
    member, _ = await awarded(world, 100)
    await world.link(f"{member}@video", "rides")
    await world.award("rides", member, 500)
    await world.award("video", member, 500, activeFrom=LATE)
    frozen = (await world.award("video", member, 500))["lot"]["id"]
    await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    await world.reserve(f"{member}@video", await world.publish("video", 30))
    short = await world.refused(
        "video", "adjustPoints", member={"reference": member}, points="-71", reason="mistake", actor="agent 7"
    )
    assert refusal(short, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="71", available="70")
    assert short["message"] == "70 of your points are free"


async def test_goodwill_needs_a_reason_and_somebody(world: World) -> None:
    """Nothing is adjusted without saying why, and who decided it; nor by nothing, nor with an end for what is taken."""
    member, _ = await awarded(world, 50)
    good = {"member": {"reference": member}, "points": "5", "reason": "late", "actor": "agent 7"}
    for other, path in (
        ({"points": "0"}, "points"), ({"points": str(10**18)}, "points"), ({"points": str(-(10**18))}, "points"),
        ({"reason": ""}, "reason"), ({"reason": "   "}, "reason"), ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 2000}, "reason"), ({"actor": ""}, "actor"), ({"actor": "\t"}, "actor"),
        ({"points": "-5", "expiresAt": LATE}, "expiresAt"), ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
    ):  # fmt: skip
        payload = await world.refused("video", "adjustPoints", **{**good, **other})
        assert refusal(payload, "VALIDATION_ERROR", ["input", path]), other
    unknown = await world.refused("video", "adjustPoints", **{**good, "member": {"reference": "nobody"}})
    assert refusal(unknown, "NOT_FOUND", ["input", "member"])
    assert await world.balance("video", member) == 50


async def test_goodwill_stops_with_a_link_and_with_a_frozen_partner(world: World) -> None:
    """A partner whose member has left, or that the exchange has frozen, adjusts nothing."""
    member, _ = await awarded(world, 50)
    wish = {"member": {"reference": member}, "points": "5", "reason": "late", "actor": "agent 7"}
    await world.rules("video", frozen="investigation")
    try:
        assert refusal(await world.refused("video", "adjustPoints", **wish), "FORBIDDEN", None)
        award = await world.refused("video", "awardPoints", member=wish["member"], points="5")
        assert refusal(award, "FORBIDDEN", None)
    finally:
        await world.rules("video")
    await leave(world, member)
    assert refusal(await world.refused("video", "adjustPoints", **wish), "NOT_FOUND", ["input", "member"])
