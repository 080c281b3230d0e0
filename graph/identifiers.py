"""Opaque identifiers, and who can open them.

An id is the kind and the internal identity, sealed. For most kinds everybody's seal is the same. A member and a lot
are *pairwise*: sealed for the partner that asks, so two partners hold different ids of the same member and neither can
open the other's. An id that cannot be opened is treated like one of an object that does not exist.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from exchange.agreements import Agreement
from exchange.benefit import Benefit
from exchange.keyring import BadToken, Keyring
from exchange.quote import Quote
from exchange.redemption import Redemption
from exchange.settlement.barter import Barter
from exchange.settlement.dispute import Dispute
from exchange.settlement.exports import Export
from exchange.settlement.period import Period
from exchange.settlement.statement import Statement
from exchange.wallet import Lot, Wallet
from partners.registry import Partner

PUBLIC = ""
STAFF = "staff"


class Kind(StrEnum):
    """What an id is of: the GraphQL type's name."""

    PARTNER = "Partner"
    BENEFIT = "Benefit"
    AGREEMENT = "Agreement"
    MEMBER = "Member"
    LOT = "Lot"
    REDEMPTION = "Redemption"
    QUOTE = "Quote"
    PERIOD = "Period"
    STATEMENT = "Statement"
    DISPUTE = "Dispute"
    BARTER = "Barter"
    EXPORT = "Export"


class Identified(Protocol):
    """Anything of the domain that has an identity of its own."""

    @property
    def id(self) -> str:
        """The identity within."""
        ...


KINDS: dict[type, Kind] = {
    Partner: Kind.PARTNER,
    Benefit: Kind.BENEFIT,
    Agreement: Kind.AGREEMENT,
    Wallet: Kind.MEMBER,
    Lot: Kind.LOT,
    Redemption: Kind.REDEMPTION,
    Quote: Kind.QUOTE,
    Period: Kind.PERIOD,
    Statement: Kind.STATEMENT,
    Dispute: Kind.DISPUTE,
    Barter: Kind.BARTER,
    Export: Kind.EXPORT,
}
PAIRWISE = frozenset({Kind.MEMBER, Kind.LOT})


class Identifiers:
    """Ids as one caller sees them; `partner` None for staff."""

    def __init__(self, keyring: Keyring, partner: str | None) -> None:
        self._keyring = keyring
        # The colon keeps the staff's audience apart from any partner's handle.
        self._audience = STAFF if partner is None else f"partner:{partner}"

    def of(self, thing: Identified) -> str:
        """Return the id that goes out; a wallet's is its member's."""
        return self.seal(KINDS[type(thing)], thing.id)

    def seal(self, kind: Kind, identity: str) -> str:
        """Return the id of something by its identity, where the thing itself is not at hand."""
        return self._keyring.seal(f"{kind}:{identity}", self._audience if kind in PAIRWISE else PUBLIC)

    def open(self, kind: Kind, sealed: str | None) -> str | None:
        """Return the identity behind an id of that kind, or None."""
        opened = None if sealed is None else self.open_any(sealed)
        return None if opened is None or opened[0] is not kind else opened[1]

    def open_any(self, sealed: str) -> tuple[Kind, str] | None:
        """Return kind and identity behind any id that this caller can have."""
        for audience in (PUBLIC, self._audience):
            try:
                kind, _, identity = self._keyring.unseal(sealed, audience).partition(":")
            except BadToken:
                continue
            if kind in Kind.__members__.values() and (kind in PAIRWISE) == (audience is not PUBLIC):
                return Kind(kind), identity
        return None
