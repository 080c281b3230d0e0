"""A reward supplier's real list: imported from a shell, redeemed over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.running import RunningExchange, shell
from tests.journeys.test_from_catalog_to_statement import AGREE, AWARD, REDEEM

PRODUCTS = Path(__file__).parents[1] / "partners" / "data" / "reloadly-products-za.json"


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    """An exchange without the demo."""
    with tempfile.TemporaryDirectory() as directory, RunningExchange(Path(directory) / "data") as running:
        yield running


def test_the_real_list_is_imported_and_redeemed_from(exchange: RunningExchange) -> None:
    """38 products become benefits; a member takes a 20 dollar card for the points that its price comes to."""
    bank, _ = (
        shell(exchange.data, "partner", "create", "--handle", handle, "--name", handle.title())
        for handle in ("bank", "rewards")
    )
    staff = shell(exchange.data, "staff", "create", "--email", "ada@example.org", "--role", "admin", "--token")
    arguments = ("catalog", "import", "--partner", "rewards", str(PRODUCTS), "--points-per-unit", "125")
    foreseen = shell(exchange.data, *arguments, "--dry-run")
    imported = shell(exchange.data, *arguments)
    assert (imported["created"], imported["updated"], imported["unchanged"], imported["rejected"]) == (108, 0, 0, [])
    assert foreseen["created"] == imported["created"]
    assert shell(exchange.data, *arguments)["unchanged"] == imported["created"]

    server = exchange.machine_token(bank)
    card = exchange.graphql(
        server, '{ benefit(by: {key: {partner: "rewards", sku: "14552-20"}}) { id title pointsPrice fulfilment } }'
    )["benefit"]
    assert card["pointsPrice"] == "2500"
    price = {"pricePer1000Points": {"amount": "7.50", "currency": "USD"}}
    assert exchange.graphql(staff["access_token"], AGREE, input=price)["setAgreement"] == {"version": 1}
    award = {"member": {"reference": "lee"}, "points": "2600", "idempotencyKey": "salary"}
    assert exchange.graphql(server, AWARD, input=award)["awardPoints"]["wallet"] == {"balance": "2600"}
    wish = {"benefit": card["id"], "member": {"reference": "lee"}, "region": "ZA", "idempotencyKey": "card"}
    taken = exchange.graphql(server, REDEEM, input=wish)["redeemBenefit"]
    assert taken["wallet"] == {"balance": "100"}
    assert taken["redemption"]["status"] == "CONFIRMED"
    assert taken["redemption"]["debits"] == [
        {"issuer": {"handle": "bank"}, "points": "2500", "owed": {"amount": "18.75", "currency": "USD"}}
    ]
