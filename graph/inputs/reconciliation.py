"""What finance and partners send to have their books held against ours: files, as text, and answers."""

from __future__ import annotations

from typing import Final

import strawberry
from strawberry import UNSET

from exchange.errors import ValidationFailed
from exchange.settlement.reconciliation import DAYS, Tolerance
from graph.inputs import REASON_MAX, MoneyInput, check_said, sent
from graph.paging import SIZE_DEFAULT, SIZE_MAX

CONTENT_BYTES_MAX: Final = 3 * 2**20
"""Of a file in UTF-8: with what JSON adds to it, it fits into a request."""

DAYS_MAX: Final = 366
_NAME_MAX: Final = 200


def content_bytes(content: str) -> bytes:
    """Return a file's bytes, or refuse one that is too large."""
    data = content.encode()
    if len(data) > CONTENT_BYTES_MAX:
        message = f"has {len(data)} bytes and may have {CONTENT_BYTES_MAX}: send it in parts"
        raise ValidationFailed(message, ("input", "content"))
    return data


@strawberry.input(
    description="A bank's file. What makes it the same file is its content: sent again it stays as it was."
)
class UploadBankFileInput:
    """Needs no idempotency key: the hash of its content is one."""

    content: str = strawberry.field(description="camt.053, camt.054 or CSV, as text; at most 3 MiB in UTF-8.")
    name: str = strawberry.field(default="", description="What people call it; at most 200 characters.")
    days: int = strawberry.field(
        default=DAYS, description="How far from the day of instruction the value date may be, at most 366."
    )
    within: list[MoneyInput] | None = strawberry.field(
        default=UNSET, description="Tell of an amount that differs by no more for what it might be; one by currency."
    )

    def checked(self) -> tuple[bytes, Tolerance]:
        """Return the file's bytes and what may differ, or refuse what cannot be."""
        data = content_bytes(self.content)
        if len(self.name) > _NAME_MAX or not self.name.isprintable():
            raise ValidationFailed(f"must have at most {_NAME_MAX} printable characters", ("input", "name"))
        if not 0 <= self.days <= DAYS_MAX:
            raise ValidationFailed(f"must be 0 to {DAYS_MAX}", ("input", "days"))
        minor: dict[str, int] = {}
        for index, each in enumerate(sent(self.within) or ()):
            where = ("input", "within", str(index))
            amount = each.money(*where)
            if amount.minor < 0:
                raise ValidationFailed("must not be negative", (*where, "amount"))
            if amount.currency in minor:
                raise ValidationFailed("there is another of this currency", (*where, "currency"))
            minor[amount.currency] = amount.minor
        return data, Tolerance(days=self.days, minor=minor)


@strawberry.input(description="Why an exception is settled. Said again it is the same answer, whoever says it.")
class ResolvePaymentExceptionInput:
    """Needs no idempotency key: an exception is resolved once."""

    exception: strawberry.ID = strawberry.field(description="Its `id`.")
    reason: str = strawberry.field(description="Why; at most 500 characters, no personal data.")
    pays: str | None = strawberry.field(
        default=UNSET, description="The reference of what its movements pay after all, wholly or in part."
    )

    def check(self) -> None:
        """Refuse what is no answer."""
        check_said(self.reason, "reason")
        if not 1 <= len(self.exception) <= REASON_MAX:
            raise ValidationFailed(f"must have 1 to {REASON_MAX} characters", ("input", "exception"))


@strawberry.input(description="A bank's file that is acted upon, a page of what was found in it at a time.")
class BankFileInput:
    """Needs no idempotency key: what was found once is recorded, and reconciled, once."""

    file: int = strawberry.field(description="The file's number.")
    hash: str = strawberry.field(description="Its hash, as the caller has read it: that is what is signed.")
    first: int = strawberry.field(default=SIZE_MAX, description="At most so many, 100 at most.")
    after: str | None = strawberry.field(default=UNSET, description="Only what is behind this cursor.")


@strawberry.input(description="A partner's own record of what its statement is about. Nothing of it is kept.")
class ReconcileUsageInput:
    """Changes nothing: it can be sent as often as one likes."""

    statement: strawberry.ID = strawberry.field(description="Which statement.")
    content: str = strawberry.field(
        description="CSV with `entry`, any of `points`, `gross`, `fee`, `net`, `currency` if one is money, and "
        "`day` if wished; at most 3 MiB in UTF-8."
    )
    first: int = strawberry.field(default=SIZE_DEFAULT, description="At most so many differences, 100 at most.")
    after: str | None = strawberry.field(
        default=UNSET, description="Only what is behind the difference of this cursor: send the same content again."
    )
