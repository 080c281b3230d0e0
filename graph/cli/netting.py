"""`exchange netting`: a period netted under a policy, its certificate, and the netting that is recorded."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import click
from msgspec.structs import replace

from exchange.amounts import Money, decimal_from_minor, minor_from_decimal
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import milliseconds
from exchange.proof import netting_certificate
from exchange.proof.sealed import Broken
from exchange.proof.sealed import verify as verify_file
from exchange.settlement.barter import Bartered
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import Change, Measure, Netted, PlanKind, Policy, Standing, changes
from exchange.settlement.netting import Payment
from exchange.settlement.period import Period
from exchange.settlement.recorded import Carried, Opening, RecordedNetting, StandingPolicy, Wish
from exchange.settlement.recording import Asked, certificate
from graph.cli.rules import BY
from graph.cli.shell import Shell, WholeNumber, misused, money, on_exchange, table, write_out
from graph.services import Services
from partners.oauth.seals import check_signature, seal_of

_FORMATS = {netting_certificate.FORMAT: netting_certificate.NettingCertificate}
_DEFAULT = "period"
_TOGETHER = "--settle and --fix go together"
_SHOWN = 20
_SHOWN_MAX = 1_000


class _PeriodOrCommand(click.Group):
    """A group whose first word may be a period's number, or an option of netting one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read `netting 7` as `netting period 7`."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PeriodOrCommand)
def netting() -> None:
    """Net periods, plan their payments, and record it.

    `exchange netting 7` is short for `exchange netting period 7`.
    """


plan_option = click.option(
    "--plan", type=click.Choice([each.value for each in PlanKind]),
    help="Who pays whom: all through the exchange, with the fewest transfers, or only along contracts.",
)  # fmt: skip
minimum_option = click.option(
    "--minimum", "minimums", multiple=True, metavar="CODE=AMOUNT",
    help="The least payment in a currency, such as EUR=5.00; what is less is carried to the next period.",
)  # fmt: skip
group_option = click.option(
    "--group", "groups", multiple=True, metavar="PARENT=HANDLE,…", help="Partners that net as one; the parent settles."
)
settle_option = click.option(
    "--settle", multiple=True, metavar="HANDLE=CODE",
    help="A partner that settles in one currency, such as video=EUR: what it has in others is converted by a fix.",
)  # fmt: skip
by_option = click.option("--by", "actor", default=BY, show_default=True, metavar="NAME", help="Who decided it.")


