"""The files that the exchange hands out: sound ones are proved, and of others the first thing wrong is named."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from msgspec.structs import replace

from exchange.errors import NotFound, StoreUnavailable
from exchange.evidence import Evidence
from exchange.journal import EXCHANGE, GENESIS, Block, BlockKind, Entry, canonical
from exchange.ledger import Ledger
from exchange.proof import inclusion, journal_file
from exchange.proof.journal_file import Span
from exchange.proof.sealed import Broken, Keys, Seal, Verified, sealed, verify
from exchange.proof.verifying import FORMATS
from exchange.settlement.clearing import Settlement, entry_name
from exchange.settlement.period import Period, PeriodStatus, Range, period_root
from exchange.wallet import Wallet
from partners.oauth.seals import check_signature, seal_of
from tests.examples import DOCS
from tests.exchange.conftest import KEYRING, House, known
from tests.exchange.speech import NOW, SALT, agreement, award, benefit, decided, redeem
from tests.exchange.test_journal import a_redemption, every_kind


def a_key() -> ECKey:
    key = ECKey.generate_key("P-256")
    return ECKey.import_key(key.as_pem(private=True), {"kid": key.thumbprint()})


SIGNING, STRANGER = a_key(), a_key()
SEAL = seal_of(SIGNING)


async def whole(lines: AsyncIterator[bytes]) -> bytes:
    return b"".join([line async for line in lines])


def file_of(header: dict[str, Any], body: Sequence[Any], seal: Seal = SEAL) -> bytes:
    """Write a sealed file of these lines, without a database."""

    async def lines() -> AsyncIterator[Any]:
        for each in body:
            yield each

    return asyncio.run(whole(sealed(header, lines(), seal)))


def verified(data: bytes, keys: Keys | None = SEAL.keys) -> Verified:
    return verify(io.BytesIO(data).readline, FORMATS, check_signature, keys)


def broken(data: bytes, keys: Keys | None = SEAL.keys) -> str:
    """Say what is wrong with a file: it must be."""
    with pytest.raises(Broken) as raised:
        verified(data, keys)
    return str(raised.value)


def rewritten(data: bytes, change: Callable[[list[Any]], Any], seal: Seal = SEAL) -> bytes:
    """Return a file whose lines were changed by somebody who can sign: only what the lines say can show it."""
    lines = [orjson.loads(line) for line in data.splitlines()]
    lines.pop()
    lines[0].pop("keys")
    change(lines)
    body = b"".join(canonical(line) + b"\n" for line in [{**lines[0], "keys": seal.keys}, *lines[1:]])
    end = {"format": lines[0]["format"], "lines": len(lines), "sha256": sha256(body).hexdigest()}
    return body + canonical({**end, "signature": seal.sign(canonical(end))}) + b"\n"


# ---------------------------------------------------------------- a journal that has been through something


def a_chain(*contents: Sequence[Entry] | BlockKind, lane: int = 1) -> list[tuple[Block, Sequence[Entry]]]:
    """Chain blocks of these entries or of these kinds behind a genesis block."""
    chain: list[tuple[Block, Sequence[Entry]]] = []
    before: Block | None = None
    for each in (BlockKind.GENESIS, *contents):
        kind, entries = (each, ()) if isinstance(each, BlockKind) else (BlockKind.ENTRIES, each)
        before = Block.seal(
            lane=lane, seq=0 if before is None else before.seq + 1, kind=kind, at=NOW, salt=SALT, entries=entries,
            period=1 if before is None else before.period_after, prev=GENESIS if before is None else before.hash,
        )  # fmt: skip
        chain.append((before, entries))
    return chain


def an_entry(points: int = 10) -> Entry:
    return decided(award("video", points), Wallet("w")).entry


def a_journal() -> bytes:
    """Two lanes, a void block, a cut, a closed period; lines 2 to 14."""
    one = a_chain([a_redemption(), an_entry()], BlockKind.VOID, [an_entry(3)], BlockKind.CUT, [an_entry(4)])
    two = a_chain(BlockKind.CUT, lane=2)
    body: list[Any] = []
    for block, entries in (*one, *two):
        body += [journal_file.block_line(block), *(journal_file.entry_line(entry) for entry in entries)]
    cuts = (Range(1, 0, 4, one[4][0].hash), Range(2, 0, 1, two[1][0].hash))
    closed = Period(number=1, status=PeriodStatus.CLOSED, opened_at=NOW, ranges=cuts, root=period_root(1, cuts))
    return file_of(journal_file.header(NOW, [Span(1, 0, 5), Span(2, 0, 1)]), [*body, journal_file.period_line(closed)])


JOURNAL = a_journal()


async def lived(house: House) -> tuple[Ledger, str]:
    """Live a little: a lane taken over from a dead process, a closed period, an open one; return a redemption's id."""
    first, second = await house.ledger(), await house.ledger()
    await house.agree(
        agreement("video", "rides", 8765, fee=310, commission=170), agreement("delivery", "rides", 4321, fee=130)
    )
    trip = benefit("rides/trip", 518)
    await house.publish(trip)
    await known(first, "video", "delivery", "rides")
    await first.submit(award("video", 211, expires=await house.soon(days=1)))
    await second.submit(award("delivery", 307, expires=await house.soon(days=2)))
    taken = (await first.submit(redeem(trip, through="delivery"))).entry.id
    await house.db["lanes"].update_one({"_id": 1}, [{"$set": {"lease_until": {"$subtract": ["$$NOW", 1]}}}])
    thief = await house.ledger()
    await thief.submit(award("rides", 5))
    await Settlement(house.db, KEYRING).close(1)
    await thief.submit(award("rides", 6))
    assert await house.count("blocks", kind="VOID") == 1
    return thief, taken


