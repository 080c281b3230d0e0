"""What a period would have cost: by hand as in docs/agreements.md, and against books in which it was so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.agreements import Agreement, AgreementBook, Debit
from exchange.amounts import Money
from exchange.commands import ByReference
from exchange.errors import NotFound
from exchange.redemption import Redemption, RedemptionStatus, Step, returned_debits
from exchange.settlement.period import Period, PeriodStatus
from exchange.settlement.simulation import Comparison, Cost, Simulated, Simulation
from exchange.store.periods import Periods
from tests.exchange.settlement.conftest import World
from tests.exchange.speech import NOW, act, agreement, redeem, reserve

PERIOD = Period(number=1, status=PeriodStatus.CLOSED, opened_at=NOW)
PARTNERS = ("video", "delivery", "rides")

# ---------------------------------------------------------------- the rules


def figures(cost: Cost) -> tuple[int, int, int]:
    return cost.gross.minor, cost.fees.minor, cost.commissions.minor


def told(rows: Sequence[Comparison]) -> list[tuple[object, ...]]:
    """Say each row: whose, in which currency, how many redemptions, how many points; then now and simulated."""
    return [
        (row.issuer, row.provider, row.currency, row.redemptions, row.points, figures(row.now), figures(row.simulated))
        for row in rows
    ]


def made(debits: Sequence[Debit], provider: str = "rides") -> Redemption:
    points = sum(debit.points for debit in debits)
    return Redemption(
        id="r", benefit=f"{provider}/it", provider=provider, channel="video", wallet="w", quantity=1, points=points,
        status=RedemptionStatus.FULFILLED, debits=tuple(debits), takes=(), created_at=NOW, updated_at=NOW,
    )  # fmt: skip


pairs = st.tuples(st.sampled_from([*PARTNERS, None]), st.sampled_from([*PARTNERS, None]))
currencies = st.sampled_from(["EUR", "JPY"])


@st.composite
def terms(draw: st.DrawFn, pair: tuple[str | None, str | None]) -> Agreement:
    fee = draw(st.integers(0, 10_000))
    return agreement(
        *pair, draw(st.integers(0, 10_000)), draw(currencies), fee=fee, commission=draw(st.integers(0, 10_000 - fee))
    )


@st.composite
def books(draw: st.DrawFn) -> list[Agreement]:
    """Agreements of some pairs, and always the one that is for everybody."""
    named = draw(st.sets(pairs)) | {(None, None)}
    return [draw(terms(pair)) for pair in sorted(named, key=str)]


taken = st.tuples(
    st.sampled_from(PARTNERS),
    st.dictionaries(st.sampled_from(PARTNERS), st.integers(1, 5_000), min_size=1),
    st.lists(st.floats(0, 1), max_size=3),
)
"""A provider, the points that issuers gave, and the parts that went back, each of what was left."""


def back_in_parts(points: dict[str, int], parts: list[float]) -> list[dict[str, int]]:
    """Return the points that are back after each part; what was consumed last goes first."""
    states: list[dict[str, int]] = [{}]
    for part in parts:
        before = states[-1]
        left = int(part * (sum(points.values()) - sum(before.values())))
        now = dict(before)
        for issuer in reversed(points):
            goes = min(left, points[issuer] - now.get(issuer, 0))
            now[issuer] = now.get(issuer, 0) + goes
            left -= goes
        states.append(now)
    return states


def lived(
    book: AgreementBook, provider: str, points: dict[str, int], states: list[dict[str, int]]
) -> list[list[Debit]]:
    """Return the rows of a redemption and of each of its reversals, as the ledger would have written them."""
    debits = book.debits(list(points.items()), provider, NOW)
    return [debits, *(returned_debits(debits, before, after) for before, after in pairwise(states))]


def whole(returned: Sequence[list[Debit]]) -> list[Debit]:
    """Add up what went back, a row per issuer."""
    sums: dict[str, Debit] = {}
    for debit in (debit for part in returned for debit in part):
        so_far = sums.get(debit.issuer)
        sums[debit.issuer] = debit if so_far is None else Debit(
            debit.issuer, so_far.points + debit.points, debit.agreement,
            None if debit.owed is None or so_far.owed is None
            else Money(so_far.owed.minor + debit.owed.minor, debit.owed.currency),
            so_far.fee_minor + debit.fee_minor, so_far.commission_minor + debit.commission_minor,
        )  # fmt: skip
    return list(sums.values())


def simulate(
    agreements: list[Agreement], proposed: Agreement, period: list[tuple[str, dict[str, int], list[float]]]
) -> Simulated:
    simulation = Simulation(agreements, proposed)
    for provider, points, parts in period:
        debits, *returned = lived(AgreementBook(agreements), provider, points, back_in_parts(points, parts))
        simulation.take(provider, debits)
        simulation.give_back(provider, whole(returned), made(debits, provider))
    return simulation.result(PERIOD)


@given(agreements=books(), period=st.lists(taken, max_size=5), which=st.integers(0, 100))
def test_what_is_in_force_changes_nothing(
    agreements: list[Agreement], period: list[tuple[str, dict[str, int], list[float]]], which: int
) -> None:
    """Simulating an agreement that is in force gives no row, and the same totals on both sides."""
    simulated = simulate(agreements, agreements[which % len(agreements)], period)
    assert simulated.rows == ()
    assert all(total.now == total.simulated for total in simulated.totals)


@given(agreements=books(), period=st.lists(taken, max_size=5), proposed=pairs.flatmap(terms))
def test_it_is_what_would_have_been(
    agreements: list[Agreement], period: list[tuple[str, dict[str, int], list[float]]], proposed: Agreement
) -> None:
    """Now is what the period's entries say; simulated is what they would say had the proposal been in the book."""
    simulated = simulate(agreements, proposed, period)
    pair = (proposed.issuer, proposed.provider)
    others = [each for each in agreements if (each.issuer, each.provider) != pair]
    for side, book in (("now", AgreementBook(agreements)), ("simulated", AgreementBook([*others, proposed]))):
        due: Counter[tuple[str, str]] = Counter()
        for provider, points, parts in period:
            for debit in (d for rows in lived(book, provider, points, back_in_parts(points, parts)) for d in rows):
                if debit.owed is not None:
                    due[debit.owed.currency, "gross"] += debit.owed.minor
                    due[debit.owed.currency, "fees"] += debit.fee_minor
                    due[debit.owed.currency, "commissions"] += debit.commission_minor
        for total in simulated.totals:
            for name in ("gross", "fees", "commissions"):
                assert getattr(getattr(total, side), name).minor == due.pop((total.currency, name), 0)
        assert not any(due.values())
    for total in simulated.totals:
        rows = [row for row in simulated.rows if row.currency == total.currency]
        assert tuple(map(sum, zip((0, 0, 0), *(figures(row.difference) for row in rows), strict=True))) == figures(
            total.difference
        )


