"""An exchange without a demo, by commands alone: real processes from the first partner to the first statement."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from tests.graph.cli.running import READY_SECONDS, Up, spawn, wait_until

PRODUCTS = Path(__file__).parents[2] / "partners" / "data" / "reloadly-products-za.json"


def test_an_exchange_is_run_from_the_shell_alone(data: Path, folder: Path) -> None:
    """Without the demo, and without it running: partners, price, catalog, staff, a period closed and exported.

    Only awarding and redeeming need the server: 1,000 points of delivery at 8.00 EUR per 1,000 are 8.00 EUR, of which
    the provider pays 1.5 %, 0.12 EUR, to the exchange.
    """
    at = ("--data", data)
    delivery, rides = (
        _spawned("partner", "create", "--handle", handle, "--name", handle.title(), *at)
        for handle in ("delivery", "rides")
    )
    assert list(rides)[-1] == "assertion_key"
    _spawned(
        "agreement", "set", "--issuer", "delivery", "--price", "8.00", "--currency", "EUR", "--fee-bps", "150", *at
    )
    told = _spawned("catalog", "import", "--partner", "rides", PRODUCTS, "--points-per-unit", "10", *at)
    assert (told["created"] > 100, told["rejected"]) == (True, [])

    with Up(data, wait=False) as up:
        # Once it has the directory, but not yet the database, commands wait for that.
        wait_until(lambda: (data / "exchange.lock").read_text().strip() == str(up.process.pid), READY_SECONDS)
        assert _spawned("statement", "list", *at) == {"statements": []}
        wait_until(lambda: up.ready, READY_SECONDS)
        assert up.out.startswith(f"starting the database in {data}\n")
        assert f"exchange partner create --data {data} --handle rides" in up.out
        token = up.machine_token(delivery)
        award = {"member": {"reference": "mia"}, "points": "1000", "idempotencyKey": "a"}
        up.graphql(token, "mutation ($i: AwardPointsInput!) { awardPoints(input: $i) { __typename } }", i=award)
        ride = {"sku": "ride", "category": "RIDES", "title": "A ride", "pointsPrice": "1000"}
        (folder / "ride.json").write_text(json.dumps([ride]))
        assert _spawned("catalog", "import", "--partner", "rides", folder / "ride.json", *at)["created"] == 1
        found = up.graphql(token, '{ benefit(by: {key: {partner: "rides", sku: "ride"}}) { id } }')
        wish = {"benefit": found["benefit"]["id"], "member": {"reference": "mia"}, "idempotencyKey": "r"}
        redeemed = up.graphql(
            token, "mutation ($i: RedeemBenefitInput!) { redeemBenefit(input: $i) { __typename } }", i=wish
        )
        assert redeemed == {"redeemBenefit": {"__typename": "RedeemBenefitSuccess"}}

    closed = _spawned("period", "close", *at)
    nets = {row["partner"]: row["net"]["amount"] for row in closed["positions"]}
    assert nets == {"delivery": "-8.00", "rides": "7.88", "exchange": "0.12"}
    listed = _spawned("statement", "list", *at)["statements"]
    assert [each["statement"] for each in listed] == ["1:delivery", "1:rides"]
    rows = list(csv.DictReader(io.StringIO(spawn("statement", "export", "1:rides", *at).out)))
    assert [(row["counterparty"], row["points"], row["gross"], row["fee"], row["net"]) for row in rows] == [
        ("delivery", "1000", "8.00", "0.12", "7.88")
    ]
    assert spawn("check", *at).status == 0


def _spawned(*arguments: str | Path) -> Any:
    said = spawn(*arguments, "--json")
    assert (said.status, said.err) == (0, "")
    return json.loads(said.out)
