"""The life of a redemption on a real MongoDB: rivals, replays, codes, stock. Each test ends with a proof of it all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from exchange.batch import Outcome
from exchange.benefit import Fulfilment, Stock, UnavailableReason
from exchange.errors import (
    BenefitUnavailable,
    ExchangeError,
    IdempotencyConflict,
    InsufficientPoints,
    InvalidTransition,
    Refusal,
    ValidationFailed,
)
from exchange.ledger import Ledger
from exchange.redemption import TRANSITIONS, Redemption, RedemptionStatus, Step
from exchange.settlement.clearing import Settlement
from exchange.store.periods import Periods
from tests.exchange.conftest import KEYRING, House, answers, between, known, redemption_of
from tests.exchange.speech import CHANNELS_STEPS, act, agreement, award, benefit, by_reference, redeem, reserve

S = RedemptionStatus
RIDE = benefit("rides/ride", 37, stock=5, fulfilment=Fulfilment.PARTNER_CALL, member_limit=5)
VOUCHER = benefit("video/voucher", 10, fulfilment=Fulfilment.INSTANT_CODE)
TERMS = (agreement("video", "rides", 8_005, fee=150, commission=250), agreement("delivery", "rides", 707))


@pytest.fixture(autouse=True)
async def begun(house: House, proved: None) -> None:
    """Begin every test with something to take."""
    await house.agree(*TERMS)
    await house.publish(RIDE, VOUCHER)
    await house.catalog.add_codes("video", "voucher", ["A", "B", "C"])


def code_of(answer: Outcome | ExchangeError) -> str:
    assert isinstance(answer, Outcome | Refusal), answer
    return "DONE" if isinstance(answer, Outcome) else answer.code


async def member(ledger: Ledger, name: str = "ann", points: int = 1_000) -> None:
    await known(ledger, "video", "delivery", reference=name)
    await ledger.submit(award("video", points, whose=by_reference("video", name)))


async def stock(house: House, name: str) -> Stock:
    return (await house.catalog.stock([name]))[name]


async def stored(house: House, name: str) -> Redemption:
    return (await house.books.second_round([], [name], [], {})).redemptions[name]


ROADS: dict[RedemptionStatus, tuple[Step, ...]] = {
    S.RESERVED: (), S.CONFIRMED: (Step.CONFIRM,), S.FULFILLED: (Step.CONFIRM, Step.FULFIL),
    S.FAILED: (Step.CONFIRM, Step.FAIL), S.CANCELLED: (Step.CANCEL,), S.EXPIRED: (Step.LAPSE,),
    S.REVERSED: (Step.CONFIRM, Step.REVERSE),
}  # fmt: skip
"""How a reservation comes to each status."""


@pytest.mark.parametrize("status", S)
async def test_each_step_from_each_status(house: House, ledger: Ledger, status: RedemptionStatus) -> None:
    """What the table has happens and is written; every other step is refused, and not a byte is another afterwards."""
    await member(ledger)

    async def come(*steps: Step) -> Redemption:
        now = redemption_of(await ledger.submit(reserve(RIDE, ttl=1 if Step.LAPSE in steps else 300)))
        for step in steps:
            if step is Step.LAPSE:
                await asyncio.sleep(1.1)
            now = redemption_of(await ledger.submit(act(step, now)))
        return now

    stands = await come(*ROADS[status])
    assert stands == await stored(house, stands.id)
    assert stands.status is status
    before = await house.everything()
    # A reservation lapses when its time is over, and not before.
    for step in [step for step in Step if (status, step) not in TRANSITIONS or step is Step.LAPSE]:
        told = (await answers(ledger, act(step, stands)))[0]
        assert isinstance(told, InvalidTransition), step
        assert (told.status, told.path) == (status, ["input", "redemption"])
        assert await house.everything() == before, step
    for step in [step for at, step in TRANSITIONS if at is status]:
        after = await come(*ROADS[status], step)
        assert after.status in TRANSITIONS[status, step]
        assert after == await stored(house, after.id)
    assert {step for step in Step if await house.count("entries", kind=step.value)} == {
        *ROADS[status], *(step for at, step in TRANSITIONS if at is status)
    }  # fmt: skip


async def test_reserved_confirmed_and_reversed_with_codes(house: House, ledger: Ledger) -> None:
    """A reserved unit keeps its code back for itself; confirmed it has one; reversed it is gone all the same."""
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(VOUCHER, 2)))
    assert (held.codes, held.status, held.version) == ((), S.RESERVED, 1)
    assert (await stock(house, VOUCHER.id)) == Stock(3, sold=0, reserved=2)
    too_many = (await answers(ledger, redeem(VOUCHER, 2)))[0]
    assert isinstance(too_many, BenefitUnavailable)
    assert too_many.reasons == [UnavailableReason.OUT_OF_STOCK]
    had = redemption_of(await ledger.submit(act(Step.CONFIRM, held)))
    assert (had.status, had.version) == (S.FULFILLED, 2)
    assert [house.catalog.open_code(VOUCHER.id, code) for code in had.codes] == ["A", "B"]
    back = redemption_of(await ledger.submit(act(Step.REVERSE, had, 1)))
    assert (back.status, back.returned, back.codes) == (S.FULFILLED, 1, had.codes)
    assert redemption_of(await ledger.submit(act(Step.REVERSE, had))).status is S.REVERSED
    assert (await stock(house, VOUCHER.id)) == Stock(3, sold=2, reserved=0)
    assert (await house.wallet()).balance(await house.soon()) == 1_000
    assert await house.count("codes", free=True) == 1


async def test_a_part_confirmed_takes_codes_for_the_part(house: House, ledger: Ledger) -> None:
    """Of three reserved two are confirmed: two codes go, and the third can be had by somebody else."""
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(VOUCHER, 3)))
    had = redemption_of(await ledger.submit(act(Step.CONFIRM, held, 2)))
    assert (had.quantity, had.points, len(had.codes)) == (2, 20, 2)
    assert len(redemption_of(await ledger.submit(redeem(VOUCHER))).codes) == 1
    assert (await house.wallet()).available(await house.soon()) == 970


async def test_reserved_confirmed_and_reversed_with_limited_stock(house: House, ledger: Ledger) -> None:
    """A unit that was not delivered is on the shelf again; money and points are even."""
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(RIDE, 3, through="delivery")))
    assert (await stock(house, RIDE.id)) == Stock(5, sold=0, reserved=3)
    assert (await house.wallet()).available(await house.soon()) == 889
    had = redemption_of(await ledger.submit(act(Step.CONFIRM, held)))
    assert (had.status, had.debits) == (S.CONFIRMED, held.debits)
    assert (await stock(house, RIDE.id)) == Stock(5, sold=3, reserved=0)
    await ledger.submit(act(Step.REVERSE, had, 1))
    await ledger.submit(act(Step.FULFIL, had))
    whole = redemption_of(await ledger.submit(act(Step.REVERSE, had)))
    assert (whole.status, whole.returned, whole.version) == (S.REVERSED, 3, 5)
    assert (await stock(house, RIDE.id)) == Stock(5, sold=2, reserved=0)
    wallet = await house.wallet()
    assert (wallet.balance(await house.soon()), wallet.taken) == (1_000, {RIDE.id: 0})


async def test_cancel_against_confirm_has_one_winner(house: House, ledger: Ledger) -> None:
    """Asked at two processes at once, a hold is confirmed or cancelled, and the loser learns which."""
    rival = await house.ledger()
    seen: Counter[str] = Counter()
    for number in range(6):
        name = f"member-{number}"
        await member(ledger, name)
        held = redemption_of(await ledger.submit(reserve(VOUCHER, whose=by_reference("video", name))))
        there, here = await asyncio.gather(
            answers(ledger, act(Step.CONFIRM, held)), answers(rival, act(Step.CANCEL, held))
        )
        codes = sorted([code_of(there[0]), code_of(here[0])])
        assert codes == ["DONE", "INVALID_TRANSITION"]
        winner = redemption_of(there[0]) if isinstance(there[0], Outcome) else redemption_of(here[0])
        loser = here[0] if isinstance(there[0], Outcome) else there[0]
        assert isinstance(loser, InvalidTransition)
        assert loser.status == winner.status == (await stored(house, held.id)).status
        seen[winner.status] += 1
        if winner.status is S.FULFILLED:
            await ledger.submit(act(Step.REVERSE, winner))
            await house.catalog.add_codes("video", "voucher", [f"more-{number}"])
    assert seen.total() == 6


async def test_reversals_at_once_give_back_once(house: House, ledger: Ledger) -> None:
    """Two partial reversals too many for what is left end with one refused; two whole ones with one done."""
    rival = await house.ledger()
    await member(ledger)
    for quantity, loser in ((2, ValidationFailed), (None, InvalidTransition)):
        had = redemption_of(await ledger.submit(redeem(RIDE, 3)))
        told = [
            one
            for half in await asyncio.gather(
                answers(ledger, act(Step.REVERSE, had, quantity)), answers(rival, act(Step.REVERSE, had, quantity))
            )
            for one in half
        ]
        assert {type(one) for one in told} == {Outcome, loser}
        now = await stored(house, had.id)
        assert now.returned == (quantity or 3)
        if now.left:
            await ledger.submit(act(Step.REVERSE, had))
    assert (await house.wallet()).balance(await house.soon()) == 1_000


async def test_the_last_unit_is_reserved_once(house: House, ledger: Ledger) -> None:
    """Of many who want the last units, at two processes, as many hold or have one as there are."""
    rival = await house.ledger()
    names = [f"member-{n}" for n in range(12)]
    for name in names:
        await member(ledger, name)
    commands = [(reserve if n % 3 else redeem)(RIDE, whose=by_reference("video", name)) for n, name in enumerate(names)]
    halves = await asyncio.gather(answers(ledger, *commands[::2]), answers(rival, *commands[1::2]))
    told = [one for half in halves for one in half]
    assert Counter(code_of(one) for one in told) == {"DONE": 5, "BENEFIT_UNAVAILABLE": 7}
    there = await stock(house, RIDE.id)
    assert (there.left, there.sold + there.reserved) == (0, 5)
    for one in told:
        if isinstance(one, Outcome) and redemption_of(one).status is S.RESERVED:
            await ledger.submit(act(Step.CANCEL, redemption_of(one)))
    assert (await stock(house, RIDE.id)).reserved == 0


async def test_every_step_is_done_once_for_ever(house: House, ledger: Ledger) -> None:
    """Each step asked again, of either process, moves nothing and tells how the redemption stands by then."""
    rival = await house.ledger()
    await member(ledger)

    async def twice(command: Any) -> Redemption:
        first = await ledger.submit(command)
        again = await rival.submit(command)
        assert (first.replayed, again.replayed) == (False, True)
        assert first.entry == again.entry
        assert redemption_of(first) == redemption_of(again)
        return redemption_of(first)

    held = await twice(reserve(RIDE, 2, key="reserve", fingerprint="as sent"))
    confirm = act(Step.CONFIRM, held, key="confirm")
    had = await twice(confirm)
    await twice(act(Step.FULFIL, had))
    await twice(act(Step.REVERSE, had, 1))
    last = await twice(act(Step.REVERSE, had))
    for command in (reserve(RIDE, 2, key="reserve", fingerprint="as sent"), confirm):
        assert redemption_of(await rival.submit(command)) == last
    for number, step in enumerate((Step.CANCEL, Step.CONFIRM)):
        await twice(act(step, await twice(reserve(RIDE, key=f"more-{number}"))))
    await twice(act(Step.FAIL, await stored(house, "more-1")))
    short = await twice(reserve(RIDE, ttl=1))
    await asyncio.sleep(1.1)
    assert (await twice(act(Step.LAPSE, short))).status is S.EXPIRED
    other = (await answers(ledger, act(Step.CONFIRM, held, key="confirm", fingerprint="another")))[0]
    assert isinstance(other, IdempotencyConflict)
    assert await house.count("entries", kind={"$nin": ["AWARD", "ENROL", "LINK"]}) == 12


async def test_a_hold_that_is_over_is_never_confirmed(house: House, ledger: Ledger) -> None:
    """After its deadline, swept or not, by either process, a reservation stays what it was: over."""
    rival = await house.ledger()
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(VOUCHER, ttl=1)))
    await asyncio.sleep(1.1)
    told = await answers(rival, act(Step.CONFIRM, held), act(Step.CANCEL, held))
    assert all(isinstance(one, InvalidTransition) and one.status is S.EXPIRED for one in told)
    assert (await stored(house, held.id)).status is S.EXPIRED, "who is told so finds it written, before anybody sweeps"
    swept = await asyncio.gather(*(one.submit(one.lapse_of(held.id)) for one in (ledger, rival)))
    assert [one.replayed for one in swept] == [True, True]
    late = (await answers(ledger, act(Step.CONFIRM, held)))[0]
    assert isinstance(late, InvalidTransition)
    assert (await house.wallet()).held(await house.soon()) == 0


async def test_a_hold_that_nobody_asks_about_is_swept_once(house: House, ledger: Ledger) -> None:
    """Two processes that notice at once write it down once."""
    rival = await house.ledger()
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(VOUCHER, ttl=1)))
    await asyncio.sleep(1.1)
    swept = await asyncio.gather(*(one.submit(one.lapse_of(held.id)) for one in (ledger, rival)))
    assert sorted(one.replayed for one in swept) == [False, True]
    assert (await house.wallet()).held(await house.soon()) == 0


async def test_what_was_confirmed_between_two_reads_is_not_confirmed_again(house: House, ledger: Ledger) -> None:
    """A wallet that is newer than its redemption makes no sense with it: all is read anew, and the answer is true."""
    rival = await house.ledger()
    await member(ledger)
    held = redemption_of(await ledger.submit(reserve(VOUCHER)))
    between(ledger, "second_round", lambda: rival.submit(act(Step.CONFIRM, held, key="first")))
    (late,) = await answers(ledger, act(Step.CONFIRM, held, key="second"))
    assert isinstance(late, InvalidTransition)
    assert late.status is not S.RESERVED
    await house.prove()


async def test_a_life_in_one_batch_is_one_version(house: House, ledger: Ledger) -> None:
    """Steps that wait together are decided in their order and written once."""
    await member(ledger)
    made = redeem(RIDE, 3, key="r")
    told = await answers(
        ledger, made, act(Step.FULFIL, "r", by="rides"), act(Step.REVERSE, "r", 1, by="rides"),
        act(Step.REVERSE, "r", by="rides"),
    )  # fmt: skip
    assert [code_of(one) for one in told] == ["DONE"] * 4
    assert {(redemption_of(one).status, redemption_of(one).version) for one in told} == {(S.REVERSED, 1)}
    held = reserve(VOUCHER, key="h")
    told = await answers(ledger, held, act(Step.CONFIRM, "h"))
    assert [code_of(one) for one in told] == ["DONE", "DONE"]
    assert len((await stored(house, "h")).codes) == 1


async def test_a_refused_step_costs_nobody_else_anything(house: House, ledger: Ledger) -> None:
    """Of a batch with steps that cannot be the others are carried out."""
    await member(ledger, points=100)
    had = redemption_of(await ledger.submit(redeem(RIDE)))
    told = await answers(
        ledger, act(Step.CONFIRM, had), reserve(RIDE), act(Step.REVERSE, had, 2), act(Step.FAIL, had), reserve(RIDE, 2),
    )  # fmt: skip
    assert [code_of(one) for one in told] == [
        "INVALID_TRANSITION", "DONE", "VALIDATION_ERROR", "DONE", "INSUFFICIENT_POINTS",
    ]  # fmt: skip
    assert isinstance(told[-1], InsufficientPoints)
    assert told[-1].available == 63


async def test_a_reversal_belongs_to_the_period_in_which_it_happens(house: House, ledger: Ledger) -> None:
    """What was redeemed in a closed period and goes back in the next settles there, with the signs turned.

    What goes back in the period in which it was redeemed leaves lines that come to nothing.
    """
    await member(ledger)
    had = redemption_of(await ledger.submit(redeem(RIDE, 2)))
    for_nothing = redemption_of(await ledger.submit(redeem(RIDE, through="delivery")))
    await ledger.submit(act(Step.REVERSE, for_nothing))
    settlement = Settlement(house.db, KEYRING)
    await settlement.close(1)
    back = await ledger.submit(act(Step.REVERSE, had, 1))
    assert (back.wallet.period, redemption_of(back).period) == (2, 2)
    await ledger.submit(act(Step.FAIL, had))
    await settlement.close(2)
    totals = [
        {row.partner: [total.net.minor for total in row.totals] for row in await Periods(house.db).statements(number)}
        for number in (1, 2)
    ]
    assert totals[0].pop("delivery") == [0]
    assert set(totals[0]) == {"rides", "video"}
    assert any(totals[0]["video"])
    assert {partner: [-net for net in nets] for partner, nets in totals[0].items()} == totals[1]


async def test_many_members_many_steps_two_processes(house: House, ledger: Ledger) -> None:
    """Whatever many clients do at once, every invariant holds and every point is accounted for."""
    rival = await house.ledger()
    names = [f"member-{n}" for n in range(8)]
    for name in names:
        await member(ledger, name)
    await house.publish(benefit("rides/pass", 11, fulfilment=Fulfilment.PARTNER_CALL))

    async def client(number: int) -> None:
        one = (ledger, rival)[number % 2]
        whose = by_reference("video", names[number % len(names)])
        made = (await answers(one, (reserve if number % 3 else redeem)("rides/pass", 3, whose=whose)))[0]
        steps = (Step.CONFIRM, Step.CANCEL, Step.FULFIL, Step.REVERSE, Step.FAIL, Step.REVERSE)
        for step in steps[number % 3 :]:
            quantity = 2 if step in CHANNELS_STEPS else 1
            await answers((ledger, rival)[step in CHANNELS_STEPS], act(step, redemption_of(made), quantity))

    await asyncio.gather(*(client(number) for number in range(32)))
    assert await house.count("entries", kind="REVERSE") > 10
