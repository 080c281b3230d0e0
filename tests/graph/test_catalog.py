"""Publishing, finding, and whether one can have it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.graph.speech import Payload, World, at, benefit_input, refusal

LIST = """query($f: BenefitFilter, $s: BenefitSort, $first: Int, $after: String) {
  benefits(filter: $f, sort: $s, first: $first, after: $after) { totalCount nodes { sku pointsPrice } } }"""


async def found(world: World, who: str = "video", sort: str | None = None, **chosen: Any) -> list[str]:
    """Return the SKUs that a filter finds, in their order; the count must agree."""
    page = await world.read(who, LIST, f=chosen, s=sort, first=100)
    if not chosen.get("redeemableOnly"):
        assert page["totalCount"] == len(page["nodes"])
    return [node["sku"] for node in page["nodes"]]


# ---------------------------------------------------------------- publishing


async def test_what_is_published_is_what_is_shown(world: World) -> None:
    """Every field of a benefit comes back as it was said; creation is version 1."""
    said = {
        "sku": "full-1", "category": "VIDEO", "title": "A month", "description": "of films", "terms": "none",
        "imageUrl": "https://video.test/1.png", "redeemInstructions": "open the app", "pointsPrice": "1200",
        "faceValue": {"amount": "12.50", "currency": "EUR"}, "validFrom": "2020-01-01T00:00:00.000Z",
        "validUntil": "2999-12-31T23:59:59.999Z", "regions": ["DE", "AT"], "tags": ["film", "month"],
        "fulfilment": "PARTNER_CALL", "status": "PAUSED",
    }  # fmt: skip
    payload = await world.done("video", "publishBenefits", benefits=[said])
    (benefit,) = payload["benefits"]
    partner = {"id": world.ids["video"], "handle": "video"}
    assert benefit == {**said, "id": benefit["id"], "partner": partner, "version": 1}
    assert (payload["created"], payload["updated"], payload["unchanged"]) == (1, 0, 0)


async def test_what_is_not_said_has_its_default(world: World) -> None:
    """A benefit needs a SKU, a category, a title and a price; it is published and needs nothing to be fulfilled."""
    benefit = await world.publish("video", sku="bare-1", price=7)
    silent = ("description", "imageUrl", "terms", "redeemInstructions", "faceValue", "validFrom", "validUntil")
    assert {benefit[name] for name in silent} == {None}
    assert (benefit["regions"], benefit["tags"]) == ([], [])
    assert (benefit["status"], benefit["fulfilment"], benefit["pointsPrice"]) == ("PUBLISHED", "NONE", "7")


async def test_publishing_again_changes_counts_or_does_nothing(world: World) -> None:
    """A changed content is one version more, the same content none; the answer keeps the order given."""
    skus = [world.fresh("again") for _ in range(3)]
    first = [benefit_input(sku=sku) for sku in skus[:2]]
    await world.done("video", "publishBenefits", benefits=first)
    second = [first[0], benefit_input(sku=skus[1], title="Something better"), benefit_input(sku=skus[2])]
    payload = await world.done("video", "publishBenefits", benefits=second)
    assert (payload["created"], payload["updated"], payload["unchanged"]) == (1, 1, 1)
    assert [(one["sku"], one["version"]) for one in payload["benefits"]] == list(zip(skus, [1, 2, 1], strict=True))
    spelled = [{**one, "status": "PUBLISHED", "fulfilment": "NONE", "tags": [], "stock": None} for one in second]
    payload = await world.done("video", "publishBenefits", benefits=spelled)
    assert payload["unchanged"] == 3


async def test_a_refused_feed_publishes_nothing(world: World) -> None:
    """All or nothing: what contradicts the catalog at the end leaves nothing of the beginning."""
    there = await world.publish("video")
    fresh = world.fresh("nothing")
    for conflict in ({"expectedVersion": 9}, {"fulfilment": "PARTNER_CALL"}):
        payload = await world.do(
            "video", "publishBenefits", benefits=[benefit_input(sku=fresh), benefit_input(sku=there["sku"], **conflict)]
        )
        assert payload["path"][:3] == ["input", "benefits", "1"]
        query = 'query($s: String!) { benefit(by: {key: {partner: "video", sku: $s}}) { id } }'
        assert await world.read("video", query, s=fresh) is None


async def test_an_expected_version_lets_one_of_two_changes_pass(world: World) -> None:
    """Of changes at once that expect the same version one wins, the others conflict; so does creation."""
    sku = world.fresh("race")
    for expected in (0, 1):
        attempts = await asyncio.gather(
            *(
                world.do("video", "publishBenefits", benefits=[
                    benefit_input(sku=sku, title=f"{expected} {n}", expectedVersion=expected)])
                for n in range(6)
            )
        )  # fmt: skip
        names = sorted(one["__typename"] for one in attempts)
        assert names == ["PublishBenefitsSuccess", *["VersionConflict"] * 5]
        assert {one["currentVersion"] for one in attempts if "currentVersion" in one} == {expected + 1}


async def test_publishing_the_same_sku_at_once_creates_it_once(world: World) -> None:
    """Ten feeds with the same new SKU make one benefit; each change counts one version."""
    sku = world.fresh("race")
    attempts = await asyncio.gather(
        *(world.done("video", "publishBenefits", benefits=[benefit_input(sku=sku, title=f"{n}")]) for n in range(10))
    )
    assert sum(one["created"] for one in attempts) == 1
    assert sorted(one["benefits"][0]["version"] for one in attempts) == list(range(1, 11))


async def test_selling_does_not_change_the_version(world: World) -> None:
    """A redemption leaves the benefit as it is; only what is left changes."""
    await world.award("video", "anna", 100)
    ride = await world.publish("rides", 10, stock=3)
    await world.redeem("anna@video", ride, quantity=2)
    (now,) = (await world.done("rides", "publishBenefits", benefits=[benefit_input(10, sku=ride["sku"], stock=3)]))[
        "benefits"
    ]
    assert now["version"] == 1
    assert (await world.availability("rides", ride))["remaining"] == 1


async def test_stock_can_be_raised_and_lifted(world: World) -> None:
    """`stock` is what was ever offered: raising it adds, null lifts the limit, and what was sold stays counted."""
    await world.award("video", "anna", 100)
    ride = await world.publish("rides", 10, stock=2)
    await world.redeem("anna@video", ride, quantity=2)
    for stock, remaining in ((5, 3), (None, None), (2, 0)):
        await world.done("rides", "publishBenefits", benefits=[benefit_input(10, sku=ride["sku"], stock=stock)])
        assert (await world.availability("rides", ride))["remaining"] == remaining


async def test_two_partners_may_use_the_same_sku(world: World) -> None:
    """A SKU is its partner's own."""
    ids = {(await world.publish(partner, sku="shared"))["id"] for partner in ("video", "rides", "delivery")}
    assert len(ids) == 3


