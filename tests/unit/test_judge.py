"""Judging: what becomes of a request after each kind of reply."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.money.prices import Pricer
from batchmill.money.usage import Usage
from batchmill.providers.base import Reply, Verdict
from batchmill.requests.judge import Judge, RetryRules
from batchmill.requests.model import AttemptState, CacheMode, Endpoint, Lane, OnUnknown, RequestState
from batchmill.requests.work import Attempt, BatchFacts, Job

RULES = RetryRules(most_tries=3, most_throttles=4, base_s=0.5, cap_s=60.0)
USAGE = Usage(input_tokens=1_000, output_tokens=1_000)
WEEK_S = 7 * 86_400


class KeepAWeek:
    """Every answer and refusal is worth keeping."""

    def keep_for_s(self, reply: Reply, *, endpoint: Endpoint, request_type: str) -> float:
        return WEEK_S


def attempt(*, on_unknown: OnUnknown = OnUnknown.RETRY, tries: int = 0, throttles: int = 0) -> Attempt:
    """A call for gpt-4o-mini whose answer may be shared."""
    batch = BatchFacts(
        id=1,
        public_id="batch_1",
        lane=Lane.NORMAL,
        endpoint=Endpoint.CHAT,
        tenant="t",
        user="",
        agent="",
        request_type="",
        cache=CacheMode.AUTO,
        on_unknown=on_unknown,
        started_ms=0,
    )
    job = Job(request_id=1, batch=batch, claim_id=1, cache_key="k", tries=tries, throttles=throttles)
    job.model = "gpt-4o-mini"
    return Attempt(id=1, job=job, number=tries + throttles + 1, provider="openai", model="gpt-4o-mini")


judge = Judge(rules=RULES, prices=Pricer(), keeping=KeepAWeek())
ANSWER = Reply(verdict=Verdict.ANSWERED, status_code=200, body=b"{}", usage=USAGE, finish_reason="stop")


def test_answer_is_done_priced_and_kept() -> None:
    """A whole answer ends the request at its price, and may answer others."""
    outcome = judge.judge(attempt(), ANSWER)
    assert (outcome.state, outcome.attempt_state) == (RequestState.DONE, AttemptState.SETTLED)
    assert outcome.cost.nanos == 150_000 + 600_000
    assert outcome.keep_for_ms == WEEK_S * 1000


def test_another_models_answer_is_not_kept() -> None:
    """What another model answered must not stand under the key of the one asked for."""
    other = replace(attempt(), model="gpt-4o")
    assert judge.judge(other, ANSWER).keep_for_ms == 0


def test_answer_without_usage_has_no_known_cost() -> None:
    """A cost that is not known is None with a reason, never 0."""
    outcome = judge.judge(attempt(), replace(ANSWER, usage=None))
    assert (outcome.cost.nanos, outcome.cost.reason) == (None, "no_usage")


def test_refused_request_fails_at_once_and_costs_nothing() -> None:
    """A request at fault is not tried again."""
    outcome = judge.judge(attempt(), Reply(verdict=Verdict.REFUSED, status_code=400, error_code="bad"))
    assert (outcome.state, outcome.cost.nanos) == (RequestState.FAILED, 0)


def test_blocked_account_pauses_and_burns_no_try() -> None:
    """The request waits as it was; the whole batch is paused, with the provider's words."""
    reply = Reply(verdict=Verdict.BLOCKED, status_code=401, error_code="invalid_api_key", error_message="no")
    outcome = judge.judge(attempt(tries=2), reply)
    assert (outcome.state, outcome.tries, outcome.delay_ms) == (RequestState.PENDING, 2, 0)
    assert outcome.pause_reason == "invalid_api_key: no"


@pytest.mark.parametrize("verdict", [Verdict.RETRY, Verdict.UNKNOWN])
def test_tries_are_limited(verdict: Verdict) -> None:
    """A fault is tried again until the limit, the first call included; then it is the request's answer."""
    reply = Reply(verdict=verdict, status_code=500, error_code="http_500")
    states = [judge.judge(attempt(tries=tries), reply).state for tries in range(3)]
    assert states == [RequestState.PENDING, RequestState.PENDING, RequestState.FAILED]


