"""`exchange up` in a process of its own, with its two outputs apart; and the other commands, as a shell sees them.

A command starts in half a second, most of it imports, and there are a hundred of them here. So `run` calls the console
script's function in this process, where a warning is an error besides; `spawn` starts the real one.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from unittest import mock
from uuid import uuid4

import httpx
from pymongo import MongoClient

from exchange.store.connection import DRIVER
from graph.cli import main
from graph.settings import DEFAULT_ISSUER, Settings

EXCHANGE = str(Path(sys.executable).with_name("exchange"))
READY_SECONDS = 60
STOP_SECONDS = 40
POLL_SECONDS = 0.02

# Nothing of whoever runs the tests, but the driver: with it the whole suite is run on Motor.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EXCHANGE_") or name == DRIVER}


class Said(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("exchange: "), self.err
        return self.err.removeprefix("exchange: ").strip()


def spawn(*arguments: str | Path, **environment: str) -> Said:
    """Run one command to its end, in a process of its own."""
    done = subprocess.run(
        [EXCHANGE, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=90,
        env={**ENVIRONMENT, **environment},
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


def run(*arguments: str | Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Said:
    """Run one command to its end, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    handlers = logging.root.handlers[:]
    with (
        mock.patch.dict(os.environ, {**ENVIRONMENT, **(environment or {})}, clear=True),
        mock.patch.object(sys, "argv", ["exchange", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code
        finally:
            logging.root.handlers[:] = handlers
    assert isinstance(status, int)
    return Said(status, *(each.buffer.getvalue().decode() for each in (out, err)))


def tell(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Any:
    """Run one command with --json and return its document; it must succeed, and be silent about all else."""
    said = run(*arguments, "--json", environment=environment)
    assert (said.status, said.err) == (0, "")
    return json.loads(said.out)


class Up:
    """`exchange up` on a directory; `wait=False` leaves waiting for its ready line to the test."""

    def __init__(self, data: Path, *options: str, wait: bool = True, port: str = "0", **environment: str) -> None:
        self.data = data
        self._out, self._err = (tempfile.NamedTemporaryFile() for _ in range(2))  # noqa: SIM115 - closed by `stop`
        self.process = subprocess.Popen(
            [EXCHANGE, "up", "--data", str(data), "--port", port, *options], stdout=self._out, stderr=self._err,
            env={**ENVIRONMENT, **environment},
        )  # fmt: skip
        if wait:
            wait_until(lambda: self.ready or self.process.poll() is not None, READY_SECONDS)
            assert self.ready, self.out + self.err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._out.close()
        self._err.close()

    @property
    def out(self) -> str:
        """What it wrote to stdout so far."""
        return Path(self._out.name).read_text()

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return Path(self._err.name).read_text()

    @property
    def ready(self) -> list[str]:
        """Its ready lines."""
        return [line for line in self.out.splitlines() if line.startswith("ready ")]

    @property
    def url(self) -> str:
        """Where it serves."""
        return self.ready[0].removeprefix("ready ")

    @property
    def demo(self) -> dict[str, Any]:
        """What demo.json holds."""
        document: dict[str, Any] = json.loads((self.data / "demo.json").read_text())
        return document

    @property
    def children(self) -> list[int]:
        """Its server processes and its mongod."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    @property
    def mongod(self) -> int:
        """Its mongod."""
        return int(json.loads((self.data / "mongod.json").read_text())["pid"])

    @property
    def servers(self) -> list[int]:
        """Its server processes."""
        return [pid for pid in self.children if pid != self.mongod]

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """Stop it, by force after a while."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            finally:
                self.process.kill()

    def graphql(self, token: str, query: str, **variables: Any) -> dict[str, Any]:
        """Execute an operation; there must be no errors."""
        answer = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {token}"}, timeout=30,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        assert "errors" not in answer.json(), answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data

    def machine_token(self, partner: dict[str, Any]) -> str:
        """Return a partner's own token, by its client credentials."""
        answer = httpx.post(
            f"{self.url}/oauth/token", data={"grant_type": "client_credentials"},
            auth=(partner["client_id"], partner["client_secret"]),
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


def cents(amount: str) -> int:
    """Return the cents of an amount as it is printed, `12.34`."""
    return round(float(amount) * 100)


def wait_until(met: Callable[[], Any], seconds: float) -> None:
    """Wait for a condition, or for the seconds to be over."""
    deadline = time.monotonic() + seconds
    while not met() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def lives(pid: int) -> bool:
    """Tell whether a process is there and not only waiting to be buried."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def lived(
    mongo_url: str, admin: MongoClient[dict[str, Any]], folder: Path, partners: Iterable[str],
    live: Callable[[Settings], Coroutine[Any, Any, None]],
) -> Iterator[tuple[str, ...]]:  # fmt: skip
    """Give the options of an exchange of one's own on a database that runs, with these partners, after it has lived."""
    name = f"test_{uuid4().hex}"
    before, _, options = mongo_url.partition("?")
    at = ("--mongo-url", f"{before}{name}?{options}", "--data", str(folder / "data"))
    for handle in partners:
        tell("partner", "create", "--handle", handle, "--name", handle.title(), *at)
    asyncio.run(live(Settings(mongo_url=at[1], issuer=DEFAULT_ISSUER, data=folder / "data")))
    yield at
    admin.drop_database(name)
