"""The docs' worked examples happen on a real ledger as their pages tell them, posting by posting."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from exchange.benefit import Fulfilment
from exchange.journal import Entry
from exchange.ledger import Ledger
from exchange.redemption import Step
from tests import examples
from tests.examples import Told, told, told_in
from tests.exchange.conftest import House, known
from tests.exchange.speech import act, agreement, award, benefit, reserve

TRIP = benefit("rides/trip", 111, fulfilment=Fulfilment.PARTNER_CALL)


async def written(house: House, *ids: str) -> list[Entry]:
    """Return the entries as the database has them."""
    entries = (await house.books.first_round(ids, [], [])).entries
    return [entries[name] for name in ids]


async def test_the_life_of_a_redemption(house: House, ledger: Ledger) -> None:
    """Three units reserved, two confirmed, one reversed and then the other: docs/redemption.md has each posting."""
    await house.agree(
        agreement("delivery", "rides", 795, fee=150, commission=250),
        agreement("video", "rides", 805, fee=150, commission=250),
    )
    await house.publish(TRIP)
    await known(ledger, "video", "delivery")
    await ledger.submit(award("delivery", 133, expires=await house.soon(days=30), key="D"))
    await ledger.submit(award("video", 500, key="V"))
    await ledger.submit(reserve(TRIP, 3, key="reserved"))
    await ledger.submit(act(Step.CONFIRM, "reserved", 2, by="video", key="confirmed"))
    await ledger.submit(act(Step.REVERSE, "reserved", 1, by="rides", key="one back"))
    await ledger.submit(act(Step.REVERSE, "reserved", 1, by="rides", key="the other"))
    entries = await written(house, "reserved", "confirmed", "one back", "the other")
    assert told_in("redemption.md", "An example with every posting") == [told(entry) for entry in entries]
    _, confirmed, *back = entries
    sums: Counter[tuple[str, ...]] = Counter()
    for entry in (confirmed, *back):
        for posting in entry.postings:
            sums[posting.party, posting.account, posting.unit] += posting.amount
    assert not any(sums.values())
    await house.prove()


# How pages are read


PAGE = """# A page

## Before

| entry | party | account | amount |
|---|---|---|---|
| AWARD | nobody | ISSUED | -1 video points |

## The example

| something | else |
|---|---|
| no | posting |

| entry | party | account | amount |
|---|---|---|---|
| FULFIL | | | nothing |
| AWARD | video | WALLET, lot V | +5 video points |
| | video | ISSUED | -5 video points |

| entry | party | account | amount |
|---|---|---|---|
| AWARD | a second table | ISSUED | -1 video points |

## Without
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr(examples, "DOCS", tmp_path)
    return "page.md"


def test_a_page_tells_what_stands_under_the_heading(page: str) -> None:
    """Only the first table of postings of the section counts; an entry may post nothing."""
    awarded = ["video | WALLET, lot V | +5 video points", "video | ISSUED | -5 video points"]
    assert told_in(page, "The example") == [Told("FULFIL", []), Told("AWARD", awarded)]


@pytest.mark.parametrize("heading", ["Without", "Of another page", "example"])
def test_an_example_that_is_gone_is_noticed(page: str, heading: str) -> None:
    """A heading that was renamed, or lost its table, fails the test instead of comparing nothing."""
    with pytest.raises(ValueError, match=heading):
        told_in(page, heading)
