"""What a decision rests on, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from exchange.agreements import AgreementBook, Debit
from exchange.benefit import NO_CHANGE, Benefit, Stock, StockChange
from exchange.commands import ByReference, Command
from exchange.errors import NotFound
from exchange.journal import Entry, EntryKind, Posting
from exchange.quote import Quote
from exchange.redemption import Redemption
from exchange.wallet import Take, Wallet


@dataclass(frozen=True, slots=True)
class Terms:
    """What a decision rests on besides the wallet, read after the command arrived.

    `referenced`: the wallet id that the reference of a `LinkMember` already means, if any; `quote` and `redemption`:
    what the command names.
    """

    book: AgreementBook = field(default_factory=AgreementBook)
    benefit: Benefit | None = None
    stock: Stock = field(default_factory=lambda: Stock(None))
    referenced: str | None = None
    quote: Quote | None = None
    redemption: Redemption | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written: the wallet as it will be, its entry, and what else the event makes or takes.

    `claims`: a reference that from now on means the wallet; `stock`: what becomes of the stock of the redemption's
    benefit; `codes`: how many come out of its code pool.
    """

    wallet: Wallet
    entry: Entry
    redemption: Redemption | None = None
    claims: ByReference | None = None
    stock: StockChange = NO_CHANGE
    codes: int = 0


def no_member(path: tuple[str, ...] = ("input", "member")) -> NotFound:
    """Return the one answer for a member that is not there or not the caller's."""
    return NotFound("no such member", path)


def acceptor(book: AgreementBook, provider: str, now: datetime) -> Callable[[str], bool]:
    """Return the question whether an issuer's points can be spent at `provider`, each issuer looked up once."""
    answers: dict[str, bool] = {}

    def accepts(issuer: str) -> bool:
        answer = answers.get(issuer)
        if answer is None:
            answer = answers[issuer] = book.accepts(issuer, provider, now)
        return answer

    return accepts


def entry_of(
    command: Command, kind: EntryKind, wallet: Wallet, now: datetime, salt: bytes, *,
    postings: Sequence[Posting] = (), detail: dict[str, str] | None = None, redemption: Redemption | None = None,
    quantity: int = 0, debits: Sequence[Debit] = (), holds: Sequence[Take] = (),
) -> Entry:  # fmt: skip
    """Return the entry of a command; with a redemption, about that."""
    return Entry(
        id=command.id, kind=kind, at=now, wallet=wallet.id, by=command.partner, fingerprint=command.fingerprint,
        salt=salt, wallet_version=wallet.version + 1, postings=tuple(postings), detail=detail or {},
        redemption=None if redemption is None else redemption.id,
        benefit=None if redemption is None else redemption.benefit,
        provider=None if redemption is None else redemption.provider,
        channel=None if redemption is None else redemption.channel,
        quantity=quantity, debits=tuple(debits), holds=tuple(holds),
    )  # fmt: skip
