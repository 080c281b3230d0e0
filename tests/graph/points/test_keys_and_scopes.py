"""What every change of points has in common: its key, its scope, and the order in which it is refused."""

from __future__ import annotations

import pytest

from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES, STAFF_SCOPES
from tests.graph.points.lots import LATE, LATER, NOTHING, awarded, freeze, leave
from tests.graph.speech import Payload, World, refusal

pytestmark = pytest.mark.usefixtures("proved")


class Change:
    """A change that can be asked for: by whom, what it says, and another input that could be meant."""

    def __init__(self, who: str, mutation: str, given: Payload, other: Payload) -> None:
        self.who, self.mutation, self.given, self.other = who, mutation, given, other


async def changes(world: World) -> list[Change]:
    """Return one of each, of a member of its own, in an order in which all can be done."""
    await world.rules("video", gift_day_points=1_000)
    member, first = await awarded(world, 100, expiresAt=LATE)
    receiver, _ = await awarded(world, 1)
    why, named = {"reason": "audit", "actor": "agent 7"}, {"member": {"reference": member}}
    by_staff = {**named, "partner": world.ids["video"], "reason": "audit"}
    return [
        Change("video", "reverseAward", {"lot": first, "points": "10"}, {"points": "11"}),
        Change("video", "extendPoints", {"lot": first, "expiresAt": LATER}, {"expiresAt": None}),
        Change("video", "adjustPoints", {**named, "points": "5", **why}, {"points": "-5"}),
        Change("video", "freezeLot", {"lot": first, **why}, {"reason": "another"}),
        Change("video", "unfreezeLot", {"lot": first, **why}, {"actor": "agent 8"}),
        Change(f"{member}@video", "givePoints", {"to": {"reference": receiver}, "points": "3"}, {"points": "4"}),
        Change("video", "givePoints", {**named, "to": {"reference": receiver}, "points": "3"}, {"to": named["member"]}),
        Change("admin", "freezeMember", by_staff, {"member": {"reference": "nobody"}}),
        Change("admin", "unfreezeMember", by_staff, {"partner": NOTHING}),
    ]  # fmt: skip


