"""Domain values as BSON documents and back. Both directions of one value stand together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from bson import encode
from msgspec.structs import asdict

from exchange.agreements import Agreement, Debit
from exchange.amounts import Money
from exchange.benefit import Benefit, BenefitCategory, BenefitStatus, Fulfilment, LimitPeriod, Translation
from exchange.commands import ByReference
from exchange.exposure import Cap, Funding
from exchange.journal import Account, Block, BlockKind, Entry, EntryKind, Posting, Sums
from exchange.quote import Quote
from exchange.redemption import Redemption, RedemptionStatus
from exchange.rules import AwardReversal, FrozenBenefit, Rules, Velocity
from exchange.wallet import Absorbed, Given, Link, Lot, Take, Wallet

Document = dict[str, Any]

# To look a member up is several times faster than to call its enumeration, and entries name many.
_ACCOUNTS = {account.value: account for account in Account}
_KINDS = {kind.value: kind for kind in EntryKind}


# ---------------------------------------------------------------- wallets


def wallet_document(wallet: Wallet, version: int, period: int) -> Document:
    """Return the wallet as the commit of `version` in `period` writes it."""
    return {
        "_id": wallet.id,
        "version": version,
        "period": period,
        "lots": [
            {
                "id": lot.id, "issuer": lot.issuer, "awarded": lot.awarded, "remaining": lot.remaining,
                "held": lot.held, "redeemed": lot.redeemed, "expired": lot.expired, "restored": lot.restored,
                "expires_at": lot.expires_at, "awarded_at": lot.awarded_at,
                **_said({"given": lot.given, "withdrawn": lot.withdrawn, "active_from": lot.active_from,
                         "owed": lot.owed, "frozen_by": lot.frozen_by}),
            }
            for lot in wallet.lots
        ],
        "links": [_link_document(link) for link in wallet.links],
        # When the sweeper has to look at it next; points that are held wait for their hold's end.
        "next_expiry": min((lot.expires_at for lot in wallet.lots if lot.expires_at and lot.free), default=None),
        # Pairs, not keys: a SKU may hold dots.
        # In order, so that a wallet made again from its entries is the same to the byte.
        "taken": [[benefit, units] for benefit, units in sorted(wallet.taken.items())],
        **_said({
            "debts": [[issuer, points] for issuer, points in sorted(wallet.debts.items())],
            "given": _given_document(wallet.given),
            "frozen": wallet.frozen, "household": wallet.household, "members": list(wallet.members),
            "merged_into": wallet.merged_into, "absorbed": [_absorbed_document(one) for one in wallet.absorbed],
        }),
    }  # fmt: skip


def wallet_bytes(wallet: Wallet) -> bytes:
    """Return a wallet as its last commit wrote it, to the byte."""
    return encode(wallet_document(wallet, wallet.version, wallet.period))


def _given_document(given: Mapping[str, Given]) -> list[Any]:
    return [[issuer, one.on.isoformat(), one.points] for issuer, one in sorted(given.items())]


def _given_from(rows: Iterable[Any]) -> dict[str, Given]:
    return {issuer: Given(date.fromisoformat(on), points) for issuer, on, points in rows}


def _link_document(link: Link) -> Document:
    return {
        "partner": link.partner, "reference": link.reference, "since": link.since, "daily_limit": link.daily_limit,
        "ended_at": link.ended_at, "spent_on": None if link.spent_on is None else link.spent_on.isoformat(),
        "spent": link.spent,
    }  # fmt: skip


def _link_from(link: Document) -> Link:
    return Link(
        link["partner"], link["reference"], link["since"], link["daily_limit"], link["ended_at"],
        None if link["spent_on"] is None else date.fromisoformat(link["spent_on"]), link["spent"],
    )  # fmt: skip


def _absorbed_document(one: Absorbed) -> Document:
    return {
        "wallet": one.wallet, "version": one.version, "at": one.at, "lots": list(one.lots),
        "links": [_link_document(link) for link in one.links], "came": list(one.came),
        "taken": [[benefit, units] for benefit, units in sorted(one.taken.items())],
        "given": _given_document(one.given), "spent": one.spent,
    }  # fmt: skip


def _absorbed_from(one: Document) -> Absorbed:
    return Absorbed(
        wallet=one["wallet"], version=one["version"], at=one["at"], lots=tuple(one["lots"]),
        links=tuple(_link_from(link) for link in one["links"]), came=tuple(one["came"]), taken=dict(one["taken"]),
        given=_given_from(one["given"]), spent=one["spent"],
    )  # fmt: skip


def _said(fields: Document) -> Document:
    """Return the fields that say something: most lots and wallets have nothing in them, and are written often."""
    return {name: value for name, value in fields.items() if value}


def wallet_from(document: Document) -> Wallet:
    """Return the wallet that was stored."""
    return Wallet(
        id=document["_id"],
        version=document["version"],
        period=document["period"],
        lots=tuple(
            Lot(
                lot["id"], lot["issuer"], lot["awarded"], lot["remaining"], lot["expires_at"], lot["awarded_at"],
                lot["held"], lot["redeemed"], lot["expired"], lot["restored"], lot.get("given", 0),
                lot.get("withdrawn", 0), lot.get("owed", 0), lot.get("active_from"), lot.get("frozen_by"),
            )
            for lot in document["lots"]
        ),
        links=tuple(_link_from(link) for link in document["links"]),
        taken=dict(document["taken"]), debts=dict(document.get("debts", ())),
        given=_given_from(document.get("given", ())),
        frozen=document.get("frozen", False), household=document.get("household"),
        members=tuple(document.get("members", ())), merged_into=document.get("merged_into"),
        absorbed=tuple(_absorbed_from(one) for one in document.get("absorbed", ())),
    )  # fmt: skip


def reference_id(whose: ByReference) -> str:
    """Return the identity under which a partner's reference is unique."""
    return f"{whose.partner}:{whose.reference}"


