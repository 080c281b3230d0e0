"""A statement as plain-text accounting, in the syntax of Beancount 3, for the partner's books.

One transaction for each line, from the partner's side, on

- `Income:Exchange:...` and `Expenses:Exchange:...`: redemptions, commissions and adjustments, earned and owed, by
  counterparty;
- `Expenses:Fees:Exchange`: what the exchange charges;
- `Assets:Receivable:Exchange`: the net, which is less than nothing when the partner has to pay.

An account is opened where it is first used, so that nothing has to be known of the lines before they come. The file
ends with *balance assertions*: what the accounts hold must be the statement's net and fees in each currency, to the
minor unit. So `bean-check` does not only read the file, it adds the statement up again. The assertions are of a ledger
that has this statement alone: who includes the file in larger books leaves its last part out.

What a statement knows and a ledger has no word for stands in `custom "statement"` (id, hash, period) and in the
metadata of each transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import date, datetime, timedelta

from exchange.amounts import decimal_from_minor
from exchange.journal import EXCHANGE, LineKind, milliseconds
from exchange.settlement.export import Subject
from exchange.settlement.statement import StatementLine

NET = f"Assets:Receivable:{EXCHANGE.capitalize()}"
FEES = f"Expenses:Fees:{EXCHANGE.capitalize()}"


async def write(subject: Subject, lines: AsyncIterator[StatementLine]) -> AsyncIterator[bytes]:
    """Yield the file, transaction by transaction."""
    statement = subject.statement
    currencies = [each.currency for each in statement.totals]
    end = subject.period.closed_at or subject.period.opened_at
    begun: date | None = None
    opened: set[str] = set()
    number = 0

    yield _text(_head(subject, currencies))
    async for line in lines:
        number += 1
        begun = begun or line.at.date()
        against = _against(line, statement.partner)
        for account in (NET, against, *((FEES,) if line.fee.minor else ())):
            if account not in opened:
                opened.add(account)
                yield _text([f"{line.at.date()} open {account}", ""])
        yield _text(_transaction(number, line, against))
        end = max(end, line.at)
    yield _text(_closing(subject, end, opened))


def _head(subject: Subject, currencies: Iterable[str]) -> Iterator[str]:
    statement = subject.statement
    yield f"; statement {statement.id}, period {statement.period}"
    yield f"; hash {statement.hash}"
    yield f'option "title" "Statement {statement.id}"'
    for currency in currencies:
        yield f'option "operating_currency" "{currency}"'
    day = subject.period.opened_at.date()
    yield f'{day} custom "statement" "{statement.id}" "{statement.hash}" {statement.period}'
    yield ""


def _against(line: StatementLine, partner: str) -> str:
    """Return what the gross is posted to. What goes back is posted where it came from, so that it cancels there."""
    match line.kind:
        case LineKind.COMMISSION:  # the provider owes it; so a sign alone would not tell what goes back from what comes
            what, earned = "Commissions", not (line.benefit or "").startswith(f"{partner}/")
        case LineKind.ADJUSTMENT:
            what, earned = "Adjustments", line.gross.minor > 0
        case _:
            what, earned = "Redemptions", (line.points > 0) is (line.kind is LineKind.REDEMPTION)
    side = "Income" if earned else "Expenses"
    return f"{side}:{EXCHANGE.capitalize()}:{what}:{line.counterparty.capitalize()}"


def _transaction(number: int, line: StatementLine, against: str) -> Iterator[str]:
    what = line.kind if line.benefit is None else f"{line.kind} {line.benefit}"
    yield f'{line.at.date()} * "{line.counterparty}" {_quoted(what)}'
    yield f"  line: {number}"
    yield f"  entry: {_quoted(line.entry)}"
    yield f'  at: "{milliseconds(line.at)}"'
    yield f"  points: {line.points}"
    if line.late:
        yield "  late: TRUE"
    yield f"  {against}  {_amount(-line.gross.minor, line.currency)}"
    if line.fee.minor:
        yield f"  {FEES}  {_amount(line.fee.minor, line.currency)}"
    yield f"  {NET}  {_amount(line.net.minor, line.currency)}"
    yield ""


def _closing(subject: Subject, end: datetime, opened: set[str]) -> Iterator[str]:
    yield "; what the statement says that all this adds up to"
    day = end.date() + timedelta(days=1)  # an assertion is of a day's beginning
    for total in subject.statement.totals:
        for account, minor in ((NET, total.net.minor), (FEES, total.fees.minor)):
            if account in opened:
                digits = decimal_from_minor(minor, total.currency)
                nothing = decimal_from_minor(0, total.currency)
                yield f"{day} balance {account}  {digits} ~ {nothing} {total.currency}"


def _amount(minor: int, currency: str) -> str:
    return f"{decimal_from_minor(minor, currency)} {currency}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
