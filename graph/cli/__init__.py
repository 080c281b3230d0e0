"""`exchange`: the command line.

Each module holds the commands of one noun, named after what operators say; `commands` puts them together, `shell` is
what they share, `up` runs the exchange, `server` is one of its processes. Commands speak to the database by the same
domain services as the gateway; none of them knows HTTP or GraphQL, so they work whether the exchange is running or not.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line: the console script."""
    try:
        # Here, because it takes a third of a second, in which a Ctrl-C would end in a traceback.
        from graph.cli.commands import run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit("exchange: interrupted")
    sys.exit(run())
