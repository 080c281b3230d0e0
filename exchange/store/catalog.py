"""Benefits, their stock and their code pools, as stored.

A benefit's document is what its partner says; its stock's document counts what became of it, because every
redemption writes that one. Both are made and changed together, in one transaction, so neither exists alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import Struct
from pymongo import ASCENDING, DESCENDING, InsertOne, ReplaceOne

from exchange.benefit import (
    Benefit,
    BenefitCategory,
    BenefitContent,
    BenefitStatus,
    Fulfilment,
    Stock,
    benefit_id,
    content_of,
    validate,
)
from exchange.errors import NotFound, ValidationFailed, VersionConflict
from exchange.keyring import Keyring
from exchange.store import documents as docs
from exchange.store.connection import (
    Collection,
    Database,
    Document,
    Session,
    aggregate,
    answering,
    ensure_index,
    server_time,
    settled,
)
from exchange.store.shelves import Shelves, Whole

PUBLISH_MAX = 1_000
"""Most benefits in one transaction: it has to fit the three seconds that the server gives a transaction."""

CODES_MAX = 10_000
CODE_LENGTH_MAX = 500
_NO_END = datetime(9999, 12, 31, tzinfo=UTC)


class Offer(NamedTuple):
    """A content to publish; `expected_version` guards against somebody else's change (None: whatever is there)."""

    content: BenefitContent
    expected_version: int | None = None


class Published(Struct, frozen=True):
    """What publishing did, the benefits in the order given."""

    benefits: list[Benefit]
    created: int
    updated: int
    unchanged: int


class CodesAdded(Struct, frozen=True):
    """What adding codes did; `remaining` is how many can now be handed out."""

    added: int
    duplicates: int
    remaining: int


class Wanted(Struct, frozen=True, kw_only=True):
    """Which benefits to list. `viewer`: the partner that also sees its own unpublished ones."""

    viewer: str | None = None
    category: BenefitCategory | None = None
    partner: str | None = None
    region: str | None = None
    status: Sequence[BenefitStatus] | None = None
    points_price_max: int | None = None
    search: str | None = None
    tags: Sequence[str] = ()


class Sort(NamedTuple):
    """A total order: by a field of the document, then by id."""

    field: str
    direction: int


POINTS_PRICE = Sort("points_price", ASCENDING)
NEWEST = Sort("created_at", DESCENDING)
ENDING_SOON = Sort("ends", ASCENDING)
RELEVANCE = Sort("score", DESCENDING)


class Found(NamedTuple):
    """A listed benefit with the key that places it in the order asked for."""

    key: Any
    benefit: Benefit


