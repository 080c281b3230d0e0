"""What stands about a party on paper: what it is called in law, where it is, its tax number and its account.

Nothing of it is in the journal or in a statement, so nothing of it is hashed: a firm that moves changes no statement.
Accounts are checked as far as one can without asking a bank: by the check digits and the country's form of an IBAN
(ISO 13616), and the form of a BIC (ISO 9362).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from stdnum import bic, iban
from stdnum.exceptions import ValidationError

from exchange.errors import ValidationFailed

LINE_LENGTH_MAX: Final = 70
"""Of a name, and of a line of an address: what ISO 20022 and SEPA take."""

ADDRESS_LINES_MAX: Final = 5
TAX_NUMBER_LENGTH_MAX: Final = 35


class Particulars(Struct, frozen=True, kw_only=True):
    """One version of a party's particulars. `address`: its lines; `iban` and `bic` without spaces, in capitals."""

    name: str
    address: tuple[str, ...] = ()
    tax_number: str | None = None
    iban: str | None = None
    bic: str | None = None


def checked(given: Particulars) -> Particulars:
    """Return particulars in their one form; ValidationFailed, with the field, for what cannot be."""
    name = _line(given.name, LINE_LENGTH_MAX, "name")
    if len(given.address) > ADDRESS_LINES_MAX:
        raise ValidationFailed(f"has at most {ADDRESS_LINES_MAX} lines", ("input", "address"))
    address = tuple(_line(line, LINE_LENGTH_MAX, "address") for line in given.address)
    tax_number = given.tax_number and _line(given.tax_number, TAX_NUMBER_LENGTH_MAX, "taxNumber")
    account = given.iban and _iban(given.iban)
    bank = given.bic and _bic(given.bic)
    if bank and not account:
        raise ValidationFailed("is of an account: give its IBAN as well", ("input", "bic"))
    return Particulars(
        name=name, address=address, tax_number=tax_number or None, iban=account or None, bic=bank or None
    )


def _line(text: str, length_max: int, field: str) -> str:
    line = text.strip()
    if not line or not line.isprintable() or len(line) > length_max:
        raise ValidationFailed(f"has 1 to {length_max} printable characters in a line", ("input", field))
    return line


def _iban(text: str) -> str:
    try:
        found: str = iban.validate(text)
    except ValidationError:
        raise ValidationFailed(f"{text} is no IBAN: is there a slip in it?", ("input", "iban")) from None
    return found


def _bic(text: str) -> str:
    try:
        found: str = bic.validate(text)
    except ValidationError:
        raise ValidationFailed(f"{text} is no BIC, which has 8 or 11 characters", ("input", "bic")) from None
    return found
