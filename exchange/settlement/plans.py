"""Payment plans without a common counterparty: who pays whom, so that everybody's net position is settled.

Both begin with the nets of one currency, which sum to zero, and forget which debts they came from.

*Fewest transfers.* A set of parties whose nets sum to zero can settle among themselves, and k of them that cannot be
divided further need k - 1 transfers, so the fewest are parties less the most such sets into which they can be divided
(Verhoeff, "Settling multiple debts efficiently", 2004). To find them is as hard as the subset sum problem. Two
parties whose nets cancel are a set of some best division always: were they in two sets, what is left of both would be
one. So pairs go first, and up to 16 of the others are divided exactly, by dynamic programming over their subsets.
More than that are relieved of triples that cancel, and what is still too many is settled largest with largest.

*Contracted.* Money goes only from partner to partner with a contract, so it may be passed on. To find the fewest
transfers is hard here at any size; the plan that moves the least money is not, and is the one returned: a flow of
least cost by successive shortest paths (Ahuja, Magnanti and Orlin, "Network Flows", 1993, section 9.7). There is none
exactly when some partners, with all with whom they have contracts, owe more than they are owed, and the refusal names
them. Everybody has a contract with the exchange; but the exchange is paid its own net and passes nothing on, or every
plan would go through it.

The same nets give the same plan, whatever their order. Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush
from itertools import combinations, pairwise
from typing import Final

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE
from exchange.settlement.netting import Payment

EXACT_PARTIES_MAX: Final = 16
"""How many parties, beside pairs that cancel, are divided exactly: 65,536 subsets take a tenth of a second."""

_NAMED_MAX: Final = 5

Nets = Mapping[str, int]
"""Minor units by party, negative if it has to pay; they sum to zero."""

Contract = tuple[str, str]
"""Two partners that may pay each other, in the order of their handles."""


# ---------------------------------------------------------------- fewest transfers


def fewest(nets: Nets, currency: str) -> list[Payment]:
    """Return a plan of the fewest transfers; of few, when too many parties are left beside pairs and triples."""
    return [payment for group in zero_sum_groups(nets) for payment in _settled(group, nets, currency)]


def zero_sum_groups(nets: Nets) -> list[list[str]]:
    """Divide the parties that are not even into groups that settle among themselves."""
    if sum(nets.values()):
        message = "the nets do not sum to zero"
        raise ValueError(message)
    left = {party: minor for party, minor in sorted(nets.items()) if minor}
    groups = list(_pairs(left))
    if len(left) > EXACT_PARTIES_MAX:
        groups += _triples(left)
    if len(left) > EXACT_PARTIES_MAX:
        return [*groups, list(left)]
    return groups + _most_groups(left)


def _pairs(left: dict[str, int]) -> Iterator[list[str]]:
    """Take out two by two what cancels."""
    waiting: dict[int, list[str]] = {}
    for party, minor in list(left.items()):
        if others := waiting.get(-minor):
            other = others.pop(0)
            del left[other], left[party]
            yield [other, party]
        else:
            waiting.setdefault(minor, []).append(party)


def _triples(left: dict[str, int]) -> Iterator[list[str]]:
    """Take out three by three what cancels, in the order of handles. No two have opposite nets any more."""
    by_net: dict[int, list[str]] = {}
    for party, minor in left.items():
        by_net.setdefault(minor, []).append(party)
    for one, two in combinations(list(left), 2):
        if one in left and two in left:
            third = next((each for each in by_net.get(-left[one] - left[two], ()) if each not in (one, two)), None)
            if third is not None:
                triple = [one, two, third]
                for party in triple:
                    by_net[left.pop(party)].remove(party)
                yield triple


def _most_groups(nets: Nets) -> list[list[str]]:
    """Divide into the most groups that sum to zero.

    Parties leave a subset one by one, in any order; each subset on the way that sums to zero ends a group. So the most
    groups in a subset are the most in any with one party less, and one more if it sums to zero itself.
    """
    parties, amounts = list(nets), list(nets.values())
    sums, most, last = ([0] * (1 << len(parties)) for _ in range(3))
    for subset in range(1, 1 << len(parties)):
        best, rest = -1, subset
        while rest:
            bit = rest & -rest
            rest ^= bit
            if most[subset ^ bit] > best:
                best, last[subset] = most[subset ^ bit], bit
        leaving = last[subset]
        sums[subset] = sums[subset ^ leaving] + amounts[leaving.bit_length() - 1]
        most[subset] = best + (sums[subset] == 0)
    groups: list[list[str]] = []
    subset = (1 << len(parties)) - 1
    while subset:
        if sums[subset] == 0:
            groups.append([])
        groups[-1].append(parties[last[subset].bit_length() - 1])
        subset ^= last[subset]
    return groups


def _settled(group: Iterable[str], nets: Nets, currency: str) -> Iterator[Payment]:
    """Settle a group in at most one transfer less than its parties: the largest debtor pays the largest creditor."""
    debtors: list[tuple[int, str]] = []
    creditors: list[tuple[int, str]] = []
    for party in group:
        (debtors if nets[party] < 0 else creditors).append((-abs(nets[party]), party))
    heapify(debtors)
    heapify(creditors)
    while debtors:
        (owing, debtor), (owed, creditor) = heappop(debtors), heappop(creditors)
        minor = -max(owing, owed)
        yield Payment(from_=debtor, to=creditor, amount=Money(minor, currency))
        if owing + minor:
            heappush(debtors, (owing + minor, debtor))
        if owed + minor:
            heappush(creditors, (owed + minor, creditor))


# ---------------------------------------------------------------- contracted pairs


def contracted(nets: Nets, currency: str, contracts: Collection[Contract]) -> list[Payment]:
    """Return the plan along contracts that moves the least money; ValidationFailed when there is none."""
    network = _Network(nets, contracts)
    while network.owing():
        path = network.shortest_path()
        if path is None:
            raise ValidationFailed(_no_plan(network, nets, currency), ("input", "plan"))
        network.push(path)
    return [
        Payment(from_=debtor, to=creditor, amount=Money(minor, currency))
        for debtor, creditor, minor in sorted(network.payments())
    ]


class _Network:
    """The parties, who of them may pay whom, what flows so far, and what each has still to pay or to be paid."""

    def __init__(self, nets: Nets, contracts: Collection[Contract]) -> None:
        self.left = dict(sorted(nets.items()))
        for party in sorted({party for pair in contracts for party in pair}):
            self.left.setdefault(party, 0)
        self.reached: dict[str, str | None] = {}
        self._may_pay: dict[str, set[str]] = {party: set() for party in self.left}
        self._paid_by: dict[str, dict[str, int]] = {party: {} for party in self.left}
        for one, other in contracts:
            self._may_pay[one].add(other)
            self._may_pay[other].add(one)
        exchange = self.left.get(EXCHANGE, 0)
        for party in self.left.keys() - {EXCHANGE}:
            if exchange > 0:
                self._may_pay[party].add(EXCHANGE)
            elif exchange < 0:
                self._may_pay[EXCHANGE].add(party)

    def owing(self) -> list[str]:
        """Return who has still to pay."""
        return [party for party, minor in self.left.items() if minor < 0]

    def payments(self) -> list[tuple[str, str, int]]:
        """Return what flows: payer, payee, how much."""
        return [(payer, payee, minor) for payee, paid in self._paid_by.items() for payer, minor in paid.items()]

    def shortest_path(self) -> list[str] | None:
        """Return the cheapest way from a debtor to a creditor. A unit paid costs one; paid no longer, it gives one."""
        cost = dict.fromkeys(self.owing(), 0)
        self.reached = dict.fromkeys(cost)
        waiting = deque(cost)
        while waiting:
            party = waiting.popleft()
            for other, price in self._ways(party):
                if other not in cost or cost[party] + price < cost[other]:
                    cost[other] = cost[party] + price
                    self.reached[other] = party
                    if other not in waiting:
                        waiting.append(other)
        creditors = [party for party in cost if self.left[party] > 0]
        if not creditors:
            return None
        step: str | None = min(creditors, key=lambda party: (cost[party], party))
        path = []
        while step is not None:
            path.append(step)
            step = self.reached[step]
        return path[::-1]

    def push(self, path: list[str]) -> None:
        """Let as much as possible go along a path."""
        steps = list(pairwise(path))
        taken_back = [self._paid_by[one][other] for one, other in steps if other in self._paid_by[one]]
        minor = min(-self.left[path[0]], self.left[path[-1]], *taken_back)
        self.left[path[0]] += minor
        self.left[path[-1]] -= minor
        for one, other in steps:
            if other not in self._paid_by[one]:
                self._paid_by[other][one] = self._paid_by[other].get(one, 0) + minor
            elif self._paid_by[one][other] == minor:
                del self._paid_by[one][other]
            else:
                self._paid_by[one][other] -= minor

    def _ways(self, party: str) -> Iterator[tuple[str, int]]:
        paid_by = self._paid_by[party]
        yield from ((other, -1) for other in sorted(paid_by))
        yield from ((other, 1) for other in sorted(self._may_pay[party]) if other not in paid_by)


def _no_plan(network: _Network, nets: Nets, currency: str) -> str:
    among = sorted(party for party in network.reached if nets.get(party))
    named = ", ".join(among[:_NAMED_MAX])
    if len(among) > _NAMED_MAX:
        named += f" and {len(among) - _NAMED_MAX} others"
    short = decimal_from_minor(-sum(network.left[party] for party in network.owing()), currency)
    return (
        f"no plan along contracts: {named} owe {short} {currency} more than is owed to them, "
        "and have no contract with anybody else who is owed anything"
    )
