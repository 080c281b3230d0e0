"""A period netted under a policy: what is to be paid, what is carried to the next period, and what it saves.

`netting` says what everybody owes; here the policy decides how it is settled:

- *the plan*: through the exchange, with the fewest transfers, or along contracts (`plans`);
- *groups*: a parent and its subsidiaries net as one, and the parent pays or is paid. Each keeps its own position, which
  is also what it and its parent have to settle between them;
- *settlement currencies*: who chooses one has its nets in all others converted to it, by a fix that is named (`fixes`);
- *minimums*: a payment that would be smaller is not made but *carried*: who would have paid it owes it to who would
  have been paid, and that is part of both their positions in the next period. So what is carried nets to zero;
- *barters*: what two partners settle in kind is no money, and in no position; the difference of a barter that has ended
  is, as if it had been carried (`barter`);
- *without*: partners that do not pay (defaulters) are taken out, with all that they owe and are owed, carried amounts
  too; the survivors are netted on the same obligations. That is the "unwind" of the Lamfalussy report (BIS, 1990), by
  debtor and creditor: a provider whose issuer is gone still owes the commission and the fee on what it delivered.

How much netting saves is measured as is usual: *gross* is what would move if everybody paid all that it owes,
*bilateral* what would move if each two settled the difference, *multilateral* what has to move at least.

It is measured before anything is converted, so currencies are never mixed in it. Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from msgspec import Struct

from exchange.amounts import BASIS, Money, exponent, half_even
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE, Obligation, Owed, Sums
from exchange.settlement import barter, fixes, netting, plans
from exchange.settlement.barter import Balance, Bartered, Bartering
from exchange.settlement.fixes import Conversion, Fix
from exchange.settlement.netting import Payment, Position


class PlanKind(StrEnum):
    """Who pays whom."""

    EXCHANGE = "exchange"
    FEWEST = "fewest"
    CONTRACTED = "contracted"


class Policy(Struct, frozen=True, kw_only=True):
    """How a period is settled. `minimums`: the least payment by currency, in minor units.

    `groups`: the subsidiaries by parent; `contracts`: who may pay whom, in the order of their handles, for a plan that
    asks; `settle`: in which currency a party settles all that it has, by the rates of `fix`; `barter`: which barters
    concern the period. ValidationFailed for what contradicts itself.
    """

    plan: PlanKind = PlanKind.EXCHANGE
    minimums: Mapping[str, int] = {}
    groups: Mapping[str, tuple[str, ...]] = {}
    without: frozenset[str] = frozenset()
    contracts: frozenset[plans.Contract] = frozenset()
    settle: Mapping[str, str] = {}
    fix: Fix | None = None
    barter: Bartering | None = None

    def __post_init__(self) -> None:
        grouped: set[str] = set()
        for parent, subsidiaries in self.groups.items():
            for member in (parent, *subsidiaries):
                if member in grouped:
                    raise ValidationFailed(f"{member} is in a group twice, or in two", ("input", "groups"))
                if member == EXCHANGE:
                    raise ValidationFailed("the exchange is in nobody's group", ("input", "groups"))
                grouped.add(member)
            if parent in self.without:
                message = f"{parent} is taken out, so its group needs another parent or is none"
                raise ValidationFailed(message, ("input", "groups"))
        if EXCHANGE in self.without:
            raise ValidationFailed("the exchange cannot be taken out", ("input", "without"))
        if any(minimum < 1 for minimum in self.minimums.values()):
            raise ValidationFailed("a minimum is more than nothing", ("input", "minimums"))
        self._check_settling()

    def _check_settling(self) -> None:
        if bool(self.settle) != (self.fix is not None):
            message = "who settles in a currency of its choice, and by which fix: both or neither"
            raise ValidationFailed(message, ("input", "settle"))
        parents = self.parents()
        for party, currency in self.settle.items():
            where = ("input", "settle", party)
            try:
                exponent(currency)
            except ValueError as error:
                raise ValidationFailed(str(error), where) from None
            if party in parents:
                raise ValidationFailed(f"{parents[party]} settles for {party}, and chooses the currency", where)
            if party == EXCHANGE or party in self.without:
                raise ValidationFailed(f"{party} is not settled in a currency of its choice", where)

    def parents(self) -> dict[str, str]:
        """Return who settles for each subsidiary."""
        return {one: parent for parent, subsidiaries in self.groups.items() for one in subsidiaries}

    def pays(self, amount: Money) -> bool:
        """Whether a payment is made and not carried."""
        return amount.minor >= self.minimums.get(amount.currency, 0)

    def settling_contracts(self) -> set[plans.Contract]:
        """Return which of those who settle may pay each other: a parent has the contracts of its subsidiaries."""
        parents = self.parents()
        pairs = ((parents.get(one, one), parents.get(other, other)) for one, other in self.contracts)
        return {(min(pair), max(pair)) for pair in pairs if len(set(pair)) > 1}


class Standing(NamedTuple):
    """A party's position in money, and what was carried into it: both together are its net.

    The difference of a barter that has ended is carried into it too.
    """

    position: Position
    opening: Money

    @property
    def net(self) -> Money:
        """What is to be paid to it; negative: by it."""
        return Money(self.opening.minor + self.position.net.minor, self.opening.currency)


class Measure(NamedTuple):
    """What netting saves in one currency."""

    gross: Money
    bilateral: Money
    multilateral: Money

    @property
    def efficiency_basis_points(self) -> int | None:
        """Which part of the gross amount need not move, half to even; None where there is none."""
        saved = self.gross.minor - self.multilateral.minor
        return half_even(saved * BASIS, self.gross.minor) if self.gross.minor else None


class Netted(Struct, frozen=True, kw_only=True):
    """What came of it, with all that it was made of: `owed`, by obligation, and what was carried in, by `opening`.

    `balances`: what was used of barters before, and `bartered`: what became of each.

    `nets`: those who settle, groups as one, by party and currency; `conversions`: which of them are settled in another
    currency, and as what; `payments` and `carried`: each debtor and creditor once a currency, in order.
    """

    policy: Policy
    owed: Mapping[Obligation, Owed]
    opening: tuple[Payment, ...]
    standings: tuple[Standing, ...]
    nets: tuple[tuple[str, Money], ...]
    measures: tuple[Measure, ...]
    payments: tuple[Payment, ...]
    carried: tuple[Payment, ...]
    conversions: tuple[Conversion, ...] = ()
    balances: tuple[Balance, ...] = ()
    bartered: tuple[Bartered, ...] = ()

    @property
    def carried_balances(self) -> tuple[Balance, ...]:
        """What is used of the barters that go on: for the next period, beside what is carried."""
        going_on = (row.balance for row in self.bartered if row.due is None)
        return tuple(sorted(each for each in going_on if each.one_used or each.other_used))

    @property
    def account(self) -> list[Money]:
        """What the conversion account holds in each currency."""
        return fixes.account(self.conversions)

    @property
    def differences(self) -> dict[str, Fraction]:
        """What the conversion account gained by rounding, by settlement currency, in minor units."""
        return {} if self.policy.fix is None else fixes.differences(self.conversions, self.policy.fix)


class Change(NamedTuple):
    """What becomes of a survivor's net, and so what the default costs it (negative) or spares it."""

    party: str
    before: Money
    after: Money

    @property
    def difference(self) -> Money:
        """How much more it is paid now."""
        return Money(self.after.minor - self.before.minor, self.after.currency)


