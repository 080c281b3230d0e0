"""The books of banks and partners are sent in, held against ours, and acted upon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Annotated, Any, NamedTuple

import strawberry
from strawberry import Parent

from exchange.errors import NotFound, ValidationFailed
from exchange.settlement import reconciliation, statement
from exchange.settlement.reconciling import BankRecording, UsageCheck, usage_check
from exchange.settlement.reconciling import ReconciledStatement as Reconciled
from exchange.settlement.reconciling import RecordedPayment as Recorded
from exchange.settlement.usage import Difference, DifferenceKind, Tally, UsageRow
from exchange.store import reconciliation as store
from graph import refusals
from graph.context import Context, Info
from graph.identifiers import Kind
from graph.inputs import sent
from graph.inputs.reconciliation import (
    BankFileInput,
    ReconcileUsageInput,
    ResolvePaymentExceptionInput,
    UploadBankFileInput,
    content_bytes,
)
from graph.mutations.outcomes import Repeatable
from graph.paging import Connection, Page, page
from graph.reconciliation import (
    BankFile,
    PaymentResolution,
    ReconciledStatement,
    RecordedPayment,
    SeenDifference,
    SeenTotal,
    UsageDifference,
    UsageRejection,
    UsageTotal,
    seen,
    totals_of,
)
from graph.refusals import AsData, Forbidden, ValidationError, made_of
from graph.settlement import Statement
from partners.feeds.bank import read_bank_file
from partners.feeds.rows import FeedError, Rejected
from partners.feeds.usage import Usage, read_usage

REJECTIONS_SHOWN = 100
LINES_MAX = 250_000
"""Lines of a statement that is compared within one request."""

_CONTENT = ("input", "content")


# ---------------------------------------------------------------- payloads


@strawberry.type(description="The file is there, and each of its movements on a pile.")
class UploadBankFileSuccess(Repeatable):
    """exchange.settlement.reconciliation.Filed."""

    is_type_of = made_of(reconciliation.Filed)

    @strawberry.field(graphql_type=BankFile, description="The file.")
    def file(root: Parent[reconciliation.Filed]) -> store.FileSummary:
        """Show it without its lines."""
        return store.summary_of(root)


@strawberry.type(description="The exception is resolved.")
class ResolvePaymentExceptionSuccess(Repeatable):
    """exchange.settlement.reconciliation.Resolution."""

    is_type_of = made_of(reconciliation.Resolution)

    @strawberry.field(graphql_type=PaymentResolution, description="What was said.")
    def resolution(root: Parent[reconciliation.Resolution]) -> reconciliation.Resolution:
        """Show it."""
        return root


class FileRecorded(NamedTuple):
    """What came of recording a page of what was found in a file."""

    file: store.FileSummary
    payments: Page[Recorded]


@strawberry.type(description="Each payment was tried for itself: some may be refused while the others are recorded.")
class RecordBankFilePaymentsSuccess:
    """FileRecorded."""

    is_type_of = made_of(FileRecorded)

    file: BankFile = strawberry.field(description="The file.")
    payments: Connection[RecordedPayment] = strawberry.field(description="What came of each, as far as `first` goes.")


class FileReconciled(NamedTuple):
    """What came of reconciling a page of the statements that a file pays."""

    file: store.FileSummary
    statements: Page[Reconciled]


@strawberry.type(description="Each statement was tried for itself: some may be refused while the others are done.")
class ReconcileBankFileSuccess:
    """FileReconciled."""

    is_type_of = made_of(FileReconciled)

    file: BankFile = strawberry.field(description="The file.")
    statements: Connection[ReconciledStatement] = strawberry.field(
        description="What came of each, as far as `first` goes."
    )


class Rejections:
    """Rows that could not be read: all are counted, and the first are kept. A file can have a million of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Rejected] = []

    def add(self, row: Rejected) -> None:
        """Count one more."""
        self.count += 1
        if self.count <= REJECTIONS_SHOWN:
            self.first.append(row)


class UsageCompared(NamedTuple):
    """A statement and its partner's own record, compared."""

    statement: statement.Statement
    compared: Sequence[str]
    rows: int
    tally: Tally
    differences: Page[SeenDifference]
    rejected: Rejections


