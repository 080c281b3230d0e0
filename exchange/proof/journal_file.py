"""The journal as a file that a stranger can verify: every block, every entry, every closed period's root.

A sealed file (`sealed`) whose lines are, lane by lane as the first line announces them:

    {"block": header, "hash", "sums": rows, "sums_salt"}         a block, then as many as its count of
    {"entry": the exchange's part, "leaf", "salt"}               entries, in their order in the block
    {"period": number, "ranges": [...], "root"}                  behind all lanes, the periods that are closed

It is the whole truth, for the operator and its auditor, not for a partner: to a partner one part of one entry is
opened (`inclusion`). What is judged of a lane is `lanes`, as in a check of the live database; here everything the
judgement needs is in the file, and it needs the memory of one block, and of one range per lane and period.

A file may begin in the middle of a lane. Then its first block names the hash before it, which is the head that the
file before this one ended with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from exchange.journal import EXCHANGE, SALT_BYTES, Block, BlockKind, Entry, Sums, milliseconds
from exchange.proof.lanes import LaneJudge, Placed, content
from exchange.proof.sealed import UNREADABLE, Broken, Findings, same, whole_number
from exchange.settlement.period import Period, Range, period_root

FORMAT: Final = "benefits-exchange/journal/1"
_ENTRIES_MAX: Final = 100_000
"""Far more than one transaction can write; what a file may make us hold in memory ends somewhere."""


@dataclass(frozen=True, slots=True)
class Span:
    """The blocks of one lane that a file has, the last one included."""

    lane: int
    first: int
    last: int


# ---------------------------------------------------------------- writing


def header(at: datetime, spans: Sequence[Span]) -> dict[str, Any]:
    """Return the first line. `at`: when the heads were read."""
    return {
        "at": milliseconds(at), "format": FORMAT,
        "lanes": [{"first": span.first, "lane": span.lane, "last": span.last} for span in spans],
    }  # fmt: skip


def block_line(block: Block) -> dict[str, Any]:
    """Return a block's line."""
    return {
        "block": block.header(), "hash": block.hash, "sums": block.sums.rows(), "sums_salt": block.sums_salt.hex(),
    }  # fmt: skip


def entry_line(entry: Entry) -> dict[str, Any]:
    """Return an entry's line."""
    return {"entry": entry.part(EXCHANGE), "leaf": entry.leaf().hex(), "salt": entry.salt.hex()}


def period_line(period: Period) -> dict[str, Any]:
    """Return a closed period's line."""
    return {"period": period.number, "ranges": [range_told(each) for each in period.ranges], "root": period.root}


def range_told(each: Range) -> dict[str, Any]:
    """Return a lane's range in a period."""
    return {"cut": each.cut, "first": each.first, "lane": each.lane, "last": each.last}


def range_from(told: dict[str, Any]) -> Range:
    """Return the range that is told."""
    return Range(whole_number(told["lane"]), whole_number(told["first"]), whole_number(told["last"]), told["cut"])


def block_from(told: dict[str, Any], known_hash: str, sums: Sums | None = None, sums_salt: bytes = b"") -> Block:
    """Return the block of a header; without `sums` it is the header alone."""
    return Block(
        lane=whole_number(told["lane"]), seq=whole_number(told["seq"]), kind=BlockKind(told["kind"]),
        period=whole_number(told["period"]), count=whole_number(told["count"]), prev=told["prev"], root=told["root"],
        sums=sums or Sums(), sums_salt=sums_salt, sums_root=told["sums"], at=datetime.fromisoformat(told["at"]),
        hash=known_hash,
    )  # fmt: skip


# ---------------------------------------------------------------- judging


@dataclass(slots=True)
class _Unfinished:
    """A block whose entries are still to come."""

    line: int
    block: Block
    placed: list[Placed] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)

    @property
    def here(self) -> str:
        return f"block {self.block.id}"


