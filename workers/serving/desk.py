"""The desk: the worker of the web process. It answers one request at a time for each of its callers.

What a request goes through is the pipeline's, as for any worker: looked up, held, written down, called, settled. What
is the desk's own is that somebody waits. What cannot be done just now is claimed again when it is due, or may have been
answered by whoever else came by it; and when the time is up, its caller is told so.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial

import structlog

from batchmill.cache.lines import LineKeys
from batchmill.errors import BatchmillError, BusyError, OutOfTimeError
from batchmill.pipeline import Pipeline
from batchmill.requests.model import ENDED, BatchOptions, BatchState, RequestLine, RequestState
from batchmill.requests.work import Job
from batchmill.settings import Settings
from batchmill.streams.relay import Relay
from db import batches, sweep
from db.direct import Entry, Standing, new_entry_id, standing_of
from db.journal import Journal
from db.workers import DESK
from workers.addresses import addressing_of, upstreams_of
from workers.engine import Engine, make_engine
from workers.meters.recorder import recorder_here
from workers.serving.impatience import ImpatientJournal
from workers.serving.visit import Answered, Visit, out_of_time

log = structlog.get_logger()

MOST_WAITING = 1_000
"""So many requests may wait besides those that are called for; further ones are told to come back."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 1.0
"""How soon it is looked again at a request that others have in hand; twice as long each time."""
LONGEST_FULL_S = 0.25
CLOSING_S = 2.0
"""So long after its time a visit may take to end properly."""
SLACK_MS = 5_000
"""So much later than its caller its batch gives a request up, should we not have come to it ourselves."""


class _GoneError(Exception):
    """Nobody waits for an answer any more."""


