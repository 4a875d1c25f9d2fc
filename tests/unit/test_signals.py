"""What each error a provider is known to send means for the request."""

from typing import Any

import pytest

from batchmill.providers.base import Verdict
from batchmill.providers.signals import (
    LONGEST_WAIT_S,
    ErrorObject,
    classify,
    duration_s,
    explain,
    find_error,
    retry_after_s,
)

TOO_LARGE = (
    "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, "
    "Requested 34307. The input or output tokens must be reduced in order to run successfully."
)
REACHED = (
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29500, "
    "Requested 1073. Please try again in 1.146s."
)


def verdict_on(status: int, **error: Any) -> tuple[Verdict, str]:
    return classify(status, explain(status, {"error": error}))


@pytest.mark.parametrize(
    ("status", "error", "verdict", "code"),
    [
        (429, {"code": "rate_limit_exceeded", "message": REACHED}, Verdict.THROTTLED, "rate_limit_exceeded"),
        (429, {"code": "rate_limit_exceeded", "message": TOO_LARGE}, Verdict.REFUSED, "request_too_large"),
        (
            429,
            {"message": "Rate limit: Limit 100, Used 0, Requested 101."},
            Verdict.REFUSED,
            "request_too_large",
        ),
        (
            429,
            {"type": "insufficient_quota", "code": "insufficient_quota"},
            Verdict.BLOCKED,
            "insufficient_quota",
        ),
        (
            429,
            {"type": "insufficient_quota", "code": "credit_balance_exhausted"},
            Verdict.BLOCKED,
            "credit_balance_exhausted",
        ),
        (
            429,
            {"code": "organization_spend_limit_exceeded"},
            Verdict.BLOCKED,
            "organization_spend_limit_exceeded",
        ),
        (429, {"code": "project_spend_limit_exceeded"}, Verdict.BLOCKED, "project_spend_limit_exceeded"),
        (
            429,
            {"code": "organization_usage_limit_exceeded"},
            Verdict.BLOCKED,
            "organization_usage_limit_exceeded",
        ),
        (429, {"type": "insufficient_quota", "code": "something_new"}, Verdict.BLOCKED, "something_new"),
        (400, {"code": "billing_hard_limit_reached"}, Verdict.BLOCKED, "billing_hard_limit_reached"),
        (429, {"code": "slow_down"}, Verdict.THROTTLED, "slow_down"),
        (503, {"code": "slow_down"}, Verdict.RETRY, "slow_down"),
    ],
)
def test_openai_says_429_in_many_voices(
    status: int, error: dict[str, Any], verdict: Verdict, code: str
) -> None:
    """Too fast waits, too large is refused for good, no money blocks the account: by code, type or words."""
    assert verdict_on(status, **error) == (verdict, code)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(s, Verdict.REFUSED) for s in (400, 404, 413, 415, 418, 422, 501)]
    + [(s, Verdict.BLOCKED) for s in (301, 307)]
    + [(s, Verdict.BLOCKED) for s in (401, 402, 403)]
    + [(s, Verdict.RETRY) for s in (408, 409, 500, 502, 503, 504, 520, 529)]
    + [(429, Verdict.THROTTLED), (524, Verdict.UNKNOWN)],
)
def test_a_bare_status_is_enough(status: int, verdict: Verdict) -> None:
    """Every HTTP error has a verdict and a cause, with no body to go by."""
    assert classify(status, explain(status, None))[0] == verdict
    assert classify(status, explain(status, None))[1]


@pytest.mark.parametrize(
    ("error", "verdict", "code"),
    [
        ({"code": 429, "message": "Rate limited upstream"}, Verdict.THROTTLED, "http_429"),
        ({"code": "429", "message": "Rate limited upstream"}, Verdict.THROTTLED, "http_429"),
        ({"code": 402, "message": "Insufficient credits"}, Verdict.BLOCKED, "http_402"),
        ({"code": 400, "message": "bad"}, Verdict.REFUSED, "http_400"),
        ({"code": 502, "message": "Provider returned error"}, Verdict.RETRY, "http_502"),
        ({"code": "server_error", "message": "oops"}, Verdict.RETRY, "server_error"),
        ({"code": "rate_limit_exceeded"}, Verdict.THROTTLED, "rate_limit_exceeded"),
        ({"code": "insufficient_quota"}, Verdict.BLOCKED, "insufficient_quota"),
        ({"type": "invalid_request_error", "message": "no"}, Verdict.REFUSED, "invalid_request_error"),
        ({"message": "who knows"}, Verdict.RETRY, "http_500"),
        ({"code": 200, "message": "odd"}, Verdict.RETRY, "http_500"),
    ],
)
def test_error_inside_a_200_is_judged_by_its_own_code(
    error: dict[str, Any], verdict: Verdict, code: str
) -> None:
    """OpenRouter's 200 with an error means what the same error means over HTTP; unnamed, it is passing."""
    assert verdict_on(200, **error) == (verdict, code)


