"""Reconciling: calls of which nobody knows what they cost are settled once, in the ledger and on every budget."""

import threading
from dataclasses import replace
from io import BytesIO

import pytest
from sqlalchemy import update

from batchmill.budgets.evidence import BadEvidence
from batchmill.budgets.model import Period, Scope
from batchmill.errors import ConflictError, InvalidLinesError, NotFoundError
from batchmill.requests.ids import CallName, call_name, client_request_id
from batchmill.requests.model import BatchState, OnUnknown
from batchmill.requests.work import Attempt
from db import batches
from db.budgets import unknowns
from db.budgets.unknowns import Selection
from db.engine import Database
from db.settle import Work
from db.tables import batches as batch_rows
from tests.support.audit import audit
from tests.support.budgets import add_budget, alerts_of, amounts_of, periods_of, set_budgets_of
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of, send_of
from tests.support.replies import ANSWERED, PRICE_NANOS, UNKNOWN
from workers.reconciling import Reconciled, Word, by_evidence, by_hand, by_word, unknown_calls

HOLD = 9_000
DAY_MS = 86_400_000
EVERY = Selection()


def unknown_batch(
    database: Database, calls: int = 3, hold_nanos: int | None = HOLD
) -> tuple[Worker, list[Attempt], int]:
    """A batch whose calls are all unknown."""
    batch = add_batch(database, calls, on_unknown=OnUnknown.FAIL)
    worker = Worker(database)
    sent = worker.send(*worker.take(), hold_nanos=hold_nanos)
    worker.settle(*((attempt, UNKNOWN) for attempt in sent))
    return worker, sent, batch


def name_of(attempt: Attempt) -> str:
    return client_request_id(attempt.job.batch.public_id, attempt.job.request_id, attempt.number)


def evidence(database: Database, *lines: tuple[str, str], is_dry: bool = False) -> Reconciled:
    bad: list[BadEvidence] = []
    text = "request_id,cost_usd\n" + "".join(f"{name},{cost}\n" for name, cost in lines)
    return by_evidence(database, BytesIO(text.encode()), on_bad_line=bad.append, is_dry=is_dry)


def test_evidence_takes_the_place_of_the_hold(database: Database) -> None:
    """Ledger, batch and every budget have the cost where they had the hold; nothing is unknown any more."""
    wide = add_budget(database, 100_000)
    narrow = add_budget(database, 50_000, scope=Scope.TENANT, name="local")
    _, sent, batch = unknown_batch(database)
    assert amounts_of(database, wide) == amounts_of(database, narrow) == (3 * HOLD, 0)
    done = evidence(database, *((name_of(attempt), "0.000002") for attempt in sent))
    assert (done.settled.calls, done.settled.cost_nanos, done.settled.held_nanos) == (3, 6_000, 3 * HOLD)
    assert amounts_of(database, wide) == amounts_of(database, narrow) == (6_000, 0)
    assert periods_of(database, wide)[0].unknown_nanos == 0
    row = batch_of(database, batch)
    assert (row.spent_nanos, row.unknown_attempts) == (6_000, 0)
    books = audit(database)
    assert [entry.kind for entry in books.ledger] == ["call"] * 3 + ["correction"] * 3


def test_the_same_evidence_again_changes_nothing(database: Database) -> None:
    """What is known already is left alone, and told where the evidence says otherwise."""
    budget = add_budget(database, 100_000)
    _, sent, _ = unknown_batch(database)
    lines = [(name_of(attempt), "0.000002") for attempt in sent]
    evidence(database, *lines)
    again = evidence(database, *lines[:2], (lines[2][0], "0.5"))
    assert (again.settled.calls, again.known, again.known_otherwise) == (0, 2, 1)
    assert amounts_of(database, budget) == (6_000, 0)
    audit(database)


def test_named_twice_in_one_file_counts_once(database: Database) -> None:
    """The first line counts; another cost further down is told."""
    budget = add_budget(database, 100_000)
    _, (attempt,), _ = unknown_batch(database, 1)
    name = name_of(attempt)
    done = evidence(database, (name, "0.000002"), (name, "0.000002"), (name, "0.000003"))
    assert (done.settled.calls, done.known, done.known_otherwise) == (1, 1, 1)
    assert amounts_of(database, budget) == (2_000, 0)


