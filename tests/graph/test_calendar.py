"""The calendar of periods over the API: set by the administrator, seen on periods and statements."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from exchange.sweeper import Sweeper
from tests.graph.speech import World

DATES = "dates { cut draftBy reviewBy approveBy payBy } overdue"
PERIODS = f"{{ periods {{ nodes {{ number status {DATES} statements {{ nodes {{ {DATES} }} }} }} }} }}"


@pytest.fixture
async def trading(world: World) -> World:
    """Let video owe rides something."""
    await world.agree("video", "rides", "8.00")
    await world.award("video", "anna", 1_000)
    await world.redeem("anna@video", await world.publish("rides", 300))
    return world


async def test_a_calendar_closes_periods_and_dates_their_statements(trading: World) -> None:
    """From no calendar to a closed period, whose statements are overdue when nobody has reviewed them.

    A version that somebody else followed is refused, and a calendar that cannot be kept.
    """
    assert await trading.read("viewer", "{ periodCalendar { version } }") is None
    [first] = (await trading.read("viewer", PERIODS))["nodes"]
    assert (first["dates"], first["overdue"]) == (None, [])
    made = await trading.done("admin", "setPeriodCalendar", every="DAY", reviewDays=0, approveDays=1, payDays=1)
    assert made == {
        "__typename": "PeriodCalendar", "version": 1, "every": "DAY", "on": 1, "at": "00:00", "timeZone": "UTC",
        "reviewDays": 0, "businessDays": False,
    }  # fmt: skip
    assert await trading.read("video", "{ periodCalendar { version } }") == {"version": 1}
    refused = await trading.do("admin", "setPeriodCalendar", every="MONTH", expectedVersion=0)
    assert (refused["code"], refused["currentVersion"]) == ("VERSION_CONFLICT", 1)
    refused = await trading.do("admin", "setPeriodCalendar", every="MONTH", on=31)
    assert (refused["code"], refused["path"]) == ("VALIDATION_ERROR", ["input", "on"])
    [first] = (await trading.read("viewer", PERIODS))["nodes"]
    assert first["dates"]["cut"].endswith("T00:00:00.000Z")
    await _let_days_go_by(trading, 5)
    assert (await trading.read("viewer", PERIODS))["nodes"][0]["overdue"] == ["CUT", "DRAFT"]
    services = trading.services
    assert await Sweeper(services.books, services.ledger, services.settlement).close_due()
    await _let_days_go_by(trading, 5)
    for who, statements in (("viewer", 2), ("video", 1)):
        opened, closed = (await trading.read(who, PERIODS))["nodes"]
        assert (opened["status"], closed["status"], closed["overdue"]) == (
            "OPEN", "CLOSED", ["REVIEW", "APPROVE", "PAY"],
        )  # fmt: skip
        assert closed["statements"]["nodes"] == [
            {"dates": closed["dates"], "overdue": ["REVIEW", "APPROVE", "PAY"]}
        ] * statements  # fmt: skip


async def _let_days_go_by(world: World, days: int) -> None:
    """Let what there is be so many days older."""
    db: Any = world.services.db
    earlier = timedelta(days=days).total_seconds() * 1_000
    for name, fields in (("calendars", ["since"]), ("periods", ["opened_at", "marked_at"])):
        await db[name].update_many({}, [{"$set": {field: {"$subtract": [f"${field}", earlier]} for field in fields}}])
