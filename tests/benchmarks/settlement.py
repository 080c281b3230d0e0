"""What it costs to settle a period: `python -m tests.benchmarks.settlement` (4 minutes at 100,000).

The period is made of true entries in true blocks of a hundred, put into the database past the ledger: redemptions
between so many partners, half of them at one, so that its statement has a line for every entry. Then, in one run:

- *net*: positions, bilateral positions and the payment plan, out of what the blocks carry, against the one `$group`
  over the entries by which the database itself says who owes whom;
- *close*: the period marked, every lane cut, the range sealed;
- *draft*: every partner's statement, which reads and hashes each of its lines and compares them with the blocks;
- *export*: the long statement as CSV, and as its document, against a cursor that reads the same entries and does
  nothing, each in a process of its own, with the most memory that it ever held.

`--entries 1000000` takes 40 minutes, most of it to make the entries.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from exchange.agreements import Debit
from exchange.amounts import Money, half_even, share_by_basis_points
from exchange.journal import (
    EXCHANGE,
    SALT_BYTES,
    Account,
    Block,
    BlockKind,
    Entry,
    EntryKind,
    Posting,
    points_of,
)
from exchange.keyring import Keyring
from exchange.particulars import Particulars
from exchange.settlement.clearing import Settlement
from exchange.settlement.export import Subject, csv
from exchange.settlement.netting import Position
from exchange.settlement.statement import Statement
from exchange.store import documents as docs
from exchange.store.books import Books
from exchange.store.connection import Database, aggregate, connect
from tests.benchmarks.apart import apart, peak_mb
from tests.benchmarks.measuring import Column, Figures, Option, Row, alternate, main, ratio
from tests.benchmarks.world import Place, World, created, quick

COLUMNS = (
    Column("what", "case"),
    Column("of", "of", ",d"),
    Column("ours s", "ours.seconds", ".2f"),
    Column("bare s", "bare.seconds", ".2f"),
    Column("ratio", "ratio.seconds", ".2f"),
    Column("ours/s", "ours.per_second", ",.0f"),
    Column("bare/s", "bare.per_second", ",.0f"),
    Column("ours peak MB", "ours.peak_mb", ".0f"),
    Column("bare peak MB", "bare.peak_mb", ".0f"),
)
NET, CLOSE, DRAFT, ALL = "net", "close", "draft", "close, net and draft"
CSV, DOCUMENT = "export as CSV", "export as document"
_BLOCK = 100
_STEP = 5_000
_SAID = 100_000
_FEE, _COMMISSION = 150, 200
_PRICE = 800
_AT_ONE, _OWN_APP, _APPS = 0.5, 0.8, 6
_WHO_OWES_WHOM: list[dict[str, Any]] = [
    {"$match": {"period": 1}},
    {"$unwind": "$debits"},
    {
        "$group": {
            "_id": {
                "issuer": "$debits.issuer", "provider": "$provider", "channel": "$channel",
                "currency": "$debits.currency",
            },
            **{name: {"$sum": f"$debits.{name}"} for name in ("points", "owed", "fee", "commission")},
            "entries": {"$sum": 1},
        }
    },
]  # fmt: skip


class Past:
    """Puts redemptions between many partners into a lane of a ledger that does not run."""

    def __init__(self, books: Books, wallets: Sequence[str], partners: int) -> None:
        self._books = books
        self._wallets = wallets
        self._partners = [partner(number) for number in range(partners)]
        self._random = random.Random(7)  # noqa: S311

    async def fill(self, entries: int, lane: int) -> None:
        """Go on behind the lane's head."""
        head = await self._books.head(lane)
        for begin in range(0, entries, _STEP):
            blocks, journal = [], []
            for place in range(begin, min(begin + _STEP, entries), _BLOCK):
                at = head.at + timedelta(milliseconds=1)
                made = [self._entry(at) for _ in range(min(_BLOCK, entries - place))]
                head = Block.seal(
                    lane=lane, seq=head.seq + 1, kind=BlockKind.ENTRIES, period=head.period, prev=head.hash, at=at,
                    salt=secrets.token_bytes(SALT_BYTES), entries=made,
                )  # fmt: skip
                blocks.append(docs.block_document(head))
                journal += [docs.entry_document(entry, head, index) for index, entry in enumerate(made)]
            await asyncio.gather(
                quick(self._books.entries).insert_many(journal, ordered=False, bypass_document_validation=True),
                quick(self._books.blocks).insert_many(blocks, ordered=False),
            )
            if begin // _SAID > (begin - _STEP) // _SAID:
                sys.stderr.write(f"{begin:,} of {entries:,} entries are filled in\n")

    def _entry(self, at: datetime) -> Entry:
        issuer, provider = self._random.sample(self._partners[1:], 2)
        if self._random.random() < _AT_ONE:
            provider = self._partners[0]
        # Most members spend points in the app that gave them; a few apps bring members of all partners.
        channel = issuer if self._random.random() < _OWN_APP else self._random.choice(self._partners[1:_APPS])
        points = self._random.randrange(10, 10_000)
        owed = half_even(points * _PRICE, 1_000)
        debit = Debit(
            issuer, points, f"{issuer}:*:1", Money(owed, "EUR"), share_by_basis_points(owed, _FEE),
            share_by_basis_points(owed, _COMMISSION),
        )  # fmt: skip
        name = secrets.token_urlsafe(18)
        postings = [
            Posting(Account.WALLET, issuer, points_of(issuer), -points, name),
            Posting(Account.REDEEMED, issuer, points_of(issuer), points),
        ]
        for account, payer, payee, amount in (
            (Account.REDEMPTIONS, issuer, provider, owed),
            (Account.FEES, provider, EXCHANGE, debit.fee_minor),
            (Account.COMMISSIONS, provider, channel, debit.commission_minor),
        ):
            if amount:
                postings += [Posting(account, payer, "EUR", -amount), Posting(account, payee, "EUR", amount)]
        return Entry(
            id=name, kind=EntryKind.REDEEM, at=at, wallet=self._random.choice(self._wallets), by=channel,
            fingerprint="", salt=secrets.token_bytes(SALT_BYTES), postings=tuple(postings), redemption=name,
            benefit=f"{provider}/month", provider=provider, channel=channel, quantity=1, debits=(debit,),
        )  # fmt: skip


