"""The suite would notice: each bug that somebody could write is planted in a gateway, and found by judging.

Each scene is made by hand, not by luck: it holds a message, lets a command fail or kills a process at the very moment
that the bug needs. The same scene without the bug is sound.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from exchange.rules import Rules
from tests.faults.clients import Asker, Line, Wish
from tests.faults.history import Done, History, Offered, Refused, Unknown
from tests.faults.judge import Verdict
from tests.faults.nodes import Nodes, command
from tests.faults.plants import PAUSE_SECONDS
from tests.faults.victim import BENEFITS, CHANNEL, PROVIDER, TRIP, VOUCHER, Victim, running

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("forgotten_sockets"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
_names = (f"scene-{number}" for number in count())
Told = Done | Refused | Unknown


@dataclass
class Scene:
    """An exchange with two gateways, and a client that writes everything down."""

    folder: Path
    victim: Victim
    asker: Asker

    async def award(self, points: int, member: str = "anna") -> None:
        """Give points, by either gateway."""
        assert isinstance(await self._ask(f"award-{member}-{points}", "awardPoints", 0, member, points), Done)

    async def take(self, key: str, benefit: Offered = TRIP, gateway: int = 0, member: str = "anna") -> Told:
        """Redeem at one of the gateways."""
        return await self._ask(key, "redeemBenefit", gateway, member, benefit.price, benefit.benefit)

    async def warm(self) -> None:
        """Let both gateways do a bit of everything, so that nothing is done for the first time later."""
        for gateway in range(len(self.victim.workers)):
            await self._ask(f"warm-{gateway}", "awardPoints", gateway, "somebody", 100)
            await self.take(f"warmed-{gateway}", TRIP, gateway, "somebody")

    async def slow(self, what: str, collection: str, mode: Any, milliseconds: int) -> None:
        """Let a command take its time on a collection."""
        where = f"{self.victim.database}.{collection}"
        how = {"namespace": where, "blockConnection": True, "blockTimeMS": milliseconds}
        await self.victim.nodes.failing([what], mode, **how)

    async def end(self) -> Verdict:
        """Let everything come to rest, and judge."""
        await self.victim.rest()
        return await self.victim.judge(self.folder / "history.jsonl")

    async def _ask(self, key: str, operation: str, gateway: int, member: str, points: int, benefit: str = "") -> Told:
        line = Line(self.victim.workers[gateway])
        told = await self.asker.ask(Wish(key, CHANNEL, operation, member, points, benefit), line)
        line.hang_up()
        return told


@pytest.fixture(scope="module")
async def nodes(anyio_backend: str) -> AsyncIterator[Nodes]:
    """One mongod for the scenes that need no more, with a network before it."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        nodes = Nodes(Path(folder), proxied=True)
        try:
            await nodes.start()
            # A scene takes its time, more so on a busy machine: what it holds must not expire meanwhile.
            await command(nodes.all[0], "setParameter", transactionLifetimeLimitSeconds=30)
            yield nodes
        finally:
            nodes.close()


@asynccontextmanager
async def scene(folder: Path, nodes: Nodes, plants: Sequence[str], skew_seconds: int = 0) -> AsyncIterator[Scene]:
    """Open a scene on a database of its own."""
    name = next(_names)
    victim_running = running(folder, nodes, plants, name) if not skew_seconds else _skewed(folder, nodes, plants, name)
    async with victim_running as victim, History(folder / "history.jsonl") as history:
        for offered in BENEFITS:
            await history.write(offered)
        yield Scene(folder, victim, Asker(victim, history))


def caught(verdict: Verdict, plant: str, rules: set[str]) -> None:
    """Judge the judge: with the bug one of these rules is broken, without it none."""
    if plant:
        assert rules & verdict.wrong.keys(), verdict
    else:
        assert verdict.holds, verdict.wrong


def either(plant: str) -> pytest.MarkDecorator:
    """Try a scene with the bug and without."""
    return pytest.mark.parametrize("plant", [plant, ""], ids=["planted", "sound"])


@either("no_version_filter")
async def test_a_wallet_written_without_its_version(nodes: Nodes, tmp_path: Path, plant: str) -> None:
    """Of two gateways that read the same wallet, the slower one writes over the other: points come back."""
    async with scene(tmp_path, nodes, [plant, ""]) as play:
        await play.award(100)
        await play.warm()
        # The slower one has read and decided; its first write is on the way, so its snapshot is still to be taken.
        await play.slow("insert", "blocks", {"times": 1}, 800)
        slow = asyncio.create_task(play.take("slow"))
        await asyncio.sleep(0.4)
        assert isinstance(await play.take("quick", gateway=1), Done)
        assert isinstance(await slow, Done)
        await nodes.well()
        caught(await play.end(), plant, {"points"})


@either("block_outside")
async def test_a_block_written_outside_its_transaction(nodes: Nodes, tmp_path: Path, plant: str) -> None:
    """A commit fails, and the block that announced it stays: it has no entries."""
    async with scene(tmp_path, nodes, [plant]) as play:
        await play.award(100)
        await play.warm()
        await nodes.failing(
            ["commitTransaction"], {"times": 1}, errorCode=251, errorLabels=["TransientTransactionError"]
        )
        assert isinstance(await play.take("one"), Done)
        await nodes.well()
        caught(await play.end(), plant, {"invariant 9"})


