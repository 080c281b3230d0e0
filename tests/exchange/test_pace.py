from __future__ import annotations

import pytest

from exchange.pace import Pace


def paced(*batches: float) -> Pace:
    """Return the pace after batches that took so many seconds, one behind the other."""
    pace, now = Pace(), 0.0
    for seconds in batches:
        pace.begin(now)
        now += seconds
        pace.end(now)
    return pace


@pytest.mark.parametrize(
    ("batches", "waiting", "wait"),
    [
        ([], 32, 1),  # nothing is known yet
        ([0.02] * 50, 32, 1),  # 0.64 seconds are told as one
        ([0.2] * 50, 32, 7),  # 6.4
        ([0.2] * 50, 1, 1),
        ([0.2] * 50 + [0.02] * 50, 32, 1),  # what was is forgotten
        ([0.02] * 50 + [1], 32, 5),  # one slow batch of a second counts an eighth: 0.1425 each
        ([2.0] * 50, 32, 20),  # never longer than anybody who waits would
    ],
)
def test_the_wait_is_that_of_what_waits_at_the_pace_of_late(batches: list[float], waiting: int, wait: int) -> None:
    """Whole seconds, at least one, from the smoothed time of a batch."""
    assert paced(*batches).retry_seconds(waiting, now=1_000, at_most=20) == wait


def test_a_batch_that_hangs_is_noticed_while_it_hangs() -> None:
    """Whoever is turned away the later hears the longer wait, and once it is over the old pace all but returns."""
    pace = paced(*[0.01] * 50)
    pace.begin(1_000)
    assert [pace.retry_seconds(32, 1_000 + late, at_most=20) for late in (0, 0.1, 0.25, 5)] == [1, 4, 8, 20]
    pace.end(1_000.1)
    assert pace.retry_seconds(32, 1_001, at_most=20) == 1
