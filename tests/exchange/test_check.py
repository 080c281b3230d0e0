"""A database with real traffic passes; each corruption is found by the invariant it breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from exchange.amounts import Money
from exchange.batch import Outcome
from exchange.benefit import Fulfilment
from exchange.check import check
from exchange.commands import Sharing
from exchange.exposure import Pair
from exchange.journal import EXCHANGE
from exchange.ledger import Ledger
from exchange.proof import TITLES
from exchange.redemption import Step
from exchange.rules import AwardReversal, Rules
from exchange.settlement.clearing import Settlement
from exchange.settlement.dispute import Asked, DisputeReason, DisputeStep
from exchange.settlement.disputing import Disputing, Opening
from exchange.settlement.netted import PlanKind
from exchange.settlement.reconciliation import Booked, Tolerance
from exchange.settlement.recorded import Wish
from exchange.settlement.recording import Asked as NettingAsked
from exchange.settlement.recording import Recording
from exchange.settlement.signoff import Asked as Signing
from exchange.settlement.signoff import SignOffStep
from exchange.store import audit
from exchange.store.connection import Database, Document, connect, database, settled
from exchange.store.headroom import Headroom
from exchange.store.reconciliation import Reconciliation
from exchange.store.signoff import SignOff
from tests.exchange.conftest import KEYRING, House, answers, house_on, known
from tests.exchange.speech import (
    act,
    adjust,
    agreement,
    award,
    benefit,
    by_reference,
    expire,
    extend,
    freeze,
    give,
    merge,
    redeem,
    reserve,
    reverse_award,
    share,
    unlink,
    unmerge,
)
from tests.exchange.test_evidence import SEAL

TERMS = (
    agreement("video", "rides", 805, fee=130, commission=250),
    agreement("delivery", "rides", 411, commission=100),
    agreement("rides", "video", 1_999, "JPY", fee=50),
)


async def traffic(house: House) -> Ledger:
    """Two processes, three partners, one of them capped, a dozen members, one period closed and one open."""
    first, second = await house.ledger(), await house.ledger()
    await house.agree(*TERMS)
    trip, film = benefit("rides/trip", 70, stock=100), benefit("video/film", 30, member_limit=9)
    voucher = benefit("video/voucher", 10, fulfilment=Fulfilment.INSTANT_CODE)
    seat = benefit("rides/seat", 7, stock=100, fulfilment=Fulfilment.PARTNER_CALL)
    await house.publish(trip, film, voucher, seat)
    await house.catalog.add_codes("video", "voucher", [f"code-{n}" for n in range(30)])
    soon = await house.soon(hours=1)
    names = [f"member-{n}" for n in range(12)]
    wallets = [await known(first, "video", "rides", "delivery", reference=name) for name in names]
    given = [
        award(issuer, 100 + n, whose=by_reference(issuer, name), expires=soon if n % 2 else None)
        for n, name in enumerate(names) for issuer in ("video", "rides", "delivery")
    ]  # fmt: skip
    await answers(first, *given)
    await first.submit(award("video", 10**15, whose=by_reference("video", "rich")))  # more than 32 bits
    await first.submit(redeem("video/film", whose=by_reference("video", "rich")))
    mayfly = by_reference("video", "mayfly")
    dying = await first.submit(award("video", 5, whose=mayfly, expires=await house.soon(seconds=0.3)))
    # Two lots alike, of which the first is spent: had the second had an end, it would have been its turn.
    twice = by_reference("rides", "twice")
    for key in ("lot-spent", "lot-kept"):
        await first.submit(award("rides", 300, whose=twice, key=key))
    await first.submit(redeem(trip, through="rides", whose=twice))

    async def spend(ledger: Ledger, number: int) -> None:
        what, channel = (trip, film, voucher, film)[number % 4], ("video", "delivery", "rides")[number % 3]
        await answers(ledger, redeem(what, through=channel, whose=by_reference(channel, names[number % 12])))

    await asyncio.gather(*(spend((first, second)[n % 2], n) for n in range(40)))
    settlement = Settlement(house.db, KEYRING)
    await settlement.close(1)
    await netted(house, settlement)
    await Headroom(house.db).set_cap(Pair("video", "EUR"), 10**6, actor="ada")
    await asyncio.gather(*(spend((first, second)[n % 2], n) for n in range(30)))
    await lives(first, second)
    await points(house, first, second)
    await quarrel(house, second)
    await paid(house)
    await first.submit(unlink("delivery", wallets[3], through="rides"))
    await asyncio.sleep(0.3)
    await first.submit(expire(dying.entry.id, dying.wallet.id))
    return first


async def netted(house: House, settlement: Settlement) -> None:
    """Record the netting of period 1, from which what is less than 1,000 EUR is carried."""
    wish = Wish(plan=PlanKind.EXCHANGE, minimums={"EUR": 100_000}, groups={"video": ("delivery",)})
    asked = NettingAsked(period=1, wish=wish, actor="ada", key="netted", fingerprint="")
    await Recording(house.db, settlement).record(asked, SEAL)


async def quarrel(house: House, ledger: Ledger) -> None:
    """Let video dispute two lines of period 1: one dispute is upheld in part and carried out, one is answered."""
    disputing, settlement = Disputing(house.db, ledger, KEYRING), Settlement(house.db, KEYRING)
    statement = await settlement.statement("1:video")
    assert statement is not None
    lines = [line for line in await settlement.lines(statement, limit=100) if abs(line.net.minor) > 1]

    def asked(step: DisputeStep, n: int, party: str, award: Money | None = None) -> Asked:
        return Asked(step=step, party=party, actor="ada", key=f"{step} {n}", fingerprint="", text="so", award=award)

    for n, line in enumerate(lines[:2]):
        wish = Opening(
            statement=statement.id, entry=line.entry, line=line.place.n, reason=DisputeReason.OTHER,
            claim=line.net._replace(minor=abs(line.net.minor)),
        )  # fmt: skip
        opened = (await disputing.open(wish, asked(DisputeStep.OPEN, n, "video"))).dispute
        await disputing.step(opened.id, asked(DisputeStep.ANSWER, n, line.counterparty))
        if n == 0:
            award = opened.claim._replace(minor=opened.claim.minor - 1)
            await disputing.step(opened.id, asked(DisputeStep.UPHOLD, n, EXCHANGE, award))


async def paid(house: House) -> None:
    """Instruct a statement of period 1, and find it paid: the most of it by what somebody said, the rest by a match."""
    settlement, sign_off, reconciliation = Settlement(house.db, KEYRING), SignOff(house.db), Reconciliation(house.db)
    statement = await settlement.statement("1:video")
    assert statement is not None
    for step, actor in ((SignOffStep.REVIEW, "ada"), (SignOffStep.APPROVE, "ben"), (SignOffStep.INSTRUCT, "ada")):
        await sign_off.sign(
            Signing(step=step, statement=statement.id, hash=statement.hash, actor=actor, key=step, fingerprint="")
        )
    due = (await reconciliation.dues())[0]
    part = 1 if due.amount.minor > 0 else -1

    async def filed(name: str, *lines: tuple[int, str, tuple[str, ...]]) -> None:
        booked = tuple(
            Booked(n, n, Money(minor, due.amount.currency), due.since, bank, names)
            for n, (minor, bank, names) in enumerate(lines, 1)
        )
        await reconciliation.file(name, sha256(name.encode()).hexdigest(), booked, "ada", Tolerance())

    await filed("one", (due.amount.minor - part, "b1", (due.reference,)), (7, "", ("unknown",)))
    await reconciliation.resolve("1-1", "the rest will follow", "ben", due.reference)
    await reconciliation.resolve("1-2", "the bank's own", "ben")
    await filed("two", (due.amount.minor - part, "b1", (due.reference,)), (part, "b2", (due.reference,)))


async def lives(first: Ledger, second: Ledger) -> None:
    """Take redemptions every way that there is, and leave some of them open, half returned or held."""
    eve = by_reference("video", "eve")
    for points in (400, 400, 200):
        await first.submit(award("video", points, whose=eve))
    ways: dict[str, list[tuple[Step, int | None]]] = {
        "open": [], "cancelled": [(Step.CANCEL, None)], "confirmed": [(Step.CONFIRM, 2)],
        "done": [(Step.CONFIRM, 3), (Step.FULFIL, None)], "failed": [(Step.CONFIRM, None), (Step.FAIL, None)],
        "half": [(Step.CONFIRM, None), (Step.REVERSE, 1), (Step.FULFIL, None), (Step.REVERSE, 1)],
        "back": [(Step.CONFIRM, 2), (Step.REVERSE, 1), (Step.REVERSE, 1)],
    }  # fmt: skip
    for name, steps in ways.items():
        made = (await first.submit(reserve("rides/seat", 3, whose=eve, key=name, ttl=3_600))).redemption
        for number, (step, quantity) in enumerate(steps):
            await (second, first)[number % 2].submit(act(step, made, quantity, key=f"{name}-{number}"))
    codes = (await first.submit(reserve("video/voucher", 3, whose=eve, ttl=3_600, key="codes"))).redemption
    await second.submit(act(Step.CONFIRM, codes, 2))
    await first.submit(reserve("video/voucher", 1, whose=eve, ttl=3_600, key="code-held"))


async def points(house: House, first: Ledger, second: Ledger) -> None:
    """Let everything happen to points that can: debts, more time, goodwill, freezing, gifts, households and merges."""
    await house.terms.set_rules(Rules(partner="video", gift_day_points=500, award_reversal=AwardReversal.DEBT))
    soon, later = await house.soon(hours=1), await house.soon(hours=9)
    fay, gus, hal = (by_reference("video", name) for name in ("fay", "gus", "hal"))
    for whose in (fay, gus, hal):
        await first.submit(award("video", 300, whose=whose, key=whose.reference, expires=later))
    told = [
        *await answers(
            first, redeem("video/film", 2, whose=fay), reverse_award("fay", 290, whose=fay, key="debt"),
            award("video", 20, whose=fay, key="repaying"), award("video", 9, whose=gus, active=soon),
            adjust("video", 15, whose=gus, key="kind"), adjust("video", -5, whose=gus, key="unkind"),
            share(Sharing.FOUND, "pool", whose=gus, key="pool"), share(Sharing.JOIN, "pool", whose=fay, key="joined"),
        ),
        *await answers(
            second, extend("hal", None, whose=hal, key="longer"), give(40, gus, whose=hal, key="gift"),
            share(Sharing.PAY_IN, "pool", 50, whose=gus), share(Sharing.DRAW, "pool", 20, whose=fay, key="drawn"),
            share(Sharing.LEAVE, "pool", whose=fay), freeze("gus", whose=gus, key="lot-frozen"),
        ),
    ]  # fmt: skip
    assert all(isinstance(one, Outcome) for one in told), told
    ida = await known(first, "rides", reference="ida")
    await first.submit(award("rides", 30, whose=by_reference("rides", "ida")))
    merged = await first.submit(merge(ida, whose=hal, asked_through="rides", key="merged"))
    await second.submit(unmerge(ida, merged.entry.wallet, through="exchange"))
    await second.submit(merge(ida, whose=hal, asked_through="rides"))
    await first.submit(freeze(whose=fay, key="member-frozen"))


async def test_real_traffic_holds_every_invariant(house: House) -> None:
    """What the ledger wrote, through two lanes, a closed period and an open one, is proved, and not vacuously."""
    await traffic(house)
    told: list[tuple[str, int, int | None]] = []
    proofs = await check(house.db, KEYRING, lambda *progress: told.append(progress))
    assert [proof.line() for proof in proofs if not proof.holds] == []
    assert [proof.number for proof in proofs] == list(TITLES)
    assert all(proof.judged > 0 for proof in proofs)
    assert {what for what, _, _ in told} == {"wallets", "blocks"}


async def test_an_empty_exchange_holds_every_invariant(house: House) -> None:
    """Before the first ledger starts there is nothing to be wrong."""
    await house.prove()


async def test_a_check_is_right_while_members_redeem(house: House) -> None:
    """Checks that race with two busy ledgers, and with a period closing under them, raise no false alarm."""
    first = await traffic(house)
    second = house.ledgers[1]
    going = True

    async def busy(ledger: Ledger, name: str) -> None:
        while going:
            await answers(
                ledger, award("video", 40, whose=by_reference("video", name)),
                redeem("video/film", through="rides", whose=by_reference("rides", name)),
                redeem("rides/trip", through="video", whose=by_reference("video", name)),
                redeem("video/voucher", whose=by_reference("video", name)),
                award("video", 7, whose=by_reference("video", f"{name}-{asyncio.get_running_loop().time()}")),
            )  # fmt: skip
            for what in ("rides/seat", "video/voucher"):
                held = (await answers(ledger, reserve(what, 2, whose=by_reference("video", name))))[0]
                if isinstance(held, Outcome):
                    for step in (Step.CONFIRM, Step.REVERSE, Step.FAIL, Step.FULFIL):
                        await answers(ledger, act(step, held.redemption, 1))

    members = [asyncio.create_task(busy((first, second)[n % 2], f"member-{n}")) for n in range(8)]
    try:
        for round_ in range(4):
            assert await house.broken(None) == {}
            if round_ == 1:
                await Settlement(house.db, KEYRING).close(2)
    finally:
        going = False
        await asyncio.gather(*members)
    await house.prove()


Corrupt = Callable[[Database], Awaitable[Any]]


def set_in(collection: str, query: Document, change: Document) -> Corrupt:
    """Change one document behind everybody's back."""

    async def corrupt(db: Database) -> None:
        found = await db[collection].find_one(query)
        assert found is not None, "nothing to corrupt"
        await db.command("collMod", collection, validationLevel="off")
        await db[collection].update_one({"_id": found["_id"]}, change)

    return corrupt


