"""What happens to a request, in order.

```
claimed ──look-up──► answered from the cache, or parked behind whoever asks the same
   │
   ▼ slot free
 send      recorded and committed: batch still runs, lease still holds; else the job goes back
   ▼
 call      the provider, once, bounded in time
   ▼
 judge     answered · failed for good · to be tried again · the account is blocked
   ▼
 settle    answer, cost, cache, request and counters in one transaction
```

Claim and look-up come before, in the pump's `Claims.claim`: they are done for many requests at once.
"""

import asyncio
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Protocol

from batchmill.providers.base import Call, Provider, Reply, Verdict
from batchmill.requests.ids import client_request_id
from batchmill.requests.judge import Judge
from batchmill.requests.work import Attempt, Job, Outcome

CANCELLED = Reply(
    verdict=Verdict.UNKNOWN,
    error_code="call_cancelled",
    error_message="the call was cut off on our side; the provider may have answered and billed it",
)


class Journal(Protocol):
    """Writes down what happens; every method returns once it is committed."""

    async def send(self, job: Job, provider: str, model: str) -> Attempt | None:
        """Record a call about to be made; None when it must not be."""
        ...

    async def settle(self, outcome: Outcome) -> None:
        """Write how an attempt ended."""
        ...

    async def hand_back(self, job: Job, delay_ms: int = 0) -> None:
        """Give a job back unsent, claimable again after a delay."""
        ...


@dataclass(slots=True, kw_only=True)
class Pipeline:
    """Takes one claimed request from its slot to its settlement.

    Attributes:
        call_timeout_s: Bounds one call, from the first byte sent to the last received.
    """

    journal: Journal
    provider: Provider
    judge: Judge
    call_timeout_s: float
    _calling: dict[asyncio.Task[object], int] = field(default_factory=dict, init=False)

    async def run(self, job: Job, free_slot: Callable[[], None]) -> None:
        """Send, call, judge, settle. The slot is free again as soon as the call has ended, before that is committed."""
        try:
            attempt = await self.journal.send(job, self.provider.name, job.model)
            reply = await self._call(attempt) if attempt is not None else None
        finally:
            free_slot()
        if attempt is None or reply is None:
            await self.journal.hand_back(job)
            return
        await self.journal.settle(self.judge.judge(attempt, reply))

    async def _call(self, attempt: Attempt) -> Reply:
        job = attempt.job
        call = Call(
            endpoint=job.batch.endpoint,
            model=attempt.model,
            body=job.body,
            client_request_id=client_request_id(job.batch.public_id, job.request_id, attempt.number),
            timeout_s=self.call_timeout_s,
        )
        task = asyncio.current_task()
        assert task is not None
        self._calling[task] = job.batch.id
        try:
            return await self.provider.call(call)
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
