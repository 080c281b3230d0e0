"""`exchange exposure`: how much partners may owe, what they have paid, and what is left."""

from __future__ import annotations

from typing import Any

import click

from exchange.amounts import Money, minor_from_decimal
from exchange.errors import NotFound, ValidationFailed
from exchange.exposure import Exposure, Funding, Pair, validate_cap, validate_payment
from exchange.journal import milliseconds
from graph.cli.shell import Shell, misused, money, on_exchange, table
from graph.services import Services

BY = "the command line"


@click.group()
def exposure() -> None:
    """Cap what partners may owe, and record payments."""


@exposure.command("set")
@click.option("--partner", required=True, metavar="HANDLE", help="Whose it is.")
@click.option("--currency", required=True, metavar="CODE", help="ISO 4217 code, such as EUR.")
@click.option("--cap", metavar="AMOUNT", help="How much it may owe, net, before its payments; 0: it pays in advance.")
@click.option("--none", "lift", is_flag=True, help="Lift the cap: it may owe as much as it likes.")
@click.option("--low", metavar="AMOUNT", help="Below what is left a notice is written; without it, never.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who decided it.")
@on_exchange
def set_cap(
    shell: Shell, partner: str, currency: str, cap: str | None, low: str | None, actor: str, *, lift: bool
) -> None:
    """Set how much a partner may owe in a currency. It is in force when the command ends.

    What it owes already counts. A redemption that would lead beyond is refused: ISSUER_LIMIT. What is given back never
    is.

    \b
    exchange exposure set --partner video --currency EUR --cap 50000.00 --low 5000.00
    exchange exposure set --partner rides --currency EUR --cap 0
    exchange exposure set --partner video --currency EUR --none
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if (cap is None) != lift:
        raise click.UsageError("give --cap with an amount, or --none")
    code = currency.upper()
    minor = None if cap is None else _minor(cap, code, "--cap")
    low_minor = None if low is None else _minor(low, code, "--low")
    try:
        validate_cap(code, minor, low_minor)
    except ValidationFailed as error:
        raise misused(error) from None

    async def work(services: Services) -> dict[str, Any]:
        await _must_exist(services, partner)
        made = await services.headroom.set_cap(Pair(partner, code), minor, low_minor, actor=actor)
        found = [each for each in await services.headroom.exposures(partner) if each.in_force.pair == made.pair]
        return {
            "partner": partner,
            "currency": code,
            "version": made.version,
            "exposure": _told(found[0]) if found else None,
        }

    document = shell.run(work)
    left = document["exposure"]
    said = f"may owe as much {code} as it likes" if left is None else f"may owe {_said(left['left'])} more"
    shell.answer(document, f"{partner}, version {document['version']}: {said}")


@exposure.command("fund")
@click.option("--partner", required=True, metavar="HANDLE", help="Who paid, or was paid.")
@click.option("--amount", required=True, metavar="AMOUNT", help="How much it paid; negative: how much was paid to it.")
@click.option("--currency", required=True, metavar="CODE", help="ISO 4217 code, such as EUR.")
@click.option("--reference", required=True, metavar="TEXT", help="Of the payment, as in the bank's books.")
@click.option("--key", metavar="KEY", help="What makes it the same payment when repeated; without it, the reference.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who recorded it.")
@on_exchange
def fund(
    shell: Shell, partner: str, amount: str, currency: str, reference: str, key: str | None, actor: str
) -> None:  # fmt: skip
    """Record a payment of a partner, or to it. Repeated with the same key it is one payment.

    \b
    exchange exposure fund --partner rides --amount 10000.00 --currency EUR --reference "Bank 2027-03-01/17"
    exchange exposure fund --partner rides --amount=-250.00 --currency EUR --reference "Bank 2027-03-02/4"
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    code = currency.upper()
    paid = Money(_minor(amount, code, "--amount"), code)
    try:
        validate_payment(paid)
    except ValidationFailed as error:
        raise misused(error) from None

    async def work(services: Services) -> dict[str, Any]:
        await _must_exist(services, partner)
        recorded = await services.headroom.fund(
            Funding(
                id=services.keyring.digest("funding", f"{partner}/{key or reference}"), partner=partner, amount=paid,
                reference=reference, actor=actor, at=await services.now(), fingerprint=f"{paid.minor} {code}",
            )
        )  # fmt: skip
        found = await services.headroom.exposures(partner)
        return {
            "partner": partner,
            "amount": money(paid),
            "reference": recorded.funding.reference,
            "at": milliseconds(recorded.funding.at),
            "replayed": recorded.replayed,
            "exposure": next((_told(each) for each in found if each.currency == code), None),
        }

    document = shell.run(work)
    said = "was recorded before" if document["replayed"] else "is recorded"
    left = document["exposure"]
    rest = "" if left is None else f"; {_said(left['left'])} left"
    shell.answer(document, f"{_said(document['amount'])} of {partner} {said}{rest}")


@exposure.command("list")
@click.option("--partner", metavar="HANDLE", help="Only this one's.")
@on_exchange
def list_exposures(shell: Shell, partner: str | None) -> None:
    """List the caps in force.

    With what was paid, what is used (owed, or promised to reservations), and what is left.
    """

    async def work(services: Services) -> list[dict[str, Any]]:
        if partner is not None:
            await _must_exist(services, partner)
        return [_told(each) for each in await services.headroom.exposures(partner)]

    exposures = shell.run(work)
    header = ("partner", "currency", "cap", "paid", "used", "left", "")
    rows = [
        (
            each["partner"], each["currency"],
            *(each[name]["amount"] for name in ("cap", "paid", "used", "left")), "low" if each["low"] else "",
        )
        for each in exposures
    ]  # fmt: skip
    shell.answer({"exposures": exposures}, table(header, rows, right=header[2:6]))


def _told(each: Exposure) -> dict[str, Any]:
    return {
        "partner": each.in_force.partner,
        "currency": each.currency,
        "version": each.version,
        "since": milliseconds(each.since),
        **{name: money(getattr(each, name)) for name in ("cap", "paid", "used", "left")},
        "low_balance": None if each.low_balance is None else money(each.low_balance),
        "low": each.low,
        "notices": [
            {
                "at": milliseconds(notice.at),
                "left": money(notice.left),
                "cleared_at": None if notice.cleared_at is None else milliseconds(notice.cleared_at),
            }
            for notice in each.notices
        ],
    }


def _said(amount: dict[str, str]) -> str:
    return f"{amount['amount']} {amount['currency']}"


def _minor(amount: str, currency: str, option: str) -> int:
    try:
        return minor_from_decimal(amount, currency)
    except ValueError as error:
        named = "--currency" if "ISO 4217" in str(error) else option
        raise click.BadParameter(str(error), param_hint=named) from None


async def _must_exist(services: Services, handle: str) -> None:
    partner = await services.registry.find(handle)
    if partner is None or not partner.roles:
        raise NotFound(f"there is no partner {handle}")
