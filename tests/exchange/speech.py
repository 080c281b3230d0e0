"""The words in which tests speak to the ledger, and in which it answers.

    book = agreements(("video", "rides", 800))
    wallet = awarded(award("video", 100), award("rides", 50))
    decided(redeem(benefit("rides/trip", 120)), wallet, book)
    moves(entry) == ["member -> rides REDEEMED 50", "member -> video REDEEMED 70", "video -> rides REDEMPTIONS 56 EUR"]

The member is known to every partner as "ann"; ids are made up in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from exchange.agreements import Agreement, AgreementBook, agreement_id
from exchange.amounts import Money
from exchange.benefit import Benefit, BenefitCategory, Stock, benefit_id
from exchange.commands import (
    Act,
    Adjust,
    Award,
    ByReference,
    ByWallet,
    Command,
    Enrol,
    Expire,
    Extend,
    Freeze,
    Give,
    LinkMember,
    Merge,
    Redeem,
    Reserve,
    ReverseAward,
    Share,
    Sharing,
    Unlink,
    Unmerge,
    Whose,
)
from exchange.decisions import Decision, Terms, decide
from exchange.errors import Refusal
from exchange.journal import EXCHANGE, Account, Entry
from exchange.quote import Quote
from exchange.redemption import Redemption, Step
from exchange.rules import RuleBook, Rules
from exchange.wallet import Lot, Wallet

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SALT = bytes(range(16))
ANN = "ann"

_ids = count(1)


def _fresh(given: str | None, kind: str) -> str:
    return given or f"{kind}-{next(_ids)}"


def day(number: float) -> datetime:
    """Return the moment so many days from NOW."""
    return NOW + timedelta(days=number)


# ---------------------------------------------------------------- terms


def agreement(
    issuer: str | None, provider: str | None, price: int, currency: str = "EUR", *, fee: int = 0, commission: int = 0,
    version: int = 1, since: datetime | None = None,
) -> Agreement:  # fmt: skip
    return Agreement(
        id=agreement_id(issuer, provider, version), issuer=issuer, provider=provider, version=version,
        price_per_1000_points=Money(price, currency), fee_basis_points=fee, commission_basis_points=commission,
        effective_from=since or day(-100),
    )  # fmt: skip


def agreements(*terms: tuple[str | None, str | None, int] | Agreement) -> AgreementBook:
    return AgreementBook(term if isinstance(term, Agreement) else agreement(*term) for term in terms)


def benefit(name: str, price: int = 100, **content: Any) -> Benefit:
    """Publish "partner/sku" at a price in points."""
    partner, _, sku = name.partition("/")
    said: dict[str, Any] = {"category": BenefitCategory.OTHER, "title": name, "version": 1, **content}
    return Benefit(
        id=benefit_id(partner, sku), partner=partner, sku=sku, points_price=price, created_at=NOW, updated_at=NOW,
        **said,
    )  # fmt: skip


# ---------------------------------------------------------------- commands


def by_reference(partner: str, reference: str = ANN) -> ByReference:
    return ByReference(partner, reference)


def award(
    issuer: str, points: int, *, expires: datetime | None = None, active: datetime | None = None, whose: Whose = None,
    key: str | None = None, fingerprint: str = "", reason: str | None = None,
) -> Award:  # fmt: skip
    return Award(
        id=_fresh(key, "award"), fingerprint=fingerprint, partner=issuer, whose=whose or by_reference(issuer),
        points=points, expires_at=expires, active_from=active, reason=reason,
    )  # fmt: skip


def reverse_award(
    lot: str | None, points: int | None = None, *, issuer: str = "video", whose: Whose = None, key: str | None = None,
    fingerprint: str = "", reason: str | None = None,
) -> ReverseAward:  # fmt: skip
    return ReverseAward(
        id=_fresh(key, "reversal"), fingerprint=fingerprint, partner=issuer, whose=whose or by_reference(issuer),
        lot=lot, points=points, reason=reason,
    )  # fmt: skip


def extend(
    lot: str | None, until: datetime | None, *, issuer: str = "video", whose: Whose = None, key: str | None = None,
    reason: str | None = None,
) -> Extend:  # fmt: skip
    return Extend(
        id=_fresh(key, "extension"), fingerprint="", partner=issuer, whose=whose or by_reference(issuer), lot=lot,
        expires_at=until, reason=reason,
    )  # fmt: skip


def adjust(
    issuer: str, points: int, *, expires: datetime | None = None, whose: Whose = None, key: str | None = None,
    reason: str = "sorry", actor: str = "desk",
) -> Adjust:  # fmt: skip
    return Adjust(
        id=_fresh(key, "goodwill"), fingerprint="", partner=issuer, whose=whose or by_reference(issuer), points=points,
        reason=reason, actor=actor, expires_at=expires,
    )  # fmt: skip


def freeze(
    lot: str | None = None, *, by: str = EXCHANGE, whose: Whose = None, key: str | None = None, frozen: bool = True
) -> Freeze:
    """Freeze a lot, or without one the wallet."""
    return Freeze(
        id=_fresh(key, "freeze"), fingerprint="", partner=by, whose=whose or by_reference("video"), lot=lot,
        frozen=frozen, reason="fraud", actor="desk", by_exchange=by == EXCHANGE,
    )  # fmt: skip


def unfreeze(lot: str | None = None, **asked: Any) -> Freeze:
    return freeze(lot, frozen=False, **asked)


def give(
    points: int, to: Whose, *, through: str = "video", whose: Whose = None, key: str | None = None,
    fingerprint: str = "", **asked: Any,
) -> Give:  # fmt: skip
    return Give(
        id=_fresh(key, "gift"), fingerprint=fingerprint, partner=through, whose=whose or by_reference(through), to=to,
        points=points, **asked,
    )  # fmt: skip


def share(
    what: Sharing, pool: str | None, points: int = 0, *, through: str = "video", whose: Whose = None,
    invited_until: datetime | None = None, key: str | None = None, fingerprint: str = "", **asked: Any,
) -> Share:  # fmt: skip
    """Do something with a household's pool; whoever joins was invited, for ever unless said otherwise."""
    return Share(
        id=_fresh(key, what.lower()), fingerprint=fingerprint, partner=through, whose=whose or by_reference(through),
        to=None if pool is None else ByWallet(pool), what=what, points=points,
        invited_until=invited_until or day(10_000), **asked,
    )  # fmt: skip


