from __future__ import annotations

import csv
import io
import json
import re
import string
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money, decimal_from_minor
from exchange.benefit import (
    LOCALE,
    SKU,
    BenefitCategory,
    BenefitContent,
    BenefitStatus,
    Fulfilment,
    LimitPeriod,
    Translation,
    validate,
)
from partners.feeds import FORMATS, Accepted, FeedError, FeedFormat, Rejected, Row, lines, read_feed
from partners.feeds.benefit_input import FIELDS

HEADER = "sku,category,title,pointsPrice"
GOOD = "good,VIDEO,Good,5"


def feed(text: str | bytes, format: FeedFormat = "auto", points_per_unit: int | None = None) -> list[Row]:  # noqa: A002
    raw = text.encode() if isinstance(text, str) else text
    return list(read_feed(io.BytesIO(raw), format, points_per_unit))


def one(text: str) -> BenefitContent:
    (row,) = feed(text)
    assert isinstance(row, Accepted), row
    return row.content


def rejections(rows: list[Row]) -> list[tuple[int, str, str]]:
    return [(row.line, row.field, row.reason) for row in rows if isinstance(row, Rejected)]


def skus(rows: list[Row]) -> list[str]:
    return [row.content.sku for row in rows if isinstance(row, Accepted)]


# What is written reads back


