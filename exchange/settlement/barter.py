"""Barter: two partners let each other's points in, quota against quota, and pay money only for the difference.

A barter changes nothing about a redemption: it is priced, owed and entered in the journal as ever. It is kept when a
period is netted.

Rule 1. *Quota.* Of what one partner's points have cost it at the other in a period (the points alone: fees and
commissions are money) so much is settled *in kind* as its quota has left. That is taken out of both positions, and
counted as used. What is beyond the quota is money, as always.
Rule 2. *Return.* Where more was reversed in a period than redeemed, what was used before becomes free again, and only
what is more than that is money. So no more is ever used than the quota, nor less than nothing.
Rule 3. *Which periods.* One belongs to a barter whole or not at all, as its blocks are summed whole: if it was opened
at `since` or later, and before `until`. So a quarter that is bartered has the periods that begin in it.
Rule 4. *The difference.* The *balance* is what one has used, less what the other has. Nobody owes it, until the first
period that is cut at `until` or later is netted: then who has used more owes it, as if it had been carried. So what was
settled in kind, what was paid, and the difference are together what was owed, to the minor unit.
Rule 5. *Several* between the same two, in the same currency, are used in the order in which they end.
Rule 6. *Taken out.* While a partner that does not pay is taken out of a netting, its barters stand still: what would
have used them is out too, and the balance stays as it is. If one ends just then, its difference goes out with that
partner, as all that was owed to it or by it.

A barter's terms are never changed. Who ends it early adds a version with an earlier `until`, and that is from then on.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct

from exchange.amounts import MINOR_MAX, Money, exponent
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE, Obligation, Owed, Sums, milliseconds
from exchange.settlement.netting import Payment


class Barter(Struct, frozen=True, kw_only=True):
    """The terms. `one_quota`: how much, in minor units, the points of `one` may cost it at `other` in kind."""

    id: str
    one: str
    other: str
    currency: str
    one_quota: int
    other_quota: int
    since: datetime
    until: datetime

    def check(self) -> None:
        """Refuse (ValidationFailed) what nobody could keep."""
        try:
            exponent(self.currency)
        except ValueError as error:
            raise ValidationFailed(str(error), ("input", "currency")) from None
        if EXCHANGE in (self.one, self.other):
            raise ValidationFailed("the exchange barters with nobody", ("input", "one"))
        if self.one == self.other:
            raise ValidationFailed("a barter is between two partners", ("input", "other"))
        for name, quota in (("one", self.one_quota), ("other", self.other_quota)):
            if not 1 <= quota <= MINOR_MAX:
                raise ValidationFailed("must be more than nothing, and not absurdly high", ("input", name, "quota"))
        if self.until <= self.since:
            raise ValidationFailed("must be later than its beginning", ("input", "until"))

    def told(self) -> list[str]:
        """Return the terms in the form in which they are signed."""
        quotas = (str(self.one_quota), str(self.other_quota))
        return [
            self.id,
            self.one,
            self.other,
            self.currency,
            *quotas,
            milliseconds(self.since),
            milliseconds(self.until),
        ]

    @classmethod
    def of(cls, told: Sequence[str]) -> Barter:
        """Return the terms that were told; ValueError if they were not."""
        identity, one, other, currency, one_quota, other_quota, since, until = told
        return cls(
            id=identity, one=one, other=other, currency=currency, one_quota=int(one_quota),
            other_quota=int(other_quota), since=datetime.fromisoformat(since), until=datetime.fromisoformat(until),
        )  # fmt: skip


class Stage(StrEnum):
    """Where a barter stands."""

    TO_COME = "TO_COME"
    IN_FORCE = "IN_FORCE"
    ENDED = "ENDED"


class Version(Struct, frozen=True, kw_only=True):
    """One version of a barter: who added it and when. `reference`: of the contract, in somebody's books."""

    barter: Barter
    version: int
    reference: str
    actor: str
    at: datetime

    def stage(self, now: datetime) -> Stage:
        """Return where it stands."""
        if now < self.barter.since and self.barter.since < self.barter.until:
            return Stage.TO_COME
        return Stage.IN_FORCE if self.barter.since <= now < self.barter.until else Stage.ENDED


class Bartering(Struct, frozen=True, kw_only=True):
    """What a period's netting has to know: when the period was `opened` and `cut`, and the terms that concern it.

    An open period is cut at the moment when somebody asks for its figures.
    """

    opened: datetime
    cut: datetime
    barters: tuple[Barter, ...]

    def told(self) -> dict[str, Any]:
        """Return it in the form in which it is signed."""
        terms = [barter.told() for barter in self.barters]
        return {"cut": milliseconds(self.cut), "opened": milliseconds(self.opened), "terms": terms}

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Bartering | None:
        """Return what was told; ValueError if it was not."""
        if told is None:
            return None
        return cls(
            opened=datetime.fromisoformat(told["opened"]), cut=datetime.fromisoformat(told["cut"]),
            barters=tuple(Barter.of(each) for each in told["terms"]),
        )  # fmt: skip

    def counts(self, barter: Barter) -> bool:
        """Whether the period belongs to a barter (rule 3)."""
        return barter.since <= self.opened < barter.until

    def ends(self, barter: Barter) -> bool:
        """Whether the difference is due in the period's netting (rule 4)."""
        return barter.until <= self.cut


