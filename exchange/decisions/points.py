"""Points that come, points that their issuer takes back or gives more time, and points whose time is over.

What an issuer reverses it takes from what is free of that very lot. For the part that is spent, given away or held it
has said what it wants (`rules.AwardReversal`): refuse, take what is left, or let the member owe it, to be repaid by the
next awards. A balance is never negative.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from exchange.amounts import INT64_MAX
from exchange.commands import Adjust, Award, ByReference, Command, Expire, Extend, ReverseAward
from exchange.decisions.decision import Decision, Terms, because, entry_of, no_member, out_of_lots
from exchange.decisions.links import linked
from exchange.errors import Forbidden, InsufficientPoints, NotFound, ValidationFailed
from exchange.journal import Account, EntryKind, Posting, milliseconds, points_of
from exchange.rules import AwardReversal
from exchange.wallet import LOTS_MAX, Lot, Take, Wallet


def award(command: Award, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Make a lot of what an issuer gives; first of all it repays what the member owes that issuer."""
    if command.expires_at is not None and command.expires_at <= now:
        raise ValidationFailed("must be in the future", ("input", "expiresAt"))
    active = command.active_from
    if active is not None and (active <= now or (command.expires_at is not None and active >= command.expires_at)):
        raise ValidationFailed("must be in the future, and before they expire", ("input", "activeFrom"))
    _refuse_frozen(command, terms)
    if wallet is None:
        raise no_member()
    link = wallet.link(command.partner)
    first_mention = link is None and isinstance(command.whose, ByReference) and wallet.version == 0
    if not first_mention and (link is None or not link.open):
        raise no_member()
    refuse_too_much(wallet, 1, command.points)
    # Nothing may refuse from here.
    repaid = min(wallet.debts.get(command.partner, 0), command.points)
    lot = Lot(
        command.id, command.partner, command.points, command.points - repaid, command.expires_at, now,
        withdrawn=repaid, active_from=active,
    )  # fmt: skip
    repayment = [Take(lot.id, lot.issuer, repaid)] if repaid else []
    entry = entry_of(
        command, EntryKind.AWARD, wallet, now, salt,
        postings=(*_into(lot, Account.ISSUED), *out_of_lots(repayment, Account.WITHDRAWN)),
        detail=because(
            command.reason, expires_at=None if command.expires_at is None else milliseconds(command.expires_at),
            active_from=None if active is None else milliseconds(active), repaid=str(repaid) if repaid else None,
        ),
    )  # fmt: skip
    claims = command.whose if isinstance(command.whose, ByReference) and first_mention else None
    richer = wallet if claims is None else linked(wallet, claims, now)
    return Decision(wallet=richer.with_lot(lot).with_debt(command.partner, -repaid), entry=entry, claims=claims)


