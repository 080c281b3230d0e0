"""A netting certificate: a closed period's obligations, the policy, and everything that came of both, to be recomputed.

A sealed file (`sealed`). Its first line has the policy; behind it come, each kind in this order and sorted:

    {"contract": [partner, partner]}                        who may pay whom, if the plan asks
    {"opening": [currency, debtor, creditor, amount]}       what was carried from the period before
    {"balance": [barter, used by one, used by the other]}    what was used of a barter before
    {"owed": [issuer, provider, channel, currency, points, gross, fee, commission, entries]}  what the blocks add up to
    {"bartered": [barter, in kind by one, by the other, used by one, by the other, due]}   what becomes of a barter
    {"position": [partner, currency, opening, payable, receivable, fees, net]}
    {"totals": [currency, gross, bilateral, multilateral]}
    {"converted": [party, currency, amount, settlement currency, amount]}  a net, taken over for another
    {"account": [currency, amount]}                         what the conversion account holds then
    {"difference": [settlement currency, fraction]}         what it gained by rounding, in minor units: 1/3, -7/40
    {"payment": [currency, from, to, amount]}               the plan
    {"carried": [currency, from, to, amount]}               what of it is too small to be paid

Amounts are minor units, as strings. Of a barter that goes on, `due` is "none"; else it is what one owes the other. The
`owed` rows are the `money` rows of the period's blocks, added up, so whoever holds the journal can make them again.

The judge is a second opinion: positions and totals it adds up in its own way; of the plan it asks what every plan
must be, not by which steps it was found, so it holds for any that pays the nets and keeps to the policy. Only how
few transfers are enough, or how little money along contracts, it has to find out as `plans` does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from itertools import chain
from math import prod
from typing import Any, Final

from exchange.amounts import Money, decimal_from_minor, exponent, half_even
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE, Obligation
from exchange.proof.sealed import Broken, Findings, same, whole_number
from exchange.settlement.barter import Balance, Barter, Bartering, in_order
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import Netted, PlanKind, Policy
from exchange.settlement.netting import Payment
from exchange.settlement.period import Period
from exchange.settlement.plans import Contract, contracted, fewest

FORMAT: Final = "benefits-exchange/netting/1"
KINDS: Final = (
    "contract",
    "opening",
    "balance",
    "owed",
    "bartered",
    "position",
    "totals",
    "converted",
    "account",
    "difference",
    "payment",
    "carried",
)
"""The kinds of lines, in order."""

_KEY: Final = {
    "contract": 2, "opening": 3, "balance": 1, "owed": 4, "bartered": 1, "position": 2, "totals": 1, "converted": 2,
    "account": 1, "difference": 1, "payment": 3, "carried": 3,
}  # fmt: skip
"""How much of a row says which it is: there are no two of that, and they are in its order."""

_ROW: Final = {
    "contract": 2, "opening": 4, "balance": 3, "owed": 9, "bartered": 6, "position": 7, "totals": 4, "converted": 5,
    "account": 2, "difference": 2, "payment": 4, "carried": 4,
}  # fmt: skip
_GOES_ON: Final = "none"
_AMOUNT: Final = re.compile(r"0|-?[1-9][0-9]{0,40}")


# ---------------------------------------------------------------- writing


def header(period: int, root: str, policy: Policy, after: str | None) -> dict[str, Any]:
    """Return the first line. `after`: the SHA-256 of the certificate whose carried amounts these are the opening of."""
    chosen: dict[str, Any] = {} if policy.fix is None else {"fix": policy.fix.told(), "settle": dict(policy.settle)}
    if policy.barter is not None:
        chosen["barter"] = policy.barter.told()
    return {
        **chosen, "after": after, "format": FORMAT,
        "groups": {parent: sorted(each) for parent, each in policy.groups.items()},
        "minimums": {currency: str(minor) for currency, minor in policy.minimums.items()}, "period": period,
        "plan": policy.plan.value, "root": root, "without": sorted(policy.without),
    }  # fmt: skip


def first_line(period: Period, netted: Netted, after: str | None) -> dict[str, Any]:
    """Return the first line of a closed period's certificate."""
    return header(period.number, period.root or "", netted.policy, after)


