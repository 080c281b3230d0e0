"""What a token lets its bearer do, and that nobody can tell another's object from one that does not exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES, STAFF_SCOPES
from tests.graph.speech import Payload, World, benefit_input

NOTHING = "bm90aGluZw"
CALLERS = (
    [("video", scope) for scope in PARTNER_SCOPES]
    + [("anna@video", scope) for scope in MEMBER_SCOPES]
    + [("staff", scope) for scope in STAFF_SCOPES]
)

# ---------------------------------------------------------------- scopes

CATALOG = {
    *(("video", s) for s in ["benefits:read"]),
    ("anna@video", "benefits:read"),
    *(("staff", s) for s in STAFF_SCOPES),
}
MEMBERS = {("anna@video", "points:read"), ("video", "points:award"), ("video", "redemptions:redeem")}
REDEMPTIONS = {
    ("anna@video", "redemptions:read"), ("video", "redemptions:redeem"), ("video", "redemptions:fulfil"),
    ("staff", "finance:view"),
}  # fmt: skip
SETTLEMENT = {("video", "settlements:read"), ("staff", "finance:view")}
AGREEMENTS = SETTLEMENT | {("staff", "admin")}
FIXES = AGREEMENTS | {("staff", "finance:prepare")}

QUERIES = [
    ("{ benefits { totalCount } }", CATALOG),
    ('{ benefit(by: {id: "x"}) { id } }', CATALOG),
    ('{ benefit(by: {key: {partner: "rides", sku: "x"}}) { id } }', CATALOG),
    ('{ partner(handle: "rides") { name } }', CATALOG),
    ('{ member(by: {reference: "anna"}) { id } }', MEMBERS),
    ('{ member(by: {id: "x"}) { id } }', MEMBERS),
    ('{ redemption(id: "x") { id } }', REDEMPTIONS),
    ("{ redemptions { nodes { id } } }", REDEMPTIONS),
    ('{ redemptions(idempotencyKey: "x") { nodes { id } } }', REDEMPTIONS),
    ("{ period { number positions { net { amount } } } }", SETTLEMENT),
    ("{ periods { nodes { number } } }", SETTLEMENT),
    ('{ statement(id: "x") { id } }', SETTLEMENT),
    ('{ dispute(id: "x") { id } }', SETTLEMENT),
    ("{ disputes { nodes { id } } }", SETTLEMENT),
    ('{ export(id: "x") { id } }', SETTLEMENT),
    ("{ exports { nodes { id } } }", SETTLEMENT),
    ("{ liabilities { over } }", SETTLEMENT),
    ("{ periodCalendar { version } }", SETTLEMENT | {("staff", "admin")}),
    ("{ netting(period: 1) { hash } }", SETTLEMENT),
    ("{ netting(period: 1, policy: {}) { hash } }", {("staff", "finance:view")}),
    ("{ nettings { nodes { hash } } }", SETTLEMENT),
    ("{ barters { id } }", AGREEMENTS),
    ('{ barter(id: "none") { id } }', AGREEMENTS),
    ("{ nettingPolicy { version } }", {("staff", "admin"), ("staff", "finance:view")}),
    ('{ fix(id: "ecb-2023-12-08") { base } }', FIXES),
    ("{ fixes { nodes { id } } }", FIXES),
    ("{ duePayments { nodes { reference } } }", SETTLEMENT),
    ("{ bankFile(number: 1) { hash } }", {("staff", "finance:view")}),
    ("{ bankFiles { nodes { hash } } }", {("staff", "finance:view")}),
    ("{ paymentExceptions { nodes { id } } }", {("staff", "finance:view")}),
    ("{ agreements { id } }", AGREEMENTS),
    ("{ signOffPolicy { version } }", {("staff", "admin"), ("staff", "finance:view")}),
    (
        '{ simulateAgreement(input: {pricePer1000Points: {amount: "1", currency: "EUR"}}, period: 1) { repriced } }',
        {("staff", "admin"), ("staff", "finance:view")},
    ),
]

PRICE = {"amount": "8.00", "currency": "EUR"}
MUTATIONS: list[tuple[str, Payload, set[tuple[str, str]]]] = [
    ("publishBenefits", {"benefits": [benefit_input(sku="scopes")]}, {("video", "benefits:publish")}),
    ("addCodes", {"sku": "none", "codes": ["c"]}, {("video", "benefits:publish")}),
    (
        "awardPoints",
        {"member": {"reference": "anna"}, "points": "1", "idempotencyKey": "scopes"},
        {("video", "points:award")},
    ),
    ("linkMember", {"code": "none", "reference": "anna"}, {("video", "points:award")}),
    ("createLinkCode", {"partner": NOTHING}, {("anna@video", "points:redeem")}),
    ("unlinkPartner", {"partner": NOTHING}, {("anna@video", "points:redeem")}),
    (
        "redeemBenefit",
        {"benefit": NOTHING, "member": {"reference": "anna"}, "idempotencyKey": "scopes"},
        {("video", "redemptions:redeem"), ("anna@video", "points:redeem")},
    ),
    ("setAgreement", {"pricePer1000Points": PRICE, "effectiveFrom": "2090-01-01T00:00:00Z"}, {("staff", "admin")}),
    ("closePeriod", {"number": 99}, {("staff", "finance:prepare")}),
    *(
        (mutation, {"statement": NOTHING, "hash": "none", "note": "none", "idempotencyKey": "scopes"}, enough)
        for mutation, enough in {
            "reviewStatement": {("staff", "finance:prepare")},
            "approveStatement": {("staff", "finance:approve")},
            "rejectStatement": {("staff", "finance:approve"), ("staff", "finance:prepare")},
            "instructStatement": {("staff", "finance:prepare")},
            "reconcileStatement": {("staff", "finance:approve"), ("staff", "finance:prepare")},
        }.items()
    ),
    (
        "recordPayment",
        {"statement": NOTHING, "hash": "none", "amount": PRICE, "reference": "none", "idempotencyKey": "scopes"},
        {("staff", "finance:prepare")},
    ),
    (
        "openDispute",
        {
            "statement": NOTHING,
            "entry": NOTHING,
            "reason": "OTHER",
            "amount": PRICE,
            "text": "none",
            "idempotencyKey": "scopes",
        },
        {("video", "settlements:read")},
    ),
    *(
        (
            f"{mutation}Dispute",
            {"dispute": NOTHING, "text": "none", "idempotencyKey": "scopes"},
            {("video", "settlements:read")},
        )
        for mutation in ("answer", "withdraw", "concede")
    ),
    (
        "resolveDispute",
        {"dispute": NOTHING, "text": "none", "upheld": True, "idempotencyKey": "scopes"},
        {("staff", "finance:approve")},
    ),
    ("exportStatement", {"statement": NOTHING, "format": "CSV"}, SETTLEMENT),
    ("uploadBankFile", {"content": "date,amount,currency"}, {("staff", "finance:prepare")}),
    ("resolvePaymentException", {"exception": "1-1", "reason": "none"}, {("staff", "finance:prepare")}),
    ("recordBankFilePayments", {"file": 99, "hash": "none"}, {("staff", "finance:prepare")}),
    (
        "reconcileBankFile",
        {"file": 99, "hash": "none"},
        {("staff", "finance:approve"), ("staff", "finance:prepare")},
    ),
    ("reconcileUsage", {"statement": NOTHING, "content": "none"}, SETTLEMENT),
    ("setSignOffPolicy", {"tiers": []}, {("staff", "admin")}),
    ("setPeriodCalendar", {"every": "NEVER"}, {("staff", "admin")}),
    ("recordNetting", {"period": 99, "idempotencyKey": "scopes"}, {("staff", "finance:prepare")}),
    ("setNettingPolicy", {}, {("staff", "admin")}),
    (
        "addBarter",
        {
            "one": {"partner": NOTHING, "quota": PRICE},
            "other": {"partner": NOTHING, "quota": PRICE},
            "until": "2090-01-01T00:00:00Z",
        },
        {("staff", "admin")},
    ),
    ("endBarter", {"barter": NOTHING}, {("staff", "admin")}),
    ("importFixes", {"content": "none"}, {("staff", "finance:prepare"), ("staff", "admin")}),
    ("setExposureCap", {"partner": NOTHING, "currency": "EUR"}, {("staff", "admin")}),
    (
        "recordFunding",
        {"partner": NOTHING, "amount": PRICE, "reference": "none", "idempotencyKey": "scopes"},
        {("staff", "finance:prepare"), ("staff", "admin")},
    ),
]


@pytest.mark.parametrize(("query", "enough"), QUERIES, ids=[query for query, _ in QUERIES])
async def test_a_query_field_without_its_scope_is_forbidden_and_null(
    world: World, query: str, enough: set[tuple[str, str]]
) -> None:
    """Of all scopes exactly those of the contract's table open the field; any other makes it FORBIDDEN and null."""
    for who, scope in CALLERS:
        answer = await world.ask(await world.token(who, scope), query)
        if (who, scope) in enough:
            assert answer.codes == [], (who, scope)
            assert answer.body["data"] is not None
        else:
            assert answer.codes == ["FORBIDDEN"], (who, scope)
            assert answer.status == 200
            assert not any((answer.body["data"] or {}).values())


