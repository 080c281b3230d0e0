"""`exchange period` and `exchange statement`: settlement from a shell."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from msgspec.structs import asdict

from exchange.amounts import decimal_from_minor
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import milliseconds
from exchange.settlement.calendar import Calendar, Every, checked, overdue
from exchange.settlement.export import LOCALE, Form, Wish
from exchange.settlement.files import check_locale
from exchange.settlement.netting import Position
from exchange.settlement.period import Period
from exchange.settlement.statement import Statement
from graph.cli.rules import BY
from graph.cli.shell import (
    Progress,
    Shell,
    TakesName,
    WholeNumber,
    identifiers,
    misused,
    money,
    on_exchange,
    out_option,
    table,
    write_out,
)
from graph.identifiers import Identifiers, Kind
from graph.services import Services

BINARY: Final = (Form.XLSX, Form.PDF)

_PAGE = 100
_FIGURES = ("payable", "receivable", "fees", "net")


@click.group()
def period() -> None:
    """Close settlement periods, and list them."""


@click.group()
def statement() -> None:
    """List and export the statements of closed periods."""


@period.command("close")
@click.argument("number", type=WholeNumber(min=1), required=False)
@on_exchange
def close(shell: Shell, number: int | None) -> None:
    """Close the open period, or NUMBER, and draft its statements.

    The cut loses nothing and counts nothing twice, while members go on redeeming. Closing a period that is closed
    already is no mistake: it prints the same again. A script that may be run twice gives the NUMBER.

    \b
    exchange period close
    exchange period close 7 --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> tuple[Period, list[Position], str]:
        settlement = services.settlement
        wanted = number
        if wanted is None:
            opened = await settlement.period()
            if opened is None:
                raise NotFound("there is no open period")
            wanted = opened.number
        closed = await settlement.close(wanted)
        return closed, await settlement.positions(wanted), identifiers(services).of(closed)

    closed, positions, sealed = shell.run(work)
    document = {**_period_told(closed), "id": sealed, "positions": [_position_told(each) for each in positions]}
    shell.answer(document, _closing_lines(closed, positions))


@period.command("list")
@on_exchange
def list_periods(shell: Shell) -> None:
    """List the periods, the newest first."""

    async def work(services: Services) -> list[dict[str, Any]]:
        ids, book, now = identifiers(services), await services.calendars.book(), await services.now()

        async def dated(each: Period) -> dict[str, Any]:
            dates = book.dates(each)
            statuses = [] if dates is None else await services.settlement.statuses(each.number)
            told = None if dates is None else {name: milliseconds(at) for name, at in dates._asdict().items()}
            return {"dates": told, "overdue": [duty.value for duty in overdue(dates, each, statuses, now)]}

        return [{**_period_told(each), "id": ids.of(each), **(await dated(each))} async for each in _periods(services)]

    periods = shell.run(work)
    rows = [
        (
            str(each["number"]), each["status"], each["opened_at"], each["closed_at"] or "",
            str(each["statements"] or ""), "" if each["dates"] is None else each["dates"]["cut"],
            ", ".join(each["overdue"]).lower(),
        )
        for each in periods
    ]  # fmt: skip
    header = ("period", "status", "opened", "closed", "statements", "cut", "overdue")
    shell.answer({"periods": periods}, table(header, rows, right=("period", "statements")))


