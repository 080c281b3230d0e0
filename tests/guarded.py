"""A MongoDB with authorization on, as production has one: a replica set of one, with an administrator."""

from __future__ import annotations

import base64
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from exchange.mongod import TRANSACTION_SECONDS_MAX, find_binary
from exchange.store.roles import SERVER, SETUP, roles_of

START_SECONDS = 60
DATABASE = "exchange"


@dataclass(frozen=True)
class Guarded:
    """The server, by the URLs of its users; each has the user's name as its password."""

    port: int

    def url(self, user: str, source: str = DATABASE) -> str:
        """Return where that user comes in."""
        at = f"127.0.0.1:{self.port}/{DATABASE}"
        return f"mongodb://{user}:{user}@{at}?replicaSet=guarded&authSource={source}"

    @property
    def admin(self) -> str:
        """The administrator's."""
        return self.url("root", "admin")

    def add_users(self) -> None:
        """Make a user for each of the roles, named like it; the roles must be there."""
        with MongoClient[dict[str, Any]](self.admin) as client:
            for role in roles_of(DATABASE):
                client[DATABASE].command("createUser", role.name, pwd=role.name, roles=[role.name])

    @property
    def server(self) -> str:
        """The servers' user."""
        return self.url(SERVER)

    @property
    def setup(self) -> str:
        """The user that sets up."""
        return self.url(SETUP)


@contextmanager
def guarded() -> Iterator[Guarded]:
    """Run such a server."""
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder, socket.socket() as probe:
        key, files = Path(folder, "key"), Path(folder, "files")
        key.write_bytes(base64.b64encode(secrets.token_bytes(60)))
        key.chmod(0o400)
        files.mkdir()
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        process = subprocess.Popen([
            str(find_binary()), "--replSet=guarded", "--bind_ip=127.0.0.1", f"--port={port}", "--nounixsocket",
            f"--dbpath={files}", f"--keyFile={key}", "--wiredTigerCacheSizeGB=0.25", "--oplogSize=990", "--quiet",
            f"--logpath={folder}/log", "--setParameter=diagnosticDataCollectionEnabled=false",
            f"--setParameter=transactionLifetimeLimitSeconds={TRANSACTION_SECONDS_MAX}",
        ], stdout=subprocess.DEVNULL)  # fmt: skip
        try:
            _begin(port)
            yield Guarded(port)
        finally:
            process.terminate()
            try:
                process.wait(30)
            finally:
                process.kill()


def _begin(port: int) -> None:
    """Make the replica set and, while nobody is known there, by the localhost exception the administrator."""
    deadline = time.monotonic() + START_SECONDS
    with MongoClient[dict[str, Any]](
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=START_SECONDS * 1000
    ) as client:
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        client.admin.command("replSetInitiate", {"_id": "guarded", "members": [member]})
        while not client.admin.command("hello")["isWritablePrimary"]:
            assert time.monotonic() < deadline, "no primary"
            time.sleep(0.05)
        client.admin.command("createUser", "root", pwd="root", roles=["root"])