@netting.command(_DEFAULT)
@click.argument("number", metavar="PERIOD", type=WholeNumber(min=1))
@plan_option
@minimum_option
@group_option
@click.option(
    "--without", multiple=True, metavar="HANDLE", help="A partner that does not pay: the survivors are netted."
)
@settle_option
@click.option("--fix", "fix_id", metavar="ID", help="By which rates, such as ecb-2023-12-08 (`exchange rates list`).")
@click.option("--no-policy", is_flag=True, help="Go by these options alone, not by the standing policy.")
@click.option(
    "--after", type=click.File("rb"), metavar="CERTIFICATE",
    help="That of the period before, from which what was carried is taken; without it, from its recorded netting.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to write the certificate."
)
@click.option("--record", is_flag=True, help="Record it: once for a period, and for ever.")
@by_option
@on_exchange
def of_period(
    shell: Shell, number: int, after: BinaryIO | None, out: Path | None, fix_id: str | None, actor: str, *,
    record: bool, no_policy: bool, **options: Any,
) -> None:  # fmt: skip
    """Net a period and plan its payments.

    Nothing is changed or paid; with --record the netting of a closed period is recorded, and the next period's takes in
    what it carries. With --out it writes the netting certificate of a closed period: signed, and with all that it takes
    to make it again, which `exchange verify` does. Of an open period the figures are those so far.

    Where an option is not given, the standing policy says it (`exchange netting policy`).

    \b
    exchange netting 7
    exchange netting 7 --plan fewest --minimum EUR=5.00 --record
    exchange netting 7 --plan fewest --minimum EUR=5.00 --after netting-6.jsonl --out netting-7.jsonl
    exchange netting 7 --group hotels=spa,golf
    exchange netting 7 --without video
    exchange netting 7 --settle video=EUR --fix ecb-2023-12-08
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    if options["settle"] and fix_id is None:
        raise click.UsageError(_TOGETHER)
    wish = _wish(**options)
    before = None if after is None else after.read()

    async def work(services: Services) -> tuple[Period, Netted, RecordedNetting | None, dict[str, str]]:
        period = await services.settlement.period(number)
        if period is None:
            raise NotFound(f"there is no period {number}")
        await _check_known(services, wish)
        wished = await _whole(services, wish, fix_id, alone=no_policy)
        opening = await services.recording.opening(number)
        if before is not None:
            opening = await _opening(services, before, number)
        if record:
            return await _record(services, Asked(
                period=number, wish=wished, actor=actor, after=opening.after, fingerprint="", key=secrets.token_hex(),
            ), period, out)  # fmt: skip
        netted = await services.recording.tried(number, wished, opening)
        written = {} if out is None else await _write(services, period, netted, opening.after, out)
        return period, netted, None, written

    period, netted, recorded, written = shell.run(work)
    file = None if out is None else {"file": str(out), **written}
    document = {**_document(period, netted), "certificate": file, "recorded": _recorded(recorded)}
    shell.answer(document, _told(period, netted, out, recorded))


@netting.command("list")
@click.option("--before", type=WholeNumber(min=1), metavar="PERIOD", help="Only those of periods before this one.")
@click.option("--limit", type=WholeNumber(min=1, max=_SHOWN_MAX), default=_SHOWN, show_default=True, help="How many.")
@on_exchange
def list_nettings(shell: Shell, before: int | None, limit: int) -> None:
    """List the recorded nettings, the newest period first."""

    async def work(services: Services) -> list[RecordedNetting]:
        return await services.recording.page(before, limit)

    found = shell.run(work)
    rows = [
        (str(each.period), each.policy.plan.value, str(len(each.carried.payments)), milliseconds(each.at), each.actor,
         each.hash)
        for each in found
    ]  # fmt: skip
    told = [{"period": each.period, "plan": each.policy.plan.value, **(_recorded(each) or {})} for each in found]
    header = ("period", "plan", "carried", "recorded", "by", "certificate")
    shell.answer({"nettings": told}, table(header, rows, right=("period", "carried")))


@netting.command("show")
@click.argument("number", metavar="PERIOD", type=WholeNumber(min=1))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Where to write its certificate: byte for byte as it was recorded.",
)  # fmt: skip
@on_exchange
def show(shell: Shell, number: int, out: Path | None) -> None:
    """Show the recorded netting of a period, made anew of the journal."""

    async def work(services: Services) -> tuple[Period, Netted, RecordedNetting, dict[str, str]]:
        period, recorded = await services.settlement.period(number), await services.recording.get(number)
        if period is None or recorded is None:
            raise NotFound(f"no netting of period {number} is recorded")
        written = {} if out is None else await write_out(services.recording.certificate(recorded), out)
        return period, await services.recording.anew(recorded), recorded, written

    period, netted, recorded, written = shell.run(work)
    file = None if out is None else {"file": str(out), **written}
    document = {**_document(period, netted), "certificate": file, "recorded": _recorded(recorded)}
    shell.answer(document, _told(period, netted, out, recorded))


@netting.command("policy")
@plan_option
@minimum_option
@group_option
@settle_option
@click.option("--none", is_flag=True, help="Nothing beyond the plan through the exchange.")
@by_option
@on_exchange
def policy(shell: Shell, actor: str, *, none: bool, **options: Any) -> None:
    """Show the standing policy, or set it.

    Every netting goes by it that is not wished otherwise. What is given is all there is: what it said before is
    replaced. Each change adds a version. Nettings that are recorded stay as they are.

    \b
    exchange netting policy
    exchange netting policy --plan fewest --minimum EUR=5.00 --group hotels=spa,golf --settle video=EUR
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    given = any(options.values())
    if none and given:
        raise click.UsageError("either --none or what it says")
    wish = _wish(**options)
    wished = StandingPolicy(
        plan=wish.plan or PlanKind.EXCHANGE, minimums=wish.minimums or {}, groups=wish.groups or {},
        settle=wish.settle or {}, actor=actor,
    )  # fmt: skip
    try:
        wished.check()
    except ValidationFailed as error:
        raise misused(error) from None

    async def work(services: Services) -> StandingPolicy:
        if not given and not none:
            return await services.recording.standing()
        await _check_known(services, wish)
        return await services.recording.set_standing(wished)

    found = shell.run(work)
    told = {
        "version": found.version, "plan": found.plan.value, "minimums": _minimums(found), "groups": _groups(found),
        "settle": dict(found.settle), "by": found.actor or None,
        "since": milliseconds(found.since) if found.version else None,
    }  # fmt: skip
    lines = [f"version {found.version}: plan: {found.plan}"]
    lines += [f"at least {decimal_from_minor(minor, each)} {each}" for each, minor in sorted(found.minimums.items())]
    lines += [f"{parent} settles for {', '.join(sorted(each))}" for parent, each in sorted(found.groups.items())]
    lines += [f"{party} settles in {currency}" for party, currency in sorted(found.settle.items())]
    shell.answer(told, lines)


