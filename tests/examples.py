"""Worked examples in the docs, read so that a test can run them: what a page says is posted is what is posted.

An example is a table under a heading of its own, one row for each posting, in the order in which they are written::

    | entry | party | account | amount |
    |---|---|---|---|
    | CONFIRM | video | WALLET, lot V | -89 video points |
    | | video | REDEEMED | +89 video points |
    | | video | REDEMPTIONS | -0.71 EUR |
    | | rides | REDEMPTIONS | +0.71 EUR |
    | FULFIL | | | nothing |

A row without an entry belongs to the entry above; "nothing" stands for an entry that posts nothing. Points that an
entry holds, or lets go, are rows of the account HELD, after its postings. A test writes the same from the entries and
compares::

    assert told_in("redemption.md", "An example with every posting") == [told(entry) for entry in entries]

Lots and entries have names in an example: a test gives its lots those ids, as idempotency keys of the awards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from exchange.amounts import decimal_from_minor
from exchange.journal import Entry

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = ["entry", "party", "account", "amount"]
NOTHING = "nothing"


class Told(NamedTuple):
    """An entry as an example tells it: its kind, and "party | account | amount" for each posting."""

    kind: str
    rows: list[str]


def told_in(page: str, heading: str) -> list[Told]:
    """Return what the table of postings under a page's heading tells; ValueError when there is none."""
    entries: list[Told] = []
    for kind, *posting in _cells(page, heading):
        if kind:
            entries.append(Told(kind, []))
        if posting != ["", "", NOTHING]:
            entries[-1].rows.append(" | ".join(posting))
    return entries


def transcript_in(page: str) -> list[tuple[list[str], str]]:
    """Return what a page shows of a terminal: the words behind each "$ exchange", and what is printed then."""
    shown: list[tuple[list[str], str]] = []
    in_transcript = False
    for line in (DOCS / page).read_text().splitlines():
        if line.startswith("```"):
            in_transcript = line == "```console"
        elif in_transcript and line.startswith("$ exchange "):
            shown.append((line.split()[2:], ""))
        elif in_transcript and shown:
            command, printed = shown[-1]
            shown[-1] = (command, f"{printed}{line}\n")
    return shown


def told(entry: Entry) -> Told:
    """Tell an entry as the docs do."""
    rows = [
        f"{posting.party} | {_account(posting.account, posting.lot)} | {_amount(posting.unit, posting.amount)}"
        for posting in entry.postings
    ]
    rows += [
        f"{take.issuer} | {_account('HELD', take.lot)} | {take.points:+} {take.issuer} points" for take in entry.holds
    ]
    return Told(entry.kind.value, rows)


def _cells(page: str, heading: str) -> Iterator[list[str]]:
    """Yield the rows of the first table of postings between a heading and the next."""
    lines = iter((DOCS / page).read_text().splitlines())
    if not any(line.lstrip("#") == f" {heading}" and line.startswith("#") for line in lines):
        message = f"{page} has no heading {heading!r}"
        raise ValueError(message)
    in_table = False
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("#") or (in_table and not line.startswith("|")):
            break
        if in_table and not line.startswith("|--"):
            yield cells
        in_table = in_table or cells == COLUMNS
    if not in_table:
        message = f"{page} has no table of postings under {heading!r}"
        raise ValueError(message)


def _account(account: str, lot: str | None) -> str:
    return account if lot is None else f"{account}, lot {lot}"


def _amount(unit: str, amount: int) -> str:
    sign = "-" if amount < 0 else "+"
    kind, _, issuer = unit.partition(":")
    if issuer:
        return f"{sign}{abs(amount)} {issuer} {kind}"
    return f"{sign}{decimal_from_minor(abs(amount), unit)} {unit}"
