"""Who asks for a change, and for whom."""

from __future__ import annotations

from typing import Any

from exchange import errors
from exchange.commands import ByReference, ByWallet, Whose
from exchange.errors import ValidationFailed
from exchange.wallet import Wallet as DomainWallet
from graph.context import Context
from graph.identifiers import Kind
from graph.inputs import MemberBy, fingerprint, sent


def request(context: Context, operation: str, asked: Any) -> dict[str, Any]:
    """Return a command's identity: who asks for what under which key."""
    subject = context.principal.subject
    entry = context.services.ledger.entry_id(context.partner, subject, operation, asked.idempotency_key)
    return {"id": entry, "fingerprint": fingerprint(asked), "partner": context.partner}


def whose_of(context: Context, member: MemberBy) -> Whose:
    """Return the member that a partner's server names by its id or its reference."""
    reference = sent(member.reference)
    if reference is not None:
        return ByReference(context.partner, reference)
    wallet = context.ids.open(Kind.MEMBER, sent(member.id))
    return None if wallet is None else ByWallet(wallet)


def whose_of_partner(context: Context, partner: str | None, member: MemberBy) -> Whose:
    """Return the member that staff names by the id it sees, or by a partner's id and that partner's reference."""
    if partner is None:
        return whose_of(context, member)
    # Of no partner, it is a reference that means nobody.
    return ByReference(context.ids.open(Kind.PARTNER, partner) or "", sent(member.reference) or "")


async def speaker(context: Context, member: MemberBy | None) -> Whose:
    """Return who takes it: the asking member itself, or the one that a partner's server names."""
    if not context.is_member:
        if member is None:
            raise ValidationFailed("a partner's server says who redeems", ("input", "member"))
        return whose_of(context, member)
    own = ByReference(context.partner, context.principal.member or "")
    if member is not None and (named := whose_of(context, member)) != own:
        wallet = await context.own_wallet()
        if wallet is None or named not in [ByWallet(one) for one in wallet.whole]:
            raise ValidationFailed("a member redeems for itself: leave it out", ("input", "member"))
    return own


async def wallet_named(context: Context, whose: Whose) -> DomainWallet | None:
    """Return a member's wallet as it is now, whoever may see it: whether it is that still, the ledger asks again."""
    members = context.services.members
    if isinstance(whose, ByWallet):
        return (await members.wallets([whose.wallet])).get(whose.wallet)
    return None if whose is None else await members.wallet_of(whose)


async def own_wallet(context: Context) -> DomainWallet:
    """Return the asking member's wallet, through an open link alone: else its partner could make an ended one anew."""
    context.require_of_mutation("points:redeem")
    wallet = await context.own_wallet()
    if wallet is None or not wallet.linked_to(context.partner):
        raise errors.Forbidden("the member has ended its link to this partner")
    return wallet
