"""What all tests of faults need."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def forgotten_sockets() -> Iterator[None]:
    """Find here, where it is expected, what a driver forgets to close that was cut off while it was connecting."""
    yield
    gc.collect()
