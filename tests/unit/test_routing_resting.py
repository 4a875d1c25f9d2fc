"""Resting: what people are told of the models that are left alone."""

import pytest

from batchmill.providers.base import Verdict
from batchmill.routing.circuits import (
    NEW,
    Cause,
    Circuit,
    CircuitRules,
    CircuitState,
    Event,
    after,
    may_call,
    probing,
)
from batchmill.routing.resting import left_alone, not_closed, open_until_ms

NOW_MS = 1_000_000
KEY = ("openai", "gpt-4o-mini")
RULES = CircuitRules(threshold=5, failing_ms=10_000)


def failed(circuit: Circuit, times: int, now_ms: int) -> Circuit:
    """After so many failures in a row."""
    for _ in range(times):
        event = Event(verdict=Verdict.RETRY, sent_ms=now_ms, reason="out of order")
        circuit = after(circuit, event, now_ms, RULES)
    return circuit


OPEN = failed(NEW, RULES.threshold, NOW_MS)


def test_an_open_circuit_is_told_with_its_times_and_cause() -> None:
    """Since when, until when, how often and why are those of the circuit that decides."""
    [resting] = not_closed({KEY: OPEN}, NOW_MS)
    assert resting.target.key == KEY
    assert (resting.state, resting.cause, resting.times) == (CircuitState.OPEN, Cause.FAILING, 1)
    assert (resting.since_ms, resting.until_ms) == (NOW_MS, NOW_MS + RULES.failing_ms)
    assert resting.in_words(NOW_MS + 1) == "rests for 10 s more: out of order"


def test_a_closed_circuit_is_not_told() -> None:
    """Neither a new one nor one with a few failures."""
    assert not_closed({KEY: NEW, ("local", "x"): failed(NEW, 1, NOW_MS)}, NOW_MS) == []


@pytest.mark.parametrize("later_ms", [0, RULES.failing_ms - 1, RULES.failing_ms])
def test_left_alone_is_whom_no_call_goes_to(later_ms: int) -> None:
    """One whose time is over is no longer left alone, though its circuit is still open."""
    now_ms = NOW_MS + later_ms
    until_ms = may_call(OPEN, now_ms).until_ms
    assert open_until_ms({KEY: OPEN}, now_ms) == ({} if until_ms is None else {KEY: until_ms})
    assert len(left_alone({KEY: OPEN}, now_ms)) == (until_ms is not None)
    assert [resting.is_due for resting in not_closed({KEY: OPEN}, now_ms)] == [until_ms is None]


def test_a_probe_that_is_out() -> None:
    """It is told as such, since it went out; nobody else is let through meanwhile."""
    tried = probing(OPEN, NOW_MS + 20_000, call_timeout_ms=5_000)
    [resting] = left_alone({KEY: tried}, NOW_MS + 20_001)
    assert (resting.state, resting.since_ms) == (CircuitState.HALF_OPEN, NOW_MS + 20_000)
    assert resting.until_ms == NOW_MS + 25_000
    assert "a single call" in resting.in_words(NOW_MS + 20_001)


def test_opened_again_is_told_with_how_often() -> None:
    """A probe that failed opens it for longer, and that is counted."""
    again = failed(probing(OPEN, NOW_MS + 10_000, call_timeout_ms=5_000), 1, NOW_MS + 10_000)
    [resting] = not_closed({KEY: again}, NOW_MS + 10_000)
    assert resting.in_words(NOW_MS + 10_000) == "rests for 20 s more, opened 2 times in a row: out of order"
