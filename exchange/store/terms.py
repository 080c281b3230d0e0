"""Agreements as stored: versions are added, never changed."""

from __future__ import annotations

from dataclasses import replace

from exchange.agreements import Agreement, agreement_id
from exchange.store import documents as docs
from exchange.store.connection import Database, Session, answering, server_time, settled


class Terms:
    """The agreements between partners, and the one number that tells the ledger that its book is old."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._agreements = db["agreements"]
        self._terms = db["terms"]

    async def create_indexes(self) -> None:
        """Create the index by which a pair's newest version is found."""
        with answering():
            await self._agreements.create_index(
                [("issuer", 1), ("provider", 1), ("version", -1)], name="pair", unique=True
            )

    async def add(self, agreement: Agreement) -> Agreement:
        """Add the next version of the agreement's pair and return it as stored.

        Its id and version are made here, and it begins now at the earliest.

        The common counter is written first, so two at once are put in order and each gets a version of its own.
        """

        async def in_order(session: Session) -> Agreement:
            await self._terms.update_one({"_id": "agreements"}, {"$inc": {"version": 1}}, upsert=True, session=session)
            pair = {"issuer": agreement.issuer, "provider": agreement.provider}
            newest = await self._agreements.find_one(pair, sort=[("version", -1)], session=session)
            version = 1 if newest is None else newest["version"] + 1
            # Never from before it is there: redemptions up to now are priced by the version before.
            since = max(agreement.effective_from, await server_time(self._db))
            made = agreement_id(agreement.issuer, agreement.provider, version)
            stored = replace(agreement, version=version, id=made, effective_from=since)
            await self._agreements.insert_one(docs.agreement_document(stored), session=session)
            return stored

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                stored: Agreement = await session.with_transaction(in_order)
        return stored

    async def list(self, issuer: str | None = None, provider: str | None = None) -> list[Agreement]:
        """Return every version, those of one issuer or provider if named; pairs in order, newest version first."""
        wanted = {"issuer": issuer, "provider": provider}
        with answering():
            rows = await self._agreements.find({k: v for k, v in wanted.items() if v is not None}).to_list(None)
        agreements = [docs.agreement_from(row) for row in rows]
        return sorted(agreements, key=lambda a: (a.issuer or "", a.provider or "", -a.version))

    async def get(self, agreement: str) -> Agreement | None:
        """Return one version by its id."""
        with answering():
            row = await self._agreements.find_one({"_id": agreement})
        return None if row is None else docs.agreement_from(row)
