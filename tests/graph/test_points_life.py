"""What happens to points after their award: cooling off, reversal, more time, goodwill, freezing, gifts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from exchange.rules import AwardReversal
from partners.oauth.scopes import MEMBER_SCOPES, PARTNER_SCOPES, STAFF_SCOPES
from tests.graph.speech import Payload, Token, World, at, refusal

NOTHING = "bm90aGluZw"
LATE = "2998-01-01T00:00:00.000Z"
LATER = "2999-01-01T00:00:00.000Z"
NODE = "query($id: ID!) { node(id: $id) { __typename id ... on Lot { remaining given } } }"


@pytest.fixture(scope="module", autouse=True)
async def proved(exchange: World) -> AsyncIterator[None]:
    """When all tests have had their points, the books are right."""
    yield
    await exchange.prove()


async def awarded(world: World, points: int, issuer: str = "video", **more: Any) -> tuple[str, str]:
    """Award points to a new member; return its reference and the lot's id."""
    member = world.fresh("member")
    payload = await world.award(issuer, member, points, **more)
    return member, payload["lot"]["id"]


async def leave(world: World, member: str) -> Token:
    """Let a member of video part with it for rides; return a token that it had of video before."""
    token = await world.token(f"{member}@video")
    await world.link(token, "rides", member)
    await world.done(token, "unlinkPartner", partner=world.ids["video"])
    return token


def lot(payload: Payload) -> dict[str, int]:
    """Return the counts of a payload's lot that are not 0."""
    counts = ("awarded", "remaining", "held", "given", "withdrawn")
    return {name: int(payload["lot"][name]) for name in counts if payload["lot"][name] != "0"}


def debts(wallet: Payload) -> dict[str, int]:
    return {debt["issuer"]["handle"]: int(debt["points"]) for debt in wallet["debts"]}


async def soon(world: World, milliseconds: int = 400) -> str:
    return at(await world.services.now() + timedelta(milliseconds=milliseconds))


# ---------------------------------------------------------------- cooling off


async def test_points_cool_off(world: World) -> None:
    """Until they are active, points are pending: in no balance, for no benefit; afterwards they are as any others."""
    member = world.fresh("member")
    active = await soon(world, 700)
    await world.award("video", member, 100, activeFrom=active)
    wallet = await world.points("video", member)
    assert (wallet["balance"], wallet["available"], wallet["pending"]) == ("0", "0", "100")
    assert wallet["lots"]["nodes"][0]["activeFrom"] == active
    benefit = await world.publish("video", 60)
    short = await world.try_redeem(f"{member}@video", benefit)
    assert refusal(short, "INSUFFICIENT_POINTS", None, retryable=True, required="60", available="0")
    await asyncio.sleep(0.8)
    wallet = await world.points("video", member)
    assert (wallet["balance"], wallet["available"], wallet["pending"]) == ("100", "100", "0")
    await world.redeem(f"{member}@video", benefit)
    assert (await world.points("video", member))["available"] == "40"


async def test_when_points_can_begin(world: World) -> None:
    """They begin in the future, and before they end."""
    past = "2020-01-01T00:00:00Z"
    for given in (
        {"activeFrom": past},
        {"activeFrom": LATE, "expiresAt": LATE},
        {"activeFrom": LATER, "expiresAt": LATE},
    ):
        payload = await world.refused("video", "awardPoints", member={"reference": "new"}, points="1", **given)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "activeFrom"])


async def test_a_replay_of_an_award_that_began_is_no_new_one(world: World) -> None:
    """A key is looked up before the moment is held against the clock."""
    member, key, active = world.fresh("member"), world.fresh("key"), await soon(world)
    await world.award("video", member, 5, key=key, activeFrom=active)
    await asyncio.sleep(0.5)
    assert (await world.award("video", member, 5, key=key, activeFrom=active))["replayed"] is True


# ---------------------------------------------------------------- reversal


async def test_an_award_is_taken_back(world: World) -> None:
    """In parts or what is left of it: the points are the issuer's again."""
    member, awarded_lot = await awarded(world, 100)
    part = await world.change("video", "reverseAward", lot=awarded_lot, points="30", reason="order returned")
    assert (part["replayed"], part["taken"], part["debt"]) == (False, "30", "0")
    assert lot(part) == {"awarded": 100, "remaining": 70, "withdrawn": 30}
    assert (part["member"]["reference"], part["wallet"]["balance"]) == (member, "70")
    rest = await world.change("video", "reverseAward", lot=awarded_lot)
    assert (rest["taken"], rest["debt"], lot(rest)) == ("70", "0", {"awarded": 100, "withdrawn": 100})
    assert await world.balance("video", member) == 0
    nothing = await world.refused("video", "reverseAward", lot=awarded_lot)
    assert refusal(nothing, "INSUFFICIENT_POINTS", ["input", "lot"], retryable=True, required="1", available="0")