# ---------------------------------------------------------------- the journal


async def test_a_real_journal_is_proved_from_the_file_alone(house: House) -> None:
    """Lanes, heads, counts and period roots are those of the database, through void block, take-over and cut."""
    await lived(house)
    data = await whole(Evidence(house.db, KEYRING).journal(SEAL))
    found = verified(data)
    assert (found.trusted, found.signer) == (True, SIGNING.kid)
    facts = found.findings.facts
    assert (facts["blocks"], facts["entries"]) == (await house.count("blocks"), await house.count("entries"))
    heads = [await house.books.head(lane["lane"]) for lane in facts["lanes"]]
    assert [(lane["last"], lane["head"]) for lane in facts["lanes"]] == [(head.seq, head.hash) for head in heads]
    period = await Settlement(house.db, KEYRING).period(1)
    assert period is not None
    assert facts["periods"] == [{"number": 1, "root": period.root, "lanes": 2, "lanes_here": 2}]
    # The rest is as it was: the same journal again is the same lines.
    again = await whole(Evidence(house.db, KEYRING).journal(SEAL))
    assert again.splitlines()[1:-1] == data.splitlines()[1:-1]


async def test_files_of_one_lane_join_to_the_whole_of_it(house: House) -> None:
    """A file that begins in the middle names the head with which the one before it ended."""
    thief, _ = await lived(house)
    evidence = Evidence(house.db, KEYRING)
    before = verified(await whole(evidence.journal(SEAL, lane=1))).findings.facts["lanes"][0]
    await thief.submit(award("rides", 7))
    data = await whole(evidence.journal(SEAL, 1, before["last"] + 1))
    assert orjson.loads(data.splitlines()[1])["block"]["prev"] == before["head"]
    assert verified(data).findings.facts["periods"] == [], "its cut was in the file before"
    middle = verified(await whole(evidence.journal(SEAL, 1, 2))).findings.facts
    assert [(each["number"], each["lanes"], each["lanes_here"]) for each in middle["periods"]] == [(1, 2, 1)]


