from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from exchange.amounts import Money
from exchange.errors import FiguresDisagree, NotFound, ValidationFailed
from exchange.journal import Account, Block, BlockKind
from exchange.ledger import Ledger
from exchange.settlement import clearing
from exchange.settlement.clearing import Settlement
from exchange.settlement.period import PeriodStatus, period_root
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.rival import IN_FLIGHT

# What closing is


async def test_a_period_closes_and_the_next_is_open(example: World) -> None:
    """The period is CLOSED over a range of blocks per lane and their root; the next began when it was marked."""
    period = await example.settle().close(1)
    assert period.status is PeriodStatus.CLOSED
    assert (await example.settle().period(1)) == period
    following = await example.settle().period()
    assert following is not None
    assert (following.number, following.status) == (2, PeriodStatus.OPEN)
    assert period.marked_at is not None
    assert period.closed_at is not None
    assert period.opened_at <= following.opened_at == period.marked_at <= period.closed_at
    cut = (await example.blocks())[-1]
    assert [(r.lane, r.first, r.last, r.cut) for r in period.ranges] == [(1, 0, cut.seq, cut.hash)]
    assert period.root == period_root(1, period.ranges)
    await example.prove()


async def test_what_comes_after_is_in_the_next(example: World) -> None:
    """The lane goes on behind the cut that the closer put there; its entries are the next period's."""
    await example.settle().close(1)
    before = await example.settle().positions(1)
    await example.award("video", "ben", 500)
    await example.redeem("video", "ben", "rides/city")
    assert await example.settle().positions(1) == before
    assert [p.net.minor for p in await example.settle().positions(2, "video")] == [-162]
    assert (await example.settle().entries(1), await example.settle().entries(2)) == (10, 2)
    await example.settle().close(2)
    await example.prove()


async def test_closing_again_is_the_same_success(example: World) -> None:
    """A repeated close answers as the first did and writes nothing."""
    first = await example.settle().close(1)
    statements, blocks = await example.settle().statements(1), await example.blocks()
    assert await example.settle().close(1) == first
    assert await asyncio.gather(*(example.settle().close(1) for _ in range(5))) == [first] * 5
    assert await example.settle().statements(1) == statements
    assert await example.blocks() == blocks


@pytest.mark.parametrize("number", [-1, 0, 2, 2**31])
async def test_what_does_not_exist_cannot_be_closed(example: World, number: int) -> None:
    """A number that no period has is not found, and nothing is opened by asking."""
    with pytest.raises(NotFound) as raised:
        await example.settle().close(number)
    assert raised.value.path == ["input", "number"]
    assert [p.number for p in await example.settle().periods()] == [1]


async def test_periods_close_in_order(example: World) -> None:
    """While a period is closing the next one cannot be; when it is closed, it can."""
    await example.settle().mark(1)
    with pytest.raises(ValidationFailed) as raised:
        await example.settle().close(2)
    assert raised.value.path == ["input", "number"]
    assert [p.status for p in await example.settle().periods()] == [PeriodStatus.OPEN, PeriodStatus.CLOSING]
    await example.settle().close(1)
    await example.settle().close(2)
    await example.prove()


async def test_an_empty_period_closes(world: World) -> None:
    """Nothing happened: a cut, a root, no statements, no positions."""
    period = await world.settle().close(1)
    assert (period.statements, len(period.ranges)) == (0, 1)
    assert await world.settle().positions(1) == []
    assert await world.settle().payment_plan(1) == []
    assert await world.settle().entries(1) == 0
    await world.prove()


# Crashes


async def one_lane_cut(world: World, settlement: Settlement) -> None:
    await settlement.mark(1)
    lanes = settlement._periods.lanes  # noqa: SLF001 - the crash that is played comes between two lanes

    async def first() -> list[int]:
        return (await lanes())[:1]

    settlement._periods.lanes = first  # type: ignore[method-assign] # noqa: SLF001
    await settlement.cut_lanes(1)


async def one_statement_drafted(world: World, settlement: Settlement) -> None:
    for step in (settlement.mark, settlement.cut_lanes, settlement.seal, settlement.draft_statements):
        await step(1)
    await world.database["statements"].delete_many({"partner": {"$ne": "rides"}})
    await world.database["periods"].update_one({"_id": 1}, {"$unset": {"statements": ""}})


@pytest.mark.parametrize("steps", range(5))
async def test_any_process_resumes_a_close(example: World, steps: int) -> None:
    """Whatever step a close died after, another process ends it, with what an undisturbed close gives."""
    await example.ledger()
    settlement = example.settle()
    for step in (settlement.mark, settlement.cut_lanes, settlement.seal, settlement.draft_statements)[:steps]:
        await step(1)
    await closed_as_if_nothing_had_happened(example)


