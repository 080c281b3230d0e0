"""`exchange netting`: a period netted under a policy, and its certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click
from msgspec.structs import replace

from exchange.amounts import Money, decimal_from_minor, minor_from_decimal
from exchange.errors import NotFound, ValidationFailed
from exchange.proof import netting_certificate
from exchange.proof.sealed import Broken, sealed
from exchange.proof.sealed import verify as verify_file
from exchange.settlement.fixes import Fix
from exchange.settlement.netted import Change, Measure, Netted, PlanKind, Policy, Standing, changes
from exchange.settlement.netting import Payment
from exchange.settlement.period import Period
from graph.cli.shell import Shell, WholeNumber, misused, money, on_exchange, table, write_out
from graph.services import Services
from partners.oauth.seals import check_signature, seal_of

_FORMATS = {netting_certificate.FORMAT: netting_certificate.NettingCertificate}


class _Opening(NamedTuple):
    """What the certificate of the period before carries over, and the hash that names that certificate."""

    carried: Sequence[Payment] = ()
    named: str | None = None


@click.command()
@click.argument("number", metavar="PERIOD", type=WholeNumber(min=1))
@click.option(
    "--plan", type=click.Choice([each.value for each in PlanKind]), default=PlanKind.EXCHANGE.value, show_default=True,
    help="Who pays whom: all through the exchange, with the fewest transfers, or only along contracts.",
)  # fmt: skip
@click.option(
    "--minimum", "minimums", multiple=True, metavar="CODE=AMOUNT",
    help="The least payment in a currency, such as EUR=5.00; what is less is carried to the next period.",
)  # fmt: skip
@click.option(
    "--group", "groups", multiple=True, metavar="PARENT=HANDLE,…", help="Partners that net as one; the parent settles."
)
@click.option(
    "--without", multiple=True, metavar="HANDLE", help="A partner that does not pay: the survivors are netted."
)
@click.option(
    "--settle", multiple=True, metavar="HANDLE=CODE",
    help="A partner that settles in one currency, such as video=EUR: what it has in others is converted by --fix.",
)  # fmt: skip
@click.option("--fix", "fix_id", metavar="ID", help="By which rates, such as ecb-2023-12-08 (`exchange rates list`).")
@click.option(
    "--after", type=click.File("rb"), metavar="CERTIFICATE",
    help="That of the period before, from which what was carried is taken.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Where to write the certificate."
)
@on_exchange
def netting(
    shell: Shell, number: int, plan: str, minimums: tuple[str, ...], groups: tuple[str, ...],
    without: tuple[str, ...], settle: tuple[str, ...], fix_id: str | None, after: BinaryIO | None, out: Path | None,
) -> None:  # fmt: skip
    """Net a period and plan its payments.

    Nothing is changed or paid. With --out it writes the netting certificate of a closed period: signed, and with all
    that it takes to make it again, which `exchange verify` does. Of an open period the figures are those so far.

    \b
    exchange netting 7
    exchange netting 7 --plan fewest --minimum EUR=5.00 --after netting-6.jsonl --out netting-7.jsonl
    exchange netting 7 --group hotels=spa,golf
    exchange netting 7 --without video
    exchange netting 7 --settle video=EUR --fix ecb-2023-12-08
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    policy, settling = _policy(plan, minimums, groups, without), _settling(settle)
    if bool(settling) != (fix_id is not None):
        raise click.UsageError("--settle and --fix go together")
    before = None if after is None else after.read()

    async def work(services: Services) -> tuple[Period, Netted, dict[str, str]]:
        settlement = services.settlement
        period = await settlement.period(number)
        if period is None:
            raise NotFound(f"there is no period {number}")
        for handle in sorted(policy.without.union(policy.groups, settling, *policy.groups.values())):
            if await services.registry.find(handle) is None:
                raise NotFound(f"there is no partner {handle}")
        opening = _Opening() if before is None else await _opening(services, before, number)
        wished = policy if fix_id is None else await _by_fix(services, policy, settling, fix_id)
        if policy.plan is PlanKind.CONTRACTED:
            wished = replace(wished, contracts=await settlement.contracts(number, opening.carried))
        netted = await settlement.netted(number, wished, opening.carried)
        written = {} if out is None else await _write(services, period, netted, opening.named, out)
        return period, netted, written

    period, netted, written = shell.run(work)
    certificate = None if out is None else {"file": str(out), **written}
    shell.answer({**_document(period, netted), "certificate": certificate}, _told(period, netted, out))


async def _write(services: Services, period: Period, netted: Netted, after: str | None, out: Path) -> dict[str, str]:
    if not period.closed or period.statements is None:
        close = f"`exchange period close {period.number}`"
        raise ValidationFailed(f"period {period.number} is not closed with all its statements: {close} comes first")

    async def rows() -> AsyncIterator[Any]:
        for each in netting_certificate.lines(netted):
            yield each

    async def written() -> AsyncIterator[str]:
        first = netting_certificate.first_line(period, netted, after)
        async for line in sealed(first, rows(), seal_of(services.keys.signing())):
            yield line.decode()

    return await write_out(written(), out)


async def _opening(services: Services, data: bytes, number: int) -> _Opening:
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
    return _Opening(netting_certificate.carried(facts), sha256(data).hexdigest())


# ---------------------------------------------------------------- what is wished


def _policy(plan: str, minimums: Iterable[str], groups: Iterable[str], without: Iterable[str]) -> Policy:
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
    try:
        return Policy(plan=PlanKind(plan), minimums=least, groups=subsidiaries, without=frozenset(without))
    except ValidationFailed as error:
        raise misused(error) from None


def _settling(chosen: Iterable[str]) -> dict[str, str]:
    settling: dict[str, str] = {}
    for text in chosen:
        handle, _, currency = text.partition("=")
        if not handle or not currency or handle in settling:
            raise click.BadParameter(f"{text!r}: it wants HANDLE=CODE once a partner", param_hint="--settle")
        settling[handle] = currency.upper()
    return settling


async def _by_fix(services: Services, policy: Policy, settling: Mapping[str, str], fix_id: str) -> Policy:
    fix = await services.fixes.get(fix_id)
    if fix is None:
        raise NotFound(f"there is no fix {fix_id}: `exchange rates import` it")
    return replace(policy, settle=settling, fix=fix)


# ---------------------------------------------------------------- what is told


def _document(period: Period, netted: Netted) -> dict[str, Any]:
    policy = netted.policy
    return {
        "period": period.number, "status": period.status.value, "root": period.root, "plan": policy.plan.value,
        "minimums": [money(Money(minor, currency)) for currency, minor in sorted(policy.minimums.items())],
        "groups": {parent: list(each) for parent, each in policy.groups.items()}, "without": sorted(policy.without),
        "positions": [_standing(each) for each in netted.standings],
        "nets": [{"partner": party, "net": money(amount)} for party, amount in netted.nets],
        "savings": [_measure(each) for each in netted.measures],
        "payments": [_payment(each) for each in netted.payments],
        "carried": [_payment(each) for each in netted.carried],
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


def _change(each: Change) -> dict[str, Any]:
    amounts = {"before": each.before, "after": each.after, "difference": each.difference}
    return {"partner": each.party, **{name: money(amount) for name, amount in amounts.items()}}


def _told(period: Period, netted: Netted, out: Path | None) -> list[str]:
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
