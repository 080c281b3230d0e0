"""Points that go from one wallet to another: gifts, and what a household has in common.

Points that are passed on stay their issuer's and keep their expiry; in the other wallet they are new lots. How many
of an issuer's points a member may give away in a day is the issuer's to say; paying into a household's pool is giving
away too, because whoever shares it can take them out. Drawing from it is not: it was counted when it was paid in.

A household's pool is a wallet without links: nobody redeems from it, its members draw what they need first. So a
redemption always concerns one wallet, and all that is said of one holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from exchange.commands import Between, Give, Share, Sharing
from exchange.decisions.decision import Decision, Terms, because, entry_of, no_member
from exchange.decisions.points import refuse_too_much
from exchange.errors import Forbidden, InsufficientPoints, NotFound, ValidationFailed
from exchange.journal import Account, EntryKind, Posting, milliseconds, points_of
from exchange.wallet import Lot, Take, Wallet

HOUSEHOLD_MAX = 10
"""Most members of a household."""

NEVER = "-"
"""What an entry says of a lot that does not expire."""


def give(command: Give, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Pass points from member to member."""
    giver = _speaking(command, wallet, by_member=command.by_member)
    other = terms.other
    if other is not None and other.id == giver.id:
        raise ValidationFailed("is the member itself", ("input", "to"))
    _refuse_frozen(command, giver, terms)
    if other is None or not other.linked_to(command.partner):
        raise NotFound("no such member", ("input", "to"))
    takes = _giveable(command, giver, command.points, terms, now)
    refuse_too_much(other, len(takes), command.points, path=("input", "to"))
    # Nothing may refuse from here.
    return _passed(command, EntryKind.GIVE, giver, other, takes, now, salt, because(command.reason))


