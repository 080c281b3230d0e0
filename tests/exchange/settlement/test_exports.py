"""Statements exported in the background: once, whole, whoever dies, and the same bytes that a shell writes."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import date, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from exchange.errors import Overloaded, ValidationFailed
from exchange.exporter import FAILURES_MAX, GAVE_UP
from exchange.journal import EXCHANGE
from exchange.settlement.export import Form
from exchange.settlement.exporting import A_DAY_MAX, WAITING_MAX
from exchange.settlement.exports import KEPT, Export, ExportProgress, ExportStatus, Written
from exchange.settlement.signoff import SignOffStep
from exchange.settlement.statement import Statement
from exchange.store.connection import server_time
from exchange.store.exports import LEASE, PIECE_BYTES, REMEMBERED
from exchange.store.signoff import SignOff
from tests.exchange.settlement.conftest import World
from tests.exchange.settlement.files import PARTIES
from tests.exchange.settlement.scribe import Scribe, long_statement, scribe_on
from tests.exchange.settlement.test_signoff import asked
from tests.exchange.test_evidence import verified

LONG = 6_000
PATIENCE_SECONDS = 60


@pytest.fixture
async def scribe(world: World) -> Scribe:
    """Give a process that writes exports when a test says so."""
    scribe = scribe_on(world.database)
    await scribe.exporting.create_indexes()
    return scribe


@pytest.fixture
async def statement(example: World, scribe: Scribe) -> Statement:
    """Close the period that was worked out by hand, and give rides' statement."""
    settlement = example.settle()
    await settlement.close(1)
    found = await settlement.statement("1:rides")
    assert found is not None
    return found


async def written(scribe: Scribe, export: Export) -> Export:
    """Let the process write what waits, and return an export."""
    while await scribe.exporter.work():
        pass
    return await scribe.now(export)


async def under_way(scribe: Scribe, export: Export) -> Export:
    """Wait until somebody has written some of an export."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            now = await scribe.now(export)
            if now.progress.done > 0:
                return now
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("form", [Form.CSV, Form.JSON, Form.LEDGER, Form.XLSX, Form.PDF])
async def test_a_file_is_the_one_that_a_shell_writes(scribe: Scribe, statement: Statement, form: Form) -> None:
    """Byte for byte, in each form; with its length and its hash, until a day after its writing began."""
    export = await scribe.ask(statement, form)
    assert (export.status, export.written) == (ExportStatus.QUEUED, None)
    done = await written(scribe, export)
    file = await scribe.file(export)
    assert file == await scribe.by_hand(statement, form)
    assert (done.status, done.error, done.length) == (ExportStatus.READY, None, len(file))
    assert done.sha256 == sha256(file).hexdigest()
    assert done.progress == ExportProgress(statement.line_count, statement.line_count)
    assert done.begun_at is not None
    assert done.expires_at == done.begun_at + KEPT
    assert done.file_name.startswith("statement-1-rides.")


async def test_a_bundle_is_whole_and_signed(scribe: Scribe, statement: Statement) -> None:
    """Whoever has the exchange's keys verifies it; and all of it but the signature is what a shell writes."""
    done = await written(scribe, await scribe.ask(statement, Form.BUNDLE))
    file = await scribe.file(done)
    assert verified(file).trusted
    assert file.splitlines()[:-1] == (await scribe.by_hand(statement, Form.BUNDLE)).splitlines()[:-1]
    assert done.progress.done == done.progress.total > 0


async def test_a_locale_and_a_day_are_as_asked(scribe: Scribe, statement: Statement) -> None:
    """A document is written for its reader, and tells of today; a payment file says by when, or today."""
    german = await written(scribe, await scribe.ask(statement, Form.PDF, locale="de-CH"))
    assert await scribe.file(german) == await scribe.by_hand(statement, Form.PDF, locale="de-CH")
    today = (await server_time(scribe.db)).date()
    assert (await scribe.ask(statement, Form.PAIN001, owner=EXCHANGE)).wish.pay_on == today
    later = await scribe.ask(statement, Form.PAIN001, owner=EXCHANGE, pay_on=date(2030, 1, 2))
    assert later.wish.pay_on == date(2030, 1, 2)


