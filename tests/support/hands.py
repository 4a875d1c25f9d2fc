"""A worker taken step by step, and batches to work on: what a process does, without the process."""

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from batchmill.providers.base import Reply
from batchmill.requests.ids import request_id
from batchmill.requests.judge import Judge
from batchmill.requests.model import BatchOptions, Endpoint, Lane, OnUnknown, RequestState
from batchmill.requests.work import Attempt, Bounded, Candidate, HandBack, Job, Send
from batchmill.routing.circuits import CircuitRules
from db import batches, claims, requests, settle
from db.engine import Database
from db.settle import Work, Written
from db.tables import attempts as attempt_rows
from db.tables import batches as batch_rows
from db.tables import ledger as ledger_rows
from db.tables import requests as request_rows
from tests.support.replies import ANSWERED, UNKNOWN, make_judge

LEASE_MS = 15_000
NO_CIRCUITS = CircuitRules(threshold=10**9, blocked_ms=0, long_wait_ms=10**9)
"""Nobody is ever left alone: most tests are about something else."""


def add_batch(
    database: Database, keys: int | Sequence[str | None], *, types: Sequence[str] = (), **options: Any
) -> int:
    """A running batch with a request for each key (a number: so many without any); its row number.

    Args:
        types: The requests' own types, as far as they have any.
    """
    keys = [None] * keys if isinstance(keys, int) else keys
    own_types = dict(enumerate(types, 1))
    deadline_ms, upstream = options.pop("deadline_ms", None), options.pop("upstream", "")
    with database.write() as tx:
        batch = batches.create(tx, BatchOptions(**options), deadline_ms=deadline_ms).id
        requests.add(
            tx,
            [request_row(batch, place, key, own_types.get(place, "")) for place, key in enumerate(keys, 1)],
        )
        batches.start(tx, batch, endpoint=Endpoint.CHAT, total=len(keys), upstream=upstream)
    return int(batch)


def request_row(batch: int, place: int, key: str | None, request_type: str = "") -> dict[str, Any]:
    """A request as it is stored."""
    return {
        "request_id": request_id(batch, place),
        "batch_id": batch,
        "line": place,
        "custom_id": f"line-{place}",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "body": '{"model":"gpt-4o-mini"}',
        "cache_key": key,
        "routing": "",
        "request_type": request_type,
        "is_auto": False,
    }


class Worker:
    """One worker. Every method is one transaction, as in the journal."""

    def __init__(
        self,
        database: Database,
        judge: Judge | None = None,
        lease_ms: int = LEASE_MS,
        rules: CircuitRules = NO_CIRCUITS,
    ) -> None:
        self.rules = rules
        self.database = database
        self.judge = judge or make_judge()
        self.id = str(uuid.uuid4())
        self.lease_ms = lease_ms
        self.open: Counter[int] = Counter()

    def claim(
        self,
        most: int = 1_000,
        *,
        lanes: Sequence[Lane] = tuple(Lane),
        only_batch: int | None = None,
        upstreams: Sequence[str] = ("",),
    ) -> list[Job]:
        """Claim up to so many requests; lines that the cache answers are answered on the way."""
        room = dict.fromkeys(lanes, most)
        jobs = self.database.persist(
            lambda tx: claims.take(
                tx,
                worker_id=self.id,
                room=room,
                lease_ms=self.lease_ms,
                only_batch=only_batch,
                upstreams=upstreams,
            )
        ).jobs
        self.open.update(job.claim_id for job in jobs)
        return jobs

    def look_up(self, jobs: Sequence[Job]) -> list[Job]:
        """Look claimed requests up; those that are to be called."""
        return self.write(Work(look_ups=list(jobs))).leaders

    def take(self, most: int = 1_000, **which: Any) -> list[Job]:
        """Claim and look up; what is to be called."""
        return self.look_up(self.claim(most, **which))

    def send(self, *jobs: Job, hold_nanos: int | None = None) -> list[Attempt]:
        """Record calls, each of which may cost so much; those that may be made, in order."""
        allowed = self.ask(*jobs, hold_nanos=hold_nanos).attempts
        return [allowed[job.request_id] for job in jobs if job.request_id in allowed]

    def ask(self, *jobs: Job, hold_nanos: int | None = None) -> Written:
        """Record calls; what came of it."""
        return self.write(Work(sends=[send_of(job, hold_nanos) for job in jobs]))

    def settle(self, *ended: tuple[Attempt, Reply]) -> None:
        """Judge and settle."""
        self.write(Work(outcomes=[self.judge.judge(attempt, reply) for attempt, reply in ended]))

    def answer(self, reply: Reply, *jobs: Job) -> list[Attempt]:
        """Send jobs and settle all of them with the same reply."""
        sent = self.send(*jobs)
        self.settle(*((attempt, reply) for attempt in sent))
        return sent

    def hand_back(self, *jobs: Job, delay_ms: int = 0) -> None:
        """Give jobs back unsent."""
        self.write(Work(hand_backs=[HandBack(job=job, delay_ms=delay_ms) for job in jobs]))

    def renew(self) -> set[int]:
        """Prolong what is still held."""
        held = list(self.open)
        return set(self.database.persist(lambda tx: claims.renew(tx, ids=held, lease_ms=self.lease_ms)))

    def write(self, work: Work) -> Written:
        """Write work, counting what is left of each claim as the journal does."""
        work.open = {claim: self.open[claim] for claim in work.claim_ids()}
        written = self.database.persist(lambda tx: settle.write(tx, work, self.id, rules=self.rules))
        for claim, gone in written.left.items():
            self.open[claim] -= gone
            if self.open[claim] <= 0:
                del self.open[claim]
        return written


