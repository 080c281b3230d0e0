"""Two members who are one person become one, and one becomes two again.

The member that gave the code stays; the one that uses it is taken in: its lots, links and counts go over as they are,
its references mean the other wallet from then on, and its own wallet remains as a signpost, because redemptions and
entries name it.

It can be undone as long as nothing that came with it has been spent or passed on since, or made a debt: then it goes
back as it now stands, with what was awarded since by partners that only it was known to. Afterwards nobody could say
whose the rest is, so the undoing is refused.

A partner can sign for its members whenever it likes, and for members that it has made up. So neither side of a merge
may be asked for through a partner that the member has limited to some points a day, and no limit goes lost in one: else
a partner could merge itself out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from exchange.commands import ByReference, Merge, Unmerge
from exchange.decisions.decision import Decision, Terms, because, entry_of, no_member
from exchange.decisions.points import refuse_too_much
from exchange.errors import Forbidden, NotFound, ValidationFailed
from exchange.journal import Account, Entry, EntryKind, Posting, points_of
from exchange.merging import Moved, anonymous
from exchange.wallet import Absorbed, Given, Lot, Wallet


def merge(command: Merge, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Let the member that asks become the one that gave it the code."""
    if wallet is None or not wallet.linked_to(command.partner):
        raise Forbidden("the member has ended its link to this partner")
    into = terms.other
    good = command.permitted_until is not None and now < command.permitted_until
    if into is None or not good or not into.linked_to(command.permitted_through):
        raise NotFound("no such code, or it is no longer good", ("input", "code"))
    if into.id == wallet.id:
        raise ValidationFailed("is this member's own", ("input", "code"))
    _refuse_entangled(command, wallet, into)
    refuse_too_much(into, len(wallet.lots), sum(lot.remaining for lot in wallet.lots), path=("input",))
    # Nothing may refuse from here.
    came = tuple(link.partner for link in wallet.links if into.link(link.partner) is None)
    record = Absorbed(
        wallet=wallet.id, version=wallet.version + 1, at=now, lots=tuple(lot.id for lot in wallet.lots),
        links=wallet.links, came=came, taken=wallet.taken, given=wallet.given,
    )  # fmt: skip
    whole = replace(
        into, lots=into.lots + wallet.lots, absorbed=(*into.absorbed, record),
        links=into.links + tuple(link for link in wallet.links if link.partner in came),
        taken=_sum(into.taken, wallet.taken, 1), given=_later(into.given, wallet.given),
    )  # fmt: skip
    emptied = Wallet(wallet.id, wallet.version, wallet.period, merged_into=into.id)
    moved = Moved(wallet.lots, anonymous(wallet.links), wallet.taken, wallet.given)
    return Decision(
        wallet=emptied, other=whole, entry=_entry(command, EntryKind.MERGE, wallet, into, moved, now, salt),
        renamed=_references(record), renamed_to=into.id,
    )  # fmt: skip


