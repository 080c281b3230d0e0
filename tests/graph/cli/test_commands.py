from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from bson.raw_bson import RawBSONDocument
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from graphql import build_client_schema, build_schema
from openpyxl import load_workbook
from pymongo import MongoClient

from exchange.mongod import find_running
from exchange.proof import TITLES
from graph.cli.commands import exchange
from graph.schema import sdl
from tests.graph.cli.running import ENVIRONMENT, EXCHANGE, READY_SECONDS, Up, run, spawn, tell, wait_until

PRODUCTS = Path(__file__).parents[2] / "partners" / "data" / "reloadly-products-za.json"


@pytest.fixture
def away(mongo_url: str, database_name: str, folder: Path) -> tuple[str, ...]:
    """Give the options of an exchange of the test's own, in a database that runs already."""
    before, _, options = mongo_url.partition("?")
    return ("--mongo-url", f"{before}{database_name}?{options}", "--data", str(folder / "away"))


# ---------------------------------------------------------------- in general


def every_command(group: click.Group = exchange, *path: str) -> Iterator[str]:
    """Yield the path of every command there is."""
    yield " ".join(path)
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)
        else:
            yield " ".join((*path, name))


@pytest.mark.parametrize("command", list(every_command()))
def test_every_command_explains_itself(command: str) -> None:
    """`--help` says what it does in a whole sentence, and every option has a word of its own."""
    said = run(*command.split(), "--help")
    assert said.status == 0
    assert said.out.startswith(f"Usage: exchange {command}".strip())
    assert all(len(line.split(None, 1)) > 1 for line in said.out.splitlines() if line.startswith("  --json"))
    assert "...\n" not in said.out.partition("Commands:")[2]