async def _record(
    services: Services, asked: Asked, period: Period, out: Path | None
) -> tuple[Period, Netted, RecordedNetting, dict[str, str]]:
    recorded, _ = await services.recording.record(asked, seal_of(services.keys.signing()))
    written = {} if out is None else await write_out(services.recording.certificate(recorded), out)
    return period, await services.recording.anew(recorded), recorded, written


async def _write(services: Services, period: Period, netted: Netted, after: str | None, out: Path) -> dict[str, str]:
    if not period.closed or period.statements is None:
        close = f"`exchange period close {period.number}`"
        raise ValidationFailed(f"period {period.number} is not closed with all its statements: {close} comes first")
    seal = seal_of(services.keys.signing())
    return await write_out(certificate(period.number, period.root or "", netted, after, seal), out)


async def _opening(services: Services, data: bytes, number: int) -> Opening:
    """Read what a certificate carries over; it must be this exchange's, of the period before."""
    try:
        verified = verify_file(BytesIO(data).readline, _FORMATS, check_signature, await services.keys.published())
    except Broken as broken:
        raise ValidationFailed(f"--after: the certificate is not sound: {broken}") from None
    facts = verified.findings.facts
    before = await services.settlement.period(number - 1)
    if before is None or (facts["period"], facts["period_root"]) != (before.number, before.root):
        raise ValidationFailed(
            f"--after: the certificate is of period {facts['period']}, not of the one before {number} here"
        )
    carried = Carried(
        payments=tuple(netting_certificate.carried(facts)), balances=tuple(netting_certificate.balances(facts))
    )
    return Opening(carried=carried, after=sha256(data).hexdigest())


# ---------------------------------------------------------------- what is wished


def _wish(
    plan: str | None, minimums: Iterable[str], groups: Iterable[str], settle: Iterable[str], without: Iterable[str] = ()
) -> Wish:
    """Return what the options wish; what contradicts itself, whatever is stored, is wrong usage."""
    least: dict[str, int] = {}
    for text in minimums:
        code, _, amount = text.partition("=")
        currency = code.upper()
        if currency in least:
            raise click.BadParameter(f"{currency} is there twice", param_hint="--minimum")
        try:
            least[currency] = minor_from_decimal(amount, currency)
        except ValueError as error:
            raise click.BadParameter(f"{error}; it wants CODE=AMOUNT", param_hint="--minimum") from None
    subsidiaries: dict[str, tuple[str, ...]] = {}
    for text in groups:
        parent, _, members = text.partition("=")
        if not parent or not all(members.split(",")) or parent in subsidiaries:
            raise click.BadParameter(f"{text!r}: it wants PARENT=HANDLE,… once a parent", param_hint="--group")
        subsidiaries[parent] = tuple(members.split(","))
    wish = Wish(
        plan=None if plan is None else PlanKind(plan), minimums=least or None, groups=subsidiaries or None,
        without=frozenset(without), settle=_settling(settle) or None,
    )  # fmt: skip
    try:
        Policy(minimums=least, groups=subsidiaries, without=wish.without)
    except ValidationFailed as error:
        raise misused(error) from None
    return wish


def _settling(chosen: Iterable[str]) -> dict[str, str]:
    settling: dict[str, str] = {}
    for text in chosen:
        handle, _, currency = text.partition("=")
        if not handle or not currency or handle in settling:
            raise click.BadParameter(f"{text!r}: it wants HANDLE=CODE once a partner", param_hint="--settle")
        settling[handle] = currency.upper()
    return settling


