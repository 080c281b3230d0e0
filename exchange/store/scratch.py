"""What a check has to join, in a temporary SQLite file that nobody else can open and that goes with the process.

Values lie in it as MessagePack, which takes a fifth of the time of pickles.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from msgspec import msgpack

from exchange.proof.history import Event
from exchange.proof.redemptions import Act
from exchange.redemption import Redemption
from exchange.wallet import Wallet

_TABLES = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE wallets (id TEXT PRIMARY KEY, wallet BLOB) WITHOUT ROWID;
    CREATE TABLE events (wallet TEXT, version INT, lane INT, seq INT, n INT, event BLOB);
    CREATE TABLE links (reference TEXT, wallet TEXT);
    CREATE TABLE "references" (reference TEXT, wallet TEXT);
    CREATE TABLE redemptions (id TEXT PRIMARY KEY, redemption BLOB) WITHOUT ROWID;
    CREATE TABLE acts (redemption TEXT, version INT, then_version INT, lane INT, seq INT, n INT, act BLOB);
    CREATE TABLE claims (code TEXT, redemption TEXT, cipher BLOB);
    CREATE TABLE given (redemption TEXT, cipher BLOB);
"""


_ROWS_AT_ONCE = 1_000
_written = msgpack.Encoder().encode
_event = msgpack.Decoder(Event).decode
_act = msgpack.Decoder(Act).decode
_redemption = msgpack.Decoder(Redemption).decode
_wallet = msgpack.Decoder(Wallet).decode


class Scratch:
    """Tables of what was read, and the questions that are asked of them."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("")
        self._db.executescript(_TABLES)
        self._events: list[tuple[str, int, int, int, int, bytes]] = []

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    # ------------------------------------------------------------ writing

    def add_wallet(self, wallet: Wallet) -> None:
        """Keep a wallet as stored."""
        self._db.execute("INSERT INTO wallets VALUES (?, ?)", (wallet.id, _written(wallet)))
        self._db.executemany(
            "INSERT INTO links VALUES (?, ?)",
            {
                (f"{link.partner}:{link.reference}", wallet.id)
                for links in (wallet.links, *(one.links for one in wallet.absorbed))
                for link in links
            },
        )

    def add_events(self, wallet_events: Iterable[tuple[str, Event]]) -> None:
        """Keep what entries mean to their wallets."""
        self._events += [(wallet, event.version, *event.place, _written(event)) for wallet, event in wallet_events]
        if len(self._events) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", self._events)
        self._events.clear()

    def add_reference(self, reference: str, wallet: str) -> None:
        """Keep which wallet a partner's reference means."""
        self._db.execute('INSERT INTO "references" VALUES (?, ?)', (reference, wallet))

    def add_redemption(self, name: str, redemption: Redemption | None) -> None:
        """Keep a redemption as stored; None: it cannot be read as one."""
        blob = None if redemption is None else _written(redemption)
        self._db.execute("INSERT INTO redemptions VALUES (?, ?)", (name, blob))

    def add_act(self, redemption: str, act: Act) -> None:
        """Keep what an entry means to a redemption. Each writes the wallet: its version puts them in order.

        What was done after the member was merged comes after the version that it had then, in the order of the other
        wallet's.
        """
        version = act.entry.wallet_version
        merged_at = act.entry.detail.get("taken_by", "").partition("@")[2]
        order = (int(merged_at), version) if merged_at else (version, 0)
        row = (redemption, *order, *act.place, _written(act))
        self._db.execute("INSERT INTO acts VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def add_codes(self, redemption: str, codes: Iterable[bytes]) -> None:
        """Keep the codes that a redemption has."""
        self._db.executemany("INSERT INTO given VALUES (?, ?)", [(redemption, code) for code in codes])

    def add_claim(self, code: str, redemption: str, cipher: bytes) -> None:
        """Keep that a code of a pool says to which redemption it went."""
        self._db.execute("INSERT INTO claims VALUES (?, ?, ?)", (code, redemption, cipher))

    # ------------------------------------------------------------ asking

    def histories(self) -> Iterator[tuple[str, Wallet | None, list[Event]]]:
        """Yield every wallet that is stored or has entries, with its events in order."""
        self._flush()
        self._db.execute("CREATE INDEX by_wallet ON events (wallet, version, lane, seq, n)")
        rows = self._db.execute(
            "SELECT wallet, event FROM events ORDER BY wallet, version, lane, seq, n",
        )
        for wallet, group in groupby(rows, key=itemgetter(0)):
            yield wallet, self._wallet(wallet), [_event(event) for _, event in group]
        # Never written, says the journal.
        for wallet, stored in self._db.execute(
            "SELECT id, wallet FROM wallets WHERE id NOT IN (SELECT wallet FROM events)"
        ):
            yield wallet, _wallet(stored), []

    def _wallet(self, wallet: str) -> Wallet | None:
        row = self._db.execute("SELECT wallet FROM wallets WHERE id = ?", (wallet,)).fetchone()
        return None if row is None else _wallet(row[0])

    def lives(self) -> Iterator[tuple[str, bool, Redemption | None, list[Act]]]:
        """Yield every redemption that entries are about: whether it is stored, as what, and its acts in order."""
        self._db.execute("CREATE INDEX by_redemption ON acts (redemption, version, then_version, lane, seq, n)")
        rows = self._db.execute(
            "SELECT redemption, act FROM acts ORDER BY redemption, version, then_version, lane, seq, n"
        )
        for redemption, group in groupby(rows, key=itemgetter(0)):
            found = self._db.execute("SELECT redemption FROM redemptions WHERE id = ?", (redemption,)).fetchone()
            stored = None if found is None or found[0] is None else _redemption(found[0])
            yield redemption, found is not None, stored, [_act(act) for _, act in group]

    def links_without_reference(self) -> list[tuple[str, str]]:
        """Return (reference, wallet) of links whose reference is not stored, or means another wallet."""
        return self._pairs('SELECT reference, wallet FROM links EXCEPT SELECT reference, wallet FROM "references"')

    def references_without_link(self) -> list[tuple[str, str]]:
        """Return (reference, wallet) of references that no wallet has a link for."""
        return self._pairs('SELECT reference, wallet FROM "references" EXCEPT SELECT reference, wallet FROM links')

    def codes_given_twice(self) -> list[str]:
        """Return a redemption of each code that several have."""
        rows = self._db.execute("SELECT min(redemption) FROM given GROUP BY cipher HAVING count(*) > 1")
        return [one for (one,) in rows]

    def codes_given_unclaimed(self) -> list[str]:
        """Return redemptions that have a code of which the pool does not say that it went there."""
        rows = self._db.execute(
            "SELECT DISTINCT redemption FROM"
            " (SELECT redemption, cipher FROM given EXCEPT SELECT redemption, cipher FROM claims)"
        )
        return [one for (one,) in rows]

    def codes_claimed_ungiven(self) -> list[tuple[str, str]]:
        """Return (code, redemption) of codes that are said to have gone where they are not."""
        return self._pairs(
            "SELECT code, redemption FROM claims"
            " WHERE (redemption, cipher) NOT IN (SELECT redemption, cipher FROM given)"
        )

    def _pairs(self, question: str) -> list[tuple[str, str]]:
        return [(one, other) for one, other in self._db.execute(question)]
