"""Links, households and freezing of members who have become one."""

from __future__ import annotations

import pytest

from exchange.rules import Rules
from tests.graph.merging.persons import Two, merged, undo, undo_by_staff
from tests.graph.points.lots import freeze
from tests.graph.speech import World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_a_reference_of_another_member_says_what_can_be_done(world: World, two: Two) -> None:
    """`linkMember` with it is refused as ever; its message says that the member can merge the two."""
    code = (await world.done(f"{two.ann}@video", "createLinkCode", partner=world.ids["rides"]))["linkCode"]
    told = await world.do("rides", "linkMember", code=code, reference=two.rider)
    assert refusal(told, "VALIDATION_ERROR", ["input", "reference"])
    assert "merge" in told["message"]
    await merged(world, two)
    linked = await world.done("rides", "linkMember", code=code, reference=two.rider)
    assert linked["member"]["reference"] == two.rider


async def test_any_reference_of_a_member_links_it(world: World, two: Two) -> None:
    """To a partner that knew both, either reference is the member's: what is linked by it is the one link."""
    await merged(world, two)
    for name in (two.ann, two.bob):
        linked = await world.link(f"{two.rider}@rides", "video", name, daily_limit=50)
        assert (linked["reference"], linked["links"][0]["dailyLimit"]) == (two.ann, "50")
    film = await world.publish("video", 51)
    for name in (two.ann, two.bob):
        assert (await world.try_redeem(f"{name}@video", film))["reasons"] == ["VELOCITY"]
    code = (await world.done(f"{two.rider}@rides", "createLinkCode", partner=world.ids["video"]))["linkCode"]
    told = await world.do("video", "linkMember", code=code, reference=world.fresh("third"))
    assert refusal(told, "VALIDATION_ERROR", ["input", "reference"])


async def test_a_link_code_of_the_one_links_the_other(world: World, two: Two) -> None:
    """A code that bob made before the merge links whom it has become."""
    await world.onboard("music")
    code = (await world.done(f"{two.bob}@video", "createLinkCode", partner=world.ids["music"]))["linkCode"]
    await merged(world, two)
    linked = await world.done("music", "linkMember", code=code, reference=two.bob)
    assert linked["member"]["links"][0]["partner"] == {"handle": "music"}
    assert await world.balance("music", two.bob) == 180


async def test_parting_with_a_partner_parts_by_every_reference(world: World, two: Two) -> None:
    """After `unlinkPartner` neither of the two references that video has opens anything or signs in."""
    await merged(world, two)
    await world.done(f"{two.ann}@delivery", "unlinkPartner", partner=world.ids["video"])
    for name in (two.ann, two.bob):
        assert (await world.member("video", name))["wallet"] is None
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": world.assertion("video", name)
        }  # fmt: skip
        assert (await world.http.post("/oauth/token", data=form)).json()["error"] == "invalid_grant"
    assert await world.balance("rides", two.rider) == 180


async def test_the_household_is_that_of_who_stays(world: World, two: Two) -> None:
    """Whoever becomes a member of a household shares its pool, and is one of its members, not two."""
    if not await world.services.terms.rules("video"):
        await world.services.terms.set_rules(Rules(partner="video", gift_day_points=1_000))
    await world.done(f"{two.ann}@video", "foundHousehold", idempotencyKey=world.fresh("found"))
    await world.done(f"{two.ann}@video", "payIntoPool", points="60", idempotencyKey=world.fresh("pay"))
    await merged(world, two)
    drawn = await world.done(f"{two.rider}@rides", "drawFromPool", points="25", idempotencyKey=world.fresh("draw"))
    household = drawn["member"]["household"]
    assert (household["size"], household["pool"]["balance"]) == (1, "35")
    assert [member["id"] for member in household["members"]] == [drawn["member"]["id"]]
    assert drawn["member"]["wallet"]["balance"] == "145"
    told = await undo(world, f"{two.ann}@video")
    assert told["member"]["wallet"]["balance"] == str(145 - 70)
    mine = await world.read(f"{two.rider}@rides", "{ viewer { member { household { size } } } }")
    assert mine["member"]["household"] is None


async def test_who_is_frozen_is_frozen_by_every_name(world: World, two: Two) -> None:
    """A freezing of either reference stops the one member, and undoing the merge does not get round it."""
    await merged(world, two)
    await freeze(world, two.bob)
    film = await world.publish("video", 1)
    for who in (f"{two.ann}@video", f"{two.bob}@video's server", f"{two.rider}@rides"):
        assert "FROZEN" in (await world.try_redeem(who, film))["reasons"]
    for who in (f"{two.ann}@delivery", f"{two.rider}@rides"):
        assert refusal(await undo(world, who), "FORBIDDEN", None)
    by_exchange = await undo_by_staff(world, member={"reference": two.rider}, partner=world.ids["rides"])
    assert by_exchange["replayed"] is False
    assert await world.redeem(f"{two.rider}@rides", film)
    assert "FROZEN" in (await world.try_redeem(f"{two.ann}@video", film))["reasons"]
