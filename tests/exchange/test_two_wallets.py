"""Gifts and households through the group commit, on a real MongoDB: one entry, two wallets, all or nothing.

Each test ends with all invariants proved.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from exchange.batch import Outcome
from exchange.commands import ByWallet, Sharing
from exchange.errors import (
    Contended,
    IdempotencyConflict,
    InsufficientPoints,
    NotFound,
    StoreUnavailable,
    ValidationFailed,
)
from exchange.ledger import Ledger
from exchange.rules import AwardReversal, Rules
from exchange.settlement.clearing import Settlement
from exchange.store.periods import Periods
from exchange.wallet import Wallet
from tests.exchange.conftest import KEYRING, House, answers, done, known
from tests.exchange.speech import (
    adjust,
    agreement,
    award,
    benefit,
    by_reference,
    extend,
    freeze,
    give,
    left,
    moves,
    redeem,
    reverse_award,
    share,
    unfreeze,
)

ANN, BOB, CID = (by_reference("video", name) for name in ("ann", "bob", "cid"))
FILM = benefit("video/film", 60)


@pytest.fixture(autouse=True)
async def proved(house: House, ledger: Ledger) -> AsyncIterator[None]:
    """Begin every test with two members who may give their 100 points away; end it with every invariant proved."""
    await house.publish(FILM)
    await house.terms.set_rules(Rules(partner="video", gift_day_points=1_000, award_reversal=AwardReversal.DEBT))
    await answers(ledger, award("video", 100, whose=ANN, key="A"), award("video", 100, whose=BOB, key="B"))
    yield
    for one in house.ledgers:
        await one.stop()
    await house.prove()


async def balance(house: House, name: str) -> int:
    return sum(lot.remaining for lot in (await house.wallet("video", name)).lots)


async def pool_of(house: House, name: str = "pool") -> Wallet:
    return (await house.books.second_round([name], [], [], {})).wallets[name]


async def founded(ledger: Ledger, *others: str) -> None:
    """Let ann found a household, and others join it."""
    await ledger.submit(share(Sharing.FOUND, "pool", whose=ANN, key="pool"))
    for name in others:
        await ledger.submit(share(Sharing.JOIN, "pool", whose=by_reference("video", name)))


# One batch


async def test_a_gift_is_one_entry_in_two_wallets(house: House, ledger: Ledger) -> None:
    """Both are written by the one commit, each under its own version, and both are answered."""
    told = await ledger.submit(give(30, BOB, whose=ANN, key="G"))
    ann, bob = await house.wallet("video", "ann"), await house.wallet("video", "bob")
    assert (told.wallet, told.other) == (ann, bob)
    assert (left(ann), left(bob)) == (["A: 70 of 100"], ["B: 100 of 100", "G/0: 30 of 30"])
    assert moves(told.entry) == [f"{ann.id} A -> {bob.id} G/0 video 30"]
    assert (told.entry.wallet_version, told.entry.counterpart_version) == (ann.version, bob.version) == (2, 2)


async def test_two_give_to_each_other_in_one_batch(house: House, ledger: Ledger) -> None:
    """In both directions at once, one after the other: what was given first can be given back."""
    told = await answers(
        ledger, give(100, BOB, whose=ANN, key="G"), give(150, ANN, whose=BOB, key="H"), give(101, BOB, whose=ANN),
        give(50, BOB, whose=ANN, key="I"), give(101, BOB, whose=ANN),
    )  # fmt: skip
    assert [type(one) for one in told] == [Outcome, Outcome, Outcome, InsufficientPoints, InsufficientPoints]
    refusal = told[-1]
    assert isinstance(refusal, InsufficientPoints)
    assert refusal.available == 49
    assert (await balance(house, "ann"), await balance(house, "bob")) == (49, 151)
    assert await house.count("blocks", kind="ENTRIES") == 2, "awards, and then all of this"


async def test_a_batch_of_everything_that_can_happen_to_two(house: House, ledger: Ledger) -> None:
    """Points that have just come are given, frozen, extended, taken back and paid in, within one commit."""
    told = await answers(
        ledger, award("video", 50, whose=ANN, key="N", expires=await house.soon(hours=1)),
        share(Sharing.FOUND, "pool", whose=ANN, key="pool"), share(Sharing.JOIN, "pool", whose=BOB),
        share(Sharing.PAY_IN, "pool", 60, whose=ANN, key="P"), share(Sharing.DRAW, "pool", 55, whose=BOB, key="D"),
        freeze("D/0", whose=BOB), give(105, ANN, whose=BOB, key="G"), give(106, ANN, whose=BOB, key="too much"),
        unfreeze("D/0", whose=BOB), extend("N", None, whose=ANN), reverse_award("N", whose=ANN),
        adjust("video", 7, whose=ANN, key="J"), adjust("video", -7, whose=BOB), share(Sharing.LEAVE, "pool", whose=ANN),
        share(Sharing.LEAVE, "pool", whose=BOB), share(Sharing.DRAW, "pool", 5, whose=BOB),
        share(Sharing.LEAVE, "pool", whose=BOB, key="last"),
    )  # fmt: skip
    refused = {n: type(one) for n, one in enumerate(told) if not isinstance(one, Outcome)}
    assert refused == {7: InsufficientPoints, 14: ValidationFailed}
    ann, bob, pool = await house.wallet("video", "ann"), await house.wallet("video", "bob"), await pool_of(house)
    # Of the 55 that were drawn, the 50 of N came first, and are frozen: 100 and the other 5 were given back.
    assert (sum(lot.remaining for lot in ann.lots), ann.debts) == (90 + 105 + 7, {"video": 50})
    assert sum(lot.remaining for lot in bob.lots) == 50 + 5 - 7
    assert (pool.members, sum(lot.remaining for lot in pool.lots)) == ((), 0)
    assert ann.version == bob.version == 2
    assert pool.version == 1


async def test_a_repeated_gift_is_the_same_gift(house: House, ledger: Ledger) -> None:
    """In the same batch, later, and by another process: nothing moves a second time, and both wallets are told anew."""
    asked = give(30, BOB, whose=ANN, key="G", fingerprint="as sent")
    first, twin = (done(one) for one in await answers(ledger, asked, asked))
    assert (first.replayed, twin.replayed, first.entry) == (False, True, twin.entry)
    await ledger.submit(give(10, ANN, whose=BOB))
    again = await (await house.ledger()).submit(asked)
    assert (again.replayed, again.entry) == (True, first.entry)
    assert again.wallet == await house.wallet("video", "ann")
    assert again.other == await house.wallet("video", "bob")
    [told] = await answers(ledger, give(31, BOB, whose=ANN, key="G", fingerprint="another"))
    assert isinstance(told, IdempotencyConflict)
    assert await balance(house, "bob") == 120


async def test_a_repeated_draw_tells_pool_and_member(house: House, ledger: Ledger) -> None:
    """Its entry is the pool's; whoever asks again is answered the same way round."""
    await founded(ledger, "bob")
    await ledger.submit(share(Sharing.PAY_IN, "pool", 40, whose=ANN, key="P"))
    asked = share(Sharing.DRAW, "pool", 25, whose=BOB, key="D")
    first, again = await ledger.submit(asked), await ledger.submit(asked)
    assert (again.replayed, again.entry, again.wallet, again.other) == (True, first.entry, first.wallet, first.other)
    assert first.other is not None
    assert (first.wallet.id, left(first.wallet), left(first.other)[-1]) == ("pool", ["P/0: 15 of 40"], "D/0: 25 of 25")


