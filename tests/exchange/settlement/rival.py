"""Another process of the same exchange: `python -m tests.exchange.settlement.rival URL DATABASE NAME`.

Redeems until its standard input ends, then says how many redemptions were acknowledged.
"""

from __future__ import annotations

import asyncio
import sys

from exchange.commands import ByReference, Redeem
from exchange.keyring import Keyring
from exchange.ledger import Ledger
from exchange.store.books import Books
from exchange.store.connection import connect, settled
from tests.exchange.settlement.conftest import KEY

IN_FLIGHT = 16


async def redeem_until_told(url: str, database: str, name: str) -> int:
    client, keyring = connect(url), Keyring(KEY)
    ledger = Ledger(Books(client[database]), keyring)
    await ledger.start()
    acknowledged, told = 0, asyncio.Event()

    async def member(n: int) -> None:
        nonlocal acknowledged
        while not told.is_set():
            command = Redeem(
                id=keyring.digest("entry", name, str(n), str(acknowledged)), fingerprint="", partner="video",
                whose=ByReference("video", f"{name}-{n}"), benefit="rides/city",
            )  # fmt: skip
            await ledger.submit(command)
            acknowledged += 1

    members = [asyncio.create_task(member(n)) for n in range(IN_FLIGHT)]
    sys.stdout.write("redeeming\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    told.set()
    await asyncio.gather(*members)
    await ledger.stop()
    await settled(client.close())
    return acknowledged


if __name__ == "__main__":
    sys.stdout.write(str(asyncio.run(redeem_until_told(*sys.argv[1:]))))
