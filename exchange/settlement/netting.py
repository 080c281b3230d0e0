"""Netting: from what blocks add up to, to what each partner pays.

Three views of the same money, each computed from `Sums` alone and each adding up to the same nets:

- *bilateral*: who owes whom, gross. An issuer owes the provider for the points spent there; the provider owes the
  channel its commission and the exchange its fee.
- *positions*: what each party owes or is owed against everybody (multilateral netting). net = receivable - payable -
  fees; per currency the nets sum to zero, because every unit that one owes another is owed.
- *the payment plan*: one payment per party that is not even, through the exchange as the common counterparty. After
  it every position is zero and what stays with the exchange is its fees. (`plans` has the plans without it, which can
  need fewer payments, but have partners pay strangers, or each other's debts.)

`netted` does the same under a policy: other plans, groups, minimum amounts, what was carried, a partner taken out.

A party is a debtor under one redemption and a creditor under another; a channel that is itself the provider owes its
commission to itself, so it counts in both columns and in no bilateral row.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from operator import itemgetter
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


class LineSum(Struct, gc=False):
    """What statement lines add up to, signed from the partner's side.

    (There are as many as pairs of partners, and nothing in one that the garbage collector would have to follow.)
    """

    points: int = 0
    gross_minor: int = 0
    fee_minor: int = 0

    def add(self, points: int, gross_minor: int, fee_minor: int) -> None:
        """Add another line's figures."""
        self.points += points
        self.gross_minor += gross_minor
        self.fee_minor += fee_minor


LineSums = dict[LineKey, LineSum]


class _Due(Struct, gc=False):
    """What one party owes another. `entries`: the redemptions that it is for."""

    minor: int = 0
    points: int = 0
    entries: int = 0


def _dues(sums: Sums, without: Collection[str]) -> dict[tuple[str, str, str], _Due]:
    """Return who owes whom, by debtor, creditor and currency. `without`: parties taken out, with all that is theirs."""
    dues: dict[tuple[str, str, str], _Due] = {}

    def add(debtor: str, creditor: str, currency: str, minor: int, points: int = 0, entries: int = 0) -> None:
        key = (debtor, creditor, currency)
        due = dues.get(key)
        if due is None:
            dues[key] = _Due(minor, points, entries)
        else:
            due.minor += minor
            due.points += points
            due.entries += entries

    for (issuer, provider, channel, currency), owed in sums.money.items():
        add(issuer, provider, currency, owed.gross_minor, owed.points, owed.entries)
        if owed.commission_minor:
            add(provider, channel, currency, owed.commission_minor)
        if owed.fee_minor:
            add(provider, EXCHANGE, currency, owed.fee_minor)
    for (debtor, creditor, currency), count in sums.charges.items():
        # Also when what it charged all went back: the creditor has lines that say so.
        add(debtor, creditor, currency, 0, entries=count)
    return {key: due for key, due in dues.items() if key[0] not in without and key[1] not in without}


def positions(sums: Sums, without: Collection[str] = ()) -> list[Position]:
    """Return everybody's position, by party and currency; the exchange's own receives the fees."""
    columns: dict[tuple[str, str], list[int]] = {}
    for (debtor, creditor, currency), due in _dues(sums, without).items():
        columns.setdefault((debtor, currency), [0, 0, 0])[2 if creditor == EXCHANGE else 0] += due.minor
        columns.setdefault((creditor, currency), [0, 0, 0])[1] += due.minor
    return [
        Position(
            partner=party, payable=Money(payable, currency), receivable=Money(receivable, currency),
            fees=Money(fees, currency),
        )
        for (party, currency), (payable, receivable, fees) in sorted(columns.items())
    ]  # fmt: skip


def bilateral(sums: Sums, without: Collection[str] = ()) -> list[BilateralPosition]:
    """Return who owes whom, by debtor, creditor and currency; nobody owes itself."""
    return [
        BilateralPosition(
            debtor=debtor, creditor=creditor, gross=Money(due.minor, currency), points=due.points, entries=due.entries
        )
        for (debtor, creditor, currency), due in sorted(_dues(sums, without).items(), key=itemgetter(0))
        if debtor != creditor
    ]


def payment_plan(nets: Iterable[Position]) -> list[Payment]:
    """Return one payment for each position that is not even, to or from the exchange; in the order given."""
    return list(through_exchange((position.partner, position.net) for position in nets))


def through_exchange(nets: Iterable[tuple[str, Money]]) -> Iterator[Payment]:
    """Yield one payment for each net that is not even, to or from the exchange."""
    for party, (minor, currency) in nets:
        if party == EXCHANGE or minor == 0:
            continue
        if minor < 0:
            yield Payment(from_=party, to=EXCHANGE, amount=Money(-minor, currency))
        else:
            yield Payment(from_=EXCHANGE, to=party, amount=Money(minor, currency))


def line_sums(sums: Sums) -> dict[str, LineSums]:
    """Return what each partner's statement lines must add up to, if the entries are those that the blocks summed.

    The exchange has no statement: its fees are a column of the providers' lines.
    """
    totals: dict[tuple[str, LineKind, str, str], LineSum] = {}

    def line(partner: str, kind: LineKind, counterparty: str, currency: str, *figures: int) -> None:
        key = (partner, kind, counterparty, currency)
        total = totals.get(key)
        if total is None:
            total = totals[key] = LineSum()
        total.add(*figures)

    for (issuer, provider, channel, currency), owed in sums.money.items():
        gross, commission = owed.gross_minor, owed.commission_minor
        line(provider, LineKind.REDEMPTION, issuer, currency, owed.points, gross, owed.fee_minor)
        line(issuer, LineKind.REDEMPTION, provider, currency, -owed.points, -gross, 0)
        if commission:
            line(provider, LineKind.COMMISSION, channel, currency, 0, -commission, 0)
            line(channel, LineKind.COMMISSION, provider, currency, 0, commission, 0)
    expected: dict[str, LineSums] = {}
    for (partner, kind, counterparty, currency), total in totals.items():
        expected.setdefault(partner, {})[LineKey(kind, counterparty, currency)] = total
    return expected
