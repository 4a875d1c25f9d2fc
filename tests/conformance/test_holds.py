"""Holds: no call without room for the most it can cost, in every budget that covers it."""

from dataclasses import replace

import pytest
from sqlalchemy import delete

from batchmill.budgets.model import OnLimit, Period, Scope
from batchmill.requests.model import OnUnknown, RequestState
from batchmill.requests.work import Bounded, Why
from db import sweep
from db.audit import CHECKS
from db.budgets import factors
from db.engine import Database
from db.settle import Work
from db.tables import budget_periods
from tests.support.audit import audit
from tests.support.budgets import add_budget, alerts_of, amounts_of, periods_of, raise_limit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of, send_of, states_of
from tests.support.replies import ANSWERED, FAULTY, PRICE_NANOS, UNKNOWN, make_judge

HOUR_MS = 3_600_000
UNPRICED = replace(ANSWERED, usage=None)


def test_no_more_is_held_than_the_limit_has_room_for(database: Database) -> None:
    """Of five calls at 300 three fit into 1,000; the others wait, for what is held may come cheaper."""
    budget = add_budget(database, 1_000)
    add_batch(database, 5)
    worker = Worker(database)
    written = worker.ask(*worker.take(), hold_nanos=300)
    assert len(written.attempts) == 3
    assert [withheld.why for withheld in written.withheld.values()] == [Why.TIGHT] * 2
    assert amounts_of(database, budget) == (0, 900)
    assert batch_of(database, 1).calls == 3
    audit(database)


def test_all_or_none_of_its_budgets(database: Database) -> None:
    """A call that does not fit one of its budgets holds nothing on the others."""
    wide = add_budget(database, 10_000)
    narrow = add_budget(database, 500, scope=Scope.TENANT, name="acme")
    other = add_budget(database, 100, scope=Scope.TENANT, name="other")
    add_batch(database, 3, tenant="acme")
    worker = Worker(database)
    worker.ask(*worker.take(), hold_nanos=400)
    assert (amounts_of(database, wide), amounts_of(database, narrow)) == ((0, 400), (0, 400))
    assert periods_of(database, other) == []
    audit(database)


@pytest.mark.parametrize(
    ("scope", "name"),
    [
        (Scope.GLOBAL, ""),
        (Scope.TENANT, "acme"),
        (Scope.USER, "alice"),
        (Scope.USER, "acme/alice"),
        (Scope.PROVIDER, "openai"),
        (Scope.MODEL, "gpt-4o-mini"),
        (Scope.MODEL, "openai/gpt-4o-mini"),
        (Scope.TYPE, "moderation"),
        (Scope.BATCH, ""),
    ],
)
def test_a_budget_covers_what_it_is_for(database: Database, scope: Scope, name: str) -> None:
    """Every scope finds its calls, and only those."""
    batch = add_batch(database, 1, tenant="acme", user="alice", request_type="moderation")
    name = batch_of(database, batch).public_id if scope is Scope.BATCH else name
    budget = add_budget(database, 1_000, scope=scope, name=name)
    add_batch(database, 1, tenant="else", user="bob", request_type="report")
    worker = Worker(database)
    worker.ask(*worker.take(), hold_nanos=100)
    shared = scope in (Scope.GLOBAL, Scope.PROVIDER, Scope.MODEL)
    assert amounts_of(database, budget) == (0, 200 if shared else 100)
    audit(database)


def test_a_line_s_own_type_is_what_counts(database: Database) -> None:
    """The type of the line goes before that of its batch."""
    budget = add_budget(database, 1_000, scope=Scope.TYPE, name="quiz")
    add_batch(database, 2, request_type="report", types=["quiz"])
    worker = Worker(database)
    worker.ask(*worker.take(), hold_nanos=100)
    assert amounts_of(database, budget) == (0, 100)


