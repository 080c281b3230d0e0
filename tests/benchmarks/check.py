"""`exchange check` against a bare scan of the entries: `python -m tests.benchmarks.check` (5 minutes at 100,000).

The journal is made by the ledger, so that everything in it is true: awards, then redemptions until it has as many
entries as `--entries` says. Each side runs in a process of its own, so that its memory is its own: the scan reads the
collection of entries from one end to the other and looks at nothing; the check reads that, and wallets, redemptions,
blocks and stock besides, and proves every invariant, to the hashes. `--entries 1000000` takes an hour, most of it to
make the journal.
"""

from __future__ import annotations

import time

from exchange.check import check
from exchange.store.connection import connect
from tests.benchmarks.apart import apart, peak_mb
from tests.benchmarks.measuring import Column, Figures, Option, Row, alternate, customers, main, ratio
from tests.benchmarks.world import Place, created

COLUMNS = (
    Column("entries", "entries", ",d"),
    Column("check s", "check.seconds", ".1f"),
    Column("scan s", "scan.seconds", ".2f"),
    Column("ratio", "ratio.seconds", ".1f"),
    Column("check peak MB", "check.peak_mb", ".0f"),
    Column("scan peak MB", "scan.peak_mb", ".0f"),
    Column("check/s", "check.per_second", ",.0f"),
)
_IN_FLIGHT = 256


async def scan(place: Place) -> Figures:
    """Read every entry, and no more."""
    client = connect(place.url)
    began, seen = time.perf_counter(), 0
    async for _ in client[place.name]["entries"].find({}):
        seen += 1
    elapsed = time.perf_counter() - began
    await client.close()
    return {"seconds": elapsed, "per_second": seen / elapsed, "peak_mb": peak_mb()}


async def prove(place: Place) -> Figures:
    """Check the whole exchange; ValueError if it is not as it must be."""
    client = connect(place.url)
    began = time.perf_counter()
    proofs = await check(client[place.name])
    elapsed = time.perf_counter() - began
    await client.close()
    wrong = [proof.line() for proof in proofs if not proof.holds]
    if wrong:
        raise ValueError(*wrong)
    return {"seconds": elapsed, "per_second": proofs[0].judged / elapsed, "peak_mb": peak_mb()}


async def run(url: str, entries: int, members: int, benefits: int, rounds: int) -> list[Row]:
    """Make a journal, let the two take turns, and drop it."""
    async with created(url, members, benefits) as world:
        await world.award(0, members)
        made = await world.books.entries.estimated_document_count()
        await customers(world.redeem(), _IN_FLIGHT, deeds=max(entries - made, 1))
        await world.durable()
        entries = await world.books.entries.estimated_document_count()
        sides = {"scan": lambda: apart(scan, world.place), "check": lambda: apart(prove, world.place)}
        medians = await alternate(sides, rounds)
        return [{"entries": entries, **medians, "ratio": ratio(medians["check"], medians["scan"])}]


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=120,
        entries=Option(100_000, "in the journal"), members=Option(5_000, "members, with an enrolment and two awards"),
        benefits=Option(500, "limited benefits"), rounds=Option(3, "of each side"),
    )  # fmt: skip
