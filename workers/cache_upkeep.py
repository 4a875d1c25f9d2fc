"""The clean-up of the cache: what has expired, then what is worth least, beside running workers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from batchmill.cache.room import Room, Size
from batchmill.requests.jsonl import MB
from batchmill.settings import Settings
from db import cache_contents, cache_fitting
from db.cache_drops import Dropped, Pace
from db.cache_fitting import Fitted, Phase, Stage, Tell
from db.engine import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp:
    """What a clean-up did, or would do.

    Attributes:
        room: What the cache may hold.
        expired: What went because its time was over.
        fitted: What went because it was worth least.
        steps: Short transactions that it took.
        longest_step_s: The longest of them, with its wait for others.
    """

    room: Room
    expired: Dropped
    fitted: Fitted
    is_done: bool
    steps: int
    longest_step_s: float

    @property
    def left(self) -> Size:
        """What stays."""
        return self.fitted.held - self.fitted.gone

    @property
    def freed(self) -> Dropped:
        """Everything that went, and the answers that nothing else pointed to."""
        return self.expired + self.fitted.dropped


def room_of(settings: Settings, *, max_mb: int | None = None, max_entries: int | None = None) -> Room:
    """What the cache may hold, by the settings unless it is said otherwise."""
    cache = settings.cache
    return Room(
        max_entries=cache.max_entries if max_entries is None else max_entries,
        max_bytes=MB * (cache.max_mb if max_mb is None else max_mb),
    )


def clean_up(
    database: Database,
    room: Room,
    *,
    tell: Tell = lambda stage: None,
    is_dry: bool = False,
    pause: Callable[[float], None] = time.sleep,
) -> CleanUp:
    """Drop what has expired, then what is worth least down to the room that there is; safe at any time, and twice.

    Args:
        tell: Called between steps; what it raises ends this, and nothing that was done has to be done again.
        is_dry: Only find out what would go.
        pause: Leaves time to others after each step.
    """
    pace = Pace(pause)
    expired = cache_contents.expired(database.now_ms())
    if is_dry:
        gone = cache_contents.would_drop(database, expired)
    else:
        gone = cache_contents.drop(
            database, expired, pace, lambda so_far: tell(Stage(phase=Phase.EXPIRED, done=so_far.entries))
        )
    fitted = cache_fitting.fit(database, room, pace, tell, is_dry=is_dry)
    return CleanUp(
        room=room,
        expired=gone,
        fitted=fitted,
        is_done=not is_dry,
        steps=pace.steps,
        longest_step_s=pace.longest_s,
    )
