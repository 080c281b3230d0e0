"""`exchange journal`: the journal as files that others can verify, and its chain followed from the beginning."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click

from exchange.evidence import Evidence
from exchange.proof import Wrong
from exchange.proof.lanes import LaneJudge
from exchange.proof.sealed import Seal
from graph.cli.shell import Progress, Shell, TakesName, WholeNumber, on_exchange, out_option, write_out
from graph.services import Services
from partners.oauth.seals import seal_of


@click.group()
def journal() -> None:
    """Export the journal, or the proof of an entry in it."""


@journal.command("export")
@click.option("--lane", type=WholeNumber(min=1), help="Only this lane.")
@click.option("--from", "since", type=WholeNumber(min=0), help="Only from this block of the lane on.")
@out_option
@on_exchange
def export(shell: Shell, lane: int | None, since: int | None, out: Path | None) -> None:
    """Write all blocks with their entries, signed.

    `exchange verify` reads it. It holds everything, of every partner: it is for you and your auditor. A partner gets
    `exchange journal proof`.

    \b
    exchange journal export --out journal.jsonl
    exchange journal export | gzip > journal.jsonl.gz
    exchange journal export --lane 3 --from 1200 --out lane-3.jsonl
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if since is not None and lane is None:
        raise click.UsageError("--from counts the blocks of one lane: it needs --lane N")

    def lines(evidence: Evidence, seal: Seal, progress: Progress) -> AsyncIterator[bytes]:
        return evidence.journal(seal, lane, since or 0, progress.show)

    _write(shell, out, lines)


@journal.command("proof", cls=TakesName)
@click.argument("entry")
@click.option("--partner", required=True, metavar="HANDLE", help="Whose part it opens.")
@out_option
@on_exchange
def proof(shell: Shell, entry: str, partner: str, out: Path | None) -> None:
    """Write the proof that an entry is in the journal.

    `exchange verify` reads it. ENTRY is the entry as the partner's statement names it. The file shows what that partner
    may know of it and nothing of the others. Of a closed period it leads to the root that the statements name.

    \b
    exchange journal proof ENTRY --partner rides --out proof.jsonl
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    def lines(evidence: Evidence, seal: Seal, _progress: Progress) -> AsyncIterator[bytes]:
        return evidence.inclusion(entry, partner, seal)

    _write(shell, out, lines)


@journal.command("check")
@click.option("--lane", type=WholeNumber(min=1), help="Only this lane.")
@on_exchange
def check(shell: Shell, lane: int | None) -> None:
    """Follow the chain of hashes from its beginning.

    Hashes, counts, roots, sums and periods of every block are made again. It needs no more memory for a long journal
    than for a short one, and no file. `exchange check` does the same and proves wallets, redemptions, stock and
    statements besides. The exit code is 1 if something is wrong.
    """

    async def work(services: Services) -> tuple[list[LaneJudge], Wrong | None]:
        progress = Progress(quiet=shell.as_json)
        try:
            return await Evidence(services.db, services.keyring).judge_chain(lane, progress.show)
        finally:
            progress.end()

    judges, wrong = shell.run(work)
    heads = [(judge.lane, judge.before) for judge in judges]
    lanes = [{"lane": number, "last": head.seq, "head": head.hash} for number, head in heads if head is not None]
    told = [f"lane {each['lane']}, to block {each['last']}: {each['head']}" for each in lanes]
    verdict = "ok      the chain holds" if wrong is None else f"BROKEN  {wrong.what}"
    shell.answer(
        {"holds": wrong is None, "lanes": lanes, "wrong": None if wrong is None else wrong.what}, [verdict, *told]
    )
    if wrong is not None:
        click.get_current_context().exit(1)


def _write(shell: Shell, out: Path | None, lines: Callable[[Evidence, Seal, Progress], AsyncIterator[bytes]]) -> None:
    if shell.as_json and out is None:
        raise click.UsageError("--json tells about the file: it needs --out FILE")

    async def work(services: Services) -> dict[str, Any]:
        progress = Progress(quiet=shell.as_json)
        seal = seal_of(services.keys.signing())
        count = 0

        async def counted() -> AsyncIterator[str]:
            nonlocal count
            async for line in lines(Evidence(services.db, services.keyring), seal, progress):
                count += 1
                yield line.decode()

        try:
            written = await write_out(counted(), out)
        finally:
            progress.end()
        return {"file": str(out), "lines": count, **written}

    document = shell.run(work)
    if out is not None:
        shell.answer(document, f"{document['lines']:,} lines in {out}")
