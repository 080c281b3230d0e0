"""A statement as a document that one would send: under the operator's letterhead, to the partner, with page numbers.

It says first who has to pay what, then how that comes about: by currency, by kind and counterparty, with a chart; and
then the lines, if there are no more than somebody would read. Of a statement with more it says how many there are, and
that the other files of it have them: so its size, and what it takes to write, has a bound.

The statement's id is the document's number, and the invoice's for the fees: there is one for each partner and period,
and none is ever given again. Names, addresses and tax numbers are the parties' own particulars as they are today; so is
how far the statement has come. The figures are the statement's.

Text is set in Bitstream Vera, which is embedded. What that has no letters for (Greek, Cyrillic, Chinese) is set in
STSong, which the reader's viewer has to bring along, as most do. ReportLab was chosen for its licence (BSD), its charts
and its few dependencies; fpdf2 is typed, but LGPL, without charts, and has no font of its own with a euro sign.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import IO, Any, Final, Literal
from xml.sax.saxutils import escape

from reportlab.graphics.charts.barcharts import HorizontalBarChart
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, LongTable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from exchange.amounts import Money
from exchange.particulars import Particulars
from exchange.settlement.export import Subject, Summary
from exchange.settlement.export.locales import amount_text, day_text, locale_of, moment_text, money_text, number_text
from exchange.settlement.netting import Position
from exchange.settlement.statement import StatementLine

LINES_MAX: Final = 2_000
"""Some forty pages. Of a statement with more lines the document has none."""

_BARS_MAX: Final = 8
_BAR: Final = 6 * mm
_TEXT, _BOLD, _OTHER = "Vera", "VeraBd", "STSong-Light"
_INK, _PALE, _GAIN, _LOSS = HexColor("#1F2A37"), HexColor("#E8EEF4"), HexColor("#2F6F8F"), HexColor("#B4553A")
_MARGIN: Final = 15 * mm
_WIDTH: Final = A4[0] - 2 * _MARGIN
_PADDING: Final = 6  # of the library's own frame
_PAGES: Final = "pages"
_CHUNK: Final = 65_536

_LETTERS = TTFont(_TEXT, "Vera.ttf")
pdfmetrics.registerFont(_LETTERS)
pdfmetrics.registerFont(TTFont(_BOLD, "VeraBd.ttf"))
pdfmetrics.registerFontFamily(_TEXT, normal=_TEXT, bold=_BOLD, italic=_TEXT, boldItalic=_BOLD)
pdfmetrics.registerFont(UnicodeCIDFont(_OTHER))

_BODY = ParagraphStyle("body", fontName=_TEXT, fontSize=9, leading=13, textColor=_INK)
_SMALL = ParagraphStyle("small", parent=_BODY, fontSize=7, leading=9)
_FIGURE = ParagraphStyle("figure", parent=_SMALL, alignment=TA_RIGHT)
_HEAD = ParagraphStyle("head", parent=_SMALL, fontName=_BOLD)
_HEAD_FIGURE = ParagraphStyle("head of figures", parent=_HEAD, alignment=TA_RIGHT)
_TITLE = ParagraphStyle("title", parent=_BODY, fontName=_BOLD, fontSize=18, leading=24)
_SECTION = ParagraphStyle("section", parent=_BODY, fontName=_BOLD, fontSize=11, leading=16, spaceBefore=10)
_AMOUNT = ParagraphStyle("amount", parent=_BODY, fontName=_BOLD, fontSize=12, leading=18)
_LETTERHEAD = ParagraphStyle("letterhead", parent=_BODY, alignment=TA_RIGHT)
_GRID = TableStyle([
    ("BACKGROUND", (0, 0), (-1, 0), _PALE), ("LINEBELOW", (0, 0), (-1, -1), 0.25, _PALE),
    ("VALIGN", (0, 0), (-1, -1), "TOP"), ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ("LEFTPADDING", (0, 0), (-1, -1), 2), ("RIGHTPADDING", (0, 0), (-1, -1), 2),
])  # fmt: skip
_PLAIN = TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])


async def write(
    subject: Subject, lines: AsyncIterator[StatementLine], lines_max: int = LINES_MAX
) -> AsyncIterator[bytes]:
    """Yield the file, when all lines are in it. `lines_max`: the most that are listed."""
    listed = subject.statement.line_count <= lines_max
    kept: list[StatementLine] = []
    summary = Summary()
    async for line in lines:
        summary.add(line)
        if listed:
            kept.append(line)
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(_Letter(subject).set, file, summary, kept)
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk


class _Letter:
    """One document."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._statement = subject.statement
        self._locale = locale_of(subject.locale)

    def set(self, file: IO[bytes], summary: Summary, lines: Sequence[StatementLine]) -> None:
        """Write the document to a file."""
        told = self._statement
        document = SimpleDocTemplate(
            file, pagesize=A4, leftMargin=_MARGIN - _PADDING, rightMargin=_MARGIN - _PADDING, topMargin=_MARGIN,
            bottomMargin=20 * mm,
            title=f"Statement {told.id}", author=self._subject.operator.name, creator="Benefits Exchange",
            subject=f"Period {told.period}, hash {told.hash}", lang="en", invariant=1,
        )  # fmt: skip
        story: list[Flowable] = [
            *self._letterhead(), *self._sums(), *self._charts(summary), *self._summed_up(summary), *self._lines(lines),
        ]  # fmt: skip
        foot = partial(_foot, self._subject)
        document.build(story, onFirstPage=foot, onLaterPages=foot, canvasmaker=_Numbered)

    # ------------------------------------------------------------ the first page

    def _letterhead(self) -> Iterable[Flowable]:
        told, period, locale = self._statement, self._subject.period, self._locale
        yield Paragraph("<br/>".join(_address(self._subject.operator)), _LETTERHEAD)
        yield Spacer(0, 8 * mm)
        yield Paragraph("<br/>".join(_address(self._subject.partner)), _BODY)
        yield Spacer(0, 10 * mm)
        yield Paragraph(f"Statement {_set(told.id)}", _TITLE)
        since, until = moment_text(period.opened_at, locale), moment_text(self._subject.closed_at, locale)
        facts = [
            ("Number of the statement and invoice", told.id),
            ("Partner", told.partner),
            ("Period", f"{told.period}: {since} to {until} (UTC)"),
            ("Date", day_text(self._subject.closed_at, locale)),
            ("Status", told.status.value.lower()),
            ("Hash", told.hash),
        ]  # fmt: skip
        cells = [[Paragraph(name, _HEAD), Paragraph(_set(text), _SMALL)] for name, text in facts]
        yield Table(cells, [60 * mm, _WIDTH - 60 * mm], style=_PLAIN, hAlign="LEFT")
        yield Spacer(0, 4 * mm)
        owed = [total for total in told.totals if total.net.minor]
        for total in owed:
            yield Paragraph(_set(self._to_pay(total)), _AMOUNT)
        if not owed:
            yield Paragraph("Nothing is to be paid.", _AMOUNT)
        yield from self._accounts()

    def _to_pay(self, total: Position) -> str:
        side = "to" if total.net.minor > 0 else "by"
        amount = money_text(Money(abs(total.net.minor), total.currency), self._locale)
        paid = [each for each in self._statement.standing.paid if each.currency == total.currency]
        so_far = "".join(f", of which {money_text(each, self._locale)} was paid" for each in paid)
        return f"To be paid {side} {self._subject.partner.name}: {amount}{so_far}"

    def _accounts(self) -> Iterable[Flowable]:
        nets = [total.net.minor for total in self._statement.totals]
        for party, paid in ((self._subject.partner, max(nets, default=0) > 0),
                            (self._subject.operator, min(nets, default=0) < 0)):  # fmt: skip
            if paid and party.iban:
                bank = f", BIC {party.bic}" if party.bic else ""
                yield Paragraph(_set(f"Account of {party.name}: IBAN {_in_fours(party.iban)}{bank}"), _BODY)

    def _sums(self) -> Iterable[Flowable]:
        yield Paragraph("What it comes to", _SECTION)
        rows = [
            [total.currency, *(amount_text(each, self._locale) for each in
                               (total.receivable, total.payable, total.fees, total.net))]
            for total in self._statement.totals
        ]  # fmt: skip
        header = ("Currency", "Receivable", "Payable", "Fees", "Net")
        yield _table(header, rows, (20, 40, 40, 40, 40), figures=range(1, 5))
        yield Paragraph("Net = receivable - payable - fees. The fees are what the exchange charges.", _SMALL)

    # ------------------------------------------------------------ how it comes about

    def _charts(self, summary: Summary) -> Iterable[Flowable]:
        for total in self._statement.totals:
            nets: dict[str, int] = {}
            for heading, figures in summary.rows():
                if heading.currency == total.currency:
                    net = figures.gross_minor - figures.fee_minor
                    nets[heading.counterparty] = nets.get(heading.counterparty, 0) + net
            if any(nets.values()):
                yield self._chart(total.currency, nets)

    def _chart(self, currency: str, nets: dict[str, int]) -> Drawing:
        """Draw the net with each counterparty as a bar, the longest on top; more than can be read are one."""
        bars = sorted(nets.items(), key=lambda bar: -abs(bar[1]))
        if len(bars) > _BARS_MAX:
            rest = bars[_BARS_MAX - 1 :]
            bars = [*bars[: _BARS_MAX - 1], (f"{len(rest)} others", sum(net for _, net in rest))]
        bars.reverse()  # they are drawn upwards
        height = _BAR * len(bars)
        drawing = Drawing(_WIDTH, height + 10 * mm)
        drawing.add(_words(0, height + 4 * mm, f"Net by counterparty, {currency}", font=_BOLD, size=9))
        chart: Any = HorizontalBarChart()
        chart.x, chart.y, chart.width, chart.height = 35 * mm, 0, _WIDTH - 75 * mm, height
        # How long a bar is, is no figure: those stand beside it, and never were a float.
        lengths = [float(net) for _, net in bars]
        chart.data = [lengths]
        chart.valueAxis.valueMin, chart.valueAxis.valueMax = min(0.0, *lengths), max(0.0, *lengths)
        chart.valueAxis.visible = 0
        chart.categoryAxis.tickLeft, chart.categoryAxis.strokeColor = 0, _INK
        for index, (name, net) in enumerate(bars):
            chart.bars[(0, index)].fillColor = _GAIN if net >= 0 else _LOSS
            chart.bars[(0, index)].strokeColor = None
            middle = _BAR * index + _BAR / 2 - 2.5
            drawing.add(_words(0, middle, name))
            drawing.add(_words(_WIDTH, middle, amount_text(Money(net, currency), self._locale), anchor="end"))
        drawing.add(chart)
        return drawing

    def _summed_up(self, summary: Summary) -> Iterable[Flowable]:
        yield Paragraph("By kind and counterparty", _SECTION)
        rows = [
            [
                heading.currency, heading.kind.lower(), heading.counterparty,
                number_text(figures.lines, self._locale), number_text(figures.points, self._locale),
                *(amount_text(Money(minor, heading.currency), self._locale) for minor in (
                    figures.gross_minor, figures.fee_minor, figures.gross_minor - figures.fee_minor
                )),
            ]
            for heading, figures in summary.rows()
        ]  # fmt: skip
        header = ("Currency", "Kind", "Counterparty", "Lines", "Points", "Gross", "Fees", "Net")
        yield _table(header, rows, (17, 24, 32, 17, 24, 24, 18, 24), figures=range(3, 8))

    def _lines(self, lines: Sequence[StatementLine]) -> Iterable[Flowable]:
        count = self._statement.line_count
        yield Paragraph("Lines", _SECTION)
        if len(lines) < count:
            yield Paragraph(
                f"The statement has {number_text(count, self._locale)} lines: too many for paper. They are in its other"
                " files, such as csv and xlsx, under the same hash.", _BODY,
            )  # fmt: skip
            return
        header = ("", "At (UTC)", "For", "Counterparty", "Points", "Gross", "Fee", "Net", "")
        rows = [self._line(number, line) for number, line in enumerate(lines, 1)]
        if any(line.late for line in lines):
            yield Paragraph("Late are those that bear a time from before the period.", _SMALL)
        yield _table(header, rows, (10, 28, 40, 25, 17, 19, 13, 19, 9), figures=(0, *range(4, 8)))

    def _line(self, number: int, line: StatementLine) -> list[str]:
        what = " ".join(filter(None, (line.kind.lower(), line.benefit, "(late)" if line.late else None)))
        return [
            number_text(number, self._locale), moment_text(line.at, self._locale), what, line.counterparty,
            number_text(line.points, self._locale),
            *(amount_text(amount, self._locale) for amount in (line.gross, line.fee, line.net)), line.currency,
        ]  # fmt: skip


