"""What was reconciled, over a real database: one sequence of files and answers."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from hashlib import sha256

import pytest

from exchange.amounts import Money
from exchange.errors import IdempotencyConflict, NotFound, ValidationFailed
from exchange.settlement.reconciliation import LINES_MAX, Booked, ExceptionKind, Filed, Tolerance
from exchange.settlement.signoff import Asked, SignOffStep
from exchange.store.reconciliation import Reconciliation
from exchange.store.signoff import SignOff
from tests.exchange.settlement.conftest import World

VIDEO = "1:video:EUR"


def said(minor: int, name: str = "", *, n: int = 1, bank: str = "", day: date, currency: str = "EUR") -> Booked:
    return Booked(n, n + 1, Money(minor, currency), day, bank, (name.upper(),) if name else ())


async def instructed(world: World, *partners: str) -> Reconciliation:
    """Close the period and instruct these partners' statements."""
    settlement, sign_off = world.settle(), SignOff(world.database)
    await settlement.close(1)
    await sign_off.create_indexes()
    for partner in partners:
        statement = await settlement.statement(f"1:{partner}")
        assert statement is not None
        for step, actor in ((SignOffStep.REVIEW, "ada"), (SignOffStep.APPROVE, "ben"), (SignOffStep.INSTRUCT, "ada")):
            await sign_off.sign(Asked(
                step=step, statement=statement.id, hash=statement.hash, actor=actor, key=f"{step} {partner}",
                fingerprint="",
            ))  # fmt: skip
    reconciliation = Reconciliation(world.database)
    await reconciliation.create_indexes()
    return reconciliation


async def filed(reconciliation: Reconciliation, *lines: Booked) -> Filed:
    """Give the bank's file with these lines."""
    name = repr(lines)
    return await reconciliation.file("f", sha256(name.encode()).hexdigest(), lines, "ada", Tolerance())


async def left(reconciliation: Reconciliation) -> dict[str, int]:
    return {due.reference: due.amount.minor for due in await reconciliation.dues()}


async def test_only_what_is_instructed_is_due(example: World) -> None:
    """In each currency of the statement, signed as the account sees it."""
    reconciliation = await instructed(example, "video")
    statement = await example.settle().statement("1:video")
    assert statement is not None
    assert await left(reconciliation) == {
        f"1:video:{total.currency}": -total.net.minor for total in statement.totals if total.net.minor
    }


async def test_of_the_same_payment_in_many_files_one_is_found(example: World) -> None:
    """Ten at once: one finds it, the others are told that it is paid already; and the records have no gap."""
    reconciliation = await instructed(example, "video")
    (due,) = [each for each in await reconciliation.dues() if each.reference == VIDEO]
    many = await asyncio.gather(
        *(filed(reconciliation, said(due.amount.minor, VIDEO, bank=f"b{n}", day=due.since)) for n in range(10))
    )
    assert sorted(each.number for each in many) == list(range(1, 11))
    assert sum(len(each.piles.matches) for each in many) == 1
    assert [one.kind for each in many for one in each.piles.exceptions] == [ExceptionKind.DUPLICATE] * 9
    assert VIDEO not in await left(reconciliation)


async def test_the_same_file_at_once_is_one(example: World) -> None:
    """Whoever comes second is given what the first one did."""
    reconciliation = await instructed(example, "video")
    day = date(2026, 3, 1)
    many = await asyncio.gather(*(filed(reconciliation, said(1, bank="b", day=day)) for _ in range(5)))
    assert {each.number for each in many} == {1}
    assert sorted(each.replayed for each in many) == [False, True, True, True, True]
    (first,) = {each.piles for each in many}
    assert [each.kind for each in first.exceptions] == [ExceptionKind.NOT_EXPECTED]
    again = await filed(reconciliation, said(1, bank="b", day=day), said(2, n=2, day=day))
    assert (again.piles.known, [each.lines for each in again.piles.exceptions]) == ((1,), [(2,)])


