"""Races over HTTP against two server processes: one wins, the others learn why, and the books are right.

Every race is run again and again with new members and benefits; which of them wins is up to the machine. When all are
over, the whole journal is proved.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pymongo import MongoClient

from tests.journeys.racing import POINTS, PRICE, Payload, Track, one_winner, seconds, won
from tests.journeys.running import EXCHANGE, RunningExchange

ROUNDS = 20
SWEPT_SECONDS = 20


@pytest.fixture(scope="module")
def track() -> Iterator[Track]:
    """Two server processes on one database; in the end both have committed, and the books are proved."""
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningExchange(Path(directory) / "data", "--workers", "2") as running,
    ):
        track = Track(running)
        track.prepare()
        yield track
        done = subprocess.run(
            [EXCHANGE, "check", "--data", str(running.data)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(lanes(running.data)) == 2


def lanes(data: Path) -> list[int]:
    """Return the lanes that entries were committed in: each server process has one."""
    port = json.loads((data / "mongod.json").read_text())["port"]
    with MongoClient[Payload](f"mongodb://127.0.0.1:{port}/?directConnection=true") as client:
        return list(client["exchange"]["blocks"].distinct("lane", {"kind": "ENTRIES"}))


def refused(losers: list[Payload], code: str, **fields: object) -> None:
    """Expect that all of these were refused alike."""
    for payload in losers:
        assert (payload["code"], {name: payload[name] for name in fields}) == (code, fields), payload


def test_confirm_against_expiry(track: Track) -> None:
    """A hold is confirmed before its deadline, once, or it is over for everybody and all its points are free again.

    Each hold has three clients, which aim at its deadline: those of the first hold ask at once, those of the last just
    after it, the others in steps between.
    """
    aims = [-1.0, *(step / 100 for step in range(-14, 5, 2)), 0.05]
    benefit = track.benefit(stock=len(aims))
    seen: Counter[str] = Counter()
    members = [track.member() for _ in aims]

    def hold(member: str, aim: float) -> None:
        held = track.taken("reserveBenefit", member, benefit, ttlSeconds=1)
        at = seconds(held["reservedUntil"]) + aim
        asks = [track.ask("video", "confirmRedemption", at=at, redemption=held["id"]) for _ in range(3)]
        told = track.race(*asks)
        now = track.redemption(held["id"])
        if any(won(payload) for payload in told):
            assert now["updatedAt"] < now["reservedUntil"]
            refused(one_winner(told)[1], "INVALID_TRANSITION", status="CONFIRMED")
            assert now["status"] == "CONFIRMED"
            assert track.wallet(member) == (POINTS - PRICE, 0)
        else:
            refused(told, "INVALID_TRANSITION", status="EXPIRED")
            assert now["status"] == "EXPIRED"
            swept(track, member)
        seen[now["status"]] += 1

    with ThreadPoolExecutor(len(aims)) as holds:
        list(holds.map(hold, members, aims))
    assert set(seen) == {"CONFIRMED", "EXPIRED"}
    assert track.remaining(benefit) == seen["EXPIRED"]


def swept(track: Track, member: str) -> None:
    """Wait until the sweeper has come by: then the whole wallet can be spent."""
    deadline = time.monotonic() + SWEPT_SECONDS
    while track.wallet(member) != (POINTS, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert track.wallet(member) == (POINTS, 0)


def test_cancel_against_confirm(track: Track) -> None:
    """A hold is cancelled or confirmed, and every other client learns which."""
    benefit = track.benefit(stock=ROUNDS)
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        member = track.member()
        held = track.taken("reserveBenefit", member, benefit)
        # Who is first in line changes: the thread that starts first has a small advantage.
        mutations = ["confirmRedemption", "cancelRedemption"][:: (-1) ** number] * 2
        told = track.race(*(track.ask("video", mutation, redemption=held["id"]) for mutation in mutations))
        winner, losers = one_winner(told)
        status = winner["redemption"]["status"]
        refused(losers, "INVALID_TRANSITION", status=status)
        assert track.wallet(member) == (POINTS - PRICE * (status == "CONFIRMED"), 0)
        assert track.redemption(held["id"])["status"] == status
        seen[status] += 1
    assert set(seen) <= {"CONFIRMED", "CANCELLED"}
    assert track.remaining(benefit) == seen["CANCELLED"]


REVERSALS: dict[str, tuple[list[int | None], int, set[int]]] = {
    "whole against whole": ([None, None, None], 3, {1}),
    "one part too many": ([1, 1, 1, 1], 3, {3}),
    "parts that do not fit together": ([2, 2, 2], 2, {1}),
    "part against whole": ([1, None], 3, {1, 2}),
    "parts against whole": ([2, 2, None], 3, {1, 2}),
}
"""What is reversed at once of three units, how many units are back in the end, and how many reversals can succeed."""


@pytest.mark.parametrize("name", REVERSALS)
def test_reversal_against_reversal(track: Track, name: str) -> None:
    """However many ask, what goes back is never more than was taken: units, points and stock."""
    quantities, back, winners = REVERSALS[name]
    benefit = track.benefit(stock=3)
    for _ in range(ROUNDS // 2):
        member = track.member()
        had = track.taken("redeemBenefit", member, benefit, quantity=3)
        assert track.remaining(benefit) == 0
        told = track.race(
            *(track.ask("rides", "reverseRedemption", redemption=had["id"], quantity=quantity)
              for quantity in quantities)
        )  # fmt: skip
        assert sum(won(payload) for payload in told) in winners, told
        for loser in [payload for payload in told if not won(payload)]:
            if loser["code"] == "VALIDATION_ERROR":
                assert loser["path"] == ["input", "quantity"]
            else:
                refused([loser], "INVALID_TRANSITION", status="REVERSED")
        assert track.redemption(had["id"])["status"] == ("REVERSED" if back == 3 else "CONFIRMED")
        assert track.wallet(member) == (POINTS - PRICE * (3 - back), 0)
        assert track.remaining(benefit) == back
        if back < 3:
            track.done(track.ask("rides", "reverseRedemption", redemption=had["id"]))
            assert track.wallet(member) == (POINTS, 0)


def test_the_last_unit_of_stock(track: Track) -> None:
    """Of many members who want the last unit, to have or to hold, one gets it; the others keep their points."""
    members = [track.member() for _ in range(6)]
    had = 0
    for number in range(ROUNDS):
        benefit = track.benefit(stock=1)
        told = track.race(
            *(track.ask("video", ("redeemBenefit", "reserveBenefit")[(place + number) % 2],
                        benefit=benefit, member={"reference": member})
              for place, member in enumerate(members))
        )  # fmt: skip
        winner, losers = one_winner(told)
        refused(losers, "BENEFIT_UNAVAILABLE", reasons=["OUT_OF_STOCK"])
        assert track.remaining(benefit) == 0
        if winner["redemption"]["status"] == "RESERVED":
            track.done(track.ask("video", "cancelRedemption", redemption=winner["redemption"]["id"]))
            assert track.remaining(benefit) == 1
        else:
            had += 1
    assert sum(POINTS - balance for balance, _ in map(track.wallet, members)) == PRICE * had


def test_the_last_use_of_a_limit(track: Track) -> None:
    """One member, with its own token and through its partner's server at once, has what it may have once."""
    for number in range(ROUNDS):
        benefit = track.benefit(memberLimit=1)
        member = track.member()
        itself = track.member_token(member)
        first, second = [("redeemBenefit", "reserveBenefit"), ("reserveBenefit", "redeemBenefit")][number % 2]
        told = track.race(
            track.ask(itself, first, benefit=benefit),
            track.ask("video", second, benefit=benefit, member={"reference": member}),
            track.ask(itself, second, benefit=benefit),
            track.ask("video", first, benefit=benefit, member={"reference": member}),
        )
        winner, losers = one_winner(told)
        refused(losers, "BENEFIT_UNAVAILABLE", reasons=["MEMBER_LIMIT_REACHED"])
        held = winner["redemption"]["status"] == "RESERVED"
        assert track.wallet(member) == ((POINTS, PRICE) if held else (POINTS - PRICE, 0))