async def test_codes_are_loaded_once(world: World) -> None:
    """A code that was loaded before, or stands there twice, is a duplicate; what remains is what can be handed out."""
    pool = await world.publish("rides", 10, fulfilment="INSTANT_CODE")
    load = [("a", "b"), ("b", "c", "c")]
    counts = [(2, 0, 2), (1, 2, 3)]
    for codes, expected in zip(load, counts, strict=True):
        payload = await world.done("rides", "addCodes", sku=pool["sku"], codes=list(codes))
        assert (payload["added"], payload["duplicates"], payload["remaining"]) == expected
    await world.award("video", "anna", 100)
    assert (await world.redeem("anna@video", pool, quantity=2))["codes"] == ["a", "b"]
    payload = await world.done("rides", "addCodes", sku=pool["sku"], codes=["a"])
    assert (payload["added"], payload["duplicates"], payload["remaining"]) == (0, 1, 1)


async def test_loading_the_same_codes_at_once_loads_each_once(world: World) -> None:
    """Overlapping loads at the same time add up to the number of different codes."""
    pool = await world.publish("rides", fulfilment="INSTANT_CODE")
    loads = [[f"c{n}" for n in range(start, start + 20)] for start in range(0, 50, 10)]
    payloads = await asyncio.gather(*(world.done("rides", "addCodes", sku=pool["sku"], codes=one) for one in loads))
    assert sum(one["added"] for one in payloads) == 60
    assert (await world.availability("rides", pool))["remaining"] == 60


