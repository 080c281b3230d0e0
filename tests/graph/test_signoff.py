"""Finance signs statements off, through the API: who may, what is refused, and what partners see of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.graph.speech import SIGN_OFF, Payload, World, refusal

STATEMENTS = "query($n: Int!) { period(number: $n) { status settledAt statements { nodes { partner { handle }"
STATEMENTS = f"{STATEMENTS} totals {{ net {{ amount currency }} }} ...signOff }} }} }} }} {SIGN_OFF}"


@pytest.fixture
async def number(trading: World) -> int:
    """Close a period in which points of video were spent at rides, for 8.00 EUR."""
    await trading.award("video", "anna", 1000)
    await trading.redeem("anna@video", await trading.publish("rides", 1000))
    return await trading.close_period()


async def statements(world: World, number: int, who: str = "viewer") -> dict[str, Payload]:
    """Return a period's statements by partner, as somebody sees them."""
    period = await world.read(who, STATEMENTS, n=number)
    return {node["partner"]["handle"]: node for node in period["statements"]["nodes"]}


async def sign(world: World, who: str, step: str, statement: Payload, **more: Any) -> Payload:
    """Take a step and return what came of it."""
    mutation = "recordPayment" if step == "pay" else f"{step}Statement"
    given = {"statement": statement["id"], "hash": statement["hash"], "idempotencyKey": world.fresh(step)}
    if step == "pay":
        given["reference"] = "bank 1"
    return await world.do(who, mutation, **given | more)


async def signed(world: World, who: str, step: str, statement: Payload, **more: Any) -> Payload:
    """Take a step, which must be possible, and return the statement."""
    payload = await sign(world, who, step, statement, **more)
    assert payload["__typename"] == "SignStatementSuccess", payload
    assert payload["replayed"] is False
    shown: Payload = payload["statement"]
    return shown


async def to(world: World, statement: Payload, *steps: str) -> Payload:
    """Take usual steps by the usual people."""
    people = {"approve": "approver", "reject": "approver", "reconcile": "approver"}
    for step in steps:
        more = {"note": "a line is disputed"} if step == "reject" else {}
        if step == "pay":
            (net,) = [total["net"] for total in statement["totals"]]
            more = {"amount": {**net, "amount": net["amount"].removeprefix("-")}}  # type: ignore[dict-item]
        statement = {**statement, **await signed(world, people.get(step, "preparer"), step, statement, **more)}
    return statement


async def test_a_statement_is_reviewed_approved_and_paid(trading: World, number: int) -> None:
    """Step by step; each is in its history, with who, when and under which hash; in the end the period is settled."""
    drafts = await statements(trading, number)
    assert {handle: draft["status"] for handle, draft in drafts.items()} == {"rides": "DRAFT", "video": "DRAFT"}
    paid = await to(trading, drafts["rides"], "review", "approve", "instruct", "pay")
    assert (paid["status"], paid["approvals"], paid["approvalsNeeded"]) == ("PAID", 1, 1)
    assert paid["paid"] == [{"amount": "8.00", "currency": "EUR"}]
    assert paid["period"] == {"status": "CLOSED", "settledAt": None}
    other = await to(trading, drafts["video"], "review", "approve", "instruct", "pay", "reconcile")
    assert (other["status"], other["period"]["status"]) == ("RECONCILED", "SETTLED")
    period = await trading.read("viewer", STATEMENTS, n=number)
    assert period["settledAt"] == other["period"]["settledAt"] is not None
    history = other["history"]["nodes"]
    assert [row["step"] for row in history] == ["REVIEW", "APPROVE", "INSTRUCT", "PAY", "RECONCILE"]
    assert [row["status"] for row in history] == ["REVIEWED", "APPROVED", "INSTRUCTED", "PAID", "RECONCILED"]
    assert {row["statementHash"] for row in history} == {other["hash"]}
    assert history[3]["amount"] == {"amount": "8.00"}
    assert history[3]["note"] == "bank 1"
    assert len({row["hash"] for row in history}) == 5
    assert len({row["by"] for row in history}) == 2
    again = await trading.done("preparer", "closePeriod", number=number)
    assert again["period"]["status"] == "SETTLED"


