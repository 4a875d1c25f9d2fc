"""Many workers on overlapping budgets at the same time, while these are changed, turn, and are swept up after, and
while models fail and are left alone.

`PROOF=10` goes on ten times as long as CI does.
"""

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import OnLimit, Period, Scope
from batchmill.requests.model import BatchState
from batchmill.requests.work import HandBack, Job, Rejection, Send, Why, Withheld
from batchmill.routing.circuits import CircuitRules
from db import sweep
from db.budgets import definitions
from db.engine import Database
from db.settle import Work
from db.tables import budget_periods, claims
from tests.support.audit import audit
from tests.support.hands import Worker, add_batch, all_batches, send_of
from tests.support.replies import ANSWERED, FAULTY, PRICE_NANOS, REFUSED, UNKNOWN, make_judge

PROOF = int(os.environ.get("PROOF", "1"))
HAMMER_S = 2.0 * PROOF
LEAST_CALLS = 60
MOST_S = HAMMER_S + 60
LEASE_MS = 3_000
DAY_MS = 86_400_000
QUICK = CircuitRules(threshold=2, failing_ms=20, failing_most_ms=100)
REPLIES = [ANSWERED] * 6 + [REFUSED, FAULTY, UNKNOWN]
HOLDS = [PRICE_NANOS // 2, PRICE_NANOS, 4 * PRICE_NANOS]
WHAT = [
    (Scope.GLOBAL, "", Period.DAY),
    (Scope.GLOBAL, "", Period.TOTAL),
    (Scope.PROVIDER, "openai", Period.WEEK),
    *((Scope.MODEL, f"model-{n}", Period.DAY) for n in range(3)),
    *((Scope.TENANT, f"tenant-{n}", Period.DAY) for n in range(4)),
    *((Scope.USER, name, Period.MONTH) for name in ("alice", "tenant-1/alice")),
]


class Calendar:
    """A clock that all go by, some of them a little late or early; it can be moved to another day.

    Args:
        apart_ms: By how much it is ahead of the others.
    """

    days = 0

    def __init__(self, apart_ms: int = 0) -> None:
        self._apart_ms = apart_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(time.time() * 1000) + self._apart_ms + Calendar.days * DAY_MS


class Hammer:
    """What the threads share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()
        self.begun = time.monotonic()
        self.calls = self.withheld = self.left_alone = 0

    def goes_on(self) -> bool:
        """For as long as was asked, and on a slow machine until enough was done to show anything."""
        elapsed_s = time.monotonic() - self.begun
        return elapsed_s < HAMMER_S or (not self.has_shown_anything() and elapsed_s < MOST_S)

    def has_shown_anything(self) -> bool:
        """Whether calls were made, some were withheld for want of money, and some as their model was left alone."""
        return self.calls >= LEAST_CALLS and 0 < self.left_alone < self.withheld

    def work(self, seed: int) -> None:
        """Ask for calls of any models in one commit with what has ended; now and then die."""
        database, chance = Database(self.url, clock=Calendar(100 * seed)), random.Random(seed)
        worker = Worker(database, make_judge(most_tries=3), lease_ms=LEASE_MS, rules=QUICK)
        work = Work()
        while self.goes_on():
            work.sends = [self.send(job, chance) for job in worker.take(chance.choice([1, 5, 20]))]
            written = worker.write(work)
            work = Work()
            for job in [send.job for send in work.sends if send.job.request_id not in written.attempts]:
                withheld = written.withheld.get(job.request_id)
                _go_without(work, job, withheld)
            with self.lock:
                self.calls += len(written.attempts)
                self.withheld += len(written.withheld)
                self.left_alone += sum(one.why is Why.CLOSED for one in written.withheld.values())
            if chance.random() < 0.05:
                worker, work = Worker(database, worker.judge, lease_ms=LEASE_MS, rules=QUICK), Work()
                continue
            work.outcomes = [
                worker.judge.judge(attempt, chance.choice(REPLIES)) for attempt in written.attempts.values()
            ]
        worker.write(work)
        database.close()

    @staticmethod
    def send(job: Job, chance: random.Random) -> Send:
        """A call of some model."""
        send = send_of(job, chance.choice(HOLDS))
        return replace(send, asked=replace(send.asked, model=f"model-{chance.randrange(3)}"))

    def sweep(self) -> None:
        """Sweep without a pause; nothing that the sweep meets may stop it."""
        database = Database(self.url, clock=Calendar(-200))
        while self.goes_on():
            assert sweep.sweep(database, make_judge(), "hammer") is not None
        database.close()

    def command(self) -> None:
        """Make, raise, lower, remove and reset budgets; let many of them turn at once; bring more work."""
        database, chance = Database(self.url, clock=Calendar()), random.Random(1)
        while self.goes_on():
            if sum(row.state == BatchState.IN_PROGRESS for row in all_batches(database)) < 6:
                add_some(database, chance)
            scope, name, period = chance.choice(WHAT)
            with database.write() as tx:
                if chance.random() < 0.7:
                    limit = chance.randrange(200) * PRICE_NANOS
                    changes = Changes(on_limit=chance.choice([None, OnLimit.REJECT, OnLimit.PAUSE]))
                    definitions.set_budgets(tx, scope, name, {period: limit}, changes)
                else:
                    ids = [budget.id for budget in definitions.find(tx, scope, name)]
                    chance.choice([definitions.remove, definitions.reset])(tx, ids)
            if chance.random() < 0.02:
                Calendar.days += 1
            time.sleep(0.01)
        database.close()

    def finish(self) -> None:
        """The workers are gone: once all they held is taken back, nothing is held and the books are right."""
        database = Database(self.url, clock=Calendar())
        with database.read() as tx:
            left = [row.id for row in tx.rows(select(claims.c.id))]
        sweep.take_back(database, left, make_judge())
        audit(database)
        with database.read() as tx:
            held = [row.held_nanos for row in tx.rows(select(budget_periods))]
            turned = len(tx.rows(select(budget_periods.c.start_ms).distinct()))
        assert not any(held)
        assert turned > 1
        database.close()


def _go_without(work: Work, job: Job, withheld: Withheld | None) -> None:
    if withheld is None or withheld.why is not Why.EXHAUSTED:
        work.hand_backs.append(HandBack(job=job))
    elif withheld.then is OnLimit.REJECT:
        work.rejections.append(Rejection(job=job, code="budget_exceeded", message=withheld.reason))
    else:
        work.hand_backs.append(HandBack(job=job, withheld=withheld))


def add_some(database: Database, chance: random.Random) -> None:
    """A batch of somebody."""
    tenant, user = f"tenant-{chance.randrange(4)}", chance.choice(["", "alice"])
    add_batch(database, 200, tenant=tenant, user=user)


@pytest.mark.timeout(120 + 60 * PROOF)
def test_many_workers_on_overlapping_budgets(database_url: str, dialect: str) -> None:
    """No deadlock, nobody is stopped by anything, no budget is overdrawn, and in the end nothing is held."""
    database = Database(database_url, clock=Calendar())
    for seed in range(6):
        add_some(database, random.Random(seed))
    with database.write() as tx:
        for scope, name, period in WHAT:
            definitions.set_budgets(tx, scope, name, {period: 100 * PRICE_NANOS}, Changes())
    hammer = Hammer(database_url)
    with ThreadPoolExecutor(6) as threads:
        running = [threads.submit(hammer.work, seed) for seed in range(4)]
        running += [threads.submit(hammer.sweep), threads.submit(hammer.command)]
        for thread in running:
            thread.result()
    hammer.finish()
    assert hammer.has_shown_anything()
    if dialect == "postgresql":
        with database.read() as tx:
            deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert tx.rows(text(deadlocks))[0][0] == 0
    database.close()
