"""The sandbox's rate limits without a socket: what is counted, what is refused, what the headers say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.periods import go_duration
from batchmill.providers.base import Verdict
from batchmill.providers.signals import classify, duration_s, explain, retry_after_s
from batchmill.requests.model import Endpoint
from batchmill.sandbox.limits import Admission, Allowance, LimitRules, Limits
from batchmill.sandbox.outcomes import Answer
from batchmill.sandbox.prompts import Asked
from batchmill.sandbox.wires.openai.limits import bound_tokens
from batchmill.sandbox.wires.openai.read import read_call
from batchmill.sandbox.wires.openai.wire import OPENAI

S = 1_000_000_000
MS = 1_000_000


class Gate:
    """Limits on one model's calls, and their clock."""

    def __init__(self, rpm: int | None = None, tpm: int | None = None, **rules: Any) -> None:
        self.now_ns = 5 * S
        self.limits = Limits(
            LimitRules(rpm=Allowance(of_all=rpm), tpm=Allowance(of_all=tpm), **rules), lambda: self.now_ns
        )

    def call(self, tokens: int = 2, model: str = "m") -> Admission:
        """A call whose prompt and answer come to so many tokens together, 2 at least."""
        return self.limits.admit(chat(max_tokens=tokens - 1, model=model), OPENAI)

    def wait_for(self, admission: Admission) -> None:
        """Wait as long as the refusal asks."""
        assert admission.refusal is not None
        self.now_ns += int(dict(admission.refusal.headers)["retry-after-ms"]) * MS

    def statement(self) -> dict[str, Any]:
        """Of the model `m`."""
        stated: dict[str, Any] = self.limits.statement()["m"]
        return stated


def chat(model: str = "m", text: str = "abcd", **body: Any) -> Asked:
    return read_call(Endpoint.CHAT, {"model": model, "messages": [{"role": "user", "content": text}], **body})


def refusal_of(admission: Admission) -> Answer:
    assert admission.refusal is not None
    return OPENAI.refuse(admission.refusal, "req_1")


def error_of(admission: Admission) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(refusal_of(admission).body)["error"]
    return error


@pytest.mark.parametrize(
    ("endpoint", "body", "tokens"),
    [
        (Endpoint.CHAT, {"messages": [{"content": "two words"}], "max_tokens": 10}, 12),
        (Endpoint.CHAT, {"messages": [{"content": "two words"}], "max_completion_tokens": 10, "n": 3}, 32),
        (Endpoint.CHAT, {"messages": [{"content": "two words"}], "n": 2}, 34),
        (Endpoint.COMPLETIONS, {"prompt": ["abcd", "efgh"], "max_tokens": 5, "n": 2}, 22),
        (Endpoint.RESPONSES, {"input": "abcd", "instructions": "abcd", "max_output_tokens": 7}, 9),
        (Endpoint.EMBEDDINGS, {"input": ["abcd", "ab cd"]}, 3),
        (Endpoint.MODERATIONS, {"input": "abcd"}, 1),
    ],
)
def test_bound_of_a_call(endpoint: Endpoint, body: dict[str, Any], tokens: int) -> None:
    """Prompt and the longest answer, by choice and by prompt; 16 where nothing bounds it; no answer in tokens, none."""
    assert bound_tokens(read_call(endpoint, {"model": "m", **body})) == tokens


def test_requests_are_refused_in_openais_words() -> None:
    """The fourth of three: 429 with type, code, figures and wait that agree with each other."""
    gate = Gate(rpm=3, forgive_refused=True)
    for _ in range(3):
        assert gate.call().refusal is None
        gate.now_ns += S
    refused = gate.call()
    error = error_of(refused)
    assert (refused.refusal.status, error["type"], error["code"], error["param"]) == (  # type: ignore[union-attr]
        429,
        "requests",
        "rate_limit_exceeded",
        None,
    )
    assert (
        "requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 57s." in error["message"]
    )
    assert dict(refused.refusal.headers) == {"retry-after-ms": "57000", "retry-after": "57"}  # type: ignore[union-attr]
    assert dict(refused.headers) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "59s",
    }


def test_headers_tell_what_remains() -> None:
    """Each answer tells both limits, what is left of them, and when all of it will be."""
    gate = Gate(rpm=10, tpm=100)
    gate.call(30)
    gate.now_ns += 1500 * MS
    assert dict(gate.call(20).headers) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "8",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "50",
        "x-ratelimit-reset-tokens": "1m0s",
    }