async def test_what_is_not_there_cannot_be_exported(house: House) -> None:
    """No journal, no such lane and no such block are refused in a sentence."""
    evidence = Evidence(house.db, KEYRING)
    for arguments, says in (((None, 0), "empty"), ((9, 0), "the lanes are 1"), ((1, 99), "the last one is 0")):
        if arguments[0]:
            await house.ledger()
        with pytest.raises(NotFound, match=says):
            await whole(evidence.journal(SEAL, *arguments))


async def test_what_the_database_lost_is_named_in_the_file_and_by_the_chain(house: House) -> None:
    """An altered amount, a lost entry and a lost block are exported as they are, and both judges name the place."""
    await lived(house)
    evidence = Evidence(house.db, KEYRING)
    judges, wrong = await evidence.judge_chain()
    assert ([judge.lane for judge in judges], wrong) == ([1, 2], None)
    entry = await house.db["entries"].find_one({"lane": 1, "kind": "AWARD"})
    assert entry is not None
    place = f"block {entry['lane']:06d}.{entry['seq']:012d}"
    await house.db["entries"].update_one({"_id": entry["_id"]}, {"$set": {"detail": {"reason": "another"}}})
    data = await whole(evidence.journal(SEAL))
    assert f"{place}: its entries do not have its root" in broken(data)
    _, wrong = await evidence.judge_chain()
    assert wrong is not None
    assert wrong.what == f"{place}: its entries do not have its root"
    await house.db["entries"].delete_one({"_id": entry["_id"]})
    assert "of its entries are missing here" in broken(await whole(evidence.journal(SEAL)))
    await house.db["blocks"].delete_one({"lane": 1, "seq": entry["seq"]})
    assert f"stands where {entry['seq']} is missing" in broken(await whole(evidence.journal(SEAL)))
    odd = {"$set": {"kind": "ODD"}}
    await house.db["blocks"].update_one({"lane": 2, "seq": 0}, odd, bypass_document_validation=True)
    with pytest.raises(StoreUnavailable, match=r"block 000002\.000000000000 cannot be read"):
        await whole(evidence.journal(SEAL, 2))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(JOURNAL) - 1), st.integers(1, 255))
def test_no_byte_of_a_journal_can_be_changed(at: int, mask: int) -> None:
    """Any one byte that is another one is caught, with the reader's own keys and without."""
    changed = JOURNAL[:at] + bytes([JOURNAL[at] ^ mask]) + JOURNAL[at + 1 :]
    for keys in (SEAL.keys, None):
        said = broken(changed, keys)
        assert int(said.removeprefix("line ").split(":")[0]) <= JOURNAL.count(b"\n") + 1


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(JOURNAL) - 1), st.sampled_from([b"", b"\n", b" ", b"{}\n"]))
def test_no_byte_of_a_journal_can_be_lost_or_added(at: int, added: bytes) -> None:
    """A file that ends early, lacks a byte, or has one more, is caught."""
    broken(JOURNAL[:at], None)
    broken(JOURNAL[:at] + added + JOURNAL[at + (not added) :], None)


def altered(path: str, value: Any) -> Callable[[list[Any]], None]:
    """Put a value at a path such as `2.entry.id` of the lines, the first line being 0."""

    def change(lines: list[Any]) -> None:
        *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        at: Any = lines
        for part in parts:
            at = at[part]
        at[last] = value

    return change


def gone(first: int, last: int | None = None) -> Callable[[list[Any]], None]:
    def change(lines: list[Any]) -> None:
        del lines[first : (last or first) + 1]

    return change


def releafed(lines: list[Any]) -> None:
    """Change an entry and give it the leaf that it then has."""
    entry = replace(Entry.from_whole(lines[3]["entry"], bytes.fromhex(lines[3]["salt"])), detail={"reason": "x"})
    lines[3] = journal_file.entry_line(entry)


def rehashed(lines: list[Any]) -> None:
    """Change a block and give it the hash that it then has."""
    lines[2]["block"]["root"] = "f" * 64
    lines[2]["hash"] = sha256(canonical(lines[2]["block"])).hexdigest()