# ---------------------------------------------------------------- finding


@pytest.fixture(scope="module")
async def shop(exchange: World) -> str:
    """Publish a partner of its own, whose whole catalog is known."""
    await exchange.onboard("books")
    benefits: list[Payload] = [
        {"sku": "a", "price": 300, "title": "Free delivery for a month", "category": "DELIVERY",
         "tags": ["free", "month"]},
        {"sku": "b", "price": 100, "title": "Delivery of books", "category": "READING", "regions": ["DE"],
         "tags": ["free"], "validUntil": "2999-01-01T00:00:00Z"},
        {"sku": "c", "price": 200, "title": "Café crème", "description": "with a free croissant", "category": "FOOD",
         "regions": ["AT", "DE"], "validUntil": "2998-01-01T00:00:00Z"},
        {"sku": "d", "price": 100, "title": "Hörbuch", "category": "READING", "status": "DRAFT",
         "translations": [{"locale": "en", "title": "Audio book"}]},
        {"sku": "e", "price": 400, "title": "Nothing-else", "category": "OTHER", "status": "PAUSED", "stock": 0},
    ]  # fmt: skip
    for benefit in benefits:
        await exchange.publish("books", benefit.pop("price"), **benefit)
        await asyncio.sleep(0.002)  # `created_at` has milliseconds
    return exchange.ids["books"]


async def test_filters_restrict_and_combine(world: World, shop: str) -> None:
    """Each condition of the filter restricts, and all of them must hold."""
    for chosen, skus in (
        ({}, "cba"), ({"category": "READING"}, "b"), ({"region": "DE"}, "cba"), ({"region": "AT"}, "ca"),
        ({"region": "FR"}, "a"), ({"pointsPriceMax": "200"}, "cb"), ({"pointsPriceMax": 99}, ""),
        ({"tags": ["free"]}, "ba"), ({"tags": ["free", "month"]}, "a"), ({"tags": []}, "cba"),
        ({"status": ["PUBLISHED"]}, "cba"), ({"status": ["DRAFT", "PAUSED"]}, ""), ({"status": []}, ""),
        ({"search": "free", "region": "FR"}, "a"), ({"category": "READING", "pointsPriceMax": "99"}, ""),
        ({"category": None, "region": None, "tags": None, "search": None}, "cba"),
    ):  # fmt: skip
        assert await found(world, partner=shop, **chosen) == list(skus), chosen


async def test_an_owner_filters_its_own_by_status(world: World, shop: str) -> None:
    """The owner sees what is not published as well, in its list, by filter and through its partner."""
    for chosen, skus in (({}, "edcba"), ({"status": ["DRAFT", "PAUSED"]}, "ed"), ({"search": "audio"}, "d")):
        assert await found(world, "books", partner=shop, **chosen) == list(skus)
    query = "query($f: BenefitFilter) { viewer { partner { benefits(filter: $f) { totalCount nodes { sku } } } } }"
    own = (await world.read("books", query, f={"pointsPriceMax": "100"}))["partner"]["benefits"]
    assert own == {"totalCount": 2, "nodes": [{"sku": "d"}, {"sku": "b"}]}


async def test_a_partners_list_is_its_own(world: World, shop: str) -> None:
    """`Partner.benefits` is restricted to the partner, whatever partner the filter names."""
    query = 'query($p: ID) { partner(handle: "books") { benefits(filter: {partner: $p}) { totalCount } } }'
    for partner, count in ((shop, 3), (world.ids["rides"], 0), ("bm9uZQ", 0), (None, 3)):
        assert (await world.read("video", query, p=partner))["benefits"]["totalCount"] == count
    assert await found(world, partner="bm9uZQ") == []


