"""What goes from wallet to wallet when two members turn out to be one person, and back when they do not.

An entry holds no personal data, so what it says of links leaves the partners' references out; the wallets have them.
In everything else it is complete: from the entry alone either wallet can be made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from exchange.journal import canonical, milliseconds
from exchange.wallet import Given, Link, Lot


class Moved(Struct, frozen=True):
    """Lots, of which nothing is held; links without references; counts against limits of taking and of giving."""

    lots: tuple[Lot, ...]
    links: tuple[Link, ...]
    taken: Mapping[str, int]
    given: Mapping[str, Given]

    def text(self) -> str:
        """Return it as canonical JSON, the form in which an entry says it."""
        said = {
            "given": {issuer: [given.on.isoformat(), str(given.points)] for issuer, given in self.given.items()},
            "links": [_link(link) for link in self.links],
            "lots": [_lot(lot) for lot in self.lots],
            "taken": {benefit: str(units) for benefit, units in self.taken.items()},
        }
        return canonical(said).decode()

    @classmethod
    def read(cls, text: str) -> Moved:
        """Return what an entry says. ValueError, KeyError or TypeError if it says no such thing."""
        said = orjson.loads(text)
        return cls(
            lots=tuple(_lot_from(lot) for lot in said["lots"]),
            links=tuple(_link_from(link) for link in said["links"]),
            taken={benefit: int(units) for benefit, units in said["taken"].items()},
            given={issuer: Given(date.fromisoformat(on), int(n)) for issuer, (on, n) in said["given"].items()},
        )


def anonymous(links: tuple[Link, ...]) -> tuple[Link, ...]:
    """Return links without what a partner calls the member."""
    return tuple(replace(link, reference="") for link in links)


_COUNTS = ("awarded", "remaining", "redeemed", "expired", "restored", "given", "withdrawn", "owed")


def _lot(lot: Lot) -> dict[str, Any]:
    return {
        "active_from": _time(lot.active_from), "awarded_at": _time(lot.awarded_at), "expires_at": _time(lot.expires_at),
        "frozen_by": lot.frozen_by, "id": lot.id, "issuer": lot.issuer,
        **{name: str(getattr(lot, name)) for name in _COUNTS},
    }  # fmt: skip


def _lot_from(said: Mapping[str, Any]) -> Lot:
    return Lot(
        id=said["id"], issuer=said["issuer"], expires_at=_moment(said["expires_at"]),
        awarded_at=datetime.fromisoformat(said["awarded_at"]), active_from=_moment(said["active_from"]),
        frozen_by=said["frozen_by"], **{name: int(said[name]) for name in _COUNTS},
    )  # fmt: skip


def _link(link: Link) -> dict[str, Any]:
    return {
        "daily_limit": None if link.daily_limit is None else str(link.daily_limit), "ended_at": _time(link.ended_at),
        "partner": link.partner, "since": _time(link.since), "spent": str(link.spent),
        "spent_on": None if link.spent_on is None else link.spent_on.isoformat(),
    }  # fmt: skip


def _link_from(said: Mapping[str, Any]) -> Link:
    return Link(
        said["partner"], "", datetime.fromisoformat(said["since"]),
        None if said["daily_limit"] is None else int(said["daily_limit"]), _moment(said["ended_at"]),
        None if said["spent_on"] is None else date.fromisoformat(said["spent_on"]), int(said["spent"]),
    )  # fmt: skip


def _time(at: datetime | None) -> str | None:
    return None if at is None else milliseconds(at)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
