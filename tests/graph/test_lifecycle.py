"""The life of a redemption over HTTP: quoted, reserved, confirmed, cancelled, fulfilled, failed, reversed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.graph.speech import Payload, World, at, refusal


async def member(world: World, points: int = 1_000, issuer: str = "video") -> str:
    """Return a new member of video that rides knows too, with points."""
    name = world.fresh("member")
    await world.award("video", name, points)
    return name


def moved(payload: Payload, status: str) -> bool:
    """Whether a step succeeded and left the redemption in that status."""
    assert payload["__typename"] == "RedemptionActionSuccess", payload
    assert payload["redemption"]["status"] == status
    return True


async def wallet(world: World, name: str) -> tuple[int, int]:
    """Return what is held and what is available."""
    seen = await world.read(f"{name}@video", "{ viewer { member { wallet { held available } } } }")
    return int(seen["member"]["wallet"]["held"]), int(seen["member"]["wallet"]["available"])


async def test_a_reservation_holds_until_it_is_confirmed(world: World) -> None:
    """Held points count in the balance and cannot be spent; confirming takes them, once, however often it is said."""
    name, parcel = await member(world), await world.publish("delivery", 300, stock=2)
    reserved = await world.reserve(f"{name}@video", parcel, quantity=2)
    assert (reserved["status"], reserved["points"], bool(reserved["reservedUntil"])) == ("RESERVED", "600", True)
    assert await wallet(world, name) == (600, 400)
    assert await world.balance("video", name) == 1_000
    too_much = await world.try_redeem(f"{name}@video", await world.publish("delivery", 401))
    assert (too_much["code"], too_much["available"]) == ("INSUFFICIENT_POINTS", "400")
    assert (await world.availability("video", parcel))["remaining"] == 0
    confirmed = await world.step(f"{name}@video", "confirm", reserved, idempotencyKey="yes")
    assert moved(confirmed, "FULFILLED")
    again = await world.step(f"{name}@video", "confirm", reserved, idempotencyKey="yes")
    assert again == confirmed | {"replayed": True}
    assert await wallet(world, name) == (0, 400)


async def test_a_part_can_be_confirmed_and_the_rest_is_let_go(world: World) -> None:
    """Of three reserved, two are taken and paid; points, stock and the member's limit of the third come back."""
    name, parcel = await member(world), await world.publish("delivery", 100, stock=3, memberLimit=3)
    reserved = await world.reserve(f"{name}@video's server", parcel, quantity=3)
    confirmed = await world.step("video", "confirm", reserved, quantity=2)
    assert moved(confirmed, "FULFILLED")
    assert (confirmed["redemption"]["quantity"], confirmed["redemption"]["points"]) == (2, "200")
    assert await wallet(world, name) == (0, 800)
    there = await world.availability(f"{name}@video", parcel)
    assert (there["remaining"], there["memberRemaining"]) == (1, 1)
    assert refusal(
        await world.step("video", "confirm", reserved),
        "INVALID_TRANSITION",
        ["input", "redemption"],
        status="FULFILLED",
    )


@pytest.mark.parametrize("who", ["member", "server"])
async def test_a_cancelled_reservation_gives_everything_back(world: World, who: str) -> None:
    """Points, stock and limit are as if it had never been, and it cannot be confirmed any more."""
    name, parcel = await member(world), await world.publish("delivery", 100, stock=1, memberLimit=1)
    caller = f"{name}@video" if who == "member" else "video"
    reserved = await world.reserve(f"{name}@video", parcel)
    assert moved(await world.step(caller, "cancel", reserved), "CANCELLED")
    assert await wallet(world, name) == (0, 1_000)
    there = await world.availability(f"{name}@video", parcel)
    assert (there["remaining"], there["memberRemaining"], there["redeemable"]) == (1, 1, True)
    late = await world.step(caller, "confirm", reserved)
    assert refusal(late, "INVALID_TRANSITION", ["input", "redemption"], status="CANCELLED")


async def test_an_expired_reservation_can_never_be_confirmed(world: World) -> None:
    """From its deadline on it is EXPIRED, swept or not; the sweeper then frees what it held."""
    name, parcel = await member(world), await world.publish("delivery", 100)
    reserved = await world.reserve(f"{name}@video", parcel, ttlSeconds=1)
    await asyncio.sleep(1.05)
    late = await world.step(f"{name}@video", "confirm", reserved)
    assert refusal(late, "INVALID_TRANSITION", ["input", "redemption"], status="EXPIRED")
    for _ in range(50):
        if await wallet(world, name) == (0, 1_000):
            break
        await asyncio.sleep(0.1)
    assert await wallet(world, name) == (0, 1_000)