async def test_the_other_member_may_not_be_there(house: House, ledger: Ledger) -> None:
    """A gift to nobody, or to somebody who is mentioned for the first time after it in the batch, moves nothing."""
    told = await answers(
        ledger, give(1, CID, whose=ANN, key="early"), award("video", 1, whose=CID), give(1, CID, whose=ANN, key="late"),
        give(1, None, whose=ANN),
    )  # fmt: skip
    assert [type(one) for one in told] == [NotFound, Outcome, Outcome, NotFound]
    assert await balance(house, "cid") == 2


# Several processes


async def test_a_gift_races_a_redemption_from_another_lane(house: House, ledger: Ledger) -> None:
    """Both want more than half of the same points: one has them, and the other is told what is left."""
    rival = await house.ledger()
    winners: Counter[str] = Counter()
    for number in range(8):
        name = f"member-{number}"
        whose = by_reference("video", name)
        await ledger.submit(award("video", 100, whose=whose))
        gift, taken = await asyncio.gather(
            answers(ledger, give(60, BOB, whose=whose)), answers(rival, redeem(FILM, whose=whose))
        )
        told = {"gift": gift[0], "redemption": taken[0]}
        lost = [one for one in told.values() if isinstance(one, InsufficientPoints)]
        assert [one.available for one in lost] == [40]
        winners.update(who for who, one in told.items() if isinstance(one, Outcome))
        assert await balance(house, name) == 40
    assert winners.total() == 8
    assert await balance(house, "bob") == 100 + 60 * winners["gift"]