@pytest.mark.parametrize(("mutation", "given", "enough"), MUTATIONS, ids=[name for name, _, _ in MUTATIONS])
async def test_a_mutation_without_its_scope_answers_forbidden(
    world: World, mutation: str, given: Payload, enough: set[tuple[str, str]]
) -> None:
    """Of all scopes exactly those of the contract's table allow it; any other is Forbidden, naming one that would."""
    for who, scope in CALLERS:
        payload = await world.do(await world.token(who, scope), mutation, **given)
        required = payload.get("requiredScope")
        if (who, scope) in enough:
            assert required is None, (who, scope)
        else:
            assert payload["code"] == "FORBIDDEN", (who, scope)
            assert required in {one for _, one in enough}
            assert required in payload["message"]


async def test_a_wallet_needs_its_scope_wherever_it_is_found(world: World) -> None:
    """`Member.wallet` through the viewer, without points:read, is FORBIDDEN and null; with it, it is shown."""
    await world.award("video", "anna", 1)
    for scope, codes in (("benefits:read", ["FORBIDDEN"]), ("points:read", [])):
        answer = await world.ask(await world.token("anna@video", scope), "{ viewer { member { wallet { balance } } } }")
        assert answer.codes == codes
        assert (answer.body["data"]["viewer"]["member"]["wallet"] is None) == bool(codes)