@pytest.mark.parametrize(
    ("proposed", "priced"),
    [
        (("video", "rides"), True), (("video", None), True), ((None, "rides"), False), ((None, None), False),
        (("video", "delivery"), False), (("delivery", None), False), ((None, "delivery"), False),
    ],
)  # fmt: skip
def test_a_proposal_prices_what_nothing_more_specific_does(
    proposed: tuple[str | None, str | None], *, priced: bool
) -> None:
    """Under the issuer's default, a proposal for the pair or that default counts; one for the provider does not."""
    in_force = [agreement("video", None, 500), agreement(None, None, 100)]
    simulation = Simulation(in_force, agreement(*proposed, 800))
    simulation.take("rides", AgreementBook(in_force).debits([("video", 1_000)], "rides", NOW))
    assert simulation.result(PERIOD).repriced == priced


def test_the_proposal_replaces_every_version_of_its_pair() -> None:
    """What was priced by a version that holds no longer is simulated too."""
    first, second = agreement("video", "rides", 500), agreement("video", "rides", 600, version=2)
    simulation = Simulation([first, second], agreement("video", "rides", 700))
    for version in (first, second):
        simulation.take("rides", AgreementBook([version]).debits([("video", 1_000)], "rides", NOW))
    result = simulation.result(PERIOD)
    assert told(result.rows) == [("video", "rides", "EUR", 2, 2_000, (1_100, 0, 0), (1_400, 0, 0))]


