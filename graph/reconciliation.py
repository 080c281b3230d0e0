"""The types of reconciliation: what is due, the bank's files, what a person has to look at; a partner's own record.

A bank's file is the exchange's own account, with everybody's movements: files and exceptions are finance's alone. What
is due a partner sees of its own statements, so that it can put the reference into its payment.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import strawberry
from strawberry import Parent

from exchange.amounts import Money as Amount
from exchange.settlement import reconciliation, statement, usage
from exchange.settlement.reconciliation import Booked
from exchange.settlement.reconciling import ReconciledStatement as Reconciled
from exchange.settlement.reconciling import RecordedPayment as Recorded
from exchange.settlement.usage import POINTS, Tally, UsageRow
from exchange.store import reconciliation as store
from graph.context import Context, Info
from graph.enums import PaymentExceptionKind, PaymentMatchedBy, UsageDifferenceKind
from graph.inputs import sent
from graph.paging import After, Connection, First, Page, page
from graph.refusals import Said, UserError
from graph.scalars import CurrencyCode, Points
from graph.settlement import Statement, own
from graph.types import Money, the_partner


async def _named(context: Context, actor: str) -> str:
    """Return the address of somebody of the staff; of others, what they were called."""
    return (await context.staff()).get(actor, actor)


# ---------------------------------------------------------------- payments


@strawberry.type(
    description="What is to be paid of a statement in one currency, signed as the exchange's account sees it."
)
class DuePayment:
    """exchange.settlement.reconciliation.Due."""

    reference: str = strawberry.field(description="By what its payment is known: put it in as end-to-end id.")

    @strawberry.field(graphql_type=Statement | None, description="What it is of.")
    async def statement(root: Parent[reconciliation.Due], info: Info) -> statement.Statement | None:
        """Read it, as the caller may."""
        whose = None if info.context.is_staff else info.context.partner
        return await info.context.services.settlement.statement(root.statement, whose)

    partner = the_partner("partner", "Who pays, or is paid.")

    amount: Money = strawberry.field(description="What is left of it (was left, of a match). Negative: to be paid out.")
    whole: Money = strawberry.field(description="Before anything was found.")
    since: date = strawberry.field(description="The day on which it was instructed.")


@strawberry.type(description="One movement of the exchange's account.")
class BankMovement:
    """exchange.settlement.reconciliation.Booked."""

    line: int = strawberry.field(description="Where the file has it.")
    amount: Money = strawberry.field(description="How much; negative: it went out.")
    value_date: date = strawberry.field(name="date", description="The value date.")
    bank_reference: str = strawberry.field(description="The bank's own of this movement; empty without one.")
    payer: str = strawberry.field(name="name", description="The other party, as the bank calls it.")
    text: str = strawberry.field(description="What was said with it.")


class Matched(NamedTuple):
    """A match with its movements."""

    how: reconciliation.How
    movements: Sequence[Booked]
    dues: Sequence[reconciliation.Due]


@strawberry.type(description="Movements that pay what is due: both sides add up to the same.")
class BankMatch:
    """Matched."""

    how: PaymentMatchedBy = strawberry.field(description="By what they found one another.")
    movements: list[BankMovement] = strawberry.field(description="Of the bank.")
    dues: list[DuePayment] = strawberry.field(description="What they pay.")


@strawberry.type(description="What a person said about an exception.")
class PaymentResolution:
    """exchange.settlement.reconciliation.Resolution."""

    reason: str = strawberry.field(description="Why it is settled.")
    at: datetime = strawberry.field(description="When.")
    pays: str | None = strawberry.field(description="The reference of what its movements pay after all.")
    amount: Money | None = strawberry.field(description="How much of that.")

    @strawberry.field(description="Who said it: an address, if still on the staff.")
    async def by(root: Parent[reconciliation.Resolution], info: Info) -> str:
        """Name whoever it was."""
        return await _named(info.context, root.actor)


@strawberry.type(description="What a person has to look at: movements that fit nothing, or a payment that is missing.")
class PaymentException:
    """exchange.store.reconciliation.Exceptional."""

    id: strawberry.ID = strawberry.field(description="As `resolvePaymentException` and the command line call it.")
    kind: PaymentExceptionKind = strawberry.field(description="Why.")
    lines: list[BankMovement] = strawberry.field(name="movements", description="Of the bank; none if it has none.")
    dues: list[DuePayment] = strawberry.field(description="What it is about, or might be.")
    file: int | None = strawberry.field(description="The number of the file; null if it is not booked.")
    resolved: PaymentResolution | None = strawberry.field(description="What was said; null while it is open.")


@strawberry.type(description="A bank's file, and where each of its movements ended.")
class BankFile:
    """exchange.store.reconciliation.FileSummary."""

    number: int = strawberry.field(description="Its own; files and answers are counted together.")
    hash: str = strawberry.field(description="SHA-256 of its content, in hex: what makes it this file.")
    name: str = strawberry.field(description="What it was called.")
    at: datetime = strawberry.field(name="uploadedAt", description="When it was given.")
    lines: int = strawberry.field(name="movementCount", description="How many movements it has.")
    matched: int = strawberry.field(name="matchedCount", description="How many of them pay what was due.")
    known: int = strawberry.field(name="knownCount", description="How many were in a file before.")
    excepted: int = strawberry.field(name="exceptionCount", description="How many a person had to look at.")

    @strawberry.field(description="Who gave it: an address, if still on the staff.")
    async def by(root: Parent[store.FileSummary], info: Info) -> str:
        """Name whoever it was."""
        return await _named(info.context, root.actor)

    @strawberry.field(graphql_type=Connection[BankMatch], description="What was found in it.")
    async def matches(
        root: Parent[store.FileSummary],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[Matched]:
        """Read one page of them."""
        cursors = info.context.cursors(f"matches/{root.number}")
        window = cursors.window(sent(first), sent(after))
        behind = 0 if window.after is None else window.after[0]
        filed = await _filed(info.context, root.number)
        lines = {line.n: line for line in filed.lines}
        rows = [each for each in filed.piles.matches if each.lines[0] > behind][: window.size + 1]
        found = [((each.lines[0],), Matched(each.how, [lines[n] for n in each.lines], each.dues)) for each in rows]
        return page(cursors, window, found)

    @strawberry.field(
        graphql_type=Connection[PaymentException], description="What a person had to look at, resolved or not."
    )
    async def exceptions(
        root: Parent[store.FileSummary],
        info: Info,
        first: First = strawberry.UNSET,
        after: After = strawberry.UNSET,
    ) -> Page[store.Exceptional]:
        """Read one page of them."""
        cursors = info.context.cursors(f"exceptions/{root.number}")
        window = cursors.window(sent(first), sent(after))
        behind = 0 if window.after is None else window.after[0]
        everything = await info.context.services.reconciliation.answered(await _filed(info.context, root.number))
        rows = [((each.place.line,), each) for each in everything if each.place.line > behind]
        return page(cursors, window, rows[: window.size + 1])


async def _filed(context: Context, number: int) -> reconciliation.Filed:
    filed = await context.services.reconciliation.filed(number)
    assert filed is not None  # noqa: S101 - files are only added
    return filed


@strawberry.type(description="What came of recording one payment that was found.")
class RecordedPayment:
    """exchange.settlement.reconciling.RecordedPayment."""

    @strawberry.field(graphql_type=DuePayment, description="What it pays; `amount` is how much.")
    def due(root: Parent[Recorded]) -> reconciliation.Due:
        """Show what was found."""
        return root.found.due

    statement: Statement = strawberry.field(description="The statement, as it now stands.")
    replayed: bool = strawberry.field(description="Whether it had been recorded before.")

    @strawberry.field(graphql_type=UserError | None, description="Why it is not recorded; null if it is.")
    def refused(root: Parent[Recorded]) -> Said | None:
        """Say it as any mutation does."""
        return None if root.refusal is None else Said(root.refusal)


@strawberry.type(description="What came of reconciling one statement.")
class ReconciledStatement:
    """exchange.settlement.reconciling.ReconciledStatement."""

    statement: Statement = strawberry.field(description="The statement, as it now stands.")
    replayed: bool = strawberry.field(description="Whether it had been done before.")

    @strawberry.field(graphql_type=UserError | None, description="Why it is not reconciled; null if it is.")
    def refused(root: Parent[Reconciled]) -> Said | None:
        """Say it as any mutation does."""
        return None if root.refusal is None else Said(root.refusal)


async def due_payments(context: Context, first: Any, after: Any) -> Page[reconciliation.Due]:
    """List what is due by reference; a partner's own alone."""
    partner = own(context)
    cursors = context.cursors("due")
    window = cursors.window(sent(first), sent(after))
    behind = "" if window.after is None else window.after[0]
    rows = [due for due in await context.services.reconciliation.dues(partner) if due.reference > behind]
    return page(cursors, window, [((row.reference,), row) for row in rows[: window.size + 1]])


