"""What a period settles, who may see which rows of it, and that they add up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

import pytest

from tests.graph.speech import Payload, World

FIGURES = """
fragment money on Money { amount currency }
fragment position on Position { partner { handle } payable { ...money } receivable { ...money } fees { ...money }
  net { ...money } }
fragment figures on Period { id number status openedAt closedAt entries root positions { ...position }
  bilateral { debtor { handle } creditor { handle } gross { ...money } points entries }
  paymentPlan { from { handle } to { handle } amount { ...money } }
  statements { nodes { id hash status period { number } partner { handle } opening { ...money }
    totals { ...position } lines(first: 100) { totalCount nodes { entry at kind points late benefit { sku }
      counterparty { handle } gross { ...money } fee { ...money } net { ...money } } } } } }"""
PERIOD = f"query($n: Int) {{ period(number: $n) {{ ...figures }} }} {FIGURES}"


@dataclass
class Closed:
    """A period's figures as finance saw them, and its number."""

    number: int
    seen: Payload


@pytest.fixture(scope="module")
async def closed(exchange: World) -> Closed:
    """Close a period in which points of video and rides were spent at delivery and rides.

    anna, of video, has 10,000 points of video, which expire first, and 5,000 of rides. Through video's app she takes
    a parcel of delivery for 12,000 (10,000 of video, 2,000 of rides), through rides' app one for 2,000, of rides, and
    through video's a ride for 1,000, of rides' own.
    8.00 EUR per 1,000 points; of what it is owed delivery pays 150 basis points of fee and 300 of commission.
    """
    for issuer in ("video", "rides"):
        await exchange.agree(issuer, "delivery", "8.00", feeBasisPoints=150, commissionBasisPoints=300)
    await exchange.award("video", "anna", 10_000, expiresAt="2900-01-01T00:00:00Z")
    await exchange.link("anna@video", "rides", "r-anna")
    await exchange.award("rides", "r-anna", 5_000)
    for who, provider, price in (("anna@video", "delivery", 12_000), ("r-anna@rides", "delivery", 2_000),
                                 ("anna@video", "rides", 1_000)):  # fmt: skip
        await exchange.redeem(who, await exchange.publish(provider, price, sku=f"{provider}-{price}"))
    await exchange.done("preparer", "closePeriod", number=1)
    return Closed(1, await exchange.read("viewer", PERIOD, n=1))


def told(position: Payload) -> str:
    sums = (position[name]["amount"] for name in ("payable", "receivable", "fees", "net"))
    return f"{position['partner']['handle']} {' '.join(sums)}"


async def test_positions_are_what_can_be_added_by_hand(closed: Closed) -> None:
    """Net = receivable - payable - fees, commissions are payable and receivable, the exchange receives the fees."""
    # delivery: owed 96.00 + 16.00 by video (80) and rides (16 + 16); fee 1.20 + .24 + .24, commission 2.40 + .48 + .48
    assert [told(position) for position in closed.seen["positions"]] == [
        "delivery 3.36 112.00 1.68 106.96",
        "exchange 0.00 1.68 0.00 1.68",
        "rides 32.00 0.48 0.00 -31.52",
        "video 80.00 2.88 0.00 -77.12",
    ]
    assert sum(Decimal(position["net"]["amount"]) for position in closed.seen["positions"]) == 0


async def test_who_owes_whom_comes_before_netting(closed: Closed) -> None:
    """Bilateral rows are gross, by debtor and creditor, with the points and redemptions they rest on."""
    rows = [
        f"{row['debtor']['handle']} -> {row['creditor']['handle']} {row['gross']['amount']}"
        f" {row['points']} {row['entries']}"
        for row in closed.seen["bilateral"]
    ]
    assert rows[-2:] == ["rides -> delivery 32.00 4000 2", "video -> delivery 80.00 10000 1"]
    assert [row.rsplit(" ", 2)[0] for row in rows[:-2]] == [
        "delivery -> exchange 1.68", "delivery -> rides 0.48", "delivery -> video 2.88",
    ]  # fmt: skip


async def test_the_payment_plan_settles_everybody(closed: Closed) -> None:
    """After the payments every position is zero."""
    left = {position["partner"]["handle"]: Decimal(position["net"]["amount"]) for position in closed.seen["positions"]}
    for payment in closed.seen["paymentPlan"]:
        amount = Decimal(payment["amount"]["amount"])
        assert amount > 0
        left[payment["from"]["handle"]] += amount
        left[payment["to"]["handle"]] -= amount
    assert set(left.values()) == {0}


