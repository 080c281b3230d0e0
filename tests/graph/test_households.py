"""Households: members who share a pool of points, and what of it those see who do not belong to it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from exchange.decisions.sharing import HOUSEHOLD_MAX
from exchange.store.members import Purpose
from partners.oauth.scopes import PARTNER_SCOPES
from tests.graph.speech import Payload, World, refusal

NOTHING = "bm90aGluZw"
SOON, LATE = "2997-01-01T00:00:00.000Z", "2998-01-01T00:00:00.000Z"
POOL = """query($r: String!) { member(by: {reference: $r}) { household {
    size members { id reference } pool { balance available frozen debts { points } lots { nodes {
        id remaining expiresAt issuer { handle } } } } } } }"""
MINE = """{ viewer { member { id household {
    size members { id reference wallet { balance } links { partner { handle } } }
    pool { balance lots { nodes { id remaining expiresAt issuer { handle } } } } } } } }"""
NODE = "query($id: ID!) { node(id: $id) { __typename id ... on Lot { remaining } ... on Member { reference } } }"


@pytest.fixture(scope="module", autouse=True)
async def gifts(exchange: World, proved: None) -> None:
    """Video's points may be given away; when all tests are over, the books are right."""
    await exchange.rules("video", gift_day_points=1_000)


async def someone(world: World, points: int = 100, issuer: str = "video", **more: Any) -> str:
    """Award points to a new member and return its reference."""
    member = world.fresh("member")
    await world.award(issuer, member, points, **more)
    return member


async def invited(world: World, host: str) -> str:
    """Let a member, "ann@video", invite somebody; return the code."""
    code: str = (await world.done(host, "inviteToHousehold"))["invitation"]
    return code


async def household(world: World, *members: str, partner: str = "video") -> None:
    """Let the first of these found a household and the others join it."""
    first, *others = members
    await world.change(f"{first}@{partner}", "foundHousehold")
    for member in others:
        await world.done(f"{member}@{partner}", "joinHousehold", code=await invited(world, f"{first}@{partner}"))


async def pool(world: World, partner: str, member: str) -> Payload | None:
    """Return a member's household as a partner's server sees it."""
    found: Payload | None = (await world.read(partner, POOL, r=member))["household"]
    return found


async def balance(world: World, member: str) -> int:
    """Return what is in a member's pool."""
    found = await pool(world, "video", member)
    assert found is not None
    return int(found["pool"]["balance"])


# ---------------------------------------------------------------- founding, joining, leaving


async def test_a_household_is_founded_joined_and_left(world: World) -> None:
    """By members, or by a server that names them; whoever leaves shares it no longer, the others still do."""
    ann, bob = await someone(world), await someone(world)
    founded = await world.change(f"{ann}@video", "foundHousehold")
    assert (founded["replayed"], founded["member"]["reference"]) == (False, ann)
    shared = founded["member"]["household"]
    assert (shared["size"], shared["pool"]["balance"]) == (1, "0")
    assert shared["members"] == [{"id": founded["member"]["id"], "reference": ann}]
    invitation = await world.done("video", "inviteToHousehold", member={"reference": ann})
    assert invitation["expiresAt"] > (await world.services.now() + timedelta(hours=23)).isoformat()
    joined = await world.done("video", "joinHousehold", member={"reference": bob}, code=invitation["invitation"])
    assert (joined["replayed"], joined["member"]["reference"]) == (False, bob)
    assert [one["reference"] for one in joined["member"]["household"]["members"]] == [ann, bob]
    left = await world.change(f"{ann}@video", "leaveHousehold")
    assert (left["member"]["reference"], left["member"]["household"]) == (ann, None)
    assert await pool(world, "video", ann) is None
    stays = await pool(world, "video", bob)
    assert stays is not None
    assert [one["reference"] for one in stays["members"]] == [bob]
    await world.change("video", "leaveHousehold", member={"reference": bob})
    assert await pool(world, "video", bob) is None
    # Nobody is in it any more: they can begin another.
    await household(world, bob, ann)


async def test_nobody_shares_two_households(world: World) -> None:
    """Who shares one founds none and joins none; the code that it was refused is still good for another."""
    ann, bob, cleo = [await someone(world) for _ in range(3)]
    await household(world, ann)
    await household(world, bob)
    assert refusal(await world.refused(f"{ann}@video", "foundHousehold"), "VALIDATION_ERROR", ["input"])
    code = await invited(world, f"{bob}@video")
    for who in (ann, bob):
        refused = await world.do(f"{who}@video", "joinHousehold", code=code)
        assert refusal(refused, "VALIDATION_ERROR", ["input"])
    await world.done(f"{cleo}@video", "joinHousehold", code=code)
    assert [one["reference"] for one in ((await pool(world, "video", bob)) or {})["members"]] == [bob, cleo]


