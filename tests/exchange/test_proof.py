"""The second opinions by themselves: what they say of histories that no ledger writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.agreements import Debit
from exchange.amounts import Money
from exchange.decisions.redemptions import GRACE as LAW_GRACE
from exchange.decisions.redemptions import QUOTE_LIFETIME
from exchange.journal import GENESIS, Block, BlockKind, Entry, EntryKind
from exchange.merging import anonymous
from exchange.proof import TITLES, Proofs, Wrong
from exchange.proof.history import GRACE, Change, Event, Holds, differences, fold, unheld
from exchange.proof.lanes import LaneJudge, Placed
from exchange.proof.money import QUOTED_WITHIN, owed
from exchange.proof.stops import Stops
from exchange.rules import Rules
from exchange.wallet import Wallet
from tests.exchange.speech import (
    NOW,
    SALT,
    agreement,
    agreements,
    award,
    awarded,
    benefit,
    day,
    decided,
    merge,
    redeem,
    unmerge,
)

BOOK = agreements((None, "rides", 800))


def event(kind: EntryKind, version: int, *changes: tuple[str, int], **said: Any) -> Event:
    """Return a wallet's event by video; each version is a block of its own."""
    return Event(**{
        "id": f"{kind.lower()}-{version}", "kind": kind, "at": NOW, "by": "video", "version": version,
        "place": (1, version, 0), "period": 1, "changes": tuple(Change(lot, "video", n) for lot, n in changes), **said,
    })  # fmt: skip


def given(points: int = 100, **said: Any) -> Event:
    """Return the first event of every history here: a lot."""
    return event(EntryKind.AWARD, 1, ("award-1", points), **said)


def taken(version: int, *changes: tuple[str, int], **said: Any) -> Event:
    """Return a redemption at rides."""
    return event(
        EntryKind.REDEEM, version, *changes, **{"benefit": "rides/trip", "provider": "rides", "quantity": 1, **said}
    )


def held(version: int, *changes: tuple[str, int], **said: Any) -> Event:
    """Return a reservation at rides for a day."""
    return event(EntryKind.RESERVE, version, **{
        "benefit": "rides/trip", "provider": "rides", "channel": "video", "quantity": 2, "redemption": "r",
        "holds": tuple(Change(lot, "video", n) for lot, n in changes), "until": day(1), **said,
    })  # fmt: skip


def step(kind: EntryKind, version: int, *changes: tuple[str, int], holds: int = 0, **said: Any) -> Event:
    """Return a step of the redemption that `held` began, letting so many points go."""
    return event(kind, version, *changes, **{
        "benefit": "rides/trip", "provider": "rides", "channel": "video", "quantity": 2, "redemption": "r",
        "holds": (Change("award-1", "video", -holds),) if holds else (), **said,
    })  # fmt: skip


K = EntryKind
HOLD = [given(), held(2, ("award-1", 40))]
DONE = [*HOLD, step(K.CONFIRM, 3, ("award-1", -40), holds=40)]
SOUND = [given(), taken(2, ("award-1", -40)), taken(3, ("award-1", -60))]


def test_a_sound_history_is_the_wallet_it_makes() -> None:
    """Events that could have happened leave nothing to say."""
    wallet, wrong = fold(Wallet("w"), SOUND, BOOK)
    assert wrong == []
    assert (wallet.version, wallet.lots[0].remaining, wallet.taken) == (3, 0, {"rides/trip": 2})


