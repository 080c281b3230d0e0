"""Parts of a redemption in money: each figure worked out anew from the rules, and the parts are the whole.

The figures of the first test are worked out by hand. Those of the property are worked out with fractions, point by
point, from the published rules alone: nothing here asks the functions that the ledger computes with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from exchange.agreements import Agreement
from exchange.benefit import Fulfilment
from exchange.journal import Account, Entry
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.wallet import Wallet
from tests.exchange.speech import act, agreement, agreements, award, awarded, benefit, day, decided, left, reserve

Row = tuple[str, int, int | None, int, int]
"""Of one issuer: points, owed (None at its own benefit), fee and commission."""
Sums = Counter[tuple[str, str, str]]
"""What was posted by account, party and unit; a posting of nothing is none."""

PROVIDER, CHANNEL = "rides", "video"


def lived(
    wallet: Wallet, terms: Sequence[Agreement], price: int, reserved: int, confirmed: int, parts: Sequence[int]
) -> tuple[Wallet, Redemption, list[Entry]]:
    """Reserve, confirm a part, reverse in parts; return what there is in the end, and the entries since reserved."""
    book, of = agreements(*terms), benefit(f"{PROVIDER}/trip", price, fulfilment=Fulfilment.PARTNER_CALL)
    decision = decided(reserve(of, reserved, through=CHANNEL), wallet, book, of=of)
    entries = []
    for step, quantity in [(Step.CONFIRM, confirmed), *((Step.REVERSE, part) for part in parts)]:
        command = act(step, decision.redemption, quantity)
        decision = decided(command, decision.wallet, book, of=of, redemption=decision.redemption)
        entries.append(decision.entry)
    assert decision.redemption is not None
    return decision.wallet, decision.redemption, entries


def rows(entry: Entry) -> list[Row]:
    """Say an entry's rows."""
    return [
        (one.issuer, one.points, one.owed and one.owed.minor, one.fee_minor, one.commission_minor)
        for one in entry.debits
    ]


def posted(entry: Entry) -> Sums:
    """Add up an entry's postings."""
    sums: Sums = Counter()
    for posting in entry.postings:
        sums[posting.account, posting.party, posting.unit] += posting.amount
    return something(sums)


def something(sums: Sums) -> Sums:
    """Leave out what came to nothing."""
    return Counter({key: amount for key, amount in sums.items() if amount})


# By hand


def test_a_partial_confirmation_and_three_partial_reversals_by_hand() -> None:
    """Of five units at 101 points four are confirmed, and go back as one, two and one.

    Held, first-expiring-first: 150 of delivery, 233 of video, 122 of music. Four units are 404 points: 150, 233 and 21.

    Owed: 150 x 0.707 = 106.05, 233 x 8.005 = 1,865.165 and 21 x 3.333 = 69.993 cents are together 2,041.208, so 2,041;
    the floors 106, 1,865 and 69 leave one cent, for the largest remainder, which is music's.
    Fees: 1.75 % of 106 is 1.855; 1.5 % of 1,865 is 27.975; 2.5 % of 70 is 1.75: 2, 28, 2.
    Commissions: 2.5 % of 106 is 2.65; 1.25 % of 1,865 is 23.3125; none of music's: 3, 23, 0.

    First part, 101 points: 21 of music, the whole row; 80 of video. So far, of 233: 1,865 x 80 is 640.34, 28 x 80 is
    9.61, 23 x 80 is 7.90.
    Second part, 202 points: the other 153 of video, so the rest of its row: 1,225, 18, 15. And 49 of delivery, of 150:
    106 x 49 is 34.63, 2 x 49 is 0.65, 3 x 49 is 0.98.
    Third part: 101 of delivery, the rest of its row: 71, 1, 2.
    """
    terms = [
        agreement("delivery", "rides", 707, fee=175, commission=250),
        agreement("video", "rides", 8_005, fee=150, commission=125),
        agreement("music", "rides", 3_333, fee=250),
    ]
    before = awarded(
        award("delivery", 150, expires=day(1), key="D"), award("video", 233, expires=day(2), key="V"),
        award("music", 1_000, key="M"),
    )  # fmt: skip
    wallet, redemption, entries = lived(before, terms, 101, 5, 4, [1, 2, 1])
    assert [rows(entry) for entry in entries] == [
        [("delivery", 150, 106, 2, 3), ("video", 233, 1_865, 28, 23), ("music", 21, 70, 2, 0)],
        [("video", -80, -640, -10, -8), ("music", -21, -70, -2, 0)],
        [("delivery", -49, -35, -1, -1), ("video", -153, -1_225, -18, -15)],
        [("delivery", -101, -71, -1, -2)],
    ]
    # Issuers owe 2,041; the exchange has 32 of it, the channel 26, and the provider keeps 1,983.
    assert _net(posted(entries[0])) == {
        "delivery": -106, "video": -1_865 + 26, "music": -70, "rides": 1_983, "exchange": 32,
    }  # fmt: skip
    assert [_net(posted(entry)) for entry in entries[1:]] == [
        {"video": 640 - 8, "music": 70, "rides": -690, "exchange": -12},
        {"delivery": 35, "video": 1_225 - 16, "rides": -1_225, "exchange": -19},
        {"delivery": 71, "video": -2, "rides": -68, "exchange": -1},
    ]
    assert redemption.status is RedemptionStatus.REVERSED
    assert left(wallet) == left(before) == ["D: 150 of 150", "V: 233 of 233", "M: 1000 of 1000"]


