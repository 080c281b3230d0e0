"""What is done to an exchange, one blow at a time. Each is struck, lasts a moment, and is over when `strike` returns.

What a blow breaks it brings back, so that the next one finds an exchange that stands. Everything that is left to chance
comes from the schedule's own `Random`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from pymongo.errors import PyMongoError

from exchange.errors import ExchangeError
from partners.oauth.clock import system_clock
from tests.faults.nodes import Node, command, freeze, thaw
from tests.faults.victim import Victim, Worker

LIFETIME_SECONDS: Final = 3
SKEW_SECONDS: Final = 600
_LEASE_SECONDS: Final = 15
_NEAR_SECONDS: Final = 30


class Blow(NamedTuple):
    """A way to strike, and how often against the others. `several`: takes a replica set of several members."""

    name: str
    strike: Callable[[Victim, random.Random], Awaitable[None]]
    weight: int
    several: bool = False


# ------------------------------------------------------------ processes


async def kill_gateway(victim: Victim, chance: random.Random) -> None:
    """One gateway is killed (-9); another takes its place."""
    await _revived(chance.choice(victim.workers), chance)


async def kill_gateways(victim: Victim, chance: random.Random) -> None:
    """Every gateway is killed at once."""
    for worker in victim.workers:
        worker.kill()
    await victim.wake()


async def kill_mongod(victim: Victim, chance: random.Random) -> None:
    """The primary is killed; it comes back."""
    node = await victim.nodes.primary()
    node.kill()
    await asyncio.sleep(chance.uniform(0, 1.5))
    await _restored(victim, node)


async def kill_everything(victim: Victim, chance: random.Random) -> None:
    """All are killed at once, as when the machine dies."""
    for worker in victim.workers:
        worker.kill()
    for node in victim.nodes.all:
        node.kill()
    for node in victim.nodes.all:
        node.start()
    for node in victim.nodes.all:
        await victim.nodes.reachable(node)
    await victim.nodes.primary()
    await victim.wake()


async def freeze_gateway(victim: Victim, chance: random.Random) -> None:
    """SIGSTOP of a gateway for longer than a transaction may live: mongod ends what it had open."""
    await _frozen(chance.choice(victim.workers), chance.uniform(LIFETIME_SECONDS + 0.5, LIFETIME_SECONDS + 2))


async def freeze_gateway_beyond_its_lease(victim: Victim, chance: random.Random) -> None:
    """SIGSTOP of a gateway until its lane is anybody's, and another gateway born meanwhile has it."""
    frozen, *others = chance.sample(victim.workers, len(victim.workers))
    assert frozen.process is not None
    freeze(frozen.process)
    try:
        await asyncio.sleep(_LEASE_SECONDS + 1)
        if others:
            await _revived(others[0], chance)
    finally:
        thaw(frozen.process)


async def freeze_mongod(victim: Victim, chance: random.Random) -> None:
    """SIGSTOP of the primary: nobody answers, and then everything at once."""
    node = await victim.nodes.primary()
    assert node.process is not None
    freeze(node.process)
    try:
        await asyncio.sleep(chance.uniform(0.5, LIFETIME_SECONDS + 2))
    finally:
        thaw(node.process)
    await victim.nodes.primary()


# ------------------------------------------------------------ commands that fail

_LOST: Final[tuple[dict[str, Any], ...]] = (
    {"closeConnection": True},
    # HostUnreachable. Not one by which a server says that it is going, like 91: hearing it, the driver asks nothing
    # until its monitor has heard from the server again, and one that only pretends says nothing for ten seconds.
    {"errorCode": 6},
    {"errorCode": 251, "errorLabels": ["TransientTransactionError"]},
    {"errorCode": 112, "errorLabels": ["TransientTransactionError"]},
    {"blockConnection": True, "blockTimeMS": 700},
)
_UNSAID: Final = {"writeConcernError": {"code": 64, "errmsg": "not known", "errInfo": {"wtimeout": True}}}


async def fail_commits(victim: Victim, chance: random.Random) -> None:
    """The commit fails, or its answer is lost, or nobody says whether it will last."""
    await _failing(victim, chance, ["commitTransaction"], (*_LOST, _UNSAID))


async def fail_writes(victim: Victim, chance: random.Random) -> None:
    """Inserts and updates fail in the middle of a transaction, and outside one."""
    await _failing(victim, chance, [chance.choice(("insert", "update"))], _LOST)


async def fail_reads(victim: Victim, chance: random.Random) -> None:
    """What decisions rest on cannot be read."""
    await _failing(victim, chance, ["aggregate", "find"], _LOST[:2])


async def _failing(
    victim: Victim, chance: random.Random, commands: list[str], hows: tuple[dict[str, Any], ...]
) -> None:
    how = chance.choice(hows)
    mode: Any = {"times": chance.randint(1, 12)} if chance.random() < 0.5 else {"activationProbability": 0.5}
    await victim.nodes.failing(commands, mode, **how)
    await asyncio.sleep(chance.uniform(0.3, 1.5))
    await victim.nodes.well()


# ------------------------------------------------------------ clocks


async def skew_gateway(victim: Victim, chance: random.Random) -> None:
    """A gateway whose clock is ten minutes wrong, from its birth to the next one."""
    worker = chance.choice(victim.workers)
    worker.skew_seconds = chance.choice((-SKEW_SECONDS, 0, SKEW_SECONDS))
    await _revived(worker, chance)