@strawberry.type(description="The two are compared. Every entry either agrees or is among the differences.")
class ReconcileUsageSuccess:
    """UsageCompared."""

    is_type_of = made_of(UsageCompared)

    statement: Statement = strawberry.field(description="The statement.")
    compared: list[str] = strawberry.field(description="By which figures: those that the file has.")
    rows: int = strawberry.field(description="How many rows of the file were read.")
    differences: Connection[UsageDifference] = strawberry.field(description="What differs, by entry.")

    @strawberry.field(description="How many entries agree.")
    def agreed(root: Parent[UsageCompared]) -> int:
        """Say it of the tally."""
        return root.tally.agreed

    @strawberry.field(description="How many the partner has and the statement has not.")
    def missing_here(root: Parent[UsageCompared]) -> int:
        """Say it of the tally."""
        return root.tally.differences[DifferenceKind.MISSING_HERE]

    @strawberry.field(description="How many the statement has and the partner has not.")
    def missing_there(root: Parent[UsageCompared]) -> int:
        """Say it of the tally."""
        return root.tally.differences[DifferenceKind.MISSING_THERE]

    @strawberry.field(description="How many both have with other figures.")
    def differs(root: Parent[UsageCompared]) -> int:
        """Say it of the tally."""
        return root.tally.differences[DifferenceKind.DIFFERS]

    @strawberry.field(graphql_type=list[UsageTotal], description="What both sides add up to, by currency.")
    def totals(root: Parent[UsageCompared]) -> list[SeenTotal]:
        """Say it of the tally."""
        return totals_of(root.tally, root.compared)

    @strawberry.field(description="How many rows could not be read.")
    def rejected_rows(root: Parent[UsageCompared]) -> int:
        """Count them."""
        return root.rejected.count

    @strawberry.field(graphql_type=list[UsageRejection], description="The first 100 of them.")
    def rejections(root: Parent[UsageCompared]) -> Sequence[Rejected]:
        """Show some."""
        return root.rejected.first


UploadBankFilePayload = Annotated[
    UploadBankFileSuccess | ValidationError | Forbidden,
    strawberry.union("UploadBankFilePayload", description="What came of giving a bank's file."),
]
ResolvePaymentExceptionPayload = Annotated[
    ResolvePaymentExceptionSuccess | ValidationError | refusals.IdempotencyConflict | refusals.NotFound | Forbidden,
    strawberry.union("ResolvePaymentExceptionPayload", description="What came of resolving an exception."),
]
RecordBankFilePaymentsPayload = Annotated[
    RecordBankFilePaymentsSuccess | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("RecordBankFilePaymentsPayload", description="What came of recording what was found in a file."),
]
ReconcileBankFilePayload = Annotated[
    ReconcileBankFileSuccess | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("ReconcileBankFilePayload", description="What came of reconciling what a file pays."),
]
ReconcileUsagePayload = Annotated[
    ReconcileUsageSuccess | ValidationError | refusals.NotFound | Forbidden,
    strawberry.union("ReconcileUsagePayload", description="What came of comparing a partner's own record."),
]


# ---------------------------------------------------------------- mutations


@strawberry.type
class ReconciliationMutations:
    """Mutations of reconciliation."""

    @strawberry.field(
        graphql_type=UploadBankFilePayload, extensions=[AsData()],
        description="Finds what is due in a bank's file. A file is read as a whole or not at all, and known by its "
        "hash: sent again it stays as it was.",
    )  # fmt: skip
    async def upload_bank_file(self, info: Info, input: UploadBankFileInput) -> reconciliation.Filed:  # noqa: A002
        """Read and file it as finance that prepares."""
        data, tolerance = input.checked()
        context = info.context
        context.require_of_mutation("finance:prepare")
        try:
            bank = await asyncio.to_thread(read_bank_file, data, "utf-8")
        except FeedError as wrong:
            raise ValidationFailed(wrong.message, _CONTENT) from None
        actor = context.principal.subject
        return await context.services.reconciliation.file(input.name, bank.hash, bank.lines, actor, tolerance)

    @strawberry.field(
        graphql_type=ResolvePaymentExceptionPayload, extensions=[AsData()],
        description="Says why an exception is settled; once, and nothing is taken out of what was reconciled.",
    )  # fmt: skip
    async def resolve_payment_exception(
        self, info: Info, input: ResolvePaymentExceptionInput  # noqa: A002
    ) -> reconciliation.Resolution:  # fmt: skip
        """Resolve it as finance that prepares."""
        input.check()
        context = info.context
        context.require_of_mutation("finance:prepare")
        actor, reason = context.principal.subject, input.reason.strip()
        return await context.services.reconciliation.resolve(input.exception, reason, actor, sent(input.pays))

    @strawberry.field(
        graphql_type=RecordBankFilePaymentsPayload, extensions=[AsData()],
        description="Records what was found in a bank's file: of each match, and of each exception that pays something "
        "after all, a payment of the statement, as `recordPayment` does. Repeated, it records what is not recorded.",
    )  # fmt: skip
    async def record_bank_file_payments(
        self, info: Info, input: BankFileInput  # noqa: A002
    ) -> FileRecorded:  # fmt: skip
        """Record them as finance that prepares."""
        context = info.context
        context.require_of_mutation("finance:prepare")
        return await _recorded(context, input)

    @strawberry.field(
        graphql_type=ReconcileBankFilePayload, extensions=[AsData()],
        description="Reconciles the statements that a bank's file pays, as `reconcileStatement` does: those of which "
        "all is paid and nothing is left to be found. Whoever recorded a payment of one cannot.",
    )  # fmt: skip
    async def reconcile_bank_file(self, info: Info, input: BankFileInput) -> FileReconciled:  # noqa: A002
        """Reconcile them as anybody of finance who signs."""
        context = info.context
        context.require_of_mutation("finance:approve", "finance:prepare")
        return await _reconciled(context, input)

    @strawberry.field(
        graphql_type=ReconcileUsagePayload, extensions=[AsData()],
        description="Holds a partner's own record against its statement. It changes nothing, and keeps nothing.",
    )  # fmt: skip
    async def reconcile_usage(self, info: Info, input: ReconcileUsageInput) -> UsageCompared:  # noqa: A002
        """Compare them as the statement's partner, or as finance."""
        data = content_bytes(input.content)
        context = info.context
        context.require_of_mutation("settlements:read", "finance:view")
        partner = None if context.has("finance:view") else context.partner
        identity = context.ids.open(Kind.STATEMENT, input.statement) or ""
        found = await context.services.settlement.statement(identity, partner)
        if found is None:
            raise NotFound("no such statement", ("input", "statement"))
        if found.line_count > LINES_MAX:
            message = f"has {found.line_count} lines: with more than {LINES_MAX} it is compared on the command line"
            raise ValidationFailed(message, ("input", "statement"))
        if context.compares:
            raise ValidationFailed("another is compared in this request: one at a time", ("input", "statement"))
        context.compares = True
        try:
            # For seconds each takes one of the few threads that all of the process share.
            async with context.services.comparing:
                return await _compared(context, found, read_usage(BytesIO(data)), input)
        except FeedError as wrong:
            raise ValidationFailed(wrong.message, _CONTENT) from None


