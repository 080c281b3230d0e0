"""`exchange dispute`: which lines partners dispute, and what was said."""

from __future__ import annotations

from typing import Any

import pytest

from tests.graph.cli.running import Up, run, tell

STATEMENTS = """{ period(number: 1) { statements { nodes { id lines { nodes {
  entry line kind net { amount currency } counterparty { handle } } } } } } }"""
OPEN = """mutation($given: OpenDisputeInput!) { openDispute(input: $given) {
  __typename ... on DisputeSuccess { dispute { id } } ... on UserError { message } } }"""
CONCEDE = """mutation($given: DisputeActionInput!) { concedeDispute(input: $given) {
  __typename ... on UserError { message } } }"""


def token(demo: Up, partner: str) -> str:
    """Return a token of a partner's server, for its statements."""
    return demo.machine_token(demo.demo["partners"][partner])


def test_disputes_are_listed_and_shown(demo: Up) -> None:
    """Who disputes what with whom, how it stands, what was said; and what is not there is one line."""
    assert run("dispute", "list", "--data", demo.data).status == 0
    (statement,) = demo.graphql(token(demo, "video"), STATEMENTS)["period"]["statements"]["nodes"]
    line: dict[str, Any] = next(
        each for each in statement["lines"]["nodes"]
        if each["kind"] == "REDEMPTION" and each["counterparty"]["handle"] == "rides" and float(each["net"]["amount"])
    )  # fmt: skip
    amount = {**line["net"], "amount": line["net"]["amount"].removeprefix("-")}
    opened = demo.graphql(token(demo, "video"), OPEN, given={
        "statement": statement["id"], "entry": line["entry"], "line": line["line"], "reason": "DUPLICATE",
        "amount": amount, "text": "it is there twice", "evidence": {"link": "https://video.test/1"},
        "idempotencyKey": "a dispute in a test",
    })["openDispute"]  # fmt: skip
    dispute = opened["dispute"]["id"]
    (told,) = tell("dispute", "list", "--open", "--partner", "rides", "--data", demo.data)["disputes"]
    assert told["dispute"] == dispute
    assert (told["statement"], told["counterparty"], told["status"]) == ("1:video", "rides", "OPENED")
    assert (told["reason"], told["claim"]) == ("DUPLICATE", amount)
    lines = run("dispute", "list", "--data", demo.data).out.splitlines()
    assert lines[0].split() == ["dispute", "statement", "with", "reason", "claim", "status", "waits", "for", "deadline"]
    assert lines[1].split()[0] == dispute
    said = {"dispute": dispute, "text": "so it is", "idempotencyKey": "a concession in a test"}
    answer = demo.graphql(token(demo, "rides"), CONCEDE, given=said)["concedeDispute"]
    assert answer["__typename"] == "DisputeSuccess"
    assert tell("dispute", "list", "--open", "--data", demo.data) == {"disputes": []}
    shown = tell("dispute", "show", dispute, "--data", demo.data)
    assert (shown["status"], shown["award"], shown["adjusted_in"] > 1) == ("UPHELD", amount, True)
    assert [(each["step"], each["by"], each["text"], each["link"]) for each in shown["records"]] == [
        ("OPEN", "video", "it is there twice", "https://video.test/1"), ("CONCEDE", "rides", "so it is", None),
    ]  # fmt: skip
    text = run("dispute", "show", dispute, "--data", demo.data).out
    assert f"adjusted in period {shown['adjusted_in']}" in text
    assert "it is there twice" in text
    for arguments, complaint in (
        (("list", "--partner", "nobody"), "there is no partner nobody: see `exchange partner list`"),
        (("show", "nothing"), "there is no dispute nothing: see `exchange dispute list`"),
    ):
        refused = run("dispute", *arguments, "--data", demo.data)
        assert (refused.status, refused.complaint) == (1, complaint)
    assert run("check", "--data", demo.data).status == 0


@pytest.mark.parametrize("name", ["-nothing", "-h", "-hF"])
@pytest.mark.parametrize(
    "command",
    [
        ("dispute", "show"), ("statement", "export"), ("reconcile", "usage"), ("as-of",),
        ("journal", "proof", "--partner", "rides"),
    ],
)  # fmt: skip
def test_a_sealed_name_may_begin_with_a_hyphen(untouched: Up, command: tuple[str, ...], name: str) -> None:
    """One in sixty-four does: it is looked for, and not taken for an option."""
    more = ("-",) if command[0] == "reconcile" else ()
    said = run(*command, name, *more, "--data", untouched.data, stdin=b"entry,points\na,1\n")
    assert (said.status, said.complaint[:8]) in {(1, "there is"), (1, "no such ")}
