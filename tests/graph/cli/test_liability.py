"""`exchange liability`, on the demo."""

from __future__ import annotations

import csv
from io import StringIO

from tests.graph.cli.running import Up, run, tell

FIGURES = ("opening", "awarded", "redeemed", "expired", "adjusted", "closing")


def test_what_is_outstanding_is_shown_by_issuer_and_vintage(untouched: Up) -> None:
    """The same as JSON, as CSV and as text; of all issuers or of one; of a closed period or so far."""
    told = tell("liability", "--data", untouched.data)["liabilities"]
    assert {each["issuer"] for each in told} == {"delivery", "rides", "video"}
    for each in told:
        total = each["total"]
        assert (
            total["closing"]
            == total["opening"] + total["awarded"] - total["redeemed"] - total["expired"] + (total["adjusted"])
        )
        assert total["closing"] == each["over"] + sum(end["points"] for end in each["ending"]) > 0
    rows = list(csv.DictReader(StringIO(run("liability", "--csv", "--data", untouched.data).out)))
    assert [(row["issuer"], *(int(row[name]) for name in FIGURES)) for row in rows] == [
        (each["issuer"], *(row[name] for name in FIGURES)) for each in told for row in each["vintages"]
    ]
    [video] = tell("liability", "--issuer", "video", "--data", untouched.data)["liabilities"]
    assert video["total"] == next(each["total"] for each in told if each["issuer"] == "video")
    [first] = tell("liability", "--issuer", "video", "--period", "1", "--data", untouched.data)["liabilities"]
    assert first["final"]
    assert first["total"]["closing"] == video["total"]["opening"]
    lines = run("liability", "--issuer", "video", "--data", untouched.data).out.splitlines()
    assert lines[0].startswith("video: points outstanding in period 2, so far, as of ")
    assert lines[1].split() == ["vintage", *FIGURES]
    assert lines[-1] == "estimate  none: fewer than twelve whole months of history"
    at = tell("liability", "--issuer", "video", "--as-of", first["as_of"], "--data", untouched.data)["liabilities"]
    assert at[0]["period"] in (1, 2)


def test_what_cannot_be_told_is_refused_in_one_line(untouched: Up) -> None:
    """A moment to come, a period or issuer that there is not; and what cannot be told together is wrong usage."""
    for words, status, said in (
        (("--period", "99"), 1, "no such period"),
        (("--issuer", "nobody"), 1, "there is no partner nobody"),
        (("--as-of", "2999-01-01T00:00:00Z"), 1, "--as-of: is still to come"),
        (("--as-of", "yesterday"), 2, "must be a time with offset"),
        (("--period", "1", "--as-of", "2026-01-01T00:00:00Z"), 2, "cannot be told together"),
        (("--csv", "--json"), 2, "cannot be told together"),
    ):
        refused = run("liability", *words, "--data", untouched.data)
        assert (refused.status, said in refused.err, len(refused.err.splitlines())) == (status, True, 1), refused.err
