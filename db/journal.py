"""The journal: the one writer of a worker process.

Everything a worker wants written queues up here while the transaction before it commits; then all of it goes
into the next one. So a commit carries the settled answers and the next dispatches together, is never waited
for by a timer, and grows with the load. One thread holds the one connection that writes.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from batchmill.failpoints import Failpoint, reached
from batchmill.metering.meter import Meter
from batchmill.requests.model import Lane
from batchmill.requests.work import Attempt, HandBack, Job, Outcome, Rejection, Send, Why, Withheld
from batchmill.routing.circuits import DEFAULT_RULES, Circuit, CircuitRules, closed_until_ms
from batchmill.routing.names import Target
from db import batches, claims
from db import settle as settling
from db.circuits import Key
from db.direct import Entered, Entry
from db.engine import Database, Transaction
from db.settle import Work, Written

T = TypeVar("T")

MOST_A_COMMIT = 500
TIGHT_S = 1.0
"""So long a call waits for room in a budget before it goes back, and its batch is passed over for as long."""
ASK_AGAIN_S = 0.1
"""How often that room is looked for when nothing of our own comes back: others' calls make room too."""

FRESH_MS = 1_000
"""So long it is believed what the last commit saw of circuits."""

STANDS_STILL = Withheld(why=Why.STANDS_STILL)