def net(sums: Sums, policy: Policy, opening: Iterable[Payment] = (), balances: Iterable[Balance] = ()) -> Netted:
    """Net what blocks add up to and what was carried; ValidationFailed when the policy has no plan for it.

    `balances`: what is used of barters, as the netting before carries it.
    """
    gone, parents = policy.without, policy.parents()
    owed = Sums(money=sums.money)  # how many redemptions charged something moves no money
    carried_in = sorted(opening, key=_in_order)
    used = tuple(sorted(balances))
    bartered = tuple(barter.kept(policy.barter, owed, used, gone))
    money, due = barter.in_money(owed, bartered), [row.payment() for row in bartered]
    surviving = [
        carry for carry in (*carried_in, *due)
        if carry is not None and carry.from_ not in gone and carry.to not in gone
    ]  # fmt: skip
    standings = tuple(_standings(netting.positions(money, gone), surviving))
    nets: dict[tuple[str, str], int] = {}
    for standing in standings:
        minor, currency = standing.net
        key = (parents.get(standing.position.partner, standing.position.partner), currency)
        nets[key] = nets.get(key, 0) + minor
    conversions = [] if policy.fix is None else fixes.convert(nets, policy.settle, policy.fix)
    payments = sorted(_payments(policy, fixes.to_settle(nets, conversions)), key=_in_order)
    return Netted(
        policy=policy, owed=owed.money, opening=tuple(carried_in), standings=standings,
        nets=tuple((party, Money(minor, currency)) for (party, currency), minor in sorted(nets.items())),
        measures=tuple(_measures(_pairs(money, gone, surviving), nets)),
        payments=tuple(payment for payment in payments if policy.pays(payment.amount)),
        carried=tuple(payment for payment in payments if not policy.pays(payment.amount)),
        conversions=tuple(conversions), balances=used, bartered=bartered,
    )  # fmt: skip


