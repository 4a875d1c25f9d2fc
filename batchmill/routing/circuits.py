"""The circuit breaker of one model of one provider: who fails again and again is left alone for a while.

```
closed ── so many failures in a row, an account blocked, or a long wait asked for ──► open
open ── its time is over: one probe goes out ──► half-open
half-open ── the probe is answered or refused ──► closed      ── it fails ──► open, for twice as long
```

A failure is a passing fault, no connection, or no evidence of an answer (RETRY, UNREACHABLE, UNKNOWN). ANSWERED and
REFUSED show that the provider is alive. THROTTLED is neither, as the limiter sees to that, unless it asks for a long
wait. Time is counted twice as long each time the circuit opens again for the same cause without having closed.

Calls are in flight when a circuit changes, and their replies come late. So only calls sent from `counts_from_ms` on
count: a late failure does not double the time, a late answer does not close the circuit. A probe has a lease: where no
word comes of it at all, the next may go out when that ends.

A call that was cut off on our own side, or whose worker died, says nothing of the provider. Was it the probe, the next
may go out at once.

Assumed: all times are of one clock (the database's), which does not run backwards; if it does, a circuit stays as it is
for as much longer. Not assumed: that replies come in the order of the calls, or at all.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from batchmill.providers.base import CALL_CANCELLED, WORKER_LOST, Reply, Verdict

_MOST_DOUBLINGS = 30
_OUR_OWN = (CALL_CANCELLED, WORKER_LOST)
PROBE_LOOK_MS = 500
"""How soon it is looked again what came of a probe."""


class CircuitState(StrEnum):
    """closed → open → half_open → closed | open."""

    CLOSED = "closed"
    """Calls go out."""
    OPEN = "open"
    """None does."""
    HALF_OPEN = "half_open"
    """One does, to see whether it is answered."""


class Cause(StrEnum):
    """Why a circuit opened."""

    FAILING = "failing"
    BLOCKED = "blocked"
    """The account: no such key, no credit, no permission."""
    THROTTLED = "throttled"
    """It asked for a long wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRules:
    """When a circuit opens, and for how long.

    Attributes:
        threshold: So many failures in a row open it.
        failing_ms: How long it stays open the first time; doubled each further time, up to `failing_most_ms`.
        blocked_ms: The same where the account is blocked, which opens it at once; up to `blocked_most_ms`.
        long_wait_ms: Who asks for a longer wait than that as too fast is left alone until then.
        asked_most_ms: The longest wait that a provider is granted.
        throttled_probe_ms: When to probe again at the earliest where a probe was too fast.
    """

    threshold: int = 10
    failing_ms: int = 2_000
    failing_most_ms: int = 300_000
    blocked_ms: int = 60_000
    blocked_most_ms: int = 600_000
    long_wait_ms: int = 30_000
    asked_most_ms: int = 3_600_000
    throttled_probe_ms: int = 1_000

    def open_ms(self, cause: Cause, times: int) -> int:
        """Return how long it stays open the `times`-th time in a row, from 1, if the provider asks for nothing."""
        if cause is Cause.BLOCKED:
            first_ms, most_ms = self.blocked_ms, self.blocked_most_ms
        else:
            first_ms, most_ms = self.failing_ms, self.failing_most_ms
        return min(most_ms, first_ms << min(times - 1, _MOST_DOUBLINGS))

    def asked_ms(self, event: "Event") -> int:
        """Return the wait that the provider is granted, in milliseconds; 0 when it asks for none."""
        return int(min(self.asked_most_ms, (event.retry_after_s or 0) * 1000))


DEFAULT_RULES = CircuitRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """How a call ended.

    Attributes:
        verdict: None = it ended on our own side.
        sent_ms: When it was sent.
        is_retry: It was not the first call of its request to that model. Its failure opens no closed circuit: some
            requests fail whenever they are asked, and the last lines of a batch may be such ones.
        retry_after_s: How long the provider asks us to wait; None when it does not say.
        reason: What the provider said, for people.
    """

    verdict: Verdict | None
    sent_ms: int
    is_retry: bool = False
    retry_after_s: float | None = None
    reason: str = ""


