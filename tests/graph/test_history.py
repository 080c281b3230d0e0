"""A member's history and what expires when: the member sees all, a partner's server its share, others nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from exchange.rules import Rules
from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES
from tests.graph.speech import Payload, World, at

INFO = "pageInfo { hasNextPage hasPreviousPage endCursor }"
HISTORY = f"""fragment page on Member {{ history(first: $n, after: $c) {{
    nodes {{ at kind points held reason partner {{ handle }} benefit {{ sku }} redemption {{ id }}
             movements {{ points lotId issuer {{ handle }} }} }} {INFO} }} }}"""
EXPIRING = f"""fragment page on Member {{ wallet {{ expirations(first: $n, after: $c) {{
    nodes {{ expiresAt points }} {INFO} }} }} }}"""
LOTS = f"fragment page on Member {{ wallet {{ lots(first: $n, after: $c) {{ nodes {{ id }} {INFO} }} }} }}"
MINE = "query($n: Int, $c: String) { viewer { member { ...page } } }"
OF = "query($r: String!, $n: Int, $c: String) { member(by: {reference: $r}) { ...page } }"


async def seen(world: World, who: str, member: str | None, page: str, first: int, after: str | None) -> Any:
    """Return a page of the member that asks, or of the one which the asking server calls so."""
    if member is None:
        return (await world.read(who, MINE + page, n=first, c=after))["member"]
    return await world.read(who, OF + page, r=member, n=first, c=after)


async def history(world: World, who: str, member: str | None = None, first: int = 100, after: str | None = None) -> Any:
    return (await seen(world, who, member, HISTORY, first, after))["history"]


async def expiring(world: World, who: str, member: str | None, first: int = 100, after: str | None = None) -> Any:
    return (await seen(world, who, member, EXPIRING, first, after))["wallet"]["expirations"]


def told(page: Payload) -> list[tuple[Any, ...]]:
    """Say an event in short: kind, points, held, reason, who brought it, and the movements."""
    return [
        (
            event["kind"], int(event["points"]), int(event["held"]), event["reason"],
            None if event["partner"] is None else event["partner"]["handle"],
            [f"{move['issuer']['handle']} {move['points']}" for move in event["movements"]],
        )
        for event in page["nodes"]
    ]  # fmt: skip


class Scene:
    """A member of video with a link to delivery, and what it did."""

    def __init__(self, member: str, ride: Payload, redemption: Payload) -> None:
        self.member, self.ride, self.redemption = member, ride, redemption


@pytest.fixture
async def scene(world: World) -> Scene:
    """Let a member spend points of video and delivery on a ride of delivery's app's, which the partner gives back."""
    member = world.fresh("member")
    await world.award("video", member, 100, reason="welcome", expiresAt="2998-01-01T00:00:00Z")
    await world.link(f"{member}@video", "delivery")
    await world.award("delivery", member, 50, reason="late parcel")
    ride = await world.publish("rides", 120, fulfilment="PARTNER_CALL")
    redemption = await world.redeem(f"{member}@delivery", ride)
    await world.step("rides", "fail", redemption, reason="no driver came")
    return Scene(member, ride, redemption)


async def test_a_member_sees_all_that_happened_newest_first(world: World, scene: Scene) -> None:
    """Every entry is an event, with its reason, who brought it and every posting to a lot."""
    page = await history(world, f"{scene.member}@video")
    assert told(page) == [
        ("FAIL", 120, 0, "no driver came", "rides", ["delivery 20", "video 100"]),
        ("REDEEM", -120, 0, None, "delivery", ["video -100", "delivery -20"]),
        ("AWARD", 50, 0, "late parcel", "delivery", ["delivery 50"]),
        ("LINK", 0, 0, None, "delivery", []),
        ("AWARD", 100, 0, "welcome", "video", ["video 100"]),
    ]
    taken = page["nodes"][1]
    assert (taken["benefit"], taken["redemption"]["id"]) == ({"sku": scene.ride["sku"]}, scene.redemption["id"])
    assert (page["nodes"][3]["benefit"], page["nodes"][3]["redemption"]) == (None, None)
    assert [event["at"] for event in page["nodes"]] == sorted((event["at"] for event in page["nodes"]), reverse=True)


async def test_a_partners_server_sees_its_share(world: World, scene: Scene) -> None:
    """What it brought or what moved lots of its own, those lots alone; of others' doing neither who nor why."""
    assert told(await history(world, "video", scene.member)) == [
        ("FAIL", 100, 0, None, None, ["video 100"]),
        ("REDEEM", -100, 0, None, None, ["video -100"]),
        ("AWARD", 100, 0, "welcome", "video", ["video 100"]),
    ]
    assert told(await history(world, "delivery", scene.member)) == [
        ("FAIL", 20, 0, None, None, ["delivery 20"]),
        ("REDEEM", -20, 0, None, "delivery", ["delivery -20"]),
        ("AWARD", 50, 0, "late parcel", "delivery", ["delivery 50"]),
        ("LINK", 0, 0, None, "delivery", []),
    ]


