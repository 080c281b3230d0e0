"""Two members who are one person, on a real MongoDB. Each test ends with a proof of all invariants."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.batch import Outcome
from exchange.benefit import Fulfilment, UnavailableReason
from exchange.commands import ByWallet, Command, Merge, ReverseAward, Unmerge
from exchange.errors import BenefitUnavailable, Forbidden, InsufficientPoints, NotFound, Refusal, ValidationFailed
from exchange.journal import EXCHANGE
from exchange.ledger import Ledger
from exchange.redemption import Step
from exchange.rules import AwardReversal, Rules, Velocity
from exchange.store.members import Members
from exchange.wallet import Wallet
from tests.examples import told, told_in
from tests.exchange.conftest import KEYRING, House, answers, between, known
from tests.exchange.speech import (
    act,
    agreement,
    award,
    benefit,
    by_reference,
    day,
    enrol,
    freeze,
    link,
    redeem,
    reserve,
    unlink,
)

RIDE = benefit("rides/ride", 30, fulfilment=Fulfilment.PARTNER_CALL, member_limit=5)
NEXT_YEAR = day(365)


@pytest.fixture(autouse=True)
async def begun(house: House, proved: None) -> None:
    """Begin every test with something to take."""
    await house.agree(agreement("video", "rides", 8_005, fee=150, commission=250))
    await house.publish(RIDE)


@pytest.fixture
async def two(house: House, ledger: Ledger) -> tuple[str, str]:
    """Give ann, whom video and delivery know, 100 points, and bob, whom video and rides know, 70; return both."""
    ann = await known(ledger, "video", "delivery", reference="ann")
    bob = await known(ledger, "rides", reference="bob")
    await ledger.submit(link("video", bob, reference="bob"))
    await ledger.submit(award("video", 100, whose=by_reference("video", "ann")))
    await ledger.submit(award("rides", 40, whose=by_reference("rides", "bob")))
    await ledger.submit(award("video", 30, whose=by_reference("video", "bob"), expires=NEXT_YEAR))
    return ann, bob


def merge(
    into: str, *, by: str = "video", who: str = "bob", key: str = "merge", until: datetime | None = None,
    through: str = "video",
) -> Merge:  # fmt: skip
    return Merge(
        id=key, fingerprint="", partner=by, whose=by_reference(by, who), to=ByWallet(into),
        permitted_until=until or day(9_999), permitted_through=through,
    )  # fmt: skip


def unmerge(wallet: str, apart: str | None, **asked: Any) -> Unmerge:
    said = {"id": "unmerge", "fingerprint": "", "partner": "video", "to": None if apart is None else ByWallet(apart)}
    return Unmerge(**{**said, "whose": ByWallet(wallet), **asked})


async def held(house: House, who: str, partner: str) -> Wallet:
    return await house.wallet(partner, who)


async def test_two_become_one(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """Lots, links and counts go over as they are, and every reference of the one means the other from then on."""
    ann, bob = two
    taken = await ledger.submit(redeem(RIDE, through="rides", whose=by_reference("rides", "bob")))
    merged = await ledger.submit(merge(ann))
    assert merged.wallet == Wallet(bob, merged.wallet.version, merged.wallet.period, merged_into=ann)
    whole = await house.wallet("rides", "bob")
    assert whole.id == ann
    assert await house.wallet("video", "bob") == await house.wallet("video", "ann") == whole == merged.other
    assert sum(lot.remaining for lot in whole.lots) == 100 + 70 - 30
    assert {each.partner: each.reference for each in whole.links} == {"video": "ann", "delivery": "ann", "rides": "bob"}
    assert whole.taken == {RIDE.id: 1}
    assert taken.redemption is not None
    # What either of them redeems is the one member's.
    for partner, who in (("video", "ann"), ("video", "bob"), ("rides", "bob")):
        again = await ledger.submit(redeem(RIDE, through=partner, whose=by_reference(partner, who)))
        assert again.wallet.id == ann
    assert (await house.wallet("rides", "bob")).taken == {RIDE.id: 4}


async def test_a_merge_is_done_once(ledger: Ledger, two: tuple[str, str]) -> None:
    """Asked again it is the same merge, and moves nothing."""
    ann, _ = two
    first = await ledger.submit(merge(ann))
    again = await ledger.submit(merge(ann))
    assert (again.replayed, again.entry, again.wallet) == (True, first.entry, first.other)


async def test_what_the_one_redeemed_goes_back_to_the_other(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """A redemption from before a merge is reversed into its very lots, wherever they are, also after the undoing."""
    ann, bob = two
    taken = await ledger.submit(redeem(RIDE, 2, through="rides", whose=by_reference("rides", "bob")))
    await ledger.submit(merge(ann))
    assert taken.redemption is not None
    first = await ledger.submit(act(Step.REVERSE, taken.redemption, 1))
    assert first.wallet.id == ann
    assert first.wallet.taken == {RIDE.id: 1}
    apart = await ledger.submit(unmerge(ann, bob))
    assert apart.other is not None
    assert apart.other.taken == {RIDE.id: 1}
    second = await ledger.submit(act(Step.REVERSE, taken.redemption, 1))
    assert second.wallet.id == bob
    assert sum(lot.remaining for lot in second.wallet.lots) == 70
    assert second.wallet.taken == {RIDE.id: 0}
    assert (await house.wallet("video", "ann")).taken == {RIDE.id: 0}


async def test_an_undone_merge_leaves_two_as_they_were(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """Lots, links, counts and references are where they were, with what was awarded since where it belongs."""
    ann, bob = two
    before = {who: await held(house, who, "video") for who in ("ann", "bob")}
    await ledger.submit(merge(ann))
    await ledger.submit(award("rides", 5, whose=by_reference("rides", "bob"), key="since"))
    await ledger.submit(award("delivery", 7, whose=by_reference("delivery", "ann"), key="hers"))
    await ledger.submit(unmerge(ann, bob))
    after = {who: await held(house, who, "video") for who in ("ann", "bob")}
    assert after["bob"].id == bob
    assert after["bob"].links == before["bob"].links
    assert [lot.id for lot in after["bob"].lots] == [*(lot.id for lot in before["bob"].lots), "since"]
    assert [lot.id for lot in after["ann"].lots] == [*(lot.id for lot in before["ann"].lots), "hers"]
    assert after["ann"].links == before["ann"].links
    assert (after["ann"].absorbed, after["bob"].merged_into) == ((), None)
    members = Members(house.db, KEYRING)
    assert [await members.owner_of_lot(lot.id) for lot in after["bob"].lots] == [bob] * 3
    assert await members.owner_of_lot("hers") == ann
    # And they can find together again.
    await ledger.submit(merge(ann, key="merge-again"))


async def test_an_award_is_answered_where_its_lot_went(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """Awarded while two were one, and asked for again after they parted, it shows the wallet that has the lot now."""
    ann, bob = two
    await ledger.submit(merge(ann))
    since = award("rides", 5, whose=by_reference("rides", "bob"), key="since")
    mine = award("delivery", 7, whose=by_reference("delivery", "ann"), key="mine")
    for asked in (since, mine):
        assert (await ledger.submit(asked)).wallet.id == ann
    await ledger.submit(unmerge(ann, bob))
    told = [await ledger.submit(asked) for asked in (since, mine)]
    assert [(one.wallet.id, one.replayed) for one in told] == [(bob, True), (ann, True)]
    # Both are taken in by others: whose lots they were is no matter.
    dora = await known(ledger, "video", reference="dora")
    members = Members(house.db, KEYRING)
    for who in ("ann", "bob"):
        await ledger.submit(merge(dora, who=who, key=f"{who} is dora"))
    assert [(await ledger.submit(asked)).wallet.id for asked in (since, mine)] == [dora, dora]
    assert [await members.owner_of_lot(lot) for lot in ("since", "mine")] == [dora, dora]


async def test_a_lot_is_found_when_the_other_found_somebody_else(
    house: House, ledger: Ledger, two: tuple[str, str]
) -> None:
    """A lot that went with bob is found there although ann, to whom it was awarded, has become dora since."""
    ann, bob = two
    await ledger.submit(merge(ann))
    since = award("rides", 5, whose=by_reference("rides", "bob"), key="since")
    await ledger.submit(since)
    await ledger.submit(unmerge(ann, bob))
    dora = await known(ledger, "video", reference="dora")
    await ledger.submit(merge(dora, who="ann", key="ann is dora"))
    assert await Members(house.db, KEYRING).owner_of_lot("since") == bob
    assert (await ledger.submit(since)).wallet.id == bob


async def test_a_merge_cannot_be_undone_once_its_points_are_spent(ledger: Ledger, two: tuple[str, str]) -> None:
    """Nobody could say whose the rest is: a redemption, a hold or a gift of points that came makes it final."""
    ann, bob = two
    await ledger.submit(merge(ann))
    await ledger.submit(reserve(RIDE, through="video", whose=by_reference("video", "ann"), key="hold"))
    await ledger.submit(act(Step.CANCEL, "hold", by="video"))
    [told] = await answers(ledger, unmerge(ann, bob))
    assert isinstance(told, ValidationFailed)
    assert "spent" in told.message


async def test_spending_ones_own_does_not_hinder_it(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """Points that were there before the merge can be spent after it: what came can still go back."""
    ann, bob = two
    lunch = benefit("delivery/lunch", 5)
    await house.publish(lunch)
    await ledger.submit(award("delivery", 9, whose=by_reference("delivery", "ann")))
    await ledger.submit(merge(ann))
    # Nobody has an agreement with delivery, so only its own points are taken there.
    await ledger.submit(redeem(lunch, through="video", whose=by_reference("video", "bob")))
    apart = await ledger.submit(unmerge(ann, bob))
    assert apart.other is not None
    assert sum(lot.remaining for lot in apart.other.lots) == 70


@pytest.mark.parametrize(
    ("why", "error"),
    [
        ("late", NotFound), ("unknown", NotFound), ("itself", ValidationFailed), ("holds", ValidationFailed),
        ("owes", ValidationFailed), ("took in", ValidationFailed), ("parted", Forbidden), ("other parted", Forbidden),
    ],
)  # fmt: skip
async def test_who_cannot_be_merged(
    house: House, ledger: Ledger, two: tuple[str, str], why: str, error: type[Refusal]
) -> None:
    """A refused merge says why, and changes nothing."""
    ann, bob = two
    asked = merge(ann)
    if why == "late":
        asked = merge(ann, until=await house.soon(seconds=-1))
    elif why == "unknown":
        asked = replace(asked, to=None)
    elif why == "itself":
        asked = merge(bob)
    elif why == "holds":
        await ledger.submit(reserve(RIDE, through="rides", whose=by_reference("rides", "bob")))
    elif why == "owes":
        await indebted(house, ledger)
    elif why == "took in":
        carl = await known(ledger, "delivery", reference="carl")
        await ledger.submit(merge(bob, by="delivery", who="carl", key="first"))
        assert carl
    elif why == "parted":
        await ledger.submit(unlink("video", bob, through="rides"))
    elif why == "other parted":
        await ledger.submit(unlink("video", ann, through="delivery"))
        asked = merge(ann, through="delivery")
    before = [await house.wallet("delivery", "ann"), await house.wallet("rides", "bob")]
    [told] = await answers(ledger, asked)
    assert type(told) is error, told
    assert [await house.wallet("delivery", "ann"), await house.wallet("rides", "bob")] == before


@pytest.mark.parametrize(
    ("why", "error"),
    [
        ("parted since the code", NotFound), ("through a limited partner", Forbidden),
        ("with a code of a limited partner", Forbidden), ("would lift a limit", ValidationFailed),
        ("would loosen a limit", ValidationFailed),
    ],
)  # fmt: skip
async def test_no_partner_merges_itself_out_of_a_limit(
    house: House, ledger: Ledger, two: tuple[str, str], why: str, error: type[Refusal]
) -> None:
    """What a member has said of its partners holds for a merge as well, and after it."""
    ann, bob = two
    asked = merge(ann, through="delivery" if "code" in why else "video")
    if why == "parted since the code":
        await ledger.submit(unlink("delivery", ann))
    elif why == "through a limited partner":
        await ledger.submit(link("video", bob, reference="bob", daily_limit=10))
    elif why == "with a code of a limited partner":
        await ledger.submit(link("delivery", ann, daily_limit=10))
    else:
        await linked_to_delivery(ledger, ann=11 if why == "would loosen a limit" else None, bob=10)
    before = await house.everything()
    [told] = await answers(ledger, asked)
    assert type(told) is error, told
    assert await house.everything() == before


async def linked_to_delivery(ledger: Ledger, **limits: int | None) -> None:
    """Link these members to delivery as well, with limits of their own."""
    for name, limit in limits.items():
        wallet = (await ledger.submit(enrol("video", whose=by_reference("video", name)))).wallet
        await ledger.submit(link("delivery", wallet.id, reference=name, daily_limit=limit))


async def test_a_tighter_limit_stays_and_a_new_one_comes(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """The limit of the member that stays is the one for a partner of both, and that of the other for its own."""
    ann, bob = two
    await linked_to_delivery(ledger, ann=10, bob=10)
    await ledger.submit(link("rides", bob, reference="bob", daily_limit=7))
    whole = (await ledger.submit(merge(ann))).other
    assert whole is not None
    assert {each.partner: each.daily_limit for each in whole.links} == {"video": None, "delivery": 10, "rides": 7}


async def indebted(house: House, ledger: Ledger) -> None:
    """Let bob owe video points: an award of its was reversed after he had spent it."""
    await house.terms.set_rules(Rules(partner="video", award_reversal=AwardReversal.DEBT))
    wallet = await house.wallet("video", "bob")
    lot = next(lot for lot in wallet.lots if lot.issuer == "video")
    await ledger.submit(redeem(RIDE, through="video", whose=by_reference("video", "bob")))
    await ledger.submit(ReverseAward(id="back", fingerprint="", partner="video", whose=ByWallet(wallet.id), lot=lot.id))
    assert (await house.wallet("video", "bob")).debts == {"video": 30}


@pytest.mark.parametrize("why", ["frozen", "held", "owed", "the other's last link", "its own last link"])
async def test_when_two_stay_one(house: House, ledger: Ledger, two: tuple[str, str], why: str) -> None:
    """Nobody gets out of a freezing or a debt by being undone, and nobody is left with points that it cannot reach."""
    ann, bob = two
    if why == "its own last link":
        await ledger.submit(unlink("delivery", ann))
    if why == "the other's last link":
        await ledger.submit(unlink("video", bob, through="rides"))
    if why == "owed":
        await ledger.submit(redeem(RIDE, through="video", whose=by_reference("video", "bob")))
    merged = await ledger.submit(merge(ann) if why != "the other's last link" else merge(ann, by="rides"))
    if why == "frozen":
        await ledger.submit(freeze(whose=ByWallet(ann)))
    elif why == "held":
        await ledger.submit(reserve(RIDE, 4, through="video", whose=by_reference("video", "ann")))
    elif why == "owed":
        await house.terms.set_rules(Rules(partner="video", award_reversal=AwardReversal.DEBT))
        assert merged.other is not None
        lot = next(lot for lot in merged.other.lots if lot.redeemed)
        back = ReverseAward(id="back", fingerprint="", partner="video", whose=ByWallet(ann), lot=lot.id)
        assert (await ledger.submit(back)).wallet.debts == {"video": 30}
    else:
        await ledger.submit(unlink("rides" if why == "the other's last link" else "video", ann, through="video"))
    before = await house.everything()
    asked = unmerge(ann, bob, partner="rides" if why == "its own last link" else "video")
    [told] = await answers(ledger, asked)
    assert type(told) is (Forbidden if why == "frozen" else ValidationFailed), told
    assert await house.everything() == before


async def test_the_exchange_undoes_what_it_has_frozen(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """Whoever was taken in by somebody who is frozen since gets its own points back, and the other one stays frozen."""
    ann, bob = two
    await ledger.submit(merge(ann))
    await ledger.submit(freeze(whose=ByWallet(ann)))
    apart = await ledger.submit(unmerge(ann, bob, partner=EXCHANGE, by_exchange=True))
    assert apart.other is not None
    assert (apart.wallet.frozen, apart.other.frozen) == (True, False)


async def test_a_link_that_was_ended_stays_ended_for_both(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """What the one member ended was for all that it was: the partner does not come back by an undoing."""
    ann, bob = two
    await ledger.submit(merge(ann))
    await ledger.submit(unlink("video", ann, through="rides"))
    apart = await ledger.submit(unmerge(ann, bob, partner="rides"))
    assert apart.other is not None
    assert {link.partner: link.open for link in apart.other.links} == {"rides": True, "video": False}
    assert {link.partner: link.open for link in apart.wallet.links} == {"video": False, "delivery": True}


async def test_what_is_not_merged_cannot_be_undone(ledger: Ledger, two: tuple[str, str]) -> None:
    """There is nothing to undo, or it is another who was merged last."""
    ann, bob = two
    for asked in (unmerge(ann, None), unmerge(ann, bob), unmerge(bob, ann)):
        [told] = await answers(ledger, asked)
        assert isinstance(told, ValidationFailed)


async def test_a_merge_and_redemptions_at_once(house: House, two: tuple[str, str]) -> None:
    """Raced from two lanes all are carried out, in some order: no point is lost and none is spent twice."""
    ann, _ = two
    here, there = await house.ledger(), await house.ledger()
    rush = [redeem(RIDE, through="rides", whose=by_reference("rides", "bob"), key=f"rush-{n}") for n in range(2)]
    told = await asyncio.gather(
        answers(here, merge(ann)), *(answers(there, one) for one in rush), *(answers(here, one) for one in rush)
    )
    assert all(isinstance(one, Outcome) for each in told for one in each), told
    whole = await house.wallet("rides", "bob")
    assert whole.id == ann
    assert sum(lot.remaining for lot in whole.lots) == 170 - 60
    assert whole.taken == {RIDE.id: 2}


async def test_what_both_took_counts_from_the_very_merge(house: House, ledger: Ledger, two: tuple[str, str]) -> None:
    """How fast the one redeemed before is held against the other, also within the batch that merges them."""
    ann, _ = two
    await house.terms.set_rules(Rules(partner="rides", velocity=(Velocity(window_seconds=3_600, redemptions_max=1),)))
    await ledger.submit(redeem(RIDE, through="rides", whose=by_reference("rides", "bob")))
    merged, told = await answers(ledger, merge(ann), redeem(RIDE, through="video", whose=by_reference("video", "ann")))
    assert isinstance(merged, Outcome)
    assert isinstance(told, BenefitUnavailable)
    assert told.reasons == [UnavailableReason.VELOCITY]


async def test_within_one_batch_the_second_finds_the_first_done(
    house: House, ledger: Ledger, two: tuple[str, str]
) -> None:
    """A merge and what either member does after it may share a commit."""
    ann, _ = two
    asked: list[Command] = [
        merge(ann),
        redeem(RIDE, 4, through="rides", whose=by_reference("rides", "bob"), key="all"),
        reserve(RIDE, 9, through="video", whose=by_reference("video", "ann")),
    ]  # fmt: skip
    first, second, third = await answers(ledger, *asked)
    assert isinstance(first, Outcome)
    assert isinstance(second, Outcome)
    assert second.wallet.id == ann
    assert isinstance(third, Refusal)
    assert not isinstance(third, InsufficientPoints)
    assert (await house.wallet("video", "ann")).taken == {RIDE.id: 4}


async def test_an_example_with_every_posting(house: House, ledger: Ledger) -> None:
    """docs/merging.md: a merge, what reaches the one member then, the parting, and what makes a merge final."""
    ride, film = benefit("rides/a-ride", 10), benefit("video/a-film", 40)
    await house.publish(ride, film)
    ann, bob = [await known(ledger, "video", reference=name) for name in ("ann", "bob")]
    await ledger.submit(link("rides", bob, reference="bob"))
    await ledger.submit(award("video", 100, whose=by_reference("video", "ann"), key="A"))
    bobs = by_reference("rides", "bob")
    await ledger.submit(award("rides", 40, whose=bobs, key="R"))
    taken = await ledger.submit(redeem(ride, through="rides", whose=bobs))
    assert taken.redemption is not None
    ends = await house.soon(days=30)
    await ledger.submit(award("video", 30, whose=by_reference("video", "bob"), expires=ends, key="B"))
    happened = [taken]
    then: list[Command] = [
        merge(ann),
        award("rides", 5, whose=bobs, key="S"),
        act(Step.REVERSE, taken.redemption, by="rides"),
        unmerge(ann, bob),
        merge(ann, key="again"),
        redeem(film, through="video", whose=by_reference("video", "ann")),
    ]
    happened += [await ledger.submit(command) for command in then]
    assert told_in("merging.md", "An example with every posting") == [told(one.entry) for one in happened]
    reached = [one.wallet.id for one in happened[2:4]]
    assert reached == [ann, ann]
    apart = happened[4].other
    assert apart is not None
    assert (apart.id, sum(lot.remaining for lot in apart.lots)) == (bob, 75)
    [final] = await answers(ledger, unmerge(ann, bob, id="too late"))
    assert isinstance(final, ValidationFailed)
    assert "spent" in final.message


async def test_who_parts_between_two_reads_pays_alone(house: House, two: tuple[str, str]) -> None:
    """A reference that came to mean another wallet is read again: nobody else's points are spent."""
    ann, bob = two
    here, there = await house.ledger(), await house.ledger()
    await there.submit(merge(ann))
    between(here, "second_round", lambda: there.submit(unmerge(ann, bob)))
    taken = await here.submit(redeem(RIDE, through="video", whose=by_reference("video", "bob")))
    assert taken.wallet.id == bob
    assert sum(lot.remaining for lot in (await house.wallet("video", "ann")).lots) == 100


