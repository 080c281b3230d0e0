"""The group commit on a real MongoDB: rivals, lost answers, stolen lanes. Each test ends with all invariants proved."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from exchange.batch import Outcome
from exchange.benefit import Fulfilment, UnavailableReason
from exchange.commands import ByWallet
from exchange.errors import (
    BenefitUnavailable,
    Contended,
    ExchangeError,
    Forbidden,
    IdempotencyConflict,
    InsufficientPoints,
    NotFound,
    Overloaded,
    Refusal,
    StoreUnavailable,
    ValidationFailed,
)
from exchange.journal import Block, BlockKind
from exchange.ledger import BATCH_MAX, QUEUE_MAX, Ledger
from exchange.store.books import Books
from exchange.store.periods import Periods
from tests.exchange.conftest import KEYRING, House, answers, done, known
from tests.exchange.speech import SALT, agreement, award, benefit, by_reference, enrol, left, link, redeem, unlink

pytestmark = pytest.mark.usefixtures("proved")

FILM = benefit("video/film", 10)
TRIP = benefit("rides/trip", 100)


async def kinds(house: House, lane: int = 1) -> list[str]:
    return [row["kind"] async for row in house.db["blocks"].find({"lane": lane}).sort("_id", 1)]


async def until(house: House, **block: Any) -> None:
    """Wait for such a block."""
    async with asyncio.timeout(10):
        while await house.count("blocks", **block) == 0:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)


# A batch


async def test_a_batch_is_one_block(house: House, ledger: Ledger) -> None:
    """Commands that wait together are committed together, in order of arrival, and a busy member is just two folds."""
    told = await answers(ledger, *(award("video", n) for n in (1, 2, 3)))
    assert [done(one).wallet.version for one in told] == [1, 1, 1]
    assert [lot.awarded for lot in (await house.wallet()).lots] == [1, 2, 3]
    assert await kinds(house) == ["GENESIS", "ENTRIES"]


async def test_a_refusal_costs_nobody_else_anything(house: House, ledger: Ledger) -> None:
    """Of a batch in which some are refused the others are carried out as if alone."""
    await house.publish(FILM)
    told = await answers(
        ledger, award("video", 10), redeem(FILM, whose=by_reference("video", "nobody")), redeem(FILM),
        redeem("video/other"), award("video", 5, expires=await house.soon(days=-1)), award("rides", 7),
    )  # fmt: skip
    assert [type(one) for one in told] == [Outcome, NotFound, Outcome, NotFound, ValidationFailed, Outcome]
    assert await house.count("entries") == 3
    assert await kinds(house) == ["GENESIS", "ENTRIES"]


async def test_a_refusal_rests_on_what_was_decided_before_it(house: House, ledger: Ledger) -> None:
    """The second of two that want the same points is refused for the first one's sake, in the same batch."""
    await house.publish(FILM)
    first, second, third = await answers(ledger, award("video", 15), redeem(FILM), redeem(FILM))
    assert done(first).wallet.lots[0].remaining == done(second).wallet.lots[0].remaining == 5
    assert isinstance(third, InsufficientPoints)
    assert (third.required, third.available) == (10, 5)


async def test_no_refusal_leaves_before_what_it_rests_on(house: House, ledger: Ledger) -> None:
    """Until the commit is acknowledged nobody is told anything, the refused included."""
    await house.publish(FILM)
    async with house.failing("commitTransaction", {"times": 1}, blockConnection=True, blockTimeMS=300):
        asked = [asyncio.create_task(ledger.submit(one)) for one in (award("video", 10), redeem(FILM), redeem(FILM))]
        finished, _ = await asyncio.wait(asked, timeout=0.2)
        assert not finished
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in told] == [Outcome, Outcome, InsufficientPoints]


async def test_decisions_are_made_again_when_a_commit_is_lost(house: House, ledger: Ledger) -> None:
    """A commit that certainly did not happen leaves nothing; the batch is decided again and told once."""
    label = ["TransientTransactionError"]
    async with house.failing("commitTransaction", {"times": 2}, errorCode=251, errorLabels=label):
        told = await answers(ledger, award("video", 10), award("video", 20))
    assert [done(one).replayed for one in told] == [False, False]
    assert (await house.wallet()).balance(await house.soon()) == 30


