"""A statement with the proof of every line: one partner's period, verified by that partner alone.

A sealed file (`sealed`). Its first line says which statement it is of: its hash, its totals, and the ranges of blocks
that the period's root is over. Behind it come all blocks of the period, as headers, and behind a block the partner's
part of each entry in it that has lines of the partner's:

    {"block": header, "hash"}
    {"entry", "index", "part", "path", "salt", "size", "within": {"index", "path"}}

`path` leads from the part to its entry's leaf, `within` from there to the block's root; the headers lead from block to
block to each lane's cut, and the cuts to the period's root. Blocks stand in the order of time, lane and seq. That is
the order of a statement's lines, so whoever reads the file writes the statement's document anew on the way, line by
line, and its SHA-256 must be the statement's hash: no line of the statement is without its proof, and no proof without
its line.

It tells of others what a single proof tells (`inclusion`): of every block when it was committed and how many entries
it has, of an entry how many parties it has. That the exchange left no entry out it cannot show, because no other entry
is opened; but what was left out is missing in the partner's own books, and with the counterparty's statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from exchange.amounts import Money
from exchange.journal import (
    Block,
    BlockKind,
    Entry,
    LineKind,
    canonical,
    inclusion_path,
    leaf_hash,
    milliseconds,
)
from exchange.proof.inclusion import climbed, header_from, hex_path, link_line, part_line, unlinked
from exchange.proof.journal_file import range_from, range_told
from exchange.proof.sealed import Broken, Findings, same, whole_number
from exchange.settlement.netting import Position
from exchange.settlement.period import Range, period_root
from exchange.settlement.statement import (
    Place,
    Statement,
    StatementLine,
    document_head,
    document_tail,
    line_bytes,
    statement_id,
    total_told,
)

FORMAT: Final = "benefits-exchange/statement-bundle/1"


# ---------------------------------------------------------------- writing


def header(statement: Statement, ranges: Sequence[Range], late_before: datetime | None) -> dict[str, Any]:
    """Return the first line. `late_before`: when the period before was marked closing."""
    return {
        "format": FORMAT, "hash": statement.hash,
        "late_before": None if late_before is None else milliseconds(late_before), "lines": statement.line_count,
        "partner": statement.partner, "period": statement.period, "ranges": [range_told(each) for each in ranges],
        "root": statement.root, "totals": [total_told(each) for each in statement.totals],
    }  # fmt: skip


def entry_line(name: str, partner: str, entry: Entry, leaves: Sequence[bytes], index: int) -> dict[str, Any]:
    """Return the line of an entry, which lies at `index` in the block with these leaves. `name`: the partner's own."""
    path = inclusion_path(leaves, index)
    return {**part_line(entry, partner), "entry": name, "within": {"index": index, "path": hex_path(path)}}


# ---------------------------------------------------------------- judging


