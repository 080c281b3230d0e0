"""The embedded server: a real mongod, for a laptop, a demonstration and the tests.

One data directory belongs to one exchange, and one mongod to the directory::

    DATA/exchange.lock    flock: held by the exchange from before its mongod starts until it has ended
    DATA/mongod.json      {"pid": …, "port": …} of the mongod; the pid is null while none should run
    DATA/mongod.log       what mongod says, and one older generation, mongod.log.1
    DATA/mongod/          the database files

Four rules keep that true whoever dies:

1. The kernel holds the lock, so `kill -9` releases it; no stale lock file has to be argued away.
2. mongod must not outlive its exchange. Linux tells it (PR_SET_PDEATHSIG); elsewhere, and for whatever slips
   through, the next exchange on the directory finds it by the lock on mongod's own files and stops it first.
3. mongod must not die before its exchange either: it sits in a session of its own, out of reach of the
   terminal's Ctrl-C, and is stopped last.
4. The port is kept from start to start, so that addresses stay valid; when somebody else has taken it, mongod
   moves and the replica set's only member is re-addressed.

It is a replica set of one, because transactions and change streams exist in replica sets only. It listens on
127.0.0.1, without authentication: whoever can run programs on this machine can reach it. Production sets
EXCHANGE_MONGO_URL and needs nothing of this file.

Whatever keeps mongod from running is the operator's to mend, so each cause ends in one line that says how:
`exchange.post_mortem` finds it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NoReturn, Self

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from exchange.errors import ExchangeError
from exchange.post_mortem import PORT_TAKEN, cause_of_death

_log = logging.getLogger(__name__)

REPLICA_SET: Final = "exchange"
# What a killed client wrote nobody else can write until mongod ends its transaction: by its own limit of 60, for over a
# minute. It looks for expired ones twice in a lifetime, at most once a second: 2 frees within 3 s, 3 within 4.5 s.
TRANSACTION_SECONDS_MAX: Final = 2

_LOOPBACK: Final = "127.0.0.1"
# Below what Linux and macOS hand to outgoing connections, one of which could then hold our port.
_PORTS: Final = range(20_000, 32_000)
_PORT_ATTEMPTS: Final = 5
_START_SECONDS_MAX: Final = 120  # recovery after a crash replays the journal
_STOP_SECONDS_MAX: Final = 30
_POLL_SECONDS: Final = 0.01
_WATCH_SECONDS: Final = 0.25
_ANSWER_SECONDS_MAX: Final = 5
_LOCK_ATTEMPTS: Final = 10  # `find_running` looks at the lock by taking it for a moment
_LOG_BYTES_MAX: Final = 16 << 20
_TAIL_BYTES: Final = 256 << 10
_OPLOG_MB: Final = 990  # mongod's own floor; its default, 5 % of the disk, is not what a laptop expects
_NEW_BYTES_MIN: Final = 512 << 20  # an empty database takes 301 MiB, journal included
_FREE_BYTES_MIN: Final = 128 << 20  # the next journal file takes 100 MiB
_FULL_BYTES: Final = 4 << 20
_NOT_YET_INITIALIZED: Final = 94
_ALREADY_INITIALIZED: Final = 23

# Runs between fork and exec; as a program of its own, because Python code in a forked child (preexec_fn) can
# deadlock when the parent has threads. The signal is asked for first and the parent looked at second, so that
# a parent that dies in between is noticed either way.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"cannot run {sys.argv[2]}: {error.strerror}")
"""


class MongodError(ExchangeError):
    """The embedded database cannot run. One line, for the operator: what is wrong and what to do about it."""


class _PortTakenError(MongodError):
    """Somebody else listens on the port; another may be tried unless the operator chose it."""


def find_binary() -> Path:
    """Return the mongod of the `embedded` extra, or else the one on the PATH; MongodError without either."""
    # The package is looked for, not imported: nothing of its code is wanted.
    package = find_spec("fiftyone")
    for folder in (package.submodule_search_locations or ()) if package else ():
        packaged = Path(folder, "db", "bin", "mongod")
        if packaged.is_file():
            return packaged
    on_path = shutil.which("mongod")
    if on_path is None:
        raise MongodError("there is no mongod here: install benefits-exchange[embedded] or set EXCHANGE_MONGO_URL")
    return Path(on_path)


