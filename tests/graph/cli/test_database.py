"""`exchange database`, on a MongoDB with authorization on, and `exchange up` as the user that it is for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from exchange.store.roles import SERVER, SETUP
from tests.graph.cli.running import Up, run, spawn, tell
from tests.guarded import DATABASE, Guarded, guarded

NO_SERVER = "mongodb://127.0.0.1:1"


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    """Give a server with an administrator and nothing else."""
    with guarded() as server:
        yield server


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Give a data directory, for the key."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def roles(server: Guarded) -> list[dict[str, Any]]:
    """Give what applying the roles answered; their users are there."""
    applied: list[dict[str, Any]] = tell("database", "roles", "--apply", "--mongo-url", server.admin)["roles"]
    server.add_users()
    return applied


def test_an_exchange_is_set_up_by_one_user_and_served_by_another(
    server: Guarded, roles: list[dict[str, Any]], data: Path
) -> None:
    """The servers' user cannot begin alone; once the other has set up it does everything, but rewrite the journal."""
    assert [(role["role"], role["new"]) for role in roles] == [(SERVER, True), (SETUP, True)]
    as_server = ("--mongo-url", server.server, "--data", data)
    said = run("partner", "list", *as_server)
    assert said.status == 1
    assert said.complaint == (
        f"the database at 127.0.0.1:{server.port} is not set up: not authorized on exchange;"
        f" run `exchange database setup` as a user that has the role {SETUP}"
    )
    up = Up(data, "--mongo-url", server.server, wait=False)
    assert up.ended() == 1
    assert "run `exchange database setup`" in up.err
    told = tell("database", "setup", "--mongo-url", server.setup, "--data", data)
    assert told["database"] == DATABASE
    assert {"entries", "blocks", "wallets", "signing_keys"} <= set(told["collections"])
    said = run("database", "setup", "--mongo-url", server.setup, "--data", data)
    assert said.out == f"exchange is set up: {len(told['collections'])} collections, their indexes and validators\n"
    with Up(data, "--demo", "--workers", "2", "--mongo-url", server.server) as up:
        partner = next(iter(up.demo["partners"].values()))
        answer = up.graphql(
            up.machine_token(partner),
            "mutation($input: AwardPointsInput!) { awardPoints(input: $input) { __typename } }",
            input={"member": {"reference": "ann"}, "points": 100, "idempotencyKey": "first"},
        )
        assert answer == {"awardPoints": {"__typename": "AwardPointsSuccess"}}
        assert up.err == ""
    assert tell("period", "close", *as_server)
    assert tell("check", *as_server)["holds"]
    with MongoClient[dict[str, Any]](server.server) as client:
        for attempt in (client[DATABASE]["entries"].delete_many, client[DATABASE]["blocks"].delete_many):
            with pytest.raises(OperationFailure, match="not authorized"):
                attempt({})


def test_roles_are_applied_by_an_administrator(server: Guarded, roles: list[dict[str, Any]]) -> None:
    """Again they are the same; nobody else may; without a database to apply them to it is wrong usage."""
    said = run("database", "roles", "--apply", "--mongo-url", server.admin)
    assert said.out == f"{SERVER} of exchange is up to date\n{SETUP} of exchange is up to date\n"
    said = run("database", "roles", "--apply", "--mongo-url", server.setup)
    assert said.status == 1
    assert "refused: not authorized on exchange" in said.complaint
    assert said.complaint.endswith("--mongo-url must be an administrator's")
    # In a process of its own: the driver may be in the middle of connecting when it gives up.
    said = spawn("database", "roles", "--apply", "--mongo-url", NO_SERVER)
    assert "no database answers at 127.0.0.1:1" in said.complaint
    said = run("database", "roles", "--apply")
    assert said.status == 2
    assert "--apply needs --mongo-url" in said.complaint


def test_roles_are_shown_without_a_database() -> None:
    """As JSON, or as a script; for the database that the URL names."""
    shown = tell("database", "roles")["roles"]
    assert [(role["role"], role["db"], role["roles"]) for role in shown] == [
        (SERVER, "exchange", []), (SETUP, "exchange", [{"role": SERVER, "db": "exchange"}]),
    ]  # fmt: skip
    rights = {each["resource"]["collection"]: each["actions"] for each in shown[0]["privileges"]}
    assert rights["entries"] == rights["blocks"] == ["find", "insert"]
    assert not {"drop", "dropCollection"} & {action for actions in rights.values() for action in actions}
    script = run("database", "roles", "--mongo-url", f"{NO_SERVER}/spare?w=1").out
    assert script.count('db.getSiblingDB("spare").createRole({') == 2
    assert '"db": "exchange"' not in script
