"""At the limit: a batch waits and goes on, a line fails, or a cheaper model is asked."""

from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import OnLimit, Period, Scope
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.requests.model import BatchState, RequestState
from batchmill.requests.work import HandBack, Job, Rejection, Send, Why
from db import batches, catalogue, sweep
from db.budgets import definitions
from db.budgets.waiting import NEW_MS, with_room
from db.engine import Database
from db.settle import Work
from tests.support.audit import audit
from tests.support.budgets import add_budget, amounts_of, periods_of, raise_limit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of, send_of, states_of
from tests.support.replies import ANSWERED, PRICE_NANOS, make_judge

HOUR_MS = 3_600_000
UNPRICED = replace(ANSWERED, usage=None)


def test_pausing_and_going_on_when_raised(database: Database) -> None:
    """A batch waits for the budget that withheld a call, says why, and goes on within one sweep of its being raised."""
    budget = add_budget(database, 500)
    batch = add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.ask(job, hold_nanos=600).withheld[job.request_id]
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    row = batch_of(database, batch)
    assert (row.state, row.waits_for_budget_id, row.waits_for_nanos) == (BatchState.PAUSED, budget, 600)
    assert "the global budget has $0.00 of $0.0000005 spent" in row.paused_reason
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.PAUSED
    raise_limit(database, budget, 600)
    sweep.sweep(database, make_judge(), "test")
    row = batch_of(database, batch)
    assert (row.state, row.paused_reason, row.waits_for_budget_id) == (BatchState.IN_PROGRESS, "", None)
    assert worker.send(*worker.take(), hold_nanos=600)
    audit(database)


def test_going_on_while_others_still_hold_the_room(database: Database) -> None:
    """A batch goes on as soon as its call could fit once what is in flight has ended, as it would not have paused."""
    budget = add_budget(database, 1_000)
    worker = Worker(database)
    batch = add_batch(database, 2)
    first, second = worker.take()
    assert worker.send(first, hold_nanos=600)
    withheld = worker.ask(second, hold_nanos=1_100).withheld[second.request_id]
    assert withheld.why is Why.EXHAUSTED
    worker.write(Work(hand_backs=[HandBack(job=second, withheld=withheld)]))
    raise_limit(database, budget, 1_100)
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS
    (second,) = worker.take()
    assert worker.ask(second, hold_nanos=1_100).withheld[second.request_id].why is Why.TIGHT


