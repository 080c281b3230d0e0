"""What people do about a statement: who may, in which order, and that the log of it can be proved."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money, decimal_from_minor, minor_from_decimal
from exchange.check import check
from exchange.errors import (
    Contended,
    Forbidden,
    IdempotencyConflict,
    InvalidSignOff,
    NotFound,
    Refusal,
    ValidationFailed,
    VersionConflict,
)
from exchange.journal import EXCHANGE
from exchange.proof.signoff import LogJudge
from exchange.settlement.netting import Payment, Position
from exchange.settlement.period import PeriodStatus
from exchange.settlement.signoff import (
    STEPS,
    Asked,
    Policy,
    Record,
    SignOffStep,
    Tier,
    decide,
    left_to_pay,
    policy_recorded,
    recorded,
    tiers_checked,
)
from exchange.settlement.statement import Standing, Statement, StatementStatus
from exchange.store.connection import settled
from exchange.store.periods import Periods
from exchange.store.signoff import SignOff
from tests.examples import DOCS
from tests.exchange.settlement.conftest import World
from tests.exchange.speech import NOW
from tests.exchange.test_check import _rounds

REVIEW, APPROVE, REJECT, INSTRUCT, PAY, RECONCILE = SignOffStep
STATUS = StatementStatus
DRAFT, NO_POLICY = Standing(), Policy()
PEOPLE = ("ada", "ben", "cleo", "dan")


def euros(cents: int) -> Money:
    return Money(cents, "EUR")


def total(payable: int, currency: str = "EUR") -> Position:
    nothing = Money(0, currency)
    return Position(partner="rides", payable=Money(payable, currency), receivable=nothing, fees=nothing)


def a_statement(*totals: Position, standing: Standing = DRAFT) -> Statement:
    return Statement(
        id="1:rides", period=1, partner="rides", root="r", totals=totals or (total(1250),), line_count=1, hash="h" * 64,
        standing=standing,
    )  # fmt: skip


_KEYS = count()


def asked(step: SignOffStep, actor: str, amount: Money | None = None, of: str = "1:rides", **more: Any) -> Asked:
    """Ask for a step; a payment pays 12.50 EUR unless it says otherwise."""
    if step is PAY and amount is None:
        amount = euros(1250)
    name = f"key {next(_KEYS)}"
    given = {"hash": "h" * 64, "key": name, "fingerprint": f"{step} {amount}"} | more
    return Asked(step=step, statement=of, actor=actor, amount=amount, **given)


def signed(statement: Statement, *steps: tuple[SignOffStep, str], policy: Policy = NO_POLICY) -> Statement:
    """Take steps, which must be possible."""
    for step, actor in steps:
        statement = replace(statement, standing=decide(statement, asked(step, actor), policy))
    return statement


# ---------------------------------------------------------------- what is decided


def test_a_statement_goes_from_draft_to_reconciled() -> None:
    """Each step leads on, and the statement remembers whose hands it went through."""
    statement = a_statement()
    seen = [statement.status]
    for step, actor in ((REVIEW, "ada"), (APPROVE, "ben"), (INSTRUCT, "ada"), (PAY, "ada"), (RECONCILE, "ben")):
        statement = signed(statement, (step, actor))
        seen.append(statement.status)
    assert seen == [
        STATUS.DRAFT, STATUS.REVIEWED, STATUS.APPROVED, STATUS.INSTRUCTED, STATUS.PAID, STATUS.RECONCILED,
    ]  # fmt: skip
    assert statement.standing == Standing(
        status=STATUS.RECONCILED, prepared_by=("ada",), approved_by=("ben",), paid=(euros(1250),), paid_by=("ada",),
        steps=5, due=(Payment(from_="rides", to=EXCHANGE, amount=euros(1250)),),
    )  # fmt: skip


WAYS: dict[StatementStatus, tuple[tuple[SignOffStep, str], ...]] = {
    STATUS.DRAFT: (),
    STATUS.REVIEWED: ((REVIEW, "ada"),),
    STATUS.REJECTED: ((REVIEW, "ada"), (REJECT, "ben")),
    STATUS.APPROVED: ((REVIEW, "ada"), (APPROVE, "ben")),
    STATUS.INSTRUCTED: ((REVIEW, "ada"), (APPROVE, "ben"), (INSTRUCT, "ada")),
    STATUS.PAID: ((REVIEW, "ada"), (APPROVE, "ben"), (INSTRUCT, "ada"), (PAY, "ada")),
    STATUS.RECONCILED: ((REVIEW, "ada"), (APPROVE, "ben"), (INSTRUCT, "ada"), (PAY, "ada"), (RECONCILE, "ben")),
}
ALLOWED = {
    STATUS.DRAFT: {REVIEW, REJECT}, STATUS.REVIEWED: {APPROVE, REJECT}, STATUS.REJECTED: {REVIEW},
    STATUS.APPROVED: {INSTRUCT, REJECT}, STATUS.INSTRUCTED: {PAY}, STATUS.PAID: {RECONCILE}, STATUS.RECONCILED: set(),
}  # fmt: skip


@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("step", SignOffStep)
def test_a_step_begins_where_it_may(status: StatementStatus, step: SignOffStep) -> None:
    """From each status exactly these steps lead on; all others are refused, with the status."""
    statement = signed(a_statement(), *WAYS[status])
    assert statement.status is status
    if step in ALLOWED[status]:
        assert decide(statement, asked(step, "cleo"), Policy()).status is STEPS[step][1]
    else:
        with pytest.raises(InvalidSignOff) as refused:
            decide(statement, asked(step, "cleo"), Policy())
        assert refused.value.status == status


def test_nobody_approves_what_it_prepared() -> None:
    """Neither who reviewed it, nor who reviewed it before it was rejected, nor the same twice."""
    for ways in (((REVIEW, "ada"),), ((REVIEW, "ada"), (REJECT, "ben"), (REVIEW, "cleo"))):
        with pytest.raises(Forbidden, match="has reviewed"):
            decide(signed(a_statement(), *ways), asked(APPROVE, "ada"), Policy())
    two = Policy((Tier(euros(0), 2),), 1)
    once = signed(a_statement(), (REVIEW, "ada"), (APPROVE, "ben"), policy=two)
    assert (once.status, once.standing.approved_by) == (STATUS.REVIEWED, ("ben",))
    with pytest.raises(Forbidden, match="somebody else"):
        decide(once, asked(APPROVE, "ben"), two)
    assert decide(once, asked(APPROVE, "cleo"), two).status is STATUS.APPROVED


def test_approvals_end_with_a_rejection() -> None:
    """What was rejected needs all its approvals anew."""
    two = Policy((Tier(euros(0), 2),), 1)
    statement = signed(
        a_statement(),
        (REVIEW, "ada"),
        (APPROVE, "ben"),
        (REJECT, "cleo"),
        (REVIEW, "ada"),
        (APPROVE, "cleo"),
        policy=two,
    )
    assert (statement.status, statement.standing.approved_by) == (STATUS.REVIEWED, ("cleo",))
    assert decide(statement, asked(APPROVE, "ben"), two).status is STATUS.APPROVED


def test_who_recorded_a_payment_does_not_reconcile_it() -> None:
    """The one who says that it was paid is not the one who finds it in the bank's books."""
    with pytest.raises(Forbidden, match="recorded a payment"):
        decide(signed(a_statement(), *WAYS[STATUS.PAID]), asked(RECONCILE, "ada"), Policy())


