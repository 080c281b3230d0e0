"""A seeded schedule of blows against a running exchange, while a crowd of clients asks for all it can.

The seed decides which blow falls when and how, and what each client wishes next. It does not decide how processes
interleave: a run is not repeated to the letter by its seed, only in what is done.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.blows import Blow, possible
from tests.faults.clients import Crowd
from tests.faults.history import History, Struck
from tests.faults.judge import Verdict
from tests.faults.nodes import Nodes
from tests.faults.victim import BENEFITS, Victim, running

_STANDS_SECONDS = 60
_STANDS_AFTER = 10
_OPERATOR_SECONDS = 12
"""After so long somebody would look why nothing goes on."""


@dataclass
class Plan:
    """How much is to be done. `calm_seconds`: at most so long nothing happens between two blows."""

    seed: int
    cycles: int
    nodes: int = 1
    gateways: int = 2
    clients: int = 32
    members: int = 400
    calm_seconds: float = 1.0
    minutes_max: float = 24 * 60
    """After which no further blow is struck, and all is judged."""
    judge_every: int = 0
    """Cycles after which all is judged although it goes on; 0: at the end alone."""
    clocks: bool = False
    """Whether the clocks of mongods are set wrong too: needs libfaketime, and makes them slow."""
    only: tuple[str, ...] = ()
    """The names of the blows to strike; none: all that are possible."""


@dataclass
class Report:
    """What came of a run."""

    plan: Plan
    seconds: float = 0.0
    cycles: int = 0
    longest_silence: float = 0.0
    """Seconds from the end of a blow until requests were acknowledged again, at worst."""
    verdict: Verdict = field(default_factory=Verdict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON would have it."""
        return {**msgspec.to_builtins(self), "holds": self.verdict.holds}

    def text(self) -> str:
        """Return it as somebody would read it."""
        verdict = self.verdict
        ran = f"{self.plan.nodes} mongod, {self.plan.gateways} gateways, {self.plan.clients} clients"
        unknown = f"{verdict.unknown:,} unknown ({verdict.unknown_there:,} of them there)"
        lines = [
            f"seed {self.plan.seed}: {self.cycles} cycles in {self.seconds:,.0f} s, {ran}",
            f"{verdict.attempts:,} attempts of {verdict.keys:,} keys, {verdict.redemptions:,} redemptions",
            f"{verdict.acknowledged:,} keys acknowledged, {verdict.refused:,} refused, {unknown}",
            f"longest silence after a blow: {self.longest_silence:.1f} s",
            *(f"{count:6}  {blow}" for blow, count in sorted(verdict.blows.items())),
        ]
        lines += [f"WRONG   {rule}: {what}" for rule, found in verdict.wrong.items() for what in found]
        lines.append("nothing lost, nothing twice, every invariant holds" if verdict.holds else "NOT SOUND")
        return "\n".join(lines)


async def run(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Report:
    """Carry out a plan in a folder of its own, and judge."""
    report = Report(plan)
    began = time.monotonic()
    nodes = Nodes(folder, plan.nodes, proxied=plan.nodes > 1, faked=plan.clocks)
    try:
        await nodes.start()
        async with running(folder, nodes, [""] * plan.gateways) as victim:
            await _carry_out(plan, victim, folder, report, tell)
    finally:
        nodes.close()
    report.seconds = time.monotonic() - began
    return report


async def _carry_out(plan: Plan, victim: Victim, folder: Path, report: Report, tell: Callable[[str], None]) -> None:
    async with History(folder / "history.jsonl") as history:
        for offered in BENEFITS:
            await history.write(offered)
        crowd = Crowd(victim, history, plan.seed, clients=plan.clients, members=plan.members)
        await crowd.gather_members()
        await _Schedule(plan, victim, history, crowd, report, tell).run(folder)


class _Schedule:
    def __init__(
        self, plan: Plan, victim: Victim, history: History, crowd: Crowd, report: Report, tell: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._victim = victim
        self._history = history
        self._crowd = crowd
        self._report = report
        self._tell = tell
        self._chance = random.Random(plan.seed)  # noqa: S311 - not a secret: it has to be repeatable
        self._blows = [
            blow for blow in possible(plan.nodes, clocks=plan.clocks) if not plan.only or blow.name in plan.only
        ]

    async def run(self, folder: Path) -> None:
        """Strike and judge."""
        self._crowd.start()
        ends = time.monotonic() + self._plan.minutes_max * 60
        for cycle in range(1, self._plan.cycles + 1):
            await asyncio.sleep(self._chance.uniform(0, self._plan.calm_seconds))
            blow = self._chance.choices(self._blows, [blow.weight for blow in self._blows])[0]
            await self._strike(blow, cycle)
            self._report.cycles = cycle
            last = cycle == self._plan.cycles or time.monotonic() > ends
            if last or (self._plan.judge_every and cycle % self._plan.judge_every == 0):
                await self._judge(folder)
                if last or not self._report.verdict.holds:
                    return
                await self._victim.wake()
                self._crowd.start()

    async def _strike(self, blow: Blow, cycle: int) -> None:
        await self._history.write(Struck(blow=blow.name, cycle=cycle))
        await blow.strike(self._victim, self._chance)
        over = time.monotonic()
        wanted = self._crowd.asker.acknowledged + _STANDS_AFTER
        try:
            async with asyncio.timeout(_STANDS_SECONDS):
                while self._crowd.asker.acknowledged < wanted:
                    self._crowd.look()
                    await asyncio.sleep(0.02)
                    if self._plan.clocks and time.monotonic() - over > _OPERATOR_SECONDS:
                        await self._victim.nodes.end_forgotten_transactions()
        except TimeoutError:
            said = f"cycle {cycle}: after '{blow.name}' nobody was answered within {_STANDS_SECONDS} s"
            self._report.verdict.say("silence", said)
            raise AssertionError(said) from None
        silence = time.monotonic() - over
        self._report.longest_silence = max(self._report.longest_silence, silence)
        self._tell(f"{cycle:5}  {blow.name}: stands after {silence:.1f} s, {self._crowd.asker.acknowledged:,} answers")

    async def _judge(self, folder: Path) -> None:
        await self._crowd.pause()
        await self._victim.rest()
        verdict = await self._victim.judge(folder / "history.jsonl")
        self._report.verdict = verdict
        self._tell(f"judged: {verdict.attempts:,} attempts, {'sound' if verdict.holds else 'NOT SOUND'}")
