"""An exchange run as a user runs it: `exchange up` in a process of its own, spoken to over HTTP."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey

EXCHANGE = str(Path(sys.executable).with_name("exchange"))
READY_SECONDS = 90
STOP_SECONDS = 40
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def shell(data: Path, *arguments: str) -> Any:
    """Run one command of the shell and return what it says as JSON."""
    done = subprocess.run(
        [EXCHANGE, *arguments, "--data", str(data), "--json"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class RunningExchange:
    """`exchange up` on a data directory, until stopped or killed."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self.url = ""
        self.http = httpx.Client(timeout=60)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.http.close()

    @property
    def demo(self) -> dict[str, Any]:
        """What the demo wrote for its users."""
        found: dict[str, Any] = json.loads((self.data / "demo.json").read_text())
        return found

    def start(self) -> None:
        """Start it and wait for its ready line."""
        command = [EXCHANGE, "up", "--data", str(self.data), "--port", "0", *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        deadline = time.monotonic() + READY_SECONDS
        while not self._find_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("no ready line:\n" + "".join(self.said))

    def _find_ready(self) -> bool:
        try:
            line = self._lines.get(timeout=0.2)
        except queue.Empty:
            return False
        self.said.append(line)
        if line.startswith("ready http://"):
            self.url = line.split()[1]
            return True
        return False

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                self._lines.put(line)

    def stop(self) -> None:
        """Stop it as Ctrl-C does, and see that it ends well."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(STOP_SECONDS) == 0

    def kill(self) -> None:
        """End it with kill -9: no code of ours runs any more."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_database(self) -> None:
        """End its mongod with kill -9; `up` then ends by itself."""
        os.kill(json.loads((self.data / "mongod.json").read_text())["pid"], signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)

    # ------------------------------------------------------------ over HTTP

    def machine_token(self, client: dict[str, Any]) -> str:
        """Return a partner's own token, by its client credentials."""
        answer = self.http.post(
            f"{self.url}/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(client["client_id"], client["client_secret"]),
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def member_token(self, client: dict[str, Any], reference: str) -> str:
        """Return a member's token, by an assertion that its partner signs (RFC 7523)."""
        now = int(time.time())  # noqa: TID251 - a partner's clock, not the exchange's
        claims = {
            "iss": client["client_id"], "sub": reference, "aud": self.url, "iat": now, "exp": now + 120,
            "jti": os.urandom(12).hex(),
        }  # fmt: skip
        assertion = jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(client["assertion_key"]))
        answer = self.http.post(f"{self.url}/oauth/token", data={"grant_type": BEARER, "assertion": assertion})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def graphql(self, token: str, query: str, **variables: Any) -> dict[str, Any]:
        """Ask, and return the data; errors fail the test."""
        answer = self.http.post(
            f"{self.url}/graphql",
            json={"query": query, "variables": variables},
            headers={"Authorization": f"Bearer {token}"},
        )
        body = answer.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data
