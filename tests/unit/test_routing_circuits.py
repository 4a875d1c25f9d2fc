"""The circuit breaker: when a model is left alone, for how long, and how it comes back."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.providers.base import Reply, Verdict
from batchmill.routing.circuits import (
    PROBE_LOOK_MS,
    Cause,
    Circuit,
    CircuitRules,
    CircuitState,
    Event,
    Leave,
    after,
    closed_until_ms,
    event_of,
    may_call,
    probing,
)

RULES = CircuitRules(threshold=5, failing_ms=10_000, failing_most_ms=300_000)
TIMEOUT_MS = 60_000
HOUR_MS = 3_600_000
FAILURES = [Verdict.RETRY, Verdict.UNREACHABLE, Verdict.UNKNOWN]
ALIVE = [Verdict.ANSWERED, Verdict.REFUSED]

Ending = tuple[Verdict, float | None]
Action = str | int | tuple[int, Ending]
"""Call, let so many ms go by, or end one of the calls in flight."""

endings = st.tuples(st.sampled_from(Verdict), st.none() | st.floats(0, 86_400))
failing = st.tuples(st.sampled_from(FAILURES), st.none())


def actions(ends: st.SearchStrategy[Ending]) -> st.SearchStrategy[list[Action]]:
    """Enough of them to open a circuit several times."""
    return st.lists(
        st.one_of(st.just("call"), st.integers(0, 100_000), st.tuples(st.integers(0, 20), ends)),
        min_size=40,
        max_size=120,
    )


@dataclass(kw_only=True)
class Crew:
    """Workers that call one model: each asks for leave, calls, and tells how that ended, in any order or never."""

    width: int = 8
    now_ms: int = 1_000
    circuit: Circuit = field(default_factory=Circuit)
    in_flight: list[int] = field(default_factory=list)
    called: int = 0
    probed_at_ms: list[int] = field(default_factory=list)

    def call(self) -> None:
        """One more call, where that may be."""
        leave = may_call(self.circuit, self.now_ms).leave
        if leave is Leave.PROBE:
            self.circuit = probing(self.circuit, self.now_ms, call_timeout_ms=TIMEOUT_MS)
            self.probed_at_ms.append(self.now_ms)
            self.in_flight.append(self.now_ms)
        elif leave is Leave.YES and len(self.in_flight) < self.width:
            self.called += 1
            self.in_flight.append(self.now_ms)

    def end(self, which: int, verdict: Verdict, retry_after_s: float | None = None) -> None:
        """One of the calls in flight has ended."""
        if self.in_flight:
            sent_ms = self.in_flight.pop(which % len(self.in_flight))
            event = Event(verdict=verdict, sent_ms=sent_ms, retry_after_s=retry_after_s)
            self.circuit = after(self.circuit, event, self.now_ms, RULES)

    def act(self, action: Action) -> None:
        """Call, let time go by, or end a call."""
        if isinstance(action, str):
            self.call()
        elif isinstance(action, int):
            self.now_ms += action
        else:
            which, (verdict, retry_after_s) = action
            self.end(which, verdict, retry_after_s)


def ended(
    circuit: Circuit,
    verdict: Verdict,
    at_ms: int,
    *,
    sent_ms: int | None = None,
    asked_s: float | None = None,
) -> Circuit:
    event = Event(
        verdict=verdict, sent_ms=at_ms if sent_ms is None else sent_ms, retry_after_s=asked_s, reason="said"
    )
    return after(circuit, event, at_ms, RULES)


def opened(verdict: Verdict = Verdict.RETRY, at_ms: int = 1_000, asked_s: float | None = None) -> Circuit:
    """A circuit that has just opened."""
    circuit = Circuit()
    while circuit.state is CircuitState.CLOSED:
        circuit = ended(circuit, verdict, at_ms, asked_s=asked_s)
    return circuit


def probed(circuit: Circuit, verdict: Verdict, asked_s: float | None = None) -> Circuit:
    """The same after its next probe."""
    out_ms = circuit.open_until_ms
    out = probing(circuit, out_ms, call_timeout_ms=TIMEOUT_MS)
    return ended(out, verdict, out_ms + 100, sent_ms=out_ms, asked_s=asked_s)


def waits_ms(circuit: Circuit, verdict: Verdict, times: int) -> list[int]:
    """How long it stays open, each time its probe ends so."""
    found = []
    for _ in range(times):
        found.append(circuit.open_until_ms - circuit.counts_from_ms + 1)
        circuit = probed(circuit, verdict)
    return found


@pytest.mark.parametrize("verdict", FAILURES)
def test_failures_in_a_row_open_it(verdict: Verdict) -> None:
    """Five by default, of any kind of failure; one fewer does not."""
    circuit = Circuit()
    for _ in range(RULES.threshold - 1):
        circuit = ended(circuit, verdict, 1_000)
    assert may_call(circuit, 1_000).leave is Leave.YES
    circuit = ended(circuit, verdict, 1_000)
    assert (circuit.state, circuit.cause, circuit.reason) == (CircuitState.OPEN, Cause.FAILING, "said")
    assert (may_call(circuit, 1_000).leave, may_call(circuit, 1_000).until_ms) == (Leave.NO, 11_000)


@pytest.mark.parametrize("verdict", ALIVE)
def test_an_answer_between_them_starts_the_count_anew(verdict: Verdict) -> None:
    """A refusal too: who refuses is alive."""
    circuit = Circuit()
    for _ in range(3 * RULES.threshold):
        circuit = ended(circuit, Verdict.RETRY, 1_000)
        circuit = ended(circuit, verdict, 1_000)
    assert circuit.state is CircuitState.CLOSED


def test_it_stays_open_longer_each_time() -> None:
    """Ten seconds, doubled with each probe that fails, five minutes at most."""
    expected = [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]
    assert waits_ms(opened(), Verdict.UNKNOWN, 7) == expected


def test_a_blocked_account_opens_it_at_once() -> None:
    """For a minute, doubled up to ten, and what the provider said is kept."""
    circuit = ended(Circuit(), Verdict.BLOCKED, 1_000)
    assert (circuit.cause, circuit.reason) == (Cause.BLOCKED, "said")
    assert waits_ms(circuit, Verdict.BLOCKED, 5) == [60_000, 120_000, 240_000, 480_000, 600_000]


def test_another_cause_starts_its_own_time() -> None:
    """An account that turns out blocked after a long outage is looked at again in a minute."""
    circuit = opened()
    for _ in range(5):
        circuit = probed(circuit, Verdict.RETRY)
    assert waits_ms(probed(circuit, Verdict.BLOCKED), Verdict.BLOCKED, 1) == [60_000]


@pytest.mark.parametrize(("asked_s", "wait_ms"), [(3.0, 10_000), (42.0, 42_000), (86_400.0, HOUR_MS)])
def test_what_a_failing_provider_asks_for_is_honoured(asked_s: float, wait_ms: int) -> None:
    """Where that is longer, up to an hour."""
    assert waits_ms(opened(asked_s=asked_s), Verdict.RETRY, 1) == [wait_ms]


@pytest.mark.parametrize("asked_s", [None, 0.0, 30.0])
def test_too_fast_is_no_failure(asked_s: float | None) -> None:
    """However often: the limiter sees to that. Nor is it an answer."""
    circuit = ended(Circuit(), Verdict.RETRY, 1_000)
    for _ in range(100):
        circuit = ended(circuit, Verdict.THROTTLED, 1_000, asked_s=asked_s)
    assert (circuit.state, circuit.failures) == (CircuitState.CLOSED, 1)


@pytest.mark.parametrize(("asked_s", "wait_ms"), [(31.0, 31_000), (86_400.0, HOUR_MS)])
def test_a_long_wait_opens_it(asked_s: float, wait_ms: int) -> None:
    """Until then, an hour at most: others can answer meanwhile."""
    circuit = ended(Circuit(), Verdict.THROTTLED, 1_000, asked_s=asked_s)
    assert (circuit.cause, circuit.open_until_ms) == (Cause.THROTTLED, 1_000 + wait_ms)


def test_one_probe_goes_out() -> None:
    """When its time is over; while it is out all others wait for it, at most until its lease ends."""
    circuit = opened()
    assert may_call(circuit, 10_999).leave is Leave.NO
    assert may_call(circuit, 11_000).leave is Leave.PROBE
    circuit = probing(circuit, 11_000, call_timeout_ms=TIMEOUT_MS)
    assert (may_call(circuit, 11_000).leave, may_call(circuit, 11_000).until_ms) == (Leave.NO, 71_000)
    assert may_call(circuit, 71_000).leave is Leave.PROBE


@pytest.mark.parametrize("verdict", ALIVE)
def test_an_answered_probe_closes_it(verdict: Verdict) -> None:
    """It is then as new: the next opening is as short as the first."""
    circuit = probed(probed(opened(), Verdict.RETRY), verdict)
    assert (circuit.state, circuit.failures, circuit.opened_times) == (CircuitState.CLOSED, 0, 0)
    assert may_call(circuit, circuit.counts_from_ms).leave is Leave.YES


@pytest.mark.parametrize(("asked_s", "wait_ms"), [(0.0, 1_000), (4.0, 4_000), (None, 10_000)])
def test_a_probe_that_was_too_fast_is_repeated(asked_s: float | None, wait_ms: int) -> None:
    """It says nothing, so the time is not doubled, but its lease is over."""
    before = opened()
    circuit = probed(before, Verdict.THROTTLED, asked_s)
    assert circuit.open_until_ms == before.open_until_ms + 100 + wait_ms
    assert circuit.opened_times == before.opened_times
    assert may_call(circuit, circuit.open_until_ms).leave is Leave.PROBE


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_late_reply_says_nothing(verdict: Verdict) -> None:
    """Calls that were sent before it opened neither close it nor keep it open longer, nor in place of its probe."""
    circuit = opened(at_ms=5_000)
    assert ended(circuit, verdict, 6_000, sent_ms=5_000) == circuit
    out = probing(circuit, 15_000, call_timeout_ms=TIMEOUT_MS)
    assert ended(out, verdict, 16_000, sent_ms=14_999) == out


@pytest.mark.parametrize("verdict", [*FAILURES, Verdict.BLOCKED])
def test_late_failures_do_not_open_it_again(verdict: Verdict) -> None:
    """A hundred calls that hung through the outage end when the provider is back."""
    circuit = probed(opened(), Verdict.ANSWERED)
    for _ in range(100):
        circuit = ended(circuit, verdict, 12_000, sent_ms=900)
    assert (circuit.state, circuit.failures) == (CircuitState.CLOSED, 0)


@pytest.mark.parametrize("verdict", [*FAILURES, Verdict.BLOCKED, Verdict.THROTTLED])
def test_a_call_that_had_leave_before_it_opened(verdict: Verdict) -> None:
    """Sent just afterwards it is no probe: however it fails, nothing changes."""
    circuit = opened(at_ms=5_000)
    assert ended(circuit, verdict, 7_000, sent_ms=5_001, asked_s=60) == circuit


@pytest.mark.parametrize("verdict", ALIVE)
def test_such_a_call_that_is_answered(verdict: Verdict) -> None:
    """It shows that the provider is alive, as a probe would."""
    circuit = opened(at_ms=5_000)
    assert ended(circuit, verdict, 7_000, sent_ms=5_001).state is CircuitState.CLOSED


def test_what_a_reply_means() -> None:
    """Its verdict, the wait that was asked for, and what was said."""
    reply = Reply(verdict=Verdict.RETRY, error_code="500", error_message="out of order", retry_after_s=2.5)
    expected = Event(verdict=Verdict.RETRY, sent_ms=7, retry_after_s=2.5, reason="out of order")
    assert event_of(reply, sent_ms=7) == expected


@given(width=st.integers(1, 8), taken=actions(failing))
def test_a_dead_provider_is_left_alone(width: int, taken: list[Action]) -> None:
    """It gets no more calls than open the circuit, those in flight just then, and one probe at a time, well spaced;
    and no reply but that of a probe makes the time longer."""
    crew = Crew(width=width)
    for action in taken:
        crew.act(action)
    assert crew.called <= RULES.threshold + width - 1
    assert all(later - sooner >= 10_000 for sooner, later in pairwise(crew.probed_at_ms))
    assert crew.circuit.opened_times <= 1 + len(crew.probed_at_ms)


@given(actions(endings))
def test_it_recovers_whatever_has_been(taken: list[Action]) -> None:
    """Once the provider answers, whoever asks again when told to gets through with the first probe, in about an hour
    at most, although nothing more is heard of any call before."""
    crew = Crew()
    for action in taken:
        crew.act(action)
    back_ms, crew.in_flight = crew.now_ms, []
    answer = may_call(crew.circuit, crew.now_ms)
    if answer.until_ms is not None:
        crew.now_ms = answer.until_ms
    crew.call()
    crew.end(0, Verdict.ANSWERED)
    assert crew.circuit.state is CircuitState.CLOSED
    assert crew.now_ms - back_ms <= HOUR_MS


@given(taken=actions(endings), ending=endings, early_ms=st.integers(1, 10_000))
def test_what_is_late_changes_nothing(taken: list[Action], ending: Ending, early_ms: int) -> None:
    """In whatever state the circuit is, calls that were sent before it last changed say nothing any more."""
    crew = Crew()
    for action in taken:
        crew.act(action)
    verdict, retry_after_s = ending
    sent_ms = crew.circuit.counts_from_ms - early_ms
    event = Event(verdict=verdict, sent_ms=sent_ms, retry_after_s=retry_after_s)
    assert after(crew.circuit, event, crew.now_ms) == crew.circuit


@given(actions(endings))
def test_never_two_probes_at_once(taken: list[Action]) -> None:
    """Until the one is heard of, or its lease has ended, no other goes out."""
    crew = Crew()
    for action in taken:
        before, probes = crew.circuit, len(crew.probed_at_ms)
        crew.act(action)
        if len(crew.probed_at_ms) > probes and before.state is CircuitState.HALF_OPEN:
            assert crew.now_ms >= before.probe_until_ms


def test_a_retry_opens_nothing_and_a_failed_probe_does() -> None:
    """Of a request that always fails only the first call counts; but whoever probes is taken at its word."""
    circuit = Circuit()
    for at_ms in range(1_000, 1_100):
        event = Event(verdict=Verdict.RETRY, sent_ms=at_ms, is_retry=True)
        circuit = after(circuit, event, at_ms, RULES)
    assert circuit == Circuit()
    circuit = opened()
    probe_ms = circuit.open_until_ms
    out = probing(circuit, probe_ms, call_timeout_ms=TIMEOUT_MS)
    failed = after(out, Event(verdict=Verdict.RETRY, sent_ms=probe_ms, is_retry=True), probe_ms + 5, RULES)
    assert failed.open_until_ms == probe_ms + 5 + 20_000


@pytest.mark.parametrize(("is_lone", "until_ms"), [(True, None), (False, 61_000)])
def test_a_blocked_account_is_asked_by_who_has_nobody_else(is_lone: bool, until_ms: int | None) -> None:
    """It costs nothing, and tells what is to be put right."""
    circuit = opened(Verdict.BLOCKED)
    assert closed_until_ms(circuit, 2_000, is_lone=is_lone) == until_ms


def test_what_came_of_a_probe_is_looked_at_soon() -> None:
    """Its lease may be ten minutes, and its answer there in a second."""
    circuit = opened()
    now_ms = circuit.open_until_ms
    out = probing(circuit, now_ms, call_timeout_ms=600_000)
    assert closed_until_ms(out, now_ms, is_lone=True) == now_ms + PROBE_LOOK_MS
