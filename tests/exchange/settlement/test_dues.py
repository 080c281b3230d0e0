"""A period is paid in one way: what is due of a statement is what the recorded netting of its period pays."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.check import check
from exchange.errors import InvalidSignOff, Refusal, ValidationFailed
from exchange.journal import EXCHANGE, Sums
from exchange.proof.signoff import LogJudge
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import PlanKind, net
from exchange.settlement.netted import Policy as NettingPolicy
from exchange.settlement.netting import Payment, positions
from exchange.settlement.recorded import Carried, RecordedNetting
from exchange.settlement.recording import Recorded
from exchange.settlement.signoff import (
    Due,
    Policy,
    Record,
    SignOffStep,
    Tier,
    decide,
    due_of,
    left_to_pay,
    recorded,
)
from exchange.settlement.statement import Statement, StatementStatus
from exchange.store.connection import Client, Session
from exchange.store.lanes import in_one_transaction
from exchange.store.reconciliation import Reconciliation
from exchange.store.signoff import SignOff
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.test_barters import wished
from tests.exchange.settlement.test_netted import any_sums, policies
from tests.exchange.settlement.test_recorded import recorded as a_netting
from tests.exchange.settlement.test_recording import asked as to_record
from tests.exchange.settlement.test_recording import recording
from tests.exchange.settlement.test_signoff import a_statement, asked, euros, signed, total
from tests.exchange.speech import NOW
from tests.exchange.test_evidence import SEAL

EUR, JPY = "EUR", "JPY"
REVIEW, APPROVE, REJECT, INSTRUCT, PAY, RECONCILE = SignOffStep
STATUS = StatementStatus
Legs = list[tuple[str, str, int, str]]


def paying(from_: str, to: str, minor: int, currency: str = EUR) -> Payment:
    return Payment(from_=from_, to=to, amount=Money(minor, currency))


def legs(payments: tuple[Payment, ...] | list[Payment]) -> Legs:
    return [(each.from_, each.to, *each.amount) for each in payments]


def netting(*payments: Payment, **more: Any) -> RecordedNetting:
    """Return one of period 1, with these payments and nothing carried."""
    return replace(a_netting(1, Carried()), payments=payments, **more)


# ---------------------------------------------------------------- what is due


def test_what_is_due_is_what_the_netting_pays() -> None:
    """Without one, what the totals come to, through the exchange; with one, its payments from and to the partner."""
    statement = a_statement(total(1250), total(-300, JPY), total(0, "USD"))
    assert due_of(statement, None, None) == Due((paying("rides", EXCHANGE, 1250), paying(EXCHANGE, "rides", 300, JPY)))
    found = netting(paying("rides", "shop", 1), paying("video", "rides", 2), paying("video", "shop", 4))
    assert due_of(statement, found, None) == Due((paying("rides", "shop", 1), paying("video", "rides", 2)), found.hash)


def test_what_cannot_be_instructed() -> None:
    """A partner that was taken out; and while something is carried that only a netting of the period would take in."""
    statement = a_statement()
    out = netting(policy=NettingPolicy(without=frozenset({"rides"})))
    assert "rides was taken out" in (due_of(statement, out, None).refusal or "")
    behind = due_of(replace(statement, period=2), None, a_netting(1))
    assert behind.refusal == "the netting of period 1 carries something: record that of period 2 first"
    assert due_of(replace(statement, period=2), None, netting()).refusal is None
    ready = signed(statement, (REVIEW, "ada"), (APPROVE, "ben"))
    for due in (due_of(ready, out, None), behind):
        with pytest.raises(InvalidSignOff, match=due.refusal) as refused:
            decide(ready, asked(INSTRUCT, "ada"), Policy(), due)
        assert refused.value.status == STATUS.APPROVED


def instructed(statement: Statement, due: Due, policy: Policy = Policy()) -> Statement:  # noqa: B008 - never changed
    ready = signed(statement, (REVIEW, "ada"), (APPROVE, "ben"))
    return replace(ready, standing=decide(ready, asked(INSTRUCT, "ada"), policy, due))


def test_never_more_is_paid_than_is_due() -> None:
    """Also more than the net, where something was carried; and nothing, where nothing is due."""
    statement = instructed(a_statement(), Due((paying("rides", EXCHANGE, 1300),), "n"))
    with pytest.raises(ValidationFailed, match=r"more than is left to be paid: 13\.00 EUR"):
        decide(statement, asked(PAY, "ada", euros(1301)), Policy())
    assert decide(statement, asked(PAY, "ada", euros(1300)), Policy()).status is STATUS.PAID
    less = instructed(a_statement(), Due((paying("rides", "shop", 100), paying("rides", EXCHANGE, 30)), "n"))
    assert left_to_pay(less) == [euros(130)]
    part = replace(less, standing=decide(less, asked(PAY, "ada", euros(100)), Policy()))
    assert (part.status, left_to_pay(part)) == (STATUS.INSTRUCTED, [euros(30)])
    assert instructed(a_statement(), Due((), "n")).status is STATUS.PAID


def test_who_passes_money_on_is_paid_when_all_of_it_has_moved() -> None:
    """Along contracts a partner may be paid and pay in the same currency: both are its payments."""
    through = instructed(a_statement(total(0)), Due((paying("rides", "shop", 500), paying("video", "rides", 500)), "n"))
    assert (through.status, left_to_pay(through)) == (STATUS.INSTRUCTED, [euros(1000)])


def test_what_is_due_has_to_have_its_approvals() -> None:
    """A parent with a small statement does not pay for its group on one signature."""
    two, due = Policy((Tier(euros(100_000), 2),), 1), Due((paying("rides", EXCHANGE, 100_000),), "n")
    reviewed = signed(a_statement(), (REVIEW, "ada"))
    first = decide(reviewed, asked(APPROVE, "ben"), two, due)
    assert (first.status, decide(reviewed, asked(APPROVE, "ben"), two).status) == (STATUS.REVIEWED, STATUS.APPROVED)
    both = replace(reviewed, standing=decide(replace(reviewed, standing=first), asked(APPROVE, "cleo"), two, due))
    assert decide(both, asked(INSTRUCT, "ada"), two, due).status is STATUS.INSTRUCTED
    with pytest.raises(InvalidSignOff, match="needs 2 approvals, and it has 1"):
        instructed(a_statement(), due, two)


@settings(max_examples=100, deadline=None)
@given(any_sums(), policies())
def test_together_statements_are_due_what_is_netted(sums: Sums, policy: NettingPolicy) -> None:
    """Whatever the plan: each its group's net less what is carried, a subsidiary nothing, and all sum to zero."""
    made = net(sums, policy)
    found = netting(*made.payments, policy=policy)
    left = Counter({(party, amount.currency): amount.minor for party, amount in made.nets})
    for payment in made.carried:
        left[payment.from_, payment.amount.currency] += payment.amount.minor
        left[payment.to, payment.amount.currency] -= payment.amount.minor
    exchange = Counter({currency: minor for (party, currency), minor in left.items() if party == EXCHANGE})
    for partner in {position.partner for position in positions(sums)} | {party for party, _ in left} - {EXCHANGE}:
        due = due_of(replace(a_statement(), partner=partner), found, None)
        comes_to: Counter[str] = Counter()
        for from_, to, minor, currency in legs(due.payments):
            assert partner in (from_, to)
            comes_to[currency] += minor if to == partner else -minor
        if partner != EXCHANGE:
            assert comes_to == Counter({each: minor for (party, each), minor in left.items() if party == partner})
            exchange.update(comes_to)
        assert (due.refusal is not None) == (partner in policy.without)
    assert not any(exchange.values())


