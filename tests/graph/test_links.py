"""A member lets a second partner in, limits it, and shuts it out."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from tests.graph.speech import World, refusal


async def somebody(world: World, points: int = 100) -> str:
    """Return a member of video with points."""
    member = world.fresh("member")
    await world.award("video", member, points)
    return member


async def code_for(world: World, who: str, partner: str) -> str:
    code: str = (await world.done(who, "createLinkCode", partner=world.ids[partner]))["linkCode"]
    return code


async def test_both_references_mean_one_wallet(world: World) -> None:
    """Once linked, points of either partner are spent through either, by server or token."""
    member = await somebody(world)
    linked = await world.link(f"{member}@video", "rides", f"r-{member}")
    assert linked["reference"] == f"r-{member}"
    assert [link["partner"]["handle"] for link in linked["links"]] == ["rides"]
    await world.award("rides", f"r-{member}", 50)
    assert await world.balance("video", member) == await world.balance("rides", f"r-{member}") == 150
    parcel = await world.publish("delivery", 35)
    for who in (f"{member}@video", f"r-{member}@rides", f"{member}@video's server", f"r-{member}@rides's server"):
        taken = await world.redeem(who, parcel)
        assert taken["channel"]["handle"] == who.partition("@")[2].removesuffix("'s server")
    assert await world.balance("video", member) == 10


async def test_a_link_code_is_good_once(world: World) -> None:
    """Sent again with the same reference it is the same success; with another it was used already."""
    member = await somebody(world)
    code = await code_for(world, f"{member}@video", "rides")
    attempts = await asyncio.gather(*(world.done("rides", "linkMember", code=code, reference=member) for _ in range(5)))
    assert len({attempt["member"]["id"] for attempt in attempts}) == 1
    payload = await world.do("rides", "linkMember", code=code, reference=f"{member}-2")
    assert refusal(payload, "VALIDATION_ERROR", ["input", "code"])
    assert (
        await world.read("rides", "query($r: String!) { member(by: {reference: $r}) { id } }", r=f"{member}-2") is None
    )


async def test_a_code_used_by_two_references_at_once_links_one(world: World) -> None:
    """Of two references that race for one code one is linked."""
    member = await somebody(world)
    code = await code_for(world, f"{member}@video", "rides")
    references = [f"{member}-{n}" for n in range(4)]
    attempts = await asyncio.gather(*(world.do("rides", "linkMember", code=code, reference=r) for r in references))
    assert sorted(attempt["__typename"] for attempt in attempts) == ["LinkMemberSuccess", *["ValidationError"] * 3]


async def test_a_link_code_ends_after_ten_minutes(world: World) -> None:
    """A code says when it ends, and from then on it is as good as none."""
    member = await somebody(world)
    made = await world.done(f"{member}@video", "createLinkCode", partner=world.ids["rides"])
    now = await world.services.now()
    ends = now + timedelta(minutes=10)
    codes = world.services.db["link_codes"]
    stored = await codes.find_one({}, sort=[("expires_at", -1)])
    assert stored is not None
    assert abs(stored["expires_at"] - ends) < timedelta(seconds=5)
    assert made["linkCode"] not in str(stored)
    await codes.update_one({"_id": stored["_id"]}, {"$set": {"expires_at": now - timedelta(milliseconds=1)}})
    late = await world.do("rides", "linkMember", code=made["linkCode"], reference=member)
    assert refusal(late, "NOT_FOUND", ["input", "code"])
    assert late == await world.do("rides", "linkMember", code="never made", reference=member)


async def test_a_code_has_128_random_bits(world: World) -> None:
    """Codes are 22 characters of base64url and never the same."""
    member = await somebody(world)
    codes = {await code_for(world, f"{member}@video", "rides") for _ in range(20)}
    assert len(codes) == 20
    assert {len(code) for code in codes} == {22}


async def test_a_daily_limit_holds_for_its_link_alone(world: World) -> None:
    """Points a day through a partner: by server and token together, not through others; at the limit, not above."""
    member = await somebody(world)
    linked = await world.link(f"{member}@video", "rides", daily_limit=30)
    assert linked["links"][0]["dailyLimit"] == "30"
    parcel = await world.publish("delivery", 10)
    await world.redeem(f"{member}@rides", parcel)
    await world.redeem(f"{member}@rides's server", parcel)
    too_much = await world.try_redeem(f"{member}@rides", parcel, quantity=2)
    assert refusal(too_much, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["VELOCITY"])
    await world.redeem(f"{member}@rides", parcel)
    for who in (f"{member}@rides", f"{member}@rides's server"):
        assert (await world.try_redeem(who, parcel))["reasons"] == ["VELOCITY"]
    await world.redeem(f"{member}@video", parcel)
    assert await world.balance("video", member) == 60


async def test_a_daily_limit_holds_under_concurrency(world: World) -> None:
    """Of many redemptions at once as many pass as the limit allows."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides", daily_limit=45)
    parcel = await world.publish("delivery", 10)
    attempts = await asyncio.gather(*(world.try_redeem(f"{member}@rides", parcel) for _ in range(10)))
    assert sum(attempt["__typename"] == "RedeemBenefitSuccess" for attempt in attempts) == 4
    assert await world.balance("video", member) == 60


