"""Taking a benefit: whose points, what is owed, and exactly once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.graph.speech import Payload, World, at, refusal


async def somebody(world: World, **points: int) -> str:
    """Return a member of video with points of each issuer named, linked to all of them."""
    member = world.fresh("member")
    await world.award("video", member, points.pop("video", 1))
    for issuer, amount in points.items():
        await world.link(f"{member}@video", issuer)
        await world.award(issuer, member, amount)
    return member


async def debits(world: World, redemption: Payload) -> list[str]:
    """Return who owes what, as finance sees it: "video 70 0.56 EUR"."""
    query = """query($id: ID!) { redemption(id: $id) {
        debits { issuer { handle } points owed { amount currency } } } }"""
    found = await world.read("viewer", query, id=redemption["id"])
    return [
        f"{one['issuer']['handle']} {one['points']}"
        + (f" {one['owed']['amount']} {one['owed']['currency']}" if one["owed"] else "")
        for one in found["debits"]
    ]


# ---------------------------------------------------------------- what a redemption is


@pytest.mark.parametrize(
    ("fulfilment", "status"), [("NONE", "FULFILLED"), ("INSTANT_CODE", "FULFILLED"), ("PARTNER_CALL", "CONFIRMED")]
)
async def test_a_redemption_ends_where_its_fulfilment_says(world: World, fulfilment: str, status: str) -> None:
    """NONE and INSTANT_CODE are FULFILLED at once, PARTNER_CALL is CONFIRMED; the points move in each."""
    member = await somebody(world, video=100)
    ride = await world.publish("rides", 30, fulfilment=fulfilment)
    if fulfilment == "INSTANT_CODE":
        await world.done("rides", "addCodes", sku=ride["sku"], codes=["A", "B"])
    payload = await world.try_redeem(f"{member}@video", ride, quantity=2, expectedPoints="60")
    taken = payload["redemption"]
    assert (taken["status"], taken["quantity"], taken["points"]) == (status, 2, "60")
    assert (taken["benefit"]["sku"], taken["channel"]["handle"]) == (ride["sku"], "video")
    assert taken["member"]["reference"] == member
    assert taken["createdAt"] == taken["updatedAt"]
    assert taken["codes"] == (["A", "B"] if fulfilment == "INSTANT_CODE" else [])
    assert payload["replayed"] is False
    wallet = payload["wallet"]
    assert (wallet["balance"], wallet["available"], wallet["held"]) == ("40", "40", "0")


async def test_redemptions_are_found_by_those_they_concern(world: World) -> None:
    """The member, the channel and the provider list it; status filters; a key finds what it did."""
    member, key = await somebody(world, video=100), world.fresh("redeem")
    parcel = await world.publish("delivery", 10, fulfilment="PARTNER_CALL")
    taken = await world.redeem(f"{member}@video", parcel, idempotencyKey=key)
    query = """query($s: [RedemptionStatus!], $k: String) {
        redemptions(first: 1, status: $s, idempotencyKey: $k) { nodes { id } } }"""
    here = {"nodes": [{"id": taken["id"]}]}
    for who in (f"{member}@video", "video", "delivery", "viewer"):
        assert await world.read(who, query) == here, who
        assert await world.read(who, query, s=["CONFIRMED"]) == here, who
        assert await world.read(who, query, s=[]) == {"nodes": []}
    assert await world.read(f"{member}@video", query, s=["FULFILLED"]) == {"nodes": []}
    assert await world.read(f"{member}@video", query, k=key) == here
    assert await world.read(f"{member}@video", query, k=key, s=["FULFILLED"]) == {"nodes": []}
    for who, other in (("video", key), (f"{member}@video", "unused")):
        assert await world.read(who, query, k=other) == {"nodes": []}


# ---------------------------------------------------------------- whose points


async def test_what_expires_first_is_spent_first_across_issuers(world: World) -> None:
    """Lots go first-expiring-first whoever issued them, what never expires last, then in the order of award."""
    member = await somebody(world, video=5, rides=5, delivery=5)
    for issuer, points, year in (
        ("video", 10, 2902), ("rides", 10, 2901), ("delivery", 10, 2903), ("rides", 10, 2902), ("video", 10, 2901),
    ):  # fmt: skip
        await world.award(issuer, member, points, expiresAt=f"{year}-01-01T00:00:00Z")
    query = "{ viewer { member { wallet { lots { nodes { issuer { handle } remaining } } } } } }"

    async def left() -> str:
        lots = (await world.read(f"{member}@video", query))["member"]["wallet"]["lots"]["nodes"]
        return " ".join(f"{lot['issuer']['handle'][0]}{lot['remaining']}" for lot in lots)

    assert await left() == "v5 r5 d5 v10 r10 d10 r10 v10"
    for price, remaining in (
        (8, "v5 r5 d5 v10 r2 d10 r10 v10"),
        (3, "v5 r5 d5 v10 r0 d10 r10 v9"),
        (20, "v5 r5 d5 v0 r0 d10 r9 v0"),
        (15, "v5 r5 d5 v0 r0 d4 r0 v0"),
        (6, "v3 r5 d5 v0 r0 d0 r0 v0"),
        (9, "v0 r0 d4 v0 r0 d0 r0 v0"),
    ):
        await world.redeem(f"{member}@video", await world.publish("rides", price))
        assert await left() == remaining, price


async def test_own_points_cost_nobody_anything(world: World) -> None:
    """Points spent at their own issuer owe nothing, and need no agreement."""
    loner = await world.onboard(world.fresh("loner"))
    await world.award(loner, "anna", 50)
    taken = await world.redeem(f"anna@{loner}", await world.publish(loner, 50))
    assert await debits(world, taken) == [f"{loner} 50"]


async def test_one_row_per_issuer_whatever_number_of_lots(world: World) -> None:
    """Several lots of one issuer are one debit, in the order in which the issuers were first asked."""
    member = await somebody(world, video=10)
    await world.link(f"{member}@video", "rides")
    for issuer, points, year in (("video", 10, 2901), ("rides", 10, 2902), ("video", 10, 2903)):
        await world.award(issuer, member, points, expiresAt=f"{year}-01-01T00:00:00Z")
    taken = await world.redeem(f"{member}@video", await world.publish("delivery", 35))
    assert await debits(world, taken) == ["video 25 0.20 EUR", "rides 10 0.08 EUR"]


async def test_points_without_an_agreement_are_passed_over(world: World) -> None:
    """Lots of an issuer without an agreement stay; if nothing else is left the reason is NOT_ELIGIBLE."""
    stranger = await world.onboard(world.fresh("stranger"))
    member = await somebody(world, video=30, **{stranger: 500})
    ride = await world.publish("rides", 30)
    assert await debits(world, await world.redeem(f"{member}@video", ride)) == ["video 30 0.24 EUR"]
    payload = await world.try_redeem(f"{member}@video", ride)
    path = ["input", "benefit"]
    assert refusal(payload, "BENEFIT_UNAVAILABLE", path, retryable=True, reasons=["NOT_ELIGIBLE"])
    await world.agree(stranger, "rides", "10.00")
    assert await debits(world, await world.redeem(f"{member}@video", ride)) == [f"{stranger} 30 0.30 EUR"]
    assert await world.balance("video", member) == 470


# ---------------------------------------------------------------- what is owed


async def trade(world: World, prices: dict[str, str], currency: str = "EUR", **terms: int) -> tuple[str, str]:
    """Onboard a provider that has an agreement with fresh issuers at these prices per 1,000 points."""
    provider = await world.onboard(world.fresh("provider"))
    member = world.fresh("member")
    await world.award(provider, member, 1)
    for name, price in prices.items():
        issuer = await world.onboard(f"{name}-{provider}")
        await world.agree(issuer, provider, price, currency, **terms)
        await world.link(f"{member}@{provider}", issuer)
    return provider, f"{member}@{provider}"


@pytest.mark.parametrize(
    ("points", "prices", "owed"),
    [
        # 25 x 0.10 = 2.5 cents: half to even is 2; 35 -> 3.5 is 4; 26 -> 2.6 is 3
        ([25], ["1.00"], ["0.02"]),
        ([35], ["1.00"], ["0.04"]),
        ([26], ["1.00"], ["0.03"]),
        ([5], ["1.00"], ["0.00"]),
        # 10 + 10 + 10 at 3.33 cents each = 9.99 -> 10: floors 3 3 3, the cent left to the first of equal remainders
        ([10, 10, 10], ["3.33", "3.33", "3.33"], ["0.04", "0.03", "0.03"]),
        # exact 1.1 + 2.7 + 3.6 = 7.4 -> 7: floors 1 2 3 = 6, the one left to the largest remainder .7
        ([11, 27, 36], ["1.00", "1.00", "1.00"], ["0.01", "0.03", "0.03"]),
        # exact 1.5 + 2.5 + 3.5 = 7.5 -> 8 (even): floors 1 2 3, two left, ties in the order consumed
        ([15, 25, 35], ["1.00", "1.00", "1.00"], ["0.02", "0.03", "0.03"]),
        # exact 0.5 + 2.0 = 2.5 -> 2: floors 0 2, nothing left
        ([5, 20], ["1.00", "1.00"], ["0.00", "0.02"]),
        # different prices: 70 x 0.8 = 56.0, 33 x 0.75 = 24.75; 80.75 -> 81: 56, 25
        ([70, 33], ["8.00", "7.50"], ["0.56", "0.25"]),
        # nothing is owed under a price of nothing
        ([40], ["0.00"], ["0.00"]),
    ],
)
async def test_what_is_owed_can_be_recomputed_by_hand(
    world: World, points: list[int], prices: list[str], owed: list[str]
) -> None:
    """Exact first, one rounding half to even of the sum, and the cents left to the largest remainders."""
    names = [f"i{n}" for n in range(len(points))]
    provider, who = await trade(world, dict(zip(names, prices, strict=True)))
    for n, (name, amount) in enumerate(zip(names, points, strict=True)):
        await world.award(f"{name}-{provider}", who.partition("@")[0], amount, expiresAt=f"29{n:02}-01-01T00:00:00Z")
    taken = await world.redeem(who, await world.publish(provider, sum(points)))
    assert await debits(world, taken) == [
        f"{name}-{provider} {amount} {money} EUR" for name, amount, money in zip(names, points, owed, strict=True)
    ]


async def test_each_currency_is_rounded_by_itself(world: World) -> None:
    """Rows of different currencies are sums of their own, with the digits of each."""
    provider, who = await trade(world, {"eur": "1.00"})
    member = who.partition("@")[0]
    for name, price, currency in (("jpy", "150", "JPY"), ("bhd", "0.333", "BHD")):
        issuer = await world.onboard(f"{name}-{provider}")
        await world.agree(issuer, provider, price, currency)
        await world.link(who, issuer)
    for n, name in enumerate(("eur", "jpy", "bhd")):
        await world.award(f"{name}-{provider}", member, 50, expiresAt=f"290{n}-01-01T00:00:00Z")
    taken = await world.redeem(who, await world.publish(provider, 150))
    # 5.0 cents; 7.5 yen -> 8 (even); 16.65 -> 17 thousandths of a dinar
    expected = [f"eur-{provider} 50 0.05 EUR", f"jpy-{provider} 50 8 JPY", f"bhd-{provider} 50 0.017 BHD"]
    assert await debits(world, taken) == expected


async def test_the_most_special_agreement_holds_and_is_pinned(world: World) -> None:
    """(issuer, provider), (issuer, any), (any, provider); a later version changes nothing that was redeemed before."""
    provider, issuer = await world.onboard(world.fresh("provider")), await world.onboard(world.fresh("issuer"))
    member = world.fresh("member")
    await world.award(issuer, member, 1_000)
    benefit = await world.publish(provider, 100)
    who = f"{member}@{issuer}"
    assert (await world.try_redeem(who, benefit))["reasons"] == ["NOT_ELIGIBLE"]
    taken = []
    for (owes, owed_to), price, owed in (
        ((None, provider), "1.00", "0.10"), ((issuer, None), "2.00", "0.20"), ((None, provider), "9.00", "0.20"),
        ((issuer, provider), "3.00", "0.30"), ((issuer, None), "9.00", "0.30"), ((issuer, provider), "4.00", "0.40"),
    ):  # fmt: skip
        await world.agree(owes, owed_to, price)
        taken.append((await world.redeem(who, benefit), f"{issuer} 100 {owed} EUR"))
        for redemption, said in taken:
            assert await debits(world, redemption) == [said]


async def test_an_agreement_holds_from_its_time_on(world: World) -> None:
    """A version for the future is not used before; versions count up, newest first in the list."""
    provider, issuer = await world.onboard(world.fresh("provider")), await world.onboard(world.fresh("issuer"))
    await world.award(issuer, "anna", 100)
    benefit, who = await world.publish(provider, 10), f"anna@{issuer}"
    soon = await world.services.now() + timedelta(milliseconds=400)
    await world.agree(issuer, provider, "1.00")
    second = await world.agree(issuer, provider, "5.00", effectiveFrom=at(soon))
    assert (second["version"], second["effectiveFrom"]) == (2, at(soon))
    assert await debits(world, await world.redeem(who, benefit)) == [f"{issuer} 10 0.01 EUR"]
    await asyncio.sleep(0.5)
    assert await debits(world, await world.redeem(who, benefit)) == [f"{issuer} 10 0.05 EUR"]
    query = "query($i: ID) { agreements(issuer: $i) { version } }"
    assert [one["version"] for one in await world.read(issuer, query, i=world.ids[issuer])] == [2, 1]


# ---------------------------------------------------------------- exactly once


@pytest.mark.parametrize("way", ["@video", "@video's server"])
async def test_a_replayed_redemption_moves_nothing(world: World, way: str) -> None:
    """The same key with the same input answers the same redemption, whatever has become of the benefit."""
    member, key = await somebody(world, video=100), world.fresh("redeem")
    ride = await world.publish("rides", 60, stock=1)
    first = await world.try_redeem(f"{member}{way}", ride, idempotencyKey=key)
    await world.publish("rides", 61, sku=ride["sku"], stock=1, status="RETIRED")
    again = await world.try_redeem(f"{member}{way}", ride, idempotencyKey=key)
    assert again == {**first, "replayed": True}
    assert await world.balance("video", member) == 40


@pytest.mark.parametrize("way", ["@video", "@video's server"])
async def test_the_same_redemption_twenty_times_at_once_is_one(world: World, way: str) -> None:
    """Of concurrent repetitions one moves points; all answer the one redemption."""
    member, key = await somebody(world, video=100), world.fresh("redeem")
    pool = await world.publish("rides", 30, fulfilment="INSTANT_CODE")
    await world.done("rides", "addCodes", sku=pool["sku"], codes=["A", "B"])
    payloads = await asyncio.gather(*(world.try_redeem(f"{member}{way}", pool, idempotencyKey=key) for _ in range(20)))
    assert Counter(payload["replayed"] for payload in payloads) == {True: 19, False: 1}
    assert len({payload["redemption"]["id"] for payload in payloads}) == 1
    assert {tuple(payload["redemption"]["codes"]) for payload in payloads} == {("A",)}
    assert await world.balance("video", member) == 70
    assert (await world.availability("rides", pool))["remaining"] == 1


async def test_a_default_sent_or_left_out_is_the_same_input(world: World) -> None:
    """Spelling out defaults, or writing points as a number, replays; any other input conflicts."""
    member, key = await somebody(world, video=100), world.fresh("redeem")
    ride = await world.publish("rides", 10)
    who = f"{member}@video's server"
    await world.redeem(who, ride, idempotencyKey=key, expectedPoints="10")
    for same in (
        {"expectedPoints": 10}, {"expectedPoints": "10", "quantity": 1}, {"expectedPoints": "10", "region": None},
    ):  # fmt: skip
        assert (await world.try_redeem(who, ride, idempotencyKey=key, **same))["replayed"] is True
    identity = (await world.member("video", member))["id"]
    for other in (
        {}, {"expectedPoints": "20"}, {"expectedPoints": "10", "quantity": 2}, {"expectedPoints": "10", "region": "DE"},
        {"expectedPoints": "10", "member": {"id": identity}},
        {"expectedPoints": "10", "benefit": (await world.publish("rides", 10))["id"]},
    ):  # fmt: skip
        conflict = await world.try_redeem(who, ride, idempotencyKey=key, **other)
        assert refusal(conflict, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    assert await world.balance("video", member) == 90


async def test_a_key_is_its_members_and_its_partners_own(world: World) -> None:
    """The same key of another member of the app, of the app's server, or of another partner is another request."""
    key, ride = world.fresh("key"), await world.publish("delivery", 10)
    anna, bob = await somebody(world, video=100, rides=10), await somebody(world, video=100)
    callers = (f"{anna}@video", f"{bob}@video", f"{anna}@video's server", f"{anna}@rides", f"{anna}@rides's server")
    made = [await world.try_redeem(who, ride, idempotencyKey=key) for who in callers]
    assert [one["replayed"] for one in made] == [False] * 5
    assert len({one["redemption"]["id"] for one in made}) == 5
    assert [(await world.try_redeem(who, ride, idempotencyKey=key))["replayed"] for who in callers] == [True] * 5
    assert await world.balance("video", anna) == 70


