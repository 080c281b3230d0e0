"""`exchange netting`, and its page in the docs: what is written there is what the commands print."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.benefit import Benefit, content_of
from exchange.settlement.signoff import Asked, SignOffStep, left_to_pay
from exchange.store.catalog import Offer
from graph.services import open_services
from graph.settings import DEFAULT_ISSUER, Settings
from tests.exchange.conftest import known
from tests.exchange.speech import agreement, award, benefit, redeem
from tests.graph.cli.pages import prints_what_it_says, words_of
from tests.graph.cli.running import lived, run, tell

PARTNERS = ("music", "news", "rides", "video", "hotels")
FIRST = (("video", "rides", 12000), ("music", "rides", 3000), ("rides", "news", 8000), ("news", "video", 5000))
SECOND = (("video", "rides", 200), ("news", "video", 1000))


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange that has lived the example of the page: three closed periods and an open one."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "jwks.json")) as at:
        yield at


@pytest.fixture(scope="module")
def apart(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give one that has lived the same, for the page, which records what it shows."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "jwks.json")) as at:
        yield at


def wanted_of(redemption: tuple[str, str, int], number: int) -> Benefit:
    _, provider, points = redemption
    return benefit(f"{provider}/for-{points}-{number}", points)


async def _live(settings: Settings, keys: Path) -> None:
    async with open_services(settings) as services:
        await known(services.ledger, *PARTNERS)
        for issuer, provider in dict.fromkeys((issuer, provider) for issuer, provider, _ in (*FIRST, *SECOND)):
            fee = 100 if provider == "rides" else 0
            since = await services.now()
            await services.terms.add(agreement(issuer, provider, 1000, "EUR", fee=fee, since=since))
        for number, redemptions in enumerate((FIRST, SECOND), 1):
            for issuer, provider, points in redemptions:
                wanted = wanted_of((issuer, provider, points), number)
                await services.catalog.publish(provider, [Offer(content_of(wanted))])
                await services.ledger.submit(award(issuer, points))
                await services.ledger.submit(redeem(wanted, through=issuer))
            await services.settlement.close(number)
        # In period 3 a partner without any agreement earns a commission.
        since = await services.now()
        await services.terms.add(agreement("video", "rides", 1000, "EUR", commission=100, since=since))
        await services.ledger.submit(award("video", 200))
        await services.ledger.submit(redeem(wanted_of(SECOND[0], 2), through="hotels"))
        await services.settlement.close(3)
        await asyncio.to_thread(keys.write_text, json.dumps(await services.keys.published()))


def test_the_page_shows_what_is_printed(apart: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page, in its order, prints what is written there; "…" stands for what chance decides."""
    monkeypatch.chdir(folder)
    prints_what_it_says("netting.md", apart, least=6)


def test_the_document_says_the_same(there: tuple[str, ...], folder: Path) -> None:
    """--json has every figure: positions, what it saves, payments, what is carried, and who loses by a default."""
    path = folder / "one.jsonl"
    told = tell("netting", "1", "--plan", "fewest", "--minimum", "eur=5", "--out", path, *there)
    eur = {"currency": "EUR"}
    assert (told["period"], told["status"], told["plan"], told["groups"]) == (1, "CLOSED", "fewest", {})
    assert told["minimums"] == [{"amount": "5.00", **eur}]
    assert {each["partner"]: each["net"]["amount"] for each in told["positions"]} == {
        "exchange": "1.50", "music": "-30.00", "news": "30.00", "rides": "68.50", "video": "-70.00",
    }  # fmt: skip
    assert told["nets"][0] == {"partner": "exchange", "net": {"amount": "1.50", **eur}}
    (saved,) = told["savings"]
    assert (saved["gross"], saved["efficiency_basis_points"]) == ({"amount": "281.50", **eur}, 6448)
    assert told["carried"] == [{"from": "video", "to": "exchange", "amount": {"amount": "1.50", **eur}}]
    assert told["certificate"] == {"file": str(path), "sha256": sha256(path.read_bytes()).hexdigest()}
    verdict = tell("verify", path, "--keys", folder / "jwks.json")
    assert (verdict["sound"], verdict["signature"]) == (True, "checked")
    assert verdict["carried"] == [["EUR", "video", "exchange", "150"]]
    assert verdict["period_root"] == told["root"]
    assert tell("verify", path)["after"] is None

    second = folder / "two.jsonl"
    assert tell("netting", "2", "--after", path, "--out", second, *there)["positions"][0]["opening"]["amount"] == "1.50"
    assert tell("verify", second)["after"] == told["certificate"]["sha256"]

    unwound = tell("netting", "1", "--without", "news", *there)
    assert [(each["partner"], each["difference"]["amount"]) for each in unwound["survivors"]] == [
        ("rides", "80.00"), ("video", "-50.00"),
    ]  # fmt: skip
    assert unwound["certificate"] is None


