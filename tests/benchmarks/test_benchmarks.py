"""The benchmarks run: small here, and no time is asserted, because the machine is shared."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import check, closing, growth, inserts, ledger, measuring, memory, processes, settlement
from tests.benchmarks.measuring import Column, Option, Row
from tests.benchmarks.world import created

SMALL = {"members": 20, "benefits": 10}


def shown(columns: Sequence[Column], rows: list[Row], *sides: str) -> None:
    """Every row has figures of every side that it names, and is a line of a table that a person can read."""
    assert len(measuring.table(columns, rows).splitlines()) == 1 + len(rows)
    for row in rows:
        assert all(row[side]["per_second"] > 0 for side in sides)
        json.dumps(row)


async def test_the_ledger_is_measured_against_one_transaction_each_and_a_bare_one(mongo_url: str) -> None:
    """Every case gives both sides' figures and their ratio; alone, the bare transaction's as well."""
    cases = [(ledger.SPREAD, 4), (ledger.POPULAR, 4), (ledger.ALONE, 1)]
    rows = await ledger.run(mongo_url, seconds=0.2, rounds=1, cases=cases, **SMALL)
    shown(ledger.COLUMNS, rows, "ledger", "plain")
    assert [(row["case"], row["in_flight"]) for row in rows] == cases
    for row in rows:
        assert row["ratio"]["per_second"] == row["ledger"]["per_second"] / row["plain"]["per_second"]
    assert rows[-1]["to_bare"]["p50_ms"] == rows[-1]["ledger"]["p50_ms"] / rows[-1]["bare"]["p50_ms"]


async def test_the_ledger_is_measured_against_bare_inserts_of_the_same_bytes(mongo_url: str) -> None:
    """What the ledger wrote is inserted again, block, wallet and all, into one collection and into its own."""
    rows = await inserts.run(mongo_url, in_flight=8, seconds=0.2, rounds=1, **SMALL)
    shown(inserts.COLUMNS, rows, "ledger", "bare")
    assert [row["case"] for row in rows] == [inserts.ONE, inserts.SAME]
    assert all(row["bare"]["bytes_each"] > 1_000 for row in rows)


async def test_a_journal_that_has_grown_is_measured_against_a_small_one(mongo_url: str) -> None:
    """The large journal has as many entries as were asked for, and both have what was redeemed in them besides."""
    rows = await growth.run(mongo_url, entries=2_000, small=1_200, redemptions=20, rounds=1, **SMALL)
    shown(growth.COLUMNS, rows, "small", "large")
    assert rows[0]["entries_afterwards"] == {"small": 1_220, "large": 2_020}


async def test_several_processes_are_measured_against_one(mongo_url: str) -> None:
    """Two processes with a lane each redeem at the same time, and what they did is added up."""
    rows = await processes.run(mongo_url, in_flight=4, seconds=0.2, rounds=1, counts=(1, 2), **SMALL)
    shown(processes.COLUMNS, rows, "together", "one")
    assert [(row["case"], row["processes"]) for row in rows] == [(processes.SPREAD, 2), (processes.POPULAR, 2)]


async def test_a_workers_memory_is_measured(mongo_url: str) -> None:
    """A process of its own says three times what it holds."""
    (row,) = await memory.run(mongo_url, redemptions=100, in_flight=4, **SMALL)
    assert len(measuring.table(memory.COLUMNS, [row]).splitlines()) == 2
    assert row["redemptions"] == 100
    assert all(10 < held < 1_000 for held in row["mb"].values())


async def test_a_check_is_measured_against_a_scan(mongo_url: str) -> None:
    """The journal that is checked is a true one: nothing in it is wrong, or the benchmark would say so."""
    (row,) = await check.run(mongo_url, entries=200, rounds=1, **SMALL)
    shown(check.COLUMNS, [row], "check", "scan")
    assert row["entries"] == 200
    assert row["ratio"]["seconds"] == row["check"]["seconds"] / row["scan"]["seconds"]


async def test_settling_is_measured_against_what_the_database_adds_up(mongo_url: str) -> None:
    """Blocks and entries say the same, every statement is drafted, and the document is the one that was signed for."""
    rows = await settlement.run(mongo_url, entries=300, partners=12, members=10, rounds=1)
    shown(settlement.COLUMNS, rows, "ours", "bare")
    assert [row["case"] for row in rows[:4]] == ["net", "close", "draft", "close, net and draft"]
    assert rows[3]["ours"]["seconds"] == pytest.approx(sum(row["ours"]["seconds"] for row in rows[:3]))
    assert all(row["of"] > 100 and row["ours"]["peak_mb"] > 10 for row in rows[4:])


async def test_closing_is_measured_against_what_was_before(mongo_url: str) -> None:
    """Periods are closed under redemptions of two processes, and none of those is lost or in two periods."""
    rows = await closing.run(mongo_url, processes=2, closes=5, in_flight=4, pause_seconds=0.1, **SMALL)
    shown(closing.COLUMNS, rows, "before")
    assert [(row["case"], row["closes"]) for row in rows] == [(closing.CUT, 5), (closing.ALL, 5)]
    assert rows[0]["p50_ms"] < rows[1]["p50_ms"]


async def test_a_lost_redemption_is_found(mongo_url: str) -> None:
    """One that was acknowledged and is not written, or is written and was not acknowledged, ends the benchmark."""
    async with created(mongo_url, **SMALL) as world:
        await world.award(0, SMALL["members"])
        command = world.redemption()
        await world.ledger.submit(command)
        await world.ledger.stop()
        for acknowledged in ([], [command.id, world.key()], [world.key()]):
            with pytest.raises(ValueError, match="were acknowledged"):
                await closing.prove(world, acknowledged, 0)
        await closing.prove(world, [command.id], 0)


def test_a_benchmark_is_a_command(
    mongo_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints a table, and writes a file of JSON with what was asked for and what came of it."""

    async def run(url: str, so_many: int) -> list[dict[str, Any]]:
        return [{"case": "counted", "ours": {"per_second": so_many * 1_000}}, {"case": "not"}]

    written = tmp_path / "figures.json"
    arguments = ["it", "--url", mongo_url, "--so-many", "7", "--json", str(written)]
    monkeypatch.setattr(sys, "argv", arguments)
    columns = (Column("case", "case"), Column("ours/s", "ours.per_second", ",.0f"))
    measuring.main("It counts.", run, columns, 1, so_many=Option(3, "of them"))
    assert capsys.readouterr().out == "case     ours/s\ncounted   7,000\nnot\n"
    document = json.loads(written.read_text())
    assert document["options"] == {"so_many": 7}
    assert document["rows"][0]["ours"] == {"per_second": 7_000}
