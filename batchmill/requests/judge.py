"""Judging a reply: what becomes of the request, what it cost, whether the answer is kept."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from batchmill.clock import SystemClock
from batchmill.money.prices import Cost
from batchmill.money.usage import Usage
from batchmill.providers.base import Reply, Verdict
from batchmill.requests.model import AttemptState, Endpoint, OnUnknown, RequestState
from batchmill.requests.work import Attempt, Outcome
from batchmill.routing.path import Step, What

NOT_HERE = frozenset({"model_not_found", "not_found_error"})
"""Refusals that speak of the model, and not of the request."""
NOTHING = Cost(nanos=0, reason="")
NOT_KNOWN = Cost(nanos=None, reason="unknown_outcome")


class Prices(Protocol):
    """Knows what a call costs."""

    def price(self, *, provider: str, model: str, usage: Usage | None) -> Cost:
        """The cost of one answer; never raises."""
        ...


class Keeping(Protocol):
    """Knows which replies may answer the same question again."""

    def keep_for_s(self, reply: Reply, *, endpoint: Endpoint, request_type: str) -> float:
        """For how many seconds; 0 = not at all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """How often and how soon a request is tried again.

    Attributes:
        most_tries: Calls that may fail or end unknown before the request fails.
        tries_before_next: Calls to one model that may fail or end unknown before the next is asked, where there is one.
        long_wait_s: A provider that asks for a longer wait than that as too fast leaves the request to the next.
        most_throttles: Calls that the provider may turn away as too fast before the next is asked; without one, before
            the request fails.
        base_s: The longest first delay; it doubles with each try. The true delay is drawn from half of it to
            all of it.
        cap_s: The longest delay of all.
    """

    most_tries: int = 5
    tries_before_next: int = 2
    long_wait_s: float = 30.0
    most_throttles: int = 100
    base_s: float = 0.5
    cap_s: float = 60.0

    def delay_ms(self, nth: int, retry_after_s: float | None, chance: float) -> int:
        """How long to wait before the next call, in ms, at least as long as the provider asked for.

        A wait of a second or more is taken at its word; a shorter one does not undo our own backing off.

        Args:
            nth: How many times it has failed so far, from 1.
            chance: Drawn from 0 to 1.
        """
        backoff_s = min(self.cap_s, self.base_s * 2 ** min(nth - 1, 30)) * (0.5 + chance / 2)
        if retry_after_s is None:
            return int(backoff_s * 1000)
        asked_s = retry_after_s + min(1.0, retry_after_s / 10) * chance
        return int((asked_s if retry_after_s >= 1 else max(asked_s, backoff_s)) * 1000)


