"""Banks' files: camt.053, camt.054 and CSV, as banks write them, and as somebody writes them who means no good."""

from __future__ import annotations

from datetime import date
from hashlib import sha256

import pytest

from exchange.amounts import Money
from exchange.settlement.reconciliation import LINES_MAX, Booked
from partners.feeds.bank import BYTES_MAX, read_bank_file
from partners.feeds.rows import FeedError

NEW = """\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08">
 <BkToCstmrStmt>
  <GrpHdr><MsgId>m</MsgId></GrpHdr>
  <Stmt>
   <Id>s</Id>
   <Acct><Id><IBAN>DE00EXCHANGE</IBAN></Id></Acct>
   <Bal><Amt Ccy="EUR">1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>
   <Ntry>
    <Amt Ccy="EUR">8.84</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
    <BookgDt><Dt>2026-03-10</Dt></BookgDt><ValDt><Dt>2026-03-11</Dt></ValDt>
    <AcctSvcrRef>R1</AcctSvcrRef>
    <NtryDtls><TxDtls>
     <Refs><EndToEndId>7:rides:EUR</EndToEndId></Refs>
     <RltdPties><Dbtr><Pty><Nm>Us</Nm></Pty></Dbtr><Cdtr><Pty><Nm>Rides Ltd</Nm></Pty></Cdtr></RltdPties>
     <RmtInf><Ustrd>statement 7:rides</Ustrd></RmtInf>
    </TxDtls></NtryDtls>
   </Ntry>
   <Ntry>
    <Amt Ccy="EUR">9</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>PDNG</Cd></Sts>
   </Ntry>
   <Ntry>
    <Amt Ccy="EUR">7.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>
    <BookgDt><DtTm>2026-03-12T10:00:00+01:00</DtTm></BookgDt>
    <AcctSvcrRef>R2</AcctSvcrRef>
    <NtryDtls>
     <TxDtls>
      <Refs><AcctSvcrRef>R2a</AcctSvcrRef><EndToEndId>NOTPROVIDED</EndToEndId></Refs>
      <Amt Ccy="EUR">5.00</Amt><CdtDbtInd>CRDT</CdtDbtInd>
      <RltdPties><Dbtr><Pty><Nm>Video Ltd</Nm></Pty></Dbtr></RltdPties>
      <RmtInf><Ustrd>for</Ustrd><Ustrd>7:video:eur, thanks</Ustrd></RmtInf>
     </TxDtls>
     <TxDtls>
      <Amt Ccy="EUR">2.00</Amt><CdtDbtInd>CRDT</CdtDbtInd>
      <RmtInf><Strd><CdtrRefInf><Ref>7:music:EUR</Ref></CdtrRefInf></Strd></RmtInf>
     </TxDtls>
    </NtryDtls>
   </Ntry>
  </Stmt>
 </BkToCstmrStmt>
</Document>
"""


def test_a_bank_statement_is_read_entry_by_entry() -> None:
    """With its line, sign, value date, references, other party; transfers booked together come one by one."""
    read = read_bank_file(NEW.encode())
    assert (read.hash, read.announced) == (sha256(NEW.encode()).hexdigest(), 1)
    assert read.lines == (
        Booked(
            1, 9, Money(-884, "EUR"), date(2026, 3, 11), "DE00EXCHANGE R1",
            ("7:RIDES:EUR", "STATEMENT", "7:RIDES"), "Rides Ltd", "statement 7:rides",
        ),
        Booked(
            2, 27, Money(500, "EUR"), date(2026, 3, 12), "DE00EXCHANGE R2a",
            ("NOTPROVIDED", "FOR", "7:VIDEO:EUR", "THANKS"), "Video Ltd", "for 7:video:eur, thanks",
        ),
        Booked(3, 33, Money(200, "EUR"), date(2026, 3, 12), "DE00EXCHANGE R2#2", ("7:MUSIC:EUR",)),
    )  # fmt: skip


OLD = """\
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.02"><BkToCstmrDbtCdtNtfctn><Ntfctn>
<Acct><Id><Othr><Id>42</Id></Othr></Id></Acct>
<Ntry><Amt Ccy="JPY">15.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><ValDt><Dt>2026-03-11</Dt></ValDt>
<AcctSvcrRef>R</AcctSvcrRef><NtryDtls>
<TxDtls><Refs><EndToEndId>A</EndToEndId></Refs><AmtDtls><TxAmt><Amt Ccy="JPY">10</Amt></TxAmt></AmtDtls>%s</TxDtls>
<TxDtls><Refs><EndToEndId>B</EndToEndId></Refs><AmtDtls><TxAmt><Amt Ccy="JPY">%s</Amt></TxAmt></AmtDtls></TxDtls>
</NtryDtls></Ntry></Ntfctn></BkToCstmrDbtCdtNtfctn></Document>
"""


