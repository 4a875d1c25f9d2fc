"""Circuits: a model that does not answer is left alone by all workers together, and asked again when it may be back."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from batchmill.providers.base import Reply, Verdict
from batchmill.requests.ids import request_id
from batchmill.requests.model import CacheMode, Lane, RequestState
from batchmill.requests.work import Attempt, HandBack, Job, Why
from batchmill.routing.circuits import CircuitRules, CircuitState
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.wants import Quality, Wants, dump_wants
from db import cache, circuits, paths, sweep
from db.engine import Database
from db.settle import Work, Written
from db.tables import inputs
from tests.support.audit import audit
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, ledger_of, send_of, states_of
from tests.support.replies import ANSWERED, BLOCKED, FAULTY, REFUSED, UNKNOWN

RULES = CircuitRules(threshold=3, failing_ms=10_000, failing_most_ms=40_000)
KEY = ("openai", "gpt-4o-mini")
OTHER = Target(provider="local", model="llama")


def worker_on(database: Database) -> Worker:
    return Worker(database, rules=RULES)


def failing(worker: Worker, jobs: list[Job], reply: Reply = FAULTY) -> list[Attempt]:
    """Each job is called for, and fails; in commits of their own, as calls end when they end."""
    sent = worker.send(*jobs)
    for attempt in sent:
        worker.settle((attempt, reply))
    return sent


def state_of(database: Database) -> CircuitState:
    with database.read() as tx:
        circuit = circuits.read(tx).get(KEY)
    return CircuitState.CLOSED if circuit is None else circuit.state


def whys(written: Written) -> list[Why]:
    return [withheld.why for withheld in written.withheld.values()]


def test_so_many_failures_in_a_row_open_it_for_all(database: Database, clock: FakeClock) -> None:
    """No worker calls the model any more, and is told until when."""
    add_batch(database, 8)
    one, other = worker_on(database), worker_on(database)
    jobs = one.take(4)
    failing(one, jobs[:2])
    assert state_of(database) is CircuitState.CLOSED
    failing(one, jobs[2:3])
    assert state_of(database) is CircuitState.OPEN
    withheld = other.ask(*other.take(2))
    assert whys(withheld) == [Why.CLOSED] * 2
    assert {one.until_ms for one in withheld.withheld.values()} == {clock.now_ms() + 10_000}
    audit(database)


@pytest.mark.parametrize("reply", [ANSWERED, REFUSED])
def test_an_answer_in_between_begins_the_count_anew(database: Database, reply: Reply) -> None:
    """A refusal is one too: whoever refuses is there."""
    add_batch(database, 5)
    worker = worker_on(database)
    jobs = worker.take(5)
    failing(worker, jobs[:2])
    failing(worker, jobs[2:3], reply)
    failing(worker, jobs[3:])
    assert state_of(database) is CircuitState.CLOSED


def test_a_reason_that_holds_a_nul_is_written(database: Database) -> None:
    """PostgreSQL's text holds none; one odd message of a provider must not stop the whole commit."""
    batch = add_batch(database, RULES.threshold)
    worker = worker_on(database)
    odd = Reply(verdict=Verdict.RETRY, status_code=500, error_code="server_error", error_message="a\0b")
    for job in worker.take():
        worker.answer(odd, job)
    assert state_of(database) is CircuitState.OPEN
    assert states_of(database, batch) == [RequestState.PENDING] * RULES.threshold


def test_retries_of_the_same_request_open_nothing(database: Database, clock: FakeClock) -> None:
    """Some requests fail whenever they are asked: the last lines of a batch are not to keep it waiting."""
    batch = add_batch(database, 1)
    worker = worker_on(database)
    for _ in range(5):
        failing(worker, worker.take(1))
        clock.advance(120_000)
    assert states_of(database, batch) == [RequestState.FAILED]
    assert state_of(database) is CircuitState.CLOSED