def send_of(job: Job, hold_nanos: int | None = None) -> Send:
    """The call that a job asks for, and the most that it may cost; None = nobody has found that out."""
    asked = Candidate(
        provider="openai",
        model=job.model,
        body=job.body,
        bounded=Bounded.NOT if hold_nanos is None else Bounded.CLOSELY,
        hold_nanos=hold_nanos,
    )
    return Send(job=job, asked=asked)


def answer_late(database: Database, key: str) -> int:
    """A question whose call was given up and whose answer came after all: only the cache points to it."""
    worker = Worker(database)
    batch = add_batch(database, [key], on_unknown=OnUnknown.FAIL)
    (attempt,) = worker.send(*worker.take())
    worker.settle((attempt, UNKNOWN))
    worker.settle((attempt, ANSWERED))
    assert states_of(database, batch) == [RequestState.FAILED]
    return batch


def batch_of(database: Database, batch: int) -> Any:
    """The row of a batch."""
    with database.read() as tx:
        return batches.rows(tx, [batch])[batch]


def request_of(database: Database, request: int) -> Any:
    """The row of a request."""
    with database.read() as tx:
        return tx.rows(select(request_rows).where(request_rows.c.id == request))[0]


def states_of(database: Database, batch: int) -> list[RequestState]:
    """The states of the requests of a batch, in input order."""
    with database.read() as tx:
        found = tx.rows(
            select(request_rows.c.state).where(request_rows.c.batch_id == batch).order_by(request_rows.c.id)
        )
    return [RequestState(row.state) for row in found]


def attempts_of(database: Database, request: int) -> Sequence[Any]:
    """The attempts of a request, in order."""
    with database.read() as tx:
        return tx.rows(
            select(attempt_rows).where(attempt_rows.c.request_id == request).order_by(attempt_rows.c.number)
        )


def ledger_of(database: Database, batch: int) -> list[tuple[str, int | None]]:
    """What the ledger says of a batch: (kind, cost), calls before corrections before hits."""
    with database.read() as tx:
        found = tx.rows(select(ledger_rows).where(ledger_rows.c.batch_id == batch).order_by(ledger_rows.c.id))
    order = ("call", "correction", "hit")
    return sorted(((row.kind, row.cost_nanos) for row in found), key=lambda entry: order.index(entry[0]))


def all_batches(database: Database) -> Sequence[Any]:
    """Every batch."""
    with database.read() as tx:
        return tx.rows(select(batch_rows).order_by(batch_rows.c.id))