def test_only_what_was_read_is_signed() -> None:
    """A step names the statement's hash; another one is refused before anything else."""
    with pytest.raises(ValidationFailed) as refused:
        decide(signed(a_statement(), *WAYS[STATUS.PAID]), asked(REVIEW, "ada", hash="0" * 64), Policy())
    assert refused.value.path == ["input", "hash"]


@pytest.mark.parametrize(
    ("net", "needed"), [(0, 1), (99_999, 1), (100_000, 2), (-100_000, 2), (999_999, 2), (1_000_000, 3), (-(10**9), 3)]
)
def test_a_great_amount_needs_more_approvers(net: int, needed: int) -> None:
    """From a tier's amount on, to either side; in a currency without tiers one is enough."""
    policy = Policy(tiers_checked([Tier(euros(1_000_000), 3), Tier(euros(100_000), 2)]), 1)
    assert policy.needed([total(net)]) == needed
    assert policy.needed([total(net, "JPY")]) == 1
    assert policy.needed([total(net, "JPY"), total(100_000)]) == 2


@pytest.mark.parametrize(
    ("path", "tiers"),
    [
        (["input", "tiers", "0", "amount"], [Tier(euros(-1), 2)]),
        (["input", "tiers", "1", "approvers"], [Tier(euros(1), 2), Tier(euros(2), 0)]),
        (["input", "tiers", "0", "approvers"], [Tier(euros(1), 10)]),
        (["input", "tiers", "1", "amount"], [Tier(euros(1), 2), Tier(euros(1), 3)]),
        (["input", "tiers"], [Tier(euros(n), 2) for n in range(51)]),
    ],
)
def test_a_policy_that_means_nothing_is_refused(path: list[str], tiers: list[Tier]) -> None:
    """Negative amounts, no or too many approvers, an amount twice, too many tiers."""
    with pytest.raises(ValidationFailed) as refused:
        tiers_checked(tiers)
    assert refused.value.path == path