async def test_the_viewer_knows_who_it_is_and_what_it_may(world: World) -> None:
    """`viewer` tells partner, member and scopes to whoever has a token."""
    query = "{ viewer { partner { handle } member { reference } scopes } }"
    assert await world.read("video", query) == {
        "partner": {"handle": "video"}, "member": None, "scopes": sorted(PARTNER_SCOPES),
    }  # fmt: skip
    assert await world.read(await world.token("anna@video", "points:read benefits:read"), query) == {
        "partner": {"handle": "video"}, "member": {"reference": "anna"}, "scopes": ["benefits:read", "points:read"],
    }  # fmt: skip
    assert await world.read("viewer", query) == {"partner": None, "member": None, "scopes": ["finance:view"]}


# ---------------------------------------------------------------- what there is to find


@dataclass
class Scene:
    """Ids of what anna has, as those to whom it belongs see them."""

    draft: Payload
    redemption: str
    member: str
    lot: str
    member_of_rides: str
    lot_of_rides: str
    statement: str
    agreement: str
    export: str
    key: str = "annas-key"


@pytest.fixture(scope="module")
async def scene(exchange: World) -> Scene:
    """Let anna, a member of video, linked to rides, spend the points of both on a benefit of rides."""
    await exchange.award("video", "anna-of-the-scene", 300)
    await exchange.link("anna-of-the-scene@video", "rides", "r-anna")
    await exchange.award("rides", "r-anna", 50)
    await exchange.award("video", "bob", 300)
    await exchange.award("delivery", "dora", 300)
    ride = await exchange.publish("rides", 100)
    redemption = await exchange.redeem("anna-of-the-scene@video's server", ride, idempotencyKey=Scene.key)
    closed = await exchange.done("preparer", "closePeriod", number=1)
    query = "{ period(number: 1) { statements { nodes { id } } } }"
    (statement,) = (await exchange.read("rides", query))["statements"]["nodes"]
    assert closed["period"]["status"] == "CLOSED"
    export = await exchange.done("rides", "exportStatement", statement=statement["id"], format="CSV")
    seen = {
        partner: await exchange.member(partner, name)
        for partner, name in (("video", "anna-of-the-scene"), ("rides", "r-anna"))
    }
    agreed = await exchange.read(
        "rides",
        "query($i: ID, $p: ID) { agreements(issuer: $i, provider: $p) { id } }",
        i=exchange.ids["video"],
        p=exchange.ids["rides"],
    )
    return Scene(
        draft=await exchange.publish("rides", status="DRAFT"), redemption=redemption["id"],
        member=seen["video"]["id"], lot=seen["video"]["wallet"]["lots"]["nodes"][0]["id"],
        member_of_rides=seen["rides"]["id"], lot_of_rides=seen["rides"]["wallet"]["lots"]["nodes"][0]["id"],
        statement=statement["id"], agreement=agreed[0]["id"], export=export["id"],
    )  # fmt: skip


