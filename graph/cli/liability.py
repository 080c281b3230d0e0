"""`exchange liability`: what issuers have outstanding in points."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from exchange.errors import NotFound
from exchange.journal import milliseconds
from exchange.settlement.liability import Aged, Liability, Vintage
from graph.cli.shell import Progress, Shell, WholeNumber, on_exchange, table
from graph.services import Services

COLUMNS = ("opening", "awarded", "redeemed", "expired", "adjusted", "closing")


@click.command()
@click.option("--issuer", metavar="HANDLE", help="Only this issuer's.")
@click.option(
    "--period", "number", type=WholeNumber(min=1), help="At the end of this period; without it, the open one."
)
@click.option("--as-of", "moment", metavar="TIME", help="As it stood then, such as 2027-01-01T00:00:00Z.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the roll-forward as CSV, a row for each issuer and vintage.")
@on_exchange
def liability(shell: Shell, *, issuer: str | None, number: int | None, moment: str | None, as_csv: bool) -> None:
    """Show what issuers owe in points, by vintage and age.

    A vintage is the month in which points were awarded. How much of it will be redeemed is an estimate, and named so.
    The whole journal is read for it, and its blocks' sums are added up besides: the two have to agree.

    \b
    exchange liability --issuer video
    exchange liability --period 7 --csv
    exchange liability --as-of 2027-01-01T00:00:00Z --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if number is not None and moment is not None:
        raise click.UsageError("--period and --as-of cannot be told together")
    if as_csv and shell.as_json:
        raise click.UsageError("--csv and --json cannot be told together")
    as_of = None if moment is None else _moment(moment)
    progress = Progress(quiet=shell.as_json)

    async def work(services: Services) -> list[Liability]:
        if issuer is not None and await services.registry.find(issuer) is None:
            raise NotFound(f"there is no partner {issuer}")
        try:
            return await services.outstanding.liabilities(
                number, as_of=as_of, issuer=issuer, progress=lambda done, total: progress.show("blocks", done, total)
            )
        finally:
            progress.end()

    found = shell.run(work)
    if as_csv:
        rows = csv.writer(sys.stdout)
        rows.writerow(("issuer", "period", "vintage", *COLUMNS))
        rows.writerows((each.issuer, each.period, row.month, *_figures(row)) for each in found for row in each.vintages)
        return
    shell.answer({"liabilities": [_told(each) for each in found]}, list(_lines(found)))


def _figures(row: Vintage) -> Sequence[int]:
    return [getattr(row, column) for column in COLUMNS]


def _told(each: Liability) -> dict[str, Any]:
    estimate = each.estimate
    return {
        "issuer": each.issuer,
        "period": each.period,
        "as_of": milliseconds(each.as_of),
        "final": each.final,
        "vintages": [_row_told(row) for row in each.vintages],
        "total": _row_told(each.total),
        "ageing": [aged._asdict() for aged in each.ageing],
        "over": each.over,
        "ending": [ending._asdict() for ending in each.ending],
        "estimate": None
        if estimate is None
        else {
            "redeemed": estimate.redeemed,
            "breakage": estimate.breakage,
            "unknown": estimate.unknown,
            "basis_points": estimate.basis_points,
            "ages": estimate.ages,
        },
    }


def _row_told(row: Vintage) -> dict[str, Any]:
    return {"vintage": row.month or None, **dict(zip(COLUMNS, _figures(row), strict=True))}


def _lines(found: Sequence[Liability]) -> Iterator[str]:
    if not found:
        yield "no points were ever awarded"
    for n, each in enumerate(found):
        if n:
            yield ""
        so_far = "" if each.final else ", so far"
        yield f"{each.issuer}: points outstanding in period {each.period}{so_far}, as of {milliseconds(each.as_of)}"
        rows = [
            (row.month or "all", *(str(figure) for figure in _figures(row))) for row in (*each.vintages, each.total)
        ]
        yield from table(("vintage", *COLUMNS), rows, right=COLUMNS)
        ages = [f"{aged.points} {_age(aged)}" for aged in each.ageing if aged.points]
        ends = [f"{end.points} {'never' if end.month is None else f'in {end.month}'}" for end in each.ending]
        yield f"age   {', '.join(ages) or 'nothing is outstanding'}"
        yield f"ends  {', '.join([*([f'{each.over} over, not written off yet'] if each.over else []), *ends]) or '-'}"
        yield _estimate_line(each)


def _age(aged: Aged) -> str:
    if aged.below_months is None:
        return f"of {aged.from_months} months or more"
    return f"of {aged.from_months} to {aged.below_months - 1} months"


def _estimate_line(each: Liability) -> str:
    if each.estimate is None:
        return "estimate  none: fewer than twelve whole months of history"
    told = each.estimate
    unknown = f", {told.unknown} of them for want of history" if told.unknown else ""
    return f"estimate  {told.redeemed} are expected to be redeemed{unknown}; breakage {told.breakage}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter("must be a time with offset, such as 2027-01-01T00:00:00Z", param_hint="--as-of")
    return moment.astimezone(UTC)
