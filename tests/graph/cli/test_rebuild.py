"""`exchange rebuild` and `exchange as-of`: what the entries make of wallets and accounts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from exchange.mongod import find_running
from tests.graph.cli.running import Up, run, tell


def test_wallets_are_made_again_from_the_journal(demo: Up) -> None:
    """Every wallet of the demo is what its entries make of it, to the byte; nothing is missing."""
    document = tell("rebuild", "--data", demo.data)
    assert document["equal"] >= 200
    assert (document["restored"], document["wrong"]) == ([], [])
    said = run("rebuild", "--data", demo.data)
    assert (said.status, said.err) == (0, "")
    assert said.out == f"{document['equal']:,} wallets are what their entries make of them, to the byte\n"


def test_a_wallet_that_cannot_be_made_again_is_told(away: tuple[str, ...]) -> None:
    """A reference that means no wallet and that no entry made: the reason is said, and the exit code is 1."""
    tell("partner", "create", "--handle", "rides", "--name", "Rides", *away)
    assert tell("rebuild", *away) == {"equal": 0, "restored": [], "wrong": []}
    with MongoClient[dict[str, Any]](away[1]) as client:
        client.get_default_database()["references"].insert_one({"_id": "rides:ann", "wallet": "w"})
    said = run("rebuild", "--missing", "--yes", *away)
    assert (said.status, said.err) == (1, "")
    assert said.out.splitlines()[1:] == ["wallet w: no entry made it"]


def test_a_wallet_that_is_gone_is_restored_when_somebody_says_so(demo: Up) -> None:
    """It is named, and asked about; no leaves it gone, yes or --yes writes it to the byte, nothing asks again."""
    equal = tell("rebuild", "--data", demo.data)["equal"]
    url = find_running(demo.data)
    with MongoClient[RawBSONDocument](url, document_class=RawBSONDocument) as client:
        wallets = client["exchange"]["wallets"]
        before = wallets.find_one({"lots.remaining": {"$gt": 0}})
        assert before is not None
        one, restoring = {"_id": before["_id"]}, ("rebuild", "--missing", "--data", demo.data)
        try:
            wallets.delete_one(one)
            for arguments, stdin in ((("rebuild", "--data", demo.data), b""), (restoring, b"n\n"), (restoring, b"")):
                said = run(*arguments, stdin=stdin)
                assert said.status == 1
                assert said.err.startswith("Restore 1 wallets? [y/N]: ") == (arguments == restoring)
            assert wallets.find_one(one) is None
            said = run(*restoring, "--json", stdin=b"n\n")
            assert json.loads(said.out)["wrong"] == [{"wallet": before["_id"], "why": "is gone"}]
            assert run(*restoring, stdin=b"y\n").out.splitlines()[1:] == ["1 restored"]
            assert wallets.find_one(one) == before
            wallets.delete_one(one)
            assert tell(*restoring, "--yes")["restored"] == [before["_id"]]
            assert wallets.find_one(one) == before
        finally:
            wallets.replace_one(one, before, upsert=True)
    assert tell(*restoring) == {"equal": equal, "restored": [], "wrong": []}


def test_what_was_as_of_an_entry(demo: Up, folder: Path) -> None:
    """The member's wallet, or a partner's accounts, as of an entry that a statement names."""
    file = folder / "statement.csv"
    run("statement", "export", "1:rides", "--format", "csv", "--out", file, "--data", demo.data)
    entry = next(csv.DictReader(file.read_text().splitlines()))["entry"]
    [wallet] = tell("as-of", entry, "--data", demo.data)["wallets"]
    assert sum(lot["redeemed"] for lot in wallet["lots"]) > 0
    rides = tell("as-of", entry, "--partner", "rides", "--data", demo.data)
    assert rides["points"]["ISSUED"] < 0
    assert rides["out"] == -sum(rides["points"].values())
    [position] = rides["positions"]
    assert position["net"] == position["receivable"] - position["payable"] - position["fees"]
    for more in ((), ("--partner", "rides")):
        said = run("as-of", entry, *more, "--data", demo.data)
        assert (said.status, said.err) == (0, "")
        assert said.out
    for arguments, complaint in (
        (("nothing",), "there is no entry nothing"), ((entry, "--partner", "nobody"), "there is no partner nobody"),
    ):  # fmt: skip
        said = run("as-of", *arguments, "--data", demo.data)
        assert (said.status, said.complaint) == (1, complaint)
