"""`exchange partner` and `exchange staff`, beside a running exchange: who is there, and what is known of them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.graph.cli.running import Up, run, tell


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
