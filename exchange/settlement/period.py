"""The settlement period: an exact range of blocks, cut without a race.

A period goes OPEN -> CLOSING -> CLOSED, and exactly one is OPEN:

1. *Marked.* In one transaction the period becomes CLOSING and the next one OPEN; allowed only once the period before
   is CLOSED, so no lane is ever more than one period behind. From here no new lane can begin in it, because a new
   lane writes the open period's document together with its first block.
2. *Cut.* Each lane gets a cut block, which names the period that it ends. A lane's owner cuts it before its next
   batch; idle and dead lanes are cut by whoever closes. Either way the cut is inserted at the seq after the lane's
   head, so of two one wins; the loser reads the new head and goes on behind it. What is before the cut is in the
   period, what is behind it in the next: each block, hence each entry, is in exactly one, and nothing asks a clock.
3. *Sealed.* When every lane is cut the period is CLOSED, with the range of blocks per lane and their `root`.
4. *Drafted.* The partners' statements are drafted.

It is SETTLED when all of them are paid (`signoff`). Nothing in it is changed by that.

Every step finds out what is already done, so any process can go on where another died, and closing again does
nothing. (One transaction over all heads was the alternative; it starves against busy lanes.)

Pure: the values and their hashes. `clearing` walks the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from exchange.journal import Block, canonical, leaf_hash, merkle_root


class PeriodStatus(StrEnum):
    """Where a period stands."""

    OPEN = "OPEN"
    CLOSING = "CLOSING"
    CLOSED = "CLOSED"
    SETTLED = "SETTLED"


class Range(Struct, frozen=True):
    """A lane's blocks in a period: from `first` to the cut at `last`, whose hash covers all before it."""

    lane: int
    first: int
    last: int
    cut: str

    def leaf(self, period: int) -> bytes:
        """Return its leaf under the period's root."""
        content = {"cut": self.cut, "first": self.first, "lane": self.lane, "last": self.last, "period": period}
        return leaf_hash(canonical(content))


class Period(Struct, frozen=True, kw_only=True):
    """One period. `marked_at`: when it became CLOSING; `statements`: how many were drafted, None until all are.

    `settled_at`: when the last of its statements was paid, and it became SETTLED. One without statements stays CLOSED.

    `root` is the Merkle root over `ranges`, by lane; a lane that began in a later period has no range.
    """

    number: int
    status: PeriodStatus
    opened_at: datetime
    marked_at: datetime | None = None
    closed_at: datetime | None = None
    ranges: tuple[Range, ...] = ()
    root: str | None = None
    statements: int | None = None
    settled_at: datetime | None = None

    @property
    def closed(self) -> bool:
        """Whether its figures are final: from its closing on."""
        return self.status in (PeriodStatus.CLOSED, PeriodStatus.SETTLED)

    @property
    def id(self) -> str:
        """Its identity: the number."""
        return str(self.number)


def ranges(cuts: Iterable[Block], before: Mapping[int, int], begun: Iterable[int]) -> tuple[Range, ...]:
    """Return the ranges that these cuts end, by lane.

    `before`: per lane, the last seq of the period before; `begun`: the lanes that began in this one. ValueError unless
    each of them, and nothing else, is cut.
    """
    first = {**{lane: last + 1 for lane, last in before.items()}, **dict.fromkeys(begun, 0)}
    last = {cut.lane: cut for cut in cuts}
    if first.keys() != last.keys():
        message = f"not every lane is cut: {sorted(first.keys() ^ last.keys())}"
        raise ValueError(message)
    return tuple(Range(lane, first[lane], cut.seq, cut.hash) for lane, cut in sorted(last.items()))


def period_root(number: int, cut: Iterable[Range]) -> str:
    """Return the hex root over every lane's range, in the order of lanes."""
    return merkle_root([each.leaf(number) for each in cut]).hex()