# ---------------------------------------------------------------- the second opinion


def a_log(due: Due, *, two: bool = False) -> tuple[Statement, list[Record]]:
    """Let a statement of 12.50 EUR be signed off under a recorded netting."""
    statement, log = a_statement(), list[Record]()
    approvals = ((APPROVE, "ben", None), (APPROVE, "cleo", None)) if two else ((APPROVE, "ben", None),)
    for n, (step, actor, amount) in enumerate((
        (REVIEW, "ada", None), *approvals, (INSTRUCT, "ada", None), (PAY, "ada", euros(500)),
    )):  # fmt: skip
        wish = asked(step, actor, amount)
        at = due if step is not PAY else Due(statement.due)
        after = decide(statement, wish, Policy(), at)
        log.append(recorded(log[-1] if log else None, NOW + timedelta(seconds=n), wish, after, Policy(), at))
        statement = replace(statement, standing=after)
    return statement, log


def judged(statement: Statement, log: list[Record], *nettings: RecordedNetting) -> list[str]:
    judge = LogJudge([statement], nettings)
    return [wrong for record in log for wrong in judge.take(record)] + list(judge.end([]))


def sealed(log: list[Record], where: int, **change: Any) -> list[Record]:
    """Change a record, and give all the hashes that they then have."""
    made: list[Record] = []
    for n, record in enumerate(log):
        changed = replace(record, **change) if n == where else record
        chained = replace(changed, prev=made[-1].hash if made else record.prev, hash="")
        made.append(replace(chained, hash=chained.computed_hash()))
    return made


