from __future__ import annotations

import csv
import io

import pytest

from exchange.settlement.export.csv import COLUMNS, write
from exchange.settlement.statement import StatementLine
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import closed, file_of, line, of


async def written(*lines: StatementLine) -> str:
    return (await file_of(write, of(*lines))).decode()


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_what_is_written_can_be_read(example: World) -> None:
    """The csv module reads back every line of a real statement, figure for figure, and the nets give the position."""
    rides = await closed(example)
    statement, lines = rides.subject.statement, rides.lines
    rows = read((await file_of(write, rides)).decode())
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


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
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
