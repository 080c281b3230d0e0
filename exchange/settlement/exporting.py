"""Asking for exports: who may have which file, and when two of them are one. `exchange.exporter` writes them."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from exchange.errors import Overloaded, ValidationFailed
from exchange.journal import EXCHANGE
from exchange.keyring import Keyring
from exchange.settlement.export import LOCALE, Form, Wish
from exchange.settlement.exports import LOCALIZED, Export, ExportProgress, sameness
from exchange.settlement.files import Files, check_locale
from exchange.settlement.statement import Statement
from exchange.store.connection import Database
from exchange.store.exports import Exports, Place

WAITING_MAX: Final = 20
"""Most exports of one partner that wait or run at a time."""

A_DAY_MAX: Final = 200
"""Most exports that one partner asks for in a day: their files are kept as long."""

_ID_BYTES: Final = 18
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{2,35}")


class Exporting:
    """The exports of one exchange. `wanted` is set when one is asked for in this process."""

    def __init__(self, db: Database, keyring: Keyring, files: Files) -> None:
        self.store = Exports(db)
        self.wanted = asyncio.Event()
        self._keyring = keyring
        self._files = files

    async def create_indexes(self) -> None:
        """Create what exports are found by. Idempotent."""
        await self.store.create_indexes()

    async def ask(self, owner: str, statement: Statement, wish: Wish) -> Export:
        """Return the export of a statement that may be the owner's: the one that there is, or a new one.

        ValidationFailed for what no file can be; Overloaded when the partner has asked for too many.
        """
        now = await self.store.now()
        wish = await _one_form(owner, wish, now)
        parties = await self._files.parties(statement)
        key = self._keyring.digest("export", sameness(owner, statement, wish, parties).hex())
        new = Export(
            id=secrets.token_urlsafe(_ID_BYTES), owner=owner, statement=statement.id, wish=wish, asked_at=now,
            progress=ExportProgress(0, 0 if wish.form is Form.BUNDLE else statement.line_count),
        )  # fmt: skip
        there = await self.store.current(key)
        if there is None:
            await self._refuse_too_many(owner, now)
            there = await self.store.add(new, key)
        self.wanted.set()
        return there

    async def export(self, export: str, owner: str | None = None) -> Export | None:
        """Return an export by its id; `owner`: if it is its."""
        return await self.store.get(export, owner)

    async def page(self, owner: str | None, behind: Place | None, limit: int) -> list[Export]:
        """Return exports, the newest first, from behind a place on; `owner`: its own alone."""
        return await self.store.page(owner, behind, limit)

    def file(self, export: Export) -> AsyncGenerator[bytes]:
        """Return the file of an export that is ready, piece by piece."""
        return self.store.pieces(export)

    async def _refuse_too_many(self, owner: str, now: datetime) -> None:
        """Keep one partner from filling the queue and the disk. Asked at the same moment, a few more may slip in."""
        if owner == EXCHANGE:
            return
        if await self.store.waiting(owner) >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX} of your exports are not done yet", retry_seconds=10)
        if await self.store.asked_since(owner, now - timedelta(days=1)) >= A_DAY_MAX:
            raise Overloaded(f"you have asked for {A_DAY_MAX} exports in a day", retry_seconds=3600)


async def _one_form(owner: str, wish: Wish, now: datetime) -> Wish:
    """Return the wish without what makes no difference, and with what was left open decided; or refuse it."""
    if wish.form is not Form.PAIN001:
        for name, given in (("payer", wish.payer), ("payOn", wish.pay_on)):
            if given is not None:
                raise ValidationFailed("is of a payment file: PAIN001", ("input", name))
        locale = wish.locale if wish.form in LOCALIZED else LOCALE
        if locale != LOCALE:
            await _check(locale)
        return replace(wish, locale=locale)
    payer = wish.payer or (None if owner == EXCHANGE else owner)
    if owner not in (EXCHANGE, payer):
        raise ValidationFailed("can be yourself alone: the file is for the bank of whoever pays", ("input", "payer"))
    # A file of yesterday would want to be paid yesterday.
    return replace(wish, locale=LOCALE, payer=payer, pay_on=wish.pay_on or now.date())


async def _check(locale: str) -> None:
    try:
        if not _TAG.fullmatch(locale):
            message = "it is a language tag, such as en, de-CH or ja"
            raise ValueError(message)  # noqa: TRY301 - said in one place
        await asyncio.to_thread(check_locale, locale)
    except ValueError as error:
        raise ValidationFailed(str(error), ("input", "locale")) from None
