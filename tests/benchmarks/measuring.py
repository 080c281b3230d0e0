"""How all benchmarks measure: sides that take turns, medians, ratios, a table for a person and JSON for a program.

What counts is a ratio of medians out of one run on one mongod. Sides alternate, and every other turn begins with the
last (unless a side needs what another has just done), so that a machine that is noisy, or slower by and by, is so for
all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from exchange.mongod import EmbeddedMongod

Figures = dict[str, float]
Row = dict[str, Any]
Deed = Callable[[], Awaitable[None]]
"""Something done once, whose time is taken."""
Side = Callable[[], Awaitable[Figures]]
"""A round of one of those that are compared."""


class Option(NamedTuple):
    """An option of the command line; `--its-name`."""

    default: Any
    help: str


class Column(NamedTuple):
    """A column of the table: its title, what it shows of a row, and how."""

    title: str
    path: str
    form: str = ""

    def cell(self, row: Row) -> str:
        """Return the text; a dot in the path leads into a row of the row, and what is not there is left out."""
        value: Any = row
        for name in self.path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return "" if value is None else format(value, self.form)


async def customers(deed: Deed, in_flight: int, *, seconds: float = 0, deeds: int = 0) -> Figures:
    """Let so many customers do it, each again as soon as it is done, for a while or so many times altogether.

    Returns how often per second, and the latencies' p50 and p99 in milliseconds.
    """
    latencies: list[float] = []
    began = time.perf_counter()
    left = deeds

    def more() -> bool:
        nonlocal left
        left -= 1
        return left >= 0 if deeds else time.perf_counter() < began + seconds

    async def customer() -> None:
        while more():
            start = time.perf_counter()
            await deed()
            latencies.append(time.perf_counter() - start)

    await asyncio.gather(*(customer() for _ in range(in_flight)))
    return figures(latencies, time.perf_counter() - began)


def figures(latencies: Sequence[float], elapsed: float) -> Figures:
    """Return what so many deeds in that time come to."""
    cuts = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [*latencies, 0.0][:1] * 99
    return {"per_second": len(latencies) / elapsed, "p50_ms": 1000 * cuts[49], "p99_ms": 1000 * cuts[98]}


async def alternate(sides: Mapping[str, Side], rounds: int, *, reverse: bool = True) -> dict[str, Figures]:
    """Let the sides take turns, every other time in `reverse` order, and return each one's medians."""
    seen: dict[str, list[Figures]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: -1 if reverse and turn % 2 else 1]:
            seen[name].append(await sides[name]())
    return {
        name: {figure: statistics.median(each[figure] for each in taken) for figure in taken[0]}
        for name, taken in seen.items()
    }


def ratio(ours: Figures, theirs: Figures) -> Figures:
    """Return ours as a multiple of theirs, figure by figure; 0 where theirs is nothing."""
    return {name: ours[name] / theirs[name] if theirs[name] else 0.0 for name in ours}


def table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Return the rows for a person to read: the first column is words, the others are numbers."""
    cells = [[column.title for column in columns], *([column.cell(row) for column in columns] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    lines = ([text.rjust(width) for text, width in zip(line, widths, strict=True)] for line in cells)
    return "\n".join("  ".join([line[0].strip().ljust(widths[0]), *line[1:]]).rstrip() for line in lines)


def main(
    doc: str | None, run: Callable[..., Awaitable[list[Row]]], columns: Sequence[Column], minutes: float,
    **options: Option,
) -> None:  # fmt: skip
    """Run a benchmark as a command: parse its options, give it a mongod, print the table, and JSON.

    `run` is called with the URL and the options. `minutes`: after which it stops by itself, whatever it has measured.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there instead of behind the table")
    parser.add_argument("--url", help="of a replica set to measure on, instead of an embedded mongod of its own")
    parser.add_argument("--data", type=Path, help="a folder on the disk to measure, instead of the temporary one")
    parser.add_argument("--cache-gb", type=float, default=2, help="of the embedded mongod")
    parser.add_argument("--minutes", type=float, default=minutes, help="after which it gives up (%(default)s)")
    for name, (default, text) in options.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"{text} (%(default)s)")
    chosen = parser.parse_args()
    named = {name: getattr(chosen, name) for name in options}

    async def within(url: str) -> list[Row]:
        async with asyncio.timeout(chosen.minutes * 60):
            return await run(url, **named)

    if chosen.url is None:
        with (
            tempfile.TemporaryDirectory(prefix="benchmark-", dir=chosen.data) as folder,
            EmbeddedMongod(Path(folder, "data"), cache_gb=chosen.cache_gb) as mongod,
        ):
            rows = asyncio.run(within(mongod.url))
    else:
        rows = asyncio.run(within(chosen.url))
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}
    written = json.dumps({"options": named, "machine": machine, "rows": rows})
    sys.stdout.write(f"{table(columns, rows)}\n")
    if chosen.json is None:
        sys.stdout.write(f"{written}\n")
    else:
        chosen.json.write_text(f"{written}\n")