def merge(
    into: str | None, *, through: str = "video", whose: Whose = None, until: datetime | None = None,
    asked_through: str = "video", key: str | None = None,
) -> Merge:  # fmt: skip
    """Let one become another, whose code was asked for `asked_through` a partner."""
    return Merge(
        id=_fresh(key, "merge"), fingerprint="", partner=through, whose=whose or by_reference(through),
        to=None if into is None else ByWallet(into), permitted_until=until or day(10_000),
        permitted_through=asked_through,
    )  # fmt: skip


def unmerge(wallet: str, apart: str | None, *, through: str = "video", key: str | None = None) -> Unmerge:
    return Unmerge(
        id=_fresh(key, "unmerge"), fingerprint="", partner=through, whose=ByWallet(wallet),
        to=None if apart is None else ByWallet(apart), by_exchange=through == EXCHANGE,
    )  # fmt: skip


def redeem(
    what: Benefit | str | None, quantity: int = 1, *, through: str = "video", whose: Whose = None,
    key: str | None = None, fingerprint: str = "", **asked: Any,
) -> Redeem:  # fmt: skip
    name = what.id if isinstance(what, Benefit) else what
    return Redeem(
        id=_fresh(key, "redeem"), fingerprint=fingerprint, partner=through, whose=whose or by_reference(through),
        benefit=name, quantity=quantity, **asked,
    )  # fmt: skip


def reserve(
    what: Benefit | str | None, quantity: int = 1, *, through: str = "video", whose: Whose = None,
    key: str | None = None, fingerprint: str = "", ttl: int = 300, **asked: Any,
) -> Reserve:  # fmt: skip
    name = what.id if isinstance(what, Benefit) else what
    return Reserve(
        id=_fresh(key, "reserve"), fingerprint=fingerprint, partner=through, whose=whose or by_reference(through),
        benefit=name, quantity=quantity, ttl_seconds=ttl, **asked,
    )  # fmt: skip


CHANNELS_STEPS = (Step.CONFIRM, Step.CANCEL)
"""The steps that are the channel's; the others are the provider's, and time's."""


def act(
    step: Step, redemption: Redemption | str | None, quantity: int | None = None, *, by: str | None = None,
    key: str | None = None, fingerprint: str = "", **asked: Any,
) -> Act:  # fmt: skip
    """Take a redemption a step on; unless said otherwise, by whose step it is."""
    if isinstance(redemption, Redemption):
        by = by or (redemption.channel if step in CHANNELS_STEPS else redemption.provider)
    if step is Step.LAPSE:
        by, asked = EXCHANGE, {"by_exchange": True, **asked}
    return Act(
        id=_fresh(key, step.lower()), fingerprint=fingerprint, partner=by or "video", whose=None, step=step,
        redemption=redemption.id if isinstance(redemption, Redemption) else redemption, quantity=quantity, **asked,
    )  # fmt: skip