async def test_two_lanes_give_in_both_directions(house: House, ledger: Ledger) -> None:
    """Each gift is carried out once, whatever the other lane does to the same two wallets, and no point is lost."""
    rival = await house.ledger()
    there = answers(ledger, *(give(n, BOB, whose=ANN) for n in range(1, 9)))
    back = answers(rival, *(give(n, ANN, whose=BOB) for n in range(1, 9)))
    for half in await asyncio.gather(there, back):
        assert all(isinstance(one, Outcome) for one in half)
    assert (await balance(house, "ann"), await balance(house, "bob")) == (100, 100)


async def test_the_same_gift_at_two_lanes_is_one(house: House, ledger: Ledger) -> None:
    """Whoever is second answers with what the first has done."""
    rival = await house.ledger()
    for number in range(4):
        asked = give(5, BOB, whose=ANN, key=f"G{number}")
        both = await asyncio.gather(*(one.submit(asked) for one in (ledger, rival)))
        assert sorted(one.replayed for one in both) == [False, True]
    assert (await balance(house, "ann"), await balance(house, "bob")) == (80, 120)


async def test_two_join_a_household_at_once(house: House, ledger: Ledger) -> None:
    """From two lanes, while a third pays in: all are members, in some order, and the pool has what was paid in."""
    lanes = [ledger, await house.ledger(), await house.ledger()]
    await founded(ledger)
    await ledger.submit(award("video", 1, whose=CID))
    told = await asyncio.gather(
        answers(lanes[0], share(Sharing.JOIN, "pool", whose=BOB)),
        answers(lanes[1], share(Sharing.JOIN, "pool", whose=CID)),
        answers(lanes[2], *(share(Sharing.PAY_IN, "pool", 10, whose=ANN) for _ in range(3))),
    )
    assert all(isinstance(one, Outcome) for each in told for one in each), told
    pool = await pool_of(house)
    members = [(await house.wallet("video", name)).id for name in ("ann", "bob", "cid")]
    assert pool.members[0] == members[0]
    assert set(pool.members) == set(members)
    assert sum(lot.remaining for lot in pool.lots) == 30


async def test_a_member_joins_one_of_two_households(house: House, ledger: Ledger) -> None:
    """Asked by two lanes at once it is in one of them, and only that one knows it."""
    rival = await house.ledger()
    await founded(ledger)
    await ledger.submit(award("video", 1, whose=CID))
    await ledger.submit(share(Sharing.FOUND, "pool-2", whose=CID, key="pool-2"))
    told = await asyncio.gather(
        answers(ledger, share(Sharing.JOIN, "pool", whose=BOB)),
        answers(rival, share(Sharing.JOIN, "pool-2", whose=BOB)),
    )
    assert sorted(type(one).__name__ for [one] in told) == ["Outcome", "ValidationFailed"]
    bob = await house.wallet("video", "bob")
    assert [name for name in ("pool", "pool-2") if bob.id in (await pool_of(house, name)).members] == [bob.household]


