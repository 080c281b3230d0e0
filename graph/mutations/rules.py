"""What partners lay down, and what the exchange stops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import strawberry
from msgspec.structs import replace

from exchange import rules as laws
from exchange.errors import NotFound
from exchange.journal import EXCHANGE
from graph import refusals
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import FreezeBenefitInput, FreezePartnerInput, SetRulesInput, VelocityRuleInput, check_said, sent
from graph.refusals import AsData, Forbidden, ValidationError, VersionConflict
from graph.types import Rules

SetRulesPayload = Annotated[
    Rules | ValidationError | VersionConflict | refusals.NotFound | Forbidden,
    strawberry.union("SetRulesPayload", description="What came of laying down rules, or of freezing."),
]


@strawberry.type
class RulesMutations:
    """Mutations of rules."""

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()],
        description="Lays down rules: they hold from the next redemption on. What is left out stays as it is.",
    )  # fmt: skip
    async def set_rules(self, info: Info, input: SetRulesInput) -> laws.Rules:  # noqa: A002
        """Set the asking partner's own, or as the exchange those of anybody."""
        context, named = info.context, sent(input.partner)
        velocity = [_velocity(context, rule) for rule in sent(input.velocity) or []]
        asked = {
            "award_reversal": sent(input.award_reversal), "gift_day_points": sent(input.gift_day_points),
            "time_zone": sent(input.time_zone), "velocity": None if sent(input.velocity) is None else tuple(velocity),
        }  # fmt: skip
        said = {name: value for name, value in asked.items() if value is not None}
        laws.validate(laws.Rules(partner=EXCHANGE if context.is_staff and named is None else "", **said))
        whose = await _whose(context, named)
        await _must_be_known(context, velocity)
        return await _change(context, whose, lambda rules: replace(rules, **said), None, sent(input.expected_version))

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()],
        description="Stops all redemptions through a partner, of its benefits and with its points, and its awards.",
    )  # fmt: skip
    async def freeze_partner(self, info: Info, input: FreezePartnerInput) -> laws.Rules:  # noqa: A002
        """Freeze as the exchange; asked again it is the same."""
        return await _freeze_partner(info.context, input, frozen=True)

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()], description="Lets a partner that was frozen go on."
    )
    async def unfreeze_partner(self, info: Info, input: FreezePartnerInput) -> laws.Rules:  # noqa: A002
        """Let it go on as the exchange."""
        return await _freeze_partner(info.context, input, frozen=False)

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()],
        description="Stops all redemptions of a benefit, whatever its partner publishes.",
    )  # fmt: skip
    async def freeze_benefit(self, info: Info, input: FreezeBenefitInput) -> laws.Rules:  # noqa: A002
        """Freeze as the exchange; asked again it is the same."""
        return await _freeze_benefit(info.context, input, frozen=True)

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()], description="Lets a benefit that was frozen go on."
    )
    async def unfreeze_benefit(self, info: Info, input: FreezeBenefitInput) -> laws.Rules:  # noqa: A002
        """Let it go on as the exchange."""
        return await _freeze_benefit(info.context, input, frozen=False)


async def _whose(context: Context, sealed: str | None) -> str:
    """Return whose rules are to be set: a partner's server means itself, the exchange whom it names, or itself."""
    if context.is_staff:
        context.require_of_mutation("admin")
        return await context.partner_named(sealed, "partner") or EXCHANGE
    context.require_of_mutation("points:award", "benefits:publish")
    if sealed is not None and context.ids.open(Kind.PARTNER, sealed) != context.partner:
        raise NotFound("no such partner", ("input", "partner"))
    return context.partner


def _velocity(context: Context, rule: VelocityRuleInput) -> laws.Velocity:
    """Return the domain's value; an id that is none of a benefit's stands for one that does not exist."""
    benefit = sent(rule.benefit)
    return laws.Velocity(
        window_seconds=rule.window_seconds, redemptions_max=sent(rule.redemptions_max),
        points_max=sent(rule.points_max), points_from=rule.points_from,
        benefit=None if benefit is None else context.ids.open(Kind.BENEFIT, benefit) or "",
    )  # fmt: skip


async def _must_be_known(context: Context, velocity: Sequence[laws.Velocity]) -> None:
    for index, rule in enumerate(velocity):
        found = None if rule.benefit is None else await context.benefits.load(rule.benefit)
        if rule.benefit is not None and (found is None or not (context.is_staff or context.sees(found))):
            raise NotFound("no such benefit", ("input", "velocity", str(index), "benefit"))


async def _change(
    context: Context, whose: str, change: Callable[[laws.Rules], laws.Rules], reason: str | None,
    expected: int | None = None,
) -> laws.Rules:  # fmt: skip
    """Change rules in the name of who asks."""
    actor = context.principal.subject
    changed = await context.services.terms.change_rules(
        whose, lambda rules: replace(change(rules), actor=actor, reason=reason), expected
    )
    context.forget_terms()
    return changed


async def _freeze_partner(context: Context, asked: FreezePartnerInput, *, frozen: bool) -> laws.Rules:
    check_said(asked.reason, "reason")
    context.require_of_mutation("admin")
    whose = await context.partner_named(asked.partner, "partner") or ""
    reason = asked.reason if frozen else None
    return await _change(context, whose, lambda rules: rules.freezing(reason), asked.reason)


async def _freeze_benefit(context: Context, asked: FreezeBenefitInput, *, frozen: bool) -> laws.Rules:
    check_said(asked.reason, "reason")
    context.require_of_mutation("admin")
    name = context.ids.open(Kind.BENEFIT, asked.benefit)
    benefit = None if name is None else await context.benefits.load(name)
    if benefit is None:
        raise NotFound("no such benefit", ("input", "benefit"))
    reason, frozen_one = asked.reason if frozen else None, benefit.id
    return await _change(
        context, benefit.partner, lambda rules: rules.freezing_benefit(frozen_one, reason), asked.reason
    )
