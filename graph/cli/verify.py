"""`exchange verify`: a file that the exchange handed out, verified by whoever holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import click

from exchange.proof.sealed import Broken, Keys, Verified
from exchange.proof.sealed import verify as verify_file
from exchange.proof.verifying import FORMATS
from graph.cli.shell import Progress
from partners.oauth.seals import check_signature, key_set


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--keys", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="The exchange's public keys: what it serves at /.well-known/jwks.json.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify(file: BinaryIO, keys: Path | None, as_json: bool) -> None:  # noqa: FBT001 - straight from the options
    """Verify a file of the exchange's, offline.

    It needs no database and no network, nothing but the file and the public keys. It finds out itself which kind of
    file it is, and names the first thing that is wrong, with its line; the exit code is then 1. Without --keys it can
    tell that the file is as it was signed, and not by whom. FILE may be -, for stdin.

    \b
    exchange verify journal.jsonl --keys jwks.json
    gunzip < journal.jsonl.gz | exchange verify - --keys jwks.json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    trusted = None if keys is None else _read_keys(keys)
    progress = Progress(quiet=as_json)
    try:
        verified = verify_file(
            file.readline, FORMATS, check_signature, trusted, lambda done: progress.show("lines", done, None)
        )
    except Broken as broken:
        progress.end()
        wrong = {"line": broken.line, "what": broken.what}
        _answer(as_json, {"sound": False, "wrong": wrong}, [f"BROKEN  {broken}"])
        click.get_current_context().exit(1)
    progress.end()
    _answer(as_json, _document(verified), _told(verified))


def _read_keys(path: Path) -> Keys:
    try:
        return key_set(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path} {error}", param_hint="--keys") from None


def _document(verified: Verified) -> dict[str, object]:
    return {
        "sound": True, "format": verified.format, "lines": verified.lines,
        "signature": "checked" if verified.trusted else "unchecked", "key": verified.signer,
        **verified.findings.facts,
    }  # fmt: skip


def _told(verified: Verified) -> list[str]:
    title, *others = verified.findings.told
    if verified.trusted:
        signature = f"signature checked: by key {verified.signer}"
    else:
        whose = f"it is that of key {verified.signer}, which the file itself brings"
        signature = f"signature unchecked: no --keys were given; {whose}"
    return [f"ok      {title}", *(f"        {each}" for each in others), signature]


def _answer(as_json: bool, document: dict[str, object], lines: list[str]) -> None:  # noqa: FBT001 - as above
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for line in lines:
            click.echo(line)
