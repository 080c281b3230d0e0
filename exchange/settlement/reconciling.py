"""Reconciliation as the gateway and the command line ask for it: a partner's own record against its statement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from exchange.settlement.clearing import Settlement
from exchange.settlement.statement import Place, Statement, StatementLine
from exchange.settlement.usage import Difference, Tally, UsageRow, compared, row_of
from exchange.store.usage import Sorted

_PAGE = 1_000
_OURS, _THEIRS = 0, 1
Progress = Callable[[str, int, int | None], None]


class UsageCheck:
    """A statement held against its partner's own rows: both are read once, and then compared in order."""

    def __init__(self, columns: Sequence[str], kept: Sorted) -> None:
        self.columns = tuple(columns)
        self.tally = Tally()
        self._kept = kept

    def take_theirs(self, rows: Iterable[UsageRow]) -> int:
        """Keep the partner's rows; returns how many there were."""
        return self._kept.add(_THEIRS, rows)

    async def take_ours(self, settlement: Settlement, statement: Statement, progress: Progress) -> None:
        """Read the statement's lines, page by page."""
        done = 0
        async for page in _pages(settlement, statement):
            self._kept.add(_OURS, (row_of(line, self.columns) for line in page))
            done += len(page)
            progress("lines", done, statement.line_count)

    def differences(self) -> Iterator[Difference]:
        """Yield what differs, once; `tally` is complete at the end."""
        return compared(self._kept.rows(_OURS), self._kept.rows(_THEIRS), self.tally)


@contextmanager
def usage_check(columns: Sequence[str]) -> Iterator[UsageCheck]:
    """Open a comparison of these columns."""
    with Sorted(len(columns)) as kept:
        yield UsageCheck(columns, kept)


async def _pages(settlement: Settlement, statement: Statement) -> AsyncIterator[list[StatementLine]]:
    after: Place | None = None
    while page := await settlement.lines(statement, after, _PAGE):
        yield page
        after = page[-1].place