def test_it_tells_its_version() -> None:
    """`exchange --version` is the distribution's."""
    assert spawn("--version").out == f"exchange {version('benefits-exchange')}\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("nonsense", "No such command 'nonsense'. (see exchange --help)"),
        ("partner create --handle x", "Missing option '--name'. (see exchange partner create --help)"),
        ("partner list --colour", "No such option"),
        ("staff create --email a@b.example --role king", "'king' is not one of"),
        ("agreement set --price 8 --currency EURO", "not an ISO 4217 currency"),
        ("agreement set --price 8.001 --currency EUR", "EUR has 2 decimal digits"),
        ("agreement set --price 8 --currency EUR --effective-from tomorrow", "must be a time with offset"),
        ("agreement simulate --price 8 --currency EURO", "not an ISO 4217 currency"),
        ("agreement simulate --price 8 --currency EUR --period 0", "'0' is no whole number from 1 on"),
        ("agreement simulate --price 8 --currency EUR --fee-bps 10001", "--fee-bps: must be 0 to 10000"),
        ("catalog import --partner x /no/such/file", "does not exist"),
        ("catalog import --partner x --points-per-unit none -", "none is no number of points"),
        ("agreement set --price 999999999999999999.99 --currency EUR", "'999999999999999999.99' is too large"),
        ("exposure set --partner video --currency EUR", "give --cap with an amount, or --none"),
        ("exposure set --partner video --currency EUR --cap 1 --none", "give --cap with an amount, or --none"),
        ("exposure set --partner video --currency EURO --cap 1", "not an ISO 4217 currency"),
        ("exposure set --partner video --currency EUR --cap=-1", "--cap: must not be negative, nor absurdly high"),
        ("exposure set --partner video --currency EUR --none --low 1", "--low: without a cap there is no balance"),
        ("exposure fund --partner video --currency EUR --amount 0 --reference a", "--amount: must not be zero"),
        ("agreement set --price -1 --currency EUR", "--price: must not be negative, nor absurdly high"),
        ("agreement set --price 1 --currency EUR --fee-bps -1", "--fee-bps: must be 0 to 10000"),
        ("agreement set --price 1 --currency EUR --fee-bps 10001", "--fee-bps: must be 0 to 10000"),
        (
            "agreement set --price 1 --currency EUR --fee-bps 9000 --commission-bps 1001",
            "--commission-bps: fee and commission together exceed what is owed",
        ),
        ("period close zero", "'zero' is no whole number from 1 on"),
        ("period close 0", "'0' is no whole number from 1 on"),
        ("statement list --period x", "'x' is no whole number from 1 on"),
        ("up --port x", "'x' is no whole number from 0 to 65535"),
        ("up --workers 65", "'65' is no whole number from 1 to 64"),
        ("check --mongo-url mongodb://u:secret@h:x", "--mongo-url"),
        ("up --json", "No such option"),
        ("statement export 1:x --format doc", "'doc' is not one of 'csv', 'json', 'ledger', 'xlsx', 'pdf',"),
        ("statement export 1:x --locale tlh-XX", "'tlh-XX' is no locale, such as en, de-CH or ja"),
        ("statement export 1:x --json", "--json tells about the file: it needs --out FILE"),
        ("member show --partner video", "Missing option '--reference'. (see exchange member show --help)"),
        (
            "member history --partner x --reference y --format csv --json",
            "--json tells about the file: it needs --out FILE",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: str, complaint: str) -> None:
    """What was mistyped is said in one line that names the help, and the exit code is 2."""
    said = run(*arguments.split())
    assert said.status == 2
    assert complaint in said.complaint
    assert " --help)" in said.complaint
    assert "secret" not in said.complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("partner create --name N --handle Foo", "--handle: a handle has 2 to 40 characters of a-z, 0-9 and -"),
        ("partner create --handle n2 --name=", "--name: a name has 1 to 100 printable characters"),
        (
            "partner create --handle n2 --name N --public-key {folder}/bad.pem",
            "--public-key: the public key is neither",
        ),
        ("partner create --handle n2 --name N --public-key {folder}/none.pem", "none.pem is no text: give the key as"),
        ("staff create --role admin --email foo", "--email: that is not an e-mail address"),
    ],
)
def test_what_is_malformed_is_wrong_usage_wherever_it_is_noticed(
    away: tuple[str, ...], folder: Path, arguments: str, complaint: str
) -> None:
    """An option that no exchange would take ends with 2; only what contradicts the stored state ends with 1."""
    (folder / "bad.pem").write_text("no key")
    (folder / "none.pem").write_bytes(b"\xff\xfe")
    said = run(*arguments.format(folder=folder).split(), *away)
    assert said.status == 2
    assert complaint in said.complaint


def test_up_says_why_it_has_no_json() -> None:
    """Its stdout has the ready line, and its help says so."""
    assert "There is no --json: stdout has that line, which is what scripts wait for." in " ".join(
        run("up", "--help").out.split()
    )


@pytest.mark.parametrize("arguments", ["partner list", "up --port 0"])
def test_a_database_that_is_not_there_is_named_without_its_password(arguments: str, folder: Path) -> None:
    """The line has the address and what to do about it, and nothing of the credentials in the URL."""
    url = "mongodb://ann:hush@127.0.0.1:9,127.0.0.1:11/db?serverSelectionTimeoutMS=100"
    said = spawn(*arguments.split(), "--data", folder / "unreached", "--mongo-url", url)
    assert said.status == 1
    assert said.complaint == (
        "no database answers at 127.0.0.1:9,127.0.0.1:11: "
        "--mongo-url (EXCHANGE_MONGO_URL) must name one that runs and lets us in"
    )


def test_a_database_that_refuses_is_said_to_refuse(mongo_url: str, folder: Path) -> None:
    """It is there, so nobody is sent to start it: what it says is passed on."""
    address = mongo_url.partition("://")[2].partition("/")[0]
    url = mongo_url.replace("mongodb://", "mongodb://ann:hu%2Fsh@")
    said = run("partner", "list", "--data", folder / "refused", "--mongo-url", url)
    assert said.status == 1
    assert said.complaint == (
        f"the database at {address} refused: Authentication failed: "
        "--mongo-url (EXCHANGE_MONGO_URL) must name one that runs and lets us in"
    )