def reordered(lines: list[Any]) -> None:
    lines[3], lines[4] = lines[4], lines[3]


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("line 4: block 000001.000000000001: entry 0: its content does not have its leaf",
         altered("3.entry.detail", {"reason": "x"})),
        ("line 4: block 000001.000000000001: entry 0: cannot be read as one (entry",
         altered("3.entry.postings.0.3", "-212")),
        ("line 4: says more than is understood of it", altered("3.entry.more", "x")),
        ("line 3: block 000001.000000000001: its entries do not have its root", releafed),
        ("line 3: block 000001.000000000001: its entries do not have its root", reordered),
        ("line 3: block 000001.000000000001: its content does not have its hash", altered("2.block.count", 3)),
        ("line 3: block 000001.000000000001: its entries do not have its root", rehashed),
        ("line 3: block 000001.000000000001: its sums are not those of its entries", altered("2.sums.0.3", "5")),
        ("line 3: block 000001.000000000001: its sums do not have their root", altered("2.sums_salt", "00" * 16)),
        ("line 3: cannot be read", altered("2.block.seq", "1")),
        ("line 3: cannot be read", altered("2.block.seq", -1)),
        ("line 3: cannot be read", altered("2.block.kind", "ODD")),
        ("line 5: block 000001.000000000001: 1 of its entries are missing here", gone(4)),
        ("line 6: block 000001.000000000003: stands where 2 is missing", gone(5)),
        ("line 2: block 000001.000000000001: stands where 0 is missing", gone(1)),
        ("line 12: block 000002.000000000001: stands where 0 is missing", gone(11)),
        ("line 13: block 1 of lane 2 should stand here", gone(12)),
        ("line 14: cannot be read (KeyError: 'range", altered("13", {"period": 1, "root": ""})),
        ("line 14: a period, or the end, should stand here", altered("13", {"odd": 1})),
        ("line 14: period 1: its root is not that of its lanes' cuts", altered("13.root", "f" * 64)),
        ("line 14: period 1: says that lane 1 is cut at 5, which the lane is not", altered("13.ranges.0.last", 5)),
        ("line 14: period 1: says that lane 1 begins at 1, it begins at 0", altered("13.ranges.0.first", 1)),
        ("line 14: period 1: lane 2 is not in it, and has blocks of it", lambda lines: lines[13]["ranges"].pop()),
        ("line 14: period 1: its lanes are not each there once", lambda lines: lines[13]["ranges"].reverse()),
        ("line 14: period 2: says that lane 1 is cut at 4", altered("13.period", 2)),
        ("line 15: period 1 stands behind period 1", lambda lines: lines.append(lines[13])),
        ("line 12: block 000002.000000000000 stands where block 6 of lane 1 should", altered("0.lanes.0.last", 6)),
        ("line 10: block 000001.000000000005 stands where block 0 of lane 2 should", altered("0.lanes.0.last", 4)),
        ("line 1: announces no lane", altered("0.lanes", [])),
        ("line 1: announces a lane without blocks", altered("0.lanes.0.first", 9)),
        ("line 1: says more than is understood of it", altered("0.more", 1)),
        ("line 1: is of no format that can be verified here: 'odd'", altered("0.format", "odd")),
        ("line 1: is of no format that can be verified here: ['odd']", altered("0.format", ["odd"])),
        ("line 1: cannot be read", altered("0.at", "yesterday")),
    ],
)  # fmt: skip
def test_the_first_thing_wrong_is_named_with_its_place(says: str, change: Callable[[list[Any]], Any]) -> None:
    """Even the exchange itself, which can sign anew, cannot change a line without its being named."""
    assert broken(rewritten(JOURNAL, change)).startswith(says)


def test_a_file_signed_by_a_stranger_is_refused() -> None:
    """Whoever has the exchange's keys is not deceived; whoever has not is told that nothing vouches for the signer."""
    stranger = rewritten(JOURNAL, lambda _: None, seal_of(STRANGER))
    assert f"is by key {STRANGER.kid}, which is not among those given" in broken(stranger)
    found = verified(stranger, None)
    assert (found.trusted, found.signer) == (False, STRANGER.kid)
    named_ours = seal_of(ECKey.import_key(STRANGER.as_pem(private=True), {"kid": SIGNING.kid or ""}))
    assert "was not made over this content" in broken(rewritten(JOURNAL, lambda _: None, named_ours))


