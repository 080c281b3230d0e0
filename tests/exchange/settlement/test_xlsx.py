from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from openpyxl import Workbook, load_workbook

from exchange.amounts import decimal_from_minor
from exchange.errors import ValidationFailed
from exchange.journal import LineKind
from exchange.settlement.export.xlsx import COLUMNS, write
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import Written, closed, file_of, line, of

ROW = re.compile(r"(SUMIFS|COUNTIFS)\(([^)]*)\)")
CELLS = re.compile(r"'([^']+)'!\$([A-Z])\$(\d+):\$\2\$(\d+)")
FEW = of(
    line(points=1000, gross=800, fee=12), line(points=-300, gross=-240, fee=-4, kind=LineKind.REVERSAL),
    line(points=0, gross=-24, kind=LineKind.COMMISSION, counterparty="news"),
    line(points=-9, gross=-15, currency="JPY"), line(points=1, gross=1, currency="KWD"),
)  # fmt: skip


async def book_of(written: Written, **options: Any) -> tuple[Workbook, Workbook]:
    """Write the file and open it twice: with its formulas, and with their values."""
    data = await file_of(partial(write, **options), written)
    return load_workbook(io.BytesIO(data)), load_workbook(io.BytesIO(data), data_only=True)


def figure(cell: Any) -> Decimal:
    """Return a cell's number, by its shortest decimal."""
    assert cell.data_type == "n"
    return Decimal(repr(cell.value))


def line_cells(book: Workbook) -> Iterator[dict[str, Any]]:
    for name in book.sheetnames[1:]:
        for row in book[name].iter_rows(min_row=2):
            yield dict(zip([name for name, _ in COLUMNS], row, strict=True))


def calculated(book: Workbook, formula: str) -> Decimal:
    """Calculate one of our sums from the cells of the lines, as a spreadsheet would; rounding left out."""
    total = Decimal(0)
    for function, arguments in ROW.findall(formula):
        parts = arguments.split(",")
        summed = _column(book, parts.pop(0)) if function == "SUMIFS" else None
        conditions = [
            (_column(book, cells), book["Statement"][own.replace("$", "")].value)
            for cells, own in zip(parts[::2], parts[1::2], strict=True)
        ]
        for row in range(len(conditions[0][0])):
            if all(cells[row].value == wanted for cells, wanted in conditions):
                total += 1 if summed is None else figure(summed[row])
    return total


def _column(book: Workbook, cells: str) -> list[Any]:
    found = CELLS.fullmatch(cells)
    assert found, cells
    sheet, letter, first, last = found.groups()
    return [book[sheet][f"{letter}{row}"] for row in range(int(first), int(last) + 1)]


async def test_every_figure_is_a_number_in_its_cell(example: World) -> None:
    """Another program reads points and money of every line as the statement has them, times as times, names as text."""
    rides = await closed(example)
    book, _ = await book_of(rides)
    assert book.sheetnames == ["Statement", "Lines"]
    rows = list(line_cells(book))
    assert len(rows) == len(rides.lines) == 10
    for number, (row, told) in enumerate(zip(rows, rides.lines, strict=True), 1):
        assert (row["line"].value, row["points"].value, row["late"].value) == (number, told.points, told.late)
        texts = ("entry", "kind", "benefit", "counterparty", "currency")
        assert [row[name].value for name in texts] == [getattr(told, name) for name in texts]
        assert row["at (UTC)"].value == told.at.replace(tzinfo=None)
        for name in ("gross", "fee", "net"):
            assert figure(row[name]) == Decimal(decimal_from_minor(*getattr(told, name)))
    assert book["Lines"].freeze_panes == "A2"


async def test_the_sums_are_formulas_over_the_lines(example: World) -> None:
    """Each gives what the lines add up to, and carries that value; beside it stands what the statement says."""
    rides = await closed(example)
    book, values = await book_of(rides)
    sheet = book["Statement"]
    told = {total.currency: total for total in rides.subject.statement.totals}
    for row in (10, 11):
        total = told.pop(str(sheet.cell(row, 1).value))
        sums = [calculated(book, str(sheet.cell(row, column).value)) for column in (2, 3, 4)]
        gross = total.receivable.minor - total.payable.minor
        expected = [Decimal(decimal_from_minor(m, total.currency)) for m in (gross, total.fees.minor, total.net.minor)]
        assert sums == expected == [figure(values["Statement"].cell(row, column)) for column in (2, 3, 4)]
        assert [figure(sheet.cell(row, column)) for column in (5, 6, 7, 8)] == [
            Decimal(decimal_from_minor(*each)) for each in (total.payable, total.receivable, total.fees, total.net)
        ]
        digits = 2 if total.currency == "EUR" else 0
        assert sheet.cell(row, 9).value == f"=ROUND(D{row}-H{row},{digits})"
    assert told == {}


