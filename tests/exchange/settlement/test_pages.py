"""Pages of a long statement: the last costs what the first does."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from exchange.settlement.statement import Place, StatementLine
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.scribe import long_statement

PAGE = 100


class Cost(NamedTuple):
    """What the database looked at for a page."""

    keys: int
    documents: int


@pytest.mark.parametrize(
    "entries", [5_000, pytest.param(100_000, marks=pytest.mark.slow)], ids=["5,000", "100,000"]
)  # fmt: skip
async def test_the_last_page_costs_what_the_first_does(world: World, entries: int) -> None:
    """Wherever a page is cut, the database examines about as many keys as the page has entries, and sorts nothing."""
    statement = await long_statement(world, entries)
    settlement = world.settle()
    places = [line.place async for line in await settlement.all_lines(statement)]
    assert len(places) == statement.line_count
    costs = []
    for behind in (None, places[len(places) // 2], places[-PAGE - 1]):
        page, cost = await _watched(world, statement, behind)
        first = 0 if behind is None else places.index(behind) + 1
        assert [line.place for line in page] == places[first : first + PAGE]
        costs.append(cost)
    # The page's entries, the one of the line before, and a step at the end of each of the ranges behind a place.
    assert max(cost.documents for cost in costs) <= PAGE + 1
    assert max(cost.keys for cost in costs) <= 2 * PAGE


async def _watched(world: World, statement: Any, behind: Place | None) -> tuple[list[StatementLine], Cost]:
    """Read a page while the database writes down what it does."""
    db = world.database
    await db.command({"profile": 2})
    try:
        page = await world.settle().lines(statement, behind, PAGE)
    finally:
        await db.command({"profile": 0})
    rows = (
        await db["system.profile"].find({"op": {"$in": ["query", "getmore"]}, "ns": f"{db.name}.entries"}).to_list(None)
    )
    await db["system.profile"].drop()
    assert rows
    assert not any(row.get("hasSortStage") for row in rows)
    return page, Cost(sum(row["keysExamined"] for row in rows), sum(row["docsExamined"] for row in rows))
