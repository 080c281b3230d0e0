"""The journal: double entry, chained by hashes, provable to each party alone.

An *entry* is one immutable record of one business event. Its postings sum to zero in every unit: points of each
issuer are a unit, and so is each currency. An entry that does not balance cannot be constructed.

A *block* holds the entries that were committed together, and names the block before it in its lane by hash. So a
lane is a chain, and changing anything in it changes every hash after it.

One redemption concerns issuers, a provider and a channel, none of whom may see another's figures. So an entry's leaf
in its block is the root of a small tree with one salted leaf per party: a party is shown its own leaf and the path,
and learns nothing of the others (the salt keeps it from guessing). The exchange's own leaf commits to the whole
entry. Trees are those of RFC 9162 §2.1: leaves and nodes hashed with different prefixes.

Everything hashed is canonical JSON (RFC 8785): ASCII keys, amounts as strings because they exceed 2^53.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from msgspec import Struct
from msgspec.structs import force_setattr

from exchange.agreements import Debit
from exchange.amounts import Money
from exchange.wallet import Take

EXCHANGE = "exchange"
"""The handle of the operator as a party."""

SALT_BYTES = 16
GENESIS = "0" * 64
"""What the first block of a lane names as the block before it."""


class EntryKind(StrEnum):
    """The business events."""

    ENROL = "ENROL"
    LINK = "LINK"
    UNLINK = "UNLINK"
    AWARD = "AWARD"
    REVERSE_AWARD = "REVERSE_AWARD"
    EXTEND = "EXTEND"
    ADJUST = "ADJUST"
    FREEZE = "FREEZE"
    UNFREEZE = "UNFREEZE"
    GIVE = "GIVE"
    FOUND = "FOUND"
    JOIN = "JOIN"
    LEAVE = "LEAVE"
    PAY_IN = "PAY_IN"
    DRAW = "DRAW"
    MERGE = "MERGE"
    UNMERGE = "UNMERGE"
    EXPIRE = "EXPIRE"
    REDEEM = "REDEEM"
    RESERVE = "RESERVE"
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    LAPSE = "LAPSE"
    FULFIL = "FULFIL"
    FAIL = "FAIL"
    REVERSE = "REVERSE"
    ADJUSTMENT = "ADJUSTMENT"


class Account(StrEnum):
    """Where a posting goes. WALLET holds a member's points; the others belong to a party.

    Points: ISSUED is what an issuer ever gave out (a credit, so negative), REDEEMED, EXPIRED and WITHDRAWN where they
    went. GOODWILL is what it gave and took besides, by somebody's decision.
    Money: REDEMPTIONS between issuer and provider, FEES from provider to exchange, COMMISSIONS from provider to
    channel, ADJUSTMENTS between two partners of a statement line that was disputed; a party's sum over the four is its
    net position.
    """

    WALLET = "WALLET"
    ISSUED = "ISSUED"
    REDEEMED = "REDEEMED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"
    GOODWILL = "GOODWILL"
    REDEMPTIONS = "REDEMPTIONS"
    FEES = "FEES"
    COMMISSIONS = "COMMISSIONS"
    ADJUSTMENTS = "ADJUSTMENTS"


_ACCOUNTS = {account.value: account for account in Account}


class Posting(NamedTuple):
    """`amount` of `unit` on an account of `party`; `lot` when the account is a wallet's."""

    account: Account
    party: str
    unit: str
    amount: int
    lot: str | None = None


def points_of(issuer: str) -> str:
    """Return the unit in which an issuer's points are posted; no currency can look like it."""
    return f"points:{issuer}"


class LineKind(StrEnum):
    """What a statement line is for."""

    REDEMPTION = "REDEMPTION"
    REVERSAL = "REVERSAL"
    COMMISSION = "COMMISSION"
    ADJUSTMENT = "ADJUSTMENT"


class Line(NamedTuple):
    """A party's share of an entry in money, signed from its side: net = gross - fee."""

    kind: LineKind
    counterparty: str
    points: int
    gross_minor: int
    fee_minor: int
    currency: str


