"""Rows of usage put in order in a temporary SQLite file that nobody else can open and that goes with the process.

A statement is in the order of the journal and a partner's file in any; a period can have a million lines. So neither
side is held in memory, and both come back in the order in which `settlement.usage` joins them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import groupby, islice
from operator import itemgetter
from threading import Lock
from typing import Any, Self

from exchange.settlement.usage import UsageRow, plus

_ROWS_AT_ONCE = 1_000


class Sorted:
    """The rows of two sides, put together by reference and currency. A context: the file goes at its end.

    Who waits for a thread that works here may be cancelled, and leaves while the thread goes on. SQLite's file must not
    be closed beneath it: that would end the process. So whoever is in the middle of something closes it.
    """

    def __init__(self, columns: int) -> None:
        self._figures = ", ".join(f"f{n}" for n in range(columns))
        # Whoever compares does one thing after the other, though not always in the same thread.
        self._db = sqlite3.connect("", check_same_thread=False)
        self._in_hand = Lock()
        self._over = False
        self._db.executescript(f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            CREATE TABLE usage (side INT, reference TEXT, currency TEXT, n INTEGER PRIMARY KEY, day TEXT, line INT,
                                {self._figures});
        """)
        self._insert = f"INSERT INTO usage VALUES ({', '.join('?' * (6 + columns))})"  # noqa: S608 - only question marks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._over = True
        self._close()

    def _close(self) -> None:
        if self._in_hand.acquire(blocking=False):
            self._db.close()
            self._in_hand.release()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Have the file in hand; sqlite3.ProgrammingError when it is closed."""
        try:
            with self._in_hand:
                yield self._db
        finally:
            if self._over:
                self._close()

    def add(self, side: int, rows: Iterable[UsageRow]) -> int:
        """Keep rows of a side; returns how many."""
        count, left = 0, iter(rows)
        while some := list(islice(left, _ROWS_AT_ONCE)):
            count += len(some)
            with self._open() as db:
                db.executemany(self._insert, (
                    (side, row.reference, row.currency, None, row.day and row.day.isoformat(), row.line, *row.figures)
                    for row in some
                ))  # fmt: skip
        return count

    def rows(self, side: int) -> Iterator[UsageRow]:
        """Yield what a side has of each reference in each currency, in their order."""
        # Added up here, because SQLite's sums end at 64 bits.
        for (reference, currency), own in groupby(self._in_order(side), itemgetter(0, 1)):
            yield _together(reference, currency, own)

    def _in_order(self, side: int) -> Iterator[Any]:
        with self._open() as db:
            found = db.execute(
                f"SELECT reference, currency, day, line, {self._figures} FROM usage WHERE side = ?"  # noqa: S608 - ours
                " ORDER BY reference, currency, n", (side,),
            )  # fmt: skip
        some = [()]
        while some:
            with self._open():
                some = found.fetchmany(_ROWS_AT_ONCE)
            yield from some


def _together(reference: str, currency: str, own: Iterator[Any]) -> UsageRow:
    _, _, day, line, *first = next(own)
    figures = tuple(first)
    for row in own:
        figures = plus(figures, row[4:])
    return UsageRow(reference, currency, figures, None if day is None else date.fromisoformat(day), line)