def test_the_last_code_of_a_pool(track: Track) -> None:
    """One member gets the code and pays; the others get none and pay nothing."""
    members = [track.member() for _ in range(6)]
    spent = dict.fromkeys(members, 0)
    for _ in range(ROUNDS):
        benefit = track.benefit(fulfilment="INSTANT_CODE")
        told = track.race(
            *(track.ask("video", "redeemBenefit", benefit=benefit, member={"reference": member}) for member in members)
        )
        winner, losers = one_winner(told)
        refused(losers, "BENEFIT_UNAVAILABLE", reasons=["OUT_OF_STOCK"])
        (code,) = winner["redemption"]["codes"]
        assert code.startswith("CODE-")
        spent[members[told.index(winner)]] += PRICE
        assert track.remaining(benefit) == 0
    assert {member: POINTS - track.wallet(member)[0] for member in members} == spent


def test_gift_against_redeem(track: Track) -> None:
    """Points that are wanted for a gift and for a benefit at once go one way, and the other client learns what is left.

    All of a wallet is wanted by two gifts and two redemptions, so one of the four is carried out.
    """
    track.let_give(ROUNDS * POINTS)
    benefit = track.benefit(pointsPrice=str(POINTS))
    friend = track.member()
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        member = track.member()
        itself = track.member_token(member)
        gift: Payload = {"to": {"reference": friend}, "points": str(POINTS)}
        named = {"reference": member}
        asks = [
            track.ask(itself, "givePoints", **gift),
            track.ask(itself, "redeemBenefit", benefit=benefit),
            track.ask("video", "givePoints", member=named, **gift),
            track.ask("video", "redeemBenefit", member=named, benefit=benefit),
        ][:: (-1) ** number]
        winner, losers = one_winner(track.race(*asks))
        for loser in losers:
            refused([loser], "INSUFFICIENT_POINTS", required=str(POINTS), available="0")
        assert track.wallet(member) == (0, 0)
        seen[winner["__typename"]] += 1
        assert track.wallet(friend) == (POINTS * (1 + seen["GivePointsSuccess"]), 0)
    assert set(seen) <= {"GivePointsSuccess", "RedeemBenefitSuccess"}


