"""Reconciliation through the API: the bank's files, what is recorded of them, and a partner's own record."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import pytest
from graphql import parse, validate

from exchange.settlement.reconciling import UsageCheck, usage_check
from graph.inputs.reconciliation import CONTENT_BYTES_MAX
from graph.mutations import reconciliation as mutations
from graph.mutations.reconciliation import Rejections, _accepted
from graph.schema import make_schema
from partners.feeds.usage import read_usage
from tests.examples import DOCS
from tests.graph.speech import BANK_FILE, DUE, EXCEPTION, SIGN_OFF, Payload, World, refusal

HEADER = "date,amount,currency,end_to_end_id,text,name,reference"
EURO = {"amount": "8.00", "currency": "EUR"}
LINES = """query($id: ID!) { statement(id: $id) { lines(first: 100) { nodes {
    entry points gross { amount } fee { amount } net { amount } } } } }"""


class Scene(NamedTuple):
    """A period whose two statements, each of 8.00 EUR, are instructed; `day`: on which."""

    number: int
    rides: Payload
    video: Payload
    day: str


@pytest.fixture
async def scene(trading: World) -> Scene:
    """Close a period in which points of video were spent at rides, and sign its statements off until they are due."""
    await trading.award("video", "anna", 1000)
    await trading.redeem("anna@video", await trading.publish("rides", 1000))
    return await instructed(trading)


async def instructed(world: World) -> Scene:
    number = await world.close_period()
    query = "query($n: Int!) { period(number: $n) { statements { nodes { partner { handle } ...signOff } } } }"
    nodes = (await world.read("viewer", f"{query} {SIGN_OFF}", n=number))["statements"]["nodes"]
    statements = {node["partner"]["handle"]: node for node in nodes}
    for statement in statements.values():
        for who, step in (("preparer", "review"), ("approver", "approve"), ("preparer", "instruct")):
            await sign(world, who, step, statement)
    due = (await dues(world))[f"{number}:rides:EUR"]
    return Scene(number, statements["rides"], statements["video"], due["since"])


async def sign(world: World, who: str, step: str, statement: Payload) -> Payload:
    """Take a step of the sign-off and return what came of it."""
    return await world.do(
        who, f"{step}Statement", statement=statement["id"], hash=statement["hash"], idempotencyKey=world.fresh(step)
    )


async def pay(world: World, statement: Payload, amount: str) -> None:
    """Record a payment by hand."""
    await world.done(
        "preparer", "recordPayment", statement=statement["id"], hash=statement["hash"],
        amount={"amount": amount, "currency": "EUR"}, reference="by hand", idempotencyKey=world.fresh("pay"),
    )  # fmt: skip


async def dues(world: World, who: str = "viewer") -> dict[str, Payload]:
    """Return what somebody sees that is due, by reference."""
    query = f"{{ duePayments(first: 100) {{ nodes {{ ...due }} }} }} {DUE}"
    return {node["reference"]: node for node in (await world.read(who, query))["nodes"]}


def booked(scene: Scene, *rows: tuple[str, str], text: str = "") -> str:
    """Return a bank's file with these amounts and references."""
    lines = [f"{scene.day},{amount},EUR,{name},{text},Some Bank," for amount, name in rows]
    return "\n".join((HEADER, *lines)) + "\n"


async def upload(world: World, content: str, **more: Any) -> Payload:
    """Give a file, and return it."""
    payload = await world.done("preparer", "uploadBankFile", content=content, **more)
    shown: Payload = payload["file"]
    return shown


async def record(world: World, file: Payload, who: str = "preparer", **more: Any) -> list[Payload]:
    """Record what was found in a file, and return what came of each payment."""
    payload = await world.done(who, "recordBankFilePayments", file=file["number"], hash=file["hash"], **more)
    nodes: list[Payload] = payload["payments"]["nodes"]
    return nodes


async def queue(world: World, *, resolved: bool = False) -> list[Payload]:
    """Return all exceptions, read in pages of two."""
    query = f"""query($after: String, $resolved: Boolean!) {{
        paymentExceptions(first: 2, after: $after, resolved: $resolved) {{
            nodes {{ ...exception }} pageInfo {{ hasNextPage endCursor }} }} }} {EXCEPTION} {DUE}"""
    found, cursor, more = [], None, True
    while more:
        shown = await world.read("viewer", query, after=cursor, resolved=resolved)
        found += shown["nodes"]
        more, cursor = shown["pageInfo"]["hasNextPage"], shown["pageInfo"]["endCursor"]
    return found


