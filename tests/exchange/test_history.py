"""Reading a wallet's history from a real MongoDB: in order, page by page, and for a partner its share alone."""

from __future__ import annotations

import asyncio

import pytest

from exchange.commands import ByWallet, Give, Merge
from exchange.journal import EntryKind
from exchange.ledger import Ledger
from exchange.passbook import Place, PointsEvent, Standing
from exchange.redemption import Step
from exchange.rules import Rules
from exchange.store import members
from exchange.store.members import Members
from exchange.sweeper import Sweeper
from tests.exchange.conftest import KEYRING, House, answers, known
from tests.exchange.speech import act, agreement, award, benefit, by_reference, redeem, reserve

RIDE = benefit("rides/trip", 60)
PARTNERS = ("video", "delivery", "rides")


@pytest.fixture
def reading(house: House) -> Members:
    return Members(house.db, KEYRING)


@pytest.fixture
async def ann(house: House, ledger: Ledger) -> str:
    """Give a wallet with a life in two lanes, some of whose entries share a commit; 25 points are over, not swept."""
    await house.publish(RIDE)
    await house.agree(agreement("video", "rides", 800), agreement("delivery", "rides", 800))
    wallet = await known(ledger, *PARTNERS[:2])
    other = await house.ledger()
    ends = await house.soon(seconds=0.5)
    await answers(
        ledger, award("video", 100, reason="welcome"), award("delivery", 70), award("video", 25, expires=ends)
    )
    await other.submit(award("video", 3))
    await ledger.submit(award("video", 1_000, whose=by_reference("video", "bob")))
    await asyncio.sleep(0.55)
    made = [one.redemption for one in (await other.submit(redeem(RIDE)), await ledger.submit(reserve(RIDE)))]
    await other.submit(act(Step.REVERSE, made[0], by="rides", reason="no driver came"))
    await ledger.submit(act(Step.CANCEL, made[1]))
    await answers(other, reserve(RIDE), award("delivery", 5))
    return wallet


async def pages(
    reading: Members, wallet: str, size: int, *, concerning: str | None = None, oldest_first: bool = False
) -> list[PointsEvent]:
    """Read a history page by page."""
    found: list[PointsEvent] = []
    after: Place | None = None
    while page := await reading.history(wallet, size, after, concerning=concerning, oldest_first=oldest_first):
        assert len(page) <= size
        found += page
        after = page[-1].place
    return found


async def test_every_entry_of_the_wallet_is_there_once_newest_first(house: House, ann: str, reading: Members) -> None:
    """The history has as many events as the wallet has entries, in the order in which they made its versions."""
    found = await reading.history(ann, 100)
    assert len(found) == await house.count("entries", wallet=ann) == 12
    places = [event.place for event in found]
    assert places == sorted(set(places), reverse=True)
    assert places[0][0] == (await house.wallet()).version
    # That three awards came at once is only worth something if they shared a commit.
    assert len({version for version, _ in places}) < len(places)


@pytest.mark.parametrize("concerning", [None, *PARTNERS])
async def test_pages_join_to_the_whole(ann: str, reading: Members, concerning: str | None) -> None:
    """Of whatever size, from either end, for whomever: page by page it is the same as read at once."""
    whole = await reading.history(ann, 100)
    seen = whole if concerning is None else [event.seen_by(concerning) for event in whole]
    expected = [event for event in seen if event is not None]
    assert expected
    for size in (1, 2, 5):
        assert await pages(reading, ann, size, concerning=concerning) == expected
        assert await pages(reading, ann, size, concerning=concerning, oldest_first=True) == expected[::-1]


async def test_a_partner_without_a_part_in_it_finds_nothing(ann: str, reading: Members) -> None:
    """Neither a stranger's history nor a wallet that is none has an event."""
    assert await reading.history(ann, 100, concerning="music") == []
    assert await reading.history("nobody", 100) == []


