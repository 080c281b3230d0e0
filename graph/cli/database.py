"""`exchange database`: the operator's own MongoDB, and who may do what in it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from exchange.errors import StoreUnavailable
from exchange.store.connection import DEFAULT_DATABASE, connect, database_name, settled, why_not_opened
from exchange.store.connection import database as database_of
from exchange.store.roles import Role, apply_roles, roles_of
from graph.cli.shell import Shell, mongo_url_option, on_exchange
from graph.services import Services


@click.group()
def database() -> None:
    """Set the database up, and say who may do what in it.

    An exchange is made by three commands, each as another user of the database:

    \b
    exchange database roles --apply --mongo-url mongodb://admin:…@…/exchange?authSource=admin
    exchange database setup --mongo-url mongodb://setup:…@…/exchange
    exchange up --mongo-url mongodb://server:…@…/exchange
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped


@database.command("setup")
@on_exchange
def setup(shell: Shell) -> None:
    """Make what is missing in the database.

    That is collections, indexes and validators; what is there stays. Every command does so, and `exchange up`, if its
    user may. Run this one as a user that has the role exchangeSetup, before the first start and after every upgrade,
    where servers run as one that has exchangeServer alone.
    """

    async def work(services: Services) -> dict[str, Any]:
        # It was all done when the exchange was opened.
        return {"database": services.db.name, "collections": sorted(await services.db.list_collection_names())}

    document = shell.run(work, begins=True)
    count = len(document["collections"])
    shell.answer(document, f"{document['database']} is set up: {count} collections, their indexes and validators")


@database.command("roles")
@click.option("--apply", "applying", is_flag=True, help="Make the roles in the database, or bring them up to date.")
@mongo_url_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def roles(applying: bool, mongo_url: str | None, as_json: bool) -> None:  # noqa: FBT001 - flags of the command line
    """Show or apply the roles of the database's users.

    They are shown as a script for mongosh. exchangeServer is for the servers: it reads and adds to the journal, the
    terms and the sign-off's log, and changes nothing in them; it drops nothing. exchangeSetup may besides make
    collections, indexes and validators. The name of the database is that in --mongo-url, or exchange.

    --apply asks for an administrator's --mongo-url (userAdmin of that database). It makes no users: they are yours.
    After an upgrade apply the roles again, before `exchange database setup`.

    \b
    exchange database roles | mongosh mongodb://admin:…@…/admin
    exchange database roles --apply --mongo-url mongodb://admin:…@…/exchange?authSource=admin
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if not applying:
        wanted = roles_of(DEFAULT_DATABASE if mongo_url is None else database_name(mongo_url))
        lines = [_script(role) for role in wanted]
        documents = [_document(role) for role in wanted]
    elif mongo_url is None:
        raise click.UsageError("--apply needs --mongo-url (EXCHANGE_MONGO_URL): the embedded database has no users")
    else:
        applied = asyncio.run(_apply(mongo_url))
        lines = [f"{role.name} of {role.database} is {'made' if new else 'up to date'}" for role, new in applied]
        documents = [{**_document(role), "new": new} for role, new in applied]
    if as_json:
        click.echo(json.dumps({"roles": documents}, indent=2))
    else:
        click.echo("\n".join(lines))


async def _apply(url: str) -> list[tuple[Role, bool]]:
    client = connect(url)
    try:
        return await apply_roles(database_of(client))
    except StoreUnavailable as error:
        raise click.ClickException(f"{why_not_opened(url, error)}: --mongo-url must be an administrator's") from error
    finally:
        await settled(client.close())


def _document(role: Role) -> dict[str, Any]:
    return {"role": role.name, "db": role.database, **role.definition()}


def _script(role: Role) -> str:
    definition = json.dumps({"role": role.name, **role.definition()}, indent=2)
    return f"db.getSiblingDB({json.dumps(role.database)}).createRole({definition});"
