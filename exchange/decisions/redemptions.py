"""Taking a benefit: at once, or by reservation and then step by step.

`redeem` and `reserve` climb the same ladder and differ in what they write. Every later step first asks the one table
(`redemption.TRANSITIONS`), so a wrong step changes nothing, whoever asks for it.

What goes back where: a reservation that ends gives everything back. A failure, or a reversal before the partner has
delivered, gives points, stock and the member's limit back; a reversal afterwards gives points and limit back, but the
unit is gone (a code was seen, a ride was ridden). Points go back into the very lots they came from, last-consumed
first. If such a lot has expired meanwhile, what was still in it is lost as its issuer said, and what comes back has
`GRACE` from now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import Debit
from exchange.amounts import MINOR_MAX
from exchange.benefit import Benefit, BenefitStatus, Fulfilment, StockChange, Taker, UnavailableReason, availability
from exchange.commands import Act, Redeem, Reserve
from exchange.decisions.decision import Decision, Terms, acceptor, entry_of, no_member, out_of_lots
from exchange.errors import (
    BenefitUnavailable,
    Forbidden,
    InsufficientPoints,
    InvalidTransition,
    NotFound,
    PriceChanged,
    Refusal,
    ValidationFailed,
)
from exchange.exposure import Pair, beyond
from exchange.journal import EXCHANGE, Account, Entry, EntryKind, Posting, milliseconds, points_of
from exchange.limits import taken, too_fast
from exchange.quote import Quote
from exchange.redemption import (
    CONFIRMED_AS,
    TRANSITIONS,
    Redemption,
    RedemptionStatus,
    Step,
    first_points,
    last_points,
    returned_debits,
)
from exchange.wallet import Link, Take, Wallet

GRACE = timedelta(days=30)
"""How long points last that come back into a lot which has expired."""


QUOTE_LIFETIME = timedelta(minutes=5)


class Allowed(Struct, frozen=True):
    """A taking that passed its ladder: the wallet it is from, through which link, what it costs and who gives it."""

    wallet: Wallet
    link: Link
    benefit: Benefit
    cost: int
    takes: list[Take]
    debits: list[Debit]


def allow(command: Redeem, wallet: Wallet | None, terms: Terms, now: datetime) -> Allowed:
    """Climb the ladder of a taking; a quote, which only asks what it would cost, climbs it too."""
    link = None if wallet is None else wallet.link(command.partner)
    if wallet is None or link is None or not link.open:
        raise Forbidden("the member has ended its link to this partner") if command.by_member else no_member()
    benefit = terms.benefit
    owner = benefit is not None and benefit.partner == command.partner and not command.by_member
    visible = benefit is not None and (benefit.status is BenefitStatus.PUBLISHED or owner)
    if benefit is None or not visible:
        raise NotFound("no such benefit", ("input", "benefit"))
    if command.quote is not None:
        quote = _quoted(command, wallet, terms.quote, now)
        benefit = replace(benefit, points_price=quote.unit_points)
        terms = replace(terms, book=terms.book.pinned(quote.agreements))
    cost = benefit.points_price * command.quantity
    taker = taker_of(wallet, link, benefit, command.region, terms, now, cost)
    spendable = taker.spendable
    frozen = terms.rules.frozen_benefit(benefit.partner, benefit.id)
    reasons = availability(benefit, terms.stock, now, taker, command.quantity, frozen=frozen).reasons
    reasons = [reason for reason in reasons if reason is not UnavailableReason.INSUFFICIENT_POINTS]
    takes, debits = _priced(wallet, benefit, terms, now, cost) if spendable >= cost else ([], [])
    if any(debit.owed is not None and debit.owed.minor > MINOR_MAX for debit in debits):
        reasons = [reason for reason in reasons if reason is not UnavailableReason.ISSUER_LIMIT]
        raise _unavailable([*reasons, UnavailableReason.ISSUER_LIMIT], {})
    if reasons:
        raise _unavailable(reasons, beyond(debits, terms.headroom))
    if command.expected_points is not None and command.expected_points != cost:
        raise PriceChanged(f"it costs {cost} points now", ("input", "expectedPoints"), points_price=cost)
    if spendable < cost:
        raise InsufficientPoints(f"{cost} points needed, {spendable} to spend", required=cost, available=spendable)
    return Allowed(wallet, link, benefit, cost, takes, debits)


def _priced(wallet: Wallet, benefit: Benefit, terms: Terms, now: datetime, cost: int) -> tuple[list[Take], list[Debit]]:
    """Return who would give the points, and what that would cost; there are enough."""
    takes = wallet.choose(cost, acceptor(terms.book, benefit.partner, now, terms.rules), now)
    return takes, terms.book.debits(_by_issuer(takes), benefit.partner, now)


def taker_of(
    wallet: Wallet, link: Link, benefit: Benefit, region: str | None, terms: Terms, now: datetime, cost: int
) -> Taker:
    """Return what matters of a member that would take a benefit for `cost` points through a link."""
    spendable = wallet.spendable(acceptor(terms.book, benefit.partner, now, terms.rules), now)
    priced = _priced(wallet, benefit, terms, now, cost)[1] if terms.headroom and spendable >= cost else []
    return Taker(
        region=region, points=wallet.available(now), spendable=spendable,
        taken=taken(benefit, wallet.taken.get(benefit.id, 0), terms.recent, terms.rules, now),
        day_left=link.day_left(now),
        too_fast=too_fast(benefit, link.partner, cost, terms.recent, terms.rules, now),
        frozen=wallet.frozen or terms.rules.frozen(link.partner),
        frozen_points=_frozen_points(wallet, benefit, terms, now),
        issuer_limit=bool(beyond(priced, terms.headroom)),
    )  # fmt: skip


def _frozen_points(wallet: Wallet, benefit: Benefit, terms: Terms, now: datetime) -> int:
    """Return the points that this benefit's partner would take, had nobody frozen lots or their issuers."""
    frozen = [lot for lot in wallet.lots if lot.frozen or terms.rules.frozen(lot.issuer)]
    if not frozen:
        return 0
    accepts = acceptor(terms.book, benefit.partner, now)
    return sum(lot.free for lot in frozen if lot.counts(now) and accepts(lot.issuer))


