"""What the headers of an answer say of the provider's limits."""

import pytest

from batchmill.limits.model import Quota
from batchmill.providers import signals
from batchmill.providers.anthropic.wire import quotas
from batchmill.providers.gemini.wire import GeminiWire

Told = tuple[str, int, int | None, float | None]


def told(found: tuple[Quota, ...]) -> list[Told]:
    """Dimension, limit, what remains and the reset of each."""
    return [(quota.dimension.value, quota.limit, quota.remaining, quota.reset_s) for quota in found]


NOW = 1_795_165_200.0  # Fri, 20 Nov 2026 09:00:00 GMT


def test_anthropics_limits() -> None:
    """Each dimension with what is left and the seconds until all of it is there again."""
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-20T09:00:01Z",
        "anthropic-ratelimit-tokens-limit": "40000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-11-20T09:01:00.5Z",
        "anthropic-ratelimit-input-tokens-limit": "30000",
        "anthropic-ratelimit-input-tokens-remaining": "30000",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-20T08:59:59Z",
        "anthropic-ratelimit-output-tokens-limit": "8000",
        "anthropic-ratelimit-output-tokens-remaining": "7000",
        "anthropic-ratelimit-output-tokens-reset": "2026-11-20T10:00:30+01:00",
    }
    assert told(quotas(headers, NOW)) == [
        ("requests", 50, 49, 1.0),
        ("tokens", 40_000, 0, 60.5),
        ("input_tokens", 30_000, 30_000, 0.0),
        ("output_tokens", 8_000, 7_000, 30.0),
    ]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        ({"anthropic-ratelimit-requests-remaining": "4"}, []),
        ({"anthropic-ratelimit-requests-limit": "many"}, []),
        ({"anthropic-ratelimit-requests-limit": "0"}, []),
        ({"anthropic-ratelimit-requests-limit": "-1"}, []),
        ({"anthropic-ratelimit-requests-limit": "9" * 30}, []),
        ({"anthropic-ratelimit-requests-limit": "50"}, [("requests", 50, None, None)]),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "1.5",
                "anthropic-ratelimit-requests-reset": "soon",
            },
            [("requests", 50, None, None)],
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-reset": "2026-11-20T09:00:01",
            },
            [("requests", 50, None, None)],
        ),
    ],
)
def test_what_anthropic_does_not_say_is_none(headers: dict[str, str], found: list[object]) -> None:
    """No limit, no entry; a moment without its zone is no moment."""
    assert told(quotas(headers, NOW)) == found


def test_openais_limits() -> None:
    """Resets are Go durations."""
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }
    assert told(signals.quotas(headers)) == [
        ("requests", 500, 499, pytest.approx(0.12)),
        ("tokens", 30_000, 0, 360.0),
    ]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, []),
        (
            {
                "x-ratelimit-limit-tokens": "-1",
                "x-ratelimit-remaining-tokens": "-1",
                "x-ratelimit-reset-tokens": "0",
            },
            [],
        ),
        ({"x-ratelimit-limit-requests": "5"}, [("requests", 5, None, None)]),
        (
            {
                "x-ratelimit-limit-requests": "5",
                "x-ratelimit-remaining-requests": "-1",
                "x-ratelimit-reset-requests": "1795165230",
            },
            [("requests", 5, None, None)],
        ),
    ],
)
def test_what_openai_does_not_say_is_none(headers: dict[str, str], found: list[object]) -> None:
    """Azure's -1, -1 and 0 are no limit, and another's epoch is no duration."""
    assert told(signals.quotas(headers)) == found


def test_gemini_says_nothing_of_limits() -> None:
    """Whatever a header of that name is in front of it, it is not of Gemini's limits."""
    headers = {"x-ratelimit-limit-requests": "5", "anthropic-ratelimit-requests-limit": "5"}
    assert GeminiWire().quotas(headers) == ()