def remove(collection: str, query: Document) -> Corrupt:
    """Delete one document."""

    async def corrupt(db: Database) -> None:
        assert (await db[collection].delete_one(query)).deleted_count == 1, "nothing to corrupt"

    return corrupt


DATE = {"$type": "date"}
REDEEMED = {"kind": "REDEEM", "benefit": "rides/trip"}
OWING = {"kind": "REDEEM", "debits.0.owed": {"$gt": 10}}


async def give_a_code_twice(db: Database) -> None:
    one, other = await db["redemptions"].find({"benefit": "video/voucher"}).limit(2).to_list(None)
    await db["redemptions"].update_one({"_id": other["_id"]}, {"$set": {"codes": one["codes"]}})


async def consume_out_of_order(db: Database) -> None:
    """Let the lot that was kept have an end, which the one that was spent had not."""
    await set_in("entries", {"_id": "lot-kept"}, {"$set": {"detail": {"expires_at": "2999-01-01T00:00:00.000Z"}}})(db)


async def owe_another_cent(db: Database) -> None:
    """Let a block say that an issuer owes a cent more than its entries do."""
    async for block in db["blocks"].find({"kind": "ENTRIES"}):
        for row in block["sums"]:
            if row[0] == "money":
                gross = 6  # after kind, issuer, provider, channel, currency and points
                row[gross] = str(int(row[gross]) + 1)
                await db["blocks"].replace_one({"_id": block["_id"]}, block)
                return
    raise AssertionError("nothing to corrupt")