async def _filed(context: Context, asked: BankFileInput) -> reconciliation.Filed:
    filed = await context.services.reconciliation.filed(asked.file)
    if filed is None:
        raise NotFound("no such file", ("input", "file"))
    if asked.hash != filed.hash:
        raise ValidationFailed("is not the hash of this file: read it again", ("input", "hash"))
    return filed


def _recording(context: Context) -> BankRecording:
    services = context.services
    return BankRecording(services.settlement, services.sign_off, services.keyring)


async def _recorded(context: Context, asked: BankFileInput) -> FileRecorded:
    filed = await _filed(context, asked)
    cursors = context.cursors(f"payments/{filed.number}")
    window = cursors.window(asked.first, sent(asked.after))
    behind = (0, "") if window.after is None else window.after
    found = [each for each in await context.services.reconciliation.payments(filed) if each.place > behind]
    recording, actor = _recording(context), context.principal.subject
    done = [(each.place, await recording.record(each, filed.hash, actor)) for each in found[: window.size]]
    stopped = done[-1][0] if done and len(found) > len(done) else None
    return FileRecorded(store.summary_of(filed), page(cursors, window, done, stopped=stopped))


async def _reconciled(context: Context, asked: BankFileInput) -> FileReconciled:
    filed, payments = await _filed(context, asked), context.services.reconciliation
    cursors = context.cursors(f"reconciled/{filed.number}")
    window = cursors.window(asked.first, sent(asked.after))
    behind = "" if window.after is None else window.after[0]
    paid = {each.due.statement for each in await payments.payments(filed)}
    names = sorted(name for name in paid if name > behind)
    left = await payments.dues()
    recording, actor = _recording(context), context.principal.subject
    done = [
        ((name,), await recording.reconcile(name, [due for due in left if due.statement == name], actor))
        for name in names[: window.size]
    ]
    stopped = done[-1][0] if done and len(names) > len(done) else None
    return FileReconciled(store.summary_of(filed), page(cursors, window, done, stopped=stopped))


async def _compared(
    context: Context, found: statement.Statement, read: Usage, asked: ReconcileUsageInput
) -> UsageCompared:
    cursors = context.cursors(f"usage/{found.id}")
    window = cursors.window(asked.first, sent(asked.after))
    behind = ("", "") if window.after is None else window.after
    rejected = Rejections()
    with usage_check(read.columns) as check:
        count = await asyncio.to_thread(check.take_theirs, _accepted(read.rows, rejected))
        await check.take_ours(context.services.settlement, found, lambda *_: None)
        shown = await asyncio.to_thread(_behind, check, behind, window.size + 1)
    rows = [(each.row.place, seen(each, check.columns)) for each in shown]
    return UsageCompared(found, check.columns, count, check.tally, page(cursors, window, rows), rejected)


def _accepted(rows: Iterator[UsageRow | Rejected], rejected: Rejections) -> Iterator[UsageRow]:
    for row in rows:
        if isinstance(row, Rejected):
            rejected.add(row)
        else:
            yield row


def _behind(check: UsageCheck, place: tuple[Any, ...], size: int) -> list[Difference]:
    """Return some differences from behind a place on; all are counted."""
    shown: list[Difference] = []
    for each in check.differences():
        if len(shown) < size and each.row.place > place:
            shown.append(each)
    return shown
