"""docs/settlement-example.md is true: every figure in every file that the exchange makes of its story is the page's.

No expected figure is computed by the exchange. They are read from the tables of the page, where they stand with the
arithmetic by which they were worked out; the sums that files have besides are added up here, from those. Ids, hashes
and times, which chance decides, are those that the API gives.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from beancount import loader
from beancount.core.data import Balance, Custom, Transaction
from lxml import etree
from openpyxl import load_workbook
from pymongo import MongoClient
from pypdf import PdfReader

from exchange.settlement.netting import Payment
from exchange.settlement.signoff import Asked, SignOffStep
from graph.services import open_services
from graph.settings import DEFAULT_ISSUER, Settings
from tests.examples import DOCS
from tests.exchange.settlement.test_accounting import bean_check
from tests.exchange.settlement.test_pain001 import SCHEMA
from tests.exchange.settlement.test_xlsx import calculated
from tests.graph.cli.running import lived, run, tell
from tests.journeys.example import AGREEMENTS, PARTNERS, PERIODS, Lived, live

Row = dict[str, str]

PAGE = (DOCS / "settlement-example.md").read_text()
NETTINGS = (*PERIODS, 4)
STATEMENTS = [f"{number}:{partner}" for number in PERIODS for partner in sorted(PARTNERS)]
FORMS = ("csv", "json", "xlsx", "pdf", "ledger", "bundle")
CARRYING = (1, 2)
BARTERED = 3
MINIMUMS = ("--minimum", "EUR=0.20", "--minimum", "JPY=20")
NAMES = {"exchange": "Exchange AG", "air": "Air SA", "rides": "Rides GmbH", "shop": "Shop BV"}
IBANS = {
    "exchange": "DE89370400440532013000", "air": "FR1420041010050500013M02606", "rides": "AT611904300234573201",
    "shop": "NL91ABNA0417164300",
}  # fmt: skip
PAY_ON = "2026-12-01"


# ---------------------------------------------------------------- the page


def tables(heading: str) -> list[list[Row]]:
    """Return the tables under a heading, each as rows by the names of its columns."""
    found: list[list[Row]] = []
    header: list[str] = []
    _, _, under = PAGE.partition(f"# {heading}\n")
    for line in under.partition("\n#")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
            found.append([])
        elif not line.startswith("|--"):
            found[-1].append(dict(zip(header, cells, strict=True)))
    assert found, heading
    return found


def table(heading: str) -> list[Row]:
    """Return the one table under a heading."""
    (found,) = tables(heading)
    return found


def figure(cell: str) -> str:
    """Return what a cell comes to: what stands last in it, behind its arithmetic, and without a currency."""
    return re.split("[=≈→]", cell)[-1].split()[0]


def currency(cell: str) -> str:
    """Return the currency that stands behind a cell's figure."""
    return cell.rsplit(maxsplit=1)[-1]


def minor(cell: str) -> int:
    """Return a cell's figure in minor units, or as the whole number that it is."""
    return int(figure(cell).replace(".", ""))


def whole(amount: int, code: str) -> str:
    """Return an amount in minor units as people write it."""
    if code == "JPY":
        return str(amount)
    return f"{'-' if amount < 0 else ''}{abs(amount) // 100}.{abs(amount) % 100:02}"


def lines_of(statement: str) -> list[Row]:
    """Return the lines that the page has of a statement."""
    return table(f"Statement {statement}")


def totals_of(statement: str) -> list[Row]:
    """Return the page's positions of a statement's partner, with figures alone."""
    number, _, partner = statement.partition(":")
    return [
        {name: each if name in ("partner", "currency") else figure(each) for name, each in row.items()}
        for row in table(f"Positions of period {number}") if row["partner"] == partner
    ]  # fmt: skip


def summed(statement: str) -> dict[tuple[str, str, str], list[int]]:
    """Add up the page's lines by currency, kind and counterparty: how many, points, gross, fee and net."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for row in lines_of(statement):
        figures = sums.setdefault((row["currency"], row["kind"], row["with"]), [0] * 5)
        for index, more in enumerate((1, *(minor(row[name]) for name in ("points", "gross", "fee", "net")))):
            figures[index] += more
    return dict(sorted(sums.items()))


def test_the_arithmetic_of_the_page_is_right() -> None:
    """Pressed from left to right each cell comes to what stands behind it."""
    press = {
        "+": Fraction.__add__, "-": Fraction.__sub__,
        "\N{MULTIPLICATION SIGN}": Fraction.__mul__, "\N{DIVISION SIGN}": Fraction.__truediv__,
    }  # fmt: skip
    pressed = 0
    for cell in re.findall(r"(?<=\| )[^|]*[=≈→][^|]*(?= \|)", PAGE):
        keys, *results = re.split(" ([=≈→]) ", cell)
        first, *more = keys.split()
        value = Fraction(first)
        for key, number in zip(more[::2], more[1::2], strict=True):
            value = press[key](value, Fraction(number))
        for sign, result in zip(results[::2], results[1::2], strict=True):
            said = figure(result)
            digits = len(said.partition(".")[2])
            assert (value if sign == "=" else round(value, digits)) == Fraction(said), cell
        pressed += 1
    assert pressed > 90


@pytest.mark.parametrize("number", PERIODS)
def test_the_nets_of_the_page_sum_to_zero(number: int) -> None:
    """In each currency; and a statement's lines add up to its partner's position."""
    nets: Counter[str] = Counter()
    for row in table(f"Positions of period {number}"):
        nets[row["currency"]] += minor(row["net"])
        if row["partner"] != "exchange":
            lines = [each for each in lines_of(f"{number}:{row['partner']}") if each["currency"] == row["currency"]]
            assert sum(minor(each["net"]) for each in lines) == minor(row["net"])
            assert sum(minor(each["fee"]) for each in lines) == minor(row["fees"])
    assert not any(nets.values())


# ---------------------------------------------------------------- the exchange


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a place for files."""
    return tmp_path_factory.mktemp("example")


