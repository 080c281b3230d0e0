"""A statement as a workbook (Office Open XML): a sheet that sums it up, and the lines.

Cells are typed: amounts and points are numbers, times are dates (UTC, which a workbook has no word for, so the header
says it), and all else is text, whatever it begins with, so that no name is ever run as a formula. The only formulas are
ours: the sums on the first sheet are made of the lines, and stand beside what the statement says, with the difference,
which is nothing.

A spreadsheet calculates with fifteen digits. A figure that has more would be another one there, so it is refused. For
the same reason sums are rounded to the currency's digits: binary fractions of a million amounts add up to noise.

XlsxWriter writes each sheet to a temporary file, row by row (`constant_memory`), and packs them at the end. A sheet has
1,048,576 rows at most; more lines go to `Lines 2`, and so on.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC
from decimal import Decimal
from typing import Final

from babel import Locale
from xlsxwriter import Workbook
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from exchange.amounts import Money, decimal_from_minor, exponent
from exchange.errors import ValidationFailed
from exchange.settlement.export import Heading, Subject, Summary
from exchange.settlement.export.locales import cell_format, locale_of
from exchange.settlement.statement import StatementLine

LINES_MAX: Final = 1_048_575
"""Of one sheet, under its header."""

DIGITS_MAX: Final = 15
COLUMNS: Final = (
    ("line", 8), ("entry", 30), ("at (UTC)", 23), ("kind", 13), ("benefit", 28), ("counterparty", 16), ("points", 12),
    ("gross", 14), ("fee", 12), ("net", 14), ("currency", 9), ("late", 6),
)  # fmt: skip
"""The names of the columns of lines, and their widths in characters."""

_LETTERS: Final = {name: chr(ord("A") + index) for index, (name, _) in enumerate(COLUMNS)}
_CHUNK: Final = 65_536


async def write(
    subject: Subject, lines: AsyncIterator[StatementLine], lines_max: int = LINES_MAX
) -> AsyncIterator[bytes]:
    """Yield the file, when all lines are in it. `lines_max`: of one sheet."""
    with tempfile.TemporaryFile() as file:
        # Whatever a text looks like, it stays one.
        book = Workbook(file, {
            "constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False,
            "strings_to_numbers": False,
        })  # fmt: skip
        try:
            await _Pages(book, subject, lines_max).fill(lines)
        finally:
            await asyncio.to_thread(book.close)  # packs the sheets: seconds, of a large statement
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk


class _Pages:
    """The sheets of one workbook, and how their cells look."""

    def __init__(self, book: Workbook, subject: Subject, lines_max: int) -> None:
        self._book = book
        self._subject = subject
        self._lines_max = lines_max
        self._locale: Locale = locale_of(subject.locale)
        self._bold = book.add_format({"bold": True})
        self._title = book.add_format({"bold": True, "font_size": 16})
        self._header = book.add_format({"bold": True, "bottom": 1, "bg_color": "#E8EEF4"})
        self._count = book.add_format({"num_format": "#,##0"})
        self._moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        self._money: dict[str, Format] = {}
        self._first = book.add_worksheet("Statement")
        self._sheets = [self._lines_sheet(name) for name in self._names()]

    async def fill(self, lines: AsyncIterator[StatementLine]) -> None:
        """Write everything; the first sheet last, as its sums have headings that only the lines tell."""
        self._describe()
        summary = Summary()
        number = 0
        async for line in lines:
            summary.add(line)
            index, row = divmod(number, self._lines_max)
            number += 1
            self._line(self._sheets[index], row + 1, number, line)
        for sheet in self._sheets:
            sheet.autofilter(0, 0, min(number, self._lines_max), len(COLUMNS) - 1)
        self._sum_up(summary)

    # ------------------------------------------------------------ lines

    def _names(self) -> list[str]:
        more = max(0, self._subject.statement.line_count - 1) // self._lines_max
        return ["Lines", *(f"Lines {number + 2}" for number in range(more))]

    def _lines_sheet(self, name: str) -> Worksheet:
        sheet = self._book.add_worksheet(name)
        for column, (_, width) in enumerate(COLUMNS):
            sheet.set_column(column, column, width)
        sheet.freeze_panes(1, 0)
        sheet.repeat_rows(0)
        self._print(sheet)
        for column, (title, _) in enumerate(COLUMNS):
            sheet.write_string(0, column, title, self._header)
        return sheet

    def _line(self, sheet: Worksheet, row: int, number: int, line: StatementLine) -> None:
        money = self._money_format(line.currency)
        sheet.write_number(row, 0, number)
        sheet.write_string(row, 1, line.entry)
        sheet.write_datetime(row, 2, line.at.astimezone(UTC).replace(tzinfo=None), self._moment)
        sheet.write_string(row, 3, line.kind)
        sheet.write_string(row, 4, line.benefit or "")
        sheet.write_string(row, 5, line.counterparty)
        sheet.write_number(row, 6, _points(line.points), self._count)
        for column, amount in enumerate((line.gross, line.fee, line.net), start=7):
            sheet.write_number(row, column, _number(amount), money)
        sheet.write_string(row, 10, line.currency)
        sheet.write_boolean(row, 11, line.late)

    # ------------------------------------------------------------ the first sheet

    def _describe(self) -> None:
        told, period = self._subject.statement, self._subject.period
        self._book.set_properties({
            "title": f"Statement {told.id}", "subject": f"Period {told.period}, hash {told.hash}",
            "created": self._subject.closed_at.astimezone(UTC).replace(tzinfo=None),
        })  # fmt: skip
        for name, value in (("statement", told.id), ("hash", told.hash), ("period", told.period)):
            self._book.set_custom_property(name, value)
        sheet = self._first
        sheet.set_column(0, 0, 16)
        sheet.set_column(1, 9, 15)
        sheet.hide_gridlines(2)
        self._print(sheet)
        sheet.write_string(0, 0, f"Statement {told.id}", self._title)
        for row, (name, text) in enumerate((("partner", told.partner), ("hash", told.hash)), start=2):
            sheet.write_string(row, 0, name, self._bold)
            sheet.write_string(row, 1, text)
        sheet.write_string(4, 0, "period", self._bold)
        sheet.write_number(4, 1, told.period)
        for row, (name, moment) in enumerate((("from (UTC)", period.opened_at), ("to (UTC)", period.closed_at)), 5):
            if moment is not None:
                sheet.write_string(row, 0, name, self._bold)
                sheet.write_datetime(row, 1, moment.astimezone(UTC).replace(tzinfo=None), self._moment)

    def _sum_up(self, summary: Summary) -> None:
        row = 8
        self._row(row, ("currency", "gross", "fees", "net", "payable", "receivable", "fees", "net", "difference"))
        for total in self._subject.statement.totals:
            row += 1
            under = {"currency": f"$A{row + 1}"}
            sums = (
                ("gross", total.receivable.minor - total.payable.minor), ("fee", total.fees.minor),
                ("net", total.net.minor),
            )  # fmt: skip
            said = (total.payable, total.receivable, total.fees, total.net)
            money = self._money_format(total.currency)
            self._first.write_string(row, 0, total.currency)
            for column, (name, minor) in enumerate(sums, start=1):
                self._sum(row, column, name, Money(minor, total.currency), under)
            for column, amount in enumerate(said, start=4):
                self._first.write_number(row, column, _number(amount), money)
            digits = exponent(total.currency)
            self._first.write_formula(row, 8, f"=ROUND(D{row + 1}-H{row + 1},{digits})", money, 0)
        self._first.write_string(
            row + 1, 0, "gross, fees and net are added up from the lines; the columns behind them are the statement's"
        )
        row += 3
        self._row(row, ("currency", "kind", "counterparty", "lines", "points", "gross", "fees", "net"))
        for heading, figures in summary.rows():
            row += 1
            self._heading(row, heading)
            under = {"currency": f"$A{row + 1}", "kind": f"$B{row + 1}", "counterparty": f"$C{row + 1}"}
            self._first.write_formula(row, 3, self._over("COUNTIFS", "", under), self._count, figures.lines)
            points = f"={self._over('SUMIFS', 'points', under)}"
            self._first.write_formula(row, 4, points, self._count, _points(figures.points))
            net = figures.gross_minor - figures.fee_minor
            for column, (name, minor) in enumerate(
                (("gross", figures.gross_minor), ("fee", figures.fee_minor), ("net", net)), start=5
            ):
                self._sum(row, column, name, Money(minor, heading.currency), under)

    def _heading(self, row: int, heading: Heading) -> None:
        for column, text in enumerate(heading):
            self._first.write_string(row, column, text)

    def _row(self, row: int, titles: tuple[str, ...]) -> None:
        for column, title in enumerate(titles):
            self._first.write_string(row, column, title, self._header)

    def _sum(self, row: int, column: int, name: str, amount: Money, under: dict[str, str]) -> None:
        """Write a sum over the lines, with its value for whoever does not calculate."""
        formula = f"=ROUND({self._over('SUMIFS', name, under)},{exponent(amount.currency)})"
        self._first.write_formula(row, column, formula, self._money_format(amount.currency), _number(amount))

    def _over(self, function: str, name: str, under: dict[str, str]) -> str:
        """Return a function over a column of all sheets of lines, where other columns are what cells say."""
        left = self._subject.statement.line_count
        parts = []
        for sheet in self._names():
            last = max(1, min(left, self._lines_max)) + 1
            left -= self._lines_max
            columns = ([name] if name else []), [*under]
            summed, conditions = (
                [f"'{sheet}'!${_LETTERS[each]}$2:${_LETTERS[each]}${last}" for each in named] for named in columns
            )
            pairs = (each for pair in zip(conditions, under.values(), strict=True) for each in pair)
            parts.append(f"{function}({','.join([*summed, *pairs])})")
        return "+".join(parts)

    # ------------------------------------------------------------ how it looks

    def _money_format(self, currency: str) -> Format:
        if currency not in self._money:
            self._money[currency] = self._book.add_format({"num_format": cell_format(currency, self._locale)})
        return self._money[currency]

    def _print(self, sheet: Worksheet) -> None:
        told = self._subject.statement
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.set_footer(f"&L&8Statement {told.id}, period {told.period}, hash {told.hash}&R&8&P of &N")


def _points(points: int) -> int:
    if abs(points) >= 10**DIGITS_MAX:
        raise _too_long(str(points))
    return points


def _number(amount: Money) -> float:
    if abs(amount.minor) >= 10**DIGITS_MAX:
        raise _too_long(decimal_from_minor(*amount))
    return float(Decimal(decimal_from_minor(*amount)))  # the nearest there is; fifteen digits come back unchanged


def _too_long(figure: str) -> ValidationFailed:
    return ValidationFailed(f"{figure} has more than the {DIGITS_MAX} digits that a spreadsheet holds: take csv")