async def draft_too_early(db: Database) -> None:
    """Let there be a statement of the open period."""
    statement = await db["statements"].find_one({})
    assert statement is not None
    await db["statements"].insert_one(statement | {"_id": f"2:{statement['partner']}", "period": 2})


CORRUPTIONS: dict[str, tuple[int, Corrupt]] = {
    "an amount of an entry": (1, set_in("entries", {"kind": "AWARD"}, {"$inc": {"postings.0.amount": 1}})),
    "a posting dropped": (1, set_in("entries", REDEEMED, {"$pop": {"postings": 1}})),
    "an entry's time": (9, set_in("entries", REDEEMED, {"$currentDate": {"at": True}})),
    "an entry's period": (9, set_in("entries", REDEEMED, {"$inc": {"period": 1}})),
    "an entry's fingerprint": (9, set_in("entries", REDEEMED, {"$set": {"fingerprint": "another"}})),
    "an entry's salt": (9, set_in("entries", REDEEMED, {"$set": {"salt": b"x" * 16}})),
    "an entry moved to another place": (9, set_in("entries", REDEEMED, {"$inc": {"index": 1000}})),
    "an entry moved out of all blocks": (9, set_in("entries", REDEEMED, {"$inc": {"seq": 1_000_000}})),
    "an entry moved to a lane that is not there": (9, set_in("entries", REDEEMED, {"$set": {"lane": 77}})),
    "an entry deleted": (9, remove("entries", {"kind": "AWARD"})),
    "a redemption's entry deleted": (5, remove("entries", REDEEMED)),
    "a redemption deleted": (5, remove("redemptions", {"benefit": "rides/trip"})),
    "a redemption's points": (3, set_in("redemptions", {}, {"$inc": {"points": 1}})),
    "a redemption's period": (3, set_in("redemptions", {}, {"$inc": {"period": 1}})),
    "a redemption's row": (3, set_in("redemptions", {"debits.owed": {"$gt": 0}}, {"$inc": {"debits.0.fee": 1}})),
    "a redemption's version": (3, set_in("redemptions", {"_id": "done"}, {"$inc": {"version": -1}})),
    "a redemption's future": (3, set_in("redemptions", {"_id": "open"}, {"$inc": {"version": 1}})),
    "a redemption delivered": (3, set_in("redemptions", {"_id": "confirmed"}, {"$set": {"status": "FULFILLED"}})),
    "a redemption's status": (3, set_in("redemptions", {"_id": "open"}, {"$set": {"status": "CANCELLED"}})),
    "a cancelled redemption": (3, set_in("redemptions", {"_id": "cancelled"}, {"$set": {"status": "RESERVED"}})),
    "units returned": (3, set_in("redemptions", {"_id": "half"}, {"$inc": {"returned": -1}})),
    "a reservation's deadline": (3, set_in("redemptions", {"_id": "open"}, {"$currentDate": {"reserved_until": True}})),
    "a reservation's price": (3, set_in("redemptions", {"_id": "open"}, {"$inc": {"debits.0.owed": 1}})),
    "a redemption's takes": (3, set_in("redemptions", {"_id": "confirmed"}, {"$inc": {"takes.0.2": 1}})),
    "a redemption that cannot be read": (5, set_in("redemptions", {"_id": "open"}, {"$unset": {"takes": ""}})),
    "points held no longer": (8, set_in("wallets", {"lots.0.held": {"$gt": 0}}, {"$inc": {"lots.0.held": -1}})),
    "points held elsewhere": (
        8, set_in("wallets", {"lots.0.held": {"$gt": 0}}, {"$inc": {"lots.0.held": -1, "lots.2.held": 1}})
    ),
    "points restored": (2, set_in("wallets", {"lots.0.restored": {"$gt": 0}}, {"$inc": {"lots.0.restored": 1}})),
    "what an entry holds": (8, set_in("entries", {"_id": "open"}, {"$inc": {"holds.0.2": 1}})),
    "what an entry lets go": (8, set_in("entries", {"_id": "cancelled-0"}, {"$inc": {"holds.0.2": 1}})),
    "a reservation's entry deleted": (5, remove("entries", {"_id": "open"})),
    "a hold whose end is deleted": (8, remove("entries", {"_id": "cancelled-0"})),
    "a step of another kind": (8, set_in("entries", {"_id": "done-1"}, {"$set": {"kind": "CANCEL"}})),
    "a step of another redemption": (8, set_in("entries", {"_id": "done-1"}, {"$set": {"redemption": "open"}})),
    "more returned than was taken": (8, set_in("entries", {"_id": "back-1"}, {"$set": {"quantity": 3}})),
    "money that goes back": (7, set_in("entries", {"_id": "back-1"}, {"$inc": {"debits.0.owed": -1}})),
    "a version that was promised": (7, set_in("entries", {"_id": "open"}, {"$set": {"detail.agreements": "none"}})),
    "a version that was not promised": (7, set_in("entries", {"_id": "done"}, {"$set": {"detail.agreements": "-"}})),
    "where it led": (3, set_in("entries", {"_id": "confirmed-0"}, {"$set": {"detail.status": "FULFILLED"}})),
    "units on the shelf": (11, set_in("shelves", {"benefit": "rides/seat"}, {"$inc": {"sold": -1, "left": 1}})),
    "a reserved unit freed": (8, set_in("shelves", {"benefit": "rides/seat"}, {"$inc": {"reserved": -1, "left": 1}})),
    "a code freed for a hold": (11, set_in("stock", {"_id": "video/voucher"}, {"$inc": {"free": 1}})),
    "a block deleted": (9, remove("blocks", {"kind": "ENTRIES"})),
    "a cut deleted": (9, remove("blocks", {"kind": "CUT"})),
    "a genesis deleted": (9, remove("blocks", {"seq": 0})),
    "a block's time": (9, set_in("blocks", {"kind": "ENTRIES"}, {"$currentDate": {"at": True}})),
    "a block's count": (9, set_in("blocks", {"kind": "ENTRIES"}, {"$inc": {"count": 1}})),
    "a block's hash": (9, set_in("blocks", {"kind": "ENTRIES"}, {"$set": {"hash": "0" * 64}})),
    "a block's period": (9, set_in("blocks", {"kind": "ENTRIES"}, {"$inc": {"period": 1}})),
    "a block's kind": (9, set_in("blocks", {"kind": "CUT"}, {"$set": {"kind": "VOID"}})),
    "a block that cannot be read": (9, set_in("blocks", {"kind": "ENTRIES"}, {"$set": {"kind": "NONE"}})),
    "a block moved within its lane": (9, set_in("blocks", {"kind": "ENTRIES"}, {"$inc": {"seq": 1}})),
    "a block's sums": (9, owe_another_cent),
    "a block's sums, in positions": (10, owe_another_cent),
    "a block's sums salt": (9, set_in("blocks", {"sums": {"$ne": []}}, {"$set": {"sums_salt": b"x" * 16}})),
    "points in a lot": (2, set_in("wallets", {}, {"$inc": {"lots.0.remaining": 1}})),
    "points moved within a lot": (3, set_in("wallets", {}, {"$inc": {"lots.0.remaining": 1, "lots.0.redeemed": -1}})),
    "a lot's expiry": (3, set_in("wallets", {"lots.0.expires_at": DATE}, {"$set": {"lots.0.expires_at": None}})),
    "the order of consumption": (6, consume_out_of_order),
    "points held by nothing": (8, set_in("wallets", {"lots.0.remaining": {"$gt": 0}}, {"$inc": {"lots.0.held": 1}})),
    "a lot dropped": (3, set_in("wallets", {}, {"$pop": {"lots": 1}})),
    "a limit counter": (3, set_in("wallets", {"taken.0": {"$exists": True}}, {"$set": {"taken.0.1": 99}})),
    "a link's daily limit": (3, set_in("wallets", {}, {"$set": {"links.0.daily_limit": 5}})),
    "a wallet's version": (3, set_in("wallets", {}, {"$inc": {"version": -1}})),
    "a wallet's future": (3, set_in("wallets", {}, {"$inc": {"version": 1}})),
    "a wallet deleted": (3, remove("wallets", {})),
    "a wallet that cannot be read": (3, set_in("wallets", {}, {"$unset": {"lots": ""}})),
    "a reference of another wallet": (3, set_in("references", {}, {"$set": {"wallet": "another"}})),
    "a reference deleted": (3, remove("references", {})),
    "units sold": (11, set_in("shelves", {"benefit": "video/film"}, {"$inc": {"sold": 1}})),
    "units left": (11, set_in("stock", {"_id": "rides/trip"}, {"$inc": {"free": -1}})),
    "units held by nothing": (8, set_in("shelves", {"benefit": "rides/trip"}, {"$inc": {"reserved": 1, "left": -1}})),
    "units left on a shelf": (11, set_in("shelves", {"benefit": "rides/trip"}, {"$inc": {"left": 1}})),
    "stock deleted": (11, remove("stock", {"_id": "video/film"})),
    "a shelf deleted": (11, remove("shelves", {"benefit": "video/film"})),
    "a code freed": (11, set_in("codes", {"free": None}, {"$set": {"free": True, "redemption": None}})),
    "a code of another redemption": (11, set_in("codes", {"free": None}, {"$set": {"redemption": "another"}})),
    "a code lost": (11, remove("codes", {"free": True})),
    "a code given twice": (11, give_a_code_twice),
    "a period's root": (9, set_in("periods", {"_id": 1}, {"$set": {"root": "0" * 64}})),
    "a period's range": (9, set_in("periods", {"_id": 1}, {"$inc": {"ranges.0.last": -1}})),
    "a period deleted": (9, remove("periods", {"_id": 2})),
    "a period opened again": (10, set_in("periods", {"_id": 1}, {"$set": {"status": "OPEN"}})),
    "a statement's total": (10, set_in("statements", {}, {"$set": {"totals.0.payable": "123456"}})),
    "a statement's hash": (10, set_in("statements", {}, {"$set": {"hash": "0" * 64}})),
    "a statement's lines": (10, set_in("statements", {}, {"$inc": {"lines": 1}})),
    "a statement deleted": (10, remove("statements", {})),
    "an entry in the wrong statements": (10, set_in("entries", OWING, {"$set": {"settles": ["delivery"]}})),
    "what a row owes": (7, set_in("entries", OWING, {"$inc": {"debits.0.owed": 1}})),
    "a fee": (7, set_in("entries", {"debits.0.fee": {"$gt": 0}}, {"$inc": {"debits.0.fee": 1}})),
    "headroom used": (12, set_in("headroom", {"pool": {"$exists": True}}, {"$inc": {"used": 1, "granted": 1}})),
    "headroom granted": (12, set_in("headroom", {"pool": {"$exists": False}}, {"$inc": {"granted": 1}})),
    "an agreement's price": (7, set_in("agreements", {"issuer": "video"}, {"$inc": {"price.minor": 100}})),
    "a debt": (3, set_in("wallets", {"debts.0": {"$exists": True}}, {"$set": {"debts.0.1": 5}})),
    "a debt forgiven": (3, set_in("wallets", {"debts.0": {"$exists": True}}, {"$set": {"debts": []}})),
    "what is owed of a lot": (3, set_in("wallets", {"lots.0.owed": {"$gt": 0}}, {"$inc": {"lots.0.owed": -1}})),
    "what was withdrawn": (2, set_in("wallets", {"lots.0.withdrawn": {"$gt": 0}}, {"$inc": {"lots.0.withdrawn": 1}})),
    "what an entry made a debt": (2, set_in("entries", {"_id": "debt"}, {"$set": {"detail.debt": "61"}})),
    "what an award repaid": (2, set_in("entries", {"_id": "repaying"}, {"$set": {"detail.repaid": "19"}})),
    "which lot was taken back": (2, set_in("entries", {"_id": "debt"}, {"$set": {"detail.lot": "repaying"}})),
    "which lot got more time": (2, set_in("entries", {"_id": "longer"}, {"$set": {"detail.lot": "gus"}})),
    "how much time": (3, set_in("entries", {"_id": "longer"}, {"$set": {"detail.expires_at": "2999-01-01T00:00:00Z"}})),
    "a lot's beginning": (3, set_in("wallets", {"lots.active_from": DATE}, {"$set": {"lots.$[].active_from": None}})),
    "a goodwill's actor": (3, set_in("entries", {"_id": "kind"}, {"$unset": {"detail.actor": ""}})),
    "whose goodwill it was": (4, set_in("entries", {"_id": "kind"}, {"$set": {"postings.1.party": "rides"}})),
    "a member thawed": (3, set_in("wallets", {"frozen": True}, {"$set": {"frozen": False}})),
    "a lot thawed": (3, set_in("wallets", {"lots.frozen_by": "exchange"}, {"$set": {"lots.$[].frozen_by": None}})),
    "a freezing deleted": (3, remove("entries", {"_id": "member-frozen"})),
    "which lot was frozen": (3, set_in("entries", {"_id": "lot-frozen"}, {"$set": {"detail.lot": "hal"}})),
    "who got a gift": (3, set_in("entries", {"_id": "gift"}, {"$set": {"counterpart": "another"}})),
    "a gift's other version": (3, set_in("entries", {"_id": "gift"}, {"$inc": {"counterpart_version": 1}})),
    "when a gift expires": (3, set_in("entries", {"_id": "gift"}, {"$set": {"detail.expire": "2999-01-01T00:00:00Z"}})),
    "a gift deleted": (3, remove("entries", {"_id": "gift"})),
    "what was given today": (3, set_in("wallets", {"given.0": {"$exists": True}}, {"$set": {"given": []}})),
    "a pool's members": (3, set_in("wallets", {"_id": "pool"}, {"$set": {"members": []}})),
    "a member's household": (3, set_in("wallets", {"household": "pool"}, {"$set": {"household": None}})),
    "a pool deleted": (3, remove("wallets", {"_id": "pool"})),
    "who drew": (3, set_in("entries", {"_id": "drawn"}, {"$set": {"counterpart": "another"}})),
    "a joining deleted": (3, remove("entries", {"_id": "joined"})),
    "what a merge moved": (3, set_in("entries", {"_id": "merged"}, {"$set": {"detail.moved": "{}"}})),
    "into whom somebody was merged": (
        3, set_in("wallets", {"merged_into": {"$ne": None}}, {"$set": {"merged_into": "another"}})
    ),
    "an agreement deleted": (7, remove("agreements", {"issuer": "video"})),
    "when to look for what expires": (3, set_in("wallets", {"next_expiry": DATE}, {"$set": {"next_expiry": None}})),
    "a field that nobody wrote": (3, set_in("wallets", {}, {"$set": {"note": "a word"}})),
    "a movement's amount": (16, set_in("reconciliations", {"_id": 4}, {"$set": {"lines.1.amount.minor": "12345"}})),
    "a movement on no pile": (16, set_in("reconciliations", {"_id": 4}, {"$set": {"known": []}})),
    "a movement on two piles": (16, set_in("reconciliations", {"_id": 4}, {"$push": {"known": 2}})),
    "a movement that was not there before": (
        16, set_in("reconciliations", {"_id": 1}, {"$set": {"known": [2], "exceptions.1.lines": []}})
    ),
    "a movement counted again": (16, set_in("reconciliations", {"_id": 4}, {"$set": {"lines.1.bank": "b1"}})),
    "what was found": (16, set_in("reconciliations", {"_id": 4}, {"$set": {"found.0.minor": "0"}})),
    "a match taken out": (16, set_in("reconciliations", {"_id": 4}, {"$set": {"matches": [], "found": []}})),
    "what was due": (16, set_in("reconciliations", {"_id": 4}, {"$set": {"matches.0.dues.0.whole.minor": "1"}})),
    "an answer about nothing": (16, set_in("reconciliations", {"_id": 3}, {"$set": {"exception": "9-9"}})),
    "an answer that pays something else": (
        16, set_in("reconciliations", {"_id": 2}, {"$set": {"pays": "1:nobody:EUR"}})
    ),
    "an answer taken out": (16, remove("reconciliations", {"_id": 2})),
    "a bank's file taken out": (16, remove("reconciliations", {"_id": 1})),
    "a file's hash": (16, set_in("reconciliations", {"_id": 1}, {"$set": {"hash": "none"}})),
    "a statement that was never instructed": (
        16, set_in("statements", {"_id": "1:video"}, {"$set": {"status": "APPROVED"}})
    ),
    "a statement too early": (10, draft_too_early),
    "how many statements there are": (10, set_in("periods", {"_id": 1}, {"$inc": {"statements": 1}})),
    "the units that a benefit says": (11, set_in("benefits", {"_id": "rides/seat"}, {"$inc": {"stock": 1}})),
    "a code neither free nor given": (11, set_in("codes", {"free": True}, {"$unset": {"free": ""}})),
    "a cap that its pool does not say": (12, set_in("headroom", {"cap": {"$gt": 0}}, {"$set": {"cap": None}})),
    "a pool deleted that is capped": (12, remove("headroom", {"cap": {"$gt": 0}})),
    "what a netting carries": (15, set_in("nettings", {}, {"$set": {"carried.0.minor": "1"}})),
    "by what a period was netted": (15, set_in("nettings", {}, {"$set": {"groups": []}})),
    "what a netting follows": (15, set_in("nettings", {}, {"$set": {"follows": 7}})),
    "which root was netted": (15, set_in("nettings", {}, {"$set": {"root": "5e" * 32}})),
    "what was granted beyond a cap": (12, set_in("headroom", {"cap": {"$gt": 0}}, {"$inc": {"over": 1}})),
}  # fmt: skip