def share(command: Share, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Found, join or leave a household; pay into its pool, or draw from it."""
    member = _speaking(command, wallet, by_member=command.by_member)
    if command.what is Sharing.FOUND:
        return _found(command, member, terms, now, salt)
    if command.what is Sharing.JOIN:
        return _join(command, member, terms, now, salt)
    if command.what is not Sharing.LEAVE:
        _refuse_frozen(command, member, terms)
    pool = terms.other
    if pool is None or member.household != pool.id or member.id not in pool.members:
        raise NotFound("the member shares no household", ("input",))
    if command.what is Sharing.LEAVE:
        return _leave(command, member, pool, now, salt)
    if command.what is Sharing.PAY_IN:
        takes = _giveable(command, member, command.points, terms, now)
        refuse_too_much(pool, len(takes), command.points, path=("input",))
        # Nothing may refuse from here.
        return _passed(command, EntryKind.PAY_IN, member, pool, takes, now, salt, {})
    if pool.frozen:
        raise Forbidden("the points are frozen")
    available = pool.spendable(lambda issuer: not terms.rules.frozen(issuer), now)
    if available < command.points:
        raise InsufficientPoints(
            f"{available} points are in the pool", ("input", "points"), required=command.points, available=available
        )
    takes = pool.choose(command.points, lambda issuer: not terms.rules.frozen(issuer), now)
    refuse_too_much(member, len(takes), command.points)
    # Nothing may refuse from here.
    return _passed(command, EntryKind.DRAW, pool, member, takes, now, salt, {})


def _found(command: Share, member: Wallet, terms: Terms, now: datetime, salt: bytes) -> Decision:
    pool = terms.other
    if member.household is not None or pool is None or pool.version:
        raise ValidationFailed("the member shares a household already", ("input",))
    # Nothing may refuse from here.
    return _membership(command, EntryKind.FOUND, member, pool, (member.id,), now, salt)


def _join(command: Share, member: Wallet, terms: Terms, now: datetime, salt: bytes) -> Decision:
    pool = terms.other
    if pool is None or not pool.members or command.invited_until is None or now >= command.invited_until:
        raise NotFound("no such invitation, or it is no longer good", ("input", "code"))
    if member.household is not None:
        raise ValidationFailed("the member shares a household already: leave that first", ("input",))
    if len(pool.members) >= HOUSEHOLD_MAX:
        raise ValidationFailed(f"the household has {HOUSEHOLD_MAX} members already", ("input", "code"))
    # Nothing may refuse from here.
    return _membership(command, EntryKind.JOIN, member, pool, (*pool.members, member.id), now, salt)


def _leave(command: Share, member: Wallet, pool: Wallet, now: datetime, salt: bytes) -> Decision:
    others = tuple(other for other in pool.members if other != member.id)
    if not others and any(lot.live(now) and lot.remaining for lot in pool.lots):
        raise ValidationFailed("the last one to leave draws what is in the pool first", ("input",))
    # Nothing may refuse from here.
    return _membership(command, EntryKind.LEAVE, member, pool, others, now, salt)


def _membership(
    command: Share, kind: EntryKind, member: Wallet, pool: Wallet, members: tuple[str, ...], now: datetime, salt: bytes
) -> Decision:
    household = None if kind is EntryKind.LEAVE else pool.id
    return Decision(
        wallet=replace(member, household=household), other=replace(pool, members=members),
        entry=entry_of(command, kind, member, now, salt, counterpart=pool),
    )  # fmt: skip


def _speaking(command: Between, wallet: Wallet | None, *, by_member: bool) -> Wallet:
    if wallet is None or not wallet.linked_to(command.partner):
        raise Forbidden("the member has ended its link to this partner") if by_member else no_member()
    return wallet


def _refuse_frozen(command: Between, member: Wallet, terms: Terms) -> None:
    if member.frozen or terms.rules.frozen(command.partner):
        raise Forbidden("the member, or the partner through which it asks, is frozen")


def _giveable(command: Between, giver: Wallet, points: int, terms: Terms, now: datetime) -> list[Take]:
    """Choose what to give, within what the issuers allow, or refuse."""
    most = _allowed(giver, terms, now)
    free = {issuer: giver.spendable(lambda other, mine=issuer: other == mine, now) for issuer in most}  # type: ignore[misc]
    available = sum(min(free[issuer], limit) for issuer, limit in most.items())
    link = giver.link(command.partner)
    left = None if link is None else link.day_left(now)
    available = available if left is None else min(available, left)
    if available < points:
        raise InsufficientPoints(
            f"{available} points can be given away now", ("input", "points"), required=points, available=available
        )
    return giver.choose(points, lambda issuer: most[issuer] > 0, now, most)


def _allowed(giver: Wallet, terms: Terms, now: datetime) -> Mapping[str, int]:
    """Return how many points of each issuer may still be given away today."""
    most = {}
    for issuer in dict.fromkeys(lot.issuer for lot in giver.lots):
        rules = terms.rules.of(issuer)
        left = rules.gift_day_points - giver.given_on(issuer, now)
        most[issuer] = 0 if rules.frozen is not None else max(left, 0)
    return most


def _passed(
    command: Between, kind: EntryKind, giver: Wallet, receiver: Wallet, takes: list[Take], now: datetime, salt: bytes,
    detail: dict[str, str],
) -> Decision:  # fmt: skip
    """Move points between wallets: each take becomes a lot of its own there, with the same issuer and expiry."""
    postings, until = [], []
    richer = receiver
    for n, take in enumerate(takes):
        source = giver.lot(take.lot)
        expires_at = None if source is None else source.expires_at
        lot = Lot(f"{command.id}/{n}", take.issuer, take.points, take.points, expires_at, now)
        richer = richer.with_lot(lot)
        until.append(NEVER if expires_at is None else milliseconds(expires_at))
        unit = points_of(take.issuer)
        postings += [
            Posting(Account.WALLET, take.issuer, unit, -take.points, take.lot),
            Posting(Account.WALLET, take.issuer, unit, take.points, lot.id),
        ]
    entry = entry_of(
        command, kind, giver, now, salt, postings=postings, counterpart=receiver,
        detail=detail | {"expire": " ".join(until)},
    )  # fmt: skip
    if kind is EntryKind.DRAW:
        return Decision(wallet=giver.shed(takes), other=richer, entry=entry)
    poorer = giver.give(takes, now)
    link = giver.link(command.partner)
    if link is not None:
        poorer = poorer.with_link(link.spend(sum(take.points for take in takes), now))
    return Decision(wallet=poorer, other=richer, entry=entry)