@pytest.mark.parametrize(
    ("invariant", "says", "events"),
    [
        (3, "made version 3 of 1", [given(), taken(3, ("award-1", -40))]),
        (3, "made version 1 of 1", [given(), taken(1, ("award-1", -40), place=(2, 9, 0))]),
        (9, "of period 1 rests on wallet w of 2", [given(period=2), taken(2, ("award-1", -40))]),
        (2, "takes 101 from lot award-1, 100 free", [given(), taken(2, ("award-1", -101))]),
        (2, "takes 60 from lot award-1, 50 free", [given(), taken(2, ("award-1", -50)), taken(3, ("award-1", -60))]),
        (2, "takes 40 from lot award-1, 0 free", [given(expires_at=NOW), taken(2, ("award-1", -40))]),
        (2, "takes 40 from lot other", [given(), taken(2, ("other", -40))]),
        (2, "takes -40 from lot award-1", [given(), taken(2, ("award-1", 40))]),
        (2, "is not one new lot", [given(), event(EntryKind.AWARD, 2, ("award-1", 5))]),
        (2, "is not one new lot", [given(0)]),
        (2, "before its time", [given(), event(EntryKind.EXPIRE, 2, ("award-1", -100))]),
        (2, "or not all of it", [given(expires_at=NOW), event(EntryKind.EXPIRE, 2, ("award-1", -99))]),
        (3, "came through delivery", [given(), taken(2, ("award-1", -40), by="delivery")]),
        (3, "takes nothing", [given(), taken(2)]),
        (3, "takes nothing", [given(), taken(2, ("award-1", -40), benefit=None)]),
        (3, "ends a link that was not open", [given(), event(EntryKind.UNLINK, 2, said={"ended": "delivery"})]),
        (3, "moves points", [given(), event(EntryKind.ENROL, 2, ("award-1", 5))]),
        (2, "holds 101 of lot award-1", [given(), held(2, ("award-1", 101))]),
        (2, "holds 40 of lot award-1", [given(expires_at=NOW), held(2, ("award-1", 40))]),
        (2, "holds 61 of lot award-1", [*HOLD, held(3, ("award-1", 61), redemption="s")]),
        (2, "takes 61 from lot award-1, 60 free", [*HOLD, taken(3, ("award-1", -61))]),
        (3, "came through delivery", [given(), held(2, ("award-1", 40), by="delivery")]),
        (8, "moves points that it only holds", [given(), held(2, ("award-1", 40), changes=(Change("x", "video", 1),))]),
        (8, "until before it began", [given(), held(2, ("award-1", 40), until=NOW)]),
        (8, "holds points, or lets them go", [*HOLD, step(K.FULFIL, 3, holds=40)]),
        (8, "hold that was not open", [*DONE, step(K.CONFIRM, 4, ("award-1", -40), holds=40)]),
        (8, "hold that was not open", [*DONE, step(K.CANCEL, 4, holds=40)]),
        (8, "does not let go what was held", [*HOLD, step(K.CANCEL, 3, holds=39)]),
        (8, "ends a hold that ended", [*HOLD, step(K.CANCEL, 3, holds=40, at=day(1))]),
        (8, "ends a hold that ended", [*HOLD, step(K.LAPSE, 3, holds=40)]),
        (8, "confirms a hold that ended", [*HOLD, step(K.CONFIRM, 3, ("award-1", -40), holds=40, at=day(1))]),
        (8, "confirms 3 of 2", [*HOLD, step(K.CONFIRM, 3, ("award-1", -40), holds=40, quantity=3)]),
        (8, "other points than the first", [*HOLD, step(K.CONFIRM, 3, ("award-1", -39), holds=40)]),
        (8, "more than was taken of it", [*DONE, step(K.REVERSE, 4, ("award-1", 41))]),
        (3, "gives nothing back", [*DONE, step(K.REVERSE, 4)]),
        (2, "before its time", [*DONE, step(K.REVERSE, 4, ("award-1", -60), ("award-1", 40))]),
        (2, "is not video's here", [*DONE, step(K.REVERSE, 4, ("other", 40))]),
    ],
)  # fmt: skip
def test_what_cannot_have_happened_is_named(invariant: int, says: str, events: list[Event]) -> None:
    """A history that breaks an invariant is told by which and at which entry."""
    _, wrong = fold(Wallet("w"), events, BOOK)
    assert [number for number, _ in wrong if number == invariant], wrong
    assert any(says in what for _, what in wrong), wrong


# Points taken back, given more time, given besides, frozen, passed on


def reversal(version: int, *changes: tuple[str, int], debt: int = 0, lot: str = "award-1", **said: Any) -> Event:
    return event(K.REVERSE_AWARD, version, *changes, said={"lot": lot, "debt": str(debt)}, **said)


def goodwill(version: int, *changes: tuple[str, int], **said: Any) -> Event:
    return event(K.ADJUST, version, *changes, **{"said": {"reason": "sorry", "actor": "desk"}, **said})


def extension(version: int, until: datetime | None, *, lot: str = "award-1", **said: Any) -> Event:
    return event(K.EXTEND, version, said={"lot": lot}, expires_at=until, **said)


def freezing(version: int, kind: EntryKind = K.FREEZE, *, lot: str | None = None, **said: Any) -> Event:
    return event(
        kind, version, **{"said": {"reason": "fraud", "actor": "desk"} | ({} if lot is None else {"lot": lot}), **said}
    )