async def test_the_whole_history_is_streamed_oldest_first(
    ann: str, reading: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk by chunk, every event once, whatever the size of a chunk."""
    whole = await pages(reading, ann, 100, oldest_first=True)
    for size in (1, 5, 500):
        monkeypatch.setattr(members, "HISTORY_CHUNK", size)
        assert [event async for event in reading.whole_history(ann)] == whole


async def test_the_running_balance_is_the_wallets_and_what_is_over_but_not_swept(
    house: House, ledger: Ledger, ann: str, reading: Members
) -> None:
    """Before the sweeper came the history has 25 points that the balance does not count; afterwards they are equal."""
    for unswept in (25, 0):
        standing = Standing()
        async for event in reading.whole_history(ann):
            standing = standing.after(event)
        wallet, now = await house.wallet(), await house.soon()
        assert standing == (wallet.balance(now) + unswept, wallet.held(now)) == (178 + unswept, 60)
        await Sweeper(house.books, ledger).sweep()
    newest = (await reading.history(ann, 1))[0]
    assert (newest.kind, newest.points) == (EntryKind.EXPIRE, -25)
    await ledger.stop()
    await house.prove()


async def test_gifts_stand_in_both_histories_among_the_rest(house: House, ledger: Ledger, reading: Members) -> None:
    """Given and received points, from two sides of the entries, come page by page in each wallet's own order."""
    await house.terms.set_rules(Rules(partner="video", gift_day_points=1_000))
    names = {name: by_reference("video", name) for name in ("ann", "bob")}
    for whose in names.values():
        await ledger.submit(award("video", 100, whose=whose))
    for n, (giver, receiver) in enumerate([("ann", "bob"), ("bob", "ann"), ("bob", "ann"), ("ann", "bob")]):
        await answers(
            ledger,
            Give(
                id=f"gift-{n}", fingerprint="", partner="video", whose=names[giver], to=names[receiver],
                points=10 * (n + 1),
            ),
            award("video", 1, whose=names[giver]),
        )  # fmt: skip
    for name, changes in (("ann", [100, -10, 1, 20, 30, -40, 1]), ("bob", [100, 10, -20, 1, -30, 1, 40])):
        wallet = await house.wallet("video", name)
        for size in (1, 2, 100):
            assert [event.points for event in await pages(reading, wallet.id, size, oldest_first=True)] == changes
            assert [event.points for event in await pages(reading, wallet.id, size)] == changes[::-1]
        assert wallet.balance(await house.soon()) == sum(changes)
    await ledger.stop()
    await house.prove()


async def test_a_merge_is_the_end_of_one_history_and_a_line_in_the_other(
    house: House, ledger: Ledger, reading: Members
) -> None:
    """The points leave the one's lots and come into the other's; both running balances are their wallets'."""
    ann, bob = [await known(ledger, "video", reference=name) for name in ("ann", "bob")]
    for name, points in (("ann", 100), ("bob", 70)):
        await ledger.submit(award("video", points, whose=by_reference("video", name)))
    merge = Merge(
        id="merge", fingerprint="", partner="video", whose=by_reference("video", "bob"), to=ByWallet(ann),
        permitted_until=await house.soon(days=1), permitted_through="video",
    )  # fmt: skip
    await ledger.submit(merge)
    told = {wallet: [(event.kind, event.points) for event in await reading.history(wallet, 2)] for wallet in (ann, bob)}
    assert told == {ann: [("MERGE", 70), ("AWARD", 100)], bob: [("MERGE", -70), ("AWARD", 70)]}
    assert (await house.wallet("video", "bob")).balance(await house.soon()) == 170
    await ledger.stop()
    await house.prove()


@pytest.mark.parametrize("side", ["wallet", "counterpart"])
async def test_history_is_read_along_an_index(house: House, side: str) -> None:
    """Neither the journal is scanned nor anything sorted, however long either is."""
    version = f"{side}_version"
    for order in (1, -1):
        query = {side: "w", version: {"$lte": 9}}
        found = house.db["entries"].find(query).sort([(version, order), ("index", order)]).limit(5)
        plan = (await found.explain())["queryPlanner"]["winningPlan"]
        stages = []
        while plan:
            stages.append(plan["stage"])
            name = plan.get("indexName", "")
            plan = plan.get("inputStage")
        assert "SORT" not in stages
        assert (stages[-1], name) == ("IXSCAN", f"{side}_history")