def test_it_is_paid_when_every_currency_is() -> None:
    """In parts, to whichever side, never more than what is left; a currency without a net is not paid."""
    statement = a_statement(total(1250), total(-300, "JPY"), total(0, "USD"))
    statement = signed(statement, *WAYS[STATUS.APPROVED], (INSTRUCT, "ada"))
    for amount, left, status in (
        (euros(1000), [250, 300], STATUS.INSTRUCTED), (Money(300, "JPY"), [250, 0], STATUS.INSTRUCTED),
        (euros(250), [0, 0], STATUS.PAID),
    ):  # fmt: skip
        for wrong in (Money(1, "USD"), euros(0), euros(-1), euros(1251), Money(301, "JPY")):
            with pytest.raises(ValidationFailed) as refused:
                decide(statement, asked(PAY, "ada", wrong), Policy())
            assert refused.value.path == ["input", "amount"]
        statement = replace(statement, standing=decide(statement, asked(PAY, "ada", amount), Policy()))
        assert [each.minor for each in left_to_pay(statement)] == left
        assert statement.status is status


def test_what_nets_to_nothing_is_paid_when_it_is_instructed() -> None:
    """Nothing has to move: no payment is waited for."""
    assert signed(a_statement(total(0)), *WAYS[STATUS.APPROVED], (INSTRUCT, "ada")).status is STATUS.PAID


# ---------------------------------------------------------------- the log, and the second opinion on it


def a_log(*steps: tuple[SignOffStep, str, Money | None] | Policy) -> tuple[Statement, list[Record]]:
    """Let people do things about one statement of 12.50 EUR; what is refused leaves no record."""
    statement, policy, log = a_statement(), Policy(), list[Record]()
    for n, step in enumerate(steps):
        before, at = log[-1] if log else None, NOW + timedelta(seconds=n)
        if isinstance(step, Policy):
            policy = replace(step, version=policy.version + 1)
            log.append(policy_recorded(before, at, "ada", policy))
            continue
        wish = asked(*step)
        try:
            after = decide(statement, wish, policy)
        except Refusal:
            continue
        log.append(recorded(before, at, wish, after, policy))
        statement = replace(statement, standing=after)
    return statement, log


def judged(statement: Statement, log: list[Record]) -> list[str]:
    judge = LogJudge([statement])
    return [wrong for record in log for wrong in judge.take(record)] + list(judge.end([]))


amounts = st.sampled_from([None, euros(1), euros(1250), euros(1249), euros(2000), Money(1, "JPY")])
policies = st.lists(st.builds(Tier, st.sampled_from([euros(0), euros(1250), euros(1251)]), st.integers(1, 3)),
                    max_size=2, unique_by=lambda tier: tier.amount).map(lambda tiers: Policy(tuple(tiers)))  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(SignOffStep), st.sampled_from(PEOPLE), amounts) | policies, max_size=25))
