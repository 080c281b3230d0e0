"""kill -9 in the middle of a stream of redemptions: nothing acknowledged is lost, nothing happens twice.

The client keeps a history of its own. After the restart it judges: acknowledged means exactly once; unknown means at
most once, and asking again with the same key settles which.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.running import EXCHANGE, RunningExchange

REDEEM = """mutation ($input: RedeemBenefitInput!) { redeemBenefit(input: $input) {
  ... on RedeemBenefitSuccess { replayed redemption { id points } } ... on UserError { code message } } }"""
SPENT = "{ viewer { member { wallet { balance } } } redemptions(first: 100) { nodes { id points } } }"
ENOUGH = 60
"""Acknowledged redemptions before the blow falls."""


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    """A demo exchange to strike."""
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningExchange(Path(directory) / "data", "--demo", "--workers", "2") as running,
    ):
        yield running


class Client:
    """A member's app: redeems with fresh keys until the exchange falls silent, and remembers every answer."""

    def __init__(self, exchange: RunningExchange, member: dict[str, Any], benefit: str) -> None:
        self.token = member["access_token"]
        self.benefit = benefit
        self.acknowledged: dict[str, str] = {}
        self.unknown: list[str] = []
        self._exchange = exchange
        self._silent = threading.Event()

    def redeem(self, key: str) -> dict[str, Any]:
        """Ask once."""
        wish = {"benefit": self.benefit, "idempotencyKey": key}
        answer: dict[str, Any] = self._exchange.graphql(self.token, REDEEM, input=wish)["redeemBenefit"]
        return answer

    def run(self) -> None:
        """Redeem until there is no answer any more."""
        for number in range(10_000):
            key = f"key-{number}"
            try:
                answer = self.redeem(key)
            except (httpx.HTTPError, AssertionError):
                self.unknown.append(key)
                return
            if "redemption" not in answer:
                return
            self.acknowledged[key] = answer["redemption"]["id"]


@pytest.mark.parametrize("strike", [RunningExchange.kill, RunningExchange.kill_database], ids=["server", "database"])
def test_nothing_acknowledged_is_lost_and_nothing_happens_twice(
    exchange: RunningExchange, strike: Callable[[RunningExchange], None]
) -> None:
    """Struck in mid-stream and started again, the exchange has every acknowledged redemption exactly once."""
    for issuer in ("video", "rides", "delivery"):
        _cap(exchange, issuer)
    members = exchange.demo["members"][:24]
    benefit = cheap_benefit(exchange, members[0]["access_token"])
    clients = [Client(exchange, member, benefit) for member in members]
    threads = [threading.Thread(target=client.run) for client in clients]
    before = [_balance(exchange, client) for client in clients]
    for thread in threads:
        thread.start()
    while sum(len(client.acknowledged) for client in clients) < ENOUGH:
        threads[0].join(0.01)
    strike(exchange)
    for thread in threads:
        thread.join()
    tokens = {member["reference"]: member["access_token"] for member in members}
    exchange.start()
    fresh = {member["reference"]: member["access_token"] for member in exchange.demo["members"]}
    assert tokens.keys() <= fresh.keys()

    for client, member, had in zip(clients, members, before, strict=True):
        client.token = fresh[member["reference"]]
        for key, redemption in client.acknowledged.items():
            again = client.redeem(key)
            assert (again["redemption"]["id"], again["replayed"]) == (redemption, True)
        for key in client.unknown:
            client.redeem(key)
        spent = exchange.graphql(client.token, SPENT)
        mine = {row["id"] for row in spent["redemptions"]["nodes"]}
        assert set(client.acknowledged.values()) <= mine
        assert had - _balance(exchange, client) == _points_of(exchange, client)
    checked = subprocess.run(
        [EXCHANGE, "check", "--data", str(exchange.data)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _cap(exchange: RunningExchange, issuer: str) -> None:
    """Let what it owes be counted lane by lane; it is never refused."""
    capping = ("exposure", "set", "--partner", issuer, "--currency", "EUR", "--cap", "1000000")
    subprocess.run([EXCHANGE, *capping, "--data", str(exchange.data)], capture_output=True, check=True)


def cheap_benefit(exchange: RunningExchange, token: str) -> str:
    found = exchange.graphql(
        token,
        "{ benefits(sort: POINTS_PRICE, first: 100, filter: {redeemableOnly: true}) {"
        " nodes { id pointsPrice fulfilment availability { remaining memberRemaining } } } }",
    )["benefits"]["nodes"]
    unlimited = (
        one for one in found
        if one["availability"] == {"remaining": None, "memberRemaining": None} and one["fulfilment"] != "INSTANT_CODE"
    )  # fmt: skip
    return str(next(unlimited)["id"])


def _balance(exchange: RunningExchange, client: Client) -> int:
    return int(exchange.graphql(client.token, SPENT)["viewer"]["member"]["wallet"]["balance"])


def _points_of(exchange: RunningExchange, client: Client) -> int:
    """What the keys of this client cost, as the exchange itself tells for each key."""
    total = 0
    for key in [*client.acknowledged, *client.unknown]:
        found = exchange.graphql(
            client.token, "query ($key: String) { redemptions(idempotencyKey: $key) { nodes { points } } }", key=key
        )["redemptions"]["nodes"]
        assert len(found) <= 1
        total += sum(int(row["points"]) for row in found)
    return total
