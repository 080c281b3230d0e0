"""What every judgement of points rests on: taking them out of lots, and complaining."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from exchange.journal import EntryKind
from exchange.proof import Wrong
from exchange.proof.history.event import Change, Event, Judged
from exchange.wallet import Lot, Wallet

_GONE = {
    EntryKind.REDEEM: "redeemed", EntryKind.CONFIRM: "redeemed", EntryKind.REVERSE_AWARD: "withdrawn",
    EntryKind.ADJUST: "withdrawn", EntryKind.GIVE: "given", EntryKind.PAY_IN: "given", EntryKind.DRAW: "given",
}  # fmt: skip
"""Where points go that leave a lot; by everything else they expire."""


_SPENDING = (EntryKind.REDEEM, EntryKind.ADJUST, EntryKind.GIVE, EntryKind.PAY_IN, EntryKind.DRAW)
"""What takes points only out of lots that can be spent."""


def taken(wallet: Wallet, event: Event, changes: Sequence[Change]) -> Judged:
    """Take points out of lots, down to below nothing if that is what an event says."""
    wrong: list[Wrong] = []
    lots = {lot.id: lot for lot in wallet.lots}
    gone = _GONE.get(event.kind, "expired")
    for lot_id, issuer, points in changes:
        lot = lots.get(lot_id)
        if lot is None or lot.issuer != issuer or points >= 0:
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, which is not {issuer}'s here"))
            continue
        # What was held may be taken after the lot's end: that is what it was held for.
        barred = event.kind in _SPENDING and (lot.frozen or not lot.counts(event.at))
        if barred or lot.free < -points:
            free = 0 if barred else lot.free
            wrong.append(Wrong(2, f"entry {event.id} takes {-points} from lot {lot_id}, {free} free"))
        counted = {gone: getattr(lot, gone) - points}
        lots[lot_id] = replace(lot, remaining=lot.remaining + points, **counted)
    poorer = replace(wallet, lots=tuple(lots.values()))
    return marked(poorer, changes) if gone in ("redeemed", "given") else poorer, wrong


def marked(wallet: Wallet, changes: Sequence[Change]) -> Wallet:
    """Note of the members that were merged into this one which have had points spent that came with them."""
    if not wallet.absorbed:
        return wallet
    used = [lot for lot in wallet.lots if any(change.lot == lot.id for change in changes)]
    absorbed = (replace(one, spent=one.spent or any(map(one.brought, used))) for one in wallet.absorbed)
    return replace(wallet, absorbed=tuple(absorbed))


def with_lot(wallet: Wallet, lot: Lot) -> tuple[Lot, ...]:
    """Return the wallet's lots with this one in the place of the one of its id."""
    return tuple(lot if other.id == lot.id else other for other in wallet.lots)


def unless(sound: bool, invariant: int, event: Event, what: str) -> list[Wrong]:  # noqa: FBT001 - reads as it is said
    """Return the complaint that an event does `what`, unless it is sound."""
    return [] if sound else [Wrong(invariant, f"entry {event.id} {what}")]