# ---------------------------------------------------------------- redemptions and entries


def _debit_document(debit: Debit) -> Document:
    return {
        "issuer": debit.issuer, "points": debit.points, "agreement": debit.agreement,
        "owed": None if debit.owed is None else debit.owed.minor,
        "currency": None if debit.owed is None else debit.owed.currency,
        "fee": debit.fee_minor, "commission": debit.commission_minor,
    }  # fmt: skip


def _debit_from(document: Document) -> Debit:
    owed = None if document["owed"] is None else Money(document["owed"], document["currency"])
    return Debit(
        document["issuer"],
        document["points"],
        document["agreement"],
        owed,
        document["fee"],
        document["commission"],
    )


def redemption_document(redemption: Redemption, version: int, period: int) -> Document:
    """Return a redemption as the commit of `version` in `period` writes it."""
    return {
        "_id": redemption.id, "version": version, "period": period, "benefit": redemption.benefit,
        "provider": redemption.provider, "channel": redemption.channel, "wallet": redemption.wallet,
        "quantity": redemption.quantity, "points": redemption.points, "status": redemption.status.value,
        "debits": [_debit_document(debit) for debit in redemption.debits],
        "takes": [list(take) for take in redemption.takes], "codes": list(redemption.codes),
        "returned": redemption.returned, "reserved_until": redemption.reserved_until,
        "created_at": redemption.created_at, "updated_at": redemption.updated_at,
    }  # fmt: skip


def redemption_bytes(redemption: Redemption) -> bytes:
    """Return a redemption as its last commit wrote it, to the byte."""
    return encode(redemption_document(redemption, redemption.version, redemption.period))


def redemption_from(document: Document) -> Redemption:
    """Return the redemption that was stored."""
    return Redemption(
        id=document["_id"], version=document["version"], period=document["period"], benefit=document["benefit"],
        provider=document["provider"], channel=document["channel"], wallet=document["wallet"],
        quantity=document["quantity"], points=document["points"], status=RedemptionStatus(document["status"]),
        debits=tuple(_debit_from(debit) for debit in document["debits"]),
        takes=tuple(Take(*take) for take in document["takes"]), codes=tuple(document["codes"]),
        returned=document["returned"], reserved_until=document["reserved_until"],
        created_at=document["created_at"], updated_at=document["updated_at"],
    )  # fmt: skip


