"""Resting: the models that are left alone at the moment, as people are told of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from batchmill.routing.circuits import Cause, Circuit, CircuitState, Leave, may_call
from batchmill.routing.names import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A model whose circuit is not closed.

    Attributes:
        state: Open, or half-open while a probe is out.
        since_ms: Since when it is in that state.
        until_ms: Until when no further call goes out.
        times: How often in a row it was opened for the same cause.
        reason: What the provider said that opened it.
        is_due: That time is over: the next call tries whether it is back.
    """

    target: Target
    state: CircuitState
    since_ms: int
    until_ms: int
    cause: Cause | None
    times: int
    reason: str
    is_due: bool

    def left_s(self, now_ms: int) -> int:
        """Return for how many seconds more it is left alone, rounded up."""
        return max(0, -(-(self.until_ms - now_ms) // 1000))

    def in_words(self, now_ms: int) -> str:
        """Return for how long and why, to go on from its name."""
        if self.is_due:
            what = "has rested, and the next call tries whether it is back"
        elif self.state is CircuitState.HALF_OPEN:
            what = "is being tried with a single call"
        else:
            what = f"rests for {self.left_s(now_ms):,} s more"
        often = f", opened {self.times:,} times in a row" if self.times > 1 else ""
        return f"{what}{often}: {self.reason or self.cause}"


def not_closed(circuits: Mapping[tuple[str, str], Circuit], now_ms: int) -> list[Resting]:
    """Return the models whose circuits are not closed, by name."""
    return [
        _resting(Target(provider=provider, model=model), circuit, now_ms)
        for (provider, model), circuit in sorted(circuits.items())
        if circuit.state is not CircuitState.CLOSED
    ]


def left_alone(circuits: Mapping[tuple[str, str], Circuit], now_ms: int) -> list[Resting]:
    """Return those of them that no call goes to now."""
    return [resting for resting in not_closed(circuits, now_ms) if not resting.is_due]


def open_until_ms(circuits: Mapping[tuple[str, str], Circuit], now_ms: int) -> dict[tuple[str, str], int]:
    """Return until when each of these is left alone, as the choice of a model goes by it."""
    return {resting.target.key: resting.until_ms for resting in left_alone(circuits, now_ms)}


def _resting(target: Target, circuit: Circuit, now_ms: int) -> Resting:
    is_out = circuit.state is CircuitState.HALF_OPEN
    return Resting(
        target=target,
        state=circuit.state,
        # A circuit that opens counts from the next millisecond on, one that is probed from the probe itself.
        since_ms=circuit.counts_from_ms - (not is_out),
        until_ms=circuit.probe_until_ms if is_out else circuit.open_until_ms,
        cause=circuit.cause,
        times=circuit.opened_times,
        reason=circuit.reason,
        is_due=may_call(circuit, now_ms).leave is Leave.PROBE,
    )