class JournalFile:
    """Judges an exported journal line by line."""

    def __init__(self, first_line: dict[str, Any]) -> None:
        lanes = [
            Span(*(whole_number(each[name]) for name in ("lane", "first", "last"))) for each in first_line["lanes"]
        ]
        self._at = datetime.fromisoformat(first_line["at"])
        if first_line != {**header(self._at, lanes), "keys": first_line["keys"]}:
            raise Broken(1, "says more than is understood of it, or says it otherwise")
        if not lanes or [each.lane for each in lanes] != sorted({each.lane for each in lanes}):
            raise Broken(1, "announces no lane, or not each once and in order")
        if any(each.first > each.last for each in lanes):
            raise Broken(1, "announces a lane without blocks")
        self._spans = lanes
        self._waiting = list(reversed(lanes))
        self._judges: dict[int, LaneJudge] = {}
        self._open: _Unfinished | None = None
        self._blocks = self._entries = 0
        self._periods: list[dict[str, Any]] = []

    def take(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        """Judge the next line."""
        if self._open is not None:
            if "entry" not in line:
                missing = self._open.block.count - len(self._open.placed)
                raise Broken(number, f"{self._open.here}: {missing} of its entries are missing here")
            self._take_entry(self._open, number, line, raw)
        elif "block" in line and self._waiting:
            self._take_block(self._waiting[-1], number, line, raw)
        elif "period" in line and not self._waiting:
            self._take_period(number, line, raw)
        else:
            raise Broken(number, f"{self._expected()} should stand here")

    def end(self, number: int) -> Findings:
        """Say what is in the file."""
        if self._open is not None or self._waiting:
            raise Broken(number, f"{self._expected()} should stand here")
        return self._findings()

    def _expected(self) -> str:
        if self._open is not None:
            return f"{self._open.here}: entry {len(self._open.placed)}"
        if self._waiting:
            span = self._waiting[-1]
            judge = self._judges.get(span.lane)
            return f"block {span.first if judge is None else judge.seq} of lane {span.lane}"
        return "a period, or the end,"

    # ------------------------------------------------------------ blocks and entries

    def _take_block(self, span: Span, number: int, line: dict[str, Any], raw: bytes) -> None:
        salt = bytes.fromhex(line["sums_salt"])
        if len(salt) != SALT_BYTES:
            # Of a block that sums to nothing no hash would tell.
            raise Broken(number, f"the salt of a block's sums has {SALT_BYTES} bytes")
        block = block_from(line["block"], line["hash"], Sums.from_rows(line["sums"]), salt)
        if block.lane != span.lane:
            raise Broken(number, f"block {block.id} stands where {self._expected()} should")
        judge = self._judges.setdefault(span.lane, LaneJudge(span.lane, span.first))
        for wrong in judge.follow(block):
            raise Broken(number, f"block {block.id}: {wrong}")
        same(number, raw, block_line(block))
        if block.count > _ENTRIES_MAX:
            raise Broken(number, f"block {block.id}: says {block.count} entries, more than one can have")
        self._blocks += 1
        self._open = _Unfinished(number, block)
        if block.count == 0:
            self._finish(self._open)

    def _take_entry(self, unfinished: _Unfinished, number: int, line: dict[str, Any], raw: bytes) -> None:
        block, offset = unfinished.block, len(unfinished.placed)
        here = f"{unfinished.here}: entry {offset}"
        try:
            entry = Entry.from_whole(line["entry"], bytes.fromhex(line["salt"]))
            leaf = entry.leaf()
        except UNREADABLE as error:
            raise Broken(number, f"{here}: cannot be read as one ({error})") from error
        if leaf.hex() != line["leaf"]:
            raise Broken(number, f"{here}: its content does not have its leaf")
        same(number, raw, entry_line(entry))
        unfinished.placed.append(
            Placed(entry.id, block.lane, block.seq, offset, block.period, entry.settling, entry)
        )  # fmt: skip
        unfinished.leaves.append(leaf)
        self._entries += 1
        if len(unfinished.placed) == block.count:
            self._finish(unfinished)

    def _finish(self, unfinished: _Unfinished) -> None:
        for wrong in content(unfinished.block, unfinished.placed, unfinished.leaves):
            raise Broken(unfinished.line, f"{unfinished.here}: {wrong}")
        self._open = None
        if unfinished.block.seq == self._waiting[-1].last:
            self._waiting.pop()

    # ------------------------------------------------------------ periods

    def _take_period(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        period = whole_number(line["period"])
        here = f"period {period}"
        ranges = [range_from(each) for each in line["ranges"]]
        same(number, raw, {"period": period, "ranges": [range_told(each) for each in ranges], "root": line["root"]})
        if self._periods and period != self._periods[-1]["number"] + 1:
            raise Broken(number, f"{here} stands behind period {self._periods[-1]['number']}")
        if [each.lane for each in ranges] != sorted({each.lane for each in ranges}):
            raise Broken(number, f"{here}: its lanes are not each there once and in order")
        for wrong in self._wrong_ranges(period, ranges):
            raise Broken(number, f"{here}: {wrong}")
        if line["root"] != period_root(period, ranges):
            raise Broken(number, f"{here}: its root is not that of its lanes' cuts")
        here_too = sum(each.lane in self._judges and each.last >= self._judges[each.lane].start for each in ranges)
        self._periods.append({"number": period, "root": line["root"], "lanes": len(ranges), "lanes_here": here_too})

    def _wrong_ranges(self, period: int, ranges: Sequence[Range]) -> Iterable[str]:
        """Hold a period's ranges against the cuts that were seen; of a lane that begins later there is none to see."""
        said = {each.lane: each for each in ranges}
        for lane, judge in self._judges.items():
            one, seen = said.get(lane), judge.cuts.get(period)
            if one is None:
                if seen is not None or (judge.begun is not None and judge.begun <= period):
                    yield f"lane {lane} is not in it, and has blocks of it"
            elif one.last < judge.start:
                continue
            elif seen is None or (one.last, one.cut) != (seen.last, seen.cut):
                yield f"says that lane {lane} is cut at {one.last}, which the lane is not"
            elif one.first != seen.first and one.first >= judge.start:
                yield f"says that lane {lane} begins at {one.first}, it begins at {seen.first}"

    # ------------------------------------------------------------ what came of it

    def _findings(self) -> Findings:
        lanes = [
            {"lane": span.lane, "first": span.first, "last": span.last, "head": self._head(span.lane)}
            for span in self._spans
        ]  # fmt: skip
        told = [f"the journal as of {milliseconds(self._at)}: {self._blocks:,} blocks, {self._entries:,} entries"]
        for each in lanes:
            since = "from its beginning" if each["first"] == 0 else f"from block {each['first']}"
            told.append(f"lane {each['lane']}, {since} to block {each['last']}: {each['head']}")
        for each in self._periods:
            here = "" if each["lanes"] == each["lanes_here"] else f", {each['lanes_here']} of them in this file"
            told.append(f"period {each['number']}, over {each['lanes']} lanes{here}: {each['root']}")
        facts = {
            "at": milliseconds(self._at), "blocks": self._blocks, "entries": self._entries, "lanes": lanes,
            "periods": self._periods,
        }  # fmt: skip
        return Findings(facts, told)

    def _head(self, lane: int) -> str:
        head = self._judges[lane].before
        return "" if head is None else head.hash
