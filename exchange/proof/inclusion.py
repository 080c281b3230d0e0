"""One party's part of an entry, proved to be in the journal, with nothing of what the other parties know.

A sealed file (`sealed`) that climbs, a line for each step, from what the party may read to a hash that it knows from
elsewhere (its statement names the period's root):

    {"index", "part", "path", "salt", "size"}    the part, its salt, and its path among the parties to the entry's leaf
    {"block": header, "hash", "index", "path"}   the block, and the entry leaf's path in it
    {"block": header, "hash"}                    each block behind it, up to the lane's cut
    {"index", "path", "period", "range", "root", "size"}  the cut's range, and its path to the period's root

The last two kinds are there when the period is closed. The headers between are what leads to the cut: a block names
the one before it, so whoever holds the cut's hash holds that of every block that came before.

What it does tell of others: how many parties the entry has and where in the alphabet this one stands among them; and
of the blocks, when each was committed and how many entries it has. No name, no figure, no text: those are behind
salted hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

from exchange.journal import (
    EXCHANGE,
    Block,
    BlockKind,
    Entry,
    canonical,
    inclusion_path,
    leaf_hash,
    root_from_path,
)
from exchange.proof.journal_file import block_from, range_from, range_told
from exchange.proof.sealed import Broken, Findings, same, whole_number
from exchange.settlement.period import Period

FORMAT: Final = "benefits-exchange/inclusion/1"


# ---------------------------------------------------------------- writing


def header(name: str, partner: str) -> dict[str, Any]:
    """Return the first line. `name`: the party's own identifier of the entry."""
    return {"entry": name, "format": FORMAT, "partner": partner}


def part_line(entry: Entry, party: str) -> dict[str, Any]:
    """Return the line that opens a party's leaf."""
    leaves = [entry.part_leaf(each) for each in entry.parties]
    index = entry.parties.index(party)
    return {
        "index": index, "part": entry.part(party), "path": hex_path(inclusion_path(leaves, index)),
        "salt": entry.part_salt(party), "size": len(leaves),
    }  # fmt: skip


def block_line(block: Block, entries: Sequence[Entry], index: int) -> dict[str, Any]:
    """Return the line of the block in which these entries lie, for the one at `index`."""
    path = inclusion_path([entry.leaf() for entry in entries], index)
    return {**link_line(block), "index": index, "path": hex_path(path)}


def link_line(block: Block) -> dict[str, Any]:
    """Return the line of a block on the way to the cut."""
    return {"block": block.header(), "hash": block.hash}


def period_line(period: Period, lane: int) -> dict[str, Any]:
    """Return the line that leads from a lane's cut to the root of a closed period."""
    index = next(index for index, each in enumerate(period.ranges) if each.lane == lane)
    leaves = [each.leaf(period.number) for each in period.ranges]
    return {
        "index": index, "path": hex_path(inclusion_path(leaves, index)), "period": period.number,
        "range": range_told(period.ranges[index]), "root": period.root, "size": len(leaves),
    }  # fmt: skip


def hex_path(path: Sequence[bytes]) -> list[str]:
    """Return a path as a file has it."""
    return [node.hex() for node in path]


# ---------------------------------------------------------------- judging


