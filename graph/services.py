"""The composition root: every part of the exchange, made once and given what it needs.

The server and the command line open the same services; only the server starts the ledger at once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from exchange.commands import ByReference, Enrol
from exchange.errors import Forbidden
from exchange.keyring import Keyring, load_keyring
from exchange.ledger import Ledger
from exchange.particulars import Particulars
from exchange.settlement.clearing import Settlement
from exchange.settlement.disputing import Disputing
from exchange.settlement.exporting import Exporting
from exchange.settlement.files import Files
from exchange.settlement.outstanding import Outstanding
from exchange.settlement.recording import Recording
from exchange.store.books import Books
from exchange.store.calendars import Calendars
from exchange.store.catalog import Catalog
from exchange.store.connection import Database, connect, database, server_time, settled
from exchange.store.fixes import Fixes
from exchange.store.headroom import Headroom
from exchange.store.members import Members
from exchange.store.reconciliation import Reconciliation
from exchange.store.signoff import SignOff
from exchange.store.terms import Terms
from graph.settings import Settings
from partners.oauth.keys import SigningKeys
from partners.oauth.seals import seal_of
from partners.oauth.server import OAuthServer
from partners.oauth.store import OAuthStore
from partners.oauth.tokens import Tokens
from partners.particulars import PartnerParticulars
from partners.registry import PartnerRegistry
from partners.staff import StaffRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a request, or a command of the shell, may need."""

    settings: Settings
    db: Database
    keyring: Keyring
    books: Books
    ledger: Ledger
    catalog: Catalog
    members: Members
    terms: Terms
    headroom: Headroom
    fixes: Fixes
    settlement: Settlement
    recording: Recording
    sign_off: SignOff
    disputing: Disputing
    outstanding: Outstanding
    calendars: Calendars
    reconciliation: Reconciliation
    files: Files
    exporting: Exporting
    registry: PartnerRegistry
    particulars: PartnerParticulars
    staff: StaffRegistry
    keys: SigningKeys
    tokens: Tokens
    oauth: OAuthServer

    async def now(self) -> datetime:
        """Return the database primary's clock: the only one that the exchange goes by."""
        return await server_time(self.db)


@asynccontextmanager
async def open_services(settings: Settings, *, ledger: bool = True) -> AsyncIterator[Services]:
    """Open the database, make what is missing in it, and hand out the services; `ledger` starts committing."""
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    keyring = load_keyring(os.environ, settings.data)
    client = connect(settings.mongo_url)
    db = database(client, settings.database)
    books = Books(db)
    members = Members(db, keyring)
    store = OAuthStore(db)
    keys = SigningKeys(store, keyring)
    tokens = Tokens(keys, keyring, settings.issuer)
    registry = PartnerRegistry(db, keyring)
    ledger_service = Ledger(books, keyring)
    settlement, particulars = Settlement(db, keyring), PartnerParticulars(db)

    async def parties(handle: str) -> Particulars:
        return (await particulars.of(await registry.get(handle))).particulars

    files = Files(db, keyring, settlement, parties, lambda: seal_of(keys.signing()))
    services = Services(
        settings=settings, db=db, keyring=keyring, books=books, ledger=ledger_service, catalog=Catalog(db, keyring),
        members=members, terms=Terms(db), headroom=Headroom(db, books), fixes=Fixes(db),
        settlement=settlement, recording=Recording(db, settlement),
        calendars=Calendars(db), sign_off=SignOff(db), outstanding=Outstanding(db),
        disputing=Disputing(db, ledger_service, keyring), reconciliation=Reconciliation(db),
        files=files, exporting=Exporting(db, keyring, files), registry=registry, particulars=particulars,
        staff=StaffRegistry(db), keys=keys, tokens=tokens,
        oauth=OAuthServer(registry, store, tokens, keyring, Enrolment(ledger_service, members)),
    )  # fmt: skip
    try:
        await _prepare(services, store)
        if ledger:
            await ledger_service.start()
        try:
            yield services
        finally:
            await ledger_service.stop()
    finally:
        await settled(client.close())


async def _prepare(services: Services, store: OAuthStore) -> None:
    await services.books.create()
    parts = (
        services.catalog,
        services.members,
        services.terms,
        services.headroom,
        services.settlement,
        services.recording,
        services.sign_off,
        services.disputing,
        services.reconciliation,
        services.exporting,
        services.registry,
        services.staff,
        store,
    )
    for part in parts:
        await part.create_indexes()
    await services.registry.ensure_exchange(await services.now())
    await services.registry.refresh()
    await services.keys.load()


class Enrolment:
    """Brings a member into being at the first mention by an assertion; afterwards it only looks."""

    def __init__(self, ledger: Ledger, members: Members) -> None:
        self._ledger = ledger
        self._members = members

    async def __call__(self, partner: str, reference: str) -> None:
        """Raise Forbidden if the member has ended its link to this partner."""
        whose = ByReference(partner, reference)
        wallet = await self._members.wallet_of(whose)
        if wallet is None:
            entry = self._ledger.entry_id(partner, "server", "enrol", reference)
            await self._ledger.submit(Enrol(id=entry, fingerprint="", partner=partner, whose=whose))
        elif not wallet.linked_to(partner):
            raise Forbidden("the member has ended its link to this partner")