def changes(netted: Netted) -> list[Change]:
    """Return how the nets of the survivors differ from those with everybody, on the same obligations."""
    policy = Policy(groups=netted.policy.groups, barter=netted.policy.barter)
    everybody = net(Sums(money=dict(netted.owed)), policy, netted.opening, netted.balances)
    after = {(party, amount.currency): amount.minor for party, amount in netted.nets}
    compared = [
        Change(party, before, Money(after.get((party, before.currency), 0), before.currency))
        for party, before in everybody.nets
        if party not in netted.policy.without
    ]
    return [change for change in compared if change.difference.minor]


def _payments(policy: Policy, nets: Mapping[tuple[str, str], int]) -> Iterator[Payment]:
    for currency in sorted({currency for _, currency in nets}):
        own = {party: minor for (party, each), minor in nets.items() if each == currency}
        match policy.plan:
            case PlanKind.EXCHANGE:
                yield from netting.through_exchange((party, Money(minor, currency)) for party, minor in own.items())
            case PlanKind.FEWEST:
                yield from plans.fewest(own, currency)
            case PlanKind.CONTRACTED:
                yield from plans.contracted(own, currency, policy.settling_contracts())


def _standings(positions: Iterable[Position], carried_in: Iterable[Payment]) -> Iterator[Standing]:
    by_party = {(position.partner, position.currency): position for position in positions}
    openings: dict[tuple[str, str], int] = {}
    for payment in carried_in:
        minor, currency = payment.amount
        for party, amount in ((payment.from_, -minor), (payment.to, minor)):
            openings[party, currency] = openings.get((party, currency), 0) + amount
    for party, currency in sorted(by_party.keys() | openings.keys()):
        none = Money(0, currency)
        position = by_party.get((party, currency)) or Position(partner=party, payable=none, receivable=none, fees=none)
        yield Standing(position, Money(openings.get((party, currency), 0), currency))


def _pairs(owed: Sums, gone: frozenset[str], carried_in: Iterable[Payment]) -> dict[tuple[str, str, str], int]:
    """Return what each owes each, by debtor, creditor and currency."""
    pairs = {(row.debtor, row.creditor, row.gross.currency): row.gross.minor for row in netting.bilateral(owed, gone)}
    for payment in carried_in:
        key = (payment.from_, payment.to, payment.amount.currency)
        pairs[key] = pairs.get(key, 0) + payment.amount.minor
    return pairs


def _measures(pairs: Mapping[tuple[str, str, str], int], nets: Mapping[tuple[str, str], int]) -> Iterator[Measure]:
    for currency in sorted({currency for _, currency in nets}):
        mutual: dict[tuple[str, str], int] = {}
        for (debtor, creditor, each), minor in pairs.items():
            if each == currency:
                key, owing = ((debtor, creditor), minor) if debtor < creditor else ((creditor, debtor), -minor)
                mutual[key] = mutual.get(key, 0) + owing
        gross = sum(abs(minor) for (_, _, each), minor in pairs.items() if each == currency)
        bilateral = sum(map(abs, mutual.values()))
        multilateral = sum(minor for (_, each), minor in nets.items() if each == currency and minor > 0)
        yield Measure(Money(gross, currency), Money(bilateral, currency), Money(multilateral, currency))


def _in_order(payment: Payment) -> tuple[str, str, str]:
    return (payment.amount.currency, payment.from_, payment.to)