class Entry(Struct, frozen=True, kw_only=True):
    """One business event. `by`: the partner that brought it (an award's issuer, a redemption's channel or provider).

    `redemption`, `benefit`, `provider`, `channel`: of the redemption that it is about. `holds`: points of lots that
    are held from then on, negative when they are no longer. `debits`: negative when they go back. An adjustment is
    about no redemption: its one debit is of who pays, and `provider` and `channel` are who is paid.

    `wallet` is internal and in no party's part; `salt` blinds the parts; `fingerprint` is of the input as sent.
    `wallet_version`: the version that its commit gave the wallet. Two lanes' clocks say nothing certain about who
    was first; with the place in the block this puts a wallet's entries in order, and shows that none is missing.
    `counterpart`: a second wallet that it changed; then what is taken out of lots is the first one's, and what comes
    is the second one's.
    ValueError when the postings of a unit do not sum to zero.
    """

    id: str
    kind: EntryKind
    at: datetime
    wallet: str
    by: str
    fingerprint: str
    salt: bytes
    wallet_version: int = 0
    postings: tuple[Posting, ...] = ()
    redemption: str | None = None
    benefit: str | None = None
    provider: str | None = None
    channel: str | None = None
    quantity: int = 0
    debits: tuple[Debit, ...] = ()
    holds: tuple[Take, ...] = ()
    detail: Mapping[str, str] = {}
    counterpart: str | None = None
    counterpart_version: int = 0

    def __post_init__(self) -> None:
        sums: dict[str, int] = {}
        for posting in self.postings:
            sums[posting.unit] = sums.get(posting.unit, 0) + posting.amount
        if any(sums.values()):
            message = f"entry {self.id} does not balance: {sums}"
            raise ValueError(message)

    def lines(self, party: str) -> list[Line]:
        """Return the statement lines of `party`: none for what costs nobody anything."""
        if self.provider is None or self.channel is None:
            return []
        lines = []
        for debit in self.debits:
            if debit.owed is None:
                continue
            minor, currency = debit.owed
            kind = LineKind.REDEMPTION if debit.points > 0 else LineKind.REVERSAL
            if self.kind is EntryKind.ADJUSTMENT:
                kind = LineKind.ADJUSTMENT
            commission = debit.commission_minor
            if party == self.provider:
                lines.append(Line(kind, debit.issuer, debit.points, minor, debit.fee_minor, currency))
            if party == debit.issuer:
                lines.append(Line(kind, self.provider, -debit.points, -minor, 0, currency))
            if commission and party == self.provider:
                lines.append(Line(LineKind.COMMISSION, self.channel, 0, -commission, 0, currency))
            if commission and party == self.channel:
                lines.append(Line(LineKind.COMMISSION, self.provider, 0, commission, 0, currency))
        return lines

    @property
    def settling(self) -> list[str]:
        """The partners that have statement lines in it."""
        owing = [debit for debit in self.debits if debit.owed is not None]
        if not owing or self.provider is None or self.channel is None:
            return []
        parties = {self.provider, *(debit.issuer for debit in owing)}
        if any(debit.commission_minor for debit in owing):
            parties.add(self.channel)
        return sorted(parties)

    @property
    def parties(self) -> list[str]:
        """Everyone that has a part in it, the exchange included."""
        # The provider also where it is owed nothing: it has a statement line that says so.
        concerned = {self.by, self.provider or self.by, self.channel or self.by, EXCHANGE}
        return sorted({posting.party for posting in self.postings} | concerned)

    def part(self, party: str) -> dict[str, Any]:
        """Return what `party` may know of the entry; for the exchange, all of it."""
        if party == EXCHANGE:
            return self._whole()
        return {
            "at": milliseconds(self.at),
            "benefit": self.benefit,
            "kind": self.kind,
            "lines": [[ln.kind, ln.counterparty, str(ln.points), str(ln.gross_minor), str(ln.fee_minor), ln.currency]
                      for ln in self.lines(party)],
            "party": party,
            "points": [[p.account, str(p.amount)] for p in self.postings
                       if p.party == party and p.unit.startswith("points:") and p.account is not Account.WALLET],
        }  # fmt: skip

    def _whole(self) -> dict[str, Any]:
        return {
            "at": milliseconds(self.at),
            "benefit": self.benefit,
            "by": self.by,
            "channel": self.channel,
            "debits": [[d.issuer, str(d.points), d.agreement,
                        None if d.owed is None else [str(d.owed.minor), d.owed.currency],
                        str(d.fee_minor), str(d.commission_minor)] for d in self.debits],
            "detail": dict(self.detail),
            "fingerprint": self.fingerprint,
            "holds": [[take.lot, take.issuer, str(take.points)] for take in self.holds],
            "id": self.id,
            "kind": self.kind,
            "party": EXCHANGE,
            "postings": [[p.account, p.party, p.unit, str(p.amount), p.lot] for p in self.postings],
            "provider": self.provider,
            "quantity": self.quantity,
            "redemption": self.redemption,
            "wallet": self.wallet,
            "wallet_version": self.wallet_version,
            # Named only where there is one: most entries are about one wallet.
            **({} if self.counterpart is None else {
                "counterpart": self.counterpart, "counterpart_version": self.counterpart_version,
            }),
        }  # fmt: skip

    @classmethod
    def from_whole(cls, whole: Mapping[str, Any], salt: bytes) -> Entry:
        """Return the entry of which `whole` is the exchange's part. Whether it says the same again is for the caller.

        ArithmeticError, LookupError, TypeError or ValueError for what is none, or does not balance.
        """
        return cls(
            id=whole["id"], kind=EntryKind(whole["kind"]), at=datetime.fromisoformat(whole["at"]),
            wallet=whole["wallet"], by=whole["by"], fingerprint=whole["fingerprint"], salt=salt,
            wallet_version=whole["wallet_version"], redemption=whole["redemption"], benefit=whole["benefit"],
            provider=whole["provider"], channel=whole["channel"], quantity=whole["quantity"],
            postings=tuple(
                Posting(Account(account), party, unit, int(amount), lot)
                for account, party, unit, amount, lot in whole["postings"]
            ),
            debits=tuple(
                Debit(issuer, int(points), agreement, None if owed is None else Money(int(owed[0]), owed[1]),
                      int(fee), int(commission))
                for issuer, points, agreement, owed, fee, commission in whole["debits"]
            ),
            holds=tuple(Take(lot, issuer, int(points)) for lot, issuer, points in whole["holds"]),
            detail=dict(whole["detail"]), counterpart=whole.get("counterpart"),
            counterpart_version=whole.get("counterpart_version", 0),
        )  # fmt: skip

    def leaf(self) -> bytes:
        """Return the entry's leaf in its block: the root over its parties' salted leaves."""
        return merkle_root([self.part_leaf(party) for party in self.parties])

    def part_leaf(self, party: str) -> bytes:
        """Return the salted leaf hash of one party's part."""
        return leaf_hash(canonical({"part": self.part(party), "salt": self.part_salt(party)}))

    def part_salt(self, party: str) -> str:
        """Return the hex salt of one party's part: knowing one tells nothing of another's."""
        return hmac.digest(self.salt, party.encode(), "sha256")[:SALT_BYTES].hex()