def entry_document(entry: Entry, block: Block, index: int) -> Document:
    """Return an entry at its place. `settles`: the partners with statement lines; absent where there are none."""
    document: Document = {
        "_id": entry.id, "lane": block.lane, "seq": block.seq, "index": index, "period": block.period,
        "kind": entry.kind.value, "at": entry.at, "wallet": entry.wallet, "by": entry.by,
        "fingerprint": entry.fingerprint, "salt": entry.salt, "wallet_version": entry.wallet_version,
        "postings": [
            {"account": p.account.value, "party": p.party, "unit": p.unit, "amount": p.amount, "lot": p.lot}
            for p in entry.postings
        ],
        "redemption": entry.redemption, "benefit": entry.benefit, "provider": entry.provider,
        "channel": entry.channel, "quantity": entry.quantity,
        "debits": [_debit_document(debit) for debit in entry.debits], "holds": [list(take) for take in entry.holds],
        "detail": dict(entry.detail),
    }  # fmt: skip
    document |= _said({
        "settles": entry.settling, "counterpart": entry.counterpart, "counterpart_version": entry.counterpart_version,
    })  # fmt: skip
    return document


def entry_from(document: Document) -> Entry:
    """Return the entry that was stored."""
    return Entry(
        id=document["_id"], kind=_KINDS[document["kind"]], at=document["at"], wallet=document["wallet"],
        by=document["by"], fingerprint=document["fingerprint"], salt=bytes(document["salt"]),
        wallet_version=document["wallet_version"],
        postings=tuple(
            Posting(_ACCOUNTS[p["account"]], p["party"], p["unit"], p["amount"], p["lot"]) for p in document["postings"]
        ),
        redemption=document["redemption"], benefit=document["benefit"], provider=document["provider"],
        channel=document["channel"], quantity=document["quantity"],
        debits=tuple(_debit_from(debit) for debit in document["debits"]),
        holds=tuple(Take(*take) for take in document["holds"]), detail=document["detail"],
        counterpart=document.get("counterpart"), counterpart_version=document.get("counterpart_version", 0),
    )  # fmt: skip


def lines_from(document: Document) -> Entry:
    """Return of a stored entry what its statement lines say, and nothing besides."""
    return Entry(
        id=document["_id"], kind=_KINDS[document["kind"]], at=document["at"], wallet="", by="", fingerprint="",
        salt=b"", benefit=document["benefit"], provider=document["provider"], channel=document["channel"],
        debits=tuple(_debit_from(debit) for debit in document["debits"]),
    )  # fmt: skip


# ---------------------------------------------------------------- blocks


def block_document(block: Block) -> Document:
    """Return a block; its sums as the rows that were hashed, so that they can be hashed again."""
    return {
        "_id": block.id, "lane": block.lane, "seq": block.seq, "kind": block.kind.value, "period": block.period,
        "count": block.count, "prev": block.prev, "root": block.root, "sums": block.sums.rows(),
        "sums_salt": block.sums_salt, "sums_root": block.sums_root, "at": block.at, "hash": block.hash,
    }  # fmt: skip


def block_from(document: Document) -> Block:
    """Return the block that was stored."""
    return Block(
        lane=document["lane"], seq=document["seq"], kind=BlockKind(document["kind"]), period=document["period"],
        count=document["count"], prev=document["prev"], root=document["root"], sums=Sums.from_rows(document["sums"]),
        sums_salt=bytes(document["sums_salt"]), sums_root=document["sums_root"], at=document["at"],
        hash=document["hash"],
    )  # fmt: skip


# ---------------------------------------------------------------- catalog and agreements


def benefit_document(benefit: Benefit) -> Document:
    """Return a benefit; its stock's state is a document of its own."""
    document = asdict(benefit)
    document["_id"] = document.pop("id")
    face = benefit.face_value
    document |= {
        "category": benefit.category.value,
        "fulfilment": benefit.fulfilment.value,
        "member_limit_period": benefit.member_limit_period.value,
        "status": benefit.status.value,
        "face_value": None if face is None else {"minor": face.minor, "currency": face.currency},
        "regions": list(benefit.regions),
        "tags": list(benefit.tags),
        "translations": [asdict(translation) for translation in benefit.translations],
    }
    return document


def benefit_from(document: Document) -> Benefit:
    """Return the benefit that was stored; fields that only queries use are left aside."""
    face = document["face_value"]
    return Benefit(
        id=document["_id"], partner=document["partner"], version=document["version"],
        created_at=document["created_at"], updated_at=document["updated_at"], sku=document["sku"],
        category=BenefitCategory(document["category"]), title=document["title"],
        points_price=document["points_price"], description=document["description"],
        translations=tuple(Translation(**translation) for translation in document["translations"]),
        image_url=document["image_url"], terms=document["terms"],
        redeem_instructions=document["redeem_instructions"],
        face_value=None if face is None else Money(face["minor"], face["currency"]),
        valid_from=document["valid_from"], valid_until=document["valid_until"], regions=tuple(document["regions"]),
        tags=tuple(document["tags"]), stock=document["stock"], member_limit=document["member_limit"],
        member_limit_period=LimitPeriod(document.get("member_limit_period", LimitPeriod.EVER)),
        fulfilment=Fulfilment(document["fulfilment"]), status=BenefitStatus(document["status"]),
    )  # fmt: skip


