"""`exchange catalog import`: a file of benefits, its bad rows, and what of it is published."""

from __future__ import annotations

import json
from pathlib import Path

from tests.graph.cli.running import run, tell


def test_a_catalog_is_imported_mended_and_imported_again(away: tuple[str, ...], folder: Path) -> None:
    """Good rows are published, bad ones told with line, field and reason; the mended file changes what was mended."""
    tell("partner", "create", "--handle", "rides", "--name", "Rides", *away)
    header = "sku,category,title,pointsPrice,stock,fulfilment"
    good = [f"ride-{number},RIDES,Ride {number},{100 + number},,NONE" for number in range(2_200)]
    feed = folder / "feed.csv"
    feed.write_text("\n".join([header, *good[:1_500], "bad sku,RIDES,,no,-1,NONE", *good[1_500:]]) + "\n")
    command = ("catalog", "import", "--partner", "rides", str(feed), *away)

    said = run(*command, "--json", "--dry-run")
    assert said.status == 1
    dry = json.loads(said.out)
    assert (dry["dry_run"], dry["created"], len(dry["rejected"])) == (True, 2_200, 4)
    said = run(*command)
    assert (said.status, said.err) == (1, "")
    lines = said.out.splitlines()
    assert lines[0] == "rides: 2200 created, 0 updated, 0 unchanged, 1 rejected"
    assert lines[2].split() == ["line", "field", "reason"]
    assert [line.split()[:2] for line in lines[3:]] == [
        ["1502", "sku"], ["1502", "title"], ["1502", "pointsPrice"], ["1502", "stock"],
    ]  # fmt: skip
    mended = [header, *good[:1_500], "ride-x,RIDES,Ride X,1,5,NONE", *good[1_500:2_199], "ride-2199,RIDES,New,7,,NONE"]
    feed.write_text("\n".join(mended) + "\n")
    assert tell(*command) == {
        "partner": "rides", "file": str(feed), "dry_run": False, "created": 1, "updated": 1, "unchanged": 2_199,
        "rejected": [], "error": None,
    }  # fmt: skip


def test_what_the_exchange_refuses_is_told_by_line_and_the_rest_is_published(
    away: tuple[str, ...], folder: Path
) -> None:
    """A change that contradicts what is stored costs its own row alone, also in the middle of a transaction's worth."""
    tell("partner", "create", "--handle", "video", "--name", "Video", *away)
    feed = folder / "feed.jsonl"
    rows = [{"sku": f"film-{n}", "category": "VIDEO", "title": f"Film {n}", "pointsPrice": 9} for n in range(6)]
    feed.write_text("\n".join(map(json.dumps, rows[:4])))
    command = ("catalog", "import", "--partner", "video", str(feed), *away)
    assert tell(*command)["created"] == 4
    rows[1]["fulfilment"] = rows[3]["fulfilment"] = "INSTANT_CODE"
    rows[4]["expectedVersion"] = 3
    rows[0]["title"] = "Another"
    feed.write_text("\n".join(map(json.dumps, rows)))
    dry = json.loads(run(*command, "--json", "--dry-run").out)
    said = run(*command, "--json")
    assert said.status == 1
    told = json.loads(said.out)
    assert told == dry | {"dry_run": False}
    assert (told["created"], told["updated"], told["unchanged"]) == (1, 1, 1)
    assert [(row["line"], row["field"]) for row in told["rejected"]] == [
        (2, "fulfilment"), (4, "fulfilment"), (5, "expectedVersion"),
    ]  # fmt: skip


def test_a_file_that_breaks_off_is_published_as_far_as_it_goes(away: tuple[str, ...]) -> None:
    """From stdin, too: what came before is published and counted, why it stopped is the one line on stderr."""
    tell("partner", "create", "--handle", "video", "--name", "Video", *away)
    rows = "".join(f"film-{number},VIDEO,Film,9\n" for number in range(1_200))
    feed = b"sku,category,title,pointsPrice\n" + rows.encode() + b"film-\xff,VIDEO,Film,9\n"
    said = run("catalog", "import", "--partner", "video", "-", "--json", *away, stdin=feed)
    assert said.status == 1
    assert said.complaint.startswith("line 1202: byte 6 is not UTF-8")
    told = json.loads(said.out)
    assert (told["created"], told["error"]) == (1_200, said.complaint)
    said = run("catalog", "import", "--partner", "nobody", "-", *away, stdin=feed)
    assert (said.status, said.complaint, said.out) == (1, "there is no partner nobody", "")
