"""The domain's enumerations, made known to GraphQL under their own names. Import before any type that uses them."""

from __future__ import annotations

from enum import Enum, StrEnum

import strawberry

from exchange.benefit import BenefitCategory, BenefitStatus, Fulfilment, LimitPeriod, UnavailableReason
from exchange.journal import EntryKind, LineKind
from exchange.redemption import RedemptionStatus
from exchange.rules import AwardReversal
from exchange.settlement.barter import Stage
from exchange.settlement.calendar import Duty, Every
from exchange.settlement.dispute import DisputeReason, DisputeStatus, DisputeStep
from exchange.settlement.export import Form
from exchange.settlement.exports import ExportStatus
from exchange.settlement.netted import PlanKind
from exchange.settlement.period import PeriodStatus
from exchange.settlement.reconciliation import ExceptionKind as PaymentExceptionKind
from exchange.settlement.reconciliation import How as PaymentMatchedBy
from exchange.settlement.signoff import SignOffStep
from exchange.settlement.statement import StatementStatus
from exchange.settlement.usage import DifferenceKind as UsageDifferenceKind
from partners.registry import PartnerRole

__all__ = [
    "AwardReversal",
    "BenefitCategory",
    "BenefitSort",
    "BenefitStatus",
    "DisputeReason",
    "DisputeStatus",
    "DisputeStep",
    "Duty",
    "EntryKind",
    "Every",
    "ExportStatus",
    "Form",
    "Fulfilment",
    "LimitPeriod",
    "LineKind",
    "PartnerRole",
    "PaymentExceptionKind",
    "PaymentMatchedBy",
    "PeriodStatus",
    "RedemptionStatus",
    "SignOffStep",
    "StatementStatus",
    "UnavailableReason",
    "UsageDifferenceKind",
]


def made_known(enumeration: type[Enum], name: str | None = None, *, description: str, **values: str) -> None:
    """Make an enumeration of the domain a GraphQL one, every value with its description."""
    strawberry.enum(enumeration, name=name, description=description)
    for value in enumeration.__strawberry_definition__.values:  # type: ignore[attr-defined]  # put there just now
        value.description = values.pop(value.name)
    if values:
        raise ValueError(f"{enumeration.__name__} has no {', '.join(values)}")