def test_without_a_command_the_help_is_shown() -> None:
    """It is wrong usage, but what the user needs is the manual."""
    said = run()
    assert said.status == 2
    assert "Usage: exchange" in said.err


@pytest.mark.parametrize("arguments", ["partner list", "period close", "statement list", "check"])
def test_looking_into_an_empty_directory_makes_no_exchange_there(arguments: str, folder: Path) -> None:
    """In the wrong directory the user is told so, instead of waiting for a database with nothing in it."""
    said = run(*arguments.split(), "--data", folder / "nothing")
    assert said.status == 1
    assert said.complaint == f"there is no exchange in {folder}/nothing: begin one with `exchange up`"
    assert not (folder / "nothing").exists()


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`exchange schema | head -1` ends without a word on stderr."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{EXCHANGE} schema | head -1"], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.stderr == ""


def test_the_schema_is_printed_as_sdl_or_as_introspection() -> None:
    """Both say the same, and neither needs an exchange."""
    printed = run("schema")
    assert (printed.status, printed.err, printed.out) == (0, "", sdl())
    introspected = tell("schema")
    assert build_client_schema(introspected).type_map.keys() == build_schema(printed.out).type_map.keys()


# ---------------------------------------------------------------- beside a running exchange


def test_commands_find_the_running_exchange(demo: Up) -> None:
    """With --data, or EXCHANGE_DATA, a command works on the database that `up` keeps there; both forms say the same."""
    listed = tell("partner", "list", environment={"EXCHANGE_DATA": str(demo.data)})["partners"]
    partners = demo.demo["partners"]
    assert {each["handle"] for each in listed} >= partners.keys()
    for each in listed:
        if each["handle"] in partners:
            assert each["id"] == partners[each["handle"]]["id"]
            assert each["roles"] == partners[each["handle"]]["roles"]
    text = run("partner", "list", "--data", demo.data).out
    assert text.splitlines()[0].split() == ["handle", "name", "roles", "since"]
    assert "Hurtig Delivery" in text


