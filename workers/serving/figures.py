"""Figures of the mill for whoever watches it: read from the database when asked, and at most every few seconds."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from batchmill.budgets.calendar import span_of
from batchmill.budgets.model import Period, Scope
from batchmill.budgets.standing import Standing
from batchmill.health.course import HealthLevel
from batchmill.money.bounds import Model
from batchmill.requests.model import Lane
from batchmill.routing.circuits import CircuitState
from batchmill.settings import Settings
from batchmill.settings.schedules import JobName
from batchmill.timetable import OFF
from db import circuits, gauges, health, health_states, schedules
from db.budgets.standings import standings
from db.engine import Database, Transaction
from db.health import Wait
from db.schedules import RunRow, RunState
from workers.queues import LaneLoad, lane_loads
from workers.roll import Roll, call_roll

KEEP_S = 5.0
COUNT_CACHE_EVERY_S = 60.0
"""Entries of the cache are counted one by one: of a million that takes a tenth of a second."""
MOST_BUDGETS = 100
MOST_CIRCUITS = 200
SETTLED_AFTER_MS = 60_000
"""Entries of the ledger bear the time at which their transaction began; none is so late as that."""
MOST_MODELS = 200
"""So many models have figures of their own: producers may name as many as they like."""
OTHERS: Model = ("", "(others)")


class Disk(NamedTuple):
    """The disk that something is kept on, in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Used:
    """What the calls to one model came to, and the hits on its answers."""

    calls: int = 0
    failed: int = 0
    hits: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    saved_nanos: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.calls + other.calls,
            self.failed + other.failed,
            self.hits + other.hits,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nanos + other.cost_nanos,
            self.saved_nanos + other.saved_nanos,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFigures:
    """How something that runs by itself is getting on.

    Attributes:
        done_ms: When it was last done; None = never.
        is_failing: Its last run has failed.
    """

    since_ms: int
    done_ms: int | None
    is_failing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How the mill is, at one moment.

    Attributes:
        used: By model, since this process began.
        today: By model, since midnight in BATCHMILL_TIMEZONE.
        budgets: The fullest first; those of single batches and users are left out.
        waits: By lane: how long the oldest request has waited that could be claimed now.
        circuits: Of models that have failed lately.
        sweep_age_ms: How long ago the last sweep ended; None = there was none.
        health: By component, as the last checks have shown it.
        jobs: Those that are due at times.
        cache_bytes: As the last clean-up of the cache has left it; None = nobody knows.
        disks: Where things are kept, by what it is for.
    """

    lanes: Mapping[Lane, LaneLoad]
    roll: Roll
    used: Mapping[Model, Used]
    today: Mapping[Model, Used]
    budgets: Sequence[Standing]
    waits: Mapping[Lane, Wait]
    circuits: Mapping[Model, CircuitState]
    unknown_attempts: int
    lost_claims: int
    sweep_age_ms: int | None
    health: Mapping[str, HealthLevel]
    jobs: Mapping[str, JobFigures]
    cache_entries: int
    cache_bytes: int | None
    files: int
    file_bytes: int
    owed_webhooks: int
    disks: Mapping[str, Disk]


@dataclass(slots=True)
class LedgerCount:
    """The ledger from some moment on, added up ever further: what will not change any more is read once.

    Honest weakness: what a transaction of more than a minute enters behind that is missed.

    Attributes:
        has_savings: Whether it is looked up what hits have saved: for each, which answer it got, and what that cost.
    """

    settled_ms: int
    has_savings: bool = False
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
            _enter(sums, (row.provider, row.model), Used(*(int(value) for value in row[2:])))
        for row in gauges.saved(tx, since_ms, until_ms) if self.has_savings else ():
            _enter(sums, (row.provider, row.model), Used(saved_nanos=int(row.saved_nanos)))


def _enter(sums: dict[Model, Used], model: Model, used: Used) -> None:
    if model not in sums and len(sums) >= MOST_MODELS:
        model = OTHERS
    sums[model] = sums.get(model, Used()) + used


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
        self._cached: tuple[float, int] | None = None

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
            runs = schedules.last_runs(tx)
            return Figures(
                lanes=lane_loads(tx),
                budgets=_fullest(tx),
                waits=health.waits(tx),
                circuits=_circuits(tx),
                health={one.component: one.level for one in health_states.states(tx)},
                jobs=self._jobs(tx, runs),
                cache_entries=self._count_cache(tx),
                cache_bytes=_cache_bytes(runs),
                disks=self._disks(),
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
            self._since_start = LedgerCount(tx.now_ms - ago_ms, has_savings=True)
        return self._since_start.read(tx)

    def _count_today(self, tx: Transaction) -> dict[Model, Used]:
        start_ms, _ = span_of(Period.DAY, self._settings.budgets.timezone, tx.now_ms)
        if self._today is None or self._today[0] != start_ms:
            self._today = start_ms, LedgerCount(start_ms)
        return self._today[1].read(tx)

    def _jobs(self, tx: Transaction, runs: Mapping[str, RunRow]) -> dict[str, JobFigures]:
        """Those that are due at times, as this process is told them, and have been heard of."""
        times = self._settings.schedules
        due = {job.value for job in JobName if times.of(job).text.strip().lower() != OFF}
        done_ms = schedules.last_done_ms(tx)
        return {
            name: JobFigures(
                since_ms=since_ms,
                done_ms=done_ms.get(name),
                is_failing=name in runs and runs[name].state is RunState.FAILED,
            )
            for name, since_ms in schedules.known_since_ms(tx).items()
            if name in due
        }

    def _count_cache(self, tx: Transaction) -> int:
        now_s = self._monotonic()
        if self._cached is None or now_s - self._cached[0] >= COUNT_CACHE_EVERY_S:
            self._cached = now_s, gauges.cache_entries(tx)
        return self._cached[1]

    def _disks(self) -> dict[str, Disk]:
        store = self._settings.service.store_url(self._settings.home)
        folders = {"home": self._settings.home} | ({} if "://" in store else {"files": Path(store)})
        found = {}
        for name, folder in folders.items():
            with contextlib.suppress(OSError):
                usage = shutil.disk_usage(folder)
                found[name] = Disk(usage.total, usage.free)
        return found


def _fullest(tx: Transaction) -> list[Standing]:
    """Budgets that are few: how many those of batches and users are, nobody knows."""
    found = [one for one in standings(tx) if one.budget.scope not in (Scope.BATCH, Scope.USER)]
    return sorted(found, key=lambda one: one.used_percent or 0.0, reverse=True)[:MOST_BUDGETS]


def _circuits(tx: Transaction) -> dict[Model, CircuitState]:
    """Those that are not closed first; names of models come from producers, without end."""
    found = sorted(circuits.read(tx).items(), key=lambda one: one[1].state is CircuitState.CLOSED)
    return {model: circuit.state for model, circuit in found[:MOST_CIRCUITS]}


def _cache_bytes(runs: Mapping[str, RunRow]) -> int | None:
    last = runs.get(JobName.CACHE_CLEANUP.value)
    size = None if last is None else last.detail.get("answer_bytes")
    return size if isinstance(size, int) else None
