"""`python -m tests.faults --seed N --cycles 1000`: a long run, with a report as JSON and as text."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.faults.blows import BLOWS
from tests.faults.nodes import faketime
from tests.faults.schedule import Plan, run


def main() -> None:
    """Run, and exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides what is done (default 1)")
    parser.add_argument("--cycles", type=int, default=100, help="blows to strike (default 100)")
    parser.add_argument("--nodes", type=int, default=1, choices=(1, 3), help="members of the replica set (default 1)")
    parser.add_argument("--gateways", type=int, default=2, help="gateway processes (default 2)")
    parser.add_argument("--clients", type=int, default=32, help="clients at once (default 32)")
    parser.add_argument("--members", type=int, default=2_000, help="members they redeem for (default 2000)")
    parser.add_argument("--calm", type=float, default=2.0, help="seconds between blows, at most (default 2)")
    parser.add_argument("--minutes", type=float, default=1440, help="judge after so long, however many cycles it was")
    parser.add_argument("--judge-every", type=int, default=0, help="judge after so many cycles too (0: at the end)")
    parser.add_argument("--clocks", action="store_true", help="set mongods' clocks wrong too; slow, needs libfaketime")
    parser.add_argument("--only", action="append", default=[], choices=[blow.name for blow in BLOWS], help="repeatable")
    parser.add_argument("--folder", type=Path, help="where to work; kept afterwards (default: a temporary one)")
    parser.add_argument("--report", type=Path, help="write the report there, as JSON; beside it one as text (.txt)")
    asked = parser.parse_args()
    if asked.clocks and faketime() is None:
        parser.error("--clocks needs libfaketime: apt-get install libfaketime, or name it in EXCHANGE_FAKETIME")
    plan = Plan(
        seed=asked.seed, cycles=asked.cycles, nodes=asked.nodes, gateways=asked.gateways, clients=asked.clients,
        members=asked.members, calm_seconds=asked.calm, minutes_max=asked.minutes, judge_every=asked.judge_every,
        clocks=asked.clocks,
        only=tuple(asked.only),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        folder: Path = asked.folder or Path(temporary)
        report = asyncio.run(run(plan, folder, _tell))
    if asked.report is not None:
        asked.report.write_text(json.dumps(report.document(), indent=2) + "\n")
        asked.report.with_suffix(".txt").write_text(report.text() + "\n")
    sys.stdout.write(report.text() + "\n")
    sys.exit(0 if report.verdict.holds else 1)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