def test_whatever_people_try_both_opinions_agree(
    steps: list[tuple[SignOffStep, str, Money | None] | Policy],
) -> None:
    """What is decided, the judge of the log finds right; and no approval was by whoever reviewed it."""
    statement, log = a_log(*((*step[:2], step[2] if step[0] is PAY else None) if isinstance(step, tuple) else step
                             for step in steps))  # fmt: skip
    assert judged(statement, log) == []
    assert sum(each.minor for each in statement.standing.paid) <= 1250
    assert not set(statement.standing.approved_by) & set(statement.standing.prepared_by)


FULL: tuple[tuple[SignOffStep, str, Money | None] | Policy, ...] = (
    Policy((Tier(euros(1000), 2),)), (REVIEW, "ada", None), (APPROVE, "ben", None), (REJECT, "cleo", None),
    (REVIEW, "ada", None), (APPROVE, "ben", None), (APPROVE, "cleo", None), (INSTRUCT, "ada", None),
    (PAY, "ada", euros(50)), (PAY, "ada", euros(1200)), (RECONCILE, "ben", None),
)  # fmt: skip


def rechained(log: list[Record], where: int, **change: Any) -> list[Record]:
    """Change a record and give it, and all behind it, the hashes that they then have: as whoever can write could."""
    made = log[:where]
    for record in [replace(log[where], **change), *log[where + 1 :]]:
        prev = made[-1].hash if made else record.prev
        chained = replace(record, prev=prev, hash="")
        made.append(replace(chained, hash=chained.computed_hash()))
    return made


@pytest.mark.parametrize(
    ("at", "change", "says"),
    [
        (2, {"actor": "ada"}, "record 3 of the sign-off is an approval by who reviewed it"),
        (6, {"actor": "ben"}, "record 7 of the sign-off is a second approval by the same"),
        (5, {"status": STATUS.APPROVED}, "record 6 of the sign-off says that statement 1:rides is APPROVED then"),
        (9, {"amount": euros(1201)}, "record 10 of the sign-off pays more of statement 1:rides than is due"),
        (9, {"amount": euros(1199)}, "record 10 of the sign-off says that statement 1:rides is PAID then"),
        (9, {"amount": None}, "record 10 of the sign-off pays nothing"),
        (10, {"actor": "ada"}, "record 11 of the sign-off reconciles what the same recorded"),
        (3, {"step": INSTRUCT}, "record 4 of the sign-off is a INSTRUCT of statement 1:rides, which was REVIEWED"),
        (1, {"statement": "1:video"}, "record 2 of the sign-off is about statement 1:video, which is not there"),
        (1, {"statement_hash": "0"}, "record 2 of the sign-off is about another hash than that of statement 1:rides"),
        (1, {"policy": 0}, "record 2 of the sign-off goes by version 0 of the policy, 1 was in force"),
        (0, {"policy": 2}, "record 1 of the sign-off should set version 1 of the policy"),
        (0, {"tiers": ()}, "record 3 of the sign-off says that statement 1:rides is REVIEWED then"),
        (4, {"at": NOW}, "record 5 of the sign-off is earlier than the one before it"),
        (7, {"seq": 9}, "record 9 of the sign-off stands where 8 should"),
    ],
)  # fmt: skip
def test_what_cannot_have_been_done_is_named(at: int, change: dict[str, Any], says: str) -> None:
    """Even a log that was written anew with all its hashes cannot say what nobody may do."""
    statement, log = a_log(*FULL)
    assert (len(log), statement.status, judged(statement, log)) == (11, STATUS.RECONCILED, [])
    assert judged(statement, rechained(log, at, **change))[0] == says


