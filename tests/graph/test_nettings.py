"""Netting over the API: tried and recorded by finance, seen by each partner as far as it concerns it; and rates."""

from __future__ import annotations

import pytest

from tests.graph.speech import FRAGMENTS, Payload, World, refusal

NETTING = f"query($n: Int!) {{ netting(period: $n) {{ ...netting }} }} {FRAGMENTS['netting']}"
TRIED = (
    "query($n: Int!, $p: NettingWishInput) { netting(period: $n, policy: $p) { ...netting } }" + FRAGMENTS["netting"]
)
DAILY = """Date, USD, JPY, GBP, \n08 December 2023, 1.0777, 155.53, 0.8569, \n"""
OTHERWISE = DAILY.replace("155.53", "155.54")
EUR = {"currency": "EUR"}


@pytest.fixture(scope="module")
async def closed(exchange: World) -> World:
    """Close two periods.

    In the first video owes rides 8.00, rides owes delivery 4.00, delivery owes video 0.80; in the second video owes
    rides 1.25 dollars.
    """
    for issuer, member, provider, points in (
        ("video", "anna", "rides", 1_000), ("rides", "ben", "delivery", 500), ("delivery", "cleo", "video", 100),
    ):  # fmt: skip
        await exchange.award(issuer, member, points)
        await exchange.redeem(f"{member}@{issuer}", await exchange.publish(provider, points))
    await exchange.done("preparer", "closePeriod", number=1)
    await exchange.agree("video", "rides", "10.00", "USD")
    await exchange.award("video", "anna", 125)
    await exchange.redeem("anna@video", await exchange.publish("rides", 125))
    await exchange.done("preparer", "closePeriod", number=2)
    return exchange


@pytest.fixture(scope="module")
async def governed(closed: World) -> World:
    """Let there be rates, and a standing policy by which rides settles in euro."""
    await closed.done("preparer", "importFixes", content=DAILY)
    await closed.done(
        "admin", "setNettingPolicy", plan="FEWEST", minimums=[money("4.00")], expectedVersion=0,
        settle=[{"partner": closed.ids["rides"], "currency": "EUR"}],
    )  # fmt: skip
    return closed


@pytest.fixture(scope="module")
async def recorded(governed: World) -> World:
    """Record both nettings, the second through the exchange and with nothing carried."""
    for number, more in ((1, {}), (2, {"plan": "EXCHANGE", "minimums": []})):
        wish = {"period": number, "fix": "ecb-2023-12-08", "idempotencyKey": f"net-{number}"}
        await governed.done("preparer", "recordNetting", **wish, **more)
    return governed


def money(amount: str) -> Payload:
    return {"amount": amount, **EUR}


def paid(rows: list[Payload]) -> list[tuple[str, str, str]]:
    return [(row["from"]["handle"], row["to"]["handle"], row["amount"]["amount"]) for row in rows]


