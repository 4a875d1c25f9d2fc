"""A round of checks: every component, all beside each other."""

import socket
from collections.abc import Mapping
from functools import cache

from batchmill.errors import BatchmillError
from batchmill.findings import Finding, Level
from batchmill.health.course import HealthLevel, Observation
from batchmill.settings import Settings
from db.engine import Database
from workers.health.checks import Check, checks_of
from workers.lookout import Lookout, Sight

WITHIN_S = 10.0
LONGEST = 500

_LEVELS = {
    Level.OK: HealthLevel.OK,
    Level.WARNING: HealthLevel.DEGRADED,
    Level.FAILURE: HealthLevel.FAILING,
}


def look(settings: Settings, database: Database) -> list[Observation]:
    """What a check of each component shows, within `WITHIN_S`; what raises or does not answer is failing."""
    return look_at(checks_of(settings, database, socket.gethostname()), _lookout())


def look_at(checks: Mapping[str, Check], lookout: Lookout[Finding]) -> list[Observation]:
    """The same for these checks."""
    seen = lookout.look(checks)
    return [_observation(component, sight, lookout.within_s) for component, sight in seen.items()]


@cache
def _lookout() -> Lookout[Finding]:
    """This process's one: it knows which checks still hang."""
    return Lookout(within_s=WITHIN_S)


def _observation(component: str, sight: Sight[Finding], within_s: float) -> Observation:
    level, message, hint = _told(sight, within_s)
    return Observation(
        component=component,
        level=level,
        message=_short(message),
        hint=_short(hint),
        took_ms=round(sight.took_s * 1000),
    )


def _told(sight: Sight[Finding], within_s: float) -> tuple[HealthLevel, str, str]:
    finding, error = sight.value, sight.error
    if finding is not None:
        places = "; ".join(example.detail for example in finding.examples)
        return (
            _LEVELS[finding.level],
            f"{finding.message}: {places}" if places else finding.message,
            finding.hint,
        )
    if error is None:
        return HealthLevel.FAILING, f"the check did not end within {within_s:g} s", "see whether it hangs"
    if isinstance(error, BatchmillError):
        return HealthLevel.FAILING, error.message, error.hint
    # What nobody foresaw may hold anything, secrets too: its kind is told.
    return HealthLevel.FAILING, f"the check failed: unexpected {type(error).__name__}", "please report it"


def _short(text: str) -> str:
    told = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
