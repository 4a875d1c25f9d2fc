"""Budgets under every order of events that Hypothesis can think of, checked against the books after each of them.

`PROOF=10` runs ten times as many examples as CI does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import OnLimit, Period, Scope
from batchmill.providers.base import Reply
from batchmill.requests.model import AttemptState, BatchState, OnUnknown
from batchmill.requests.work import Attempt, HandBack, Job, Rejection, Send, Why, Withheld
from db import sweep
from db.budgets import definitions, unknowns
from db.budgets.holds import periods_of
from db.budgets.unknowns import Selection
from db.engine import Database
from db.settle import Work, write
from db.tables import attempts, batches, budget_periods, budgets
from tests.support.audit import audit
from tests.support.budgets import covers
from tests.support.clocks import FakeClock
from tests.support.hands import LEASE_MS, Worker, add_batch, all_batches, send_of
from tests.support.machines import TIMEOUT_S, Fresh, let_loose, on_postgresql, on_sqlite
from tests.support.replies import ANSWERED, FAULTY, PRICE_NANOS, REFUSED, THROTTLED, UNKNOWN, make_judge
from tests.support.servers import PostgresCluster
from workers.reconciling import Word, by_word

HOUR_MS = 3_600_000
UNPRICED = replace(ANSWERED, usage=None)
REPLIES = [ANSWERED, ANSWERED, ANSWERED, REFUSED, FAULTY, THROTTLED, UNKNOWN, UNKNOWN, UNPRICED]
HOLDS = [PRICE_NANOS // 2, PRICE_NANOS, PRICE_NANOS, 3 * PRICE_NANOS]
"""The most that a call is said to cost: half of what an answer does (an overrun), just that, or three times as much."""
WHAT = [
    (Scope.GLOBAL, ""),
    (Scope.TENANT, "acme"),
    (Scope.USER, "alice"),
    (Scope.USER, "acme/alice"),
    (Scope.PROVIDER, "openai"),
    (Scope.MODEL, "gpt-4o-mini"),
    (Scope.TYPE, "quiz"),
    (Scope.BATCH, ""),
]
limits = st.integers(0, 20).map(lambda calls: calls * PRICE_NANOS + 300)
picks = st.integers(min_value=0, max_value=1_000)


@dataclass(frozen=True, slots=True)
class _Call:
    """The facts of a call, as `covers` wants them."""

    public_id: str
    tenant: str
    user_id: str
    request_type: str
    provider: str
    model: str

    @classmethod
    def of(cls, send: Send, model: str) -> "_Call":
        """Those of a call of that model, about to be made."""
        batch = send.job.batch
        return cls(
            batch.public_id,
            batch.tenant,
            batch.user,
            send.job.request_type,
            send.asked.provider,
            model,
        )


def _send(job: Job, hold: int) -> Send:
    """A call that may cost so much, or half of it at a cheaper model."""
    send = send_of(job, hold)
    return replace(send, cheaper=(replace(send.asked, model="cheaper", hold_nanos=hold // 2),))


class Till(RuleBasedStateMachine):
    """Two workers, a few batches, budgets that overlap, a sweep and a calendar."""

    fresh: ClassVar[Fresh]

    def __init__(self) -> None:
        super().__init__()
        url, self.dispose = self.fresh()
        self.clock = FakeClock()
        self.database = Database(url, clock=self.clock)
        self.judge = make_judge(most_tries=4)
        self.workers = [Worker(self.database, self.judge) for _ in range(2)]
        self.ready: list[tuple[Worker, Job]] = []
        self.out: list[tuple[Worker, Attempt]] = []
        self.ended: list[tuple[Worker, Attempt]] = []
        self.periods: dict[int, Any] = {}

    @initialize(limit=limits)
    def begin(self, limit: int) -> None:
        """A batch, and a budget on all of it."""
        add_batch(self.database, 20, tenant="acme", user="alice", request_type="quiz")
        self._set(Scope.GLOBAL, "", Period.DAY, limit, None)

    @precondition(lambda self: len(all_batches(self.database)) < 4)
    @rule(
        lines=st.integers(5, 20),
        tenant=st.sampled_from(["acme", "other"]),
        user=st.sampled_from(["", "alice"]),
        request_type=st.sampled_from(["", "quiz"]),
        on_unknown=st.sampled_from(list(OnUnknown)),
        on_budget=st.sampled_from([None, None, *OnLimit]),
    )
    def add(self, lines: int, **options: Any) -> None:
        """Another batch comes in."""
        add_batch(self.database, lines, **options)

    @rule(
        what=st.sampled_from(WHAT),
        period=st.sampled_from(list(Period)),
        limit=limits,
        on_limit=st.sampled_from([None, *OnLimit]),
    )
    def set_budget(
        self, what: tuple[Scope, str], period: Period, limit: int, on_limit: OnLimit | None
    ) -> None:
        """A budget is made, or one that is there is changed."""
        scope, name = what
        name = all_batches(self.database)[0].public_id if scope is Scope.BATCH else name
        self._set(scope, name, period, limit, on_limit)

    def _set(self, scope: Scope, name: str, period: Period, limit: int, on_limit: OnLimit | None) -> None:
        with self.database.write() as tx:
            definitions.set_budgets(tx, scope, name, {period: limit}, Changes(on_limit=on_limit))

    @rule(pick=picks, limit=limits)
    def change_limit(self, pick: int, limit: int) -> None:
        """A budget that is there is raised or lowered, also below what is spent and held."""
        there = self._budgets()
        if there:
            one = there[pick % len(there)]
            self._set(Scope(one.scope), one.name, Period(one.period), limit, None)

    @rule(pick=picks, how=st.sampled_from(["remove", "reset"]))
    def end_budget(self, pick: int, how: str) -> None:
        """A budget is removed or begun anew, whatever is held on it."""
        ids = [row.id for row in self._budgets()]
        if ids:
            with self.database.write() as tx:
                getattr(definitions, how)(tx, [ids[pick % len(ids)]])

    @rule(
        who=st.sampled_from([0, 1]),
        most=st.integers(1, 6),
        hold=st.sampled_from(HOLDS),
        settles=st.booleans(),
        dawdles=st.booleans(),
    )
    def ask(self, who: int, most: int, hold: int, settles: bool, dawdles: bool) -> None:
        """Calls are to be made, some in the commit that settles another; what finds no room goes back, or fails.

        Args:
            dawdles: What has been claimed is left for later, if it has just been.
        """
        self._ask(who, most, hold, settles=settles, dawdles=dawdles)

    @rule(who=st.sampled_from([0, 1]), hold=st.sampled_from(HOLDS))
    def ask_for_many(self, who: int, hold: int) -> None:
        """The same for as many as there are, so that budgets fill up."""
        self._ask(who, 6, hold, settles=True, dawdles=False)

    def _ask(self, who: int, most: int, hold: int, *, settles: bool, dawdles: bool) -> None:
        worker = self.workers[who]
        if not any(owner is worker for owner, _ in self.ready):
            self.ready += [(worker, job) for job in worker.take(6)]
            if dawdles:
                return
        jobs = [job for owner, job in self.ready if owner is worker][:most]
        self.ready = [(owner, job) for owner, job in self.ready if job not in jobs]
        work = Work(sends=[_send(job, hold) for job in jobs])
        mine = [one for one in self.out if one[0] is worker]
        if settles and mine:
            self.out.remove(mine[0])
            self.ended.append(mine[0])
            work.outcomes = [self.judge.judge(mine[0][1], ANSWERED)]
        before = self._budgets()
        written = worker.write(work)
        for send in work.sends:
            self._came_of(send, written.attempts.get(send.job.request_id), before)
        self.out += [(worker, attempt) for attempt in written.attempts.values()]
        for job in jobs:
            if job.request_id not in written.attempts:
                self._go_without(worker, job, written.withheld.get(job.request_id))

    def _came_of(self, send: Send, attempt: Attempt | None, in_force: Sequence[Any]) -> None:
        """All of the budgets that cover a call hold it, or none does."""
        with self.database.read() as tx:
            found = tx.rows(
                select(attempts.c.held_on, attempts.c.hold_nanos, attempts.c.model).where(
                    attempts.c.request_id == send.job.request_id,
                    attempts.c.number == send.job.attempts + 1,
                )
            )
            of_period = {row.id: row.budget_id for row in tx.rows(select(budget_periods))}
        if attempt is None:
            assert not [row for row in found if row.held_on and row.hold_nanos is None]
            return
        held = {of_period[period] for period in periods_of(found[0].held_on)}
        (made,) = [one for one in (send.asked, *(send.cheaper or ())) if one.model == found[0].model]
        assert held == {budget.id for budget in in_force if covers(budget, _Call.of(send, made.model))}
        assert not held or found[0].hold_nanos == made.hold_nanos

    def _go_without(self, worker: Worker, job: Job, withheld: Withheld | None) -> None:
        if withheld is None:
            worker.hand_back(job)  # its lease is lost, or its batch stands still
            return
        assert withheld.why in (Why.TIGHT, Why.EXHAUSTED), withheld
        if withheld.why is Why.TIGHT:
            worker.hand_back(job, delay_ms=1_000)
            return
        running = [
            row
            for row in self._periods().values()
            if row.budget_id == withheld.budget_id and self._is_now(row)
        ]
        assert withheld.needs_nanos is not None
        assert [row for row in running if row.spent_nanos + withheld.needs_nanos > row.limit_nanos], "early"
        if withheld.then is OnLimit.REJECT:
            rejection = Rejection(job=job, code="budget_exceeded", message=withheld.reason)
            worker.write(Work(rejections=[rejection]))
        else:
            worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))

    @precondition(lambda self: self.out)
    @rule(pick=picks, replies=st.lists(st.sampled_from(REPLIES), min_size=1, max_size=3))
    def settle(self, pick: int, replies: list[Reply]) -> None:
        """Calls come back, in time or late."""
        worker = self.out[pick % len(self.out)][0]
        mine = [one for one in self.out if one[0] is worker][: len(replies)]
        self.out = [one for one in self.out if one not in mine]
        worker.settle(*((attempt, reply) for (_, attempt), reply in zip(mine, replies, strict=False)))
        self.ended += mine

    @precondition(lambda self: self.ended)
    @rule(pick=picks, reply=st.sampled_from([ANSWERED, FAULTY, UNKNOWN]))
    def settle_late(self, pick: int, reply: Reply) -> None:
        """Evidence of a call that has ended already, as unknown or not, once more and even after that."""
        worker, attempt = self.ended[pick % len(self.ended)]
        work = Work(outcomes=[self.judge.judge(attempt, reply)], open={attempt.job.claim_id: 99})
        with self.database.write() as tx:
            write(tx, work, worker.id)

    @rule(pick=picks, cost=st.sampled_from([0, PRICE_NANOS // 3, PRICE_NANOS, 5 * PRICE_NANOS]))
    def reconcile(self, pick: int, cost: int) -> None:
        """The provider tells what an unknown call cost, which may be more than its hold."""
        with self.database.write() as tx:
            found = tx.rows(select(attempts.c.id).where(attempts.c.state == AttemptState.UNKNOWN))
            if found:
                assert unknowns.settle(tx, {found[pick % len(found)].id: cost}).calls == 1

    @rule(word=st.sampled_from(list(Word)))
    def take_a_word(self, word: Word) -> None:
        """The owner has all unknown calls settled, as they were held or as not billed."""
        by_word(self.database, Selection(), word)

    @rule(who=st.sampled_from([0, 1]))
    def die(self, who: int) -> None:
        """A worker is killed: what it had claimed is forgotten, its calls go on without it."""
        dead = self.workers[who]
        self.workers[who] = Worker(self.database, self.judge)
        self.ready = [(worker, job) for worker, job in self.ready if worker is not dead]
        self.ended += [(worker, attempt) for worker, attempt in self.out if worker is dead]
        self.out = [(worker, attempt) for worker, attempt in self.out if worker is not dead]

    @rule(who=st.sampled_from([0, 1]))
    def renew(self, who: int) -> None:
        """Leases are prolonged."""
        self.workers[who].renew()

    @rule(ms=st.sampled_from([1, 1_000, 1_000, LEASE_MS // 2, LEASE_MS + 1, 20 * HOUR_MS]))
    def wait(self, ms: int) -> None:
        """Time passes; a day may turn, or a week and a month with it, while calls are out."""
        self.clock.advance(ms)

    @rule()
    def sweep(self) -> None:
        """The sweep comes by: what dead workers held is charged, and nobody waits any more who need not."""
        assert sweep.sweep(self.database, self.judge, "sweep") is not None
        with self.database.read() as tx:
            waiting = tx.rows(select(batches).where(batches.c.waits_for_budget_id.is_not(None)))
        in_force = {row.id: row.limit_nanos for row in self._budgets()}
        for batch in waiting:
            assert batch.state == BatchState.PAUSED
            assert batch.waits_for_budget_id in in_force
            rows = [row for row in self._periods().values() if row.budget_id == batch.waits_for_budget_id]
            now = [row for row in rows if self._is_now(row)]
            spent = now[0].spent_nanos if now else 0  # a new day, whose whole limit is too little
            limit = now[0].limit_nanos if now else in_force[batch.waits_for_budget_id]
            assert spent + batch.waits_for_nanos > limit, "there is room for it"

    @invariant()
    def budgets_hold(self) -> None:
        """The books agree, nothing is negative, and no budget's sum grows above its limit, overruns aside."""
        audit(self.database)
        now = self._periods()
        for id_, row in now.items():
            assert min(row.held_nanos, row.spent_nanos, row.unknown_nanos, row.overrun_nanos) >= 0, tuple(row)
            assert row.unknown_nanos <= row.spent_nanos, tuple(row)
            before = self.periods.get(id_)
            was = row.opening_nanos if before is None else before.spent_nanos + before.held_nanos
            overrun = row.overrun_nanos - (0 if before is None else before.overrun_nanos)
            assert overrun >= 0, tuple(row)
            assert row.spent_nanos + row.held_nanos <= max(row.limit_nanos, was) + overrun, tuple(row)
        self.periods = now

    def teardown(self) -> None:
        """Whatever happened: once every call has ended, nothing is held."""
        try:
            if self.periods:
                self.clock.advance(LEASE_MS + 1)
                self.sweep()
                self.budgets_hold()
                assert all(row.held_nanos == 0 for row in self.periods.values())
        finally:
            self.database.close()
            self.dispose()

    def _budgets(self) -> Sequence[Any]:
        with self.database.read() as tx:
            return tx.rows(select(budgets).where(budgets.c.removed_ms.is_(None)).order_by(budgets.c.id))

    def _periods(self) -> dict[int, Any]:
        with self.database.read() as tx:
            return {row.id: row for row in tx.rows(select(budget_periods))}

    def _is_now(self, row: Any) -> bool:
        return bool(row.start_ms <= self.clock.now_ms() and (row.end_ms or 2**62) > self.clock.now_ms())


@pytest.mark.timeout(TIMEOUT_S)
def test_any_order_of_events_on_sqlite(sqlite_template: Path) -> None:
    """No order of events overdraws a budget, loses a hold or makes one up."""
    let_loose(Till, on_sqlite(sqlite_template), runs=6, steps=50)


@pytest.mark.timeout(TIMEOUT_S)
def test_any_order_of_events_on_postgresql(postgres: PostgresCluster) -> None:
    """The same on PostgreSQL."""
    let_loose(Till, on_postgresql(postgres), runs=2, steps=50)