async def test_who_parts_between_two_reads_gets_back_what_is_its_own(house: House, two: tuple[str, str]) -> None:
    """A step of a redemption finds the wallet that has its lots, not the one that had them a moment ago."""
    ann, bob = two
    here, there = await house.ledger(), await house.ledger()
    taken = await there.submit(redeem(RIDE, through="rides", whose=by_reference("rides", "bob")))
    await there.submit(merge(ann))
    between(here, "wallets_of", lambda: there.submit(unmerge(ann, bob)))
    back = await here.submit(act(Step.REVERSE, taken.redemption))
    assert back.wallet.id == bob
    assert sum(lot.remaining for lot in back.wallet.lots) == 70


async def test_a_quote_is_asked_again_when_two_parted_meanwhile(house: House, two: tuple[str, str]) -> None:
    """It is for the member that the reference means in the end."""
    ann, bob = two
    here, there = await house.ledger(), await house.ledger()
    await there.submit(merge(ann))
    between(here, "second_round", lambda: there.submit(unmerge(ann, bob)))
    quote = await here.quote(redeem(RIDE, through="video", whose=by_reference("video", "bob")))
    assert quote.wallet == bob


async def test_a_link_in_the_same_batch_brings_no_fresh_start(
    house: House, ledger: Ledger, two: tuple[str, str]
) -> None:
    """What a member took before counts, also through a partner that knows it only since this very batch."""
    ann, _ = two
    await house.terms.set_rules(Rules(partner=EXCHANGE, velocity=(Velocity(window_seconds=3_600, redemptions_max=1),)))
    await ledger.submit(redeem(RIDE, through="video", whose=by_reference("video", "ann")))
    linked, told = await answers(
        ledger, link("rides", ann, reference="ann"), redeem(RIDE, through="rides", whose=by_reference("rides", "ann"))
    )
    assert isinstance(linked, Outcome)
    assert isinstance(told, BenefitUnavailable)
    assert told.reasons == [UnavailableReason.VELOCITY]