def reverse_award(command: ReverseAward, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Take back what an issuer awarded, by its own rule for what is no longer there."""
    wallet, lot = _own_lot(command, command.lot, wallet)
    if lot.passed_on:
        raise ValidationFailed("came from another member: reverse the award that it was made of", ("input", "lot"))
    rule = terms.rules.of(command.partner).award_reversal
    points = lot.reversible if command.points is None else command.points
    if points > lot.reversible:
        raise ValidationFailed(f"{lot.reversible} are left to reverse", ("input", "points"))
    taken = min(points, lot.free)
    if points == 0 or (taken == 0 and rule is not AwardReversal.DEBT):
        raise InsufficientPoints("nothing of it is left", ("input", "lot"), required=max(points, 1), available=0)
    if taken < points and rule is AwardReversal.REFUSE:
        raise InsufficientPoints(
            f"{taken} of {points} points are left: the others are spent, given away or held", ("input", "points"),
            required=points, available=taken,
        )  # fmt: skip
    debt = points - taken if rule is AwardReversal.DEBT else 0
    if wallet.debts.get(lot.issuer, 0) + debt > INT64_MAX:
        raise ValidationFailed("the member cannot owe that many", ("input", "points"))
    # Nothing may refuse from here.
    takes = [Take(lot.id, lot.issuer, taken)] if taken else []
    entry = entry_of(
        command, EntryKind.REVERSE_AWARD, wallet, now, salt, postings=out_of_lots(takes, Account.WITHDRAWN),
        detail=because(command.reason, lot=lot.id, debt=str(debt) if debt else None),
    )  # fmt: skip
    poorer = wallet.with_lot(replace(lot, owed=lot.owed + debt)).withdraw(takes)
    if debt:  # it stays with whoever has it: a merge that brought the lot cannot be undone any more
        poorer = poorer.touched([Take(lot.id, lot.issuer, debt)]).with_debt(lot.issuer, debt)
    return Decision(wallet=poorer, entry=entry)


def extend(command: Extend, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Give a lot that is not over yet more time."""
    wallet, lot = _own_lot(command, command.lot, wallet)
    if not lot.live(now):
        raise ValidationFailed("is over: what was in it is lost", ("input", "lot"))
    if lot.expires_at is None or (command.expires_at is not None and command.expires_at <= lot.expires_at):
        ends = "never expires" if lot.expires_at is None else f"must be after {milliseconds(lot.expires_at)}"
        raise ValidationFailed(ends, ("input", "expiresAt"))
    # Nothing may refuse from here.
    until = None if command.expires_at is None else milliseconds(command.expires_at)
    entry = entry_of(
        command, EntryKind.EXTEND, wallet, now, salt, detail=because(command.reason, lot=lot.id, expires_at=until)
    )
    return Decision(wallet=wallet.with_lot(replace(lot, expires_at=command.expires_at)), entry=entry)


def adjust(command: Adjust, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Give or take points as a goodwill, on an account of its own; taken are the issuer's points that are free."""
    if command.expires_at is not None and command.expires_at <= now:
        raise ValidationFailed("must be in the future", ("input", "expiresAt"))
    _refuse_frozen(command, terms)
    if wallet is None or not wallet.linked_to(command.partner):
        raise no_member()
    issuer, until = command.partner, command.expires_at
    detail = because(command.reason, actor=command.actor, expires_at=None if until is None else milliseconds(until))
    if command.points > 0:
        refuse_too_much(wallet, 1, command.points)
        # Nothing may refuse from here.
        lot = Lot(command.id, issuer, command.points, command.points, until, now)
        entry = entry_of(
            command, EntryKind.ADJUST, wallet, now, salt, postings=_into(lot, Account.GOODWILL), detail=detail
        )
        return Decision(wallet=wallet.with_lot(lot), entry=entry)
    available = wallet.spendable(lambda other: other == issuer, now)
    if available < -command.points:
        raise InsufficientPoints(
            f"{available} of your points are free", ("input", "points"), required=-command.points, available=available
        )
    # Nothing may refuse from here.
    takes = wallet.choose(-command.points, lambda other: other == issuer, now)
    entry = entry_of(
        command, EntryKind.ADJUST, wallet, now, salt, postings=out_of_lots(takes, Account.GOODWILL), detail=detail
    )
    return Decision(wallet=wallet.withdraw(takes), entry=entry)


def expire(command: Expire, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Take what nobody holds of a lot whose time is over."""
    lot = None if wallet is None else wallet.lot(command.lot)
    if wallet is None or lot is None or lot.live(now) or lot.free == 0:
        raise NotFound("nothing of this lot is left to expire", ("lot",))
    # Nothing may refuse from here.
    takes = [Take(lot.id, lot.issuer, lot.free)]
    entry = entry_of(command, EntryKind.EXPIRE, wallet, now, salt, postings=out_of_lots(takes, Account.EXPIRED))
    return Decision(
        wallet=wallet.with_lot(replace(lot, remaining=lot.held, expired=lot.expired + lot.free)), entry=entry
    )


def refuse_too_much(wallet: Wallet, lots: int, points: int, *, path: tuple[str, ...] = ("input", "member")) -> None:
    """Refuse more lots, or points, than a wallet can hold."""
    if len(wallet.lots) + lots > LOTS_MAX:
        raise ValidationFailed(f"the wallet has {len(wallet.lots)} lots already", path)
    if sum(lot.remaining for lot in wallet.lots) + points > INT64_MAX:
        raise ValidationFailed("the wallet cannot hold that many", ("input", "points"))


def _refuse_frozen(command: Command, terms: Terms) -> None:
    if terms.rules.frozen(command.partner):
        raise Forbidden("the exchange has frozen this partner")


def _own_lot(command: Command, name: str | None, wallet: Wallet | None) -> tuple[Wallet, Lot]:
    lot = None if wallet is None or name is None else wallet.lot(name)
    if wallet is None or lot is None or lot.issuer != command.partner:
        raise NotFound("no such lot", ("input", "lot"))
    return wallet, lot


def _into(lot: Lot, account: Account) -> list[Posting]:
    unit = points_of(lot.issuer)
    return [
        Posting(Account.WALLET, lot.issuer, unit, lot.awarded, lot.id),
        Posting(account, lot.issuer, unit, -lot.awarded),
    ]
