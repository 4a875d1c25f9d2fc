"""Probes: the one call that finds out whether a model is back is made, or the next one is."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from batchmill.budgets.model import OnLimit
from batchmill.providers.base import CALL_CANCELLED, Reply, Verdict
from batchmill.requests.model import Lane, RequestState
from batchmill.requests.work import Bounded, Candidate, Job, Send, Why
from batchmill.routing.circuits import PROBE_LOOK_MS, Circuit, CircuitState
from db import circuits, sweep
from db.engine import Database
from db.journal import Journal
from db.settle import Work
from tests.conformance.test_circuits import KEY, opened, state_of, worker_on
from tests.support.audit import audit
from tests.support.budgets import add_budget
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch, batch_of, send_of, states_of

CANCELLED = Reply(verdict=Verdict.UNKNOWN, error_code=CALL_CANCELLED, error_message="cut off")
DEAR_NANOS, CHEAP_NANOS = 1_000_000, 10


def due(database: Database, clock: FakeClock) -> tuple[Worker, list[Job]]:
    """A circuit whose time is over, and jobs that want to call its model."""
    add_batch(database, 8)
    worker = worker_on(database)
    opened(database, worker)
    jobs = worker.take(4)
    clock.advance(10_000)
    return worker, jobs


def circuit_of(database: Database) -> Circuit:
    with database.read() as tx:
        return circuits.read(tx)[KEY]


@pytest.mark.parametrize(("limit_nanos", "why"), [(CHEAP_NANOS, Why.EXHAUSTED), (DEAR_NANOS, Why.UNBOUNDED)])
def test_a_probe_that_its_budget_withholds_is_none(
    database: Database, clock: FakeClock, limit_nanos: int, why: Why
) -> None:
    """No call has gone out, so the next that may is the probe: at once, and not after the lease of a probe."""
    worker, jobs = due(database, clock)
    add_budget(database, limit_nanos, on_limit=OnLimit.REJECT)
    hold_nanos = None if why is Why.UNBOUNDED else DEAR_NANOS
    written = worker.ask(jobs[0], hold_nanos=hold_nanos)
    assert [withheld.why for withheld in written.withheld.values()] == [why]
    assert state_of(database) is CircuitState.OPEN
    assert len(worker.send(jobs[1], hold_nanos=CHEAP_NANOS)) == 1
    assert state_of(database) is CircuitState.HALF_OPEN
    audit(database)


def test_a_withheld_probe_leaves_its_place_to_the_next_of_the_same_commit(
    database: Database, clock: FakeClock
) -> None:
    """One call goes out all the same, if there is room for any."""
    worker, jobs = due(database, clock)
    add_budget(database, CHEAP_NANOS, on_limit=OnLimit.REJECT)
    sends = [send_of(jobs[0], DEAR_NANOS), *(send_of(job, CHEAP_NANOS) for job in jobs[1:])]
    written = worker.write(Work(sends=sends))
    assert list(written.attempts) == [jobs[1].request_id]
    assert state_of(database) is CircuitState.HALF_OPEN


def test_a_probe_that_a_budget_puts_to_a_cheaper_model_is_none(database: Database, clock: FakeClock) -> None:
    """The other model was asked, so nothing will be heard of this one."""
    worker, jobs = due(database, clock)
    add_budget(database, CHEAP_NANOS, on_limit=OnLimit.DOWNGRADE)
    cheaper = Candidate(
        provider="openai", model="small", body=b"{}", bounded=Bounded.CLOSELY, hold_nanos=CHEAP_NANOS
    )
    send = replace(send_of(jobs[0], DEAR_NANOS), cheaper=(cheaper,))
    (attempt,) = worker.write(Work(sends=[send])).attempts.values()
    assert attempt.model == "small"
    assert state_of(database) is CircuitState.OPEN
    audit(database)


def downgraded(job: Job) -> Send:
    """A call that its budget puts to the model whose circuit this is about, in place of a dear one."""
    cheap = replace(send_of(job, CHEAP_NANOS).asked, model=KEY[1])
    return replace(
        send_of(job, DEAR_NANOS), asked=replace(cheap, model="big", hold_nanos=DEAR_NANOS), cheaper=(cheap,)
    )


def test_a_cheaper_model_that_is_left_alone_is_waited_for(database: Database, clock: FakeClock) -> None:
    """No attempt is burnt on it, and the batch does not wait for its budget: that has room for it."""
    batch = add_batch(database, 8)
    worker = worker_on(database)
    opened(database, worker)
    add_budget(database, CHEAP_NANOS, on_limit=OnLimit.DOWNGRADE)
    first, second = worker.take(2)
    written = worker.write(Work(sends=[downgraded(first)]))
    assert [(one.why, one.until_ms) for one in written.withheld.values()] == [
        (Why.CLOSED, clock.now_ms() + 10_000)
    ]
    clock.advance(10_000)
    (attempt,) = worker.write(Work(sends=[downgraded(first), downgraded(second)])).attempts.values()
    assert attempt.target.key == KEY
    assert circuit_of(database).state is CircuitState.HALF_OPEN, "it is the probe"
    assert batch_of(database, batch).calls == 3 + 1
    audit(database)


def probing(database: Database, clock: FakeClock) -> tuple[Worker, list[Job], Work]:
    """A probe on its way, and jobs that wait for its end."""
    worker, jobs = due(database, clock)
    (probe,) = worker.send(*jobs)
    return worker, jobs[1:], Work(outcomes=[worker.judge.judge(probe, CANCELLED)])


def test_after_a_probe_that_was_cut_off_the_next_goes_out(database: Database, clock: FakeClock) -> None:
    """It tells nothing of the provider, and nothing more will be heard of it: nobody waits for its lease to end."""
    worker, waiting, cut_off = probing(database, clock)
    worker.write(cut_off)
    before = circuit_of(database)
    assert len(worker.ask(*waiting).attempts) == 1
    after = circuit_of(database)
    assert (after.state, after.opened_times) == (CircuitState.HALF_OPEN, before.opened_times)
    audit(database)


def test_a_call_from_before_that_is_cut_off_sends_no_second_probe(
    database: Database, clock: FakeClock
) -> None:
    """It was sent before the circuit opened, and the probe is still out."""
    add_batch(database, 8)
    worker = worker_on(database)
    (early,) = worker.send(*worker.take(1))
    clock.advance(5)
    opened(database, worker)
    jobs = worker.take(4)
    clock.advance(10_000)
    assert len(worker.ask(*jobs).attempts) == 1
    worker.settle((early, CANCELLED))
    assert not worker.ask(*jobs[1:]).attempts


def test_after_the_probe_of_a_lost_worker_the_next_goes_out(database: Database, clock: FakeClock) -> None:
    """Once its claim has been taken back, and not ten minutes later."""
    worker, _, _ = probing(database, clock)
    clock.advance(LEASE_MS)
    assert sweep.sweep(database, worker.judge, owner="one") is not None
    other = worker_on(database)
    assert len(other.ask(*other.take()).attempts) == 1
    audit(database)


def test_the_calls_of_a_lost_worker_say_nothing_of_a_provider(database: Database, clock: FakeClock) -> None:
    """It was ours that died: a circuit that is closed stays so, and what has been counted stays."""
    batch = add_batch(database, 4)
    worker = worker_on(database)
    worker.send(*worker.take())
    clock.advance(LEASE_MS)
    sweep.sweep(database, worker.judge, owner="one")
    assert states_of(database, batch) == [RequestState.PENDING] * 4
    with database.read() as tx:
        assert not circuits.read(tx)


def test_a_line_for_any_model_looks_soon_what_came_of_a_probe(database: Database, clock: FakeClock) -> None:
    """As one that names the model does: the probe may end at any time, its lease in ten minutes."""
    worker, jobs = due(database, clock)
    worker.send(jobs[0])

    async def known() -> Mapping[circuits.Key, int]:
        journal = Journal(database, "other", lease_ms=LEASE_MS)
        async with journal.open():
            await journal.claim({Lane.NORMAL: 1})
            return journal.open_circuits()

    assert asyncio.run(known()) == {KEY: clock.now_ms() + PROBE_LOOK_MS}
