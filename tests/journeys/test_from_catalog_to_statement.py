"""The main job, end to end, on the demo exchange, through the doors that users have, on either driver."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.store.connection import DRIVER
from tests.journeys.running import EXCHANGE, RunningExchange, shell

PUBLISH = """mutation ($input: PublishBenefitsInput!) { publishBenefits(input: $input) {
  ... on PublishBenefitsSuccess { created benefits { id } } ... on UserError { code message path } } }"""
AWARD = """mutation ($input: AwardPointsInput!) { awardPoints(input: $input) {
  ... on AwardPointsSuccess { replayed lot { remaining } wallet { balance } }
  ... on UserError { code message path } } }"""
LINK_CODE = """mutation ($input: CreateLinkCodeInput!) { createLinkCode(input: $input) {
  ... on LinkCode { code } ... on UserError { code message path } } }"""
LINK = """mutation ($input: LinkMemberInput!) { linkMember(input: $input) {
  ... on LinkMemberSuccess { member { reference } } ... on UserError { code message path } } }"""
AGREE = """mutation ($input: SetAgreementInput!) { setAgreement(input: $input) {
  ... on Agreement { version } ... on UserError { code message path } } }"""
REDEEM = """mutation ($input: RedeemBenefitInput!) { redeemBenefit(input: $input) {
  ... on RedeemBenefitSuccess { replayed wallet { balance }
    redemption { id status points debits { issuer { handle } points owed { amount currency } } } }
  ... on UserError { code message path } } }"""
CLOSE = """mutation ($input: ClosePeriodInput!) { closePeriod(input: $input) {
  ... on ClosePeriodSuccess { next { number } period { number status
    positions { partner { handle }
      payable { amount currency } receivable { amount } fees { amount } net { amount currency } }
    statements(first: 100) { nodes { partner { handle } hash
      lines { totalCount nodes { kind points gross { amount } fee { amount } net { amount } counterparty { handle } } }
    } } } }
  ... on UserError { code message path } } }"""


DRIVERS = {"pymongo": "PyMongo|c|async", "motor": "PyMongo|c|Motor"}
"""What an operator may choose, and the name by which the server then knows its clients."""
MONITOR = "PyMongo|c"
"""PyMongo's monitors do not say that they are asynchronous."""


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def exchange(driver: str) -> Iterator[RunningExchange]:
    """The demo exchange, started as the README says; every process of it, and every command, takes the driver."""
    with (
        pytest.MonkeyPatch.context() as environment,
        tempfile.TemporaryDirectory() as directory,
    ):
        environment.setenv(DRIVER, driver)
        with RunningExchange(Path(directory) / "data", "--demo") as running:
            yield running


def test_the_running_exchange_is_on_the_driver_that_was_chosen(exchange: RunningExchange, driver: str) -> None:
    """The database knows the driver of every connection that carries our requests: it is that one."""
    port = json.loads((exchange.data / "mongod.json").read_text())["port"]
    with MongoClient[dict[str, Any]]("127.0.0.1", port, directConnection=True) as client:
        clients = client.admin.aggregate([
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"clientMetadata.application.name": "benefits-exchange"}},
        ])  # fmt: skip
        assert {one["clientMetadata"]["driver"]["name"] for one in clients} - {MONITOR} == {DRIVERS[driver]}


