"""Opening the database: PyMongo's async API, or Motor through the same small seam.

The two differ in what has to be awaited: `aggregate`, `watch`, `start_session`, `start_transaction` and `close`. Those
five go through `settled`; everything else is called alike. Which of the two runs, nobody but `connect` asks.
"""

from __future__ import annotations

import gc
import inspect
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from bson import decode_all
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri

from exchange.errors import NotSetUp, StoreUnavailable

Document = dict[str, Any]
Client = AsyncMongoClient[Document]
Database = AsyncDatabase[Document]
Collection = AsyncCollection[Document]
Session = AsyncClientSession

DEFAULT_DATABASE = "exchange"
DRIVER = "EXCHANGE_MONGO_DRIVER"
MAJORITY = ReadConcern("majority")

_UNAUTHORIZED = 13
_AWARE: CodecOptions[Document] = CodecOptions(tz_aware=True)

_INDEX_BASICS = frozenset({"v", "key", "textIndexVersion", "default_language"})
"""What the server says of every index, whatever was asked for."""

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


def check_url(url: str) -> None:
    """Refuse (ValueError) what is no URL of a MongoDB. Nobody is asked: what an SRV name stands for shows later."""
    if url.startswith("mongodb+srv://"):
        return
    if not url.startswith("mongodb://"):
        raise ValueError("a MongoDB URL begins with mongodb:// or mongodb+srv://")
    try:
        parse_uri(url, warn=True)
    except PyMongoError as error:
        raise ValueError(str(error)) from None


def why_not_opened(url: str, error: StoreUnavailable) -> str:
    """Say which database it was, by its address without credentials, and whether it refused or is not there."""
    # After the last @ of all, so that even of a password that should have been escaped nothing is shown.
    address = re.split("[/?]", url.partition("://")[2].rpartition("@")[2])[0]
    refusal = error.__cause__
    if isinstance(error, NotSetUp):
        return f"the database at {address} is not set up: {error.message}"
    if isinstance(refusal, OperationFailure):
        said = (refusal.details or {}).get("errmsg") or str(refusal)
        return f"the database at {address} refused: {said.rstrip('.')}"
    return f"no database answers at {address}"


def connect(url: str) -> Client:
    """Return a client for `url`, of the driver that EXCHANGE_MONGO_DRIVER names; nothing is sent yet.

    ValueError: there is no such driver, or it is not installed.
    """
    driver = os.environ.get(DRIVER, "pymongo")
    if driver == "motor":
        return _motor(url)
    if driver != "pymongo":
        raise ValueError(f"{DRIVER} is pymongo or motor, not {driver!r}")
    return AsyncMongoClient(url, **_OPTIONS)


def _motor(url: str) -> Client:
    try:
        from motor.motor_asyncio import AsyncIOMotorClient  # noqa: PLC0415 - an extra that most installations lack
    except ImportError:
        raise ValueError(f"{DRIVER}=motor, but Motor is not installed: it is the extra `motor`") from None
    # Its methods have the names of PyMongo's, and no types.
    client: Any = AsyncIOMotorClient(url, **_OPTIONS)
    return client  # type: ignore[no-any-return]


def database(client: Client, name: str | None = None) -> Database:
    """Return the database that the URL names, or `exchange`."""
    if name is not None:
        return client[name]
    return client.get_default_database(DEFAULT_DATABASE)


def database_name(url: str) -> str:
    """Return the name of the database that the URL names; nobody is asked, so of an SRV name only what it says."""
    path = url.partition("://")[2].rpartition("@")[2].partition("/")[2]
    return unquote(path.partition("?")[0]) or DEFAULT_DATABASE


async def settled(result: Any) -> Any:
    """Await what one driver returns as an awaitable and the other does not."""
    return await result if inspect.isawaitable(result) else result


async def aggregate(collection: Collection, pipeline: Sequence[Mapping[str, Any]], **options: Any) -> list[Document]:
    """Run an aggregation and return all its documents: for results known to be small."""
    cursor = await settled(collection.aggregate(list(pipeline), **options))
    documents: list[Document] = await cursor.to_list(None)
    return documents


async def decoded(batches: AsyncIterator[Any]) -> AsyncGenerator[list[Document]]:
    """Yield the documents of a raw cursor's batches, for reads of millions: in half the time of a cursor's own.

    Decoding makes several lists and dicts of a document, and none of them can be in a cycle; while they are made the
    collector would look for one every 700 of them, all through what the process holds.
    """
    async for batch in batches:
        with uncollected():
            documents: list[Document] = decode_all(batch, _AWARE)
        yield documents


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector away from a moment's work. Nothing may be awaited within: others make cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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


def answering_outside(session: Session | None) -> AbstractContextManager[None]:
    """As `answering`, but in a transaction: who runs that tells by the driver's errors whether a rival was faster."""
    return answering() if session is None else nullcontext()


@contextmanager
def setting_up() -> Iterator[None]:
    """As `answering`, where something is made that a server's own user may not make (`roles`)."""
    with answering():
        try:
            yield
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            said = (error.details or {}).get("errmsg", "not authorized")
            remedy = "run `exchange database setup` as a user that has the role exchangeSetup"
            raise NotSetUp(f"{said.partition(' to execute command')[0]}; {remedy}") from error


async def ensure_index(
    collection: Collection, keys: str | Sequence[tuple[str, int | str]], *, name: str | None = None, **options: Any
) -> None:
    """Create an index where it is missing. Where it is there, nothing is asked that a user must have a right to.

    One with the same name or keys and other options is the server's to refuse, as ever.
    """
    wanted = [(keys, 1)] if isinstance(keys, str) else list(keys)
    name = name or "_".join(f"{field}_{direction}" for field, direction in wanted)
    stored = [("_fts", "text"), ("_ftsx", 1)] if "text" in dict(wanted).values() else wanted
    with setting_up():
        there = (await collection.index_information()).get(name, {})
        said = {option: value for option, value in there.items() if option not in _INDEX_BASICS}
        if list(there.get("key", ())) != stored or said != options:
            await collection.create_index(wanted, name=name, **options)
