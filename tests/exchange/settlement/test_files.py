from __future__ import annotations

from functools import partial

import pytest

from exchange.settlement.export import Writer, accounting, csv, json, pdf, xlsx
from tests.exchange.settlement.files import memory_of

FEW, MANY = 500, 5_000


@pytest.mark.parametrize("write", [csv.write, json.write, accounting.write, xlsx.write])
async def test_a_file_is_never_in_memory(write: Writer) -> None:
    """Ten times as many lines take no more memory than the few do, give or take 64 KiB."""
    await memory_of(write, 1)  # what is loaded but once is no matter
    _, little = await memory_of(write, FEW)
    size, much = await memory_of(write, MANY)
    assert size > 250_000
    assert much < little + 65_536


async def test_paper_has_a_bound() -> None:
    """A document takes no more memory for five thousand lines than for as many as it lists, and is shorter."""
    listed, much_listed = await memory_of(partial(pdf.write, lines_max=FEW), FEW)
    left_out, much = await memory_of(partial(pdf.write, lines_max=FEW), MANY)
    assert left_out < listed
    assert much < much_listed
