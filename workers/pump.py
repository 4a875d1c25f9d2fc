"""The pump: keeps the window of calls full, with the fairest requests, until there are none or it is told to stop."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from batchmill.pipeline import Pipeline
from batchmill.requests.model import Lane, RequestState
from batchmill.requests.work import Job

log = structlog.get_logger()

POLL_S = 0.2
PUT_BACK_S, LONGEST_PUT_BACK_S = 1.0, 8.0
"""Where nothing that is held can be started for so long, it goes back, so that something else may be claimed; twice as
long each time that nothing else was."""
LINGER_S = 1.0
MOST_HELD = 2_000


class Claims(Protocol):
    """Where requests come from."""

    async def claim(
        self, room: Mapping[Lane, int], only_batch: int | None = None, passed_over: Sequence[int] = ()
    ) -> tuple[int, list[Job]]:
        """Claim requests, of some batches none; how many were claimed, and those of them that are left to be called
        for."""
        ...

    async def hand_back(self, job: Job, delay_ms: int = 0) -> None:
        """Give a job back unsent."""
        ...

    async def renew(self) -> set[int]:
        """Prolong every claim still held; the ids of those."""
        ...

    async def cancelling(self) -> set[int]:
        """The batches that are being cancelled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pumped:
    """What a pump has done.

    Attributes:
        claimed: Requests taken, a second time those that came back.
        found: Of these, answered by the cache, or left to whoever asks the same.
        done: Answered by calls.
        failed: Ended without an answer.
    """

    claimed: int = 0
    found: int = 0
    done: int = 0
    failed: int = 0

    @property
    def returned(self) -> int:
        """To be claimed again: they are tried once more, had to wait, or the worker was told to stop."""
        return self.claimed - self.found - self.done - self.failed

    def in_words(self) -> str:
        """The same for whoever watches: `claimed 500, done 480, found 18, failed 2`."""
        others = {"found": self.found, "failed": self.failed, "returned": self.returned}
        few = [f"{name} {number}" for name, number in others.items() if number]
        return ", ".join([f"claimed {self.claimed}", f"done {self.done}", *few])


