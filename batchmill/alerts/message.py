"""What goes through a channel, whatever it is about, to people and to programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Topic(StrEnum):
    """What an alert is about."""

    BUDGET = "budget"
    HEALTH = "health"


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    """It is over."""
    WARNING = "warning"
    CRITICAL = "critical"
    EXCEEDED = "exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes through a channel.

    Attributes:
        id: The same at every try, of letters, digits and `-`: receivers know by it what they have.
        type: For programs: `budget.threshold`, `health.failing`.
        verdict: It in one line.
        text: All of it, for people, in lines.
        facts: All of it, for programs; amounts are decimal text in dollars, times ISO 8601 in UTC.
    """

    id: str
    type: str
    at_ms: int
    severity: Severity
    verdict: str
    text: str
    facts: Mapping[str, Any]


def trial_message(now_ms: int, topic: Topic | None = None) -> Message:
    """What tries whether a channel works.

    Args:
        topic: Whose alerts are tried; None = all.
    """
    of, command = ("", "alerts test") if topic is None else (f" of {topic}s", f"{topic} alerts --test")
    verdict = f"this is a test: alerts{of} arrive here"
    return Message(
        id=f"test-{now_ms}",
        type=f"{topic or 'alert'}.test",
        at_ms=now_ms,
        severity=Severity.WARNING,
        verdict=verdict,
        text=f"{verdict}.\n\nSent by `batchmill {command}`. Nothing has to be done.\n",
        facts={},
    )


def utc_text(at_ms: int) -> str:
    """A moment as programs read it: `2026-11-20T13:03:12Z`."""
    return f"{_EPOCH + timedelta(milliseconds=at_ms):%Y-%m-%dT%H:%M:%SZ}"


def in_one_line(text: str) -> str:
    """A name may hold anything; a subject or a log line may not."""
    return "".join(char if char.isprintable() else " " for char in text)
