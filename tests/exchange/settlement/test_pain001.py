from __future__ import annotations

from datetime import date
from importlib.resources import files
from typing import Any

import pytest
from lxml import etree
from msgspec.structs import replace

from exchange.amounts import Money
from exchange.errors import InvalidSignOff, ValidationFailed
from exchange.particulars import Particulars
from exchange.settlement.export.pain001 import NAMESPACE, end_to_end_id, write
from exchange.settlement.signoff import left_to_pay
from exchange.settlement.statement import Standing, StatementStatus
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import PARTIES, Written, closed, file_of, line, of

SCHEMA = etree.XMLSchema(etree.parse(str(files("sepaxml") / "schemas" / "pain.001.001.09.xsd")))
NAMES = {"p": NAMESPACE}
HASH = "0123456789abcdef" * 4


def standing(written: Written, status: StatementStatus, *paid: Money, **changes: Any) -> Written:
    """Return the statement when it has come so far; `changes`: to what is asked for."""
    statement = replace(written.subject.statement, standing=Standing(status=status, paid=paid))
    return Written(replace(written.subject, statement=statement, **changes), written.lines)


def instructed(*nets: tuple[int, str], **changes: Any) -> Written:
    """Return a statement of rides with these nets, instructed."""
    written = of(*(line(gross=minor, currency=currency) for minor, currency in nets))
    statement = replace(written.subject.statement, hash=HASH)
    return standing(Written(replace(written.subject, statement=statement), []), StatementStatus.INSTRUCTED, **changes)


async def told(written: Written) -> etree._Element:
    """Return the file, which another program has held to the schema of ISO 20022."""
    document = etree.fromstring(await file_of(write, written))
    SCHEMA.assertValid(document)
    return document


def found(document: etree._Element, path: str) -> list[str]:
    return [str(each.text) for each in document.findall("/".join(f"p:{name}" for name in path.split("/")), NAMES)]


def transfers(document: etree._Element) -> list[str]:
    """Return each payment: who pays whom, from which account to which, and what."""
    said = []
    for group in document.findall(".//p:PmtInf", NAMES):
        (amount,) = group.findall("p:CdtTrfTxInf/p:Amt/p:InstdAmt", NAMES)
        parts = [found(group, path)[0] for path in (
            "Dbtr/Nm", "DbtrAcct/Id/IBAN", "CdtTrfTxInf/Cdtr/Nm", "CdtTrfTxInf/CdtrAcct/Id/IBAN",
        )]  # fmt: skip
        said.append(" | ".join([*parts, f"{amount.text} {amount.get('Ccy')}"]))
    return said


async def test_a_real_statement_is_two_files_one_for_each_payer(example: World) -> None:
    """The exchange pays 8.84 EUR to rides, and rides 15 JPY to the exchange: what the statement nets to, no more."""
    rides = standing(await closed(example), StatementStatus.INSTRUCTED)
    with pytest.raises(ValidationFailed, match="exchange and rides both pay: say whose file it is to be"):
        await told(rides)
    ours = await told(standing(rides, StatementStatus.INSTRUCTED, payer="exchange"))
    theirs = await told(standing(rides, StatementStatus.INSTRUCTED, payer="rides"))
    assert transfers(ours) == [
        "Exchange AG | DE89370400440532013000 | Komet Rides Sàrl | CH9300762011623852957 | 8.84 EUR"
    ]
    assert transfers(theirs) == [
        "Komet Rides Sàrl | CH9300762011623852957 | Exchange AG | DE89370400440532013000 | 15 JPY"
    ]
    statement = rides.subject.statement
    for document, payment in zip((ours, theirs), statement.due, strict=True):
        currency = payment.amount.currency
        root = "CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf"
        assert found(document, f"{root}/RmtInf/Ustrd") == [f"Statement 1:rides period 1 {statement.hash}"]
        assert found(document, f"{root}/PmtId/EndToEndId") == [end_to_end_id(statement, payment)]
        assert found(document, f"{root}/PmtId/EndToEndId") == [f"1:{statement.partner}:{currency}"]