def passed(kind: EntryKind, version: int, *changes: tuple[str, int], ends: str | None = None, **said: Any) -> Event:
    """Return the giver's side of points that go to another wallet, as many as go; they never expire unless said so."""
    there = tuple(Change(f"there/{n}", "video", -points) for n, (_, points) in enumerate(changes))
    expire = " ".join("-" for _ in changes) if ends is None else ends
    return event(kind, version, *changes, **{"other": "other", "others": there, "said": {"expire": expire}, **said})


def came(kind: EntryKind, version: int, *changes: tuple[str, int], ends: str | None = None, **said: Any) -> Event:
    """Return the receiver's side; what comes never expires unless said otherwise."""
    expire = " ".join("-" for _ in changes) if ends is None else ends
    return event(kind, version, *changes, receives=True, **{"other": "other", "said": {"expire": expire}, **said})


def member(kind: EntryKind, version: int, **said: Any) -> Event:
    return event(kind, version, **{"other": "pool", **said})


def pool(kind: EntryKind, version: int, who: str = "ann", **said: Any) -> Event:
    return event(kind, version, other=who, receives=True, **said)


ENDS = given(expires_at=day(1))
COOL = given(said={"active_from": "2026-03-02T12:00:00Z"})
GIFT = came(K.GIVE, 2, ("give-2/0", 5))
OWES = [given(), taken(2, ("award-1", -60)), reversal(3, ("award-1", -40), debt=60)]
HOME = [given(), member(K.FOUND, 2)]
FOUNDED = [pool(K.FOUND, 1)]
PAID = [*FOUNDED, came(K.PAY_IN, 2, ("pay_in-2/0", 30), other="ann")]
LIMITED = [given(), event(K.LINK, 2, said={"daily_limit": "10"})]


