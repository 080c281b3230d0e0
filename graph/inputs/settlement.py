"""What finance and partners send about money: agreements, caps, periods, the sign-off, disputes."""

from __future__ import annotations

import re
from datetime import date, datetime

import strawberry
from strawberry import UNSET

from exchange.errors import ValidationFailed
from exchange.settlement.calendar import Calendar, checked
from exchange.settlement.export import LOCALE, Wish
from exchange.settlement.signoff import Tier, tiers_checked
from graph.enums import DisputeReason, Every, Form
from graph.inputs import KEY_MAX, REASON_MAX, SAME_FOR_EVER, MoneyInput, check_key, check_said, sent
from graph.scalars import CurrencyCode


@strawberry.input(description="Without issuer or provider: the default for every partner in that place.")
class SetAgreementInput:
    """Adds a version."""

    issuer: strawberry.ID | None = strawberry.field(default=UNSET, description="Who owes.")
    provider: strawberry.ID | None = strawberry.field(default=UNSET, description="Who is owed.")
    price_per_1000_points: MoneyInput = strawberry.field(
        name="pricePer1000Points", description="What 1,000 points cost the issuer."
    )
    fee_basis_points: int = strawberry.field(default=0, description="The exchange's fee, of what is owed.")
    commission_basis_points: int = strawberry.field(default=0, description="The channel's commission, of what is owed.")
    effective_from: datetime | None = strawberry.field(default=UNSET, description="From when on; null: now.")


@strawberry.input(description="The terms to try; without issuer or provider: a default, as in SetAgreementInput.")
class SimulateAgreementInput:
    """What SetAgreementInput says, but for the moment: it is tried on what has been."""

    issuer: strawberry.ID | None = strawberry.field(default=UNSET, description="Who would owe.")
    provider: strawberry.ID | None = strawberry.field(default=UNSET, description="Who would be owed.")
    price_per_1000_points: MoneyInput = strawberry.field(
        name="pricePer1000Points", description="What 1,000 points would cost the issuer."
    )
    fee_basis_points: int = strawberry.field(default=0, description="The exchange's fee, of what is owed.")
    commission_basis_points: int = strawberry.field(default=0, description="The channel's commission, of what is owed.")


@strawberry.input(description="The period to close.")
class ClosePeriodInput:
    """Only the open one can be."""

    number: int = strawberry.field(description="Its number.")


@strawberry.input(description="How much a partner may owe in a currency, net, before its payments.")
class SetExposureCapInput:
    """Adds a version; it is in force when the mutation answers."""

    partner: strawberry.ID = strawberry.field(description="Whose it is.")
    currency: CurrencyCode = strawberry.field(description="ISO 4217 code.")
    cap: MoneyInput | None = strawberry.field(
        default=UNSET, description="How much; 0: it pays in advance; null: as much as it likes."
    )
    low_balance: MoneyInput | None = strawberry.field(
        default=UNSET, description="Below what is left a notice is written; null: never."
    )
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )

    def minor(self, name: str, amount: MoneyInput | None) -> int | None:
        """Return minor units of the cap's currency, or refuse another."""
        if amount is None:
            return None
        money = amount.money("input", name)
        if money.currency != self.currency:
            raise ValidationFailed(f"must be in {self.currency}", ("input", name, "currency"))
        return money.minor


@strawberry.input(description="A payment of a partner to the exchange, or of the exchange to it.")
class RecordFundingInput:
    """Recorded once."""

    partner: strawberry.ID = strawberry.field(description="Who paid, or was paid.")
    amount: MoneyInput = strawberry.field(description="How much it paid; negative: how much was paid to it.")
    reference: str = strawberry.field(description="Of the payment, as in the bank's books; at most 500 characters.")
    idempotency_key: str = strawberry.field(description=f"1 to {KEY_MAX} printable characters. {SAME_FOR_EVER}")

    def check(self) -> None:
        """Refuse what no payment is."""
        check_key(self.idempotency_key)
        check_said(self.reference, "reference")


