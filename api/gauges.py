"""Figures of the mill as families of metrics, under Prometheus' conventions."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from batchmill.money.bounds import Model
from batchmill.money.nanos import NANOS_PER_USD
from workers.serving.figures import Figures, Used

_MODEL = ["provider", "model"]


def families(figures: Figures | None) -> Iterator[Metric]:
    """Every family; only the first while the database is away.

    Money is a float here, as all of Prometheus is; the ledger has it exactly.
    """
    yield _gauge("batchmill_database_up", "Whether the database could be read.", float(figures is not None))
    if figures is None:
        return
    yield from _of_lanes(figures)
    yield from _of_models(figures.used)
    today = GaugeMetricFamily(
        "batchmill_spend_today_usd", "Known to be spent since midnight in BATCHMILL_TIMEZONE.", labels=_MODEL
    )
    for model, used in figures.today.items():
        today.add_metric(model, used.cost_nanos / NANOS_PER_USD)
    yield today
    yield from _of_the_mill(figures)


def _of_lanes(figures: Figures) -> Iterator[Metric]:
    batches = GaugeMetricFamily("batchmill_batches", "Batches that have not ended.", labels=["lane", "state"])
    pending = GaugeMetricFamily(
        "batchmill_requests_pending",
        "Requests without an answer that nobody is asked right now.",
        labels=["lane"],
    )
    in_flight = GaugeMetricFamily(
        "batchmill_requests_in_flight", "Requests whose call is out.", labels=["lane"]
    )
    for lane, load in figures.lanes.items():
        for state, count in load.batches.items():
            batches.add_metric([lane.value, state], count)
        pending.add_metric([lane.value], load.pending)
        in_flight.add_metric([lane.value], load.in_flight)
    yield from (batches, pending, in_flight)


def _of_models(models: Mapping[Model, Used]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "batchmill_calls", "Calls to providers that came to their end.", labels=[*_MODEL, "outcome"]
    )
    hits = CounterMetricFamily("batchmill_cache_hits", "Requests answered without a call.", labels=_MODEL)
    tokens = CounterMetricFamily("batchmill_tokens", "Tokens of these calls.", labels=[*_MODEL, "direction"])
    spent = CounterMetricFamily("batchmill_spend_usd", "Known to be spent.", labels=_MODEL)
    for (provider, model), used in models.items():
        calls.add_metric([provider, model, "answered"], used.calls - used.failed)
        calls.add_metric([provider, model, "failed"], used.failed)
        hits.add_metric([provider, model], used.hits)
        tokens.add_metric([provider, model, "input"], used.input_tokens)
        tokens.add_metric([provider, model, "output"], used.output_tokens)
        spent.add_metric([provider, model], used.cost_nanos / NANOS_PER_USD)
    yield from (calls, hits, tokens, spent)


def _of_the_mill(figures: Figures) -> Iterator[Metric]:
    workers = GaugeMetricFamily(
        "batchmill_workers",
        "Workers: alive and dead in the service's home; elsewhere those on the list.",
        labels=["state"],
    )
    roll = figures.roll
    for state, count in (("alive", roll.alive), ("dead", len(roll.dead)), ("elsewhere", roll.elsewhere)):
        workers.add_metric([state], count)
    yield workers
    yield _gauge(
        "batchmill_attempts_unknown",
        "Calls of which nobody knows whether they were billed.",
        figures.unknown_attempts,
    )
    yield _gauge("batchmill_claims_lost", "Claims of lost workers not taken back.", figures.lost_claims)
    if figures.sweep_age_ms is not None:
        yield _gauge(
            "batchmill_sweep_age_seconds", "Since the last sweep ended.", figures.sweep_age_ms / 1000
        )
    yield _gauge("batchmill_files", "Files that are kept.", figures.files)
    yield _gauge("batchmill_files_bytes", "What they take together.", figures.file_bytes)
    yield _gauge(
        "batchmill_webhooks_pending", "Webhooks that are still to be delivered.", figures.owed_webhooks
    )


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)
