"""The netting certificate: what it says can be recomputed, and whatever is wrong with it is named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.amounts import Money
from exchange.journal import EXCHANGE, Obligation, Owed, Sums
from exchange.proof import netting_certificate
from exchange.proof.netting_certificate import KINDS, carried
from exchange.proof.sealed import Broken
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import Netted, PlanKind, Policy, net
from exchange.settlement.netting import Payment
from tests.exchange.settlement.test_fixes import settling_policies
from tests.exchange.settlement.test_netted import any_carried, any_sums, policies
from tests.exchange.test_evidence import SEAL, broken, file_of, rewritten, verified

ROOT = "5e" * 32
EUR = "EUR"

SUMS = Sums(
    money={
        Obligation("delivery", "rides", "video", EUR): Owed(751, 583, 9, 15, 2),
        Obligation("video", "rides", "video", EUR): Owed(1000, 3333, 5, 8, 2),
        Obligation("rides", "music", "news", EUR): Owed(40, 2400, 12, 60, 1),
        Obligation("news", "delivery", "rides", EUR): Owed(7, 1200, 0, 6, 1),
        Obligation("rides", "video", "rides", "JPY"): Owed(15, 15, 0, 0, 1),
    }
)
OPENING = [Payment(from_="music", to="news", amount=Money(45, EUR))]


def file_for(netted: Netted, after: str | None = None) -> bytes:
    header = netting_certificate.header(7, ROOT, netted.policy, after)
    return file_of(header, list(netting_certificate.lines(netted)))


def certificate(plan: PlanKind = PlanKind.FEWEST, **policy: Any) -> bytes:
    given_policy = Policy(plan=plan, **policy)
    return file_for(net(SUMS, given_policy, OPENING), "c0" * 32)


CONTRACTS = frozenset({("delivery", "rides"), ("music", "rides"), ("news", "rides"), ("rides", "video")})
FEWEST = certificate(minimums={EUR: 100}, groups={"video": ("music",)})
EXCHANGED = certificate(PlanKind.EXCHANGE, minimums={EUR: 100})
ALONG = certificate(PlanKind.CONTRACTED, contracts=CONTRACTS)
FIX = Fix(
    id="ecb-2023-12-08", base=EUR, date=date(2023, 12, 8), rates={"GBP": "0.8569", "JPY": "155.53", "USD": "1.0777"}
)
CONVERTED = certificate(settle={"delivery": "USD", "video": EUR}, fix=FIX)


@settings(max_examples=100, deadline=None)
@given(any_sums(), policies(), any_carried())
def test_every_netting_is_certified(sums: Sums, policy: Policy, opening: list[Payment]) -> None:
    """Two computations that share no steps agree, under any policy; what is carried is read back from the file."""
    netted = net(sums, policy, opening)
    found = verified(file_for(netted))
    assert carried(found.findings.facts) == list(netted.carried)
    facts = found.findings.facts
    assert (facts["period"], facts["period_root"], facts["plan"]) == (7, ROOT, policy.plan.value)
    assert (facts["obligations"], len(facts["payments"])) == (len(sums.money), len(netted.payments))


@settings(max_examples=100, deadline=None)
@given(any_sums(), settling_policies(), any_carried())
def test_every_conversion_is_certified(sums: Sums, policy: Policy, opening: list[Payment]) -> None:
    """Two ways to reckon, one with fractions and one with whole numbers alone, agree at any rates."""
    netted = net(sums, policy, opening)
    found = verified(file_for(netted))
    assert carried(found.findings.facts) == list(netted.carried)
    assert (found.findings.facts["fix"], found.findings.facts["settle"]) == (FIX.id, policy.settle)


def test_a_verdict_tells_the_plan() -> None:
    """People read who settles for whom, who pays whom, and what is carried."""
    assert verified(FEWEST).findings.told == [
        "the netting of period 7: 5 obligations",
        "video settles for music",
        "plan: fewest, 4 payments, 1 carried",
        "news pays rides 10.95 EUR",
        "video pays delivery 6.11 EUR",
        "video pays rides 3.90 EUR",
        "rides pays video 15 JPY",
        "video owes exchange 0.26 EUR: carried",
        f"the period's root: {ROOT}",
    ]
    assert verified(certificate(without=frozenset({"news"}))).findings.told[1] == "without news"
    assert verified(CONVERTED).findings.told[1:3] == [
        "delivery settles in USD, by ecb-2023-12-08",
        "video settles in EUR, by ecb-2023-12-08",
    ]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([FEWEST, EXCHANGED, ALONG, CONVERTED]), st.integers(min_value=0), st.integers(1, 255))
def test_no_byte_can_be_changed(data: bytes, at: int, mask: int) -> None:
    """Any one byte that is another one is caught, with the reader's own keys and without."""
    at %= len(data)
    changed = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
    for keys in (SEAL.keys, None):
        broken(changed, keys)


