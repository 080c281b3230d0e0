"""Partners dispute lines of their statements, through the API: who may, what is refused, and who sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.graph.speech import DISPUTE, Payload, World, refusal

LINES = """query($n: Int!) { period(number: $n) { status statements { nodes { id hash lines { nodes {
  entry line kind late counterparty { handle } points net { amount currency } benefit { sku } } } } }
  positions { net { amount } }
  bilateral { debtor { handle } creditor { handle } gross { amount } points entries } } }"""
SHOWN_AS = f"query($id: ID!) {{ dispute(id: $id) {{ ...dispute }} }} {DISPUTE}"
LISTED = (
    "query($after: String) { disputes(first: 2, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } } }"
)


@pytest.fixture
async def number(trading: World) -> int:
    """Close a period in which points of video were spent at rides, for 8.00 EUR."""
    await trading.award("video", "anna", 1000)
    await trading.redeem("anna@video", await trading.publish("rides", 1000))
    return await trading.close_period()


async def statement(world: World, who: str, number: int) -> Payload:
    """Return a partner's statement, with its lines."""
    (found,) = (await world.read(who, LINES, n=number))["statements"]["nodes"]
    assert isinstance(found, dict)
    return found


async def opening(world: World, number: int, who: str = "video", **more: Any) -> Payload:
    """Return what is sent to dispute all of the first line of somebody's statement."""
    found = await statement(world, who, number)
    line = next(each for each in found["lines"]["nodes"] if each["kind"] == "REDEMPTION")
    return {
        "statement": found["id"], "entry": line["entry"], "line": line["line"], "reason": "NOT_DELIVERED",
        "amount": {"amount": line["net"]["amount"].removeprefix("-"), "currency": "EUR"}, "text": "no ride came",
        **more,
    }  # fmt: skip


async def disputed(world: World, number: int, **more: Any) -> Payload:
    """Let video dispute what it owes rides, and return the dispute."""
    done = await world.change("video", "openDispute", **await opening(world, number, **more))
    shown: Payload = done["dispute"]
    return shown


async def step(world: World, who: str, mutation: str, dispute: Payload, **more: Any) -> Payload:
    """Take a step, which must be possible, and return the dispute."""
    done = await world.change(who, f"{mutation}Dispute", dispute=dispute["id"], **{"text": "so it is", **more})
    shown: Payload = done["dispute"]
    return shown


async def test_a_line_is_disputed_and_adjusted_in_the_next_statement(trading: World, number: int) -> None:
    """Opened, answered, replied to, upheld in part; the next statements of both have the line, and say the same."""
    evidence = {"link": "https://video.test/4711", "sha256": "0a" * 32}
    dispute = await disputed(trading, number, evidence=evidence)
    assert (dispute["status"], dispute["round"], dispute["waitingFor"]) == ("OPENED", 1, {"handle": "rides"})
    assert (dispute["partner"]["handle"], dispute["counterparty"]["handle"]) == ("video", "rides")
    before = await statement(trading, "video", number)
    assert (dispute["statementHash"], dispute["entry"]) == (before["hash"], before["lines"]["nodes"][0]["entry"])
    assert (dispute["amount"], dispute["net"]) == ({"amount": "8.00", "currency": "EUR"}, {"amount": "-8.00"})
    answered = await step(trading, "rides", "answer", dispute)
    assert (answered["status"], answered["waitingFor"]) == ("ANSWERED", {"handle": "video"})
    replied = await step(trading, "video", "answer", dispute)
    assert (replied["status"], replied["round"]) == ("OPENED", 2)
    await step(trading, "rides", "answer", dispute)
    part = {"amount": "5.00", "currency": "EUR"}
    upheld = await step(trading, "approver", "resolve", dispute, upheld=True, amount=part)
    assert (upheld["status"], upheld["award"], upheld["waitingFor"]) == ("UPHELD", {"amount": "5.00"}, None)
    assert upheld["adjustedIn"] == {"number": number + 1}
    records = upheld["records"]
    assert [(each["step"], each["party"]["handle"]) for each in records] == [
        ("OPEN", "video"), ("ANSWER", "rides"), ("REPLY", "video"), ("ANSWER", "rides"), ("UPHOLD", "exchange"),
    ]  # fmt: skip
    assert (records[0]["text"], records[0]["link"], records[0]["sha256"]) == ("no ride came", *evidence.values())
    assert len({each["hash"] for each in records}) == 5
    following = await trading.close_period()
    for who, other, sign in (("video", "rides", ""), ("rides", "video", "-")):
        (line,) = (await statement(trading, who, following))["lines"]["nodes"]
        seen = await trading.read(who, SHOWN_AS, id=dispute["id"])
        assert line["entry"] == seen["adjustment"]
        assert {**line, "entry": "", "benefit": None} == {
            "entry": "", "line": 0, "kind": "ADJUSTMENT", "late": False, "counterparty": {"handle": other},
            "points": "0", "net": {"amount": f"{sign}5.00", "currency": "EUR"}, "benefit": None,
        }  # fmt: skip
    period = await trading.read("viewer", LINES, n=following)
    assert sorted(each["net"]["amount"] for each in period["positions"]) == ["-5.00", "5.00"]
    assert period["bilateral"] == [{
        "debtor": {"handle": "rides"}, "creditor": {"handle": "video"}, "gross": {"amount": "5.00"}, "points": "0",
        "entries": "1",
    }]  # fmt: skip
    assert await statement(trading, "video", number) == before


