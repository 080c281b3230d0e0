"""Nettings recorded over a real database: once, one behind another, and made anew byte for byte."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest

from exchange.amounts import Money
from exchange.check import check
from exchange.errors import (
    ExchangeError,
    FiguresDisagree,
    IdempotencyConflict,
    NotFound,
    ValidationFailed,
    VersionConflict,
)
from exchange.settlement.netted import PlanKind
from exchange.settlement.recorded import RecordedNetting, StandingPolicy, Wish
from exchange.settlement.recording import Asked, Recorded, Recording
from tests.exchange.settlement.conftest import World
from tests.exchange.test_evidence import SEAL, verified

EUR = "EUR"


def asked(number: int, key: str | None = None, **more: object) -> Asked:
    wish = Wish(**more)  # type: ignore[arg-type]
    return Asked(period=number, wish=wish, actor="ada", key=key or f"netting {number}", fingerprint=repr(wish))


async def recording(world: World) -> Recording:
    """Return the nettings as a process of its own sees them."""
    found = Recording(world.database, world.settle())
    await found.create_indexes()
    return found


async def bytes_of(nettings: Recording, netting: RecordedNetting) -> bytes:
    return b"".join([line async for line in nettings.certificate(netting)])


@pytest.fixture
async def two(example: World) -> World:
    """Close two periods: in the second, video owes rides a little more."""
    await example.settle().close(1)
    await example.award("video", "ben", 250)
    await example.redeem("video", "ben", "rides/scooter")
    await example.settle().close(2)
    return example


async def test_a_recorded_netting_is_made_anew_byte_for_byte(two: World) -> None:
    """Another process writes the certificate that was recorded; the next takes in what it carries, and names it."""
    nettings = await recording(two)
    first, replayed = await nettings.record(asked(1, plan=PlanKind.FEWEST, minimums={EUR: 10_000}), SEAL)
    assert (replayed, first.follows, first.actor, first.carried.nothing) == (False, 0, "ada", False)
    second, _ = await nettings.record(asked(2), SEAL)
    assert second.follows == 1
    other = await recording(two)
    for netting, after in ((first, None), (second, first.hash)):
        assert await other.get(netting.period) == netting
        data = await bytes_of(other, netting)
        assert sha256(data).hexdigest() == netting.hash
        facts = verified(data, SEAL.keys).findings.facts
        assert (facts["after"], facts["period_root"]) == (after, netting.root)
    netted = await other.anew(second)
    assert netted.opening == first.carried.payments
    assert sum(each.opening.minor for each in netted.standings) == 0
    assert [each.period for each in await other.page()] == [2, 1]
    assert [each.period for each in await other.page(before=2)] == [1]
    proofs = await check(two.database, two.keyring)
    assert [(proof.judged, proof.wrong) for proof in proofs if proof.number == 15] == [(2, [])]


async def test_along_contracts_it_goes_by_those_of_then(two: World) -> None:
    """An agreement that comes later changes nothing of a netting that is recorded."""
    nettings = await recording(two)
    made, _ = await nettings.record(asked(1, plan=PlanKind.CONTRACTED), SEAL)
    assert made.policy.contracts == {("delivery", "rides"), ("rides", "video")}
    await two.agree("video", "delivery", Money(500, EUR))
    assert sha256(await bytes_of(await recording(two), made)).hexdigest() == made.hash


async def test_a_netting_is_recorded_once(two: World) -> None:
    """Its key answers again what it recorded, and nothing else; another key is told that it is recorded already."""
    nettings = await recording(two)
    made, _ = await nettings.record(asked(1), SEAL)
    assert await nettings.record(asked(1), SEAL) == Recorded(made, replayed=True)
    with pytest.raises(IdempotencyConflict):
        await nettings.record(asked(1, plan=PlanKind.FEWEST), SEAL)
    with pytest.raises(ValidationFailed, match="recorded already"):
        await nettings.record(asked(1, key="another"), SEAL)
    with pytest.raises(NotFound):
        await nettings.record(asked(9), SEAL)
    with pytest.raises(ValidationFailed, match="not closed"):
        await nettings.record(asked(3), SEAL)
    assert await nettings.page() == [made]


async def test_of_those_who_record_at_once_nobody_loses_what_is_carried(two: World) -> None:
    """Two periods and eight processes: one netting each at most, and the second takes in what the first carries."""
    processes = [await recording(two) for _ in range(8)]
    wished = {"minimums": {EUR: 10_000}}
    told = await asyncio.gather(
        *(each.record(asked(n % 2 + 1, f"key {n}", **wished), SEAL) for n, each in enumerate(processes)),
        return_exceptions=True,
    )
    assert all(isinstance(one, Recorded | ValidationFailed) for one in told), told
    assert any(isinstance(one, Recorded) for one in told)
    assert not [one for one in told if isinstance(one, BaseException) and not isinstance(one, ExchangeError)]
    found = {each.period: each for each in await processes[0].page()}
    if 1 in found and 2 in found:
        assert found[2].follows == 1
    proofs = await check(two.database, two.keyring)
    assert [proof.wrong for proof in proofs if proof.number == 15] == [[]]


async def test_a_period_is_left_out_only_where_nothing_is_carried(two: World) -> None:
    """Else what is carried would be lost, and so would what an earlier one would carry."""
    nettings = await recording(two)
    await two.settle().close(3)
    await nettings.record(asked(1, minimums={EUR: 10_000}), SEAL)
    with pytest.raises(ValidationFailed, match="would be lost: record period 2 first"):
        await nettings.record(asked(3), SEAL)
    await nettings.record(asked(2), SEAL)
    third, _ = await nettings.record(asked(3), SEAL)
    assert (third.follows, third.carried.nothing) == (2, True)


async def test_a_netting_that_is_tried_takes_in_what_the_recorded_one_carries(two: World) -> None:
    """As recording it would; and nothing is recorded by trying."""
    nettings = await recording(two)
    assert (await nettings.tried(2, Wish())).opening == ()
    made, _ = await nettings.record(asked(1, minimums={EUR: 10_000}), SEAL)
    assert (await nettings.tried(2, Wish())).opening == made.carried.payments
    assert await nettings.get(2) is None


async def test_a_certificate_that_is_no_more_what_it_was_is_not_handed_out(two: World) -> None:
    """What somebody changed behind it is noticed before a file is finished."""
    nettings = await recording(two)
    made, _ = await nettings.record(asked(1), SEAL)
    await two.database["nettings"].update_one({"_id": 1}, {"$set": {"plan": "fewest"}})
    changed = await nettings.get(1)
    assert changed is not None
    with pytest.raises(FiguresDisagree, match="period 1 does not come out as it was recorded"):
        await bytes_of(await recording(two), changed)
    assert made.policy.plan is PlanKind.EXCHANGE


async def test_the_standing_policy_is_what_nettings_go_by(two: World) -> None:
    """Its versions count up; what changes nothing adds none; a recorded netting keeps the one that it went by."""
    nettings = await recording(two)
    assert await nettings.standing() == StandingPolicy()
    wished = StandingPolicy(plan=PlanKind.FEWEST, minimums={EUR: 10_000}, groups={"video": ("music", "delivery")})
    first = await nettings.set_standing(wished, expected_version=0)
    assert (first.version, (await nettings.standing()).groups) == (1, {"video": ("delivery", "music")})
    again = StandingPolicy(plan=PlanKind.FEWEST, minimums={EUR: 10_000}, groups={"video": ("delivery", "music")})
    assert await nettings.set_standing(again) == await nettings.standing()
    made, _ = await nettings.record(asked(1, plan=PlanKind.EXCHANGE), SEAL)
    assert (made.standing, made.policy.plan, made.policy.minimums) == (1, PlanKind.EXCHANGE, {EUR: 10_000})
    assert (await nettings.set_standing(StandingPolicy())).version == 2
    assert await nettings.get(1) == made
    with pytest.raises(VersionConflict) as raised:
        await nettings.set_standing(wished, expected_version=1)
    assert raised.value.current_version == 2
    raced = await asyncio.gather(
        *(nettings.set_standing(StandingPolicy(minimums={EUR: n})) for n in (1, 2, 3)), return_exceptions=True
    )
    assert {type(one) for one in raced} <= {StandingPolicy, VersionConflict}