def partner(number: int) -> str:
    """Return a partner's handle; the first is the one with the long statement."""
    return f"partner-{number:03}"


# ---------------------------------------------------------------- the sides


def _timed(began: float, of: int) -> Figures:
    elapsed = time.perf_counter() - began
    return {"seconds": elapsed, "per_second": of / elapsed}


async def group(db: Database, of: int) -> tuple[Figures, list[Any]]:
    """Let the database add up who owes whom, out of the entries."""
    began = time.perf_counter()
    rows = await aggregate(db["entries"], _WHO_OWES_WHOM)
    return _timed(began, of), rows


async def net(db: Database, keyring: Keyring, of: int) -> tuple[Figures, list[Position]]:
    """Net the period: whoever does it had read nothing before."""
    began = time.perf_counter()
    settlement = Settlement(db, keyring)
    rows = await settlement.positions(1)
    await settlement.bilateral(1)
    await settlement.payment_plan(1)
    return _timed(began, of), rows


async def read(place: Place, statement: str) -> Figures:
    """Read a statement's entries with a bare cursor, in the order of its lines."""
    client = connect(place.url)
    _, _, whose = statement.partition(":")
    began, seen = time.perf_counter(), 0
    order = [(name, 1) for name in ("at", "lane", "seq", "index")]
    async for _ in client[place.name]["entries"].find({"settles": whose, "period": 1}).sort(order):
        seen += 1
    figures = _timed(began, seen)
    await client.close()
    return {**figures, "peak_mb": peak_mb()}


