"""Every order of events that Hypothesis can think of, checked against the books after each of them.

`PROOF=10` runs ten times as many examples as CI does.
"""

import itertools
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchmill.providers.base import Reply
from batchmill.requests.model import ENDED, BatchState, CacheMode, Lane, OnUnknown
from batchmill.requests.work import Attempt, Job
from db import batches, sweep
from db.engine import Database
from tests.support.audit import Books, audit
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch, all_batches
from tests.support.machines import TIMEOUT_S, Fresh, let_loose, on_postgresql, on_sqlite
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
from tests.support.servers import PostgresCluster

REPLIES = [ANSWERED, ANSWERED, CUT_SHORT, REFUSED, FAULTY, THROTTLED, BLOCKED, UNKNOWN]
keys = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6)
picks = st.integers(min_value=0, max_value=1_000)


class Mill(RuleBasedStateMachine):
    """Two workers, a few batches with overlapping questions, a sweep and a clock."""

    fresh: ClassVar[Fresh]

    def __init__(self) -> None:
        super().__init__()
        url, self.dispose = self.fresh()
        self.clock = FakeClock()
        self.database = Database(url, clock=self.clock)
        self.judge = make_judge(most_tries=3)
        self.workers = [Worker(self.database, self.judge) for _ in range(2)]
        self.claimed: list[tuple[Worker, list[Job]]] = []
        self.ready: list[tuple[Worker, Job]] = []
        self.out: list[tuple[Worker, Attempt]] = []
        self.settled: list[tuple[Worker, Attempt, Reply]] = []
        self.calls: set[tuple[int, int]] = set()
        self.final: dict[int, tuple[str, Any]] = {}
        self.books: Books | None = None

    @initialize(first=keys, second=keys)
    def begin(self, first: list[str | None], second: list[str | None]) -> None:
        """Two batches to begin with."""
        add_batch(self.database, first)
        add_batch(self.database, second, tenant="other", lane=Lane.LOW)

    @precondition(lambda self: len(all_batches(self.database)) < 5)
    @rule(
        lines=keys,
        lane=st.sampled_from(list(Lane)),
        cache=st.sampled_from([CacheMode.AUTO, CacheMode.REFRESH]),
        on_unknown=st.sampled_from(list(OnUnknown)),
        due_in_ms=st.sampled_from([None, None, 40_000]),
    )
    def add(
        self,
        lines: list[str | None],
        lane: Lane,
        cache: CacheMode,
        on_unknown: OnUnknown,
        due_in_ms: int | None,
    ) -> None:
        """Another batch comes in."""
        deadline_ms = None if due_in_ms is None else self.clock.now_ms() + due_in_ms
        add_batch(
            self.database, lines, lane=lane, cache=cache, on_unknown=on_unknown, deadline_ms=deadline_ms
        )

    @rule(who=st.sampled_from([0, 1]), most=st.integers(1, 6))
    def claim(self, who: int, most: int) -> None:
        """Someone claims, and nobody gets more than asked for, nor what another holds."""
        worker = self.workers[who]
        jobs = worker.claim(most)
        assert len(jobs) <= most
        if jobs:
            self.claimed.append((worker, jobs))

    @precondition(lambda self: self.claimed)
    @rule(pick=picks)
    def look_up(self, pick: int) -> None:
        """What was claimed is looked up, in time or late."""
        worker, jobs = self.claimed.pop(pick % len(self.claimed))
        self.ready += [(worker, job) for job in worker.look_up(jobs)]

    @precondition(lambda self: self.ready)
    @rule(pick=picks)
    def send(self, pick: int) -> None:
        """A call is dispatched; where it must not be, the job goes back."""
        worker, job = self.ready.pop(pick % len(self.ready))
        assert self.books is not None
        may_call = (
            self.books.batches[job.batch.id].state == BatchState.IN_PROGRESS
            and job.claim_id in self.books.claims
            and self.books.claims[job.claim_id].lease_until_ms > self.clock.now_ms()
        )
        sent = worker.send(job)
        assert bool(sent) == may_call, "a call after the lease, or of a batch that stands still"
        for attempt in sent:
            assert (job.request_id, attempt.number) not in self.calls, "called twice"
            self.calls.add((job.request_id, attempt.number))
            self.out.append((worker, attempt))
        if not sent:
            worker.hand_back(job)

    @precondition(lambda self: self.out)
    @rule(pick=picks, reply=st.sampled_from(REPLIES))
    def settle(self, pick: int, reply: Reply) -> None:
        """A call comes back, in time or late."""
        worker, attempt = self.out.pop(pick % len(self.out))
        worker.settle((attempt, reply))
        self.settled.append((worker, attempt, reply))

    @precondition(lambda self: self.settled)
    @rule(pick=picks)
    def settle_again(self, pick: int) -> None:
        """An outcome is written a second time, which changes nothing."""
        worker, attempt, reply = self.settled.pop(pick % len(self.settled))
        before = self.books
        with self.database.write() as tx:
            outcome = self.judge.judge(attempt, reply)
            sweep.settling.write(
                tx, sweep.settling.Work(outcomes=[outcome], open={outcome.attempt.job.claim_id: 9}), worker.id
            )
        after = audit(self.database)
        assert before is not None
        assert (after.requests, after.batches, len(after.ledger)) == (
            before.requests,
            before.batches,
            len(before.ledger),
        )

    @precondition(lambda self: self.ready)
    @rule(pick=picks, delay_ms=st.sampled_from([0, 5_000]))
    def hand_back(self, pick: int, delay_ms: int) -> None:
        """A worker that is told to stop gives back what it has not sent."""
        worker, job = self.ready.pop(pick % len(self.ready))
        worker.hand_back(job, delay_ms=delay_ms)

    @rule(who=st.sampled_from([0, 1]))
    def renew(self, who: int) -> None:
        """Leases are prolonged."""
        self.workers[who].renew()

    @rule(ms=st.sampled_from([1, 1_000, LEASE_MS // 2, LEASE_MS + 1, 70_000]))
    def wait(self, ms: int) -> None:
        """Time passes; maybe more than a lease lasts."""
        self.clock.advance(ms)

    @rule()
    def sweep(self) -> None:
        """The sweep comes by."""
        assert sweep.sweep(self.database, self.judge, "sweep") is not None

    @rule(pick=picks, how=st.sampled_from(["pause", "pause", "resume", "resume", "cancel"]))
    def command(self, pick: int, how: str) -> None:
        """The owner of a batch changes their mind."""
        rows = all_batches(self.database)
        batch = rows[pick % len(rows)].id
        with self.database.write() as tx:
            if how == "pause":
                batches.pause(tx, batch, "by hand")
            elif how == "resume":
                batches.resume(tx, batch)
            else:
                batches.cancel(tx, batch)

    @invariant()
    def books_are_right(self) -> None:
        """Everything in `tests.support.audit`, and no request that has ended ever changes."""
        self.books = audit(self.database)
        for id_, ended in self.final.items():
            row = self.books.requests[id_]
            assert (row.state, row.answer_id) == ended, "a terminal state changed"
        self.final |= {
            row.id: (row.state, row.answer_id) for row in self.books.requests.values() if row.state in ENDED
        }
        recorded = {(attempt.request_id, attempt.number) for attempt in self.books.attempts}
        assert self.calls == recorded, "attempts and calls differ"

    def teardown(self) -> None:
        """Whatever happened: once the workers are gone, another one brings every batch to its end."""
        try:
            if self.books is not None:
                self._finish()
        finally:
            self.database.close()
            self.dispose()

    def _finish(self) -> None:
        worker = Worker(self.database, self.judge)
        for _ in itertools.takewhile(lambda _: not self._is_over(), range(60)):
            self.clock.advance(70_000)
            with self.database.write() as tx:
                for batch in all_batches(self.database):
                    batches.resume(tx, batch.id)
            sweep.sweep(self.database, self.judge, "sweep")
            for attempt in worker.answer(ANSWERED, *worker.take()):
                assert (attempt.job.request_id, attempt.number) not in self.calls, "called twice"
                self.calls.add((attempt.job.request_id, attempt.number))
            self.books_are_right()
        assert self._is_over(), [tuple(row) for row in audit(self.database).requests.values()]
        sweep.sweep(self.database, self.judge, "sweep")
        books = audit(self.database)
        assert {row.state for row in books.batches.values()} <= {"completed", "cancelled", "expired"}
        assert (books.claims, books.flights) == ({}, {})

    def _is_over(self) -> bool:
        over = ("finalizing", "completed", "cancelled", "expired")
        return all(row.state in over for row in all_batches(self.database))


@pytest.mark.timeout(TIMEOUT_S)
def test_any_order_of_events_on_sqlite(sqlite_template: Path) -> None:
    """No order of events breaks an invariant, loses a request or asks a question twice at a time."""
    let_loose(Mill, on_sqlite(sqlite_template), runs=5, steps=35)


@pytest.mark.timeout(TIMEOUT_S)
def test_any_order_of_events_on_postgresql(postgres: PostgresCluster) -> None:
    """The same on PostgreSQL."""
    let_loose(Mill, on_postgresql(postgres), runs=2, steps=35)
