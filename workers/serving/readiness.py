"""Readiness: whether the service can do its work right now, found out in bounded time, whatever hangs."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import cache

import structlog

from db import schema
from workers.app import make_app
from workers.doorbell import Doorbell
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

    A check that hangs is left hanging, in a thread of its own, and not begun again before it has ended.
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
        self._within_s = within_s
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}
        self._last: tuple[float, dict[str, bool]] | None = None

    def look(self) -> dict[str, bool]:
        """Whether each is there, by name; what was found a moment ago is told again."""
        with self._lock:
            if self._last is None or self._monotonic() - self._last[0] >= self._keep_s:
                found = self._look()
                self._last = self._monotonic(), found
            return self._last[1]

    def _look(self) -> dict[str, bool]:
        for name, check in self._checks.items():
            if name not in self._running:
                self._running[name] = _begun(name, check)
        until = time.monotonic() + self._within_s
        return {name: self._is_there(name, until - time.monotonic()) for name in self._checks}

    def _is_there(self, name: str, within_s: float) -> bool:
        running = self._running[name]
        wait([running], max(0.0, within_s))
        if not running.done():
            log.warning("not_ready", check=name, error=f"no answer within {self._within_s:g} s")
            return False
        del self._running[name]
        error = running.exception()
        if error is not None:
            log.warning("not_ready", check=name, error=str(error))
        return error is None


def _begun(name: str, check: Check) -> Future[None]:
    ending: Future[None] = Future()

    def run() -> None:
        try:
            check()
        except BaseException as error:
            ending.set_exception(error)
        else:
            ending.set_result(None)

    threading.Thread(target=run, daemon=True, name=f"ready-{name}").start()
    return ending