@dataclass(slots=True, kw_only=True)
class Pump:
    """Feeds the pipeline in one process.

    Attributes:
        concurrency: Most calls in flight.
        lanes: The lanes it serves. With `high` and others among them one slot is kept for `high`.
        only_batch: Serve this batch alone.
        stopping: Tells whether to wind up: nothing more is claimed, what has not been sent goes back.
        renew_every_s: How often leases are prolonged; a third of a lease.
        grace_s: How long calls in flight may go on once stopping.
    """

    claims: Claims
    pipeline: Pipeline
    concurrency: int
    lanes: tuple[Lane, ...] = tuple(Lane)
    only_batch: int | None = None
    stopping: Callable[[], bool] = lambda: False
    renew_every_s: float = 5.0
    grace_s: float = 30.0

    _ready: dict[Lane, deque[Job]] = field(init=False)
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _free: int = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _claimed: int = field(default=0, init=False)
    _found: int = field(default=0, init=False)
    _failure: BaseException | None = field(default=None, init=False)
    _stuck_since: float | None = field(default=None, init=False)
    _put_back_s: float = field(default=PUT_BACK_S, init=False)

    def __post_init__(self) -> None:
        self._free = self.concurrency
        self._ready = {lane: deque() for lane in Lane}

    async def run(self) -> Pumped:
        """Pump until nothing has been claimable for a second and nothing is in flight; what was done.

        Raises:
            DatabaseError: The journal could not be written; leases run out and others go on.
        """
        renewing = asyncio.create_task(self._renew_on())
        try:
            try:
                await self._feed()
            except Exception as error:
                # Calls are in flight: what they bring is still to be written, if that can be done at all.
                self._failure = self._failure or error
            await self._drain()
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
        if self._failure is not None:
            raise self._failure
        settled = self.pipeline.settled
        return Pumped(
            claimed=self._claimed,
            found=self._found,
            done=settled[RequestState.DONE],
            failed=settled[RequestState.FAILED],
        )

    async def _feed(self) -> None:
        idle_since: float | None = None
        now = asyncio.get_running_loop().time
        while not self.stopping() and self._failure is None:
            self._start_ready()
            stuck = self._stuck()
            passed_over = [batch for batch, count in stuck.items() if count >= self.concurrency]
            room = self._room(min(stuck.total(), MOST_HELD))
            taken, jobs = await self.claims.claim(room, self.only_batch, passed_over)
            self._claimed += taken
            self._found += taken - len(jobs)
            for job in jobs:
                self._ready[job.batch.lane].append(job)
            self._start_ready()
            await self._put_back_stuck()
            if taken == 0 and not self._running and not self._held():
                idle_since = idle_since or now()
                if now() - idle_since > LINGER_S:
                    return
            else:
                idle_since = None
            if taken == 0 or self._held() - stuck.total() >= self.concurrency:
                await self._wait()

    def _stuck(self) -> Counter[int]:
        """How many are held that have to wait for their model, by batch: of a batch with many of them no more are
        claimed, and others' are all the same."""
        waiting = (job for ready in self._ready.values() for job in ready if self.pipeline.must_wait(job))
        return Counter(job.batch.id for job in waiting)

    def _room(self, stuck: int = 0) -> dict[Lane, int]:
        """How much more to hold ready, by lane: a window's worth besides what is stuck, and always some for `high`."""
        room = min(MOST_HELD, 2 * self.concurrency + stuck) - self._held()
        some = min(MOST_HELD, self.concurrency) - len(self._ready[Lane.HIGH])
        return {lane: max(room, some) if lane is Lane.HIGH else room for lane in self.lanes}

    def _held(self) -> int:
        return sum(map(len, self._ready.values()))

    def _start_ready(self) -> None:
        for lane in Lane:
            while self._free > self._kept_for_high(lane) and (job := self._next(lane)) is not None:
                self._start(job)

    async def _put_back_stuck(self) -> None:
        """Give back what cannot be started for a while, as whom it asks for is left alone or has too many waiting."""
        now = asyncio.get_running_loop().time()
        if not self._held() or self._free <= 1:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > self._put_back_s:
            held = [job for ready in self._ready.values() for job in ready if self.pipeline.must_wait(job)]
            for lane, ready in self._ready.items():
                self._ready[lane] = deque(job for job in ready if not self.pipeline.must_wait(job))
            delay_ms = int(PUT_BACK_S * 1000)
            self._stuck_since, self._put_back_s = None, min(LONGEST_PUT_BACK_S, 2 * self._put_back_s)
            await asyncio.gather(*(self.claims.hand_back(job, delay_ms) for job in held))

    def _next(self, lane: Lane) -> Job | None:
        """The first job of a lane that need not wait for its model, taken out."""
        ready = self._ready[lane]
        for place, job in enumerate(ready):
            if not self.pipeline.must_wait(job):
                del ready[place]
                return job
        return None

    def _kept_for_high(self, lane: Lane) -> int:
        mixed = self.only_batch is None and Lane.HIGH in self.lanes and len(self.lanes) > 1
        return int(mixed and lane is not Lane.HIGH and self.concurrency > 1)

    def _start(self, job: Job) -> None:
        self._free -= 1
        self._stuck_since, self._put_back_s = None, PUT_BACK_S
        task = asyncio.create_task(self.pipeline.run(job, self._free_slot))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _free_slot(self) -> None:
        self._free += 1
        if not self.stopping():
            self._start_ready()
        if self._held() < self.concurrency:
            self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
        if not self._running or self._failure:
            self._changed.set()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._changed.wait()
        self._changed.clear()

    async def _drain(self) -> None:
        self.pipeline.wind_up()
        if self._failure is None:
            held = [job for ready in self._ready.values() for job in ready]
            await asyncio.gather(*(self.claims.hand_back(job) for job in held))
        running = set(self._running)
        if running:
            _, late = await asyncio.wait(running, timeout=self.grace_s)
            self.pipeline.cut_off()
            if late:
                await asyncio.wait(late, timeout=self.grace_s)

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(self.renew_every_s)
            try:
                kept = await self.claims.renew()
                self._forget_lost(kept)
                self.pipeline.cut_off(await self.claims.cancelling())
            except Exception as error:
                log.warning("renewal_failed", error=str(error))

    def _forget_lost(self, kept: set[int]) -> None:
        """What has not been sent under a lost lease is another worker's by now."""
        for lane, ready in self._ready.items():
            self._ready[lane] = deque(job for job in ready if job.claim_id in kept)
