"""What a bank has booked against what is due: every line ends in one pile."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date, timedelta
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.amounts import Money
from exchange.settlement.netting import Position
from exchange.settlement.reconciliation import (
    LINES_MAX,
    REFERENCE_MAX,
    TOGETHER_MAX,
    Booked,
    Due,
    Tolerance,
    dues_of,
    overdue,
    payment_reference,
    reconcile,
)
from exchange.settlement.statement import Statement

DAY = date(2026, 3, 10)


def due(reference: str, minor: int, *, left: int | None = None, currency: str = "EUR", since: date = DAY) -> Due:
    """Say what is due: "1:rides:EUR" is a payment of rides' statement; positive if it comes in."""
    period, partner, _ = reference.split(":")
    amount = Money(minor if left is None else left, currency)
    return Due(reference, f"{period}:{partner}", partner, amount, Money(minor, currency), since)


def booked(
    n: int, minor: int, *names: str, payer: str = "", bank: str = "", day: date = DAY, currency: str = "EUR"
) -> Booked:
    """Say what the bank has: its n-th line, naming what it may be for."""
    return Booked(n, n, Money(minor, currency), day, bank, tuple(name.upper() for name in names), payer)


def piles(lines: list[Booked], dues: list[Due], *, known: tuple[str, ...] = (), **minor: int) -> list[str]:
    """Tell the piles: "1+2 = a" is matched, "3 DUPLICATE a" is not."""
    found = reconcile(lines, dues, known, Tolerance(minor=minor))
    told = [f"{_plus(match.lines)} = {_plus(each.reference for each in match.dues)}" for match in found.matches]
    told += [
        f"{_plus(each.lines)} {each.kind} {_plus(one.reference for one in each.dues)}".strip()
        for each in found.exceptions
    ]
    return told + [f"{n} known" for n in found.known]


def _plus(items: object) -> str:
    return "+".join(str(item) for item in items)  # type: ignore[attr-defined]


A, B, C = "1:a:EUR", "1:b:EUR", "2:a:EUR"


@pytest.mark.parametrize(
    ("lines", "dues", "told"),
    [
        ([booked(1, -500, A)], [due(A, -500)], ["1 = 1:a:EUR"]),
        ([booked(1, -500, "a hint", "1:A:eur")], [due(A, -500)], ["1 = 1:a:EUR"]),
        ([booked(1, 700, A, B)], [due(A, 500), due(B, 200)], ["1 = 1:a:EUR+1:b:EUR"]),
        ([booked(1, 300, A), booked(2, 200, A)], [due(A, 500)], ["1+2 = 1:a:EUR"]),
        ([booked(1, 500, A), booked(2, 500, A)], [due(A, 500)], ["1 = 1:a:EUR", "2 DUPLICATE 1:a:EUR"]),
        ([booked(1, 500, A)], [due(A, 500, left=0)], ["1 DUPLICATE 1:a:EUR"]),
        ([booked(1, 499, A)], [due(A, 500)], ["1 AMOUNT_DIFFERS 1:a:EUR"]),
        ([booked(1, 500, A, currency="USD")], [due(A, 500)], ["1 AMOUNT_DIFFERS 1:a:EUR"]),
        ([booked(1, 500, A)], [due(A, -500, left=0)], ["1 RETURNED 1:a:EUR"]),
        ([booked(1, -500, A), booked(2, 500, A)], [due(A, -500)], ["1+2 RETURNED 1:a:EUR"]),
        # Whoever names what others have paid does not hold that up.
        (
            [booked(1, 1, A, B), booked(2, 500, A), booked(3, 200, B)],
            [due(A, 500), due(B, 200)],
            ["2 = 1:a:EUR", "3 = 1:b:EUR", "1 AMOUNT_DIFFERS 1:a:EUR+1:b:EUR"],
        ),
        (
            [booked(1, 1, A, C), booked(2, 500, A)],
            [due(A, 500), due(C, -300)],
            ["2 = 1:a:EUR", "1 RETURNED 1:a:EUR+2:a:EUR"],
        ),
        ([booked(1, -700, A, B)], [due(A, 500), due(B, 200)], ["1 RETURNED 1:a:EUR+1:b:EUR"]),
        ([booked(1, 699, A, B)], [due(A, 500), due(B, 200)], ["1 AMOUNT_DIFFERS 1:a:EUR+1:b:EUR"]),
        (
            [booked(1, 600, A, B), booked(2, 100, B)],
            [due(A, 500), due(B, 200)],
            ["1+2 = 1:a:EUR+1:b:EUR"],
        ),
        # Its name is not of a payment of ours: the amount and the day decide.
        ([booked(1, 500, "9:x:EUR")], [due(A, 500)], ["1 = 1:a:EUR"]),
        # What was named is not looked for by amount any more.
        ([booked(1, 499, A), booked(2, 500)], [due(A, 500)], ["1 AMOUNT_DIFFERS 1:a:EUR", "2 NOT_EXPECTED"]),
    ],
)
def test_by_reference(lines: list[Booked], dues: list[Due], told: list[str]) -> None:
    """One for one, one for several, several for one; and what a person has to look at."""
    assert piles(lines, dues) == told


