from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from exchange.agreements import AgreementBook
from exchange.benefit import Benefit, BenefitStatus, Fulfilment, Stock, StockChange, UnavailableReason
from exchange.commands import ByReference, Command
from exchange.decisions import Decision
from exchange.errors import (
    BenefitUnavailable,
    Forbidden,
    InsufficientPoints,
    NotFound,
    PriceChanged,
    Refusal,
    ValidationFailed,
)
from exchange.redemption import RedemptionStatus
from exchange.wallet import LOTS_MAX, Wallet
from tests.exchange.speech import (
    NOW,
    agreement,
    agreements,
    award,
    awarded,
    benefit,
    by_reference,
    day,
    decided,
    enrol,
    expire,
    left,
    link,
    lot,
    moves,
    redeem,
    refused,
    unlink,
)

R = UnavailableReason
TRIP = benefit("rides/trip", 100)
EVERYBODY = agreements((None, None, 800))


def rich(*issuers: str, points: int = 1_000) -> Wallet:
    return awarded(*(award(issuer, points) for issuer in issuers or ("video",)))


def redeemed(
    of: Benefit, wallet: Wallet, book: AgreementBook = EVERYBODY, stock: Stock | None = None, **asked: Any
) -> Decision:
    return decided(redeem(of, **asked), wallet, book, of=of, stock=stock)


# Awards


def test_an_award_makes_a_lot_and_the_first_one_the_member() -> None:
    """At first mention a reference comes to mean a wallet, and the issuer owes the points it gave."""
    command = award("video", 100, expires=day(3), reason="birthday")
    decision = decided(command, Wallet("w"))
    assert moves(decision.entry) == ["video ISSUED -> member 100"]
    assert decision.claims == by_reference("video")
    assert left(decision.wallet) == [f"{command.id}: 100 of 100"]
    assert decision.wallet.linked_to("video")
    assert decision.entry.detail == {"expires_at": "2026-03-04T12:00:00.000Z", "reason": "birthday"}


def test_a_later_award_claims_nothing() -> None:
    """A member that is known stays the one it is."""
    assert decided(award("video", 1), rich()).claims is None


def test_an_award_is_for_the_issuers_own_members() -> None:
    """A wallet that the issuer is not linked to, or no longer, is nobody to it."""
    wallet = rich("video", "rides")
    ended = decided(unlink("rides", wallet.id), wallet).wallet
    known = Wallet("w", version=1)
    for command, whose in ((award("rides", 1), ended), (award("delivery", 1), known), (award("delivery", 1), None)):
        assert isinstance(refused(command, whose), NotFound)


def test_an_award_ends_in_the_future_and_fits_the_wallet() -> None:
    """Points that are over already, or more than 64 bits hold, are refused by their field."""
    over = refused(award("video", 1, expires=NOW), Wallet("w"))
    assert (over.code, over.path) == ("VALIDATION_ERROR", ["input", "expiresAt"])
    full = awarded(award("video", 2**63 - 1))
    assert refused(award("video", 1), full).path == ["input", "points"]


# Redemptions


def test_a_redemption_takes_points_and_says_who_owes() -> None:
    """Points leave the lots first to expire, and each issuer owes for its own."""
    wallet = awarded(award("video", 60, expires=day(9), key="A"), award("delivery", 50, expires=day(1), key="B"))
    decision = redeemed(TRIP, wallet, agreements((None, "rides", 800)))
    assert moves(decision.entry) == [
        "member -> delivery REDEEMED 50", "member -> video REDEEMED 50",
        "delivery -> rides REDEMPTIONS 40 EUR", "video -> rides REDEMPTIONS 40 EUR",
    ]  # fmt: skip
    assert left(decision.wallet) == ["A: 10 of 60", "B: 0 of 50"]
    assert decision.wallet.taken == {"rides/trip": 1}
    assert decision.redemption is not None
    assert [take.lot for take in decision.redemption.takes] == ["B", "A"]
    assert (decision.stock, decision.codes) == (StockChange(sold=1), 0)


