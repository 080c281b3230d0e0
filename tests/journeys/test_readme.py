"""The README's tour is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.journeys.running import EXCHANGE, RunningExchange

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(python|text|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def tour() -> list[tuple[str, str]]:
    """Return the tour's blocks: language and text."""
    section = README.read_text().split("\n## Five minutes with it\n")[1].split("\n## ")[0]
    return BLOCK.findall(section)


def test_the_tour_prints_what_the_readme_says() -> None:
    """Pasted block by block against a fresh demo, the tour gives the outputs shown, and its shell commands work."""
    blocks = tour()
    program = "\n".join(text + "print('---')\n" for language, text in blocks if language == "python")
    shown = [text for language, text in blocks if language == "text"]
    with tempfile.TemporaryDirectory() as directory, RunningExchange(Path(directory) / "exchange-data", "--demo"):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split("---\n")[1:-1] == shown
        for command in "".join(text for language, text in blocks if language == "sh").splitlines():
            line = command.replace(".venv/bin/exchange", EXCHANGE)
            shell = subprocess.run(line, shell=True, cwd=directory, capture_output=True, text=True, check=False)  # noqa: S602
            assert shell.returncode == 0, (line, shell.stderr)
        assert (Path(directory) / "rides.csv").read_text().count("\n") > 1
