"""Netting, as the gateway and the command line ask for it: try it, record it, and read what was recorded.

A netting that is only tried takes in what the recorded one of the period before carries, as recording it would. What
was recorded is made anew of the journal when it is asked for (`recorded`, rule 1); the last few are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson
from msgspec import Struct
from msgspec.structs import replace

from exchange.errors import Contended, FiguresDisagree, IdempotencyConflict, NotFound, ValidationFailed
from exchange.proof.netting_certificate import header, lines
from exchange.proof.sealed import Seal, sealed
from exchange.settlement.barter import Balance, Bartering, Seen, Stage, Version, concerning
from exchange.settlement.clearing import Settlement
from exchange.settlement.netted import Netted, PlanKind, Policy
from exchange.settlement.recorded import (
    Carried,
    Opening,
    RecordedNetting,
    StandingPolicy,
    Wish,
    check_turn,
    opening,
)
from exchange.store.barters import Barters
from exchange.store.connection import Database, server_time
from exchange.store.nettings import RecordedNettings, StandingPolicies

PAGE: Final = 20
_ATTEMPTS: Final = 20
_KEPT: Final = 8
_LINES_AT_ONCE: Final = 500


class Asked(Struct, frozen=True, kw_only=True):
    """Who wishes what recorded. `after`: the certificate that it has to follow, if that is wished; `key`: only once."""

    period: int
    wish: Wish
    actor: str
    key: str
    fingerprint: str
    after: str | None = None


class Recorded(NamedTuple):
    """A netting that was recorded; `replayed`: the same key had done it before."""

    netting: RecordedNetting
    replayed: bool


class Recording:
    """The nettings of one exchange."""

    def __init__(self, db: Database, settlement: Settlement) -> None:
        self._db = db
        self._settlement = settlement
        self._nettings = RecordedNettings(db)
        self._policies = StandingPolicies(db)
        self.barters = Barters(db)
        self._made: dict[int, Netted] = {}
        self._making = asyncio.Lock()

    async def create_indexes(self) -> None:
        """Create what keeps nettings one behind another. Idempotent."""
        await self._nettings.create_indexes()
        await self.barters.create_indexes()

    # ------------------------------------------------------------ the standing policy

    async def standing(self) -> StandingPolicy:
        """Return the version in force."""
        return await self._policies.last()

    async def set_standing(self, wished: StandingPolicy, expected_version: int | None = None) -> StandingPolicy:
        """Set the next version; see `StandingPolicies.set`."""
        return await self._policies.set(wished, expected_version)

    # ------------------------------------------------------------ netting

    async def opening(self, number: int) -> Opening:
        """Return what the netting of a period takes in: what the recorded one of the period before carries."""
        return opening(number, await self._nettings.get(number - 1))

    async def tried(self, number: int, wish: Wish, taken: Opening | None = None) -> Netted:
        """Net a period as it is wished, and record nothing. NotFound without such a period; ValidationFailed."""
        policy = wish.under(await self.standing())
        return await self._net(number, policy, await self.opening(number) if taken is None else taken)

    async def record(self, asked: Asked, seal: Seal) -> Recorded:
        """Net a closed period and record it, once for its key.

        IdempotencyConflict when the key recorded another; NotFound without such a period; what `check_turn` and
        `check_unpaid` refuse, and what the policy does.
        """
        for _ in range(_ATTEMPTS):
            before = await self._nettings.by_key(asked.key)
            if before is not None:
                if before.fingerprint != asked.fingerprint:
                    message = "this idempotency key was used with a different input"
                    raise IdempotencyConflict(message, ("input", "idempotencyKey"))
                return Recorded(before, replayed=True)
            made = await self._made_of(asked, seal)
            if await self._nettings.add(made):
                return Recorded(made, replayed=False)
        raise Contended("others recorded all the time; try again")

    async def _made_of(self, asked: Asked, seal: Seal) -> RecordedNetting:
        number = asked.period
        period = await self._settlement.period(number)
        if period is None:
            raise NotFound(f"there is no period {number}", ("input", "period"))
        last = await self._nettings.last()
        check_turn(period, await self._nettings.get(number), last)
        taken = opening(number, last)
        if asked.after not in (None, taken.after):
            raise ValidationFailed("is not the certificate of the netting recorded before", ("input", "after"))
        standing = await self.standing()
        netted = await self._net(number, asked.wish.under(standing), taken)
        root, digest, end = period.root or "", sha256(), b""
        async for line in certificate(number, root, netted, taken.after, seal):
            digest.update(line)
            end = line
        return RecordedNetting(
            period=number, root=root, follows=taken.follows, policy=netted.policy, standing=standing.version,
            carried=Carried.by(netted), payments=netted.payments, keys=seal.keys,
            signature=orjson.loads(end)["signature"], hash=digest.hexdigest(), actor=asked.actor,
            at=await server_time(self._db), key=asked.key, fingerprint=asked.fingerprint,
        )  # fmt: skip

    async def _net(self, number: int, policy: Policy, taken: Opening) -> Netted:
        policy = replace(policy, barter=await self._bartering(number, taken))
        if policy.plan is PlanKind.CONTRACTED:
            barters = () if policy.barter is None else policy.barter.barters
            parties = {party for carry in taken.carried.payments for party in (carry.from_, carry.to)}
            parties.update(party for barter in barters for party in (barter.one, barter.other))
            policy = replace(policy, contracts=await self._settlement.contracts(number, parties))
        return await self._settlement.netted(number, policy, taken.carried.payments, taken.carried.balances)

    async def opened(self) -> datetime:
        """Return when the open period was opened: from then on a barter begins, unless it is said otherwise."""
        period = await self._settlement.period()
        if period is None:
            raise NotFound("no period is open")
        return period.opened_at

    async def _bartering(self, number: int, taken: Opening) -> Bartering | None:
        period = await self._settlement.period(number)
        if period is None:
            raise NotFound(f"there is no period {number}", ("input", "period"))
        cut = period.marked_at or await server_time(self._db)
        barters = [version.barter for version in await self.barters.last_versions()]
        return concerning(barters, period.opened_at, cut, taken.carried.balances)

    # ------------------------------------------------------------ what was recorded

    async def seen(self, versions: Iterable[Version]) -> list[Seen]:
        """Return where barters stand, and what is used of them by the last recorded netting."""
        last, now = await self._nettings.last(), await server_time(self._db)
        used = {} if last is None else {each.barter: each for each in last.carried.balances}
        found = []
        for version in versions:
            barter, stage = version.barter.id, version.stage(now)
            untouched = None if stage is Stage.ENDED else Balance(barter, 0, 0)
            found.append(Seen(version, stage, used.get(barter, untouched)))
        return found

    async def get(self, number: int) -> RecordedNetting | None:
        """Return the recorded netting of a period."""
        return await self._nettings.get(number)

    async def page(self, before: int | None = None, limit: int = PAGE) -> list[RecordedNetting]:
        """Return recorded nettings, the newest period first, from before one on."""
        return await self._nettings.page(before, limit)

    async def anew(self, netting: RecordedNetting) -> Netted:
        """Return the figures of a recorded netting, made anew of the journal; one at a time, whoever asks."""
        async with self._making:
            made = self._made.get(netting.period)
            if made is None:
                taken = await self._taken(netting)
                made = await self._settlement.netted(
                    netting.period, netting.policy, taken.carried.payments, taken.carried.balances
                )
                while len(self._made) >= _KEPT:
                    del self._made[next(iter(self._made))]
                self._made[netting.period] = made
            return made

    async def certificate(self, netting: RecordedNetting) -> AsyncIterator[bytes]:
        """Yield the lines of its certificate, made anew; FiguresDisagree, at the end, if it is not that one."""
        netted, taken = await self.anew(netting), await self._taken(netting)
        digest = sha256()
        async for line in certificate(netting.period, netting.root, netted, taken.after, signed(netting)):
            digest.update(line)
            yield line
        if digest.hexdigest() != netting.hash:
            raise FiguresDisagree(f"the netting of period {netting.period} does not come out as it was recorded")

    async def _taken(self, netting: RecordedNetting) -> Opening:
        before = await self._nettings.get(netting.follows) if netting.follows else None
        if before is None and netting.follows:
            raise FiguresDisagree(f"the netting of period {netting.follows}, which another follows, is not there")
        return opening(netting.period, before)


def signed(netting: RecordedNetting) -> Seal:
    """Return the seal that signs again as it did then: what was signed is the same, or verifying tells."""
    return Seal(netting.keys, lambda _payload: netting.signature)


async def certificate(number: int, root: str, netted: Netted, after: str | None, seal: Seal) -> AsyncIterator[bytes]:
    """Yield the lines of a certificate, of a closed period with this root."""

    async def rows() -> AsyncIterator[Any]:
        for count, line in enumerate(lines(netted), 1):
            yield line
            if count % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async for line in sealed(header(number, root, netted.policy, after), rows(), seal):
        yield line
