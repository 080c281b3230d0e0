"""One batch: what it read, what each of its commands makes of that, in order, and what is to be written in the end.

Nothing here reads or writes a database; `ledger` brings what is needed and commits what comes out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from exchange.agreements import StaleBook
from exchange.benefit import Fulfilment, Stock, StockChange
from exchange.commands import (
    Act,
    AdjustLine,
    Award,
    Between,
    ByReference,
    ByWallet,
    Command,
    Enrol,
    LinkMember,
    Redeem,
    Reserve,
    Share,
    Sharing,
    Unmerge,
    Whose,
)
from exchange.decisions import Decision, Terms, decide
from exchange.errors import (
    BenefitUnavailable,
    ExchangeError,
    IdempotencyConflict,
    InvalidTransition,
    Refusal,
)
from exchange.exposure import Pair, Room, change
from exchange.journal import SALT_BYTES, Entry
from exchange.redemption import Redemption, RedemptionStatus, Step
from exchange.store.books import FirstRound, SecondRound, Writes
from exchange.store.documents import reference_id
from exchange.store.lanes import Conflict
from exchange.wallet import Wallet

_Versioned = TypeVar("_Versioned", Wallet, Redemption)


class Outcome(Struct, frozen=True):
    """A command that was carried out, now or before: its entry, and the wallets and redemption as they now stand.

    `other`: the second wallet, where the entry concerns two.
    """

    entry: Entry
    wallet: Wallet
    redemption: Redemption | None = None
    replayed: bool = False
    other: Wallet | None = None


Answer = Outcome | ExchangeError


Reads = tuple[FirstRound, SecondRound]
"""What a batch rests on."""


@dataclass(slots=True)
class Batch:
    """A batch being decided: the state as its decisions so far have made it, and what they will write.

    `rooms`: the lane's, of those concerned that are capped; `owed`: what they owe more by what was decided, `wanted`:
    what they would, had there been the headroom. `named`: what a first mention calls its wallet;
    `lapse_of`: the command by which a reservation is over.
    """

    first: FirstRound
    second: SecondRound
    wallets: dict[str, Wallet]
    references: dict[str, str]
    stocks: dict[str, Stock]
    codes: dict[str, list[tuple[str, bytes]]]
    redemptions: dict[str, Redemption]
    named: Callable[[ByReference], str]
    lapse_of: Callable[[str], Act]
    recent: dict[str, Redemption] = field(default_factory=dict)
    rooms: dict[Pair, Room] = field(default_factory=dict)
    owed: dict[Pair, int] = field(default_factory=dict)
    wanted: dict[Pair, int] = field(default_factory=dict)
    changed: dict[str, Wallet] = field(default_factory=dict)
    stepped: dict[str, Redemption] = field(default_factory=dict)
    writes: Writes = field(default_factory=Writes)

    def standing(self, wallet: str | None) -> Wallet | None:
        """Return a wallet, or the one that it has become."""
        found = None if wallet is None else self.wallets.get(wallet)
        while found is not None and found.merged_into is not None:
            found = self.wallets.get(found.merged_into)
        return found

    def owe(self, before: Redemption | None, after: Redemption | None, entry: Entry) -> None:
        """Count what a decision makes the capped owe more."""
        if self.rooms:
            for pair, more in change(before, after, entry).items():
                if pair in self.rooms:
                    self.owed[pair] = self.owed.get(pair, 0) + more

    def want(self, beyond: Mapping[Any, int]) -> None:
        """Count what a redemption was refused for."""
        for pair, minor in beyond.items():
            self.wanted[pair] = self.wanted.get(pair, 0) + minor

    def holder(self, entry: Entry) -> Wallet | None:
        """Return the wallet of an entry as it now stands: of one that made a lot, the one in which that is."""
        found = self.standing(entry.wallet)
        if makes_lot(entry) and found is not None and found.lot(entry.id) is None:
            return next((wallet for wallet in self.wallets.values() if wallet.lot(entry.id) is not None), found)
        return found

    def terms(self, command: Command, terms: Terms) -> Terms:
        """Add to the terms that are common to all what this command names."""
        if isinstance(command, Redeem):
            return self._terms_of_taking(command, terms)
        if isinstance(command, Act):
            return self._terms_of_step(command, terms)
        if isinstance(command, LinkMember):
            known = self.references.get(reference_id(ByReference(command.partner, command.reference)))
            return replace(terms, referenced=known)
        if isinstance(command, Between):
            other = wallet_of(command.to, self.references) or ""
            founding = isinstance(command, Share) and command.what is Sharing.FOUND
            undoing = isinstance(command, Unmerge)
            found = self.wallets.get(other) if undoing else self.standing(other)
            return replace(terms, other=Wallet(other) if found is None and founding else found)
        return terms

    def _terms_of_taking(self, command: Redeem, terms: Terms) -> Terms:
        benefit = self.first.benefits.get(command.benefit or "")
        if benefit is None:
            return terms
        wallet = self.standing(wallet_of(command.whose, self.references))
        whole = () if wallet is None else wallet.whole
        return replace(
            terms, benefit=benefit, stock=self.stocks.get(benefit.id, Stock(0)),
            quote=self.first.quotes.get(command.quote or ""),
            recent=[one for one in self.recent.values() if one.wallet in whole],
            headroom={pair: room.usable - self.owed.get(pair, 0) for pair, room in self.rooms.items()},
        )  # fmt: skip

    def _terms_of_step(self, command: Act, terms: Terms) -> Terms:
        redemption = self.redemptions.get(command.redemption or "")
        if redemption is None:
            return terms
        # Of a redemption that this very batch made, the benefit was read with what made it.
        benefit = self.second.benefits.get(redemption.benefit) or self.first.benefits.get(redemption.benefit)
        stock = self.stocks.get(redemption.benefit, Stock(0))
        return replace(terms, benefit=benefit, stock=stock, redemption=redemption)

    def _replay(self, command: Command, done: dict[str, Outcome]) -> Answer | None:
        """Return what the command was answered before, or a twin of it earlier in this self. Refusals are not kept."""
        twin = done.get(command.id)
        entry = self.first.entries.get(command.id) if twin is None else twin.entry
        if entry is None:
            return None
        if entry.fingerprint != command.fingerprint:
            return IdempotencyConflict(
                "this idempotency key was used with a different input", ("input", "idempotencyKey")
            )
        if twin is not None:
            return replace(twin, replayed=True)
        redemption = self.second.redemptions.get(entry.redemption or "")
        wallet, other = self.holder(entry), self.standing(entry.counterpart)
        return Outcome(entry, wallet or self.wallets[entry.wallet], redemption, replayed=True, other=other)

    def decide(self, commands: Sequence[Command], terms: Terms, now: datetime) -> list[Answer]:
        """Decide commands in their order, each on what those before it made of the wallets."""
        done: dict[str, Outcome] = {}
        decided: list[Answer] = []
        for command in commands:
            answer = self._replay(command, done)
            if answer is None:
                answer = self._decide(command, self.terms(command, terms), now)
                if isinstance(answer, Outcome):
                    done[command.id] = answer
                elif isinstance(answer, BenefitUnavailable):
                    self.want(answer.beyond)
                elif isinstance(answer, InvalidTransition) and isinstance(command, Act):
                    self._lapse(command.redemption or "", terms, now, done)
            decided.append(answer)
        return decided

    def _lapse(self, redemption: str, terms: Terms, now: datetime, done: dict[str, Outcome]) -> None:
        """Write down that a reservation is over, if that is why a step was refused.

        Else a confirmation that another process decided in time could still be committed after the refusal was told.
        """
        named = self.redemptions.get(redemption)
        if named is None or named.status is not RedemptionStatus.RESERVED:
            return
        if named.standing(now) is RedemptionStatus.EXPIRED:
            lapse = self.lapse_of(redemption)
            answer = self._decide(lapse, self.terms(lapse, terms), now)
            if isinstance(answer, Outcome):
                done[lapse.id] = answer

    def _decide(self, command: Command, terms: Terms, now: datetime) -> Answer:
        named = terms.redemption
        new = isinstance(command, Award | Enrol | AdjustLine)
        wallet_id = (
            wallet_of(command.whose, self.references, self.named if new else None) if named is None else named.wallet
        )
        wallet = self.standing(wallet_id)
        if wallet is None and wallet_id is not None and new:
            wallet = Wallet(wallet_id)
        try:
            decision = decide(command, wallet, terms, now, secrets.token_bytes(SALT_BYTES))
        except Refusal as refusal:
            return refusal
        except StaleBook as error:
            raise Conflict("an agreement was added between two reads") from error
        return self._record(decision, terms)

    def _record(self, decision: Decision, terms: Terms) -> Outcome:
        """Fold a decision into the batch's state and into what will be written."""
        writes, wallet, redemption = self.writes, decision.wallet, decision.redemption
        for written in (wallet,) if decision.other is None else (wallet, decision.other):
            self.wallets[written.id] = self.changed[written.id] = written
        writes.entries.append(decision.entry)
        if redemption is None and decision.entry.debits:
            self.owe(None, None, decision.entry)
        if decision.claims is not None:
            self.references[reference_id(decision.claims)] = wallet.id
            writes.claims.append((decision.claims, wallet.id))
        if decision.renamed_to is not None:
            for whose in decision.renamed:
                self.references[reference_id(whose)] = decision.renamed_to
                writes.renamed.append((whose, decision.renamed_to))
        if redemption is not None:
            pool = self.codes.get(redemption.benefit, [])
            codes, self.codes[redemption.benefit] = pool[: decision.codes], pool[decision.codes :]
            if len(codes) < decision.codes:
                raise Conflict("codes were taken between two reads")
            if codes:
                writes.codes += [(code, redemption.id) for code, _ in codes]
                redemption = replace(redemption, codes=tuple(cipher for _, cipher in codes))
            self.owe(terms.redemption, redemption, decision.entry)
            self.redemptions[redemption.id] = self.stepped[redemption.id] = self.recent[redemption.id] = redemption
            self.stocks[redemption.benefit] = decision.stock.applied(terms.stock)
            before, _ = writes.stock.get(redemption.benefit, (StockChange(), False))
            writes.stock[redemption.benefit] = (before.plus(decision.stock), terms.stock.offered is not None)
        return Outcome(decision.entry, wallet, redemption, other=decision.other)

    def answers(self, decided: Iterable[Answer], period: int) -> list[Answer]:
        """Return what was decided, with wallets and redemptions as the whole batch left them when it was written."""
        return [self._as_written(answer, period) for answer in decided]

    def _as_written(self, answer: Answer, period: int) -> Answer:
        if not isinstance(answer, Outcome):
            return answer
        redemption = answer.redemption
        stepped = None if redemption is None else self.stepped.get(redemption.id)
        if stepped is not None:
            redemption = _written(stepped, period)

        def as_left(wallet: Wallet) -> Wallet:
            changed = self.changed.get(wallet.id)
            return wallet if changed is None else _written(changed, period)

        other = None if answer.other is None else as_left(answer.other)
        return Outcome(answer.entry, as_left(answer.wallet), redemption, answer.replayed, other)


