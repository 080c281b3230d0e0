"""`exchange member`: what a member has, and how it came to have it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.benefit import content_of
from exchange.commands import ByWallet, Merge
from exchange.redemption import Step
from exchange.store import members
from exchange.store.catalog import Offer
from graph.cli.members import COLUMNS
from graph.services import open_services
from graph.settings import DEFAULT_ISSUER, Settings
from tests.exchange.conftest import known
from tests.exchange.speech import act, award, benefit, by_reference, redeem, reserve
from tests.graph.cli.running import lived, run, tell

FORMULA = '=HYPERLINK("http://example.org")'
ANN = ("--partner", "video", "--reference", "ann")


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange in which ann of video has lived a little."""
    with lived(mongo_url, _mongo_admin, folder, ("video", "delivery"), _live) as at:
        yield at


async def _live(settings: Settings) -> None:
    film = benefit("video/film", 30)
    async with open_services(settings) as services:
        await services.catalog.publish("video", [Offer(content_of(film))])
        ledger = services.ledger
        await known(ledger, "video", "delivery")
        await ledger.submit(award("video", 100, reason=FORMULA, expires=await services.now() + timedelta(days=9)))
        await ledger.submit(award("delivery", 50, reason="später, \nviel später"))
        taken = (await ledger.submit(redeem(film))).redemption
        await ledger.submit(act(Step.REVERSE, taken, reason="-1 star"))
        await ledger.submit(reserve(film))
        await ledger.submit(award("video", 7, expires=await services.now() + timedelta(seconds=0.6)))
        await asyncio.sleep(0.65)


def test_show_tells_what_a_member_has(there: tuple[str, ...]) -> None:
    """Balance, lots, links and what expires when; a lot whose time is over counts no more, and says so."""
    told = tell("member", "show", *ANN, *there)
    assert {name: value for name, value in told.items() if name not in ("id", "lots", "links", "expirations")} == {
        "partner": "video", "reference": "ann", "balance": 150, "held": 30, "available": 120, "pending": 0,
        "frozen": False, "debts": {}, "merged": [],
    }  # fmt: skip
    assert [(lot["issuer"], lot["awarded"], lot["remaining"], lot["held"], lot["live"]) for lot in told["lots"]] == [
        ("video", 100, 100, 30, True), ("delivery", 50, 50, 0, True), ("video", 7, 7, 0, False),
    ]  # fmt: skip
    assert [(each["partner"], each["reference"], each["ended_at"]) for each in told["links"]] == [
        ("delivery", "ann", None), ("video", "ann", None),
    ]  # fmt: skip
    assert told["expirations"] == [{"expires_at": told["lots"][0]["expires_at"], "points": 100}]
    text = run("member", "show", *ANN, *there).out
    assert text.startswith("ann of video\n\nbalance    150\nheld        30\navailable  120\npending      0\n\nlots of ")
    assert f"{told['lots'][2]['expires_at']}  over\n" in text
    assert "  never\n" in text


def test_the_same_member_by_another_partners_name(there: tuple[str, ...]) -> None:
    """Each partner's reference leads to the one wallet."""
    told = tell("member", "show", "--partner", "delivery", "--reference", "ann", *there)
    assert told == tell("member", "show", *ANN, *there) | {"partner": "delivery"}


def test_the_history_as_csv_adds_up(there: tuple[str, ...]) -> None:
    """A row for each posting and each hold, oldest first; the columns add up to the balances beside them."""
    said = run("member", "history", *ANN, *there)
    assert (said.status, said.err) == (0, "")
    assert said.out.split("\r\n", 1)[0] == ",".join(COLUMNS)
    rows = list(csv.DictReader(io.StringIO(said.out, newline="")))
    kept = ("event", "kind", "partner", "issuer", "points", "held", "balance", "balance_held")
    assert [tuple(row[name] for name in kept) for row in rows] == [
        ("1", "ENROL", "video", "", "0", "0", "0", "0"),
        ("2", "LINK", "delivery", "", "0", "0", "0", "0"),
        ("3", "AWARD", "video", "video", "100", "0", "100", "0"),
        ("4", "AWARD", "delivery", "delivery", "50", "0", "150", "0"),
        ("5", "REDEEM", "video", "video", "-30", "0", "120", "0"),
        ("6", "REVERSE", "video", "video", "30", "0", "150", "0"),
        ("7", "RESERVE", "video", "video", "0", "30", "150", "30"),
        ("8", "AWARD", "video", "video", "7", "0", "157", "30"),
    ]
    assert rows[4]["redemption"] == rows[5]["redemption"] != rows[6]["redemption"]
    assert {rows[n]["benefit"] for n in (4, 5, 6)} == {"video/film"}
    assert len({rows[n]["lot"] for n in (2, 4, 5, 6)}) == 1


