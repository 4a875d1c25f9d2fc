"""The house: the service on its own, for workers elsewhere to answer: a front, an office, and the upkeep of both."""

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog

from batchmill.errors import BatchmillError, StoppedError
from batchmill.settings import Settings
from db import sweep
from workers import steering
from workers.app import make_app
from workers.assembly import make_judge
from workers.doorbell import Doorbell
from workers.serving.clerk import Office
from workers.serving.front import Front, listen
from workers.serving.notice import Board
from workers.serving.service import Service, make_service
from workers.upkeep import clear_up, ring

log = structlog.get_logger()

LOOK_EVERY_S = 0.2
SWEEP_EVERY_S = 10.0


class House:
    """What `batchmill serve` starts, and ends.

    Args:
        wants_keys: Ask for keys also where none are needed.
        tell: Told, in a sentence, what people should know of.
        check: Called often; what it raises (`StoppedError`) ends it, and what is being answered may finish.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wants_keys: bool,
        tell: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._wants_keys = wants_keys
        self._tell = tell
        self._check = check
        self._judge = make_judge(settings)
        self._name = f"{socket.gethostname()}/{os.getpid()}"
        self._swept_at = float("-inf")
        self._service: Service

    def run(self) -> None:
        """Serve until stopped.

        Raises:
            StoppedError: `check` raised it.
            ConflictError: A service of this home runs already, or somebody else listens there.
            ServiceError: It does not start.
            BatchmillError: The database or a setting cannot be used.
        """
        self._service = make_service(self._settings, wants_keys=self._wants_keys)
        board = Board(self._settings)
        try:
            with (
                board.claimed(),
                listen(self._settings) as listening,
                Office(self._service, on_started=self._call_workers),
            ):
                front = Front(settings=self._settings, listening=listening, wants_keys=self._wants_keys)
                self._look_after(front, board)
        finally:
            self._service.close()

    def _look_after(self, front: Front, board: Board) -> None:
        try:
            front.ensure()
            front.wait_until_up()
            board.put(front.url)
            self._tell(f"serving {front.url}/v1; stop it with Ctrl-C or SIGTERM")
            while True:
                self._check()
                front.ensure()
                self._sweep()
                time.sleep(LOOK_EVERY_S)
        except StoppedError as stopped:
            if not stopped.at_once:
                front.stop()
            raise
        finally:
            front.kill()

    def _call_workers(self, batch: Any) -> None:
        steering.call_workers(self._service.database, self._settings, batch)

    def _sweep(self) -> None:
        """Put right what died, a front of ours above all, and ring for what was missed; beat does the same."""
        if time.monotonic() - self._swept_at < SWEEP_EVERY_S:
            return
        self._swept_at = time.monotonic()
        database = self._service.database
        try:
            clear_up(database, self._settings, self._judge)
            swept = sweep.sweep(database, self._judge, owner=self._name)
            if swept is not None and self._settings.broker.url is not None:
                ring(database, Doorbell(make_app(self._settings.broker.url)), swept.to_ring)
        except BatchmillError as error:
            log.warning("sweep_failed", code=error.code, error=error.message, hint=error.hint)
