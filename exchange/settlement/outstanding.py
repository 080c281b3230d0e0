"""What issuers have outstanding in points, read from the journal at the end of a period or at any moment.

All periods up to the one asked for are read, range by range; nothing else is trusted. The sums that the blocks carry
are added up besides, and what does not agree with them is not told (FiguresDisagree).

The answer for a closed period can never change, so those asked for last are kept.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing
from datetime import datetime

from exchange.errors import NotFound, ValidationFailed
from exchange.journal import Sums
from exchange.settlement.liability import CONCERNING, Fold, Liability
from exchange.settlement.period import Period
from exchange.store.connection import Database
from exchange.store.lots import Lots
from exchange.store.periods import Periods
from exchange.store.spending import Progress, Spending

_KEPT = 8
_STORIES_AT_ONCE = 500
_NUMBER = ("input", "period")


class Outstanding:
    """The points liability of one exchange."""

    def __init__(self, db: Database) -> None:
        self._periods = Periods(db)
        self._spending = Spending(db)
        self._reading = asyncio.Lock()
        self._closed: dict[int, dict[str, Liability]] = {}

    async def closed(self, number: int | None = None) -> dict[str, Liability] | None:
        """Return every issuer's at the end of a closed period, without a number the last; None if it is not closed.

        Who asks first has to wait until the journal is read, and who asks meanwhile waits for the same.
        """
        period = await (self._spending.last_closed() if number is None else self._periods.get(number))
        if period is None or not period.closed:
            return None
        async with self._reading:
            if period.number not in self._closed:
                read = await self.liabilities(period.number)
                while len(self._closed) >= _KEPT:
                    del self._closed[next(iter(self._closed))]
                self._closed[period.number] = {each.issuer: each for each in read}
        return self._closed[period.number]

    async def liabilities(
        self, number: int | None = None, *, as_of: datetime | None = None, issuer: str | None = None,
        progress: Progress = lambda _done, _total: None,
    ) -> list[Liability]:  # fmt: skip
        """Return every issuer's liability, or one's: of a period, of what is there by now if that is not closed.

        `as_of`: of the period that was open at that moment, as far as it had come. Without either: of the open period.
        NotFound when there is no such period, ValidationFailed for a moment that is still to come.
        """
        now = await self._periods.now()
        if as_of is not None and as_of > now:
            raise ValidationFailed("is still to come", ("input", "asOf"))
        period = await (self._periods.get(number) if as_of is None else self._open_at(as_of))
        if period is None:
            raise NotFound("no such period", _NUMBER)
        # What was marked is not the end: lanes that were busy took entries until they were cut.
        at = as_of or period.closed_at or now
        fold = Fold(at)
        before = Sums()
        with closing(Lots()) as lots:
            for earlier in range(1, period.number):
                before.add(await self._read(lots, await self._existing(earlier), progress, issuer=issuer))
            since = await self._read(lots, period, progress, issuer=issuer, last=True, until=as_of)
            for n, lot in enumerate(lots.stories()):
                fold.add(lot)
                if n % _STORIES_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others are served meanwhile
        fold.agree(_of(before, issuer), _of(since, issuer))
        final = as_of is None and period.closed
        return [fold.liability(each, period.number, final=final) for each in fold.issuers()]

    async def _read(
        self, lots: Lots, period: Period, progress: Progress, *, issuer: str | None, last: bool = False,
        until: datetime | None = None,
    ) -> Sums:  # fmt: skip
        """Put a period's entries to the lots, and return what its blocks add up to."""
        spans = await self._spending.spans(period)
        async with aclosing(self._spending.entries(period.number, spans, progress, CONCERNING)) as read:
            async for entries in read:
                wanted = [entry for entry in entries if until is None or entry.at <= until]
                lots.add(wanted, before=not last, issuer=issuer)
        return await self._spending.sums(period.number, spans, until)

    async def _existing(self, number: int) -> Period:
        period = await self._periods.get(number)
        if period is None:
            raise NotFound("no such period", _NUMBER)
        return period

    async def _open_at(self, moment: datetime) -> Period | None:
        number: int | None = None
        while page := await self._periods.page(number, 20):
            for period in page:
                if period.opened_at <= moment:
                    return period
            number = page[-1].number
        return None


def _of(sums: Sums, issuer: str | None) -> Sums:
    return Sums({key: points for key, points in sums.points.items() if issuer in (None, key[0])})
