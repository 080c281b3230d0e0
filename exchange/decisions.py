"""decide(command, wallet, terms, now): the law of the exchange, as a function.

It knows wallets, benefits, agreements and the journal's form. It knows no database, no clock and no chance: `now`,
ids and the salt come from outside, so that every decision can be made again and come out the same.

Each command has one ladder of checks, in the contract's order of precedence. Below the line "nothing may refuse
from here" a decision is only written down. A refusal is raised and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import singledispatch

from exchange.agreements import AgreementBook, Debit
from exchange.amounts import INT64_MAX, MINOR_MAX
from exchange.benefit import Benefit, BenefitStatus, Fulfilment, Stock, Taker, UnavailableReason, availability
from exchange.commands import Award, ByReference, Command, Enrol, Expire, LinkMember, Redeem, Unlink
from exchange.errors import (
    BenefitUnavailable,
    Forbidden,
    InsufficientPoints,
    NotFound,
    PriceChanged,
    Refusal,
    ValidationFailed,
)
from exchange.journal import EXCHANGE, Account, Entry, EntryKind, Posting, milliseconds, points_of
from exchange.redemption import STATUS_AFTER_REDEEM, Redemption
from exchange.wallet import LOTS_MAX, Link, Lot, Take, Wallet


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision rests on besides the wallet, read after the command arrived.

    `referenced`: the wallet id that the reference of a `LinkMember` already means, if any.
    """

    book: AgreementBook = field(default_factory=AgreementBook)
    benefit: Benefit | None = None
    stock: Stock = field(default_factory=lambda: Stock(None))
    referenced: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written: the wallet as it will be, its entry, and what else the event makes or takes.

    `claims`: a reference that from now on means the wallet; `units`: stock to take of the redemption's benefit;
    `codes`: how many of them come out of the code pool.
    """

    wallet: Wallet
    entry: Entry
    redemption: Redemption | None = None
    claims: ByReference | None = None
    units: int = 0
    codes: int = 0


def no_member(path: tuple[str, ...] = ("input", "member")) -> NotFound:
    """Return the one answer for a member that is not there or not the caller's."""
    return NotFound("no such member", path)


def acceptor(book: AgreementBook, provider: str, now: datetime) -> Callable[[str], bool]:
    """Return the question whether an issuer's points can be spent at `provider`, each issuer looked up once."""
    answers: dict[str, bool] = {}

    def accepts(issuer: str) -> bool:
        answer = answers.get(issuer)
        if answer is None:
            answer = answers[issuer] = book.accepts(issuer, provider, now)
        return answer

    return accepts


@singledispatch
def decide(
    command: Command,
    wallet: Wallet | None,
    terms: Terms,
    now: datetime,
    salt: bytes,
) -> Decision:
    """Decide one command over its wallet (None: the member is not there). Raises a Refusal, or returns what to write.

    `salt`: 16 random bytes that blind the entry's parts. The decision's wallet keeps the version it was read with;
    the commit writes the next one.
    """
    raise TypeError(command)