def test_settled_at_its_cost(database: Database) -> None:
    """What a call came to is spent, and its hold is gone."""
    budget = add_budget(database, 100_000)
    add_batch(database, 1)
    worker = Worker(database)
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(*worker.take(), hold_nanos=9_000)))
    assert amounts_of(database, budget) == (PRICE_NANOS, 0)
    audit(database)


def test_a_call_that_was_not_billed_costs_nothing(database: Database) -> None:
    """An error of the provider lets the hold go."""
    budget = add_budget(database, 10_000)
    add_batch(database, 1)
    worker = Worker(database)
    worker.settle(*((attempt, FAULTY) for attempt in worker.send(*worker.take(), hold_nanos=9_000)))
    assert amounts_of(database, budget) == (0, 0)
    audit(database)


def test_an_answer_without_a_known_price_is_charged_at_its_hold(database: Database) -> None:
    """It was billed, nobody knows how much: the most it can have cost is spent."""
    budget = add_budget(database, 10_000)
    add_batch(database, 1)
    worker = Worker(database)
    worker.settle(*((attempt, UNPRICED) for attempt in worker.send(*worker.take(), hold_nanos=9_000)))
    assert amounts_of(database, budget) == (9_000, 0)
    audit(database)


def test_unknown_is_charged_at_its_hold_until_evidence_comes(database: Database) -> None:
    """A call of which nobody knows counts as its hold; late evidence puts its cost in the place of that."""
    budget = add_budget(database, 10_000)
    add_batch(database, 1, on_unknown=OnUnknown.FAIL)
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take(), hold_nanos=9_000)
    worker.settle((attempt, UNKNOWN))
    assert amounts_of(database, budget) == (9_000, 0)
    assert periods_of(database, budget)[0].unknown_nanos == 9_000
    audit(database)
    worker.settle((attempt, ANSWERED))
    assert amounts_of(database, budget) == (PRICE_NANOS, 0)
    assert periods_of(database, budget)[0].unknown_nanos == 0
    audit(database)


def test_a_dead_worker_s_calls_are_charged_at_their_hold(database: Database, clock: FakeClock) -> None:
    """What was in flight when its worker died counts as its hold; what had not been sent as nothing."""
    budget = add_budget(database, 10_000)
    add_batch(database, 3)
    worker = Worker(database)
    jobs = worker.take()
    worker.send(*jobs[:2], hold_nanos=1_000)
    clock.advance(60_000)
    sweep.sweep(database, make_judge(), "test")
    assert amounts_of(database, budget) == (2_000, 0)
    audit(database)


def test_dearer_than_its_hold_is_charged_in_full_and_told(database: Database) -> None:
    """An overrun is spent as it is, said once, and raises what is held for that model from then on."""
    budget = add_budget(database, 700)
    add_batch(database, 2)
    worker = Worker(database)
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(*worker.take(), hold_nanos=300)))
    assert amounts_of(database, budget) == (2 * PRICE_NANOS, 0)
    assert ("overrun", "openai/gpt-4o-mini") in alerts_of(database, budget)
    with database.read() as tx:
        assert factors.percents(tx) == {("openai", "gpt-4o-mini"): 334}
    audit(database)


