"""A TCP proxy between the driver and one mongod, that loses, keeps and delays what goes through it.

    with Proxy(mongod_port) as proxy:
        client = connect(proxy.url)
        proxy.cut()                                  a partition: nobody is there any more
        proxy.stall(answers=True)                    connected, and silent
        proxy.mend()                                 as if nothing had been

        with proxy.hold("commitTransaction") as held:    one commit is caught on its way
            await held.caught()
            held.hang_up()                           its sender sees the connection break
            held.deliver()                           and it arrives all the same, late

It reads MongoDB's wire protocol (OP_MSG, without compression) as far as the name of the command. It runs in a thread
of its own, so tests with and without an event loop use it alike; every method returns when it has taken effect.

A driver goes to the addresses that a replica set's configuration names. So either it connects directly (`url` does),
or the members are configured with their proxies' addresses, and then they too speak through them to each other.
"""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import bson

LOOPBACK: Final = "127.0.0.1"
_HEADER: Final = struct.Struct("<iiii")
_OP_MSG: Final = 2013
_BODY: Final = 21
"""Where an OP_MSG's first document begins: behind the header, the flags and the kind of section."""
_BUFFER_BYTES: Final = 1 << 20
_WAIT_SECONDS: Final = 10.0


class Way(Enum):
    """Which way a message goes: to the server, or back."""

    REQUEST = "request"
    ANSWER = "answer"


class _Message(NamedTuple):
    raw: bytes
    id: int
    answers: int

    @property
    def command(self) -> str:
        """The name of the command, if this is a request that has one."""
        if _HEADER.unpack_from(self.raw)[3] != _OP_MSG or self.raw[_BODY - 1] != 0:
            return ""
        start = _BODY + 5
        return self.raw[start : self.raw.index(0, start)].decode()

    @property
    def document(self) -> dict[str, Any]:
        """The command itself."""
        length = int.from_bytes(self.raw[_BODY : _BODY + 4], "little")
        return bson.decode(self.raw[_BODY : _BODY + length])


async def _receive(reader: asyncio.StreamReader) -> _Message:
    header = await reader.readexactly(_HEADER.size)
    length, identity, answers, _ = _HEADER.unpack(header)
    return _Message(header + await reader.readexactly(length - _HEADER.size), identity, answers)


