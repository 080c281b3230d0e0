"""Work in a process of its own: one that is measured by itself, or several that are rivals."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import re
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_JOIN_SECONDS = 60
SPAWN = multiprocessing.get_context("spawn")
"""Nothing of ours is inherited: each process is what a server's worker is."""


async def apart(work: Callable[..., Awaitable[_T]], *args: Any) -> _T:
    """Run `work` in a new process and return its answer; EOFError when it dies before it has one."""
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=_serve, args=(theirs, work, args))
    process.start()
    theirs.close()
    try:
        answer: _T = await asyncio.to_thread(ours.recv)
    except BaseException:
        process.kill()
        raise
    finally:
        await asyncio.to_thread(process.join, _JOIN_SECONDS)
    return answer


def _serve(answer: Connection, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    answer.send(asyncio.run(work(*args)))


def held_mb() -> float:
    """Return the memory that this process holds now, in MB (10^6 bytes)."""
    gc.collect()
    return _memory("VmRSS")


def peak_mb() -> float:
    """Return the most that this process has ever held, in MB (10^6 bytes)."""
    return _memory("VmHWM")


def _memory(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6