class _Numbered(Canvas):
    """A canvas whose pages can say how many there are: by a form that is drawn when all are."""

    def save(self) -> None:
        """Draw what stands behind "of" on each page, and end the document."""
        self.beginForm(_PAGES)
        self.setFont(_TEXT, 7)
        self.setFillColor(_INK)
        self.drawString(0, 0, str(self.getPageNumber() - 1))
        self.endForm()
        super().save()


def _foot(subject: Subject, canvas: Canvas, _: object) -> None:
    told = subject.statement
    at = subject.closed_at.strftime("D:%Y%m%d%H%M%SZ")
    canvas.setDateFormatter(lambda *_: at)
    canvas.saveState()
    canvas.setFont(_TEXT, 7)
    canvas.setFillColor(_INK)
    canvas.drawString(_MARGIN, 12 * mm, f"Statement {told.id}, period {told.period}")
    canvas.drawString(_MARGIN, 8 * mm, f"Hash {told.hash}")
    page = f"Page {canvas.getPageNumber()} of "
    canvas.drawRightString(A4[0] - _MARGIN - 6 * mm, 12 * mm, page)
    canvas.translate(A4[0] - _MARGIN - 6 * mm, 12 * mm)
    canvas.doForm(_PAGES)
    canvas.restoreState()