# ---------------------------------------------------------------- files


def test_the_page_asks_what_can_be_asked() -> None:
    """The documents on the page in the docs are valid."""
    shown = re.findall(r"```graphql\n(.*?)```", (DOCS / "reconciliation.md").read_text(), re.DOTALL)
    assert len(shown) == 2
    schema = make_schema()._schema  # noqa: SLF001 - what Strawberry hands to graphql-core
    assert [validate(schema, parse(text)) for text in shown] == [[], []]


async def test_a_bank_s_file_is_read_and_every_movement_is_on_a_pile(trading: World, scene: Scene) -> None:
    """What names its payment is matched, what names nothing is an exception; the file is there for finance to read."""
    reference = f"{scene.number}:rides:EUR"
    content = booked(scene, ("-8.00", reference), ("-4.50", ""))
    file = await upload(trading, content, name="march.csv")
    assert {name: file[name] for name in file if name.endswith("Count")} == {
        "movementCount": 2, "matchedCount": 1, "knownCount": 0, "exceptionCount": 1,
    }  # fmt: skip
    assert (file["name"], file["hash"]) == ("march.csv", sha256(content.encode()).hexdigest())
    (match,) = file["matches"]["nodes"]
    assert (match["how"], [each["reference"] for each in match["dues"]]) == ("REFERENCE", [reference])
    assert match["movements"] == [{
        "line": 2, "date": scene.day, "name": "Some Bank", "bankReference": "", "amount": {"amount": "-8.00"},
    }]  # fmt: skip
    assert match["dues"][0]["statement"]["id"] == scene.rides["id"]
    (exception,) = file["exceptions"]["nodes"]
    assert (exception["id"], exception["kind"]) == (f"{file['number']}-2", "NOT_EXPECTED")
    query = f"query($n: Int!) {{ bankFile(number: $n) {{ ...bankFile }} }} {BANK_FILE} {EXCEPTION} {DUE}"
    assert await trading.read("viewer", query, n=file["number"]) == file
    assert await trading.read("viewer", query, n=999_999) is None
    assert reference not in await dues(trading)
    assert f"{scene.number}:video:EUR" in await dues(trading)


async def test_a_file_sent_again_is_the_same_success(trading: World, scene: Scene) -> None:
    """By its content alone, under whichever name, also at once; what it matched is not matched twice."""
    content = booked(scene, ("-8.00", f"{scene.number}:rides:EUR"))
    many = await asyncio.gather(
        *(trading.done("preparer", "uploadBankFile", content=content, name=f"copy {n}") for n in range(4))
    )
    assert sorted(each["replayed"] for each in many) == [False, True, True, True]
    assert len({each["file"]["number"] for each in many}) == len({each["file"]["name"] for each in many}) == 1
    other = await upload(trading, content + "\n")
    assert [each["kind"] for each in other["exceptions"]["nodes"]] == ["DUPLICATE"]


async def test_files_come_in_pages_the_newest_first(trading: World, scene: Scene) -> None:
    """Each once."""
    made = [(await upload(trading, booked(scene, ("1.00", f"no {n}"))))["number"] for n in range(3)]
    query = """query($after: String) { bankFiles(first: 1, after: $after) {
        nodes { number matchedCount exceptionCount by } pageInfo { hasNextPage endCursor } } }"""
    found, cursor = [], None
    for _ in made:
        shown = await trading.read("viewer", query, after=cursor)
        found += shown["nodes"]
        cursor = shown["pageInfo"]["endCursor"]
    assert [each["number"] for each in found] == made[::-1]
    assert {(each["matchedCount"], each["exceptionCount"]) for each in found} == {(0, 1)}


