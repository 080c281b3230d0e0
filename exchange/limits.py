"""How much one member may take: of a benefit in a day, a week, a month; and how fast, by anybody's rules.

Both are counted from the member's own redemptions, not from counters: so a limit that is changed holds at once for
what was taken before, and what is given back no longer counts. They are read after the wallet, and the commit writes
the wallet under the version that was read; every change of a redemption writes its wallet too. So nothing can come
between.

A limit per period counts units that the member still has, in the calendar of the provider's time zone (a week begins
on Monday, ISO 8601). A rule of velocity counts every redemption that was begun, whatever became of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from exchange.benefit import Benefit, LimitPeriod
from exchange.journal import EXCHANGE
from exchange.redemption import Redemption, RedemptionStatus
from exchange.rules import RuleBook, Rules, Velocity

LOOK_BACK_MAX = timedelta(days=32)
"""No limit looks back further: a month, and a time zone's day."""

ENDED_UNTAKEN = (RedemptionStatus.CANCELLED, RedemptionStatus.EXPIRED, RedemptionStatus.FAILED)


def period_start(period: LimitPeriod, partner: str, rules: RuleBook, now: datetime) -> datetime | None:
    """Return when the period that `now` is in began, by the clocks of that partner; None: it always was."""
    if period is LimitPeriod.EVER:
        return None
    local = now.astimezone(rules.of(partner).zone)
    days = {LimitPeriod.DAY: 0, LimitPeriod.WEEK: local.weekday(), LimitPeriod.MONTH: local.day - 1}[period]
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) - timedelta(days=days)
    return midnight.astimezone(UTC)


def look_back(benefits: Iterable[Benefit], rules: RuleBook, now: datetime) -> datetime | None:
    """Return since when a member's redemptions have to be known to decide about these benefits; None: not at all."""
    starts = [now - rule.window for each in rules for rule in each.velocity]
    starts += [
        start
        for benefit in benefits
        if benefit.member_limit is not None
        and (start := period_start(benefit.member_limit_period, benefit.partner, rules, now)) is not None
    ]
    return min(starts, default=None)


def taken(benefit: Benefit, ever: int, recent: Sequence[Redemption], rules: RuleBook, now: datetime) -> int:
    """Return the units that count against the benefit's limit: of its period, or `ever`."""
    start = period_start(benefit.member_limit_period, benefit.partner, rules, now)
    if start is None:
        return ever
    return sum(
        one.left
        for one in recent
        if one.benefit == benefit.id and one.created_at >= start and one.status not in ENDED_UNTAKEN
    )


def too_fast(
    benefit: Benefit, channel: str, points: int, recent: Sequence[Redemption], rules: RuleBook, now: datetime
) -> bool:
    """Whether one more redemption, of so many points, would be more than somebody's rules of velocity allow."""
    wanted = _Begun(benefit.id, benefit.partner, channel, points)
    return any(
        _applies(each, rule, wanted) and _exceeds(each, rule, wanted, recent, now)
        for each in rules
        for rule in each.velocity
    )


class _Begun(NamedTuple):
    benefit: str
    provider: str
    channel: str
    points: int


def _applies(rules: Rules, rule: Velocity, begun: _Begun) -> bool:
    concerned = rules.partner in (EXCHANGE, begun.provider, begun.channel)
    return concerned and rule.benefit in (None, begun.benefit) and begun.points >= rule.points_from


def _exceeds(rules: Rules, rule: Velocity, wanted: _Begun, recent: Sequence[Redemption], now: datetime) -> bool:
    counted = [wanted]
    for one in recent:
        begun = _Begun(one.benefit, one.provider, one.channel, one.points)
        if one.created_at > now - rule.window and _applies(rules, rule, begun):
            counted.append(begun)
    many = rule.redemptions_max is not None and len(counted) > rule.redemptions_max
    return many or (rule.points_max is not None and sum(one.points for one in counted) > rule.points_max)
