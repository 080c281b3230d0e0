"""A full batch that waits is read while the one before is written: it decides as if it had read afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from exchange.batch import Outcome
from exchange.benefit import Fulfilment
from exchange.commands import ByWallet, Command
from exchange.errors import BenefitUnavailable, ExchangeError, InsufficientPoints, InvalidTransition
from exchange.ledger import BATCH_MAX, Ledger
from exchange.redemption import Step
from exchange.store.lanes import Conflict
from tests.exchange.conftest import House, answers, known
from tests.exchange.speech import act, award, benefit, by_reference, enrol, redeem, reserve

FILM = benefit("video/film", 10)
FULL = 3 * BATCH_MAX
"""Commands at once: one batch is written while another waits."""


class Watched:
    """How often a ledger read, took what it had read ahead, and lost a commit."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: Counter[str] = Counter()
        taken, books = ledger._taken_ahead, ledger._books  # noqa: SLF001 - it shows nowhere else
        commit, read = books.commit, books.first_round

        async def take(*given: Any) -> Any:
            reads = await taken(*given)
            self.seen["ahead"] += reads is not None
            return reads

        async def commits(*given: Any) -> None:
            try:
                await commit(*given)
            except Conflict:
                self.seen["conflicts"] += 1
                raise

        async def reading(*given: Any) -> Any:
            self.seen["reads"] += 1
            return await read(*given)

        monkeypatch.setattr(ledger, "_taken_ahead", take)
        monkeypatch.setattr(books, "commit", commits)
        monkeypatch.setattr(books, "first_round", reading)


