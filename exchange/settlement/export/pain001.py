"""The payments of a statement for a bank: ISO 20022 customer credit transfer initiation, pain.001.001.09.

A file is for one payer's bank: the partner's, of what it has to pay, or the operator's, of what the exchange pays it. A
statement that has both, in two currencies, has two such files, and the payer has to be named. What another partner pays
it by a netting's plan is in a file of that one's statement.

What is left to be paid is in it, and only of a statement that is instructed: before, nobody has signed it, or a netting
can still make something else due. Written twice, a file has the same message id, by which a bank knows a duplicate;
when something was paid in between, it is another message. The end-to-end id of a payment comes back on the bank's
statement and says for what it was: period, partner and currency; and between two partners, payer and payee.

How much was paid so far is known by currency. So where a statement has several payments in one, and a part of them was
made, no file says which are left.

Euro goes as a SEPA credit transfer (EPC132-08, service level SEPA, charges as that has them), other currencies with
charges shared. An address is left out: of accounts in SEPA none is wanted, and lines that are not split into street,
town and country are refused by more and more banks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from msgspec.structs import replace

from exchange.amounts import decimal_from_minor
from exchange.errors import InvalidSignOff, ValidationFailed
from exchange.journal import EXCHANGE, canonical, milliseconds
from exchange.particulars import Particulars
from exchange.settlement.export import Subject
from exchange.settlement.netting import Payment
from exchange.settlement.reconciliation import between_partners, payment_reference
from exchange.settlement.signoff import left_to_pay, whole
from exchange.settlement.statement import Statement, StatementLine, StatementStatus

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
_ID_LENGTH: Final = 35
_REMITTANCE_LENGTH: Final = 140


async def write(subject: Subject, _lines: AsyncIterator[StatementLine]) -> AsyncIterator[bytes]:
    """Yield the file. The lines are not asked for: what is paid is what they add up to."""
    statement = subject.statement
    if statement.status is not StatementStatus.INSTRUCTED:
        message = f"a payment file is of a statement that is instructed; this one is {statement.status.lower()}"
        raise InvalidSignOff(message, status=statement.status)
    payer, payments = _to_be_paid(subject)
    parties = {**subject.payees, statement.partner: subject.partner, EXCHANGE: subject.operator}
    accounts = {handle: _account(handle, parties[handle]) for handle in (payer, *(each.to for each in payments))}
    # From here on the file is written.
    yield _file(subject, payer, {handle: (parties[handle], iban) for handle, iban in accounts.items()}, payments)


def end_to_end_id(statement: Statement, payment: Payment) -> str:
    """Return what a payment of a statement is known by from one end to the other."""
    if EXCHANGE in (payment.from_, payment.to):
        return payment_reference(statement.period, statement.partner, payment.amount.currency)
    return between_partners(statement.period, payment)


def _to_be_paid(subject: Subject) -> tuple[str, list[Payment]]:
    """Return who pays, and what is left to be paid by it."""
    statement = subject.statement
    by: dict[str, list[Payment]] = {}
    for payment in _left(statement):
        if payment.from_ in (EXCHANGE, statement.partner):
            by.setdefault(payment.from_, []).append(payment)
    if not by:
        others = sorted({payment.from_ for payment in _left(statement)})
        theirs = f" by it: what is left, {' or '.join(others)} has to pay, in a file of its own statement"
        raise ValidationFailed(f"nothing is left to be paid{theirs if others else ''}")
    if subject.payer is None and len(by) > 1:
        raise ValidationFailed(f"{' and '.join(sorted(by))} both pay: say whose file it is to be", ("input", "payer"))
    payer = subject.payer or next(iter(by))
    if payer not in by:
        raise ValidationFailed(f"{payer} has nothing to pay: it is {' and '.join(by)} that has", ("input", "payer"))
    return payer, by[payer]


def _left(statement: Statement) -> list[Payment]:
    """Return the payments that are left; ValidationFailed where nobody can tell which."""
    payments: list[Payment] = []
    for left, of_all in zip(left_to_pay(statement), whole(statement.due), strict=True):
        own = [payment for payment in statement.due if payment.amount.currency == left.currency]
        if left == of_all:
            payments += own
        elif left.minor and len(own) == 1:
            payments.append(replace(own[0], amount=left))
        elif left.minor:
            rest = f"{decimal_from_minor(*left)} {left.currency} of {len(own)} payments"
            raise ValidationFailed(f"{rest} is left, and nobody wrote down which: pay it by hand")
    return payments


def _account(handle: str, party: Particulars) -> str:
    if party.iban is None:
        raise ValidationFailed(f"{handle} has no account: give one with `exchange partner particulars {handle} --iban`")
    return party.iban


Parties = Mapping[str, tuple[Particulars, str]]
"""Who pays and is paid, by handle, and from or to which account."""


def _file(subject: Subject, payer: str, parties: Parties, payments: list[Payment]) -> bytes:
    message, debtor = _message_id(subject.statement, payer, payments), parties[payer]
    document = Element("Document", xmlns=NAMESPACE)
    initiation = SubElement(document, "CstmrCdtTrfInitn")
    header = SubElement(initiation, "GrpHdr")
    _tell(header, "MsgId", message)
    _tell(header, "CreDtTm", milliseconds(subject.written_at))
    _tell(header, "NbOfTxs", str(len(payments)))
    _tell(header, "CtrlSum", _control_sum(payments))
    _tell(header, "InitgPty/Nm", debtor[0].name)
    for currency, some in groupby(payments, key=lambda payment: payment.amount.currency):
        own, group = list(some), SubElement(initiation, "PmtInf")
        _tell(group, "PmtInfId", f"{message[: _ID_LENGTH - 4]}-{currency}")
        _group(group, subject, debtor, currency, own)
        for payment in own:
            _transfer(SubElement(group, "CdtTrfTxInf"), subject.statement, parties[payment.to], payment)
    indent(document)
    body: bytes = tostring(document, "utf-8", xml_declaration=True)
    return body + b"\n"


def _group(
    group: Element, subject: Subject, debtor: tuple[Particulars, str], currency: str, payments: list[Payment]
) -> None:  # fmt: skip
    sepa = currency == "EUR"
    _tell(group, "PmtMtd", "TRF")
    _tell(group, "NbOfTxs", str(len(payments)))
    _tell(group, "CtrlSum", _control_sum(payments))
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


def _transfer(transfer: Element, statement: Statement, creditor: tuple[Particulars, str], payment: Payment) -> None:
    _tell(transfer, "PmtId/EndToEndId", end_to_end_id(statement, payment))
    _tell(transfer, "Amt/InstdAmt", decimal_from_minor(*payment.amount)).set("Ccy", payment.amount.currency)
    if creditor[0].bic is not None:
        _tell(transfer, "CdtrAgt/FinInstnId/BICFI", creditor[0].bic)
    _tell(transfer, "Cdtr/Nm", creditor[0].name)
    _tell(transfer, "CdtrAcct/Id/IBAN", creditor[1])
    remittance = f"Statement {statement.id} period {statement.period} {statement.hash}"
    _tell(transfer, "RmtInf/Ustrd", remittance[:_REMITTANCE_LENGTH])


def _control_sum(payments: Iterable[Payment]) -> str:
    return str(sum((Decimal(decimal_from_minor(*each.amount)) for each in payments), Decimal(0)))


def _message_id(statement: Statement, payer: str, payments: list[Payment]) -> str:
    """Return what stands for exactly these payments, in the letters that every bank takes."""
    paid = [
        # To or from the exchange the payer tells the payee.
        [each.amount.currency, str(each.amount.minor)] + ([] if EXCHANGE in (payer, each.to) else [each.to])
        for each in payments
    ]
    said = [statement.id, statement.hash, payer, paid]
    return sha256(canonical(said)).hexdigest()[: _ID_LENGTH - 4]


def _tell(parent: Element, path: str, text: str) -> Element:
    """Add an element, with those around it, and its text."""
    for name in path.split("/"):
        parent = SubElement(parent, name)
    parent.text = text
    return parent
