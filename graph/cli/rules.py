"""`exchange rules` and `exchange freeze`: what partners lay down, and what the exchange stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click
from msgspec.structs import replace

from exchange import rules as laws
from exchange.benefit import benefit_id
from exchange.errors import NotFound, ValidationFailed
from exchange.journal import EXCHANGE, milliseconds
from exchange.rules import AwardReversal, Rules, Velocity
from graph.cli.shell import Shell, misused, on_exchange, table
from graph.services import Services

BY: Final = "the command line"
REASON_MAX: Final = 500
_REVERSALS: Final = {reversal.value.lower().replace("_", "-"): reversal for reversal in AwardReversal}
partner_option = click.option(
    "--partner", default=EXCHANGE, show_default=True, metavar="HANDLE", help="Whose; the exchange's own hold for all."
)


@click.group()
def rules() -> None:
    """Lay down limits for gifts, speed and award reversals."""


@rules.command("show")
@partner_option
@on_exchange
def show(shell: Shell, partner: str) -> None:
    """Show a partner's rules as they are now."""

    async def work(services: Services) -> Rules:
        await _must_exist(services, partner)
        return await services.terms.rules_of(partner)

    found = shell.run(work)
    shell.answer(_told(found), _lines(found))


@rules.command("history")
@partner_option
@on_exchange
def history(shell: Shell, partner: str) -> None:
    """List every version of a partner's rules, the newest first."""

    async def work(services: Services) -> list[Rules]:
        await _must_exist(services, partner)
        return await services.terms.rules(partner)

    found = shell.run(work)
    rows = [
        [str(one.version), milliseconds(one.since), one.award_reversal.value, f"{one.gift_day_points:,}",
         one.time_zone, str(len(one.velocity)), _stopped(one), one.actor or "", one.reason or ""]
        for one in found
    ]  # fmt: skip
    header = (
        "version",
        "since",
        "award reversal",
        "gifts a day",
        "time zone",
        "velocity rules",
        "frozen",
        "by",
        "reason",
    )
    shell.answer({"partner": partner, "versions": [_told(one) for one in found]}, table(header, rows))


