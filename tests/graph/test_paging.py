"""Pages: every row once, whatever happens between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.graph.speech import Payload, World, benefit_input

CATALOG = """query($first: Int, $after: String, $last: Int, $before: String, $f: BenefitFilter, $s: BenefitSort) {
  benefits(first: $first, after: $after, last: $last, before: $before, filter: $f, sort: $s) {
    totalCount edges { cursor node { sku } } nodes { sku }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
PAGE = "edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
SORTS = ("POINTS_PRICE", "NEWEST", "ENDING_SOON")
SHELF = 53


@pytest.fixture(scope="module")
async def shelf(exchange: World) -> list[str]:
    """Publish many benefits of few different prices and ends, at few different moments; return their SKUs."""
    skus = [f"s{n:02}" for n in range(SHELF)]
    benefits = [
        benefit_input(
            100 + n % 3, sku=sku, title="shelf", category="MUSIC",
            **({} if n % 4 == 0 else {"validUntil": f"2999-01-0{1 + n % 2}T00:00:00Z"}),
        )
        for n, sku in enumerate(skus)
    ]  # fmt: skip
    for start in (0, 20, 40):
        await exchange.done("video", "publishBenefits", benefits=benefits[start : start + 20])
    return skus


async def walk(
    read: Callable[..., Awaitable[Payload]], *, backwards: bool = False, size: int = 7,
    between: Callable[[], Awaitable[Any]] | None = None,
) -> list[str]:  # fmt: skip
    """Return all rows, page by page; what each page says of itself must hold."""
    rows: list[str] = []
    cursor: str | None = None
    while True:
        asked = {"last": size, "before": cursor} if backwards else {"first": size, "after": cursor}
        page = await read(**asked)
        nodes = [next(iter(node.values())) for node in page["nodes"]]
        assert nodes == [next(iter(edge["node"].values())) for edge in page["edges"]]
        assert len(nodes) <= size
        info = page["pageInfo"]
        outer = page["edges"][0 if backwards else -1]["cursor"] if nodes else None
        more, cursor = (
            (info["hasPreviousPage"], info["startCursor"]) if backwards else (info["hasNextPage"], info["endCursor"])
        )
        assert cursor == outer
        assert info["hasNextPage" if backwards else "hasPreviousPage"] == bool(rows)
        rows = nodes + rows if backwards else rows + nodes
        if not more:
            return rows
        assert len(nodes) == size
        if between is not None:
            await between()


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("size", [1, 7, 52, 53, 100])
async def test_pages_walk_every_row_once_in_both_directions(
    world: World, shelf: list[str], sort: str, size: int
) -> None:
    """Forwards and backwards give the same list, each row once, though many have the same price, time or end."""

    async def read(**asked: Any) -> Payload:
        page: Payload = await world.read("rides", CATALOG, s=sort, f={"category": "MUSIC", "search": "shelf"}, **asked)
        assert page["totalCount"] == SHELF
        return page

    forwards = await walk(read, size=size)
    assert sorted(forwards) == shelf
    assert await walk(read, size=size, backwards=True) == forwards


async def test_relevance_walks_forward_only(world: World, shelf: list[str]) -> None:
    """RELEVANCE gives every row once; from its end it cannot be read."""

    async def read(**asked: Any) -> Payload:
        page: Payload = await world.read("rides", CATALOG, s="RELEVANCE", f={"search": "shelf"}, **asked)
        return page

    assert sorted(await walk(read)) == shelf
    answer = await world.ask("rides", CATALOG, s="RELEVANCE", f={"search": "shelf"}, last=2)
    assert answer.codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("way", ["forwards", "backwards"])
async def test_rows_that_come_between_pages_move_no_other(world: World, shelf: list[str], sort: str, way: str) -> None:
    """While rows are inserted and withdrawn at both ends, what was there all the time is seen exactly once."""
    tag = world.fresh("tag")

    async def read(**asked: Any) -> Payload:
        page: Payload = await world.read("rides", CATALOG, s=sort, f={"category": "MUSIC"}, **asked)
        return page

    async def publish() -> None:
        for price, end in ((1, "2998"), (101, "2999"), (999, "3999")):
            until = f"{end}-01-01T00:00:00Z"
            await world.publish("delivery", price, category="MUSIC", tags=[tag], validUntil=until)

    await publish()
    rows = await walk(read, backwards=way == "backwards", between=publish)
    assert sorted(row for row in rows if row in shelf) == shelf
    assert len(set(rows)) == len(rows)
    withdrawn = [
        {"sku": node["sku"], "status": "RETIRED"}
        for node in (await world.read("delivery", CATALOG, f={"tags": [tag]}, first=100))["nodes"]
    ]
    await world.done("delivery", "publishBenefits", benefits=[benefit_input(**one) for one in withdrawn])


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    "asked",
    [
        {"first": 1, "last": 1}, {"first": -1}, {"last": -1}, {"first": 101}, {"last": 101},
        {"first": 1, "before": "x"}, {"last": 1, "after": "x"}, {"after": "x", "before": "x"}, {"before": "x"},
        {"first": 1, "after": "x"}, {"first": 1, "after": ""}, {"last": 1, "before": "é"},
    ],
)  # fmt: skip
async def test_arguments_that_contradict_are_bad_input(world: World, asked: dict[str, Any]) -> None:
    """`first` with `last`, a negative, more than a hundred, or what is no cursor, is BAD_USER_INPUT."""
    assert (await world.ask("video", CATALOG, **asked)).codes == ["BAD_USER_INPUT"]
    query = CATALOG.replace("{\n  benefits(", '{ partner(handle: "video") { benefits(') + " }"
    answer = await world.ask("video", query, **asked)
    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.body["data"] == {"partner": None}


@pytest.mark.parametrize(
    "listing",
    ["redemptions(first: %s) { nodes { id } }", "periods(first: %s) { nodes { id } }",
     "period(number: 1) { statements(first: %s) { nodes { id } } }"],
)  # fmt: skip
async def test_every_list_has_the_same_bounds(world: World, listing: str) -> None:
    """0 to 100 rows, in every list."""
    for first, codes in (("-1", ["BAD_USER_INPUT"]), ("101", ["BAD_USER_INPUT"]), ("0", []), ("100", []), ("null", [])):
        assert (await world.ask("viewer", f"{{ {listing % first} }}")).codes == codes


async def test_twenty_rows_unless_asked_otherwise(world: World, shelf: list[str]) -> None:
    """20 by default, and null is as good as absent; 0 rows tell whether there are any."""
    for asked in ({}, {"first": None, "last": None, "after": None, "before": None}):
        page = await world.read("rides", CATALOG, f={"category": "MUSIC"}, **asked)
        assert len(page["nodes"]) == 20
        assert page["pageInfo"]["hasNextPage"]
    none = await world.read("rides", CATALOG, f={"category": "MUSIC"}, first=0)
    info = {"hasNextPage": True, "hasPreviousPage": False, "startCursor": None, "endCursor": None}
    assert (none["nodes"], none["pageInfo"]) == ([], info)
    empty = await world.read("rides", CATALOG, f={"category": "GAMING"})
    assert (empty["totalCount"], empty["nodes"], empty["pageInfo"]) == (0, [], {**info, "hasNextPage": False})


async def test_a_cursor_belongs_to_its_list_and_order(world: World, shelf: list[str]) -> None:
    """A cursor of another order or of another list is BAD_USER_INPUT."""
    await world.award("video", "anna", 10)
    await world.redeem("anna@video", await world.publish("rides", 1))
    cursors = {sort: (await world.read("rides", CATALOG, s=sort, first=1))["pageInfo"]["endCursor"] for sort in SORTS}
    listing = f"query($after: String) {{ redemptions(first: 1, after: $after) {{ {PAGE} }} }}"
    cursors["redemptions"] = (await world.read("rides", listing))["pageInfo"]["endCursor"]
    assert len({*cursors.values()}) == 4
    for name, cursor in cursors.items():
        for sort in SORTS:
            answer = await world.ask("rides", CATALOG, s=sort, first=1, after=cursor)
            assert answer.codes == ([] if sort == name else ["BAD_USER_INPUT"])
        codes = (await world.ask("rides", listing, after=cursor)).codes
        assert codes == ([] if name == "redemptions" else ["BAD_USER_INPUT"])


async def test_cursors_tell_nothing(world: World, shelf: list[str]) -> None:
    """A cursor shows neither the SKU nor the price that it stands for."""
    page = await world.read("rides", CATALOG, s="POINTS_PRICE", first=3)
    for edge in page["edges"]:
        assert edge["node"]["sku"] not in edge["cursor"]
        assert len({edge["cursor"] for edge in page["edges"]}) == 3


# ---------------------------------------------------------------- redeemableOnly


async def test_redeemable_only_pages_through_what_can_be_had(world: World) -> None:
    """`redeemableOnly` fills its pages with what the viewer can redeem; `totalCount` counts all the same."""
    member = world.fresh("member")
    await world.award("video", member, 150)
    tag = world.fresh("tag")
    contents = [benefit_input(100 if n % 5 == 0 else 200, sku=f"{tag}-{n:03}", tags=[tag]) for n in range(230)]
    await world.done("rides", "publishBenefits", benefits=contents)
    can = [f"{tag}-{n:03}" for n in range(0, 230, 5)]

    async def read(**asked: Any) -> Payload:
        chosen = {"tags": [tag], "redeemableOnly": True}
        page: Payload = await world.read(f"{member}@video", CATALOG, f=chosen, s="NEWEST", **asked)
        assert page["totalCount"] == 230
        return page

    for size in (10, 46, 47):
        assert sorted(await walk(read, size=size)) == can
        assert sorted(await walk(read, size=size, backwards=True)) == can
    poor = f"{world.fresh('member')}@video"
    page = await world.read(poor, CATALOG, f={"tags": [tag], "redeemableOnly": True})
    assert (page["nodes"], page["totalCount"], page["pageInfo"]["hasNextPage"]) == ([], 230, False)


async def test_a_page_that_looked_at_enough_leads_on(world: World) -> None:
    """After a thousand benefits that cannot be had the page ends, even empty, and its cursor goes on behind them."""
    member = world.fresh("member")
    await world.award("video", member, 150)
    tag = world.fresh("tag")
    for start in (0, 550):
        contents = [
            benefit_input(200 if n < 1_098 else 100, sku=f"{tag}-{n:04}", tags=[tag], regions=["DE"])
            for n in range(start, start + 550)
        ]
        await world.done("rides", "publishBenefits", benefits=contents)
    who = await world.token(f"{member}@video", region="DE")
    for forwards in (True, False):
        rows, pages, cursor = [], 0, None
        while True:
            asked = {"first": 5, "after": cursor} if forwards else {"last": 5, "before": cursor}
            sort = "ENDING_SOON" if forwards else "NEWEST"
            page = await world.read(who, CATALOG, f={"tags": [tag], "redeemableOnly": True}, s=sort, **asked)
            rows += [node["sku"] for node in page["nodes"]]
            pages += 1
            info = page["pageInfo"]
            if not info["hasNextPage" if forwards else "hasPreviousPage"]:
                break
            assert pages < 5, "it never ends"
            cursor = info["endCursor" if forwards else "startCursor"]
        assert sorted(rows) == [f"{tag}-1098", f"{tag}-1099"]
        assert pages == 2


# ---------------------------------------------------------------- the other lists


async def test_lots_walk_in_the_order_of_award(world: World) -> None:
    """A wallet's lots come in the order of award, each once, also for a partner that sees some of them."""
    member = world.fresh("member")
    await world.award("video", member, 1)
    await world.link(f"{member}@video", "rides")
    lots = [(await world.award("rides" if n % 3 else "video", member, n + 1))["lot"] for n in range(11)]
    query = """query($r: String!, $first: Int, $after: String) {
      member(by: {reference: $r}) { wallet { lots(first: $first, after: $after) { %s } } } }"""

    async def read(who: str, **asked: Any) -> Payload:
        page: Payload = (await world.read(who, query % PAGE, r=member, **asked))["wallet"]["lots"]
        return page

    assert len(await walk(lambda **asked: read(f"{member}@video", **asked), size=2)) == 12
    for size in (1, 3, 7):
        seen = await walk(lambda **asked: read("rides", **asked), size=size)
        assert seen == [lot["id"] for n, lot in enumerate(lots) if n % 3]


async def test_a_cursor_of_another_wallet_is_refused(world: World) -> None:
    """A lot's cursor means nothing in another wallet."""
    query = """query($r: String!, $after: String) {
      member(by: {reference: $r}) { wallet { lots(first: 1, after: $after) { nodes { id } pageInfo { endCursor } } } }
    }"""
    for member in ("karl", "lisa"):
        await world.award("video", member, 1)
    cursor = (await world.read("video", query, r="karl"))["wallet"]["lots"]["pageInfo"]["endCursor"]
    assert (await world.read("video", query, r="karl", after=cursor))["wallet"]["lots"]["nodes"] == []
    assert (await world.ask("video", query, r="lisa", after=cursor)).codes == ["BAD_USER_INPUT"]


async def test_redemptions_walk_from_the_newest(world: World) -> None:
    """Redemptions, many at the same moment, come newest first and each once, whoever lists them."""
    member = world.fresh("member")
    await world.award("video", member, 100)
    ride = await world.publish("rides", 1)
    made = await asyncio.gather(*(world.redeem(f"{member}@video", ride) for _ in range(23)))
    query = f"""query($r: String!, $first: Int, $after: String) {{
      member(by: {{reference: $r}}) {{ redemptions(first: $first, after: $after) {{ {PAGE} }} }} }}"""

    async def read(**asked: Any) -> Payload:
        page: Payload = (await world.read("video", query, r=member, **asked))["redemptions"]
        return page

    rows = await walk(read, size=4)
    assert sorted(rows) == sorted(one["id"] for one in made)
    at = {one["id"]: one["createdAt"] for one in made}
    assert [at[row] for row in rows] == sorted(at.values(), reverse=True)