@pytest.fixture(scope="module")
def told(mongo_url: str, _mongo_admin: MongoClient[dict[str, Any]], folder: Path) -> Iterator[Lived]:
    """Live the story, and write every file there is."""
    story = Lived()
    with lived(mongo_url, _mongo_admin, folder, (), lambda to: live(to, folder / "jwks.json", story)) as at:
        story.at = at
        for handle, name in NAMES.items():
            tell("partner", "particulars", handle, "--name", name, "--iban", IBANS[handle], *at)
        for statement in STATEMENTS:
            for form in FORMS:
                path = folder / f"{statement}.{form}"
                done = tell("statement", "export", statement, "--format", form, "--out", path, *at)
                assert (done["lines"], done["hash"]) == (len(lines_of(statement)), story.statement(statement)["hash"])
        tell("journal", "export", "--out", folder / "journal.jsonl", *at)
        yield story


@pytest.fixture(scope="module")
def entries(told: Lived, folder: Path) -> dict[str, dict[str, Any]]:
    """Give the entries of the journal that move money or points between members and benefits, by the page's names."""
    assert told.periods
    rows = map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
    found = [row["entry"] for row in rows if "entry" in row]
    taken = [each for each in found if each["kind"] in ("REDEEM", "REVERSE", "ADJUSTMENT")]
    names = ("R1", "R2", "R3", "R4", "R5", "R6", "D", "R7", "R8", "R9", "R10")
    return dict(zip(names, taken, strict=True))


def money(shown: dict[str, Any]) -> tuple[str, str]:
    return shown["amount"], shown["currency"]


def debits(heading: str, name: str) -> list[Row]:
    return [row for row in table(heading) if row["redemption"] == name]


def test_the_agreements_are_those_of_the_page() -> None:
    """The story is told with the page's prices, fees and commissions."""
    _, rows = tables("Who is there")
    assert [
        (row["issuer"], row["provider"], row["1,000 points"], row["currency"],
         *(int(Fraction(row[name].removesuffix(" %")) * 100) for name in ("fee", "commission")))
        for row in rows
    ] == list(AGREEMENTS)  # fmt: skip


@pytest.mark.parametrize("name", ["R1", "R2", "R3", "R4", "R5", "R7", "R9", "R10"])
def test_each_redemption_costs_what_the_page_works_out(
    told: Lived, entries: dict[str, dict[str, Any]], name: str
) -> None:
    """Points, what is owed, fee and commission of every row: in the journal, and in what finance reads of it."""
    rows = debits("What each redemption costs", name)
    entry = entries[name]
    assert [(each[0], each[1], *each[3:]) for each in entry["debits"]] == [
        (row["points of"], figure(row["points"]),
         [figure(row["owed"]), currency(row["owed"])] if row["owed"] else None,
         figure(row["fee"]), figure(row["commission"]))
        for row in rows
    ]  # fmt: skip
    assert {(entry["provider"], entry["channel"])} == {(row["at"], row["in the app of"]) for row in rows}
    assert [
        (each["issuer"]["handle"], each["points"], each["owed"] and money(each["owed"]))
        for each in told.redemptions[name]["debits"]
    ] == [
        (row["points of"], figure(row["points"]),
         (whole(minor(row["owed"]), currency(row["owed"])), currency(row["owed"])) if row["owed"] else None)
        for row in rows
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["R6", "R8"])
def test_each_part_that_goes_back_is_what_the_page_works_out(entries: dict[str, dict[str, Any]], name: str) -> None:
    """Two parts, each in the period in which it went back, and together the whole."""
    rows = debits("What goes back", name)
    assert [(each[0], each[1], *each[3:]) for each in entries[name]["debits"]] == [
        (row["points of"], str(-minor(row["points"])), [str(-minor(row["owed"])), currency(row["owed"])],
         str(-minor(row["fee"])), str(-minor(row["commission"])))
        for row in rows
    ]  # fmt: skip


def test_what_goes_back_in_parts_is_the_whole(told: Lived) -> None:
    """Of the page's figures, too; and the redemption is then reversed."""
    back: Counter[tuple[str, str]] = Counter()
    for row in table("What goes back"):
        back.update({(row["points of"], each): minor(row[each]) for each in ("points", "owed", "fee", "commission")})
    for row in debits("What each redemption costs", "R1"):
        assert all(back[row["points of"], each] == minor(row[each]) for each in ("points", "owed", "fee", "commission"))
    assert [told.redemptions[name]["status"] for name in ("R6", "R8")] == ["FULFILLED", "REVERSED"]


def test_the_dispute_is_adjusted_by_an_entry_that_cites_the_line(
    told: Lived, entries: dict[str, dict[str, Any]]
) -> None:
    """By statement, hash, entry and line, and by the record that decided; a half of what the line says."""
    disputed, entry = told.dispute, entries["D"]
    line = told.statement("1:shop")["lines"]["nodes"][1]
    assert (disputed["status"], disputed["entry"], disputed["period"]) == ("UPHELD", line["entry"], {"number": 1})
    assert (money(disputed["amount"]), disputed["net"]["amount"]) == (("1.66", "EUR"), "-1.66")
    assert (disputed["award"]["amount"], disputed["adjustedIn"]) == ("0.83", {"number": 2})
    assert {name: value for name, value in entry["detail"].items() if name != "dispute"} == {
        "entry": entries["R2"]["id"], "line": "0", "record": disputed["records"][-1]["hash"], "statement": "1:shop",
        "statement_hash": told.statement("1:shop")["hash"],
    }  # fmt: skip
    assert entry["postings"] == [
        ["ADJUSTMENTS", "rides", "EUR", "-83", None], ["ADJUSTMENTS", "shop", "EUR", "83", None],
    ]  # fmt: skip
    assert disputed["statementHash"] == told.statement("1:shop")["hash"]


