"""The account of a statement line that was disputed: money counted by dispute, and never a point."""

from __future__ import annotations

from msgspec.structs import replace

from exchange.proof.history.event import Event, Judged, Known
from exchange.proof.history.lots import unless
from exchange.wallet import Wallet


def adjust(wallet: Wallet, event: Event, _: Known) -> Judged:
    """Judge an adjustment as its account sees it: each dispute once, and nothing in it that a member could own."""
    dispute = event.said.get("dispute", "")
    sound = not (event.changes or wallet.lots or wallet.links)
    wrong = unless(sound, 2, event, "adjusts a line on the account of a member")
    wrong += unless(dispute not in wallet.taken, 14, event, f"adjusts by dispute {dispute} again")
    return replace(wallet, taken={**wallet.taken, dispute: event.owed_minor}), wrong
