"""The ledger of the machine: how a command is decided, and what is kept of it, without a database."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from hypothesis import event
from hypothesis.stateful import RuleBasedStateMachine
from msgspec.structs import replace

from exchange.benefit import Benefit, Stock
from exchange.commands import (
    Act,
    Award,
    Between,
    ByWallet,
    Command,
    Enrol,
    LinkMember,
    Redeem,
    Share,
    Sharing,
    Unmerge,
    Whose,
)
from exchange.decisions import Decision, Terms, decide
from exchange.errors import Refusal
from exchange.journal import Account, Entry
from exchange.limits import look_back
from exchange.proof.history import Event, Holds, fold
from exchange.proof.money import owed
from exchange.proof.redemptions import BEGINNINGS, STEPS, Life
from exchange.proof.redemptions import Act as Lived
from exchange.proof.stops import Stops
from exchange.quote import Quote
from exchange.redemption import Redemption
from exchange.rules import RuleBook
from exchange.store.documents import reference_id
from exchange.wallet import Wallet
from tests.exchange.any_order.given import BENEFITS, BOOK, BY_ID, CODES, RULES
from tests.exchange.any_order.other_words import expected, told
from tests.exchange.speech import NOW, SALT


class Ledger(RuleBasedStateMachine):
    """The ledger's part without its database: references, wallets, stock, and the entries as they come, in blocks.

    `then`: how each wallet stood from which entry on. `sound`: what the blocks before this one make of each, with its
    open holds; `fresh`: what happened to it in this one.
    """

    reached: ClassVar[Counter[tuple[str, str]]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.wallets: dict[str, Wallet] = {}
        self.references: dict[str, str] = {}
        self.laid_down = list(RULES)
        self.offers = {one.id: one for one in BENEFITS}
        self.stocks = {one.id: Stock(CODES.get(one.id, one.stock)) for one in BENEFITS}
        self.quotes: list[Quote] = []
        self.redemptions: dict[str, Redemption] = {}
        self.lives: dict[str, Life] = {}
        self.about: dict[str, list[Entry]] = {}
        self.entries: list[Entry] = []
        self.posted: Counter[tuple[str, Account]] = Counter()
        self.together = False
        self.block = 1
        self.changed: set[str] = set()
        self.stepped: set[str] = set()
        self.events: dict[str, list[tuple[int, Event]]] = {}
        self.then: dict[str, list[tuple[int, Wallet]]] = {}
        self.sound: dict[str, tuple[Wallet, Holds]] = {}
        self.fresh: dict[str, list[Event]] = {}
        self.folded: dict[str, tuple[Wallet, Holds]] = {}

    def decide(self, command: Command, of: Benefit | None = None, *, quote: Quote | None = None) -> None:
        """Decide a command; record what it makes, or hold a refusal against the contract in other words."""
        wallet, terms, all_known = self._read(command, of, quote)
        before = repr((wallet, terms))
        decided: Decision | Refusal
        try:
            decided = decide(command, wallet, terms, self.now, SALT)
        except Refusal as refusal:
            decided = refusal
        assert repr((wallet, terms)) == before, "what it was decided over is still what it was"
        refused = told(decided) if isinstance(decided, Refusal) else None
        name = _name(command)
        event(f"{name}: {refused[0].__name__ if refused else 'done'}")
        self.reached[name, "refused" if refused else "done"] += 1
        assert refused == expected(command, wallet, all_known, self.now)
        if isinstance(decided, Decision):
            self._record(decided)
            if not self.together:
                self._commit()

    def _read(self, command: Command, of: Benefit | None, quote: Quote | None) -> tuple[Wallet | None, Terms, Terms]:
        """Return the wallet and the terms of a command as a ledger reads them; and with all that it ever took."""
        redemption = self.redemptions.get(command.redemption or "") if isinstance(command, Act) else None
        if redemption is None:
            name = self._named(command.whose, new=isinstance(command, Award | Enrol))
        else:
            name = redemption.wallet
        wallet = self._standing(name)
        if wallet is None and name is not None and isinstance(command, Award | Enrol):
            wallet = Wallet(name)
        named = of or (None if redemption is None else self.offers[redemption.benefit])
        other = None
        if isinstance(command, Between):
            second = self._named(command.to) or ""
            other = self.wallets.get(second) if isinstance(command, Unmerge) else self._standing(second)
            if other is None and isinstance(command, Share) and command.what is Sharing.FOUND:
                other = Wallet(second)
        reference = command.reference if isinstance(command, LinkMember) else ""
        whole = () if wallet is None else wallet.whole
        ever = [one for one in self.redemptions.values() if one.wallet in whole] if isinstance(command, Redeem) else []
        book = RuleBook(self.laid_down)
        terms = Terms(
            BOOK, named, Stock(None) if named is None else self.stocks[named.id],
            self.references.get(f"{command.partner}:{reference}"), quote, redemption, other, book,
        )  # fmt: skip
        since = look_back([] if named is None else [named], book, self.now)
        recent = [one for one in ever if since is not None and one.created_at >= since]
        return wallet, replace(terms, recent=recent), replace(terms, recent=ever)

    def _named(self, whose: Whose, *, new: bool = False) -> str | None:
        if whose is None or isinstance(whose, ByWallet):
            return None if whose is None else whose.wallet
        return self.references.get(reference_id(whose), f"wallet of {reference_id(whose)}" if new else None)

    def _standing(self, name: str | None) -> Wallet | None:
        wallet = self.wallets.get(name or "")
        return wallet if wallet is None or wallet.merged_into is None else self._standing(wallet.merged_into)

    def _record(self, decision: Decision) -> None:
        entry, redemption, number = decision.entry, decision.redemption, len(self.entries)
        if decision.claims is not None:
            assert reference_id(decision.claims) not in self.references, "a reference is claimed once"
            self.references[reference_id(decision.claims)] = decision.wallet.id
        for whose in decision.renamed:
            assert reference_id(whose) in self.references, "only what means somebody can mean somebody else"
            self.references[reference_id(whose)] = decision.renamed_to or ""
        self.entries.append(entry)
        for posting in entry.postings:
            self.posted[posting.unit, posting.account] += posting.amount
        place = (1, self.block, number)
        events = Event.both(entry, place, 1)
        written = [one for one in (decision.wallet, decision.other) if one is not None]
        assert [name for name, _ in events] == [one.id for one in written], "an entry names what it changed"
        for wallet, (name, one) in zip(written, events, strict=True):
            self.wallets[name] = wallet
            self.changed.add(name)
            self.events.setdefault(name, []).append((number, one))
            self.then.setdefault(name, []).append((number, self._as_written(wallet)))
            self._fold(name, one)
        assert (redemption is None) == (entry.kind not in BEGINNINGS and entry.kind not in STEPS)
        if redemption is None:
            assert owed(entry, BY_ID, BOOK) == []
            return
        given = entry.quantity if "code" in redemption.benefit and entry.kind in ("REDEEM", "CONFIRM") else 0
        assert decision.codes == given
        self.stocks[redemption.benefit] = decision.stock.applied(self.stocks[redemption.benefit])
        self.redemptions[redemption.id] = redemption
        self.stepped.add(redemption.id)
        self.about.setdefault(redemption.id, []).append(entry)
        life = self.lives.setdefault(redemption.id, Life(redemption.id, BY_ID, BOOK))
        assert life.go_on(Lived(entry, place, 1)) == []

    def _fold(self, name: str, one: Event) -> None:
        """Fold a wallet's next event; what a block does to it is judged together, as it was committed."""
        self.fresh.setdefault(name, []).append(one)
        before, holds = self.sound.get(name, (Wallet(name), {}))
        holds = dict(holds)
        folded, wrong = fold(before, self.fresh[name], BOOK, holds, Stops(self.laid_down))
        assert wrong == []
        self.folded[name] = folded, holds

    def _commit(self) -> None:
        """Give what was changed its next version."""
        for name in self.changed:
            self.wallets[name] = self._as_written(self.wallets[name])
        for name in self.stepped:
            self.redemptions[name] = self._as_stored(self.redemptions[name])
        self.changed, self.stepped, self.fresh = set(), set(), {}
        self.sound.update(self.folded)
        self.block += 1

    def _as_written(self, wallet: Wallet) -> Wallet:
        return replace(wallet, version=wallet.version + 1, period=1) if wallet.id in self.changed else wallet

    def _as_stored(self, one: Redemption) -> Redemption:
        return replace(one, version=one.version + 1, period=1) if one.id in self.stepped else one


def _name(command: Command) -> str:
    """Return under which name a command is counted."""
    if isinstance(command, Act):
        return command.step
    if isinstance(command, Share):
        return command.what
    name = type(command).__name__
    return "Unfreeze" if name == "Freeze" and not getattr(command, "frozen", True) else name
