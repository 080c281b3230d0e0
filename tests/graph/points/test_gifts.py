"""Gifts: members give points to each other, as far as the issuer lets them, also many at once."""

from __future__ import annotations

import asyncio

import pytest

from tests.graph.points.lots import LATE, NODE, NOTHING, awarded, leave
from tests.graph.speech import Payload, World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_points_are_given(world: World) -> None:
    """They leave the giver's lot and are a lot of the receiver's, of the same issuer and with the same end."""
    await world.rules("video", gift_day_points=100)
    giver, given = await awarded(world, 100, expiresAt=LATE)
    receiver, _ = await awarded(world, 5)
    wish = {"to": {"reference": receiver}, "points": "30", "reason": "happy birthday"}
    payload = await world.change(f"{giver}@video", "givePoints", **wish)
    assert (payload["replayed"], payload["member"]["reference"], payload["wallet"]["balance"]) == (False, giver, "70")
    (row,) = payload["wallet"]["lots"]["nodes"]
    assert (row["remaining"], row["given"]) == ("70", "30")
    mine, gift = (await world.points("video", receiver))["lots"]["nodes"]
    assert (gift["awarded"], gift["remaining"], gift["expiresAt"], gift["issuer"]["handle"]) == (
        "30",
        "30",
        LATE,
        "video",
    )
    assert mine["remaining"] == "5"
    by_server = await world.change(
        "video", "givePoints", member={"reference": receiver}, to={"id": payload["member"]["id"]}, points="10"
    )
    assert by_server["member"]["reference"] == receiver
    assert await world.balance("video", giver) == 80
    # Each end of a gift is a node to whom the lot belongs.
    for who, seen, identity in (
        (f"{giver}@video", {"remaining": "70", "given": "30"}, given),
        (f"{receiver}@video", {"remaining": "20", "given": "10"}, gift["id"]),
        ("video", {"remaining": "20", "given": "10"}, gift["id"]),
    ):
        assert await world.read(who, NODE, id=identity) == {"__typename": "Lot", "id": identity, **seen}
    for who in (f"{giver}@video", "rides"):
        assert await world.read(who, NODE, id=gift["id"]) is None


async def test_the_issuer_says_how_much_may_be_given(world: World) -> None:
    """Nothing where it has not said, and no more than so many points a day."""
    await world.rules("video")
    giver, _ = await awarded(world, 100)
    receiver, _ = await awarded(world, 5)
    wish = {"to": {"reference": receiver}, "points": "30"}
    short: Payload = {"retryable": True, "required": "30"}
    refused = await world.refused(f"{giver}@video", "givePoints", **wish)
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], **short, available="0")
    await world.rules("video", gift_day_points=50)
    await world.change(f"{giver}@video", "givePoints", **wish)
    refused = await world.refused(f"{giver}@video", "givePoints", **wish)
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], **short, available="20")
    await world.change(f"{giver}@video", "givePoints", **{**wish, "points": "20"})
    assert await world.balance("video", receiver) == 55


async def test_a_gift_counts_against_the_links_daily_limit(world: World) -> None:
    """Who may spend no more than so much through a partner gives no more through it."""
    await world.rules("video", gift_day_points=1_000)
    giver, _ = await awarded(world, 100)
    receiver, _ = await awarded(world, 5, "rides")
    await world.link(f"{giver}@video", "rides", daily_limit=40)
    refused = await world.refused(f"{giver}@rides", "givePoints", to={"reference": receiver}, points="41")
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="41", available="40")
    await world.change(f"{giver}@rides", "givePoints", to={"reference": receiver}, points="30")
    held = await world.try_redeem(f"{giver}@rides", await world.publish("video", 11))
    assert held["code"] == "BENEFIT_UNAVAILABLE"
    await world.redeem(f"{giver}@rides", await world.publish("video", 10))


