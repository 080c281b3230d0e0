"""What each partner has laid down for its points and for what goes through it, and what the exchange has for it.

Rules are versioned: a change adds a version, and the last one holds from the next decision on. They are read from the
primary after a command arrived, like agreements, and by the same one number that tells when the book is old.

A partner that never said anything has the rules of `Rules`' defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct, field
from msgspec.structs import replace

from exchange.amounts import POINTS_MAX
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE

VELOCITY_MAX = 20
"""Most velocity rules of one partner: every redemption is held against all of them."""
FROZEN_BENEFITS_MAX = 1_000
"""Most benefits of one partner that are frozen one by one: they stand in every version of its rules."""
WINDOW_SECONDS_MAX = 31 * 24 * 3_600
COUNT_MAX = 2**31 - 1
"""Counts are GraphQL Ints."""


class AwardReversal(StrEnum):
    """What an issuer wants when it reverses an award of which a part is spent."""

    REFUSE = "REFUSE"
    TAKE_WHAT_IS_LEFT = "TAKE_WHAT_IS_LEFT"
    DEBT = "DEBT"


class Velocity(Struct, frozen=True, kw_only=True):
    """How fast one member may redeem: at most so many redemptions, or points, in any `window_seconds`.

    It counts the redemptions through the partner whose rule it is and of its benefits (the exchange's: all), and
    where that is said only those of one `benefit` (its id), or of at least `points_from` points each.
    """

    window_seconds: int
    redemptions_max: int | None = None
    points_max: int | None = None
    benefit: str | None = None
    points_from: int = 0

    @property
    def window(self) -> timedelta:
        """How far back it looks."""
        return timedelta(seconds=self.window_seconds)


class FrozenBenefit(NamedTuple):
    """A benefit (its id) that the exchange has frozen, and why."""

    benefit: str
    reason: str

    @property
    def sku(self) -> str:
        """Its partner's own name for it."""
        return self.benefit.partition("/")[2]


class Rules(Struct, frozen=True, kw_only=True):
    """One partner's. `gift_day_points`: how many of its points a member may give away a day (UTC); 0: none.

    `time_zone`: the one in which days, weeks and months of limits begin. `frozen`: why the exchange has stopped all
    redemptions through the partner, of its benefits and with its points; None: it has not. `frozen_benefits`: those of
    its benefits that the exchange has stopped one by one. `actor` and `reason`: who made this version, and why, where
    they said so.
    """

    partner: str
    version: int = 0
    award_reversal: AwardReversal = AwardReversal.REFUSE
    gift_day_points: int = 0
    time_zone: str = "UTC"
    velocity: tuple[Velocity, ...] = ()
    frozen: str | None = None
    frozen_benefits: tuple[FrozenBenefit, ...] = ()
    since: datetime = field(default=datetime.min.replace(tzinfo=UTC))
    actor: str | None = None
    reason: str | None = None

    @property
    def zone(self) -> tzinfo:
        """The time zone itself."""
        return ZoneInfo(self.time_zone)

    def says(self, other: Rules) -> bool:
        """Whether another version lays down the same."""
        unmade = {"version": 0, "since": self.since, "actor": None, "reason": None}
        return replace(self, **unmade) == replace(other, **unmade)

    def freezing(self, reason: str | None) -> Rules:
        """Return the rules with the partner frozen for a reason, or going on without one."""
        return replace(self, frozen=reason)

    def freezing_benefit(self, benefit: str, reason: str | None) -> Rules:
        """Return the rules with one benefit frozen for a reason, or going on without one; too many are refused."""
        frozen = [one for one in self.frozen_benefits if one.benefit != benefit]
        if reason is not None:
            if len(frozen) >= FROZEN_BENEFITS_MAX:
                message = f"{FROZEN_BENEFITS_MAX} benefits of {self.partner} are frozen already: freeze the partner"
                raise ValidationFailed(message, ("input", "benefit"))
            frozen.append(FrozenBenefit(benefit, reason))
        return replace(self, frozen_benefits=tuple(sorted(frozen)))


class RuleBook:
    """The rules of everybody, as read at one moment."""

    def __init__(self, rules: Iterable[Rules] = ()) -> None:
        self._by_partner: dict[str, Rules] = {}
        for one in sorted(rules, key=lambda each: each.version):
            self._by_partner[one.partner] = one
        # Asked for every lot of every redemption.
        self._frozen = {rules.partner for rules in self._by_partner.values() if rules.frozen is not None}
        # Asked for every benefit of a page.
        self._frozen_benefits = {
            (rules.partner, one.benefit) for rules in self._by_partner.values() for one in rules.frozen_benefits
        }

    def of(self, partner: str) -> Rules:
        """Return a partner's rules."""
        return self._by_partner.get(partner) or Rules(partner=partner)

    def frozen(self, *partners: str) -> bool:
        """Whether the exchange has frozen one of them."""
        return not self._frozen.isdisjoint(partners)

    def frozen_benefit(self, partner: str, benefit: str) -> bool:
        """Whether the exchange has frozen this benefit, or its partner."""
        return partner in self._frozen or (partner, benefit) in self._frozen_benefits

    def __iter__(self) -> Iterator[Rules]:
        """Go through all that were ever set."""
        return iter(self._by_partner.values())


def validate(rules: Rules) -> None:
    """Refuse (ValidationFailed) rules that cannot be kept."""
    if rules.partner == EXCHANGE:
        _validate_the_exchanges(rules)
    if not 0 <= rules.gift_day_points <= 10**15:
        raise ValidationFailed("must not be negative, nor absurdly high", ("input", "giftDayPoints"))
    try:
        ZoneInfo(rules.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationFailed("must be a time zone such as Europe/Berlin", ("input", "timeZone")) from None
    if len(rules.velocity) > VELOCITY_MAX:
        raise ValidationFailed(f"must be at most {VELOCITY_MAX}", ("input", "velocity"))
    for index, rule in enumerate(rules.velocity):
        _validate_velocity(rule, ("input", "velocity", str(index)))


def _validate_the_exchanges(rules: Rules) -> None:
    """Refuse what is of no use to the exchange, which issues no points and provides no benefits."""
    mine, plain = Rules(partner=EXCHANGE), "is for partners, not for the exchange"
    for name, camel in (
        ("award_reversal", "awardReversal"), ("gift_day_points", "giftDayPoints"), ("time_zone", "timeZone"),
    ):  # fmt: skip
        if getattr(rules, name) != getattr(mine, name):
            raise ValidationFailed(plain, ("input", camel))


def _validate_velocity(rule: Velocity, at: tuple[str, ...]) -> None:
    if not 1 <= rule.window_seconds <= WINDOW_SECONDS_MAX:
        raise ValidationFailed(f"must be 1 to {WINDOW_SECONDS_MAX}", (*at, "windowSeconds"))
    if rule.redemptions_max is None and rule.points_max is None:
        raise ValidationFailed("limits neither redemptions nor points", at)
    for limit, name, most in (
        (rule.redemptions_max, "redemptionsMax", COUNT_MAX), (rule.points_max, "pointsMax", POINTS_MAX),
        (rule.points_from, "pointsFrom", POINTS_MAX),
    ):  # fmt: skip
        if limit is not None and not 0 <= limit <= most:
            raise ValidationFailed("must not be negative, nor absurdly high", (*at, name))
