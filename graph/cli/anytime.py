"""`exchange as-of` and `exchange rebuild`: what was, and wallets made again from the journal."""

from __future__ import annotations

from typing import Any

import click

from exchange.anytime import AnyTime, PartnerState, Rebuilt
from exchange.errors import NotFound
from exchange.journal import milliseconds
from exchange.settlement.clearing import entry_behind
from exchange.wallet import Wallet
from graph.cli.shell import Progress, Shell, TakesName, on_exchange, table
from graph.services import Services

SHOWN = 20
"""How many wallets are named that are not what their entries make of them; with --json all are."""


@click.command("as-of", cls=TakesName)
@click.argument("entry")
@click.option("--partner", metavar="HANDLE", help="Show this partner's accounts instead of the member's wallet.")
@on_exchange
def as_of(shell: Shell, entry: str, partner: str | None) -> None:
    """Show a wallet, or a partner's accounts, as of an entry.

    ENTRY is an entry's id in the journal, or what a partner's statement calls it. Of an entry that concerns two members
    both are shown. A partner's accounts are those of all lanes at the time of the entry's block.

    \b
    exchange as-of ENTRY
    exchange as-of ENTRY --partner video --json
    """  # noqa: D301 - click's mark for a paragraph that is not to be rewrapped

    async def work(services: Services) -> dict[str, Any]:
        past = AnyTime(services.db)
        name = entry_behind(services.keyring, entry, [known.handle for known in await services.registry.refresh()])
        if partner is None:
            return {"entry": entry, "wallets": [_wallet(wallet) for wallet in await past.wallets_as_of(name)]}
        if await services.registry.find(partner) is None:
            raise NotFound(f"there is no partner {partner}")
        return {"entry": entry, **_accounts(await past.partner_as_of(name, partner))}

    document = shell.run(work)
    shell.answer(document, _lines(document))


@click.command()
@click.option("--missing", is_flag=True, help="Restore wallets that are gone. Nothing that is there is replaced.")
@click.option("--yes", is_flag=True, help="Do not ask before restoring.")
@on_exchange
def rebuild(shell: Shell, *, missing: bool, yes: bool) -> None:
    """Make wallets again from the journal, and compare them.

    Every wallet is compared, to the byte, with what is stored: the exit code is 1 if one is not what its entries make
    of it. With --missing, wallets that the journal names and that are gone are restored. What partners call a member
    is not in the journal; it comes from the references, and a wallet whose references are gone cannot be made again.
    """
    equal = 0
    unequal: list[Rebuilt] = []

    async def compare(services: Services) -> None:
        nonlocal equal
        progress = Progress(quiet=shell.as_json)
        past = AnyTime(services.db)
        try:
            async for one in past.rebuild(progress.show):
                equal += one.wrong is None
                if one.wrong is not None:
                    unequal.append(one)
        finally:
            progress.end()
        unequal.extend([one async for one in past.missing()])

    shell.run(compare)
    gone = [one.wallet for one in unequal if one.wrong is None]
    restored: list[str] = []
    restoring = bool(missing and gone) and (yes or click.confirm(f"Restore {len(gone)} wallets?", err=True))
    if restoring:

        async def restore(services: Services) -> list[str]:
            past = AnyTime(services.db)
            return [wallet for wallet in gone if await past.restore(wallet)]

        restored = shell.run(restore)
    # One that could not be restored is there by now.
    wrong = [one for one in unequal if one.wrong is not None or not restoring]
    document = {
        "equal": equal, "restored": restored,
        "wrong": [{"wallet": one.wallet, "why": one.wrong or "is gone"} for one in wrong],
    }  # fmt: skip
    lines = [f"{document['equal']:,} wallets are what their entries make of them, to the byte"]
    lines += [f"{len(restored):,} restored"] if restored else []
    lines += [f"wallet {one.wallet}: {one.wrong or 'is gone'}" for one in wrong[:SHOWN]]
    lines += [f"and {len(wrong) - SHOWN:,} more"] if len(wrong) > SHOWN else []
    shell.answer(document, lines)
    if wrong:
        click.get_current_context().exit(1)


def _wallet(wallet: Wallet) -> dict[str, Any]:
    return {
        "wallet": wallet.id, "version": wallet.version, "period": wallet.period, "frozen": wallet.frozen,
        "household": wallet.household, "merged_into": wallet.merged_into, "taken": dict(wallet.taken),
        "debts": dict(wallet.debts),
        "lots": [
            {
                "lot": lot.id, "issuer": lot.issuer, "awarded": lot.awarded, "remaining": lot.remaining,
                "held": lot.held, "redeemed": lot.redeemed, "expired": lot.expired, "restored": lot.restored,
                "given": lot.given, "withdrawn": lot.withdrawn, "frozen": lot.frozen,
                "expires_at": None if lot.expires_at is None else milliseconds(lot.expires_at),
            }
            for lot in wallet.lots
        ],
    }  # fmt: skip


def _accounts(state: PartnerState) -> dict[str, Any]:
    return {
        "partner": state.partner, "out": state.out,
        "points": {account.value: points for account, points in sorted(state.points.items())},
        "positions": [
            {
                "currency": row.currency, "payable": row.payable.minor, "receivable": row.receivable.minor,
                "fees": row.fees.minor, "net": row.net.minor,
            }
            for row in state.positions
        ],
    }  # fmt: skip


def _lines(document: dict[str, Any]) -> list[str]:
    if "partner" in document:
        points = [[account, f"{points:,}"] for account, points in document["points"].items()]
        money = [[str(row[name]) for name in ("currency", "payable", "receivable", "fees", "net")]
                 for row in document["positions"]]  # fmt: skip
        return [
            f"{document['out']:,} points of {document['partner']} were out",
            *table(("account", "points"), points),
            *table(("currency", "payable", "receivable", "fees", "net"), money),
        ]
    lines = []
    for wallet in document["wallets"]:
        lines.append(f"wallet {wallet['wallet']}, version {wallet['version']}, period {wallet['period']}")
        names = ("lot", "issuer", "awarded", "remaining", "held", "expires_at")
        lines += table(names, [[str(lot[name] or "") for name in names] for lot in wallet["lots"]])
    return lines