def test_a_partner_is_created_with_the_roles_and_the_key_it_brings(demo: Up, folder: Path) -> None:
    """Roles narrow its scopes; with a public key of its own it gets no private one; the server knows it at once."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    (folder / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    create = ("partner", "create", "--data", demo.data)
    music = tell(
        *create, "--handle", "music", "--name", "Töne", "--role", "provider", "--public-key", folder / "key.pem"
    )
    assert list(music) == ["id", "handle", "name", "roles", "created_at", "client_id", "client_secret"]
    assert music["roles"] == ["PROVIDER"]
    scopes = demo.graphql(demo.machine_token(music), "{ viewer { scopes } }")["viewer"]["scopes"]
    assert "benefits:publish" in scopes
    assert "points:award" not in scopes

    again = run(*create, "--handle", "music", "--name", "Music")
    assert (again.status, again.complaint) == (1, "--handle: the handle music is taken")
    said = run(*create, "--handle", "exchange", "--name", "Exchange")
    assert (said.status, said.complaint) == (1, "--handle: the handle exchange is the operator's own")
    text = run(*create, "--handle", "plain", "--name", "Plain").out
    assert "client_secret  bxs_" in text
    assert "-----BEGIN PRIVATE KEY-----" in text


def test_staff_is_engaged_with_a_password_or_also_a_token(demo: Up) -> None:
    """The token is for the address at which the exchange runs, and holds exactly the roles given."""
    create = ("staff", "create", "--data", demo.data)
    ada = tell(*create, "--email", "Ada@Example.org", "--role", "finance:view", "--role", "admin")
    assert list(ada) == ["email", "roles", "password"]
    assert (ada["email"], ada["roles"]) == ("ada@example.org", ["finance:view", "admin"])
    bob = tell(*create, "--email", "bob@example.org", "--role", "finance:approve", "--token")
    assert bob["expires_in"] == 3600
    viewer = demo.graphql(bob["access_token"], "{ viewer { scopes } }")["viewer"]
    assert viewer == {"scopes": ["finance:approve"]}
    assert "one-time password  " in run(*create, "--email", "cy@example.org", "--role", "admin").out
    said = run(*create, "--email", "bob@example.org", "--role", "admin")
    assert (said.status, said.complaint) == (1, "--email: bob@example.org is on the staff already")


def test_an_agreement_is_set_and_listed(demo: Up) -> None:
    """A second version counts on; defaults name nobody; what is refused is said with its option."""
    agree = ("agreement", "set", "--data", demo.data, "--currency", "usd")
    first = tell(*agree, "--provider", "video", "--price", "7.50", "--fee-bps", "100", "--commission-bps", "50")
    assert {name: first[name] for name in first if name not in {"id", "effective_from"}} == {
        "issuer": None, "provider": "video", "version": 1,
        "price_per_1000_points": {"amount": "7.50", "currency": "USD"},
        "fee_basis_points": 100, "commission_basis_points": 50,
    }  # fmt: skip
    text = run(*agree, "--provider", "video", "--price", "8", "--effective-from", "2999-01-01T00:00:00+01:00").out
    assert text.startswith("any to video, version 2: 8.00 USD for 1,000 points, fee 0 bps")
    assert text.endswith("from 2998-12-31T23:00:00.000Z\n")
    assert [
        row["version"] for row in tell("agreement", "list", "--data", demo.data)["agreements"] if not row["issuer"]
    ] == [2, 1]
    for options, complaint in (
        (["--issuer", "nobody", "--price", "1"], "there is no partner nobody"),
        (["--issuer", "exchange", "--price", "1"], "there is no partner exchange"),
        (["--price", "1", "--effective-from", "2020-01-01T00:00:00Z"], "--effective-from: must not be in the past"),
    ):
        said = run(*agree, *options)
        assert said.status == 1
        assert complaint in said.complaint


def test_a_cap_is_set_funded_and_listed(demo: Up) -> None:
    """A cap counts what is owed already; a payment repeated is one; what is refused is said with its option."""
    of = ("--data", demo.data, "--partner", "delivery", "--currency", "eur")
    first = tell("exposure", "set", *of, "--cap", "0", "--by", "ada")
    used = _cents(first["exposure"]["used"]["amount"])
    assert (first["version"], _cents(first["exposure"]["left"]["amount"])) == (1, -used)
    paid = ("exposure", "fund", *of, "--amount", "90000.00", "--reference", "bank 17")
    assert [tell(*paid)["replayed"] for _ in range(2)] == [False, True]
    left = f"{(9_000_000 - used) / 100:.2f}"
    assert run(*paid).out == f"90000.00 EUR of delivery was recorded before; {left} EUR left\n"
    assert run("exposure", "set", *of, "--cap", "0", "--low", "99999").out.startswith(
        f"delivery, version 2: may owe {left} EUR more"
    )
    (row,) = tell("exposure", "list", "--data", demo.data, "--partner", "delivery")["exposures"]
    assert (row["paid"]["amount"], row["left"]["amount"], row["low"]) == ("90000.00", left, True)
    assert [notice["left"]["amount"] for notice in row["notices"]] == [left]
    lines = run("exposure", "list", "--data", demo.data).out.splitlines()
    assert lines[0].split() == ["partner", "currency", "cap", "paid", "used", "left"]
    assert lines[1].split() == ["delivery", "EUR", "0.00", "90000.00", row["used"]["amount"], left, "low"]
    assert run("exposure", "set", *of, "--none").out == "delivery, version 3: may owe as much EUR as it likes\n"
    for arguments, complaint in (
        (("set", "--partner", "nobody", "--currency", "EUR", "--none"), "there is no partner nobody"),
        (("list", "--partner", "nobody"), "there is no partner nobody"),
        (("fund", *of[2:], "--amount", "1", "--reference", "bank 17"), "idempotencyKey: this idempotency key"),
    ):
        said = run("exposure", arguments[0], "--data", demo.data, *arguments[1:])
        assert said.status == 1
        assert complaint in said.complaint


def test_an_agreement_is_simulated(demo: Up) -> None:
    """Twice the price costs twice as much, but for rounding; what is in force changes nothing; nothing is set by it."""
    before = tell("agreement", "list", "--data", demo.data)
    now = next(each for each in before["agreements"] if (each["issuer"], each["provider"]) == ("video", "rides"))
    bps = ("--fee-bps", str(now["fee_basis_points"]), "--commission-bps", str(now["commission_basis_points"]))
    price, currency = now["price_per_1000_points"].values()
    pair = ("agreement", "simulate", "--data", demo.data, "--issuer", "video", "--provider", "rides", *bps,
            "--currency", currency.lower(), "--period", "1")  # fmt: skip
    same = tell(*pair, "--price", price)
    assert (same["period"], same["status"], same["rows"]) == (1, "CLOSED", [])
    assert same["repriced"] > 0
    assert run(*pair, "--price", price).out.splitlines()[:2] == [
        f"period 1: {same['repriced']:,} redemptions would be priced by it", "nothing would be different",
    ]  # fmt: skip

    twice = f"{_cents(price) * 2 / 100:.2f}"
    other = tell(*pair, "--price", twice)
    row = next(row for row in other["rows"] if row["issuer"] == "video")
    amounts = {side: _cents(row[side]["gross"]["amount"]) for side in ("now", "simulated", "difference")}
    assert amounts["now"] > 0
    assert amounts["simulated"] - amounts["now"] == amounts["difference"]
    assert abs(amounts["simulated"] - 2 * amounts["now"]) <= 2 * row["redemptions"]
    (total,) = other["totals"]
    assert total["now"] == same["totals"][0]["now"] == same["totals"][0]["simulated"]
    lines = run(*pair, "--price", twice).out.splitlines()
    assert lines[1].split() == [
        "issuer", "provider", "redemptions", "points", "gross", "fees", "commissions", "currency"
    ]  # fmt: skip
    figures = [row["now"][name]["amount"] for name in ("gross", "fees", "commissions")]
    told = next(line.split() for line in lines if line.startswith("video"))
    assert told[0:2] + told[4:] == ["video", "rides", "now", *figures, currency]
    assert tell("agreement", "list", "--data", demo.data) == before

    for options, complaint in (
        (["--period", "999"], "no such period"), (["--issuer", "nobody"], "there is no partner nobody"),
    ):  # fmt: skip
        said = run(*pair, "--price", price, *options)
        assert (said.status, said.complaint) == (1, complaint)


def test_what_stands_on_paper_is_shown_and_changed(demo: Up) -> None:
    """A partner's name, address, tax number and account, the operator's too; what is wrong is said of its option."""
    at = ("--data", demo.data)
    assert tell("partner", "particulars", "delivery", *at)["version"] == 0
    changed = tell(
        "partner", "particulars", "delivery", "--name", "Swift GmbH", "--address", "Weg 1", "--address", "10115 Berlin",
        "--tax-number", "DE136695976", "--iban", "DE89 3704 0044 0532 0130 00", "--by", "ada", *at,
    )  # fmt: skip
    assert (changed["version"], changed["by"]) == (1, "ada")
    assert changed["address"] == ["Weg 1", "10115 Berlin"]
    lines = run("partner", "particulars", "delivery", *at).out.splitlines()
    assert lines[:5] == [
        "name        Swift GmbH", "address     Weg 1", "address     10115 Berlin", "tax number  DE136695976",
        "iban        DE89370400440532013000",
    ]  # fmt: skip
    assert tell("partner", "particulars", "exchange", "--name", "Exchange AG", *at)["name"] == "Exchange AG"
    said = run("partner", "particulars", "delivery", "--iban", "DE88370400440532013000", *at)
    assert (said.status, "--iban: DE88370400440532013000 is no IBAN" in said.complaint) == (2, True)
    said = run("partner", "particulars", "nobody", "--iban", "x", *at)
    assert (said.status, said.complaint) == (1, "there is no such partner")


def test_statements_are_listed_and_exported(demo: Up, folder: Path) -> None:
    """What `list` prints, name or id, `export` takes; its lines' nets sum to its own; --out says what it wrote."""
    listed = tell("statement", "list", "--data", demo.data, "--period", "1")["statements"]
    assert [each["statement"] for each in listed] == ["1:delivery", "1:rides", "1:video"]
    rides = listed[1]
    by_name = run("statement", "export", "1:rides", "--data", demo.data)
    by_id = run("statement", "export", rides["id"], "--format", "csv", "--data", demo.data)
    assert (by_name.status, by_name.err) == (0, "")
    assert by_name.out == by_id.out
    rows = list(csv.DictReader(io.StringIO(by_name.out)))
    assert len(rows) == rides["lines"]
    assert _cents(rides["totals"][0]["net"]["amount"]) == sum(_cents(row["net"]) for row in rows)
    told = tell("statement", "export", "1:rides", "--out", folder / "rides.csv", "--data", demo.data)
    assert (folder / "rides.csv").read_bytes() == by_name.out.encode()
    assert (told["file"], told["format"], told["lines"]) == (str(folder / "rides.csv"), "csv", len(rows))
    for form in ("json", "ledger"):
        said = run("statement", "export", "1:rides", "--format", form, "--data", demo.data)
        assert (said.status, said.err) == (0, "")
        assert rides["hash"] in said.out
    book = folder / "rides.xlsx"
    run("statement", "export", "1:rides", "--format", "xlsx", "--locale", "de", "--out", book, "--data", demo.data)
    sheet = load_workbook(book)["Lines"]
    assert sheet.max_row == len(rows) + 1
    assert sheet["J2"].number_format.endswith('"\N{NO-BREAK SPACE}€"')
    text = run("statement", "list", "--data", demo.data).out.splitlines()
    assert text[0].split()[:4] == ["statement", "period", "partner", "status"]
    assert any(line.startswith("1:video ") for line in text)

    said = run("statement", "export", "1:nobody", "--data", demo.data)
    assert (said.status, said.complaint) == (1, "there is no statement 1:nobody: see `exchange statement list`")
    said = run("statement", "export", "1:rides", "--out", folder / "no" / "file.csv", "--data", demo.data)
    assert (said.status, said.complaint) == (1, f"cannot write {folder}/no/file.csv: No such file or directory")
    said = run("statement", "list", "--period", "99", "--data", demo.data)
    assert (said.status, said.complaint) == (1, "there is no period 99")


