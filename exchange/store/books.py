"""What the ledger reads and commits; where it commits to is `lanes`.

Hold each invariant twice: the decision refused it in memory; here every write is filtered by the version, the stock
left or the code still free, and the counts are checked. A short count, like any conflict, aborts the transaction and
is raised as `Conflict`: nothing was written, decide again from fresh reads. A commit whose outcome the driver does
not know is `UnknownOutcome`, and only `lane.LaneKeeper` may go on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct
from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from exchange.agreements import AgreementBook
from exchange.benefit import Benefit, Stock, StockChange
from exchange.commands import ByReference
from exchange.errors import StoreUnavailable
from exchange.exposure import CapBook
from exchange.journal import Block, Entry, EntryKind
from exchange.quote import Quote
from exchange.redemption import Redemption
from exchange.rules import RuleBook
from exchange.store import documents as docs
from exchange.store.connection import (
    MAJORITY,
    Collection,
    Database,
    Document,
    Session,
    aggregate,
    answering,
    ensure_index,
    server_time,
    setting_up,
    settled,
)
from exchange.store.lanes import Conflict, Lane, Lanes, codes_of, lost_to_a_rival, write_all
from exchange.store.shelves import shelf_from, shelf_id, shelf_sale
from exchange.store.validators import refuse_by
from exchange.wallet import Lot, Wallet

_COLLECTION_EXISTS = 48
_NEVER_TAKEN = frozenset({121, 10334})
"""DocumentValidationFailure, BSONObjectTooLarge."""

NO_LANE = 0
"""Of who only asks: no lane has this number, and so no shelf."""


class UnknownOutcome(Exception):  # noqa: N818 - an outcome between store and ledger, never shown
    """The commit was sent and its answer lost: it may have happened, may still happen, or never will."""


class Unwritable(Exception):  # noqa: N818 - see Conflict
    """The database will never take what was decided, whoever asks again: its validator refused it, or it is too big."""


class TermsVersions(NamedTuple):
    """The numbers that tell whether the books of agreements, of rules and of caps are old."""

    agreements: int = 0
    rules: int = 0
    caps: int = 0


class FirstRound(Struct, frozen=True):
    """What a batch needs before it knows which wallets it is about, and those that it probably is about.

    `wallets`: of those guessed the ones there are, read before the references.
    """

    now: datetime
    closing: frozenset[int]
    entries: dict[str, Entry]
    wallets: dict[str, Wallet]
    references: dict[str, str]
    benefits: dict[str, Benefit]
    stocks: dict[str, Stock]
    redemptions: dict[str, Redemption]
    quotes: dict[str, Quote]
    terms: TermsVersions


class SecondRound(Struct, frozen=True):
    """Wallets, redemptions to answer again, their benefits, and the next free codes as (code id, cipher)."""

    wallets: dict[str, Wallet]
    references: dict[str, str]
    redemptions: dict[str, Redemption] = {}
    benefits: dict[str, Benefit] = {}
    stocks: dict[str, Stock] = {}
    codes: dict[str, list[tuple[str, bytes]]] = {}


@dataclass(slots=True)
class Writes:
    """Everything one block commits. Wallets and redemptions hold the version they were read with (0: new).

    `claims`: new references and the wallets they mean; `renamed`: old ones that mean another wallet now; `stock`: what
    changes on the lane's shelf of a benefit, and whether that is limited; `headroom`: what is used of its slices.
    """

    wallets: list[Wallet] = field(default_factory=list)
    claims: list[tuple[ByReference, str]] = field(default_factory=list)
    renamed: list[tuple[ByReference, str]] = field(default_factory=list)
    stock: dict[str, tuple[StockChange, bool]] = field(default_factory=dict)
    codes: list[tuple[str, str]] = field(default_factory=list)
    redemptions: list[Redemption] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    headroom: list[UpdateOne] = field(default_factory=list)


class Books(Lanes):
    """The ledger's collections in one database."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.entries: Collection = db["entries"]
        self.wallets: Collection = db["wallets"]
        self.references: Collection = db["references"]
        self.redemptions: Collection = db["redemptions"]
        self.benefits: Collection = db["benefits"]
        self.shelves: Collection = db["shelves"]
        self.quotes: Collection = db["quotes"]
        self.codes: Collection = db["codes"]
        self.agreements: Collection = db["agreements"].with_options(read_concern=MAJORITY)
        self.rules: Collection = db["rules"].with_options(read_concern=MAJORITY)
        self.terms: Collection = db["terms"].with_options(read_concern=MAJORITY)
        self.caps: Collection = db["caps"].with_options(read_concern=MAJORITY)
        self.headroom: Collection = db["headroom"]
        self._written = (
            self.blocks, self.wallets, self.references, self.redemptions, self.benefits, self.shelves, self.codes,
            self.terms, self.agreements, self.rules, self.periods, self.lanes, self.headroom,
        )  # fmt: skip
        self._unclosed = self.periods.with_options(read_concern=MAJORITY)
        self._book = (-1, AgreementBook())
        self._rules = (-1, RuleBook())
        self._cap_book = (-1, CapBook())

    async def create(self) -> None:
        """Create collections (a transaction should not), indexes, validators, and the first period. Idempotent."""
        with answering():
            present = set(await self._db.list_collection_names())
            for name in (
                "entries",
                "blocks",
                "wallets",
                "references",
                "redemptions",
                "stock",
                "shelves",
                "codes",
                "terms",
                "lanes",
                "benefits",
                "rules",
                "headroom",
                "caps",
                "funding",
                "notices",
                "sign_offs",
                "disputes",
                "calendars",
            ):
                if name not in present:
                    await self._create_collection(name)
            await refuse_by(self._db)
            # A statement's lines in order of time; only entries with money have `settles`.
            await ensure_index(
                self.entries, [(name, 1) for name in ("settles", "period", "at", "lane", "seq", "index")],
                name="statement_lines", partialFilterExpression={"settles": {"$exists": True}},
            )  # fmt: skip
            await ensure_index(self.entries, [("lane", 1), ("seq", 1), ("index", 1)], name="block_order", unique=True)
            # A member's history, from either end; few entries have a second wallet.
            await ensure_index(
                self.entries, [("wallet", 1), ("wallet_version", 1), ("index", 1)], name="wallet_history"
            )
            await ensure_index(
                self.entries, [("counterpart", 1), ("counterpart_version", 1), ("index", 1)],
                name="counterpart_history", partialFilterExpression={"counterpart": {"$exists": True}},
            )  # fmt: skip
            await ensure_index(self.blocks, [("period", 1), ("kind", 1)], name="period_blocks")
            newest_first = [("created_at", -1), ("_id", -1)]
            for owner in ("wallet", "channel", "provider"):
                await ensure_index(self.redemptions, [(owner, 1), *newest_first], name=f"{owner}_newest")
            await ensure_index(self.redemptions, newest_first, name="newest")
            await ensure_index(
                self.redemptions, "reserved_until", name="reserved", partialFilterExpression={"status": "RESERVED"}
            )
            await ensure_index(self.references, "wallet", name="wallet")
            await ensure_index(self.shelves, "benefit", name="benefit")
            await ensure_index(self.quotes, "expires_at", name="expiry", expireAfterSeconds=0)
            await ensure_index(
                self.wallets,
                "next_expiry",
                name="next_expiry",
                partialFilterExpression={"next_expiry": {"$type": "date"}},
            )
            await ensure_index(
                self.codes, [("benefit", 1), ("n", 1)], name="free_codes", partialFilterExpression={"free": True}
            )
            first = {"_id": 1, "status": "OPEN", "opened_at": "$$NOW", "marked_at": None, "closed_at": None, "lanes": 0}
            keep_what_is_there = [{"$replaceWith": {"$mergeObjects": [first, "$$ROOT"]}}]
            await self.periods.update_one({"_id": 1}, keep_what_is_there, upsert=True)

    async def _create_collection(self, name: str) -> None:
        with setting_up():
            try:
                await self._db.create_collection(name, check_exists=False)
            except OperationFailure as error:
                # Two processes starting together both find it missing; the second is told that it exists.
                if error.code != _COLLECTION_EXISTS:
                    raise

    @property
    def db(self) -> Database:
        """The database itself."""
        return self._db

    # ------------------------------------------------------------ reads

    async def first_round(
        self, ids: Iterable[str], references: Iterable[str], benefits: Iterable[str], redemptions: Iterable[str] = (),
        quotes: Iterable[str] = (), lane: int = NO_LANE, wallets: Iterable[str] = (),
    ) -> FirstRound:  # fmt: skip
        """Read, from the primary and now, what is known before the wallets are. `stocks`: on the lane's shelves."""
        offered = list(benefits)
        with answering():
            read = await self._read_together({
                "entries": _by_ids(ids), "benefits": _by_ids(offered),
                "shelves": _by_ids(shelf_id(benefit, lane) for benefit in offered),
                "redemptions": _by_ids(redemptions), "quotes": _by_ids(quotes),
                "terms": [{"$match": {}}], "wallets": _by_ids(wallets), "references": _by_ids(references),
            })  # fmt: skip
        periods = read["periods"]
        return FirstRound(
            now=periods[0]["now"],
            closing=frozenset(p["_id"] for p in periods if p["status"] == "CLOSING"),
            entries={e["_id"]: docs.entry_from(e) for e in read["entries"]},
            wallets={w["_id"]: docs.wallet_from(w) for w in read["wallets"]},
            references={r["_id"]: r["wallet"] for r in read["references"]},
            benefits={b["_id"]: docs.benefit_from(b) for b in read["benefits"]},
            stocks={s["benefit"]: shelf_from(s).stock for s in read["shelves"]},
            redemptions={r["_id"]: docs.redemption_from(r) for r in read["redemptions"]},
            quotes={q["_id"]: docs.quote_from(q) for q in read["quotes"]},
            terms=_versions(read["terms"]),
        )

    async def second_round(
        self, wallets: Iterable[str], redemptions: Iterable[str], benefits: Iterable[str], codes: dict[str, int],
        references: Iterable[str] = (), lane: int = NO_LANE, lanes: int = 1,
    ) -> SecondRound:  # fmt: skip
        """Read the wallets, the redemptions that replays answer with, and as many free codes as may be needed.

        `benefits`: of the redemptions that the first round found; `references`: those of the first round once more.
        One of `lanes` takes every so-manyth code, so that two rarely want the same one.
        """
        offered = list(benefits)
        pools = {f"codes/{benefit}": _next_codes(benefit, count, lane, lanes) for benefit, count in codes.items()}
        with answering():
            read = await self._read_together({
                "wallets": _by_ids(wallets), "redemptions": _by_ids(redemptions), "benefits": _by_ids(offered),
                "shelves": _by_ids(shelf_id(benefit, lane) for benefit in offered), **pools,
                # Last, so that they are not older than the wallets: two who were one may have parted meanwhile.
                "references": _by_ids(references),
            })  # fmt: skip
        return SecondRound(
            wallets={w["_id"]: docs.wallet_from(w) for w in read["wallets"]},
            redemptions={r["_id"]: docs.redemption_from(r) for r in read["redemptions"]},
            benefits={b["_id"]: docs.benefit_from(b) for b in read["benefits"]},
            stocks={s["benefit"]: shelf_from(s).stock for s in read["shelves"]},
            codes={
                benefit: [(code["_id"], bytes(code["cipher"])) for code in read[f"codes/{benefit}"]]
                for benefit in codes
            },
            references={r["_id"]: r["wallet"] for r in read["references"]},
        )

    async def is_any_done(self, ids: Iterable[str]) -> bool:
        """Return whether one of these commands has an entry by now."""
        with answering():
            return await self.entries.find_one({"_id": {"$in": list(ids)}}, {"_id": 1}) is not None

    async def wallets_of(self, ids: Iterable[str]) -> dict[str, Wallet]:
        """Return wallets, from the primary and now."""
        with answering():
            found = await self.wallets.find({"_id": {"$in": list(ids)}}).to_list(None)
        return {wallet["_id"]: docs.wallet_from(wallet) for wallet in found}

    async def restore_wallet(self, wallet: Wallet) -> bool:
        """Insert a wallet that is not there, as of the version it has; False if there is one. Nothing is replaced."""
        document = docs.wallet_document(wallet, wallet.version, wallet.period)
        try:
            with answering():
                await self.wallets.insert_one(document)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, DuplicateKeyError):
                return False
            raise
        return True

    async def parted_from(self, wallets: Iterable[str]) -> list[str]:
        """Return the wallets that had become these and went their own way again."""
        query = {"wallet": {"$in": list(wallets)}, "kind": EntryKind.UNMERGE.value}
        with answering():
            found = await self.entries.find(query, {"counterpart": 1}).to_list(None)
        return [entry["counterpart"] for entry in found]

    async def overdue_reservations(self, limit: int) -> list[str]:
        """Return reservations whose deadline has passed on the primary's clock."""
        now = await server_time(self._db)
        with answering():
            found = self.redemptions.find({"status": "RESERVED", "reserved_until": {"$lte": now}}, {"_id": 1})
            return [row["_id"] for row in await found.limit(limit).to_list(None)]

    async def expired_lots(self, limit: int) -> list[tuple[str, Lot]]:
        """Return lots, with their wallet's id, that are over by the primary's clock and have points nothing holds."""
        now = await server_time(self._db)
        with answering():
            found = await self.wallets.find({"next_expiry": {"$lte": now}}).limit(limit).to_list(None)
        lots = [(wallet["_id"], lot) for wallet in found for lot in docs.wallet_from(wallet).lots]
        return [(wallet, lot) for wallet, lot in lots if not lot.live(now) and lot.free][:limit]

    async def add_quote(self, quote: Quote) -> None:
        """Keep a quote until it expires."""
        with answering():
            await self.quotes.insert_one(docs.quote_document(quote))

    async def book(self, version: int) -> AgreementBook:
        """Return the agreements as of `version`, which was read after the command arrived; kept while it stands."""
        if self._book[0] != version:
            with answering():
                rows = await self.agreements.find({}).to_list(None)
            self._book = (version, AgreementBook(docs.agreement_from(row) for row in rows))
        return self._book[1]

    async def rule_book(self, version: int) -> RuleBook:
        """Return everybody's rules as of `version`, as `book` does."""
        if self._rules[0] != version:
            with answering():
                rows = await aggregate(self.rules, _NEWEST_RULES)
            self._rules = (version, RuleBook(docs.rules_from(row) for row in rows))
        return self._rules[1]

    async def cap_book(self, version: int) -> CapBook:
        """Return the caps in force as of `version`, as `book` does."""
        if self._cap_book[0] != version:
            with answering():
                rows = await self.caps.find({}).to_list(None)
            self._cap_book = (version, CapBook(docs.cap_from(row) for row in rows))
        return self._cap_book[1]

    async def current_terms(self) -> tuple[AgreementBook, RuleBook, CapBook]:
        """Return agreements, rules and caps as they are now."""
        with answering():
            versions = _versions(await self.terms.find({}).to_list(None))
        book, rules = await self.book(versions.agreements), await self.rule_book(versions.rules)
        return book, rules, await self.cap_book(versions.caps)

    async def recent_redemptions(self, wallets: Iterable[str], since: datetime) -> list[Redemption]:
        """Return what these members began to redeem since then. To be read after their wallets (`limits`)."""
        with answering():
            rows = await self.redemptions.find(
                {"wallet": {"$in": list(wallets)}, "created_at": {"$gte": since}}
            ).to_list(None)
        return [docs.redemption_from(row) for row in rows]

    async def _read_together(self, pipelines: Mapping[str, Sequence[Document]]) -> dict[str, list[Document]]:
        """Read from several collections in one command; what has no pipeline is not asked for.

        Keys are collections, `/` and more behind it tells pipelines of one apart. With them come the periods that are
        not closed, each with the primary's clock. The driver takes longer over a command than the server over most
        of these questions, so one command instead of eight is what makes a lone request fast.

        By majority, so that no decision rests on what may be undone; an acknowledged commit is always among it.
        """
        united = [
            {"$unionWith": {
                "coll": name.partition("/")[0], "pipeline": [*pipeline, {"$set": {_FROM: name}}],
            }}
            for name, pipeline in pipelines.items() if pipeline
        ]  # fmt: skip
        rows = await aggregate(self._unclosed, [*_PERIODS_NOW, *united], batchSize=_ALL_AT_ONCE)
        read: dict[str, list[Document]] = {name: [] for name in ("periods", *pipelines)}
        for row in rows:
            read[row.pop(_FROM, "periods")].append(row)
        return read

    # ------------------------------------------------------------ the commit

    async def commit(self, lane: Lane, block: Block, writes: Writes) -> None:
        """Write one block and all that belongs to it, or nothing.

        Raises Conflict (aborted; decide again), UnknownOutcome (settle it first), Unwritable and StoreUnavailable
        (not committed).
        """
        session = lane.session
        try:
            await settled(session.start_transaction())
            await self._write(session, block, writes)
        except BaseException as error:
            await self.abort(session)
            if isinstance(error, PyMongoError):
                if lost_to_a_rival(error):
                    raise Conflict(str(error)) from error
                if codes_of(error) & _NEVER_TAKEN:
                    raise Unwritable(str(error)) from error
                raise StoreUnavailable(f"the database did not answer: {type(error).__name__}") from error
            raise
        await self.send_commit(lane)

    async def send_commit(self, lane: Lane) -> None:
        """Commit what the session holds; sent again on the same session it learns the same outcome."""
        try:
            await lane.session.commit_transaction()
        except PyMongoError as error:
            if error.has_error_label("TransientTransactionError"):
                raise Conflict(str(error)) from error
            raise UnknownOutcome(str(error)) from error
        except asyncio.CancelledError as error:
            raise UnknownOutcome("cancelled") from error

    async def _write(self, session: Session, block: Block, writes: Writes) -> None:
        await self.blocks.insert_one(docs.block_document(block), session=session)
        # Redemptions may have been read before their wallets: with a newer one they make no sense, and a validator
        # would refuse for ever what has only to be decided again. So they come first.
        redemptions = [_redemption_write(redemption, block.period) for redemption in writes.redemptions]
        await write_all(self.redemptions, redemptions, session)
        wallets = [_wallet_write(wallet, block.period) for wallet in writes.wallets]
        await write_all(self.wallets, wallets, session)
        await write_all(self.shelves, [
            shelf_sale(benefit, block.lane, change, limited=limited)
            for benefit, (change, limited) in writes.stock.items()
        ], session)  # fmt: skip
        await write_all(self.headroom, writes.headroom, session)
        await write_all(self.codes, [
            UpdateOne({"_id": code, "free": True}, {"$set": {"redemption": redemption}, "$unset": {"free": ""}})
            for code, redemption in writes.codes
        ], session)  # fmt: skip
        await write_all(self.references, [
            *(InsertOne({"_id": docs.reference_id(whose), "wallet": wallet}) for whose, wallet in writes.claims),
            # Whoever has the wallets under their versions has their references too.
            *(UpdateOne({"_id": docs.reference_id(whose)}, {"$set": {"wallet": wallet}})
              for whose, wallet in writes.renamed),
        ], session)  # fmt: skip
        if writes.entries:
            await self.entries.insert_many(
                [docs.entry_document(entry, block, index) for index, entry in enumerate(writes.entries)],
                session=session,
            )