@pytest.mark.parametrize(
    ("says", "events"),
    [
        # an award
        ("repays 0 of 60 points owed", [*OWES, event(K.AWARD, 4, ("award-4", 10))]),
        ("repays 9 of 60", [*OWES, event(K.AWARD, 4, ("award-4", 10), ("award-4", -9), said={"repaid": "9"})]),
        ("repays 61 of 60", [*OWES, event(K.AWARD, 4, ("award-4", 99), ("award-4", -61), said={"repaid": "61"})]),
        ("repays 5 of 0", [event(K.AWARD, 1, ("award-1", 10), ("award-1", -5), said={"repaid": "5"})]),
        ("repays 10 of 60", [*OWES, event(K.AWARD, 4, ("award-4", 10), said={"repaid": "10"})]),
        ("takes 40 from lot award-1, 0 free", [COOL, taken(2, ("award-1", -40))]),
        ("holds 40 of lot award-1", [COOL, held(2, ("award-1", 40))]),
        # its reversal
        ("which video did not award here", [given(), reversal(2, lot="other")]),
        ("which rides did not award here", [given(), reversal(2, by="rides")]),
        ("which video did not award here", [given(), GIFT, reversal(3, ("give-2/0", -5), lot="give-2/0")]),
        ("takes from others than award-1", [given(), event(K.AWARD, 2, ("award-2", 9)), reversal(3, ("award-2", -9))]),
        ("takes 0 and 0 back", [given(), reversal(2)]),
        ("takes 100 and 1 back", [given(), reversal(2, ("award-1", -100), debt=1)]),
        ("takes 0 and 1 back", [*OWES, reversal(4, debt=1)]),
        ("makes a debt of points that were free", [given(), reversal(2, ("award-1", -40), debt=10)]),
        ("takes 50 from lot award-1, 40 free", [*OWES[:2], reversal(3, ("award-1", -50))]),
        # more time
        ("gives more time to lot award-1", [given(), extension(2, day(9))]),
        ("gives more time to lot other", [ENDS, extension(2, day(9), lot="other")]),
        ("gives more time to lot award-1", [ENDS, extension(2, day(9), by="rides")]),
        ("gives more time to lot award-1", [ENDS, extension(2, day(9), at=day(1))]),
        ("does not give lot award-1 more time", [ENDS, extension(2, day(1))]),
        ("does not give lot award-1 more time", [ENDS, extension(2, day(9), changes=(Change("award-1", "video", 1),))]),
        # goodwill
        ("says not who decided it", [given(), goodwill(2, ("adjust-2", 5), said={"reason": "sorry"})]),
        ("says not who decided it", [given(), goodwill(2, ("award-1", -5), said={"actor": "desk"})]),
        ("is not one new lot", [given(), goodwill(2, ("another", 5))]),
        ("is not one new lot", [given(), goodwill(2)]),
        ("is not one new lot", [given(), goodwill(2, changes=(Change("adjust-2", "rides", 5),))]),
        ("takes others' points", [given(by="rides", changes=(Change("award-1", "rides", 9),)),
                                  goodwill(2, changes=(Change("award-1", "rides", -5),))]),
        ("takes 101 from lot award-1, 100 free", [given(), goodwill(2, ("award-1", -101))]),
        ("takes 5 from lot award-1, 0 free", [given(), freezing(2, lot="award-1"), goodwill(3, ("award-1", -5))]),
        ("takes 5 from lot award-1, 0 free", [ENDS, goodwill(2, ("award-1", -5), at=day(1))]),
        # freezing
        ("is no freezing", [given(), freezing(2, said={"reason": "fraud"})]),
        ("is no freezing", [given(), freezing(2, changes=(Change("award-1", "video", -5),))]),
        ("changes nothing", [given(), freezing(2), freezing(3)]),
        ("changes nothing", [given(), freezing(2, K.UNFREEZE)]),
        ("freezes lot award-1, or lets it go on, for nothing", [given(), freezing(2, K.UNFREEZE, lot="award-1")]),
        ("freezes lot other, or lets it go on, for nothing", [given(), freezing(2, lot="other")]),
        ("takes 5 from lot award-1, 0 free", [given(), freezing(2, lot="award-1"), taken(3, ("award-1", -5))]),
        # from wallet to wallet: the one that gives
        ("passes nothing on", [given(), passed(K.GIVE, 2)]),
        ("takes 101 from lot award-1", [given(), passed(K.GIVE, 2, ("award-1", -101))]),
        ("takes 5 from lot award-1, 0 free", [given(), freezing(2, lot="award-1"), passed(K.GIVE, 3, ("award-1", -5))]),
        ("gives points another end than they had", [ENDS, passed(K.GIVE, 2, ("award-1", -5))]),
        ("gives points another end than they had", [given(), passed(K.GIVE, 2, ("award-1", -5), ends="")]),
        ("brings other points than it takes", [given(), passed(K.GIVE, 2, ("award-1", -5), others=())]),
        ("takes out of a frozen wallet", [given(), freezing(2), taken(3, ("award-1", -40))]),
        ("takes out of a frozen wallet", [given(), freezing(2), held(3, ("award-1", 40))]),
        ("holds 40 of lot award-1", [given(), freezing(2, lot="award-1"), held(3, ("award-1", 40))]),
        ("gives out of a frozen wallet", [given(), freezing(2), passed(K.GIVE, 3, ("award-1", -5))]),
        ("rides, to which there was no open link", [given(), passed(K.GIVE, 2, ("award-1", -5), by="rides")]),
        ("more than the link's limit for a day", [*LIMITED, passed(K.GIVE, 3, ("award-1", -11))]),
        ("more than the link's limit for a day",
         [*LIMITED, passed(K.GIVE, 3, ("award-1", -6)), passed(K.GIVE, 4, ("award-1", -5))]),
        ("pays into a pool that is not the member's", [*HOME, passed(K.PAY_IN, 3, ("award-1", -5), other="another")]),
        ("pays into a pool that is not the member's", [given(), passed(K.PAY_IN, 2, ("award-1", -5), other="pool")]),
        ("is drawn by one who is no member", [*PAID, passed(K.DRAW, 3, ("pay_in-2/0", -5), other="bob")]),
        ("takes 31 from lot pay_in-2/0, 30 free", [*PAID, passed(K.DRAW, 3, ("pay_in-2/0", -31), other="ann")]),
        # and the one that gets
        ("does not say when the points expire", [given(), came(K.GIVE, 2, ("give-2/0", 5), ends="")]),
        ("does not say when the points expire", [given(), came(K.GIVE, 2, ("give-2/0", 5), ends="- -")]),
        ("brings lots that are not new", [given(), came(K.GIVE, 2, ("give-2/1", 5))]),
        ("brings lots that are not new", [given(), GIFT, came(K.GIVE, 3, ("give-2/0", 5), id="give-2")]),
        ("is given through a link that was not open", [given(), came(K.GIVE, 2, ("give-2/0", 5), by="rides")]),
        ("is paid in by one who is no member", [*FOUNDED, came(K.PAY_IN, 2, ("pay_in-2/0", 5), other="bob")]),
        # households
        ("moves points", [given(), member(K.FOUND, 2, changes=(Change("award-1", "video", -5),))]),
        ("finds the member in household pool", [*HOME, member(K.JOIN, 3)]),
        ("finds the member in household None", [given(), member(K.LEAVE, 2)]),
        ("finds the member in household pool", [*HOME, member(K.LEAVE, 3, other="another")]),
        ("joins twice, or leaves", [*FOUNDED, pool(K.JOIN, 2)]),
        ("joins twice, or leaves what it never joined", [*FOUNDED, pool(K.LEAVE, 2, "bob")]),
        ("founds what was there", [*FOUNDED, pool(K.FOUND, 2, "bob")]),
    ],
)  # fmt: skip
def test_what_cannot_have_happened_to_points_is_named(says: str, events: list[Event]) -> None:
    """A reversal, extension, goodwill, freezing, gift or household that cannot be is told, at its entry alone."""
    sound, before = fold(Wallet("w"), events[:-1], BOOK)
    assert before == []
    _, wrong = fold(sound, events[-1:], BOOK)
    assert any(says in what and events[-1].id in what for _, what in wrong), wrong