@strawberry.input(description="A step of the sign-off, about the statement that the caller has read.")
class SignStatementInput:
    """What review, approval, rejection, instruction and reconciliation share."""

    statement: strawberry.ID = strawberry.field(description="Which statement.")
    hash: str = strawberry.field(description="Its hash, as the caller has read it: that is what is signed.")
    note: str | None = strawberry.field(
        default=UNSET, description="Kept in the log; a rejection needs it. At most 500 characters, no personal data."
    )
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self, *, note_needed: bool = False) -> None:
        """Refuse what no step is."""
        check_key(self.idempotency_key)
        note = sent(self.note)
        if note is not None or note_needed:
            check_said(note or "", "note")


@strawberry.input(description="A payment of what a statement nets to, or of a part of it.")
class RecordPaymentInput:
    """Recorded once."""

    statement: strawberry.ID = strawberry.field(description="Which statement.")
    hash: str = strawberry.field(description="Its hash.")
    amount: MoneyInput = strawberry.field(description="How much was paid, to whichever side the net says.")
    reference: str = strawberry.field(description="Of the payment, as in the bank's books; at most 500 characters.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what no payment is."""
        check_key(self.idempotency_key)
        check_said(self.reference, "reference")


@strawberry.input(description="From what net on a statement needs how many approvers.")
class ApprovalTierInput:
    """One per currency and amount."""

    amount: MoneyInput = strawberry.field(description="From this net on, to either side.")
    approvers: int = strawberry.field(description="How many have to approve: 1 to 9.")


@strawberry.input(description="How many have to approve a statement; without tiers, one.")
class SetSignOffPolicyInput:
    """Adds a version, in force for every approval from then on."""

    tiers: list[ApprovalTierInput] = strawberry.field(description="All of them: those before are replaced. At most 50.")
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )

    def checked(self) -> tuple[Tier, ...]:
        """Return the tiers, or refuse what none can be."""
        return tiers_checked(
            Tier(tier.amount.money("input", "tiers", str(index), "amount"), tier.approvers)
            for index, tier in enumerate(self.tiers)
        )


@strawberry.input(description="Where more of it is, and what tells that it is still the same. It is not fetched.")
class EvidenceInput:
    """At least one."""

    link: str | None = strawberry.field(default=UNSET, description="An https URL, at most 500 characters.")
    sha256: str | None = strawberry.field(default=UNSET, name="sha256", description="Its SHA-256, 64 hex digits.")

    def check(self) -> None:
        """Refuse what is no evidence."""
        link, digest = sent(self.link), sent(self.sha256)
        if link is None and digest is None:
            raise ValidationFailed("has a link, or a hash, or both", ("input", "evidence"))
        if link is not None and not (
            link.startswith("https://") and len(link) <= REASON_MAX and link.isprintable() and " " not in link
        ):
            raise ValidationFailed(f"must be an https URL of at most {REASON_MAX}", ("input", "evidence", "link"))
        if digest is not None and not re.fullmatch("[0-9a-f]{64}", digest):
            raise ValidationFailed("must be 64 hex digits, in lower case", ("input", "evidence", "sha256"))