@pytest.mark.parametrize("crash", [one_lane_cut, one_statement_drafted])
async def test_any_process_resumes_within_a_step(
    example: World, crash: Callable[[World, Settlement], Awaitable[None]]
) -> None:
    """The same with one lane of two cut, and with one statement of three drafted."""
    await example.ledger()
    await crash(example, example.settle())
    await closed_as_if_nothing_had_happened(example)


async def closed_as_if_nothing_had_happened(world: World) -> None:
    period = await world.settle().close(1)
    assert (period.status, period.statements, len(period.ranges)) == (PeriodStatus.CLOSED, 3, 2)
    assert [b.kind for b in await world.blocks()].count(BlockKind.CUT) == 2
    assert [s.partner for s in await world.settle().statements(1)] == ["delivery", "rides", "video"]
    assert await world.settle().close(1) == period
    await world.prove()


async def test_a_period_is_not_closed_before_every_lane_is_cut(example: World) -> None:
    """Sealing too early is refused, so a lane that was overlooked cannot fall out of the period."""
    await example.ledger()
    await one_lane_cut(example, example.settle())
    with pytest.raises(ValueError, match=r"not every lane is cut: \[2\]"):
        await example.settle().seal(1)
    await closed_as_if_nothing_had_happened(example)


# Races


async def test_a_lane_that_begins_during_a_close(example: World) -> None:
    """Once a period is marked a new lane begins in the next, and has no range in the one that closes."""
    settlement = example.settle()
    await settlement.mark(1)
    ledger = await example.ledger()
    await example.award("video", "ben", 500)
    await example.redeem("video", "ben", "rides/city", ledger)
    period = await settlement.close(1)
    assert [r.lane for r in period.ranges] == [1]
    assert next((b.kind, b.period) for b in await example.blocks() if b.lane == 2) == (BlockKind.GENESIS, 2)
    assert [(r.lane, r.first) for r in (await settlement.close(2)).ranges] == [(1, period.ranges[0].last + 1), (2, 0)]
    await example.prove()


async def test_lanes_that_begin_while_periods_close(world: World) -> None:
    """Lanes beginning at the very moment of a close are wholly in a period or wholly after it."""
    for number in range(1, 5):
        await asyncio.gather(world.settle().close(number), *(world.ledger() for _ in range(4)))
    last = await world.settle().close(5)
    assert len(last.ranges) == 17
    await world.prove()


async def test_an_owner_cuts_its_own_lane(example: World) -> None:
    """A ledger that finds its period marked cuts its lane before its next batch; the closer then finds it done."""
    await example.settle().mark(1)
    await example.award("video", "ben", 500)
    kinds = [(b.kind, b.period) for b in await example.blocks()][-2:]
    assert kinds == [(BlockKind.CUT, 1), (BlockKind.ENTRIES, 2)]
    await example.settle().close(1)
    assert [b.kind for b in await example.blocks()].count(BlockKind.CUT) == 1
    await example.prove()


async def test_periods_close_under_load(world: World) -> None:
    """Two ledgers redeem, two settlements close: each redemption is in one period, points spent are points posted."""
    await members(world, ("a", "b"))
    other, done = await world.ledger(), asyncio.Event()
    redeemed = 0

    async def member(name: str, ledger: Ledger) -> None:
        nonlocal redeemed
        while not done.is_set():
            await world.redeem("video", name, "rides/city", ledger)
            redeemed += 1

    redeeming = [
        asyncio.create_task(member(f"{group}-{n}", ledger))
        for group, ledger in (("a", world.ledgers[0]), ("b", other))
        for n in range(IN_FLIGHT)
    ]
    for number in range(1, 5):
        await asyncio.gather(world.settle().close(number), world.settle().close(number))
        await asyncio.sleep(0.1)
    done.set()
    await asyncio.gather(*redeeming)
    await settled_in_full(world, redeemed)


async def test_periods_close_under_other_processes(world: World, mongo_url: str) -> None:
    """The same with processes; one is killed in the middle, and its lane is cut for it."""
    names = ("a", "b")
    await members(world, names)
    rivals = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.exchange.settlement.rival", mongo_url, world.database.name, name,
            stdin=PIPE, stdout=PIPE,
        )
        for name in names
    ]  # fmt: skip
    try:
        for rival in rivals:
            assert rival.stdout is not None
            assert await rival.stdout.readline() == b"redeeming\n"
        for number in range(1, 4):
            await asyncio.sleep(0.2)
            await world.settle().close(number)
        rivals[0].kill()
        for number in range(4, 6):
            await asyncio.sleep(0.2)
            await world.settle().close(number)
        said, _ = await rivals[1].communicate(b"")
    finally:
        for rival in rivals:
            if rival.returncode is None:
                rival.kill()
            await rival.communicate(b"")
    assert int(said) > 0
    await settled_in_full(world, None)


