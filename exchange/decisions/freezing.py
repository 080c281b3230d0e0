"""Stopping what may be spent, and letting it go on.

A frozen wallet or lot can still receive and expire; nothing is taken out of it. What a reservation holds stays held,
and a reservation of a frozen member cannot be confirmed until it is let go.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from exchange.commands import Freeze
from exchange.decisions.decision import Decision, Terms, because, entry_of, no_member
from exchange.errors import Forbidden, NotFound, ValidationFailed
from exchange.journal import EXCHANGE, EntryKind
from exchange.wallet import Wallet


def freeze(command: Freeze, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Freeze a wallet (the exchange alone) or a lot (its issuer, or the exchange), or let it go on."""
    if wallet is None:
        raise NotFound("no such lot", ("input", "lot")) if command.lot is not None else no_member()
    lot = None if command.lot is None else wallet.lot(command.lot)
    if command.lot is not None and (lot is None or not (command.by_exchange or lot.issuer == command.partner)):
        raise NotFound("no such lot", ("input", "lot"))
    by = (EXCHANGE if wallet.frozen else None) if lot is None else lot.frozen_by
    if by == EXCHANGE and not command.by_exchange and not command.frozen:
        raise Forbidden("the exchange has frozen it", ("input", "lot"))
    # The exchange may take a freezing over, so that the issuer cannot lift it.
    taken_over = command.frozen and command.by_exchange and by != EXCHANGE
    if (by is not None) == command.frozen and not taken_over:
        state = "frozen already" if command.frozen else "not frozen"
        raise ValidationFailed(f"is {state}", ("input", "member" if lot is None else "lot"))
    # Nothing may refuse from here.
    kind = EntryKind.FREEZE if command.frozen else EntryKind.UNFREEZE
    detail = because(command.reason, actor=command.actor, lot=command.lot)
    entry = entry_of(command, kind, wallet, now, salt, detail=detail)
    if lot is None:
        return Decision(wallet=replace(wallet, frozen=command.frozen), entry=entry)
    return Decision(
        wallet=wallet.with_lot(replace(lot, frozen_by=command.partner if command.frozen else None)), entry=entry
    )