@either("early_refusal")
async def test_a_refusal_told_before_its_commit(nodes: Nodes, tmp_path: Path, plant: str) -> None:
    """Somebody is refused for the sake of a neighbour who never gets it: the points were there all the time."""
    async with scene(tmp_path, nodes, [plant]) as play:
        await play.award(TRIP.price)
        await play.warm()
        await play.slow("insert", "blocks", "alwaysOn", 1000)
        asked = [asyncio.create_task(play.take("before", member="somebody"))]
        await asyncio.sleep(0.3)
        # They wait together for the commit before, and are decided together.
        asked += [asyncio.create_task(play.take(key)) for key in ("gets", "goes without")]
        await asked[0]
        await asyncio.sleep(0.5)
        play.victim.workers[0].kill()  # in the middle of their transaction
        await nodes.well()
        told = await asyncio.gather(*asked)
        assert [type(one) for one in told] == [Done, Unknown, Refused if plant else Unknown]
        await asyncio.sleep(1)
        caught(await play.end(), plant, {"refusals"})


@pytest.mark.parametrize("plant", ["limit_before_wallet", "pause"], ids=["planted", "sound"])
async def test_a_limit_read_before_its_wallet(nodes: Nodes, tmp_path: Path, plant: str) -> None:
    """What another gateway gives between the two reads is in the wallet, and does not count: one more than allowed."""
    async with scene(tmp_path, nodes, [plant, ""]) as play:
        assert VOUCHER.limit == 3
        await play.award(100)
        for number in range(2):
            assert isinstance(await play.take(f"v-{number}", VOUCHER, gateway=1), Done)
        slow = asyncio.create_task(play.take("slow", VOUCHER))
        await asyncio.sleep(PAUSE_SECONDS / 2)
        assert isinstance(await play.take("quick", VOUCHER, gateway=1), Done)
        await slow
        caught(await play.end(), "" if plant == "pause" else plant, {"limits"})


@either("look_alone")
async def test_an_unknown_outcome_settled_by_a_look(nodes: Nodes, tmp_path: Path, plant: str) -> None:
    """A commit that was sent lands after the look: what was refused in the meantime has happened."""
    proxy = nodes.all[0].proxy
    assert proxy is not None
    async with scene(tmp_path, nodes, [plant]) as play:
        await play.award(100)
        await play.warm()
        sessions: list[bytes] = []

        def of_the_first(asked: dict[str, Any]) -> bool:
            sessions.append(bytes(asked["lsid"]["id"]))
            return sessions[-1] == sessions[0]

        async with play.victim.services() as services:
            # Both times that the driver sends it.
            with proxy.hold("commitTransaction", times=2, where=of_the_first) as held:
                asked = asyncio.create_task(play.take("late"))
                await held.caught()
                await services.terms.set_rules(Rules(partner=PROVIDER, frozen="a suspicion"))
                held.hang_up()
                await held.caught(2)
                held.hang_up()
                told = await asked
        assert isinstance(told, Refused if plant else Done)
        caught(await play.end(), plant, {"refused"})


@either("cut_by_clock")
async def test_a_period_cut_by_the_clock(nodes: Nodes, tmp_path: Path, plant: str) -> None:
    """A gateway whose clock is ten minutes behind goes on in a period that is closed."""
    async with scene(tmp_path, nodes, [plant], skew_seconds=-600) as play:
        await play.award(100)
        assert isinstance(await play.take("before"), Done)
        async with play.victim.services() as services:
            await services.settlement.close(1)
        assert isinstance(await play.take("after"), Done)
        caught(await play.end(), plant, {"invariant 9", "invariant 10"})


@either("local_reads")
async def test_an_answer_from_what_a_majority_has_not(tmp_path: Path, plant: str) -> None:
    """A primary that stands alone shows what is undone when it dies: somebody was told that it had happened."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        three = Nodes(Path(folder), 3)
        try:
            await three.start()
            async with scene(tmp_path, three, ["", plant]) as play:
                await play.award(100)
                await play.warm()
                primary = await three.primary()
                others = [node for node in three.all if node is not primary]
                # Frozen ones would still find in their sockets what the primary sent them.
                for node in others:
                    node.kill()
                first = asyncio.create_task(play.take("one"))
                await asyncio.sleep(0.4)
                again = asyncio.create_task(play.take("one", gateway=1))
                await asyncio.sleep(0.4)
                play.victim.workers[0].kill()
                primary.kill()
                for node in others:
                    node.start()
                assert isinstance(await first, Unknown)
                await three.primary()
                primary.start()
                await three.reachable(primary)
                told = await again
                assert isinstance(told, Done if plant else Done | Unknown)
                caught(await play.end(), plant, {"lost"})
        finally:
            three.close()


@asynccontextmanager
async def _skewed(folder: Path, nodes: Nodes, plants: Sequence[str], name: str) -> AsyncIterator[Victim]:
    async with running(folder, nodes, plants, name) as victim:
        for worker in victim.workers:
            worker.skew_seconds = -600
        await victim.rest()
        await victim.wake()
        yield victim