def absent(world: World, kind: str, audience: str) -> list[str]:
    """Return ids of nothing: one that was never made, and one well made of an object that does not exist."""
    identity = {"Period": "77", "Statement": "1:nobody"}.get(kind, "nobody")
    return [NOTHING, world.services.keyring.seal(f"{kind}:{identity}", audience)]


async def tells_nothing(world: World, who: str, document: str, hidden: str, absent: list[str], **more: Any) -> None:
    """Check that the answer about `hidden` is, whole, the answer about what is absent."""
    about_hidden = await world.ask(who, document, id=hidden, **more)
    assert hidden not in about_hidden.told[1]
    for nothing in absent:
        assert about_hidden.told == (await world.ask(who, document, id=nothing, **more)).told


ANNA, R_ANNA = "anna-of-the-scene@video", "r-anna@rides"
OTHERS = ["delivery", "bob@video", "dora@delivery"]
STAFF = ["viewer", "admin"]
STRANGERS = {
    "draft": ("Benefit", "", ["video", *OTHERS, *STAFF]),
    "redemption": ("Redemption", "", [*OTHERS, "admin"]),
    "member": ("Member", "partner:video", ["rides", R_ANNA, *OTHERS, *STAFF]),
    "lot": ("Lot", "partner:video", ["rides", R_ANNA, *OTHERS, *STAFF]),
    "member_of_rides": ("Member", "partner:rides", ["video", ANNA, *OTHERS]),
    "lot_of_rides": ("Lot", "partner:rides", ["video", ANNA, *OTHERS]),
    "statement": ("Statement", "", ["video", ANNA, *OTHERS, "admin"]),
    "agreement": ("Agreement", "", OTHERS),
    "export": ("Export", "", ["video", ANNA, *OTHERS, "admin"]),
}


@pytest.mark.parametrize("name", STRANGERS)
async def test_anothers_object_is_no_node(world: World, scene: Scene, name: str) -> None:
    """Through `node` and `nodes` another's object answers, in data, status and text, as one that does not exist."""
    kind, audience, strangers = STRANGERS[name]
    hidden = scene.draft["id"] if name == "draft" else getattr(scene, name)
    for who in strangers:
        nothing = absent(world, kind, audience)
        await tells_nothing(world, who, "query($id: ID!) { node(id: $id) { __typename id } }", hidden, nothing)
        await tells_nothing(world, who, "query($id: ID!) { nodes(ids: [$id]) { __typename id } }", hidden, nothing)
        assert await world.read(who, "query($id: ID!) { node(id: $id) { id } }", id=hidden) is None