@dataclass(slots=True, kw_only=True)
class Judge:
    """Turns replies into outcomes.

    Attributes:
        now_ms: For the steps of paths.
    """

    rules: RetryRules
    prices: Prices
    keeping: Keeping
    chance: random.Random = field(default_factory=random.Random)
    now_ms: Callable[[], int] = SystemClock().now_ms

    def judge(self, attempt: Attempt, reply: Reply) -> Outcome:
        """What becomes of an attempt and its request after this reply."""
        if attempt.has_next and self._is_for_another(attempt, reply):
            return self._go_on(attempt, reply)
        match reply.verdict:
            case Verdict.ANSWERED if reply.is_empty and not attempt.job.tries:
                return self._try_again(attempt, reply)
            case Verdict.ANSWERED | Verdict.REFUSED:
                return self._ended(attempt, reply)
            case Verdict.BLOCKED:
                return self._outcome(attempt, reply, RequestState.PENDING, pause_reason=_reason(reply))
            case Verdict.THROTTLED | Verdict.UNREACHABLE:
                return self._wait(attempt, reply)
            case Verdict.RETRY | Verdict.UNKNOWN:
                return self._try_again(attempt, reply)

    def _is_for_another(self, attempt: Attempt, reply: Reply) -> bool:
        """Whether this reply leaves a request to the next model that may be asked."""
        match reply.verdict:
            case Verdict.BLOCKED:
                return True
            case Verdict.REFUSED:
                return reply.error_code in NOT_HERE
            case Verdict.THROTTLED:
                is_last = attempt.job.throttles + 1 >= self.rules.most_throttles
                return is_last or (reply.retry_after_s or 0.0) > self.rules.long_wait_s
            case Verdict.RETRY | Verdict.UNREACHABLE:
                return self._nth(attempt) >= self.rules.tries_before_next
            case Verdict.UNKNOWN:
                is_wanted = attempt.job.batch.on_unknown is OnUnknown.RETRY
                return is_wanted and self._nth(attempt) >= self.rules.tries_before_next
        return False

    def _nth(self, attempt: Attempt) -> int:
        """The how-manieth call of its request to its model this is, calls that were turned away as too fast aside."""
        return attempt.nth_there - min(attempt.job.throttles, attempt.nth_there - 1)

    def _go_on(self, attempt: Attempt, reply: Reply) -> Outcome:
        """Give this model up for this request: the next one is its to ask, at once, as if it were the first."""
        step = Step(
            target=attempt.target,
            what=What.TRIED,
            why=_reason(reply),
            at_ms=self.now_ms(),
            count=attempt.nth_there,
        )
        attempt.job.note(step)
        return self._outcome(attempt, reply, RequestState.PENDING, tries=0, throttles=0)

    def _ended(self, attempt: Attempt, reply: Reply) -> Outcome:
        answered = reply.verdict is Verdict.ANSWERED
        job = attempt.job
        if job.path.steps:
            self._note_end(attempt, reply)
        keep_for_s = 0.0
        if attempt.keys:
            keep_for_s = self.keeping.keep_for_s(
                reply, endpoint=job.batch.endpoint, request_type=job.request_type
            )
        state = RequestState.DONE if answered else RequestState.FAILED
        return self._outcome(attempt, reply, state, keep_for_ms=int(keep_for_s * 1000))

    def _note_end(self, attempt: Attempt, reply: Reply) -> None:
        answered = reply.verdict is Verdict.ANSWERED
        what, why = (What.ANSWERED, "") if answered else (What.TRIED, _reason(reply))
        attempt.job.note(Step(target=attempt.target, what=what, why=why, at_ms=self.now_ms()))

    def _wait(self, attempt: Attempt, reply: Reply) -> Outcome:
        """Too fast, or nobody there: it costs nothing, and does not count as a try."""
        is_throttled = reply.verdict is Verdict.THROTTLED
        throttles = attempt.job.throttles + is_throttled
        if is_throttled and throttles >= self.rules.most_throttles:
            return self._outcome(attempt, reply, RequestState.FAILED, throttles=throttles)
        waits = max(1, attempt.nth_there - attempt.job.tries)
        delay_ms = self.rules.delay_ms(waits, reply.retry_after_s, self.chance.random())
        return self._outcome(attempt, reply, RequestState.PENDING, delay_ms=delay_ms, throttles=throttles)

    def _try_again(self, attempt: Attempt, reply: Reply) -> Outcome:
        tries = attempt.job.tries + 1
        unwanted = reply.verdict is Verdict.UNKNOWN and attempt.job.batch.on_unknown is OnUnknown.FAIL
        if unwanted or tries >= self.rules.most_tries:
            return self._outcome(attempt, reply, RequestState.FAILED, tries=tries)
        delay_ms = self.rules.delay_ms(tries, reply.retry_after_s, self.chance.random())
        return self._outcome(attempt, reply, RequestState.PENDING, delay_ms=delay_ms, tries=tries)

    def _outcome(
        self,
        attempt: Attempt,
        reply: Reply,
        state: RequestState,
        *,
        delay_ms: int = 0,
        tries: int | None = None,
        throttles: int | None = None,
        keep_for_ms: int = 0,
        pause_reason: str = "",
    ) -> Outcome:
        return Outcome(
            attempt=attempt,
            reply=reply,
            cost=self._cost(attempt, reply),
            state=state,
            attempt_state=_attempt_state(reply),
            delay_ms=delay_ms,
            tries=attempt.job.tries if tries is None else tries,
            throttles=attempt.job.throttles if throttles is None else throttles,
            keep_for_ms=keep_for_ms,
            pause_reason=pause_reason,
        )

    def _cost(self, attempt: Attempt, reply: Reply) -> Cost:
        if reply.verdict is Verdict.ANSWERED or reply.usage is not None:
            return self.prices.price(provider=attempt.provider, model=attempt.model, usage=reply.usage)
        return NOT_KNOWN if reply.verdict is Verdict.UNKNOWN else NOTHING


def _attempt_state(reply: Reply) -> AttemptState:
    """Unknown only without evidence: a reply that cannot be used, but names its usage, is known to be billed."""
    is_unknown = reply.verdict is Verdict.UNKNOWN and reply.usage is None
    return AttemptState.UNKNOWN if is_unknown else AttemptState.SETTLED


def _reason(reply: Reply) -> str:
    return f"{reply.error_code}: {reply.error_message}" if reply.error_message else reply.error_code
