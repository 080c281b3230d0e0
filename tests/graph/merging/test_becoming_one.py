"""A person who is two members becomes one: who can, and who is refused."""

from __future__ import annotations

import pytest

from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES
from tests.graph.merging.persons import MINE, Two, merged, remaining, seen
from tests.graph.points.lots import freeze
from tests.graph.speech import STAFF, SUCCESS, World, document, refusal

pytestmark = pytest.mark.usefixtures("proved")


async def test_two_become_one(world: World, two: Two) -> None:
    """All points are one wallet's, and each partner's references mean it: by server, by token, old tokens included."""
    old = {name: await world.token(f"{name}@video") for name in (two.ann, two.bob)}
    member = await merged(world, two)
    assert (member["reference"], member["wallet"]["balance"]) == (two.rider, "180")
    for partner, name in (("video", two.ann), ("video", two.bob), ("delivery", two.ann), ("rides", two.rider)):
        assert await world.balance(partner, name) == 180
        mine = (await world.read(old.get(name, f"{name}@{partner}"), MINE))["member"]
        assert remaining(mine) == [("video", "100"), ("delivery", "10"), ("video", "30"), ("rides", "40")]
        assert {link["partner"]["handle"] for link in mine["links"]} == {"video", "delivery", "rides"}
    film = await world.publish("video", 45)
    for who in (f"{two.ann}@video", f"{two.bob}@video's server", f"{two.rider}@rides", f"{two.ann}@delivery's server"):
        await world.redeem(who, film)
    assert await world.balance("rides", two.rider) == 0


async def test_either_app_can_begin(world: World, two: Two) -> None:
    """The code may be made in another partner's app than the one in which it is used; who made it stays."""
    member = await world.merge(f"{two.ann}@delivery", f"{two.bob}@video")
    assert member["reference"] == two.ann
    rides = (await world.member("rides", two.rider))["reference"]
    assert (rides, await world.balance("delivery", two.ann)) == (two.rider, 180)


async def test_both_references_of_one_partner_sign_in(world: World, two: Two) -> None:
    """An assertion by either reference gives a token, and both tokens are the one member's."""
    before = [(await world.read(f"{name}@video", MINE))["member"]["id"] for name in (two.ann, two.bob)]
    await merged(world, two)
    tokens = [await world.token(f"{name}@video", "points:read") for name in (two.ann, two.bob)]
    shown = [(await world.read(token, MINE))["member"] for token in tokens]
    assert [member["id"] for member in shown] == [before[0]] * 2 != before
    assert [member["reference"] for member in shown] == [two.ann] * 2


@pytest.mark.parametrize(
    ("why", "code", "path"),
    [
        ("shares a household", "VALIDATION_ERROR", ["input"]), ("took another in", "VALIDATION_ERROR", ["input"]),
        ("has points held", "VALIDATION_ERROR", ["input"]), ("limits a partner more", "VALIDATION_ERROR", ["input"]),
        ("is frozen", "FORBIDDEN", None), ("meets one who is frozen", "FORBIDDEN", None),
    ],
)  # fmt: skip
async def test_who_cannot_be_merged(world: World, two: Two, why: str, code: str, path: list[str] | None) -> None:
    """A merge is refused with its reason, and both members keep what they have."""
    bob = f"{two.bob}@video"
    if why == "shares a household":
        await world.done(bob, "foundHousehold", idempotencyKey=world.fresh("found"))
    elif why == "took another in":
        other = world.fresh("other")
        await world.award("video", other, 1)
        await world.merge(f"{other}@video", bob)
    elif why == "has points held":
        await world.reserve(bob, await world.publish("video", 5))
    elif why == "limits a partner more":
        await world.link(bob, "delivery", two.bob, daily_limit=10)
    else:
        await freeze(world, two.bob if why == "is frozen" else two.ann)
    used = await world.merge_code(f"{two.ann}@video")
    before = [await seen(world, two, "delivery"), await seen(world, two, "rides")]
    told = await world.do(bob, "mergeMembers", code=used)
    assert refusal(told, code, path)
    assert [await seen(world, two, "delivery"), await seen(world, two, "rides")] == before


async def test_nobody_becomes_itself(world: World, two: Two) -> None:
    """A member's own code is refused, in any of its apps, and is still good for the other."""
    code = await world.merge_code(f"{two.ann}@video")
    for who in (f"{two.ann}@video", f"{two.ann}@delivery"):
        assert refusal(await world.do(who, "mergeMembers", code=code), "VALIDATION_ERROR", ["input", "code"])
    assert (await world.done(f"{two.bob}@video", "mergeMembers", code=code))["replayed"] is False


async def test_who_has_parted_with_a_partner(world: World, two: Two) -> None:
    """Neither member is merged through a partner with which it parted, nor by a code that was made there before."""
    tokens = {who: await world.token(who) for who in (f"{two.bob}@video", f"{two.rider}@rides", f"{two.ann}@delivery")}
    before, through_delivery = [await world.merge_code(f"{two.ann}@{partner}") for partner in ("video", "delivery")]
    await world.done(f"{two.ann}@delivery", "unlinkPartner", partner=world.ids["video"])
    told = await world.do(tokens[f"{two.rider}@rides"], "mergeMembers", code=before)
    assert refusal(told, "NOT_FOUND", ["input", "code"])
    told = await world.do(tokens[f"{two.bob}@video"], "mergeMembers", code=through_delivery)
    assert refusal(told, "FORBIDDEN", None)
    await world.done(f"{two.rider}@rides", "unlinkPartner", partner=world.ids["video"])
    told = await world.do(tokens[f"{two.bob}@video"], "mergeMembers", code=through_delivery)
    assert refusal(told, "FORBIDDEN", None)
    assert await world.done(f"{two.rider}@rides", "mergeMembers", code=through_delivery)


async def test_scopes(world: World, two: Two) -> None:
    """A member needs `points:redeem` for each of the three, staff `admin` for the undoing; nobody else may at all."""
    merge, part = (document(name, SUCCESS[name]) for name in ("mergeMembers", "undoMerge"))
    make = "mutation { createMergeCode { __typename ... on Forbidden { requiredScope } } }"
    key = {"idempotencyKey": world.fresh("undo")}
    who = [(f"{two.bob}@video", scope) for scope in MEMBER_SCOPES] + [("video", scope) for scope in PARTNER_SCOPES]
    who += [("staff", scope) for scope in sorted({scope for scopes in STAFF.values() for scope in scopes})]
    for caller, scope in who:
        token = await world.token(caller, scope)
        told = [
            (await world.read(token, make)),
            (await world.read(token, merge, input={"code": "none"})),
            (await world.read(token, part, input=key)),
        ]
        allowed = [scope == "points:redeem"] * 2 + [scope in ("points:redeem", "admin")]
        assert [one["__typename"] != "Forbidden" for one in told] == allowed, scope
        assert {one["requiredScope"] for one in told if one["__typename"] == "Forbidden"} <= {"points:redeem"}