async def test_camt_is_text_whatever_it_says_of_its_bytes(trading: World, scene: Scene) -> None:
    """A document that declares another encoding has its letters still: it came as text."""
    reference = f"{scene.number}:rides:EUR"
    file = await upload(trading, f"""<?xml version="1.0" encoding="ISO-8859-1"?>
        <Document><BkToCstmrStmt><Stmt><Ntry><Amt Ccy="EUR">8.00</Amt><CdtDbtInd>DBIT</CdtDbtInd>
        <Sts>BOOK</Sts><ValDt><Dt>{scene.day}</Dt></ValDt><NtryDtls><TxDtls><Refs><EndToEndId>{reference}</EndToEndId>
        </Refs><RltdPties><Cdtr><Nm>Überland</Nm></Cdtr></RltdPties></TxDtls></NtryDtls></Ntry></Stmt>
        </BkToCstmrStmt></Document>""")  # fmt: skip
    (match,) = file["matches"]["nodes"]
    assert (match["movements"][0]["name"], match["dues"][0]["reference"]) == ("Überland", reference)


async def test_what_is_wrong_in_a_file_is_said(trading: World, scene: Scene) -> None:
    """With its line; nothing of it is kept. Too large a file is refused by its size, whoever sends it."""
    before = (await trading.read("viewer", "{ bankFiles(first: 1) { nodes { number } } }"))["nodes"]
    for content, says in (
        ("a,b\n", "the header lacks date, amount, currency"),
        (booked(scene, ("1.00", ""), ("1.001", "")), "line 3: "),
        ("<Document><Other/></Document>", "line 1: the file is neither"),
    ):
        payload = await trading.do("preparer", "uploadBankFile", content=content)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "content"])
        assert says in payload["message"]
    payload = await trading.do("viewer", "uploadBankFile", content="x" * (CONTENT_BYTES_MAX + 1))
    assert refusal(payload, "VALIDATION_ERROR", ["input", "content"])
    assert payload["message"] == "has 3145729 bytes and may have 3145728: send it in parts"
    for wrong, where in (
        ({"name": "x" * 201}, ["name"]), ({"name": "\n"}, ["name"]),
        ({"days": -1}, ["days"]), ({"days": 367}, ["days"]),
        ({"within": [EURO, EURO]}, ["within", "1", "currency"]),
        ({"within": [{"amount": "-1.00", "currency": "EUR"}]}, ["within", "0", "amount"]),
    ):  # fmt: skip
        payload = await trading.do("viewer", "uploadBankFile", content="x", **wrong)
        assert refusal(payload, "VALIDATION_ERROR", ["input", *where])
    assert (await trading.read("viewer", "{ bankFiles(first: 1) { nodes { number } } }"))["nodes"] == before


# ---------------------------------------------------------------- exceptions


async def test_the_queue_is_read_in_pages_and_worked_off(trading: World, scene: Scene) -> None:
    """Open ones in the order of files and lines; what is resolved is listed on demand alone, with who said what."""
    content = booked(scene, *((f"{n}.00", "") for n in range(1, 6)), text="cash")
    file = await upload(trading, content)
    names = [f"{file['number']}-{n}" for n in range(1, 6)]
    listed = [each["id"] for each in await queue(trading)]
    assert listed == list(dict.fromkeys(listed))
    assert [each for each in listed if each in names] == names
    done = await trading.done("preparer", "resolvePaymentException", exception=names[1], reason=" found money ")
    assert (done["resolution"]["reason"], done["resolution"]["amount"]) == ("found money", None)
    assert names[1] not in [each["id"] for each in await queue(trading)]
    everything = {each["id"]: each for each in await queue(trading, resolved=True)}
    assert [each for each in everything if each in names] == names
    assert everything[names[1]]["resolved"]["reason"] == "found money"
    assert everything[names[0]]["resolved"] is None
    assert everything[names[0]]["movements"][0]["text"] == "cash"


