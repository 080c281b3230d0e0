"""The benchmarks run: small here, and no time is asserted, because the machine is shared."""

from __future__ import annotations

from tests.benchmarks import ledger


async def test_the_ledger_benchmark_measures_both_ways(mongo_url: str) -> None:
    """Every case gives both sides' figures and their ratio, and a table that a person can read."""
    results = await ledger.run(mongo_url, members=20, benefits=10, seconds=0.2, rounds=1)
    assert [row["case"] for row in results] == [
        "spread over all benefits",
        "one popular limited benefit",
        "one at a time",
    ]
    for row in results:
        assert row["ledger"]["per_second"] > 0
        assert row["plain"]["per_second"] > 0
        assert row["ratio"]["per_second"] == row["ledger"]["per_second"] / row["plain"]["per_second"]
    assert len(ledger.table(results).splitlines()) == 1 + len(results)
