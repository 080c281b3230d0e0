"""Pages of the docs whose console examples are run as they stand there."""

from __future__ import annotations

import re

from tests.examples import transcript_in
from tests.graph.cli.running import run


def words_of(text: str, there: tuple[str, ...]) -> list[str]:
    """Return what somebody types behind `exchange`; `there`: which exchange is meant, which `verify` does not ask."""
    words = text.split()
    return words if words[0] == "verify" else [*words, *there]


def prints_what_it_says(page: str, there: tuple[str, ...], *, least: int) -> None:
    """Run every command of a page, in its order, and compare; "…" stands for what chance decides.

    `least`: how many examples there are at least, so that a page which has lost them is noticed.
    """
    shown = transcript_in(page)
    assert len(shown) >= least
    for command, printed in shown:
        said = run(*words_of(" ".join(command), there))
        assert (said.status, said.err) == (0, "")
        expected = "".join(map(re.escape, printed.rstrip())).replace("…", ".*")
        assert re.fullmatch(expected, said.out.rstrip()), said.out