def test_others_are_told_and_left_alone(database: Database) -> None:
    """A call in flight, and one that is not here, are counted; the rest is settled."""
    add_budget(database, 100_000)
    _, (attempt,), _ = unknown_batch(database, 1)
    add_batch(database, 1)
    worker = Worker(database)
    (flying,) = worker.send(*worker.take(), hold_nanos=HOLD)
    done = evidence(database, (name_of(flying), "1"), ("batch_req_abcdef_1/1", "1"), (name_of(attempt), "0"))
    assert (done.settled.calls, done.in_flight, done.not_ours) == (1, 1, 1)
    audit(database)


def test_of_bad_evidence_nothing_is_taken(database: Database) -> None:
    """One bad line, and the file is refused as a whole."""
    budget = add_budget(database, 100_000)
    _, sent, _ = unknown_batch(database)
    with pytest.raises(InvalidLinesError, match="1 line is no evidence; nothing was settled"):
        evidence(database, (name_of(sent[0]), "0.000002"), (name_of(sent[1]), "-1"))
    assert amounts_of(database, budget) == (3 * HOLD, 0)


def test_a_dry_run_tells_and_changes_nothing(database: Database) -> None:
    """What would come of it is found out by doing it, and taken back."""
    budget = add_budget(database, 100_000)
    _, sent, _ = unknown_batch(database)
    done = evidence(database, *((name_of(attempt), "0.000002") for attempt in sent), is_dry=True)
    assert (done.settled.calls, done.settled.cost_nanos) == (3, 6_000)
    assert amounts_of(database, budget) == (3 * HOLD, 0)
    audit(database)


def test_by_hand(database: Database) -> None:
    """One call by its name; one that is not there is an error."""
    add_budget(database, 100_000)
    _, (attempt,), batch = unknown_batch(database, 1)
    name = call_name(name_of(attempt))
    assert name is not None
    assert by_hand(database, name, 0).settled.calls == 1
    assert batch_of(database, batch).unknown_attempts == 0
    with pytest.raises(NotFoundError, match="there is no call batch_req_abcdef_9/9"):
        by_hand(database, CallName(batch="batch_abcdef", place=9, number=9), 0)
    audit(database)


@pytest.mark.parametrize(("word", "spent"), [(Word.HOLD, 3 * HOLD), (Word.FREE, 0)])
def test_by_the_owner_s_word(database: Database, word: Word, spent: int) -> None:
    """All that are selected cost what was held, or nothing."""
    budget = add_budget(database, 100_000)
    _, _, batch = unknown_batch(database)
    other = unknown_batch(database, 1)[2]
    done = by_word(database, Selection(batch=batch), word)
    assert done.settled.calls == 3
    assert amounts_of(database, budget) == (spent + HOLD, 0)
    assert batch_of(database, other).unknown_attempts == 1
    assert [row.request_id >> 32 for row in unknown_calls(database, EVERY)] == [other]
    audit(database)


def test_without_a_budget(database: Database) -> None:
    """A call that no budget covered is listed, settled by evidence, and has no hold that could be its cost."""
    _, (attempt,), _ = unknown_batch(database, 1, hold_nanos=None)
    with database.read() as tx:
        assert unknowns.total(tx, EVERY) == unknowns.Total(calls=1, held_nanos=0, unheld=1)
    assert by_word(database, EVERY, Word.HOLD).without_hold == 1
    assert evidence(database, (name_of(attempt), "0.000004")).settled.calls == 1
    audit(database)


def test_the_answer_that_comes_after_all_is_the_first_or_the_last(database: Database) -> None:
    """A late answer after the owner's evidence changes nothing; evidence after a late answer neither."""
    budget = add_budget(database, 100_000)
    worker, (first, second), _ = unknown_batch(database, 2)
    evidence(database, (name_of(first), "0.000002"))
    worker.settle((first, ANSWERED), (second, ANSWERED))
    assert amounts_of(database, budget) == (2_000 + PRICE_NANOS, 0)
    assert evidence(database, (name_of(second), "0.5")).known_otherwise == 1
    audit(database)


