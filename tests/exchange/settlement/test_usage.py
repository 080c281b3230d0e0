"""A partner's record against its statement."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.settlement.reconciling import usage_check
from exchange.settlement.usage import DifferenceKind, Tally, UsageRow, compared, plus, row_of
from exchange.store.usage import Sorted
from tests.exchange.settlement.conftest import World

_NAMES = st.sampled_from(["a", "b", "c", "d", "é", "\U0001f600"])
_ROWS = st.lists(
    st.builds(
        UsageRow, _NAMES, st.sampled_from(["EUR", "JPY"]), st.tuples(st.integers(-(2**63), 2**63 - 1), st.just(1))
    ),
    max_size=20,
)


def added_up(rows: Iterable[UsageRow]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Say what each place adds up to, the obvious way."""
    sums: dict[tuple[str, str], tuple[int, ...]] = {}
    for row in rows:
        sums[row.place] = plus(sums.get(row.place, (0, 0)), row.figures)
    return sums


@given(_ROWS, _ROWS, st.randoms(use_true_random=False))
def test_every_reference_ends_in_one_pile(ours: list[UsageRow], theirs: list[UsageRow], chance: random.Random) -> None:
    """Whatever the order of either side: each place agrees or is told once, with its kind and both sums."""
    here, there = added_up(ours), added_up(theirs)
    chance.shuffle(ours)
    chance.shuffle(theirs)
    tally = Tally()
    with Sorted(2) as kept:
        assert (kept.add(0, ours), kept.add(1, theirs)) == (len(ours), len(theirs))
        found = list(compared(kept.rows(0), kept.rows(1), tally))
    told = {each.row.place: (each.kind, each.ours and each.ours.figures, each.theirs and each.theirs.figures)
            for each in found}  # fmt: skip
    kinds = {(True, False): DifferenceKind.MISSING_THERE, (False, True): DifferenceKind.MISSING_HERE}
    expected = {
        place: (kinds.get((place in here, place in there), DifferenceKind.DIFFERS), here.get(place), there.get(place))
        for place in sorted(here.keys() | there.keys())
        if here.get(place) != there.get(place)
    }
    assert list(told.items()) == list(expected.items())
    assert len(found) == len(told)
    assert tally.agreed == len(here.keys() | there.keys()) - len(expected)
    assert Counter(each.kind for each in found) == Counter(tally.differences)
    assert tally.agrees == (not expected)
    for rows, sums in ((ours, tally.ours), (theirs, tally.theirs)):
        by_currency: dict[str, tuple[int, ...]] = {}
        for row in rows:
            by_currency[row.currency] = plus(by_currency.get(row.currency, (0, 0)), row.figures)
        assert sums == by_currency


async def test_a_statement_agrees_with_itself(example: World) -> None:
    """Row for row, in any order; and without money, points are added up over its currencies."""
    settlement = example.settle()
    await settlement.close(1)
    statement = await settlement.statement("1:rides")
    assert statement is not None
    lines = await settlement.lines(statement)
    for columns in (("points", "gross", "fee", "net"), ("points",), ("net",)):
        with usage_check(columns) as check:
            check.take_theirs(row_of(line, columns) for line in reversed(lines))
            await check.take_ours(settlement, statement, lambda _what, _done, _total: None)
            assert list(check.differences()) == []
            assert check.tally.agrees
            assert check.tally.agreed == len({(line.entry, line.currency) for line in lines})


@pytest.mark.parametrize("columns", [("points",), ("gross", "net")])
async def test_what_is_left_out_is_missing_there(example: World, columns: tuple[str, ...]) -> None:
    """A line that the partner does not have is told, with our figures and nothing of the partner's."""
    settlement = example.settle()
    await settlement.close(1)
    statement = await settlement.statement("1:video")
    assert statement is not None
    with usage_check(columns) as check:
        await check.take_ours(settlement, statement, lambda _what, _done, _total: None)
        differences = list(check.differences())
    assert {each.kind for each in differences} == {DifferenceKind.MISSING_THERE}
    assert all(each.theirs is None and each.row.line is None for each in differences)
    assert check.tally.agreed == 0
    if columns == ("gross", "net"):
        nets = {total.currency: total.net.minor for total in statement.totals}
        assert {currency: figures[1] for currency, figures in check.tally.ours.items()} == nets


def test_who_is_cancelled_may_leave_while_a_thread_goes_on() -> None:
    """Rows are kept and read in threads that outlive their request: those end with an error, and not the process."""

    def rows(count: int, begun: Event) -> Iterator[UsageRow]:
        for n in range(count):
            if n == count // 2:
                begun.set()
            yield UsageRow(f"entry-{n}", "", (1,))

    def work(kept: Sorted, count: int, begun: Event) -> None:
        kept.add(0, rows(count, begun))
        for _ in kept.rows(0):
            pass

    with ThreadPoolExecutor() as threads:
        for _ in range(10):
            begun = Event()
            with Sorted(1) as kept:
                working = threads.submit(work, kept, 100_000, begun)
                assert begun.wait(30)
            with pytest.raises(sqlite3.ProgrammingError):
                working.result(30)