async def test_two_people_are_needed(trading: World, number: int) -> None:
    """One who may do both cannot do both; who recorded a payment cannot reconcile it."""
    both = await trading.token("staff", "finance:prepare finance:approve finance:view")
    draft = (await statements(trading, number))["rides"]
    await signed(trading, both, "review", draft)
    payload = await sign(trading, both, "approve", draft)
    assert refusal(payload, "FORBIDDEN", None)
    assert payload["message"] == "whoever has reviewed a statement cannot approve it"
    await signed(trading, "approver", "approve", draft)
    await signed(trading, both, "instruct", draft)
    await signed(trading, both, "pay", draft, amount={"amount": "8.00", "currency": "EUR"})
    assert refusal(await sign(trading, both, "reconcile", draft), "FORBIDDEN", None)
    assert (await signed(trading, "approver", "reconcile", draft))["status"] == "RECONCILED"


async def test_a_great_amount_needs_two_approvers(trading: World, number: int) -> None:
    """By the policy in force when somebody approves; its versions are set by the administrator."""
    policy = await trading.read("viewer", "{ signOffPolicy { version tiers { approvers } } }")
    tier = {"amount": {"amount": "8.00", "currency": "EUR"}, "approvers": 2}
    made = await trading.done("admin", "setSignOffPolicy", tiers=[tier], expectedVersion=policy["version"])
    assert (made["version"], made["tiers"]) == (policy["version"] + 1, [tier])
    payload = await trading.do("admin", "setSignOffPolicy", tiers=[], expectedVersion=policy["version"])
    assert refusal(payload, "VERSION_CONFLICT", ["input", "expectedVersion"], retryable=True,
                   currentVersion=made["version"])  # fmt: skip
    statement = await to(trading, (await statements(trading, number))["rides"], "review", "approve")
    assert (statement["status"], statement["approvals"], statement["approvalsNeeded"]) == ("REVIEWED", 1, 2)
    assert refusal(await sign(trading, "approver", "approve", statement), "FORBIDDEN", None)
    early = await sign(trading, "preparer", "instruct", statement)
    assert refusal(early, "INVALID_SIGN_OFF", None, status="REVIEWED")
    assert (await signed(trading, "second", "approve", statement))["status"] == "APPROVED"
    done = await trading.done("admin", "setSignOffPolicy", tiers=[])
    assert (done["version"], done["tiers"]) == (made["version"] + 1, [])


async def test_what_was_sent_back_is_reviewed_anew(trading: World, number: int) -> None:
    """A rejection needs a reason; then the statement, which is what it was, goes through all steps again."""
    draft = (await statements(trading, number))["video"]
    for note in (None, "", "  ", "x" * 501):
        payload = await sign(trading, "approver", "reject", draft, note=note)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "note"])
    rejected = await to(trading, draft, "review", "approve", "reject")
    assert (rejected["status"], rejected["approvals"], rejected["hash"]) == ("REJECTED", 0, draft["hash"])
    assert rejected["history"]["nodes"][-1]["note"] == "a line is disputed"
    assert (await to(trading, rejected, "review", "approve"))["status"] == "APPROVED"


