"""Disputes: who may do what when, that the last cent of a line is moved once, and that all of it can be proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exchange.amounts import Money, minor_from_decimal
from exchange.check import check
from exchange.commands import AdjustLine, ByWallet
from exchange.decisions import Terms
from exchange.decisions import decide as ledger_decides
from exchange.errors import (
    Contended,
    Forbidden,
    IdempotencyConflict,
    InvalidDispute,
    NotFound,
    Refusal,
    ValidationFailed,
)
from exchange.evidence import Evidence
from exchange.exposure import Pair
from exchange.journal import EXCHANGE, EntryKind, LineKind
from exchange.ledger import Ledger
from exchange.proof.disputes import DisputeJudge
from exchange.settlement.dispute import (
    LIVE,
    RESPONSE,
    STEPS,
    Asked,
    Dispute,
    DisputedLine,
    DisputeReason,
    DisputeStatus,
    DisputeStep,
    as_of,
    decide,
    opened,
)
from exchange.settlement.disputing import Disputed, Disputing, Opening
from exchange.settlement.statement import StatementLine
from exchange.store import documents as docs
from exchange.store.books import Books
from exchange.store.disputes import Disputes
from exchange.store.headroom import Headroom
from exchange.wallet import Wallet
from tests.examples import told as told_of
from tests.examples import told_in
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.test_bundle import bundled
from tests.exchange.settlement.test_signoff import rows_told
from tests.exchange.speech import NOW
from tests.exchange.test_evidence import SEAL, another, verified, whole

__all__ = ["another"]

OPEN, ANSWER, REPLY, WITHDRAW, CONCEDE, UPHOLD, REJECT, LAPSE = DisputeStep
STATUS = DisputeStatus
OPENED, ANSWERED, REFERRED = LIVE
VIDEO, RIDES = "video", "rides"
_KEYS = count()


def euros(cents: int) -> Money:
    return Money(cents, "EUR")


LINE = DisputedLine(
    statement="1:video", statement_hash="h" * 64, period=1, partner=VIDEO, counterparty=RIDES, entry="E", n=0,
    kind=LineKind.REDEMPTION, at=NOW, benefit="rides/airport", net=euros(-167),
)  # fmt: skip


def asked(step: DisputeStep, party: str, **more: Any) -> Asked:
    """Ask for a step under a key of its own."""
    given = {"actor": f"of {party}", "key": f"key {next(_KEYS)}", "fingerprint": f"{step}", "text": "so it is"} | more
    return Asked(step=step, party=party, **given)


def a_dispute(claim: int = 167, *earlier: Dispute, line: DisputedLine = LINE) -> Dispute:
    name = f"D{len(earlier) + 1}"
    return opened(name, line, DisputeReason.DUPLICATE, euros(claim), asked(OPEN, line.partner), earlier, NOW)


def taken(dispute: Dispute, *steps: tuple[DisputeStep, str], at: datetime = NOW) -> Dispute:
    """Take steps, which must be possible."""
    for step, party in steps:
        dispute = decide(dispute, asked(step, party), at)
    return dispute


ROUND = ((ANSWER, RIDES), (ANSWER, VIDEO))
WAYS: dict[DisputeStatus, tuple[tuple[DisputeStep, str], ...]] = {
    STATUS.OPENED: (),
    STATUS.ANSWERED: ((ANSWER, RIDES),),
    STATUS.REFERRED: (*ROUND, *ROUND, (ANSWER, RIDES)),
    STATUS.UPHELD: ((CONCEDE, RIDES),),
    STATUS.REJECTED: ((ANSWER, RIDES), (REJECT, EXCHANGE)),
    STATUS.WITHDRAWN: ((WITHDRAW, VIDEO),),
}
WHO = {ANSWER: RIDES, REPLY: VIDEO, WITHDRAW: VIDEO, CONCEDE: RIDES, UPHOLD: EXCHANGE, REJECT: EXCHANGE}
ALLOWED = {
    STATUS.OPENED: {ANSWER, WITHDRAW, CONCEDE}, STATUS.ANSWERED: {REPLY, WITHDRAW, CONCEDE, UPHOLD, REJECT},
    STATUS.REFERRED: {WITHDRAW, CONCEDE, UPHOLD, REJECT}, STATUS.UPHELD: set(), STATUS.REJECTED: set(),
    STATUS.WITHDRAWN: set(),
}  # fmt: skip


# ---------------------------------------------------------------- what is decided


@pytest.mark.parametrize("status", STATUS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_begins_where_it_may(status: DisputeStatus, step: DisputeStep) -> None:
    """From each status exactly these steps lead on; all others are refused, with the status."""
    dispute = taken(a_dispute(), *WAYS[status])
    assert dispute.status is status
    wish = asked(ANSWER if step is REPLY else step, WHO[step])
    if step in ALLOWED[status]:
        assert decide(dispute, wish, NOW).last.step is step
    else:
        with pytest.raises(InvalidDispute) as refused:
            decide(dispute, wish, NOW)
        assert refused.value.status == status


def test_three_rounds_and_finance_has_the_last_word() -> None:
    """Answer and reply, twice; the third answer is the last, and after it nobody is waited for but finance."""
    dispute, seen = a_dispute(), []
    for party in (RIDES, VIDEO, RIDES, VIDEO, RIDES):
        assert dispute.waiting_for == party
        dispute = taken(dispute, (ANSWER, party))
        seen.append((dispute.status, dispute.round, dispute.last.step))
    assert seen == [
        (ANSWERED, 1, ANSWER), (OPENED, 2, REPLY), (ANSWERED, 2, ANSWER), (OPENED, 3, REPLY), (REFERRED, 3, ANSWER),
    ]  # fmt: skip
    assert (dispute.waiting_for, dispute.deadline) == (EXCHANGE, None)
    assert as_of(dispute, NOW + timedelta(days=1000)) == dispute
    part = decide(dispute, asked(UPHOLD, EXCHANGE, award=euros(100)), NOW)
    assert (part.status, part.award, part.waiting_for) == (STATUS.UPHELD, euros(100), None)


@pytest.mark.parametrize(
    ("way", "ends", "award"),
    [((), STATUS.UPHELD, euros(167)), (ROUND, STATUS.UPHELD, euros(167)), (WAYS[ANSWERED], STATUS.REJECTED, None)],
)
def test_a_deadline_decides_against_whoever_had_to_act(
    way: tuple[tuple[DisputeStep, str], ...], ends: DisputeStatus, award: Money | None
) -> None:
    """No answer: all of it is upheld; no reply: it is rejected. Until then nothing, and from then on nothing else."""
    dispute = taken(a_dispute(), *way)
    deadline = NOW + RESPONSE
    assert as_of(dispute, deadline - timedelta(milliseconds=1)) == dispute
    over = as_of(dispute, deadline)
    assert (over.status, over.award, over.last.step, over.last.at) == (ends, award, LAPSE, deadline)
    assert as_of(over, deadline + RESPONSE) == over
    for step, party in ((ANSWER, RIDES), (ANSWER, VIDEO), (WITHDRAW, VIDEO), (CONCEDE, RIDES), (REJECT, EXCHANGE)):
        with pytest.raises(InvalidDispute) as refused:
            decide(dispute, asked(step, party), deadline)
        assert refused.value.status == ends


def test_a_clock_that_was_put_back_puts_no_record_before_another() -> None:
    """A primary that takes over can be behind: what comes next is of the same moment, and both opinions agree."""
    dispute = taken(a_dispute(), (ANSWER, RIDES), at=NOW - timedelta(seconds=2))
    assert dispute.last.at == NOW
    assert dispute.deadline == NOW + RESPONSE
    assert followed(dispute) == []


def test_a_party_does_what_is_its_own_to_do() -> None:
    """Only who opened it withdraws, only the other side concedes, and nobody answers itself."""
    dispute = a_dispute()
    for step, party in ((WITHDRAW, RIDES), (CONCEDE, VIDEO)):
        with pytest.raises(Forbidden):
            decide(dispute, asked(step, party), NOW)
    with pytest.raises(InvalidDispute, match="waits for rides"):
        decide(dispute, asked(ANSWER, VIDEO), NOW)
    with pytest.raises(InvalidDispute, match="waits for video"):
        decide(taken(dispute, (ANSWER, RIDES)), asked(ANSWER, RIDES), NOW)


@pytest.mark.parametrize("claim", [euros(0), euros(-1), euros(168), Money(1, "JPY")])
def test_no_more_is_claimed_than_the_line_is_of(claim: Money) -> None:
    """More than nothing, at most the net, in its currency; and finance upholds no more than was claimed."""
    with pytest.raises(ValidationFailed) as refused:
        opened("D", LINE, DisputeReason.OTHER, claim, asked(OPEN, VIDEO), [], NOW)
    assert refused.value.path == ["input", "amount"]
    with pytest.raises(ValidationFailed) as refused:
        decide(taken(a_dispute(), (ANSWER, RIDES)), asked(UPHOLD, EXCHANGE, award=claim), NOW)
    assert refused.value.path == ["input", "amount"]


def test_a_line_is_disputed_until_nothing_is_left_of_it() -> None:
    """One dispute at a time; what earlier ones have claimed is decided, whatever was upheld of it."""
    first = taken(a_dispute(100), (ANSWER, RIDES))
    with pytest.raises(InvalidDispute, match="already"):
        a_dispute(1, first)
    part = decide(first, asked(UPHOLD, EXCHANGE, award=euros(60)), NOW)
    with pytest.raises(ValidationFailed, match=r"at most 0\.67 EUR"):
        a_dispute(68, part)
    rejected = taken(a_dispute(67, part), (ANSWER, RIDES), (REJECT, EXCHANGE))
    with pytest.raises(ValidationFailed, match="decided, all of it"):
        a_dispute(1, part, rejected)


def test_what_is_taken_back_at_once_can_be_claimed_again() -> None:
    """A slip is no dispute; who withdraws an answered one has given it up, and so has who never replied."""
    slip = taken(a_dispute(167), (WITHDRAW, VIDEO))
    assert a_dispute(100, slip).number == 2
    given_up = taken(a_dispute(167), (ANSWER, RIDES), (WITHDRAW, VIDEO))
    never_replied = as_of(taken(a_dispute(167), (ANSWER, RIDES)), NOW + RESPONSE)
    for over in (given_up, never_replied):
        with pytest.raises(ValidationFailed, match="decided, all of it"):
            a_dispute(1, slip, over)


@pytest.mark.parametrize("change", [{"kind": LineKind.ADJUSTMENT}, {"counterparty": VIDEO}, {"counterparty": EXCHANGE}])
def test_what_nobody_else_owes_is_not_disputed(change: dict[str, Any]) -> None:
    """Neither an adjustment nor a line without another partner on its other side."""
    with pytest.raises(ValidationFailed) as refused:
        a_dispute(line=replace(LINE, **change))
    assert refused.value.path == ["input", "entry"]


# ---------------------------------------------------------------- the command


def adjusting(minor: int, dispute: str = "D1", **change: Any) -> AdjustLine:
    given: dict[str, Any] = {
        "partner": VIDEO, "payer": RIDES, "amount": euros(minor), "net": euros(-167), "dispute": dispute, "record": "r",
        "statement": "1:video", "statement_hash": "h", "entry": "E", "line": 0, "benefit": "rides/airport",
    }  # fmt: skip
    return AdjustLine(id=f"adjust {dispute}", fingerprint="", whose=ByWallet("account"), **given | change)


def test_an_adjustment_is_one_partners_payment_to_the_other() -> None:
    """Two postings, a line for each of the two that says ADJUSTMENT, what it cites; and nothing of anybody's points."""
    decision = ledger_decides(adjusting(100), Wallet("account"), Terms(), NOW, b"s")
    entry = decision.entry
    assert entry.kind is EntryKind.ADJUSTMENT
    assert [(posting.party, posting.account, posting.unit, posting.amount) for posting in entry.postings] == [
        (RIDES, "ADJUSTMENTS", "EUR", -100), (VIDEO, "ADJUSTMENTS", "EUR", 100),
    ]  # fmt: skip
    assert [tuple(line) for line in entry.lines(RIDES)] == [("ADJUSTMENT", VIDEO, 0, -100, 0, "EUR")]
    assert [tuple(line) for line in entry.lines(VIDEO)] == [("ADJUSTMENT", RIDES, 0, 100, 0, "EUR")]
    assert (entry.settling, entry.parties) == ([RIDES, VIDEO], [EXCHANGE, RIDES, VIDEO])
    assert entry.detail == {
        "dispute": "D1", "record": "r", "statement": "1:video", "statement_hash": "h", "entry": "E", "line": "0",
    }  # fmt: skip
    assert (decision.wallet.lots, dict(decision.wallet.taken)) == ((), {"D1": 100})


