from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from exchange.store.connection import Client, Document
from tests.faults.proxy import Proxy, Way


@pytest.fixture
def proxy(mongo_url: str) -> Iterator[Proxy]:
    port = urlsplit(mongo_url).port
    assert port is not None
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    options = "serverSelectionTimeoutMS=300&socketTimeoutMS=300&retryWrites=false&retryReads=false"
    async with AsyncMongoClient[Document](f"{proxy.url}&{options}") as client:
        yield client


async def test_it_is_a_partition_until_it_is_mended(proxy: Proxy, client: Client) -> None:
    """While it is cut nobody is there; mended, everything is as before."""
    await client.admin.command("ping")
    proxy.cut()
    with pytest.raises((AutoReconnect, ServerSelectionTimeoutError)):
        await client.admin.command("ping")
    proxy.mend()
    await client.admin.command("ping")


async def test_a_stalled_network_is_silent(proxy: Proxy, client: Client) -> None:
    """Stalled, it takes what is sent and gives no answer until it is mended."""
    await client.admin.command("ping")
    proxy.stall(requests=False)
    with pytest.raises(NetworkTimeout):
        await client.admin.command("ping")
    proxy.mend()
    await client.admin.command("ping")


async def test_a_held_request_arrives_late_though_its_sender_is_gone(
    proxy: Proxy, client: Client, database_name: str
) -> None:
    """One insert is caught while others pass; after its sender has given it up it arrives nevertheless."""
    rows = client[database_name]["rows"]
    with proxy.hold("insert", where=lambda asked: asked["insert"] == "rows") as held:
        with pytest.raises(NetworkTimeout):
            await rows.insert_one({"_id": 1})
        await client[database_name]["other"].insert_one({"_id": 1})
        await rows.insert_one({"_id": 2})
        assert (held.count, await rows.count_documents({})) == (1, 1)
        held.deliver()
    assert await rows.count_documents({}) == 2


async def test_what_is_dropped_never_arrives(proxy: Proxy, client: Client, database_name: str) -> None:
    """A request that is lost changes nothing."""
    rows = client[database_name]["rows"]
    with proxy.hold("insert") as held:
        with pytest.raises(NetworkTimeout):
            await rows.insert_one({"_id": 1})
        held.drop()
    assert await rows.count_documents({}) == 0


async def test_an_answer_can_be_lost_alone(proxy: Proxy, client: Client, database_name: str) -> None:
    """The server has done what it was asked; only the answer does not come."""
    rows = client[database_name]["rows"]
    with proxy.hold("insert", Way.ANSWER) as held, pytest.raises(NetworkTimeout):
        await rows.insert_one({"_id": 1})
    assert held.count == 1
    assert await rows.count_documents({}) == 1
