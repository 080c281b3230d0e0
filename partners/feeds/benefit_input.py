"""A BenefitInput that comes in a file: read as strictly as the API reads it, and told everything that is wrong.

The API answers with the first wrong path, because a program sent it. A feed is mended by a person, who would
rather not import fifty thousand rows once per mistake. So each field is read by itself, and what no benefit may have
is still decided by `exchange.benefit.validate` alone: whatever it refuses is noted, replaced by something harmless,
and the rest is asked again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

from msgspec import NODEFAULT
from msgspec.structs import fields, replace

from exchange.amounts import Money, minor_from_decimal
from exchange.benefit import (
    BenefitCategory,
    BenefitContent,
    BenefitStatus,
    Fulfilment,
    LimitPeriod,
    Translation,
    validate,
)
from exchange.errors import ValidationFailed

Path = tuple[str, ...]
Read = TypeVar("Read")

TWICE: Final = object()
"""Stands for the value of a name that a JSON object has twice: RFC 8259 §4 lets it mean anything; we do not guess."""

_POINTS = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_NUMBER_TEXT_MAX = 40
_CAPITAL = re.compile(r"[A-Z]")
_NAME_SHOWN_MAX = 40


@dataclass(frozen=True, slots=True)
class BenefitSaid:
    """What one object or row says. `content` is None when anything is wrong with it."""

    sku: str | None
    content: BenefitContent | None
    expected_version: int | None
    wrongs: list[tuple[Path, str]]


def is_text(said: Any) -> bool:
    r"""Tell text from all else, also from half a surrogate pair: "\ud83d" is JSON, but no database takes it."""
    if not isinstance(said, str):
        return False
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(said: Any) -> str:
    if not is_text(said):
        raise ValidationFailed("must be text")
    return str(said)


def _texts(said: Any) -> tuple[str, ...]:
    if not isinstance(said, list):
        raise ValidationFailed("must be a list")
    return tuple(_within(str(index), _text, one) for index, one in enumerate(said))


def _whole(said: Any) -> int:
    if not isinstance(said, int) or isinstance(said, bool):
        raise ValidationFailed("must be a whole number")
    return said


def _version(said: Any) -> int:
    if _whole(said) < 1:
        raise ValidationFailed("must be at least 1")
    return int(said)


def _points(said: Any) -> int:
    if isinstance(said, str) and _POINTS.fullmatch(said):
        return int(said)
    if not isinstance(said, int) or isinstance(said, bool):
        raise ValidationFailed("must be whole points, such as 500")
    return said


def _moment(said: Any) -> datetime:
    """Read RFC 3339 in UTC, cut to milliseconds: what the database keeps, so that reading it back is no change."""
    wrong = ValidationFailed("must be a date and time with offset, such as 2026-01-31T23:59:59Z")
    if not isinstance(said, str) or not _MOMENT.fullmatch(said):
        raise wrong
    try:
        at = datetime.fromisoformat(said).astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _money(said: Any) -> Money:
    if not isinstance(said, dict) or not said.keys() <= {"amount", "currency"}:
        raise ValidationFailed("must have amount and currency")
    currency = _within("currency", _text, said.get("currency"))
    amount = said.get("amount")
    if isinstance(amount, int | Decimal) and not isinstance(amount, bool):
        amount = str(amount)
    text = _within("amount", _text, amount)
    if len(text) > _NUMBER_TEXT_MAX:
        raise ValidationFailed("is no amount of money", ["amount"])
    try:
        return Money(minor_from_decimal(text, currency), currency)
    except ValueError as wrong:
        part = "currency" if "ISO 4217" in str(wrong) else "amount"
        raise ValidationFailed(str(wrong), [part]) from None


def _translations(said: Any) -> tuple[Translation, ...]:
    if not isinstance(said, list):
        raise ValidationFailed("must be a list")
    return tuple(_within(str(index), _translation, one) for index, one in enumerate(said))


def _translation(said: Any) -> Translation:
    if not isinstance(said, dict) or not said.keys() <= {"locale", "title", "description"}:
        raise ValidationFailed("must have locale, title and, if wished, description")
    description = said.get("description")
    return Translation(
        locale=_within("locale", _text, said.get("locale")),
        title=_within("title", _text, said.get("title")),
        description=None if description is None else _within("description", _text, description),
    )


def _one_of(words: type[StrEnum]) -> Callable[[Any], StrEnum]:
    def read(said: Any) -> StrEnum:
        if not isinstance(said, str) or said.upper() not in words.__members__:
            raise ValidationFailed(f"must be one of {', '.join(words)}")
        return words[said.upper()]

    return read


def _within(name: str, read: Callable[[Any], Read], said: Any) -> Read:
    try:
        return read(said)
    except ValidationFailed as wrong:
        raise ValidationFailed(wrong.message, [name, *(wrong.path or ())]) from None


_READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "sku": _text,
    "category": _one_of(BenefitCategory),
    "title": _text,
    "description": _text,
    "translations": _translations,
    "imageUrl": _text,
    "terms": _text,
    "redeemInstructions": _text,
    "pointsPrice": _points,
    "faceValue": _money,
    "validFrom": _moment,
    "validUntil": _moment,
    "regions": _texts,
    "tags": _texts,
    "stock": _whole,
    "memberLimit": _whole,
    "memberLimitPeriod": _one_of(LimitPeriod),
    "fulfilment": _one_of(Fulfilment),
    "status": _one_of(BenefitStatus),
    "expectedVersion": _version,
}
FIELDS: Final = tuple(_READ)
"""The fields of a BenefitInput, in the schema's order, which is also the order in which their faults are told."""