def opened(database: Database, worker: Worker) -> None:
    """Have the circuit open."""
    failing(worker, worker.take(RULES.threshold))
    assert state_of(database) is CircuitState.OPEN


def test_one_probe_goes_out_and_its_answer_closes_it(database: Database, clock: FakeClock) -> None:
    """After its time, of all calls that all workers want to make, one is made."""
    add_batch(database, 12)
    one, other = worker_on(database), worker_on(database)
    opened(database, one)
    jobs, others_jobs = one.take(3), other.take(3)
    clock.advance(10_000)
    written, others_written = one.ask(*jobs), other.ask(*others_jobs)
    assert len(written.attempts) + len(others_written.attempts) == 1
    assert state_of(database) is CircuitState.HALF_OPEN
    one.settle(*((attempt, ANSWERED) for attempt in written.attempts.values()))
    assert state_of(database) is CircuitState.CLOSED
    assert len(other.ask(*others_jobs).attempts) == 3
    audit(database)


def test_a_failed_probe_doubles_the_time(database: Database, clock: FakeClock) -> None:
    """And so on up to the most."""
    add_batch(database, 30)
    worker = worker_on(database)
    opened(database, worker)
    for rested_ms, next_ms in ((10_000, 20_000), (20_000, 40_000), (40_000, 40_000)):
        clock.advance(rested_ms)
        (attempt,) = worker.ask(*worker.take(1)).attempts.values()
        worker.settle((attempt, FAULTY))
        with database.read() as tx:
            assert circuits.read(tx)[KEY].open_until_ms == clock.now_ms() + next_ms


def test_a_late_answer_closes_nothing(database: Database, clock: FakeClock) -> None:
    """What was sent before it opened tells nothing of now."""
    add_batch(database, 8)
    worker = worker_on(database)
    jobs = worker.take(4)
    (early,) = worker.send(jobs[3])
    clock.advance(5)
    failing(worker, jobs[:3])
    clock.advance(5)
    worker.settle((early, ANSWERED))
    assert state_of(database) is CircuitState.OPEN
    audit(database)


def test_a_blocked_account_is_asked_where_there_is_nobody_else(database: Database) -> None:
    """A lone call goes out, to tell what is wrong; one that has a fallback does not."""
    add_batch(database, 4)
    worker = worker_on(database)
    jobs = worker.take(4)
    failing(worker, jobs[:1], BLOCKED)
    assert state_of(database) is CircuitState.OPEN
    with database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE batches SET state = 'in_progress'")
    lone, chained = replace(send_of(jobs[1]), is_lone=True), send_of(jobs[2])
    assert len(worker.write(Work(sends=[lone])).attempts) == 1
    assert whys(worker.write(Work(sends=[chained]))) == [Why.CLOSED]


def test_many_models_at_once(database: Database) -> None:
    """Each has its own circuit: one that fails says nothing of another."""
    add_batch(database, 6)
    worker = worker_on(database)
    jobs = worker.take(6)
    for job in jobs[3:]:
        job.model = "other"
    failing(worker, jobs[:3])
    assert len(worker.send(*jobs[3:])) == 3


def test_what_another_model_has_said_before_is_not_paid_for_again(database: Database) -> None:
    """A request on its way to a fallback finds the answer that this very model gave to the same question."""
    direct = add_batch(database, ["of-llama"])
    worker = worker_on(database)
    (job,) = worker.take(1)
    job.provider, job.model = OTHER.provider, OTHER.model
    send = send_of(job)
    asked = replace(send.asked, provider=OTHER.provider, model=OTHER.model)
    (attempt,) = worker.write(Work(sends=[replace(send, asked=asked)])).attempts.values()
    worker.settle((attempt, ANSWERED))
    assert states_of(database, direct) == [RequestState.DONE]
    batch = add_batch(database, ["of-gpt"] * 2)
    (leader,) = worker.take(2)
    leader.note(Step(target=Target(*KEY), what=What.SKIPPED, why="resting", at_ms=1))
    written = worker.write(Work(sends=[replace(send_of(leader), asked=replace(asked, cache_key="of-llama"))]))
    assert whys(written) == [Why.ANSWERED]
    with database.read() as tx:
        assert paths.of_request(tx, leader.request_id) == leader.path, "it tells why another has answered"
    assert sorted(states_of(database, batch)) == [RequestState.DONE, RequestState.PENDING]
    assert ledger_of(database, batch) == [("hit", 0)]
    audit(database)