@pytest.mark.parametrize(
    "events",
    [
        OWES, [*OWES, event(K.AWARD, 4, ("award-4", 99), ("award-4", -60), said={"repaid": "60"})],
        [given(), reversal(2, ("award-1", -40)), reversal(3, ("award-1", -60))],
        [ENDS, extension(2, day(2)), extension(3, None, at=day(1))],
        [given(), goodwill(2, ("adjust-2", 5)), goodwill(3, ("adjust-2", -5), ("award-1", -5))],
        [given(), freezing(2), freezing(3, K.UNFREEZE)],
        [given(), freezing(2, lot="award-1"), freezing(3, K.UNFREEZE, lot="award-1")],
        [given(), freezing(2), reversal(3, ("award-1", -100))],
        [*LIMITED, passed(K.GIVE, 3, ("award-1", -10)), passed(K.GIVE, 4, ("award-1", -10), at=day(1))],
        [*HOME, passed(K.PAY_IN, 3, ("award-1", -5), other="pool"), came(K.DRAW, 4, ("draw-4/0", 5), other="pool"),
         member(K.LEAVE, 5), member(K.JOIN, 6, other="another")],
        [*PAID, pool(K.JOIN, 3, "bob"), passed(K.DRAW, 4, ("pay_in-2/0", -30), other="bob"), pool(K.LEAVE, 5, "bob")],
        [given(), came(K.GIVE, 2, ("give-2/0", 5), ("give-2/1", 5), ends="- 2026-03-09T12:00:00Z")],
    ],
)  # fmt: skip
def test_what_can_have_happened_to_points_is_sound(events: list[Event]) -> None:
    """The same events where they may be leave nothing to say."""
    assert fold(Wallet("w"), events, BOOK)[1] == []


def test_a_debt_and_what_was_given_away_are_folded() -> None:
    """They are part of the wallet that is held against what is stored."""
    owing, _ = fold(Wallet("w"), OWES, BOOK)
    assert (owing.debts, owing.lots[0].owed, owing.lots[0].withdrawn) == ({"video": 60}, 60, 40)
    giver, _ = fold(Wallet("w"), [*HOME, passed(K.PAY_IN, 3, ("award-1", -5), other="pool")], BOOK)
    assert (giver.given, giver.household) == ({"video": (NOW.date(), 5)}, "pool")
    (lot,) = owing.lots
    changes: list[tuple[Wallet, dict[str, Any]]] = [
        (owing, {"debts": {}}), (owing, {"frozen": True}), (owing, {"lots": (replace(lot, owed=0),)}),
        (owing, {"lots": (replace(lot, frozen_by="video"),)}), (owing, {"lots": (replace(lot, active_from=NOW),)}),
        (giver, {"given": {}}), (giver, {"household": None}), (giver, {"members": ("ann",)}),
        (giver, {"merged_into": "another"}),
    ]  # fmt: skip
    for folded, said in changes:
        assert {number for number, _ in differences(replace(folded, **said), folded)} == {3}, said


def nameless(wallet: Wallet, **said: Any) -> Wallet:
    """Return a wallet as the fold knows it, in whatever state."""
    return replace(wallet, links=anonymous(wallet.links), **said)


