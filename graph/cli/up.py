"""`exchange up`: everything, from the socket to the database, as one parent and its children.

The parent owns what must outlive a server process: the listening sockets, which it binds before anything is started,
so that a taken port costs nothing; the embedded mongod; and the children, `graph.cli.server`, of which each has its
own event loop and its own lane in the ledger. One child or several is the same to it.

Whoever dies, the rest follows or is replaced:

- a child: another takes its place on the same socket, whose queue waits meanwhile; if they keep dying, all ends;
- mongod: all ends, with the line that says why;
- the parent, by kill -9: mongod is told by the kernel, children by their lifeline. The next `up` starts at once;
- the terminal's Ctrl-C reaches the parent alone (children and mongod are in sessions of their own), which stops in
  order: children, answering what they have accepted; then mongod. A second signal hurries both.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from exchange.mongod import EmbeddedMongod
from graph.cli.greeting import greeting
from graph.cli.server import GRACE_SECONDS, SERVING
from graph.cli.shell import (
    WholeNumber,
    configure_logging,
    data_option,
    mongo_url_option,
    need_key,
    opened,
    refuse_second,
    remember_address,
    write_atomically,
)
from graph.demo import load_demo
from graph.settings import Settings
from partners.oauth.tokens import checked_issuer

PORT: Final = 8000
PORT_MAX: Final = 65_535
WORKERS_MAX: Final = 64

_BACKLOG = 2048
_DEATHS_MAX = 5
_DEATHS_SECONDS = 60
_REBIRTH_SECONDS = 0.2
_CHILD = "from graph.cli.server import main; main()"  # with -m it would be imported a second time, as __main__
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_log = logging.getLogger(__name__)


@click.command()
@click.option("--demo", is_flag=True, help="Load partners, benefits, agreements, members and points to try it with.")
@data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=PORT, show_default=True, type=WholeNumber(0, PORT_MAX),
    help="The port to listen on; 0 takes a free one.",
)  # fmt: skip
@click.option(
    "--workers", default=1, show_default=True, type=WholeNumber(1, WORKERS_MAX),
    help="Server processes; as many as there are cores is plenty.",
)  # fmt: skip
@mongo_url_option
@click.option("--access-log", is_flag=True, help="Write a line for each request to stderr.")
def up(
    demo: bool, data: Path, host: str, port: int, workers: int, mongo_url: str | None, access_log: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Run the exchange, until Ctrl-C or SIGTERM.

    That is everything: database, indexes and server. Once it serves it prints `ready http://HOST:PORT`, as the last
    line of stdout. The database is a real MongoDB inside the data directory, unless --mongo-url names another.

    With --demo there are three partners, 1,000 benefits, 200 members, and everybody's credentials in DATA/demo.json.
    Starting again with --demo changes nothing but the tokens, which are good for a day.

    There is no --json: stdout has that line, which is what scripts wait for.

    \b
    exchange up --demo
    exchange up --data /var/lib/exchange --host 0.0.0.0 --workers 2

    Also read from the environment: EXCHANGE_ISSUER, the address under which partners find the exchange, if that is
    not the one it listens on; EXCHANGE_SECRET_KEY, the master key (32 bytes in base64url), otherwise kept in
    DATA/secret.key; EXCHANGE_GRAPHIQL=1 for GraphiQL without --demo.
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    configure_logging()
    if mongo_url is None:
        refuse_second(data)
    with ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in _listening(host, port, workers)]
        url = _url(host, listeners[0].getsockname()[1])
        issuer = _issuer(os.environ.get("EXCHANGE_ISSUER") or url)
        for number in _SIGNALS:
            signal.signal(number, _interrupt)
        mongod = None if mongo_url is not None else EmbeddedMongod(data)
        try:
            if mongod is not None:
                need_key(data)
                click.echo(f"starting the database in {data}")
                mongo_url = mongod.start()
            settings = Settings(
                mongo_url=mongo_url or "", issuer=issuer, data=data,
                graphiql=demo or os.environ.get("EXCHANGE_GRAPHIQL") == "1",
            )  # fmt: skip
            asyncio.run(_Exchange(settings, listeners, url, mongod, demo, access_log).run())
        except KeyboardInterrupt:  # before there was anything to stop in order
            return
        finally:
            if mongod is not None:
                mongod.stop()


class _Exchange:
    """The running exchange, as its parent sees it."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        url: str,
        mongod: EmbeddedMongod | None,
        demo: bool,  # noqa: FBT001
        access_log: bool,  # noqa: FBT001
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._url = url
        self._mongod = mongod
        self._demo = demo
        self._access_log = access_log
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._children: set[_Child] = set()
        self._deaths: deque[float] = deque(maxlen=_DEATHS_MAX)

    async def run(self) -> None:
        """Serve until a signal comes; raises what ended it otherwise."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        parts: list[Coroutine[Any, Any, Any]] = [self._serve(), self._stop.wait()]
        if self._mongod is not None:
            parts.append(self._mongod.watch())
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            if self._mongod is not None and self._mongod.failure() is not None:
                self._hurry.set()  # nothing can be answered any more
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end()
        # If mongod ended, whatever else failed failed because of it.
        failures = [task.exception() for task in tasks if task in done]
        for failure in reversed(failures):
            if failure is not None:
                raise failure

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        else:
            click.echo("stopping; once more to hurry", err=True)
            self._stop.set()

    # ------------------------------------------------------------ serving

    async def _serve(self) -> None:
        async with opened(self._settings, elsewhere=self._mongod is None) as services:
            # While the children come up, this process loads the demo.
            children = [await self._bear(listener) for listener in self._listeners]
            if self._demo:
                path = self._settings.data / "demo.json"
                document = await load_demo(services, self._url, _remembered(path), click.echo)
        if not all([await child.serves() for child in children]):
            raise click.ClickException("a server process ended before it served")
        if self._demo:
            _write(path, document)
        remember_address(self._settings.data, self._url, self._settings.issuer)
        click.echo(greeting(self._url, self._settings.data, document if self._demo else None))
        click.echo(f"ready {self._url}")
        await asyncio.gather(*map(self._keep, children, self._listeners))

    async def _bear(self, listener: socket.socket) -> _Child:
        child = await _Child.start(listener, self._settings, access_log=self._access_log)
        self._children.add(child)
        return child

    async def _keep(self, child: _Child, listener: socket.socket) -> NoReturn:
        """Replace the child, and its replacements, whenever they die."""
        loop = asyncio.get_running_loop()
        while True:
            how = await child.ended()
            self._children.discard(child)
            self._deaths.append(loop.time())
            if len(self._deaths) == _DEATHS_MAX and self._deaths[-1] - self._deaths[0] < _DEATHS_SECONDS:
                said = f"server processes keep dying, {_DEATHS_MAX} within {_DEATHS_SECONDS} s; the last one {how}"
                raise click.ClickException(said)
            _log.warning("a server process %s: starting another", how)
            await asyncio.sleep(_REBIRTH_SECONDS)
            child = await self._bear(listener)

    # ------------------------------------------------------------ stopping

    async def _end(self) -> None:
        """Stop the children, then mongod; a second signal hurries."""
        for listener in self._listeners:
            listener.close()
        hurried = asyncio.create_task(self._hurry.wait())
        for child in self._children:
            child.terminate()
        ends = [asyncio.create_task(child.ended()) for child in self._children]
        if ends:
            # Their own grace, and a little for what they do after it.
            await self._unless_hurried(asyncio.gather(*ends), hurried, GRACE_SECONDS + 5)
            for child in self._children:
                child.kill()
            await asyncio.gather(*ends)
        if self._mongod is not None and self._mongod.failure() is None:
            pid = self._mongod.pid
            stopping = asyncio.create_task(asyncio.to_thread(self._mongod.stop))
            if not await self._unless_hurried(stopping, hurried, None):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # its journal brings everything back that was acknowledged
            await stopping
        hurried.cancel()

    @staticmethod
    async def _unless_hurried(work: asyncio.Future[Any], hurried: asyncio.Task[Any], seconds: float | None) -> bool:
        """Wait for the work; tell whether it was done before the hurry, or the seconds, came."""
        done, _ = await asyncio.wait({work, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return work in done


class _Child:
    """A server process, and our end of its lifeline."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: socket.socket) -> None:
        self._process = process
        self._lifeline = lifeline

    @classmethod
    async def start(cls, listener: socket.socket, settings: Settings, *, access_log: bool) -> _Child:
        """Start one; it serves when `serves` says so."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptors = (listener.fileno(), theirs.fileno())
        # -P: a folder named `graph` where the operator happens to be is not ours.
        command = [sys.executable, "-P", "-c", _CHILD, *map(str, descriptors)]
        if access_log:
            command.append("--access-log")
        environment = {
            **os.environ,
            "EXCHANGE_MONGO_URL": settings.mongo_url,
            "EXCHANGE_ISSUER": settings.issuer,
            "EXCHANGE_DATA": str(settings.data.resolve()),
            "EXCHANGE_GRAPHIQL": "1" if settings.graphiql else "0",
        }
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, stdout=sys.stderr, pass_fds=descriptors, start_new_session=True,
                env=environment,
            )  # fmt: skip
        return cls(process, ours)

    async def serves(self) -> bool:
        """Tell, as soon as it is known, whether it serves."""
        with suppress(ConnectionError):
            return await asyncio.get_running_loop().sock_recv(self._lifeline, 1) == SERVING
        return False

    async def ended(self) -> str:
        """Wait for its end, and say how it ended."""
        status = await self._process.wait()
        self._lifeline.close()
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"

    def terminate(self) -> None:
        """Ask it to stop."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self._process.kill()