NETTING = netting(paying("rides", "shop", 500), paying("video", "shop", 7))
BY_NETTING = due_of(a_statement(), NETTING, None)


def test_a_log_under_a_netting_is_judged_by_it() -> None:
    """Approval and instruction say by which; without that netting, or with another one, the same log is wrong."""
    statement, log = a_log(BY_NETTING)
    assert statement.status is STATUS.PAID
    assert [(record.netting, record.due and legs(record.due)) for record in log] == [
        (None, None), *[(NETTING.hash, [("rides", "shop", 500, EUR)])] * 2, (None, None),
    ]  # fmt: skip
    assert judged(statement, log, NETTING) == []
    assert "record 3 of the sign-off instructs statement 1:rides by another netting than that of its period" in judged(
        statement, log
    )
    assert "record 2 of the sign-off says that other sums are due of statement 1:rides" in judged(
        statement, log, netting(paying("rides", "shop", 501))
    )
    out = replace(NETTING, policy=NettingPolicy(without=frozenset({"rides"})))
    assert judged(statement, log, out) == [
        "record 3 of the sign-off instructs statement 1:rides, which was taken out of the netting"
    ]


@pytest.mark.parametrize(
    ("at", "change", "says"),
    [
        (2, {"due": (paying("rides", "shop", 501),)}, "record 3 of the sign-off says that other sums are due"),
        (2, {"due": (paying("rides", "video", 500),)}, "record 3 of the sign-off says that other sums are due"),
        (2, {"due": None}, "record 3 of the sign-off names a netting, and not what is due by it"),
        (2, {"due": None, "netting": None}, "record 4 of the sign-off says that statement 1:rides is PAID then"),
        (3, {"amount": euros(501)}, "record 4 of the sign-off pays more of statement 1:rides than is due"),
        (3, {"due": (), "netting": "n"}, "record 4 of the sign-off says that other sums are due"),
        (0, {"due": BY_NETTING.payments, "netting": NETTING.hash}, "record 1 of the sign-off is a REVIEW, and says"),
    ],
)
def test_what_is_not_due_is_named(at: int, change: dict[str, Any], says: str) -> None:
    """Even in a log that was written anew with all its hashes, a payment of something else is found."""
    statement, log = a_log(BY_NETTING)
    wrong = judged(statement, sealed(log, at, **change), NETTING)
    assert any(each.startswith(says) for each in wrong), wrong


def test_a_statement_says_what_its_log_does() -> None:
    """Not that something else is due, nor that nothing was fixed."""
    statement, log = a_log(BY_NETTING)
    for due in (None, (), (paying("rides", "shop", 499),)):
        changed = replace(statement, standing=replace(statement.standing, due=due))
        assert judged(changed, log, NETTING) == ["statement 1:rides says that other sums are due than its log"]