@pytest.mark.parametrize("verdict", [Verdict.THROTTLED, Verdict.UNREACHABLE])
def test_waiting_is_no_try(verdict: Verdict) -> None:
    """Too fast, or nobody there: the request waits and burns no try."""
    outcome = judge.judge(attempt(tries=2, throttles=1), Reply(verdict=verdict, error_code="x"))
    throttles = 2 if verdict is Verdict.THROTTLED else 1
    assert (outcome.state, outcome.tries, outcome.throttles) == (RequestState.PENDING, 2, throttles)
    assert outcome.cost.nanos == 0


def test_throttling_has_an_end_and_nobody_there_has_not() -> None:
    """What the provider turns away for ever fails in the end; an outage loses nothing."""
    throttled, away = Reply(verdict=Verdict.THROTTLED), Reply(verdict=Verdict.UNREACHABLE)
    assert judge.judge(attempt(throttles=3), throttled).state is RequestState.FAILED
    assert judge.judge(attempt(throttles=3_000), away).state is RequestState.PENDING


def test_an_outage_uses_up_no_patience_with_limits() -> None:
    """A provider that comes back and is too busy at first is waited for; the outage itself is asked after ever less."""
    job, delays_ms = attempt().job, []
    for number in range(1, 201):
        waiting = judge.judge(replace(attempt(), job=job, number=number), Reply(verdict=Verdict.UNREACHABLE))
        delays_ms.append(waiting.delay_ms)
        job = replace(job, throttles=waiting.throttles, attempts=number)
    assert delays_ms[0] <= 500
    assert delays_ms[-1] >= 30_000
    busy = replace(attempt(), job=job, number=201)
    assert judge.judge(busy, Reply(verdict=Verdict.THROTTLED)).state is RequestState.PENDING


def test_unknown_is_asked_again_or_not_as_the_batch_says() -> None:
    """`fail` never pays twice; either way the attempt stays unknown, at no known cost."""
    lost = Reply(verdict=Verdict.UNKNOWN, error_code="timeout")
    asked, failed = (judge.judge(attempt(on_unknown=way), lost) for way in (OnUnknown.RETRY, OnUnknown.FAIL))
    assert (asked.state, failed.state) == (RequestState.PENDING, RequestState.FAILED)
    for outcome in (asked, failed):
        assert outcome.attempt_state is AttemptState.UNKNOWN
        assert (outcome.cost.nanos, outcome.cost.reason) == (None, "unknown_outcome")


def test_useless_reply_that_names_its_usage_is_charged() -> None:
    """A malformed answer that was billed is known to be: it is tried again, its attempt settled at its price."""
    outcome = judge.judge(attempt(), Reply(verdict=Verdict.UNKNOWN, error_code="malformed", usage=USAGE))
    assert (outcome.state, outcome.attempt_state) == (RequestState.PENDING, AttemptState.SETTLED)
    assert outcome.cost.nanos == 750_000


@given(nth=st.integers(1, 10_000), chance=st.floats(0, 1))
def test_backing_off_stays_within_bounds(nth: int, chance: float) -> None:
    """From half of it to all of it, doubling up to the cap."""
    longest_s = min(60.0, 0.5 * 2 ** min(nth - 1, 30))
    assert longest_s * 500 - 1 <= RULES.delay_ms(nth, None, chance) <= longest_s * 1000


@given(nth=st.integers(1, 100), asked_s=st.floats(0, 3_600), chance=st.floats(0, 1))
def test_a_wait_that_is_asked_for_is_kept(nth: int, asked_s: float, chance: float) -> None:
    """Never sooner than the provider says; from a second on at most a tenth, or a second, later."""
    delay_ms = RULES.delay_ms(nth, asked_s, chance)
    assert delay_ms >= int(asked_s * 1000)
    if asked_s >= 1:
        assert delay_ms <= asked_s * 1000 + min(1_000, asked_s * 100)
