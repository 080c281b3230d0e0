"""What is found of either, by whoever may, after two members have become one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graph.merging.persons import MINE, NODE, OF, Two, merged, remaining, seen
from tests.graph.speech import World, document, refusal

pytestmark = pytest.mark.usefixtures("proved")

LOT = "query($id: ID!) { node(id: $id) { ... on Lot { id remaining issuer { handle } } } }"
TAKEN = "query($id: ID!) { redemption(id: $id) { id status member { id reference } } }"
ALL_TAKEN = "query($k: String) { redemptions(first: 50, idempotencyKey: $k) { nodes { id } } }"
MINE_TAKEN = "{ viewer { member { redemptions(first: 50) { nodes { id } } } } }"
OF_TAKEN = "query($r: String!) { member(by: {reference: $r}) { redemptions(first: 50) { nodes { id } } } }"
HISTORY = """query($r: String!) { member(by: {reference: $r}) { history(first: 50) {
    nodes { kind points partner { handle } movements { points issuer { handle } } } } } }"""


async def ids(world: World, who: str, query: str, **variables: Any) -> list[str]:
    """Return the ids of the redemptions that a query shows somewhere."""
    found = await world.read(who, query, **variables)
    while "nodes" not in found:
        (found,) = found.values()
    return [node["id"] for node in found["nodes"]]


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