def unmerge(command: Unmerge, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Let the member that was merged last go its own way again."""
    if wallet is None or not (command.by_exchange or wallet.linked_to(command.partner)):
        raise no_member()
    apart = terms.other
    record = wallet.absorbed[-1] if wallet.absorbed else None
    if record is None or apart is None or apart.id != record.wallet:
        raise ValidationFailed("no other member was merged into this one", ("input", "member"))
    if wallet.frozen and not command.by_exchange:
        raise Forbidden("the member is frozen")
    if record.spent:
        raise ValidationFailed("points that came with the other member have been spent since", ("input", "member"))
    back = tuple(lot for lot in wallet.lots if record.brought(lot))
    if any(lot.held for lot in back):
        raise ValidationFailed("points that came with the other member are held", ("input", "member"))
    links = record.parting(wallet.links)
    alone = replace(
        wallet, lots=tuple(lot for lot in wallet.lots if not record.brought(lot)), absorbed=wallet.absorbed[:-1],
        links=tuple(link for link in wallet.links if link.partner not in record.came),
        taken=_sum(wallet.taken, record.taken, -1),
    )  # fmt: skip
    if not any(link.open for link in links) or not any(link.open for link in alone.links):
        raise ValidationFailed(
            "one of the two would have no partner left: its last link was ended since", ("input", "member")
        )
    # Nothing may refuse from here.
    moved = Moved(back, anonymous(links), record.taken, record.given)
    again = replace(apart, merged_into=None, lots=back, links=links, taken=record.taken, given=record.given)
    return Decision(
        wallet=alone, other=again,
        entry=_entry(command, EntryKind.UNMERGE, wallet, apart, moved, now, salt, because(command.reason)),
        renamed=_references(record), renamed_to=apart.id,
    )  # fmt: skip


def _refuse_entangled(command: Merge, wallet: Wallet, into: Wallet) -> None:
    """Refuse to merge what could not be told apart, or what would get round somebody's decision."""
    if wallet.frozen or into.frozen:
        raise Forbidden("one of the two is frozen")
    link = into.link(command.partner)
    if link is not None and not link.open:
        raise Forbidden("the other member has ended its link to this partner")
    for one, through in ((wallet, command.partner), (into, command.permitted_through)):
        refuse_limited(one, through)
    for stands, why in (
        (wallet.household is not None, "shares a household: leave it first"),
        (bool(wallet.absorbed), "has taken another member in: merge the other way round"),
        (bool(wallet.debts), "owes points that its next awards repay first"),
        (any(lot.held for lot in wallet.lots), "has points that a reservation holds: let that end first"),
        (_lifts(wallet, into), "has a partner limited more than the other member: merge the other way round"),
    ):
        if stands:
            raise ValidationFailed(f"this member {why}", ("input",))


def refuse_limited(wallet: Wallet, through: str) -> None:
    """Refuse a merge that is asked for through a partner which may spend only so much a day."""
    link = wallet.link(through)
    if link is not None and link.daily_limit is not None:
        raise Forbidden("the member has limited what this partner may spend: merge through another partner")


def _lifts(wallet: Wallet, into: Wallet) -> bool:
    """Whether a limit of this member would be lifted, because the other one's link to the partner stands."""
    both = [(link.daily_limit, into.link(link.partner)) for link in wallet.links if link.open]
    return any(
        limit is not None and stays is not None and stays.open and not _within(stays.daily_limit, limit)
        for limit, stays in both
    )


def _within(limit: int | None, most: int) -> bool:
    return limit is not None and limit <= most


def _references(record: Absorbed) -> tuple[ByReference, ...]:
    return tuple(ByReference(link.partner, link.reference) for link in record.links)


def _entry(
    command: Merge | Unmerge, kind: EntryKind, wallet: Wallet, other: Wallet, moved: Moved, now: datetime,
    salt: bytes, detail: dict[str, str] | None = None,
) -> Entry:  # fmt: skip
    return entry_of(
        command, kind, wallet, now, salt, counterpart=other, postings=[p for lot in moved.lots for p in _over(lot)],
        detail=(detail or {}) | {"moved": moved.text(), "version": str(wallet.version + 1)},
    )  # fmt: skip


def _over(lot: Lot) -> list[Posting]:
    if not lot.remaining:
        return []
    unit = points_of(lot.issuer)
    return [
        Posting(Account.WALLET, lot.issuer, unit, -lot.remaining, lot.id),
        Posting(Account.WALLET, lot.issuer, unit, lot.remaining, lot.id),
    ]


def _sum(ours: Mapping[str, int], theirs: Mapping[str, int], sign: int) -> dict[str, int]:
    total = dict(ours)
    for benefit, units in theirs.items():
        total[benefit] = total.get(benefit, 0) + sign * units
    return total


def _later(ours: Mapping[str, Given], theirs: Mapping[str, Given]) -> dict[str, Given]:
    """Return what both gave away on the later day of the two: whoever gave earlier has given nothing on that day."""
    total = dict(ours)
    for issuer, given in theirs.items():
        mine = total.get(issuer)
        if mine is None or mine.on < given.on:
            total[issuer] = given
        elif mine.on == given.on:
            total[issuer] = Given(given.on, mine.points + given.points)
    return total
