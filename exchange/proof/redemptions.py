"""A redemption's life: the fold of its entries, judged on the way.

The second opinion on what becomes of a redemption. The table of its steps is the public one; what a step makes of the
redemption is read from its entry, and compared with what it must have been: a confirmation takes the first points of
what was held, a reversal gives back the last that are not back yet, and never more than the original.

How a benefit was fulfilled when it was confirmed stands in no other entry, so the entry says where it left the
redemption. Codes are no part of an entry; `exchange.check` holds them against their pool.

Pure: no driver, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from exchange.agreements import Agreement, AgreementBook
from exchange.benefit import StockChange
from exchange.journal import Account, Entry, EntryKind
from exchange.proof import Wrong
from exchange.proof.money import owed, promised
from exchange.redemption import TRANSITIONS, Redemption, RedemptionStatus, Step
from exchange.wallet import Take

_S = RedemptionStatus
_CONFIRMED = frozenset({_S.CONFIRMED, _S.FULFILLED})
BEGINNINGS = (EntryKind.REDEEM, EntryKind.RESERVE)
STEPS: Mapping[EntryKind, Step] = {EntryKind(step.value): step for step in Step}


class Act(NamedTuple):
    """An entry about a redemption. `place`: the block's lane and seq, and the index there."""

    entry: Entry
    place: tuple[int, int, int]
    period: int


@dataclass(slots=True)
class Life:
    """What its acts so far make of a redemption; `sold`: units of stock that are gone for it."""

    id: str
    agreements: Mapping[str, Agreement]
    book: AgreementBook
    redemption: Redemption | None = None
    sold: int = 0
    _block: tuple[int, int] | None = None

    @property
    def version(self) -> int:
        """How many commits wrote it: what one batch does to it is written once."""
        return 0 if self.redemption is None else self.redemption.version

    @property
    def stock(self) -> StockChange:
        """What it takes of its benefit's stock."""
        if self.redemption is None or self.redemption.status is not _S.RESERVED:
            return StockChange(sold=self.sold)
        return StockChange(self.sold, self.redemption.quantity)

    def continues(self, act: Act) -> bool:
        """Whether an act was committed together with the one before it."""
        return act.place[:2] == self._block

    def go_on(self, act: Act) -> list[Wrong]:
        """Fold the next act, and return what is wrong with it."""
        entry, before = act.entry, self.redemption
        commits = self.version + (not self.continues(act))
        self._block = act.place[:2]
        if before is None:
            made, wrong = self._begun(entry)
            if made is None:
                return wrong
        else:
            made, wrong = self._stepped(before, entry)
        wrong += owed(entry, self.agreements, self.book, before)
        self.redemption = replace(made, version=commits, period=act.period, updated_at=entry.at)
        return wrong

    def _begun(self, entry: Entry) -> tuple[Redemption | None, list[Wrong]]:
        if entry.kind not in BEGINNINGS:
            return None, [Wrong(5, f"redemption {self.id} begins with the {entry.kind} of entry {entry.id}")]
        wrong = _unless(entry.id == self.id, 5, entry, f"begins redemption {self.id}, which is another")
        takes = _out_of_lots(entry) if entry.kind is EntryKind.REDEEM else list(entry.holds)
        until = entry.detail.get("until")
        debits = list(entry.debits)
        status = _S.RESERVED
        if entry.kind is EntryKind.REDEEM:
            status, more = _said(entry, _CONFIRMED)
            self.sold += entry.quantity
        else:
            debits, more = promised(entry, self.agreements, self.book)
        points = sum(take.points for take in takes)
        whole = entry.quantity > 0 and points % entry.quantity == 0
        wrong += [*more, *_unless(whole, 3, entry, f"takes {points} points for {entry.quantity} units")]
        wrong += _unless(entry.channel == entry.by, 3, entry, f"is by {entry.by}, and came through {entry.channel}")
        return Redemption(
            id=self.id, benefit=entry.benefit or "", provider=entry.provider or "", channel=entry.channel or "",
            wallet=entry.wallet, quantity=entry.quantity or 1, points=points, status=status, debits=tuple(debits),
            takes=tuple(takes), created_at=entry.at, updated_at=entry.at,
            reserved_until=None if until is None else datetime.fromisoformat(until),
        ), wrong  # fmt: skip

    def _stepped(self, before: Redemption, entry: Entry) -> tuple[Redemption, list[Wrong]]:
        same = ("benefit", "provider", "channel")
        # Of a member that was merged since, the entry says so, and is its wallet's history to judge.
        taken_by = entry.detail.get("taken_by", entry.wallet).partition("@")[0]
        wrong = _unless(taken_by == before.wallet, 3, entry, f"is about a redemption of wallet {before.wallet}")
        wrong += [
            Wrong(3, f"entry {entry.id} is about {name} {getattr(entry, name)}, the redemption {getattr(before, name)}")
            for name in same
            if getattr(entry, name) != getattr(before, name)
        ]
        step = STEPS.get(entry.kind)
        allowed = frozenset[RedemptionStatus]() if step is None else TRANSITIONS.get((before.status, step), frozenset())
        if step is None or not allowed:
            return before, [*wrong, Wrong(8, f"entry {entry.id}: {entry.kind} of what is {before.status}")]
        if step is Step.CONFIRM:
            made, more = self._confirmed(before, entry, allowed)
        elif step in (Step.FAIL, Step.REVERSE):
            made, more = self._returned(before, entry, step)
        else:
            (status,) = allowed
            made = replace(before, status=status)
            more = _unless(entry.quantity == before.quantity, 3, entry, f"is of {entry.quantity} units")
        wrong += more
        if made.status not in allowed:
            wrong.append(Wrong(8, f"entry {entry.id}: {entry.kind} leads from {before.status} to {made.status}"))
        return made, wrong

    def _confirmed(
        self, before: Redemption, entry: Entry, allowed: frozenset[RedemptionStatus]
    ) -> tuple[Redemption, list[Wrong]]:
        status, wrong = _said(entry, allowed)
        takes = _out_of_lots(entry)
        points = sum(take.points for take in takes)
        due = before.unit_points * entry.quantity
        wrong += _unless(points == due, 8, entry, f"confirms {entry.quantity} units with {points} points, not {due}")
        wrong += _unless(0 < entry.quantity <= before.quantity, 8, entry, f"confirms {entry.quantity} units")
        self.sold += entry.quantity
        return replace(
            before, quantity=entry.quantity or 1, points=points, takes=tuple(takes), debits=entry.debits, status=status
        ), wrong

    def _returned(self, before: Redemption, entry: Entry, step: Step) -> tuple[Redemption, list[Wrong]]:
        wrong = _unless(
            0 < entry.quantity <= before.left, 8, entry, f"gives {entry.quantity} units back, {before.left} are left"
        )
        back = [
            Take(posting.lot or "", posting.party, posting.amount)
            for posting in entry.postings
            if posting.account is Account.WALLET and posting.amount > 0
        ]
        skip, due = before.unit_points * before.returned, before.unit_points * entry.quantity
        expected = []
        for take in reversed(before.takes):
            over = min(skip, take.points)
            part = min(take.points - over, due)
            skip, due = skip - over, due - part
            if part:
                expected.append(take._replace(points=part))
        wrong += _unless(back == expected, 8, entry, "gives back other points than the last that were taken")
        if before.status is _S.CONFIRMED:  # not delivered: somebody else can have them
            self.sold -= entry.quantity
        returned = before.returned + entry.quantity
        whole = _S.FAILED if step is Step.FAIL else _S.REVERSED
        return replace(before, returned=returned, status=whole if returned >= before.quantity else before.status), wrong


