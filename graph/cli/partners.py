"""`exchange partner`: who is in the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any, Final

import click
from msgspec.structs import asdict

from exchange.errors import ValidationFailed
from exchange.journal import milliseconds
from graph.cli.rules import BY
from graph.cli.shell import Shell, identifiers, misused, on_exchange, table
from graph.services import Services
from partners.particulars import Version
from partners.registry import Onboarded, Partner, PartnerRole

ROLES: Final = [role.value.lower() for role in PartnerRole]


@click.group()
def partner() -> None:
    """Bring partners into the exchange, and list them."""


@partner.command("create")
@click.option("--handle", required=True, help="Its name in programs, for ever: a-z, 0-9 and -, 2 to 40 characters.")
@click.option("--name", required=True, help="Its name for people.")
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(ROLES, case_sensitive=False),
    help="What it does here; repeat it for several. Without any: all three, and all partner scopes.",
)  # fmt: skip
@click.option(
    "--public-key", type=click.File("r", encoding="utf-8"), metavar="FILE",
    help="Its own EC P-256 public key, PEM or JWK, for signing assertions. Without it a key pair is made.",
)  # fmt: skip
@on_exchange
def create(shell: Shell, handle: str, name: str, roles: Sequence[str], public_key: IO[str] | None) -> None:
    """Bring a partner in; its credentials are shown once.

    Its server gets tokens with the client id and secret (OAuth client credentials), and tokens for its own members
    with assertions signed by the assertion key.

    \b
    exchange partner create --handle rides --name "Komet Rides"
    exchange partner create --handle video --name "Lumen Video" --role provider --public-key video.pem
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    key = None if public_key is None else _text_of(public_key)
    wanted = [PartnerRole(role.upper()) for role in roles] or None

    async def work(services: Services) -> tuple[Onboarded, str]:
        now = await services.now()
        try:
            made = await services.registry.create(handle, name, now=now, roles=wanted, public_key=key)
        except ValidationFailed as error:
            if error.path == ["input", "handle"] and await services.registry.find(handle) is not None:
                raise  # nothing is wrong with it, but that it is taken
            raise misused(error) from None
        return made, identifiers(services).of(made.partner)

    onboarded, sealed = shell.run(work, begins=True)
    document = {
        **_told(onboarded.partner, sealed),
        "client_id": onboarded.client_id,
        "client_secret": onboarded.client_secret,
    }
    lines = [
        f"{onboarded.partner.handle} is a partner. Keep these: they are shown this once.",
        "",
        f"id             {sealed}",
        f"client_id      {onboarded.client_id}",
        f"client_secret  {onboarded.client_secret}",
    ]
    if onboarded.assertion_key is not None:
        document["assertion_key"] = onboarded.assertion_key
        lines += ["assertion_key", onboarded.assertion_key.strip()]
    shell.answer(document, lines)


@partner.command("list")
@on_exchange
def list_partners(shell: Shell) -> None:
    """List the partners, by handle."""

    async def work(services: Services) -> list[dict[str, Any]]:
        ids = identifiers(services)
        return [_told(each, ids.of(each)) for each in await services.registry.refresh() if each.roles]

    partners = shell.run(work)
    rows = [(each["handle"], each["name"], " ".join(each["roles"]), each["created_at"]) for each in partners]
    shell.answer({"partners": partners}, table(("handle", "name", "roles", "since"), rows))


@partner.command("particulars")
@click.argument("handle")
@click.option("--name", help="What it is called in law.")
@click.option("--address", multiple=True, metavar="LINE", help="A line of its address; repeat it, up to five times.")
@click.option("--tax-number", help="Its number with the tax office, such as a VAT number.")
@click.option("--iban", help="Its account.")
@click.option("--bic", help="Its account's bank.")
@click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who changes it.")
@on_exchange
def particulars(shell: Shell, handle: str, actor: str, **given: str | Sequence[str] | None) -> None:
    """Show or change what a partner is on paper.

    It stands on statements as PDF, and in payment files.

    HANDLE `exchange` is the operator, whose letterhead it is. What is not given stays; an empty text takes it away.
    Each change is a version of its own, and none is ever removed.

    \b
    exchange partner particulars exchange --name "Exchange AG" --address "Bahnhofstrasse 1" --address "8001 Zürich"
    exchange partner particulars rides --tax-number DE136695976 --iban "DE89 3704 0044 0532 0130 00"
    exchange partner particulars rides
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    changes = {name: value for name, value in given.items() if value not in (None, ())}
    if "address" in changes:
        changes["address"] = tuple(line for line in given["address"] or () if line)

    async def work(services: Services) -> Version:
        found = await services.registry.get(handle)
        if not changes:
            return await services.particulars.of(found)
        try:
            return await services.particulars.change(found, changes, actor, await services.now())
        except ValidationFailed as error:
            raise misused(error) if error.path else error from None

    found = shell.run(work)
    what = found.particulars
    told = {
        "handle": handle, "version": found.number, **asdict(what), "by": found.by,
        "at": None if found.at is None else milliseconds(found.at),
    }  # fmt: skip
    lines = [
        ("name", what.name), *(("address", line) for line in what.address), ("tax number", what.tax_number),
        ("iban", what.iban), ("bic", what.bic),
    ]  # fmt: skip
    since = "as brought in" if found.at is None else f"version {found.number}, by {found.by}, {milliseconds(found.at)}"
    shell.answer(told, [*(f"{name:<10}  {text}" for name, text in lines if text), "", since])


def _told(each: Partner, sealed: str) -> dict[str, Any]:
    return {
        "id": sealed,
        "handle": each.handle,
        "name": each.name,
        "roles": [role.value for role in each.roles],
        "created_at": milliseconds(each.created_at),
    }


def _text_of(file: IO[str]) -> str:
    try:
        return file.read()
    except UnicodeDecodeError:
        raise click.BadParameter(
            f"{file.name} is no text: give the key as PEM or JWK", param_hint="--public-key"
        ) from None
