"""`exchange rates`, and settling in one currency: what the page in the docs says is what the commands print."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.benefit import content_of
from exchange.store.catalog import Offer
from graph.services import open_services
from graph.settings import Settings
from tests.exchange.conftest import known
from tests.exchange.speech import agreement, award, benefit, redeem
from tests.graph.cli.pages import prints_what_it_says
from tests.graph.cli.running import lived, run, tell

PARTNERS = ("music", "rides", "video", "hotels")
DAILY = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
<Cube><Cube time='2023-12-08'><Cube currency='USD' rate='1.0777'/><Cube currency='JPY' rate='155.53'/>
<Cube currency='GBP' rate='0.8569'/></Cube></Cube>
</gesmes:Envelope>
"""
OWING = (
    ("video", "rides", 12345, 1000, "USD"),
    ("music", "rides", 1500, 1600, "JPY"),
    ("rides", "video", 5000, 800, "EUR"),
)
FINE = (
    ("hotels", "music", 1001, 376, "BHD"),
    ("hotels", "rides", 7, 401235, "CLF"),
    ("hotels", "video", 3, 5001, "UYW"),
)
"""Issuer, provider, points, and what 1,000 of them cost, in minor units of a currency."""


@pytest.fixture(scope="module")
def folder(folder: Path) -> Path:
    """Give a place for files, with the one of the page."""
    (folder / "eurofxref-daily.xml").write_text(DAILY)
    return folder


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange that has lived the example of the page, and a period of odd currencies."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, _live) as at:
        yield at


async def _live(settings: Settings) -> None:
    async with open_services(settings) as services:
        await known(services.ledger, *PARTNERS)
        for number, owing in enumerate((OWING, FINE), 1):
            for issuer, provider, points, price, currency in owing:
                since = await services.now()
                await services.terms.add(agreement(issuer, provider, price, currency, since=since))
                wanted = benefit(f"{provider}/for-{points}", points)
                await services.catalog.publish(provider, [Offer(content_of(wanted))])
                await services.ledger.submit(award(issuer, points))
                await services.ledger.submit(redeem(wanted, through=issuer))
            await services.settlement.close(number)


