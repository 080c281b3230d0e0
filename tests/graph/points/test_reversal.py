"""Reversal: an issuer takes an award back, by the rule that it has laid down."""

from __future__ import annotations

import pytest

from exchange.rules import AwardReversal
from tests.graph.points.lots import LATE, awarded, freeze, lot
from tests.graph.speech import Payload, World, refusal

pytestmark = pytest.mark.usefixtures("proved")


def debts(wallet: Payload) -> dict[str, int]:
    return {debt["issuer"]["handle"]: int(debt["points"]) for debt in wallet["debts"]}


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
