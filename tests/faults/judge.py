"""The offline checker: reads a history and a database, nothing else, and says what cannot be.

It shares no reasoning with the exchange; of its code it uses the keyring (which entry a key makes, what an answer's id
stands for) and, last of all, `exchange check`. Its rules:

1. What was acknowledged is there, once, as it was answered; every attempt of a key was answered alike, and only the
   first as new.
2. What was refused, with no other attempt of its key outstanding, is not there; nor is anything nobody asked for.
3. Whatever is unknown is there or not; that decides what it counts for in all that follows.
4. A refusal is true: for want of points only if they can have been wanting, and of stock alike. "Can have been" is
   reckoned against the exchange: what was acknowledged before the question counts as there, what was taken by anybody
   who asked before the answer counts as gone.
5. A member has the points that the keys make, and has taken no more of a benefit in a day than its limit.
6. Every invariant of `exchange check` holds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from exchange.check import check
from exchange.keyring import Keyring
from exchange.store.connection import MAJORITY, Database
from graph.identifiers import Identifiers, Kind
from tests.faults.history import Asked, Done, Offered, Refused, Struck, Unknown, read

SHOWN: Final = 20
SERVER: Final = "server"
_NOT_ASKED: Final = frozenset({"LAPSE", "EXPIRE"})
"""What time does by itself."""
TAKING: Final = frozenset({"redeemBenefit", "reserveBenefit"})


@dataclass(slots=True)
class _Key:
    """All that is known of one idempotency key."""

    asked: Asked
    open: dict[int, float] = field(default_factory=dict)
    """Attempts that were sent and are not definitely answered."""
    done: Done | None = None
    first: int = 0
    """How many attempts were told that it happened just now."""
    refused: bool = False
    entry: dict[str, Any] | None = None

    @property
    def there(self) -> bool:
        """Whether the database has it."""
        return self.entry is not None


@dataclass(slots=True)
class Verdict:
    """What came of judging: how much of everything there was, and what is wrong."""

    attempts: int = 0
    keys: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unknown_there: int = 0
    redemptions: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    proofs: list[dict[str, Any]] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    wrong_count: Counter[str] = field(default_factory=Counter)

    @property
    def holds(self) -> bool:
        """Nothing is wrong."""
        return not self.wrong

    def say(self, rule: str, what: str) -> None:
        """Something is wrong."""
        self.wrong_count[rule] += 1
        shown = self.wrong.setdefault(rule, [])
        if len(shown) < SHOWN:
            shown.append(what)

    def require(self, sound: bool, rule: str, what: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Say that something is wrong, unless it is sound."""
        if not sound:
            self.say(rule, what)


async def judge(history: Path, db: Database, keyring: Keyring) -> Verdict:
    """Hold a database to a history."""
    judging = _Judging(keyring)
    for fact in read(history):
        judging.hear(fact)
    entries = db.get_collection("entries", read_concern=MAJORITY)
    wanted = {"kind": 1, "redemption": 1, "wallet": 1, "at": 1, "quantity": 1}
    async for entry in entries.find({}, wanted):
        judging.find(entry)
    judging.judge_keys()
    judging.judge_refusals()
    judging.judge_limits()
    await judging.judge_points(db)
    for proof in await check(db, keyring):
        verdict = judging.verdict
        verdict.proofs.append({"number": proof.number, "title": proof.title, "judged": proof.judged})
        for what in proof.wrong:
            verdict.say(f"invariant {proof.number}", what)
    return judging.verdict


