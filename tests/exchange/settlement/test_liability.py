"""The points liability: by hand as in docs/liability.md, and on a real ledger against what lies in the wallets."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.benefit import Fulfilment
from exchange.commands import (
    ByWallet,
    Command,
    Expire,
    Extend,
    Give,
    Merge,
    ReverseAward,
    Share,
    Sharing,
)
from exchange.errors import FiguresDisagree, NotFound, ValidationFailed
from exchange.journal import Account, Entry, Sums
from exchange.ledger import Ledger
from exchange.redemption import Step
from exchange.rules import AwardReversal, Rules
from exchange.settlement.clearing import Settlement
from exchange.settlement.liability import (
    NEVER,
    Aged,
    Column,
    End,
    Ending,
    Estimate,
    Flows,
    Fold,
    Liability,
    Vintage,
    end_of,
    estimated,
    month_named,
    month_of,
    rates,
)
from exchange.settlement.outstanding import Outstanding
from exchange.store.lots import Lots
from exchange.wallet import Wallet
from tests.examples import DOCS
from tests.exchange.conftest import KEYRING, House, known
from tests.exchange.speech import (
    act,
    adjust,
    agreement,
    award,
    benefit,
    by_reference,
    day,
    decided,
    expire,
    give,
    redeem,
    reverse_award,
)

PAGE = DOCS / "liability.md"
FILM = benefit("video/film", 50)
SONG = benefit("video/song", 40)
RIDE = benefit("rides/ride", 30, fulfilment=Fulfilment.PARTNER_CALL)
GENEROUS = [Rules(partner="video", gift_day_points=500)]


class Example:
    """What the page tells: the entries of two periods, and the two wallets at the end."""

    def __init__(self) -> None:
        self.march: list[Entry] = []
        self.april: list[Entry] = []
        ann, bob = Wallet("ann"), Wallet("bob")
        ann = self._then(self.march, award("video", 1000, key="A", expires=day(200)), ann, 0)
        ann = self._then(self.march, award("video", 40, key="D", expires=day(20)), ann, 1)
        bob = self._then(self.march, award("video", 400, key="B"), bob, 2)
        films = decided(redeem(FILM, 5, key="films"), ann, of=FILM, now=day(25))
        self.march.append(films.entry)
        ann = self._then(self.april, expire("D", "ann"), films.wallet, 40)
        ann = self._then(self.april, award("video", 600, key="C", expires=day(400)), ann, 41)
        bob = self._then(self.april, adjust("video", 50, key="G"), bob, 42)
        gift = decided(give(100, ByWallet("bob"), key="gift"), ann, other=bob, rules=GENEROUS, now=day(43))
        self.april.append(gift.entry)
        assert gift.other is not None
        bob = self._then(self.april, redeem(SONG, 3, key="songs"), gift.other, 44, of=SONG)
        ann = self._then(self.april, reverse_award("C", 80), gift.wallet, 45)
        back = act(Step.REVERSE, films.redemption, 1, by="video")
        ann = self._then(self.april, back, ann, 46, redemption=films.redemption, of=FILM)
        self.wallets = [ann, bob]

    @staticmethod
    def _then(entries: list[Entry], command: Command, whose: Wallet, on: float, **terms: Any) -> Wallet:
        decision = decided(command, whose, now=day(on), **terms)
        entries.append(decision.entry)
        return decision.wallet


def folded(before: Sequence[Entry], since: Sequence[Entry], as_of: datetime) -> Fold:
    fold = Fold(as_of)
    with closing(Lots()) as lots:
        lots.add(since, before=False)
        lots.add(before, before=True)
        for lot in lots.stories():
            fold.add(lot)
    return fold


def told(rows: Sequence[Vintage]) -> list[list[str]]:
    columns = ("opening", "awarded", "redeemed", "expired", "adjusted", "closing")
    return [[row.month or "all", *(str(getattr(row, column)) for column in columns)] for row in rows]


def table_under(heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading of the page."""
    text = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_the_example_of_the_page_is_what_its_entries_make() -> None:
    """March: what was there, redeemed and written off; April: awarded, goodwill, taken back. The gift is in neither."""
    example = Example()
    liability = folded(example.march, example.april, day(50)).liability("video", 2, final=True)
    assert told([*liability.vintages, liability.total]) == table_under("An example")
    assert liability.total.closing == 1_650 == sum(lot.remaining for each in example.wallets for lot in each.lots)
    assert liability.ending == (Ending("2026-09", 700), Ending("2027-04", 520), Ending(None, 430))
    assert (liability.over, liability.estimate) == (0, None)


