"""What happens to a request, in order.

```
claimed ──look-up──► answered from the cache, or parked behind whoever asks the same
   │
   ▼ slot free
 route     whom it may go to, the best first; each in turn, unless its circuit is open. All open: the job goes back
   ▼
 send      recorded and committed, with all it may cost held on every budget that covers it: batch still runs,
   │       lease still holds, there is room; else the job goes back, its batch waits, or its line is rejected
   ▼
 call      the provider, once, bounded in time
   ▼
 judge     answered · failed for good · to be tried again, there or elsewhere · the account is blocked
   ▼
 settle    answer, cost, cache, request and counters in one transaction
```

Claim and look-up come before, in the pump's `Claims.claim`: they are done for many requests at once.
"""

import asyncio
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from batchmill.budgets.aside import SetAside
from batchmill.budgets.model import OnLimit
from batchmill.providers.base import CALL_CANCELLED, Call, Provider, Reply, Verdict
from batchmill.requests.ids import client_request_id
from batchmill.requests.judge import Judge
from batchmill.requests.work import Attempt, Bounded, Job, Outcome, Rejection, Send, Why, Withheld
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.router import Course

SHORTEST_WAIT_MS, LONGEST_WAIT_MS = 100, 60_000
"""A call whose model is left alone is claimable again when that ends, within these bounds."""
OUT_OF_ORDER = "it has failed again and again, and rests for a while"
TIGHT_MS = 1_000
"""After this a call that found no room in a budget, which calls in flight may yet make, is claimable again."""

_WANTED = {Why.UNBOUNDED: Bounded.ROUGHLY, Why.ROUGH: Bounded.CLOSELY}

CANCELLED = Reply(
    verdict=Verdict.UNKNOWN,
    error_code=CALL_CANCELLED,
    error_message="the call was cut off on our side; the provider may have answered and billed it",
)


class Journal(Protocol):
    """Writes down what happens; every method returns once it is committed."""

    async def send(self, send: Send) -> Attempt | Withheld:
        """Record a call about to be made; or why it must not be."""
        ...

    def closed_until_ms(self, target: Target, *, is_lone: bool) -> int | None:
        """Until when a model is not asked, as far as is known; None = it may be."""
        ...

    async def settle(self, outcome: Outcome) -> None:
        """Write how an attempt ended."""
        ...

    async def hand_back(self, job: Job, delay_ms: int = 0, withheld: Withheld | None = None) -> None:
        """Give a job back unsent, claimable again after a delay; its batch waits for the budget that withheld it."""
        ...

    async def reject(self, rejection: Rejection) -> None:
        """Fail a job's line without a call."""
        ...


class Offers(Protocol):
    """Knows how a request may be answered, and what that can cost."""

    def offer(
        self, job: Job, target: Target, bounded: Bounded, *, has_next: bool = False, is_lone: bool = True
    ) -> Send:
        """The call that puts a request to a model; with what it can cost at most, found out so closely."""
        ...

    def with_cheaper(self, send: Send) -> Send:
        """The same with every cheaper model that would do."""
        ...