def test_no_single_byte_can_be_changed_anywhere() -> None:
    """Nor is there a place that chance has missed: every byte of one certificate, each with one bit turned."""
    for at in range(len(EXCHANGED)):
        broken(EXCHANGED[:at] + bytes([EXCHANGED[at] ^ 1]) + EXCHANGED[at + 1 :])


# ---------------------------------------------------------------- signed, and wrong all the same


def the(kind: str, *beginning: str) -> Callable[[list[Any]], int]:
    """Find the line of a kind whose row begins so."""

    def find(lines: list[Any]) -> int:
        return next(n for n, each in enumerate(lines) if kind in each and each[kind][: len(beginning)] == [*beginning])

    return find


def with_(place: Callable[[list[Any]], int], index: int, value: Any) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        line = lines[place(lines)]
        (kind,) = line
        line[kind][index] = value

    return change


def without(place: Callable[[list[Any]], int]) -> Callable[[list[Any]], None]:
    return lambda lines: lines.pop(place(lines))


def adding(kind: str, *row: str) -> Callable[[list[Any]], None]:
    """Put a line in, where it belongs."""

    def change(lines: list[Any]) -> None:
        order = KINDS.index(kind)
        place = next(
            (
                n for n, each in enumerate(lines[1:], 1)
                if (KINDS.index(next(iter(each))), next(iter(each.values()))) > (order, [*row])
            ),
            len(lines),
        )  # fmt: skip
        lines.insert(place, {kind: [*row]})

    return change


def policy_of(**members: Any) -> Callable[[list[Any]], None]:
    return lambda lines: lines[0].update(members)


def together(*changes: Callable[[list[Any]], Any]) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        for each in changes:
            each(lines)

    return change


@pytest.mark.parametrize(
    ("data", "change", "says"),
    [
        # The policy.
        (FEWEST, policy_of(more=1), "line 1: says more than is understood"),
        (FEWEST, policy_of(root="x"), "line 1: root is no hash"),
        (FEWEST, policy_of(after="x"), "line 1: after is no hash"),
        (FEWEST, policy_of(plan="cheapest"), "line 1: cannot be read"),
        (FEWEST, policy_of(groups={"video": ["video"]}), "line 1: video is in a group twice"),
        (FEWEST, policy_of(minimums={EUR: "1.5"}), "no amount of minor units"),
        (FEWEST, policy_of(minimums={EUR: "400"}), "3.90 EUR is less than the minimum"),
        (FEWEST, policy_of(minimums={}), "0.26 EUR is not less than the minimum, and so to be paid"),
        (FEWEST, policy_of(groups={}), "the totals of EUR should be 7676 7630 4405"),
        (FEWEST, policy_of(without=["news"]), "the position of delivery EUR should be"),
        # What is given.
        (FEWEST, with_(the("owed", "video"), 5, "3334"), "the position of rides EUR should be"),
        (FEWEST, with_(the("owed", "video"), 5, "03333"), "no amount of minor units"),
        (FEWEST, with_(the("owed", "video"), 1, EXCHANGE), "the exchange has no obligation"),
        (FEWEST, with_(the("owed", "video"), 0, "delivery"), "is there twice, or not in order"),
        (FEWEST, with_(the("owed", "video"), 8, 2), "says more than is understood of it"),
        (FEWEST, without(the("owed", "news")), "the position of delivery EUR should be"),
        (FEWEST, without(the("opening")), "the position of music EUR should be"),
        (FEWEST, with_(the("opening"), 3, "-45"), "is nothing that could have been carried"),
        (FEWEST, lambda lines: lines[the("owed", "news")(lines)]["owed"].pop(), "is no row of owed"),
        (FEWEST, adding("contract", "rides", "video"), "is no contract that the plan asks for"),
        (FEWEST, lambda lines: lines.insert(2, lines.pop(1)), "a line of owed or what comes behind"),
        # What follows of it.
        (FEWEST, with_(the("position", "music"), 6, "1"), "the position of music EUR should be"),
        (FEWEST, without(the("position", "music")), "that of music EUR should stand here"),
        (FEWEST, without(the("position", "video", "JPY")), "the position of video JPY is missing here"),
        (FEWEST, adding("position", "zoo", EUR, "0", "0", "0", "0", "0"), "none should stand here"),
        (FEWEST, with_(the("totals", EUR), 3, "1"), "the totals of EUR should be"),
        (FEWEST, without(the("totals", "JPY")), "the totals of JPY is missing here"),
        # What is converted.
        (CONVERTED, policy_of(settle={}), "line 1: who settles in a currency of its choice"),
        (CONVERTED, policy_of(settle={"video": "JPY"}), "the converted of delivery EUR: that of video EUR should"),
        (CONVERTED, policy_of(fix={**FIX.told(), "more": 1}), "line 1: says more than is understood"),
        (CONVERTED, policy_of(fix={**FIX.told(), "rates": {"USD": "1.0777"}}), "cannot be read (KeyError: 'JPY')"),
        (CONVERTED, policy_of(fix={**FIX.told(), "rates": {"USD": "x"}}), "line 1: ecb-2023-12-08: 'x' is no rate"),
        (CONVERTED, policy_of(fix={**FIX.told(), "rates": {**FIX.rates, "USD": "2"}}), "the converted of delivery EUR"),
        (CONVERTED, with_(the("converted", "video"), 4, "11"), "the converted of video JPY should be"),
        (CONVERTED, without(the("converted", "video")), "the converted of video JPY is missing"),
        (CONVERTED, with_(the("account", "JPY"), 1, "16"), "the account of JPY should be"),
        (CONVERTED, without(the("account", "USD")), "the account of USD is missing"),
        (CONVERTED, with_(the("difference", "USD"), 1, "0/1"), "the difference of USD should be"),
        (CONVERTED, without(the("payment", "USD")), "delivery is left with"),
        (EXCHANGED, adding("converted", "video", "JPY", "15", EUR, "10"), "none should stand here"),
        # The plan.
        (FEWEST, without(the("payment", "JPY")), "rides is left with -15 JPY after the plan"),
        (FEWEST, without(the("carried")), "exchange is left with 0.26 EUR after the plan"),
        (FEWEST, with_(the("payment", EUR, "video"), 3, "919"), "delivery is left with -3.08 EUR"),
        (FEWEST, with_(the("payment", EUR, "video"), 3, "-918"), "is no payment"),
        (FEWEST, with_(the("payment", EUR, "news"), 1, "music"), "music does not pay rides in a plan of the kind few"),
        (FEWEST, with_(the("payment", "JPY"), 2, "news"), "rides does not pay news"),
        (
            FEWEST,
            together(policy_of(plan="exchange"), with_(the("payment", EUR, "video"), 2, EXCHANGE)),
            "news does not pay rides in a plan of the kind exchange",
        ),
        (
            EXCHANGED,
            together(with_(the("payment", EUR, "news"), 3, "994"), adding("carried", EUR, "news", EXCHANGE, "1")),
            "news pays exchange EUR already",
        ),
        (EXCHANGED, adding("payment", EUR, EXCHANGE, "news", "500"), "exchange does not pay news"),
        (ALONG, adding("payment", EUR, "delivery", "music", "1"), "delivery does not pay music"),
        (ALONG, adding("payment", EUR, EXCHANGE, "music", "1"), "exchange does not pay music"),
        (ALONG, without(the("contract", "rides")), "pay"),
        (ALONG, adding("contract", "zoo", "apes"), "is no contract"),
        (
            ALONG,
            together(adding("payment", "JPY", "news", "rides", "4"), adding("payment", "JPY", "rides", "news", "4")),
            "it is enough to move 15 JPY",
        ),
    ],
)  # fmt: skip
def test_the_first_thing_wrong_is_named(data: bytes, change: Callable[[list[Any]], Any], says: str) -> None:
    """Who can sign, and signs what does not follow, is found out by the arithmetic alone."""
    assert says in broken(rewritten(data, change))


