"""The picture of a redemption's life is the table's."""

from __future__ import annotations

import re
from pathlib import Path

from exchange.redemption import TRANSITIONS

PAGE = (Path(__file__).parents[2] / "docs" / "redemption.md").read_text()


def test_the_picture_has_the_tables_arrows() -> None:
    """Every transition is drawn, and nothing else is but how a redemption begins."""
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", PAGE, re.MULTILINE))
    told = {(before, after, step) for (before, step), ends in TRANSITIONS.items() for after in ends}
    assert drawn == {(str(before), str(after), str(step)) for before, after, step in told}
