"""What partners lay down, and what the exchange stops."""

from __future__ import annotations

from typing import Annotated, Any

import strawberry
from msgspec.structs import replace

from exchange import rules as laws
from exchange.errors import NotFound, ValidationFailed, VersionConflict
from exchange.journal import EXCHANGE
from graph import refusals
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import FreezeBenefitInput, FreezePartnerInput, SetRulesInput, VelocityRuleInput, check_said, sent
from graph.refusals import AsData, Forbidden, ValidationError
from graph.refusals import VersionConflict as Conflict
from graph.types import Rules

SetRulesPayload = Annotated[
    Rules | ValidationError | Conflict | refusals.NotFound | Forbidden,
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
        context = info.context
        asked = {
            name: value
            for name in ("award_reversal", "gift_day_points", "time_zone")
            if (value := sent(getattr(input, name))) is not None
        }
        velocity = sent(input.velocity)
        if velocity is not None:
            asked["velocity"] = tuple(_velocity(context, rule) for rule in velocity)
        laws.validate(laws.Rules(partner="", **asked))
        whose = await _whose(context, sent(input.partner))
        await _must_be_known(context, asked.get("velocity", ()))
        return await _change(context, whose, sent(input.expected_version), **asked)

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()],
        description="Stops all redemptions through a partner, of its benefits and with its points, and its awards.",
    )  # fmt: skip
    async def freeze_partner(self, info: Info, input: FreezePartnerInput) -> laws.Rules:  # noqa: A002
        """Freeze as the exchange; asked again it is the same."""
        return await _freeze_partner(info.context, input, input.reason)

    @strawberry.field(
        graphql_type=SetRulesPayload, extensions=[AsData()], description="Lets a partner that was frozen go on."
    )
    async def unfreeze_partner(self, info: Info, input: FreezePartnerInput) -> laws.Rules:  # noqa: A002
        """Let it go on as the exchange."""
        return await _freeze_partner(info.context, input, None)

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
    benefit = sent(rule.benefit)
    # An id that is none of a benefit is as unknown as one that is gone.
    opened = None if benefit is None else context.ids.open(Kind.BENEFIT, benefit) or ""
    return laws.Velocity(
        window_seconds=rule.window_seconds, redemptions_max=sent(rule.redemptions_max),
        points_max=sent(rule.points_max), benefit=opened, points_from=rule.points_from,
    )  # fmt: skip


async def _must_be_known(context: Context, velocity: tuple[laws.Velocity, ...]) -> None:
    for index, rule in enumerate(velocity):
        found = None if rule.benefit is None else await context.benefits.load(rule.benefit)
        if rule.benefit is not None and (found is None or not (context.is_staff or context.sees(found))):
            raise NotFound("no such benefit", ("input", "velocity", str(index), "benefit"))


async def _change(context: Context, whose: str, expected: int | None = None, **change: Any) -> laws.Rules:
    terms = context.services.terms
    before = await terms.rules_of(whose)
    if expected is not None and expected != before.version:
        message = f"these rules have version {before.version}"
        raise VersionConflict(message, ("input", "expectedVersion"), current_version=before.version)
    after = replace(before, **change)
    return before if after == before else await terms.set_rules(after)


async def _freeze_partner(context: Context, asked: FreezePartnerInput, reason: str | None) -> laws.Rules:
    check_said(asked.reason, "reason")
    context.require_of_mutation("admin")
    whose = await context.partner_named(asked.partner, "partner") or ""
    if whose == EXCHANGE:
        raise ValidationFailed("is the exchange itself", ("input", "partner"))
    return await _change(context, whose, frozen=reason)


async def _freeze_benefit(context: Context, asked: FreezeBenefitInput, *, frozen: bool) -> laws.Rules:
    check_said(asked.reason, "reason")
    context.require_of_mutation("admin")
    name = context.ids.open(Kind.BENEFIT, asked.benefit)
    benefit = None if name is None else await context.benefits.load(name)
    if benefit is None:
        raise NotFound("no such benefit", ("input", "benefit"))
    before = await context.services.terms.rules_of(benefit.partner)
    others = tuple(each for each in before.frozen_benefits if each[0] != benefit.id)
    return await _change(
        context, benefit.partner, frozen_benefits=(*others, (benefit.id, asked.reason)) if frozen else others
    )
