"""What a decision rests on, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field

from exchange.agreements import AgreementBook, Debit
from exchange.benefit import NO_CHANGE, Benefit, Stock, StockChange
from exchange.commands import ByReference, Command
from exchange.errors import NotFound
from exchange.exposure import Pair
from exchange.journal import Account, Entry, EntryKind, Posting, points_of
from exchange.quote import Quote
from exchange.redemption import Redemption
from exchange.rules import RuleBook
from exchange.wallet import Take, Wallet


class Terms(Struct, frozen=True):
    """What a decision rests on besides the wallet, read after the command arrived.

    `referenced`: the wallet id that the reference of a `LinkMember` already means, if any; `quote`, `redemption` and
    `other` (the second wallet): what the command names; `recent`: the member's redemptions as far back as limits look.
    `headroom`: how much more those that are capped may come to owe.
    """

    book: AgreementBook = field(default_factory=AgreementBook)
    benefit: Benefit | None = None
    stock: Stock = field(default_factory=lambda: Stock(None))
    referenced: str | None = None
    quote: Quote | None = None
    redemption: Redemption | None = None
    other: Wallet | None = None
    rules: RuleBook = field(default_factory=RuleBook)
    recent: Sequence[Redemption] = ()
    headroom: Mapping[Pair, int] = field(default_factory=dict)


class Decision(Struct, frozen=True, kw_only=True):
    """What is to be written: the wallet as it will be, its entry, and what else the event makes or takes.

    `other`: the second wallet that the entry concerns; `renamed`: references that from now on mean `renamed_to`.

    `claims`: a reference that from now on means the wallet; `stock`: what becomes of the stock of the redemption's
    benefit; `codes`: how many come out of its code pool.
    """

    wallet: Wallet
    entry: Entry
    other: Wallet | None = None
    redemption: Redemption | None = None
    claims: ByReference | None = None
    renamed: tuple[ByReference, ...] = ()
    renamed_to: str | None = None
    stock: StockChange = NO_CHANGE
    codes: int = 0


def no_member(path: tuple[str, ...] = ("input", "member")) -> NotFound:
    """Return the one answer for a member that is not there or not the caller's."""
    return NotFound("no such member", path)


def acceptor(book: AgreementBook, provider: str, now: datetime, rules: RuleBook | None = None) -> Callable[[str], bool]:
    """Return the question whether an issuer's points can be spent at `provider`, each issuer looked up once.

    With `rules`, the points of an issuer that is frozen cannot.
    """
    answers: dict[str, bool] = {}

    def accepts(issuer: str) -> bool:
        answer = answers.get(issuer)
        if answer is None:
            thawed = rules is None or not rules.frozen(issuer)
            answer = answers[issuer] = thawed and book.accepts(issuer, provider, now)
        return answer

    return accepts


def entry_of(
    command: Command, kind: EntryKind, wallet: Wallet, now: datetime, salt: bytes, *,
    postings: Sequence[Posting] = (), detail: dict[str, str] | None = None, redemption: Redemption | None = None,
    quantity: int = 0, debits: Sequence[Debit] = (), holds: Sequence[Take] = (), counterpart: Wallet | None = None,
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
        counterpart=None if counterpart is None else counterpart.id,
        counterpart_version=0 if counterpart is None else counterpart.version + 1,
    )  # fmt: skip


def out_of_lots(takes: Sequence[Take], account: Account) -> list[Posting]:
    """Return the postings of points that leave lots for an account of their issuer."""
    return [
        posting
        for take in takes
        for posting in (
            Posting(Account.WALLET, take.issuer, points_of(take.issuer), -take.points, take.lot),
            Posting(account, take.issuer, points_of(take.issuer), take.points),
        )
    ]


def because(reason: str | None, **said: str | None) -> dict[str, str]:
    """Return an entry's detail: the reason, and what else there is to say."""
    return {name: what for name, what in {"reason": reason, **said}.items() if what is not None}
