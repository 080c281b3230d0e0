"""The European Central Bank's reference rates, out of the files that it publishes every working day.

Both kinds, each for one day or for all since 1999: XML (`eurofxref-daily.xml`, `eurofxref-hist.xml`), whose `Cube`
elements nest a day's rates, and CSV (`eurofxref.csv`, `eurofxref-hist.csv`), a column for each currency and `N/A`
where it had no rate that day. A rate is kept as it is written.

A file is taken wholly or not at all; what is wrong is named by its line. An XML file with a document type is
refused, so nothing in it is expanded and nothing is fetched.

Pure: the bytes come from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final
from xml.parsers import expat

from exchange.errors import ValidationFailed
from exchange.settlement.fixes import Fix

BASE: Final = "EUR"
_NONE: Final = ("", "N/A")
_SHOWN: Final = 40
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def fix_id(day: date) -> str:
    """Return the id of the bank's fix of a day."""
    return f"ecb-{day.isoformat()}"


def fixes_of(data: bytes) -> list[Fix]:
    """Return the fixes of a file, by day; ValidationFailed for what is none of the bank's files."""
    found: dict[str, Fix] = {}
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    for line, day, rates in _from_xml(text) if text.startswith(b"<") else _from_csv(text):
        try:
            fix = Fix(id=fix_id(day), base=BASE, date=day, rates=dict(sorted(rates.items())))
        except ValidationFailed as refusal:
            raise _wrong(line, refusal.message) from None
        if fix.id in found:
            raise _wrong(line, f"{day} is there twice")
        found[fix.id] = fix
    if not found:
        raise ValidationFailed("there are no rates in it", ("file",))
    return [found[each] for each in sorted(found)]


_Day = tuple[int, date, dict[str, str]]


def _from_csv(data: bytes) -> Iterator[_Day]:
    try:
        lines = data.decode("ascii").splitlines()  # nothing in it is ever quoted
    except UnicodeDecodeError:
        raise _wrong(1, "is no CSV of reference rates") from None
    rows = ([cell.strip() for cell in line.split(",")] for line in lines)
    first, *currencies = next(rows, [""])
    if first != "Date":
        raise _wrong(1, f"begins with {first[:_SHOWN]!r}, not with Date")
    named = [currency for currency in currencies if currency]
    if len(named) != len(set(named)):
        raise _wrong(1, "a currency is there twice")
    for number, (when, *cells) in enumerate(rows, 2):
        if len(cells) != len(currencies):
            raise _wrong(number, f"has {len(cells)} rates for {len(currencies)} currencies")
        rates = {currency: cell for currency, cell in zip(currencies, cells, strict=True) if cell not in _NONE}
        yield number, _day(number, when), rates


def _from_xml(data: bytes) -> list[_Day]:
    days: list[_Day] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def element(name: str, attributes: dict[str, str]) -> None:
        line = parser.CurrentLineNumber
        if name.rpartition(" ")[2] != "Cube":
            return
        if "time" in attributes:
            days.append((line, _day(line, attributes["time"]), {}))
        elif attributes:
            if not days or attributes.keys() != {"currency", "rate"}:
                raise _wrong(line, "is no rate of a day")
            if attributes["currency"] in days[-1][2]:
                raise _wrong(line, f"{attributes['currency']} is there twice")
            days[-1][2][attributes["currency"]] = attributes["rate"]

    def document_type(*_: object) -> None:
        raise _wrong(parser.CurrentLineNumber, "a document type is not taken")

    parser.StartElementHandler = element
    parser.StartDoctypeDeclHandler = document_type
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise _wrong(error.lineno, f"is no XML ({expat.ErrorString(error.code)})") from None
    except (LookupError, ValueError):
        raise _wrong(1, "is in no encoding that can be read") from None
    return days


def _day(line: int, text: str) -> date:
    """Read 2023-12-08, or 08 December 2023 as the daily CSV has it."""
    try:
        if text[:4].isdecimal():
            return date.fromisoformat(text)
        day, month, year = text.split()
        return date(int(year), _MONTHS.index(month) + 1, int(day))
    except (ValueError, OverflowError):
        raise _wrong(line, f"{text[:_SHOWN]!r} is no day") from None


def _wrong(line: int, what: str) -> ValidationFailed:
    return ValidationFailed(f"line {line}: {what}", ("file", str(line)))
