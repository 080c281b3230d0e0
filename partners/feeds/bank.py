"""A bank's file, whichever it is: camt.053, camt.054, or a CSV.

A CSV has a row for each movement of the exchange's account, under a header: `date` (the value date), `amount` with a
point and signed as the account sees it, `currency`; if the bank gives them `end_to_end_id`, `text`, `name` (the other
party's) and `reference` (the bank's own, which no other movement has). Other columns are passed over.

Unlike a partner's file, a bank's is read as a whole or not at all: what is wrong in one line ends it. Who has half a
bank statement has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from io import BytesIO
from typing import Final, NamedTuple

from exchange.amounts import Money, minor_from_decimal
from exchange.settlement.reconciliation import LINES_MAX, Booked
from partners.feeds.camt import names_in, printed, read_camt
from partners.feeds.csv import read_table
from partners.feeds.lines import numbered_lines
from partners.feeds.rows import FeedError

BYTES_MAX: Final = 32 * 2**20
_NEEDED: Final = ("date", "amount", "currency")
_OPTIONAL: Final = ("end_to_end_id", "text", "name", "reference")
_TEXT_MAX: Final = 140


class BankFile(NamedTuple):
    """A file as read. `hash`: its SHA-256, by which it is known; `announced`: entries that are not booked yet."""

    hash: str
    lines: tuple[Booked, ...]
    announced: int


def read_bank_file(data: bytes, encoding: str | None = None) -> BankFile:
    """Read all of it, or raise a FeedError with the line that is wrong.

    `encoding`: of text that came as such, where what XML declares of itself is no longer so.
    """
    if len(data) > BYTES_MAX:
        raise FeedError(f"the file has more than {BYTES_MAX} bytes")
    lines: list[Booked] = []
    announced = 0
    # "<" is at the beginning of XML in any encoding that banks use.
    for line in read_camt(BytesIO(data), encoding) if b"<" in data.lstrip()[:4] else _read_csv(data):
        if line is None:
            announced += 1
        else:
            lines.append(line)
        if len(lines) > LINES_MAX:
            raise FeedError(f"the file has more than {LINES_MAX} movements: give it in parts", lines[-1].line)
    return BankFile(sha256(data).hexdigest(), tuple(lines), announced)


def _read_csv(data: bytes) -> Iterator[Booked]:
    start, names, rows = read_table(numbered_lines(BytesIO(data)))
    header = [name.strip().lower() for name in names]
    twice = sorted(name for name in (*_NEEDED, *_OPTIONAL) if header.count(name) > 1)
    missing = [name for name in _NEEDED if name not in header]
    if twice:
        raise FeedError(f"the header names a column twice: {', '.join(twice)}", start)
    if missing:
        raise FeedError(f"the header lacks {', '.join(missing)}", start)
    n = 0
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < len(header):
            raise FeedError(f"the row has {len(cells)} cells where the header has {len(header)}", line)
        n += 1
        yield _line(n, line, {name: cell.strip() for name, cell in zip(header, cells, strict=False)})


def _line(n: int, line: int, said: dict[str, str]) -> Booked:
    currency = said["currency"].upper()
    try:
        amount = Money(minor_from_decimal(said["amount"].removeprefix("+"), currency), currency)
        day = date.fromisoformat(said["date"])
    except ValueError as wrong:
        raise FeedError(str(wrong), line) from None
    text = said.get("text", "")
    return Booked(
        n=n, line=line, amount=amount, value_date=day, bank_reference=said.get("reference", "")[:_TEXT_MAX],
        names=names_in(said.get("end_to_end_id", ""), *text.split()), payer=printed(said.get("name", "")),
        text=printed(text),
    )  # fmt: skip