async def export(place: Place, name: str, form: str) -> Figures:
    """Write a statement out, to nowhere. ValueError unless the document is what was signed for."""
    client = connect(place.url)
    settlement = Settlement(client[place.name], Keyring(place.secret))
    statement = await settlement.statement(name)
    assert statement is not None
    began, digest = time.perf_counter(), sha256()
    async for piece in await _as_csv(settlement, statement) if form == CSV else settlement.document(statement):
        digest.update(piece)
    # A row is a line here; the cursor beside it reads entries, and two lines can be of one entry.
    figures = _timed(began, await settlement.entries(1, statement.partner))
    await client.close()
    if form == DOCUMENT and digest.hexdigest() != statement.hash:
        raise ValueError(statement.hash)
    return {**figures, "peak_mb": peak_mb()}


async def _as_csv(settlement: Settlement, statement: Statement) -> AsyncIterator[bytes]:
    subject = Subject(
        statement=statement, period=await settlement.period_of(statement), partner=Particulars(name=statement.partner),
        operator=Particulars(name="exchange"),
        written_at=datetime.fromtimestamp(0, UTC),
    )  # fmt: skip
    return csv.write(subject, await settlement.all_lines(statement))


# ---------------------------------------------------------------- the rounds


async def _settle(world: World, of: int) -> tuple[dict[str, Figures], Statement]:
    settlement = Settlement(world.db, world.keyring)
    steps: dict[str, Figures] = {}
    began = time.perf_counter()
    await settlement.mark(1)
    await settlement.cut_lanes(1)
    await settlement.seal(1)
    steps[CLOSE] = _timed(began, of)
    began = time.perf_counter()
    await settlement.draft_statements(1)
    steps[DRAFT] = _timed(began, of)
    statement = await settlement.statement(f"1:{partner(0)}")
    assert statement is not None
    return steps, statement


async def run(url: str, entries: int, partners: int, members: int, rounds: int) -> list[Row]:
    """Fill a period, settle it, and let the sides take turns."""
    async with created(url, members, 1) as world:
        await world.ledger.stop()
        await Settlement(world.db, world.keyring).create_indexes()
        wallets = [world.wallet(member) for member in range(members)]
        await Past(world.books, wallets, partners).fill(entries, lane=1)
        await world.durable()

        async def ours() -> Figures:
            return (await net(world.db, world.keyring, entries))[0]

        async def bare() -> Figures:
            return (await group(world.db, entries))[0]

        steps, statement = await _settle(world, entries)
        (_, by_group), (_, by_blocks) = await group(world.db, entries), await net(world.db, world.keyring, entries)
        owed = sum(row.payable.minor + row.fees.minor for row in by_blocks)
        if sum(row["owed"] + row["commission"] + row["fee"] for row in by_group) != owed:
            message = "the blocks and the entries do not say the same"
            raise ValueError(message)
        medians = await alternate({"bare": bare, "ours": ours}, rounds)
        steps = {NET: medians["ours"], **steps}
        seconds = sum(step["seconds"] for step in steps.values())
        steps[ALL] = {"seconds": seconds, "per_second": entries / seconds}
        rows: list[Row] = [
            {"case": case, "of": entries, "ours": step, "bare": medians["bare"], "ratio": ratio(step, medians["bare"])}
            for case, step in steps.items()
        ]
        for form in (CSV, DOCUMENT):
            sides = await alternate(
                {
                    "bare": lambda: apart(read, world.place, statement.id),
                    "ours": lambda form=form: apart(export, world.place, statement.id, form),  # type: ignore[misc]
                },
                rounds,
            )
            rows.append({
                "case": form, "of": statement.line_count, **sides, "ratio": ratio(sides["ours"], sides["bare"]),
            })  # fmt: skip
        return rows


if __name__ == "__main__":
    main(
        __doc__, run, COLUMNS, minutes=120,
        entries=Option(100_000, "in the period"), partners=Option(200, "who owe one another"),
        members=Option(1_000, "whose redemptions they are"), rounds=Option(3, "of each side"),
    )  # fmt: skip