def test_the_judge_misses_what_is_carried_and_what_was_not_approved() -> None:
    """An instruction by totals into which something was carried, and one with too few signatures, are found."""
    second = replace(a_statement(), id="2:rides", period=2)
    at = Due(second.due)
    log: list[Record] = []
    for step, actor in ((REVIEW, "ada"), (APPROVE, "ben"), (INSTRUCT, "ada")):
        wish = asked(step, actor, of="2:rides")
        after = decide(second, wish, Policy(), at)
        log.append(recorded(log[-1] if log else None, NOW, wish, after, Policy(), at))
        second = replace(second, standing=after)
    assert judged(second, log, netting()) == []
    assert judged(second, log, a_netting(1)) == [
        "record 3 of the sign-off instructs statement 2:rides, and leaves out what is carried into its period"
    ]


def test_an_old_record_has_the_hash_that_it_had() -> None:
    """The literal was computed before a record said what is due."""
    record = Record(
        seq=3, prev="0" * 64, at=datetime(2026, 3, 1, 12, tzinfo=UTC), actor="ada", key="k", fingerprint="f", policy=1,
        step=INSTRUCT, statement="1:rides", statement_hash="h" * 64, status=STATUS.INSTRUCTED, note="n",
    )  # fmt: skip
    assert record.computed_hash() == "d9a53e9ccc0c9917de118ed43204c30d33569dec6733a60b18b5a60e626f774e"


# ---------------------------------------------------------------- on a database


async def of(world: World, partner: str, number: int = 1) -> Statement:
    found = await world.settle().statement(f"{number}:{partner}")
    assert found is not None
    return found


async def take(world: World, *steps: tuple[SignOffStep, str], partner: str, number: int = 1) -> Statement:
    """Take steps about a statement, which must be possible; `PAY` pays all that is left."""
    for step, actor in steps:
        statement = await of(world, partner, number)
        left = left_to_pay(statement) if step is PAY else [None]
        for amount in [each for each in left if each is None or each.minor]:
            wish = asked(step, actor, amount, of=statement.id, hash=statement.hash)
            await SignOff(world.database).sign(wish)
    return await of(world, partner, number)


APPROVED = ((REVIEW, "ada"), (APPROVE, "ben"))
PARTNERS = ("delivery", "rides", "video")


@pytest.fixture
async def approved(example: World) -> World:
    """Close the period, and let its three statements be approved."""
    await example.settle().close(1)
    await SignOff(example.database).create_indexes()
    await Reconciliation(example.database).create_indexes()
    for partner in PARTNERS:
        await take(example, *APPROVED, partner=partner)
    return example


async def sound(world: World) -> None:
    assert {proof.number: proof.wrong for proof in await check(world.database) if not proof.holds} == {}


FIX = Fix(id="ecb-2026-03-01", base=EUR, date=date(2026, 3, 1), rates={JPY: "150"})


