"""Who and what there is: three partners and three members, what is sold for how much, and the rules at first."""

from __future__ import annotations

from exchange.agreements import AgreementBook
from exchange.benefit import Fulfilment, LimitPeriod
from exchange.commands import ByReference, Sharing
from exchange.redemption import Step
from exchange.rules import AwardReversal, Rules
from tests.exchange.speech import agreement, benefit, day

PARTNERS = ("video", "rides", "delivery")
MEMBERS = ("ann", "bob", "cid")
ANN = ByReference("video", "ann")
STRANGERS = (ByReference("delivery", "cid"), ByReference("rides", "nobody"))
TERMS = (
    agreement("video", "rides", 8_005, fee=150, commission=250),
    agreement("video", "rides", 3_333, "EUR", fee=9_000, commission=1_000, version=2, since=day(2)),
    agreement("delivery", "rides", 707, "EUR", commission=100),
    agreement("rides", "video", 1_999, "JPY", fee=1),
    agreement(None, "delivery", 12_345, "KWD", fee=333),
    # Nothing for delivery's points at video.
)
BENEFITS = (
    benefit("rides/trip", 37, fulfilment=Fulfilment.PARTNER_CALL),
    benefit("rides/pass", 11, member_limit=3),
    benefit("rides/seat", 7, stock=5, fulfilment=Fulfilment.PARTNER_CALL, member_limit=4),
    benefit("video/film", 20, stock=4),
    benefit("video/code", 3, fulfilment=Fulfilment.INSTANT_CODE),
    benefit("video/live", 15, valid_from=day(1), valid_until=day(4)),
    benefit("delivery/lunch", 5, regions=("DE",)),
    benefit("delivery/snack", 4, member_limit=2, member_limit_period=LimitPeriod.DAY),
    benefit("rides/tour", 9, member_limit=3, member_limit_period=LimitPeriod.MONTH),
)
CODES = {"video/code": 6}
"""How many are in the pool."""
RULES = (
    Rules(partner="video", award_reversal=AwardReversal.DEBT, gift_day_points=60),
    Rules(partner="rides", award_reversal=AwardReversal.TAKE_WHAT_IS_LEFT, gift_day_points=25, time_zone="Asia/Tokyo"),
    Rules(partner="delivery", time_zone="America/New_York"),
)
BOOK = AgreementBook(TERMS)
BY_ID = {term.id: term for term in TERMS}
COMMANDS = {
    "Enrol", "LinkMember", "Unlink", "Award", "ReverseAward", "Extend", "Adjust", "Expire", "Freeze", "Unfreeze",
    "Give", "Merge", "Unmerge", "Redeem", "Reserve", *Sharing, *Step,
}  # fmt: skip