async def _check_known(services: Services, wish: Wish) -> None:
    groups = wish.groups or {}
    for handle in sorted(wish.without.union(groups, wish.settle or {}, *groups.values())):
        if await services.registry.find(handle) is None:
            raise NotFound(f"there is no partner {handle}")


async def _whole(services: Services, wish: Wish, fix_id: str | None, *, alone: bool) -> Wish:
    """Return the wish with its fix; `alone`: and with all that it does not say left to nobody."""
    fix = None
    if fix_id is not None:
        fix = await services.fixes.get(fix_id)
        if fix is None:
            raise NotFound(f"there is no fix {fix_id}: `exchange rates import` it")
        if not wish.settle and (alone or not (await services.recording.standing()).settle):
            raise click.UsageError(_TOGETHER)
    if not alone:
        return replace(wish, fix=fix)
    return replace(
        wish, fix=fix, plan=wish.plan or PlanKind.EXCHANGE, minimums=wish.minimums or {}, groups=wish.groups or {},
        settle=wish.settle or {},
    )  # fmt: skip


# ---------------------------------------------------------------- what is told


def _document(period: Period, netted: Netted) -> dict[str, Any]:
    policy = netted.policy
    return {
        "period": period.number, "status": period.status.value, "root": period.root, "plan": policy.plan.value,
        "minimums": _minimums(policy), "groups": _groups(policy), "without": sorted(policy.without),
        "positions": [_standing(each) for each in netted.standings],
        "nets": [{"partner": party, "net": money(amount)} for party, amount in netted.nets],
        "savings": [_measure(each) for each in netted.measures],
        "payments": [_payment(each) for each in netted.payments],
        "carried": [_payment(each) for each in netted.carried],
        "barters": [_bartered(each) for each in netted.bartered],
        "survivors": [_change(each) for each in changes(netted)],
        "fix": None if policy.fix is None else policy.fix.id, "settle": dict(policy.settle),
        "conversions": [
            {"partner": party, "amount": money(amount), "converted": money(converted)}
            for party, amount, converted in netted.conversions
        ],
        "conversion_account": [money(amount) for amount in netted.account],
        "rounding_differences": [
            {"currency": currency, "minor": f"{gained.numerator}/{gained.denominator}"}
            for currency, gained in netted.differences.items()
        ],
    }  # fmt: skip


def _minimums(policy: Policy | StandingPolicy) -> list[dict[str, str]]:
    return [money(Money(minor, currency)) for currency, minor in sorted(policy.minimums.items())]


def _groups(policy: Policy | StandingPolicy) -> dict[str, list[str]]:
    return {parent: list(each) for parent, each in policy.groups.items()}


def _recorded(netting: RecordedNetting | None) -> dict[str, Any] | None:
    if netting is None:
        return None
    return {
        "at": milliseconds(netting.at), "by": netting.actor, "follows": netting.follows or None,
        "standing_policy": netting.standing or None, "sha256": netting.hash,
    }  # fmt: skip


def _standing(each: Standing) -> dict[str, Any]:
    position = each.position
    return {
        "partner": position.partner, "opening": money(each.opening), "payable": money(position.payable),
        "receivable": money(position.receivable), "fees": money(position.fees), "net": money(each.net),
    }  # fmt: skip


def _measure(each: Measure) -> dict[str, Any]:
    amounts = {name: money(amount) for name, amount in zip(Measure._fields, each, strict=True)}
    return {**amounts, "efficiency_basis_points": each.efficiency_basis_points}


def _payment(each: Payment) -> dict[str, Any]:
    return {"from": each.from_, "to": each.to, "amount": money(each.amount)}


def _bartered(each: Bartered) -> dict[str, Any]:
    owed = each.payment()
    return {
        "barter": each.barter.id, "sides": [
            {"issuer": side.issuer, "provider": side.provider, "quota": money(side.quota),
             "in_kind": money(side.in_kind), "used": money(side.used), "left": money(side.left)}
            for side in each.sides()
        ],
        "balance": money(each.difference), "ended": each.due is not None,
        "due": None if owed is None else _payment(owed),
    }  # fmt: skip


def _change(each: Change) -> dict[str, Any]:
    amounts = {"before": each.before, "after": each.after, "difference": each.difference}
    return {"partner": each.party, **{name: money(amount) for name, amount in amounts.items()}}


