"""What starts a gateway of the suite: the product's own `main`, after the clock was set wrong or a bug was planted.

FAULTS_SKEW_SECONDS: how wrong this process's clock is. FAULTS_PLANT: the name of a bug. The product
knows neither.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from graph.cli.server import main as serve

PLANTS: Final[dict[str, Callable[[], None]]] = {}


def main() -> None:
    """Serve, as `graph.cli.server` does."""
    skew = int(os.environ.get("FAULTS_SKEW_SECONDS", "0"))
    if skew:
        true_time = time.time  # noqa: TID251 - the very clock that is to be wrong
        time.time = lambda: true_time() + skew  # noqa: TID251
    plant = os.environ.get("FAULTS_PLANT")
    if plant:
        PLANTS[plant]()
    serve()
