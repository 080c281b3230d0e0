"""Statements as files, from a shell: for a bank, for a person, and while it takes a while."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from lxml import etree
from pypdf import PdfReader

from exchange.settlement.export.pain001 import NAMESPACE
from tests.graph.cli.running import ENVIRONMENT, EXCHANGE, Up, run, tell
from tests.graph.cli.test_signoff import sign

PARTICULARS = {
    "exchange": ("--name", "Exchange AG", "--iban", "DE89370400440532013000"),
    "rides": ("--name", "Komet Rides Sàrl", "--iban", "CH93 0076 2011 6238 5295 7"),
}


def statement_of(demo: Up, name: str) -> dict[str, Any]:
    """Return a statement of period 1, as `list` tells of it."""
    listed = tell("statement", "list", "--period", "1", "--data", demo.data)["statements"]
    (found,) = [each for each in listed if each["statement"] == name]
    return dict(found)


def test_a_payment_file_is_of_what_is_instructed(demo: Up, tmp_path: Path) -> None:
    """Of a draft there is none; instructed, it has the statement's net and what stands about both sides."""
    at = ("--data", demo.data)
    export = ("statement", "export", "1:rides", "--format", "pain001", "--out", tmp_path / "rides.xml", *at)
    said = run(*export)
    complaint = "a payment file is of a statement that is instructed; this one is draft"
    assert (said.status, said.complaint, (tmp_path / "rides.xml").exists()) == (1, complaint, False)

    statement = statement_of(demo, "1:rides")
    assert sign(demo, "preparer", "review", statement) == "SignStatementSuccess"
    assert sign(demo, "approver", "approve", statement) == "SignStatementSuccess"
    assert sign(demo, "preparer", "instruct", statement) == "SignStatementSuccess"
    for handle, options in PARTICULARS.items():
        tell("partner", "particulars", handle, *options, *at)
    told = tell(*export, "--pay-on", "2026-03-09")
    assert (told["format"], told["hash"]) == ("pain001", statement["hash"])
    document = etree.parse(str(tmp_path / "rides.xml"))
    (amount,) = document.findall(".//p:InstdAmt", {"p": NAMESPACE})
    (total,) = statement["totals"]
    assert f"{amount.text} {amount.get('Ccy')}" == "{amount} {currency}".format(**total["net"]).lstrip("-")
    texts = {str(each.text) for each in document.iter() if each.text}
    assert {"Komet Rides Sàrl", "Exchange AG", "CH9300762011623852957", "2026-03-09"} <= texts
    payer = "rides" if total["net"]["amount"].startswith("-") else "exchange"
    assert [each.text for each in document.findall(".//p:Dbtr/p:Nm", {"p": NAMESPACE})] == [PARTICULARS[payer][1]]
    said = run(*export, "--payer", "video")
    assert (said.status, said.complaint) == (1, f"--payer: video has nothing to pay: it is {payer} that has")


def test_a_document_is_written_for_its_reader(demo: Up, tmp_path: Path) -> None:
    """With what stands about both sides today, and amounts by the locale."""
    tell("partner", "particulars", "exchange", *PARTICULARS["exchange"], "--data", demo.data)
    written = ("--format", "pdf", "--locale", "de", "--out", tmp_path / "v.pdf")
    tell("statement", "export", "1:video", *written, "--data", demo.data)
    text = " ".join(PdfReader(tmp_path / "v.pdf").pages[0].extract_text().split())
    statement = statement_of(demo, "1:video")
    amount = statement["totals"][0]["net"]["amount"].lstrip("-")
    whole, _, cents = amount.partition(".")
    assert "Exchange AG" in text
    assert f"{int(whole):,}".replace(",", ".") + f",{cents} €" in text
    assert statement["hash"] in text


def test_a_terminal_sees_how_far_it_is_and_no_bytes(demo: Up, tmp_path: Path) -> None:
    """While a file is written, stderr tells how many lines are; a workbook does not go to a screen."""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        done = subprocess.run(
            [EXCHANGE, "statement", "export", "1:rides", "--out", tmp_path / "r.csv", "--data", demo.data],
            stderr=theirs, check=False, timeout=60, env=ENVIRONMENT,
        )  # fmt: skip
        lines = statement_of(demo, "1:rides")["lines"]
        assert (done.returncode, f"lines: 0 of {lines}" in screen.read(4096).decode()) == (0, True)
        done = subprocess.run(
            [EXCHANGE, "statement", "export", "1:rides", "--format", "xlsx", "--data", demo.data],
            stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60, env=ENVIRONMENT,
        )  # fmt: skip
        os.close(theirs)
    assert done.returncode == 2
    assert b"xlsx is nothing for a terminal: it needs --out FILE" in done.stderr