@pytest.mark.parametrize(("answered", "why"), [("before", None), ("since", Why.ANSWERED)])
def test_a_batch_that_asks_anew_takes_of_another_model_only_what_is_new(
    database: Database, clock: FakeClock, answered: str, why: Why | None
) -> None:
    """What it was answered before the batch began would have been asked anew of the model asked for, too."""
    worker = worker_on(database)

    def answer() -> None:
        add_batch(database, ["of-llama"], lane=Lane.HIGH)
        worker.answer(ANSWERED, *worker.take(lanes=[Lane.HIGH]))
        clock.advance(1)

    if answered == "before":
        answer()
    add_batch(database, ["of-gpt"], cache=CacheMode.REFRESH)
    if answered == "since":
        answer()
    (job,) = worker.take()
    asked = replace(send_of(job).asked, provider=OTHER.provider, model=OTHER.model, cache_key="of-llama")
    written = worker.write(Work(sends=[replace(send_of(job), asked=asked)]))
    assert whys(written) == ([] if why is None else [why])
    audit(database)


def test_followers_of_a_question_for_any_model_are_answered_with_what_was_found(database: Database) -> None:
    """The answer that the chosen model gave before is one to all who leave the choice to us."""
    direct = add_batch(database, ["of-chosen"])
    worker = worker_on(database)
    worker.answer(ANSWERED, *worker.take())
    assert states_of(database, direct) == [RequestState.DONE]
    batch = add_batch(database, ["of-any"] * 3)
    (leader,) = worker.take()
    leader.provider, leader.model = "", "auto"
    send = send_of(leader)
    asked = replace(send.asked, model=KEY[1], cache_key="of-chosen")
    written = worker.write(Work(sends=[replace(send, asked=asked)]))
    assert [withheld.why for withheld in written.withheld.values()] == [Why.ANSWERED]
    assert states_of(database, batch) == [RequestState.DONE] * 3
    audit(database)


def test_a_fallbacks_answer_is_kept_under_its_own_model(database: Database) -> None:
    """Not under the question that named another, whose followers ask for themselves."""
    batch = add_batch(database, ["of-gpt"] * 2)
    worker = worker_on(database)
    (job,) = worker.take(2)
    asked = replace(send_of(job).asked, provider=OTHER.provider, model=OTHER.model, cache_key="of-llama")
    (attempt,) = worker.write(Work(sends=[replace(send_of(job), asked=asked)])).attempts.values()
    worker.settle((attempt, ANSWERED))
    with database.read() as tx:
        assert cache.find(tx, ["of-gpt", "of-llama"]).keys() == {"of-llama"}
    assert sorted(states_of(database, batch)) == [RequestState.DONE, RequestState.PENDING]
    audit(database)


def test_the_next_model_is_asked_after_two_failures(database: Database, clock: FakeClock) -> None:
    """At once, with all its tries before it; who has been given up is on the path, and not asked again."""
    add_batch(database, 1)
    worker = worker_on(database)
    for expected in (1, 2):
        (job,) = worker.take(1)
        (attempt,) = worker.write(Work(sends=[replace(send_of(job), has_next=True)])).attempts.values()
        assert attempt.nth_there == expected
        worker.settle((attempt, UNKNOWN))
        clock.advance(60_000 if expected == 1 else 0)
    (job,) = worker.take(1)
    assert job.tries == 0
    assert job.path.given_up == {Target(provider="openai", model="gpt-4o-mini")}
    assert job.path.calls_to_others == 2
    audit(database)


