"""Statements as files over the API: asked for, waited for and fetched."""

from __future__ import annotations

import asyncio
import base64
import csv
from datetime import timedelta
from hashlib import sha256
from typing import Any

import httpx
import pytest

from exchange.settlement.exporting import WAITING_MAX
from exchange.store.connection import server_time
from tests.graph.speech import EXPORT, ISSUER, Payload, World, refusal
from tests.graph.test_signoff import statements, to

SHOWN = f"query($id: ID!) {{ export(id: $id) {{ ...export }} }} {EXPORT}"
LISTED = """query($after: String) { exports(first: 2, after: $after) {
    nodes { id format statement { partner { handle } } } pageInfo { hasNextPage endCursor } } }"""
DONE = ("READY", "FAILED")


@pytest.fixture
async def number(trading: World) -> int:
    """Close a period in which points of video were spent at rides, for 8.00 EUR."""
    await trading.award("video", "anna", 1000)
    await trading.redeem("anna@video", await trading.publish("rides", 1000))
    return await trading.close_period()


async def ask(world: World, who: str, statement: Payload, form: str, **more: Any) -> Payload:
    """Ask for an export."""
    return await world.done(who, "exportStatement", statement=statement["id"], format=form, **more)


async def until_done(world: World, who: str, export: Payload) -> Payload:
    """Ask again until the export is ready or has failed."""
    async with asyncio.timeout(30):
        while export["status"] not in DONE:
            await asyncio.sleep(0.05)
            export = await world.read(who, SHOWN, id=export["id"])
    return export


async def fetch(world: World, who: str, export: Payload, method: str = "GET", **headers: str) -> httpx.Response:
    """Fetch a file, as whoever holds the id of its export."""
    authorization = {"Authorization": f"Bearer {await world.token(who)}"}
    return await world.http.request(method, f"/exports/{export['id']}", headers={**authorization, **headers})


def told(answer: httpx.Response) -> tuple[int, str, str]:
    """Return the status of an answer without a file, its code and its message."""
    (error,) = answer.json()["errors"]
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.status_code, error["extensions"]["code"], error["message"]


