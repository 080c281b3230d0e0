"""`exchange catalog`: a partner's benefits, from a file.

A feed is published in chunks of as many benefits as one transaction takes. Within a chunk it is all or nothing, so
when the exchange refuses one benefit (its stock is below what was sold, its fulfilment would change), what stands
before it is published, that row is reported, and the rest is tried again. What is published already and the same is
`unchanged`; so to import a mended file again is to import what was mended.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

import click

from exchange.errors import Fault, NotFound, Refusal
from exchange.store.catalog import PUBLISH_MAX, Offer, check_offers
from graph.cli.shell import Shell, on_exchange, table
from graph.services import Services
from partners.feeds import FORMATS, Accepted, FeedError, FeedFormat, Rejected, read_feed
from partners.feeds.rows import WHOLE_ROW

STDIN = "-"


@click.group()
def catalog() -> None:
    """Publish partners' benefits from files."""


@dataclass(slots=True)
class _Report:
    """What became of a feed's rows."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    error: str | None = None

    @property
    def rejected_rows(self) -> int:
        """How many rows; each may have several things wrong."""
        return len({row.line for row in self.rejected})


def _points_per_unit(_context: click.Context, _option: click.Parameter, said: str | None) -> Decimal | None:
    if said is None:
        return None
    try:
        points = Decimal(said)
    except InvalidOperation:
        points = Decimal(0)
    if not points.is_finite() or points <= 0:
        raise click.BadParameter(f"{said} is no number of points, such as 100 or 12.5")
    return points


@catalog.command("import")
@click.option("--partner", required=True, metavar="HANDLE", help="Whose benefits they are.")
@click.option(
    "--format", "layout", type=click.Choice(FORMATS), default="auto", show_default=True, help="The form of the file."
)
@click.option(
    "--points-per-unit", callback=_points_per_unit, metavar="POINTS",
    help="For a reward supplier's list, which has no prices in points: points for one unit of its currency.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and publish nothing.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@on_exchange
def import_catalog(
    shell: Shell, partner: str, layout: FeedFormat, points_per_unit: Decimal | None, dry_run: bool, file: str  # noqa: FBT001
) -> None:  # fmt: skip
    """Publish a file of benefits.

    It is CSV, JSON, JSON Lines, or a reward supplier's product list; `-` reads stdin.

    Every row that can be published is; every other one is reported with its line, field and reason. The exit code is
    1 if any row was rejected or the file could not be read to its end, so that a script cannot miss it. Import the
    mended file again: what did not change is left alone.

    \b
    exchange catalog import --partner rides benefits.csv
    exchange catalog import --partner video --points-per-unit 100 --dry-run products.json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    report = _Report()

    async def work(services: Services) -> None:
        found = await services.registry.find(partner)
        if found is None or not found.roles:
            raise NotFound(f"there is no partner {partner}")
        progress = _Progress(quiet=shell.as_json)
        try:
            rows = read_feed(sys.stdin.buffer if file == STDIN else file, layout, points_per_unit)
            for chunk in _chunks(rows, report):
                await _publish(services, partner, chunk, report, dry_run=dry_run)
                progress.show(report)
        except (FeedError, Fault) as error:
            report.error = error.message
        finally:
            progress.end()

    shell.run(work)
    report.rejected.sort(key=lambda row: row.line)
    shell.answer(_told(report, partner, file, dry_run=dry_run), _lines(report, partner, dry_run=dry_run))
    if report.error is not None:
        raise click.ClickException(report.error)
    if report.rejected:
        click.get_current_context().exit(1)


def _chunks(rows: Iterator[Accepted | Rejected], report: _Report) -> Iterator[list[Accepted]]:
    """Yield the accepted rows by as many as are published at once, the last ones also when the file then breaks off."""
    accepted: list[Accepted] = []
    broken: FeedError | None = None
    while True:
        try:
            for row in islice(rows, PUBLISH_MAX):
                if isinstance(row, Rejected):
                    report.rejected.append(row)
                else:
                    accepted.append(row)
                if len(accepted) == PUBLISH_MAX:
                    break
            else:
                if not accepted:
                    return
        except FeedError as error:
            broken = error
        if accepted:
            yield accepted
            accepted = []
        if broken is not None:
            raise broken


async def _publish(
    services: Services, partner: str, rows: Sequence[Accepted], report: _Report, *, dry_run: bool
) -> None:
    """Publish, or preview, all that can be of these rows."""
    publish = services.catalog.preview if dry_run else services.catalog.publish
    waiting = [list(rows)]
    while waiting:
        some = waiting.pop()
        offers = [Offer(row.content, row.expected_version) for row in some]
        try:
            check_offers(offers)
            published = await publish(partner, offers)
        except Refusal as refusal:
            at, name = _blamed(refusal)
            report.rejected.append(Rejected(some[at].line, name, refusal.message))
            # In order, so that of two that hinder each other it is always the later one that is refused.
            waiting += [part for part in (some[at + 1 :], some[:at]) if part]
        else:
            report.created += published.created
            report.updated += published.updated
            report.unchanged += published.unchanged


def _blamed(refusal: Refusal) -> tuple[int, str]:
    """Return the index of the offer that was refused, and its field: the path is input.benefits.INDEX.FIELD."""
    path = refusal.path or []
    if len(path) < 3 or not path[2].isdigit():  # noqa: PLR2004 - the three are named above
        raise refusal
    return int(path[2]), ".".join(path[3:]) or WHOLE_ROW


# ---------------------------------------------------------------- what is told


class _Progress:
    """One line on a terminal, rewritten as it goes."""

    def __init__(self, *, quiet: bool) -> None:
        self._on = sys.stderr.isatty() and not quiet
        self._shown = False

    def show(self, report: _Report) -> None:
        """Say how far it is."""
        if self._on:
            done = report.created + report.updated + report.unchanged
            click.echo(f"\r{done:,} benefits, {report.rejected_rows:,} rows rejected", err=True, nl=False)
            self._shown = True

    def end(self) -> None:
        """Leave a clean line."""
        if self._shown:
            click.echo("\r\033[K", err=True, nl=False)


def _told(report: _Report, partner: str, file: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "partner": partner,
        "file": file,
        "dry_run": dry_run,
        "created": report.created,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "rejected": [{"line": row.line, "field": row.field, "reason": row.reason} for row in report.rejected],
        "error": report.error,
    }


def _lines(report: _Report, partner: str, *, dry_run: bool) -> list[str]:
    would = " would be" if dry_run else ""
    counts = f"{report.created}{would} created, {report.updated} updated, {report.unchanged} unchanged"
    lines = [f"{partner}: {counts}, {report.rejected_rows} rejected"]
    if report.rejected:
        rows = [(str(row.line), row.field, row.reason) for row in report.rejected]
        lines += ["", *table(("line", "field", "reason"), rows, right=("line",))]
    return lines
