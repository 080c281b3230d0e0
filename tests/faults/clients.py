"""Clients who write down all they do, each with a temper of its own.

- *patient* ones repeat a request under its key until they know what became of it;
- *hasty* ones ask once, and go on without knowing;
- *insistent* ones ask everything twice at once, and again what they were told long ago: they retry everything;
- *deaf* ones send and hang up: they never read an answer.

The members are common to all, so wallets are fought for between gateways.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, NamedTuple

import orjson

from tests.faults.history import Asked, Done, History, Refused, Unknown
from tests.faults.proxy import LOOPBACK
from tests.faults.victim import CHANNEL, PROVIDER, RARITY, TRIP, VOUCHER, Victim, Worker

ANSWER_SECONDS: Final = 25
TEMPERS: Final = ("patient", "patient", "hasty", "insistent", "deaf")
_DEAF_SECONDS: Final = 0.3
"""Between two requests of somebody who waits for no answer: else nobody could answer as fast as it asks."""
_TTL_SECONDS: Final = 86_400
_POINTS: Final = 60
_AT_ONCE: Final = 64
_HOT: Final = 12
"""Members of whom everybody asks something all the time."""

_REFUSED = "... on UserError { code }"
_TAKEN = (
    f"{{ ... on RedeemBenefitSuccess {{ replayed redemption {{ id points }} }} {_REFUSED}"
    " ... on BenefitUnavailable { reasons } }"
)
_STEPPED = f"{{ ... on RedemptionActionSuccess {{ replayed redemption {{ id points }} }} {_REFUSED} }}"
DOCUMENTS: Final = {
    "awardPoints": "mutation($input: AwardPointsInput!) { awardPoints(input: $input) "
    f"{{ ... on AwardPointsSuccess {{ replayed lot {{ id awarded }} }} {_REFUSED} }} }}",
    "redeemBenefit": f"mutation($input: RedeemBenefitInput!) {{ redeemBenefit(input: $input) {_TAKEN} }}",
    "reserveBenefit": f"mutation($input: ReserveBenefitInput!) {{ reserveBenefit(input: $input) {_TAKEN} }}",
    **{
        step: f"mutation($input: RedemptionActionInput!) {{ {step}(input: $input) {_STEPPED} }}"
        for step in ("confirmRedemption", "cancelRedemption", "reverseRedemption")
    },
}


class Wish(NamedTuple):
    """What somebody wants, under a key of its own. `redemption`: what a step is about, `of`: the key that made it."""

    key: str
    by: str
    operation: str
    member: str
    points: int = 0
    benefit: str = ""
    of: str = ""
    redemption: str = ""


class Line:
    """A connection to one gateway: HTTP/1.1, kept alive, opened again when it is lost."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, token: str, body: bytes) -> bytes:
        """Return the answer's body. OSError, EOFError or TimeoutError: there is none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._ask(token, body)
        except BaseException:
            self.hang_up()
            raise

    async def send(self, token: str, body: bytes) -> None:
        """Send, and hang up without reading."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                _, writer = await self._open()
                writer.write(_request(token, body))
                await writer.drain()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(LOOPBACK, self._worker.port)
        return self._streams

    async def _ask(self, token: str, body: bytes) -> bytes:
        reader, writer = await self._open()
        writer.write(_request(token, body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        if b"connection: close" in head.lower():
            self.hang_up()
        return answer


def _request(token: str, body: bytes) -> bytes:
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: exchange\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Asker:
    """Asks one gateway or the other, and writes down every attempt and what came of it."""

    def __init__(self, victim: Victim, history: History) -> None:
        self._victim = victim
        self._history = history
        self._attempts = count(1)
        self.acknowledged = 0
        """Answers so far; several of the same key count each."""

    async def ask(self, wish: Wish, line: Line) -> Done | Refused | Unknown:
        """Make one attempt."""
        asked = await self._write_down(wish)
        body = self._body(wish)
        try:
            answer = orjson.loads(await line.ask(self._victim.tokens[wish.by], body))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            told: Done | Refused | Unknown = Unknown(attempt=asked.attempt, key=wish.key, why=type(error).__name__)
        else:
            told = _understood(answer, asked)
        await self._history.write(told)
        self.acknowledged += isinstance(told, Done)
        return told

    async def send(self, wish: Wish, line: Line) -> None:
        """Make an attempt, and never learn what came of it."""
        await self._write_down(wish)
        await line.send(self._victim.tokens[wish.by], self._body(wish))

    async def _write_down(self, wish: Wish) -> Asked:
        asked = Asked(
            attempt=next(self._attempts), key=wish.key, by=wish.by, operation=wish.operation, member=wish.member,
            points=wish.points, benefit=wish.benefit, of=wish.of,
        )  # fmt: skip
        await self._history.write(asked)
        return asked

    def _body(self, wish: Wish) -> bytes:
        given: dict[str, Any] = {"idempotencyKey": wish.key}
        if wish.redemption:
            given["redemption"] = wish.redemption
        else:
            given["member"] = {"reference": wish.member}
        if wish.operation == "awardPoints":
            given["points"] = wish.points
        if wish.benefit:
            given |= {"benefit": self._victim.ids[wish.benefit], "expectedPoints": wish.points}
        if wish.operation == "reserveBenefit":
            given["ttlSeconds"] = _TTL_SECONDS
        return orjson.dumps({"query": DOCUMENTS[wish.operation], "variables": {"input": given}})


def _understood(answer: dict[str, Any], asked: Asked) -> Done | Refused | Unknown:
    if "errors" in answer:
        why = str(answer["errors"][0].get("extensions", {}).get("code"))
        return Unknown(attempt=asked.attempt, key=asked.key, why=why)
    payload = answer["data"][asked.operation]
    if "code" in payload:
        reasons = tuple(payload.get("reasons", ()))
        return Refused(attempt=asked.attempt, key=asked.key, code=payload["code"], reasons=reasons)
    made = payload.get("lot") or payload["redemption"]
    points = int(made.get("awarded") or made["points"])
    return Done(attempt=asked.attempt, key=asked.key, made=made["id"], points=points, replayed=payload["replayed"])


@dataclass(slots=True)
class _Client:
    number: int
    temper: str
    chance: random.Random
    lines: list[Line]
    numbers: Any = field(default_factory=count)
    reserved: list[tuple[Wish, str]] = field(default_factory=list)
    taken: deque[tuple[Wish, str]] = field(default_factory=lambda: deque(maxlen=20))
    told: deque[Wish] = field(default_factory=lambda: deque(maxlen=50))


class Crowd:
    """Many clients at once, from `start` to `stop`; `pause` lets what is under way end, and waits for it."""

    def __init__(self, victim: Victim, history: History, seed: int, *, clients: int = 32, members: int = 400) -> None:
        self._victim = victim
        self.asker = Asker(victim, history)
        self._members = members
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._clients = [
            _Client(number, TEMPERS[number % len(TEMPERS)], random.Random(f"{seed}/{number}"), self._lines())  # noqa: S311
            for number in range(clients)
        ]

    async def gather_members(self) -> None:
        """Bring every member into being."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def bring(number: int) -> None:
            async with gate:
                line = Line(self._victim.workers[number % len(self._victim.workers)])
                wish = Wish(f"first-{number}", CHANNEL, "awardPoints", f"m{number}", _POINTS)
                told = await self.asker.ask(wish, line)
                line.hang_up()
                assert isinstance(told, Done), told

        await asyncio.gather(*(bring(number) for number in range(self._members)))

    def start(self) -> None:
        """Begin, or begin again."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._live(client)) for client in self._clients]

    async def pause(self) -> None:
        """Let everybody end what it is at; raises what went wrong with one."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def look(self) -> None:
        """Raise what went wrong with a client; what the exchange does never is."""
        for task in self._tasks:
            if task.done():
                task.result()

    def _lines(self) -> list[Line]:
        return [Line(worker) for worker in self._victim.workers]

    async def _live(self, client: _Client) -> None:
        try:
            while not self._stopping:
                await self._next(client)
        finally:
            for line in client.lines:
                line.hang_up()

    async def _next(self, client: _Client) -> None:
        wish = self._wish(client)
        line = client.chance.choice(client.lines)
        if client.temper == "deaf":
            await self.asker.send(wish, line)
            await asyncio.sleep(_DEAF_SECONDS)
            return
        if client.temper == "insistent":
            if client.told and client.chance.random() < 0.2:
                await self.asker.ask(client.chance.choice(client.told), line)
            other = client.lines[client.lines.index(line) - 1]
            told, _ = await asyncio.gather(self.asker.ask(wish, line), self._later(wish, other))
        else:
            told = await self.asker.ask(wish, line)
        while isinstance(told, Unknown) and client.temper != "hasty" and not self._stopping:
            await asyncio.sleep(client.chance.uniform(0.02, 0.3))
            told = await self.asker.ask(wish, client.chance.choice(client.lines))
        if isinstance(told, Done):
            self._remember(client, wish, told)
        elif isinstance(told, Unknown):
            await asyncio.sleep(0.05)

    async def _later(self, wish: Wish, line: Line) -> None:
        if len(self._victim.workers) > 1:
            await self.asker.ask(wish, line)

    @staticmethod
    def _remember(client: _Client, wish: Wish, told: Done) -> None:
        client.told.append(wish)
        if wish.operation == "reserveBenefit":
            client.reserved.append((wish, told.made))
        elif wish.operation == "redeemBenefit":
            client.taken.append((wish, told.made))

    def _wish(self, client: _Client) -> Wish:
        chance = client.chance
        key = f"c{client.number}-{next(client.numbers)}"
        if len(client.reserved) > 3:
            before, redemption = client.reserved.pop(0)
            step = chance.choice(("confirmRedemption", "cancelRedemption"))
            return Wish(key, CHANNEL, step, before.member, of=before.key, redemption=redemption)
        if client.taken and chance.random() < 0.03:
            before, redemption = client.taken.popleft()
            return Wish(key, PROVIDER, "reverseRedemption", before.member, of=before.key, redemption=redemption)
        hot = chance.random() < 0.2
        member = f"m{chance.randrange(_HOT if hot else self._members)}"
        if chance.random() < 0.14:
            return Wish(key, CHANNEL, "awardPoints", member, _POINTS)
        benefit = chance.choices((TRIP, VOUCHER, RARITY), (90, 7, 3))[0]
        operation = "reserveBenefit" if chance.random() < 0.08 else "redeemBenefit"
        return Wish(key, CHANNEL, operation, member, benefit.price, benefit.benefit)
