"""A person who is two members becomes one, and two again. In the end every invariant is proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from exchange.check import check
from exchange.rules import Rules
from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES
from tests.graph.speech import LINKS, STAFF, SUCCESS, Payload, World, document, refusal

LOTS = "lots { nodes { id remaining issuer { handle } } }"
OF = f"query($r: String!) {{ member(by: {{reference: $r}}) {{ ...links wallet {{ balance {LOTS} }} }} }} {LINKS}"
MINE = f"{{ viewer {{ member {{ ...links wallet {{ balance {LOTS} }} }} }} }} {LINKS}"
NODE = f"query($id: ID!) {{ node(id: $id) {{ ... on Member {{ ...links wallet {{ balance }} }} }} }} {LINKS}"
LOT = "query($id: ID!) { node(id: $id) { ... on Lot { id remaining issuer { handle } } } }"
TAKEN = "query($id: ID!) { redemption(id: $id) { id status member { id reference } } }"
ALL_TAKEN = "query($k: String) { redemptions(first: 50, idempotencyKey: $k) { nodes { id } } }"
MINE_TAKEN = "{ viewer { member { redemptions(first: 50) { nodes { id } } } } }"
OF_TAKEN = "query($r: String!) { member(by: {reference: $r}) { redemptions(first: 50) { nodes { id } } } }"
HISTORY = """query($r: String!) { member(by: {reference: $r}) { history(first: 50) {
    nodes { kind points partner { handle } movements { points issuer { handle } } } } } }"""


class Two(NamedTuple):
    """Two members who are one person.

    `ann`: known to video and delivery. `bob`: known to video by that name, to rides by the name `rider`.
    """

    ann: str
    bob: str
    rider: str


@pytest.fixture(scope="module", autouse=True)
async def proved(exchange: World) -> AsyncIterator[None]:
    """Hold the books to every invariant when all tests of the module have written in them."""
    yield
    proofs = await check(exchange.services.db, exchange.services.keyring)
    assert {proof.number: proof.wrong for proof in proofs if not proof.holds} == {}


@pytest.fixture
async def two(world: World) -> Two:
    """Give ann 100 points of video and 10 of delivery, bob 30 of video and 40 of rides."""
    two = Two(*(world.fresh(name) for name in ("ann", "bob", "rider")))
    await world.award("video", two.ann, 100)
    await world.link(f"{two.ann}@video", "delivery")
    await world.award("delivery", two.ann, 10)
    await world.award("video", two.bob, 30)
    await world.link(f"{two.bob}@video", "rides", two.rider)
    await world.award("rides", two.rider, 40)
    return two


async def merged(world: World, two: Two) -> Payload:
    """Make bob, as rides knows it, ann; return what rides sees of the member then."""
    return await world.merge(f"{two.rider}@rides", f"{two.ann}@video")


async def undo(world: World, who: str, **given: Any) -> Payload:
    return await world.do(who, "undoMerge", **{"idempotencyKey": world.fresh("undo"), **given})


async def undo_by_staff(world: World, **given: Any) -> Payload:
    """Undo a merge as the exchange, which does not see into wallets."""
    asked = {"idempotencyKey": world.fresh("undo"), **given}
    short = document("undoMerge", "... on MergeMembersSuccess { replayed member { id } }")
    payload: Payload = await world.read("admin", short, input=asked)
    return payload


def remaining(member: Payload) -> list[tuple[str, str]]:
    """Say whose lots with how many points a caller sees."""
    return [(lot["issuer"]["handle"], lot["remaining"]) for lot in member["wallet"]["lots"]["nodes"]]


async def ids(world: World, who: str, query: str, **variables: Any) -> list[str]:
    """Return the ids of the redemptions that a query shows somewhere."""
    found = await world.read(who, query, **variables)
    while "nodes" not in found:
        (found,) = found.values()
    return [node["id"] for node in found["nodes"]]


# ---------------------------------------------------------------- becoming one


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


async def freeze(world: World, member: str) -> None:
    """Let the exchange freeze a member of video's."""
    asked = {
        "member": {"reference": member}, "partner": world.ids["video"], "reason": "under suspicion",
        "idempotencyKey": world.fresh("freeze"),
    }  # fmt: skip
    payload = (
        await world.ask("admin", document("freezeMember", "... on PointsSuccess { replayed }"), input=asked)
    ).data
    assert payload["freezeMember"]["__typename"] == "PointsSuccess"


