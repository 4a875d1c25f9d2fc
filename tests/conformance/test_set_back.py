"""A clock that is set back: who waits for a moment of its old time is not left waiting."""

import pytest

from batchmill.providers.base import Reply
from batchmill.requests.work import Attempt, Outcome
from db import sweep
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch
from tests.support.replies import make_judge

HOUR_MS = 3_600_000


def sweep_once(database: Database, owner: str = "me") -> sweep.Swept:
    found = sweep.sweep(database, make_judge(), owner)
    assert found is not None
    return found


@pytest.mark.parametrize("back_ms", [30_000, HOUR_MS])
def test_lines_to_be_tried_again_are(database: Database, clock: FakeClock, back_ms: int) -> None:
    """They wait no longer than before it."""
    add_batch(database, 3)
    worker = Worker(database)
    worker.hand_back(*worker.take(3), delay_ms=5_000)
    sweep_once(database)
    clock.advance(-back_ms)
    assert worker.claim(3) == []
    sweep_once(database)
    clock.advance(5_001)
    assert len(worker.claim(3)) == 3


def test_a_dead_worker_holds_nothing_for_so_much_longer(database: Database, clock: FakeClock) -> None:
    """Its lease lasts as long as it would have."""
    add_batch(database, 3)
    sweep_once(database)
    Worker(database).claim(3)
    sweep_once(database)
    clock.advance(-HOUR_MS)
    assert sweep_once(database).lost_claims == 0
    clock.advance(15_001)
    assert sweep_once(database).lost_claims == 1


def test_a_clock_that_is_right_changes_nothing(database: Database, clock: FakeClock) -> None:
    """Nor does one that is a second off."""
    add_batch(database, 3)
    worker = Worker(database)
    worker.hand_back(*worker.take(3), delay_ms=5_000)
    sweep_once(database)
    clock.advance(-1_000)
    sweep_once(database)
    clock.advance(5_500)
    assert worker.claim(3) == []


def test_another_may_sweep(database: Database, clock: FakeClock) -> None:
    """Whoever was at it and died does not own the sweep until its old time comes."""
    assert sweep._own(database, "dead")
    clock.advance(-HOUR_MS)
    assert sweep.sweep(database, make_judge(), "me") is not None


def test_a_sweep_that_died_tells_it(database: Database, clock: FakeClock) -> None:
    """The first of all began before it, and never ended."""
    add_batch(database, 3)
    worker = Worker(database)
    worker.hand_back(*worker.take(3), delay_ms=5_000)
    assert sweep._own(database, "dead")
    clock.advance(-HOUR_MS)
    sweep_once(database)
    clock.advance(5_001)
    assert len(worker.claim(3)) == 3


def test_a_sweep_during_which_it_is_tells_it(database: Database, clock: FakeClock) -> None:
    """What it had put off until then is brought forward by the next."""
    add_batch(database, 3)
    worker = Worker(database)
    worker.send(*worker.take(3))
    sweep_once(database)
    clock.advance(60_000)

    class SetBack:
        """A judge before whose eyes it happens."""

        def judge(self, attempt: Attempt, reply: Reply) -> Outcome:
            outcome = make_judge().judge(attempt, reply)
            clock.advance(-HOUR_MS)
            return outcome

    swept = sweep.sweep(database, SetBack(), "me")
    assert swept is not None
    assert swept.unknown_attempts == 3
    sweep_once(database)
    clock.advance(60_000)
    assert len(worker.claim(3)) == 3