def test_the_ledger_moves_no_more_than_the_line_either() -> None:
    """Whoever asks it, and by however many disputes: the line's own account knows what is left."""
    account = ledger_decides(adjusting(100), Wallet("account"), Terms(), NOW, b"s").wallet
    for wrong in (adjusting(68, "D2"), adjusting(0, "D2"), adjusting(-1, "D2"), adjusting(1, "D2", payer=VIDEO),
                  adjusting(1, "D2", amount=Money(1, "JPY"))):  # fmt: skip
        with pytest.raises(ValidationFailed):
            ledger_decides(wrong, account, Terms(), NOW, b"s")
    assert sum(ledger_decides(adjusting(67, "D2"), account, Terms(), NOW, b"s").wallet.taken.values()) == 167


# ---------------------------------------------------------------- the second opinion


def followed(dispute: Dispute) -> list[str]:
    return list(DisputeJudge({"1:video": "h" * 64}).add(dispute))


def test_more_claims_than_a_line_is_of_are_named() -> None:
    """Disputes that could not both have been opened, whatever became of them; what was taken back does not count."""
    slip = taken(a_dispute(167), (WITHDRAW, VIDEO))
    rejected = replace(taken(a_dispute(100), (ANSWER, RIDES), (REJECT, EXCHANGE)), id="D2")
    again = replace(a_dispute(68), id="D3")
    for last, wrong in ((replace(again, claim=euros(67)), False), (again, True)):
        judge = DisputeJudge({})
        for each in (slip, rejected, last):
            list(judge.add(each))
        assert any("168 were claimed of a line of -167" in each for each in judge.end()) is wrong