OWN_FIELDS = {
    "draft": "query($id: ID!) { benefit(by: {id: $id}) { sku } }",
    "redemption": "query($id: ID!) { redemption(id: $id) { status } }",
    "member": "query($id: ID!) { member(by: {id: $id}) { reference } }",
    "member_of_rides": "query($id: ID!) { member(by: {id: $id}) { reference } }",
    "statement": "query($id: ID!) { statement(id: $id) { hash } }",
    "export": "query($id: ID!) { export(id: $id) { status } }",
}


@pytest.mark.parametrize(("name", "document"), OWN_FIELDS.items(), ids=OWN_FIELDS)
async def test_anothers_object_is_not_found_by_its_own_field(
    world: World, scene: Scene, name: str, document: str
) -> None:
    """Through the field of its type another's object answers as one that does not exist."""
    kind, audience, strangers = STRANGERS[name]
    hidden = scene.draft["id"] if name == "draft" else getattr(scene, name)
    for who in strangers:
        await tells_nothing(world, who, document, hidden, absent(world, kind, audience))


async def test_those_to_whom_it_belongs_see_it(world: World, scene: Scene) -> None:
    """The same ids, asked by their owners, are what they are of."""
    query = "query($id: ID!) { node(id: $id) { __typename id } }"
    for who, identity, kind in (
        ("rides", scene.draft["id"], "Benefit"), ("video", scene.redemption, "Redemption"),
        ("rides", scene.redemption, "Redemption"), ("viewer", scene.redemption, "Redemption"),
        ("anna-of-the-scene@video", scene.redemption, "Redemption"), ("r-anna@rides", scene.redemption, "Redemption"),
        ("video", scene.member, "Member"), ("anna-of-the-scene@video", scene.member, "Member"),
        ("rides", scene.member_of_rides, "Member"), ("r-anna@rides", scene.member_of_rides, "Member"),
        ("video", scene.lot, "Lot"), ("anna-of-the-scene@video", scene.lot, "Lot"),
        ("rides", scene.lot_of_rides, "Lot"), ("r-anna@rides", scene.lot_of_rides, "Lot"),
        ("rides", scene.statement, "Statement"), ("viewer", scene.statement, "Statement"),
        ("rides", scene.export, "Export"), ("viewer", scene.export, "Export"),
        ("video", scene.agreement, "Agreement"), ("rides", scene.agreement, "Agreement"),
        ("viewer", scene.agreement, "Agreement"), ("video", world.ids["rides"], "Partner"),
    ):  # fmt: skip
        assert await world.read(who, query, id=identity) == {"__typename": kind, "id": identity}, (who, kind)


async def test_ids_of_one_kind_are_none_of_another(world: World, scene: Scene) -> None:
    """An id of another kind in a field answers as one of nothing."""
    for document in ("query($id: ID!) { redemption(id: $id) { id } }", "query($id: ID!) { statement(id: $id) { id } }",
                     "query($id: ID!) { benefit(by: {id: $id}) { id } }"):  # fmt: skip
        await tells_nothing(world, "rides", document, world.ids["rides"], [NOTHING])
    await tells_nothing(world, "video", "query($id: ID!) { member(by: {id: $id}) { id } }", scene.lot, [NOTHING])


async def test_anothers_names_are_nobodys_names(world: World, scene: Scene) -> None:
    """References, SKUs of drafts and idempotency keys of others answer as names that nobody uses."""
    by_key = 'query($id: String!) { benefit(by: {key: {partner: "rides", sku: $id}}) { id } }'
    await tells_nothing(world, "video", by_key, scene.draft["sku"], ["no-such-sku", "", "no/such"])
    by_reference = "query($id: String!) { member(by: {reference: $id}) { id } }"
    for who in ("rides", "delivery", "bob@video", "dora@delivery"):
        await tells_nothing(world, who, by_reference, "anna-of-the-scene", ["nobody", ""])
    by_idempotency = "query($id: String!) { redemptions(idempotencyKey: $id) { nodes { id } } }"
    for who in ("rides", "delivery", "bob@video", "anna-of-the-scene@video", "viewer"):
        await tells_nothing(world, who, by_idempotency, scene.key, ["unused"])
    found = await world.read("video", by_idempotency, id=scene.key)
    assert found["nodes"] == [{"id": scene.redemption}]


