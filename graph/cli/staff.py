"""`exchange staff`: the operator's own people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from exchange.errors import ValidationFailed
from graph.cli.shell import Shell, misused, on_exchange
from graph.services import Services
from partners.oauth.scopes import STAFF_SCOPES
from partners.oauth.tokens import STAFF_TOKEN_SECONDS
from partners.staff import Engaged


@click.group()
def staff() -> None:
    """Engage the people who run the exchange."""


@staff.command("create")
@click.option("--email", required=True, help="The person's address.")
@click.option(
    "--role", "roles", multiple=True, required=True, type=click.Choice(STAFF_SCOPES),
    help="What the person may do; repeat it for several. No role contains another.",
)  # fmt: skip
@click.option(
    "--token", is_flag=True, help=f"Also an access token for the API, good for {STAFF_TOKEN_SECONDS // 60} minutes."
)
@on_exchange
def create(shell: Shell, email: str, roles: Sequence[str], token: bool) -> None:  # noqa: FBT001 - a flag of the command line
    """Engage a person, with a one-time password that is shown this once.

    Who prepares a settlement may not approve it: give finance:prepare and finance:approve to two people.

    \b
    exchange staff create --email ada@example.org --role finance:view --role finance:prepare
    exchange staff create --email ops@example.org --role admin --token
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> tuple[Engaged, str | None]:
        now = await services.now()
        try:
            made = await services.staff.create(email, roles, now=now)
        except ValidationFailed as error:
            if error.path == ["input", "email"] and await services.staff.get(email) is not None:
                raise  # nothing is wrong with it, but that the person is on the staff
            raise misused(error) from None
        return made, services.tokens.for_staff(made.staff) if token else None

    engaged, access_token = shell.run(work, begins=True)
    document: dict[str, Any] = {
        "email": engaged.staff.email,
        "roles": list(engaged.staff.roles),
        "password": engaged.password,
    }
    lines = [
        f"{engaged.staff.email} is on the staff: {' '.join(engaged.staff.roles)}",
        f"one-time password  {engaged.password}",
    ]
    if access_token is not None:
        document |= {"access_token": access_token, "expires_in": STAFF_TOKEN_SECONDS}
        lines.append(f"access token       {access_token}")
    shell.answer(document, lines)
