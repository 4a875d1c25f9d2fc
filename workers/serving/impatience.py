"""The journal as the desk has it: a caller waits for every request, so none is put off until an owner acts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from batchmill.budgets.model import OnLimit
from batchmill.providers.base import Verdict
from batchmill.requests.model import RequestState
from batchmill.requests.work import Attempt, Job, Outcome, Rejection, Send, Why, Withheld
from batchmill.routing.names import Target
from db.direct import Standing
from db.journal import Journal
from workers.serving.visit import Visit

NEEDS_ITS_OWNER = (Why.EXHAUSTED, Why.UNPRICED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpatientJournal:
    """Writes for visits, and lets each know what was written of it.

    Where a batch would be paused, by a budget without room or an account that is blocked, the request fails instead;
    so does one that nobody can be reached for again and again, and one of whose answer its caller has had a part.

    Attributes:
        visits: By request, those that are attended to.
        most_tries: So many calls may find nobody there.
    """

    journal: Journal
    visits: Mapping[int, Visit]
    most_tries: int

    async def send(self, send: Send) -> Attempt | Withheld:
        """Record a call about to be made; or why it must not be."""
        said = await self.journal.send(send)
        if isinstance(said, Attempt):
            if (visit := self.visits.get(send.job.request_id)) is not None:
                visit.note_sent(said)
        elif said.why in NEEDS_ITS_OWNER and said.then is not OnLimit.REJECT:
            return replace(said, then=OnLimit.REJECT)
        return said

    def closed_until_ms(self, target: Target, *, is_lone: bool) -> int | None:
        """Until when a model is not asked, as far as is known; None = it may be."""
        return self.journal.closed_until_ms(target, is_lone=is_lone)

    def holds(self, claim_id: int) -> bool:
        """Whether the lease of a claim is in force: nobody else has its requests."""
        return self.journal.holds(claim_id)

    async def settle(self, outcome: Outcome) -> None:
        """Write how an attempt ended."""
        outcome = self._at_once(outcome)
        await self.journal.settle(outcome)
        job = outcome.attempt.job
        visit = self.visits.get(job.request_id)
        if visit is None:
            return
        visit.outcomes.append(outcome)
        if outcome.state is RequestState.PENDING:
            visit.due_ms = self._now_ms() + outcome.delay_ms
        elif outcome.attempt.number == len(visit.outcomes):
            visit.ended = _ended(visit)

    async def hand_back(self, job: Job, delay_ms: int = 0, withheld: Withheld | None = None) -> None:
        """Give a job back unsent, claimable again after a delay."""
        await self.journal.hand_back(job, delay_ms, withheld)
        if (visit := self.visits.get(job.request_id)) is not None:
            visit.due_ms = self._now_ms() + delay_ms

    async def reject(self, rejection: Rejection) -> None:
        """Fail a job's line without a call."""
        await self.journal.reject(rejection)
        visit = self.visits.get(rejection.job.request_id)
        if visit is not None and rejection.job.attempts == len(visit.outcomes):
            visit.ended = Standing(
                state=RequestState.FAILED,
                cost_nanos=_cost_nanos(visit),
                error_code=rejection.code,
                error_message=rejection.message,
            )

    def _at_once(self, outcome: Outcome) -> Outcome:
        if outcome.state is not RequestState.PENDING:
            return outcome
        reply, attempt = outcome.reply, outcome.attempt
        listener = attempt.job.listener
        if listener is not None and listener.has_begun:
            is_answer = reply.verdict is Verdict.ANSWERED
            return replace(outcome, state=RequestState.DONE if is_answer else RequestState.FAILED)
        is_in_vain = reply.verdict is Verdict.UNREACHABLE and attempt.number >= self.most_tries
        if outcome.pause_reason or is_in_vain:
            return replace(outcome, state=RequestState.FAILED, pause_reason="")
        return outcome

    def _now_ms(self) -> int:
        return self.journal.database.now_ms()


def _ended(visit: Visit) -> Standing:
    """How a request stands whose last call has been settled."""
    outcome = visit.outcomes[-1]
    reply = outcome.reply
    return Standing(
        state=outcome.state,
        cost_nanos=_cost_nanos(visit),
        status_code=reply.status_code,
        body=reply.body,
        error_code=reply.error_code,
        error_message=reply.error_message,
        provider=outcome.attempt.provider,
        model=outcome.attempt.model,
        finish_reason=reply.finish_reason,
    )


def _cost_nanos(visit: Visit) -> int | None:
    """What its calls came to; None where that is not known of some."""
    total = 0
    for outcome in visit.outcomes:
        if outcome.cost.nanos is None:
            return None
        total += outcome.cost.nanos
    return total
