"""Every refusal that a mutation can give, and which one is given when several are deserved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.graph.speech import Payload, World, at, benefit_input, refusal

NOBODYS = "bm90aGluZw"
"""An id that nobody ever got."""


async def awarded(world: World, points: int = 1_000, issuer: str = "video") -> str:
    """Return a member that has points."""
    member = world.fresh("member")
    await world.award(issuer, member, points)
    return member


# ---------------------------------------------------------------- publishBenefits


async def publish(world: World, *benefits: Payload, who: str = "rides") -> Payload:
    return await world.do(who, "publishBenefits", benefits=list(benefits))


INVALID = [
    ({"sku": "no spaces"}, "sku"),
    ({"sku": ""}, "sku"),
    ({"sku": "x" * 65}, "sku"),
    ({"title": " "}, "title"),
    ({"title": "x" * 201}, "title"),
    ({"description": "x" * 10_001}, "description"),
    ({"terms": "x" * 10_001}, "terms"),
    ({"redeemInstructions": "x" * 10_001}, "redeemInstructions"),
    ({"imageUrl": "javascript:alert(1)"}, "imageUrl"),
    ({"pointsPrice": "0"}, "pointsPrice"),
    ({"pointsPrice": -5}, "pointsPrice"),
    ({"faceValue": {"amount": "-1.00", "currency": "EUR"}}, "faceValue"),
    ({"faceValue": {"amount": "1.005", "currency": "EUR"}}, "faceValue.amount"),
    ({"faceValue": {"amount": "1.5", "currency": "JPY"}}, "faceValue.amount"),
    ({"validFrom": "2030-01-01T00:00:00Z", "validUntil": "2030-01-01T00:00:00Z"}, "validUntil"),
    ({"tags": [""]}, "tags"),
    ({"tags": [str(n) for n in range(21)]}, "tags"),
    ({"translations": [{"locale": "not a tag", "title": "x"}]}, "translations.0.locale"),
    ({"translations": [{"locale": "de", "title": "x"}, {"locale": "DE", "title": "y"}]}, "translations.1.locale"),
    ({"translations": [{"locale": "de", "title": ""}]}, "translations.0.title"),
    ({"stock": -1}, "stock"),
    ({"stock": 5, "fulfilment": "INSTANT_CODE"}, "stock"),
    ({"memberLimit": 0}, "memberLimit"),
]


@pytest.mark.parametrize(("wrong", "field"), INVALID, ids=[f"{field}-{n}" for n, (_, field) in enumerate(INVALID)])
async def test_a_wrong_benefit_is_refused_with_the_path_of_its_field(world: World, wrong: Payload, field: str) -> None:
    """A benefit that cannot be is a ValidationError whose path leads to the field, and nothing is published."""
    good = benefit_input(sku=world.fresh("sku"))
    payload = await publish(world, good, {**benefit_input(sku=world.fresh("sku")), **wrong})
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "1", *field.split(".")])
    query = 'query($sku: String!) { benefit(by: {key: {partner: "rides", sku: $sku}}) { id } }'
    assert await world.read("rides", query, sku=good["sku"]) is None


async def test_of_several_wrong_benefits_the_first_is_reported(world: World) -> None:
    """The path is that of the first benefit that is wrong, whatever is wrong with it."""
    too_exact: Payload = {"faceValue": {"amount": "1.005", "currency": "EUR"}}
    payload = await publish(
        world, benefit_input(sku="a"), benefit_input(sku="not good"), benefit_input(sku="b", **too_exact)
    )
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "1", "sku"])


async def test_a_sku_stands_in_a_request_once(world: World) -> None:
    """The same SKU twice is a ValidationError at the second."""
    sku = world.fresh("sku")
    payload = await publish(world, benefit_input(sku=sku), benefit_input(sku=sku))
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "1", "sku"])


@pytest.mark.parametrize("number", [0, 1_001])
async def test_a_request_publishes_one_to_a_thousand_benefits(world: World, number: int) -> None:
    """No benefit at all, and more than a thousand, are ValidationErrors."""
    payload = await publish(world, *(benefit_input(sku=f"s{n}") for n in range(number)))
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits"])


async def test_a_version_that_is_not_there_any_more_is_a_conflict(world: World) -> None:
    """A VersionConflict names the version there is now, 0 where there is none, and can be retried."""
    there = await world.publish("rides")
    for sku, expected, version in ((there["sku"], 2, 1), (there["sku"], 0, 1), (world.fresh("sku"), 3, 0)):
        payload = await publish(world, benefit_input(sku=sku, expectedVersion=expected))
        path = ["input", "benefits", "0", "expectedVersion"]
        assert refusal(payload, "VERSION_CONFLICT", path, retryable=True, currentVersion=version)


async def test_how_a_benefit_is_fulfilled_never_changes(world: World) -> None:
    """Another fulfilment under the same SKU is a ValidationError."""
    there = await world.publish("rides")
    payload = await publish(world, benefit_input(sku=there["sku"], fulfilment="PARTNER_CALL"))
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "0", "fulfilment"])


async def test_stock_is_never_less_than_what_is_sold(world: World) -> None:
    """`stock` below what is sold is a ValidationError; exactly what is sold is not."""
    member = await awarded(world)
    ride = await world.publish("rides", stock=5)
    await world.redeem(f"{member}@video", ride, quantity=3)
    payload = await publish(world, benefit_input(sku=ride["sku"], stock=2))
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "0", "stock"])
    assert (await publish(world, benefit_input(sku=ride["sku"], stock=3)))["updated"] == 1
    assert (await world.availability("rides", ride))["remaining"] == 0


async def test_a_wrong_benefit_is_told_before_a_missing_scope(world: World) -> None:
    """ValidationError precedes Forbidden when publishing."""
    member = f"{await awarded(world)}@video"
    payload = await publish(world, benefit_input(sku="no good"), who=member)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "benefits", "0", "sku"])
    payload = await publish(world, benefit_input(sku="good"), who=member)
    assert refusal(payload, "FORBIDDEN", None, requiredScope="benefits:publish")


# ---------------------------------------------------------------- addCodes


@pytest.mark.parametrize(
    ("codes", "path"),
    [
        ([], ["codes"]),
        ([f"c{n}" for n in range(10_001)], ["codes"]),
        (["good", ""], ["codes", "1"]),
        ([" spaces "], ["codes", "0"]),
        (["two\nlines"], ["codes", "0"]),
        (["x" * 501], ["codes", "0"]),
    ],
    ids=["none", "too many", "empty", "spaces", "unprintable", "too long"],
)
async def test_codes_that_no_pool_can_hold_are_refused(world: World, codes: list[str], path: list[str]) -> None:
    """A wrong code is a ValidationError at its place, and no other is loaded."""
    pool = await world.publish("rides", fulfilment="INSTANT_CODE")
    assert refusal(
        await world.do("rides", "addCodes", sku=pool["sku"], codes=codes), "VALIDATION_ERROR", ["input", *path]
    )
    assert (await world.availability("rides", pool))["remaining"] == 0


async def test_codes_go_to_an_own_benefit_that_has_a_pool(world: World) -> None:
    """For addCodes: ValidationError, Forbidden, NotFound."""
    ride, member = await world.publish("rides"), f"{await awarded(world)}@video"
    wrong = {"sku": "nothing", "codes": [""]}
    assert refusal(await world.do(member, "addCodes", **wrong), "VALIDATION_ERROR", ["input", "codes", "0"])
    wrong["codes"] = ["good"]
    assert refusal(await world.do(member, "addCodes", **wrong), "FORBIDDEN", None, requiredScope="benefits:publish")
    assert refusal(await world.do("rides", "addCodes", **wrong), "NOT_FOUND", ["input", "sku"])
    payload = await world.do("rides", "addCodes", sku=ride["sku"], codes=["good"])
    assert refusal(payload, "VALIDATION_ERROR", ["input", "sku"])


# ---------------------------------------------------------------- awardPoints


async def award(world: World, who: str = "video", **given: Any) -> Payload:
    asked = {"member": {"reference": "anna"}, "points": "10", "idempotencyKey": world.fresh("award"), **given}
    return await world.do(who, "awardPoints", **asked)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"idempotencyKey": ""}, ["idempotencyKey"]),
        ({"idempotencyKey": "x" * 201}, ["idempotencyKey"]),
        ({"idempotencyKey": "a\nb"}, ["idempotencyKey"]),
        ({"member": {"reference": ""}}, ["member", "reference"]),
        ({"member": {"reference": "x" * 129}}, ["member", "reference"]),
        ({"points": "0"}, ["points"]),
        ({"points": "-1"}, ["points"]),
        ({"points": str(10**17 + 1)}, ["points"]),
        ({"reason": "x" * 501}, ["reason"]),
        ({"expiresAt": "2001-01-01T00:00:00Z"}, ["expiresAt"]),
    ],
)
async def test_an_award_that_cannot_be_is_refused(world: World, wrong: Payload, path: list[str]) -> None:
    """A wrong award is a ValidationError with the path of the field."""
    assert refusal(await award(world, **wrong), "VALIDATION_ERROR", ["input", *path])


async def test_a_wallet_holds_64_bits_of_points(world: World) -> None:
    """Points beyond what the wallet can hold are a ValidationError, and it holds what it held."""
    member = world.fresh("member")
    for _ in range(92):
        await world.award("video", member, 10**17)
    payload = await award(world, member={"reference": member}, points=str(10**17))
    assert refusal(payload, "VALIDATION_ERROR", ["input", "points"])
    assert await world.balance("video", member) == 92 * 10**17


async def test_awards_are_refused_in_order(world: World) -> None:
    """For awardPoints: ValidationError, Forbidden, IdempotencyConflict, NotFound."""
    member = f"{await awarded(world)}@video"
    both: Payload = {"points": "0", "idempotencyKey": world.fresh("award")}
    assert refusal(await award(world, member, **both), "VALIDATION_ERROR", ["input", "points"])
    key = (await award(world, idempotencyKey=(used := world.fresh("award")))) and used
    assert refusal(
        await award(world, member, idempotencyKey=key, points="11"), "FORBIDDEN", None, requiredScope="points:award"
    )
    conflicting: Payload = {"idempotencyKey": key, "member": {"id": NOBODYS}}
    assert refusal(await award(world, **conflicting), "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    assert refusal(await award(world, member={"id": NOBODYS}), "NOT_FOUND", ["input", "member"])


async def test_nothing_is_awarded_through_an_ended_link(world: World) -> None:
    """A member that ended its link to the issuer is not found by it."""
    member = await awarded(world)
    await world.link(f"{member}@video", "rides")
    identity = (await world.member("rides", member))["id"]
    await world.done(f"{member}@video", "unlinkPartner", partner=world.ids["rides"])
    for named in ({"reference": member}, {"id": identity}):
        assert refusal(await award(world, "rides", member=named), "NOT_FOUND", ["input", "member"])


# ---------------------------------------------------------------- redeemBenefit


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"idempotencyKey": ""}, ["idempotencyKey"]),
        ({"idempotencyKey": "x" * 201}, ["idempotencyKey"]),
        ({"member": {"reference": ""}}, ["member", "reference"]),
        ({"member": None}, ["member"]),
        ({"quantity": 0}, ["quantity"]),
        ({"quantity": -1}, ["quantity"]),
        ({"quantity": 1_001}, ["quantity"]),
        ({"expectedPoints": "-1"}, ["expectedPoints"]),
    ],
)
async def test_a_redemption_that_cannot_be_is_refused(world: World, wrong: Payload, path: list[str]) -> None:
    """A wrong redemption is a ValidationError with the path of the field."""
    member = await awarded(world)
    payload = await world.try_redeem(f"{member}@video's server", await world.publish("rides"), **wrong)
    assert refusal(payload, "VALIDATION_ERROR", ["input", *path])
    assert await world.balance("video", member) == 1_000


async def test_a_member_redeems_for_itself_alone(world: World) -> None:
    """A member may name itself, by reference or id, and nobody else."""
    anna, bob = await awarded(world), await awarded(world)
    ride = await world.publish("rides", 10)
    identity = (await world.member("video", anna))["id"]
    for named in ({"reference": anna}, {"id": identity}, None):
        assert await world.redeem(f"{anna}@video", ride, member=named)
    for named in ({"reference": bob}, {"id": (await world.member("video", bob))["id"]}, {"id": NOBODYS}):
        payload = await world.try_redeem(f"{anna}@video", ride, member=named)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "member"])
    assert await world.balance("video", bob) == 1_000


async def test_redemptions_are_refused_in_the_contracts_order(world: World) -> None:
    """Of two refusals that a redemption deserves the first is given, for each neighbouring pair of the order.

    ValidationError, Forbidden, IdempotencyConflict, NotFound, BenefitUnavailable, PriceChanged, InsufficientPoints.
    """
    member = await awarded(world, 150)
    server = f"{member}@video's server"
    ride = await world.publish("rides", 100)
    unscoped = await world.token("video", "benefits:read")
    used = world.fresh("redeem")
    await world.redeem(server, ride, idempotencyKey=used)  # 50 points are left

    async def refused(benefit: Payload | str, who: str = "video", **more: Any) -> Payload:
        given = {"benefit": benefit if isinstance(benefit, str) else benefit["id"], "member": {"reference": member}}
        return await world.do(who, "redeemBenefit", **{**given, "idempotencyKey": world.fresh("redeem"), **more})

    # ValidationError before Forbidden
    assert refusal(await refused(ride, unscoped, quantity=0), "VALIDATION_ERROR", ["input", "quantity"])
    # Forbidden before IdempotencyConflict
    scope: Payload = {"requiredScope": "redemptions:redeem"}
    assert refusal(await refused(ride, unscoped, quantity=2, idempotencyKey=used), "FORBIDDEN", None, **scope)
    # IdempotencyConflict before NotFound, of the benefit and of the member
    key = ["input", "idempotencyKey"]
    assert refusal(await refused(NOBODYS, idempotencyKey=used), "IDEMPOTENCY_CONFLICT", key)
    nobody = {"reference": world.fresh("nobody")}
    assert refusal(await refused(ride, member=nobody, idempotencyKey=used), "IDEMPOTENCY_CONFLICT", key)
    # NotFound before BenefitUnavailable: nobody has the member, and the benefit is out of stock
    none_left = await world.publish("rides", 100, stock=0)
    assert refusal(await refused(none_left, member=nobody), "NOT_FOUND", ["input", "member"])
    paused = await world.publish("rides", 100, status="PAUSED", stock=0)
    assert refusal(await refused(paused), "NOT_FOUND", ["input", "benefit"])
    # BenefitUnavailable before PriceChanged
    payload = await refused(none_left, expectedPoints="99")
    reasons: dict[str, Any] = {"reasons": payload["reasons"], "retryable": True}
    assert "OUT_OF_STOCK" in payload["reasons"]
    assert refusal(payload, "BENEFIT_UNAVAILABLE", ["input", "benefit"], **reasons)
    # PriceChanged before InsufficientPoints; without it, InsufficientPoints is left
    changed: Payload = {"pointsPrice": "200"}
    assert refusal(
        await refused(ride, quantity=2, expectedPoints="199"), "PRICE_CHANGED", ["input", "expectedPoints"], **changed
    )
    lacking: Payload = {"required": "200", "available": "50", "retryable": True}
    assert refusal(await refused(ride, quantity=2, expectedPoints="200"), "INSUFFICIENT_POINTS", None, **lacking)
    assert await world.balance("video", member) == 50


async def test_available_counts_what_can_be_spent_on_this_benefit(world: World) -> None:
    """InsufficientPoints counts no points of an issuer that has no agreement with the provider."""
    stranger = await world.onboard(world.fresh("stranger"))
    member = await awarded(world, 30)
    await world.link(f"{member}@video", stranger)
    await world.award(stranger, member, 500)
    payload = await world.try_redeem(f"{member}@video", await world.publish("rides", 100))
    assert refusal(payload, "INSUFFICIENT_POINTS", None, retryable=True, required="100", available="30")


# ---------------------------------------------------------------- links


async def test_link_codes_are_refused_in_order(world: World) -> None:
    """For createLinkCode: ValidationError, Forbidden, NotFound."""
    member = await awarded(world)
    reader = await world.token(f"{member}@video", "benefits:read")
    wrong: dict[str, Any] = {"partner": NOBODYS, "dailyLimit": "0"}
    assert refusal(await world.do(reader, "createLinkCode", **wrong), "VALIDATION_ERROR", ["input", "dailyLimit"])
    wrong["dailyLimit"] = "1"
    for who in (reader, "video", "admin"):
        payload = await world.do(who, "createLinkCode", **wrong)
        assert refusal(payload, "FORBIDDEN", None, requiredScope="points:redeem")
    assert refusal(await world.do(f"{member}@video", "createLinkCode", **wrong), "NOT_FOUND", ["input", "partner"])


async def test_the_exchange_itself_cannot_be_linked(world: World) -> None:
    """The operator is a partner without a role: a link code for it is NotFound."""
    operator = (await world.read("video", '{ partner(handle: "exchange") { id } }'))["id"]
    payload = await world.do(f"{await awarded(world)}@video", "createLinkCode", partner=operator)
    assert refusal(payload, "NOT_FOUND", ["input", "partner"])


async def test_unlinking_is_refused_in_order(world: World) -> None:
    """For unlinkPartner: Forbidden without the scope, then NotFound; the last link cannot be ended."""
    member = await awarded(world)
    for who in (await world.token(f"{member}@video", "benefits:read"), "video"):
        payload = await world.do(who, "unlinkPartner", partner=NOBODYS)
        assert refusal(payload, "FORBIDDEN", None, requiredScope="points:redeem")
    for partner in (NOBODYS, world.ids["rides"], (await world.publish("rides"))["id"]):
        payload = await world.do(f"{member}@video", "unlinkPartner", partner=partner)
        assert refusal(payload, "NOT_FOUND", ["input", "partner"])
    payload = await world.do(f"{member}@video", "unlinkPartner", partner=world.ids["video"])
    assert refusal(payload, "FORBIDDEN", ["input", "partner"])


async def test_linking_is_refused_in_order(world: World) -> None:
    """For linkMember: ValidationError, Forbidden, NotFound; a code of another partner is as good as none."""
    member = await awarded(world)
    code = (await world.done(f"{member}@video", "createLinkCode", partner=world.ids["rides"]))["linkCode"]
    unscoped = await world.token("rides", "benefits:read")
    for who in (unscoped, "rides"):
        payload = await world.do(who, "linkMember", code="none", reference="")
        assert refusal(payload, "VALIDATION_ERROR", ["input", "reference"])
    payload = await world.do(unscoped, "linkMember", code="none", reference="r")
    assert refusal(payload, "FORBIDDEN", None, requiredScope="points:award")
    answers = [
        await world.send(who, "linkMember", code=given, reference=world.fresh("r"))
        for who, given in (("rides", "none"), ("delivery", code), ("video", code))
    ]
    assert refusal(answers[0].data["linkMember"], "NOT_FOUND", ["input", "code"])
    assert len({answer.told for answer in answers}) == 1


async def test_a_reference_means_one_member(world: World) -> None:
    """Linking under a reference that means another member, or the same member by a second one, is refused."""
    anna, bob = await awarded(world), await awarded(world)
    await world.award("rides", "taken", 1)

    async def code(member: str) -> str:
        made = await world.done(f"{member}@video", "createLinkCode", partner=world.ids["rides"])
        return str(made["linkCode"])

    payload = await world.do("rides", "linkMember", code=await code(anna), reference="taken")
    assert refusal(payload, "VALIDATION_ERROR", ["input", "reference"])
    await world.done("rides", "linkMember", code=await code(bob), reference=bob)
    payload = await world.do("rides", "linkMember", code=await code(bob), reference="bobby")
    assert refusal(payload, "VALIDATION_ERROR", ["input", "reference"])
    assert (await world.done("rides", "linkMember", code=await code(bob), reference=bob))["member"]["reference"] == bob


# ---------------------------------------------------------------- setAgreement, closePeriod


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"pricePer1000Points": {"amount": "8.001", "currency": "EUR"}}, ["pricePer1000Points", "amount"]),
        ({"pricePer1000Points": {"amount": "-8.00", "currency": "EUR"}}, ["pricePer1000Points", "amount"]),
        ({"pricePer1000Points": {"amount": "10000000000.01", "currency": "EUR"}}, ["pricePer1000Points", "amount"]),
        ({"feeBasisPoints": -1}, ["feeBasisPoints"]),
        ({"feeBasisPoints": 10_001}, ["feeBasisPoints"]),
        ({"commissionBasisPoints": -1}, ["commissionBasisPoints"]),
        ({"feeBasisPoints": 5_000, "commissionBasisPoints": 5_001}, ["commissionBasisPoints"]),
    ],
)
async def test_an_agreement_that_cannot_be_is_refused(world: World, wrong: Payload, path: list[str]) -> None:
    """Wrong terms are a ValidationError with the path of the field, told even before a missing scope."""
    given = {"pricePer1000Points": {"amount": "8.00", "currency": "EUR"}, **wrong}
    for who in ("admin", "video"):
        assert refusal(await world.do(who, "setAgreement", **given), "VALIDATION_ERROR", ["input", *path])


async def test_agreements_are_refused_in_order(world: World) -> None:
    """For setAgreement: Forbidden, then NotFound; what was priced already is not priced again."""
    given = {"pricePer1000Points": {"amount": "8.00", "currency": "EUR"}}
    for who in ("video", "viewer", "preparer"):
        payload = await world.do(who, "setAgreement", issuer=NOBODYS, **given)
        assert refusal(payload, "FORBIDDEN", None, requiredScope="admin")
    for side in ("issuer", "provider"):
        payload = await world.do("admin", "setAgreement", **{side: NOBODYS}, **given)
        assert refusal(payload, "NOT_FOUND", ["input", side])
    past = at(await world.services.now() - timedelta(minutes=6))
    payload = await world.do("admin", "setAgreement", issuer=world.ids["video"], effectiveFrom=past, **given)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "effectiveFrom"])


async def test_closing_is_refused_in_order(world: World) -> None:
    """For closePeriod: Forbidden, then NotFound for a period that is not there."""
    for who in ("video", "admin", "viewer"):
        payload = await world.do(who, "closePeriod", number=99)
        assert refusal(payload, "FORBIDDEN", None, requiredScope="finance:prepare")
    for number in (99, 0, -1):
        assert refusal(await world.do("preparer", "closePeriod", number=number), "NOT_FOUND", ["input", "number"])


async def test_periods_are_closed_one_after_the_other(world: World) -> None:
    """While a period is still being closed, closing the next one is a ValidationError; afterwards it is not."""
    number = (await world.read("viewer", "{ period { number } }"))["number"]
    await world.services.settlement.mark(number)  # and the process that closes dies
    payload = await world.do("preparer", "closePeriod", number=number + 1)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "number"])
    for one in (number, number + 1):
        assert (await world.done("preparer", "closePeriod", number=one))["period"]["status"] == "CLOSED"
