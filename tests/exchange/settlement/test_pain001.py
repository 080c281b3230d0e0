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
from exchange.settlement.netting import Payment
from exchange.settlement.reconciliation import between_partners, payment_reference
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


# ---------------------------------------------------------------- between partners

VIDEO = Particulars(name="Video SE", iban="AT611904300234573201", bic="GIBAATWWXXX")


def netted(*due: tuple[str, str, int, str], paid: tuple[Money, ...] = (), **changes: Any) -> Written:
    """Return a statement of rides that was instructed by these payments of a netting."""
    others = {"video": VIDEO, "delivery": replace(VIDEO, name="Delivery")}
    written = instructed((1, "EUR"), **{"payees": others, **changes})
    payments = tuple(Payment(from_=one, to=other, amount=Money(minor, code)) for one, other, minor, code in due)
    standing = Standing(status=StatementStatus.INSTRUCTED, due=payments, paid=paid)
    statement = replace(written.subject.statement, standing=standing)
    return Written(replace(written.subject, statement=statement), [])


async def test_a_partner_pays_others_each_by_itself() -> None:
    """One transfer for each payee and currency, to its own account, under an end-to-end id that no other has."""
    document = await told(netted(
        ("rides", "delivery", 300, "EUR"), ("rides", "exchange", 14, "EUR"), ("rides", "video", 200, "EUR"),
        ("rides", "video", 15, "JPY"), ("news", "rides", 900, "EUR"),
    ))  # fmt: skip
    header, group = "CstmrCdtTrfInitn/GrpHdr", "CstmrCdtTrfInitn/PmtInf"
    assert [found(document, f"{header}/{name}") for name in ("NbOfTxs", "CtrlSum")] == [["4"], ["20.14"]]
    assert [found(document, f"{group}/{name}") for name in ("NbOfTxs", "CtrlSum")] == [["3", "1"], ["5.14", "15"]]
    assert len(set(found(document, f"{group}/PmtInfId"))) == 2
    transfer = f"{group}/CdtTrfTxInf"
    assert found(document, f"{transfer}/Amt/InstdAmt") == ["3.00", "0.14", "2.00", "15"]
    assert found(document, f"{transfer}/Cdtr/Nm") == ["Delivery", "Exchange AG", "Video SE", "Video SE"]
    assert found(document, f"{transfer}/CdtrAcct/Id/IBAN") == [
        VIDEO.iban, "DE89370400440532013000", VIDEO.iban, VIDEO.iban
    ]  # fmt: skip
    assert found(document, f"{transfer}/PmtId/EndToEndId") == [
        "7:rides:delivery:EUR", "7:rides:EUR", "7:rides:video:EUR", "7:rides:video:JPY",
    ]  # fmt: skip


async def test_what_others_pay_is_in_their_files() -> None:
    """The exchange's is in this one; and where there is only theirs, it is said whose it is."""
    ours = await told(netted(("exchange", "rides", 5, "EUR"), ("video", "rides", 9, "EUR")))
    assert [each.rpartition(" | ")[2] for each in transfers(ours)] == ["0.05 EUR"]
    with pytest.raises(
        ValidationFailed, match="nothing is left to be paid by it: what is left, news or video has to pay"
    ):
        await told(netted(("news", "rides", 5, "EUR"), ("video", "rides", 9, "EUR")))


async def test_of_several_payments_it_is_not_guessed_which_was_made() -> None:
    """One that is alone in its currency is paid in parts; several are all there, or none is written."""
    several = [("rides", "video", 200, "EUR"), ("rides", "delivery", 300, "EUR"), ("rides", "video", 15, "JPY")]
    part = await told(netted(*several, paid=(Money(500, "EUR"), Money(4, "JPY"))))
    assert [each.rpartition(" | ")[2] for each in transfers(part)] == ["11 JPY"]
    with pytest.raises(ValidationFailed, match=r"3\.00 EUR of 2 payments is left, and nobody wrote down which"):
        await told(netted(*several, paid=(Money(200, "EUR"),)))


async def test_a_payee_needs_an_account() -> None:
    """Of each it is said who has none."""
    with pytest.raises(ValidationFailed, match="news has no account: give one with"):
        await told(netted(("rides", "news", 1, "EUR"), payees={"news": Particulars(name="News")}))


def test_references_between_partners_are_told_apart() -> None:
    """From those through the exchange, by who pays whom, and of long names too; each fits a bank's field."""
    long, other = "a" * 39 + "b", "a" * 39 + "c"
    pairs = [("a-b", "c"), ("a", "b-c"), ("c", "a-b"), (long, other), (other, long), (long, "c")]
    references = {
        between_partners(7, Payment(from_=one, to=two, amount=Money(1, code)))
        for one, two in pairs for code in ("EUR", "JPY")
    }  # fmt: skip
    references |= {payment_reference(7, name, "EUR") for name in ("a-b", "a", "c", long, other)}
    assert (len(references), max(map(len, references))) == (2 * len(pairs) + 5, 22)