async def test_cancelling_against_confirming_has_one_winner(world: World) -> None:
    """Asked for both at once, one happens, the other is an invalid transition, and the points are in one place."""
    for _ in range(5):
        name, parcel = await member(world), await world.publish("delivery", 100)
        reserved = await world.reserve(f"{name}@video", parcel)
        told = await asyncio.gather(*(world.step("video", step, reserved) for step in ("confirm", "cancel")))
        assert sorted(each["__typename"] for each in told) == ["InvalidTransition", "RedemptionActionSuccess"]
        spent = told[0]["__typename"] == "RedemptionActionSuccess"
        assert await wallet(world, name) == (0, 900 if spent else 1_000)


async def test_codes_are_reserved_and_given_when_confirmed(world: World) -> None:
    """A reservation of a code pool takes a code out of others' reach, and tells it only when it is confirmed."""
    name, voucher = await member(world), await world.publish("delivery", 100, fulfilment="INSTANT_CODE")
    await world.done("delivery", "addCodes", sku=voucher["sku"], codes=["only-one"])
    reserved = await world.reserve(f"{name}@video", voucher)
    assert reserved["codes"] == []
    assert (await world.try_redeem(f"{name}@video", voucher))["reasons"] == ["OUT_OF_STOCK"]
    confirmed = await world.step(f"{name}@video", "confirm", reserved)
    assert moved(confirmed, "FULFILLED")
    assert confirmed["redemption"]["codes"] == ["only-one"]


async def test_a_partner_delivers_or_fails(world: World) -> None:
    """CONFIRMED becomes FULFILLED, or FAILED and then points, stock and limit come back by themselves."""
    name, ride = (
        await member(world),
        await world.publish("rides", 100, fulfilment="PARTNER_CALL", stock=2, memberLimit=2),
    )
    first, second = [await world.redeem(f"{name}@video", ride) for _ in range(2)]
    assert first["status"] == "CONFIRMED"
    assert moved(await world.step("rides", "fulfil", first), "FULFILLED")
    assert moved(await world.step("rides", "fail", second, reason="no driver"), "FAILED")
    assert await wallet(world, name) == (0, 900)
    there = await world.availability(f"{name}@video", ride)
    assert (there["remaining"], there["memberRemaining"]) == (1, 1)
    late = await world.step("rides", "fail", first)
    assert refusal(late, "INVALID_TRANSITION", ["input", "redemption"], status="FULFILLED")


async def test_reversals_give_back_what_was_taken_and_no_more(world: World) -> None:
    """Three parts of a redemption are the whole; a fourth has nothing to reverse."""
    name, ride = await member(world), await world.publish("rides", 111)
    taken = await world.redeem(f"{name}@video", ride, quantity=3)
    assert moved(await world.step("rides", "reverse", taken, quantity=1), "FULFILLED")
    assert await wallet(world, name) == (0, 778)
    too_many = await world.step("rides", "reverse", taken, quantity=3)
    assert refusal(too_many, "VALIDATION_ERROR", ["input", "quantity"])
    assert moved(await world.step("admin", "reverse", taken, quantity=1), "FULFILLED")
    assert moved(await world.step("rides", "reverse", taken), "REVERSED")
    assert await wallet(world, name) == (0, 1_000)
    late = await world.step("rides", "reverse", taken)
    assert refusal(late, "INVALID_TRANSITION", ["input", "redemption"], status="REVERSED")


async def test_two_reversals_at_once_give_back_once(world: World) -> None:
    """Reversal against reversal: one winner, books right."""
    name, ride = await member(world), await world.publish("rides", 100)
    taken = await world.redeem(f"{name}@video", ride)
    told = await asyncio.gather(*(world.step("rides", "reverse", taken) for _ in range(4)))
    assert sorted(each["__typename"] for each in told) == ["InvalidTransition"] * 3 + ["RedemptionActionSuccess"]
    assert await wallet(world, name) == (0, 1_000)