async def test_both_sides_and_finance_see_it_and_nobody_else(trading: World, number: int) -> None:
    """Each side by its own name of the entry, the net to whose line it is alone; to a third it does not exist."""
    dispute = await disputed(trading, number)
    mine, theirs, finance = [
        await trading.read(who, SHOWN_AS, id=dispute["id"]) for who in ("video", "rides", "viewer")
    ]
    assert mine == dispute
    assert theirs["entry"] == (await statement(trading, "rides", number))["lines"]["nodes"][0]["entry"] != mine["entry"]
    assert (theirs["net"], finance["net"], finance["entry"]) == (None, mine["net"], mine["entry"])
    assert theirs["records"] == mine["records"]
    nothing = await trading.ask("delivery", SHOWN_AS, id="bm90aGluZw")
    assert (await trading.ask("delivery", SHOWN_AS, id=dispute["id"])).told == nothing.told
    node = "query($id: ID!) { node(id: $id) { id } }"
    assert await trading.read("rides", node, id=dispute["id"]) == {"id": dispute["id"]}
    assert await trading.read("delivery", node, id=dispute["id"]) is None
    listed = await trading.read("delivery", LISTED)
    assert listed["nodes"] == []
    for mutation in ("answer", "withdraw", "concede"):
        for which in (dispute["id"], "bm90aGluZw"):
            refused = await trading.refused("delivery", f"{mutation}Dispute", dispute=which, text="mine")
            assert refusal(refused, "NOT_FOUND", ["input", "dispute"])
    another = await opening(trading, number, "rides")
    refused = await trading.refused("video", "openDispute", **another)
    assert refusal(refused, "NOT_FOUND", ["input", "statement"])
    mixed = await opening(trading, number, entry=another["entry"])
    assert refusal(await trading.refused("video", "openDispute", **mixed), "NOT_FOUND", ["input", "entry"])


