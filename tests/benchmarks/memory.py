"""A worker's memory after many redemptions: `python -m tests.benchmarks.memory` (2 minutes for 200,000).

A process of its own redeems, and says what it holds (VmRSS) after a tenth, after half and in the end. What is warm
after a tenth (caches, connections, the allocator's pools) must not grow from there. `--redemptions 1000000` takes ten
minutes.
"""

from __future__ import annotations

import sys

from tests.benchmarks.apart import apart, held_mb
from tests.benchmarks.measuring import Column, Option, Row, customers, main
from tests.benchmarks.world import Place, created, entered

COLUMNS = (
    Column("redemptions", "redemptions", ",d"),
    Column("MB after 10 %", "mb.10", ".1f"),
    Column("50 %", "mb.50", ".1f"),
    Column("100 %", "mb.100", ".1f"),
    Column("growth", "growth", ".3f"),
    Column("redemptions/s", "per_second", ",.0f"),
)
MARKS = (10, 50, 100)
_PIECE = 10_000


async def work(place: Place, redemptions: int, in_flight: int) -> Row:
    """Be the worker."""
    held: dict[str, float] = {}
    async with entered(place) as world:
        done = 0
        for mark in MARKS:
            # In pieces, because the latencies of each are kept until it is over.
            while done < redemptions * mark // 100:
                piece = min(_PIECE, redemptions * mark // 100 - done)
                speed = await customers(world.redeem(), in_flight, deeds=piece)
                done += piece
            held[str(mark)] = held_mb()
            sys.stderr.write(f"{done:,} redemptions: {held[str(mark)]:.1f} MB\n")
    return {
        "redemptions": done, "mb": held, "growth": held["100"] / held["10"], "per_second": speed["per_second"],
    }  # fmt: skip


async def run(url: str, members: int, benefits: int, redemptions: int, in_flight: int) -> list[Row]:
    """Fill a database of its own, let one worker redeem in it, and drop it."""
    async with created(url, members, benefits) as world:
        await world.fill()
        await world.ledger.stop()
        return [await apart(work, world.place, redemptions, in_flight)]


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=60,
        members=Option(10_000, "members with points"), benefits=Option(2_000, "limited benefits"),
        redemptions=Option(200_000, "altogether"), in_flight=Option(64, "customers"),
    )  # fmt: skip