class _Judging:
    def __init__(self, keyring: Keyring) -> None:
        self.verdict = Verdict()
        self._keyring = keyring
        self._keys: dict[str, _Key] = {}
        self._entries: dict[str, _Key] = {}
        self._offered: dict[str, Offered] = {}
        self._refusals: list[tuple[_Key, float, Refused]] = []
        self._lapsed: set[str] = set()

    # ------------------------------------------------------------ the history

    def hear(self, fact: Offered | Asked | Done | Refused | Unknown | Struck) -> None:
        """Take in what happened next."""
        match fact:
            case Offered():
                self._offered[fact.benefit] = fact
            case Asked():
                self._hear_question(fact)
            case Done():
                self._hear_done(self._keys[fact.key], fact)
            case Refused():
                self._hear_refusal(self._keys[fact.key], fact)
            case Unknown():
                pass  # stays open
            case Struck():
                self.verdict.blows[fact.blow] += 1

    def _hear_question(self, asked: Asked) -> None:
        self.verdict.attempts += 1
        key = self._keys.get(asked.key)
        if key is None:
            key = self._keys[asked.key] = _Key(asked)
            self._entries[self._keyring.digest("entry", asked.by, SERVER, asked.operation, asked.key)] = key
        key.open[asked.attempt] = asked.at

    def _hear_done(self, key: _Key, done: Done) -> None:
        key.open.pop(done.attempt)
        key.first += not done.replayed
        before = key.done
        if before is None:
            key.done = done
            return
        alike = (before.made, before.points) == (done.made, done.points)
        self.verdict.require(
            alike, "answers", f"{done.key}: answered {before.made} {before.points}, then {done.made} {done.points}"
        )

    def _hear_refusal(self, key: _Key, refused: Refused) -> None:
        sent = key.open.pop(refused.attempt)
        key.refused = True
        self._refusals.append((key, sent, refused))
        if key.done is not None and key.done.at < sent:
            self.verdict.say("forgotten", f"{refused.key}: acknowledged, and asked for again refused: {refused.code}")

    # ------------------------------------------------------------ the database

    def find(self, entry: dict[str, Any]) -> None:
        """Take in what is there."""
        key = self._entries.get(entry["_id"])
        if key is not None:
            key.entry = entry
        elif entry["kind"] not in _NOT_ASKED:
            self.verdict.say("unasked", f"entry {entry['_id']} ({entry['kind']}): nobody asked for it")
        elif entry["kind"] == "LAPSE":
            self._lapsed.add(entry["redemption"])

    def judge_keys(self) -> None:
        """Judge what became of every key (rules 1 to 3)."""
        verdict = self.verdict
        verdict.keys = len(self._keys)
        for name, key in self._keys.items():
            taking = key.asked.operation in TAKING
            verdict.redemptions += taking and key.there
            verdict.require(key.first <= 1, "twice", f"{name}: told {key.first} times that it happened just now")
            if key.done is not None:
                verdict.acknowledged += 1
                verdict.require(key.there, "lost", f"{name}: {key.asked.operation} acknowledged, and it is not there")
                if key.there and key.asked.operation != "awardPoints":
                    answered = Identifiers(self._keyring, key.asked.by).open(Kind.REDEMPTION, key.done.made)
                    stored = (key.entry or {})["redemption"]
                    verdict.require(answered == stored, "answers", f"{name}: answered {answered}, stored {stored}")
                if taking or key.asked.operation == "awardPoints":
                    right = key.done.points == key.asked.points
                    verdict.require(right, "answers", f"{name}: {key.asked.points} asked, {key.done.points} answered")
            elif key.open:
                verdict.unknown += 1
                verdict.unknown_there += key.there
            else:
                verdict.refused += 1
                verdict.require(not key.there, "refused", f"{name}: every attempt was refused, and it is there")

    # ------------------------------------------------------------ refusals

    def judge_refusals(self) -> None:
        """Judge whether what was said to be wanting can have been (rule 4)."""
        given = _Series((key.asked.member, key.done.at, key.asked.points) for key in self._keys.values()
                        if key.asked.operation == "awardPoints" and key.done and key.there)  # fmt: skip
        takings = [key for key in self._keys.values() if key.asked.operation in TAKING and key.there]
        spent = _Series((key.asked.member, key.asked.at, key.asked.points) for key in takings)
        sold = _Series((key.asked.benefit, key.asked.at, 1) for key in takings)
        for key, sent, refused in self._refusals:
            asked = key.asked
            if asked.operation not in TAKING:
                continue
            if refused.code == "INSUFFICIENT_POINTS":
                there = given.before(asked.member, sent) - spent.until(asked.member, refused.at)
                self.verdict.require(
                    there < asked.points, "refusals",
                    f"{asked.key}: refused {asked.points} points although {asked.member} had at least {there}",
                )  # fmt: skip
            if refused.reasons == ("OUT_OF_STOCK",):
                left = (self._offered[asked.benefit].stock or 0) - sold.until(asked.benefit, refused.at)
                self.verdict.require(
                    left < 1, "refusals", f"{asked.key}: out of stock although at least {left} were left"
                )

    # ------------------------------------------------------------ members

    def judge_limits(self) -> None:
        """Judge that nobody has more than a day's limit (rule 5)."""
        given_back = self._given_back()
        taken: Counter[tuple[str, str, str]] = Counter()
        for name, key in self._keys.items():
            if key.entry is not None and key.asked.operation in TAKING and name not in given_back:
                at: datetime = key.entry["at"]
                taken[key.asked.member, key.asked.benefit, at.date().isoformat()] += 1
        for (member, benefit, day), units in taken.items():
            limit = self._offered[benefit].limit
            self.verdict.require(
                limit is None or units <= limit, "limits", f"{member} has {units} of {benefit} on {day}, not {limit}"
            )

    async def judge_points(self, db: Database) -> None:
        """Judge that every member has what the keys make (rule 5)."""
        given_back = self._given_back()
        confirmed = {key.asked.of for key in self._keys.values()
                     if key.there and key.asked.operation == "confirmRedemption"}  # fmt: skip
        points: Counter[str] = Counter()
        for name, key in self._keys.items():
            asked = key.asked
            if not key.there:
                continue
            if asked.operation == "awardPoints":
                points[asked.member] += asked.points
            elif (asked.operation == "redeemBenefit" or name in confirmed) and name not in given_back:
                points[asked.member] -= asked.points
        by_wallet: dict[str, str] = {}
        async for reference in db["references"].find({}):
            by_wallet[reference["wallet"]] = reference["_id"].partition(":")[2]
        async for wallet in db["wallets"].find({}, {"lots.remaining": 1}):
            member = by_wallet.get(wallet["_id"], "nobody")
            has, should = sum(lot["remaining"] for lot in wallet["lots"]), points.pop(member, 0)
            self.verdict.require(has == should, "points", f"{member} has {has} points, the keys make {should}")
        for member, should in points.items():
            self.verdict.require(should == 0, "points", f"{member} has no wallet, the keys make {should} points")

    def _given_back(self) -> set[str]:
        """Return the keys of takings that came to nothing."""
        undone = {key.asked.of for key in self._keys.values()
                  if key.there and key.asked.operation in {"cancelRedemption", "reverseRedemption"}}  # fmt: skip
        return undone | {name for name, key in self._keys.items()
                         if key.entry is not None and key.entry["redemption"] in self._lapsed}  # fmt: skip


class _Series:
    """Amounts by whose they are and when, to be added up to a moment."""

    def __init__(self, rows: Iterable[tuple[str, float, int]]) -> None:
        rows_of: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for whose, at, amount in rows:
            rows_of[whose].append((at, amount))
        self._sums: dict[str, tuple[list[float], list[int]]] = {}
        for whose, mine in rows_of.items():
            mine.sort()
            self._sums[whose] = [at for at, _ in mine], [0, *accumulate(amount for _, amount in mine)]

    def before(self, whose: str, at: float) -> int:
        """Return what there was of before a moment."""
        times, sums = self._sums.get(whose, ([], [0]))
        return sums[bisect_left(times, at)]

    def until(self, whose: str, at: float) -> int:
        """Return what there was of until a moment, and at it."""
        times, sums = self._sums.get(whose, ([], [0]))
        return sums[bisect_right(times, at)]
