"""Who pays whom how much per point, since when.

An agreement is never changed: a new version is added, with the moment from which it holds. For a redemption the
book looks for the issuer and the provider, then for the issuer's default, the provider's default, and the
exchange's (contract: (issuer, provider), (issuer, any), (any, provider), (any, any)).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from exchange.amounts import BASIS, Money, exponent, share_by_basis_points, split_total
from exchange.errors import ValidationFailed

PRICE_UNIT_POINTS = 1_000
"""Agreements price this many points: a fair price of one point is a fraction of a cent."""

PRICE_MINOR_MAX = 10**12


class StaleBook(Exception):  # noqa: N818 - what the book is
    """A version is pinned that was added after the book was read: read it again."""


class Agreement(Struct, frozen=True, kw_only=True):
    """One version of a price. `issuer` or `provider` None: any. Fee and commission are basis points of what is owed."""

    id: str
    issuer: str | None
    provider: str | None
    version: int
    price_per_1000_points: Money
    fee_basis_points: int
    commission_basis_points: int
    effective_from: datetime


class Debit(Struct, frozen=True):
    """What one issuer gave to a redemption under one agreement version; `owed` None at its own benefit."""

    issuer: str
    points: int
    agreement: str | None = None
    owed: Money | None = None
    fee_minor: int = 0
    commission_minor: int = 0


def agreement_id(issuer: str | None, provider: str | None, version: int) -> str:
    """Return the identity of one version; zero-padded so that versions sort."""
    return f"{issuer or '*'}>{provider or '*'}#{version:06d}"


def lookup_order(issuer: str, provider: str) -> tuple[tuple[str | None, str | None], ...]:
    """Return the pairs whose agreement can price the issuer's points at the provider, the most specific first."""
    return (issuer, provider), (issuer, None), (None, provider), (None, None)


def validate_terms(price: Money, fee_basis_points: int, commission_basis_points: int) -> None:
    """Refuse (ValidationFailed) terms under which a provider would pay more than it is owed, but for rounding.

    Fee and commission are rounded each by itself, so together they can exceed a row by one minor unit.
    """
    try:
        exponent(price.currency)
    except ValueError as error:
        raise ValidationFailed(str(error), ("input", "pricePer1000Points", "currency")) from None
    if not 0 <= price.minor <= PRICE_MINOR_MAX:
        raise ValidationFailed("must not be negative, nor absurdly high", ("input", "pricePer1000Points", "amount"))
    for name, points in (
        ("feeBasisPoints", fee_basis_points),
        ("commissionBasisPoints", commission_basis_points),
    ):
        if not 0 <= points <= BASIS:
            raise ValidationFailed(f"must be 0 to {BASIS}", ("input", name))
    if fee_basis_points + commission_basis_points > BASIS:
        raise ValidationFailed("fee and commission together exceed what is owed", ("input", "commissionBasisPoints"))


class AgreementBook:
    """All versions of all agreements, as read at one moment."""

    def __init__(self, agreements: Iterable[Agreement] = (), pins: Mapping[str, Agreement] | None = None) -> None:
        self._pins = pins or {}
        self._by_id: dict[str, Agreement] = {}
        self._versions: dict[tuple[str | None, str | None], list[Agreement]] = {}
        for agreement in sorted(agreements, key=lambda a: (a.effective_from, a.version)):
            self._versions.setdefault((agreement.issuer, agreement.provider), []).append(agreement)
            self._by_id[agreement.id] = agreement

    def pinned(self, agreements: Mapping[str, str | None]) -> AgreementBook:
        """Return a book that answers for these issuers with these versions, whatever came later.

        StaleBook when it does not know one of them yet.
        """
        if any(pin is not None and pin not in self._by_id for pin in agreements.values()):
            raise StaleBook
        pins = {issuer: self._by_id[pin] for issuer, pin in agreements.items() if pin is not None}
        book = AgreementBook(pins=pins)
        book._versions, book._by_id = self._versions, self._by_id
        return book

    def find(self, issuer: str, provider: str, now: datetime) -> Agreement | None:
        """Return the version pinned, else the one in force at `now` of the most specific agreement that has one."""
        if issuer in self._pins:
            return self._pins[issuer]
        for pair in lookup_order(issuer, provider):
            for agreement in reversed(self._versions.get(pair, ())):
                if agreement.effective_from <= now:
                    return agreement
        return None

    def accepts(self, issuer: str, provider: str, now: datetime) -> bool:
        """Whether points of `issuer` can be spent at `provider`: its own always, others under an agreement."""
        return issuer == provider or self.find(issuer, provider, now) is not None

    def debits(self, points_by_issuer: Sequence[tuple[str, int]], provider: str, now: datetime) -> list[Debit]:
        """Price what each issuer gave, in the order its points were consumed.

        Exact first; per currency the sum is rounded once and split by largest remainder; then fee and commission
        per row. Every issuer must be accepted (`accepts`), else ValueError.
        """
        priced: list[tuple[str, int, Agreement | None]] = []
        for issuer, points in points_by_issuer:
            agreement = None if issuer == provider else self.find(issuer, provider, now)
            if agreement is None and issuer != provider:
                message = f"no agreement between {issuer} and {provider}"
                raise ValueError(message)
            priced.append((issuer, points, agreement))
        owed: dict[int, int] = {}
        currencies = dict.fromkeys(a.price_per_1000_points.currency for _, _, a in priced if a)
        for currency in currencies:
            rows = [i for i, (_, _, a) in enumerate(priced) if a and a.price_per_1000_points.currency == currency]
            exact = [p * a.price_per_1000_points.minor for i in rows for _, p, a in (priced[i],) if a]
            owed.update(zip(rows, split_total(exact, PRICE_UNIT_POINTS), strict=True))
        return [_debit(*row, owed.get(index, 0)) for index, row in enumerate(priced)]


def _debit(issuer: str, points: int, agreement: Agreement | None, minor: int) -> Debit:
    if agreement is None:
        return Debit(issuer, points)
    return Debit(
        issuer,
        points,
        agreement.id,
        Money(minor, agreement.price_per_1000_points.currency),
        share_by_basis_points(minor, agreement.fee_basis_points),
        share_by_basis_points(minor, agreement.commission_basis_points),
    )