@pytest.mark.parametrize("lines_max", [1_048_575, 2, 1])
async def test_lines_go_on_to_the_next_sheet(lines_max: int) -> None:
    """Where one sheet is full another one follows, and the sums are over all of them, under every heading."""
    book, values = await book_of(FEW, lines_max=lines_max)
    assert len(book.sheetnames) == 1 + -(-5 // min(lines_max, 5))
    assert [row["line"].value for row in line_cells(book)] == [1, 2, 3, 4, 5]
    sheet = book["Statement"]
    rows = [
        [
            *(sheet.cell(row, column).value for column in (1, 2, 3)),
            *(str(calculated(book, str(sheet.cell(row, column).value))) for column in range(4, 9)),
        ]
        for row in range(16, 21)
    ]
    assert rows == [
        ["EUR", "COMMISSION", "news", "1", "0", "-0.24", "0", "-0.24"],
        ["EUR", "REDEMPTION", "video", "1", "1000", "8", "0.12", "7.88"],
        ["EUR", "REVERSAL", "video", "1", "-300", "-2.4", "-0.04", "-2.36"],
        ["JPY", "REDEMPTION", "video", "1", "-9", "-15", "0", "-15"],
        ["KWD", "REDEMPTION", "video", "1", "1", "0.001", "0", "0.001"],
    ]
    told = values["Statement"]
    for row in range(16, 21):
        for column in range(4, 9):
            assert calculated(book, str(sheet.cell(row, column).value)) == figure(told.cell(row, column))


async def test_it_states_what_it_is(example: World) -> None:
    """Id, hash and period: on the sheet, on every printed page, and among the document's properties."""
    rides = await closed(example)
    statement = rides.subject.statement
    book, _ = await book_of(rides)
    sheet = book["Statement"]
    assert [sheet[cell].value for cell in ("A1", "B3", "B4", "B5")] == [
        "Statement 1:rides", "rides", statement.hash, 1,
    ]  # fmt: skip
    properties = {each.name: each.value for each in getattr(book, "custom_doc_props").props}  # noqa: B009 - no stub
    assert properties == {"statement": "1:rides", "hash": statement.hash, "period": 1}
    for each in book.worksheets:
        footer: Any = each.oddFooter
        assert footer.left.text == f"Statement 1:rides, period 1, hash {statement.hash}"
        assert footer.right.text == "&P of &N"


@pytest.mark.parametrize(
    "name", ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", "{=1}", "http://x", "1"]
)
async def test_no_text_is_a_formula(name: str) -> None:
    """Whatever a partner calls its benefit, the cell is text, unchanged."""
    book, _ = await book_of(of(line(benefit=name, entry=name)))
    (row,) = line_cells(book)
    assert [(row[cell].data_type, row[cell].value) for cell in ("benefit", "entry")] == [("s", name), ("s", name)]
    assert row["benefit"].hyperlink is None


@pytest.mark.parametrize(
    ("locale", "formats"),
    [
        ("en", ['"€"#,##0.00;"-€"#,##0.00', '"¥"#,##0;"-¥"#,##0']),
        ("de", ['#,##0.00"\xa0€";"-"#,##0.00"\xa0€"', '#,##0"\xa0¥";"-"#,##0"\xa0¥"']),
        ("de-CH", ['"EUR\xa0"#,##0.00;"EUR-"#,##0.00', '"¥\xa0"#,##0;"¥-"#,##0']),
    ],
)
async def test_money_looks_as_the_locale_has_it(locale: str, formats: list[str], example: World) -> None:
    """The currency's sign stands where it stands in the reader's country, behind the currency's own digits."""
    rides = await closed(example)
    rides.subject = replace(rides.subject, locale=locale)
    book, _ = await book_of(rides)
    seen = {row["currency"].value: row["net"].number_format for row in line_cells(book)}
    assert [seen[code] for code in ("EUR", "JPY")] == formats


async def test_a_figure_that_a_spreadsheet_would_change_is_refused() -> None:
    """Fifteen digits come back as they were; with the sixteenth the file is refused, and says what to take."""
    most = 999_999_999_999_999
    book, _ = await book_of(of(line(points=-most, gross=-most)))
    (row,) = line_cells(book)
    assert (row["points"].value, figure(row["gross"])) == (-most, Decimal("-9999999999999.99"))
    for beyond in (line(points=most + 1), line(gross=-most - 1)):
        with pytest.raises(ValidationFailed, match="more than the 15 digits that a spreadsheet holds: take csv"):
            await book_of(of(beyond))


async def test_the_same_statement_gives_the_same_bytes() -> None:
    """However often it is written: the file's time is that of the period."""
    first, second = await file_of(write, FEW), await file_of(write, FEW)
    assert first == second
    assert load_workbook(io.BytesIO(first)).properties.created == datetime(2026, 3, 1, 12)  # noqa: DTZ001 - as it is told


async def test_a_statement_without_lines_is_a_workbook() -> None:
    """With its header, and no sums."""
    book, _ = await book_of(of())
    assert list(line_cells(book)) == []


async def test_what_ends_half_way_leaves_nothing() -> None:
    """A reader of the journal that fails is told of as it is."""

    async def broken() -> AsyncIterator[Any]:
        yield line()
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is this one
        [piece async for piece in write(FEW.subject, broken())]
