"""When the exchange had stopped whose points: what every version of the rules says of it.

A stop is seen a moment before or after it was recorded, as an agreement is. So within that time of its beginning or end
nobody can tell whether a decision knew of it, and it is held neither for nor against one.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from exchange.rules import Rules

RECORDED_WITHIN = timedelta(minutes=1)
"""Terms hold at the earliest from when they were added, but may be seen a moment later. What began within this time
before a redemption is not held against it."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class Stops:
    """The times for which the exchange has frozen partners."""

    def __init__(self, versions: Iterable[Rules] = ()) -> None:
        self._times: dict[str, list[tuple[datetime, datetime]]] = {}
        by_partner: dict[str, list[Rules]] = {}
        for rules in sorted(versions, key=lambda one: one.version):
            by_partner.setdefault(rules.partner, []).append(rules)
        for partner, history in by_partner.items():
            self._times[partner] = [
                (rules.since, until) for rules, until in _with_ends(history) if rules.frozen is not None
            ]

    def possible(self, partner: str, at: datetime) -> bool:
        """Whether a decision at that moment may have found the partner frozen."""
        return any(
            since <= at + RECORDED_WITHIN and at - RECORDED_WITHIN < until
            for since, until in self._times.get(partner, ())
        )


def _with_ends(history: Sequence[Rules]) -> list[tuple[Rules, datetime]]:
    """Return versions, each with the moment at which the next one replaced it."""
    return [*((one, after.since) for one, after in pairwise(history)), (history[-1], _NEVER)]
