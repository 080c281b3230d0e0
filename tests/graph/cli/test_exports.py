"""Statements as files from a running exchange: what the API hands out is what the shell writes."""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from exchange.settlement.export import Form
from tests.graph.cli.running import Up, run, tell
from tests.graph.cli.test_files import PARTICULARS
from tests.graph.cli.test_signoff import sign

ASK = """mutation ($input: ExportStatementInput!) { exportStatement(input: $input) {
  ... on Export { id status } ... on UserError { message } } }"""
SHOWN = "query ($id: ID!) { export(id: $id) { status error url fileName mediaType bytes sha256 } }"
OWN = "{ period(number: 1) { statements { nodes { id lines { totalCount } } } } }"
PATIENCE_SECONDS = 30


def ready(demo: Up, token: str, **given: Any) -> dict[str, Any]:
    """Ask for a file, and wait until there is one."""
    asked = demo.graphql(token, ASK, input=given)["exportStatement"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (export := demo.graphql(token, SHOWN, id=asked["id"])["export"])["status"] in ("QUEUED", "RUNNING"):
        assert time.monotonic() < deadline, export
        time.sleep(0.05)
    assert export["status"] == "READY", export
    return dict(export)


@pytest.fixture(scope="module")
def payable(untouched: Up) -> Up:
    """Give an exchange in which rides' statement is instructed, and there are accounts to pay from and to."""
    listed = tell("statement", "list", "--period", "1", "--data", untouched.data)["statements"]
    (statement,) = [each for each in listed if each["statement"] == "1:rides"]
    assert sign(untouched, "preparer", "review", statement) == "SignStatementSuccess"
    assert sign(untouched, "approver", "approve", statement) == "SignStatementSuccess"
    assert sign(untouched, "preparer", "instruct", statement) == "SignStatementSuccess"
    for handle, options in PARTICULARS.items():
        tell("partner", "particulars", handle, *options, "--data", untouched.data)
    return untouched


@pytest.mark.parametrize("form", Form)
def test_the_api_hands_out_what_the_shell_writes(payable: Up, tmp_path: Path, form: Form) -> None:
    """Each form, asked for by the partner and fetched over HTTP, is the file of `exchange statement export`."""
    token = payable.machine_token(payable.demo["partners"]["rides"])
    (statement,) = payable.graphql(token, OWN)["period"]["statements"]["nodes"]
    if form is Form.PAIN001:
        token = payable.demo["staff"]["preparer"]["access_token"]
    more = {"locale": "de-CH"} if form in (Form.PDF, Form.XLSX) else {}
    export = ready(payable, token, statement=statement["id"], format=form.name, **more)
    bearer = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(export["url"], headers=bearer)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, export["mediaType"])
    assert (str(len(answer.content)), sha256(answer.content).hexdigest()) == (export["bytes"], export["sha256"])

    head = httpx.head(export["url"], headers=bearer)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, export["bytes"], b"")
    again = httpx.get(export["url"], headers={**bearer, "If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")

    options = ("--locale", "de-CH") if more else ()
    said = run(
        "statement", "export", "1:rides", "--format", form.value, "--out", tmp_path / "f", *options,
        "--data", payable.data,
    )  # fmt: skip
    assert said.status == 0, said.err
    by_shell = (tmp_path / "f").read_bytes()
    if form is Form.BUNDLE:  # signed anew each time, under whichever moment
        assert answer.content.splitlines()[:-1] == by_shell.splitlines()[:-1]
        (tmp_path / "fetched").write_bytes(answer.content)
        assert run("verify", tmp_path / "fetched").status == 0
    elif form is Form.PAIN001:  # says when it was written
        whole = [content.split(b"CreDtTm>") for content in (answer.content, by_shell)]
        assert [whole[0][part] for part in (0, 2)] == [whole[1][part] for part in (0, 2)]
    else:
        assert answer.content == by_shell
