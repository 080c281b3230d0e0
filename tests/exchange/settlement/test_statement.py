from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from exchange.amounts import Money
from exchange.errors import FiguresDisagree
from exchange.journal import LineKind, milliseconds
from exchange.settlement.period import Range
from exchange.settlement.statement import Statement, StatementLine, line_bytes
from exchange.store.connection import server_time
from exchange.store.lines import Lines
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


TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.builds(
        StatementLine, entry=TEXTS.filter(bool), at=st.datetimes(timezones=st.just(UTC)), benefit=TEXTS,
        kind=st.sampled_from(LineKind), counterparty=TEXTS.filter(bool), points=st.integers(),
        gross=st.builds(Money, st.integers(), st.sampled_from(["EUR", "JPY"])),
        fee=st.builds(Money, st.integers(), st.just("EUR")), late=st.booleans(), place=st.none(),
    )
)  # fmt: skip
def test_a_line_is_what_an_encoder_makes_of_it(line: StatementLine) -> None:
    """Lines are put together by hand, and are RFC 8785's form of what they say."""
    assert line_bytes(line) == rfc8785.dumps({
        "entry": line.entry, "at": milliseconds(line.at), "kind": line.kind.value, "benefit": line.benefit,
        "counterparty": line.counterparty, "points": str(line.points), "gross": str(line.gross.minor),
        "fee": str(line.fee.minor), "net": str(line.net.minor), "currency": line.currency, "late": line.late,
    })  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 2, 3, 1000])
async def test_lanes_are_merged_by_time(example: World, at_once: int) -> None:
    """Lines of several lanes are in the order of their times, however few of a lane are read at a time."""
    await example.settle().close(1)
    entries = example.database["entries"]
    settling = await entries.find({"settles": {"$exists": True}}).sort([("seq", 1), ("index", 1)]).to_list(None)
    chance = random.Random(at_once)  # noqa: S311
    for lane in (7, 8):
        at = settling[0]["at"]
        for n, like in enumerate(settling * 3):
            at += timedelta(milliseconds=chance.randrange(3))
            # Blocks of up to four entries.
            place = {"lane": lane, "seq": n // 4, "index": n % 4, "at": at}
            await entries.insert_one(like | place | {"_id": f"{lane}/{n}"}, bypass_document_validation=True)
    ranges = [Range(lane, 0, 10_000, "") for lane in (1, 7, 8)]
    merged = [each async for some in Lines(example.database, at_once).of(1, ranges) for each in some]
    ordered = await entries.find({"settles": {"$exists": True}, "period": 1}).sort(
        [("at", 1), ("lane", 1), ("seq", 1), ("index", 1)]
    ).to_list(None)  # fmt: skip
    assert [each.entry.id for each in merged] == [row["_id"] for row in ordered]
    assert [each.partners for each in merged] == [row["settles"] for row in ordered]


async def test_times_that_go_back_are_found(example: World) -> None:
    """An entry that says it is older than the one before it in its lane was altered: nothing is drafted."""
    long_ago = {"$set": {"at": datetime(2020, 1, 1, tzinfo=UTC)}}
    last = {"settles": {"$exists": True}}
    found = await example.database["entries"].find_one_and_update(last, long_ago, sort=[("seq", -1), ("index", -1)])
    assert found is not None
    with pytest.raises(FiguresDisagree, match=f"lane {found['lane']} go back in block {found['seq']}"):
        await example.settle().close(1)
    assert await example.settle().statements(1) == []


async def test_entries_outside_the_blocks_are_found(example: World) -> None:
    """An entry put into the period beside its blocks would be in the statement's document: nobody has a draft of it."""
    entry = await example.database["entries"].find_one(RIDES)
    assert entry is not None
    await example.database["entries"].insert_one(
        entry | {"_id": "beside", "lane": 77}, bypass_document_validation=True
    )  # fmt: skip
    with pytest.raises(FiguresDisagree) as raised:
        await example.settle().close(1)
    assert [line.split()[1] for line in raised.value.message.splitlines()] == [f"1:{each}" for each in entry["settles"]]
    assert "1 of its entries are in no block" in raised.value.message