async def test_what_is_in_the_pool_is_drawn_once(house: House, ledger: Ledger) -> None:
    """Two members at two lanes want all of it: one gets it, and the other is told how much there is by then."""
    rival = await house.ledger()
    await founded(ledger, "bob")
    for number in range(4):
        await ledger.submit(share(Sharing.PAY_IN, "pool", 10, whose=ANN))
        told = await asyncio.gather(
            answers(ledger, share(Sharing.DRAW, "pool", 10, whose=ANN, key=f"ann-{number}")),
            answers(rival, share(Sharing.DRAW, "pool", 10, whose=BOB, key=f"bob-{number}")),
        )
        assert sorted(type(one).__name__ for [one] in told) == ["InsufficientPoints", "Outcome"]
    assert await balance(house, "ann") + await balance(house, "bob") == 200


async def test_the_last_one_does_not_leave_while_another_pays_in(house: House, ledger: Ledger) -> None:
    """Whichever came first: nobody leaves points behind in a pool that nobody shares."""
    rival = await house.ledger()
    await founded(ledger)
    for number in range(4):
        gone, paid = await asyncio.gather(
            answers(ledger, share(Sharing.LEAVE, "pool", whose=ANN)),
            answers(rival, share(Sharing.PAY_IN, "pool", 10, whose=ANN, key=f"P{number}")),
        )
        pool = await pool_of(house)
        if isinstance(gone[0], Outcome):
            assert isinstance(paid[0], NotFound)
            assert (pool.members, sum(lot.remaining for lot in pool.lots)) == ((), 10 * number)
            return
        assert isinstance(gone[0], ValidationFailed)
        assert isinstance(paid[0], Outcome)
    await answers(ledger, share(Sharing.DRAW, "pool", 40, whose=ANN), share(Sharing.LEAVE, "pool", whose=ANN))


# Faults


async def test_a_gift_whose_answer_is_lost_happens_once(house: House, ledger: Ledger) -> None:
    """The connection breaks at the commit: sent again it tells, and neither side is doubled or halved."""
    async with house.failing("commitTransaction", {"times": 3}, closeConnection=True):
        told = await answers(ledger, give(30, BOB, whose=ANN), give(20, ANN, whose=BOB))
    assert [done(one).replayed for one in told] == [False, False]
    assert (await balance(house, "ann"), await balance(house, "bob")) == (90, 110)


async def test_a_gift_that_was_aborted_is_decided_anew(house: House, ledger: Ledger) -> None:
    """Of a commit that did not happen neither side is there."""
    label = ["TransientTransactionError"]
    async with house.failing("commitTransaction", {"times": 2}, errorCode=251, errorLabels=label):
        told = await ledger.submit(give(30, BOB, whose=ANN))
    assert not told.replayed
    assert (await balance(house, "ann"), await balance(house, "bob")) == (70, 130)


async def test_a_process_that_dies_in_between_leaves_both_sides_or_none(house: House) -> None:
    """Its commit is made impossible before anybody says anything; asked again the gift is made, once."""
    dying = await house.ledger(deadline_seconds=0.4)
    await founded(dying, "bob")
    asked = (give(30, BOB, whose=ANN, key="G"), share(Sharing.PAY_IN, "pool", 20, whose=BOB, key="P"))
    async with house.failing("commitTransaction", closeConnection=True):
        waiting = asyncio.create_task(answers(dying, *asked))
        async with asyncio.timeout(10):
            while await house.count("blocks", kind="VOID") == 0:  # noqa: ASYNC110 - the ledger writes it
                await asyncio.sleep(0.05)
    told = await waiting
    assert all(isinstance(one, Outcome | StoreUnavailable | Contended) for one in told)
    again = await answers(await house.ledger(), *asked)
    assert all(isinstance(one, Outcome) for one in again), again
    assert (await balance(house, "ann"), await balance(house, "bob")) == (70, 110)
    assert left(await pool_of(house)) == ["P/0: 20 of 20"]