@given(st.lists(st.tuples(st.sampled_from(list(STEPS)), st.sampled_from([VIDEO, RIDES, EXCHANGE]),
                          st.sampled_from([0, 1, 15]), st.sampled_from([None, 1, 167, 168])), max_size=12))  # fmt: skip
def test_whatever_the_parties_try_both_opinions_agree(wishes: list[tuple[DisputeStep, str, int, int | None]]) -> None:
    """What is decided, at whatever time, the judge finds right; and no more is awarded than was claimed."""
    dispute, now = a_dispute(), NOW
    for step, party, days, award in wishes:
        now += timedelta(days=days)
        dispute = as_of(dispute, now)
        if (party == EXCHANGE) != (step in (UPHOLD, REJECT)):
            continue  # the gateway lets only finance decide, and finance nothing else
        try:
            dispute = decide(dispute, asked(step, party, award=None if award is None else euros(award)), now)
        except Refusal:
            continue
    assert followed(dispute) == []
    assert sum(record.step is ANSWER for record in dispute.records) <= 3
    assert (dispute.award is not None) == (dispute.status is STATUS.UPHELD)
    assert dispute.award is None or dispute.award.minor <= 167


def rechained(dispute: Dispute, nth: int, **change: Any) -> Dispute:
    """Change a record and give it, and all behind it, the hashes that they then have."""
    records = [replace(record, **change) if n == nth else record for n, record in enumerate(dispute.records)]
    made = replace(dispute, records=())
    for record in records:
        made = made.appended(record)
    return made


