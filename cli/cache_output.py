"""What `batchmill cache` prints for people."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from batchmill.cache.room import Room, Size
from batchmill.cache.verdicts import BOUNDS, Figure, verdict_of
from batchmill.money.nanos import format_usd
from batchmill.requests.jsonl import MB
from cli.output import narrate, print_table
from cli.progress import PLAIN_EVERY_S
from db.cache_contents import Contents
from db.cache_drops import Dropped
from db.cache_fitting import Phase, Stage
from workers.cache_upkeep import CleanUp
from workers.cache_views import cut_nanos_per_mb, exact, figures_of, total_of

if TYPE_CHECKING:
    from decimal import Decimal

_PHASES = {
    Phase.EXPIRED: "dropping what has expired",
    Phase.COUNTING: "counting",
    Phase.RANKING: "finding what is worth least",
    Phase.DROPPING: "dropping what is worth least",
}
_NAMES = {
    Figure.HIT_RATE: "hit rate",
    Figure.ERROR_RATE: "calls that failed",
    Figure.RESPONSE_S: "response time",
    Figure.COST_USD: "cost per request",
}


class StageLine:
    """Shows how far a clean-up has come: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"))
        self._bar = Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("", total=None)
        self._told_at = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, stage: Stage) -> None:
        """Show this; called after every step."""
        words = _PHASES[stage.phase]
        if not self._bar.disable:
            self._bar.update(self._task, description=words, completed=stage.done, total=stage.of or None)
        elif time.monotonic() - self._told_at >= PLAIN_EVERY_S:
            self._told_at = time.monotonic()
            of = f" of about {stage.of:,}" if stage.of else ""
            narrate(f"{words}: {stage.done:,}{of}")


def print_contents(found: Mapping[str, Contents], room: Room) -> None:
    """What the cache holds by request type, and how well it serves."""
    total = total_of(found)
    rows = [{"type": name or None, **_row(one)} for name, one in found.items()]
    print_table([*rows, {"type": "total", **_row(total)}])
    click.echo()
    print_table([_judged(figure, value) for figure, value in figures_of(total).items()])
    entries = f"{total.live + total.expired:,} of {_entries_of(room)}"
    narrate(f"it holds {entries}, {_mb(total.answer_bytes)} of {_mb_of(room)}")


def tell_dropped(dropped: Dropped, *, is_done: bool = True) -> None:
    """What went, or would go."""
    verb = "dropped" if is_done else "would drop"
    narrate(
        f"{verb} {dropped.entries:,} entries, and {dropped.answers:,} answers"
        f" ({_mb(dropped.answer_bytes)}) that nothing else points to"
    )


def print_clean_up(done: CleanUp) -> None:
    """What went or would go, why just that, what it frees, and what stays."""
    went, room, fitted = "went" if done.is_done else "would go", done.room, done.fitted
    limits = f"{_entries_of(room)} and {_mb_of(room)}"
    lines = [f"expired: {counted_entries(done.expired.entries)} {went}"]
    cut = cut_nanos_per_mb(done)
    if cut is None:
        lines.append(f"worth: nothing {went}, as there is room for {limits}")
    else:
        lines += [
            f"worth: {_size(fitted.gone)} {went} of {_size(fitted.held)}, as there is room for {limits}",
            f"  the line is at {format_usd(cut)} a MB: what the answer cost x (1 + its uses), twice that for each"
            " point of rating above 3, half for each below and for each week without use",
        ]
    lines += [
        f"stays: {_size(done.left)}",
        f"freed: {done.freed.answers:,} answers ({_mb(done.freed.answer_bytes)}); those of the other entries are"
        " results of batches, and stay with them",
    ]
    click.echo("\n".join(lines))


def counted_entries(number: int) -> str:
    """Return "1 entry", "2,000 entries"."""
    return "1 entry" if number == 1 else f"{number:,} entries"


def _row(one: Contents) -> dict[str, Any]:
    shown = exact(one)
    rate = shown["hit_rate"]
    return {
        **{name: shown[name] for name in ("entries", "live", "expired", "verified")},
        "mb": f"{one.answer_bytes / MB:,.1f}",
        "hits_per_entry": shown["hits_per_entry"],
        "requests": one.requests,
        "hits": one.hits,
        "hit_rate": None if rate is None else f"{rate:.1%}",
        "saved": format_usd(one.saved_nanos),
    }


def _judged(figure: Figure, value: "Decimal | None") -> dict[str, Any]:
    bounds = BOUNDS[figure]
    word = "from" if bounds.is_more_better else "up to"
    return {
        "figure": _NAMES[figure],
        "value": None if value is None else _shown(figure, value),
        "verdict": verdict_of(figure, value),
        "good": f"{word} {_shown(figure, bounds.good)}",
        "fair": f"{word} {_shown(figure, bounds.fair)}",
    }


def _shown(figure: Figure, value: "Decimal") -> str:
    if figure is Figure.COST_USD:
        return format_usd(round(value * 10**9))
    number = float(value)
    return f"{number:.3g} s" if figure is Figure.RESPONSE_S else f"{number * 100:.3g} %"


def _size(size: Size) -> str:
    return f"{counted_entries(size.entries)} ({_mb(size.answer_bytes)})"


def _mb(size: int) -> str:
    return f"{size / MB:,.1f} MB"


def _entries_of(room: Room) -> str:
    return f"{room.max_entries:,} entries" if room.max_entries else "any number of entries"


def _mb_of(room: Room) -> str:
    return f"{room.max_bytes // MB:,} MB" if room.max_bytes else "any size"