class Balance(NamedTuple):
    """What is used of a barter's quotas. It is carried from netting to netting until the barter has ended."""

    barter: str
    one_used: int
    other_used: int


class Bartered(NamedTuple):
    """What became of a barter in a netting: what was settled in kind, and what is used by now.

    `due`: what `one` owes `other` for the difference (negative: is owed), None as long as the barter goes on.
    """

    barter: Barter
    one_in_kind: int
    other_in_kind: int
    one_used: int
    other_used: int
    due: int | None

    @property
    def balance(self) -> Balance:
        """What is used by now."""
        return Balance(self.barter.id, self.one_used, self.other_used)

    def sides(self) -> tuple[Side, Side]:
        """Return it as each of the two sees it."""
        barter, currency = self.barter, self.barter.currency
        rows = (
            (barter.one, barter.other, barter.one_quota, self.one_in_kind, self.one_used),
            (barter.other, barter.one, barter.other_quota, self.other_in_kind, self.other_used),
        )
        return _side(*rows[0], currency), _side(*rows[1], currency)

    @property
    def difference(self) -> Money:
        """What `one` has used, less what `other` has: the balance."""
        return Money(self.one_used - self.other_used, self.barter.currency)

    def payment(self) -> Payment | None:
        """Return the difference that is due, as what one of them owes the other; None for none."""
        if not self.due:
            return None
        one, other = (self.barter.one, self.barter.other) if self.due > 0 else (self.barter.other, self.barter.one)
        return Payment(from_=one, to=other, amount=Money(abs(self.due), self.barter.currency))


class Seen(NamedTuple):
    """A version, where it stands, and what is used by the last recorded netting; None once it may have been settled."""

    version: Version
    stage: Stage
    balance: Balance | None

    @property
    def so_far(self) -> Bartered:
        """What has become of it, with nothing of it new."""
        _, one, other = self.balance or Balance("", 0, 0)
        return Bartered(self.version.barter, 0, 0, one, other, None)


class Side(NamedTuple):
    """One direction of a barter: what the points of `issuer` took at `provider`."""

    issuer: str
    provider: str
    quota: Money
    in_kind: Money
    used: Money
    left: Money


def _side(issuer: str, provider: str, quota: int, in_kind: int, used: int, currency: str) -> Side:
    amounts = (quota, in_kind, used, quota - used)
    return Side(issuer, provider, *(Money(minor, currency) for minor in amounts))


def concerning(
    barters: Iterable[Barter], opened: datetime, cut: datetime, balances: Iterable[Balance]
) -> Bartering | None:
    """Return what concerns the netting of a period, of all barters by their last versions; None for nothing.

    ValidationFailed when a balance is carried of a barter that is not there.
    """
    known = {barter.id: barter for barter in barters}
    carried = {balance.barter for balance in balances}
    for strange in sorted(carried - known.keys()):
        raise ValidationFailed(f"a balance is carried of the barter {strange}, which is not known here")
    all_of_it = Bartering(opened=opened, cut=cut, barters=tuple(known.values()))
    some = [each for each in all_of_it.barters if each.id in carried or all_of_it.counts(each)]
    return Bartering(opened=opened, cut=cut, barters=in_order(some)) if some else None


def in_order(barters: Iterable[Barter]) -> tuple[Barter, ...]:
    """Return barters in the order in which they are used (rule 5)."""
    return tuple(sorted(barters, key=lambda barter: (barter.until, barter.id)))


def kept(
    bartering: Bartering | None, sums: Sums, balances: Iterable[Balance], without: Collection[str] = ()
) -> list[Bartered]:
    """Return what becomes of each barter, of what a period's blocks add up to and what was used before."""
    if bartering is None:
        return []
    before = {balance.barter: balance for balance in balances}
    owed: dict[tuple[str, str, str], int] = {}
    for obligation, figures in sums.money.items():
        way = (obligation.issuer, obligation.provider, obligation.currency)
        owed[way] = owed.get(way, 0) + figures.gross_minor
    bartered = []
    for barter in in_order(bartering.barters):
        _, one_used, other_used = before.get(barter.id, Balance(barter.id, 0, 0))
        stands_still = barter.one in without or barter.other in without
        one = other = 0
        if bartering.counts(barter) and not stands_still:
            one = _take(owed, (barter.one, barter.other, barter.currency), one_used, barter.one_quota)
            other = _take(owed, (barter.other, barter.one, barter.currency), other_used, barter.other_quota)
        one_used, other_used = one_used + one, other_used + other
        due = one_used - other_used if bartering.ends(barter) else None
        bartered.append(Bartered(barter, one, other, one_used, other_used, due))
    return bartered


def _take(owed: dict[tuple[str, str, str], int], way: tuple[str, str, str], used: int, quota: int) -> int:
    """Settle in kind as much of what is owed as there is quota, and return how much."""
    in_kind = max(-used, min(owed.get(way, 0), quota - used))
    if in_kind:
        owed[way] -= in_kind
    return in_kind


def in_money(sums: Sums, bartered: Iterable[Bartered]) -> Sums:
    """Return the obligations without what is settled in kind."""
    left = Sums()
    left.add(Sums(money=sums.money))
    for row in bartered:
        for side in row.sides():
            if side.in_kind.minor:
                way = Obligation(side.issuer, side.provider, side.provider, side.in_kind.currency)
                left.add(Sums(money={way: Owed(gross_minor=-side.in_kind.minor)}))
    return left