async def skew_mongod(victim: Victim, chance: random.Random) -> None:
    """The primary's clock jumps ten minutes, forth or back: the exchange's own time (needs libfaketime)."""
    node = await victim.nodes.primary()
    seconds = chance.choice((-SKEW_SECONDS, SKEW_SECONDS))
    node.skew(seconds)
    async with asyncio.timeout(10):
        while abs(await _ahead(node) - seconds) > _NEAR_SECONDS:  # noqa: ASYNC110 - the library looks once a second
            await asyncio.sleep(0.2)
    await asyncio.sleep(chance.uniform(0.5, 2))
    if chance.random() < 0.7:
        node.skew(0)


# ------------------------------------------------------------ not a fault, but it must be possible among them


async def close_period(victim: Victim, chance: random.Random) -> None:
    """The open period is closed while everybody redeems; now and then whoever closes it dies half-way."""
    with suppress(ExchangeError):
        async with victim.services() as services:
            period = await services.settlement.period()
            assert period is not None
            if chance.random() < 0.3:
                await services.settlement.mark(period.number)
                return
            if period.number > 1:
                await services.settlement.close(period.number - 1)
            await services.settlement.close(period.number)


# ------------------------------------------------------------ several members


async def step_down(victim: Victim, chance: random.Random) -> None:
    """The primary steps down, again and again."""
    for _ in range(chance.randint(1, 3)):
        with suppress(PyMongoError):
            await command(await victim.nodes.primary(), "replSetStepDown", 2, force=True, secondaryCatchUpPeriodSecs=0)
        await asyncio.sleep(chance.uniform(0.2, 1))
    await victim.nodes.primary()


async def cut_off_primary(victim: Victim, chance: random.Random) -> None:
    """The primary's network is gone: nobody reaches it, and the others elect one of theirs."""
    await _cut_off(await victim.nodes.primary(), chance)
    await victim.nodes.primary()


async def cut_off_secondaries(victim: Victim, chance: random.Random) -> None:
    """Nobody reaches the secondaries: the primary has no majority, and what it took may be undone."""
    primary = await victim.nodes.primary()
    await asyncio.gather(*(_cut_off(node, chance) for node in victim.nodes.all if node is not primary))
    await victim.nodes.primary()


async def silence_primary(victim: Victim, chance: random.Random) -> None:
    """The primary's answers do not arrive any more, or its questions: it is connected, and silent."""
    node = await victim.nodes.primary()
    assert node.proxy is not None
    node.proxy.stall(requests=chance.random() < 0.5)
    await asyncio.sleep(chance.uniform(0.5, 4))
    node.proxy.mend()
    await victim.nodes.primary()


async def kill_secondary(victim: Victim, chance: random.Random) -> None:
    """A member that is not the primary is killed."""
    primary = await victim.nodes.primary()
    node = chance.choice([node for node in victim.nodes.all if node is not primary])
    node.kill()
    await asyncio.sleep(chance.uniform(0, 1.5))
    await _restored(victim, node)


async def kill_primary_that_stood_alone(victim: Victim, chance: random.Random) -> None:
    """The primary takes writes that nobody else gets, and dies: they are rolled back when it returns."""
    primary = await victim.nodes.primary()
    others = [node for node in victim.nodes.all if node is not primary]
    for node in others:
        node.kill()  # frozen ones would still find in their sockets what the primary sent them
    await asyncio.sleep(chance.uniform(0.2, 1.2))
    primary.kill()
    for node in others:
        node.start()
    await victim.nodes.primary()
    await _restored(victim, primary)


# ------------------------------------------------------------ how


async def _ahead(node: Node) -> float:
    """Return by how many seconds a member's clock is ahead of ours."""
    there: datetime = (await command(node, "hello"))["localTime"]
    return there.replace(tzinfo=UTC).timestamp() - system_clock()


async def _revived(worker: Worker, chance: random.Random) -> None:
    worker.kill()
    await asyncio.sleep(chance.uniform(0, 0.5))
    await worker.start()


async def _frozen(worker: Worker, seconds: float) -> None:
    assert worker.process is not None
    freeze(worker.process)
    try:
        await asyncio.sleep(seconds)
    finally:
        thaw(worker.process)


async def _restored(victim: Victim, node: Node) -> None:
    node.start()
    await victim.nodes.reachable(node)
    await victim.nodes.primary()


async def _cut_off(node: Node, chance: random.Random) -> None:
    assert node.proxy is not None
    node.proxy.cut()
    await asyncio.sleep(chance.uniform(1, 5))
    node.proxy.mend()


BLOWS: Final = (
    Blow("kill a gateway", kill_gateway, 6),
    Blow("kill all gateways", kill_gateways, 2),
    Blow("kill mongod", kill_mongod, 5),
    Blow("kill everything", kill_everything, 3),
    Blow("freeze a gateway", freeze_gateway, 3),
    Blow("freeze a gateway beyond its lease", freeze_gateway_beyond_its_lease, 1),
    Blow("freeze mongod", freeze_mongod, 3),
    Blow("fail commits", fail_commits, 8),
    Blow("fail writes", fail_writes, 6),
    Blow("fail reads", fail_reads, 2),
    Blow("skew a gateway's clock", skew_gateway, 3),
    Blow("skew mongod's clock", skew_mongod, 3),
    Blow("close a period", close_period, 4),
    Blow("step down", step_down, 8, several=True),
    Blow("cut off the primary", cut_off_primary, 6, several=True),
    Blow("cut off the secondaries", cut_off_secondaries, 5, several=True),
    Blow("silence the primary", silence_primary, 3, several=True),
    Blow("kill a secondary", kill_secondary, 2, several=True),
    Blow("kill a primary that stood alone", kill_primary_that_stood_alone, 5, several=True),
)


def possible(nodes: int, *, clocks: bool) -> list[Blow]:
    """Return the blows that can be struck against so many members, whose clocks can be set or cannot."""
    return [blow for blow in BLOWS if (nodes > 1 or not blow.several) and (clocks or blow.strike is not skew_mongod)]