async def test_what_cannot_be_given(world: World) -> None:
    """Not to oneself, not to nobody, not nothing, not what is held, frozen or cooling off."""
    await world.rules("video", gift_day_points=1_000)
    giver, frozen = await awarded(world, 100)
    await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    await world.award("video", giver, 100, activeFrom=LATE)
    await world.award("video", giver, 20)
    await world.reserve(f"{giver}@video", await world.publish("video", 5))
    receiver, _ = await awarded(world, 5)
    me = (await world.member("video", giver))["id"]
    good = {"to": {"reference": receiver}, "points": "1"}
    for other, code, path in (
        ({"points": "0"}, "VALIDATION_ERROR", "points"), ({"points": "-1"}, "VALIDATION_ERROR", "points"),
        ({"reason": "a\nb"}, "VALIDATION_ERROR", "reason"),
        ({"idempotencyKey": ""}, "VALIDATION_ERROR", "idempotencyKey"),
        ({"to": {"reference": "x" * 200}}, "VALIDATION_ERROR", "to"),
        ({"member": {"reference": receiver}}, "VALIDATION_ERROR", "member"),
        ({"to": {"reference": giver}}, "VALIDATION_ERROR", "to"), ({"to": {"id": me}}, "VALIDATION_ERROR", "to"),
        ({"to": {"reference": "nobody"}}, "NOT_FOUND", "to"), ({"to": {"id": NOTHING}}, "NOT_FOUND", "to"),
    ):  # fmt: skip
        payload = await world.refused(f"{giver}@video", "givePoints", **{**good, **other})
        assert (payload["code"], payload["path"][:2]) == (code, ["input", path]), other
    refused = await world.refused(f"{giver}@video", "givePoints", **{**good, "points": "16"})
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="16", available="15")
    by_server = await world.refused("video", "givePoints", **good)
    assert refusal(by_server, "VALIDATION_ERROR", ["input", "member"])
    unknown = await world.refused("video", "givePoints", member={"reference": "nobody"}, **good)
    assert refusal(unknown, "NOT_FOUND", ["input", "member"])


async def test_who_has_left_neither_gives_nor_gets(world: World) -> None:
    """Through a partner, to and from members with an open link to it; a member that has left is nobody there."""
    await world.rules("video", gift_day_points=1_000)
    gone, _ = await awarded(world, 100)
    here, _ = await awarded(world, 100)
    token = await leave(world, gone)
    to_gone = await world.refused("video", "givePoints", member={"reference": here}, to={"reference": gone}, points="1")
    assert refusal(to_gone, "NOT_FOUND", ["input", "to"])
    wish = {"to": {"reference": here}, "points": "1"}
    by_server = await world.refused("video", "givePoints", member={"reference": gone}, **wish)
    assert refusal(by_server, "NOT_FOUND", ["input", "member"])
    assert refusal(await world.refused(token, "givePoints", **wish), "FORBIDDEN", None)


async def test_a_gift_and_a_redemption_of_the_same_points(world: World, beside: World) -> None:
    """Of many who want all of a member's points at once, to give or to spend, by two servers, one gets them."""
    await world.rules("video", gift_day_points=1_000)
    benefit = await world.publish("video", 50)
    for _ in range(10):
        giver, _ = await awarded(world, 50)
        receiver, _ = await awarded(world, 1)
        token = await world.token(f"{giver}@video")
        gift = {"to": {"reference": receiver}, "points": "50"}
        told = await asyncio.gather(
            *(
                ask
                for server in (world, beside) * 3
                for ask in (
                    server.do(token, "givePoints", **gift, idempotencyKey=world.fresh("gift")),
                    server.try_redeem(token, benefit),
                )
            )
        )
        won = [payload["__typename"] for payload in told if "retryable" not in payload]
        assert len(won) == 1
        assert {payload["code"] for payload in told if "retryable" in payload} == {"INSUFFICIENT_POINTS"}
        assert await world.balance("video", giver) == 0
        assert await world.balance("video", receiver) == (51 if won == ["GivePointsSuccess"] else 1)


async def test_two_who_give_to_each_other(world: World, beside: World) -> None:
    """Gifts in both directions at once, by two servers, all happen, and no point is made or lost."""
    await world.rules("video", gift_day_points=1_000)
    ann, _ = await awarded(world, 100)
    bob, _ = await awarded(world, 100)
    gifts = [
        server.change("video", "givePoints", member={"reference": giver}, to={"reference": receiver}, points="7")
        for server in (world, beside) * 3
        for giver, receiver in ((ann, bob), (bob, ann))
    ]
    assert all(payload["replayed"] is False for payload in await asyncio.gather(*gifts))
    assert [await world.balance("video", one) for one in (ann, bob)] == [100, 100]


async def test_a_limit_for_gifts_holds_at_once(world: World) -> None:
    """Many gifts at once go no further than the issuer allows a day."""
    await world.rules("video", gift_day_points=30)
    giver, _ = await awarded(world, 1_000)
    receiver, _ = await awarded(world, 1)
    wish = {"to": {"reference": receiver}, "points": "10"}
    told = await asyncio.gather(
        *(
            world.do(f"{giver}@video", "givePoints", **wish, idempotencyKey=world.fresh("gift"))
            for _ in range(8)
        )
    )  # fmt: skip
    assert sum("retryable" not in payload for payload in told) == 3
    assert (await world.balance("video", giver), await world.balance("video", receiver)) == (970, 31)