async def test_a_key_changes_points_once(world: World) -> None:
    """Repeated, each answers as things now stand and moves nothing; with another input it is an IdempotencyConflict."""
    done = []
    for change in await changes(world):
        key = world.fresh("key")
        first = await world.done(change.who, change.mutation, **change.given, idempotencyKey=key)
        assert first["replayed"] is False
        done.append((change, key, first))
    giver = done[0][2]["member"]["reference"]
    before = await world.points("video", giver)
    for change, key, first in done:
        again = await world.done(change.who, change.mutation, **change.given, idempotencyKey=key)
        assert again["replayed"] is True
        assert again["member"] == first["member"]
        assert again["wallet"] == (None if change.who == "admin" else before)
        if first.get("lot") is not None:
            rows = {row["id"]: row for row in before["lots"]["nodes"]}
            assert again["lot"] == rows[first["lot"]["id"]]
        if change.mutation == "reverseAward":
            assert (again["taken"], again["debt"]) == (first["taken"], first["debt"])
        conflict = await world.do(change.who, change.mutation, **{**change.given, **change.other}, idempotencyKey=key)
        assert refusal(conflict, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"]), change.mutation
    assert await world.points("video", giver) == before


async def test_a_replay_outlives_the_link_and_the_freedom(world: World) -> None:
    """What was done is answered also when the member is frozen, or has left: without its points then."""
    await world.rules("video", gift_day_points=1_000)
    member, awarded_lot = await awarded(world, 100)
    receiver, _ = await awarded(world, 1)
    key = world.fresh("key")
    gift = {"member": {"reference": member}, "to": {"reference": receiver}, "points": "1", "idempotencyKey": key}
    taking = {"lot": awarded_lot, "points": "1", "idempotencyKey": key}
    await world.done("video", "givePoints", **gift)
    await world.done("video", "reverseAward", **taking)
    await freeze(world, member)
    assert (await world.done("video", "givePoints", **gift))["replayed"] is True
    await leave(world, member)
    for mutation, given in (("givePoints", gift), ("reverseAward", taking)):
        again = await world.done("video", mutation, **given)
        assert (again["replayed"], again["wallet"]) == (True, None)


SCOPES: list[tuple[str, Payload, set[str]]] = [
    ("reverseAward", {"lot": NOTHING}, {"points:award"}),
    ("extendPoints", {"lot": NOTHING, "expiresAt": None}, {"points:award"}),
    (
        "adjustPoints",
        {"member": {"reference": "nobody"}, "points": "1", "reason": "audit", "actor": "agent 7"},
        {"points:award"},
    ),
    *((name, {"lot": NOTHING, "reason": "audit"}, {"points:award", "admin"}) for name in ("freezeLot", "unfreezeLot")),
    *((f"{name}Member", {"member": {"id": NOTHING}, "reason": "audit"}, {"admin"}) for name in ("freeze", "unfreeze")),
    ("givePoints", {"to": {"reference": "nobody"}, "points": "1"}, {"points:redeem", "redemptions:redeem"}),
]
CALLERS = (("video", PARTNER_SCOPES), ("anna@video", MEMBER_SCOPES), ("staff", STAFF_SCOPES))


@pytest.mark.parametrize(("mutation", "given", "enough"), SCOPES, ids=[name for name, _, _ in SCOPES])
async def test_points_need_their_scope(world: World, mutation: str, given: Payload, enough: set[str]) -> None:
    """Of all scopes exactly these allow it; any other is Forbidden, naming one that would help."""
    for who, scopes in CALLERS:
        said = dict(given)
        if mutation == "givePoints" and who != "anna@video":
            said["member"] = {"reference": "nobody"}
        if mutation in ("freezeLot", "unfreezeLot") and who != "staff":
            said["actor"] = "agent 7"
        for scope in scopes:
            payload = await world.do(await world.token(who, scope), mutation, **said, idempotencyKey="scopes")
            assert (payload["code"] == "FORBIDDEN") == (scope not in enough), (who, scope)
            assert payload.get("requiredScope") in (enough if scope not in enough else {None})


async def test_refusals_come_in_the_contracts_order(world: World) -> None:
    """ValidationError, then Forbidden, then IdempotencyConflict, then NotFound, then InsufficientPoints."""
    everybody = {"member": {"reference": "nobody"}}
    absent: list[tuple[str, str, Payload]] = [
        ("video", "reverseAward", {"lot": NOTHING, "points": "5"}),
        ("video", "extendPoints", {"lot": NOTHING, "expiresAt": LATE}),
        ("video", "adjustPoints", {**everybody, "points": "5", "reason": "r", "actor": "a"}),
        ("video", "freezeLot", {"lot": NOTHING, "reason": "r", "actor": "a"}),
        ("video", "unfreezeLot", {"lot": NOTHING, "reason": "r", "actor": "a"}),
        ("video", "givePoints", {**everybody, "to": {"reference": "no one"}, "points": "5"}),
        ("admin", "freezeMember", {**everybody, "partner": world.ids["video"], "reason": "r"}),
        ("admin", "unfreezeMember", {**everybody, "partner": world.ids["video"], "reason": "r"}),
    ]
    done = {change.mutation: change for change in await changes(world) if change.who in ("video", "admin")}
    for who, mutation, given in absent:
        key = world.fresh("key")
        change = done[mutation]
        await world.done(who, mutation, **change.given, idempotencyKey=key)
        poor = await world.token(who, "benefits:read" if who == "video" else "finance:view")
        wrong = {**given, "idempotencyKey": ""}
        assert (await world.do(poor, mutation, **wrong))["code"] == "VALIDATION_ERROR"
        assert (await world.do(poor, mutation, **given, idempotencyKey=key))["code"] == "FORBIDDEN"
        assert (await world.do(who, mutation, **given, idempotencyKey=key))["code"] == "IDEMPOTENCY_CONFLICT", mutation
        assert (await world.refused(who, mutation, **given))["code"] == "NOT_FOUND"
    unsaid = {"lot": NOTHING, "reason": "r"}
    poor = await world.token("video", "benefits:read")
    assert (await world.refused(poor, "freezeLot", **unsaid))["code"] == "VALIDATION_ERROR"


async def test_forbidden_comes_before_not_found(world: World) -> None:
    """A frozen giver learns that it is frozen, not who is known to its partner."""
    await world.rules("video", gift_day_points=1_000)
    member, _ = await awarded(world, 100)
    await freeze(world, member)
    gift = {"to": {"reference": "nobody"}, "points": "1"}
    assert refusal(await world.refused(f"{member}@video", "givePoints", **gift), "FORBIDDEN", None)
    for mutation in ("payIntoPool", "drawFromPool"):
        assert refusal(await world.refused(f"{member}@video", mutation, points="1"), "FORBIDDEN", None)
