"""`exchange signoff`: what was done about statements, and how many have to approve one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.graph.cli.running import Up, run, tell

SIGN = """mutation($s: ID!, $h: String!, $k: String!) {
  %sStatement(input: {statement: $s, hash: $h, idempotencyKey: $k}) { __typename ... on UserError { message } } }"""


@pytest.fixture
def away(mongo_url: str, database_name: str, data: Path) -> tuple[str, ...]:
    """Give the options of an exchange of the test's own, in a database that runs already."""
    before, _, options = mongo_url.partition("?")
    return ("--mongo-url", f"{before}{database_name}?{options}", "--data", str(data))


def sign(demo: Up, who: str, step: str, statement: dict[str, Any]) -> str:
    """Take a step by the API, as one of the demo's staff; return what came of it."""
    token = demo.demo["staff"][who]["access_token"]
    answer = demo.graphql(token, SIGN % step, s=statement["id"], h=statement["hash"], k=f"{step} in a test")
    return str(answer[f"{step}Statement"]["__typename"])


def test_the_log_shows_what_the_two_of_the_demo_did(untouched: Up) -> None:
    """Who, when, to which statement; of one statement alone if wished; and the head, which the last record has."""
    (statement,) = [
        each
        for each in tell("statement", "list", "--data", untouched.data)["statements"]
        if each["statement"] == "1:video"
    ]  # fmt: skip
    assert sign(untouched, "preparer", "review", statement) == "SignStatementSuccess"
    assert sign(untouched, "approver", "approve", statement) == "SignStatementSuccess"
    told = tell("signoff", "log", "--statement", "1:video", "--data", untouched.data)
    assert [(each["step"], each["status"], each["by"]) for each in told["records"]] == [
        ("REVIEW", "REVIEWED", untouched.demo["staff"]["preparer"]["email"]),
        ("APPROVE", "APPROVED", untouched.demo["staff"]["approver"]["email"]),
    ]
    assert tell("signoff", "log", "--statement", statement["id"], "--data", untouched.data) == told
    whole = tell("signoff", "log", "--data", untouched.data)
    assert whole["head"] == {"number": len(whole["records"]), "hash": whole["records"][-1]["hash"]}
    lines = run("signoff", "log", "--data", untouched.data).out.splitlines()
    assert lines[0].split() == ["number", "at", "step", "statement", "status", "amount", "by", "note"]
    assert lines[-1] == f"head  {whole['head']['number']}  {whole['head']['hash']}"
    assert "1:video" in next(line for line in lines if " APPROVE " in line)
    listed = run("statement", "list", "--data", untouched.data).out
    assert next(line for line in listed.splitlines() if line.startswith("1:video ")).split()[3] == "APPROVED"
    said = run("signoff", "log", "--statement", "1:nobody", "--data", untouched.data)
    assert (said.status, said.complaint) == (1, "there is no statement 1:nobody: see `exchange statement list`")
    assert run("check", "--data", untouched.data).status == 0


def test_nothing_was_done_yet(away: tuple[str, ...]) -> None:
    """An empty log has no head, and one person is enough."""
    tell("partner", "create", "--handle", "rides", "--name", "Rides", *away)
    assert tell("signoff", "log", *away) == {"records": [], "head": None}
    assert run("signoff", "log", *away).out.splitlines()[-1] == "nothing was done yet"
    assert run("signoff", "policy", *away).out == "version 0: one has to approve a statement\n"


def test_the_policy_is_set_and_shown(away: tuple[str, ...]) -> None:
    """Each change is a version and a record of who made it; `--one` takes all tiers away."""
    tell("partner", "create", "--handle", "rides", "--name", "Rides", *away)
    tiers = ("--tier", "eur:100000.00:2", "--tier", "JPY:10000000:3")
    told = tell("signoff", "policy", *tiers, "--by", "the board", *away)
    amounts = [("100000.00", "EUR", 2), ("10000000", "JPY", 3)]
    assert told["version"] == 1
    assert [(*each["amount"].values(), each["approvers"]) for each in told["tiers"]] == amounts
    assert tell("signoff", "policy", *away) == told
    assert run("signoff", "policy", *away).out.splitlines()[1:] == [
        "from 100000.00 EUR on: 2", "from 10000000 JPY on: 3",
    ]  # fmt: skip
    assert tell("signoff", "policy", "--one", *away) == {"version": 2, "tiers": []}
    records = tell("signoff", "log", *away)["records"]
    assert [(each["step"], each["policy"], each["by"]) for each in records] == [
        (None, 1, "the board"), (None, 2, "the command line"),
    ]  # fmt: skip
    assert " policy 1 " in run("signoff", "log", *away).out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--tier", "EUR:1"), "EUR:1: is not CODE:AMOUNT:N, such as EUR:100000.00:2"),
        (("--tier", "EUR:1.001:2"), "EUR:1.001:2: "),
        (("--tier", "XXX:1:2"), "XXX:1:2: "),
        (("--tier", "EUR:1:two"), "EUR:1:two: "),
        (("--tier", "EUR:1:2", "--tier", "EUR:-1:2"), "EUR:-1:2: must not be negative"),
        (("--tier", "EUR:1:10"), "EUR:1:10: must be 1 to 9"),
        (("--tier", "EUR:1:2", "--one"), "either --tier or --one"),
        (tuple(word for n in range(51) for word in ("--tier", f"EUR:{n}:2")), "must be at most 50"),
    ],
)
def test_what_cannot_be_meant_is_refused(away: tuple[str, ...], options: tuple[str, ...], says: str) -> None:
    """As wrong usage, in a sentence that names the tier."""
    said = run("signoff", "policy", *options, *away)
    assert (said.status, said.out) == (2, "")
    assert says in said.complaint
