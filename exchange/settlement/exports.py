"""An export: a statement's file, made in the background because it is long, and kept for a day.

::

    QUEUED --claimed--> RUNNING --written--> READY --after a day--> EXPIRED
                          |  ^
                          |  +-- taken over: whoever wrote it has died
                          +----> FAILED: refused, or begun in vain three times

Asking twice is asking once: while an export is waiting, running or ready, whoever asks for the same gets the same one.
What *the same* means is the statement's hash, who asks, the form and what it goes by; of the forms that tell of today
(how far the statement has come, names, accounts) also what they would tell.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct, json, to_builtins

from exchange.particulars import Particulars
from exchange.settlement.export import Form, Wish
from exchange.settlement.statement import Statement

KEPT: Final = timedelta(days=1)
"""How long a file can be fetched, from when its writing began."""

OF_TODAY: Final = frozenset({Form.PDF, Form.PAIN001})
"""The forms that have more in them than the statement."""

LOCALIZED: Final = frozenset({Form.XLSX, Form.PDF})


class ExportStatus(StrEnum):
    """Where an export stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    READY = "READY"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class FileKind(NamedTuple):
    """How a form's file is called and told of."""

    suffix: str
    media_type: str


KINDS: Final[Mapping[Form, FileKind]] = {
    Form.CSV: FileKind("csv", "text/csv; charset=utf-8; header=present"),
    Form.JSON: FileKind("json", "application/json"),
    Form.LEDGER: FileKind("beancount", "text/plain; charset=utf-8"),
    Form.XLSX: FileKind("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    Form.PDF: FileKind("pdf", "application/pdf"),
    Form.PAIN001: FileKind("xml", "application/xml"),
    Form.BUNDLE: FileKind("jsonl", "application/jsonl"),
}


class ExportProgress(NamedTuple):
    """How much of an export is done, in lines; of a bundle, in the period's blocks. `total` 0: not known yet."""

    done: int
    total: int


class Written(Struct, frozen=True):
    """A whole file: how long it is, its SHA-256 in hex, and in how many pieces it lies."""

    length: int
    sha256: str
    pieces: int


class Export(Struct, frozen=True, kw_only=True):
    """One export, of the statement with this id. `owner`: the partner that asked, or `exchange` for finance.

    `attempt` counts how often it was claimed; each writes its own pieces, so nobody's can get into another's file.
    `failures`: how many of them ended badly.
    """

    id: str
    owner: str
    statement: str
    wish: Wish
    asked_at: datetime
    status: ExportStatus = ExportStatus.QUEUED
    progress: ExportProgress = ExportProgress(0, 0)
    attempt: int = 0
    failures: int = 0
    begun_at: datetime | None = None
    written: Written | None = None
    error: str | None = None

    @property
    def form(self) -> Form:
        """The form of its file."""
        return self.wish.form

    @property
    def file_name(self) -> str:
        """What its file is to be called: no system takes the colon of a statement's id."""
        return f"statement-{self.statement.replace(':', '-')}.{KINDS[self.form].suffix}"

    @property
    def media_type(self) -> str:
        """What its file is."""
        return KINDS[self.form].media_type

    @property
    def length(self) -> int | None:
        """How many bytes its file has, once it is written."""
        return None if self.written is None else self.written.length

    @property
    def sha256(self) -> str | None:
        """Its file's SHA-256, once it is written."""
        return None if self.written is None else self.written.sha256

    @property
    def kept_until(self) -> datetime:
        """Until when the file of this attempt is kept."""
        return (self.begun_at or self.asked_at) + KEPT

    @property
    def expires_at(self) -> datetime | None:
        """Until when its file can be fetched, once it is written."""
        return None if self.written is None else self.kept_until


def sameness(owner: str, statement: Statement, wish: Wish, parties: Mapping[str, Particulars]) -> bytes:
    """Return what two exports have in common that are one."""
    told = [statement.standing.steps, parties] if wish.form in OF_TODAY else []
    return json.encode(to_builtins([owner, statement.id, statement.hash, wish, told]), order="deterministic")
