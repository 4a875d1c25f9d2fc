"""Whoever is asked, however: what goes wrong means the same, and a call is sent once whatever comes of it."""

from typing import Any

import pytest

from batchmill.cache.policy import storable
from batchmill.providers.base import Verdict
from batchmill.requests.model import Endpoint
from batchmill.sandbox.faults import FAULTS
from batchmill.sandbox.prompts import WireName
from tests.conformance.conftest import LIMITED
from tests.support.ways import PATIENCE_S, Stage, Way

WIRES = (WireName.OPENAI, WireName.ANTHROPIC, WireName.GEMINI)
SHORT_S = 0.3


def each(told: Any, way: Way) -> Any:
    """What is told of the way's wire, where the wires differ."""
    return told[WIRES.index(way.wire)] if isinstance(told, tuple) else told


REQUEST = ("invalid_request_error", "invalid_request_error", "invalid_argument")

MET: list[tuple[str, Verdict, str | tuple[str, str, str], int | tuple[int, int, int] | None]] = [
    ("400", Verdict.REFUSED, REQUEST, 400),
    (
        "401",
        Verdict.BLOCKED,
        ("invalid_api_key", "authentication_error", "access_token_type_unsupported"),
        401,
    ),
    ("402", Verdict.BLOCKED, ("billing_error", "billing_error", "credit_balance_exhausted"), 402),
    ("403", Verdict.BLOCKED, ("permission_error", "permission_error", "permission_denied"), 403),
    ("404", Verdict.REFUSED, ("model_not_found", "not_found_error", "model_not_found"), 404),
    ("408", Verdict.RETRY, ("server_error", "timeout_error", "deadline_exceeded"), 408),
    ("409", Verdict.RETRY, ("conflict_error", "conflict_error", "aborted"), 409),
    ("422", Verdict.REFUSED, REQUEST, 422),
    ("429", Verdict.THROTTLED, ("rate_limit_exceeded", "rate_limit_error", "resource_exhausted"), 429),
    ("500", Verdict.RETRY, ("server_error", "api_error", "internal"), 500),
    ("502", Verdict.RETRY, ("server_error", "api_error", "unavailable"), 502),
    ("503", Verdict.RETRY, ("slow_down", "api_error", "unavailable"), 503),
    ("504", Verdict.RETRY, ("server_error", "timeout_error", "deadline_exceeded"), 504),
    ("529", Verdict.RETRY, ("overloaded_error", "overloaded_error", "unavailable"), 529),
    (
        "quota",
        Verdict.BLOCKED,
        ("insufficient_quota", "enforced_spend_limit_reached", "credit_balance_exhausted"),
        429,
    ),
    (
        "too-large",
        Verdict.REFUSED,
        ("request_too_large", "request_too_large", "context_length_exceeded"),
        (429, 413, 400),
    ),
    ("200-error", Verdict.RETRY, ("http_502", "overloaded_error", "unavailable"), 200),
    ("malformed", Verdict.UNKNOWN, "malformed_answer", 200),
    ("truncated", Verdict.UNKNOWN, "broken_answer", 200),
    ("reset-before", Verdict.UNKNOWN, "connection_reset", None),
    ("reset-after", Verdict.UNKNOWN, "connection_reset", None),
    ("timeout", Verdict.UNKNOWN, "request_timeout", None),
    ("drip", Verdict.ANSWERED, "", 200),
    ("length", Verdict.ANSWERED, "", 200),
]
"""Fault, verdict, code and status: by OpenAI's, Anthropic's and Gemini's wire where they differ."""


@pytest.mark.parametrize(("fault", "verdict", "code", "status"), MET)
def test_every_fault_has_its_verdict(
    stage: Stage, way: Way, fault: str, verdict: Verdict, code: Any, status: Any
) -> None:
    """The same on every wire and by every transport, in the provider's own words; sent once."""
    with stage.broken(fault):
        met = stage.call(way, way.chat(timeout_s=SHORT_S if fault == "timeout" else PATIENCE_S))
    reply = met.reply
    found = reply.verdict, reply.error_code, reply.status_code
    assert found == (verdict, each(code, way), each(status, way))
    assert bool(reply.error_message) == (verdict is not Verdict.ANSWERED)
    assert len(met.heard) == 1


def test_no_fault_is_left_out() -> None:
    """The table above is whole."""
    assert {fault for fault, *_ in MET} == set(FAULTS)


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.billed])
def test_what_is_billed_is_never_taken_for_free(stage: Stage, way: Way, fault: str) -> None:
    """Answered with the usage that is charged, or unknown with none."""
    with stage.broken(fault):
        met = stage.call(way, way.chat())
    assert met.billed["cost_nanos"] > 0
    if met.reply.verdict is Verdict.ANSWERED:
        assert met.reply.usage is not None
        assert met.reply.usage.output_tokens == met.billed["output_tokens"]
    else:
        assert (met.reply.verdict, met.reply.usage) == (Verdict.UNKNOWN, None)


def test_an_error_bears_the_providers_id(stage: Stage, way: Way) -> None:
    """The one to show its support; Gemini's has none."""
    with stage.broken("500"):
        reply = stage.call(way, way.chat()).reply
    assert bool(reply.provider_request_id) is (way.wire is not WireName.GEMINI)


WAITS: list[tuple[str, tuple[float | None, ...]]] = [
    ("429", (0.2, 1.0, 0.2)),
    ("503", (1.0, 1.0, None)),
    ("quota", (None, None, None)),
    ("too-large", (None, None, None)),
    ("500", (None, None, None)),
]


@pytest.mark.parametrize(("fault", "waits_s"), WAITS)
def test_the_wait_asked_for_is_kept(
    stage: Stage, way: Way, fault: str, waits_s: tuple[float | None, ...]
) -> None:
    """From a header or the error's details, in seconds; none where the provider names none."""
    with stage.broken(fault):
        assert stage.call(way, way.chat()).reply.retry_after_s == each(waits_s, way)


def test_a_cut_answer_is_one_that_nobody_else_gets(stage: Stage, way: Way) -> None:
    """`length`: answered, and not kept."""
    with stage.broken("length"):
        reply = stage.call(way, way.chat()).reply
    assert (reply.verdict, reply.finish_reason, reply.is_empty) == (Verdict.ANSWERED, "length", False)
    assert not storable(reply, Endpoint.CHAT)


def test_a_dripping_answer_is_cut_off_in_time(stage: Stage, way: Way) -> None:
    """However often a byte comes, the call's own time is the whole call's."""
    with stage.broken("drip"):
        reply = stage.call(way, way.chat(timeout_s=0.05)).reply
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "request_timeout")


def test_a_limit_is_told_before_and_after_it_is_reached(stage: Stage, way: Way) -> None:
    """What is left, where headers tell; then too fast, with a wait of at most the minute it is counted in."""
    model = f"limited-{way.name}"
    replies = [stage.call(way, way.chat(model=model)).reply for _ in range(LIMITED[model] + 1)]
    told = [[(q.dimension.value, q.limit, q.remaining) for q in reply.quotas] for reply in replies]
    silent = way.wire is WireName.GEMINI
    assert told == ([[], [], []] if silent else [[("requests", 2, left)] for left in (1, 0, 0)])
    assert [reply.verdict for reply in replies] == [Verdict.ANSWERED, Verdict.ANSWERED, Verdict.THROTTLED]
    assert replies[-1].retry_after_s is not None
    assert 55 < replies[-1].retry_after_s <= 60
