"""The short version of the long run: a few cycles of the same schedule, against one mongod and against three."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.faults.nodes import faketime
from tests.faults.schedule import Plan, Report, run

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("forgotten_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def played(plan: Plan) -> Report:
    """Carry out a plan, and show the report if the test fails."""
    # Not tmp_path: pytest keeps the directories of three sessions.
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        report = await run(plan, Path(folder), print)
    print(report.text())  # noqa: T201 - for whoever looks why it failed
    return report


async def test_one_mongod() -> None:
    """Processes are killed and frozen, commands fail, clocks are wrong: nothing is lost and nothing happens twice."""
    blows = ("kill a gateway", "kill mongod", "fail commits", "fail writes", "skew a gateway's clock", "close a period")
    report = await played(Plan(seed=5, cycles=8, members=100, clients=20, calm_seconds=0.5, only=blows))
    assert report.verdict.holds
    assert report.verdict.acknowledged > 100
    assert report.verdict.redemptions > 50


async def test_three_mongods() -> None:
    """Primaries step down, are cut off and rolled back: nothing is lost and nothing happens twice."""
    blows = ("step down", "cut off the primary", "kill a primary that stood alone")
    report = await played(Plan(seed=6, cycles=3, nodes=3, members=100, clients=20, calm_seconds=0.5, only=blows))
    assert report.verdict.holds
    assert report.verdict.acknowledged > 100


@pytest.mark.skipif(faketime() is None, reason="a mongod's clock is set wrong by libfaketime, which is not here")
async def test_clocks_that_jump() -> None:
    """The exchange's own time jumps ten minutes forth and back: lanes go on, and nothing is lost."""
    blows = ("skew mongod's clock", "kill a gateway")
    report = await played(Plan(seed=8, cycles=4, clocks=True, members=40, clients=12, calm_seconds=0.5, only=blows))
    assert report.verdict.holds
    assert report.verdict.blows["skew mongod's clock"]
    assert report.verdict.acknowledged > 40
