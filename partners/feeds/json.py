"""JSON, as one document with an array of objects, or as JSON Lines with an object in each line.

A document is held as text (bounded), but its objects are decoded one at a time: that keeps fifty thousand of them
from standing in memory at once, and gives each the line it begins in, which a decoder of whole documents forgets.
Numbers are read as integers or decimals, never as floats: 0.1 in the file is 0.1 here.

A line of JSON Lines that is not JSON is rejected alone, since the next one starts afresh. In a document nothing after
the error can be trusted, so it ends the feed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from partners.feeds.benefit_input import TWICE
from partners.feeds.lines import Lines, decoded
from partners.feeds.rows import FeedError

_DIGITS_MAX = 40
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class NotJson:
    """Stands for the value of a line that has none."""

    reason: str


Value = tuple[int, Any]
"""A line number and the value that begins there."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) < len(pairs):
        names = [name for name, _ in pairs]
        said.update((name, TWICE) for name in names if names.count(name) > 1)
    return said


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:  # Python would refuse much longer ones itself, in words about itself
        raise ValueError(f"{text[:20]}… is too large a number")
    return int(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:20]}… is too large a number") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_no_constant
)


def _reason(wrong: Exception) -> str:
    if isinstance(wrong, RecursionError):
        return "is nested too deeply"
    if isinstance(wrong, json.JSONDecodeError):
        return f"is not JSON: {wrong.msg} at column {wrong.colno}"
    return f"is not JSON: {wrong}"


def decode_line(text: str) -> Any:
    """Return the value of one line of JSON Lines, `NotJson` when there is none."""
    try:
        return _DECODER.decode(text.strip())
    except (ValueError, RecursionError) as wrong:
        return NotJson(_reason(wrong))


def read_lines(lines: Lines) -> Iterator[Value]:
    """Yield the value of each line that is not blank."""
    return ((number, decode_line(decoded(number, raw))) for number, raw in lines if raw.strip())


def read_document(text: str, first_line: int, under: Collection[str]) -> Iterator[Value]:
    """Yield the elements of the array that is the document, or that stands in its object under one of these names."""
    document = _Document(text, first_line)
    if document.next() == "[":
        yield from document.elements()
        document.end()
        return
    document.expect("{")
    found = False
    while True:
        document.next()
        name = document.value()
        if not isinstance(name, str):
            raise FeedError("this is not JSON: a name was expected", document.line())
        document.next()
        document.expect(":")
        if document.next() == "[" and name in under:
            found = True
            yield from document.elements()
        else:
            document.value()
        if document.next() == "}":
            break
        document.expect(",")
    document.expect("}")
    document.end()
    if not found:
        names = " or ".join(f'{{"{name}": […]}}' for name in sorted(under))
        raise FeedError(f"the document has no array of benefits; it is […] or {names}", first_line)


class _Document:
    """A text and a place in it."""

    def __init__(self, text: str, first_line: int) -> None:
        self._text = text
        self._at = 0
        self._counted = 0
        self._line = first_line

    def next(self) -> str:
        """Go over white space; return the character after it, "" at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def expect(self, character: str) -> None:
        if not self._text.startswith(character, self._at):
            raise FeedError(f"this is not JSON: {character} was expected", self.line())
        self._at += 1

    def value(self) -> Any:
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as wrong:
            self._at = max(self._counted, wrong.pos)
            raise FeedError(f"this {_reason(wrong)}", self.line()) from None
        except (ValueError, RecursionError) as wrong:
            raise FeedError(f"this {_reason(wrong)}", self.line()) from None
        return value

    def elements(self) -> Iterator[Value]:
        self.expect("[")
        if self.next() == "]":
            self._at += 1
            return
        while True:
            self.next()
            line = self.line()
            yield line, self.value()
            if self.next() != ",":
                break
            self._at += 1
        self.expect("]")

    def end(self) -> None:
        if self.next():
            raise FeedError(
                "something follows the end of the JSON document; one object a line is JSON Lines", self.line()
            )
