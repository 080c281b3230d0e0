"""Bank statements (camt.053) and notifications (camt.054) of ISO 20022, read entry by entry.

An entry (`Ntry`) is one movement of the account. Banks book several transfers as one entry, with a `TxDtls` for each:
if their amounts add up to the entry's, each is a line of its own; if not (a bank that tells what was instructed,
before charges), the entry is one line with all of their references. What is only announced (any status but BOOK) is
passed over and counted.

Versions differ in where a name or a status stands, not in what it is called; so elements are found by their local
names, and of any version's namespace. XML is untrusted: a document type is refused before anything in it is read, so
there are no entities and nothing is ever fetched, and of a document no more than one entry is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from exchange.amounts import Money, minor_from_decimal
from exchange.settlement.reconciliation import Booked
from partners.feeds.rows import FeedError

MESSAGES: Final = {"BkToCstmrStmt": "camt.053", "BkToCstmrDbtCdtNtfctn": "camt.054"}
_AT_ONCE: Final = 64 * 1024
_DEEP: Final = 30
_NAMES_MAX: Final = 200
_TEXT_MAX: Final = 140
_NEITHER: Final = "the file is neither a bank statement (camt.053) nor a notification (camt.054)"
_CREDIT = {"CRDT": 1, "DBIT": -1}


class _Element:
    """An element with its line, its text and what is in it."""

    def __init__(self, name: str, line: int, currency: str) -> None:
        self.name, self.line, self.currency = name, line, currency
        self.text = ""
        self.inside: list[_Element] = []

    def find(self, *path: str) -> _Element | None:
        """Return the first element at a path; the step "*" is any one."""
        return next(self.all(*path), None)

    def all(self, *path: str) -> Iterator[_Element]:
        """Yield all elements at a path."""
        if not path:
            yield self
            return
        for each in self.inside:
            if path[0] in (each.name, "*"):
                yield from each.all(*path[1:])

    def said(self, *path: str) -> str:
        """Return the text at a path, or nothing."""
        found = self.find(*path)
        return "" if found is None else found.text.strip()


class _Reading:
    """What the parser calls. `account`: the one whose entries come; `entries`: those that are complete."""

    def __init__(self) -> None:
        self.parser: Any = None
        self.account = ""
        self.is_camt = False
        self.entries: list[_Element] = []
        self._path: list[str] = []
        self._open: list[_Element] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        self._path.append(name)
        if len(self._path) == 2 and name not in MESSAGES:  # noqa: PLR2004 - the message stands in the document
            raise FeedError(_NEITHER, self._line)
        self.is_camt = self.is_camt or name in MESSAGES
        if len(self._path) > _DEEP:
            raise FeedError("elements are nested deeper than a bank's are", self._line)
        if self._open or name in ("Ntry", "Acct"):
            element = _Element(name, self._line, attributes.get("Ccy", ""))
            if self._open:
                self._open[-1].inside.append(element)
            self._open.append(element)

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def end(self, _tag: str) -> None:
        self._path.pop()
        if self._open:
            element = self._open.pop()
            if not self._open and element.name == "Ntry":
                self.entries.append(element)
            elif not self._open:
                self.account = element.said("Id", "IBAN") or element.said("Id", "Othr", "Id")

    def close(self) -> None:
        """End of the document."""

    @property
    def _line(self) -> int:
        return int(self.parser.CurrentLineNumber)


def read_camt(stream: BinaryIO, encoding: str | None = None) -> Iterator[Booked | None]:
    """Yield the booked lines, and None for each entry that is only announced; a FeedError ends a wrong file.

    `encoding`: whatever the document declares.
    """
    reading = _Reading()
    parser = DefusedXMLParser(target=reading, encoding=encoding, forbid_dtd=True)
    reading.parser = parser.parser
    n = 0
    try:
        while chunk := stream.read(_AT_ONCE):
            _feed(parser, chunk)
            for entry in reading.entries:
                for booked in _booked(entry, reading.account, n + 1):
                    n += booked is not None
                    yield booked
            reading.entries.clear()
        parser.close()
        if not reading.is_camt:
            raise FeedError(_NEITHER)
    except ParseError as wrong:
        line, _ = wrong.position
        raise FeedError("the file is not well-formed XML", line) from None
    except DefusedXmlException:
        raise FeedError(
            "the file has a document type (DTD), which no bank's file needs", reading.parser.CurrentLineNumber
        ) from None


def _feed(parser: DefusedXMLParser, chunk: bytes) -> None:
    try:
        parser.feed(chunk)
    except DefusedXmlException:
        raise  # a ValueError, too
    except (LookupError, ValueError):  # what the library says of a declared encoding that it does not know
        raise FeedError("the file is in no encoding that can be read", 1) from None


def _booked(entry: _Element, account: str, n: int) -> Iterator[Booked | None]:
    if (entry.said("Sts", "Cd") or entry.said("Sts")) != "BOOK":
        yield None
        return
    whole = _amount(entry, entry.find("Amt"))
    day = _day(entry)
    details = list(entry.all("NtryDtls", "TxDtls"))
    parts = [_part(each, entry) for each in details]
    own = entry.said("AcctSvcrRef")
    if len(details) > 1 and None not in parts and _sum(parts, whole.currency) == whole.minor:
        for index, (each, amount) in enumerate(zip(details, parts, strict=True)):
            assert amount is not None  # noqa: S101 - asked just now
            bank = each.said("Refs", "AcctSvcrRef") or (own and f"{own}#{index + 1}")
            yield _line(n + index, each.line, amount, day, account, bank, [each])
    else:
        yield _line(n, entry.line, whole, day, account, own, details or [entry])


def _line(n: int, line: int, amount: Money, day: date, account: str, bank: str, details: list[_Element]) -> Booked:
    names: list[str] = []
    texts: list[str] = []
    other = "Dbtr" if amount.minor > 0 else "Cdtr"
    payers: list[str] = []
    for each in details:
        texts += [found.text.strip() for found in each.all("RmtInf", "Ustrd")]
        names += [
            each.said("Refs", "EndToEndId"),
            *(found.text for found in each.all("RmtInf", "Strd", "CdtrRefInf", "Ref")),
        ]
        payers.append(each.said("RltdPties", other, "Nm") or each.said("RltdPties", other, "Pty", "Nm"))
    text = printed(" ".join(texts))
    words = [word for each in texts for word in each.split()]
    return Booked(
        n=n, line=line, amount=amount, value_date=day, bank_reference=f"{account} {bank}" if bank else "",
        names=names_in(*names, *words), payer=printed(payers[0]) if len(set(payers)) == 1 else "", text=text,
    )  # fmt: skip


def printed(text: str) -> str:
    """Return a text in one line, without what is no character to a reader, and not too long."""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())[:_TEXT_MAX]


def names_in(*said: str) -> tuple[str, ...]:
    """Return what may be references: in capitals, each once, without the signs that a sentence puts around a word."""
    words = (word.strip().strip(".,;()[]'\"").upper() for word in said)
    return tuple(dict.fromkeys(word for word in words if 1 <= len(word) <= _TEXT_MAX))[:_NAMES_MAX]


def _part(details: _Element, entry: _Element) -> Money | None:
    amount = details.find("Amt") or details.find("AmtDtls", "TxAmt", "Amt")
    return None if amount is None else _amount(details if details.find("CdtDbtInd") else entry, amount)


def _sum(parts: list[Money | None], currency: str) -> int | None:
    amounts = [each for each in parts if each is not None and each.currency == currency]
    return sum(each.minor for each in amounts) if len(amounts) == len(parts) else None


def _amount(holder: _Element, amount: _Element | None) -> Money:
    sign = _CREDIT.get(holder.said("CdtDbtInd"))
    if amount is None or sign is None:
        raise FeedError("the entry lacks its amount (Amt), or which way it went (CdtDbtInd)", holder.line)
    try:
        return Money(sign * minor_from_decimal(_plain(amount.text.strip()), amount.currency), amount.currency)
    except ValueError as wrong:
        raise FeedError(str(wrong), amount.line) from None


def _plain(text: str) -> str:
    """Return a decimal without zeros that the currency has no room for: banks write 15.00 JPY."""
    whole, point, fraction = text.lstrip("+").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}" if point and fraction else whole


def _day(entry: _Element) -> date:
    """Return the value date; without one, the day of booking."""
    found = entry.find("ValDt", "*") or entry.find("BookgDt", "*")
    try:
        return date.fromisoformat("" if found is None else found.text.strip()[:10])
    except ValueError:
        raise FeedError(
            "the entry has no date (ValDt or BookgDt)", entry.line if found is None else found.line
        ) from None
