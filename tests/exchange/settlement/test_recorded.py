"""Which netting may be recorded when, what it takes in, and how a wish and the standing policy are made one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from hashlib import sha256

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.errors import ValidationFailed
from exchange.journal import Sums
from exchange.proof import netting_certificate
from exchange.proof.nettings import NettingJudge
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import PlanKind, Policy, net
from exchange.settlement.netting import Payment, positions
from exchange.settlement.period import Period, PeriodStatus
from exchange.settlement.recorded import (
    Carried,
    Opening,
    RecordedNetting,
    StandingPolicy,
    Wish,
    check_turn,
    opening,
)
from tests.exchange.settlement.test_netted import EUR, any_sums, owing, policies
from tests.exchange.speech import NOW
from tests.exchange.test_evidence import SEAL, file_of

SMALL = Carried(payments=(Payment(from_="video", to="rides", amount=Money(3, EUR)),))
FIX = Fix(id="ecb-2023-12-08", base=EUR, date=date(2023, 12, 8), rates={"USD": "1.0777"})
STANDING = StandingPolicy(
    plan=PlanKind.FEWEST, minimums={EUR: 500}, groups={"hotels": ("spa",)}, settle={"video": EUR}, version=3
)


def period(number: int, status: PeriodStatus = PeriodStatus.CLOSED, statements: int | None = 2) -> Period:
    return Period(number=number, status=status, opened_at=NOW, statements=statements)


def recorded(number: int, carried: Carried = SMALL, follows: int = 0) -> RecordedNetting:
    return RecordedNetting(
        period=number, root="5e" * 32, follows=follows, policy=Policy(), standing=0, carried=carried, payments=(),
        keys=SEAL.keys, signature="", hash=f"{number:064}", actor="ada", at=NOW, key="", fingerprint="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("of", "last", "refused"),
    [
        (period(1), None, None),
        (period(4), None, None),
        (period(2), recorded(1), None),
        (period(2, PeriodStatus.SETTLED), recorded(1), None),
        (period(4), recorded(1, Carried()), None),
        (period(1), recorded(2, Carried()), "that of 2 took in nothing of it"),
        (period(3), recorded(1), "what the netting of period 1 carries would be lost: record period 2 first"),
        (period(1, statements=None), None, "not closed with all its statements"),
        (period(1, PeriodStatus.OPEN, None), None, "not closed with all its statements"),
    ],
)
def test_nothing_carried_is_ever_lost(of: Period, last: RecordedNetting | None, refused: str | None) -> None:
    """Once each, in the order of periods, of closed ones; one may be left out only where nothing is carried."""
    if refused is None:
        check_turn(of, None, last)
        return
    words = {"that of 2 took in nothing of it": "the netting of period 2 is recorded, and took in nothing of period 1"}
    with pytest.raises(ValidationFailed, match=words.get(refused, refused)) as raised:
        check_turn(of, None, last)
    assert raised.value.path == ["input", "period"]
    for behind in (last, recorded(9)):
        with pytest.raises(ValidationFailed, match=r"not closed|recorded already"):
            check_turn(of, recorded(of.number), behind)


def test_an_opening_is_what_the_one_before_carries() -> None:
    """Its certificate is named where it is of the period just before, as certificates have it."""
    assert opening(1, None) == Opening()
    before = recorded(4)
    assert opening(5, before) == Opening(carried=SMALL, after=before.hash, follows=4)
    assert opening(7, replace(before, carried=Carried())) == Opening(follows=4)


def test_what_is_not_wished_is_as_the_standing_policy_says() -> None:
    """Each part by itself; what is wished replaces the whole part."""
    assert Wish(fix=FIX).under(STANDING) == Policy(
        plan=PlanKind.FEWEST, minimums={EUR: 500}, groups={"hotels": ("spa",)}, settle={"video": EUR}, fix=FIX
    )
    wish = Wish(plan=PlanKind.EXCHANGE, minimums={"JPY": 9}, groups={}, settle={})
    assert wish.under(STANDING) == Policy(minimums={"JPY": 9})
    assert Wish().under(StandingPolicy()) == Policy()


def test_who_is_taken_out_needs_no_currency() -> None:
    """The standing policy's choice of a defaulter is not in the way."""
    assert Wish(without=frozenset({"video"})).under(STANDING).settle == {}


