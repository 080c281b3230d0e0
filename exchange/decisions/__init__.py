"""decide(command, wallet, terms, now): the law of the exchange, as a function.

It knows wallets, benefits, agreements and the journal's form. It knows no database, no clock and no chance: `now`,
ids and the salt come from outside, so that every decision can be made again and come out the same.

Each command has one ladder of checks, in the contract's order of precedence. Below the line "nothing may refuse
from here" a decision is only written down. A refusal is raised and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from exchange.commands import (
    Act,
    Adjust,
    AdjustLine,
    Award,
    Command,
    Enrol,
    Expire,
    Extend,
    Freeze,
    Give,
    LinkMember,
    Merge,
    Redeem,
    Reserve,
    ReverseAward,
    Share,
    Unlink,
    Unmerge,
)
from exchange.decisions import adjustments, freezing, links, merging, points, redemptions, sharing
from exchange.decisions.decision import Decision, Terms
from exchange.decisions.redemptions import promise, taker_of
from exchange.wallet import Wallet

__all__ = ["Decision", "Terms", "decide", "promise", "taker_of"]

_LADDERS: Mapping[type[Command], Callable[[Any, Wallet | None, Terms, datetime, bytes], Decision]] = {
    Enrol: links.enrol,
    LinkMember: links.link,
    Unlink: links.unlink,
    Award: points.award,
    ReverseAward: points.reverse_award,
    Extend: points.extend,
    Adjust: points.adjust,
    Expire: points.expire,
    Freeze: freezing.freeze,
    Give: sharing.give,
    Share: sharing.share,
    Merge: merging.merge,
    Unmerge: merging.unmerge,
    Redeem: redemptions.redeem,
    Reserve: redemptions.reserve,
    Act: redemptions.act,
    AdjustLine: adjustments.adjust_line,
}


def decide(command: Command, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Decide one command over its wallet (None: the member is not there). Raises a Refusal, or returns what to write.

    `salt`: 16 random bytes that blind the entry's parts. The decision's wallet keeps the version it was read with;
    the commit writes the next one.
    """
    return _LADDERS[type(command)](command, wallet, terms, now, salt)
