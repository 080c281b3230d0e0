"""What stands about partners, and about the operator, on paper; the operator's handle is `exchange`.

Each change is a version of its own, inserted and never altered, with who made it: whoever can change an account can
send money elsewhere, and that must not be done without a trace. Two changes at the same moment are two attempts at one
version, and one of them is told to look again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace
from pymongo.errors import DuplicateKeyError

from exchange.errors import ValidationFailed
from exchange.particulars import Particulars, checked
from exchange.store.connection import Database, answering
from partners.registry import Partner

_VERSION_DIGITS: Final = 6


class Version(Struct, frozen=True, kw_only=True):
    """One version: 0 is before there was any, when a partner has but the name it was brought in with."""

    number: int
    particulars: Particulars
    by: str | None = None
    at: datetime | None = None


class PartnerParticulars:
    """The particulars of all parties, in the collection `particulars`."""

    def __init__(self, database: Database) -> None:
        self._versions = database["particulars"]

    async def of(self, partner: Partner) -> Version:
        """Return the version in force."""
        with answering():
            newest = self._versions.find({"_id": {"$gt": f"{partner.handle}:", "$lt": f"{partner.handle};"}})
            found = await newest.sort("_id", -1).limit(1).to_list(None)
        return _version(found[0]) if found else Version(number=0, particulars=Particulars(name=partner.name))

    async def change(self, partner: Partner, changes: Mapping[str, Any], by: str, now: datetime) -> Version:
        """Put a new version in force, with these fields changed; ValidationFailed for what cannot be."""
        before = await self.of(partner)
        changed = checked(replace(before.particulars, **changes))
        if changed == before.particulars:
            return before
        number = before.number + 1
        document = {
            "_id": f"{partner.handle}:{number:0{_VERSION_DIGITS}d}", "number": number, "by": by,
            "at": now.replace(microsecond=now.microsecond // 1000 * 1000), **asdict(changed),
        }  # fmt: skip
        with answering():
            try:
                await self._versions.insert_one(document)
            except DuplicateKeyError:
                message = f"somebody changed the particulars of {partner.handle} at the same moment: look again"
                raise ValidationFailed(message) from None
        return _version(document)


def _version(document: Mapping[str, Any]) -> Version:
    particulars = Particulars(
        name=document["name"], address=tuple(document["address"]), tax_number=document["tax_number"],
        iban=document["iban"], bic=document["bic"],
    )  # fmt: skip
    return Version(number=document["number"], particulars=particulars, by=document["by"], at=document["at"])
