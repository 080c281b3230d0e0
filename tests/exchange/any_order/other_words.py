"""The ladders of `decisions` in other words: what stands first in the way of a command, and what is told of it.

It shares the values with the law that it is held against, not its reasoning: every figure is counted here again from
lots, links and redemptions. What no test reaches (wallets that are full) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from exchange.benefit import Benefit, LimitPeriod, UnavailableReason, availability
from exchange.benefit import Taker as Member
from exchange.commands import (
    Act,
    Adjust,
    Award,
    Between,
    ByReference,
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
)
from exchange.decisions import Terms
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
from exchange.journal import EXCHANGE
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.rules import AwardReversal
from exchange.wallet import Link, Lot, Wallet
from tests.exchange.speech import CHANNELS_STEPS

Told = tuple[type[Refusal], Any]
"""A refusal, and what it tells besides its words."""

ALLOWED = {
    "RESERVED": {Step.CONFIRM, Step.CANCEL}, "EXPIRED": {Step.LAPSE},
    "CONFIRMED": {Step.FULFIL, Step.FAIL, Step.REVERSE}, "FULFILLED": {Step.REVERSE},
}  # fmt: skip
"""What can be done to a redemption as it stands. EXPIRED can lapse while nobody has written that down."""

_FOR_EVER = datetime.max.replace(tzinfo=UTC)
_NEVER_TAKEN = (RedemptionStatus.CANCELLED, RedemptionStatus.EXPIRED, RedemptionStatus.FAILED)


def told(refusal: Refusal) -> Told:
    """Return a refusal as it is compared."""
    match refusal:
        case BenefitUnavailable():
            return BenefitUnavailable, refusal.reasons
        case PriceChanged():
            return PriceChanged, refusal.points_price
        case InvalidTransition():
            return InvalidTransition, refusal.status
        case InsufficientPoints():
            return InsufficientPoints, (refusal.required, refusal.available)
        case _:
            return type(refusal), None


def expected(command: Command, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    """Return what the command must be refused with; None, it must be carried out. `terms.recent`: all it ever took."""
    return _WORDS[type(command)](command, wallet, terms, now)


# ---------------------------------------------------------------- counted again


def _link_to(wallet: Wallet, partner: str) -> Link | None:
    return next((link for link in wallet.links if link.partner == partner), None)


def _knows(partner: str, wallet: Wallet | None) -> bool:
    link = None if wallet is None else _link_to(wallet, partner)
    return link is not None and link.ended_at is None


def _lot(wallet: Wallet | None, name: str | None) -> Lot | None:
    return next((lot for lot in wallet.lots if lot.id == name), None) if wallet is not None else None


def _alive(lot: Lot, now: datetime) -> bool:
    return now < (lot.expires_at or _FOR_EVER)


def _free(lots: Iterable[Lot], now: datetime, *, frozen: bool = False) -> int:
    """Return what nothing holds of lots that have begun and are not over; unless said so, without the frozen."""
    return sum(
        lot.remaining - lot.held
        for lot in lots
        if _alive(lot, now) and (lot.active_from or now) <= now and (frozen or not lot.frozen)
    )


def _day_left(link: Link, now: datetime) -> int | None:
    spent = link.spent if link.spent_on == now.date() else 0
    return None if link.daily_limit is None else max(link.daily_limit - spent, 0)


def _stopped(terms: Terms, *partners: str) -> bool:
    return any(terms.rules.of(partner).frozen is not None for partner in partners)


# ---------------------------------------------------------------- who knows whom


def _enrol(command: Enrol, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    link = None if wallet is None else _link_to(wallet, command.partner)
    return (Forbidden, None) if link is not None and link.ended_at is not None else None


def _link(command: LinkMember, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None or command.code_expires_at <= now:
        return NotFound, None
    known = _link_to(wallet, command.partner)
    elsewhere = terms.referenced is not None and terms.referenced != wallet.id
    otherwise = known is not None and terms.referenced is None and known.reference != command.reference
    return (ValidationFailed, None) if elsewhere or otherwise else None


def _unlink(command: Unlink, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None or not _knows(command.partner, wallet):
        return Forbidden, None
    if not _knows(command.ended or "", wallet):
        return NotFound, None
    return (Forbidden, None) if [link.ended_at for link in wallet.links].count(None) < 2 else None


# ---------------------------------------------------------------- points


def _award(command: Award, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    ends = command.expires_at or _FOR_EVER
    if not (now < ends and (command.active_from is None or now < command.active_from < ends)):
        return ValidationFailed, None
    if _stopped(terms, command.partner):
        return Forbidden, None
    first = wallet is not None and wallet.version == 0 and _link_to(wallet, command.partner) is None
    by_reference = isinstance(command.whose, ByReference)
    return None if _knows(command.partner, wallet) or (first and by_reference) else (NotFound, None)


def _reverse_award(command: ReverseAward, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    lot = _lot(wallet, command.lot)
    if lot is None or lot.issuer != command.partner:
        return NotFound, None
    most = max(lot.awarded - lot.expired - lot.withdrawn - lot.owed, 0)
    wanted = most if command.points is None else command.points
    if "/" in lot.id or wanted > most:
        return ValidationFailed, None
    policy = terms.rules.of(command.partner).award_reversal
    there = lot.remaining - lot.held
    if wanted == 0:
        return InsufficientPoints, (1, 0)
    if policy is AwardReversal.DEBT or there >= wanted or (policy is AwardReversal.TAKE_WHAT_IS_LEFT and there):
        return None
    return InsufficientPoints, (wanted, there)


def _extend(command: Extend, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    lot = _lot(wallet, command.lot)
    if lot is None or lot.issuer != command.partner:
        return NotFound, None
    longer = lot.expires_at is not None and lot.expires_at < (command.expires_at or _FOR_EVER)
    return None if longer and _alive(lot, now) else (ValidationFailed, None)


def _adjust(command: Adjust, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if (command.expires_at or _FOR_EVER) <= now:
        return ValidationFailed, None
    if _stopped(terms, command.partner):
        return Forbidden, None
    if wallet is None or not _knows(command.partner, wallet):
        return NotFound, None
    there = _free((lot for lot in wallet.lots if lot.issuer == command.partner), now)
    return (InsufficientPoints, (-command.points, there)) if there + command.points < 0 else None


def _expire(command: Expire, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    lot = _lot(wallet, command.lot)
    over = lot is not None and not _alive(lot, now) and lot.remaining > lot.held
    return None if over else (NotFound, None)


def _freeze(command: Freeze, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None:
        return NotFound, None
    if command.lot is None:
        return (ValidationFailed, None) if wallet.frozen is command.frozen else None
    lot = _lot(wallet, command.lot)
    if lot is None or (not command.by_exchange and command.partner != lot.issuer):
        return NotFound, None
    if command.frozen:
        free = lot.frozen_by is None or (lot.frozen_by != EXCHANGE and command.by_exchange)
        return None if free else (ValidationFailed, None)
    if lot.frozen_by == EXCHANGE and not command.by_exchange:
        return Forbidden, None
    return (ValidationFailed, None) if lot.frozen_by is None else None


# ---------------------------------------------------------------- from wallet to wallet


def _unknown(command: Give | Share) -> Told:
    return (Forbidden if command.by_member else NotFound), None


def _give(command: Give, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None or not _knows(command.partner, wallet):
        return _unknown(command)
    if terms.other is not None and terms.other.id == wallet.id:
        return ValidationFailed, None
    if wallet.frozen or _stopped(terms, command.partner):
        return Forbidden, None
    if terms.other is None or not _knows(command.partner, terms.other):
        return NotFound, None
    return _giving(command, command.points, wallet, terms, now)


def _giving(command: Between, points: int, wallet: Wallet, terms: Terms, now: datetime) -> Told | None:
    available = 0
    for issuer in {lot.issuer for lot in wallet.lots if not _stopped(terms, lot.issuer)}:
        given = wallet.given.get(issuer)
        today = 0 if given is None or given.on != now.date() else given.points
        allowed = max(terms.rules.of(issuer).gift_day_points - today, 0)
        available += min(_free((lot for lot in wallet.lots if lot.issuer == issuer), now), allowed)
    link = _link_to(wallet, command.partner)
    day_left = None if link is None else _day_left(link, now)
    available = available if day_left is None else min(available, day_left)
    return (InsufficientPoints, (points, available)) if available < points else None


def _share(command: Share, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None or not _knows(command.partner, wallet):
        return _unknown(command)
    if command.what in (Sharing.FOUND, Sharing.JOIN):
        return _entering(command, wallet, terms.other, now)
    if command.what is not Sharing.LEAVE and (wallet.frozen or _stopped(terms, command.partner)):
        return Forbidden, None
    pool = terms.other
    if pool is None or wallet.household != pool.id:
        return NotFound, None
    if command.what is Sharing.PAY_IN:
        return _giving(command, command.points, wallet, terms, now)
    return (_leaving if command.what is Sharing.LEAVE else _drawing)(command, wallet, pool, terms, now)


def _leaving(command: Share, wallet: Wallet, pool: Wallet, terms: Terms, now: datetime) -> Told | None:
    lost = pool.members == (wallet.id,) and any(_alive(lot, now) and lot.remaining > 0 for lot in pool.lots)
    return (ValidationFailed, None) if lost else None


def _entering(command: Share, wallet: Wallet, pool: Wallet | None, now: datetime) -> Told | None:
    if command.what is Sharing.FOUND:
        return None if wallet.household is None else (ValidationFailed, None)
    until = command.invited_until
    if pool is None or pool.members == () or until is None or until <= now:
        return NotFound, None
    return (ValidationFailed, None) if wallet.household is not None or len(pool.members) == 10 else None


def _drawing(command: Share, wallet: Wallet, pool: Wallet, terms: Terms, now: datetime) -> Told | None:
    if pool.frozen:
        return Forbidden, None
    there = _free((lot for lot in pool.lots if not _stopped(terms, lot.issuer)), now)
    return (InsufficientPoints, (command.points, there)) if there < command.points else None


def _merge(command: Merge, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None or not _knows(command.partner, wallet):
        return Forbidden, None
    into = terms.other
    late = command.permitted_until is None or command.permitted_until <= now
    if into is None or late or not _knows(command.permitted_through, into):
        return NotFound, None
    if into.id == wallet.id:
        return ValidationFailed, None
    ended = [link.partner for link in into.links if link.ended_at is not None]
    asked = (_limit(wallet, command.partner), _limit(into, command.permitted_through))
    if wallet.frozen or into.frozen or command.partner in ended or asked != (None, None):
        return Forbidden, None
    bound = wallet.household or wallet.absorbed or wallet.debts or any(lot.held for lot in wallet.lots)
    lifted = any(
        (_limit(into, partner) or limit + 1) > limit
        for partner in {link.partner for link in wallet.links}
        if _knows(partner, wallet) and _knows(partner, into) and (limit := _limit(wallet, partner)) is not None
    )
    return (ValidationFailed, None) if bound or lifted else None


def _limit(wallet: Wallet, partner: str) -> int | None:
    link = _link_to(wallet, partner)
    return None if link is None else link.daily_limit


def _unmerge(command: Unmerge, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    if wallet is None or not (command.by_exchange or _knows(command.partner, wallet)):
        return NotFound, None
    last = wallet.absorbed[-1] if wallet.absorbed else None
    if last is None or terms.other is None or last.wallet != terms.other.id:
        return ValidationFailed, None
    if wallet.frozen and not command.by_exchange:
        return Forbidden, None
    open_now = {link.partner for link in wallet.links if link.ended_at is None}
    # It takes with it what came with it, as it stands now; of what both had, its own as it was then.
    its_own = {one.partner for one in last.links if one.partner not in last.came and one.ended_at is None}
    its_own -= {one.partner for one in wallet.links if one.ended_at is not None and one.ended_at >= last.at}
    alone, apart = open_now - set(last.came), (open_now & set(last.came)) | its_own
    return None if alone and apart and not last.spent else (ValidationFailed, None)


# ---------------------------------------------------------------- redemptions


def _take(command: Redeem, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    link = None if wallet is None else _link_to(wallet, command.partner)
    if wallet is None or link is None or link.ended_at is not None:
        return NotFound, None
    of, quote, book = terms.benefit, terms.quote, terms.book
    assert of is not None
    unit, accepted = of.points_price, {lot.issuer: book.accepts(lot.issuer, of.partner, now) for lot in wallet.lots}
    if quote is not None:
        if now >= quote.expires_at:
            return ValidationFailed, None
        unit = quote.unit_points
    cost = unit * command.quantity
    here = [lot for lot in wallet.lots if accepted[lot.issuer]]
    warm = [lot for lot in here if not _stopped(terms, lot.issuer)]
    spendable = _free(warm, now)
    member = Member(
        region=command.region, taken=_taken(of, wallet, terms, now), points=_free(wallet.lots, now, frozen=True),
        spendable=spendable, day_left=_day_left(link, now), too_fast=_too_fast(command, of, cost, terms, now),
        frozen=wallet.frozen or _stopped(terms, command.partner),
        frozen_points=_free(here, now, frozen=True) - spendable,
    )  # fmt: skip
    rules = terms.rules.of(of.partner)
    frozen = rules.frozen is not None or of.id in dict(rules.frozen_benefits)
    offered = replace(of, points_price=unit)
    reasons = availability(offered, terms.stock, now, member, command.quantity, frozen=frozen).reasons
    if blocking := [reason for reason in reasons if reason is not UnavailableReason.INSUFFICIENT_POINTS]:
        return BenefitUnavailable, blocking
    if command.expected_points not in (None, cost):
        return PriceChanged, cost
    return (InsufficientPoints, (cost, spendable)) if spendable < cost else None


def _taken(of: Benefit, wallet: Wallet, terms: Terms, now: datetime) -> int:
    """Return the units that the member still has of those that it took in this day, week or month of the provider."""
    if of.member_limit_period is LimitPeriod.EVER:
        return wallet.taken.get(of.id, 0)
    zone = terms.rules.of(of.partner).zone

    def period(at: datetime) -> tuple[int, ...]:
        local = at.astimezone(zone)
        match of.member_limit_period:
            case LimitPeriod.DAY:
                return local.year, local.month, local.day
            case LimitPeriod.WEEK:
                return local.isocalendar()[:2]
            case _:
                return local.year, local.month

    return sum(
        one.quantity - one.returned
        for one in terms.recent
        if one.benefit == of.id and one.status not in _NEVER_TAKEN and period(one.created_at) == period(now)
    )


def _too_fast(command: Redeem, of: Benefit, cost: int, terms: Terms, now: datetime) -> bool:
    for rules in terms.rules:
        for rule in rules.velocity:

            def concerns(provider: str, channel: str, what: str, points: int) -> bool:
                mine = rules.partner in (EXCHANGE, provider, channel)  # noqa: B023 - asked in this very round
                return mine and rule.benefit in (None, what) and points >= rule.points_from  # noqa: B023

            if not concerns(of.partner, command.partner, of.id, cost):
                continue
            begun = [
                one.points
                for one in terms.recent
                if (now - one.created_at).total_seconds() < rule.window_seconds
                and concerns(one.provider, one.channel, one.benefit, one.points)
            ]
            if rule.redemptions_max is not None and len(begun) >= rule.redemptions_max:
                return True
            if rule.points_max is not None and sum(begun) + cost > rule.points_max:
                return True
    return False


def _act(command: Act, wallet: Wallet | None, terms: Terms, now: datetime) -> Told | None:
    redemption = terms.redemption
    assert redemption is not None
    assert wallet is not None
    whose = redemption.channel if command.step in CHANNELS_STEPS else redemption.provider
    if not command.by_exchange and command.partner != whose:
        return NotFound, None
    if (command.quantity or 1) > redemption.quantity:
        return ValidationFailed, None
    if command.step is Step.CONFIRM and not _may_confirm(redemption, wallet, terms):
        return Forbidden, None
    standing = redemption.status.value
    if redemption.reserved_until is not None and standing == "RESERVED" and now >= redemption.reserved_until:
        standing = "EXPIRED"
    lapsed_already = redemption.status is RedemptionStatus.EXPIRED
    if lapsed_already or command.step not in ALLOWED.get(standing, set()):
        return InvalidTransition, standing
    left = redemption.quantity - redemption.returned
    if command.step is Step.REVERSE and (command.quantity or 1) > left:
        return ValidationFailed, None
    return None


def _may_confirm(redemption: Redemption, wallet: Wallet, terms: Terms) -> bool:
    if wallet.frozen or not _knows(redemption.channel, wallet):
        return False
    concerned = {redemption.channel, redemption.provider, *(take.issuer for take in redemption.takes)}
    frozen_benefits = dict(terms.rules.of(redemption.provider).frozen_benefits)
    return not _stopped(terms, *concerned) and redemption.benefit not in frozen_benefits


_WORDS: dict[type[Command], Callable[[Any, Wallet | None, Terms, datetime], Told | None]] = {
    Enrol: _enrol,
    LinkMember: _link,
    Unlink: _unlink,
    Award: _award,
    ReverseAward: _reverse_award,
    Extend: _extend,
    Adjust: _adjust,
    Expire: _expire,
    Freeze: _freeze,
    Give: _give,
    Share: _share,
    Merge: _merge,
    Unmerge: _unmerge,
    Redeem: _take,
    Reserve: _take,
    Act: _act,
}
