"""Reading wallets and redemptions, and the codes by which a member links a second partner.

Nothing here changes a wallet: that is the ledger's alone.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from msgspec import Struct

from exchange.commands import ByReference
from exchange.journal import Account, EntryKind
from exchange.keyring import Keyring
from exchange.passbook import Place, PointsEvent
from exchange.redemption import Redemption, RedemptionStatus
from exchange.store import documents as docs
from exchange.store.connection import MAJORITY, Collection, Database, Document, answering, ensure_index, server_time
from exchange.wallet import Wallet

LINK_CODE_BYTES = 16
LINK_CODE_LIFETIME = timedelta(minutes=10)
HISTORY_CHUNK = 500
"""Entries read at once when a whole history is."""

_SIDES = (("wallet", "wallet_version"), ("counterpart", "counterpart_version"))
"""By which fields an entry names a wallet that it changed, and the version that it made of it."""


class LinkCode(Struct, frozen=True):
    """Permission to link a wallet to one partner. `code` is shown once; only its keyed hash is kept."""

    code: str
    partner: str
    wallet: str
    daily_limit: int | None
    expires_at: datetime

    @property
    def made_at(self) -> datetime:
        """When the member asked for it."""
        return self.expires_at - LINK_CODE_LIFETIME


class Purpose(StrEnum):
    """What a member permits whoever it hands a code to."""

    INVITATION = "invitation"
    MERGE = "merge"


PERMITTED_FOR = {Purpose.INVITATION: timedelta(days=1), Purpose.MERGE: timedelta(minutes=10)}


class Permit(Struct, frozen=True):
    """A code that lets another member join a household's pool, or become one with the member (`wallet`).

    `through`: the partner through which it was asked for.
    """

    code: str
    wallet: str
    expires_at: datetime
    through: str = ""


class Members:
    """Wallets, redemptions and link codes, for reading."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._db = db
        self._keyring = keyring
        # By majority: what is shown, a code above all, must not be undone by the database's next failure.
        db = db.with_options(read_concern=MAJORITY)
        self._wallets: Collection = db["wallets"]
        self._references: Collection = db["references"]
        self._redemptions: Collection = db["redemptions"]
        self._entries: Collection = db["entries"]
        self._link_codes: Collection = db["link_codes"]

    async def create_indexes(self) -> None:
        """Create the index that lets link codes go when their time is over."""
        with answering():
            await ensure_index(self._link_codes, "expires_at", name="expiry", expireAfterSeconds=0)

    async def wallets(self, ids: Iterable[str]) -> dict[str, Wallet]:
        """Return the wallets of these ids that exist; of a member that was merged, the one it has become."""
        with answering():
            found = await self._wallets.find({"_id": {"$in": list(ids)}}).to_list(None)
        wallets = {document["_id"]: docs.wallet_from(document) for document in found}
        merged = {wallet.id: wallet.merged_into for wallet in wallets.values() if wallet.merged_into is not None}
        become = await self.wallets(merged.values()) if merged else {}
        return wallets | {wallet: become[into] for wallet, into in merged.items()}

    async def wallet_of(self, whose: ByReference) -> Wallet | None:
        """Return the wallet that a partner's reference means."""
        with answering():
            reference = await self._references.find_one({"_id": docs.reference_id(whose)})
        return None if reference is None else (await self.wallets([reference["wallet"]])).get(reference["wallet"])

    async def owner_of_lot(self, lot: str) -> str | None:
        """Return the wallet that has a lot: it is known by the entry that made it, and by its place in that."""
        name, _, passed_on = lot.partition("/")
        with answering():
            entry = await self._entries.find_one({"_id": name}, {"wallet": 1, "counterpart": 1})
        came_to = None if entry is None else entry.get("counterpart" if passed_on else "wallet")
        holder = None if came_to is None else (await self.wallets([came_to])).get(came_to)
        if holder is None or holder.lot(lot) is not None:
            return None if holder is None else holder.id
        # Awarded while two members were one: it may have gone with the other when they parted.
        with answering():
            query = {"wallet": {"$in": [came_to, holder.id]}, "kind": EntryKind.UNMERGE.value}
            partings = await self._entries.find(query, {"counterpart": 1}).to_list(None)
        parted = await self.wallets(parting["counterpart"] for parting in partings)
        return next((wallet.id for wallet in parted.values() if wallet.lot(lot) is not None), None)

    async def redemptions(self, ids: Iterable[str]) -> dict[str, Redemption]:
        """Return the redemptions of these ids that exist."""
        with answering():
            found = await self._redemptions.find({"_id": {"$in": list(ids)}}).to_list(None)
        return {document["_id"]: docs.redemption_from(document) for document in found}

    async def list_redemptions(
        self,
        owners: Sequence[Document],
        limit: int,
        after: tuple[datetime, str] | None = None,
        status: Sequence[RedemptionStatus] | None = None,
    ) -> list[Redemption]:
        """Return redemptions, newest first, behind the position `after` (created_at, id).

        `owners` names whose, by wallet, channel or provider: any of them matches; {} is everybody's.
        """
        clauses: list[Document] = []
        clauses.append(dict(owners[0]) if len(owners) == 1 else {"$or": list(owners)})
        if status is not None:
            clauses.append({"status": {"$in": [one.value for one in status]}})
        if after is not None:
            at, redemption = after
            ties: list[Any] = [{"created_at": {"$lt": at}}, {"_id": {"$lt": redemption}}]
            clauses.append({"created_at": {"$lte": at}, "$or": ties})
        with answering():
            rows = self._redemptions.find({"$and": clauses}).sort([("created_at", -1), ("_id", -1)]).limit(limit)
            return [docs.redemption_from(row) for row in await rows.to_list(None)]

    async def history(
        self, wallet: str, limit: int, after: Place | None = None, *, concerning: str | None = None,
        oldest_first: bool = False,
    ) -> list[PointsEvent]:  # fmt: skip
        """Return the events of a wallet behind the place `after`, newest first unless said otherwise.

        `concerning`: only those that this partner may know of, and of them only what it may know.
        """
        direction = 1 if oldest_first else -1
        found: list[PointsEvent] = []
        with answering():
            for whose, version in _SIDES:
                query = {whose: wallet, **_behind(version, after, direction), **_concerning(concerning)}
                rows = self._entries.find(query).sort([(version, direction), ("index", direction)]).limit(limit)
                found += [
                    PointsEvent.of(docs.entry_from(row), wallet, row["index"]) for row in await rows.to_list(None)
                ]
        found.sort(key=lambda event: event.place, reverse=not oldest_first)
        seen = found if concerning is None else [event.seen_by(concerning) for event in found]
        return [event for event in seen if event is not None][:limit]

    async def whole_history(self, wallet: str) -> AsyncIterator[PointsEvent]:
        """Yield every event of a wallet, oldest first; what is added meanwhile comes in its turn."""
        after: Place | None = None
        while chunk := await self.history(wallet, HISTORY_CHUNK, after, oldest_first=True):
            for event in chunk:
                yield event
            after = chunk[-1].place

    async def create_link_code(self, wallet: str, partner: str, daily_limit: int | None) -> LinkCode:
        """Make a code of 128 random bits, good once, for ten minutes, for that partner alone."""
        code = secrets.token_urlsafe(LINK_CODE_BYTES)
        with answering():
            now = await server_time(self._db)
            link = LinkCode(code, partner, wallet, daily_limit, now + LINK_CODE_LIFETIME)
            await self._link_codes.insert_one(
                {
                    "_id": self._keyring.digest("link-code", code), "partner": partner, "wallet": wallet,
                    "daily_limit": daily_limit, "expires_at": link.expires_at,
                }
            )  # fmt: skip
        return link

    async def find_link_code(self, code: str, partner: str) -> LinkCode | None:
        """Return what a code permits, if it is that partner's; whether it is still good is the ledger's to say."""
        with answering():
            found = await self._link_codes.find_one(
                {"_id": self._keyring.digest("link-code", code), "partner": partner}
            )
        if found is None:
            return None
        return LinkCode(code, found["partner"], found["wallet"], found["daily_limit"], found["expires_at"])

    async def create_permit(self, purpose: Purpose, wallet: str, through: str = "") -> Permit:
        """Make a code of 128 random bits for that purpose, good once and for `PERMITTED_FOR`."""
        code = secrets.token_urlsafe(LINK_CODE_BYTES)
        with answering():
            permit = Permit(code, wallet, await server_time(self._db) + PERMITTED_FOR[purpose], through)
            await self._link_codes.insert_one(
                {
                    "_id": self._keyring.digest(purpose, code), "wallet": wallet, "partner": through,
                    "expires_at": permit.expires_at,
                }
            )  # fmt: skip
        return permit

    async def find_permit(self, purpose: Purpose, code: str) -> Permit | None:
        """Return what a code permits; whether it is still good, and not used, is the ledger's to say."""
        with answering():
            found = await self._link_codes.find_one({"_id": self._keyring.digest(purpose, code)})
        return None if found is None else Permit(code, found["wallet"], found["expires_at"], found.get("partner", ""))


def _behind(version: str, after: Place | None, direction: int) -> Document:
    if after is None:
        return {}
    further, at_or_further = ("$gt", "$gte") if direction > 0 else ("$lt", "$lte")
    made, index = after
    # The first clause is for the index alone: it cannot be walked by alternatives.
    return {version: {at_or_further: made}, "$or": [{version: {further: made}}, {"index": {further: index}}]}


def _concerning(partner: str | None) -> Document:
    """Ask for what `PointsEvent.seen_by` shows a partner something of."""
    if partner is None:
        return {}
    moved = {"postings": {"$elemMatch": {"account": Account.WALLET.value, "party": partner}}}
    held = {"holds": {"$elemMatch": {"$elemMatch": {"$eq": partner}}}}
    return {"$and": [{"$or": [{"by": partner}, moved, held]}]}