async def bank_file(context: Context, number: int) -> store.FileSummary | None:
    """Return a file, to finance."""
    context.require("finance:view")
    filed = await context.services.reconciliation.filed(number)
    return None if filed is None else store.summary_of(filed)


async def bank_files(context: Context, first: Any, after: Any) -> Page[store.FileSummary]:
    """List files to finance, the newest first."""
    context.require("finance:view")
    cursors = context.cursors("bank-files")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else window.after[0]
    rows = await context.services.reconciliation.files(behind, window.size + 1)
    return page(cursors, window, [((row.number,), row) for row in rows])


async def payment_exceptions(context: Context, first: Any, after: Any, *, resolved: bool) -> Page[store.Exceptional]:
    """List to finance what a person has to look at."""
    context.require("finance:view")
    cursors = context.cursors("exceptions")
    window = cursors.window(sent(first), sent(after))
    behind = None if window.after is None else store.ExceptionPlace(*window.after)
    rows = await context.services.reconciliation.exceptions(resolved=resolved, after=behind, limit=window.size + 1)
    return page(cursors, window, [(tuple(row.place), row) for row in rows])


# ---------------------------------------------------------------- a partner's own record


class Figures(NamedTuple):
    """What one side has: the figures that the partner's file has, the others null."""

    points: int | None = None
    gross: Amount | None = None
    fee: Amount | None = None
    net: Amount | None = None