async def seen(world: World, two: Two, partner: str) -> Payload:
    """Return what delivery sees of ann, or rides of bob."""
    found: Payload = await world.read(partner, OF, r=two.ann if partner == "delivery" else two.rider)
    return found


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


# ---------------------------------------------------------------- what is found afterwards


async def test_ids_from_before_still_work(world: World, two: Two) -> None:
    """What anybody noted of bob, of its lots or of its redemptions, finds the member that it has become."""
    film = await world.publish("delivery", 20, fulfilment="PARTNER_CALL")
    taken = await world.redeem(f"{two.rider}@rides", film)
    noted = {who: (await world.read(who, OF, r=name)) for who, name in (("video", two.bob), ("rides", two.rider))}
    noted[f"{two.rider}@rides"] = (await world.read(f"{two.rider}@rides", MINE))["member"]
    noted[f"{two.bob}@video"] = (await world.read(f"{two.bob}@video", MINE))["member"]
    await merged(world, two)
    for who, was in noted.items():
        found = await world.read(who, NODE, id=was["id"])
        assert (found["wallet"]["balance"], found["id"] != was["id"]) == ("160", True)
        assert found["reference"] == (two.rider if "rides" in who else two.ann)
        by_id = await world.read(who, "query($id: ID!) { member(by: {id: $id}) { id } }", id=was["id"])
        assert by_id == {"id": found["id"]}
        for lot in was["wallet"]["lots"]["nodes"]:
            assert await world.read(who, LOT, id=lot["id"]) == lot
        if who != "video":  # the channel, and the member
            shown = await world.read(who, TAKEN, id=taken["id"])
            assert shown["member"] == {"id": found["id"], "reference": found["reference"]}
    # And as arguments: of an award, a redemption, a reversal.
    rides = {"id": noted["rides"]["id"]}
    await world.done("rides", "awardPoints", member=rides, points="1", idempotencyKey=world.fresh("award"))
    own = {"id": noted[f"{two.rider}@rides"]["id"]}
    await world.redeem(f"{two.rider}@rides", film, member=own)
    lot = noted["rides"]["wallet"]["lots"]["nodes"][0]["id"]
    asked = {"lot": lot, "idempotencyKey": world.fresh("back"), "points": "1"}
    back = document("reverseAward", "... on ReverseAwardSuccess { taken }")
    assert (await world.read("rides", back, input=asked))["taken"] == "1"
    returned = await world.step("delivery", "reverse", taken)
    assert returned["redemption"]["status"] == "REVERSED"
    assert await world.balance("video", two.ann) == 180 - 20 + 1 - 1


async def test_anothers_old_id_is_nobodys(world: World, two: Two) -> None:
    """A member's token opens its own old ids, not those of one who was merged into somebody else."""
    other = world.fresh("other")
    await world.award("video", other, 1)
    noted = (await world.read(f"{two.bob}@video", MINE))["member"]["id"]
    await world.merge(f"{two.bob}@video", f"{two.ann}@video")
    assert await world.read(f"{other}@video", NODE, id=noted) is None
    film = await world.publish("video", 1)
    told = await world.try_redeem(f"{other}@video", film, member={"id": noted})
    assert refusal(told, "VALIDATION_ERROR", ["input", "member"])


async def test_what_either_redeemed_is_the_one_members(world: World, two: Two) -> None:
    """Its redemptions are those of both; a partner sees those that it brought, as before."""
    film = await world.publish("video", 5)
    by_ann = (await world.redeem(f"{two.ann}@delivery", film))["id"]
    key = world.fresh("redeem")
    by_bob = (await world.redeem(f"{two.rider}@rides", film, idempotencyKey=key))["id"]
    by_server = (await world.redeem(f"{two.bob}@video's server", film))["id"]
    await merged(world, two)
    for who in (f"{two.ann}@video", f"{two.bob}@video", f"{two.rider}@rides", f"{two.ann}@delivery"):
        for query in (MINE_TAKEN, ALL_TAKEN):
            assert await ids(world, who, query) == [by_server, by_bob, by_ann]
    assert await ids(world, f"{two.rider}@rides", ALL_TAKEN, k=key) == [by_bob]
    for partner, name, expected in (
        ("delivery", two.ann, [by_ann]), ("rides", two.rider, [by_bob]), ("video", two.bob, [by_server, by_bob, by_ann])
    ):  # fmt: skip
        assert await ids(world, partner, OF_TAKEN, r=name) == expected
    again = await world.try_redeem(f"{two.rider}@rides", film, idempotencyKey=key)
    assert (again["replayed"], again["redemption"]["id"]) == (True, by_bob)


