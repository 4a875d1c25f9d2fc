"""Signals: how a command that works for a while is stopped."""

import signal
from types import FrameType
from typing import Any, Self

from batchmill.errors import StoppedError

EXIT_INTERRUPTED = StoppedError.exit_code


class Stop:
    """The first signal is noted and seen at the next check, the second ends the command where it stands.

    Args:
        hint: What to do next, for whoever stopped it.
        outcome: What that means for the work.
        outcome_at_once: The same, when it was not given time to finish.
    """

    def __init__(
        self,
        hint: str = "",
        *,
        outcome: str = "nothing is lost",
        outcome_at_once: str = "calls cut off may have been billed, nothing is lost",
    ) -> None:
        self._hint = hint
        self._outcome = outcome
        self._outcome_at_once = outcome_at_once
        self._number: int | None = None

    def __enter__(self) -> Self:
        self._handle(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle(signal.SIG_IGN)  # nothing is left to be stopped

    @property
    def is_told(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def check(self) -> None:
        """Raise StoppedError once a signal has come."""
        if self._number is not None:
            name = signal.Signals(self._number).name
            raise StoppedError(f"stopped by {name}; {self._outcome}", self._hint)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            return
        self._handle(signal.SIG_IGN)
        raise StoppedError(f"stopped at once; {self._outcome_at_once}", self._hint, True)

    @staticmethod
    def _handle(handler: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, handler)