async def test_an_exception_is_resolved_once(trading: World, scene: Scene) -> None:
    """The same again is the same answer, whoever sends it; another is a conflict, and what pays nothing is refused."""
    reference = f"{scene.number}:video:EUR"
    file = await upload(trading, booked(scene, ("5.00", reference), ("9.00", "")))
    first, second = (f"{file['number']}-{n}" for n in (1, 2))
    given = {"exception": first, "reason": "the rest will follow", "pays": reference}
    done = await trading.done("preparer", "resolvePaymentException", **given)
    assert (done["replayed"], done["resolution"]["amount"]["amount"]) == (False, "5.00")
    other = await trading.token("staff", "finance:prepare")
    again = await trading.done(other, "resolvePaymentException", **given)
    assert (again["replayed"], again["resolution"]) == (True, done["resolution"])
    payload = await trading.do("preparer", "resolvePaymentException", **given | {"reason": "else"})
    assert refusal(payload, "IDEMPOTENCY_CONFLICT", ["input", "exception"])
    assert (await dues(trading))[reference]["amount"]["amount"] == "3.00"
    for pays in (reference, f"{scene.number}:rides:EUR", "7:nobody:EUR"):
        payload = await trading.do("preparer", "resolvePaymentException", exception=second, reason="why", pays=pays)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "pays"])
    for unknown in ("1-999", "999999-1", "nothing", "-", f"{file['number']}-"):
        payload = await trading.do("preparer", "resolvePaymentException", exception=unknown, reason="why")
        assert refusal(payload, "NOT_FOUND", ["input", "exception"])
    for given, where in (({"reason": " "}, "reason"), ({"exception": ""}, "exception")):
        said = {"exception": second, "reason": "why", **given}
        payload = await trading.do("viewer", "resolvePaymentException", **said)
        assert refusal(payload, "VALIDATION_ERROR", ["input", where])


async def test_what_the_bank_has_not_booked_stands_at_the_end(trading: World, scene: Scene) -> None:
    """When its files go beyond the days that a payment may take."""
    year, rest = scene.day.split("-", 1)
    # The day must be there in any year: of a 29th of February there would be none.
    late = f"{int(year) + 1}-{rest}".replace("-02-29", "-03-01")
    await upload(trading, booked(scene, ("0.01", "")).replace(scene.day, late))
    listed = await queue(trading)
    kinds = [each["kind"] for each in listed]
    first = kinds.index("NOT_BOOKED")
    assert set(kinds[first:]) == {"NOT_BOOKED"}
    missing = [each["id"] for each in listed[first:]]
    assert missing == sorted(missing)
    assert {f"{scene.number}:rides:EUR", f"{scene.number}:video:EUR"} <= set(missing)
    assert {each["file"] for each in listed[first:]} == {None}
    for each in missing:
        await trading.done("preparer", "resolvePaymentException", exception=each, reason="from another account")
    assert "NOT_BOOKED" not in [each["kind"] for each in await queue(trading)]


# ---------------------------------------------------------------- payments


async def test_what_was_found_is_recorded_and_reconciled(trading: World, scene: Scene) -> None:
    """In one step, each as a step of the sign-off; once, also at once; and whoever recorded it cannot reconcile it."""
    rows = (("-8.00", f"{scene.number}:rides:EUR"), ("8.00", f"{scene.number}:video:EUR"))
    file = await upload(trading, booked(scene, *rows))
    many = await asyncio.gather(*(record(trading, file) for _ in range(3)))
    assert all([each["refused"] for each in some] == [None, None] for some in many)
    for index in (0, 1):
        assert sorted(some[index]["replayed"] for some in many) == [False, True, True]
    rides, video = await record(trading, file)
    assert [each["due"]["reference"] for each in (rides, video)] == [name for _, name in rows]
    for each, statement in ((rides, scene.rides), (video, scene.video)):
        assert (each["replayed"], each["statement"]["status"]) == (True, "PAID")
        assert each["statement"]["paid"] == [EURO]
        assert each["statement"]["period"]["status"] == "SETTLED"
        last = each["statement"]["history"]["nodes"][-1]
        assert (last["step"], last["statementHash"]) == ("PAY", statement["hash"])
        assert last["note"].startswith(f"{each['due']['reference']}: line ")
    assert refusal(await sign(trading, "preparer", "reconcile", scene.rides), "FORBIDDEN", None)
    done = await sign(trading, "approver", "reconcile", scene.rides)
    assert done["statement"]["status"] == "RECONCILED"
    again = await record(trading, file)
    assert [(each["replayed"], each["statement"]["status"]) for each in again] == [
        (True, "RECONCILED"), (True, "PAID"),
    ]  # fmt: skip