async def test_a_code_is_good_once_and_for_a_day(world: World) -> None:
    """Used, it is no longer good for anybody else; the one who used it gets the same answer again."""
    ann, bob, cleo = [await someone(world) for _ in range(3)]
    await household(world, ann)
    code = await invited(world, f"{ann}@video")
    await world.done(f"{bob}@video", "joinHousehold", code=code)
    again = await world.done(f"{bob}@video", "joinHousehold", code=code)
    assert (again["replayed"], again["member"]["reference"]) == (True, bob)
    used = await world.do(f"{cleo}@video", "joinHousehold", code=code)
    assert refusal(used, "VALIDATION_ERROR", ["input", "code"])
    over = await invited(world, f"{ann}@video")
    digest = world.services.keyring.digest(Purpose.INVITATION, over)
    codes = world.services.db["link_codes"]
    changed = await codes.update_one({"_id": digest}, {"$set": {"expires_at": await world.services.now()}})
    for gone in (over, "never made", ""):
        refused = await world.do(f"{cleo}@video", "joinHousehold", code=gone)
        assert refusal(refused, "NOT_FOUND", ["input", "code"])
        assert refused["message"] == "no such invitation, or it is no longer good"
    assert changed.modified_count == 1


async def test_a_code_of_an_empty_household_is_none(world: World) -> None:
    """When the last one has left, an invitation that was made before leads nowhere."""
    ann, bob = await someone(world), await someone(world)
    await household(world, ann)
    code = await invited(world, f"{ann}@video")
    await world.change(f"{ann}@video", "leaveHousehold")
    assert refusal(await world.do(f"{bob}@video", "joinHousehold", code=code), "NOT_FOUND", ["input", "code"])


async def test_a_household_is_no_crowd(world: World) -> None:
    """It has so many members at most, also when they come all at once."""
    ann = await someone(world)
    await household(world, ann)
    others = [await someone(world) for _ in range(HOUSEHOLD_MAX + 2)]
    codes = [await invited(world, f"{ann}@video") for _ in others]
    tokens = [await world.token(f"{one}@video") for one in others]
    told = await asyncio.gather(
        *(world.do(token, "joinHousehold", code=code) for token, code in zip(tokens, codes, strict=True))
    )
    refused = [payload for payload in told if "retryable" in payload]
    assert len(refused) == 3
    assert all(refusal(payload, "VALIDATION_ERROR", ["input", "code"]) for payload in refused)
    assert ((await pool(world, "video", ann)) or {})["size"] == HOUSEHOLD_MAX


async def test_the_same_code_at_once_lets_one_in(world: World) -> None:
    """Of several who have one code, one joins."""
    ann = await someone(world)
    await household(world, ann)
    code = await invited(world, f"{ann}@video")
    tokens = [await world.token(f"{await someone(world)}@video") for _ in range(5)]
    told = await asyncio.gather(*(world.do(token, "joinHousehold", code=code) for token in tokens))
    assert sorted(payload.get("code", "") for payload in told) == ["", *["VALIDATION_ERROR"] * 4]
    assert ((await pool(world, "video", ann)) or {})["size"] == 2


# ---------------------------------------------------------------- paying in and drawing


async def test_what_one_pays_in_another_draws(world: World) -> None:
    """The points keep issuer and end on both ways; the first to expire are drawn first, and can be redeemed then."""
    ann, bob = await someone(world, 100, expiresAt=LATE), await someone(world, 10, expiresAt=SOON)
    await household(world, ann, bob)
    paid = await world.change(f"{ann}@video", "payIntoPool", points="60")
    assert (paid["replayed"], paid["member"]["reference"], paid["member"]["wallet"]["balance"]) == (False, ann, "40")
    assert paid["member"]["household"]["pool"]["balance"] == "60"
    await world.change("video", "payIntoPool", member={"reference": bob}, points="10")
    lots = ((await pool(world, "video", ann)) or {})["pool"]["lots"]["nodes"]
    assert [(row["remaining"], row["expiresAt"]) for row in lots] == [("60", LATE), ("10", SOON)]
    drawn = await world.change(f"{bob}@video", "drawFromPool", points="25")
    assert (drawn["member"]["reference"], drawn["member"]["wallet"]["balance"]) == (bob, "25")
    assert drawn["member"]["household"]["pool"]["balance"] == "45"
    got = [(row["awarded"], row["remaining"]) for row in drawn["member"]["wallet"]["lots"]["nodes"]]
    assert got == [("10", "0"), ("10", "10"), ("15", "15")]
    await world.redeem(f"{bob}@video", await world.publish("rides", 25))
    assert await world.balance("video", bob) == 0