def _net(sums: Sums) -> dict[str, int]:
    net: Counter[str] = Counter()
    for (_, party, unit), amount in sums.items():
        if not unit.startswith("points:"):
            net[party] += amount
    return dict(net)


# By fractions

ISSUERS = ("video", "delivery", "music", PROVIDER)


@st.composite
def lives(
    draw: st.DrawFn,
) -> tuple[list[tuple[str, int]], dict[str, Agreement], int, int, int, list[int]]:
    """Draw lots in the order of their expiry, an agreement for each issuer, a price, units and parts of them."""
    lots = draw(st.lists(st.tuples(st.sampled_from(ISSUERS), st.integers(1, 400)), min_size=1, max_size=6))
    terms = {}
    for issuer in ISSUERS[:-1]:
        fee = draw(st.integers(0, 5_000))
        terms[issuer] = agreement(
            issuer, PROVIDER, draw(st.integers(0, 20_000)), draw(st.sampled_from(["EUR", "EUR", "USD"])),
            fee=fee, commission=draw(st.integers(0, 10_000 - fee)),
        )  # fmt: skip
    total = sum(points for _, points in lots)
    reserved = draw(st.integers(1, min(total, 9)))
    price = draw(st.integers(1, total // reserved))
    confirmed = draw(st.integers(1, reserved))
    cuts = draw(st.sets(st.integers(1, confirmed)))
    edges = sorted({0, *cuts})
    return lots, terms, price, reserved, confirmed, [after - before for before, after in pairwise(edges)]


@given(lives())
def test_every_figure_of_any_parts_is_what_the_rules_say(
    life: tuple[list[tuple[str, int]], dict[str, Agreement], int, int, int, list[int]],
) -> None:
    """Whatever part is confirmed and however it goes back: rows, postings and lots are those worked out anew."""
    lots, terms, price, reserved, confirmed, parts = life
    awards = [award(issuer, points, expires=day(1 + n), key=f"L{n}") for n, (issuer, points) in enumerate(lots)]
    before = awarded(award(CHANNEL, 1, key="last"), *awards)
    wallet, redemption, entries = lived(before, list(terms.values()), price, reserved, confirmed, parts)

    # Every point by itself, in the order of consumption: which lot and issuer it is of.
    points = [(f"L{n}", issuer) for n, (issuer, count) in enumerate(lots) for _ in range(count)][: price * confirmed]
    whole = _priced(Counter(issuer for _, issuer in points), terms)
    assert rows(entries[0]) == whole
    assert posted(entries[0]) == _postings(whole, terms, points)

    backwards = points[::-1]
    edges = [price * units for units in accumulate(parts, initial=0)]
    for entry, (start, end) in zip(entries[1:], pairwise(edges), strict=True):
        was, now = (Counter(issuer for _, issuer in backwards[:edge]) for edge in (start, end))
        back = list(_posted_back(whole, was, now))
        assert rows(entry) == back
        assert posted(entry) == _postings(back, terms, backwards[start:end], -1)

    gone = Counter(name for name, _ in points)
    gone.subtract(name for name, _ in backwards[: edges[-1]])
    assert [lot.remaining for lot in wallet.lots if lot.id != "last"] == [
        count - gone[f"L{n}"] for n, (_, count) in enumerate(lots)
    ]
    total: Sums = Counter()
    for entry in entries:
        total.update(posted(entry))
    if sum(parts) == confirmed:
        assert redemption.status is RedemptionStatus.REVERSED
        assert not something(total), "the parts are the whole"
    else:
        assert redemption.left == confirmed - sum(parts)


def _priced(points: Mapping[str, int], terms: Mapping[str, Agreement]) -> list[Row]:
    """Price each row exactly, round the sum of a currency once, and hand out the cents by largest remainder."""
    exact = {
        issuer: Fraction(count * terms[issuer].price_per_1000_points.minor, 1_000)
        for issuer, count in points.items()
        if issuer != PROVIDER
    }
    owed = {issuer: int(amount) for issuer, amount in exact.items()}
    for currency in ("EUR", "USD"):
        of = [issuer for issuer in exact if terms[issuer].price_per_1000_points.currency == currency]
        cents = round(sum((exact[issuer] for issuer in of), Fraction())) - sum(owed[issuer] for issuer in of)
        # The order of consumption decides a tie: the first of the largest.
        for issuer in sorted(of, key=lambda one: owed[one] - exact[one])[:cents]:
            owed[issuer] += 1
    return [
        (issuer, count, None, 0, 0)
        if issuer == PROVIDER
        else (
            issuer, count, owed[issuer],
            round(Fraction(owed[issuer] * terms[issuer].fee_basis_points, 10_000)),
            round(Fraction(owed[issuer] * terms[issuer].commission_basis_points, 10_000)),
        )
        for issuer, count in points.items()
    ]  # fmt: skip


def _posted_back(whole: Sequence[Row], was: Mapping[str, int], now: Mapping[str, int]) -> Iterator[Row]:
    """Of each row: its share of what is back so far, less its share of what was back before."""
    for issuer, points, *figures in whole:
        if now[issuer] == was[issuer]:
            continue
        owed, fee, commission = (
            None if figure is None
            else round(Fraction(figure * was[issuer], points)) - round(Fraction(figure * now[issuer], points))
            for figure in figures
        )  # fmt: skip
        assert fee is not None
        assert commission is not None
        yield issuer, was[issuer] - now[issuer], owed, fee, commission


def _postings(
    figures: Sequence[Row], terms: Mapping[str, Agreement], points: Sequence[tuple[str, str]], sign: int = 1
) -> Sums:
    """Say who gives and gets what: points by lot and issuer, money between issuer, provider, exchange and channel."""
    sums: Sums = Counter()
    for _, issuer in points:
        sums[Account.WALLET, issuer, f"points:{issuer}"] -= sign
        sums[Account.REDEEMED, issuer, f"points:{issuer}"] += sign
    for issuer, _, owed, fee, commission in figures:
        if owed is None:
            continue
        currency = terms[issuer].price_per_1000_points.currency
        for account, payer, payee, amount in (
            (Account.REDEMPTIONS, issuer, PROVIDER, owed), (Account.FEES, PROVIDER, "exchange", fee),
            (Account.COMMISSIONS, PROVIDER, CHANNEL, commission),
        ):  # fmt: skip
            sums[account, payer, currency] -= amount
            sums[account, payee, currency] += amount
    return something(sums)