def _quoted(command: Redeem, wallet: Wallet, quote: Quote | None, now: datetime) -> Quote:
    if quote is None or quote.partner != command.partner:
        raise NotFound("no such quote", ("input", "quote"))
    if quote.wallet not in wallet.whole or (quote.benefit, quote.quantity) != (command.benefit, command.quantity):
        raise ValidationFailed("is for another member, benefit or quantity", ("input", "quote"))
    if now >= quote.expires_at:
        raise ValidationFailed("has expired: ask for a new one", ("input", "quote"))
    return quote


def promise(command: Redeem, wallet: Wallet | None, terms: Terms, now: datetime) -> Quote:
    """Return the quote for a taking that would be allowed now; its id is the command's."""
    allowed = allow(command, wallet, terms, now)
    return Quote(
        id=command.id, partner=command.partner, wallet=allowed.wallet.id, benefit=allowed.benefit.id,
        quantity=command.quantity, unit_points=allowed.benefit.points_price, provider=allowed.benefit.partner,
        agreements={debit.issuer: debit.agreement for debit in allowed.debits}, debits=tuple(allowed.debits),
        expires_at=now + QUOTE_LIFETIME,
    )  # fmt: skip


def redeem(command: Redeem, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Points move and money is owed at once."""
    allowed = allow(command, wallet, terms, now)
    # Nothing may refuse from here.
    made = _made(command, allowed, CONFIRMED_AS[allowed.benefit.fulfilment], now)
    entry = entry_of(
        command, EntryKind.REDEEM, allowed.wallet, now, salt, redemption=made, quantity=command.quantity,
        debits=allowed.debits, postings=_moved(allowed.takes, allowed.debits, made),
        detail=_stands(made) | _quote(command),
    )  # fmt: skip
    poorer = allowed.wallet.without(allowed.takes)
    return Decision(
        wallet=_counted(poorer, allowed.link, made, made.quantity, allowed.cost, now),
        entry=entry, redemption=made, stock=StockChange(sold=command.quantity),
        codes=command.quantity if allowed.benefit.fulfilment is Fulfilment.INSTANT_CODE else 0,
    )  # fmt: skip


def reserve(command: Reserve, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Points are held until a deadline on the database's clock; price and agreements are pinned."""
    allowed = allow(command, wallet, terms, now)
    # Nothing may refuse from here.
    until = now + timedelta(seconds=command.ttl_seconds)
    made = replace(_made(command, allowed, RedemptionStatus.RESERVED, now), reserved_until=until)
    entry = entry_of(
        command, EntryKind.RESERVE, allowed.wallet, now, salt, redemption=made, quantity=command.quantity,
        holds=allowed.takes, detail={"until": milliseconds(until)} | _pins(made) | _quote(command),
    )  # fmt: skip
    return Decision(
        wallet=_counted(allowed.wallet.hold(allowed.takes), allowed.link, made, made.quantity, allowed.cost, now),
        entry=entry, redemption=made, stock=StockChange(reserved=command.quantity),
    )  # fmt: skip


def act(command: Act, wallet: Wallet | None, terms: Terms, now: datetime, salt: bytes) -> Decision:
    """Take a redemption one step on: by its channel, its provider, the exchange or time itself."""
    redemption = terms.redemption
    if redemption is None or wallet is None or not _concerned(command, redemption, wallet):
        raise NotFound("no such redemption", ("input", "redemption"))
    if command.quantity is not None and command.quantity > redemption.quantity:
        raise ValidationFailed(f"it is of {redemption.quantity}", ("input", "quantity"))
    if command.step is Step.CONFIRM and not wallet.linked_to(redemption.channel):
        raise Forbidden("the member has ended its link to this partner")
    if command.step is Step.CONFIRM and _frozen(wallet, redemption, terms):
        raise Forbidden("the member, the benefit or a partner is frozen")
    standing = redemption.standing(now)
    due = command.step is Step.LAPSE and standing is RedemptionStatus.EXPIRED
    status = redemption.status if due else standing
    if (status, command.step) not in TRANSITIONS or (command.step is Step.LAPSE and not due):
        doing = command.step.lower()
        raise InvalidTransition(f"it is {standing}: cannot {doing}", ("input", "redemption"), status=standing)
    if command.step is Step.CONFIRM:
        return _confirm(command, redemption, wallet, terms, now, salt)
    if command.step in (Step.CANCEL, Step.LAPSE):
        return _release(command, redemption, wallet, now, salt)
    if command.step is Step.FULFIL:
        done = replace(redemption, status=RedemptionStatus.FULFILLED, updated_at=now)
        return Decision(wallet=wallet, redemption=done, entry=_step_entry(command, done, wallet, now, salt))
    return _return(command, redemption, wallet, now, salt)


def _frozen(wallet: Wallet, redemption: Redemption, terms: Terms) -> bool:
    rules = terms.rules
    return (
        wallet.frozen
        or rules.frozen(redemption.channel, *(debit.issuer for debit in redemption.debits))
        or rules.frozen_benefit(redemption.provider, redemption.benefit)
    )


def _concerned(command: Act, redemption: Redemption, wallet: Wallet) -> bool:
    if command.by_exchange:
        return True
    if command.step in (Step.CONFIRM, Step.CANCEL):
        own = command.by_wallet in (None, wallet.id)
        return own and command.partner == redemption.channel
    return command.partner == redemption.provider


def _confirm(
    command: Act, redemption: Redemption, wallet: Wallet, terms: Terms, now: datetime, salt: bytes
) -> Decision:
    if terms.benefit is None:
        # Never taken for one without codes: the member would pay and get nothing.
        raise NotFound("no such benefit", ("input", "redemption"))
    # Nothing may refuse from here.
    quantity = command.quantity or redemption.quantity
    fulfilment = terms.benefit.fulfilment
    takes = first_points(redemption.takes, redemption.unit_points * quantity)
    book = terms.book.pinned({debit.issuer: debit.agreement for debit in redemption.debits})
    debits = book.debits(_by_issuer(takes), redemption.provider, now)
    done = replace(
        redemption, quantity=quantity, points=redemption.unit_points * quantity, takes=tuple(takes),
        debits=tuple(debits), status=CONFIRMED_AS[fulfilment], updated_at=now,
    )  # fmt: skip
    entry = entry_of(
        command, EntryKind.CONFIRM, wallet, now, salt, redemption=done, quantity=quantity, debits=debits,
        holds=_negative(redemption.takes), postings=_moved(takes, debits, done), detail=_stands(done),
    )  # fmt: skip
    let_go = redemption.quantity - quantity
    return Decision(
        wallet=_uncounted(wallet.release(redemption.takes).without(takes), redemption, let_go, now),
        entry=entry, redemption=done, stock=StockChange(sold=quantity, reserved=-redemption.quantity),
        codes=quantity if fulfilment is Fulfilment.INSTANT_CODE else 0,
    )  # fmt: skip


def _release(command: Act, redemption: Redemption, wallet: Wallet, now: datetime, salt: bytes) -> Decision:
    ended = RedemptionStatus.CANCELLED if command.step is Step.CANCEL else RedemptionStatus.EXPIRED
    done = replace(redemption, status=ended, updated_at=now)
    return Decision(
        wallet=_uncounted(wallet.release(redemption.takes), redemption, redemption.quantity, now),
        entry=_step_entry(command, done, wallet, now, salt, holds=_negative(redemption.takes)),
        redemption=done, stock=StockChange(reserved=-redemption.quantity),
    )  # fmt: skip


def _return(command: Act, redemption: Redemption, wallet: Wallet, now: datetime, salt: bytes) -> Decision:
    # What failed has failed as a whole.
    quantity = redemption.left if command.step is Step.FAIL else command.quantity or redemption.left
    if quantity > redemption.left:
        raise ValidationFailed(f"{redemption.left} are left to reverse", ("input", "quantity"))
    # Nothing may refuse from here.
    before = redemption.unit_points * redemption.returned
    back = last_points(redemption.takes, before, redemption.unit_points * quantity)
    already = last_points(redemption.takes, 0, before)
    debits = returned_debits(redemption.debits, dict(_by_issuer(already)), dict(_by_issuer([*already, *back])))
    undelivered = redemption.status is RedemptionStatus.CONFIRMED
    status = redemption.status
    if quantity == redemption.left:
        status = RedemptionStatus.FAILED if command.step is Step.FAIL else RedemptionStatus.REVERSED
    done = replace(redemption, returned=redemption.returned + quantity, status=status, updated_at=now)
    revived, lost = wallet.revive([take.lot for take in back], now, now + GRACE)
    entry = entry_of(
        command, EntryKind(command.step.value), wallet, now, salt, redemption=done, quantity=quantity, debits=debits,
        postings=(*out_of_lots(lost, Account.EXPIRED), *_moved(_negative(back), debits, done)),
        detail=_said(command) | _taken_by(redemption, wallet) | {"until": milliseconds(now + GRACE)},
    )  # fmt: skip
    return Decision(
        wallet=revived.restore(back).with_taken(redemption.benefit, -quantity, redemption.wallet), entry=entry,
        redemption=done,
        stock=StockChange(sold=-quantity) if undelivered else StockChange(),
    )  # fmt: skip


def _made(command: Redeem, allowed: Allowed, status: RedemptionStatus, now: datetime) -> Redemption:
    return Redemption(
        id=command.id, benefit=allowed.benefit.id, provider=allowed.benefit.partner, channel=command.partner,
        wallet=allowed.wallet.id, quantity=command.quantity, points=allowed.cost, status=status,
        debits=tuple(allowed.debits), takes=tuple(allowed.takes), created_at=now, updated_at=now,
    )  # fmt: skip


def _step_entry(
    command: Act, done: Redemption, wallet: Wallet, now: datetime, salt: bytes, holds: Sequence[Take] = ()
) -> Entry:
    kind = EntryKind(command.step.value)
    return entry_of(
        command, kind, wallet, now, salt, redemption=done, quantity=done.quantity, holds=holds,
        detail=_said(command) | _taken_by(done, wallet),
    )  # fmt: skip


def _taken_by(redemption: Redemption, wallet: Wallet) -> dict[str, str]:
    """Say whose redemption it was, and as of which version, if that member has become this one since."""
    was = next((one for one in wallet.absorbed if one.wallet == redemption.wallet), None)
    return {} if was is None else {"taken_by": f"{was.wallet}@{was.version}"}


def _stands(redemption: Redemption) -> dict[str, str]:
    """Say where it stands once its points have moved: how its benefit was fulfilled then, nothing else tells."""
    return {"status": redemption.status.value}


def _pins(redemption: Redemption) -> dict[str, str]:
    """Say which agreement versions were promised, issuer by issuer in the order of the holds: "-" where none is."""
    return {"agreements": " ".join(debit.agreement or "-" for debit in redemption.debits)}


def _quote(command: Redeem) -> dict[str, str]:
    return {} if command.quote is None else {"quote": command.quote}


def _said(command: Act) -> dict[str, str]:
    return {} if command.reason is None else {"reason": command.reason}


def _counted(wallet: Wallet, link: Link, redemption: Redemption, quantity: int, points: int, now: datetime) -> Wallet:
    return wallet.with_taken(redemption.benefit, quantity).with_link(link.spend(points, now))


def _uncounted(wallet: Wallet, redemption: Redemption, quantity: int, now: datetime) -> Wallet:
    """Give back what a reservation counted for units that it did not come to: limit, and the day's spending."""
    if quantity == 0:
        return wallet
    lighter = wallet.with_taken(redemption.benefit, -quantity)
    link = wallet.link(redemption.channel)
    if link is None or redemption.created_at.date() != now.date():
        return lighter
    return lighter.with_link(link.spend(-redemption.unit_points * quantity, now))


def _unavailable(reasons: list[UnavailableReason], too_much: Mapping[Pair, int]) -> Refusal:
    said = ", ".join(reason.lower().replace("_", " ") for reason in reasons)
    message = f"cannot be redeemed now: {said}"
    # What was refused for another reason as well needs no headroom.
    return BenefitUnavailable(
        message, ("input", "benefit"), reasons=reasons, beyond=too_much if len(reasons) == 1 else {}
    )


def _by_issuer(takes: Sequence[Take]) -> list[tuple[str, int]]:
    points: dict[str, int] = {}
    for take in takes:
        points[take.issuer] = points.get(take.issuer, 0) + take.points
    return list(points.items())


def _negative(takes: Sequence[Take]) -> list[Take]:
    return [Take(take.lot, take.issuer, -take.points) for take in takes]


def _moved(takes: Sequence[Take], debits: Sequence[Debit], redemption: Redemption) -> list[Posting]:
    """Post points out of lots and money between partners; negative takes and debits post it all back."""
    postings = [Posting(Account.WALLET, t.issuer, points_of(t.issuer), -t.points, t.lot) for t in takes]
    postings += [Posting(Account.REDEEMED, d.issuer, points_of(d.issuer), d.points) for d in debits]
    for debit in debits:
        if debit.owed is None:
            continue
        minor, currency = debit.owed
        for account, payer, payee, amount in (
            (Account.REDEMPTIONS, debit.issuer, redemption.provider, minor),
            (Account.FEES, redemption.provider, EXCHANGE, debit.fee_minor),
            (Account.COMMISSIONS, redemption.provider, redemption.channel, debit.commission_minor),
        ):
            if amount:
                postings += [Posting(account, payer, currency, -amount), Posting(account, payee, currency, amount)]
    return postings