@strawberry.input(description="A line of the caller's own statement, and what is wrong with it.")
class OpenDisputeInput:
    """Opened once."""

    statement: strawberry.ID = strawberry.field(description="The statement.")
    entry: strawberry.ID = strawberry.field(description="The line's `entry`.")
    line: int = strawberry.field(default=0, description="The line's `line`: an entry can have several.")
    reason: DisputeReason = strawberry.field(description="Why it is wrong.")
    amount: MoneyInput = strawberry.field(
        description="By how much, to the caller's favour; at most what no dispute has claimed of the line's net."
    )
    text: str = strawberry.field(description="What the other side should know; at most 500 characters.")
    evidence: EvidenceInput | None = strawberry.field(default=UNSET, description="More of it.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what no dispute is."""
        check_key(self.idempotency_key)
        if self.line < 0:
            raise ValidationFailed("must not be negative", ("input", "line"))
        check_said(self.text, "text")
        if (evidence := sent(self.evidence)) is not None:
            evidence.check()


@strawberry.input(description="A step in a dispute.")
class DisputeActionInput:
    """What answer, withdrawal, concession and decision share."""

    dispute: strawberry.ID = strawberry.field(description="Which dispute.")
    text: str = strawberry.field(description="What both sides should know; at most 500 characters, no personal data.")
    evidence: EvidenceInput | None = strawberry.field(default=UNSET, description="More of it.")
    idempotency_key: str = strawberry.field(description=SAME_FOR_EVER)

    def check(self) -> None:
        """Refuse what no step is."""
        check_key(self.idempotency_key)
        check_said(self.text, "text")
        if (evidence := sent(self.evidence)) is not None:
            evidence.check()


@strawberry.input(description="How finance decides a dispute.")
class ResolveDisputeInput(DisputeActionInput):
    """Upheld, whole or in part, or rejected."""

    upheld: bool = strawberry.field(description="Whether it is upheld; else it is rejected.")
    amount: MoneyInput | None = strawberry.field(default=UNSET, description="How much is upheld: all, unless said.")

    def check(self) -> None:
        """Refuse what no decision is."""
        super().check()
        if not self.upheld and sent(self.amount) is not None:
            raise ValidationFailed("goes with a dispute that is upheld", ("input", "amount"))


@strawberry.input(description="When periods are closed by themselves, and by when the rest has to be done.")
class SetPeriodCalendarInput:
    """Adds a version, in force from now on."""

    every: Every = strawberry.field(description="How often a period is closed.")
    on: int = strawberry.field(default=1, description="The day of the week (1: Monday), or of the month, up to 28.")
    at: str = strawberry.field(default="00:00", description="The time of day: HH:MM.")
    time_zone: str = strawberry.field(default="UTC", description="By which clocks, such as Europe/Berlin.")
    draft_days: int = strawberry.field(default=0, description="Days after that of the cut for drafting the statements.")
    review_days: int = strawberry.field(default=2, description="For reviewing them.")
    approve_days: int = strawberry.field(default=4, description="For approving them.")
    pay_days: int = strawberry.field(default=14, description="For paying them.")
    business_days: bool = strawberry.field(default=False, description="Count only the days from Monday to Friday.")
    expected_version: int | None = strawberry.field(
        default=UNSET, description="The version it must have now (0: none yet); null: whichever it has."
    )

    def wished(self, actor: str) -> Calendar:
        """Return the calendar, or refuse what none can be."""
        return checked(
            Calendar(
                every=self.every, on=self.on, at=self.at, time_zone=self.time_zone, draft_days=self.draft_days,
                review_days=self.review_days, approve_days=self.approve_days, pay_days=self.pay_days,
                business_days=self.business_days, actor=actor,
            )
        )  # fmt: skip


@strawberry.input(description="A statement, and what it is to be written as.")
class ExportStatementInput:
    """The same again is the same export, while there is one: no key is needed."""

    statement: strawberry.ID = strawberry.field(description="Which statement.")
    format: Form = strawberry.field(description="As what.")
    locale: str | None = strawberry.field(
        default=UNSET, description="Of who reads an XLSX or a PDF, such as de-CH; en unless said."
    )
    payer: str | None = strawberry.field(
        default=UNSET, description="Of a PAIN001, by handle: whose payments it has, if both sides pay something."
    )
    pay_on: date | None = strawberry.field(
        default=UNSET, description="Of a PAIN001: when a bank is to pay; today unless said."
    )

    def wish(self) -> Wish:
        """Return what is wanted; whether it can be, `exchange.settlement.exporting` says."""
        return Wish(
            form=self.format, locale=sent(self.locale) or LOCALE, payer=sent(self.payer), pay_on=sent(self.pay_on)
        )