def test_another_currency_moves_from_one_row_to_another() -> None:
    """In the old currency it costs nothing any more, in the new one it did not before; points are the same in both."""
    old = agreement("video", "rides", 500)
    simulation = Simulation([old], agreement("video", "rides", 900, "JPY"))
    debits = AgreementBook([old]).debits([("video", 1_000)], "rides", NOW)
    simulation.take("rides", debits)
    simulation.give_back("rides", returned_debits(debits, {}, {"video": 500}), made(debits))
    result = simulation.result(PERIOD)
    assert told(result.rows) == [
        ("video", "rides", "EUR", 1, 500, (250, 0, 0), (0, 0, 0)),
        ("video", "rides", "JPY", 1, 500, (0, 0, 0), (450, 0, 0)),
    ]
    assert [(total.currency, total.redemptions, total.points) for total in result.totals] == [
        ("EUR", 1, 500), ("JPY", 1, 500),
    ]  # fmt: skip


def test_points_at_their_own_issuer_stay_free() -> None:
    """A default for everybody does not make a partner owe itself."""
    simulation = Simulation([], agreement(None, None, 800))
    simulation.take("rides", AgreementBook().debits([("rides", 100)], "rides", NOW))
    assert simulation.result(PERIOD) == Simulated(
        period=PERIOD, proposed=simulation.proposed, repriced=0, rows=(), totals=()
    )


# ---------------------------------------------------------------- over a real database


@pytest.fixture
async def two_periods(world: World) -> World:
    """Give the example of docs/agreements.md: period 1 is closed, period 2 open."""
    await world.agree("video", "rides", Money(809, "EUR"), fee=150, commission=250)
    await world.agree(None, "rides", Money(748, "EUR"), fee=100)
    await world.publish("rides", "trip", 1_000)
    await world.publish("rides", "ticket", 111)
    await world.publish("rides", "hundred", 100)
    await world.publish("rides", "fifty", 50)
    ledger, second = world.ledgers[0], await world.ledger()
    for issuer, member, points in (
        ("video", "ann", 700), ("video", "ben", 333), ("video", "cleo", 100), ("delivery", "dora", 200),
        ("video", "eve", 50),
    ):  # fmt: skip
        await world.award(issuer, member, points)
    await world.link("ann", "video", "delivery")
    await world.award("delivery", "ann", 300)

    def of(member: str, partner: str = "video") -> ByReference:
        return ByReference(partner, member)

    held = (await ledger.submit(reserve("rides/hundred", whose=of("cleo")))).redemption
    early = (await ledger.submit(redeem("rides/fifty", whose=of("eve")))).redemption
    await world.settle().close(1)
    await ledger.submit(redeem("rides/trip", whose=of("ann")))
    tickets = (await ledger.submit(redeem("rides/ticket", 3, whose=of("ben")))).redemption
    # By another process, whose lane is read on its own.
    await second.submit(act(Step.REVERSE, tickets, 1))
    await second.submit(act(Step.CONFIRM, held))
    await ledger.submit(redeem("rides/hundred", 2, through="delivery", whose=of("dora", "delivery")))
    await ledger.submit(act(Step.REVERSE, early))
    return world


PROPOSED = agreement("video", "rides", 928, fee=200, commission=100)
ROWS = [
    ("delivery", "rides", "EUR", 2, 500, (375, 4, 0), (374, 4, 0)),
    ("video", "rides", "EUR", 3, 972, (786, 11, 20), (897, 17, 9)),
]
TOTALS = [(None, None, "EUR", 4, 1_472, (1_161, 15, 20), (1_271, 21, 9))]


