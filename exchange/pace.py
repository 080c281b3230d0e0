"""How long what waits will take, by how it went of late: what somebody is told who finds the queue full.

The measure is the batch, not the command: a batch of one takes nearly as long as a full one, so an idle hour would make
a full queue look slow. A batch that is still in flight counts as soon as it takes longer than the ones before it; so a
database that hangs is noticed while it hangs.
"""

from __future__ import annotations

from math import ceil

_WEIGHT = 1 / 8
"""Of the newest batch: a pause is soon forgotten, and one slow commit is not yet a slow database."""


class Pace:
    """The time a batch takes, smoothed. Times are of any one clock that only goes forward, in seconds."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._began: float | None = None

    def begin(self, now: float) -> None:
        """Note that a batch is being settled."""
        self._began = now

    def end(self, now: float) -> None:
        """Note that it has been."""
        if self._began is not None:
            self._seconds += (now - self._began - self._seconds) * _WEIGHT
        self._began = None

    def retry_seconds(self, batches: float, now: float, at_most: float) -> int:
        """Return when to come again while so many batches wait: whole seconds (RFC 9110 §10.2.3), at least one."""
        flying = 0.0 if self._began is None else now - self._began
        return max(1, ceil(min(at_most, batches * max(self._seconds, flying))))
