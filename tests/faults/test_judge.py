"""The checker itself: a true history is sound, and each thing that could be wrong with it is said."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from exchange.keyring import Keyring
from exchange.ledger import Ledger
from graph.identifiers import Identifiers, Kind
from tests.exchange.conftest import KEYRING, House
from tests.exchange.conftest import house as house  # noqa: PLC0414 - a fixture
from tests.exchange.speech import award, benefit, redeem
from tests.faults.history import Asked, Done, Happened, History, Offered, Refused, Unknown, read
from tests.faults.judge import Verdict, judge

FILM = benefit("video/film", 10, stock=1)
OFFERED = Offered(benefit="film", price=10, stock=1, at=0)


class Told:
    """What a client would have written down, at moments of our choosing."""

    def __init__(self, keyring: Keyring) -> None:
        self.facts: list[Happened] = [OFFERED]
        self._ids = Identifiers(keyring, "video")

    def asked(self, key: str, attempt: int, at: float, operation: str = "redeemBenefit", points: int = 10) -> None:
        """Ask for a film, or for something else."""
        wanted = "film" if operation == "redeemBenefit" else ""
        self.facts.append(
            Asked(
                at=at, attempt=attempt, key=key, by="video", operation=operation, member="ann", points=points,
                benefit=wanted,
            )
        )  # fmt: skip

    def done(self, key: str, attempt: int, at: float, *, redemption: str = "", replayed: bool = False) -> None:
        """Be told that it is done."""
        made = self._ids.seal(Kind.REDEMPTION, redemption) if redemption else key
        points = 10 if redemption else 25
        self.facts.append(Done(at=at, attempt=attempt, key=key, made=made, points=points, replayed=replayed))

    def refused(self, key: str, attempt: int, at: float, code: str, *reasons: str) -> None:
        """Be refused."""
        self.facts.append(Refused(at=at, attempt=attempt, key=key, code=code, reasons=reasons))

    def unknown(self, key: str, attempt: int, at: float) -> None:
        """Learn nothing."""
        self.facts.append(Unknown(at=at, attempt=attempt, key=key, why="EOF"))


@pytest.fixture
async def told(house: House) -> Told:
    """Give 25 points, redeem one film of one: and write it all down."""
    await house.publish(FILM)
    ledger = await house.ledger()
    await ledger.submit(award("video", 25, key=_entry(ledger, "awardPoints", "a")))
    taken = await ledger.submit(redeem(FILM, key=_entry(ledger, "redeemBenefit", "r")))
    await ledger.stop()
    assert taken.redemption is not None
    told = Told(KEYRING)
    told.asked("a", 1, 1, "awardPoints", 25)
    told.done("a", 1, 2)
    told.asked("r", 2, 3)
    told.done("r", 2, 4, redemption=taken.redemption.id)
    return told


async def judged(house: House, folder: Path, facts: Iterable[Happened]) -> Verdict:
    """Hold the database to a history."""
    path = folder / "history.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(fact) + b"\n" for fact in facts))
    return await judge(path, house.db, KEYRING)


async def test_what_happened_is_sound(house: House, told: Told, tmp_path: Path) -> None:
    """What was acknowledged is there, what was rightly refused is not, and the unknown may be either."""
    told.asked("late", 3, 5)
    told.refused("late", 3, 6, "BENEFIT_UNAVAILABLE", "OUT_OF_STOCK")
    told.asked("lost", 4, 7)
    told.unknown("lost", 4, 8)
    verdict = await judged(house, tmp_path, told.facts)
    assert verdict.holds, verdict.wrong
    assert (verdict.acknowledged, verdict.refused, verdict.unknown, verdict.unknown_there) == (2, 1, 1, 0)


async def test_what_is_not_there_was_lost(house: House, told: Told, tmp_path: Path) -> None:
    """Acknowledged, and nowhere: lost."""
    told.asked("gone", 3, 5)
    told.done("gone", 3, 6, redemption="nothing")
    assert "lost" in (await judged(house, tmp_path, told.facts)).wrong


async def test_what_was_refused_must_not_be_there(house: House, told: Told, tmp_path: Path) -> None:
    """Refused, with nothing outstanding, and there all the same; were another attempt outstanding, it might be."""
    told.facts.pop()
    told.refused("r", 2, 4, "PRICE_CHANGED")
    assert "refused" in (await judged(house, tmp_path, told.facts)).wrong
    told.asked("r", 3, 5)
    assert (await judged(house, tmp_path, told.facts)).holds


async def test_nobody_asked_for_it(house: House, told: Told, tmp_path: Path) -> None:
    """An entry of which the history does not know: something happened under another name."""
    assert "unasked" in (await judged(house, tmp_path, told.facts[:3])).wrong


async def test_the_same_key_is_answered_alike(house: House, told: Told, tmp_path: Path) -> None:
    """Another answer, the news twice, or a refusal after the success: the key was forgotten."""
    before = list(told.facts)
    told.asked("r", 3, 5)
    told.done("r", 3, 6, redemption="another", replayed=True)
    assert (await judged(house, tmp_path, told.facts)).wrong.keys() == {"answers"}
    told.facts = [*before, told.facts[-2]]
    told.refused("r", 3, 6, "PRICE_CHANGED")
    assert (await judged(house, tmp_path, told.facts)).wrong.keys() == {"forgotten"}
    told.facts = [*before, before[-2], before[-1]]
    assert (await judged(house, tmp_path, told.facts)).wrong.keys() == {"twice"}


async def test_a_refusal_has_to_be_true(house: House, told: Told, tmp_path: Path) -> None:
    """With 25 given and 10 spent nobody lacks 10; had another asked for 10 more by then, it could be."""
    told.asked("x", 3, 5)
    told.refused("x", 3, 6, "INSUFFICIENT_POINTS")
    assert (await judged(house, tmp_path, told.facts)).wrong.keys() == {"refusals"}
    # Refused before it was sold: there was one left.
    before = told.facts[:3]
    told.facts, sold = before, told.facts[3:5]
    told.asked("y", 4, 2.1)
    told.refused("y", 4, 2.2, "BENEFIT_UNAVAILABLE", "OUT_OF_STOCK")
    assert (await judged(house, tmp_path, [*told.facts, *sold])).wrong.keys() == {"refusals"}


async def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """What was written is on the disk when `write` returns, and a line that was cut short is none."""
    path = tmp_path / "history.jsonl"
    async with History(path) as history:
        await history.write(OFFERED)
        assert list(read(path)) == [OFFERED]
    with path.open("ab") as file:
        file.write(b'{"what":"ask')
    assert list(read(path)) == [OFFERED]


def _entry(ledger: Ledger, operation: str, key: str) -> str:
    return ledger.entry_id("video", "server", operation, key)