def test_a_certificate_is_found_out(there: tuple[str, ...], folder: Path) -> None:
    """One figure that is another one, and the verdict names its line."""
    path = folder / "found-out.jsonl"
    tell("netting", "1", "--out", path, *there)
    path.write_bytes(path.read_bytes().replace(b'"-7000"', b'"-6999"'))
    said = run("verify", path)
    assert said.status == 1
    assert said.out.startswith("BROKEN  line 10: the position of video EUR should be 0 12000 5000 0 -7000")


def test_an_open_period_is_netted_so_far_and_not_certified(there: tuple[str, ...], folder: Path) -> None:
    """Its figures may still change, so nobody signs them."""
    assert run("netting", "4", *there).out == "period 4, so far, plan: exchange\n"
    said = run("netting", "4", "--out", folder / "four.jsonl", *there)
    assert said.status == 1
    assert said.complaint.startswith("period 4 is not closed with all its statements")
    assert not (folder / "four.jsonl").exists()


def test_a_settled_period_is_certified_as_a_closed_one(there: tuple[str, ...], folder: Path) -> None:
    """That everybody has been paid changes no figure, and the certificate can be written at any time."""
    path = folder / "settled.jsonl"
    before = tell("netting", "2", "--out", path, *there)
    body = path.read_text().splitlines()[:-1]
    asyncio.run(_settle(Settings(mongo_url=there[1], issuer=DEFAULT_ISSUER, data=folder / "data"), 2))
    listed = {each["number"]: each["status"] for each in tell("period", "list", *there)["periods"]}
    assert (listed[1], listed[2]) == ("CLOSED", "SETTLED")
    after = tell("netting", "2", "--out", path, *there)
    assert path.read_text().splitlines()[:-1] == body
    assert after == {**before, "status": "SETTLED", "certificate": after["certificate"]}
    assert ", so far" not in run("netting", "2", *there).out


async def _settle(settings: Settings, number: int) -> None:
    """Sign a period's statements off, and pay them."""
    async with open_services(settings, ledger=False) as services:
        for statement in await services.settlement.statements(number, limit=100):
            wishes = [(SignOffStep.REVIEW, "ada", None), (SignOffStep.APPROVE, "ben", None)]
            wishes += [(SignOffStep.INSTRUCT, "ada", None)]
            paid = [(SignOffStep.PAY, "ada", left) for left in left_to_pay(statement) if left.minor]
            for step, actor, amount in (*wishes, *paid):
                key = f"{statement.id} {step} {amount}"
                asked = Asked(step=step, statement=statement.id, hash=statement.hash, actor=actor, amount=amount,
                              key=key, fingerprint=key)  # fmt: skip
                await services.sign_off.sign(asked)