@strawberry.type(
    description="What one side has, of the figures that the partner's file has. Signed as in its statement."
)
class UsageFigures:
    """Figures."""

    points: Points | None = strawberry.field(description="Points redeemed.")
    gross: Money | None = strawberry.field(description="Before the fee.")
    fee: Money | None = strawberry.field(description="The exchange's fee.")
    net: Money | None = strawberry.field(description="gross - fee.")


class SeenDifference(NamedTuple):
    """A difference with the names of its figures."""

    kind: usage.DifferenceKind
    row: UsageRow
    ours: Figures | None
    theirs: Figures | None


@strawberry.type(description="An entry about which a statement and its partner's own record do not agree.")
class UsageDifference:
    """SeenDifference."""

    kind: UsageDifferenceKind = strawberry.field(description="How they differ.")
    ours: UsageFigures | None = strawberry.field(description="What the statement has; null if it has not the entry.")
    theirs: UsageFigures | None = strawberry.field(description="What the partner has; null if it has not the entry.")

    @strawberry.field(description="The entry, by the identifier that the partner has of it.")
    def entry(root: Parent[SeenDifference]) -> strawberry.ID:
        """Say it of the row."""
        return strawberry.ID(root.row.reference)

    @strawberry.field(description="In which currency; null if only points are compared.")
    def currency(root: Parent[SeenDifference]) -> CurrencyCode | None:
        """Say it of the row."""
        return CurrencyCode(root.row.currency) if root.row.currency else None

    @strawberry.field(description="When it happened, as far as it is known.")
    def day(root: Parent[SeenDifference]) -> date | None:
        """Say it of the row."""
        return root.row.day

    @strawberry.field(description="Where the partner's file has it first.")
    def line(root: Parent[SeenDifference]) -> int | None:
        """Say it of the row."""
        return root.row.line


class SeenTotal(NamedTuple):
    """What both sides add up to in one currency."""

    currency: str | None
    ours: Figures
    theirs: Figures


@strawberry.type(description="What both sides add up to, in one currency.")
class UsageTotal:
    """SeenTotal."""

    currency: CurrencyCode | None = strawberry.field(description="Which; null if only points are compared.")
    ours: UsageFigures = strawberry.field(description="The statement.")
    theirs: UsageFigures = strawberry.field(description="The partner's file.")


@strawberry.type(description="A row of a partner's file that could not be read; the others were compared.")
class UsageRejection:
    """partners.feeds.rows.Rejected."""

    line: int = strawberry.field(description="Where it begins, from 1.")
    field: str = strawberry.field(description="Which column; row: none alone.")
    reason: str = strawberry.field(description="What is wrong.")


def figures_of(figures: Sequence[int], currency: str, columns: Sequence[str]) -> Figures:
    """Return figures under their names."""
    named: dict[str, Any] = {
        column: figure if column == POINTS else Amount(figure, currency)
        for column, figure in zip(columns, figures, strict=True)
    }
    return Figures(**named)


def seen(difference: usage.Difference, columns: Sequence[str]) -> SeenDifference:
    """Return a difference as it is shown."""
    sides = [
        None if side is None else figures_of(side.figures, side.currency, columns)
        for side in (difference.ours, difference.theirs)
    ]
    return SeenDifference(difference.kind, difference.row, *sides)


def totals_of(tally: Tally, columns: Sequence[str]) -> list[SeenTotal]:
    """Return what both sides add up to, by currency."""
    nothing = (0,) * len(columns)
    return [
        SeenTotal(currency or None, *(figures_of(side.get(currency, nothing), currency, columns)
                                      for side in (tally.ours, tally.theirs)))
        for currency in sorted(tally.ours.keys() | tally.theirs.keys())
    ]  # fmt: skip