@pytest.fixture(scope="module")
async def busy(mongo_url: str) -> AsyncIterator[tuple[House, dict[str, list[Document]]]]:
    """Give one exchange with traffic, and all that is in it, to be put back after each corruption."""
    client = connect(mongo_url)
    name = f"test_{uuid4().hex}"
    house = house_on(database(client, name))
    await house.books.create()
    await traffic(house)
    for ledger in house.ledgers:
        await ledger.stop()
    content = {name: await house.db[name].find({}).to_list(None) for name in await house.db.list_collection_names()}
    yield house, content
    await client.drop_database(name)
    await settled(client.close())


@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_what_was_altered_is_found(busy: tuple[House, dict[str, list[Document]]], what: str) -> None:
    """Whatever is changed behind the ledger's back breaks the invariant that speaks of it, and is named."""
    house, content = busy
    invariant, corrupt = CORRUPTIONS[what]
    await corrupt(house.db)
    try:
        broken = await house.broken()
    finally:
        await put_back(house, content)
    assert invariant in broken, broken


SPOILED = {
    "wallets": 3, "references": 3, "redemptions": 5, "entries": 1, "blocks": 9, "agreements": 7, "rules": 3,
    "periods": 9, "statements": 10, "stock": 11, "shelves": 11, "codes": 11, "headroom": 12,
    "disputes": 14, "nettings": 15, "reconciliations": 16,
}  # fmt: skip
"""Collections, and the invariant that is broken when what is in them cannot be read."""


