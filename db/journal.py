"""The journal: the one writer of a worker process.

Everything a worker wants written queues up here while the transaction before it commits; then all of it goes
into the next one. So a commit carries the settled answers and the next dispatches together, is never waited
for by a timer, and grows with the load. One thread holds the one connection that writes.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from batchmill.requests.model import Lane
from batchmill.requests.work import Attempt, Job, Outcome
from db import batches, claims
from db import settle as settling
from db.engine import Database, Transaction
from db.settle import Work, Written

T = TypeVar("T")

MOST_A_COMMIT = 500


class Journal:
    """Writes for one worker. Used from one event loop; every method waits until its writing is committed.

    Raises (from every method):
        DatabaseError: The database could not be written for a minute; what was asked is not written.
    """

    def __init__(
        self,
        database: Database,
        worker_id: str,
        *,
        lease_ms: int,
        upstream: str = "",
        runs_too: bool = True,
    ) -> None:
        self.database = database
        self.worker_id = worker_id
        self.lease_ms = lease_ms
        self.upstream = upstream
        self.runs_too = runs_too
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._looks: list[tuple[list[Job], asyncio.Future[list[Job]]]] = []
        self._sends: list[tuple[tuple[Job, str, str], asyncio.Future[Attempt | None]]] = []
        self._outcomes: list[tuple[Outcome, asyncio.Future[None]]] = []
        self._hand_backs: list[tuple[tuple[Job, int], asyncio.Future[None]]] = []
        self._open: Counter[int] = Counter()
        self._wake = asyncio.Event()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Journal"]:
        """Write in the background while the context lasts; await what is to be written before leaving it."""
        writer = asyncio.create_task(self._write_on(), name="journal")
        try:
            yield self
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            self._thread.shutdown()

    async def claim(self, room: Mapping[Lane, int], only_batch: int | None = None) -> tuple[int, list[Job]]:
        """Take requests, answer from the cache what can be; how many were taken, and those left to be called."""
        taken = await self._in_thread(
            lambda tx: claims.take(
                tx,
                worker_id=self.worker_id,
                room=room,
                lease_ms=self.lease_ms,
                only_batch=only_batch,
                upstream=self.upstream,
                runs_too=self.runs_too,
            )
        )
        if not taken.jobs:
            return taken.lines, []
        self._open.update(job.claim_id for job in taken.jobs)
        looked_up: asyncio.Future[list[Job]] = asyncio.get_running_loop().create_future()
        self._looks.append((taken.jobs, looked_up))
        self._wake.set()
        return taken.lines, await looked_up

    async def send(self, job: Job, provider: str, model: str) -> Attempt | None:
        """Record a call about to be made; None when it must not be: the lease is lost, or the batch stands still."""
        attempt: Attempt | None = await self._queue(self._sends, (job, provider, model))
        return attempt

    async def settle(self, outcome: Outcome) -> None:
        """Write how an attempt ended."""
        await self._queue(self._outcomes, outcome)

    async def hand_back(self, job: Job, delay_ms: int = 0) -> None:
        """Give a job back unsent, claimable again after a delay."""
        await self._queue(self._hand_backs, (job, delay_ms))

    async def renew(self) -> set[int]:
        """Prolong every claim still held; the ids of those.

        Only those that somebody here works on: a claim that was left behind must run out.
        """
        held = list(self._open)
        return set(await self._in_thread(lambda tx: claims.renew(tx, ids=held, lease_ms=self.lease_ms)))

    async def cancelling(self) -> set[int]:
        """The batches that are being cancelled."""
        return await self._in_thread(lambda tx: {row.id for row in batches.cancelling(tx)})

    def _queue(self, queue: list[Any], item: Any) -> asyncio.Future[Any]:
        written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queue.append((item, written))
        self._wake.set()
        return written

    def _queued(self) -> int:
        return len(self._looks) + len(self._sends) + len(self._outcomes) + len(self._hand_backs)

    async def _write_on(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queued():
                await self._write_once()

    async def _write_once(self) -> None:
        looks, self._looks = self._looks, []
        sends, self._sends = self._sends[:MOST_A_COMMIT], self._sends[MOST_A_COMMIT:]
        outcomes, self._outcomes = self._outcomes[:MOST_A_COMMIT], self._outcomes[MOST_A_COMMIT:]
        backs, self._hand_backs = self._hand_backs, []
        work = Work(
            look_ups=[job for jobs, _ in looks for job in jobs],
            sends=[send for send, _ in sends],
            outcomes=[outcome for outcome, _ in outcomes],
            hand_backs=[back for back, _ in backs],
        )
        work.open = {claim: self._open[claim] for claim in work.claim_ids()}
        waiters: list[asyncio.Future[Any]] = [
            *(f for _, f in looks), *(f for _, f in sends), *(f for _, f in outcomes), *(f for _, f in backs)
        ]  # fmt: skip
        try:
            written = await self._in_thread(lambda tx: settling.write(tx, work, self.worker_id))
        except Exception as error:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        self._note(written)
        self._tell(written, looks, sends, [*(f for _, f in outcomes), *(f for _, f in backs)])

    def _note(self, written: Written) -> None:
        for claim_id, gone in written.left.items():
            self._open[claim_id] -= gone
            if self._open[claim_id] <= 0:
                del self._open[claim_id]

    @staticmethod
    def _tell(
        written: Written,
        looks: Sequence[tuple[list[Job], asyncio.Future[list[Job]]]],
        sends: Sequence[tuple[tuple[Job, str, str], asyncio.Future[Attempt | None]]],
        others: Sequence[asyncio.Future[None]],
    ) -> None:
        leading = {job.request_id: job for job in written.leaders}
        for jobs, looked_up in looks:
            _answer(looked_up, [leading[job.request_id] for job in jobs if job.request_id in leading])
        for (job, _, _), sent in sends:
            _answer(sent, written.attempts.get(job.request_id))
        for other in others:
            _answer(other, None)

    async def _in_thread(self, do: Callable[[Transaction], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.database.persist, do)


def _answer(waiter: asyncio.Future[T], value: T) -> None:
    if not waiter.done():
        waiter.set_result(value)