def test_nobody_guesses_a_rate() -> None:
    """Who settles in a currency of its choice is converted by a fix that somebody named."""
    with pytest.raises(ValidationFailed, match="video: by which fix") as raised:
        Wish().under(STANDING)
    assert raised.value.path == ["input", "fix"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": {"hotels": ("spa",), "spa": ("golf",)}},
        {"minimums": {EUR: 0}},
        {"settle": {"spa": "EUR"}, "groups": {"hotels": ("spa",)}},
        {"settle": {"video": "XXX"}},
    ],
)
def test_a_standing_policy_does_not_contradict_itself(wrong: Mapping[str, Mapping[str, object]]) -> None:
    """What no netting could be made by is refused when it is set, not when a period is to be netted."""
    with pytest.raises(ValidationFailed):
        replace(StandingPolicy(), **wrong).check()
    STANDING.check()


# ---------------------------------------------------------------- judged


def made(number: int, sums: Sums, last: RecordedNetting | None, policy: Policy) -> RecordedNetting:
    """Record a netting as the exchange does."""
    taken = opening(number, last)
    netted = net(sums, policy, taken.carried.payments)
    header = netting_certificate.header(number, "5e" * 32, netted.policy, taken.after)
    data = file_of(header, list(netting_certificate.lines(netted)))
    *_, end = data.splitlines()
    return replace(
        recorded(number, Carried.by(netted), taken.follows), policy=netted.policy, payments=netted.payments,
        hash=sha256(data).hexdigest(), signature=orjson.loads(end)["signature"],
    )  # fmt: skip


SUMS = {1: owing(("video", "rides", 700), ("music", "rides", 30)), 2: owing(("rides", "music", 90)), 4: Sums()}


def chain() -> list[RecordedNetting]:
    first = made(1, SUMS[1], None, Policy(plan=PlanKind.FEWEST, minimums={EUR: 50}))
    second = made(2, SUMS[2], first, Policy())
    return [first, second, made(4, SUMS[4], second, Policy())]


def judged(*nettings: RecordedNetting, sums: Mapping[int, Sums] = SUMS) -> list[str]:
    judge = NettingJudge(sums)
    return [wrong for each in nettings for wrong in judge.take(each)]


def test_a_sound_chain_is_found_sound() -> None:
    """Over a period that was left out, too, because nothing was carried."""
    first, second, third = chain()
    assert not first.carried.nothing
    assert (second.carried.nothing, third.follows) == (True, 2)
    assert judged(first, second, third) == []


def test_what_is_wrong_with_a_chain_is_named() -> None:
    """A link that is gone, another opening, another policy, a hash or signature of something else."""
    first, second, third = chain()
    assert "follows that of period 1, not of 0" in judged(second)
    assert judged(first, third)[:2] == [
        "follows that of period 2, not of 1",
        "takes in nothing of what that of period 1 carries",
    ]
    changed = replace(first, carried=Carried())
    assert judged(changed, second) == [
        "carries something else, made anew",
        "makes other payments due, made anew",
        "made anew has a certificate with another hash",
    ]
    assert judged(replace(first, payments=first.payments[1:])) == ["makes other payments due, made anew"]
    for wrong in (
        replace(first, policy=Policy(plan=PlanKind.FEWEST, minimums={EUR: 49})),
        replace(first, signature=second.signature),
        replace(first, hash=second.hash),
    ):
        assert judged(wrong) == ["made anew has a certificate with another hash"]
    along = replace(first, policy=Policy(plan=PlanKind.CONTRACTED))
    assert judged(along)[0].startswith("cannot be made: no plan along contracts")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(any_sums(), policies()), min_size=1, max_size=4))
def test_over_any_periods_everybody_is_paid_what_it_is_owed_or_has_it_carried(some: list[tuple[Sums, Policy]]) -> None:
    """Whatever the plans and the minimums: no more and no less; and the chain is found sound."""
    last: RecordedNetting | None = None
    nettings: list[RecordedNetting] = []
    due: Counter[tuple[str, str]] = Counter()
    for number, (sums, wild) in enumerate(some, 1):
        policy = replace(wild, without=frozenset(), groups={})
        netted = net(sums, policy, opening(number, last).carried.payments)
        for position in positions(sums):
            due[position.partner, position.currency] += position.net.minor
        for payment in netted.payments:
            _pay(due, payment)
        last = made(number, sums, last, policy)
        nettings.append(last)
    assert last is not None
    for payment in last.carried.payments:
        _pay(due, payment)
    assert not any(due.values())
    assert judged(*nettings, sums={number: sums for number, (sums, _) in enumerate(some, 1)}) == []


def _pay(due: Counter[tuple[str, str]], payment: Payment) -> None:
    minor, currency = payment.amount
    due[payment.from_, currency] += minor
    due[payment.to, currency] -= minor