async def test_a_step_repeated_is_the_same_step(trading: World, number: int) -> None:
    """With the same key it writes nothing, and answers with the statement as it now stands."""
    draft = (await statements(trading, number))["rides"]
    given = {"idempotencyKey": trading.fresh("once"), "note": "looked at all lines"}
    await signed(trading, "preparer", "review", draft, **given)
    await to(trading, draft, "approve", "instruct")
    again = await sign(trading, "preparer", "review", draft, **given)
    assert (again["replayed"], again["statement"]["status"]) == (True, "INSTRUCTED")
    other = await sign(trading, "preparer", "review", draft, **given | {"note": "else"})
    assert refusal(other, "IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    part = {"amount": {"amount": "3.00", "currency": "EUR"}, "idempotencyKey": trading.fresh("pay")}
    told = await asyncio.gather(*(sign(trading, "preparer", "pay", draft, **part) for _ in range(4)))
    assert sorted(each["replayed"] for each in told) == [False, True, True, True]
    assert {each["statement"]["paid"][0]["amount"] for each in told} == {"3.00"}


async def test_refusals_in_their_order(trading: World, number: int) -> None:
    """Shape before scope, scope before what is there, what is there before where it stands."""
    draft = (await statements(trading, number))["rides"]
    price = {"amount": "1.00", "currency": "EUR"}
    assert refusal(await sign(trading, "viewer", "review", draft, idempotencyKey=""), "VALIDATION_ERROR",
                   ["input", "idempotencyKey"])  # fmt: skip
    assert refusal(await sign(trading, "viewer", "pay", draft, amount=price, reference=" "), "VALIDATION_ERROR",
                   ["input", "reference"])  # fmt: skip
    assert refusal(await sign(trading, "viewer", "review", draft), "FORBIDDEN", None, requiredScope="finance:prepare")
    for unknown in ("none", trading.ids["rides"]):
        payload = await sign(trading, "preparer", "review", {**draft, "id": unknown})
        assert refusal(payload, "NOT_FOUND", ["input", "statement"])
    payload = await sign(trading, "approver", "approve", {**draft, "hash": "0" * 64})
    assert refusal(payload, "VALIDATION_ERROR", ["input", "hash"])
    assert refusal(await sign(trading, "approver", "approve", draft), "INVALID_SIGN_OFF", None, status="DRAFT")
    await to(trading, draft, "review", "approve", "instruct")
    for amount in ({"amount": "8.01", "currency": "EUR"}, {"amount": "1", "currency": "JPY"},
                   {"amount": "0.00", "currency": "EUR"}, {"amount": "-1.00", "currency": "EUR"}):  # fmt: skip
        payload = await sign(trading, "preparer", "pay", draft, amount=amount)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "amount"])
    for tiers, where in (
        ([{"amount": {"amount": "-1.00", "currency": "EUR"}, "approvers": 2}], ["0", "amount"]),
        ([{"amount": price, "approvers": 10}], ["0", "approvers"]),
        ([{"amount": price, "approvers": 2}] * 2, ["1", "amount"]),
        ([{"amount": {"amount": "0.001", "currency": "EUR"}, "approvers": 2}], ["0", "amount", "amount"]),
    ):  # fmt: skip
        payload = await trading.do("admin", "setSignOffPolicy", tiers=tiers)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "tiers", *where])


async def test_a_partner_sees_what_was_done_and_not_by_whom(trading: World, number: int) -> None:
    """Its own statement's steps, moments and payments; no name, no note, and nothing of another's."""
    drafts = await statements(trading, number)
    await to(trading, drafts["rides"], "review", "approve", "instruct", "pay")
    seen = await statements(trading, number, "rides")
    assert list(seen) == ["rides"]
    rows = seen["rides"]["history"]["nodes"]
    assert [(row["step"], row["by"], row["note"]) for row in rows] == [
        (step, None, None) for step in ("REVIEW", "APPROVE", "INSTRUCT", "PAY")
    ]
    assert seen["rides"]["paid"] == [{"amount": "8.00", "currency": "EUR"}]
    query = "query($id: ID!) { statement(id: $id) { history { nodes { step } } } }"
    assert await trading.read("rides", query, id=drafts["video"]["id"]) is None


async def test_those_on_the_staff_are_named_to_one_another(trading: World, number: int) -> None:
    """`by` is the address of whoever is on the staff; of others, what their tokens were called."""
    now = await trading.services.now()
    for email, role in (("ada@exchange.test", "finance:prepare"), ("ben@exchange.test", "finance:approve")):
        await trading.services.staff.create(email, [role], now=now)
    everybody = await trading.services.staff.everybody()
    assert [one.email for one in everybody] == ["ada@exchange.test", "ben@exchange.test"]
    ada, ben = [type(await trading.token("admin"))(trading.services.tokens.for_staff(one)) for one in everybody]
    draft = (await statements(trading, number))["rides"]
    await signed(trading, ada, "review", draft)
    await signed(trading, ben, "approve", draft)
    rows = (await statements(trading, number))["rides"]["history"]["nodes"]
    assert [row["by"] for row in rows] == ["ada@exchange.test", "ben@exchange.test"]


async def test_a_history_comes_in_pages(trading: World, number: int) -> None:
    """Each record once, in the order in which they were written."""
    statement = await to(trading, (await statements(trading, number))["rides"], "review", "reject", "review", "approve")
    query = """query($id: ID!, $after: String) { statement(id: $id) { history(first: 1, after: $after) {
        nodes { hash } pageInfo { hasNextPage endCursor } } } }"""
    hashes, cursor, more = [], None, True
    while more:
        shown = (await trading.read("viewer", query, id=statement["id"], after=cursor))["history"]
        hashes += [node["hash"] for node in shown["nodes"]]
        more, cursor = shown["pageInfo"]["hasNextPage"], shown["pageInfo"]["endCursor"]
    assert hashes == [row["hash"] for row in statement["history"]["nodes"]]
    assert len(hashes) == 4
