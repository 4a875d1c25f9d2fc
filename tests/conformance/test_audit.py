"""The audit: quiet on a database in which everything has happened, and loud, by name, about whatever is broken."""

from dataclasses import dataclass

import pytest
from sqlalchemy import text

from batchmill.findings import Finding, Level
from batchmill.requests.ids import request_id
from db import batches
from db.audit import CHECKS, EXAMPLES, audit
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, FAULTY, REFUSED, UNKNOWN

OTHER = request_id(2, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Row numbers of what the tests break."""

    ended: int
    running: int
    answered: int
    corrected: int
    retried: int
    in_flight: int
    waits: int
    hit: int


def tell_a_story(database: Database, clock: FakeClock) -> Story:
    """Two batches with a line for everything that can happen to one."""
    worker, other = Worker(database), Worker(database)
    ended = add_batch(database, ["key-1", None, None, None])
    asked, corrected, retried, refused = worker.send(*worker.take())
    worker.settle((asked, ANSWERED), (corrected, UNKNOWN), (retried, FAULTY), (refused, REFUSED))
    clock.advance(60_000)
    worker.answer(ANSWERED, *worker.take())
    worker.settle((corrected, ANSWERED))
    running = add_batch(database, ["key-1", "key-2", "key-2", None, None])
    jobs = worker.look_up(worker.claim(3))  # the first line is answered on the way
    (in_flight, lost) = worker.send(*jobs)
    worker.settle((lost, UNKNOWN))
    assert other.take(0) == []
    return Story(
        ended=ended,
        running=running,
        answered=asked.job.request_id,
        corrected=corrected.job.request_id,
        retried=retried.job.request_id,
        in_flight=in_flight.job.request_id,
        waits=request_id(running, 3),
        hit=request_id(running, 1),
    )


def found_by(database: Database) -> dict[str, Finding]:
    """The checks that found something."""
    return {finding.check: finding for finding in audit(database) if finding.level is not Level.OK}


def test_quiet_where_all_is_well(database: Database, clock: FakeClock) -> None:
    """Calls, hits, corrections, retries, refusals, lines on their way: nothing is wrong with any of them."""
    tell_a_story(database, clock)
    findings = list(audit(database))
    assert [finding.check for finding in findings] == [check.name for check in CHECKS]
    assert all(finding.level is Level.OK for finding in findings), findings


def test_quiet_on_an_empty_database(database: Database) -> None:
    """Nothing is no breach."""
    assert found_by(database) == {}


BROKEN = {
    "counters": "UPDATE batches SET done = done + 1, failed = failed - 1 WHERE id = :ended",
    "counters: a line is gone": "DELETE FROM requests WHERE id = :retried",
    "counters: a line fell back": "UPDATE requests SET state = 'failed' WHERE id = :retried",
    "ends": "UPDATE batches SET state = 'in_progress' WHERE id = :ended",
    "ends: too early": "UPDATE batches SET state = 'completed' WHERE id = :running",
    "answers": "UPDATE requests SET answer_id = 4711 WHERE id = :retried",
    "answers: none": "UPDATE requests SET answer_id = NULL WHERE id = :retried",
    "claimable": "UPDATE requests SET next_run_ms = NULL WHERE batch_id = :running AND state = 'pending'",
    "claimable: too often": "UPDATE requests SET next_run_ms = 1 WHERE id = :retried",
    "claimable: not yet": "UPDATE requests SET next_run_ms = 1 WHERE batch_id = :running AND next_run_ms IS NULL"
    " AND state = 'pending'",
    "waiting": "DELETE FROM flights",
    "waiting: itself": "UPDATE flights SET request_id = :waits",
    "waiting: nobody counts it": "UPDATE flights SET followers = 0",
    "waiting: for the past": "UPDATE flights SET request_id = :retried",
    "cache": "UPDATE cache_entries SET answer_id = 4711",
    "attempt-numbers": "UPDATE attempts SET number = 3 WHERE request_id = :retried AND number = 2",
    "attempt-counts": "UPDATE requests SET attempts = attempts + 1 WHERE id = :retried",
    "attempt-reasons": "UPDATE attempts SET reason = 'first' WHERE request_id = :retried AND number = 2",
    "attempt-reasons: none": "UPDATE attempts SET reason = '' WHERE request_id = :retried AND number = 1",
    "claims": "UPDATE claims SET request_ids = '[]'",
    "claims: of nobody": "DELETE FROM claims",
    "claims: after the end": "UPDATE requests SET claim_id = (SELECT max(id) FROM claims) WHERE id = :retried",
    "calls-in-flight": "UPDATE attempts SET claim_id = 4711 WHERE state = 'sent'",
    "ledger-entries": "DELETE FROM ledger WHERE request_id = :retried AND cost_nanos = 0",
    "ledger-entries: twice": "UPDATE ledger SET kind = 'call', attempt_id = (SELECT id FROM attempts"
    " WHERE request_id = :answered) WHERE request_id = :corrected AND kind = 'correction'",
    "ledger-entries: another cost": "UPDATE attempts SET cost_nanos = cost_nanos + 1 WHERE request_id = :answered",
    "ledger-entries: corrected twice": "UPDATE ledger SET kind = 'correction'"
    " WHERE request_id = :corrected AND cost_nanos IS NULL",
    "ledger-entries: of no call": "UPDATE ledger SET attempt_id = 4711 WHERE request_id = :answered",
    "hit-entries": "UPDATE ledger SET request_id = :waits WHERE kind = 'hit'",
    "spent": "UPDATE batches SET spent_nanos = spent_nanos + 1 WHERE id = :ended",
    "spent: hits": "UPDATE batches SET cached = cached + 1 WHERE id = :ended",
    "call-counters": "UPDATE batches SET calls = calls + 1 WHERE id = :ended",
    "call-counters: unknown": "UPDATE batches SET unknown_attempts = 7 WHERE id = :ended",
    "call-counters: unpriced": "UPDATE batches SET unpriced = 7 WHERE id = :ended",
}
HANDED_IN = "UPDATE batches SET input_file = 'file-1', state = 'completed'"
BROKEN |= {
    "result-files": f"{HANDED_IN}, output_file = 'file-2' WHERE id = :ended",
    "result-files: no answers": f"{HANDED_IN}, error_file = 'file-3' WHERE id = :ended",
}
# A call that is gone is missing in the numbers and in the count.
ALSO = {"attempt-numbers": {"attempt-counts"}}


@pytest.mark.parametrize("breakage", BROKEN)
def test_what_is_broken_is_named(database: Database, clock: FakeClock, breakage: str) -> None:
    """One promise broken in the database: that check names it, with the place, and no other is alarmed."""
    story = tell_a_story(database, clock)
    values = {name: getattr(story, name) for name in Story.__slots__}
    statement = BROKEN[breakage]
    with database.write() as tx:
        named = {name: value for name, value in values.items() if f":{name}" in statement}
        assert tx.run(text(statement), **named) > 0
    found = found_by(database)
    name = breakage.partition(":")[0]
    assert set(found) == {name} | ALSO.get(breakage, set())
    finding = found[name]
    assert finding.level is Level.FAILURE
    assert 0 < len(finding.examples) <= EXAMPLES
    assert finding.hint
    assert all(example.detail for example in finding.examples)
    if name != "cache":
        public = {batch_of(database, batch).public_id for batch in (story.ended, story.running)}
        assert {example.batch for example in finding.examples} <= public
    assert finding.invariant in range(1, 13)


def test_same_question_asked_twice(database: Database) -> None:
    """Two calls under way for the same question, whose flights went wrong."""
    worker = Worker(database)
    add_batch(database, ["one", "two"])
    worker.send(*worker.take())
    with database.write() as tx:
        tx.run(text("UPDATE requests SET cache_key = 'one'"))
    assert set(found_by(database)) == {"double-calls"}


def test_a_few_places_are_enough(database: Database) -> None:
    """However many lines are broken, a finding names five and says that there are more."""
    batch = add_batch(database, 20)
    with database.write() as tx:
        tx.run(text("UPDATE requests SET next_run_ms = 1"))
    finding = found_by(database)["claimable"]
    assert (len(finding.examples), finding.has_more) == (EXAMPLES, True)
    assert [example.place for example in finding.examples] == [1, 2, 3, 4, 5]
    assert finding.examples[0].batch == batch_of(database, batch).public_id


def test_quiet_while_lines_come_and_go(database: Database) -> None:
    """A batch that is being taken in, and one that was refused and is being deleted, are nobody's loss."""
    taken_in, refused = add_batch(database, 3), add_batch(database, 3)
    with database.write() as tx:
        tx.run(text("UPDATE batches SET state = 'validating', total = 0 WHERE id = :id"), id=taken_in)
        tx.run(text("UPDATE batches SET state = 'validating', total = 0 WHERE id = :id"), id=refused)
        batches.reject(tx, refused, "no")
        tx.run(text("DELETE FROM requests WHERE id = :id"), id=request_id(refused, 1))
    assert found_by(database) == {}
