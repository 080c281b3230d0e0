"""Freezing: a lot or a member is stopped, and let go on; by whom, and whom that means."""

from __future__ import annotations

import pytest

from tests.graph.points.lots import NOTHING, awarded, freeze, staffs
from tests.graph.speech import World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_a_frozen_lot_is_passed_over(world: World) -> None:
    """Nothing is spent out of it, it stays in the balance, and the reason is FROZEN where it would have been needed."""
    member, frozen = await awarded(world, 100)
    await world.award("video", member, 10)
    payload = await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    assert (payload["lot"]["frozen"], payload["wallet"]["balance"], payload["wallet"]["frozen"]) == (True, "110", False)
    await world.redeem(f"{member}@video", await world.publish("video", 10))
    benefit = await world.publish("video", 20)
    refused = await world.try_redeem(f"{member}@video", benefit)
    assert refusal(refused, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["FROZEN"])
    assert (await world.availability(f"{member}@video", benefit))["reasons"] == ["INSUFFICIENT_POINTS", "FROZEN"]
    thawed = await world.change("video", "unfreezeLot", lot=frozen, reason="paid", actor="agent 7")
    assert thawed["lot"]["frozen"] is False
    await world.redeem(f"{member}@video", benefit)


async def test_what_is_frozen_or_not_already(world: World) -> None:
    """Freezing what is frozen, or letting go what is not, is refused for lots and members."""
    member, awarded_lot = await awarded(world, 1)
    why = {"lot": awarded_lot, "reason": "chargeback", "actor": "agent 7"}
    assert refusal(await world.refused("video", "unfreezeLot", **why), "VALIDATION_ERROR", ["input", "lot"])
    await world.change("video", "freezeLot", **why)
    assert refusal(await world.refused("video", "freezeLot", **why), "VALIDATION_ERROR", ["input", "lot"])
    named = {"member": {"reference": member}, "partner": world.ids["video"], "reason": "stolen phone"}
    assert refusal(await world.refused("admin", "unfreezeMember", **named), "VALIDATION_ERROR", ["input", "member"])
    await freeze(world, member)
    assert refusal(await world.refused("admin", "freezeMember", **named), "VALIDATION_ERROR", ["input", "member"])


async def test_who_freezes_a_lot_says_why_and_who(world: World) -> None:
    """A partner's server names who decided; staff is known, and names nobody."""
    _, awarded_lot = await awarded(world, 1)
    for mutation in ("freezeLot", "unfreezeLot"):
        for other, path in (
            ({"actor": None}, "actor"), ({"actor": ""}, "actor"), ({"reason": " "}, "reason"),
            ({"idempotencyKey": ""}, "idempotencyKey"),
        ):  # fmt: skip
            good = {"lot": awarded_lot, "reason": "chargeback", "actor": "agent 7"}
            payload = await world.refused("video", mutation, **{**good, **other})
            assert refusal(payload, "VALIDATION_ERROR", ["input", path])
    by_staff = {"lot": staffs(world, "Lot", awarded_lot), "reason": "audit"}
    payload = await world.refused("admin", "freezeLot", **by_staff, actor="somebody else")
    assert refusal(payload, "VALIDATION_ERROR", ["input", "actor"])
    payload = await world.change("admin", "freezeLot", **by_staff)
    assert (payload["lot"]["frozen"], payload["wallet"]) == (True, None)
    assert (await world.change("admin", "unfreezeLot", **by_staff))["lot"]["frozen"] is False


async def test_a_frozen_member_spends_nothing_and_loses_nothing(world: World) -> None:
    """It cannot redeem, reserve, confirm, give, pay in or draw; it can still receive, and cancel what it reserved."""
    await world.rules("video", gift_day_points=100)
    member, _ = await awarded(world, 100)
    other, _ = await awarded(world, 1)
    benefit = await world.publish("video", 10)
    held = await world.reserve(f"{member}@video", benefit)
    another = await world.reserve(f"{member}@video", benefit)
    await world.change(f"{member}@video", "foundHousehold")
    await world.change(f"{member}@video", "payIntoPool", points="5")
    payload = await freeze(world, member)
    assert (payload["replayed"], payload["lot"], payload["wallet"]) == (False, None, None)
    wallet = await world.points("video", member)
    assert (wallet["frozen"], wallet["balance"], wallet["held"]) == (True, "95", "20")
    for asked in (world.try_redeem, world.try_reserve):
        for who in (f"{member}@video", f"{member}@video's server"):
            refused = await asked(who, benefit)
            assert refusal(refused, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["FROZEN"])
    assert (await world.availability(f"{member}@video", benefit))["reasons"] == ["FROZEN"]
    assert refusal(await world.step(f"{member}@video", "confirm", held), "FORBIDDEN", None)
    gift = {"to": {"reference": other}, "points": "1"}
    assert refusal(await world.refused(f"{member}@video", "givePoints", **gift), "FORBIDDEN", None)
    for mutation in ("payIntoPool", "drawFromPool"):
        assert refusal(await world.refused(f"{member}@video", mutation, points="1"), "FORBIDDEN", None)
    await world.award("video", member, 7)
    await world.change(f"{other}@video", "givePoints", to={"reference": member}, points="1")
    assert (await world.step(f"{member}@video", "cancel", another))["redemption"]["status"] == "CANCELLED"
    assert (await freeze(world, member, "unfreezeMember"))["wallet"] is None
    assert (await world.step(f"{member}@video", "confirm", held))["redemption"]["status"] == "FULFILLED"
    assert await world.balance("video", member) == 93


async def test_staff_names_a_member_by_what_it_sees(world: World) -> None:
    """By the id in a redemption, or by a partner and its reference; the answer is the same member's."""
    member, _ = await awarded(world, 100)
    redemption = await world.redeem(f"{member}@video", await world.publish("video", 10))
    query = "query($id: ID!) { redemption(id: $id) { member { id reference } } }"
    seen = await world.read("viewer", query, id=redemption["id"])
    identity = seen["member"]["id"]
    frozen = await world.change("admin", "freezeMember", member={"id": identity}, reason="stolen phone")
    assert frozen["member"] == {"id": identity, "reference": None}
    assert (await world.points("video", member))["frozen"] is True
    assert (await freeze(world, member, "unfreezeMember"))["member"]["id"] == identity
    assert (await world.points("video", member))["frozen"] is False


async def test_how_staff_cannot_name_a_member(world: World) -> None:
    """A reference without its partner, an id with one, an id of a partner's, nobody: each is refused."""
    member, _ = await awarded(world, 1)
    partners_own = (await world.member("video", member))["id"]
    video, ref = world.ids["video"], {"reference": member}
    for mutation in ("freezeMember", "unfreezeMember"):
        for given in ({"member": ref}, {"member": {"id": partners_own}, "partner": video}):
            payload = await world.refused("admin", mutation, reason="audit", **given)
            assert refusal(payload, "VALIDATION_ERROR", ["input", "partner"])
        for given in (
            {"member": {"id": partners_own}}, {"member": {"id": NOTHING}},
            {"member": {"reference": "nobody"}, "partner": video}, {"member": ref, "partner": world.ids["rides"]},
            {"member": ref, "partner": NOTHING},
        ):  # fmt: skip
            payload = await world.refused("admin", mutation, reason="audit", **given)
            assert refusal(payload, "NOT_FOUND", ["input", "member"]), given
    assert (await world.points("video", member))["frozen"] is False
