"""What the operator decides: the environment, read in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_ISSUER: Final = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One exchange's settings.

    `issuer` is the public base URL without a slash at the end: OAuth's issuer, and where partners find us. `data` is
    where the embedded database and the master key live; with a database and EXCHANGE_SECRET_KEY given it stays unused.
    """

    mongo_url: str
    issuer: str
    data: Path
    database: str | None = None
    graphiql: bool = False


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a server process; KeyError, ValueError for what is missing or wrong.

    EXCHANGE_MONGO_URL, EXCHANGE_ISSUER, EXCHANGE_DATA, EXCHANGE_GRAPHIQL=1. The name of the database is in the URL.
    """
    return Settings(
        mongo_url=environment["EXCHANGE_MONGO_URL"],
        issuer=environment.get("EXCHANGE_ISSUER", DEFAULT_ISSUER).rstrip("/"),
        data=Path(environment.get("EXCHANGE_DATA", "exchange-data")),
        graphiql=environment.get("EXCHANGE_GRAPHIQL") == "1",
    )
