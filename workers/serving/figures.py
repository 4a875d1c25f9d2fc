"""Figures of the mill for whoever watches it: read from the database when asked, and at most every few seconds."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from batchmill.budgets.calendar import span_of
from batchmill.budgets.model import Period
from batchmill.money.bounds import Model
from batchmill.requests.model import Lane
from batchmill.settings import Settings
from db import gauges, health
from db.engine import Database, Transaction
from workers.queues import LaneLoad, lane_loads
from workers.roll import Roll, call_roll

KEEP_S = 5.0
SETTLED_AFTER_MS = 60_000
"""Entries of the ledger bear the time at which their transaction began; none is so late as that."""
MOST_MODELS = 200
"""So many models have figures of their own: producers may name as many as they like."""
OTHERS: Model = ("", "(others)")


@dataclass(frozen=True, slots=True)
class Used:
    """What the calls to one model came to, and the hits on its answers."""

    calls: int = 0
    failed: int = 0
    hits: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.calls + other.calls,
            self.failed + other.failed,
            self.hits + other.hits,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nanos + other.cost_nanos,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the mill is, at one moment.

    Attributes:
        used: By model, since this process began.
        today: By model, since midnight in BATCHMILL_TIMEZONE.
        sweep_age_ms: How long ago the last sweep ended; None = there was none.
    """

    lanes: Mapping[Lane, LaneLoad]
    roll: Roll
    used: Mapping[Model, Used]
    today: Mapping[Model, Used]
    unknown_attempts: int
    lost_claims: int
    sweep_age_ms: int | None
    files: int
    file_bytes: int
    owed_webhooks: int


@dataclass(slots=True)
class LedgerCount:
    """The ledger from some moment on, added up ever further: what will not change any more is read once.

    Honest weakness: what a transaction of more than a minute enters behind that is missed.
    """

    settled_ms: int
    settled: dict[Model, Used] = field(default_factory=dict)

    def read(self, tx: Transaction) -> dict[Model, Used]:
        """By model: everything since that moment."""
        behind_ms = max(self.settled_ms, tx.now_ms - SETTLED_AFTER_MS)
        if behind_ms > self.settled_ms:
            self._add(tx, self.settled, self.settled_ms, behind_ms)
            self.settled_ms = behind_ms
        counted = dict(self.settled)
        self._add(tx, counted, behind_ms, None)
        return counted

    def _add(self, tx: Transaction, sums: dict[Model, Used], since_ms: int, until_ms: int | None) -> None:
        for row in gauges.used(tx, since_ms, until_ms):
            model = (row.provider, row.model)
            if model not in sums and len(sums) >= MOST_MODELS:
                model = OTHERS
            sums[model] = sums.get(model, Used()) + Used(*(int(value) for value in row[2:]))


class FigureReader:
    """Reads figures, one reader at a time; what was read a moment ago is told again."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        keep_s: float = KEEP_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._keep_s = keep_s
        self._monotonic = monotonic
        self._begun_s = monotonic()
        self._lock = threading.Lock()
        self._last: tuple[float, Figures] | None = None
        self._since_start: LedgerCount | None = None
        self._today: tuple[int, LedgerCount] | None = None

    def read(self) -> Figures:
        """The figures of now, or of a moment ago.

        Raises:
            DatabaseError: The database is away.
        """
        with self._lock:
            if self._last is None or self._monotonic() - self._last[0] >= self._keep_s:
                self._last = self._monotonic(), self._read()
            return self._last[1]

    def _read(self) -> Figures:
        roll = call_roll(self._settings, self._database)
        with self._database.snapshot() as tx:
            sweep = health.sweeping(tx)
            files, file_bytes = gauges.kept_files(tx)
            return Figures(
                lanes=lane_loads(tx),
                roll=roll,
                used=self._count_since_start(tx),
                today=self._count_today(tx),
                unknown_attempts=gauges.unknown_attempts(tx),
                lost_claims=sweep.lost_claims,
                sweep_age_ms=sweep.age_ms,
                files=files,
                file_bytes=file_bytes,
                owed_webhooks=gauges.owed_webhooks(tx),
            )

    def _count_since_start(self, tx: Transaction) -> dict[Model, Used]:
        if self._since_start is None:
            ago_ms = round((self._monotonic() - self._begun_s) * 1000)
            self._since_start = LedgerCount(tx.now_ms - ago_ms)
        return self._since_start.read(tx)

    def _count_today(self, tx: Transaction) -> dict[Model, Used]:
        start_ms, _ = span_of(Period.DAY, self._settings.budgets.timezone, tx.now_ms)
        if self._today is None or self._today[0] != start_ms:
            self._today = start_ms, LedgerCount(start_ms)
        return self._today[1].read(tx)
