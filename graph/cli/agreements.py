"""`exchange agreement`: who pays whom how much per point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from exchange.agreements import Agreement, validate_terms
from exchange.amounts import Money, decimal_from_minor, minor_from_decimal
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import milliseconds
from exchange.settlement.simulation import Comparison, Cost, Simulated
from graph.cli.shell import Progress, Shell, WholeNumber, identifiers, misused, money, on_exchange, table
from graph.identifiers import Identifiers
from graph.services import Services

ANY = "any"


@click.group()
def agreement() -> None:
    """Set, list and try what issuers pay providers for points."""


@agreement.command("set")
@click.option("--issuer", metavar="HANDLE", help="Who owes; without it, every issuer that has no agreement of its own.")
@click.option("--provider", metavar="HANDLE", help="Who is owed; without it, every provider likewise.")
@click.option("--price", required=True, metavar="AMOUNT", help="What 1,000 points cost the issuer, such as 8.00.")
@click.option("--currency", required=True, metavar="CODE", help="ISO 4217 code, such as EUR.")
@click.option("--fee-bps", default=0, show_default=True, help="The exchange's fee, in basis points of what is owed.")
@click.option(
    "--commission-bps", default=0, show_default=True,
    help="The commission of the partner through whose app it was redeemed, likewise.",
)  # fmt: skip
@click.option("--effective-from", metavar="TIME", help="From when on, such as 2027-01-01T00:00:00Z; without it, now.")
@on_exchange
def set_agreement(
    shell: Shell, issuer: str | None, provider: str | None, price: str, currency: str, fee_bps: int,
    commission_bps: int, effective_from: str | None,
) -> None:  # fmt: skip
    """Add a version of an agreement. It holds for what is redeemed from then on; nothing before is priced anew.

    The provider pays fee and commission. For a redemption the agreement of issuer and provider counts, then the
    issuer's default, then the provider's, then the one without either.

    \b
    exchange agreement set --issuer video --provider rides --price 8.00 --currency EUR --fee-bps 150
    exchange agreement set --price 7.50 --currency EUR
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    cost = _money(price, currency.upper())
    try:
        validate_terms(cost, fee_bps, commission_bps)
    except ValidationFailed as error:
        raise misused(error) from None
    since = None if effective_from is None else _moment(effective_from)

    async def work(services: Services) -> dict[str, Any]:
        now = await services.now()
        if since is not None and since < now:
            raise ValidationFailed("must not be in the past: what was redeemed is priced already", ("effectiveFrom",))
        for handle in (issuer, provider):
            if handle is not None:
                await _must_exist(services, handle)
        added = await services.terms.add(
            Agreement(
                id="", version=0, issuer=issuer, provider=provider, price_per_1000_points=cost,
                fee_basis_points=fee_bps, commission_basis_points=commission_bps, effective_from=since or now,
            )
        )  # fmt: skip
        return _told(added, identifiers(services))

    document = shell.run(work, begins=True)
    parties = f"{document['issuer'] or ANY} to {document['provider'] or ANY}"
    priced = document["price_per_1000_points"]
    shell.answer(
        document,
        f"{parties}, version {document['version']}: {priced['amount']} {priced['currency']} for 1,000 points, "
        f"fee {fee_bps} bps, commission {commission_bps} bps, from {document['effective_from']}",
    )


@agreement.command("list")
@on_exchange
def list_agreements(shell: Shell) -> None:
    """List every version of every agreement.

    In the order of issuer and provider, the newest version first.
    """

    async def work(services: Services) -> list[dict[str, Any]]:
        ids = identifiers(services)
        return [_told(each, ids) for each in await services.terms.list()]

    agreements = shell.run(work)
    header = ("issuer", "provider", "version", "per 1,000 points", "fee bps", "commission bps", "from")
    rows = [
        (
            each["issuer"] or ANY, each["provider"] or ANY, str(each["version"]),
            " ".join(each["price_per_1000_points"].values()), str(each["fee_basis_points"]),
            str(each["commission_basis_points"]), each["effective_from"],
        )
        for each in agreements
    ]  # fmt: skip
    shell.answer({"agreements": agreements}, table(header, rows, right=header[2:6]))