@pytest.mark.parametrize(
    ("lines", "dues", "told"),
    [
        ([booked(1, 500)], [due(A, 500)], ["1 = 1:a:EUR"]),
        ([booked(1, 500)], [due(A, -500)], ["1 NOT_EXPECTED"]),
        ([booked(1, 500, day=DAY + timedelta(days=6))], [due(A, 500)], ["1 NOT_EXPECTED"]),
        ([booked(1, 500, day=DAY + timedelta(days=5))], [due(A, 500)], ["1 = 1:a:EUR"]),
        ([booked(1, 500)], [due(A, 500), due(B, 500)], ["1 NOT_EXPECTED 1:a:EUR+1:b:EUR"]),
        (
            [booked(1, 500), booked(2, 500)],
            [due(A, 500)],
            ["1 NOT_EXPECTED 1:a:EUR", "2 NOT_EXPECTED 1:a:EUR"],
        ),
        ([booked(1, 700)], [due(A, 500), due(C, 200)], ["1 = 1:a:EUR+2:a:EUR"]),
        ([booked(1, 700)], [due(A, 500), due(B, 200)], ["1 NOT_EXPECTED"]),
        (
            [booked(1, 700)],
            [due(A, 500), due(C, 200), due("3:a:EUR", 200)],
            ["1 NOT_EXPECTED 1:a:EUR+2:a:EUR+3:a:EUR"],
        ),
        ([booked(1, 300, payer="A Ltd"), booked(2, 200, payer="A Ltd")], [due(A, 500)], ["1+2 = 1:a:EUR"]),
        (
            [booked(1, 300, payer="A Ltd"), booked(2, 200, payer="B Ltd")],
            [due(A, 500)],
            ["1 NOT_EXPECTED", "2 NOT_EXPECTED"],
        ),
        # A line that fits two dues has no further chance, though it would fit two others together.
        (
            [booked(1, 500)],
            [due(A, 500), due(B, 500), due("1:c:EUR", 300), due("2:c:EUR", 200)],
            ["1 NOT_EXPECTED 1:a:EUR+1:b:EUR"],
        ),
    ],
)
def test_by_amount_and_date(lines: list[Booked], dues: list[Due], told: list[str]) -> None:
    """Only what fits in one way alone is matched."""
    assert piles(lines, dues) == told


def test_many_dues_of_a_partner_are_tried_all_at_once() -> None:
    """Beyond so many, which of them a transfer is for is not guessed; but all of them are recognised."""
    many = [due(f"{n}:a:EUR", 100 + n) for n in range(TOGETHER_MAX + 1)]
    whole = sum(each.amount.minor for each in many)
    assert piles([booked(1, whole)], many) == [f"1 = {_plus(sorted(each.reference for each in many))}"]
    assert piles([booked(1, 201)], many) == ["1 NOT_EXPECTED"]


def test_a_large_file_takes_no_longer_than_its_lines() -> None:
    """What a partner's dues add up to is worked out once, and not for every line: minutes, of two hundred partners."""
    dues = [due(f"{n}:p{p}:EUR", 1_000_000 * p + 3**n) for p in range(1, 201) for n in range(TOGETHER_MAX)]
    lines = [booked(n, n + 1, payer=f"payer {n // TOGETHER_MAX}") for n in range(1, LINES_MAX)]
    lines.append(booked(LINES_MAX, 2 * 150_000_000 + 3 + 9))
    begun = perf_counter()
    told = piles(lines, dues)
    assert perf_counter() - begun < 30
    assert told[0] == f"{LINES_MAX} = 1:p150:EUR+2:p150:EUR"


def test_nearly_is_for_a_person() -> None:
    """Within the tolerance of its currency, and only if it fits in one way alone."""
    assert piles([booked(1, 495)], [due(A, 500)], EUR=5) == ["1 AMOUNT_DIFFERS 1:a:EUR"]
    assert piles([booked(1, 494)], [due(A, 500)], EUR=5) == ["1 NOT_EXPECTED"]
    assert piles([booked(1, 495)], [due(A, 500)], USD=5) == ["1 NOT_EXPECTED"]
    assert piles([booked(1, 495)], [due(A, 500), due(B, 490)], EUR=5) == ["1 NOT_EXPECTED 1:a:EUR+1:b:EUR"]


