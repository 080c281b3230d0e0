"""MongoDB as the faults need it: mongods that can be killed, frozen, cut off, and given a wrong clock.

`exchange.mongod` runs one server and watches over it; here they are several, and nobody may help them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from exchange.mongod import _LAUNCHER, REPLICA_SET, TRANSACTION_SECONDS_MAX, find_binary
from tests.faults.proxy import LOOPBACK, Proxy

READY_SECONDS: Final = 90
_ELECTION_MS: Final = 1_500
_LIBRARIES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


def faketime() -> Path | None:
    """Return libfaketime, by which a mongod can be given a wrong clock: EXCHANGE_FAKETIME, or where Debian puts it."""
    given = os.environ.get("EXCHANGE_FAKETIME")
    return next((Path(path) for path in ([given] if given else _LIBRARIES) if Path(path).is_file()), None)


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Node:
    """One mongod. `faked`: its clock can be set wrong, which costs it half its speed and more."""

    def __init__(self, folder: Path, *, proxied: bool = False, faked: bool = False) -> None:
        self.folder = folder
        self._library = faketime() if faked else None
        self.port = free_port()
        self.proxy = Proxy(self.port) if proxied else None
        if self.proxy is not None:
            self.proxy.start()
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "db").mkdir(parents=True)
        self._clock = folder / "clock"
        self.skew(0)

    @property
    def address(self) -> str:
        """Where everybody finds it."""
        return f"{LOOPBACK}:{self.port if self.proxy is None else self.proxy.port}"

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; it may take a while to answer."""
        parameters = {
            "transactionLifetimeLimitSeconds": TRANSACTION_SECONDS_MAX,
            "diagnosticDataCollectionEnabled": "false",
            "enableTestCommands": 1,
        }
        command = [
            str(find_binary()), f"--replSet={REPLICA_SET}", f"--bind_ip={LOOPBACK}", f"--port={self.port}",
            "--nounixsocket", "--dbpath", str(self.folder / "db"), "--logpath", str(self.folder / "log"),
            "--logappend", "--quiet", "--oplogSize=990", "--wiredTigerCacheSizeGB=0.25",
            *(part for name, value in parameters.items() for part in ("--setParameter", f"{name}={value}")),
        ]  # fmt: skip
        environment = {**os.environ, "LC_ALL": "C"}
        if self._library is not None:
            environment |= {
                "LD_PRELOAD": str(self._library), "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env=environment,
        )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it with kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def skew(self, seconds: int) -> None:
        """Let its clock be wrong by so much, if it is faked."""
        draft = self._clock.with_suffix(".new")
        draft.write_text(f"{seconds:+d}s\n", "ascii")
        draft.replace(self._clock)

    def close(self) -> None:
        """End it for good."""
        self.kill()
        if self.proxy is not None:
            self.proxy.stop()


class Nodes:
    """A replica set of one or several."""

    def __init__(self, folder: Path, count: int = 1, *, proxied: bool = False, faked: bool = False) -> None:
        self.all = [Node(folder / f"node-{number}", proxied=proxied, faked=faked) for number in range(count)]

    def url(self, database: str) -> str:
        """Where drivers connect that mean this database."""
        return f"mongodb://{','.join(node.address for node in self.all)}/{database}?replicaSet={REPLICA_SET}"

    async def start(self) -> None:
        """Start all, make them a replica set, and wait for a primary."""
        for node in self.all:
            node.start()
        config = {
            "_id": REPLICA_SET,
            "members": [{"_id": number, "host": node.address} for number, node in enumerate(self.all)],
            "settings": {"electionTimeoutMillis": _ELECTION_MS, "heartbeatIntervalMillis": 300},
        }
        for node in self.all:
            await self.reachable(node)
        with suppress(OperationFailure):  # initiated already
            await command(self.all[0], "replSetInitiate", config)
        await self.primary()

    async def reachable(self, node: Node) -> None:
        """Return once it answers."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                with suppress(PyMongoError):
                    await command(node, "ping")
                    return
                assert node.alive, (node.folder / "log").read_text()[-2000:]
                await asyncio.sleep(0.05)

    async def primary(self) -> Node:
        """Return the member that takes writes, once there is one."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                for node in self.all:
                    if node.alive and await is_primary(node):
                        return node
                await asyncio.sleep(0.05)

    async def failing(self, commands: list[str], mode: Any, **how: Any) -> None:
        """Let the primary fail commands of the exchange, not of anybody else."""
        data = {"failCommands": commands, "appName": "benefits-exchange", **how}
        await command(await self.primary(), "configureFailPoint", "failCommand", mode=mode, data=data)

    async def well(self) -> None:
        """End every failing."""
        await command(await self.primary(), "configureFailPoint", "failCommand", mode="off")

    async def end_forgotten_transactions(self) -> None:
        """End what a right clock would have ended.

        After its clock jumped back, mongod ends no transaction that is too old for as long as it jumped: the task that
        does it sleeps until then. So whatever a killed gateway wrote stays locked unless somebody does this.
        """
        primary = await self.primary()
        await asyncio.to_thread(_end_old_transactions, primary.port)

    def close(self) -> None:
        """End all."""
        for node in self.all:
            node.close()


async def command(node: Node, name: str, value: Any = 1, **more: Any) -> dict[str, Any]:
    """Ask a member itself, past its proxy."""
    return await asyncio.to_thread(_command, node.port, name, value, more)


def _command(port: int, name: str, value: Any, more: dict[str, Any]) -> dict[str, Any]:
    waiting = 2_000
    with MongoClient[dict[str, Any]](
        LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=waiting, connectTimeoutMS=waiting,
        socketTimeoutMS=15_000, appname="faults",
    ) as client:  # fmt: skip
        return client.admin.command(name, value, **more)


def _end_old_transactions(port: int) -> None:
    old = {"transaction.timeOpenMicros": {"$gt": 2_000_000 * TRANSACTION_SECONDS_MAX}}
    with MongoClient[dict[str, Any]](LOOPBACK, port, directConnection=True, appname="faults") as client:
        found = client.admin.aggregate([{"$currentOp": {"idleSessions": True}}, {"$match": old}])
        sessions = [{"id": operation["lsid"]["id"]} for operation in found]
        if sessions:
            client.admin.command("killSessions", sessions)


async def is_primary(node: Node) -> bool:
    """Whether it says that it takes writes."""
    with suppress(PyMongoError):
        return bool((await command(node, "hello"))["isWritablePrimary"])
    return False


def freeze(process: subprocess.Popen[bytes]) -> None:
    """SIGSTOP."""
    process.send_signal(signal.SIGSTOP)


def thaw(process: subprocess.Popen[bytes]) -> None:
    """SIGCONT."""
    process.send_signal(signal.SIGCONT)
