"""More at once than one batch holds: each batch decides on what the one before it left."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from exchange.batch import Outcome
from exchange.benefit import Fulfilment
from exchange.commands import ByWallet, Command
from exchange.errors import BenefitUnavailable, ExchangeError, InsufficientPoints, InvalidTransition
from exchange.ledger import BATCH_MAX, Ledger
from exchange.redemption import Step
from tests.exchange.conftest import House, answers, known
from tests.exchange.speech import act, award, benefit, by_reference, enrol, redeem, reserve

FILM = benefit("video/film", 10)
FULL = 3 * BATCH_MAX
"""Commands at once: three batches."""


async def all_at_once(ledger: Ledger, commands: Sequence[Command]) -> Counter[type]:
    """Submit all of them at once; count the answers by kind."""
    return Counter(type(one) for one in await answers(ledger, *commands))


async def test_members_in_both_batches_spend_nothing_twice(house: House, ledger: Ledger) -> None:
    """A few members ask for far more than they have: they get it to the last point."""
    await house.publish(FILM)
    wallets = [await known(ledger, "video", reference=f"member-{n}") for n in range(7)]
    await answers(ledger, *(award("video", 300, whose=ByWallet(wallet)) for wallet in wallets))
    told = await all_at_once(ledger, [redeem(FILM, whose=ByWallet(wallets[n % 7])) for n in range(FULL)])
    assert told == {Outcome: 210, InsufficientPoints: FULL - 210}
    await house.prove()


async def test_scarce_units_in_both_batches(house: House, ledger: Ledger) -> None:
    """What the batch before took of the shelf is not there any more, and what comes back is."""
    rare = benefit("video/rare", 1, stock=200)
    await house.publish(rare)
    wallet = await known(ledger, "video")
    await ledger.submit(award("video", 10_000, whose=ByWallet(wallet)))
    told = await all_at_once(ledger, [redeem(rare, whose=ByWallet(wallet)) for _ in range(FULL)])
    assert told == {Outcome: 200, BenefitUnavailable: FULL - 200}
    await house.prove()


async def test_the_same_key_in_both_batches(house: House, ledger: Ledger) -> None:
    """It happens once, and who asks again is answered from what the batch before has written."""
    await house.publish(FILM)
    wallet = ByWallet(await known(ledger, "video"))
    await ledger.submit(award("video", 100_000, whose=wallet))
    asked = [redeem(FILM, whose=wallet, key=f"key-{n % (FULL // 2)}") for n in range(FULL)]
    told = await answers(ledger, *asked)
    assert Counter(one.replayed for one in told if isinstance(one, Outcome)) == {False: FULL // 2, True: FULL // 2}
    assert await house.count("redemptions") == FULL // 2
    await house.prove()


async def test_steps_of_the_same_redemptions(house: House, ledger: Ledger) -> None:
    """Of two confirmations in two batches one succeeds, and the other learns that it came too late."""
    await house.publish(FILM)
    wallet = ByWallet(await known(ledger, "video"))
    await ledger.submit(award("video", 100_000, whose=wallet))
    held = [await ledger.submit(reserve(FILM, whose=wallet, key=f"hold-{n}")) for n in range(BATCH_MAX)]
    names = [one.redemption for one in held if one.redemption is not None]
    steps = [act(Step.CONFIRM, name, key=f"{turn}-{name.id}") for turn in range(3) for name in names]
    assert await all_at_once(ledger, steps) == {Outcome: BATCH_MAX, InvalidTransition: FULL - BATCH_MAX}
    await house.prove()


async def test_whoever_comes_into_being_is_there_for_the_next(house: House, ledger: Ledger) -> None:
    """Whom the first batch makes, the next two find; and each code goes to one of them."""
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
    await house.prove()


async def test_nothing_is_kept_of_a_lost_commit(house: House, ledger: Ledger) -> None:
    """A commit fails and is made again; the batch behind it does not decide by what never happened."""
    await house.publish(FILM)
    wallets = [ByWallet(await known(ledger, "video", reference=f"member-{n}")) for n in range(3)]
    await answers(ledger, *(award("video", 1_000, whose=wallet) for wallet in wallets))
    await ledger.submit(redeem(FILM, whose=wallets[0]))  # now it has a shelf, which takes a commit of its own
    async with house.failing(
        "commitTransaction", {"times": 1}, errorCode=251, errorLabels=["TransientTransactionError"]
    ):
        told = await all_at_once(ledger, [redeem(FILM, whose=wallets[n % 3]) for n in range(FULL)])
    assert told == {Outcome: 299, InsufficientPoints: FULL - 299}
    await house.prove()


async def test_two_processes_with_more_than_a_batch(house: House, ledger: Ledger) -> None:
    """Each reads what the other makes stale: versions refuse it, and all comes out right."""
    await house.publish(FILM)
    rival = await house.ledger()
    wallets = [ByWallet(await known(ledger, "video", reference=f"member-{n}")) for n in range(40)]
    await answers(ledger, *(award("video", 100, whose=wallet) for wallet in wallets))

    async def ask(one: Ledger) -> list[Outcome | ExchangeError]:
        return await answers(one, *(redeem(FILM, whose=wallets[n % 40]) for n in range(FULL)))

    told = [one for half in await asyncio.gather(ask(ledger), ask(rival)) for one in half]
    assert Counter(type(one) for one in told) == {Outcome: 400, InsufficientPoints: 2 * FULL - 400}
    await house.prove()
