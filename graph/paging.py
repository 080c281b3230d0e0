"""Keyset pagination: a page is cut behind a position, never counted off, so rows that come and go move nothing.

A cursor is the position of a row in its order (its sort key and id), encrypted, because raw ids must not leave, and
bound to that order, because a position in another order means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import strawberry

from exchange.keyring import BadToken, Keyring
from graph.refusals import Code, fault

SIZE_DEFAULT = 20
SIZE_MAX = 100

T = TypeVar("T")
Position = tuple[Any, ...]

First = Annotated[
    int | None, strawberry.argument(description="At most so many rows: 20 unless said otherwise, 100 at most.")
]
After = Annotated[str | None, strawberry.argument(description="Only what is behind the row of this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="At most so many rows, from the end; not with `first`.")]
Before = Annotated[str | None, strawberry.argument(description="Only what is before the row of this cursor.")]


class Window(NamedTuple):
    """Which page is asked for: up to `size` rows behind `after`, from the end if `backwards`."""

    size: int
    after: Position | None
    backwards: bool


class Cursors:
    """Cursors of one order, for instance "benefits/NEWEST"."""

    def __init__(self, keyring: Keyring, order: str) -> None:
        self._keyring = keyring
        self._audience = f"cursor:{order}"

    def seal(self, position: Position) -> str:
        """Return the cursor of a row; times become milliseconds, as the database keeps them."""
        return self._keyring.seal(json.dumps(position, default=_jsonable, separators=(",", ":")), self._audience)

    def open(self, cursor: str) -> Position:
        """Return the position; BAD_USER_INPUT for a cursor of another list or order."""
        try:
            return tuple(_plain(part) for part in json.loads(self._keyring.unseal(cursor, self._audience)))
        except BadToken:
            raise fault(Code.BAD_USER_INPUT, "this cursor is not one of this list and order") from None

    def window(
        self, first: int | None, after: str | None, last: int | None = None, before: str | None = None
    ) -> Window:
        """Return the window that the arguments of a connection ask for; BAD_USER_INPUT where they contradict."""
        if first is not None and last is not None:
            raise fault(Code.BAD_USER_INPUT, "either `first` or `last`, not both")
        if (last is None and before is not None) or (last is not None and after is not None):
            raise fault(Code.BAD_USER_INPUT, "`after` goes with `first`, `before` with `last`")
        backwards = last is not None
        size = SIZE_DEFAULT if first is None and last is None else (last if backwards else first) or 0
        if not 0 <= size <= SIZE_MAX:
            raise fault(Code.BAD_USER_INPUT, f"a page has 0 to {SIZE_MAX} rows, not {size}")
        cursor = before if backwards else after
        return Window(size, None if cursor is None else self.open(cursor), backwards)


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"at": value.isoformat()}
    raise TypeError(type(value))


def _plain(part: Any) -> Any:
    return datetime.fromisoformat(part["at"]) if isinstance(part, dict) else part


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's PageInfo (GraphQL Cursor Connections Specification §5)."""

    has_next_page: bool = strawberry.field(description="Whether there is more behind this page.")
    has_previous_page: bool = strawberry.field(description="Whether there is more before this page.")
    start_cursor: str | None = strawberry.field(description="The cursor of the first row, if there is one.")
    end_cursor: str | None = strawberry.field(description="The cursor of the last row, if there is one.")


@strawberry.type(description="A row and its place in the list.")
class Edge(Generic[T]):
    """Relay's edge."""

    cursor: str = strawberry.field(description="The place of this row: pass it as `after` or `before`.")
    node: T = strawberry.field(description="The row.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    """Relay's connection. Its values are `Page`s."""

    edges: list[Edge[T]] = strawberry.field(description="The rows with their cursors.")
    nodes: list[T] = strawberry.field(description="The rows alone.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """One edge's values."""

    cursor: str
    node: T


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a connection; `count` is asked only when a client selects `totalCount`."""

    edges: list[Row[T]]
    page_info: PageInfo
    count: Callable[[], Awaitable[int]] | None = None

    @property
    def nodes(self) -> list[T]:
        """The rows alone."""
        return [edge.node for edge in self.edges]


def page(
    cursors: Cursors,
    window: Window,
    rows: Sequence[tuple[Position, T]],
    count: Callable[[], Awaitable[int]] | None = None,
    *,
    stopped: Position | None = None,
) -> Page[T]:
    """Return the page of rows that were read behind the window's position: `size` + 1 of them, if there are.

    `stopped`: where the reader gave up looking, behind all its rows and before the end. The page's outer cursor is then
    that place, so that the next page goes on there even from a page without rows.
    """
    beyond = len(rows) > window.size or stopped is not None
    kept = list(rows[: window.size])
    if window.backwards:
        kept.reverse()
    edges = [Row(cursors.seal(position), node) for position, node in kept]
    start, end = (edges[0].cursor, edges[-1].cursor) if edges else (None, None)
    if stopped is not None:
        outer = cursors.seal(stopped)
        start, end = (outer, end) if window.backwards else (start, outer)
    came_from = window.after is not None
    info = PageInfo(
        has_next_page=came_from if window.backwards else beyond,
        has_previous_page=beyond if window.backwards else came_from,
        start_cursor=start,
        end_cursor=end,
    )
    return Page(edges, info, count)