@given(st.integers(0, 10), st.data())
def test_no_record_can_be_changed_without_its_hash(at: int, data: st.DataObject) -> None:
    """Any field of any record is under its hash, and each hash under the next."""
    statement, log = a_log(*FULL)
    name = data.draw(st.sampled_from([each for each in Record.__struct_fields__ if each != "hash"]))
    others = {
        "seq": 77, "at": NOW + timedelta(days=1), "policy": 9, "step": REJECT, "amount": euros(3),
        "status": STATUS.DRAFT, "tiers": (Tier(euros(7), 7),), "due": (),
    }  # fmt: skip
    other = replace(log[at], **{name: others.get(name, "else")})
    if other != log[at]:
        assert any("does not have its hash" in each for each in judged(statement, [*log[:at], other, *log[at + 1 :]]))
    if at < 10:
        lost = judged(statement, [*log[:at], *log[at + 1 :]])
        assert any("does not name the record before it" in each for each in lost)


# ---------------------------------------------------------------- on a database


@pytest.fixture
async def closed(example: World) -> AsyncIterator[World]:
    """Give a closed period with statements of delivery, rides and video; hold everything to be proved in the end."""
    await example.settle().close(1)
    await SignOff(example.database).create_indexes()
    yield example
    assert {proof.number: proof.wrong for proof in await check(example.database) if not proof.holds} == {}


async def ask(world: World, step: SignOffStep, actor: str, partner: str = "rides", **more: Any) -> Asked:
    """Ask for a step about the statement as it is stored."""
    statement = await stored(world, partner)
    return asked(step, actor, of=statement.id, **{"hash": statement.hash} | more)


async def stored(world: World, partner: str = "rides") -> Statement:
    statement = await world.settle().statement(f"1:{partner}")
    assert statement is not None
    return statement


async def take(world: World, *steps: tuple[SignOffStep, str], partner: str = "rides") -> Statement:
    """Take steps, which must be possible; `PAY` pays all that is left."""
    for step, actor in steps:
        left = left_to_pay(await stored(world, partner))
        for amount in [each for each in left if each.minor] if step is PAY else [None]:
            await SignOff(world.database).sign(await ask(world, step, actor, partner, amount=amount))
    return await stored(world, partner)


WHOLE = ((REVIEW, "ada"), (APPROVE, "ben"), (INSTRUCT, "ada"), (PAY, "ada"))


async def test_a_period_is_settled_when_all_its_statements_are_paid(closed: World) -> None:
    """Not before the last one; then for good, and closing it again is the same success."""
    for partner in ("delivery", "rides", "video"):
        assert (await closed.settle().period(1)).status is PeriodStatus.CLOSED  # type: ignore[union-attr]
        assert (await take(closed, *WHOLE, partner=partner)).status is STATUS.PAID
    period = await closed.settle().period(1)
    assert period is not None
    assert period.status is PeriodStatus.SETTLED
    assert period.settled_at is not None
    assert await closed.settle().close(1) == period
    assert (await take(closed, (RECONCILE, "ben"))).status is STATUS.RECONCILED
    assert await closed.settle().period(1) == period
    await closed.prove()
    await closed.settle().close(2)


async def test_a_payment_waits_for_whoever_writes_the_period(closed: World) -> None:
    """The last one settles the period; if a close is writing that just then, it is paid a moment later all the same."""
    for partner in ("delivery", "video"):
        await take(closed, *WHOLE, partner=partner)
    await take(closed, *WHOLE[:3])
    for amount in left_to_pay(await stored(closed))[1:]:
        await SignOff(closed.database).sign(await ask(closed, PAY, "ada", amount=amount))
    last = await ask(closed, PAY, "ada", amount=left_to_pay(await stored(closed))[0])
    async with await settled(closed.database.client.start_session()) as closing:
        await settled(closing.start_transaction())
        await closed.database["periods"].update_one({"_id": 1}, {"$set": {"statements": 3}}, session=closing)
        await closed.database["periods"].update_one({"_id": 1}, {"$set": {"written": 1}}, session=closing)
        paying = asyncio.create_task(SignOff(closed.database).sign(last))
        await asyncio.sleep(0.05)
        await closing.abort_transaction()
    assert (await paying).statement.status is STATUS.PAID
    assert (await closed.settle().period(1)).status is PeriodStatus.SETTLED  # type: ignore[union-attr]


