"""`exchange reconcile`, and its page in the docs: what is written there is what the commands print."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.benefit import content_of
from exchange.settlement.signoff import Asked, SignOffStep
from exchange.store.catalog import Offer
from graph.services import Services, open_services
from graph.settings import Settings
from tests.examples import DOCS, transcript_in
from tests.exchange.conftest import known
from tests.exchange.speech import agreement, award, benefit, redeem
from tests.graph.cli.running import lived, run, tell

SPENT = (1200, 500, 300)
DAY = "2026-03-11"


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange that has lived the example of the page."""
    with lived(mongo_url, _mongo_admin, folder, ("rides", "video"), _live) as at:
        yield at


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
        await instructed(services, "1:rides", "1:video")


async def instructed(services: Services, *statements: str) -> None:
    """Sign statements off as far as their payments are under way."""
    for named in statements:
        statement = await services.settlement.statement(named)
        assert statement is not None
        for step, actor in ((SignOffStep.REVIEW, "ada"), (SignOffStep.APPROVE, "ben"), (SignOffStep.INSTRUCT, "ada")):
            await services.sign_off.sign(Asked(
                step=step, statement=named, hash=statement.hash, actor=actor, key=f"{step} {named}", fingerprint="",
            ))  # fmt: skip


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


@pytest.fixture(scope="module")
def today(there: tuple[str, ...]) -> str:
    """Give the day on which the statements were instructed."""
    dues = tell("reconcile", "due", *there)["due"]
    return str(dues[0]["since"])


@pytest.fixture
def bank(today: str, folder: Path) -> Path:
    """Give the bank's file of the page, of the day on which the test runs."""
    page = (DOCS / "reconciliation.md").read_text()
    block = re.search(r"```text\n(date,.*?)```", page, re.DOTALL)
    assert block is not None
    path = folder / "bank.csv"
    path.write_text(block[1].replace(DAY, today))
    return path


def test_the_page_shows_what_is_printed(
    there: tuple[str, ...], folder: Path, noted: Path, bank: Path, today: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of the page, in its order, prints what is written there; "…" stands for what chance decides."""
    monkeypatch.chdir(folder)
    shown = transcript_in("reconciliation.md")
    assert len(shown) > 6
    for command, printed in shown:
        said = run(*shlex.split(" ".join(command)), *there)
        assert (said.status, said.err) == (1 if command[1] in ("payments", "usage") else 0, "")
        expected = "".join(map(re.escape, printed.rstrip().replace(DAY, today))).replace("…", "[^§]*")
        assert re.fullmatch(expected, said.out.rstrip()), said.out


def test_a_file_given_again_is_the_same(
    there: tuple[str, ...], folder: Path, bank: Path, today: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its hash, under whichever name; one with other bytes and the same movements has nothing new."""
    monkeypatch.chdir(folder)
    first = json.loads(run("reconcile", "payments", bank, "--json", *there).out)["files"][0]
    other = folder / "again.csv"
    other.write_bytes(bank.read_bytes())
    again = json.loads(run("reconcile", "payments", other, "--json", *there).out)["files"][0]
    assert (again["number"], again["replayed"], again["file"]) == (first["number"], True, "again.csv")
    assert {name: again[name] for name in ("hash", "matched", "exceptions")} == {
        name: first[name] for name in ("hash", "matched", "exceptions")
    }
    other.write_bytes(bank.read_bytes() + b"\n")
    told = tell("reconcile", "payments", other, *there)["files"][0]
    assert (told["lines"], told["known"], told["matched"], told["exceptions"]) == (3, 3, [], [])


def test_a_bank_s_own_format(there: tuple[str, ...], folder: Path, bank: Path, today: str) -> None:
    """What is paid a second time is found in camt.053 as well, and a file that is an attack is one line on stderr."""
    run("reconcile", "payments", bank, *there)
    path = folder / "camt.xml"
    path.write_text(f"""<Document><BkToCstmrStmt><Stmt><Ntry><Amt Ccy="EUR">19.80</Amt><CdtDbtInd>DBIT</CdtDbtInd>
        <Sts>BOOK</Sts><ValDt><Dt>{today}</Dt></ValDt><NtryDtls><TxDtls><Refs><EndToEndId>1:rides:EUR</EndToEndId></Refs>
        </TxDtls></NtryDtls></Ntry></Stmt></BkToCstmrStmt></Document>""")
    said = run("reconcile", "payments", path, "--json", *there)
    (exception,) = json.loads(said.out)["files"][0]["exceptions"]
    assert (said.status, exception["kind"], exception["dues"][0]["reference"]) == (1, "DUPLICATE", "1:rides:EUR")
    listed = tell("reconcile", "exceptions", "list", *there)["exceptions"]
    assert exception["exception"] in [each["exception"] for each in listed]
    path.write_text('<!DOCTYPE a [<!ENTITY b "c">]><Document>&b;</Document>')
    said = run("reconcile", "payments", path, *there)
    assert (said.status, said.complaint) == (
        1, "camt.xml: line 1: the file has a document type (DTD), which no bank's file needs",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("payments", "BANK", "--within", "EUR"), 2, "it wants CODE=AMOUNT"),
        (("payments", "BANK", "--within", "EUR=-1"), 2, "EUR=-1: must not be negative"),
        (("exceptions", "resolve", "9-9", "--reason", "why"), 1, "exception: no such exception"),
        (("exceptions", "resolve", "9-9", "--reason", " "), 2, "must have 1 to 500 characters"),
    ],
)
def test_what_cannot_be_done_is_refused(
    there: tuple[str, ...], bank: Path, words: tuple[str, ...], status: int, says: str
) -> None:
    """In one line."""
    said = run("reconcile", *(str(bank) if word == "BANK" else word for word in words), *there)
    assert said.status == status
    assert says in said.complaint


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
