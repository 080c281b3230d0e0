"""Netting: from what blocks add up to, to what each partner pays.

Three views of the same money, each computed from `Sums` alone and each adding up to the same nets:

- *bilateral*: who owes whom, gross. An issuer owes the provider for the points spent there; the provider owes the
  channel its commission and the exchange its fee.
- *positions*: what each party owes or is owed against everybody (multilateral netting). net = receivable - payable -
  fees; per currency the nets sum to zero, because every unit that one owes another is owed.
- *the payment plan*: one payment per party that is not even, through the exchange as the common counterparty. After
  it every position is zero and what stays with the exchange is its fees. A plan without the exchange would need no
  more payments, but would have partners pay strangers.

A party is a debtor under one redemption and a creditor under another; a channel that is itself the provider owes its
commission to itself, so it counts in both columns and in no bilateral row.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from exchange.amounts import Money
from exchange.journal import EXCHANGE, LineKind, Sums


class Position(Struct, frozen=True, kw_only=True):
    """What one party owes and is owed in one currency. `partner`: its handle; the operator's is `exchange`."""

    partner: str
    payable: Money
    receivable: Money
    fees: Money

    @property
    def currency(self) -> str:
        """The one currency of all its amounts."""
        return self.payable.currency

    @property
    def net(self) -> Money:
        """What is to be paid to it; negative: by it."""
        return Money(self.receivable.minor - self.payable.minor - self.fees.minor, self.currency)


class BilateralPosition(Struct, frozen=True, kw_only=True):
    """What `debtor` owes `creditor`, gross. `points`: those spent; none for commissions and fees.

    `entries`: the redemptions it is for.
    """

    debtor: str
    creditor: str
    gross: Money
    points: int
    entries: int


class Payment(Struct, frozen=True, kw_only=True):
    """One transfer of the plan; `amount` is positive."""

    from_: str
    to: str
    amount: Money


class LineKey(NamedTuple):
    """By what a partner's statement lines are added up."""

    kind: LineKind
    counterparty: str
    currency: str


class LineSum(NamedTuple):
    """What statement lines add up to, signed from the partner's side."""

    points: int = 0
    gross_minor: int = 0
    fee_minor: int = 0

    def plus(self, points: int, gross_minor: int, fee_minor: int) -> LineSum:
        """Return the sum with another line's figures."""
        return LineSum(self.points + points, self.gross_minor + gross_minor, self.fee_minor + fee_minor)


LineSums = dict[LineKey, LineSum]


def positions(sums: Sums) -> list[Position]:
    """Return everybody's position, by party and currency; the exchange's own receives the fees."""
    columns: dict[tuple[str, str], list[int]] = {}

    def post(party: str, currency: str, payable: int = 0, receivable: int = 0, fees: int = 0) -> None:
        column = columns.setdefault((party, currency), [0, 0, 0])
        for index, amount in enumerate((payable, receivable, fees)):
            column[index] += amount

    for (issuer, provider, channel, currency), owed in sums.money.items():
        post(issuer, currency, payable=owed.gross_minor)
        post(provider, currency, owed.commission_minor, owed.gross_minor, owed.fee_minor)
        if owed.commission_minor:
            post(channel, currency, receivable=owed.commission_minor)
        if owed.fee_minor:
            post(EXCHANGE, currency, receivable=owed.fee_minor)
    for _, creditor, currency in sums.charges:
        post(creditor, currency)  # also when what it charged all went back: it has lines that say so
    return [
        Position(
            partner=party, payable=Money(payable, currency), receivable=Money(receivable, currency),
            fees=Money(fees, currency),
        )
        for (party, currency), (payable, receivable, fees) in sorted(columns.items())
    ]  # fmt: skip


def bilateral(sums: Sums) -> list[BilateralPosition]:
    """Return who owes whom, by debtor, creditor and currency; nobody owes itself."""
    rows: dict[tuple[str, str, str], list[int]] = {}

    def owe(debtor: str, creditor: str, currency: str, *figures: int) -> None:
        if debtor != creditor:
            row = rows.setdefault((debtor, creditor, currency), [0, 0, 0])
            for index, amount in enumerate(figures):
                row[index] += amount

    for (issuer, provider, channel, currency), owed in sums.money.items():
        owe(issuer, provider, currency, owed.gross_minor, owed.points, owed.entries)
        if owed.commission_minor:
            owe(provider, channel, currency, owed.commission_minor)
        if owed.fee_minor:
            owe(provider, EXCHANGE, currency, owed.fee_minor)
    for charge, count in sums.charges.items():
        owe(*charge, 0, 0, count)
    return [
        BilateralPosition(
            debtor=debtor, creditor=creditor, gross=Money(gross, currency), points=points, entries=entries
        )
        for (debtor, creditor, currency), (gross, points, entries) in sorted(rows.items())
    ]


def payment_plan(nets: Iterable[Position]) -> list[Payment]:
    """Return one payment for each position that is not even, to or from the exchange; in the order given."""
    return list(_payments(nets))


def _payments(nets: Iterable[Position]) -> Iterator[Payment]:
    for position in nets:
        minor, currency = position.net
        if position.partner == EXCHANGE or minor == 0:
            continue
        if minor < 0:
            yield Payment(from_=position.partner, to=EXCHANGE, amount=Money(-minor, currency))
        else:
            yield Payment(from_=EXCHANGE, to=position.partner, amount=Money(minor, currency))


def line_sums(sums: Sums) -> dict[str, LineSums]:
    """Return what each partner's statement lines must add up to, if the entries are those that the blocks summed.

    The exchange has no statement: its fees are a column of the providers' lines.
    """
    expected: dict[str, LineSums] = {}

    def line(partner: str, kind: LineKind, counterparty: str, currency: str, *figures: int) -> None:
        add_line(expected.setdefault(partner, {}), LineKey(kind, counterparty, currency), *figures)

    for (issuer, provider, channel, currency), owed in sums.money.items():
        gross, commission = owed.gross_minor, owed.commission_minor
        line(provider, LineKind.REDEMPTION, issuer, currency, owed.points, gross, owed.fee_minor)
        line(issuer, LineKind.REDEMPTION, provider, currency, -owed.points, -gross, 0)
        if commission:
            line(provider, LineKind.COMMISSION, channel, currency, 0, -commission, 0)
            line(channel, LineKind.COMMISSION, provider, currency, 0, commission, 0)
    return expected


def add_line(totals: LineSums, key: LineKey, points: int, gross_minor: int, fee_minor: int) -> None:
    """Add one line's figures to `totals`."""
    totals[key] = totals.get(key, LineSum()).plus(points, gross_minor, fee_minor)