@pytest.mark.parametrize(
    ("fulfilment", "status", "codes"),
    [
        (Fulfilment.NONE, RedemptionStatus.FULFILLED, 0), (Fulfilment.INSTANT_CODE, RedemptionStatus.FULFILLED, 2),
        (Fulfilment.PARTNER_CALL, RedemptionStatus.CONFIRMED, 0),
    ],
)  # fmt: skip
def test_a_redemption_stands_where_its_fulfilment_leaves_it(
    fulfilment: Fulfilment, status: RedemptionStatus, codes: int
) -> None:
    """What needs the partner is confirmed, anything else is fulfilled at once; codes come one per unit."""
    decision = redeemed(benefit("rides/trip", 100, fulfilment=fulfilment), rich(), quantity=2, stock=Stock(9))
    assert decision.redemption is not None
    assert (decision.redemption.status, decision.codes, decision.stock) == (status, codes, StockChange(sold=2))


def test_a_redemption_counts_against_the_days_limit_of_its_link() -> None:
    """A member who allowed 250 points a day through an app spends 200 and no more that day."""
    wallet = rich()
    wallet = decided(link("delivery", wallet.id, daily_limit=250), wallet).wallet
    after = redeemed(TRIP, wallet, through="delivery", quantity=2).wallet
    refusal = refused(redeem(TRIP, through="delivery"), after, EVERYBODY, of=TRIP)
    assert isinstance(refusal, BenefitUnavailable)
    assert refusal.reasons == [R.VELOCITY]
    assert redeemed(TRIP, after).redemption, "another app has no such limit"
    tomorrow = decided(redeem(TRIP, through="delivery"), after, EVERYBODY, of=TRIP, now=day(1))
    assert tomorrow.redemption


# Who is refused, and in which order


def test_refusals_come_in_the_contracts_order() -> None:
    """Of all that is wrong with a redemption the first in order is told; mending it brings the next."""
    gone = benefit("rides/trip", 100, valid_until=day(-1), member_limit=1)
    poor = awarded(award("video", 10))
    wrong: dict[str, Any] = {"expected_points": 99, "quantity": 2}
    ladder: list[tuple[Refusal, type[Refusal]]] = [
        (refused(redeem(gone, **wrong), None, EVERYBODY, of=gone), NotFound),
        (refused(redeem("rides/other", **wrong), poor, EVERYBODY), NotFound),
        (refused(redeem(gone, **wrong), poor, EVERYBODY, of=gone), BenefitUnavailable),
        (refused(redeem(TRIP, **wrong), poor, EVERYBODY, of=TRIP), PriceChanged),
        (refused(redeem(TRIP, expected_points=200, quantity=2), poor, EVERYBODY, of=TRIP), InsufficientPoints),
    ]
    assert [type(refusal) for refusal, _ in ladder] == [kind for _, kind in ladder]
    assert ladder[0][0].path == ["input", "member"]
    assert ladder[1][0].path == ["input", "benefit"]


def test_an_unavailable_benefit_tells_every_reason() -> None:
    """All that stands in the way is told at once; too few points is a refusal of its own."""
    gone = benefit("rides/trip", 100, valid_until=NOW, member_limit=1, regions=("DE",), status=BenefitStatus.PAUSED)
    wallet = awarded(award("rides", 10))
    refusal = refused(redeem(gone, 2, through="rides", region="AT"), wallet, of=gone, stock=Stock(1))
    assert isinstance(refusal, BenefitUnavailable)
    assert refusal.reasons == [R.NOT_PUBLISHED, R.ENDED, R.OUT_OF_STOCK, R.REGION, R.MEMBER_LIMIT_REACHED]


def test_prices_and_points_are_told_in_a_refusal() -> None:
    """A refusal carries what the caller needs: the total as it is now, what is needed, and what could be spent."""
    changed = refused(redeem(TRIP, 3, expected_points=100), rich(), EVERYBODY, of=TRIP)
    assert isinstance(changed, PriceChanged)
    assert changed.points_price == 300
    wallet = awarded(award("video", 50), award("delivery", 500))
    few = refused(redeem(TRIP), wallet, agreements(("video", "rides", 800)), of=TRIP)
    assert isinstance(few, InsufficientPoints)
    assert (few.required, few.available) == (100, 50)


