"""Who may do what in the database: two roles, so that a server cannot rewrite what it has written.

`exchangeServer` is for every process of the exchange. What is only ever added to it can read and add to, no more: the
journal, the terms and their versions, payments, nettings, the sign-off's log. The rest it can change, and it can remove
from two collections. It can drop nothing, give nobody a right, change no validator and not get around one. What it
makes at a start, an index or a collection, has to be there already.

`exchangeSetup` makes those, and may do what a server may; `exchange database setup` runs as a user that has it, once
and after every upgrade. It cannot remove more than a server can, but it can weaken a validator: it is a person's.

Not among the rights is `killAnySession`: a thief of a lane kills the session of the owner before, and one's own
sessions may be killed by anybody who is the same *user*, on whichever connection. So all servers are one user. Were
they two, the kill would find no such session, and the thief's block would wait until that transaction's time is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exchange.store.connection import Database, Document, answering

SERVER = "exchangeServer"
SETUP = "exchangeSetup"

ADDED_TO = frozenset({
    "agreements", "barters", "blocks", "calendars", "caps", "entries", "export_pieces", "fixes", "funding",
    "link_codes", "netting_policies", "nettings", "particulars", "partners", "quotes", "reconciliations", "rules",
    "sign_offs", "signing_keys",
})  # fmt: skip
"""What expires of them is removed by the server itself."""
CHANGED = frozenset({
    "assertion_jtis", "benefits", "codes", "disputes", "exports", "lanes", "notices", "periods", "redemptions",
    "references", "shelves", "staff", "statements", "stock", "terms", "wallets",
})  # fmt: skip
REMOVED_FROM = frozenset({"clients", "headroom"})

_EVERY_COLLECTION = ""


@dataclass(frozen=True, slots=True)
class Role:
    """A role of one database: rights, each to some actions on one of its collections, and other roles' in it."""

    name: str
    database: str
    rights: tuple[tuple[str, tuple[str, ...]], ...]
    includes: tuple[str, ...] = ()

    def definition(self) -> Document:
        """Return what `createRole` and `updateRole` are told, without the name."""
        return {
            "privileges": [
                {"resource": {"db": self.database, "collection": collection}, "actions": list(actions)}
                for collection, actions in self.rights
            ],
            "roles": [{"role": name, "db": self.database} for name in self.includes],
        }


def roles_of(database: str) -> tuple[Role, Role]:
    """Return the two roles, the server's first."""
    return (
        Role(SERVER, database, (
            (_EVERY_COLLECTION, ("listCollections", "listIndexes")),
            *_rights(ADDED_TO, "find", "insert"),
            *_rights(CHANGED, "find", "insert", "update"),
            *_rights(REMOVED_FROM, "find", "insert", "update", "remove"),
        )),
        Role(SETUP, database, ((_EVERY_COLLECTION, ("collMod", "createCollection", "createIndex")),), (SERVER,)),
    )  # fmt: skip


def _rights(collections: Iterable[str], *actions: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(collection, actions) for collection in sorted(collections)]


async def apply_roles(db: Database) -> list[tuple[Role, bool]]:
    """Make the roles, or what is of their names the same as them; says of each whether it is new.

    For an administrator: `userAdmin` of this database.
    """
    applied = []
    with answering():
        for role in roles_of(db.name):
            reply: Document = await db.command({"rolesInfo": role.name})
            new = not reply["roles"]
            await db.command({"createRole" if new else "updateRole": role.name, **role.definition()})
            applied.append((role, new))
    return applied