# ---------------------------------------------------------------- periods


@pytest.mark.parametrize("number", PERIODS)
def test_the_api_has_the_positions_and_who_owes_whom(told: Lived, number: int) -> None:
    """Every row of both, with points and how many redemptions it comes from; and the plan while nothing is recorded."""
    period = told.periods[number]
    names = ("payable", "receivable", "fees", "net")
    assert [(each["partner"]["handle"], *(money(each[name]) for name in names)) for each in period["positions"]] == [
        (row["partner"], *((figure(row[name]), row["currency"]) for name in names))
        for row in table(f"Positions of period {number}")
    ]
    assert [
        (each["debtor"]["handle"], each["creditor"]["handle"], money(each["gross"]), each["points"], each["entries"])
        for each in period["bilateral"]
    ] == [
        (row["debtor"], row["creditor"], (figure(row["gross"]), row["currency"]), figure(row["points"]), row["count"])
        for row in table(f"Who owes whom in period {number}")
    ]
    assert [
        (each["from"]["handle"], each["to"]["handle"], *money(each["amount"])) for each in period["paymentPlan"]
    ] == payments(number, "statements" if number == BARTERED else "exchange")


@pytest.mark.parametrize("number", PERIODS)
def test_who_owes_whom_comes_from_the_redemptions_that_the_page_names(
    entries: dict[str, dict[str, Any]], number: int
) -> None:
    """By the journal: the issuer owes the provider, and it the fee and the commission, where there are any."""
    happened = {row["of"] for partner in PARTNERS for row in lines_of(f"{number}:{partner}")}
    named: dict[tuple[str, str, str], set[str]] = {}
    for name in happened:
        provider, channel = entries[name]["provider"], entries[name]["channel"]
        for issuer, _, _, what, fee, commission in entries[name]["debits"]:
            for debtor, creditor, due in (
                (issuer, provider, what and what[0]), (provider, "exchange", fee), (provider, channel, commission),
            ):  # fmt: skip
                if due and due != "0":
                    named.setdefault((debtor, creditor, what[1]), set()).add(name)
    rows = table(f"Who owes whom in period {number}")
    assert named == {(row["debtor"], row["creditor"], row["currency"]): set(row["of"].split(", ")) for row in rows}
    assert [row["count"] for row in rows] == [str(len(row["of"].split(", "))) for row in rows]


def payments(number: int, plan: str, mark: str = "") -> list[tuple[str, str, str, str]]:
    """Return the page's payments of a plan; `mark`: "carried" for those that are."""
    rows, *_ = tables(f"Payments of period {number}")
    return [
        (row["from"], row["to"], figure(row["amount"]), row["currency"])
        for row in rows if (row["plan"], row[""]) == (plan, mark)
    ]  # fmt: skip


def test_the_list_of_statements_has_the_totals(told: Lived) -> None:
    """`exchange statement list` tells of each how many lines it has, and what it comes to."""
    names = ("payable", "receivable", "fees", "net")
    listed = tell("statement", "list", *told.at)["statements"]
    assert sorted(
        (each["statement"], each["lines"], [tuple(money(row[name]) for name in names) for row in each["totals"]])
        for each in listed
    ) == [
        (statement, len(lines_of(statement)),
         [tuple((row[name], row["currency"]) for name in names) for row in totals_of(statement)])
        for statement in STATEMENTS
    ]  # fmt: skip


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_api_has_the_lines(told: Lived, entries: dict[str, dict[str, Any]], statement: str) -> None:
    """Every line with its figures, and its time that of its redemption; the totals, and no opening."""
    shown = told.statement(statement)
    nodes, rows = shown["lines"]["nodes"], lines_of(statement)
    assert shown["lines"]["totalCount"] == len(rows)
    assert (shown["status"], shown["opening"]) == ("APPROVED", [])
    assert [
        (each["kind"], each["benefit"]["sku"], each["counterparty"]["handle"], each["points"],
         *(money(each[name]) for name in ("gross", "fee", "net")), each["late"], each["at"])
        for each in nodes
    ] == [
        (row["kind"], row["benefit"].partition("/")[2], row["with"], row["points"],
         *((row[name], row["currency"]) for name in ("gross", "fee", "net")), False, entries[row["of"]]["at"])
        for row in rows
    ]  # fmt: skip
    named = {(row["of"], each["entry"]) for row, each in zip(rows, nodes, strict=True)}
    assert len(named) == len({of for of, _ in named}) == len({entry for _, entry in named})
    names = ("payable", "receivable", "fees", "net")
    assert [tuple(money(each[name]) for name in names) for each in shown["totals"]] == [
        tuple((row[name], row["currency"]) for name in names) for row in totals_of(statement)
    ]


# ---------------------------------------------------------------- files