def test_a_signature_is_of_one_file_in_one_form() -> None:
    """One of another file, of an access token's type, or with its content attached, is none."""
    lines = JOURNAL.splitlines(keepends=True)
    end = orjson.loads(lines[-1])
    head, _, tail = end["signature"].split(".")
    others = [
        SEAL.sign(b"other"), f"{head}.e30.{tail}", f"{head}.{tail}", "", f"{head}..{tail[:-1]}", f"{head}..{tail}=",
        f"eyJhbGciOiJub25lIn0..{tail}",
    ]  # fmt: skip
    for other in others:
        said = broken(b"".join(lines[:-1]) + canonical({**end, "signature": other}) + b"\n")
        assert said.startswith("line 15: signature: "), said


@pytest.mark.parametrize(
    ("says", "data"),
    [
        ("line 1: the file ends here", b""), ("line 1: is not ended by a line feed", b"{}"),
        ("line 1: is no JSON", b"statement,hash\n"), ("line 1: is no JSON object", b"[]\n"),
        ("line 1: is no JSON", b"\xff\xfe\n"), ("line 1: is no JSON", b'{"a":' * 300 + b"1" + b"}" * 300 + b"\n"),
        ("line 1: is not in canonical form", b'{"b": 1}\n'), ("line 1: is not in canonical form", b'{"a":1,"a":2}\n'),
        ("line 1: is of no format that can be verified here: None", b"{}\n"),
        ("line 1: cannot be read", b'{"format":"benefits-exchange/journal/1"}\n'),
        ("line 1: cannot be read", b'{"format":"benefits-exchange/inclusion/1"}\n'),
    ],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_in_a_sentence(says: str, data: bytes) -> None:
    """Any bytes at all end in a sentence, never in a crash."""
    assert broken(data).startswith(says)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=5,
), st.integers(0, 12), st.data())  # fmt: skip
def test_whatever_stands_in_a_line_there_is_a_sentence_for_it(odd: Any, number: int, data: st.DataObject) -> None:
    """Any value of a line, replaced by anything else that JSON has, is a broken file and no crash."""

    def change(lines: list[Any]) -> None:
        name = data.draw(st.sampled_from(sorted(lines[number])))
        if lines[number][name] == odd:
            lines[number][name] = [odd]
        else:
            lines[number][name] = odd

    broken(rewritten(JOURNAL, change))


def test_the_salt_of_a_block_that_sums_to_nothing_is_a_salt() -> None:
    """No hash tells of it, for there is nothing that it salts: so its length does."""

    def change(lines: list[Any]) -> None:
        next(line for line in lines if line.get("sums") == [])["sums_salt"] = ""

    assert "the salt of a block's sums has 16 bytes" in broken(rewritten(JOURNAL, change))


def test_verifying_takes_no_more_memory_for_a_longer_file() -> None:
    """Of a file of megabytes a few dozen kilobytes are held at a time."""
    chain = a_chain(*([an_entry(n + 1), an_entry(n + 2)] for n in range(2_000)))
    body: list[Any] = []
    for block, entries in chain:
        body += [journal_file.block_line(block), *(journal_file.entry_line(entry) for entry in entries)]
    data = file_of(journal_file.header(NOW, [Span(1, 0, 2_000)]), body)
    read = io.BytesIO(data).readline
    tracemalloc.start()
    try:
        verify(read, FORMATS, check_signature)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(data) / 10


def test_every_kind_of_entry_is_read_back_from_its_line() -> None:
    """What the exchange's part and the salt say is the whole entry."""
    for entry in every_kind():
        again = Entry.from_whole(orjson.loads(canonical(entry.part(EXCHANGE))), entry.salt)
        assert canonical(again.part(EXCHANGE)) == canonical(entry.part(EXCHANGE))
        assert again.leaf() == entry.leaf()


