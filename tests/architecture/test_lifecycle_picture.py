"""The picture of a redemption's life is the table's."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from exchange.agreements import Debit
from exchange.amounts import Money
from exchange.redemption import TRANSITIONS, returned_debits

PAGE = (Path(__file__).parents[2] / "docs" / "redemption.md").read_text()


def test_the_picture_has_the_tables_arrows() -> None:
    """Every transition is drawn, and nothing else is but how a redemption begins."""
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", PAGE, re.MULTILINE))
    told = {(before, after, step) for (before, step), ends in TRANSITIONS.items() for after in ends}
    assert drawn == {(str(before), str(after), str(step)) for before, after, step in told}


def test_the_example_is_what_happens() -> None:
    """Three parts of the worked example come to the figures in the page, and to the whole."""
    rows = [Debit("video", 200, "v", Money(160, "EUR")), Debit("delivery", 133, "d", Money(106, "EUR"))]
    steps = [{}, {"delivery": 111}, {"delivery": 133, "video": 89}, {"delivery": 133, "video": 200}]
    posted = [
        {row.issuer: -row.owed.minor for row in returned_debits(rows, before, after) if row.owed is not None}
        for before, after in pairwise(steps)
    ]
    assert posted == [{"delivery": 88}, {"video": 71, "delivery": 18}, {"video": 89}]