def wallet_of(
    whose: Whose, references: Mapping[str, str], named: Callable[[ByReference], str] | None = None
) -> str | None:
    """Return the wallet that is meant, None if there is none; of somebody new, the one that `named` gives."""
    if isinstance(whose, ByWallet):
        return whose.wallet
    if whose is None:
        return None
    known = references.get(reference_id(whose))
    return named(whose) if known is None and named is not None else known


def makes_lot(entry: Entry) -> bool:
    """Whether an entry brought a lot into being."""
    return any(posting.lot == entry.id for posting in entry.postings)


def wallets_named(command: Command) -> list[Whose]:
    """Return whose wallets a command is about, as it says it."""
    return [command.whose, command.to] if isinstance(command, Between) else [command.whose]


def references_named(command: Command) -> list[ByReference]:
    """Return the references whose meaning a command rests on."""
    found = [whose for whose in wallets_named(command) if isinstance(whose, ByReference)]
    if isinstance(command, LinkMember):
        found.append(ByReference(command.partner, command.reference))
    return found


def batch_of(reads: Reads, named: Callable[[ByReference], str], lapse_of: Callable[[str], Act]) -> Batch:
    """Return a batch that begins with what was read."""
    first, second = reads
    return Batch(
        first, second, dict(second.wallets), dict(first.references), second.stocks | first.stocks,
        {benefit: list(codes) for benefit, codes in second.codes.items()}, dict(first.redemptions), named, lapse_of,
    )  # fmt: skip


def codes_wanted(commands: Sequence[Command], first: FirstRound) -> dict[str, int]:
    """Return how many codes of each benefit's pool the commands could take at most."""
    wanted: dict[str, int] = {}
    for command in commands:
        if command.id in first.entries:
            continue
        if isinstance(command, Redeem) and not isinstance(command, Reserve):
            benefit = first.benefits.get(command.benefit or "")
            if benefit is not None and benefit.fulfilment is Fulfilment.INSTANT_CODE:
                wanted[benefit.id] = wanted.get(benefit.id, 0) + command.quantity
        elif isinstance(command, Act) and command.step is Step.CONFIRM:
            # Whether it is fulfilled by codes is read beside them; other benefits have an empty pool.
            redemption = first.redemptions.get(command.redemption or "")
            if redemption is not None:
                wanted[redemption.benefit] = wanted.get(redemption.benefit, 0) + redemption.quantity
    return wanted


def _written(value: _Versioned, period: int) -> _Versioned:
    """Return a wallet or redemption as a commit leaves it."""
    return replace(value, version=value.version + 1, period=period)