def test_no_cell_of_it_is_a_formula(there: tuple[str, ...]) -> None:
    """A reason that a spreadsheet would run gets an apostrophe in front; a negative number stays a number."""
    rows = list(csv.DictReader(io.StringIO(run("member", "history", *ANN, *there).out, newline="")))
    assert [row["reason"] for row in rows if row["reason"]] == [f"'{FORMULA}", "später, \nviel später", "'-1 star"]
    assert rows[4]["points"] == "-30"


def test_the_history_as_json_is_one_document(there: tuple[str, ...]) -> None:
    """With --json or --format json: every event, with its movements, its holds, and the balance after it."""
    told = tell("member", "history", *ANN, *there)
    assert told == json.loads(run("member", "history", *ANN, "--format", "json", *there).out)
    events = told["events"]
    figures = ("event", "points", "held", "balance", "balance_held")
    assert [tuple(each[name] for name in figures) for each in events] == [
        (1, 0, 0, 0, 0), (2, 0, 0, 0, 0), (3, 100, 0, 100, 0), (4, 50, 0, 150, 0), (5, -30, 0, 120, 0),
        (6, 30, 0, 150, 0), (7, 0, 30, 150, 30), (8, 7, 0, 157, 30),
    ]  # fmt: skip
    lots = tell("member", "show", *ANN, *there)["lots"]
    assert events[2]["movements"] == [{"lot": lots[0]["id"], "issuer": "video", "points": 100}]
    assert events[6]["holds"] == [{"lot": lots[0]["id"], "issuer": "video", "points": 30}]
    assert (events[2]["reason"], events[5]["reason"], events[4]["reason"]) == (FORMULA, "-1 star", None)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_file_is_what_stdout_is(there: tuple[str, ...], folder: Path, form: str) -> None:
    """--out writes the same bytes; --json then tells how many events it has, where it ends, and its hash."""
    file = folder / f"ann.{form}"
    told = tell("member", "history", *ANN, "--format", form, "--out", file, *there)
    assert told == {
        "partner": "video", "reference": "ann", "format": form, "file": str(file), "events": 8, "balance": 157,
        "balance_held": 30, "sha256": sha256(file.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert file.read_bytes().decode() == run("member", "history", *ANN, "--format", form, *there).out
    said = run("member", "history", *ANN, "--format", form, "--out", file, *there)
    assert said.out == f"ann of video: 8 events in {file}\n"


def test_a_long_history_is_written_chunk_by_chunk(there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """However little is read at once, the file is the same."""
    whole = run("member", "history", *ANN, *there).out
    monkeypatch.setattr(members, "HISTORY_CHUNK", 1)
    assert run("member", "history", *ANN, *there).out == whole


@pytest.mark.parametrize("command", ["show", "history"])
def test_who_is_not_there_is_one_line(there: tuple[str, ...], command: str) -> None:
    """An unknown partner, and a reference that it does not use, are said apart; nothing else is printed."""
    for partner, reference, complaint in (
        ("nobody", "ann", "there is no partner nobody"), ("video", "bob", "video has no member bob"),
    ):  # fmt: skip
        said = run("member", command, "--partner", partner, "--reference", reference, *there)
        assert (said.status, said.out, said.complaint) == (1, "", complaint)


# Last, because it is one more member that ann is afterwards.


def test_a_merged_member_is_shown_by_either_name(there: tuple[str, ...], folder: Path) -> None:
    """Both references lead to the one member; it says who was merged into it, since when, and whether for good."""
    asyncio.run(_merge(Settings(mongo_url=there[1], issuer=DEFAULT_ISSUER, data=folder / "data")))
    told = tell("member", "show", *ANN, *there)
    by_bob = tell("member", "show", "--partner", "video", "--reference", "bob", *there)
    assert by_bob == {**told, "reference": "bob"}
    assert (told["balance"], [lot["awarded"] for lot in told["lots"]][-1]) == (155, 5)
    [merged] = told["merged"]
    assert (merged["references"], merged["spent"]) == ({"video": "bob"}, False)
    assert merged["id"] != told["id"]
    text = run("member", "show", "--partner", "video", "--reference", "bob", *there).out
    assert text.startswith("bob of video\n")
    assert f"\nbob of video    {merged['at']}\n" in text
    events = tell("member", "history", "--partner", "video", "--reference", "bob", *there)["events"]
    assert [(each["kind"], each["points"], each["balance"]) for each in events[-1:]] == [("MERGE", 5, 162)]


async def _merge(settings: Settings) -> None:
    async with open_services(settings) as services:
        ann = await services.members.wallet_of(by_reference("video", "ann"))
        assert ann is not None
        await services.ledger.submit(award("video", 5, whose=by_reference("video", "bob")))
        await services.ledger.submit(
            Merge(
                id="merge", fingerprint="", partner="video", whose=by_reference("video", "bob"), to=ByWallet(ann.id),
                permitted_until=await services.now() + timedelta(minutes=1), permitted_through="video",
            )
        )  # fmt: skip