made_known(
    PartnerRole,
    description="What a partner does in the exchange; one can be all three.",
    ISSUER="Awards points, and owes for them when they are spent elsewhere.",
    PROVIDER="Publishes benefits, and is owed for them.",
    CHANNEL="Brings redemptions through its app.",
)
made_known(
    BenefitStatus,
    description="Only PUBLISHED can be redeemed; the others are seen by their owner alone.",
    DRAFT="Not offered yet.",
    PUBLISHED="On offer.",
    PAUSED="Not on offer for a while.",
    RETIRED="Not on offer any more.",
)
made_known(
    BenefitCategory,
    description="The trades of the exchange.",
    VIDEO="Films and series.",
    DELIVERY="Goods brought home.",
    RIDES="Cars, cycles, scooters.",
    MUSIC="Music and listening.",
    READING="Books, news, audio books.",
    GAMING="Games.",
    FOOD="Eating and drinking.",
    TRAVEL="Journeys and nights.",
    SHOPPING="Shops.",
    OTHER="Anything else.",
)
made_known(
    Fulfilment,
    description="How a member gets it.",
    INSTANT_CODE="By a code out of the pool, at once.",
    PARTNER_CALL="By the partner, after the redemption.",
    NONE="At once, with nothing further to do.",
)
made_known(
    LimitPeriod,
    description="In what time a member may take so many units of a benefit, by the clocks of its partner.",
    DAY="A calendar day.",
    WEEK="A week, from Monday on.",
    MONTH="A calendar month.",
    EVER="Ever.",
)
made_known(
    AwardReversal,
    description="What an issuer wants when it takes back an award of which a part is spent, given away or held.",
    REFUSE="The reversal is refused.",
    TAKE_WHAT_IS_LEFT="What is left is taken.",
    DEBT="What is left is taken, and the member owes the rest: the next awards repay it.",
)
made_known(
    UnavailableReason,
    description="Why a benefit cannot be redeemed now.",
    OUT_OF_STOCK="Fewer units or codes are left than wanted.",
    NOT_STARTED="Before `validFrom`.",
    ENDED="From `validUntil` on.",
    NOT_PUBLISHED="Its status is not PUBLISHED.",
    MEMBER_LIMIT_REACHED="The member took as many as one member may.",
    NOT_ELIGIBLE="The member has points, but none that this provider takes.",
    REGION="It is for other countries than the member's, or that is not known.",
    INSUFFICIENT_POINTS="The member has fewer points to spend on it than it costs.",
    ISSUER_LIMIT="An issuer would owe more than it may.",
    VELOCITY="Faster than a rule allows, or more than the member allows a day through this partner.",
    FROZEN="One of those involved is frozen.",
)
made_known(
    RedemptionStatus,
    description="Where a redemption stands.",
    RESERVED="Points and unit are held until a deadline.",
    CONFIRMED="The points have moved and the money is owed; the partner still has to deliver.",
    FULFILLED="The member has it.",
    FAILED="The partner could not deliver; everything went back.",
    CANCELLED="The reservation was let go.",
    EXPIRED="The reservation's deadline passed.",
    REVERSED="All of it went back.",
)
made_known(
    PeriodStatus,
    description="Where a period stands.",
    OPEN="Takes entries.",
    CLOSING="Is being cut, lane by lane.",
    CLOSED="Is what it is for ever.",
    SETTLED="Is closed, and all its statements are paid.",
)
made_known(
    Every,
    "PeriodCalendarEvery",
    description="How often the calendar closes a period.",
    DAY="Every day.",
    WEEK="Every week, on one weekday.",
    MONTH="Every month, on one day.",
    NEVER="Only people do.",
)
made_known(
    Duty,
    "PeriodDuty",
    description="What has to be done about a period or a statement by a day.",
    CUT="The period has to be closed.",
    DRAFT="Its statements have to be drafted.",
    REVIEW="They have to be reviewed.",
    APPROVE="They have to be approved.",
    PAY="They have to be paid.",
)
made_known(
    StatementStatus,
    description="How far a statement has come.",
    DRAFT="Computed, and agreed by two ways.",
    REVIEWED="Looked through and found right; it waits for approval.",
    APPROVED="Approved by somebody else, or by as many as its amount needs.",
    INSTRUCTED="Its payments are under way.",
    PAID="All of it is paid.",
    RECONCILED="The payments are found in the bank's books.",
    REJECTED="Sent back, with a reason; it can be reviewed anew.",
)
made_known(
    SignOffStep,
    description="What can be done about a statement.",
    REVIEW="It was found right.",
    APPROVE="It was approved.",
    REJECT="It was sent back.",
    INSTRUCT="Its payments were sent off.",
    PAY="A payment was recorded.",
    RECONCILE="Its payments were found in the bank's books.",
)
made_known(
    EntryKind,
    "PointsEventKind",
    description="What happened to a member's points, or to what they can be spent through.",
    ENROL="A partner mentioned the member for the first time.",
    LINK="The member linked a partner.",
    UNLINK="The member ended a link.",
    AWARD="An issuer gave points.",
    REVERSE_AWARD="An issuer took an award back, or what was left of it; what was gone may be a debt.",
    EXTEND="An issuer gave a lot more time.",
    ADJUST="An issuer gave or took points as a goodwill.",
    FREEZE="Spending was stopped, from one lot or altogether.",
    UNFREEZE="Spending may go on.",
    GIVE="Points went from this member to another, or came from one.",
    FOUND="The member founded a household.",
    JOIN="The member joined a household.",
    LEAVE="The member left its household.",
    PAY_IN="Points went into the household's pool.",
    DRAW="Points came out of the household's pool.",
    MERGE="Two members became one.",
    UNMERGE="The two are two again.",
    EXPIRE="What was left of a lot was lost, because its time was over.",
    REDEEM="A benefit was taken.",
    RESERVE="Points were held for a benefit.",
    CONFIRM="A reservation became a taking, whole or in part; what was held is held no longer.",
    CANCEL="A reservation was let go.",
    LAPSE="A reservation's deadline passed.",
    FULFIL="The partner delivered.",
    FAIL="The partner could not deliver; the points came back.",
    REVERSE="A redemption went back, whole or in part, and its points with it.",
    ADJUSTMENT="Two partners settled a dispute about a statement line: never among a member's own events.",
)
made_known(
    LineKind,
    "StatementLineKind",
    description="What a statement line is for.",
    REDEMPTION="Points of an issuer spent at a provider.",
    REVERSAL="A redemption, or a part of it, that went back.",
    COMMISSION="What a provider gives the channel; negative when it goes back.",
    ADJUSTMENT="What a dispute about a line of an earlier period has moved, to whom it was upheld.",
)