@agreement.command("simulate")
@click.option("--issuer", metavar="HANDLE", help="Who would owe; without it, the default for every issuer.")
@click.option("--provider", metavar="HANDLE", help="Who would be owed; without it, likewise for every provider.")
@click.option("--price", required=True, metavar="AMOUNT", help="What 1,000 points would cost the issuer, such as 8.00.")
@click.option("--currency", required=True, metavar="CODE", help="ISO 4217 code, such as EUR.")
@click.option("--fee-bps", default=0, show_default=True, help="The exchange's fee, in basis points of what is owed.")
@click.option("--commission-bps", default=0, show_default=True, help="The channel's commission, likewise.")
@click.option(
    "--period", "number", type=WholeNumber(min=1), help="Of which period; without it, the last one that is closed."
)
@on_exchange
def simulate(
    shell: Shell, issuer: str | None, provider: str | None, price: str, currency: str, fee_bps: int,
    commission_bps: int, number: int | None,
) -> None:  # fmt: skip
    """Show what a period would have cost under an agreement. Nothing is changed.

    The agreement takes the place among the others that it would have: a default only counts where nothing more
    specific is agreed. The table shows what would be different, and all that the period cost by currency. An open
    period can be named too; its figures are those so far.

    \b
    exchange agreement simulate --issuer video --provider rides --price 8.00 --currency EUR --fee-bps 150
    exchange agreement simulate --price 7.50 --currency EUR --period 7
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    cost = _money(price, currency.upper())
    try:
        validate_terms(cost, fee_bps, commission_bps)
    except ValidationFailed as error:
        raise misused(error) from None

    async def work(services: Services) -> Simulated:
        for handle in (issuer, provider):
            if handle is not None:
                await _must_exist(services, handle)
        proposed = Agreement(
            id="", version=0, issuer=issuer, provider=provider, price_per_1000_points=cost,
            fee_basis_points=fee_bps, commission_basis_points=commission_bps, effective_from=await services.now(),
        )  # fmt: skip
        progress = Progress(quiet=shell.as_json)
        try:
            return await services.settlement.simulate(
                proposed, number, lambda done, total: progress.show("blocks", done, total)
            )
        finally:
            progress.end()

    simulated = shell.run(work)
    document = {
        "period": simulated.period.number,
        "status": simulated.period.status.value,
        "proposed": {
            "issuer": issuer, "provider": provider, "price_per_1000_points": money(cost),
            "fee_basis_points": fee_bps, "commission_basis_points": commission_bps,
        },
        "repriced": simulated.repriced,
        "rows": [{"issuer": row.issuer, "provider": row.provider, **_compared(row)} for row in simulated.rows],
        "totals": [_compared(total) for total in simulated.totals],
    }  # fmt: skip
    shell.answer(document, _simulation_lines(simulated))


def _simulation_lines(simulated: Simulated) -> Iterator[str]:
    so_far = "" if simulated.period.closed else " so far"
    redemptions = "1 redemption" if simulated.repriced == 1 else f"{simulated.repriced:,} redemptions"
    yield f"period {simulated.period.number}{so_far}: {redemptions} would be priced by it"
    if simulated.rows:
        yield from _compared_lines(simulated.rows)
        yield ""
    else:
        yield "nothing would be different"
    if simulated.totals:
        yield "in all, with what stays as it is:"
        yield from _compared_lines(simulated.totals)


def _compared_lines(rows: Iterable[Comparison]) -> list[str]:
    header = ("issuer", "provider", "redemptions", "points", "", "gross", "fees", "commissions", "currency")
    lines = []
    for row in rows:
        named = (row.issuer or "all", row.provider or "all", f"{row.redemptions:,}", f"{row.points:,}")
        for what, cost in (("now", row.now), ("simulated", row.simulated), ("difference", row.difference)):
            figures = [decimal_from_minor(*amount) for amount in (cost.gross, cost.fees, cost.commissions)]
            lines.append((*named, what, *figures, row.currency))
            named = ("", "", "", "")
    return table(header, lines, right=("redemptions", "points", "gross", "fees", "commissions"))


def _compared(row: Comparison) -> dict[str, Any]:
    return {
        "currency": row.currency, "redemptions": row.redemptions, "points": str(row.points),
        "now": _cost(row.now), "simulated": _cost(row.simulated), "difference": _cost(row.difference),
    }  # fmt: skip


def _cost(cost: Cost) -> dict[str, dict[str, str]]:
    return {"gross": money(cost.gross), "fees": money(cost.fees), "commissions": money(cost.commissions)}


def _told(each: Agreement, ids: Identifiers) -> dict[str, Any]:
    return {
        "id": ids.of(each),
        "issuer": each.issuer,
        "provider": each.provider,
        "version": each.version,
        "price_per_1000_points": money(each.price_per_1000_points),
        "fee_basis_points": each.fee_basis_points,
        "commission_basis_points": each.commission_basis_points,
        "effective_from": milliseconds(each.effective_from),
    }


async def _must_exist(services: Services, handle: str) -> None:
    partner = await services.registry.find(handle)
    if partner is None or not partner.roles:
        raise NotFound(f"there is no partner {handle}")


def _money(amount: str, currency: str) -> Money:
    try:
        return Money(minor_from_decimal(amount, currency), currency)
    except ValueError as error:
        option = "--currency" if "ISO 4217" in str(error) else "--price"
        raise click.BadParameter(str(error), param_hint=option) from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(
            "must be a time with offset, such as 2027-01-01T00:00:00Z", param_hint="--effective-from"
        )
    return moment.astimezone(UTC)
