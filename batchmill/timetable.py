"""When something that recurs is due: at every so-many seconds, or at the times of a cron expression in a time zone."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim, CronSimError

from batchmill.periods import span_ms

OFF = "off"
FIELDS = 5
ACCEPTS = "every 10s, every 5m, every 1h; a cron expression: 0 2 * * *; or off"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_EVERY = "every "


@dataclass(frozen=True, slots=True)
class Timetable:
    """The moments at which something is due.

    Args:
        text: `every 5m`: each whole multiple of that span since 1970; a cron expression of five fields, by the
            calendar of a zone, where the clocks change as Debian's cron has it: what falls into a skipped hour is
            due right after it, what falls into a repeated one is due once; or `off`: never.

    Raises:
        ValueError: It is none of them.
    """

    text: str

    def __post_init__(self) -> None:
        _read(self.text)

    def last_due(self, now_ms: int, zone: tzinfo) -> int | None:
        """The latest moment it was due, now included, in milliseconds since 1970; None = never."""
        every_ms, cron = _read(self.text)
        if every_ms:
            return now_ms - now_ms % every_ms
        if cron is None:
            return None
        following = datetime.fromtimestamp(now_ms // 60_000 * 60 + 60, zone)
        found_ms: int = (next(CronSim(cron, following, reverse=True)) - _EPOCH) // _MS
        # There the library, looking back by the clock on the wall, leaves out what was due in the first at a later time
        # of the clock.
        while (next_ms := self.next_due(found_ms, zone)) is not None and next_ms <= now_ms:
            found_ms = next_ms
        return found_ms

    def next_due(self, now_ms: int, zone: tzinfo) -> int | None:
        """The first moment after now that it will be due; None = never."""
        every_ms, cron = _read(self.text)
        if every_ms:
            return now_ms - now_ms % every_ms + every_ms
        if cron is None:
            return None
        coming = CronSim(cron, (_EPOCH + now_ms * _MS).astimezone(zone))
        # In the second of two same hours, the library begins with what was due in the first.
        return next(due_ms for due in coming if (due_ms := (due - _EPOCH) // _MS) > now_ms)

    def in_words(self) -> str:
        """The same for people: `At 02:00 every day`."""
        _, cron = _read(self.text)
        return self.text if cron is None else CronSim(cron, _EPOCH).explain()


@lru_cache(maxsize=64)
def _read(text: str) -> tuple[int, str | None]:
    """Its span in milliseconds, 0 = none; and its cron expression, None = none."""
    words = " ".join(text.split()).lower()
    if words == OFF:
        return 0, None
    if words.startswith(_EVERY):
        every_ms = span_ms(words.removeprefix(_EVERY))
        if not every_ms:
            raise ValueError(f'"{text}" names no span of time')
        return every_ms, None
    if len(words.split()) != FIELDS:  # the library takes seconds, too, as a sixth
        raise ValueError(f'"{text}" is neither a span nor the five fields of a cron expression')
    try:
        # A date that never comes (30 February) is told by the first look for it.
        next(CronSim(words, _EPOCH))
    except (CronSimError, StopIteration, AssertionError):
        raise ValueError(f'"{text}" is no cron expression that ever comes true') from None
    return 0, words