@pytest.mark.parametrize(
    ("wish", "due", "account"),
    [
        # delivery owes 5.83 EUR and video 3.15; rides is owed 8.84 and the exchange 0.14; rides owes video 15 JPY.
        (
            {"minimums": {EUR: 400}},  # video's 3.15 is carried
            {"delivery": [("delivery", EXCHANGE, 583, EUR)],
             "rides": [(EXCHANGE, "rides", 884, EUR), ("rides", EXCHANGE, 15, JPY)],
             "video": [(EXCHANGE, "video", 15, JPY)]},
            {"1:delivery:EUR": 583, "1:rides:EUR": -884, "1:rides:JPY": 15, "1:video:JPY": -15},
        ),
        (
            {"groups": {"video": ("delivery",)}},  # 3.15 + 5.83 = 8.98
            {"delivery": [],
             "rides": [(EXCHANGE, "rides", 884, EUR), ("rides", EXCHANGE, 15, JPY)],
             "video": [("video", EXCHANGE, 898, EUR), (EXCHANGE, "video", 15, JPY)]},
            {"1:rides:EUR": -884, "1:rides:JPY": 15, "1:video:EUR": 898, "1:video:JPY": -15},
        ),
        (
            {"plan": PlanKind.FEWEST},  # delivery 5.83 and video 3.15 to rides 8.84: 8.98 - 8.84 = 0.14 is left over
            {"delivery": [("delivery", "rides", 583, EUR)],
             "rides": [("delivery", "rides", 583, EUR), ("video", "rides", 301, EUR), ("rides", "video", 15, JPY)],
             "video": [("video", EXCHANGE, 14, EUR), ("video", "rides", 301, EUR), ("rides", "video", 15, JPY)]},
            {"1:video:EUR": 14},
        ),
        (
            {"settle": {"rides": EUR}, "fix": FIX},  # 15 JPY are 15 ÷ 150 = 0.10 EUR: 8.84 - 0.10 = 8.74
            {"delivery": [("delivery", EXCHANGE, 583, EUR)],
             "rides": [(EXCHANGE, "rides", 874, EUR)],
             "video": [("video", EXCHANGE, 315, EUR), (EXCHANGE, "video", 15, JPY)]},
            {"1:delivery:EUR": 583, "1:rides:EUR": -874, "1:video:EUR": 315, "1:video:JPY": -15},
        ),
    ],
    ids=["carried", "group", "fewest", "currency"],
)  # fmt: skip
async def test_a_statement_is_paid_as_its_period_was_netted(
    approved: World, wish: dict[str, Any], due: Mapping[str, Legs], account: Mapping[str, int]
) -> None:
    """Plan, instruction, what the bank is expected to book, and what is left: all of them the netting's, worked out."""
    made, _ = await (await recording(approved)).record(to_record(1, **wish), SEAL)
    assert await approved.settle().payment_plan(1) == list(made.payments)
    for partner in PARTNERS:
        statement = await take(approved, (INSTRUCT, "ada"), partner=partner)
        assert sorted(legs(statement.due)) == sorted(due[partner])
        assert statement.status is (STATUS.INSTRUCTED if due[partner] else STATUS.PAID)
    found = await Reconciliation(approved.database).dues()
    assert {each.reference: each.whole.minor for each in found} == account
    for partner in PARTNERS:
        if due[partner]:
            assert (await take(approved, (PAY, "ada"), partner=partner)).status is STATUS.PAID
    await sound(approved)


async def test_what_was_bartered_is_not_paid(approved: World) -> None:
    """Of the 3.33 EUR that video's points cost at rides 1.00 is settled in kind: 3.15 - 1.00 and 8.84 - 1.00."""
    nettings = await recording(approved)
    await nettings.barters.add(await wished(approved), "", "ada")
    await nettings.record(to_record(1), SEAL)
    assert legs((await take(approved, (INSTRUCT, "ada"), partner="video")).due)[0] == ("video", EXCHANGE, 215, EUR)
    assert legs((await take(approved, (INSTRUCT, "ada"), partner="rides")).due)[0] == (EXCHANGE, "rides", 784, EUR)
    await sound(approved)


@pytest.fixture
async def next_too(approved: World) -> World:
    """Close a second period, in which video owes rides 0.83 EUR, less 0.02 of commission; the fee is 0.01."""
    await approved.award("video", "ben", 250)
    await approved.redeem("video", "ben", "rides/scooter")
    await approved.settle().close(2)
    for partner in ("rides", "video"):
        await take(approved, *APPROVED, partner=partner, number=2)
    return approved