async def spent(world: World, policy: AwardReversal) -> tuple[str, str]:
    """Award 100 points, of which 40 are spent, to a member of an issuer with that policy."""
    await world.rules("video", award_reversal=policy)
    member, awarded_lot = await awarded(world, 100)
    await world.redeem(f"{member}@video", await world.publish("video", 40))
    return member, awarded_lot


async def test_refuse_what_is_partly_spent(world: World) -> None:
    """Under REFUSE an award that is partly spent is not reversed by more than what is left; nothing changes."""
    member, awarded_lot = await spent(world, AwardReversal.REFUSE)
    for given in ({}, {"points": "61"}, {"points": "100"}):
        payload = await world.refused("video", "reverseAward", lot=awarded_lot, **given)
        required = given.get("points", "100")
        assert refusal(
            payload, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required=required, available="60"
        )
    assert await world.balance("video", member) == 60
    assert (await world.change("video", "reverseAward", lot=awarded_lot, points="60"))["taken"] == "60"
    nothing = await world.refused("video", "reverseAward", lot=awarded_lot)
    assert refusal(nothing, "INSUFFICIENT_POINTS", ["input", "lot"], retryable=True, required="40", available="0")


async def test_take_what_is_left(world: World) -> None:
    """Under TAKE_WHAT_IS_LEFT the issuer gets what is there and forgets the rest, until it is there again."""
    member, awarded_lot = await spent(world, AwardReversal.TAKE_WHAT_IS_LEFT)
    payload = await world.change("video", "reverseAward", lot=awarded_lot)
    assert (payload["taken"], payload["debt"], payload["wallet"]["balance"]) == ("60", "0", "0")
    assert payload["wallet"]["debts"] == []
    nothing = await world.refused("video", "reverseAward", lot=awarded_lot)
    assert refusal(nothing, "INSUFFICIENT_POINTS", ["input", "lot"], retryable=True, required="40", available="0")
    assert (await world.award("video", member, 10))["lot"]["remaining"] == "10"


async def test_a_debt_is_repaid_by_the_next_awards(world: World) -> None:
    """Under DEBT the member owes what is gone; awards of that issuer repay it first, others do not."""
    member, awarded_lot = await spent(world, AwardReversal.DEBT)
    await world.link(f"{member}@video", "rides")
    payload = await world.change("video", "reverseAward", lot=awarded_lot)
    assert (payload["taken"], payload["debt"], payload["wallet"]["balance"]) == ("60", "40", "0")
    assert debts(payload["wallet"]) == {"video": 40}
    assert (await world.award("rides", member, 7))["lot"]["remaining"] == "7"
    assert debts(await world.points("video", member)) == {"video": 40}
    first = await world.award("video", member, 30)
    assert (first["lot"]["awarded"], first["lot"]["remaining"]) == ("30", "0")
    assert debts(await world.points("video", member)) == {"video": 10}
    second = await world.award("video", member, 50)
    assert (second["lot"]["awarded"], second["lot"]["remaining"]) == ("50", "40")
    wallet = await world.points("video", member)
    assert (wallet["balance"], wallet["debts"]) == ("47", [])
    nothing = await world.refused("video", "reverseAward", lot=awarded_lot)
    assert refusal(nothing, "INSUFFICIENT_POINTS", ["input", "lot"], retryable=True, required="1", available="0")


async def test_a_debt_is_of_what_was_asked_for(world: World) -> None:
    """A part that is there makes no debt; asking for more than is there owes the difference."""
    member, awarded_lot = await spent(world, AwardReversal.DEBT)
    assert (await world.change("video", "reverseAward", lot=awarded_lot, points="50"))["debt"] == "0"
    payload = await world.change("video", "reverseAward", lot=awarded_lot, points="20")
    assert (payload["taken"], payload["debt"]) == ("10", "10")
    payload = await world.change("video", "reverseAward", lot=awarded_lot, points="30")
    assert (payload["taken"], payload["debt"]) == ("0", "30")
    assert debts(await world.points("video", member)) == {"video": 40}


async def test_a_debt_is_its_issuers_and_the_members_to_see(world: World) -> None:
    """Another partner does not learn of it; the member does."""
    member, awarded_lot = await spent(world, AwardReversal.DEBT)
    await world.link(f"{member}@video", "rides")
    await world.change("video", "reverseAward", lot=awarded_lot)
    assert debts(await world.points("rides", member)) == {}
    mine = "{ viewer { member { wallet { debts { issuer { handle } points } } } } }"
    for who in (f"{member}@video", f"{member}@rides"):
        wallet = (await world.read(who, mine))["member"]["wallet"]
        assert debts(wallet) == {"video": 40}