def test_points_without_any_agreement_make_a_member_not_eligible() -> None:
    """Where there are points but none that this provider takes, that is the reason."""
    refusal = refused(redeem(TRIP), rich(), AgreementBook(), of=TRIP)
    assert isinstance(refusal, BenefitUnavailable)
    assert refusal.reasons == [R.NOT_ELIGIBLE]


def test_unpublished_benefits_do_not_exist_for_others() -> None:
    """Another partner's draft is not there; to its owner's app it is, and cannot be redeemed."""
    draft = benefit("rides/trip", status=BenefitStatus.DRAFT)
    assert isinstance(refused(redeem(draft), rich(), EVERYBODY, of=draft), NotFound)
    own = refused(redeem(draft, through="rides"), rich("rides"), EVERYBODY, of=draft)
    assert isinstance(own, BenefitUnavailable)
    assert own.reasons == [R.NOT_PUBLISHED]


def test_an_ended_link_is_forbidden_to_the_member_and_nobody_to_the_partner() -> None:
    """The member's own token learns that the link has ended; the partner's server, that there is no such member."""
    wallet = rich("video", "rides")
    ended = decided(unlink("rides", wallet.id), wallet).wallet
    assert isinstance(refused(redeem(TRIP, through="rides", by_member=True), ended, of=TRIP), Forbidden)
    assert isinstance(refused(redeem(TRIP, through="rides"), ended, of=TRIP), NotFound)


def test_more_money_than_a_row_holds_is_refused() -> None:
    """A price and a cost that together exceed what a row may owe are a limit of the issuer."""
    dear = benefit("rides/trip", 10**15)
    wallet = rich(points=10**17)
    refusal = refused(redeem(dear), wallet, agreements(("video", "rides", 10**12)), of=dear)
    assert isinstance(refusal, BenefitUnavailable)
    assert refusal.reasons == [R.ISSUER_LIMIT]


# Enrolling, linking, expiring


def test_enrolling_claims_a_reference_once() -> None:
    """The first mention claims the reference; when an award was faster there is nothing left to claim."""
    assert decided(enrol("video"), Wallet("w")).claims == ByReference("video", "ann")
    again = decided(enrol("video"), rich())
    assert again.claims is None
    assert again.wallet.links == rich().links


def test_who_ended_a_link_is_not_enrolled_by_a_token() -> None:
    """An assertion does not undo what the member decided."""
    wallet = rich("video", "rides")
    ended = decided(unlink("video", wallet.id, through="rides"), wallet).wallet
    assert isinstance(refused(enrol("video"), ended), Forbidden)


def test_linking_makes_two_references_mean_one_wallet() -> None:
    """A code links a second partner; the same again is fine, and a limit can be set anew."""
    wallet = rich()
    linked = decided(link("rides", wallet.id, daily_limit=50), wallet)
    assert linked.claims == ByReference("rides", "ann")
    again = decided(link("rides", wallet.id), linked.wallet, referenced=wallet.id, now=day(1))
    assert again.claims is None
    there = again.wallet.link("rides")
    assert there is not None
    assert (there.daily_limit, there.since) == (None, NOW)


def test_linking_does_not_forget_what_was_spent_today() -> None:
    """Ending a link and linking again does not begin the day anew."""
    wallet = rich()
    wallet = decided(link("delivery", wallet.id, daily_limit=100), wallet).wallet
    wallet = redeemed(TRIP, wallet, through="delivery").wallet
    wallet = decided(unlink("delivery", wallet.id), wallet).wallet
    wallet = decided(link("delivery", wallet.id, daily_limit=100), wallet, referenced=wallet.id).wallet
    refusal = refused(redeem(TRIP, through="delivery"), wallet, EVERYBODY, of=TRIP)
    assert isinstance(refusal, BenefitUnavailable)
    assert refusal.reasons == [R.VELOCITY]


