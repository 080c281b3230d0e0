"""Points of others: what a partner may not see it cannot change, nor learn that it is there."""

from __future__ import annotations

import pytest

from tests.graph.points.lots import LATER, NODE, NOTHING, awarded, staffs
from tests.graph.speech import World

pytestmark = pytest.mark.usefixtures("proved")


async def test_anothers_lot_is_no_lot(world: World) -> None:
    """Another partner's, under the id that it, the owner or staff has of it, is NotFound as one that does not exist."""
    member, awarded_lot = await awarded(world, 100)
    await world.link(f"{member}@video", "rides", "r-" + member)
    seen_by_rides = await world.read(
        f"r-{member}@rides", "{ viewer { member { wallet { lots { nodes { id issuer { handle } } } } } } }"
    )
    (row,) = seen_by_rides["member"]["wallet"]["lots"]["nodes"]
    assert row["issuer"] == {"handle": "video"}
    sealed = world.services.keyring.seal
    hidden = [awarded_lot, row["id"], staffs(world, "Lot", awarded_lot)]
    absent = [NOTHING, "", sealed("Lot:nobody", "partner:rides"), sealed("Lot:nobody/0", "partner:rides")]
    for mutation, given in (
        ("reverseAward", {}), ("extendPoints", {"expiresAt": LATER}), ("freezeLot", {"reason": "r", "actor": "a"}),
        ("unfreezeLot", {"reason": "r", "actor": "a"}),
    ):  # fmt: skip
        told = {
            (await world.send("rides", mutation, lot=one, idempotencyKey=world.fresh("key"), **given)).told
            for one in (*hidden, *absent)
        }
        assert len(told) == 1, mutation
        assert '"NOT_FOUND"' in told.pop()[1]
    assert (await world.points("video", member))["lots"]["nodes"][0]["remaining"] == "100"


async def test_anothers_member_is_no_member(world: World) -> None:
    """By its id at another partner, or by that partner's reference, it is NotFound as one that does not exist."""
    await world.rules("video", gift_day_points=1_000)
    await world.rules("rides", gift_day_points=1_000)
    hidden, _ = await awarded(world, 100)
    identity = (await world.member("video", hidden))["id"]
    mine, _ = await awarded(world, 100, "rides")
    strange = [{"reference": hidden}, {"id": identity}, {"id": staffs(world, "Member", identity)}]
    absent = [
        {"reference": "nobody"},
        {"id": NOTHING},
        {"id": world.services.keyring.seal("Member:x", "partner:rides")},
    ]
    why = {"reason": "r", "actor": "a"}
    for mutation, named, given in (
        ("adjustPoints", "member", {"points": "5", **why}), ("adjustPoints", "member", {"points": "-5", **why}),
        ("givePoints", "member", {"points": "5", "to": {"reference": mine}}),
        ("givePoints", "to", {"points": "5", "member": {"reference": mine}}),
    ):  # fmt: skip
        told = {
            (await world.send("rides", mutation, **given, **{named: one}, idempotencyKey=world.fresh("key"))).told
            for one in (*strange, *absent)
        }
        assert len(told) == 1, mutation
        assert '"NOT_FOUND"' in told.pop()[1]


async def test_a_partner_sees_its_own_lots_of_what_was_given(world: World) -> None:
    """A gift of video's points through rides is a lot that rides cannot see, and video only through a link."""
    await world.rules("video", gift_day_points=1_000)
    giver, _ = await awarded(world, 100)
    await world.link(f"{giver}@video", "rides")
    receiver, _ = await awarded(world, 5, "rides")
    payload = await world.change(
        "rides", "givePoints", member={"reference": giver}, to={"reference": receiver}, points="9"
    )
    assert [row["issuer"]["handle"] for row in payload["wallet"]["lots"]["nodes"]] == []
    wallet = await world.points("rides", receiver)
    assert (wallet["balance"], [row["issuer"]["handle"] for row in wallet["lots"]["nodes"]]) == ("14", ["rides"])
    mine = await world.read(f"{receiver}@rides", "{ viewer { member { wallet { lots { nodes { id awarded } } } } } }")
    own, gift = mine["member"]["wallet"]["lots"]["nodes"]
    assert (own["awarded"], gift["awarded"]) == ("5", "9")
    assert await world.read("rides", NODE, id=gift["id"]) is None
    assert (await world.read(f"{receiver}@rides", NODE, id=gift["id"]))["remaining"] == "9"
    await world.redeem(f"{receiver}@rides", await world.publish("video", 9))