@pytest.mark.parametrize("policy", AwardReversal)
async def test_points_that_are_held_are_not_taken(world: World, policy: AwardReversal) -> None:
    """A reservation keeps what it holds, whatever the issuer's rule, and can be confirmed."""
    await world.rules("video", award_reversal=policy)
    member, awarded_lot = await awarded(world, 100)
    held = await world.reserve(f"{member}@video", await world.publish("video", 40))
    payload = await world.do("video", "reverseAward", lot=awarded_lot, idempotencyKey=world.fresh("key"))
    if policy is AwardReversal.REFUSE:
        assert payload["code"] == "INSUFFICIENT_POINTS"
    else:
        assert lot(payload) == {"awarded": 100, "remaining": 40, "held": 40, "withdrawn": 60}
    assert (await world.step(f"{member}@video", "confirm", held))["redemption"]["status"] == "FULFILLED"


async def test_what_is_pending_frozen_or_of_a_frozen_member_can_be_taken_back(world: World) -> None:
    """Cooling off and freezing stop the member, not the issuer."""
    await world.rules("video")
    _, pending = await awarded(world, 10, activeFrom=LATE)
    member, frozen = await awarded(world, 20)
    await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    await freeze(world, member)
    assert (await world.change("video", "reverseAward", lot=pending))["taken"] == "10"
    assert (await world.change("video", "reverseAward", lot=frozen))["taken"] == "20"


async def test_what_expired_or_was_reversed_is_not_reversed_again(world: World) -> None:
    """Only what is neither lost nor taken back already can be; asking for more says how much that is."""
    _, awarded_lot = await awarded(world, 100)
    await world.change("video", "reverseAward", lot=awarded_lot, points="30")
    payload = await world.refused("video", "reverseAward", lot=awarded_lot, points="71")
    assert refusal(payload, "VALIDATION_ERROR", ["input", "points"])
    assert payload["message"] == "70 are left to reverse"


async def test_a_gift_is_not_reversed_at_its_new_owner(world: World) -> None:
    """What was given away is the other's: under DEBT the giver owes it, the gift itself cannot be reversed."""
    await world.rules("video", award_reversal=AwardReversal.DEBT, gift_day_points=100)
    giver, given = await awarded(world, 100)
    receiver, _ = await awarded(world, 1)
    await world.change(f"{giver}@video", "givePoints", to={"reference": receiver}, points="30")
    gift = (await world.points("video", receiver))["lots"]["nodes"][1]
    payload = await world.refused("video", "reverseAward", lot=gift["id"])
    assert refusal(payload, "VALIDATION_ERROR", ["input", "lot"])
    taken = await world.change("video", "reverseAward", lot=given)
    assert (taken["taken"], taken["debt"]) == ("70", "30")
    assert await world.balance("video", receiver) == 31


# ---------------------------------------------------------------- more time


async def test_points_get_more_time(world: World) -> None:
    """Later, later again, and in the end for ever; the points stay what they are."""
    member, awarded_lot = await awarded(world, 10, expiresAt="2990-01-01T00:00:00Z")
    untils: tuple[str | None, ...] = (LATE, LATER, None)
    for until in untils:
        payload = await world.change("video", "extendPoints", lot=awarded_lot, expiresAt=until, reason="we were down")
        assert (payload["lot"]["expiresAt"], payload["lot"]["remaining"]) == (until, "10")
        assert (payload["member"]["reference"], payload["wallet"]["balance"]) == (member, "10")


async def test_time_is_never_taken(world: World) -> None:
    """An end that is not later, or none where there is none, is refused."""
    _, ending = await awarded(world, 10, expiresAt=LATE)
    for until in (LATE, "2990-01-01T00:00:00Z", "2020-01-01T00:00:00Z"):
        payload = await world.refused("video", "extendPoints", lot=ending, expiresAt=until)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "expiresAt"])
    _, endless = await awarded(world, 10)
    for never in (LATE, None):
        payload = await world.refused("video", "extendPoints", lot=endless, expiresAt=never)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "expiresAt"])


async def test_what_is_over_is_over(world: World) -> None:
    """A lot whose time is over is not brought back."""
    member, awarded_lot = await awarded(world, 10, expiresAt=await soon(world))
    await asyncio.sleep(0.5)
    payload = await world.refused("video", "extendPoints", lot=awarded_lot, expiresAt=LATE)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "lot"])
    assert await world.balance("video", member) == 0


async def test_until_when_has_to_be_said(world: World) -> None:
    """For ever is null; a client that leaves it out has not meant that, for it could not be taken back."""
    _, awarded_lot = await awarded(world, 10, expiresAt=LATE)
    payload = await world.refused("video", "extendPoints", lot=awarded_lot)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "expiresAt"])


# ---------------------------------------------------------------- goodwill


async def test_goodwill_gives_and_takes(world: World) -> None:
    """A partner gives points besides its awards, and takes points of its own; a debt is not repaid by goodwill."""
    member, _ = await awarded(world, 50)
    why = {"reason": "parcel was late", "actor": "agent 7"}
    given = await world.change(
        "video", "adjustPoints", member={"reference": member}, points="25", expiresAt=LATE, **why
    )
    assert lot(given) == {"awarded": 25, "remaining": 25}
    assert (given["lot"]["expiresAt"], given["wallet"]["balance"], given["replayed"]) == (LATE, "75", False)
    taken = await world.change("video", "adjustPoints", member={"id": given["member"]["id"]}, points="-30", **why)
    assert (taken["lot"], taken["wallet"]["balance"]) == (None, "45")
    remaining = [row["remaining"] for row in taken["wallet"]["lots"]["nodes"]]
    assert remaining == ["45", "0"]