async def test_a_partner_has_its_statement_as_a_file(trading: World, number: int) -> None:
    """Asked for, it waits; ready, it says where it is fetched, how long it is and what its hash is, and it is so."""
    statement = (await statements(trading, number, "rides"))["rides"]
    asked = await ask(trading, "rides", statement, "CSV")
    assert (asked["format"], asked["statement"]["hash"]) == ("CSV", statement["hash"])
    ready = await until_done(trading, "rides", asked)
    assert (ready["status"], ready["error"], ready["progress"]) == ("READY", None, {"done": 1, "total": 1})
    assert ready["url"] == f"{ISSUER}/exports/{ready['id']}"
    assert ready["fileName"] == f"statement-{number}-rides.csv"
    answer = await fetch(trading, "rides", ready)
    digest = sha256(answer.content)
    assert (answer.status_code, len(answer.content), digest.hexdigest()) == (200, int(ready["bytes"]), ready["sha256"])
    assert answer.headers["Content-Length"] == ready["bytes"]
    assert answer.headers["Content-Type"] == ready["mediaType"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{ready["fileName"]}"'
    assert answer.headers["ETag"] == f'"{ready["sha256"]}"'
    assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    (row,) = csv.DictReader(answer.text.splitlines())
    assert (row["statement"], row["hash"], row["period"]) == (f"{number}:rides", statement["hash"], str(number))
    assert (row["gross"], row["currency"]) == ("8.00", "EUR")


async def test_who_has_the_file_does_not_get_it_again(trading: World, number: int) -> None:
    """With its tag the answer is 304, and asked with HEAD it is the headers alone."""
    statement = (await statements(trading, number, "rides"))["rides"]
    ready = await until_done(trading, "rides", await ask(trading, "rides", statement, "JSON"))
    whole = await fetch(trading, "rides", ready)
    again = await fetch(trading, "rides", ready, **{"If-None-Match": f'"nonsense", {whole.headers["ETag"]}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", whole.headers["ETag"])
    other = await fetch(trading, "rides", ready, **{"If-None-Match": '"nonsense"'})
    assert (other.status_code, other.content) == (200, whole.content)
    head = await fetch(trading, "rides", ready, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "ETag", "Content-Type", "Content-Disposition"):
        assert head.headers[name] == whole.headers[name]


async def test_asking_again_is_the_same_export(trading: World, number: int) -> None:
    """The same partner, statement, form and locale; what one partner asked for is not what finance asked for."""
    statement = (await statements(trading, number, "rides"))["rides"]
    asked = await asyncio.gather(*(ask(trading, "rides", statement, "PDF") for _ in range(3)))
    assert len({each["id"] for each in asked}) == 1
    ready = await until_done(trading, "rides", asked[0])
    assert await ask(trading, "rides", statement, "PDF", locale="en") == {"__typename": "Export", **ready}
    assert (await ask(trading, "rides", statement, "PDF", locale="de"))["id"] != ready["id"]
    assert (await ask(trading, "viewer", statement, "PDF"))["id"] != ready["id"]


async def test_a_partner_sees_its_own_exports_and_finance_all(trading: World, number: int) -> None:
    """Newest first, page by page; what finance has had made of a partner's statement is not the partner's."""
    shown = await statements(trading, number)
    forms = ("CSV", "JSON", "LEDGER")
    by_rides = [(await ask(trading, "rides", shown["rides"], form))["id"] for form in forms]
    by_finance = (await ask(trading, "viewer", shown["rides"], "CSV"))["id"]

    async def listed(who: str) -> list[str]:
        found: list[str] = []
        page: Payload = {"pageInfo": {"hasNextPage": True, "endCursor": None}}
        while page["pageInfo"]["hasNextPage"] and len(found) < 100:
            page = await trading.read(who, LISTED, after=page["pageInfo"]["endCursor"])
            found += [node["id"] for node in page["nodes"]]
        return found

    seen = {who: await listed(who) for who in ("rides", "viewer", "video", "delivery")}
    assert seen["rides"][:3] == by_rides[::-1]
    assert seen["viewer"][:4] == [by_finance, *by_rides[::-1]]
    assert by_finance not in seen["rides"]
    assert not set(seen["rides"]) & {*seen["video"], *seen["delivery"]}
    hidden = {"id": by_finance}
    assert await trading.read("rides", SHOWN, id=by_finance) is None
    assert told(await fetch(trading, "rides", hidden)) == (404, "NOT_FOUND", "no such export")
    ready = await until_done(trading, "viewer", await trading.read("viewer", SHOWN, id=by_rides[0]))
    assert (await fetch(trading, "viewer", ready)).status_code == 200


async def test_a_file_that_is_not_there_is_told_of(trading: World, number: int) -> None:
    """Not yet: 409 with when to come again; never: 409 without; no longer: 410."""
    statement = (await statements(trading, number, "rides"))["rides"]
    exports = trading.services.db["exports"]
    ready = await until_done(trading, "rides", await ask(trading, "rides", statement, "XLSX"))
    identity = trading.services.keyring.unseal(ready["id"], "").partition(":")[2]
    later = await server_time(trading.services.db) + timedelta(days=1)

    await exports.update_one({"_id": identity}, {"$set": {"status": "QUEUED", "claimable_at": later, "done": 0}})
    shown = await trading.read("rides", SHOWN, id=ready["id"])
    assert (shown["status"], shown["url"], shown["bytes"], shown["sha256"]) == ("QUEUED", None, None, None)
    answer = await fetch(trading, "rides", ready)
    assert told(answer) == (409, "NOT_READY", "the export is queued, 0 of 1 are done")
    assert answer.headers["Retry-After"] == "1"

    failing = {"$set": {"status": "FAILED", "error": "the printer is out of ink"}, "$unset": {"claimable_at": ""}}
    await exports.update_one({"_id": identity}, failing)
    answer = await fetch(trading, "rides", ready)
    assert told(answer) == (409, "NOT_READY", "there will be no file: the printer is out of ink")
    assert "Retry-After" not in answer.headers

    yesterday = {"$set": {"status": "READY", "begun_at": later - timedelta(days=2)}, "$unset": {"error": ""}}
    await exports.update_one({"_id": identity}, yesterday)
    assert (await trading.read("rides", SHOWN, id=ready["id"]))["status"] == "EXPIRED"
    assert told(await fetch(trading, "rides", ready))[:2] == (410, "EXPIRED")
    again = await until_done(trading, "rides", await ask(trading, "rides", statement, "XLSX"))
    assert again["id"] != ready["id"]
    assert (await fetch(trading, "rides", again)).status_code == 200


async def test_a_payment_file_of_a_draft_fails(trading: World, number: int) -> None:
    """And says why; of the same statement, instructed, there is one, for the bank of whoever pays."""
    shown = await statements(trading, number)
    draft = shown["rides"]
    failed = await until_done(trading, "viewer", await ask(trading, "viewer", draft, "PAIN001"))
    assert failed["status"] == "FAILED"
    assert failed["error"] == "a payment file is of a statement that is instructed; this one is draft"
    assert told(await fetch(trading, "viewer", failed))[:2] == (409, "NOT_READY")
    await to(trading, draft, "review", "approve", "instruct")
    now = await trading.services.now()
    for handle, iban in (("exchange", "DE89370400440532013000"), ("rides", "CH9300762011623852957")):
        partner = await trading.services.registry.get(handle)
        await trading.services.particulars.change(partner, {"iban": iban}, "ada", now)
    ready = await until_done(trading, "viewer", await ask(trading, "viewer", draft, "PAIN001", payOn="2030-01-02"))
    answer = await fetch(trading, "viewer", ready)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/xml")
    assert '<InstdAmt Ccy="EUR">8.00</InstdAmt>' in answer.text
    assert "2030-01-02" in answer.text
    other = await until_done(trading, "rides", await ask(trading, "rides", draft, "PAIN001"))
    assert other["error"] == "payer: rides has nothing to pay: it is exchange that has"


async def test_who_may_not_read_statements_gets_no_file(trading: World, number: int) -> None:
    """Without a token 401, without a scope 403, whatever the id; a member has none that would do."""
    statement = (await statements(trading, number, "rides"))["rides"]
    ready = await until_done(trading, "rides", await ask(trading, "rides", statement, "CSV"))
    bare = await trading.http.get(f"/exports/{ready['id']}")
    assert told(bare)[:2] == (401, "UNAUTHENTICATED")
    assert bare.headers["WWW-Authenticate"] == 'Bearer realm="exchange"'
    forged = await trading.http.get(f"/exports/{ready['id']}", headers={"Authorization": "Bearer e30.e30.e30"})
    assert forged.headers["WWW-Authenticate"] == 'Bearer realm="exchange", error="invalid_token"'
    for who in (await trading.token("rides", "benefits:read"), "anna@video", "admin"):
        answers = [told(await fetch(trading, who, {"id": identity})) for identity in (ready["id"], "nothing")]
        assert answers[0] == answers[1] == (403, "FORBIDDEN", "needs the scope settlements:read or finance:view")
    assert (await trading.http.post(f"/exports/{ready['id']}")).status_code == 405


async def test_what_no_file_can_be_is_refused(trading: World, number: int) -> None:
    """With the field that is wrong; and a partner with too many in the queue is told to come again."""
    statement = (await statements(trading, number, "rides"))["rides"]
    named = {"statement": statement["id"]}
    for given, field in (
        ({"format": "PDF", "locale": "klingon"}, "locale"), ({"format": "CSV", "payer": "rides"}, "payer"),
        ({"format": "JSON", "payOn": "2030-01-02"}, "payOn"), ({"format": "PAIN001", "payer": "exchange"}, "payer"),
    ):  # fmt: skip
        payload = await trading.do("rides", "exportStatement", **named, **given)
        assert refusal(payload, "VALIDATION_ERROR", ["input", field])
    ready = await until_done(trading, "rides", await ask(trading, "rides", statement, "CSV"))
    identity = trading.services.keyring.unseal(ready["id"], "").partition(":")[2]
    stored = await trading.services.db["exports"].find_one({"_id": identity})
    assert stored is not None
    later = await trading.services.now() + timedelta(days=1)
    many = [stored | {"_id": f"{n}", "key": f"{n}", "claimable_at": later} for n in range(WAITING_MAX)]
    await trading.services.db["exports"].insert_many(many)
    answer = await trading.send("rides", "exportStatement", **named, format="LEDGER")
    assert (answer.status, answer.codes, answer.headers["Retry-After"]) == (429, ["THROTTLED"], "10")
    await trading.services.db["exports"].delete_many({"claimable_at": later})
    assert (await ask(trading, "rides", statement, "LEDGER"))["status"] in ("QUEUED", "RUNNING", "READY")
