"""Awards: points that are the member's, exactly once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from tests.graph.speech import Payload, World, at, refusal


async def test_points_awarded_are_the_members(world: World) -> None:
    """An award makes a lot of the asking issuer; the member comes into being at first mention."""
    member = world.fresh("member")
    payload = await world.award("video", member, 100, reason="welcome")
    lot = payload["lot"]
    assert (lot["awarded"], lot["remaining"], lot["held"], lot["expiresAt"]) == ("100", "100", "0", None)
    assert lot["issuer"] == {"handle": "video"}
    assert payload["member"]["reference"] == member
    assert payload["replayed"] is False
    wallet = payload["wallet"]
    assert (wallet["balance"], wallet["held"], wallet["available"]) == ("100", "0", "100")
    assert (await world.member("video", member))["id"] == payload["member"]["id"]


async def test_a_member_can_be_named_by_its_id(world: World) -> None:
    """The id that a partner has of a member is as good as its reference."""
    member = world.fresh("member")
    identity = (await world.award("video", member, 1))["member"]["id"]
    await world.done("video", "awardPoints", member={"id": identity}, points=2, idempotencyKey=world.fresh("award"))
    assert await world.balance("video", member) == 3


async def test_a_replayed_award_moves_nothing(world: World) -> None:
    """The same key with the same input answers the same lot as it now stands, for ever."""
    member, key = world.fresh("member"), world.fresh("award")
    first = await world.award("video", member, 100, key=key)
    await world.redeem(f"{member}@video", await world.publish("video", 30))
    again = await world.award("video", member, 100, key=key)
    assert again["replayed"] is True
    assert again["lot"] == {**first["lot"], "remaining": "70"}
    assert again["wallet"]["balance"] == "70"
    assert again["member"] == first["member"]


async def test_the_same_award_twenty_times_at_once_is_one(world: World) -> None:
    """Concurrent repetitions of an award, also the one that makes the member, give one lot."""
    member, key = world.fresh("member"), world.fresh("award")
    payloads = await asyncio.gather(*(world.award("video", member, 7, key=key) for _ in range(20)))
    assert sorted(payload["replayed"] for payload in payloads) == [False] + [True] * 19
    assert len({payload["lot"]["id"] for payload in payloads}) == 1
    assert await world.balance("video", member) == 7


async def test_first_mentions_at_once_make_one_member(world: World) -> None:
    """A member that many requests mention first, awards and tokens together, is one member."""
    member = world.fresh("member")
    awards = [world.award("video", member, 1) for _ in range(10)]
    tokens = [world.token(f"{member}@video", scope) for scope in ("points:read", "points:redeem", "benefits:read")]
    made = await asyncio.gather(*awards, *tokens)
    assert len({payload["member"]["id"] for payload in made if isinstance(payload, dict)}) == 1
    assert await world.balance("video", member) == 10


async def test_the_same_input_is_the_same_whatever_is_spelled_out(world: World) -> None:
    """A default sent or left out, a number as a string or not, a time in another offset: one and the same award."""
    member, key = world.fresh("member"), world.fresh("award")

    async def award(**given: Any) -> bool:
        named = {"member": {"reference": member}, "idempotencyKey": key, **given}
        replayed: bool = (await world.done("video", "awardPoints", **named))["replayed"]
        return replayed

    assert await award(points="5", expiresAt="2999-01-01T12:00:00Z") is False
    for same in (
        {"points": 5, "expiresAt": "2999-01-01T12:00:00.000Z"},
        {"points": "5", "expiresAt": "2999-01-01T14:00:00+02:00", "reason": None},
        {"points": "5", "expiresAt": "2999-01-01T12:00:00.0004Z"},
    ):
        assert await award(**same) is True
    assert await world.balance("video", member) == 5


async def test_another_input_under_the_same_key_conflicts(world: World) -> None:
    """Any other field under the same key is an IdempotencyConflict, and nothing moves; a name is not an id."""
    member, key = world.fresh("member"), world.fresh("award")
    first = await world.award("video", member, 100, key=key)
    same: Payload = {"member": {"reference": member}, "points": "100", "idempotencyKey": key}
    for other in (
        {"points": "101"}, {"reason": "another"}, {"expiresAt": "2999-01-01T00:00:00Z"},
        {"member": {"reference": "another"}}, {"member": {"id": first["member"]["id"]}},
    ):  # fmt: skip
        payload = await world.do("video", "awardPoints", **{**same, **other})
        assert refusal(payload, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    assert await world.balance("video", member) == 100


async def test_a_key_is_its_partners_own(world: World) -> None:
    """Two issuers may use the same key; so may another operation."""
    key = world.fresh("key")
    await world.award("video", "otto", 10, key=key)
    assert (await world.award("rides", "otto", 10, key=key))["replayed"] is False
    assert await world.redeem("otto@video's server", await world.publish("rides", 1), idempotencyKey=key)


async def test_a_refused_award_is_not_remembered(world: World) -> None:
    """The key of a refused award decides anew."""
    key, member = world.fresh("award"), world.fresh("member")
    refused = await world.do("video", "awardPoints", member={"id": "bm9uZQ"}, points="5", idempotencyKey=key)
    assert refusal(refused, "NOT_FOUND", ["input", "member"])
    assert (await world.award("video", member, 5, key=key))["replayed"] is False


async def test_points_expire(world: World) -> None:
    """From the moment that a lot ends its points count no more, and its award can still be replayed."""
    member, key = world.fresh("member"), world.fresh("award")
    ends = at(await world.services.now() + timedelta(milliseconds=400))
    await world.award("video", member, 100, key=key, expiresAt=ends)
    await world.award("video", member, 11, expiresAt="2998-01-01T00:00:00Z")
    await world.award("video", member, 1)
    assert await world.balance("video", member) == 112
    query = """query($r: String!, $b: DateTime!) { member(by: {reference: $r}) { wallet { expiring(before: $b) } } }"""
    for before, points in ((ends, "0"), ("2998-01-01T00:00:00Z", "100"), ("2998-01-01T00:00:00.001Z", "111")):
        found = await world.read("video", query, r=member, b=before)
        assert found["wallet"]["expiring"] == points
    await asyncio.sleep(0.5)
    assert await world.balance("video", member) == 12
    again = await world.award("video", member, 100, key=key, expiresAt=ends)
    assert again["replayed"] is True
    assert again["lot"]["remaining"] in ("100", "0")  # before the sweeper came, or after
    short = await world.try_redeem(f"{member}@video", await world.publish("video", 13))
    assert refusal(short, "INSUFFICIENT_POINTS", None, retryable=True, required="13", available="12")