async def test_statement_lines_add_up_to_the_position(closed: Closed) -> None:
    """A statement's lines are signed, and their nets sum to the position; a commission has no points."""
    statements = {node["partner"]["handle"]: node for node in closed.seen["statements"]["nodes"]}
    positions = {told(position) for position in closed.seen["positions"]}
    assert list(statements) == ["delivery", "rides", "video"]
    for handle, statement in statements.items():
        lines = statement["lines"]["nodes"]
        assert (statement["status"], statement["opening"], statement["period"]["number"]) == ("DRAFT", [], 1)
        assert statement["lines"]["totalCount"] == len(lines)
        assert {told(total) for total in statement["totals"]} <= positions
        for line in lines:
            gross, fee, net = (Decimal(line[name]["amount"]) for name in ("gross", "fee", "net"))
            assert net == gross - fee
            assert not line["late"]
            if line["kind"] == "COMMISSION":
                assert line["points"] == "0"
        assert sum(Decimal(line["net"]["amount"]) for line in lines) == Decimal(statement["totals"][0]["net"]["amount"])
        assert [line["at"] for line in lines] == sorted(line["at"] for line in lines), handle
    kinds = defaultdict(list)
    for line in statements["video"]["lines"]["nodes"]:
        kinds[line["kind"]].append((line["counterparty"]["handle"], line["points"], line["net"]["amount"]))
    assert kinds["REDEMPTION"] == [("delivery", "-10000", "-80.00")]
    assert sum(Decimal(net) for _, _, net in kinds["COMMISSION"]) == Decimal("2.88")
    assert {line["benefit"]["sku"] for line in statements["video"]["lines"]["nodes"]} == {"delivery-12000"}


async def test_a_redemption_of_own_points_is_on_no_statement(closed: Closed) -> None:
    """Points spent at their own issuer are recorded, and settle nothing."""
    skus = {
        line["benefit"]["sku"]
        for node in closed.seen["statements"]["nodes"]
        for line in node["lines"]["nodes"]
        if line["benefit"]
    }
    assert skus == {"delivery-12000", "delivery-2000"}


@pytest.mark.parametrize("partner", ["video", "delivery", "rides"])
async def test_a_partner_sees_its_own_rows(world: World, closed: Closed, partner: str) -> None:
    """Of a period a partner sees its positions, its debts and claims, its payments, its statement: as finance does."""
    own = await world.read(partner, PERIOD, n=closed.number)
    everything = closed.seen

    def mine(rows: list[Payload], *sides: str) -> list[Payload]:
        return [row for row in rows if partner in [row[side]["handle"] for side in sides]]

    assert own["positions"] == mine(everything["positions"], "partner") != []
    assert own["bilateral"] == mine(everything["bilateral"], "debtor", "creditor") != []
    assert own["paymentPlan"] == mine(everything["paymentPlan"], "from", "to") != []
    statements = mine(everything["statements"]["nodes"], "partner")
    assert own["statements"]["nodes"] == statements
    assert len(statements) == 1
    assert own["entries"] == str(len({line["entry"] for line in statements[0]["lines"]["nodes"]}))
    for name in ("id", "number", "status", "openedAt", "closedAt", "root"):
        assert own[name] == everything[name]


async def test_a_partner_without_business_sees_no_rows(world: World, closed: Closed) -> None:
    """Who had nothing to settle has no position, no statement, no entries."""
    await world.onboard("books")
    own = await world.read("books", PERIOD, n=closed.number)
    assert (own["positions"], own["bilateral"], own["paymentPlan"]) == ([], [], [])
    assert (own["statements"]["nodes"], own["entries"]) == ([], "0")


async def test_entries_are_known_to_each_partner_by_its_own_id(world: World, closed: Closed) -> None:
    """The entry of one redemption has another id on every partner's statement."""
    entries = {
        node["partner"]["handle"]: {line["entry"] for line in node["lines"]["nodes"]}
        for node in closed.seen["statements"]["nodes"]
    }
    everyone = [entry for ids in entries.values() for entry in ids]
    assert len(set(everyone)) == len(everyone)


