"""What a quote says: for each model, for all of them, for each budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from batchmill.money.bounds import Model
from batchmill.quotes.duration import Load, Pace
from batchmill.quotes.forecast import Basis, Forecaster
from batchmill.quotes.tally import Kind, Tallies, Tally


class Verdict(StrEnum):
    """Whether a batch fits into what is left of a budget."""

    FITS = "fits"
    """Even at its worst."""
    LIKELY = "likely"
    """At its expected cost, not at its worst."""
    EXCEEDS = "exceeds"
    """Not at its expected cost."""
    UNPRICED = "unpriced"
    """A model without a known price is refused there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuote:
    """The requests to one model.

    Attributes:
        provider: Whose model it is.
        output_basis: What the output tokens are based on.
        latency_ms: Of one call, on average; None when nobody knows.
        duration_s: As if they were the only ones; None when nothing is known that limits them.
    """

    provider: str
    model: str
    tally: Tally
    output_basis: Basis
    latency_ms: int | None
    latency_basis: Basis
    duration_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetQuote:
    """One budget, and what of it is wanted.

    Attributes:
        title: What people call it.
        left_nanos: What may still be held now.
        expected_nanos: What the lines that it covers are expected to cost.
        most_nanos: What they can cost at most.
    """

    title: str
    left_nanos: int
    expected_nanos: int
    most_nanos: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A whole batch.

    Attributes:
        duration_s: None when nothing is known that limits it.
        budgets: Those that cover some of it.
    """

    models: Sequence[ModelQuote]
    total: Tally
    duration_s: float | None
    budgets: Sequence[BudgetQuote]

    @property
    def fits(self) -> bool:
        """Whether it can be expected to end within every budget."""
        return all(budget.verdict in (Verdict.FITS, Verdict.LIKELY) for budget in self.budgets)


def verdict(tally: Tally, *, left_nanos: int, allows_unpriced: bool) -> Verdict:
    """Whether these requests fit into what is left."""
    if tally.unpriced and not allows_unpriced:
        return Verdict.UNPRICED
    if tally.most_nanos <= left_nanos:
        return Verdict.FITS
    return Verdict.LIKELY if tally.expected_nanos <= left_nanos else Verdict.EXCEEDS


def compile_quote(
    tallies: Tallies,
    *,
    forecaster: Forecaster,
    pace: Pace,
    budgets: Sequence[BudgetQuote] = (),
) -> Quote:
    """The quote that these tallies make, models in order of their appearance."""
    total, load = Tally(), Load()
    by_model: dict[Model, dict[Kind, Tally]] = {}
    for kind, tally in tallies.items():
        by_model.setdefault(kind[:2], {})[kind] = tally
        total.add(tally)
        _add_load(load, kind, tally, forecaster)
    return Quote(
        models=[_of_model(model, kinds, forecaster, pace) for model, kinds in by_model.items()],
        total=total,
        duration_s=load.duration_s(pace),
        budgets=budgets,
    )


def _of_model(model: Model, kinds: Mapping[Kind, Tally], forecaster: Forecaster, pace: Pace) -> ModelQuote:
    total, load = Tally(), Load()
    for kind, tally in kinds.items():
        total.add(tally)
        _add_load(load, kind, tally, forecaster)
    forecasts = [forecaster.forecast(*kind) for kind in kinds]
    first = forecasts[0]
    is_known = load.latency_ms is not None and load.calls
    return ModelQuote(
        provider=model[0],
        model=model[1],
        tally=total,
        output_basis=_weakest([forecast.output_basis for forecast in forecasts]),
        latency_ms=(load.latency_ms or 0) // load.calls if is_known else first.latency_ms,
        latency_basis=_weakest([forecast.latency_basis for forecast in forecasts]),
        duration_s=load.duration_s(pace),
    )


def _add_load(load: Load, kind: Kind, tally: Tally, forecaster: Forecaster) -> None:
    load.add(
        calls=tally.calls,
        tokens=tally.called_input_tokens + tally.output_tokens,
        latency_ms=forecaster.forecast(*kind).latency_ms,
    )


def _weakest(bases: Sequence[Basis]) -> Basis:
    return max(bases, key=list(Basis).index)