async def test_finance_tries_a_netting_and_nothing_is_recorded(closed: World) -> None:
    """Under any policy, with what it saves, and what it changes for survivors."""
    tried = await closed.read("viewer", TRIED, n=1, p={"plan": "FEWEST", "minimums": [money("4.00")]})
    assert paid(tried["payments"]) == [("video", "rides", "4.00")]
    assert paid(tried["carried"]) == [("video", "delivery", "3.20")]
    assert [(each["partner"]["handle"], each["net"]["amount"]) for each in tried["standings"]] == [
        ("delivery", "3.20"), ("rides", "4.00"), ("video", "-7.20"),
    ]  # fmt: skip
    assert tried["measures"] == [
        {"gross": {"amount": "12.80"}, "bilateral": {"amount": "12.80"}, "multilateral": {"amount": "7.20"},
         "efficiencyBasisPoints": 4375}
    ]  # fmt: skip
    assert (tried["recordedAt"], tried["hash"], tried["changes"]) == (None, None, [])
    without = await closed.read("viewer", TRIED, n=1, p={"without": [closed.ids["delivery"]]})
    assert [(each["partner"]["handle"], each["difference"]["amount"]) for each in without["changes"]] == [
        ("rides", "4.00"), ("video", "-0.80"),
    ]  # fmt: skip
    assert without["without"] == [{"handle": "delivery"}]
    grouped = await closed.read(
        "viewer", TRIED, n=1, p={"groups": [{"parent": closed.ids["rides"], "members": [closed.ids["delivery"]]}]}
    )
    assert [(each["partner"]["handle"], each["amount"]["amount"]) for each in grouped["nets"]] == [
        ("rides", "7.20"), ("video", "-7.20"),
    ]  # fmt: skip
    assert grouped["standings"][0]["settledBy"] == {"handle": "rides"}
    assert await closed.read("viewer", NETTING, n=1) is None


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"minimums": [money("0.00")]}, "input.minimums: a minimum is more than nothing"),
        ({"minimums": [money("1.00"), money("2.00")]}, "input.minimums.1: EUR is there twice"),
        ({"fix": "ecb-1900-01-01"}, "input.fix: no such fix"),
        ({"groups": [{"parent": "bm90aGluZw", "members": []}]}, "input.groups: no such partner"),
    ],
)
async def test_a_wish_that_cannot_be_is_named(closed: World, wish: Payload, said: str) -> None:
    """As a fault of the request, with the place in it; so is a period that there is not."""
    answer = await closed.ask("viewer", TRIED, n=1, p=wish)
    assert (answer.codes, answer.body["errors"][0]["message"]) == (["BAD_USER_INPUT"], said)
    assert (await closed.ask("viewer", TRIED, n=99, p={})).codes == ["BAD_USER_INPUT"]


async def test_the_standing_policy_is_set_and_read(governed: World) -> None:
    """In versions: what changes nothing adds none, and one that somebody else followed is refused."""
    group = {"parent": governed.ids["rides"], "members": [governed.ids["delivery"]]}
    refused = await governed.do("admin", "setNettingPolicy", groups=[group, group])
    assert refusal(refused, "VALIDATION_ERROR", ["input", "groups"])
    refused = await governed.do(
        "admin", "setNettingPolicy", groups=[{"parent": governed.ids["rides"], "members": ["x"]}]
    )
    assert refusal(refused, "NOT_FOUND", ["input", "groups"])
    same = await governed.done(
        "admin", "setNettingPolicy", plan="FEWEST", minimums=[money("4.00")], expectedVersion=1,
        settle=[{"partner": governed.ids["rides"], "currency": "EUR"}],
    )  # fmt: skip
    assert same == {
        "__typename": "NettingPolicy", "version": 1, "plan": "FEWEST", "minimums": [money("4.00")], "groups": [],
        "settle": [{"partner": {"handle": "rides"}, "currency": "EUR"}],
    }  # fmt: skip
    refused = await governed.do("admin", "setNettingPolicy", expectedVersion=0)
    assert refusal(refused, "VERSION_CONFLICT", ["input", "expectedVersion"], retryable=True, currentVersion=1)
    found = await governed.read("viewer", "{ nettingPolicy { version since plan groups { parent { handle } } } }")
    assert (found["version"], found["plan"], found["groups"]) == (1, "FEWEST", [])
    assert found["since"] is not None