MUTATION = (
    "mutation($input: %sInput!) { %s(input: $input) { __typename ... on UserError { code message path retryable } } }"
)


async def test_anothers_objects_are_no_arguments(world: World, scene: Scene) -> None:
    """As an argument of a mutation another's object is NotFound, in the same words as one that does not exist."""
    ride = await world.publish("rides")

    async def said(who: str, mutation: str, given: Payload) -> tuple[int, str]:
        name = f"{mutation[0].upper()}{mutation[1:]}"
        if mutation in ("redeemBenefit", "awardPoints"):
            given = {**given, "idempotencyKey": world.fresh("key")}
        answer = await world.ask(who, MUTATION % (name, mutation), input=given)
        assert answer.data[mutation]["code"] == "NOT_FOUND"
        return answer.told

    video, rides = ("Member", "partner:video"), ("Member", "partner:rides")
    draft, bob = scene.draft, {"member": {"reference": "bob"}}

    def redeemed_by(identity: str) -> Payload:
        return {"benefit": ride["id"], "member": {"id": identity}}

    def awarded_to(identity: str) -> Payload:
        return {"points": "1", "member": {"id": identity}}

    for who, mutation, given, hidden, (kind, audience) in (
        ("video", "redeemBenefit", lambda i: {"benefit": i, **bob}, draft["id"], ("Benefit", "")),
        ("bob@video", "redeemBenefit", lambda i: {"benefit": i}, draft["id"], ("Benefit", "")),
        ("delivery", "redeemBenefit", redeemed_by, scene.member, video),
        ("rides", "redeemBenefit", redeemed_by, scene.member, video),
        ("rides", "awardPoints", awarded_to, scene.member, video),
        ("video", "awardPoints", awarded_to, scene.member_of_rides, rides),
        ("video", "addCodes", lambda i: {"sku": i, "codes": ["c"]}, draft["sku"], ("Benefit", "")),
        ("video", "exportStatement", lambda i: {"statement": i, "format": "CSV"}, scene.statement, ("Statement", "")),
    ):
        answers = {await said(who, mutation, given(one)) for one in (hidden, *absent(world, kind, audience))}
        assert len(answers) == 1, (who, mutation)


async def test_a_partner_redeems_for_its_own_members_alone(world: World, scene: Scene) -> None:
    """A reference of another partner's member is nobody's, and its points are not touched."""
    ride = await world.publish("rides", 1)
    foreign = await world.try_redeem("anna-of-the-scene@delivery's server", ride)
    nobody = await world.try_redeem("never-seen@delivery's server", ride)
    assert foreign == nobody
    assert foreign["code"] == "NOT_FOUND"


async def test_anothers_file_is_not_fetched(world: World, scene: Scene) -> None:
    """Another's export answers, in status, headers and text, as one that does not exist, or as no id at all."""
    for who in ("video", "delivery"):
        told = set()
        for identity in (scene.export, world.ids["rides"], *absent(world, "Export", "")):
            headers = {"Authorization": f"Bearer {await world.token(who)}"}
            answer = await world.http.get(f"/exports/{identity}", headers=headers)
            told.add((answer.status_code, answer.text, tuple(sorted(answer.headers.items()))))
        assert {status for status, _, _ in told} == {404}
        assert len(told) == 1


# ---------------------------------------------------------------- pairwise ids


async def test_ids_of_members_and_lots_differ_per_partner(world: World, scene: Scene) -> None:
    """Two partners of the same member hold different ids of it and of its lots, and cannot use each other's."""
    lots = "{ viewer { member { id wallet { lots { nodes { id issuer { handle } } } } } } }"
    by_video = (await world.read("anna-of-the-scene@video", lots))["member"]
    by_rides = (await world.read("r-anna@rides", lots))["member"]
    assert by_video["id"] != by_rides["id"]
    nodes = [
        {node["issuer"]["handle"]: node["id"] for node in one["wallet"]["lots"]["nodes"]}
        for one in (by_video, by_rides)
    ]
    assert nodes[0].keys() == nodes[1].keys() == {"video", "rides"}
    assert not set(nodes[0].values()) & set(nodes[1].values())
    query = "query($id: ID!) { redemption(id: $id) { id member { id reference } } }"
    seen = {who: await world.read(who, query, id=scene.redemption) for who in ("video", "rides", "viewer")}
    assert [one["member"]["reference"] for one in seen.values()] == ["anna-of-the-scene", "r-anna", None]
    assert len({one["member"]["id"] for one in seen.values()}) == 3