async def test_goodwill_takes_what_is_ones_own_and_free(world: World) -> None:
    """Not another issuer's points, not what is held, frozen or cooling off; the message says how many there are."""
    member, _ = await awarded(world, 100)
    await world.link(f"{member}@video", "rides")
    await world.award("rides", member, 500)
    await world.award("video", member, 500, activeFrom=LATE)
    frozen = (await world.award("video", member, 500))["lot"]["id"]
    await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    await world.reserve(f"{member}@video", await world.publish("video", 30))
    short = await world.refused(
        "video", "adjustPoints", member={"reference": member}, points="-71", reason="mistake", actor="agent 7"
    )
    assert refusal(short, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="71", available="70")
    assert short["message"] == "70 of your points are free"


async def test_goodwill_needs_a_reason_and_somebody(world: World) -> None:
    """Nothing is adjusted without saying why, and who decided it; nor by nothing, nor with an end for what is taken."""
    member, _ = await awarded(world, 50)
    good = {"member": {"reference": member}, "points": "5", "reason": "late", "actor": "agent 7"}
    for other, path in (
        ({"points": "0"}, "points"), ({"points": str(10**18)}, "points"), ({"points": str(-(10**18))}, "points"),
        ({"reason": ""}, "reason"), ({"reason": "   "}, "reason"), ({"reason": "a\nb"}, "reason"),
        ({"reason": "x" * 2000}, "reason"), ({"actor": ""}, "actor"), ({"actor": "\t"}, "actor"),
        ({"points": "-5", "expiresAt": LATE}, "expiresAt"), ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"idempotencyKey": ""}, "idempotencyKey"),
    ):  # fmt: skip
        payload = await world.refused("video", "adjustPoints", **{**good, **other})
        assert refusal(payload, "VALIDATION_ERROR", ["input", path]), other
    unknown = await world.refused("video", "adjustPoints", **{**good, "member": {"reference": "nobody"}})
    assert refusal(unknown, "NOT_FOUND", ["input", "member"])
    assert await world.balance("video", member) == 50


async def test_goodwill_stops_with_a_link_and_with_a_frozen_partner(world: World) -> None:
    """A partner whose member has left, or that the exchange has frozen, adjusts nothing."""
    member, _ = await awarded(world, 50)
    wish = {"member": {"reference": member}, "points": "5", "reason": "late", "actor": "agent 7"}
    await world.rules("video", frozen="investigation")
    try:
        assert refusal(await world.refused("video", "adjustPoints", **wish), "FORBIDDEN", None)
        award = await world.refused("video", "awardPoints", member=wish["member"], points="5")
        assert refusal(award, "FORBIDDEN", None)
    finally:
        await world.rules("video")
    await leave(world, member)
    assert refusal(await world.refused("video", "adjustPoints", **wish), "NOT_FOUND", ["input", "member"])


# ---------------------------------------------------------------- freezing


async def freeze(world: World, member: str, mutation: str = "freezeMember", **more: Any) -> Payload:
    """Let the exchange freeze a member of video."""
    named = {"member": {"reference": member}, "partner": world.ids["video"], "reason": "stolen phone", **more}
    return await world.change("admin", mutation, **named)


async def test_a_frozen_lot_is_passed_over(world: World) -> None:
    """Nothing is spent out of it, it stays in the balance, and the reason is FROZEN where it would have been needed."""
    member, frozen = await awarded(world, 100)
    await world.award("video", member, 10)
    payload = await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    assert (payload["lot"]["frozen"], payload["wallet"]["balance"], payload["wallet"]["frozen"]) == (True, "110", False)
    await world.redeem(f"{member}@video", await world.publish("video", 10))
    benefit = await world.publish("video", 20)
    refused = await world.try_redeem(f"{member}@video", benefit)
    assert refusal(refused, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["FROZEN"])
    assert (await world.availability(f"{member}@video", benefit))["reasons"] == ["INSUFFICIENT_POINTS", "FROZEN"]
    thawed = await world.change("video", "unfreezeLot", lot=frozen, reason="paid", actor="agent 7")
    assert thawed["lot"]["frozen"] is False
    await world.redeem(f"{member}@video", benefit)