def test_merge_against_redeem(track: Track) -> None:
    """Whether a member is taken in before or after it redeems: its points are spent once, and nothing is lost.

    Each of the two has half of what the benefit costs: whoever asks before the merge is refused, and of those who ask
    after it one has it.
    """
    benefit = track.benefit(pointsPrice=str(2 * POINTS))
    for number in range(ROUNDS):
        ann, bob = track.member(), track.member()
        merge = [track.ask(track.member_token(bob), "mergeMembers", code=track.merge_code(ann))] * 2
        takings = [
            track.ask(track.member_token(bob), "redeemBenefit", benefit=benefit),
            track.ask("video", "redeemBenefit", benefit=benefit, member={"reference": ann}),
            track.ask("video", "redeemBenefit", benefit=benefit, member={"reference": bob}),
        ]
        asks = (merge + takings)[:: (-1) ** number]
        first, second, *told = track.race(*asks)[:: (-1) ** number]
        # Of two who send the same code to two processes the slower may find that it is one with the other already.
        done = [payload for payload in (first, second) if won(payload)]
        assert sum(not payload["replayed"] for payload in done) == 1, (first, second)
        for loser in [payload for payload in (first, second) if not won(payload)]:
            refused([loser], "VALIDATION_ERROR", path=["input", "code"])
        assert track.done(merge[0])["replayed"] is True
        had = [payload for payload in told if won(payload)]
        for loser in [payload for payload in told if not won(payload)]:
            assert loser["code"] == "INSUFFICIENT_POINTS"
            assert loser["available"] in {str(POINTS), "0"}
        assert len(had) <= 1
        assert track.wallet(ann) == track.wallet(bob) == (2 * POINTS * (1 - len(had)), 0)
        if not had:
            track.done(track.ask("video", "redeemBenefit", benefit=benefit, member={"reference": bob}))
