"""Retention: what goes when it has been kept long enough, what never does, and how the rest is told of it."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update

from batchmill.budgets.model import Period
from batchmill.errors import NotFoundError, StoppedError
from batchmill.findings import Level
from batchmill.money.summary import Column
from batchmill.requests.model import OnUnknown, RequestState
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from batchmill.training.marks import Mark
from db import cache_contents, files, marks, requests, sweep
from db.audit import audit as findings
from db.budgets import unknowns
from db.cache_contents import Choice
from db.engine import Database
from db.marks import Marking
from db.retention import old_files, orphans, removal
from db.retention.doomed import NEVER, Old
from db.retention.removal import Removed
from db.tables import answers, attempts, batches, budget_periods, claims, ledger, ledger_days, webhooks
from db.tables import orphans as orphan_rows
from db.tables import requests as requests_rows
from tests.support.audit import Books, audit
from tests.support.budgets import add_budget, amounts_of, periods_of
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, answer_late, batch_of, request_of, states_of
from tests.support.keeping import (
    DAY_MS,
    KilledError,
    allowed,
    answers_in,
    make_single,
    pointed_to,
    retain,
    usage_of,
)
from tests.support.replies import ANSWERED, FAULTY, PRICE_NANOS, REFUSED, UNKNOWN, make_judge
from workers.delivery import ended_lines
from workers.jobs import retention
from workers.jobs.run import JobRun
from workers.retention import foresee


def ask(database: Database, *keys: str | None, **options: Any) -> int:
    """A batch of these questions, answered and ended; its row number."""
    worker = Worker(database)
    batch = add_batch(database, keys, **options)
    sent = worker.send(*worker.take(), hold_nanos=3_000)
    worker.settle(*((attempt, ANSWERED) for attempt in sent))
    end(database)
    return batch


def end(database: Database) -> None:
    """What has no line left has ended."""
    sweep.sweep(database, make_judge(), "sweep")


def old(database: Database, days: int = 1) -> Old:
    """What ended so many days ago."""
    before_ms = database.now_ms() - days * DAY_MS
    return Old(batches_ms=before_ms, direct_ms=before_ms)


def remove(database: Database, **how: Any) -> Removed:
    """Remove what ended a day ago, and what nobody points to then."""
    removed = removal.remove(database, old(database), **how)
    orphans.delete_unpointed(database)
    return removed


def left_of(books: Books, batch: int) -> int:
    """How many rows there are of the lines of a batch."""
    lines = [row for row in books.requests.values() if row.batch_id == batch]
    return len(lines) + sum(row.request_id >> 32 == batch for row in books.attempts)


def test_a_batch_goes_when_its_time_is_up(database: Database, clock: FakeClock) -> None:
    """Not a moment earlier; what it was called, how it ended and what it cost stays, as do its entries."""
    batch = ask(database, None, None, job_name="nightly")
    before, spent = usage_of(database), batch_of(database, batch)
    clock.advance(DAY_MS - 1)
    assert remove(database) == Removed()
    clock.advance(1)
    assert remove(database) == Removed(batches=1, lines=2, calls=2)
    row = batch_of(database, batch)
    assert (row.removed_ms, row.cleared_ms) == (clock.now_ms(),) * 2
    assert (row.public_id, row.done, row.spent_nanos) == (spent.public_id, 2, 2 * PRICE_NANOS)
    assert usage_of(database) == before
    assert answers_in(database) == set()
    assert left_of(audit(database), batch) == 0
    assert remove(database) == Removed()


def test_each_kind_has_its_own_time(database: Database, clock: FakeClock) -> None:
    """Single requests may go while batches stay for ever; their rows stay for as long as their entries."""
    single, batch = ask(database, None), ask(database, None)
    make_single(database, single)
    clock.advance(DAY_MS)
    only_single = Old(batches_ms=NEVER, direct_ms=clock.now_ms() - DAY_MS)
    assert removal.remove(database, only_single) == Removed(single=1, lines=1, calls=1)
    books = audit(database)
    assert (left_of(books, single), left_of(books, batch)) == (0, 2)
    assert single in books.batches


def test_a_single_request_that_no_entry_is_of_leaves_nothing(database: Database, clock: FakeClock) -> None:
    """Cancelled before a call was made for it: even its row goes with it."""
    single = add_batch(database, [None])
    make_single(database, single)
    with database.write() as tx:
        sweep.batches.cancel(tx, single)
    end(database)
    clock.advance(DAY_MS)
    assert remove(database).single == 1
    assert audit(database).batches == {}


@pytest.mark.parametrize("why", ["unknown", "webhook", "claimed", "clerk", "attended", "running"])
def test_what_is_open_stays(database: Database, clock: FakeClock, why: str) -> None:
    """A call that nobody knows the cost of, a webhook that is owed, a claim, a clerk, a command: each keeps a batch."""
    worker = Worker(database)
    batch = add_batch(database, [None], on_unknown=OnUnknown.FAIL)
    if why != "running":
        (attempt,) = worker.send(*worker.take())
        worker.settle((attempt, UNKNOWN if why == "unknown" else ANSWERED))
        end(database)
    clock.advance(DAY_MS)
    with database.write() as tx:
        if why == "webhook":
            tx.run(insert(webhooks).values(batch_id=batch, url="http://a", state="pending", due_ms=1))
        if why == "claimed":
            tx.run(insert(claims).values(worker_id="w", batch_id=batch, request_ids="[]", lease_until_ms=1))
        if why == "clerk":
            tx.run(update(batches).values(clerk_until_ms=clock.now_ms() + 1))
    assert remove(database, is_attended=lambda row: why == "attended") == Removed()
    with database.write() as tx:
        tx.run(update(webhooks).values(state="sent"))
        tx.run(claims.delete())
        if why == "unknown":
            unknowns.settle(tx, {attempt.id: 7})
    clock.advance(1)
    assert remove(database) == (Removed() if why == "running" else Removed(batches=1, lines=1, calls=1))
    audit(database)


def test_an_answer_stays_while_the_cache_may_use_it(database: Database, clock: FakeClock) -> None:
    """Its own line is gone: it answers others all the same, and goes with its entry."""
    ask(database, "a")
    clock.advance(DAY_MS)
    assert remove(database).lines == 1
    later = add_batch(database, ["a"])
    assert Worker(database).take() == []
    assert states_of(database, later) == [RequestState.DONE]
    clock.advance(30 * DAY_MS)
    cache_contents.drop(database, Choice(made_by_ms=clock.now_ms()))
    orphans.delete_unpointed(database)
    assert [row.status_code for row in requests.results(database, later)] == [200]
    audit(database)
    end(database)
    clock.advance(DAY_MS)
    assert remove(database).lines == 1
    assert answers_in(database) == set()


def test_an_answer_that_came_too_late_for_its_line(database: Database, clock: FakeClock) -> None:
    """Nobody's result, and its entry has gone before: it goes with the line whose call brought it."""
    answer_late(database, "late")
    add_batch(database, ["late"])
    assert Worker(database).take() == []
    end(database)
    clock.advance(30 * DAY_MS)
    cache_contents.drop(database, Choice(made_by_ms=clock.now_ms()))
    remove(database)
    assert answers_in(database) == pointed_to(database) == set()