async def test_what_was_carried_is_due_with_the_next_period(next_too: World) -> None:
    """Until that is netted nobody is instructed; then 0.81 + 3.15 is due of video's statement, more than its net."""
    nettings = await recording(next_too)
    await nettings.record(to_record(1, minimums={EUR: 10_000}), SEAL)
    with pytest.raises(InvalidSignOff, match="the netting of period 1 carries something: record that of period 2"):
        await take(next_too, (INSTRUCT, "ada"), partner="video", number=2)
    await nettings.record(to_record(2), SEAL)
    video = await take(next_too, (INSTRUCT, "ada"), (PAY, "ada"), (RECONCILE, "ben"), partner="video", number=2)
    assert ([each.net.minor for each in video.totals], legs(video.due)) == ([-81], [("video", EXCHANGE, 396, EUR)])
    rides = await take(next_too, (INSTRUCT, "ada"), partner="rides", number=2)
    assert legs(rides.due) == [(EXCHANGE, "rides", 80 + 884, EUR)]
    await sound(next_too)


async def test_what_is_instructed_is_not_netted_any_more(next_too: World) -> None:
    """Neither its own period, nor one before that would carry something into it; without anything carried, that is."""
    nettings = await recording(next_too)
    await take(next_too, (INSTRUCT, "ada"), partner="video", number=2)
    with pytest.raises(ValidationFailed, match="2:video is instructed already: no netting can be recorded of period 2"):
        await nettings.record(to_record(2), SEAL)
    with pytest.raises(ValidationFailed, match="2:video is instructed already: what the netting of period 1 carries"):
        await nettings.record(to_record(1, minimums={EUR: 10_000}), SEAL)
    await nettings.record(to_record(1), SEAL)
    assert [each.period for each in await nettings.page()] == [1]
    assert legs(await next_too.settle().payment_plan(2)) == [
        (EXCHANGE, "rides", 80, EUR), ("video", EXCHANGE, 81, EUR),
    ]  # fmt: skip
    await sound(next_too)


async def test_who_was_taken_out_is_not_instructed(approved: World) -> None:
    """It stays approved, and so the period is not settled; the survivors are."""
    await (await recording(approved)).record(to_record(1, without=frozenset({"delivery"})), SEAL)
    with pytest.raises(InvalidSignOff, match="delivery was taken out of the netting of period 1"):
        await take(approved, (INSTRUCT, "ada"), partner="delivery")
    for partner in ("rides", "video"):
        assert (await take(approved, (INSTRUCT, "ada"), (PAY, "ada"), partner=partner)).status is STATUS.PAID
    assert (await of(approved, "delivery")).status is STATUS.APPROVED
    await sound(approved)


