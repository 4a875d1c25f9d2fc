"""How quotes are printed: a table of models, one of budgets, and what they are based on."""

from collections.abc import Callable, Sequence
from typing import Any

import click

from batchmill.money.nanos import format_usd
from batchmill.providers.names import ProviderName
from batchmill.quotes.forecast import RULE_TOKENS, Basis
from batchmill.quotes.quote import BudgetQuote, ModelQuote, Quote, Verdict
from batchmill.quotes.tally import Tally
from cli.output import counted, narrate, print_json, print_table
from cli.progress import duration

TOTAL = "(all)"
Namer = Callable[[ModelQuote], str]
"""What a model is called in a table."""

_VERDICTS = {
    Verdict.FITS: "fits, at its worst too",
    Verdict.LIKELY: "fits if it costs what is expected",
    Verdict.EXCEEDS: "does not fit",
    Verdict.UNPRICED: "refuses models without a known price",
}


def show_quotes(quotes: Sequence[Quote], *, are_compared: bool, as_json: bool) -> None:
    """Print them: one, or several to be compared, cheapest first."""
    from workers.quote_views import cheapness, view

    if are_compared:
        quotes = sorted(quotes, key=lambda quote: cheapness(quote.total))
    if as_json:
        documents = [view(quote) for quote in quotes]
        print_json({"alternatives": documents} if are_compared else documents[0])
        return
    models = [model for quote in quotes for model in quote.models]
    name = _namer(models)
    rows = [_amounts(name(model), model.tally, model.duration_s) for model in models]
    if not are_compared and len(rows) > 1:
        rows.append(_amounts(TOTAL, quotes[0].total, quotes[0].duration_s))
    print_table(rows)
    budgets = [
        ({"model": name(quote.models[0])} if are_compared else {}) | _budget_row(budget)
        for quote in quotes
        for budget in quote.budgets
    ]
    if budgets:
        click.echo()
        print_table(budgets)
    _tell_bases(models, name)
    _tell_latencies(models, name)


def show_estimates(quotes: Sequence[Quote], *, as_json: bool) -> None:
    """Print what one request costs at each of some models, cheapest first."""
    from workers.quote_views import cheapest_first, estimates_view

    if as_json:
        print_json(estimates_view(quotes))
        return
    models = cheapest_first(quotes)
    name = _namer(models)
    print_table([_estimate_row(name(model), model.tally) for model in models])
    _tell_bases(models, name)


def _namer(models: Sequence[ModelQuote]) -> Namer:
    """How models are called: by their bare names while all are OpenAI's."""
    is_plain = all(model.provider == ProviderName.OPENAI for model in models)
    return lambda model: model.model if is_plain else f"{model.provider}/{model.model}"


def _amounts(model: str, tally: Tally, duration_s: float | None) -> dict[str, Any]:
    return {
        "model": model,
        "lines": f"{tally.lines:,}",
        "input_tokens": f"{tally.input_tokens:,}",
        "count": _count(tally),
        "hits": f"{tally.hits:,}",
        "repeats": f"{tally.repeats:,}",
        "expected": _usd(tally, tally.expected_nanos),
        "at_most": _usd(tally, tally.most_nanos),
        "duration": None if duration_s is None else duration(duration_s),
    }


def _estimate_row(model: str, tally: Tally) -> dict[str, Any]:
    return {
        "model": model,
        "input_tokens": f"{tally.input_tokens:,}",
        "count": _count(tally),
        "output_tokens": f"{tally.output_tokens:,}",
        "expected": _usd(tally, tally.expected_nanos),
        "at_most": _usd(tally, tally.most_nanos),
    }


def _count(tally: Tally) -> str:
    return "exact" if tally.is_exact else "estimate"


def _usd(tally: Tally, nanos: int) -> str | None:
    """An amount; None where none of the lines has a price."""
    return None if tally.unpriced == tally.lines else format_usd(nanos)


def _budget_row(budget: BudgetQuote) -> dict[str, Any]:
    return {
        "budget": budget.title,
        "left": format_usd(budget.left_nanos),
        "expected": format_usd(budget.expected_nanos),
        "at_most": format_usd(budget.most_nanos),
        "verdict": _VERDICTS[budget.verdict],
    }


def _tell_bases(models: Sequence[ModelQuote], name: Namer) -> None:
    """Say what the figures are based on, and what is not in them."""
    for model in models:
        tally = model.tally
        if tally.unpriced:
            narrate(
                f"{name(model)}: {counted(tally.unpriced, 'line')} without a known price ({tally.reason})"
                " in no sum; `batchmill providers add` can give one"
            )
        if tally.unpriced_others:
            narrate(
                f"{name(model)}: {counted(tally.unpriced_others, 'line')} may fall back to models without a known"
                " price; what those cost is not in AT MOST"
            )
    if any(model.output_basis is Basis.RULE and model.tally.output_tokens for model in models):
        narrate(
            f"no calls of these to go by: an answer is expected to have half of its limit, at most {RULE_TOKENS} tokens"
        )


def _tell_latencies(models: Sequence[ModelQuote], name: Namer) -> None:
    """Say what the durations are based on."""
    if any(model.latency_basis is Basis.CATALOGUE and model.tally.calls for model in models):
        narrate("how long a call takes is the catalogue's estimate; it is measured from the first calls on")
    unknown = [name(model) for model in models if model.latency_basis is Basis.NOTHING and model.tally.calls]
    if unknown:
        narrate(f"nobody knows how long a call of {', '.join(unknown)} takes")