def test_calls_to_a_model_that_rests_meanwhile_do_not_count_for_its_fallback(
    database: Database, clock: FakeClock
) -> None:
    """It has its own two tries, and its first failure counts for its circuit; whom the line left for a while keeps
    those it had."""
    add_batch(database, 1)
    worker, asked = worker_on(database), Target(*KEY)
    for target, nth in ((asked, 1), (OTHER, 1), (asked, 2)):
        (job,) = worker.take(1)
        if target is OTHER:
            job.note(Step(target=asked, what=What.SKIPPED, why="resting", at_ms=1))
        send = replace(send_of(job), has_next=True)
        send = replace(send, asked=replace(send.asked, provider=target.provider, model=target.model))
        (attempt,) = worker.write(Work(sends=[send])).attempts.values()
        assert attempt.nth_there == nth
        worker.settle((attempt, FAULTY))
        clock.advance(60_000)
    assert attempt.job.path.given_up == {asked}
    with database.read() as tx:
        assert circuits.read(tx)[OTHER.key].failures == 1


def test_a_path_is_written_with_a_hand_back(database: Database) -> None:
    """What a request could not go to is known to whoever claims it next."""
    add_batch(database, 1)
    worker = worker_on(database)
    (job,) = worker.take(1)
    job.note(Step(target=OTHER, what=What.SKIPPED, why="resting", at_ms=1))
    worker.write(Work(hand_backs=[HandBack(job=job)]))
    with database.read() as tx:
        assert paths.of_request(tx, job.request_id) == job.path
    (again,) = worker.take(1)
    assert again.path == job.path, "and is gone on with"


def fail_each(worker: Worker, jobs: list[Job]) -> None:
    """Each job asks for a model of its own, which fails."""
    for nth, job in enumerate(jobs):
        job.model = f"made-up-{nth}"
    worker.settle(*((attempt, FAULTY) for attempt in worker.send(*jobs)))


def test_failures_of_more_models_than_there_are_do_not_pile_up(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names come from producers, and every commit reads the table; who is left alone stays so."""
    monkeypatch.setattr(circuits, "MOST_CLOSED", 20)
    add_batch(database, RULES.threshold + 50)
    worker = worker_on(database)
    opened(database, worker)
    fail_each(worker, worker.take(20))
    sweep.sweep(database, worker.judge, owner="one")
    with database.read() as tx:
        assert len(circuits.read(tx)) == 1 + 20
    fail_each(worker, worker.take(30))
    sweep.sweep(database, worker.judge, owner="one")
    with database.read() as tx:
        assert circuits.read(tx).keys() == {KEY}


def test_a_model_that_nobody_asks_any_more_is_forgotten(database: Database, clock: FakeClock) -> None:
    """A day after its rest was over; whoever asks it then begins anew."""
    add_batch(database, 8)
    worker = worker_on(database)
    opened(database, worker)
    for wait_ms, expected in (
        (10_000 + circuits.FORGOTTEN_AFTER_MS, CircuitState.OPEN),
        (1, CircuitState.CLOSED),
    ):
        clock.advance(wait_ms)
        sweep.sweep(database, worker.judge, owner="one")
        assert state_of(database) is expected


def test_what_a_line_wants_goes_before_what_its_batch_wants(database: Database) -> None:
    """Field by field: where the line says nothing, the batch's wish holds."""
    own = Target(provider="local", model="own")
    of_batch = Wants(quality=Quality.PREMIUM, fallback=(OTHER,))
    batch = add_batch(database, 2, routing=dump_wants(of_batch))
    with database.write() as tx:
        first = inputs.c.request_id == request_id(batch, 1)
        tx.run(
            update(inputs)
            .where(first)
            .values(routing=dump_wants(Wants(deep_reasoning=False, fallback=(own,))))
        )
    line, other = worker_on(database).take()
    assert line.wants == replace(of_batch, deep_reasoning=False, fallback=(own,))
    assert other.wants == of_batch
