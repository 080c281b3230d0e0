"""Barter: quota against quota, and money for the difference alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.errors import ValidationFailed
from exchange.journal import EXCHANGE, Obligation, Owed, Sums
from exchange.proof import netting_certificate
from exchange.settlement.barter import Balance, Barter, Bartering, concerning, kept
from exchange.settlement.netted import Netted, PlanKind, Policy, changes, net
from exchange.settlement.netting import Payment
from tests.exchange.settlement.test_netted import EUR, PARTNERS, any_carried, any_sums, nets, owing, paid, policies
from tests.exchange.settlement.test_netting_certificate import file_for, policy_of, the, with_, without
from tests.exchange.test_evidence import SEAL, broken, rewritten, verified

FIRST = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = timedelta(milliseconds=300)


def day(number: float) -> datetime:
    """Return the moment so many days behind the first."""
    return FIRST + number * DAY


def barter_of(one: int = 100, other: int = 60, until: float = 90, since: float = 0, **more: Any) -> Barter:
    terms = {"id": "barter-1", "one": "video", "other": "rides", "currency": EUR, **more}
    return Barter(one_quota=one, other_quota=other, since=day(since), until=day(until), **terms)


def month(number: int, *barters: Barter) -> Bartering:
    """Return what the netting of a month of thirty days knows, which is cut a moment late, as months are."""
    opened, cut = day(30 * (number - 1)) + MOMENT, day(30 * number) + MOMENT
    return Bartering(opened=opened, cut=cut, barters=barters)


def netted(sums: Sums, barters: Bartering, *used: Balance, **policy: Any) -> Netted:
    return net(sums, Policy(barter=barters, **policy), balances=used)


# ---------------------------------------------------------------- by hand


def test_what_the_quota_covers_is_no_money() -> None:
    """Of what one owes the other so much as the quota has left is settled in kind; the rest is in the positions."""
    made = netted(owing(("video", "rides", 130), ("rides", "video", 40), ("news", "rides", 7)), month(1, barter_of()))
    (row,) = made.bartered
    assert (row.one_in_kind, row.other_in_kind, row.difference, row.due) == (100, 40, Money(60, EUR), None)
    assert nets(made) == {"news": -7, "rides": 37, "video": -30}
    assert [measure.gross.minor for measure in made.measures] == [37]
    assert made.carried_balances == (Balance("barter-1", 100, 40),)
    one, other = row.sides()
    assert (one.issuer, one.used.minor, one.left.minor) == ("video", 100, 0)
    assert (other.issuer, other.used.minor, other.left.minor) == ("rides", 40, 20)


def test_fees_and_commissions_are_money() -> None:
    """They are owed to others than the barter is with, or for something else than points."""
    sums = Sums(money={Obligation("video", "rides", "news", EUR): Owed(9, 100, 2, 5, 1)})
    assert nets(netted(sums, month(1, barter_of()))) == {EXCHANGE: 2, "news": 5, "rides": -7, "video": 0}


def test_the_difference_is_money_when_the_barter_has_ended() -> None:
    """In the first netting of a period that is cut at the end or later: who has used more owes it, as if carried."""
    used = Balance("barter-1", 70, 20)
    made = netted(owing(("video", "rides", 50)), month(3, barter_of()), used)
    (row,) = made.bartered
    assert (row.one_in_kind, row.one_used, row.due) == (30, 100, 80)
    assert nets(made) == {"rides": 100, "video": -100}
    assert {each.position.partner: each.opening.minor for each in made.standings} == {"rides": 80, "video": -80}
    assert made.carried_balances == ()
    ended = netted(owing(("rides", "video", 5)), month(3, barter_of()), Balance("barter-1", 0, 20))
    assert nets(ended) == {"rides": -25, "video": 25}


def test_a_period_belongs_to_the_barter_that_it_was_opened_in() -> None:
    """So a quarter has its three months, although each is cut a moment after midnight."""
    sums = owing(("video", "rides", 10))
    quarter = barter_of(since=30, until=120)
    in_kind = {number: netted(sums, month(number, quarter)).bartered[0] for number in range(1, 6)}
    assert [each.one_in_kind for each in in_kind.values()] == [0, 10, 10, 10, 0]
    assert [each.due for each in in_kind.values()] == [None, None, None, 10, 0]


def test_what_goes_back_makes_room_again() -> None:
    """More reversed than redeemed: what was used becomes free, and only what is more than that is money."""
    made = netted(owing(("video", "rides", -50)), month(2, barter_of()), Balance("barter-1", 30, 0))
    assert made.bartered[0].one_in_kind == -30
    assert nets(made) == {"rides": -20, "video": 20}
    assert made.carried_balances == ()


def test_of_several_the_one_that_ends_first_is_used_first() -> None:
    """What it leaves is for the next."""
    soon, late = barter_of(20, 20, until=60, id="barter-2"), barter_of(50, 50, id="barter-1")
    made = netted(owing(("video", "rides", 30)), month(1, soon, late))
    assert {row.barter.id: row.one_in_kind for row in made.bartered} == {"barter-2": 20, "barter-1": 10}


def test_of_a_group_the_members_barter_themselves() -> None:
    """What a subsidiary settles in kind is out before the group nets as one."""
    made = netted(
        owing(("video", "rides", 130), ("music", "rides", 5)), month(1, barter_of()), groups={"music": ("video",)}
    )
    assert nets(made) == {"music": -35, "rides": 35}


def test_the_barter_of_a_partner_taken_out_stands_still() -> None:
    """Nothing is used of it, and its balance is kept; if it ends just then, the difference is out as well."""
    sums, used = owing(("video", "rides", 10), ("news", "rides", 9)), Balance("barter-1", 30, 0)
    going_on = netted(sums, month(2, barter_of()), used, without=frozenset({"video"}))
    assert (going_on.bartered[0].one_in_kind, going_on.carried_balances) == (0, (used,))
    ended = netted(sums, month(3, barter_of()), used, without=frozenset({"video"}))
    assert (ended.bartered[0].due, ended.carried_balances) == (30, ())
    assert nets(going_on) == nets(ended) == {"news": -9, "rides": 9}
    # With everybody, the barter would have gone on, or its difference been paid.
    assert [(each.party, each.before.minor, each.after.minor) for each in changes(ended)] == [("rides", 49, 9)]


def test_only_what_concerns_a_period_is_kept_with_it() -> None:
    """What it was opened in, and what a balance is carried of; of a balance of nothing known nothing is made."""
    far, near, old = barter_of(since=60, id="far"), barter_of(id="near"), barter_of(until=10, id="old")
    opened, cut = day(20), day(50)
    found = concerning([far, near, old], opened, cut, [Balance("old", 1, 0)])
    assert found is not None
    assert [each.id for each in found.barters] == ["old", "near"]
    assert concerning([far, old], opened, cut, []) is None
    with pytest.raises(ValidationFailed, match="the barter lost, which is not known"):
        concerning([near], opened, cut, [Balance("lost", 1, 0)])


@pytest.mark.parametrize(
    ("terms", "says", "path"),
    [
        ({"currency": "EURO"}, "ISO 4217", ("input", "currency")),
        ({"other": "video"}, "between two partners", ("input", "other")),
        ({"other": EXCHANGE}, "with nobody", ("input", "one")),
        ({"one_quota": 0}, "more than nothing", ("input", "one", "quota")),
        ({"other_quota": 10**18}, "absurdly high", ("input", "other", "quota")),
        ({"until": FIRST}, "later than its beginning", ("input", "until")),
    ],
)
def test_terms_that_nobody_could_keep_are_refused(terms: dict[str, Any], says: str, path: tuple[str, ...]) -> None:
    """The refusal names the field."""
    with pytest.raises(ValidationFailed, match=says) as refused:
        replace(barter_of(), **terms).check()
    assert refused.value.path == [*path]


# ---------------------------------------------------------------- laws


@st.composite
def barters(draw: st.DrawFn, months: int = 3) -> tuple[Barter, ...]:
    """Up to three, between any two, that begin and end whenever within so many months."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        one, other = draw(st.permutations(PARTNERS))[:2]
        since = draw(st.integers(0, 30 * months))
        made.append(
            Barter(
                id=f"barter-{number}", one=one, other=other, currency=draw(st.sampled_from((EUR, "JPY"))),
                one_quota=draw(st.integers(1, 30)), other_quota=draw(st.integers(1, 10**12)),
                since=day(since), until=day(draw(st.integers(since + 1, 30 * months + 1))),
            )
        )  # fmt: skip
    return tuple(sorted(made, key=lambda each: (each.until, each.id)))


