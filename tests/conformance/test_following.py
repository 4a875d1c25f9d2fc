"""Following: every line once, as it ends, whatever the order in which that comes to light."""

import random
import threading

import orjson
import pytest

from batchmill.settings import Settings
from db import batches, sweep
from db.engine import Database
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.replies import ANSWERED, REFUSED
from tests.support.servers import on_postgresql
from workers import following, steering
from workers.following import Follower


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "IDS_A_PAGE", 3)
    monkeypatch.setattr(following, "LINES_A_PAGE", 2)


def follower_of(database: Database, settings: Settings, batch: int) -> Follower:
    """Somebody who follows a batch."""
    return Follower(database, settings, batch_of(database, batch))


def places(follower: Follower) -> list[int]:
    """The places of the lines that are new."""
    names = [orjson.loads(line)["custom_id"] for line, _ in follower.new_lines()]
    return [int(name.removeprefix("line-")) for name in names]


def test_lines_come_as_they_end(database: Database, settings: Settings) -> None:
    """An early line that ends late comes late, and none comes twice."""
    batch = add_batch(database, 12)
    follower = follower_of(database, settings, batch)
    assert places(follower) == []
    worker = Worker(database)
    jobs = worker.take(8)
    worker.answer(ANSWERED, *jobs[4:7])
    assert places(follower) == [5, 6, 7]
    worker.answer(REFUSED, jobs[0])
    assert places(follower) == [1]
    assert places(follower) == []
    worker.answer(ANSWERED, *worker.take(4))
    worker.answer(ANSWERED, *jobs[1:4], jobs[7])
    assert sorted(places(follower)) == [2, 3, 4, 8, 9, 10, 11, 12]
    assert places(follower) == []


def test_lines_that_nobody_claimed_come_when_cancelled(database: Database, settings: Settings) -> None:
    """Also those beyond what was claimed."""
    batch = add_batch(database, 9)
    follower = follower_of(database, settings, batch)
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take(2))
    assert places(follower) == [1, 2]
    steering.cancel(database, settings, batch_of(database, batch))
    assert places(follower) == [3, 4, 5, 6, 7, 8, 9]
    assert places(follower) == []


def test_answered_by_another_s_call(database: Database, settings: Settings) -> None:
    """A line that waited for another one's answer comes once it has it."""
    batch = add_batch(database, ["a", "a", "b"])
    follower = follower_of(database, settings, batch)
    worker = Worker(database)
    first, other = worker.take()
    worker.answer(ANSWERED, other)
    assert places(follower) == [3]
    worker.answer(ANSWERED, first)
    assert places(follower) == [1, 2]


def test_followed_while_workers_answer(database: Database, settings: Settings) -> None:
    """Two workers, random order, retries: each line once in the end."""
    total = 60
    batch = add_batch(database, total)
    follower = follower_of(database, settings, batch)

    def answer(seed: int) -> None:
        draw = random.Random(seed)
        worker = Worker(database)
        while jobs := worker.take(7):
            draw.shuffle(jobs)
            for job in jobs:
                if draw.random() < 0.2:
                    worker.hand_back(job)
                else:
                    worker.answer(ANSWERED, job)

    workers = [threading.Thread(target=answer, args=(seed,)) for seed in range(2)]
    for worker in workers:
        worker.start()
    seen: list[int] = []
    while any(worker.is_alive() for worker in workers):
        seen += places(follower)
    seen += places(follower)
    assert sorted(seen) == list(range(1, total + 1))


@on_postgresql
def test_a_commit_that_comes_late(database: Database, settings: Settings) -> None:
    """What ended first and shows last is not skipped."""
    batch = add_batch(database, 6)
    follower = follower_of(database, settings, batch)
    with database.write() as tx:
        batches.cancel(tx, batch)
    first = batch << 32 | 1
    with database.write() as late:
        sweep.requests.end_idle(late, first, first + 1, sweep.RequestState.CANCELLED)
        sweep.end_idle(database, batch, batches.BatchState.CANCELLED)
        assert places(follower) == [3, 4, 5, 6]
    assert places(follower) == [1, 2]