def test_the_turn_of_a_day_lets_it_go_on(database: Database, clock: FakeClock) -> None:
    """A batch that waits for a daily budget goes on at midnight of its zone, within one sweep."""
    berlin = ZoneInfo("Europe/Berlin")
    clock.advance(int(datetime(2027, 3, 28, 23, 30, tzinfo=berlin).timestamp() * 1000) - clock.now_ms())
    budget = add_budget(database, 1_200, period=Period.DAY, zone="Europe/Berlin")
    batch = add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(first, hold_nanos=1_100)))
    withheld = worker.ask(second, hold_nanos=1_100).withheld[second.request_id]
    assert "it turns 2027-03-29 00:00 Europe/Berlin" in withheld.reason
    worker.write(Work(hand_backs=[HandBack(job=second, withheld=withheld)]))
    clock.advance(HOUR_MS // 2 - 1)
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.PAUSED
    clock.advance(1)
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS
    assert len(worker.send(*worker.take(), hold_nanos=1_100)) == 1
    day, next_day = periods_of(database, budget)
    assert day.end_ms - day.start_ms == 23 * HOUR_MS  # the clocks went forward
    assert (day.spent_nanos, next_day.held_nanos, next_day.start_ms) == (PRICE_NANOS, 1_100, day.end_ms)
    audit(database)


def test_paused_by_hand_on_top_stays_paused(database: Database) -> None:
    """An owner who pauses a batch that waits for a budget means it: room alone does not let it go on."""
    budget = add_budget(database, 500)
    batch = add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.ask(job, hold_nanos=600).withheld[job.request_id]
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    with database.write() as tx:
        assert batches.pause(tx, batch, "paused by hand")
    raise_limit(database, budget, 10_000)
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.PAUSED


def test_a_rejected_line_fails_and_its_followers_are_tried(database: Database) -> None:
    """A line without room fails with its reason, with no call; who waited for its answer may lead in its place."""
    add_budget(database, 500, on_limit=OnLimit.REJECT)
    batch = add_batch(database, ["same", "same"])
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.ask(job, hold_nanos=600).withheld[job.request_id]
    assert (withheld.why, withheld.then) == (Why.EXHAUSTED, OnLimit.REJECT)
    rejection = Rejection(job=job, code="budget_exceeded", message=withheld.reason)
    worker.write(Work(rejections=[rejection]))
    assert states_of(database, batch) == [RequestState.FAILED, RequestState.PENDING]
    row = batch_of(database, batch)
    assert (row.failed, row.calls, row.state) == (1, 0, BatchState.IN_PROGRESS)
    audit(database)
    (follower,) = worker.take()
    worker.write(Work(rejections=[Rejection(job=follower, code="budget_exceeded", message="no room")]))
    assert batch_of(database, batch).state == BatchState.FINALIZING
    audit(database)


def test_the_batch_s_own_word_goes_before_the_budget_s(database: Database) -> None:
    """`--on-budget` overrides what the budget says."""
    add_budget(database, 500, on_limit=OnLimit.REJECT)
    add_batch(database, 1, on_budget=OnLimit.PAUSE)
    worker = Worker(database)
    (job,) = worker.take()
    assert worker.ask(job, hold_nanos=600).withheld[job.request_id].then is OnLimit.PAUSE


def test_no_known_price(database: Database) -> None:
    """A call that nobody knows the price of is withheld by a budget that does not allow it, whatever there is left."""
    strict = add_budget(database, 10_000)
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    send = send_of(job, 1)
    send = replace(send, asked=replace(send.asked, hold_nanos=None))
    withheld = worker.write(Work(sends=[send])).withheld[job.request_id]
    assert (withheld.why, withheld.budget_id, withheld.needs_nanos) == (Why.UNPRICED, strict, None)
    assert "covers openai/gpt-4o-mini, whose price is not known" in withheld.reason


def offered(job: Job, *holds: int) -> Send:
    """The model asked for at the first hold, and cheaper ones at the others."""
    asked = send_of(job, holds[0])
    cheaper = [replace(asked.asked, model=f"cheaper-{hold}", hold_nanos=hold) for hold in holds[1:]]
    return replace(asked, cheaper=tuple(cheaper))


def test_a_cheaper_model_is_asked_for_when_there_is_no_room(database: Database) -> None:
    """A budget that downgrades wants to know what else would do; the dearest of those that fit is called."""
    budget = add_budget(database, 500, on_limit=OnLimit.DOWNGRADE)
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    assert worker.ask(job, hold_nanos=900).withheld[job.request_id].why is Why.CHEAPER
    attempt = worker.write(Work(sends=[offered(job, 900, 600, 400, 100)])).attempts[job.request_id]
    assert (attempt.model, attempt.job.model) == ("cheaper-400", "gpt-4o-mini")
    assert amounts_of(database, budget) == (0, 400)
    audit(database)


def test_where_no_cheaper_model_fits_the_batch_waits(database: Database, clock: FakeClock) -> None:
    """With nothing left to choose from, downgrading is pausing, until there is room for the cheapest that would do."""
    budget = add_budget(database, 500, on_limit=OnLimit.DOWNGRADE)
    batch = add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.write(Work(sends=[offered(job, 900, 700, 600)])).withheld[job.request_id]
    assert (withheld.why, withheld.needs_nanos) == (Why.EXHAUSTED, 600)
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    clock.advance(NEW_MS)
    raise_limit(database, budget, 599)
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.PAUSED
    raise_limit(database, budget, 600)
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS


def test_a_batch_waits_for_the_budget_that_covers_every_model(database: Database) -> None:
    """With the budgets of one model and of all both full, more for that model alone would let no call be made, and more
    for all lets a cheaper one be asked."""
    add_budget(database, 500, on_limit=OnLimit.DOWNGRADE, scope=Scope.MODEL, name="gpt-4o-mini")
    of_all = add_budget(database, 500, on_limit=OnLimit.DOWNGRADE)
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.write(Work(sends=[offered(job, 900, 600)])).withheld[job.request_id]
    assert (withheld.budget_id, withheld.needs_nanos) == (of_all, 600)


def test_a_cheaper_model_that_may_fit_soon_is_waited_for(database: Database) -> None:
    """A call in flight may make room for the better of two cheaper models: it is not passed by."""
    add_budget(database, 500, on_limit=OnLimit.DOWNGRADE)
    add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    worker.send(first, hold_nanos=300)
    withheld = worker.write(Work(sends=[offered(second, 900, 400, 100)])).withheld[second.request_id]
    assert withheld.why is Why.TIGHT


def test_cheaper_from_a_part_of_the_limit_on(database: Database) -> None:
    """From a settable part on cheaper models are asked although there is room; without any it stays as it was."""
    add_budget(database, 10_000, on_limit=OnLimit.DOWNGRADE, downgrade_percent=10)
    add_batch(database, 3)
    worker = Worker(database)
    first, second, third = worker.take()
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(first, hold_nanos=1_000)))
    assert worker.ask(second, hold_nanos=1_000).withheld[second.request_id].why is Why.CHEAPER
    written = worker.write(Work(sends=[offered(second, 1_000, 300), offered(third, 1_000)]))
    assert [attempt.model for attempt in written.attempts.values()] == ["cheaper-300", "gpt-4o-mini"]


def test_the_strictest_of_two_full_budgets_decides(database: Database) -> None:
    """Where one budget would have a cheaper model and another would wait, it waits."""
    add_budget(database, 500, on_limit=OnLimit.DOWNGRADE)
    add_budget(database, 600, on_limit=OnLimit.PAUSE, scope=Scope.TENANT, name="local")
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.ask(job, hold_nanos=900).withheld[job.request_id]
    assert (withheld.why, withheld.then) == (Why.EXHAUSTED, OnLimit.PAUSE)