@pytest.mark.parametrize(
    ("who", "step"),
    [("delivery", "confirm"), ("rides", "confirm"), ("delivery", "reverse"), ("video", "fulfil"), ("video", "fail")],
)
async def test_a_step_is_for_those_concerned(world: World, who: str, step: str) -> None:
    """The channel and its member until it is confirmed, the provider afterwards; to others it is not there."""
    name, ride = await member(world), await world.publish("rides", 100, fulfilment="PARTNER_CALL")
    take = world.reserve if step == "confirm" else world.redeem
    taken = await take(f"{name}@video", ride)
    assert refusal(await world.step(who, step, taken), "NOT_FOUND", ["input", "redemption"])
    nothing = await world.step(who, step, {"id": "bm90aGluZw"})
    assert refusal(nothing, "NOT_FOUND", ["input", "redemption"])


async def test_another_member_cannot_confirm(world: World) -> None:
    """A member confirms and cancels its own reservations alone."""
    name, other = await member(world), await member(world)
    reserved = await world.reserve(f"{name}@video", await world.publish("rides", 100))
    for step in ("confirm", "cancel"):
        told = await world.step(f"{other}@video", step, reserved)
        assert refusal(told, "NOT_FOUND", ["input", "redemption"])


async def test_a_quote_locks_price_and_agreement(world: World) -> None:
    """What was quoted is what is taken and owed, though price and agreement change in between; then it is refused."""
    issuer, provider = world.fresh("issuer"), world.fresh("provider")
    await world.onboard(issuer)
    await world.onboard(provider)
    await world.agree(issuer, provider, "8.00")
    trip = await world.publish(provider, 100)
    await world.award(issuer, "ivy", 1_000)
    quote = await world.quote(f"ivy@{issuer}'s server", trip, quantity=2)
    assert (quote["points"], quote["debits"][0]["owed"]["amount"]) == ("200", "1.60")
    await world.publish(provider, 150, sku=trip["sku"])
    await world.agree(issuer, provider, "99.00")
    taken = await world.redeem(f"ivy@{issuer}'s server", trip, quantity=2, quote=quote["id"])
    assert (taken["points"], taken["debits"][0]["owed"]["amount"]) == ("200", "1.60")
    for wrong in ({"quantity": 1, "quote": quote["id"]}, {"quantity": 2, "quote": "bm90aGluZw"}):
        told = await world.try_redeem(f"ivy@{issuer}'s server", trip, **wrong)
        expected = "VALIDATION_ERROR" if wrong["quantity"] == 1 else "NOT_FOUND"
        assert refusal(told, expected, ["input", "quote"])
    fresh = await world.redeem(f"ivy@{issuer}'s server", trip)
    assert (fresh["points"], fresh["debits"][0]["owed"]["amount"]) == ("150", "14.85")


async def test_a_quote_says_why_not(world: World) -> None:
    """It climbs the same ladder as the redemption that it is for."""
    name = await member(world, 50)
    told = await world.quote(f"{name}@video", await world.publish("rides", 100))
    assert (told["code"], told["required"], told["available"]) == ("INSUFFICIENT_POINTS", "100", "50")
    over = await world.publish("rides", 10, validFrom=at(await world.services.now() + timedelta(days=1)))
    assert (await world.quote(f"{name}@video", over))["reasons"] == ["NOT_STARTED"]


@pytest.mark.parametrize(
    ("step", "given", "path"),
    [
        ("confirm", {"idempotencyKey": ""}, "idempotencyKey"),
        ("confirm", {"quantity": 0}, "quantity"),
        ("fulfil", {"quantity": 1}, "quantity"),
        ("cancel", {"reason": "x" * 501}, "reason"),
    ],
)
async def test_a_step_has_a_shape(world: World, step: str, given: dict[str, Any], path: str) -> None:
    """What could be no step is a ValidationError with its path."""
    told = await world.step("video", step, {"id": "x"}, **given)
    assert refusal(told, "VALIDATION_ERROR", ["input", path])


@pytest.mark.parametrize("seconds", [0, 86_401])
async def test_a_deadline_is_within_a_day(world: World, seconds: int) -> None:
    """A deadline is from one second to a day."""
    told = await world.try_reserve("anna@video", "x", ttlSeconds=seconds)
    assert refusal(told, "VALIDATION_ERROR", ["input", "ttlSeconds"])


async def test_what_a_key_reserved_is_found_by_it(world: World) -> None:
    """`redemptions(idempotencyKey:)` finds a reservation as well."""
    name = await member(world)
    reserved = await world.reserve(f"{name}@video", await world.publish("rides", 100), idempotencyKey="hold it")
    found = await world.read(f"{name}@video", '{ redemptions(idempotencyKey: "hold it") { nodes { id status } } }')
    assert found == {"nodes": [{"id": reserved["id"], "status": "RESERVED"}]}
