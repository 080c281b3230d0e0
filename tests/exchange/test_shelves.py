"""Stock on shelves: whichever lane sells, all that is offered is sold once, and lanes do not meet for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.batch import Outcome
from exchange.benefit import Benefit, Fulfilment, UnavailableReason
from exchange.errors import BenefitUnavailable, ExchangeError, ValidationFailed
from exchange.ledger import Ledger
from exchange.redemption import Step
from exchange.slices import called_in, drawn
from exchange.store.lanes import Conflict
from exchange.store.shelves import Shelves, Whole
from tests.exchange.conftest import House, answers
from tests.exchange.speech import act, award, benefit, by_reference, redeem, reserve

UNITS = st.integers(0, 50)
ROUNDS = 5
LEFTS = st.dictionaries(st.integers(1, 5), UNITS)


@given(free=UNITS, lefts=LEFTS, lane=st.integers(1, 5), wish=UNITS, generosity=st.integers(1, 9))
def test_a_draw_neither_makes_nor_loses_anything(
    free: int, lefts: dict[int, int], lane: int, wish: int, generosity: int
) -> None:
    """A lane gets what it wishes, or all there is; nobody gives more than it has, and nothing comes from nowhere."""
    more, back = drawn(free, lefts, lane, wish, generosity)
    assert 0 <= more <= free + sum(back.values())
    assert lane not in back
    assert all(0 < less <= lefts[other] for other, less in back.items())
    assert lefts.get(lane, 0) + more >= min(wish, free + sum(lefts.values()))


@given(free=st.integers(-50, 50), lefts=LEFTS, needed=UNITS)
def test_what_is_called_in_is_enough_or_everything(free: int, lefts: dict[int, int], needed: int) -> None:
    """Nothing is called in that is not needed, and all that lanes have before too little is."""
    back = called_in(free, lefts, needed)
    assert free + sum(back.values()) >= min(needed, free + sum(lefts.values()))
    assert not back or free < needed


def test_a_lane_alone_draws_all() -> None:
    """With nobody to share with there is nothing to come back for."""
    assert drawn(1_000, {}, 1, 3, 1) == (1_000, {})


# On a database


async def members(ledger: Ledger, count: int, points: int = 1_000) -> list[Any]:
    """Bring members into being, with points; return how they are called."""
    everybody = [by_reference("video", f"member-{n}") for n in range(count)]
    await answers(ledger, *(award("video", points, whose=whose) for whose in everybody))
    return everybody


async def whole(house: House, offer: Benefit) -> Whole:
    """Return stockroom and shelves."""
    return (await Shelves(house.db).whole([offer.id]))[offer.id]


def taken(told: Sequence[Outcome | ExchangeError]) -> int:
    """Return how many got one; the others learned that none is left, and nothing else."""
    refused = [one for one in told if not isinstance(one, Outcome)]
    assert all(isinstance(one, BenefitUnavailable) for one in refused)
    assert all(getattr(one, "reasons", None) == [UnavailableReason.OUT_OF_STOCK] for one in refused)
    return len(told) - len(refused)


@pytest.mark.parametrize(
    "offer",
    [
        benefit("video/film", 1),
        benefit("video/rare", 1, stock=10_000),
        benefit("video/voucher", 1, fulfilment=Fulfilment.INSTANT_CODE),
    ],
    ids=["unlimited", "limited", "codes"],
)
async def test_processes_that_sell_the_same_do_not_meet(
    house: House, offer: Benefit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each lane has something on its shelf, not one commit conflicts, however popular a benefit is."""
    await house.publish(offer)
    if offer.fulfilment is Fulfilment.INSTANT_CODE:
        await house.catalog.add_codes("video", "voucher", [f"code-{n}" for n in range(1_000)])
    ledgers = [await house.ledger(), await house.ledger()]
    for one in ledgers:
        one._lanes.known = 2  # noqa: SLF001 - what each learns within a third of a lease
    everybody = await members(ledgers[0], 60)
    halves = everybody[:30], everybody[30:]
    for one, half in zip(ledgers, halves, strict=True):
        await answers(one, redeem(offer, whose=half[0]))
    conflicts: list[Conflict] = []
    for one in ledgers:
        books = one._books  # noqa: SLF001
        commit = books.commit

        async def counted(*arguments: Any, commit: Any = commit) -> None:
            try:
                await commit(*arguments)
            except Conflict as conflict:
                conflicts.append(conflict)
                raise

        monkeypatch.setattr(books, "commit", counted)

    async def buy(one: Ledger, whose: Any) -> int:
        return taken([told for _ in range(4) for told in await answers(one, redeem(offer, whose=whose))])

    sold = await asyncio.gather(*(
        buy(one, whose) for one, half in zip(ledgers, halves, strict=True) for whose in half
    ))  # fmt: skip
    assert sum(sold) == 240
    assert conflicts == []
    assert (await whole(house, offer)).stock.sold == 242
    await house.prove()


async def test_whatever_a_lane_had_drawn_another_sells(house: House) -> None:
    """All that is offered is sold, although most of it lay on the shelf of a process that is gone."""
    rare = benefit("video/rare", 1, stock=40)
    await house.publish(rare)
    gone, there = await house.ledger(), await house.ledger()
    everybody = await members(there, 60)
    assert taken(await answers(gone, redeem(rare, whose=everybody[0]))) == 1
    await gone.stop()
    before = await whole(house, rare)
    assert before.room.free == 0
    assert max(shelf.left or 0 for shelf in before.shelves.values()) == 39
    told = [one for whose in everybody for one in await answers(there, redeem(rare, whose=whose))]
    assert taken(told) == 39
    await house.prove()


