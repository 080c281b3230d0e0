"""`exchange rules`, `exchange freeze` and `exchange unfreeze`: what partners lay down, and what the exchange stops."""

from __future__ import annotations

from tests.graph.cli.running import run, tell


def test_rules_are_laid_down_and_shown(away: tuple[str, ...]) -> None:
    """What is left out stays; every version is listed; what cannot be kept is wrong usage and changes nothing."""
    tell("partner", "create", "--handle", "video", "--name", "Video", *away)
    assert tell("rules", "show", "--partner", "video", *away)["version"] == 0
    first = tell(
        "rules", "set", "--partner", "video", "--award-reversal", "take-what-is-left", "--gift-day-points", "500",
        "--time-zone", "Asia/Tokyo", *away,
    )  # fmt: skip
    assert (first["version"], first["award_reversal"], first["time_zone"]) == (1, "TAKE_WHAT_IS_LEFT", "Asia/Tokyo")
    second = tell("rules", "set", "--partner", "video", "--velocity", "3600:3:", "--velocity", "60::5::2", *away)
    assert (second["version"], second["gift_day_points"]) == (2, 500)
    assert [rule["points_from"] for rule in second["velocity"]] == [0, 2]
    assert tell("rules", "set", "--partner", "video", "--gift-day-points", "500", *away)["version"] == 2
    versions = tell("rules", "history", "--partner", "video", *away)["versions"]
    assert [one["version"] for one in versions] == [2, 1]
    shown = run("rules", "show", "--partner", "video", *away).out
    assert "at most 3 redemptions in 3,600 s" in shown
    assert "at most 5 points in 60 s, counting those from 2 points" in shown
    assert "TAKE_WHAT_IS_LEFT" in run("rules", "history", "--partner", "video", *away).out
    for arguments, status in (
        (("--time-zone", "Mars"), 2), (("--velocity", "x"), 2), ((), 2), (("--velocity", "60:1:", "--no-velocity"), 2),
        (("--velocity", "60:1::nothing"), 1), (("--velocity", "60:2147483648:"), 2),
        (("--velocity", f"60::{10**17 + 1}"), 2), (("--gift-day-points", "-1"), 2),
    ):  # fmt: skip
        said = run("rules", "set", "--partner", "video", *arguments, *away)
        assert (said.status, said.out) == (status, ""), arguments
    assert tell("rules", "set", "--partner", "video", "--no-velocity", *away)["velocity"] == []
    assert run("rules", "show", "--partner", "nobody", *away).complaint == "there is no partner nobody"
    said = run("rules", "set", "--gift-day-points", "5", *away)
    assert (said.status, said.complaint.partition(" (see")[0]) == (
        2, "Invalid value for --gift-day-points: is for partners, not for the exchange",
    )  # fmt: skip


def test_the_exchange_freezes_from_the_shell(away: tuple[str, ...]) -> None:
    """A partner, or one benefit of it, with the reason; and lets it go on."""
    tell("partner", "create", "--handle", "delivery", "--name", "Delivery", *away)
    frozen = tell("freeze", "--partner", "delivery", "--reason", "under review", *away)
    assert frozen["frozen"] == "under review"
    assert "under review" in run("rules", "show", "--partner", "delivery", *away).out
    assert run("freeze", "--partner", "delivery", "--reason", " ", *away).status == 2
    assert run("unfreeze", "--partner", "delivery", "--reason", "cleared", *away).out == "delivery goes on\n"
    versions = tell("rules", "history", "--partner", "delivery", *away)["versions"]
    assert [(one["by"], one["reason"]) for one in versions] == [
        ("the command line", "cleared"), ("the command line", "under review"),
    ]  # fmt: skip
    assert run("rules", "history", "--partner", "delivery", *away).out.splitlines()[1].endswith("cleared")
    said = run("freeze", "--partner", "delivery", "--sku", "none", "--reason", "x", *away)
    assert (said.status, said.complaint) == (1, "delivery has no benefit none")
    assert run("freeze", "--partner", "exchange", "--reason", "x", *away).status == 1