# ---------------------------------------------------------------- one entry


async def proof(house: House, entry: str, partner: str) -> bytes:
    return await whole(Evidence(house.db, KEYRING).inclusion(entry, partner, SEAL))


async def test_every_party_of_every_entry_can_prove_its_part(house: House) -> None:
    """Each opens its own leaf; of a closed period the proof leads to the root that its statement names."""
    await lived(house)
    period = await Settlement(house.db, KEYRING).period(1)
    assert period is not None
    roots = set()
    async for row in house.db["entries"].find():
        found = await house.books.first_round([row["_id"]], [], [])
        entry = found.entries[row["_id"]]
        for party in entry.parties:
            facts = verified(await proof(house, entry.id, party)).findings.facts
            assert (facts["partner"], facts["part"]) == (party, orjson.loads(canonical(entry.part(party))))
            assert facts["block"] == f"{row['lane']:06d}.{row['seq']:012d}"
            roots.add((facts["period"], facts["period_root"]))
    assert roots == {(1, period.root), (2, None)}


async def test_a_proof_tells_nothing_of_the_others(house: House) -> None:
    """No figure, name, or id of another party is in the bytes; the provider sees those who pay it, and no more."""
    _, taken = await lived(house)
    figures = {
        "video": ['"-211"', '"-1849"'], "delivery": ['"-307"', '"-1327"'], "commission": ['"31"'],
        "fees": ['"57"', '"17"'],
    }  # fmt: skip
    sees = {"video": {"video"}, "delivery": {"delivery", "commission"}}
    entry = (await house.books.first_round([taken], [], [])).entries[taken]
    secrets = [
        entry.id, entry.wallet, entry.fingerprint or "none", entry.salt.hex(), *(p.lot for p in entry.postings if p.lot)
    ]  # fmt: skip
    for party, seen in sees.items():
        text = (await proof(house, taken, party)).decode()
        for whose, numbers in figures.items():
            assert all((number in text) == (whose in seen) for number in numbers), (party, whose)
        (other,) = {"video", "delivery"} - {party}
        assert f'"{other}"' not in text
        for secret in (*secrets, *(entry.part_salt(each) for each in entry.parties if each != party)):
            assert secret not in text
    rides = (await proof(house, taken, "rides")).decode()
    assert not [secret for secret in secrets if secret in rides]


async def test_a_proof_is_found_by_the_name_in_the_statement(house: House) -> None:
    """A partner's own name of an entry finds it, another's does not, nor an entry in which it has no part."""
    _, taken = await lived(house)
    name = entry_name(KEYRING, taken, "video")
    lines = (await Settlement(house.db, KEYRING).statements(1, partner="video"))[0]
    statement = await Settlement(house.db, KEYRING).lines(lines)
    assert name in [line.entry for line in statement]
    data = await proof(house, name, "video")
    assert verified(data).findings.facts["entry"] == name
    assert data.splitlines()[:-1] == (await proof(house, taken, "video")).splitlines()[:-1]
    alone = (await (await house.ledger()).submit(award("rides", 1))).entry.id
    for entry, partner in ((name, "delivery"), (alone, "video"), ("none", "video"), (taken, "none")):
        with pytest.raises(NotFound, match=f"there is no entry {entry} in which {partner} has a part"):
            await proof(house, entry, partner)


