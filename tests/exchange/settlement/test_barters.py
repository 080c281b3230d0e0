"""Barters over a real database: added once, ended once, and kept by nettings that are recorded."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from exchange.check import check
from exchange.errors import NotFound, ValidationFailed
from exchange.settlement.barter import Barter, Stage
from exchange.settlement.netted import PlanKind
from exchange.store.barters import Barters
from exchange.store.connection import server_time
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.test_recording import asked, bytes_of, recording
from tests.exchange.test_evidence import SEAL, verified


async def wished(world: World, one: int = 100, other: int = 50) -> Barter:
    now = await server_time(world.database)
    return Barter(
        id="", one="video", other="rides", currency="EUR", one_quota=one, other_quota=other,
        since=now - timedelta(days=1), until=now + timedelta(days=1),
    )  # fmt: skip


async def test_of_many_at_once_each_is_added_once(example: World) -> None:
    """The same terms are one barter, however many add them; others have ids of their own."""
    await (await recording(example)).barters.create_indexes()
    terms = [replace(await wished(example), one_quota=quota) for quota in (1, 2, 3)]
    processes = [Barters(example.database) for _ in range(4)]
    made = await asyncio.gather(*(each.add(barter, "", "ada") for each in processes for barter in terms))
    assert len({version.barter.id for version in made}) == 3
    stored = await processes[0].last_versions()
    assert [version.barter.id for version in stored] == ["barter-3", "barter-2", "barter-1"]
    assert {version.barter.one_quota for version in stored} == {1, 2, 3}
    assert await processes[0].last_versions("music") == []


async def test_it_is_ended_once(example: World) -> None:
    """Of two who end it one does; one whose time is over is not ended again, nor one that is not there."""
    barters = Barters(example.database)
    added = await barters.add(await wished(example), "contract 7", "ada")
    one, other = await asyncio.gather(*(barters.end("barter-1", who) for who in ("ada", "ben")))
    assert one == other
    assert (one.version, one.reference, one.barter.until) == (2, "contract 7", one.at)
    assert await barters.versions("barter-1") == [one, added]
    soon = await server_time(example.database) + timedelta(milliseconds=150)
    await barters.add(replace(await wished(example), until=soon), "", "ada")
    await asyncio.sleep(0.3)
    with pytest.raises(ValidationFailed, match="barter-2 ended at"):
        await barters.end("barter-2", "ada")
    with pytest.raises(NotFound, match="there is no barter barter-9"):
        await barters.end("barter-9", "ada")


async def test_one_that_has_not_begun_never_does(example: World) -> None:
    """Ended before its time, it ends where it would have begun, and no period belongs to it."""
    barters = Barters(example.database)
    later = await wished(example)
    later = replace(later, since=later.until, until=later.until + timedelta(days=1))
    added = await barters.add(later, "", "ada")
    now = await server_time(example.database)
    assert added.stage(now) is Stage.TO_COME
    ended = await barters.end(added.barter.id, "ada")
    assert ended.barter.since == ended.barter.until
    assert ended.stage(now) is Stage.ENDED


async def test_recorded_nettings_keep_it(example: World) -> None:
    """What is used is taken from the one before; the terms are those of then, and the check makes all of it anew."""
    nettings = await recording(example)
    terms = await wished(example)
    await example.settle().close(1)
    await example.award("video", "ben", 250)
    await example.redeem("video", "ben", "rides/scooter")
    added = await nettings.barters.add(terms, "", "ada")
    first, _ = await nettings.record(asked(1, plan=PlanKind.FEWEST), SEAL)
    (used,) = first.carried.balances
    assert (used.barter, used.one_used) == (added.barter.id, 100)
    assert not first.carried.nothing
    await nettings.barters.end(added.barter.id, "ada")
    await example.settle().close(2)
    second, _ = await nettings.record(asked(2, plan=PlanKind.FEWEST), SEAL)
    assert second.carried.balances == ()
    (row,) = (await nettings.anew(second)).bartered
    assert (row.one_in_kind, row.one_used, row.due) == (0, 100, 100 - row.other_used)
    other = await recording(example)
    for netting in (first, second):
        assert await other.get(netting.period) == netting
        facts = verified(await bytes_of(other, netting), SEAL.keys).findings.facts
        assert facts["balances"] == [
            [each.barter, str(each.one_used), str(each.other_used)] for each in netting.carried.balances
        ]
    (seen,) = await other.seen(await other.barters.last_versions())
    assert (seen.stage, seen.balance) == (Stage.ENDED, None)
    proofs = await check(example.database, example.keyring)
    assert [(proof.judged, proof.wrong) for proof in proofs if proof.number == 15] == [(2, [])]


async def test_along_contracts_who_barters_is_among_them(example: World) -> None:
    """A difference that is due is paid between the two, also when neither has owed anything in the period."""
    nettings = await recording(example)
    added = await nettings.barters.add(await wished(example), "", "ada")
    await example.settle().close(1)
    await nettings.record(asked(1), SEAL)
    await nettings.barters.end(added.barter.id, "ada")
    await example.settle().close(2)
    second, _ = await nettings.record(asked(2, plan=PlanKind.CONTRACTED), SEAL)
    made = await nettings.anew(second)
    assert [(each.from_, each.to) for each in made.payments] == [("video", "rides")]
