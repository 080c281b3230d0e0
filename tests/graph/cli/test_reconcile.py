"""`exchange reconcile`, and its page in the docs: what is written there is what the commands print."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from exchange.benefit import content_of
from exchange.store.catalog import Offer
from graph.services import open_services
from graph.settings import DEFAULT_ISSUER, Settings
from tests.examples import DOCS, transcript_in
from tests.exchange.conftest import known
from tests.exchange.speech import agreement, award, benefit, redeem
from tests.graph.cli.running import run, tell

SPENT = (1200, 500, 300)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a place for files."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange that has lived the example of the page."""
    name = f"test_{uuid4().hex}"
    before, _, options = mongo_url.partition("?")
    at = ("--mongo-url", f"{before}{name}?{options}", "--data", str(folder / "data"))
    for handle in ("rides", "video"):
        tell("partner", "create", "--handle", handle, "--name", handle.title(), *at)
    asyncio.run(_live(Settings(mongo_url=at[1], issuer=DEFAULT_ISSUER, data=folder / "data")))
    yield at
    _mongo_admin.drop_database(name)


async def _live(settings: Settings) -> None:
    async with open_services(settings) as services:
        await known(services.ledger, "rides", "video")
        since = await services.now()
        await services.terms.add(agreement("video", "rides", 1000, "EUR", fee=100, since=since))
        for points in SPENT:
            wanted = benefit(f"rides/for-{points}", points)
            await services.catalog.publish("rides", [Offer(content_of(wanted))])
            await services.ledger.submit(award("video", points))
            await services.ledger.submit(redeem(wanted, through="video"))
        await services.settlement.close(1)


@pytest.fixture(scope="module")
def entries(there: tuple[str, ...], folder: Path) -> list[str]:
    """Give the entries of rides' statement by their own names, in their order; the statement itself is a file."""
    said = run("statement", "export", "1:rides", "--out", folder / "statement.csv", *there)
    assert said.status == 0
    with (folder / "statement.csv").open(newline="") as file:
        return [row["entry"] for row in csv.DictReader(file)]


@pytest.fixture
def noted(entries: list[str], folder: Path) -> Path:
    """Give the file of the page, with the names that stand for its dots."""
    page = (DOCS / "reconciliation.md").read_text()
    block = re.search(r"```text\n(entry,.*?)```", page, re.DOTALL)
    assert block is not None
    text = block[1]
    for entry in entries:
        text = text.replace("…", entry, 1)
    assert "…" not in text
    path = folder / "rides.csv"
    path.write_text(text)
    return path


def test_the_page_shows_what_is_printed(
    there: tuple[str, ...], folder: Path, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the page prints what is written there; "…" stands for what chance decides."""
    monkeypatch.chdir(folder)
    shown = transcript_in("reconciliation.md")
    assert shown
    for command, printed in shown:
        said = run(*command, *there)
        assert (said.status, said.err) == (1, "")
        expected = "".join(map(re.escape, printed.rstrip())).replace("…", "[^§]*")
        assert re.fullmatch(expected, said.out.rstrip()), said.out


def test_every_difference_is_in_the_document_and_in_the_file(
    there: tuple[str, ...], folder: Path, noted: Path, entries: list[str]
) -> None:
    """With both sides' figures, and the line of the partner's file."""
    out = folder / "differences.csv"
    said = run("reconcile", "usage", "1:rides", noted, "--out", out, "--json", *there)
    told = json.loads(said.out)
    assert (said.status, told["agreed"], told["rows"], told["file"]) == (1, 1, 3, str(out))
    by_kind = {each["kind"]: each for each in told["differences"]}
    assert {kind: each["entry"] for kind, each in by_kind.items()} == {
        "MISSING_HERE": "the-one-too-many", "DIFFERS": entries[1].removeprefix("'"),
        "MISSING_THERE": entries[2].removeprefix("'"),
    }  # fmt: skip
    differs = by_kind["DIFFERS"]
    assert (differs["ours"], differs["theirs"], differs["line"], differs["day"]) == (
        {"points": "500", "gross": "5.00"}, {"points": "500", "gross": "5.50"}, 3, "2026-03-02",
    )  # fmt: skip
    assert (by_kind["MISSING_HERE"]["ours"], by_kind["MISSING_THERE"]["theirs"]) == (None, None)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {
        (row["kind"], row["our_points"], row["their_points"], row["our_gross"], row["their_gross"], row["line"])
        for row in rows
    } == {
        ("MISSING_HERE", "", "900", "", "9.00", "4"),
        ("MISSING_THERE", "300", "", "3.00", "", ""),
        ("DIFFERS", "500", "500", "5.00", "5.50", "3"),
    }  # fmt: skip


def test_a_statement_s_own_csv_agrees(there: tuple[str, ...], folder: Path, entries: list[str]) -> None:
    """In every figure it has; and not with another partner's statement, which has other names for the same entries."""
    told = tell("reconcile", "usage", "1:rides", folder / "statement.csv", *there)
    assert (told["compared"], told["agreed"], told["differences"]) == (["points", "gross", "fee", "net"], 3, [])
    other = run("reconcile", "usage", "1:video", folder / "statement.csv", "--json", *there)
    assert other.status == 1
    assert [json.loads(other.out)[kind] for kind in ("agreed", "missing_here", "missing_there", "differs")] == [
        0, len(entries), len(entries), 0,
    ]  # fmt: skip


def test_what_cannot_be_read_is_said(there: tuple[str, ...], folder: Path, entries: list[str]) -> None:
    """A row with its line, while the others are compared; a file without a header as one line on stderr."""
    path = folder / "wrong.csv"
    rows = "".join(f"{entry},{points}\n" for entry, points in zip(entries, SPENT, strict=True))
    path.write_text(f"entry,points\n{rows}x,one\n")
    said = run("reconcile", "usage", "1:rides", path, *there)
    assert (said.status, said.err) == (1, "")
    assert said.out.splitlines()[-2:] == [
        "rows that were not read: 1", "line 5: points 'one' is not a whole number of at most 18 digits",
    ]  # fmt: skip
    path.write_text("entry\n")
    said = run("reconcile", "usage", "1:rides", path, *there)
    assert said.complaint.startswith("line 1: the header has none of points")
    missing = run("reconcile", "usage", "1:nobody", noted_of(path), *there)
    assert (missing.status, missing.complaint) == (
        1, "there is no statement 1:nobody: see `exchange statement list`",
    )  # fmt: skip


def noted_of(path: Path) -> Path:
    path.write_text("entry,points\na,1\n")
    return path
