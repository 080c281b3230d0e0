"""What each partner has laid down for its points and for what goes through it, and what the exchange has for it.

Rules are versioned: a change adds a version, and the last one holds from the next decision on. They are read from the
primary after a command arrived, like agreements, and by the same one number that tells when the book is old.

A partner that never said anything has the rules of `Rules`' defaults.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct, field

from exchange.errors import ValidationFailed

VELOCITY_MAX = 20
"""Most velocity rules of one partner: every redemption is held against all of them."""
WINDOW_SECONDS_MAX = 31 * 24 * 3_600


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


class Rules(Struct, frozen=True, kw_only=True):
    """One partner's. `gift_day_points`: how many of its points a member may give away a day (UTC); 0: none.

    `time_zone`: the one in which days, weeks and months of limits begin. `frozen`: why the exchange has stopped all
    redemptions through the partner, of its benefits and with its points; None: it has not. `frozen_benefits`: pairs of
    a benefit's id and why the exchange has stopped that one.
    """

    partner: str
    version: int = 0
    award_reversal: AwardReversal = AwardReversal.REFUSE
    gift_day_points: int = 0
    time_zone: str = "UTC"
    velocity: tuple[Velocity, ...] = ()
    frozen: str | None = None
    frozen_benefits: tuple[tuple[str, str], ...] = ()
    since: datetime = field(default=datetime.min.replace(tzinfo=UTC))

    @property
    def zone(self) -> tzinfo:
        """The time zone itself."""
        return ZoneInfo(self.time_zone)


class RuleBook:
    """The rules of everybody, as read at one moment."""

    def __init__(self, rules: Iterable[Rules] = ()) -> None:
        self._by_partner: dict[str, Rules] = {}
        for one in sorted(rules, key=lambda each: each.version):
            self._by_partner[one.partner] = one
        # Asked for every lot of every redemption.
        self._frozen = {rules.partner for rules in self._by_partner.values() if rules.frozen is not None}

    def of(self, partner: str) -> Rules:
        """Return a partner's rules."""
        return self._by_partner.get(partner) or Rules(partner=partner)

    def frozen(self, *partners: str) -> bool:
        """Whether the exchange has frozen one of them."""
        return not self._frozen.isdisjoint(partners)

    def frozen_benefit(self, partner: str, benefit: str) -> bool:
        """Whether the exchange has frozen this benefit, or its partner."""
        rules = self.of(partner)
        return rules.frozen is not None or any(one == benefit for one, _ in rules.frozen_benefits)

    def __iter__(self) -> Iterator[Rules]:
        """Go through all that were ever set."""
        return iter(self._by_partner.values())


def validate(rules: Rules) -> None:
    """Refuse (ValidationFailed) rules that cannot be kept."""
    if not 0 <= rules.gift_day_points <= 10**15:
        raise ValidationFailed("must not be negative, nor absurdly high", ("input", "giftDayPoints"))
    try:
        ZoneInfo(rules.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationFailed("must be a time zone such as Europe/Berlin", ("input", "timeZone")) from None
    if len(rules.velocity) > VELOCITY_MAX:
        raise ValidationFailed(f"must be at most {VELOCITY_MAX}", ("input", "velocity"))
    for index, rule in enumerate(rules.velocity):
        at = ("input", "velocity", str(index))
        if not 1 <= rule.window_seconds <= WINDOW_SECONDS_MAX:
            raise ValidationFailed(f"must be 1 to {WINDOW_SECONDS_MAX}", (*at, "windowSeconds"))
        if rule.redemptions_max is None and rule.points_max is None:
            raise ValidationFailed("limits neither redemptions nor points", at)
        if any(limit is not None and limit < 0 for limit in (rule.redemptions_max, rule.points_max)):
            raise ValidationFailed("must not be negative", at)
        if rule.points_from < 0:
            raise ValidationFailed("must not be negative", (*at, "pointsFrom"))
