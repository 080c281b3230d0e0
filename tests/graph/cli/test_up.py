from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from pymongo import MongoClient

from exchange.mongod import find_running
from tests.graph.cli.running import Up, lives, run, spawn, tell, wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

FEW_FILES = 512
"""Descriptors that are too few for the clients to come, and enough for the embedded database."""
ISSUERS = {"video", "delivery", "rides"}


# ---------------------------------------------------------------- what is said


def test_it_says_once_that_it_is_ready_as_the_last_line_and_serves_then(demo: Up) -> None:
    """Exactly one line of stdout is `ready http://HOST:PORT`, the last one; by then it answers."""
    assert demo.out.splitlines()[-1] == f"ready {demo.url}"
    assert len(demo.ready) == 1
    assert demo.err == ""
    assert httpx.get(f"{demo.url}/readyz").json() == {"ready": True}
    assert httpx.get(f"{demo.url}/healthz").json() == {"alive": True}
    assert httpx.get(f"{demo.url}/.well-known/oauth-authorization-server").json()["issuer"] == demo.url


def test_the_python_it_prints_works_when_pasted(demo: Up) -> None:
    """The snippet needs the standard library alone and shows a member's points and what they could buy."""
    snippet = _between(demo.out, "as Python:\n\n", "\n\n")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", snippet], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)["data"]
    assert data["viewer"]["member"]["reference"] == demo.demo["members"][0]["reference"]
    assert len(data["benefits"]["nodes"]) == 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_curl_it_prints_works_when_pasted(demo: Up) -> None:
    """The two commands get a partner's token and ask with it."""
    commands = _between(demo.out, "as curl:\n\n", "\n\n")
    done = subprocess.run(["/bin/sh", "-c", commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["viewer"]["partner"]["name"] == "Lumen Video"


def test_graphiql_is_there_with_the_demo(demo: Up) -> None:
    """A browser gets GraphiQL while the demo runs."""
    assert "graphiql" in httpx.get(f"{demo.url}/graphql", headers={"Accept": "text/html"}).text.lower()


# ---------------------------------------------------------------- the demo


def test_demo_json_has_its_form_and_is_its_owners_alone(demo: Up) -> None:
    """Mode 0600, and the keys that scripts rely on, no more and no less."""
    assert stat.S_IMODE((demo.data / "demo.json").stat().st_mode) == 0o600
    document = demo.demo
    assert list(document) == ["url", "graphql", "partners", "members", "staff"]
    assert (document["url"], document["graphql"]) == (demo.url, f"{demo.url}/graphql")
    assert document["partners"].keys() == ISSUERS
    for partner in document["partners"].values():
        assert list(partner) == ["id", "client_id", "client_secret", "assertion_key", "roles"]
        assert partner["roles"] == ["ISSUER", "PROVIDER", "CHANNEL"]
    assert len(document["members"]) == 200
    assert all(list(member) == ["reference", "partner", "access_token"] for member in document["members"])
    assert len({(member["partner"], member["reference"]) for member in document["members"]}) == 200
    assert list(document["staff"]) == ["preparer", "approver"]
    assert all(list(person) == ["email", "password", "access_token"] for person in document["staff"].values())


def test_the_demos_tokens_are_good_for_a_day(demo: Up) -> None:
    """Members and staff get in with what demo.json gives them, with their scopes, until tomorrow."""
    document = demo.demo
    member = document["members"][7]
    assert _lifetime_seconds(member["access_token"]) == 24 * 3600
    viewer = demo.graphql(member["access_token"], "{ viewer { member { reference } partner { handle } } }")["viewer"]
    assert viewer == {"member": {"reference": member["reference"]}, "partner": {"handle": member["partner"]}}
    for name, scopes in (
        ("preparer", {"admin", "finance:prepare", "finance:view"}),
        ("approver", {"finance:approve", "finance:view"}),
    ):
        token = document["staff"][name]["access_token"]
        assert set(demo.graphql(token, "{ viewer { scopes } }")["viewer"]["scopes"]) == scopes
        assert _lifetime_seconds(token) == 24 * 3600


def test_the_demos_credentials_work(demo: Up) -> None:
    """Each partner gets a token by its secret, and one for a member by its assertion key."""
    for handle, partner in demo.demo["partners"].items():
        own = demo.graphql(demo.machine_token(partner), "{ viewer { partner { id handle } } }")["viewer"]["partner"]
        assert own == {"id": partner["id"], "handle": handle}
        assert _asserted(demo, partner).status_code == 200


def test_the_demo_has_what_it_promises(demo: Up) -> None:
    """1,000 published benefits, EUR for each pair of partners, and points of every issuer in 200 linked wallets."""
    _has_the_demo(demo)


def test_starting_again_leaves_the_demo_as_it_is(data: Path) -> None:
    """SIGINT and SIGTERM both end it with 0 and nothing left behind; the next start has the same data, fresh tokens."""
    with Up(data, "--demo") as first:
        before, counted = first.demo, _counts(data)
        partner = before["partners"]["video"]
        children = first.children
        first.signal(signal.SIGINT)
        assert first.ended() == 0
        assert first.err == "stopping; once more to hurry\n"
        assert not any(lives(pid) for pid in children)
        assert httpx_refuses(first.url)
    with Up(data, "--demo") as second:
        after = second.demo
        assert _counts(data) == counted
        assert after["partners"] == before["partners"]
        assert {n: p["password"] for n, p in after["staff"].items()} == {
            n: p["password"] for n, p in before["staff"].items()
        }
        assert after["members"][0]["access_token"] != before["members"][0]["access_token"]
        assert second.machine_token(partner)
        assert _asserted(second, partner).status_code == 200
        second.signal(signal.SIGTERM)
        assert second.ended() == 0
    # Credentials of a lost demo.json are not to be had back: there are new ones, and the old ones end.
    (data / "demo.json").unlink()
    with Up(data, "--demo") as third:
        assert third.machine_token(third.demo["partners"]["video"])
        answer = httpx.post(
            f"{third.url}/oauth/token", data={"grant_type": "client_credentials"},
            auth=(partner["client_id"], partner["client_secret"]),
        )  # fmt: skip
        assert answer.status_code == 401
        assert _counts(data) == counted
        # Not enough that the parent is gone: so is all that it started, at once and without its doing.
        children = third.children
        third.process.kill()
        third.ended()
        wait_until(lambda: not any(lives(pid) for pid in children), 10)
        assert not any(lives(pid) for pid in children)
    with Up(data, "--demo") as fourth:
        assert fourth.demo["partners"] == third.demo["partners"]
        assert _counts(data) == counted
        assert run("check", "--data", data).status == 0


def test_a_demo_that_was_interrupted_is_loaded_to_its_end_at_the_next_start(data: Path) -> None:
    """Stopped in the middle of loading it ends with 0 and nothing left behind; the next start has all of the demo."""
    with Up(data, "--demo", wait=False) as up:
        wait_until(lambda: "loading the demo" in up.out, 30)
        time.sleep(0.4)
        up.signal(signal.SIGTERM)
        assert up.ended() == 0
        assert not up.ready
        assert not (data / "demo.json").exists()
    with Up(data, "--demo") as up:
        _has_the_demo(up)
        assert run("check", "--data", data).status == 0


def test_an_exchange_of_somebody_elses_is_left_alone(data: Path) -> None:
    """The demo takes over no partner that is called like one of its own; without the master key nothing opens."""
    partner = tell("partner", "create", "--data", data, "--handle", "video", "--name", "Somebody Else")
    said = spawn("up", "--demo", "--data", data, "--port", "0")
    assert said.status == 1
    assert "here it is Somebody Else" in said.complaint
    other = base64.urlsafe_b64encode(bytes(32)).decode()
    said = spawn("up", "--data", data, "--port", "0", EXCHANGE_SECRET_KEY=other)
    assert said.status == 1
    assert "encrypted under another master key" in said.complaint
    with Up(data) as up:
        assert up.machine_token(partner)


# ---------------------------------------------------------------- what stands in the way


def test_a_directory_in_use_is_refused_in_one_line(demo: Up) -> None:
    """The second `up` on a data directory says who has it, and the first goes on."""
    said = spawn("up", "--data", demo.data, "--port", "0")
    assert said.status == 1
    assert f"in use by another exchange (process {demo.process.pid})" in said.complaint
    assert httpx.get(f"{demo.url}/readyz").status_code == 200


def test_a_second_start_with_the_same_options_is_told_that_it_runs_already(demo: Up) -> None:
    """Its own port is no other program's: the directory is looked at first, and nothing is said to be starting."""
    said = spawn("up", "--demo", "--data", demo.data, "--port", str(urlsplit(demo.url).port))
    assert (said.status, said.out) == (1, "")
    assert said.complaint == (
        f"{demo.data} is in use by another exchange (process {demo.process.pid}): stop it or choose another --data"
    )
    assert httpx.get(f"{demo.url}/readyz").status_code == 200


def test_a_lost_master_key_is_asked_for_and_not_replaced(data: Path) -> None:
    """Neither `up` nor a command makes a new key beside a database; put back, or given, the old one opens it."""
    partner = tell("partner", "create", "--data", data, "--handle", "rides", "--name", "Rides")
    key = data / "secret.key"
    master = key.read_text()
    key.unlink()
    for arguments in (
        ("up", "--port", "0"),
        ("partner", "list"),
        ("staff", "create", "--email", "a@b", "--role", "admin"),
    ):
        said = run(*arguments, "--data", data)
        assert (said.status, said.out) == (1, "")
        assert said.complaint == (
            f"{key} is missing, and a new key would not open the database beside it: "
            "put the old one back, or give it as EXCHANGE_SECRET_KEY"
        )
        assert not key.exists()
    (listed,) = tell("partner", "list", "--data", data, environment={"EXCHANGE_SECRET_KEY": master.strip()})["partners"]
    assert listed["id"] == partner["id"]
    key.write_text(master)
    assert tell("partner", "list", "--data", data)["partners"] == [listed]


@linux_only
def test_a_first_start_that_is_killed_early_is_not_mistaken_for_a_lost_key(data: Path) -> None:
    """The key is there before the database is: the next start goes on where this one ended."""
    with Up(data, wait=False) as up:
        wait_until((data / "mongod").exists, 30)
        up.process.kill()
        up.ended()
    with Up(data) as up:
        assert httpx.get(f"{up.url}/readyz").status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_refused_in_one_line_before_anything_is_started(demo: Up, data: Path, workers: str) -> None:
    """Neither database nor directory is made for a server that could not serve."""
    port = str(urlsplit(demo.url).port)
    said = spawn("up", "--data", data, "--port", port, "--workers", workers)
    assert said.status == 1
    assert said.complaint == f"port {port} of 127.0.0.1 is in use by another program: stop it or choose another --port"
    assert said.out == ""
    assert not data.exists()


@pytest.mark.parametrize(
    ("options", "environment", "status", "complaint"),
    [
        (["--host", "198.51.100.7"], {}, 1, "is no address of this machine"),
        (["--host", "no such host"], {}, 1, "is no address of this machine"),
        ([], {"EXCHANGE_ISSUER": "https://example.org/path"}, 1, "EXCHANGE_ISSUER: the issuer is a URL"),
        ([], {"EXCHANGE_MONGO_DRIVER": "mongoose"}, 1, "EXCHANGE_MONGO_DRIVER is pymongo or motor, not 'mongoose'"),
        (["--mongo-url", "http://localhost"], {}, 2, "a MongoDB URL begins with mongodb://"),
        (["--workers", "0"], {}, 2, "Invalid value for '--workers'"),
        (["--port", "70000"], {}, 2, "Invalid value for '--port'"),
        (["--data", "/proc/nowhere"], {}, 1, "cannot use /proc/nowhere"),
        (["--data", "/proc/nowhere"], {"EXCHANGE_MONGO_URL": "mongodb://127.0.0.1:9"}, 1, "cannot use /proc/nowhere"),
        (["--mongo-url", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100"], {}, 1, "no database answers at"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    data: Path, options: list[str], environment: dict[str, str], status: int, complaint: str
) -> None:
    """One line on stderr, no traceback, and the exit code that belongs to it."""
    where = [] if "--data" in options else ["--data", str(data)]
    said = spawn("up", "--port", "0", *where, *options, **environment)
    assert said.status == status
    assert complaint in said.complaint


# ---------------------------------------------------------------- who dies, and who follows


@linux_only
def test_two_processes_serve_and_a_dead_one_is_replaced(data: Path) -> None:
    """Both have connections; after kill -9 of one another takes its place, and says so. When mongod dies, all ends."""
    with Up(data, "--workers", "2") as up:
        assert len(up.servers) == 2
        clients = [httpx.Client() for _ in range(24)]
        assert {client.get(f"{up.url}/healthz").status_code for client in clients} == {200}
        port = urlsplit(up.url).port or 0
        assert all(_established(pid, port) > 0 for pid in up.servers)
        for client in clients:
            client.close()
        victim = up.servers[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: "starting another" in up.err, 10)
        assert up.err == "warning: a server process was killed by SIGKILL: starting another\n"
        assert {httpx.get(f"{up.url}/readyz", timeout=20).status_code for _ in range(24)} == {200}
        wait_until(lambda: len(up.servers) == 2, 10)
        assert victim not in up.servers

        children = up.children
        os.kill(up.mongod, signal.SIGKILL)
        assert up.ended() == 1
        assert up.err.splitlines()[-1] == "exchange: mongod stopped: it was killed (kill -9, or too little memory)"
        wait_until(lambda: not any(lives(pid) for pid in children), 10)
        assert not any(lives(pid) for pid in children)


@linux_only
def test_as_many_clients_are_served_as_the_system_allows(data: Path) -> None:
    """A server process raises its soft limit of open files: while more clients than it are connected, all are heard."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    try:
        up = Up(data)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with up, ExitStack() as stack:
        address = urlsplit(up.url)
        where = (address.hostname, address.port)
        clients = [stack.enter_context(socket.create_connection(where, 10)) for _ in range(FEW_FILES + 50)]
        for client in clients:
            client.sendall(b"GET /healthz HTTP/1.1\r\n")
        # The last first: those before it hold their connections until they have said what they want.
        for client in reversed(clients):
            client.sendall(b"Host: exchange\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")


@linux_only
def test_server_processes_that_keep_dying_end_it_in_one_line(data: Path) -> None:
    """Replacing is bounded: what cannot live is not started for ever."""
    with Up(data) as up:
        while up.process.poll() is None:
            for pid in up.servers:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        assert up.ended() == 1
        last = up.err.splitlines()[-1]
        assert last == "exchange: server processes keep dying, 5 within 60 s; the last one was killed by SIGKILL"


def test_what_was_accepted_is_answered_before_it_stops_and_a_second_signal_hurries(data: Path) -> None:
    """A request half-sent when SIGTERM comes is answered in full; one that never ends is cut off by a second one."""
    with Up(data) as up:
        address = urlsplit(up.url)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as client:
            body = b"grant_type=nothing"
            head = (
                "POST /oauth/token HTTP/1.1\r\nHost: exchange\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            client.sendall(head.encode() + body[:5])
            assert httpx.get(f"{up.url}/healthz").status_code == 200  # by now the other one is accepted, too
            up.signal(signal.SIGTERM)
            time.sleep(0.5)
            assert up.process.poll() is None
            assert httpx_refuses(up.url)
            client.sendall(body[5:])
            assert client.recv(100).startswith(b"HTTP/1.1 400")
        assert up.ended() == 0
    with Up(data) as up:
        address = urlsplit(up.url)
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as client:
            client.sendall(head.encode())
            assert httpx.get(f"{up.url}/healthz").status_code == 200
            up.signal(signal.SIGINT)
            time.sleep(0.5)
            up.signal(signal.SIGINT)
            assert up.ended(5) == 0


def test_a_database_elsewhere_needs_no_embedded_one(mongo_url: str, database_name: str, data: Path) -> None:
    """With a URL the directory holds keys and notes alone, commands find the database, and the issuer can be given."""
    before, _, options = mongo_url.partition("?")
    url = f"{before}{database_name}?{options}"
    with Up(data, EXCHANGE_MONGO_URL=url, EXCHANGE_ISSUER="https://exchange.example/") as up:
        assert sorted(path.name for path in data.iterdir()) == ["exchange.json", "secret.key"]
        metadata = httpx.get(f"{up.url}/.well-known/oauth-authorization-server").json()
        assert metadata["issuer"] == "https://exchange.example"
        tell("partner", "create", "--handle", "rides", "--name", "Rides", "--data", data, "--mongo-url", url)
        staff = ("staff", "create", "--data", data, "--mongo-url", url, "--role", "admin")
        token = tell(*staff, "--email", "ops@example.org", "--token")["access_token"]
        assert up.graphql(token, '{ partner(handle: "rides") { name } }') == {"partner": {"name": "Rides"}}
        assert httpx.get(f"{up.url}/graphql", headers={"Accept": "text/html"}).status_code == 406
    assert up.process.returncode == 0


def _has_the_demo(demo: Up) -> None:
    url = find_running(demo.data)
    assert url is not None
    with MongoClient[dict[str, object]](url) as client:
        db = client["exchange"]
        assert db["benefits"].count_documents({"status": "PUBLISHED"}) == 1000
        assert set(db["benefits"].distinct("category")) >= {"VIDEO", "DELIVERY", "RIDES", "FOOD", "TRAVEL"}
        assert db["codes"].count_documents({}) == 49 * 20
        assert {each["translations"][0]["locale"] for each in db["benefits"].find({})} == {"de"}  # type: ignore[index]
        wallets = list(db["wallets"].find({"lots.issuer": {"$all": sorted(ISSUERS)}}))
        assert len(wallets) == 200
        assert all({link["partner"] for link in wallet["links"]} == ISSUERS for wallet in wallets)  # type: ignore[attr-defined]
    agreements = tell("agreement", "list", "--data", demo.data)["agreements"]
    euros = {
        (each["issuer"], each["provider"]) for each in agreements if each["price_per_1000_points"]["currency"] == "EUR"
    }
    assert euros == {(issuer, provider) for issuer in ISSUERS for provider in ISSUERS - {issuer}}
    periods = tell("period", "list", "--data", demo.data)["periods"]
    assert (periods[-1]["status"], periods[-1]["statements"]) == ("CLOSED", 3)
    assert periods[0]["status"] == "OPEN"


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0]


def _lifetime_seconds(token: str) -> int:
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return int(claims["exp"] - claims["iat"])


def _asserted(up: Up, partner: dict[str, str]) -> httpx.Response:
    """Ask for a member's token as the partner's server does."""
    now = int(time.time())  # noqa: TID251 - a partner's clock
    claims = {
        "iss": partner["client_id"],
        "sub": "somebody",
        "aud": up.url,
        "iat": now,
        "exp": now + 60,
        "jti": os.urandom(8).hex(),
    }
    assertion = jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(partner["assertion_key"]), ["ES256"])
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    return httpx.post(f"{up.url}/oauth/token", data={"grant_type": grant, "assertion": assertion})


def _counts(data: Path) -> dict[str, int]:
    """Count what the demo loads; entries without those that our own assertions enrolled."""
    url = find_running(data)
    assert url is not None
    with MongoClient[dict[str, object]](url) as client:
        db = client["exchange"]
        names = ("benefits", "codes", "agreements", "redemptions", "periods", "partners", "staff")
        counts = {name: db[name].count_documents({}) for name in names}
        return counts | {"entries": db["entries"].count_documents({"kind": {"$ne": "ENROL"}})}


def _established(pid: int, port: int) -> int:
    """Count the connections of a process on our port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = {f"socket:[{row[9]}]" for row in rows if row[3] == "01" and int(row[1].partition(":")[2], 16) == port}
    held = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(name in ours for name in held)


def httpx_refuses(url: str) -> bool:
    """Tell whether nobody listens there any more."""
    try:
        httpx.get(f"{url}/healthz")
    except httpx.ConnectError:
        return True
    return False


@linux_only
def test_a_replaced_server_process_does_not_outlive_its_parent(data: Path) -> None:
    """Kill -9 of `up` ends also the process that took a dead one's place, and the directory can be used at once."""
    with Up(data) as up:
        os.kill(up.servers[0], signal.SIGKILL)
        wait_until(lambda: "starting another" in up.err, 10)
        wait_until(lambda: len(up.servers) == 1 and httpx.get(f"{up.url}/readyz", timeout=20).is_success, 20)
        (reborn,) = up.servers
        up.process.kill()
        wait_until(lambda: not lives(reborn), 10)
    with Up(data) as again:
        assert httpx.get(f"{again.url}/readyz", timeout=20).status_code == 200
