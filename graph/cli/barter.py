"""`exchange barter`: what partners settle with each other in kind, quota against quota."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from exchange.amounts import minor_from_decimal
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import milliseconds
from exchange.settlement.barter import Barter, Seen, Version
from graph.cli.rules import BY
from graph.cli.shell import Shell, misused, money, on_exchange, table
from graph.services import Services

_REFERENCE_MAX: Final = 500
_FIGURES: Final = ("quota", "used", "left")


@click.group()
def barter() -> None:
    """Let two partners settle in kind, quota against quota."""


@barter.command("add")
@click.option("--one", required=True, metavar="HANDLE=QUOTA", help="How much its points may take at the other.")
@click.option("--other", required=True, metavar="HANDLE=QUOTA", help="How much the other's points may take at it.")
@click.option("--currency", required=True, metavar="CODE", help="ISO 4217 code, such as EUR: that of their agreements.")
@click.option("--until", required=True, metavar="TIME", help="When it ends, such as 2027-04-01T00:00:00Z.")
@click.option("--from", "since", metavar="TIME", help="From when on; without it, since the open period was opened.")
@click.option("--reference", default="", metavar="TEXT", help="Of the contract, as in your books.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who recorded it.")
@on_exchange
def add(
    shell: Shell, one: str, other: str, currency: str, until: str, since: str | None, reference: str, actor: str
) -> None:
    """Add a barter between two partners.

    A quota is an amount by the prices of the ordinary agreements: what one's points may cost it at the other without
    being paid. Every period that is opened from its beginning to its end belongs to it; what its quotas cover is
    settled in kind when the period is netted, and what they do not is money. When it has ended, who has used more owes
    the difference. Added again with the same terms, it is the same one.

    \b
    exchange barter add --one video=500.00 --other rides=300.00 --currency EUR --until 2027-04-01T00:00:00Z
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    code = currency.upper()
    (first, first_quota), (second, second_quota) = _side(one, code, "--one"), _side(other, code, "--other")
    ends, begins = _moment(until, "--until"), None if since is None else _moment(since, "--from")
    if len(reference) > _REFERENCE_MAX or not (reference.isprintable()):
        raise click.BadParameter(f"at most {_REFERENCE_MAX} printable characters", param_hint="--reference")

    async def work(services: Services) -> Seen:
        for handle in (first, second):
            await _must_exist(services, handle)
        wished = Barter(
            id="", one=first, other=second, currency=code, one_quota=first_quota, other_quota=second_quota,
            since=begins or await services.recording.opened(), until=ends,
        )  # fmt: skip
        try:
            made = await services.recording.barters.add(wished, reference, actor)
        except ValidationFailed as error:
            raise misused(error) from None
        return (await services.recording.seen([made]))[0]

    seen = shell.run(work)
    shell.answer(_told(seen), _lines([seen]))


@barter.command("list")
@click.option("--partner", metavar="HANDLE", help="Only its own.")
@on_exchange
def list_barters(shell: Shell, partner: str | None) -> None:
    """List barters as they stand, the newest first."""

    async def work(services: Services) -> list[Seen]:
        if partner is not None:
            await _must_exist(services, partner)
        return await services.recording.seen(await services.recording.barters.last_versions(partner))

    found = shell.run(work)
    shell.answer({"barters": [_told(each) for each in found]}, _lines(found) if found else ["no barters"])


@barter.command("show")
@click.argument("identity", metavar="BARTER")
@on_exchange
def show(shell: Shell, identity: str) -> None:
    """Show a barter, with all its versions."""

    async def work(services: Services) -> list[Seen]:
        versions = await services.recording.barters.versions(identity)
        if not versions:
            raise NotFound(f"there is no barter {identity}")
        return await services.recording.seen(versions)

    found = shell.run(work)
    header = ("version", "from", "until", "reference", "recorded", "by")
    rows = [
        (str(version.version), milliseconds(version.barter.since), milliseconds(version.barter.until),
         version.reference, milliseconds(version.at), version.actor)
        for version, *_ in found
    ]  # fmt: skip
    versions = [_version(each.version) for each in found]
    shell.answer({**_told(found[0]), "versions": versions}, [*_lines(found[:1]), "", *table(header, rows)])


@barter.command("end")
@click.argument("identity", metavar="BARTER")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who recorded it.")
@on_exchange
def end(shell: Shell, identity: str, actor: str) -> None:
    """End a barter now, as both have agreed.

    The difference is owed in the netting of the period that is open now. Ended again, it stays as it is.
    """

    async def work(services: Services) -> Seen:
        ended = await services.recording.barters.end(identity, actor)
        return (await services.recording.seen([ended]))[0]

    seen = shell.run(work)
    shell.answer(_told(seen), _lines([seen]))


def _told(seen: Seen) -> dict[str, Any]:
    terms = seen.version.barter
    sides = [
        {"issuer": side.issuer, "provider": side.provider, "quota": money(side.quota),
         "used": None if seen.balance is None else money(side.used),
         "left": None if seen.balance is None else money(side.left)}
        for side in seen.so_far.sides()
    ]  # fmt: skip
    return {
        "barter": terms.id, "stage": seen.stage.value, **_version(seen.version), "sides": sides,
        "balance": None if seen.balance is None else money(seen.so_far.difference),
    }  # fmt: skip


def _version(version: Version) -> dict[str, Any]:
    return {
        "version": version.version, "from": milliseconds(version.barter.since),
        "until": milliseconds(version.barter.until), "reference": version.reference or None,
        "recorded": milliseconds(version.at), "by": version.actor,
    }  # fmt: skip


def _lines(seen: list[Seen]) -> list[str]:
    rows = []
    for each in seen:
        terms = each.version.barter
        for side in each.so_far.sides():
            figures = [side.quota, side.used, side.left]
            shown = [money(figure)["amount"] for figure in figures]
            if each.balance is None:
                shown[1:] = ["", ""]
            rows.append(
                (terms.id, side.issuer, side.provider, *shown, terms.currency, milliseconds(terms.since),
                 milliseconds(terms.until), each.stage.value.lower().replace("_", " "))
            )  # fmt: skip
    header = ("barter", "points of", "at", *_FIGURES, "currency", "from", "until", "stands")
    return table(header, rows, right=_FIGURES)


async def _must_exist(services: Services, handle: str) -> None:
    partner = await services.registry.find(handle)
    if partner is None or not partner.roles:
        raise NotFound(f"there is no partner {handle}")


def _side(text: str, currency: str, option: str) -> tuple[str, int]:
    handle, _, amount = text.partition("=")
    try:
        return handle, minor_from_decimal(amount, currency)
    except ValueError as error:
        hint = "--currency" if "ISO 4217" in str(error) else option
        raise click.BadParameter(f"{error}; it wants HANDLE=QUOTA, such as video=500.00", param_hint=hint) from None


def _moment(text: str, option: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter("must be a time with offset, such as 2027-01-01T00:00:00Z", param_hint=option)
    return moment.astimezone(UTC)
