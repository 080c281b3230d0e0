"""What was: any wallet and any partner as of any entry, and wallets made again from the journal alone.

A wallet as of one of its entries is the fold (`proof.history`) of its entries up to that one, in the order of the
versions that they made. A partner as of an entry is what all blocks of all lanes add up to whose time is not later
than that entry's block, and of that block itself the entries up to it. Lanes have no common order but time, so two
blocks of the same millisecond in different lanes are both counted. A block's time is read before it is committed, so
as of an entry of the last seconds another lane's block may still come.

Rebuilding folds all of a wallet's entries and compares, byte by byte, what would be stored with what is. One thing is
not in the journal, because it is personal: what a partner calls the member. That comes from the references; where two
of one partner mean the same member, after a merge, only the stored wallet can tell which is whose.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.errors import FiguresDisagree, NotFound
from exchange.journal import Account, Block, Sums
from exchange.proof.history import Event, fold
from exchange.proof.lanes import Placed
from exchange.settlement.netting import Position, positions
from exchange.store import documents as docs
from exchange.store.audit import UNREADABLE, Audit, Found, StoredWallet
from exchange.store.books import Books
from exchange.store.connection import Database
from exchange.wallet import Link, Wallet

WALLETS_AT_ONCE = 100
BLOCKS_AT_ONCE = 1_000

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much."""


class PartnerState(Struct, frozen=True, kw_only=True):
    """What a partner's accounts were. `points` as posted, by account; `positions` by currency, of all periods."""

    partner: str
    points: dict[Account, int]
    positions: tuple[Position, ...]

    @property
    def out(self) -> int:
        """Points of this issuer that members had."""
        return -sum(self.points.values())


class Rebuilt(Struct, frozen=True, kw_only=True):
    """A wallet made again. `stored`: whether there is one; `wrong`: why it is not the same, None if it is."""

    wallet: str
    stored: bool
    wrong: str | None = None


class AnyTime:
    """The past of one exchange."""

    def __init__(self, db: Database) -> None:
        self._audit = Audit(db)
        self._books = Books(db)

    async def wallets_as_of(self, entry: str) -> list[Wallet]:
        """Return the wallet that an entry changed, or the two, as it left them; links without references.

        NotFound if there is no such entry, FiguresDisagree if the journal contradicts itself before it.
        """
        placed = await self._placed(entry)
        wallets = []
        for name, event in _events(placed):
            until = [one for one in await self._events_of(name) if _order(one) <= _order(event)]
            wallets.append(_folded(name, until))
        return wallets

    async def partner_as_of(self, entry: str, partner: str) -> PartnerState:
        """Return a partner's accounts as of an entry.

        NotFound if there is no such entry, FiguresDisagree if a block cannot be read or the entry's is not there.
        """
        placed = await self._placed(entry)
        own = await self._audit.blocks(placed.lane, placed.seq, placed.seq)
        if not own:
            raise FiguresDisagree(f"the block of entry {entry} is not there")
        at = _readable(own[0]).at
        sums = Sums()
        for lane, head in (await self._audit.heads()).items():
            last = placed.seq - 1 if lane == placed.lane else head
            for first in range(0, last + 1, BLOCKS_AT_ONCE):
                until = min(first + BLOCKS_AT_ONCE - 1, last)
                blocks = [_readable(one) for one in await self._audit.blocks(lane, first, until)]
                if len(blocks) <= until - first:
                    raise FiguresDisagree(f"a block of lane {lane} is not there")
                earlier = [block for block in blocks if lane == placed.lane or block.at <= at]
                for block in earlier:
                    sums.add(block.sums)
                if len(earlier) < len(blocks):
                    break  # a lane's time never goes back
        with_it = await self._audit.entries(placed.lane, placed.seq, placed.seq)
        sums.add(Sums.of(one.entry for one in with_it if one.entry is not None and one.offset <= placed.offset))
        return PartnerState(
            partner=partner, points={account: n for (party, account), n in sums.points.items() if party == partner},
            positions=tuple(position for position in positions(sums) if position.partner == partner),
        )  # fmt: skip

    async def rebuild(self, progress: Progress) -> AsyncIterator[Rebuilt]:
        """Make every wallet again and yield whether it is the one that is stored, to the byte; nothing is written."""
        done, total = 0, await self._audit.wallet_count()
        async for chunk in self._audit.stored_wallets(WALLETS_AT_ONCE):
            for one in await self._compared(chunk):
                yield one
            done += len(chunk)
            progress("wallets", done, max(done, total))

    async def missing(self) -> AsyncIterator[Rebuilt]:
        """Yield the wallets that the journal or the references name and that are not there, in order."""
        async for names in self._audit.wallets_named_not_there(WALLETS_AT_ONCE):
            made = await self._made_again(dict.fromkeys(names))
            for name in names:
                one = made[name]
                yield Rebuilt(wallet=name, stored=False, wrong=None if isinstance(one, Wallet) else one)

    async def restore(self, wallet: str) -> bool:
        """Write a wallet that is missing as the journal has it; False if one is there by now. Nothing is replaced."""
        made = (await self._made_again({wallet: None}))[wallet]
        if not isinstance(made, Wallet):
            raise FiguresDisagree(f"wallet {wallet} cannot be made again: {made}")
        return await self._books.restore_wallet(made)

    async def _compared(self, stored: dict[str, StoredWallet]) -> list[Rebuilt]:
        """Compare wallets with what is made of them.

        The references are of another moment than the wallets, so whatever differs is read once more, and compared anew
        if it was written meanwhile.
        """
        made = await self._made_again({name: each.read.value for name, each in stored.items()})
        found = {name: _wrong(each, made[name]) for name, each in stored.items()}
        again = await self._audit.stored_wallets_of(name for name, wrong in found.items() if wrong)
        moved = {name: each for name, each in again.items() if each.written != stored[name].written}
        compared = [
            Rebuilt(wallet=name, stored=True, wrong=wrong) for name, wrong in found.items() if name not in moved
        ]
        return compared + (await self._compared(moved) if moved else [])

    async def _placed(self, entry: str) -> Placed:
        placed = await self._audit.entry(entry)
        if placed is None:
            raise NotFound(f"there is no entry {entry}")
        if not _events(placed):
            raise FiguresDisagree(f"entry {entry} does not say what it should: {placed.error}".rstrip(": "))
        return placed

    async def _events_of(self, wallet: str) -> list[Event]:
        return [event for _, event in await self._events_of_all([wallet])]

    async def _events_of_all(self, wallets: Iterable[str]) -> list[tuple[str, Event]]:
        wanted = set(wallets)
        placed = await self._audit.entries_of_wallets(wanted)
        events = [(name, event) for one in placed for name, event in _events(one) if name in wanted]
        return sorted(events, key=lambda each: (each[0], *_order(each[1])))

    async def _made_again(self, stored: dict[str, Wallet | None]) -> dict[str, Wallet | str]:
        """Return the wallets that the entries make, with their references; or why one cannot be made."""
        events = await self._events_of_all(stored)
        references = await self._audit.references_to(stored)
        made: dict[str, Wallet | str] = dict.fromkeys(stored, "no entry made it")
        for name, group in groupby(events, key=itemgetter(0)):
            known = stored[name]
            # What was committed since the wallet was read is not in it.
            until = [event for _, event in group if known is None or event.version <= known.version]
            try:
                made[name] = _named(_folded(name, until), known, references.get(name, []))
            except FiguresDisagree as error:
                made[name] = error.message
        return made


