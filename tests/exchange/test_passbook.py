"""The passbook of one wallet, in values: what an entry did to it, who may see that, and what is still to expire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.benefit import Fulfilment
from exchange.commands import Command, Give
from exchange.decisions import Terms, decide
from exchange.journal import EXCHANGE, Entry, EntryKind
from exchange.passbook import Expiration, Movement, PointsEvent, Standing, expirations
from exchange.redemption import Redemption, Step
from exchange.rules import RuleBook, Rules
from exchange.wallet import Wallet
from tests.exchange.speech import (
    SALT,
    act,
    agreements,
    award,
    awarded,
    benefit,
    by_reference,
    day,
    decided,
    expire,
    link,
    lot,
    reserve,
)

PAGE = Path(__file__).parents[2] / "docs" / "points.md"
BOOK = agreements(("video", "rides", 800), ("delivery", "rides", 800))
RIDE = benefit("rides/trip", 60, fulfilment=Fulfilment.PARTNER_CALL)


class Life:
    """A wallet, the entries that made it, and what it was after each."""

    def __init__(self) -> None:
        self.wallet = Wallet("wallet-of-ann")
        self.entries: list[Entry] = []
        self.wallets: list[Wallet] = []
        self.taken: Redemption | None = None

    def happens(self, on: float, command: Command, **terms: Any) -> None:
        """Decide a command, and write it down."""
        made = decided(command, self.wallet, BOOK, now=day(on), redemption=self.taken, **terms)
        self.wallet = replace(made.wallet, version=self.wallet.version + 1)
        self.entries.append(made.entry)
        self.wallets.append(self.wallet)
        self.taken = made.redemption or self.taken

    @property
    def events(self) -> list[PointsEvent]:
        """The same, as events."""
        return [PointsEvent.of(entry, self.wallet.id, 0) for entry in self.entries]


@pytest.fixture
def life() -> Life:
    """Give the life of the page's example."""
    life = Life()
    life.happens(0, award("video", 100, expires=day(31), reason="welcome", key="of-video"))
    life.happens(1, link("delivery", life.wallet.id))
    life.happens(1, award("delivery", 50, reason="late parcel", key="of-delivery"))
    life.happens(2, reserve(RIDE, 2, through="video"), of=RIDE)
    life.happens(2, act(Step.CONFIRM, life.taken), of=RIDE)
    life.happens(35, act(Step.REVERSE, life.taken, 1, reason="no driver came"), of=RIDE)
    life.happens(66, expire("of-video", life.wallet.id, issuer=EXCHANGE))
    return life