def known(told: Lived, statement: str) -> Iterator[tuple[Row, str, str]]:
    """Yield the page's lines, each with the entry and the time that chance gave it."""
    for row, node in zip(lines_of(statement), told.statement(statement)["lines"]["nodes"], strict=True):
        yield row, node["entry"], node["at"]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_csv(told: Lived, folder: Path, statement: str) -> None:
    """Every cell of every row."""
    header, *rows = csv.reader(io.StringIO((folder / f"{statement}.csv").read_text(), newline=""))
    columns = "statement hash period line entry at kind benefit counterparty points gross fee net currency late"
    assert header == columns.split()
    digest = told.statement(statement)["hash"]
    assert [[*row[:4], row[4].removeprefix("'"), *row[5:]] for row in rows] == [
        [statement, digest, statement[0], row["line"], entry, at, row["kind"], row["benefit"], row["with"],
         row["points"], row["gross"], row["fee"], row["net"], row["currency"], "false"]
        for row, entry, at in known(told, statement)
    ]  # fmt: skip


@pytest.mark.parametrize("statement", STATEMENTS)
def test_json(told: Lived, folder: Path, statement: str) -> None:
    """The whole document."""
    number, _, partner = statement.partition(":")
    assert json.loads((folder / f"{statement}.json").read_text()) == {
        "hash": told.statement(statement)["hash"],
        "statement": {
            "header": {
                "format": "benefits-exchange/statement/1", "id": statement, "partner": partner, "period": int(number),
            },
            "lines": [
                {"at": at, "benefit": row["benefit"], "counterparty": row["with"], "currency": row["currency"],
                 "entry": entry, "kind": row["kind"], "late": False, "points": row["points"],
                 **{name: str(minor(row[name])) for name in ("gross", "fee", "net")}}
                for row, entry, at in known(told, statement)
            ],
            "period_root": told.periods[int(number)]["root"],
            "totals": [in_minor_units(row) for row in totals_of(statement)],
        },
    }  # fmt: skip


def in_minor_units(row: Row) -> Row:
    """Return a total as documents have it."""
    names = ("payable", "receivable", "fees", "net")
    return {"currency": row["currency"], **{name: str(minor(row[name])) for name in names}}


def filled(sheet: Any) -> list[list[Any]]:
    """Return the cells of a sheet that are not empty, row by row."""
    rows = [[cell for cell in row if cell is not None] for row in sheet.iter_rows(values_only=True)]
    return [row for row in rows if row]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_workbook(told: Lived, folder: Path, statement: str) -> None:
    """Every cell of both sheets; a formula has the page's figure as its value, and comes to it when calculated."""
    path = folder / f"{statement}.xlsx"
    book, values = load_workbook(path), load_workbook(path, data_only=True)
    assert values.sheetnames == ["Statement", "Lines"]
    _, *rows = filled(values["Lines"])
    assert rows == [
        [int(row["line"]), entry, moment(at), row["kind"], row["benefit"], row["with"], int(row["points"]),
         *(float(row[name]) for name in ("gross", "fee", "net")), row["currency"], False]
        for row, entry, at in known(told, statement)
    ]  # fmt: skip
    title, partner, digest, period, since, until, _, *others = filled(values["Statement"])
    assert [title, partner, digest, period] == [
        [f"Statement {statement}"], ["partner", statement[2:]], ["hash", told.statement(statement)["hash"]],
        ["period", int(statement[0])],
    ]  # fmt: skip
    assert ([since[0], until[0]], since[1] <= moment(max(at for *_, at in known(told, statement))) <= until[1]) == (
        ["from (UTC)", "to (UTC)"], True,
    )  # fmt: skip
    totals = totals_of(statement)
    sums = summed(statement)
    assert others[: len(totals)] == [
        [row["currency"], float(Fraction(row["receivable"]) - Fraction(row["payable"])),
         *(float(row[name]) for name in ("fees", "net", "payable", "receivable", "fees", "net")), 0]
        for row in totals
    ]  # fmt: skip
    assert others[len(totals) + 2 :] == [
        [*heading, *figures[:2], *(float(whole(each, heading[0])) for each in figures[2:])]
        for heading, figures in sums.items()
    ]
    formulas = 0
    for row in book["Statement"].iter_rows():
        for cell in row:
            if isinstance(cell.value, str) and cell.value.startswith("=") and cell.column_letter != "I":
                assert float(calculated(book, cell.value)) == values["Statement"][cell.coordinate].value
                formulas += 1
    assert formulas == 3 * len(totals) + 5 * len(sums)