made_known(
    PlanKind,
    "NettingPlan",
    description="Who pays whom when a period is netted.",
    EXCHANGE="One payment for each net, to the exchange or from it.",
    FEWEST="Partners pay each other, with the fewest transfers.",
    CONTRACTED="Partners pay each other, but only those that have an agreement, and move the least.",
)
made_known(
    Stage,
    "BarterStage",
    description="Where a barter stands.",
    TO_COME="It has not begun.",
    IN_FORCE="What is owed in a period that is opened now is settled in kind.",
    ENDED="Its difference is due, or settled.",
)
made_known(
    DisputeReason,
    description="Why a line should be wrong.",
    DUPLICATE="It is there twice.",
    NOT_DELIVERED="The member did not get the benefit.",
    NOT_OURS="It is not of the partner's members, points or benefits.",
    WRONG_AMOUNT="It costs something else by the agreement.",
    RETURNED="It went back, and no line says so.",
    OTHER="As the text says.",
)
made_known(
    DisputeStatus,
    description="Where a dispute stands.",
    OPENED="The other side has to answer; what it does not answer in time is upheld.",
    ANSWERED="Who opened it has to reply, or finance decides; without a reply in time it is rejected.",
    REFERRED="After three answers: finance decides.",
    UPHELD="Who opened it was right; the line is adjusted.",
    REJECTED="The line stays as it is.",
    WITHDRAWN="Who opened it has given it up.",
)
made_known(
    DisputeStep,
    description="What can be done in a dispute.",
    OPEN="Dispute a line of one's statement.",
    ANSWER="Answer, as the other side.",
    REPLY="Reply to an answer: another round.",
    WITHDRAW="Give it up, as who opened it.",
    CONCEDE="Give in, as the other side.",
    UPHOLD="Find, as finance, that it is right, all of it or a part.",
    REJECT="Find, as finance, that it is not.",
    LAPSE="Nobody's: a deadline passed.",
)
made_known(
    ExportStatus,
    description="Where an export stands.",
    QUEUED="It waits for others.",
    RUNNING="It is being written.",
    READY="Its file can be fetched.",
    FAILED="There will be no file: `error` says why. Ask again when that has changed.",
    EXPIRED="Its file was kept for a day, and is gone. Ask again.",
)
made_known(
    Form,
    "ExportFormat",
    description="What a statement is written as.",
    CSV="A row for each line, amounts as decimals with a point.",
    JSON="The canonical document and its hash.",
    LEDGER="Plain-text accounting (Beancount), from the partner's side.",
    XLSX="A workbook: typed cells, sums that are formulas.",
    PDF="A document to send: letterhead, sums, chart, lines.",
    PAIN001="What is left to be paid of an instructed statement, for the bank of whoever pays (ISO 20022).",
    BUNDLE="The statement, signed, with the proof that each line is in the journal.",
)


made_known(
    PaymentExceptionKind,
    "PaymentExceptionKind",
    description="Why a person has to look.",
    NOT_EXPECTED="The movement fits nothing that is due, or several things.",
    NOT_BOOKED="The bank should have booked it by now, and has not.",
    AMOUNT_DIFFERS="It is for something due of another amount.",
    DUPLICATE="What it is for is paid already.",
    RETURNED="It is for something due, and went the wrong way.",
)
made_known(
    PaymentMatchedBy,
    "PaymentMatchedBy",
    description="By what movements and payments found one another.",
    REFERENCE="The movement names the payment.",
    AMOUNT="The amount is the same, the date is near, and nothing else fits.",
)
made_known(
    UsageDifferenceKind,
    "UsageDifferenceKind",
    description="How a statement and its partner's own record differ about an entry.",
    MISSING_HERE="The partner has it, the statement has not.",
    MISSING_THERE="The statement has it, the partner has not.",
    DIFFERS="Both have it, with other figures.",
)


class BenefitSort(StrEnum):
    """The order of a list of benefits."""

    POINTS_PRICE = "POINTS_PRICE"
    NEWEST = "NEWEST"
    ENDING_SOON = "ENDING_SOON"
    RELEVANCE = "RELEVANCE"


made_known(
    BenefitSort,
    description="The order of a list of benefits.",
    POINTS_PRICE="The cheapest first.",
    NEWEST="The newest first; the default.",
    ENDING_SOON="What ends first, first; open ends last.",
    RELEVANCE="The best match first: needs `search`, and pages forward only.",
)