class BlockKind(StrEnum):
    """GENESIS opens a lane, CUT ends a period in it, VOID proves that another block at its place never happened."""

    GENESIS = "GENESIS"
    ENTRIES = "ENTRIES"
    CUT = "CUT"
    VOID = "VOID"


class Obligation(NamedTuple):
    """Who owes because of whom: the key under which a block sums money."""

    issuer: str
    provider: str
    channel: str
    currency: str


class Owed(Struct, gc=False):
    """Money under one obligation: `gross_minor` is what the issuer owes.

    `entries` counts redemptions, reversals and adjustments. (The garbage collector need not look at it: a period has
    hundreds of thousands, and there is nothing in one that could be in a cycle.)
    """

    points: int = 0
    gross_minor: int = 0
    fee_minor: int = 0
    commission_minor: int = 0
    entries: int = 0

    def add(self, other: Owed) -> None:
        """Add another sum to this one."""
        self.points += other.points
        self.gross_minor += other.gross_minor
        self.fee_minor += other.fee_minor
        self.commission_minor += other.commission_minor
        self.entries += other.entries


@dataclass(slots=True)
class Sums:
    """What a block, or any set of entries, adds up to: points by (party, account), money by obligation.

    `charges`: for (debtor, creditor, currency), how many redemptions charged a fee or a commission. The obligations
    cannot tell, because one redemption has as many of them as issuers.
    """

    points: dict[tuple[str, Account], int] = field(default_factory=dict)
    money: dict[Obligation, Owed] = field(default_factory=dict)
    charges: dict[tuple[str, str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Sums:
        """Add up entries."""
        sums = cls()
        for entry in entries:
            for posting in entry.postings:
                if posting.account is not Account.WALLET and posting.unit.startswith("points:"):
                    key = (posting.party, posting.account)
                    sums.points[key] = sums.points.get(key, 0) + posting.amount
            sums._add_money(entry)
        return sums

    def _add_money(self, entry: Entry) -> None:
        if entry.provider is None or entry.channel is None:
            return
        counted: set[Obligation | tuple[str, str, str]] = set()
        for debit in entry.debits:
            if debit.owed is None:
                continue
            minor, currency = debit.owed
            obligation = Obligation(debit.issuer, entry.provider, entry.channel, currency)
            first = obligation not in counted
            counted.add(obligation)
            self.money.setdefault(obligation, Owed()).add(
                Owed(debit.points, minor, debit.fee_minor, debit.commission_minor, int(first))
            )
            for creditor, charged in ((EXCHANGE, debit.fee_minor), (entry.channel, debit.commission_minor)):
                charge = (entry.provider, creditor, currency)
                if charged and charge not in counted:
                    counted.add(charge)
                    self.charges[charge] = self.charges.get(charge, 0) + 1

    def add(self, other: Sums) -> None:
        """Add another set's sums to these."""
        for key, amount in other.points.items():
            self.points[key] = self.points.get(key, 0) + amount
        for obligation, owed in other.money.items():
            self.money.setdefault(obligation, Owed()).add(owed)
        for charge, count in other.charges.items():
            self.charges[charge] = self.charges.get(charge, 0) + count

    def rows(self) -> list[list[str]]:
        """Return the sums as sorted rows of strings: the form in which they are hashed."""
        points = [["points", party, account, str(amount)] for (party, account), amount in self.points.items()]
        money = [
            [
                "money",
                *obligation,
                *(str(n) for n in (o.points, o.gross_minor, o.fee_minor, o.commission_minor, o.entries)),
            ]
            for obligation, o in self.money.items()
        ]
        charges = [["charges", *charge, str(count)] for charge, count in self.charges.items()]
        return sorted(points) + sorted(money) + sorted(charges)

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[str]]) -> Sums:
        """Return the sums that rows say."""
        sums = cls()
        sums.add_rows(rows)
        return sums

    def add_rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Add what rows say: a period has millions of them, so nothing is made of a row on the way."""
        for row in rows:
            if row[0] == "money":
                _, issuer, provider, channel, currency, points, gross, fee, commission, entries = row
                owed = self.money.setdefault(Obligation(issuer, provider, channel, currency), Owed())
                owed.points += int(points)
                owed.gross_minor += int(gross)
                owed.fee_minor += int(fee)
                owed.commission_minor += int(commission)
                owed.entries += int(entries)
            elif row[0] == "points":
                _, party, account, amount = row
                posted = (party, _ACCOUNTS[account])
                self.points[posted] = self.points.get(posted, 0) + int(amount)
            else:
                _, debtor, creditor, currency, count = row
                charge = (debtor, creditor, currency)
                self.charges[charge] = self.charges.get(charge, 0) + int(count)

    def root(self, salt: bytes) -> str:
        """Return the hex root over one salted leaf per row."""
        leaves = []
        for row in self.rows():
            key = canonical(row)
            blind = hmac.digest(salt, key, "sha256")[:SALT_BYTES].hex()
            leaves.append(leaf_hash(canonical({"row": row, "salt": blind})))
        return merkle_root(leaves).hex()


class Block(Struct, frozen=True, kw_only=True):
    """What was committed together. `hash` covers every other field but the sums, which `sums_root` stands for."""

    lane: int
    seq: int
    kind: BlockKind
    period: int
    count: int
    prev: str
    root: str
    sums: Sums
    sums_salt: bytes
    sums_root: str
    at: datetime
    hash: str

    @classmethod
    def seal(
        cls, *, lane: int, seq: int, kind: BlockKind, period: int, prev: str, at: datetime, salt: bytes,
        entries: Sequence[Entry] = (),
    ) -> Block:  # fmt: skip
        """Make the block of these entries, in this order, after the block whose hash is `prev`."""
        sums = Sums.of(entries)
        block = cls(
            lane=lane, seq=seq, kind=kind, period=period, count=len(entries), prev=prev,
            root=merkle_root([entry.leaf() for entry in entries]).hex(),
            sums=sums, sums_salt=salt, sums_root=sums.root(salt), at=at, hash="",
        )  # fmt: skip
        force_setattr(block, "hash", block.computed_hash())
        return block

    def header(self) -> dict[str, Any]:
        """Return what is hashed: every field but the sums, their salt, and the hash."""
        return {
            "at": milliseconds(self.at), "count": self.count, "kind": self.kind, "lane": self.lane,
            "period": self.period, "prev": self.prev, "root": self.root, "seq": self.seq, "sums": self.sums_root,
        }  # fmt: skip

    def computed_hash(self) -> str:
        """Return the hash that the block's content has."""
        return sha256(canonical(self.header())).hexdigest()

    @property
    def id(self) -> str:
        """The block's place as one fixed-width string that sorts by lane, then sequence."""
        return block_id(self.lane, self.seq)

    @property
    def period_after(self) -> int:
        """The period that the next block of the lane belongs to."""
        return self.period + 1 if self.kind is BlockKind.CUT else self.period