class Catalog:
    """All partners' benefits."""

    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._db = db
        self._keyring = keyring
        self._benefits: Collection = db["benefits"]
        self._shelves = Shelves(db)
        self._codes: Collection = db["codes"]

    async def create_indexes(self) -> None:
        """Create the indexes of the listings: one per order, and the words."""
        with answering():
            for sort in (POINTS_PRICE, NEWEST, ENDING_SOON):
                for scope in ("status", "partner"):
                    keys = [(scope, 1), (sort.field, sort.direction), ("_id", sort.direction)]
                    await ensure_index(self._benefits, keys, name=f"{scope}_{sort.field}")
            await ensure_index(
                self._benefits,
                [("title", "text"), ("tags", "text"), ("description", "text"), ("translations.title", "text")],
                name="words",
                weights={"title": 10, "tags": 5, "translations.title": 5, "description": 1},
                language_override="no_such_field",  # the default, `language`, would let a document choose
            )

    # ------------------------------------------------------------ publishing

    async def publish(self, partner: str, offers: Sequence[Offer]) -> Published:
        """Create or change a partner's benefits, which `check_offers` has passed: all of them, or none.

        Raises ValidationFailed for what contradicts what is stored, VersionConflict; with the path of the first.
        """

        async def in_order(session: Session) -> Published:
            return await self._publish(partner, offers, session)

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                published: Published = await session.with_transaction(in_order)
        return published

    async def preview(self, partner: str, offers: Sequence[Offer]) -> Published:
        """Say what `publish` would do, and do nothing; the contents must have been validated."""
        with answering():
            before, wholes = await self._read(benefit_id(partner, offer.content.sku) for offer in offers)
            now = await server_time(self._db)
        changes = [_change(partner, offer, index, before, wholes, now) for index, offer in enumerate(offers)]
        return _published(changes)

    async def _publish(self, partner: str, offers: Sequence[Offer], session: Session) -> Published:
        now = await server_time(self._db)
        before, wholes = await self._read((benefit_id(partner, o.content.sku) for o in offers), session)
        changes = [_change(partner, offer, index, before, wholes, now) for index, offer in enumerate(offers)]
        benefits: list[Any] = []
        new: dict[str, int | None] = {}
        for benefit, old in changes:
            if old is benefit:
                continue
            document = docs.benefit_document(benefit) | {"ends": benefit.valid_until or _NO_END}
            if old is None:
                new[benefit.id] = 0 if benefit.fulfilment is Fulfilment.INSTANT_CODE else benefit.stock
                benefits.append(InsertOne(document))
                continue
            benefits.append(ReplaceOne({"_id": benefit.id, "version": old.version}, document))
            if old.stock != benefit.stock:
                await self._shelves.change(benefit.id, wholes[benefit.id], benefit.stock, session)
        if benefits:
            await self._benefits.bulk_write(benefits, session=session)
        if new:
            await self._shelves.begin(new, session)
        return _published(changes)

    async def _read(
        self, ids: Iterable[str], session: Session | None = None
    ) -> tuple[dict[str, Benefit], dict[str, Whole]]:
        wanted = list(ids)
        benefits = await self._benefits.find({"_id": {"$in": wanted}}, session=session).to_list(None)
        return {b["_id"]: docs.benefit_from(b) for b in benefits}, await self._shelves.whole(wanted, session)

    # ------------------------------------------------------------ codes

    async def add_codes(self, partner: str, sku: str, codes: Sequence[str]) -> CodesAdded:
        """Load codes into the pool of an INSTANT_CODE benefit; a code that was ever loaded for it is a duplicate.

        Codes, which `check_codes` has passed, are encrypted at rest and found again by a keyed hash. They are handed
        out in the order loaded, by several processes nearly so.
        """
        benefit = benefit_id(partner, sku)
        stored = (await self.get([benefit])).get(benefit)
        if stored is None:
            raise NotFound("no such benefit", ("input", "sku"))
        if stored.fulfilment is not Fulfilment.INSTANT_CODE:
            raise ValidationFailed("this benefit is not fulfilled by codes", ("input", "sku"))
        by_hash = {self._keyring.digest("code", benefit, code): code for code in codes}

        async def in_order(session: Session) -> CodesAdded:
            return await self._add_codes(benefit, by_hash, len(codes), session)

        with answering():
            async with await settled(self._db.client.start_session()) as session:
                added: CodesAdded = await session.with_transaction(in_order)
        return added

    async def _add_codes(self, benefit: str, by_hash: dict[str, str], given: int, session: Session) -> CodesAdded:
        known = await self._codes.find({"_id": {"$in": list(by_hash)}}, {"_id": 1}, session=session).to_list(None)
        fresh = [code for code in by_hash if code not in {document["_id"] for document in known}]
        # The counter first: two loads at once are put in order, and each numbers its codes after the other's.
        before = await self._shelves.add(benefit, len(fresh), session)
        if fresh:
            await self._codes.insert_many(
                [
                    {
                        "_id": code, "benefit": benefit, "n": before + number, "free": True,
                        "cipher": self._keyring.encrypt(by_hash[code].encode(), benefit), "redemption": None,
                    }
                    for number, code in enumerate(fresh)
                ],
                session=session,
            )  # fmt: skip
        stock = (await self._shelves.whole([benefit], session))[benefit].stock
        return CodesAdded(len(fresh), given - len(fresh), stock.left or 0)

    def open_code(self, benefit: str, cipher: bytes) -> str:
        """Return the code that a redemption was given."""
        return self._keyring.decrypt(cipher, benefit).decode()

    # ------------------------------------------------------------ reading

    async def get(self, ids: Iterable[str]) -> dict[str, Benefit]:
        """Return the benefits of these ids that exist."""
        with answering():
            found = await self._benefits.find({"_id": {"$in": list(ids)}}).to_list(None)
        return {document["_id"]: docs.benefit_from(document) for document in found}

    async def stock(self, ids: Iterable[str]) -> dict[str, Stock]:
        """Return the stock of these benefits."""
        return await self._shelves.stock(ids)

    async def count(self, wanted: Wanted) -> int:
        """Return how many benefits there are of those wanted."""
        with answering():
            return await self._benefits.count_documents(_query(wanted))

    async def list(
        self, wanted: Wanted, sort: Sort, limit: int, after: tuple[Any, str] | None = None, *, backwards: bool = False
    ) -> list[Found]:
        """Return up to `limit` benefits behind the position `after` (key, id), in order; `backwards` from the end.

        RELEVANCE needs `search` and cannot be read backwards.
        """
        direction = -sort.direction if backwards else sort.direction
        query = _query(wanted)
        cut = {} if after is None else _behind(sort, direction, *after)
        order = {sort.field: direction, "_id": direction if sort is not RELEVANCE else ASCENDING}
        score = [{"$set": {"score": {"$meta": "textScore"}}}] if sort is RELEVANCE else []
        with answering():
            rows = await aggregate(
                self._benefits, [{"$match": query}, *score, {"$match": cut}, {"$sort": order}, {"$limit": limit}]
            )
        return [Found(row[sort.field], docs.benefit_from(row)) for row in rows]


