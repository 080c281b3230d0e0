from __future__ import annotations

import pytest

from exchange.settlement.export import Writer, accounting, csv, json, xlsx
from tests.exchange.settlement.files import memory_of

FEW, MANY = 500, 10_000


@pytest.mark.parametrize("write", [csv.write, json.write, accounting.write, xlsx.write])
async def test_a_file_is_never_in_memory(write: Writer) -> None:
    """Twenty times as many lines take no more memory than the few do, give or take 64 KiB."""
    await memory_of(write, 1)  # what is loaded but once is no matter
    _, little = await memory_of(write, FEW)
    size, much = await memory_of(write, MANY)
    assert size > 500_000
    assert much < little + 65_536
