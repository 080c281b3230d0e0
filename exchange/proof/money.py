"""What a redemption costs whom, computed a second time from the agreements.

The rules are the public ones (an agreement's price per 1,000 points; one rounding per currency, half to even; floors,
then largest remainders in the order of consumption; fee and commission per row). They are written here in fractions,
so that no line is shared with the arithmetic under judgement.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from math import floor

from exchange.agreements import Agreement, AgreementBook, Debit
from exchange.journal import EXCHANGE, Account, Entry, EntryKind
from exchange.proof import Wrong
from exchange.proof.history import RECORDED_WITHIN

Figures = Counter[tuple[str, Account, str]]
"""Amounts by party, account and currency."""


def owed(entry: Entry, agreements: Mapping[str, Agreement], book: AgreementBook) -> list[Wrong]:
    """Return in what an entry's debits and postings are not what its points cost under its agreements."""
    if entry.kind is not EntryKind.REDEEM:
        return [Wrong(7, f"entry {entry.id} owes something for nothing")] if entry.debits else []
    provider = entry.provider or ""
    given: dict[str, int] = {}
    for posting in entry.postings:
        if posting.account is Account.WALLET:
            given[posting.party] = given.get(posting.party, 0) - posting.amount
    wrong: list[str] = []
    # One row per issuer, in the order its points were consumed; dicts keep it.
    if [(debit.issuer, debit.points) for debit in entry.debits] != list(given.items()):
        wrong.append("its rows are not the points taken")
    for debit in entry.debits:
        wrong += _agreed(entry, debit, provider, agreements, book)
    priced = [debit for debit in entry.debits if debit.agreement in agreements]
    for debit, row in zip(priced, _priced(priced, agreements), strict=True):
        stands = (0 if debit.owed is None else debit.owed.minor, debit.fee_minor, debit.commission_minor)
        if stands != row:
            wrong.append(f"{debit.issuer} owes {stands}, by the agreement {row} (owed, fee, commission)")
    if _money_posted(entry) != _money_due(entry, provider):
        wrong.append("its postings are not what its rows owe: owed = what the provider keeps + fees + commissions")
    return [Wrong(7, f"entry {entry.id}: {what}") for what in wrong]


def _agreed(
    entry: Entry, debit: Debit, provider: str, agreements: Mapping[str, Agreement], book: AgreementBook
) -> list[str]:
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
    if in_force is None or in_force == agreement or in_force.effective_from > entry.at - RECORDED_WITHIN:
        return []
    return [f"{debit.issuer} owes by {debit.agreement}, but {in_force.id} was in force"]


def _priced(debits: list[Debit], agreements: Mapping[str, Agreement]) -> list[tuple[int, int, int]]:
    """Return (owed, fee, commission) of each row. `round` of a Fraction is half to even."""
    terms = [agreements[debit.agreement or ""] for debit in debits]
    exact = [
        Fraction(debit.points * agreement.price_per_1000_points.minor, 1000)
        for debit, agreement in zip(debits, terms, strict=True)
    ]
    whole = [floor(cost) for cost in exact]
    for currency in {agreement.price_per_1000_points.currency for agreement in terms}:
        rows = [n for n, agreement in enumerate(terms) if agreement.price_per_1000_points.currency == currency]
        over = round(sum((exact[n] for n in rows), Fraction())) - sum(whole[n] for n in rows)
        for n in sorted(rows, key=lambda n: (whole[n] - exact[n], n))[:over]:
            whole[n] += 1
    return [
        (
            minor,
            round(Fraction(minor * agreement.fee_basis_points, 10_000)),
            round(Fraction(minor * agreement.commission_basis_points, 10_000)),
        )
        for minor, agreement in zip(whole, terms, strict=True)
    ]


def _money_posted(entry: Entry) -> Figures:
    figures: Figures = Counter()
    for posting in entry.postings:
        if not posting.unit.startswith("points:"):
            figures[posting.party, posting.account, posting.unit] += posting.amount
    return _without_zeros(figures)


def _money_due(entry: Entry, provider: str) -> Figures:
    figures: Figures = Counter()
    for debit in entry.debits:
        if debit.owed is None:
            continue
        minor, currency = debit.owed
        for account, payer, payee, amount in (
            (Account.REDEMPTIONS, debit.issuer, provider, minor),
            (Account.FEES, provider, EXCHANGE, debit.fee_minor),
            (Account.COMMISSIONS, provider, entry.by, debit.commission_minor),
        ):
            figures[payer, account, currency] -= amount
            figures[payee, account, currency] += amount
    return _without_zeros(figures)


def _without_zeros(figures: Figures) -> Figures:
    return Counter({key: amount for key, amount in figures.items() if amount})