async def test_what_is_frozen_or_not_already(world: World) -> None:
    """Freezing what is frozen, or letting go what is not, is refused for lots and members."""
    member, awarded_lot = await awarded(world, 1)
    why = {"lot": awarded_lot, "reason": "chargeback", "actor": "agent 7"}
    assert refusal(await world.refused("video", "unfreezeLot", **why), "VALIDATION_ERROR", ["input", "lot"])
    await world.change("video", "freezeLot", **why)
    assert refusal(await world.refused("video", "freezeLot", **why), "VALIDATION_ERROR", ["input", "lot"])
    named = {"member": {"reference": member}, "partner": world.ids["video"], "reason": "stolen phone"}
    assert refusal(await world.refused("admin", "unfreezeMember", **named), "VALIDATION_ERROR", ["input", "member"])
    await freeze(world, member)
    assert refusal(await world.refused("admin", "freezeMember", **named), "VALIDATION_ERROR", ["input", "member"])


async def test_who_freezes_a_lot_says_why_and_who(world: World) -> None:
    """A partner's server names who decided; staff is known, and names nobody."""
    _, awarded_lot = await awarded(world, 1)
    for mutation in ("freezeLot", "unfreezeLot"):
        for other, path in (
            ({"actor": None}, "actor"), ({"actor": ""}, "actor"), ({"reason": " "}, "reason"),
            ({"idempotencyKey": ""}, "idempotencyKey"),
        ):  # fmt: skip
            good = {"lot": awarded_lot, "reason": "chargeback", "actor": "agent 7"}
            payload = await world.refused("video", mutation, **{**good, **other})
            assert refusal(payload, "VALIDATION_ERROR", ["input", path])
    by_staff = {"lot": staffs(world, "Lot", awarded_lot), "reason": "audit"}
    payload = await world.refused("admin", "freezeLot", **by_staff, actor="somebody else")
    assert refusal(payload, "VALIDATION_ERROR", ["input", "actor"])
    payload = await world.change("admin", "freezeLot", **by_staff)
    assert (payload["lot"]["frozen"], payload["wallet"]) == (True, None)
    assert (await world.change("admin", "unfreezeLot", **by_staff))["lot"]["frozen"] is False


def staffs(world: World, kind: str, sealed: str) -> str:
    """Return the id that staff has of what is video's `sealed`: `exchange member show` prints it."""
    identity = world.services.keyring.unseal(sealed, "partner:video").partition(":")[2]
    return world.services.keyring.seal(f"{kind}:{identity}", "staff")


async def test_a_frozen_member_spends_nothing_and_loses_nothing(world: World) -> None:
    """It cannot redeem, reserve, confirm, give, pay in or draw; it can still receive, and cancel what it reserved."""
    await world.rules("video", gift_day_points=100)
    member, _ = await awarded(world, 100)
    other, _ = await awarded(world, 1)
    benefit = await world.publish("video", 10)
    held = await world.reserve(f"{member}@video", benefit)
    another = await world.reserve(f"{member}@video", benefit)
    await world.change(f"{member}@video", "foundHousehold")
    await world.change(f"{member}@video", "payIntoPool", points="5")
    payload = await freeze(world, member)
    assert (payload["replayed"], payload["lot"], payload["wallet"]) == (False, None, None)
    wallet = await world.points("video", member)
    assert (wallet["frozen"], wallet["balance"], wallet["held"]) == (True, "95", "20")
    for asked in (world.try_redeem, world.try_reserve):
        for who in (f"{member}@video", f"{member}@video's server"):
            refused = await asked(who, benefit)
            assert refusal(refused, "BENEFIT_UNAVAILABLE", ["input", "benefit"], retryable=True, reasons=["FROZEN"])
    assert (await world.availability(f"{member}@video", benefit))["reasons"] == ["FROZEN"]
    assert refusal(await world.step(f"{member}@video", "confirm", held), "FORBIDDEN", None)
    gift = {"to": {"reference": other}, "points": "1"}
    assert refusal(await world.refused(f"{member}@video", "givePoints", **gift), "FORBIDDEN", None)
    for mutation in ("payIntoPool", "drawFromPool"):
        assert refusal(await world.refused(f"{member}@video", mutation, points="1"), "FORBIDDEN", None)
    await world.award("video", member, 7)
    await world.change(f"{other}@video", "givePoints", to={"reference": member}, points="1")
    assert (await world.step(f"{member}@video", "cancel", another))["redemption"]["status"] == "CANCELLED"
    assert (await freeze(world, member, "unfreezeMember"))["wallet"] is None
    assert (await world.step(f"{member}@video", "confirm", held))["redemption"]["status"] == "FULFILLED"
    assert await world.balance("video", member) == 93


async def test_staff_names_a_member_by_what_it_sees(world: World) -> None:
    """By the id in a redemption, or by a partner and its reference; the answer is the same member's."""
    member, _ = await awarded(world, 100)
    redemption = await world.redeem(f"{member}@video", await world.publish("video", 10))
    query = "query($id: ID!) { redemption(id: $id) { member { id reference } } }"
    seen = await world.read("viewer", query, id=redemption["id"])
    identity = seen["member"]["id"]
    frozen = await world.change("admin", "freezeMember", member={"id": identity}, reason="stolen phone")
    assert frozen["member"] == {"id": identity, "reference": None}
    assert (await world.points("video", member))["frozen"] is True
    assert (await freeze(world, member, "unfreezeMember"))["member"]["id"] == identity
    assert (await world.points("video", member))["frozen"] is False


