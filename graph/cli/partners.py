"""`exchange partner`: who is in the exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any, Final

import click

from exchange.errors import ValidationFailed
from exchange.journal import milliseconds
from graph.cli.shell import Shell, identifiers, misused, on_exchange, table
from graph.services import Services
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
    """Bring a partner in, with credentials that are shown this once.

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
