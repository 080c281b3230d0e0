"""What time does by itself: reservations and disputes whose deadline has passed, and lots whose points have expired.

It also looks whether a capped partner has little headroom left, which somebody may want to be told; and it closes the
period when that is due by the calendar, or goes on where whoever closed it has died.

Nothing depends on how soon the sweeper comes: from its deadline on a reservation cannot be confirmed, and from its
expiry on a lot cannot be spent, by the database's clock. The sweeper only writes down what is true already, so that
the points held are free again and the issuer's liability is gone. Every server process sweeps; what two of them find
at once has the same entry id, so it happens once, and what a process that died had found, the next one finds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from exchange.commands import ByWallet, Command, Expire
from exchange.errors import ExchangeError, FiguresDisagree, StoreUnavailable
from exchange.journal import EXCHANGE
from exchange.ledger import Ledger
from exchange.settlement.clearing import Settlement
from exchange.settlement.disputing import Disputing
from exchange.settlement.period import Period, PeriodStatus
from exchange.store.books import Books
from exchange.store.calendars import Calendars
from exchange.store.connection import server_time
from exchange.store.headroom import Headroom

SWEEP_SECONDS = 1.0
RESUME_AFTER = timedelta(minutes=2)
"""How long after a period was marked somebody else goes on closing it."""
AT_ONCE = 100
"""Most things of each kind in one sweep: members' own requests come between."""

_log = logging.getLogger(__name__)


class Sweeper:
    """Sweeps again and again while the server runs."""

    def __init__(
        self, books: Books, ledger: Ledger, settlement: Settlement | None = None, disputing: Disputing | None = None
    ) -> None:
        self._books = books
        self._ledger = ledger
        self._headroom = Headroom(books.db)
        self._settlement = settlement
        self._disputing = disputing
        self._calendars = Calendars(books.db)
        self._left_to_people: set[int] = set()

    async def run(self) -> None:
        """Sweep until cancelled; a database that is away is tried again.

        Drafting statements can take minutes: meanwhile reservations go on lapsing.
        """

        async def sweep() -> None:
            await self.sweep()
            await self.notice()
            await self.decide()

        await asyncio.gather(_again_and_again("sweep", sweep), _again_and_again("close the period", self.close_due))

    async def sweep(self) -> int:
        """Write down what is over by now, up to a bound; returns how many things that were."""
        commands = [*await self._lapses(), *await self._expiries()]
        answers = await asyncio.gather(*(self._ledger.submit(command) for command in commands), return_exceptions=True)
        for answer in answers:
            # A refusal: somebody was faster, and there is nothing left to sweep.
            if isinstance(answer, BaseException) and not isinstance(answer, ExchangeError):
                raise answer
        return len(commands)

    async def notice(self) -> None:
        """Look who has little headroom left."""
        await self._headroom.notice()

    async def decide(self) -> None:
        """Write down which disputes their deadlines have decided, and carry out those that are upheld."""
        if self._disputing is not None:
            await self._disputing.sweep()

    async def close_due(self) -> bool:
        """Close the open period if that is due, or one that was left half closed; whether there was anything to do.

        Only one process marks a period, and that one closes it; another goes on only after a while. Without a calendar
        nothing is ever due, but what somebody began by hand is gone on with.
        """
        if self._settlement is None:
            return False
        book = await self._calendars.book()
        now = await server_time(self._books.db)
        for period in reversed(await self._settlement.periods(limit=2)):
            if period.status is PeriodStatus.CLOSING and not _left(period, now):
                return False  # somebody is at it
            if period.status is PeriodStatus.OPEN:
                due = book.due(period)
                if due is None or now < due or not await self._settlement.mark(period.number):
                    continue
                _log.info("period %d is due: closing it", period.number)
            elif period.statements is not None or not _left(period, now) or period.number in self._left_to_people:
                continue
            try:
                await self._settlement.close(period.number)
            except FiguresDisagree as error:
                # Nothing that a machine could put right. What could be drafted is there.
                self._left_to_people.add(period.number)
                _log.error("period %d is closed, but not all is drafted: %s", period.number, error.message)
            return True
        return False

    async def _lapses(self) -> list[Command]:
        return [self._ledger.lapse_of(redemption) for redemption in await self._books.overdue_reservations(AT_ONCE)]

    async def _expiries(self) -> list[Command]:
        return [
            Expire(
                # A lot can end again: given new time, or when a hold lets go of points after its end. How much of it
                # has expired before tells these events apart.
                id=self._id("expire", f"{lot.id}/{lot.expired}"), fingerprint="", partner=EXCHANGE,
                whose=ByWallet(wallet), lot=lot.id,
            )
            for wallet, lot in await self._books.expired_lots(AT_ONCE)
        ]  # fmt: skip

    def _id(self, operation: str, what: str) -> str:
        return self._ledger.entry_id(EXCHANGE, "server", operation, what)


async def _again_and_again(what: str, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        try:
            await work()
        except StoreUnavailable as error:
            _log.warning("could not %s: %s", what, error.message)
        except Exception:  # noqa: BLE001 - one thing that cannot be done must not end all sweeping
            _log.exception("could not %s", what)


def _left(period: Period, now: datetime) -> bool:
    return period.marked_at is not None and now - period.marked_at >= RESUME_AFTER
