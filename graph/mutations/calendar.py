"""When periods are closed by themselves."""

from __future__ import annotations

from typing import Annotated

import strawberry

from exchange.settlement import calendar
from graph.context import Info
from graph.inputs import sent
from graph.inputs.settlement import SetPeriodCalendarInput
from graph.refusals import AsData, Forbidden, ValidationError, VersionConflict
from graph.settlement import PeriodCalendar

SetPeriodCalendarPayload = Annotated[
    PeriodCalendar | ValidationError | VersionConflict | Forbidden,
    strawberry.union("SetPeriodCalendarPayload", description="What came of setting the calendar."),
]


@strawberry.type
class CalendarMutations:
    """Mutations of the calendar."""

    @strawberry.field(
        graphql_type=SetPeriodCalendarPayload, extensions=[AsData()],
        description="Sets when periods are closed by themselves, and by when what is to be done about their "
        "statements. It holds from now on; what changes nothing adds no version.",
    )  # fmt: skip
    async def set_period_calendar(self, info: Info, input: SetPeriodCalendarInput) -> calendar.Calendar:  # noqa: A002
        """Set it as the exchange's administrator."""
        context = info.context
        wished = input.wished(context.principal.subject)
        context.require_of_mutation("admin")
        made = await context.services.calendars.set(wished, sent(input.expected_version))
        context.forget_calendars()
        return made