async def test_a_file_s_statements_are_reconciled_together(trading: World, scene: Scene) -> None:
    """Those of which all is paid and found, once, page by page, and by another person than who recorded a payment."""
    video = f"{scene.number}:video:EUR"
    file = await upload(trading, booked(scene, ("-8.00", f"{scene.number}:rides:EUR"), ("3.00", video)))
    name = f"{file['number']}-2"
    await trading.done("preparer", "resolvePaymentException", exception=name, reason="a part", pays=video)
    given: dict[str, Any] = {"file": file["number"], "hash": file["hash"], "first": 1}

    async def reconciled(who: str) -> list[Payload]:
        found, cursor, more = [], None, True
        while more:
            page = given | ({"after": cursor} if cursor else {})
            shown = (await trading.done(who, "reconcileBankFile", **page))["statements"]
            found += shown["nodes"]
            more, cursor = shown["pageInfo"]["hasNextPage"], shown["pageInfo"]["endCursor"]
        return found

    early = await reconciled("approver")
    assert [(each["refused"]["__typename"], each["refused"]["path"]) for each in early] == [
        ("InvalidSignOff", None), ("ValidationError", None),
    ]  # fmt: skip
    assert early[1]["refused"]["message"] == f"5.00 EUR of {video} is not found yet"
    await record(trading, file)
    assert [each["refused"]["code"] for each in await reconciled("preparer")] == ["FORBIDDEN", "VALIDATION_ERROR"]
    many = await asyncio.gather(*(reconciled("approver") for _ in range(2)))
    assert sorted(some[0]["replayed"] for some in many) == [False, True]
    assert {some[0]["statement"]["status"] for some in many} == {"RECONCILED"}
    rest = await upload(trading, booked(scene, ("5.00", video)))
    assert [each["statement"]["status"] for each in await record(trading, rest)] == ["PAID"]
    first, second = await reconciled("second")
    assert (first["replayed"], second["replayed"]) == (True, False)
    assert (first["refused"], second["refused"], second["statement"]["status"]) == (None, None, "RECONCILED")


async def test_each_payment_is_tried_for_itself(trading: World, scene: Scene) -> None:
    """What was recorded by hand is not paid twice: that one is refused, and the others are recorded."""
    file = await upload(
        trading, booked(scene, ("-8.00", f"{scene.number}:rides:EUR"), ("8.00", f"{scene.number}:video:EUR"))
    )
    await pay(trading, scene.rides, "8.00")
    rides, video = await record(trading, file)
    refused = rides["refused"]
    assert (refused["__typename"], refused["status"], refused["path"]) == ("InvalidSignOff", "PAID", None)
    assert rides["statement"]["paid"] == [EURO]
    assert (video["refused"], video["statement"]["status"]) == (None, "PAID")


async def test_no_more_is_recorded_than_was_approved(trading: World, scene: Scene) -> None:
    """Of a statement that was paid in part by hand a whole payment is refused, and nothing of it is recorded."""
    file = await upload(trading, booked(scene, ("-8.00", f"{scene.number}:rides:EUR")))
    await pay(trading, scene.rides, "1.00")
    (rides,) = await record(trading, file)
    assert rides["refused"]["code"] == "VALIDATION_ERROR"
    assert rides["refused"]["message"] == "is more than is left to be paid: 7.00 EUR"
    assert (rides["statement"]["status"], rides["statement"]["paid"][0]["amount"]) == ("INSTRUCTED", "1.00")


async def test_what_a_person_says_an_exception_pays_is_recorded_too(trading: World, scene: Scene) -> None:
    """With the file in which it is, in parts, page by page; a file whose exception is still open records the rest."""
    reference = f"{scene.number}:video:EUR"
    file = await upload(trading, booked(scene, ("5.00", reference), ("-8.00", f"{scene.number}:rides:EUR")))
    (rides,) = await record(trading, file)
    assert rides["due"]["reference"] == f"{scene.number}:rides:EUR"
    name = f"{file['number']}-1"
    await trading.done("preparer", "resolvePaymentException", exception=name, reason="a part", pays=reference)
    page: dict[str, Any] = {"file": file["number"], "hash": file["hash"], "first": 1}
    first = (await trading.done("preparer", "recordBankFilePayments", **page))["payments"]
    assert [each["replayed"] for each in first["nodes"]] == [True]
    assert first["pageInfo"]["hasNextPage"] is True
    after = first["pageInfo"]["endCursor"]
    second = (await trading.done("preparer", "recordBankFilePayments", **page, after=after))["payments"]
    (video,) = second["nodes"]
    assert (second["pageInfo"]["hasNextPage"], video["replayed"], video["refused"]) == (False, False, None)
    assert video["due"]["amount"]["amount"] == video["statement"]["paid"][0]["amount"] == "5.00"
    rest = await upload(trading, booked(scene, ("3.00", reference)))
    (video,) = await record(trading, rest)
    assert (video["statement"]["status"], video["statement"]["paid"]) == ("PAID", [EURO])