@dataclass(slots=True)
class _QueuedSend:
    """A call that is to be made.

    Attributes:
        since_s: When it was asked for, by the loop's clock.
    """

    send: Send
    sent: asyncio.Future[Attempt | Withheld]
    since_s: float


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
        upstreams: Sequence[str] = ("",),
        runs_too: bool = True,
        call_timeout_s: float = 600.0,
        rules: CircuitRules = DEFAULT_RULES,
        meter: Meter | None = None,
    ) -> None:
        self.database = database
        self.meter = meter or Meter()
        self.worker_id = worker_id
        self.lease_ms = lease_ms
        self.upstreams = upstreams
        self.runs_too = runs_too
        self.call_timeout_ms = int(call_timeout_s * 1000)
        self.rules = rules
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._entries: list[tuple[Entry, asyncio.Future[Entered]]] = []
        self._looks: list[tuple[list[Job], asyncio.Future[list[Job]]]] = []
        self._sends: list[_QueuedSend] = []
        self._tight: list[_QueuedSend] = []
        self._passed_over: dict[int, float] = {}
        self._circuits: Mapping[Key, Circuit] = {}
        self._circuits_at_ms = 0
        self._outcomes: list[tuple[Outcome, asyncio.Future[None]]] = []
        self._hand_backs: list[tuple[HandBack, asyncio.Future[None]]] = []
        self._rejections: list[tuple[Rejection, asyncio.Future[None]]] = []
        self._open: Counter[int] = Counter()
        self._held_until_s: dict[int, float] = {}
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

    async def claim(
        self, room: Mapping[Lane, int], only_batch: int | None = None, passed_over: Sequence[int] = ()
    ) -> tuple[int, list[Job]]:
        """Take requests, of the batches passed over none, and answer from the cache what can be; how many were taken,
        and those left to be called."""
        passed_over = [*passed_over, *self._out_of_room()]
        asked_s = self._now_s()
        taken = await self._in_thread(
            lambda tx: claims.take(
                tx,
                worker_id=self.worker_id,
                room=room,
                lease_ms=self.lease_ms,
                only_batch=only_batch,
                upstreams=self.upstreams,
                runs_too=self.runs_too,
                passed_over=passed_over,
            )
        )
        if taken.jobs:
            reached(Failpoint.AFTER_CLAIM)
        self.meter.note_claim(taken.lines, taken.answered)
        if not taken.jobs:
            return taken.lines, []
        self._hold({job.claim_id for job in taken.jobs}, asked_s)
        self._open.update(job.claim_id for job in taken.jobs)
        looked_up: asyncio.Future[list[Job]] = asyncio.get_running_loop().create_future()
        self._looks.append((taken.jobs, looked_up))
        self._wake.set()
        return taken.lines, await looked_up

    async def enter(self, entry: Entry) -> Entered:
        """Enter a request whose caller waits for it, claimed, and answer it from the cache if that can be; what came
        of it."""
        entered: asyncio.Future[Entered] = asyncio.get_running_loop().create_future()
        self._entries.append((entry, entered))
        self._wake.set()
        return await entered

    async def send(self, send: Send) -> Attempt | Withheld:
        """Record a call about to be made, with all that it may cost held; or why it must not be made.

        What finds no room in a budget while calls in flight may yet make some waits for that, but not for long.
        """
        sent: asyncio.Future[Attempt | Withheld] = asyncio.get_running_loop().create_future()
        self._sends.append(_QueuedSend(send, sent, self._now_s()))
        self._wake.set()
        return await sent

    def closed_until_ms(self, target: Target, *, is_lone: bool) -> int | None:
        """Until when a model is not asked, as the last commit saw it; None = it may be."""
        circuit = self._circuits.get(target.key)
        if circuit is None:
            return None
        now_ms = self.database.now_ms()
        if now_ms > self._circuits_at_ms + FRESH_MS:
            return None  # who is told to send all the same learns how it is now
        return closed_until_ms(circuit, now_ms, is_lone=is_lone)

    def open_circuits(self) -> dict[Key, int]:
        """Until when each model is left alone that is, as the last commit saw it."""
        now_ms = self.database.now_ms()
        found = {
            key: closed_until_ms(circuit, now_ms, is_lone=False) for key, circuit in self._circuits.items()
        }
        return {key: until_ms for key, until_ms in found.items() if until_ms is not None}

    async def settle(self, outcome: Outcome) -> None:
        """Write how an attempt ended."""
        await self._queue(self._outcomes, outcome)

    async def hand_back(self, job: Job, delay_ms: int = 0, withheld: Withheld | None = None) -> None:
        """Give a job back unsent, claimable again after a delay; its batch waits for the budget that withheld it."""
        await self._queue(self._hand_backs, HandBack(job=job, delay_ms=delay_ms, withheld=withheld))

    async def reject(self, rejection: Rejection) -> None:
        """Fail a job's line without a call."""
        await self._queue(self._rejections, rejection)

    async def renew(self) -> set[int]:
        """Prolong every claim still held; the ids of those.

        Only those that somebody here works on: a claim that was left behind must run out.
        """
        held, asked_s = list(self._open), self._now_s()
        kept = set(await self._in_thread(lambda tx: claims.renew(tx, ids=held, lease_ms=self.lease_ms)))
        self._hold(kept & self._open.keys(), asked_s)
        return kept

    def holds(self, claim_id: int) -> bool:
        """Whether the lease of a claim is in force, by this process's own clock: nobody else has its requests."""
        return self._now_s() < self._held_until_s.get(claim_id, 0.0)

    async def cancelling(self) -> set[int]:
        """The batches that are being cancelled."""
        return await self._in_thread(lambda tx: {row.id for row in batches.cancelling(tx)})

    def _hold(self, claim_ids: Iterable[int], asked_s: float) -> None:
        """Note claims whose leases were asked for at that moment: they last no less than from then on."""
        self._held_until_s.update(dict.fromkeys(claim_ids, asked_s + self.lease_ms / 1000))

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    def _queue(self, queue: list[Any], item: Any) -> asyncio.Future[Any]:
        written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queue.append((item, written))
        self._wake.set()
        return written

    def _queued(self) -> int:
        waiting = len(self._hand_backs) + len(self._rejections) + len(self._entries)
        return len(self._looks) + len(self._sends) + len(self._outcomes) + waiting

    def _out_of_room(self) -> list[int]:
        """The batches that are passed over for a moment: calls of theirs have waited in vain."""
        now_s = self._now_s()
        self._passed_over = {batch: until for batch, until in self._passed_over.items() if until > now_s}
        return list(self._passed_over)

    async def _write_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN_S if self._tight else None):
                    await self._wake.wait()
            is_woken = self._wake.is_set()
            self._wake.clear()
            if not is_woken:
                self._ask_again()
            while self._queued():
                await self._write_once()

    def _ask_again(self) -> None:
        """Let the calls that wait for room try once more, before all others."""
        self._sends, self._tight = self._tight + self._sends, []

    async def _write_once(self) -> None:
        if self._outcomes:
            self._ask_again()  # what has ended may make room for them
        entries, self._entries = self._entries[:MOST_A_COMMIT], self._entries[MOST_A_COMMIT:]
        looks, self._looks = self._looks, []
        sends, self._sends = self._sends[:MOST_A_COMMIT], self._sends[MOST_A_COMMIT:]
        outcomes, self._outcomes = self._outcomes[:MOST_A_COMMIT], self._outcomes[MOST_A_COMMIT:]
        backs, self._hand_backs = self._hand_backs, []
        rejections, self._rejections = self._rejections, []
        work = Work(
            entries=[entry for entry, _ in entries],
            look_ups=[job for jobs, _ in looks for job in jobs],
            sends=[queued.send for queued in sends],
            outcomes=[outcome for outcome, _ in outcomes],
            hand_backs=[back for back, _ in backs],
            rejections=[rejection for rejection, _ in rejections],
        )
        work.open = {claim: self._open[claim] for claim in work.claim_ids()}
        others = [*(f for _, f in outcomes), *(f for _, f in backs), *(f for _, f in rejections)]
        begun_s = self._now_s()
        try:
            written = await self._in_thread(
                lambda tx: settling.write(
                    tx,
                    work,
                    self.worker_id,
                    lease_ms=self.lease_ms,
                    call_timeout_ms=self.call_timeout_ms,
                    rules=self.rules,
                )
            )
        except Exception as error:
            waiters: list[asyncio.Future[Any]] = [
                *(f for _, f in entries), *(f for _, f in looks), *(queued.sent for queued in sends), *others
            ]  # fmt: skip
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        if written.attempts:
            reached(Failpoint.AFTER_DISPATCH)
        if outcomes:
            reached(Failpoint.AFTER_SETTLE)
        self._measure(written, self._now_s() - begun_s)
        self._note(written, begun_s)
        self._tell(written, looks, others)
        for entry, entered in entries:
            _answer(entered, written.entered[entry.public_id])
        self._tell_sends(written, sends)

    def _measure(self, written: Written, took_s: float) -> None:
        self.meter.note_commit(took_s)
        if written.looked_up:
            misses = len(written.leaders)
            hits = written.looked_up - misses - written.shared
            self.meter.note_lookups(hits=hits, shared=written.shared, misses=misses)
        for key, state in written.circuit_changes:
            self.meter.note_circuit(key, state.value)

    def _note(self, written: Written, begun_s: float) -> None:
        if written.circuits:
            self._circuits_at_ms = self.database.now_ms()
        self._circuits = written.circuits
        for entered in written.entered.values():
            if entered.job is not None:
                self._hold([entered.job.claim_id], begun_s)
                self._open[entered.job.claim_id] += 1
        for claim_id, gone in written.left.items():
            self._open[claim_id] -= gone
            if self._open[claim_id] <= 0:
                del self._open[claim_id]
                self._held_until_s.pop(claim_id, None)

    @staticmethod
    def _tell(
        written: Written,
        looks: Sequence[tuple[list[Job], asyncio.Future[list[Job]]]],
        others: Sequence[asyncio.Future[None]],
    ) -> None:
        leading = {job.request_id: job for job in written.leaders}
        for jobs, looked_up in looks:
            held = [job for job in jobs if job.claim_id not in written.lost]
            _answer(looked_up, [leading[job.request_id] for job in held if job.request_id in leading])
        for other in others:
            _answer(other, None)

    def _tell_sends(self, written: Written, sends: Sequence[_QueuedSend]) -> None:
        now_s = self._now_s()
        for queued in sends:
            job = queued.send.job
            if job.claim_id in written.lost:
                _answer(queued.sent, STANDS_STILL)
                continue
            attempt = written.attempts.get(job.request_id)
            withheld = written.withheld.get(job.request_id, STANDS_STILL)
            if attempt is None and withheld.why is Why.TIGHT:
                if now_s - queued.since_s < TIGHT_S:
                    self._tight.append(queued)
                    continue
                self._passed_over[job.batch.id] = now_s + TIGHT_S
            _answer(queued.sent, attempt or withheld)

    async def _in_thread(self, do: Callable[[Transaction], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.database.persist, do)


def _answer(waiter: asyncio.Future[T], value: T) -> None:
    if not waiter.done():
        waiter.set_result(value)