async def test_a_quote_outlives_the_merge(world: World, two: Two) -> None:
    """What was promised to the one is kept to the one that it has become."""
    film = await world.publish("video", 50)
    quote = await world.quote(f"{two.rider}@rides", film)
    await merged(world, two)
    taken = await world.redeem(f"{two.rider}@rides", film, quote=quote["id"])
    assert taken["points"] == "50"


async def test_limits_count_what_both_have_had(world: World, two: Two) -> None:
    """Being two does not give twice: who had one each of a benefit that is limited to two has none left."""
    film = await world.publish("video", 1, memberLimit=2)
    for name in (two.ann, two.bob):
        await world.redeem(f"{name}@video", film)
    assert (await world.availability(f"{two.bob}@video", film))["memberRemaining"] == 1
    await merged(world, two)
    told = await world.availability(f"{two.bob}@video", film)
    assert (told["memberRemaining"], told["reasons"]) == (0, ["MEMBER_LIMIT_REACHED"])
    assert (await world.try_redeem(f"{two.rider}@rides", film))["reasons"] == ["MEMBER_LIMIT_REACHED"]


async def test_a_partner_of_one_sees_no_more_than_before(world: World, two: Two) -> None:
    """Its own reference, link and lots; of the other's name, links, lots, history and redemptions nothing."""
    film = await world.publish("video", 1)
    await world.redeem(f"{two.ann}@delivery", film)
    before = {partner: await seen(world, two, partner) for partner in ("delivery", "rides")}
    await merged(world, two)
    for partner, own in (("delivery", two.ann), ("rides", two.rider)):
        now = await seen(world, two, partner)
        assert {**now, "wallet": None, "id": None} == {**before[partner], "wallet": None, "id": None}
        assert remaining(now) == remaining(before[partner])
        strangers = {two.ann, two.bob, two.rider} - {own}
        answers = [await world.ask(partner, query, r=own) for query in (OF, OF_TAKEN, HISTORY)]
        assert not any(name in answer.told[1] for name in strangers for answer in answers)
        for name in strangers:
            assert await world.read(partner, OF, r=name) is None
    assert (await seen(world, two, "delivery"))["id"] == before["delivery"]["id"]
    taken = await world.read("rides", HISTORY, r=two.rider)
    moved = [("MERGE", "40", [{"points": "40", "issuer": {"handle": "rides"}}])]
    assert [(e["kind"], e["points"], e["movements"]) for e in taken["history"]["nodes"]] == moved
    kinds = {event["kind"] for event in (await world.read("delivery", HISTORY, r=two.ann))["history"]["nodes"]}
    assert "MERGE" not in kinds


async def test_ids_stay_pairwise(world: World, two: Two) -> None:
    """The one member has another id for each partner, and none opens another's."""
    await merged(world, two)
    known = {"video": two.bob, "delivery": two.ann, "rides": two.rider}
    found = {partner: (await world.read(partner, OF, r=name))["id"] for partner, name in known.items()}
    assert len(set(found.values())) == 3
    for partner in known:
        for other, identity in found.items():
            assert (await world.read(partner, NODE, id=identity) is None) == (partner != other)


# ---------------------------------------------------------------- links, households, freezing


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


# ---------------------------------------------------------------- two again


