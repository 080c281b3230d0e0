"""A wallet's history: the fold of its entries, judged on the way.

This is the second opinion on `decisions`: it shares the form of a wallet with them, and none of their reasoning. From
what entries say happened it makes the wallet that must have come of it, and says at which entry something happened
that must not: more taken from a lot than was free, a lot that expires later taken before one that could have been
spent, a version that no entry accounts for, an entry of an earlier period than what it rests on, a hold that ends twice
or too late, more given back than was taken.

What it cannot see: the member's references (entries hold no personal data). What a step may do to a redemption is
judged beside it (`redemptions`); here it is judged what it does to the wallet.

The modules mirror those of `decisions`: `links`, `points`, `sharing`, `merging`, `redemptions`.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.journal import EntryKind
from exchange.merging import anonymous as anonymous_links
from exchange.proof import Wrong
from exchange.proof.history import adjustments, links, merging, points, redemptions, sharing
from exchange.proof.history.event import Change, Event, Holds, Judged, Known
from exchange.proof.history.redemptions import GRACE
from exchange.proof.stops import Stops
from exchange.wallet import Wallet

__all__ = ["GRACE", "Change", "Event", "Holds", "differences", "fold", "unheld"]


_STEPS: dict[EntryKind, Callable[[Wallet, Event, Known], Judged]] = {
    EntryKind.ENROL: links.enrol,
    EntryKind.AWARD: points.award,
    EntryKind.REVERSE_AWARD: points.reverse_award,
    EntryKind.EXTEND: points.extend,
    EntryKind.ADJUST: points.adjust,
    EntryKind.FREEZE: points.freeze,
    EntryKind.UNFREEZE: points.freeze,
    EntryKind.GIVE: sharing.pass_on,
    EntryKind.PAY_IN: sharing.pass_on,
    EntryKind.DRAW: sharing.pass_on,
    EntryKind.FOUND: sharing.membership,
    EntryKind.JOIN: sharing.membership,
    EntryKind.LEAVE: sharing.membership,
    EntryKind.MERGE: merging.merge,
    EntryKind.UNMERGE: merging.unmerge,
    EntryKind.REDEEM: redemptions.redeem,
    EntryKind.EXPIRE: points.expire,
    EntryKind.LINK: links.link,
    EntryKind.UNLINK: links.unlink,
    EntryKind.RESERVE: redemptions.reserve,
    EntryKind.CONFIRM: redemptions.confirm,
    EntryKind.CANCEL: redemptions.release,
    EntryKind.LAPSE: redemptions.release,
    EntryKind.FULFIL: redemptions.fulfil,
    EntryKind.FAIL: redemptions.give_back,
    EntryKind.REVERSE: redemptions.give_back,
    EntryKind.ADJUSTMENT: adjustments.adjust,
}


_HOLDING = (EntryKind.RESERVE, EntryKind.CONFIRM, EntryKind.CANCEL, EntryKind.LAPSE)


def fold(
    wallet: Wallet, events: Iterable[Event], book: AgreementBook, holds: Holds | None = None,
    stops: Stops | None = None,
) -> tuple[Wallet, list[Wrong]]:  # fmt: skip
    """Return the wallet that its next events make, and all that is wrong with them. References stay empty.

    The events come in order of version and place. Those of one version are of one block: it was one commit. `holds`:
    those that are open before, and that are open afterwards. `stops`: whose points were frozen when.
    """
    folded = wallet
    known = Known(book, {} if holds is None else holds, stops or Stops())
    wrong: list[Wrong] = []
    block: tuple[int, int] | None = None
    for event in events:
        same = event.version == folded.version and event.place[:2] == block
        if not same and event.version != folded.version + 1:
            wrong.append(
                Wrong(3, f"wallet {wallet.id}: entry {event.id} made version {event.version} of {folded.version}")
            )
        block = event.place[:2]
        if event.period < folded.period:
            wrong.append(
                Wrong(9, f"entry {event.id} of period {event.period} rests on wallet {wallet.id} of {folded.period}")
            )
        step, complaints = _STEPS[event.kind](folded, event, known)
        wrong += complaints
        if event.holds and event.kind not in _HOLDING:
            wrong.append(Wrong(8, f"entry {event.id} holds points, or lets them go"))
        folded = replace(step, version=event.version, period=max(event.period, folded.period))
    return folded, wrong


def differences(stored: Wallet, folded: Wallet) -> list[Wrong]:
    """Return in what a stored wallet is not the fold of its entries, and what is impossible in it by itself."""
    wrong = [
        Wrong(2, f"wallet {stored.id}, lot {lot.id}: {lot.held} held of {lot.remaining} of {lot.awarded}")
        for lot in stored.lots
        if not (
            0 <= lot.held <= lot.remaining
            and lot.awarded == lot.remaining + lot.redeemed + lot.expired + lot.given + lot.withdrawn - lot.restored
        )
    ]
    absorbed = tuple(replace(one, links=anonymous_links(one.links)) for one in stored.absorbed)
    anonymous = replace(stored, links=anonymous_links(stored.links), absorbed=absorbed)
    for name in ("version", "period", "debts", "given", "frozen", "household", "members", "merged_into", "absorbed"):
        ours, theirs = getattr(anonymous, name), getattr(folded, name)
        if ours != theirs:
            wrong.append(Wrong(3, f"wallet {stored.id} is of {name} {ours}, its entries make {theirs}"))
    wrong += _each(stored.id, "lot", {lot.id: lot for lot in stored.lots}, {lot.id: lot for lot in folded.lots})
    if [lot.id for lot in stored.lots] != [lot.id for lot in folded.lots]:
        wrong.append(Wrong(3, f"wallet {stored.id}: its lots are not in the order of award"))
    links = ({link.partner: link for link in wallet.links} for wallet in (anonymous, folded))
    wrong += _each(stored.id, "link", *links)
    wrong += _each(stored.id, "count of", dict(stored.taken), dict(folded.taken))
    return wrong


def unheld(stored: Wallet, holds: Holds) -> list[Wrong]:
    """Return the lots of which a stored wallet holds something else than its open holds do."""
    open_holds: Counter[str] = Counter()
    for hold in holds.values():
        for take in hold.takes:
            open_holds[take.lot] += take.points
    held = {lot.id: lot.held for lot in stored.lots}
    return [
        Wrong(8, f"wallet {stored.id}, lot {lot}: {held.get(lot, 0)} points held, by open holds {open_holds[lot]}")
        for lot in sorted(held.keys() | open_holds.keys())
        if held.get(lot, 0) != open_holds[lot]
    ]


def _each(wallet: str, what: str, stored: Mapping[str, object], folded: Mapping[str, object]) -> list[Wrong]:
    return [
        Wrong(3, f"wallet {wallet}, {what} {name}: {stored.get(name)}, its entries make {folded.get(name)}")
        for name in sorted(stored.keys() | folded.keys())
        if stored.get(name) != folded.get(name)
    ]
