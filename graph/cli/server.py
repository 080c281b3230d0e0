"""One server process of `exchange up`: uvicorn on a socket that was bound before it was born.

`up` starts it with two inherited descriptors: the listening socket, and a *lifeline*, one end of a socket pair. The
process says on the lifeline when it serves; when the other end is gone, however its owner died, the process ends at
once. (Linux could send a signal for the same purpose; the lifeline does it everywhere, and without a moment between
birth and request in which a parent's death is missed.)

SIGTERM stops it gracefully: it takes no new connection, answers what it has accepted, and only then gives its lane
back. Settings come by the environment (`graph.settings`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Final

import uvicorn

from exchange.errors import ExchangeError
from graph.app import create_app
from graph.cli.shell import configure_logging

GRACE_SECONDS: Final = 15
"""How long a stop waits for answers: the ledger's own deadline, and some for what comes before and after it."""

FILES_MAX: Final = 65_536
"""Descriptors that a process takes, if the system lets it: every client that is connected holds one."""

SERVING: Final = b"+"


class _Server(uvicorn.Server):
    """Says on the lifeline when it serves."""

    def __init__(self, config: uvicorn.Config, lifeline: socket.socket, stopped: threading.Event) -> None:
        super().__init__(config)
        self._lifeline = lifeline
        self._stopped = stopped

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        # From the start of `serve` on, signals set this by themselves; what came before must not be forgotten.
        self.should_exit |= self._stopped.is_set()
        self._lifeline.send(SERVING)


def main() -> None:
    """Serve until SIGTERM. The program's arguments: LISTENER LIFELINE [--access-log], descriptors by number."""
    listener, lifeline = (socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:3])
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    configure_logging()
    _take_descriptors()
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    stopped = threading.Event()
    # uvicorn takes the signals while it serves and raises them again afterwards; by then they have been obeyed.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        asyncio.run(_serve(listener, lifeline, stopped, access_log="--access-log" in sys.argv[3:]))
    except ExchangeError as error:
        sys.exit(f"a server process cannot go on: {error.message}")


async def _serve(
    listener: socket.socket, lifeline: socket.socket, stopped: threading.Event, *, access_log: bool
) -> None:
    app = create_app()
    config = uvicorn.Config(
        app, http="h11", ws="none", loop="asyncio", log_config=None, access_log=access_log, server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        # Run by ourselves: uvicorn would write a traceback where a line says what is wrong.
        lifespan="off",
    )  # fmt: skip
    async with app.router.lifespan_context(app):
        await _Server(config, lifeline, stopped).serve(sockets=[listener])


def _take_descriptors() -> None:
    """Raise the soft limit, usually 1,024: with it clients would hang unheard, long before the queue is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    # What some systems say they would allow, they then refuse; it stays as it was.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _end_with(lifeline: socket.socket) -> None:
    # A parent that died with our word unread gives a reset instead of an end; it is as dead.
    with suppress(OSError):
        while lifeline.recv(1):
            pass
    os._exit(1)