async def test_rates_are_imported_and_read(governed: World) -> None:
    """Once; what says otherwise is refused as a whole, and so is what is no file of the bank's."""
    two = DAILY.replace("08 Dec", "07 Dec") + DAILY.splitlines(keepends=True)[1]
    made = await governed.done("admin", "importFixes", content=two)
    assert made == {
        "__typename": "ImportFixesSuccess", "added": 1, "known": 1, "first": {"id": "ecb-2023-12-07"},
        "last": {"id": "ecb-2023-12-08", "date": "2023-12-08"},
    }  # fmt: skip
    for wrong in (OTHERWISE, "none", ""):
        refused = await governed.do("admin", "importFixes", content=wrong)
        assert refusal(refused, "VALIDATION_ERROR", ["input", "content"])
    query = "query($a: String) { fixes(first: 1, after: $a) { nodes { id base date } pageInfo { endCursor } } }"
    first = await governed.read("video", query)
    assert first["nodes"] == [{"id": "ecb-2023-12-08", "base": "EUR", "date": "2023-12-08"}]
    second = await governed.read("video", query, a=first["pageInfo"]["endCursor"])
    assert [each["id"] for each in second["nodes"]] == ["ecb-2023-12-07"]
    rates = "query($id: ID!) { fix(id: $id) { rates { currency rate } } }"
    assert (await governed.read("video", rates, id="ecb-2023-12-08"))["rates"] == [
        {"currency": "GBP", "rate": "0.8569"}, {"currency": "JPY", "rate": "155.53"},
        {"currency": "USD", "rate": "1.0777"},
    ]  # fmt: skip
    assert await governed.read("video", rates, id="ecb-1900-01-01") is None


async def test_a_netting_is_recorded_once(recorded: World) -> None:
    """By the standing policy, which needs a fix for its currencies; its key repeats it, another is refused."""
    again = await recorded.done(
        "preparer", "recordNetting", period=1, fix="ecb-2023-12-08", idempotencyKey="net-1"
    )  # fmt: skip
    netting = again["netting"]
    assert (again["replayed"], netting["plan"], netting["standingPolicy"], netting["follows"]) == (
        True, "FEWEST", 1, None,
    )  # fmt: skip
    assert netting["recordedBy"] == recorded.services.tokens.staff_subject("preparer@exchange.test")
    assert (paid(netting["payments"]), paid(netting["carried"])) == (
        [("video", "rides", "4.00")], [("video", "delivery", "3.20")],
    )  # fmt: skip
    assert await recorded.read("viewer", NETTING, n=1) == netting
    refused: dict[tuple[str, str], Payload] = {
        ("VALIDATION_ERROR", "fix"): {"idempotencyKey": "another", "period": 3, "fix": None},
        ("VALIDATION_ERROR", "period"): {"idempotencyKey": "another"},
        ("IDEMPOTENCY_CONFLICT", "idempotencyKey"): {"plan": "EXCHANGE"},
        ("NOT_FOUND", "period"): {"idempotencyKey": "another", "period": 99},
    }
    await recorded.done("preparer", "closePeriod", number=3)
    for (code, where), wish in refused.items():
        asked = {"period": 1, "fix": "ecb-2023-12-08", "idempotencyKey": "net-1", **wish}
        assert refusal(await recorded.do("preparer", "recordNetting", **asked), code, ["input", where])
    asked = {"period": 4, "fix": "ecb-2023-12-08", "idempotencyKey": "another"}
    assert refusal(await recorded.do("preparer", "recordNetting", **asked), "VALIDATION_ERROR", ["input", "period"])


async def test_the_next_takes_in_what_it_carries_and_converts(recorded: World) -> None:
    """Into the currency that rides has chosen; the account is the exchange's, and finance sees it."""
    netting = await recorded.read("viewer", NETTING, n=2)
    assert (netting["follows"], netting["fix"]) == (1, {"id": "ecb-2023-12-08"})
    assert [(each["partner"]["handle"], each["opening"]["amount"]) for each in netting["standings"]] == [
        ("delivery", "3.20"), ("rides", "0.00"), ("video", "-3.20"), ("video", "0.00"),
    ]  # fmt: skip
    assert netting["conversions"] == [
        {"partner": {"handle": "rides"}, "amount": {"amount": "1.25", "currency": "USD"}, "converted": money("1.16")}
    ]
    assert netting["conversionAccount"] == [money("-1.16"), {"amount": "1.25", "currency": "USD"}]
    assert paid(netting["payments"]) == [
        ("exchange", "delivery", "3.20"), ("exchange", "rides", "1.16"), ("video", "exchange", "3.20"),
        ("video", "exchange", "1.25"),
    ]  # fmt: skip


