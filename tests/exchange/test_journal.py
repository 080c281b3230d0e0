from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from exchange.benefit import Fulfilment
from exchange.decisions import Decision
from exchange.journal import (
    EXCHANGE,
    GENESIS,
    Account,
    Block,
    BlockKind,
    Entry,
    EntryKind,
    LineKind,
    Obligation,
    Owed,
    Posting,
    Sums,
    block_id,
    canonical,
    inclusion_path,
    leaf_hash,
    merkle_root,
    milliseconds,
    points_of,
    root_from_path,
)
from exchange.redemption import Step
from exchange.store.documents import block_document, block_from, entry_document, entry_from
from exchange.wallet import Take
from tests.exchange.speech import (
    NOW,
    SALT,
    act,
    agreement,
    agreements,
    award,
    awarded,
    benefit,
    by_reference,
    day,
    decided,
    enrol,
    expire,
    link,
    moves,
    redeem,
    reserve,
    unlink,
)

# The test tree of Certificate Transparency, as its reference implementations have it: the roots of its first N leaves.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def a_redemption() -> Entry:
    """700 points of three issuers at rides, brought by the app of delivery."""
    wallet = awarded(
        award("video", 211, expires=day(1)), award("delivery", 307, expires=day(2)), award("rides", 1000, reason="ride")
    )
    book = agreements(
        agreement("video", "rides", 8765, fee=310, commission=170), agreement("delivery", "rides", 4321, fee=130)
    )
    trip = benefit("rides/trip", 700)
    return decided(redeem(trip, through="delivery"), wallet, book, of=trip).entry


def every_kind() -> list[Entry]:
    """Return one entry of each kind, as decisions make them."""
    wallet = awarded(award("video", 100, expires=day(1)))
    linked = decided(link("rides", wallet.id, daily_limit=50), wallet).wallet
    of = benefit("rides/seat", 10, fulfilment=Fulfilment.PARTNER_CALL)
    book = agreements(agreement("video", "rides", 8765, fee=310, commission=170))
    steps: list[Entry] = []

    def life(begun: Decision, *acts: tuple[Step, int]) -> None:
        decision = begun
        for step, quantity in acts:
            steps.append(decision.entry)
            now = NOW if step is not Step.LAPSE else day(1)
            made = decision.redemption
            decision = decided(act(step, made, quantity, reason="ü"), decision.wallet, book, redemption=made, of=of,
                               now=now)  # fmt: skip
        steps.append(decision.entry)

    held = decided(reserve(of, 3), wallet, book, of=of)
    life(held, (Step.CONFIRM, 2), (Step.FULFIL, 2), (Step.REVERSE, 1))
    life(held, (Step.CANCEL, 3))
    life(held, (Step.LAPSE, 3))
    life(decided(redeem(of, 3), wallet, book, of=of), (Step.FAIL, 3))
    assert {entry.kind for entry in steps} >= {EntryKind(step.value) for step in Step}
    return [
        *steps,
        decided(enrol("video"), wallet).entry,
        decided(award("video", 100, expires=day(1), reason='"ü\n'), wallet).entry,
        decided(link("rides", wallet.id, daily_limit=50), wallet).entry,
        decided(unlink("rides", wallet.id), linked).entry,
        decided(expire(wallet.lots[0].id, wallet.id), wallet, now=day(2)).entry,
        a_redemption(),
    ]


# Trees


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    """The root of the first N leaves is the one that RFC 9162's reference implementations compute."""
    assert merkle_root([leaf_hash(leaf) for leaf in CT_LEAVES[:size]]).hex() == CT_ROOTS[size]


