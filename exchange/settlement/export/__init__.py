"""A statement as the files that finance people load elsewhere.

Each format is a module with one function, `write`: from the `Subject` and the statement's lines, all of them in order,
to the file's bytes, piece by piece. None holds more than a few lines at a time, and none but the statement's figures
and what the parties are called goes into a file: the same statement gives the same bytes.

Every file states the statement's id, its hash and its period. What machines read has exact decimals with a point and
times in UTC, whatever the locale; what people read is written as the locale has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from msgspec import Struct

from exchange.settlement.period import Period
from exchange.settlement.statement import Statement, StatementLine


class Subject(Struct, frozen=True, kw_only=True):
    """What a file is about: a statement of a closed `period`."""

    statement: Statement
    period: Period


Writer = Callable[[Subject, AsyncIterator[StatementLine]], AsyncIterator[bytes]]
