"""A statement with the proof of every line, verified by whoever holds the file."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from io import BytesIO
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.evidence import Evidence
from exchange.journal import GENESIS, Block, BlockKind, Entry, Sums, canonical, milliseconds
from exchange.proof import bundle, inclusion
from exchange.proof.sealed import verify
from exchange.proof.verifying import FORMATS
from exchange.settlement import netting
from exchange.settlement.period import Range, period_root
from exchange.settlement.statement import Drafting, Statement
from partners.oauth.seals import check_signature
from tests.exchange.settlement.conftest import World
from tests.exchange.speech import NOW, SALT
from tests.exchange.test_evidence import (
    SEAL,
    STRANGER,
    altered,
    an_entry,
    another,
    broken,
    file_of,
    gone,
    rewritten,
    verified,
    whole,
)
from tests.exchange.test_journal import a_redemption

__all__ = ["another"]
SECOND = timedelta(seconds=1)


def chained(lane: int, *contents: tuple[int, list[Entry]], cut: int) -> list[tuple[Block, list[Entry]]]:
    """Chain blocks of these entries, each so many seconds from now, and the cut."""
    made: list[tuple[Block, list[Entry]]] = []
    kinds = [(BlockKind.GENESIS, 0, []), *((BlockKind.ENTRIES, *each) for each in contents), (BlockKind.CUT, cut, [])]
    for seq, (kind, seconds, entries) in enumerate(kinds):
        at = NOW + seconds * SECOND
        inside = [replace(entry, at=at) for entry in entries]
        block = Block.seal(
            lane=lane, seq=seq, kind=kind, period=1, prev=made[-1][0].hash if made else GENESIS, at=at, salt=SALT,
            entries=inside,
        )  # fmt: skip
        made.append((block, inside))
    return made


def a_bundle(partner: str = "rides", late: datetime | None = NOW + 2 * SECOND) -> bytes:
    """Bundle three redemptions in two lanes, of which the second is the first in time; lines 2 to 11."""
    one = chained(1, (1, [an_entry(1), a_redemption()]), (3, [a_redemption(), an_entry(2)]), cut=4)
    two = chained(2, (2, [a_redemption()]), cut=5)
    merged = sorted([*one, *two], key=lambda each: (each[0].at, each[0].lane, each[0].seq))
    ranges = [Range(lane, 0, blocks[-1][0].seq, blocks[-1][0].hash) for lane, blocks in ((1, one), (2, two))]
    return file_of(*asyncio.run(written(partner, late, ranges, merged)))


async def written(
    partner: str, late: datetime | None, ranges: list[Range], merged: list[tuple[Block, list[Entry]]]
) -> tuple[dict[str, Any], list[Any]]:
    """Draft the statement of these blocks, and return the first line of its bundle and those behind it."""
    sums = Sums()
    for block, _ in merged:
        sums.add(block.sums)

    drafting = Drafting(1, partner, late, lambda entry, _: f"name of {entry}")
    its = [(block, entry) for block, entries in merged for entry in entries if partner in entry.settling]
    for block, entry in its:
        drafting.take(entry, milliseconds(block.at))
    own = [each for each in netting.positions(sums) if each.partner == partner]
    statement = drafting.finished(period_root(1, ranges), own, netting.line_sums(sums)[partner], len(its))
    body: list[Any] = []
    for block, entries in merged:
        body.append(inclusion.link_line(block))
        body += [
            bundle.entry_line(f"name of {entry.id}", partner, entry, [each.leaf() for each in entries], offset)
            for offset, entry in enumerate(entries) if partner in entry.settling
        ]  # fmt: skip
    return bundle.header(statement, ranges, late), body


BUNDLE = a_bundle()


def test_a_bundle_is_proved_from_the_file_alone() -> None:
    """It says the statement, its hash, its lines and totals, and over which blocks."""
    found = verified(BUNDLE)
    assert (found.trusted, found.format, found.lines) == (True, bundle.FORMAT, 12)
    facts = found.findings.facts
    assert (facts["statement"], facts["statement_lines"], facts["blocks"], facts["entries"]) == ("1:rides", 9, 7, 5)
    assert facts["totals"][0]["net"] == str(3 * (1849 + 1327 - 57 - 17 - 31))
    assert not verified(BUNDLE, None).trusted


@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
@settings(max_examples=300)
def test_no_byte_of_a_bundle_can_be_changed(at: int, mask: int) -> None:
    """Any one byte that is another one is caught, with the reader's own keys and without."""
    changed = BUNDLE[:at] + bytes([BUNDLE[at] ^ mask]) + BUNDLE[at + 1 :]
    broken(changed)
    broken(changed, None)


