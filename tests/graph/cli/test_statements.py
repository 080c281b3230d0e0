"""`exchange statement` and `exchange period`: the files of a period, and its end."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from openpyxl import load_workbook

from tests.graph.cli.running import Up, cents, run, tell


def test_statements_are_listed_and_exported(demo: Up, folder: Path) -> None:
    """What `list` prints, name or id, `export` takes; its lines' nets sum to its own; --out says what it wrote."""
    listed = tell("statement", "list", "--data", demo.data, "--period", "1")["statements"]
    assert [each["statement"] for each in listed] == ["1:delivery", "1:rides", "1:video"]
    rides = listed[1]
    by_name = run("statement", "export", "1:rides", "--data", demo.data)
    by_id = run("statement", "export", rides["id"], "--format", "csv", "--data", demo.data)
    assert (by_name.status, by_name.err) == (0, "")
    assert by_name.out == by_id.out
    rows = list(csv.DictReader(io.StringIO(by_name.out)))
    assert len(rows) == rides["lines"]
    assert cents(rides["totals"][0]["net"]["amount"]) == sum(cents(row["net"]) for row in rows)
    told = tell("statement", "export", "1:rides", "--out", folder / "rides.csv", "--data", demo.data)
    assert (folder / "rides.csv").read_bytes() == by_name.out.encode()
    assert (told["file"], told["format"], told["lines"]) == (str(folder / "rides.csv"), "csv", len(rows))
    for form in ("json", "ledger"):
        said = run("statement", "export", "1:rides", "--format", form, "--data", demo.data)
        assert (said.status, said.err) == (0, "")
        assert rides["hash"] in said.out
    book = folder / "rides.xlsx"
    run("statement", "export", "1:rides", "--format", "xlsx", "--locale", "de", "--out", book, "--data", demo.data)
    sheet = load_workbook(book)["Lines"]
    assert sheet.max_row == len(rows) + 1
    assert sheet["J2"].number_format.endswith('"\N{NO-BREAK SPACE}€"')
    text = run("statement", "list", "--data", demo.data).out.splitlines()
    assert text[0].split()[:4] == ["statement", "period", "partner", "status"]
    assert any(line.startswith("1:video ") for line in text)

    said = run("statement", "export", "1:nobody", "--data", demo.data)
    assert (said.status, said.complaint) == (1, "there is no statement 1:nobody: see `exchange statement list`")
    said = run("statement", "export", "1:rides", "--out", folder / "no" / "file.csv", "--data", demo.data)
    assert (said.status, said.complaint) == (1, f"cannot write {folder}/no/file.csv: No such file or directory")
    said = run("statement", "list", "--period", "99", "--data", demo.data)
    assert (said.status, said.complaint) == (1, "there is no period 99")


def test_the_open_period_is_closed_while_the_exchange_runs(demo: Up) -> None:
    """`period close` closes the open one; with its number it is the same success again; the next one is open."""
    number = tell("period", "list", "--data", demo.data)["periods"][0]["number"]
    closed = tell("period", "close", "--data", demo.data)
    assert (closed["number"], closed["status"]) == (number, "CLOSED")
    assert tell("period", "close", str(number), "--data", demo.data) == closed
    periods = tell("period", "list", "--data", demo.data)["periods"]
    assert [(each["number"], each["status"]) for each in periods[:2]] == [(number + 1, "OPEN"), (number, "CLOSED")]
    said = run("period", "close", "99", "--data", demo.data)
    assert (said.status, said.complaint) == (1, "number: no such period")
    text = run("period", "close", "1", "--data", demo.data).out
    assert text.startswith("period 1 is closed, with 3 statements\n\npartner")
    assert "period" in run("period", "list", "--data", demo.data).out
