"""What the commands share: the exchange they work on, and how they answer.

A command is given a `Shell` and does its work in `Shell.run`, with the domain's services. The database is, in this
order: the one of --mongo-url or EXCHANGE_MONGO_URL; the one that a running `exchange up` keeps in the data directory;
or the same one, started for this command alone and stopped after it.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import ExchangeError, NotSetUp, Refusal, StoreUnavailable, ValidationFailed
from exchange.keyring import load_keyring
from exchange.mongod import EmbeddedMongod, MongodError, find_running
from exchange.store.connection import check_url, why_not_opened
from graph.identifiers import Identifiers
from graph.services import Services, open_services
from graph.settings import DEFAULT_ISSUER, Settings
from partners.oauth.tokens import checked_issuer

Result = TypeVar("Result")

DATA: Final = "exchange-data"
_STARTING_SECONDS_MAX: Final = 15
_POLL_SECONDS: Final = 0.2
_LOOKS: Final = 20
_LOOK_AGAIN_SECONDS: Final = 0.05

_OPTION_LENGTH_MAX: Final = 24
_OPTIONS: Final = {
    "pricePer1000Points": "--price",
    "feeBasisPoints": "--fee-bps",
    "commissionBasisPoints": "--commission-bps",
    "effectiveFrom": "--effective-from",
    "awardReversal": "--award-reversal",
    "giftDayPoints": "--gift-day-points",
    "timeZone": "--time-zone",
    "velocity": "--velocity",
    "publicKey": "--public-key",
    "currency": "--currency",
    "plan": "--plan",
    "one": "--one",
    "other": "--other",
    "until": "--until",
    "minimums": "--minimum",
    "groups": "--group",
    "without": "--without",
    "settle": "--settle",
    "fix": "--fix",
    "after": "--after",
    "cap": "--cap",
    "lowBalance": "--low",
    "amount": "--amount",
    "asOf": "--as-of",
    "on": "--on",
    "at": "--at",
    "draftDays": "--draft-days",
    "reviewDays": "--review-days",
    "approveDays": "--approve-days",
    "payDays": "--pay-days",
    "roles": "--role",
    "address": "--address",
    "taxNumber": "--tax-number",
    "iban": "--iban",
    "bic": "--bic",
    "payer": "--payer",
    "email": "--email",
    "handle": "--handle",
    "name": "--name",
}
"""What the API calls a field, and what it is called here."""


data_option = click.option(
    "--data", envvar="EXCHANGE_DATA", show_envvar=True, default=DATA, show_default=f"./{DATA}",
    type=click.Path(file_okay=False, path_type=Path), help="The exchange's directory.",
)  # fmt: skip
mongo_url_option = click.option(
    "--mongo-url", envvar="EXCHANGE_MONGO_URL", show_envvar=True, metavar="URL",
    callback=lambda _context, _option, url: _checked_url(url),
    help="The database, if it is not the embedded one: a replica set or a cluster.",
)  # fmt: skip
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Where to write it; without it, stdout.",
)  # fmt: skip


class TakesName(click.Command):
    """A command that takes a sealed name, which may begin with a hyphen, and even with -h."""

    ignore_unknown_options = True

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """Leave -h to names."""
        return [name for name in super().get_help_option_names(ctx) if name != "-h"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an option that is not there, which is shorter than any sealed name."""
        known = {name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)}
        for name in (each.partition("=")[0] for each in args[: args.index("--") if "--" in args else None]):
            if name.startswith("--") and len(name) <= _OPTION_LENGTH_MAX and name not in known:
                raise click.NoSuchOption(name, possibilities=get_close_matches(name, known), ctx=ctx)
        return super().parse_args(ctx, args)


class WholeNumber(click.IntRange):
    """A whole number within limits, refused in plain words."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            limits = f"from {self.min} on" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"{value!r} is no whole number {limits}", param, ctx)


class Shell:
    """One command's exchange, and whether its user wants JSON."""

    def __init__(self, data: Path, mongo_url: str | None, as_json: bool) -> None:  # noqa: FBT001 - straight from the options
        self.data = data
        self.mongo_url = mongo_url
        self.as_json = as_json

    def run(self, work: Callable[[Services], Awaitable[Result]], *, begins: bool = False) -> Result:
        """Do the work with the exchange's services. `begins`: it may be the first thing that is ever done there."""
        configure_logging()
        if not begins and self.mongo_url is None and not (self.data / "mongod").is_dir():
            raise click.ClickException(f"there is no exchange in {self.data}: begin one with `exchange up`")
        with self._database() as url:
            given = os.environ.get("EXCHANGE_ISSUER", "").rstrip("/")
            issuer = given or remembered_issuer(self.data) or DEFAULT_ISSUER
            settings = Settings(mongo_url=url, issuer=issuer, data=self.data)

            async def working() -> Result:
                async with opened(settings, elsewhere=self.mongo_url is not None) as services:
                    return await work(services)

            return asyncio.run(working())

    def answer(self, document: Any, text: str | Iterable[str]) -> None:
        """Print the answer: the document as JSON, or the text."""
        if self.as_json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            for line in [text] if isinstance(text, str) else text:
                click.echo(line)

    @contextmanager
    def _database(self) -> Iterator[str]:
        with ExitStack() as stack:
            yield self.mongo_url or self._embedded(stack)

    def _embedded(self, stack: ExitStack) -> str:
        """Return the URL of the embedded database: of the one that runs, or of one that runs until `stack` closes."""
        need_key(self.data)
        deadline = time.monotonic() + _STARTING_SECONDS_MAX
        while True:
            url = find_running(self.data)
            if url is not None:
                return url
            try:
                return stack.enter_context(EmbeddedMongod(self.data)).url
            except MongodError:
                # Whoever holds the directory may be about to have it running.
                if not _is_held(self.data) or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)


