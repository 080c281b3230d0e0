from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import rfc8785

from exchange.errors import FiguresDisagree
from exchange.settlement.statement import Statement
from exchange.store.connection import server_time
from tests.exchange.settlement.conftest import World

RIDES = {"settles": "rides", "benefit": "rides/airport"}


async def document(world: World, partner: str = "rides") -> tuple[Statement, bytes]:
    settlement = world.settle()
    statement = await settlement.statement(f"1:{partner}")
    assert statement is not None
    return statement, b"".join([piece async for piece in settlement.document(statement)])


async def test_the_hash_is_of_the_document(example: World) -> None:
    """Whoever has the document gets the statement's hash with sha256sum; another process writes the same bytes."""
    await example.settle().close(1)
    for partner in ("delivery", "rides", "video"):
        statement, written = await document(example, partner)
        assert sha256(written).hexdigest() == statement.hash
        assert (await document(example, partner))[1] == written


async def test_the_document_is_canonical(example: World) -> None:
    """The document is RFC 8785's form of what it says: header, lines, the period's root, totals."""
    await example.publish("rides", "Zürich €\n", 1)
    await example.award("delivery", "dan", 1)
    await example.redeem("delivery", "dan", "rides/Zürich €\n")
    await example.settle().close(1)
    statement, written = await document(example)
    said = json.loads(written)
    assert rfc8785.dumps(said) == written
    assert said["header"] == {
        "format": "benefits-exchange/statement/1", "id": "1:rides", "partner": "rides", "period": 1,
    }  # fmt: skip
    assert len(said["lines"]) == statement.line_count
    assert said["period_root"] == statement.root
    assert said["totals"][0] == {
        "currency": "EUR", "fees": "14", "net": "885", "payable": "23", "receivable": "922",
    }  # fmt: skip
    assert sum(int(line["net"]) for line in said["lines"] if line["currency"] == "EUR") == 885


@pytest.mark.parametrize(
    "change",
    [{"$inc": {"debits.0.owed": 1}}, {"$inc": {"debits.0.points": -1}}, {"$inc": {"debits.1.fee": 1}},
     {"$set": {"at": datetime(2020, 1, 1, tzinfo=UTC)}}, {"$set": {"benefit": "rides/other"}},
     {"$set": {"settles": ["video", "delivery"]}}],
)  # fmt: skip
async def test_an_altered_line_changes_the_hash(example: World, change: dict[str, dict[str, object]]) -> None:
    """Amounts, points, fee, time, benefit, or a line left out: the document made anew is not the one hashed."""
    await example.settle().close(1)
    await example.database["entries"].update_one(RIDES, change)
    statement, written = await document(example)
    assert sha256(written).hexdigest() != statement.hash


async def test_statements_are_drafts(example: World) -> None:
    """Every partner with lines has a draft; the exchange has none, its fees being a column of the others'."""
    period = await example.settle().close(1)
    statements = await example.settle().statements(1)
    assert [(s.id, s.status) for s in statements] == [
        ("1:delivery", "DRAFT"), ("1:rides", "DRAFT"), ("1:video", "DRAFT"),
    ]  # fmt: skip
    assert period.statements == 3
    assert {s.root for s in statements} == {period.root}


async def test_altered_entries_are_found(example: World) -> None:
    """If entries no longer add up to what the blocks say, those concerned get no draft, and the error says what."""
    await example.database["entries"].update_one({"benefit": "video/film"}, {"$inc": {"debits.0.owed": 1}})
    with pytest.raises(FiguresDisagree) as raised:
        await example.settle().close(1)
    assert "1:rides was not drafted: REDEMPTION with video in JPY: blocks say -15 points, gross -15, fee 0" in str(
        raised.value
    )
    assert "entries say -15 points, gross -16, fee 0" in str(raised.value)
    assert [s.partner for s in await example.settle().statements(1)] == ["delivery"]


async def test_altered_blocks_are_found(example: World) -> None:
    """Entries that no block adds up are found as well, though their partners are in no block's sums."""
    await example.database["blocks"].update_many({}, {"$set": {"sums": []}})
    with pytest.raises(FiguresDisagree) as raised:
        await example.settle().close(1)
    assert [line.split()[1] for line in raised.value.message.splitlines()] == ["1:delivery", "1:rides", "1:video"]
    assert await example.settle().statements(1) == []


async def test_a_repaired_journal_can_be_drafted(example: World) -> None:
    """Closing again after the repair drafts what was missing; until then it fails the same way."""
    film, one = {"benefit": "video/film"}, {"debits.0.owed": 1}
    await example.database["entries"].update_one(film, {"$inc": one})
    for _ in range(2):
        with pytest.raises(FiguresDisagree):
            await example.settle().close(1)
    await example.database["entries"].update_one(film, {"$inc": {"debits.0.owed": -1}})
    period = await example.settle().close(1)
    assert period.statements == 3
    await example.prove()


async def test_late_is_before_the_period_before_was_marked(example: World) -> None:
    """A line is late if its entry is older than the mark of the period before; in the first period none is."""
    settlement = example.settle()
    await settlement.close(1)
    await example.award("video", "eve", 1000)
    await example.redeem("video", "eve", "rides/city")
    # As if the clock had been set back between the mark and the redemption.
    marked = await server_time(example.database) + timedelta(minutes=1)
    await example.database["periods"].update_one({"_id": 1}, {"$set": {"marked_at": marked}})
    await settlement.close(2)
    for number, late in ((1, False), (2, True)):
        statement = await settlement.statement(f"{number}:rides")
        assert statement is not None
        assert {line.late for line in await settlement.lines(statement)} == {late}
        said = json.loads(b"".join([piece async for piece in settlement.document(statement)]))
        assert {line["late"] for line in said["lines"]} == {late}


async def test_lines_come_from_the_index(example: World) -> None:
    """However many lines there are, a page reads its own entries: no sort in memory, no scan."""
    settlement = example.settle()
    await settlement.close(1)
    statement, _ = await document(example)
    first = await settlement.lines(statement, limit=3)
    await example.database.command("profile", 2)
    assert len(await settlement.lines(statement, first[-1].place, 2)) == 2
    await settlement.draft_statements(1)
    await example.database.command("profile", 0)
    finds = await example.database["system.profile"].find({"op": "query", "ns": {"$regex": "entries$"}}).to_list(None)
    assert finds
    for find in finds:
        assert "IXSCAN { settles: 1" in find["planSummary"]
        assert not find.get("hasSortStage")
        assert find["keysExamined"] <= find["nreturned"] + 4