async def members(world: World, groups: tuple[str, ...]) -> None:
    await world.agree("video", "rides", Money(333, "EUR"), fee=150, commission=250)
    await world.publish("rides", "city", 7)
    names = [f"{group}-{n}" for group in groups for n in range(IN_FLIGHT)]
    await asyncio.gather(*(world.award("video", name, 10**9) for name in names))


async def settled_in_full(world: World, redeemed: int | None) -> None:
    """Close what is open, prove the journal, and compare the periods with the wallets and the redemptions."""
    last = await world.settle().period()
    assert last is not None
    await world.settle().close(last.number)
    await world.prove()
    numbers = range(1, last.number + 1)
    recorded = await world.database["redemptions"].count_documents({})
    assert redeemed is None or recorded == redeemed
    assert sum([await world.settle().entries(n, "rides") for n in numbers]) == recorded > 0
    lines = [line for n in numbers for line in await lines_of(world, n)]
    assert len({line.entry for line in lines}) == recorded
    posted = sum(b.sums.points.get(("video", Account.REDEEMED), 0) for b in await world.blocks())
    assert posted == sum(line.points for line in lines) == 7 * recorded
    wallets = await world.database["wallets"].find().to_list(None)
    assert posted == sum(10**9 - lot["remaining"] for wallet in wallets for lot in wallet["lots"])


async def lines_of(world: World, number: int) -> list:  # type: ignore[type-arg]
    statement = await world.settle().statement(f"{number}:rides")
    return [] if statement is None else await world.settle().lines(statement, limit=10**6)


# Who cuts


async def test_owners_of_busy_lanes_cut_them(example: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes leaves a lane with a new block to its owner for a moment, and cuts it if nothing comes."""
    await example.award("video", "eve", 500)
    settlement, cut = example.settle(), []
    append = settlement._books.append  # noqa: SLF001 - whose cut it was is not written anywhere

    async def appended(block: Block) -> bool:
        cut.append(block.period)
        return await append(block)

    monkeypatch.setattr(settlement._books, "append", appended)  # noqa: SLF001
    monkeypatch.setattr(clearing, "_BUSY", timedelta(minutes=1))
    monkeypatch.setattr(clearing, "_OWNERS_FIRST_SECONDS", 4)
    await settlement.mark(1)
    cutting = asyncio.create_task(settlement.cut_lanes(1))
    await example.redeem("video", "eve", "rides/city")
    await cutting
    assert cut == []
    await settlement.seal(1)
    monkeypatch.setattr(clearing, "_OWNERS_FIRST_SECONDS", 0.1)
    await settlement.close(2)
    assert cut == [2]
    await example.prove()


# Figures while it goes on


async def test_figures_so_far_are_those_of_the_blocks(example: World) -> None:
    """Asked again and again, by somebody who keeps what was added up: with two lanes and over three cuts."""
    keeping, other = example.settle(), await example.ledger()

    async def the_same(number: int) -> None:
        rows = await example.settle().bilateral(number)
        assert await keeping.bilateral(number) == rows != []

    for number in (1, 2, 3):
        for member in ("eve", "fay"):
            await example.award("video", member, 2000)
            await example.redeem("video", member, "rides/city")
            await the_same(number)
            await example.redeem("video", member, "rides/city", other)
            await the_same(number)
        await keeping.mark(number)
        await example.redeem("video", "eve", "rides/city", other)
        await the_same(number)
        await the_same(number + 1)
        await keeping.close(number)
        await the_same(number)
        await the_same(number + 1)
    await example.prove()


async def test_what_was_added_up_is_not_read_again(example: World) -> None:
    """Asked again, only the blocks behind are read; another process begins with all of them, and so does a draft."""
    keeping = example.settle()
    before = {(row.partner, row.currency): row for row in await keeping.positions(1)}
    await example.database["blocks"].update_many({}, {"$set": {"sums": []}})
    assert {(row.partner, row.currency): row for row in await keeping.positions(1)} == before
    await example.award("video", "carol", 500)
    await example.redeem("video", "carol", "rides/city")
    after = {(row.partner, row.currency): row for row in await keeping.positions(1)}
    assert after["rides", "EUR"].receivable.minor > before["rides", "EUR"].receivable.minor
    assert len(await example.settle().bilateral(1)) < len(await keeping.bilateral(1))
    with pytest.raises(FiguresDisagree):
        await keeping.close(1)