def shown(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")


def as_input(content: BenefitContent) -> dict[str, Any]:
    value = content.face_value
    return {
        "sku": content.sku,
        "category": content.category,
        "title": content.title,
        "pointsPrice": content.points_price,
        "description": content.description,
        "translations": [
            {"locale": words.locale, "title": words.title, "description": words.description}
            for words in content.translations
        ],
        "imageUrl": content.image_url,
        "terms": content.terms,
        "redeemInstructions": content.redeem_instructions,
        "faceValue": value and {"amount": decimal_from_minor(*value), "currency": value.currency},
        "validFrom": shown(content.valid_from),
        "validUntil": shown(content.valid_until),
        "regions": list(content.regions),
        "tags": list(content.tags),
        "stock": content.stock,
        "memberLimit": content.member_limit,
        "memberLimitPeriod": content.member_limit_period.value,
        "fulfilment": content.fulfilment,
        "status": content.status,
    }


def as_cells(content: BenefitContent) -> dict[str, Any]:
    said = as_input(content)
    value = said.pop("faceValue")
    cells = said | {"regions": "|".join(content.regions), "tags": "|".join(content.tags)}
    cells["faceValue"] = value and f"{value['amount']} {value['currency']}"
    for words in cells.pop("translations"):
        cells |= {f"title:{words['locale']}": words["title"], f"description:{words['locale']}": words["description"]}
    return cells


CHARACTERS = st.characters(
    codec="utf-8",
    exclude_categories=("Cc", "Cs"),
    exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
)
TEXTS = st.text(CHARACTERS, min_size=1, max_size=40).filter(str.strip)
TAGS = TEXTS.map(lambda tag: tag.replace("|", "/").strip())
LOCALES = st.from_regex(re.compile(LOCALE.pattern, re.ASCII), fullmatch=True).filter(lambda locale: len(locale) < 20)
TRANSLATIONS = st.lists(
    st.builds(Translation, LOCALES, TEXTS, st.none() | TEXTS), max_size=3, unique_by=lambda words: words.locale.lower()
)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
COUNTS = st.integers(1, 2**31 - 1)


@st.composite
def contents(draw: st.DrawFn) -> BenefitContent:
    fulfilment = draw(st.sampled_from(Fulfilment))
    starts = draw(st.none() | MOMENTS)
    content = BenefitContent(
        sku=draw(st.from_regex(SKU, fullmatch=True)),
        category=draw(st.sampled_from(BenefitCategory)),
        title=draw(TEXTS),
        points_price=draw(st.integers(1, 10**15)),
        description=draw(st.none() | TEXTS),
        translations=tuple(draw(TRANSLATIONS)),
        image_url=draw(st.none() | st.text(string.ascii_letters, max_size=9).map("https://cdn.example/".__add__)),
        terms=draw(st.none() | TEXTS),
        redeem_instructions=draw(st.none() | TEXTS),
        face_value=draw(
            st.none() | st.builds(Money, st.integers(0, 10**15), st.sampled_from(["EUR", "ZAR", "JPY", "KWD"]))
        ),
        valid_from=starts,
        valid_until=draw(st.none() | MOMENTS),
        regions=tuple(draw(st.lists(st.sampled_from(["DE", "ZA", "NO"]), max_size=3))),
        tags=tuple(draw(st.lists(TAGS, max_size=3))),
        stock=None if fulfilment is Fulfilment.INSTANT_CODE else draw(st.none() | COUNTS),
        member_limit=draw(st.none() | COUNTS),
        member_limit_period=draw(st.sampled_from(LimitPeriod)),
        fulfilment=fulfilment,
        status=draw(st.sampled_from(BenefitStatus)),
    )
    if starts and content.valid_until and content.valid_until <= starts:
        content = replace(content, valid_until=starts + timedelta(milliseconds=1))
    validate(content)
    return content


@given(contents(), st.booleans())
def test_json_lines_read_back(content: BenefitContent, ascii_only: bool) -> None:  # noqa: FBT001
    """Any benefit written as JSON Lines reads back equal."""
    line = json.dumps(as_input(content), ensure_ascii=ascii_only)
    assert feed(f"{line}\n") == [Accepted(1, content)]


@given(contents(), st.integers(0, 4))
def test_json_documents_read_back(content: BenefitContent, indent: int) -> None:
    """Any benefit written in a JSON document reads back equal, however the document is laid out."""
    document = {"made": {"by": ["a shop"]}, "benefits": [as_input(content)], "pages": 1}
    (row,) = feed(json.dumps(document, indent=indent or None))
    assert isinstance(row, Accepted)
    assert row.content == content


LINE_ENDS = [("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]  # Python's writer forgets to quote \r before \n ends


@given(contents(), st.sampled_from(",;\t"), st.sampled_from(LINE_ENDS), st.sampled_from(["utf-8", "utf-8-sig"]))
def test_csv_reads_back(content: BenefitContent, separator: str, ends: tuple[str, Any], encoding: str) -> None:
    """Any benefit written as CSV reads back equal, with each separator, line end, and with a byte order mark."""
    cells = as_cells(content)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(cells), delimiter=separator, lineterminator=ends[0], quoting=ends[1])
    writer.writeheader()
    writer.writerow(cells)
    assert feed(file.getvalue().encode(encoding)) == [Accepted(2, content)]


def test_names_may_be_written_otherwise() -> None:
    """A heading may be snake case or in any case: the field is the same."""
    content = one("SKU,Category,TITLE,points_price,member_limit\nA,ViDeO,T,5,2\n")
    assert (content.category, content.points_price, content.member_limit) == (BenefitCategory.VIDEO, 5, 2)


def test_a_face_value_in_two_columns() -> None:
    """Amount and currency may stand in columns of their own."""
    assert one(f"{HEADER},faceValueAmount,faceValueCurrency\n{GOOD},12.5,EUR\n").face_value == Money(1250, "EUR")


def test_an_amount_may_be_a_number_in_json() -> None:
    """A JSON number is read digit by digit: 0.1 is ten cents, not a float near it."""
    said = '{"sku":"A","category":"FOOD","title":"T","pointsPrice":"5","faceValue":{"amount":0.1,"currency":"EUR"}}'
    assert one(said).face_value == Money(10, "EUR")


def test_a_moment_is_kept_in_utc_to_the_millisecond() -> None:
    """An offset is converted, and what the database would not keep is cut off."""
    content = one(f"{HEADER},validFrom\n{GOOD},2026-01-31T23:59:59.1239+02:00\n")
    assert content.valid_from == datetime(2026, 1, 31, 21, 59, 59, 123000, UTC)


def test_the_expected_version_comes_with_the_benefit() -> None:
    """The field expectedVersion is no part of the content, and is handed on beside it."""
    (row,) = feed(f"{HEADER},expectedVersion\n{GOOD},7\n")
    assert isinstance(row, Accepted)
    assert row.expected_version == 7


def test_a_path_is_read_like_a_stream(tmp_path: Path) -> None:
    """A file may be given by its path, as text or as a Path."""
    file = tmp_path / "feed.csv"
    file.write_text(f"{HEADER}\n{GOOD}\n")
    assert list(read_feed(file)) == list(read_feed(str(file))) == feed(file.read_bytes())


def test_a_feed_of_nothing_is_a_feed() -> None:
    """A header without rows and an empty array are feeds with no benefits."""
    assert feed(f"{HEADER}\n") == feed("[]") == feed('{"benefits": []}') == []


def test_lines_are_those_of_the_file() -> None:
    """A row is named by the line it begins in, whatever its cells contain and whatever blank lines lie between."""
    rows = feed('\nsku,category,title,pointsPrice,terms\nA,VIDEO,T,5,"two\nlines"\n\n,,,,\nB,VIDEO,T,5,\n')
    assert [(row.line, row.content.sku) for row in rows if isinstance(row, Accepted)] == [(3, "A"), (7, "B")]


def test_lines_of_objects_are_those_of_the_document() -> None:
    """An object in a document is named by the line it begins in."""
    rows = feed('\n{"benefits":\n [{"sku": "A"},\n\n  {"sku":\n"B"}, 7]}')
    assert sorted({line for line, _, _ in rejections(rows)}) == [3, 5, 6]


# What is wrong is told

WRONG_CELLS = [
    ("sku", "no spaces", "must be 1 to 64 letters, digits or . _ : ~ -"),
    ("category", "TEA", f"must be one of {', '.join(BenefitCategory)}"),
    ("title", "x" * 201, "must have 1 to 200 characters, none for control"),
    ("title", "", "is required"),
    ("pointsPrice", "1.5", "must be whole points, such as 500"),
    ("pointsPrice", "1,000", "must be whole points, such as 500"),
    ("pointsPrice", "\u0665", "must be whole points, such as 500"),
    ("pointsPrice", "0", "must be 1 to 1000000000000000 points"),
    ("pointsPrice", "-5", "must be 1 to 1000000000000000 points"),
    ("description", "x" * 10_001, "must have at most 10000 characters"),
    ("title:de", "x" * 201, "must have 1 to 200 characters, none for control"),
    ("description:de", "x" * 10_001, "must have at most 10000 characters"),
    ("imageUrl", "ftp://cdn.example", "must be an http(s) address of at most 2000 characters"),
    ("terms", "x" * 10_001, "must have at most 10000 characters"),
    ("redeemInstructions", "x" * 10_001, "must have at most 10000 characters"),
    ("faceValue", "12.50", "must have amount and currency"),
    ("faceValue", "12,50 EUR", "'12,50' is not a decimal number"),
    ("faceValue", "12.505 EUR", "EUR has 2 decimal digits, '12.505' has 3"),
    ("faceValue", "12.50 EURO", "'EURO' is not an ISO 4217 currency"),
    ("faceValue", "-1 EUR", "must not be negative"),
    ("validFrom", "2026-01-31", "must be a date and time with offset, such as 2026-01-31T23:59:59Z"),
    ("validFrom", "2026-01-31T10:00:00", "must be a date and time with offset, such as 2026-01-31T23:59:59Z"),
    ("validFrom", "2026-02-30T10:00:00Z", "must be a date and time with offset, such as 2026-01-31T23:59:59Z"),
    ("validFrom", "0001-01-01T00:00:00+14:00", "must be a date and time with offset, such as 2026-01-31T23:59:59Z"),
    ("regions", "DE|UK", "UK: not an ISO 3166-1 alpha-2 code"),
    ("tags", "x" * 41, "must have 1 to 40 characters each"),
    ("stock", "many", "must be a whole number"),
    ("stock", "-1", "must not be negative"),
    ("memberLimit", "0", "must be at least 1"),
    ("fulfilment", "POST", "must be one of INSTANT_CODE, PARTNER_CALL, NONE"),
    ("status", "LIVE", "must be one of DRAFT, PUBLISHED, PAUSED, RETIRED"),
    ("expectedVersion", "0", "must be at least 1"),
]


def row_of(**cells: str) -> dict[str, str]:
    return {"sku": "A", "category": "VIDEO", "title": "T", "pointsPrice": "5"} | cells


def csv_of(*rows: dict[str, str]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


@pytest.mark.parametrize(("field", "cell", "reason"), WRONG_CELLS)
def test_a_wrong_cell_is_told_and_the_good_rows_come_through(field: str, cell: str, reason: str) -> None:
    """A row with one wrong cell is rejected by line, field and reason, and its neighbours are accepted."""
    fine = {"title:de": "x"} if field.endswith(":de") else {}
    rows = feed(csv_of(row_of(sku="before"), row_of(**fine) | {field: cell}, row_of(sku="after")))
    assert rejections(rows) == [(3, field, reason)]
    assert skus(rows) == ["before", "after"]


def test_every_wrong_field_of_a_row_is_told() -> None:
    """All faults of a row come at once, in the order of the API's fields, whoever found them."""
    bad = row_of(sku="", title="x" * 201, pointsPrice="many", regions="UK", stock="5", fulfilment="INSTANT_CODE")
    bad |= {"title:de": "x" * 201, "validFrom": "2026-01-01T00:00Z", "validUntil": "2025-01-01T00:00Z"}
    wrong = [field for _, field, _ in rejections(feed(csv_of(bad)))]
    assert wrong == ["sku", "title", "title:de", "pointsPrice", "validUntil", "regions", "stock"]


WRONG_VALUES = [
    ("sku", 5, "sku", "must be text"),
    ("sku", "\ud83d", "sku", "must be text"),
    ("title", ["T"], "title", "must be text"),
    ("pointsPrice", 5.0, "pointsPrice", "must be whole points, such as 500"),
    ("pointsPrice", True, "pointsPrice", "must be whole points, such as 500"),
    ("pointsPrice", " 5", "pointsPrice", "must be whole points, such as 500"),
    ("stock", "5", "stock", "must be a whole number"),
    ("stock", True, "stock", "must be a whole number"),
    ("regions", "DE", "regions", "must be a list"),
    ("tags", ["a", 5], "tags.1", "must be text"),
    ("category", 5, "category", f"must be one of {', '.join(BenefitCategory)}"),
    ("validFrom", 1767225600, "validFrom", "must be a date and time with offset, such as 2026-01-31T23:59:59Z"),
    ("faceValue", "5 EUR", "faceValue", "must have amount and currency"),
    ("faceValue", {"amount": "5"}, "faceValue.currency", "must be text"),
    ("faceValue", {"amount": "x", "currency": "EUR"}, "faceValue.amount", "'x' is not a decimal number"),
    ("faceValue", {"amount": "5", "currency": "eur"}, "faceValue.currency", "'eur' is not an ISO 4217 currency"),
    ("faceValue", {"amount": "9" * 50, "currency": "EUR"}, "faceValue.amount", "is no amount of money"),
    ("translations", {"de": "T"}, "translations", "must be a list"),
    ("translations", [{"locale": "de", "titel": "T"}], "translations.0",
     "must have locale, title and, if wished, description"),
    ("translations", [{"locale": "de", "title": None}], "translations.0.title", "must be text"),
    ("translations", [{"locale": "_", "title": "T"}], "translations.0.locale",
     "must be a language tag such as de or pt-BR"),
    ("translations", [{"locale": "de", "title": "T"}, {"locale": "DE", "title": "T"}], "translations.1.locale",
     "stands there twice"),
    ("pointPrice", 5, "pointPrice", "is not a field of a benefit: 'pointPrice' (did you mean pointsPrice?)"),
    ("points_price", 5, "pointsPrice", "stands there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "field", "reason"), WRONG_VALUES)
def test_a_wrong_value_is_told_and_the_good_objects_come_through(
    name: str, value: Any, field: str, reason: str
) -> None:
    """JSON is read as strictly as the API: a value of the wrong type is rejected, never converted."""
    good = {"sku": "good", "category": "VIDEO", "title": "T", "pointsPrice": 5}
    lines_ = [json.dumps(said) for said in (good, good | {"sku": "A"} | {name: value}, good | {"sku": "after"})]
    for rows in (feed("\n".join(lines_)), feed("[" + ",\n".join(lines_) + "]")):
        assert rejections(rows) == [(2, field, reason)]
        assert skus(rows) == ["good", "after"]


def test_a_name_twice_in_one_object() -> None:
    """A JSON object that has a name twice does not mean either value."""
    rows = feed('{"sku":"A","category":"FOOD","title":"T","pointsPrice":5,"pointsPrice":6}\n')
    assert rejections(rows) == [(1, "pointsPrice", "stands there twice")]


def test_all_faults_of_several_translations() -> None:
    """Each part of each translation is judged by itself."""
    words = [{"locale": "_", "title": ""}, {"locale": "de", "title": "T"}, {"locale": "de", "title": "x" * 201}]
    said = {"sku": "A", "category": "FOOD", "title": "T", "pointsPrice": 5, "translations": words}
    assert [field for _, field, _ in rejections(feed(json.dumps(said)))] == [
        "translations.0.locale",
        "translations.0.title",
        "translations.2.locale",
        "translations.2.title",
    ]


def test_a_sku_twice_in_the_file() -> None:
    """The later of two rows with the same SKU is rejected and names the first, even if the first was rejected too."""
    rows = feed(f"{HEADER}\nA,VIDEO,T,5\nB,VIDEO,T,none\nA,VIDEO,T,6\nB,VIDEO,T,5\na,VIDEO,T,5\n")
    assert rejections(rows) == [
        (3, "pointsPrice", "must be whole points, such as 500"),
        (4, "sku", "A already stands in line 2"),
        (5, "sku", "B already stands in line 3"),
    ]
    assert skus(rows) == ["A", "a"]


def test_a_row_that_does_not_fit_the_header() -> None:
    """Cells without a heading and rows that end early are rejected: values may have slipped."""
    rows = feed(f"{HEADER},\nA,VIDEO,T,5,x,\nB,VIDEO,T,5,,,\n{GOOD}\n")
    assert rejections(rows) == [(2, "column 5", "has no heading"), (4, "row", "has 4 cells where the header has 5")]
    assert skus(rows) == ["B"]


def test_a_face_value_said_twice_or_by_half() -> None:
    """One amount in two places, or an amount without its currency, is not a face value."""
    rows = feed(f"{HEADER},faceValue,faceValueAmount,faceValueCurrency\n{GOOD},5 EUR,6,\nB,VIDEO,T,5,,6,\n")
    assert rejections(rows) == [
        (2, "faceValue", "is also said in faceValueAmount and faceValueCurrency"),
        (3, "faceValueCurrency", "'' is not an ISO 4217 currency"),
    ]


def test_a_description_needs_its_title() -> None:
    """A translation without a title is rejected in the title's column."""
    rows = feed(f"{HEADER},title:de,description:de\n{GOOD},,Gut\n")
    assert rejections(rows) == [(2, "title:de", "must have 1 to 200 characters, none for control")]


def test_a_malformed_line_of_json_lines_is_one_bad_row() -> None:
    """In JSON Lines the next line starts afresh, so a broken one is rejected alone."""
    good = '{"sku":"A","category":"FOOD","title":"T","pointsPrice":5}'
    rows = feed(f"{good}\nnot json\n[]\n{good.replace('A', 'B', 1)}\n")
    assert rejections(rows) == [
        (2, "row", "is not JSON: Expecting value at column 1"),
        (3, "row", "must be an object"),
    ]
    assert skus(rows) == ["A", "B"]


# What ends the file

BROKEN = [
    ("", "the file is empty"),
    ("\ufeff \n\n", "the file is empty"),
    ("sku".encode("utf-16"), "the file is not text in UTF-8; from a spreadsheet, save as CSV UTF-8"),
    (b"PK\x03\x04\x14\0\6\0", "the file is not text in UTF-8; from a spreadsheet, save as CSV UTF-8"),
    (f"{HEADER}\nA,VIDEO,Caf\xe9,5\n".encode("latin-1"), "line 2: byte 12 is not UTF-8; save the file as UTF-8"),
    (b'[\n"caf\xe9"]', "line 2: byte 5 is not UTF-8; save the file as UTF-8"),
    (f"{HEADER},pointPrice,x\n",
     "line 1: the header names what is no column of a feed: 'pointPrice' (did you mean pointsPrice?), 'x'"),
    (f"{HEADER},title:\n", "line 1: the header names what is no column of a feed: 'title:' (did you mean title?)"),
    (f"{HEADER},terms:de\n", "line 1: the header names what is no column of a feed: 'terms:de'"),
    (f"{HEADER},translations\n", "line 1: the header names what is no column of a feed: 'translations'"),
    (f"{HEADER},Points_Price\n", "line 1: the header names a column twice: pointsPrice"),
    (f"{HEADER},title:de,title:DE\n", "line 1: the header names a column twice: title:DE, title:de"),
    (f"{HEADER},description:de\n", "line 1: the header has description:de but no title:de"),
    ("sku;title\n", "line 1: the header lacks category, pointsPrice"),
    (
        f'{HEADER}\n"A,VIDEO,T,5\nB,VIDEO,T,5\n',
        "line 2: a quote in the row that begins here is not closed, or not doubled (unexpected end of data)",
    ),
    (
        f'{HEADER}\n"A,VIDEO,T,5\nB,VIDEO,"T",5\n',
        "line 2: a quote in the row that begins here is not closed, or not doubled (',' expected after '\"')",
    ),
    (
        f'{HEADER}\n"A{",VIDEO,T,5" * 20_000}',
        "line 2: a quote in the row that begins here is not closed, or not doubled (field larger than field limit",
    ),
    ("[", "line 1: this is not JSON: Expecting value at column 2"),
    ('[\n{"sku" 5}]', "line 2: this is not JSON: Expecting ':' delimiter at column 8"),
    ("[\n1 2]", "line 2: this is not JSON: ] was expected"),
    ("[1]\n[2]", "line 2: something follows the end of the JSON document; one object a line is JSON Lines"),
    ('{"benefits":\n[1],\n}', "line 3: this is not JSON: "),
    ("{1: 2}", "line 1: this is not JSON: a name was expected"),
    (f"{HEADER}\rA,VIDEO,T,5\r", "line 1: a carriage return stands outside quotes"),
    ('{"benefit": [],\n"pages": 1}',
     'line 1: the document has no array of benefits; it is […] or {"benefits": […]} or {"content": […]}'),
    ("[" * 100_000, "line 1: this is nested too deeply"),
    ("[NaN]", "line 1: this is not JSON: NaN is not JSON"),
    ("[" + "9" * 5_000 + "]", "line 1: this is not JSON: 99999999999999999999… is too large a number"),
    ("[1e9999999999999999999]", "line 1: this is not JSON: 1e999999999999999999… is too large a number"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), BROKEN)
def test_a_broken_file_ends_with_one_sentence(text: str | bytes, sentence: str) -> None:
    """What makes a whole file unreadable is said once, with the line where there is one."""
    with pytest.raises(FeedError) as error:
        feed(text)
    assert error.value.message.startswith(sentence)
    assert "\n" not in error.value.message
    assert error.value.line == (int(sentence.split()[1][:-1]) if sentence.startswith("line") else None)


FRAGMENTS = ["{", "}", "[", "]", ":", ",", ";", "|", '"', "\n", "\r", "\0", "\\ud800", "1e9", "-", "null", "true", " "]
FRAGMENTS += [
    '"benefits"',
    '"content"',
    '"sku"',
    '"faceValue"',
    '"productId"',
    "sku",
    "title",
    "title:de",
    HEADER,
    GOOD,
]


@given(
    st.binary(max_size=50)
    | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(lambda parts: "".join(parts).encode())
)
def test_no_file_is_a_crash(raw: bytes) -> None:
    """Whatever the bytes, reading ends in rows or in a FeedError, in every format."""
    for format_ in FORMATS:
        with suppress(FeedError):
            feed(raw, format_, points_per_unit=1)


def test_rows_before_the_error_have_come_through() -> None:
    """A file is read as a stream: what precedes the broken place is handed out before the error is raised."""
    rows = read_feed(io.BytesIO(f"{HEADER}\n{GOOD}\n".encode() + b"\xff\n"))
    assert isinstance(next(rows), Accepted)
    with pytest.raises(FeedError, match="line 3: byte 1 is not UTF-8"):
        next(rows)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A missing file and a folder are named, with what the system says of them."""
    with pytest.raises(FeedError, match=r"nothing\.csv cannot be read: No such file or directory"):
        list(read_feed(tmp_path / "nothing.csv"))
    with pytest.raises(FeedError, match="cannot be read: Is a directory"):
        list(read_feed(str(tmp_path)))


def test_too_large_is_said_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and documents beyond their bounds are refused before they are decoded."""
    monkeypatch.setattr(lines, "LINE_BYTES_MAX", 100)
    monkeypatch.setattr(lines, "DOCUMENT_BYTES_MAX", 1_000)
    with pytest.raises(FeedError, match="line 3: the line is longer than 100 bytes"):
        feed(f"{HEADER}\n{GOOD}\nA,VIDEO,{'x' * 100},5\n")
    with pytest.raises(FeedError, match=r"more than 1000 bytes; write one benefit a line \(JSON Lines\)"):
        feed("[" + "1," * 1_000 + "1]")


def test_a_format_that_is_named_is_not_guessed() -> None:
    """With a format given, content of another is an error of that format."""
    with pytest.raises(FeedError, match="the header names what is no column"):
        feed("[]", "csv")
    with pytest.raises(FeedError, match="one object a line is JSON Lines"):
        feed('{"benefits": []}\n{}', "json")
    assert rejections(feed(HEADER, "jsonl")) == [(1, "row", "is not JSON: Expecting value at column 1")]


# The size of a real catalog


class Endless(io.RawIOBase):
    """A file that is never in memory as a whole."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:  # noqa: D102 - as in io
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: D102 - as in io
        self._left = self._left or next(self._pieces, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


@pytest.mark.parametrize("layout", ["csv", "jsonl"])
def test_fifty_thousand_rows_pass_through(layout: str) -> None:
    """A feed of 50,000 rows (25 MB) is read in a fraction of its size: what stays is the SKUs."""
    text = "x" * 500

    def rows() -> Iterator[bytes]:
        if layout == "csv":
            yield f"{HEADER},description\n".encode()
        for number in range(50_000):
            if layout == "csv":
                yield f"sku-{number},VIDEO,Title,5,{text}\n".encode()
            else:
                said = {"sku": f"sku-{number}", "category": "VIDEO", "title": "T", "pointsPrice": 5, "terms": text}
                yield json.dumps(said).encode() + b"\n"

    count = 0
    tracemalloc.start()
    try:
        for row in read_feed(io.BufferedReader(Endless(rows()))):
            assert isinstance(row, Accepted)
            count += 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 50_000
    assert most < 16 * 2**20


# The documentation

DOCS = (Path(__file__).parents[2] / "docs" / "catalog-feeds.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_guide_are_feeds() -> None:
    """Every example in docs/catalog-feeds.md is recognised and accepted as it stands."""
    right, _ = blocks("csv")
    document, products = blocks("json")
    (json_lines,) = blocks("jsonl")
    assert skus(feed(right)) == ["film-month", "film-year"]
    assert skus(feed(document)) == ["ride-5"]
    assert skus(feed(json_lines)) == ["meal-1", "meal-2"]
    priced = feed(products, points_per_unit=100)
    table = [
        f"| `{row.content.sku}` | {row.content.title} | {row.content.points_price} |"
        for row in priced
        if isinstance(row, Accepted)
    ]
    assert len(table) == len(priced)
    assert "\n".join(table) in DOCS


def test_the_guide_knows_every_field_and_format() -> None:
    """Every field that can be read and every format that can be named stands in a table of the guide."""
    tables = "".join(line for line in DOCS.splitlines() if line.startswith("|"))
    assert [name for name in (*FIELDS, *FORMATS) if f"`{name}`" not in tables] == []


def test_the_rejections_of_the_guide_are_what_is_answered() -> None:
    """The wrong feed in docs/catalog-feeds.md gets exactly the answer printed there."""
    _, wrong = blocks("csv")
    (answer,) = blocks("text")
    rows = feed(wrong)
    assert [f"line {line}: {field}: {reason}" for line, field, reason in rejections(rows)] == answer.splitlines()
    assert skus(rows) == ["tea-1"]
