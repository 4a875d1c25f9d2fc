"""Failing over: which replies leave a request to the next model that may be asked, and what is noted of that."""

from dataclasses import replace

import pytest

from batchmill.money.prices import Pricer
from batchmill.providers.answers import is_empty
from batchmill.providers.base import Reply, Verdict
from batchmill.requests.judge import Judge
from batchmill.requests.model import Endpoint, OnUnknown, RequestState
from batchmill.requests.work import Attempt
from batchmill.routing.names import Target
from batchmill.routing.path import Path, Step, What
from tests.unit.test_judge import ANSWER, RULES, KeepAWeek, attempt

judge = Judge(rules=RULES, prices=Pricer(), keeping=KeepAWeek(), now_ms=lambda: 7)
ASKED = Target(provider="openai", model="gpt-4o-mini")
GIVEN_UP = Target(provider="anthropic", model="claude")

FAULTY = Reply(verdict=Verdict.RETRY, status_code=500, error_code="server_error", error_message="oops")
UNKNOWN = Reply(verdict=Verdict.UNKNOWN, error_code="request_timeout")
UNREACHABLE = Reply(verdict=Verdict.UNREACHABLE, error_code="connect_failed")
BLOCKED = Reply(verdict=Verdict.BLOCKED, status_code=429, error_code="insufficient_quota")
REFUSED = Reply(verdict=Verdict.REFUSED, status_code=400, error_code="invalid_request_error")
NO_SUCH_MODEL = Reply(verdict=Verdict.REFUSED, status_code=404, error_code="model_not_found")
TOO_FAST = Reply(verdict=Verdict.THROTTLED, status_code=429, retry_after_s=2.0)
TOO_FAST_FOR_LONG = replace(TOO_FAST, retry_after_s=3_600.0)
EMPTY = replace(ANSWER, is_empty=True)


def nth(number: int, *, has_next: bool = True, **how: object) -> Attempt:
    """The so-manieth call of a request to its model."""
    tried = attempt(tries=number - 1, **how)  # type: ignore[arg-type]
    return replace(tried, has_next=has_next)


@pytest.mark.parametrize(
    ("reply", "at_once", "second_time"),
    [
        (FAULTY, False, True),
        (UNKNOWN, False, True),
        (UNREACHABLE, False, True),
        (BLOCKED, True, True),
        (NO_SUCH_MODEL, True, True),
        (TOO_FAST_FOR_LONG, True, True),
        (TOO_FAST, False, False),
        (REFUSED, False, False),
        (ANSWER, False, False),
    ],
)
def test_what_leaves_it_to_the_next(reply: Reply, at_once: bool, second_time: bool) -> None:
    """A passing fault the second time, what will not pass at once, and never what is the request's own."""
    for number, goes_on in ((1, at_once), (2, second_time)):
        outcome = judge.judge(nth(number), reply)
        assert (ASKED in outcome.attempt.job.path.given_up) is goes_on
        if goes_on:
            assert (outcome.state, outcome.delay_ms, outcome.tries) == (RequestState.PENDING, 0, 0)


def test_who_is_always_too_fast_is_left_in_the_end() -> None:
    """Where a lone model would fail the request, another is asked: nobody has answered it yet."""
    patient = RULES.most_throttles - 1
    last = replace(attempt(throttles=patient), has_next=True)
    outcome = judge.judge(last, TOO_FAST)
    assert (outcome.state, outcome.throttles) == (RequestState.PENDING, 0)
    assert ASKED in outcome.attempt.job.path.given_up
    earlier = replace(attempt(throttles=patient - 1), has_next=True)
    assert not judge.judge(earlier, TOO_FAST).attempt.job.path.given_up


def test_without_a_next_nothing_is_given_up() -> None:
    """A lone model is tried as often as the rules say, and its path stays empty."""
    for number in (1, 2, 3):
        outcome = judge.judge(nth(number, has_next=False), FAULTY)
        assert outcome.attempt.job.path == Path()
    assert outcome.state is RequestState.FAILED


def test_a_call_that_may_have_been_billed_is_not_made_elsewhere_against_the_owners_wish() -> None:
    """With `--on-unknown fail` the line fails, whoever else could be asked."""
    outcome = judge.judge(nth(2, on_unknown=OnUnknown.FAIL), UNKNOWN)
    assert outcome.state is RequestState.FAILED


def test_calls_to_others_are_not_counted_again() -> None:
    """The next model has its own tries and its own waits."""
    second = replace(nth(1), number=4, provider="openai")
    second.job.note(Step(target=GIVEN_UP, what=What.TRIED, why="500", at_ms=1, count=3))
    assert second.nth_there == 1
    outcome = judge.judge(second, FAULTY)
    assert ASKED not in outcome.attempt.job.path.given_up
    waiting = judge.judge(replace(second, has_next=False), UNREACHABLE)
    assert waiting.delay_ms <= 500, "it waits as after a first call"


def test_the_end_is_on_the_path() -> None:
    """Who answered after others had been given up; and nothing where it was simply whom it asked for."""
    plain = judge.judge(nth(1), ANSWER)
    assert plain.attempt.job.path == Path()
    later = nth(1)
    later.job.note(Step(target=GIVEN_UP, what=What.TRIED, why="500", at_ms=1))
    steps = judge.judge(later, ANSWER).attempt.job.path.steps
    assert [(step.target, step.what, step.at_ms) for step in steps[1:]] == [(ASKED, What.ANSWERED, 7)]


def test_an_empty_answer_is_asked_for_once_more_and_then_taken() -> None:
    """It is mostly a slip of the provider's; twice, it is what the model has to say. Both are paid for."""
    first = judge.judge(nth(1, has_next=False), EMPTY)
    assert (first.state, first.tries) == (RequestState.PENDING, 1)
    assert first.cost.nanos == judge.judge(nth(1), ANSWER).cost.nanos
    second = judge.judge(nth(2, has_next=False), EMPTY)
    assert second.state is RequestState.DONE


@pytest.mark.parametrize(
    ("message", "reason", "empty"),
    [
        ({"content": "hi"}, "stop", False),
        ({"content": ""}, "stop", True),
        ({"content": None}, "stop", True),
        ({"content": ""}, "length", False),
        ({"content": None}, "content_filter", False),
        ({"content": None, "refusal": "no"}, "stop", False),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls", False),
    ],
)
def test_what_an_empty_answer_is(message: dict[str, object], reason: str, empty: bool) -> None:
    """It ended well and says nothing: neither cut short, nor filtered, nor a refusal, nor a call."""
    answer = {"choices": [{"message": message, "finish_reason": reason}]}
    assert is_empty(Endpoint.CHAT, answer) is empty
    assert not is_empty(Endpoint.EMBEDDINGS, {"data": []})
