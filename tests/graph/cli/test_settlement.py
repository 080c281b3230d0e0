"""`exchange period calendar`, and the dates that `exchange period list` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graph.cli.running import run, tell


@pytest.fixture
def away(mongo_url: str, database_name: str, data: Path) -> tuple[str, ...]:
    """Give the options of an exchange of the test's own, in a database that runs already."""
    before, _, options = mongo_url.partition("?")
    return ("--mongo-url", f"{before}{database_name}?{options}", "--data", str(data))


def test_a_calendar_is_set_shown_and_taken_away(away: tuple[str, ...]) -> None:
    """Each change is a version; the open period is dated by the last, and by none when only people close."""
    assert tell("period", "calendar", *away) == {"calendar": None}
    assert run("period", "calendar", *away).out == "periods are closed by people alone\n"
    weekly = ("--every", "week", "--on", "5", "--at", "18:30", "--time-zone", "Europe/Berlin", "--business-days")
    made = tell("period", "calendar", *weekly, *away)["calendar"]
    assert (made["version"], made["every"], made["on"], made["at"], made["business_days"]) == (
        1,
        "WEEK",
        5,
        "18:30",
        True,
    )
    assert (
        tell("period", "calendar", *weekly, *away)["calendar"] == made == tell("period", "calendar", *away)["calendar"]
    )
    assert "time zone     Europe/Berlin" in run("period", "calendar", *away).out.splitlines()
    [opened] = tell("period", "list", *away)["periods"]
    assert (opened["status"], opened["overdue"]) == ("OPEN", [])
    assert opened["dates"]["cut"][11:16] in ("16:30", "17:30")
    header, row = run("period", "list", *away).out.splitlines()
    assert header.split()[-2:] == ["cut", "overdue"]
    assert row.split()[-1] == opened["dates"]["cut"]
    assert tell("period", "calendar", "--every", "never", *away)["calendar"]["version"] == 2
    assert tell("period", "list", *away)["periods"][0]["dates"] is None


def test_a_calendar_that_cannot_be_kept_is_wrong_usage(away: tuple[str, ...]) -> None:
    """In one line that names the option."""
    for words, said in (
        (("--every", "month", "--on", "31"), "--on: must be 1 to 28"),
        (("--every", "day", "--time-zone", "Mars"), "--time-zone: is no time zone"),
        (("--every", "day", "--review-days", "9"), "--approve-days: must be 9 to 366"),
        (("--on", "3"), "a calendar is set with --every"),
    ):
        refused = run("period", "calendar", *words, *away)
        assert (refused.status, len(refused.err.splitlines())) == (2, 1)
        assert said in refused.err.replace("'", "").replace("Invalid value for ", "")