class Desk:
    """Answers requests for callers who wait. Used from one event loop.

    Args:
        settings: As of a worker: its concurrency bounds the calls at a time, its lease and grace are the desk's.

    Attributes:
        addressing: Finds whom requests are for.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.addressing = addressing_of(settings, calls_here=True)
        self._upstreams = upstreams_of(settings)
        self._free = settings.workers.concurrency
        self._at_most = settings.workers.concurrency + MOST_WAITING
        self._line: dict[Visit, None] = {}
        self._visits: dict[int, Visit] = {}
        self._followers: dict[str, set[Visit]] = defaultdict(set)
        self._tasks: set[asyncio.Task[Standing]] = set()
        self._stopping_since: float | None = None
        self._engine: Engine
        self._journal: Journal
        self._written: ImpatientJournal
        self._pipeline: Pipeline

    @property
    def worker_id(self) -> str:
        """The name that this desk goes by among workers."""
        return self._engine.worker_id

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Desk"]:
        """Answer while the context lasts. On leaving it, calls that are out may finish as long as the settings grant;
        then they are cut off, and unknown."""
        concurrency = self.settings.workers.concurrency
        self._engine = make_engine(
            self.settings, concurrency=concurrency, kind=DESK, recorder=recorder_here()
        )
        try:
            async with self._engine.journal() as self._journal:
                self._written = ImpatientJournal(
                    journal=self._journal,
                    visits=self._visits,
                    most_tries=self.settings.calls.max_tries,
                )
                self._pipeline = self._engine.pipeline(self._written)
                renewing = asyncio.create_task(self._renew_on(), name="desk")
                try:
                    yield self
                finally:
                    await self._finish()
                    renewing.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await renewing
        finally:
            await self._engine.stop()
            self._engine.leave()

    async def answer(self, line: RequestLine, options: BatchOptions) -> Answered:
        """The answer to a request, or how it has failed. Who is cancelled has left; the call is not cut off.

        Args:
            line: As addressed, without `stream`.
            options: Whose it is, and what is wanted.

        Raises:
            BusyError: Too many wait already, or the service is about to stop.
            OutOfTimeError: There was none in time. A call that is still out is settled when it ends.
            DatabaseError: The database is away.
        """
        return await self.begin(line, options).answered()

    def begin(self, line: RequestLine, options: BatchOptions, relay: Relay | None = None) -> Visit:
        """The same in the background, and for who wants the answer in pieces.

        Args:
            relay: Hears them; it ends with the visit. It hears nothing where there are none.

        Raises:
            BusyError: As above.
        """
        if self._stopping_since is not None:
            raise _stopping()
        if len(self._tasks) >= self._at_most:
            raise BusyError(
                f"{len(self._tasks):,} requests are being answered, and no more can wait",
                "try again in a while",
            )
        visit = self._visit(line, options, relay)
        task = asyncio.create_task(self._attend(visit), name=f"visit {visit.entry.public_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        visit.follow(task)
        return visit

    def wind_up(self) -> None:
        """Take nothing more on: only calls that are written down are still made."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._pipeline.wind_up()
            for visit in list(self._visits.values()):
                visit.moved.set()

    def _visit(self, line: RequestLine, options: BatchOptions, relay: Relay | None) -> Visit:
        key = LineKeys(options, self._upstreams).key(line)
        within_ms = int(self.settings.calls.timeout_s * 1000)
        entry = Entry(
            public_id=new_entry_id(),
            line=line,
            options=options,
            cache_key=None if key is None else key.hex(),
            upstream=self._upstreams.of_all({line.provider} if line.provider else self._upstreams.usable),
            within_ms=within_ms + SLACK_MS,
        )
        until_s = asyncio.get_running_loop().time() + within_ms / 1000 + CLOSING_S
        return Visit(entry=entry, until_ms=self._now_ms() + within_ms, until_s=until_s, relay=relay)

    async def _attend(self, visit: Visit) -> Standing:
        entered = await self._journal.enter(visit.entry)
        visit.request, visit.batch = entered.request_id, entered.batch_id
        self._visits[visit.request] = visit
        try:
            if entered.standing is not None and entered.standing.state in ENDED:
                return entered.standing
            found: Job | Standing = entered.job or await self._next(visit)
            while isinstance(found, Job):
                await self._run(visit, found)
                found = visit.ended or await self._next(visit)
            return found
        except (_GoneError, OutOfTimeError, BusyError) as error:
            await self._give_up(visit)
            if isinstance(error, _GoneError):
                return Standing(state=RequestState.CANCELLED)
            raise
        finally:
            del self._visits[visit.request]
            self._wake_followers(visit)

    async def _run(self, visit: Visit, job: Job) -> None:
        """Make a call for a job that we hold, once there is a slot; unless nobody waits any more."""
        visit.take(job)
        try:
            await self._take_slot(visit, job)
        except BaseException:
            await self._written.hand_back(job)
            raise
        await self._pipeline.run(job, self._free_slot)

    async def _next(self, visit: Visit) -> Job | Standing:
        """Wait until a request that is not in our hands has ended, or can be claimed again."""
        key, pause_s = visit.entry.cache_key, FIRST_LOOK_S
        if key is not None:
            self._followers[key].add(visit)
        try:
            while True:
                await self._rest(visit, self._left_s(visit.due_ms) if visit.due_ms is not None else pause_s)
                if visit.due_ms is not None and (job := await self._claim(visit)) is not None:
                    return job
                standing = await asyncio.to_thread(standing_of, self._engine.database, visit.request)
                if standing.state in ENDED:
                    return standing
                if standing.paused_reason:
                    return await self._stand_still(visit, standing)
                pause_s = min(2 * pause_s, LONGEST_LOOK_S)
                visit.due_ms = None
                if standing.state is RequestState.PENDING:
                    visit.due_ms = max(standing.due_ms or 0, self._now_ms() + int(pause_s * 500))
        finally:
            if key is not None:
                self._followers[key].discard(visit)

    async def _claim(self, visit: Visit) -> Job | None:
        lane = visit.entry.options.lane
        _, jobs = await self._journal.claim({lane: 1}, only_batch=visit.batch)
        return jobs[0] if jobs else None

    async def _stand_still(self, visit: Visit, standing: Standing) -> Standing:
        """Somebody else has paused its batch, for its budget or by hand: nobody waits for that to end."""
        await self._give_up(visit)
        return Standing(
            state=RequestState.CANCELLED,
            cost_nanos=standing.cost_nanos,
            error_code="budget_exceeded" if standing.waits_for_budget else "request_cancelled",
            error_message=standing.paused_reason,
        )

    async def _rest(self, visit: Visit, wait_s: float) -> None:
        """Wait so long, or until something has happened; not beyond the time of its caller.

        Raises:
            OutOfTimeError: The time is up.
            BusyError: The service stops.
            _GoneError: Nobody waits any more.
        """
        self._require_wanted(visit)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(wait_s, self._left_s(visit.until_ms))):
                await visit.moved.wait()
        visit.moved.clear()
        self._require_wanted(visit)

    def _require_wanted(self, visit: Visit) -> None:
        if visit.is_left:
            raise _GoneError
        if self._stopping_since is not None:
            raise _stopping()
        if self._now_ms() >= visit.until_ms:
            raise out_of_time()

    async def _take_slot(self, visit: Visit, job: Job) -> None:
        """Wait until the model that is asked takes calls, and for a slot: who came first is first."""
        pause_s = FIRST_LOOK_S
        while self._pipeline.must_wait(job):
            await self._rest(visit, pause_s)
            pause_s = min(2 * pause_s, LONGEST_FULL_S)
        self._require_wanted(visit)
        if self._free and not self._line:
            self._free -= 1
            return
        self._line[visit] = None
        try:
            while not (self._free and next(iter(self._line)) is visit):
                await self._rest(visit, self._left_s(visit.until_ms))
            self._free -= 1
        finally:
            del self._line[visit]
            self._wake_first()

    def _free_slot(self) -> None:
        self._free += 1
        self._wake_first()

    def _wake_first(self) -> None:
        if self._free and self._line:
            next(iter(self._line)).moved.set()

    def _wake_followers(self, visit: Visit) -> None:
        """Whoever asked the same may have been answered with this one."""
        key = visit.entry.cache_key
        if key is None:
            return
        for other in self._followers.get(key, ()):
            other.moved.set()
        if not self._followers.get(key):
            self._followers.pop(key, None)

    async def _give_up(self, visit: Visit) -> None:
        """End a request that nobody waits for; one that others call for ends when they see it."""
        is_late = self._now_ms() >= visit.until_ms
        state = BatchState.EXPIRED if is_late else BatchState.CANCELLED
        try:
            await asyncio.to_thread(self._end, visit.batch, state)
        except BatchmillError as error:
            log.warning("request_not_ended", batch=visit.entry.public_id, error=error.message)

    def _end(self, batch: int, state: BatchState) -> None:
        database = self._engine.database
        database.persist(partial(batches.cancel, batch=batch, final_state=state))
        sweep.end_idle(database, batch, state)
        sweep.free_stranded(database)

    async def _finish(self) -> None:
        """Let the calls in flight end, for as long as is granted since we began to stop."""
        self.wind_up()
        assert self._stopping_since is not None
        grace_s = self.settings.workers.grace_s
        left_s = max(0.0, self._stopping_since + grace_s - time.monotonic())
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=left_s)
            self._pipeline.cut_off()
            if late:
                await asyncio.wait(late, timeout=max(1.0, grace_s))

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(self._engine.renew_every_s)
            try:
                await self._journal.renew()
                self._pipeline.cut_off(await self._journal.cancelling())
            except Exception as error:
                log.warning("renewal_failed", error=str(error))

    def _left_s(self, moment_ms: int) -> float:
        return max(0.0, (moment_ms - self._now_ms()) / 1000)

    def _now_ms(self) -> int:
        return self._engine.database.now_ms()


def _stopping() -> BusyError:
    return BusyError("the service is about to stop", "try again in a moment")