async def test_what_is_not_there_cannot_be_paid_or_drawn(world: World) -> None:
    """Neither more than the member may give nor more than is in the pool; the refusal says how much that is."""
    ann = await someone(world, 50)
    await household(world, ann)
    for mutation, required, available in (("payIntoPool", "51", "50"), ("drawFromPool", "1", "0")):
        short = await world.refused(f"{ann}@video", mutation, points=required)
        assert refusal(
            short, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required=required, available=available
        )
        for points in ("0", "-1", str(10**18)):
            refused = await world.refused(f"{ann}@video", mutation, points=points)
            assert refusal(refused, "VALIDATION_ERROR", ["input", "points"])


async def test_paying_in_is_giving_away(world: World) -> None:
    """It counts against what the issuer lets be given a day, together with gifts; drawing and spending do not."""
    ann, bob = await someone(world, 2_000), await someone(world)
    await household(world, ann, bob)
    await world.change(f"{ann}@video", "payIntoPool", points="600")
    await world.change(f"{ann}@video", "givePoints", to={"reference": bob}, points="300")
    short = await world.refused(f"{ann}@video", "payIntoPool", points="101")
    assert refusal(short, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="101", available="100")
    await world.change(f"{ann}@video", "drawFromPool", points="600")
    await world.change(f"{ann}@video", "payIntoPool", points="100")
    rides_only = await someone(world, 10, "rides")
    await household(world, rides_only, partner="rides")
    none = await world.refused(f"{rides_only}@rides", "payIntoPool", points="1")
    assert refusal(none, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="1", available="0")


async def test_who_leaves_leaves_what_it_paid_in(world: World) -> None:
    """It stays with those who remain; the last one draws it first, so that nothing is left to nobody."""
    ann, bob = await someone(world), await someone(world)
    await household(world, ann, bob)
    await world.change(f"{ann}@video", "payIntoPool", points="30")
    await world.change(f"{ann}@video", "leaveHousehold")
    assert await balance(world, bob) == 30
    for mutation, given in (
        ("drawFromPool", {"points": "1"}),
        ("payIntoPool", {"points": "1"}),
        ("leaveHousehold", {}),
    ):
        outside = await world.refused(f"{ann}@video", mutation, **given)
        assert refusal(outside, "NOT_FOUND", ["input"])
        assert outside["message"] == "the member shares no household"
    assert refusal(await world.do(f"{ann}@video", "inviteToHousehold"), "NOT_FOUND", ["input"])
    assert refusal(await world.refused(f"{bob}@video", "leaveHousehold"), "VALIDATION_ERROR", ["input"])
    await world.change(f"{bob}@video", "drawFromPool", points="30")
    await world.change(f"{bob}@video", "leaveHousehold")


async def test_a_frozen_lot_in_the_pool_stays_there(world: World) -> None:
    """Its issuer can freeze it, and give it more time, there too; it belongs to no member then."""
    ann, bob = await someone(world, expiresAt=SOON), await someone(world)
    await household(world, ann, bob)
    await world.change(f"{ann}@video", "payIntoPool", points="30")
    (row,) = ((await pool(world, "video", ann)) or {})["pool"]["lots"]["nodes"]
    frozen = await world.change("video", "freezeLot", lot=row["id"], reason="chargeback", actor="agent 7")
    assert (frozen["lot"]["frozen"], frozen["member"], frozen["wallet"]) == (True, None, None)
    short = await world.refused(f"{bob}@video", "drawFromPool", points="1")
    assert refusal(short, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="1", available="0")
    await world.change("video", "unfreezeLot", lot=row["id"], reason="paid", actor="agent 7")
    longer = await world.change("video", "extendPoints", lot=row["id"], expiresAt=LATE)
    assert (longer["lot"]["expiresAt"], longer["member"]) == (LATE, None)
    reversed_ = await world.refused("video", "reverseAward", lot=row["id"])
    assert refusal(reversed_, "VALIDATION_ERROR", ["input", "lot"])
    drawn = await world.change(f"{bob}@video", "drawFromPool", points="30")
    assert drawn["member"]["wallet"]["balance"] == "130"