def test_the_open_period_is_closed_while_the_exchange_runs(demo: Up) -> None:
    """`period close` closes the open one; with its number it is the same success again; the next one is open."""
    number = tell("period", "list", "--data", demo.data)["periods"][0]["number"]
    closed = tell("period", "close", "--data", demo.data)
    assert (closed["number"], closed["status"]) == (number, "CLOSED")
    assert tell("period", "close", str(number), "--data", demo.data) == closed
    periods = tell("period", "list", "--data", demo.data)["periods"]
    assert [(each["number"], each["status"]) for each in periods[:2]] == [(number + 1, "OPEN"), (number, "CLOSED")]
    said = run("period", "close", "99", "--data", demo.data)
    assert (said.status, said.complaint) == (1, "number: no such period")
    text = run("period", "close", "1", "--data", demo.data).out
    assert text.startswith("period 1 is closed, with 3 statements\n\npartner")
    assert "period" in run("period", "list", "--data", demo.data).out


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


# ---------------------------------------------------------------- catalogs


def test_a_catalog_is_imported_mended_and_imported_again(away: tuple[str, ...], folder: Path) -> None:
    """Good rows are published, bad ones told with line, field and reason; the mended file changes what was mended."""
    tell("partner", "create", "--handle", "rides", "--name", "Rides", *away)
    header = "sku,category,title,pointsPrice,stock,fulfilment"
    good = [f"ride-{number},RIDES,Ride {number},{100 + number},,NONE" for number in range(2_200)]
    feed = folder / "feed.csv"
    feed.write_text("\n".join([header, *good[:1_500], "bad sku,RIDES,,no,-1,NONE", *good[1_500:]]) + "\n")
    command = ("catalog", "import", "--partner", "rides", str(feed), *away)

    said = run(*command, "--json", "--dry-run")
    assert said.status == 1
    dry = json.loads(said.out)
    assert (dry["dry_run"], dry["created"], len(dry["rejected"])) == (True, 2_200, 4)
    said = run(*command)
    assert (said.status, said.err) == (1, "")
    lines = said.out.splitlines()
    assert lines[0] == "rides: 2200 created, 0 updated, 0 unchanged, 1 rejected"
    assert lines[2].split() == ["line", "field", "reason"]
    assert [line.split()[:2] for line in lines[3:]] == [
        ["1502", "sku"], ["1502", "title"], ["1502", "pointsPrice"], ["1502", "stock"],
    ]  # fmt: skip
    mended = [header, *good[:1_500], "ride-x,RIDES,Ride X,1,5,NONE", *good[1_500:2_199], "ride-2199,RIDES,New,7,,NONE"]
    feed.write_text("\n".join(mended) + "\n")
    assert tell(*command) == {
        "partner": "rides", "file": str(feed), "dry_run": False, "created": 1, "updated": 1, "unchanged": 2_199,
        "rejected": [], "error": None,
    }  # fmt: skip