async def test_more_than_a_batch_holds_is_several(house: House, ledger: Ledger) -> None:
    """What waits beyond the size of a batch goes into the next ones, and everybody is answered."""
    told = await answers(ledger, *(award("video", 1) for _ in range(2 * BATCH_MAX + 1)))
    assert all(isinstance(one, Outcome) for one in told)
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES", "ENTRIES"]


# Exactly once


async def test_the_same_request_is_the_same_entry_for_ever(house: House, ledger: Ledger) -> None:
    """Asked again, a redemption or lot is answered as it now stands, and nothing moves; a restart changes nothing."""
    voucher = benefit("video/voucher", 10, fulfilment=Fulfilment.INSTANT_CODE)
    await house.publish(voucher)
    await house.catalog.add_codes("video", "voucher", ["A", "B", "C"])
    await ledger.submit(award("video", 100, key="a"))
    request = redeem(voucher, 2, key="r", fingerprint="as sent")
    first = await ledger.submit(request)
    again = await ledger.submit(request)
    await ledger.stop()
    after_restart = await (await house.ledger()).submit(request)
    lot = await house.ledgers[-1].submit(award("video", 100, key="a"))
    assert [one.replayed for one in (first, again, after_restart, lot)] == [False, True, True, True]
    assert first.redemption == again.redemption == after_restart.redemption
    assert first.redemption is not None
    assert [house.catalog.open_code(voucher.id, code) for code in first.redemption.codes] == ["A", "B"]
    assert left(lot.wallet) == ["a: 80 of 100"]
    assert await house.count("entries") == 2


async def test_twins_in_one_batch_share_one_answer(house: House, ledger: Ledger) -> None:
    """A request that arrives twice at once is carried out once, and both are told so."""
    one, other = await answers(ledger, award("video", 10, key="same"), award("video", 10, key="same"))
    assert (done(one).replayed, done(other).replayed) == (False, True)
    assert done(one).entry == done(other).entry
    assert left(await house.wallet()) == ["same: 10 of 10"]


async def test_twins_at_two_processes_are_one(house: House, ledger: Ledger) -> None:
    """A request that arrives at two processes at once is carried out once."""
    rival = await house.ledger()
    for number in range(5):
        both = await asyncio.gather(*(one.submit(award("video", 10, key=f"key-{number}")) for one in (ledger, rival)))
        assert sorted(one.replayed for one in both) == [False, True]
    assert (await house.wallet()).balance(await house.soon()) == 50


async def test_a_key_used_for_something_else_is_a_conflict(house: House, ledger: Ledger) -> None:
    """The same key with another input is refused, in the same batch or later; the first stays as it was."""
    told = await answers(
        ledger, award("video", 10, key="k", fingerprint="10"), award("video", 11, key="k", fingerprint="11")
    )
    assert [type(one) for one in told] == [Outcome, IdempotencyConflict]
    later = await answers(ledger, award("video", 12, key="k", fingerprint="12"))
    assert [type(one) for one in later] == [IdempotencyConflict]
    assert left(await house.wallet()) == ["k: 10 of 10"]


async def test_refusals_are_not_remembered(house: House, ledger: Ledger) -> None:
    """The same key decides anew after a refusal, also within one batch."""
    await house.publish(FILM)
    told = await answers(ledger, redeem(FILM, key="r"), award("video", 10), redeem(FILM, key="r"))
    assert [type(one) for one in told] == [NotFound, Outcome, Outcome]
    assert await house.count("redemptions") == 1