async def test_an_ended_link_spends_nothing(world: World) -> None:
    """After `unlinkPartner` nothing is spent through that partner, by its server or by a token given out before."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides")
    parcel = await world.publish("delivery", 1)
    key = world.fresh("redeem")
    before = await world.try_redeem(f"{member}@rides", parcel, idempotencyKey=key)
    unlinked = await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    assert [link["partner"]["handle"] for link in unlinked["member"]["links"]] == ["video"]
    by_server = await world.try_redeem(f"{member}@rides's server", parcel)
    assert refusal(by_server, "NOT_FOUND", ["input", "member"])
    by_token = await world.try_redeem(f"{member}@rides", parcel)
    assert refusal(by_token, "FORBIDDEN", None)
    shown = await world.member("rides", member)
    assert (shown["wallet"], shown["links"]) == (None, [])
    mine = await world.read(f"{member}@rides", "{ viewer { member { wallet { balance } } } }")
    assert mine["member"]["wallet"] is None
    assert await world.balance("video", member) == 99
    again = await world.try_redeem(f"{member}@rides", parcel, idempotencyKey=key)
    assert (again["replayed"], again["wallet"]) == (True, None)
    assert again["redemption"] == before["redemption"]


async def test_an_ended_link_gives_no_token(world: World) -> None:
    """An assertion for a member that ended its link is refused."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides")
    await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": world.assertion("rides", member),
    }  # fmt: skip
    answer = await world.http.post("/oauth/token", data=form)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"


async def test_an_ended_link_is_not_made_anew_by_its_own_partner(world: World) -> None:
    """A token of the partner that was shut out makes no link codes, for itself or others, and ends no links."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides")
    old = await world.token(f"{member}@rides")
    await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    for partner in ("rides", "delivery"):
        assert refusal(await world.do(old, "createLinkCode", partner=world.ids[partner]), "FORBIDDEN", None)
    assert refusal(await world.do(old, "unlinkPartner", partner=world.ids["video"]), "FORBIDDEN", None)


async def test_a_member_can_link_again(world: World) -> None:
    """A new code opens the link again, under the same reference, with the same member and points."""
    member = await somebody(world)
    first = await world.link(f"{member}@video", "rides", daily_limit=10)
    await world.award("rides", member, 5)
    await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    again = await world.link(f"{member}@video", "rides")
    assert again["id"] == first["id"]
    assert again["links"][0]["dailyLimit"] is None
    assert again["links"][0]["since"] > first["links"][0]["since"]
    parcel = await world.publish("delivery", 50)
    await world.redeem(f"{member}@rides", parcel)
    await world.redeem(f"{member}@rides's server", parcel)
    assert await world.balance("rides", member) == 5


async def test_ending_a_link_and_making_it_anew_does_not_reset_the_day(world: World) -> None:
    """What was spent today through a partner still counts after the member linked it again."""
    member = await somebody(world)
    parcel = await world.publish("delivery", 10)
    await world.link(f"{member}@video", "rides", daily_limit=10)
    await world.redeem(f"{member}@rides", parcel)
    await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    await world.link(f"{member}@video", "rides", daily_limit=15)
    assert (await world.try_redeem(f"{member}@rides", parcel))["reasons"] == ["VELOCITY"]


async def test_a_limit_can_be_changed_by_linking_again(world: World) -> None:
    """A new code of an open link replaces its limit and keeps its beginning."""
    member = await somebody(world)
    first = await world.link(f"{member}@video", "rides", daily_limit=10)
    second = await world.link(f"{member}@video", "rides", daily_limit=20)
    assert second["links"][0]["dailyLimit"] == "20"
    assert second["links"][0]["since"] == first["links"][0]["since"]


async def test_a_member_may_leave_the_partner_it_came_from(world: World) -> None:
    """Any link can be ended as long as another is left; the points stay, also those of the partner left."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides")
    await world.done(f"{member}@rides", "unlinkPartner", partner=world.ids["video"])
    assert await world.balance("rides", member) == 100
    assert await world.redeem(f"{member}@rides", await world.publish("delivery", 100))
    last = await world.do(f"{member}@rides", "unlinkPartner", partner=world.ids["rides"])
    assert refusal(last, "FORBIDDEN", ["input", "partner"])