async def test_a_refusal_is_not_remembered(world: World) -> None:
    """The key of a refused redemption decides anew, and may then stand for another input."""
    member, key = await somebody(world, video=10), world.fresh("redeem")
    ride = await world.publish("rides", 30)
    refused = await world.try_redeem(f"{member}@video", ride, idempotencyKey=key)
    assert refusal(refused, "INSUFFICIENT_POINTS", None, retryable=True, required="30", available="10")
    query = "query($k: String) { redemptions(idempotencyKey: $k) { nodes { id } } }"
    assert await world.read(f"{member}@video", query, k=key) == {"nodes": []}
    await world.award("video", member, 50)
    taken = await world.redeem(f"{member}@video", ride, idempotencyKey=key)
    assert await world.read(f"{member}@video", query, k=key) == {"nodes": [{"id": taken["id"]}]}


# ---------------------------------------------------------------- scarce things


async def test_fifty_redemptions_at_once_get_fifty_codes(world: World) -> None:
    """Each code is handed out exactly once; who comes too late is told OUT_OF_STOCK and pays nothing."""
    members = [await somebody(world, video=10) for _ in range(10)]
    pool = await world.publish("rides", 1, fulfilment="INSTANT_CODE")
    codes = [f"CODE-{n:03}" for n in range(45)]
    await world.done("rides", "addCodes", sku=pool["sku"], codes=codes)
    payloads = await asyncio.gather(*(world.try_redeem(f"{members[n % 10]}@video", pool) for n in range(50)))
    given = [code for one in payloads if "redemption" in one for code in one["redemption"]["codes"]]
    assert sorted(given) == codes
    assert [one["reasons"] for one in payloads if "redemption" not in one] == [["OUT_OF_STOCK"]] * 5
    assert sum([await world.balance("video", member) for member in members]) == 100 - 45