def test_a_merge_that_cannot_have_been_is_named() -> None:
    """Whoever is merged was free to be, all of it went over and is posted; and so it is with the undoing."""
    ann, bob = (awarded(award("video", 10, key=name), wallet=Wallet(name)) for name in ("ann", "bob"))
    merged = decided(merge("ann"), bob, other=ann)
    (_, gone), (_, came_in) = Event.both(merged.entry, (1, 1, 0), 1)
    assert merged.other is not None
    parted = decided(unmerge("ann", "bob"), merged.other, other=merged.wallet)
    (_, left), (_, again) = Event.both(parted.entry, (1, 1, 0), 1)
    whole, wrong = fold(nameless(ann), [came_in], BOOK)
    whole = replace(whole, version=0)
    assert wrong == []
    (record,) = whole.absorbed
    dropped = {"changes": ()}
    unsaid: dict[str, Any] = {"said": {"moved": "nothing"}}
    held = tuple(replace(lot, held=1) for lot in whole.lots)
    told: list[tuple[str | None, Wallet, Event]] = [
        (None, nameless(bob), gone), (None, whole, left), (None, merged.wallet, again),
        ("does not say what it moves", nameless(bob), replace(gone, **unsaid)),
        ("does not post what it moves", nameless(bob), replace(gone, **dropped)),
        ("takes over something else", nameless(bob, lots=()), gone),
        ("holds, owes, shares or is frozen", nameless(bob, frozen=True), gone),
        ("holds, owes, shares or is frozen", nameless(bob, household="pool"), gone),
        ("holds, owes, shares or is frozen", nameless(bob, debts={"video": 1}), gone),
        ("brings lots that were here", nameless(ann, lots=bob.lots), came_in),
        ("parts what is not merged", nameless(ann), left),
        ("parts what is not merged, or is spent", replace(whole, absorbed=(replace(record, spent=True),)), left),
        ("parts a member that is frozen", replace(whole, frozen=True), left),
        ("gives back something else", replace(whole, lots=held), left),
        ("parts from None", nameless(bob, lots=()), again),
    ]  # fmt: skip
    for says, before, one in told:
        _, wrong = fold(before, [one], BOOK)
        assert wrong == [] if says is None else any(says in what for _, what in wrong), (says, wrong)


@pytest.mark.parametrize(
    ("says", "changes", "until"),
    [
        (None, (("award-1", -60), ("award-1", 40)), day(32)),
        ("or not all of it", (("award-1", -59), ("award-1", 40)), day(32)),
        ("gives new time to 60 points", (("award-1", 40),), day(32)),
        ("time until", (("award-1", -60), ("award-1", 40)), day(33)),
    ],
)
def test_new_time_is_given_after_what_was_left_is_lost(
    says: str | None, changes: tuple[tuple[str, int], ...], until: datetime
) -> None:
    """What comes back into a lot that is over has thirty days; what was still in it has none."""
    over = [given(expires_at=day(1)), *DONE[1:], step(K.REVERSE, 4, *changes, at=day(2), until=until)]
    wallet, wrong = fold(Wallet("w"), over, BOOK)
    assert wrong == [] if says is None else any(says in what for _, what in wrong), wrong
    assert wallet.lots[0].expires_at == until


def test_what_is_held_is_what_open_holds_hold() -> None:
    """The fold tells which holds are open, and a wallet that holds something else is named by its lot."""
    holds: Holds = {}
    wallet, wrong = fold(Wallet("w"), HOLD, BOOK, holds)
    assert (wrong, list(holds), unheld(wallet, holds)) == ([], ["r"], [])
    assert [number for number, _ in unheld(replace(wallet, lots=(replace(wallet.lots[0], held=39),)), holds)] == [8]
    assert [number for number, _ in unheld(wallet, {})] == [8]
    wallet, wrong = fold(wallet, [step(K.LAPSE, 3, holds=40, at=day(1))], BOOK, holds)
    assert (wrong, holds, wallet.taken) == ([], {}, {"rides/trip": 0})


def test_the_law_and_its_second_opinion_mean_the_same_times() -> None:
    """How long what comes back lasts, and how long a quote is good, is said twice."""
    assert (GRACE, QUOTED_WITHIN) == (LAW_GRACE, QUOTE_LIFETIME)


def lots(first: str, *, kept: Any, spent: Any, since: Any = None) -> list[Wrong]:
    """Return what is said when of two lots of video the second is spent and the first kept."""
    events = [
        given(expires_at=kept),
        event(EntryKind.AWARD, 2, ("award-2", 100), expires_at=spent),
        taken(3, ("award-2", -40), provider=first),
    ]
    book = agreements(agreement(None, "rides", 800, since=since or day(-1)))
    return fold(Wallet("w"), events, book)[1]