def test_points_earned_at_two_partners_are_spent_at_a_third_and_settled_to_the_cent(exchange: RunningExchange) -> None:
    """Publish, agree, award, link, redeem, close: every amount of the period is the one worked out by hand here.

    700 points of cinema at 7.77 EUR per 1,000 are 543.9 cents, 300 of courier at 8.15 are 244.5: 788.4, rounded 788.
    Floors 543 and 244 leave one cent, which goes to the larger remainder: 544 and 244. Fees: 1.25 % of 544 is 6.8, so
    7; 1 % of 244 is 2.44, so 2. Commission: 2.5 % of 544 is 13.6, so 14, to courier, which brought the redemption.
    """
    partners = {
        handle: shell(exchange.data, "partner", "create", "--handle", handle, "--name", handle.title())
        for handle in ("cinema", "courier", "taxi")
    }
    admin = exchange.demo["staff"]["preparer"]["access_token"]
    tokens = {handle: exchange.machine_token(partner) for handle, partner in partners.items()}
    ids = {
        handle: exchange.graphql(token, "{ viewer { partner { id } } }")["viewer"]["partner"]["id"]
        for handle, token in tokens.items()
    }
    for issuer, amount, fee, commission in (("cinema", "7.77", 125, 250), ("courier", "8.15", 100, 0)):
        agreement: dict[str, object] = {
            "issuer": ids[issuer], "provider": ids["taxi"], "feeBasisPoints": fee, "commissionBasisPoints": commission,
            "pricePer1000Points": {"amount": amount, "currency": "EUR"},
        }  # fmt: skip
        assert exchange.graphql(admin, AGREE, input=agreement)["setAgreement"] == {"version": 1}

    ride: dict[str, object] = {
        "sku": "airport",
        "category": "RIDES",
        "title": "To the airport",
        "pointsPrice": "1000",
        "stock": 3,
    }
    published = exchange.graphql(tokens["taxi"], PUBLISH, input={"benefits": [ride]})["publishBenefits"]
    assert published["created"] == 1

    soon = (datetime.now(UTC) + timedelta(days=30)).isoformat()  # noqa: TID251 - a partner's clock
    award: dict[str, object] = {
        "member": {"reference": "mia"},
        "points": "700",
        "expiresAt": soon,
        "idempotencyKey": "welcome",
    }
    assert exchange.graphql(tokens["cinema"], AWARD, input=award)["awardPoints"]["wallet"] == {"balance": "700"}
    mia = exchange.member_token(partners["cinema"], "mia")
    code = exchange.graphql(mia, LINK_CODE, input={"partner": ids["courier"]})["createLinkCode"]["code"]
    link = {"code": code, "reference": "customer 17"}
    assert exchange.graphql(tokens["courier"], LINK, input=link)["linkMember"]["member"] == {"reference": "customer 17"}
    award = {"member": {"reference": "customer 17"}, "points": 333, "idempotencyKey": "welcome"}
    assert exchange.graphql(tokens["courier"], AWARD, input=award)["awardPoints"]["wallet"] == {"balance": "1033"}

    wish = {"benefit": published["benefits"][0]["id"], "expectedPoints": "1000", "idempotencyKey": "order 1"}
    customer = exchange.member_token(partners["courier"], "customer 17")
    redeemed = exchange.graphql(customer, REDEEM, input=wish)["redeemBenefit"]
    assert redeemed["wallet"] == {"balance": "33"}
    assert redeemed["redemption"]["status"] == "FULFILLED"
    again = exchange.graphql(customer, REDEEM, input=wish)["redeemBenefit"]
    assert again == redeemed | {"replayed": True}
    seen = exchange.graphql(
        tokens["taxi"], "{ redemptions { nodes { debits { issuer { handle } points owed { amount currency } } } } }"
    )
    assert seen["redemptions"]["nodes"][0]["debits"] == [
        {"issuer": {"handle": "cinema"}, "points": "700", "owed": {"amount": "5.44", "currency": "EUR"}},
        {"issuer": {"handle": "courier"}, "points": "300", "owed": {"amount": "2.44", "currency": "EUR"}},
    ]

    number = exchange.graphql(admin, "{ period { number } }")["period"]["number"]
    closed = exchange.graphql(admin, CLOSE, input={"number": number})["closePeriod"]
    assert closed["period"]["status"] == "CLOSED"
    assert closed["next"] == {"number": number + 1}
    assert exchange.graphql(admin, CLOSE, input={"number": number})["closePeriod"] == closed
    figures = {
        row["partner"]["handle"]: tuple(row[name]["amount"] for name in ("payable", "receivable", "fees", "net"))
        for row in closed["period"]["positions"]
    }
    assert figures == {
        "cinema": ("5.44", "0.00", "0.00", "-5.44"),
        "courier": ("2.44", "0.14", "0.00", "-2.30"),
        "taxi": ("0.14", "7.88", "0.09", "7.65"),
        "exchange": ("0.00", "0.09", "0.00", "0.09"),
    }
    statements = {each["partner"]["handle"]: each["lines"]["nodes"] for each in closed["period"]["statements"]["nodes"]}
    assert statements.keys() == {"cinema", "courier", "taxi"}
    assert [_line(line) for line in statements["taxi"]] == [
        ("REDEMPTION", "cinema", "700", "5.44", "0.07", "5.37"),
        ("COMMISSION", "courier", "0", "-0.14", "0.00", "-0.14"),
        ("REDEMPTION", "courier", "300", "2.44", "0.02", "2.42"),
    ]
    _see_the_same_in_the_file(exchange, number)


def _line(line: dict[str, Any]) -> tuple[str, ...]:
    money = (line[name]["amount"] for name in ("gross", "fee", "net"))
    return (line["kind"], line["counterparty"]["handle"], line["points"], *money)


def _see_the_same_in_the_file(exchange: RunningExchange, number: int) -> None:
    """The accountant's CSV says what the API says."""
    listed = shell(exchange.data, "statement", "list")
    statement = next(each for each in listed["statements"] if (each["period"], each["partner"]) == (number, "taxi"))
    command = [EXCHANGE, "statement", "export", statement["statement"], "--format", "csv", "--data", str(exchange.data)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert sum(round(float(row["net"]) * 100) for row in rows if row["kind"]) == 765


def test_the_demo_has_a_closed_period_that_sums_to_zero(exchange: RunningExchange) -> None:
    """The first period is closed, has lines, and its positions sum to zero in every currency."""
    admin = exchange.demo["staff"]["preparer"]["access_token"]
    query = """{ period(number: 1) { status entries
      positions { net { amount currency } } paymentPlan { amount { amount } } } }"""
    period = exchange.graphql(admin, query)["period"]
    assert period["status"] == "CLOSED"
    assert int(period["entries"]) > 200
    assert len(period["paymentPlan"]) >= 3
    assert sum(round(float(row["net"]["amount"]) * 100) for row in period["positions"]) == 0


def test_the_books_of_the_running_exchange_are_in_order(exchange: RunningExchange) -> None:
    """`exchange check` proves every invariant while the exchange runs."""
    done = subprocess.run(
        [EXCHANGE, "check", "--data", str(exchange.data)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
