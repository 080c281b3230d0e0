"""docs/life-of-a-point.md: each of its examples happens on a real ledger as the page tells it, posting by posting."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from exchange.benefit import Benefit
from exchange.commands import Adjust, Award, ByWallet, Command, Extend, Freeze, Give, ReverseAward, Share, Sharing
from exchange.errors import BenefitUnavailable, InsufficientPoints, ValidationFailed
from exchange.journal import Entry
from exchange.ledger import Ledger
from exchange.redemption import Step
from exchange.rules import AwardReversal, Rules
from exchange.sweeper import Sweeper
from exchange.wallet import Wallet
from tests.examples import told, told_in
from tests.exchange.conftest import House
from tests.exchange.speech import act, award, benefit, by_reference, redeem

PAGE = "life-of-a-point.md"


class Story:
    """What video's members live through: each event happens, and is kept to be compared with the page."""

    def __init__(self, house: House, ledger: Ledger) -> None:
        self.house, self.ledger = house, ledger
        self.entries: list[Entry] = []
        self._rules = 0

    async def before(self, command: Command) -> Entry:
        """Let something happen that the example takes for granted."""
        return (await self.ledger.submit(command)).entry

    async def then(self, command: Command) -> Entry:
        """Let happen what the example is about."""
        self.entries.append(await self.before(command))
        return self.entries[-1]

    async def rules(self, **said: Any) -> None:
        """Let video lay down rules."""
        await self.house.terms.set_rules(Rules(partner="video", version=self._rules, **said))
        self._rules += 1

    async def offers(self, price: int) -> Benefit:
        """Let video publish a benefit."""
        offer = benefit(f"video/for-{price}", price)
        await self.house.publish(offer)
        return offer

    async def wallet(self, name: str = "ann") -> Wallet:
        """Return what is stored of a member."""
        return await self.house.wallet(reference=name)

    async def balance(self, name: str = "ann") -> int:
        """Return what a member has."""
        return (await self.wallet(name)).balance(await self.house.soon())

    async def left(self, lot: str, name: str = "ann") -> int:
        """Return what is left of a lot."""
        found = (await self.wallet(name)).lot(lot)
        assert found is not None
        return found.remaining

    async def is_as_told(self, heading: str) -> None:
        """Hold what happened against the page, and the books against the invariants."""
        assert [told(entry) for entry in self.entries] == told_in(PAGE, heading)
        await self.house.prove()


@pytest.fixture
def story(house: House, ledger: Ledger) -> Story:
    return Story(house, ledger)


def asked(key: str, name: str = "ann") -> dict[str, Any]:
    """Say what every command says, of a member that video knows by this name."""
    return {"id": key, "fingerprint": "", "partner": "video", "whose": by_reference("video", name)}


async def test_an_order_that_may_be_returned(house: House, story: Story) -> None:
    """Until its points begin, nothing can be spent of an award."""
    trip = await story.offers(30)
    begins = await house.soon(milliseconds=500)
    await story.then(Award(**asked("A"), points=100, active_from=begins))
    with pytest.raises(InsufficientPoints) as refused:
        await story.before(redeem(trip))
    assert refused.value.available == 0
    await asyncio.sleep(0.6)
    await story.then(redeem(trip))
    await story.is_as_told("Example: an order that may be returned")


async def test_three_members_who_spent_40_of_100(story: Story) -> None:
    """What is gone is refused, forgotten or owed, as the issuer has laid down."""
    trip = await story.offers(40)
    for lot, name in (("A", "ann"), ("B", "bob"), ("C", "cleo")):
        whose = by_reference("video", name)
        await story.before(award("video", 100, whose=whose, key=lot))
        await story.before(redeem(trip, whose=whose))
    with pytest.raises(InsufficientPoints, match="60 of 100 points are left"):
        await story.before(ReverseAward(**asked("r-ann"), lot="A"))
    await story.rules(award_reversal=AwardReversal.TAKE_WHAT_IS_LEFT)
    await story.then(ReverseAward(**asked("r-bob", "bob"), lot="B"))
    await story.rules(award_reversal=AwardReversal.DEBT)
    await story.then(ReverseAward(**asked("r-cleo", "cleo"), lot="C"))
    assert dict((await story.wallet("cleo")).debts) == {"video": 40}
    await story.then(award("video", 50, whose=by_reference("video", "cleo"), key="D"))
    assert [await story.balance(name) for name in ("ann", "bob", "cleo")] == [60, 0, 10]
    assert (dict((await story.wallet("bob")).debts), dict((await story.wallet("cleo")).debts)) == ({}, {})
    await story.is_as_told("Example: three members who spent 40 of 100")


async def test_a_week_without_service(house: House, story: Story) -> None:
    """More time moves no points; less is refused."""
    ends = await house.soon(days=30)
    await story.then(award("video", 100, expires=ends, key="A"))
    await story.then(Extend(**asked("longer"), lot="A", expires_at=ends + timedelta(days=7)))
    with pytest.raises(ValidationFailed, match="must be after"):
        await story.before(Extend(**asked("shorter"), lot="A", expires_at=ends))
    lot = (await story.wallet()).lot("A")
    assert lot is not None
    assert lot.expires_at == ends + timedelta(days=7)
    await story.is_as_told("Example: a week without service")


