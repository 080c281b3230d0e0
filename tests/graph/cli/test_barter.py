"""`exchange barter`, and its page in the docs: what is written there is what the commands print."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.benefit import content_of
from exchange.store.catalog import Offer
from graph.services import open_services
from graph.settings import Settings
from tests.examples import DOCS
from tests.exchange.conftest import known
from tests.exchange.speech import agreement, award, benefit, redeem
from tests.graph.cli.pages import prints_what_it_says
from tests.graph.cli.running import lived, run, tell

PARTNERS = ("news", "rides", "video")
PERIODS = (
    (("video", "rides", 30_000), ("rides", "video", 12_000), ("news", "rides", 5_000)),
    (("video", "rides", 26_000), ("rides", "video", 9_000)),
    (("rides", "video", 2_000),),
)
FROM, UNTIL = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
TERMS = ("--one", "video=500.00", "--other", "rides=300.00", "--currency", "EUR", "--from", FROM, "--until", UNTIL)


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange that has lived the example of the page: the third period is open."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "jwks.json")) as at:
        yield at


@pytest.fixture(scope="module")
def apart(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give one that has lived the same, for the page, which changes what it shows."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "jwks.json")) as at:
        yield at


async def _live(settings: Settings, keys: Path) -> None:
    async with open_services(settings) as services:
        await known(services.ledger, *PARTNERS)
        for issuer, provider, fee in (("video", "rides", 100), ("rides", "video", 0), ("news", "rides", 100)):
            since = await services.now()
            await services.terms.add(agreement(issuer, provider, 1000, "EUR", fee=fee, since=since))
        for number, redemptions in enumerate(PERIODS, 1):
            for issuer, provider, points in redemptions:
                wanted = benefit(f"{provider}/for-{points}-{number}", points)
                await services.catalog.publish(provider, [Offer(content_of(wanted))])
                await services.ledger.submit(award(issuer, points))
                await services.ledger.submit(redeem(wanted, through=issuer))
            if number < len(PERIODS):
                await services.settlement.close(number)
        await asyncio.to_thread(keys.write_text, json.dumps(await services.keys.published()))


def test_the_page_shows_what_is_printed(apart: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page, in its order, prints what is written there; "…" stands for what chance decides."""
    monkeypatch.chdir(folder)
    prints_what_it_says("barter.md", apart, least=6)


def test_the_page_tells_what_was_redeemed() -> None:
    """Its table is what the periods have, and its sum at the end is what was owed without the barter."""
    page = " ".join((DOCS / "barter.md").read_text().split())
    for issuer, provider in (("video", "rides"), ("rides", "video"), ("news", "rides")):
        cost = [sum(points for *two, points in period if two == [issuer, provider]) for period in PERIODS]
        cells = " | ".join(f"{points / 100:.2f}" if points else "" for points in cost)
        row = " ".join(f"| points of {issuer}, spent at {provider} | {cells} |".split())
        assert row in page
    owed, owing = (
        sum(points for period in PERIODS for *two, points in period if two == way)
        for way in (["video", "rides"], ["rides", "video"])
    )
    assert f"owed {owed / 100:.2f} and was owed {owing / 100:.2f}" in page
    assert f"60.00 + 270.00 = {(owed - owing) / 100:.2f} in all" in page


def test_json_has_every_figure(there: tuple[str, ...], folder: Path) -> None:
    """Of a barter, of what is settled in kind, and of the difference; a certificate hands on what is used."""
    eur = {"currency": "EUR"}
    added = tell("barter", "add", *TERMS, "--reference", "contract 7", *there)
    assert (added["barter"], added["stage"], added["version"], added["reference"]) == (
        "barter-1", "IN_FORCE", 1, "contract 7",
    )  # fmt: skip
    assert added["sides"][0] == {
        "issuer": "video", "provider": "rides", "quota": {"amount": "500.00", **eur},
        "used": {"amount": "0.00", **eur}, "left": {"amount": "500.00", **eur},
    }  # fmt: skip
    assert tell("barter", "add", *TERMS, *there) == added
    first = folder / "barter-1.jsonl"
    told = tell("netting", "1", "--out", first, *there)
    (row,) = told["barters"]
    assert [side["in_kind"]["amount"] for side in row["sides"]] == ["300.00", "120.00"]
    assert (row["balance"]["amount"], row["ended"], row["due"]) == ("180.00", False, None)
    assert tell("verify", first)["balances"] == [["barter-1", "30000", "12000"]]
    (second,) = tell("netting", "2", "--after", first, *there)["barters"]
    assert [side["left"]["amount"] for side in second["sides"]] == ["0.00", "90.00"]
    # Nothing is recorded here: so it is not known of the first period what was used.
    (alone,) = tell("netting", "2", *there)["barters"]
    assert alone["sides"][0]["left"]["amount"] == "240.00"
    # The open period has figures so far.
    (so_far,) = tell("netting", "3", *there)["barters"]
    assert (so_far["ended"], so_far["sides"][1]["in_kind"]["amount"]) == (False, "20.00")
    assert tell("netting", "1", "--without", "video", *there)["barters"][0]["sides"][0]["in_kind"]["amount"] == "0.00"
    for wanted, count in (((), 1), (("--partner", "rides"), 1), (("--partner", "news"), 0)):
        assert len(tell("barter", "list", *wanted, *there)["barters"]) == count
    assert run("barter", "list", "--partner", "news", *there).out == "no barters\n"
    ended = tell("barter", "end", "barter-1", "--by", "ada", *there)
    assert (ended["stage"], ended["version"], ended["by"], ended["balance"]) == ("ENDED", 2, "ada", None)
    assert tell("barter", "end", "barter-1", *there) == ended
    shown = tell("barter", "show", "barter-1", *there)
    assert [each["version"] for each in shown["versions"]] == [2, 1]
    (over,) = tell("netting", "3", *there)["barters"]
    assert (over["ended"], over["due"]) == (
        True, {"from": "rides", "to": "video", "amount": {"amount": "20.00", **eur}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        (("--one", "video"), 2, "--one: '' is"),
        (("--one", "video=1.234"), 2, "--one: "),
        (("--one", "video=0"), 2, "--one: must be more than nothing"),
        (("--other", "video=1.00"), 2, "--other: a barter is between two partners"),
        (("--currency", "EURO"), 2, "--currency: 'EURO' is not an ISO 4217 currency"),
        (("--until", "soon"), 2, "--until: must be a time with offset"),
        (("--until", "2026-01-02T00:00:00Z"), 2, "--until: must be in the future"),
        (("--from", "2099-01-02T00:00:00Z"), 2, "--until: must be later than its beginning"),
        (("--reference", "x" * 501), 2, "--reference: at most 500"),
        (("--one", "nobody=1.00"), 1, "there is no partner nobody"),
    ],
)
def test_what_cannot_be_agreed_is_refused_in_one_line(
    there: tuple[str, ...], wrong: tuple[str, str], status: int, says: str
) -> None:
    """With the option that it is about; what is wrong by itself is wrong usage."""
    said = run("barter", "add", *TERMS, *wrong, *there)
    assert said.status == status
    assert all(part in said.complaint for part in says.split(": "))


def test_a_barter_that_is_not_there_is_not_found(there: tuple[str, ...]) -> None:
    """Neither shown nor ended."""
    for verb in ("show", "end"):
        said = run("barter", verb, "barter-77", *there)
        assert (said.status, said.complaint) == (1, "there is no barter barter-77")
    assert run("barter", "list", "--partner", "nobody", *there).complaint == "there is no partner nobody"