# ---------------------------------------------------------------- how things are set


def _table(
    header: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int], figures: Iterable[int]
) -> LongTable:
    """Return a table whose header is on each of its pages; `figures`: the columns that stand to the right."""
    to_right = set(figures)
    styles = [_FIGURE if column in to_right else _SMALL for column in range(len(header))]
    heads = [Paragraph(name, _HEAD_FIGURE if column in to_right else _HEAD) for column, name in enumerate(header)]
    cells = [[Paragraph(_set(text), style) for text, style in zip(row, styles, strict=True)] for row in rows]
    return LongTable([heads, *cells], [width * mm for width in widths], style=_GRID, repeatRows=1)


def _words(
    x: float, y: float, text: str, *, font: str = _TEXT, size: float = 7, anchor: Literal["start", "end"] = "start"
) -> String:
    """Return words of a drawing, which has but one font for them: names there are handles."""
    return String(x, y, text, fontName=font, fontSize=size, fillColor=_INK, textAnchor=anchor)


def _set(text: str) -> str:
    """Return a text for a paragraph, each letter in a font that has it."""
    known = _LETTERS.face.charToGlyph
    runs: list[tuple[bool, str]] = []
    for letter in text.replace("\u200f", "").replace("\u200e", ""):  # marks of direction have no look
        own = ord(letter) in known or letter.isspace()
        if runs and runs[-1][0] is own:
            runs[-1] = (own, runs[-1][1] + letter)
        else:
            runs.append((own, letter))
    return "".join(escape(run) if own else f'<font name="{_OTHER}">{escape(run)}</font>' for own, run in runs)


def _address(party: Particulars) -> list[str]:
    tax = [f"Tax number {party.tax_number}"] if party.tax_number else []
    return [f"<b>{_set(party.name)}</b>", *(_set(line) for line in (*party.address, *tax))]


def _in_fours(iban: str) -> str:
    return " ".join(iban[start : start + 4] for start in range(0, len(iban), 4))