async def test_a_frozen_partner_moves_no_points(world: World) -> None:
    """Through a partner that the exchange has frozen nothing is paid in or drawn; its points stay in the pool."""
    ann = await someone(world)
    await world.link(f"{ann}@video", "rides", ann)
    await household(world, ann)
    await world.change(f"{ann}@video", "payIntoPool", points="30")
    await world.rules("video", gift_day_points=1_000, frozen="investigation")
    try:
        for mutation in ("payIntoPool", "drawFromPool"):
            assert refusal(await world.refused(f"{ann}@video", mutation, points="1"), "FORBIDDEN", None)
            short = await world.refused(f"{ann}@rides", mutation, points="1")
            assert (short["code"], short["available"]) == ("INSUFFICIENT_POINTS", "0")
    finally:
        await world.rules("video", gift_day_points=1_000)
    await world.change(f"{ann}@rides", "drawFromPool", points="30")


# ---------------------------------------------------------------- keys, order of refusals, scopes


async def test_a_key_does_it_once(world: World) -> None:
    """Repeated, each answers as things now stand; with another input it is an IdempotencyConflict."""
    ann, bob = await someone(world), await someone(world)
    token = await world.token(f"{ann}@video")
    done: list[tuple[str, str, Payload]] = []
    for mutation, given in (
        ("foundHousehold", {}), ("payIntoPool", {"points": "30"}), ("drawFromPool", {"points": "10"}),
    ):  # fmt: skip
        key = world.fresh("key")
        first = await world.done("video", mutation, **given, member={"reference": ann}, idempotencyKey=key)
        assert first["replayed"] is False
        done.append((mutation, key, given))
    await world.done(f"{bob}@video", "joinHousehold", code=await invited(world, token))
    key = world.fresh("key")
    await world.done("video", "leaveHousehold", member={"reference": ann}, idempotencyKey=key)
    done.append(("leaveHousehold", key, {}))

    async def repeated(points: str) -> None:
        for mutation, key, given in done:
            same = {**given, "member": {"reference": ann}, "idempotencyKey": key}
            again = await world.done("video", mutation, **same)
            assert (again["replayed"], again["member"]["household"]) == (True, None), mutation
            assert (again["member"]["wallet"] or {}).get("balance", "") == points
            for other in ({"points": "31"}, {"member": {"reference": bob}}, {"member": {"reference": "nobody"}}):
                if "points" in other and not given:
                    continue
                conflict = await world.do("video", mutation, **{**same, **other})
                assert refusal(conflict, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"]), (mutation, other)

    await repeated("80")
    assert await balance(world, bob) == 20
    # A member that has left its partner is no longer found, but what it did is.
    await world.link(token, "rides", ann)
    await world.done(token, "unlinkPartner", partner=world.ids["video"])
    await repeated("")
    fresh = await world.refused("video", "foundHousehold", member={"reference": ann})
    assert refusal(fresh, "NOT_FOUND", ["input", "member"])


async def test_who_has_left_the_partner_is_forbidden_or_nobody(world: World) -> None:
    """With the member's own token it is Forbidden, by the server NotFound: for each of the mutations."""
    ann = await someone(world)
    token = await world.token(f"{ann}@video")
    await world.link(token, "rides", ann)
    await household(world, ann)
    code = await invited(world, token)
    await world.done(token, "unlinkPartner", partner=world.ids["video"])
    for mutation, given in (
        ("foundHousehold", {"idempotencyKey": "k"}), ("inviteToHousehold", {}), ("joinHousehold", {"code": code}),
        ("leaveHousehold", {"idempotencyKey": "k"}), ("payIntoPool", {"idempotencyKey": "k", "points": "1"}),
        ("drawFromPool", {"idempotencyKey": "k", "points": "1"}),
    ):  # fmt: skip
        assert refusal(await world.do(token, mutation, **given), "FORBIDDEN", None), mutation
        for member in ({"reference": ann}, {"reference": "nobody"}, {"id": NOTHING}):
            by_server = await world.do("video", mutation, member=member, **given)
            assert refusal(by_server, "NOT_FOUND", ["input", "member"]), mutation
            assert by_server["message"] == "no such member"


async def test_shape_comes_first(world: World) -> None:
    """A key that is none, a reference that is none, a server that names nobody: before scope and everything else."""
    given = {"joinHousehold": {"code": "x"}, "inviteToHousehold": {}, "payIntoPool": {"points": "1"}}
    given["drawFromPool"] = given["payIntoPool"]
    for mutation in (
        "foundHousehold",
        "inviteToHousehold",
        "joinHousehold",
        "leaveHousehold",
        "payIntoPool",
        "drawFromPool",
    ):
        keyed = {} if mutation in ("joinHousehold", "inviteToHousehold") else {"idempotencyKey": "k"}
        good = {"member": {"reference": "nobody"}, **given.get(mutation, {}), **keyed}
        wrong: list[tuple[Payload, list[str]]] = [({"member": None}, ["input", "member"])]
        wrong += [
            ({"member": {"reference": text}}, ["input", "member", "reference"]) for text in ("", "a\nb", "x" * 129)
        ]
        wrong += [({"idempotencyKey": text}, ["input", "idempotencyKey"]) for text in ("", "a\nb") if keyed]
        for who in ("video", await world.token("video", "benefits:read"), "admin"):
            for other, path in wrong:
                payload = await world.do(who, mutation, **{**good, **other})
                assert refusal(payload, "VALIDATION_ERROR", path), (mutation, other)


async def test_a_household_needs_a_scope_that_spends(world: World) -> None:
    """A server's redemptions:redeem, or the member's points:redeem: no other does."""
    ann = await someone(world)
    given = {"joinHousehold": {"code": "x"}, "inviteToHousehold": {}}
    for mutation in (
        "foundHousehold",
        "inviteToHousehold",
        "joinHousehold",
        "leaveHousehold",
        "payIntoPool",
        "drawFromPool",
    ):
        said = given.get(mutation, {"idempotencyKey": "k"})
        said |= {"points": "1"} if "Pool" in mutation else {}
        for scope in PARTNER_SCOPES:
            payload = await world.do(
                await world.token("video", scope), mutation, member={"reference": "nobody"}, **said
            )
            expected = "redemptions:redeem" if scope != "redemptions:redeem" else None
            assert (payload["code"], payload.get("requiredScope")) == (
                "FORBIDDEN" if expected else "NOT_FOUND",
                expected,
            )
        for scope in ("points:read", "redemptions:read", "benefits:read"):
            payload = await world.do(await world.token(f"{ann}@video", scope), mutation, **said)
            assert refusal(payload, "FORBIDDEN", None, requiredScope="points:redeem")
        by_staff = await world.do("admin", mutation, member={"id": NOTHING}, **said)
        assert refusal(by_staff, "FORBIDDEN", None, requiredScope="redemptions:redeem")


async def test_a_member_speaks_for_itself(world: World) -> None:
    """It may name itself and nobody else, not even who shares the household."""
    ann, bob = await someone(world), await someone(world)
    await household(world, ann, bob)
    bobs = (await world.member("video", bob))["id"]
    for other in ({"reference": bob}, {"id": bobs}, {"id": NOTHING}):
        for mutation, given in (("drawFromPool", {"points": "1"}), ("leaveHousehold", {})):
            refused = await world.refused(f"{ann}@video", mutation, member=other, **given)
            assert refusal(refused, "VALIDATION_ERROR", ["input", "member"])
    await world.change(f"{ann}@video", "leaveHousehold", member={"reference": ann})


# ---------------------------------------------------------------- who sees what


async def test_a_partner_sees_those_that_it_knows(world: World) -> None:
    """Of a household across two partners each sees its own members and lots, the size, and what is in the pool."""
    ann, dora = await someone(world), await someone(world, 50, "delivery")
    await world.rules("delivery", gift_day_points=1_000)
    await household(world, ann)
    await world.done(f"{dora}@delivery", "joinHousehold", code=await invited(world, f"{ann}@video"))
    await world.change(f"{ann}@video", "payIntoPool", points="30")
    await world.change(f"{dora}@delivery", "payIntoPool", points="20")
    lots = {}
    for partner, member, points in (("video", ann, "30"), ("delivery", dora, "20")):
        seen = await pool(world, partner, member)
        assert seen is not None
        assert (seen["size"], [one["reference"] for one in seen["members"]]) == (2, [member])
        assert (seen["pool"]["balance"], seen["pool"]["debts"]) == ("50", [])
        (row,) = seen["pool"]["lots"]["nodes"]
        assert (row["remaining"], row["issuer"]["handle"]) == (points, partner)
        lots[partner] = row["id"]
        assert await world.read(partner, NODE, id=row["id"]) == {
            "__typename": "Lot", "id": row["id"], "remaining": points,
        }  # fmt: skip
        assert await world.read("rides", POOL, r=member) is None
    # Who shares it sees all of its lots, and of the others no more than who they are.
    mine = (await world.read(f"{dora}@delivery", MINE))["member"]
    assert [row["issuer"]["handle"] for row in mine["household"]["pool"]["lots"]["nodes"]] == ["video", "delivery"]
    assert [one["id"] for one in mine["household"]["members"]] == [mine["id"]]
    for row in mine["household"]["pool"]["lots"]["nodes"]:
        assert (await world.read(f"{dora}@delivery", NODE, id=row["id"]))["id"] == row["id"]
    # And nobody else sees them.
    for who in ("delivery", "rides", f"{dora}@delivery", f"{await someone(world)}@video", "admin"):
        assert await world.read(who, NODE, id=lots["video"]) is None
    videos_lot = mine["household"]["pool"]["lots"]["nodes"][0]["id"]
    for who in ("delivery", f"{await someone(world, 1, 'delivery')}@delivery"):
        assert await world.read(who, NODE, id=videos_lot) is None
    refused = await world.refused("delivery", "extendPoints", lot=lots["video"], expiresAt=None)
    assert refusal(refused, "NOT_FOUND", ["input", "lot"])
    drawn = await world.change(f"{dora}@delivery", "drawFromPool", points="50")
    assert drawn["member"]["wallet"]["balance"] == "80"


async def test_a_housemate_is_somebody_but_no_open_book(world: World) -> None:
    """A member learns which ids share its household, not what the others are called, have or are linked to."""
    ann, bob = await someone(world), await someone(world)
    await household(world, ann, bob)
    mine = (await world.read(f"{ann}@video", MINE))["member"]
    me, other = mine["household"]["members"]
    assert (me["id"], me["reference"], me["wallet"]) == (mine["id"], ann, {"balance": "100"})
    assert (other["reference"], other["wallet"], other["links"]) == (None, None, [])
    assert await world.read(f"{ann}@video", NODE, id=other["id"]) is None
    assert (await world.read("video", NODE, id=other["id"]))["reference"] == bob


async def test_a_stranger_finds_no_household(world: World) -> None:
    """Through another partner, or once the link is ended, the household is not there."""
    ann = await someone(world)
    token = await world.token(f"{ann}@video")
    await household(world, ann)
    assert await world.read("rides", POOL, r=ann) is None
    await world.link(token, "rides", ann)
    assert ((await pool(world, "rides", ann)) or {})["size"] == 1
    await world.done(token, "unlinkPartner", partner=world.ids["video"])
    assert await pool(world, "video", ann) is None
    assert (await world.read(token, MINE))["member"]["household"] is None


# ---------------------------------------------------------------- races


async def test_the_pool_is_drawn_once(world: World, beside: World) -> None:
    """Of all who want the same points of the pool at once, by two servers, one gets them."""
    members = [await someone(world) for _ in range(4)]
    await household(world, *members)
    tokens = [await world.token(f"{one}@video") for one in members]
    for _ in range(5):
        await world.change(tokens[0], "payIntoPool", points="20")
        told = await asyncio.gather(
            *(
                server.do(token, "drawFromPool", points="20", idempotencyKey=world.fresh("draw"))
                for server, token in zip((world, beside) * 2, tokens, strict=True)
            )
        )
        assert sorted(payload.get("code", "") for payload in told) == ["", *["INSUFFICIENT_POINTS"] * 3]
        assert await balance(world, members[0]) == 0
    assert sum([await world.balance("video", one) for one in members]) == 400


async def test_the_last_one_leaves_nothing_behind(world: World) -> None:
    """Leaving and paying in at once: either the pool is empty and all have left, or somebody is still there."""
    for _ in range(10):
        ann = await someone(world)
        await household(world, ann)
        token = await world.token(f"{ann}@video")
        left, paid = await asyncio.gather(
            world.do(token, "leaveHousehold", idempotencyKey=world.fresh("key")),
            world.do(token, "payIntoPool", points="5", idempotencyKey=world.fresh("key")),
        )
        assert sorted("retryable" in payload for payload in (left, paid)) == [False, True]
        assert await world.balance("video", ann) == (95 if "retryable" in left else 100)
