"""Many workers on one database at the same time, on overlapping questions, with deaths, pauses and a sweep.

`PROOF=10` goes on ten times as long as CI does.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, text

from batchmill.requests.judge import Judge, RetryRules
from batchmill.requests.model import CacheMode, Lane
from db import batches, sweep
from db.cache_contents import Choice, drop
from db.cache_drops import Pace
from db.engine import Database
from db.tables import attempts, claims, requests
from tests.support.audit import audit
from tests.support.hands import Worker, add_batch, all_batches
from tests.support.replies import (
    ANSWERED,
    BLOCKED,
    CUT_SHORT,
    FAULTY,
    REFUSED,
    THROTTLED,
    UNKNOWN,
    make_judge,
)

PROOF = int(os.environ.get("PROOF", "1"))
HAMMER_S = 2.5 * PROOF
LEAST_CALLS = 60
MOST_S = HAMMER_S + 60
REPLIES = [ANSWERED] * 6 + [CUT_SHORT, REFUSED, FAULTY, THROTTLED, UNKNOWN]
LEASE_MS = 400
OVER = ("finalizing", "completed", "cancelled", "expired")


def quick_judge() -> Judge:
    """A judge that has things tried again within milliseconds."""
    judge = make_judge(most_tries=4)
    judge.rules = RetryRules(most_tries=4, base_s=0.005, cap_s=0.02)
    return judge


class Hammer:
    """What the threads share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.begun = 0.0
        self.lock = threading.Lock()
        self.calls: set[tuple[int, int]] = set()

    def goes_on(self) -> bool:
        """For as long as was asked, and on a slow machine until enough was done to show anything."""
        elapsed_s = time.monotonic() - self.begun
        return elapsed_s < HAMMER_S or (len(self.calls) < LEAST_CALLS and elapsed_s < MOST_S)

    def work(self, seed: int) -> None:
        """Claim, look up, send, settle; now and then die and come back as another."""
        database, chance = Database(self.url), random.Random(seed)
        worker = Worker(database, quick_judge(), lease_ms=LEASE_MS)
        while self.goes_on():
            jobs = worker.take(
                chance.choice([1, 5, 20, 60]), lanes=chance.choice([tuple(Lane), tuple(Lane)[1:]])
            )
            if chance.random() < 0.05:
                worker = Worker(database, quick_judge(), lease_ms=LEASE_MS)
                continue
            back = jobs[: chance.choice([0, 0, 1])]
            sent = worker.send(*jobs[len(back) :])
            self.note(sent)
            allowed = {attempt.job.request_id for attempt in sent}
            back += [job for job in jobs[len(back) :] if job.request_id not in allowed]
            if chance.random() < 0.03:
                continue
            worker.hand_back(*back)
            replies = [BLOCKED] if chance.random() < 0.02 else REPLIES
            worker.settle(*((attempt, chance.choice(replies)) for attempt in sent))
        database.close()

    def note(self, sent: Any) -> None:
        """Every (request, attempt) is called once."""
        with self.lock:
            new = {(attempt.job.request_id, attempt.number) for attempt in sent}
            assert not new & self.calls, "called twice"
            self.calls |= new

    def sweep(self) -> None:
        """Sweep without a pause; nothing that the sweep meets may stop it."""
        database = Database(self.url)
        while self.goes_on():
            assert sweep.sweep(database, quick_judge(), "hammer") is not None
        database.close()

    def command(self) -> None:
        """Pause, resume, cancel, add, clear the cache; and look whether any question is being asked twice at a time."""
        database, chance = Database(self.url), random.Random(1)
        doubled = (
            select(requests.c.cache_key)
            .join(attempts, attempts.c.request_id == requests.c.id)
            .where(attempts.c.state == "sent", requests.c.cache_key.is_not(None))
            .group_by(requests.c.cache_key)
            .having(func.count() > 1)
        )
        while self.goes_on():
            running = [row.id for row in all_batches(database) if row.state not in OVER]
            if len(running) < 8:
                self.add(database, chance)
            batch = chance.choice(running) if running else 0
            do: Callable[..., Any] = chance.choice([_pause, batches.resume, batches.resume, batches.cancel])
            with database.write() as tx:
                do(tx, batch)
            if chance.random() < 0.1:
                drop(database, Choice(made_by_ms=database.now_ms()), Pace(lambda _: None))
            with database.read() as tx:
                assert tx.rows(doubled) == [], "asked twice at the same time"
        database.close()

    def add(self, database: Database, chance: random.Random) -> None:
        """A batch of which most lines ask what others ask."""
        keys = [
            chance.choice([None, *(f"key-{chance.randrange(60):02}" for _ in range(4))]) for _ in range(200)
        ]
        lane, cache = chance.choice(list(Lane)), chance.choice([CacheMode.AUTO, CacheMode.REFRESH])
        add_batch(database, keys, lane=lane, cache=cache, tenant=chance.choice("ab"))

    def finish(self) -> None:
        """The workers are gone; another one brings everything to its end."""
        database = Database(self.url)
        worker = Worker(database, quick_judge())
        with database.read() as tx:
            left = [row.id for row in tx.rows(select(claims.c.id))]
        sweep.take_back(database, left, quick_judge())
        deadline = time.monotonic() + 60
        while not all(row.state in OVER for row in all_batches(database)):
            assert time.monotonic() < deadline, "somebody waits for ever"
            with database.write() as tx:
                for row in all_batches(database):
                    batches.resume(tx, row.id)
            sweep.sweep(database, quick_judge(), "hammer")
            self.note(worker.answer(ANSWERED, *worker.take()))
        sweep.sweep(database, quick_judge(), "hammer")
        books = audit(database)
        assert (books.claims, books.flights) == ({}, {})
        assert {(attempt.request_id, attempt.number) for attempt in books.attempts} == self.calls
        database.close()


def _pause(tx: Any, batch: int) -> None:
    batches.pause(tx, batch, "by hand")


@pytest.mark.timeout(120 + 60 * PROOF)
def test_many_workers_on_one_database(database_url: str, dialect: str) -> None:
    """No deadlock stops anyone, every request ends, every call is made once, and the books are right."""
    hammer, database = Hammer(database_url), Database(database_url)
    for seed in range(6):
        hammer.add(database, random.Random(seed))
    hammer.begun = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(hammer.work, seed) for seed in range(4)]
        running += [threads.submit(hammer.sweep), threads.submit(hammer.command)]
        for thread in running:
            thread.result()
    hammered = len(hammer.calls)
    hammer.finish()
    assert hammered > 30
    if dialect == "postgresql":
        with database.read() as tx:
            name = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            print("deadlocks:", tx.rows(text(name))[0][0], "calls:", len(hammer.calls))
    database.close()
