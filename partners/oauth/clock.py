"""The one clock of this package.

Everything else in the exchange takes its time from the database, or as a parameter. Tokens cannot: a token is
checked at every request, without a database, and says itself when it ends. So the token services take a
`Clock`; tests give their own, and whoever looks for clocks finds this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since 1970-01-01T00:00:00Z, as JWT's NumericDate (RFC 7519 §2)."""

SKEW_SECONDS = 30
"""How far another machine's clock may be ahead of ours before what it signed is refused."""


def system_clock() -> float:
    """Return the time of this machine."""
    return time.time()  # noqa: TID251  # a token is verified without the database, whose clock rules otherwise