def moment(at: str) -> datetime:
    """Return a time as a workbook has it: in UTC, without saying so."""
    return datetime.fromisoformat(at).replace(tzinfo=None)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_pdf(told: Lived, folder: Path, statement: str) -> None:
    """Every word and figure of the letter, in their order; its times and dates left out."""
    number, _, partner = statement.partition(":")
    digest, name = told.statement(statement)["hash"], NAMES[partner]
    pages = [" ".join(page.extract_text().split()) for page in PdfReader(folder / f"{statement}.pdf").pages]
    columns = "At (UTC) For Counterparty Points Gross Fee Net"
    text = ""
    for count, page in enumerate(pages, 1):
        foot = f"Statement {statement}, period {number} Hash {digest} Page {count} of {len(pages)}"
        assert page.startswith(foot)
        text += page.removeprefix(foot).removeprefix(f" {columns}" if count > 1 else "")
    text = re.sub(r"\d+/\d+/\d+, \d+:\d+ [AP]M", "…", text)
    text = re.sub(r"Date [A-Z][a-z]+ \d+, \d+ ", "Date … ", text)

    totals = totals_of(statement)
    said = [f"Exchange AG {name} Statement {statement} Number of the statement and invoice {statement}"]
    said += [f"Partner {partner} Period {number}: … to … (UTC) Date … Status approved Hash {digest}"]
    for row in totals:
        side = "by" if row["net"].startswith("-") else "to"
        sign = {"EUR": "€", "JPY": "¥"}[row["currency"]]
        said += [f"To be paid {side} {name}: {sign}{grouped(row['net'].lstrip('-'))}"]
    for handle, paid in ((partner, [row for row in totals if row["net"][0] != "-"]),
                         ("exchange", [row for row in totals if row["net"][0] == "-"])):  # fmt: skip
        if paid:
            iban = " ".join(re.findall(".{1,4}", IBANS[handle]))
            said += [f"Account of {NAMES[handle]}: IBAN {iban}"]
    said += ["What it comes to Currency Receivable Payable Fees Net"]
    said += [
        " ".join([row["currency"], *(grouped(row[each]) for each in ("receivable", "payable", "fees", "net"))])
        for row in totals
    ]
    said += ["Net = receivable - payable - fees. The fees are what the exchange charges."]
    for row in totals:
        said += [f"Net by counterparty, {row['currency']}", *bars(statement, row["currency"])]
    said += ["By kind and counterparty Currency Kind Counterparty Lines Points Gross Fees Net"]
    for (code, kind, other), (count, points, *amounts) in summed(statement).items():
        figures = " ".join(grouped(whole(each, code)) for each in amounts)
        said += [f"{code} {kind.lower()} {other} {count} {points:,} {figures}"]
    said += [f"Lines {columns}"]
    for row in lines_of(statement):
        figures = " ".join(grouped(row[each]) for each in ("points", "gross", "fee", "net"))
        said += [
            f"{row['line']} … {row['kind'].lower()} {row['benefit']} {row['with']} {figures} {row['currency']}",
        ]  # fmt: skip
    assert text.strip() == " ".join(said)


def grouped(amount: str) -> str:
    """Return an amount with a comma after its thousands."""
    before, point, after = amount.partition(".")
    sign = "-" if before.startswith("-") else ""
    return f"{sign}{int(before.lstrip('-')):,}{point}{after}"


def bars(statement: str, code: str) -> list[str]:
    """Return the words of a chart: the net with each counterparty, the longest bar drawn last."""
    nets: Counter[str] = Counter()
    for (currency_, _, other), figures in summed(statement).items():
        if currency_ == code:
            nets[other] += figures[-1]
    return [f"{other} {grouped(whole(net, code))}" for other, net in sorted(nets.items(), key=lambda bar: abs(bar[1]))]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_plain_text_accounting(told: Lived, folder: Path, statement: str) -> None:
    """`bean-check` accepts it; every posting of every transaction, and what the accounts must hold at the end."""
    path = folder / f"{statement}.ledger"
    assert bean_check(path) == (0, "")
    directives, _, _ = loader.load_file(str(path))
    transactions = sorted(
        (each for each in directives if isinstance(each, Transaction)), key=lambda one: one.meta["line"]
    )
    net, fees = "Assets:Receivable:Exchange", "Expenses:Fees:Exchange"
    assert [
        (each.payee, each.narration, each.meta["entry"], each.meta["at"], str(each.meta["points"]),
         [(posting.account, str(posting.units)) for posting in each.postings])
        for each in transactions
    ] == [
        (row["with"], f"{row['kind']} {row['benefit']}", entry, at, row["points"], [
            (account(statement, row), f"{whole(-minor(row['gross']), row['currency'])} {row['currency']}"),
            *([(fees, f"{row['fee']} {row['currency']}")] if minor(row["fee"]) else []),
            (net, f"{row['net']} {row['currency']}"),
        ])
        for row, entry, at in known(told, statement)
    ]  # fmt: skip
    has_fees = any(minor(row["fee"]) for row in lines_of(statement))
    held = sorted((each.account, str(each.amount)) for each in directives if isinstance(each, Balance))
    assert held == sorted(
        (kept, f"{row[name]} {row['currency']}")
        for row in totals_of(statement)
        for kept, name in ((net, "net"), (fees, "fees")) if kept == net or has_fees
    )  # fmt: skip
    (custom,) = (each for each in directives if isinstance(each, Custom))
    digest = told.statement(statement)["hash"]
    assert [each.value for each in custom.values] == [statement, digest, int(statement[0])]


def account(statement: str, row: Row) -> str:
    """Return where a line belongs: income of whoever provided or brought it, expense of the others, also backwards."""
    partner, provider = statement.partition(":")[2], row["benefit"].partition("/")[0]
    if row["kind"] == "ADJUSTMENT":
        earns, what = not row["gross"].startswith("-"), "Adjustments"
    elif row["kind"] == "COMMISSION":
        earns, what = partner != provider, "Commissions"
    else:
        earns, what = partner == provider, "Redemptions"
    return f"{'Income' if earns else 'Expenses'}:Exchange:{what}:{row['with'].capitalize()}"


@pytest.mark.parametrize("statement", STATEMENTS)
def test_bundle(told: Lived, folder: Path, statement: str) -> None:
    """`exchange verify` finds it sound; its first line has the totals, its parts the lines."""
    path = folder / f"{statement}.bundle"
    verdict = tell("verify", path, "--keys", folder / "jwks.json")
    assert (verdict["sound"], verdict["signature"]) == (True, "checked")
    first, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    shown = told.statement(statement)
    assert (first["partner"], first["period"], first["hash"]) == (statement[2:], int(statement[0]), shown["hash"])
    assert (first["lines"], first["totals"]) == (
        len(lines_of(statement)), [in_minor_units(row) for row in totals_of(statement)],
    )  # fmt: skip
    assert [
        [*line, row["entry"], row["part"]["at"], row["part"]["benefit"]]
        for row in rows if "part" in row for line in row["part"]["lines"]
    ] == [
        [row["kind"], row["with"], row["points"], str(minor(row["gross"])), str(minor(row["fee"])), row["currency"],
         entry, at, row["benefit"]]
        for row, entry, at in known(told, statement)
    ]  # fmt: skip