async def test_a_provider_without_a_link_learns_nothing_of_the_member(world: World) -> None:
    """A redemption shows its provider a member without reference, links and wallet, whose id leads nowhere."""
    await world.award("video", "carl", 100)
    await world.redeem("carl@video", await world.publish("delivery", 10))
    query = "{ redemptions(first: 1) { nodes { member { id reference links { since } wallet { balance } } codes } } }"
    (node,) = (await world.read("delivery", query))["nodes"]
    identity = node["member"].pop("id")
    assert node == {"member": {"reference": None, "links": [], "wallet": None}, "codes": []}
    assert await world.read("delivery", "query($id: ID!) { node(id: $id) { id } }", id=identity) is None
    assert await world.read("delivery", "query($id: ID!) { member(by: {id: $id}) { id } }", id=identity) is None


async def test_a_partner_sees_of_a_wallet_the_balance_and_its_own_lots(world: World, scene: Scene) -> None:
    """A partner's server sees what the member has in all, and lots of its own points; the member sees all lots."""
    for partner, name in (("video", "anna-of-the-scene"), ("rides", "r-anna")):
        wallet = (await world.member(partner, name))["wallet"]
        assert wallet["balance"] == "250"
        assert {lot["issuer"]["handle"] for lot in wallet["lots"]["nodes"]} == {partner}
    query = "{ viewer { member { wallet { lots { nodes { issuer { handle } } } } } } }"
    lots = (await world.read("r-anna@rides", query))["member"]["wallet"]["lots"]["nodes"]
    assert [lot["issuer"]["handle"] for lot in lots] == ["video", "rides"]


async def test_a_member_sees_all_its_links_and_a_partner_its_own(world: World, scene: Scene) -> None:
    """Links to others are the member's alone to see."""
    query = "{ viewer { member { reference links { partner { handle } } } } }"
    for who in ("anna-of-the-scene@video", "r-anna@rides"):
        member = (await world.read(who, query))["member"]
        assert member["reference"] == who.partition("@")[0]
        assert {link["partner"]["handle"] for link in member["links"]} == {"video", "rides"}
    for partner, name in (("video", "anna-of-the-scene"), ("rides", "r-anna")):
        assert [link["partner"]["handle"] for link in (await world.member(partner, name))["links"]] == [partner]


# ---------------------------------------------------------------- parts of a redemption


async def test_what_is_owed_is_told_to_whom_it_concerns(world: World) -> None:
    """`owed` is null except to that issuer, the provider and finance; the member and the channel see none of it."""
    await world.award("video", "eva", 50)
    await world.link("eva@video", "rides", "r-eva")
    await world.award("rides", "r-eva", 50)
    parcel = await world.publish("delivery", 100)
    identity = (await world.redeem("eva@video", parcel))["id"]
    query = "query($id: ID!) { redemption(id: $id) { debits { issuer { handle } points owed { amount } } } }"

    async def owed(who: str) -> dict[str, str | None]:
        debits = (await world.read(who, query, id=identity))["debits"]
        assert {debit["points"] for debit in debits} == {"50"}
        return {debit["issuer"]["handle"]: debit["owed"] and debit["owed"]["amount"] for debit in debits}

    assert await owed("delivery") == {"video": "0.40", "rides": "0.40"}
    assert await owed("viewer") == {"video": "0.40", "rides": "0.40"}
    assert await owed("video") == {"video": "0.40", "rides": None}
    assert await owed("eva@video") == {"video": None, "rides": None}
    assert await owed("r-eva@rides") == {"video": None, "rides": None}
    assert await world.read("rides", query, id=identity) is None