def paused_without_price(database: Database) -> tuple[int, int]:
    """A batch that waits because nobody knows a price, and the budget."""
    budget = add_budget(database, 10_000)
    batch = add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    send = send_of(job, 1)
    send = replace(send, asked=replace(send.asked, hold_nanos=None))
    withheld = worker.write(Work(sends=[send])).withheld[job.request_id]
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.PAUSED
    return batch, budget


def test_any_number_of_batches_may_wait(database: Database) -> None:
    """More of them than a statement may have parameters, each for a budget of its own."""
    rows = [
        SimpleNamespace(id=n, waits_for_budget_id=n, waits_for_nanos=1, on_budget="") for n in range(70_000)
    ]
    with database.read() as tx:
        assert len(with_room(tx, rows)) == len(rows)


def test_a_new_price_lets_a_batch_go_on(database: Database) -> None:
    """A batch without a known price is tried again when the catalogue changes."""
    batch, _ = paused_without_price(database)
    with database.write() as tx:
        catalogue.add(tx, ModelEntry(provider="openai", model="gpt-4o-mini", tier=Tier.CHEAP))
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS


def test_a_budget_that_is_gone_stops_nobody(database: Database) -> None:
    """A batch that waits for a budget goes on when that is removed."""
    batch, budget = paused_without_price(database)
    with database.write() as tx:
        definitions.remove(tx, [budget])
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS


def test_a_budget_that_rejects_by_now_lets_lines_be_rejected(database: Database) -> None:
    """Lines that wait for a budget fail when that no longer lets them wait."""
    batch, _ = paused_without_price(database)
    with database.write() as tx:
        definitions.change_budgets(tx, Scope.GLOBAL, "", Changes(on_limit=OnLimit.REJECT))
    sweep.sweep(database, make_judge(), "test")
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS


def test_a_budget_that_has_a_cheaper_model_asked_by_now_lets_that_be_tried(
    database: Database, clock: FakeClock
) -> None:
    """Lines that wait for a budget are tried with cheaper models once that wants them asked, and once there are others;
    not all the time."""
    budget = add_budget(database, 500)
    batch = add_batch(database, 1)
    worker = Worker(database)

    def is_paused_again() -> bool:
        jobs = worker.take()
        withheld = worker.write(Work(sends=[offered(job, 900, 600) for job in jobs])).withheld
        worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld[job.request_id]) for job in jobs]))
        sweep.sweep(database, make_judge(), "test")
        return batch_of(database, batch).state == BatchState.PAUSED

    assert is_paused_again()
    with database.write() as tx:
        definitions.change_budgets(tx, Scope.GLOBAL, "", Changes(on_limit=OnLimit.DOWNGRADE))
    assert not is_paused_again()
    clock.advance(NEW_MS + 1)
    assert is_paused_again()
    with database.write() as tx:
        catalogue.add(tx, ModelEntry(provider="openai", model="cheaper-600", tier=Tier.CHEAP))
    assert not is_paused_again()
    assert amounts_of(database, budget) == (0, 0)


def test_what_the_cache_has_is_answered_while_its_batch_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers from the cache cost nothing: a batch without a cent left gets them, each once, and its rest later."""
    add_batch(database, ["known", "other"])
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    budget = add_budget(database, 500)
    keys = ["new", "known", "new-2", "other", "known"]
    batch = add_batch(database, keys)
    (job,) = worker.take(1)
    withheld = worker.ask(job, hold_nanos=600).withheld[job.request_id]
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    sweep.sweep(database, make_judge(), "test")
    done, pending = RequestState.DONE, RequestState.PENDING
    assert states_of(database, batch) == [pending, done, pending, done, done]
    assert batch_of(database, batch).cached == 3
    audit(database)
    with monkeypatch.context() as patched:
        patched.delattr(
            sweep, "_answer_waiting_step"
        )  # nothing is left to be looked up: it costs a sweep nothing
        sweep.sweep(database, make_judge(), "test")
    raise_limit(database, budget, 100_000)
    sweep.sweep(database, make_judge(), "test")
    jobs = worker.take()
    assert len(jobs) == 2
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(*jobs, hold_nanos=600)))
    row = batch_of(database, batch)
    assert (row.done, row.cached, row.state) == (5, 3, BatchState.FINALIZING)
    audit(database)


def test_a_budget_of_nothing_still_lets_the_cache_answer(database: Database) -> None:
    """With a limit of zero no call is made, and what is known is answered."""
    add_batch(database, ["known"])
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take())
    add_budget(database, 0, on_limit=OnLimit.PAUSE)
    batch = add_batch(database, ["new", "known"])
    (job,) = worker.take(1)
    withheld = worker.ask(job, hold_nanos=600).withheld[job.request_id]
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    sweep.sweep(database, make_judge(), "test")
    assert states_of(database, batch) == [RequestState.PENDING, RequestState.DONE]
    audit(database)
