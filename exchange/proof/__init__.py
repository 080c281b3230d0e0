"""The invariants of the exchange, what became of proving them, and the second opinions that prove them.

`history` judges wallets, `redemptions` what becomes of a redemption, `money` what it costs, `lanes` the chain,
`signoff` what people did about statements, `disputes` what partners dispute, `nettings` how periods were netted,
`banking` what was found in the bank's files. They share the domain's values with the code under judgement, not its
reasoning. Pure: no driver, no clock; `exchange.check` walks the database for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

SHOWN = 20
"""How many wrong things a proof describes; the others it counts."""

TITLES = {
    1: "Every entry sums to zero in each unit, and so does the whole journal",
    2: "No lot is overdrawn, and every point of it is accounted for",
    3: "Every wallet and redemption is what its entries make of it: lots, links, limit counts, status and version",
    4: "What issuers awarded less redeemed less expired, with what came back, is what remains in their lots",
    5: "Every entry is there once, and every redemption has its entry",
    6: "Among the lots that could be spent, the first to expire were consumed first",
    7: "What issuers owe is what providers keep plus fees plus commissions, by the agreements",
    8: "Each hold ends once, what is held is what open holds hold, and no more comes back than went",
    9: "Lanes have no gap, every hash verifies, and every entry is in one block and every block in one period",
    10: "Positions sum to zero, and blocks, entries, periods and statements say the same",
    11: "What was offered is sold, reserved or left, and no code was given twice",
    12: "What a capped partner owes and has promised is what its headroom says, and no more was granted than there was",
    13: "Every statement stands where its log leaves it, approved by others than prepared it, and paid once",
    14: "Every adjustment is of a dispute that was upheld, once, of the line that it cites and no more than that",
    15: "Every recorded netting comes out of the journal as it was recorded, with what the one before it carries",
    16: "Every movement of the bank's files is on one pile, and no more was found of what is due than is due",
}


class Wrong(NamedTuple):
    """Something that must not be, and by which invariant."""

    invariant: int
    what: str


@dataclass(slots=True)
class Proof:
    """One invariant. `judged`: how many things were looked at; `wrong`: the first of the `wrong_count` found wrong."""

    number: int
    judged: int = 0
    wrong_count: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The invariant as a sentence."""
        return TITLES[self.number]

    @property
    def holds(self) -> bool:
        """Nothing was found wrong."""
        return self.wrong_count == 0

    def line(self) -> str:
        """Return the proof in one line."""
        if self.holds:
            return f"ok      {self.number:2}  {self.title} ({self.judged:,} judged)"
        return f"BROKEN  {self.number:2}  {self.title} ({self.wrong_count:,} wrong; first: {self.wrong[0]})"


class Proofs:
    """All of them, as they are filled."""

    def __init__(self) -> None:
        self._proofs = {number: Proof(number) for number in TITLES}

    def judged(self, number: int, count: int = 1) -> None:
        """Count what was looked at."""
        self._proofs[number].judged += count

    def add(self, wrong: Iterable[Wrong]) -> None:
        """Record what was found wrong."""
        for number, what in wrong:
            proof = self._proofs[number]
            proof.wrong_count += 1
            if len(proof.wrong) < SHOWN:
                proof.wrong.append(what)

    def require(self, sound: bool, number: int, what: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Record `what` unless it is sound."""
        if not sound:
            self.add([Wrong(number, what)])

    def all(self) -> list[Proof]:
        """Return them in order."""
        return list(self._proofs.values())