def test_a_notification_of_an_older_version() -> None:
    """Where the amount of a transfer stands elsewhere; a currency without cents may be written with them."""
    read = read_bank_file((OLD % ("", "5")).encode("utf-16"))
    assert [(line.amount, line.names, line.bank_reference) for line in read.lines] == [
        (Money(10, "JPY"), ("A",), "42 R#1"), (Money(5, "JPY"), ("B",), "42 R#2"),
    ]  # fmt: skip


def test_transfers_that_do_not_add_up_stay_together() -> None:
    """Then only the entry is what was booked, and its line has all their references."""
    read = read_bank_file((OLD % ("<RltdPties><Dbtr><Nm>P</Nm></Dbtr></RltdPties>", "4")).encode())
    (line,) = read.lines
    assert (line.amount, line.names, line.bank_reference, line.payer) == (Money(15, "JPY"), ("A", "B"), "42 R", "")


LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE Document [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>
<Document><BkToCstmrStmt>&b;</BkToCstmrStmt></Document>"""
OUTSIDE = """<!DOCTYPE Document SYSTEM "http://127.0.0.1:1/evil.dtd"><Document><BkToCstmrStmt/></Document>"""


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (LAUGHS, "line 2: the file has a document type (DTD), which no bank's file needs"),
        (OUTSIDE, "line 1: the file has a document type (DTD), which no bank's file needs"),
        (NEW[:900], "line 23: the file is not well-formed XML"),
        ('<?xml version="1.0" encoding="klingon"?><E/>', "line 1: the file is in no encoding that can be read"),
        ('<?xml version="1.0" encoding="big5"?><E/>', "line 1: the file is in no encoding that can be read"),
        ("<html>\n<body/></html>", "line 2: the file is neither a bank statement (camt.053) nor"),
        ("<Document/>", "the file is neither a bank statement (camt.053) nor a notification (camt.054)"),
        ("<Document><BkToCstmrStmt>" + "<a>" * 30, "line 1: elements are nested deeper than a bank's are"),
        (NEW.replace("8.84", "8.845"), "line 10: EUR has 2 decimal digits, '8.845' has 3"),
        (NEW.replace("8.84", "1e3"), "line 10: '1e3' is not a decimal number"),
        (NEW.replace('<Amt Ccy="EUR">8.84', '<Amt Ccy="EURO">8.84'), "line 10: 'EURO' is not an ISO 4217 currency"),
        (NEW.replace("DBIT", "DEBIT"), "line 9: the entry lacks its amount (Amt), or which way it went (CdtDbtInd)"),
        (NEW.replace("<Dt>2026-03-11</Dt>", "<Dt>soon</Dt>"), "line 11: the entry has no date (ValDt or BookgDt)"),
        ("", "the file is empty"),
        ("date,amount\n", "line 1: the header lacks currency"),
        ("date,amount,currency,date\n", "line 1: the header names a column twice: date"),
        ("date,amount,currency\n2026-03-01,1.00,EUR\n2026-03-01,1,00,EUR", "line 3: '00' is not an ISO 4217 currency"),
        ("date,amount,currency\n2026-03-01,1.00", "line 2: the row has 2 cells where the header has 3"),
        ("date,amount,currency\n1.3.2026,1.00,EUR", "line 2: Invalid isoformat string: '1.3.2026'"),
    ],
)
def test_a_wrong_file_is_not_read_at_all(data: str, says: str) -> None:
    """What is wrong is said with its line, and an attack is just a wrong file."""
    with pytest.raises(FeedError) as told:
        read_bank_file(data.encode())
    assert told.value.message.startswith(says)


def test_a_csv_is_read_too() -> None:
    """In any order of columns; what the bank does not give is empty."""
    data = "Currency;Amount;Date;Text;Reference;other\nEUR;+12.50;2026-03-11;7:rides:EUR;r1;x\n\nEUR;-1;2026-03-12;;;\n"
    assert read_bank_file(data.encode()).lines == (
        Booked(1, 2, Money(1250, "EUR"), date(2026, 3, 11), "r1", ("7:RIDES:EUR",), "", "7:rides:EUR"),
        Booked(2, 4, Money(-100, "EUR"), date(2026, 3, 12)),
    )


def test_what_is_too_large_is_refused() -> None:
    """By its bytes before it is read, and by its lines."""
    with pytest.raises(FeedError, match="the file has more than 33554432 bytes"):
        read_bank_file(b" " * (BYTES_MAX + 1))
    many = "date,amount,currency\n" + "2026-03-01,1.00,EUR\n" * (LINES_MAX + 1)
    with pytest.raises(FeedError, match=f"line {LINES_MAX + 2}: the file has more than {LINES_MAX} movements"):
        read_bank_file(many.encode())
