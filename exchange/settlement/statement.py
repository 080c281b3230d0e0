"""The statement: one partner's period, line by line, under one hash.

A statement is a function of the journal: the same entries give the same bytes. Its *document* is canonical JSON
(RFC 8785, so keys are sorted and `lines` comes second) of

    {"header": {"format", "id", "partner", "period"}, "lines": [...], "period_root", "totals": [...]}

with every amount as a string of minor units, and its `hash` is the SHA-256 of exactly those bytes. So whoever holds
the document checks it with `sha256sum`, and the document is produced line by line: neither drafting nor exporting
ever holds more than a page of lines in memory.

Lines are ordered by time, then by place in the journal (lane, seq, index in the block), then as `Entry.lines` gives
them. A line names its entry by an identifier of the partner's own (two partners cannot join their statements) and is
signed from the partner's side: net = gross - fee, and the nets sum to the position's.

Two computations must agree before a draft exists: what blocks add up to, and what the lines, read from the entries,
add up to; per kind, counterparty and currency, in points, gross and fees. If they do not, one of the two was
altered, and no figure of the partner is to be trusted.

`late` says that an entry bears a time from before the period before was marked closing: its lane had not been cut
yet. Information for people; no rule rests on it.

Pure: lines come from outside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from msgspec import Struct

from exchange.amounts import Money
from exchange.errors import FiguresDisagree
from exchange.journal import Entry, Line, LineKind, canonical, milliseconds
from exchange.settlement.netting import LineKey, LineSum, LineSums, Payment, Position, payment_plan

FORMAT = "benefits-exchange/statement/1"
_TEXTS_KEPT = 4096


class StatementStatus(StrEnum):
    """Where a statement stands; `signoff` says what leads from one to the next."""

    DRAFT = "DRAFT"
    REVIEWED = "REVIEWED"
    APPROVED = "APPROVED"
    INSTRUCTED = "INSTRUCTED"
    PAID = "PAID"
    RECONCILED = "RECONCILED"
    REJECTED = "REJECTED"


class Standing(Struct, frozen=True):
    """What has become of a statement: its `status`, and who had a hand in it.

    `prepared_by`: everybody who ever reviewed it; `approved_by`: whose approvals count now; `paid`: what was paid so
    far, by currency; `paid_by`: who recorded that; `steps`: how many it took so far.

    `due`: what is to be paid of it, fixed when it is instructed; None before, and of one that was instructed when
    nothing was due but what its totals come to.
    """

    status: StatementStatus = StatementStatus.DRAFT
    prepared_by: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    paid: tuple[Money, ...] = ()
    paid_by: tuple[str, ...] = ()
    steps: int = 0
    due: tuple[Payment, ...] | None = None


class EntryPlace(NamedTuple):
    """Where an entry stands in the order of statement lines: `offset` is its index in the block."""

    at: datetime
    lane: int
    seq: int
    offset: int


class Place(NamedTuple):
    """Where a line stands; `n` counts the lines of one entry. What a cursor has to hold."""

    at: datetime
    lane: int
    seq: int
    offset: int
    n: int

    @property
    def entry(self) -> EntryPlace:
        """The place of its entry."""
        return EntryPlace(*self[:4])


class StatementLine(Struct, frozen=True, kw_only=True):
    """One line. `entry`: the partner's own identifier of it; `benefit`: its id; `counterparty`: a handle."""

    entry: str
    at: datetime
    kind: LineKind
    benefit: str | None
    counterparty: str
    points: int
    gross: Money
    fee: Money
    late: bool
    place: Place

    @property
    def net(self) -> Money:
        """What the line adds to the partner's position."""
        return Money(self.gross.minor - self.fee.minor, self.gross.currency)

    @property
    def currency(self) -> str:
        """The one currency of all its amounts."""
        return self.gross.currency


class Statement(Struct, frozen=True, kw_only=True):
    """One partner's period. `totals`: its position in each currency; `root`: the period's; `line_count`: of lines."""

    id: str
    period: int
    partner: str
    root: str
    totals: tuple[Position, ...]
    line_count: int
    hash: str
    standing: Standing = Standing()

    @property
    def status(self) -> StatementStatus:
        """How far it has come."""
        return self.standing.status

    @property
    def due(self) -> tuple[Payment, ...]:
        """What is to be paid of it, to the partner or by it: as it was instructed, or else its totals."""
        return tuple(payment_plan(self.totals)) if self.standing.due is None else self.standing.due


def statement_id(period: int, partner: str) -> str:
    """Return the identity of a partner's statement."""
    return f"{period}:{partner}"


Identify = Callable[[str, str], str]
"""(entry id, partner) -> the partner's own identifier of the entry."""


def lines_of(
    entry: Entry, place: EntryPlace, partner: str, late_before: datetime | None, identify: Identify
) -> Iterator[StatementLine]:
    """Yield the entry's lines in the partner's statement. `late_before`: when the period before was marked closing."""
    name = identify(entry.id, partner)
    late = late_before is not None and entry.at < late_before
    for n, line in enumerate(entry.lines(partner)):
        yield StatementLine(
            entry=name, at=entry.at, kind=line.kind, benefit=entry.benefit, counterparty=line.counterparty,
            points=line.points, gross=Money(line.gross_minor, line.currency),
            fee=Money(line.fee_minor, line.currency), late=late, place=Place(*place, n),
        )  # fmt: skip


