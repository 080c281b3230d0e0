"""What a redemption costs whom, computed a second time from the agreements.

The rules are the public ones (an agreement's price per 1,000 points; one rounding per currency, half to even; floors,
then largest remainders in the order of consumption; fee and commission per row; of a reversal, the original's share
of all that went back so far less what went back before). They are written here in fractions, so that no line is
shared with the arithmetic under judgement.

What a step costs hangs on what was before it: a confirmation costs by the versions promised at its reservation, a
reversal by the rows of its original. So an entry is judged with the redemption as its earlier entries make it.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from math import floor
from typing import NamedTuple

from exchange.agreements import Agreement, AgreementBook, Debit
from exchange.amounts import Money
from exchange.journal import EXCHANGE, Account, Entry, EntryKind
from exchange.proof import Wrong
from exchange.proof.stops import RECORDED_WITHIN
from exchange.redemption import Redemption
from exchange.wallet import Take

QUOTED_WITHIN = timedelta(minutes=5)
"""A quote promises the versions of its moment for so long."""

NO_AGREEMENT = "-"
"""What a reservation says of an issuer whose points cost nobody anything."""

Figures = dict[tuple[str, Account, str], int]
"""Amounts by party, account and currency."""

_RETURNING = (EntryKind.FAIL, EntryKind.REVERSE)
_TAKING = (EntryKind.REDEEM, EntryKind.CONFIRM)


def owed(
    entry: Entry, agreements: Mapping[str, Agreement], book: AgreementBook, before: Redemption | None = None
) -> list[Wrong]:
    """Return in what an entry's debits and postings are not what its points cost under its agreements.

    `before`: the redemption as the entries before this one make it.
    """
    if entry.kind in _TAKING:
        wrong = _taking(entry, agreements, book, before)
    elif entry.kind in _RETURNING:
        wrong = _returning(entry, before)
    elif entry.kind is EntryKind.ADJUSTMENT:
        wrong = _adjusting(entry)
    else:
        wrong = ["owes something for nothing"] if entry.debits else []
    redeemed = {debit.issuer: debit.points for debit in entry.debits}
    for posting in entry.postings:
        if posting.account is Account.REDEEMED:
            redeemed[posting.party] = redeemed.get(posting.party, 0) - posting.amount
    if any(redeemed.values()):
        wrong.append("its points are not posted as its rows say")
    if _money_posted(entry) != _money_due(entry):
        wrong.append("its postings are not what its rows owe: owed = what the provider keeps + fees + commissions")
    return [Wrong(7, f"entry {entry.id}: {what}") for what in wrong]


def _taking(
    entry: Entry, agreements: Mapping[str, Agreement], book: AgreementBook, before: Redemption | None
) -> list[str]:
    given = [
        Take(posting.lot or "", posting.party, -posting.amount)
        for posting in entry.postings
        if posting.account is Account.WALLET
    ]
    wrong: list[str] = []
    if [(debit.issuer, debit.points) for debit in entry.debits] != by_issuer(given):
        wrong.append("its rows are not the points taken")
    if entry.kind is EntryKind.REDEEM:
        for debit in entry.debits:
            wrong += _agreed(entry, debit, agreements, book)
    else:
        promised = {} if before is None else {debit.issuer: debit.agreement for debit in before.debits}
        wrong += [
            f"{debit.issuer} owes by {debit.agreement}, promised was {promised.get(debit.issuer)}"
            for debit in entry.debits
            if debit.agreement != promised.get(debit.issuer)
        ]
    priced = [debit for debit in entry.debits if debit.agreement in agreements]
    for debit, row in zip(priced, _costs(priced, agreements), strict=True):
        if figures(debit) != row:
            wrong.append(f"{debit.issuer} owes {figures(debit)}, by the agreement {row} (owed, fee, commission)")
    return wrong


def _adjusting(entry: Entry) -> list[str]:
    """Judge the form of an adjustment: one partner pays another. Whether it is due, `disputes` judges."""
    plain = [
        debit for debit in entry.debits
        if debit.owed is not None and debit.owed.minor > 0 and debit == Debit(debit.issuer, 0, None, debit.owed)
        and debit.issuer != entry.provider == entry.channel
    ]  # fmt: skip
    return [] if len(plain) == len(entry.debits) == 1 else ["is not one partner's payment to another"]


def _returning(entry: Entry, before: Redemption | None) -> list[str]:
    """Judge what goes back: of each row, its share of all that is back by now less its share of what was before."""
    if before is None:
        return ["it gives back what was never taken"]
    unit = Fraction(before.points, before.quantity)
    was = Counter(dict(by_issuer(_last(before.takes, unit * before.returned))))
    now = Counter(dict(by_issuer(_last(before.takes, unit * (before.returned + entry.quantity)))))
    expected = []
    for debit in before.debits:
        if now[debit.issuer] == was[debit.issuer]:
            continue
        share = [
            round(Fraction(figure * was[debit.issuer], debit.points))
            - round(Fraction(figure * now[debit.issuer], debit.points))
            for figure in figures(debit)
        ]
        money = None if debit.owed is None else Money(share[0], debit.owed.currency)
        points = was[debit.issuer] - now[debit.issuer]
        expected.append(Debit(debit.issuer, points, debit.agreement, money, *share[1:]))
    if list(entry.debits) == expected:
        return []
    return [f"it gives back {[figures(debit) for debit in entry.debits]}, due were {[figures(d) for d in expected]}"]


def promised(entry: Entry, agreements: Mapping[str, Agreement], book: AgreementBook) -> tuple[list[Debit], list[Wrong]]:
    """Return what a reservation promises to cost, by the agreement versions that its entry names, and what is wrong."""
    given = by_issuer(entry.holds)
    names = entry.detail.get("agreements", "").split()
    wrong = [] if len(names) == len(given) else [f"promises {len(names)} agreements for {len(given)} issuers"]
    rows = [
        Debit(issuer, points, None if name == NO_AGREEMENT else name)
        for (issuer, points), name in zip(given, names, strict=False)
    ]
    priced = [row for row in rows if row.agreement in agreements]
    costs = dict(zip((row.issuer for row in priced), _costs(priced, agreements), strict=True))
    debits = []
    for row in rows:
        debit = row
        if row.agreement in agreements:
            minor, fee, commission = costs[row.issuer]
            currency = agreements[row.agreement or ""].price_per_1000_points.currency
            debit = Debit(row.issuer, row.points, row.agreement, Money(minor, currency), fee, commission)
        debits.append(debit)
        wrong += _agreed(entry, debit, agreements, book)
    return debits, [Wrong(7, f"entry {entry.id}: {what}") for what in wrong]


def by_issuer(takes: Iterable[Take]) -> list[tuple[str, int]]:
    """Return one row per issuer, in the order its points were consumed; dicts keep it."""
    given: dict[str, int] = {}
    for take in takes:
        given[take.issuer] = given.get(take.issuer, 0) + take.points
    return list(given.items())


def figures(debit: Debit) -> tuple[int, int, int]:
    """Return (owed, fee, commission) of a row."""
    return (0 if debit.owed is None else debit.owed.minor, debit.fee_minor, debit.commission_minor)


def _last(takes: Sequence[Take], points: Fraction) -> list[Take]:
    """Return the takes that gave the last so many points."""
    last = []
    left = int(points)
    for take in reversed(takes):
        last.append(take._replace(points=min(take.points, left)))
        left -= last[-1].points
    return last


def _agreed(entry: Entry, debit: Debit, agreements: Mapping[str, Agreement], book: AgreementBook) -> list[str]:
    provider = entry.provider or ""
    if debit.issuer == provider:
        free = debit == Debit(debit.issuer, debit.points)
        return [] if free else [f"{provider} owes itself something"]
    agreement = agreements.get(debit.agreement or "")
    if agreement is None:
        return [f"there is no agreement {debit.agreement}"]
    fits = agreement.issuer in (None, debit.issuer) and agreement.provider in (None, provider)
    currency = debit.owed is not None and debit.owed.currency == agreement.price_per_1000_points.currency
    if not (fits and currency and agreement.effective_from <= entry.at):
        return [f"agreement {debit.agreement} is not for what {debit.issuer} owes"]
    in_force = book.find(debit.issuer, provider, entry.at)
    known_since = entry.at - RECORDED_WITHIN - (QUOTED_WITHIN if "quote" in entry.detail else timedelta())
    if in_force is None or in_force == agreement or in_force.effective_from > known_since:
        return []
    return [f"{debit.issuer} owes by {debit.agreement}, but {in_force.id} was in force"]


def _costs(debits: Iterable[Debit], agreements: Mapping[str, Agreement]) -> tuple[tuple[int, int, int], ...]:
    """Return (owed, fee, commission) of each row."""
    return _priced(tuple((debit.points, _price(agreements[debit.agreement or ""])) for debit in debits))


class _Price(NamedTuple):
    """What of an agreement a row's figures come from."""

    minor: int
    currency: str
    fee_basis_points: int
    commission_basis_points: int