def test_what_the_exchange_refuses_is_told_by_line_and_the_rest_is_published(
    away: tuple[str, ...], folder: Path
) -> None:
    """A change that contradicts what is stored costs its own row alone, also in the middle of a transaction's worth."""
    tell("partner", "create", "--handle", "video", "--name", "Video", *away)
    feed = folder / "feed.jsonl"
    rows = [{"sku": f"film-{n}", "category": "VIDEO", "title": f"Film {n}", "pointsPrice": 9} for n in range(6)]
    feed.write_text("\n".join(map(json.dumps, rows[:4])))
    command = ("catalog", "import", "--partner", "video", str(feed), *away)
    assert tell(*command)["created"] == 4
    rows[1]["fulfilment"] = rows[3]["fulfilment"] = "INSTANT_CODE"
    rows[4]["expectedVersion"] = 3
    rows[0]["title"] = "Another"
    feed.write_text("\n".join(map(json.dumps, rows)))
    dry = json.loads(run(*command, "--json", "--dry-run").out)
    said = run(*command, "--json")
    assert said.status == 1
    told = json.loads(said.out)
    assert told == dry | {"dry_run": False}
    assert (told["created"], told["updated"], told["unchanged"]) == (1, 1, 1)
    assert [(row["line"], row["field"]) for row in told["rejected"]] == [
        (2, "fulfilment"), (4, "fulfilment"), (5, "expectedVersion"),
    ]  # fmt: skip


