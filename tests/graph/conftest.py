"""A running exchange per module: the real application on the real MongoDB, with three partners that trade."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo import MongoClient

from graph.app import create_app
from graph.services import open_services
from graph.settings import Settings
from tests.graph.speech import ISSUER, World

PARTNERS = ("video", "delivery", "rides")


@pytest.fixture(scope="module")
async def exchange(
    mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Run the application; video, delivery and rides each have a client, every pair of them an agreement."""
    name = f"test_{uuid4().hex}"
    settings = Settings(mongo_url=mongo_url, issuer=ISSUER, data=tmp_path_factory.mktemp("data"), database=name)
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        stack.callback(_mongo_admin.drop_database, name)
        await stack.enter_async_context(app.router.lifespan_context(app))
        # What an operator does on the command line, beside the running server: onboarding.
        services = await stack.enter_async_context(open_services(settings, ledger=False))
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=ISSUER, timeout=30
            )
        )
        world = World(app, http, services)
        for handle in PARTNERS:
            await world.onboard(handle)
        for issuer in PARTNERS:
            for provider in PARTNERS:
                if issuer != provider:
                    await world.agree(issuer, provider, "8.00")
        yield world


@pytest.fixture(scope="module")
async def proved(exchange: World) -> AsyncIterator[None]:
    """Hold the books to every invariant when all tests of the module have written in them."""
    yield
    await exchange.prove()


@pytest.fixture(scope="module")
def trading(exchange: World, proved: None) -> World:
    """Give the exchange; the module ends with everything proved."""
    return exchange


@pytest.fixture
async def beside(exchange: World) -> AsyncIterator[World]:
    """Run the application once more on the same database: as another process would, with a lane of its own."""
    app = create_app(exchange.services.settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=ISSUER, timeout=30
        ) as http,
    ):
        yield replace(exchange, app=app, http=http)


@pytest.fixture
def world(exchange: World) -> World:
    """Give the module's exchange; tests share it, so members, SKUs and keys are fresh in each."""
    return exchange