async def document(
    period: int, partner: str, root: str, totals: Sequence[Position], lines: AsyncIterator[StatementLine]
) -> AsyncIterator[bytes]:
    """Yield the canonical document, piece by piece."""
    yield document_head(period, partner)
    comma = b""
    async for line in lines:
        yield comma + line_bytes(line)
        comma = b","
    yield document_tail(root, totals)


def document_head(period: int, partner: str) -> bytes:
    """Return the document up to its first line."""
    header = {"format": FORMAT, "id": statement_id(period, partner), "partner": partner, "period": period}
    return b'{"header":' + canonical(header) + b',"lines":['


def line_bytes(line: StatementLine) -> bytes:
    """Return a line as the document has it; between two of them stands a comma."""
    figures = Line(
        line.kind, line.counterparty, line.points, line.gross.minor, line.fee.minor, line.gross.currency
    )  # fmt: skip
    return _written(
        milliseconds(line.at), _quoted(line.benefit), _json(line.entry), figures, _truth(line.late)
    ).encode()


def _written(at: str, benefit: str, entry: str, line: Line, late: str) -> str:
    """Return a line's canonical JSON; benefit, entry and late as they are in it.

    Put together by hand: a period has millions of lines, and what of them can need an escape is few texts that come
    again and again. A test holds it equal to an encoder's.
    """
    kind, counterparty, points, gross, fee, currency = line
    return (
        f'{{"at":"{at}","benefit":{benefit},"counterparty":{_quoted(counterparty)},"currency":{_quoted(currency)},'
        f'"entry":{entry},"fee":"{fee}","gross":"{gross}","kind":"{kind}","late":{late},"net":"{gross - fee}",'
        f'"points":"{points}"}}'
    )


def _json(text: str | None) -> str:
    return canonical(text).decode()


def _truth(value: object) -> str:
    return "true" if value else "false"


_quoted: Callable[[str | None], str] = lru_cache(_TEXTS_KEPT)(_json)


def document_tail(root: str, totals: Sequence[Position]) -> bytes:
    """Return the document behind its last line."""
    told = [total_told(each) for each in totals]
    return b'],"period_root":' + canonical(root) + b',"totals":' + canonical(told) + b"}"


def total_told(position: Position) -> dict[str, str]:
    """Return a total as the document has it."""
    return {
        "currency": position.currency, "fees": str(position.fees.minor), "net": str(position.net.minor),
        "payable": str(position.payable.minor), "receivable": str(position.receivable.minor),
    }  # fmt: skip


class Drafting:
    """A partner's statement in the making: takes the entries in the order of lines, keeps their hash and their sums."""

    def __init__(self, period: int, partner: str, late_before: datetime | None, identify: Identify) -> None:
        self._period = period
        self._partner = partner
        self._entries = 0
        self._late_before = late_before
        self._identify = identify
        self._digest = sha256(document_head(period, partner))
        self._count = 0
        self._sums: dict[tuple[bool, str, str], LineSum] = {}

    def take(self, entry: Entry, at: str) -> None:
        """Go on with the next entry; `at`: its time as it is printed, which its other partners print too."""
        name = _json(self._identify(entry.id, self._partner))
        benefit = _quoted(entry.benefit)
        late = _truth(self._late_before is not None and entry.at < self._late_before)
        written = []
        for line in entry.lines(self._partner):
            written.append(_written(at, benefit, name, line, late))
            # What goes back or is adjusted counts with what was redeemed: a block adds up all under one obligation.
            key = (line.kind is LineKind.COMMISSION, line.counterparty, line.currency)
            total = self._sums.get(key)
            if total is None:
                total = self._sums[key] = LineSum()
            total.add(line.points, line.gross_minor, line.fee_minor)
        if written:
            if self._count:
                written[0] = f",{written[0]}"
            self._digest.update(",".join(written).encode())
        self._entries += 1
        self._count += len(written)

    def finished(self, root: str, totals: Sequence[Position], expected: LineSums, entries: int) -> Statement:
        """Return the draft; FiguresDisagree when the lines do not add up to what blocks `expected`.

        Nor is there one when it did not take as many entries as are said to be of the period and the partner's: those
        beside any block would be in the document all the same.
        """
        sums = {
            LineKey(LineKind.COMMISSION if commission else LineKind.REDEMPTION, counterparty, currency): total
            for (commission, counterparty, currency), total in self._sums.items()
        }
        name = statement_id(self._period, self._partner)
        agree(name, expected, sums)
        if entries != self._entries:
            raise FiguresDisagree(
                f"statement {name} was not drafted: {entries - self._entries} of its entries are in no block"
            )
        digest = self._digest.copy()
        digest.update(document_tail(root, totals))
        return Statement(
            id=name, period=self._period, partner=self._partner, root=root, totals=tuple(totals),
            line_count=self._count, hash=digest.hexdigest(),
        )  # fmt: skip


def agree(statement: str, blocks: LineSums, entries: LineSums) -> None:
    """Refuse (FiguresDisagree, naming each difference) two computations that are not the same."""
    nothing = LineSum()
    differences = [
        f"{key.kind} with {key.counterparty} in {key.currency}: blocks say {_said(ours)}, entries say {_said(theirs)}"
        for key in sorted(blocks.keys() | entries.keys())
        if (ours := blocks.get(key, nothing)) != (theirs := entries.get(key, nothing))
    ]
    if differences:
        raise FiguresDisagree(f"statement {statement} was not drafted: " + "; ".join(differences))


def _said(figures: LineSum) -> str:
    return f"{figures.points} points, gross {figures.gross_minor}, fee {figures.fee_minor}"