@st.composite
def used_of(draw: st.DrawFn, some: tuple[Barter, ...]) -> list[Balance]:
    drawn = [
        Balance(each.id, draw(st.integers(0, each.one_quota)), draw(st.integers(0, each.other_quota))) for each in some
    ]
    return [each for each in drawn if each.one_used or each.other_used]


@settings(max_examples=150, deadline=None)
@given(any_sums(), policies(), any_carried(), barters(), st.integers(1, 4), st.data())
def test_every_netting_with_barters_is_certified(
    sums: Sums, policy: Policy, opening: list[Payment], some: tuple[Barter, ...], number: int, data: st.DataObject
) -> None:
    """Under any policy nets sum to zero, no quota is overdrawn, and two ways to reckon agree on every figure."""
    used = data.draw(used_of(some))
    made = net(sums, replace(policy, barter=month(number, *some)), opening, used)
    totals: Counter[str] = Counter()
    for _, amount in made.nets:
        totals[amount.currency] += amount.minor
    assert not any(totals.values())
    for row in made.bartered:
        assert 0 <= row.one_used <= row.barter.one_quota
        assert 0 <= row.other_used <= row.barter.other_quota
    certificate = file_for(made)
    facts = verified(certificate).findings.facts
    assert tuple(netting_certificate.balances(facts)) == made.carried_balances
    # What is made of the same is the same, byte for byte, but for the signature in the last line.
    again = file_for(net(sums, made.policy, opening, used))
    assert again.splitlines()[:-1] == certificate.splitlines()[:-1]


