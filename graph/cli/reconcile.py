"""`exchange reconcile`: what others have in their books, held against ours."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from exchange.amounts import Money, decimal_from_minor, minor_from_decimal
from exchange.errors import NotFound
from exchange.journal import milliseconds
from exchange.settlement.export.csv import text
from exchange.settlement.reconciliation import DAYS, Booked, Due, Filed, How, Resolution, Tolerance
from exchange.settlement.reconciling import UsageCheck, usage_check
from exchange.settlement.statement import Statement
from exchange.settlement.usage import POINTS, Difference, UsageRow
from exchange.store.reconciliation import Exceptional, exceptions_of
from graph.cli.rules import BY, REASON_MAX
from graph.cli.shell import Progress, Shell, TakesName, WholeNumber, identifiers, money, on_exchange, table, write_out
from graph.identifiers import Kind
from graph.services import Services
from partners.feeds.bank import BYTES_MAX, BankFile, read_bank_file
from partners.feeds.rows import FeedError, Rejected
from partners.feeds.usage import read_usage

SHOWN_MAX: Final = 1_000
DAYS_MAX: Final = 366


@click.group()
def reconcile() -> None:
    """Hold the books of banks and partners against ours."""


@reconcile.command("payments")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.File("rb"))
@click.option(
    "--days", type=WholeNumber(min=0, max=DAYS_MAX), default=DAYS, show_default=True,
    help="How far from the day of instruction the value date may be.",
)  # fmt: skip
@click.option(
    "--within", multiple=True, metavar="CODE=AMOUNT",
    help="Tell of an amount that differs by no more, such as EUR=5.00, for what it might be.",
)  # fmt: skip
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who does it.")
@on_exchange
def payments(shell: Shell, files: tuple[BinaryIO, ...], days: int, within: tuple[str, ...], actor: str) -> None:
    """Find what is due in the bank's files.

    They are camt.053, camt.054, or CSV.

    Each line ends in one pile: matched, known from a file before, or an exception for a person to resolve. A file that
    was given before stays what it was. A CSV has the columns `date`, `amount` and `currency`, and if the bank gives
    them `end_to_end_id`, `text`, `name` and `reference`. The exit code is 1 if there are exceptions.

    \b
    exchange reconcile payments camt053-2026-03-11.xml
    exchange reconcile payments march/*.xml --within EUR=5.00 --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    tolerance = Tolerance(days=days, minor=dict(map(_allowed, within)))
    read = [(_name_of(file), _read_bank_file(file)) for file in files]

    async def work(services: Services) -> list[Filed]:
        return [
            await services.reconciliation.file(name, bank.hash, bank.lines, actor, tolerance) for name, bank in read
        ]

    filed = shell.run(work)
    told = [
        {**_filed_told(each), "file": name, "announced": bank.announced}
        for each, (name, bank) in zip(filed, read, strict=True)
    ]
    lines = [line for each, one in zip(told, filed, strict=True) for line in ("", *_filed_lines(each, one))]
    shell.answer({"files": told}, lines[1:])
    if any(each.piles.exceptions for each in filed):
        click.get_current_context().exit(1)


@reconcile.command("due")
@on_exchange
def due(shell: Shell) -> None:
    """List what is to be found yet, by payment reference."""

    async def work(services: Services) -> list[Due]:
        return await services.reconciliation.dues()

    dues = shell.run(work)
    rows = [
        (each.reference, each.statement, each.partner, *_signed(each.amount), each.since.isoformat()) for each in dues
    ]
    header = ("reference", "statement", "partner", "amount", "currency", "since")
    shell.answer({"due": [_due_told(each) for each in dues]}, table(header, rows, right=("amount",)))


@reconcile.group("exceptions")
def exceptions() -> None:
    """See to what could not be matched."""


@exceptions.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were resolved, too.")
@click.option(
    "--days", type=WholeNumber(min=0, max=DAYS_MAX), default=DAYS, show_default=True,
    help="After how many days a payment that the bank has not booked is one.",
)  # fmt: skip
@on_exchange
def list_exceptions(shell: Shell, days: int, *, everything: bool) -> None:
    """List what a person has to look at, the oldest first. The first column is what `resolve` wants."""

    async def work(services: Services) -> list[Exceptional]:
        return await services.reconciliation.exceptions(resolved=everything, days=days)

    found = shell.run(work)
    rows = [_exception_row(each) for each in found]
    header = ("exception", "what", "amount", "currency", "day", "about", "resolved" if everything else "")
    shell.answer({"exceptions": [_exception_told(each) for each in found]}, table(header, rows, right=("amount",)))


@exceptions.command("resolve")
@click.argument("exception")
@click.option("--reason", required=True, metavar="TEXT", help="Why it is settled.")
@click.option("--pays", metavar="REFERENCE", help="What its lines pay after all, wholly or in part.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who says so.")
@on_exchange
def resolve(shell: Shell, exception: str, reason: str, pays: str | None, actor: str) -> None:
    """Resolve an exception, once, with a reason. Nothing is taken out of what was reconciled.

    \b
    exchange reconcile exceptions resolve 3-17 --reason "the bank's own fee"
    exchange reconcile exceptions resolve 3-18 --reason "it left out the reference" --pays 7:rides:EUR
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if not 1 <= len(reason.strip()) <= REASON_MAX:
        raise click.BadParameter(f"must have 1 to {REASON_MAX} characters", param_hint="--reason")

    async def work(services: Services) -> Resolution:
        return await services.reconciliation.resolve(exception, reason.strip(), actor, pays)

    resolution = shell.run(work)
    paid = "" if resolution.amount is None else f": {' '.join(_signed(resolution.amount))} of {resolution.pays}"
    shell.answer(_resolution_told(resolution), f"{exception} is resolved{paid}")


def _allowed(text: str) -> tuple[str, int]:
    code, _, amount = text.partition("=")
    try:
        minor = minor_from_decimal(amount, code.upper())
    except ValueError as error:
        raise click.BadParameter(f"{error}; it wants CODE=AMOUNT", param_hint="--within") from None
    if minor < 0:
        raise click.BadParameter(f"{text}: must not be negative", param_hint="--within")
    return code.upper(), minor


def _name_of(file: BinaryIO) -> str:
    return Path(file.name).name


def _read_bank_file(file: BinaryIO) -> BankFile:
    try:
        return read_bank_file(file.read(BYTES_MAX + 1))
    except FeedError as wrong:
        raise click.ClickException(f"{_name_of(file)}: {wrong.message}") from None


@reconcile.command("usage", cls=TakesName)
@click.argument("statement", metavar="STATEMENT")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write every difference, as CSV."
)
@on_exchange
def usage(shell: Shell, statement: str, file: BinaryIO, out: Path | None) -> None:
    """Compare a partner's own record with its statement.

    The file has a row for each line, under a header: `entry`, as the partner's statement has it, any of `points`,
    `gross`, `fee` and `net`, `currency` if one of them is money, and `day` if wished. The exit code is 0 if all agrees,
    and 1 if something is missing here or there, differs, or cannot be read.

    \b
    exchange reconcile usage 7:rides rides-march.csv
    exchange reconcile usage 7:rides rides-march.csv --out differences.csv --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    read = read_usage(file)
    rejected: list[Rejected] = []
    shown: list[Difference] = []
    progress = Progress(quiet=shell.as_json)

    async def work(services: Services) -> tuple[Statement, UsageCheck, int]:
        found = await services.settlement.statement(identifiers(services).open(Kind.STATEMENT, statement) or statement)
        if found is None:
            raise NotFound(f"there is no statement {statement}: see `exchange statement list`")
        with usage_check(read.columns) as check:
            count = check.take_theirs(_accepted(read.rows, rejected))
            try:
                await check.take_ours(services.settlement, found, progress.show)
            finally:
                progress.end()
            differences = _noted(check.differences(), shown)
            if out is None:
                for _ in differences:
                    pass
            else:
                await write_out(_csv(check.columns, differences), out)
        return found, check, count

    found, check, count = shell.run(work)
    document = _document(found, check, count, shown, rejected)
    shell.answer({**document, "file": None if out is None else str(out)}, _told(document, check, shown, rejected))
    if rejected or not check.tally.agrees:
        click.get_current_context().exit(1)


def _accepted(rows: Iterator[UsageRow | Rejected], rejected: list[Rejected]) -> Iterator[UsageRow]:
    for row in rows:
        if isinstance(row, Rejected):
            rejected.append(row)
        else:
            yield row


def _noted(differences: Iterator[Difference], shown: list[Difference]) -> Iterator[Difference]:
    for difference in differences:
        if len(shown) < SHOWN_MAX:
            shown.append(difference)
        yield difference


# ---------------------------------------------------------------- what is told of payments


def _filed_told(filed: Filed) -> dict[str, Any]:
    piles, by_number = filed.piles, {line.n: line for line in filed.lines}
    return {
        "number": filed.number, "hash": filed.hash, "at": milliseconds(filed.at), "by": filed.actor,
        "replayed": filed.replayed, "lines": len(filed.lines), "known": len(piles.known),
        "matched": [
            {
                "how": each.how.value, "lines": [_line_told(by_number[n]) for n in each.lines],
                "dues": [_due_told(one) for one in each.dues],
            }
            for each in piles.matches
        ],
        "exceptions": [_exception_told(each) for each in exceptions_of(filed, {})],
    }  # fmt: skip


def _filed_lines(told: dict[str, Any], filed: Filed) -> list[str]:
    again = ", given before" if filed.replayed else ""
    matched = sum(len(each.lines) for each in filed.piles.matches)
    left = sum(len(each.lines) for each in filed.piles.exceptions)
    lines = [
        f"{told['file']}: file {filed.number}{again}", "",
        *(f"{name:<10}  {count}" for name, count in (
            ("lines", len(filed.lines)), ("matched", matched), ("known", len(filed.piles.known)), ("exceptions", left)
        )),
    ]  # fmt: skip
    by_number = {line.n: line for line in filed.lines}
    rows = [
        (one.reference, *_signed(one.amount), "+".join(str(by_number[n].line) for n in each.lines),
         "by its reference" if each.how is How.REFERENCE else "by amount and date")
        for each in filed.piles.matches for one in each.dues
    ]  # fmt: skip
    if rows:
        lines += ["", *table(("matched", "amount", "currency", "line", "how"), rows, right=("amount",))]
    if filed.piles.exceptions:
        found = [_exception_row(each) for each in exceptions_of(filed, {})]
        header = ("exception", "what", "amount", "currency", "day", "about", "")
        lines += ["", *table(header, found, right=("amount",))]
    return lines


def _exception_row(each: Exceptional) -> tuple[str, ...]:
    amounts = [line.amount for line in each.lines] or [one.amount for one in each.dues]
    days = [line.value_date for line in each.lines] or [one.since for one in each.dues]
    currencies = sorted({amount.currency for amount in amounts})
    sums = [Money(sum(one.minor for one in amounts if one.currency == code), code) for code in currencies]
    about = ", ".join(one.reference for one in each.dues) or "; ".join(line.text for line in each.lines)
    return (
        each.id, each.kind.value.lower().replace("_", " "), " ".join(decimal_from_minor(*one) for one in sums),
        " ".join(currencies), min(days).isoformat(), about, "" if each.resolved is None else each.resolved.reason,
    )  # fmt: skip


def _exception_told(each: Exceptional) -> dict[str, Any]:
    return {
        "exception": each.id, "kind": each.kind.value, "file": each.file,
        "lines": [_line_told(line) for line in each.lines], "dues": [_due_told(one) for one in each.dues],
        "resolved": None if each.resolved is None else _resolution_told(each.resolved),
    }  # fmt: skip


def _resolution_told(each: Resolution) -> dict[str, Any]:
    return {
        "exception": each.exception, "reason": each.reason, "at": milliseconds(each.at), "by": each.actor,
        "pays": each.pays, "amount": None if each.amount is None else money(each.amount),
    }  # fmt: skip


def _line_told(line: Booked) -> dict[str, Any]:
    return {
        "line": line.line, "amount": money(line.amount), "day": line.value_date.isoformat(),
        "bank_reference": line.bank_reference or None, "name": line.payer or None, "text": line.text or None,
    }  # fmt: skip


def _due_told(each: Due) -> dict[str, Any]:
    return {
        "reference": each.reference, "statement": each.statement, "partner": each.partner,
        "amount": money(each.amount), "since": each.since.isoformat(),
    }  # fmt: skip


def _signed(amount: Money) -> tuple[str, str]:
    return decimal_from_minor(*amount), amount.currency


# ---------------------------------------------------------------- what is told of usage


async def _csv(columns: Sequence[str], differences: Iterator[Difference]) -> AsyncIterator[str]:
    """Yield the report; a figure of the statement is `our_…`, one of the partner's file `their_…`."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    names = [f"{side}_{column}" for column in columns for side in ("our", "their")]
    writer.writerow(("kind", "entry", "currency", "day", "line", *names))
    for each in differences:
        row = each.row
        ours, theirs = _figures(each.ours, columns), _figures(each.theirs, columns)
        figures = [side.get(column, "") for column in columns for side in (ours, theirs)]
        writer.writerow((each.kind.value, text(row.reference), row.currency, row.day or "", row.line or "", *figures))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _figures(row: UsageRow | None, columns: Sequence[str]) -> dict[str, str]:
    return {} if row is None else _said(row.figures, row.currency, columns)


def _said(figures: Sequence[int], currency: str, columns: Sequence[str]) -> dict[str, str]:
    return {
        column: str(figure) if column == POINTS else decimal_from_minor(figure, currency)
        for column, figure in zip(columns, figures, strict=True)
    }


def _document(
    found: Statement, check: UsageCheck, rows: int, shown: Sequence[Difference], rejected: Sequence[Rejected]
) -> dict[str, Any]:
    tally, columns = check.tally, check.columns
    return {
        "statement": found.id, "hash": found.hash, "period": found.period, "partner": found.partner,
        "compared": list(columns), "rows": rows, "agreed": tally.agreed,
        **{kind.value.lower(): count for kind, count in tally.differences.items()},
        "totals": [
            {
                "currency": currency or None,
                "ours": _said(tally.ours.get(currency, (0,) * len(columns)), currency, columns),
                "theirs": _said(tally.theirs.get(currency, (0,) * len(columns)), currency, columns),
            }
            for currency in sorted(tally.ours.keys() | tally.theirs.keys())
        ],
        "differences": [
            {
                "kind": each.kind.value, "entry": each.row.reference, "currency": each.row.currency or None,
                "day": None if each.row.day is None else each.row.day.isoformat(), "line": each.row.line,
                "ours": _figures(each.ours, columns) or None, "theirs": _figures(each.theirs, columns) or None,
            }
            for each in shown
        ],
        "rejected": [{"line": each.line, "field": each.field, "reason": each.reason} for each in rejected[:SHOWN_MAX]],
        "rejected_rows": len(rejected),
    }  # fmt: skip


def _told(
    document: dict[str, Any], check: UsageCheck, shown: Sequence[Difference], rejected: Sequence[Rejected]
) -> list[str]:
    columns, counts = check.columns, check.tally.differences
    lines = [
        f"statement {document['statement']}, {document['rows']} rows, compared by {', '.join(columns)}", "",
        f"agree          {check.tally.agreed}",
        *(f"{kind.value.lower().replace('_', ' '):<13}  {count}" for kind, count in counts.items()),
    ]  # fmt: skip
    sums = [
        (side, *each[side].values(), each["currency"] or "")
        for each in document["totals"] for side in ("ours", "theirs")
    ]  # fmt: skip
    lines += ["", *table(("", *columns, "currency" if any(row[-1] for row in sums) else ""), sums, right=columns)]
    if shown:
        names = [f"{side} {column}" for column in columns for side in ("our", "their")]
        rows = [
            (each.kind.value.lower().replace("_", " "), each.row.reference, str(each.row.line or ""),
             *(_figures(side, columns).get(column, "") for column in columns for side in (each.ours, each.theirs)))
            for each in shown
        ]  # fmt: skip
        lines += ["", *table(("what", "entry", "line", *names), rows, right=("line", *names))]
        if sum(counts.values()) > len(shown):
            lines += [f"… and {sum(counts.values()) - len(shown)} more: --out FILE has all of them"]
    if rejected:
        lines += ["", f"rows that were not read: {len(rejected)}"]
        lines += [f"line {each.line}: {each.field} {each.reason}" for each in rejected[:SHOWN_MAX]]
    return lines
