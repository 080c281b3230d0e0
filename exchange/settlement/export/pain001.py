"""The payments of a statement for a bank: ISO 20022 customer credit transfer initiation, pain.001.001.09.

A file is for one payer's bank: the partner's where the statement's net is negative, the operator's where it is
positive. A statement that nets to one side in one currency and to the other in another has two such files, and the
payer has to be named.

What is left to be paid is in it, and only of a statement that was approved: a payment file of a draft would be an
instruction that nobody signed. Written twice, a file has the same message id, by which a bank knows a duplicate; when
something was paid in between, it is another message. The end-to-end id of a payment comes back on the bank's statement
and says for what it was: period, hash and currency.

Euro goes as a SEPA credit transfer (EPC132-08, service level SEPA, charges as that has them), other currencies with
charges shared. An address is left out: of accounts in SEPA none is wanted, and lines that are not split into street,
town and country are refused by more and more banks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from hashlib import sha256
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from exchange.amounts import Money, decimal_from_minor
from exchange.errors import InvalidSignOff, ValidationFailed
from exchange.journal import EXCHANGE, canonical, milliseconds
from exchange.particulars import Particulars
from exchange.settlement.export import Subject
from exchange.settlement.reconciliation import payment_reference
from exchange.settlement.signoff import left_to_pay
from exchange.settlement.statement import Statement, StatementLine, StatementStatus

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
PAYABLE: Final = (StatementStatus.APPROVED, StatementStatus.INSTRUCTED)
_ID_LENGTH: Final = 35
_REMITTANCE_LENGTH: Final = 140


async def write(subject: Subject, _lines: AsyncIterator[StatementLine]) -> AsyncIterator[bytes]:
    """Yield the file. The lines are not asked for: what is paid is what they add up to."""
    statement = subject.statement
    if statement.status not in PAYABLE:
        message = f"a payment file is of a statement that was approved; this one is {statement.status.lower()}"
        raise InvalidSignOff(message, status=statement.status)
    payer, payments = _to_be_paid(subject)
    sides = {statement.partner: subject.partner, EXCHANGE: subject.operator}
    debtor = sides.pop(payer)
    ((payee, creditor),) = sides.items()
    debtor_account, creditor_account = _account(payer, debtor), _account(payee, creditor)
    # From here on the file is written.
    yield _file(subject, payer, (debtor, debtor_account), (creditor, creditor_account), payments)


def end_to_end_id(statement: Statement, currency: str) -> str:
    """Return what a payment of a statement is known by from one end to the other."""
    return payment_reference(statement.period, statement.partner, currency)


def _to_be_paid(subject: Subject) -> tuple[str, list[Money]]:
    """Return who pays, and what is left to be paid by it."""
    statement = subject.statement
    by: dict[str, list[Money]] = {}
    for total, left in zip(statement.totals, left_to_pay(statement.totals, statement.standing.paid), strict=True):
        if left.minor:
            by.setdefault(EXCHANGE if total.net.minor > 0 else statement.partner, []).append(left)
    if not by:
        raise ValidationFailed("nothing is left to be paid")
    if subject.payer is None and len(by) > 1:
        raise ValidationFailed(f"{' and '.join(sorted(by))} both pay: say whose file it is to be", ("input", "payer"))
    payer = subject.payer or next(iter(by))
    if payer not in by:
        raise ValidationFailed(f"{payer} has nothing to pay: it is {' and '.join(by)} that has", ("input", "payer"))
    return payer, by[payer]


def _account(handle: str, party: Particulars) -> str:
    if party.iban is None:
        raise ValidationFailed(f"{handle} has no account: give one with `exchange partner particulars {handle} --iban`")
    return party.iban


def _file(
    subject: Subject, payer: str, debtor: tuple[Particulars, str], creditor: tuple[Particulars, str],
    payments: list[Money],
) -> bytes:  # fmt: skip
    message = _message_id(subject.statement, payer, payments)
    document = Element("Document", xmlns=NAMESPACE)
    initiation = SubElement(document, "CstmrCdtTrfInitn")
    header = SubElement(initiation, "GrpHdr")
    _tell(header, "MsgId", message)
    _tell(header, "CreDtTm", milliseconds(subject.written_at))
    _tell(header, "NbOfTxs", str(len(payments)))
    _tell(header, "CtrlSum", str(sum((Decimal(decimal_from_minor(*each)) for each in payments), Decimal(0))))
    _tell(header, "InitgPty/Nm", debtor[0].name)
    for payment in payments:
        _group(SubElement(initiation, "PmtInf"), subject, message, debtor, creditor, payment)
    indent(document)
    body: bytes = tostring(document, "utf-8", xml_declaration=True)
    return body + b"\n"


def _group(
    group: Element, subject: Subject, message: str, debtor: tuple[Particulars, str],
    creditor: tuple[Particulars, str], payment: Money,
) -> None:  # fmt: skip
    statement, amount = subject.statement, decimal_from_minor(*payment)
    sepa = payment.currency == "EUR"
    _tell(group, "PmtInfId", f"{message[: _ID_LENGTH - 4]}-{payment.currency}")
    _tell(group, "PmtMtd", "TRF")
    _tell(group, "NbOfTxs", "1")
    _tell(group, "CtrlSum", amount)
    if sepa:
        _tell(group, "PmtTpInf/SvcLvl/Cd", "SEPA")
    _tell(group, "ReqdExctnDt/Dt", (subject.pay_on or subject.written_at.date()).isoformat())
    _tell(group, "Dbtr/Nm", debtor[0].name)
    _tell(group, "DbtrAcct/Id/IBAN", debtor[1])
    if debtor[0].bic is None:
        _tell(group, "DbtrAgt/FinInstnId/Othr/Id", "NOTPROVIDED")  # the word that EPC gives for it
    else:
        _tell(group, "DbtrAgt/FinInstnId/BICFI", debtor[0].bic)
    _tell(group, "ChrgBr", "SLEV" if sepa else "SHAR")
    transfer = SubElement(group, "CdtTrfTxInf")
    _tell(transfer, "PmtId/EndToEndId", end_to_end_id(statement, payment.currency))
    _tell(transfer, "Amt/InstdAmt", amount).set("Ccy", payment.currency)
    if creditor[0].bic is not None:
        _tell(transfer, "CdtrAgt/FinInstnId/BICFI", creditor[0].bic)
    _tell(transfer, "Cdtr/Nm", creditor[0].name)
    _tell(transfer, "CdtrAcct/Id/IBAN", creditor[1])
    remittance = f"Statement {statement.id} period {statement.period} {statement.hash}"
    _tell(transfer, "RmtInf/Ustrd", remittance[:_REMITTANCE_LENGTH])


def _message_id(statement: Statement, payer: str, payments: list[Money]) -> str:
    """Return what stands for exactly these payments, in the letters that every bank takes."""
    said = [statement.id, statement.hash, payer, [[each.currency, str(each.minor)] for each in payments]]
    return sha256(canonical(said)).hexdigest()[: _ID_LENGTH - 4]


def _tell(parent: Element, path: str, text: str) -> Element:
    """Add an element, with those around it, and its text."""
    for name in path.split("/"):
        parent = SubElement(parent, name)
    parent.text = text
    return parent
