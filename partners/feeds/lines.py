"""The bytes of a feed as numbered lines, with every size bounded before anything is kept.

Lines are cut from bytes and decoded one by one: UTF-8 has no newline inside a character, so a wrong byte can be
named with its line, and no decoder has to hold more than one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from partners.feeds.rows import FeedError

LINE_BYTES_MAX = 8 * 2**20
"""Above the longest benefit there can be: 40 translations of 10,000 characters, each escaped in JSON."""

DOCUMENT_BYTES_MAX = 64 * 2**20
"""A JSON document is held as a whole: about 50,000 benefits with a kilobyte of text each."""

_BOM = b"\xef\xbb\xbf"

Lines = Iterator[tuple[int, bytes]]


def numbered_lines(stream: BinaryIO) -> Lines:
    """Return the lines that are not blank, with their numbers from 1; the byte order mark is no part of the first.

    A line that is longer than LINE_BYTES_MAX comes in pieces, for `decoded` to refuse and `whole_document` to join.
    """
    pieces = iter(lambda: stream.readline(LINE_BYTES_MAX + 1), b"")
    first = next(pieces, b"").removeprefix(_BOM)
    if b"\0" in first:
        raise FeedError("the file is not text in UTF-8; from a spreadsheet, save as CSV UTF-8")
    return enumerate(chain([first], pieces), 1)


def first_that_is_not_blank(lines: Lines) -> tuple[int, bytes]:
    """Return the first line with anything in it."""
    for number, raw in lines:
        if raw.strip():
            return number, raw
    raise FeedError("the file is empty")


def decoded(number: int, raw: bytes) -> str:
    """Return the text of one line."""
    if len(raw) > LINE_BYTES_MAX:
        raise FeedError(f"the line is longer than {LINE_BYTES_MAX} bytes", number)
    try:
        return raw.decode()
    except UnicodeDecodeError as wrong:
        raise FeedError(f"byte {wrong.start + 1} is not UTF-8; save the file as UTF-8", number) from None


def whole_document(lines: Lines) -> tuple[int, str]:
    """Return the rest of the file as one text, and the number of the line it begins with."""
    start, raw = next(lines)
    parts, size = [raw], len(raw)
    for _, part in lines:
        size += len(part)
        if size > DOCUMENT_BYTES_MAX:
            most = f"more than {DOCUMENT_BYTES_MAX} bytes"
            raise FeedError(f"the file is a JSON document of {most}; write one benefit a line (JSON Lines)")
        parts.append(part)
    document = b"".join(parts)
    try:
        return start, document.decode()
    except UnicodeDecodeError as wrong:
        number = start + document.count(b"\n", 0, wrong.start)
        byte = wrong.start - document.rfind(b"\n", 0, wrong.start)
        raise FeedError(f"byte {byte} is not UTF-8; save the file as UTF-8", number) from None