def test_the_blocks_agree_with_the_lots_of_the_example() -> None:
    """And a point too many in their sums is named."""
    example = Example()
    fold = folded(example.march, example.april, day(50))
    before, since = Sums.of(example.march), Sums.of(example.april)
    fold.agree(before, since)
    since.points["video", Account.REDEEMED] += 1
    with pytest.raises(FiguresDisagree, match="71 points of video were redeemed, its lots 70"):
        fold.agree(before, since)


@given(st.permutations(range(11)))
@settings(max_examples=25)
def test_the_order_of_reading_makes_no_difference(order: list[int]) -> None:
    """Lanes are read one after the other, whatever happened first."""
    example = Example()
    entries = [*example.march, *example.april]
    one, other = folded([], entries, day(50)), folded([], [entries[n] for n in order], day(50))
    assert one.liability("video", 1, final=True) == other.liability("video", 1, final=True)


def test_what_was_passed_on_keeps_its_vintage_and_its_end() -> None:
    """A gift in April of points of March is of March, also when it is passed on again."""
    example = Example()
    bob = example.wallets[1]
    again = decided(
        give(250, ByWallet("cleo")), bob, other=Wallet("cleo", links=bob.links), rules=GENEROUS, now=day(70)
    )
    liability = folded([], [*example.march, *example.april, again.entry], day(80)).liability("video", 1, final=True)
    assert [(row.month, row.closing) for row in liability.vintages] == [("2026-03", 1_080), ("2026-04", 570)]


def test_points_that_come_back_after_their_end_last_anew() -> None:
    """What had time left keeps it; an extension said before or after makes no difference."""
    first, later, back = day(10), day(20), End(day(50), back_at=day(15))
    assert end_of([back, End(first)]) == day(50)
    assert end_of([back, End(first), End(later)]) == later
    assert end_of([End(first), back, End(day(70))]) == day(70)
    assert end_of([End(NEVER), back]) == NEVER


def test_points_whose_time_is_over_are_told_apart() -> None:
    """Held or not yet swept, they are outstanding until they are written off."""
    over = folded([], Example().march, day(30)).liability("video", 1, final=False)
    assert (over.over, over.total.closing) == (40, 1_190)


def test_age_is_counted_in_months_since_the_award() -> None:
    """Whatever the day: from March to June are three."""
    assert folded([], Example().march, datetime(2026, 6, 1, tzinfo=UTC)).liability("video", 1, final=True).ageing == (
        Aged(0, 3, 0), Aged(3, 6, 1_190), Aged(6, 12, 0), Aged(12, 24, 0), Aged(24, None, 0),
    )  # fmt: skip


# ---------------------------------------------------------------- the estimate


def year_of(vintages: int, *, ends: bool = True) -> Flows:
    """Give the example of the page: 100 points a month, 40 redeemed in the next, 10 in the one after, then none."""
    flows: Flows = defaultdict(Counter)
    first, now = month_of(datetime(2025, 1, 1, tzinfo=UTC)), month_of(datetime(2026, 1, 1, tzinfo=UTC))
    for vintage in range(now - vintages, now):
        flows[vintage, vintage][Column.AWARDED] += 100
        steps = [(1, Column.REDEEMED, -40), (2, Column.REDEEMED, -10), *([(3, Column.EXPIRED, -50)] if ends else [])]
        for age, column, points in steps:
            if vintage + age < now:
                flows[vintage, vintage + age][column] += points
    assert first == now - 12
    return flows


NOW_MONTH = month_of(datetime(2026, 1, 1, tzinfo=UTC))


def test_the_estimate_of_the_page() -> None:
    """Of 210 points outstanding 60 will be redeemed: 10 of the sixty of November, 50 of the hundred of December."""
    flows = year_of(12)
    assert [(str(rate.redeemed), str(rate.left)) for rate in rates(flows, NOW_MONTH)] == [
        ("0", "1"), ("2/5", "3/5"), ("1/6", "5/6"), ("0", "0"),
    ]  # fmt: skip
    estimate = estimated(flows, NOW_MONTH)
    assert estimate == Estimate(redeemed=60, breakage=150, unknown=0, ages=4)
    assert estimate.basis_points == 2_858


