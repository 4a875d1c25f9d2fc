"""Batches come, are answered and go in any order: the books stay right, and no answer is lost or left over."""

from itertools import takewhile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batchmill.providers.base import Reply
from batchmill.requests.model import CacheMode, OnUnknown
from batchmill.requests.work import Attempt
from db import cache_contents, sweep
from db.cache_contents import Choice
from db.engine import Database
from tests.support.audit import Books, audit
from tests.support.budgets import add_budget
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, all_batches
from tests.support.keeping import (
    DAY_MS,
    GROUPINGS,
    KilledError,
    allowed,
    answers_in,
    make_single,
    pointed_to,
    retain,
    usage_of,
)
from tests.support.machines import TIMEOUT_S, Fresh, let_loose, on_postgresql, on_sqlite
from tests.support.replies import ANSWERED, FAULTY, REFUSED, UNKNOWN, make_judge
from tests.support.servers import PostgresCluster

keys = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=5)
REPLIES = [ANSWERED, ANSWERED, ANSWERED, REFUSED, FAULTY, UNKNOWN]


class Keeper(RuleBasedStateMachine):
    """A worker, batches with overlapping questions, a budget, a clean-up of the cache, and retention."""

    fresh: ClassVar[Fresh]

    def __init__(self) -> None:
        super().__init__()
        url, self.dispose = self.fresh()
        self.clock = FakeClock()
        self.database = Database(url, clock=self.clock)
        self.judge = make_judge(most_tries=2)
        self.worker = Worker(self.database, self.judge)
        self.lost: list[Attempt] = []
        self.books: Books | None = None
        add_budget(self.database, 10**9)

    @precondition(lambda self: len(all_batches(self.database)) < 8)
    @rule(
        lines=keys,
        cache=st.sampled_from([CacheMode.AUTO, CacheMode.AUTO, CacheMode.REFRESH]),
        on_unknown=st.sampled_from(list(OnUnknown)),
        job_name=st.sampled_from(["", "nightly"]),
    )
    def add(self, lines: list[str | None], cache: CacheMode, on_unknown: OnUnknown, job_name: str) -> None:
        """A batch comes in, or a single request."""
        batch = add_batch(self.database, lines, cache=cache, on_unknown=on_unknown, job_name=job_name)
        if len(lines) == 1:
            make_single(self.database, batch)

    @rule(most=st.integers(1, 6), replies=st.lists(st.sampled_from(REPLIES), min_size=6, max_size=6))
    def work(self, most: int, replies: list[Reply]) -> None:
        """Some lines are called for, and come back in one way or another."""
        sent = self.worker.send(*self.worker.take(most), hold_nanos=600)
        self.worker.settle(*zip(sent, replies, strict=False))
        self.lost += [one for one, reply in zip(sent, replies, strict=False) if reply is UNKNOWN]

    @precondition(lambda self: self.lost)
    @rule()
    def answer_late(self) -> None:
        """An answer that was given up comes after all."""
        self.worker.settle((self.lost.pop(), ANSWERED))

    @rule(ms=st.sampled_from([1_000, DAY_MS // 3, DAY_MS, 31 * DAY_MS]))
    def wait(self, ms: int) -> None:
        """Time passes; maybe more than anything is kept."""
        self.clock.advance(ms)

    @rule()
    def sweep(self) -> None:
        """Batches that owe nobody files end."""
        sweep.sweep(self.database, self.judge, "sweep")

    @rule()
    def clean_up(self) -> None:
        """The cache is cleaned up."""
        now_ms = self.clock.now_ms()
        cache_contents.drop(self.database, Choice(made_by_ms=now_ms, expired_by_ms=now_ms))

    @rule(steps=st.integers(0, 25))
    def retain(self, steps: int) -> None:
        """What is old goes, or some of it: whoever looks after it is killed on the way."""
        groupings = [GROUPINGS[steps % len(GROUPINGS)]]
        before = usage_of(self.database, groupings)
        try:
            retain(self.database, allowed(steps))
        except KilledError:
            pass
        else:
            assert answers_in(self.database) == pointed_to(self.database) | self._late()
        assert usage_of(self.database, groupings) == before

    @invariant()
    def books_are_right(self) -> None:
        """Every promise holds."""
        self.books = audit(self.database)

    def teardown(self) -> None:
        """In the end all of it goes, and nothing is left."""
        try:
            if self.books is not None:
                self._finish()
        finally:
            self.database.close()
            self.dispose()

    def _late(self) -> set[int]:
        """Answers whose entry went before their line: they go with that."""
        assert self.books is not None
        calls = {attempt.id for attempt in audit(self.database).attempts}
        return {id_ for id_ in answers_in(self.database) if id_ in calls}

    def _answer(self) -> None:
        sent = self.worker.send(*self.worker.take(), hold_nanos=600)
        self.worker.settle(*((attempt, ANSWERED) for attempt in sent))

    def _finish(self) -> None:
        for _ in takewhile(
            lambda _: any(row.ended_ms is None for row in all_batches(self.database)), range(40)
        ):
            self.clock.advance(70_000)
            self._answer()
            sweep.sweep(self.database, self.judge, "sweep")
        self.worker.settle(*((attempt, ANSWERED) for attempt in self.lost))
        self.clock.advance(40 * DAY_MS)
        self.clean_up()
        before = usage_of(self.database)
        retain(self.database)
        assert usage_of(self.database) == before
        books = audit(self.database)
        assert (books.requests, list(books.attempts), list(books.ledger)) == ({}, [], [])
        assert answers_in(self.database) == set()
        assert not any(row.is_direct for row in books.batches.values())


@pytest.mark.timeout(TIMEOUT_S)
def test_any_order_of_events_on_sqlite(sqlite_template: Path) -> None:
    """No order of events loses an answer that somebody points to, keeps one that nobody does, or changes the books."""
    let_loose(Keeper, on_sqlite(sqlite_template), runs=4, steps=25)


@pytest.mark.timeout(TIMEOUT_S)
def test_any_order_of_events_on_postgresql(postgres: PostgresCluster) -> None:
    """The same on PostgreSQL."""
    let_loose(Keeper, on_postgresql(postgres), runs=1, steps=25)