def _price(agreement: Agreement) -> _Price:
    minor, currency = agreement.price_per_1000_points
    return _Price(minor, currency, agreement.fee_basis_points, agreement.commission_basis_points)


@lru_cache(maxsize=10_000)  # the same few benefits are redeemed again and again
def _priced(rows: tuple[tuple[int, _Price], ...]) -> tuple[tuple[int, int, int], ...]:
    """Return (owed, fee, commission) of points at their prices. `round` of a Fraction is half to even."""
    exact = [Fraction(points * price.minor, 1000) for points, price in rows]
    whole = [floor(cost) for cost in exact]
    for currency in {price.currency for _, price in rows}:
        ours = [n for n, (_, price) in enumerate(rows) if price.currency == currency]
        over = round(sum((exact[n] for n in ours), Fraction())) - sum(whole[n] for n in ours)
        for n in sorted(ours, key=lambda n: (whole[n] - exact[n], n))[:over]:
            whole[n] += 1
    return tuple(
        (
            minor,
            round(Fraction(minor * price.fee_basis_points, 10_000)),
            round(Fraction(minor * price.commission_basis_points, 10_000)),
        )
        for minor, (_, price) in zip(whole, rows, strict=True)
    )


def _money_posted(entry: Entry) -> Figures:
    posted: Figures = {}
    for posting in entry.postings:
        if not posting.unit.startswith("points:"):
            key = (posting.party, posting.account, posting.unit)
            posted[key] = posted.get(key, 0) + posting.amount
    return _without_zeros(posted)


def _money_due(entry: Entry) -> Figures:
    provider, channel = entry.provider or "", entry.channel or ""
    between = Account.ADJUSTMENTS if entry.kind is EntryKind.ADJUSTMENT else Account.REDEMPTIONS
    due: Figures = {}
    for debit in entry.debits:
        if debit.owed is None:
            continue
        minor, currency = debit.owed
        for account, payer, payee, amount in (
            (between, debit.issuer, provider, minor),
            (Account.FEES, provider, EXCHANGE, debit.fee_minor),
            (Account.COMMISSIONS, provider, channel, debit.commission_minor),
        ):
            for party, change in ((payer, -amount), (payee, amount)):
                due[party, account, currency] = due.get((party, account, currency), 0) + change
    return _without_zeros(due)


def _without_zeros(amounts: Figures) -> Figures:
    return {key: amount for key, amount in amounts.items() if amount}
