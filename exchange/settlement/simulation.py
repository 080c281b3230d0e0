"""What a period would have cost under an agreement that is only proposed.

The proposal takes the place that it would have among the agreements: of a redemption's row it prices what is now
priced by its own pair, whatever version, or by a less specific one. Rows under a more specific agreement keep their
version. A redemption is then priced as a whole by the public rules, because its total is rounded once: another
issuer's row of it can win or lose a cent although its own price stays.

What began before the period was promised another price: a redemption confirmed in it by an earlier reservation, and
what goes back of earlier redemptions, stay as they are. What goes back in the period of a redemption that began in it
is the share of what this one would have cost. All of a redemption's parts that went back in the period are taken
together, because parts always sum to the whole.

Points that were passed over for want of an agreement are not in the journal, so no proposal can bring them in.

Pure: no driver, no clock. The arithmetic is `AgreementBook.debits` and `returned_debits`, nobody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import Agreement, AgreementBook, Debit, agreement_id, lookup_order
from exchange.amounts import Money
from exchange.redemption import Redemption, returned_debits
from exchange.settlement.period import Period


class Cost(Struct, frozen=True):
    """What issuers owe in one currency, and what providers pay of it."""

    gross: Money
    fees: Money
    commissions: Money


class Comparison(Struct, frozen=True, kw_only=True):
    """What redemptions cost and would have cost. `issuer` and `provider` None: all of a currency.

    `redemptions`: how many cost something in this currency, now or in the simulation; `points`: what they took less
    what went back.
    """

    issuer: str | None
    provider: str | None
    currency: str
    redemptions: int
    points: int
    now: Cost
    simulated: Cost

    @property
    def difference(self) -> Cost:
        """How much more it would have been; negative: less."""
        before, after = self.now, self.simulated
        return Cost(
            Money(after.gross.minor - before.gross.minor, self.currency),
            Money(after.fees.minor - before.fees.minor, self.currency),
            Money(after.commissions.minor - before.commissions.minor, self.currency),
        )


class Simulated(Struct, frozen=True, kw_only=True):
    """What came of a simulation. `repriced`: how many redemptions the proposal would have priced, wholly or in part.

    `rows`: the pairs whose figures would be others; `totals`: everything that the period cost, by currency.
    """

    period: Period
    proposed: Agreement
    repriced: int
    rows: tuple[Comparison, ...]
    totals: tuple[Comparison, ...]


class _Key(NamedTuple):
    issuer: str
    provider: str
    currency: str


@dataclass(slots=True)
class _Side:
    gross: int = 0
    fees: int = 0
    commissions: int = 0

    def add(self, gross: int, fees: int, commissions: int) -> None:
        self.gross += gross
        self.fees += fees
        self.commissions += commissions

    def cost(self, currency: str) -> Cost:
        return Cost(Money(self.gross, currency), Money(self.fees, currency), Money(self.commissions, currency))


@dataclass(slots=True)
class _Row:
    redemptions: int = 0
    points: int = 0
    now: _Side = field(default_factory=_Side)
    simulated: _Side = field(default_factory=_Side)

    def add(self, other: _Row) -> None:
        self.redemptions += other.redemptions
        self.points += other.points
        for side, more in ((self.now, other.now), (self.simulated, other.simulated)):
            side.add(more.gross, more.fees, more.commissions)

    def compared(self, issuer: str | None, provider: str | None, currency: str) -> Comparison:
        return Comparison(
            issuer=issuer, provider=provider, currency=currency, redemptions=self.redemptions, points=self.points,
            now=self.now.cost(currency), simulated=self.simulated.cost(currency),
        )  # fmt: skip


class Simulation:
    """Adds up a period twice: as it is, and as the proposal would have made it.

    `agreements`: every version that the period's rows name. Redemptions come in any order; all that went back of one
    comes at once, by `give_back`.
    """

    def __init__(self, agreements: Iterable[Agreement], proposed: Agreement) -> None:
        known = list(agreements)
        # No version has the number 0, so the proposal cannot be taken for one that exists.
        number = agreement_id(proposed.issuer, proposed.provider, 0)
        self.proposed = replace(proposed, version=0, id=number)
        self._pairs = {each.id: (each.issuer, each.provider) for each in known}
        self._book = AgreementBook([*known, self.proposed])
        self._rows: dict[_Key, _Row] = {}
        self._redemptions: dict[str, int] = {}
        self._repriced = 0

    def take(self, provider: str, debits: Sequence[Debit], *, promised_before: bool = False) -> None:
        """Add what a redemption took. `promised_before`: it began in an earlier period."""
        priced = None if promised_before else self._priced(provider, debits)
        self._repriced += priced is not None
        self._add(provider, debits, debits if priced is None else priced, taken=True)

    def give_back(self, provider: str, back: Sequence[Debit], original: Redemption | None) -> None:
        """Add all that went back of a redemption in the period; `original` None: it began in an earlier one."""
        priced = None if original is None else self._priced(provider, original.debits)
        if priced is None:
            self._add(provider, back, back)
        else:
            points = {debit.issuer: -debit.points for debit in back}
            self._add(provider, back, returned_debits(priced, {}, points))

    def result(self, period: Period) -> Simulated:
        """Return what came of it."""
        rows = [row.compared(*key) for key, row in sorted(self._rows.items())]
        return Simulated(
            period=period, proposed=self.proposed, repriced=self._repriced,
            rows=tuple(row for row in rows if row.now != row.simulated), totals=tuple(self._totals()),
        )  # fmt: skip

    def _priced(self, provider: str, debits: Sequence[Debit]) -> list[Debit] | None:
        """Return what these points would have cost; None if the proposal prices none of them."""
        pins: dict[str, str | None] = {debit.issuer: debit.agreement for debit in debits}
        ours = {debit.issuer: self.proposed.id for debit in debits if self._is_ours(debit, provider)}
        if not ours:
            return None
        # Every row is pinned, so the book asks no clock: the moment that it is given decides nothing.
        book = self._book.pinned(pins | ours)
        return book.debits([(d.issuer, d.points) for d in debits], provider, self.proposed.effective_from)

    def _is_ours(self, debit: Debit, provider: str) -> bool:
        if debit.agreement is None:  # at its own issuer's
            return False
        order = lookup_order(debit.issuer, provider)
        pair = (self.proposed.issuer, self.proposed.provider)
        return pair in order and order.index(pair) <= order.index(self._pairs[debit.agreement])

    def _add(self, provider: str, now: Sequence[Debit], simulated: Sequence[Debit], *, taken: bool = False) -> None:
        rows: dict[_Key, _Row] = {}
        for name, debits in (("now", now), ("simulated", simulated)):
            points: dict[_Key, int] = {}
            for debit in debits:
                if debit.owed is None:
                    continue
                key = _Key(debit.issuer, provider, debit.owed.currency)
                points[key] = points.get(key, 0) + debit.points
                row = rows.setdefault(key, _Row(int(taken)))
                side: _Side = getattr(row, name)
                side.add(debit.owed.minor, debit.fee_minor, debit.commission_minor)
            for key, taken_points in points.items():  # the same on both sides, where there are two
                rows[key].points = taken_points
        for key, row in rows.items():
            self._rows.setdefault(key, _Row()).add(row)
        if taken:
            for currency in {key.currency for key in rows}:
                self._redemptions[currency] = self._redemptions.get(currency, 0) + 1

    def _totals(self) -> Iterable[Comparison]:
        totals: dict[str, _Row] = {}
        for key, row in self._rows.items():
            totals.setdefault(key.currency, _Row()).add(row)
        for currency, total in sorted(totals.items()):
            # One redemption can have rows of several issuers.
            total.redemptions = self._redemptions.get(currency, 0)
            yield total.compared(None, None, currency)
