"""Whose turn it is to run a job, on both databases: one owner at a time, each due time once."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from db import schedules
from db.engine import Database
from db.schedules import FIRST_WAIT_MS, KEPT, LEASE_MS, MOST_TRIES, RunRow, RunState, Turn
from tests.support.clocks import FakeClock

JOB, OTHER = "usage-report", "retention"
_names = count()


def take(database: Database, due_ms: int, job: str = JOB, **told: object) -> Turn | None:
    """Somebody new begins a run; None when it is not to be begun."""
    owner = f"owner-{next(_names)}"
    with database.write() as tx:
        return schedules.take(tx, job, due_ms, owner, **told)  # type: ignore[arg-type]


def taken(database: Database, due_ms: int, job: str = JOB, **told: object) -> Turn:
    """The same where it has to be begun."""
    turn = take(database, due_ms, job, **told)
    assert turn is not None
    return turn


def finish(database: Database, turn: Turn) -> bool:
    """It is done; whether that counts."""
    with database.write() as tx:
        return schedules.finish(tx, turn, {"by": turn.owner})


def runs(database: Database, job: str = JOB) -> list[RunRow]:
    """All runs of a job, the last begun first."""
    with database.read() as tx:
        return schedules.listed(tx, job, most=1_000)


def is_wanted(database: Database, due_ms: int) -> bool:
    """Whether somebody should begin it."""
    with database.read() as tx:
        return schedules.is_wanted(tx, JOB, due_ms)


@pytest.fixture
def due_ms(database: Database, clock: FakeClock) -> int:
    """A due time that has just come, of jobs heard of before."""
    with database.write() as tx:
        schedules.hear_of(tx, [JOB, OTHER])
    clock.advance(10_000)
    return clock.now_ms()


def test_what_was_due_before_the_first_sight(database: Database, clock: FakeClock) -> None:
    """It is not made up for, unless by hand; what comes due after it is run."""
    with database.write() as tx:
        schedules.hear_of(tx, [JOB])
        schedules.hear_of(tx, [JOB])  # the first sight counts
    before = clock.now_ms()
    assert not is_wanted(database, before)
    assert take(database, before) is None
    assert finish(database, taken(database, before, by_hand=True))
    clock.advance(1)
    assert is_wanted(database, clock.now_ms())


def test_a_due_time_is_run_once(database: Database, due_ms: int) -> None:
    """While it is run nobody else begins it, once it is done nobody does again; the next due time is another."""
    turn = taken(database, due_ms)
    assert not is_wanted(database, due_ms)
    assert [take(database, due_ms), take(database, due_ms - 1)] == [None, None]
    assert finish(database, turn)
    assert not is_wanted(database, due_ms)
    assert take(database, due_ms) is None
    [row] = runs(database)
    assert (row.state, row.tries, row.detail, row.is_killed) == (RunState.DONE, 1, {"by": turn.owner}, False)
    assert take(database, due_ms + 1) is not None


def test_a_killed_owner_is_followed(database: Database, clock: FakeClock, due_ms: int) -> None:
    """Its lease run out, the run shows as killed and goes to another; what the first still says is not noted."""
    first = taken(database, due_ms)
    clock.advance(LEASE_MS - 1)
    assert take(database, due_ms) is None
    assert not runs(database)[0].is_killed
    clock.advance(1)
    assert runs(database)[0].is_killed
    second = taken(database, due_ms)
    assert second.tries == 2
    with database.write() as tx:
        assert not schedules.renew(tx, first)
        schedules.fail(tx, first, "too late")
        schedules.hand_back(tx, first)
    assert not finish(database, first)
    assert take(database, due_ms) is None, "the late one let go of what is no longer its own"
    assert finish(database, second)
    [row] = runs(database)
    assert (row.state, row.owner, row.error) == (RunState.DONE, second.owner, "")


def test_a_killed_run_of_an_older_due_time(database: Database, clock: FakeClock, due_ms: int) -> None:
    """It is left as it is, failed, once the next is begun; late news from it changes nothing."""
    first = taken(database, due_ms)
    clock.advance(LEASE_MS)
    finish(database, taken(database, due_ms + LEASE_MS))
    assert not finish(database, first)
    assert [(row.state, row.error) for row in runs(database)] == [
        (RunState.DONE, ""),
        (RunState.FAILED, schedules.KILLED),
    ]


def test_renewed_it_is_kept(database: Database, clock: FakeClock, due_ms: int) -> None:
    """An owner that gives signs of life keeps its turn for as long as it takes."""
    turn = taken(database, due_ms)
    for _ in range(3):
        clock.advance(LEASE_MS - 1)
        with database.write() as tx:
            assert schedules.renew(tx, turn)
    assert take(database, due_ms) is None


def test_five_tries(database: Database, clock: FakeClock, due_ms: int) -> None:
    """A run that fails is tried again after a while, twice as long each time, and at last given up."""
    waited = []
    for nth in range(MOST_TRIES):
        turn = taken(database, due_ms)
        with database.write() as tx:
            schedules.fail(tx, turn, f"failure {nth}")
        [row] = runs(database)
        waited.append(row.next_try_ms - clock.now_ms())
        clock.advance(waited[-1] - 1)
        assert not is_wanted(database, due_ms)
        assert take(database, due_ms) is None
        clock.advance(1)
    assert waited == [FIRST_WAIT_MS * 2**nth for nth in range(MOST_TRIES)]
    assert not is_wanted(database, due_ms)
    assert take(database, due_ms) is None
    [row] = runs(database)
    assert (row.state, row.tries, row.error) == (RunState.FAILED, MOST_TRIES, "failure 4")


def test_killed_again_and_again(database: Database, clock: FakeClock, due_ms: int) -> None:
    """A run that kills whoever runs it is given up, too, and holds up no other due time."""
    for _ in range(MOST_TRIES):
        taken(database, due_ms)
        clock.advance(LEASE_MS)
    assert not is_wanted(database, due_ms)
    assert take(database, due_ms) is None
    [row] = runs(database)
    assert (row.state, row.error) == (RunState.FAILED, schedules.KILLED)
    assert take(database, due_ms + 1) is not None


def test_handed_back(database: Database, due_ms: int) -> None:
    """Stopped by whoever runs it, it may be begun at once by another, and that was no try."""
    for _ in range(MOST_TRIES + 1):
        turn = taken(database, due_ms)
        assert turn.tries == 1
        with database.write() as tx:
            schedules.hand_back(tx, turn)
    assert is_wanted(database, due_ms)


def test_long_jobs_wait_for_one_another(database: Database, due_ms: int) -> None:
    """Of jobs that must not be run beside each other one is begun; others do not wait for them."""
    both = [JOB, OTHER]
    turn = taken(database, due_ms, not_beside=both)
    assert take(database, due_ms, OTHER, not_beside=both) is None
    assert take(database, due_ms, "health", by_hand=True) is not None
    finish(database, turn)
    assert take(database, due_ms, OTHER, not_beside=both) is not None


def test_the_newest_runs_are_kept(database: Database, due_ms: int) -> None:
    """Two hundred of each job, those that failed as well."""
    with database.write() as tx:
        for nth in range(KEPT + 5):
            turn = schedules.take(tx, JOB, due_ms + nth, "owner")
            assert turn is not None
            schedules.fail(tx, turn, "no luck")
    taken(database, due_ms, OTHER)
    kept = runs(database)
    assert (len(kept), kept[-1].due_ms) == (KEPT, due_ms + 5)
    assert len(runs(database, OTHER)) == 1


def test_what_is_known_of_runs(database: Database, clock: FakeClock, due_ms: int) -> None:
    """Who looks sees the last run of each job, when each was last done, and what is being run."""
    finish(database, taken(database, due_ms))
    clock.advance(1_000)
    taken(database, due_ms + 1_000)
    with database.read() as tx:
        assert schedules.last_runs(tx)[JOB].due_ms == due_ms + 1_000
        assert schedules.last_done_ms(tx) == {JOB: due_ms}
        assert schedules.busy(tx) == {JOB}
        assert schedules.known(tx) == {JOB: due_ms - 10_000, OTHER: due_ms - 10_000}


@pytest.mark.parametrize(
    "by_name", [True, False], ids=["the same job", "jobs not to be run beside each other"]
)
def test_many_at_once(database: Database, due_ms: int, by_name: bool) -> None:
    """However many look at the same moment, each due time is begun once, and of long jobs one at a time."""
    jobs = [JOB] if by_name else ["a-long-job", JOB, OTHER]
    with database.write() as tx:
        schedules.hear_of(tx, jobs)
    for nth in range(5):

        def begin(lot: int, nth: int = nth) -> Turn | None:
            job = jobs[lot % len(jobs)]
            return database.persist(
                lambda tx: schedules.take(
                    tx, job, due_ms + nth, f"{nth}-{lot}", by_hand=True, not_beside=jobs
                )
            )

        with ThreadPoolExecutor(6) as threads:
            begun = [turn for turn in threads.map(begin, range(6)) if turn is not None]
        assert len(begun) == 1
        assert finish(database, begun[0])
    assert sum(len(runs(database, job)) for job in jobs) == 5
