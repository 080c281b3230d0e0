from __future__ import annotations

import io
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from pypdf import PdfReader

from exchange.amounts import Money
from exchange.journal import LineKind
from exchange.particulars import Particulars
from exchange.settlement.export.locales import amount_text, locale_of
from exchange.settlement.export.pdf import write
from exchange.settlement.statement import Standing, StatementStatus
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import Written, closed, file_of, line, of

MANY = of(
    *(line(entry=f"e{n}", points=1000 + n, gross=10_000 + n, fee=n, benefit=f"rides/trip-{n}") for n in range(99))
)


async def pages_of(written: Written, **options: Any) -> list[str]:
    """Return the text of each page, as another program reads it, with single spaces."""
    reader = await read(written, **options)
    return [" ".join(page.extract_text().split()) for page in reader.pages]


async def read(written: Written, **options: Any) -> PdfReader:
    return PdfReader(io.BytesIO(await file_of(partial(write, **options), written)), strict=True)


@pytest.mark.parametrize("locale", ["en", "de", "de-CH", "hi"])
async def test_every_figure_is_on_paper(locale: str, example: World) -> None:
    """Of each line in its order, of each currency's totals, and of each kind and counterparty, as the locale has it."""
    rides = await closed(example)
    rides.subject = replace(rides.subject, locale=locale)
    text = " ".join(await pages_of(rides))
    own = locale_of(locale)

    def said(*amounts: Money) -> str:
        return " ".join(" ".join(amount_text(amount, own).split()) for amount in amounts)

    for total in rides.subject.statement.totals:
        assert f"{total.currency} {said(total.receivable, total.payable, total.fees, total.net)}" in text
    _, _, lines = text.partition(" Lines At (UTC)")
    for number, each in enumerate(rides.lines, 1):
        figures = f"{each.counterparty} {each.points} {said(each.gross, each.fee, each.net)} {each.currency}"
        before, found, lines = lines.replace("\N{RIGHT SINGLE QUOTATION MARK}", "").partition(
            figures.replace("\N{RIGHT SINGLE QUOTATION MARK}", "")
        )
        assert found, (number, figures)
        assert f"{number} " in before
        assert f"{each.kind.lower()} {each.benefit}" in before
    assert rides.subject.statement.totals[0].net.minor == 884


async def test_the_sums_are_worked_out_by_hand(example: World) -> None:
    """The fees are 0.14 EUR, rides is to be paid 8.84 EUR and to pay 15 JPY: worked out by hand in `test_figures`."""
    first = (await pages_of(await closed(example)))[0]
    assert "To be paid to Komet Rides Sàrl: €8.84 To be paid by Komet Rides Sàrl: ¥15" in first
    assert " 0.14 8.84 JPY 0 15 0 -15 Net = receivable - payable - fees." in first


async def test_it_is_a_letter_with_numbers(example: World) -> None:
    """Both sides' names, addresses and tax numbers; the statement's and invoice's number; where it is to be paid."""
    rides = await closed(example)
    first = (await pages_of(rides))[0]
    assert (
        "Page 1 of 2 Exchange AG Bahnhofstrasse 2 8001 Zürich Tax number CHE-116.281.710 "
        "Komet Rides Sàrl Rue du Lac 1 1003 Lausanne Tax number CHE-107.787.577 Statement 1:rides "
        "Number of the statement and invoice 1:rides Partner rides Period 1: " in first
    )  # fmt: skip
    assert "Status draft" in first
    assert "Account of Komet Rides Sàrl: IBAN CH93 0076 2011 6238 5295 7, BIC UBSWCHZH80A" in first
    assert "Account of Exchange AG: IBAN DE89 3704 0044 0532 0130 00 " in first


async def test_every_page_says_what_it_is_and_which() -> None:
    """Id, period and hash at the foot of each, and how many pages there are; the document's properties say it too."""
    pages = await pages_of(MANY)
    assert len(pages) > 2
    for number, page in enumerate(pages, 1):
        assert page.startswith(f"Statement 7:rides, period 7 Hash ab Page {number} of {len(pages)} ")
    facts = (await read(MANY)).metadata
    assert facts is not None
    assert (facts.title, facts.author, facts.subject) == ("Statement 7:rides", "Exchange AG", "Period 7, hash ab")
    assert facts.creation_date == MANY.subject.closed_at.replace(microsecond=0)


async def test_the_header_of_lines_is_on_each_page() -> None:
    """So that a page that is taken out can be read."""
    pages = await pages_of(MANY)
    assert all("At (UTC) For Counterparty Points Gross Fee Net" in page for page in pages[1:])


async def test_more_lines_than_anybody_reads_are_left_to_the_other_files() -> None:
    """The sums are there, and where the lines are is said."""
    pages = await pages_of(MANY, lines_max=98)
    text = " ".join(pages)
    assert "The statement has 99 lines: too many for paper." in text
    assert "rides/trip-" not in text
    assert "EUR redemption video 99 103,851 9,948.51 48.51 9,900.00" in text
    assert "rides/trip-98" in " ".join(await pages_of(MANY, lines_max=99))


async def test_names_are_text_in_any_script() -> None:
    """What looks like markup is not; letters beyond Latin are there for whoever copies them."""
    names = of(line(benefit="news/<b>&amp;</b>"), line(benefit="news/Газета-报纸"))
    names.subject = replace(names.subject, partner=Particulars(name="Ночь & <i>Tag</i> 出行"))
    text = " ".join(await pages_of(names))
    assert "news/<b>&amp;</b>" in text
    assert "Газета-报纸" in text
    assert "Ночь & <i>Tag</i> 出行" in text


async def test_nothing_to_pay_is_said() -> None:
    """Without lines, and with lines that cancel."""
    assert "Nothing is to be paid." in (await pages_of(of()))[0]
    even = of(line(gross=5), line(gross=-5, counterparty="news", kind=LineKind.COMMISSION))
    first = (await pages_of(even))[0]
    assert "Nothing is to be paid." in first
    assert "Account of" not in first
    assert "To be paid" not in first


async def test_what_was_paid_is_not_asked_for_again() -> None:
    """Of a net that was paid in part it is said how much that is; a currency without a net is not asked for."""
    even = line(gross=5), line(gross=-5, counterparty="news", kind=LineKind.COMMISSION)
    part = of(*even, line(gross=7, currency="JPY"))
    paid = replace(part.subject.statement, standing=Standing(paid=(Money(3, "JPY"),)))
    part.subject = replace(part.subject, statement=paid)
    first = (await pages_of(part))[0]
    assert "To be paid to Komet Rides Sàrl: ¥7, of which ¥3 was paid" in first
    assert first.count("To be paid") == 1


async def test_it_says_how_far_the_statement_has_come() -> None:
    """A draft is not taken for a bill that was approved."""
    approved = replace(MANY.subject.statement, standing=Standing(status=StatementStatus.APPROVED))
    pages = await pages_of(Written(replace(MANY.subject, statement=approved), MANY.lines))
    assert "Status approved" in pages[0]


async def test_the_same_statement_gives_the_same_bytes() -> None:
    """However often it is written."""
    assert await file_of(write, MANY) == await file_of(write, MANY)
