"""One member becomes two again: who may undo a merge, until when, and what goes back."""

from __future__ import annotations

import pytest

from exchange.rules import Rules
from tests.graph.merging.persons import Two, merged, seen, undo, undo_by_staff
from tests.graph.speech import Payload, World, document, refusal

pytestmark = pytest.mark.usefixtures("proved")


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
