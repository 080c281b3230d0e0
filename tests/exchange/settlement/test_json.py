from __future__ import annotations

import json
from hashlib import sha256

import rfc8785

from exchange.settlement.export.json import write
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import closed, file_of, of


async def test_the_hash_is_of_what_stands_beside_it(example: World) -> None:
    """Whoever reads the file and makes the statement canonical again, by RFC 8785, has bytes of that hash."""
    rides = await closed(example)
    told = json.loads(await file_of(write, rides))
    assert set(told) == {"hash", "statement"}
    assert told["hash"] == rides.subject.statement.hash == sha256(rfc8785.dumps(told["statement"])).hexdigest()
    assert told["statement"]["header"]["id"] == "1:rides"
    assert told["statement"]["header"]["period"] == 1


async def test_every_figure_is_in_it(example: World) -> None:
    """Points and minor units of every line, and the totals: 8.84 EUR to rides, 15 JPY by it."""
    rides = await closed(example)
    statement = json.loads(await file_of(write, rides))["statement"]
    figures = ("points", "gross", "fee", "net")
    assert [[row[name] for name in figures] for row in statement["lines"]] == [
        [str(n) for n in (line.points, line.gross.minor, line.fee.minor, line.net.minor)] for line in rides.lines
    ]
    assert {total["currency"]: total["net"] for total in statement["totals"]} == {"EUR": "884", "JPY": "-15"}


async def test_a_statement_without_lines_is_one_all_the_same() -> None:
    """Nothing happened: no lines, no totals."""
    statement = json.loads(await file_of(write, of()))["statement"]
    assert (statement["lines"], statement["totals"]) == ([], [])