def lines(netted: Netted) -> Iterator[dict[str, list[str]]]:
    """Yield the lines behind the first."""
    if netted.policy.plan is PlanKind.CONTRACTED:
        yield from ({"contract": list(pair)} for pair in sorted(netted.policy.contracts))
    yield from ({"opening": _told(each)} for each in netted.opening)
    yield from ({"balance": [each.barter, str(each.one_used), str(each.other_used)]} for each in netted.balances)
    for obligation, owed in sorted(netted.owed.items()):
        figures = (owed.points, owed.gross_minor, owed.fee_minor, owed.commission_minor, owed.entries)
        yield {"owed": [*obligation, *map(str, figures)]}
    for row in sorted(netted.bartered, key=lambda row: row.barter.id):
        parts = (row.one_in_kind, row.other_in_kind, row.one_used, row.other_used)
        due = _GOES_ON if row.due is None else str(row.due)
        yield {"bartered": [row.barter.id, *map(str, parts), due]}
    for standing in netted.standings:
        position = standing.position
        amounts = (standing.opening, position.payable, position.receivable, position.fees, standing.net)
        yield {"position": [position.partner, position.currency, *(str(amount.minor) for amount in amounts)]}
    for measure in netted.measures:
        yield {"totals": [measure.gross.currency, *(str(amount.minor) for amount in measure)]}
    for party, (minor, currency), (given, other) in netted.conversions:
        yield {"converted": [party, currency, str(minor), other, str(given)]}
    yield from ({"account": [currency, str(minor)]} for minor, currency in netted.account)
    for currency, gained in netted.differences.items():
        yield {"difference": [currency, f"{gained.numerator}/{gained.denominator}"]}
    yield from ({"payment": _told(each)} for each in netted.payments)
    yield from ({"carried": _told(each)} for each in netted.carried)


def _told(payment: Payment) -> list[str]:
    return [payment.amount.currency, payment.from_, payment.to, str(payment.amount.minor)]


def carried(facts: Mapping[str, Any]) -> list[Payment]:
    """Return what a verified certificate carries to the next period."""
    rows = facts["carried"]
    return [Payment(from_=one, to=other, amount=Money(int(minor), currency)) for currency, one, other, minor in rows]


def balances(facts: Mapping[str, Any]) -> list[Balance]:
    """Return what a verified certificate tells the next period of the barters that go on."""
    return [Balance(barter, int(one), int(other)) for barter, one, other in facts["balances"]]


# ---------------------------------------------------------------- judging


@dataclass(slots=True)
class _Books:
    """What the lines so far add up to."""

    contracts: set[Contract] = field(default_factory=set)
    opening: list[list[str]] = field(default_factory=list)
    balances: dict[str, list[int]] = field(default_factory=dict)
    owed: list[list[str]] = field(default_factory=list)
    payments: list[list[str]] = field(default_factory=list)
    carried: list[list[str]] = field(default_factory=list)
    expected: dict[str, list[list[str]]] = field(default_factory=dict)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)
    nets: dict[str, dict[str, int]] = field(default_factory=dict)
    bartered: list[list[str]] = field(default_factory=list)