def _told(period: Period, netted: Netted, out: Path | None, recorded: RecordedNetting | None) -> list[str]:
    so_far = "" if period.closed else ", so far"
    policy = netted.policy
    lines = [f"period {period.number}{so_far}, plan: {policy.plan}"]
    parents = policy.parents()
    figures = ("opening", "payable", "receivable", "fees", "net")
    rows = [
        (each.position.partner, *_amounts(each.opening, *_columns(each), each.net), each.opening.currency,
         parents.get(each.position.partner, ""))
        for each in netted.standings
    ]  # fmt: skip
    lines += _section("", ("partner", *figures, "currency", "settled by"), rows, figures)
    lines += _in_kind(netted.bartered)
    if policy.groups:
        parties = [(party, *_amounts(amount), amount.currency) for party, amount in netted.nets]
        lines += _section("with groups as one", ("partner", "net", "currency"), parties, ("net",))
    saved = [
        (*_amounts(*each), each.gross.currency, _percent(each.efficiency_basis_points)) for each in netted.measures
    ]
    lines += _section("what has to move", (*Measure._fields, "currency", "saved"), saved, (*Measure._fields, "saved"))
    if policy.fix is not None:
        lines += _converted(netted, policy.fix)
    for title, payments in (("payments", netted.payments), ("carried to the next period", netted.carried)):
        paid = [(each.from_, each.to, *_amounts(each.amount), each.amount.currency) for each in payments]
        lines += _section(title, ("from", "to", "amount", "currency"), paid, ("amount",))
    names = ("before", "after", "difference")
    changed = [
        (each.party, *_amounts(each.before, each.after, each.difference), each.before.currency)
        for each in changes(netted)
    ]
    lines += _section("what it changes for the survivors", ("partner", *names, "currency"), changed, names)
    if recorded is not None:
        lines += ["", f"recorded {milliseconds(recorded.at)} by {recorded.actor}: {recorded.hash}"]
    return lines if out is None else [*lines, "", f"certificate in {out}"]


def _converted(netted: Netted, fix: Fix) -> list[str]:
    rows = [
        (party, *_amounts(amount), amount.currency, *_amounts(converted), converted.currency)
        for party, amount, converted in netted.conversions
    ]
    header = ("partner", "net", "currency", "settled as", "in")
    lines = _section(f"converted by {fix.id}", header, rows, ("net", "settled as"))
    held = [(*_amounts(amount), amount.currency) for amount in netted.account]
    lines += _section("conversion account", ("holds", "currency"), held, ("holds",))
    gained = [
        (f"{each.numerator}/{each.denominator}", f"minor units of {currency}")
        for currency, each in netted.differences.items()
    ]
    return lines + _section("which by this fix is a difference of", ("exactly", "in"), gained, ("exactly",))


def _in_kind(bartered: Sequence[Bartered]) -> list[str]:
    figures = ("quota", "in kind", "used", "left")
    rows = [
        (each.barter.id, side.issuer, side.provider,
         *_amounts(side.quota, side.in_kind, side.used, side.left), side.quota.currency)
        for each in bartered for side in each.sides()
    ]  # fmt: skip
    lines = _section("settled in kind", ("barter", "points of", "at", *figures, "currency"), rows, figures)
    due = [(each, each.payment()) for each in bartered]
    differences = [
        (each.barter.id, owed.from_, owed.to, *_amounts(owed.amount), owed.amount.currency)
        for each, owed in due if owed is not None
    ]  # fmt: skip
    header = ("barter", "from", "to", "difference", "currency")
    return lines + _section("owed for barters that have ended", header, differences, ("difference",))


def _columns(each: Standing) -> tuple[Money, Money, Money]:
    return each.position.payable, each.position.receivable, each.position.fees


def _section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> list[str]:
    """Return a table with its title, or nothing for no rows. A last column without any content is left out."""
    if not rows:
        return []
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return ["", *([title] if title else []), *table(header, rows, right=right)]


def _amounts(*amounts: Money) -> tuple[str, ...]:
    return tuple(decimal_from_minor(*amount) for amount in amounts)


def _percent(basis_points: int | None) -> str:
    return "" if basis_points is None else f"{basis_points // 100}.{basis_points % 100:02} %"
