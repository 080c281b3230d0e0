"""What partners lay down and what the exchange stops, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exchange.rules import Rules
from tests.graph.speech import Payload, World, benefit_input, refusal

pytestmark = pytest.mark.usefixtures("proved")

DEFAULTS: dict[str, Any] = {
    "awardReversal": "REFUSE",
    "giftDayPoints": "0",
    "timeZone": "UTC",
    "velocity": [],
    "frozen": None,
}


async def onboarded(world: World) -> str:
    """Bring a partner in that no other test speaks of, with an agreement with everybody."""
    handle = world.fresh("shop").lower()
    await world.onboard(handle)
    await world.agree(handle, None, "8.00")
    return handle


async def shown(world: World, who: str, handle: str) -> Any:
    query = """query($h: String!) { partner(handle: $h) { frozen rules { version since awardReversal giftDayPoints
        timeZone frozen partner { handle } velocity { windowSeconds redemptionsMax pointsMax pointsFrom
        benefit { sku } } } } }"""
    return await world.read(who, query, h=handle)


async def redeem(world: World, member: str, shop: str, benefit: Payload) -> Payload:
    return await world.try_redeem(f"{member}@{shop}'s server", benefit)


async def test_a_partner_lays_down_its_own_rules(world: World) -> None:
    """What is left out stays as it is, every version is kept, and the same again is no new one."""
    shop = await onboarded(world)
    [before] = (await shown(world, shop, shop))["rules"]
    assert before == {**DEFAULTS, "version": 0, "since": None, "partner": {"handle": shop}}
    made = await world.done(shop, "setRules", giftDayPoints="500", timeZone="Europe/Berlin")
    assert (made["version"], made["giftDayPoints"], made["awardReversal"]) == (1, "500", "REFUSE")
    again = await world.done(shop, "setRules", giftDayPoints="500", expectedVersion=1)
    assert again["version"] == 1
    changed = await world.done(shop, "setRules", awardReversal="DEBT", expectedVersion=1)
    assert (changed["version"], changed["giftDayPoints"], changed["timeZone"]) == (2, "500", "Europe/Berlin")
    late = await world.do(shop, "setRules", awardReversal="REFUSE", expectedVersion=1)
    assert refusal(late, "VERSION_CONFLICT", ["input", "expectedVersion"], retryable=True, currentVersion=2)
    assert [one["version"] for one in (await shown(world, shop, shop))["rules"]] == [2, 1]
    assert (await shown(world, "admin", shop))["rules"][0]["version"] == 2


async def test_rules_are_nobody_elses_to_see_or_to_set(world: World) -> None:
    """Other partners and members see none; a partner that names another finds none; staff needs admin."""
    shop = await onboarded(world)
    await world.done(shop, "setRules", giftDayPoints="5")
    assert (await shown(world, "video", shop))["rules"] == []
    member = world.fresh("member")
    await world.award(shop, member, 1)
    assert (await shown(world, f"{member}@{shop}", shop))["rules"] == []
    for named in (world.ids[shop], "bm9uZQ"):
        told = await world.do("video", "setRules", partner=named, giftDayPoints="9")
        assert refusal(told, "NOT_FOUND", ["input", "partner"])
    told = await world.do("viewer", "setRules", partner=world.ids[shop], giftDayPoints="9")
    assert refusal(told, "FORBIDDEN", None, requiredScope="admin")
    told = await world.do(f"{member}@{shop}", "setRules", giftDayPoints="9")
    assert refusal(told, "FORBIDDEN", None, requiredScope="points:award")
    made = await world.done("admin", "setRules", partner=world.ids[shop], giftDayPoints="9")
    assert (made["version"], made["giftDayPoints"]) == (2, "9")


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"giftDayPoints": "-1"}, ["input", "giftDayPoints"]),
        ({"timeZone": "Mars/Olympus"}, ["input", "timeZone"]),
        ({"timeZone": "../etc/passwd"}, ["input", "timeZone"]),
        ({"velocity": [{"windowSeconds": 0, "redemptionsMax": 1}]}, ["input", "velocity", "0", "windowSeconds"]),
        ({"velocity": [{"windowSeconds": 60}]}, ["input", "velocity", "0"]),
    ],
)
async def test_rules_that_cannot_be_kept(world: World, said: Payload, path: list[str]) -> None:
    """The first field that is wrong is named, whoever asks."""
    assert refusal(await world.do("video", "setRules", **said), "VALIDATION_ERROR", path)


async def test_a_rule_of_velocity_stops_the_hasty(world: World) -> None:
    """VELOCITY, as the catalog says too; a rule for a benefit stops that one alone, and no unseen one can be named."""
    shop = await onboarded(world)
    one, other = await world.publish(shop, 1), await world.publish(shop, 1)
    member = world.fresh("member")
    await world.award(shop, member, 50)
    rule = {"windowSeconds": 3_600, "redemptionsMax": 1, "benefit": one["id"]}
    made = await world.done(shop, "setRules", velocity=[rule])
    assert made["velocity"] == [
        {"windowSeconds": 3_600, "redemptionsMax": 1, "pointsMax": None, "pointsFrom": "0",
         "benefit": {"sku": one["sku"]}}
    ]  # fmt: skip
    assert (await redeem(world, member, shop, one))["redemption"]["status"] == "FULFILLED"
    stopped = await redeem(world, member, shop, one)
    assert refusal(stopped, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["VELOCITY"])
    assert (await world.availability(f"{member}@{shop}", one))["reasons"] == ["VELOCITY"]
    assert (await world.availability(f"{member}@{shop}", other))["reasons"] == []
    draft = await world.publish("video", 1, status="DRAFT")
    for unseen in (draft["id"], "bm9uZQ"):
        told = await world.do(shop, "setRules", velocity=[{**rule, "benefit": unseen}])
        assert refusal(told, "NOT_FOUND", ["input", "velocity", "0", "benefit"])
    await world.done(shop, "setRules", velocity=[])
    assert (await redeem(world, member, shop, one))["redemption"]["status"] == "FULFILLED"


async def test_a_limit_of_a_period(world: World) -> None:
    """One a day is one a day; the catalog shows limit, period and what is left, and a reversal gives it back."""
    shop = await onboarded(world)
    daily = await world.publish(shop, 1, memberLimit=1, memberLimitPeriod="DAY")
    query = "query($id: ID!) { benefit(by: {id: $id}) { memberLimit memberLimitPeriod version } }"
    assert await world.read(shop, query, id=daily["id"]) == {
        "memberLimit": 1, "memberLimitPeriod": "DAY", "version": 1
    }  # fmt: skip
    member = world.fresh("member")
    await world.award(shop, member, 50)
    taken = (await redeem(world, member, shop, daily))["redemption"]
    full = await redeem(world, member, shop, daily)
    reasons = ["MEMBER_LIMIT_REACHED"]
    assert refusal(full, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=reasons)
    seen = await world.availability(f"{member}@{shop}", daily)
    assert (seen["memberRemaining"], seen["reasons"]) == (0, reasons)
    await world.step(shop, "reverse", taken)
    assert (await redeem(world, member, shop, daily))["redemption"]["status"] == "FULFILLED"
    same = benefit_input(1, sku=daily["sku"], memberLimit=1, memberLimitPeriod="DAY")
    assert (await world.done(shop, "publishBenefits", benefits=[same]))["unchanged"] == 1


async def test_the_exchange_freezes_a_partner(world: World) -> None:
    """Nothing is redeemed or awarded that concerns it, everybody sees that it is frozen, and it can go on."""
    shop = await onboarded(world)
    mine, other = await world.publish(shop, 1), await world.publish("video", 1)
    member = world.fresh("member")
    await world.award(shop, member, 50)
    for who in (shop, "preparer"):
        told = await world.do(who, "freezePartner", partner=world.ids[shop], reason="under review")
        assert refusal(told, "FORBIDDEN", None, requiredScope="admin")
    frozen = await world.done("admin", "freezePartner", partner=world.ids[shop], reason="under review")
    assert frozen["frozen"] == "under review"
    again = await world.done("admin", "freezePartner", partner=world.ids[shop], reason="under review")
    assert again["version"] == frozen["version"]
    assert (await shown(world, "video", shop))["frozen"] is True
    for benefit in (mine, other):
        told = await redeem(world, member, shop, benefit)
        assert refusal(told, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["FROZEN"])
    assert (await world.availability("video", mine))["reasons"] == ["FROZEN"]
    told = await world.do(
        shop, "awardPoints", member={"reference": member}, points="1", idempotencyKey=world.fresh("award")
    )
    assert refusal(told, "FORBIDDEN", None)
    await world.done("admin", "unfreezePartner", partner=world.ids[shop], reason="cleared")
    assert (await shown(world, "video", shop))["frozen"] is False
    assert (await redeem(world, member, shop, mine))["redemption"]["status"] == "FULFILLED"
    told = await world.do("admin", "freezePartner", partner="bm9uZQ", reason="x")
    assert refusal(told, "NOT_FOUND", ["input", "partner"])
    told = await world.do("admin", "freezePartner", partner=world.ids[shop], reason=" ")
    assert refusal(told, "VALIDATION_ERROR", ["input", "reason"])


async def test_the_exchange_freezes_a_benefit(world: World) -> None:
    """That one alone, whatever its partner publishes of it meanwhile."""
    shop = await onboarded(world)
    bad, good = await world.publish(shop, 1), await world.publish(shop, 1)
    member = world.fresh("member")
    await world.award(shop, member, 50)
    told = await world.do(shop, "freezeBenefit", benefit=bad["id"], reason="recalled")
    assert refusal(told, "FORBIDDEN", None, requiredScope="admin")
    await world.done("admin", "freezeBenefit", benefit=bad["id"], reason="recalled")
    await world.done(shop, "publishBenefits", benefits=[benefit_input(2, sku=bad["sku"])])
    told = await redeem(world, member, shop, bad)
    assert refusal(told, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["FROZEN"])
    assert (await redeem(world, member, shop, good))["redemption"]["status"] == "FULFILLED"
    await world.done("admin", "unfreezeBenefit", benefit=bad["id"], reason="cleared")
    assert (await redeem(world, member, shop, bad))["redemption"]["status"] == "FULFILLED"
    told = await world.do("admin", "freezeBenefit", benefit="bm9uZQ", reason="x")
    assert refusal(told, "NOT_FOUND", ["input", "benefit"])


async def test_rules_set_at_once_are_put_in_order(world: World) -> None:
    """Whoever made its rules from a version that is no longer the last is told so, and nothing is lost."""
    shop = await onboarded(world)
    first = await world.services.terms.set_rules(Rules(partner=shop, gift_day_points=1))
    assert first.version == 1
    made = await world.done(shop, "setRules", giftDayPoints="2")
    assert made["version"] == 2
    told = await asyncio.gather(
        *(world.do(shop, "setRules", giftDayPoints=str(n), expectedVersion=2) for n in range(10, 15))
    )
    assert sorted(one.get("code", "DONE") for one in told) == ["DONE"] + ["VERSION_CONFLICT"] * 4


async def test_a_freeze_is_never_refused_for_what_a_partner_lays_down(world: World) -> None:
    """Who names no version has its way, however many change something at once; all of it is in the last version."""
    shop = await onboarded(world)
    bad = [await world.publish(shop, 1) for _ in range(4)]
    await asyncio.gather(
        world.done("admin", "freezePartner", partner=world.ids[shop], reason="under review"),
        *(world.done("admin", "freezeBenefit", benefit=one["id"], reason="recalled") for one in bad),
        *(world.done(shop, "setRules", velocity=[{"windowSeconds": n, "redemptionsMax": 1}]) for n in range(1, 5)),
        world.done(shop, "setRules", giftDayPoints="7"),
        world.done(shop, "setRules", timeZone="Asia/Tokyo"),
    )
    last, *before = await world.services.terms.rules(shop)
    assert (last.version, len(before)) == (11, 10)
    assert (last.frozen, last.gift_day_points, last.time_zone) == ("under review", 7, "Asia/Tokyo")
    assert [one.sku for one in last.frozen_benefits] == sorted(one["sku"] for one in bad)


async def test_a_version_says_who_made_it_and_why(world: World) -> None:
    """A partner reads why it, or a benefit of its, was stopped and let go on; nobody else does."""
    shop = await onboarded(world)
    bad = await world.publish(shop, 1, status="DRAFT")
    for mutation, reason in (("freezeBenefit", "recalled"), ("unfreezeBenefit", "repaired")):
        await world.done("admin", mutation, benefit=bad["id"], reason=reason)
    for mutation, reason in (("freezePartner", "under review"), ("unfreezePartner", "cleared")):
        await world.done("admin", mutation, partner=world.ids[shop], reason=reason)
    await world.done(shop, "setRules", giftDayPoints="1")
    query = "query($h: String!) { partner(handle: $h) { rules { reason frozen frozenBenefits { sku reason } } } }"
    versions = (await world.read(shop, query, h=shop))["rules"]
    assert [one["reason"] for one in versions] == [None, "cleared", "under review", "repaired", "recalled"]
    assert [one["frozen"] for one in versions] == [None, None, "under review", None, None]
    assert versions[-1]["frozenBenefits"] == [{"sku": bad["sku"], "reason": "recalled"}]
    assert (await world.read("video", query, h=shop))["rules"] == []
    actors = [one.actor for one in await world.services.terms.rules(shop)]
    assert actors[0] == "server"
    assert set(actors[1:]) == {actors[1]}
    assert actors[1] not in (None, "server")


async def test_one_request_sees_what_it_has_changed(world: World) -> None:
    """Freezing and letting go in one document: each answer shows the partner as it stands then."""
    shop = await onboarded(world)
    given = {"partner": world.ids[shop], "reason": "a test"}
    answer = await world.ask(
        "admin",
        """mutation($i: FreezePartnerInput!) {
            stopped: freezePartner(input: $i) { ... on Rules { partner { frozen } } }
            going: unfreezePartner(input: $i) { ... on Rules { partner { frozen } } }
        }""",
        i=given,
    )
    assert [answer.data[name]["partner"]["frozen"] for name in ("stopped", "going")] == [True, False]


async def test_who_may_not_is_told_so_before_what_is_there(world: World) -> None:
    """A rule for a benefit that nobody knows: malformed, then forbidden, then not found."""
    unknown = {"windowSeconds": 60, "redemptionsMax": 1, "benefit": "bm9uZQ"}
    told = await world.do("viewer", "setRules", velocity=[{**unknown, "windowSeconds": 0}])
    assert refusal(told, "VALIDATION_ERROR", ["input", "velocity", "0", "windowSeconds"])
    told = await world.do("viewer", "setRules", velocity=[unknown])
    assert refusal(told, "FORBIDDEN", None, requiredScope="admin")
    told = await world.do("video", "setRules", velocity=[unknown])
    assert refusal(told, "NOT_FOUND", ["input", "velocity", "0", "benefit"])


async def test_the_exchanges_own_rules_are_of_velocity_alone(world: World) -> None:
    """It issues no points and has no benefits; its rule of velocity stops members of everybody."""
    for said, name in (
        ({"giftDayPoints": "1"}, "giftDayPoints"), ({"timeZone": "Asia/Tokyo"}, "timeZone"),
        ({"awardReversal": "DEBT"}, "awardReversal"),
    ):  # fmt: skip
        assert refusal(await world.do("admin", "setRules", **said), "VALIDATION_ERROR", ["input", name])
    shop = await onboarded(world)
    large = await world.publish(shop, 1_000_000)
    member = world.fresh("member")
    await world.award(shop, member, 5_000_000)
    rule = {"windowSeconds": 60, "redemptionsMax": 0, "pointsFrom": "1000000"}
    await world.done("admin", "setRules", velocity=[rule])
    assert [one["windowSeconds"] for one in (await shown(world, "viewer", "exchange"))["rules"][0]["velocity"]] == [60]
    try:
        assert (await redeem(world, member, shop, large))["reasons"] == ["VELOCITY"]
        assert (await world.availability(f"{member}@{shop}", large))["reasons"] == ["VELOCITY"]
    finally:
        await world.done("admin", "setRules", velocity=[])
    assert (await redeem(world, member, shop, large))["redemption"]["status"] == "FULFILLED"


async def test_availability_counts_what_both_took_who_are_one_now(world: World) -> None:
    """After two members have become one the catalog says of a limit, and of velocity, what the redemption says."""
    shop = await onboarded(world)
    daily, other = await world.publish(shop, 1, memberLimit=1, memberLimitPeriod="MONTH"), await world.publish(shop, 1)
    await world.done(shop, "setRules", velocity=[{"windowSeconds": 3_600, "redemptionsMax": 1, "benefit": other["id"]}])
    left, stays = world.fresh("left"), world.fresh("stays")
    for member in (left, stays):
        await world.award(shop, member, 10)
    for benefit in (daily, other):
        await world.redeem(f"{left}@{shop}'s server", benefit)
    code = (await world.try_merge_code(f"{stays}@{shop}"))["mergeCode"]
    await world.done(f"{left}@{shop}", "mergeMembers", code=code)
    for benefit, reason in ((daily, "MEMBER_LIMIT_REACHED"), (other, "VELOCITY")):
        assert (await redeem(world, stays, shop, benefit))["reasons"] == [reason]
        assert (await world.availability(f"{stays}@{shop}", benefit))["reasons"] == [reason]
