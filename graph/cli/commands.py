"""The command line put together, and how it ends.

Whatever goes wrong ends here, in one line on stderr and an exit code: 1 refused or broken, 2 wrong usage. A traceback
is for us: EXCHANGE_TRACEBACK=1 shows it.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import click

from exchange.errors import ExchangeError
from graph.cli.agreements import agreement
from graph.cli.anytime import as_of, rebuild
from graph.cli.barter import barter
from graph.cli.catalog import catalog
from graph.cli.check import check
from graph.cli.database import database
from graph.cli.disputes import dispute
from graph.cli.exposure import exposure
from graph.cli.journal import journal
from graph.cli.liability import liability
from graph.cli.members import member
from graph.cli.netting import netting
from graph.cli.partners import partner
from graph.cli.rates import rates
from graph.cli.reconcile import reconcile
from graph.cli.rules import freeze, rules, unfreeze
from graph.cli.schema import schema
from graph.cli.settlement import period, statement
from graph.cli.shell import sentence
from graph.cli.signoff import signoff
from graph.cli.staff import staff
from graph.cli.up import up
from graph.cli.verify import verify

DONE, REFUSED, WRONG_USAGE = 0, 1, 2


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="See `exchange COMMAND --help` for each. Exit codes: 0 done, 1 refused or broken, 2 wrong usage.",
)
@click.version_option(version("benefits-exchange"), prog_name="exchange", message="%(prog)s %(version)s")
def exchange() -> None:
    """Benefits Exchange: the clearing house between membership programmes.

    `exchange up --demo` runs everything on this machine, with three partners, 1,000 benefits and 200 members to
    try it with.

    The other commands work on the exchange in ./exchange-data (another: --data or EXCHANGE_DATA; one whose database
    runs elsewhere: --mongo-url or EXCHANGE_MONGO_URL), whether it is running or not: if it is not, they start its
    database for as long as they need it. With --json each prints one JSON document.
    """


_COMMANDS = (
    up,
    staff,
    partner,
    agreement,
    barter,
    exposure,
    rules,
    freeze,
    unfreeze,
    catalog,
    member,
    period,
    statement,
    netting,
    rates,
    signoff,
    dispute,
    reconcile,
    liability,
    check,
    journal,
    verify,
    as_of,
    rebuild,
    database,
    schema,
)
for command in _COMMANDS:
    exchange.add_command(command)


def run() -> int:
    """Run the command that the program was started with, and return its exit code."""
    try:
        status = exchange.main(prog_name="exchange", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG_USAGE
    except BrokenPipeError:
        # Whoever read our output has enough of it. Python would complain once more while ending.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("EXCHANGE_TRACEBACK") == "1":
            raise
        click.echo(f"exchange: {' '.join(_told(error).split())}", err=True)
        return WRONG_USAGE if isinstance(error, click.UsageError) else REFUSED
    return status if isinstance(status, int) else DONE


def _told(error: BaseException) -> str:
    match error:
        case click.UsageError():
            command = "exchange" if error.ctx is None else error.ctx.command_path
            return f"{error.format_message()} (see {command} --help)"
        case click.ClickException():
            return error.format_message()
        case ExchangeError():
            return sentence(error)
        case click.Abort() | KeyboardInterrupt():
            return "interrupted"
        case _:
            return f"{type(error).__name__}: {error} (EXCHANGE_TRACEBACK=1 shows where)"