async def test_lines_come_in_pages(world: World, closed: Closed) -> None:
    """A statement's lines walk page by page, each once, in the order of time."""
    (statement,) = [node for node in closed.seen["statements"]["nodes"] if node["partner"]["handle"] == "delivery"]
    query = """query($id: ID!, $first: Int, $after: String) { statement(id: $id) {
        lines(first: $first, after: $after) { totalCount nodes { entry kind net { amount } }
          pageInfo { hasNextPage endCursor } } } }"""
    everything = [
        {"entry": line["entry"], "kind": line["kind"], "net": {"amount": line["net"]["amount"]}}
        for line in statement["lines"]["nodes"]
    ]
    for size in (1, 2, len(everything)):
        rows, cursor, more = [], None, True
        while more:
            page = (await world.read("delivery", query, id=statement["id"], first=size, after=cursor))["lines"]
            rows += page["nodes"]
            more, cursor = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
        assert rows == everything
    video = await world.read("video", PERIOD, n=closed.number)
    other = video["statements"]["nodes"][0]["id"]
    answer = await world.ask("video", query, id=other, after=cursor)
    assert answer.codes == ["BAD_USER_INPUT"]


async def test_closing_again_is_the_same_success(world: World, closed: Closed) -> None:
    """`closePeriod` repeated answers the same; the figures and hashes stay what they are, for ever."""
    payloads = [await world.done("preparer", "closePeriod", number=closed.number) for _ in range(2)]
    assert payloads[0] == payloads[1]
    assert payloads[0]["period"]["status"] == "CLOSED"
    assert payloads[0]["next"]["number"] == closed.number + 1
    await world.award("video", "anna", 100)
    await world.redeem("anna@video", await world.publish("delivery", 100))
    await world.agree("video", "delivery", "9.00")
    assert await world.read("viewer", PERIOD, n=closed.number) == closed.seen


async def test_closing_at_once_is_one_closing(world: World, closed: Closed) -> None:
    """Several people who close the same period, while points are spent, get the same answer; nothing is lost."""
    number = (await world.read("viewer", "{ period { number } }"))["number"]
    await world.award("rides", "r-anna", 30)
    parcel = await world.publish("delivery", 3)

    async def spend() -> str:
        return str((await world.redeem("r-anna@rides", parcel))["id"])

    results = await asyncio.gather(
        *(world.done("preparer", "closePeriod", number=number) for _ in range(4)), *(spend() for _ in range(10))
    )
    assert [one for one in results[:4] if one != results[0]] == []
    assert len(set(results[4:])) == 10
    await world.done("preparer", "closePeriod", number=number + 1)
    spent = 0
    for one in (number, number + 1):
        period = await world.read("rides", PERIOD, n=one)
        for node in period["statements"]["nodes"]:
            spent += sum(
                int(line["points"]) for line in node["lines"]["nodes"] if line["benefit"]["sku"] == parcel["sku"]
            )
    assert spent == -30


async def test_the_open_period_is_the_one_without_a_number(world: World, closed: Closed) -> None:
    """`period` without a number is open and provisional; one that does not exist is null; the list is newest first."""
    current = await world.read("viewer", "{ period { number status closedAt root } }")
    assert (current["status"], current["closedAt"], current["root"]) == ("OPEN", None, None)
    assert await world.read("viewer", "{ period(number: 999) { number } }") is None
    listed = await world.read("viewer", "{ periods { nodes { number status } } }")
    numbers = [node["number"] for node in listed["nodes"]]
    assert numbers == list(range(current["number"], 0, -1))
    assert [node["status"] for node in listed["nodes"]] == ["OPEN"] + ["CLOSED"] * (len(numbers) - 1)
    first = await world.read("viewer", "{ periods(first: 1) { nodes { number } pageInfo { endCursor } } }")
    query = "query($after: String) { periods(after: $after) { nodes { number } } }"
    rest = await world.read("viewer", query, after=first["pageInfo"]["endCursor"])
    assert [node["number"] for node in rest["nodes"]] == numbers[1:]


async def test_agreements_are_shown_to_whom_they_can_apply(world: World) -> None:
    """A partner sees its own agreements and the defaults, finance sees all; a filter restricts."""
    one, two = await world.onboard(world.fresh("issuer")), await world.onboard(world.fresh("provider"))
    pair, default = await world.agree(one, two, "7.00"), await world.agree(one, None, "6.00")
    query = """query($i: ID, $p: ID) { agreements(issuer: $i, provider: $p) {
        id issuer { handle } provider { handle } version pricePer1000Points { amount } } }"""

    async def seen(who: str, **chosen: str) -> set[str]:
        return {agreement["id"] for agreement in await world.read(who, query, **chosen)}

    for who in (one, two, "viewer", "admin"):
        assert {pair["id"], default["id"]} <= await seen(who)
    assert pair["id"] not in await seen("video")
    assert default["id"] in await seen("video")
    assert await seen("viewer", i=world.ids[one]) == {pair["id"], default["id"]}
    assert await seen("viewer", i=world.ids[one], p=world.ids[two]) == {pair["id"]}
    assert await seen("viewer", i="bm9uZQ") == set()