def find_running(data: Path) -> str | None:
    """Return the URL of the database that an exchange runs on `data`, or None. Changes nothing."""
    pid, port = _read_state(data)
    if pid is None or port is None or not _is_locked(data / "exchange.lock") or not _answers(port):
        return None
    try:
        with _connect(port) as client:
            # After kill -9 the file is out of date and the port may be anybody's.
            return _url(port) if client.admin.command("serverStatus")["pid"] == pid else None
    except PyMongoError:
        return None


class EmbeddedMongod:
    """A mongod on `data`, from `start` to `stop`; also a context manager.

    `port` insists on a port, `cache_gb` is WiredTiger's cache (at least 0.25), `test_commands` allows fail
    points, and `binary` is the mongod to run instead of `find_binary`'s.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int | None = None,
        cache_gb: float = 0.5,
        test_commands: bool = False,
        binary: Path | None = None,
    ) -> None:
        self.data = data.resolve()
        self._files = self.data / "mongod"
        self._log_file = self.data / "mongod.log"
        self._log_offset = 0
        self._wanted_port = port
        self._cache_gb = cache_gb
        self._test_commands = test_commands
        self._binary = binary
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._port: int | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where drivers connect. The same at the next start, unless somebody takes the port in between."""
        if self._port is None:
            raise RuntimeError("mongod is not running")
        return _url(self._port)

    @property
    def pid(self) -> int:
        """The process, for whoever means to kill it."""
        if self._process is None:
            raise RuntimeError("mongod is not running")
        return self._process.pid

    def start(self) -> str:
        """Return the URL once mongod takes writes; MongodError, and no process left behind, if it cannot."""
        if self._process is not None:
            raise RuntimeError("mongod is already running")
        if threading.current_thread() is not threading.main_thread():
            # PR_SET_PDEATHSIG counts the thread that forked as the parent: mongod would end with the thread.
            raise RuntimeError("start mongod from the main thread")
        binary = self._binary or find_binary()
        try:
            self._prepare()
            self._evict()
            self._need_space()
            self._run(binary)
        except BaseException:
            self._release()
            raise
        return self.url

    def stop(self, *, within_seconds: float = _STOP_SECONDS_MAX) -> None:
        """End mongod, by force if it takes too long, and give the directory back. Harmless to repeat."""
        try:
            self._end(within_seconds)
        finally:
            self._release()

    def failure(self) -> MongodError | None:
        """Say why mongod ended although nobody asked it to, or None."""
        if self._process is None or self._process.poll() is None:
            return None
        return self._explain("stopped")

    async def watch(self) -> None:
        """Raise MongodError when mongod ends by itself; return after `stop`. Keeps the log bounded."""
        while self._process is not None:
            error = self.failure()
            if error is not None:
                raise error
            # Moved aside and reopened, rather than left to mongod, which would keep every generation.
            if self._trim_log():
                self._process.send_signal(signal.SIGUSR1)
            await asyncio.sleep(_WATCH_SECONDS)

    # Before mongod

    def _prepare(self) -> None:
        """Make the directory and take its lock."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.data / "exchange.lock", os.O_RDWR | os.O_CREAT, 0o600)
            if not _take_lock(self._lock):
                owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
                self._refuse_second(owner)
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
            self._files.mkdir(mode=0o700, exist_ok=True)
            self._trim_log()
        except OSError as error:
            self._unusable(error)

    def _refuse_second(self, owner: str) -> NoReturn:
        raise MongodError(
            f"{self.data} is in use by another exchange (process {owner}): stop it or choose another --data"
        )

    def _unusable(self, error: OSError) -> NoReturn:
        if error.errno == errno.ENOSPC:
            raise MongodError(self._full_disk()) from error
        raise MongodError(f"{self.data} is not a writable directory: {error.strerror}") from error

    def _full_disk(self) -> str:
        return f"the disk of {self.data} is full: free some space or choose another --data"

    def _need_space(self) -> None:
        # Asked before, because mongod starts on the last megabyte and aborts on a write soon afterwards.
        needed = _FREE_BYTES_MIN if (self._files / "WiredTiger").exists() else _NEW_BYTES_MIN
        free = shutil.disk_usage(self._files).free
        if free < needed:
            raise MongodError(f"{self._full_disk()} ({free >> 20} MiB left, {needed >> 20} MiB needed)")

    def _evict(self) -> None:
        """Stop the mongod of an exchange that was killed. While it lives, it locks `mongod.lock`, which has its pid."""
        try:
            with (self._files / "mongod.lock").open("rb+") as file:
                pid = self._holder(file)
                if pid is None:
                    return
                if not self._is_ours(pid):
                    self._refuse_second(f"{pid or 'unknown'}, a mongod")
                _log.warning("a mongod (process %d) outlived its exchange on %s: stopping it", pid, self.data)
                for ending in (signal.SIGTERM, signal.SIGKILL):
                    with suppress(ProcessLookupError):
                        os.kill(pid, ending)
                    if _take_lock(file.fileno(), _STOP_SECONDS_MAX):
                        return
                self._refuse_second(f"{pid}, a mongod that cannot be stopped")
        except FileNotFoundError:
            return
        except OSError as error:
            self._unusable(error)

    def _holder(self, lock: IO[bytes]) -> int | None:
        """Return the pid of the mongod that holds its lock, 0 if that is not to be known, None if nobody does."""
        # Just started or nearly ended, it holds the lock of an empty file for a moment.
        for _ in range(_LOCK_ATTEMPTS):
            if _take_lock(lock.fileno()):
                return None
            lock.seek(0)
            pid = lock.read(32).strip()
            if pid.isdigit():
                return int(pid)
        return 0

    def _is_ours(self, pid: int) -> bool:
        """Tell whether the pid is that mongod's: on a volume shared by containers it can be anybody's."""
        if pid <= 1:
            return False
        if sys.platform != "linux":
            return True
        try:
            return os.fsencode(self._files) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    # mongod

    def _run(self, binary: Path) -> None:
        _, remembered = _read_state(self.data)
        port = self._wanted_port or remembered or _free_port()
        for attempt in range(_PORT_ATTEMPTS):
            try:
                self._launch(binary, port)
                self._await_primary(port)
            except _PortTakenError as error:
                if self._wanted_port or attempt == _PORT_ATTEMPTS - 1:
                    raise MongodError(error.message) from None
                self._end(0)
                taken, port = port, _free_port()
                _log.warning("port %d is taken: the database moves to port %d", taken, port)
            except BaseException:
                self._end(_STOP_SECONDS_MAX)
                raise
            else:
                self._port = port
                break
        self._write_state(self.pid, port)

    def _launch(self, binary: Path, port: int) -> None:
        if not _is_free(port):
            raise _PortTakenError(f"port {port} of {_LOOPBACK} is in use by another program")
        self._log_offset = self._log_size()
        arguments = [
            f"--replSet={REPLICA_SET}",
            f"--bind_ip={_LOOPBACK}",
            f"--port={port}",
            "--nounixsocket",  # it would be in /tmp, outside our mode 0700
            "--dbpath",
            str(self._files),
            "--logpath",
            str(self._log_file),
            "--logappend",
            "--logRotate=reopen",
            "--quiet",
            f"--oplogSize={_OPLOG_MB}",
            f"--wiredTigerCacheSizeGB={self._cache_gb}",
        ]
        parameters = {
            "transactionLifetimeLimitSeconds": TRANSACTION_SECONDS_MAX,
            "diagnosticDataCollectionEnabled": "false",
            "enableTestCommands": int(self._test_commands),
        }
        for name, value in parameters.items():
            arguments += ["--setParameter", f"{name}={value}"]
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        # For the loader's complaints, and mongod's when it cannot write its log. A pipe would want a reader.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as mongod
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the binary is the operator's choice
                [*(launcher if sys.platform == "linux" else []), str(binary), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},  # mongod aborts on a locale that is not installed
            )
        except OSError as error:
            raise MongodError(f"mongod did not start: cannot run {binary}: {error.strerror}") from error

    def _await_primary(self, port: int) -> None:
        """Return once mongod is the writable primary of a replica set whose only member has this address."""
        deadline = time.monotonic() + _START_SECONDS_MAX
        with _connect(port) as client:
            while True:
                self._still_starting(deadline)
                # Asked with a plain socket first: the driver looks again for a server only twice a second.
                if _answers(port):
                    try:
                        if self._is_primary(client, f"{_LOOPBACK}:{port}"):
                            return
                    except PyMongoError:
                        self._still_starting(deadline)
                time.sleep(_POLL_SECONDS)

    def _still_starting(self, deadline: float) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise self._explain("did not start")
        if time.monotonic() > deadline:
            raise MongodError(f"mongod was not ready within {_START_SECONDS_MAX} s: see {self._log_file}")

    def _is_primary(self, client: MongoClient[dict[str, Any]], address: str) -> bool:
        if client.admin.command("serverStatus")["pid"] != self.pid:
            return False  # somebody took the port a moment ago, and our mongod is about to say so
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                raise
            self._initiate(client, address)
            return False
        if config["members"][0]["host"] != address:
            # By force: a member that does not find itself in the configuration takes no ordinary one. (It first
            # looks for itself at the old address, up to 30 s if whoever is there accepts and says nothing.)
            config["members"][0]["host"] = address
            client.admin.command("replSetReconfig", config, force=True)
            return False
        return bool(client.admin.command("hello")["isWritablePrimary"])

    @staticmethod
    def _initiate(client: MongoClient[dict[str, Any]], address: str) -> None:
        try:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": address}]})
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:  # a restart that has not read its configuration yet
                raise

    # After mongod

    def _end(self, within_seconds: float) -> None:
        process, self._process, self._port = self._process, None, None
        try:
            if process is None or process.poll() is not None:
                return
            process.terminate()
            try:
                process.wait(within_seconds)
            except BaseException as error:
                process.kill()
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                _log.warning("mongod did not stop within %g s: killed, it will recover", within_seconds)
        finally:
            if self._stderr is not None:
                self._stderr.close()
                self._stderr = None
            if process is not None:
                with suppress(OSError):  # a full disk must not keep us from stopping; the pid is checked by its readers
                    self._write_state(None, _read_state(self.data)[1])

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write_state(self, pid: int | None, port: int | None) -> None:
        draft = self.data / "mongod.json.new"
        draft.write_text(json.dumps({"pid": pid, "port": port}) + "\n", "ascii")
        draft.replace(self.data / "mongod.json")

    def _log_size(self) -> int:
        return self._log_file.stat().st_size if self._log_file.exists() else 0

    def _trim_log(self) -> bool:
        """Move a log that has grown too large aside, over its older generation."""
        if self._log_size() <= _LOG_BYTES_MAX:
            return False
        self._log_file.replace(self._log_file.with_name("mongod.log.1"))
        self._log_offset = 0
        return True

    # Why

    def _explain(self, what: str) -> MongodError:
        """Turn what the dead mongod left behind into one line."""
        said, status = self._said(), self._process.returncode if self._process else None
        full = shutil.disk_usage(self.data).free < _FULL_BYTES
        cause = cause_of_death(said, status, data=self.data, log=self._log_file, full=full)
        kind = _PortTakenError if cause == PORT_TAKEN else MongodError
        return kind(f"mongod {what}: {cause}")

    def _said(self) -> str:
        """Return the end of what this mongod logged and wrote to stderr."""
        said = b""
        with suppress(OSError), self._log_file.open("rb") as log:
            log.seek(max(self._log_offset, self._log_size() - _TAIL_BYTES))
            said += log.read()
        if self._stderr is not None:
            self._stderr.seek(0)
            said += b"\n" + self._stderr.read(_TAIL_BYTES)
        return said.decode("utf-8", "replace")


def _url(port: int) -> str:
    # By the replica set's name, not directConnection: so a driver waits for a primary, and does not fail at once.
    return f"mongodb://{_LOOPBACK}:{port}/?replicaSet={REPLICA_SET}"


def _connect(port: int) -> MongoClient[dict[str, Any]]:
    """Return a client of whatever is there, primary or not."""
    milliseconds = _ANSWER_SECONDS_MAX * 1000
    return MongoClient(
        _LOOPBACK,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=milliseconds,
    )


def _answers(port: int) -> bool:
    try:
        socket.create_connection((_LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as mongod does
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    while True:
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port


def _take_lock(descriptor: int, within_seconds: float = _LOCK_ATTEMPTS * _POLL_SECONDS) -> bool:
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read_state(data: Path) -> tuple[int | None, int | None]:
    """Return the pid and port last written down; neither, if that cannot be read."""
    try:
        state = json.loads((data / "mongod.json").read_bytes())
        return state["pid"], state["port"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, None