def test_the_order_of_consumption_is_judged_by_what_could_be_spent() -> None:
    """Keeping the lot that ends first is wrong, if it could be spent there, by an agreement known for sure by then."""
    assert [number for number, _ in lots("rides", kept=day(1), spent=day(2))] == [6]
    assert [number for number, _ in lots("rides", kept=None, spent=None)] == [6], "the first awarded comes first"
    assert lots("rides", kept=day(2), spent=day(1)) == []
    assert lots("rides", kept=None, spent=day(1)) == []
    assert lots("rides", kept=day(-1), spent=day(2)) == [], "what is over cannot be spent"
    assert lots("delivery", kept=day(1), spent=day(2)) == [], "there is no agreement"
    assert lots("rides", kept=day(1), spent=day(2), since=NOW) == [], "nobody may have known it yet"


def test_points_that_were_frozen_may_be_kept() -> None:
    """Whoever had its points stopped by the exchange, or may have had, is passed over; not before, and not after."""
    versions = [
        Rules(partner="video", version=1, since=day(-9)),
        Rules(partner="video", version=2, since=day(1), frozen="fraud"),
        Rules(partner="video", version=3, since=day(2)),
        Rules(partner="video", version=4, since=day(4), frozen="fraud again"),
    ]
    book = agreements((None, "rides", 800))

    def kept(at: datetime, *rules: Rules) -> list[int]:
        events = [
            given(),
            event(EntryKind.AWARD, 2, ("award-2", 100), by="rides", changes=(Change("award-2", "rides", 100),)),
            taken(3, changes=(Change("award-2", "rides", -40),), by="rides", at=at),
        ]
        return [number for number, _ in fold(Wallet("w"), events, book, stops=Stops(rules))[1]]

    minute = timedelta(minutes=1)
    told = {
        day(1) - 2 * minute: [6], day(1) - minute: [], day(1.5): [], day(2): [], day(2) + 2 * minute: [6], day(3): [6],
        day(9): [],
    }  # fmt: skip
    assert {at: kept(at, *versions) for at in told} == told
    assert kept(day(1.5), Rules(partner="rides", version=1, since=day(1), frozen="another")) == [6]


def test_a_stored_wallet_is_held_against_its_entries() -> None:
    """Every difference is named: lots, links, counts, version; references are no part of it."""
    folded, _ = fold(Wallet("w"), SOUND, BOOK)
    named = replace(folded, links=tuple(replace(link, reference="ann") for link in folded.links))
    assert differences(named, folded) == []
    changed = [
        replace(named, version=4), replace(named, period=2), replace(named, lots=()), replace(named, links=()),
        replace(named, taken={"rides/trip": 1}), replace(named, lots=(replace(named.lots[0], issuer="rides"),)),
    ]  # fmt: skip
    assert all(number == 3 for one in changed for number, _ in differences(one, folded))
    assert all(differences(one, folded) for one in changed)
    held = replace(named, lots=(replace(named.lots[0], held=1),))
    assert 2 in {number for number, _ in differences(held, folded)}


# Money


def a_redemption() -> Entry:
    wallet = awarded(award("video", 211), award("delivery", 307), award("rides", 1000))
    trip = benefit("rides/trip", 700)
    return decided(redeem(trip), wallet, agreements(*TERMS), of=trip).entry


TERMS = (
    agreement("video", "rides", 8765, fee=310, commission=170),
    agreement("delivery", "rides", 4321, fee=130),
    agreement("rides", "video", 1),
)
BY_ID = {term.id: term for term in TERMS}


def test_a_redemption_by_the_rules_is_sound() -> None:
    """What the decision priced is what the rules say, computed in fractions."""
    assert owed(a_redemption(), BY_ID, agreements(*TERMS)) == []


def debits(entry: Entry, row: int, **said: Any) -> Entry:
    changed = [replace(debit, **said) if n == row else debit for n, debit in enumerate(entry.debits)]
    return replace(entry, debits=tuple(changed))


