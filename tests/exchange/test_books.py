"""Each invariant is held a second time by the write: what a decision would have refused, the commit refuses again."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
from msgspec.structs import force_setattr, replace
from pymongo.errors import OperationFailure

from exchange.benefit import StockChange
from exchange.commands import ByReference
from exchange.journal import Block, BlockKind
from exchange.ledger import Ledger
from exchange.redemption import Redemption, RedemptionStatus
from exchange.store import documents as docs
from exchange.store.books import Books, Unwritable, Writes
from exchange.store.connection import settled
from exchange.store.lanes import Conflict, Lane
from exchange.store.periods import Periods
from exchange.store.shelves import Shelves
from exchange.wallet import Wallet
from tests.exchange.conftest import House
from tests.exchange.speech import NOW, SALT, award, benefit, decided, enrol, redeem


@pytest.fixture
async def lane(house: House) -> Lane:
    session = await house.books.start_session()
    opened = await house.books.open_lane("me", session, SALT)
    assert opened is not None
    return Lane(opened[0], "me", opened[1], session)


async def commit(house: House, lane: Lane, **writes: Any) -> Block:
    """Commit one award to a wallet of its own, and besides what the test wants."""
    name = secrets.token_hex(4)
    decision = decided(award("video", 5, key=f"entry-{name}"), Wallet(f"wallet-{name}"))
    made: dict[str, Any] = {"wallets": [decision.wallet], "entries": [decision.entry]}
    block = Block.seal(
        lane=lane.number, seq=lane.head.seq + 1, kind=BlockKind.ENTRIES, period=lane.period, prev=lane.head.hash,
        at=NOW, salt=SALT, entries=made["entries"],
    )  # fmt: skip
    await house.books.commit(lane, block, Writes(**{**made, **writes}))
    lane.head = block
    return block


async def conflicts(house: House, lane: Lane, **writes: Any) -> None:
    """Expect that the commit conflicts and leaves nothing behind, and that the lane goes on."""
    counts = [await house.count(name) for name in ("blocks", "entries", "wallets", "redemptions")]
    with pytest.raises(Conflict):
        await commit(house, lane, **writes)
    assert counts == [await house.count(name) for name in ("blocks", "entries", "wallets", "redemptions")]
    await commit(house, lane)


async def test_a_wallet_is_written_over_the_version_that_was_read(house: House, lane: Lane) -> None:
    """A wallet that somebody wrote since, made since, or never was, cannot be overwritten."""
    await commit(house, lane, wallets=[Wallet("w")])
    await commit(house, lane, wallets=[Wallet("w", version=1)])
    for version in (0, 1, 3):
        await conflicts(house, lane, wallets=[Wallet("w", version=version)])
    assert (await house.books.second_round(["w"], [], [], {})).wallets["w"].version == 2


async def test_stock_is_taken_where_there_is_some(house: House, lane: Lane) -> None:
    """More than is left cannot be taken, nor from a benefit that lost or gained its limit since."""
    await house.publish(benefit("rides/trip", stock=3), benefit("rides/pass"))
    await Shelves(house.db).draw(lane.number, {"rides/trip": 3, "rides/pass": 0}, lanes=1)
    sold, held = StockChange(sold=1), StockChange(reserved=1)
    await commit(house, lane, stock={"rides/trip": (sold.plus(held), True), "rides/pass": (sold.plus(sold), False)})
    for stock in (
        {"rides/trip": (sold.plus(sold), True)}, {"rides/trip": (held.plus(held), True)}, {"rides/trip": (sold, False)},
        {"rides/pass": (sold, True)}, {"x": (sold, False)},
    ):  # fmt: skip
        await conflicts(house, lane, stock=stock)
    # What was held is sold although none is left, and what was sold comes back.
    await commit(house, lane, stock={"rides/trip": (sold, True)})
    await commit(house, lane, stock={"rides/trip": (StockChange(sold=1, reserved=-1), True)})
    await commit(house, lane, stock={"rides/trip": (StockChange(sold=-1), True)})
    left = await house.catalog.stock(["rides/trip", "rides/pass"])
    assert [(s.offered, s.sold, s.reserved, s.left) for s in (left["rides/trip"], left["rides/pass"])] == [
        (3, 2, 0, 1),
        (None, 2, 0, None),
    ]


async def test_a_code_is_given_while_it_is_free(house: House, lane: Lane) -> None:
    """A code that went to one redemption does not go to another."""
    await house.db["codes"].insert_one({"_id": "c", "benefit": "b", "n": 1, "free": True, "redemption": None})
    await commit(house, lane, codes=[("c", "first")])
    await conflicts(house, lane, codes=[("c", "second")])
    code = await house.db["codes"].find_one({"_id": "c"})
    assert code == {"_id": "c", "benefit": "b", "n": 1, "redemption": "first"}


async def test_a_reference_an_entry_and_a_redemption_are_there_once(house: House, lane: Lane) -> None:
    """A second claim of a reference, a second entry or redemption of one id, abort the commit."""
    entry = decided(award("video", 1, key="e"), Wallet("w")).entry
    redemption = Redemption(
        id="r", benefit="rides/trip", provider="rides", channel="video", wallet="w", quantity=1, points=1,
        status=RedemptionStatus.FULFILLED, debits=(), takes=(), created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    once: list[dict[str, Any]] = [
        {"claims": [(ByReference("video", "ann"), "w")]}, {"entries": [entry]}, {"redemptions": [redemption]},
    ]  # fmt: skip
    for writes in once:
        await commit(house, lane, **writes)
        await conflicts(house, lane, **writes)


async def test_a_place_in_a_lane_is_taken_once(house: House, lane: Lane) -> None:
    """Of two blocks at one place the second is told so, whether it has entries or not."""
    head = lane.head
    block = await commit(house, lane)
    void = Block.seal(
        lane=block.lane, seq=block.seq, kind=BlockKind.VOID, period=1, prev=head.hash, at=NOW, salt=SALT
    )  # fmt: skip
    assert not await house.books.append(void)
    assert await house.books.block_at(block.lane, block.seq) == block
    assert await house.books.block_at(block.lane, block.seq + 1) is None
    lane.head = head
    with pytest.raises(Conflict):
        await commit(house, lane)
    assert await house.books.head(lane.number) == block


async def test_an_entry_that_does_not_balance_is_not_stored(house: House, lane: Lane) -> None:
    """The server refuses what Entry refuses: units that do not sum to zero, amounts that are no integers."""
    block = await commit(house, lane)
    entry = docs.entry_document(decided(award("video", 10, key="e"), Wallet("w")).entry, block, 7)
    for amounts in ((10, -9), (10.0, -10.0), ("10", "-10"), (10, None)):
        for posting, amount in zip(entry["postings"], amounts, strict=True):
            posting["amount"] = amount
        with pytest.raises(OperationFailure, match="failed validation"):
            await house.db["entries"].insert_one(dict(entry))
    entry["postings"][1] |= {"unit": "points:rides", "amount": -10}
    entry["postings"][0]["amount"] = 10
    with pytest.raises(OperationFailure, match="failed validation"):
        await house.db["entries"].insert_one(dict(entry))
    forged = decided(award("video", 1, key="forged"), Wallet("w")).entry
    force_setattr(forged, "postings", forged.postings[:1])
    with pytest.raises(Unwritable):
        await commit(house, lane, entries=[forged])


async def test_a_lane_has_one_owner(house: House, lane: Lane) -> None:
    """A lease is kept by its owner alone, taken when it lapses or is given back, and says whom to kill."""
    books, lsid = house.books, lane.session.session_id["id"]
    assert await books.steal_lane("thief", lsid) is None, "it has not lapsed"
    assert await books.renew_lease(lane.number, "me", lsid)
    assert not await books.renew_lease(lane.number, "thief", lsid)
    await books.release_lane(lane.number, "thief")
    assert await books.steal_lane("thief", lsid) is None, "only its owner gives it back"
    await house.db["lanes"].update_one({"_id": lane.number}, [{"$set": {"lease_until": {"$subtract": ["$$NOW", 1]}}}])
    assert await books.steal_lane("thief", lsid) == (lane.number, lsid)
    assert not await books.renew_lease(lane.number, "me", lsid)
    await books.release_lane(lane.number, "thief")
    assert await books.steal_lane("heir", lsid) == (lane.number, None), "given back there is nothing to kill"


async def test_lanes_opened_at_once_are_different(house: House) -> None:
    """Of two that open a lane at the same moment one may have to try again; no two have one."""
    sessions = [await house.books.start_session() for _ in range(4)]
    opened = await asyncio.gather(*(house.books.open_lane(f"p{n}", one, SALT) for n, one in enumerate(sessions)))
    numbers = [lane[0] for lane in opened if lane is not None]
    assert numbers
    assert len(set(numbers)) == len(numbers) == await house.count("lanes") == await house.count("blocks")


async def test_no_lane_begins_in_a_period_that_is_closing(house: House) -> None:
    """A lane whose period is marked after it was read is not opened there; the next try begins in the next period."""
    session = await house.books.start_session()
    async with house.failing("update", {"times": 1}, blockConnection=True, blockTimeMS=200):
        opening = asyncio.create_task(house.books.open_lane("me", session, SALT))
        await asyncio.sleep(0.1)
        await Periods(house.db).mark(1)
        assert await opening is None
    opened = await house.books.open_lane("me", session, SALT)
    assert opened is not None
    assert opened[1].period == 2
    assert await house.count("blocks") == 1


async def test_a_period_is_marked_behind_a_lane_that_begins(house: House) -> None:
    """A lane that is just being opened keeps its period from being marked until it is there."""
    session = await house.books.start_session()
    async with house.failing("commitTransaction", {"times": 1}, blockConnection=True, blockTimeMS=200):
        opening = asyncio.create_task(house.books.open_lane("me", session, SALT))
        await asyncio.sleep(0.1)
        marking = asyncio.create_task(Periods(house.db).mark(1))
        opened = await opening
        assert opened is not None
        assert opened[1].period == 1
        await marking
    assert await house.count("periods", _id=1, status="CLOSING", lanes=1) == 1


async def test_a_killed_session_commits_nothing_any_more(house: House, lane: Lane) -> None:
    """What is open in a session when it is killed is gone, and its place is free for a void block."""
    session = lane.session
    await settled(session.start_transaction())
    open_yet = Block.seal(lane=1, seq=1, kind=BlockKind.CUT, period=1, prev=lane.head.hash, at=NOW, salt=SALT)
    await house.db["blocks"].insert_one(docs.block_document(open_yet), session=session)
    await house.books.kill_session(session.session_id["id"])
    void = Block.seal(lane=1, seq=1, kind=BlockKind.VOID, period=1, prev=lane.head.hash, at=NOW, salt=SALT)
    assert await house.books.append(void)
    with pytest.raises(Conflict):
        await house.books.send_commit(lane)
    assert await house.books.head(1) == void


async def test_creating_again_or_at_once_changes_nothing(house: House) -> None:
    """Every process creates what it needs when it starts, whoever was first."""
    before = await house.db["periods"].find({}).to_list(None)
    await asyncio.gather(*(Books(house.db).create() for _ in range(3)))
    assert await house.db["periods"].find({}).to_list(None) == before


async def test_what_is_stored_comes_back(house: House, ledger: Ledger) -> None:
    """Wallets, redemptions and entries are read as what was decided."""
    await house.publish(benefit("video/film", 10, member_limit=3))
    await ledger.submit(enrol("video"))
    awarded = await ledger.submit(award("video", 30, expires=await house.soon(days=3), reason="ride"))
    redeemed = await ledger.submit(redeem("video/film", 2))
    first = await house.books.first_round([awarded.entry.id, redeemed.entry.id], ["video:ann"], ["video/film"])
    second = await house.books.second_round([redeemed.wallet.id], [redeemed.entry.id], [], {})
    assert first.entries == {awarded.entry.id: awarded.entry, redeemed.entry.id: redeemed.entry}
    assert first.references == {"video:ann": redeemed.wallet.id}
    assert second.wallets == {redeemed.wallet.id: redeemed.wallet}
    assert second.redemptions == {redeemed.entry.id: redeemed.redemption}
    assert replace(redeemed.wallet, taken={}) != redeemed.wallet
    await ledger.stop()
    await house.prove()


async def test_codes_that_nobody_else_takes_are_not_passed_over_for_ever(house: House) -> None:
    """The codes of a lane that has no owner stay in the pool; another's question does not grow with them."""
    await house.db["codes"].insert_many([
        {"_id": f"code-{n}", "benefit": "b", "n": n, "free": True, "cipher": b"", "redemption": None}
        for n in [*range(0, 2_000, 2), *range(1_900, 2_010)]
        if n < 1_900 or n % 2 or n >= 2_000
    ])  # fmt: skip
    await house.db.command("profile", 2)
    found = await house.books.second_round([], [], [], {"b": 5}, lane=1, lanes=2)
    await house.db.command("profile", 0)
    asked = await house.db["system.profile"].find_one({"command.aggregate": "periods"})
    assert len(found.codes["b"]) == 5
    assert asked is not None
    assert asked["keysExamined"] < 100


async def test_two_lanes_want_other_codes_to_the_last(house: House) -> None:
    """Each begins with its own, and goes on with the other's from the far end; together they can have all."""
    await house.db["codes"].insert_many([
        {"_id": f"code-{n}", "benefit": "b", "n": n, "free": True, "cipher": b"", "redemption": None} for n in range(10)
    ])  # fmt: skip
    wanted = [
        [name for name, _ in (await house.books.second_round([], [], [], {"b": 8}, lane=lane, lanes=2)).codes["b"]]
        for lane in (1, 2)
    ]
    assert wanted == [[f"code-{n}" for n in row] for row in ((1, 3, 5, 7, 9, 8, 6, 4), (0, 2, 4, 6, 8, 9, 7, 5))]