def test_no_byte_at_all_can_be_changed() -> None:
    """Each single byte, changed in its lowest bit or to another case, is caught."""
    for at, byte in enumerate(BUNDLE):
        for mask in (1, 32):
            broken(BUNDLE[:at] + bytes([byte ^ mask]) + BUNDLE[at + 1 :], None)


@given(st.integers(0, len(BUNDLE) - 1), st.binary(max_size=1))
@settings(max_examples=100)
def test_no_byte_of_a_bundle_can_be_lost_or_added(at: int, added: bytes) -> None:
    """A file that ends early, lacks a byte, or has one more, is caught."""
    broken(BUNDLE[:at], None)
    broken(BUNDLE[:at] + added + BUNDLE[at + (not added) :], None)


def swapped(lines: list[Any]) -> None:
    """Put the second lane's block before the first's."""
    lines[3:7] = [*lines[5:7], *lines[3:5]]


def twice(lines: list[Any]) -> None:
    """Count an entry twice."""
    lines.insert(5, lines[4])


def rehashed(lines: list[Any]) -> None:
    """Change a block and give it the hash that it then has."""
    lines[3]["block"]["root"] = "a" * 64
    lines[3]["hash"] = sha256(canonical(lines[3]["block"])).hexdigest()


def recut(lines: list[Any]) -> None:
    """Make the lane end somewhere else, under the root that the period then has."""
    lines[0]["ranges"][0]["last"] = 4
    lines[0]["root"] = period_root(1, [Range(**each) for each in lines[0]["ranges"]])


def another_lane(lines: list[Any]) -> None:
    """Take the second lane out of the period."""
    del lines[0]["ranges"][1]
    lines[0]["root"] = period_root(1, [Range(**each) for each in lines[0]["ranges"]])


def out_of_order(lines: list[Any]) -> None:
    """Tell the lanes in another order, under the root that the period then has."""
    lines[0]["ranges"].reverse()
    lines[0]["root"] = period_root(1, [Range(**each) for each in lines[0]["ranges"]])


def counted(lines: list[Any]) -> None:
    """Say a total that is not that of the lines, consistently."""
    lines[0]["totals"][0] |= {"receivable": "10000", "net": str(10000 - 93 - 222)}


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("line 1: says more than is understood of it", altered("0.more", 1)),
        ("line 1: says more than is understood of it", altered("0.totals.0.net", "1")),
        ("line 1: the period's root is not that of its lanes' cuts", altered("0.root", "f" * 64)),
        ("line 1: the period's root is not that of its lanes' cuts", altered("0.period", 2)),
        ("line 1: the period's root is not that of its lanes' cuts", altered("0.ranges.0.first", 1)),
        ("line 1: its lanes are not each there once and in order", out_of_order),
        ("line 1: cannot be read", altered("0.lines", "9")),
        ("line 2: a block should stand here", gone(1, 3)),
        ("line 2: block 000001.000000000001: stands where block 0 of lane 1 should", gone(1, 2)),
        ("line 3: block 000002.000000000000: the period has no such lane", another_lane),
        ("line 4: block 000001.000000000001: its content does not have its hash", altered("3.block.count", 3)),
        ("line 5: block 000001.000000000001: the part and its paths do not lead", rehashed),
        ("line 5: the part is not that of the partner", altered("4.part.party", "video")),
        ("line 5: block 000001.000000000001: the part and its paths do not lead", altered("4.salt", "00" * 16)),
        ("line 5: block 000001.000000000001: the part and its paths do not lead", altered("4.part.lines.0.3", "9")),
        ("line 5: block 000001.000000000001: the part and its paths do not lead", altered("4.within.index", 0)),
        ("line 5: block 000001.000000000001: the entry is said to be number 2 of 2", altered("4.within.index", 2)),
        ("line 5: block 000001.000000000001: the entry: the inclusion path is too short", altered("4.within.path", [])),
        ("line 5: says more than is understood", altered("4.more", 1)),
        ("line 6: entry 1 of block 000001.000000000001 stands behind entry 1", twice),
        ("line 6: block 000001.000000000001: stands behind block 000002.000000000001, which comes later", swapped),
        ("line 4: block 000001.000000000002: stands where block 1 of lane 1 should", gone(3, 6)),
        ("line 11: the statement has 9 lines, the blocks above 6", gone(6)),
        ("line 12: the statement that these lines make has another hash", altered("4.entry", "another name")),
        ("line 12: the statement that these lines make has another hash", altered("0.hash", "f" * 64)),
        ("line 12: the statement that these lines make has another hash", altered("0.late_before", None)),
        ("line 12: the statement has 10 lines, the blocks above 9", altered("0.lines", 10)),
        ("line 12: the lines do not add up to the statement's totals", counted),
        ("line 11: 1 of 2 lanes do not reach their cut", gone(10)),
        ("line 10: block 000001.000000000003: is not the cut that line 1 names", recut),
    ],
)  # fmt: skip
def test_the_first_thing_wrong_in_a_bundle_is_named(says: str, change: Callable[[list[Any]], Any]) -> None:
    """Whoever can sign can still not prove a statement that the journal does not make."""
    assert broken(rewritten(BUNDLE, change)).startswith(says)


