"""The rules about the code that no linter has: they hold for every file, so they are tests."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("exchange", "partners", "graph")

# Written so that this line does not find itself: places and tools of whoever built it, and hosts of package registries.
ELSEWHERE = re.compile(r"/w[o]rk/|/f[a]rm/|\.librar[y]\b|\bsub[a]gents?\b|pyth[o]nhosted|pyp[i]\.org|npm[j]s\.org")
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".graphql", ".html", ".css", ".js", ".txt", ".lock", ""}


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def files() -> Iterator[Path]:
    """Yield every text file of the project; what tools, environments and runs put beside it is not."""
    yield from sorted(path for path in ROOT.iterdir() if path.is_file() and path.suffix in TEXT)
    for folder in (*PACKAGES, "tests", "docs", ".ci"):
        found = sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix in TEXT)
        yield from (path for path in found if not {".venv", "__pycache__"} & set(path.parts))


def test_imports_run_one_way_and_the_law_is_pure() -> None:
    """Directions and purity are as pyproject.toml says, in every environment the tests run in."""
    # A process of its own: within ours it would set logging up anew, and silence the loggers that other tests read.
    linter = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(linter, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_says_what_it_is() -> None:
    """A module opens with its theory, or at least with what it is."""
    silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(ast.parse(path.read_bytes()))]
    assert silent == []


def test_no_file_speaks_of_where_it_was_made() -> None:
    """The project names no path, tool or registry of the place it was built at."""
    named = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in files()
        if (found := ELSEWHERE.search(path.read_text("utf-8", errors="replace")))
    ]
    assert named == []