def on_exchange(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all have, and its function a Shell made of them. The decorator next to it."""

    @data_option
    @mongo_url_option
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @functools.wraps(function)
    def run(data: Path, mongo_url: str | None, as_json: bool, **options: Any) -> None:  # noqa: FBT001
        function(Shell(data, mongo_url, as_json), **options)

    return run


@asynccontextmanager
async def opened(settings: Settings, *, elsewhere: bool) -> AsyncIterator[Services]:
    """Open the services; what is wrong with the set-up comes as one sentence for the operator.

    `elsewhere`: the database is one that the operator named.
    """
    async with AsyncExitStack() as stack:
        with _plainly():
            try:
                services = await stack.enter_async_context(open_services(settings, ledger=False))
            except StoreUnavailable as error:
                if not elsewhere:
                    raise
                said = why_not_opened(settings.mongo_url, error)
                if isinstance(error, NotSetUp):
                    raise click.ClickException(said) from error
                remedy = "--mongo-url (EXCHANGE_MONGO_URL) must name one that runs and lets us in"
                raise click.ClickException(f"{said}: {remedy}") from error
        yield services


def need_key(data: Path) -> None:
    """See to the master key before there is a database: beside one that exists no new key is ever made."""
    with _plainly():
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        load_keyring(os.environ, data)


def refuse_second(data: Path) -> None:
    """Refuse a directory in which an exchange runs, before anything else is found in its way, such as its own port.

    A command that looks whether an exchange runs holds the lock for an instant, and is no exchange.
    """
    looks = 0
    while looks < _LOOKS and _is_held(data):
        looks += 1
        time.sleep(_LOOK_AGAIN_SECONDS)
    if looks == _LOOKS:
        owner = (data / "exchange.lock").read_text("ascii", "replace").strip() or "unknown"
        raise click.ClickException(
            f"{data.resolve()} is in use by another exchange (process {owner}): stop it or choose another --data"
        )


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # a key or an address that is none
        raise click.ClickException(str(error)) from error
    except OSError as error:
        hint = "choose another --data; a master key can come by EXCHANGE_SECRET_KEY"
        raise click.ClickException(f"cannot use {error.filename}: {error.strerror} ({hint})") from error


def _is_held(data: Path) -> bool:
    """Tell whether an exchange, or another command, has the directory."""
    try:
        with (data / "exchange.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _checked_url(url: str | None) -> str | None:
    if url is not None:
        try:
            check_url(url)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None
    return url


# ---------------------------------------------------------------- where the exchange is


def remember_address(data: Path, url: str, issuer: str) -> None:
    """Note the address for the commands, which mint tokens for it; harmless where nothing can be written."""
    try:
        write_atomically(data / "exchange.json", json.dumps({"url": url, "issuer": issuer}) + "\n")
    except OSError as error:
        logging.getLogger(__name__).info("%s/exchange.json is not written: %s", data, error.strerror)


def remembered_issuer(data: Path) -> str | None:
    """Return the issuer that the exchange in `data` last ran as."""
    try:
        return checked_issuer(json.loads((data / "exchange.json").read_bytes())["issuer"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that nobody ever sees half of; it is never open to more people than `mode` allows."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


# ---------------------------------------------------------------- how things are said


def sentence(error: ExchangeError) -> str:
    """Return what a refusal says, with the option that it is about."""
    named = _option(error) if isinstance(error, Refusal) else None
    return error.message if named is None else f"{named}: {error.message}"


def misused(error: ValidationFailed) -> click.UsageError:
    """Return a refusal as wrong usage: of what is wrong by itself, whatever is stored."""
    return click.BadParameter(error.message, param_hint=_option(error))


def _option(error: Refusal) -> str | None:
    path = [word for word in error.path or [] if word != "input"]
    return _OPTIONS.get(path[0], " ".join(path)) if path else None


def money(amount: Money) -> dict[str, str]:
    """Return an amount for JSON, as the API gives it."""
    return {"amount": decimal_from_minor(amount.minor, amount.currency), "currency": amount.currency}


def identifiers(services: Services) -> Identifiers:
    """Return the ids that staff see; those of partners, agreements and statements are everybody's."""
    return Identifiers(services.keyring, None)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Return rows under a header in aligned columns; those named in `right` to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    to_right = [name in right for name in header]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in cells
    ]


class Progress:
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


async def write_out(rows: AsyncIterator[str] | AsyncIterator[bytes], out: Path | None) -> dict[str, Any]:
    """Write rows to stdout as they come; or the whole file or none, and return its SHA-256. It replaces one there."""
    if out is None:
        async for row in rows:
            sys.stdout.buffer.write(_bytes(row))
        sys.stdout.buffer.flush()
        return {}
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    digest = sha256()
    try:
        with draft.open("wb") as file:
            async for row in rows:
                digest.update(_bytes(row))
                file.write(_bytes(row))
        draft.replace(out)
    except OSError as error:
        raise click.ClickException(f"cannot write {out}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    return {"sha256": digest.hexdigest()}


def _bytes(row: str | bytes) -> bytes:
    return row.encode() if isinstance(row, str) else row


class _Line(logging.Formatter):
    """One readable line, such as `warning: lane 2 was taken over by another process`."""

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record)


def configure_logging(level: int = logging.WARNING) -> None:
    """Send warnings to stderr, one line each; a traceback only with an error that nobody foresaw."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line("%(levelname)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