async def test_what_cannot_be_recorded_is_refused(trading: World, scene: Scene) -> None:
    """A file that is not there, and one that the caller has not read."""
    file = await upload(trading, booked(scene, ("-8.00", f"{scene.number}:rides:EUR")))
    for number in (0, -1, 999_999):
        payload = await trading.do("preparer", "recordBankFilePayments", file=number, hash=file["hash"])
        assert refusal(payload, "NOT_FOUND", ["input", "file"])
    payload = await trading.do("preparer", "recordBankFilePayments", file=file["number"], hash="0" * 64)
    assert refusal(payload, "VALIDATION_ERROR", ["input", "hash"])
    answer = await trading.send("preparer", "recordBankFilePayments", file=file["number"], hash=file["hash"], first=101)
    assert answer.codes == ["BAD_USER_INPUT"]
    assert f"{scene.number}:rides:EUR" not in await dues(trading)
    assert (await record(trading, file, first=0)) == []


async def test_a_page_in_an_answer_counts_as_full(trading: World) -> None:
    """What stands in the input is not known when a request is measured: so a hundred payments' lines are too many."""
    asked = """mutation { recordBankFilePayments(input: {file: 0, hash: "", first: 1}) {
        ... on RecordBankFilePaymentsSuccess { payments { nodes { statement { lines(first: %d) { nodes {
        entry at kind line points late } } } } } } } }"""
    assert (await trading.ask("preparer", asked % 50)).codes == []
    assert (await trading.ask("preparer", asked % 100)).codes == ["COST_EXCEEDED"]


# ---------------------------------------------------------------- partners


async def test_a_partner_sees_what_is_due_of_its_own_statements(trading: World, scene: Scene) -> None:
    """With the reference for its payment; of nobody else's, and nothing of files and exceptions."""
    for who, statement in (("rides", scene.rides), ("video", scene.video)):
        seen = await dues(trading, who)
        assert {each["partner"]["handle"] for each in seen.values()} == {who}
        mine = seen[f"{scene.number}:{who}:EUR"]
        assert mine["statement"]["id"] == statement["id"]
        assert mine == (await dues(trading))[f"{scene.number}:{who}:EUR"]
    assert await dues(trading, "delivery") == {}


def noted(*rows: str) -> str:
    return "\n".join(("entry,points,gross,currency,day", *rows)) + "\n"


async def usage(world: World, who: str, statement: Payload, content: str, **more: Any) -> Payload:
    """Compare a record with its statement."""
    return await world.do(who, "reconcileUsage", statement=statement["id"], content=content, **more)


async def test_a_partner_compares_its_own_record(trading: World) -> None:
    """Every entry is on one pile, what both sides add up to is told, and the differences come in pages."""
    await trading.award("video", "anna", 600)
    for price in (100, 200, 300):
        await trading.redeem("anna@video", await trading.publish("rides", price))
    scene = await instructed(trading)
    lines = (await trading.read("rides", LINES, id=scene.rides["id"]))["lines"]["nodes"]
    entries = {line["points"]: line["entry"] for line in lines}
    content = noted(
        f"{entries['100']},100,0.80,EUR,2026-03-01", f"{entries['200']},200,1.70,EUR,2026-03-02",
        "one-too-many,10,9.00,EUR,", "wrong,x,1.00,EUR,",
    )  # fmt: skip
    told = await usage(trading, "rides", scene.rides, content)
    assert {name: told[name] for name in ("compared", "rows", "agreed", "missingHere", "missingThere", "differs")} == {
        "compared": ["points", "gross"], "rows": 3, "agreed": 1, "missingHere": 1, "missingThere": 1, "differs": 1,
    }  # fmt: skip
    reason = "'x' is not a whole number of at most 18 digits"
    assert (told["rejectedRows"], told["rejections"]) == (1, [{"line": 5, "field": "points", "reason": reason}])
    assert [(row["currency"], row["ours"]["gross"], row["theirs"]["gross"]) for row in told["totals"]] == [
        ("EUR", {"amount": "4.80"}, {"amount": "11.50"})
    ]
    by_kind = {row["kind"]: row for row in told["differences"]["nodes"]}
    assert {kind: row["entry"] for kind, row in by_kind.items()} == {
        "DIFFERS": entries["200"], "MISSING_HERE": "one-too-many", "MISSING_THERE": entries["300"],
    }  # fmt: skip
    differs = by_kind["DIFFERS"]
    assert (differs["ours"]["gross"], differs["theirs"]["gross"]) == ({"amount": "1.60"}, {"amount": "1.70"})
    assert (differs["line"], differs["day"], differs["theirs"]["net"]) == (3, "2026-03-02", None)
    assert (by_kind["MISSING_HERE"]["ours"], by_kind["MISSING_THERE"]["theirs"]) == (None, None)
    found, cursor, more = [], None, True
    while more:
        page = await usage(trading, "viewer", scene.rides, content, first=1, **({"after": cursor} if cursor else {}))
        assert page["agreed"] == 1
        found += page["differences"]["nodes"]
        more, cursor = (page["differences"]["pageInfo"][name] for name in ("hasNextPage", "endCursor"))
    assert found == told["differences"]["nodes"]