def test_the_page_shows_what_is_printed(there: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page, in its order, prints what is written there."""
    monkeypatch.chdir(folder)
    prints_what_it_says("currencies.md", there, least=4)


def test_the_document_says_the_same(there: tuple[str, ...], folder: Path) -> None:
    """--json has the fix that was used, each conversion, the account, and the difference to the last digit."""
    tell("rates", "import", folder / "eurofxref-daily.xml", *there)
    told = tell("netting", "1", "--settle", "rides=eur", "--fix", "ecb-2023-12-08", *there)
    assert (told["fix"], told["settle"]) == ("ecb-2023-12-08", {"rides": "EUR"})
    assert told["conversions"] == [
        {
            "partner": "rides", "amount": {"amount": "2400", "currency": "JPY"},
            "converted": {"amount": "15.43", "currency": "EUR"},
        },
        {
            "partner": "rides", "amount": {"amount": "123.45", "currency": "USD"},
            "converted": {"amount": "114.55", "currency": "EUR"},
        },
    ]  # fmt: skip
    assert told["conversion_account"] == [
        {"amount": "-129.98", "currency": "EUR"}, {"amount": "2400", "currency": "JPY"},
        {"amount": "123.45", "currency": "USD"},
    ]  # fmt: skip
    assert told["rounding_differences"] == [{"currency": "EUR", "minor": "10226362/167614681"}]
    paid = [(each["from"], each["to"], *each["amount"].values()) for each in told["payments"]]
    assert paid == [
        ("exchange", "rides", "89.98", "EUR"), ("exchange", "video", "40.00", "EUR"),
        ("music", "exchange", "2400", "JPY"), ("video", "exchange", "123.45", "USD"),
    ]  # fmt: skip
    positions = tell("netting", "1", *there)
    assert positions["positions"] == told["positions"]
    assert (positions["fix"], positions["conversions"], positions["rounding_differences"]) == (None, [], [])


def test_currencies_of_three_and_four_digits_are_owed_to_the_last(there: tuple[str, ...]) -> None:
    """1,000 points cost 0.376 BHD, 40.1235 CLF, 0.5001 UYW: half to even at the currency's own last digit."""
    told = tell("netting", "2", *there)
    nets = {(each["partner"], each["net"]["currency"]): each["net"]["amount"] for each in told["positions"]}
    assert nets == {
        ("hotels", "BHD"): "-0.376", ("music", "BHD"): "0.376",
        ("hotels", "CLF"): "-0.2809", ("rides", "CLF"): "0.2809",
        ("hotels", "UYW"): "-0.0015", ("video", "UYW"): "0.0015",
    }  # fmt: skip


def test_rates_are_programs_as_well(there: tuple[str, ...], folder: Path) -> None:
    """--json of each command has what it prints, rates as they were published."""
    path = folder / "eurofxref-daily.xml"
    tell("rates", "import", path, *there)
    assert tell("rates", "import", path, *there) == {
        "added": 0, "known": 1, "first": "ecb-2023-12-08", "last": "ecb-2023-12-08",
    }  # fmt: skip
    (listed,) = tell("rates", "list", *there)["fixes"]
    assert listed == {"id": "ecb-2023-12-08", "base": "EUR", "date": "2023-12-08", "currencies": ["GBP", "JPY", "USD"]}
    assert tell("rates", "list", "--before", "ecb-2023-12-08", *there) == {"fixes": []}
    shown = tell("rates", "show", "ecb-2023-12-08", *there)
    assert shown["rates"] == {"GBP": "0.8569", "JPY": "155.53", "USD": "1.0777"}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("netting 1 --settle rides=EUR", "--settle and --fix go together"),
        ("netting 1 --fix ecb-2023-12-08", "--settle and --fix go together"),
        ("netting 1 --settle rides --fix x", "it wants HANDLE=CODE once a partner"),
        ("netting 1 --settle rides=EUR --settle rides=USD --fix x", "it wants HANDLE=CODE once a partner"),
        ("netting 1 --settle rides=EUR --fix ecb-1999-01-04", "there is no fix ecb-1999-01-04"),
        ("netting 1 --settle nobody=EUR --fix ecb-2023-12-08", "there is no partner nobody"),
        ("netting 1 --settle rides=XAU --fix ecb-2023-12-08", "'XAU' is not an ISO 4217 currency"),
        ("netting 2 --settle music=EUR --fix ecb-2023-12-08", "ecb-2023-12-08 has no rate of BHD"),
        ("rates show ecb-1999-01-04", "there is no fix ecb-1999-01-04"),
        ("rates import other.csv", "ecb-2023-12-08 has 0.8569 as its rate of GBP, not none"),
        ("rates import wrong.csv", "line 2: ecb-2023-12-08: '1.0777e0' is no rate of USD"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    command: str, says: str, there: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice without rates, rates that are not there, a file that is wrong or says otherwise: all named."""
    monkeypatch.chdir(folder)
    tell("rates", "import", folder / "eurofxref-daily.xml", *there)
    (folder / "other.csv").write_text("Date,USD\n2023-12-08,1.0777\n")
    (folder / "wrong.csv").write_text("Date,USD\n2023-12-08,1.0777e0\n")
    said = run(*command.split(), *there)
    assert said.status != 0
    assert said.err.count("\n") == 1
    assert says in said.err


def test_a_certificate_of_conversions_is_verified(there: tuple[str, ...], folder: Path) -> None:
    """Offline, it says by which fix who settles in which currency."""
    tell("rates", "import", folder / "eurofxref-daily.xml", *there)
    path = folder / "certificate.jsonl"
    tell("netting", "1", "--settle", "rides=EUR", "--fix", "ecb-2023-12-08", "--out", path, *there)
    assert json.loads(path.read_text().splitlines()[0])["fix"]["rates"]["USD"] == "1.0777"
    said = run("verify", str(path))
    assert said.status == 0
    assert "rides settles in EUR, by ecb-2023-12-08" in said.out
