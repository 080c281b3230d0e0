"""The type of exports: a partner sees those that it has asked for, finance sees all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import Parent

from exchange.settlement import exports
from exchange.settlement import statement as settlement_statement
from exchange.settlement.exports import ExportStatus as Status
from graph.context import Context, Info
from graph.enums import ExportStatus, Form
from graph.identifiers import Kind
from graph.inputs import sent
from graph.paging import Page, page
from graph.refusals import made_of
from graph.scalars import Count
from graph.settlement import Statement, own
from graph.types import Node

PATH = "/exports"
"""Where files are fetched, an export's id behind it."""


@strawberry.type(description="How much of an export is done: in lines; of a BUNDLE, in the period's blocks.")
class ExportProgress:
    """exchange.settlement.exports.ExportProgress."""

    done: int = strawberry.field(description="So much.")
    total: int = strawberry.field(description="Of so much; 0: not known yet.")


@strawberry.type(description="A statement's file, made in the background and kept for a day.")
class Export(Node):
    """exchange.settlement.exports.Export."""

    is_type_of = made_of(exports.Export)

    @strawberry.field(graphql_type=Statement, description="What it is of.")
    async def statement(root: Parent[exports.Export], info: Info) -> settlement_statement.Statement | None:
        """Read the statement as it stands now."""
        return await info.context.services.settlement.statement(root.statement)

    form: Form = strawberry.field(name="format", description="What it is written as.")
    status: ExportStatus = strawberry.field(description="Where it stands.")
    progress: ExportProgress = strawberry.field(description="How far it is.")
    asked_at: datetime = strawberry.field(description="When it was asked for first.")
    file_name: str = strawberry.field(description="What its file is to be called.")
    media_type: str = strawberry.field(description="The file's media type.")
    sha256: str | None = strawberry.field(name="sha256", description="The file's SHA-256, in hex; null until READY.")
    expires_at: datetime | None = strawberry.field(description="Until when it can be fetched; null until READY.")
    error: str | None = strawberry.field(description="Why there is no file, if it FAILED.")

    @strawberry.field(name="bytes", description="How long the file is; null until READY.")
    def length(root: Parent[exports.Export]) -> Count | None:
        """Say it of what is written."""
        return None if root.length is None else Count(root.length)

    @strawberry.field(description="Where the file is fetched, with the same access token; null unless READY.")
    def url(root: Parent[exports.Export], info: Info) -> str | None:
        """Name the place."""
        if root.status is not Status.READY:
            return None
        return f"{info.context.services.settings.issuer}{PATH}/{info.context.ids.of(root)}"


async def exports_of(context: Context, first: Any, after: Any) -> Page[exports.Export]:
    """List exports, the newest first."""
    owner = own(context)
    cursors = context.cursors("exports")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else (window.after[0], window.after[1])
    rows = await context.services.exporting.page(owner, behind, window.size + 1)
    return page(cursors, window, [((row.asked_at, row.id), row) for row in rows])


async def named(context: Context, sealed: str) -> exports.Export | None:
    """Return an export by its id, if it is the caller's to see."""
    return await seen(context, context.ids.open(Kind.EXPORT, sealed) or "")


async def seen(context: Context, identity: str) -> exports.Export | None:
    """Return an export, if it is the caller's to see."""
    return await context.services.exporting.export(identity, own(context))
