"""A server's clock on ours: which moment of ours is meant by one of its."""

from dataclasses import dataclass
from typing import Final

from batchmill.limits.window import US_PER_S

DECAY: Final = 500e-6
"""What a sample's error is taken to grow by in each second: two quartz clocks part by less than half of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One exchange with the server.

    Attributes:
        offset_s: Its clock less ours, taking it that it answered half way.
        round_trip_s: The offset is wrong by half of that at most.
        taken_s: When, on our clock.
    """

    offset_s: float
    round_trip_s: float
    taken_s: float

    def doubt_s(self, now_s: float) -> float:
        """How good it still is: the less the better."""
        return self.round_trip_s / 2 + DECAY * (now_s - self.taken_s)


class ServerClock:
    """Keeps the sample with the least doubt, as NTP's clock filter does (RFC 5905, section 10)."""

    def __init__(self) -> None:
        self._best: Sample | None = None

    def sample(self, *, sent_s: float, server_us: int, received_s: float) -> None:
        """Learn from one exchange: when it was sent and received by our clock, what the server's said between."""
        middle_s = (sent_s + received_s) / 2
        taken = Sample(
            offset_s=server_us / US_PER_S - middle_s,
            round_trip_s=max(0.0, received_s - sent_s),
            taken_s=received_s,
        )
        best = self._best
        if best is None or taken.doubt_s(received_s) <= best.doubt_s(received_s):
            self._best = taken

    def local_s(self, server_us: int) -> float | None:
        """That moment on our clock; None before the first sample."""
        return None if self._best is None else server_us / US_PER_S - self._best.offset_s

    def server_us(self, local_s: float) -> int | None:
        """A moment of ours on the server's clock; None before the first sample."""
        return None if self._best is None else round((local_s + self._best.offset_s) * US_PER_S)
