"""Redemptions while periods are closed: `python -m tests.benchmarks.closing` (4 minutes for 200 closes).

Several processes, one ledger and one lane each, redeem all the time; beside them another closes one period after the
other: first it is cut (marked, every lane cut, sealed), then its statements are drafted. Every acknowledged redemption
is noted with its moment, so what is done *during* the closes is compared with what was done in as long a time just
*before* each of them, in the same run. (On a machine of two cores the one that closes is one process more to share
them, so for that alone there is less of them for the others.)

In the end everything is proved: each redemption that was acknowledged has its one entry, there is no other, the
periods' blocks hold them all, and `exchange check` finds lanes without a gap, every entry in one block and every block
in one period, and statements that say what the blocks say. If any of that fails there are no figures.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from multiprocessing.synchronize import Barrier, Event
from typing import NamedTuple

from exchange.check import check
from exchange.settlement.clearing import Settlement
from exchange.settlement.period import PeriodStatus
from tests.benchmarks.apart import SPAWN, apart
from tests.benchmarks.measuring import Column, Figures, Option, Row, main, ratio
from tests.benchmarks.world import Place, World, created, entered

COLUMNS = (
    Column("during", "case"),
    Column("processes", "processes"),
    Column("closes", "closes"),
    Column("redemptions", "redemptions", ",d"),
    Column("before/s", "before.per_second", ",.0f"),
    Column("during/s", "during.per_second", ",.0f"),
    Column("ratio", "ratio.per_second", ".2f"),
    Column("p50 ms", "p50_ms", ",.0f"),
)
CUT, ALL = "the cut", "the cut and the drafts"
_PATIENCE_SECONDS = 120
_WARM_SECONDS = 1.0


class Close(NamedTuple):
    """When a close began, when its period was sealed, and when all statements were drafted."""

    began: float
    sealed: float
    ended: float


class Acknowledged(NamedTuple):
    """A redemption that a process was told of, and when, by the clock that all processes of a machine share."""

    moment: float
    entry: str


async def redeem(place: Place, in_flight: int, start: Barrier, over: Event) -> list[Acknowledged]:
    """Be one of the processes: redeem from the start until it is over."""
    done: list[Acknowledged] = []
    async with entered(place) as world:
        await asyncio.to_thread(start.wait, _PATIENCE_SECONDS)

        async def customer() -> None:
            while not over.is_set():
                command = world.redemption()
                await world.ledger.submit(command)
                done.append(Acknowledged(time.monotonic(), command.id))

        await asyncio.gather(*(customer() for _ in range(in_flight)))
    return done


async def close(place: Place, closes: int, pause_seconds: float, start: Barrier, over: Event) -> list[Close]:
    """Be the one that closes."""
    closed: list[Close] = []
    async with entered(place) as world:
        # Its own lane would be one more to cut.
        await world.ledger.stop()
        settlement = Settlement(world.db, world.keyring)
        await asyncio.to_thread(start.wait, _PATIENCE_SECONDS)
        try:
            await asyncio.sleep(_WARM_SECONDS)
            for number in range(1, closes + 1):
                lasted = closed[-1].ended - closed[-1].began if closed else 0
                await asyncio.sleep(max(pause_seconds, lasted))
                began = time.monotonic()
                await settlement.mark(number)
                await settlement.cut_lanes(number)
                await settlement.seal(number)
                sealed = time.monotonic()
                await settlement.draft_statements(number)
                closed.append(Close(began, sealed, time.monotonic()))
        finally:
            over.set()
    return closed


async def run(
    url: str, processes: int, closes: int, members: int, benefits: int, in_flight: int, pause_seconds: float
) -> list[Row]:
    """Let them race, prove what came of it, and say how fast it was."""
    async with created(url, members, benefits) as world:
        await world.award(0, members)
        await Settlement(world.db, world.keyring).create_indexes()
        await world.ledger.stop()
        start, over = SPAWN.Barrier(processes + 1), SPAWN.Event()
        redeeming = [asyncio.create_task(apart(redeem, world.place, in_flight, start, over)) for _ in range(processes)]
        closed = await apart(close, world.place, closes, pause_seconds, start, over)
        done = [one for each in await asyncio.gather(*redeeming) for one in each]
        await prove(world, [one.entry for one in done], closes)
        moments = sorted(one.moment for one in done)
        rows: list[Row] = []
        spans = {
            CUT: [(each.began, each.sealed) for each in closed],
            ALL: [(each.began, each.ended) for each in closed],
        }
        for case, of in spans.items():
            during, before = _during_and_before(moments, of)
            rows.append({
                "case": case, "processes": processes, "closes": closes, "redemptions": len(done), "before": before,
                "during": during, "ratio": ratio(during, before),
                "p50_ms": 1000 * statistics.median(ended - began for began, ended in of),
            })  # fmt: skip
        return rows


async def prove(world: World, acknowledged: Sequence[str], closes: int) -> None:
    """ValueError unless each redemption is in one period, and nothing else is wrong either."""
    settlement = Settlement(world.db, world.keyring)
    await settlement.close(closes + 1)
    written = [row["_id"] async for row in world.books.entries.find({"kind": "REDEEM"}, {"_id": 1})]
    if sorted(written) != sorted(acknowledged):
        message = f"{len(acknowledged):,} were acknowledged, {len(written):,} are written, or others"
        raise ValueError(message)
    numbers = range(1, closes + 2)
    periods = [await settlement.period(number) for number in numbers]
    in_periods = sum([await settlement.entries(number) for number in numbers])
    if in_periods != await world.books.entries.count_documents({}):
        message = f"the periods hold {in_periods:,} entries, and that is not all"
        raise ValueError(message)
    if any(each is None or each.status is not PeriodStatus.CLOSED for each in periods):
        message = "a period is not closed"
        raise ValueError(message)
    wrong = [proof.line() for proof in await check(world.db) if not proof.holds]
    if wrong:
        raise ValueError(*wrong)


def _during_and_before(moments: Sequence[float], spans: Iterable[tuple[float, float]]) -> tuple[Figures, Figures]:
    """Return what was acknowledged during the spans, and in as long just before each of them."""
    counted = [0, 0]
    seconds = 0.0
    for began, ended in spans:
        edges = [bisect_left(moments, moment) for moment in (began - (ended - began), began, ended)]
        counted[0] += edges[2] - edges[1]
        counted[1] += edges[1] - edges[0]
        seconds += ended - began
    during, before = ({"per_second": count / seconds} for count in counted)
    return during, before


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=60,
        processes=Option(3, "that redeem"), closes=Option(200, "one after the other"),
        members=Option(500, "with points"), benefits=Option(100, "limited benefits"),
        in_flight=Option(16, "customers of each process"), pause_seconds=Option(0.5, "between two closes, at least"),
    )  # fmt: skip
