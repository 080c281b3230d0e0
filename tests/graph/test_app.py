"""The application's own life: what it starts, it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from graph import app


async def test_what_swallows_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver does so at times; a server that waited for such a task would never stop."""
    monkeypatch.setattr(app, "_CANCEL_AGAIN_SECONDS", 0.01)

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    tasks = [asyncio.create_task(deaf()) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.wait_for(app._end(*tasks), 10)  # noqa: SLF001 - the lifespan calls it, and no request can
    assert all(task.cancelled() for task in tasks)
