"""Fetching a file: `GET /exports/{id}`, with the access token that the API takes.

Whose export it is not, and who has an id of none, are told the same: 404. A file that is not there yet is 409 with
`Retry-After`, one that will not be there 409 without, and one that is there no longer 410; the body says so as the
API's errors do. The file comes with its length, its SHA-256 as `ETag` and as `Repr-Digest` (RFC 9530), and the name to
be saved under; asked with that tag in `If-None-Match`, who has it already is told 304.
"""

from __future__ import annotations

import base64
from http import HTTPStatus

from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from exchange.errors import Fault
from exchange.settlement.exports import Export, ExportStatus
from graph.context import Context
from graph.exports import named
from graph.http import Unanswered, authenticated
from graph.refusals import Code
from graph.services import Services

RETRY_SECONDS = 1


class Downloads:
    """The files of one exchange's exports."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, request: Request) -> Response:
        """Answer a request."""
        try:
            export = await self._export(request)
            _require_file(export)
        except Unanswered as instead:
            return instead.response()
        except Fault as error:
            status = HTTPStatus.SERVICE_UNAVAILABLE
            said = Unanswered(status, Code.INTERNAL_SERVER_ERROR, error.message, _again(error.retry_seconds))
            return said.response()
        headers = _headers(export)
        if headers["ETag"] in (each.strip() for each in request.headers.get("If-None-Match", "").split(",")):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        headers["Content-Length"] = str(export.length)
        if request.method == "HEAD":
            return Response(headers=headers, media_type=export.media_type)
        return StreamingResponse(self._services.exporting.file(export), headers=headers, media_type=export.media_type)

    async def _export(self, request: Request) -> Export:
        context = Context(self._services, await authenticated(self._services.tokens, request))
        try:
            export = await named(context, request.path_params["id"])
        except GraphQLError as error:  # of a scope: before the id is looked at
            raise Unanswered(HTTPStatus.FORBIDDEN, Code.FORBIDDEN, error.message) from None
        if export is None:
            raise Unanswered(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, "no such export")
        return export


def _require_file(export: Export) -> None:
    match export.status:
        case ExportStatus.READY:
            return
        case ExportStatus.EXPIRED:
            raise Unanswered(HTTPStatus.GONE, Code.EXPIRED, "the file was kept for a day: ask for the export again")
        case ExportStatus.FAILED:
            raise Unanswered(HTTPStatus.CONFLICT, Code.NOT_READY, f"there will be no file: {export.error}")
        case _:
            done, total = export.progress
            said = f"the export is {export.status.lower()}, {done} of {total or '?'} are done"
            raise Unanswered(HTTPStatus.CONFLICT, Code.NOT_READY, said, _again(RETRY_SECONDS))


def _headers(export: Export) -> dict[str, str]:
    digest = export.sha256 or ""
    return {
        "Content-Disposition": f'attachment; filename="{export.file_name}"',
        "ETag": f'"{digest}"',
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
    }


def _again(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}