def test_a_plan_along_contracts_pays_only_along_agreements(there: tuple[str, ...], folder: Path) -> None:
    """Who has an agreement with whom is in the certificate; also when a partner comes in by what was carried alone."""
    first, second = folder / "along.jsonl", folder / "along-too.jsonl"
    agreed = {frozenset((issuer, provider)) for issuer, provider, _ in (*FIRST, *SECOND)}
    for number, path, more in ((1, first, ("--minimum", "EUR=29")), (2, second, ("--after", first))):
        told = tell("netting", str(number), "--plan", "contracted", *more, "--out", path, *there)
        for each in (*told["payments"], *told["carried"]):
            assert each["to"] == "exchange" or frozenset((each["from"], each["to"])) in agreed
        assert tell("verify", path)["sound"]
    assert "music" in {each["from"] for each in told["payments"]}
    assert "music" not in {each["partner"] for each in tell("netting", "2", *there)["positions"]}


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ("netting 9", 1, "there is no period 9"),
        ("netting 1 --without nobody", 1, "there is no partner nobody"),
        ("netting 1 --group video=nobody", 1, "there is no partner nobody"),
        ("netting 1 --group video", 2, "'video': it wants PARENT=HANDLE,… once a parent"),
        ("netting 1 --group video=music --group rides=music", 2, "music is in a group twice, or in two"),
        ("netting 1 --without exchange", 2, "the exchange cannot be taken out"),
        ("netting 1 --minimum 5", 2, "it wants CODE=AMOUNT"),
        ("netting 1 --minimum EUR=5.001", 2, "EUR has 2 decimal digits"),
        ("netting 1 --minimum EUR=0", 2, "a minimum is more than nothing"),
        ("netting 1 --minimum EUR=5 --minimum eur=6", 2, "EUR is there twice"),
        ("netting 1 --plan cheapest", 2, "'cheapest' is not one of"),
        ("netting 3 --plan contracted", 1, "--plan: no plan along contracts: rides, video owe 0.02 EUR more"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(there: tuple[str, ...], arguments: str, status: int, complaint: str) -> None:
    """Wrong usage is 2, a refusal 1."""
    said = run(*words_of(arguments, there))
    assert said.status == status
    assert complaint in said.err


def test_what_is_carried_comes_from_the_period_before_here(there: tuple[str, ...], folder: Path) -> None:
    """A certificate of another period, of another exchange, or that is none, is not taken."""
    path = folder / "before.jsonl"
    tell("netting", "1", "--out", path, *there)
    said = run("netting", "3", "--after", path, *there)
    assert (said.status, said.complaint) == (1, "--after: the certificate is of period 1, not of the one before 3 here")
    path.write_bytes(path.read_bytes()[:-9])
    said = run("netting", "2", "--after", path, *there)
    assert said.status == 1
    assert said.complaint.startswith("--after: the certificate is not sound: line ")
    said = run("netting", "2", "--after", folder / "jwks.json", *there)
    assert said.complaint.startswith("--after: the certificate is not sound: line 1")


def test_what_is_owed_can_be_made_again_from_the_journal(there: tuple[str, ...], folder: Path) -> None:
    """The obligations of a certificate are those of the period's blocks, added up."""
    path, journal = folder / "owed.jsonl", folder / "journal.jsonl"
    tell("netting", "1", "--out", path, *there)
    tell("journal", "export", "--out", journal, *there)
    figures = ("points", "gross", "fee", "commission", "entries")
    owed: Counter[tuple[str, ...]] = Counter()
    for line in map(json.loads, journal.read_text().splitlines()):
        if line.get("block", {}).get("period") == 1:
            for row in (row for kind, *row in line["sums"] if kind == "money"):
                owed.update({(*row[:4], name): int(each) for name, each in zip(figures, row[4:], strict=True)})
    rows = [line["owed"] for line in map(json.loads, path.read_text().splitlines()) if "owed" in line]
    assert len(rows) == len(FIRST)
    for row in rows:
        owed.subtract({(*row[:4], name): int(each) for name, each in zip(figures, row[4:], strict=True)})
    assert set(owed.values()) == {0}


# ---------------------------------------------------------------- recorded


@pytest.fixture(scope="module")
def recorded(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give another exchange that has lived the same, whose nettings the tests record in their order."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "keys.json")) as at:
        yield at


def test_what_is_recorded_is_carried_by_itself(recorded: tuple[str, ...], folder: Path) -> None:
    """From the standing policy over two periods to their certificates, which need no `--after` any more."""
    assert run("netting", "policy", *recorded).out == "version 0: plan: exchange\n"
    told = tell("netting", "policy", "--plan", "fewest", "--minimum", "EUR=5", "--group", "video=hotels", *recorded)
    assert (told["version"], told["plan"], told["groups"]) == (1, "fewest", {"video": ["hotels"]})
    assert run("netting", "policy", *recorded).out.splitlines() == [
        "version 1: plan: fewest",
        "at least 5.00 EUR",
        "video settles for hotels",
    ]

    tried = tell("netting", "1", *recorded)
    assert (tried["plan"], tried["recorded"]) == ("fewest", None)
    assert tell("netting", "1", "--no-policy", *recorded)["carried"] == []
    path = folder / "recorded-1.jsonl"
    first = tell("netting", "1", "--record", "--by", "ada", "--out", path, *recorded)
    assert first["payments"] == tried["payments"]
    assert first["carried"] == [
        {"from": "video", "to": "exchange", "amount": {"amount": "1.50", "currency": "EUR"}}
    ]  # fmt: skip
    assert (first["recorded"]["by"], first["recorded"]["standing_policy"], first["recorded"]["follows"]) == (
        "ada", 1, None,
    )  # fmt: skip
    assert first["recorded"]["sha256"] == sha256(path.read_bytes()).hexdigest() == first["certificate"]["sha256"]

    # What is tried takes in what was recorded; with a certificate it has to be that one.
    assert tell("netting", "2", *recorded)["positions"][0]["opening"]["amount"] == "1.50"
    other = folder / "not-recorded.jsonl"
    tell("netting", "1", "--no-policy", "--out", other, *recorded)
    said = run("netting", "2", "--record", "--after", other, *recorded)
    assert (said.status, said.complaint) == (1, "--after: is not the certificate of the netting recorded before")
    second = tell("netting", "2", "--record", "--after", path, "--plan", "exchange", *recorded)
    assert (second["recorded"]["follows"], second["plan"]) == (1, "exchange")

    again = folder / "again.jsonl"
    tell("netting", "show", "1", "--out", again, *recorded)
    assert again.read_bytes() == path.read_bytes()
    verdict = tell("verify", again, "--keys", folder / "keys.json")
    assert (verdict["sound"], verdict["signature"], verdict["groups"]) == (True, "checked", {"video": ["hotels"]})
    tell("netting", "show", "2", "--out", again, *recorded)
    assert tell("verify", again)["after"] == first["recorded"]["sha256"]

    listed = tell("netting", "list", *recorded)["nettings"]
    assert [(each["period"], each["plan"], each["by"]) for each in listed] == [
        (2, "exchange", "the command line"), (1, "fewest", "ada"),
    ]  # fmt: skip
    assert run("netting", "list", "--before", "2", *recorded).out.count("\n") == 2
    shown = run("netting", "show", "1", *recorded).out.splitlines()
    assert shown[-1] == f"recorded {first['recorded']['at']} by ada: {first['recorded']['sha256']}"
    assert [each["judged"] for each in tell("check", *recorded)["invariants"] if each["invariant"] == 15] == [2]


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ("netting 1 --record", 1, "the netting of period 1 is recorded already"),
        ("netting 4 --record", 1, "period 4 is not closed with all its statements"),
        ("netting show 3", 1, "no netting of period 3 is recorded"),
        ("netting policy --none --plan fewest", 2, "either --none or what it says"),
        ("netting policy --settle hotels=EUR --group video=hotels", 2, "--settle: video settles for hotels"),
        ("netting policy --group video=nobody", 1, "there is no partner nobody"),
        ("netting 2 --settle video=EUR", 2, "--settle and --fix go together"),
        ("netting --plan cheapest 2", 2, "'cheapest' is not one of"),
    ],
)
def test_what_cannot_be_recorded_is_said_in_a_line(
    recorded: tuple[str, ...], arguments: str, status: int, complaint: str
) -> None:
    """After the two are recorded; wrong usage is 2, a refusal 1."""
    said = run(*words_of(arguments, recorded))
    assert said.status == status
    assert complaint in said.err
