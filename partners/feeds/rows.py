"""What comes out of a feed: benefits, rejections, and the one error that ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from exchange.benefit import BenefitContent
from exchange.errors import ExchangeError

WHOLE_ROW = "row"
"""The field of a rejection that concerns no single field."""


class FeedError(ExchangeError):
    """The file cannot be read as a feed, or not any further. One sentence; `line` where the file has one to name."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Accepted:
    """A benefit fit to be published, from the row that begins in `line` (from 1)."""

    line: int
    content: BenefitContent
    expected_version: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """One thing wrong with the row that begins in `line`: a row with three wrong fields is rejected three times."""

    line: int
    field: str
    reason: str


Row = Accepted | Rejected


class Wrong(NamedTuple):
    """A field, in the words of the file's own format, and what it must be."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One benefit as far as it could be read. `sku` is known even where the rest is wrong, to find it twice."""

    line: int
    wrongs: Sequence[Wrong] = ()
    content: BenefitContent | None = None
    expected_version: int | None = None
    sku: str | None = None
    sku_field: str = "sku"
