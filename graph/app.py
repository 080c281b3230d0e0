"""The application: routes, and the services behind them for as long as it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router

from exchange.errors import Fault
from exchange.exporter import Exporter
from exchange.sweeper import Sweeper
from graph.downloads import Downloads
from graph.exports import PATH as EXPORTS
from graph.http import GraphQLEndpoint
from graph.schema import make_schema
from graph.services import open_services
from graph.settings import Settings, settings_from
from partners.oauth.routes import oauth_routes

_CANCEL_AGAIN_SECONDS = 1


async def _end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they end: while the driver waits for an answer, it can swallow a cancellation."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECONDS)


def create_app(settings: Settings | None = None) -> Starlette:
    """Return the ASGI application; without settings they are read from the environment."""
    chosen = settings or settings_from(os.environ)
    served = Router(redirect_slashes=False)
    schema = make_schema()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with open_services(chosen) as services:

            async def ready(_: Request) -> Response:
                """Tell whether requests can be served: the database answers."""
                try:
                    await services.now()
                except Fault as error:
                    return JSONResponse({"ready": False, "reason": error.message}, 503)
                return JSONResponse({"ready": True})

            sweeper = Sweeper(services.books, services.ledger, services.settlement, services.disputing)
            exporter = Exporter(services.exporting, services.settlement, services.files)
            sweeping, exporting = asyncio.create_task(sweeper.run()), asyncio.create_task(exporter.run())
            endpoint = GraphQLEndpoint(schema, services).answer
            served.routes[:] = [
                Route("/graphql", endpoint, methods=["GET", "POST"]),
                Route(f"{EXPORTS}/{{id}}", Downloads(services).answer, methods=["GET"]),
                Route("/readyz", ready),
                *oauth_routes(services.oauth, services.keys),
            ]
            try:
                yield
            finally:
                # The exporter gives back what it is at, so that another process goes on at once.
                await _end(sweeping, exporting)

    async def alive(_: Request) -> Response:
        """Tell that the process is there."""
        return JSONResponse({"alive": True})

    app = Starlette(routes=[Route("/healthz", alive), Mount("/", served)], lifespan=lifespan)
    # A redirect would name the host that the request claims.
    app.router.redirect_slashes = False
    return app