async def test_several_currencies_are_payments_of_their_own() -> None:
    """Each with its digits; the header counts them and adds them up, whatever the currency, as ISO 20022 has it."""
    document = await told(instructed((-1050, "EUR"), (-7, "JPY"), (-1, "KWD")))
    assert [each.rpartition(" | ")[2] for each in transfers(document)] == ["10.50 EUR", "7 JPY", "0.001 KWD"]
    assert found(document, "CstmrCdtTrfInitn/GrpHdr/NbOfTxs") == ["3"]
    assert found(document, "CstmrCdtTrfInitn/GrpHdr/CtrlSum") == ["17.501"]
    assert found(document, "CstmrCdtTrfInitn/GrpHdr/InitgPty/Nm") == ["Komet Rides Sàrl"]
    assert found(document, "CstmrCdtTrfInitn/PmtInf/ChrgBr") == ["SLEV", "SHAR", "SHAR"]
    assert found(document, "CstmrCdtTrfInitn/PmtInf/PmtTpInf/SvcLvl/Cd") == ["SEPA"]
    for path in ("CstmrCdtTrfInitn/PmtInf/PmtInfId", "CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf/PmtId/EndToEndId"):
        assert len(set(found(document, path))) == 3


async def test_what_was_paid_is_not_paid_again() -> None:
    """Only what is left is in the file; when nothing is, there is none."""
    statement = instructed((1000, "EUR"), (30, "JPY"))
    rest = standing(statement, StatementStatus.INSTRUCTED, Money(400, "EUR"), Money(30, "JPY"))
    assert [each.rpartition(" | ")[2] for each in transfers(await told(rest))] == ["6.00 EUR"]
    done = standing(statement, StatementStatus.INSTRUCTED, Money(1000, "EUR"), Money(30, "JPY"))
    assert all(left.minor == 0 for left in left_to_pay(done.subject.statement))
    with pytest.raises(ValidationFailed, match="nothing is left to be paid"):
        await told(done)


@pytest.mark.parametrize("status", sorted(set(StatementStatus) - {StatementStatus.INSTRUCTED}))
async def test_what_nobody_instructed_is_not_paid(status: StatementStatus) -> None:
    """There is no payment file of a draft, of what a netting can still change, nor of what is paid."""
    with pytest.raises(InvalidSignOff, match=f"is instructed; this one is {status.lower()}"):
        await told(standing(instructed((1000, "EUR")), status))


async def test_a_bank_knows_a_file_that_was_sent_twice() -> None:
    """The same payments have the same message id, whenever they are written; others have another."""
    path = "CstmrCdtTrfInitn/GrpHdr/MsgId"
    statement = instructed((1000, "EUR"))
    first = found(await told(statement), path)
    later = standing(statement, StatementStatus.INSTRUCTED, pay_on=date(2026, 3, 9))
    rest = standing(statement, StatementStatus.INSTRUCTED, Money(1, "EUR"))
    assert found(await told(later), path) == first
    assert found(await told(rest), path) != first
    assert found(await told(instructed((-1000, "EUR"))), path) != first


async def test_the_day_is_the_one_asked_for() -> None:
    """Or that of the file."""
    path = "CstmrCdtTrfInitn/PmtInf/ReqdExctnDt/Dt"
    assert found(await told(instructed((1, "EUR"), pay_on=date(2026, 3, 9))), path) == ["2026-03-09"]
    assert found(await told(instructed((1, "EUR"))), path) == ["2026-03-01"]


async def test_banks_are_named_where_they_are_known() -> None:
    """The payer's is always there, if only to say that it was not given."""
    group = "CstmrCdtTrfInitn/PmtInf"
    ours, theirs = await told(instructed((1, "EUR"))), await told(instructed((-1, "EUR")))
    assert found(ours, f"{group}/DbtrAgt/FinInstnId/Othr/Id") == ["NOTPROVIDED"]
    assert found(ours, f"{group}/CdtTrfTxInf/CdtrAgt/FinInstnId/BICFI") == ["UBSWCHZH80A"]
    assert found(theirs, f"{group}/DbtrAgt/FinInstnId/BICFI") == ["UBSWCHZH80A"]
    assert found(theirs, f"{group}/CdtTrfTxInf/CdtrAgt/FinInstnId/BICFI") == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"partner": Particulars(name="Rides")},
            "rides has no account: give one with `exchange partner particulars rides",
        ),
        ({"operator": Particulars(name="X")}, "exchange has no account"),
        ({"payer": "rides"}, "rides has nothing to pay: it is exchange that has"),
        ({"payer": "nobody"}, "nobody has nothing to pay"),
    ],
)
async def test_what_is_missing_is_said(changes: dict[str, Any], complaint: str) -> None:
    """Before anything is written."""
    with pytest.raises(ValidationFailed) as refused:
        await told(instructed((1000, "EUR"), **changes))
    assert refused.value.message.startswith(complaint)


async def test_names_are_escaped() -> None:
    """Whatever a firm is called, and in whichever script, the file is valid and says it."""
    name = 'A&B <"Ночь"> 出行'
    document = await told(instructed((1, "EUR"), partner=replace(PARTIES["partner"], name=name)))
    assert found(document, "CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf/Cdtr/Nm") == [name]