class Bundle:
    """Judges the file line by line, and writes the statement's document on the way."""

    def __init__(self, first_line: dict[str, Any]) -> None:
        self._statement = _statement_from(first_line)
        ranges = [range_from(each) for each in first_line["ranges"]]
        late = first_line["late_before"]
        self._late_before = None if late is None else datetime.fromisoformat(late)
        if first_line != {**header(self._statement, ranges, self._late_before), "keys": first_line["keys"]}:
            raise Broken(1, "says more than is understood of it, or says it otherwise")
        if [each.lane for each in ranges] != sorted({each.lane for each in ranges}):
            raise Broken(1, "its lanes are not each there once and in order")
        if period_root(self._statement.period, ranges) != self._statement.root:
            raise Broken(1, "the period's root is not that of its lanes' cuts")
        self._ranges = {each.lane: each for each in ranges}
        self._heads: dict[int, Block] = {}
        self._waiting = len(ranges)
        self._block: Block | None = None
        self._behind = -1
        self._blocks = self._entries = self._lines = 0
        self._nets: dict[str, list[int]] = {}
        self._digest = sha256(document_head(self._statement.period, self._statement.partner))

    def take(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        """Judge the next line."""
        if "block" in line:
            self._take_block(number, line, raw)
        elif self._block is None:
            raise Broken(number, "a block should stand here")
        else:
            self._take_entry(self._block, number, line, raw)

    def end(self, number: int) -> Findings:
        """Say what is proved."""
        if self._waiting:
            raise Broken(number, f"{self._waiting} of {len(self._ranges)} lanes do not reach their cut")
        statement = self._statement
        if self._lines != statement.line_count:
            raise Broken(number, f"the statement has {statement.line_count} lines, the blocks above {self._lines}")
        if self._nets != {total.currency: [total.fees.minor, total.net.minor] for total in statement.totals}:
            raise Broken(number, "the lines do not add up to the statement's totals")
        self._digest.update(document_tail(statement.root, statement.totals))
        if self._digest.hexdigest() != statement.hash:
            raise Broken(number, "the statement that these lines make has another hash")
        return self._findings()

    # ------------------------------------------------------------ blocks

    def _take_block(self, number: int, line: dict[str, Any], raw: bytes) -> None:
        block = header_from(number, line)
        same(number, raw, link_line(block))
        if self._block is not None and (block.at, block.lane) < (self._block.at, self._block.lane):
            raise Broken(number, f"block {block.id}: stands behind block {self._block.id}, which comes later")
        wanted, before = self._ranges.get(block.lane), self._heads.get(block.lane)
        if wanted is None:
            raise Broken(number, f"block {block.id}: the period has no such lane")
        if before is None and block.seq != wanted.first:
            raise Broken(number, f"block {block.id}: stands where block {wanted.first} of lane {block.lane} should")
        for wrong in () if before is None else unlinked(before, block):
            raise Broken(number, f"block {block.id}: {wrong}")
        if block.period != self._statement.period:
            raise Broken(number, f"block {block.id}: is of period {block.period}")
        cut = block.kind is BlockKind.CUT
        if cut and (block.seq, block.hash) != (wanted.last, wanted.cut):
            raise Broken(number, f"block {block.id}: is not the cut that line 1 names")
        self._waiting -= cut
        self._blocks += 1
        self._entries += block.count
        self._heads[block.lane] = self._block = block
        self._behind = -1

    # ------------------------------------------------------------ lines

    def _take_entry(self, block: Block, number: int, line: dict[str, Any], raw: bytes) -> None:
        index, size = whole_number(line["index"]), whole_number(line["size"])
        name, part, salt = str(line["entry"]), dict(line["part"]), str(line["salt"])
        offset, path = whole_number(line["within"]["index"]), line["within"]["path"]
        same(number, raw, {
            "entry": name, "index": index, "part": part, "path": line["path"], "salt": salt, "size": size,
            "within": {"index": offset, "path": path},
        })  # fmt: skip
        if part["party"] != self._statement.partner:
            raise Broken(number, "the part is not that of the partner in line 1")
        if offset <= self._behind:
            raise Broken(number, f"entry {offset} of block {block.id} stands behind entry {self._behind}")
        leaf = leaf_hash(canonical({"part": part, "salt": salt}))
        leaf = climbed(number, "the part", leaf, index, size, line["path"])
        root = climbed(number, f"block {block.id}: the entry", leaf, offset, block.count, path)
        if root.hex() != block.root:
            raise Broken(number, f"block {block.id}: the part and its paths do not lead to its root")
        if block.header()["at"] != part["at"]:
            raise Broken(number, f"block {block.id}: is of another time than the part")
        if not part["lines"]:
            raise Broken(number, "the part has no line of the statement")
        self._behind = offset
        for n, row in enumerate(part["lines"]):
            self._add(_line_from(row, name, part["benefit"], self._late_before, Place(*_place(block, offset), n)))

    def _add(self, line: StatementLine) -> None:
        self._digest.update((b"," if self._lines else b"") + line_bytes(line))
        self._lines += 1
        net = self._nets.setdefault(line.currency, [0, 0])
        net[0] += line.fee.minor
        net[1] += line.net.minor

    # ------------------------------------------------------------ what came of it

    def _findings(self) -> Findings:
        statement = self._statement
        told = [f"statement {statement.id}: {self._lines:,} lines, each proved; hash {statement.hash}"]
        told += [
            f"{each.currency}: receivable {each.receivable.minor}, payable {each.payable.minor}, "
            f"fees {each.fees.minor}, net {each.net.minor} minor units"
            for each in statement.totals
        ]
        told.append(
            f"period {statement.period}, {self._blocks:,} blocks with {self._entries:,} entries of everybody's, "
            f"under the root {statement.root}"
        )
        facts = {
            "blocks": self._blocks, "entries": self._entries, "hash": statement.hash, "partner": statement.partner,
            "period": statement.period, "period_root": statement.root, "statement": statement.id,
            "statement_lines": self._lines, "totals": [total_told(each) for each in statement.totals],
        }  # fmt: skip
        return Findings(facts, told)


def _statement_from(told: dict[str, Any]) -> Statement:
    period, partner = whole_number(told["period"]), str(told["partner"])
    return Statement(
        id=statement_id(period, partner), period=period, partner=partner, root=told["root"],
        line_count=whole_number(told["lines"]), hash=told["hash"],
        totals=tuple(
            Position(partner=partner, **{
                name: Money(int(total[name]), total["currency"]) for name in ("payable", "receivable", "fees")
            })
            for total in told["totals"]
        ),
    )  # fmt: skip


def _place(block: Block, offset: int) -> tuple[datetime, int, int, int]:
    return block.at, block.lane, block.seq, offset


def _line_from(
    row: Sequence[str], name: str, benefit: str | None, late_before: datetime | None, place: Place
) -> StatementLine:
    kind, counterparty, points, gross, fee, currency = row
    return StatementLine(
        entry=name, at=place.at, kind=LineKind(kind), benefit=benefit, counterparty=counterparty, points=int(points),
        gross=Money(int(gross), currency), fee=Money(int(fee), currency),
        late=late_before is not None and place.at < late_before, place=place,
    )  # fmt: skip
