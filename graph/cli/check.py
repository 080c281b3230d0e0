"""`exchange check`: whether everything is as it must be."""

from __future__ import annotations

import sys

import click

from exchange import check as checking
from exchange.proof import Proof
from graph.cli.shell import Shell, on_exchange
from graph.services import Services


@click.command()
@on_exchange
def check(shell: Shell) -> None:
    """Prove the exchange's invariants on its database, a line each.

    Every entry sums to zero, every wallet is what its entries make of it, every hash of the chain verifies, every
    statement comes out the same when made anew. Nothing is changed, and members may go on redeeming meanwhile. The exit
    code is 1 if an invariant is broken.
    """

    async def work(services: Services) -> list[Proof]:
        progress = _Progress(quiet=shell.as_json)
        try:
            return await checking.check(services.db, services.keyring, progress.show)
        finally:
            progress.end()

    proofs = shell.run(work)
    document = [
        {
            "invariant": proof.number,
            "title": proof.title,
            "holds": proof.holds,
            "judged": proof.judged,
            "wrong_count": proof.wrong_count,
            "wrong": proof.wrong,
        }
        for proof in proofs
    ]
    sound = all(proof.holds for proof in proofs)
    shell.answer({"holds": sound, "invariants": document}, [proof.line() for proof in proofs])
    if not sound:
        click.get_current_context().exit(1)


class _Progress:
    """One line on a terminal, rewritten as it goes."""

    def __init__(self, *, quiet: bool) -> None:
        self._on = sys.stderr.isatty() and not quiet
        self._last = ""

    def show(self, what: str, done: int, total: int | None) -> None:
        """Say how far it is."""
        line = f"{what}: {done:,}" if total is None else f"{what}: {done:,} of {total:,}"
        if self._on and line != self._last:
            click.echo(f"\r\033[K{line}", err=True, nl=False)
            self._last = line

    def end(self) -> None:
        """Leave a clean line."""
        if self._last:
            click.echo("\r\033[K", err=True, nl=False)
