"""`exchange verify`: which kinds of file there are, and who judges each.

A new kind is a module with a `FORMAT` and a judge of its lines, and one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from exchange.proof import bundle, inclusion, journal_file, netting_certificate
from exchange.proof.bundle import Bundle
from exchange.proof.inclusion import Inclusion
from exchange.proof.journal_file import JournalFile
from exchange.proof.netting_certificate import NettingCertificate
from exchange.proof.sealed import Judge

FORMATS: Final[Mapping[str, Callable[[dict[str, Any]], Judge]]] = {
    journal_file.FORMAT: JournalFile,
    inclusion.FORMAT: Inclusion,
    netting_certificate.FORMAT: NettingCertificate,
    bundle.FORMAT: Bundle,
}