def agreement_document(agreement: Agreement) -> Document:
    """Return one version of an agreement."""
    price = agreement.price_per_1000_points
    return {
        "_id": agreement.id, "issuer": agreement.issuer, "provider": agreement.provider, "version": agreement.version,
        "price": {"minor": price.minor, "currency": price.currency}, "fee_basis_points": agreement.fee_basis_points,
        "commission_basis_points": agreement.commission_basis_points, "effective_from": agreement.effective_from,
    }  # fmt: skip


def agreement_from(document: Document) -> Agreement:
    """Return the agreement version that was stored."""
    return Agreement(
        id=document["_id"], issuer=document["issuer"], provider=document["provider"], version=document["version"],
        price_per_1000_points=Money(document["price"]["minor"], document["price"]["currency"]),
        fee_basis_points=document["fee_basis_points"],
        commission_basis_points=document["commission_basis_points"], effective_from=document["effective_from"],
    )  # fmt: skip


def rules_document(rules: Rules) -> Document:
    """Return one version of a partner's rules."""
    document = asdict(rules)
    document["_id"] = f"{rules.partner}#{rules.version:06d}"
    document["award_reversal"] = rules.award_reversal.value
    document["velocity"] = [asdict(rule) for rule in rules.velocity]
    document["frozen_benefits"] = [list(each) for each in rules.frozen_benefits]
    return document


def rules_from(document: Document) -> Rules:
    """Return the rules that were stored."""
    said = {name: value for name, value in document.items() if name != "_id"}
    said["award_reversal"] = AwardReversal(said["award_reversal"])
    said["velocity"] = tuple(Velocity(**rule) for rule in said["velocity"])
    said["frozen_benefits"] = tuple(FrozenBenefit(*each) for each in said["frozen_benefits"])
    return Rules(**said)


def cap_document(cap: Cap) -> Document:
    """Return one version of a cap."""
    return {
        "_id": f"{cap.pair.id}#{cap.version:06d}", "partner": cap.partner, "currency": cap.currency,
        "version": cap.version, "minor": cap.minor, "low_minor": cap.low_minor, "epoch": cap.epoch,
        "since": cap.since, "actor": cap.actor,
    }  # fmt: skip


def cap_from(document: Document) -> Cap:
    """Return the cap that was stored."""
    return Cap(**{name: value for name, value in document.items() if name != "_id"})


def funding_document(funding: Funding) -> Document:
    """Return a payment."""
    return {
        "_id": funding.id, "partner": funding.partner, "currency": funding.amount.currency,
        "minor": funding.amount.minor, "reference": funding.reference, "actor": funding.actor, "at": funding.at,
        "fingerprint": funding.fingerprint,
    }  # fmt: skip


def funding_from(document: Document) -> Funding:
    """Return the payment that was stored."""
    return Funding(
        id=document["_id"], partner=document["partner"], amount=Money(document["minor"], document["currency"]),
        reference=document["reference"], actor=document["actor"], at=document["at"],
        fingerprint=document["fingerprint"],
    )  # fmt: skip


# ---------------------------------------------------------------- quotes


def quote_document(quote: Quote) -> Document:
    """Return a quote."""
    return {
        "_id": quote.id, "partner": quote.partner, "wallet": quote.wallet, "benefit": quote.benefit,
        "quantity": quote.quantity, "unit_points": quote.unit_points, "provider": quote.provider,
        "agreements": [[issuer, agreement] for issuer, agreement in quote.agreements.items()],
        "debits": [_debit_document(debit) for debit in quote.debits], "expires_at": quote.expires_at,
    }  # fmt: skip


def quote_from(document: Document) -> Quote:
    """Return the quote that was stored."""
    return Quote(
        id=document["_id"], partner=document["partner"], wallet=document["wallet"], benefit=document["benefit"],
        quantity=document["quantity"], unit_points=document["unit_points"], provider=document["provider"],
        agreements=dict(document["agreements"]), debits=tuple(_debit_from(debit) for debit in document["debits"]),
        expires_at=document["expires_at"],
    )  # fmt: skip