@pytest.mark.parametrize("round_", range(2))
@pytest.mark.parametrize("number", [1, 2])
async def test_of_a_netting_and_an_instruction_at_once_one_is_first(next_too: World, number: int, round_: int) -> None:
    """Recorded of the period, or carried into it: whoever comes second goes by what is there, or is refused."""
    nettings = await recording(next_too)
    wish = to_record(1, minimums={EUR: 10_000})

    async def record() -> Recorded:
        await asyncio.sleep(0.004 * round_)
        return await nettings.record(wish, SEAL)

    told = await asyncio.gather(
        take(next_too, (INSTRUCT, "ada"), partner="video", number=number), record(),
        take(next_too, (INSTRUCT, "cleo"), partner="rides", number=number), return_exceptions=True,
    )  # fmt: skip
    assert all(isinstance(one, Recorded | Statement | InvalidSignOff | ValidationFailed) for one in told), told
    found = await nettings.get(1)
    log = [each for each in await SignOff(next_too.database).records() if each.step is INSTRUCT]
    if found is None:
        assert [each.netting for each in log] == [None, None]
    else:
        assert [each.netting for each in log] == ([found.hash] * 2 if number == 1 else [])
    await sound(next_too)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_netting_recorded_while_a_statement_is_being_instructed(
    next_too: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """After it was looked for and before anything is written: the instruction is decided again, and goes by it."""
    nettings, write = await recording(next_too), SignOff._write  # noqa: SLF001 - where it is held up
    waiting = [to_record(1, minimums={EUR: 10_000})]

    async def held_up(self: SignOff, *decided: Any) -> None:
        while waiting:
            await nettings.record(waiting.pop(), SEAL)
        await write(self, *decided)

    monkeypatch.setattr(SignOff, "_write", held_up)
    if number == 1:
        assert legs((await take(next_too, (INSTRUCT, "ada"), partner="rides")).due) == [("rides", EXCHANGE, 15, JPY)]
    else:
        with pytest.raises(InvalidSignOff, match="the netting of period 1 carries something"):
            await take(next_too, (INSTRUCT, "ada"), partner="rides", number=2)
    assert not waiting
    await sound(next_too)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_statement_instructed_while_a_netting_is_being_recorded(
    next_too: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Behind the recording's snapshot, so that it cannot see it: it is decided again all the same, and refused."""
    nettings, waiting = await recording(next_too), [number]

    async def held_up(client: Client, work: Callable[[Session], Awaitable[None]]) -> None:
        async def after_a_look(session: Session) -> None:
            await next_too.database["statements"].find_one({}, session=session)
            while waiting:
                await take(next_too, (INSTRUCT, "ada"), partner="rides", number=waiting.pop())
            await work(session)

        await in_one_transaction(client, after_a_look)

    monkeypatch.setattr("exchange.store.nettings.in_one_transaction", held_up)
    with pytest.raises(ValidationFailed, match=f"{number}:rides is instructed already"):
        await nettings.record(to_record(1, minimums={EUR: 10_000}), SEAL)
    assert (waiting, await nettings.page()) == ([], [])
    await sound(next_too)


async def test_an_old_statement_is_paid_as_it_was_instructed(approved: World) -> None:
    """Neither it nor its record says what is due: its totals are. And no netting is recorded of its period."""
    await take(approved, (INSTRUCT, "ada"), partner="rides")
    await approved.database["statements"].update_one({"_id": "1:rides"}, {"$unset": {"due": 1}})
    last = (await SignOff(approved.database).records())[-1]
    old = replace(last, due=None, hash="")
    await approved.database["sign_offs"].update_one(
        {"_id": last.seq}, {"$unset": {"due": 1}, "$set": {"hash": old.computed_hash()}}
    )
    await approved.database["periods"].update_one({"_id": 1}, {"$unset": {"instructed": 1}})
    with pytest.raises(ValidationFailed, match="1:rides is instructed already"):
        await (await recording(approved)).record(to_record(1), SEAL)
    found = await Reconciliation(approved.database).dues()
    assert {each.reference: each.whole.minor for each in found} == {"1:rides:EUR": -884, "1:rides:JPY": 15}
    wish = asked(PAY, "ada", euros(885), of="1:rides", hash=(await of(approved, "rides")).hash)
    with pytest.raises(Refusal, match=r"more than is left to be paid: 8\.84 EUR"):
        await SignOff(approved.database).sign(wish)
    assert (await take(approved, (PAY, "ada"), (RECONCILE, "ben"), partner="rides")).status is STATUS.RECONCILED
    await sound(approved)


async def test_what_is_due_cannot_be_altered(approved: World) -> None:
    """In the statement, in its record, or in the netting."""
    await (await recording(approved)).record(to_record(1), SEAL)
    await take(approved, (INSTRUCT, "ada"), partner="rides")
    db = approved.database
    for collection, wanted, change, number in (
        ("statements", {"_id": "1:rides"}, {"$set": {"due.0.minor": "883"}}, 13),
        ("statements", {"_id": "1:rides"}, {"$unset": {"due": 1}}, 13),
        ("sign_offs", {"step": "INSTRUCT"}, {"$set": {"due.0.to": "video"}}, 13),
        ("sign_offs", {"step": "INSTRUCT"}, {"$unset": {"netting": 1}}, 13),
        ("nettings", {"_id": 1}, {"$set": {"payments.0.minor": "1"}}, 15),
        ("nettings", {"_id": 1}, {"$pop": {"payments": 1}}, 15),
    ):
        was = await db[collection].find_one(wanted)
        assert was is not None
        await db[collection].update_one(wanted, change)
        broken = {proof.number for proof in await check(db) if not proof.holds}
        await db[collection].replace_one({"_id": was["_id"]}, was)
        assert number in broken, (collection, change)
    await sound(approved)