def test_what_no_vintage_has_lived_to_see_counts_as_redeemed() -> None:
    """Points that never end are no breakage for being old: behind the last rate they count in full."""
    estimate = estimated(year_of(12, ends=False), NOW_MONTH)
    # Ten vintages of 50 left, 60, and 100: nothing redeemed from the third month on, and nothing known from the tenth.
    assert estimate == Estimate(redeemed=10 * 50 + 10 + 50 + 50 + 50, breakage=0, unknown=600, ages=10)


def test_too_short_a_history_is_not_estimated() -> None:
    """Eleven whole months say nothing, and neither does nothing."""
    assert estimated(year_of(11), NOW_MONTH) is None
    assert estimated({}, NOW_MONTH) is None


@given(st.dictionaries(
    st.tuples(st.integers(0, 15), st.integers(0, 15)),
    st.tuples(st.integers(0, 90), st.integers(0, 90), st.integers(0, 10)), max_size=60,
))  # fmt: skip
def test_no_more_is_expected_than_is_outstanding(said: dict[tuple[int, int], tuple[int, int, int]]) -> None:
    """Whatever was redeemed, reversed or lost: expected and breakage are not negative, and together all there is."""
    flows: Flows = defaultdict(Counter)
    left: Counter[int] = Counter()
    for (vintage, age), (awards, most_redeemed, most_expired) in sorted(said.items(), key=lambda each: sum(each[0])):
        awarded = awards if age == 0 else 0
        redeemed = min(most_redeemed, left[vintage] + awarded)
        expired = min(most_expired, left[vintage] + awarded - redeemed)
        left[vintage] += awarded - redeemed - expired
        flows[vintage, vintage + age] = Counter(
            {Column.AWARDED: awarded, Column.REDEEMED: -redeemed, Column.EXPIRED: -expired}
        )
    estimate = estimated(flows, 31)
    if estimate is not None:
        assert estimate.redeemed >= 0
        assert estimate.breakage >= 0
        assert estimate.redeemed + estimate.breakage == left.total()


# ---------------------------------------------------------------- on a real ledger


def of_wallets(wallets: Sequence[Wallet], issuer: str, now: datetime) -> tuple[int, dict[str | None, int]]:
    """Return what lies in the wallets: over, and by the month in which it ends."""
    ends: Counter[str | None] = Counter()
    over = 0
    for lot in (lot for wallet in wallets for lot in wallet.lots if lot.issuer == issuer and lot.remaining):
        if not lot.live(now):
            over += lot.remaining
        else:
            ends[None if lot.expires_at is None else month_named(month_of(lot.expires_at))] += lot.remaining
    return over, dict(ends)


async def all_wallets(house: House) -> list[Wallet]:
    names = [row["_id"] async for row in house.db["wallets"].find({})]
    return list((await house.books.second_round(names, [], [], {})).wallets.values())


async def agrees(house: House, liabilities: Sequence[Liability], wallets: Sequence[Wallet]) -> None:
    """Hold liabilities to the lots: all issuers' points, and when they end."""
    assert {each.issuer for each in liabilities} >= {lot.issuer for wallet in wallets for lot in wallet.lots}
    for each in liabilities:
        over, ends = of_wallets(wallets, each.issuer, each.as_of)
        assert (each.over, {end.month: end.points for end in each.ending}) == (over, ends), each.issuer
        assert each.total.closing == over + sum(ends.values()) == sum(aged.points for aged in each.ageing)


@pytest.fixture
async def commands(house: House, ledger: Ledger) -> list[Command]:
    """Give a bit of everything that can happen to points of two members, a household, and one who is both."""
    await house.agree(agreement("video", "rides", 8_005), agreement("delivery", "rides", 1_000))
    await house.publish(RIDE)
    await house.terms.set_rules(Rules(partner="video", gift_day_points=1_000, award_reversal=AwardReversal.DEBT))
    ann = await known(ledger, "video", "delivery", reference="ann")
    await known(ledger, "video", "rides", reference="bob")
    both = by_reference("video", "ann"), by_reference("video", "bob")
    of_ann: dict[str, Any] = {"fingerprint": "", "partner": "video", "whose": both[0]}
    return [
        award("video", 100, whose=both[0], key="first", expires=day(900)),
        award("video", 70, whose=both[1], key="second"),
        award("delivery", 500, whose=by_reference("delivery", "ann"), expires=day(700)),
        redeem(RIDE, 2, whose=both[0], key="rode"),
        act(Step.REVERSE, "rode", 1, by="rides"),
        Share(id="pool", to=ByWallet("pool"), what=Sharing.FOUND, **of_ann),
        Share(id="in", to=ByWallet("pool"), what=Sharing.PAY_IN, points=20, **of_ann),
        Share(id="out", to=ByWallet("pool"), what=Sharing.DRAW, points=5, **of_ann),
        Give(id="gift", to=both[1], points=15, **of_ann),
        Extend(id="longer", lot="first", expires_at=day(1_000), fingerprint="", partner="video", whose=ByWallet(ann)),
        Merge(id="one", fingerprint="", partner="rides", whose=by_reference("rides", "bob"), to=ByWallet(ann),
              permitted_until=day(9_999), permitted_through="video"),
        adjust("video", 30, whose=both[0]),
        adjust("video", -12, whose=both[0]),
        redeem(RIDE, whose=both[0], key="again"),
        ReverseAward(id="back", lot="first", fingerprint="", partner="video", whose=ByWallet(ann)),
        award("video", 40, whose=both[0], key="repays"),
    ]  # fmt: skip