async def test_how_staff_cannot_name_a_member(world: World) -> None:
    """A reference without its partner, an id with one, an id of a partner's, nobody: each is refused."""
    member, _ = await awarded(world, 1)
    partners_own = (await world.member("video", member))["id"]
    video, ref = world.ids["video"], {"reference": member}
    for mutation in ("freezeMember", "unfreezeMember"):
        for given in ({"member": ref}, {"member": {"id": partners_own}, "partner": video}):
            payload = await world.refused("admin", mutation, reason="audit", **given)
            assert refusal(payload, "VALIDATION_ERROR", ["input", "partner"])
        for given in (
            {"member": {"id": partners_own}}, {"member": {"id": NOTHING}},
            {"member": {"reference": "nobody"}, "partner": video}, {"member": ref, "partner": world.ids["rides"]},
            {"member": ref, "partner": NOTHING},
        ):  # fmt: skip
            payload = await world.refused("admin", mutation, reason="audit", **given)
            assert refusal(payload, "NOT_FOUND", ["input", "member"]), given
    assert (await world.points("video", member))["frozen"] is False


# ---------------------------------------------------------------- gifts


async def test_points_are_given(world: World) -> None:
    """They leave the giver's lot and are a lot of the receiver's, of the same issuer and with the same end."""
    await world.rules("video", gift_day_points=100)
    giver, given = await awarded(world, 100, expiresAt=LATE)
    receiver, _ = await awarded(world, 5)
    wish = {"to": {"reference": receiver}, "points": "30", "reason": "happy birthday"}
    payload = await world.change(f"{giver}@video", "givePoints", **wish)
    assert (payload["replayed"], payload["member"]["reference"], payload["wallet"]["balance"]) == (False, giver, "70")
    (row,) = payload["wallet"]["lots"]["nodes"]
    assert (row["remaining"], row["given"]) == ("70", "30")
    mine, gift = (await world.points("video", receiver))["lots"]["nodes"]
    assert (gift["awarded"], gift["remaining"], gift["expiresAt"], gift["issuer"]["handle"]) == (
        "30",
        "30",
        LATE,
        "video",
    )
    assert mine["remaining"] == "5"
    by_server = await world.change(
        "video", "givePoints", member={"reference": receiver}, to={"id": payload["member"]["id"]}, points="10"
    )
    assert by_server["member"]["reference"] == receiver
    assert await world.balance("video", giver) == 80
    # Each end of a gift is a node to whom the lot belongs.
    for who, seen, identity in (
        (f"{giver}@video", {"remaining": "70", "given": "30"}, given),
        (f"{receiver}@video", {"remaining": "20", "given": "10"}, gift["id"]),
        ("video", {"remaining": "20", "given": "10"}, gift["id"]),
    ):
        assert await world.read(who, NODE, id=identity) == {"__typename": "Lot", "id": identity, **seen}
    for who in (f"{giver}@video", "rides"):
        assert await world.read(who, NODE, id=gift["id"]) is None


async def test_the_issuer_says_how_much_may_be_given(world: World) -> None:
    """Nothing where it has not said, and no more than so many points a day."""
    await world.rules("video")
    giver, _ = await awarded(world, 100)
    receiver, _ = await awarded(world, 5)
    wish = {"to": {"reference": receiver}, "points": "30"}
    short: Payload = {"retryable": True, "required": "30"}
    refused = await world.refused(f"{giver}@video", "givePoints", **wish)
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], **short, available="0")
    await world.rules("video", gift_day_points=50)
    await world.change(f"{giver}@video", "givePoints", **wish)
    refused = await world.refused(f"{giver}@video", "givePoints", **wish)
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], **short, available="20")
    await world.change(f"{giver}@video", "givePoints", **{**wish, "points": "20"})
    assert await world.balance("video", receiver) == 55


async def test_a_gift_counts_against_the_links_daily_limit(world: World) -> None:
    """Who may spend no more than so much through a partner gives no more through it."""
    await world.rules("video", gift_day_points=1_000)
    giver, _ = await awarded(world, 100)
    receiver, _ = await awarded(world, 5, "rides")
    await world.link(f"{giver}@video", "rides", daily_limit=40)
    refused = await world.refused(f"{giver}@rides", "givePoints", to={"reference": receiver}, points="41")
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="41", available="40")
    await world.change(f"{giver}@rides", "givePoints", to={"reference": receiver}, points="30")
    held = await world.try_redeem(f"{giver}@rides", await world.publish("video", 11))
    assert held["code"] == "BENEFIT_UNAVAILABLE"
    await world.redeem(f"{giver}@rides", await world.publish("video", 10))


