"""Benefits as CSV (RFC 4180), the way spreadsheets write it: one row each, under a header of field names.

A cell is text, so this module only turns cells into what an object of JSON would hold, and leaves every judgement to
`benefit_input`. An empty cell says nothing: the field has its default. What is wrong with the header is wrong with
every row, and is told once.

Refused rather than guessed: a column nobody knows (a typo would lose its values in silence), a row with fewer cells
than the header (its values may have slipped into their neighbours), quotes that do not match.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from exchange.benefit import LOCALE
from partners.feeds.benefit_input import FIELDS, REQUIRED, Path, canonical, read_benefit, unknown
from partners.feeds.lines import Lines, decoded, first_that_is_not_blank
from partners.feeds.rows import WHOLE_ROW, FeedError, Reading, Wrong

SEPARATORS: Final = ",;\t"
LIST_SEPARATOR: Final = "|"

_AMOUNT, _CURRENCY = "faceValueAmount", "faceValueCurrency"
_COLUMNS: Final = (*(name for name in FIELDS if name != "translations"), _AMOUNT, _CURRENCY)
_BY_LOWER: Final = {name.lower(): name for name in _COLUMNS}
_TRANSLATED: Final = {name: name for name in ("title", "description")}
_WHOLE = re.compile(r"-?[0-9]{1,18}")


def read_csv(lines: Lines) -> Iterator[Reading]:
    """Yield what each row says."""
    start, names, rows = read_table(lines)
    columns = _columns(names, start)
    for line, cells in rows:
        if any(cell.strip() for cell in cells):  # spreadsheets leave rows of nothing behind
            yield _reading(line, columns, cells)


def read_table(lines: Lines) -> tuple[int, list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header with its line, and the rows with theirs.

    The separator is whichever of , ; and tab the first line has most of.
    """
    start, raw = first_that_is_not_blank(lines)
    first = decoded(start, raw)
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(chain([first], (decoded(*line) for line in lines)), delimiter=separator, strict=True)
    rows = _rows(reader, start)
    _, names = next(rows)
    return start, names, rows


def _rows(reader: Any, start: int) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the line in which each begins: a quoted cell may go over several."""
    while True:
        line = start + reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as wrong:
            raise FeedError(_mended(str(wrong)), line) from None
        yield line, cells


def _mended(wrong: str) -> str:
    """Return what a person has to mend; most often a quote, which the parser finds far behind its place."""
    if wrong.startswith("new-line character"):
        return "a carriage return stands outside quotes"
    return f"a quote in the row that begins here is not closed, or not doubled ({wrong})"


def _columns(names: list[str], line: int) -> list[str]:
    """Return the field of each column; "" for one without a heading."""
    columns = [_column(name) if name.strip() else "" for name in names]
    strangers = [unknown(name, _COLUMNS) for name, column in zip(names, columns, strict=True) if column is None]
    if strangers:
        raise FeedError(f"the header names what is no column of a feed: {', '.join(strangers)}", line)
    known = [column for column in columns if column]
    lower = [column.lower() for column in known]
    repeated = sorted({column for column in known if lower.count(column.lower()) > 1})
    if repeated:
        raise FeedError(f"the header names a column twice: {', '.join(repeated)}", line)
    missing = [name for name in REQUIRED if name not in known]
    if missing:
        raise FeedError(f"the header lacks {', '.join(missing)}", line)
    for column in known:
        part, _, locale = column.partition(":")
        if locale and part != "title" and f"title:{locale}".lower() not in lower:
            raise FeedError(f"the header has {column} but no title:{locale}", line)
    return [column or "" for column in columns]


def _column(name: str) -> str | None:
    part, colon, locale = name.partition(":")
    if not colon:
        return canonical(name, _BY_LOWER)
    field, locale = canonical(part, _TRANSLATED), locale.strip()
    return f"{field}:{locale}" if field and LOCALE.fullmatch(locale) else None


def _reading(line: int, columns: list[str], cells: list[str]) -> Reading:
    wrongs = [
        Wrong(f"column {index + 1}", "has no heading")
        for index, cell in enumerate(cells)
        if cell.strip() and not (index < len(columns) and columns[index])
    ]
    if len(cells) < len(columns):
        wrongs.append(Wrong(WHOLE_ROW, f"has {len(cells)} cells where the header has {len(columns)}"))
    filled = {column: cell for column, cell in zip(columns, cells, strict=False) if column and cell.strip()}
    if "faceValue" in filled and filled.keys() & {_AMOUNT, _CURRENCY}:
        wrongs.append(Wrong("faceValue", f"is also said in {_AMOUNT} and {_CURRENCY}"))
    locales = list(dict.fromkeys(column.partition(":")[2] for column in filled if ":" in column))
    benefit = read_benefit(_said(filled, locales))
    wrongs += [Wrong(_column_of(path, filled, locales), reason) for path, reason in benefit.wrongs]
    content = None if wrongs else benefit.content
    return Reading(line, wrongs, content, benefit.expected_version, benefit.sku)


def _said(filled: Mapping[str, str], locales: list[str]) -> dict[str, Any]:
    """Return the row as the object it would be in JSON."""
    said: dict[str, Any] = {
        column: _CELLS.get(column, _stripped)(cell) for column, cell in filled.items() if column in FIELDS
    }
    if "faceValue" not in said and filled.keys() & {_AMOUNT, _CURRENCY}:
        said["faceValue"] = {"amount": filled.get(_AMOUNT, "").strip(), "currency": filled.get(_CURRENCY, "").strip()}
    if locales:
        said["translations"] = [
            {
                "locale": locale,
                "title": filled.get(f"title:{locale}", ""),
                "description": filled.get(f"description:{locale}"),
            }
            for locale in locales
        ]
    return said


def _column_of(path: Path, filled: Mapping[str, str], locales: list[str]) -> str:
    """Return the column in which a partner finds what `read_benefit` calls `path`."""
    match path:
        case ("translations", index, part):
            return f"{'title' if part == 'locale' else part}:{locales[int(index)]}"
        case ("faceValue", part) if "faceValue" not in filled:
            return _CURRENCY if part == "currency" else _AMOUNT
        case _:
            return path[0]


def _verbatim(cell: str) -> str:
    return cell


def _stripped(cell: str) -> str:
    return cell.strip()


def _list(cell: str) -> list[str]:
    return [one.strip() for one in cell.split(LIST_SEPARATOR) if one.strip()]


def _number(cell: str) -> int | str:
    """Leave what is no number to be refused with the field's own words."""
    text = cell.strip()
    return int(text) if _WHOLE.fullmatch(text) else text


def _money(cell: str) -> dict[str, str] | str:
    match cell.split():
        case [amount, currency]:
            return {"amount": amount, "currency": currency}
        case _:
            return cell


_CELLS: Final[Mapping[str, Callable[[str], Any]]] = {
    "title": _verbatim,
    "description": _verbatim,
    "terms": _verbatim,
    "redeemInstructions": _verbatim,
    "regions": _list,
    "tags": _list,
    "stock": _number,
    "memberLimit": _number,
    "expectedVersion": _number,
    "faceValue": _money,
}
