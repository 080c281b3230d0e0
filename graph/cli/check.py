"""`exchange check`: whether everything is as it must be."""

from __future__ import annotations

import click

from exchange import check as checking
from exchange.proof import Proof
from graph.cli.shell import Progress, Shell, on_exchange
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
        progress = Progress(quiet=shell.as_json)
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