class Routes(Protocol):
    """Knows whom a request may go to."""

    def course(self, job: Job) -> Course:
        """Whom a request may go to from here on, the best first."""
        ...


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """Takes one claimed request from its slot to its settlement.

    Attributes:
        providers: By name.
        call_timeout_s: Bounds one call, from the first byte sent to the last received.
        now_ms: The database's clock.
    """

    journal: Journal
    providers: Mapping[str, Provider]
    routes: Routes
    offers: Offers
    judge: Judge
    call_timeout_s: float
    now_ms: Callable[[], int]
    aside: SetAside = field(default_factory=SetAside)
    _bounded: dict[int, Bounded] = field(default_factory=dict, init=False)
    _calling: dict[asyncio.Task[object], int] = field(default_factory=dict, init=False)

    async def run(self, job: Job, free_slot: Callable[[], None]) -> None:
        """Send, call, judge, settle. The slot is free again as soon as the call has ended, before that is committed."""
        try:
            sent = await self._route(job)
            reply = await self._call(sent) if isinstance(sent, Attempt) else None
        finally:
            free_slot()
        if isinstance(sent, Rejection):
            await self.journal.reject(sent)
        elif isinstance(sent, Withheld):
            await self._withhold(job, sent)
        elif reply is not None:
            await self.journal.settle(self.judge.judge(sent, reply))

    async def _route(self, job: Job) -> Attempt | Withheld | Rejection:
        """Ask for leave to call the best model that answers at the moment."""
        course = self.routes.course(job)
        if course.fault is not None:
            return Rejection(job=job, code=course.fault.code, message=course.fault.message)
        waits_ms = [] if course.free_at_ms is None else [course.free_at_ms]
        is_lone = len(course.targets) == 1 and not job.path.given_up
        for nth, target in enumerate(course.targets, 1):
            until_ms = self.journal.closed_until_ms(target, is_lone=is_lone)
            if until_ms is None:
                has_next = nth < len(course.targets)
                sent = await self._send(job, target, has_next=has_next, is_lone=is_lone)
                if not (isinstance(sent, Withheld) and sent.why is Why.CLOSED):
                    return sent
                until_ms = sent.until_ms
            waits_ms.append(until_ms)
            if not is_lone:
                job.note(Step(target=target, what=What.SKIPPED, why=OUT_OF_ORDER, at_ms=self.now_ms()))
        return Withheld(why=Why.CLOSED, until_ms=min(waits_ms))

    async def _send(self, job: Job, target: Target, *, has_next: bool, is_lone: bool) -> Attempt | Withheld:
        """Ask for leave to call. What a call can cost is found out once a budget is known to cover its batch, and
        closely once there is little room."""
        batch = job.batch.id
        bounded = self._bounded.get(batch, Bounded.NOT)
        while True:
            send = self.offers.offer(job, target, bounded, has_next=has_next, is_lone=is_lone)
            sent = await self.journal.send(send)
            if not (isinstance(sent, Withheld) and sent.why in _WANTED):
                break
            bounded = self._bounded[batch] = _WANTED[sent.why]
        if isinstance(sent, Withheld) and sent.why is Why.CHEAPER:
            sent = await self.journal.send(self.offers.with_cheaper(send))
        if isinstance(sent, Attempt):
            self.aside.note(sent)
            if sent.held_nanos is None:
                self._bounded.pop(batch, None)
        return sent

    async def _withhold(self, job: Job, withheld: Withheld) -> None:
        if withheld.why is Why.ANSWERED:
            return
        if withheld.why is Why.CLOSED:
            wait_ms = min(max(withheld.until_ms - self.now_ms(), SHORTEST_WAIT_MS), LONGEST_WAIT_MS)
            await self.journal.hand_back(job, wait_ms)
        elif withheld.why is Why.TIGHT:
            self.aside.note_waiting(job.batch.id)
            await self.journal.hand_back(job, TIGHT_MS)
        elif withheld.why not in (Why.EXHAUSTED, Why.UNPRICED):
            await self.journal.hand_back(job)
        elif withheld.then is OnLimit.REJECT:
            code = "budget_exceeded" if withheld.why is Why.EXHAUSTED else "price_unknown"
            await self.journal.reject(Rejection(job=job, code=code, message=withheld.reason))
        elif (delay_ms := self.aside.delay_ms(job.batch.id, job.request_id, withheld)) is not None:
            await self.journal.hand_back(job, delay_ms)
        else:
            await self.journal.hand_back(job, withheld=withheld)

    async def _call(self, attempt: Attempt) -> Reply:
        job = attempt.job
        call = Call(
            endpoint=job.batch.endpoint,
            model=attempt.model,
            body=attempt.body,
            client_request_id=client_request_id(job.batch.public_id, job.request_id, attempt.number),
            timeout_s=self.call_timeout_s,
        )
        task = asyncio.current_task()
        assert task is not None
        self._calling[task] = job.batch.id
        try:
            return await self.providers[attempt.provider].call(call)
        except asyncio.CancelledError:
            # We cut it off: a settled "unknown" is the truth, an attempt left open would not be.
            task.uncancel()
            return CANCELLED
        finally:
            del self._calling[task]

    def cut_off(self, batches: Container[int] | None = None) -> None:
        """End the calls in flight, those of these batches only if any are named; each is settled as unknown."""
        for task, batch in list(self._calling.items()):
            if batches is None or batch in batches:
                task.cancel()
