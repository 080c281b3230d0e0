"""The disk is full in the middle of everything: what was acknowledged is there when there is space again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from tests.faults.clients import Crowd
from tests.faults.history import History, Struck
from tests.faults.nodes import Node, Nodes, command
from tests.faults.victim import BENEFITS, running

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("forgotten_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
_MOUNT_MB = 640
"""An empty database takes half of it."""
_PIECE = bytes(1 << 16)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk that is soon full."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        mounting = ["mount", "-t", "tmpfs", "-o", f"size={_MOUNT_MB}m", "faults", folder]
        if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
            pytest.skip("a small disk cannot be mounted here: that takes root, and a kernel that lets it")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """Clients are told nothing that does not last, up to the moment when mongod gives up, and after it came back."""
    nodes = Nodes(small_disk)
    try:
        await nodes.start()
        async with running(tmp_path, nodes) as victim, History(tmp_path / "history.jsonl") as history:
            for offered in BENEFITS:
                await history.write(offered)
            crowd = Crowd(victim, history, seed=7, clients=16, members=60)
            await crowd.gather_members()
            crowd.start()
            await asyncio.sleep(1)
            await history.write(Struck(blow="fill the disk"))
            filler = small_disk / "filler"
            await asyncio.to_thread(_fill, filler)
            await _given_up(nodes.all[0], filler)
            filler.unlink()
            nodes.all[0].start()
            await nodes.primary()
            before = crowd.asker.acknowledged
            async with asyncio.timeout(60):
                while crowd.asker.acknowledged < before + 50:
                    crowd.look()
                    await asyncio.sleep(0.05)
            await crowd.pause()
            await victim.rest()
            verdict = await victim.judge(tmp_path / "history.jsonl")
        assert verdict.holds, verdict.wrong
        assert verdict.acknowledged > 100
    finally:
        nodes.close()


async def _given_up(node: Node, filler: Path) -> None:
    """Return when mongod has ended for want of space: it keeps going until it needs a new block of the disk."""
    async with asyncio.timeout(60):
        while node.alive:
            with suppress(PyMongoError):
                await command(node, "fsync")  # a checkpoint, which it makes once a minute by itself
            await asyncio.to_thread(_fill, filler)
            await asyncio.sleep(0.1)
    assert node.process is not None
    node.process.wait()


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(_PIECE):
            pass
