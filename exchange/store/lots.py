"""The lots of a journal, put together in a temporary SQLite file that goes with the process.

Entries come in any order, lane by lane and range by range, and more of them than fit in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import itemgetter

from exchange.errors import FiguresDisagree
from exchange.journal import Entry
from exchange.settlement.liability import Column, End, LotMove, LotStory, end_of, month_of, said_by

_TABLES = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE moves (lot TEXT, issuer TEXT, before INT, month INT, kind TEXT, points INT);
    CREATE TABLE begun (lot TEXT PRIMARY KEY, month INT) WITHOUT ROWID;
    CREATE TABLE parts (lot TEXT PRIMARY KEY, of TEXT) WITHOUT ROWID;
    CREATE TABLE ends (lot TEXT, until TEXT, back_at TEXT);
"""
_STORIES = """
    WITH RECURSIVE roots (lot, month) AS (
        SELECT lot, month FROM begun
        UNION ALL SELECT parts.lot, roots.month FROM roots JOIN parts ON parts.of = roots.lot
    )
    SELECT moves.lot, issuer, roots.month, before, moves.month, kind, SUM(points)
    FROM moves LEFT JOIN roots ON roots.lot = moves.lot
    GROUP BY moves.lot, issuer, before, moves.month, kind ORDER BY moves.lot
"""


class Lots:
    """What entries say of lots, kept until all are read."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.executescript(_TABLES)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def add(self, entries: Iterable[Entry], *, before: bool, issuer: str | None = None) -> None:
        """Keep what entries say; `before`: they are of an earlier period; `issuer`: only of its lots."""
        moves, begun, parts, ends = [], [], [], []
        for entry in entries:
            said = said_by(entry)
            own = {move.lot for move in said.moves if issuer in (None, move.issuer)}
            month = month_of(entry.at)
            moves += [
                (lot, whose, before, month, column.value, points)
                for lot, whose, column, points in said.moves if lot in own
            ]  # fmt: skip
            begun += [(lot, month) for lot in said.begun if lot in own]
            parts += [part for part in said.parts if part[0] in own]
            ends += [(lot, *(None if at is None else at.isoformat() for at in end)) for lot, end in said.ends]
        self._db.executemany("INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?)", moves)
        self._db.executemany("INSERT INTO begun VALUES (?, ?)", begun)
        self._db.executemany("INSERT INTO parts VALUES (?, ?)", parts)
        self._db.executemany("INSERT INTO ends VALUES (?, ?, ?)", ends)

    def stories(self) -> Iterator[LotStory]:
        """Yield every lot of which anything moved; FiguresDisagree for one that nobody awarded."""
        self._db.executescript("CREATE INDEX by_part ON parts (of); CREATE INDEX by_lot ON ends (lot);")
        for lot, rows in groupby(self._db.execute(_STORIES), itemgetter(0)):
            moved = list(rows)
            _, issuer, vintage, *_ = moved[0]
            if vintage is None:
                raise FiguresDisagree(f"no entry awards lot {lot}")
            moves = [LotMove(bool(before), month, Column(kind), points) for *_, before, month, kind, points in moved]
            yield LotStory(issuer, vintage, self._end(lot), moves)

    def _end(self, lot: str) -> datetime:
        rows = self._db.execute("SELECT until, back_at FROM ends WHERE lot = ?", (lot,))
        return end_of(
            End(datetime.fromisoformat(until), None if back_at is None else datetime.fromisoformat(back_at))
            for until, back_at in rows
        )