def points_part(sums: Sums) -> Counter[tuple[str, str, str]]:
    """Return what each issuer owes each provider for points."""
    cost: Counter[tuple[str, str, str]] = Counter()
    for obligation, figures in sums.money.items():
        cost[obligation.issuer, obligation.provider, obligation.currency] += figures.gross_minor
    return cost


@settings(max_examples=150, deadline=None)
@given(st.lists(any_sums(), min_size=3, max_size=4), barters())
def test_over_any_series_all_that_is_owed_is_settled(periods: list[Sums], some: tuple[Barter, ...]) -> None:
    """What is paid, with the balances, is at any time what was owed, to the minor unit; in the end it is paid alone."""
    owed, settled, used = Counter[tuple[str, str]](), Counter[tuple[str, str]](), list[Balance]()
    # One period more, in which the last of them has ended.
    for number, sums in enumerate([*periods, Sums()], 1):
        made = netted(sums, month(number, *some), *used)
        used = list(made.carried_balances)
        for party, amount in net(sums, Policy()).nets:
            owed[party, amount.currency] += amount.minor
        for party, amount in made.nets:
            settled[party, amount.currency] += amount.minor
        # Meanwhile what is not paid is what lies in the balances.
        lying = Counter[tuple[str, str]]()
        for row in made.bartered:
            if row.due is None:
                lying[row.barter.one, row.barter.currency] -= row.difference.minor
                lying[row.barter.other, row.barter.currency] += row.difference.minor
        assert all(owed[key] == settled[key] + lying[key] for key in owed.keys() | settled.keys() | lying.keys())
    assert used == []
    assert +owed == +settled
    assert -owed == -settled


@settings(max_examples=200, deadline=None)
@given(any_sums(), barters(), st.integers(1, 4), st.data())
def test_in_kind_and_in_money_is_what_was_owed(
    sums: Sums, some: tuple[Barter, ...], number: int, data: st.DataObject
) -> None:
    """For each issuer and provider; and in kind is never against the direction of what is owed."""
    cost, rows = points_part(sums), kept(month(number, *some), sums, data.draw(used_of(some)))
    in_kind: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        for side in row.sides():
            in_kind[side.issuer, side.provider, side.used.currency] += side.in_kind.minor
    for way, minor in in_kind.items():
        assert min(0, cost[way]) <= minor <= max(0, cost[way])


# ---------------------------------------------------------------- the certificate

