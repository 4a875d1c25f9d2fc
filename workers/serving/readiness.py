"""Readiness: whether the service can do its work right now, found out in bounded time, whatever hangs."""

import threading
import time
from collections.abc import Callable, Mapping
from functools import cache

import structlog

from db import schema
from workers.app import make_app
from workers.doorbell import Doorbell
from workers.lookout import Lookout
from workers.serving.service import Service

log = structlog.get_logger()

WITHIN_S = 2.0
KEEP_S = 2.0
"""Anyone may ask, as often as he likes; every look writes a file."""

Check = Callable[[], object]


def checks_of(service: Service) -> dict[str, Check]:
    """What has to be there, by name: each returns when it is, and raises when it is not.

    An embedded broker is none of them: whoever runs it sees to it, and the work goes on without its doorbells.
    """
    checks: dict[str, Check] = {
        "database": lambda: schema.check(service.database),
        "files": service.store.check,
    }
    url = service.settings.broker.url
    if url is not None:

        @cache
        def doorbell() -> Doorbell:
            return Doorbell(make_app(url))

        checks["broker"] = lambda: doorbell().waiting("normal")
    return checks


class Readiness:
    """Looks whether everything is there: all checks at once, none waited for longer than `within_s`.

    A check that hangs is left hanging, and not begun again before it has ended; what it has found then counts.
    """

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        within_s: float = WITHIN_S,
        keep_s: float = KEEP_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._lookout: Lookout[object] = Lookout(within_s=within_s, late_counts=True)
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: tuple[float, dict[str, bool]] | None = None

    def look(self) -> dict[str, bool]:
        """Whether each is there, by name; what was found a moment ago is told again."""
        with self._lock:
            if self._last is None or self._monotonic() - self._last[0] >= self._keep_s:
                found = self._look()
                self._last = self._monotonic(), found
            return self._last[1]

    def _look(self) -> dict[str, bool]:
        seen = self._lookout.look({name: _returning(check) for name, check in self._checks.items()})
        for name, sight in seen.items():
            if sight.error is not None:
                log.warning("not_ready", check=name, error=str(sight.error))
            elif sight.value is None:
                log.warning("not_ready", check=name, error=f"no answer within {self._lookout.within_s:g} s")
        return {name: sight.value is not None for name, sight in seen.items()}


def _returning(check: Check) -> Callable[[], object]:
    def run() -> bool:
        check()
        return True

    return run
