from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from beancount import loader
from beancount.core.amount import Amount
from beancount.core.data import Custom, Directives, Transaction

from exchange.amounts import decimal_from_minor
from exchange.journal import LineKind
from exchange.settlement.export.accounting import FEES, NET, write
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import Written, closed, file_of, line, of

EVERY_KIND = of(
    line(points=1000, gross=800, fee=12),
    line(points=-300, gross=-240, fee=-4, kind=LineKind.REVERSAL),
    line(points=0, gross=-24, kind=LineKind.COMMISSION, counterparty="news"),
    line(points=0, gross=8, kind=LineKind.COMMISSION, counterparty="news"),
    line(points=0, gross=7, kind=LineKind.COMMISSION, counterparty="news", benefit="news/paper"),
    line(points=0, gross=-2, kind=LineKind.COMMISSION, counterparty="news", benefit="news/paper"),
    line(points=-50, gross=-40, counterparty="news-2", benefit="news-2/paper"),
    line(points=50, gross=40, counterparty="news-2", benefit="news-2/paper", kind=LineKind.REVERSAL),
    line(points=-9, gross=-15, currency="JPY"),
    line(points=0, gross=500, kind=LineKind.ADJUSTMENT),
    line(points=0, gross=-100, kind=LineKind.ADJUSTMENT, counterparty="news"),
)


def bean_check(path: Path) -> tuple[int, str]:
    """Return its exit code, and what it complains of."""
    done = subprocess.run(
        [Path(sys.executable).with_name("bean-check"), path], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stderr


def postings(entries: Directives) -> list[tuple[str, Amount]]:
    """Return what is posted, by account."""
    posted = [posting for entry in entries if isinstance(entry, Transaction) for posting in entry.postings]
    return [(posting.account, posting.units) for posting in posted if posting.units is not None]


async def checked(written: Written, tmp_path: Path) -> Path:
    """Write the file, and let `bean-check` read it."""
    path = tmp_path / "statement.beancount"
    path.write_bytes(await file_of(write, written))
    assert bean_check(path) == (0, "")
    return path


async def test_bean_check_accepts_it(example: World, tmp_path: Path) -> None:
    """With each line one transaction, and its net on the account of what the exchange owes."""
    rides = await closed(example)
    entries, errors, _ = loader.load_file(str(await checked(rides, tmp_path)))
    assert errors == []
    transactions = [entry for entry in entries if isinstance(entry, Transaction)]
    transactions.sort(key=lambda one: one.meta["line"])
    assert [
        (str(one.meta["points"]), one.meta["entry"], [str(p.units) for p in one.postings if p.account == NET])
        for one in transactions
    ] == [
        (str(each.points), each.entry, [f"{decimal_from_minor(*each.net)} {each.currency}"]) for each in rides.lines
    ]  # fmt: skip
    fees = sum(((units.number or Decimal(0)) for account, units in postings(entries) if account == FEES), Decimal(0))
    assert fees == Decimal("0.14")
    (custom,) = (entry for entry in entries if isinstance(entry, Custom))
    assert [value.value for value in custom.values] == ["1:rides", rides.subject.statement.hash, 1]


async def test_every_kind_of_line_has_its_account(tmp_path: Path) -> None:
    """What goes back is on the account where it came from; what is earned is income, what is owed an expense."""
    entries, _, _ = loader.load_file(str(await checked(EVERY_KIND, tmp_path)))
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for account, units in postings(entries):
        sums[f"{account} {units.currency}"] += units.number or Decimal(0)
    assert sums == {
        "Income:Exchange:Redemptions:Video EUR": Decimal("-5.60"),
        "Income:Exchange:Commissions:News EUR": Decimal("-0.05"),
        "Income:Exchange:Adjustments:Video EUR": Decimal("-5.00"),
        "Expenses:Exchange:Adjustments:News EUR": Decimal("1.00"),
        "Expenses:Exchange:Commissions:News EUR": Decimal("0.16"),
        "Expenses:Exchange:Redemptions:News-2 EUR": Decimal(0),
        "Expenses:Exchange:Redemptions:Video JPY": Decimal(15),
        "Expenses:Fees:Exchange EUR": Decimal("0.08"),
        "Assets:Receivable:Exchange EUR": Decimal("9.41"),
        "Assets:Receivable:Exchange JPY": Decimal(-15),
    }


@pytest.mark.parametrize(("said", "altered"), [("  0.08 ~", "  0.09 ~"), ("  9.41 ~", "  9.42 ~")])
async def test_bean_check_adds_up_what_the_statement_says(said: str, altered: str, tmp_path: Path) -> None:
    """One cent more in what the statement says of its net, or of its fees, and the file is refused."""
    text = (await file_of(write, EVERY_KIND)).decode()
    assert text.count(said) == 1
    path = tmp_path / "altered.beancount"
    path.write_text(text.replace(said, altered))
    status, complaint = bean_check(path)
    assert status == 1
    assert "Balance failed" in complaint


@pytest.mark.parametrize("name", ['rides/"a"', "rides/a\\", 'rides/\\" 2026-01-01 open Assets:X "', "rides/é;#^x"])
async def test_a_name_cannot_leave_its_quotes(name: str, tmp_path: Path) -> None:
    """Whatever a partner calls its benefit, it is one text of one transaction."""
    entries, _, _ = loader.load_file(str(await checked(of(line(benefit=name, entry=name)), tmp_path)))
    (transaction,) = (entry for entry in entries if isinstance(entry, Transaction))
    assert (transaction.narration, transaction.meta["entry"]) == (f"REDEMPTION {name}", name)


async def test_a_statement_without_lines_is_a_ledger_without_transactions(tmp_path: Path) -> None:
    """It says which statement it is, and nothing more."""
    entries, _, _ = loader.load_file(str(await checked(of(), tmp_path)))
    assert [type(entry) for entry in entries] == [Custom]
