"""What Google's errors say in their details, at Gemini's own API and at its OpenAI endpoint alike."""

from typing import Any

import pytest

from batchmill.providers import rpc_status, signals
from batchmill.providers.base import Verdict

RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}
BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


def quota(*quota_ids: Any) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": quota_id} for quota_id in quota_ids],
    }


@pytest.mark.parametrize(
    ("details", "wait_s"),
    [
        ([RETRY], 36.0),
        ([{"@type": "x"}, {**RETRY, "retryDelay": "0.25s"}], 0.25),
        ([quota("TokensPerMinute"), RETRY], 36.0),
        ([quota("TokensPerMinute", "RequestsPerDay"), RETRY], rpc_status.DAILY_QUOTA_WAIT_S),
        ([quota("RequestsPerDay")], rpc_status.DAILY_QUOTA_WAIT_S),
        ([quota("RequestsPerDay"), {**RETRY, "retryDelay": "7200s"}], 7200.0),
        ([quota("TokensPerMinute")], None),
        ([{**RETRY, "retryDelay": "soon"}], None),
        ([{**RETRY, "retryDelay": 36}], None),
        ([{**RETRY, "retryDelay": "-3s"}], None),
        ([quota(7), quota(None), {"@type": 5}, 7, None], None),
        ([{**quota(), "violations": "PerDay"}], None),
        ({}, None),
        ("PerDay", None),
        (None, None),
    ],
)
def test_the_wait_that_an_error_asks_for(details: Any, wait_s: float | None) -> None:
    """As told; an hour at least where a day's quota is gone, and nothing raises."""
    assert rpc_status.wait_s(details) == wait_s


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ([BAD_KEY], "api_key_invalid"),
        ([RETRY, BAD_KEY], "api_key_invalid"),
        ([{**BAD_KEY, "reason": 5}], ""),
        ([RETRY], ""),
        (None, ""),
    ],
)
def test_the_reason_in_a_word(details: Any, reason: str) -> None:
    """In lower case, as codes are elsewhere."""
    assert rpc_status.reason(details) == reason


def test_a_bad_key_at_the_openai_endpoint_blocks_the_account() -> None:
    """It says 400, which would refuse every line for good."""
    told = [{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [BAD_KEY]}}]
    error = signals.explain(400, told)
    assert signals.classify(400, error) == (Verdict.BLOCKED, "api_key_invalid")


def test_the_errors_wait_comes_after_headers_and_before_words() -> None:
    """The header is nearest to the server, the words are nearest to people."""
    words = "Please try again in 5s"
    assert signals.retry_after_s({"retry-after": "2"}, words, 0.0, 36.0) == 2.0
    assert signals.retry_after_s({}, words, 0.0, 36.0) == 36.0
    assert signals.retry_after_s({}, words, 0.0, None) == 5.0
