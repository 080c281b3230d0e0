"""One period, worked out by hand.

Prices for 1,000 points: video -> rides 3.33 EUR, delivery -> rides 7.77 EUR (fee 1.5 %, commission 2.5 %), and
rides -> video 1000 JPY (commission 1 %).

1. ann, in video's app, takes airport for 1,001: 500 of video's points, 501 of delivery's. Exactly 166.5 + 389.277 =
   555.777 cents, so 556: floors 166 + 389, the cent left over goes to the larger remainder, .5: 167 + 389.
   Fees 2.505 -> 3 and 5.835 -> 6; commissions to video 4.175 -> 4 and 9.725 -> 10.
2. ann, in rides' own app, takes scooter for 250 of delivery's: 194.25 -> 194; fee 2.91 -> 3; commission 4.85 -> 5.
3. ben, in video's app, takes city for 500 of video's: 166.5 -> 166, half to even; fee 2.49 -> 2; commission 4.15 -> 4.
4. cleo, in rides' app, takes film for 15 of rides': 15 yen; commission 0.15 -> 0.
"""

from __future__ import annotations

from exchange.settlement.statement import Statement
from tests.exchange.settlement.conftest import World

EUR, JPY = "EUR", "JPY"


async def test_positions(example: World) -> None:
    """Payable, receivable, fees and net are those worked out, already while the period is open."""
    settlement = example.settle()
    worked = [
        ("delivery", EUR, 583, 0, 0, -583),
        ("exchange", EUR, 0, 14, 0, 14),
        ("rides", EUR, 23, 921, 14, 884),
        ("rides", JPY, 15, 0, 0, -15),
        ("video", EUR, 333, 18, 0, -315),
        ("video", JPY, 0, 15, 0, 15),
    ]
    for when in ("open", "closed"):
        if when == "closed":
            await settlement.close(1)
        assert [
            (p.partner, p.currency, p.payable.minor, p.receivable.minor, p.fees.minor, p.net.minor)
            for p in await settlement.positions(1)
        ] == worked


async def test_bilateral(example: World) -> None:
    """Who owes whom, gross; the redemption paid by two issuers counts once in the provider's own rows."""
    rows = await example.settle().bilateral(1)
    assert [(row.debtor, row.creditor, *row.gross, row.points, row.entries) for row in rows] == [
        ("delivery", "rides", 583, EUR, 751, 2),
        ("rides", "exchange", 14, EUR, 0, 3),
        ("rides", "video", 18, EUR, 0, 2),
        ("rides", "video", 15, JPY, 15, 1),
        ("video", "rides", 333, EUR, 1000, 2),
    ]


async def test_payment_plan(example: World) -> None:
    """Debtors pay the exchange, and it pays creditors."""
    plan = await example.settle().payment_plan(1)
    assert [(payment.from_, payment.to, *payment.amount) for payment in plan] == [
        ("delivery", "exchange", 583, EUR),
        ("exchange", "rides", 884, EUR),
        ("rides", "exchange", 15, JPY),
        ("video", "exchange", 315, EUR),
        ("exchange", "video", 15, JPY),
    ]


async def test_lines(example: World) -> None:
    """Lines are signed from the partner's side, in order of time, a commission a line of its own."""
    settlement = example.settle()
    await settlement.close(1)
    rides = await statement_of(example, "rides")
    lines = await settlement.lines(rides)
    assert [
        (ln.kind, ln.benefit, ln.counterparty, ln.points, ln.gross.minor, ln.fee.minor, ln.net.minor, ln.currency)
        for ln in lines
    ] == [
        ("REDEMPTION", "rides/airport", "video", 500, 167, 3, 164, EUR),
        ("COMMISSION", "rides/airport", "video", 0, -4, 0, -4, EUR),
        ("REDEMPTION", "rides/airport", "delivery", 501, 389, 6, 383, EUR),
        ("COMMISSION", "rides/airport", "video", 0, -10, 0, -10, EUR),
        ("REDEMPTION", "rides/scooter", "delivery", 250, 194, 3, 191, EUR),
        ("COMMISSION", "rides/scooter", "rides", 0, -5, 0, -5, EUR),
        ("COMMISSION", "rides/scooter", "rides", 0, 5, 0, 5, EUR),
        ("REDEMPTION", "rides/city", "video", 500, 166, 2, 164, EUR),
        ("COMMISSION", "rides/city", "video", 0, -4, 0, -4, EUR),
        ("REDEMPTION", "video/film", "video", -15, -15, 0, -15, JPY),
    ]
    assert rides.line_count == len(lines)
    assert rides.totals == tuple(await settlement.positions(1, "rides"))


async def test_a_partner_sees_its_own_rows_only(example: World) -> None:
    """Positions, bilateral rows, payments, entries and statements narrow to the partner that asks."""
    settlement = example.settle()
    await settlement.close(1)
    assert {p.partner for p in await settlement.positions(1, "delivery")} == {"delivery"}
    assert [(row.debtor, row.creditor) for row in await settlement.bilateral(1, "delivery")] == [("delivery", "rides")]
    assert [(p.from_, p.to) for p in await settlement.payment_plan(1, "delivery")] == [("delivery", "exchange")]
    assert [s.partner for s in await settlement.statements(1, partner="delivery")] == ["delivery"]
    assert await settlement.statements(1, after="delivery", partner="delivery") == []
    assert (await settlement.entries(1, "delivery"), await settlement.entries(1)) == (2, 10)
    assert await settlement.statement("1:rides", "delivery") is None
    assert await settlement.statement("1:rides", "rides") == await settlement.statement("1:rides")


async def test_statements_and_periods_are_paged(example: World) -> None:
    """Statements come by partner, periods the newest first; a page goes on where the last one ended."""
    settlement = example.settle()
    await settlement.close(1)
    await settlement.close(2)
    assert [s.partner for s in await settlement.statements(1, limit=2)] == ["delivery", "rides"]
    assert [s.partner for s in await settlement.statements(1, after="rides", limit=2)] == ["video"]
    assert [p.number for p in await settlement.periods(limit=2)] == [3, 2]
    assert [p.number for p in await settlement.periods(after=2)] == [1]
    assert await settlement.statements(2) == []


async def test_lines_are_paged(example: World) -> None:
    """Pages of any size, put together, are the statement; a page can end in the middle of an entry's lines."""
    settlement = example.settle()
    await settlement.close(1)
    rides = await statement_of(example, "rides")
    whole = await settlement.lines(rides)
    for size in (1, 2, 3, 7):
        pages, after = [], None
        while page := await settlement.lines(rides, after, size):
            assert len(page) <= size
            pages += page
            after = page[-1].place
        assert pages == whole


async def test_partners_cannot_join_their_lines(example: World) -> None:
    """The same redemption has another name in each partner's statement, and the same name within one."""
    settlement = example.settle()
    await settlement.close(1)
    names = {
        partner: [line.entry for line in await settlement.lines(await statement_of(example, partner))]
        for partner in ("delivery", "rides", "video")
    }
    assert len(set(names["rides"][:4])) == 1
    assert len(set(names["rides"])) == 4
    assert not set(names["rides"]) & set(names["video"]) | set(names["rides"]) & set(names["delivery"])


async def statement_of(world: World, partner: str) -> Statement:
    statement = await world.settle().statement(f"1:{partner}")
    assert statement is not None
    return statement