async def test_sorts_order_the_list(world: World, shop: str) -> None:
    """POINTS_PRICE ascends, NEWEST is the default, ENDING_SOON puts open ends last, RELEVANCE the best match first."""
    assert await found(world, sort="NEWEST", partner=shop) == list("cba")
    assert (await found(world, sort="POINTS_PRICE", partner=shop)) == list("bca")
    assert (await found(world, sort="ENDING_SOON", partner=shop)) == list("cba")
    assert (await found(world, sort="RELEVANCE", partner=shop, search="free")) == list("abc")
    prices = [
        int(node["pointsPrice"]) for node in (await world.read("books", LIST, s="POINTS_PRICE", first=100))["nodes"]
    ]
    assert prices == sorted(prices)


async def test_relevance_needs_a_search(world: World) -> None:
    """RELEVANCE without `search` is BAD_USER_INPUT."""
    assert (await world.ask("video", LIST, s="RELEVANCE")).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize(
    ("words", "skus"),
    [
        ("delivery", "ba"),
        ("DELIVERY", "ba"),
        ("delivery books", "b"),
        ("books delivery", "b"),
        ("free delivery", "ba"),
        ("free", "cba"),
        ("delivery croissant", ""),
        ("cafe creme", "c"),
        ("-delivery", "ba"),
        ("books -delivery", "b"),
        ('"of books"', "b"),
        ('"books of"', "b"),
        ('free "delivery', "ba"),
        ("free\\ delivery", "ba"),
        ("month\\", "a"),
        ("delivery for a month", "a"),
        ("nothing", ""),
        ("$where", ""),
        ("{$ne: 1}", ""),
        ("free, delivery!", "ba"),
        ("nothing\x00", ""),
        ("free\tdelivery\n", "ba"),
    ],
)
async def test_a_search_finds_all_words_and_knows_no_operators(world: World, shop: str, words: str, skus: str) -> None:
    """Words in any order and case must all be there; quotes, minus and whatever a member types are no operators."""
    assert await found(world, partner=shop, search=words) == list(skus)


@pytest.mark.parametrize("words", ["", " ", '"', "-", ' "- "', "!?", "\x00", "x" * 201])
async def test_a_search_has_words(world: World, words: str) -> None:
    """Nothing to search for, or far too much, is BAD_USER_INPUT."""
    assert (await world.ask("video", LIST, f={"search": words})).codes == ["BAD_USER_INPUT"]


async def test_words_come_in_the_closest_language(world: World) -> None:
    """`locale` is looked up from the most to the least special (RFC 4647); else the original is shown."""
    ride = await world.publish(
        "rides", title="Ride", description="Good", translations=[
            {"locale": "de", "title": "Fahrt", "description": "Gut"}, {"locale": "de-AT", "title": "Foahrt"},
            {"locale": "pt-BR", "title": "Viagem"},
        ],
    )  # fmt: skip
    query = "query($id: ID!, $l: String) { benefit(by: {id: $id}) { title(locale: $l) description(locale: $l) } }"
    long = "de" + "-a" * 400_000
    for locale, title, description in (
        (None, "Ride", "Good"), ("", "Ride", "Good"), ("de", "Fahrt", "Gut"), ("DE-ch-1996", "Fahrt", "Gut"),
        ("de-at", "Foahrt", None), ("de-AT-x-wien", "Foahrt", None), ("pt", "Ride", "Good"), ("pt-BR", "Viagem", None),
        ("fr", "Ride", "Good"), ("not a tag", "Ride", "Good"), (long, "Ride", "Good"),
    ):  # fmt: skip
        assert await world.read("video", query, id=ride["id"], l=locale) == {"title": title, "description": description}


# ---------------------------------------------------------------- availability


async def agree_on(world: World, who: str, benefit: Payload, **more: Any) -> list[str]:
    """Return the reasons, which the catalog and the redemption must give alike, for one unit."""
    told = await world.availability(who, benefit)
    payload = await world.try_redeem(who, benefit, **more)
    assert told["redeemable"] == (not told["reasons"])
    if payload["__typename"] == "InsufficientPoints":
        assert told["reasons"] == ["INSUFFICIENT_POINTS"]
    elif payload["__typename"] == "RedeemBenefitSuccess":
        assert told["reasons"] == []
    else:
        assert payload["__typename"] == "BenefitUnavailable", payload
        assert set(payload["reasons"]) == set(told["reasons"]) - {"INSUFFICIENT_POINTS"}
    reasons: list[str] = told["reasons"]
    return reasons


