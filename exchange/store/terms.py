"""Agreements and rules as stored: versions are added, never changed."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from exchange.agreements import Agreement, agreement_id
from exchange.errors import VersionConflict
from exchange.rules import Rules
from exchange.store import documents as docs
from exchange.store.connection import Database, Session, answering, ensure_index, server_time, settled


class Terms:
    """The agreements between partners, their rules, and the numbers that tell the ledger that its books are old."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._agreements = db["agreements"]
        self._rules = db["rules"]
        self._terms = db["terms"]

    async def create_indexes(self) -> None:
        """Create the index by which a pair's newest version is found."""
        with answering():
            await ensure_index(
                self._agreements, [("issuer", 1), ("provider", 1), ("version", -1)], name="pair", unique=True
            )
            await ensure_index(self._rules, [("partner", 1), ("version", -1)], name="partner", unique=True)

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

    async def set_rules(self, rules: Rules) -> Rules:
        """Add the next version of a partner's rules and return it as stored; VersionConflict if another was faster.

        `rules.version` is the one that they were made from.
        """
        return await self.change_rules(rules.partner, lambda _: rules, rules.version)

    async def change_rules(
        self, partner: str, change: Callable[[Rules], Rules], expected_version: int | None = None
    ) -> Rules:
        """Make the next version of a partner's rules out of the last, and return it as stored.

        What changes nothing makes no version. Two at once who change different things both have their way: a freeze
        is never lost to a partner that lays down something else, nor refused for it. VersionConflict unless the last
        has the `expected_version`, if one is given. `change` may be asked several times, and may refuse.
        """

        async def in_order(session: Session) -> Rules:
            # The common counter first, as by `add`.
            await self._terms.update_one({"_id": "rules"}, {"$inc": {"version": 1}}, upsert=True, session=session)
            newest = await self._rules.find_one({"partner": partner}, sort=[("version", -1)], session=session)
            before = Rules(partner=partner) if newest is None else docs.rules_from(newest)
            if expected_version not in (None, before.version):
                message = f"these rules have version {before.version}"
                raise VersionConflict(message, ("input", "expectedVersion"), current_version=before.version)
            after = change(before)
            if after.says(before):
                return before
            stored = replace(after, version=before.version + 1, since=await server_time(self._db))
            await self._rules.insert_one(docs.rules_document(stored), session=session)
            return stored

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                stored: Rules = await session.with_transaction(in_order)
        return stored

    async def rules_of(self, partner: str) -> Rules:
        """Return a partner's rules as they are now; the defaults, of version 0, where it never said anything."""
        return next(iter(await self.rules(partner)), Rules(partner=partner))

    async def rules(self, partner: str) -> list[Rules]:
        """Return every version of a partner's rules, the newest first."""
        with answering():
            rows = await self._rules.find({"partner": partner}).sort("version", -1).to_list(None)
        return [docs.rules_from(row) for row in rows]

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