def whole_sum(amounts: list[str]) -> str:
    """Add up amounts of any currencies, as ISO 20022 wants its control sum."""
    cents = sum(Fraction(amount) * 100 for amount in amounts)
    return whole(int(cents), "EUR") if any("." in amount for amount in amounts) else str(cents // 100)


# ---------------------------------------------------------------- netting


@pytest.fixture(scope="module")
def alone(told: Lived) -> dict[tuple[int, str], Any]:
    """Net each period for itself, before anything is recorded that could be carried to it."""
    return {
        (number, plan): tell("netting", str(number), "--plan", plan, *told.at)
        for number in PERIODS for plan in ("exchange", "contracted")
    }  # fmt: skip


@pytest.fixture(scope="module")
def netted(alone: dict[tuple[int, str], Any], told: Lived, folder: Path) -> dict[int, Any]:
    """Record the periods' nettings one after the other, each with what the one before carries."""
    assert alone
    shown: dict[int, Any] = {}
    for number in NETTINGS:
        minimums = MINIMUMS if number in CARRYING else ()
        out = ("--record", "--out", folder / f"netting-{number}.jsonl")
        shown[number] = tell("netting", str(number), "--plan", "fewest", *minimums, *out, *told.at)
    return shown


@dataclass
class Paying:
    """How the exchange pays once nettings are recorded and statements instructed: plans, and what each is due."""

    plans: dict[int, list[tuple[str, str, str, str]]] = field(default_factory=dict)
    due: dict[str, list[tuple[str, str, str, str]]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def paying(netted: dict[int, Any], told: Lived, folder: Path) -> Paying:
    """Instruct every statement, after the nettings."""
    assert netted
    found = Paying()
    asyncio.run(_instruct(Settings(mongo_url=told.at[1], issuer=DEFAULT_ISSUER, data=folder / "data"), found))
    return found


async def _instruct(settings: Settings, paying: Paying) -> None:
    def told_of(some: Iterable[Payment]) -> list[tuple[str, str, str, str]]:
        return sorted((each.from_, each.to, whole(*each.amount), each.amount.currency) for each in some)

    async with open_services(settings, ledger=False) as services:
        for number in NETTINGS:
            paying.plans[number] = told_of(await services.settlement.payment_plan(number))
            for statement in await services.settlement.statements(number, limit=100):
                asked = Asked(
                    step=SignOffStep.INSTRUCT, statement=statement.id, hash=statement.hash, actor="ada",
                    key=statement.id, fingerprint="",
                )  # fmt: skip
                paying.due[statement.id] = told_of((await services.sign_off.sign(asked)).statement.due)


@pytest.mark.parametrize("number", NETTINGS)
def test_the_plan_of_a_period_is_its_netting_s(paying: Paying, number: int) -> None:
    """Once that is recorded, and nothing else is paid."""
    assert paying.plans[number] == sorted(payments(number, "fewest"))


def test_each_statement_is_due_what_the_page_says(paying: Paying, told: Lived) -> None:
    """By its net, what is carried and what is in kind, and by its payments; and the bank is to book the exchange's."""
    rows = table("What is due of each statement")
    for row in rows:
        assert figure(row["of its net"]) == figure(row["its payments"])
    says = {(row["statement"], row["currency"]): minor(row["its payments"]) for row in rows}
    assert {key: total for key, total in says.items() if total} == {
        (statement, code): total
        for statement, due in paying.due.items() for code, total in _signed(statement[2:], due).items()
    }  # fmt: skip
    assert sorted(
        (each["reference"], each["amount"]["amount"]) for each in tell("reconcile", "due", *told.at)["due"]
    ) == sorted((f"{row['statement']}:{row['currency']}", row["at the bank"]) for row in rows if row["at the bank"])


def _signed(partner: str, due: list[tuple[str, str, str, str]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for _, to, amount, code in due:
        sums[code] += minor(amount) if to == partner else -minor(amount)
    return sums


@pytest.mark.parametrize("statement", STATEMENTS)
def test_payment_files(paying: Paying, told: Lived, folder: Path, statement: str) -> None:
    """One for each side that pays, valid by its schema: every element, so every amount and all control sums."""
    assert paying.due
    number, _, partner = statement.partition(":")
    digest = told.statement(statement)["hash"]
    own = {"exchange", partner}
    paid = [each for each in by_currency(int(number)) if each[0] in own and partner in each[:2]]
    for payer in sorted(own):
        payments_ = [each for each in paid if each[0] == payer]
        path = folder / f"{statement} {payer}.xml"
        command = ("statement", "export", statement, "--format", "pain001", "--payer", payer, "--pay-on", PAY_ON)
        if not payments_:
            others = sorted({each[0] for each in by_currency(int(number)) if partner in each[:2]})
            says = f"nothing is left to be paid by it: what is left, {' or '.join(others)} has to pay, in a file"
            says = f"--payer: {payer} has nothing to pay: it is {paid[0][0]} that has" if paid else says
            said = run(*command, "--out", path, *told.at)
            assert (said.status, said.complaint[: len(says)]) == (1, says)
            continue
        tell(*command, "--out", path, *told.at)
        document = etree.parse(str(path))
        SCHEMA.assertValid(document)
        texts = [
            (etree.QName(each).localname, each.text) for each in document.iter() if each.text and each.text.strip()
        ]  # fmt: skip
        message = dict(texts)["MsgId"]
        expected = [("MsgId", message), ("CreDtTm", dict(texts)["CreDtTm"]), *added_up(payments_), ("Nm", NAMES[payer])]
        for code in sorted({each[3] for each in payments_}):
            inside = [each for each in payments_ if each[3] == code]
            expected += [("PmtInfId", f"{message}-{code}"), ("PmtMtd", "TRF"), *added_up(inside)]
            expected += [("Cd", "SEPA")] if code == "EUR" else []
            expected += [("Dt", PAY_ON), ("Nm", NAMES[payer]), ("IBAN", IBANS[payer]), ("Id", "NOTPROVIDED")]
            expected += [("ChrgBr", "SLEV" if code == "EUR" else "SHAR")]
            for _, payee, amount, _ in inside:
                named = (
                    f"{number}:{partner}:{code}" if "exchange" in (payer, payee) else f"{number}:{payer}:{payee}:{code}"
                )
                expected += [("EndToEndId", named), ("InstdAmt", amount), ("Nm", NAMES[payee]), ("IBAN", IBANS[payee])]
                expected += [("Ustrd", f"Statement {statement} period {number} {digest}")]
        assert texts == expected
        assert [each.get("Ccy") for each in document.iter("{*}InstdAmt")] == [code for *_, code in payments_]


def by_currency(number: int) -> list[tuple[str, str, str, str]]:
    """Return what the netting of a period pays by the page, in the order of files."""
    return sorted(payments(number, "fewest"), key=lambda each: (each[3], *each[:2]))


def added_up(paid: list[tuple[str, str, str, str]]) -> list[tuple[str, str]]:
    """Return how a file counts payments and adds them up."""
    return [("NbOfTxs", str(len(paid))), ("CtrlSum", whole_sum([amount for _, _, amount, _ in paid]))]


def moves(shown: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return sorted((each["from"], each["to"], *money(each["amount"])) for each in shown)


@pytest.mark.parametrize("number", NETTINGS)
def test_netting_goes_on_from_period_to_period(netted: dict[int, Any], number: int) -> None:
    """Positions with their openings, what has to move, what is paid and what is carried."""
    shown = netted[number]
    names = ("opening", "payable", "receivable", "fees", "net")
    assert [
        (each["partner"], each["net"]["currency"], *(each[name]["amount"] for name in names))
        for each in shown["positions"]
    ] == [(row["partner"], row["currency"], *(row[name] for name in names)) for row in settled(number)]
    assert [(each["partner"], money(each["net"])) for each in shown["nets"]] == [
        (row["partner"], (row["net"], row["currency"])) for row in settled(number)
    ]
    assert [
        (each["gross"]["currency"], *(each[name]["amount"] for name in ("gross", "bilateral", "multilateral")),
         each["efficiency_basis_points"])
        for each in shown["savings"]
    ] == [
        (row["currency"], *(figure(row[name]) for name in ("gross", "bilateral", "multilateral")),
         minor(row["saved, in %"]))
        for row in to_move(number)
    ]  # fmt: skip
    assert moves(shown["payments"]) == sorted(payments(number, "fewest"))
    assert moves(shown["carried"]) == sorted(payments(number, "fewest", "carried"))


def settled(number: int) -> list[Row]:
    """Return the page's positions of a period with what was carried to it, as they are settled."""
    _, nets, _ = tables(f"Payments of period {number}")
    own = {(row["partner"], row["currency"]): row for row in in_money(number)}
    rows = []
    for row in nets:
        nothing = whole(0, row["currency"])
        position = own.get((row["partner"], row["currency"]), {})
        assert figure(row["of the period"]) == figure(position.get("net", nothing))
        names = ("payable", "receivable", "fees")
        rows.append({
            "partner": row["partner"], "currency": row["currency"], "opening": figure(row["opening"]),
            **{name: figure(position.get(name, nothing)) for name in names}, "net": figure(row["to be settled"]),
        })  # fmt: skip
    return rows


def in_money(number: int) -> list[Row]:
    """Return the page's positions of a period, less what is settled in kind."""
    if number == BARTERED:
        _, rows = tables(f"The barter in period {number}")
        return rows
    return table(f"Positions of period {number}") if number in PERIODS else []


def to_move(number: int) -> list[Row]:
    """Return the page's table of what has to move."""
    *_, rows = tables(f"Payments of period {number}")
    return rows


@pytest.mark.parametrize("number", PERIODS)
@pytest.mark.parametrize("plan", ["exchange", "contracted"])
def test_the_other_plans_pay_what_the_page_says(alone: dict[tuple[int, str], Any], number: int, plan: str) -> None:
    """Of the period alone, with nothing carried."""
    shown = alone[number, plan]
    assert moves(shown["payments"]) == sorted(payments(number, plan))
    assert shown["carried"] == []


def test_the_survivors_of_a_default(told: Lived) -> None:
    """What changes for whom when air does not pay, and for nobody else."""
    shown = tell("netting", "1", "--without", "air", *told.at)["survivors"]
    names = ("before", "after", "difference")
    assert sorted((each["partner"], *(money(each[name]) for name in names)) for each in shown) == sorted(
        (row["partner"], *((figure(row[name]), row["currency"]) for name in names))
        for row in table("If air did not pay in period 1")
    )


@pytest.mark.parametrize("number", NETTINGS)
def test_netting_certificates(netted: dict[int, Any], told: Lived, folder: Path, number: int) -> None:
    """Each is written again byte for byte, `exchange verify` finds it sound, and every row of it is the page's."""
    path, again = folder / f"netting-{number}.jsonl", folder / f"netting-{number}-again.jsonl"
    shown = tell("netting", "show", str(number), "--out", again, *told.at)
    assert (again.read_bytes(), shown["payments"]) == (path.read_bytes(), netted[number]["payments"])
    verdict = tell("verify", path, "--keys", folder / "jwks.json")
    assert (verdict["sound"], verdict["signature"]) == (True, "checked")
    first, *rows, _ = [json.loads(line) for line in path.read_text().splitlines()]
    assert (first["period"], first["root"]) == (number, told.periods[number]["root"])
    assert first["minimums"] == ({"EUR": "20", "JPY": "20"} if number in CARRYING else {})
    terms = [each[:6] for each in first.get("barter", {}).get("terms", ())]
    assert terms == ([[told.barter, "shop", "rides", "EUR", *bartered("quota")]] if number >= BARTERED else [])
    carried = payments(number - 1, "fewest", "carried") if number > 1 else []
    expected = [{"opening": each} for each in in_order(carried)]
    in_kind, used = bartered("in kind"), bartered("used")
    expected += [{"balance": [told.barter, *used]}] if number > BARTERED else []
    expected += [{"owed": each} for each in owed(told, number)]
    if number >= BARTERED:
        was = [*in_kind, *used, "none"] if number == BARTERED else ["0", "0", *used, "-100"]
        expected += [{"bartered": [told.barter, *was]}]
    names = ("opening", "payable", "receivable", "fees", "net")
    expected += [
        {"position": [row["partner"], row["currency"], *(str(minor(row[name])) for name in names)]}
        for row in settled(number)
    ]
    moved = ("gross", "bilateral", "multilateral")
    expected += [{"totals": [row["currency"], *(str(minor(row[name])) for name in moved)]} for row in to_move(number)]
    expected += [{"payment": each} for each in in_order(payments(number, "fewest"))]
    expected += [{"carried": each} for each in in_order(payments(number, "fewest", "carried"))]
    assert rows == expected


def bartered(column: str) -> list[str]:
    """Return a column of the page's barter, in minor units: what is shop's, and what is rides'."""
    rows, _ = tables(f"The barter in period {BARTERED}")
    return [str(minor(row[column])) for row in rows]


def test_the_barter_is_settled_in_kind_and_its_difference_owed(netted: dict[int, Any], told: Lived) -> None:
    """What of both sides is in kind, used and left; when it has ended rides owes what it has used more than shop."""
    rows, _ = tables(f"The barter in period {BARTERED}")
    for number in NETTINGS:
        shown = netted[number]["barters"]
        if number < BARTERED:
            assert shown == []
            continue
        (one,) = shown
        assert (one["barter"], money(one["balance"])) == (told.barter, ("-1.00", "EUR"))
        names = ("quota", "in_kind", "used", "left")
        assert [
            (each["issuer"], each["provider"], *(each[name]["amount"] for name in names)) for each in one["sides"]
        ] == [
            (
                row["points of"],
                row["at"],
                row["quota"],
                row["in kind"] if number == BARTERED else "0.00",
                row["used"],
                "0.00",
            )
            for row in rows
        ]
        (owed_,) = payments(4, "fewest")
        assert (one["ended"], one["due"] and moves([one["due"]])) == (
            (False, None) if number == BARTERED else (True, [owed_])
        )
    shown = tell("barter", "show", told.barter, *told.at)
    assert (shown["stage"], shown["balance"]) == ("ENDED", None)
    assert [each["version"] for each in shown["versions"]] == [2, 1]


def in_order(paid: list[tuple[str, str, str, str]]) -> list[list[str]]:
    """Return payments as certificates have them."""
    return sorted([code, payer, payee, str(minor(amount))] for payer, payee, amount, code in paid)


def owed(told: Lived, number: int) -> list[list[str]]:
    """Add up the page's rows of a period by issuer, provider, channel and currency."""
    if number not in PERIODS:
        assert told.periods[number]["positions"] == []
        return []
    happened = {row["of"] for partner in PARTNERS for row in lines_of(f"{number}:{partner}")}
    sums: dict[tuple[str, ...], list[int]] = {}
    for sign, heading in ((1, "What each redemption costs"), (-1, "What goes back")):
        for row in table(heading):
            if row["redemption"] in happened and row["owed"]:
                key = (row["points of"], row["at"], row["in the app of"], currency(row["owed"]))
                figures = [sign * minor(row[name]) for name in ("points", "owed", "fee", "commission")]
                before = sums.setdefault(key, [0] * 5)
                sums[key] = [one + other for one, other in zip(before, [*figures, 1], strict=True)]
    if "D" in happened:
        sums["rides", "shop", "shop", "EUR"] = [0, 83, 0, 0, 1]
    return sorted([*key, *map(str, figures)] for key, figures in sums.items())


# ---------------------------------------------------------------- points


@pytest.mark.parametrize("number", PERIODS)
def test_the_liability_in_points(told: Lived, number: int) -> None:
    """The roll-forward of every issuer, and its vintages add up to it."""
    names = ("opening", "awarded", "redeemed", "expired", "adjusted", "closing")
    shown = tell("liability", "--period", str(number), *told.at)["liabilities"]
    assert [(each["issuer"], *(str(each["total"][name]) for name in names)) for each in shown] == [
        (row["issuer"], *(figure(row[name]) for name in names))
        for row in table("What is owed in points") if row["period"] == str(number)
    ]  # fmt: skip
    for each in shown:
        for name in names:
            assert sum(row[name] for row in each["vintages"]) == each["total"][name]


def test_the_books_are_in_order(told: Lived) -> None:
    """`exchange check` proves every invariant of what was lived."""
    assert run("check", *told.at).status == 0