class Held:
    """Messages of one command that are caught in the network, and what becomes of them.

    As a context manager it ends by delivering whatever it still has.
    """

    def __init__(
        self, proxy: Proxy, command: str, way: Way, *, times: int, where: Callable[[dict[str, Any]], bool],
        hang_up: bool,
    ) -> None:  # fmt: skip
        self._proxy = proxy
        self._command = command
        self._where = where
        self._left = times
        self._hangs_up = hang_up
        self._links: list[_Link] = []
        self._released = asyncio.Event()
        self._dropped = False
        self.way = way
        self.count = 0
        """How many were caught so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.deliver()

    async def caught(self, count: int = 1, within_seconds: float = _WAIT_SECONDS) -> None:
        """Return once so many are caught; TimeoutError if it takes too long."""
        async with asyncio.timeout(within_seconds):
            while self.count < count:  # noqa: ASYNC110 - counted in another thread
                await asyncio.sleep(0.005)

    def wait(self, count: int = 1, within_seconds: float = _WAIT_SECONDS) -> None:
        """Return once so many are caught, for tests without an event loop; TimeoutError if it takes too long."""
        deadline = time.monotonic() + within_seconds
        while self.count < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.count} of {count} {self._command} caught")
            time.sleep(0.005)

    def hang_up(self) -> None:
        """Break the senders' connections. What is caught stays in the air: it can still be delivered."""
        self._proxy.run(self._hang_up())

    def deliver(self) -> None:
        """Let what is caught arrive, and catch no more. Of requests: returns when the server has answered them."""
        self._proxy.run(self._release(dropped=False))

    def drop(self) -> None:
        """Lose what is caught, and catch no more."""
        self._proxy.run(self._release(dropped=True))

    def wants(self, message: _Message) -> bool:
        """Tell whether this request, or its answer, is one to catch."""
        return self._left > 0 and message.command == self._command and self._where(message.document)

    async def keep(self, link: _Link) -> bool:
        """Keep a message of this link until it is said what becomes of it; returns whether it goes on."""
        self._left -= 1
        self._links.append(link)
        self.count += 1
        if self._hangs_up:
            link.hang_up()
        await self._released.wait()
        return not self._dropped

    async def _hang_up(self) -> None:
        for link in self._links:
            link.hang_up()

    async def _release(self, *, dropped: bool) -> None:
        if self._released.is_set():
            return
        self._left, self._dropped = 0, dropped
        self._released.set()
        self._proxy.forget(self)
        if not dropped and self.way is Way.REQUEST:
            for link in self._links:
                await link.delivered.wait()


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self._asked: dict[int, _Message] = {}
        self._late: int | None = None
        self.delivered = asyncio.Event()
        """Set when the server has answered what was held, or never will."""

    async def run(self, near: asyncio.StreamReader, far: asyncio.StreamReader) -> None:
        """Carry messages both ways until one end closes and nothing of it is in the air."""
        pumps = [asyncio.create_task(self._ask(near)), asyncio.create_task(self._answer(far))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.close()

    def hang_up(self) -> None:
        """Break the client's side alone."""
        self._near.transport.abort()

    def close(self) -> None:
        """Break both sides."""
        self._near.transport.abort()
        self._far.transport.abort()
        self.delivered.set()

    @property
    def holding(self) -> bool:
        """Whether a message of this connection is in the air."""
        return self._late is not None and not self.delivered.is_set()

    async def _ask(self, near: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = await _receive(near)
                held = self._proxy.catcher(message, Way.REQUEST)
                if held is not None:
                    self._late = message.id
                    self.delivered.clear()
                    if not await held.keep(self):
                        self.delivered.set()
                        continue
                await self._proxy.requests_pass.wait()
                self._asked[message.id] = message
                self._far.write(message.raw)
                await self._far.drain()
        if self.holding:
            await self.delivered.wait()

    async def _answer(self, far: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = await _receive(far)
                request = self._asked.pop(message.answers, None)
                held = None if request is None else self._proxy.catcher(request, Way.ANSWER)
                if held is not None and not await held.keep(self):
                    continue
                await self._proxy.answers_pass.wait()
                if message.answers == self._late:
                    self.delivered.set()
                # A client that hung up hears nothing any more, and that must not end what it left in the air.
                with suppress(OSError):
                    self._near.write(message.raw)
                    await self._near.drain()


class Proxy:
    """The network between clients and the mongod that listens on `server_port`; it is whole until told otherwise."""

    def __init__(self, server_port: int, port: int = 0) -> None:
        self.server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._refusing = False
        self._links: set[_Link] = set()
        self._held: list[Held] = []
        self.port = port
        self.requests_pass = asyncio.Event()
        self.answers_pass = asyncio.Event()
        self.requests_pass.set()
        self.answers_pass.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where a driver connects that is to go through here and nowhere else."""
        return f"mongodb://{LOOPBACK}:{self.port}/?directConnection=true"

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self.run(self._listen())

    def stop(self) -> None:
        """Break everything and listen no more."""
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Drop every connection and refuse new ones. What is held stays in the air."""
        self.run(self._cut(refusing=True))

    def drop_connections(self) -> None:
        """Drop every connection once; new ones are welcome. What is held stays in the air."""
        self.run(self._cut(refusing=False))

    def stall(self, *, requests: bool = True, answers: bool = True) -> None:
        """Accept connections and bytes, and pass none on, in the ways that are said."""
        self.run(self._stall(requests=requests, answers=answers))

    def mend(self) -> None:
        """Accept and pass on everything again, what was stalled first. What is held stays held."""
        self.run(self._mend())

    def hold(
        self,
        command: str,
        way: Way = Way.REQUEST,
        *,
        times: int = 1,
        where: Callable[[dict[str, Any]], bool] = lambda _: True,
        hang_up: bool = False,
    ) -> Held:
        """Catch the next requests of this command, or their answers.

        `where` chooses by the command's document; with `hang_up` each sender sees its connection break at once,
        instead of waiting for an answer until it gives up.
        """
        held = Held(self, command, way, times=times, where=where, hang_up=hang_up)
        self.run(self._add(held))
        return held

    # ------------------------------------------------------------ in its thread

    def run(self, doing: Coroutine[Any, Any, None]) -> None:
        """Do it in the proxy's own loop, and return when it is done."""
        asyncio.run_coroutine_threadsafe(doing, self._loop).result(_WAIT_SECONDS)

    def catcher(self, request: _Message, way: Way) -> Held | None:
        """Return who wants to catch this."""
        return next((held for held in self._held if held.way is way and held.wants(request)), None)

    def forget(self, held: Held) -> None:
        """Catch nothing more for it."""
        self._held.remove(held)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=_BUFFER_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        if self._refusing:
            near.transport.abort()
            return
        try:
            far_reader, far = await asyncio.open_connection(LOOPBACK, self.server_port, limit=_BUFFER_BYTES)
        except OSError:
            near.transport.abort()
            return
        link = _Link(self, near, far)
        self._links.add(link)
        try:
            await link.run(near_reader, far_reader)
        finally:
            self._links.discard(link)

    async def _add(self, held: Held) -> None:
        self._held.append(held)

    async def _cut(self, *, refusing: bool) -> None:
        self._refusing = refusing
        for link in list(self._links):
            if link.holding:
                link.hang_up()
            else:
                link.close()

    async def _stall(self, *, requests: bool, answers: bool) -> None:
        if requests:
            self.requests_pass.clear()
        if answers:
            self.answers_pass.clear()

    async def _mend(self) -> None:
        self._refusing = False
        self.requests_pass.set()
        self.answers_pass.set()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.close()
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - they end by themselves, now that nothing is connected
            await asyncio.sleep(0.005)