async def test_codes_are_for_the_channel_alone(world: World) -> None:
    """The codes of a redemption are shown in the app that redeemed and to its server, and to nobody else."""
    await world.award("video", "fred", 100)
    await world.link("fred@video", "delivery", "d-fred")
    pool = await world.publish("rides", 10, fulfilment="INSTANT_CODE")
    await world.done("rides", "addCodes", sku=pool["sku"], codes=["ONLY-ONE"])
    identity = (await world.redeem("fred@video", pool))["id"]
    query = "query($id: ID!) { redemption(id: $id) { codes } }"
    for who, codes in (("fred@video", ["ONLY-ONE"]), ("video", ["ONLY-ONE"]), ("rides", []), ("viewer", []),
                       ("d-fred@delivery", [])):  # fmt: skip
        assert (await world.read(who, query, id=identity))["codes"] == codes


async def test_drafts_are_listed_for_their_owner_alone(world: World) -> None:
    """What is not published is in no other partner's list, count or filter."""
    draft = await world.publish("rides", status="DRAFT", tags=["hidden"])
    query = """query($p: ID!) { all: benefits(filter: {tags: ["hidden"]}) { ...found }
      status: benefits(filter: {tags: ["hidden"], status: [DRAFT]}) { ...found }
      of: benefits(filter: {tags: ["hidden"], partner: $p}) { ...found }
      partner(handle: "rides") { benefits(filter: {tags: ["hidden"], status: [DRAFT]}) { ...found } } }
    fragment found on BenefitConnection { totalCount nodes { id } }"""
    for who, count in (("rides", 1), ("video", 0), ("bob@video", 0), ("viewer", 0)):
        data = (await world.ask(who, query, p=world.ids["rides"])).data
        lists = [data["all"], data["status"], data["of"], data["partner"]["benefits"]]
        assert lists == [{"totalCount": count, "nodes": [{"id": draft["id"]}] * count}] * 4, who


async def test_cursors_tell_two_partners_nothing(world: World) -> None:
    """The same member's same lot has another cursor in each partner's app, so they cannot compare notes."""
    await world.award("video", "cleo", 10)
    await world.link("cleo@video", "rides")
    wallet = "{ viewer { member { wallet { lots { edges { cursor } pageInfo { endCursor } } } } } }"
    seen = [(await world.read(who, wallet))["member"]["wallet"]["lots"] for who in ("cleo@video", "cleo@rides")]
    assert len(seen[0]["edges"]) == len(seen[1]["edges"]) == 1
    assert seen[0]["edges"][0]["cursor"] != seen[1]["edges"][0]["cursor"]
    assert seen[0]["pageInfo"] != seen[1]["pageInfo"]


async def test_who_shares_a_household_shares_the_pool_alone(world: World) -> None:
    """Of a housemate a member learns that it is there: no points, links, reference or history of it."""
    anna, ben = world.fresh("anna"), world.fresh("ben")
    for member in (anna, ben):
        await world.award("video", member, 50)
    await world.done(f"{anna}@video", "foundHousehold", idempotencyKey=world.fresh("found"))
    code = (await world.done(f"{anna}@video", "inviteToHousehold"))["invitation"]
    await world.done(f"{ben}@video", "joinHousehold", code=code)
    seen = await world.read(
        f"{ben}@video",
        """{ viewer { member { id household { size members {
            id reference links { since } wallet { balance } household { size } history { nodes { at } }
            redemptions { nodes { id } } } } } } }""",
    )
    me, household = seen["member"]["id"], seen["member"]["household"]
    assert household["size"] == 2
    [other] = [member for member in household["members"] if member["id"] != me]
    assert {name: value for name, value in other.items() if name != "id"} == {
        "reference": None, "links": [], "wallet": None, "household": None, "history": {"nodes": []},
        "redemptions": {"nodes": []},
    }  # fmt: skip
    [own] = [member for member in household["members"] if member["id"] == me]
    assert own["wallet"] == {"balance": "50"}
