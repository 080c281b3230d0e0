"""Gateway processes that stop for longer than their lease, or die, with a commit in the air: the others go on.

Two exchanges, each `exchange up` in processes of its own, serve one database; one of them sees it through a proxy.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from pymongo import MongoClient

from exchange.journal import block_id
from tests.faults.proxy import LOOPBACK, Proxy
from tests.faults.test_kill import REDEEM
from tests.faults.test_kill import cheap_benefit as cheap_benefit_of
from tests.journeys.running import EXCHANGE, RunningExchange

pytestmark = pytest.mark.faults

Row = dict[str, Any]

LEASE_SECONDS_MAX = 20
BLOCKED_SECONDS_MAX = 3
"""For how long a dead client's transaction may keep anybody waiting."""
WORK_SECONDS = 1.5
"""What the answer itself may take on a busy machine."""
FOUND = "query ($key: String) { redemptions(idempotencyKey: $key) { nodes { id points } } }"
BALANCE = "{ viewer { member { wallet { balance } } } }"


class Gateway(RunningExchange):
    """An exchange whose one server process can be struck."""

    @property
    def worker(self) -> int:
        """The pid of the process that serves; another after it died."""
        assert self._process is not None
        parent = self._process.pid
        while True:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.01)

    def strike(self, blow: signal.Signals) -> None:
        """Send the process that serves a signal."""
        os.kill(self.worker, blow)


class Asked(threading.Thread):
    """A request on its way, by somebody who waits for its answer as long as it takes."""

    def __init__(self, member: Member, at: Gateway, key: str) -> None:
        super().__init__(daemon=True)
        self._how = (member, at, key)
        self.answer: Row | None = None
        self.start()

    def run(self) -> None:
        """Ask once; no answer at all is None."""
        member, at, key = self._how
        with suppress(httpx.HTTPError, AssertionError):
            self.answer = member.redeem(at, key)

    def heard(self) -> Row | None:
        """Return the answer, once it is there."""
        self.join(60)
        assert not self.is_alive(), "nobody waits for ever"
        return self.answer


class Member:
    """A member's app, that may ask at either exchange."""

    def __init__(self, token: str, benefit: str) -> None:
        self._token = token
        self._benefit = benefit

    def redeem(self, at: Gateway, key: str) -> Row:
        """Redeem once for ever."""
        wish = {"benefit": self._benefit, "idempotencyKey": key}
        answer: Row = at.graphql(self._token, REDEEM, input=wish)["redeemBenefit"]
        return answer

    def balance(self, at: Gateway) -> int:
        """Return the points it has."""
        return int(at.graphql(self._token, BALANCE)["viewer"]["member"]["wallet"]["balance"])

    def spent(self, at: Gateway, *keys: str) -> int:
        """Return the points that these keys cost; each was carried out once."""
        found = [at.graphql(self._token, FOUND, key=key)["redemptions"]["nodes"] for key in keys]
        assert [len(rows) for rows in found] == [1] * len(keys)
        return sum(int(rows[0]["points"]) for rows in found)


@pytest.fixture
def url(mongo_url: str, database_name: str) -> str:
    parts = urlsplit(mongo_url)
    return parts._replace(path=f"/{database_name}").geturl()


@pytest.fixture
def proxy(mongo_url: str) -> Iterator[Proxy]:
    port = urlsplit(mongo_url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
def db(url: str) -> Iterator[Any]:
    with MongoClient[Row](url) as client:
        yield client.get_default_database()


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Gateway]]:
    """Give a function that starts an exchange on a database; all are one exchange to the outside."""
    monkeypatch.setenv("EXCHANGE_SECRET_KEY", urlsafe_b64encode(os.urandom(32)).decode())
    monkeypatch.setenv("EXCHANGE_ISSUER", "http://127.0.0.1:8000")
    running: list[Gateway] = []
    with tempfile.TemporaryDirectory() as folder:

        def start(url: str, *arguments: str) -> Gateway:
            data = Path(folder, str(len(running)))
            data.mkdir()
            running.append(Gateway(data, "--mongo-url", url, *arguments))
            running[-1].start()
            return running[-1]

        yield start
        for gateway in running:
            with suppress(ProcessLookupError):
                gateway.strike(signal.SIGCONT)
            gateway.stop()
            gateway.http.close()


def lane_of_newest(db: Any) -> int:
    newest: Row = db.blocks.find_one({"kind": "ENTRIES"}, sort=[("at", -1)])
    return int(newest["lane"])


def kinds_behind(db: Any, lane: int, seq: int) -> list[str]:
    return [row["kind"] for row in db.blocks.find({"_id": {"$gt": block_id(lane, seq)}, "lane": lane}).sort("_id", 1)]


def await_lapse(db: Any, lane: int) -> None:
    deadline = time.monotonic() + LEASE_SECONDS_MAX
    while db.lanes.count_documents({"_id": lane, "$expr": {"$lt": ["$lease_until", "$$NOW"]}}) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("lands", [True, False], ids=["the commit lands", "the commit comes too late"])
@pytest.mark.parametrize("blow", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_lane_goes_on_without_its_process(
    up: Callable[..., Gateway], url: str, db: Any, proxy: Proxy, blow: signal.Signals, *, lands: bool
) -> None:
    """Struck with a commit in the air, others wait for 3 s at most and go on in its lane; back again, it is right."""
    struck = up(f"mongodb://{LOOPBACK}:{proxy.port}/{db.name}?directConnection=true", "--demo")
    other = up(url)
    token = struck.demo["members"][0]["access_token"]
    member = Member(token, cheap_benefit_of(struck, token))
    had = member.balance(struck)
    member.redeem(struck, "before")
    lane = lane_of_newest(db)
    head = db.blocks.find_one({"lane": lane}, sort=[("_id", -1)])["seq"]

    with proxy.hold("commitTransaction") as commit:
        flying = Asked(member, struck, "flying")
        commit.wait()
        struck.strike(blow)
        if lands:
            commit.deliver()
        queued = Asked(member, struck, "queued")

        began = time.monotonic()
        again = member.redeem(other, "flying")
        assert time.monotonic() - began < BLOCKED_SECONDS_MAX + WORK_SECONDS
        assert again["replayed"] is lands
        await_lapse(db, lane)
        other.strike(signal.SIGKILL)  # whoever takes its place looks for a lane, and finds the one that lapsed
        member.redeem(other, "thief")
        assert kinds_behind(db, lane, head) == ["ENTRIES", "VOID", "ENTRIES"][0 if lands else 1 :]
        commit.deliver()

    with suppress(ProcessLookupError):
        struck.strike(signal.SIGCONT)
    answer = flying.heard()
    if answer is not None:
        assert answer["redemption"]["id"] == again["redemption"]["id"]
        assert answer["replayed"] is not lands
    answer = queued.heard()
    if blow is signal.SIGSTOP:
        assert answer is not None, "it arrived while nobody worked, and was decided afterwards"
        assert not answer["replayed"]
    member.redeem(struck, "queued")
    member.redeem(struck, "after")
    assert lane_of_newest(db) != lane, "it has another lane by now"
    keys = ("before", "flying", "queued", "thief", "after")
    assert had - member.balance(other) == member.spent(other, *keys)
    checked = subprocess.run([EXCHANGE, "check", "--mongo-url", url, "--json"], capture_output=True, check=False)
    assert checked.returncode == 0, json.loads(checked.stdout)