REQUIRED: Final = ("sku", "category", "title", "pointsPrice")

_HARMLESS: Final[Mapping[str, Any]] = {
    **{field.name: field.default for field in fields(BenefitContent) if field.default is not NODEFAULT},
    "sku": "x",
    "category": BenefitCategory.OTHER,
    "title": "x",
    "points_price": 1,
}


_BY_LOWER: Final[Mapping[str, str]] = {field.lower(): field for field in FIELDS}


def canonical(name: str, by_lower: Mapping[str, str] = _BY_LOWER) -> str | None:
    """Return the field that `name` means (pointsPrice, points_price, POINTSPRICE), or None."""
    return by_lower.get(name.strip().replace("_", "").lower())


def unknown(name: str, names: Iterable[str] = FIELDS) -> str:
    """Return `name` in quotes and, when it looks like a slip, the field that was probably meant."""
    shown = repr(name if len(name) <= _NAME_SHOWN_MAX else f"{name[:_NAME_SHOWN_MAX]}…")
    by_lower = {field.lower(): field for field in names}
    close = difflib.get_close_matches(name[:_NAME_SHOWN_MAX].lower(), by_lower, n=1)
    return f"{shown} (did you mean {by_lower[close[0]]}?)" if close else shown


def read_benefit(said: Mapping[str, Any]) -> BenefitSaid:
    """Return the benefit that an object with BenefitInput's fields describes, or everything that is wrong with it.

    A field that is missing or null has its default.
    """
    wrongs: list[tuple[Path, str]] = []
    stated: dict[str, Any] = {}
    for name, value in said.items():
        field = canonical(name)
        if field is None:
            wrongs.append(((name[:_NAME_SHOWN_MAX],), f"is not a field of a benefit: {unknown(name)}"))
        elif field in stated:
            stated[field] = TWICE
        else:
            stated[field] = value
    values: dict[str, Any] = {}
    for field in FIELDS:
        value = stated.get(field)
        try:
            if value is not None:
                values[attribute(field)] = _read(field, value)
            elif field in REQUIRED:
                wrongs.append(((field,), "is required"))
        except ValidationFailed as wrong:
            wrongs.append(((field, *(wrong.path or ())), wrong.message))
    expected_version = values.pop("expected_version", None)
    content = BenefitContent(**{**_HARMLESS, **values})
    wrongs += faults(content)
    wrongs.sort(key=lambda wrong: FIELDS.index(wrong[0][0]) if wrong[0][0] in FIELDS else len(FIELDS))
    return BenefitSaid(values.get("sku"), None if wrongs else content, expected_version, wrongs)


def _read(field: str, value: Any) -> Any:
    if value is TWICE:
        raise ValidationFailed("stands there twice")
    return _READ[field](value)


def attribute(field: str) -> str:
    """Return BenefitContent's name of a field: points_price for pointsPrice."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", field)


def faults(content: BenefitContent) -> Iterator[tuple[Path, str]]:
    """Yield everything that `validate` has against `content`, not only the first."""
    found: set[Path] = set()
    while True:
        try:
            validate(content)
        except ValidationFailed as wrong:
            path = tuple(wrong.path or ())
            if path in found:  # the harmless value does not help: better one fault untold than no end
                return
            found.add(path)
            yield path, wrong.message
            content = _without(content, path)
        else:
            return


def _without(content: BenefitContent, path: Path) -> BenefitContent:
    match path:
        case ("translations", index, part):
            harmless: dict[str, Any] = {"locale": f"qaa-{index:0>8}", "title": "x", "description": None}
            words = list(content.translations)
            words[int(index)] = replace(words[int(index)], **{part: harmless[part]})
            return replace(content, translations=tuple(words))
        case _:
            name = attribute(path[0])
            return replace(content, **{name: _HARMLESS[name]})
