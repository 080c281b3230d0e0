"""Points that come, and points whose time is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from exchange.amounts import INT64_MAX
from exchange.commands import Award, ByReference, Expire
from exchange.decisions.decision import Decision, Terms, entry_of, no_member
from exchange.decisions.links import linked
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import Account, EntryKind, Posting, milliseconds, points_of
from exchange.wallet import LOTS_MAX, Lot, Wallet


def award(command: Award, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Make a lot of what an issuer gives."""
    if command.expires_at is not None and command.expires_at <= now:
        raise ValidationFailed("must be in the future", ("input", "expiresAt"))
    if wallet is None:
        raise no_member()
    link = wallet.link(command.partner)
    first_mention = link is None and isinstance(command.whose, ByReference) and wallet.version == 0
    if not first_mention and (link is None or not link.open):
        raise no_member()
    if len(wallet.lots) >= LOTS_MAX:
        raise ValidationFailed(f"the wallet has {LOTS_MAX} lots already", ("input", "member"))
    if sum(lot.remaining for lot in wallet.lots) + command.points > INT64_MAX:
        raise ValidationFailed("the wallet cannot hold that many", ("input", "points"))
    # Nothing may refuse from here.
    lot = Lot(command.id, command.partner, command.points, command.points, command.expires_at, now)
    unit = points_of(command.partner)
    detail = {}
    if command.expires_at is not None:
        detail["expires_at"] = milliseconds(command.expires_at)
    if command.reason is not None:
        detail["reason"] = command.reason
    entry = entry_of(
        command, EntryKind.AWARD, wallet, now, salt,
        postings=(
            Posting(Account.WALLET, command.partner, unit, command.points, lot.id),
            Posting(Account.ISSUED, command.partner, unit, -command.points),
        ),
        detail=detail,
    )  # fmt: skip
    claims = command.whose if isinstance(command.whose, ByReference) and first_mention else None
    richer = wallet if claims is None else linked(wallet, claims, now)
    return Decision(wallet=replace(richer, lots=(*richer.lots, lot)), entry=entry, claims=claims)


def expire(command: Expire, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Take what nobody holds of a lot whose time is over."""
    lot = None if wallet is None else wallet.lot(command.lot)
    if wallet is None or lot is None or lot.live(now) or lot.free == 0:
        raise NotFound("nothing of this lot is left to expire", ("lot",))
    # Nothing may refuse from here.
    unit, points = points_of(lot.issuer), lot.free
    entry = entry_of(
        command, EntryKind.EXPIRE, wallet, now, salt,
        postings=(
            Posting(Account.WALLET, lot.issuer, unit, -points, lot.id),
            Posting(Account.EXPIRED, lot.issuer, unit, points),
        ),
    )  # fmt: skip
    spent = replace(lot, remaining=lot.remaining - points, expired=lot.expired + points)
    lots = tuple(spent if other.id == lot.id else other for other in wallet.lots)
    return Decision(wallet=replace(wallet, lots=lots), entry=entry)
