"""Races: several clients who want what only one can have, at one moment, of an exchange that runs in two processes.

    told = track.race(
        track.ask("video", "confirmRedemption", redemption=held),
        track.ask("video", "cancelRedemption", redemption=held),
    )
    winner, losers = one_winner(told)

Each client is a thread with a connection of its own, so that some reach one server process and some the other; all wait
at one barrier and then send. To race something else, `ask` for another mutation.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from exchange.rules import Rules
from exchange.store.connection import connect, database, settled
from exchange.store.terms import Terms
from tests.graph.speech import SUCCESS, document
from tests.journeys.running import RunningExchange, shell

Payload = dict[str, Any]

POINTS = 1_000
"""What every member has to begin with."""
PRICE = 37
"""What a unit costs."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Shared by all clients: else each would spend longer on reading certificates than a race lasts."""

STATE = """query($reference: String!) { member(by: {reference: $reference}) { wallet { balance held available } } }"""
REMAINING = """query($id: ID!) { node(id: $id) { ... on Benefit { availability { remaining } } } }"""
MERGE_CODE = """mutation { createMergeCode { ... on MergeCode { code } } }"""
STATUS = """query($id: ID!) { redemption(id: $id) { status reservedUntil updatedAt } }"""


@dataclass(frozen=True)
class Ask:
    """A request that is ready to be sent. `at`: not before this moment, in seconds since 1970; otherwise at once."""

    token: str
    mutation: str
    given: dict[str, Any]
    at: float = 0.0


@dataclass
class Track:
    """A running exchange with two partners: "video" awards points and brings members, "rides" gives the benefits."""

    exchange: RunningExchange
    partners: dict[str, Payload] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Bring the partners in."""
        for handle in ("video", "rides"):
            self.partners[handle] = shell(
                self.exchange.data, "partner", "create", "--handle", handle, "--name", handle.title()
            )
            self.tokens[handle] = self.exchange.machine_token(self.partners[handle])
        shell(
            self.exchange.data, "agreement", "set", "--issuer", "video", "--provider", "rides", "--price", "80.05",
            "--currency", "EUR", "--fee-bps", "150", "--commission-bps", "250",
        )  # fmt: skip

    # ------------------------------------------------------------ what there is to race for

    def member(self) -> str:
        """Return a new member's reference at video, with points."""
        reference = f"member-{secrets.token_hex(6)}"
        self.done(self.ask("video", "awardPoints", member={"reference": reference}, points=str(POINTS)))
        return reference

    def benefit(self, **content: Any) -> str:
        """Return the id of a new benefit of rides, which is confirmed first and delivered later unless said."""
        said = {"category": "RIDES", "title": "A trip", "pointsPrice": str(PRICE), "fulfilment": "PARTNER_CALL"}
        offer = {"sku": f"sku-{secrets.token_hex(6)}", **said, **content}
        published = self.send(Ask(self.tokens["rides"], "publishBenefits", {"benefits": [offer]}))
        if offer["fulfilment"] == "INSTANT_CODE":
            self.send(Ask(self.tokens["rides"], "addCodes", {"sku": offer["sku"], "codes": [f"CODE-{offer['sku']}"]}))
        return str(published["benefits"][0]["id"])

    def taken(self, how: str, member: str, benefit: str, quantity: int = 1, **more: Any) -> Payload:
        """Reserve or redeem through video's server, which must succeed; return the redemption."""
        wish = self.ask("video", how, benefit=benefit, member={"reference": member}, quantity=quantity, **more)
        redemption: Payload = self.done(wish)["redemption"]
        return redemption

    def member_token(self, member: str) -> str:
        """Return a token with which the member asks for itself."""
        return self.exchange.member_token(self.partners["video"], member)

    def merge_code(self, member: str) -> str:
        """Return a code by which another member becomes this one."""
        made = self.exchange.graphql(self.member_token(member), MERGE_CODE)["createMergeCode"]
        return str(made["code"])

    def let_give(self, points: int) -> None:
        """Let members give away so many of video's points a day."""
        port = json.loads((self.exchange.data / "mongod.json").read_text())["port"]
        rules = Rules(partner="video", gift_day_points=points)

        async def set_rules() -> None:
            client = connect(f"mongodb://127.0.0.1:{port}/?directConnection=true")
            try:
                await Terms(database(client, "exchange")).set_rules(rules)
            finally:
                await settled(client.close())

        asyncio.run(set_rules())

    # ------------------------------------------------------------ asking

    def ask(self, who: str, mutation: str, *, at: float = 0.0, **given: Any) -> Ask:
        """Make a request of a partner's server, or of whoever has the token `who`, with a key of its own."""
        # A code is its own key.
        key = {} if mutation == "mergeMembers" else {"idempotencyKey": secrets.token_hex(8)}
        return Ask(self.tokens.get(who, who), mutation, {**key, **given}, at)

    def race(self, *asks: Ask) -> list[Payload]:
        """Send these at the same moment, each by a client of its own; return what each was told, in their order."""
        start = threading.Barrier(len(asks))

        def client(ask: Ask) -> Payload:
            with httpx.Client(timeout=60, trust_env=False, verify=NO_TLS) as http:
                start.wait()
                time.sleep(max(0.0, ask.at - time.time()))  # noqa: TID251 - a client's clock, not the exchange's
                return self.send(ask, http)

        with ThreadPoolExecutor(len(asks)) as clients:
            return list(clients.map(client, asks))

    def send(self, ask: Ask, http: httpx.Client | None = None) -> Payload:
        """Send one request and return its payload: a refusal is one too, an error fails the test."""
        answer = (http or self.exchange.http).post(
            f"{self.exchange.url}/graphql",
            json={"query": document(ask.mutation, SUCCESS[ask.mutation]), "variables": {"input": ask.given}},
            headers={"Authorization": f"Bearer {ask.token}"},
        )
        body = answer.json()
        assert "errors" not in body, body
        payload: Payload = body["data"][ask.mutation]
        return payload

    def done(self, ask: Ask) -> Payload:
        """Send one request that must succeed."""
        payload = self.send(ask)
        assert won(payload), payload
        return payload

    # ------------------------------------------------------------ what is there afterwards

    def wallet(self, member: str) -> tuple[int, int]:
        """Return a member's balance and what of it is held."""
        found = self.exchange.graphql(self.tokens["video"], STATE, reference=member)["member"]["wallet"]
        assert int(found["available"]) == int(found["balance"]) - int(found["held"])
        return int(found["balance"]), int(found["held"])

    def remaining(self, benefit: str) -> int | None:
        """Return how many units can still be had."""
        found = self.exchange.graphql(self.tokens["rides"], REMAINING, id=benefit)["node"]
        left: int | None = found["availability"]["remaining"]
        return left

    def redemption(self, redemption: str) -> Payload:
        """Return how a redemption stands."""
        found: Payload = self.exchange.graphql(self.tokens["video"], STATUS, id=redemption)["redemption"]
        return found


def won(payload: Payload) -> bool:
    """Whether a payload is a success."""
    return str(payload["__typename"]).endswith("Success")


def one_winner(told: Iterable[Payload]) -> tuple[Payload, list[Payload]]:
    """Return who won and who lost; the test fails unless exactly one did."""
    told = list(told)
    winners = [payload for payload in told if won(payload)]
    assert len(winners) == 1, told
    return winners[0], [payload for payload in told if not won(payload)]


def seconds(moment: str) -> float:
    """Return a DateTime as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()