async def test_no_code_rests_in_the_open(world: World) -> None:
    """The database holds a code nowhere in plain text: neither loaded nor handed out, nor as part of anything."""
    member = await somebody(world, video=10)
    pool = await world.publish("rides", 1, fulfilment="INSTANT_CODE")
    codes = ["PLAINTEXT-GIVEN-1", "PLAINTEXT-KEPT-2"]
    await world.done("rides", "addCodes", sku=pool["sku"], codes=codes)
    assert (await world.redeem(f"{member}@video", pool))["codes"] == codes[:1]
    looked = 0
    for name in await world.services.db.list_collection_names():
        async for document in world.services.db[name].find({}):
            looked += 1
            text = everything(document)
            assert b"PLAINTEXT" not in text, name
    assert looked > 20
    assert b"CODE-42" in everything({"a": [{"b": b"xCODE-42y"}]})


def everything(value: Any) -> bytes:
    """Return every string and every byte of a document, one after the other."""
    if isinstance(value, dict):
        return b" ".join(everything(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return b" ".join(map(everything, value))
    return bytes(value) if isinstance(value, bytes) else str(value).encode()


async def test_the_last_unit_goes_to_one(world: World) -> None:
    """Of many that want the last units at once as many get one as there are."""
    members = [await somebody(world, video=10) for _ in range(12)]
    ride = await world.publish("rides", 10, stock=5)
    payloads = await asyncio.gather(*(world.try_redeem(f"{member}@video", ride) for member in members))
    assert Counter(one["__typename"] for one in payloads) == {"RedeemBenefitSuccess": 5, "BenefitUnavailable": 7}
    assert {tuple(one["reasons"]) for one in payloads if "reasons" in one} == {("OUT_OF_STOCK",)}
    assert (await world.availability("rides", ride))["remaining"] == 0


async def test_a_member_limit_holds_at_once(world: World) -> None:
    """Of many redemptions of one member at once as many pass as its limit allows, through whatever partner."""
    member = await somebody(world, video=100, rides=1)
    parcel = await world.publish("delivery", 1, memberLimit=3)
    ways = ["@video", "@rides", "@video's server", "@rides's server"] * 3
    payloads = await asyncio.gather(*(world.try_redeem(f"{member}{way}", parcel) for way in ways))
    assert Counter(one["__typename"] for one in payloads) == {"RedeemBenefitSuccess": 3, "BenefitUnavailable": 9}
    assert await world.balance("video", member) == 98


async def test_points_are_spent_once(world: World) -> None:
    """Of many redemptions at once as many pass as there are points, and the balance is never negative."""
    member = await somebody(world, video=55)
    ride = await world.publish("rides", 10)
    payloads = await asyncio.gather(*(world.try_redeem(f"{member}@video", ride) for _ in range(12)))
    assert Counter(one["__typename"] for one in payloads) == {"RedeemBenefitSuccess": 5, "InsufficientPoints": 7}
    assert {one["available"] for one in payloads if "available" in one} == {"5"}
    assert await world.balance("video", member) == 5
