"""The code by which two members become one: good for one, for ten minutes, and for nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.graph.merging.persons import Two
from tests.graph.speech import World, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_a_merge_is_done_once(world: World, two: Two) -> None:
    """The code is its own key: sent again, at once or later, it is the same success and moves nothing."""
    code = await world.merge_code(f"{two.ann}@video")
    told = await asyncio.gather(*(world.done(f"{two.bob}@video", "mergeMembers", code=code) for _ in range(5)))
    assert sorted(one["replayed"] for one in told) == [False] + [True] * 4
    await world.award("video", two.bob, 1)
    again = await world.done(f"{two.bob}@video", "mergeMembers", code=code)
    assert (again["replayed"], again["member"]["wallet"]["balance"]) == (True, "181")


async def test_a_code_is_good_for_one(world: World, two: Two) -> None:
    """Another member that uses it, or the same one another way, is told that it was used; and stays who it is."""
    code = await world.merge_code(f"{two.ann}@video")
    other = world.fresh("other")
    await world.award("video", other, 5)
    await world.done(f"{two.bob}@video", "mergeMembers", code=code)
    for who in (f"{other}@video", f"{two.rider}@rides"):
        told = await world.do(who, "mergeMembers", code=code)
        assert refusal(told, "VALIDATION_ERROR", ["input", "code"])
        assert told["message"] == "was used already"
    assert await world.balance("video", other) == 5


async def test_two_who_race_for_one_code(world: World, two: Two) -> None:
    """One becomes ann, the other is told that the code was used."""
    code = await world.merge_code(f"{two.ann}@video")
    others = [world.fresh("other") for _ in range(3)]
    for other in others:
        await world.award("video", other, 1)
        await world.token(f"{other}@video")
    told = await asyncio.gather(*(world.do(f"{other}@video", "mergeMembers", code=code) for other in others))
    assert sorted(one["__typename"] for one in told) == ["MergeMembersSuccess", *["ValidationError"] * 2]
    assert await world.balance("video", two.ann) == 111


async def test_a_code_is_random_and_ends_after_ten_minutes(world: World, two: Two) -> None:
    """It has 128 bits, says when it ends, is kept only as a hash, and then is as good as one that was never made."""
    who = f"{two.ann}@video"
    made = await world.try_merge_code(who)
    code = made["mergeCode"]
    others = [await world.merge_code(who) for _ in range(5)]
    assert {len(one) for one in (code, *others)} == {22}
    assert len({code, *others}) == 6
    codes = world.services.db["link_codes"]
    stored = await codes.find_one({"_id": world.services.keyring.digest("merge", code)})
    assert stored is not None
    assert code not in str(stored)
    now = await world.services.now()
    assert abs(stored["expires_at"] - now - timedelta(minutes=10)) < timedelta(seconds=5)
    await codes.update_one({"_id": stored["_id"]}, {"$set": {"expires_at": now}})
    late = await world.do(f"{two.bob}@video", "mergeMembers", code=code)
    assert refusal(late, "NOT_FOUND", ["input", "code"])
    assert late == await world.do(f"{two.bob}@video", "mergeMembers", code="never made")


async def test_a_code_for_something_else_merges_nothing(world: World, two: Two) -> None:
    """Neither a link code nor an invitation to a household makes anybody another."""
    who = f"{two.ann}@video"
    link = (await world.done(who, "createLinkCode", partner=world.ids["rides"]))["linkCode"]
    await world.done(who, "foundHousehold", idempotencyKey=world.fresh("found"))
    invitation = (await world.done(who, "inviteToHousehold"))["invitation"]
    for code in (link, invitation):
        assert refusal(await world.do(f"{two.bob}@video", "mergeMembers", code=code), "NOT_FOUND", ["input", "code"])
    merge_code = await world.merge_code(who)
    told = await world.do("rides", "linkMember", code=merge_code, reference=world.fresh("reference"))
    assert refusal(told, "NOT_FOUND", ["input", "code"])


async def test_no_code_through_a_partner_that_is_limited(world: World, two: Two) -> None:
    """A partner that may spend so much a day cannot have another member, one of its own perhaps, come to the points."""
    await world.link(f"{two.bob}@video", "rides", two.rider, daily_limit=1_000)
    assert refusal(await world.try_merge_code(f"{two.rider}@rides"), "FORBIDDEN", None)
    token = await world.token(f"{two.ann}@delivery")
    await world.done(f"{two.ann}@video", "unlinkPartner", partner=world.ids["delivery"])
    assert refusal(await world.try_merge_code(token), "FORBIDDEN", None)


async def test_a_partner_does_not_merge_itself_out_of_its_limit(world: World, two: Two) -> None:
    """A limit that is set after the code was made holds it back as well, whichever side is the partner's own."""
    code = await world.merge_code(f"{two.rider}@rides")
    await world.link(f"{two.bob}@video", "rides", two.rider, daily_limit=10)
    made_up = world.fresh("nobody")
    await world.award("rides", made_up, 1)
    assert refusal(await world.do(f"{made_up}@rides", "mergeMembers", code=code), "FORBIDDEN", None)
    code = await world.merge_code(f"{made_up}@rides")
    assert refusal(await world.do(f"{two.rider}@rides", "mergeMembers", code=code), "FORBIDDEN", None)