async def test_a_redemption_is_shown_to_whom_it_is_anyway(world: World, scene: Scene) -> None:
    """The channel finds the redemption in its event; the issuer, which cannot see it elsewhere, finds null."""
    mine, theirs = [(await history(world, who, scene.member))["nodes"][1] for who in ("delivery", "video")]
    assert (mine["kind"], theirs["kind"]) == ("REDEEM", "REDEEM")
    assert (mine["redemption"], theirs["redemption"]) == ({"id": scene.redemption["id"]}, None)


async def test_a_benefit_that_is_withdrawn_is_no_longer_shown_to_others(world: World, scene: Scene) -> None:
    """A retired benefit stays in the member's and the channel's history, and disappears from the issuer's."""
    shown = {"key": {"partner": "rides", "sku": scene.ride["sku"]}}
    sku = {"sku": shown["key"]["sku"]}
    assert (await history(world, "video", scene.member))["nodes"][1]["benefit"] == sku
    await world.publish("rides", 120, sku=scene.ride["sku"], fulfilment="PARTNER_CALL", status="RETIRED")
    assert (await history(world, f"{scene.member}@video"))["nodes"][1]["benefit"] == sku
    assert (await history(world, "delivery", scene.member))["nodes"][1]["benefit"] == sku
    assert (await history(world, "video", scene.member))["nodes"][1]["benefit"] is None


async def test_a_lots_id_is_the_callers_own_and_finds_the_lot(world: World, scene: Scene) -> None:
    """Member and issuer find the lot by the id of the movement; another partner holds another id, which finds none."""
    query = "query($id: ID!) { node(id: $id) { ... on Lot { awarded issuer { handle } } } }"
    lot = {"awarded": "100", "issuer": {"handle": "video"}}
    mine = (await history(world, f"{scene.member}@video"))["nodes"][-1]["movements"][0]["lotId"]
    servers = (await history(world, "video", scene.member))["nodes"][-1]["movements"][0]["lotId"]
    through = (await history(world, f"{scene.member}@delivery"))["nodes"][-1]["movements"][0]["lotId"]
    assert mine == servers != through
    assert await world.read(f"{scene.member}@video", query, id=mine) == lot
    assert await world.read("video", query, id=mine) == lot
    assert await world.read(f"{scene.member}@delivery", query, id=through) == lot
    for stranger in ("delivery", "rides", f"{scene.member}@delivery"):
        assert await world.read(stranger, query, id=mine) is None


