"""Who a member is to whom: first mention, linking a second partner, and parting."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from exchange.commands import ByReference, Enrol, LinkMember, Unlink
from exchange.decisions.decision import Decision, Terms, entry_of, no_member
from exchange.errors import Forbidden, NotFound, ValidationFailed
from exchange.journal import EntryKind
from exchange.wallet import Link, Wallet


def enrol(command: Enrol, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Let a partner know a member that it mentions for the first time."""
    if wallet is None or not isinstance(command.whose, ByReference):
        raise no_member(("reference",))
    link = wallet.link(command.partner)
    if link is not None and not link.open:
        raise Forbidden("the member has ended its link to this partner")
    # Nothing may refuse from here.
    entry = entry_of(command, EntryKind.ENROL, wallet, now, salt)
    # With a link there is a reference already: an award, or another enrolment, was faster.
    claims = command.whose if link is None else None
    return Decision(wallet=linked(wallet, command.whose, now), entry=entry, claims=claims)


def link(command: LinkMember, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Let a second partner's reference mean the member that gave it a code."""
    if wallet is None or now >= command.code_expires_at:
        raise NotFound("no such link code, or it is no longer good", ("input", "code"))
    if terms.referenced is not None and terms.referenced != wallet.id:
        raise ValidationFailed(
            "already means another member: if that is the same person, the member can merge the two",
            ("input", "reference"),
        )
    known = wallet.link(command.partner)
    if known is not None and known.ended_at is not None and known.ended_at >= command.code_made_at:
        raise NotFound("no such link code, or it is no longer good", ("input", "code"))
    # A member that was merged is known by several references: each is as good as the other.
    if known is not None and terms.referenced is None and known.reference != command.reference:
        raise ValidationFailed("this member is known to you by another reference", ("input", "reference"))
    # Nothing may refuse from here.
    detail = {} if command.daily_limit is None else {"daily_limit": str(command.daily_limit)}
    entry = entry_of(command, EntryKind.LINK, wallet, now, salt, detail=detail)
    since = known.since if known is not None and known.open else now
    link = Link(command.partner, command.reference, since, command.daily_limit)
    if known is not None:
        link = replace(link, reference=known.reference, spent_on=known.spent_on, spent=known.spent)
    claims = ByReference(command.partner, command.reference)
    return Decision(wallet=wallet.with_link(link), entry=entry, claims=claims if terms.referenced is None else None)


def unlink(command: Unlink, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """End one of the member's links."""
    if wallet is None or not wallet.linked_to(command.partner):
        raise Forbidden("the member has ended its link to this partner")
    link = None if command.ended is None else wallet.link(command.ended)
    if link is None or not link.open:
        raise NotFound("no such link", ("input", "partner"))
    if sum(other.open for other in wallet.links) == 1:
        raise Forbidden(
            "this is the member's last link: without it the points could not be reached", ("input", "partner")
        )
    # Nothing may refuse from here.
    entry = entry_of(command, EntryKind.UNLINK, wallet, now, salt, detail={"ended": link.partner})
    return Decision(wallet=wallet.with_link(replace(link, ended_at=now)), entry=entry)


def linked(wallet: Wallet, whose: ByReference, now: datetime) -> Wallet:
    """Return the wallet with a link to the partner that mentions it; with the one it has, if it has one."""
    if wallet.link(whose.partner) is not None:
        return wallet
    return wallet.with_link(Link(whose.partner, whose.reference, now))