async def test_what_cannot_be_given(world: World) -> None:
    """Not to oneself, not to nobody, not nothing, not what is held, frozen or cooling off."""
    await world.rules("video", gift_day_points=1_000)
    giver, frozen = await awarded(world, 100)
    await world.change("video", "freezeLot", lot=frozen, reason="chargeback", actor="agent 7")
    await world.award("video", giver, 100, activeFrom=LATE)
    await world.award("video", giver, 20)
    await world.reserve(f"{giver}@video", await world.publish("video", 5))
    receiver, _ = await awarded(world, 5)
    me = (await world.member("video", giver))["id"]
    good = {"to": {"reference": receiver}, "points": "1"}
    for other, code, path in (
        ({"points": "0"}, "VALIDATION_ERROR", "points"), ({"points": "-1"}, "VALIDATION_ERROR", "points"),
        ({"reason": "a\nb"}, "VALIDATION_ERROR", "reason"),
        ({"idempotencyKey": ""}, "VALIDATION_ERROR", "idempotencyKey"),
        ({"to": {"reference": "x" * 200}}, "VALIDATION_ERROR", "to"),
        ({"member": {"reference": receiver}}, "VALIDATION_ERROR", "member"),
        ({"to": {"reference": giver}}, "VALIDATION_ERROR", "to"), ({"to": {"id": me}}, "VALIDATION_ERROR", "to"),
        ({"to": {"reference": "nobody"}}, "NOT_FOUND", "to"), ({"to": {"id": NOTHING}}, "NOT_FOUND", "to"),
    ):  # fmt: skip
        payload = await world.refused(f"{giver}@video", "givePoints", **{**good, **other})
        assert (payload["code"], payload["path"][:2]) == (code, ["input", path]), other
    refused = await world.refused(f"{giver}@video", "givePoints", **{**good, "points": "16"})
    assert refusal(refused, "INSUFFICIENT_POINTS", ["input", "points"], retryable=True, required="16", available="15")
    by_server = await world.refused("video", "givePoints", **good)
    assert refusal(by_server, "VALIDATION_ERROR", ["input", "member"])
    unknown = await world.refused("video", "givePoints", member={"reference": "nobody"}, **good)
    assert refusal(unknown, "NOT_FOUND", ["input", "member"])


async def test_who_has_left_neither_gives_nor_gets(world: World) -> None:
    """Through a partner, to and from members with an open link to it; a member that has left is nobody there."""
    await world.rules("video", gift_day_points=1_000)
    gone, _ = await awarded(world, 100)
    here, _ = await awarded(world, 100)
    token = await leave(world, gone)
    to_gone = await world.refused("video", "givePoints", member={"reference": here}, to={"reference": gone}, points="1")
    assert refusal(to_gone, "NOT_FOUND", ["input", "to"])
    wish = {"to": {"reference": here}, "points": "1"}
    by_server = await world.refused("video", "givePoints", member={"reference": gone}, **wish)
    assert refusal(by_server, "NOT_FOUND", ["input", "member"])
    assert refusal(await world.refused(token, "givePoints", **wish), "FORBIDDEN", None)


# ---------------------------------------------------------------- keys, order of refusals, isolation


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


async def test_anothers_lot_is_no_lot(world: World) -> None:
    """Another partner's, under the id that it, the owner or staff has of it, is NotFound as one that does not exist."""
    member, awarded_lot = await awarded(world, 100)
    await world.link(f"{member}@video", "rides", "r-" + member)
    seen_by_rides = await world.read(
        f"r-{member}@rides", "{ viewer { member { wallet { lots { nodes { id issuer { handle } } } } } } }"
    )
    (row,) = seen_by_rides["member"]["wallet"]["lots"]["nodes"]
    assert row["issuer"] == {"handle": "video"}
    sealed = world.services.keyring.seal
    hidden = [awarded_lot, row["id"], staffs(world, "Lot", awarded_lot)]
    absent = [NOTHING, "", sealed("Lot:nobody", "partner:rides"), sealed("Lot:nobody/0", "partner:rides")]
    for mutation, given in (
        ("reverseAward", {}), ("extendPoints", {"expiresAt": LATER}), ("freezeLot", {"reason": "r", "actor": "a"}),
        ("unfreezeLot", {"reason": "r", "actor": "a"}),
    ):  # fmt: skip
        told = {
            (await world.send("rides", mutation, lot=one, idempotencyKey=world.fresh("key"), **given)).told
            for one in (*hidden, *absent)
        }
        assert len(told) == 1, mutation
        assert '"NOT_FOUND"' in told.pop()[1]
    assert (await world.points("video", member))["lots"]["nodes"][0]["remaining"] == "100"