async def test_what_comes_back_is_sold_again(house: House) -> None:
    """A unit reserved in one lane and let go in another is there for both."""
    seat = benefit("video/seat", 1, stock=1)
    await house.publish(seat)
    ledgers = [await house.ledger(), await house.ledger()]
    ann, bob = await members(ledgers[0], 2)
    for turn in range(4):
        here, there = ledgers[turn % 2], ledgers[(turn + 1) % 2]
        (held,) = await answers(here, reserve(seat, whose=ann))
        assert isinstance(held, Outcome)
        assert taken(await answers(there, redeem(seat, whose=bob))) == 0
        assert held.redemption is not None
        await answers(there, act(Step.CANCEL, held.redemption))
        assert (await whole(house, seat)).stock.left == 1
    assert taken(await answers(ledgers[0], redeem(seat, whose=bob))) == 1
    await house.prove()


async def test_what_is_offered_changes_while_it_lies_on_shelves(house: House) -> None:
    """Less is offered: shelves give back. More, without limit, with one again: nothing is sold that was not offered."""
    ledgers = [await house.ledger(), await house.ledger()]
    everybody = await members(ledgers[0], 30)
    sold = 0

    async def sell(units: int) -> None:
        nonlocal sold
        told = [one for turn in range(units) for one in await answers(
            ledgers[turn % 2], redeem(offer, whose=everybody[turn % 30])
        )]  # fmt: skip
        sold += taken(told)

    offer = benefit("video/film", 1, stock=20)
    for stock, expected in ((20, 4), (6, 6), (8, 8), (None, 14), (15, 15), (15, 15), (None, 21), (21, 21)):
        await house.publish(benefit("video/film", 1, stock=stock))
        await sell(4 if stock == 20 else 6)
        assert sold == expected
        there = await whole(house, offer)
        assert (there.stock.offered, there.stock.sold) == (stock, sold)
        await house.prove()


async def test_a_lane_cannot_begin_to_sell_without_limit_while_one_is_set(house: House) -> None:
    """Its first shelf is put up under the stockroom's version: the limit that came between is noticed."""
    film = benefit("video/film", 1)
    await house.publish(film)
    shelves = Shelves(house.db)
    before = await shelves.whole([film.id])
    await house.publish(benefit("video/film", 1, stock=3))

    class Late(Shelves):
        async def whole(self, *_: Any) -> dict[str, Whole]:
            return before

    with pytest.raises(Conflict):
        await Late(house.db).draw(1, {film.id: 1}, lanes=1)
    assert await house.count("shelves") == 0
    assert (await shelves.draw(1, {film.id: 1}, lanes=1))[film.id].left == 3


async def test_two_lanes_that_draw_at_once(house: House) -> None:
    """Twenty draws from two sides at once: who loses draws again, and nothing is granted twice."""
    rare = benefit("video/rare", 1, stock=50)
    await house.publish(rare)
    shelves = Shelves(house.db)

    async def draw(lane: int) -> int:
        lost = 0
        for wish in range(1, 11):
            while True:
                try:
                    await shelves.draw(lane, {rare.id: wish * 3}, lanes=2)
                except Conflict:
                    lost += 1
                else:
                    break
        return lost

    await asyncio.gather(draw(1), draw(2))
    there = await whole(house, rare)
    assert (there.room.free or 0) + sum(shelf.left or 0 for shelf in there.shelves.values()) == 50
    assert min(shelf.left or 0 for shelf in there.shelves.values()) >= 0


async def test_a_limit_that_changes_while_two_lanes_sell(house: House) -> None:
    """Raised, lowered, lifted and set again while members take, hold and let go: every unit is somewhere, once."""
    seat = benefit("video/seat", 1, stock=50)
    await house.publish(seat)
    ledgers = [await house.ledger(), await house.ledger()]
    everybody = await members(ledgers[0], 20)
    done = asyncio.Event()

    async def take(one: Ledger, whose: Any) -> int:
        sold = 0
        while not done.is_set():
            (held,) = await answers(one, reserve(seat, whose=whose))
            if isinstance(held, Outcome) and held.redemption is not None:
                step = Step.CONFIRM if sold < 3 else Step.CANCEL
                sold += step is Step.CONFIRM
                other = ledgers[one is ledgers[0]]
                assert isinstance((await answers(other, act(step, held.redemption)))[0], Outcome)
        return sold

    async def change() -> None:
        for limit in (90, 60, None, 65, 80, 61) * ROUNDS:
            with suppress(ValidationFailed):  # so many are sold or held just now
                await house.publish(replace(seat, stock=limit))
        done.set()

    selling = asyncio.gather(*(take(ledgers[n % 2], whose) for n, whose in enumerate(everybody)))
    await change()
    sold = await selling
    assert (await whole(house, seat)).stock.sold == sum(sold)
    await house.prove()


async def test_nothing_is_refused_for_what_itself_has_done_elsewhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of two processes at once, the slower finds the unit and the points gone: to itself, and says so."""
    seat = benefit("video/seat", 1_000, stock=1)
    await house.publish(seat)
    here, there = await house.ledger(), await house.ledger()
    (ann,) = await members(here, 1)
    asked = redeem(seat, whose=ann)
    read = here._books.first_round  # noqa: SLF001 - it shows nowhere else

    async def overtaken(*given: Any) -> Any:
        first = await read(*given)
        monkeypatch.undo()
        await there.submit(asked)
        return first

    monkeypatch.setattr(here._books, "first_round", overtaken)  # noqa: SLF001
    answer = await here.submit(asked)
    assert answer.replayed
    await house.prove()
