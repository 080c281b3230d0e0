"""Several processes against one, each with a lane of its own: `python -m tests.benchmarks.processes` (4 minutes).

Real processes, one ledger and one lane each, on the same mongod and the same members; each has as many customers in
flight as the single one. They begin together, when all have their lane, and what counts is what they redeem together.
On a machine of two cores mongod and one busy process already take both, so this shows what rivals cost each other and
not what a second machine would bring. Say `--members 1000000` for as many members as an exchange has (a minute more).
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

from tests.benchmarks.apart import SPAWN, apart
from tests.benchmarks.measuring import Column, Figures, Option, Row, Side, alternate, customers, main, ratio
from tests.benchmarks.world import Place, created, entered

COLUMNS = (
    Column("case", "case"),
    Column("processes", "processes"),
    Column("together/s", "together.per_second", ",.0f"),
    Column("one/s", "one.per_second", ",.0f"),
    Column("ratio", "ratio.per_second", ".2f"),
    Column("p50", "ratio.p50_ms", ".2f"),
    Column("p99", "ratio.p99_ms", ".2f"),
)
SPREAD, POPULAR = "spread over all benefits", "one popular limited benefit"
COUNTS = (1, 2, 4)
_PATIENCE_SECONDS = 60


class Share(NamedTuple):
    """What one process does in a round."""

    place: Place
    popular: bool
    in_flight: int
    seconds: float


async def take_part(share: Share, start: Barrier) -> Figures:
    """Be one of the processes: take a lane, wait for the others, redeem for a while."""
    async with entered(share.place) as world:
        await asyncio.to_thread(start.wait, _PATIENCE_SECONDS)
        return await customers(world.redeem(popular=share.popular), share.in_flight, seconds=share.seconds)


async def together(share: Share, processes: int) -> Figures:
    """Let so many processes redeem at the same time; returns what they did together, and the worst of their p99."""
    start = SPAWN.Barrier(processes)
    each = await asyncio.gather(*(apart(take_part, share, start) for _ in range(processes)))
    return {
        "per_second": sum(one["per_second"] for one in each),
        "p50_ms": statistics.mean(one["p50_ms"] for one in each),
        "p99_ms": max(one["p99_ms"] for one in each),
    }


async def run(
    url: str, members: int, benefits: int, in_flight: int, seconds: float, rounds: int, counts: Sequence[int] = COUNTS
) -> list[Row]:
    """Fill a database of its own, let one, two and four processes take turns, and drop it."""
    rows: list[Row] = []
    async with created(url, members, benefits) as world:
        await world.fill()
        # Our own lane is free for the first of them.
        await world.ledger.stop()
        for case in (SPREAD, POPULAR):
            share = Share(world.place, case == POPULAR, in_flight, seconds)
            medians = await alternate({str(count): _side(share, count) for count in counts}, rounds)
            one = medians["1"]
            rows += [
                {"case": case, "processes": count, "together": medians[str(count)], "one": one,
                 "ratio": ratio(medians[str(count)], one)}
                for count in counts[1:]
            ]  # fmt: skip
    return rows


def _side(share: Share, processes: int) -> Side:
    return lambda: together(share, processes)


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=30,
        members=Option(20_000, "members with points"), benefits=Option(2_000, "limited benefits"),
        in_flight=Option(64, "customers of each process"), seconds=Option(5.0, "of each round"),
        rounds=Option(5, "of each number of processes"),
    )  # fmt: skip