@pytest.mark.parametrize("instead", ["a word", None, {}], ids=["word", "nothing", "document"])
@pytest.mark.parametrize("collection", SPOILED)
async def test_whatever_is_spoiled_is_named(
    busy: tuple[House, dict[str, list[Document]]], collection: str, instead: object
) -> None:
    """Every field of every kind of document, with something in its place that it cannot be: no check breaks off."""
    house, content = busy
    await house.db.command("collMod", collection, validationLevel="off")
    all_broken = set[int]()
    for spoiling in _rounds(content[collection]):
        spoil = [UpdateOne({"_id": one}, {"$set": {path: instead}}) for one, path in spoiling.items()]
        with suppress(BulkWriteError):  # of two entries at the same place the database refuses one
            await house.db[collection].bulk_write(spoil, ordered=False)
        try:
            all_broken |= (await house.broken()).keys()
        finally:
            await put_back(house, content)
    assert SPOILED[collection] in all_broken


def _rounds(documents: Sequence[Document]) -> list[dict[Any, str]]:
    """Spread the paths of all fields over documents that have them, at most one to a document in each round."""
    having: dict[tuple[str, str], list[Any]] = {}
    for document in documents:
        for path in _paths(document):
            having.setdefault((document.get("kind", ""), path), []).append(document["_id"])
    rounds: list[dict[Any, str]] = []
    busy = Counter[Any]()
    for (_, path), owners in having.items():
        one = min(owners, key=lambda owner: busy[owner])
        if busy[one] == len(rounds):
            rounds.append({})
        rounds[busy[one]][one] = path
        busy[one] += 1
    return rounds