def unlike(stored: Redemption, folded: Redemption | None) -> list[Wrong]:
    """Return in what a stored redemption is not the fold of its entries; codes aside."""
    if folded is None:
        return [Wrong(3, f"redemption {stored.id} is of version {stored.version}, which no entry made")]
    return [
        Wrong(3, f"redemption {stored.id}: its {name} is {ours}, its entries make {theirs}")
        for name in Redemption.__struct_fields__  # `fields` would read its annotations anew for every redemption
        if name != "codes"
        for ours, theirs in ((getattr(stored, name), getattr(folded, name)),)
        if ours != theirs
    ]


def _out_of_lots(entry: Entry) -> list[Take]:
    return [
        Take(posting.lot or "", posting.party, -posting.amount)
        for posting in entry.postings
        if posting.account is Account.WALLET
    ]


def _said(entry: Entry, allowed: frozenset[RedemptionStatus]) -> tuple[RedemptionStatus, list[Wrong]]:
    """Return where an entry says that it left the redemption; if that cannot be, the first that can."""
    said = entry.detail.get("status")
    if said in allowed:
        return RedemptionStatus(said), []
    return min(allowed), [Wrong(3, f"entry {entry.id} says that the redemption is {said}")]


def _unless(sound: bool, invariant: int, entry: Entry, what: str) -> list[Wrong]:  # noqa: FBT001 - reads as it is said
    return [] if sound else [Wrong(invariant, f"entry {entry.id} {what}")]