@rules.command("set")
@partner_option
@click.option("--award-reversal", type=click.Choice(list(_REVERSALS)), help="What happens where a part is gone.")
@click.option("--gift-day-points", type=int, metavar="N", help="Points a member may give away a day (UTC); 0: none.")
@click.option("--time-zone", metavar="ZONE", help="In which days of limits begin, such as Europe/Berlin.")
@click.option(
    "--velocity", multiple=True, metavar="SECONDS:REDEMPTIONS:POINTS[:SKU[:FROM]]",
    help="At most so many redemptions, or points, in a window; empty: no limit. May be given several times.",
)  # fmt: skip
@click.option("--no-velocity", is_flag=True, help="Lift all rules of velocity.")
@on_exchange
def set_rules(
    shell: Shell, partner: str, award_reversal: str | None, gift_day_points: int | None, time_zone: str | None,
    velocity: tuple[str, ...], *, no_velocity: bool,
) -> None:  # fmt: skip
    """Lay down rules. They hold from the next redemption on; what is left out stays as it is.

    A velocity rule counts one member's redemptions through the partner and of its benefits; the exchange's count all.
    With a SKU it counts those of that benefit alone, with FROM those of at least so many points.

    \b
    exchange rules set --partner video --award-reversal debt --gift-day-points 500 --time-zone Europe/Berlin
    exchange rules set --partner rides --velocity 3600:3: --velocity 86400::5000 --velocity 600:1::airport
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped
    change: dict[str, Any] = {}
    if award_reversal is not None:
        change["award_reversal"] = _REVERSALS[award_reversal]
    if gift_day_points is not None:
        change["gift_day_points"] = gift_day_points
    if time_zone is not None:
        change["time_zone"] = time_zone
    if velocity or no_velocity:
        if velocity and no_velocity:
            raise click.UsageError("give --velocity or --no-velocity")
        change["velocity"] = tuple(_velocity(partner, each) for each in velocity)
    if not change:
        raise click.UsageError("say what to change")
    try:
        laws.validate(Rules(partner=partner, **change))
    except ValidationFailed as error:
        raise misused(error) from None
    made = shell.run(lambda services: _set(services, partner, change))
    shell.answer(_told(made), _lines(made))


@click.command()
@click.option("--partner", required=True, metavar="HANDLE", help="Which partner, or whose benefit.")
@click.option("--sku", help="Only this benefit of it.")
@click.option("--reason", required=True, help="Why; the partner can read it.")
@on_exchange
def freeze(shell: Shell, partner: str, sku: str | None, reason: str) -> None:
    """Stop redemptions of a benefit, or of a partner.

    Of a partner: redemptions through it, of its benefits and with its points, and its awards. Nothing is lost.
    """
    _stop(shell, partner, sku, reason, frozen=True)


@click.command()
@click.option("--partner", required=True, metavar="HANDLE", help="Which partner, or whose benefit.")
@click.option("--sku", help="Only this benefit of it.")
@click.option("--reason", help="Why, for the history; the partner can read it.")
@on_exchange
def unfreeze(shell: Shell, partner: str, sku: str | None, reason: str | None) -> None:
    """Let a benefit, or a partner, that was frozen go on."""
    _stop(shell, partner, sku, reason, frozen=False)


def _stop(shell: Shell, partner: str, sku: str | None, reason: str | None, *, frozen: bool) -> None:
    if reason is not None and not (1 <= len(reason.strip()) <= REASON_MAX and reason.isprintable()):
        raise click.BadParameter(f"must have 1 to {REASON_MAX} printable characters", param_hint="--reason")
    why = reason if frozen else None

    async def work(services: Services) -> Rules:
        if partner == EXCHANGE:
            raise ValidationFailed("is the exchange itself", ("partner",))
        if sku is None:
            return await _changed(services, partner, lambda before: before.freezing(why), reason)
        name = benefit_id(partner, sku)
        if not await services.catalog.get([name]):
            raise NotFound(f"{partner} has no benefit {sku}")
        return await _changed(services, partner, lambda before: before.freezing_benefit(name, why), reason)

    made = shell.run(work)
    what = partner if sku is None else f"{partner}/{sku}"
    shell.answer(_told(made), f"{what} {'is frozen' if frozen else 'goes on'}")


async def _changed(
    services: Services, partner: str, change: Callable[[Rules], Rules], reason: str | None = None
) -> Rules:  # fmt: skip
    await _must_exist(services, partner)
    return await services.terms.change_rules(partner, lambda before: replace(change(before), actor=BY, reason=reason))


async def _set(services: Services, partner: str, said: dict[str, Any]) -> Rules:
    await _must_exist(services, partner)
    for rule in said.get("velocity", ()):
        if rule.benefit is not None and not await services.catalog.get([rule.benefit]):
            raise NotFound(f"there is no benefit {rule.benefit}")
    return await _changed(services, partner, lambda before: replace(before, **said))


async def _must_exist(services: Services, handle: str) -> None:
    if await services.registry.find(handle) is None:
        raise NotFound(f"there is no partner {handle}")


def _velocity(partner: str, said: str) -> Velocity:
    parts = [*said.split(":"), "", "", "", ""][:5]
    seconds, redemptions, points, sku, points_from = parts
    try:
        return Velocity(
            window_seconds=int(seconds), redemptions_max=int(redemptions) if redemptions else None,
            points_max=int(points) if points else None, benefit=benefit_id(partner, sku) if sku else None,
            points_from=int(points_from) if points_from else 0,
        )  # fmt: skip
    except ValueError:
        raise click.BadParameter(f"{said}: must be SECONDS:REDEMPTIONS:POINTS[:SKU[:FROM]]") from None


def _told(one: Rules) -> dict[str, Any]:
    return {
        "partner": one.partner, "version": one.version, "since": milliseconds(one.since) if one.version else None,
        "award_reversal": one.award_reversal.value, "gift_day_points": one.gift_day_points,
        "time_zone": one.time_zone, "frozen": one.frozen, "frozen_benefits": dict(one.frozen_benefits),
        "by": one.actor, "reason": one.reason,
        "velocity": [
            {
                "window_seconds": rule.window_seconds, "redemptions_max": rule.redemptions_max,
                "points_max": rule.points_max, "benefit": rule.benefit, "points_from": rule.points_from,
            }
            for rule in one.velocity
        ],
    }  # fmt: skip


def _lines(one: Rules) -> list[str]:
    rows = [
        ["award reversal", one.award_reversal.value], ["gifts a day", f"{one.gift_day_points:,} points"],
        ["time zone", one.time_zone], ["frozen", one.frozen or "no"],
        *([f"frozen: {benefit}", reason] for benefit, reason in one.frozen_benefits),
        *(["velocity", _said(rule)] for rule in one.velocity),
    ]  # fmt: skip
    return [f"{one.partner}, version {one.version}", *table(("rule", "is"), rows)]


def _stopped(one: Rules) -> str:
    """Say in short what is frozen."""
    benefits = len(one.frozen_benefits)
    some = [f"{benefits} benefits" if benefits > 1 else "1 benefit"] if benefits else []
    return ", ".join(["partner"] * (one.frozen is not None) + some)


def _said(rule: Velocity) -> str:
    most = [
        f"{limit:,} {what}"
        for limit, what in ((rule.redemptions_max, "redemptions"), (rule.points_max, "points"))
        if limit is not None
    ]
    of = f" of {rule.benefit}" if rule.benefit else ""
    each = f", counting those from {rule.points_from:,} points" if rule.points_from else ""
    return f"at most {' and '.join(most)} in {rule.window_seconds:,} s{of}{each}"
