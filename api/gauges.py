"""Figures of the mill as families of metrics, under Prometheus' conventions.

Money is a float here, as all of Prometheus is; the ledger has it exactly.
"""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from api import families as told
from batchmill.metering.family import Family, Kind
from batchmill.money.nanos import NANOS_PER_USD
from batchmill.routing.circuits import CircuitState
from workers.serving.figures import Figures

Series = Iterable[tuple[Sequence[str], float]]
"""The values of labels, each with the value of a metric."""

_STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}


def families(figures: Figures | None) -> Iterator[Metric]:
    """Every family; only the first while the database is away."""
    yield metric_of(told.DATABASE_UP, _one(figures is not None))
    if figures is None:
        return
    for family, series in (
        *_money(figures),
        *_budgets(figures),
        *_lanes(figures),
        *_health(figures),
        *_jobs(figures),
        *_storage(figures),
    ):
        yield metric_of(family, series)


def metric_of(family: Family, series: Series) -> Metric:
    """A family with its series."""
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric: Metric = make(family.name, family.meaning, labels=family.labels)
    for labels, value in series:
        metric.add_metric(labels, value)  # type: ignore[attr-defined]
    return metric


def _one(value: float | None) -> Series:
    return () if value is None else [((), float(value))]


def _usd(nanos: int) -> float:
    return nanos / NANOS_PER_USD


def _money(figures: Figures) -> Iterator[tuple[Family, Series]]:
    used = figures.used.items()
    yield told.SPENT, [(model, _usd(one.cost_nanos)) for model, one in used]
    yield told.SPENT_TODAY, [(model, _usd(one.cost_nanos)) for model, one in figures.today.items()]
    yield told.SAVED, [(model, _usd(one.saved_nanos)) for model, one in used]
    yield (
        told.CALLS,
        [
            *(((*model, "answered"), one.calls - one.failed) for model, one in used),
            *(((*model, "failed"), one.failed) for model, one in used),
        ],
    )
    yield told.HITS, [(model, one.hits) for model, one in used]
    yield (
        told.TOKENS,
        [
            *(((*model, "input"), one.input_tokens) for model, one in used),
            *(((*model, "output"), one.output_tokens) for model, one in used),
        ],
    )


def _budgets(figures: Figures) -> Iterator[tuple[Family, Series]]:
    named = [
        ((one.budget.scope.value, one.budget.name, one.budget.period.value), one.balance)
        for one in figures.budgets
    ]
    yield told.BUDGET_LIMIT, [(labels, _usd(balance.limit_nanos)) for labels, balance in named]
    yield told.BUDGET_SPENT, [(labels, _usd(balance.spent_nanos)) for labels, balance in named]
    yield told.BUDGET_HELD, [(labels, _usd(balance.held_nanos)) for labels, balance in named]
    yield (
        told.BUDGET_USED,
        [
            (labels, balance.spent_nanos / balance.limit_nanos)
            for labels, balance in named
            if balance.limit_nanos
        ],
    )


def _lanes(figures: Figures) -> Iterator[tuple[Family, Series]]:
    lanes = figures.lanes.items()
    yield (
        told.BATCHES,
        [((lane, state), count) for lane, load in lanes for state, count in load.batches.items()],
    )
    yield told.PENDING, [((lane,), load.pending) for lane, load in lanes]
    yield told.IN_FLIGHT, [((lane,), load.in_flight) for lane, load in lanes]
    waits = figures.waits.items()
    yield told.QUEUE_AGE, [((lane,), wait.longest_ms / 1000) for lane, wait in waits]
    yield told.QUEUE_UNSERVED, [((lane,), wait.unserved_ms / 1000) for lane, wait in waits]


def _health(figures: Figures) -> Iterator[tuple[Family, Series]]:
    roll = figures.roll
    workers = (("alive", roll.alive), ("dead", len(roll.dead)), ("elsewhere", roll.elsewhere))
    yield told.HEALTH, [((component,), level.rank) for component, level in figures.health.items()]
    yield told.WORKERS, [((state,), count) for state, count in workers]
    yield told.CIRCUIT_STATE, [(model, _STATES[state]) for model, state in figures.circuits.items()]
    yield told.UNKNOWN, _one(figures.unknown_attempts)
    yield told.CLAIMS_LOST, _one(figures.lost_claims)
    yield told.SWEEP_AGE, _one(None if figures.sweep_age_ms is None else figures.sweep_age_ms / 1000)


def _jobs(figures: Figures) -> Iterator[tuple[Family, Series]]:
    jobs = figures.jobs.items()
    yield (
        told.JOB_DONE,
        [((name,), job.done_ms / 1000) for name, job in jobs if job.done_ms is not None],
    )
    yield told.JOB_SINCE, [((name,), job.since_ms / 1000) for name, job in jobs]
    yield told.JOB_FAILING, [((name,), job.is_failing) for name, job in jobs]


def _storage(figures: Figures) -> Iterator[tuple[Family, Series]]:
    yield told.CACHE_ENTRIES, _one(figures.cache_entries)
    yield told.CACHE_BYTES, _one(figures.cache_bytes)
    yield told.FILES, _one(figures.files)
    yield told.FILES_BYTES, _one(figures.file_bytes)
    yield told.WEBHOOKS, _one(figures.owed_webhooks)
    yield told.DISK_FREE, [((folder,), disk.free) for folder, disk in figures.disks.items()]
    yield told.DISK_SIZE, [((folder,), disk.total) for folder, disk in figures.disks.items()]