@pytest.mark.parametrize(
    ("at", "change", "says"),
    [
        (0, {"party": RIDES}, "record 1 is a OPEN by rides, not who opened it"),
        (1, {"party": VIDEO}, "record 2 is a ANSWER by video, not the other side"),
        (1, {"step": REPLY}, "record 2 is a REPLY where it was OPENED"),
        (1, {"at": NOW + RESPONSE}, f"record 2 is of {NOW + RESPONSE}, its deadline was {NOW + RESPONSE}"),
        (1, {"deadline": None}, "record 2 leaves it ANSWERED until None"),
        (1, {"award": euros(1)}, "record 2 awards something and upholds nothing"),
        (2, {"award": euros(168)}, f"record 3 awards {euros(168)} of {euros(167)}"),
        (2, {"award": None}, f"record 3 awards None of {euros(167)}"),
        (2, {"party": RIDES}, "record 3 is a UPHOLD by rides, not finance"),
        (2, {"status": STATUS.REJECTED}, "record 3 says that it is REJECTED then, not UPHELD"),
        (2, {"step": LAPSE}, f"record 3 is of {NOW}, its deadline was {NOW + RESPONSE}"),
    ],
)
def test_what_cannot_have_been_done_is_named(at: int, change: dict[str, Any], says: str) -> None:
    """Even a dispute that was written anew with all its hashes cannot say what nobody may do."""
    dispute = taken(a_dispute(), (ANSWER, RIDES), (UPHOLD, EXCHANGE))
    assert followed(dispute) == []
    assert followed(rechained(dispute, at, **change))[0] == f"dispute D1: {says}"


@given(st.data())
def test_nothing_of_a_dispute_can_be_changed_without_a_hash(data: st.DataObject) -> None:
    """Any field of any record, and all that it is about, is under the first hash behind it."""
    dispute = taken(a_dispute(), (ANSWER, RIDES), (UPHOLD, EXCHANGE))
    at = data.draw(st.integers(0, 2))
    text = data.draw(st.sampled_from(["text", "link", "digest", "actor", "key", "fingerprint"]))
    records = list(dispute.records)
    records[at] = replace(records[at], **{text: "other"})
    assert any("does not have its hash" in each for each in followed(replace(dispute, records=tuple(records))))
    for other in (
        replace(dispute, reason=DisputeReason.OTHER),
        replace(dispute, line=replace(LINE, entry="F")),
        replace(dispute, number=2),
    ):
        assert followed(other)[0] == "dispute D1: record 1 does not have its hash"


# ---------------------------------------------------------------- on a database


@pytest.fixture
async def closed(example: World) -> AsyncIterator[World]:
    """Give a closed period with statements of delivery, rides and video; hold everything to be proved in the end."""
    await example.settle().close(1)
    await disputing(example).create_indexes()
    yield example
    assert await broken(example) == {}


async def broken(world: World) -> dict[int, list[str]]:
    return {proof.number: proof.wrong for proof in await check(world.database, world.keyring) if not proof.holds}


def disputing(world: World, within: timedelta = RESPONSE, ledger: Ledger | None = None) -> Disputing:
    """Return disputes as a process of its own sees them."""
    return Disputing(world.database, ledger or world.ledgers[0], world.keyring, within)