async def test_ends_of_both_links_at_once_leave_one(world: World) -> None:
    """Two unlinkings that race cannot both pass: a member keeps a link."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides")
    for who in ("video", "rides"):
        await world.token(f"{member}@{who}")  # before the race: an ended link gives none
    attempts = await asyncio.gather(
        world.do(f"{member}@video", "unlinkPartner", partner=world.ids["rides"]),
        world.do(f"{member}@rides", "unlinkPartner", partner=world.ids["video"]),
    )
    assert sorted(attempt["__typename"] for attempt in attempts) == ["Forbidden", "UnlinkPartnerSuccess"]


async def test_a_partner_cannot_lift_the_limit_that_a_member_set_on_it(world: World) -> None:
    """It can sign for the member whenever it likes, but neither widens its own link nor lends out more."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides", daily_limit=10)
    rides, delivery = world.ids["rides"], world.ids["delivery"]
    own = await world.do(f"{member}@rides", "createLinkCode", partner=rides)
    assert refusal(own, "VALIDATION_ERROR", ["input", "partner"])
    for wider in ({}, {"dailyLimit": "11"}):
        lent = await world.do(f"{member}@rides", "createLinkCode", partner=delivery, **wider)
        assert refusal(lent, "VALIDATION_ERROR", ["input", "dailyLimit"])
    assert await world.done(f"{member}@rides", "createLinkCode", partner=delivery, dailyLimit="10")


async def test_a_code_from_before_the_parting_does_not_undo_it(world: World) -> None:
    """Two codes for one partner: the member parts with it after the first, and the second is good no more."""
    member = await somebody(world)
    rides = world.ids["rides"]
    first, second = [
        (await world.done(f"{member}@video", "createLinkCode", partner=rides))["linkCode"] for _ in range(2)
    ]
    await world.done("rides", "linkMember", code=first, reference=member)
    await world.done(f"{member}@video", "unlinkPartner", partner=rides)
    again = await world.do("rides", "linkMember", code=second, reference=member)
    assert refusal(again, "NOT_FOUND", ["input", "code"])


async def test_a_token_of_an_ended_link_shows_nothing_more(world: World) -> None:
    """What its app was given before it was parted with no longer reads the member's redemptions or links."""
    member = await somebody(world)
    await world.link(f"{member}@video", "rides")
    parcel = await world.publish("delivery", 10)
    await world.redeem(f"{member}@rides", parcel)
    await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    query = "{ viewer { member { links { since } wallet { balance } } } redemptions { nodes { id } } }"
    seen = (await world.ask(f"{member}@rides", query)).data
    assert seen == {"viewer": {"member": {"links": [], "wallet": None}}, "redemptions": {"nodes": []}}
