"""Deadlines: until when a batch may make calls, as people write it."""

from datetime import UTC, datetime

from batchmill.errors import MisuseError
from batchmill.periods import span_ms

OPTION = "--deadline"

_LONGEST_MS = 3_650 * 86_400_000
_HINT = "write a time from now (90s, 30m, 2h, 1d) or a moment with its zone (2027-03-01T18:00Z)"


def parse_deadline(text: str, now_ms: int, *, option: str = OPTION) -> int:
    """The moment that is meant, in milliseconds since 1970; it may be in the past.

    Args:
        text: A whole number and s, m, h or d: so long from now. Or an ISO 8601 time with its zone.
        option: Where it is from, for messages.

    Raises:
        MisuseError: It is neither, or more than ten years away.
    """
    text = text.strip()
    span = span_ms(text)
    deadline_ms = _moment_ms(text, option) if span is None else now_ms + span
    if deadline_ms > now_ms + _LONGEST_MS:
        raise MisuseError(f"{option}: {text!r} is more than ten years away", _HINT)
    return deadline_ms


def require_future(deadline_ms: int | None, now_ms: int, *, option: str = OPTION) -> None:
    """Refuse what is new and whose time is up before it begins.

    Raises:
        MisuseError: The deadline is not after now.
    """
    if deadline_ms is not None and deadline_ms <= now_ms:
        moment = datetime.fromtimestamp(deadline_ms / 1000, UTC)
        raise MisuseError(f"{option}: {moment:%Y-%m-%dT%H:%M:%SZ} is in the past", _HINT)


def _moment_ms(text: str, option: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise MisuseError(f"{option}: {text!r} has no time zone", _HINT)
        return int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise MisuseError(f"{option}: {text!r} is no time", _HINT) from None