def enrol(partner: str, *, whose: ByReference | None = None, key: str | None = None, fingerprint: str = "") -> Enrol:
    whose = whose or by_reference(partner)
    return Enrol(id=_fresh(key, "enrol"), fingerprint=fingerprint, partner=partner, whose=whose)


def link(
    partner: str, wallet: str, *, reference: str = ANN, daily_limit: int | None = None,
    good_until: datetime | None = None, made: datetime | None = None, key: str | None = None,
) -> LinkMember:  # fmt: skip
    return LinkMember(
        id=_fresh(key, "link"), fingerprint="", partner=partner, whose=ByWallet(wallet), reference=reference,
        daily_limit=daily_limit, code_made_at=made or day(9_999), code_expires_at=good_until or day(10_000),
    )  # fmt: skip


def unlink(ended: str | None, wallet: str, *, through: str = "video", key: str | None = None) -> Unlink:
    return Unlink(id=_fresh(key, "unlink"), fingerprint="", partner=through, whose=ByWallet(wallet), ended=ended)


def expire(lot: str, wallet: str, *, issuer: str = "video", key: str | None = None) -> Expire:
    return Expire(id=_fresh(key, "expire"), fingerprint="", partner=issuer, whose=ByWallet(wallet), lot=lot)


# ---------------------------------------------------------------- deciding


def decided(
    command: Command, wallet: Wallet | None, book: AgreementBook | None = None, *, of: Benefit | None = None,
    stock: Stock | None = None, referenced: str | None = None, redemption: Redemption | None = None,
    quote: Quote | None = None, other: Wallet | None = None, rules: Sequence[Rules] = (),
    recent: Sequence[Redemption] = (), now: datetime = NOW,
) -> Decision:  # fmt: skip
    """Decide a command alone: `of` the benefit it names, with `stock` of it, and the `redemption` that it names.

    `other`: the second wallet that it names; `rules`: what partners have laid down; `recent`: what the member took.
    """
    terms = Terms(
        book or AgreementBook(), of, stock or Stock(None), referenced, quote, redemption, other, RuleBook(rules), recent
    )
    return decide(command, wallet, terms, now, SALT)


def refused(command: Command, wallet: Wallet | None, *args: Any, **terms: Any) -> Refusal:
    """Return what a command is refused with, decided alone."""
    with pytest.raises(Refusal) as raised:
        decided(command, wallet, *args, **terms)
    return raised.value


def awarded(*awards: Award, wallet: Wallet | None = None, now: datetime = NOW) -> Wallet:
    """Return the wallet after these awards, with every issuer linked."""
    wallet = wallet or Wallet("wallet-of-ann")
    for command in awards:
        wallet = decided(command, wallet, now=now).wallet
    return wallet


def lot(name: str, issuer: str, points: int, *, expires: datetime | None = None, **state: Any) -> Lot:
    return Lot(name, issuer, points, state.pop("remaining", points), expires, state.pop("at", NOW), **state)


# ---------------------------------------------------------------- what came of it


def moves(entry: Entry) -> list[str]:
    """Say an entry's movements: who gives, who gets, on which account, how much; points first.

    Of points that go from wallet to wallet it says from which lot and into which.
    """
    said = []
    points = [posting for posting in entry.postings if posting.unit.startswith("points:")]
    accounts = [posting for posting in points if posting.account is not Account.WALLET]
    for posting in accounts:
        here = f"{posting.party} {posting.account}"
        there, back = f"member -> {here} {posting.amount}", f"{here} -> member {-posting.amount}"
        said.append(there if posting.amount > 0 else back)
    if entry.counterpart is not None:
        assert not accounts
        for out, into in zip(points[::2], points[1::2], strict=True):
            assert (out.party, out.amount) == (into.party, -into.amount)
            said.append(f"{entry.wallet} {out.lot} -> {entry.counterpart} {into.lot} {out.party} {into.amount}")
    money = [posting for posting in entry.postings if not posting.unit.startswith("points:")]
    for payer, payee in zip(money[::2], money[1::2], strict=True):
        assert payer.amount == -payee.amount
        if payee.amount < 0:  # it goes back
            payer, payee = payee, payer  # noqa: PLW2901
        said.append(f"{payer.party} -> {payee.party} {payee.account} {payee.amount} {payee.unit}")
    return said


def left(wallet: Wallet) -> list[str]:
    """Say what is left of each lot."""
    return [f"{lot.id}: {lot.remaining} of {lot.awarded}" for lot in wallet.lots]