def _paths(inside: Any, before: str = "") -> Iterator[str]:
    """Yield the paths of all fields but the identity, and of what is in them; of a list's elements the first's."""
    named = inside.items() if isinstance(inside, dict) else enumerate(inside[:1])
    for name, value in named:
        if name != "_id":
            yield f"{before}{name}"
            if isinstance(value, dict | list):
                yield from _paths(value, f"{before}{name}.")


async def test_a_check_of_nothing_but_a_journal_names_everything_that_is_gone(
    busy: tuple[House, dict[str, list[Document]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: what is missing is asked for in pieces, and all of it is counted."""
    house, content = busy
    monkeypatch.setattr(audit, "_NAMES_AT_ONCE", 7)
    for name in ("wallets", "redemptions"):
        await house.db[name].delete_many({})
    try:
        wrong = {proof.number: proof.wrong_count for proof in await check(house.db, KEYRING)}
    finally:
        await put_back(house, content)
    assert wrong[3] >= len(content["wallets"]) > 7
    assert wrong[5] == len(content["redemptions"]) > 7


async def put_back(house: House, content: dict[str, list[Document]]) -> None:
    """Let everything be as it was before it was altered."""
    for name, documents in content.items():
        if documents and await house.db[name].find({}).to_list(None) != documents:
            await house.db[name].delete_many({})
            await house.db[name].insert_many(documents)


async def test_what_was_put_back_is_whole(busy: tuple[House, dict[str, list[Document]]]) -> None:
    """After all corruptions are undone nothing is wrong: none of them was found by accident."""
    house, _ = busy
    await house.prove()