class Inclusion:
    """Judges the climb line by line."""

    def __init__(self, first_line: dict[str, Any]) -> None:
        self._name, self._partner = str(first_line["entry"]), str(first_line["partner"])
        if first_line != {**header(self._name, self._partner), "keys": first_line["keys"]}:
            raise Broken(1, "says more than is understood of it, or says it otherwise")
        self._part: dict[str, Any] = {}
        self._leaf: bytes | None = None
        self._block: Block | None = None
        self._last: Block | None = None
        self._root: str | None = None

    def take(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        """Judge the next step."""
        if self._leaf is None:
            self._take_part(number, line, raw)
        elif self._last is None:
            self._take_block(self._leaf, number, line, raw)
        elif self._root is None and "block" in line:
            self._take_link(self._last, number, line, raw)
        elif self._root is None:
            self._take_period(self._last, number, line, raw)
        else:
            raise Broken(number, "stands behind the period's root")

    def end(self, number: int) -> Findings:
        """Say what is proved."""
        if self._block is None:
            raise Broken(number, f"the {'part' if self._leaf is None else 'block'} is missing here")
        if self._root is None and self._last is not self._block:
            raise Broken(number, "the period to which these blocks lead is missing here")
        return self._findings(self._block)

    def _take_part(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        index, size = whole_number(line["index"]), whole_number(line["size"])
        self._part, salt = dict(line["part"]), str(line["salt"])
        same(number, raw, {"index": index, "part": self._part, "path": line["path"], "salt": salt, "size": size})
        if self._part["party"] != self._partner:
            raise Broken(number, "the part is not that of the partner in line 1")
        leaf = leaf_hash(canonical({"part": self._part, "salt": salt}))
        self._leaf = climbed(number, "the part", leaf, index, size, line["path"])

    def _take_block(self, leaf: bytes, number: int, line: dict[str, Any], raw: bytes) -> None:
        index, block = whole_number(line["index"]), header_from(number, line)
        same(number, raw, {**link_line(block), "index": index, "path": line["path"]})
        root = climbed(number, f"block {block.id}: the entry", leaf, index, block.count, line["path"])
        if root.hex() != block.root:
            raise Broken(number, f"block {block.id}: the part and its paths do not lead to its root")
        if block.header()["at"] != self._part["at"]:
            raise Broken(number, f"block {block.id}: is of another time than the part")
        self._block = self._last = block

    def _take_link(self, before: Block, number: int, line: dict[str, Any], raw: bytes) -> None:
        block = header_from(number, line)
        same(number, raw, link_line(block))
        for wrong in unlinked(before, block):
            raise Broken(number, f"block {block.id}: {wrong}")
        self._last = block

    def _take_period(self, cut: Block, number: int, line: dict[str, Any], raw: bytes) -> None:
        index, size, period = (whole_number(line[name]) for name in ("index", "size", "period"))
        ended, root, path = range_from(line["range"]), str(line["root"]), line["path"]
        told = {"index": index, "path": path, "period": period, "range": range_told(ended), "root": root, "size": size}
        same(number, raw, told)
        if cut.kind is not BlockKind.CUT or (ended.lane, ended.last, ended.cut, period) != (
            cut.lane, cut.seq, cut.hash, cut.period,
        ):  # fmt: skip
            raise Broken(number, f"period {period}: the blocks do not lead to the cut that its range names")
        if self._block is not None and ended.first > self._block.seq:
            raise Broken(number, f"period {period}: the range begins behind the entry's block")
        if climbed(number, f"period {period}: the range", ended.leaf(period), index, size, path).hex() != root:
            raise Broken(number, f"period {period}: the range and its path do not lead to its root")
        self._root = root

    def _findings(self, block: Block) -> Findings:
        part = self._part
        told = [f"the part of {self._partner} in entry {self._name}: {part['kind']} at {part['at']}"]
        if self._partner != EXCHANGE:
            told += [f"points: {account} {amount}" for account, amount in part["points"]]
            told += [
                f"line: {kind} {counterparty}, {points} points, gross {gross} less fee {fee}, minor units of {currency}"
                for kind, counterparty, points, gross, fee, currency in part["lines"]
            ]
        told.append(f"block {block.id}: {block.hash}")
        if self._root is None:
            told.append(
                f"period {block.period} was not closed when this was written: only the signature vouches for it"
            )
        else:
            told.append(f"period {block.period}, the root that its statements name: {self._root}")
        facts = {
            "block": block.id, "block_hash": block.hash, "entry": self._name, "part": part, "partner": self._partner,
            "period": block.period, "period_root": self._root,
        }  # fmt: skip
        return Findings(facts, told)


def climbed(number: int, what: str, leaf: bytes, index: int, size: int, path: Sequence[str]) -> bytes:
    """Return where a leaf's path leads; Broken where it cannot be one."""
    if index >= size:
        raise Broken(number, f"{what} is said to be number {index} of {size}")
    try:
        return root_from_path(leaf, index, size, [_node(text) for text in path])
    except ValueError as error:
        raise Broken(number, f"{what}: {error}") from error


def header_from(number: int, line: dict[str, Any]) -> Block:
    """Return the block of a line, which has the header alone; Broken unless its hash is that of the header."""
    block = block_from(line["block"], line["hash"])
    if block.hash != sha256(canonical(line["block"])).hexdigest():
        raise Broken(number, f"block {block.id}: its content does not have its hash")
    return block


def _node(text: str) -> bytes:
    node = bytes.fromhex(text)
    if node.hex() != text or len(node) != sha256().digest_size:
        message = "the path has something that is no hash"
        raise ValueError(message)
    return node


def unlinked(before: Block, block: Block) -> Iterator[str]:
    """Yield why a block is not the one behind another of the same period."""
    if (block.lane, block.seq) != (before.lane, before.seq + 1):
        yield f"stands where block {before.seq + 1} of lane {before.lane} should"
    if block.prev != before.hash:
        yield "does not name the block before it"
    if before.kind is BlockKind.CUT or block.period != before.period:
        yield f"is behind the cut that ends period {before.period}"
