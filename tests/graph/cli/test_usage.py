"""What all commands have in common: their help, how they are mistyped, and where they find an exchange."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from graphql import build_client_schema, build_schema

from graph.cli.commands import exchange
from graph.schema import sdl
from tests.graph.cli.running import ENVIRONMENT, EXCHANGE, run, spawn, tell


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
        ("statement export --fromat csv 1:rides", "No such option '--fromat'. (Did you mean one of: '--format',"),
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