def test_an_audit_path_is_that_of_certificate_transparency() -> None:
    """The path of the sixth of eight leaves is the one of the reference implementation."""
    leaves = [leaf_hash(leaf) for leaf in CT_LEAVES]
    assert [step.hex() for step in inclusion_path(leaves, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@pytest.mark.parametrize("size", range(1, 20))
def test_every_leaf_leads_to_the_root_and_no_other_does(size: int) -> None:
    """Each inclusion path verifies for its leaf and place, and for no other leaf, place, or length of path."""
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    root = merkle_root(leaves)
    for place in range(size):
        path = inclusion_path(leaves, place)
        assert root_from_path(leaves[place], place, size, path) == root
        assert root_from_path(leaf_hash(b"other"), place, size, path) != root
        for step in range(len(path)):
            forged = [*path[:step], leaf_hash(b"forged"), *path[step + 1 :]]
            assert root_from_path(leaves[place], place, size, forged) != root
        for elsewhere in set(range(size)) - {place}:
            try:
                assert root_from_path(leaves[place], elsewhere, size, path) != root
            except ValueError:
                continue  # another place may need a path of another length
        with pytest.raises(ValueError, match="too long"):
            root_from_path(leaves[place], place, size, [*path, root])
        if path:
            with pytest.raises(ValueError, match="too short"):
                root_from_path(leaves[place], place, size, path[:-1])


# Hashing


def test_what_is_hashed_is_rfc_8785() -> None:
    """Everything the journal hashes is byte for byte what a general RFC 8785 encoder writes."""
    hashed: list[Any] = []
    for entry in every_kind():
        hashed += [entry.part(party) for party in entry.parties]
        hashed += Sums.of([entry]).rows()
    for value in hashed:
        assert canonical(value) == rfc8785.dumps(value)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.text(max_size=20) | st.integers(-(2**53) + 1, 2**53 - 1),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_canonical_is_rfc_8785_of_any_text(value: Any) -> None:
    """A reason or SKU with quotes, controls or emoji is written as RFC 8785 writes it."""
    assert canonical(value) == rfc8785.dumps(value)


def test_times_are_hashed_to_the_millisecond_in_utc() -> None:
    """A time has the one form in which it is stored, hashed and printed."""
    assert milliseconds(NOW.replace(microsecond=7_999)) == "2026-03-01T12:00:00.007Z"


# Entries


def test_a_redemption_says_who_gave_what_to_whom() -> None:
    """The postings of one redemption, by hand: 211 x 8.765 = 1849, 307 x 4.321 = 1327 (3175.962 in all, so 3176)."""
    assert moves(a_redemption()) == [
        "member -> video REDEEMED 211",
        "member -> delivery REDEEMED 307",
        "member -> rides REDEEMED 182",
        "video -> rides REDEMPTIONS 1849 EUR",
        "rides -> exchange FEES 57 EUR",
        "rides -> delivery COMMISSIONS 31 EUR",
        "delivery -> rides REDEMPTIONS 1327 EUR",
        "rides -> exchange FEES 17 EUR",
    ]


def test_an_unbalanced_entry_cannot_be_made() -> None:
    """Postings that do not sum to zero in each unit by itself are refused where the entry is constructed."""
    unit = points_of("video")
    for postings in (
        (Posting(Account.WALLET, "video", unit, 100),),
        (Posting(Account.WALLET, "video", unit, 100), Posting(Account.ISSUED, "video", unit, -99)),
        (Posting(Account.WALLET, "video", unit, 100), Posting(Account.ISSUED, "video", points_of("rides"), -100)),
    ):
        with pytest.raises(ValueError, match="entry e does not balance"):
            Entry(
                id="e", kind=EntryKind.AWARD, at=NOW, wallet="w", by="video", fingerprint="", salt=SALT,
                postings=postings,
            )  # fmt: skip


def test_lines_are_signed_from_each_sides_view() -> None:
    """A provider receives, an issuer owes, a commission is a line of its own with zero points."""
    entry = a_redemption()
    assert entry.settling == ["delivery", "rides", "video"]
    assert [tuple(line) for line in entry.lines("rides")] == [
        (LineKind.REDEMPTION, "video", 211, 1849, 57, "EUR"), (LineKind.COMMISSION, "delivery", 0, -31, 0, "EUR"),
        (LineKind.REDEMPTION, "delivery", 307, 1327, 17, "EUR"),
    ]  # fmt: skip
    assert [tuple(line) for line in entry.lines("video")] == [(LineKind.REDEMPTION, "rides", -211, -1849, 0, "EUR")]
    assert [tuple(line) for line in entry.lines("delivery")] == [
        (LineKind.COMMISSION, "rides", 0, 31, 0, "EUR"), (LineKind.REDEMPTION, "rides", -307, -1327, 0, "EUR"),
    ]  # fmt: skip
    assert entry.lines("stranger") == entry.lines(EXCHANGE) == []


def test_lines_add_up_to_the_postings() -> None:
    """A party's net over its lines is the sum of its money postings, whoever it is."""
    entry = a_redemption()
    for party in entry.settling:
        lines = sum(line.gross_minor - line.fee_minor for line in entry.lines(party))
        assert lines == sum(p.amount for p in entry.postings if p.party == party and p.unit == "EUR")


def test_own_points_make_no_statement_line() -> None:
    """A redemption at the issuer itself is recorded, and nobody's statement speaks of it."""
    trip = benefit("video/film", 50)
    entry = decided(redeem(trip), awarded(award("video", 100)), of=trip).entry
    assert moves(entry) == ["member -> video REDEEMED 50"]
    assert entry.settling == []
    assert entry.lines("video") == []
    assert "settles" not in entry_document(entry, Block.seal(**PLACE), 0)


def test_a_part_opens_its_own_leaf_alone() -> None:
    """With its part, its salt and its path a party proves its leaf, and another's salt proves nothing."""
    entry = a_redemption()
    leaves = [entry.part_leaf(party) for party in entry.parties]
    assert entry.parties == ["delivery", "exchange", "rides", "video"]
    for place, party in enumerate(entry.parties):
        shown = canonical({"part": entry.part(party), "salt": entry.part_salt(party)})
        assert root_from_path(leaf_hash(shown), place, len(leaves), inclusion_path(leaves, place)) == entry.leaf()
    assert len({entry.part_salt(party) for party in entry.parties}) == 4


def test_a_part_holds_nothing_of_others() -> None:
    """No part has the wallet, a lot, or a figure of a partner that its party does not deal with in the entry."""
    entry = a_redemption()
    figures = {
        "video": ["211", "1849"], "delivery": ["307", "1327"], "rides": ["182"], "fees": ['"57"', '"17"'],
        "commission": ['31"'],
    }  # fmt: skip
    may_see = {
        "video": {"video"}, "delivery": {"delivery", "commission"},
        "rides": {"video", "delivery", "rides", "fees", "commission"},
    }  # fmt: skip
    for party, seen in may_see.items():
        text = canonical(entry.part(party)).decode()
        for whose, numbers in figures.items():
            assert all((number in text) == (whose in seen) for number in numbers), (party, whose)
        for secret in (entry.wallet, entry.id, entry.salt.hex(), *(p.lot for p in entry.postings if p.lot)):
            assert secret not in text
    assert "delivery" not in canonical(entry.part("video")).decode()


def test_the_exchanges_leaf_commits_to_the_whole_entry() -> None:
    """Changing any field of an entry changes its leaf."""
    entry = replace(a_redemption(), counterpart="other", counterpart_version=1)
    changed: dict[str, Any] = {
        "id": "x", "kind": EntryKind.AWARD, "at": day(1), "wallet": "x", "by": "video", "fingerprint": "x",
        "salt": b"x" * 16, "wallet_version": 99, "postings": entry.postings[:-2], "benefit": "x", "provider": "x",
        "quantity": 99, "debits": entry.debits[:-1], "detail": {"x": "x"}, "redemption": "x", "channel": "x",
        "holds": (Take("x", "x", 1),), "counterpart": "x", "counterpart_version": 99,
    }  # fmt: skip
    assert changed.keys() == {field.name for field in fields(Entry)}
    for name, value in changed.items():
        assert replace(entry, **{name: value}).leaf() != entry.leaf(), name


def test_a_leaf_does_not_depend_on_where_the_time_came_from() -> None:
    """The database keeps milliseconds; an entry read back has the leaf that it was sealed with."""
    for entry in every_kind():
        block = Block.seal(**PLACE | {"entries": [entry]})
        assert entry_from(entry_document(entry, block, 0)).leaf() == entry.leaf()


# Blocks

PLACE: dict[str, Any] = {
    "lane": 3, "seq": 7, "kind": BlockKind.ENTRIES, "period": 2, "prev": GENESIS, "at": NOW, "salt": SALT,
}  # fmt: skip


def test_a_block_hash_covers_every_field() -> None:
    """Changing any one field, the sums through their root, changes the block's hash."""
    block = Block.seal(**PLACE, entries=every_kind())
    assert block.hash == block.computed_hash()
    changed: dict[str, Any] = {
        "lane": 4, "seq": 8, "kind": BlockKind.CUT, "period": 3, "count": 5, "prev": "1" * 64, "root": "1" * 64,
        "sums_root": "1" * 64, "at": day(1),
    }  # fmt: skip
    stand_in = {"sums", "sums_salt", "hash"}  # sums_root stands for the first two
    assert changed.keys() | stand_in == {field.name for field in fields(Block)}
    for name, value in changed.items():
        assert replace(block, **{name: value}).computed_hash() != block.hash, name


def test_the_root_of_sums_covers_rows_and_salt() -> None:
    """A changed figure, party or salt changes the root that stands for the sums."""
    sums = Sums.of(every_kind())
    other = Sums.of(every_kind())
    other.money[next(iter(other.money))].fee_minor += 1
    fewer = Sums.of(every_kind())
    del fewer.points[next(iter(fewer.points))]
    roots = {sums.root(SALT), other.root(SALT), fewer.root(SALT), sums.root(b"x" * 16)}
    assert len(roots) == 4


def test_sums_count_a_redemption_once_per_obligation() -> None:
    """What a block adds up to: points by party and account, money by who owes whom through whom."""
    sums = Sums.of([a_redemption(), a_redemption()])
    assert sums.points == {
        ("video", Account.REDEEMED): 422, ("delivery", Account.REDEEMED): 614, ("rides", Account.REDEEMED): 364,
    }  # fmt: skip
    assert sums.money == {
        Obligation("video", "rides", "delivery", "EUR"): Owed(422, 3698, 114, 62, 2),
        Obligation("delivery", "rides", "delivery", "EUR"): Owed(614, 2654, 34, 0, 2),
    }
    assert sums.charges == {("rides", "exchange", "EUR"): 2, ("rides", "delivery", "EUR"): 2}


def test_sums_of_parts_are_the_sums_of_the_whole() -> None:
    """Adding blocks gives what adding their entries gives."""
    entries = every_kind()
    total = Sums()
    for entry in entries:
        total.add(Sums.of([entry]))
    assert total.rows() == Sums.of(entries).rows()


def test_a_block_comes_back_from_its_document() -> None:
    """A stored block has the hash it was sealed with, and its sums add up to the root in it."""
    block = Block.seal(**PLACE, entries=every_kind())
    stored = block_from(block_document(block))
    assert stored == block
    assert stored.computed_hash() == block.hash
    assert stored.sums.root(stored.sums_salt) == block.sums_root


def test_places_sort_by_lane_then_seq() -> None:
    """A block's id is its place, of fixed width, so that a lane is a range of ids."""
    places = [(1, 0), (1, 9), (1, 10), (2, 0), (10, 5), (100, 10**11)]
    ids = [block_id(lane, seq) for lane, seq in places]
    assert ids == sorted(ids)
    assert len({len(one) for one in ids}) == 1


def test_only_a_cut_moves_the_period() -> None:
    """Behind a cut the lane is in the next period; behind anything else in the same."""
    after = {kind: Block.seal(**PLACE | {"kind": kind}).period_after for kind in BlockKind}
    assert after == {BlockKind.GENESIS: 2, BlockKind.ENTRIES: 2, BlockKind.VOID: 2, BlockKind.CUT: 3}


def test_two_redemptions_alike_have_unlike_leaves() -> None:
    """The salt keeps anyone from finding out a part by trying figures."""
    entry = a_redemption()
    other = replace(entry, salt=b"o" * 16)
    assert all(entry.part_leaf(party) != other.part_leaf(party) for party in entry.parties)


def test_an_issuer_that_is_also_the_channel_has_both_lines() -> None:
    """By whose app it came is a role of its own, whoever plays it."""
    wallet = awarded(award("video", 1000, whose=by_reference("video")))
    trip = benefit("rides/trip", 1000)
    book = agreements(agreement("video", "rides", 1000, commission=1000))
    entry = decided(redeem(trip, through="video"), wallet, book, of=trip).entry
    assert [line.gross_minor for line in entry.lines("video")] == [-1000, 100]
    assert [line.gross_minor for line in entry.lines("rides")] == [1000, -100]


def test_whoever_has_a_line_has_a_leaf() -> None:
    """Also a provider that is owed nothing, because what it is owed rounds to zero: its line can be proved to it."""
    trip = benefit("rides/trip", 1)
    entry = decided(
        redeem(trip, through="delivery"), awarded(award("video", 1), award("delivery", 1)),
        agreements(agreement("video", "rides", 300)), of=trip,
    ).entry  # fmt: skip
    assert entry.settling == ["rides", "video"]
    assert set(entry.settling) <= set(entry.parties)


def test_times_have_four_digits_for_the_year() -> None:
    """RFC 3339 has no shorter years."""
    assert milliseconds(datetime(999, 1, 2, 3, 4, 5, 6789, tzinfo=UTC)) == "0999-01-02T03:04:05.006Z"


# What goes back


def test_a_reversal_turns_every_line_and_sum_round() -> None:
    """Lines of what goes back are REVERSALs with the signs turned; with the redemption's they net to nothing."""
    taken, back = (entry for entry in every_kind() if entry.kind in ("REDEEM", "FAIL") and entry.quantity == 3)
    assert (taken.kind, back.kind, back.settling) == ("REDEEM", "FAIL", taken.settling)
    for party in taken.settling:
        there, again = taken.lines(party), back.lines(party)
        assert [line.kind for line in there] == [
            LineKind.REDEMPTION if line.kind is LineKind.REVERSAL else line.kind for line in again
        ]
        for one, other in zip(there, again, strict=True):
            assert (one.points, one.gross_minor, one.fee_minor) == (
                -other.points,
                -other.gross_minor,
                -other.fee_minor,
            )
    sums = Sums.of([taken, back])
    assert not any(sums.points.values())
    assert all(
        (owed.points, owed.gross_minor, owed.fee_minor, owed.commission_minor, owed.entries) == (0, 0, 0, 0, 2)
        for owed in sums.money.values()
    )