@pytest.fixture
def watched(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(ledger, monkeypatch)


async def all_at_once(ledger: Ledger, commands: Sequence[Command]) -> Counter[type]:
    """Submit all of them at once; count the answers by kind."""
    return Counter(type(one) for one in await answers(ledger, *commands))


async def test_members_in_both_batches_spend_nothing_twice(house: House, ledger: Ledger, watched: Watched) -> None:
    """A few members ask for far more than they have: they get it to the last point, and no commit is lost."""
    await house.publish(FILM)
    wallets = [await known(ledger, "video", reference=f"member-{n}") for n in range(7)]
    await answers(ledger, *(award("video", 300, whose=ByWallet(wallet)) for wallet in wallets))
    told = await all_at_once(ledger, [redeem(FILM, whose=ByWallet(wallets[n % 7])) for n in range(FULL)])
    assert told == {Outcome: 210, InsufficientPoints: FULL - 210}
    assert watched.seen["ahead"] >= 1
    assert watched.seen["conflicts"] == 0
    await house.prove()


async def test_scarce_units_in_both_batches(house: House, ledger: Ledger, watched: Watched) -> None:
    """What the batch before took of the shelf is not there any more, and what comes back is."""
    rare = benefit("video/rare", 1, stock=200)
    await house.publish(rare)
    wallet = await known(ledger, "video")
    await ledger.submit(award("video", 10_000, whose=ByWallet(wallet)))
    told = await all_at_once(ledger, [redeem(rare, whose=ByWallet(wallet)) for _ in range(FULL)])
    assert told == {Outcome: 200, BenefitUnavailable: FULL - 200}
    assert watched.seen["ahead"] >= 1
    await house.prove()


async def test_the_same_key_in_both_batches(house: House, ledger: Ledger, watched: Watched) -> None:
    """It happens once, and who asks again is answered from what the batch before has written."""
    await house.publish(FILM)
    wallet = ByWallet(await known(ledger, "video"))
    await ledger.submit(award("video", 100_000, whose=wallet))
    asked = [redeem(FILM, whose=wallet, key=f"key-{n % (FULL // 2)}") for n in range(FULL)]
    told = await answers(ledger, *asked)
    assert Counter(one.replayed for one in told if isinstance(one, Outcome)) == {False: FULL // 2, True: FULL // 2}
    assert await house.count("redemptions") == FULL // 2
    await house.prove()


async def test_steps_of_the_same_redemptions(house: House, ledger: Ledger, watched: Watched) -> None:
    """Of two confirmations in two batches one succeeds, and the other learns that it came too late."""
    await house.publish(FILM)
    wallet = ByWallet(await known(ledger, "video"))
    await ledger.submit(award("video", 100_000, whose=wallet))
    held = [await ledger.submit(reserve(FILM, whose=wallet, key=f"hold-{n}")) for n in range(BATCH_MAX)]
    names = [one.redemption for one in held if one.redemption is not None]
    steps = [act(Step.CONFIRM, name, key=f"{turn}-{name.id}") for turn in range(3) for name in names]
    assert await all_at_once(ledger, steps) == {Outcome: BATCH_MAX, InvalidTransition: FULL - BATCH_MAX}
    assert watched.seen["ahead"] >= 1
    await house.prove()


async def test_whoever_comes_into_being_is_read_again(house: House, ledger: Ledger, watched: Watched) -> None:
    """First mentions, codes: what cannot be carried into what was read ahead is read anew."""
    voucher = benefit("video/voucher", 1, fulfilment=Fulfilment.INSTANT_CODE)
    await house.publish(voucher)
    await house.catalog.add_codes("video", "voucher", [f"code-{n}" for n in range(300)])
    everybody = [by_reference("video", f"member-{n}") for n in range(BATCH_MAX)]
    told = await all_at_once(
        ledger,
        [
            *(award("video", 2, whose=whose) for whose in everybody),
            *(enrol("video", whose=whose) for whose in everybody),
            *(redeem(voucher, whose=whose) for whose in everybody),
        ],
    )
    assert told == {Outcome: FULL}
    # Behind the batch of enrolments, which made nobody.
    assert watched.seen["ahead"] == 1
    await house.prove()


async def test_nothing_is_kept_of_what_was_read_before_a_lost_commit(
    house: House, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit fails, and the batch behind it reads again: it must not decide by what never happened."""
    await house.publish(FILM)
    wallets = [ByWallet(await known(ledger, "video", reference=f"member-{n}")) for n in range(3)]
    await answers(ledger, *(award("video", 1_000, whose=wallet) for wallet in wallets))
    await ledger.submit(redeem(FILM, whose=wallets[0]))  # now it has a shelf, which takes a commit of its own
    watched = Watched(ledger, monkeypatch)
    async with house.failing(
        "commitTransaction", {"times": 1}, errorCode=251, errorLabels=["TransientTransactionError"]
    ):
        told = await all_at_once(ledger, [redeem(FILM, whose=wallets[n % 3]) for n in range(FULL)])
    assert told == {Outcome: 299, InsufficientPoints: FULL - 299}
    assert watched.seen["conflicts"] == 1
    await house.prove()


async def test_two_processes_read_ahead_of_each_other(house: House, ledger: Ledger) -> None:
    """Each holds reads that the other makes stale: versions refuse them, and all comes out right."""
    await house.publish(FILM)
    rival = await house.ledger()
    wallets = [ByWallet(await known(ledger, "video", reference=f"member-{n}")) for n in range(40)]
    await answers(ledger, *(award("video", 100, whose=wallet) for wallet in wallets))

    async def ask(one: Ledger) -> list[Outcome | ExchangeError]:
        return await answers(one, *(redeem(FILM, whose=wallets[n % 40]) for n in range(FULL)))

    told = [one for half in await asyncio.gather(ask(ledger), ask(rival)) for one in half]
    assert Counter(type(one) for one in told) == {Outcome: 400, InsufficientPoints: 2 * FULL - 400}
    await house.prove()


async def test_less_than_a_full_batch_is_not_read_ahead(house: House, ledger: Ledger, watched: Watched) -> None:
    """What waits and is not full gains more by waiting for whoever comes: it is read when its turn comes."""
    await house.publish(FILM)
    wallet = ByWallet(await known(ledger, "video"))
    await ledger.submit(award("video", 100_000, whose=wallet))
    before = Counter(watched.seen)
    await all_at_once(ledger, [redeem(FILM, whose=wallet) for _ in range(BATCH_MAX + 40)])
    assert watched.seen - before == Counter(reads=2)
