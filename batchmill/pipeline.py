"""What happens to a request, in order.

```
claimed ──look-up──► answered from the cache, or parked behind whoever asks the same
   │
   ▼ slot free
 route     whom it may go to, the best first; each in turn, unless its circuit is open. All open: the job goes back
   ▼
 pass      the limits of its model: a moment to be sent at. Too many wait already: the job goes back
   ▼
 send      recorded and committed, with all it may cost held on every budget that covers it: batch still runs,
   │       lease still holds, there is room; else the job goes back, its batch waits, or its line is rejected
   ▼
 call      the provider, at that moment, once, bounded in time
   ▼
 judge     answered · failed for good · to be tried again, there or elsewhere · the account is blocked
   ▼
 settle    answer, cost, cache, request and counters in one transaction
```

Claim and look-up come before, in the pump's `Claims.claim`: they are done for many requests at once.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from batchmill.budgets.aside import SetAside
from batchmill.budgets.model import OnLimit
from batchmill.failpoints import Failpoint, reached
from batchmill.limits.line import NoPass, Pass
from batchmill.limits.measure import NOTHING, planned
from batchmill.limits.model import Demand
from batchmill.logs import about_request
from batchmill.metering.meter import Meter
from batchmill.providers.base import (
    CALL_CANCELLED,
    DEFAULT_OUTPUT_CAP_TOKENS,
    NOT_MADE,
    Call,
    Provider,
    Reply,
    Verdict,
)
from batchmill.requests.ids import client_request_id
from batchmill.requests.judge import Judge
from batchmill.requests.model import Lane, RequestState
from batchmill.requests.work import Attempt, Bounded, Job, Outcome, Rejection, Send, Why, Withheld
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.router import Course

SHORTEST_WAIT_MS, LONGEST_WAIT_MS = 100, 60_000
"""A call whose model is left alone is claimable again when that ends, within these bounds."""
TOO_LARGE = "it is larger than what its limit lets through in a minute"
LONGEST_INSTEAD_S = 30.0
"""So long a call that is written down waits for its model's limits at a time."""
LONG_WAIT_MS = 30_000
"""Whose limits let nothing through for longer than that leaves a request to the next, if there is one."""
NO_ROOM = "its limits let nothing more through for a while"
OUT_OF_ORDER = "it has failed again and again, and rests for a while"
SHORTEST_CALL_S = 0.1
TIGHT_MS = 1_000
"""After this a call that found no room in a budget, which calls in flight may yet make, is claimable again."""

_WANTED = {Why.UNBOUNDED: Bounded.ROUGHLY, Why.ROUGH: Bounded.CLOSELY}

NOT_SENT = Reply(
    verdict=Verdict.THROTTLED,
    error_code=NOT_MADE,
    error_message="the call was written down and then not made, as its moment did not come",
    retry_after_s=0.0,
)
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

    def holds(self, claim_id: int) -> bool:
        """Whether the lease of a claim is in force: nobody else has its requests."""
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


