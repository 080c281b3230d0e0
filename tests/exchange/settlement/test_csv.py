from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from exchange.amounts import Money
from exchange.journal import LineKind
from exchange.settlement.export.csv import COLUMNS, csv_rows
from exchange.settlement.statement import Place, Statement, StatementLine
from tests.exchange.settlement.conftest import World

AT = datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=UTC)
STATEMENT = Statement(
    id="7:rides", period=7, partner="rides", root="r", totals=(), line_count=1, hash="ab",
)  # fmt: skip


def line(*, entry: str = "e1", benefit: str | None = "rides/city") -> StatementLine:
    return StatementLine(
        entry=entry, at=AT, kind=LineKind.REDEMPTION, benefit=benefit, counterparty="video", points=-1000,
        gross=Money(-5, "EUR"),
        fee=Money(0, "EUR"), late=True, place=Place(AT, 1, 1, 0, 0),
    )  # fmt: skip


async def written(*lines: StatementLine) -> str:
    async def stream() -> AsyncIterator[StatementLine]:
        for each in lines:
            yield each

    return "".join([row async for row in csv_rows(STATEMENT, stream())])


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_what_is_written_can_be_read(example: World) -> None:
    """The csv module reads back every line of a real statement, figure for figure, and the nets give the position."""
    settlement = example.settle()
    await settlement.close(1)
    statement = await settlement.statement("1:rides")
    assert statement is not None
    rows = read("".join([row async for row in settlement.csv(statement)]))
    lines = await settlement.lines(statement)
    assert [
        (r["line"], r["entry"].removeprefix("'"), r["kind"], r["benefit"], r["counterparty"], r["points"], r["late"])
        for r in rows
    ] == [
        (str(n), ln.entry, ln.kind, ln.benefit, ln.counterparty, str(ln.points), "false")
        for n, ln in enumerate(lines, 1)
    ]  # fmt: skip
    assert [(r["gross"], r["fee"], r["net"], r["currency"]) for r in rows[:2] + rows[-1:]] == [
        ("1.67", "0.03", "1.64", "EUR"),
        ("-0.04", "0.00", "-0.04", "EUR"),
        ("-15", "0", "-15", "JPY"),
    ]
    assert sum(round(100 * float(r["net"])) for r in rows if r["currency"] == "EUR") == 884
    assert {(r["statement"], r["hash"], r["period"]) for r in rows} == {("1:rides", statement.hash, "1")}


async def test_the_form_is_rfc_4180() -> None:
    """One header, CRLF after every row, quotes doubled; times in UTC with milliseconds."""
    text = await written(line(benefit='rides/"a, b"'))
    assert text == (
        ",".join(COLUMNS) + "\r\n"
        '7:rides,ab,7,1,e1,2026-03-01T12:00:00.005Z,REDEMPTION,"rides/""a, b""",video,'
        "-1000,-0.05,0.00,-0.05,EUR,true\r\n"
    )


async def test_a_statement_without_lines_is_its_header() -> None:
    """Nothing happened: the columns alone."""
    assert await written() == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_no_cell_is_a_formula(start: str) -> None:
    """A text that a spreadsheet would run gets an apostrophe in front; a negative number stays a number."""
    (row,) = read(await written(line(entry=f"{start}cmd|' /C calc'!A0", benefit=f'{start}HYPERLINK("x")')))
    assert row["entry"] == f"'{start}cmd|' /C calc'!A0"
    assert row["benefit"] == f'\'{start}HYPERLINK("x")'
    assert (row["points"], row["gross"], row["net"]) == ("-1000", "-0.05", "-0.05")


async def test_no_benefit_is_an_empty_cell() -> None:
    """What is not there is empty, not a word."""
    (row,) = read(await written(line(benefit=None)))
    assert row["benefit"] == ""
