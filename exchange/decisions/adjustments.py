"""Money that goes back and forth between two partners, because a statement line was wrong."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from exchange.agreements import Debit
from exchange.amounts import Money, decimal_from_minor
from exchange.commands import AdjustLine
from exchange.decisions.decision import Decision, Terms, entry_of
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import Account, EntryKind, Posting
from exchange.wallet import Wallet

_AMOUNT = ("input", "amount")


def adjust_line(command: AdjustLine, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Adjust a line, by never more in all than its net. The line's account keeps what each dispute has moved."""
    if wallet is None:
        raise NotFound("no such line", ("input", "entry"))
    minor, currency = command.amount
    if command.payer == command.partner:
        raise ValidationFailed("nobody pays itself", _AMOUNT)
    if minor <= 0 or currency != command.net.currency:
        raise ValidationFailed(f"must be more than nothing, in {command.net.currency}", _AMOUNT)
    left = abs(command.net.minor) - sum(wallet.taken.values())
    if minor > left:
        most = decimal_from_minor(left, currency)
        raise ValidationFailed(f"is more than is left of the line: {most} {currency}", _AMOUNT)
    # Nothing may refuse from here.
    entry = entry_of(
        command, EntryKind.ADJUSTMENT, wallet, now, salt,
        postings=(
            Posting(Account.ADJUSTMENTS, command.payer, currency, -minor),
            Posting(Account.ADJUSTMENTS, command.partner, currency, minor),
        ),
        debits=(Debit(command.payer, 0, None, Money(minor, currency)),),
        detail={
            "dispute": command.dispute, "record": command.record, "statement": command.statement,
            "statement_hash": command.statement_hash, "entry": command.entry, "line": str(command.line),
        },
    )  # fmt: skip
    taken = {**wallet.taken, command.dispute: minor}
    paid = replace(entry, benefit=command.benefit, provider=command.partner, channel=command.partner)
    return Decision(wallet=replace(wallet, taken=taken), entry=paid)