async def test_a_close_that_ends_during_the_last_payment_leaves_nothing_unsettled(closed: World) -> None:
    """The payment does not see yet that all is drafted, nor the close that all is paid: the period is settled."""

    class DuringAClose(SignOff):
        async def _write(self, *what: Any) -> None:
            await super()._write(*what)
            assert (await closed.settle().close(1)).status is PeriodStatus.CLOSED

    await closed.database["periods"].update_one({"_id": 1}, {"$set": {"statements": None}})
    for partner in ("delivery", "video"):
        await take(closed, *WHOLE, partner=partner)
    await take(closed, *WHOLE[:3])
    last, *others = left_to_pay(await stored(closed))
    for amount in others:
        await SignOff(closed.database).sign(await ask(closed, PAY, "ada", amount=amount))
    await DuringAClose(closed.database).sign(await ask(closed, PAY, "ada", amount=last))
    assert (await closed.settle().period(1)).status is PeriodStatus.SETTLED  # type: ignore[union-attr]


async def test_the_log_has_every_step(closed: World) -> None:
    """Numbered and chained over all statements, with who did what to which hash; its head is the last one's hash."""
    sign_off = SignOff(closed.database)
    await sign_off.set_policy((Tier(euros(100_000), 2),), "ops")
    await take(closed, *WHOLE)
    await take(closed, (REVIEW, "ben"), (REJECT, "cleo"), partner="video")
    log = await sign_off.records()
    head = await sign_off.head()
    assert head == log[-1]
    assert [record.seq for record in log] == list(range(1, len(log) + 1))
    assert [(record.step, record.actor) for record in log][:4] == [
        (None, "ops"),
        (REVIEW, "ada"),
        (APPROVE, "ben"),
        (INSTRUCT, "ada"),
    ]
    assert [record.prev for record in log[1:]] == [record.hash for record in log[:-1]]
    assert [record.step for record in await sign_off.records("1:video")] == [REVIEW, REJECT]
    assert [record.seq for record in await sign_off.records(after=2, limit=2)] == [3, 4]


async def test_a_step_repeated_is_the_same_step(closed: World) -> None:
    """The same key for the same input writes nothing, wherever the statement has come to; another input is refused."""
    sign_off = SignOff(closed.database)
    wish = await ask(closed, REVIEW, "ada")
    first = await sign_off.sign(wish)
    assert (first.replayed, first.statement.status) == (False, STATUS.REVIEWED)
    await take(closed, (REJECT, "ben"))
    again = await sign_off.sign(wish)
    assert (again.replayed, again.statement.status, again.record) == (True, STATUS.REJECTED, first.record)
    assert len(await sign_off.records()) == 2
    with pytest.raises(IdempotencyConflict):
        await sign_off.sign(replace(wish, fingerprint="else"))
    with pytest.raises(NotFound):
        await sign_off.sign(asked(REVIEW, "ada", of="1:nobody"))