@pytest.mark.parametrize(
    ("says", "row", "said"),
    [
        ("owes (1850, 57, 31), by the agreement (1849, 57, 31)", 0, {"owed": Money(1850, "EUR")}),
        ("owes (1849, 58, 31)", 0, {"fee_minor": 58}),
        ("owes (1849, 57, 30)", 0, {"commission_minor": 30}),
        ("its postings are not what its rows owe", 0, {"fee_minor": 58}),
        ("its rows are not the points taken", 0, {"points": 212}),
        ("there is no agreement", 0, {"agreement": None}),
        ("is not for what video owes", 0, {"agreement": "delivery>rides#000001"}),
        ("is not for what video owes", 0, {"agreement": "rides>video#000001"}),
        ("is not for what video owes", 0, {"owed": Money(1849, "USD")}),
        ("rides owes itself something", 2, {"owed": Money(1, "EUR")}),
    ],
)
def test_what_costs_something_else_is_named(says: str, row: int, said: dict[str, Any]) -> None:
    """A row that is not what its points cost under its agreement is told, with both figures."""
    wrong = owed(debits(a_redemption(), row, **said), BY_ID, agreements(*TERMS))
    assert all(number == 7 for number, _ in wrong)
    assert any(says in what for _, what in wrong), wrong


def test_an_agreement_that_was_not_in_force_is_named() -> None:
    """A row under an old version is wrong, unless the new one is so new that nobody may have known it."""
    for since, wrong in ((day(-1), 1), (NOW, 0), (day(1), 0)):
        newer = agreement("video", "rides", 8765, fee=310, commission=170, version=2, since=since)
        said = owed(a_redemption(), BY_ID | {newer.id: newer}, agreements(*TERMS, newer))
        assert len(said) == wrong, since


def test_only_redemptions_owe() -> None:
    """An award with a debit is wrong."""
    entry = decided(award("video", 1), Wallet("w")).entry
    assert owed(entry, {}, BOOK) == []
    assert {number for number, _ in owed(replace(entry, debits=(Debit("video", 1),)), {}, BOOK)} == {7}


# Lanes


def block(before: Block | None, *entries: Entry, **said: Any) -> Block:
    kind = BlockKind.ENTRIES if entries else BlockKind.VOID if before else BlockKind.GENESIS
    return Block.seal(**{
        "lane": 1, "seq": 0 if before is None else before.seq + 1, "kind": kind,
        "period": 1 if before is None else before.period_after, "prev": GENESIS if before is None else before.hash,
        "at": NOW, "salt": SALT, "entries": entries, **said,
    })  # fmt: skip


def placed(entry: Entry, where: Block, offset: int = 0) -> Placed:
    return Placed(entry.id, 1, where.seq, offset, where.period, entry.settling, entry)


def test_a_sound_lane_has_its_cuts_as_ranges() -> None:
    """Blocks in order leave nothing to say; each cut ends a range that begins behind the one before."""
    judge = LaneJudge(1)
    entry = decided(award("video", 1), Wallet("w")).entry
    genesis = block(None)
    entries = block(genesis, entry)
    cut = block(entries, kind=BlockKind.CUT)
    another = block(cut, kind=BlockKind.CUT)
    for one in (genesis, entries, cut, another):
        assert judge.judge(one, [placed(entry, one)] if one is entries else []) == []
    assert judge.begun == 1
    assert {number: (cut.first, cut.last) for number, cut in judge.cuts.items()} == {1: (0, 2), 2: (3, 3)}


@pytest.mark.parametrize(
    ("says", "said"),
    [
        ("stands where 1 is missing", {"seq": 2}), ("does not name the block before it", {"prev": "f" * 64}),
        ("is of period 2", {"period": 2}), ("is older than the block before it", {"at": day(-1)}),
        ("is a GENESIS block", {"kind": BlockKind.GENESIS}),
    ],
)  # fmt: skip
def test_a_broken_lane_is_named(says: str, said: dict[str, Any]) -> None:
    """A gap, another predecessor, a period or a time out of order are told, even if the block hashes well."""
    judge = LaneJudge(1)
    genesis = block(None)
    judge.judge(genesis, [])
    wrong = judge.judge(block(genesis, **said), [])
    assert all(number == 9 for number, _ in wrong)
    assert any(says in what for _, what in wrong), wrong


# Proofs


def test_a_proof_says_in_one_line_what_came_of_it() -> None:
    """Whoever reads the line knows the invariant, how much was judged, and the first thing that is wrong."""
    proofs = Proofs()
    proofs.judged(8, 1234)
    proofs.add(Wrong(8, f"thing {n}") for n in range(100))
    proofs.require(True, 2, "never said")
    sound, broken = proofs.all()[1], proofs.all()[7]
    assert sound.holds
    assert sound.line() == (
        "ok       2  No lot is overdrawn, and every point of it is accounted for (0 judged)"
    )  # fmt: skip
    assert broken.line() == f"BROKEN   8  {TITLES[8]} (100 wrong; first: thing 0)"
    assert (len(broken.wrong), broken.judged) == (20, 1234)
