"""Statements to be written as files: a real one, made-up ones, and ones too long for memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from exchange.amounts import Money
from exchange.journal import LineKind
from exchange.particulars import Particulars
from exchange.settlement.export import Subject, Writer
from exchange.settlement.netting import Position
from exchange.settlement.period import Period, PeriodStatus
from exchange.settlement.statement import Place, Statement, StatementLine
from tests.exchange.settlement.conftest import World

PARTIES: dict[str, Any] = {
    "partner": Particulars(
        name="Komet Rides Sàrl", address=("Rue du Lac 1", "1003 Lausanne"), tax_number="CHE-107.787.577",
        iban="CH9300762011623852957", bic="UBSWCHZH80A",
    ),
    "operator": Particulars(
        name="Exchange AG", address=("Bahnhofstrasse 2", "8001 Zürich"), tax_number="CHE-116.281.710",
        iban="DE89370400440532013000",
    ),
}  # fmt: skip
AT = datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=UTC)


@dataclass
class Written:
    """A statement, and its lines."""

    subject: Subject
    lines: list[StatementLine]


async def closed(world: World, partner: str = "rides") -> Written:
    """Close period 1, and return a partner's statement of it."""
    settlement = world.settle()
    await settlement.close(1)
    statement = await settlement.statement(f"1:{partner}")
    assert statement is not None
    subject = Subject(statement=statement, period=await settlement.period_of(statement), **PARTIES, written_at=AT)
    return Written(subject, await settlement.lines(statement))


def line(
    *, entry: str = "e1", benefit: str | None = "rides/city", kind: LineKind = LineKind.REDEMPTION,
    counterparty: str = "video", points: int = -1000, gross: int = -5, fee: int = 0, currency: str = "EUR",
    at: datetime = AT,
) -> StatementLine:  # fmt: skip
    """Return a line of rides' statement."""
    return StatementLine(
        entry=entry, at=at, kind=kind, benefit=benefit, counterparty=counterparty, points=points,
        gross=Money(gross, currency), fee=Money(fee, currency), late=True, place=Place(at, 1, 1, 0, 0),
    )  # fmt: skip


def of(*lines: StatementLine) -> Written:
    """Return a made-up statement of rides, 7:rides, with these lines: what they add up to is its totals."""
    totals = []
    for currency in sorted({each.currency for each in lines}):
        inside = [each for each in lines if each.currency == currency]
        receivable = sum(each.gross.minor for each in inside if each.gross.minor > 0)
        payable = -sum(each.gross.minor for each in inside if each.gross.minor < 0)
        fees = sum(each.fee.minor for each in inside)
        totals.append(Position(
            partner="rides", payable=Money(payable, currency), receivable=Money(receivable, currency),
            fees=Money(fees, currency),
        ))  # fmt: skip
    statement = Statement(
        id="7:rides", period=7, partner="rides", root="r", totals=tuple(totals), line_count=len(lines), hash="ab",
    )  # fmt: skip
    return Written(Subject(statement=statement, period=a_period(), **PARTIES, written_at=AT), list(lines))


def a_period() -> Period:
    """Return period 7, closed."""
    return Period(number=7, status=PeriodStatus.CLOSED, opened_at=AT - timedelta(days=1), closed_at=AT)


async def file_of(write: Writer, written: Written) -> bytes:
    """Return the file that a writer makes of a statement."""

    async def stream() -> AsyncIterator[StatementLine]:
        for each in written.lines:
            yield each

    return b"".join([piece async for piece in write(written.subject, stream())])


async def memory_of(write: Writer, count: int) -> tuple[int, int]:
    """Write a statement with so many lines; return the file's size, and the most memory that it took."""

    async def stream() -> AsyncIterator[StatementLine]:
        for number in range(count):
            yield line(entry=f"entry-{number}", gross=number, points=number + 1, at=AT + timedelta(seconds=number))

    gross = Money(count * (count - 1) // 2, "EUR")
    total = Position(partner="rides", payable=Money(0, "EUR"), receivable=gross, fees=Money(0, "EUR"))
    statement = Statement(
        id="7:rides", period=7, partner="rides", root="r", totals=(total,), line_count=count, hash="ab",
    )  # fmt: skip
    size = 0
    tracemalloc.start()
    try:
        async for piece in write(Subject(statement=statement, period=a_period(), **PARTIES, written_at=AT), stream()):
            size += len(piece)
        return size, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
