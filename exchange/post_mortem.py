"""Why a mongod died, in one line for the operator, who has to mend it: the cause, and what to do about it.

It is read off what the dead process left behind: its log, its stderr and its exit status. mongod says much on its way
out, and little of it is the cause. Whoever ran it reads the files (`exchange.mongod`); here is only what they mean.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

_LINE_LENGTH_MAX: Final = 300

PORT_TAKEN: Final = "its port is in use by another program"
"""The one cause that another attempt, on another port, can get round."""

# What mongod and the loader say, and what to tell the operator. The first found anywhere is the one to mend.
_CAUSES: Final = (
    (r"loading shared librar(?:ies:|y) (libcurl\.so[^:\s]*)", "{0} is missing: apt-get install libcurl4"),
    (r"loading shared librar(?:ies:|y) ([^:\s]+)", "the shared library {0} is missing: install it"),
    (r"^cannot run (.+)$", "cannot run {0}"),
    (r"Address already in use", PORT_TAKEN),
    (r"No space left on device", "the disk of {data} is full: free some space or choose another --data"),
    (r"DBPathInUse", "another mongod runs on {data}: stop it or choose another --data"),
    (r"Permission denied|Read-only file system", "it may not write to {data}: {0}"),
    (r"exit status -4$", "this processor lacks AVX, which MongoDB needs: set EXCHANGE_MONGO_URL"),
    (r"exit status -9$", "it was killed (kill -9, or too little memory)"),
)


def cause_of_death(said: str, status: int | None, *, data: Path, log: Path, full: bool) -> str:
    """Return why the mongod on `data` ended, which `said` that much, with that exit status.

    `full`: there is no space left on its disk. What nobody has foreseen is mongod's own last complaint, or, when it
    had none, its exit status and the `log` to look into.
    """
    complaints = _complaints(said)
    if full:
        # With its log on the same disk, mongod could not write the cause down.
        complaints.append("No space left on device")
    ended = f"exit status {status}"
    everything = "\n".join([*complaints, ended])
    for pattern, sentence in _CAUSES:
        found = re.search(pattern, everything, re.MULTILINE)
        if found:
            return sentence.format(found[found.re.groups], data=data)
    return _one_line(complaints[-1]) if complaints else f"{ended}; see {log}"


def _complaints(said: str) -> list[str]:
    """Pick out the log entries of severity E and F, and the lines that are no log entries (the loader's)."""
    complaints = []
    for line in said.splitlines():
        if not line.strip() or line.startswith(("BACKTRACE:", "  Frame:")):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            complaints.append(line)
            continue
        # An abort announces itself after its cause; the cause is wanted.
        if isinstance(entry, dict) and entry.get("s") in {"E", "F"} and entry.get("c") != "ASSERT":
            attributes = entry.get("attr", {})
            cause = attributes.get("error") or attributes.get("message") or ""
            complaints.append(f"{entry.get('msg')} {cause if isinstance(cause, str) else json.dumps(attributes)}")
    return [complaint for complaint in complaints if "Writing fatal message" not in complaint]


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE_LENGTH_MAX else line[: _LINE_LENGTH_MAX - 1] + "…"