async def test_without_an_open_link_there_is_nothing(world: World, scene: Scene) -> None:
    """A link that was ended closes the history, to the partner's server and in its app."""
    await world.link(f"{scene.member}@video", "rides")
    assert [event[0] for event in told(await history(world, "rides", scene.member))] == ["LINK", "FAIL"]
    token = await world.token(f"{scene.member}@rides")
    assert len((await history(world, token))["nodes"]) == 6
    await world.done(f"{scene.member}@video", "unlinkPartner", partner=world.ids["rides"])
    assert (await history(world, "rides", scene.member))["nodes"] == []
    assert (await history(world, token))["nodes"] == []
    assert len((await history(world, f"{scene.member}@video"))["nodes"]) == 7


async def test_it_needs_the_scope_of_the_wallet(world: World, scene: Scene) -> None:
    """Of all scopes exactly those that open a wallet open the history; any other is FORBIDDEN."""
    opened = set()
    for who, scopes in ((f"{scene.member}@video", MEMBER_SCOPES), ("video", PARTNER_SCOPES)):
        for scope in scopes:
            token = await world.token(who, scope)
            narrow = "fragment page on Member { history(first: $n, after: $c) { nodes { kind } } }"
            if "@" in who:
                answer = await world.ask(token, MINE + narrow)
            else:
                answer = await world.ask(token, OF + narrow, r=scene.member)
            assert answer.codes in ([], ["FORBIDDEN"])
            if not answer.codes:
                opened.add(scope)
    assert opened == {"points:read", "points:award", "redemptions:redeem"}


async def test_finance_that_finds_a_member_finds_no_history(world: World, scene: Scene) -> None:
    """Staff reaches a member through a redemption; its history stays closed."""
    query = "query($id: ID!) { redemption(id: $id) { member { history { nodes { kind } } } } }"
    assert (await world.ask("viewer", query, id=scene.redemption["id"])).codes == ["FORBIDDEN"]


@pytest.mark.parametrize("who", ["member", "video", "delivery"])
async def test_pages_join_to_the_whole(world: World, scene: Scene, who: str) -> None:
    """Page by page every event comes once, in order, and the cursors say where a page stands."""
    caller, member = (f"{scene.member}@video", None) if who == "member" else (who, scene.member)
    whole = (await history(world, caller, member))["nodes"]
    found: list[Payload] = []
    after = None
    while True:
        page = await history(world, caller, member, first=2, after=after)
        found += page["nodes"]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert found == whole
    assert len(whole) > 2


async def test_what_happens_meanwhile_moves_no_page(world: World, scene: Scene) -> None:
    """A page behind a cursor is the same after another award as before."""
    who = f"{scene.member}@video"
    cursor = (await history(world, who, first=1))["pageInfo"]["endCursor"]
    before = (await history(world, who, after=cursor))["nodes"]
    await world.award("video", scene.member, 7)
    assert (await history(world, who, after=cursor))["nodes"] == before


async def test_a_cursor_is_of_one_caller_and_one_member(world: World, scene: Scene) -> None:
    """Another partner's cursor, another member's, or one of another list is BAD_USER_INPUT."""
    cursor = (await history(world, "video", scene.member, first=1))["pageInfo"]["endCursor"]
    other = world.fresh("member")
    await world.award("video", other, 1)
    for who, member in (("delivery", scene.member), ("video", other)):
        assert (await world.ask(who, OF + HISTORY, r=member, c=cursor)).codes == ["BAD_USER_INPUT"]
    assert (await world.ask("video", OF + LOTS, r=scene.member, c=cursor)).codes == ["BAD_USER_INPUT"]


async def test_held_points_and_time_are_events_too(world: World) -> None:
    """A reservation holds, its end lets go; a lot that is swept away was brought by the exchange."""
    member, film = world.fresh("member"), await world.publish("video", 30)
    await world.award("video", member, 100)
    reserved = await world.reserve(f"{member}@video", film)
    await world.step(f"{member}@video", "cancel", reserved)
    await world.award("video", member, 9, expiresAt=at(await world.services.now() + timedelta(seconds=0.5)))
    for _ in range(100):
        await asyncio.sleep(0.1)
        page = await history(world, f"{member}@video")
        if page["nodes"][0]["kind"] == "EXPIRE":
            break
    assert told(page) == [
        ("EXPIRE", -9, 0, None, "exchange", ["video -9"]),
        ("AWARD", 9, 0, None, "video", ["video 9"]),
        ("CANCEL", 0, -30, None, "video", []),
        ("RESERVE", 0, 30, None, "video", []),
        ("AWARD", 100, 0, None, "video", ["video 100"]),
    ]