async def test_a_reversal_after_the_end(house: House, ledger: Ledger, story: Story) -> None:
    """Points that come back into a lot that is over have thirty days."""
    trip = await story.offers(40)
    await story.then(award("video", 100, expires=await house.soon(milliseconds=600), key="A"))
    await story.then(redeem(trip, key="trip"))
    await asyncio.sleep(0.7)
    assert await story.balance() == 0
    assert await Sweeper(house.books, ledger).sweep() == 1
    expired = await house.db["entries"].find_one({"kind": "EXPIRE"})
    assert expired is not None
    story.entries += (await house.books.first_round([expired["_id"]], [], [])).entries.values()
    reversed_ = await story.then(act(Step.REVERSE, "trip", by="video"))
    lot = (await story.wallet()).lot("A")
    assert lot is not None
    assert (lot.remaining, lot.expires_at) == (40, reversed_.at + timedelta(days=30))
    assert await story.balance() == 40
    await story.is_as_told("Example: a reversal after the end")


async def test_sorry_and_a_mistake(story: Story) -> None:
    """Goodwill has an account of its own, in both directions."""
    await story.before(award("video", 100, key="A"))
    await story.then(Adjust(**asked("G"), points=25, reason="late parcel", actor="agent 7"))
    await story.then(Adjust(**asked("twice"), points=-10, reason="booked twice", actor="agent 7"))
    assert (await story.left("A"), await story.left("G")) == (90, 25)
    await story.is_as_told("Example: sorry, and a mistake")


async def test_a_payment_that_is_disputed(story: Story) -> None:
    """A frozen lot is passed over, and is in its old place when it may go on."""
    trip, tour = await story.offers(20), await story.offers(31)
    await story.before(award("video", 100, key="A"))
    await story.before(award("video", 30, key="B"))
    why: dict[str, Any] = {"lot": "A", "reason": "payment disputed", "actor": "agent 7"}
    await story.then(Freeze(**asked("stop"), frozen=True, **why))
    with pytest.raises(BenefitUnavailable) as refused:
        await story.before(redeem(tour))
    assert refused.value.reasons == ["FROZEN"]
    await story.then(redeem(trip))
    await story.then(Freeze(**asked("go on"), frozen=False, **why))
    await story.then(redeem(trip))
    assert await story.balance() == 90
    await story.is_as_told("Example: a payment that is disputed")


async def test_happy_birthday(house: House, story: Story) -> None:
    """A gift keeps issuer and end, lot by lot, and goes no further than its issuer allows a day."""
    await story.rules(gift_day_points=50)
    await story.before(award("video", 20, expires=await house.soon(days=5), key="A"))
    await story.before(award("video", 60, key="B"))
    bob = by_reference("video", "bob")
    await story.before(award("video", 1, whose=bob, key="bobs own"))
    await story.then(Give(**asked("gift"), to=bob, points=30))
    with pytest.raises(InsufficientPoints) as refused:
        await story.before(Give(**asked("too much"), to=bob, points=21))
    assert refused.value.available == 20
    mine, his = await story.wallet(), await story.wallet("bob")
    ends = [getattr(mine.lot("A"), "expires_at", None), None]
    assert [getattr(his.lot(f"gift/{n}"), "expires_at", "no such lot") for n in (0, 1)] == ends
    assert (await story.balance(), await story.balance("bob")) == (50, 31)
    await story.is_as_told("Example: happy birthday")


async def test_a_holiday_saved_together(house: House, story: Story) -> None:
    """What one pays in another draws, and who leaves leaves it behind."""
    await story.rules(gift_day_points=1_000)
    await story.before(award("video", 100, key="A"))
    await story.before(award("video", 1, whose=by_reference("video", "bob"), key="bobs own"))
    pool: dict[str, Any] = {"to": ByWallet("founded")}
    await story.then(Share(**asked("founded"), **pool, what=Sharing.FOUND))
    until = await house.soon(days=1)
    await story.then(Share(**asked("joined", "bob"), **pool, what=Sharing.JOIN, invited_until=until))
    await story.then(Share(**asked("paid"), **pool, what=Sharing.PAY_IN, points=60))
    await story.then(Share(**asked("drawn", "bob"), **pool, what=Sharing.DRAW, points=25))
    await story.then(Share(**asked("left"), **pool, what=Sharing.LEAVE))
    assert (await story.balance(), await story.balance("bob")) == (40, 26)
    shared = (await house.books.second_round(["founded"], [], [], {})).wallets["founded"]
    assert (shared.balance(await house.soon()), len(shared.members)) == (35, 1)
    with pytest.raises(ValidationFailed, match="draws what is in the pool first"):
        await story.before(Share(**asked("left too", "bob"), **pool, what=Sharing.LEAVE))
    await story.is_as_told("Example: a holiday saved together")
