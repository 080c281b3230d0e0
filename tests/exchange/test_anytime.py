"""What was, and wallets made again from the journal, on a real MongoDB."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.anytime import AnyTime, Rebuilt
from exchange.benefit import Fulfilment
from exchange.commands import ByWallet, Command, Extend, Give, Merge, ReverseAward, Share, Sharing
from exchange.errors import FiguresDisagree, NotFound
from exchange.journal import Account, block_id
from exchange.ledger import Ledger
from exchange.merging import anonymous
from exchange.redemption import Step
from exchange.rules import AwardReversal, Rules
from exchange.store.audit import Audit
from exchange.wallet import Wallet
from tests.exchange.conftest import House, known
from tests.exchange.speech import (
    act,
    agreement,
    award,
    benefit,
    by_reference,
    day,
    merge,
    redeem,
    reserve,
    share,
    unmerge,
)

RIDE = benefit("rides/ride", 30, fulfilment=Fulfilment.PARTNER_CALL)


def unnamed(wallet: Wallet) -> Wallet:
    """Return a wallet as the journal knows it: without references."""
    absorbed = tuple(replace(one, links=anonymous(one.links)) for one in wallet.absorbed)
    return replace(wallet, links=anonymous(wallet.links), absorbed=absorbed)


async def rebuilt(house: House) -> list[Rebuilt]:
    return [one async for one in AnyTime(house.db).rebuild(lambda *_: None)]


async def gone(house: House) -> list[Rebuilt]:
    return [one async for one in AnyTime(house.db).missing()]


@pytest.fixture
async def lived(house: House, ledger: Ledger) -> Sequence[Command]:
    """Let two members do a bit of everything, one command a commit; return the commands."""
    await house.agree(agreement("video", "rides", 8_005, fee=150, commission=250))
    await house.publish(RIDE)
    await house.terms.set_rules(
        Rules(partner="video", gift_day_points=1_000, award_reversal=AwardReversal.TAKE_WHAT_IS_LEFT)
    )
    ann = await known(ledger, "video", "delivery", reference="ann")
    bob = await known(ledger, "video", "rides", reference="bob")
    both = by_reference("video", "ann"), by_reference("video", "bob")
    of_ann: dict[str, Any] = {"fingerprint": "", "partner": "video", "whose": both[0]}
    return [
        award("video", 100, whose=both[0], key="first", expires=day(900)),
        award("video", 70, whose=both[1]),
        redeem(RIDE, 2, whose=both[0], key="rode"),
        act(Step.REVERSE, "rode", 1, by="rides"),
        reserve(RIDE, whose=both[1], key="held"),
        act(Step.CONFIRM, "held", by="video"),
        Share(id="pool", to=ByWallet("pool"), what=Sharing.FOUND, **of_ann),
        Share(id="in", to=ByWallet("pool"), what=Sharing.PAY_IN, points=20, **of_ann),
        Give(id="gift", to=both[1], points=15, **of_ann),
        Extend(id="longer", lot="first", expires_at=day(1_000), fingerprint="", partner="video", whose=ByWallet(ann)),
        Merge(id="one", fingerprint="", partner="rides", whose=by_reference("rides", "bob"), to=ByWallet(ann),
              permitted_until=day(9_999), permitted_through="video"),
        act(Step.REVERSE, "held", by="rides"),
        ReverseAward(id="back", lot="first", fingerprint="", partner="video", whose=ByWallet(bob)),
    ]  # fmt: skip


async def test_a_wallet_is_what_it_was_as_of_any_entry(house: House, ledger: Ledger, lived: Sequence[Command]) -> None:
    """Of one entry or of an entry between two members: the very wallets that the commit left, long afterwards."""
    left = []
    for command in lived:
        outcome = await ledger.submit(command)
        left.append((command.id, outcome.wallet, outcome.other))
    for entry, wallet, other in left:
        seen = await AnyTime(house.db).wallets_as_of(entry)
        assert seen == [unnamed(one) for one in (wallet, other) if one is not None], entry
    await house.prove()


async def test_a_partner_is_what_it_was_as_of_any_entry(house: House, ledger: Ledger, lived: Sequence[Command]) -> None:
    """Points by account and what it owed, by hand: 60 points at 80.05 a thousand, of which half came back."""
    for command in lived:
        await ledger.submit(command)
    past = AnyTime(house.db)
    first = await past.partner_as_of("first", "video")
    assert (first.points, first.out, first.positions) == ({Account.ISSUED: -100}, 100, ())
    rode = await past.partner_as_of("rode", "video")
    assert (rode.points, rode.out) == ({Account.ISSUED: -170, Account.REDEEMED: 60}, 110)
    # 60 points at 80.05 a thousand are 4.803; video itself was the channel, and earned 2.5 % of that.
    [owing] = rode.positions
    assert (owing.payable.minor, owing.net.minor, owing.currency) == (480, -468, "EUR")
    rides = await past.partner_as_of("rode", "rides")
    [owed] = rides.positions
    # The fee, 1.5 % of 480, is 7.2; the commission 12.
    assert (owed.receivable.minor, owed.payable.minor, owed.fees.minor, owed.net.minor) == (480, 12, 7, 461)
    half = await past.partner_as_of((await entries_of(house, "REVERSE"))[0], "video")
    assert half.points == {Account.ISSUED: -170, Account.REDEEMED: 30}


async def entries_of(house: House, kind: str) -> list[str]:
    found = await house.db["entries"].find({"kind": kind}).sort([("at", 1), ("seq", 1)]).to_list(None)
    return [row["_id"] for row in found]


async def test_an_entry_that_is_not_there_has_no_past(house: House) -> None:
    """It is not found, whatever is asked of it."""
    past = AnyTime(house.db)
    with pytest.raises(NotFound):
        await past.wallets_as_of("nothing")
    with pytest.raises(NotFound):
        await past.partner_as_of("nothing", "video")


async def test_every_wallet_can_be_made_again_to_the_byte(
    house: House, ledger: Ledger, lived: Sequence[Command]
) -> None:
    """The journal and the references are enough; a merged member, of whom a partner has two references, included."""
    for command in lived:
        await ledger.submit(command)
        found = await rebuilt(house)
        assert found
        assert [one for one in found if one.wrong is not None] == [], command
    assert await gone(house) == []


async def test_a_wallet_that_is_not_its_entries_is_named(
    house: House, ledger: Ledger, lived: Sequence[Command]
) -> None:
    """One changed byte is found, and one wallet that cannot be read; the others stay equal."""
    for command in lived[:6]:
        await ledger.submit(command)
    ann, bob = await house.wallet("video", "ann"), await house.wallet("video", "bob")
    await house.db["wallets"].update_one({"_id": ann.id}, {"$set": {"lots.0.awarded_at": day(-3)}})
    assert {one.wallet: one.wrong for one in await rebuilt(house)} == {
        ann.id: "its entries make another", bob.id: None
    }  # fmt: skip
    await house.db["wallets"].update_one({"_id": bob.id}, {"$unset": {"lots": 1}}, bypass_document_validation=True)
    assert {one.wallet for one in await rebuilt(house) if one.wrong} == {ann.id, bob.id}


async def test_a_wallet_that_is_gone_is_restored(house: House, ledger: Ledger, lived: Sequence[Command]) -> None:
    """Found by its references or by the entry that founded it, and written as it was; what is there is left alone."""
    for command in lived[:10]:
        await ledger.submit(command)
    before = {row["_id"]: row async for row in house.db["wallets"].find({})}
    bob = await house.wallet("video", "bob")
    await house.db["wallets"].delete_many({"_id": {"$in": [bob.id, "pool"]}})
    past = AnyTime(house.db)
    assert {(one.wallet, one.wrong) for one in await gone(house)} == {(bob.id, None), ("pool", None)}
    assert [await past.restore(name) for name in (bob.id, "pool", bob.id)] == [True, True, False]
    assert {row["_id"]: row async for row in house.db["wallets"].find({})} == before
    await house.prove()


async def test_a_wallet_without_its_references_cannot_be_made_again(
    house: House, ledger: Ledger, lived: Sequence[Command]
) -> None:
    """What a partner calls a member is in no entry: the reason says so, and nothing is written."""
    for command in lived[:2]:
        await ledger.submit(command)
    bob = await house.wallet("video", "bob")
    await house.db["references"].delete_one({"_id": "rides:bob"})
    await house.db["wallets"].delete_one({"_id": bob.id})
    [one] = await gone(house)
    assert one.wallet == bob.id
    assert one.wrong is not None
    assert "references of rides" in one.wrong


async def test_the_example_in_the_docs(house: House, ledger: Ledger) -> None:
    """The page's table is what the past says."""
    await house.agree(agreement("video", "rides", 8_005, fee=150, commission=250))
    await house.publish(RIDE)
    await ledger.submit(award("video", 100, key="the award"))
    await ledger.submit(redeem(RIDE, 2, key="the redemption"))
    page = Path(__file__).parents[2].joinpath("docs", "any-time.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:6] == "| the "]
    assert len(rows) == 3
    past = AnyTime(house.db)
    for entry, partner, out, *figures in rows:
        state = await past.partner_as_of(entry, partner)
        assert state.out == int(out)
        expected = [round(100 * float(figure)) for figure in figures if figure]
        assert [
            n for row in state.positions for n in (row.payable.minor, row.receivable.minor, row.fees.minor)
        ] == expected


async def test_wallets_are_made_again_while_members_redeem(house: House, ledger: Ledger) -> None:
    """Comparisons that race with awards, merges and their undoing raise no false alarm."""
    other = await house.ledger()
    going = True

    async def busy(number: int) -> None:
        name = f"busy-{number}"
        both = await known(other, "video", reference=name), by_reference("rides", name)
        await ledger.submit(award("rides", 30, whose=both[1]))
        while going:
            await ledger.submit(award("video", 7, whose=by_reference("video", name)))
            merged = await other.submit(merge(both[0], through="rides", whose=both[1]))
            await ledger.submit(unmerge(both[0], merged.entry.wallet, through="exchange"))

    members = [asyncio.create_task(busy(number)) for number in range(8)]
    try:
        for _ in range(20):
            assert [one for one in await rebuilt(house) if one.wrong is not None] == []
            assert await gone(house) == []
    finally:
        going = False
        await asyncio.gather(*members)
    assert len(await rebuilt(house)) == 16


async def test_a_wallet_of_which_entries_alone_are_left_is_named(
    house: House, ledger: Ledger, lived: Sequence[Command]
) -> None:
    """Without wallet and references nobody can say whose it was, and it is not forgotten that it was."""
    for command in lived[:2]:
        await ledger.submit(command)
    bob = await house.wallet("video", "bob")
    await house.db["references"].delete_many({"wallet": bob.id})
    await house.db["wallets"].delete_one({"_id": bob.id})
    [one] = await gone(house)
    assert one.wallet == bob.id
    with pytest.raises(FiguresDisagree):
        await AnyTime(house.db).restore(bob.id)
    assert await house.count("wallets", _id=bob.id) == 0


async def test_missing_wallets_are_found_in_pieces_and_each_once(house: House, ledger: Ledger) -> None:
    """However many are asked for at once: all that entries, their other sides or references name, in order."""
    names = []
    for number in range(7):
        whose = by_reference("video", f"member-{number}")
        names.append((await ledger.submit(award("video", 9, whose=whose))).wallet.id)
    await ledger.submit(share(Sharing.FOUND, "pool", whose=by_reference("video", "member-0")))
    await house.db["references"].insert_one({"_id": "video:nobody", "wallet": "another"})
    await house.db["wallets"].delete_many({"_id": {"$ne": names[3]}})
    expected = sorted({*names, "pool", "another"} - {names[3]})
    for at_once in (1, 2, 3, 9, 100):
        pieces = [piece async for piece in Audit(house.db).wallets_named_not_there(at_once)]
        assert [name for piece in pieces for name in piece] == expected
        assert max(map(len, pieces)) <= at_once


async def test_a_past_that_cannot_be_read_is_not_told(house: House, ledger: Ledger, lived: Sequence[Command]) -> None:
    """A block that is gone or cannot be read is said to be, rather than left out of the sum."""
    for command in lived[:3]:
        await ledger.submit(command)
    past, blocks = AnyTime(house.db), house.db["blocks"]
    entry = await house.db["entries"].find_one({"_id": "rode"})
    assert entry is not None
    place = block_id(entry["lane"], entry["seq"])
    before = block_id(entry["lane"], entry["seq"] - 1)
    await blocks.update_one({"_id": before}, {"$set": {"kind": "NONE"}}, bypass_document_validation=True)
    with pytest.raises(FiguresDisagree, match=f"block {before} cannot be read"):
        await past.partner_as_of("rode", "video")
    await blocks.delete_one({"_id": before})
    with pytest.raises(FiguresDisagree, match=f"a block of lane {entry['lane']} is not there"):
        await past.partner_as_of("rode", "video")
    await blocks.delete_one({"_id": place})
    with pytest.raises(FiguresDisagree, match="the block of entry rode is not there"):
        await past.partner_as_of("rode", "video")


async def test_an_entry_that_cannot_be_read_is_nobody_elses_trouble(
    house: House, ledger: Ledger, lived: Sequence[Command]
) -> None:
    """Its own wallet cannot be made again, nor told as of it; all others can."""
    for command in lived[:6]:
        await ledger.submit(command)
    ann, bob = await house.wallet("video", "ann"), await house.wallet("video", "bob")
    for change in ({"detail.expires_at": "a word"}, {"by": None}, {"detail": None}, {"period": "a word"}):
        before = await house.db["entries"].find_one({"_id": "first"})
        assert before is not None
        await house.db["entries"].update_one({"_id": "first"}, {"$set": change}, bypass_document_validation=True)
        found = {one.wallet: one.wrong for one in await rebuilt(house)}
        assert found.keys() == {ann.id, bob.id}
        assert found[ann.id] is not None
        assert found[bob.id] is None
        with pytest.raises(FiguresDisagree, match="entry first does not say what it should"):
            await AnyTime(house.db).wallets_as_of("first")
        await house.db["entries"].replace_one({"_id": "first"}, before)
    assert [one.wrong for one in await rebuilt(house)] == [None, None]