async def test_a_household_does_not_open_its_members_histories(world: World) -> None:
    """A member finds who shares its household, and sees its own history alone; what went into the pool is in it."""
    if not await world.services.terms.rules("video"):
        await world.services.terms.set_rules(Rules(partner="video", gift_day_points=1_000))
    ann, bob = world.fresh("member"), world.fresh("member")
    for name in (ann, bob):
        await world.award("video", name, 100)

    async def does(name: str, mutation: str, kind: str, selection: str = "__typename", **given: Any) -> Payload:
        document = f"mutation($i: {kind}!) {{ {mutation}(input: $i) {{ ... on UserError {{ code }} {selection} }} }}"
        payload: Payload = await world.read(f"{name}@video", document, i=given)
        assert "code" not in payload, payload
        return payload

    await does(ann, "foundHousehold", "HouseholdInput", idempotencyKey=world.fresh("key"))
    code = (await does(ann, "inviteToHousehold", "InviteInput", "... on Invitation { secret: code }"))["secret"]
    await does(bob, "joinHousehold", "JoinHouseholdInput", code=code)
    await does(bob, "payIntoPool", "PoolInput", points="30", idempotencyKey=world.fresh("key"))
    await does(ann, "drawFromPool", "PoolInput", points="20", idempotencyKey=world.fresh("key"))
    query = """query { viewer { member { household { members { reference
        history { nodes { kind points movements { points } } } } } } } }"""
    members = (await world.read(f"{ann}@video", query))["member"]["household"]["members"]
    told = {member["reference"]: [(e["kind"], e["points"]) for e in member["history"]["nodes"]] for member in members}
    assert told == {ann: [("DRAW", "20"), ("FOUND", "0"), ("AWARD", "100")], None: []}
    bobs = await history(world, f"{bob}@video")
    assert [(e["kind"], e["points"]) for e in bobs["nodes"]] == [("PAY_IN", "-30"), ("JOIN", "0"), ("AWARD", "100")]


# ---------------------------------------------------------------- what expires when


async def test_what_expires_when(world: World) -> None:
    """A row for each moment, soonest first, held points included; a partner's server sees its own lots alone."""
    member = world.fresh("member")
    soon, late = "2998-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"
    await world.award("video", member, 30, expiresAt=late)
    await world.award("video", member, 1_000)
    await world.link(f"{member}@video", "delivery")
    for issuer, points, expires in (("video", 5, soon), ("delivery", 7, soon), ("delivery", 2, late)):
        await world.award(issuer, member, points, expiresAt=expires)
    await world.reserve(f"{member}@video", await world.publish("video", 6))
    rows = {
        who: [(row["expiresAt"], int(row["points"])) for row in (await expiring(world, who, reference))["nodes"]]
        for who, reference in ((f"{member}@video", None), ("video", member), ("delivery", member))
    }
    assert rows == {
        f"{member}@video": [(soon, 12), (late, 32)],
        "video": [(soon, 5), (late, 30)],
        "delivery": [(soon, 7), (late, 2)],
    }
    page = await expiring(world, f"{member}@video", None, first=1)
    assert ([row["points"] for row in page["nodes"]], page["pageInfo"]["hasNextPage"]) == (["12"], True)
    rest = await expiring(world, f"{member}@video", None, first=1, after=page["pageInfo"]["endCursor"])
    assert ([row["points"] for row in rest["nodes"]], rest["pageInfo"]["hasNextPage"]) == (["32"], False)
