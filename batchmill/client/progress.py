"""Shows how far a batch is, on standard error: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import sys
import time
from typing import Any

from batchmill.client.views import BatchView
from batchmill.money.nanos import format_usd, nanos_from_usd

PLAIN_EVERY_S = 5.0


def say(text: str) -> None:
    """Tell whoever is there, in one line that steers no terminal."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    with contextlib.suppress(OSError, ValueError):  # closed, or nobody there
        print(f"batchmill: {shown}", file=sys.stderr, flush=True)


class Silence:
    """In place of a `Progress` where none is wanted."""

    def show(self, view: BatchView, trouble: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing either."""


class Progress:
    """How far a batch is; `close` it, as a bar holds the terminal."""

    def __init__(self) -> None:
        self._live: Any = None
        self._told_at = time.monotonic()
        self._told = ""
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=5, transient=True)
            self._live.start()

    def show(self, view: BatchView, trouble: str) -> None:
        """Show this; called as often as it is looked at."""
        text = describe(view, trouble)
        if self._live is not None:
            self._live.update(_row(view, text))
        elif (view.is_ended and text != self._told) or time.monotonic() - self._told_at >= PLAIN_EVERY_S:
            self._told_at, self._told = time.monotonic(), text
            say(f"{view.id}: {text}")

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            with contextlib.suppress(OSError):  # it may be gone
                self._live.stop()


def describe(view: BatchView, trouble: str = "", now: float | None = None) -> str:
    """How far a batch is, in a few words."""
    counts = view.counts
    parts = [f"{counts.ended:,} of {counts.total:,}"] if counts.total else []
    if view.status != "in_progress" or not counts.total:
        parts.append(view.status.replace("_", " "))
    if view.eta is not None and not view.is_ended and not view.paused_reason:
        left = view.eta.timestamp() - (time.time() if now is None else now)
        parts.append(f"{_duration(max(0.0, left))} left")
    if view.cached:
        parts.append(f"{view.cached:,} hits")
    parts.append(format_usd(nanos_from_usd(view.cost_usd)))
    if counts.failed:
        parts.append(f"{counts.failed:,} failed")
    if view.paused_reason:
        parts.append(f"paused: {view.paused_reason}")
    if trouble:
        parts.append(f"{trouble}; trying on")
    return " · ".join(parts)


def _row(view: BatchView, text: str) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    counts = view.counts
    row = Table.grid(padding=(0, 1))
    words = Text("".join(char for char in text if char.isprintable()))  # a provider's brackets are no markup
    row.add_row(ProgressBar(total=max(1, counts.total), completed=counts.ended, width=30), words)
    return row


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
