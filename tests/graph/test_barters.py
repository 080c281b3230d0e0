"""Barter over the API: added and ended by the exchange, seen by the two that it is between."""

from __future__ import annotations

import pytest

from tests.graph.speech import FRAGMENTS, Payload, World, refusal

BARTERS = "{ barters { ...barter } }" + FRAGMENTS["barter"]
BARTER = "query($id: ID!) { barter(id: $id) { ...barter } }" + FRAGMENTS["barter"]
NETTING = f"query($n: Int!) {{ netting(period: $n) {{ ...netting }} }} {FRAGMENTS['netting']}"
UNTIL = "2099-01-01T00:00:00.000Z"


def quota(amount: str, currency: str = "EUR") -> Payload:
    return {"amount": amount, "currency": currency}


def between(world: World, **more: object) -> Payload:
    return {
        "one": {"partner": world.ids["video"], "quota": quota("5.00")},
        "other": {"partner": world.ids["rides"], "quota": quota("3.00")}, "until": UNTIL, **more,
    }  # fmt: skip


def used(row: Payload) -> list[str]:
    return [side["used"]["amount"] for side in row["sides"]]


@pytest.fixture(scope="module")
async def agreed(exchange: World) -> World:
    """Let video and rides barter, who owe each other 8.00 and nothing in a period that is closed and netted."""
    await exchange.done("admin", "addBarter", **between(exchange, reference="contract 7"))
    await exchange.award("video", "anna", 1_000)
    await exchange.redeem("anna@video", await exchange.publish("rides", 1_000))
    await exchange.done("preparer", "closePeriod", number=1)
    await exchange.done("preparer", "recordNetting", period=1, idempotencyKey="net-1")
    return exchange


async def test_both_see_their_barter_and_nobody_else(agreed: World) -> None:
    """With what is used by the last recorded netting; who recorded it is for the exchange's own people."""
    (seen,) = await agreed.read("viewer", BARTERS)
    assert (seen["version"], seen["stage"], seen["until"], seen["reference"]) == (1, "IN_FORCE", UNTIL, "contract 7")
    assert seen["recordedBy"] is not None
    assert [
        (side["issuer"]["handle"], side["quota"]["amount"], side["used"]["amount"], side["left"]["amount"])
        for side in seen["sides"]
    ] == [("video", "5.00", "5.00", "0.00"), ("rides", "3.00", "0.00", "3.00")]
    assert (seen["balance"], seen["sides"][0]["inKind"]) == (quota("5.00"), None)
    for partner, own in (("video", [seen["id"]]), ("rides", [seen["id"]]), ("delivery", [])):
        found = await agreed.read(partner, BARTERS)
        assert [each["id"] for each in found] == own
        one = await agreed.read(partner, BARTER, id=seen["id"])
        assert (one is None) == (own == [])
        assert all(each["recordedBy"] is None for each in found)
    assert await agreed.read("delivery", BARTER, id="nothing") is None


async def test_a_netting_shows_each_its_own(agreed: World) -> None:
    """What is settled in kind is no payment; the rest is."""
    netting = await agreed.read("viewer", NETTING, n=1)
    (row,) = netting["barters"]
    assert [side["inKind"]["amount"] for side in row["sides"]] == ["5.00", "0.00"]
    assert (row["ended"], row["due"], row["balance"]) == (False, None, {"amount": "5.00"})
    assert [(each["from"]["handle"], each["amount"]["amount"]) for each in netting["payments"]][-1] == ("video", "3.00")
    assert (await agreed.read("rides", NETTING, n=1))["barters"] == [row]
    assert (await agreed.read("delivery", NETTING, n=1))["barters"] == []


async def test_asked_twice_it_is_done_once(agreed: World) -> None:
    """With the very same terms it is the same barter."""
    (seen,) = await agreed.read("viewer", BARTERS)
    terms = between(agreed, effectiveFrom=seen["effectiveFrom"])
    assert (await agreed.done("admin", "addBarter", **terms))["id"] == seen["id"]


async def test_what_cannot_be_agreed_is_refused(agreed: World) -> None:
    """Each refusal names its field."""
    for terms, code, path in (
        ({"other": {"partner": agreed.ids["rides"], "quota": quota("3.00", "USD")}}, "VALIDATION_ERROR",
         ["other", "quota", "currency"]),
        ({"other": {"partner": agreed.ids["video"], "quota": quota("3.00")}}, "VALIDATION_ERROR", ["other"]),
        ({"one": {"partner": agreed.ids["video"], "quota": quota("0.00")}}, "VALIDATION_ERROR", ["one", "quota"]),
        ({"one": {"partner": "nobody", "quota": quota("1.00")}}, "NOT_FOUND", ["one"]),
        ({"until": "2020-01-01T00:00:00Z"}, "VALIDATION_ERROR", ["until"]),
        ({"until": "2020-01-02T00:00:00Z", "effectiveFrom": "2020-01-01T00:00:00Z"}, "VALIDATION_ERROR", ["until"]),
        ({"reference": ""}, "VALIDATION_ERROR", ["reference"]),
    ):  # fmt: skip
        payload = await agreed.do("admin", "addBarter", **between(agreed, **terms))
        assert refusal(payload, code, ["input", *path]), payload
    assert refusal(await agreed.do("admin", "endBarter", barter="nothing"), "NOT_FOUND", ["input", "barter"])


async def test_ended_early_its_difference_is_paid(agreed: World) -> None:
    """It falls due with the period that is open; ended again, it stays as it is."""
    (seen,) = await agreed.read("viewer", BARTERS)
    ended = await agreed.done("admin", "endBarter", barter=seen["id"])
    assert (ended["stage"], ended["version"], used(ended)) == ("ENDED", 2, ["5.00", "0.00"])
    assert await agreed.done("admin", "endBarter", barter=seen["id"]) == ended
    await agreed.done("preparer", "closePeriod", number=2)
    netting = (await agreed.done("preparer", "recordNetting", period=2, idempotencyKey="net-2"))["netting"]
    (row,) = netting["barters"]
    assert row["due"] == {"from": {"handle": "video"}, "to": {"handle": "rides"}, "amount": {"amount": "5.00"}}
    assert [each["amount"]["amount"] for each in netting["payments"]] == ["5.00", "5.00"]
    (over,) = await agreed.read("rides", BARTERS)
    assert (over["balance"], over["sides"][0]["used"]) == (None, None)
    await agreed.prove()
