"""`exchange dispute`: which lines partners dispute, and what was said.

The steps themselves are taken through the API alone: there a token says who it is. Here nobody is known.
"""

from __future__ import annotations

from typing import Any

import click

from exchange.errors import NotFound
from exchange.journal import milliseconds
from exchange.settlement.clearing import entry_name
from exchange.settlement.dispute import Dispute, DisputeRecord
from graph.cli.shell import Shell, TakesName, identifiers, money, on_exchange, table
from graph.identifiers import Kind
from graph.services import Services

_PAGE = 500


@click.group()
def dispute() -> None:
    """Show which statement lines are disputed, and how that stands."""


@dispute.command("list")
@click.option("--partner", metavar="HANDLE", help="Only those that this partner is a side of.")
@click.option("--open", "live", is_flag=True, help="Only those that are not decided yet.")
@on_exchange
def list_(shell: Shell, partner: str | None, *, live: bool) -> None:
    """List disputes, the newest first.

    A dispute whose deadline has passed is shown as decided.

    \b
    exchange dispute list --open
    exchange dispute list --partner rides --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> list[dict[str, Any]]:
        if partner is not None and await services.registry.find(partner) is None:
            raise NotFound(f"there is no partner {partner}: see `exchange partner list`")
        told: list[dict[str, Any]] = []
        behind = None
        while found := await services.disputing.page(partner, behind, _PAGE):
            told += [_told(services, each) for each in found if each.live or not live]
            behind = (found[-1].records[0].at, found[-1].id)
        return told

    disputes = shell.run(work)
    header = ("dispute", "statement", "with", "reason", "claim", "status", "waits for", "deadline")
    rows = [
        (
            each["dispute"], each["statement"], each["counterparty"], each["reason"], _said(each["claim"]),
            each["status"], each["waiting_for"] or "", each["deadline"] or "",
        )
        for each in disputes
    ]  # fmt: skip
    shell.answer({"disputes": disputes}, table(header, rows, right=("claim",)))


@dispute.command("show", cls=TakesName)
@click.argument("dispute_id", metavar="DISPUTE")
@on_exchange
def show(shell: Shell, dispute_id: str) -> None:
    """Show one dispute, with all that was said.

    It is named as `exchange dispute list` names it.

    \b
    exchange dispute show DISPUTE --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> dict[str, Any]:
        found = await services.disputing.dispute(identifiers(services).open(Kind.DISPUTE, dispute_id) or "")
        if found is None:
            raise NotFound(f"there is no dispute {dispute_id}: see `exchange dispute list`")
        return {**_told(services, found), "records": [_record(each) for each in found.records]}

    told = shell.run(work)
    waits = f", waits for {told['waiting_for']} until {told['deadline']}" if told["deadline"] else ""
    lines = [
        f"{told['partner']} disputes {_said(told['claim'])} with {told['counterparty']}: {told['reason']}",
        f"statement {told['statement']}, {told['statement_hash']}",
        f"the line: {told['kind']}, entry {told['entry']}, net {_said(told['net'])}",
        f"{told['status']}, round {told['round']}{waits}",
    ]
    if told["award"] is not None:
        carried = "not carried out yet" if told["adjusted_in"] is None else f"adjusted in period {told['adjusted_in']}"
        lines.append(f"upheld: {_said(told['award'])}, {carried}")
    header = ("at", "by", "step", "status", "said", "evidence")
    rows = [
        (
            each["at"], each["by"], each["step"], each["status"], each["text"] or "",
            " ".join(filter(None, (each["link"], each["sha256"]))),
        )
        for each in told["records"]
    ]  # fmt: skip
    shell.answer(told, [*lines, "", *table(header, rows)])


def _told(services: Services, of: Dispute) -> dict[str, Any]:
    line = of.line
    return {
        "dispute": identifiers(services).of(of), "statement": line.statement, "statement_hash": line.statement_hash,
        "partner": line.partner, "counterparty": line.counterparty, "period": line.period, "kind": line.kind.value,
        "entry": entry_name(services.keyring, line.entry, line.partner), "line": line.n, "net": money(line.net),
        "reason": of.reason.value, "claim": money(of.claim), "status": of.status.value, "round": of.round,
        "waiting_for": of.waiting_for, "deadline": None if of.deadline is None else milliseconds(of.deadline),
        "award": None if of.award is None else money(of.award), "adjusted_in": of.adjusted_in,
    }  # fmt: skip


def _record(record: DisputeRecord) -> dict[str, Any]:
    return {
        "step": record.step.value, "by": record.party, "at": milliseconds(record.at), "status": record.status.value,
        "text": record.text, "link": record.link, "sha256": record.digest,
        "award": None if record.award is None else money(record.award), "hash": record.hash,
    }  # fmt: skip


def _said(amount: dict[str, str]) -> str:
    return f"{amount['amount']} {amount['currency']}"
