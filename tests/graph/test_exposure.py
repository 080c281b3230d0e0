"""What partners may owe, over HTTP: who sets it, who sees it, and who is refused for it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from exchange.sweeper import Sweeper
from tests.graph.speech import EXPOSURE, Payload, World, refusal

EUR = "EUR"
SEEN = f"query($h: String!) {{ partner(handle: $h) {{ exposures {{ ...exposure }} }} }} {EXPOSURE}"


def euros(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": EUR}


async def capped(world: World, amount: str | None, **more: Any) -> Payload:
    cap = {} if amount is None else {"cap": euros(amount)}
    return await world.do("admin", "setExposureCap", partner=world.ids["video"], currency=EUR, **cap, **more)


async def standing(world: World, who: str = "viewer", handle: str = "video") -> list[dict[str, Any]]:
    """Return the figures that somebody sees of a partner."""
    found = (await world.read(who, SEEN, h=handle))["exposures"]
    return [{name: each[name]["amount"] for name in ("cap", "paid", "used", "left")} for each in found]


@pytest.fixture
async def trip(world: World) -> Payload:
    """Publish what costs video one euro, and let anna have plenty of points."""
    await world.agree("video", "rides", "10.00")
    await world.award("video", "anna", 100_000)
    return await world.publish("rides", 100)


async def test_a_cap_refuses_and_a_payment_lets_go_on(world: World, trip: Payload) -> None:
    """An administrator caps, the member's app is told ISSUER_LIMIT, finance records a payment, and it goes on."""
    await world.redeem("anna@video", trip)
    payload = await capped(world, "2.50")
    used = payload["exposure"]["used"]["amount"]
    assert (payload["version"], payload["exposure"]["version"]) == (1, 1)
    await capped(world, str(Decimal(used) + Decimal("1.50")))
    await world.redeem("anna@video", trip)
    refused = await world.try_redeem("anna@video", trip)
    assert refusal(refused, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["ISSUER_LIMIT"])
    assert (await world.quote("anna@video", trip))["reasons"] == ["ISSUER_LIMIT"]
    assert (await world.availability("anna@video", trip))["reasons"] == ["ISSUER_LIMIT"]
    given = {
        "partner": world.ids["video"], "amount": euros("10.00"), "reference": "bank 1",
        "idempotencyKey": world.fresh("paid"),
    }  # fmt: skip
    assert (await world.done("preparer", "recordFunding", **given))["replayed"] is False
    again = await world.done("admin", "recordFunding", **given)
    assert (again["replayed"], again["amount"]) == (True, euros("10.00"))
    other = await world.do("admin", "recordFunding", **{**given, "reference": "bank 2"})
    assert refusal(other, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    assert (await world.availability("anna@video", trip))["redeemable"] is True
    await world.redeem("anna@video", trip)
    (found,) = await standing(world)
    assert found["left"] == "9.50"
    assert (await capped(world, None))["exposure"] is None
    assert await standing(world) == []


async def test_a_partner_sees_its_own_exposure_alone(world: World) -> None:
    """Its server and the exchange's staff see where it stands; another partner sees nothing, a member may not ask."""
    await capped(world, "50.00")
    assert len(await standing(world, "video")) == len(await standing(world, "admin")) == 1
    assert await standing(world, "rides") == []
    assert (await world.ask("anna@video", SEEN, h="video")).codes == ["FORBIDDEN"]
    await capped(world, None)


async def test_what_is_no_cap_is_refused(world: World) -> None:
    """Shape, then scope, then whether there is such a partner and version."""
    for path, wrong in (
        (["cap", "currency"], {"cap": {"amount": "1", "currency": "CHF"}}),
        (["cap", "amount"], {"cap": euros("-1.00")}),
        (["cap", "amount"], {"cap": euros("1.001")}),
        (["lowBalance"], {"lowBalance": euros("1.00")}),
    ):
        payload = await world.do("viewer", "setExposureCap", partner="none", currency=EUR, **wrong)
        assert refusal(payload, "VALIDATION_ERROR", ["input", *path])
    payload = await world.do("viewer", "setExposureCap", partner="none", currency=EUR)
    assert refusal(payload, "FORBIDDEN", None, requiredScope="admin")
    payload = await world.do("admin", "setExposureCap", partner="none", currency=EUR)
    assert refusal(payload, "NOT_FOUND", ["input", "partner"])
    payload = await capped(world, "1.00", expectedVersion=999)
    now = payload["currentVersion"]
    assert refusal(payload, "VERSION_CONFLICT", ["input", "expectedVersion"], retryable=True, currentVersion=now)
    assert (await capped(world, "1.00", expectedVersion=now))["version"] == now + 1
    await capped(world, None)


async def test_what_is_no_payment_is_refused(world: World) -> None:
    """Nothing, a reference that says nothing, and an unprintable key."""
    given = {"partner": "none", "amount": euros("1.00"), "reference": "bank", "idempotencyKey": "one"}
    for path, wrong in (
        (["amount", "amount"], {"amount": euros("0.00")}),
        (["reference"], {"reference": " "}),
        (["idempotencyKey"], {"idempotencyKey": ""}),
    ):
        payload = await world.do("viewer", "recordFunding", **given | wrong)
        assert refusal(payload, "VALIDATION_ERROR", ["input", *path])
    assert refusal(
        await world.do("viewer", "recordFunding", **given), "FORBIDDEN", None, requiredScope="finance:prepare"
    )
    assert refusal(await world.do("preparer", "recordFunding", **given), "NOT_FOUND", ["input", "partner"])


async def test_low_balance_can_be_asked_for(world: World, trip: Payload) -> None:
    """What fell below the threshold stands among the notices, with what was left."""
    await world.agree("video", "rides", "10.00", "CHF")
    francs = {"cap": {"amount": "3.00", "currency": "CHF"}, "lowBalance": {"amount": "2.50", "currency": "CHF"}}
    await world.done("admin", "setExposureCap", partner=world.ids["video"], currency="CHF", **francs)
    await world.redeem("anna@video", trip)
    await Sweeper(world.services.books, world.services.ledger).notice()
    (found,) = (await world.read("video", SEEN, h="video"))["exposures"]
    assert (found["low"], found["left"]["amount"], found["lowBalance"]["amount"]) == (True, "2.00", "2.50")
    assert [(each["left"]["amount"], each["clearedAt"]) for each in found["notices"]] == [("2.00", None)]
