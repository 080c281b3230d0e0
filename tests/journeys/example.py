"""The worked example of docs/settlement-example.md: its story, lived by the real application on a real database.

Three partners: air issues points and its app brings redemptions, shop and rides issue points and provide benefits. An
issuer pays for 1,000 points: air 7.77 EUR at rides and 1,250 JPY at shop, shop 3.33 EUR at rides, rides 9.00 EUR at
shop; of that the provider pays a fee, and a commission to whoever's app it was.

    period 1  R1  ann, in air's app: two trips to the airport, with 500 points of shop and 502 of air
              R2  bob, in shop's app: a city ride, 500 points of shop
              R3  ann, in rides' app: a basket, with 320 points of rides and 1,010 of air, so euro and yen
              R4  cem, in rides' app: a city ride, with rides' own points: nobody owes anything
              R5  cem, in air's app: a voucher, 333 points of rides
    period 2  R6  one trip of R1 is reversed, across the cut
              D   shop disputes its line of R2; a half is upheld, and adjusted here
              R7  bob, in air's app: a voucher, with 100 points of shop, its own, and 233 of air
    period 3  R8  the other trip of R1 is reversed
              R9  bob, in shop's app: two city rides, 1,000 points of shop
              R10 cem, in rides' app: a voucher, 333 points of rides
              shop and rides barter: 1.50 EUR of what shop's points cost, 2.50 of what rides' cost, in kind
    period 4  nothing but the end of the barter

What comes of it was worked out by hand. It stands in the page, with its arithmetic, and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from graph.app import create_app
from graph.services import open_services
from graph.settings import Settings
from tests.graph.cli.running import tell
from tests.graph.speech import ISSUER, Payload, World

PARTNERS = ("air", "shop", "rides")
PERIODS = (1, 2, 3)
"""Those with redemptions; in period 4 a barter ends, and that is all."""
AGREEMENTS = (
    ("air", "rides", "7.77", "EUR", 150, 250),
    ("shop", "rides", "3.33", "EUR", 150, 250),
    ("rides", "shop", "9.00", "EUR", 100, 200),
    ("air", "shop", "1250", "JPY", 200, 100),
)
"""Issuer, provider, the price of 1,000 points, and the fee and the commission in basis points."""

MONEY = "{ amount currency }"
PERIOD = f"""query($n: Int!) {{ period(number: $n) {{ number status entries root
  positions {{ partner {{ handle }} payable {MONEY} receivable {MONEY} fees {MONEY} net {MONEY} }}
  bilateral {{ debtor {{ handle }} creditor {{ handle }} gross {MONEY} points entries }}
  paymentPlan {{ from {{ handle }} to {{ handle }} amount {MONEY} }}
  statements {{ nodes {{ id hash status partner {{ handle }} opening {MONEY}
    totals {{ payable {MONEY} receivable {MONEY} fees {MONEY} net {MONEY} }}
    lines(first: 100) {{ totalCount nodes {{ entry line at kind points late counterparty {{ handle }} benefit {{ sku }}
      gross {MONEY} fee {MONEY} net {MONEY} }} }} }} }} }} }}"""


REDEMPTION = (
    f"query($id: ID!) {{ redemption(id: $id) {{ id status debits {{ issuer {{ handle }} points owed {MONEY} }} }} }}"
)


@dataclass
class Lived:
    """What finance read: each redemption when it was made or a part reversed, the dispute, each period once signed.

    `barter`: its id; `at`: the options by which commands find the exchange.
    """

    redemptions: dict[str, Payload] = field(default_factory=dict)
    dispute: Payload = field(default_factory=dict)
    barter: str = ""
    periods: dict[int, Payload] = field(default_factory=dict)
    at: tuple[str, ...] = ()

    def statement(self, name: str) -> Payload:
        """Return a statement, such as "1:rides"."""
        number, _, partner = name.partition(":")
        nodes = self.periods[int(number)]["statements"]["nodes"]
        found: Payload = next(each for each in nodes if each["partner"]["handle"] == partner)
        return found


async def live(settings: Settings, keys: Path, lived: Lived) -> None:
    """Live the story, from the first agreement to the last approval."""
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        services = await stack.enter_async_context(open_services(settings, ledger=False))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=ISSUER, timeout=30))
        world = World(app, http, services)
        await asyncio.to_thread(keys.write_text, json.dumps(await services.keys.published()))

        async def shell(*words: str) -> Payload:
            """Barter, as the operator does from a shell beside the running exchange."""
            at = ("--mongo-url", settings.mongo_url, "--data", settings.data)
            told: Payload = await asyncio.to_thread(tell, "barter", *words, *at)
            return told

        await _tell(world, lived, shell)
        await world.prove()


async def _tell(world: World, lived: Lived, shell: Callable[..., Awaitable[Payload]]) -> None:
    async def read(name: str, taken: Payload) -> Payload:
        shown: Payload = await world.read("viewer", REDEMPTION, id=taken["id"])
        lived.redemptions[name] = shown
        return taken

    for handle in PARTNERS:
        await world.onboard(handle)
    for issuer, provider, price, currency, fee, commission in AGREEMENTS:
        await world.agree(issuer, provider, price, currency, feeBasisPoints=fee, commissionBasisPoints=commission)
    airport = await world.publish("rides", 501, sku="airport")
    city = await world.publish("rides", 500, sku="city")
    basket = await world.publish("shop", 1330, sku="basket")
    voucher = await world.publish("shop", 333, sku="voucher")

    for member, first, *others in (("ann", "air", "shop", "rides"), ("bob", "shop", "air"), ("cem", "rides", "air")):
        for other in others:
            await world.link(f"{member}@{first}", other)

    # Period 1. None of the points ever ends, so those that were awarded first are spent first.
    for issuer, member, points in (
        ("shop", "ann", 500), ("air", "ann", 301), ("air", "ann", 201), ("rides", "ann", 320), ("air", "ann", 1100),
        ("shop", "bob", 600), ("rides", "cem", 900),
    ):  # fmt: skip
        await world.award(issuer, member, points)
    trips = await read("R1", await world.redeem("ann@air", airport, quantity=2))
    await read("R2", await world.redeem("bob@shop", city))
    await read("R3", await world.redeem("ann@rides", basket))
    await read("R4", await world.redeem("cem@rides", city))
    await read("R5", await world.redeem("cem@air", voucher))
    await _close_and_sign(world, lived, 1)

    # Period 2: one of the two trips comes back across the cut, and shop disputes what R2 cost it.
    await read("R6", await _give_back(world, trips))
    lived.dispute = await _dispute(world, lived)
    await world.award("air", "bob", 233)
    await read("R7", await world.redeem("bob@air", voucher))
    await _close_and_sign(world, lived, 2)

    # Period 3: the other trip comes back too; shop and rides owe each other, and barter.
    lived.barter = (await shell("add", "--one", "shop=1.50", "--other", "rides=2.50", "--currency", "EUR",
                                "--until", "2100-01-01T00:00:00Z"))["barter"]  # fmt: skip
    await read("R8", await _give_back(world, trips))
    await world.award("shop", "bob", 1000)
    await world.award("rides", "cem", 300)
    await read("R9", await world.redeem("bob@shop", city, quantity=2))
    await read("R10", await world.redeem("cem@rides", voucher))
    await _close_and_sign(world, lived, 3)

    # Period 4: the barter ends.
    await shell("end", lived.barter)
    await _close_and_sign(world, lived, 4)


async def _give_back(world: World, redemption: Payload) -> Payload:
    done = await world.step("rides", "reverse", redemption, quantity=1)
    assert done["__typename"] == "RedemptionActionSuccess", done
    shown: Payload = done["redemption"]
    return shown


async def _close_and_sign(world: World, lived: Lived, number: int) -> None:
    """Close the period; one of finance reviews each statement, another one approves it."""
    await world.done("preparer", "closePeriod", number=number)
    for statement in (await world.read("viewer", PERIOD, n=number))["statements"]["nodes"]:
        named = {"statement": statement["id"], "hash": statement["hash"]}
        await world.change("preparer", "reviewStatement", **named)
        await world.change("approver", "approveStatement", **named)
    lived.periods[number] = await world.read("viewer", PERIOD, n=number)


async def _dispute(world: World, lived: Lived) -> Payload:
    """Let shop dispute its line of R2; rides answers, finance upholds a half, and the dispute is returned."""
    statement = lived.statement("1:shop")
    line = statement["lines"]["nodes"][1]
    half = {"amount": "0.83", "currency": "EUR"}
    opened = await world.change(
        "shop", "openDispute", statement=statement["id"], entry=line["entry"], line=line["line"], reason="WRONG_AMOUNT",
        amount={"amount": "1.66", "currency": "EUR"}, text="the driver turned back half way",
    )  # fmt: skip
    named = {"dispute": opened["dispute"]["id"]}
    await world.change("rides", "answerDispute", text="half of the way was driven", **named)
    upheld = await world.change(
        "approver", "resolveDispute", upheld=True, amount=half, text="half of it, then", **named
    )
    shown: Payload = upheld["dispute"]
    return shown
