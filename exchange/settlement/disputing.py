"""Disputes, as the gateway asks for them: open one, take a step in it, read them; and what time does to them.

An upheld dispute is carried out by a command of the ledger, at once by whoever upheld it; if that process dies in
between, by the next sweep of any. The command's id is the dispute's, so it is carried out once.

`partner` narrows an answer to the disputes that this partner is a side of; nothing of another's can be read through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from msgspec import Struct

from exchange.amounts import Money
from exchange.commands import AdjustLine, ByWallet
from exchange.errors import Contended, ExchangeError, Fault, IdempotencyConflict, NotFound, Refusal
from exchange.journal import EXCHANGE
from exchange.keyring import BadToken, Keyring
from exchange.ledger import Ledger
from exchange.settlement.clearing import ENTRY_NAME
from exchange.settlement.dispute import (
    RESPONSE,
    Asked,
    Dispute,
    DisputedLine,
    DisputeReason,
    DisputeStatus,
    as_of,
    decide,
    opened,
)
from exchange.settlement.statement import Statement
from exchange.store.connection import Database
from exchange.store.disputes import Disputes, Place
from exchange.store.periods import Periods

PAGE = 20
AT_ONCE = 100
"""Most disputes of each kind in one sweep."""
_ATTEMPTS = 50
_LINE = ("input", "entry")


class Opening(Struct, frozen=True, kw_only=True):
    """A line that a partner disputes, as it names it: by the statement and its own identifier of the entry."""

    statement: str
    entry: str
    line: int
    reason: DisputeReason
    claim: Money


class Disputed(NamedTuple):
    """A step that was taken, and the dispute as it now stands; `replayed`: the same key had taken it before."""

    dispute: Dispute
    replayed: bool


class Disputing:
    """The disputes of one exchange. `within`: how long whoever has to act may take."""

    def __init__(self, db: Database, ledger: Ledger, keyring: Keyring, within: timedelta = RESPONSE) -> None:
        self._disputes = Disputes(db)
        self._periods = Periods(db)
        self._ledger = ledger
        self._keyring = keyring
        self._within = within

    async def create_indexes(self) -> None:
        """Create what disputes are found by. Idempotent."""
        await self._disputes.create_indexes()

    # ------------------------------------------------------------ reading

    async def dispute(self, dispute: str, partner: str | None = None) -> Dispute | None:
        """Return a dispute by its id, as it stands by now."""
        found = await self._disputes.get(dispute)
        if found is None or (partner is not None and partner not in found.parties):
            return None
        return as_of(found, await self._disputes.now())

    async def page(self, partner: str | None = None, behind: Place | None = None, limit: int = PAGE) -> list[Dispute]:
        """Return disputes as they stand by now, the newest first, from behind a place on."""
        found = await self._disputes.page(partner, behind, limit)
        now = await self._disputes.now()
        return [as_of(each, now) for each in found]

    # ------------------------------------------------------------ steps

    async def open(self, opening: Opening, asked: Asked) -> Disputed:
        """Open a dispute, once for its key.

        NotFound when the partner has no such line; IdempotencyConflict when the key took another step; what `opened`
        refuses.
        """

        async def attempt() -> Dispute | None:
            line = await self._line(opening, asked.party)
            earlier = await self._settled_earlier(line)
            now = await self._disputes.now()
            dispute = opened(asked.key, line, opening.reason, opening.claim, asked, earlier, now, self._within)
            return dispute if await self._disputes.add(dispute) else None

        return await self._once(asked, attempt)

    async def step(self, dispute: str, asked: Asked) -> Disputed:
        """Take a step in a dispute, once for its key, and carry it out if that upheld it.

        NotFound when there is no such dispute of this party's; IdempotencyConflict when the key took another step; what
        `decide` refuses.
        """

        async def attempt() -> Dispute | None:
            found = await self._disputes.get(dispute)
            if found is None or asked.party not in (*found.parties, EXCHANGE):
                raise NotFound("no such dispute", ("input", "dispute"))
            after = decide(found, asked, await self._disputes.now(), self._within)
            return await self._if_possible_carried_out(after) if await self._disputes.append(after) else None

        return await self._once(asked, attempt)

    async def _once(self, asked: Asked, attempt: Callable[[], Awaitable[Dispute | None]]) -> Disputed:
        """Take a step unless its key has taken it; attempt it again while others are faster."""
        for n in range(_ATTEMPTS):
            if (before := await self._taken(asked)) is not None:
                return before
            try:
                done = await attempt()
            except Refusal:
                # Perhaps it stands in its own way: the same request, sent twice, was faster the other time.
                if (before := await self._taken(asked)) is not None:
                    return before
                raise
            if done is not None:
                return Disputed(done, replayed=False)
            await asyncio.sleep(0.002 * n)
        raise Contended("others took steps all the time; try again")

    async def _taken(self, asked: Asked) -> Disputed | None:
        found = await self._disputes.by_key(asked.key)
        if found is None:
            return None
        dispute, record = found
        if record.fingerprint != asked.fingerprint:
            message = "this idempotency key was used with a different input"
            raise IdempotencyConflict(message, ("input", "idempotencyKey"))
        return Disputed(as_of(dispute, await self._disputes.now()), replayed=True)

    async def _settled_earlier(self, line: DisputedLine) -> list[Dispute]:
        """Return the disputes of a line so far. That one is over by its deadline is written down before it counts."""
        earlier = []
        for each in await self._disputes.of_line(line.id):
            standing = as_of(each, await self._disputes.now())
            if standing.version > each.version and not await self._disputes.append(standing):
                standing = await self._disputes.get(each.id) or standing
            earlier.append(standing)
        return earlier

    async def _line(self, opening: Opening, partner: str) -> DisputedLine:
        statement = await self._periods.statement(opening.statement)
        if statement is None or statement.partner != partner:
            raise NotFound("no such statement", ("input", "statement"))
        line = await self._line_of(statement, opening.entry, opening.line)
        if line is None:
            raise NotFound("no such line in this statement", _LINE)
        return line

    async def _line_of(self, statement: Statement, name: str, n: int) -> DisputedLine | None:
        partner = statement.partner
        with suppress(BadToken):
            found = await self._disputes.entry(self._keyring.unseal(name, partner).removeprefix(ENTRY_NAME))
            if found is not None and found[1] == statement.period:
                entry, period = found
                for line in entry.lines(partner)[n : n + 1]:
                    return DisputedLine(
                        statement=statement.id, statement_hash=statement.hash, period=period, partner=partner,
                        counterparty=line.counterparty, entry=entry.id, n=n, kind=line.kind, at=entry.at,
                        benefit=entry.benefit, net=Money(line.gross_minor - line.fee_minor, line.currency),
                    )  # fmt: skip
        return None

    # ------------------------------------------------------------ carrying out

    async def sweep(self) -> int:
        """Write down what deadlines have decided, and carry out what is upheld; returns how many things that were.

        Refusal when the ledger refuses what was upheld, which needs somebody to look: after all else is carried out.
        """
        overdue = await self._disputes.overdue(AT_ONCE)
        now = await self._disputes.now()
        for each in overdue:
            await self._disputes.append(as_of(each, now))
        upheld = await self._disputes.to_adjust(AT_ONCE)
        refused: Refusal | None = None
        for dispute in upheld:
            try:
                with suppress(Fault):  # the next sweep tries again
                    await self.carry_out(dispute)
            except Refusal as refusal:
                refused = refusal
        if refused is not None:
            raise refused
        return len(overdue) + len(upheld)

    async def carry_out(self, dispute: Dispute) -> Dispute:
        """Adjust the line of an upheld dispute, once; returns the dispute with what came of it."""
        if dispute.award is None:
            return dispute
        line = dispute.line
        entry = self._ledger.entry_id(EXCHANGE, "server", "adjust", dispute.id)
        await self._ledger.submit(AdjustLine(
            id=entry, fingerprint=dispute.last.hash, partner=line.partner, payer=line.counterparty,
            whose=ByWallet(self._keyring.digest("line", line.id)), amount=dispute.award, net=line.net,
            dispute=dispute.id, record=dispute.last.hash, statement=line.statement, statement_hash=line.statement_hash,
            entry=line.entry, line=line.n, benefit=line.benefit,
        ))  # fmt: skip
        written = await self._disputes.entry(entry)
        if written is not None:
            await self._disputes.carried_out(dispute.id, entry, written[1])
        return await self._disputes.get(dispute.id) or dispute

    async def _if_possible_carried_out(self, dispute: Dispute) -> Dispute:
        if dispute.status is DisputeStatus.UPHELD:
            with suppress(ExchangeError):  # it is upheld all the same; a sweep carries it out
                return await self.carry_out(dispute)
        return dispute