def test_a_looker_up_who_found_what_is_dropped(database: Database, clock: FakeClock) -> None:
    """Its entry is dropped and its line removed between a claim and its look-up: the question is asked anew."""
    ask(database, "a")
    clock.advance(DAY_MS)
    worker = Worker(database)
    batch = add_batch(database, ["a"], cache="refresh")
    jobs = worker.claim()
    remove(database)
    cache_contents.drop(database, Choice(made_by_ms=clock.now_ms()))
    orphans.delete_unpointed(database)
    assert answers_in(database) == set()
    (job,) = worker.look_up(jobs)
    worker.answer(ANSWERED, job)
    assert states_of(database, batch) == [RequestState.DONE]
    audit(database)


def test_orphans_in_portions(database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few are looked at at a time, those that are pointed to stay, and all others go."""
    for name in (
        "retention.orphans.AT_A_TIME",
        "retention.orphans.ROWS_A_LOOK",
        "cache_drops.ENTRIES_A_STEP",
    ):
        monkeypatch.setattr(f"db.{name}", 2)
    ask(database, "a", "b", "c", None, None, None)
    clock.advance(DAY_MS)
    users = add_batch(database, ["b", "a"])
    Worker(database).take()
    removal.remove(database, old(database))
    cache_contents.drop(database, Choice(made_by_ms=clock.now_ms()))
    assert orphans.delete_unpointed(database).answers == 3  # one has gone with its entry
    assert answers_in(database) == pointed_to(database)
    assert [row.status_code for row in requests.results(database, users)] == [200, 200]
    audit(database)


def test_an_orphan_that_comes_while_others_are_looked_for(database: Database, clock: FakeClock) -> None:
    """A run that was held up removes nothing that another has made an orphan meanwhile: the cache may still use it."""
    batch, _ = ask(database, "a"), ask(database, None)
    clock.advance(DAY_MS)
    removal.remove(database, old(database), is_attended=lambda row: row.id == batch)
    looks = 0

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 4:  # behind both the entries and the lines
            assert removal.remove(database, old(database)).batches == 1

    assert orphans.delete_unpointed(database, check=check).answers == 1
    assert answers_in(database) == pointed_to(database) != set()
    audit(database)


def test_what_is_marked_for_training_stays(database: Database, clock: FakeClock) -> None:
    """Its line with its question, and its answer; all others of the batch go, and the rest when the mark is off."""
    batch = ask(database, None, None, None)
    line = batch << 32 | 2
    answer = request_of(database, line).answer_id
    marking = Marking(request_id=line, answer_id=answer, mark=Mark(rating=5))
    with database.write() as tx:
        assert marks.put(tx, [marking], "me") == 1
    clock.advance(DAY_MS)
    assert remove(database) == Removed(batches=0, lines=2, calls=2)
    assert remove(database) == Removed()
    assert (answers_in(database), left_of(audit(database), batch)) == ({answer}, 2)
    assert [one.answer_id for one in marks.answered(database, marks.ALL)] == [answer]
    with database.write() as tx:
        marks.remove(tx, [marking])
    assert remove(database) == Removed(batches=1, lines=1, calls=1)
    assert answers_in(database) == set()
    with database.write() as tx:
        assert marks.put(tx, [marking], "me") == 0
    audit(database)


def test_budgets_keep_what_removed_calls_came_to(database: Database, clock: FakeClock) -> None:
    """At their cost, or at their hold where it has no price, and by how much they were dearer: for ever."""
    total, day = add_budget(database, 10**6), add_budget(database, 10**6, period=Period.DAY)
    worker = Worker(database)
    add_batch(database, 4)
    one, two, three, four = worker.send(*worker.take(), hold_nanos=600)
    unpriced = replace(ANSWERED, usage=None)
    worker.settle((one, ANSWERED), (two, unpriced), (three, REFUSED), (four, ANSWERED))
    end(database)
    before = amounts_of(database, total), amounts_of(database, day)
    clock.advance(DAY_MS)
    remove(database)
    assert (amounts_of(database, total), amounts_of(database, day)) == before
    (period,) = periods_of(database, day)
    assert (period.removed_nanos, period.removed_overrun_nanos) == (2 * PRICE_NANOS + 600, 800)
    audit(database)
    with database.write() as tx:
        tx.run(update(budget_periods).values(removed_nanos=0))
    with pytest.raises(AssertionError, match="budgets"):
        audit(database)


def tell_a_story(database: Database, clock: FakeClock) -> None:
    """Old batches in which everything has happened, and young ones that use their answers."""
    add_budget(database, 10**9)
    worker = Worker(database)
    add_batch(database, ["a", "b", "c", None, None], job_name="old", types=["x", "y"])
    sent = worker.send(*worker.take(), hold_nanos=600)
    worker.settle(*zip(sent, [ANSWERED, ANSWERED, FAULTY, UNKNOWN, REFUSED], strict=True))
    add_batch(database, [None], on_unknown=OnUnknown.FAIL)
    (lost,) = worker.send(*worker.take(), hold_nanos=600)
    worker.settle((lost, UNKNOWN))
    clock.advance(20_000_000)  # over midnight
    worker.settle((sent[3], ANSWERED))
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(*worker.take(), hold_nanos=600)))
    make_single(database, ask(database, "d"))
    make_single(database, ask(database, "d"))
    end(database)
    clock.advance(3 * DAY_MS)
    ask(database, "a", "d", "e")
    cache_contents.drop(database, Choice(made_by_ms=clock.now_ms() - 2 * DAY_MS))


def state_of(database: Database) -> list[int]:
    """What every step changes some of: how many rows there are, how many batches are marked how."""
    tables = (requests_rows, attempts, answers, orphan_rows, ledger, ledger_days)
    marks = (batches.c.removed_ms, batches.c.cleared_ms, batches.c.rolled_ms, batches.c.id)
    with database.read() as tx:
        rows = [tx.rows(select(func.count()).select_from(table))[0][0] for table in tables]
        return [*rows, *(tx.rows(select(func.count(mark)))[0][0] for mark in marks)]


def retained(database: Database, steps: int) -> bool:
    """Whether a run came to its end that is killed after so many steps."""
    try:
        retain(database, allowed(steps))
    except KilledError:
        return False
    return True


def test_killed_at_every_checkpoint(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After whichever step it ends, every promise holds, usage is what it was, and the next run goes on from there."""
    monkeypatch.setattr("db.cache_drops.ENTRIES_A_STEP", 1)
    monkeypatch.setattr("db.retention.removal.BATCHES_A_STEP", 1)
    monkeypatch.setattr("db.retention.rolling.ENTRIES_A_STEP", 1)
    monkeypatch.setattr("db.retention.rolling.ENTRIES_IN_HAND", 5)
    monkeypatch.setattr("db.retention.rolling.CHUNK_BITS", 0)
    tell_a_story(database, clock)
    before, seen, steps, kills = usage_of(database), state_of(database), 0, 0
    while not retained(database, steps):
        now = state_of(database)
        steps, kills, seen = (steps + 1, kills, seen) if now == seen else (0, kills + 1, now)
        if not steps:
            audit(database)
            by_day = usage_of(database, [(Column.DAY, Column.TENANT)])
            assert by_day == {by: before[by] for by in by_day}
    assert kills > 20
    audit(database)
    assert usage_of(database) == before
    assert answers_in(database) == pointed_to(database)


def test_read_while_it_is_removed(database: Database, clock: FakeClock) -> None:
    """Whoever has read half of a batch is told, rather than given half of it for the whole."""
    batch = ask(database, *([None] * 200))
    row = batch_of(database, batch)
    clock.advance(DAY_MS)
    reading = ended_lines(database, row)
    next(reading)
    remove(database)
    with pytest.raises(NotFoundError, match="were removed on"):
        list(reading)


def test_the_job_goes_by_the_settings(database: Database, clock: FakeClock, settings: Settings) -> None:
    """By default single requests go after thirty days, and batches never; what goes is foreseen."""
    make_single(database, ask(database, None))
    ask(database, None)
    clock.advance(30 * DAY_MS)
    foreseen = foresee(settings, database).going
    assert {kind: one.count for kind, one in foreseen.items()} == {
        "batches": 0,
        "single_requests": 1,
        "lines": 1,
        "answers": 1,
        "ledger_entries": 0,
        "files": 0,
    }
    assert foreseen["answers"].bytes == len(ANSWERED.body or b"")
    run = JobRun(job=JobName.RETENTION, due_ms=clock.now_ms(), settings=settings, database=database)
    with pytest.raises(StoppedError):
        retention.run(replace(run, stopping=lambda: True))
    done = retention.run(run)
    assert done == {
        "batches": 0,
        "single_requests": 1,
        "lines": 1,
        "answers": 1,
        "answer_bytes": len(ANSWERED.body or b""),
        "ledger_entries": 0,
        "files": 0,
    }
    clock.advance(371 * DAY_MS)
    assert foresee(settings, database).going["ledger_entries"].count == 2
    run = replace(run, due_ms=clock.now_ms())
    assert retention.run(run)["ledger_entries"] == 2
    books = audit(database)
    assert (len(books.ledger), len(books.batches)) == (0, 1)


def test_old_files_go_unless_a_batch_reads_them(database: Database, clock: FakeClock) -> None:
    """Marked as gone for whoever has the store; what has an expiry of its own goes by that."""
    with database.write() as tx:
        for name, expires_ms in (("old", None), ("read", None), ("expires", clock.now_ms() + 9**12)):
            row = files.begin(
                tx, public_id=name, tenant="t", purpose="batch", filename="f", expires_ms=expires_ms
            )
            files.finish(tx, row.id, size=1, sha256="x")
    batch = add_batch(database, 1)
    with database.write() as tx:
        tx.run(update(batches).values(input_file="read"))
    clock.advance(DAY_MS)
    assert old_files.drop_old(database, before_ms=clock.now_ms() - DAY_MS - 1) == 0
    assert old_files.drop_old(database, before_ms=clock.now_ms() - DAY_MS) == 1
    with database.write() as tx:
        assert [row.public_id for row in files.newest(tx, 9)] == ["expires", "read"]
        assert not files.hold(tx, "old", "t")
        tx.run(update(batches).where(batches.c.id == batch).values(ended_ms=1))
    assert old_files.drop_old(database, before_ms=clock.now_ms() - DAY_MS) == 1


BROKEN = {
    "removed-lines": update(batches).values(removed_ms=1, cleared_ms=1),
    "removed-calls": update(batches).values(removed_ms=1, calls=7),
    "lost-answers": insert(answers).values(id=4711, provider="", model="", created_ms=1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(database: Database, name: str) -> None:
    """A promise of what is removed, broken in the database: that check names it, and no other is alarmed."""
    ask(database, None)
    with database.write() as tx:
        tx.run(BROKEN[name])
    found = {finding.check for finding in findings(database) if finding.level is not Level.OK}
    assert found == {name}