@pytest.mark.parametrize(
    ("terms", "command", "path"),
    [
        ({"now": day(1)}, {"good_until": day(1)}, "code"),
        ({"referenced": "another"}, {}, "reference"),
        ({}, {"partner": "video", "reference": "somebody-else"}, "reference"),
    ],
)
def test_a_link_code_is_good_once_and_for_one(terms: dict[str, Any], command: dict[str, Any], path: str) -> None:
    """A code that is over, a reference of another member, or another reference of this one are refused."""
    wallet = rich()
    refusal = refused(link(command.pop("partner", "rides"), wallet.id, **command), wallet, **terms)
    assert refusal.path == ["input", path]
    assert isinstance(refused(link("rides", "nobody"), None), NotFound)


def test_a_code_from_before_the_link_was_ended_does_not_open_it_again() -> None:
    """Whoever ends a link ends the codes that are out for it; one made afterwards is good."""
    wallet = awarded(award("video", 10), award("rides", 10))
    parted = decided(unlink("rides", wallet.id), wallet, now=day(2)).wallet
    with pytest.raises(NotFound) as raised:
        decided(link("rides", wallet.id, made=day(1)), parted, now=day(3))
    assert raised.value.path == ["input", "code"]
    assert decided(link("rides", wallet.id, made=day(2.5)), parted, now=day(3)).wallet.linked_to("rides")


def test_a_wallet_does_not_outgrow_its_document() -> None:
    """An award beyond the most lots that a wallet may have is refused, and says why."""
    lots = tuple(lot(f"lot-{n}", "video", 0) for n in range(LOTS_MAX))
    full = replace(awarded(award("video", 1)), lots=lots)
    with pytest.raises(ValidationFailed) as raised:
        decided(award("video", 1), full)
    assert raised.value.path == ["input", "member"]


def test_the_last_link_stays() -> None:
    """A member cannot lock itself out of its points, end what is not linked, or act through an ended link."""
    wallet = rich()
    assert isinstance(refused(unlink("video", wallet.id), wallet), Forbidden)
    for ended in ("rides", None):
        assert isinstance(refused(unlink(ended, wallet.id), wallet), NotFound)
    assert isinstance(refused(unlink("video", wallet.id, through="rides"), wallet), Forbidden)
    assert isinstance(refused(unlink("video", wallet.id), None), Forbidden)


def test_what_is_left_of_a_lot_expires_once() -> None:
    """When its time is over the rest of a lot goes to the issuer's expired points, and a second time there is none."""
    wallet = awarded(award("video", 100, expires=day(1), key="A"), award("video", 100, key="B"))
    wallet = redeemed(benefit("video/film", 30), wallet).wallet
    for early in ("A", "B", "C"):
        assert isinstance(refused(expire(early, wallet.id), wallet), NotFound)
    decision = decided(expire("A", wallet.id), wallet, now=day(1))
    assert moves(decision.entry) == ["member -> video EXPIRED 70"]
    assert left(decision.wallet) == ["A: 0 of 100", "B: 100 of 100"]
    assert isinstance(refused(expire("A", wallet.id), decision.wallet, now=day(2)), NotFound)


def test_a_decision_made_again_comes_out_the_same() -> None:
    """Decisions hang on their arguments alone."""
    wallet, command = rich(), redeem(TRIP)
    assert decided(command, wallet, EVERYBODY, of=TRIP) == decided(command, wallet, EVERYBODY, of=TRIP)


def test_what_is_no_command_is_a_mistake_of_ours() -> None:
    """A command without a law is not silently nothing."""
    with pytest.raises(KeyError):
        decided(Command(id="x", fingerprint="", partner="video", whose=None), None)


def test_an_entry_knows_the_version_that_its_commit_makes() -> None:
    """The wallet's history is in order whichever lane wrote it."""
    assert decided(award("video", 1), Wallet("w")).entry.wallet_version == 1
    assert decided(award("video", 1), Wallet("w", version=7, links=rich().links)).entry.wallet_version == 8


def test_the_terms_of_the_moment_are_in_the_redemption() -> None:
    """Each row names the agreement version in force when it was made."""
    book = agreements(("video", "rides", 800), agreement("video", "rides", 900, version=2, since=day(1)))
    wallet = rich()
    for now, version in ((NOW, 1), (day(1), 2)):
        decision = decided(redeem(TRIP), wallet, book, of=TRIP, now=now)
        assert decision.redemption is not None
        assert decision.redemption.debits[0].agreement == f"video>rides#{version:06d}"
