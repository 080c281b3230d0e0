"""Something there is only so much of, and many lanes that take from it: each has a slice of its own.

What all lanes write is a document at which they meet, and then the rivals of a popular benefit, or of a partner near
its cap, abort each other all day. So it lies in a *pool*, and a lane draws a *slice* of it, some more than it needs
now. From its slice a lane takes without meeting anybody. When the pool is dry, what other lanes have left comes back,
whether they live or not: the last unit can be taken by any lane, and what a dead one had drawn is not lost.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping


def called_in(free: int, lefts: Mapping[int, int], needed: int) -> dict[int, int]:
    """Return what comes back from lanes, by lane, until so much is free as is needed, as far as they have it left.

    From the richest first: half of what it has, or all that is needed.
    """
    taken = {}
    for lane, left in sorted(lefts.items(), key=lambda item: -item[1]):
        if free >= needed or left <= 0:
            break
        taken[lane] = min(left, max(needed - free, left // 2))
        free += taken[lane]
    return taken


def drawn(free: int, lefts: Mapping[int, int], lane: int, wish: int, generosity: int) -> tuple[int, dict[int, int]]:
    """Return what a lane that wants `wish` in all gets more, and what other lanes give back for it.

    First from what is free, of the rest of which it gets one part in `generosity` besides: few draws, and no lane
    takes all (1: all).
    """
    short = max(0, wish - lefts.get(lane, 0))
    back = called_in(free, {other: left for other, left in lefts.items() if other != lane}, short)
    free += sum(back.values())
    grant = max(0, min(short, free))
    return grant + max(0, free - short) // generosity, back