SIMULATED = """
fragment cost on SimulatedCost { gross { ...money } fees { ...money } commissions { ...money } }
query($input: SimulateAgreementInput!, $period: Int) { simulateAgreement(input: $input, period: $period) {
  period { number status } repriced
  rows { issuer { handle } provider { handle } currency redemptions points now { ...cost } simulated { ...cost }
    difference { ...cost } }
  totals { currency redemptions points now { ...cost } simulated { ...cost } difference { ...cost } } } }
fragment money on Money { amount currency }"""


def wish(world: World, issuer: str | None, provider: str | None, price: str, **more: int) -> Payload:
    sides = {"issuer": issuer, "provider": provider}
    named = {side: world.ids[handle] for side, handle in sides.items() if handle is not None}
    return {"pricePer1000Points": {"amount": price, "currency": "EUR"}, **named, **more}


def costs(compared: Payload) -> list[str]:
    """Say what it costs now, what it would, and the difference."""
    return [
        " ".join(compared[side][name]["amount"] for name in ("gross", "fees", "commissions"))
        for side in ("now", "simulated", "difference")
    ]


async def test_an_agreement_is_simulated_before_it_is_set(world: World, closed: Closed) -> None:
    """10,000 points of video at delivery for 9.00 instead of 8.00; the rest of the period stays as it is."""
    proposed = wish(world, "video", "delivery", "9.00", feeBasisPoints=100)
    for who in ("viewer", "admin"):
        simulated = await world.read(who, SIMULATED, input=proposed, period=closed.number)
        assert (simulated["period"], simulated["repriced"]) == ({"number": closed.number, "status": "CLOSED"}, "1")
        (row,) = simulated["rows"]
        sides = (row["issuer"]["handle"], row["provider"]["handle"])
        assert (*sides, row["currency"], row["redemptions"], row["points"]) == (
            "video", "delivery", "EUR", "1", "10000",
        )  # fmt: skip
        assert costs(row) == ["80.00 1.20 2.40", "90.00 0.90 0.00", "10.00 -0.30 -2.40"]
        (total,) = simulated["totals"]
        assert (total["currency"], total["redemptions"], total["points"]) == ("EUR", "2", "14000")
        assert costs(total) == ["112.00 1.68 3.36", "122.00 1.38 0.96", "10.00 -0.30 -2.40"]
    assert await world.read("viewer", PERIOD, n=closed.number) == closed.seen


async def test_without_a_period_the_last_closed_one_is_simulated(world: World, closed: Closed) -> None:
    """A default prices nothing where every pair has an agreement; the open period can be named."""
    newest = (await world.read("viewer", "{ periods { nodes { number status } } }"))["nodes"]
    proposed = wish(world, None, None, "1.00")
    simulated = await world.read("viewer", SIMULATED, input=proposed)
    assert simulated["period"] == next(node for node in newest if node["status"] == "CLOSED")
    assert (simulated["repriced"], simulated["rows"]) == ("0", [])
    so_far = await world.read("viewer", SIMULATED, input=proposed, period=newest[0]["number"])
    assert so_far["period"] == newest[0] | {"status": "OPEN"}


@pytest.mark.parametrize(
    ("changed", "period", "said"),
    [
        ({"pricePer1000Points": {"amount": "8.001", "currency": "EUR"}}, 1, "input.pricePer1000Points.amount: EUR has"),
        ({"feeBasisPoints": 10_001}, 1, "input.feeBasisPoints: must be 0 to 10000"),
        ({"feeBasisPoints": 1, "commissionBasisPoints": 10_000}, 1, "input.commissionBasisPoints: fee and commission"),
        ({"provider": "bm9uZQ"}, 1, "input.provider: no such partner"),
        ({}, 999, "no such period"),
        ({}, -1, "no such period"),
    ],
)
async def test_terms_that_nobody_could_set_are_not_simulated(
    world: World, closed: Closed, changed: Payload, period: int, said: str
) -> None:
    """What setAgreement would refuse, and a period that is not there, are BAD_USER_INPUT, said in one sentence."""
    answer = await world.ask("viewer", SIMULATED, input=wish(world, "video", None, "8.00") | changed, period=period)
    assert answer.codes == ["BAD_USER_INPUT"]
    assert answer.body["errors"][0]["message"].startswith(said)