def test_more_transfers_than_needed_are_named() -> None:
    """A plan of the fewest transfers that pays by detours is none."""
    sums = Sums(
        money={
            Obligation("a", "b", "b", EUR): Owed(1, 10, 0, 0, 1),
            Obligation("c", "d", "d", EUR): Owed(1, 7, 0, 0, 1),
        }
    )
    straight = file_for(net(sums, Policy(plan=PlanKind.FEWEST)))

    def detour(lines: list[Any]) -> None:
        lines[the("payment", EUR, "a")(lines)]["payment"] = [EUR, "a", "b", "3"]
        adding("payment", EUR, "a", "d", "7")(lines)
        lines[the("payment", EUR, "c")(lines)]["payment"] = [EUR, "c", "b", "7"]

    assert "2 transfers of EUR are enough" in broken(rewritten(straight, detour))


def test_a_certificate_of_nothing_is_sound() -> None:
    """A period without obligations has a certificate as well."""
    found = verified(file_for(net(Sums(), Policy())))
    assert found.findings.told[:2] == [
        "the netting of period 7: 0 obligations",
        "plan: exchange, 0 payments, 0 carried",
    ]


odd: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=3),
    st.lists(st.text(max_size=2), max_size=9),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([FEWEST, EXCHANGED, ALONG, CONVERTED]), odd, st.data())
def test_whatever_stands_in_it_there_is_a_sentence_for_it(data: bytes, value: Any, draw: st.DataObject) -> None:
    """No certificate, however odd, ends in anything but a verdict."""

    def change(lines: list[Any]) -> None:
        line = draw.draw(st.sampled_from(lines))
        name = draw.draw(st.sampled_from(sorted(line)))
        if isinstance(line[name], list) and line[name] and draw.draw(st.booleans()):
            line[name][draw.draw(st.integers(0, len(line[name]) - 1))] = value
        else:
            line[name] = value

    changed = rewritten(data, change)
    with suppress(Broken):
        verified(changed)