def block_id(lane: int, seq: int) -> str:
    """Return the identity of a place in a lane."""
    return f"{lane:06d}.{seq:012d}"


# ---------------------------------------------------------------- hashing


def canonical(value: Any) -> bytes:
    """Return RFC 8785 JSON of strings, small integers, null, lists and dicts with ASCII keys.

    For these the canonical form is sorted keys and no white space, which orjson writes forty times faster than a
    general RFC 8785 encoder; a test holds the two equal.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def milliseconds(at: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds and Z, the form in which times are hashed and printed."""
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def leaf_hash(data: bytes) -> bytes:
    """Hash a leaf (RFC 9162 §2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node (RFC 9162 §2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes (RFC 9162 §2.1.1); of none, the hash of nothing."""
    if not leaves:
        return sha256(b"").digest()
    level = list(leaves)
    # Pairing level by level, the odd one carried up, gives the same tree as splitting at the largest power of two.
    while len(level) > 1:
        carried = level[-1:] if len(level) % 2 else []
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)] + carried
    return level[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of one leaf, from the bottom up (RFC 9162 §2.1.3.1)."""
    path = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        carried = level[-1:] if len(level) % 2 else []
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)] + carried
        index //= 2
    return path


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a leaf and its audit path lead to (RFC 9162 §2.1.3.2); ValueError for a wrong length."""
    node, remaining, last = leaf, list(path), size - 1
    while last > 0:
        if index ^ 1 <= last:
            if not remaining:
                message = "the inclusion path is too short"
                raise ValueError(message)
            sibling = remaining.pop(0)
            node = node_hash(sibling, node) if index % 2 else node_hash(node, sibling)
        index, last = index // 2, last // 2
    if remaining:
        message = "the inclusion path is too long"
        raise ValueError(message)
    return node