async def test_of_many_at_once_one_has_done_it(closed: World) -> None:
    """Reviewed, approved and paid by several at the same moment: once, and the others are told where it stands."""
    sign_off = SignOff(closed.database)

    async def rush(*wishes: Asked) -> list[Any]:
        return await asyncio.gather(*(sign_off.sign(wish) for wish in wishes), return_exceptions=True)

    told = await rush(*[await ask(closed, REVIEW, who) for who in PEOPLE])
    assert sorted(type(each).__name__ for each in told) == ["InvalidSignOff"] * 3 + ["Signed"]
    reviewer = (await stored(closed)).standing.prepared_by[0]
    told = await rush(*[await ask(closed, APPROVE, who) for who in PEOPLE])
    kinds = dict(zip(PEOPLE, [type(each).__name__ for each in told], strict=True))
    assert kinds.pop(reviewer) in ("Forbidden", "InvalidSignOff")
    assert sorted(kinds.values()) == ["InvalidSignOff"] * 2 + ["Signed"]
    await take(closed, (INSTRUCT, "ada"))
    cents = abs((await stored(closed)).totals[0].net.minor)
    part = euros(cents // 3 + 1)
    told = await rush(*[await ask(closed, PAY, who, amount=part) for who in PEOPLE])
    assert [type(each).__name__ for each in told].count("Signed") == 2
    once = await ask(closed, PAY, "ada", amount=euros(1))
    told = await rush(*[once] * 6)
    assert sorted(each.replayed for each in told) == [False] + [True] * 5
    assert (await stored(closed)).standing.paid == (euros(2 * part.minor + 1),)


async def test_statements_signed_at_once_are_one_log(closed: World) -> None:
    """Steps about different statements wait for one another, and none is lost; the last to be paid settles."""
    partners = ("delivery", "rides", "video")
    await asyncio.gather(*(take(closed, *WHOLE, partner=partner) for partner in partners))
    period = await closed.settle().period(1)
    assert period is not None
    assert period.status is PeriodStatus.SETTLED
    log = await SignOff(closed.database).records()
    assert [record.seq for record in log] == list(range(1, len(log) + 1))
    assert {record.statement for record in log} == {f"1:{partner}" for partner in partners}


async def test_a_hundred_statements_are_signed_at_once(world: World) -> None:
    """As a console does for who approves them all: each is signed, by either of two processes, and in moments."""
    several = [SignOff(world.database) for _ in range(2)]
    await several[0].create_indexes()
    of = [replace(a_statement(), id=f"1:p{n}", partner=f"p{n}") for n in range(100)]
    await asyncio.gather(*(Periods(world.database).add_statements([each]) for each in of))
    begun = time.monotonic()
    done = await asyncio.gather(*(
        several[n % 2].sign(asked(REVIEW, "ada", of=each.id)) for n, each in enumerate(of)
    ))  # fmt: skip
    assert time.monotonic() - begun < 15
    assert {each.record.seq for each in done} == set(range(1, 101))


async def test_a_policy_set_during_an_approval_comes_before_or_after_it(closed: World) -> None:
    """Whichever was first: an approval goes by the policy that its record stands behind."""
    sign_off = SignOff(closed.database)
    for n in range(8):
        await take(closed, (REVIEW, "ada"))
        tiers = (Tier(euros(n), 2),) if n % 2 else ()
        await asyncio.gather(sign_off.sign(await ask(closed, APPROVE, "ben")), sign_off.set_policy(tiers, "ops"))
        await take(closed, (REJECT, "cleo"))
    assert (await sign_off.policy())[0] == Policy((Tier(euros(7), 2),), 7)


async def test_a_policy_has_versions(closed: World) -> None:
    """What changes nothing makes no version; an expected version that it has not is refused."""
    sign_off = SignOff(closed.database)
    tiers = (Tier(euros(1), 2),)
    assert await sign_off.policy() == (Policy(), None)
    assert await sign_off.set_policy(tiers, "ops", expected_version=0) == Policy(tiers, 1)
    assert await sign_off.set_policy(tiers, "ops") == Policy(tiers, 1)
    with pytest.raises(VersionConflict) as refused:
        await sign_off.set_policy((), "ops", expected_version=0)
    assert refused.value.current_version == 1
    policy, record = await sign_off.policy()
    assert (policy, record and record.actor) == (Policy(tiers, 1), "ops")


@pytest.mark.parametrize(
    ("before", "wish", "other"),
    [
        (((REVIEW, "ada"),), (APPROVE, "ada"), {}),
        (((REVIEW, "ada"), (REJECT, "ben"), (REVIEW, "cleo")), (APPROVE, "ada"), {}),
        (WHOLE, (RECONCILE, "ada"), {}), (((REVIEW, "ada"),), (APPROVE, "ben"), {"hash": "0" * 64}),
    ],
)  # fmt: skip
async def test_the_write_refuses_again(
    closed: World, monkeypatch: pytest.MonkeyPatch, before: tuple[tuple[SignOffStep, str], ...],
    wish: tuple[SignOffStep, str], other: dict[str, str],
) -> None:  # fmt: skip
    """A decision that forgot who prepared it, who paid it, or what hash it has, could not be written."""
    await take(closed, *before)
    step, actor = wish
    monkeypatch.setattr("exchange.store.signoff._ATTEMPTS", 2)
    forgetful = Standing(status=STEPS[step][1], approved_by=(actor,))
    monkeypatch.setattr("exchange.store.signoff.decide", lambda *_: forgetful)
    log = len(await SignOff(closed.database).records())
    with pytest.raises(Contended):
        await SignOff(closed.database).sign(await ask(closed, step, actor, **other))
    assert len(await SignOff(closed.database).records()) == log


async def test_what_was_altered_is_found(closed: World) -> None:
    """A statement, a record or a period changed behind the log's back breaks the invariant of the sign-off."""
    await take(closed, *WHOLE)
    db = closed.database
    for collection, wanted, change in (
        ("statements", {"partner": "rides"}, {"$set": {"status": "RECONCILED"}}),
        ("statements", {"partner": "rides"}, {"$set": {"approved_by": ["dan"]}}),
        ("statements", {"partner": "rides"}, {"$set": {"paid.0.minor": "1"}}),
        ("statements", {"partner": "video"}, {"$set": {"status": "PAID"}}),
        ("sign_offs", {"_id": 2}, {"$set": {"actor": "dan"}}),
        ("periods", {"_id": 1}, {"$set": {"status": "SETTLED"}}),
    ):
        was = await db[collection].find_one(wanted)
        assert was is not None
        await db[collection].update_one(wanted, change)
        broken = {proof.number for proof in await check(db) if not proof.holds}
        await db[collection].replace_one({"_id": was["_id"]}, was)
        assert 13 in broken, (collection, change)
    lost = await db["sign_offs"].find_one_and_delete({"_id": 3})
    assert lost is not None
    assert 13 in {proof.number for proof in await check(db) if not proof.holds}
    await db["sign_offs"].insert_one(lost)


@pytest.mark.parametrize("instead", ["a word", None, {}], ids=["word", "nothing", "document"])
async def test_a_log_that_cannot_be_read_is_named(closed: World, instead: object) -> None:
    """Every field of a record, with something in its place that it cannot be: no check breaks off."""
    await SignOff(closed.database).set_policy((Tier(euros(0), 1),), "ops")
    await take(closed, *WHOLE)
    log = closed.database["sign_offs"]
    content = await log.find({}).to_list(None)
    for spoiling in _rounds(content):
        for one, path in spoiling.items():
            await log.update_one({"_id": one}, {"$set": {path: instead}})
        assert 13 in {proof.number for proof in await check(closed.database) if not proof.holds}
        await log.delete_many({})
        await log.insert_many(content)


# ---------------------------------------------------------------- the example in the docs


def rows_told(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table that stands last under a heading, without its first two rows."""
    text = (DOCS / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert len(rows) > 2, f"{page} has no table under {heading!r}"
    return rows[2:]


async def test_the_example_in_the_docs(closed: World) -> None:
    """docs/statements.md tells a statement's way as it is: what is done, what is refused, what is left."""
    sign_off = SignOff(closed.database)
    await sign_off.set_policy((Tier(euros(500), 2),), "ops")
    steps = {
        "reviews": REVIEW, "approves": APPROVE, "rejects": REJECT, "instructs": INSTRUCT, "pays": PAY,
        "reconciles": RECONCILE,
    }  # fmt: skip
    told, done = rows_told("statements.md", "An example"), []
    for who, does, *_ in told:
        verb, *paid = does.split()
        amount = Money(minor_from_decimal(*paid), paid[1]) if paid else None
        try:
            await sign_off.sign(await ask(closed, steps[verb], who, amount=amount))
            became = ""
        except Refusal as refusal:
            became = f"refused: {type(refusal).__name__}"
        statement = await stored(closed)
        left = [
            f"{decimal_from_minor(*each)} {each.currency}"
            for each in left_to_pay(statement) if each.minor
        ]  # fmt: skip
        approvals = str(len(statement.standing.approved_by))
        done.append([who, does, became or statement.status.value, approvals, ", ".join(left) or "nothing"])
    assert done == told
    assert len(await sign_off.records("1:rides")) == 11
    nets = {each.currency: each.net.minor for each in (await stored(closed)).totals}
    assert nets == {"EUR": 884, "JPY": -15}