async def test_what_no_dispute_is_is_refused(trading: World, number: int) -> None:
    """More than the line, another currency, nothing said, no evidence, a line that is not there, an open dispute."""
    for change, path in (
        ({"amount": {"amount": "8.01", "currency": "EUR"}}, ["input", "amount"]),
        ({"amount": {"amount": "0.00", "currency": "EUR"}}, ["input", "amount"]),
        ({"amount": {"amount": "1", "currency": "JPY"}}, ["input", "amount"]),
        ({"text": " "}, ["input", "text"]), ({"text": "x" * 501}, ["input", "text"]), ({"line": -1}, ["input", "line"]),
        ({"evidence": {}}, ["input", "evidence"]),
        ({"evidence": {"link": "http://video.test"}}, ["input", "evidence", "link"]),
        ({"evidence": {"sha256": "0A" * 32}}, ["input", "evidence", "sha256"]),
        ({"idempotencyKey": ""}, ["input", "idempotencyKey"]),
    ):  # fmt: skip
        refused = await trading.refused("video", "openDispute", **await opening(trading, number, **change))
        assert refusal(refused, "VALIDATION_ERROR", path)
    refused = await trading.refused("video", "openDispute", **await opening(trading, number, line=7))
    assert refusal(refused, "NOT_FOUND", ["input", "entry"])
    dispute = await disputed(trading, number, amount={"amount": "3.00", "currency": "EUR"})
    refused = await trading.refused("video", "openDispute", **await opening(trading, number))
    assert refusal(refused, "INVALID_DISPUTE", ["input", "entry"], status="OPENED")
    asked = {"dispute": dispute["id"], "text": "so it is"}
    assert refusal(await trading.refused("video", "answerDispute", **asked), "INVALID_DISPUTE", None, status="OPENED")
    assert refusal(await trading.refused("rides", "withdrawDispute", **asked), "FORBIDDEN", None)
    assert refusal(await trading.refused("video", "concedeDispute", **asked), "FORBIDDEN", None)
    early = await trading.refused("approver", "resolveDispute", upheld=False, **asked)
    assert refusal(early, "INVALID_DISPUTE", None, status="OPENED")
    await step(trading, "rides", "answer", dispute)
    for upheld, amount in ((False, "1.00"), (True, "3.01")):
        given = {"upheld": upheld, "amount": {"amount": amount, "currency": "EUR"}}
        refused = await trading.refused("approver", "resolveDispute", **given, **asked)
        assert refusal(refused, "VALIDATION_ERROR", ["input", "amount"])
    rejected = await step(trading, "approver", "resolve", dispute, upheld=False)
    assert (rejected["status"], rejected["award"], rejected["adjustment"]) == ("REJECTED", None, None)


async def test_a_step_repeated_is_the_same_step(trading: World, number: int) -> None:
    """The same key and input: the dispute as it now stands, replayed; another input is a conflict."""
    wish = {**await opening(trading, number), "idempotencyKey": trading.fresh("dispute")}
    first = await trading.done("video", "openDispute", **wish)
    conceded = await step(trading, "rides", "concede", first["dispute"])
    again = await trading.done("video", "openDispute", **wish)
    assert (first["replayed"], again["replayed"], again["dispute"]["records"]) == (False, True, conceded["records"])
    refused = await trading.refused("video", "openDispute", **{**wish, "text": "else"})
    assert refusal(refused, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    rush = {
        "dispute": (await disputed(trading, await fresh(trading)))["id"],
        "text": "so it is",
        "idempotencyKey": "one",
    }
    told = await asyncio.gather(*(trading.done("rides", "concedeDispute", **rush) for _ in range(5)))
    assert sorted(each["replayed"] for each in told) == [False] + [True] * 4


async def fresh(world: World) -> int:
    """Trade and close once more."""
    await world.award("video", "bob", 500)
    await world.redeem("bob@video", await world.publish("rides", 500))
    return await world.close_period()


async def test_disputes_are_listed_in_pages(trading: World) -> None:
    """The newest first, each once; the same disputes for both sides."""
    made = [await disputed(trading, await fresh(trading)) for _ in range(3)]
    for who in ("video", "rides", "viewer"):
        first = await trading.read(who, LISTED)
        second = await trading.read(who, LISTED, after=first["pageInfo"]["endCursor"])
        assert [node["id"] for node in first["nodes"] + second["nodes"][:1]] == [each["id"] for each in reversed(made)]
        assert first["pageInfo"]["hasNextPage"]
    other = await trading.read("viewer", LISTED)
    assert (await trading.ask("video", LISTED, after=other["pageInfo"]["endCursor"])).codes == ["BAD_USER_INPUT"]