def _readable(found: Found[Block]) -> Block:
    if found.value is None:
        raise FiguresDisagree(f"block {found.id} cannot be read: {found.error}")
    return found.value


def _events(placed: Placed) -> list[tuple[str, Event]]:
    """Return an entry's sides; none if it cannot be read, and then a version is missing."""
    if placed.entry is None:
        return []
    try:
        return Event.both(placed.entry, (placed.lane, placed.seq, placed.offset), placed.period)
    except UNREADABLE:
        return []


def _order(event: Event) -> tuple[int, tuple[int, int, int]]:
    return event.version, event.place


def _folded(wallet: str, events: Sequence[Event]) -> Wallet:
    # Whether the right lots were taken is the check's to judge, not the past's: no agreement, no complaint.
    try:
        folded, wrong = fold(Wallet(wallet), events, AgreementBook())
    except UNREADABLE as error:
        raise FiguresDisagree(f"an entry of it does not say what it should: {error}") from error
    if wrong:
        raise FiguresDisagree(f"the journal contradicts itself: {wrong[0].what}")
    return folded


def _named(folded: Wallet, stored: Wallet | None, references: list[str]) -> Wallet:
    """Return the wallet with what its partners call the member."""
    by_partner: dict[str, list[str]] = {}
    for reference in references:
        partner, _, name = reference.partition(":")
        by_partner.setdefault(partner, []).append(name)

    def name_of(link: Link, known: Iterable[Link]) -> Link:
        names = by_partner.get(link.partner, [])
        if len(names) > 1:
            # Two members of this partner have become one: only what is stored tells them apart.
            names = [each.reference for each in known if each.partner == link.partner and each.reference in names]
        if len(names) != 1:
            raise FiguresDisagree(f"{len(names)} references of {link.partner} mean it, and the journal names none")
        return replace(link, reference=names[0])

    was = {} if stored is None else {one.wallet: one for one in stored.absorbed}
    absorbed = tuple(
        replace(
            one, links=tuple(name_of(link, was[one.wallet].links if one.wallet in was else ()) for link in one.links)
        )
        for one in folded.absorbed
    )
    known = () if stored is None else stored.links
    return replace(folded, links=tuple(name_of(link, known) for link in folded.links), absorbed=absorbed)


def _wrong(stored: StoredWallet, made: Wallet | str) -> str | None:
    if stored.read.value is None:
        return f"cannot be read: {stored.read.error}"
    if not isinstance(made, Wallet):
        return made
    return None if docs.wallet_bytes(made) == stored.written else "its entries make another"