def test_a_file_that_breaks_off_is_published_as_far_as_it_goes(away: tuple[str, ...]) -> None:
    """From stdin, too: what came before is published and counted, why it stopped is the one line on stderr."""
    tell("partner", "create", "--handle", "video", "--name", "Video", *away)
    rows = "".join(f"film-{number},VIDEO,Film,9\n" for number in range(1_200))
    feed = b"sku,category,title,pointsPrice\n" + rows.encode() + b"film-\xff,VIDEO,Film,9\n"
    said = run("catalog", "import", "--partner", "video", "-", "--json", *away, stdin=feed)
    assert said.status == 1
    assert said.complaint.startswith("line 1202: byte 6 is not UTF-8")
    told = json.loads(said.out)
    assert (told["created"], told["error"]) == (1_200, said.complaint)
    said = run("catalog", "import", "--partner", "nobody", "-", *away, stdin=feed)
    assert (said.status, said.complaint, said.out) == (1, "there is no partner nobody", "")


# ---------------------------------------------------------------- from the shell alone


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


def _cents(amount: str) -> int:
    return round(float(amount) * 100)


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


def test_rules_are_laid_down_and_shown(away: tuple[str, ...]) -> None:
    """What is left out stays; every version is listed; what cannot be kept is wrong usage and changes nothing."""
    tell("partner", "create", "--handle", "video", "--name", "Video", *away)
    assert tell("rules", "show", "--partner", "video", *away)["version"] == 0
    first = tell(
        "rules", "set", "--partner", "video", "--award-reversal", "take-what-is-left", "--gift-day-points", "500",
        "--time-zone", "Asia/Tokyo", *away,
    )  # fmt: skip
    assert (first["version"], first["award_reversal"], first["time_zone"]) == (1, "TAKE_WHAT_IS_LEFT", "Asia/Tokyo")
    second = tell("rules", "set", "--partner", "video", "--velocity", "3600:3:", "--velocity", "60::5::2", *away)
    assert (second["version"], second["gift_day_points"]) == (2, 500)
    assert [rule["points_from"] for rule in second["velocity"]] == [0, 2]
    assert tell("rules", "set", "--partner", "video", "--gift-day-points", "500", *away)["version"] == 2
    versions = tell("rules", "history", "--partner", "video", *away)["versions"]
    assert [one["version"] for one in versions] == [2, 1]
    shown = run("rules", "show", "--partner", "video", *away).out
    assert "at most 3 redemptions in 3,600 s" in shown
    assert "at most 5 points in 60 s, counting those from 2 points" in shown
    assert "TAKE_WHAT_IS_LEFT" in run("rules", "history", "--partner", "video", *away).out
    for arguments, status in (
        (("--time-zone", "Mars"), 2), (("--velocity", "x"), 2), ((), 2), (("--velocity", "60:1:", "--no-velocity"), 2),
        (("--velocity", "60:1::nothing"), 1), (("--velocity", "60:2147483648:"), 2),
        (("--velocity", f"60::{10**17 + 1}"), 2), (("--gift-day-points", "-1"), 2),
    ):  # fmt: skip
        said = run("rules", "set", "--partner", "video", *arguments, *away)
        assert (said.status, said.out) == (status, ""), arguments
    assert tell("rules", "set", "--partner", "video", "--no-velocity", *away)["velocity"] == []
    assert run("rules", "show", "--partner", "nobody", *away).complaint == "there is no partner nobody"
    said = run("rules", "set", "--gift-day-points", "5", *away)
    assert (said.status, said.complaint.partition(" (see")[0]) == (
        2, "Invalid value for --gift-day-points: is for partners, not for the exchange",
    )  # fmt: skip


def test_the_exchange_freezes_from_the_shell(away: tuple[str, ...]) -> None:
    """A partner, or one benefit of it, with the reason; and lets it go on."""
    tell("partner", "create", "--handle", "delivery", "--name", "Delivery", *away)
    frozen = tell("freeze", "--partner", "delivery", "--reason", "under review", *away)
    assert frozen["frozen"] == "under review"
    assert "under review" in run("rules", "show", "--partner", "delivery", *away).out
    assert run("freeze", "--partner", "delivery", "--reason", " ", *away).status == 2
    assert run("unfreeze", "--partner", "delivery", "--reason", "cleared", *away).out == "delivery goes on\n"
    versions = tell("rules", "history", "--partner", "delivery", *away)["versions"]
    assert [(one["by"], one["reason"]) for one in versions] == [
        ("the command line", "cleared"), ("the command line", "under review"),
    ]  # fmt: skip
    assert run("rules", "history", "--partner", "delivery", *away).out.splitlines()[1].endswith("cleared")
    said = run("freeze", "--partner", "delivery", "--sku", "none", "--reason", "x", *away)
    assert (said.status, said.complaint) == (1, "delivery has no benefit none")
    assert run("freeze", "--partner", "exchange", "--reason", "x", *away).status == 1