class Limits(Protocol):
    """Knows when calls may leave; see `limits.gate`."""

    def is_full(self, target: Target, coming: int = 0, *, is_urgent: bool = False) -> bool:
        """Whether nobody else may wait for a model, once so many more have come; an urgent one before all others."""
        ...

    def counts_tokens(self, target: Target) -> bool:
        """Whether it matters how many tokens a call to a model has."""
        ...

    async def enter(self, target: Target, demand: Demand = ..., *, is_urgent: bool = False) -> Pass | NoPass:
        """Wait in line for leave to call a model; an urgent one before all others."""
        ...

    async def start(self, given: Pass) -> Pass | NoPass:
        """Wait for the moment of a pass; the pass in force, none where that is too far off."""
        ...

    async def give_back(self, given: Pass) -> None:
        """The call is not made after all."""
        ...

    async def leave(self, given: Pass, reply: Reply) -> None:
        """The call has ended so."""
        ...

    def rest(self, given: Pass) -> bool:
        """Let the key of a pass rest; whether another may be used."""
        ...

    def has_other_key(self, given: Pass) -> bool:
        """Whether another key than that of a pass may go on."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """A call that is written down, and when it may leave.

    Attributes:
        given: None for a model that a budget has put in the place of the one asked for: there is no pass for it yet.
    """

    attempt: Attempt
    given: Pass | None


class Routes(Protocol):
    """Knows whom a request may go to."""

    def course(self, job: Job) -> Course:
        """Whom a request may go to from here on, the best first."""
        ...

    def chain(self, job: Job) -> tuple[Target, ...]:
        """Whom a request that names a model asks for, and its fallbacks."""
        ...


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """Takes one claimed request from its slot to its settlement.

    Attributes:
        providers: By name.
        call_timeout_s: Bounds one call, from the first byte sent to the last received.
        output_cap_tokens: The longest answer, for a provider that must be told one where the request says none.
        now_ms: The database's clock.
        settled: What has become of requests so far: `done`, `failed`, `pending` for those to be tried again.
        redact: Takes what is somebody's out of a reply, before anything of it is kept; None = it is kept as it is.
        watch: Told how each attempt has ended, before that is written; None = nobody wants to know.
    """

    journal: Journal
    providers: Mapping[str, Provider]
    limits: Limits
    routes: Routes
    offers: Offers
    judge: Judge
    call_timeout_s: float
    now_ms: Callable[[], int]
    output_cap_tokens: int = DEFAULT_OUTPUT_CAP_TOKENS
    aside: SetAside = field(default_factory=SetAside)
    settled: Counter[RequestState] = field(default_factory=Counter, init=False)
    redact: Callable[[Reply], Awaitable[Reply]] | None = None
    watch: Callable[[Outcome], None] | None = None
    meter: Meter = field(default_factory=Meter)
    _bounded: dict[int, Bounded] = field(default_factory=dict, init=False)
    _coming: Counter[Target] = field(default_factory=Counter, init=False)
    _waiting: dict[asyncio.Task[object], int] = field(default_factory=dict, init=False)
    _calling: dict[asyncio.Task[object], int] = field(default_factory=dict, init=False)
    _is_winding_up: bool = field(default=False, init=False)

    def run(self, job: Job, free_slot: Callable[[], None]) -> Coroutine[object, object, None]:
        """Send, call, judge, settle. The slot is free again as soon as the call has ended, before that is committed."""
        self._coming[job.asked] += 1  # now, not when its task gets to run: others are started meanwhile
        return self._run(job, free_slot)

    async def _run(self, job: Job, free_slot: Callable[[], None]) -> None:
        self._coming[job.asked] -= 1
        if not self._coming[job.asked]:
            del self._coming[job.asked]
        about_request(job.batch.public_id, job.request_id)
        try:
            sent = await self._route(job)
            reply = await self._call(sent) if isinstance(sent, Ready) else None
        finally:
            free_slot()
        if isinstance(sent, Rejection):
            await self._reject(sent)
        elif isinstance(sent, Withheld):
            await self._withhold(job, sent)
        elif reply is not None:
            reached(Failpoint.BEFORE_SETTLE)
            if self.redact is not None:
                reply = await self.redact(reply)
            outcome = self.judge.judge(sent.attempt, reply)
            if self.watch is not None:
                self.watch(outcome)
            self.meter.note_end(outcome, is_cheaper=sent.given is None)
            await self.journal.settle(outcome)
            self.settled[outcome.state] += 1

    def must_wait(self, job: Job) -> bool:
        """Whether a job had better not be started yet: all it may go to are left alone, or the first that is not has
        too many waiting."""
        if not job.provider:
            return False
        chain = self.routes.chain(job)
        if len(chain) == 1:
            is_closed = self.journal.closed_until_ms(chain[0], is_lone=True) is not None
            return is_closed or self._is_full(chain[0], job)
        given_up = job.path.given_up
        left = [target for target in chain if target not in given_up]
        is_lone = len(left) == 1 and not given_up
        for target in left:
            if self.journal.closed_until_ms(target, is_lone=is_lone) is None:
                return self._is_full(target, job)
        return bool(left)

    def _is_full(self, target: Target, job: Job) -> bool:
        return self.limits.is_full(target, self._coming[target], is_urgent=_is_urgent(job))

    async def _route(self, job: Job) -> Ready | Withheld | Rejection:
        """Ask for leave to call the best model that answers at the moment."""
        course = self.routes.course(job)
        if course.fault is not None:
            return Rejection(job=job, code=course.fault.code, message=course.fault.message)
        too_large: Target | None = None
        waits_ms = [] if course.free_at_ms is None else [course.free_at_ms]
        is_lone = len(course.targets) == 1 and not (job.path.steps and job.path.given_up)
        for nth, target in enumerate(course.targets, 1):
            until_ms, why = self.journal.closed_until_ms(target, is_lone=is_lone), OUT_OF_ORDER
            if until_ms is None:
                has_next = nth < len(course.targets) or bool(waits_ms)  # who rests may be asked again
                sent = await self._ready(job, target, has_next=has_next, is_lone=is_lone)
                if not isinstance(sent, Withheld) or not self._is_for_next(sent, has_next=has_next):
                    return sent
                if sent.why is Why.TOO_LARGE:
                    too_large = target
                    job.note(Step(target=target, what=What.REJECTED, why=TOO_LARGE, at_ms=self.now_ms()))
                    continue
                until_ms, why = sent.until_ms, NO_ROOM if sent.why is Why.FULL else OUT_OF_ORDER
            waits_ms.append(until_ms)
            if not is_lone:
                job.note(Step(target=target, what=What.SKIPPED, why=why, at_ms=self.now_ms()))
        if not waits_ms and too_large is not None:
            return Rejection(job=job, code="request_too_large", message=_too_large(too_large))
        return Withheld(why=Why.CLOSED, until_ms=min(waits_ms))

    def _is_for_next(self, withheld: Withheld, *, has_next: bool) -> bool:
        """Whether a request that a model cannot take now may go to the next."""
        if withheld.why is Why.FULL:
            return has_next and withheld.until_ms - self.now_ms() > LONG_WAIT_MS
        return withheld.why in (Why.CLOSED, Why.TOO_LARGE)

    async def _ready(self, job: Job, target: Target, *, has_next: bool, is_lone: bool) -> Ready | Withheld:
        """Wait for a pass, and write the call down meanwhile."""
        given = await self._enter(job, target)
        if given is None:
            return Withheld(why=Why.STANDS_STILL)
        if isinstance(given, NoPass):
            until_ms = self.now_ms() + int(given.wait_s * 1000)
            return Withheld(why=Why.TOO_LARGE if given.never else Why.FULL, until_ms=until_ms)
        sent = None
        try:
            sent = await self._send(job, target, has_next=has_next, is_lone=is_lone)
        finally:
            if not isinstance(sent, Attempt) or sent.target != target:
                await self.limits.give_back(given)
        if not isinstance(sent, Attempt):
            return sent
        return Ready(sent, given if sent.target == target else None)

    async def _enter(self, job: Job, target: Target) -> Pass | NoPass | None:
        """Wait for a pass; None where it is no longer wanted."""
        if self._is_winding_up:
            return None
        task = _this_task()
        self._waiting[task] = job.batch.id
        try:
            demand = self._demand(job, target)
            return await self.limits.enter(target, demand, is_urgent=_is_urgent(job))
        except asyncio.CancelledError:
            task.uncancel()
            return None
        finally:
            del self._waiting[task]

    def _demand(self, job: Job, target: Target) -> Demand:
        if not self.limits.counts_tokens(target):
            return NOTHING
        return planned(
            target.provider,
            target.model,
            job.batch.endpoint,
            job.body,
            output_cap_tokens=self.output_cap_tokens,
        )

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
        self.meter.note_withheld(withheld)
        if withheld.why in (Why.CLOSED, Why.FULL):
            wait_ms = min(max(withheld.until_ms - self.now_ms(), SHORTEST_WAIT_MS), LONGEST_WAIT_MS)
            await self.journal.hand_back(job, wait_ms)
        elif withheld.why is Why.TIGHT:
            self.aside.note_waiting(job.batch.id)
            await self.journal.hand_back(job, TIGHT_MS)
        elif withheld.why not in (Why.EXHAUSTED, Why.UNPRICED):
            await self.journal.hand_back(job)
        elif withheld.then is OnLimit.REJECT:
            code = "budget_exceeded" if withheld.why is Why.EXHAUSTED else "price_unknown"
            await self._reject(Rejection(job=job, code=code, message=withheld.reason))
        elif (delay_ms := self.aside.delay_ms(job.batch.id, job.request_id, withheld)) is not None:
            await self.journal.hand_back(job, delay_ms)
        else:
            await self.journal.hand_back(job, withheld=withheld)

    async def _reject(self, rejection: Rejection) -> None:
        self.meter.note_withheld(rejection)
        await self.journal.reject(rejection)
        self.settled[RequestState.FAILED] += 1

    async def _call(self, ready: Ready) -> Reply:
        """Make a call at its moment. It may be cut off before as well as after."""
        task, given = _this_task(), None
        self._calling[task] = ready.attempt.job.batch.id
        try:
            start = await self._start(ready)
            if not isinstance(start, Pass):
                return start
            if self._must_not_call(ready.attempt.job):
                await self.limits.give_back(start)
                return NOT_SENT
            given = start
            reply = await self._answer(self._call_of(ready.attempt, given), ready.attempt.provider)
        except asyncio.CancelledError:
            # We cut it off: a settled "unknown" is the truth, an attempt left open would not be.
            task.uncancel()
            if given is None:
                return NOT_SENT
            reply = CANCELLED
        finally:
            del self._calling[task]
        if reply.error_code == NOT_MADE:
            await self.limits.give_back(given)
            return NOT_SENT
        await self.limits.leave(given, reply)
        is_for_other_key = (reply.verdict is Verdict.BLOCKED and self.limits.rest(given)) or (
            reply.verdict is Verdict.THROTTLED and self.limits.has_other_key(given)
        )
        return replace(reply, verdict=Verdict.THROTTLED, retry_after_s=0.0) if is_for_other_key else reply

    async def _answer(self, call: Call, provider: str) -> Reply:
        in_flight = self.meter.in_flight(provider)
        in_flight.value += 1
        try:
            return await self.providers[provider].call(call)
        finally:
            in_flight.value -= 1

    async def _start(self, ready: Ready) -> Pass | Reply:
        """Wait for the moment of a call that is written down; or what stands in for its reply, as it is not made."""
        given: Pass | NoPass = ready.given or await self._instead(ready.attempt)
        if isinstance(given, Pass):
            given = await self.limits.start(given)
        if isinstance(given, Pass):
            return given
        if given.never:
            message = _too_large(ready.attempt.target)
            return Reply(verdict=Verdict.REFUSED, error_code="request_too_large", error_message=message)
        return replace(NOT_SENT, retry_after_s=min(given.wait_s, LONGEST_INSTEAD_S))

    async def _instead(self, attempt: Attempt) -> Pass | NoPass:
        """A pass for the cheaper model that a budget has put in the place of the one asked for. It is urgent: the call
        is written down, and holds its price."""
        demand = self._demand(attempt.job, attempt.target)
        while True:
            given = await self.limits.enter(attempt.target, demand, is_urgent=True)
            if isinstance(given, Pass) or given.never or given.wait_s > LONGEST_INSTEAD_S:
                return given
            await asyncio.sleep(given.wait_s)

    def _call_of(self, attempt: Attempt, given: Pass) -> Call:
        job = attempt.job
        return Call(
            endpoint=job.batch.endpoint,
            model=attempt.model,
            body=attempt.body,
            client_request_id=client_request_id(job.batch.public_id, job.request_id, attempt.number),
            timeout_s=self._timeout_s(job),
            account=given.account,
            output_cap_tokens=self.output_cap_tokens,
            listener=job.listener,
            may_go=lambda: not self._must_not_call(job),
        )

    def _must_not_call(self, job: Job) -> bool:
        """Whether the lease has run out meanwhile (this process stood still), so that another may be at it by now; or
        whoever waited for the answer does so no longer."""
        is_too_late = job.until_ms is not None and self.now_ms() >= job.until_ms
        return is_too_late or not self.journal.holds(job.claim_id)

    def _timeout_s(self, job: Job) -> float:
        if job.until_ms is None:
            return self.call_timeout_s
        return min(self.call_timeout_s, max(SHORTEST_CALL_S, (job.until_ms - self.now_ms()) / 1000))

    def wind_up(self) -> None:
        """Start no more calls than are written down: who waits for a pass goes back."""
        self._is_winding_up = True
        for task in list(self._waiting):
            task.cancel()

    def cut_off(self, batches: Container[int] | None = None) -> None:
        """End the calls in flight, those of these batches only if any are named; each is settled as unknown. Who waits
        for a pass goes back, and what was not sent yet is not."""
        for task, batch in [*self._waiting.items(), *self._calling.items()]:
            if batches is None or batch in batches:
                task.cancel()


def _is_urgent(job: Job) -> bool:
    return job.batch.lane is Lane.HIGH


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _too_large(target: Target) -> str:
    """What to tell of a request that no waiting lets through."""
    return f"{target.name}: {TOO_LARGE}. Shorten it, or raise the limit if it is yours: batchmill providers limit."