def test_flagged_input_is_the_requests_fault() -> None:
    """OpenRouter's 403 for moderation refuses one request; it must not block the key."""
    error = {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"], "flagged_input": "y"}}
    assert verdict_on(403, **error) == (Verdict.REFUSED, "input_flagged")


def test_a_model_out_of_reach_does_not_block_the_others() -> None:
    """403 model_not_found refuses the request."""
    assert verdict_on(403, code="model_not_found")[0] == Verdict.REFUSED


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m", "error_type": "validation"}, "m"),
        ([{"error": {"message": "m", "code": 400, "status": "INVALID_ARGUMENT"}}], "m"),
        ({"object": "error", "message": "m", "code": 400}, "m"),
        ({"choices": [{"index": 0}, {"error": {"message": "m", "code": 502}}]}, "m"),
    ],
)
def test_an_error_is_found_wherever_it_is_put(answer: Any, message: str) -> None:
    """Object, text, list, vLLM's and OpenRouter's choices: the message is read."""
    found = find_error(answer)
    assert found is not None
    assert found.message == message


@pytest.mark.parametrize("answer", [None, 3, "x", [], {}, {"error": None}, {"error": {}}, {"choices": None}])
def test_no_error_where_there_is_none(answer: Any) -> None:
    """A null error is no error, and odd shapes raise nothing."""
    assert find_error(answer) is None


@pytest.mark.parametrize(
    "error",
    [
        {"code": []},
        {"code": {}, "type": 5, "message": ["a"]},
        {"code": True},
        {"metadata": "x"},
        7,
        ["a"],
        True,
    ],
)
def test_odd_errors_still_get_a_verdict(error: Any) -> None:
    """Whatever a provider puts there, the status decides and nothing raises."""
    assert classify(500, explain(500, {"error": error}))[0] == Verdict.RETRY


def test_fastapi_detail_is_the_message() -> None:
    """A server that explains itself in `detail` is quoted."""
    assert explain(422, {"detail": "no such field"}).message == "no such field"


@pytest.mark.parametrize(
    ("headers", "message", "wait"),
    [
        ({"retry-after-ms": "250"}, "", 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, "", 0.25),
        ({"retry-after": "2"}, "", 2.0),
        ({"retry-after": "0.5"}, "", 0.5),
        ({"retry-after": "Fri, 20 Nov 2026 09:00:30 GMT"}, "", 30.0),
        (
            {"retry-after": "Fri, 20 Nov 2026 09:00:30 GMT", "date": "Fri, 20 Nov 2026 09:00:20 GMT"},
            "",
            10.0,
        ),
        ({"retry-after": "Fri, 20 Nov 2020 09:00:30 GMT"}, "", 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12ms"}, "", 0.012),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            "",
            360.0,
        ),
        ({"x-ratelimit-remaining-tokens": "17", "x-ratelimit-reset-tokens": "6m0s"}, "", None),
        ({"x-ratelimit-remaining-tokens": "-1", "x-ratelimit-reset-tokens": "0"}, "", None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1763629230"}, "", None),
        ({}, REACHED, 1.146),
        ({}, "Please try again in 6m0s. Visit", 360.0),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "Please retry after 6 seconds.", 6.0),
        ({}, "Please try again in a while", None),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "1e300"}, "", LONGEST_WAIT_S),
        ({"retry-after": "-3"}, "", 0.0),
        ({}, "", None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], message: str, wait: float | None) -> None:
    """Milliseconds, seconds, dates, Go durations of whatever ran out, or words, in that order."""
    now = 1_795_165_200.0  # Fri, 20 Nov 2026 09:00:00 GMT
    assert retry_after_s(headers, message, now) == (None if wait is None else pytest.approx(wait))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("0s", 0.0),
        ("150µs", 0.00015),
        ("7", 7.0),
    ],
)
def test_go_durations(text: str, seconds: float) -> None:
    """OpenAI's resets are Go durations; plain numbers are seconds."""
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "-1s", "1s ", "1.2.3s", "∞"])
def test_no_duration(text: str) -> None:
    """What is no duration is None, not an exception."""
    assert duration_s(text) is None


def test_a_throttle_of_exactly_the_limit_fits() -> None:
    """Asking for the whole limit is slow, not impossible."""
    error = ErrorObject(message="Limit 100, Used 50, Requested 100.")
    assert classify(429, error)[0] == Verdict.THROTTLED


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ("Limit 1,000,000, Used 999,990, Requested 500.", Verdict.THROTTLED),
        ("Limit: 30,000, Requested: 4,000.", Verdict.THROTTLED),
        ("Limit 30,000, Requested 34,307.", Verdict.REFUSED),
        ("Limit 900, Used 0, Requested 1,000.", Verdict.REFUSED),
    ],
)
def test_commas_between_thousands(message: str, verdict: Verdict) -> None:
    """A limit of a million is not taken for one of one, which nothing would fit."""
    assert classify(429, ErrorObject(code="rate_limit_exceeded", message=message))[0] == verdict