async def test_the_journal_says_what_lies_in_the_wallets(
    house: House, ledger: Ledger, commands: Sequence[Command]
) -> None:
    """After each of all that can happen to points, to the point, for every issuer, vintages and ends alike."""
    for command in commands:
        await ledger.submit(command)
        await agrees(house, await Outstanding(house.db).liabilities(), await all_wallets(house))
    assert sum((await house.wallet()).debts.values()) == 0
    soon = await house.soon(milliseconds=400)
    await ledger.submit(award("video", 25, whose=by_reference("video", "ann"), key="short", expires=soon))
    await asyncio.sleep(0.5)
    ann, [over] = await house.wallet(), await Outstanding(house.db).liabilities(issuer="video")
    assert over.over == 25
    await agrees(house, await Outstanding(house.db).liabilities(), await all_wallets(house))
    await ledger.submit(Expire(id="over", fingerprint="", partner="exchange", whose=ByWallet(ann.id), lot="short"))
    found = await Outstanding(house.db).liabilities()
    await agrees(house, found, await all_wallets(house))
    [video] = [each for each in found if each.issuer == "video"]
    assert (video.over, video.total.opening, video.total.awarded, video.total.expired) == (0, 0, 235, 25)
    await house.prove()


async def test_a_period_opens_with_what_the_one_before_closed_with(
    house: House, ledger: Ledger, commands: Sequence[Command]
) -> None:
    """What moved is of the period in which it happened, and a closed one stays what it was."""
    settlement = Settlement(house.db, KEYRING)
    for command in commands[:8]:
        await ledger.submit(command)
    await settlement.close(1)
    then = await all_wallets(house)
    moment = await house.soon()
    await asyncio.sleep(0.002)
    for command in commands[8:]:
        await ledger.submit(command)
    outstanding = Outstanding(house.db)
    first, second = await outstanding.liabilities(1), await outstanding.liabilities(2)
    await agrees(house, first, then)
    assert [each.total.closing for each in first] == [each.total.opening for each in second]
    assert [(each.final, other.final) for each, other in zip(first, second, strict=True)] == [(True, False)] * 2
    assert await outstanding.closed() == {each.issuer: each for each in first}
    assert await outstanding.closed(2) is None
    # At the moment in between nothing of the second had happened yet.
    between = await outstanding.liabilities(as_of=moment)
    assert [(each.period, each.total.closing) for each in between] == [(2, each.total.closing) for each in first]
    [delivery] = await outstanding.liabilities(2, issuer="delivery")
    [same] = [each for each in second if each.issuer == "delivery"]
    assert delivery == replace(same, as_of=delivery.as_of)


async def test_what_is_not_there_has_no_liability(house: House) -> None:
    """No such period, and no moment to come."""
    outstanding = Outstanding(house.db)
    with pytest.raises(NotFound):
        await outstanding.liabilities(7)
    with pytest.raises(ValidationFailed):
        await outstanding.liabilities(as_of=await house.soon(days=1))
    assert await outstanding.liabilities() == []
    assert await outstanding.closed() is None


async def test_a_sum_that_was_changed_is_found(house: House, ledger: Ledger, commands: Sequence[Command]) -> None:
    """A block that says other points than its entries is not told as a figure."""
    await ledger.submit(commands[0])
    await house.db["blocks"].update_many(
        {"kind": "ENTRIES", "sums": {"$ne": []}}, {"$set": {"sums": [["points", "video", "ISSUED", "-99"]]}}
    )
    with pytest.raises(FiguresDisagree, match="say 99 points of video were awarded, its lots 100"):
        await Outstanding(house.db).liabilities()
