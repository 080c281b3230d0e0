"""The points liability over the API: what finance sees of everybody, and an issuer of itself."""

from __future__ import annotations

import pytest

from tests.graph.speech import Payload, World

LIABILITIES = """query($n: Int) { liabilities(period: $n) { issuer { handle } period { number status } over
  vintages { ...row } total { ...row } ageing { fromMonths belowMonths points } ending { month points }
  estimate { redeemed basisPoints } } }
fragment row on LiabilityVintage { month opening awarded redeemed expired adjusted closing }"""


@pytest.fixture(scope="module")
async def closed(exchange: World) -> World:
    """Close a period in which video awarded 900 and rides 500, and anna spent 300 of video's; go on in the next."""
    await exchange.agree("video", "rides", "8.00")
    await exchange.award("video", "anna", 900, expiresAt="2900-01-01T00:00:00Z")
    await exchange.link("anna@video", "rides", "r-anna")
    await exchange.award("rides", "r-anna", 500)
    ride = await exchange.publish("rides", 300, sku="ride")
    await exchange.redeem("anna@video", ride)
    await exchange.done("preparer", "closePeriod", number=1)
    await exchange.redeem("anna@video", ride)
    return exchange


async def seen(exchange: World, who: str, number: int | None = None) -> list[Payload] | None:
    answer = await exchange.read(who, LIABILITIES, n=number)
    found: list[Payload] | None = answer
    return found


async def test_finance_sees_every_issuer(closed: World) -> None:
    """The roll-forward of the last closed period, its age and its ends; and no estimate of a young exchange."""
    found = await seen(closed, "viewer")
    assert found is not None
    assert [each["issuer"]["handle"] for each in found] == ["rides", "video"]
    rides, video = found
    assert video["period"] == {"number": 1, "status": "CLOSED"}
    assert [video["total"][name] for name in ("opening", "awarded", "redeemed", "expired", "adjusted", "closing")] == [
        "0", "900", "300", "0", "0", "600",
    ]  # fmt: skip
    [vintage] = video["vintages"]
    assert vintage | {"month": ""} == video["total"]
    assert video["ending"] == [{"month": "2900-01", "points": "600"}]
    assert rides["ending"] == [{"month": None, "points": "500"}]
    assert video["ageing"][0] == {"fromMonths": 0, "belowMonths": 3, "points": "600"}
    assert (video["over"], video["estimate"]) == ("0", None)


async def test_an_issuer_sees_its_own(closed: World) -> None:
    """And nothing of another's; delivery, which awarded nothing, sees none."""
    everybody = await seen(closed, "viewer", 1)
    assert everybody is not None
    assert await seen(closed, "video", 1) == [each for each in everybody if each["issuer"]["handle"] == "video"]
    assert await seen(closed, "delivery", 1) == []


async def test_a_period_that_is_not_closed_has_none_yet(closed: World) -> None:
    """Neither the open one, nor one that there is not."""
    assert await seen(closed, "viewer", 2) is None
    assert await seen(closed, "viewer", 99) is None
