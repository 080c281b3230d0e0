"""What must hold after every step; the numbers are those of the invariants that `check` proves."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

from hypothesis.stateful import invariant

from exchange.benefit import LimitPeriod
from exchange.journal import Account, EntryKind
from exchange.proof.history import differences, unheld
from exchange.proof.redemptions import unlike
from exchange.redemption import RedemptionStatus
from tests.exchange.any_order.given import BENEFITS, PARTNERS
from tests.exchange.any_order.ledger import Ledger


class Lawful(Ledger):
    """A ledger that is held to the law whenever something has happened."""

    @invariant()
    def points_balance(self) -> None:
        """1. Every entry sums to zero per unit, and so does the whole journal."""
        total: Counter[str] = Counter()
        last: Counter[str] = Counter()
        for (unit, _), amount in self.posted.items():
            total[unit] += amount
        for posting in self.entries[-1].postings:
            last[posting.unit] += posting.amount
        assert not any((*total.values(), *last.values()))

    @invariant()
    def wallets_are_their_entries(self) -> None:
        """2, 3, 6, 8. Lots are possible, wallets their entries, the first to expire went first, holds hold."""
        open_holds: set[str] = set()
        for name, wallet in self.wallets.items():
            folded, holds = self.folded[name]
            assert differences(self._as_written(wallet), folded) == []
            assert unheld(wallet, holds) == []
            open_holds |= holds.keys()
        reserved = {one.id for one in self.redemptions.values() if one.status is RedemptionStatus.RESERVED}
        assert open_holds == reserved

    @invariant()
    def nothing_is_negative(self) -> None:
        """2. Neither a balance nor a debt, nor anything that is counted in a lot."""
        for wallet in self.wallets.values():
            assert all(debt > 0 for debt in wallet.debts.values())
            for lot in wallet.lots:
                counts = (lot.remaining, lot.redeemed, lot.expired, lot.restored, lot.given, lot.withdrawn, lot.owed)
                assert min(counts) >= 0
                assert 0 <= lot.held <= lot.remaining
                assert lot.restored <= lot.redeemed
                assert 0 <= lot.reversible <= lot.awarded

    @invariant()
    def redemptions_are_their_entries(self) -> None:
        """3, 8. A redemption is the fold of its entries, and parts that went back are together the whole."""
        for redemption in self.redemptions.values():
            assert unlike(self._as_stored(redemption), self.lives[redemption.id].redemption) == []
            left: Counter[Any] = Counter()
            for debit in (debit for entry in self.about[redemption.id] for debit in entry.debits):
                left[debit.issuer, "points"] += debit.points
                left[debit.issuer, "owed"] += debit.owed.minor if debit.owed else 0
                left[debit.issuer, "fee"] += debit.fee_minor
                left[debit.issuer, "commission"] += debit.commission_minor
            assert all(figure >= 0 for figure in left.values())
            if redemption.status not in (RedemptionStatus.CONFIRMED, RedemptionStatus.FULFILLED):
                assert not any(left.values())
            else:
                unit = redemption.points // redemption.quantity
                points = sum(figure for (_, name), figure in left.items() if name == "points")
                assert points == unit * (redemption.quantity - redemption.returned)

    @invariant()
    def issuers_know_what_is_out(self) -> None:
        """4. What an issuer gave, less where it went, is what remains in its lots, whoever has them."""
        remaining: Counter[str] = Counter()
        for lot in (lot for wallet in self.wallets.values() for lot in wallet.lots):
            remaining[lot.issuer] += lot.remaining
        gone = (Account.ISSUED, Account.GOODWILL, Account.REDEEMED, Account.EXPIRED, Account.WITHDRAWN)
        for issuer in PARTNERS:
            unit = f"points:{issuer}"
            out = -sum(self.posted[unit, account] for account in gone)
            assert remaining[issuer] == out == self.posted[unit, Account.WALLET]

    @invariant()
    def debts_are_what_was_taken_back_and_not_repaid(self) -> None:
        """An issuer is owed what it reversed beyond what was there, less what awards have repaid since."""
        owing: Counter[str] = Counter()
        for entry in self.entries:
            owing[entry.by] += int(entry.detail.get("debt", "0")) - int(entry.detail.get("repaid", "0"))
        there: Counter[str] = Counter()
        for wallet in self.wallets.values():
            there.update(wallet.debts)
        assert +there == +owing
        assert min(owing.values(), default=0) >= 0

    @invariant()
    def nobody_gives_more_than_its_issuer_allows(self) -> None:
        """What counts against a day's limit is what was given away on the last day on which anything was."""
        if any(entry.kind is EntryKind.MERGE for entry in self.entries):
            return
        given: dict[tuple[str, str], tuple[date, int]] = {}
        for entry in self.entries:
            if entry.kind in (EntryKind.GIVE, EntryKind.PAY_IN):
                for posting in entry.postings:
                    if posting.amount < 0:
                        on, points = given.get((entry.wallet, posting.party), (entry.at.date(), 0))
                        so_far = points if on == entry.at.date() else 0
                        given[entry.wallet, posting.party] = entry.at.date(), so_far - posting.amount
        counted = {
            (wallet.id, issuer): tuple(one) for wallet in self.wallets.values() for issuer, one in wallet.given.items()
        }
        assert counted == given

    @invariant()
    def households_and_their_members_agree(self) -> None:
        """A member shares the pool that counts it among its members, and no other."""
        here = {(name, wallet.household) for name, wallet in self.wallets.items() if wallet.household is not None}
        assert here == {(member, pool.id) for pool in self.wallets.values() for member in pool.members}

    @invariant()
    def points_can_be_reached(self) -> None:
        """Whoever has a wallet has a link through which to reach it, and what it is called there means it."""
        for name, wallet in self.wallets.items():
            if name.startswith("pool") or wallet.merged_into is not None:
                assert wallet.links == ()
            else:
                assert any(link.open for link in wallet.links)
            assert wallet.merged_into is None or wallet.lots == ()
            for one in wallet.links:
                assert self.references[f"{one.partner}:{one.reference}"] == name
        assert all(self.wallets[name].merged_into is None for name in self.references.values())

    @invariant()
    def nothing_is_sold_twice(self) -> None:
        """11. No more is sold or reserved than was offered, no member has more than its limit, nothing is lost."""
        counted: Counter[tuple[str, str]] = Counter()
        for one in self.redemptions.values():
            if one.status not in (RedemptionStatus.CANCELLED, RedemptionStatus.EXPIRED):
                counted[one.wallet, one.benefit] += one.quantity - one.returned
        merged = any(entry.kind is EntryKind.MERGE for entry in self.entries)
        for offer in BENEFITS:
            name, stock = offer.id, self.stocks[offer.id]
            lives = [life for life in self.lives.values() if life.redemption and life.redemption.benefit == name]
            assert stock.sold == sum(life.stock.sold for life in lives)
            assert stock.reserved == sum(life.stock.reserved for life in lives)
            assert stock.left is None or stock.left >= 0
            for wallet in self.wallets.values():
                ever = 0 if wallet.merged_into else sum(counted[each, name] for each in wallet.whole)
                assert wallet.taken.get(name, 0) == ever >= 0
                if offer.member_limit is not None and offer.member_limit_period is LimitPeriod.EVER and not merged:
                    assert ever <= offer.member_limit
