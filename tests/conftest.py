"""One real MongoDB for the whole session, and a database of its own for every test that wants one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from exchange.mongod import EmbeddedMongod


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def mongod() -> Iterator[EmbeddedMongod]:
    """Give the session's server; fail points are allowed. A test that kills a server starts its own."""
    # Not tmp_path_factory: pytest keeps the directories of three sessions, and a database takes 300 MiB.
    with (
        tempfile.TemporaryDirectory(prefix="exchange-") as folder,
        EmbeddedMongod(Path(folder, "data"), test_commands=True) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def mongo_url(request: pytest.FixtureRequest) -> str:
    """Give the URL of EXCHANGE_MONGO_URL's server, or of the embedded one, which is started only then."""
    given = os.environ.get("EXCHANGE_MONGO_URL")
    if given:
        return given
    server: EmbeddedMongod = request.getfixturevalue("mongod")
    return server.url


@pytest.fixture(scope="session")
def _mongo_admin(mongo_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        # A dropped database keeps its files as long as a snapshot could want them, by default five minutes: of some
        # hundred tests that is more files than a process may open, and mongod dies of it.
        with suppress(OperationFailure):
            client.admin.command("setParameter", 1, minSnapshotHistoryWindowInSeconds=10)
        yield client


@pytest.fixture
def database_name(_mongo_admin: MongoClient[dict[str, Any]]) -> Iterator[str]:
    """Give the name of a database that no other test uses, dropped afterwards."""
    name = f"test_{uuid4().hex}"
    yield name
    _mongo_admin.drop_database(name)
