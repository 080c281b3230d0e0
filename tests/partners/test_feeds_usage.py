"""A partner's own record of usage, as it comes."""

from __future__ import annotations

from datetime import date
from io import BytesIO

import pytest

from exchange.settlement.usage import UsageRow
from partners.feeds.rows import FeedError, Rejected
from partners.feeds.usage import read_usage


def test_a_file_is_read_row_by_row() -> None:
    """Columns in any order; others are passed over; the apostrophe of a spreadsheet's file is none of the name."""
    data = (
        "\ufeffShop;Net;ENTRY;points;currency;day\r\n"
        "7;12.30;'-abc;1000;eur;2026-03-31\r\n\r\n"
        "7;-15;xyz;-3;JPY;2026-03-31T23:59:59.000Z\r\n"
        "8;0.00;q;0;EUR;\r\n"
    )
    read = read_usage(BytesIO(data.encode()))
    assert read.columns == ("points", "net")
    assert list(read.rows) == [
        UsageRow("-abc", "EUR", (1000, 1230), date(2026, 3, 31), 2),
        UsageRow("xyz", "JPY", (-3, -15), date(2026, 3, 31), 4),
        UsageRow("q", "EUR", (0, 0), None, 5),
    ]


def test_points_alone_need_no_currency() -> None:
    """Whoever keeps no money compares points."""
    read = read_usage(BytesIO(b"entry,points\nabc,5\n"))
    assert (read.columns, list(read.rows)) == (("points",), [UsageRow("abc", "", (5,), None, 2)])


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        (",1,1.00,EUR,2026-03-01", "entry", "must have 1 to 500 characters"),
        ("a" * 501 + ",1,1.00,EUR,", "entry", "must have 1 to 500 characters"),
        ("a,1.5,1.00,EUR,", "points", "'1.5' is not a whole number of at most 18 digits"),
        ("a,1,1.001,EUR,", "gross", "EUR has 2 decimal digits, '1.001' has 3"),
        ("a,1,,EUR,", "gross", "'' is not a decimal number"),
        ("a,1,1.00,XXX,", "currency", "'XXX' is not an ISO 4217 currency"),
        ("a,1,1.00,,", "currency", "must not be empty"),
        ("a,1,1.00,EUR,31.03.2026", "day", "'31.03.2026' does not begin with a date such as 2026-03-31"),
        ("a,1,1.00", "row", "has 3 cells where the header has 5"),
    ],
)
def test_a_wrong_row_is_told_and_the_next_is_read(row: str, field: str, says: str) -> None:
    """By line, field and reason."""
    read = read_usage(BytesIO(f"entry,points,gross,currency,day\n{row}\nb,1,1.00,EUR,\n".encode()))
    wrong, right = read.rows
    assert wrong == Rejected(2, field, says)
    assert right == UsageRow("b", "EUR", (1, 100), None, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"points,gross\n", "line 1: the header lacks entry, currency"),
        (b"entry,shop\n", "line 1: the header has none of points, gross, fee, net: there is nothing to compare"),
        (b"entry,points,Points\n", "line 1: the header names a column twice: points"),
    ],
)
def test_a_header_that_will_not_do_ends_it(data: bytes, says: str) -> None:
    """Before anything is compared."""
    with pytest.raises(FeedError) as told:
        read_usage(BytesIO(data))
    assert told.value.message == says


def test_a_quote_that_is_not_closed_ends_the_rows() -> None:
    """With the line in which its row begins."""
    read = read_usage(BytesIO(b'entry,points\na,1\n"b,2\n'))
    assert next(read.rows) == UsageRow("a", "", (1,), None, 2)
    with pytest.raises(FeedError, match=r"^line 3: "):
        next(read.rows)