async def lines(world: World, partner: str, period: int = 1) -> list[StatementLine]:
    statement = await world.settle().statement(f"{period}:{partner}")
    assert statement is not None
    return await world.settle().lines(statement)


async def opening(world: World, partner: str = VIDEO, n: int = 0, claim: int = 167, **change: Any) -> Opening:
    """Dispute the first line of the partner's entry number `n` in period 1."""
    line = (await lines(world, partner))[n]
    given: dict[str, Any] = {
        "statement": f"1:{partner}",
        "entry": line.entry,
        "line": line.place.n,
        "claim": euros(claim),
    } | change
    return Opening(reason=DisputeReason.DUPLICATE, **given)


async def disputed(world: World, within: timedelta = RESPONSE, claim: int = 167) -> Dispute:
    """Let video dispute what it owes rides for the airport ride."""
    wish = await opening(world, claim=claim)
    return (await disputing(world, within).open(wish, asked(OPEN, VIDEO))).dispute


async def adjustments(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await world.database["entries"].find({"kind": "ADJUSTMENT"}).to_list(None)
    return found


async def test_from_a_line_to_the_adjustment_in_the_next_statement(closed: World) -> None:
    """Disputed in period 1, upheld; in period 2 both statements have the line, and it counts in their positions."""
    dispute = await disputed(closed)
    room = disputing(closed)
    await room.step(dispute.id, asked(ANSWER, RIDES))
    upheld = (await room.step(dispute.id, asked(UPHOLD, EXCHANGE, award=euros(100)))).dispute
    assert (upheld.status, upheld.award, upheld.adjusted_in) == (STATUS.UPHELD, euros(100), 2)
    before = await closed.settle().statement("1:video")
    await closed.settle().close(2)
    for partner, other, net in ((VIDEO, RIDES, 100), (RIDES, VIDEO, -100)):
        (line,) = await lines(closed, partner, 2)
        assert (line.kind, line.counterparty, line.points, line.net, line.benefit) == (
            LineKind.ADJUSTMENT, other, 0, euros(net), "rides/airport",
        )  # fmt: skip
        (position,) = await closed.settle().positions(2, partner)
        assert position.net == euros(net)
    (row,) = await closed.settle().bilateral(2)
    assert (row.debtor, row.creditor, row.gross, row.points, row.entries) == (RIDES, VIDEO, euros(100), 0, 1)
    (entry,) = await adjustments(closed)
    assert entry["detail"]["statement_hash"] == before.hash  # type: ignore[union-attr]
    assert await closed.settle().statement("1:video") == before
    (adjusted,) = await lines(closed, VIDEO, 2)
    wish = await opening(closed, statement="2:video", entry=adjusted.entry, line=0, claim=1)
    with pytest.raises(ValidationFailed, match="cannot be disputed"):
        await room.open(wish, asked(OPEN, VIDEO))
    await closed.prove()


async def test_only_lines_of_ones_own_statement_are_disputed(closed: World) -> None:
    """Another's statement, another's name of an entry, a line that is not there: all the same, not found."""
    room, own = disputing(closed), await opening(closed)
    for wish, path in (
        (replace(own, statement="1:rides"), "statement"), (replace(own, statement="9:video"), "statement"),
        (replace(own, entry=(await lines(closed, RIDES))[0].entry), "entry"), (replace(own, entry="no"), "entry"),
        (replace(own, line=9), "entry"),
    ):  # fmt: skip
        with pytest.raises(NotFound) as refused:
            await room.open(wish, asked(OPEN, VIDEO))
        assert refused.value.path == ["input", path]


async def test_an_adjustment_is_proved_from_files_alone(closed: World, another: Callable[[bytes], str]) -> None:
    """The next statements' bundles and the journal verify, and a program written from the page says the same."""
    dispute = await disputed(closed)
    await disputing(closed).step(dispute.id, asked(CONCEDE, RIDES))
    await closed.settle().close(2)
    for partner, net in ((VIDEO, "167"), (RIDES, "-167")):
        statement, data = await bundled(closed, partner, 2)
        facts = verified(data).findings.facts
        assert (facts["statement"], facts["statement_lines"], facts["totals"][0]["net"]) == (statement.id, 1, net)
        assert another(data) == "ok, but for the signature\n"
    journal = await whole(Evidence(closed.database, closed.keyring).journal(SEAL))
    assert another(journal) == "ok, but for the signature\n"


async def test_a_third_partner_sees_and_does_nothing(closed: World) -> None:
    """To whoever is on neither side a dispute is not there."""
    dispute, room = await disputed(closed), disputing(closed)
    for party in (VIDEO, RIDES, None):
        assert await room.dispute(dispute.id, party) == dispute
        assert await room.page(party) == [dispute]
    assert await room.dispute(dispute.id, "delivery") is None
    assert await room.page("delivery") == []
    for step in (ANSWER, WITHDRAW, CONCEDE):
        with pytest.raises(NotFound):
            await room.step(dispute.id, asked(step, "delivery"))


async def test_a_step_repeated_is_the_same_step(closed: World) -> None:
    """The same key for the same input changes nothing, wherever the dispute has come to; another input is refused."""
    room, wish, ask = disputing(closed), await opening(closed), asked(OPEN, VIDEO)
    first = await room.open(wish, ask)
    answer = asked(ANSWER, RIDES)
    await room.step(first.dispute.id, answer)
    concede = asked(CONCEDE, RIDES)
    upheld = await room.step(first.dispute.id, concede)
    for again in (await room.open(wish, ask), await room.step(first.dispute.id, answer),
                  await room.step(first.dispute.id, concede)):  # fmt: skip
        assert again == Disputed(upheld.dispute, replayed=True)
    assert len(await adjustments(closed)) == 1
    with pytest.raises(IdempotencyConflict):
        await room.step(first.dispute.id, replace(answer, fingerprint="else"))
    with pytest.raises(IdempotencyConflict):
        await room.open(wish, replace(ask, fingerprint="else"))


async def test_of_many_at_once_one_has_done_it(closed: World) -> None:
    """Opened, answered, decided by several processes at the same moment: once; the others are told where it stands."""
    rooms = [disputing(closed, ledger=await closed.ledger()) for _ in range(3)]

    async def rush(*steps: Any) -> list[str]:
        told = await asyncio.gather(*steps, return_exceptions=True)
        return sorted(type(each).__name__ for each in told)

    wish = await opening(closed)
    told = await rush(*(room.open(wish, asked(OPEN, VIDEO)) for room in rooms * 2))
    assert told == ["Disputed"] + ["InvalidDispute"] * 5
    (dispute,) = await rooms[0].page()
    told = await rush(*(room.step(dispute.id, asked(ANSWER, RIDES)) for room in rooms * 2))
    assert told == ["Disputed"] + ["InvalidDispute"] * 5
    ends = [asked(UPHOLD, EXCHANGE), asked(REJECT, EXCHANGE), asked(WITHDRAW, VIDEO), asked(CONCEDE, RIDES)]
    told = await rush(*(room.step(dispute.id, end) for room in rooms for end in ends[:3]))
    assert told == ["Disputed"] * 3 + ["InvalidDispute"] * 6  # the same key is the same step, whoever takes it
    once = await rooms[0].dispute(dispute.id)
    assert once is not None
    assert not once.live
    await rush(*(room.carry_out(once) for room in rooms * 2))
    assert len(await adjustments(closed)) == (once.status is STATUS.UPHELD)


async def test_who_is_always_too_late_is_told(closed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that others are faster than, however often it is tried, is not taken; nothing was changed."""
    monkeypatch.setattr("exchange.settlement.disputing._ATTEMPTS", 3)
    dispute = await disputed(closed)
    stored = closed.database["disputes"]
    await stored.update_one({"_id": dispute.id}, {"$set": {"version": 7}})  # as if it were another one at every write
    with pytest.raises(Contended):
        await disputing(closed).step(dispute.id, asked(ANSWER, RIDES))
    await stored.update_one({"_id": dispute.id}, {"$set": {"version": 1}})
    assert await disputing(closed).dispute(dispute.id) == dispute


async def test_disputes_of_one_line_raced_move_no_more_than_it(closed: World) -> None:
    """Two processes open, concede and open again as fast as they can: together never more than the net."""
    rooms = [disputing(closed, ledger=await closed.ledger()) for _ in range(2)]
    wish = await opening(closed, claim=40)

    async def insist(room: Disputing) -> None:
        for _ in range(12):
            try:
                one = (await room.open(wish, asked(OPEN, VIDEO))).dispute
                await room.step(one.id, asked(CONCEDE, RIDES))
            except Refusal:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(insist(room) for room in rooms))
    moved = [entry["debits"][0]["owed"] for entry in await adjustments(closed)]
    assert moved == [40] * 4  # a fifth would be more than 167


async def test_a_deadline_decides_by_the_databases_clock(closed: World) -> None:
    """From the deadline on it reads as decided, nothing else is written, and a sweep carries it out, once."""
    dispute = await disputed(closed, timedelta(milliseconds=150))
    room = disputing(closed)
    await asyncio.sleep(0.2)
    lapsed = await room.dispute(dispute.id)
    assert lapsed is not None
    assert (lapsed.status, lapsed.last.step, lapsed.award) == (STATUS.UPHELD, LAPSE, euros(167))
    assert await room.page(RIDES) == [lapsed]
    with pytest.raises(InvalidDispute):
        await room.step(dispute.id, asked(ANSWER, RIDES))
    assert not await Disputes(closed.database).append(decide(dispute, asked(ANSWER, RIDES), dispute.records[0].at))
    others = [disputing(closed, ledger=await closed.ledger()) for _ in range(3)]
    await asyncio.gather(*(other.sweep() for other in others))
    assert await room.sweep() == 0
    carried = await room.dispute(dispute.id)
    assert carried is not None
    assert (carried.records, carried.adjusted_in) == (lapsed.records, 2)
    assert len(await adjustments(closed)) == 1
    with pytest.raises(ValidationFailed, match="decided, all of it"):
        await disputed(closed, claim=1)


async def test_who_does_not_reply_has_lost(closed: World) -> None:
    """Then what it claimed is decided, although nothing was moved; the rest of the line can be disputed."""
    dispute = await disputed(closed, claim=100)
    room = disputing(closed, timedelta(milliseconds=150))
    await room.step(dispute.id, asked(ANSWER, RIDES))
    await asyncio.sleep(0.2)
    with pytest.raises(ValidationFailed, match=r"at most 0\.67 EUR"):
        await disputed(closed, claim=68)
    again = await disputed(closed, claim=67)
    assert again.number == 2
    rejected = await room.dispute(dispute.id)
    assert rejected is not None
    assert (rejected.status, rejected.award) == (STATUS.REJECTED, None)
    assert await room.sweep() == 0
    assert await adjustments(closed) == []


async def test_what_a_process_left_undone_the_next_sweep_does(closed: World) -> None:
    """Upheld, and its process gone before the adjustment: it is upheld all the same, and carried out later."""
    dispute = await disputed(closed)
    stopped = Ledger(Books(closed.database), closed.keyring)
    await stopped.start()
    await stopped.stop()
    told = await disputing(closed, ledger=stopped).step(dispute.id, asked(CONCEDE, RIDES))
    assert (told.dispute.status, told.dispute.adjustment) == (STATUS.UPHELD, None)
    assert await broken(closed) == {}
    assert await disputing(closed, ledger=stopped).sweep() == 1
    assert await adjustments(closed) == []
    assert await disputing(closed).sweep() == 1
    assert len(await adjustments(closed)) == 1


async def test_what_cannot_be_carried_out_keeps_nothing_else_from_it(example: World) -> None:
    """A line of which more was moved than it knows of, which the check names: the other disputes are carried out."""
    await example.settle().close(1)
    stopped = Ledger(Books(example.database), example.keyring)
    await stopped.start()
    await stopped.stop()
    room, late = disputing(example), disputing(example, ledger=stopped)
    spoiled = await disputed(example, claim=100)
    await late.step(spoiled.id, asked(CONCEDE, RIDES))
    others = [n for n, line in enumerate(await lines(example, VIDEO)) if line.counterparty == RIDES and line.net.minor]
    other = (await room.open(await opening(example, n=others[1], claim=1), asked(OPEN, VIDEO))).dispute
    await late.step(other.id, asked(CONCEDE, RIDES))
    line = spoiled.line
    await example.ledgers[0].submit(AdjustLine(
        id="A", fingerprint="", partner=VIDEO, payer=RIDES, net=line.net, amount=euros(167), dispute="none", record="r",
        whose=ByWallet(example.keyring.digest("line", line.id)), statement=line.statement,
        statement_hash=line.statement_hash, entry=line.entry, line=0,
    ))  # fmt: skip
    with pytest.raises(ValidationFailed, match="left of the line"):
        await room.sweep()
    assert (await room.dispute(other.id)).adjusted_in == 2  # type: ignore[union-attr]
    assert (await room.dispute(spoiled.id)).adjusted_in is None  # type: ignore[union-attr]


async def test_pages_of_disputes_are_cut_behind_a_place(closed: World) -> None:
    """The newest first, each once, whatever comes meanwhile."""
    room = disputing(closed)
    for n in range(3):
        one = await disputed(closed, claim=n + 1)
        await room.step(one.id, asked(WITHDRAW, VIDEO))
    newest, *_ = page = await room.page(VIDEO, limit=2)
    await disputed(closed, claim=4)
    last = page[-1]
    (rest,) = await room.page(VIDEO, (last.records[0].at, last.id), limit=2)
    assert [each.claim.minor for each in (newest, last, rest)] == [3, 2, 1]


async def test_an_adjustment_counts_under_a_cap(closed: World) -> None:
    """What is paid back uses the payer's headroom, beyond the cap if need be, and gives headroom to who is paid."""
    headroom = Headroom(closed.database, Books(closed.database))
    await headroom.create_indexes()
    caps = [await headroom.set_cap(Pair(partner, "EUR"), 400, actor="ops") for partner in (VIDEO, RIDES)]
    before = await headroom.lefts(caps)
    assert before == {Pair(VIDEO, "EUR"): 85, Pair(RIDES, "EUR"): 1284}
    dispute = await disputed(closed)
    await disputing(closed).step(dispute.id, asked(CONCEDE, RIDES))
    assert await headroom.lefts(caps) == {Pair(VIDEO, "EUR"): 252, Pair(RIDES, "EUR"): 1117}
    # Counted anew, from blocks.
    for partner in (VIDEO, RIDES):
        await headroom.set_cap(Pair(partner, "EUR"), None, actor="ops")
    caps = [await headroom.set_cap(Pair(partner, "EUR"), 400, actor="ops") for partner in (VIDEO, RIDES)]
    assert await headroom.lefts(caps) == {Pair(VIDEO, "EUR"): 252, Pair(RIDES, "EUR"): 1117}


SPOILED = [
    ("disputes", {"line.net.minor": -168}, "record 1 does not have its hash"),
    ("disputes", {"status": "REJECTED"}, "does not stand as its records say"),
    ("disputes", {"adjustment": "none"}, "was carried out by none, which is not there"),
]


@pytest.mark.parametrize(("collection", "change", "says"), SPOILED)
async def test_a_dispute_that_was_changed_is_named(
    closed: World, collection: str, change: dict[str, Any], says: str
) -> None:
    """In a shell, past us: the check says what does not fit."""
    dispute = await disputed(closed)
    await disputing(closed).step(dispute.id, asked(CONCEDE, RIDES))
    stored = await closed.database[collection].find_one({"_id": dispute.id})
    assert stored is not None
    await closed.database[collection].update_one({"_id": dispute.id}, {"$set": change})
    wrong = await broken(closed)
    assert any(says in each for each in wrong[14]), wrong
    await closed.database[collection].replace_one({"_id": dispute.id}, stored)


async def test_an_adjustment_without_an_upheld_dispute_is_named(example: World) -> None:
    """Of no dispute, of one that was not upheld, of more than was upheld: the ledger cannot know, the check does."""
    await example.settle().close(1)
    dispute = await disputed(example, claim=100)
    given: dict[str, Any] = {
        "fingerprint": "", "partner": VIDEO, "payer": RIDES, "net": euros(-167), "record": "r", "statement": "1:video",
        "statement_hash": dispute.line.statement_hash, "entry": dispute.line.entry, "line": 0,
    }  # fmt: skip
    submit = example.ledgers[0].submit
    await submit(AdjustLine(id="A", whose=ByWallet("a"), amount=euros(1), dispute="none", **given))
    await submit(AdjustLine(id="B", whose=ByWallet("b"), amount=euros(167), dispute=dispute.id, **given))
    wrong = await broken(example)
    assert wrong.keys() == {14}
    assert set(wrong[14]) >= {
        "adjustment A is of no dispute", f"adjustment B is of dispute {dispute.id}, which is OPENED"
    }  # fmt: skip
    await disputing(example).step(dispute.id, asked(CONCEDE, RIDES))
    wrong = await broken(example)
    assert {
        f"dispute {dispute.id} was carried out 2 times",
        f"dispute {dispute.id}: 267 were moved of a line of -167",
    } <= {*wrong[14]}
    assert any(each.startswith("adjustment B moves") for each in wrong[14])


async def test_the_example_in_the_docs(closed: World) -> None:
    """docs/disputes.md tells it as it is: what is done, what is refused, who is waited for, what is posted."""
    steps = {"answers": ANSWER, "withdraws": WITHDRAW, "upholds": UPHOLD, "rejects": REJECT}
    told, done, current = rows_told("disputes.md", "An example")[:16], [], ""
    within = RESPONSE
    for who, does, *_ in told:
        party, (verb, *more) = EXCHANGE if who == "finance" else who, does.split()
        amount = Money(minor_from_decimal(*more), more[1]) if more[1:2] == ["EUR"] else None
        room, became = disputing(closed, within), ""
        try:
            if verb == "disputes":
                wish = await opening(closed, claim=amount.minor)  # type: ignore[union-attr]
                current = (await room.open(wish, asked(OPEN, party))).dispute.id
                within = timedelta(seconds=1)
            elif verb == "lets":
                await asyncio.sleep(1.1)
                await room.sweep()
            else:
                await room.step(current, asked(steps[verb], party, award=amount))
        except Refusal as refusal:
            became = f"refused: {type(refusal).__name__}"
        dispute = await room.dispute(current) if current else None
        waits = None if dispute is None else dispute.waiting_for
        done.append([who, does, became or dispute.status, waits or ""])  # type: ignore[union-attr]
    assert done == told
    entries = await closed.database["entries"].find({"kind": "ADJUSTMENT"}).sort("at", 1).to_list(None)
    assert [told_of(docs.entry_from(each)) for each in entries] == told_in("disputes.md", "What is posted")
    await closed.settle().close(2)
    (position,) = await closed.settle().positions(2, VIDEO)
    assert position.net == euros(117)
    assert [line.kind for line in await lines(closed, VIDEO, 2)] == [LineKind.ADJUSTMENT] * 2
