"""`exchange member`: what one member has, and how it came to have it.

An operator looks here when a member asks where its points are. A member is named as a partner names it: by the
partner's handle and the partner's own reference.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from exchange.commands import ByReference
from exchange.errors import NotFound
from exchange.journal import milliseconds
from exchange.passbook import PointsEvent, Standing, expirations
from exchange.settlement.export.csv import text
from exchange.wallet import Absorbed, Link, Lot, Wallet
from graph.cli.shell import Shell, identifiers, on_exchange, out_option, table, write_out
from graph.identifiers import Identifiers, Kind
from graph.services import Services

CSV: Final = "csv"
JSON: Final = "json"
COLUMNS: Final = (
    "event", "at", "kind", "partner", "benefit", "redemption", "reason", "lot", "issuer", "points", "held", "balance",
    "balance_held",
)  # fmt: skip

partner_option = click.option("--partner", required=True, metavar="HANDLE", help="The partner that knows the member.")
reference_option = click.option("--reference", required=True, help="That partner's own reference of the member.")


@click.group()
def member() -> None:
    """Show what a member has, and how it came to it."""


@member.command("show")
@partner_option
@reference_option
@on_exchange
def show(shell: Shell, partner: str, reference: str) -> None:
    """Show a member's balance, lots, links, and what expires when.

    \b
    exchange member show --partner video --reference anna
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> dict[str, Any]:
        wallet = await _wallet(services, partner, reference)
        return _told(wallet, await services.now(), identifiers(services)) | {"partner": partner, "reference": reference}

    document = shell.run(work)
    shell.answer(document, _lines(document))