def check_offers(offers: Iterable[Offer]) -> list[Offer]:
    """Return the offers, or refuse (ValidationFailed) the first that no partner could publish.

    Paths are below input.benefits.N. Each offer is asked for only after the one before it has passed: what cannot even
    be made an offer is reported in its turn.
    """
    path = ("input", "benefits")
    seen: dict[str, int] = {}
    checked: list[Offer] = []
    for index, offer in enumerate(offers):
        validate(offer.content, (*path, str(index)))
        first = seen.setdefault(offer.content.sku, index)
        if first != index:
            raise ValidationFailed(f"stands at {first} already", (*path, str(index), "sku"))
        checked.append(offer)
    if not 1 <= len(checked) <= PUBLISH_MAX:
        raise ValidationFailed(f"must be 1 to {PUBLISH_MAX}", path)
    return checked


def check_codes(codes: Sequence[str]) -> None:
    """Refuse (ValidationFailed) codes that no pool could hold."""
    if not 1 <= len(codes) <= CODES_MAX:
        raise ValidationFailed(f"must be 1 to {CODES_MAX}", ("input", "codes"))
    for index, code in enumerate(codes):
        if not (1 <= len(code) <= CODE_LENGTH_MAX and code.isprintable() and code.strip() == code):
            raise ValidationFailed(
                f"must be 1 to {CODE_LENGTH_MAX} printable characters without spaces around them",
                ("input", "codes", str(index)),
            )


def _behind(sort: Sort, direction: int, key: Any, benefit: str) -> Document:
    beyond = "$gt" if direction == ASCENDING else "$lt"
    by_id = "$gt" if sort is RELEVANCE else beyond
    # The bound on the key lets the index start there; the rest cuts ties.
    return {sort.field: {f"{beyond}e": key}, "$or": [{sort.field: {beyond: key}}, {"_id": {by_id: benefit}}]}


def words_of(search: str) -> list[str]:
    """Return the words of what a member typed; quotes, minus signs and commas are neither words nor operators."""
    return re.findall(r"\w+", search)


def _query(wanted: Wanted) -> Document:
    clauses: list[Document] = []
    if wanted.search is not None:
        # Every word must be there.
        clauses.append({"$text": {"$search": " ".join(f'"{word}"' for word in words_of(wanted.search))}})
    published = {"status": BenefitStatus.PUBLISHED.value}
    if wanted.viewer is None or (wanted.partner is not None and wanted.partner != wanted.viewer):
        clauses.append(published)
    elif wanted.partner is None:
        clauses.append({"$or": [published, {"partner": wanted.viewer}]})
    if wanted.category is not None:
        clauses.append({"category": wanted.category.value})
    if wanted.partner is not None:
        clauses.append({"partner": wanted.partner})
    if wanted.region is not None:
        clauses.append({"regions": {"$in": [[], wanted.region]}})
    if wanted.status is not None:
        clauses.append({"status": {"$in": [status.value for status in wanted.status]}})
    if wanted.points_price_max is not None:
        clauses.append({"points_price": {"$lte": wanted.points_price_max}})
    if wanted.tags:
        clauses.append({"tags": {"$all": list(wanted.tags)}})
    return {"$and": clauses} if clauses else {}


def _change(
    partner: str, offer: Offer, index: int, before: dict[str, Benefit], wholes: dict[str, Whole], now: datetime
) -> tuple[Benefit, Benefit | None]:
    """Return the benefit as it will be and as it was (the same object: nothing changes)."""
    at = ("input", "benefits", str(index))
    content = offer.content
    benefit = benefit_id(partner, content.sku)
    old = before.get(benefit)
    version = 0 if old is None else old.version
    if offer.expected_version is not None and offer.expected_version != version:
        raise VersionConflict(f"has version {version}", (*at, "expectedVersion"), current_version=version)
    if old is not None and content_of(old) == content:
        return old, old
    if old is not None and old.fulfilment is not content.fulfilment:
        raise ValidationFailed("cannot change: publish it under a new SKU", (*at, "fulfilment"))
    stock = wholes[benefit].stock if old is not None else Stock(None)
    taken = stock.sold + stock.reserved
    if content.stock is not None and content.stock < taken:
        raise ValidationFailed(f"{taken} are sold or reserved already", (*at, "stock"))
    said = {name: getattr(content, name) for name in BenefitContent.__struct_fields__}
    created = now if old is None else old.created_at
    return Benefit(
        id=benefit, partner=partner, version=version + 1, created_at=created, updated_at=now, **said
    ), old  # fmt: skip


def _published(changes: list[tuple[Benefit, Benefit | None]]) -> Published:
    created = sum(old is None for _, old in changes)
    unchanged = sum(old is new for new, old in changes)
    return Published([new for new, _ in changes], created, len(changes) - created - unchanged, unchanged)