async def test_the_worked_example(two_periods: World) -> None:
    """Every figure of docs/agreements.md, while the period is open and once it is closed and the next one has begun."""
    settlement = two_periods.settle()
    seen: list[tuple[int, int]] = []
    for number in (2, None):
        if number is None:
            await settlement.close(2)
        simulated = await settlement.simulate(PROPOSED, number, lambda done, total: seen.append((done, total)))
        assert (simulated.period.number, simulated.repriced) == (2, 2)
        assert told(simulated.rows) == ROWS
        assert told(simulated.totals) == TOTALS
        assert [figures(row.difference) for row in simulated.rows] == [(-1, 0, 0), (111, 6, -11)]
        assert figures(simulated.totals[0].difference) == (110, 6, -11)
        assert seen[-1][0] == seen[-1][1]


async def test_it_is_read_in_pieces_of_any_size(two_periods: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are the same when blocks, entries and what went back are read one by one."""
    for name in ("exchange.store.spending._BLOCKS_AT_ONCE", "exchange.store.spending._ENTRIES_AT_ONCE",
                 "exchange.settlement.clearing._RETURNS_AT_ONCE"):  # fmt: skip
        monkeypatch.setattr(name, 1)
    simulated = await two_periods.settle().simulate(PROPOSED, 2)
    assert (told(simulated.rows), told(simulated.totals)) == (ROWS, TOTALS)


async def test_now_is_what_the_blocks_say(two_periods: World) -> None:
    """The figures as they are, are those that the period is settled by."""
    settlement = two_periods.settle()
    for number in (1, 2):
        simulated = await settlement.simulate(agreement(None, None, 1), number)
        assert (simulated.repriced, simulated.rows) == (0, ())
        due: Counter[str] = Counter()
        sums = await Periods(two_periods.database).sums(number)
        for owed in sums.money.values():
            due["gross"] += owed.gross_minor
            due["fees"] += owed.fee_minor
            due["commissions"] += owed.commission_minor
            due["points"] += owed.points
        (total,) = simulated.totals
        assert (*figures(total.now), total.points) == (due["gross"], due["fees"], due["commissions"], due["points"])


async def test_a_period_is_only_its_own_blocks(two_periods: World) -> None:
    """What was redeemed in period 1 is repriced there: the 50 points, and not what was only reserved."""
    simulated = await two_periods.settle().simulate(PROPOSED)
    assert simulated.period.number == 1
    # 50 x 0.809 = 40.45 and 50 x 0.928 = 46.4; fees 0.6 and 0.92; commissions 1 and 0.46
    assert told(simulated.rows) == [("video", "rides", "EUR", 1, 50, (40, 1, 1), (46, 1, 0))]


async def test_what_comes_behind_the_cut_is_the_next_periods(two_periods: World) -> None:
    """A period that is cut and not yet sealed has its own entries, and none that came behind the cut."""
    settlement = two_periods.settle()
    await settlement.mark(2)
    await settlement.cut_lanes(2)
    await two_periods.award("video", "fay", 50)
    await two_periods.redeem("video", "fay", "rides/fifty")
    closing, following = [await settlement.simulate(PROPOSED, number) for number in (2, 3)]
    assert closing.period.status is PeriodStatus.CLOSING
    assert (told(closing.rows), told(closing.totals)) == (ROWS, TOTALS)
    assert told(following.rows) == [("video", "rides", "EUR", 1, 50, (40, 1, 1), (46, 1, 0))]


async def test_there_must_be_such_a_period(world: World) -> None:
    """Before any period is closed the open one has to be named; one that is not there is not found."""
    settlement = world.settle()
    with pytest.raises(NotFound, match="no period is closed yet: name the open one"):
        await settlement.simulate(PROPOSED)
    with pytest.raises(NotFound, match="no such period"):
        await settlement.simulate(PROPOSED, 7)
    assert (await settlement.simulate(PROPOSED, 1)).totals == ()