def test_models_have_windows_of_their_own() -> None:
    """One model's calls do not use up another's limit; a named one has its own; without one there are no headers."""
    rules = LimitRules(rpm=Allowance(of_all=1, of_model={"big": 2}), tpm=Allowance(of_model={"big": 50}))
    limits = Limits(rules, lambda: 0)
    assert [
        limits.admit(chat(model), OPENAI).refusal is None for model in ("m", "n", "m", "big", "big", "big")
    ] == [
        *(True, True, False),
        *(True, True, False),
    ]
    assert len(limits.admit(chat("big"), OPENAI).headers) == 6
    only_big = Limits(LimitRules(rpm=Allowance(of_model={"big": 2})), lambda: 0)
    assert only_big.admit(chat("m"), OPENAI) == Admission(refusal=None, headers=())
    assert only_big.statement() == {}


def test_too_large_is_refused_for_good() -> None:
    """More tokens than the limit: no wait is named; it counts as a request, its tokens do not count."""
    gate = Gate(rpm=10, tpm=100)
    refused = gate.call(101)
    error = error_of(refused)
    assert error["type"] == "tokens"
    assert "Request too large for m" in error["message"]
    assert "Limit 100, Requested 101." in error["message"]
    assert "try again" not in error["message"]
    assert refused.refusal.headers == ()  # type: ignore[union-attr]
    assert dict(refused.headers)["x-ratelimit-remaining-requests"] == "9"
    assert dict(refused.headers)["x-ratelimit-remaining-tokens"] == "100"
    assert gate.call(100).refusal is None


def test_refused_calls_count() -> None:
    """Knocking keeps the door shut: who waits as told gets in, who does not is told to wait again."""
    gate = Gate(rpm=2)
    assert [gate.call().refusal is None for _ in range(4)] == [True, True, False, False]
    gate.now_ns += 59 * S
    refused = gate.call()
    assert "Please try again in 1s." in error_of(refused)["message"]
    gate.wait_for(refused)
    assert gate.call().refusal is None
    assert gate.statement()["requests"] == {"limit": 2, "most_in_a_window": 5, "refused": 3}


def test_forgiven_calls_do_not_count() -> None:
    """With `forgive_refused` only what was let through fills the window."""
    gate = Gate(rpm=2, tpm=100, forgive_refused=True)
    assert [gate.call().refusal is None for _ in range(9)] == [True] * 2 + [False] * 7
    assert gate.statement()["requests"] == {"limit": 2, "most_in_a_window": 2, "refused": 7}
    assert gate.statement()["tokens"]["most_in_a_window"] == 4


@pytest.mark.parametrize(("rpm", "apart_ms"), [(120, 500), (60, 1000), (30, 2000), (90, 1000)])
def test_seconds_are_held_to_their_share(rpm: int, apart_ms: int) -> None:
    """With `per_second` a burst is refused although the minute has room, and so far apart all is let through."""
    gate = Gate(rpm=rpm, per_second=True, forgive_refused=True)
    share = max(1, rpm // 60)
    assert [gate.call().refusal is None for _ in range(share + 1)] == [True] * share + [False]
    gate.wait_for(gate.call())
    let_in = []
    for _ in range(rpm):
        let_in.append(gate.call().refusal is None)
        gate.now_ns += apart_ms * MS
    assert all(let_in[: rpm - share])


calls = st.lists(st.tuples(st.integers(0, 20_000), st.integers(2, 60)), max_size=60)


@given(calls, st.booleans(), st.booleans())
def test_a_refusal_is_a_promise(arrivals: list[tuple[int, int]], forgives: bool, per_second: bool) -> None:
    """Whatever came before: who waits the milliseconds that a refusal names, gets in; batchmill reads them so."""
    gate = Gate(rpm=6, tpm=90, forgive_refused=forgives, per_second=per_second)
    for gap_ms, tokens in arrivals:
        gate.now_ns += gap_ms * MS + 1
        admission = gate.call(tokens)
        if admission.refusal is None:
            continue
        error = explain(429, json.loads(refusal_of(admission).body))
        assert classify(429, error) == (Verdict.THROTTLED, "rate_limit_exceeded")
        headers = dict(admission.headers) | dict(admission.refusal.headers)
        asked_ms = int(headers["retry-after-ms"])
        assert 0 < asked_ms <= 60_000
        assert retry_after_s(headers, error.message, 0.0) == asked_ms / 1000
        assert retry_after_s({}, error.message, 0.0) == pytest.approx(asked_ms / 1000)
        assert int(headers["retry-after"]) == -(-asked_ms // 1000)
        gate.wait_for(admission)
        assert gate.call(tokens).refusal is None


@given(st.integers(0, 10**9))
def test_durations_are_read_as_written(ms: int) -> None:
    """What is written as Go does is what batchmill reads."""
    assert duration_s(go_duration(ms)) == pytest.approx(ms / 1000)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (12, "12ms"), (1000, "1s"), (1146, "1.146s"), (60_000, "1m0s"), (3_600_500, "1h0m0.5s")],
)
def test_durations_look_as_gos(ms: int, text: str) -> None:
    """The shapes that OpenAI's headers have."""
    assert go_duration(ms) == text