async def test_a_long_way_to_the_cut_is_walked_in_ranges(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the way is cut into reads, the links of the file are those of the lane."""
    _, taken = await lived(house)
    whole_way = await proof(house, taken, "video")
    monkeypatch.setattr("exchange.evidence.BLOCKS_AT_ONCE", 1)
    assert (await proof(house, taken, "video")).splitlines()[:-1] == whole_way.splitlines()[:-1]


ENTRY = a_redemption()


def a_proof(party: str = "video") -> bytes:
    """Prove the part of a redemption between two other entries, two blocks before the cut, in lane 2 of three."""
    entries = [an_entry(1), ENTRY, an_entry(2)]
    chain = a_chain(entries, BlockKind.VOID, BlockKind.CUT, lane=2)
    blocks = [block for block, _ in chain]
    cuts = (Range(1, 0, 7, "a" * 64), Range(2, 0, 3, blocks[3].hash), Range(3, 4, 9, "c" * 64))
    closed = Period(number=1, status=PeriodStatus.CLOSED, opened_at=NOW, ranges=cuts, root=period_root(1, cuts))
    return file_of(inclusion.header("name", party), [
        inclusion.part_line(entries[1], party), inclusion.block_line(blocks[1], entries, 1),
        inclusion.link_line(blocks[2]), inclusion.link_line(blocks[3]), inclusion.period_line(closed, 2),
    ])  # fmt: skip


PROOF = a_proof()


def test_no_byte_of_a_proof_can_be_changed() -> None:
    """Each single byte, changed in its lowest bit or to another case, is caught."""
    assert verified(PROOF).findings.facts["part"]["party"] == "video"
    for at, byte in enumerate(PROOF):
        for mask in (1, 32):
            broken(PROOF[:at] + bytes([byte ^ mask]) + PROOF[at + 1 :], None)


def relinked(lines: list[Any]) -> None:
    """Put another block in the place of a link, with the hash that it has."""
    lines[3]["block"]["at"] = "2026-03-01T12:00:00.001Z"
    lines[3]["hash"] = sha256(canonical(lines[3]["block"])).hexdigest()


def others_part(lines: list[Any]) -> None:
    lines[1]["part"]["party"] = "rides"


def as_a_leaf(lines: list[Any]) -> None:
    """Show the party's leaf as if it were the entry's."""
    lines[1] |= {"index": 0, "size": 1, "path": []}


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("line 2: the part is not that of the partner in line 1", others_part),
        ("line 3: block 000002.000000000001: the part and its paths do not lead", altered("1.part.lines.0.2", "-212")),
        ("line 3: block 000002.000000000001: the part and its paths do not lead", altered("1.salt", "00" * 16)),
        ("line 3: block 000002.000000000001: the part and its paths do not lead", altered("1.path.0", "0" * 64)),
        ("line 3: block 000002.000000000001: the part and its paths do not lead", as_a_leaf),
        ("line 3: block 000002.000000000001: the part and its paths do not lead", altered("2.index", 0)),
        ("line 2: the part is said to be number 4 of 4", altered("1.index", 4)),
        ("line 2: the part: the inclusion path is too short", altered("1.path", [])),
        ("line 2: the part: the inclusion path is too long", lambda lines: lines[1]["path"].append("0" * 64)),
        ("line 2: the part: the path has something that is no hash", altered("1.path.0", "00")),
        ("line 2: says more than is understood", altered("1.more", "x")),
        ("line 2: cannot be read", altered("1.index", True)),
        ("line 3: block 000002.000000000001: its content does not have its hash", altered("2.block.count", 2)),
        ("line 4: block 000002.000000000002: its content does not have its hash", altered("3.hash", "0" * 64)),
        ("line 5: block 000002.000000000003: does not name the block before it", relinked),
        ("line 4: block 000002.000000000003: stands where block 2 of lane 2 should", gone(3)),
        ("line 5: period 1: the blocks do not lead to the cut", gone(4)),
        ("line 6: the period to which these blocks lead is missing here", gone(5)),
        ("line 6: period 1: the blocks do not lead to the cut", altered("5.range.cut", "f" * 64)),
        ("line 6: period 2: the blocks do not lead to the cut", altered("5.period", 2)),
        ("line 6: period 1: the range begins behind the entry's block", altered("5.range.first", 2)),
        ("line 6: period 1: the range and its path do not lead to its root", altered("5.range.first", 1)),
        ("line 6: period 1: the range and its path do not lead to its root", altered("5.root", "f" * 64)),
        ("line 6: period 1: the range is said to be number 3 of 3", altered("5.index", 3)),
        ("line 7: stands behind the period's root", lambda lines: lines.append(lines[5])),
        ("line 2: the part is missing here", gone(1, 5)), ("line 3: the block is missing here", gone(2, 5)),
        ("line 1: says more than is understood of it", altered("0.more", 1)),
    ],
)  # fmt: skip
def test_the_first_thing_wrong_in_a_proof_is_named(says: str, change: Callable[[list[Any]], Any]) -> None:
    """Whoever can sign can still not prove what is not in the journal."""
    assert broken(rewritten(PROOF, change)).startswith(says)


def test_a_proof_of_an_open_period_ends_at_its_block() -> None:
    """While there is no root the signature vouches for the block, and the proof says so."""
    found = verified(rewritten(PROOF, gone(3, 5)))
    assert found.findings.facts["period_root"] is None
    assert "only the signature vouches" in found.findings.told[-1]


def test_a_leaf_is_hashed_as_the_documentation_says() -> None:
    """The first step, done by hand: the bytes of part and salt as they stand in the file, behind a zero byte."""
    line = PROOF.splitlines()[1]
    part = line[line.index(b'"part":') : line.index(b',"path":')]
    salt = line[line.index(b'"salt":') : line.index(b',"size":')]
    assert sha256(b"\x00{" + part + b"," + salt + b"}").digest() == ENTRY.part_leaf("video")


# ---------------------------------------------------------------- a verifier that is not ours


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], str]:
    """Give the verifier of docs/verify.md, run by a Python without any package; returns what it says."""
    folder = tmp_path_factory.mktemp("verify")
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "verify.md").read_text(), re.DOTALL)
    (folder / "verify.py").write_text(program)

    def run(data: bytes) -> str:
        (folder / "file.jsonl").write_bytes(data)
        command = [sys.executable, "-I", "-S", str(folder / "verify.py"), str(folder / "file.jsonl")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def test_the_verifier_in_the_docs_agrees(another: Callable[[bytes], str]) -> None:
    """What the page says is enough: a program written from it takes what we take and refuses what we refuse."""
    for data, change in (
        (JOURNAL, altered("3.entry.detail", {"reason": "x"})), (JOURNAL, releafed), (JOURNAL, rehashed),
        (JOURNAL, reordered), (JOURNAL, gone(4)), (JOURNAL, gone(5)), (JOURNAL, altered("13.root", "f" * 64)),
        (JOURNAL, altered("3.entry.postings.0.3", "-212")), (PROOF, others_part), (PROOF, relinked), (PROOF, gone(3)),
        (PROOF, altered("1.salt", "00" * 16)), (PROOF, altered("5.root", "f" * 64)), (PROOF, as_a_leaf),
    ):  # fmt: skip
        changed = rewritten(data, change)
        broken(changed)
        assert another(changed).startswith("BROKEN line ")
    for data in (JOURNAL, PROOF, rewritten(PROOF, gone(3, 5))):
        verified(data)
        assert another(data) == "ok, but for the signature\n"
        assert another(data + b"{}\n").startswith("BROKEN")


async def test_the_verifier_in_the_docs_takes_a_real_journal(house: House, another: Callable[[bytes], str]) -> None:
    """And every kind of entry besides."""
    _, taken = await lived(house)
    assert another(await whole(Evidence(house.db, KEYRING).journal(SEAL))) == "ok, but for the signature\n"
    assert another(await proof(house, taken, "rides")) == "ok, but for the signature\n"


def test_the_verifier_in_the_docs_knows_every_kind_of_entry(another: Callable[[bytes], str]) -> None:
    """No kind of entry has a part that the page does not describe."""
    entries = [replace(entry, at=NOW) for entry in every_kind()]
    body: list[Any] = []
    for block, inside in a_chain(entries):
        body += [journal_file.block_line(block), *(journal_file.entry_line(entry) for entry in inside)]
    data = file_of(journal_file.header(NOW, [Span(1, 0, 1)]), body)
    assert verified(data).findings.facts["entries"] == len(entries)
    assert another(data) == "ok, but for the signature\n"
