"""The exchange that is struck: real gateway processes over real mongods, and what clients have to know of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.benefit import BenefitCategory, BenefitContent, LimitPeriod, benefit_id
from exchange.keyring import Keyring, load_keyring
from exchange.store.catalog import Offer
from exchange.store.connection import DEFAULT_DATABASE, connect, database, settled
from graph.cli.server import SERVING
from graph.identifiers import Identifiers, Kind
from graph.services import Services, open_services
from graph.settings import Settings
from partners.oauth.clock import system_clock
from partners.oauth.tokens import Tokens
from tests.faults.history import Offered
from tests.faults.judge import Verdict, judge
from tests.faults.nodes import Nodes
from tests.faults.proxy import LOOPBACK

ISSUER: Final = "http://127.0.0.1:8000"
ROOT: Final = Path(__file__).parents[2]
CHANNEL: Final = "video"
PROVIDER: Final = "rides"
_READY_SECONDS: Final = 60
_TOKEN_SECONDS: Final = 7 * 24 * 3600
_TOKEN_AGE_SECONDS: Final = 3600
"""Tokens are of an hour ago, so that a gateway whose clock is behind takes them too: that is not what is tried here."""
_WORKER: Final = "from tests.faults.plants import main; main()"

TRIP = Offered(benefit="trip", price=10)
VOUCHER = Offered(benefit="voucher", price=7, limit=3)
RARITY = Offered(benefit="rarity", price=5, stock=400)
BENEFITS: Final = (TRIP, VOUCHER, RARITY)


class Worker:
    """One gateway process, and the socket that outlives it: who connects while it is dead waits for the next one.

    `plant`: the bug that it has (`plants`); `skew_seconds`: how wrong its clock is.
    """

    def __init__(self, settings: Settings, plant: str = "") -> None:
        self.settings = settings
        self.plant = plant
        self.skew_seconds = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._listener = socket.socket()
        self._listener.bind((LOOPBACK, 0))
        self._listener.listen(512)
        self._lifeline: socket.socket | None = None
        self.port: int = self._listener.getsockname()[1]

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptors = (self._listener.fileno(), theirs.fileno())
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "EXCHANGE_MONGO_URL": self.settings.mongo_url,
            "EXCHANGE_ISSUER": self.settings.issuer,
            "EXCHANGE_DATA": str(self.settings.data),
            "FAULTS_PLANT": self.plant,
            "FAULTS_SKEW_SECONDS": str(self.skew_seconds),
        }
        with theirs, (self.settings.data / "workers.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - forking takes a moment
                [sys.executable, "-P", "-c", _WORKER, *map(str, descriptors)], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, pass_fds=descriptors, start_new_session=True, env=environment,
            )  # fmt: skip
        self._lifeline = ours
        async with asyncio.timeout(_READY_SECONDS):
            try:
                said = await asyncio.get_running_loop().sock_recv(ours, 1)
            except ConnectionError:
                said = b""
        if said != SERVING:
            log_text = (self.settings.data / "workers.log").read_text("utf-8", "replace")
            raise AssertionError(f"a gateway ended before it served:\n{log_text[-3000:]}")

    @property
    def alive(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it with kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._hang_up()

    async def stop(self) -> None:
        """SIGTERM, and wait for the end that it makes of it."""
        if self.process is not None and self.alive:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self.process.wait, _READY_SECONDS)
        self._hang_up()

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._listener.close()

    def _hang_up(self) -> None:
        if self._lifeline is not None:
            self._lifeline.close()
            self._lifeline = None


class Victim:
    """An exchange with two partners: "video" gives points and brings members, "rides" has the benefits.

    It has a gateway for each of the `plants` ("": none), and a database of its own on nodes that run.
    """

    def __init__(self, folder: Path, nodes: Nodes, plants: Sequence[str], name: str = DEFAULT_DATABASE) -> None:
        self.nodes = nodes
        self.database = name
        self.settings = Settings(mongo_url=nodes.url(name), issuer=ISSUER, data=folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.keyring: Keyring = load_keyring({}, folder)
        self.workers = [Worker(self.settings, plant) for plant in plants]
        self.tokens: dict[str, str] = {}
        self.ids = {
            one.benefit: Identifiers(self.keyring, CHANNEL).seal(Kind.BENEFIT, benefit_id(PROVIDER, one.benefit))
            for one in BENEFITS
        }

    async def start(self) -> None:
        """Bring the partners in, start the gateways."""
        async with self.services() as services:
            await self._bring_in(services)
        await self.wake()

    @asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        """Open the exchange from outside, as an operator's command does."""
        async with open_services(self.settings, ledger=False) as services:
            yield services

    async def _bring_in(self, services: Services) -> None:
        now = await services.now()
        tokens = Tokens(services.keys, services.keyring, ISSUER, lambda: system_clock() - _TOKEN_AGE_SECONDS)
        for handle in (CHANNEL, PROVIDER):
            made = await services.registry.create(handle, handle.title(), now=now)
            client = await services.registry.client(made.client_id)
            assert client is not None
            self.tokens[handle] = tokens.for_partner(client, lifetime_seconds=_TOKEN_SECONDS)
        await services.terms.add(
            Agreement(
                id="", issuer=CHANNEL, provider=PROVIDER, version=0, price_per_1000_points=Money(8005, "EUR"),
                fee_basis_points=150, commission_basis_points=250, effective_from=now - timedelta(days=1),
            )
        )  # fmt: skip
        await services.catalog.publish(PROVIDER, [Offer(content(one)) for one in BENEFITS])

    async def rest(self) -> None:
        """Stop the gateways in order: afterwards nothing is under way any more."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))

    async def wake(self) -> None:
        """Start the gateways that are not there."""
        await asyncio.gather(*(worker.start() for worker in self.workers if not worker.alive))

    async def judge(self, history: Path) -> Verdict:
        """Hold the database to what clients wrote down. Nothing may be under way."""
        client = connect(self.settings.mongo_url)
        try:
            return await judge(history, database(client), self.keyring)
        finally:
            await settled(client.close())

    def close(self) -> None:
        """End the gateways for good."""
        for worker in self.workers:
            worker.close()


def content(offered: Offered) -> BenefitContent:
    """Return a benefit as its partner publishes it."""
    return BenefitContent(
        sku=offered.benefit, category=BenefitCategory.RIDES, title=offered.benefit, points_price=offered.price,
        stock=offered.stock, member_limit=offered.limit, member_limit_period=LimitPeriod.DAY,
    )  # fmt: skip


@asynccontextmanager
async def running(
    folder: Path, nodes: Nodes, plants: Sequence[str] = ("", ""), name: str = DEFAULT_DATABASE
) -> AsyncIterator[Victim]:
    """Run an exchange on nodes that run."""
    victim = Victim(folder / name, nodes, plants, name)
    try:
        await victim.start()
        yield victim
    finally:
        victim.close()