async def test_a_partner_sees_its_own_part_alone(recorded: World) -> None:
    """Its standing, its payments and its conversions; nothing that is made of everybody's figures, and no names."""
    everything = await recorded.read("viewer", NETTING, n=2)
    for who in ("video", "rides", "delivery"):
        seen = await recorded.read(who, NETTING, n=2)
        for name in ("standings", "nets", "conversions"):
            assert seen[name] == [each for each in everything[name] if each["partner"]["handle"] == who]
        for name in ("payments", "carried"):
            assert seen[name] == [
                each for each in everything[name] if who in (each["from"]["handle"], each["to"]["handle"])
            ]
        assert (seen["measures"], seen["conversionAccount"], seen["recordedBy"]) == (None, None, None)
        assert bool(seen["settle"]) == (who == "rides")
        assert seen["hash"] == everything["hash"]
    other = await recorded.onboard(recorded.fresh("other"))
    seen = await recorded.read(other, NETTING, n=1)
    names = ("standings", "nets", "payments", "carried", "conversions", "settle", "groups", "without", "changes")
    assert not any(seen[name] for name in names)
    answer = await recorded.ask("video", TRIED, n=1, p={})
    assert (answer.codes, answer.body["data"]) == (["FORBIDDEN"], {"netting": None})


async def test_nettings_are_listed(recorded: World) -> None:
    """The newest period first, page by page, for partners too."""
    query = """query($a: String) { nettings(first: 1, after: $a) {
        nodes { period { number } payments { amount { amount } } } pageInfo { endCursor hasNextPage } } }"""
    first = await recorded.read("delivery", query)
    assert first["nodes"] == [{"period": {"number": 2}, "payments": [{"amount": {"amount": "3.20"}}]}]
    assert first["pageInfo"]["hasNextPage"] is True
    second = await recorded.read("delivery", query, a=first["pageInfo"]["endCursor"])
    assert [each["period"]["number"] for each in second["nodes"]] == [1]
    assert second["pageInfo"]["hasNextPage"] is False


DUE = """query($n: Int!) { period(number: $n) {
  paymentPlan { from { handle } to { handle } amount { amount } }
  statements { nodes { id hash status partner { handle } approvalsNeeded
    due { from { handle } to { handle } amount { amount } } } } } }"""


async def test_a_period_is_paid_as_it_was_netted(recorded: World) -> None:
    """The plan, and what is due of each statement, are the netting's; a partner sees its own."""
    seen = await recorded.read("viewer", DUE, n=1)
    assert paid(seen["paymentPlan"]) == [("video", "rides", "4.00")]
    due = {each["partner"]["handle"]: paid(each["due"]) for each in seen["statements"]["nodes"]}
    assert due == {"delivery": [], "rides": [("video", "rides", "4.00")], "video": [("video", "rides", "4.00")]}
    own = await recorded.read("delivery", DUE, n=1)
    assert (own["paymentPlan"], [each["partner"]["handle"] for each in own["statements"]["nodes"]]) == (
        [],
        ["delivery"],
    )
    (statement,) = [each for each in seen["statements"]["nodes"] if each["partner"]["handle"] == "delivery"]
    named = {"statement": statement["id"], "hash": statement["hash"]}
    for who, step in (("preparer", "review"), ("approver", "approve"), ("preparer", "instruct")):
        done = await recorded.change(who, f"{step}Statement", **named)
    assert done["statement"]["status"] == "PAID"
    with_two = await recorded.read("viewer", DUE, n=2)
    assert paid(with_two["paymentPlan"]) == paid((await recorded.read("viewer", NETTING, n=2))["payments"])