def test_the_pages_example_is_what_happens(life: Life) -> None:
    """Every row of the page's table, and no other, comes of deciding its story: postings, holds and running sums."""
    rows = [line.strip("| \n").split("|") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    told = [tuple(cell.strip() for cell in row) for row in rows if len(row) == 9]
    header, *told = told
    assert header[-2:] == ("balance", "held in all")
    written = []
    standing = Standing()
    for event in life.events:
        who = (str((event.at - day(0)).days), event.kind.value, event.by, event.reason or "")
        for move in event.movements:
            standing = standing._replace(balance=standing.balance + move.points)
            written.append((*who, move.issuer, str(move.points), "0", *map(str, standing)))
        for hold in event.holds:
            standing = standing._replace(held=standing.held + hold.points)
            written.append((*who, hold.issuer, "0", str(hold.points), *map(str, standing)))
        if not event.movements and not event.holds:
            written.append((*who, "", "0", "0", *map(str, standing)))
    assert told == written


def test_the_running_balance_is_what_the_lots_hold(life: Life) -> None:
    """After every entry the standing is the wallet's remaining and held points, expired or not."""
    standing = Standing()
    for event, wallet in zip(life.events, life.wallets, strict=True):
        standing = standing.after(event)
        assert standing == (sum(one.remaining for one in wallet.lots), sum(one.held for one in wallet.lots))
    assert standing == (50, 0)


def test_an_event_is_the_sum_of_its_movements(life: Life) -> None:
    """Points and held add up what the entry did lot by lot, signed."""
    confirmed = life.events[4]
    assert confirmed.kind is EntryKind.CONFIRM
    assert confirmed.movements == (Movement("of-video", "video", -100), Movement("of-delivery", "delivery", -20))
    assert confirmed.holds == confirmed.movements
    assert (confirmed.points, confirmed.held) == (-120, -120)


def test_a_partner_sees_what_it_brought_and_of_that_its_own_lots(life: Life) -> None:
    """Video brought the redemption: it sees it, with its reason, and nothing of delivery's lot."""
    seen = life.events[4].seen_by("video")
    assert seen is not None
    assert (seen.by, seen.points, seen.held) == ("video", -100, -100)
    assert {move.issuer for move in (*seen.movements, *seen.holds)} == {"video"}
    award_seen = life.events[0].seen_by("video")
    assert award_seen == life.events[0]


def test_a_partner_is_not_told_who_else_moved_its_lots_nor_why(life: Life) -> None:
    """The reversal moved delivery's lot: delivery sees when, what and how much, not by whom or the reason."""
    whole = life.events[5]
    assert (whole.by, whole.reason) == ("rides", "no driver came")
    seen = whole.seen_by("delivery")
    assert seen == replace(whole, by=None, reason=None, movements=(Movement("of-delivery", "delivery", 20),))
    assert whole.seen_by("rides") == replace(whole, movements=())


def test_a_partner_sees_a_hold_of_its_lots(life: Life) -> None:
    """A reservation in another partner's app is seen by the issuer whose points it holds."""
    seen = life.events[3].seen_by("delivery")
    assert seen is not None
    assert (seen.by, seen.points, seen.held) == (None, 0, 20)


def test_what_does_not_concern_a_partner_it_does_not_see(life: Life) -> None:
    """Neither another's award nor another's link, and nothing at all for a partner that has no part in it."""
    assert [event.kind for event in life.events if event.seen_by("delivery")] == [
        "LINK", "AWARD", "RESERVE", "CONFIRM", "REVERSE",
    ]  # fmt: skip
    assert [event.kind for event in life.events if event.seen_by("video")] == [
        "AWARD", "RESERVE", "CONFIRM", "REVERSE", "EXPIRE",
    ]  # fmt: skip
    assert [event.kind for event in life.events if event.seen_by("rides")] == ["REVERSE"]
    assert not any(event.seen_by("music") for event in life.events)


def test_a_gift_is_in_two_passbooks_each_with_its_side() -> None:
    """Who gives sees points leave its lots, who gets sees them come into new ones; each by its own wallet's version."""
    giver = replace(awarded(award("video", 100, key="of-video")), version=4)
    bob = by_reference("video", "bob")
    receiver = replace(awarded(award("video", 1, whose=bob), wallet=Wallet("of-bob")), version=8)
    terms = Terms(other=receiver, rules=RuleBook([Rules(partner="video", gift_day_points=30)]))
    gift = Give(
        id="gift", fingerprint="", partner="video", whose=by_reference("video"), to=bob, points=30, reason="birthday"
    )
    entry = decide(gift, giver, terms, day(0), SALT).entry
    gave, got = PointsEvent.of(entry, giver.id, 2), PointsEvent.of(entry, "of-bob", 2)
    assert gave.movements == (Movement("of-video", "video", -30),)
    assert got.movements == (Movement("gift/0", "video", 30),)
    assert (gave.place, got.place) == ((5, 2), (9, 2))
    assert (gave.points, got.points, gave.reason, got.reason) == (-30, 30, "birthday", "birthday")


def test_an_entry_of_another_wallet_is_refused(life: Life) -> None:
    """Nobody reads an entry into a passbook that it is not about."""
    with pytest.raises(ValueError, match="is not about wallet of-bob"):
        PointsEvent.of(life.entries[0], "of-bob", 0)


def test_the_place_is_the_version_and_the_index() -> None:
    """Entries of one commit made the same version, so their place in the block tells them apart."""
    entry = replace(decided(award("video", 5), Wallet("w")).entry, wallet_version=7)
    assert [PointsEvent.of(entry, "w", index).place for index in (0, 3)] == [(7, 0), (7, 3)]


def test_what_expires_when_is_a_row_for_each_moment() -> None:
    """Soonest first; held points count; what is over, spent, pending or never expires is not."""
    wallet = Wallet(
        "w",
        lots=(
            lot("a", "video", 100, expires=day(9), remaining=40, held=10),
            lot("b", "delivery", 7, expires=day(9)),
            lot("c", "video", 5, expires=day(3)),
            lot("d", "video", 1_000),
            lot("e", "video", 50, expires=day(4), remaining=0),
            lot("f", "video", 30, expires=day(0)),
            lot("g", "video", 60, expires=day(9), active_from=day(1)),
        ),
    )
    assert expirations(wallet, day(0)) == [Expiration(day(3), 5), Expiration(day(9), 47)]
    assert expirations(wallet, day(0), "video") == [Expiration(day(3), 5), Expiration(day(9), 40)]
    assert expirations(wallet, day(0), "rides") == []
    assert sum(row.points for row in expirations(wallet, day(0))) == wallet.expiring(day(99), day(0))