class NettingCertificate:
    """Judges a certificate line by line."""

    def __init__(self, first_line: dict[str, Any]) -> None:
        self._period = whole_number(first_line["period"])
        self._root, self._after = first_line["root"], first_line["after"]
        try:
            self._policy = Policy(
                plan=PlanKind(first_line["plan"]), without=frozenset(first_line["without"]),
                groups={parent: tuple(each) for parent, each in first_line["groups"].items()},
                minimums={currency: _amount(minor) for currency, minor in first_line["minimums"].items()},
                settle=dict(first_line.get("settle", {})), fix=_fix(first_line.get("fix")),
                barter=Bartering.of(first_line.get("barter")),
            )  # fmt: skip
        except ValidationFailed as refusal:
            raise Broken(1, refusal.message) from None
        self._told = header(self._period, self._root, self._policy, self._after)
        if first_line != {**self._told, "keys": first_line["keys"]}:
            raise Broken(1, "says more than is understood of it, or says it otherwise")
        for name, value in (("root", self._root), ("after", self._after)):
            if not (value is None and name == "after") and not re.fullmatch("[0-9a-f]{64}", value):
                raise Broken(1, f"{name} is no hash")
        self._barters = _barters(self._policy)
        self._parents = self._policy.parents()
        self._kind, self._key = 0, [""]
        self._books = _Books()

    def take(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        """Judge the next line."""
        ((kind, row),) = line.items()
        if kind not in KINDS or KINDS.index(kind) < self._kind:
            raise Broken(number, f"a line of {KINDS[self._kind]} or what comes behind it should stand here")
        same(number, raw, {kind: [str(each) for each in row]})
        if len(row) != _ROW[kind]:
            raise Broken(number, f"is no row of {kind}")
        while KINDS[self._kind] != kind:
            self._next_kind(number)
        key = row[: _KEY[kind]]
        if key <= self._key:
            raise Broken(number, f"{' '.join(key)}: is there twice, or not in order")
        self._key = key
        getattr(self, f"_take_{kind}")(number, row)

    def end(self, number: int) -> Findings:
        """Say what is settled, if everything is."""
        while self._kind < len(KINDS) - 1:
            self._next_kind(number)
        for (party, currency), minor in sorted(self._books.left.items()):
            if minor:
                raise Broken(number, f"{party} is left with {_shown(minor, currency)} after the plan")
        for currency, nets in self._books.nets.items():
            self._least(number, currency, nets)
        return self._findings()

    def _least(self, number: int, currency: str, nets: Mapping[str, int]) -> None:
        """Of all plans that settle, it must be one that transfers least often, or least."""
        amounts = [_amount(row[3]) for row in chain(self._books.payments, self._books.carried) if row[0] == currency]
        if self._policy.plan is PlanKind.FEWEST and len(amounts) > (enough := len(fewest(nets, currency))):
            raise Broken(number, f"{enough} transfers of {currency} are enough")
        if self._policy.plan is PlanKind.CONTRACTED:
            enough = sum(payment.amount.minor for payment in contracted(nets, currency, self._books.contracts))
            if sum(amounts) > enough:
                raise Broken(number, f"it is enough to move {_shown(enough, currency)}")

    def _next_kind(self, number: int) -> None:
        """Leave a kind, of which nothing may be missing, for the next."""
        kind = KINDS[self._kind]
        if kind == "owed":
            self._add_up()
        for missing in self._books.expected.get(kind, [])[:1]:
            raise Broken(number, f"the {kind} of {' '.join(missing[: _KEY[kind]])} is missing here")
        self._kind += 1
        self._key = [""]

    # ------------------------------------------------------------ what is given

    def _take_contract(self, number: int, row: list[str]) -> None:
        if self._policy.plan is not PlanKind.CONTRACTED or row[0] >= row[1]:
            raise Broken(number, "is no contract that the plan asks for")
        one, other = sorted(self._parents.get(each, each) for each in row)
        if one != other:
            self._books.contracts.add((one, other))

    def _take_opening(self, number: int, row: list[str]) -> None:
        if _amount(row[3]) <= 0 or row[1] == row[2]:
            raise Broken(number, "is nothing that could have been carried")
        self._books.opening.append(row)

    def _take_balance(self, number: int, row: list[str]) -> None:
        barter, used = self._barters.get(row[0]), [_amount(each) for each in row[1:]]
        if barter is None or not any(used):
            raise Broken(number, "is no balance of a barter that concerns the period")
        if not (0 <= used[0] <= barter.one_quota and 0 <= used[1] <= barter.other_quota):
            raise Broken(number, f"{row[0]}: no more can be used than the quota, nor less than nothing")
        self._books.balances[row[0]] = used

    def _take_owed(self, number: int, row: list[str]) -> None:
        for figure in row[4:]:
            _amount(figure)
        if EXCHANGE in row[:3]:
            raise Broken(number, "the exchange has no obligation of this kind")
        self._books.owed.append(row)

    # ------------------------------------------------------------ what must follow

    def _take_bartered(self, number: int, row: list[str]) -> None:
        self._expect("bartered", number, row)
        self._books.bartered.append(row)

    def _take_position(self, number: int, row: list[str]) -> None:
        self._expect("position", number, row)

    def _take_totals(self, number: int, row: list[str]) -> None:
        self._expect("totals", number, row)

    def _take_converted(self, number: int, row: list[str]) -> None:
        self._expect("converted", number, row)

    def _take_account(self, number: int, row: list[str]) -> None:
        self._expect("account", number, row)

    def _take_difference(self, number: int, row: list[str]) -> None:
        self._expect("difference", number, row)

    def _expect(self, kind: str, number: int, row: list[str]) -> None:
        expected = self._books.expected.get(kind, [])
        if not expected or row[: _KEY[kind]] != expected[0][: _KEY[kind]]:
            due = f"that of {' '.join(expected[0][: _KEY[kind]])}" if expected else "none"
            raise Broken(number, f"the {kind} of {' '.join(row[: _KEY[kind]])}: {due} should stand here")
        if row != expected[0]:
            figures = " ".join(expected[0][_KEY[kind] :])
            raise Broken(number, f"the {kind} of {' '.join(row[: _KEY[kind]])} should be {figures}, by what is owed")
        del expected[0]

    def _add_up(self) -> None:
        """Make positions and totals of what is owed, and the nets that are to be settled."""
        columns: dict[tuple[str, str], list[int]] = {}
        between: Counter[tuple[str, str, str]] = Counter()

        def owe(debtor: str, creditor: str, currency: str, minor: int, column: int, other: int, sign: int = 1) -> None:
            if self._policy.without.isdisjoint((debtor, creditor)):
                columns.setdefault((debtor, currency), [0, 0, 0, 0])[column] += sign * minor
                columns.setdefault((creditor, currency), [0, 0, 0, 0])[other] += minor
                if debtor != creditor:
                    between[debtor, creditor, currency] += minor

        for currency, debtor, creditor, minor in self._books.opening:
            owe(debtor, creditor, currency, _amount(minor), 0, 0, -1)
        for row in self._books.owed:
            obligation, (_, gross, fee, commission, _) = Obligation(*row[:4]), map(_amount, row[4:])
            owe(obligation.issuer, obligation.provider, obligation.currency, gross, 1, 2)
            if commission:
                owe(obligation.provider, obligation.channel, obligation.currency, commission, 1, 2)
            if fee:
                owe(obligation.provider, EXCHANGE, obligation.currency, fee, 3, 2)
        bartered = self._barter(owe)
        positions = []
        for (party, currency), (opening, payable, receivable, fees) in sorted(columns.items()):
            net = opening + receivable - payable - fees
            positions.append([party, currency, *map(str, (opening, payable, receivable, fees, net))])
            own = self._books.nets.setdefault(currency, {})
            settling = self._parents.get(party, party)
            own[settling] = own.get(settling, 0) + net
            self._books.left[settling, currency] += net
        totals = [self._totals(currency, between) for currency in sorted(self._books.nets)]
        self._books.expected = {"bartered": bartered, "position": positions, "totals": totals}
        if self._policy.fix is not None:
            self._convert(self._policy.fix)

    def _barter(self, owe: Callable[..., None]) -> list[list[str]]:
        """Take out of the positions what was settled in kind, and put the differences of what has ended into them."""
        cost: Counter[tuple[str, str, str]] = Counter()
        for issuer, provider, _, currency, _, gross, *_ in self._books.owed:
            cost[issuer, provider, currency] += _amount(gross)
        rows = []
        span, without = self._policy.barter, self._policy.without
        for barter in sorted(self._barters.values(), key=lambda each: (each.until, each.id)):
            before = self._books.balances.get(barter.id, [0, 0])
            used, sides = [*before], ((barter.one, barter.other), (barter.other, barter.one))
            if span is not None and barter.since <= span.opened < barter.until and without.isdisjoint(sides[0]):
                for at, (side, quota) in enumerate(zip(sides, (barter.one_quota, barter.other_quota), strict=True)):
                    # Where the quota would stand without an end, brought to the nearest that it can.
                    used[at] = sorted((0, before[at] + cost[*side, barter.currency], quota))[1]
                    cost[*side, barter.currency] -= used[at] - before[at]
                    if used[at] != before[at]:
                        owe(*side, barter.currency, before[at] - used[at], 1, 2)
            due = _GOES_ON
            if span is not None and barter.until <= span.cut:
                more = used[0] - used[1]
                due = str(more)
                if more:
                    owe(*sides[more < 0], barter.currency, abs(more), 0, 0, -1)
            rows.append([barter.id, *(str(used[at] - before[at]) for at in (0, 1)), *map(str, used), due])
        return sorted(rows)

    def _convert(self, fix: Fix) -> None:
        """Take nets out of a currency and into another, with whole numbers alone: one denominator a party."""
        rows: list[list[str]] = []
        held: Counter[str] = Counter()
        gained: dict[str, Fraction] = {}

        def move(party: str, currency: str, minor: int) -> None:
            for each, sign in ((party, 1), (EXCHANGE, -1)):
                own = self._books.nets.setdefault(currency, {})
                own[each] = own.get(each, 0) + sign * minor
                self._books.left[each, currency] += sign * minor
            held[currency] -= minor

        for party, wished in sorted(self._policy.settle.items()):
            others = [each for each in sorted(self._books.nets) if each != wished and self._books.left[party, each]]
            quotients = [_quotient(fix, each, wished) for each in others]
            common = prod(below for _, below in quotients)
            exact = [
                self._books.left[party, each] * above * (common // below)
                for each, (above, below) in zip(others, quotients, strict=True)
            ]
            shares = [each // common for each in exact]
            short = half_even(sum(exact), common) - sum(shares)
            first = sorted(range(len(exact)), key=lambda row, of=exact, by=common: (-(of[row] % by), row))  # type: ignore[misc]
            for each in first[:short]:
                shares[each] += 1
            for currency, share in zip(others, shares, strict=True):
                minor = self._books.left[party, currency]
                rows.append([party, currency, str(minor), wished, str(share)])
                move(party, currency, -minor)
                move(party, wished, share)
            if others:
                gained[wished] = gained.get(wished, Fraction()) + Fraction(sum(exact), common) - sum(shares)
        self._books.expected |= {
            "converted": rows,
            "account": [[currency, str(minor)] for currency, minor in sorted(held.items())],
            "difference": [[each, f"{one.numerator}/{one.denominator}"] for each, one in sorted(gained.items())],
        }

    def _totals(self, currency: str, between: Mapping[tuple[str, str, str], int]) -> list[str]:
        own = {(debtor, creditor): minor for (debtor, creditor, each), minor in between.items() if each == currency}
        gross = sum(map(abs, own.values()))
        twice = sum(
            abs(own.get((one, other), 0) - own.get((other, one), 0))
            for one, other in own.keys() | {pair[::-1] for pair in own}
        )
        multilateral = sum(abs(minor) for minor in self._books.nets[currency].values()) // 2
        return [currency, str(gross), str(twice // 2), str(multilateral)]

    # ------------------------------------------------------------ the plan

    def _take_payment(self, number: int, row: list[str]) -> None:
        minor = self._settle(number, row)
        if minor < self._policy.minimums.get(row[0], 0):
            raise Broken(number, f"{_shown(minor, row[0])} is less than the minimum, and so to be carried")
        self._books.payments.append(row)

    def _take_carried(self, number: int, row: list[str]) -> None:
        minor = self._settle(number, row)
        if minor >= self._policy.minimums.get(row[0], 0):
            raise Broken(number, f"{_shown(minor, row[0])} is not less than the minimum, and so to be paid")
        if row[:3] in (paid[:3] for paid in self._books.payments):
            raise Broken(number, f"{row[1]} pays {row[2]} {row[0]} already")
        self._books.carried.append(row)

    def _settle(self, number: int, row: list[str]) -> int:
        currency, payer, payee, minor = row[0], row[1], row[2], _amount(row[3])
        if minor <= 0 or payer == payee:
            raise Broken(number, "is no payment")
        if not self._may_pay(payer, payee, currency):
            raise Broken(number, f"{payer} does not pay {payee} in a plan of the kind {self._policy.plan}")
        self._books.left[payer, currency] += minor
        self._books.left[payee, currency] -= minor
        return minor

    def _may_pay(self, payer: str, payee: str, currency: str) -> bool:
        nets = self._books.nets.get(currency, {})
        match self._policy.plan:
            case PlanKind.EXCHANGE:
                return nets.get(payer, 0) < 0 if payee == EXCHANGE else payer == EXCHANGE and nets.get(payee, 0) > 0
            case PlanKind.FEWEST:
                return nets.get(payer, 0) < 0 < nets.get(payee, 0)
            case PlanKind.CONTRACTED:
                if payee == EXCHANGE:
                    return nets.get(EXCHANGE, 0) > 0
                if payer == EXCHANGE:
                    return nets.get(EXCHANGE, 0) < 0
                return (min(payer, payee), max(payer, payee)) in self._books.contracts

    # ------------------------------------------------------------ what is proved

    def _findings(self) -> Findings:
        books, policy = self._books, self._policy
        told = [f"the netting of period {self._period}: {len(books.owed):,} obligations"]
        if policy.without:
            told.append(f"without {', '.join(sorted(policy.without))}")
        told += [f"{parent} settles for {', '.join(sorted(each))}" for parent, each in sorted(policy.groups.items())]
        told += [f"{party} settles in {currency}, by {policy.fix.id}"
                 for party, currency in sorted(policy.settle.items()) if policy.fix is not None]  # fmt: skip
        told += self._told_of_barters()
        told.append(f"plan: {policy.plan}, {len(books.payments):,} payments, {len(books.carried):,} carried")
        told += [
            f"{payer} pays {payee} {_shown(_amount(minor), currency)}"
            for currency, payer, payee, minor in books.payments
        ]
        told += [
            f"{payer} owes {payee} {_shown(_amount(minor), currency)}: carried"
            for currency, payer, payee, minor in books.carried
        ]
        told.append(f"the period's root: {self._root}")
        going_on = [[row[0], *row[3:5]] for row in books.bartered if row[5] == _GOES_ON and row[3:5] != ["0", "0"]]
        facts = {
            "after": self._after, "balances": going_on, "carried": books.carried,
            "fix": None if policy.fix is None else policy.fix.id,
            "groups": self._told["groups"],
            "minimums": self._told["minimums"], "obligations": len(books.owed), "opening": books.opening,
            "payments": books.payments, "period": self._period, "period_root": self._root, "plan": policy.plan.value,
            "settle": dict(policy.settle), "without": self._told["without"],
        }  # fmt: skip
        return Findings(facts, told)

    def _told_of_barters(self) -> list[str]:
        told = []
        for barter_id, *figures, due in self._books.bartered:
            barter = self._barters[barter_id]
            one, other, one_used, other_used = (_shown(_amount(each), barter.currency) for each in figures)
            told.append(
                f"{barter_id}: {barter.one} takes {one} in kind ({one_used} used), "
                f"{barter.other} takes {other} ({other_used} used)"
            )
            if due != _GOES_ON:
                more, less = (barter.one, barter.other) if _amount(due) >= 0 else (barter.other, barter.one)
                told.append(f"{barter_id} has ended: {more} owes {less} {_shown(abs(_amount(due)), barter.currency)}")
        return told


def _fix(told: Any) -> Fix | None:
    if told is None:
        return None
    return Fix(id=told["id"], base=told["base"], date=date.fromisoformat(told["date"]), rates=dict(told["rates"]))


def _barters(policy: Policy) -> dict[str, Barter]:
    barters = () if policy.barter is None else policy.barter.barters
    for barter in barters:
        try:
            barter.check()
        except ValidationFailed as refusal:
            raise Broken(1, f"{barter.id}: {refusal.message}") from None
    if policy.barter is not None and (not barters or barters != in_order({each.id: each for each in barters}.values())):
        raise Broken(1, "the barters are not in order, or one is there twice")
    return {barter.id: barter for barter in barters}


def _quotient(fix: Fix, of: str, to: str) -> tuple[int, int]:
    """Return what a minor unit of one currency is worth in minor units of another, above and below the line."""
    (to_above, to_below), (of_above, of_below) = (_rate(fix, to), _rate(fix, of))
    return to_above * of_below * 10 ** exponent(to), to_below * of_above * 10 ** exponent(of)


def _rate(fix: Fix, currency: str) -> tuple[int, int]:
    whole, _, decimals = ("1" if currency == fix.base else fix.rates[currency]).partition(".")
    return int(whole + decimals), 10 ** len(decimals)


def _amount(text: Any) -> int:
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
        message = f"{text!r} is no amount of minor units"
        raise ValueError(message)
    return int(text)


def _shown(minor: int, currency: str) -> str:
    return f"{decimal_from_minor(minor, currency)} {currency}"