async def test_a_member_is_read_with_everything_else(
    house: House, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By wallet or first reference it takes one read to decide; a reference that was linked takes a second one."""
    await house.publish(FILM)
    wallet = await known(ledger, "video", "rides")
    again = Books.second_round
    reads: list[str] = []

    async def counted(*asked: Any) -> Any:
        reads.append("second")
        return await again(*asked)

    monkeypatch.setattr(Books, "second_round", counted)
    await ledger.submit(award("video", 100, whose=by_reference("video", "ann")))
    await ledger.submit(redeem(FILM, whose=ByWallet(wallet)))
    await ledger.submit(redeem(FILM, whose=by_reference("video", "ann")))
    await ledger.submit(enrol("video", whose=by_reference("video", "bob")))
    assert reads == []
    linked = await ledger.submit(award("rides", 100, whose=by_reference("rides", "ann")))
    assert (linked.wallet.id, reads) == (wallet, ["second"])


# Rivals


async def test_the_last_unit_is_sold_once(house: House, ledger: Ledger) -> None:
    """Of twenty members at two processes who want five units, five get one, and the others learn that none is left."""
    rare = benefit("video/rare", 10, stock=5)
    await house.publish(rare)
    rival = await house.ledger()
    names = [f"member-{n}" for n in range(20)]
    await answers(ledger, *(award("video", 10, whose=by_reference("video", name)) for name in names))
    halves = [
        answers(one, *(redeem(rare, whose=by_reference("video", name)) for name in names[start::2]))
        for start, one in enumerate((ledger, rival))
    ]
    told = [one for half in await asyncio.gather(*halves) for one in half]
    refused = [one for one in told if isinstance(one, BenefitUnavailable)]
    assert len(told) - len(refused) == 5
    assert all(one.reasons == [UnavailableReason.OUT_OF_STOCK] for one in refused)
    assert (await house.catalog.stock([rare.id]))[rare.id].left == 0


async def test_each_code_is_given_once(house: House, ledger: Ledger) -> None:
    """Two processes hand out a pool until it is empty: every code to one redemption, none twice, none lost."""
    voucher = benefit("video/voucher", 10, fulfilment=Fulfilment.INSTANT_CODE)
    await house.publish(voucher)
    loaded = [f"code-{n}" for n in range(12)]
    await house.catalog.add_codes("video", "voucher", loaded)
    rival = await house.ledger()
    names = [f"member-{n}" for n in range(16)]
    await answers(ledger, *(award("video", 10, whose=by_reference("video", name)) for name in names))

    async def take(name: str, one: Ledger) -> Outcome | ExchangeError:
        return (await answers(one, redeem(voucher, whose=by_reference("video", name))))[0]

    told = await asyncio.gather(*(take(name, (ledger, rival)[n % 2]) for n, name in enumerate(names)))
    given = [
        house.catalog.open_code(voucher.id, code)
        for one in told if isinstance(one, Outcome) and one.redemption for code in one.redemption.codes
    ]  # fmt: skip
    assert sorted(given) == sorted(loaded)
    assert Counter(type(one) for one in told) == {Outcome: 12, BenefitUnavailable: 4}


async def test_a_member_first_mentioned_twice_is_one(house: House, ledger: Ledger) -> None:
    """Awards and enrolments that first mention a member at two processes at once make one wallet with all points."""
    rival = await house.ledger()
    for number in range(6):
        whose = by_reference("video", f"member-{number}")
        told = await asyncio.gather(
            answers(ledger, award("video", 10, whose=whose), enrol("video", whose=whose)),
            answers(rival, enrol("video", whose=whose), award("video", 20, whose=whose)),
        )
        assert len({done(one).wallet.id for half in told for one in half}) == 1
        wallet = await house.wallet("video", whose.reference)
        assert sorted(lot.awarded for lot in wallet.lots) == [10, 20]
    assert await house.count("wallets") == await house.count("references") == 6


async def test_linking_races_with_a_first_mention(house: House, ledger: Ledger) -> None:
    """A reference comes to mean the linked wallet or a new one, never both: whoever loses is told, or joins."""
    rival = await house.ledger()
    seen = set()
    for number in range(8):
        name = f"member-{number}"
        wallet = await known(ledger, "video", reference=name)
        there, here = await asyncio.gather(
            answers(ledger, link("rides", wallet, reference=name)),
            answers(rival, award("rides", 10, whose=by_reference("rides", name))),
        )
        awarded = done(here[0]).wallet.id
        linked = isinstance(there[0], Outcome)
        assert linked == (awarded == wallet)
        assert linked or isinstance(there[0], ValidationFailed)
        assert (await house.wallet("rides", name)).id == awarded
        seen.add(linked)
    assert seen, "either may win"


async def test_an_ended_link_holds_against_a_redemption_in_flight(house: House, ledger: Ledger) -> None:
    """Ending a link and spending through it at once, at two processes, ends in an order that both agree on."""
    await house.publish(FILM)
    rival = await house.ledger()
    for number in range(5):
        name = f"member-{number}"
        wallet = await known(ledger, "video", "rides", reference=name)
        await ledger.submit(award("video", 10, whose=by_reference("video", name)))
        ended, spent = await asyncio.gather(
            answers(ledger, unlink("rides", wallet)),
            answers(rival, redeem(FILM, through="rides", whose=by_reference("rides", name), by_member=True)),
        )
        done(ended[0])
        assert isinstance(spent[0], Outcome | Forbidden)


# Callers and queues


async def test_a_caller_that_goes_away_changes_nothing(house: House, ledger: Ledger) -> None:
    """What was accepted is decided and recorded once, whether or not anybody still waits; a refusal disturbs nobody."""
    gone = [asyncio.create_task(ledger.submit(one)) for one in (award("video", 10, key="k"), redeem("video/none"))]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*gone, return_exceptions=True))
    assert (await ledger.submit(award("video", 10, key="k"))).replayed
    assert left(await house.wallet()) == ["k: 10 of 10"]


async def test_a_full_queue_is_said_at_once(house: House) -> None:
    """When as much waits as may, the next is told to come again; the others are answered."""
    ledger = Ledger(Books(house.db), KEYRING)
    waiting = [asyncio.create_task(ledger.submit(redeem("video/none"))) for _ in range(QUEUE_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await ledger.submit(award("video", 10))
    await ledger.start()
    house.ledgers.append(ledger)
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(one, NotFound) for one in told)
    assert await house.count("entries") == 0


async def test_stopping_answers_what_was_accepted(house: House, ledger: Ledger) -> None:
    """A process that stops carries out all it has accepted, accepts no more, and leaves its lane to the next."""
    waiting = [asyncio.create_task(ledger.submit(award("video", 1))) for _ in range(300)]
    await asyncio.sleep(0)
    await ledger.stop()
    assert all(isinstance(one, Outcome) for one in await asyncio.gather(*waiting))
    with pytest.raises(Overloaded):
        await ledger.submit(award("video", 1))
    await (await house.ledger()).submit(award("video", 1))
    assert await house.count("lanes") == 1
    assert BlockKind.VOID not in await kinds(house), "nothing was in flight, so nothing had to be proved"


@pytest.mark.parametrize(
    "poison",
    [
        award("video", 1, reason="\ud800"),  # no text in UTF-8: it cannot be hashed
        link("rides", KEYRING.digest("wallet", "video", "ann"), daily_limit=2**70),  # no 64 bits: not encoded
        award("video", 1, reason="x" * (17 << 20)),  # larger than a document may be
    ],
    ids=["not hashable", "not encodable", "too large"],
)
async def test_a_poisoned_command_fails_alone(house: House, ledger: Ledger, poison: Any) -> None:
    """A command that cannot be written fails by itself, and quickly; its batch is carried out."""
    others = [ledger.submit(award("video", n)) for n in range(1, 8)]
    submitted = [*others[:4], ledger.submit(poison), *others[4:]]
    told = await asyncio.wait_for(asyncio.gather(*submitted, return_exceptions=True), 5)
    assert [isinstance(one, Outcome) for one in told] == [True] * 4 + [False] + [True] * 3
    assert isinstance(told[4], Exception)
    assert not isinstance(told[4], Refusal)
    assert [lot.awarded for lot in (await house.wallet()).lots] == list(range(1, 8))


async def test_what_the_database_refuses_fails_alone(house: House, ledger: Ledger) -> None:
    """A validator's no is final: it is not asked again until the deadline, while everybody else waits."""
    await house.db.command(
        "collMod", "wallets", validator={"_id": {"$ne": ledger.new_wallet_id(by_reference("rides"))}}
    )
    told = await asyncio.wait_for(
        asyncio.gather(ledger.submit(award("video", 1)), ledger.submit(award("rides", 1)), return_exceptions=True), 2
    )
    assert [type(one).__name__ for one in told] == ["Outcome", "Unwritable"]


# Answers that are lost

UNSAID = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
"""The commit happened, and the server does not say that it will last."""


async def test_a_commit_whose_answer_is_lost_is_asked_for_again(house: House, ledger: Ledger) -> None:
    """The connection breaks at the commit, before or after it happened: sent again it tells, and nothing is doubled."""
    hows: list[dict[str, Any]] = [{"closeConnection": True}, {"writeConcernError": UNSAID}]
    for number, how in enumerate(hows):
        async with house.failing("commitTransaction", {"times": 3}, **how):
            told = await answers(ledger, award("video", 10, key=f"k{number}"), redeem("video/none"))
        assert [type(one) for one in told] == [Outcome, NotFound]
        assert not done(told[0]).replayed
    assert left(await house.wallet()) == ["k0: 10 of 10", "k1: 10 of 10"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES"]


async def test_an_outcome_that_cannot_be_learned_is_made_certain(house: House) -> None:
    """Without any answer the session is killed and a void block takes the place, so the commit can never happen."""
    ledger = await house.ledger(deadline_seconds=0.4)
    await ledger.submit(award("video", 1, key="before"))
    async with house.failing("commitTransaction", closeConnection=True):
        asked = asyncio.create_task(ledger.submit(award("video", 10, key="k")))
        await until(house, kind="VOID")
    # Its own deadline is over by then: it is told so, and asking again tells what became of it.
    told = (await asyncio.gather(asked, return_exceptions=True))[0]
    assert isinstance(told, Outcome | StoreUnavailable | Contended)
    await ledger.submit(award("video", 10, key="k"))
    assert left(await house.wallet()) == ["before: 1 of 1", "k: 10 of 10"]
    assert "VOID" in await kinds(house)


async def test_a_commit_that_happened_is_found_when_the_session_is_lost(house: House) -> None:
    """It did happen, only nobody could say so: its place in the lane is taken by itself, and it is answered as done."""
    ledger = await house.ledger(deadline_seconds=0.4)
    async with house.failing("commitTransaction", writeConcernError=UNSAID):
        outcome = await ledger.submit(award("video", 10, key="k"))
    assert not outcome.replayed
    await ledger.submit(award("video", 20, key="next"))
    assert left(await house.wallet()) == ["k: 10 of 10", "next: 20 of 20"]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "ENTRIES"]


async def test_a_database_that_does_not_answer_is_a_fault_and_comes_back(house: House) -> None:
    """While nothing can be written callers are told so at their deadline; afterwards everything goes on."""
    ledger = await house.ledger(deadline_seconds=0.3)
    async with house.failing("insert", closeConnection=True):
        told = await answers(ledger, award("video", 10, key="k"))
        assert [type(one) for one in told] == [StoreUnavailable]
    assert not (await ledger.submit(award("video", 10, key="k"))).replayed


# Lanes


async def lapse(house: House) -> None:
    """Let every lease be over."""
    await house.db["lanes"].update_many({}, [{"$set": {"lease_until": {"$subtract": ["$$NOW", 1]}}}])


async def test_each_process_has_a_lane_of_its_own(house: House) -> None:
    """Processes that start at the same moment each get one, and none is told that it lost it."""
    started = await asyncio.gather(*(house.ledger() for _ in range(4)))
    await asyncio.gather(*(one.submit(award("video", 1)) for one in started))
    assert await house.count("lanes") == 4
    assert await house.count("blocks", seq=0, kind="GENESIS") == 4


async def test_a_lapsed_lane_is_continued_and_its_zombie_does_no_harm(house: House, ledger: Ledger) -> None:
    """Whoever takes over begins with a void block; the owner before, still alive, finds out and takes another lane."""
    await ledger.submit(award("video", 1, key="before"))
    await lapse(house)
    thief = await house.ledger()
    told = await asyncio.gather(
        ledger.submit(award("video", 2, key="zombie")), thief.submit(award("rides", 3, key="thief"))
    )
    assert [one.replayed for one in told] == [False, False]
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES"]
    assert await kinds(house, 2) == ["GENESIS", "ENTRIES"]


async def test_a_lane_stolen_during_a_commit_keeps_it_or_loses_it_whole(house: House, ledger: Ledger) -> None:
    """The commit that the thief's killing reaches never happens, and its owner carries it out elsewhere, once."""
    await ledger.submit(award("video", 1, key="before"))
    async with house.failing("commitTransaction", {"times": 1}, blockConnection=True, blockTimeMS=400):
        flying = asyncio.create_task(ledger.submit(award("video", 2, key="flying")))
        await asyncio.sleep(0.1)
        await lapse(house)
        thief = await house.ledger()
        await flying
    await thief.submit(award("video", 3, key="thief"))
    assert left(await house.wallet()) == ["before: 1 of 1", "flying: 2 of 2", "thief: 3 of 3"]


async def test_an_idle_owner_notices_that_its_lane_is_gone(house: House, ledger: Ledger) -> None:
    """A batch with nothing to commit is not answered on a lane that somebody else owns; it takes another first."""
    await lapse(house)
    await house.ledger()
    told = await answers(ledger, redeem("video/none"))
    assert [type(one) for one in told] == [NotFound]
    assert await house.count("lanes") == 2


async def test_time_never_goes_back_in_a_lane(house: House, ledger: Ledger) -> None:
    """When a new primary's clock is behind, a block bears the time of the one before it rather than an earlier one."""
    await ledger.submit(award("video", 1))
    ahead = await _head_is_ahead(house, seconds=4)
    outcome = await ledger.submit(award("video", 2))
    assert outcome.entry.at == ahead
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID", "ENTRIES"]


async def test_a_lane_written_by_a_wrong_clock_is_left_until_time_reaches_it(house: House, ledger: Ledger) -> None:
    """Nothing is decided in a future that the clock only pretended: the ledger and its successors use other lanes."""
    await ledger.submit(award("video", 1))
    ahead = await _head_is_ahead(house, seconds=3600)
    outcome = await ledger.submit(award("video", 2))
    assert outcome.entry.at < ahead
    await ledger.stop()
    again = await (await house.ledger()).submit(award("video", 3))
    assert again.entry.at < ahead
    assert await kinds(house) == ["GENESIS", "ENTRIES", "VOID"]
    assert await house.count("lanes") == 2


async def _head_is_ahead(house: House, seconds: float) -> datetime:
    """Put a block of the future at the end of the first lane, where its owner will find it."""
    head = await house.books.head(1)
    ahead: datetime = await house.soon(seconds=seconds)
    void = Block.seal(
        lane=1, seq=head.seq + 1, kind=BlockKind.VOID, period=1, prev=head.hash, at=ahead, salt=SALT
    )  # fmt: skip
    assert await house.books.append(void)
    return ahead


async def test_a_lane_is_cut_before_its_next_batch(house: House, ledger: Ledger) -> None:
    """Once a period is marked closing its owner ends it in the lane, and what follows is of the next."""
    before = await ledger.submit(award("video", 1))
    await Periods(house.db).mark(1)
    after = await ledger.submit(award("video", 2))
    assert (before.wallet.period, after.wallet.period) == (1, 2)
    assert await kinds(house) == ["GENESIS", "ENTRIES", "CUT", "ENTRIES"]


async def test_terms_added_since_hold_for_the_next_command(house: House, ledger: Ledger) -> None:
    """An agreement holds for what arrives after it was added; nobody has to restart anything."""
    await house.publish(TRIP)
    await ledger.submit(award("video", 200))
    before = (await answers(ledger, redeem(TRIP)))[0]
    assert isinstance(before, BenefitUnavailable)
    assert before.reasons == [UnavailableReason.NOT_ELIGIBLE]
    await house.agree(agreement("video", "rides", 800))
    outcome = await ledger.submit(redeem(TRIP))
    assert outcome.redemption is not None
    assert [debit.owed for debit in outcome.redemption.debits] == [(80, "EUR")]


async def test_what_a_later_version_counts_among_the_terms_stops_nothing(house: House, ledger: Ledger) -> None:
    """While an upgrade goes on, a later version may count there what this one has never heard of."""
    await house.db["terms"].insert_one({"_id": "something to come", "version": 7})
    (told,) = await answers(ledger, award("video", 5))
    assert done(told).wallet.balance(await house.soon()) == 5
