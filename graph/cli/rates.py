"""`exchange rates`: fixes, the exchange rates by which positions of several currencies are settled in one."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from exchange.errors import NotFound
from exchange.settlement.ecb import fixes_of
from exchange.settlement.fixes import Fix
from graph.cli.shell import Shell, WholeNumber, on_exchange, table
from graph.services import Services

_SHOWN = 20
_SHOWN_MAX = 1_000


@click.group()
def rates() -> None:
    """Import and show exchange rates."""


@rates.command("import")
@click.argument("file", type=click.File("rb"))
@on_exchange
def import_rates(shell: Shell, file: BinaryIO) -> None:
    """Import the European Central Bank's reference rates from a file.

    It is one of those that the bank publishes, unpacked: XML or CSV, of one day or of all; `-` reads stdin. Each day
    becomes a fix with an id of its own, such as ecb-2023-12-08. One that is there already stays as it is; a file that
    says otherwise is refused, and nothing of it is imported.

    \b
    exchange rates import eurofxref-hist.csv
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    fixes = fixes_of(file.read())

    async def work(services: Services) -> int:
        return await services.fixes.add(fixes)

    added = shell.run(work)
    span = {"first": fixes[0].id, "last": fixes[-1].id}
    days = "1 fix" if added == 1 else f"{added:,} fixes"
    shell.answer(
        {"added": added, "known": len(fixes) - added, **span},
        f"added {days}, {len(fixes) - added:,} were there: {span['first']} to {span['last']}",
    )


@rates.command("list")
@click.option("--before", metavar="ID", help="Only those older than this one.")
@click.option("--limit", type=WholeNumber(min=1, max=_SHOWN_MAX), default=_SHOWN, show_default=True, help="How many.")
@on_exchange
def list_rates(shell: Shell, before: str | None, limit: int) -> None:
    """List fixes, the newest first."""

    async def work(services: Services) -> list[Fix]:
        return await services.fixes.page(before, limit)

    found = shell.run(work)
    rows = [(fix.id, fix.date.isoformat(), fix.base, str(len(fix.rates))) for fix in found]
    told = [{**_about(fix), "currencies": sorted(fix.rates)} for fix in found]
    shell.answer({"fixes": told}, table(("fix", "day", "base", "currencies"), rows, right=("currencies",)))


@rates.command("show")
@click.argument("fix_id", metavar="ID")
@on_exchange
def show(shell: Shell, fix_id: str) -> None:
    """Show the rates of a fix, digit by digit as they were published."""

    async def work(services: Services) -> Fix:
        found = await services.fixes.get(fix_id)
        if found is None:
            raise NotFound(f"there is no fix {fix_id}")
        return found

    fix = shell.run(work)
    title = f"{fix.id}: for 1 {fix.base} on {fix.date.isoformat()}"
    shell.answer(fix.told(), [title, *table(("currency", "rate"), fix.rates.items())])


def _about(fix: Fix) -> dict[str, Any]:
    return {name: value for name, value in fix.told().items() if name != "rates"}