def test_what_the_bank_said_before_is_known() -> None:
    """In an earlier file, or earlier in this one; a line without a reference of the bank's never is."""
    lines = [
        booked(1, 500, A, bank="x"),
        booked(2, 200, bank="y"),
        booked(3, 200, bank="y"),
        booked(4, 1),
        booked(5, 1),
    ]
    assert piles(lines, [due(A, 500)], known=("x",)) == [
        "2 NOT_EXPECTED", "4 NOT_EXPECTED", "5 NOT_EXPECTED", "1 known", "3 known",
    ]  # fmt: skip


_NAMED = st.sampled_from([A, B, C, "2:b:EUR"])
_DUES = st.dictionaries(_NAMED, st.tuples(st.sampled_from([-5, -2, 2, 3, 5]), st.booleans()))
_LINES = st.lists(
    st.tuples(
        st.sampled_from([-7, -5, -3, -2, 2, 3, 4, 5, 7]), st.lists(_NAMED, max_size=2), st.sampled_from(["", "P"]),
        st.sampled_from(["", "x", "y"]), st.integers(0, 7), st.sampled_from(["EUR", "EUR", "USD"]),
    ),
    max_size=8,
)  # fmt: skip


@given(_LINES, _DUES, st.integers(0, 1), st.randoms(use_true_random=False))
def test_every_line_ends_in_one_pile(
    said: list[tuple[int, list[str], str, str, int, str]], owed: dict[str, tuple[int, bool]], near: int,
    chance: random.Random,
) -> None:  # fmt: skip
    """And each due is in one match at most, a match is even to the cent, and the order of dues changes nothing."""
    lines = [
        booked(n, minor, *names, payer=payer, bank=bank, day=DAY + timedelta(days=later), currency=currency)
        for n, (minor, names, payer, bank, later, currency) in enumerate(said, 1)
    ]
    dues = [due(name, minor, left=0 if found else minor) for name, (minor, found) in owed.items()]
    tolerance = Tolerance(minor={"EUR": near} if near else {})
    found = reconcile(lines, dues, {"y"}, tolerance)
    numbers = [*(each.lines for each in found.matches), *(each.lines for each in found.exceptions)]
    ends = Counter([*found.known, *(n for each in numbers for n in each)])
    assert ends == Counter(range(1, len(lines) + 1))
    matched = Counter(each.reference for match in found.matches for each in match.dues)
    assert not matched or max(matched.values()) == 1
    by_number = {line.n: line for line in lines}
    for match in found.matches:
        amounts = [by_number[n].amount for n in match.lines]
        assert {each.currency for each in amounts} == {"EUR"}
        assert sum(each.minor for each in amounts) == sum(each.amount.minor for each in match.dues) != 0
    chance.shuffle(dues)
    assert reconcile(lines, dues, {"y"}, tolerance) == found


def test_a_statement_is_due_in_each_currency() -> None:
    """Signed as the account sees it, less what was found; a net of nothing is not due."""

    def total(receivable: int, currency: str) -> Position:
        none = Money(0, currency)
        return Position(partner="rides", payable=none, receivable=Money(receivable, currency), fees=none)

    totals = (total(884, "EUR"), total(-15, "JPY"), total(0, "USD"))
    statement = Statement(
        id="7:rides", period=7, partner="rides", root="r", totals=totals, line_count=1, hash="h"
    )  # fmt: skip
    found = list(dues_of(statement, DAY, {"7:rides:EUR": -800}))
    assert [(each.reference, each.amount, each.whole) for each in found] == [
        ("7:rides:EUR", Money(-84, "EUR"), Money(-884, "EUR")), ("7:rides:JPY", Money(15, "JPY"), Money(15, "JPY")),
    ]  # fmt: skip


def test_a_reference_fits_a_bank_s_field() -> None:
    """A long name stands there as its hash, and two long names stay two."""
    long, other = "a" * 39 + "b", "a" * 39 + "c"
    references = {payment_reference(1_000_000, name, "EUR") for name in (long, other, "rides")}
    assert "1000000:rides:EUR" in references
    assert (len(references), max(map(len, references)) <= REFERENCE_MAX) == (3, True)


def test_what_should_have_been_booked_by_now() -> None:
    """When the bank's files go beyond the days that it may take."""
    dues = [due(A, 500), due(B, 500, left=0)]
    assert overdue(dues, DAY + timedelta(days=5), Tolerance()) == []
    assert overdue(dues, DAY + timedelta(days=6), Tolerance()) == dues[:1]