def event_of(reply: Reply, *, sent_ms: int, is_retry: bool = False) -> Event:
    """Return what a reply means for the circuit of whoever gave it."""
    return Event(
        verdict=None if reply.error_code in _OUR_OWN else reply.verdict,
        sent_ms=sent_ms,
        is_retry=is_retry,
        retry_after_s=reply.retry_after_s,
        reason=reply.error_message or reply.error_code,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The circuit of one model of one provider; a new one is closed.

    Attributes:
        failures: In a row, while it is closed.
        opened_times: In a row for the same cause, without having closed.
        open_until_ms: While it is open: from then on a probe may go out.
        probe_until_ms: While it is half-open: the probe's lease ends then.
        counts_from_ms: Calls that were sent before say nothing any more.
        cause: Why it opened; None while it is closed.
        reason: What the provider said that opened it.
    """

    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    opened_times: int = 0
    open_until_ms: int = 0
    probe_until_ms: int = 0
    counts_from_ms: int = 0
    cause: Cause | None = None
    reason: str = ""


NEW = Circuit()


class Leave(StrEnum):
    """Whether a call may go out."""

    YES = "yes"
    PROBE = "probe"
    """As the one probe, once the circuit is `probing`."""
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class MayCall:
    """Answer to "may a call go out now?"

    Attributes:
        until_ms: When to ask again; only with NO.
    """

    leave: Leave
    until_ms: int | None = None


def may_call(circuit: Circuit, now_ms: int) -> MayCall:
    """Return whether a call may go out. A probe may only if the circuit is made `probing` in the same transaction."""
    if circuit.state is CircuitState.CLOSED:
        return MayCall(leave=Leave.YES)
    is_out = circuit.state is CircuitState.HALF_OPEN
    until_ms = circuit.probe_until_ms if is_out else circuit.open_until_ms
    return MayCall(leave=Leave.PROBE) if now_ms >= until_ms else MayCall(leave=Leave.NO, until_ms=until_ms)


def closed_until_ms(circuit: Circuit, now_ms: int, *, is_lone: bool) -> int | None:
    """Return until when a model is not asked; None = it may be, be it as a probe.

    Args:
        is_lone: There is nobody else to ask. Then a blocked account is asked all the same: the call costs nothing, and
            its refusal tells whoever waits what is to be put right.
    """
    if is_lone and circuit.cause is Cause.BLOCKED:
        return None
    until_ms = may_call(circuit, now_ms).until_ms
    if until_ms is not None and circuit.state is CircuitState.HALF_OPEN:
        return min(until_ms, now_ms + PROBE_LOOK_MS)  # its probe may end at any time
    return until_ms


def probing(circuit: Circuit, now_ms: int, *, call_timeout_ms: int) -> Circuit:
    """Return the circuit with its probe on the way, after `may_call` said PROBE. The probe is sent now or later."""
    return replace(
        circuit,
        state=CircuitState.HALF_OPEN,
        probe_until_ms=now_ms + call_timeout_ms,
        counts_from_ms=now_ms,
    )


def after(circuit: Circuit, event: Event, now_ms: int, rules: CircuitRules = DEFAULT_RULES) -> Circuit:
    """Return the circuit after a call has ended; the same where that says nothing."""
    if event.sent_ms < circuit.counts_from_ms:
        return circuit
    match event.verdict:
        case None:
            return _unheard(circuit, now_ms)
        case Verdict.ANSWERED | Verdict.REFUSED:
            return _alive(circuit, now_ms)
        case Verdict.BLOCKED:
            return _opened(circuit, event, now_ms, rules, Cause.BLOCKED)
        case Verdict.THROTTLED:
            return _throttled(circuit, event, now_ms, rules)
        case Verdict.RETRY | Verdict.UNREACHABLE | Verdict.UNKNOWN:
            return _failed(circuit, event, now_ms, rules)


def _unheard(circuit: Circuit, now_ms: int) -> Circuit:
    is_out = circuit.state is CircuitState.HALF_OPEN
    return replace(circuit, probe_until_ms=min(now_ms, circuit.probe_until_ms)) if is_out else circuit


def _alive(circuit: Circuit, now_ms: int) -> Circuit:
    if circuit.state is CircuitState.CLOSED:
        return replace(circuit, failures=0) if circuit.failures else circuit
    return Circuit(counts_from_ms=now_ms + 1)


def _failed(circuit: Circuit, event: Event, now_ms: int, rules: CircuitRules) -> Circuit:
    if circuit.state is CircuitState.CLOSED and event.is_retry:
        return circuit
    failures = circuit.failures + 1
    if circuit.state is CircuitState.CLOSED and failures < rules.threshold:
        return replace(circuit, failures=failures)
    return _opened(circuit, event, now_ms, rules, Cause.FAILING)


def _throttled(circuit: Circuit, event: Event, now_ms: int, rules: CircuitRules) -> Circuit:
    """A probe that was too fast has told nothing: another goes out soon, and the time is not doubled."""
    asked_ms = rules.asked_ms(event)
    if circuit.state is CircuitState.OPEN:
        return circuit
    if asked_ms > rules.long_wait_ms:
        return _open(event, now_ms, cause=Cause.THROTTLED, times=1, open_ms=asked_ms)
    if circuit.state is CircuitState.CLOSED:
        return circuit
    wait_ms = rules.failing_ms if event.retry_after_s is None else max(asked_ms, rules.throttled_probe_ms)
    until_ms = now_ms + wait_ms
    return replace(
        circuit, state=CircuitState.OPEN, open_until_ms=until_ms, probe_until_ms=0, counts_from_ms=now_ms + 1
    )


def _opened(circuit: Circuit, event: Event, now_ms: int, rules: CircuitRules, cause: Cause) -> Circuit:
    if circuit.state is CircuitState.OPEN:
        return circuit  # a call that had leave before it opened, and was sent after: no probe
    times = circuit.opened_times + 1 if circuit.cause is cause else 1
    open_ms = max(rules.open_ms(cause, times), rules.asked_ms(event))
    return _open(event, now_ms, cause=cause, times=times, open_ms=open_ms)


def _open(event: Event, now_ms: int, *, cause: Cause, times: int, open_ms: int) -> Circuit:
    return Circuit(
        state=CircuitState.OPEN,
        opened_times=times,
        open_until_ms=now_ms + open_ms,
        counts_from_ms=now_ms + 1,
        cause=cause,
        reason=event.reason,
    )
