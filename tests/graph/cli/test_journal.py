"""`exchange journal` and `exchange verify`: what the operator writes, and what a stranger makes of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.agreements import Agreement
from exchange.amounts import Money
from exchange.benefit import content_of
from exchange.store.catalog import Offer
from graph.services import open_services
from graph.settings import Settings
from tests.exchange.conftest import known
from tests.exchange.speech import award, benefit, redeem
from tests.graph.cli.running import ENVIRONMENT, lived, run, tell

ALONE = """
import sys

def refuse(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn")):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(refuse)
from graph.cli import main
main()
"""
"""The command line in a process that may open no socket and start nothing."""


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange with a closed period, an open one, and a redemption in each."""
    with lived(mongo_url, _mongo_admin, folder, ("video", "rides"), partial(_live, keys=folder / "keys.json")) as at:
        yield at


async def _live(settings: Settings, keys: Path) -> None:
    async with open_services(settings) as services:
        since = await services.now()
        await services.terms.add(Agreement(
            id="", issuer="video", provider="rides", version=0, price_per_1000_points=Money(800, "EUR"),
            fee_basis_points=100, commission_basis_points=0, effective_from=since,
        ))  # fmt: skip
        trip = benefit("rides/trip", 125)
        await services.catalog.publish("rides", [Offer(content_of(trip))])
        await known(services.ledger, "video", "rides")
        await services.ledger.submit(award("video", 1000))
        await services.ledger.submit(redeem(trip))
        await services.settlement.close(1)
        await services.ledger.submit(redeem(trip))
        await asyncio.to_thread(keys.write_text, json.dumps(await services.keys.published()))


@pytest.fixture(scope="module")
def journal(there: tuple[str, ...], folder: Path) -> Path:
    path = folder / "journal.jsonl"
    told = tell("journal", "export", "--out", path, *there)
    data = path.read_bytes()
    assert told == {"file": str(path), "lines": data.count(b"\n"), "sha256": sha256(data).hexdigest()}
    return path


def entries(there: tuple[str, ...]) -> list[str]:
    """Return the entries as the statement of video names them."""
    rows = run("statement", "export", "1:video", *there).out.splitlines()
    return [row.split(",")[4] for row in rows[1:]]


def test_a_stranger_verifies_the_journal_with_no_database_and_no_network(journal: Path, folder: Path) -> None:
    """In a process that may open no socket, with nothing but the file and the keys; and nothing is left behind."""
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-c", ALONE, "verify", str(journal), "--keys", str(folder / "keys.json"), "--json"],
            capture_output=True, text=True, check=False, timeout=60, cwd=empty,
            env={**ENVIRONMENT, "EXCHANGE_MONGO_URL": "mongodb://127.0.0.1:1/?replicaSet=none"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert list(Path(empty).iterdir()) == []
    told = json.loads(done.stdout)
    assert (told["sound"], told["signature"]) == (True, "checked")
    assert [(each["number"], each["lanes"]) for each in told["periods"]] == [(1, 1)]


def test_without_keys_the_signature_is_unchecked(journal: Path) -> None:
    """The verdict says so, in words and as JSON."""
    said = run("verify", journal)
    assert (said.status, said.err) == (0, "")
    title, *_, last = said.out.splitlines()
    assert title.startswith("ok      the journal as of ")
    assert last.startswith("signature unchecked: no --keys were given")
    assert tell("verify", journal)["signature"] == "unchecked"


def test_the_first_thing_wrong_is_told_and_ends_in_one(journal: Path, folder: Path) -> None:
    """A flipped bit, and a file cut short, each with its line."""
    data = journal.read_bytes()
    lines = data.splitlines(keepends=True)
    other = folder / "other.jsonl"
    number = next(number for number, line in enumerate(lines) if b'"REDEEM"' in line)
    lines[number] = lines[number].replace(b'"quantity":1', b'"quantity":2')
    other.write_bytes(b"".join(lines))
    said = run("verify", other)
    assert (said.status, said.err) == (1, "")
    assert said.out.startswith(f"BROKEN  line {number + 1}: block 000001.")
    assert said.out.endswith(": its content does not have its leaf\n")
    other.write_bytes(data[: len(data) // 2])
    said = run("verify", other, "--json")
    assert said.status == 1
    told = json.loads(said.out)
    assert (told["sound"], set(told["wrong"])) == (False, {"line", "what"})


def test_verify_reads_from_a_pipe(there: tuple[str, ...], journal: Path) -> None:
    """What `export` writes to stdout can be verified as it comes."""
    said = run("journal", "export", *there)
    assert (said.status, said.err) == (0, "")
    assert said.out.encode().splitlines()[1:-1] == journal.read_bytes().splitlines()[1:-1]
    assert run("verify", "-", stdin=said.out.encode()).out.startswith("ok ")


def test_a_part_of_the_journal_is_exported(there: tuple[str, ...], folder: Path) -> None:
    """One lane, from one block on."""
    part = folder / "part.jsonl"
    tell("journal", "export", "--lane", "1", "--from", "2", "--out", part, *there)
    lanes = tell("verify", part)["lanes"]
    assert [(lane["lane"], lane["first"]) for lane in lanes] == [(1, 2)]
    assert "lane 1, from block 2 to block" in run("verify", part).out


def test_a_partner_verifies_its_part_of_a_line_in_its_statement(there: tuple[str, ...], folder: Path) -> None:
    """The proof of an entry in the statement leads to the root that the statement names."""
    path = folder / "proof.jsonl"
    (name,) = entries(there)
    tell("journal", "proof", name, "--partner", "video", "--out", path, *there)
    told = tell("verify", path, "--keys", folder / "keys.json")
    period = next(each for each in tell("period", "list", *there)["periods"] if each["number"] == 1)
    assert (told["partner"], told["entry"], told["period_root"]) == ("video", name, period["root"])
    assert told["part"]["lines"] == [["REDEMPTION", "rides", "-125", "-100", "0", "EUR"]]
    said = run("verify", path).out
    assert f"the part of video in entry {name}: REDEEM at " in said
    assert "line: REDEMPTION rides, -125 points, gross -100 less fee 0, minor units of EUR\n" in said


def test_a_partner_verifies_its_whole_statement(there: tuple[str, ...], folder: Path) -> None:
    """The bundle has the hash that the statement has; without keys the signature is unchecked; one byte is enough."""
    path = folder / "bundle.jsonl"
    written = tell("statement", "export", "1:rides", "--format", "bundle", "--out", path, *there)
    assert written["sha256"] == sha256(path.read_bytes()).hexdigest()
    told = tell("verify", path, "--keys", folder / "keys.json")
    assert (told["statement"], told["hash"], told["statement_lines"]) == ("1:rides", written["hash"], 1)
    assert (told["signature"], told["totals"][0]["net"]) == ("checked", "99")
    said = run("verify", path)
    assert said.out.startswith(f"ok      statement 1:rides: 1 lines, each proved; hash {written['hash']}\n")
    assert "signature unchecked" in said.out
    streamed = run("statement", "export", "1:rides", "--format", "bundle", *there).out.splitlines()
    assert streamed[:-1] == path.read_text().splitlines()[:-1]
    path.write_text(path.read_text().replace('"-125"', '"-124"').replace('"125"', '"124"'))
    said = run("verify", path)
    assert said.status == 1
    assert said.out.startswith("BROKEN  line ")
    assert "the part and its paths do not lead to its root" in said.out


@pytest.mark.parametrize("name", ["none", "-x", "-h-y", "--" + "odd" * 10])
def test_an_entry_that_is_not_there_is_not_found(there: tuple[str, ...], name: str) -> None:
    """Also under a name that begins like an option, as a sealed one may."""
    said = run("journal", "proof", name, "--partner", "video", *there)
    assert said.status == 1
    assert said.complaint == f"there is no entry {name} in which video has a part"


def test_wrong_usage_is_told(there: tuple[str, ...], journal: Path, folder: Path) -> None:
    """What cannot be meant is refused in a sentence, with exit code 2; what is not there with 1."""
    no_keys = folder / "no-keys.json"
    no_keys.write_text("{}")
    for arguments, says in (
        (("journal", "export", "--from", "3", *there), "it needs --lane N"),
        (("journal", "export", "--json", *there), "it needs --out FILE"),
        (("verify", folder / "nothing"), "No such file or directory"),
        (("verify", journal, "--keys", no_keys), "is no JWK Set: it has no keys"),
        (("verify", journal, "--keys", journal), "journal.jsonl"),
    ):
        said = run(*arguments)
        assert (said.status, said.out) == (2, "")
        assert says in said.complaint
    said = run("journal", "export", "--lane", "7", *there)
    assert (said.status, said.complaint) == (1, "there is no lane 7, the lanes are 1")


def test_keys_of_another_exchange_do_not_fit(journal: Path, folder: Path) -> None:
    """A sound file that somebody else signed is broken for whoever asks for our signature."""
    keys = json.loads((folder / "keys.json").read_text())
    keys["keys"][0]["kid"] = "another"
    (folder / "others.json").write_text(json.dumps(keys))
    said = run("verify", journal, "--keys", folder / "others.json")
    assert said.status == 1
    assert "signature: is by key" in said.out


def test_the_chain_is_followed_from_its_beginning(there: tuple[str, ...], journal: Path) -> None:
    """Heads are those of the export; a broken block is named, with exit code 1."""
    told = tell("journal", "check", *there)
    assert (told["holds"], told["wrong"]) == (True, None)
    assert [each["head"] for each in told["lanes"]] == [each["head"] for each in tell("verify", journal)["lanes"]]
    with MongoClient[dict[str, Any]](there[1]) as client:
        blocks = client.get_default_database()["blocks"]
        before = blocks.find_one({"lane": 1, "seq": 1})
        assert before is not None
        blocks.update_one({"_id": before["_id"]}, {"$set": {"root": "0" * 64}})
        try:
            said = run("journal", "check", *there)
        finally:
            blocks.replace_one({"_id": before["_id"]}, before)
    assert said.status == 1
    assert said.out.startswith("BROKEN  block 000001.000000000001: its content does not have its hash\n")