@member.command("history")
@partner_option
@reference_option
@click.option(
    "--format", "form", type=click.Choice((CSV, JSON)),
    help="The form: csv unless --json asks for one JSON document on stdout.",
)  # fmt: skip
@out_option
@on_exchange
def history(shell: Shell, partner: str, reference: str, form: str | None, out: Path | None) -> None:
    """Write all that happened to a member's points, oldest first.

    A CSV has a row for each posting to a lot and for each lot that is held or let go, and one for an event that did
    neither; balance and balance_held are those after the row. JSON has one object for each event. A lot whose time is
    over counts until its expiry is written down.

    \b
    exchange member history --partner video --reference anna --out anna.csv
    exchange member history --partner video --reference anna --format json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if shell.as_json and out is None and form == CSV:
        raise click.UsageError("--json tells about the file: it needs --out FILE")
    form = form or (JSON if shell.as_json and out is None else CSV)
    written_as = _FORMS[form]

    async def work(services: Services) -> dict[str, Any]:
        wallet = await _wallet(services, partner, reference)
        tally = _Tally(services.members.whole_history(wallet.id))
        written = await write_out(written_as(tally, identifiers(services)), out)
        standing = {"events": tally.events, "balance": tally.standing.balance, "balance_held": tally.standing.held}
        return {"partner": partner, "reference": reference, "format": form, "file": str(out), **standing, **written}

    document = shell.run(work)
    if out is not None:
        shell.answer(document, f"{reference} of {partner}: {document['events']} events in {out}")


async def _wallet(services: Services, partner: str, reference: str) -> Wallet:
    if await services.registry.find(partner) is None:
        raise NotFound(f"there is no partner {partner}")
    wallet = await services.members.wallet_of(ByReference(partner, reference))
    if wallet is None:
        raise NotFound(f"{partner} has no member {reference}")
    return wallet


# ---------------------------------------------------------------- the history, written


class _Tally:
    """Events as they are written: how many there were, and where the passbook stands after them."""

    def __init__(self, events: AsyncIterator[PointsEvent]) -> None:
        self._events = events
        self.events = 0
        self.standing = Standing()

    async def __aiter__(self) -> AsyncIterator[tuple[Standing, PointsEvent]]:
        """Yield each event with the standing before it."""
        async for event in self._events:
            before = self.standing
            self.events += 1
            self.standing = before.after(event)
            yield before, event


async def _csv(tally: _Tally, ids: Identifiers) -> AsyncIterator[str]:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)

    def written(*rows: tuple[str, ...]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerows(rows)
        return buffer.getvalue()

    yield written(COLUMNS)
    async for before, event in tally:
        said = _said(event, ids)
        names = ("kind", "partner", "benefit", "redemption", "reason")
        head = (str(tally.events), said["at"], *(text(said[name] or "") for name in names))
        changes = [(move.lot, move.issuer, move.points, 0) for move in event.movements]
        changes += [(hold.lot, hold.issuer, 0, hold.points) for hold in event.holds]
        rows = []
        balance, held = before
        for lot, issuer, points, holding in changes or [("", "", 0, 0)]:
            balance, held = balance + points, held + holding
            name = text(ids.seal(Kind.LOT, lot)) if lot else ""
            rows.append((*head, name, text(issuer), str(points), str(holding), str(balance), str(held)))
        yield written(*rows)


async def _json(tally: _Tally, ids: Identifiers) -> AsyncIterator[str]:
    yield '{"events": ['
    separator = "\n"
    async for _, event in tally:
        after = {"balance": tally.standing.balance, "balance_held": tally.standing.held}
        yield separator + json.dumps({"event": tally.events, **_said(event, ids), **after}, ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


_FORMS: Final[dict[str, Callable[[_Tally, Identifiers], AsyncIterator[str]]]] = {CSV: _csv, JSON: _json}


# ---------------------------------------------------------------- what is told


def _said(event: PointsEvent, ids: Identifiers) -> dict[str, Any]:
    return {
        "at": milliseconds(event.at),
        "kind": event.kind.value,
        "partner": event.by,
        "benefit": event.benefit,
        "redemption": None if event.redemption is None else ids.seal(Kind.REDEMPTION, event.redemption),
        "reason": event.reason,
        "points": event.points,
        "held": event.held,
        "movements": [
            {"lot": ids.seal(Kind.LOT, move.lot), "issuer": move.issuer, "points": move.points}
            for move in event.movements
        ],
        "holds": [
            {"lot": ids.seal(Kind.LOT, hold.lot), "issuer": hold.issuer, "points": hold.points} for hold in event.holds
        ],
    }


def _told(wallet: Wallet, now: datetime, ids: Identifiers) -> dict[str, Any]:
    return {
        "id": ids.of(wallet),
        "balance": wallet.balance(now),
        "held": wallet.held(now),
        "available": wallet.available(now),
        "pending": wallet.pending(now),
        "frozen": wallet.frozen,
        "debts": dict(wallet.debts),
        "lots": [_lot_told(lot, now, ids) for lot in wallet.lots],
        "links": [_link_told(link) for link in wallet.links],
        "merged": [_merged_told(one, ids) for one in wallet.absorbed],
        "expirations": [
            {"expires_at": milliseconds(row.expires_at), "points": row.points} for row in expirations(wallet, now)
        ],
    }


def _lot_told(lot: Lot, now: datetime, ids: Identifiers) -> dict[str, Any]:
    return {
        "id": ids.of(lot),
        "issuer": lot.issuer,
        "awarded": lot.awarded,
        "remaining": lot.remaining,
        "held": lot.held,
        "awarded_at": milliseconds(lot.awarded_at),
        "active_from": _moment(lot.active_from),
        "expires_at": _moment(lot.expires_at),
        "live": lot.live(now),
        "pending": lot.pending(now),
        "frozen": lot.frozen,
    }


def _link_told(link: Link) -> dict[str, Any]:
    return {
        "partner": link.partner,
        "reference": link.reference,
        "since": milliseconds(link.since),
        "daily_limit": link.daily_limit,
        "ended_at": _moment(link.ended_at),
    }


def _merged_told(one: Absorbed, ids: Identifiers) -> dict[str, Any]:
    return {
        "id": ids.seal(Kind.MEMBER, one.wallet),
        "at": milliseconds(one.at),
        "references": {link.partner: link.reference for link in one.links},
        "spent": one.spent,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else milliseconds(at)


def _lines(document: dict[str, Any]) -> list[str]:
    figures = ("balance", "held", "available", "pending")
    width = max(len(str(document[name])) for name in figures)
    lines = [f"{document['reference']} of {document['partner']}{' (frozen)' if document['frozen'] else ''}", ""]
    lines += [f"{name:9}  {document[name]:>{width}}" for name in figures]
    lots = [
        (lot["issuer"], str(lot["remaining"]), str(lot["held"]), str(lot["awarded"]), lot["awarded_at"],
         lot["expires_at"] or "never", _state(lot))
        for lot in document["lots"] if lot["remaining"]
    ]  # fmt: skip
    links = [
        (link["partner"], link["reference"], link["since"], str(link["daily_limit"] or ""), link["ended_at"] or "")
        for link in document["links"]
    ]
    merged = [
        (
            ", ".join(f"{reference} of {partner}" for partner, reference in one["references"].items()), one["at"],
            "for good: its points were spent" if one["spent"] else "",
        )
        for one in document["merged"]
    ]  # fmt: skip
    expiries = [(row["expires_at"], str(row["points"])) for row in document["expirations"]]
    for header, rows in (
        (("lots of", "points", "held", "awarded", "since", "expires", "state"), lots),
        (("link to", "reference", "since", "a day", "ended"), links),
        (("merged into it", "since", ""), merged),
        (("what expires", "points"), expiries),
        (("owed to", "points"), [(issuer, str(points)) for issuer, points in document["debts"].items()]),
    ):
        if rows:
            lines += ["", *table(header, rows, right=("points", "held", "awarded", "a day"))]
    return lines


def _state(lot: dict[str, Any]) -> str:
    if not lot["live"]:
        return "over"
    return ", ".join(
        said for holds, said in ((lot["pending"], f"from {lot['active_from']}"), (lot["frozen"], "frozen")) if holds
    )