@period.command("calendar")
@click.option(
    "--every", type=click.Choice([each.value.lower() for each in Every]), help="How often; never: only people do."
)
@click.option("--on", type=int, default=1, help="The day of the week (1 is Monday), or of the month, up to 28.")
@click.option("--at", default="00:00", show_default=True, metavar="HH:MM", help="The time of day.")
@click.option("--time-zone", default="UTC", show_default=True, metavar="ZONE", help="By which clocks: Europe/Berlin.")
@click.option("--draft-days", type=int, default=0, show_default=True, help="Days to draft the statements in.")
@click.option("--review-days", type=int, default=2, show_default=True, help="Days to review them in.")
@click.option("--approve-days", type=int, default=4, show_default=True, help="Days to approve them in.")
@click.option("--pay-days", type=int, default=14, show_default=True, help="Days to pay them in.")
@click.option("--business-days", is_flag=True, help="Count only the days from Monday to Friday.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who decided it.")
@on_exchange
def calendar(shell: Shell, every: str | None, actor: str, **said: Any) -> None:
    """Show or set (--every) when periods close by themselves.

    What is given is all there is: a change replaces the whole calendar, from now on. All days are counted from that of
    the cut, and over when they end in the time zone.

    \b
    exchange period calendar
    exchange period calendar --every month --time-zone Europe/Berlin --review-days 3 --business-days
    exchange period calendar --every never
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if every is None:
        context = click.get_current_context()
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in said):
            raise click.UsageError("a calendar is set with --every")
    else:
        try:
            wished = checked(Calendar(every=Every(every.upper()), actor=actor, **said))
        except ValidationFailed as error:
            raise misused(error) from None

    async def work(services: Services) -> Calendar | None:
        return (await services.calendars.book()).last if every is None else await services.calendars.set(wished)

    found = shell.run(work)
    if found is None:
        shell.answer({"calendar": None}, "periods are closed by people alone")
        return
    told = {**asdict(found), "every": found.every.value, "since": milliseconds(found.since)}
    shell.answer({"calendar": told}, [f"{name.replace('_', ' '):<14}{value}" for name, value in told.items()])


@statement.command("list")
@click.option("--period", "number", type=WholeNumber(min=1), help="Only those of this period.")
@on_exchange
def list_statements(shell: Shell, number: int | None) -> None:
    """List the statements, those of the newest period first. The first column is what `export` wants."""

    async def work(services: Services) -> list[dict[str, Any]]:
        ids = identifiers(services)
        if number is not None and await services.settlement.period(number) is None:
            raise NotFound(f"there is no period {number}")
        numbers = [number] if number is not None else [each.number async for each in _periods(services)]
        return [_told(each, ids) for each in await _statements(services, numbers)]

    statements = shell.run(work)
    rows = [
        (each["statement"], str(each["period"]), each["partner"], each["status"], str(each["lines"]),
         *(total[name]["amount"] for name in _FIGURES), total["net"]["currency"])
        for each in statements for total in each["totals"]
    ]  # fmt: skip
    header = ("statement", "period", "partner", "status", "lines", *_FIGURES, "currency")
    shell.answer({"statements": statements}, table(header, rows, right=("period", "lines", *_FIGURES)))


@statement.command("export", cls=TakesName)
@click.option(
    "--format",
    "form",
    type=click.Choice([each.value for each in Form]),
    default=Form.CSV.value,
    show_default=True,
    help="The form.",
)
@click.option(
    "--locale",
    default=LOCALE,
    show_default=True,
    metavar="TAG",
    callback=lambda _context, _option, tag: _known(tag),
    help="Of who reads it, such as de-CH: how amounts and days look in a pdf or an xlsx.",
)
@click.option("--payer", metavar="HANDLE", help="Whose payments a pain001 is to have, if both sides pay something.")
@click.option(
    "--pay-on", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="When a bank is to pay a pain001; else today."
)
@out_option
@click.argument("statement", metavar="STATEMENT")
@on_exchange
def export(
    shell: Shell, form: str, locale: str, payer: str | None, pay_on: datetime | None, out: Path | None, statement: str
) -> None:
    """Write a statement, line by line. STATEMENT is the name that `exchange statement list` prints, or its id.

    \b
    csv      a row for each line, amounts as decimals with a point, no cell a formula
    json     the canonical document and its hash
    ledger   plain-text accounting (Beancount), from the partner's side; `bean-check` adds it up
    xlsx     a workbook: typed cells, sums that are formulas
    pdf      a document to send: letterhead, sums, chart, lines
    pain001  what is left to be paid of an instructed statement, for a bank (ISO 20022)
    bundle   the statement, signed, with the proof that each line is in the journal, for `exchange verify`

    Every file states the statement's id, hash and period.

    \b
    exchange statement export 1:rides --out rides.csv
    exchange statement export 1:rides --format ledger --out rides.beancount
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if shell.as_json and out is None:
        raise click.UsageError("--json tells about the file: it needs --out FILE")
    if form in BINARY and out is None and sys.stdout.isatty():
        raise click.UsageError(f"{form} is nothing for a terminal: it needs --out FILE")

    progress = Progress(quiet=shell.as_json)

    async def work(services: Services) -> dict[str, Any]:
        ids = identifiers(services)
        found = await services.settlement.statement(ids.open(Kind.STATEMENT, statement) or statement)
        if found is None:
            raise NotFound(f"there is no statement {statement}: see `exchange statement list`")
        wish = Wish(form=Form(form), locale=locale, payer=payer, pay_on=None if pay_on is None else pay_on.date())
        try:
            written = await write_out(services.files.write(found, wish, progress.show), out)
        finally:
            progress.end()
        return {**_told(found, ids), "format": form, "file": None if out is None else str(out), **written}

    document = shell.run(work)
    if out is not None:
        shell.answer(document, f"{document['statement']}: {document['lines']} lines in {out}")


def _known(tag: str) -> str:
    """Refuse a locale that is none. Not looked at where it is the usual one: the library takes a while to import."""
    if tag != LOCALE:
        try:
            check_locale(tag)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return tag


async def _periods(services: Services) -> AsyncIterator[Period]:
    after: int | None = None
    while page := await services.settlement.periods(after, _PAGE):
        for each in page:
            yield each
        after = page[-1].number


async def _statements(services: Services, numbers: list[int]) -> list[Statement]:
    found: list[Statement] = []
    for number in numbers:
        after: str | None = None
        while page := await services.settlement.statements(number, after, _PAGE):
            found += page
            after = page[-1].partner
    return found


# ---------------------------------------------------------------- what is told


def _period_told(each: Period) -> dict[str, Any]:
    return {
        "number": each.number,
        "status": each.status.value,
        "opened_at": milliseconds(each.opened_at),
        "closed_at": None if each.closed_at is None else milliseconds(each.closed_at),
        "root": each.root,
        "statements": each.statements,
    }


def _position_told(each: Position) -> dict[str, Any]:
    return {"partner": each.partner, **{name: money(getattr(each, name)) for name in _FIGURES}}


def _told(each: Statement, ids: Identifiers) -> dict[str, Any]:
    return {
        "statement": each.id,
        "id": ids.of(each),
        "period": each.period,
        "partner": each.partner,
        "status": each.status.value,
        "lines": each.line_count,
        "totals": [_position_told(total) for total in each.totals],
        "hash": each.hash,
    }


def _closing_lines(closed: Period, positions: list[Position]) -> list[str]:
    lines = [f"period {closed.number} is {closed.status.lower()}, with {closed.statements or 0} statements"]
    if positions:
        figures = [(each, [getattr(each, name) for name in _FIGURES]) for each in positions]
        rows = [
            (each.partner, *(decimal_from_minor(amount.minor, amount.currency) for amount in amounts), each.currency)
            for each, amounts in figures
        ]
        lines += ["", *table(("partner", *_FIGURES, "currency"), rows, right=_FIGURES)]
    return [*lines, "", f"root  {closed.root}"]