async def test_a_record_of_points_alone_has_no_currency(trading: World, scene: Scene) -> None:
    """They are added up over all currencies."""
    told = await usage(trading, "video", scene.video, "entry,points\nnone,7\n")
    assert (told["missingHere"], told["missingThere"]) == (1, 1)
    assert [(row["currency"], row["theirs"]["points"]) for row in told["totals"]] == [(None, "7")]
    assert {row["currency"] for row in told["differences"]["nodes"]} == {None}


async def test_anothers_statement_is_compared_with_nothing(trading: World, scene: Scene) -> None:
    """It answers as one that does not exist; a file that cannot be read, or is too large, says why."""
    for who, identity in (("video", scene.rides["id"]), ("video", "none"), ("viewer", "none")):
        payload = await usage(trading, who, {"id": identity}, "entry,points\na,1\n")
        assert refusal(payload, "NOT_FOUND", ["input", "statement"])
    for content, says in (("entry\n", "there is nothing to compare"), ("x" * (CONTENT_BYTES_MAX + 1), "may have")):
        payload = await usage(trading, "rides", scene.rides, content)
        assert refusal(payload, "VALIDATION_ERROR", ["input", "content"])
        assert says in payload["message"]


async def test_one_statement_is_compared_in_a_request(trading: World, scene: Scene) -> None:
    """One content can be named under a hundred aliases: it is not compared a hundred times."""
    fields = "... on ReconcileUsageSuccess { missingHere } ... on ValidationError { message path }"
    asked = " ".join(f"{alias}: reconcileUsage(input: $input) {{ {fields} }}" for alias in ("one", "two"))
    given = {"statement": scene.video["id"], "content": "entry,points\nnone,7\n"}
    answer = await trading.ask("video", f"mutation($input: ReconcileUsageInput!) {{ {asked} }}", input=given)
    message = "another is compared in this request: one at a time"
    assert answer.data == {
        "one": {"missingHere": 1}, "two": {"message": message, "path": ["input", "statement"]},
    }  # fmt: skip


async def test_statements_are_compared_one_after_another(
    trading: World, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a thread for seconds, and there are few: others of the process would wait for one."""
    under_way, most = 0, 0

    @contextmanager
    def watched(columns: Sequence[str]) -> Iterator[UsageCheck]:
        nonlocal under_way, most
        with usage_check(columns) as check:
            under_way += 1
            most = max(most, under_way)
            yield check
            under_way -= 1

    monkeypatch.setattr(mutations, "usage_check", watched)
    content = "entry,points\n" + "none,7\n" * 1_000
    told = await asyncio.gather(*(usage(trading, "video", scene.video, content) for _ in range(5)))
    assert ([each["missingHere"] for each in told], most) == ([1] * 5, 1)


def test_of_a_million_rows_that_are_none_a_hundred_are_kept() -> None:
    """All are counted. A partner's file must not become a hundred times its size in memory."""
    read = read_usage(BytesIO(noted(*["x"] * 1_000).encode()))
    rejected = Rejections()
    assert list(_accepted(read.rows, rejected)) == []
    assert (rejected.count, [each.line for each in rejected.first]) == (1_000, list(range(2, 102)))