_FROM = "_from"
"""Where a row that was read together with others says where it is from."""
_ALL_AT_ONCE = 100_000
_PERIODS_NOW: list[Document] = [
    {"$match": {"status": {"$in": ["OPEN", "CLOSING"]}}}, {"$project": {"status": 1, "now": "$$NOW"}}
]  # fmt: skip


def _by_ids(ids: Iterable[str]) -> list[Document]:
    wanted = list(dict.fromkeys(ids))
    return [{"$match": {"_id": {"$in": wanted}}}] if wanted else []


_SPARE_CODES = 16
"""Looked at besides those wanted, for each lane: how far one may be ahead before it takes of another's."""
_BEHIND_ALL = 2**62


def _next_codes(benefit: str, count: int, lane: int, lanes: int) -> list[Document]:
    """Return the question for a lane's next codes: of the first few, its own; then others', from the far end.

    Only of the first few, because nobody may be there to take the others': they would be passed over every time.
    """
    following: list[Document] = [{"$match": {"benefit": benefit, "free": True}}, {"$sort": {"n": 1}}]
    if lanes > 1:
        own = {"$eq": [{"$mod": ["$n", lanes]}, lane % lanes]}
        following += [
            {"$limit": lanes * (count + _SPARE_CODES)},
            {"$set": {"n": {"$cond": [own, "$n", {"$subtract": [_BEHIND_ALL, "$n"]}]}}},
            {"$sort": {"n": 1}},
        ]
    return [*following, {"$limit": count}, {"$project": {"cipher": 1}}]


_NEWEST_RULES: Sequence[Document] = (
    {"$sort": {"partner": 1, "version": -1}},
    {"$group": {"_id": "$partner", "newest": {"$first": "$$ROOT"}}},
    {"$replaceRoot": {"newRoot": "$newest"}},
)


def _versions(rows: Iterable[Document]) -> TermsVersions:
    # While an upgrade goes on, a later version may count here what this one has never heard of.
    return TermsVersions(**{row["_id"]: row["version"] for row in rows if row["_id"] in TermsVersions._fields})


def _wallet_write(wallet: Wallet, period: int) -> Any:
    document = docs.wallet_document(wallet, wallet.version + 1, period)
    if wallet.version == 0:
        return InsertOne(document)
    return ReplaceOne({"_id": wallet.id, "version": wallet.version}, document)


def _redemption_write(redemption: Redemption, period: int) -> Any:
    document = docs.redemption_document(redemption, redemption.version + 1, period)
    if redemption.version == 0:
        return InsertOne(document)
    return ReplaceOne({"_id": redemption.id, "version": redemption.version}, document)