@pytest.mark.parametrize(("holds", "percent"), [((500, 800), 251), ((333, 777), 301 * 129 // 100 + 1)])
def test_a_factor_that_was_not_enough_rises_further(
    database: Database, clock: FakeClock, holds: tuple[int, int], percent: int
) -> None:
    """A call whose hold had been raised already, and was dearer still, raises it on top of that; to a whole number, for
    what is held by it is one."""
    add_budget(database, 100_000)
    add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(first, hold_nanos=holds[0])))
    clock.advance(40_000)
    worker.renew()
    other = Worker(database)
    sweep.sweep(database, make_judge(), "test")
    jobs = other.take()
    other.settle(*((attempt, ANSWERED) for attempt in other.send(*jobs, hold_nanos=holds[1])))
    assert second.request_id == jobs[0].request_id
    with database.read() as tx:
        assert factors.percents(tx) == {("openai", "gpt-4o-mini"): percent}


def test_exhausted_only_when_nothing_held_could_make_room(database: Database) -> None:
    """While a call in flight may come cheaper the next one waits; only when all are in does it find no room."""
    budget = add_budget(database, 1_500)
    add_batch(database, 3)
    worker = Worker(database)
    first, second, third = worker.take()
    (attempt,) = worker.send(first, hold_nanos=1_200)
    tight = worker.ask(second, hold_nanos=1_200).withheld[second.request_id]
    assert tight.why is Why.TIGHT
    worker.settle((attempt, ANSWERED))  # 1,000 spent
    exhausted = worker.ask(second, hold_nanos=1_200).withheld[second.request_id]
    assert (exhausted.why, exhausted.needs_nanos, exhausted.budget_id) == (Why.EXHAUSTED, 1_200, budget)
    assert not exhausted.is_in_use
    assert worker.send(third, hold_nanos=500)
    assert worker.ask(second, hold_nanos=1_200).withheld[second.request_id].is_in_use
    audit(database)


def test_room_made_in_a_commit_is_used_in_it(database: Database) -> None:
    """What is settled in a transaction is charged before anything is held in it."""
    add_budget(database, 2_000)
    add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    (attempt,) = worker.send(first, hold_nanos=1_800)
    work = Work(outcomes=[worker.judge.judge(attempt, ANSWERED)], sends=[send_of(second, 1_000)])
    assert second.request_id in worker.write(work).attempts


def test_the_same_send_recorded_again_is_held_once(database: Database) -> None:
    """A send that is repeated finds its attempt, and its hold."""
    budget = add_budget(database, 10_000)
    add_batch(database, 1)
    worker = Worker(database)
    (job,) = worker.take()
    assert worker.send(job, hold_nanos=700) == worker.send(job, hold_nanos=700)
    assert amounts_of(database, budget) == (0, 700)
    assert batch_of(database, 1).calls == 1
    audit(database)


def test_nobody_has_said_what_it_can_cost(database: Database) -> None:
    """A call that a budget covers is not made before its bound is known; one that none covers is."""
    add_batch(database, 1, tenant="acme")
    add_batch(database, 1, tenant="free")
    add_budget(database, 1_000, scope=Scope.TENANT, name="acme")
    worker = Worker(database)
    jobs = worker.take()
    written = worker.ask(*jobs)
    assert [withheld.why for withheld in written.withheld.values()] == [Why.UNBOUNDED]
    assert len(written.attempts) == 1


def test_a_rough_bound_is_good_enough_while_there_is_room(database: Database) -> None:
    """What is roughly bounded is held at that where it fits; else it is to be bounded closely, and is never said to
    find no room."""
    budget = add_budget(database, 2 * PRICE_NANOS, on_limit=OnLimit.REJECT)
    add_batch(database, 2)
    worker = Worker(database)
    first, second = (send_of(job, PRICE_NANOS * 3 // 2) for job in worker.take())
    roughly = [replace(send, asked=replace(send.asked, bounded=Bounded.ROUGHLY)) for send in (first, second)]
    written = worker.write(Work(sends=roughly))
    assert [withheld.why for withheld in written.withheld.values()] == [Why.ROUGH]
    assert amounts_of(database, budget) == (0, PRICE_NANOS * 3 // 2)
    worker.settle(*((attempt, ANSWERED) for attempt in written.attempts.values()))
    (withheld,) = worker.write(Work(sends=roughly[1:])).withheld.values()
    assert withheld.why is Why.ROUGH
    assert alerts_of(database, budget) == []
    assert worker.send(second.job, hold_nanos=PRICE_NANOS)
    audit(database)


def test_a_hold_taken_before_midnight_settles_in_its_own_day(database: Database, clock: FakeClock) -> None:
    """A call's cost goes where its hold was taken, whenever it ends."""
    budget = add_budget(database, 5_000, period=Period.DAY)
    add_batch(database, 2)
    worker = Worker(database, lease_ms=100 * HOUR_MS)
    first, second = worker.take()
    (attempt,) = worker.send(first, hold_nanos=2_000)
    clock.advance(24 * HOUR_MS)
    worker.send(second, hold_nanos=3_000)
    worker.settle((attempt, ANSWERED))
    day, next_day = periods_of(database, budget)
    assert (day.spent_nanos, day.held_nanos) == (PRICE_NANOS, 0)
    assert (next_day.spent_nanos, next_day.held_nanos) == (0, 3_000)
    audit(database)


def test_thresholds_fire_once(database: Database) -> None:
    """Each threshold is told once, in the transaction that reaches it; no room at all is the last one."""
    budget = add_budget(database, 4_000)
    add_batch(database, 5)
    worker = Worker(database)
    jobs = worker.take()
    fired = []
    for job in jobs[:3]:
        worker.settle(*((attempt, ANSWERED) for attempt in worker.send(job, hold_nanos=1_000)))
        fired.append(alerts_of(database, budget))
    assert fired == [[], [], [("threshold", "75")]]
    for job in jobs[3:]:
        worker.ask(job, hold_nanos=1_500)
    assert alerts_of(database, budget) == [("threshold", "75"), ("threshold", "100")]


def test_a_call_dearer_than_the_whole_budget_uses_up_nothing(database: Database) -> None:
    """It finds no room, and that says nothing of how far the budget is used; when that is used up, that is told."""
    budget = add_budget(database, 2 * PRICE_NANOS)
    add_batch(database, 4)
    worker = Worker(database)
    dear, first, second, last = worker.take()
    assert worker.ask(dear, hold_nanos=2 * PRICE_NANOS + 1).withheld
    assert alerts_of(database, budget) == []
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(first, hold_nanos=PRICE_NANOS)))
    assert worker.ask(second, last, hold_nanos=PRICE_NANOS + 1).withheld
    assert alerts_of(database, budget) == [("threshold", "100")]


@pytest.mark.parametrize("limit_nanos", [0, PRICE_NANOS])
def test_a_limit_lowered_to_what_is_spent_is_used_up(database: Database, limit_nanos: int) -> None:
    """The next call that finds no room tells so, however dear it is."""
    budget = add_budget(database, 9 * PRICE_NANOS, thresholds="100")
    add_batch(database, 2)
    worker = Worker(database)
    first, second = worker.take()
    worker.settle(*((attempt, ANSWERED) for attempt in worker.send(first, hold_nanos=PRICE_NANOS)))
    raise_limit(database, budget, limit_nanos)
    assert worker.ask(second, hold_nanos=2 * PRICE_NANOS).withheld
    assert alerts_of(database, budget) == [("threshold", "100")]


def test_two_workers_never_hold_more_than_there_is(database: Database) -> None:
    """Whoever comes second finds what the first one holds."""
    budget = add_budget(database, 1_000)
    add_batch(database, 20)
    first, second = Worker(database), Worker(database)
    mine, yours = first.take(10), second.take(10)
    first.ask(*mine, hold_nanos=300)
    second.ask(*yours, hold_nanos=300)
    assert amounts_of(database, budget) == (0, 900)
    audit(database)


def test_a_period_that_somebody_deleted_stops_nobody(database: Database) -> None:
    """A call settles also where the row that it is held on is gone; the audit names that."""
    add_budget(database, 10_000)
    add_batch(database, 1)
    worker = Worker(database)
    (attempt,) = worker.send(*worker.take(), hold_nanos=700)
    with database.write() as tx:
        tx.run(delete(budget_periods))
    worker.settle((attempt, ANSWERED))
    assert states_of(database, 1) == [RequestState.DONE]
    with database.snapshot() as tx:
        assert [finding.check for finding in (check.find(tx) for check in CHECKS) if finding.examples] == [
            "budget-periods"
        ]
