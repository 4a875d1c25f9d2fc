"""Progress: a bar on a terminal, a line now and then elsewhere; always on standard error."""

import contextlib
import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchmill.money.nanos import format_usd
from cli.output import in_one_line, narrate
from workers.progress import Progress

PLAIN_EVERY_S = 5.0
RATE_OVER_S = 10.0


class ProgressLine:
    """Shows how far a run has come: rate, time left, cache hits, cost."""

    def __init__(self) -> None:
        self._live: Live | None = None
        if sys.stderr.isatty():
            console = Console(stderr=True)
            self._live = Live(console=console, refresh_per_second=5, transient=True)
        self._seen: deque[tuple[float, int]] = deque()
        self._phase = ""
        self._told_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show this; called as often as it changes."""
        if progress.phase == "stopping":
            narrate("stopping: the calls in flight may finish; once more ends them at once")
            return
        now = time.monotonic()
        ended = progress.completed + progress.failed
        if self._phase != progress.phase:
            self._phase = progress.phase
            self._seen.clear()  # lines read are no lines answered
            if progress.phase == "paused":
                self._told_at = float("-inf")
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()
        text = self._text(progress, ended)
        if self._live is not None:
            self._live.update(_row(progress, ended, text))
        elif now - self._told_at >= PLAIN_EVERY_S:
            self._told_at = now
            narrate(text)

    def _text(self, progress: Progress, ended: int) -> str:
        if progress.phase == "reading":
            return f"reading: {progress.completed:,} lines"
        if progress.phase == "writing":
            return "writing the answers"
        if progress.phase == "paused":
            return f"{ended:,} of {progress.total:,} · {progress.note}"
        rate = self._rate()
        left = f", {duration((progress.total - ended) / rate)} left" if rate > 0 else ""
        parts = [f"{ended:,} of {progress.total:,}", f"{rate:,.0f}/s{left}", f"{progress.cached:,} hits"]
        parts.append(format_usd(progress.spent_nanos))
        if progress.failed:
            parts.append(f"{progress.failed:,} failed")
        if progress.note and rate == 0:
            parts.append(progress.note)
        return " · ".join(parts)

    def _rate(self) -> float:
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def _row(progress: Progress, ended: int, text: str) -> Table:
    row = Table.grid(padding=(0, 1))
    words = Text(in_one_line(text))  # not as it is: brackets in a provider's message are no markup
    if progress.phase in ("answering", "paused"):
        row.add_row(ProgressBar(total=max(1, progress.total), completed=ended, width=30), words)
    else:
        row.add_row(words)
    return row


def duration(seconds: float) -> str:
    """Return seconds as "m:ss" or "h:mm:ss"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
