"""`exchange check`: a line for each invariant, and what it says when one is broken."""

from __future__ import annotations

import json
from typing import Any

from pymongo import MongoClient

from exchange.proof import TITLES
from tests.graph.cli.running import Up, run, tell


def test_check_proves_the_invariants_a_line_each(demo: Up) -> None:
    """While the exchange runs, each invariant is one line, and all of them hold."""
    said = run("check", "--data", demo.data)
    assert (said.status, said.err) == (0, "")
    assert len(said.out.splitlines()) == len(TITLES)
    assert all(line.startswith("ok ") for line in said.out.splitlines())
    told = tell("check", "--data", demo.data)
    assert told["holds"] is True
    assert all(proof["holds"] for proof in told["invariants"])
    unused = {12, 14, 15, 16}  # the demo caps nobody, nobody disputes or nets anything, and no bank's file is there
    assert {proof["invariant"] for proof in told["invariants"] if not proof["judged"]} == unused


def test_check_ends_with_1_when_an_invariant_is_broken(away: tuple[str, ...]) -> None:
    """The broken line says what is wrong."""
    tell("partner", "create", "--handle", "rides", "--name", "Rides", *away)
    with MongoClient[dict[str, Any]](away[1]) as client:
        row = {"_id": "rides/gone", "offered": 3, "free": 5, "version": 1}
        client.get_default_database()["stock"].insert_one(row)
    said = run("check", *away)
    assert said.status == 1
    assert said.err == ""
    broken = [line for line in said.out.splitlines() if line.startswith("BROKEN")]
    assert len(broken) == 1
    assert "rides/gone" in broken[0]
    said = run("check", "--json", *away)
    assert said.status == 1
    assert json.loads(said.out)["holds"] is False
