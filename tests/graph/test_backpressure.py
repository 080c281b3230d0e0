"""Back-pressure as a partner's server sees it: over real HTTP, while the database takes its time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn
from pymongo import MongoClient
from starlette.applications import Starlette
from starlette.routing import Route

from exchange.errors import Refusal
from exchange.ledger import QUEUE_MAX, Ledger
from graph.http import GRAPHQL, JSON, GraphQLEndpoint
from graph.schema import make_schema
from graph.services import open_services
from partners.oauth.routes import oauth_routes
from tests.exchange.speech import redeem
from tests.graph.speech import SUCCESS, World, document

UNSAID = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
"""The server does not say whether the commit will last: it is asked again until it does, and nobody is answered."""

Reached = Callable[[], Awaitable[None]]
Holding = Callable[[], AbstractAsyncContextManager[Reached]]


@pytest.fixture
async def served(exchange: World) -> AsyncIterator[World]:
    """Serve the gateway on a port of its own, with a ledger that the test can reach."""
    async with open_services(exchange.services.settings) as services:
        oauth = oauth_routes(services.oauth, services.keys)
        app = Starlette(
            routes=[Route("/graphql", GraphQLEndpoint(make_schema(), services).answer, methods=["POST"]), *oauth]
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=address, timeout=30, limits=httpx.Limits()) as http:
                yield replace(exchange, app=app, http=http, services=services)
            server.should_exit = True
            await serving


@pytest.fixture
def commits_held(_mongo_admin: MongoClient[dict[str, Any]]) -> Holding:
    """Give what holds up commits, until it ends; what it hands out returns once there is one."""

    def tell(**command: Any) -> int:
        return int(_mongo_admin.admin.command(command).get("count", 0))

    @asynccontextmanager
    async def held() -> AsyncIterator[Reached]:
        how = {"failCommands": ["commitTransaction"], "writeConcernError": UNSAID}
        before = tell(configureFailPoint="failCommand", mode="alwaysOn", data=how)

        async def reached() -> None:
            wanted = {"waitForFailPoint": "failCommand", "timesEntered": before + 1, "maxTimeMS": 10_000}
            await asyncio.to_thread(tell, **wanted)

        try:
            yield reached
        finally:
            tell(configureFailPoint="failCommand", mode="off")

    return held


async def filled(ledger: Ledger) -> list[asyncio.Task[Any]]:
    """Fill the queue with what will be refused; the batch before it must be in flight."""
    waiting = [asyncio.create_task(ledger.submit(redeem("video/none"))) for _ in range(QUEUE_MAX - ledger.waiting)]
    await asyncio.sleep(0)
    assert ledger.waiting == QUEUE_MAX
    return waiting


async def test_a_full_queue_is_429_with_retry_after(served: World, commits_held: Holding) -> None:
    """Writes are THROTTLED at once, and told when to come again; reads are answered; nothing was tried."""
    member, ledger = served.fresh("ann"), served.services.ledger
    await served.award("video", member, 1)
    given = {"member": {"reference": member}, "points": "5"}
    headers = {"Authorization": f"Bearer {await served.token('video')}"}
    award = document("awardPoints", SUCCESS["awardPoints"])
    async with commits_held() as reached:
        first = asyncio.create_task(served.done("video", "awardPoints", idempotencyKey="held", **given))
        await reached()
        waiting = await filled(ledger)
        for media in (GRAPHQL, JSON):
            answer = await served.http.post(
                "/graphql", headers={**headers, "Accept": media},
                json={"query": award, "variables": {"input": {**given, "idempotencyKey": "turned away"}}},
            )  # fmt: skip
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 20
            assert answer.headers["cache-control"] == "no-store"
            (error,) = answer.json()["errors"]
            assert error["extensions"] == {"code": "THROTTLED"}
            assert error["path"] == ["awardPoints"]
            assert answer.json()["data"] is None
        flood = [served.send("video", "awardPoints", idempotencyKey=f"flood-{n}", **given) for n in range(100)]
        told = await asyncio.gather(*flood)
        assert Counter((one.status, *one.codes) for one in told) == {(429, "THROTTLED"): 100}
        assert await served.read("video", "{ viewer { partner { handle } } }") == {"partner": {"handle": "video"}}
        assert not first.done()
        assert ledger.waiting == QUEUE_MAX
    await first
    assert all(isinstance(one, Refusal) for one in await asyncio.gather(*waiting, return_exceptions=True))
    for key in ("turned away", "flood-7"):
        assert not (await served.done("video", "awardPoints", idempotencyKey=key, **given))["replayed"]
    assert (await served.award("video", member, 1))["wallet"]["balance"] == str(1 + 3 * 5 + 1)


@pytest.mark.parametrize("sent", ["all", "half", "headers"])
async def test_a_client_that_goes_away_is_served_once(served: World, commits_held: Holding, sent: str) -> None:
    """It hangs up with its request sent, half sent or hardly begun: its key, asked again, is one redemption for ever.

    What had arrived whole was carried out, and comes as a replay; what had not was not, and is carried out now.
    """
    member = served.fresh("ann")
    await served.award("video", member, 100)
    benefit = await served.publish("video", 10)
    # So that this process has of its stock, and the next commit is the redemption's.
    await served.award("video", "before", 10)
    await served.redeem("before@video", benefit)
    given = {"benefit": benefit["id"], "expectedPoints": "10", "idempotencyKey": "gone"}
    query = document("redeemBenefit", SUCCESS["redeemBenefit"])
    body = json.dumps({"query": query, "variables": {"input": given}}).encode()
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: exchange\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {await served.token(f'{member}@video')}\r\n\r\n"
    ).encode()
    part = {"all": body, "half": body[: len(body) // 2], "headers": b""}[sent]
    async with commits_held() as reached:
        _, client = await asyncio.open_connection(served.http.base_url.host, served.http.base_url.port)
        client.write(head + part)
        await client.drain()
        if sent == "all":
            await reached()
        client.transport.abort()
        asking = asyncio.create_task(served.done(f"{member}@video", "redeemBenefit", **given))
        await reached()
    again = await asking
    assert again["replayed"] == (sent == "all")
    thrice = await served.done(f"{member}@video", "redeemBenefit", **given)
    assert thrice["replayed"]
    assert thrice["redemption"] == again["redemption"]
    assert thrice["wallet"]["balance"] == "90"
    assert await served.services.db["redemptions"].count_documents({"benefit": f"video/{benefit['sku']}"}) == 2


async def test_many_who_hang_up_at_any_moment_are_each_served_once(served: World) -> None:
    """Of thirty who go away at different moments and ask again each has paid once, and the books are in order."""
    benefit = await served.publish("video", 10)
    members = [served.fresh("bob") for _ in range(30)]
    for member in members:
        await served.award("video", member, 100)
        await served.token(f"{member}@video")

    async def take(number: int, member: str) -> tuple[str, str]:
        given = {"benefit": benefit["id"], "expectedPoints": "10", "idempotencyKey": "gone"}
        hasty = served.do(f"{member}@video", "redeemBenefit", **given)
        with suppress(TimeoutError):
            await asyncio.wait_for(hasty, 0.004 * number)
        done = await served.done(f"{member}@video", "redeemBenefit", **given)
        return done["redemption"]["id"], done["wallet"]["balance"]

    took = await asyncio.gather(*(take(number, member) for number, member in enumerate(members)))
    assert len({redemption for redemption, _ in took}) == len(members)
    assert {balance for _, balance in took} == {"90"}
    await served.prove()