async def test_nothing_in_the_way_is_redeemable(world: World) -> None:
    """What has no reason against it is redeemable, and is redeemed."""
    await world.award("video", "anna", 100)
    ride = await world.publish("rides", 10, stock=9, memberLimit=4)
    assert await world.availability("anna@video", ride) == {
        "redeemable": True, "remaining": 9, "memberRemaining": 4, "reasons": [],
    }  # fmt: skip
    assert await agree_on(world, "anna@video", ride) == []
    after = await world.availability("anna@video", ride)
    assert (after["remaining"], after["memberRemaining"]) == (8, 3)


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        ({"stock": 0}, ["OUT_OF_STOCK"]),
        ({"fulfilment": "INSTANT_CODE"}, ["OUT_OF_STOCK"]),
        ({"validFrom": "2999-01-01T00:00:00Z"}, ["NOT_STARTED"]),
        ({"validUntil": "2001-01-01T00:00:00Z"}, ["ENDED"]),
        ({"regions": ["FR"]}, ["REGION"]),
        ({"price": 101}, ["INSUFFICIENT_POINTS"]),
        ({"stock": 0, "regions": ["FR"], "validFrom": "2999-01-01T00:00:00Z", "price": 101},
         ["NOT_STARTED", "OUT_OF_STOCK", "REGION", "INSUFFICIENT_POINTS"]),
    ],
)  # fmt: skip
async def test_every_reason_is_told_and_the_redemption_says_the_same(
    world: World, content: Payload, reasons: list[str]
) -> None:
    """A benefit that cannot be had says every reason why, and redeeming it gives the same."""
    member = world.fresh("member")
    await world.award("video", member, 100)
    price = content.get("price", 10)
    ride = await world.publish("rides", price, **{k: v for k, v in content.items() if k != "price"})
    assert await agree_on(world, f"{member}@video", ride) == reasons


@pytest.mark.parametrize("status", ["DRAFT", "PAUSED", "RETIRED"])
async def test_what_is_not_published_says_so_to_its_owner(world: World, status: str) -> None:
    """NOT_PUBLISHED is told to the owner's server, by the catalog and by the redemption."""
    await world.award("video", "anna", 100)
    film = await world.publish("video", 10, status=status)
    assert (await world.availability("video", film))["reasons"] == ["NOT_PUBLISHED"]
    payload = await world.try_redeem("anna@video's server", film)
    path = ["input", "benefit"]
    assert refusal(payload, "BENEFIT_UNAVAILABLE", path, retryable=True, reasons=["NOT_PUBLISHED"])


async def test_a_region_opens_what_is_for_it(world: World) -> None:
    """A member in the region may have it; the region comes from its token, or from its partner's server."""
    await world.award("video", "anna", 100)
    ride = await world.publish("rides", 10, regions=["DE", "AT"])
    for region, reasons in (("DE", []), ("FR", ["REGION"]), (None, ["REGION"])):
        assert await agree_on(world, await world.token("anna@video", region=region), ride) == reasons
    member = await world.token("anna@video", region="FR")
    assert (await world.try_redeem(member, ride, region="DE"))["reasons"] == ["REGION"]
    assert (await world.try_redeem("anna@video's server", ride))["reasons"] == ["REGION"]
    assert (await world.try_redeem("anna@video's server", ride, region="FR"))["reasons"] == ["REGION"]
    assert await world.redeem("anna@video's server", ride, region="AT")


