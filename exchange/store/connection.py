"""Opening the database: PyMongo's async API, or Motor through the same small seam.

The two differ in what has to be awaited: `aggregate`, `watch`, `start_session`, `start_transaction` and `close`. Those
five go through `settled`; everything else is called alike.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from exchange.errors import StoreUnavailable

Document = dict[str, Any]
Client = AsyncMongoClient[Document]
Database = AsyncDatabase[Document]
Collection = AsyncCollection[Document]
Session = AsyncClientSession

DEFAULT_DATABASE = "exchange"
MAJORITY = ReadConcern("majority")

_OPTIONS: dict[str, Any] = {
    "appname": "benefits-exchange",
    "tz_aware": True,
    "w": "majority",
    "journal": True,
    # A database that stopped answering must look like one, or a commit would wait for ever to learn its outcome.
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 10_000,
}


def connect(url: str) -> Client:
    """Return a client for `url`; nothing is sent yet. `EXCHANGE_MONGO_DRIVER=motor` takes Motor instead."""
    if os.environ.get("EXCHANGE_MONGO_DRIVER", "pymongo") == "motor":
        from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - an extra that most installations lack

        motor: Any = AsyncIOMotorClient(url, **_OPTIONS)
        return motor  # type: ignore[no-any-return]
    return AsyncMongoClient(url, **_OPTIONS)


def database(client: Client, name: str | None = None) -> Database:
    """Return the database that the URL names, or `exchange`."""
    if name is not None:
        return client[name]
    return client.get_default_database(DEFAULT_DATABASE)


async def settled(result: Any) -> Any:
    """Await what one driver returns as an awaitable and the other does not."""
    return await result if inspect.isawaitable(result) else result


async def aggregate(collection: Collection, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> list[Document]:
    """Run an aggregation and return all its documents: for results known to be small."""
    cursor = await settled(collection.aggregate(list(pipeline), **options))
    documents: list[Document] = await cursor.to_list(None)
    return documents


async def server_time(db: Database) -> datetime:
    """Return the primary's clock."""
    with answering():
        reply: Document = await db.command("hello", codec_options=CodecOptions(tz_aware=True))
    now: datetime = reply["localTime"]
    return now


@contextmanager
def answering() -> Iterator[None]:
    """Turn the driver's errors into ours, so that nobody above a store has to know the driver."""
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(f"the database did not answer: {type(error).__name__}") from error