def test_a_bundle_signed_by_a_stranger_is_refused() -> None:
    """Whoever has the exchange's keys is not deceived; whoever has not is told that nothing vouches for the signer."""
    assert SEAL.keys["keys"][0]["kid"] != STRANGER.kid
    assert "is by key" in broken(BUNDLE, {"keys": [STRANGER.as_dict(private=False)]})


def test_the_verifier_in_the_docs_reads_a_bundle(another: Callable[[bytes], str]) -> None:
    """A program written from the page takes what we take and refuses what we refuse."""
    for partner, late in (("rides", NOW + 2 * SECOND), ("video", None), ("delivery", NOW)):
        made = a_bundle(partner, late)
        assert verified(made).findings.facts["partner"] == partner
        assert another(made) == "ok, but for the signature\n"
    for change in (
        swapped, twice, rehashed, recut, another_lane, counted, gone(6), gone(10), altered("4.entry", "another name"),
        altered("0.late_before", None), altered("4.part.lines.0.3", "9"), altered("0.lines", 10),
    ):  # fmt: skip
        changed = rewritten(BUNDLE, change)
        broken(changed)
        assert another(changed).startswith("BROKEN line ")


# ---------------------------------------------------------------- of a real exchange


async def bundled(world: World, partner: str, number: int = 1) -> tuple[Statement, bytes]:
    """Bundle a partner's statement."""
    statement = await world.settle().statement(f"{number}:{partner}")
    assert statement is not None
    return statement, await whole(Evidence(world.database, world.keyring).bundle(statement, SEAL))


async def test_every_partner_proves_its_statement(example: World, another: Callable[[bytes], str]) -> None:
    """Of lanes in turn, in two periods: hash, lines, totals and root are the statement's, and nothing is of others."""
    other = await example.ledger()
    for ledger in (other, example.ledgers[0], other):
        await example.award("video", "ben", 500)
        await example.redeem("video", "ben", "rides/city", ledger)
    await example.settle().close(1)
    await example.award("rides", "cleo", 20)
    await example.redeem("rides", "cleo", "video/film", other)
    await example.award("video", "ben", 500)
    await example.redeem("video", "ben", "rides/city")
    await example.settle().close(2)
    for number, partners in ((1, ("delivery", "rides", "video")), (2, ("rides", "video"))):
        for partner in partners:
            statement, data = await bundled(example, partner, number)
            facts = verified(data).findings.facts
            assert (facts["hash"], facts["statement"]) == (statement.hash, statement.id)
            assert (facts["statement_lines"], facts["period_root"]) == (statement.line_count, statement.root)
            assert another(data) == "ok, but for the signature\n"
            parts = [line["part"] for line in map(orjson.loads, data.splitlines()) if "part" in line]
            assert {part["party"] for part in parts} == {partner}
    _, of_delivery = await bundled(example, "delivery")
    others = (await example.settle().statement("1:video"), await example.settle().statement("1:rides"))
    for each in others:
        assert each is not None
        for line in await example.settle().lines(each, limit=100):
            assert line.entry.encode() not in of_delivery
    assert b'"video"' not in of_delivery


async def test_what_the_journal_lost_is_named(example: World) -> None:
    """An altered entry is bundled as it is, and the place is told; a lost one cannot be."""
    await example.settle().close(1)
    await example.database["entries"].update_one({"benefit": "rides/airport"}, {"$inc": {"debits.0.fee": 1}})
    _, data = await bundled(example, "rides")
    assert "the part and its paths do not lead to its root" in broken(data)
    await example.database["entries"].delete_one({"benefit": "rides/airport"})
    _, data = await bundled(example, "rides")
    assert "the statement has" in broken(data)


def test_verifying_takes_no_more_memory_for_a_longer_bundle() -> None:
    """Of a file of megabytes a few dozen kilobytes are held at a time."""
    entries = [(1, [a_redemption(), an_entry()])] * 700
    blocks = chained(1, *entries, cut=2)
    ranges = [Range(1, 0, blocks[-1][0].seq, blocks[-1][0].hash)]
    data = file_of(*asyncio.run(written("rides", None, ranges, blocks)))
    assert len(data) > 500_000
    tracemalloc.start()
    verify(BytesIO(data).readline, FORMATS, check_signature)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(data) / 5