async def test_a_member_takes_no_more_than_its_limit(world: World) -> None:
    """MEMBER_LIMIT_REACHED once the units a member may ever take are taken, for this member alone."""
    for member in ("greta", "hugo"):
        await world.award("video", member, 100)
    ride = await world.publish("rides", 10, memberLimit=2)
    payload = await world.try_redeem("greta@video", ride, quantity=3)
    assert payload["reasons"] == ["MEMBER_LIMIT_REACHED"]
    assert await agree_on(world, "greta@video", ride) == []
    assert await agree_on(world, "greta@video", ride) == []
    assert await agree_on(world, "greta@video", ride) == ["MEMBER_LIMIT_REACHED"]
    assert (await world.availability("greta@video", ride))["memberRemaining"] == 0
    assert await agree_on(world, "hugo@video", ride) == []


async def test_points_without_an_agreement_are_not_eligible(world: World) -> None:
    """NOT_ELIGIBLE: there are points, but none that this provider takes."""
    stranger = await world.onboard(world.fresh("stranger"))
    await world.award(stranger, "ida", 100)
    assert await agree_on(world, f"ida@{stranger}", await world.publish("rides", 10)) == ["NOT_ELIGIBLE"]
    assert await agree_on(world, f"ida@{stranger}", await world.publish(stranger, 10)) == []


async def test_a_members_daily_limit_is_velocity(world: World) -> None:
    """VELOCITY: the points a day that the member allowed for this partner do not suffice."""
    await world.award("video", "jo", 100)
    await world.link("jo@video", "rides", daily_limit=30)
    ride = await world.publish("delivery", 20)
    assert await agree_on(world, "jo@rides", ride) == []
    assert await agree_on(world, "jo@rides", ride) == ["VELOCITY"]
    assert await agree_on(world, "jo@video", ride) == []


async def test_a_partners_server_is_told_the_benefits_own_reasons(world: World) -> None:
    """Without a member only what is true for everybody is told."""
    ride = await world.publish("rides", 10**9, regions=["FR"], memberLimit=1, stock=3)
    for who in ("video", "rides", "viewer"):
        assert await world.availability(who, ride) == {
            "redeemable": True, "remaining": 3, "memberRemaining": None, "reasons": [],
        }  # fmt: skip


async def test_a_window_opens_and_ends_by_itself(world: World) -> None:
    """From `validFrom` on, and not from `validUntil` on, a benefit can be had."""
    await world.award("video", "anna", 100)
    now = await world.services.now()
    soon = timedelta(milliseconds=400)
    opening = await world.publish("rides", 1, validFrom=at(now + soon))
    ending = await world.publish("rides", 1, validUntil=at(now + soon))
    assert await agree_on(world, "anna@video", opening) == ["NOT_STARTED"]
    assert await agree_on(world, "anna@video", ending) == []
    await asyncio.sleep(0.5)
    assert await agree_on(world, "anna@video", opening) == []
    assert await agree_on(world, "anna@video", ending) == ["ENDED"]


async def test_a_partners_members_see_no_more_than_everybody(world: World) -> None:
    """A draft is its partner's server's to see; a member in the partner's own app neither lists nor takes it."""
    draft = await world.publish("video", status="DRAFT")
    await world.award("video", "dora", 1_000)
    assert await world.read("dora@video", "{ benefits(filter: {status: [DRAFT]}) { totalCount } }") == {"totalCount": 0}
    found = await world.read("dora@video", "query ($id: ID!) { benefit(by: {id: $id}) { id } }", id=draft["id"])
    assert found is None
    assert refusal(await world.try_redeem("dora@video", draft), "NOT_FOUND", ["input", "benefit"])


async def test_more_tags_than_a_benefit_can_have_are_refused(world: World) -> None:
    """A filter of two hundred thousand tags costs nobody anything."""
    answer = await world.ask(
        "video", "query ($tags: [String!]) { benefits(filter: {tags: $tags}) { totalCount } }", tags=["a"] * 200_000
    )
    assert answer.codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("title", ["two\nlines", "nul\0", "\u202eback"])
async def test_a_title_shows_as_what_it_is(world: World, title: str) -> None:
    """Control characters and turned writing are refused; composed emoji and hard spaces are not."""
    payload = await world.do("video", "publishBenefits", benefits=[benefit_input(sku=world.fresh("sku"), title=title)])
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "0", "title"])
    await world.publish("video", title="Famille\u00a0: 👩\u200d👩\u200d👧")