async def test_an_answer_can_count_as_payment(example: World) -> None:
    """As much as its lines are, never more than is due, once; the rest stays due."""
    reconciliation = await instructed(example, "video")
    (due,) = [each for each in await reconciliation.dues() if each.reference == VIDEO]
    whole, day = due.amount.minor, due.since
    far = day + timedelta(days=100)
    await filed(
        reconciliation, said(whole - 1, n=1, day=far), said(2, n=2, day=far), said(-1, n=3, day=far),
        said(1, n=4, day=far, currency="USD"), said(1, n=5, day=far),
    )  # fmt: skip
    await reconciliation.resolve("1-1", "it left the reference out", "ben", VIDEO)
    assert (await left(reconciliation))[VIDEO] == 1
    for name, why in (
        ("1-2", "of this 0.01 EUR is due: it cannot be paid by that"),
        ("1-3", "of this 0.01 EUR is due: it cannot be paid by that"),
        ("1-4", "is due in EUR"),
    ):
        with pytest.raises(ValidationFailed, match=why):
            await reconciliation.resolve(name, "why", "ben", VIDEO)
    with pytest.raises(ValidationFailed, match="nothing is due under this reference"):
        await reconciliation.resolve("1-2", "why", "ben", "7:nobody:EUR")
    with pytest.raises(IdempotencyConflict):
        await reconciliation.resolve("1-1", "again", "ben", VIDEO)
    with pytest.raises(NotFound):
        await reconciliation.resolve("1-9", "why", "ben")
    answers = await asyncio.gather(*(reconciliation.resolve("1-5", "the rest", "ben", VIDEO) for _ in range(3)))
    assert sorted(each.replayed for each in answers) == [False, True, True]
    assert VIDEO not in await left(reconciliation)
    open_now = [each.id for each in await reconciliation.exceptions() if each.file is not None]
    assert open_now == ["1-2", "1-3", "1-4"]
    everything = [each for each in await reconciliation.exceptions(resolved=True) if each.resolved is not None]
    assert [(each.id, each.resolved and each.resolved.amount) for each in everything] == [
        ("1-1", Money(whole - 1, "EUR")), ("1-5", Money(1, "EUR")),
    ]  # fmt: skip


async def test_the_queue_goes_on_behind_any_place(example: World) -> None:
    """Over more files than are read at once: each exception once, in order, and the missing payments at the end."""
    reconciliation = await instructed(example, "video")
    late = (await reconciliation.dues())[0].since + timedelta(days=9)
    for file in range(12):
        await filed(reconciliation, *(said(10 * file + n, n=n, day=late) for n in (1, 2)))
    for name in ("1-2", "12-1"):
        await reconciliation.resolve(name, "why", "ben")
    names = [f"{file}-{n}" for file in range(1, 13) for n in (1, 2)]
    missing = sorted(due.reference for due in await reconciliation.dues())
    for resolved, expected in ((True, names), (False, [each for each in names if each not in ("1-2", "12-1")])):
        found, after = [], None
        while some := await reconciliation.exceptions(resolved=resolved, after=after, limit=5):
            found += some
            after = some[-1].place
        assert [each.id for each in found] == [*expected, *missing]
        assert found == await reconciliation.exceptions(resolved=resolved)
    assert [each.number for each in await reconciliation.files(13)] == list(range(12, 0, -1))
    assert [each.number for each in await reconciliation.files(5, 2)] == [4, 3]
    assert [each.excepted for each in await reconciliation.files(limit=1)] == [2]


async def test_a_missing_payment_that_an_exception_is_about_stands_once(example: World) -> None:
    """With the exception while it is open; alone again when that was resolved without paying it."""
    reconciliation = await instructed(example, "video")
    due = next(each for each in await reconciliation.dues() if each.reference == VIDEO)
    late = due.since + timedelta(days=9)
    await filed(reconciliation, said(1 if due.amount.minor > 0 else -1, VIDEO, day=late))
    assert [each.id for each in await reconciliation.exceptions() if VIDEO in {one.reference for one in each.dues}] == [
        "1-1"
    ]
    await reconciliation.resolve("1-1", "a test of theirs", "ben")
    assert VIDEO in [each.id for each in await reconciliation.exceptions()]


async def test_what_the_bank_has_not_booked(example: World) -> None:
    """Is told when its files go beyond the days that it may take; until it is found, or somebody says why."""
    reconciliation = await instructed(example, "video", "delivery")
    dues = {each.reference: each for each in await reconciliation.dues()}
    day = dues[VIDEO].since
    assert await reconciliation.exceptions() == []
    await filed(reconciliation, said(1, day=day + timedelta(days=6)))

    async def missing() -> list[str]:
        return [each.id for each in await reconciliation.exceptions() if each.kind is ExceptionKind.NOT_BOOKED]

    assert await missing() == sorted(dues)
    await filed(reconciliation, said(dues[VIDEO].amount.minor, VIDEO, day=day))
    assert await missing() == sorted(dues.keys() - {VIDEO})
    await reconciliation.resolve("1:delivery:EUR", "paid from another account", "ben")
    assert await missing() == sorted(dues.keys() - {VIDEO, "1:delivery:EUR"})


async def test_the_largest_file_there_can_be(example: World) -> None:
    """Fits into one record, with texts of the greatest length in the widest script."""
    reconciliation = await instructed(example, "video")
    day, wide = date(2026, 3, 1), "\U0001f600" * 140
    lines = tuple(
        Booked(n, n, Money(n, "EUR"), day, f"{n}{wide}"[:140], (), wide, wide) for n in range(1, LINES_MAX + 1)
    )
    done = await reconciliation.file("f", "h", lines, "ada", Tolerance())
    assert len(done.piles.exceptions) == LINES_MAX
    assert len(await reconciliation.exceptions()) == LINES_MAX
