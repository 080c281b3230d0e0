"""Catalog feeds: a partner's file, read into benefits and rejections.

Theory. A feed is two questions that do not know of each other: how the file is laid out (CSV; a JSON document; JSON
Lines), and whose words it uses (ours, those of BenefitInput; or a reward supplier's). The layouts yield values with
the line they begin in, the vocabularies turn values into `BenefitContent`, and this module finds out which is which
and sees that no SKU comes twice.

Two things can be wrong, and they differ in what follows. A *row* is rejected, with its line and each of its fields,
and the next row is read. A *file* that cannot be trusted any further ends in a `FeedError`: whoever publishes while
reading has published what came before, and importing the mended file again changes nothing that is unchanged.

A row is read as strictly as the API reads it, and judged by the same `exchange.benefit.validate`, so that no file
can publish what a program could not. Rows are streamed: of fifty thousand, what stays is one row, and the SKUs with
their lines.

What this package does not know: the database, which partner it is, and what is published already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from itertools import chain
from typing import Any, BinaryIO, Final, Literal, get_args

from partners.feeds.benefit_input import read_benefit
from partners.feeds.csv import read_csv
from partners.feeds.json import NotJson, Value, decode_line, read_document, read_lines
from partners.feeds.lines import LINE_BYTES_MAX, first_that_is_not_blank, numbered_lines, whole_document
from partners.feeds.reward_supplier import read_products
from partners.feeds.rows import WHOLE_ROW, Accepted, FeedError, Reading, Rejected, Row, Wrong

__all__ = ["FORMATS", "Accepted", "FeedError", "FeedFormat", "Rejected", "Row", "read_feed"]

FeedFormat = Literal["auto", "csv", "json", "jsonl", "reward-supplier"]
FORMATS: Final[tuple[FeedFormat, ...]] = get_args(FeedFormat)

_ARRAY_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("benefits", "content"),
    "json": ("benefits",),
    "reward-supplier": ("content",),
}


def read_feed(
    source: str | os.PathLike[str] | BinaryIO,
    format: FeedFormat = "auto",  # noqa: A002 - the name partners know from --format
    points_per_unit: Decimal | int | None = None,
) -> Iterator[Row]:
    """Yield every benefit of a feed and every rejection, in the file's order.

    `points_per_unit` prices a reward supplier's list, and says nothing to the other formats, which have prices. A
    `FeedError` comes while iterating, possibly after rows. A stream is read to its end and left open.
    """
    first_lines: dict[str, int] = {}
    try:
        with _opened(source) as stream:
            for reading in _readings(stream, format, points_per_unit):
                yield from _rows(reading, first_lines)
    except OSError as wrong:
        raise FeedError(f"{_name(source)} cannot be read: {wrong.strerror or wrong}") from wrong


def _opened(source: str | os.PathLike[str] | BinaryIO) -> AbstractContextManager[BinaryIO]:
    return open(source, "rb") if isinstance(source, str | os.PathLike) else nullcontext(source)  # noqa: PTH123 - a str is a path too


def _name(source: str | os.PathLike[str] | BinaryIO) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "the file"


def _rows(reading: Reading, first_lines: dict[str, int]) -> Iterator[Row]:
    """Yield the row's rejections, or its benefit. A SKU counts as said even if its row is rejected."""
    repeated = []
    if reading.sku is not None:
        if reading.sku in first_lines:
            reason = f"{reading.sku} already stands in line {first_lines[reading.sku]}"
            repeated.append(Wrong(reading.sku_field, reason))
        first_lines.setdefault(reading.sku, reading.line)
    for field, reason in (*repeated, *reading.wrongs):
        yield Rejected(reading.line, field, reason)
    if reading.content is not None and not repeated:
        yield Accepted(reading.line, reading.content, reading.expected_version)


def _readings(stream: BinaryIO, wanted: FeedFormat, points_per_unit: Decimal | int | None) -> Iterator[Reading]:
    lines = numbered_lines(stream)
    first = first_that_is_not_blank(lines)
    lines = chain([first], lines)
    layout = _layout(wanted, first[1])
    if layout == "csv":
        return read_csv(lines)
    if layout == "jsonl":
        values = read_lines(lines)
    else:
        start, text = whole_document(lines)
        values = read_document(text, start, _ARRAY_NAMES[wanted])
    start_value = next(values, None)
    if start_value is None:
        return iter(())
    values = chain([start_value], values)
    if wanted == "reward-supplier" or (wanted == "auto" and _is_product(start_value[1])):
        return read_products(values, points_per_unit)
    return _benefits(values)


def _layout(wanted: FeedFormat, first: bytes) -> Literal["csv", "json", "jsonl"]:
    """Tell from the first line: an array is a document, an object alone in its line is the first of many lines."""
    if wanted in {"csv", "json", "jsonl"}:
        return wanted
    begins = first.lstrip()[:1]
    if begins == b"{" and len(first) <= LINE_BYTES_MAX:
        value = decode_line(first.decode(errors="replace"))
        wraps = isinstance(value, dict) and any(isinstance(value.get(name), list) for name in _ARRAY_NAMES[wanted])
        return "json" if wraps or isinstance(value, NotJson) else "jsonl"
    return "json" if begins in {b"[", b"{"} or wanted == "reward-supplier" else "csv"


def _is_product(value: Any) -> bool:
    return isinstance(value, dict) and "productId" in value and "sku" not in value


def _benefits(values: Iterable[Value]) -> Iterator[Reading]:
    for line, said in values:
        if isinstance(said, dict):
            benefit = read_benefit(said)
            wrongs = [Wrong(".".join(path), reason) for path, reason in benefit.wrongs]
            yield Reading(line, wrongs, benefit.content, benefit.expected_version, benefit.sku)
        else:
            yield Reading(line, [Wrong(WHOLE_ROW, said.reason if isinstance(said, NotJson) else "must be an object")])