async def test_a_lane_that_is_stolen_during_a_gift_makes_it_or_does_not(house: House, ledger: Ledger) -> None:
    """Whoever continues the lane makes sure of it first; the gift is made once, by whichever lane."""
    async with house.failing("commitTransaction", {"times": 1}, blockConnection=True, blockTimeMS=400):
        flying = asyncio.create_task(ledger.submit(give(30, BOB, whose=ANN, key="G")))
        await asyncio.sleep(0.1)
        await house.db["lanes"].update_many({}, [{"$set": {"lease_until": {"$subtract": ["$$NOW", 1]}}}])
        thief = await house.ledger()
        await flying
    await thief.submit(give(5, ANN, whose=BOB))
    assert (await balance(house, "ann"), await balance(house, "bob")) == (75, 125)


# Periods, and what a check must know


async def test_a_gift_is_of_the_period_of_whichever_wallet_was_written_last(house: House, ledger: Ledger) -> None:
    """A lane that reads the other wallet of a later period ends its own first: nothing settles before its cause."""
    rival = await house.ledger()
    await rival.submit(award("video", 1, whose=CID))
    await Periods(house.db).mark(1)
    later = await ledger.submit(award("video", 5, whose=BOB))
    gift = await rival.submit(give(1, BOB, whose=CID))
    assert (later.wallet.period, gift.wallet.period) == (2, 2)
    assert gift.other is not None
    assert gift.other.period == 2
    await Settlement(house.db, KEYRING).close(1)


async def test_points_of_a_frozen_issuer_that_were_passed_over_are_no_wrong_order(house: House, ledger: Ledger) -> None:
    """The exchange froze it: whoever checks later knows that, although the issuer goes on by then."""
    trip = benefit("rides/trip", 30)
    await house.agree(agreement("video", "rides", 800))
    await house.publish(trip)
    await known(ledger, "video", "rides", reference="dan")
    dan = by_reference("rides", "dan")
    soon = await house.soon(hours=1)
    await ledger.submit(award("video", 50, whose=by_reference("video", "dan"), expires=soon))
    await ledger.submit(award("rides", 50, whose=dan))
    stored = await house.terms.set_rules(Rules(partner="video", version=1, frozen="fraud"))
    taken = await ledger.submit(redeem(trip, through="rides", whose=dan))
    assert moves(taken.entry) == ["member -> rides REDEEMED 30"]
    await house.terms.set_rules(Rules(partner="video", version=stored.version))


async def test_every_command_about_points_holds_over_a_closed_period(house: House, ledger: Ledger) -> None:
    """Debts, goodwill, more time, freezing and households go on after a cut, and the whole is proved."""
    await founded(ledger, "bob")
    await ledger.submit(redeem(FILM, whose=ANN))
    await ledger.submit(share(Sharing.PAY_IN, "pool", 20, whose=ANN, key="P"))
    await Settlement(house.db, KEYRING).close(1)
    told = await answers(
        await house.ledger(), reverse_award("A", whose=ANN), award("video", 30, whose=ANN, key="C"),
        share(Sharing.DRAW, "pool", 20, whose=BOB), freeze(whose=ByWallet((await pool_of(house)).id)),
        adjust("video", -10, whose=BOB),
    )  # fmt: skip
    assert all(isinstance(one, Outcome) for one in told), told
    ann = await house.wallet("video", "ann")
    assert (ann.debts, sum(lot.remaining for lot in ann.lots), ann.period) == ({"video": 50}, 0, 2)