@pytest.mark.parametrize("who", ["ann@video", "ann@delivery", "bob@video", "rider@rides"])
async def test_a_member_undoes_it(world: World, two: Two, who: str) -> None:
    """By any of its references: each is who it was, and sees its own; what was awarded since is where it belongs."""
    before = {partner: await seen(world, two, partner) for partner in ("delivery", "rides")}
    await merged(world, two)
    await world.award("rides", two.rider, 3)
    await world.award("delivery", two.ann, 4)
    name, _, partner = who.partition("@")
    caller = f"{getattr(two, name)}@{partner}"
    key = world.fresh("undo")
    told = await undo(world, caller, idempotencyKey=key, reason="two people after all")
    mine = "114" if name == "ann" else "73"
    assert (told["replayed"], told["member"]["wallet"]["balance"]) == (False, mine)
    assert told["member"]["reference"] == getattr(two, name)
    again = await undo(world, caller, idempotencyKey=key, reason="two people after all")
    assert again == {**told, "replayed": True}
    other = await undo(world, caller, idempotencyKey=key, reason="another")
    assert refusal(other, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    after = {partner: await seen(world, two, partner) for partner in ("delivery", "rides")}
    for partner, (now, since) in {"delivery": ("114", "4"), "rides": ("73", "3")}.items():
        was = before[partner]["wallet"]["lots"]["nodes"]
        assert after[partner]["wallet"]["balance"] == now
        assert after[partner]["wallet"]["lots"]["nodes"][:-1] == was
        assert after[partner]["wallet"]["lots"]["nodes"][-1]["remaining"] == since
        assert {**after[partner], "wallet": None} == {**before[partner], "wallet": None}
    nothing = await undo(world, caller)
    assert refusal(nothing, "VALIDATION_ERROR", ["input", "member"])


@pytest.mark.parametrize("how", ["ann of video", "bob of video", "rider of rides", "id", "old id"])
async def test_staff_undoes_it_for_a_member(world: World, two: Two, how: str) -> None:
    """Named by any partner's reference, or by the id that staff sees of either, now or before."""
    film = await world.publish("video", 10)
    taken = await world.redeem(f"{two.ann}@video", film)
    old = await world.redeem(f"{two.rider}@rides", film)
    shown = "query($id: ID!) { redemption(id: $id) { member { id } } }"
    admin = await world.token("staff", "admin finance:view")
    noted = {
        "id": (await world.read(admin, shown, id=taken["id"]))["member"]["id"],
        "old id": (await world.read(admin, shown, id=old["id"]))["member"]["id"],
    }
    await merged(world, two)
    if how in noted:
        named: Payload = {"member": {"id": noted[how]}}
    else:
        name, _, partner = how.partition(" of ")
        named = {"member": {"reference": getattr(two, name)}, "partner": world.ids[partner]}
    key = world.fresh("undo")
    told = await undo_by_staff(world, **named, idempotencyKey=key)
    assert (told["replayed"], told["member"]["id"]) == (False, noted["id"])
    again = await undo_by_staff(world, **named, idempotencyKey=key)
    assert again == {**told, "replayed": True}
    assert [await world.balance("delivery", two.ann), await world.balance("rides", two.rider)] == [100, 60]


async def test_whom_staff_has_to_name(world: World, two: Two) -> None:
    """Staff says whose, with the partner of a reference; a member names nobody; what is not there is not found."""
    await merged(world, two)
    video, nobody = world.ids["video"], {"reference": world.fresh("nobody")}
    assert refusal(await undo(world, "admin"), "VALIDATION_ERROR", ["input", "member"])
    by_name = await undo(world, "admin", member={"reference": two.bob})
    assert refusal(by_name, "VALIDATION_ERROR", ["input", "partner"])
    both = await undo(world, "admin", member={"id": "bm9uZQ"}, partner=video)
    assert refusal(both, "VALIDATION_ERROR", ["input", "partner"])
    long = await undo(world, "admin", member={"reference": "x" * 129}, partner=video)
    assert refusal(long, "VALIDATION_ERROR", ["input", "member", "reference"])
    for named in ({"member": nobody, "partner": video}, {"member": {"id": "bm9uZQ"}}):
        assert refusal(await undo(world, "admin", **named), "NOT_FOUND", ["input", "member"])
    told = await undo(world, f"{two.ann}@video", member={"reference": two.bob}, partner=video)
    assert refusal(told, "VALIDATION_ERROR", ["input", "member"])
    alone = world.fresh("alone")
    await world.award("video", alone, 1)
    never = await undo(world, "admin", member={"reference": alone}, partner=video)
    assert refusal(never, "VALIDATION_ERROR", ["input", "member"])
    for wrong, path in (({"idempotencyKey": ""}, "idempotencyKey"), ({"reason": "\0"}, "reason")):
        assert refusal(await undo(world, f"{two.ann}@video", **wrong), "VALIDATION_ERROR", ["input", path])


@pytest.mark.parametrize("why", ["spent", "held", "held once", "given", "no partner left"])
async def test_when_a_merge_is_final(world: World, two: Two, why: str) -> None:
    """Once points that came were spent, held or passed on, or a last link was ended, it stays; for staff as well."""
    if not await world.services.terms.rules("video"):
        await world.services.terms.set_rules(Rules(partner="video", gift_day_points=1_000))
    if why == "no partner left":
        await world.done(f"{two.rider}@rides", "unlinkPartner", partner=world.ids["video"])
    await merged(world, two)
    if why == "spent":
        await world.redeem(f"{two.ann}@video", await world.publish("rides", 120))
    elif why.startswith("held"):
        held = await world.reserve(f"{two.ann}@video", await world.publish("rides", 120))
        if why == "held once":
            await world.step("video", "cancel", held)
    elif why == "given":
        friend = world.fresh("friend")
        await world.award("video", friend, 1)
        asked = {"to": {"reference": friend}, "points": "101", "idempotencyKey": world.fresh("give")}
        give = document("givePoints", "... on GivePointsSuccess { replayed }")
        assert (await world.read(f"{two.ann}@video", give, input=asked))["replayed"] is False
    else:
        await world.done(f"{two.ann}@video", "unlinkPartner", partner=world.ids["rides"])
    before = await world.member("video", two.ann)
    for_ann = {"member": {"reference": two.ann}, "partner": world.ids["video"]}
    for told in (await undo(world, f"{two.bob}@video"), await undo_by_staff(world, **for_ann)):
        assert refusal(told, "VALIDATION_ERROR", ["input", "member"])
    assert await world.member("video", two.bob) == before


async def test_spending_what_one_had_oneself_leaves_it_open(world: World, two: Two) -> None:
    """As long as what came is untouched it can go back."""
    await merged(world, two)
    await world.redeem(f"{two.rider}@rides", await world.publish("rides", 100))
    assert (await undo(world, f"{two.rider}@rides"))["member"]["wallet"]["balance"] == "70"


async def test_an_award_asked_for_again_after_the_parting(world: World, two: Two) -> None:
    """The lot is shown where it is now, to the partner that gave it; a page that ended with it cannot be turned."""
    await merged(world, two)
    key = world.fresh("award")
    first = await world.award("rides", two.rider, 3, key=key)
    lots = """query($a: String) {
        viewer { member { wallet { lots(first: 4, after: $a) { nodes { id } pageInfo { endCursor } } } } } }"""
    ann = await world.token(f"{two.ann}@video")
    cursor = (await world.read(ann, lots))["member"]["wallet"]["lots"]["pageInfo"]["endCursor"]
    await undo(world, f"{two.ann}@video")
    again = await world.award("rides", two.rider, 3, key=key)
    assert (again["replayed"], again["lot"]) == (True, first["lot"])
    assert (again["member"]["reference"], again["wallet"]["balance"]) == (two.rider, "73")
    assert again["member"] == {"id": (await seen(world, two, "rides"))["id"], "reference": two.rider}
    assert (await world.ask(ann, lots, a=cursor)).codes == ["BAD_USER_INPUT"]


async def test_one_request_may_do_several_things(world: World, two: Two) -> None:
    """Each shows the member as it is by then, whoever it was when the request began."""
    code = await world.merge_code(f"{two.ann}@video")
    shown = "... on MergeMembersSuccess { member { reference wallet { balance } } }"
    several = f"""mutation($c: String!, $k: String!) {{
        made: createMergeCode {{ __typename }}
        one: mergeMembers(input: {{code: $c}}) {{ {shown} }}
        two: undoMerge(input: {{idempotencyKey: $k}}) {{ {shown} }} }}"""
    told = (await world.ask(f"{two.bob}@video", several, c=code, k=world.fresh("undo"))).data
    assert told["one"]["member"] == {"reference": two.ann, "wallet": {"balance": "180"}}
    assert told["two"]["member"] == {"reference": two.bob, "wallet": {"balance": "70"}}


async def test_two_can_become_one_again(world: World, two: Two) -> None:
    """Also the other way round; and of several that came, the last goes first."""
    await merged(world, two)
    await undo(world, f"{two.ann}@video")
    third = world.fresh("third")
    await world.award("video", third, 5)
    await world.merge(f"{two.ann}@video", f"{two.rider}@rides")
    await world.merge(f"{third}@video", f"{two.rider}@rides")
    assert await world.balance("delivery", two.ann) == 185
    assert (await undo(world, f"{two.rider}@rides"))["member"]["wallet"]["balance"] == "180"
    assert await world.balance("video", third) == 5
    assert (await undo(world, f"{two.rider}@rides"))["member"]["wallet"]["balance"] == "70"
    assert await world.balance("delivery", two.ann) == 110