# ---------------------------------------------------------------- before anything is started


def _listening(host: str, port: int, count: int) -> list[socket.socket]:
    """Return the listening sockets of `count` server processes; a clear line if that cannot be.

    On Linux each has its own, because of processes that wait on a common one the first to wake takes all: of 16
    connections opened at once it had 14 to 16. Linux shares out what comes to sockets of the same port (SO_REUSEPORT),
    macOS does not.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise click.ClickException(f"{host} is no address of this machine: choose another --host") from None
    try:
        first = _bound(family, address)
        if count == 1 or sys.platform != "linux":
            return [first] * count
        # By now it is sure that nobody else has the port; sharing it, we would not be told.
        address = first.getsockname()
        first.close()
        return [_bound(family, address, shared=True) for _ in range(count)]
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"port {port} of {host} is in use by another program: stop it or choose another --port",
            errno.EACCES: f"port {port} is for the administrator: choose a --port from 1024 on",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine: choose another --host",
        }
        said = reasons.get(error.errno or 0, f"cannot listen on {host}, port {port}: {error.strerror}")
        raise click.ClickException(said) from None


def _bound(family: int, address: Any, *, shared: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        # From here on the port is taken, and who connects waits until there is a process to serve.
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _issuer(url: str) -> str:
    try:
        return checked_issuer(url.rstrip("/"))
    except ValueError as error:
        raise click.ClickException(f"EXCHANGE_ISSUER: {error}") from None


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


# ---------------------------------------------------------------- demo.json


def _remembered(path: Path) -> Mapping[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        write_atomically(path, json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