def test_two_at_once_settle_each_call_once(database: Database) -> None:
    """The same evidence by two people at the same time is booked once."""
    budget = add_budget(database, 10_000_000)
    _, sent, _ = unknown_batch(database, 60)
    lines = [(name_of(attempt), "0.000002") for attempt in sent]
    done: list[Reconciled] = []
    threads = [
        threading.Thread(target=lambda order: done.append(evidence(database, *order)), args=(order,))
        for order in (lines, lines[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.settled.calls for one in done) == 60
    assert all(one.settled.calls + one.known + one.overtaken == 60 for one in done)
    assert amounts_of(database, budget) == (60 * 2_000, 0)
    audit(database)


def test_dearer_than_its_hold_after_all(database: Database) -> None:
    """Evidence above the hold is charged in full, as an overrun."""
    budget = add_budget(database, 10_000)
    _, (attempt,), _ = unknown_batch(database, 1)
    evidence(database, (name_of(attempt), "0.00002"))
    (period,) = periods_of(database, budget)
    assert (period.spent_nanos, period.overrun_nanos) == (20_000, 11_000)
    audit(database)


def test_evidence_counts_on_the_day_of_its_call(database: Database, clock: FakeClock) -> None:
    """However many days later it comes: today's budget, under another limit by then, is not touched."""
    budget = add_budget(database, 10_000, period=Period.DAY)
    _, (attempt,), _ = unknown_batch(database, 1)
    clock.advance(2 * DAY_MS)
    set_budgets_of(database, {Period.DAY: 5}, Scope.GLOBAL, "")
    done = evidence(database, (name_of(attempt), "0.00002"))
    then, now = periods_of(database, budget)
    assert done.settled.changes == {then.id: 20_000 - HOLD}
    assert (then.spent_nanos, then.unknown_nanos, then.overrun_nanos) == (20_000, 0, 20_000 - HOLD)
    assert (now.spent_nanos, now.limit_nanos) == (0, 5)
    assert alerts_of(database, budget) == [
        ("threshold", "75"),
        ("threshold", "90"),
        ("overrun", f"{attempt.provider}/{attempt.model}"),
        ("threshold", "100"),
    ]
    audit(database)


def test_each_budget_s_change_is_told(database: Database) -> None:
    """By how much the spending of every period changes; what no budget covers changes none."""
    wide = add_budget(database, 100_000)
    narrow = add_budget(database, 50_000, scope=Scope.BATCH, name="nobody")
    _, sent, _ = unknown_batch(database, 2)
    done = evidence(database, (name_of(sent[0]), "0.000002"), (name_of(sent[1]), "0.00001"))
    (period,) = periods_of(database, wide)
    assert done.settled.changes == {period.id: 2_000 + 10_000 - 2 * HOLD}
    assert periods_of(database, narrow) == []


def test_charged_is_only_what_counts_on_a_budget(database: Database) -> None:
    """The most that a call could cost may be known although no budget covers it: nothing is charged for that, and
    it is no hold that could be taken for its cost."""
    add_budget(database, 100_000, scope=Scope.TENANT, name="other")
    unknown_batch(database, 1)
    with database.read() as tx:
        assert unknowns.total(tx, EVERY) == unknowns.Total(calls=1, held_nanos=0, unheld=1)
    done = by_word(database, EVERY, Word.HOLD)
    assert (done.settled.calls, done.without_hold) == (0, 1)
    assert by_word(database, EVERY, Word.FREE).settled.held_nanos == 0


def test_no_price_is_no_hold(database: Database) -> None:
    """Where calls without a known price are let pass, 0 is held for them; that is not what they cost."""
    add_budget(database, 100_000, allows_unpriced=True)
    add_batch(database, 1, on_unknown=OnUnknown.FAIL)
    worker = Worker(database)
    (job,) = worker.take()
    send = send_of(job, HOLD)
    unpriced = replace(send, asked=replace(send.asked, hold_nanos=None))
    (attempt,) = worker.write(Work(sends=[unpriced])).attempts.values()
    worker.settle((attempt, UNKNOWN))
    done = by_word(database, EVERY, Word.HOLD)
    assert (done.settled.calls, done.without_hold) == (0, 1)
    assert len(list(unknown_calls(database, EVERY))) == 1


def test_a_dry_run_resumes_nothing(database: Database) -> None:
    """A batch that could go on already is left for the sweep."""
    add_budget(database, 100_000)
    _, (attempt,), _ = unknown_batch(database, 1)
    waiting = add_batch(database, 1)
    with database.write() as tx:
        batches.pause(tx, waiting, "no room")
        tx.run(update(batch_rows).where(batch_rows.c.id == waiting).values(waits_for_budget_id=4711))
    evidence(database, (name_of(attempt), "0"), is_dry=True)
    assert batch_of(database, waiting).state == BatchState.PAUSED
    evidence(database, (name_of(attempt), "0"))
    assert batch_of(database, waiting).state == BatchState.IN_PROGRESS


def test_by_hand_contradicts_nothing(database: Database) -> None:
    """What is known at that cost is no error, at another it is; so is what has not ended, or has no price."""
    add_budget(database, 100_000)
    worker, sent, _ = unknown_batch(database, 2)
    known, unpriced = (call_name(name_of(attempt)) for attempt in sent)
    assert known is not None
    assert unpriced is not None
    by_hand(database, known, 2_000)
    assert by_hand(database, known, 2_000).known == 1
    with pytest.raises(ConflictError, match=r"known already: \$0\.000002"):
        by_hand(database, known, 3_000)
    worker.settle((sent[1], replace(ANSWERED, usage=None)))
    with pytest.raises(ConflictError, match="was answered"):
        by_hand(database, unpriced, 3_000)
    add_batch(database, 1)
    (flying,) = worker.send(*worker.take(), hold_nanos=HOLD)
    in_flight = call_name(name_of(flying))
    assert in_flight is not None
    with pytest.raises(ConflictError, match="has not ended"):
        by_hand(database, in_flight, 3_000)


def test_selected_by_when_they_were_sent(database: Database, clock: FakeClock) -> None:
    """From one moment up to another."""
    found = []
    for _ in range(3):
        found.append(unknown_batch(database, 1)[2])
        clock.advance(1_000)
    end_ms = database.now_ms()
    selection = Selection(sent_since_ms=end_ms - 2_000, sent_before_ms=end_ms - 1_000)
    assert [row.request_id >> 32 for row in unknown_calls(database, selection)] == [found[1]]


def test_evidence_and_late_answers_at_once(database: Database) -> None:
    """While a provider's evidence is taken, the workers' own comes in, both for all calls and in other orders: each
    call is settled once, by whichever is first."""
    budget = add_budget(database, 10_000_000)
    batch = add_batch(database, 120, on_unknown=OnUnknown.FAIL)
    worker = Worker(database)
    sent = worker.send(*worker.take(), hold_nanos=HOLD)
    worker.settle(*((attempt, UNKNOWN) for attempt in sent))
    done: list[Reconciled] = []

    def say() -> None:
        for first in range(0, 120, 20):
            lines = [(name_of(attempt), "0.000002") for attempt in sent[first : first + 20]]
            done.append(evidence(database, *lines[::-1]))

    def answer() -> None:
        for first in range(100, -20, -20):
            worker.settle(*((attempt, ANSWERED) for attempt in sent[first : first + 20]))

    threads = [threading.Thread(target=target) for target in (say, answer)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = sum(one.settled.calls for one in done)
    spent = told * 2_000 + (120 - told) * PRICE_NANOS
    assert amounts_of(database, budget) == (spent, 0)
    row = batch_of(database, batch)
    assert (row.spent_nanos, row.unknown_attempts) == (spent, 0)
    assert sum(one.settled.calls + one.known_otherwise + one.overtaken for one in done) == 120
    audit(database)
