"""A sealed file: what the exchange hands out so that nobody has to trust it, verified with the file alone.

Rule 1. It is JSON Lines: each line one object in canonical form (RFC 8785), ended by one line feed, so there is one
way to write it and any other byte is a mistake. It is written and read as a stream.
Rule 2. The first line names the `format` and the public `keys` (RFC 7517) of whoever signs; the format says what else
is in it, and what the lines behind it are.
Rule 3. The last line has the `format` again, how many `lines` stand before it, the `sha256` of all their bytes, and a
`signature` (a JWS with detached content, RFC 7515 appendix F) over the canonical form of its other members.

So the signature is of the whole file, and of nothing else: with the format in it, none is good for another kind of
file. Whoever verifies reads line by line, and says of the *first* thing that is wrong in which line it is. A key that
a file brings itself proves only that the file is as it was signed, not who signed it: that is for the reader's own
copy of the keys.

Pure: the signature is made, and checked, by functions that are given.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import orjson

from exchange.journal import canonical

LINE_BYTES_MAX = 64 * 2**20
"""A longer line is none of ours: no document of the database is so large."""
_LINES_BETWEEN_PROGRESS = 500
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of reading something as what it is not."""

Keys = Mapping[str, Any]
"""A JWK Set."""

CheckSignature = Callable[[bytes, str, Keys], str]
"""(payload, signature, keys) -> the name of the key that made it; ValueError, with the reason, when none did."""


class Seal(NamedTuple):
    """Who signs: its public keys, and how it makes the signature of a payload."""

    keys: Keys
    sign: Callable[[bytes], str]


class Broken(Exception):  # noqa: N818 - what the file is
    """The first thing that is wrong with a file, and the number of the line it is in."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True)
class Findings:
    """What a sound file says. `facts`: for programs; `told`: the same for people, one line each, the first a title."""

    facts: dict[str, Any]
    told: list[str]


@dataclass(frozen=True, slots=True)
class Verified:
    """A sound file. `signer`: the key that signed it; `trusted`: whether that was among the reader's own keys."""

    format: str
    findings: Findings
    lines: int
    signer: str
    trusted: bool


class Judge(Protocol):
    """What a format says about the lines between the first and the last; it raises Broken."""

    def take(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        """Judge the next line."""
        ...

    def end(self, number: int) -> Findings:
        """Say what was found; `number` is of the line that ends the file."""
        ...


async def sealed(header: Mapping[str, Any], body: AsyncIterator[Any], seal: Seal) -> AsyncIterator[bytes]:
    """Yield the lines of a sealed file: the header, to which the keys are added, the body, the signature."""
    digest, lines = sha256(), 1
    first = canonical({**header, "keys": seal.keys}) + b"\n"
    digest.update(first)
    yield first
    async for each in body:
        line = canonical(each) + b"\n"
        digest.update(line)
        lines += 1
        yield line
    end = {"format": header["format"], "lines": lines, "sha256": digest.hexdigest()}
    yield canonical({**end, "signature": seal.sign(canonical(end))}) + b"\n"


def verify(
    read_line: Callable[[int], bytes],
    formats: Mapping[str, Callable[[dict[str, Any]], Judge]],
    check: CheckSignature,
    keys: Keys | None = None,
    progress: Callable[[int], None] = lambda _lines: None,
) -> Verified:
    """Verify a file, from `read_line(at most so many bytes)` alone; raises Broken.

    `formats`: for each that is known, what makes its judge of the first line; `keys`: those that the reader trusts.
    """
    reader = _Reader(read_line)
    header, raw = reader.next()
    kind = header.get("format")
    if not isinstance(kind, str) or kind not in formats:
        raise Broken(1, f"is of no format that can be verified here: {_shown(kind)}")
    with _reading(1):
        judge = formats[kind](header)
    reader.keep(raw)
    while True:
        line, raw = reader.next()
        if "signature" in line:
            break
        with _reading(reader.number):
            judge.take(reader.number, line, raw)
        reader.keep(raw)
        if reader.number % _LINES_BETWEEN_PROGRESS == 0:
            progress(reader.number)
    with _reading(reader.number):
        findings = judge.end(reader.number)
    signature = line.pop("signature")
    if line != {"format": kind, "lines": reader.number - 1, "sha256": reader.digest.hexdigest()}:
        raise Broken(reader.number, f"does not seal these {reader.number - 1} lines")
    reader.expect_end()
    trusted = keys is not None
    try:
        signer = check(canonical(line), signature, keys if keys is not None else header["keys"])
    except UNREADABLE as error:
        raise Broken(reader.number, f"signature: {error}") from error
    return Verified(kind, findings, reader.number, signer, trusted)


def same(number: int, raw: bytes, understood: Any) -> None:
    """Raise Broken unless a line is exactly what was understood of it: nothing more, and nothing otherwise."""
    if canonical(understood) != raw:
        raise Broken(number, "says more than is understood of it, or says it otherwise")


def whole_number(value: Any) -> int:
    """Return a count or an index; ValueError for anything else."""
    if type(value) is not int or value < 0:
        message = f"{_shown(value)} is no whole number"
        raise ValueError(message)
    return value


@dataclass(slots=True)
class _Reader:
    """The lines of a file, and the hash of those that were kept."""

    read: Callable[[int], bytes]
    number: int = 0
    digest: Any = field(default_factory=sha256)

    def next(self) -> tuple[dict[str, Any], bytes]:
        """Return the next line as an object, and its bytes without the line feed."""
        self.number += 1
        raw = self.read(LINE_BYTES_MAX)
        if not raw:
            raise Broken(self.number, "the file ends here, before the line with its signature")
        if not raw.endswith(b"\n"):
            raise Broken(self.number, "is not ended by a line feed")
        raw = raw[:-1]
        try:
            line = orjson.loads(raw)
            is_canonical = canonical(line) == raw
        except UNREADABLE as error:
            raise Broken(self.number, f"is no JSON ({error})") from error
        if not isinstance(line, dict):
            raise Broken(self.number, "is no JSON object")
        if not is_canonical:
            raise Broken(self.number, "is not in canonical form (RFC 8785)")
        return line, raw

    def keep(self, raw: bytes) -> None:
        """Count a line's bytes among those that are sealed."""
        self.digest.update(raw + b"\n")

    def expect_end(self) -> None:
        """Raise Broken if anything follows."""
        if self.read(1):
            raise Broken(self.number + 1, "stands behind the line with the signature")


@contextmanager
def _reading(number: int) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise Broken(number, f"cannot be read ({type(error).__name__}: {error})") from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - a line on a terminal
