"""`exchange signoff`: the log of what people did about statements, and how many have to approve one.

The steps themselves are taken through the API alone: there a token says who it is. Here nobody is known.
"""

from __future__ import annotations

from typing import Any

import click

from exchange.amounts import Money, minor_from_decimal
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import milliseconds
from exchange.settlement.signoff import Policy, Record, Tier, tiers_checked
from graph.cli.rules import BY
from graph.cli.shell import Shell, identifiers, money, on_exchange, table
from graph.identifiers import Kind
from graph.services import Services

_PAGE = 500
_HINT = "--tier"


@click.group()
def signoff() -> None:
    """Show who signed statements off, and set how many have to."""


@signoff.command("log")
@click.option("--statement", "named", metavar="STATEMENT", help="Only what was done about this one.")
@on_exchange
def log(shell: Shell, named: str | None) -> None:
    """List what was done about statements, from the first step on.

    The versions of the policy stand among the steps. Each record names the one before it by hash, so the last hash, the
    head, stands for the whole log: note it down elsewhere, and nothing before it can be changed without your noticing.
    `exchange check` follows the log.

    \b
    exchange signoff log
    exchange signoff log --statement 1:rides --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> dict[str, Any]:
        statement = None
        if named is not None:
            statement = identifiers(services).open(Kind.STATEMENT, named) or named
            if await services.settlement.statement(statement) is None:
                raise NotFound(f"there is no statement {named}: see `exchange statement list`")
        people = {services.tokens.staff_subject(one.email): one.email for one in await services.staff.everybody()}
        told: list[dict[str, Any]] = []
        after = 0
        while records := await services.sign_off.records(statement, after, _PAGE):
            told += [_told(each, people) for each in records]
            after = records[-1].seq
        head = await services.sign_off.head()
        return {"records": told, "head": None if head is None else {"number": head.seq, "hash": head.hash}}

    document = shell.run(work)
    header = ("number", "at", "step", "statement", "status", "amount", "by", "note")
    rows = [
        (
            str(each["number"]), each["at"], each["step"] or f"policy {each['policy']}", each["statement"] or "",
            each["status"] or "", _said(each["amount"]), each["by"], each["note"] or "",
        )
        for each in document["records"]
    ]  # fmt: skip
    head = document["head"]
    last = "nothing was done yet" if head is None else f"head  {head['number']}  {head['hash']}"
    shell.answer(document, [*table(header, rows, right=("number", "amount")), "", last])


@signoff.command("policy")
@click.option(
    "--tier", "tiers", multiple=True, metavar="CODE:AMOUNT:N",
    help="From this net on, to either side, N people have to approve; repeat it for several.",
)  # fmt: skip
@click.option("--one", is_flag=True, help="One is enough for every statement.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who decided it.")
@on_exchange
def policy(shell: Shell, tiers: tuple[str, ...], actor: str, *, one: bool) -> None:
    """Show how many have to approve a statement, or set it.

    The tiers given are all there are: those before are replaced. Each change adds a version, in force for every
    approval from then on, and a record in the log.

    \b
    exchange signoff policy
    exchange signoff policy --tier EUR:100000.00:2 --tier JPY:10000000:2
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if one and tiers:
        raise click.UsageError("either --tier or --one")
    try:
        given = tiers_checked(_tier(text) for text in tiers)
    except ValidationFailed as error:
        which = "".join(f"{tiers[int(word)]}: " for word in error.path or [] if word.isdecimal())
        raise click.BadParameter(f"{which}{error.message}", param_hint=_HINT) from None

    async def work(services: Services) -> Policy:
        if tiers or one:
            return await services.sign_off.set_policy(given, actor)
        found, _ = await services.sign_off.policy()
        return found

    found = shell.run(work)
    told = [{"amount": money(tier.amount), "approvers": tier.approvers} for tier in found.tiers]
    lines = [f"version {found.version}: one has to approve a statement"]
    lines += [f"from {_said(money(tier.amount))} on: {tier.approvers}" for tier in found.tiers]
    shell.answer({"version": found.version, "tiers": told}, lines)


def _tier(text: str) -> Tier:
    parts = text.split(":")
    try:
        code, amount, approvers = parts
        return Tier(Money(minor_from_decimal(amount, code.upper()), code.upper()), int(approvers))
    except ValueError as error:
        why = "is not CODE:AMOUNT:N, such as EUR:100000.00:2" if len(parts) != len(Tier._fields) + 1 else str(error)
        raise click.BadParameter(f"{text}: {why}", param_hint=_HINT) from None


def _told(record: Record, people: dict[str, str]) -> dict[str, Any]:
    return {
        "number": record.seq, "at": milliseconds(record.at), "step": None if record.step is None else record.step.value,
        "statement": record.statement, "statement_hash": record.statement_hash,
        "status": None if record.status is None else record.status.value,
        "amount": None if record.amount is None else money(record.amount),
        "by": people.get(record.actor, record.actor), "note": record.note, "policy": record.policy,
        "tiers": [{"amount": money(tier.amount), "approvers": tier.approvers} for tier in record.tiers],
        "due": None if record.due is None else [
            {"from": each.from_, "to": each.to, "amount": money(each.amount)} for each in record.due
        ],
        "netting": record.netting, "hash": record.hash,
    }  # fmt: skip


def _said(amount: dict[str, str] | None) -> str:
    return "" if amount is None else f"{amount['amount']} {amount['currency']}"