async def test_anothers_member_is_no_member(world: World) -> None:
    """By its id at another partner, or by that partner's reference, it is NotFound as one that does not exist."""
    await world.rules("video", gift_day_points=1_000)
    await world.rules("rides", gift_day_points=1_000)
    hidden, _ = await awarded(world, 100)
    identity = (await world.member("video", hidden))["id"]
    mine, _ = await awarded(world, 100, "rides")
    strange = [{"reference": hidden}, {"id": identity}, {"id": staffs(world, "Member", identity)}]
    absent = [
        {"reference": "nobody"},
        {"id": NOTHING},
        {"id": world.services.keyring.seal("Member:x", "partner:rides")},
    ]
    why = {"reason": "r", "actor": "a"}
    for mutation, named, given in (
        ("adjustPoints", "member", {"points": "5", **why}), ("adjustPoints", "member", {"points": "-5", **why}),
        ("givePoints", "member", {"points": "5", "to": {"reference": mine}}),
        ("givePoints", "to", {"points": "5", "member": {"reference": mine}}),
    ):  # fmt: skip
        told = {
            (await world.send("rides", mutation, **given, **{named: one}, idempotencyKey=world.fresh("key"))).told
            for one in (*strange, *absent)
        }
        assert len(told) == 1, mutation
        assert '"NOT_FOUND"' in told.pop()[1]


async def test_a_partner_sees_its_own_lots_of_what_was_given(world: World) -> None:
    """A gift of video's points through rides is a lot that rides cannot see, and video only through a link."""
    await world.rules("video", gift_day_points=1_000)
    giver, _ = await awarded(world, 100)
    await world.link(f"{giver}@video", "rides")
    receiver, _ = await awarded(world, 5, "rides")
    payload = await world.change(
        "rides", "givePoints", member={"reference": giver}, to={"reference": receiver}, points="9"
    )
    assert [row["issuer"]["handle"] for row in payload["wallet"]["lots"]["nodes"]] == []
    wallet = await world.points("rides", receiver)
    assert (wallet["balance"], [row["issuer"]["handle"] for row in wallet["lots"]["nodes"]]) == ("14", ["rides"])
    mine = await world.read(f"{receiver}@rides", "{ viewer { member { wallet { lots { nodes { id awarded } } } } } }")
    own, gift = mine["member"]["wallet"]["lots"]["nodes"]
    assert (own["awarded"], gift["awarded"]) == ("5", "9")
    assert await world.read("rides", NODE, id=gift["id"]) is None
    assert (await world.read(f"{receiver}@rides", NODE, id=gift["id"]))["remaining"] == "9"
    await world.redeem(f"{receiver}@rides", await world.publish("video", 9))


# ---------------------------------------------------------------- races


async def test_a_gift_and_a_redemption_of_the_same_points(world: World, beside: World) -> None:
    """Of many who want all of a member's points at once, to give or to spend, by two servers, one gets them."""
    await world.rules("video", gift_day_points=1_000)
    benefit = await world.publish("video", 50)
    for _ in range(10):
        giver, _ = await awarded(world, 50)
        receiver, _ = await awarded(world, 1)
        token = await world.token(f"{giver}@video")
        gift = {"to": {"reference": receiver}, "points": "50"}
        told = await asyncio.gather(
            *(
                ask
                for server in (world, beside) * 3
                for ask in (
                    server.do(token, "givePoints", **gift, idempotencyKey=world.fresh("gift")),
                    server.try_redeem(token, benefit),
                )
            )
        )
        won = [payload["__typename"] for payload in told if "retryable" not in payload]
        assert len(won) == 1
        assert {payload["code"] for payload in told if "retryable" in payload} == {"INSUFFICIENT_POINTS"}
        assert await world.balance("video", giver) == 0
        assert await world.balance("video", receiver) == (51 if won == ["GivePointsSuccess"] else 1)


async def test_two_who_give_to_each_other(world: World, beside: World) -> None:
    """Gifts in both directions at once, by two servers, all happen, and no point is made or lost."""
    await world.rules("video", gift_day_points=1_000)
    ann, _ = await awarded(world, 100)
    bob, _ = await awarded(world, 100)
    gifts = [
        server.change("video", "givePoints", member={"reference": giver}, to={"reference": receiver}, points="7")
        for server in (world, beside) * 3
        for giver, receiver in ((ann, bob), (bob, ann))
    ]
    assert all(payload["replayed"] is False for payload in await asyncio.gather(*gifts))
    assert [await world.balance("video", one) for one in (ann, bob)] == [100, 100]


async def test_a_limit_for_gifts_holds_at_once(world: World) -> None:
    """Many gifts at once go no further than the issuer allows a day."""
    await world.rules("video", gift_day_points=30)
    giver, _ = await awarded(world, 1_000)
    receiver, _ = await awarded(world, 1)
    wish = {"to": {"reference": receiver}, "points": "10"}
    told = await asyncio.gather(
        *(
            world.do(f"{giver}@video", "givePoints", **wish, idempotencyKey=world.fresh("gift"))
            for _ in range(8)
        )
    )  # fmt: skip
    assert sum("retryable" not in payload for payload in told) == 3
    assert (await world.balance("video", giver), await world.balance("video", receiver)) == (970, 31)
