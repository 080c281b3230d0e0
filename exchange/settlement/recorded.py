"""A netting that is recorded: of a closed period, once, never changed, and each takes in what the one before carries.

Rule 1. A recorded netting keeps what it was made *of*, not what came of it: the period's root and the policy; and what
others go on with, its payments and what it carries to the next. The figures and the certificate are made anew of the
journal whenever somebody asks, and must have the hash that was recorded. A signature is not the same twice, so it is
kept, with the keys that were published then.
Rule 2. What is carried is lost by nobody. Nettings are recorded in the order of their periods, each names the one that
it follows, and its opening is what that one carries. A period may be left out, but only where nothing is carried:
else the amounts would stay with a netting that nothing follows.
Rule 3. What a netting is made under is the *standing policy*, but for what is wished otherwise this once. Its versions
are added, never changed; a netting goes by the one that is in force when it is made, and copies what it says.
Rule 4. A period is paid in one way. Once one of its statements is instructed (`signoff`, rule 3) no netting of it is
recorded; nor is one of a period before that carries something, because it would be carried into what is paid without.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from msgspec import Struct

from exchange.errors import ValidationFailed
from exchange.settlement.barter import Balance
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import Netted, PlanKind, Policy
from exchange.settlement.netting import Payment
from exchange.settlement.period import Period

_PERIOD = ("input", "period")


class Carried(Struct, frozen=True, kw_only=True):
    """All that a netting hands to that of the next period: what is carried, and what is used of barters."""

    payments: tuple[Payment, ...] = ()
    balances: tuple[Balance, ...] = ()

    @classmethod
    def by(cls, netted: Netted) -> Carried:
        """Return what a netting carries."""
        return cls(payments=netted.carried, balances=netted.carried_balances)

    @property
    def nothing(self) -> bool:
        """Whether nobody would lose anything without it."""
        return not self.payments and not self.balances


class RecordedNetting(Struct, frozen=True, kw_only=True):
    """A period's netting. `follows`: the period of the one recorded before it, 0 for the first.

    `keys` and `signature`: of the certificate; `hash`: the SHA-256 of all its bytes. `standing`: which version of the
    standing policy it went by, 0 for none. `actor`, `at`: who recorded it, and when.

    `payments`: what is due by it, which statements of the period are instructed by.
    """

    period: int
    root: str
    follows: int
    policy: Policy
    standing: int
    carried: Carried
    payments: tuple[Payment, ...]
    keys: Mapping[str, Any]
    signature: str
    hash: str
    actor: str
    at: datetime
    key: str
    fingerprint: str


class Opening(Struct, frozen=True, kw_only=True):
    """What a netting takes in. `after`: the hash of the certificate that carried it; `follows`: of which period."""

    carried: Carried = Carried()
    after: str | None = None
    follows: int = 0


def opening(number: int, last: RecordedNetting | None) -> Opening:
    """Return what the netting of a period takes in, when `last` is the one recorded before it."""
    if last is None:
        return Opening()
    # A certificate names no other than that of the period just before: where one was left out, nothing is carried.
    after = last.hash if last.period == number - 1 else None
    return Opening(carried=last.carried, after=after, follows=last.period)


def check_turn(period: Period, own: RecordedNetting | None, last: RecordedNetting | None) -> None:
    """Refuse (ValidationFailed) to record a netting of this period, when it has its `own`, or behind the last."""
    number = period.number
    if not period.closed or period.statements is None:
        raise ValidationFailed(f"period {number} is not closed with all its statements: that comes first", _PERIOD)
    if own is not None:
        raise ValidationFailed(f"the netting of period {number} is recorded already", _PERIOD)
    if last is None or last.period == number - 1:
        return
    if last.period > number:
        message = f"the netting of period {last.period} is recorded, and took in nothing of period {number}"
        raise ValidationFailed(message, _PERIOD)
    if not last.carried.nothing:
        message = (
            f"what the netting of period {last.period} carries would be lost: record period {last.period + 1} first"
        )
        raise ValidationFailed(message, _PERIOD)


def check_unpaid(netting: RecordedNetting, instructed: str) -> None:
    """Refuse (ValidationFailed) to record a netting: this statement, of its period or a later one, is instructed."""
    number = netting.period
    why = f"no netting can be recorded of period {number}"
    if int(instructed.partition(":")[0]) > number:
        why = f"what the netting of period {number} carries would never be paid"
    raise ValidationFailed(f"statement {instructed} is instructed already: {why}", _PERIOD)


# ---------------------------------------------------------------- the standing policy


class StandingPolicy(Struct, frozen=True, kw_only=True):
    """One version of how periods are netted unless somebody wishes otherwise; in force since it was set.

    `settle`: who settles in which currency; by which fix, each netting says.
    """

    plan: PlanKind = PlanKind.EXCHANGE
    minimums: Mapping[str, int] = {}
    groups: Mapping[str, tuple[str, ...]] = {}
    settle: Mapping[str, str] = {}
    version: int = 0
    since: datetime = datetime.min.replace(tzinfo=UTC)
    actor: str = ""

    def check(self) -> None:
        """Refuse (ValidationFailed) what contradicts itself, whichever fix it will be."""
        some = Fix(id="", base="EUR", date=date.min, rates={}) if self.settle else None
        Policy(plan=self.plan, minimums=self.minimums, groups=self.groups, settle=self.settle, fix=some)

    @property
    def partners(self) -> set[str]:
        """Whom it names."""
        return {*self.groups, *self.settle}.union(*self.groups.values())


class Wish(Struct, frozen=True, kw_only=True):
    """What is wished of one netting; None: as the standing policy says."""

    plan: PlanKind | None = None
    minimums: Mapping[str, int] | None = None
    groups: Mapping[str, tuple[str, ...]] | None = None
    without: frozenset[str] = frozenset()
    settle: Mapping[str, str] | None = None
    fix: Fix | None = None

    def under(self, standing: StandingPolicy) -> Policy:
        """Return the policy that it makes of the standing one; ValidationFailed for what contradicts itself."""
        groups = standing.groups if self.groups is None else self.groups
        # Who is taken out settles nothing, in no currency.
        settle = standing.settle if self.settle is None else self.settle
        if self.settle is None:
            settle = {party: currency for party, currency in settle.items() if party not in self.without}
        if settle and self.fix is None:
            raise ValidationFailed(f"{', '.join(sorted(settle))}: by which fix is it converted?", ("input", "fix"))
        return Policy(
            plan=self.plan or standing.plan, groups=groups, without=self.without, settle=settle, fix=self.fix,
            minimums=standing.minimums if self.minimums is None else self.minimums,
        )  # fmt: skip
