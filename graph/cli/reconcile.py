"""`exchange reconcile`: what others have in their books, held against ours."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from exchange.amounts import decimal_from_minor
from exchange.errors import NotFound
from exchange.settlement.export.csv import text
from exchange.settlement.reconciling import UsageCheck, usage_check
from exchange.settlement.statement import Statement
from exchange.settlement.usage import POINTS, Difference, UsageRow
from graph.cli.shell import Progress, Shell, identifiers, on_exchange, table, write_out
from graph.identifiers import Kind
from graph.services import Services
from partners.feeds.rows import Rejected
from partners.feeds.usage import read_usage

SHOWN_MAX: Final = 1_000


@click.group()
def reconcile() -> None:
    """Hold a partner's own record against its statement."""


@reconcile.command("usage")
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


# ---------------------------------------------------------------- what is told


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