async def test_a_long_file_lies_in_pieces_and_tells_how_far_it_is(world: World, scribe: Scribe) -> None:
    """Thousands of lines are written in several steps, each told and none taken back; meanwhile others are served."""
    statement = await long_statement(world, LONG)
    export = await scribe.ask(statement, Form.CSV)
    assert export.progress == ExportProgress(0, statement.line_count)
    working = asyncio.create_task(scribe.exporter.work())
    seen: list[Export] = []
    while not working.done():
        seen.append(await scribe.now(export))
        await asyncio.sleep(0.005)
    assert await working
    running = [each.progress for each in seen if each.status is ExportStatus.RUNNING]
    assert {each.total for each in running} == {statement.line_count}
    assert len({each.done for each in running}) >= 4
    assert all(one.done <= other.done for one, other in pairwise(running))
    done, file = await scribe.now(export), await scribe.file(export)
    assert file == await scribe.by_hand(statement, Form.CSV)
    assert file.count(b"\r\n") == statement.line_count + 1
    assert done.written is not None
    assert done.written.pieces == -(-len(file) // PIECE_BYTES) > 1


# ---------------------------------------------------------------- asking twice


async def test_asking_twice_is_asking_once(scribe: Scribe, statement: Statement) -> None:
    """Whoever asks for the same gets the same export, at the same moment, while it runs and when it is ready."""
    first, *others = await asyncio.gather(*(scribe.ask(statement, Form.CSV) for _ in range(8)))
    assert {each.id for each in others} == {first.id}
    assert (await scribe.ask(statement, Form.CSV, locale="de")).id == first.id  # a CSV has no locale
    done = await written(scribe, first)
    assert (await scribe.ask(statement, Form.CSV)) == done
    assert await scribe.db["exports"].count_documents({}) == 1


async def test_what_is_another_file_is_another_export(scribe: Scribe, statement: Statement) -> None:
    """Another form, locale, payer, day or owner."""
    asking = [
        scribe.ask(statement, Form.CSV), scribe.ask(statement, Form.JSON), scribe.ask(statement, Form.PDF),
        scribe.ask(statement, Form.PDF, locale="de"), scribe.ask(statement, Form.CSV, owner=EXCHANGE),
        *(scribe.ask(statement, Form.PAIN001, owner=EXCHANGE, payer=payer) for payer in (None, EXCHANGE, "rides")),
        scribe.ask(statement, Form.PAIN001, owner=EXCHANGE, pay_on=date(2030, 1, 2)),
    ]  # fmt: skip
    assert len({(await each).id for each in asking}) == len(asking)


async def test_what_tells_of_today_is_not_what_told_of_yesterday(scribe: Scribe, statement: Statement) -> None:
    """After a step of the sign-off, and with another account, a document is another one; a CSV is the same."""
    before = {form: (await scribe.ask(statement, form)).id for form in (Form.CSV, Form.PDF)}
    moved = {**PARTIES, "partner": replace(PARTIES["partner"], iban="DE89370400440532013000")}
    reviewed = (await SignOff(scribe.db).sign(asked(SignOffStep.REVIEW, "ada", hash=statement.hash))).statement
    for asker, of in ((scribe_on(scribe.db, moved), statement), (scribe, reviewed)):
        after = {form: (await asker.ask(of, form)).id for form in (Form.CSV, Form.PDF)}
        assert after[Form.CSV] == before[Form.CSV]
        assert after[Form.PDF] != before[Form.PDF]


async def test_after_a_day_a_file_has_expired(scribe: Scribe, statement: Statement) -> None:
    """By the clock, whatever is removed when; who asks then begins anew, and the old one is told of for a month."""
    old = await written(scribe, await scribe.ask(statement, Form.CSV))
    await scribe.a_day_later(old)
    assert (await scribe.now(old)).status is ExportStatus.EXPIRED
    new, same = await asyncio.gather(*(scribe.ask(statement, Form.CSV) for _ in range(2)))
    assert new.id == same.id != old.id
    assert (await scribe.exporting.page("rides", None, 10))[1].id == old.id
    stored = await scribe.db["exports"].find_one({"_id": old.id})
    assert stored is not None
    assert stored["forget_at"] == old.asked_at + REMEMBERED


async def test_the_server_removes_what_has_expired(scribe: Scribe, statement: Statement) -> None:
    """The pieces of a file go by themselves, an hour after it has expired: nobody has the right to remove one."""
    done = await written(scribe, await scribe.ask(statement, Form.CSV))
    piece = await scribe.db["export_pieces"].find_one({})
    assert piece is not None
    assert done.expires_at is not None
    assert piece["forget_at"] == done.expires_at + timedelta(hours=1)
    for name in ("exports", "export_pieces"):
        (expiry,) = [
            each for each in (await scribe.db[name].index_information()).values() if "expireAfterSeconds" in each
        ]
        assert (expiry["key"], expiry["expireAfterSeconds"]) == ([("forget_at", 1)], 0)


# ---------------------------------------------------------------- processes that die


@pytest.fixture
async def dying(world: World, mongo_url: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Give a process that writes exports, until it is killed."""
    command = [sys.executable, "-m", "tests.exchange.settlement.scribe", mongo_url, world.database.name]
    with subprocess.Popen(command) as process:  # noqa: ASYNC220 - it starts in a moment
        yield process
        process.kill()


async def test_a_process_that_dies_loses_nothing(world: World, scribe: Scribe, dying: subprocess.Popen[bytes]) -> None:
    """Killed in the middle, its export is nobody's until the lease lapses; then another one begins it anew."""
    statement = await long_statement(world, LONG)
    export = await scribe.ask(statement, Form.XLSX)
    begun = await under_way(scribe, export)
    dying.kill()
    dying.wait()
    assert begun.status is ExportStatus.RUNNING
    assert begun.progress.done < statement.line_count
    assert not await scribe.exporter.work()
    stored = await scribe.db["exports"].find_one({"_id": export.id})
    assert stored is not None
    assert stored["claimable_at"] <= await server_time(scribe.db) + LEASE
    await scribe.lapse(export)
    done = await written(scribe, export)
    assert (done.status, done.attempt, done.failures) == (ExportStatus.READY, 2, 1)
    assert await scribe.file(export) == await scribe.by_hand(statement, Form.XLSX)


async def test_who_has_lost_the_lease_writes_nothing_that_counts(scribe: Scribe, statement: Statement) -> None:
    """Thought dead and still writing: its pieces are in nobody's file, and it can neither finish nor fail it."""
    export = await scribe.ask(statement, Form.CSV)
    late = await scribe.exporting.store.claim()
    assert late is not None
    await scribe.exporting.store.add_piece(late, 0, b"nonsense")
    await scribe.lapse(export)
    done = await written(scribe, export)
    store = scribe.exporting.store
    await store.add_piece(late, 1, b"more nonsense")
    assert not await store.renew(late, ExportProgress(1, 1))
    assert not await store.finish(late, Written(8, "ab", 1), ExportProgress(1, 1))
    assert not await store.fail(late, "no")
    assert not await store.give_back(late)
    assert await scribe.now(export) == done
    assert await scribe.file(export) == await scribe.by_hand(statement, Form.CSV)


async def test_who_is_taken_over_stops(world: World, scribe: Scribe, caplog: pytest.LogCaptureFixture) -> None:
    """A process that was thought dead and comes back finds out, and leaves the export to who has it now."""
    statement = await long_statement(world, LONG)
    export = await scribe.ask(statement, Form.XLSX)
    working = asyncio.create_task(scribe.exporter.work())
    await under_way(scribe, export)
    await scribe.db["exports"].update_one({"_id": export.id}, {"$inc": {"attempt": 1}})
    assert await working
    assert (await scribe.now(export)).status is ExportStatus.RUNNING
    assert f"export {export.id} was taken over by another process" in caplog.text


async def test_who_is_stopped_gives_back_what_it_was_at(world: World, scribe: Scribe) -> None:
    """Another process goes on at once, and nothing has failed."""
    statement = await long_statement(world, LONG)
    export = await scribe.ask(statement, Form.LEDGER)
    running = asyncio.create_task(scribe.exporter.run())
    await under_way(scribe, export)
    running.cancel()
    await asyncio.wait((running,))
    given_back = await scribe.now(export)
    assert (given_back.status, given_back.failures) == (ExportStatus.QUEUED, 0)
    done = await written(scribe_on(scribe.db), export)
    assert (done.status, done.attempt) == (ExportStatus.READY, 2)
    assert await scribe.file(export) == await scribe.by_hand(statement, Form.LEDGER)


# ---------------------------------------------------------------- what fails


async def test_what_the_exchange_refuses_fails_with_its_sentence(scribe: Scribe, statement: Statement) -> None:
    """A payment file of a draft is not tried again; when that has changed, who asks begins anew."""
    now = statement
    for payer, people, told in (
        (None, (), "a payment file is of a statement that is instructed; this one is draft"),
        ("video", ("ada", "ben", "ada"), "payer: video has nothing to pay: it is exchange and rides that has"),
    ):
        steps = (SignOffStep.REVIEW, SignOffStep.APPROVE, SignOffStep.INSTRUCT)
        for step, actor in zip(steps, people, strict=False):
            now = (await SignOff(scribe.db).sign(asked(step, actor, hash=statement.hash))).statement
        export = await scribe.ask(now, Form.PAIN001, owner=EXCHANGE, payer=payer)
        failed = await written(scribe, export)
        assert (failed.status, failed.error, failed.failures) == (ExportStatus.FAILED, told, 0)
        assert (await scribe.ask(now, Form.PAIN001, owner=EXCHANGE, payer=payer)).id != export.id


async def test_what_goes_wrong_is_tried_again_and_not_for_ever(
    scribe: Scribe, statement: Statement, caplog: pytest.LogCaptureFixture
) -> None:
    """A block that cannot be read spoils a bundle three times; the partner is told nothing of it, the operator all."""
    caplog.set_level(logging.WARNING)
    await scribe.db["blocks"].update_one(
        {"kind": "ENTRIES"}, {"$set": {"kind": "NONSENSE"}}, bypass_document_validation=True
    )
    export = await scribe.ask(statement, Form.BUNDLE)
    for failures in range(1, FAILURES_MAX + 1):
        assert await scribe.exporter.work()
        waiting = await scribe.now(export)
        assert (waiting.status, waiting.failures) == (ExportStatus.QUEUED, failures)
        assert not await scribe.exporter.work()  # not at once
        await scribe.lapse(export)
    failed = await written(scribe, export)
    assert (failed.status, failed.error) == (ExportStatus.FAILED, GAVE_UP)
    assert "`exchange check` says what else is wrong" in caplog.text
    assert f"export {export.id} of 1:rides is given up after {FAILURES_MAX} attempts" in caplog.text


async def test_a_file_that_kills_its_writer_kills_no_more_than_three(scribe: Scribe, statement: Statement) -> None:
    """A lease that lapses again and again is a failure each time."""
    export = await scribe.ask(statement, Form.CSV)
    for _ in range(FAILURES_MAX):
        assert await scribe.exporting.store.claim() is not None
        await scribe.lapse(export)
    failed = await written(scribe, export)
    assert (failed.status, failed.error) == (ExportStatus.FAILED, GAVE_UP)


@pytest.mark.parametrize(
    ("form", "more", "field"),
    [
        (Form.PDF, {"locale": "klingon"}, "locale"), (Form.XLSX, {"locale": "../../etc/passwd"}, "locale"),
        (Form.CSV, {"payer": "rides"}, "payer"), (Form.PDF, {"pay_on": date(2030, 1, 2)}, "payOn"),
        (Form.PAIN001, {"payer": EXCHANGE}, "payer"), (Form.PAIN001, {"payer": "video"}, "payer"),
    ],
)  # fmt: skip
async def test_what_no_file_can_be_is_refused(
    scribe: Scribe, statement: Statement, form: Form, more: dict[str, Any], field: str
) -> None:
    """A locale that is none; what is of payment files alone; and another's payments."""
    with pytest.raises(ValidationFailed) as refused:
        await scribe.ask(statement, form, **more)
    assert refused.value.path == ["input", field]
    assert await scribe.db["exports"].count_documents({}) == 0


async def test_one_partner_cannot_keep_all_others_waiting(scribe: Scribe, statement: Statement) -> None:
    """So many may wait, and so many be asked for in a day; finance may ask for more."""
    export = await scribe.ask(statement, Form.CSV)
    stored = await scribe.db["exports"].find_one({"_id": export.id})
    assert stored is not None
    more = [{**stored, "_id": f"{n}", "key": f"{n}"} for n in range(A_DAY_MAX)]
    await scribe.db["exports"].insert_many(more[: WAITING_MAX - 1])
    with pytest.raises(Overloaded, match=f"{WAITING_MAX} of your exports are not done yet"):
        await scribe.ask(statement, Form.JSON)
    assert (await scribe.ask(statement, Form.CSV)).id == export.id
    await scribe.db["exports"].update_many({}, {"$unset": {"claimable_at": ""}})
    await scribe.ask(statement, Form.JSON)
    done = [{name: value for name, value in each.items() if name != "claimable_at"} for each in more]
    await scribe.db["exports"].insert_many(done[WAITING_MAX:])
    with pytest.raises(Overloaded, match=f"you have asked for {A_DAY_MAX} exports in a day"):
        await scribe.ask(statement, Form.XLSX)
    await scribe.db["exports"].update_many({}, {"$set": {"owner": EXCHANGE}})
    assert (await scribe.ask(statement, Form.XLSX, owner=EXCHANGE)).status is ExportStatus.QUEUED


async def test_exports_wait_in_the_order_of_asking(scribe: Scribe, statement: Statement) -> None:
    """The first asked is the first written, and what was tried in vain comes again behind those that wait."""
    asked_for = [(await scribe.ask(statement, form)).id for form in (Form.CSV, Form.JSON, Form.LEDGER)]
    store = scribe.exporting.store
    first = await store.claim()
    assert first is not None
    assert await store.give_back(first, timedelta(0), failed=True)
    claimed = [await store.claim() for _ in range(4)]
    assert [each and each.id for each in claimed] == [*asked_for[1:], asked_for[0], None]
    assert first.id == asked_for[0]