@decide.register
def _(command: Enrol, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    if wallet is None or not isinstance(command.whose, ByReference):
        raise no_member(("reference",))
    link = wallet.link(command.partner)
    if link is not None and not link.open:
        raise Forbidden("the member has ended its link to this partner")
    # Nothing may refuse from here.
    entry = _entry(command, EntryKind.ENROL, wallet, now, salt)
    # With a link there is a reference already: an award, or another enrolment, was faster.
    claims = command.whose if link is None else None
    return Decision(wallet=_linked(wallet, command.whose, now), entry=entry, claims=claims)


@decide.register
def _(command: Award, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    if command.expires_at is not None and command.expires_at <= now:
        raise ValidationFailed("must be in the future", ("input", "expiresAt"))
    if wallet is None:
        raise no_member()
    link = wallet.link(command.partner)
    first_mention = link is None and isinstance(command.whose, ByReference) and wallet.version == 0
    if not first_mention and (link is None or not link.open):
        raise no_member()
    if len(wallet.lots) >= LOTS_MAX:
        raise ValidationFailed(f"the wallet has {LOTS_MAX} lots already", ("input", "member"))
    if sum(lot.remaining for lot in wallet.lots) + command.points > INT64_MAX:
        raise ValidationFailed("the wallet cannot hold that many", ("input", "points"))
    # Nothing may refuse from here.
    lot = Lot(command.id, command.partner, command.points, command.points, command.expires_at, now)
    unit = points_of(command.partner)
    detail = {}
    if command.expires_at is not None:
        detail["expires_at"] = milliseconds(command.expires_at)
    if command.reason is not None:
        detail["reason"] = command.reason
    entry = _entry(
        command, EntryKind.AWARD, wallet, now, salt,
        postings=(
            Posting(Account.WALLET, command.partner, unit, command.points, lot.id),
            Posting(Account.ISSUED, command.partner, unit, -command.points),
        ),
        detail=detail,
    )  # fmt: skip
    claims = command.whose if isinstance(command.whose, ByReference) and first_mention else None
    richer = wallet if claims is None else _linked(wallet, claims, now)
    return Decision(wallet=replace(richer, lots=(*richer.lots, lot)), entry=entry, claims=claims)


@decide.register
def _(command: Redeem, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    link = None if wallet is None else wallet.link(command.partner)
    if wallet is None or link is None or not link.open:
        raise Forbidden("the member has ended its link to this partner") if command.by_member else no_member()
    benefit = terms.benefit
    owner = benefit is not None and benefit.partner == command.partner and not command.by_member
    visible = benefit is not None and (benefit.status is BenefitStatus.PUBLISHED or owner)
    if benefit is None or not visible:
        raise NotFound("no such benefit", ("input", "benefit"))
    accepts = acceptor(terms.book, benefit.partner, now)
    spendable = wallet.spendable(accepts, now)
    taker = Taker(
        region=command.region,
        taken=wallet.taken.get(benefit.id, 0),
        points=wallet.available(now),
        spendable=spendable,
        day_left=link.day_left(now),
    )
    reasons = availability(benefit, terms.stock, now, taker, command.quantity).reasons
    reasons = [reason for reason in reasons if reason is not UnavailableReason.INSUFFICIENT_POINTS]
    if reasons:
        raise _unavailable(reasons)
    cost = benefit.points_price * command.quantity
    if command.expected_points is not None and command.expected_points != cost:
        raise PriceChanged(f"it costs {cost} points now", ("input", "expectedPoints"), points_price=cost)
    if spendable < cost:
        raise InsufficientPoints(f"{cost} points needed, {spendable} to spend", required=cost, available=spendable)
    poorer, takes = wallet.take(cost, accepts, now)
    debits = terms.book.debits(_by_issuer(takes), benefit.partner, now)
    if any(debit.owed is not None and debit.owed.minor > MINOR_MAX for debit in debits):
        raise _unavailable([UnavailableReason.ISSUER_LIMIT])
    # Nothing may refuse from here.
    entry = _entry(
        command, EntryKind.REDEEM, wallet, now, salt,
        postings=(*_points_postings(takes, debits), *_money_postings(debits, benefit.partner, command.partner)),
        benefit=benefit.id, provider=benefit.partner, quantity=command.quantity, debits=tuple(debits),
    )  # fmt: skip
    redemption = Redemption(
        id=entry.id, benefit=benefit.id, provider=benefit.partner, channel=command.partner, wallet=wallet.id,
        quantity=command.quantity, points=cost, status=STATUS_AFTER_REDEEM[benefit.fulfilment],
        debits=tuple(debits), takes=tuple(takes), created_at=now, updated_at=now,
    )  # fmt: skip
    return Decision(
        wallet=poorer.with_taken(benefit.id, command.quantity).with_link(link.spend(cost, now)),
        entry=entry,
        redemption=redemption,
        units=command.quantity,
        codes=command.quantity if benefit.fulfilment is Fulfilment.INSTANT_CODE else 0,
    )


@decide.register
def _(command: LinkMember, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    if wallet is None or now >= command.code_expires_at:
        raise NotFound("no such link code, or it is no longer good", ("input", "code"))
    if terms.referenced is not None and terms.referenced != wallet.id:
        raise ValidationFailed("already means another member", ("input", "reference"))
    known = wallet.link(command.partner)
    if known is not None and known.ended_at is not None and known.ended_at >= command.code_made_at:
        raise NotFound("no such link code, or it is no longer good", ("input", "code"))
    if known is not None and known.reference != command.reference:
        raise ValidationFailed("this member is known to you by another reference", ("input", "reference"))
    # Nothing may refuse from here.
    detail = {} if command.daily_limit is None else {"daily_limit": str(command.daily_limit)}
    entry = _entry(command, EntryKind.LINK, wallet, now, salt, detail=detail)
    since = known.since if known is not None and known.open else now
    link = Link(command.partner, command.reference, since, command.daily_limit)
    if known is not None:
        link = replace(link, spent_on=known.spent_on, spent=known.spent)
    claims = ByReference(command.partner, command.reference)
    return Decision(wallet=wallet.with_link(link), entry=entry, claims=claims if terms.referenced is None else None)


@decide.register
def _(command: Unlink, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    if wallet is None or not wallet.linked_to(command.partner):
        raise Forbidden("the member has ended its link to this partner")
    link = None if command.ended is None else wallet.link(command.ended)
    if link is None or not link.open:
        raise NotFound("no such link", ("input", "partner"))
    if sum(other.open for other in wallet.links) == 1:
        raise Forbidden(
            "this is the member's last link: without it the points could not be reached", ("input", "partner")
        )
    # Nothing may refuse from here.
    entry = _entry(command, EntryKind.UNLINK, wallet, now, salt, detail={"ended": link.partner})
    return Decision(wallet=wallet.with_link(replace(link, ended_at=now)), entry=entry)


@decide.register
def _(command: Expire, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    lot = None if wallet is None else wallet.lot(command.lot)
    if wallet is None or lot is None or lot.live(now) or lot.free == 0:
        raise NotFound("nothing of this lot is left to expire", ("lot",))
    # Nothing may refuse from here.
    unit, points = points_of(lot.issuer), lot.free
    entry = _entry(
        command, EntryKind.EXPIRE, wallet, now, salt,
        postings=(
            Posting(Account.WALLET, lot.issuer, unit, -points, lot.id),
            Posting(Account.EXPIRED, lot.issuer, unit, points),
        ),
    )  # fmt: skip
    spent = replace(lot, remaining=lot.remaining - points, expired=lot.expired + points)
    lots = tuple(spent if other.id == lot.id else other for other in wallet.lots)
    return Decision(wallet=replace(wallet, lots=lots), entry=entry)


def _entry(
    command: Command, kind: EntryKind, wallet: Wallet, now: datetime, salt: bytes,
    postings: tuple[Posting, ...] = (), detail: dict[str, str] | None = None, benefit: str | None = None,
    provider: str | None = None, quantity: int = 0, debits: tuple[Debit, ...] = (),
) -> Entry:  # fmt: skip
    return Entry(
        id=command.id, kind=kind, at=now, wallet=wallet.id, by=command.partner, fingerprint=command.fingerprint,
        salt=salt, wallet_version=wallet.version + 1, postings=postings, detail=detail or {}, benefit=benefit,
        provider=provider, quantity=quantity, debits=debits,
    )  # fmt: skip


def _linked(wallet: Wallet, whose: ByReference, now: datetime) -> Wallet:
    if wallet.link(whose.partner) is not None:
        return wallet
    return wallet.with_link(Link(whose.partner, whose.reference, now))


def _unavailable(reasons: list[UnavailableReason]) -> Refusal:
    said = ", ".join(reason.lower().replace("_", " ") for reason in reasons)
    return BenefitUnavailable(f"cannot be redeemed now: {said}", ("input", "benefit"), reasons=reasons)


def _by_issuer(takes: list[Take]) -> list[tuple[str, int]]:
    points: dict[str, int] = {}
    for take in takes:
        points[take.issuer] = points.get(take.issuer, 0) + take.points
    return list(points.items())


def _points_postings(takes: list[Take], debits: list[Debit]) -> list[Posting]:
    from_wallet = [Posting(Account.WALLET, t.issuer, points_of(t.issuer), -t.points, t.lot) for t in takes]
    return from_wallet + [Posting(Account.REDEEMED, d.issuer, points_of(d.issuer), d.points) for d in debits]


def _money_postings(debits: list[Debit], provider: str, channel: str) -> list[Posting]:
    postings = []
    for debit in debits:
        if debit.owed is None:
            continue
        minor, currency = debit.owed
        for account, payer, payee, amount in (
            (Account.REDEMPTIONS, debit.issuer, provider, minor),
            (Account.FEES, provider, EXCHANGE, debit.fee_minor),
            (Account.COMMISSIONS, provider, channel, debit.commission_minor),
        ):
            if amount:
                postings += [
                    Posting(account, payer, currency, -amount),
                    Posting(account, payee, currency, amount),
                ]
    return postings
