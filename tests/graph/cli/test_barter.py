"""`exchange barter`, and its page in the docs: what is written there is what the commands print."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from exchange.benefit import content_of
from exchange.store.catalog import Offer
from graph.services import open_services
from graph.settings import Settings
from tests.examples import transcript_in
from tests.exchange.conftest import known
from tests.exchange.speech import agreement, award, benefit, redeem
from tests.graph.cli.running import lived, run, tell

PARTNERS = ("news", "rides", "video")
PERIODS = (
    (("video", "rides", 30_000), ("rides", "video", 12_000), ("news", "rides", 5_000)),
    (("video", "rides", 26_000), ("rides", "video", 9_000)),
    (("rides", "video", 2_000),),
)
FROM, UNTIL = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
TERMS = ("--one", "video=500.00", "--other", "rides=300.00", "--currency", "EUR", "--from", FROM, "--until", UNTIL)


@pytest.fixture(scope="module")
def there(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give the options of an exchange that has lived the example of the page: the third period is open."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "jwks.json")) as at:
        yield at


@pytest.fixture(scope="module")
def apart(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[tuple[str, ...]]:
    """Give one that has lived the same, for the page, which changes what it shows."""
    with lived(mongo_url, _mongo_admin, folder, PARTNERS, partial(_live, keys=folder / "jwks.json")) as at:
        yield at


async def _live(settings: Settings, keys: Path) -> None:
    async with open_services(settings) as services:
        await known(services.ledger, *PARTNERS)
        for issuer, provider, fee in (("video", "rides", 100), ("rides", "video", 0), ("news", "rides", 100)):
            since = await services.now()
            await services.terms.add(agreement(issuer, provider, 1000, "EUR", fee=fee, since=since))
        for number, redemptions in enumerate(PERIODS, 1):
            for issuer, provider, points in redemptions:
                wanted = benefit(f"{provider}/for-{points}-{number}", points)
                await services.catalog.publish(provider, [Offer(content_of(wanted))])
                await services.ledger.submit(award(issuer, points))
                await services.ledger.submit(redeem(wanted, through=issuer))
            if number < len(PERIODS):
                await services.settlement.close(number)
        await asyncio.to_thread(keys.write_text, json.dumps(await services.keys.published()))


def words_of(text: str, there: tuple[str, ...]) -> list[str]:
    words = text.split()
    return words if words[0] == "verify" else [*words, *there]


def test_the_page_shows_what_is_printed(apart: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page, in its order, prints what is written there; "…" stands for what chance decides."""
    monkeypatch.chdir(folder)
    shown = transcript_in("barter.md")
    assert len(shown) > 5
    for command, printed in shown:
        said = run(*words_of(" ".join(command), apart))
        assert (said.status, said.err) == (0, "")
        expected = "".join(map(re.escape, printed.rstrip())).replace("…", ".*")
        assert re.fullmatch(expected, said.out.rstrip()), said.out