SUMS = owing(("video", "rides", 130), ("rides", "video", 40), ("news", "rides", 7))
SECOND = replace(barter_of(10, 10, until=20, id="barter-2"), one="news")
CERTIFIED = file_for(
    net(SUMS, Policy(plan=PlanKind.FEWEST, barter=month(1, SECOND, barter_of())), (), [Balance("barter-2", 4, 9)])
)


class Wrong(NamedTuple):
    """A change to what is signed, and what is said of it."""

    change: Callable[[list[Any]], Any]
    says: str


def terms(index: int, value: str) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        lines[0]["barter"]["terms"][1][index] = value

    return change


def test_a_verdict_tells_the_barters() -> None:
    """People read what was taken in kind, and who owes what in the end."""
    assert verified(CERTIFIED).findings.told == [
        "the netting of period 7: 3 obligations",
        "barter-1: video takes 1.00 EUR in kind (1.00 EUR used), rides takes 0.40 EUR (0.40 EUR used)",
        "barter-2: news takes 0.06 EUR in kind (0.10 EUR used), rides takes 0.00 EUR (0.09 EUR used)",
        "barter-2 has ended: news owes rides 0.01 EUR",
        "plan: fewest, 2 payments, 0 carried",
        "news pays rides 0.02 EUR",
        "video pays rides 0.30 EUR",
        f"the period's root: {'5e' * 32}",
    ]


def test_no_byte_of_a_barter_can_be_changed() -> None:
    """Every byte of the certificate, each with one bit turned, is caught."""
    for at in range(len(CERTIFIED)):
        broken(CERTIFIED[:at] + bytes([CERTIFIED[at] ^ 1]) + CERTIFIED[at + 1 :], SEAL.keys)


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(policy_of(barter={}), "cannot be read"),
        Wrong(terms(3, "EURO"), "barter-1: 'EURO' is not an ISO 4217"),
        Wrong(terms(4, "0"), "barter-1: must be more than nothing"),
        Wrong(terms(4, "0100"), "says more than is understood"),
        Wrong(terms(4, "99"), "the bartered of barter-1 should be 99 40 99 40 none"),
        Wrong(terms(7, "2027-01-31T00:00:00.000Z"), "the bartered of barter-1 should be 100 40 100 40 60"),
        Wrong(terms(7, "2027-01-31T00:00:00.000+00:00"), "says more than is understood"),
        Wrong(terms(0, "barter-2"), "is there twice"),
        Wrong(lambda lines: lines[0]["barter"]["terms"].reverse(), "the barters are not in order"),
        Wrong(lambda lines: lines[0]["barter"]["terms"].clear(), "the barters are not in order"),
        Wrong(lambda lines: lines[0]["barter"]["terms"].pop(), "the bartered of barter-1: that of barter-2 should"),
        Wrong(with_(the("balance"), 0, "barter-7"), "is no balance of a barter that concerns"),
        Wrong(with_(the("balance"), 1, "11"), "no more can be used than the quota"),
        Wrong(with_(the("balance"), 1, "-1"), "no more can be used than the quota"),
        Wrong(with_(the("balance"), 1, "5"), "the bartered of barter-2 should be 5 0 10 9 1"),
        Wrong(without(the("balance")), "the bartered of barter-2 should be 7 0 7 0 7"),
        Wrong(with_(the("bartered", "barter-1"), 1, "99"), "the bartered of barter-1 should be"),
        Wrong(with_(the("bartered", "barter-1"), 5, "60"), "the bartered of barter-1 should be"),
        Wrong(without(the("bartered", "barter-2")), "the bartered of barter-2 is missing here"),
        Wrong(with_(the("position", "video"), 3, "130"), "the position of video EUR should be"),
        Wrong(with_(the("position", "news"), 2, "0"), "the position of news EUR should be"),
    ],
)
def test_the_first_thing_wrong_with_a_barter_is_named(wrong: Wrong) -> None:
    """Who can sign, and signs what does not follow, is found out by the arithmetic alone."""
    assert wrong.says in broken(rewritten(CERTIFIED, wrong.change))


def test_a_netting_without_barters_has_the_certificate_that_it_always_had() -> None:
    """Nothing about it says that there could have been some."""
    assert b"barter" not in file_for(net(SUMS, Policy()))
    assert paid(net(SUMS, Policy()).payments) == [
        (EXCHANGE, "rides", 97),
        ("news", EXCHANGE, 7),
        ("video", EXCHANGE, 90),
    ]
