"""One running demo for all tests that do not stop it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graph.cli.running import Up


@pytest.fixture(scope="session")
def demo() -> Iterator[Up]:
    """Give a running `exchange up --demo`."""
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder, Up(Path(folder, "data"), "--demo") as up:
        yield up


@pytest.fixture(scope="module")
def untouched() -> Iterator[Up]:
    """Give another one, for what tests of other files would change: periods and statements go one way only."""
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder, Up(Path(folder, "data"), "--demo") as up:
        yield up


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a place for files."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture
def data() -> Iterator[Path]:
    """Give a directory still to be made, on disk only as long as the test: a database takes 300 MiB."""
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
        yield Path(folder, "data")


@pytest.fixture
def away(mongo_url: str, database_name: str, data: Path) -> tuple[str, ...]:
    """Give the options of an exchange of the test's own, in a database that runs already."""
    before, _, options = mongo_url.partition("?")
    return ("--mongo-url", f"{before}{database_name}?{options}", "--data", str(data))
