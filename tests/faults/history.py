"""What clients did and were told, written down as it happens: one JSON object a line, on the disk before it counts.

An attempt is written before it is sent, an answer before its client goes on. So whoever dies, the history is never
behind the exchange: what may have been asked is in it. Times are seconds on the clock of the process that runs the
clients, which never goes back; an attempt's is from before it was sent, an answer's from after it arrived.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct


class Fact(Struct, frozen=True, kw_only=True, tag_field="what", omit_defaults=True):
    """Something that happened, and when."""

    at: float = msgspec.field(default_factory=time.monotonic)


class Offered(Fact, frozen=True, kw_only=True, tag="offered"):
    """A benefit that clients know by this name; `limit`: units for one member a day."""

    benefit: str
    price: int
    stock: int | None = None
    limit: int | None = None


class Asked(Fact, frozen=True, kw_only=True, tag="asked"):
    """An attempt that is about to be sent, by a partner's server, under an idempotency key.

    `points`: of an award, or the price of a taking; `of`: the key of the taking that a step is about.
    """

    attempt: int
    key: str
    by: str
    operation: str
    member: str
    points: int = 0
    benefit: str = ""
    of: str = ""


class Done(Fact, frozen=True, kw_only=True, tag="done"):
    """It was acknowledged. `made`: what is named by the answer, as it was named; `points`: as answered."""

    attempt: int
    key: str
    made: str
    points: int
    replayed: bool


class Refused(Fact, frozen=True, kw_only=True, tag="refused"):
    """It was refused: nothing was changed by this attempt."""

    attempt: int
    key: str
    code: str
    reasons: tuple[str, ...] = ()


class Unknown(Fact, frozen=True, kw_only=True, tag="unknown"):
    """No answer, or none that says what became of it."""

    attempt: int
    key: str
    why: str


class Struck(Fact, frozen=True, kw_only=True, tag="struck"):
    """What was done to the exchange meanwhile. Nothing is judged by it; it is for whoever looks for a cause."""

    blow: str
    cycle: int = 0


Happened = Offered | Asked | Done | Refused | Unknown | Struck


class History:
    """The file, open for writing; many who write at once share one fsync."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._encoder = msgspec.json.Encoder()
        self._waiting: list[bytes] = []
        self._arrived = asyncio.Event()
        self._durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushing = asyncio.create_task(self._flush())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._arrived.set()
        while self._waiting:
            await asyncio.shield(self._durable)
        self._flushing.cancel()
        await asyncio.gather(self._flushing, return_exceptions=True)
        self._file.close()

    async def write(self, fact: Happened) -> None:
        """Return once it is on the disk."""
        self._waiting.append(self._encoder.encode(fact))
        self._arrived.set()
        await asyncio.shield(self._durable)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            lines, durable = self._waiting, self._durable
            if lines:
                self._waiting, self._durable = [], loop.create_future()
                await asyncio.to_thread(self._put, lines)
                durable.set_result(None)

    def _put(self, lines: list[bytes]) -> None:
        self._file.write(b"\n".join(lines) + b"\n")
        self._file.flush()
        os.fdatasync(self._file.fileno())


def read(path: Path) -> Iterator[Happened]:
    """Read a history in the order in which it was written; a last line that was cut short is none."""
    decoder = msgspec.json.Decoder(Happened)
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield decoder.decode(line)
